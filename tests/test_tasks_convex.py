"""Linear models: 1705.08292's construction with its numbers, many rare classes, and softmax regression."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from core import advance, race, racer, run, start
from core.tasks.convex import ManyFits, rare_classes, softmax_regression
from core.tasks.dense import DenseClassifier
from tests.twins import (
    LIKE,
    assert_equals_its_twin,
    assert_first_loss_is_as_expected,
    assert_is_drawn,
    assert_rows_are_alone,
    assert_starts_as_torch_does,
    points,
)

FITS = ManyFits()


def new_examples(rule: str, steps: int, batch: int, seeds: int = 1, **settings: Any) -> NDArray[np.float64]:
    """The outputs for a new example with label +1 and with label -1, after a training in float64: `[seeds, 2]`."""
    config = race(FITS, [racer(rule, **settings)], steps=steps, batch=batch, seeds=seeds)
    end, records = advance(config, start(config, torch.float64), steps)
    assert records.evals["train_loss"][-1].max() < 1e-6, "all of the training part is fitted"
    label, one, two = end.params[:, :3].T.numpy()
    return np.stack([one + two + label, one + two - label], 1)


@pytest.mark.parametrize("size", [1, 10, 33, 100])
def test_many_fits_equals_a_plain_layer_on_503_columns(size: int) -> None:
    assert_equals_its_twin(FITS, size)


def test_many_fits_has_the_columns_of_the_paper() -> None:
    columns = FITS.columns()
    assert columns.shape == (100, 503)
    assert (columns[:60, 0] == 1).all() and (columns[60:, 0] == -1).all() and (columns[:, 1:3] == 1).all()
    own = columns[:, 3:]
    assert own.sum(1).tolist() == [1] * 60 + [5] * 40
    assert (own.sum(0) <= 1).all(), "no column belongs to two examples"
    assert np.array_equal(np.flatnonzero(own[0]), [0]) and np.array_equal(np.flatnonzero(own[99]), range(495, 500))


def test_every_run_of_many_fits_starts_at_zero() -> None:
    assert not FITS.initial([0, 5], LIKE, draw=3).any()
    assert_is_drawn(FITS)
    assert FITS.initial_loss is not None
    assert float(FITS.evaluate(FITS.initial([0], LIKE), "train")["loss"]) == FITS.initial_loss[0]


@pytest.mark.parametrize(("rule", "lr"), [("sgd", 0.4), ("momentum", 0.1)])
def test_gradient_descent_finds_the_solution_of_smallest_norm(rule: str, lr: float) -> None:
    """With 60 positives and 40 negatives: +0.991842 and -0.940420 on new examples."""
    columns = FITS.columns()
    smallest = np.linalg.pinv(columns) @ FITS.labels
    expected = [smallest[:3] @ [1, 1, 1], smallest[:3] @ [-1, 1, 1]]
    assert expected == pytest.approx([0.991842, -0.940420], abs=5e-7)
    assert new_examples(rule, 3000, 100, lr=lr)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rule", ["adam", "rmsprop", "adagrad"])
def test_with_full_batches_adaptive_rules_end_at_a_quarter_of_the_signs(rule: str) -> None:
    """w = sign(X^T y) / 4: +0.75 and +0.25 on new examples, so that all of them are called positive."""
    assert new_examples(rule, 2000, 100, lr=0.01, eps=1e-10)[0] == pytest.approx([0.75, 0.25], abs=1e-5)
    config = race(FITS, [racer(rule, lr=0.01, eps=1e-10)], steps=2000, batch=100)
    end, records = advance(config, start(config, torch.float64), 2000)
    assert end.params.numpy()[0] == pytest.approx(np.sign(FITS.columns().T @ FITS.labels) / 4, abs=1e-5)
    assert records.evals["validation_accuracy"][-1] == records.evals["train_accuracy"][-1] - 0.4 == 0.6


def test_a_large_epsilon_makes_adam_gradient_descent() -> None:
    """eps 1,000 with rate 300: the solution of smallest norm again, to 0.0005."""
    found = new_examples("adam", 2000, 100, lr=300.0, eps=1000.0)
    assert found[0] == pytest.approx([0.991842, -0.940420], abs=5e-4)


def test_with_small_batches_adam_learns_the_label() -> None:
    """Batches of 10, rate 0.001: about +0.85 and -0.17 on new examples, whose signs are right."""
    found = new_examples("adam", 3000, 10, seeds=3, lr=1e-3)
    assert found == pytest.approx(np.tile([0.847, -0.168], (3, 1)), abs=0.005)


def test_levels_of_many_fits_are_reached() -> None:
    """Each is the loss on new examples of the fit that it names, and what is called positive is 60 of 100."""
    columns, levels = FITS.columns(), {level.name.split(":")[0]: level for level in FITS.levels}
    fits = {
        "new examples, Adam's fit": np.sign(columns.T @ FITS.labels) / 4,
        "new examples, smallest fit": np.linalg.pinv(columns) @ FITS.labels,
    }
    for name, weights in fits.items():
        p = torch.as_tensor(weights).unsqueeze(0)
        assert float(FITS.evaluate(p, "train")["loss"]) < 1e-20
        found = FITS.evaluate(p, "validation")
        assert levels[name].value == pytest.approx(float(found["loss"]), rel=1e-9)
        assert float(found["accuracy"]) == (0.6 if "Adam" in name else 1)
    assert levels["calls everything positive"].value == 0.6
    assert levels["always the mean"].value == FITS.guess == pytest.approx(np.var(FITS.labels))
    assert FITS.parts == ("train", "validation")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [ManyFits, rare_classes, softmax_regression])
def test_a_row_is_the_same_in_any_company(make: type, dtype: torch.dtype) -> None:
    assert_rows_are_alone(make(), 32, dtype)


def test_many_fits_gives_its_gradient_to_autograd_too() -> None:
    p, batch = points(FITS, 4), FITS.batch((0, 1, 2, 3), 5, 20, LIKE)
    leaf: Tensor = p.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(FITS.loss(leaf, batch).sum(), leaf)
    assert float((FITS.loss_and_grad(p, batch)[1] - by_autograd).abs().max()) < 1e-14


# Softmax regression


@pytest.mark.parametrize(("make", "size"), [(softmax_regression, 32), (rare_classes, 33), (softmax_regression, 1)])
def test_a_linear_model_equals_a_plain_one(make: type, size: int) -> None:
    assert_equals_its_twin(make(), size)


@pytest.mark.parametrize("make", [softmax_regression, rare_classes])
def test_it_starts_as_torch_does_with_the_loss_that_is_said(make: type) -> None:
    """The formula is of second order in the outputs: to 0.01, their variance being up to a half."""
    task = make()
    assert task.layout.shapes[0][0] == "W1" and len(task.layout.shapes) == 2
    assert_starts_as_torch_does(task)
    assert_first_loss_is_as_expected(task, slack=0.01)
    assert_is_drawn(task)


def test_the_digits_are_linearly_separable() -> None:
    """So that the loss has no minimum but falls towards 0: weights exist that give each example's class a lead of 1.

    A linear program over `[10, 65]` weights, `(w_true - w_other) x >= 1` for every example and other class.
    """
    x, labels = softmax_regression().data.parts["train"]
    x = np.column_stack([x, np.ones(len(x))])
    rows = []
    for example, label in zip(x, labels, strict=True):
        leads = np.zeros((10, 10, 65))
        leads[:, label] -= example
        leads[np.arange(10), np.arange(10)] += example
        rows.append(leads[np.arange(10) != label].reshape(9, -1))
    told = linprog(np.zeros(650), np.concatenate(rows), -np.ones(9 * len(x)), bounds=(None, None), method="highs")
    assert told.status == 0


# Many rare classes


def test_classes_are_as_frequent_as_words() -> None:
    """Zipf: the k-th is 1 / k as frequent as the first, to half an example; every class is in every part."""
    task = rare_classes()
    for part, (_, labels) in task.data.parts.items():
        counts = np.bincount(labels, minlength=100)
        assert counts.min() >= 1 and len(counts) == 100, part
        assert np.abs(counts - np.maximum(1, counts[0] / np.arange(1, 101))).max() <= 1
    frequency = np.bincount(task.data.parts["train"][1]) / task.data.count
    knowing = -sum(f * math.log(f) for f in frequency)
    (known,) = [level for level in task.levels if level.name.startswith("the classes' shares")]
    assert known.value == pytest.approx(knowing)
    biased = torch.zeros(1, task.layout.width, dtype=torch.float64)
    task.layout.views(biased)["b1"][0, :, 0] = torch.as_tensor(np.log(frequency))
    assert float(task.evaluate(biased, "train")["loss"]) == pytest.approx(known.value)


def test_adam_has_an_advantage_with_many_rare_classes() -> None:
    """2402.19449, at rates about the best of each for 100 steps with all of the data.

    Adam's validation loss is below half of the best of momentum's, and that below SGD's best.
    """
    task = rare_classes()
    assert isinstance(task, DenseClassifier)
    rates = {"sgd": (5, 10, 30), "momentum": (1, 2, 5), "adam": (0.1, 0.2, 0.3)}
    best = {}
    for rule, tried in rates.items():
        contenders = [racer(rule, lr=rate) for rate in tried]
        history = run(race(task, contenders, steps=100, batch=task.data.count, seeds=3))
        best[rule] = float(np.median(history.evals["validation_loss"][-1], axis=-1).min())
    assert best["adam"] < 0.5 * best["momentum"] < 0.5 * best["sgd"]
