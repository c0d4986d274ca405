"""Products of matrices: optima and plateaus that are known exactly are reached, and not passed."""

from functools import reduce

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from core import advance, race, racer, run, start
from core.tasks.base import Level, Task
from core.tasks.linear import DeepLinear, Factorisation, autoencoder, deep_linear
from tests.twins import (
    LIKE,
    assert_equals_its_twin,
    assert_first_loss_is_as_expected,
    assert_is_drawn,
    assert_rows_are_alone,
    assert_starts_as_torch_does,
    points,
)


def made(name: str) -> Task:
    tasks = {
        "deep": lambda: deep_linear(16, 2),
        "product": lambda: Factorisation(4, 0.1),
        "code": lambda: autoencoder(16),
    }
    return tasks[name]()


def levels(task: Task, name: str) -> list[Level]:
    return [level for level in task.levels if name in level.name]


def loss(task: Task, p: Tensor) -> float:
    found = task.evaluate(p, "train")["loss"] if task.parts else task.loss(p, task.batch((0,), 0, 1, LIKE))
    return float(found)


# All of them


@pytest.mark.parametrize("size", [1, 32, 33])
@pytest.mark.parametrize(
    "task",
    [
        deep_linear(16, 2),
        deep_linear(5, 4),
        Factorisation(4, 0.1),
        Factorisation(1, 0.5),
        autoencoder(16),
        autoencoder(3),
    ],
    ids=lambda task: task.network,
)
def test_it_equals_a_plain_network(task: Task, size: int) -> None:
    assert_equals_its_twin(task, size)


@pytest.mark.parametrize("name", ["deep", "product", "code"])
def test_it_starts_as_torch_does_with_the_loss_that_is_said(name: str) -> None:
    task = made(name)
    assert_starts_as_torch_does(task)
    assert_first_loss_is_as_expected(task)
    assert_is_drawn(task)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["deep", "product", "code"])
def test_a_row_is_the_same_in_any_company(name: str, dtype: torch.dtype) -> None:
    assert_rows_are_alone(made(name), 32, dtype)


# A deep linear network


def in_factors(task: DeepLinear, matrix: NDArray[np.float64]) -> Tensor:
    """Weights whose product is this matrix `[K, F]`: its singular vectors in the outer layers, the rest passes on."""
    left, strengths, right = np.linalg.svd(matrix, full_matrices=False)
    rank = min(min(task.widths), int((strengths > 1e-9).sum()))
    layers = []
    for fan_in, fan_out in zip(task.widths, task.widths[1:], strict=False):
        layer = np.zeros((fan_out, fan_in))
        layer[range(rank), range(rank)] = 1
        layers.append(layer)
    layers[0] = layers[0][:, :rank] @ right[:rank]
    layers[-1] = (left[:, :rank] * strengths[:rank]) @ layers[-1][:rank]
    return torch.as_tensor(np.concatenate([layer.ravel() for layer in layers])).unsqueeze(0)


@pytest.mark.parametrize(("width", "depth"), [(16, 2), (8, 1), (3, 3)])
def test_every_level_is_the_loss_of_a_network_of_that_rank_where_nothing_pulls(width: int, depth: int) -> None:
    """The best matrix of rank k is the least-squares one, projected on the k strongest directions of its outputs.

    Put into the layers it has the level's loss, and the gradient vanishes: the plateau is a saddle, the last the floor.
    """
    task = deep_linear(width, depth)
    x, y = task.data.parts["train"]
    fitted = np.linalg.lstsq(x, y, rcond=None)[0]
    directions = np.linalg.svd(x @ fitted)[2]
    whole = task.batch((0,), 0, task.data.count, LIKE)
    found = levels(task, "directions") + levels(task, "best linear")
    floor = min(width, 8)
    assert len(found) == min(width, 4)
    for rank, level in zip([*range(1, len(found)), floor], found, strict=True):
        p = in_factors(task, (fitted @ directions[:rank].T @ directions[:rank]).T)
        assert loss(task, p) == pytest.approx(level.value, rel=1e-9)
        value, gradient = task.loss_and_grad(p, whole)
        assert float(value[0]) == pytest.approx(level.value, rel=1e-9)
        assert float(gradient.abs().max()) < 1e-9


def test_no_training_passes_the_floor_and_a_good_one_reaches_it() -> None:
    task = deep_linear(16, 2)
    (floor,) = levels(task, "best linear")
    contenders = [racer("sgd", lr=0.1), racer("adam", lr=0.003), racer("momentum", lr=0.02)]
    history = run(race(task, contenders, steps=1500, batch=task.data.count, seeds=3))
    assert (history.evals["train_loss"] > floor.value * (1 - 1e-6)).all()
    assert (history.evals["train_loss"][-1] < floor.value * 1.02).all()


def test_directions_are_learnt_one_after_the_other_the_strongest_first() -> None:
    """1312.6120: each of the best matrix's four has half of its strength before the next one has."""
    task = deep_linear(16, 3)
    x, y = task.data.parts["train"]
    left, strengths, right = np.linalg.svd(np.linalg.lstsq(x, y, rcond=None)[0].T)
    config = race(task, [racer("sgd", lr=0.02)], steps=2000, batch=task.data.count, seeds=3)
    state, learnt = start(config, torch.float64), []
    for _ in range(200):
        state, _ = advance(config, state, 10)
        product = reduce(lambda inner, outer: outer @ inner, task.layout.views(state.params).values()).numpy()
        learnt.append(np.einsum("ik,rij,kj->rk", left[:, :4], product, right[:4]) / strengths[:4])
    half = (np.array(learnt) > 0.5).argmax(axis=0)  # [seeds, directions], in tens of steps
    assert (half[:, 0] > 0).all() and (np.diff(half) > 0).all(), half


