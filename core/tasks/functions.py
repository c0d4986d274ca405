"""Textbook functions: no data, no noise, one or two numbers to find. A seed is a starting point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.tasks.base import Batch, FunctionTask, Level
from core.tasks.data import initial_draw


def quadratic(condition: float) -> FunctionTask:
    """A bowl, `f(x) = (x_1^2 + condition x_2^2) / 2`: curvatures 1 and `condition`, minimum 0 at the origin.

    Starts on the circle of radius 2, at an angle drawn from the seed.
    """

    def f(x: Tensor, step: int) -> Tensor:
        return (x[:, 0] ** 2 + condition * x[:, 1] ** 2) / 2

    task = FunctionTask(f, _circle, about=f"a bowl that is {condition:g} times steeper one way than the other")
    task.network = f"a function of two numbers: (x² + {condition:g} y²) / 2"
    task.initial_loss = (
        1 + condition,
        (
            f"The starts lie on a circle of radius 2, where x² and y² are 2 on average: (2 + {condition:g} × 2) / 2. A "
            f"single start has between 2 and {2 * condition:g}."
        ),
    )
    if condition > 1:
        task.levels = (
            Level(
                "along the flat way: 1", 1.0,
                meaning="What the flat direction alone has at the start, on average: below it, it is the flat "
                "direction that counts and no longer the steep one.",
            ),
        )  # fmt: skip
    return task


def rosenbrock() -> FunctionTask:
    """Rosenbrock's valley, `f(x) = (1 - x_1)^2 + 100 (x_2 - x_1^2)^2`, minimum 0 at (1, 1). Rosenbrock (1960).

    Starts within 0.3 of the classic (-1.2, 1), at a point drawn from the seed.
    """

    def f(x: Tensor, step: int) -> Tensor:
        return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2

    def start(seeds: Sequence[int], draw: int) -> Tensor:
        offsets = [initial_draw(seed, draw).uniform(-0.3, 0.3, 2) for seed in seeds]
        return torch.as_tensor(np.array([-1.2, 1.0]) + np.stack(offsets))

    task = FunctionTask(f, start, about="a curved valley with steep walls and a nearly flat floor")
    task.network = "a function of two numbers: (1 − x)² + 100 (y − x²)²"
    s = 0.3**2 / 3  # variance of an offset
    along, across = 2.2**2 + s, (0.44 + s) ** 2 + (1 + 2.4**2) * s + 0.3**4 / 5 - s**2
    task.initial_loss = (
        along + 100 * across,
        (
            f"The mean over all points within 0.3 of (−1.2, 1): {along:.2f} for the way along the valley and "
            f"{100 * across:.1f} for the height above its floor."
        ),
    )
    task.levels = (
        Level(
            "down in the valley: 4.84", 2.2**2,
            meaning="The floor below the start, (1 + 1.2)²: a run that is there has come down its wall and has the "
            "whole way along the valley before it.",
        ),
    )  # fmt: skip
    return task


def _circle(seeds: Sequence[int], draw: int) -> Tensor:
    angles = [initial_draw(seed, draw).uniform(0, 2 * math.pi) for seed in seeds]
    return torch.as_tensor([[2 * math.cos(angle), 2 * math.sin(angle)] for angle in angles])


class WrongWay(FunctionTask):
    """Reddi et al., 1904.09237, section 3: `f_t(x) = 1010 x` in the first of every 101 steps and `-10 x` in the others.

    x is held in [-1, 1]. On average over a cycle, F(x) = 10 x / 101, so that -1 is best although 100 of 101 gradients
    point away from it. The gradient is that of f_t; the loss that is recorded is how far F(x) lies above its minimum,
    `F(x) - F(-1) = 10 (x + 1) / 101`, since f_t itself would jump with each step.

    Starts within 0.1 of 0, at a point drawn from the seed.
    """

    CYCLE, RARE, USUAL = 101, 1010.0, -10.0
    MEAN = (RARE + (CYCLE - 1) * USUAL) / CYCLE
    changes = True
    guess = 2 * MEAN  # the most there is: where x is held, nothing blows up
    levels = (
        Level(
            f"as wrong as can be: x = 1, {guess:.3f}", guess,
            meaning="The end that 100 of 101 gradients point to; −1, the other one, has the smallest loss, 0.",
        ),
    )  # fmt: skip
    initial_loss = (
        MEAN,
        "Every start lies within 0.1 of x = 0, half of the way from the best end to the worst: 10 / 101.",
    )

    def __init__(self) -> None:
        super().__init__(
            lambda x, step: self.MEAN * (x[:, 0] + 1), _near_zero, lambda x: x.clamp(-1, 1),
            "a slope whose rare, large gradients outweigh the many small ones that point the other way: each step "
            "follows the gradient of that step, and the loss shown is the average over 101 of them",
        )  # fmt: skip
        self.network = "a function of one number from −1 to 1: 1010 x in the first of every 101 steps, then −10 x"

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        slope = self.RARE if batch.step % self.CYCLE == 0 else self.USUAL
        return self.loss(p, batch), torch.full_like(p, slope)


def _near_zero(seeds: Sequence[int], draw: int) -> Tensor:
    return torch.as_tensor([[initial_draw(seed, draw).uniform(-0.1, 0.1)] for seed in seeds])
