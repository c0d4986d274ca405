"""Settings and parameters described once, as data.

A `Hyper` is one number (or switch) a person can set. From its description follow the slider, the URL
parameter, the validation and the help text. A `Layout` names the tensors that one row of a table holds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

from torch import Tensor, cat

Value = float | int | bool | str


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number: no switch, no text, and no whole number too large for a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_DECADE = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class Hyper:
    """One setting.

    `low` and `high` are the ends of its slider, `grid` its stops where evenly spaced ones would not do; `minimum`
    and `maximum` are the domain outside which the value has no meaning (by default the slider's own ends).
    `open_minimum`/`open_maximum` exclude the end itself. The type of `default` (bool, int or float) is the type of
    the setting.

    Source of each default: `torch.optim` 2.13, unless the rule's docstring says otherwise.
    """

    name: str
    default: float | int | bool
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    grid: tuple[float, ...] = ()
    help: str = ""
    label: str = ""
    minimum: float | None = None
    maximum: float | None = None
    open_minimum: bool = False
    open_maximum: bool = False

    @property
    def title(self) -> str:
        """What a person reads beside the slider."""
        return self.label or self.name.replace("_", " ")

    @property
    def domain(self) -> str:
        """The allowed range in words, for messages."""
        if isinstance(self.default, bool):
            return "true or false"
        low, high = self._ends
        words = [f"{'above' if self.open_minimum else 'at least'} {low:g}"]
        if math.isfinite(high):
            words.append(f"{'below' if self.open_maximum else 'at most'} {high:g}")
        return " and ".join(words)

    @property
    def _ends(self) -> tuple[float, float]:
        low = self.low if self.minimum is None else self.minimum
        high = self.high if self.maximum is None else self.maximum
        return low, high

    def check(self, value: object) -> float | int | bool:
        """Return `value` as this setting's type.

        Raises:
            ValueError: it is no number, not finite, or outside the domain; the message names all three.
        """
        kind = type(self.default)
        if kind is bool:
            if isinstance(value, (bool, int, float)) and value in (0, 1):
                return bool(value)
            raise self._refusal(value)
        if not is_number(value):
            raise self._refusal(value)
        number = float(value)
        low, high = self._ends
        inside = low < number if self.open_minimum else low <= number
        inside = inside and (number < high if self.open_maximum else number <= high)
        if not inside or (kind is int and number != int(number)):
            raise self._refusal(value)
        return int(number) if kind is int else number

    def stops(self, *values: float) -> list[float]:
        """The slider's stops: 10 round numbers a decade where `log`, else 20 steps; `values` are among them."""
        kind = type(self.default)
        if self.grid:
            stops = set(self.grid)
        elif self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            stops = {float(f"{mantissa}e{decade}") for decade in decades for mantissa in _DECADE}
        elif kind is int and self.high - self.low <= 20:
            stops = set(range(int(self.low), int(self.high) + 1))
        else:
            stops = {round(self.low + (self.high - self.low) * i / 20, 10) for i in range(21)}
        inside = {kind(stop) for stop in stops if self.low <= stop <= self.high and stop == kind(stop)}
        return sorted(inside | set(values))

    def clamp(self, value: float) -> float | int | bool:
        """The nearest value between the slider's ends."""
        kind = type(self.default)
        return bool(value) if kind is bool else kind(min(max(value, self.low), self.high))

    def _refusal(self, value: object) -> ValueError:
        whole = "a whole number " if type(self.default) is int else ""
        return ValueError(f"{self.title} ({self.name}) is {repr(value)[:40]}, but must be {whole}{self.domain}.")


def complete(hypers: Iterable[Hyper], given: Mapping[str, object], owner: str) -> tuple[tuple[str, Value], ...]:
    """Every setting of `owner`, checked, with defaults filled in, in the order of their declaration.

    Raises:
        ValueError: a name that `owner` does not have, or a value outside its domain.
    """
    known = {hyper.name: hyper for hyper in hypers}
    for name in given:
        if name not in known:
            raise ValueError(f"{owner} has no setting {name!r}; it has {', '.join(known) or 'none'}.")
    return tuple((name, hyper.check(given.get(name, hyper.default))) for name, hyper in known.items())


@dataclass(frozen=True)
class Layout:
    """The named tensors of one row: how the P columns of a table are read as matrices and vectors.

    `shapes` maps a name to the shape of one run's tensor; the table's columns hold them flattened, in order. `roles`
    says what a tensor is in the network, for rules that ask: "hidden", "output" and "embedding" matrices, whose rows
    are the outputs (an embedding's: the words), and "vector" for biases and gains.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    roles: tuple[tuple[str, str], ...] = ()

    def role(self, name: str) -> str:
        """A tensor's role: as declared, else "matrix" where two of its axes are longer than 1, and "vector"."""
        shape = dict(self.shapes)[name]
        return dict(self.roles).get(name, "matrix" if sum(n > 1 for n in shape) > 1 else "vector")

    @cached_property
    def sizes(self) -> list[int]:
        """Number of columns of each tensor."""
        return [math.prod(shape) for _, shape in self.shapes]

    @property
    def width(self) -> int:
        """P, the number of parameters of one run."""
        return sum(self.sizes)

    def columns(self, name: str) -> slice:
        """The columns of a tensor."""
        names = [known for known, _ in self.shapes]
        first = sum(self.sizes[: names.index(name)])
        return slice(first, first + self.sizes[names.index(name)])

    def views(self, table: Tensor) -> dict[str, Tensor]:
        """`[R, P]` -> {name: `[R, *shape]`}, without a copy."""
        pieces = table.split(self.sizes, dim=1)
        return {name: piece.view(len(table), *shape) for (name, shape), piece in zip(self.shapes, pieces, strict=True)}

    def flat(self, tensors: Iterable[Tensor]) -> Tensor:
        """The inverse of `views`: tensors `[R, ...]`, in the layout's order -> `[R, P]`."""
        return cat([tensor.flatten(1) for tensor in tensors], dim=1)
