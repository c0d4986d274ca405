"""The convolutional network: against `nn.Conv2d` and `nn.MaxPool2d`, and what its rows promise each other."""

import pytest
import torch
from torch import nn

from core import race, racer, run
from core.tasks.images import Convolutional, cnn
from tests.strategies import SMALL
from tests.twins import (
    LIKE,
    assert_equals_its_twin,
    assert_first_loss_is_as_expected,
    assert_is_drawn,
    assert_rows_are_alone,
    assert_starts_as_torch_does,
    points,
)  # fmt: skip


@pytest.mark.parametrize("width", [1, 4, 8])
@pytest.mark.parametrize("size", [1, 32, 33])
def test_it_equals_a_plain_network(width: int, size: int) -> None:
    assert_equals_its_twin(cnn(width), size)


def test_the_written_out_gradient_equals_autograd() -> None:
    task = cnn(8)
    p, batch = points(task), task.batch((0, 1, 2, 3, 4), 7, 32, LIKE)
    _, gradient = task.loss_and_grad(p, batch)
    leaf = p.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(task.loss(leaf, batch).sum(), leaf)
    assert float((gradient - by_autograd).abs().max()) < 1e-12 * float(by_autograd.abs().max())


def test_equal_values_in_a_square_are_pooled_as_torch_pools_them() -> None:
    """Blank corners of an image make equal sums: the first of them gets the gradient, row by row."""
    task = cnn(4)
    p = points(task, 1)
    views = task.layout.views(p)
    views["W1"].zero_()  # every place alike: all sums of a square are equal
    views["b1"].fill_(1.0)
    x = torch.rand(1, 64, 3, dtype=torch.float64)
    signal = torch.rand(1, 32, 3, dtype=torch.float64) + 0.5
    seen = task._seen(views, x)
    assert bool((seen.pooled > 0).any())
    found = task._before_pooling(signal.clone(), seen).view(8, 4, 4, 3).permute(3, 0, 1, 2)
    sums = torch.baddbmm(views["b2"], views["W2"].flatten(2), seen.patches).view(8, 4, 4, 3).permute(3, 0, 1, 2)
    leaf = sums.detach().requires_grad_()
    nn.functional.max_pool2d(leaf, 2).relu().flatten(1).backward(signal[0].T)
    assert leaf.grad is not None and torch.equal(found, leaf.grad)


def test_first_weights_are_torchs() -> None:
    assert_starts_as_torch_does(cnn(8))


def test_the_first_loss_is_what_is_said() -> None:
    """The formula is of second order in the outputs, which are small: to 0.003."""
    assert_first_loss_is_as_expected(cnn(8), 100, slack=0.003)


@pytest.mark.parametrize("width", [4, 8])
def test_its_drawing_is_complete(width: int) -> None:
    task = cnn(width)
    assert_is_drawn(task)
    assert task.network == f"8 × 8 → {width} × 6 × 6 → {2 * width} × 4 × 4 → pool → {8 * width} → 10"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_is_the_same_in_any_company(dtype: torch.dtype) -> None:
    assert_rows_are_alone(cnn(8), 32, dtype)


def test_it_learns_the_digits() -> None:
    history = run(race("cnn", [racer("adam", lr=0.01)], steps=300, seeds=2))
    assert (history.evals["validation_accuracy"][-1] > 0.94).all()


def test_the_smallest_is_small() -> None:
    task = race(("cnn", {"width": SMALL["width"]}), [racer("sgd")]).build_task()
    assert isinstance(task, Convolutional) and task.layout.width < 700
