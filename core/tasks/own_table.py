"""A table of one's own: what is done to its columns, in words, and the task that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.tasks.base import PARTS
from core.tasks.columns import counted, drawn
from core.tasks.data import Floats, Ints, Parts, split
from core.tasks.dense import DenseClassifier, DenseRegressor, hidden_layers
from core.tasks.inputs import Treated, inputs_of, most_rows
from core.tasks.sheet import Table, read_table
from core.tasks.supervised import unequal_shares
from core.tasks.tables import table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Prepared", "Table", "TargetKind", "Treated", "own_table", "prepare", "read_table", "target_kind"]

TargetKind = Literal["classes", "number"]  # what a target can be

MOST_CLASSES = 100
LEAST_ROWS = 10
_FEW = 10  # different whole numbers that are rather classes
_ROWS_EACH = 5  # rows that each of them has on average; a class with fewer rows is not spread over the parts
_FARTHEST = 1e6  # standard deviations of a target from its mean: the squares of more would drown every other loss


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table made ready for networks: three parts, and what was done, column by column and in all.

    `kind` is "classes" (then `classes` are their names, in the order of their labels) or "number". `notes` are
    sentences about the file, its rows and the target.
    """

    parts: Parts
    target: str
    kind: TargetKind
    classes: tuple[str, ...]
    treated: tuple[Treated, ...]
    notes: tuple[str, ...]
    summary: str

    def task(self, width: int = 16, depth: int = 1) -> DenseClassifier | DenseRegressor:
        """The task: a network with so many hidden layers of that width.

        Raises:
            ValueError: a setting lies outside its domain.
        """
        units, layers = (
            int(hyper.check(given)) for hyper, given in zip(hidden_layers(16, 1), (width, depth), strict=True)
        )
        hidden = [units] * layers
        used = counted(sum(done.columns_out > 0 for done in self.treated), "column")
        if self.kind == "number":
            return table(self.parts, hidden, f"the number “{self.target}”, told from {used} of a table of one's own")
        many = len(self.classes)
        about = f"which of {many} classes of “{self.target}”, told from {used} of a table of one's own"
        task = table(self.parts, hidden, about, classes=many)
        task.levels += unequal_shares(self.parts["train"][1], many)
        return task


def target_kind(table: Table, column: str) -> TargetKind:
    """What a column rather is as a target: classes where it is text or has few whole numbers, else a number.

    Raises:
        ValueError: the table has no such column.
    """
    values = _column(table, column).dropna()
    if values.dtype.kind == "M":
        return "number"
    if values.dtype.kind != "f":
        return "classes"
    different = np.unique(values)
    whole = bool((different == np.round(different)).all())
    few = whole and len(different) <= min(_FEW, len(values) / _ROWS_EACH)
    return "classes" if few or len(different) == 2 else "number"


def prepare(source: bytes | Table, target: str, kind: TargetKind | None = None) -> Prepared:
    """A table as numbers in three parts, with one column to be told from the others.

    Whatever is learned from the data on the way, a median or the levels of a category, is learned from the training
    part alone. Classes are spread evenly over the parts.

    Args:
        source: the bytes of a CSV or Parquet file, or a table that was read.
        target: the name of the column to be told.
        kind: whether it is "classes" or a "number"; None: what it rather is.

    Raises:
        ValueError: no task can be made of it; the message is one sentence that says what to do.
    """
    whole = read_table(source) if isinstance(source, bytes) else source
    kind = kind or target_kind(whole, target)
    if kind not in get_args(TargetKind):
        raise ValueError(f"A target is told as classes or as a number (kind), not as {str(kind)[:40]!r}.")
    notes = list(whole.notes)
    known = _column(whole, target).notna().to_numpy()
    if not known.all():
        missing = int((~known).sum())
        notes.append(
            f"{counted(missing, 'row')} without a value of “{target}” {'is' if missing == 1 else 'are'} left out."
        )
    rows = int(known.sum())
    if rows < LEAST_ROWS:
        raise ValueError(
            f"The table has {counted(rows, 'row')} with a value of “{target}”: give it at least {LEAST_ROWS}, or "
            "choose another target."
        )
    frame = whole.frame[known].reset_index(drop=True)
    rest = frame.drop(columns=target)
    rows = most_rows(rest)
    if rows < len(frame):
        notes.append(
            f"Of {len(frame):,} rows {rows:,} are used, since the table is wide; drawn at random, always the same."
        )
        some = drawn(len(frame), rows)
        frame, rest = frame.iloc[some].reset_index(drop=True), rest.iloc[some].reset_index(drop=True)
    values = frame[target]
    classes, targets = _labels(values, target) if kind == "classes" else _numbers(values, target)
    where = _split(targets, notes)
    if kind == "number":
        _check_spread(targets, where["train"], target)
    inputs, treated = inputs_of(rest, where["train"], whole.remarks)
    parts = {part: (inputs[rows], targets[rows]) for part, rows in where.items()}
    return Prepared(parts, target, kind, classes, treated, tuple(notes), _summary(parts, treated))


