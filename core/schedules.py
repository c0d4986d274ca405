"""Schedules: what value a setting has at each step.

A schedule is `values(base, t, total, **settings) -> [T]`: the setting's value at the 0-based steps `t [T]`, where
`base [T]` is the racer's own value (an edit may change it on the way) and `total` the length of the run. `decays`
lists the steps at which the value is cut, which is where "reset at each decay" acts. To add one: one function and one
entry in `SCHEDULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.spec import Hyper

Array = NDArray[np.float64]


def constant(base: Array, t: Array, total: int) -> Array:
    """`base`, always."""
    return base


def step_decay(base: Array, t: Array, total: int, factor: float, every: int) -> Array:
    """`base factor^floor(t / every)`; as `torch.optim.lr_scheduler.StepLR`."""
    return base * np.power(factor, np.floor(t / every))


def tabulated(base: Array, t: Array, total: int, values: Sequence[float]) -> Array:
    """`values[t]`, the last of them from then on. For tests and notebooks; `base` plays no part."""
    found: Array = np.asarray(values, dtype=float)[np.minimum(t, len(values) - 1).astype(int)]
    return found


def no_decays(total: int, **settings: object) -> tuple[int, ...]:
    """A schedule that is never cut."""
    return ()


def step_decays(total: int, factor: float, every: int) -> tuple[int, ...]:
    """The first step of each new, lower rate."""
    return tuple(range(every, total, every))


@dataclass(frozen=True)
class Schedule:
    """A registry entry.

    `summary` says a racer's plan in a few words, from its settings; `table` marks a schedule that takes a list of
    values, which a page does not offer.
    """

    name: str
    label: str
    summary: str
    values: Callable[..., Array]
    decays: Callable[..., tuple[int, ...]] = no_decays
    hypers: tuple[Hyper, ...] = ()
    table: bool = False
    help: str = ""


SCHEDULES: Mapping[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule("constant", "constant", "constant rate", constant, help="The rate stays as it is."),
        Schedule(
            "step", "step decay", "rate × {factor} every {every}", step_decay, step_decays,
            (
                Hyper("factor", 0.1, 0.05, 0.95, label="Decay factor", minimum=0.0, open_minimum=True, maximum=1.0,
                      help="The rate is multiplied by this at each decay; 0.1 to 0.5 is usual."),
                Hyper("every", 300, 10, 5000, log=True, label="Decay every", maximum=10_000_000, minimum=1,
                      help="Steps between two decays; a third of the run is a good start."),
            ),
            help="The rate is cut by a factor every so many steps.",
        ),
        Schedule("tabulated", "tabulated", "given rates", tabulated, table=True, help="One value for each step."),
    )
}  # fmt: skip
