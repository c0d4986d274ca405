"""One column of a table: is it numbers, dates or text, and what in it is missing?"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.tasks.data import DATA, Floats, Ints, random

COLUMNS = 500  # of a table that are read
CELLS = 2_000_000  # the same
ROWS = 50_000  # of a table that are used; of more, so many are drawn
MISSING = frozenset({"", "na", "n/a", "nan", "nat", "null", "none", "?", "#n/a", "<na>"})  # in small letters
HUGE = 1e100  # numbers beyond it count as missing: a square of them would overflow
_STRAYS = 0.05  # share of other cells that a column of numbers or dates may have; they count as missing
_CHARACTERS = 100  # of a text that are kept
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})*(\.\d*)?")
_TRIED = 500  # dates by which the format is told
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}([ T]\d{1,2}:\d.*)?")
_DAYS = (("%Y-%m-%d", "year-month-day"), ("%d.%m.%Y", "day.month.year"), ("%m/%d/%Y", "month/day/year"),
         ("%d/%m/%Y", "day/month/year"), ("%Y/%m/%d", "year/month/day"), ("%d-%m-%Y", "day-month-year"))  # fmt: skip
_FORMATS = (("ISO8601", "year-month-day"), *((day + time, said) for day, said in _DAYS
                                             for time in ("", " %H:%M", " %H:%M:%S")))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Column:
    """The values `[N]` of a column: float64, datetime64[s], or text as objects; missing are NaN, NaT and None.

    `remarks` are phrases about how it was read.
    """

    values: NDArray[Any]
    remarks: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """ "number", "date" or "category"."""
        return {"f": "number", "M": "date"}.get(self.values.dtype.kind, "category")


def typed(cells: Sequence[str | None], decimal_comma: bool = False) -> Column:
    """A column of numbers where all cells are, but for a few strays, else of dates, else of text.

    `decimal_comma` says whether 1,5 is one and a half; else a comma parts thousands. Nothing is evaluated.
    """
    known = {cell: cell.strip() for cell in dict.fromkeys(cells) if cell}
    plain = [None if (cell := known.get(raw or "", "")).lower() in MISSING else cell for raw in cells]
    read = _numbers(plain, decimal_comma) or _dates(plain)
    return read if read is not None else Column(text(plain, len(plain)))


def numbers(values: Iterable[float], remarks: tuple[str, ...] = ()) -> Column:
    """A column of numbers, of which infinite and huge ones count as missing."""
    found: Floats = np.array(values, np.float64)
    huge = np.abs(found) > HUGE
    found[huge] = np.nan
    many = int(huge.sum())
    said = f"{counted(many, 'number')} beyond {HUGE:g} count{'s' * (many == 1)} as missing"
    return Column(found, remarks + (said,) * (many > 0))


def text(values: Iterable[str | None], count: int) -> NDArray[Any]:
    """Texts, cut to 100 characters, or None where there is none, as objects `[count]`."""
    found = np.empty(count, object)
    found[:] = [value and value[:_CHARACTERS] for value in values]
    return found


def drawn(count: int, some: int) -> Ints:
    """So many of `count` rows, drawn without repetition, in their order; always the same ones."""
    return np.sort(random(0, DATA).choice(count, some, replace=False))


def some_are_used(count: int) -> str:
    """The sentence that says so."""
    return f"Of its {count:,} rows {ROWS:,} are used, drawn at random, always the same ones."


def counted(count: int, what: str) -> str:
    """The count with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def _numbers(cells: Sequence[str | None], decimal_comma: bool) -> Column | None:
    """The cells as numbers, if nearly all are."""
    different = dict.fromkeys(cell for cell in cells if cell is not None)
    pattern, new = (_DECIMAL_COMMA, ".") if decimal_comma else (_THOUSANDS, "")
    found: dict[str | None, float] = {}
    commas = False
    for cell in different:
        plain = cell
        if "," in cell and pattern.fullmatch(cell):
            plain, commas = cell.replace(",", new), True
        with suppress(ValueError):
            if "_" not in plain:
                found[cell] = float(plain)
    strays = _strays(cells, found, "number")
    if strays is None:
        return None
    said = "a comma begins the decimals" if decimal_comma else "a comma parts the thousands"
    return numbers([found.get(cell, np.nan) for cell in cells], (said,) * commas + strays)


def _dates(cells: Sequence[str | None]) -> Column | None:
    """The cells as moments, by the one format that fits most of them, if nearly all are."""
    different = list(dict.fromkeys(cell for cell in cells if cell is not None))
    if sum(_DATE.fullmatch(cell) is not None for cell in different) < (1 - _STRAYS) * len(different):
        return None
    some = different[:: max(1, len(different) // _TRIED)]
    fits = [int(_moments(some, form).notna().sum()) for form, _ in _FORMATS]
    likely = [form for form, fit in zip(_FORMATS, fits, strict=True) if fit == max(fits)]
    said, best = max(
        ((said, _moments(different, form)) for form, said in likely), key=lambda one: int(one[1].notna().sum())
    )
    moments = best.dt.tz_localize(None).to_numpy("datetime64[s]")
    found = {cell: moment for cell, moment in zip(different, moments, strict=True) if not np.isnat(moment)}
    strays = _strays(cells, found, "date")
    if strays is None:
        return None
    nothing = np.datetime64("NaT", "s")
    return Column(
        np.array([found.get(cell or "", nothing) for cell in cells], "datetime64[s]"), (f"read as {said}", *strays)
    )


def _moments(cells: Sequence[str], form: str) -> Any:
    """The moments of that format, in UTC, as a series of pandas'; NaT where a cell has another."""
    import pandas as pd  # here, because its import costs most of a second

    return pd.to_datetime(pd.Series(cells, dtype=object), format=form, utc=True, errors="coerce")


def _strays(cells: Iterable[str | None], found: Container[str | None], what: str) -> tuple[str, ...] | None:
    """A phrase about the cells that are not among those found; None where they are too many."""
    present = [cell for cell in cells if cell is not None]
    many = sum(cell not in found for cell in present)
    if not present or many > _STRAYS * len(present):
        return None
    one = many == 1
    said = f"{counted(many, 'cell')} that {'is' if one else 'are'} no {what} count{'s' * one} as missing"
    return (said,) * (many > 0)
