"""Learning from examples: the batches a seed sees, and the two losses a network's outputs are compared by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from core.tasks.base import PARTS, Batch, Level, Task
from core.tasks.data import Data, Examples, Ints, another_class, batch_indices, draw_classes, label_noise

UNEQUAL = 0.99  # share of ln C from which on the entropy of the classes says nothing new


class Supervised(Task):
    """Inputs and targets in three parts. A subclass gives the network's outputs, another compares them with targets.

    Activations are kept features first, `[R, features, batch]`: every product is then one batched matrix product
    and the softmax runs over a middle axis.
    """

    parts = PARTS
    mislabels = numeric = True
    together = 512  # examples evaluated at a time: larger tables fall out of the cache and are paged in anew each time

    def __init__(self, data: Data, about: str):
        self.data, self.about, self.examples = data, about, data.count

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        inputs, targets = self.data.tensors("train", like)
        chosen = batch_indices(seeds, step, self.data.count, size, like.device)
        x = inputs.index_select(0, chosen).view(len(seeds), size, -1).transpose(1, 2)
        y = targets.index_select(0, chosen).view(len(seeds), size, -1).transpose(1, 2)
        return Batch(step, (x, y))

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        x, y = batch.tensors
        return self._compared(self._outputs(p, x), y)

    def unscaled(self, batch: Batch, factors: Tensor) -> Batch:
        x, y = batch.tensors
        return Batch(batch.step, (x * factors.view(-1, 1, 1), y))

    def evaluate(self, p: Tensor, part: str) -> dict[str, Tensor]:
        inputs, targets = self.data.tensors(part, p)
        found: dict[str, Tensor] = {}
        for some, true in zip(inputs.split(self.together), targets.split(self.together), strict=True):
            for name, total in self._totals(
                self._outputs(p, some.T.expand(len(p), -1, -1)), true.T.contiguous()
            ).items():
                # One after the other: `stack(…).sum(0)` rounds differently for other numbers of rows.
                found[name] = found[name] + total if name in found else total
        return {name: total / len(inputs) for name, total in found.items()}

    def _outputs(self, p: Tensor, x: Tensor) -> Tensor:
        """Outputs `[R, K, B]` of each row's network for its inputs `[R, F, B]`."""
        raise NotImplementedError

    def _compared(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Loss `[R]` of outputs `[R, K, B]` and targets `[…, K, B]`."""
        raise NotImplementedError

    def _compared_with_signal(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same loss, and its gradient with respect to the outputs, `[R, K, B]`."""
        raise NotImplementedError

    def _totals(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """What `evaluate` gives, summed over some of the examples, `[R]`: outputs `[R, K, N]`, targets `[K, N]`."""
        return {"loss": self._compared(outputs, y) * outputs.shape[2]}

    def _expected(self, square: float) -> tuple[float, str]:
        """The loss before training, and why, where an output's mean square over first guesses is `square`."""
        raise NotImplementedError


class Classifier(Supervised):
    """Softmax and cross-entropy: the mean of `-log softmax` at the true class."""

    accuracy = True
    draws_labels = True
    data: Examples

    def __init__(self, data: Examples, about: str):
        super().__init__(data, about)
        classes, majority = data.classes, data.majority("validation")
        self.guess = math.log(classes)
        self.levels = (
            Level(
                f"guessing: ln {classes} = {self.guess:.2f}", self.guess,
                meaning="Giving every class the same chance has this loss; above it, a network is too sure of itself.",
            ),
            Level(
                f"always the commonest class: {majority:.0%}", majority, "accuracy",
                "What one gets right without looking: the share of the commonest class in the validation part.",
            ),
        )  # fmt: skip

    def _expected(self, square: float) -> tuple[float, str]:
        classes = self.data.classes
        more = square / 2 * (1 - 1 / classes)
        return math.log(classes) + more, (
            f"ln {classes} = {math.log(classes):.2f} for guessing, and about {more:.2g} more since the first outputs "
            f"differ by chance: half their variance, {square:.2g}, times 1 − 1/{classes}."
        )

    def _compared(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (y * log_softmax(outputs, dim=1)).sum((1, 2)) / -outputs.shape[2]

    def _compared_with_signal(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        log_p, size = log_softmax(outputs, dim=1), outputs.shape[2]
        loss = (y * log_p).sum((1, 2)) / -size
        return loss, log_p.exp_().sub_(y).div_(size)  # `exp2_` rounds a number by its place in the table

    def _totals(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        log_p = log_softmax(outputs, dim=1)
        labels = (torch.arange(len(y), device=y.device, dtype=y.dtype) @ y).long().expand(len(outputs), 1, -1)
        truth = log_p.gather(1, labels)  # [R, 1, N]
        # A prediction counts only where the true class alone is the likeliest: NaN and ties are wrong.
        correct = log_p.scatter_(1, labels, -math.inf).amax(1, keepdim=True) < truth
        return {"loss": -truth.sum((1, 2)), "accuracy": correct.sum((1, 2)).to(outputs)}

    def mislabelled(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        wrong = another_class(y.argmax(1), y.shape[1], seeds, batch.step)
        return Batch(batch.step, (x, torch.nn.functional.one_hot(wrong, y.shape[1]).transpose(1, 2).to(y)))

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        labels = draw_classes(self._outputs(p, x), label_noise(seeds, batch.step, x.shape[2:], x), 1)  # [R, B]
        classes = torch.nn.functional.one_hot(labels, y.shape[1])
        return Batch(batch.step, (x, classes.transpose(1, 2).to(y).contiguous()))


class Regressor(Supervised):
    """Squared error: the mean of `(output - target)^2` over examples and outputs, as `torch.nn.MSELoss`."""

    def __init__(self, data: Data, about: str):
        super().__init__(data, about)
        targets = data.parts["train"][1]
        self.spread = float(targets.var(axis=0).mean())  # loss of the mean
        self.guess = self.spread
        self.levels = (
            Level(
                f"always the mean: {self.spread:.3g} (R² = 0)", self.spread,
                meaning="Who always answers with the mean of the training part has this loss there. R², the share of "
                "the targets' variance that is explained, is 0 at it and 1 at no loss at all.",
            ),
        )  # fmt: skip

    def mislabelled(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        return Batch(batch.step, (x, -y))

    def explained(self, loss: float) -> str:
        """R² in the training part: `1 - loss / the mean's`."""
        return f"R² = {1 - loss / self.spread:.2f}"

    def _expected(self, square: float) -> tuple[float, str]:
        own = float((self.data.parts["train"][1] ** 2).mean())
        return own + square, (
            f"The targets' own mean square, {own:.2g}, since the first outputs know nothing of them, and the outputs' "
            f"mean square, {square:.2g}."
        )

    def _compared(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - y).square().mean((1, 2))

    def _compared_with_signal(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        off = outputs - y
        return off.square().mean((1, 2)), off * (2 / (y.shape[1] * y.shape[2]))


def unequal_shares(labels: Ints, classes: int) -> tuple[Level, ...]:
    """The level of who knows the classes' frequencies alone, where it is not as good as that of guessing."""
    counts = np.bincount(labels)
    share = counts[counts > 0] / len(labels)
    entropy = float(-(share * np.log(share)).sum())
    if entropy > UNEQUAL * math.log(classes):
        return ()
    return (
        Level(
            f"the classes' shares: {entropy:.2f}", entropy,
            meaning="Who knows how frequent each class is in the training part, and nothing else, has this loss there: "
            "their entropy.",
        ),
    )  # fmt: skip
