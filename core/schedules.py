"""Schedules: what value a setting has at each step.

A schedule is `values(base, t, total, **settings) -> [T]`: the setting's value at the 0-based steps `t [T]`, where
`base [T]` is the racer's own value (an edit may change it on the way) and `total` the length of the run. `decays`
lists the steps at which the value is cut, which is where "reset at each decay" acts. Any schedule may have a warm-up
before it: then it has the rest of the run to itself, `t` and `total` counted from the warm-up's end. To add one: one
function and one entry in `SCHEDULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.spec import Hyper

Array = NDArray[np.float64]
Memory = dict[str, Tensor]  # what a schedule that reacts remembers, [R] each


def constant(base: Array, t: Array, total: int, **unread: object) -> Array:
    """`base`, always."""
    return base


def step_decay(base: Array, t: Array, total: int, factor: float, every: int) -> Array:
    """`base factor^floor(t / every)`; as `torch.optim.lr_scheduler.StepLR`."""
    return base * np.power(factor, np.floor(t / every))


def tabulated(base: Array, t: Array, total: int, values: Sequence[float]) -> Array:
    """`values[t]`, the last of them from then on. For tests and notebooks; `base` plays no part."""
    found: Array = np.asarray(values, dtype=float)[np.minimum(t, len(values) - 1).astype(int)]
    return found


def plateau(memory: Memory, loss: Tensor, total: int, h: Any) -> Memory:
    """Cut by `factor` where the smoothed loss has not fallen by a thousandth for `patience` (a share of the run).

    As `torch.optim.lr_scheduler.ReduceLROnPlateau(threshold=1e-3)`, told the smoothed training loss after every step;
    the patience in steps is `round(patience total)`, at least 1.
    """
    better = loss < memory["best"] * (1 - 1e-3)
    waited = torch.where(better, 0, memory["waited"] + 1)
    cut = waited > (h.patience * total).round().clamp(min=1)
    return {
        "best": torch.where(better, loss, memory["best"]),
        "waited": torch.where(cut, 0, waited),
        "scale": torch.where(cut, memory["scale"] * h.factor, memory["scale"]),
    }


def no_decays(total: int, **settings: object) -> tuple[int, ...]:
    """A schedule that is never cut, or of which nobody knows beforehand when."""
    return ()


def step_decays(total: int, factor: float, every: int) -> tuple[int, ...]:
    """The first step of each new, lower rate."""
    return tuple(range(every, total, every))


@dataclass(frozen=True)
class Schedule:
    """A registry entry.

    `summary` says a racer's plan in a few words, from its settings; `table` marks a schedule that takes a list of
    values, which a page does not offer.

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
    momentum: Callable[..., Array] | None = None
    react: Callable[[Memory, Tensor, int, Any], Memory] | None = None
    memory: tuple[tuple[str, float], ...] = ()

    def at(self, base: Array, t: Array, total: int, settings: Mapping[str, Any], momentum: bool = False) -> Array:
        """The value at steps `t`, the warm-up before it included; `momentum` asks for the rule's momentum instead."""
        own, begin = self._after_warmup(total, settings)
        values = self.momentum if momentum and self.momentum else self.values
        found = values(base, np.maximum(t - begin, 0), max(total - begin, 1), **own)
        if not begin or momentum:
            return found
        share = np.minimum((t + 1) / begin, 1)
        return found * (WARMUP_FROM ** (1 - share) if settings["warmup_exponential"] else share)

    def cuts(self, total: int, settings: Mapping[str, Any]) -> tuple[int, ...]:
        """The steps at which the value is cut, as far as they are known before the run."""
        own, begin = self._after_warmup(total, settings)
        return tuple(begin + step for step in self.decays(max(total - begin, 1), **own))

    def _after_warmup(self, total: int, settings: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """The schedule's own settings, and how many steps of warm-up go before it."""
        own = dict(settings)
        begin = round(own.pop("warmup", 0.0) * total)
        own.pop("warmup_exponential", None)
        return own, begin


FACTOR = Hyper("factor", 0.1, 0.05, 0.95, label="Decay factor", minimum=0.0, open_minimum=True, maximum=1.0,
               help="The rate is multiplied by this at each decay; 0.1 to 0.5 is usual.")  # fmt: skip
WARMUP_FROM = 0.01  # an exponential warm-up begins at about this share of the rate
WARMUP = (
    Hyper("warmup", 0.0, 0.0, 0.5, grid=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5), label="Warm-up",
          maximum=1.0, open_maximum=True,
          help="Share of the run in which the rate grows up to its value, before the schedule begins."),
    Hyper("warmup_exponential", False, label="Exponential warm-up",
          help="Let the rate grow by the same factor at each step, instead of by the same amount."),
)  # fmt: skip

_ENTRIES = (
    Schedule("constant", "constant", "constant rate", constant, help="The rate stays as it is."),
    Schedule(
        "step", "step decay", "rate × {factor} every {every}", step_decay, step_decays,
        (
            FACTOR,
            Hyper("every", 300, 10, 5000, log=True, label="Decay every", maximum=10_000_000, minimum=1,
                  help="Steps between two decays; a third of the run is a good start."),
        ),
        help="The rate is cut by a factor every so many steps.",
    ),
    Schedule(
        "plateau", "reduce on plateau", "rate × {factor} when the loss stands still", constant,
        hypers=(
            FACTOR,
            Hyper("patience", 0.1, 0.01, 0.5, grid=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5), label="Patience",
                  minimum=0.0, maximum=1.0,
                  help="Share of the run that the loss may stand still before the rate is cut."),
        ),
        help="The rate is cut when the training loss has stopped falling.",
        react=plateau, memory=(("best", float("inf")), ("waited", 0.0), ("scale", 1.0)),
    ),
)  # fmt: skip

SCHEDULES: Mapping[str, Schedule] = {
    entry.name: entry
    for entry in (
        *(replace(entry, hypers=(*entry.hypers, *WARMUP)) for entry in _ENTRIES),
        Schedule("tabulated", "tabulated", "given rates", tabulated, table=True, help="One value for each step."),
    )
}
