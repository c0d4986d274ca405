"""What a task is: a model, data, a loss, and the levels a loss is to be read against."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.spec import Hyper, Layout

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Level:
    """A loss (or accuracy) worth knowing: what reaching `value` means. `of` is "loss" or "accuracy".

    `name` is short, as it is written beside a line; `meaning` is a sentence for who asks.
    """

    name: str
    value: float
    of: str = "loss"
    meaning: str = ""


@dataclass(frozen=True)
class Layer:
    """One layer of a network, as it is drawn: its name, what it does, the shape of what leaves it, its parameters."""

    name: str
    does: str
    shape: str
    parameters: int

    @property
    def numbers(self) -> int:
        """How many numbers leave it for one example: of a shape such as "12 × 332"."""
        return math.prod(int(size) for size in re.findall(r"\d+", self.shape))


@dataclass(frozen=True)
class Batch:
    """The data of one step: the step's number and tensors whose first axis is the row."""

    step: int
    tensors: tuple[Tensor, ...] = ()

    def rows(self, rows: Tensor | slice) -> Batch:
        """The same batch for some of the rows."""
        return Batch(self.step, tuple(tensor[rows] for tensor in self.tensors))


class Task:
    """Base class: a task gives a layout, initial weights, batches and a loss; the gradient comes by autograd.

    All tensors follow the dtype and device of the weights they are given. `batch` is a pure function of the seed
    and the step, so that all who share a seed see the same data in the same order.
    """

    layout: Layout
    levels: tuple[Level, ...] = ()
    guess: float | None = None  # loss of pure guessing, where the task has one
    parts: tuple[str, ...] = ()  # parts of the data that can be evaluated
    smoothing = 0.95  # decay of the smoothed loss: a mean of about the last 20 steps; 0 where the loss has no noise
    accuracy = False  # whether `evaluate` gives an accuracy too
    examples: int | None = None  # size of the training part; None: no batches
    changes = False  # whether the loss is another function of the weights at each step, even of all of the data
    activations = 0  # numbers that enter and leave its layers, for each example of a batch
    network = ""  # the model in words
    about = ""  # the problem in one sentence
    seed_meaning = "initial weights and data order"
    draws_labels = False  # whether `draw_labels` can be asked for
    mislabels = False  # whether `mislabelled` can be asked for
    numeric = False  # whether inputs are numbers, and `unscaled` can be asked for
    writes = False  # whether `sample` can be asked for
    sample_length = 40  # tokens of a text that is written to be read
    layers: tuple[Layer, ...] = ()
    initial_loss: tuple[float, str] | None = None  # what to expect before training, and why in one sentence

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        """Initial weights `[len(seeds), P]`, independent for each seed and each `draw` of it."""
        raise NotImplementedError

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        """The data that rows with these seeds see at a step."""
        return Batch(step)

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        """Loss `[R]` of weights `[R, P]` on a batch; each row depends on its own weights alone."""
        raise NotImplementedError

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss `[R]` and its gradient `[R, P]`. A task with a faster way of its own overrides this."""
        with torch.enable_grad():
            leaf = p.detach().requires_grad_()
            loss = self.loss(leaf, batch)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach(), gradient

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The same inputs with labels drawn from the network's own predictions at p, one draw for each seed and step.

        Only for tasks with `draws_labels`.
        """
        raise NotImplementedError

    def mislabelled(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The same inputs with every label wrong, the same wrong one for the same seed and step.

        Classes, words and letters are drawn from all the others; numbers have the other sign. Only for tasks with
        `mislabels`.
        """
        raise NotImplementedError

    def unscaled(self, batch: Batch, factors: Tensor) -> Batch:
        """The same labels with the inputs of each row so many times too large, factors `[R]`.

        Only for tasks whose inputs are `numeric`.
        """
        raise NotImplementedError

    def evaluate(self, p: Tensor, part: str) -> dict[str, Tensor]:
        """{"loss": `[R]`} (and "accuracy") on a part of the data, or on a fixed sample of a large one."""
        raise NotImplementedError

    def sample(self, p: Tensor, seed: int, length: int) -> list[str]:
        """A text of so many tokens from each row's network `[R, P]`: the same draws for all rows and any weights.

        Only for tasks that write.
        """
        raise NotImplementedError

    def project(self, p: Tensor) -> Tensor:
        """Put weights back where they are allowed to be, after each step; nowhere is forbidden by default."""
        return p


@dataclass(frozen=True)
class TaskKind:
    """A registry entry: how the task is called, made, and what about it can be set.

    `steps`, `batch` and `seeds` (how many) are those of a race on it unasked. `selection` is the part of the data whose
    loss tells which learning rate is best: the training part where it is the question itself, a text to be learned by
    heart.
    """

    name: str
    label: str
    make: Callable[..., Task]
    hypers: tuple[Hyper, ...] = ()
    steps: int = 1000
    batch: int = 32
    seeds: int = 8
    selection: str = "validation"


class FunctionTask(Task):
    """Any function as a task: `f(params [R, P], step) -> loss [R]`."""

    smoothing = 0.0
    seed_meaning = "starting point"

    def __init__(
        self,
        f: Callable[[Tensor, int], Tensor],
        start: Callable[[Sequence[int], int], Tensor],
        project: Callable[[Tensor], Tensor] | None = None,
        about: str = "",
    ):
        self._f, self._start, self._project, self.about = f, start, project, about
        self.layout = Layout((("x", (start([0], 0).shape[1],)),))
        self.network = f"{self.layout.width} number{'' if self.layout.width == 1 else 's'}"

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        return self._start(seeds, draw).to(like)

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        found = self._f(p, batch.step)
        if found.shape != (len(p),):
            raise ValueError(f"f gave {tuple(found.shape)} numbers for {len(p)} rows; it must give one loss a row.")
        return found

    def project(self, p: Tensor) -> Tensor:
        return self._project(p) if self._project else p


def from_function(
    f: Callable[[Tensor, int], Tensor],
    start: Sequence[float] | Tensor,
    project: Callable[[Tensor], Tensor] | None = None,
) -> FunctionTask:
    """Make a task of any function, in one line, for a notebook or a test.

    Args:
        f: `f(params [R, P], step) -> loss [R]`, differentiable by autograd; `step` counts from 0, and the
            loss after the last step is asked for with `step == steps`. Row r of the result may depend on row r of the
            weights alone.
        start: the P numbers every run starts from, whatever its seed.
        project: applied to `[R, P]` after each step, for a constraint.

    Raises:
        ValueError: `start` is not a list of finite numbers.
    """
    point = torch.as_tensor(start, dtype=torch.float64)
    if point.ndim != 1 or not bool(torch.isfinite(point).all()):
        raise ValueError(f"start must be a list of finite numbers, not {start!r}.")
    return FunctionTask(f, lambda seeds, draw: point.expand(len(seeds), -1), project)
