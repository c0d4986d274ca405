"""Rows of a table, one column to be told from the others: the three that come with scikit-learn, or one's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.tasks.base import Level
from core.tasks.data import Data, Examples, Floats, Parts, split, standardised
from core.tasks.dense import DenseClassifier, DenseRegressor


def table(
    parts: Parts, hidden: Sequence[int], about: str, classes: int | None = None
) -> DenseClassifier | DenseRegressor:
    """A table as a task, of arrays in one call: `table(split(inputs, targets), [16], "what it is about", classes=3)`.

    Inputs `[N, F]` are finite numbers. With `classes` the targets `[N]` are whole numbers from 0 to `classes - 1`;
    without, they are numbers `[N]` (or `[N, K]`) and the loss is their squared error. Inputs and such targets get mean
    0 and variance 1 in the training part, which alone decides how. `hidden` are the widths of the hidden layers; with
    none it is softmax regression or linear regression.

    A level says what a linear model reaches: in regression exactly the smallest training loss of all linear models,
    for classes the validation accuracy of one fitted by least squares to 0 and 1 for each class.
    """
    parts = standardised(parts)
    if classes is None:
        regressor = DenseRegressor(Data(parts), hidden, about)
        regressor.levels += _line(regressor)
        return regressor
    classifier = DenseClassifier(Examples(parts, classes), hidden, about)
    classifier.levels += _plane(classifier)
    return classifier


def _line(task: DenseRegressor) -> tuple[Level, ...]:
    train, targets = _with_constant(task.data.parts["train"][0]), task.data.parts["train"][1]
    if train.shape[1] >= len(train):  # every target is met
        return ()
    loss = float(((train @ least_squares(train, targets) - targets) ** 2).mean())
    return (
        Level(
            f"best linear model: {loss:.3g}", loss,
            meaning=f"The smallest loss of any linear model in the training part ({task.explained(loss)}); only hidden "
            "layers lead below it.",
        ),
    )  # fmt: skip


def _plane(task: DenseClassifier) -> tuple[Level, ...]:
    (train, labels), (validation, true) = (task.data.parts[part] for part in ("train", "validation"))
    weights = least_squares(_with_constant(train), np.eye(task.data.classes)[labels])
    right = float(((_with_constant(validation) @ weights).argmax(1) == true).mean())
    return (
        Level(
            f"linear, by least squares: {right:.0%}", right, "accuracy",
            "What a linear model gets right that is fitted by least squares: a hidden layer should not do worse.",
        ),
    )  # fmt: skip


def least_squares(inputs: Floats, targets: Floats) -> Floats:
    """The weights of smallest norm among those with the smallest `|inputs weights - targets|^2`."""
    return np.asarray(np.linalg.lstsq(inputs, targets, rcond=None)[0], np.float64)


def _with_constant(inputs: Floats) -> Floats:
    return np.column_stack([inputs, np.ones(len(inputs))])


def breast_cancer(width: int, depth: int) -> DenseClassifier | DenseRegressor:
    """Wisconsin breast cancer: is a tumour malignant, from 30 measurements of cell nuclei; 569 women (scikit-learn)."""
    from sklearn.datasets import load_breast_cancer  # here, because its import costs most of a second

    cases = load_breast_cancer()
    about = "569 tumours, malignant or benign, from 30 measurements of their cell nuclei"
    return table(split(cases.data, cases.target), [width] * depth, about, classes=2)


def wine(width: int, depth: int) -> DenseClassifier | DenseRegressor:
    """Wine: from which of three growers, by 13 chemical measurements; 178 wines (UCI, in scikit-learn)."""
    from sklearn.datasets import load_wine

    wines = load_wine()
    about = "178 wines of three growers, told apart by 13 chemical measurements"
    return table(split(wines.data, wines.target), [width] * depth, about, classes=3)


def diabetes(width: int, depth: int) -> DenseClassifier | DenseRegressor:
    """Diabetes: how far it has gone after a year, by 10 measurements at its start; 442 patients (scikit-learn)."""
    from sklearn.datasets import load_diabetes

    patients = load_diabetes()
    about = "how far diabetes has gone after a year in 442 patients, from 10 measurements at its start"
    return table(split(patients.data, patients.target), [width] * depth, about)
