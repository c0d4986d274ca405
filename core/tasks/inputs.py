"""The columns of a table as inputs of a network, by a pipeline of scikit-learn that learns from the training part."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.tasks.columns import counted
from core.tasks.data import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

LEVELS = 20  # inputs that a category becomes at most, one of them for its rare values
RARE = 0.01  # share of the training part that a value of a category needs for an input of its own, and two rows
INPUTS = 500  # that all categories together become at most, as long as each has two
NUMBERS = 2_000_000  # rows times inputs: an evaluation of 32 runs then takes about a tenth of a second
_IDENTIFIER = re.compile(r"row|index|nr|no|#|unnamed: 0|__index_level_\d+__|(.*[^a-z])?id|.*[a-z]Id", re.DOTALL)


@dataclass(frozen=True)
class Treated:
    """What was done to one column: as what it was taken, in words for a list, and how many inputs came of it."""

    column: str
    what: Literal["number", "category", "date", "dropped"]
    words: str
    columns_out: int


Added = tuple[Literal["number", "category", "date", "dropped"], str, int]  # what, words and inputs of a column


@dataclass(eq=False)
class _Plan:
    """What becomes of each column: columns of `wide`, by what is done to them, and what is said about them."""

    train: Ints
    levels: int
    treated: list[Treated] = field(default_factory=list)
    wide: dict[str, NDArray[Any]] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=list)  # the median where missing, and an input that says where
    calendar: list[str] = field(default_factory=list)  # the median where missing
    flags: list[str] = field(default_factory=list)  # an input that says where missing, and nothing else
    categories: list[str] = field(default_factory=list)  # an input for each frequent value

    def add(self, values: NDArray[Any], to: list[str]) -> None:
        """One more column of `wide`, which is treated as the others of that list."""
        key = str(len(self.wide))
        self.wide[key] = values
        to.append(key)

    @property
    def rare(self) -> int:
        """Rows of the training part below which a value of a category is rare."""
        return max(2, math.ceil(RARE * len(self.train)))


def most_rows(frame: pd.DataFrame) -> int:
    """How many rows of these columns can be used, by what the columns become at most."""
    kinds = [dtype.kind for dtype in frame.dtypes]
    levels = _levels(frame)
    width = sum({"f": 2, "M": 5}.get(kind, levels) for kind in kinds)
    return min(len(frame), NUMBERS // max(1, width))


def _levels(frame: pd.DataFrame) -> int:
    categories = sum(dtype.kind not in "fM" for dtype in frame.dtypes)
    return min(LEVELS, max(2, INPUTS // max(1, categories)))


def inputs_of(
    frame: pd.DataFrame, train: Ints, remarks: dict[str, tuple[str, ...]]
) -> tuple[Floats, tuple[Treated, ...]]:
    """Inputs `[N, F]` of columns of numbers (float64), dates (datetime64) and text (object), and what was done.

    All that is learned (medians, the values of a category) is learned from the rows `train`, and no input lies beyond
    what it reaches there. `remarks` are phrases about how a column was read, by its name.

    Raises:
        ValueError: nothing is left of the columns.
    """
    plan = _Plan(train, _levels(frame))
    for name, column in frame.items():
        values = column.to_numpy()
        add = _ADDED.get(values.dtype.kind, _category)
        what, words, out = add(plan, str(name), values)
        plan.treated.append(Treated(str(name), what, "; ".join((words, *remarks.get(str(name), ()))), out))
    if not plan.wide:
        raise ValueError(
            "No column is left to tell the target from, since each is empty, always the same or different in every "
            "row: bring more columns."
        )
    inputs = _transformed(plan)
    return inputs.clip(inputs[train].min(axis=0), inputs[train].max(axis=0)), tuple(plan.treated)


def _transformed(plan: _Plan) -> Floats:
    import pandas as pd  # here, because their imports cost a second
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    one_hot = OneHotEncoder(
        min_frequency=plan.rare, max_categories=plan.levels, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    missing = SimpleImputer(missing_values=None, strategy="constant", fill_value="")
    pipeline = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median", add_indicator=True), plan.numbers),
            ("calendar", SimpleImputer(strategy="median"), plan.calendar),
            ("flags", MissingIndicator(features="all"), plan.flags),
            ("categories", make_pipeline(missing, one_hot), plan.categories),
        ],
        sparse_threshold=0,
    )
    wide = pd.DataFrame({key: pd.Series(values, dtype=values.dtype) for key, values in plan.wide.items()})
    return np.asarray(pipeline.fit(wide.iloc[plan.train]).transform(wide), np.float64)


def _number(plan: _Plan, name: str, values: Floats) -> Added:
    missing = np.isnan(values)
    present = values[~missing]
    whole_and_different = len(np.unique(present)) == len(present) and bool((present == np.round(present)).all())
    if len(present) and whole_and_different and _IDENTIFIER.fullmatch(name):
        return "dropped", "different in every row, and its name says that it only tells the rows apart", 0
    if not _varies(values[plan.train]):
        return _unvaried(plan, "number", values, missing)
    plan.add(values, plan.numbers)
    where = bool(missing[plan.train].any())
    return "number", "shifted and scaled to mean 0 and spread 1" + _median(missing, where), 1 + where


def _date(plan: _Plan, name: str, values: NDArray[np.datetime64]) -> Added:
    missing = np.isnat(values)
    seconds = np.where(missing, np.nan, values.astype(np.int64).astype(np.float64))
    if not _varies(seconds[plan.train]):
        return _unvaried(plan, "date", seconds, missing)
    first = np.nanmin(seconds[plan.train])
    day = values.astype("datetime64[D]").astype(np.int64)
    month = values.astype("datetime64[M]").astype(np.int64)
    parts = {
        f"days since {np.datetime64(int(first), 's').astype('datetime64[D]')}": (seconds - first) / 86_400,
        "month": np.where(missing, np.nan, month % 12 + 1),
        "weekday": np.where(missing, np.nan, (day + 3) % 7 + 1),  # 1970 began on a Thursday
        "hour": seconds % 86_400 / 3600,
    }
    used = {part: found for part, found in parts.items() if _varies(found[plan.train])}
    for part, found in used.items():
        plan.add(found, plan.numbers if part == next(iter(used)) else plan.calendar)
    where = bool(missing[plan.train].any())
    return "date", ", ".join(used) + _median(missing, where), len(used) + where


def _category(plan: _Plan, name: str, values: NDArray[Any]) -> Added:
    empty = np.array([value is None for value in values])
    known, counts = np.unique(np.where(empty, "", values)[plan.train].astype(str), return_counts=True)
    if len(known) == 1:
        return "dropped", _same(empty), 0
    frequent = int((counts >= plan.rare).sum())
    if not frequent:
        return "dropped", "nearly every row has another text: an identifier, or free text", 0
    own = min(frequent, plan.levels - 1)
    others = len(known) - own
    words = f"an input for each of {own} values" if own > 1 else "an input for its commonest value"
    if others:
        words += f" and one for the {others:,} rarer ones" if others > 1 else " and one for the other"
    if empty.any():
        words += f"; missing in {counted(int(empty.sum()), 'row')}, which counts as a value"
    plan.add(values, plan.categories)
    return "category", words, own + (others > 0)


def _varies(values: Floats) -> bool:
    """Whether it has different numbers, told apart by their spread."""
    present = values[~np.isnan(values)]
    return len(present) > 1 and bool(np.ptp(present) > 0) and bool(present.std() > 0)


def _unvaried(plan: _Plan, what: Literal["number", "date"], values: Floats, missing: NDArray[np.bool_]) -> Added:
    """Of a column that has no different values, only whether it has one can be used."""
    train = missing[plan.train]
    if not train.any() or train.all():
        return "dropped", _same(missing), 0
    plan.add(values, plan.flags)
    return (
        what,
        f"always the same where it is known: an input says where it is missing ({counted(int(missing.sum()), 'row')})",
        1,
    )


def _same(missing: NDArray[np.bool_]) -> str:
    return "empty" if missing.all() else "always the same in the training part"


def _median(missing: NDArray[np.bool_], where: bool) -> str:
    many = int(missing.sum())
    if not many:
        return ""
    said = f"; missing in {counted(many, 'row')}, where it counts as the median"
    return said + (" and an input says so" if where else "")


_ADDED: dict[str, Callable[[_Plan, str, NDArray[Any]], Added]] = {"f": _number, "M": _date}  # by numpy's kind
