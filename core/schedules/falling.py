"""Schedules that only ever lower the learning rate."""

from __future__ import annotations

import numpy as np

from core.schedules.base import FACTOR, FINAL, Array, Schedule, cosine, share
from core.spec import Hyper


def constant(base: Array, t: Array, total: int, **unread: object) -> Array:
    """`base`, always."""
    return base


def step(base: Array, t: Array, total: int, factor: float, every: int) -> Array:
    """`base factor^floor(t / every)`; as `torch.optim.lr_scheduler.StepLR`."""
    return base * np.power(factor, np.floor(t / every))


def step_cuts(total: int, factor: float, every: int) -> tuple[int, ...]:
    """The first step of each new, lower rate."""
    return tuple(range(every, total, every))


def multistep(base: Array, t: Array, total: int, factor: float, **milestones: float) -> Array:
    """`base factor^(milestones passed)`; as `torch.optim.lr_scheduler.MultiStepLR`.

    A milestone is a share of the run; the cut comes at step `round(share total)`, at 1 where that is 0.
    """
    passed = np.searchsorted(_milestones(total, milestones), t, side="right")
    return base * np.power(factor, passed)


def multistep_cuts(total: int, factor: float, **milestones: float) -> tuple[int, ...]:
    """The first step of each new, lower rate."""
    return tuple(at for at in dict.fromkeys(_milestones(total, milestones)) if at < total)


def _milestones(total: int, shares: dict[str, float]) -> list[int]:
    return sorted(max(round(part * total), 1) for part in shares.values())


def exponential(base: Array, t: Array, total: int, final_share: float) -> Array:
    """`base final_share^(t / total)`; as `torch.optim.lr_scheduler.ExponentialLR(gamma=final_share^(1 / total))`."""
    return base * np.power(final_share, t / total)


def polynomial(base: Array, t: Array, total: int, power: float, final_share: float) -> Array:
    """`base (f + (1 - f) (1 - t / total)^power)`, `f = final_share`; as `torch.optim.lr_scheduler.PolynomialLR`.

    torch ends at 0; the other end is that of `keras.optimizers.schedules.PolynomialDecay`.
    """
    left = 1 - np.minimum(t / total, 1)
    return base * (final_share + (1 - final_share) * left**power)


def half_wave(base: Array, t: Array, total: int, final_share: float) -> Array:
    """`base (f + (1 - f) (1 + cos(pi t / total)) / 2)`, `f = final_share`. Loshchilov and Hutter, 1608.03983.

    As `torch.optim.lr_scheduler.CosineAnnealingLR(T_max=total, eta_min=f base)`: the end itself would be reached at
    the step after the last.
    """
    return base * cosine(1.0, final_share, np.minimum(t / total, 1))


def inverse(base: Array, t: Array, total: int, tau: float) -> Array:
    """`base tau / max(t, tau)`, with tau in steps, `tau total`. Bengio, 1206.5533."""
    flat = tau * total
    return base * (flat / np.maximum(t, flat))


def inverse_sqrt(base: Array, t: Array, total: int, peak: float, rising: bool) -> Array:
    """`base sqrt(k / max(n, k))`, and `base n / k` before k where it rises, with `k = peak total` steps, at least 1.

    `n = t + 1` counts the steps from 1, as the sources do: Vaswani et al., 1706.03762 (rising), and Raffel et al.,
    1910.10683 (standing still until k). Theirs has no base, but a scale: here k is where the rate is the racer's own.
    """
    n, k = t + 1, max(peak * total, 1)
    rise = np.minimum(n / k, 1) if rising else 1.0
    found: Array = base * rise * np.sqrt(k / np.maximum(n, k))
    return found


def warmup_stable_decay(
    base: Array, t: Array, total: int, decay_share: float, sqrt_shape: bool, final_share: float
) -> Array:
    """`base` until the last part of the run, then `base (f + (1 - f) (1 - x))`, or `1 - sqrt(x)` for `1 - x`.

    x goes from 0 to 1 in the last `round(decay_share total)` steps, at least 1 of them; `f = final_share`. Hu et al.,
    2404.06395; the shapes are those of Hägele et al., 2405.18392, who prefer the root. The warm-up is the one that
    every schedule may have.
    """
    steps = max(round(decay_share * total), 1)
    x = np.clip((t - (total - steps)) / steps, 0, 1)
    return base * (final_share + (1 - final_share) * (1 - (np.sqrt(x) if sqrt_shape else x)))


