"""Fully connected networks, and the data sets they are raced on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from core.spec import Hyper, Layout
from core.tasks.base import Batch, Layer
from core.tasks.data import DATA, Data, Examples, digit_images, initial_draw, random, split
from core.tasks.supervised import Classifier, Regressor, Supervised


class Dense(Supervised):
    """A multilayer perceptron with ReLU, `[R]` of them at once; without hidden layers, a linear model.

    The gradient is written out, which is 1.5 to 3 times faster than autograd on tables this small and equal to it
    (a test holds that).

    Initial weights: uniform within 1/sqrt(fan-in), weights and biases, as `torch.nn.Linear` draws them.
    """

    relu = True
    biases = True

    def __init__(self, data: Data, hidden: Sequence[int], about: str):
        super().__init__(data, about)
        self.widths = (data.features, *hidden, data.outputs)
        last = len(self.widths) - 1
        shapes: list[tuple[str, tuple[int, ...]]] = []
        roles: list[tuple[str, str]] = []
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.widths), start=1):
            shapes.append((f"W{layer}", (fan_out, fan_in)))
            roles.append((f"W{layer}", "output" if layer == last else "hidden"))
            if self.biases:
                shapes.append((f"b{layer}", (fan_out, 1)))
                roles.append((f"b{layer}", "vector"))
        self.layout = Layout(tuple(shapes), tuple(roles))
        kind = "ReLU" if self.relu else "linear"
        self.network = " → ".join(map(str, self.widths)) + (f" {kind}" if hidden else "")
        self.activations = sum(self.widths)
        self.layers = self._drawn()
        self.initial_loss = self._expected(self._first_square())

    def _drawn(self) -> tuple[Layer, ...]:
        """The layers in words, for a drawing."""
        found = [Layer("input", "the numbers of one example", f"{self.widths[0]}", 0)]
        last = len(self.widths) - 1
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.widths), start=1):
            does = f"weighted sums of all {fan_in}" + (", each with a bias" if self.biases else "")
            does += ", then ReLU: max(0, sum)" if layer < last and self.relu else ""
            name = "output" if layer == last else f"hidden {layer}" if last > 2 else "hidden"
            found.append(Layer(name, does, f"{fan_out}", fan_out * (fan_in + self.biases)))
        return tuple(found)

    def _first_square(self) -> float:
        """Mean square of an output over first guesses and training examples, exactly.

        The variance of a weight or bias is `1 / (3 fan-in)`, hence `E z^2 = (mean E h^2 + 1 / fan-in) / 3`; z is
        symmetric about 0, hence `E h^2 = E z^2 / 2` after a ReLU.
        """
        square = float((self.data.parts["train"][0] ** 2).mean())
        for layer, fan_in in enumerate(self.widths[:-1]):
            passed = square / 2 if layer and self.relu else square
            square = (passed + self.biases / fan_in) / 3
        return square

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        bounds = np.concatenate(
            [
                np.full(fan_out * (fan_in + self.biases), 1 / math.sqrt(fan_in))
                for fan_in, fan_out in pairwise(self.widths)
            ]
        )
        draws = [initial_draw(seed, draw).uniform(-bounds, bounds) for seed in seeds]
        return torch.as_tensor(np.stack(draws)).to(like)

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch.tensors
        views = self.layout.views(p)
        activations = self._activations(views, x)
        loss, signal = self._compared_with_signal(activations[-1], y)
        gradients: list[Tensor] = []
        for layer in range(len(self.widths) - 1, 0, -1):
            if self.biases:
                gradients.append(signal.sum(2))
            gradients.append(torch.bmm(signal, activations[layer - 1].transpose(1, 2)))
            if layer > 1:
                signal = torch.bmm(views[f"W{layer}"].transpose(1, 2), signal)
                if self.relu:
                    # What passed the ReLU passes: 4 to 7 times faster than `signal * (activation > 0)`.
                    torch.ops.aten.threshold_backward.grad_input(signal, activations[layer - 1], 0, grad_input=signal)
        return loss, self.layout.flat(reversed(gradients))

    def _outputs(self, p: Tensor, x: Tensor) -> Tensor:
        return self._activations(self.layout.views(p), x)[-1]

    def _activations(self, views: dict[str, Tensor], x: Tensor) -> list[Tensor]:
        """Inputs `[R, F, B]`, each hidden layer's output, and the outputs `[R, K, B]`."""
        found = [x]
        for layer in range(1, len(self.widths)):
            weights = views[f"W{layer}"]
            z = torch.baddbmm(views[f"b{layer}"], weights, found[-1]) if self.biases else torch.bmm(weights, found[-1])
            found.append(z.relu_() if self.relu and layer < len(self.widths) - 1 else z)
        return found


class DenseClassifier(Dense, Classifier):
    """A multilayer perceptron whose outputs are logits of classes."""

    def __init__(self, data: Examples, hidden: Sequence[int], about: str):
        super().__init__(data, hidden, about)


class DenseRegressor(Dense, Regressor):
    """A multilayer perceptron whose outputs are compared with numbers."""


def digits(width: int, depth: int) -> DenseClassifier:
    """Handwritten digits: 1,797 real images of 8 x 8 pixels, inputs / 16 (UCI, in scikit-learn)."""
    return DenseClassifier(Examples(digit_images(), 10), [width] * depth, "1,797 real images of handwritten digits")


def moons(width: int, depth: int, noise: float) -> DenseClassifier:
    """Two interleaved half circles in the plane with Gaussian noise, 1,000 points."""
    from sklearn.datasets import make_moons  # here, because its import costs most of a second

    x, y = make_moons(1000, noise=noise, random_state=0)
    return DenseClassifier(Examples(split(x, y), 2), [width] * depth, "two interleaved half moons of points")


def spirals(width: int, depth: int, noise: float) -> DenseClassifier:
    """Two spirals of one and a half turns around each other with Gaussian noise, 1,000 points."""
    rng = random(0, DATA)
    y = np.arange(1000) % 2
    radius = np.sqrt(rng.uniform(0.02, 1, 1000))
    angle = 3 * math.pi * radius + math.pi * y
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, noise, (1000, 2))
    return DenseClassifier(Examples(split(x, y), 2), [width] * depth, "two spirals of points, wound into each other")


def hidden_layers(width: int, depth: int) -> tuple[Hyper, ...]:
    """The two settings of a network of dense layers, with these defaults."""
    return (
        Hyper("width", width, 4, 128, grid=(4, 8, 16, 32, 64, 128), minimum=1, maximum=1024, label="Hidden units",
              help="Neurons in each hidden layer; more fit faster and cost more."),
        Hyper("depth", depth, 1, 4, minimum=1, maximum=16, label="Hidden layers",
              help="Layers between input and output; deeper is harder to train."),
    )  # fmt: skip
