"""A small convolutional network on the digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.spec import Layout
from core.tasks.base import Batch, Layer
from core.tasks.data import Examples, digit_images, initial_draw
from core.tasks.supervised import Classifier

KERNEL = 3
SIDES = (8, 6, 4, 2)  # of the image, after each convolution, and after pooling


def _places(channels: int, side: int) -> Tensor:
    """Where the patches of a 3 x 3 convolution lie in an image flattened to `[channels side^2]`.

    For each channel and place in the patch, as `nn.Conv2d` has its weights, and each place of the patch.
    """
    places = torch.arange(channels * side * side).view(channels, side, side)
    windows = places.unfold(1, KERNEL, 1).unfold(2, KERNEL, 1)  # [channels, out, out, 3, 3]
    return windows.permute(0, 3, 4, 1, 2).flatten()


class _Seen(NamedTuple):
    """What a step remembers of the way to the logits."""

    pixels: Tensor  # patches of the first convolution, [R, 9, 36 B]
    hidden: Tensor  # after it, [R, channels, 36 B]
    patches: Tensor  # of the second, [R, channels 9, 16 B]
    sides: tuple[Tensor, Tensor]  # left and right of each square, [R, channels, 2, 2, 2, B]
    ends: tuple[Tensor, Tensor]  # the larger of them, above and below, [R, channels, 2, 2, B]
    pooled: Tensor  # [R, channels 4, B]
    logits: Tensor


class Convolutional(Classifier):
    """8 x 8 pixels; 3 x 3 convolution, ReLU; 3 x 3 convolution, 2 x 2 max pooling, ReLU; linear. `[R]` of them at once.

    No padding, so that one pooling leaves 2 x 2 places: fewer weights than the fully connected network, of which two
    thirds are shared between places. A convolution is one matrix product over patches, which are gathered by an index:
    with the gradient written out, 2 times faster than `conv2d` with a group for each row and autograd. Activations are
    `[R, channels, places, batch]`, the batch last, so that what is gathered and pooled are whole batches.

    Initial weights: uniform within 1/sqrt(fan-in), weights and biases, as `torch.nn.Conv2d` and `Linear` draw them.
    """

    together = 64

    def __init__(self, data: Examples, channels: int, about: str):
        super().__init__(data, about)
        first, second, flat = channels, 2 * channels, 2 * channels * SIDES[3] ** 2
        fan_ins = (KERNEL**2, first * KERNEL**2, flat)
        outs = (first, second, data.outputs)
        shapes: tuple[tuple[int, ...], ...] = (
            (first, 1, KERNEL, KERNEL), (second, first, KERNEL, KERNEL), (data.outputs, flat),
        )  # fmt: skip
        named = [(f"W{i}", shape, f"b{i}", (shape[0], 1)) for i, shape in enumerate(shapes, start=1)]
        self.layout = Layout(
            tuple(pair for w, shape, b, bias in named for pair in ((w, shape), (b, bias))),
            tuple(
                pair
                for (w, _, b, _), role in zip(named, ("hidden", "hidden", "output"), strict=True)
                for pair in ((w, role), (b, "vector"))
            ),
        )
        self._bounds = np.concatenate(
            [np.full(out * (fan_in + 1), 1 / math.sqrt(fan_in)) for out, fan_in in zip(outs, fan_ins, strict=True)]
        )
        self._places = _places(1, SIDES[0]), _places(first, SIDES[1])
        self._indices: dict[torch.device, tuple[Tensor, ...]] = {}
        self.network = f"8 × 8 → {first} × 6 × 6 → {second} × 4 × 4 → pool → {flat} → {data.outputs}"
        self.activations = SIDES[0] ** 2 + first * SIDES[1] ** 2 + second * SIDES[2] ** 2 + flat + data.outputs
        counts = [out * (fan_in + 1) for out, fan_in in zip(outs, fan_ins, strict=True)]
        self.layers = (
            Layer("input", "the pixels of one image", "1 × 8 × 8", 0),
            Layer("convolution 1", f"{first} patterns of 3 × 3, looked for at every place, then ReLU: max(0, sum)",
                  f"{first} × 6 × 6", counts[0]),
            Layer("convolution 2", f"{second} patterns of 3 × 3 across all {first} channels",
                  f"{second} × 4 × 4", counts[1]),
            Layer("pooling", "the largest of each 2 × 2 places, then ReLU", f"{second} × 2 × 2", 0),
            Layer("output", f"weighted sums of all {flat}, each with a bias", f"{data.outputs}", counts[2]),
        )  # fmt: skip
        self.initial_loss = self._expected(self._first_square())

    def _first_square(self) -> float:
        """Mean square of an output over first guesses, estimated from 64 of them on 64 images of the training part."""
        guesses = self.initial(range(64), torch.empty(0, dtype=torch.float32))
        images, _ = self.data.tensors("train", guesses)
        return float(self._outputs(guesses, images[:64].T.expand(64, -1, -1)).square().mean())

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        draws = [initial_draw(seed, draw).uniform(-self._bounds, self._bounds) for seed in seeds]
        return torch.as_tensor(np.stack(draws)).to(like)

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch.tensors
        views = self.layout.views(p)
        seen = self._seen(views, x)
        loss, signal = self._compared_with_signal(seen.logits, y)
        output = [torch.bmm(signal, seen.pooled.transpose(1, 2)), signal.sum(2)]
        signal = self._before_pooling(torch.bmm(views["W3"].transpose(1, 2), signal), seen)
        second = [torch.bmm(signal, seen.patches.transpose(1, 2)), signal.sum(2)]
        signal = self._before_patches(torch.bmm(views["W2"].flatten(2).transpose(1, 2), signal), seen)
        first = [torch.bmm(signal, seen.pixels.transpose(1, 2)), signal.sum(2)]
        return loss, self.layout.flat([*first, *second, *output])

    def _outputs(self, p: Tensor, x: Tensor) -> Tensor:
        return self._seen(self.layout.views(p), x).logits

    def _seen(self, views: dict[str, Tensor], x: Tensor) -> _Seen:
        rows, size = len(x), x.shape[2]
        pixels = self._patches_of(x, 0)
        hidden = torch.baddbmm(views["b1"], views["W1"].flatten(2), pixels).relu_()
        patches = self._patches_of(hidden.view(rows, -1, size), 1)
        sums = torch.baddbmm(views["b2"], views["W2"].flatten(2), patches)
        half = SIDES[3]
        squares = sums.view(rows, -1, half, 2, half, 2, size)  # row of squares, row in it, column of squares, …
        sides = squares[:, :, :, :, :, 0], squares[:, :, :, :, :, 1]
        wide = torch.maximum(*sides)
        ends = wide[:, :, :, 0], wide[:, :, :, 1]
        pooled = torch.maximum(*ends).relu_().view(rows, -1, size)
        logits = torch.baddbmm(views["b3"], views["W3"], pooled)
        return _Seen(pixels, hidden, patches, sides, ends, pooled, logits)

    def _patches_of(self, x: Tensor, convolution: int) -> Tensor:
        """The patches that a convolution multiplies: `[R, channels side^2, B] -> [R, channels 9, out^2 B]`."""
        if x.device not in self._indices:
            self._indices[x.device] = tuple(places.to(x.device) for places in self._places)
        index = self._indices[x.device][convolution]
        out = SIDES[convolution + 1] ** 2
        return x.index_select(1, index).view(len(x), len(index) // out, out * x.shape[2])

    def _before_pooling(self, signal: Tensor, seen: _Seen) -> Tensor:
        """dL/d(pooled) `[R, channels 4, B]` -> dL/d(sums) `[R, channels, 16 B]`: to the largest of each square.

        Where some are equal, to the first, as `torch.nn.MaxPool2d`. What ReLU held back is held back.
        """
        torch.ops.aten.threshold_backward.grad_input(signal, seen.pooled, 0, grad_input=signal)
        (up, down), (left, right) = seen.ends, seen.sides
        above = signal.view_as(up) * (up >= down)
        tall = torch.stack([above, signal.view_as(up) - above], dim=3)
        first = tall * (left >= right)
        return torch.stack([first, tall - first], dim=5).view(len(signal), left.shape[1], -1)

    def _before_patches(self, signal: Tensor, seen: _Seen) -> Tensor:
        """dL/d(patches) `[R, channels 9, 16 B]` -> dL/d(first sums) `[R, channels, 36 B]`: to where it was taken."""
        side, out, rows = SIDES[1], SIDES[2], len(signal)
        places = signal.view(rows, -1, KERNEL, KERNEL, out, out, signal.shape[2] // out**2)
        gathered = signal.new_zeros(rows, places.shape[1], side, side, places.shape[6])
        for i in range(KERNEL):
            for j in range(KERNEL):
                gathered[:, :, i : i + out, j : j + out] += places[:, :, i, j]
        back = gathered.view_as(seen.hidden)
        torch.ops.aten.threshold_backward.grad_input(back, seen.hidden, 0, grad_input=back)
        return back


def cnn(width: int) -> Convolutional:
    """A convolutional network of `width` and twice as many channels on the handwritten digits."""
    return Convolutional(Examples(digit_images(), 10), width, "1,797 real images of handwritten digits")
