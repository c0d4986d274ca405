"""A reference: another implementation of a rule, driven beside ours on the same problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from core.spec import Layout
from core.tasks import Batch, Task

STEPS = 200  # of a comparison
Weights = list[Parameter]  # one a tensor of the layout; what our layout calls a vector has one axis here
# Puts the gradient at the present weights into them, clipped, `drawn=True` that on drawn labels; gives the loss.
Closure = Callable[..., Tensor]


def stepped(optimizer: Any, closure: Closure, step: int) -> None:
    """The usual way: gradient first, then the step."""
    closure()
    optimizer.step()


def in_doubles(optimizer: Any, closure: Closure, step: int) -> None:
    """torch keeps some lone numbers in its default dtype, half as long as our weights: here that is as long."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        stepped(optimizer, closure, step)
    finally:
        torch.set_default_dtype(usual)


def held(optimizer: Any, weights: Weights) -> Sequence[Tensor]:
    """What stands in the parameters."""
    return weights


def as_is(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """Any setting will do."""


@dataclass(frozen=True)
class Reference:
    """How to run it.

    `make(weights, **settings)` gets all of a racer's settings but clipping, which is done outside, and `betas` instead
    of beta1 and beta2; the learning rate of each step is put into its `param_groups`. `step(optimizer, closure, t)`
    takes 0-based step t. `choose(rng, settings)` changes random settings where the two could not agree, for a reason
    that stands beside it. `compared` says which of our weights must equal what it has: those "stored", those where the
    next gradient is taken ("gradient_point") or at which the loss is reported ("eval"), and how each is read from it.
    `note` is what a reader of the table must know: which variant was followed where sources differ.
    """

    source: str
    make: Callable[..., Any]
    step: Callable[[Any, Closure, int], None] = stepped
    choose: Callable[[np.random.Generator, dict[str, Any]], None] = as_is
    compared: Mapping[str, Callable[[Any, Weights], Sequence[Tensor]]] = field(default_factory=lambda: {"stored": held})
    note: str = ""


class Problem(Task):
    """Loss `a_t p + sum(c p^2) / 2` on the weights of a small network, with matrices that are tall and wide and a
    convolution's kernel: a random gradient at each step, and one that depends on the weights. `draw_labels` stands for
    another random gradient.
    """

    layout = Layout(
        # Sides that differ by one, so that a first gradient leaves one direction out: of two any basis would be right.
        (("W1", (5, 4)), ("b1", (5, 1)), ("K", (3, 2, 2, 3)), ("W2", (3, 4)), ("W3", (4, 5)), ("b3", (4, 1))),
        (
            ("W1", "hidden"),
            ("b1", "vector"),
            ("K", "hidden"),
            ("W2", "hidden"),
            ("W3", "output"),
            ("b3", "vector"),
        ),
    )
    smoothing = 0.0
    draws_labels = True

    def __init__(self, seed: int, steps: int):
        rng = np.random.default_rng(seed)
        width = self.layout.width
        self.a, self.drawn = (torch.tensor(rng.normal(0, 2, (steps + 1, width))) for _ in range(2))
        self.c = torch.tensor(rng.uniform(0, 2, width))
        self.p = torch.tensor(rng.normal(0, 1, width))

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        return self.p.to(like).expand(len(seeds), -1)

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        return Batch(step, (self.a[step].to(like).expand(len(seeds), -1),))

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        return Batch(batch.step, (self.drawn[batch.step].to(p).expand(len(seeds), -1),))

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        return (p * batch.tensors[0]).sum(1) + (p * p) @ self.c.to(p) / 2

    def gradient(self, p: Tensor, step: int, drawn: bool = False) -> Tensor:
        """The gradient at flat weights `[P]`, as written down."""
        return (self.drawn if drawn else self.a)[step] + self.c * p

    def value(self, p: Tensor, step: int) -> Tensor:
        """The loss at flat weights `[P]`, as written down."""
        return p @ self.a[step] + (p * p) @ self.c / 2

    def weights(self) -> Weights:
        """The first weights, as a torch module would hold them."""
        return [
            Parameter(part.reshape(shape if self.layout.role(name) != "vector" else -1).clone())
            for part, (name, shape) in zip(self.p.split(self.layout.sizes), self.layout.shapes, strict=True)
        ]


class Bowl(Problem):
    """For rules that need all of the data: `sum(c (p - a_0)^2) / 2`, the same at each step.

    Its smallest loss is 0, so that no line search is decided by the rounding of a difference.
    """

    def __init__(self, seed: int, steps: int):
        super().__init__(seed, steps)
        self.c = self.c + 0.5

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        return (p - self.a[0].to(p)).square() @ self.c.to(p) / 2

    def gradient(self, p: Tensor, step: int, drawn: bool = False) -> Tensor:
        return self.c * (p - self.a[0])

    def value(self, p: Tensor, step: int) -> Tensor:
        return (p - self.a[0]).square() @ self.c / 2


def flat(weights: Sequence[Tensor]) -> Tensor:
    """`[P]`."""
    return torch.cat([weight.detach().flatten() for weight in weights])
