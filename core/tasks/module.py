"""Any `nn.Module` with any loss as a task: each row is that module at its own weights, all rows in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.spec import Layout
from core.tasks.base import PARTS, Batch, Layer, Level, Task
from core.tasks.data import DATA, another_class, batch_indices, draw_classes, label_noise, random
from core.tasks.plain import Loss, Make, as_like, drawn, inspect, layers
from core.tasks.traced import Traced

TOGETHER, ROWS = 256, 8  # examples and rows that are evaluated at a time: more fall out of the processor's cache
SAMPLED = 1000  # examples of train and of validation that are evaluated in a race
CHECKED = 8  # examples, of which a module is checked with


class ModuleTask(Task):
    """A module as a function of its weights, `torch.func.functional_call`, over all rows at once by `torch.func.vmap`.

    Inputs and targets are `[R, batch, …]`, as the module itself takes a batch. The module stays in the mode in which
    it is made, in training and in evaluation. First weights are the module's own, drawn in float32 as torch does.

    A part is evaluated in pieces of 256 examples, weighted by their size: for a loss that is a mean over examples that
    is the loss of the whole part.
    """

    def __init__(self, make: Make, loss: Loss, data: Mapping[str, tuple[Tensor, Tensor]], about: str):
        x, y = (values[:CHECKED] for values in data["train"])
        self.make, self.criterion, self.data, self.about = make, loss, data, about
        self.module, output = inspect(make, loss, x, y)
        self.parts = tuple(part for part in PARTS if part in data)
        self.examples = len(data["train"][0])
        self.layout = Layout(
            tuple((name, tuple(p.shape)) for name, p in self.module.named_parameters()), _roles(self.module)
        )
        self.layers = layers(self.module, x)
        self.activations = x[0].numel() + sum(layer.numbers for layer in self.layers)
        self.network = _words(self.layers)
        self._learn = Traced(lambda p, x, y: super(ModuleTask, self).loss_and_grad(p, Batch(0, (x, y))))
        self._look = Traced(lambda p, x, y: self._judged(p, x, y))
        self._ready: dict[tuple[object, ...], Any] = {}  # data and buffers, once for each dtype and device
        classes = self._kinds = _classes(output, data)
        self.numeric = x.is_floating_point()
        self.mislabels = classes is not None or y.is_floating_point()
        self.accuracy = classes is not None and "validation" in data
        if classes is not None:
            self._expect_guessing(classes, output, y)
        if self.accuracy:
            labels = data["validation"][1].flatten()
            majority = int(labels.bincount().max()) / len(labels)
            self.levels += (
                Level(
                    f"always the commonest class: {majority:.0%}", majority, "accuracy",
                    "What one gets right without looking: the share of the commonest class in the validation part.",
                ),
            )  # fmt: skip

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        modules = [drawn(self.make, seed, draw) for seed in seeds]
        return torch.stack([torch.cat([p.detach().flatten() for p in each.parameters()]) for each in modules]).to(like)

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        chosen = batch_indices(seeds, step, len(self.data["train"][0]), size, like.device)
        x, y = (
            values.index_select(0, chosen).view(len(seeds), size, *values.shape[1:])
            for values in self._tensors("train", like)
        )
        return Batch(step, (x, y))

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return self._criterion(self._output(weights, x, p), y, p)

        found: Tensor = vmap(one)(self.layout.views(p), *batch.tensors)
        return found

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self._learn(p.detach(), *batch.tensors)
        return found

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        logits = vmap(lambda weights, x: self._output(weights, x, p))(self.layout.views(p), x)
        return Batch(batch.step, (x, draw_classes(logits, label_noise(seeds, batch.step, y.shape[1:], p), 2)))

    def mislabelled(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        return Batch(batch.step, (x, -y if self._kinds is None else another_class(y, self._kinds, seeds, batch.step)))

    def unscaled(self, batch: Batch, factors: Tensor) -> Batch:
        x, y = batch.tensors
        return Batch(batch.step, (x * factors.view(-1, *[1] * (x.dim() - 1)), y))

    def evaluate(self, p: Tensor, part: str) -> dict[str, Tensor]:
        x, y = self._tensors(part, p, evaluated=True)
        pieces = list(zip(x.split(TOGETHER), y.split(TOGETHER), strict=True))
        shares = [len(some) / len(x) for some, _ in pieces]
        means = []
        for rows in p.split(ROWS):
            found = [share * torch.stack(self._look(rows, *piece)) for share, piece in zip(shares, pieces, strict=True)]
            means.append(torch.stack(found).sum(0))
        return dict(zip(("loss", "accuracy"), torch.cat(means, dim=1), strict=False))

    def _judged(self, p: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Loss `[R]` of these examples, the same for all rows, and accuracy where there are classes."""

        def one(weights: dict[str, Tensor]) -> tuple[Tensor, ...]:
            output = self._output(weights, x, p)
            loss = self._criterion(output, y, p)
            return (loss, _right(output, y)) if self.accuracy else (loss,)

        found: tuple[Tensor, ...] = vmap(one)(self.layout.views(p))
        return found

    def plain(self, seed: int, like: Tensor) -> nn.Module:
        """The module by itself, with the first weights of a seed, in the dtype of `like`."""
        return drawn(self.make, seed).to(like)

    def _output(self, weights: dict[str, Tensor], x: Tensor, like: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # vmap knows no other attention
            found: Tensor = functional_call(self.module, (weights, self._buffers(self.module, like)), (x,))
        return found

    def _criterion(self, output: Tensor, y: Tensor, like: Tensor) -> Tensor:
        if isinstance(self.criterion, nn.Module):
            found: Tensor = functional_call(self.criterion, self._buffers(self.criterion, like), (output, y))
            return found.reshape(())
        return self.criterion(output, y).reshape(())

    def _tensors(self, part: str, like: Tensor, evaluated: bool = False) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a part, or of the examples in it that are evaluated.

        Real numbers are in the dtype of `like`, whole ones as they are.
        """

        def ready() -> tuple[Tensor, Tensor]:
            x, y = self.data[part]
            if evaluated and part != "test" and len(x) > SAMPLED:
                some = torch.as_tensor(np.sort(random(0, DATA).permutation(len(x))[:SAMPLED]))
                x, y = x[some], y[some]
            return as_like(x, like), as_like(y, like)

        found: tuple[Tensor, Tensor] = self._once((part, evaluated), like, ready)
        return found

    def _buffers(self, module: nn.Module, like: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self._once(
            id(module), like, lambda: {name: as_like(buffer, like) for name, buffer in module.named_buffers()}
        )
        return found

    def _once(self, what: object, like: Tensor, make: Callable[[], Any]) -> Any:
        key = (what, like.dtype, like.device)
        if key not in self._ready:
            self._ready[key] = make()
        return self._ready[key]

    def _expect_guessing(self, classes: int, output: Tensor, y: Tensor) -> None:
        """Where the loss of even odds is ln C, that is what guessing gives, and the odds are the outputs' softmax."""
        even = torch.full_like(output, -math.log(classes))
        if math.isclose(float(self.criterion(even.detach(), y)), math.log(classes), rel_tol=1e-4):
            self.guess, self.draws_labels = math.log(classes), True
            self.levels = (
                Level(
                    f"guessing: ln {classes} = {self.guess:.2f}", self.guess,
                    meaning="Giving every class the same chance; above it, a network is too sure of itself.",
                ),
            )  # fmt: skip


# ---------------------------------------------------------------- what the layers and the outputs are


def _roles(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """What each tensor is: the last linear layer's matrix is the output, tensors of one axis are vectors."""
    owners = {
        f"{name}.{own}" if name else own: layer
        for name, layer in module.named_modules()
        for own, _ in layer.named_parameters(recurse=False)
    }
    shapes = {name: p.shape for name, p in module.named_parameters()}
    last = [name for name in shapes if isinstance(owners[name], nn.Linear) and len(shapes[name]) > 1][-1:]

    def role(name: str) -> str:
        if len(shapes[name]) < 2:
            return "vector"
        if isinstance(owners[name], (nn.Embedding, nn.EmbeddingBag)):
            return "embedding"
        return "output" if name in last else "hidden"

    return tuple((name, role(name)) for name in shapes)


def _words(layers: tuple[Layer, ...]) -> str:
    """A network in one line."""
    kinds = [layer.does.partition("(")[0] for layer in layers]
    shown = kinds if len(kinds) <= 6 else [*kinds[:4], "…", kinds[-1]]
    return f"{', '.join(shown)}: {sum(layer.parameters for layer in layers):,} numbers"


def _classes(output: Tensor, data: Mapping[str, tuple[Tensor, Tensor]]) -> int | None:
    """C, where targets `[B, …]` are classes of outputs `[B, C, …]`."""
    targets = [y for _, y in data.values()]
    y = targets[0]
    fits = output.ndim == y.ndim + 1 and output.shape[2:] == y.shape[1:] and output.is_floating_point()
    if y.is_floating_point() or not fits or output.shape[1] < 2 or min(int(y.min()) for y in targets) < 0:
        return None
    classes, highest = output.shape[1], max(int(y.max()) for y in targets)
    if highest >= classes:
        raise ValueError(
            f"There is a target {highest}, but the module tells only {classes} classes apart, 0 to {classes - 1}: give "
            f"it {highest + 1} outputs."
        )
    return classes


def _right(output: Tensor, y: Tensor) -> Tensor:
    """The share of targets `[B, …]` whose output `[B, C, …]` alone is the largest: NaN and ties are wrong."""
    truth = output.gather(1, y.unsqueeze(1))
    return ((output >= truth).sum(1) == 1).to(output).mean()
