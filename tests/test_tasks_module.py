"""Modules as tasks: each equal to the module itself in a plain loop, and what cannot be one refused in a sentence."""

from __future__ import annotations

import gc
import math
import random as python_random
import threading
import warnings
import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from core import RULES, advance, from_module, race, racer, run, start
from core.config import refusal
from core.tasks.data import batch_indices
from core.tasks.module import SAMPLED, ModuleTask
from core.tasks.traced import KEPT, Traced
from tests.strategies import table_rows

LIKE = torch.empty(0, dtype=torch.float64)
_DRAWN = torch.Generator().manual_seed(0)
X = torch.randn(60, 16, generator=_DRAWN)
Y = torch.randint(5, (60,), generator=_DRAWN)
TEXT = torch.randint(9, (60, 6), generator=_DRAWN)
NUMBERS = torch.randn(60, 3, generator=_DRAWN)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.output = nn.Linear(8, 9)

    def forward(self, text: Tensor) -> Tensor:
        return self.output(self.block(self.embedding(text))).transpose(1, 2)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.step = nn.Linear(9, 5)
        self.output = nn.Linear(5, 9)

    def forward(self, text: Tensor) -> Tensor:
        letters = self.embedding(text)
        h, found = letters.new_zeros(len(text), 5), []
        for t in range(text.shape[1]):
            h = torch.tanh(self.step(torch.cat([letters[:, t], h], dim=1)))
            found.append(self.output(h))
        return torch.stack(found, dim=2)


