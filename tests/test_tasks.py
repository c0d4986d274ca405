"""Tasks: gradients against autograd, a plain network and differences; data, splits, batches and first weights."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from core import TASKS, advance, from_function, race, racer, start
from core.tasks import Task
from core.tasks.data import batch_indices
from core.tasks.dense import DenseClassifier
from tests.strategies import table_rows
from tests.twins import (
    LIKE,
    assert_equals_its_twin,
    assert_first_loss_is_as_expected,
    assert_is_drawn,
    assert_rows_are_alone,
    assert_starts_as_torch_does,
    points,
)

CPU = torch.device("cpu")


def made(name: str, **settings: object) -> Task:
    return race((name, settings), [racer("sgd")], batch=2).build_task()


def dense(name: str, **settings: object) -> DenseClassifier:
    task = made(name, **settings)
    assert isinstance(task, DenseClassifier)
    return task


ALL = {name: made(name) for name in TASKS}
START_AT_0 = ("many_fits",)  # whatever the seed
DENSE = {name: task for name, task in ALL.items() if isinstance(task, DenseClassifier)}
NETWORKS = [("digits", {}), ("moons", {"depth": 1, "width": 5}), ("spirals", {"depth": 4, "width": 7})]


# Gradients


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
@pytest.mark.parametrize("size", [1, 32, 33])
def test_written_out_gradient_equals_autograd(name: str, settings: dict[str, int], size: int) -> None:
    """Float64, 1e-12 of the largest entry."""
    task = dense(name, **settings)
    p, batch = points(task), task.batch((0, 1, 2, 3, 4), 7, size, LIKE)
    loss, gradient = task.loss_and_grad(p, batch)
    leaf = p.clone().requires_grad_()
    expected = task.loss(leaf, batch)
    (by_autograd,) = torch.autograd.grad(expected.sum(), leaf)
    assert torch.allclose(loss, expected, rtol=1e-12, atol=0)
    assert float((gradient - by_autograd).abs().max()) < 1e-12 * float(by_autograd.abs().max())


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
@pytest.mark.parametrize("size", [1, 32, 33])
def test_network_equals_a_plain_one(name: str, settings: dict[str, int], size: int) -> None:
    assert_equals_its_twin(dense(name, **settings), size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "settings"), NETWORKS)
@pytest.mark.parametrize("size", [7, 32])
def test_a_row_is_the_same_in_any_company(name: str, settings: dict[str, int], dtype: torch.dtype, size: int) -> None:
    """Of 7 examples the numbers of a row fill no whole vector of the processor."""
    assert_rows_are_alone(dense(name, **settings), size, dtype)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "wrong_way"])
def test_gradient_equals_central_differences(name: str) -> None:
    """Along 20 random directions, for every task whose loss is what it descends: (f(p + h d) - f(p - h d)) / 2h."""
    task = ALL[name]
    size = min(8, task.examples or 8)
    generator = torch.Generator().manual_seed(0)
    p = points(task, 20)
    batch = task.batch(tuple(range(20)), 5, size, LIKE)
    _, gradient = task.loss_and_grad(p, batch)
    direction = torch.randn(p.shape, dtype=torch.float64, generator=generator)
    direction /= direction.norm(dim=1, keepdim=True)
    h = 1e-6
    difference = (task.loss(p + h * direction, batch) - task.loss(p - h * direction, batch)) / (2 * h)
    along = (gradient * direction).sum(1)
    assert difference == pytest.approx(along, abs=1e-6 * float(gradient.norm(dim=1).max()))


def test_the_wrong_ways_gradients_are_on_average_the_slope_of_its_loss() -> None:
    """1904.09237: 1010 in the first of 101 steps, -10 in the others, wherever x is; their mean is 10 / 101."""
    task, at = ALL["wrong_way"], torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    found = [task.loss_and_grad(at, task.batch((0, 1, 2), step, 1, LIKE)) for step in range(202)]
    gradients = torch.stack([gradient for _, gradient in found])
    assert (gradients == gradients[:, :1]).all()
    assert [step for step, gradient in enumerate(gradients[:, 0, 0]) if gradient == 1010] == [0, 101]
    assert sorted(set(gradients.flatten().tolist())) == [-10, 1010]
    assert all(loss.tolist() == pytest.approx([0, 10 / 101, 20 / 101]) for loss, _ in found)
    assert float(gradients[:, 0].mean()) == pytest.approx(10 / 101)
    assert task.levels[0].value == task.guess == pytest.approx(20 / 101)


# Known values


def test_values_of_the_textbook_functions() -> None:
    """Rosenbrock (1960): 0 at (1, 1), 1 at the origin, 24.2 at (-1.2, 1); the bowl: x^2 / 2 and 25 y^2 / 2."""
    at = torch.tensor([[1.0, 1.0], [0.0, 0.0], [-1.2, 1.0]], dtype=torch.float64)
    valley, bowl = ALL["rosenbrock"], made("quadratic", condition=25)
    assert valley.loss(at, valley.batch((0,), 0, 1, LIKE)).tolist() == pytest.approx([0, 1, 24.2])
    assert bowl.loss(at, bowl.batch((0,), 0, 1, LIKE)).tolist() == pytest.approx([13, 0, 13.22])
    starts = bowl.initial(range(9), LIKE)
    assert starts.norm(dim=1) == pytest.approx(torch.full((9,), 2.0, dtype=torch.float64))
    near = valley.initial(range(9), LIKE) - torch.tensor([-1.2, 1.0])
    assert 0.05 < float(near.abs().max()) <= 0.3
    assert 0.05 < float(ALL["wrong_way"].initial(range(9), LIKE).abs().max()) <= 0.1


def test_adam_runs_the_wrong_way_and_amsgrad_does_not() -> None:
    """From x = 0 with betas (0.9, 0.99) and rate 0.01: Adam ends at +1, AMSGrad at -0.07097 after 10,100 steps
    (computed with `torch.optim`). Within the page's 5,000 steps both are on their ways already.
    """
    contenders = [racer(rule, lr=0.01, beta2=0.99) for rule in ("adam", "amsgrad")]
    config = race("wrong_way", contenders, steps=10_100)
    state = start(config, torch.float64)
    state = replace(state, params=torch.zeros_like(state.params))
    halfway, _ = advance(config, state, 5000)
    adam, amsgrad = halfway.params[table_rows(config)[:, 0], 0].tolist()
    assert adam > 0.8
    assert amsgrad < -0.02
    end, records = advance(config, halfway, 5100)
    adam, amsgrad = end.params[table_rows(config)[:, 0], 0].tolist()
    assert adam == 1
    assert amsgrad == pytest.approx(-0.07097, abs=5e-6)
    assert (records.blown == -1).all(), "as wrong as can be is no explosion"
    assert records.evals["train_loss"][-1] == pytest.approx(10 / 101 * (end.params[table_rows(config)[:, 0], 0] + 1))


@pytest.mark.parametrize("name", DENSE)
def test_levels_are_what_guessing_would_get(name: str) -> None:
    """A network of zeros gives every class the same: loss ln C, and no prediction counts."""
    task = DENSE[name]
    zeros = torch.zeros(1, task.layout.width, dtype=torch.float64)
    found = task.evaluate(zeros, "validation")
    assert float(found["loss"]) == pytest.approx(math.log(task.data.classes))
    assert task.guess == pytest.approx(math.log(task.data.classes))
    assert task.levels[0].value == pytest.approx(float(found["loss"]))
    assert float(found["accuracy"]) == 0
    commonest = Counter(task.data.parts["validation"][1].tolist()).most_common(1)[0][1]
    assert task.levels[1].value == pytest.approx(commonest / len(task.data.parts["validation"][1]))


def test_a_network_that_is_not_finite_is_right_about_nothing() -> None:
    task = DENSE["digits"]
    broken = torch.full((1, task.layout.width), math.nan, dtype=torch.float64)
    assert float(task.evaluate(broken, "validation")["accuracy"]) == 0


# What is said of each


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_what_it_is(name: str) -> None:
    """`about` is a sentence without its full stop, which the page goes on from."""
    task = ALL[name]
    assert len(task.about) > 15 and not task.about.endswith(".") and "\n" not in task.about
    assert task.network and task.seed_meaning
    assert_is_drawn(task)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_foretells_its_first_loss(name: str) -> None:
    """The mean over first guesses, within 4 standard errors and a hundredth of it: formulas for classes are of second
    order in the outputs, and stop at half of their variance."""
    task = ALL[name]
    assert task.initial_loss is not None
    draws = 30 if task.layout.width > 10_000 else 400
    assert_first_loss_is_as_expected(task, draws, slack=0.01 * task.initial_loss[0] if task.draws_labels else 1e-9)


@pytest.mark.parametrize(("condition", "levels"), [(1.0, 0), (25.0, 1)])
def test_levels_of_a_bowl(condition: float, levels: int) -> None:
    """The flat direction's share of the loss at the start is 1 on average; a round bowl has no flat direction."""
    task = made("quadratic", condition=condition)
    assert len(task.levels) == levels
    starts = task.initial(range(400), LIKE)
    starts[:, 1] = 0
    flat = task.loss(starts, task.batch((0,), 0, 1, LIKE))
    assert float(flat.mean()) == pytest.approx(1, abs=0.1)
    assert all(level.value == 1 for level in task.levels)


