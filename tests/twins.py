"""What every task with a network is held to: a plain `torch.nn` one, its own drawing, and rows that stand alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn

from benchmarks.twins import data, loss_of, module
from core.tasks import FunctionTask, Task
from core.tasks.supervised import Classifier, Supervised

LIKE = torch.empty(0, dtype=torch.float64)


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
    """Its layers hold all of its parameters, a function has none; every part of the drawing is said."""
    assert sum(layer.parameters for layer in task.layers) == (
        0 if isinstance(task, FunctionTask) else task.layout.width
    )
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


def assert_writers_are_alone(task: Task, size: int, p: Tensor) -> None:
    """The text of a row is the same in any company, of weights `p [9, P]`; a row that is not finite changes neither
    loss, gradient nor text of another.
    """
    batch = task.batch(tuple(range(9)), 3, size, LIKE)
    loss, gradient = task.loss_and_grad(p, batch)
    written = task.sample(p, 0, 9)
    for rows in ([4], [2, 3, 8]):
        assert task.sample(p[torch.tensor(rows)], 0, 9) == [written[row] for row in rows]
    broken = p.clone()
    broken[5], broken[6] = math.nan, 1e30
    others = torch.tensor([0, 1, 2, 3, 4, 7, 8])
    broken_loss, broken_gradient = task.loss_and_grad(broken, batch)
    assert torch.equal(broken_loss[others], loss[others])
    assert torch.equal(broken_gradient[others], gradient[others])
    assert not math.isfinite(broken_loss[5])
    assert [task.sample(broken, 0, 9)[row] for row in others] == [written[row] for row in others]
