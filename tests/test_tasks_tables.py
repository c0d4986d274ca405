"""Tables: the data of scikit-learn, standardised by the training part alone, and levels against scikit-learn's own."""

import numpy as np
import pytest
import torch
from sklearn import datasets
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from core import race, racer, run
from core.tasks.base import PARTS, Level
from core.tasks.data import Data, split, standardised
from core.tasks.dense import DenseClassifier, DenseRegressor
from core.tasks.tables import breast_cancer, diabetes, table, wine
from tests.twins import (
    LIKE,
    assert_equals_its_twin,
    assert_first_loss_is_as_expected,
    assert_is_drawn,
    assert_rows_are_alone,
    assert_starts_as_torch_does,
)

TABLES = {"breast_cancer": breast_cancer, "wine": wine, "diabetes": diabetes}
SOURCES = {
    "breast_cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "diabetes": datasets.load_diabetes,
}  # fmt: skip


def level(task: DenseClassifier | DenseRegressor, name: str) -> Level:
    (found,) = [level for level in task.levels if level.name.startswith(name)]
    return found


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("width", "depth", "size"), [(16, 1, 32), (5, 3, 1), (7, 0, 33)])
def test_a_table_equals_a_plain_network(name: str, width: int, depth: int, size: int) -> None:
    assert_equals_its_twin(TABLES[name](width, depth), size)


@pytest.mark.parametrize("name", TABLES)
def test_first_weights_and_first_loss_are_as_said(name: str) -> None:
    task = TABLES[name](16, 2)
    assert_starts_as_torch_does(task)
    assert_first_loss_is_as_expected(task, slack=0.003 if task.accuracy else 0.0)
    assert_is_drawn(task)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_is_the_same_in_any_company(name: str, dtype: torch.dtype) -> None:
    assert_rows_are_alone(TABLES[name](16, 1), 32, dtype)


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_the_source_is_in_one_part(name: str) -> None:
    """As scikit-learn's `StandardScaler` makes it that has seen the training part alone."""
    source, task = SOURCES[name](), TABLES[name](4, 1)
    raw = split(source.data, source.target)
    assert sum(len(targets) for _, targets in raw.values()) == len(source.target)
    together = np.column_stack(
        [np.concatenate([x for x, _ in raw.values()]), np.concatenate([y for _, y in raw.values()])]
    )
    everything = np.column_stack([source.data, source.target])
    assert sorted(map(tuple, together)) == sorted(map(tuple, everything))
    scaler = StandardScaler().fit(raw["train"][0])
    for part, (inputs, targets) in task.data.parts.items():
        assert np.allclose(inputs, scaler.transform(raw[part][0]), atol=1e-12)
        if task.accuracy:
            assert np.array_equal(targets, raw[part][1])
    if not task.accuracy:
        scaler = StandardScaler().fit(raw["train"][1][:, None])
        for part in PARTS:
            assert np.allclose(task.data.parts[part][1], scaler.transform(raw[part][1][:, None])[:, 0], atol=1e-12)


def test_a_column_that_never_changes_becomes_zero() -> None:
    """Whatever its value and however it is rounded; and what is new in another part stays finite."""
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[:, 1] = 0.1
    parts = split(x, np.arange(50.0))
    parts["test"][0][0, 1] = 7.0
    found = standardised(parts)
    assert (found["train"][0][:, 1] == 0).all() or np.abs(found["train"][0][:, 1]).max() < 1e-12
    assert np.abs(found["test"][0]).max() < 10
    assert found["train"][0][:, [0, 2]].std(axis=0) == pytest.approx([1, 1])


