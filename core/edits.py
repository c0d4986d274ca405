"""Edits: what happens to a racer's rows at a step, before that step's gradient is used.

An edit is `edit(rows, **settings)`, acting on `Rows`, the racer's own part of the table. A fork, a spike, a reset
policy and "change the rate from here" are all edits, so each repeats exactly. An edit that changes a setting is known
before the run: it is worked into the setting's values over time (`schedules`) and does nothing at its step. To add an
edit: one function and one entry in `EDITS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Remembered(NamedTuple):
    """A slot of the racer's rule, as an edit sees it."""

    name: str
    moment: int
    counts: bool  # it counts steps, as an age does


class Rows(Protocol):
    """What an edit may do to a racer's rows; the trainer provides it."""

    def slots(self) -> tuple[Remembered, ...]:
        """The slots of the racer's rule."""
        ...

    def reset(self, slot: str) -> None:
        """Back to the slot's reset value; its age stays."""
        ...

    def restart(self, slot: str) -> None:
        """The slot's age back to 0; its value stays."""
        ...

    def scale_gradient(self, factor: float, layer: str) -> None:
        """Multiply this step's gradient, of one tensor of the layout or ("") of all."""
        ...

    def mislabel(self) -> None:
        """Make every label of this step's batch a wrong one."""
        ...

    def unscale(self, factor: float) -> None:
        """Multiply the inputs of this step's batch."""
        ...

    def reinitialise(self, draw: int) -> None:
        """Fresh initial weights: the row's own seed, another draw; memories of gradients stay."""
        ...


MOMENTS = {"m": (1,), "v": (2,), "all": (0, 1, 2)}
WHATS = (*MOMENTS, "count")
COUNTS = ("own", "kept")


def reset(rows: Rows, what: str, count: str) -> None:
    """Clear the optimizer's memory: "m" (mean of gradients), "v" (their squares) or "all" of it.

    Each slot has its own age, so the bias correction starts again for what was cleared and for nothing else. With the
    `count` "kept" it goes on as if nothing had been cleared, a known bug: late in a run Adam's first step after it is
    up to `(1 - b1) / sqrt(1 - b2)` = 3.16 times the rate. `what` may be "count" too, the same bug the other way round:
    the memories are kept and the steps counted from 0.
    """
    for slot, moment, counts in rows.slots():
        if what == "count":
            rows.restart(slot)
            if counts:
                rows.reset(slot)
        elif moment in MOMENTS[what] and not (counts and count == "kept"):
            rows.reset(slot)
            if count == "own":
                rows.restart(slot)


def set_value(rows: Rows, setting: str, value: float) -> None:
    """Give a setting another base value from this step on; its schedule acts on the new value."""


def scale_gradient(rows: Rows, factor: float, layer: str) -> None:
    """Multiply the gradient of this one step, of one tensor or of all: a spike."""
    rows.scale_gradient(factor, layer)


def mislabel(rows: Rows) -> None:
    """Every label of this step's batch is a wrong one (`Task.mislabelled`): a bad batch."""
    rows.mislabel()


def unscale(rows: Rows, factor: float) -> None:
    """The inputs of this step's batch are so many times too large: a batch that was not scaled as the others were."""
    rows.unscale(factor)


def reinitialise(rows: Rows, draw: int) -> None:
    """Start again from other initial weights (draw 1, 2, …), keeping the step count and the memory of gradients."""
    rows.reinitialise(draw)


@dataclass(frozen=True)
class EditKind:
    """A registry entry: the function, the names and types of its settings, and the values of those not given.

    `spikes` marks what makes another gradient of its step: what the memories hold of it is followed from there on.
    """

    name: str
    apply: Callable[..., None]
    settings: Mapping[str, type]
    defaults: Mapping[str, object] = field(default_factory=dict)
    spikes: bool = False


EDITS: Mapping[str, EditKind] = {
    kind.name: kind
    for kind in (
        EditKind("reset", reset, {"what": str, "count": str}, {"count": "own"}),
        EditKind("set", set_value, {"setting": str, "value": float}),
        EditKind("scale_gradient", scale_gradient, {"factor": float, "layer": str}, {"layer": ""}, spikes=True),
        EditKind("mislabel", mislabel, {}, spikes=True),
        EditKind("unscale", unscale, {"factor": float}, spikes=True),
        EditKind("reinitialise", reinitialise, {"draw": int}),
    )
}
