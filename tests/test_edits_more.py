"""Edits that spoil a batch, one layer's gradient or a count: what they do, to whom, and where they cannot be."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core import RULES, TASKS, Config, advance, edit, from_module, race, racer, start
from core.tasks import Task
from tests.strategies import SMALL, table_rows

SEEDS = (0, 3)
NAMED = {
    kind.name: race(
        (kind.name, {h.name: SMALL[h.name] for h in kind.hypers if h.name in SMALL}), [racer("sgd")], batch=4
    ).build_task()
    for kind in TASKS.values()
}
WITH_LABELS = [name for name, task in NAMED.items() if task.mislabels]
WITH_NUMBERS = [name for name, task in NAMED.items() if task.numeric]
LIKE = torch.empty(0, dtype=torch.float64)


def classes_of(task: Task, y: Tensor) -> Tensor | None:
    """The labels of a batch as whole numbers; None where they are numbers to be met."""
    if not y.is_floating_point():
        return y
    return y.argmax(1) if task.accuracy else None


@pytest.mark.parametrize("name", WITH_LABELS)
def test_every_label_is_wrong_and_a_possible_one(name: str) -> None:
    """Another class, word or letter, and all of them in the end; numbers with the other sign; inputs as they were."""
    task, drawn = NAMED[name], set()
    for step in range(3):
        batch = task.batch(SEEDS, step, 16, LIKE)
        wrong = task.mislabelled(batch, SEEDS)
        (x, y), (same, other) = batch.tensors, wrong.tensors
        assert torch.equal(x, same)
        assert other.shape == y.shape
        assert other.dtype == y.dtype
        labels, new = classes_of(task, y), classes_of(task, other)
        if labels is None or new is None:
            assert torch.equal(other, -y)
            continue
        assert (labels != new).all()
        if y.is_floating_point():
            assert torch.equal(other.sum(1), torch.ones_like(other.sum(1)))
        drawn |= set(new.flatten().tolist())
        assert torch.equal(other, task.mislabelled(batch, SEEDS).tensors[1]), "the same for the same seed and step"
    assert not drawn or (min(drawn) >= 0 and len(drawn) > 1)


def test_wrong_labels_differ_between_seeds_and_steps() -> None:
    task = NAMED["digits"]
    batches = [task.batch(SEEDS, step, 64, LIKE) for step in (0, 1)]
    off = [
        (task.mislabelled(b, SEEDS).tensors[1].argmax(1) - b.tensors[1].argmax(1)) % 10 for b in batches
    ]  # fmt: skip
    assert not torch.equal(off[0][0], off[0][1])
    assert not torch.equal(off[0], off[1])
    assert set(off[0].flatten().tolist()) == set(range(1, 10))


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_inputs_out_of_scale(name: str) -> None:
    """Each row's inputs times its own factor, its targets as they were."""
    task = NAMED[name]
    batch = task.batch(SEEDS, 0, 8, LIKE)
    x, y = task.unscaled(batch, torch.tensor([1.0, 16.0], dtype=torch.float64)).tensors
    assert torch.equal(x[0], batch.tensors[0][0])
    assert torch.equal(x[1], 16 * batch.tensors[0][1])
    assert torch.equal(y, batch.tensors[1])


@pytest.mark.parametrize("name", ["digits", "diabetes", "autoencoder", "cnn", "words", "lstm", "gru"])
def test_a_bad_batch_is_its_racers_alone(name: str) -> None:
    """The racer beside it, of the same rule and chunk, is what it would be without; its own rows are not."""
    task = (name, {h.name: SMALL[h.name] for h in TASKS[name].hypers if h.name in SMALL})
    racers = [racer("adam", lr=0.01), racer("adam", lr=0.01)]
    edits = [edit(1, 1, "mislabel")] + ([edit(2, 1, "unscale", factor=8.0)] if NAMED[name].numeric else [])
    plain = race(task, racers, steps=4, batch=4, seeds=2)
    spoilt = race(task, racers, steps=4, batch=4, seeds=2, edits=edits)
    (end, records), (other, found) = (advance(c, start(c), 4) for c in (plain, spoilt))
    assert torch.equal(end.params[:2], other.params[:2])
    assert (end.params[2:] != other.params[2:]).any(1).all()
    assert np.array_equal(records.loss[:1], found.loss[:1])
    assert (records.loss[1, 2:] != found.loss[1, 2:]).all(), "the loss that is recorded is that of the bad batch"
    assert np.array_equal(records.loss[:, :2], found.loss[:, :2])


