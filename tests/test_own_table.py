"""A table of one's own: bytes of a CSV or Parquet file become a task, or are refused in one sentence."""

import hashlib
import io
import re
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from core import race, racer, run
from core.tasks.columns import CELLS, ROWS
from core.tasks.data import split
from core.tasks.dense import DenseClassifier, DenseRegressor
from core.tasks.inputs import INPUTS, LEVELS, NUMBERS
from core.tasks.own_table import Prepared, Treated, own_table, prepare, read_table, target_kind
from tests import refusals
from tests.twins import LIKE, assert_equals_its_twin, assert_first_loss_is_as_expected

ROOT = Path(__file__).resolve().parent.parent
SIMPLE = "\n".join(["a,b,kind", *(f"{i},{i * i % 17},{'even' if i % 2 == 0 else 'odd'}" for i in range(40))]).encode()


def csv(columns: dict[str, Any], separator: str = ",") -> bytes:
    """A CSV file of lists of cells, without quotes."""
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "\n".join(separator.join(map(str, row)) for row in rows).encode()


def parquet(columns: dict[str, Any], **settings: Any) -> bytes:
    """A Parquet file of lists or arrays of pyarrow's."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **settings)
    return buffer.getvalue()


def is_one_sentence(message: str) -> bool:
    return bool(re.fullmatch(r"[A-Z][^\n\r]{20,320}\.", message)) and not re.search(r"[.!?] [A-Z]", message)


def refused(make: Callable[[], object], *words: str) -> str:
    """The message, one sentence with all of these words in it."""
    message = refusals.refused(make, *words)
    assert is_one_sentence(message), message
    return message


def done(prepared: Prepared, column: str) -> Treated:
    (found,) = [treated for treated in prepared.treated if treated.column == column]
    return found


# A table becomes a task


def passengers(count: int = 300) -> dict[str, list[Any]]:
    """A table with something of everything."""
    rng = np.random.default_rng(0)
    sex = rng.choice(["male", "female"], count)
    return {
        "PassengerId": list(range(1, count + 1)),
        "name": [f"Doe {i}" for i in range(count)],
        "sex": list(sex),
        "age": ["" if rng.random() < 0.2 else f"{rng.uniform(1, 80):.1f}" for _ in range(count)],
        "port": list(rng.choice(["S", "C", "Q", "NA"], count, p=[0.7, 0.18, 0.1, 0.02])),
        "joined": [f"20{i % 20:02}-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(count)],
        "constant": ["x"] * count,
        "empty": [""] * count,
        "survived": [int((s == "female") ^ (rng.random() < 0.2)) for s in sex],
    }


def test_every_column_is_treated_and_it_is_said() -> None:
    prepared = prepare(csv(passengers()), "survived")
    assert (prepared.kind, prepared.classes) == ("classes", ("0", "1"))
    assert {treated.column: (treated.what, treated.columns_out) for treated in prepared.treated} == {
        "PassengerId": ("dropped", 0), "name": ("dropped", 0), "sex": ("category", 2), "age": ("number", 2),
        "port": ("category", 4), "joined": ("date", 3), "constant": ("dropped", 0), "empty": ("dropped", 0),
    }  # fmt: skip
    for column, words in {
        "PassengerId": "tells the rows apart", "name": "an identifier", "sex": "each of 2 values",
        "age": "counts as the median and an input says so", "port": "which counts as a value",
        "joined": ", month, weekday; read as year-month-day", "constant": "always the same", "empty": "empty",
    }.items():  # fmt: skip
        assert words in done(prepared, column).words
    inputs, labels = prepared.parts["train"]
    assert inputs.shape == (180, sum(treated.columns_out for treated in prepared.treated)) and labels.shape == (180,)
    assert prepared.summary == (
        "4 columns become 11 inputs; 4 columns are left out; 180 rows train, 60 validate, 60 test."
    )
    assert prepared.notes[0] == "The file is CSV in UTF-8."


def test_inputs_are_standardised_by_the_training_part_and_training_learns() -> None:
    task = own_table(csv(passengers()), target="survived", width=8, depth=2)
    assert isinstance(task, DenseClassifier) and task.widths == (11, 8, 8, 2)
    inputs = task.data.parts["train"][0]
    assert inputs.mean(axis=0) == pytest.approx(np.zeros(11), abs=1e-9)
    assert inputs.std(axis=0) == pytest.approx(np.ones(11))
    assert_equals_its_twin(task, 16)
    assert_first_loss_is_as_expected(task, slack=0.01)
    history = run(race(task, [racer("adam", lr=0.01)], steps=100, seeds=3))
    majority = task.data.majority("validation")
    assert (history.evals["validation_accuracy"][-1] > majority + 0.1).all()


def test_a_number_is_told_from_the_others() -> None:
    rng = np.random.default_rng(1)
    x, port = rng.normal(size=200), rng.choice(["a", "b"], 200)
    table = csv({"x": x, "port": port, "y": 3 * x + 2 * (port == "a")})
    task = own_table(table, target="y", width=8)
    assert isinstance(task, DenseRegressor)
    names = [level.name for level in task.levels]
    assert names[0] == "always the mean: 1 (R² = 0)" and names[1].startswith("best linear model")
    assert task.levels[1].value < 1e-20
    shifted = own_table(csv({"x": x, "port": port, "y": x**2}), target="y")
    inputs, targets = shifted.data.parts["train"]
    assert shifted.levels[1].value == pytest.approx(1 - LinearRegression().fit(inputs, targets).score(inputs, targets))


def test_the_levels_of_uneven_classes_are_a_direct_count() -> None:
    labels = ["rare"] * 20 + ["common"] * 80
    task = own_table(csv({"x": range(100), "kind": labels}), target="kind")
    accuracy, loss = (next(level for level in task.levels if level.name.startswith(name)) for name in
                      ("always the commonest class", "the classes' shares"))  # fmt: skip
    assert (accuracy.of, accuracy.value, loss.of) == ("accuracy", 0.8, "loss")
    assert loss.value == pytest.approx(-0.2 * np.log(0.2) - 0.8 * np.log(0.8))
    even = own_table(csv({"x": range(100), "kind": ["a", "b"] * 50}), target="kind")
    assert not any(level.name.startswith("the classes' shares") for level in even.levels)


def test_medians_and_levels_come_from_the_training_part_alone() -> None:
    """What the other parts hold, in their inputs or their targets, changes nothing in the training part."""
    rng = np.random.default_rng(2)
    x = [f"{value:.3f}" if rng.random() > 0.2 else "" for value in rng.normal(size=100)]
    kind, y = list(rng.choice(["p", "q", "r"], 100)), rng.normal(size=100)
    train, validation, test = (
        rows[:, 0].astype(int) for rows, _ in split(np.arange(100.0)[:, None], np.zeros(100)).values()
    )
    first = prepare(csv({"x": x, "kind": kind, "y": y}), "y")
    for row in [*validation, *test]:
        x[row], kind[row], y[row] = "1e6", "new", 50.0
    second = prepare(csv({"x": x, "kind": kind, "y": y}), "y")
    assert np.array_equal(first.parts["train"][0], second.parts["train"][0])
    assert np.array_equal(first.parts["train"][1], y[train])
    low, high = (second.parts["train"][0].min(axis=0), second.parts["train"][0].max(axis=0))
    for part in ("validation", "test"):
        assert (second.parts[part][0] >= low).all() and (second.parts[part][0] <= high).all()
    median = np.median([float(x[row]) for row in train if x[row]])
    assert set(first.parts["train"][0][[x[row] == "" for row in train], 0]) == {median}


def test_the_same_bytes_are_the_same_task_bit_for_bit() -> None:
    content = csv(passengers())
    first, second = (own_table(content, target="survived") for _ in range(2))
    read = own_table(read_table(content), target="survived", kind="classes", width=16, depth=1)
    for task in (second, read):
        for part, arrays in first.data.parts.items():
            for ours, theirs in zip(arrays, task.data.parts[part], strict=True):
                assert np.array_equal(ours, theirs)
        assert task.initial_loss == first.initial_loss and task.levels == first.levels
        assert np.array_equal(task.initial([0], LIKE), first.initial([0], LIKE))


def test_another_process_makes_the_same_task_bit_for_bit() -> None:
    """So that the page shows the table that a worker trains on."""
    code = (
        "import hashlib, sys\n"
        "from core.tasks.own_table import own_table\n"
        "parts = own_table(sys.stdin.buffer.read(), target='survived').data.parts\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for pair in parts.values() for a in pair)).hexdigest())"
    )
    content = csv(passengers())
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, cwd=ROOT, check=True)
    parts = own_table(content, target="survived").data.parts
    ours = hashlib.sha256(b"".join(array.tobytes() for pair in parts.values() for array in pair)).hexdigest()
    assert done.stdout.decode().strip() == ours


# What a target is


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["yes", "no"] * 20, "classes"),
        (["true", "false"] * 20, "classes"),
        ([0, 1] * 20, "classes"),
        ([0.5, 1.5] * 20, "classes"),
        ([3, 4, 5, 6] * 10, "classes"),
        (["1", "2", "", "3"] * 10, "classes"),
        (range(40), "number"),
        ([i % 9 for i in range(40)], "number"),
        ([0.1, 0.2, 0.3, 0.4] * 10, "number"),
        ([f"2020-01-{i % 28 + 1:02}" for i in range(40)], "number"),
    ],
)
def test_what_a_target_is_told_as(cells: Any, kind: str) -> None:
    table = read_table(csv({"x": range(40), "y": cells}))
    assert target_kind(table, "y") == kind
    assert prepare(table, "y").kind == kind


def test_classes_or_a_number_can_be_changed() -> None:
    table = read_table(csv({"x": range(60), "y": [3, 4, 5] * 20}))
    classes, number = prepare(table, "y"), prepare(table, "y", "number")
    assert (classes.kind, classes.classes, number.kind, number.classes) == ("classes", ("3", "4", "5"), "number", ())
    assert set(number.parts["train"][1]) == {3.0, 4.0, 5.0} and set(classes.parts["train"][1]) == {0, 1, 2}
    assert not number.task().accuracy and classes.task().accuracy


def test_a_date_is_told_in_days_or_as_classes() -> None:
    table = read_table(csv({"x": range(60), "y": ["2020-01-01", "2020-01-31", "2021-03-01"] * 20}))
    days = np.concatenate([targets for _, targets in prepare(table, "y").parts.values()])
    assert sorted(set(days - days.min())) == [0, 30, 425]
    assert prepare(table, "y", "classes").classes == ("2020-01-01", "2020-01-31", "2021-03-01")


def test_classes_with_few_rows_are_said_and_kept() -> None:
    labels = ["a"] * 40 + ["b"] * 19 + ["c"] * 1 + ["d"] * 2
    prepared = prepare(csv({"x": range(62), "kind": labels}), "kind")
    assert prepared.classes == ("a", "b", "c", "d")
    assert "2 classes with fewer than 5 rows may be missing in a part of the data." in prepared.notes
    everything = np.concatenate([labels for _, labels in prepared.parts.values()])
    assert list(np.bincount(everything)) == [40, 19, 1, 2]
    assert [int((labels == 1).sum()) for _, labels in prepared.parts.values()] == pytest.approx([11, 4, 4], abs=1)


def test_rows_without_a_target_are_left_out_and_it_is_said() -> None:
    cells = [1.5 * i for i in range(30)] + ["", "NA", "inf", "-1e300"]
    prepared = prepare(csv({"x": range(34), "y": cells}), "y")
    assert "4 rows without a value of “y” are left out." in prepared.notes
    assert sum(len(targets) for _, targets in prepared.parts.values()) == 30


# What a CSV file may look like


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_encodings_and_line_ends(separator: str, encoding: str, end: str) -> None:
    lines = ["Größe|Straße|Preis", *(f"{i}|{'Allee für Fußgänger' if i % 2 else 'Weg über Äcker'}|{i / 4}"
                                     for i in range(40))]  # fmt: skip
    table = read_table(end.join(line.replace("|", separator) for line in lines).encode(encoding))
    assert table.columns == ("Größe", "Straße", "Preis") and len(table) == 40
    assert list(table.frame["Preis"]) == [i / 4 for i in range(40)]
    assert set(table.frame["Straße"]) == {"Allee für Fußgänger", "Weg über Äcker"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a;b\n1,5;x\n-2,25;y\n3;z", [1.5, -2.25, 3]),
        ('a,b\n"1,234",x\n"1,234,567.5",y\n12,z', [1234, 1234567.5, 12]),
        ("a,b\n1e3,x\n .5,y\n+7.,z", [1000, 0.5, 7]),
    ],
)
def test_decimal_and_thousands_commas(text: str, values: list[float]) -> None:
    assert list(read_table(text.encode()).frame["a"]) == values


@pytest.mark.parametrize(
    ("cells", "days", "said"),
    [
        (["2020-02-01", "2020-02-03", "2020-03-01T12:00"], [0, 2, 29.5], "year-month-day"),
        (["1.2.2020", "3.2.2020", "01.03.2020"], [0, 2, 29], "day.month.year"),
        (["2/1/2020", "2/3/2020", "3/1/2020"], [0, 2, 29], "month/day/year"),
        (["01/02/2020", "13/02/2020", "01/03/2020"], [0, 12, 29], "day/month/year"),
        (["2020-02-01T00:00Z", "2020-02-03T02:00+02:00", ""], [0, 2, np.nan], "year-month-day"),
    ],
)
def test_dates(cells: list[str], days: list[float], said: str) -> None:
    table = read_table(csv({"when": cells, "x": range(len(cells))}))
    seconds = (table.frame["when"] - pd.Timestamp("2020-02-01")).dt.total_seconds()
    assert np.array_equal(seconds / 86_400, days, equal_nan=True)
    assert table.remarks["when"] == (f"read as {said}",)


def test_parts_of_a_date() -> None:
    moments = [datetime(2021, 1, 1, tzinfo=UTC) + timedelta(hours=37 * i) for i in range(200)]
    prepared = prepare(csv({"when": [f"{m:%Y-%m-%d %H:%M}" for m in moments], "y": np.arange(200) ** 0.5}), "y")
    assert done(prepared, "when").words.startswith("days since 2021-01-0") and done(prepared, "when").columns_out == 4
    where = split(np.arange(200.0)[:, None], np.zeros(200))["test"][0][:, 0].astype(int)
    inputs = prepared.parts["test"][0]
    assert inputs[:, 1:].tolist() == [[moments[i].month, moments[i].isoweekday(), moments[i].hour] for i in where]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("1,2.5,x\n2,3.5,y\n3,4.5,x", ("column 1", "column 2", "column 3")),
        ("red,round\nblue,square\nred,square", ("column 1", "column 2")),
        ("shape,colour\nround,red\nsquare,blue", ("shape", "colour")),
        ("country,2019,2020,2021\nA,1,2,3\nB,4,5,7", ("country", "2019", "2020", "2021")),
        (",x,y\n0,1,2\n1,3,4", ("row", "x", "y")),
        ("x,y\na,1,2\nb,3,4", ("row", "x", "y")),
        ("x,y,\n1,2,\n3,4,", ("x", "y")),
        ("x,,y\n1,2,4\n3,4,5", ("x", "column 2", "y")),
        ("a,a,a,a (2)\n1,2,x,3\n3,4,y,5", ("a", "a (2)", "a (3)", "a (2) (2)")),
        (" a \x85b ,\u202e\n1,2\n3,4", ("a b", "column 2")),
        ("\n\nx,y\n\n1,2\n3,4\n\n", ("x", "y")),
    ],
)
def test_names_of_columns(text: str, columns: tuple[str, ...]) -> None:
    table = read_table(text.encode())
    assert table.columns == columns
    guessed = columns[0] == "column 1"
    assert any("The first line looks like data" in note for note in table.notes) == guessed
    assert len(table) == (3 if guessed else 2)


def test_duplicate_names_are_said() -> None:
    table = read_table(b"a,a,b\n1,2,x\n3,4,y")
    assert "1 column with the name of another: now “a (2)”." in table.notes


def test_short_lines_miss_their_last_cells() -> None:
    table = read_table(b"a,b,c\n1,2,x\n3,4\n5\n7,8,y")
    assert "2 lines shorter than the first: what is not there counts as missing." in table.notes
    assert list(table.frame["c"]) == ["x", None, None, "y"] and list(table.frame["a"]) == [1, 3, 5, 7]


def test_formulas_are_text() -> None:
    cells = ["=1+1", '=cmd|" /C calc"!A0', "@SUM(1)", "+A1"] * 10
    table = read_table(csv({"x": range(40), "f": cells, "y": [0, 1] * 20}))
    assert set(table.frame["f"]) == set(cells)
    assert done(prepare(table, "y"), "f").what == "category"


def test_few_strays_in_numbers_and_infinite_ones_are_missing_and_said() -> None:
    cells = [f"{i / 7}" for i in range(96)] + ["unknown", "inf", "-1e101", "9" * 400]
    table = read_table(csv({"x": cells, "y": range(100)}))
    stray, huge = table.remarks["x"]
    assert stray == "1 cell that is no number counts as missing" and huge == "3 numbers beyond 1e+100 count as missing"
    assert int(table.frame["x"].isna().sum()) == 4
    assert table.remarks["x"][0] in done(prepare(table, "y"), "x").words
    assert read_table(csv({"x": ["1_0", "2_0"] * 9, "y": range(18)})).frame["x"].dtype == object
    text = read_table(csv({"x": cells[:50] + ["a", "b", "c"] * 2, "y": range(56)}))
    assert text.frame["x"].dtype == object


@pytest.mark.parametrize("scale", [1e99, 2.0**62, 1e-99, 1e-160])
def test_huge_and_tiny_numbers_train(scale: float) -> None:
    rng = np.random.default_rng(4)
    task = own_table(csv({"x": rng.normal(size=60) * scale, "y": rng.normal(size=60) * scale}), target="y")
    history = run(race(task, [racer("adam", lr=0.01)], steps=5, seeds=2))
    assert np.isfinite(history.loss).all() and np.isfinite(history.evals["validation_loss"]).all()


def test_a_category_with_many_values_keeps_the_frequent_ones() -> None:
    rng = np.random.default_rng(5)
    cells = [f"level {min(int(value), 60)}" for value in rng.exponential(12, 2000)]
    prepared = prepare(csv({"kind": cells, "y": rng.normal(size=2000)}), "y")
    treated = done(prepared, "kind")
    assert treated.columns_out == LEVELS == prepared.parts["train"][0].shape[1]
    assert re.match(rf"an input for each of {LEVELS - 1} values and one for the \d+ rarer ones$", treated.words)
    for inputs, _ in prepared.parts.values():
        assert (inputs.sum(axis=1) == 1).all()


def test_a_column_known_in_some_rows_only_says_that() -> None:
    cells = ["7", "", "7", "7"] * 15
    prepared = prepare(csv({"x": cells, "y": np.arange(60) ** 2}), "y")
    assert (done(prepared, "x").columns_out, done(prepared, "x").what) == (1, "number")
    assert "an input says where it is missing (15 rows)" in done(prepared, "x").words
    assert set(prepared.parts["train"][0][:, 0]) == {0.0, 1.0}


# Large tables are drawn from, always alike


def test_more_rows_than_are_used_are_drawn() -> None:
    table = read_table(b"a,b\n" + b"\n".join(b"%d,%d" % (i, i % 2) for i in range(ROWS + 10)))
    assert len(table) == ROWS and f"Of its {ROWS + 10:,} rows {ROWS:,} are used" in table.notes[-1]
    assert (np.diff(table.frame["a"]) > 0).all()
    again = read_table(b"a,b\n" + b"\n".join(b"%d,%d" % (i, i % 2) for i in range(ROWS + 10)))
    assert table.frame["a"].tolist() == again.frame["a"].tolist()


def test_wide_tables_use_fewer_rows() -> None:
    rows = 4500
    lines = [b",".join(b"%d" % ((i * j) % 7) for j in range(300)) for i in range(7)]
    names = b",".join(b"c%d" % j for j in range(300))
    content = b"\n".join([names, *(lines[i % 7] for i in range(rows))])
    prepared = prepare(content, "c1", "number")
    used = sum(len(targets) for _, targets in prepared.parts.values())
    assert used == NUMBERS // (2 * 299) and any(
        f"Of {rows:,} rows {used:,} are used" in note for note in prepared.notes
    )


def test_many_categories_share_the_inputs() -> None:
    rng = np.random.default_rng(6)
    columns: dict[str, Any] = {f"c{j}": rng.choice([*"abcdefghijklmnop"], 400) for j in range(100)}
    prepared = prepare(csv({**columns, "y": rng.normal(size=400)}), "y")
    assert prepared.parts["train"][0].shape[1] <= INPUTS
    assert all(treated.columns_out == INPUTS // 100 for treated in prepared.treated)


# Parquet


def test_parquet_says_what_csv_says() -> None:
    columns = passengers()
    typed = {
        **columns,
        "age": [float(cell) if cell else None for cell in columns["age"]],
        "port": pa.array([None if cell == "NA" else cell for cell in columns["port"]]).dictionary_encode(),
        "joined": [date.fromisoformat(cell) for cell in columns["joined"]],
        "empty": pa.nulls(300),
    }
    ours, theirs = (prepare(content, "survived") for content in (parquet(typed), csv(columns)))
    assert ours.notes[0] == "The file is Parquet."
    for part in ours.parts:
        for one, other in zip(ours.parts[part], theirs.parts[part], strict=True):
            assert np.array_equal(one, other)
    assert [(t.column, t.what, t.columns_out) for t in ours.treated] == [
        (t.column, t.what, t.columns_out) for t in theirs.treated
    ]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, None, 3], pa.int64()), [1, np.nan, 3]),
        (pa.array([1, None, 3], pa.uint8()), [1, np.nan, 3]),
        (pa.array([1.5, None, float("inf")], pa.float32()), [1.5, np.nan, np.nan]),
        (pa.array([1.5, None, 2], pa.float16()), [1.5, np.nan, 2]),
        (pa.array([Decimal("1.50"), None, Decimal("2.00")]), [1.5, np.nan, 2]),
        (pa.array([2**63, None, 2**64 - 1], pa.uint64()), [2.0**63, np.nan, 2.0**64]),
        (pa.array([timedelta(seconds=2), None, timedelta(0)], pa.duration("s")), [2, np.nan, 0]),
        (pa.array([1, None, 5], pa.time32("s")), [1000, np.nan, 5000]),
        (pa.array([1, None, 3]).dictionary_encode(), [1, np.nan, 3]),
        (pa.array(["1", None, "2.5"]), [1, np.nan, 2.5]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array(["a", None, ""], pa.large_string()), ["a", None, None]),
        (pa.array([date(2020, 1, 2), None, date(1999, 1, 1)]), ["2020-01-02", "NaT", "1999-01-01"]),
        (pa.array([0, None, 86_400_000_000_001], pa.timestamp("ns", "UTC")), ["1970-01-01", "NaT", "1970-01-02"]),
    ],
)  # fmt: skip
def test_types_of_parquet(array: Any, expected: list[Any]) -> None:
    found = read_table(parquet({"x": array, "y": [1, 2, 3]})).frame["x"].to_numpy()
    if found.dtype.kind == "M":
        assert [str(value)[:10] for value in found] == expected
    elif found.dtype == object:
        assert list(found) == expected
    else:
        assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1, 2]] * 20),
        pa.array([{"a": 1}] * 20),
        pa.array([b"\x00\xff"] * 20),
        pa.array([b"12"] * 20, pa.binary(2)),
        pa.array([[1, 2]] * 20, pa.list_(pa.int64(), 2)),
        pa.array([[("a", 1)]] * 20, pa.map_(pa.string(), pa.int64())),
    ],
)
def test_cells_of_parquet_that_are_no_single_value(array: Any) -> None:
    refused(lambda: read_table(parquet({"x": array, "y": range(20)})), "“x”", "leave it out")


def test_parquet_is_measured_before_it_is_unpacked() -> None:
    """A column of one value takes hardly any bytes, however many rows it has."""
    rows = CELLS // 2 + 1
    small = parquet(
        {"x": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["a"]), "y": np.zeros(rows)}
    )
    assert len(small) < 100_000
    refused(lambda: read_table(small), "2,000,000 cells", "fewer rows")
    refused(lambda: read_table(parquet({f"c{j}": [1, 2] for j in range(501)})), "501 columns", "at most 500")
    zeros = parquet({"x": ["a" * 70_000_000, "b" * 70_000_000], "y": [1, 2]}, use_dictionary=False, compression="zstd")
    assert len(zeros) < 100_000
    refused(lambda: read_table(zeros), "too large unpacked", "fewer rows")
    control = str.maketrans("0123456789", "\1\2\3\4\5\6\7\x08\x0e\x0f")  # each six bytes in JSON
    texts = [f"{i:06d}".translate(control) * 33 for i in range(600_000)]
    swelling = parquet({"x": texts, "y": range(600_000)}, compression="zstd", use_dictionary=False)
    del texts
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(lambda: read_table(swelling), "too large unpacked", "fewer rows")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB of the server's own"
    long = pa.DictionaryArray.from_arrays(pa.array(np.arange(200_000) % 2, pa.int32()), ["a" * 500_000, "b"])
    bomb = parquet({"x": long, "y": np.arange(200_000)})
    assert len(bomb) < 2_000_000
    assert {len(text) for text in read_table(bomb).frame["x"]} == {100, 1}


def test_damaged_parquet() -> None:
    whole = parquet({"x": np.arange(50), "t": ["a", "b"] * 25})
    for content in (whole[:-20], whole[:40], b"PAR1", b"PAR1" * 3, whole[:4] + bytes(len(whole) - 8) + whole[-4:]):
        refused(lambda content=content: read_table(content), "Parquet", "as CSV")  # type: ignore[misc]


def test_a_file_that_the_library_dies_of_is_a_sentence() -> None:
    """With this byte changed, pyarrow 26 aborts its process: here it is another one."""
    content = bytearray(parquet({"x": np.arange(50), "t": ["a", "b"] * 25}))
    content[440] = 19
    is_a_task_or_refused(bytes(content))


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "print('{}x')",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
        "b'x' * 2**60",
    ],
)
def test_a_process_that_dies_is_a_sentence(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text(code)
    monkeypatch.setattr("core.tasks.parquet._SCRIPT", tmp_path / "dies.py")
    refused(lambda: read_table(b"PAR1"), "Parquet", "as CSV")


@settings(deadline=None, derandomize=True, max_examples=10)
@given(data=st.data())
def test_parquet_with_a_few_other_bytes_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(parquet({"x": np.arange(30), "t": ["a", "b"] * 15, "y": np.arange(30) / 7}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    is_a_task_or_refused(bytes(whole))


# What is refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty",)),
        (b" \n\t \r\n", ("empty",)),
        (b"a,b,c", ("one line only",)),
        (b"a,b,c\n", ("one line only",)),
        (b"a,b\n1,2", ("one row only",)),
        (b"price\n1\n2\n3", ("one column only", "commas")),
        (b"a\n" * 50, ("one column only",)),
        (b"a b c\n1 2 3\n", ("one column only",)),
        (b",".join(b"c%d" % i for i in range(10_000)) + b"\n" + b",".join([b"1"] * 10_000), ("10,000 columns", "500")),
        (b"a,b\n1,2\n3,4,5\n6,7\n", ("Line 3 has 3 cells", "first has 2", "quotes")),
        (b'a,b\n1,"2\n3,4\n5,6\n', ("cannot be read", "quotes")),
        (b'a,b\n1,"2"3\n3,4\n', ("Line 2 cannot be read", "quotes")),
        (b"a,b\n1," + b"x" * 200_000 + b"\n2,y", ("Line 2 cannot be read",)),
        (b"a,b\n1,\x002\n3,4", ("binary", "UTF-8")),
        (bytes(range(256)) * 20, ("UTF-8",)),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\x00\x01" * 100, ("UTF-8",)),
        (b"PK\x03\x04" + bytes(200), ("binary", "UTF-8")),
        ("a,b\n1,2\n3,4\n".encode("utf-16-le"), ("binary", "UTF-8")),
        (b"a,b\n" + b"1,2\n" * (CELLS // 2), ("2,000,000 cells",)),
    ],
)
def test_what_is_no_table(content: bytes, words: tuple[str, ...]) -> None:
    refused(lambda: read_table(content), *words)


HELD_OUT = int(split(np.arange(30.0)[:, None], np.zeros(30))["test"][0][0, 0])  # a row of 30 that is in the test part


def numbered(y: Any, **more: Any) -> bytes:
    return csv({"x": [i % 13 for i in range(len(y))], **more, "y": y})


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (numbered(range(9)), None, ("9 rows with a value of “y”", "at least 10")),
        (numbered([*range(9), *[""] * 20]), None, ("9 rows with a value of “y”",)),
        (numbered([""] * 30), None, ("0 rows with a value of “y”", "another target")),
        (numbered(["a"] * 30), None, ("“y” is the same in every row",)),
        (numbered([4] * 30), None, ("“y” is the same in every row",)),
        (numbered([4] * 30), "number", ("“y” is the same in every row",)),
        (numbered([f"word {i}" for i in range(900)]), None, ("900 different values", "at most 100", "another target")),
        (numbered(range(900)), "classes", ("900 different values", "take it as a number")),
        (numbered(["a", "b"] * 20), "number", ("“y” is text", "take it as classes")),
        (numbered(["a", "b"] * 20), "regression", ("'regression'", "classes or as a number")),
        (numbered([1e-300 * i for i in range(30)]), None, ("“y” is nearly always the same",)),
        (
            numbered([1e9 if i == HELD_OUT else i for i in range(30)]),
            None,
            ("“y”", "standard deviations", "correct it"),
        ),
        (csv({"a": ["x"] * 30, "y": [0, 1] * 15}), None, ("No column is left", "more columns")),
        (csv({"a": [""] * 30, "b": [f"t{i}" for i in range(30)], "y": [0, 1] * 15}), None, ("No column is left",)),
        (csv({"a": [f"s{i}" for i in range(30)], "y": [f"t{i}" for i in range(30)]}), None, ("No column is left",)),
    ],
)
def test_what_makes_no_task(content: bytes, kind: Any, words: tuple[str, ...]) -> None:
    refused(lambda: prepare(content, "y", kind), *words)


def test_a_column_that_is_not_there() -> None:
    refused(lambda: own_table(SIMPLE, target="c" * 100), "no column", "“a”, “b”, “kind”")
    refused(lambda: target_kind(read_table(SIMPLE), ""), "no column ''")


@pytest.mark.parametrize(("width", "depth"), [(0, 1), (5000, 1), (16, 0), (16, 99), (float("nan"), 1), ("a", 1)])
def test_settings_of_the_network(width: Any, depth: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        own_table(SIMPLE, target="kind", width=width, depth=depth)


# Whatever it is: a task, or a sentence


def is_a_task_or_refused(content: bytes, kind: Any = None) -> bool:
    """Whether a task came of it, with the last column as the target, that trains five steps; else one sentence."""
    try:
        table = read_table(content)
        prepared = prepare(table, table.columns[-1], kind)
        task = prepared.task(4, 1)
    except ValueError as error:
        assert is_one_sentence(str(error)), error
        return False
    assert prepared.parts["train"][0].shape[1] == sum(treated.columns_out for treated in prepared.treated)
    assert [treated.column for treated in prepared.treated] == [name for name in table.columns[:-1]]
    assert all(note[0].isupper() or note[0].isdigit() for note in (*prepared.notes, prepared.summary))
    history = run(race(task, [racer("sgd", lr=0.01)], steps=5, batch=min(4, task.data.count), seeds=1))
    assert np.isfinite(history.loss).all() and all(np.isfinite(values).all() for values in history.evals.values())
    return True


CELL = st.one_of(
    st.sampled_from(
        ["", "NA", "0", "1", "a", "b", "=1+1", "inf", "-inf", "1e400", "1e-320", "1e99", "2020-01-01", "3,5"]
    ),
    st.integers(-3, 3).map(str),
    st.floats().map(str),
    st.integers().map(str),
    st.dates().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """CSV files of a few columns, each with cells of a few kinds, of which many recur."""
    rows, width = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    columns = []
    for _ in range(width):
        pool = draw(st.lists(CELL, min_size=1, max_size=draw(st.sampled_from([2, 40]))))
        columns.append(draw(st.lists(st.sampled_from(pool), min_size=rows, max_size=rows)))
    names = draw(st.lists(st.one_of(st.sampled_from(["x", "id", "y", ""]), CELL), min_size=width, max_size=width))
    separator = draw(st.sampled_from(",;\t|"))
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in [names, *zip(*columns, strict=True)]]
    return "\n".join(separator.join(row) for row in quoted).encode()


@settings(deadline=None, derandomize=True, max_examples=150)
@given(content=tables(), kind=st.sampled_from([None, "classes", "number"]))
def test_any_small_table_is_a_task_or_refused(content: bytes, kind: Any) -> None:
    is_a_task_or_refused(content, kind)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(content=st.one_of(
    st.binary(max_size=300),
    st.text("ab1,;\n\r\t|\"'. \x00\ufeffé", max_size=300).map(str.encode),
    st.lists(st.lists(st.sampled_from([b"1", b"2.5", b"a", b"", b"\xe9", b'"']), max_size=4).map(b",".join),
             max_size=30).map(b"\n".join),
))  # fmt: skip
def test_any_bytes_are_a_task_or_refused(content: bytes) -> None:
    is_a_task_or_refused(content)


def test_ordinary_tables_are_tasks_without_a_warning() -> None:
    """So that the two tests above do not pass by refusing everything."""
    rng = np.random.default_rng(7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows, width in ((10, 2), (30, 5), (500, 12)):
            columns: dict[str, Any] = {f"n{j}": rng.normal(size=rows) for j in range(width)}
            columns |= {f"c{j}": rng.choice(["a", "b", "c"], rows) for j in range(width)}
            for target in ({"y": rng.normal(size=rows)}, {"y": rng.choice(["p", "q"], rows)}):
                assert is_a_task_or_refused(csv(columns | target))


def test_days_count_up_as_the_days_do() -> None:
    cells = [f"{date(2020, 1, 1) + timedelta(days=i)}" for i in range(100)]
    inputs, targets = prepare(csv({"when": cells, "y": np.arange(100.0)}), "y").parts["train"]
    assert np.array_equal(inputs[:, 0] - inputs[0, 0], targets - targets[0])
