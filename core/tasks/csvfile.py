"""The cells of a CSV file: its separator, its first line, and lines of other lengths."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import pairwise

from core.tasks.columns import CELLS, COLUMNS, ROWS, Column, counted, drawn, some_are_used, typed

ROW = "row"  # the name of a first column that has none, where the others have: it numbers or names the rows
_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "upright strokes", ",": "commas"}
_LOOKED_AT = 100_000  # characters by which the separator is told
_ALIKE = 0.9  # share of lines that have as many cells as the first, where the separator is the right one
_IN_A_ROW = 3  # numbers that count up along the first line and so are names: years, or 0, 1, 2


def read_csv(text: str) -> tuple[list[str], list[Column], list[str]]:
    """The names, the columns, and sentences about what was done, of a table in CSV.

    A name is "" where the file gives none.

    Raises:
        ValueError: it is no such table, or too large; the message is one sentence that says what to do.
    """
    separator = _separator(text)
    notes = [f"Its cells are separated by {_SEPARATORS[separator]}."]
    first, *rows = _rows(text, separator, notes)
    if len(rows) > ROWS:
        notes.append(some_are_used(len(rows)))
        rows = [rows[i] for i in drawn(len(rows), ROWS)]
    decimal_comma = separator != ","
    cells = list(zip(*rows, strict=True))
    columns = [typed(column, decimal_comma) for column in cells]
    if _is_data(first, cells, columns, decimal_comma):
        notes.append("The first line looks like data, so the columns are called column 1, column 2 and so on.")
        columns = [typed((cell, *column), decimal_comma) for cell, column in zip(first, cells, strict=True)]
        first = [""] * len(first)
    if not first[0].strip() and all(name.strip() for name in first[1:]):
        first[0] = ROW
    used = [
        j for j, column in enumerate(columns) if first[j].strip() or any(value is not None for value in column.values)
    ]
    return [first[j] for j in used], [columns[j] for j in used], notes


def _separator(text: str) -> str:
    """The first that cuts nearly all lines into as many cells as the first line, or one more (names of the rows)."""
    sample = text[:_LOOKED_AT]
    whole = sample if len(text) == len(sample) else sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample
    best, share = "", 0.0
    for separator in _SEPARATORS:
        try:
            lengths = [len(row) for row in csv.reader(io.StringIO(whole, newline=""), delimiter=separator) if any(row)]
        except csv.Error:
            continue
        if not lengths or lengths[0] < 2:
            continue
        alike = sum(length in (lengths[0], lengths[0] + 1) for length in lengths) / len(lengths)
        if alike >= _ALIKE:
            return separator
        if alike > share:
            best, share = separator, alike
    if not best:
        raise ValueError(
            "The file has one column only: give it at least two, separated by commas, semicolons or tabs in every line."
        )
    return best


def _rows(text: str, separator: str, notes: list[str]) -> list[list[str]]:
    """All lines that are not empty, each with as many cells as the first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    cells = 0
    try:
        for row in reader:
            if not any(row):
                continue
            if len(row) > COLUMNS:
                raise ValueError(
                    f"The table has {len(row):,} columns, and at most {COLUMNS} are read: keep those that matter."
                )
            rows.append(row)
            lines.append(reader.line_num)
            cells += len(row)
            if cells > CELLS:
                raise ValueError(f"The table has more than {CELLS:,} cells: bring fewer rows or columns of it.")
    except csv.Error:
        raise ValueError(
            f"Line {reader.line_num:,} cannot be read: correct its quotes, one of which is left open or stands inside "
            "a cell."
        ) from None
    if len(rows) < 2:
        raise ValueError("The table has one line only: give it a line of names and at least ten of data.")
    return _of_one_length(rows, lines, notes)


def _of_one_length(rows: list[list[str]], lines: Sequence[int], notes: list[str]) -> list[list[str]]:
    if all(len(row) == len(rows[0]) + 1 for row in rows[1:]) and any(row[-1] for row in rows[1:]):
        notes.append(f"The first line has no name for the first column, which is called {ROW}.")
        rows[0].insert(0, "")
    width, short = len(rows[0]), 0
    for row, line in zip(rows, lines, strict=True):
        if len(row) > width and any(row[width:]):
            raise ValueError(
                f"Line {line:,} has {len(row)} cells where the first has {width}: put cells that hold the separator in "
                'double quotes ("), or correct the line.'
            )
        del row[width:]
        short += len(row) < width
        row += [""] * (width - len(row))
    if short:
        notes.append(f"{counted(short, 'line')} shorter than the first: what is not there counts as missing.")
    return rows


def _is_data(
    first: Sequence[str], cells: Sequence[Sequence[str]], columns: Sequence[Column], decimal_comma: bool
) -> bool:
    """Whether the first line is one of data: it has numbers and dates where the others have, or a text of theirs."""
    measured = [j for j, column in enumerate(columns) if column.kind != "category"]
    if not measured:
        return any(cell and cell in column for cell, column in zip(first, cells, strict=True))
    alike = [typed([first[j]], decimal_comma) for j in measured]
    if any(one.kind != columns[j].kind for one, j in zip(alike, measured, strict=True)):
        return False
    values = [float(one.values[0]) for one in alike if one.kind == "number"]
    counting = len(values) >= _IN_A_ROW and all(b - a == 1 for a, b in pairwise(values))
    return not counting
