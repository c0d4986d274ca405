"""Edits: what happens to a racer's rows at a step, before that step's gradient is used.

An edit is `edit(rows, **settings)`, acting on `Rows`, the racer's own part of the table. A fork, a spike, a reset
policy and "change the rate from here" are all edits, so each repeats exactly. An edit that changes a setting is known
before the run: it is worked into the setting's values over time (`schedules`) and does nothing at its step. To add an
edit: one function and one entry in `EDITS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Rows(Protocol):
    """What an edit may do to a racer's rows; the trainer provides it."""

    def slots(self) -> tuple[tuple[str, int], ...]:
        """(name, moment) of each slot of the racer's rule."""
        ...

    def reset(self, slot: str) -> None:
        """Back to the slot's reset value, at age 0."""
        ...

    def scale_gradient(self, factor: float) -> None:
        """Multiply this step's gradient."""
        ...

    def reinitialise(self, draw: int) -> None:
        """Fresh initial weights: the row's own seed, another draw; memories of gradients stay."""
        ...


MOMENTS = {"m": (1,), "v": (2,), "all": (0, 1, 2)}


def reset(rows: Rows, what: str) -> None:
    """Clear the optimizer's memory: "m" (mean of gradients), "v" (their squares) or "all" of it.

    Each slot has its own age, so the bias correction starts again for what was cleared and for nothing else.
    """
    for slot, moment in rows.slots():
        if moment in MOMENTS[what]:
            rows.reset(slot)


def set_value(rows: Rows, setting: str, value: float) -> None:
    """Give a setting another base value from this step on; its schedule acts on the new value."""


def scale_gradient(rows: Rows, factor: float) -> None:
    """Multiply the gradient of this one step: a spike."""
    rows.scale_gradient(factor)


def reinitialise(rows: Rows, draw: int) -> None:
    """Start again from other initial weights (draw 1, 2, …), keeping the step count and the memory of gradients."""
    rows.reinitialise(draw)


@dataclass(frozen=True)
class EditKind:
    """A registry entry: the function, and the names and types of its settings."""

    name: str
    apply: Callable[..., None]
    settings: Mapping[str, type]


EDITS: Mapping[str, EditKind] = {
    kind.name: kind
    for kind in (
        EditKind("reset", reset, {"what": str}),
        EditKind("set", set_value, {"setting": str, "value": float}),
        EditKind("scale_gradient", scale_gradient, {"factor": float}),
        EditKind("reinitialise", reinitialise, {"draw": int}),
    )
}
