"""The contracts carry rules of another kind: one with its gradient and its loss elsewhere, one that asks for another
gradient, one that remembers matrices, and a rule that asks about some rows only.

Each stands in one table with Adam, which must not notice, and is compared with its published equations, written
out as a plain loop over one network in numpy and autograd.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core import RULES, Config, History, Reset, State, advance, edit, from_function, race, racer, start
from core.optimizers.base import CLIP, Context, Named, Rule, Update, rate
from tests.strategies import table_rows

STEPS, SEEDS, BATCH = 20, (3, 0), 16
TASK = ("moons", {"width": 6, "depth": 2})
ADAMS = [racer("adam", lr=0.01), racer("adam", lr=0.03, weight_decay=0.01)]
Floats = NDArray[np.float64]


class Plain:
    """One run of `TASK` without any table: a loss and its gradient at flat weights, by autograd."""

    def __init__(self, seed: int):
        self.task, self.seed = race(TASK, ADAMS).build_task(), seed
        self.like = torch.empty(0, dtype=torch.float64)
        self.first = self.task.initial([seed], self.like)[0].numpy()

    def network(self, p: Tensor, x: Tensor) -> Tensor:
        """Logits `[batch, classes]` of inputs `[batch, features]`."""
        tensors = [
            part.view(shape) for part, (_, shape) in zip(p.split(self.task.layout.sizes), self.shapes, strict=True)
        ]
        for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
            x = functional.linear(x, weight, bias.flatten())
            x = x.relu() if weight is not tensors[-2] else x
        return x

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return self.task.layout.shapes

    def gradient(self, p: Floats, step: int) -> Floats:
        x, y = (tensor[0].T for tensor in self.task.batch((self.seed,), step, BATCH, self.like).tensors)
        leaf = torch.tensor(p, requires_grad=True)
        functional.cross_entropy(self.network(leaf, x), y.argmax(1)).backward()
        assert leaf.grad is not None
        return leaf.grad.numpy()

    def validation_loss(self, p: Floats) -> float:
        inputs, labels = self.task.data.tensors("validation", self.like)  # type: ignore[attr-defined]
        return float(functional.cross_entropy(self.network(torch.tensor(p), inputs), labels.argmax(1)))

    def matrices(self, flat: Floats) -> list[Floats]:
        ends = np.cumsum(self.task.layout.sizes)[:-1]
        return [part.reshape(shape) for part, (_, shape) in zip(np.split(flat, ends), self.shapes, strict=True)]


def plain_schedule_free(run: Plain, lr: float) -> tuple[Floats, Floats]:
    """2405.15682, algorithm 1, beta 0.9, as it is implemented (c = 1 / t): the stored z, and x that is evaluated."""
    z = x = run.first
    for t in range(1, STEPS + 1):
        y = 0.1 * z + 0.9 * x
        z = z - lr * run.gradient(y, t - 1)
        x = (1 - 1 / t) * x + z / t
    return z, x


def plain_sam(run: Plain, lr: float) -> tuple[Floats, Floats]:
    """2010.01412, algorithm 1, rho 0.05, the 2-norm."""
    p = run.first
    for t in range(STEPS):
        g = run.gradient(p, t)
        p = p - lr * run.gradient(p + 0.05 * g / np.sqrt(np.sum(g * g)), t)
    return p, p


def root(matrix: Floats, power: float) -> Floats:
    """`(matrix + eps I)^power`."""
    u, values, _ = np.linalg.svd(matrix)
    return u @ np.diag((values + RULES["shampoo"].hyper("matrix_eps").default) ** power) @ u.T


def plain_shampoo(run: Plain, lr: float) -> tuple[Floats, Floats]:
    """1802.09568, algorithm 2: a bias is a tensor of one axis."""
    w = run.matrices(run.first)
    left = [np.zeros((m.shape[0], m.shape[0])) for m in w]
    right = [np.zeros((m.shape[1], m.shape[1])) for m in w]
    for t in range(STEPS):
        g = run.matrices(run.gradient(np.concatenate([m.ravel() for m in w]), t))
        for i, gradient in enumerate(g):
            left[i] = left[i] + gradient @ gradient.T
            right[i] = right[i] + gradient.T @ gradient
            if gradient.shape[1] == 1:
                w[i] = w[i] - lr * root(left[i], -1 / 2) @ gradient
            else:
                w[i] = w[i] - lr * root(left[i], -1 / 4) @ gradient @ root(right[i], -1 / 4)
    end = np.concatenate([m.ravel() for m in w])
    return end, end


PLAIN: dict[str, Callable[[Plain, float], tuple[Floats, Floats]]] = {
    "schedule_free_sgd": plain_schedule_free,
    "sgd+sam": plain_sam,
    "shampoo": plain_shampoo,
}


def trained(config: Config, slices: tuple[int, ...] = (STEPS,)) -> tuple[State, History]:
    state, records = start(config, torch.float64), []
    for count in slices:
        state, record = advance(config, state, count)
        records.append(record)
    return state, History.of(config, records)


@pytest.mark.parametrize("rule", PLAIN)
def test_rule_equals_its_published_equations(rule: str) -> None:
    """Weights within 1e-9 of the plain loop after 20 steps, and so is the validation loss where it is evaluated."""
    rates = (0.1, 0.4)
    config = race(
        TASK, [ADAMS[0], racer(rule, lr=rates[0]), ADAMS[1], racer(rule, lr=rates[1])],
        steps=STEPS, batch=BATCH, seeds=SEEDS,
    )  # fmt: skip
    state, history = trained(config, (7, 13))
    rows = table_rows(config)
    for index, lr in zip((1, 3), rates, strict=True):
        for column, seed in enumerate(SEEDS):
            stored, evaluated = PLAIN[rule](Plain(seed), lr)
            found = state.params[rows[index, column]].numpy()
            assert np.abs(found - stored).max() < 1e-9 * np.abs(stored).max()
            loss = history.evals["validation_loss"][-1, index, column]
            assert loss == pytest.approx(Plain(seed).validation_loss(evaluated), rel=1e-9)


@pytest.mark.parametrize("rule", PLAIN)
def test_adam_beside_it_does_not_notice(rule: str) -> None:
    alone = trained(race(TASK, ADAMS, steps=STEPS, batch=BATCH, seeds=SEEDS))[1]
    mixed = [ADAMS[0], racer(rule, lr=0.2), ADAMS[1]]
    beside = trained(race(TASK, mixed, steps=STEPS, batch=BATCH, seeds=SEEDS))[1]
    assert np.array_equal(beside.loss[:, [0, 2]], alone.loss)


def test_every_gradient_is_counted() -> None:
    """SAM takes two gradients a step, the others one; a run that has diverged takes none."""
    dead = ("tabulated", {"values": [1e308]})
    contenders = [racer("adam"), racer("sgd+sam"), racer("shampoo"), racer("sgd+sam", schedule=dead)]
    config = race(TASK, contenders, steps=STEPS, batch=BATCH, seeds=SEEDS)
    state, history = trained(config)
    counted = state.evaluations[table_rows(config)].tolist()
    stopped = int(history.stopped[3, 0])
    assert counted == [[STEPS] * 2, [2 * STEPS] * 2, [STEPS] * 2, [2 * stopped] * 2]
    assert history.probes["evaluations"][0, :3, 0].tolist() == [1, 2, 1]


def test_memories_of_another_shape_can_be_reset() -> None:
    """At a reset a matrix goes back to 0, a number to the setting it starts from, and what is made from the weights to
    those of that step.

    So step 9 after a reset at 8 is the step that the same weights take with a fresh memory of age 0.
    """
    rules = ("shampoo", "schedule_free_sgd", "prodigy")

    def config(reset: Reset) -> Config:
        contenders = [racer(rule, lr=0.1, reset=reset) for rule in rules]
        return race(TASK, contenders, steps=STEPS, batch=BATCH, seeds=SEEDS)

    before, _ = advance(config(Reset("all", 8)), start(config(Reset()), torch.float64), 8)
    after, _ = advance(config(Reset("all", 8)), before, 1)
    blank = start(config(Reset()), torch.float64)
    _, averaged, near = (before.params[rows] for rows in table_rows(config(Reset())))
    made = {"shampoo": {}, "schedule_free_sgd": {"x": averaged}, "prodigy": {"p0": near}}
    slots = {rule: blank.slots[rule] | made[rule] for rule in rules}
    expected, _ = advance(config(Reset()), replace(before, slots=slots, ages=blank.ages), 1)
    unreset, _ = advance(config(Reset()), before, 1)
    assert torch.equal(after.params, expected.params)
    for rows in table_rows(config(Reset())):
        assert not torch.equal(after.params[rows], unreset.params[rows])
    for rule, memories in expected.slots.items():
        for name, memory in memories.items():
            assert torch.equal(after.slots[rule][name], memory)
            assert after.ages[rule][name].unique().tolist() == [1]


def test_a_rule_may_ask_about_some_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ctx.gradient(at, rows)` gives those rows' loss and gradient, on their own batches, and counts only them."""
    seen: list[tuple[Tensor, Tensor]] = []

    def asks(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        rows = torch.arange(0, len(ctx.g), 2)
        loss, gradient = ctx.gradient(ctx.p[rows], rows)
        seen.append((gradient, ctx.g[rows]))
        assert loss.shape == (len(rows),)
        return ctx.g, {}, {}

    monkeypatch.setitem(RULES, "asks", Rule("asks", "Asks", asks, (rate(0.1), CLIP), "", "", ""))
    config = race(TASK, [racer("adam"), racer("asks", lr=0.1)], steps=3, batch=BATCH, seeds=4)
    state, _ = trained(config, (3,))
    for asked, given in seen:
        assert torch.allclose(asked, given, rtol=1e-12, atol=1e-15)
    assert state.evaluations[table_rows(config)].tolist() == [[3, 3, 3, 3], [6, 3, 6, 3]]


def test_such_a_rule_edits_and_serialises_like_any_other() -> None:
    contenders = [racer(rule, lr=0.2, schedule="step") for rule in PLAIN]
    config = race(TASK, contenders, steps=3, edits=[edit(1, 0, "set", setting="lr", value=0.1)])
    assert Config.from_json(config.to_json()) == config


def test_a_function_task_serves_a_rule_that_asks_again() -> None:
    """SAM on x^2 / 2 from 1: the step is lr (x + rho), in closed form."""
    config = race(from_function(lambda x, step: x[:, 0] ** 2 / 2, [1.0]), [racer("sgd+sam", lr=0.1)], steps=1)
    state, _ = trained(config, (1,))
    assert float(state.params[0, 0]) == pytest.approx(1 - 0.1 * 1.05, rel=1e-12)
