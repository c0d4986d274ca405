"""Schedules that raise the learning rate again: waves, triangles, one cycle."""

from __future__ import annotations

import numpy as np

from core.schedules.base import FINAL, Array, Schedule, cosine, share
from core.spec import Hyper


def triangular(base: Array, t: Array, total: int, cycle: float, low_share: float, halve: bool) -> Array:
    """Straight up from `low_share base` to `base` and down again, every `round(cycle total)` steps, at least 2.

    With `halve`, each cycle rises half as high above its lower end as the one before. Smith, 1506.01186; as
    `torch.optim.lr_scheduler.CyclicLR(mode="triangular")`, or `"triangular2"` with `halve`, without a momentum.
    """
    length = max(round(cycle * total), 2)
    height = 1 - np.abs(2 * (t % length) / length - 1)
    if halve:
        height = height * 0.5 ** np.floor(t / length)
    return base * (low_share + (1 - low_share) * height)


def restarts(base: Array, t: Array, total: int, first_cycle: float, cycle_growth: int, final_share: float) -> Array:
    """Cosine decay from `base` to `final_share base`, begun anew after each cycle. Loshchilov, Hutter, 1608.03983.

    The first cycle has `round(first_cycle total)` steps, at least 2; each is `cycle_growth` times as long as the one
    before. As `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`, stepped once a step.
    """
    begins, lengths = _cycles(total, first_cycle, cycle_growth)
    now = np.searchsorted(begins, t, side="right") - 1
    return base * cosine(1.0, final_share, np.minimum((t - begins[now]) / lengths[now], 1))


def restarts_at(total: int, first_cycle: float, cycle_growth: int, final_share: float) -> tuple[int, ...]:
    """The first step of each new cycle: where the authors begin a new descent from the weights of the old one."""
    return tuple(int(begin) for begin in _cycles(total, first_cycle, cycle_growth)[0][1:])


def _cycles(total: int, first_cycle: float, cycle_growth: int) -> tuple[Array, Array]:
    """The first step and the length of each cycle that begins within the run."""
    begins, lengths = [0], [max(round(first_cycle * total), 2)]
    while begins[-1] + lengths[-1] < total:
        begins.append(begins[-1] + lengths[-1])
        lengths.append(lengths[-1] * cycle_growth)
    return np.array(begins, dtype=float), np.array(lengths, dtype=float)


def one_cycle(
    base: Array, t: Array, total: int, pct_start: float, div_factor: float, final_div_factor: float, **unread: object
) -> Array:
    """From `base / div_factor` up to `base` and down to `base / div_factor / final_div_factor`, along half waves.

    Smith and Topin, 1708.07120; as `torch.optim.lr_scheduler.OneCycleLR` with its defaults (two phases, cosine). The
    peak lies at `pct_start total`, and the end itself would be reached at the step after the last, as for cosine
    decay; torch has both one step earlier, so this is its schedule for `total + 1` steps with the peak at the same
    one.
    """
    first = 1 / div_factor
    return base * _up_and_down(t, total, pct_start, first, 1.0, first / final_div_factor)


def one_cycle_momentum(
    base: Array, t: Array, total: int, pct_start: float, cycle_momentum: bool, base_momentum: float,
    max_momentum: float, **unread: object,
) -> Array:  # fmt: skip
    """From `max_momentum` down to `base_momentum` at the rate's peak and up again; `base` unless `cycle_momentum`."""
    if not cycle_momentum:
        return base
    return _up_and_down(t, total, pct_start, max_momentum, base_momentum, max_momentum)


def _up_and_down(t: Array, total: int, pct_start: float, start: float, peak: float, end: float) -> Array:
    at = pct_start * total
    up, down = cosine(start, peak, t / at), cosine(peak, end, np.minimum((t - at) / (total - at), 1))
    return np.where(t <= at, up, down)


def _momentum(name: str, default: float, label: str, help: str) -> Hyper:
    stops = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
    return Hyper(
        name, default, 0.5, 0.99, grid=stops, label=label, help=help, minimum=0.0, maximum=1.0, open_maximum=True
    )


ENTRIES = (
    Schedule(
        "triangular", "cyclical (triangles)", "up and down every {cycle:%}", triangular,
        hypers=(
            share("cycle", 0.25, "Cycle", (0.05, 0.1, 0.2, 0.25, 0.5, 1.0),
                  "Share of the run that one way up and down takes; 0.1 to 0.3 is usual."),
            Hyper("low_share", 0.25, 0.0, 0.9, grid=(0.0, 0.01, 0.05, 0.1, 0.25, 0.33, 0.5, 0.7, 0.9),
                  label="Low share", minimum=0.0, maximum=1.0,
                  help="The lowest rate, as a share of the racer's own; a quarter to a third is usual."),
            Hyper("halve", False, label="Halve each cycle",
                  help="Let each triangle be half as high as the one before."),
        ),
        help="The rate goes up and down in straight lines; the racer's own is the highest.",
    ),
    Schedule(
        "restarts", "cosine with restarts", "cosine, restarts after {first_cycle:%}, cycles × {cycle_growth}",
        restarts, restarts_at,
        (
            # 1/7, 1/3: with cycles that double, the last of three, or of two, ends with the run.
            share("first_cycle", 0.25, "First cycle", (0.05, 0.1, 0.143, 0.2, 0.25, 0.334, 0.5, 1.0),
                  "Share of the run after which the rate starts again for the first time; 0.1 to 0.3 is usual.",
                  least=0.001),
            Hyper("cycle_growth", 1, 1, 3, label="Cycle growth", maximum=10, minimum=1,
                  help="How many times as long as the one before each cycle is; 1 or 2 is usual."),
            FINAL,
        ),
        event="restarts",
        help="The rate falls along half a wave and jumps back up, again and again.",
    ),
    Schedule(
        "onecycle", "one cycle", "one cycle, peak at {pct_start:%}", one_cycle,
        hypers=(
            Hyper("pct_start", 0.3, 0.05, 0.9, grid=(0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9), label="Peak at",
                  minimum=0.0, open_minimum=True, maximum=1.0, open_maximum=True,
                  help="Share of the run in which the rate rises; 0.2 to 0.5 is usual."),
            Hyper("div_factor", 25.0, 1.0, 100.0, grid=(1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0), label="First divisor",
                  minimum=1.0, maximum=1e9,
                  help="The racer's rate is the highest; divided by this it is the first one. 10 to 25 is usual."),
            Hyper("final_div_factor", 1e4, 1.0, 1e6, grid=(1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6), label="Final divisor",
                  minimum=1.0, maximum=1e12,
                  help="The first rate divided by this is the last one; 10,000 is usual."),
            Hyper("cycle_momentum", True, label="Cycle the momentum",
                  help="Move the rule's momentum (μ or β₁) the other way: its own value then plays no part."),
            _momentum("base_momentum", 0.85, "Momentum at the peak",
                      "The momentum where the rate is highest; 0.85 is usual."),
            _momentum("max_momentum", 0.95, "Momentum at the ends",
                      "The momentum at the start and at the end; 0.95 is usual."),
        ),
        momentum=one_cycle_momentum,
        help="The rate rises once to the racer's own and falls far below its start; the momentum goes the other way.",
    ),
)  # fmt: skip
