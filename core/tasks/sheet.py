"""A table out of somebody's file, CSV or Parquet, and what in it had to be put right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.tasks.columns import counted
from core.tasks.csvfile import read_csv
from core.tasks.decoding import decoded
from core.tasks.parquet import MARK, read_parquet

if TYPE_CHECKING:
    import pandas as pd

_NAME = 40  # characters of a column's name


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it was read: columns of numbers, dates or text, and sentences about what was done in reading.

    `frame` has float64, datetime64[s] and object columns; what is missing is NaN, NaT or None. `remarks` are phrases
    about how a column was read, by its name.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    remarks: dict[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in their order; no two are the same."""
        return tuple(self.frame.columns)

    def __len__(self) -> int:
        return len(self.frame)


def read_table(content: bytes) -> Table:
    """The table in a CSV file (any separator, encoding and decimal sign in use) or a Parquet file, told by its bytes.

    The same bytes give the same table. Nothing in it is evaluated: "=1+1" is a text.

    Raises:
        ValueError: it is none, or too large; the message is one sentence that says what to do.
    """
    if content.startswith(MARK):
        names, columns, notes = read_parquet(content)
        notes = ["The file is Parquet.", *notes]
    else:
        text, encoding = decoded(content)
        names, columns, notes = read_csv(text)
        notes = [f"The file is CSV in {encoding}.", *notes]
    if len(columns) < 2:
        raise ValueError("The table has one column only: give it a target and at least one column to tell it from.")
    rows = len(columns[0].values)
    if rows < 2:
        raise ValueError("The table has one row only: give it at least ten, each with a value of the target.")
    import pandas as pd  # here, because its import costs most of a second

    known = _different(names, notes)
    frame = pd.DataFrame(
        {name: pd.Series(column.values, dtype=column.values.dtype) for name, column in zip(known, columns, strict=True)}
    )
    return Table(frame, tuple(notes), {name: column.remarks for name, column in zip(known, columns, strict=True)})


def _different(names: list[str], notes: list[str]) -> list[str]:
    """Names that can be shown and told apart: "column 3" for none, "a (2)" for a second "a"."""
    found: dict[str, None] = {}
    renamed = []
    for number, name in enumerate(names, start=1):
        plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())[:_NAME] or f"column {number}"
        new, more = plain, 1
        while new in found:
            more += 1
            new = f"{plain} ({more})"
        if more > 1:
            renamed.append(new)
        found[new] = None
    if renamed:
        said = ", ".join(f"“{name}”" for name in renamed[:3]) + (" and so on" if len(renamed) > 3 else "")
        notes.append(f"{counted(len(renamed), 'column')} with the name of another: now {said}.")
    return list(found)