def test_a_bad_batch_is_the_gradient_of_that_batch() -> None:
    """SGD's step is the task's own gradient on the batch with wrong labels and inputs out of scale."""
    config = race(
        "digits", [racer("sgd", lr=0.5)], steps=2,
        edits=[edit(1, 0, "mislabel"), edit(1, 0, "mislabel"), edit(1, 0, "unscale", factor=3.0)],
    )  # fmt: skip
    task = config.build_task()
    before, _ = advance(config, start(config, torch.float64), 1)
    after, _ = advance(config, before, 1)
    batch = task.mislabelled(task.batch((0,), 1, 32, LIKE), (0,))
    x, y = batch.tensors
    batch = type(batch)(1, (3 * x, y))
    assert before.params - after.params == pytest.approx(0.5 * task.loss_and_grad(before.params, batch)[1], abs=1e-12)


def test_a_module_of_ones_own_has_bad_batches_too() -> None:
    """Classes become other classes, numbers change their sign, tokens are no numbers that could be out of scale."""
    torch.manual_seed(0)
    x, labels, numbers = torch.randn(40, 3), torch.arange(40) % 4, torch.randn(40, 2)
    told = from_module(lambda: nn.Linear(3, 4), nn.CrossEntropyLoss(), (x, labels))
    fitted = from_module(lambda: nn.Linear(3, 2), nn.MSELoss(), (x, numbers))
    read = from_module(
        lambda: nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4)), nn.CrossEntropyLoss(),
        (torch.arange(40) % 5, labels),
    )  # fmt: skip
    assert [task.numeric for task in (told, fitted, read)] == [True, True, False]
    for task in (told, fitted, read):
        batch = task.batch(SEEDS, 0, 6, LIKE)
        wrong = task.mislabelled(batch, SEEDS).tensors[1]
        assert (wrong != batch.tensors[1]).all()
        edits = [edit(1, 0, "mislabel")] + ([edit(2, 0, "unscale", factor=9.0)] if task.numeric else [])
        config = race(task, [racer("adam")], steps=4, batch=6, edits=edits)
        assert np.isfinite(advance(config, start(config), 4)[1].loss).all()
    assert torch.equal(fitted.mislabelled(fitted.batch(SEEDS, 0, 6, LIKE), SEEDS).tensors[1],
                       -fitted.batch(SEEDS, 0, 6, LIKE).tensors[1])  # fmt: skip
    assert int(told.mislabelled(told.batch(SEEDS, 0, 40, LIKE), SEEDS).tensors[1].max()) <= 3


def test_a_spike_in_one_layer_is_in_that_layer_alone() -> None:
    """SGD's step, tensor by tensor; a spike of all on top of it multiplies."""
    for layer in ("W1", "b2"):
        edits = [edit(0, 1, "scale_gradient", factor=10.0, layer=layer), edit(0, 1, "scale_gradient", factor=2.0)]
        config = race("digits", [racer("sgd"), racer("sgd")], steps=1, edits=edits)
        end, _ = advance(config, start(config, torch.float64), 1)
        layout = config.build_task().layout
        steps = layout.views(end.params - end.first_guess)
        for name, step in steps.items():
            assert step[1] == pytest.approx((20 if name == layer else 2) * step[0], rel=1e-6, abs=1e-15)


def test_a_spike_is_clipped_like_any_gradient() -> None:
    """A factor of 1,000 under a clip of 0.1 makes a step of 0.1 lr."""
    config = race(
        "digits", [racer("sgd", lr=1.0, clip=0.1)], steps=1, edits=[edit(0, 0, "scale_gradient", factor=1000.0)]
    )
    end, _ = advance(config, start(config, torch.float64), 1)
    assert float((end.params - end.first_guess).norm()) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("factor", [0.0, -1.0, 1e30])
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "amsgrad", "adafactor", "lion"])
def test_any_finite_factor_is_a_spike(rule: str, factor: float) -> None:
    """No gradient, one the wrong way, one beyond single precision when squared: a race that goes on or says it stopped,
    beside a twin that is what it would be alone.
    """
    contenders = [racer(rule), racer(rule)]
    config = race("digits", contenders, steps=8, edits=[edit(3, 0, "scale_gradient", factor=factor)])
    state, records = advance(config, start(config), 8)
    alone, _ = advance(race("digits", contenders, steps=8), start(config), 8)
    rows = table_rows(config)[:, 0]
    assert torch.equal(state.params[rows[1]], alone.params[rows[1]])
    assert torch.isfinite(state.params).all()
    assert np.isfinite(records.loss[:, 0]).all() or records.stopped[0] >= 0


# ---------------------------------------------------------------- a reset and its count


