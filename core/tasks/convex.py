"""Linear models: one basin and no saddle, so that what differs is how fast, and to which of many best answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.spec import Layout
from core.tasks.base import Batch, Layer, Level, Task
from core.tasks.data import DATA, Examples, Floats, Ints, batch_indices, digit_images, random
from core.tasks.dense import DenseClassifier, DenseRegressor
from core.tasks.supervised import unequal_shares
from core.tasks.tables import diabetes, least_squares


def softmax_regression() -> DenseClassifier:
    """Softmax regression on the digits: ten weighted sums of the 64 pixels, no hidden layer.

    The training part is linearly separable (a test solves the linear program), so that the loss has no minimum: it
    falls towards 0 for as long as one trains.
    """
    about = "1,797 real images of handwritten digits, told apart by one weighted sum of the pixels for each digit"
    return DenseClassifier(Examples(digit_images(), 10), [], about)


def linear_regression() -> DenseClassifier | DenseRegressor:
    """Linear regression on the diabetes table: a quadratic bowl whose minimum is known exactly, the least squares."""
    return diabetes(0, 0)


# ---------------------------------------------------------------- many rare classes


RARE = 100  # classes


def rare_classes() -> DenseClassifier:
    """Softmax regression with classes as frequent as words are: the k-th has a share in proportion to `1/k` (Zipf).

    In the manner of Kunstner and others, 2402.19449: gradient descent learns the frequent classes first and the many
    rare ones slowly, Adam and sign descent all of them alike. Made data: a class is a point drawn uniformly from
    `[0, 2]^24`, an example that point and Gaussian noise of spread 0.3; every class has an example in every part.

    Measured, validation loss (median of 10 seeds) at the rate that was best on 5 others: 300 steps with all of the
    data, Adam 0.0015, momentum 0.011, SGD 0.029; 1,000 steps with batches of 32, 0.0055, 0.0086 and 0.013. Adam's lead
    takes both the rare classes and inputs whose mean is far from 0: with as many examples of each class it is 0.0014,
    0.0010 and 0.0088 with all of the data, with standardised inputs 0.0030, 0.0037 and 0.010.
    """
    rng = random(0, DATA)
    centres = rng.uniform(0, 2, (RARE, 24))
    share = 1 / np.arange(1, RARE + 1)
    share /= share.sum()

    def drawn(count: int) -> tuple[Floats, Ints]:
        labels = np.repeat(np.arange(RARE), np.maximum(1, np.round(count * share)).astype(int))
        return centres[labels] + rng.normal(0, 0.3, (len(labels), centres.shape[1])), labels

    parts = {part: drawn(count) for part, count in (("train", 1000), ("validation", 400), ("test", 400))}
    about = f"{RARE} classes of points, as unequally frequent as the words of a language"
    task = DenseClassifier(Examples(parts, RARE), [], about)
    task.together = 128
    task.levels += unequal_shares(parts["train"][1], RARE)
    return task


# ---------------------------------------------------------------- many perfect fits


class ManyFits(Task):
    """Wilson and others, 1705.08292, section 3.3: more columns than rows, so that many weights fit all of the data.

    Labels y are 60 times +1 and 40 times -1. Column 1 is the label, columns 2 and 3 are 1, then each example has five
    columns of its own: 1, 0, 0, 0, 0 where its label is +1, and 1, 1, 1, 1, 1 where it is -1. The loss is the mean of
    `(w x - y)^2`, the answer is the sign of `w x`, and every run starts at 0.

    A new example has columns of its own, whose weights nobody trained and which are still 0: its output is
    `y w_1 + w_2 + w_3`. Column 1 alone answers all new examples rightly. Gradient descent finds the solution of
    smallest norm, which does so too. With full batches and a small epsilon, Adam, RMSprop and Adagrad go along
    `sign(X^T y)` and end at a quarter of it, which calls every new example positive. New examples with the same label
    are all alike: there is a validation part and no test part.

    The five columns are kept as a row of `[100, 5]`, in which an example finds its own: no zeros are multiplied.
    """

    POSITIVE, NEGATIVE, OWN = 60, 40, 5
    accuracy = True
    parts = ("train", "validation")
    seed_meaning = "data order"
    network = "503 → 1 linear"
    about = "100 examples with 503 columns, of which one is the label: many weights fit, not all of them have learnt it"

    def __init__(self) -> None:
        self.examples = count = self.POSITIVE + self.NEGATIVE
        self.labels = np.repeat([1.0, -1.0], [self.POSITIVE, self.NEGATIVE])
        self.own = np.ones((count, self.OWN))
        self.own[: self.POSITIVE, 1:] = 0
        self.layout = Layout(
            (("shared", (3, 1)), ("own", (count, self.OWN))), (("shared", "vector"), ("own", "embedding"))
        )
        self._tensors: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        mean = float(self.labels.mean())
        self.guess = 1 - mean**2
        share = self.POSITIVE / count
        columns = self.columns()
        smallest = self._new(least_squares(columns, self.labels))
        signs = self._new(np.sign(columns.T @ self.labels) / 4)
        self.levels = (
            Level(f"always the mean: {self.guess:.2f}", self.guess, meaning="The loss of always answering 0.2."),
            Level(
                f"new examples, Adam's fit: {self._new_loss(signs):.2f}", self._new_loss(signs),
                meaning="On new examples, of sign(Xᵀy) / 4, where full batches lead Adam, RMSprop and Adagrad.",
            ),
            Level(
                f"new examples, smallest fit: {self._new_loss(smallest):.4f}", self._new_loss(smallest),
                meaning="On new examples, of the weights of smallest norm that fit, where gradient descent leads.",
            ),
            Level(
                f"calls everything positive: {share:.0%}", share, "accuracy",
                "What a fit gets right that has learnt the columns which are always 1, and not the label.",
            ),
        )  # fmt: skip
        self.layers = (
            Layer("input", "the label, twice the number 1, and 500 columns of which an example has 5", "503", 0),
            Layer("output", "a weighted sum of all 503, without a bias", "1", self.layout.width),
        )
        self.initial_loss = 1.0, "All weights start at 0, so every output is 0, and every target is 1 or −1."

    def columns(self) -> Floats:
        """The training part as a table, X `[100, 503]`."""
        count = len(self.labels)
        blocks = np.zeros((count, count, self.OWN))
        blocks[np.arange(count), np.arange(count)] = self.own
        return np.column_stack([self.labels, np.ones((count, 2)), blocks.reshape(count, -1)])

    @staticmethod
    def _new(weights: Floats) -> tuple[float, float]:
        """The outputs for a new example with label +1 and with label -1."""
        return float(weights[0] + weights[1] + weights[2]), float(-weights[0] + weights[1] + weights[2])

    def _new_loss(self, outputs: tuple[float, float]) -> float:
        positive, negative = outputs
        return (self.POSITIVE * (positive - 1) ** 2 + self.NEGATIVE * (negative + 1) ** 2) / len(self.labels)

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        return like.new_zeros(len(seeds), self.layout.width)

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        chosen = batch_indices(seeds, step, len(self.labels), size, like.device)
        return Batch(step, (chosen.view(len(seeds), size),))

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        return self._off(p, *self._chosen(p, batch)).square().mean(1)

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        y, own, places = self._chosen(p, batch)
        off = self._off(p, y, own, places)
        signal = off * (2 / off.shape[1])  # dL/d(outputs)
        always = signal.sum(1, keepdim=True)
        rows = p.new_zeros(len(p) * len(self.labels), self.OWN)
        rows.index_add_(0, places, (signal.unsqueeze(2) * own).flatten(0, 1))
        shared = torch.cat([(signal * y).sum(1, keepdim=True), always, always], dim=1)
        return off.square().mean(1), self.layout.flat([shared, rows.view(len(p), -1)])

    def evaluate(self, p: Tensor, part: str) -> dict[str, Tensor]:
        y, own = self._data(p)
        views = self.layout.views(p)
        outputs = self._shared(views["shared"], y)
        if part == "train":
            outputs = outputs + (views["own"] * own).sum(2)
        right = (outputs * y > 0).to(p).mean(1)  # NaN and 0 are wrong
        return {"loss": (outputs - y).square().mean(1), "accuracy": right}

    def _data(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Labels `[N]`, and each example's own columns `[N, 5]`; made once a dtype and device."""
        key = like.dtype, like.device
        if key not in self._tensors:
            self._tensors[key] = torch.as_tensor(self.labels).to(like), torch.as_tensor(self.own).to(like)
        return self._tensors[key]

    def _chosen(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Labels `[R, B]` and own columns `[R, B, 5]` of a batch, and where each finds its weights, `[R B]`."""
        (chosen,) = batch.tensors
        labels, own = self._data(p)
        flat, offsets = chosen.flatten(), torch.arange(len(chosen), device=p.device).unsqueeze(1)
        places = (chosen + offsets * len(labels)).flatten()
        return labels.index_select(0, flat).view_as(chosen), own.index_select(0, flat).view(*chosen.shape, -1), places

    def _off(self, p: Tensor, y: Tensor, own: Tensor, places: Tensor) -> Tensor:
        """Outputs minus labels, `[R, B]`."""
        views = self.layout.views(p)
        weights = views["own"].flatten(0, 1).index_select(0, places).view_as(own)
        return self._shared(views["shared"], y) + (weights * own).sum(2) - y

    @staticmethod
    def _shared(weights: Tensor, y: Tensor) -> Tensor:
        """What the three columns that all examples have add to the outputs, `[R, B]`; labels `[R, B]` or `[B]`."""
        return weights[:, 0] * y + (weights[:, 1] + weights[:, 2])
