"""What a benchmark returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """A number, how it was measured, and what it must reach: "at least 10", or None where nothing is asked."""

    value: float | dict[str, float]
    unit: str
    how: str
    bar: str | None = None

    @property
    def met(self) -> bool:
        """Whether the bar is reached (always, where there is none)."""
        if self.bar is None or isinstance(self.value, dict):
            return True
        side, number = self.bar.rsplit(" ", 1)
        return self.value >= float(number) if side == "at least" else self.value <= float(number)


Measures = Mapping[str, Callable[[], Measurement]]


def high(values: Sequence[float]) -> float:
    """The 95th percentile: the smallest of the values that 95% do not exceed."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]
