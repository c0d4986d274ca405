"""The networks of tasks as `torch.nn` has them, one run at a time: what a table is tested and timed against."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn

from core.tasks import Task
from core.tasks.convex import ManyFits
from core.tasks.dense import Dense
from core.tasks.images import Convolutional
from core.tasks.linear import Factorisation
from core.tasks.supervised import Classifier, Supervised

LIKE = torch.empty(0, dtype=torch.float64)


class Product(nn.Module):
    """`U V^T`, whatever the input."""

    def __init__(self, task: Factorisation):
        super().__init__()
        self.U, self.V = (nn.Parameter(torch.randn(shape) * task.scale) for _, shape in task.layout.shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.U @ self.V.T


def module(task: Task) -> nn.Module:
    """The task's network with torch's own initialisation; inputs `[B, F]`, outputs `[B, K]`."""
    if isinstance(task, Dense):
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(task.widths):
            layers += [nn.Linear(fan_in, fan_out, bias=task.biases), *([nn.ReLU()] if task.relu else [])]
        return nn.Sequential(*(layers[:-1] if task.relu else layers))
    if isinstance(task, Convolutional):
        shapes = dict(task.layout.shapes)
        first, second = shapes["W1"][0], shapes["W2"][0]
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, first, 3), nn.ReLU(), nn.Conv2d(first, second, 3), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * second, 10),
        )  # fmt: skip
    if isinstance(task, ManyFits):
        plain = nn.Linear(task.layout.width, 1, bias=False)
        nn.init.zeros_(plain.weight)
        return plain
    assert isinstance(task, Factorisation)
    return Product(task)


def data(task: Task, part: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs `[N, F]`, and class numbers `[N]` or targets `[N, K]`, as a plain training has them."""
    if isinstance(task, Supervised):
        inputs, targets = (torch.as_tensor(array) for array in task.data.parts[part])
        return inputs.to(like), targets if isinstance(task, Classifier) else targets.to(like).view(len(targets), -1)
    if isinstance(task, ManyFits):
        columns = torch.as_tensor(task.columns()).to(like)
        if part == "validation":
            columns[:, 3:] = 0
        return columns, torch.as_tensor(task.labels).to(like).unsqueeze(1)
    assert isinstance(task, Factorisation)
    return like.new_empty(1, 0), torch.as_tensor(task.matrix).to(like)


def loss_of(task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as torch has it."""
    if isinstance(task, Classifier):
        return nn.functional.cross_entropy
    if isinstance(task, Factorisation):
        return lambda outputs, targets: nn.functional.mse_loss(outputs, targets, reduction="sum") / 2
    return nn.functional.mse_loss


def twin(task: Task, p: Tensor) -> nn.Module:
    """The network of one row, with its weights `[P]`."""
    plain = module(task).to(p)
    nn.utils.vector_to_parameters(p.clone(), plain.parameters())
    return plain


def points(task: Task, rows: int = 5) -> Tensor:
    """Weights that are not where a run starts."""
    generator = torch.Generator().manual_seed(1)
    first = task.initial(range(rows), LIKE)
    return 1.5 * first + 0.1 * torch.randn(first.shape, dtype=torch.float64, generator=generator)


def assert_equals_its_twin(task: Task, size: int) -> None:
    """Loss, gradient, and what `evaluate` gives, of each row against a plain network in float64: within 1e-10."""
    p, rows = points(task), 5
    batch = task.batch(tuple(range(rows)), 3, size, LIKE)
    loss, gradient = task.loss_and_grad(p, batch)
    assert float((task.loss(p, batch) - loss).abs().max()) < 1e-12
    evaluated = {part: task.evaluate(p, part) for part in task.parts}
    of, everything = loss_of(task), data(task, "train", LIKE)
    for row in range(rows):
        plain = twin(task, p[row])
        if isinstance(task, Supervised):
            x, y = (tensor[row].T for tensor in batch.tensors)
            seen = x, y.argmax(1) if isinstance(task, Classifier) else y
        else:
            chosen = batch.tensors[0][row].long() if batch.tensors else slice(None)
            seen = everything[0][chosen], everything[1][chosen]
        expected = of(plain(seen[0]), seen[1])
        expected.backward()
        wanted = torch.cat([w.grad.flatten() for w in plain.parameters() if w.grad is not None])
        assert abs(float(loss[row]) - expected.item()) < 1e-10
        assert len(wanted) == task.layout.width
        assert float((gradient[row] - wanted).abs().max()) < 1e-10
        for part, found in evaluated.items():
            inputs, targets = data(task, part, LIKE)
            outputs = plain(inputs).detach()
            assert abs(float(found["loss"][row]) - of(outputs, targets).item()) < 1e-10
            assert ("accuracy" in found) == task.accuracy
            if task.accuracy:
                right = outputs.argmax(1) == targets if isinstance(task, Classifier) else outputs * targets > 0
                assert abs(float(found["accuracy"][row]) - right.double().mean().item()) < 1e-12


def assert_starts_as_torch_does(task: Task, draws: int = 40) -> None:
    """Each tensor's first values are distributed as those of torch's own modules: a Kolmogorov-Smirnov test of both."""
    ours = task.layout.views(task.initial(range(draws), LIKE))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        theirs = [[w.detach().double() for w in module(task).parameters()] for _ in range(draws)]
    for tensor, drawn in zip(ours.values(), zip(*theirs, strict=True), strict=True):
        mine, torchs = tensor.flatten().numpy(), torch.stack(drawn).flatten().numpy()
        assert mine.shape == torchs.shape
        assert np.abs(mine).max() == np.float64(np.abs(torchs).max()) or ks_2samp(mine, torchs).pvalue > 1e-3


def assert_first_loss_is_as_expected(task: Task, draws: int = 400, slack: float = 0.0) -> None:
    """The mean loss over first guesses, on the whole training part, is what is said: within 4 standard errors."""
    assert task.initial_loss is not None
    expected, why = task.initial_loss
    p = task.initial(range(draws), LIKE)
    losses = task.evaluate(p, "train")["loss"] if task.parts else task.loss(p, task.batch((0,), 0, 1, LIKE))
    error = float(losses.std()) / draws**0.5
    assert abs(float(losses.mean()) - expected) < 4 * error + slack
    assert why.endswith(".")


def assert_is_drawn(task: Task) -> None:
    """Its layers hold all of its parameters, and every part of the drawing is said."""
    assert sum(layer.parameters for layer in task.layers) == task.layout.width
    assert all(layer.name and layer.does and layer.shape for layer in task.layers)
    assert all(level.name and level.meaning.endswith(".") for level in task.levels)


def assert_rows_are_alone(task: Task, size: int, dtype: torch.dtype) -> None:
    """Loss, gradient and evaluation of a row are the same to the last bit, alone and in the company of 31 others."""
    p = points(task, 32).to(dtype)
    batch = task.batch(tuple(range(32)), 2, size, p)
    loss, gradient = task.loss_and_grad(p, batch)
    evaluated = {part: task.evaluate(p, part) for part in task.parts}
    for rows in (*(slice(i, i + 1) for i in range(4)), slice(0, 2), slice(0, 3), slice(9, 32)):
        some_loss, some_gradient = task.loss_and_grad(p[rows], batch.rows(rows))
        assert torch.equal(some_loss, loss[rows])
        assert torch.equal(some_gradient, gradient[rows])
        for part, found in evaluated.items():
            for name, values in task.evaluate(p[rows], part).items():
                assert torch.equal(values, found[name][rows]), (part, name, rows)