class Tied(nn.Module):
    """An embedding whose matrix is the output's, too; a buffer; a tensor made, and changed in place, in the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.output = nn.Linear(4, 9)
        self.output.weight = self.embedding.weight
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 4))

    def forward(self, text: Tensor) -> Tensor:
        shift = torch.tensor([1.0], dtype=self.output.bias.dtype)
        shift += 1
        hidden = (self.embedding(text) * self.scale).tanh_()
        return self.output(hidden + shift).transpose(1, 2)


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    loss: Any
    x: Tensor
    y: Tensor


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


CASES = {
    "dense": Case(dense, cross_entropy, X, Y),
    "normalised": Case(
        lambda: nn.Sequential(nn.Linear(16, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 5)), cross_entropy, X, Y
    ),
    "convolutional": Case(convolutional, cross_entropy, X, Y),
    "attention": Case(Attention, cross_entropy, TEXT[:, :-1], TEXT[:, 1:]),
    "recurrent": Case(Recurrent, cross_entropy, TEXT[:, :-1], TEXT[:, 1:]),
    "tied": Case(Tied, cross_entropy, TEXT[:, :-1], TEXT[:, 1:]),
    "regression": Case(lambda: nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3)), nn.MSELoss(), X, NUMBERS),
    "weighted": Case(lambda: nn.Linear(16, 5), nn.CrossEntropyLoss(weight=torch.arange(1.0, 6.0)), X, Y),
    "own loss": Case(lambda: nn.Linear(16, 3), lambda out, y: (out - y).abs().pow(1.5).mean(), X, NUMBERS),
    "dropout, off": Case(lambda: nn.Sequential(nn.Linear(16, 5), nn.Dropout(0.5)).eval(), cross_entropy, X, Y),
    "batch norm, fixed": Case(lambda: nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 5)).eval(), cross_entropy, X, Y),
}  # fmt: skip


def task_of(case: Case, **parts: Any) -> ModuleTask:
    """40 examples to train on and 20 for validation."""
    given = {"train": (case.x[:40], case.y[:40]), "validation": (case.x[40:], case.y[40:])} | parts
    return from_module(case.make, case.loss, **given)


@pytest.fixture(scope="module")
def tasks() -> dict[str, ModuleTask]:
    return {name: task_of(case) for name, case in CASES.items()}


def twin(case: Case, weights: Tensor) -> tuple[nn.Module, Any]:
    """The module by itself with weights `[P]`, and its loss, in float64."""
    module = case.make().double()
    nn.utils.vector_to_parameters(weights.detach().clone(), module.parameters())
    loss = deepcopy(case.loss).double() if isinstance(case.loss, nn.Module) else case.loss
    return module, loss


def points(task: ModuleTask, rows: int = 4) -> Tensor:
    """Weights that are not where a run starts."""
    first = task.initial(range(rows), LIKE)
    return first + 0.1 * torch.randn(first.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def real(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values


# ---------------------------------------------------------------- the same as the module itself


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_modules_own(tasks: dict[str, ModuleTask], name: str) -> None:
    """Float64, row by row, at four steps, of which the later ones are replayed: 1e-10 of the largest entry."""
    task, case = tasks[name], CASES[name]
    for step in range(4):
        p, batch = points(task) * (1 + step / 10), task.batch((0, 1, 2, 5), step, 10, LIKE)
        loss, gradient = task.loss_and_grad(p, batch)
        assert torch.equal(loss, task.loss(p, batch))
        for row, (x, y) in enumerate(zip(*batch.tensors, strict=True)):
            module, criterion = twin(case, p[row])
            expected = criterion(module(x), y)
            expected.backward()
            assert float(loss[row]) == pytest.approx(expected.item(), rel=1e-10)
            slopes = torch.cat([w.grad.flatten() for w in module.parameters() if w.grad is not None])
            assert float((gradient[row] - slopes).abs().max()) < 1e-10 * float(slopes.abs().max())


@pytest.mark.parametrize("name", CASES)
def test_evaluation_is_the_modules_own(tasks: dict[str, ModuleTask], name: str) -> None:
    """Loss and accuracy of a whole part, of more rows than are evaluated at a time, to 1e-10."""
    task, case = tasks[name], CASES[name]
    p = points(task, 9)
    for part, some in (("train", slice(40)), ("validation", slice(40, None))):
        found = task.evaluate(p, part)
        assert set(found) == ({"loss", "accuracy"} if task.accuracy else {"loss"})
        for row in range(9):
            module, criterion = twin(case, p[row])
            with torch.no_grad():
                output = module(real(case.x[some]))
                expected = criterion(output, real(case.y[some])).item()
            assert float(found["loss"][row]) == pytest.approx(expected, rel=1e-10)
            if task.accuracy:
                right = (output.argmax(1) == case.y[some]).double().mean().item()
                assert float(found["accuracy"][row]) == pytest.approx(right, abs=1e-12)


def test_a_race_is_the_plain_loop() -> None:
    """Adam for 30 steps of a convolution, two seeds, in float64, against `torch.optim.Adam` on the module: 1e-9."""
    case = CASES["convolutional"]
    task = task_of(case)
    config = race(task, [racer("adam", lr=0.01), racer("sgd", lr=0.1)], steps=30, batch=10, seeds=(4, 1))
    state, records = advance(config, start(config, torch.float64), 30)
    for column, seed in enumerate((4, 1)):
        module, _ = twin(case, task.initial([seed], LIKE)[0])
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for step in range(30):
            chosen = batch_indices((seed,), step, 40, 10, torch.device("cpu")).long()
            optimizer.zero_grad()
            loss = cross_entropy(module(case.x[:40][chosen].double()), case.y[:40][chosen])
            loss.backward()
            optimizer.step()
            assert records.loss[step, column] == pytest.approx(loss.item(), rel=1e-9)
        weights = nn.utils.parameters_to_vector(module.parameters())
        assert state.params[table_rows(config)[0, column]] == pytest.approx(weights.detach(), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_what_is_replayed_is_the_same_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    """Of a first call, the second, which writes the operations down, and the third, which does them."""
    task = task_of(CASES[name])
    like = torch.empty(0, dtype=dtype)
    p, batch = points(task).to(like), task.batch((0, 1, 2, 5), 3, 7, like)
    elsewhere, later = (2 * p, task.batch((0, 1, 2, 5), 4, 7, like))
    fresh = task_of(CASES[name])
    expected, other = task.loss_and_grad(p, batch), fresh.loss_and_grad(elsewhere, later)
    for _ in range(2):
        for found, wanted in zip(task.loss_and_grad(p, batch), expected, strict=True):
            assert torch.equal(found, wanted)
        for found, wanted in zip(task.loss_and_grad(elsewhere, later), other, strict=True):
            assert torch.equal(found, wanted)
    assert not torch.equal(expected[0], other[0])


def test_only_so_many_shapes_are_remembered() -> None:
    """The oldest goes first; a shape is run as it stands, then written down, then replayed."""
    ran: list[int] = []

    def doubled(x: Tensor) -> Tensor:
        ran.append(len(x))
        return 2 * x

    traced = Traced(doubled)
    for count in range(1, KEPT + 3):
        for _ in range(3):
            assert torch.equal(traced(torch.ones(count)), 2 * torch.ones(count))
    assert ran == [count for count in range(1, KEPT + 3) for _ in range(2)]
    traced(torch.ones(KEPT + 2))
    assert len(ran) == 2 * (KEPT + 2), "a late one is remembered"
    traced(torch.ones(1))
    assert len(ran) == 2 * (KEPT + 2) + 1, "an early one is not"


@pytest.mark.parametrize("name", CASES)
def test_slices_and_neighbours_change_no_run(tasks: dict[str, ModuleTask], name: str) -> None:
    """Bit for bit however a race is cut; whoever else races, too, but for convolutions, which round anew (1e-5)."""
    both = race(tasks[name], [racer("adam", lr=0.01), racer("sgd", lr=0.1)], steps=20, batch=8, seeds=3)
    alone = race(tasks[name], [racer("sgd", lr=0.1)], steps=20, batch=8, seeds=3)
    whole, _ = advance(both, start(both), 20)
    cut = start(both)
    for count in (1, 7, 0, 12):
        cut, _ = advance(both, cut, count)
    assert torch.equal(cut.params, whole.params)
    mine = advance(alone, start(alone), 20)[0].params[table_rows(alone)[0]]
    among = whole.params[table_rows(both)[1]]
    if name == "convolutional":
        assert torch.allclose(mine, among, rtol=0, atol=1e-5)
    else:
        assert torch.equal(mine, among)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_takes_a_module(tasks: dict[str, ModuleTask], rule: str) -> None:
    """Also those that ask for matrices, for further gradients, or for labels drawn from the network."""
    task = tasks["convolutional"]
    size = 40 if RULES[rule].full_batch else 8
    assert refusal(RULES[rule], task, size) == ""
    history = run(race(task, [racer(rule)], steps=4, batch=size, seeds=2))
    assert np.isfinite(history.loss).all() and (history.stopped == -1).all()


# ---------------------------------------------------------------- first weights


@pytest.mark.parametrize("name", CASES)
def test_first_weights_are_the_modules_own_and_the_seeds(tasks: dict[str, ModuleTask], name: str) -> None:
    """One draw for each seed and each draw of it, in the order of `parameters()`, the same in any company."""
    task = tasks[name]
    first = task.initial([3, 7, 3], LIKE)
    assert torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    assert torch.equal(task.initial([7], LIKE)[0], first[1])
    assert torch.equal(task.initial([7], torch.empty(0))[0], first[1].float())
    assert not torch.equal(task.initial([7], LIKE, draw=1), task.initial([7], LIKE))
    sizes = [p.numel() for p in CASES[name].make().parameters()]
    assert task.layout.sizes == sizes and first.shape == (3, sum(sizes))


def test_first_weights_are_distributed_as_torch_has_them() -> None:
    """Linear and Conv2d: uniform within 1 / sqrt(fan-in). Embedding: N(0, 1). Gains 1 and shifts 0."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Embedding(9, 4), nn.Unflatten(1, (3, 2)), nn.Conv2d(3, 5, 2), nn.GroupNorm(5, 5), nn.Flatten(),
            nn.Linear(15, 9),
        )  # fmt: skip

    task = from_module(make, cross_entropy, (TEXT, Y))
    views = task.layout.views(task.initial(range(60), LIKE))
    for name, fan_in in (("2.weight", 12), ("2.bias", 12), ("5.weight", 15), ("5.bias", 15)):
        scaled = views[name] * math.sqrt(fan_in)
        assert float(scaled.abs().max()) <= 1 and float(scaled.max()) > 0.95 and float(scaled.min()) < -0.95
        assert float(scaled.var()) == pytest.approx(1 / 3, rel=0.1)
    normal = views["0.weight"]
    assert float(normal.mean()) == pytest.approx(0, abs=0.1)
    assert float(normal.std()) == pytest.approx(1, rel=0.06)
    assert float(normal.abs().max()) > 3
    assert (views["3.weight"] == 1).all() and (views["3.bias"] == 0).all()


