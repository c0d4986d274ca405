"""Labelled examples, split into train, validation and test, and the order in which a seed sees them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]


class Examples:
    """Inputs `[N, F]` and class labels `[N]` in three parts; tensors are made once for each dtype and device."""

    def __init__(self, parts: dict[str, tuple[Floats, Ints]], classes: int):
        self.parts, self.classes = parts, classes
        self.features = parts["train"][0].shape[1]
        self.count = len(parts["train"][0])
        self._tensors: dict[tuple[str, torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def tensors(self, part: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs `[N, F]` and one-hot labels `[N, C]` in the dtype and on the device of `like`."""
        key = (part, like.dtype, like.device)
        if key not in self._tensors:
            inputs, labels = self.parts[part]
            x = torch.as_tensor(inputs).to(like)
            y = torch.nn.functional.one_hot(torch.as_tensor(labels), self.classes).to(like)
            self._tensors[key] = x, y
        return self._tensors[key]

    def majority(self, part: str) -> float:
        """Share of the commonest class: the accuracy of always saying the same."""
        return float(np.bincount(self.parts[part][1]).max() / len(self.parts[part][1]))


def random(seed: int, stream: int, *more: int) -> np.random.Generator:
    """A generator of its own for each use: never the global one, since many runs share a process."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, *more))))


INITIAL, ORDER, DATA, LABELS = 0, 1, 2, 3  # streams of `random`


def initial_draw(seed: int, draw: int) -> np.random.Generator:
    """Where a seed's initial weights come from, and those of each later draw of the same seed."""
    return random(seed, INITIAL, *([draw] if draw else []))


@lru_cache(maxsize=16_384)  # 256 seeds of a short run, 4 bytes an example: drawing them anew took a quarter of it
def permutation(seed: int, epoch: int, count: int) -> Ints:
    """The order in which a seed goes through `count` examples in an epoch."""
    return random(seed, ORDER, epoch).permutation(count).astype(np.int32)


@lru_cache(maxsize=160)
def epoch_table(seeds: tuple[int, ...], epoch: int, count: int, size: int, device: torch.device) -> Tensor:
    """Which examples each row sees in each batch of an epoch: `[batches, rows * size]`; the rest is left out."""
    batches = count // size
    orders = np.stack([permutation(seed, epoch, count)[: batches * size].reshape(batches, size) for seed in seeds], 1)
    return torch.as_tensor(orders.reshape(batches, -1)).to(device)


def batch_indices(seeds: tuple[int, ...], step: int, count: int, size: int, device: torch.device) -> Tensor:
    """Examples of one step, `[rows * size]`: each epoch is a fresh permutation, its incomplete last batch dropped."""
    epoch, position = divmod(step, count // size)
    return epoch_table(seeds, epoch, count, size, device)[position]


def split(
    inputs: Floats, labels: Ints, *, validation: float = 0.2, test: float = 0.2
) -> dict[str, tuple[Floats, Ints]]:
    """Stratified train, validation and test parts, always the same ones."""
    from sklearn.model_selection import train_test_split  # here, because its import costs most of a second

    rest, x_test, rest_labels, y_test = train_test_split(
        inputs, labels, test_size=test, random_state=0, stratify=labels
    )
    x_train, x_valid, y_train, y_valid = train_test_split(
        rest, rest_labels, test_size=validation / (1 - test), random_state=0, stratify=rest_labels
    )
    return {"train": (x_train, y_train), "validation": (x_valid, y_valid), "test": (x_test, y_test)}