# Matrix factorisation


@pytest.mark.parametrize("rank", [1, 3, 4, 8, 16])
def test_levels_of_a_product_are_eckarts_and_youngs(rank: int) -> None:
    """The strongest k singular vectors, each root of a strength on either side: the level's loss, and no gradient."""
    task = Factorisation(rank, 0.1)
    left, strengths, right = np.linalg.svd(task.matrix, full_matrices=False)
    assert strengths[:4] == pytest.approx([1, 0.7, 0.4, 0.2], abs=0.05) and strengths[4] < 0.1
    found = levels(task, "nothing") + levels(task, "directions") + levels(task, "best of rank")
    assert len(found) == min(rank, 4) + 1
    for k, level in zip([*range(len(found) - 1), rank], found, strict=True):
        u, v = np.zeros((24, rank)), np.zeros((16, rank))
        u[:, :k], v[:, :k] = left[:, :k] * strengths[:k] ** 0.5, right[:k].T * strengths[:k] ** 0.5
        p = torch.as_tensor(np.concatenate([u.ravel(), v.ravel()])).unsqueeze(0)
        value, gradient = task.loss_and_grad(p, task.batch((0,), 0, 1, LIKE))
        assert float(value[0]) == pytest.approx(level.value, rel=1e-9, abs=1e-15)
        assert float(gradient.abs().max()) < 1e-12
    assert task.guess == found[0].value


def test_every_start_ends_at_the_best_product() -> None:
    """No bad minima: 20 seeds, all at the floor, and never below it."""
    task = Factorisation(4, 0.1)
    (floor,) = levels(task, "best of rank")
    history = run(race(task, [racer("momentum", lr=0.1)], steps=1500, seeds=20), dtype=torch.float64)
    assert (history.evals["train_loss"] > floor.value * (1 - 1e-9)).all()
    assert history.evals["train_loss"][-1] == pytest.approx(np.full((1, 20), floor.value), rel=1e-6)


def test_nearer_to_the_saddle_it_takes_longer_to_leave() -> None:
    steps = []
    for scale in (0.1, 0.01, 0.001):
        task = Factorisation(4, scale)
        assert task.guess is not None
        losses = run(race(task, [racer("sgd", lr=0.2)], steps=400, seeds=5)).loss[:, 0]
        steps.append((losses < task.guess / 2).argmax(axis=0).max())
    assert 0 < steps[0] < steps[1] < steps[2]


# An autoencoder


@pytest.mark.parametrize("width", [2, 16])
def test_the_level_of_a_code_is_scikit_learns_pca(width: int) -> None:
    task = autoencoder(width)
    x = task.data.parts["train"][0]
    assert task.data.parts["test"][0] is task.data.parts["test"][1]
    pca = PCA(width).fit(x)
    missed = float(((pca.inverse_transform(pca.transform(x)) - x) ** 2).mean())
    (level,) = levels(task, "principal components")
    assert level.value == pytest.approx(missed, rel=1e-9)
    assert f"R² = {pca.explained_variance_ratio_.sum():.2f}" in level.name


def test_a_code_as_long_as_an_image_has_no_level_at_nothing() -> None:
    assert len(autoencoder(64).levels) == 1


def test_a_code_learns_to_draw_and_never_better_than_its_principal_components() -> None:
    """Half of what the mean image leaves unexplained, and more."""
    history = run(race("autoencoder", [racer("adam", lr=0.003)], steps=600, seeds=2))
    task = autoencoder(16)
    (floor,) = levels(task, "principal components")
    assert (history.evals["validation_loss"][-1] < 0.5 * task.spread).all()
    assert (history.evals["train_loss"] > floor.value).all()


def test_principal_components_are_a_code_of_this_network() -> None:
    """With biases so large that no ReLU holds anything back: the level's loss, and no gradient."""
    task = autoencoder(5)
    x = task.data.parts["train"][0]
    pca, shift = PCA(5).fit(x), 100.0
    into, out = pca.components_, pca.components_.T
    p = np.concatenate([into.ravel(), shift - into @ pca.mean_, out.ravel(), pca.mean_ - out @ np.full(5, shift)])
    found = torch.as_tensor(p).unsqueeze(0)
    (floor,) = levels(task, "principal components")
    assert loss(task, found) == pytest.approx(floor.value, rel=1e-9)
    _, gradient = task.loss_and_grad(found, task.batch((0,), 0, task.data.count, LIKE))
    assert float(gradient.abs().max()) < 1e-9


def test_a_linear_network_has_neither_biases_nor_relu() -> None:
    """Twice the input gives twice the output, of either sign."""
    task = deep_linear(6, 2)
    assert [name for name, _ in task.layout.shapes] == ["W1", "W2", "W3"]
    p, x = points(task, 2), torch.randn(2, 16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(task._outputs(p, -2 * x), -2 * task._outputs(p, x), atol=1e-12)