def test_no_generator_is_touched() -> None:
    """torch's own is lent and put back, also where making the module fails; NumPy's and Python's are left alone."""
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    python_before = python_random.getstate()
    task = task_of(CASES["dense"])
    task.initial(range(5), LIKE)
    with pytest.raises(ValueError, match="dropout"):
        task_of(CASES["dense"]._replace(make=lambda: nn.Sequential(nn.Linear(16, 5), nn.Dropout(0.5))))
    with pytest.raises(ValueError, match="cannot be made"):
        task_of(CASES["dense"]._replace(make=lambda: nn.Linear(16, int(torch.rand(1)) // 0)))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]
    assert python_random.getstate() == python_before


def test_threads_that_draw_at_the_same_time_do_not_mix(tasks: dict[str, ModuleTask]) -> None:
    task = tasks["dense"]
    expected, found = task.initial(range(30), LIKE), {}

    def draw(worker: int) -> None:
        found[worker] = task.initial(range(30), LIKE)

    threads = [threading.Thread(target=draw, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(torch.equal(each, expected) for each in found.values())


# ---------------------------------------------------------------- data, levels, and how it is described


def test_batches_are_the_usual_epochs(tasks: dict[str, ModuleTask]) -> None:
    """Each a permutation of the training part in the order of that seed, with the targets that belong to the inputs."""
    task = tasks["attention"]
    seen = [task.batch((6, 2), step, 10, LIKE) for step in range(4)]
    for row, seed in enumerate((6, 2)):
        order = torch.cat([batch_indices((seed,), step, 40, 10, torch.device("cpu")) for step in range(4)]).long()
        assert sorted(order.tolist()) == list(range(40))
        assert torch.equal(torch.cat([batch.tensors[0][row] for batch in seen]), TEXT[:40][order][:, :-1])
        assert torch.equal(torch.cat([batch.tensors[1][row] for batch in seen]), TEXT[:40][order][:, 1:])
    assert torch.equal(task.batch((2,), 3, 10, LIKE).tensors[0][0], seen[3].tensors[0][1])


def test_arrays_lists_and_tensors_are_copied_and_follow_the_precision() -> None:
    """Whole numbers of any kind become int64, real ones are taken in the precision of the weights."""
    x, y = X.numpy().astype(np.float64), Y.numpy().astype(np.uint8)
    task = from_module(dense, cross_entropy, train=(x, y.tolist()), validation=(X, Y.to(torch.int16)))
    x[:] = np.nan
    for like in (torch.empty(0), LIKE):
        inputs, labels = task.batch((0,), 0, 60, like).tensors
        assert inputs.dtype == like.dtype and labels.dtype == torch.int64
        assert bool(torch.isfinite(inputs).all()) and torch.equal(labels[0].bincount(), Y.bincount())


def test_classes_have_the_levels_of_guessing(tasks: dict[str, ModuleTask]) -> None:
    """Equal outputs: loss ln C, and no prediction counts; the commonest class is that of the validation part."""
    for name, classes in (("dense", 5), ("attention", 9), ("weighted", 5)):
        task = tasks[name]
        assert task.accuracy and task.draws_labels and task.guess == pytest.approx(math.log(classes))
        assert [level.of for level in task.levels] == ["loss", "accuracy"]
        assert task.levels[0].value == task.guess
        commonest = CASES[name].y[40:].flatten().bincount().max() / CASES[name].y[40:].numel()
        assert task.levels[1].value == pytest.approx(float(commonest))
    task = tasks["dense"]
    found = task.evaluate(torch.zeros(1, task.layout.width), "validation")
    assert float(found["loss"]) == pytest.approx(task.guess) and float(found["accuracy"]) == 0
    broken = torch.full((1, task.layout.width), math.nan)
    assert float(task.evaluate(broken, "validation")["accuracy"]) == 0


@pytest.mark.parametrize("name", ["regression", "own loss"])
def test_a_regression_has_no_accuracy(tasks: dict[str, ModuleTask], name: str) -> None:
    task = tasks[name]
    assert not task.accuracy and not task.draws_labels and task.guess is None and task.levels == ()


def test_another_loss_of_classes_has_an_accuracy_and_no_guess() -> None:
    def hinge(output: Tensor, y: Tensor) -> Tensor:
        return (1 + output - output.gather(1, y.unsqueeze(1))).clamp(min=0).mean()

    task = task_of(CASES["dense"]._replace(loss=hinge))
    assert task.accuracy and task.guess is None and not task.draws_labels
    masked = task_of(CASES["dense"]._replace(y=torch.where(Y == 2, -100, Y)))  # cross_entropy leaves those out
    assert not masked.accuracy and masked.guess is None


def test_parts_are_those_that_are_given() -> None:
    task = task_of(CASES["dense"], validation=None, test=(X[:9], Y[:9]))
    assert task.parts == ("train", "test") and not task.accuracy and task.guess is not None
    history = run(race(task, [racer("sgd", lr=0.1)], steps=10, batch=8))
    assert set(history.evals) == {"train_loss"} and set(history.test) == {"loss"}
    task = task_of(CASES["dense"], test=(X[:9], Y[:9]))
    history = run(race(task, [racer("sgd", lr=0.1)], steps=10, batch=8))
    assert set(history.test) == {"loss", "accuracy"}


def test_large_parts_are_evaluated_on_the_same_thousand_and_test_whole() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2300, 16, generator=generator)
    y = (x[:, 0] > 0).long()
    order = y.argsort()  # sorted by class: the first thousand would be of one
    x, y = x[order], y[order]
    task = from_module(lambda: nn.Linear(16, 2), cross_entropy, train=(x, y), validation=(x, y), test=(x, y))
    p = task.initial(range(2), LIKE)
    p[:, -1] += 3  # which costs one class much more than the other
    found = {part: task.evaluate(p, part) for part in task.parts}
    assert torch.equal(found["train"]["loss"], found["validation"]["loss"])
    assert torch.equal(found["train"]["loss"], task.evaluate(p, "train")["loss"])
    module, _ = twin(Case(lambda: nn.Linear(16, 2), cross_entropy, x, y), p[0])
    each = cross_entropy(module(x.double()), y, reduction="none").detach()
    assert float(found["test"]["loss"][0]) == pytest.approx(float(each.mean()), rel=1e-10)
    assert float(found["train"]["loss"][0]) != float(found["test"]["loss"][0])
    assert abs(float(found["train"]["loss"][0] - each.mean())) < 4 * float(each.std()) / math.sqrt(SAMPLED)


def test_labels_are_drawn_from_the_networks_own_odds() -> None:
    """Their frequencies over 4,000 draws, within four standard errors; the same for each seed and step."""
    task = from_module(lambda: nn.Linear(2, 3), cross_entropy, (torch.ones(4000, 2), torch.arange(4000) % 3))
    p = torch.tensor([[0, 0, 0, 0, 0, 0, 0.0, 1.0, -1.0], [0, 0, 0, 0, 0, 0, 2.0, 0.0, 0.0]], dtype=torch.float64)
    batch = task.batch((0, 1), 5, 4000, LIKE)
    drawn = task.draw_labels(p, batch, (0, 1))
    assert torch.equal(drawn.tensors[0], batch.tensors[0]) and drawn.step == 5
    for row in range(2):
        odds = p[row, 6:].softmax(0)
        shares = drawn.tensors[1][row].bincount(minlength=3) / 4000
        assert ((shares - odds).abs() < 4 * (odds * (1 - odds) / 4000).sqrt()).all()
    assert torch.equal(task.draw_labels(p[:1], batch.rows(slice(1)), (0,)).tensors[1][0], drawn.tensors[1][0])


def test_the_network_is_described(tasks: dict[str, ModuleTask]) -> None:
    """Layers in order with what leaves them and all their parameters, roles for the rules that ask, the first loss."""
    for name, task in tasks.items():
        assert sum(layer.parameters for layer in task.layers) == task.layout.width, name
        assert all(layer.shape and layer.name for layer in task.layers), name
        assert task.initial_loss is not None
        first = task.evaluate(task.initial(range(4), torch.empty(0)), "train")["loss"].mean()
        assert task.initial_loss[0] == pytest.approx(float(first), rel=1e-6)
        assert "4 first guesses" in task.initial_loss[1]
    shapes = [(layer.does.split("(")[0], layer.shape, layer.parameters) for layer in tasks["convolutional"].layers]
    assert shapes == [
        ("Unflatten", "1 × 4 × 4", 0), ("Conv2d", "4 × 4 × 4", 40), ("GroupNorm", "4 × 4 × 4", 8),
        ("ReLU", "4 × 4 × 4", 0), ("MaxPool2d", "4 × 2 × 2", 0), ("Flatten", "16", 0), ("Linear", "5", 85),
    ]  # fmt: skip
    assert tasks["convolutional"].network == "Unflatten, Conv2d, GroupNorm, ReLU, …, Linear: 133 numbers"
    assert "guessing has 1.61" in tasks["dense"].initial_loss[1]  # type: ignore[index]
    assert tasks["weighted"].layers[0].name == "module", "one layer by itself"
    attention = dict(tasks["attention"].layout.roles)
    assert attention["embedding.weight"] == "embedding" and attention["output.weight"] == "output"
    assert attention["block.self_attn.in_proj_weight"] == attention["block.linear2.weight"] == "hidden"
    assert attention["block.norm1.weight"] == attention["output.bias"] == "vector"
    assert dict(tasks["convolutional"].layout.roles)["1.weight"] == "hidden"
    assert len(tasks["tied"].layout.shapes) == 2, "one matrix, counted once"


# ---------------------------------------------------------------- what is refused


class Counting(nn.Module):
    """Gives something else from a certain call on."""

    def __init__(self, patience: int = 0) -> None:
        super().__init__()
        self.layer, self.calls, self.patience = nn.Linear(16, 5), 0, patience

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) * max(1, self.calls - self.patience)


class Changed(nn.Module):
    """A layer whose result goes through a function of the test's."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(16, 5), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.layer(x))


class Layered(nn.Module):
    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embedding, self.layer, self.output = nn.Embedding(9, 4), layer(4, 5), nn.Linear(5, 9)

    def forward(self, text: Tensor) -> Tensor:
        letters = self.embedding(text)
        if isinstance(self.layer, nn.RNNCellBase):
            found = self.layer(letters[:, 0])
            return self.output(found[0] if isinstance(found, tuple) else found)
        return self.output(self.layer(letters.transpose(0, 1))[0][-1])


def frozen() -> nn.Module:
    module = dense()
    next(module.parameters()).requires_grad_(False)
    return module


def by_numpy() -> nn.Module:
    module = nn.Linear(16, 5)
    nn.init.constant_(module.weight, np.random.default_rng().normal())
    return module


def with_noise() -> nn.Module:
    module = Changed(lambda out: out)
    module.register_buffer("noise", torch.randn(3))
    return module


def sometimes() -> nn.Module:
    return nn.Linear(16, 5) if float(torch.rand(())) < 0.5 else dense()


ONE, DONE = nn.Linear(16, 5), CASES["dense"]
WORDS = Case(dense, cross_entropy, TEXT, TEXT[:, 0])


def made(make: Any, loss: Any = cross_entropy, x: Tensor = X, y: Tensor = Y) -> Case:
    return Case(make, loss, x, y)


REFUSED = {
    "not a function": (made(ONE), "lambda: nn.Sequential"),
    "the same module": (made(lambda: ONE), "gives the same module each time"),
    "no module": (made(lambda: 3), "gives int, but must give an nn.Module"),
    "raises": (made(lambda: nn.Linear(16, 1 // 0)), "The module cannot be made (ZeroDivisionError"),
    "other layers": (made(sometimes), "gives other layers each time"),
    "NumPy's weights": (made(by_numpy), "draw them from torch's generator"),
    "a buffer of each seed": (made(with_noise), "The buffer noise differs from seed to seed"),
    "no parameters": (made(nn.ReLU, mse_loss, X, X), "has no parameters"),
    "lazy": (made(lambda: nn.LazyLinear(5)), "give its size"),
    "frozen": (made(frozen), "The parameter 0.weight is frozen"),
    "complex": (made(lambda: nn.Linear(16, 5, dtype=torch.complex64)), "The parameter weight is (5, 16) of complex64"),
    "batch norm": (
        made(lambda: nn.Sequential(nn.Linear(16, 5), nn.BatchNorm1d(5))),
        "The layer BatchNorm1d changes its buffer 1.running_mean in training, which a row of a table cannot: use nn.G",
    ),
    "spectral norm": (
        made(lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(16, 5))), "use a layer that keeps nothing",
    ),
    "counts": (made(Counting), "must remember nothing"),
    "counts far": (made(lambda: Counting(6)), "All rows at once give another loss or gradient than the module in a"),
    "dropout": (made(lambda: nn.Sequential(nn.Linear(16, 5), nn.Dropout(0.2))), "(Dropout), so that no step could be"),
    "noise": (made(lambda: Changed(lambda out: out + torch.rand(()))), "draws at random in its forward pass, so"),
    "inputs do not fit": (made(lambda: nn.Linear(15, 5)), "does not take inputs of (8, 16) of float32 (Runt"),
    "two outputs": (made(lambda: Changed(lambda out: (out, out))), "gives tuple, but must give one tensor"),
    "labels are real": (made(dense, y=Y.double()), "class labels must be whole numbers, y.long()"),
    "too few outputs": (made(lambda: nn.Linear(16, 2)), "with 2 outputs the classes are 0 to 1"),
    "a rare class too much": (
        made(dense, y=torch.cat([Y[:30].clamp(max=4), torch.tensor([6]), Y[31:]])), "give it 7 outputs",
    ),
    "shapes do not fit": (made(dense, mse_loss, y=NUMBERS), "make the shapes and types such as the loss wants them"),
    "each with each": (made(lambda: nn.Linear(16, 1), mse_loss, y=NUMBERS[:, 0]), "y.reshape(-1, 1)"),
    "a loss an example": (made(dense, nn.CrossEntropyLoss(reduction="none")), "The loss of a batch is (8,)"),
    "a loss that is no tensor": (made(dense, lambda out, y: 3.0), "The loss of a batch is float"),
    "a sum": (made(dense, nn.CrossEntropyLoss(reduction="sum")), "reduction='mean'"),
    "NaN": (made(lambda: Changed(lambda out: (-out.abs() - 1).log())), "The module's output is not finite before"),
    "loss NaN": (made(dense, lambda out, y: (out.sum() * 0).log()), "The loss is not finite before the first step"),
    "gradient NaN": (made(dense, lambda out, y: (out.mean() * 0).sqrt()), "The gradient is not finite"),
    "cut off": (made(lambda: Changed(lambda out: out.detach())), "does not depend on the weights"),
    "accuracy": (made(dense, lambda out, y: (out.argmax(1) != y).float().mean()), "does not depend on the weights"),
    "an if": (made(lambda: Changed(lambda out: out if out.mean() > 0 else -out)), "use torch.where"),
    "an item": (made(lambda: Changed(lambda out: out * out.max().item())), "use torch.where"),
    "LSTM": (WORDS._replace(make=lambda: Layered(nn.LSTM)), "write their step with nn.Linear"),
    "GRU": (WORDS._replace(make=lambda: Layered(nn.GRU)), "write their step with nn.Linear"),
    "RNN": (WORDS._replace(make=lambda: Layered(nn.RNN)), "write their step with nn.Linear"),
    "LSTMCell": (WORDS._replace(make=lambda: Layered(nn.LSTMCell)), "write their step with nn.Linear"),
    "float32 only": (made(lambda: Changed(lambda out: out @ torch.eye(5))), "works in float32 only"),
    "detached in part": (made(lambda: Changed(lambda out: out - out.detach() / 2)), "The gradient is wrong"),
    "rounded": (made(dense, lambda out, y: cross_entropy(out + (out.round() - out).detach(), y)), "gradient is wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_task_is_refused_in_one_sentence(name: str) -> None:
    case, words = REFUSED[name]
    with pytest.raises(ValueError) as refused:
        task_of(case)
    sentence = str(refused.value)
    assert words in sentence
    assert sentence[0].isupper() or sentence.startswith(("from_module", "torch.func"))
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 420


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": X}, "train must be a pair (inputs, targets), not Tensor"),
        ({"train": (X, Y[:50])}, "train has 60 inputs and 50 targets"),
        ({"train": (X[:0], Y[:0])}, "The inputs of train must be finite real numbers"),
        ({"train": (X, Y[0])}, "The targets of train must be finite real numbers, one entry an example"),
        ({"train": (X / 0, Y)}, "The inputs of train must be finite"),
        ({"train": (np.array([["a"] * 16] * 60), Y)}, "The inputs of train are no table of numbers (TypeError"),
        ({"train": ([[1.0], [1.0, 2.0]], Y)}, "The inputs of train are no table of numbers (ValueError"),
        ({"validation": (X[:, :9], Y)}, "The inputs of validation are (60, 9) of float32, those of train (40, 16)"),
        ({"test": (X, Y.float())}, "The targets of test are (60,) of float32, those of train (40,) of int64"),
    ],
)
def test_data_that_do_not_fit_are_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:
        task_of(CASES["dense"], **parts)
    assert words in str(refused.value) and str(refused.value).endswith(".")


@pytest.mark.parametrize("name", ["batch norm", "LSTM", "rounded", "an if"])
def test_nothing_of_what_was_refused_is_kept(name: str) -> None:
    """Neither the module nor its data."""
    case, kept = REFUSED[name][0], weakref.WeakSet[Any]()

    def make() -> nn.Module:
        module = case.make()
        kept.add(module)
        return module

    with pytest.raises(ValueError):
        task_of(case._replace(make=make))
    gc.collect()
    assert len(kept) == 0


def test_operations_without_a_rule_of_their_own_run_row_by_row() -> None:
    """torch says so; the numbers are right, which is checked when the task is made."""

    def make() -> nn.Module:
        return nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 5))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        task = from_module(make, cross_entropy, (TEXT, Y))
    assert any("performance drop" in str(each.message) for each in said)
    assert dict(task.layout.roles)["0.weight"] == "embedding"


def test_a_first_guess_of_zeros_is_no_kink() -> None:
    """ReLUs exactly at 0: autograd takes one side and differences the middle, which is nobody's fault."""

    def make() -> nn.Module:
        first = nn.Linear(16, 8)
        nn.init.zeros_(first.weight)
        nn.init.zeros_(first.bias)
        return nn.Sequential(first, nn.ReLU(), nn.Linear(8, 5))

    assert task_of(CASES["dense"]._replace(make=make)).layout.width == 181
