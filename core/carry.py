"""How long one bad gradient stays in an optimizer's memory: the closed forms, and what was measured of a run.

A run with a spike is compared with its twin, the same run without it. Steps are counted from 1, as ages are. The closed
forms are for gradients that are all 1 but that of step `at`, which is `size`, with eps 0 and no weight decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def half_life(beta: float) -> float:
    """Steps until a moving average has forgotten half of what it held: `ln 2 / -ln beta`; 0 where it keeps nothing."""
    return math.log(2) / -math.log(beta) if 0 < beta < 1 else (0.0 if beta == 0 else math.inf)


def share(beta: float, age: Array, at: int) -> Array:
    """Weight of the gradient of step `at` in the bias-corrected average at `age >= at`: the weights add up to 1.

    `(1 - beta) beta^(age - at) / (1 - beta^age)`; for the first gradient in a slow average about `1 / age`, and for
    a sum that forgets nothing, beta = 1, just that. Zero before.
    """
    age = np.asarray(age, dtype=float)
    if beta == 0:
        weight = np.where(age == at, 1.0, 0.0)
    elif beta == 1:
        weight = 1 / age
    else:
        weight = (1 - beta) * beta ** np.maximum(age - at, 0) / -np.expm1(age * math.log(beta))
    return np.where(age >= at, weight, 0.0)


def carried(size: float, beta: float, age: Array, at: int) -> Array:
    """The part of a memory that comes from the spike: `S w / (1 + (S - 1) w)`, with w its `share` of the weights.

    `size` is that of what is averaged: the gradient's for m, its square for v. Where the average starts from 0 and its
    bias is not corrected (RMSprop), and for momentum's `m <- mu m + g`, the part is the same: a factor of the whole
    memory drops out.
    """
    weight = share(beta, age, at)
    return size * weight / (1 + (size - 1) * weight)


def adam_step(size: float, age: Array, at: int, beta1: float, beta2: float) -> Array:
    """Adam's step over its twin's, which is one learning rate: `[1 + (S - 1) w1] / sqrt(1 + (S^2 - 1) w2)`,

    with w1 and w2 the `share` of the spike in the two averages. With beta1 = 0 it is RMSprop's over its twin's.
    """
    mean = 1 + (size - 1) * share(beta1, age, at)
    square = 1 + (size**2 - 1) * share(beta2, age, at)
    return mean / np.sqrt(square)


def momentum_step(size: float, age: Array, at: int, mu: float) -> Array:
    """The heavy ball's step over its twin's: `1 + (S - 1) w`. It throws, and nothing slows it down after that."""
    return 1 + (size - 1) * share(mu, age, at)


def amsgrad_step(size: float, age: Array, at: int, beta1: float, beta2: float) -> Array:
    """AMSGrad's step over its twin's: Adam's, divided by the largest v so far instead of by v.

    v, before its correction, only falls after a spike with `(S^2 - 1) (1 - b2) > b2^at`, and only rises otherwise: the
    largest is the spike's own or the last. So a large spike is never forgotten: as v's correction goes to 1, the step
    comes to rest at `1 / sqrt(v_at)`, v_at being what v was in the spike's step.
    """
    age = np.asarray(age, dtype=float)

    def v(t: Array) -> Array:
        return -np.expm1(t * math.log(beta2)) * (1 + (size**2 - 1) * share(beta2, t, at))

    largest = np.where(age >= at, np.maximum(v(age), v(np.asarray(float(at)))), v(age))
    return (1 + (size - 1) * share(beta1, age, at)) * np.sqrt(-np.expm1(age * math.log(beta2)) / largest)


def recovered(ratio: Array, level: float) -> int | None:
    """Index from which on `ratio [T]` (a step's size over its twin's) stays at or above `level`; None if never.

    0 where it never was below. What is not a number is below.
    """
    below = np.flatnonzero(~(ratio >= level))
    if not len(below):
        return 0
    return None if below[-1] == len(ratio) - 1 else int(below[-1]) + 1


@dataclass(frozen=True)
class Delay:
    """Steps of training that a spike has cost, negative for a lead; `at_least` where it may be more."""

    steps: int
    at_least: bool = False


def delay(loss: Array, twin: Array) -> Delay:
    """What a spike has cost so far: how many steps later than its twin the spiked run came down to the same loss.

    That loss is the one of whoever stands higher now; a run has come down to it where it goes above it no more. So two
    equal runs are 0 apart, however their losses jump. `at_least`: whoever is ahead was there from the first step on, or
    the other has diverged and never gets there.

    Args:
        loss, twin: smoothed losses `[T]` of the same steps with and without the spike, NaN or infinite once diverged.

    Raises:
        ValueError: they are no two curves of one length.
    """
    if loss.shape != twin.shape or loss.ndim != 1 or not len(loss):
        raise ValueError(f"Two curves of one length are needed, not {loss.shape} and {twin.shape}.")
    lost, held = not np.isfinite(loss[-1]), not np.isfinite(twin[-1])
    if lost or held:
        return Delay((len(loss) - 1) * (int(lost) - int(held)), at_least=lost != held)
    level = -max(loss[-1], twin[-1])
    down, twin_down = recovered(-loss, level) or 0, recovered(-twin, level) or 0
    return Delay(down - twin_down, at_least=min(down, twin_down) == 0 < max(down, twin_down))


def delays(loss: Array, twin: Array, stride: int = 1) -> tuple[Array, NDArray[np.bool_]]:
    """`delay` of each seed, in steps, and where it may be more: curves `[T, seeds]`, one value every `stride` steps.

    Infinite where the run has diverged and its twin has not; NaN where the twin has, which then tells nothing.
    """
    found = [delay(own, other) for own, other in zip(loss.T, twin.T, strict=True)]
    lost = ~np.isfinite(loss[-1]) & np.isfinite(twin[-1])
    steps = np.where(lost, np.inf, [float(stride * each.steps) for each in found])
    steps = np.where(np.isfinite(twin[-1]), steps, np.nan)
    return steps, np.array([each.at_least for each in found]) & np.isfinite(steps)