def test_the_mean_and_the_best_line_are_scikit_learns() -> None:
    """Level 1 is the loss of a network of zeros; the line's is 1 - R^2 of `LinearRegression`, and written so."""
    task = diabetes(16, 1)
    assert isinstance(task, DenseRegressor)
    zeros = torch.zeros(1, task.layout.width, dtype=torch.float64)
    assert level(task, "always the mean").value == pytest.approx(
        float(task.evaluate(zeros, "train")["loss"]), abs=1e-12
    )
    assert task.guess == pytest.approx(1, abs=1e-12)
    x, y = task.data.parts["train"]
    r2 = LinearRegression().fit(x, y).score(x, y)
    line = level(task, "best linear model")
    assert line.value == pytest.approx(1 - r2, abs=1e-12)
    assert f"R² = {r2:.2f}" in line.meaning


def test_linear_regression_ends_at_the_best_line_and_a_hidden_layer_below_it() -> None:
    task = race("linear_regression", [racer("sgd")]).build_task()
    assert isinstance(task, DenseRegressor)
    line = level(task, "best linear model").value
    found = run(race(task, [racer("lbfgs")], steps=60, batch=task.data.count, seeds=3))
    assert found.evals["train_loss"][-1] == pytest.approx(np.full((1, 3), line), rel=1e-5)
    assert (found.evals["train_loss"] > line * (1 - 1e-6)).all()
    deeper = run(race("diabetes", [racer("adam", lr=0.01)], steps=500, seeds=3))
    assert (deeper.evals["train_loss"][-1] < 0.9 * line).all()


@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_what_least_squares_gets_right_is_scikit_learns(name: str) -> None:
    task = TABLES[name](16, 1)
    assert isinstance(task, DenseClassifier)
    (x, labels), (validation, true) = task.data.parts["train"], task.data.parts["validation"]
    fitted = LinearRegression().fit(x, np.eye(task.data.classes)[labels])
    plane = level(task, "linear, by least squares")
    assert plane.of == "accuracy"
    assert plane.value == pytest.approx((fitted.predict(validation).argmax(1) == true).mean(), abs=1e-12)
    assert [level.of for level in task.levels] == ["loss", "accuracy", "accuracy"]


# One's own arrays


def test_arrays_of_ones_own_become_a_task_in_one_call() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(3, 10, size=(200, 4))
    told = table(split(x, x @ np.array([1.0, -2, 0, 1])), [8], "a sum of columns")
    assert isinstance(told, DenseRegressor) and not told.accuracy
    assert level(told, "best linear model").value < 1e-20
    sided = table(split(x, (x[:, 0] > 3).astype(int)), [8], "a side", classes=2)
    assert isinstance(sided, DenseClassifier) and sided.accuracy
    history = run(race(sided, [racer("adam", lr=0.03)], steps=300, seeds=2))
    assert (history.evals["validation_accuracy"][-1] > 0.9).all()
    history = run(race(told, [racer("adam", lr=0.03)], steps=300, seeds=2))
    assert (history.evals["validation_loss"][-1] < 0.2).all() and set(history.test) == {"loss"}


def test_several_targets_are_several_outputs() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(100, 3))
    task = table(split(x, rng.normal(5, 3, size=(100, 2))), [6], "two numbers")
    assert task.widths == (3, 6, 2)
    assert_equals_its_twin(task, 8)
    assert task.guess == pytest.approx(1)
    assert task.data.tensors("test", LIKE)[1].shape == (20, 2)


def test_more_columns_than_rows_have_no_best_line_to_draw() -> None:
    """It would lie at 0, where every target is met."""
    rng = np.random.default_rng(5)
    task = table(split(rng.normal(size=(50, 40)), rng.normal(size=50)), [], "wide")
    assert [level.name for level in task.levels] == ["always the mean: 1 (R² = 0)"]


def test_a_split_is_stratified_by_class_and_not_by_number() -> None:
    labels = np.repeat([0, 1], [90, 10])
    parts = split(np.zeros((100, 1)), labels)
    assert [int(targets.sum()) for _, targets in parts.values()] == [6, 2, 2]
    numbers = split(np.zeros((100, 1)), np.arange(100.0))
    assert {part: len(targets) for part, (_, targets) in numbers.items()} == {"train": 60, "validation": 20, "test": 20}
    assert Data(numbers).outputs == 1