@pytest.mark.parametrize("rule", ["adam", "nadam", "adan", "momentum"])
def test_what_a_reset_does_to_each_age(rule: str) -> None:
    """ "own": what is cleared counts from 0 again. "kept": it does not. "count": all count anew, nothing is cleared."""
    kinds: tuple[Mapping[str, Any], ...] = (
        {"what": "m"}, {"what": "m", "count": "kept"}, {"what": "all", "count": "kept"}, {"what": "count"},
    )  # fmt: skip
    edits = [edit(5, i, "reset", **kind) for i, kind in enumerate(kinds)]
    config = race("digits", [racer(rule)] * (len(kinds) + 1), steps=6, edits=edits)
    state, _ = advance(config, start(config), 6)
    layout = config.build_task().layout
    for slot in RULES[rule].slots_for(layout):
        ages, values = state.ages[rule][slot.name].flatten().tolist(), state.slots[rule][slot.name]
        assert ages == [1 if slot.moment == 1 else 6, 6, 6, 1, 6]
        if slot.counts:
            assert torch.equal(values[1], values[4])
            assert torch.equal(values[2], values[4])
            assert torch.equal(values[0], values[3])
            assert not torch.equal(values[0], values[4])
        elif slot.moment == 1 and slot.name != "last":
            assert torch.equal(values[3], values[4]) or rule == "adan"
            assert not torch.equal(values[0], values[4])


# ---------------------------------------------------------------- where they cannot be


@pytest.mark.parametrize(
    ("task", "what", "settings", "words"),
    [
        ("quadratic", "mislabel", {}, ("no labels",)),
        ("factorisation", "mislabel", {}, ("no labels",)),
        ("quadratic", "unscale", {"factor": 2.0}, ("no inputs that are numbers",)),
        ("words", "unscale", {"factor": 2.0}, ("no inputs that are numbers",)),
        ("lstm", "unscale", {"factor": 2.0}, ("no inputs that are numbers",)),
        ("digits", "scale_gradient", {"factor": 2.0, "layer": "W9"}, ("layer of an edit", "'W9'", "W1, b1, W2, b2")),
        ("digits", "scale_gradient", {"factor": 2.0, "layer": 1}, ("layer", "1", "a word")),
        ("digits", "mislabel", {"share": 1.0}, ("'mislabel'", "no settings", "share")),
        ("digits", "unscale", {"factor": float("nan")}, ("factor", "nan", "finite")),
        ("digits", "reset", {"what": "m", "count": "lost"}, ("count of a reset", "'lost'", "own, kept")),
        ("digits", "reset", {"what": "count", "count": "kept"}, ("does nothing",)),
        ("digits", "reset", {"what": "moments"}, ("'moments'", "m, v, all, count")),
    ],
)
def test_edits_that_cannot_be(task: str, what: str, settings: Mapping[str, Any], words: tuple[str, ...]) -> None:
    """One readable sentence each."""
    with pytest.raises(ValueError, match=r"\.$") as found:
        race(task, [racer("adam")], edits=[edit(0, 0, what, **settings)])
    assert all(word in str(found.value) for word in words), found.value
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("settings", [{"what": "count"}, {"what": "all", "count": "kept"}])
def test_a_guest_keeps_its_count_to_itself(settings: Mapping[str, str]) -> None:
    hosted = replace(RULES["sgd"], name="hosted", label="Hosted", guest=mock.Mock())
    with mock.patch.dict(RULES, {"hosted": hosted}):
        race("digits", [racer("hosted")], edits=[edit(0, 0, "reset", what="all")])
        with pytest.raises(ValueError, match="Hosted counts its steps itself"):
            race("digits", [racer("hosted")], edits=[edit(0, 0, "reset", **settings)])


def test_edits_are_complete_and_written() -> None:
    """Defaults are filled in; through JSON and back, also from a text that leaves them out."""
    edits = [
        edit(1, 0, "scale_gradient", factor=9.0, layer="W1"), edit(1, 0, "mislabel"), edit(2, 0, "unscale", factor=4),
        edit(3, 0, "reset", what="v", count="kept"), edit(4, 0, "reset", what="count"),
    ]  # fmt: skip
    config = race("digits", [racer("adam")], edits=edits)
    assert Config.from_json(config.to_json()) == config
    assert edit(0, 0, "reset", what="m") == edit(0, 0, "reset", what="m", count="own")
    short = config.to_json().replace(',"layer":"W1"', "").replace(',"count":"kept"', "")
    assert Config.from_json(short).edits[0] == edit(1, 0, "scale_gradient", factor=9.0)
    assert Config.from_json(short).edits[3] == edit(3, 0, "reset", what="v")
