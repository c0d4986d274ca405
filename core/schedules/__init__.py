"""Schedules: what value a setting has at each step, from the simplest to the most complex.

To add one: one function and one entry in the `ENTRIES` of its family's file. Its menu entry, sliders, URL parameters,
the words and the curve on the card, and tests follow from the entry; tests/test_schedule_references.py says what it
must equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from core.schedules import cycling, falling, reacting
from core.schedules.base import WARMUP, Array, Memory, Schedule


def tabulated(base: Array, t: Array, total: int, values: Sequence[float]) -> Array:
    """`values[t]`, the last of them from then on. For tests and notebooks; `base` plays no part."""
    found: Array = np.asarray(values, dtype=float)[np.minimum(t, len(values) - 1).astype(int)]
    return found


SCHEDULES: Mapping[str, Schedule] = {
    entry.name: entry
    for entry in (
        *(
            replace(entry, hypers=(*entry.hypers, *WARMUP))
            for family in (falling, cycling, reacting)
            for entry in family.ENTRIES
        ),
        Schedule("tabulated", "tabulated", "given rates", tabulated, table=True, help="One value for each step."),
    )
}

__all__ = ["SCHEDULES", "Memory", "Schedule"]
