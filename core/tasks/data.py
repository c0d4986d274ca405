"""Examples, split into train, validation and test, and the order in which a seed sees them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.cache import Cache

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
Parts = dict[str, tuple[Floats, NDArray[Any]]]  # {"train": (inputs [N, F], targets), "validation": …, "test": …}


class Data:
    """Inputs `[N, F]` and targets, numbers `[N]` or `[N, K]`, in parts; tensors are made once a dtype and device.

    Of one's own arrays: `Data(split(inputs, targets))`.
    """

    def __init__(self, parts: Parts):
        self.parts = parts
        inputs, targets = parts["train"]
        self.count, self.features = inputs.shape
        self.outputs = 1 if targets.ndim == 1 else targets.shape[1]
        self._tensors: dict[tuple[str, torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def tensors(self, part: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs `[N, F]` and targets `[N, K]` in the dtype and on the device of `like`."""
        key = (part, like.dtype, like.device)
        if key not in self._tensors:
            inputs, targets = (torch.as_tensor(array) for array in self.parts[part])
            self._tensors[key] = inputs.to(like), self._as_outputs(targets).to(like)
        return self._tensors[key]

    def _as_outputs(self, targets: Tensor) -> Tensor:
        return targets.view(-1, self.outputs)


class Examples(Data):
    """Inputs `[N, F]` and class labels `[N]`, 0 to `classes - 1`; as targets they are one-hot."""

    def __init__(self, parts: Parts, classes: int):
        super().__init__(parts)
        self.outputs = self.classes = classes

    def _as_outputs(self, targets: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(targets, self.classes)

    def majority(self, part: str) -> float:
        """Share of the commonest class: the accuracy of always saying the same."""
        return float(np.bincount(self.parts[part][1]).max() / len(self.parts[part][1]))


def random(seed: int, stream: int, *more: int) -> np.random.Generator:
    """A generator of its own for each use: never the global one, since many runs share a process."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, *more))))


INITIAL, ORDER, DATA, LABELS, WRITING, WRONG = 0, 1, 2, 3, 4, 5  # streams of `random`


def label_noise(seeds: Sequence[int], step: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform numbers `[R, *shape]` by which labels are drawn at a step, the same for the same seed and step."""
    drawn = [random(seed, LABELS, step).uniform(size=shape) for seed in seeds]
    return torch.as_tensor(np.stack(drawn)).to(like)


def draw_classes(logits: Tensor, u: Tensor, dim: int) -> Tensor:
    """Classes drawn from the softmax of logits over an axis, by its cumulated shares and uniform numbers u, which lack
    that axis.
    """
    shares = logits.softmax(dim).cumsum(dim)
    return (shares < u.unsqueeze(dim)).sum(dim).clamp_(max=logits.shape[dim] - 1)


def initial_draw(seed: int, draw: int) -> np.random.Generator:
    """Where a seed's initial weights come from, and those of each later draw of the same seed."""
    return random(seed, INITIAL, *([draw] if draw else []))


def another_class(labels: Tensor, classes: int, seeds: Sequence[int], step: int) -> Tensor:
    """Of each label `[R, …]` another one of so many classes, all equally likely; drawn for a seed and a step."""
    drawn = np.stack([random(seed, WRONG, step).integers(1, classes, size=labels.shape[1:]) for seed in seeds])
    return (labels + torch.as_tensor(drawn).to(labels)) % classes


LONG = 1 << 16  # examples of an epoch at most, unless a batch has more: no usual run sees so many


# Drawing the orders of 256 seeds anew took a quarter of a short run on the digits, 4 KB an epoch; of a long text, an
# epoch is 64 times as much.
_orders: Cache[Ints] = Cache(64 << 20, lambda order: order.nbytes)
_tables: Cache[Tensor] = Cache(64 << 20, lambda table: table.numel() * table.element_size())


def epoch_order(seed: int, epoch: int, count: int, size: int) -> Ints:
    """The order in which a seed goes through `count` examples in an epoch of batches of `size`: a permutation, or, of
    more than 65,536, so many independent draws.
    """

    def draw() -> Ints:
        generator = random(seed, ORDER, epoch)
        if long:
            return generator.integers(count, size=LONG, dtype=np.int32)
        return generator.permutation(count).astype(np.int32)

    long = _in_epoch(count, size) != count
    return _orders.get((seed, epoch, count, long), draw)


def epoch_table(seeds: tuple[int, ...], epoch: int, count: int, size: int, device: torch.device) -> Tensor:
    """Which examples each row sees in each batch of an epoch: `[batches, rows * size]`; the rest is left out."""

    def make() -> Tensor:
        batches = _in_epoch(count, size) // size
        orders = [epoch_order(seed, epoch, count, size)[: batches * size].reshape(batches, size) for seed in seeds]
        return torch.as_tensor(np.stack(orders, 1).reshape(batches, -1)).to(device)

    return _tables.get((seeds, epoch, count, size, device), make)


def batch_indices(seeds: tuple[int, ...], step: int, count: int, size: int, device: torch.device) -> Tensor:
    """Examples of one step, `[rows * size]`: each epoch is a fresh permutation, its incomplete last batch dropped.

    Where there are more than 65,536 examples, it is so many independent draws instead.
    """
    epoch, position = divmod(step, _in_epoch(count, size) // size)
    return epoch_table(seeds, epoch, count, size, device)[position]


def _in_epoch(count: int, size: int) -> int:
    return count if count <= LONG or size > LONG else LONG


def split(inputs: Floats, targets: NDArray[Any], *, validation: float = 0.2, test: float = 0.2) -> Parts:
    """Train, validation and test parts, always the same ones; stratified by class where targets are whole numbers."""
    from sklearn.model_selection import train_test_split  # here, because its import costs most of a second

    def cut(x: Floats, y: NDArray[Any], share: float) -> list[NDArray[Any]]:
        by_class = y if np.issubdtype(y.dtype, np.integer) else None
        found: list[NDArray[Any]] = train_test_split(x, y, test_size=share, random_state=0, stratify=by_class)
        return found

    rest, x_test, rest_targets, y_test = cut(inputs, targets, test)
    x_train, x_valid, y_train, y_valid = cut(rest, rest_targets, validation / (1 - test))
    return {"train": (x_train, y_train), "validation": (x_valid, y_valid), "test": (x_test, y_test)}


def standardised(parts: Parts) -> Parts:
    """Every input, and every target that is no class, with mean 0 and variance 1 in the training part.

    Mean and spread are the training part's in the other parts too. A column that never changes there becomes 0.
    """
    (x_mean, x_spread), (y_mean, y_spread) = (_moments(array) for array in parts["train"])
    return {
        part: ((x - x_mean) / x_spread, y if np.issubdtype(y.dtype, np.integer) else (y - y_mean) / y_spread)
        for part, (x, y) in parts.items()
    }


def _moments(array: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column; 1 where a column never changes."""
    return array.mean(axis=0), np.where(np.ptp(array, axis=0) > 0, array.std(axis=0), 1)


@lru_cache(maxsize=1)
def digit_images() -> Parts:
    """1,797 real images of handwritten digits, rows of 8 x 8 pixels from 0 to 1 (UCI, in scikit-learn)."""
    from sklearn.datasets import load_digits  # here, because its import costs most of a second

    images = load_digits()
    return split(images.data / 16, images.target)