def test_the_level_of_the_valley_is_its_floor_below_the_start() -> None:
    task, floor = ALL["rosenbrock"], torch.tensor([[-1.2, 1.44]], dtype=torch.float64)
    assert task.levels[0].value == pytest.approx(float(task.loss(floor, task.batch((0,), 0, 1, LIKE))))


# Data


@pytest.mark.parametrize(("name", "total"), [("digits", 1797), ("moons", 1000), ("spirals", 1000)])
def test_parts_do_not_overlap_and_are_stratified(name: str, total: int) -> None:
    """60, 20 and 20 percent, no example in two parts, and each class with its share in each, to one example."""
    parts = DENSE[name].data.parts
    sizes = {part: len(labels) for part, (_, labels) in parts.items()}
    assert sizes == {
        "train": total - 2 * math.ceil(total / 5),
        "validation": math.ceil(total / 5),
        "test": math.ceil(total / 5),
    }
    rows = np.concatenate([inputs for inputs, _ in parts.values()])
    assert len(np.unique(rows, axis=0)) == total
    everyone = np.bincount(np.concatenate([labels for _, labels in parts.values()])) / total
    for _, labels in parts.values():
        assert np.abs(np.bincount(labels) - everyone * len(labels)).max() <= 1


def test_digits_are_the_ones_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    everything = {
        (*(16 * image).round().astype(int).tolist(), int(label))
        for inputs, labels in DENSE["digits"].data.parts.values()
        for image, label in zip(inputs, labels, strict=True)
    }
    images = load_digits()
    expected = {
        (*image.astype(int).tolist(), int(label)) for image, label in zip(images.data, images.target, strict=True)
    }
    assert everything == expected