def _milestone(number: int, default: float) -> Hyper:
    return share(
        f"milestone{number}", default, f"Cut {number}",
        (0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0),
        "Where in the run the rate is cut, as a share of it; half and three quarters are usual, 1 is never.",
    )  # fmt: skip


ENTRIES = (
    Schedule("constant", "constant", "constant rate", constant, help="The rate stays as it is."),
    Schedule(
        "step", "step decay", "rate × {factor} every {every}", step, step_cuts,
        (
            FACTOR,
            Hyper("every", 300, 10, 5000, log=True, label="Decay every", maximum=10_000_000, minimum=1,
                  help="Steps between two decays; a third of the run is a good start."),
        ),
        help="The rate is cut by a factor every so many steps.",
    ),
    Schedule(
        "multistep", "multi-step decay", "rate × {factor} at {milestone1:%}, {milestone2:%}, {milestone3:%}",
        multistep, multistep_cuts,
        (FACTOR, _milestone(1, 0.5), _milestone(2, 0.75), _milestone(3, 1.0)),
        help="The rate is cut by a factor at up to three points of the run.",
    ),
    Schedule(
        "exponential", "exponential decay", "exponential to {final_share:%}", exponential,
        hypers=(
            Hyper("final_share", 0.01, 1e-4, 0.5, grid=(1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
                  label="Final share", minimum=0.0, open_minimum=True, maximum=1.0,
                  help="How much of the rate is left at the end; 0.01 to 0.1 is usual."),
        ),
        help="The rate falls by the same factor at each step.",
    ),
    Schedule(
        "polynomial", "polynomial decay", "falls to {final_share:%}, power {power}", polynomial,
        hypers=(
            Hyper("power", 1.0, 0.5, 4.0, grid=(0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 4.0), label="Power",
                  minimum=0.0, open_minimum=True, maximum=100.0,
                  help="1 is a straight line down, which is usual; more falls early, less falls late."),
            FINAL,
        ),
        help="The rate falls in a straight line, or along a power of what is left of the run.",
    ),
    Schedule(
        "cosine", "cosine decay", "cosine to {final_share:%}", half_wave, hypers=(FINAL,),
        help="The rate falls along half a wave: slowly at first, fast in the middle, slowly at the end.",
    ),
    Schedule(
        "inverse", "1/t decay", "1/t after {tau:%}", inverse,
        hypers=(
            share("tau", 0.1, "Constant until τ", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
                  "Share of the run in which the rate stays as it is; at twice that time it is half as large. "
                  "0.05 to 0.2 is usual."),
        ),
        help="The rate stays as it is for a while and then falls as one over the number of steps.",
    ),
    Schedule(
        "inverse_sqrt", "1/√t decay", "1/√t after {peak:%}", inverse_sqrt,
        hypers=(
            share("peak", 0.1, "Full rate until", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
                  "Share of the run before the rate falls; at four times that time it is half as large. "
                  "0.01 to 0.1 is usual."),
            Hyper("rising", False, label="Rise until then",
                  help="Let the rate grow from 0 up to its value in that time, as for the first Transformer."),
        ),
        help="The rate falls as one over the square root of the number of steps: slowly, and without an end.",
    ),
    Schedule(
        "wsd", "warm-up, stable, decay", "falls in the last {decay_share:%}", warmup_stable_decay,
        hypers=(
            share("decay_share", 0.2, "Decay in the last", (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0),
                  "Share of the run, at its end, in which the rate falls; 0.1 to 0.2 is usual."),
            Hyper("sqrt_shape", True, label="Fall as 1 − √x",
                  help="Let the rate fall fast at first and then ever more slowly, instead of in a straight line."),
            FINAL,
        ),
        help="The rate stays as it is and falls in the last part of the run alone.",
    ),
)  # fmt: skip
