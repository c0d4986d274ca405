"""Products of matrices: linear in what they compute, and not in their weights. Plateaus, and optima known exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.spec import Layout
from core.tasks.base import Batch, Layer, Level, Task
from core.tasks.data import DATA, Data, Floats, digit_images, initial_draw, random, split
from core.tasks.dense import DenseRegressor
from core.tasks.tables import least_squares


def _directions(rng: np.random.Generator, rows: int, columns: int, strengths: Sequence[float]) -> Floats:
    """A random matrix `[rows, columns]` with these singular values."""
    left, right = (np.linalg.qr(rng.normal(size=(side, len(strengths))))[0] for side in (rows, columns))
    found: Floats = (left * strengths) @ right.T
    return found


def _stages(losses: Floats, what: str) -> tuple[Level, ...]:
    """A level for each direction learnt, all but the last: `losses[k]` is the smallest loss with k of them."""
    return tuple(
        Level(
            f"{k} of {len(losses) - 1} directions: {loss:.3g}", float(loss),
            meaning=f"The smallest loss of {what} of rank {k}: a plateau, where the others are not learnt yet.",
        )
        for k, loss in enumerate(losses[1:-1], start=1)
    )  # fmt: skip


# ---------------------------------------------------------------- a deep linear network


class DeepLinear(DenseRegressor):
    """A multilayer perceptron without ReLU and without biases, `y = W_L … W_1 x`: one matrix, in several factors.

    Saxe, McClelland, Ganguli, 1312.6120: the directions of the data are learnt one after the other, the strongest
    first, with a plateau before each. What is lowest is known: the best matrix of the narrowest layer's rank.
    """

    relu = biases = False


STRENGTHS = (3.0, 1.5, 0.8, 0.4)


def deep_linear(width: int, depth: int) -> DeepLinear:
    """Made data: x Gaussian with 16 numbers, `y = A x + noise` with 8, A of rank 4 with strengths 3, 1.5, 0.8 and 0.4.

    Noise of spread 0.1; 1,000 examples. The loss is the mean of the squared error over the 8 outputs.
    """
    rng = random(0, DATA)
    x = rng.normal(size=(1000, 16))
    y = x @ _directions(rng, 8, 16, STRENGTHS).T + rng.normal(0, 0.1, (1000, 8))
    task = DeepLinear(Data(split(x, y)), [width] * depth, "a linear map with four directions of unequal strength")
    inputs, targets = task.data.parts["train"]
    fitted = inputs @ least_squares(inputs, targets)
    left = ((fitted - targets) ** 2).sum() + np.append(_tails(fitted), 0)
    losses = left / targets.size
    floor = float(losses[min(width, len(losses) - 1)])
    task.levels += (
        *_stages(losses[: min(width, len(STRENGTHS)) + 1], "a matrix"),
        Level(
            f"best linear model: {floor:.3g}", floor,
            meaning="The smallest training loss of any such network: reduced-rank regression, worked out exactly.",
        ),
    )  # fmt: skip
    return task


def _tails(matrix: Floats) -> Floats:
    """The squared distance to the nearest matrix of rank 0, 1, 2, …: the sum of the other singular values squared."""
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    tails: Floats = squares[::-1].cumsum()[::-1]
    return tails


# ---------------------------------------------------------------- matrix factorisation


class Factorisation(Task):
    """A matrix as a product, `f(U, V) = |U V^T - M|^2 / 2` with the full gradient: no data, no noise.

    M `[24, 16]` has singular values 1, 0.7, 0.4 and 0.2 and noise of spread 0.01; U `[24, k]`, V `[16, k]`. Not convex,
    and yet without bad minima: what is no best product of rank k is a saddle or a maximum (Baldi, Hornik, 1989). 0 is
    such a saddle, left the more slowly the nearer one starts: entries are drawn from N(0, scale^2).
    """

    SHAPE, STRENGTHS, NOISE = (24, 16), (1.0, 0.7, 0.4, 0.2), 0.01
    smoothing = 0.0
    seed_meaning = "starting point"
    about = "a matrix to be written as the product of two narrow ones"

    def __init__(self, rank: int, scale: float):
        rows, columns = self.SHAPE
        rng = random(0, DATA)
        self.matrix = _directions(rng, rows, columns, self.STRENGTHS) + rng.normal(0, self.NOISE, self.SHAPE)
        self.rank, self.scale = rank, scale
        self.layout = Layout((("U", (rows, rank)), ("V", (columns, rank))))
        self.network = f"({rows} × {rank}) · ({rank} × {columns})"
        self.layers = (
            Layer("U", f"{rank} numbers for each row of the matrix", f"{rows} × {rank}", rows * rank),
            Layer("V", f"{rank} numbers for each column; an entry is the product of its row's and its column's",
                  f"{columns} × {rank}", columns * rank),
        )  # fmt: skip
        losses = np.append(_tails(self.matrix), 0) / 2
        self.guess = float(losses[0])
        floor = float(losses[rank])
        self.levels = (
            Level(f"nothing: {self.guess:.3g}", self.guess, meaning="The loss of U = V = 0, half the squares of M."),
            *_stages(losses[: min(rank, len(self.STRENGTHS)) + 1], "a product"),
            Level(
                f"best of rank {rank}: {floor:.3g}", floor,
                meaning="Half the squares of the other singular values: no such product is nearer (Eckart, Young).",
            ),
        )  # fmt: skip
        first = rows * columns * rank * scale**4 / 2
        self.initial_loss = (
            self.guess + first,
            (
                f"Half the squares of M, {self.guess:.3g}, since the first product knows nothing of it, and half the "
                f"product's own, {first:.2g}."
            ),
        )
        self._matrices: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        draws = [initial_draw(seed, draw).normal(0, self.scale, self.layout.width) for seed in seeds]
        return torch.as_tensor(np.stack(draws)).to(like)

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        return self._off(p)[0].square().sum((1, 2)) / 2

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        off, u, v = self._off(p)
        gradient = self.layout.flat([torch.bmm(off, v), torch.bmm(off.transpose(1, 2), u)])
        return off.square().sum((1, 2)) / 2, gradient

    def _off(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`U V^T - M` `[R, 24, 16]`, and U and V."""
        key = p.dtype, p.device
        if key not in self._matrices:
            self._matrices[key] = torch.as_tensor(self.matrix).to(p)
        views = self.layout.views(p)
        u, v = views["U"], views["V"]
        return torch.baddbmm(self._matrices[key], u, v.transpose(1, 2), beta=-1), u, v


# ---------------------------------------------------------------- an autoencoder


def autoencoder(width: int) -> DenseRegressor:
    """Digits squeezed through a few numbers and drawn again: 64 pixels, a code of `width` ReLU units, 64 pixels.

    The loss is the mean squared error of a pixel. What is drawn is linear in the code, so that the best is known
    exactly, whatever the code: the principal components of the training part, as many as the code has numbers.
    """
    images = {part: (inputs, inputs) for part, (inputs, _) in digit_images().items()}
    task = DenseRegressor(Data(images), [width], "1,797 real images of digits, drawn again from a short code")
    inputs = images["train"][0]
    tails = np.append(_tails(inputs - inputs.mean(axis=0)), 0) / inputs.size
    floor = float(tails[min(width, len(tails) - 1)])
    if width < inputs.shape[1]:
        task.levels += (
            Level(
                f"{width} principal components: {floor:.3g} ({task.explained(floor)})", floor,
                meaning="The smallest training loss of any code of this length from which the image is drawn by "
                "weighted sums, ReLU or not: worked out exactly.",
            ),
        )  # fmt: skip
    return task