@pytest.mark.parametrize("size", [1, 32, 50])
def test_each_epoch_is_a_permutation_of_its_own(size: int) -> None:
    """All examples once, but for the incomplete last batch; another order in each epoch and for each seed."""
    count = 107
    steps = count // size
    orders = [
        torch.cat([batch_indices((seed,), epoch * steps + i, count, size, CPU) for i in range(steps)]).tolist()
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    ]
    for order in orders:
        assert len(order) == steps * size
        assert len(set(order)) == len(order)
        assert set(order) <= set(range(count))
    assert len({tuple(order) for order in orders}) == len(orders)


@pytest.mark.parametrize("name", DENSE)
def test_a_batch_is_a_pure_function_of_seed_and_step(name: str) -> None:
    """The same for whoever asks, in whatever company, and it is training data with its labels."""
    task = DENSE[name]
    inputs, labels = task.data.tensors("train", LIKE)
    for step in (0, 3, 500):
        x, y = task.batch((4, 9, 4), step, 16, LIKE).tensors
        torch.rand(2)
        alone = task.batch((9,), step, 16, LIKE).tensors
        assert torch.equal(x[1], alone[0][0])
        assert torch.equal(y[1], alone[1][0])
        assert torch.equal(x[0], x[2])
        assert not torch.equal(x[0], x[1])
        chosen = batch_indices((9,), step, task.data.count, 16, CPU).long()
        assert torch.equal(x[1].T, inputs[chosen])
        assert torch.equal(y[1].T, labels[chosen])


# First weights


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_first_weights_are_distributed_as_torchs(name: str, settings: dict[str, int]) -> None:
    """And no weight or bias lies beyond 1 / sqrt(fan-in), as `nn.Linear` draws them."""
    task = dense(name, **settings)
    assert_starts_as_torch_does(task)
    views = task.layout.views(task.initial(range(40), LIKE))
    for layer, fan_in in enumerate(task.widths[:-1], start=1):
        for tensor in (views[f"W{layer}"], views[f"b{layer}"]):
            assert 0.9 < float(tensor.abs().max()) * math.sqrt(fan_in) <= 1


@pytest.mark.parametrize("name", TASKS)
def test_racers_of_a_seed_start_alike_and_seeds_differ(name: str) -> None:
    config = race(name, [racer("adam"), racer("sgd"), racer("adam", lr=0.1)], seeds=[5, 2, 11])
    params = start(config, torch.float64).params[table_rows(config)]
    assert torch.equal(params[0], params[1])
    assert torch.equal(params[0], params[2])
    assert len({tuple(row.tolist()) for row in params[0]}) == (1 if name in START_AT_0 else 3)
    assert bool((params == 0).all()) == (name in START_AT_0)
    other = race(name, [racer("sgd")], seeds=[11])
    assert torch.equal(start(other, torch.float64).params[0], params[0, 2])
    assert torch.equal(start(config).params[table_rows(config)], params.float())


# Functions of one's own


def test_a_function_of_ones_own_starts_where_it_is_told_and_is_projected() -> None:
    task = from_function(lambda x, step: (x**2).sum(1), [1.0, -2.0], project=lambda x: x.clamp(min=0))
    assert task.initial([0, 7], LIKE).tolist() == [[1, -2], [1, -2]]
    assert task.project(torch.tensor([[1.0, -2.0]])).tolist() == [[1, 0]]


@pytest.mark.parametrize("bad", [[[1.0]], [math.nan], [math.inf], 3.0])
def test_a_function_needs_a_list_of_finite_numbers_to_start_from(bad: object) -> None:
    with pytest.raises(ValueError, match="start must be a list of finite numbers"):
        from_function(lambda x, step: x[:, 0], bad)  # type: ignore[arg-type]
