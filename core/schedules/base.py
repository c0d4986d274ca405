"""What a schedule is: its contract and its registry entry.

A schedule is `values(base, t, total, **settings) -> [T]`: the setting's value at the 0-based steps `t [T]`, where
`base [T]` is the racer's own value (an edit may change it on the way) and `total` the length of the run. Lengths are
shares of the run, so that a run of another length has a schedule of the same shape; "step" alone counts steps.

Any schedule may have a warm-up before it: then it has the rest of the run to itself, `t` and `total` counted from the
warm-up's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.spec import Hyper

Array = NDArray[np.float64]
Memory = dict[str, Tensor]  # what a schedule that reacts remembers, [R] each


def no_decays(total: int, **settings: object) -> tuple[int, ...]:
    """A schedule that moves smoothly, or that nobody knows beforehand."""
    return ()


@dataclass(frozen=True)
class Schedule:
    """A registry entry.

    `summary` says a racer's plan in a few words, from its settings: `{factor}` is the setting as one says it,
    `{cycle:%}` a share in percent. `table` marks a schedule that takes a list of values, which a page does not offer.

    `decays` lists the steps at which the value jumps, which is where "reset at each decay" acts; `event` says in words
    what the learning rate does there. A schedule that moves smoothly has none.

    `momentum(base, t, total, **settings)` is for a schedule of the learning rate that moves the rule's momentum (its
    `momentum` or `beta1`) too. `react(memory, loss, total, h) -> memory` is for one that reads the loss: all `[R]`,
    after each step; `memory` names what it keeps and the values it starts from, and the learning rate is multiplied
    by memory["scale"] from the next step on.
    """

    name: str
    label: str
    summary: str
    values: Callable[..., Array]
    decays: Callable[..., tuple[int, ...]] = no_decays
    hypers: tuple[Hyper, ...] = ()
    table: bool = False
    help: str = ""
    event: str = "is cut"
    momentum: Callable[..., Array] | None = None
    react: Callable[[Memory, Tensor, Tensor, Any], Memory] | None = None
    memory: tuple[tuple[str, float], ...] = ()

    def at(self, base: Array, t: Array, total: int, settings: Mapping[str, Any], momentum: bool = False) -> Array:
        """The value at steps `t`, the warm-up before it included; `momentum` asks for the rule's momentum instead."""
        begin = self.begin(total, settings)
        values = self.momentum if momentum and self.momentum else self.values
        found = values(base, np.maximum(t - begin, 0), max(total - begin, 1), **_own(settings))
        if not begin or momentum:
            return found
        share = np.minimum((t + 1) / begin, 1)
        return found * (WARMUP_FROM ** (1 - share) if settings["warmup_exponential"] else share)

    def cuts(self, total: int, settings: Mapping[str, Any]) -> tuple[int, ...]:
        """The steps at which the value jumps, as far as they are known before the run."""
        begin = self.begin(total, settings)
        return tuple(begin + step for step in self.decays(max(total - begin, 1), **_own(settings)))

    def begin(self, total: int, settings: Mapping[str, Any]) -> int:
        """How many steps of warm-up go before it."""
        return round(float(settings.get("warmup", 0)) * total)


WARMUP_FROM = 0.01  # an exponential warm-up begins at about this share of the rate
WARMUP = (
    Hyper("warmup", 0.0, 0.0, 0.5, grid=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5), label="Warm-up",
          maximum=1.0, open_maximum=True,
          help="Share of the run in which the rate grows up to its value, before the schedule begins; "
               "0.01 to 0.1 is usual."),
    Hyper("warmup_exponential", False, label="Exponential warm-up",
          help="Let the rate grow by the same factor at each step, instead of by the same amount."),
)  # fmt: skip


def _own(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule's own settings, without those of the warm-up."""
    shared = {hyper.name for hyper in WARMUP}
    return {name: value for name, value in settings.items() if name not in shared}


# ---------------------------------------------------------------- settings that schedules share


def share(name: str, default: float, label: str, grid: tuple[float, ...], help: str, least: float = 0.0) -> Hyper:
    """A share of the run, from `least` (itself excluded where it is 0) to all of it."""
    return Hyper(
        name, default, grid[0], grid[-1], grid=grid, label=label, help=help,
        minimum=least, open_minimum=not least, maximum=1.0,
    )  # fmt: skip


FACTOR = Hyper("factor", 0.1, 0.01, 0.95, label="Decay factor", minimum=0.0, open_minimum=True, maximum=1.0,
               grid=(0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
               help="The rate is multiplied by this at each decay; 0.1 to 0.5 is usual.")  # fmt: skip
FINAL = Hyper("final_share", 0.0, 0.0, 0.5, grid=(0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5), label="Final share",
              minimum=0.0, maximum=1.0,
              help="How much of the rate is left at the end; 0 to 0.1 is usual.")  # fmt: skip


def cosine(start: float, end: float, x: Array) -> Array:
    """From `start` to `end` along half a wave, as x goes from 0 to 1."""
    found: Array = end + (start - end) * (1 + np.cos(np.pi * x)) / 2
    return found