def own_table(
    source: bytes | Table, *, target: str, kind: TargetKind | None = None, width: int = 16, depth: int = 1
) -> DenseClassifier | DenseRegressor:
    """A table of one's own as a task: `own_table(Path("houses.csv").read_bytes(), target="price")`.

    The same bytes and settings give the same task, bit for bit. The arguments are those of `prepare` and
    `Prepared.task`, and so is what is raised.
    """
    return prepare(source, target, kind).task(width, depth)


def _column(table: Table, name: str) -> pd.Series[Any]:
    if name not in table.columns:
        some = ", ".join(f"“{column}”" for column in table.columns[:10])
        raise ValueError(
            f"The table has no column {name[:40]!r}: choose one of {some}{' …' * (len(table.columns) > 10)}."
        )
    return table.frame[name]


def _labels(values: pd.Series[Any], target: str) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The names of the classes, in the order of their labels, and the labels `[N]`."""
    kind = values.dtype.kind
    array = values.to_numpy()
    different, labels = np.unique(array.astype("datetime64[D]") if kind == "M" else array, return_inverse=True)
    if len(different) > MOST_CLASSES:
        instead = "choose another target" if kind == "O" else "take it as a number, or choose another target"
        raise ValueError(
            f"The target “{target}” has {len(different):,} different values, and at most {MOST_CLASSES} classes can be "
            f"told apart: {instead}."
        )
    if len(different) == 1:
        raise ValueError(f"The target “{target}” is the same in every row: choose one that differs.")
    return tuple(f"{value:.15g}" if kind == "f" else str(value) for value in different), labels


def _numbers(values: pd.Series[Any], target: str) -> tuple[tuple[str, ...], NDArray[Any]]:
    """No classes, and the numbers `[N]`; of dates, the days."""
    if values.dtype.kind == "O":
        raise ValueError(f"The target “{target}” is text, not a number: take it as classes, or choose another target.")
    array = values.to_numpy()
    found: Floats = array.astype(np.int64) / 86_400 if values.dtype.kind == "M" else array
    if np.ptp(found) == 0:
        raise ValueError(f"The target “{target}” is the same in every row: choose one that differs.")
    return (), found


def _split(targets: NDArray[Any], notes: list[str]) -> dict[str, Ints]:
    """Which rows are in which part; classes are spread evenly, those with few rows as if they were one."""
    strata = targets
    if np.issubdtype(targets.dtype, np.integer):
        counts = np.bincount(targets)
        few = counts < _ROWS_EACH
        if few.any():
            many = f"{few.sum()} class{'es' * bool(few.sum() > 1)}"
            notes.append(f"{many} with fewer than {_ROWS_EACH} rows may be missing in a part of the data.")
            enough = counts[few].sum() >= _ROWS_EACH
            strata = np.where(few[targets], np.flatnonzero(few)[0] if enough else counts.argmax(), targets)
    cut = split(np.arange(len(targets), dtype=np.float64)[:, None], strata)
    return {part: index[:, 0].astype(np.int64) for part, (index, _) in cut.items()}


def _check_spread(targets: Floats, train: Ints, target: str) -> None:
    spread = targets[train].std()
    if not np.ptp(targets[train]) > 0 or not spread > 0:
        raise ValueError(f"The target “{target}” is nearly always the same: choose one that differs.")
    if np.abs(targets - targets[train].mean()).max() > _FARTHEST * spread:
        raise ValueError(
            f"The target “{target}” has a number more than a million standard deviations from its mean: correct it, or "
            "choose another target."
        )


def _summary(parts: Parts, treated: tuple[Treated, ...]) -> str:
    sizes = [f"{len(parts[part][1]):,}" for part in PARTS]
    used = [done for done in treated if done.what != "dropped"]
    dropped = len(treated) - len(used)
    left_out = f"; {counted(dropped, 'column')} {'is' if dropped == 1 else 'are'} left out" if dropped else ""
    return (
        f"{counted(len(used), 'column')} become{'s' * (len(used) == 1)} "
        f"{counted(parts['train'][0].shape[1], 'input')}{left_out}; {sizes[0]} rows train, {sizes[1]} validate, "
        f"{sizes[2]} test."
    )
