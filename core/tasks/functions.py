"""Textbook functions: no data, no noise, two numbers to find. A seed is a starting point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.tasks.base import FunctionTask
from core.tasks.data import initial_draw


def quadratic(condition: float) -> FunctionTask:
    """A bowl, `f(x) = (x_1^2 + condition x_2^2) / 2`: curvatures 1 and `condition`, minimum 0 at the origin.

    Starts on the circle of radius 2, at an angle drawn from the seed.
    """

    def f(x: Tensor, step: int) -> Tensor:
        return (x[:, 0] ** 2 + condition * x[:, 1] ** 2) / 2

    return FunctionTask(f, _circle, about=f"a bowl that is {condition:g} times steeper one way than the other")


def rosenbrock() -> FunctionTask:
    """Rosenbrock's valley, `f(x) = (1 - x_1)^2 + 100 (x_2 - x_1^2)^2`, minimum 0 at (1, 1). Rosenbrock (1960).

    Starts within 0.3 of the classic (-1.2, 1), at a point drawn from the seed.
    """

    def f(x: Tensor, step: int) -> Tensor:
        return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2

    def start(seeds: Sequence[int], draw: int) -> Tensor:
        offsets = [initial_draw(seed, draw).uniform(-0.3, 0.3, 2) for seed in seeds]
        return torch.as_tensor(np.array([-1.2, 1.0]) + np.stack(offsets))

    return FunctionTask(f, start, about="a curved valley with steep walls and a nearly flat floor")


def _circle(seeds: Sequence[int], draw: int) -> Tensor:
    angles = [initial_draw(seed, draw).uniform(0, 2 * math.pi) for seed in seeds]
    return torch.as_tensor([[2 * math.cos(angle), 2 * math.sin(angle)] for angle in angles])
