"""A config laid out as a table: how its rows are cut into chunks, and what is kept of it."""

import gc
import weakref

import numpy as np
import pytest
import torch

import core.plan
from core import TASKS, advance, from_function, race, racer, start
from core.plan import chunk_rows, plan_of
from core.tasks import build
from tests.strategies import SMALL


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 17, 64, 65, 130])
@pytest.mark.parametrize("task", ["moons", "words"])
def test_chunks_hold_every_row_once_and_are_about_alike(task: str, rows: int) -> None:
    config = race(task, [racer("sgd")], seeds=rows, batch=8)
    plan = plan_of(config)
    assert [row for chunk in plan.chunks for row in range(rows)[chunk]] == list(range(rows))
    sizes = [chunk.stop - chunk.start for chunk in plan.chunks]
    assert max(sizes) <= chunk_rows(plan.task, 8)
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-rows // chunk_rows(plan.task, 8))


def test_a_larger_task_and_a_larger_batch_have_smaller_chunks() -> None:
    """1.5 MB of weights and activations, within 8 and 64 rows; a function has no activations."""
    digits = race("digits", [racer("sgd")]).build_task()
    assert [chunk_rows(digits, batch) for batch in (1, 32, 256, 1077)] == [64, 64, 13, 8]
    assert chunk_rows(race("words", [racer("sgd")]).build_task(), 64) == 8
    assert chunk_rows(from_function(lambda x, step: x.sum(1), [1.0]), 1_000_000) == 64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["words", "letters"])
def test_rows_of_a_text_train_alike_in_chunks_of_any_size(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, with sizes that are no whole number of vectors."""
    sizes = {hyper.name: SMALL[hyper.name] - 1 for hyper in TASKS[name].hypers}
    config = race((name, sizes), [racer("adam", lr=0.01), racer("sgd", lr=1.0)], steps=9, batch=7, seeds=5)
    ends = []
    for rows in (64, 2, 3, 7):
        monkeypatch.setattr(core.plan, "chunk_rows", lambda task, batch, rows=rows: rows)
        state, records = advance(config, start(config, dtype), 9)
        ends.append([state.params.numpy(), records.loss, *records.evals.values()])
    for end in ends[1:]:
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(end, ends[0], strict=True))


def test_a_task_of_ones_own_goes_when_nobody_has_it_any_more() -> None:
    """After a race on it: what is kept of races is kept without their tasks."""
    task = from_function(lambda x, step: (x**2).sum(1), [1.0, 2.0])
    gone = weakref.ref(task)
    config = race(task, [racer("sgd", lr=0.1)], steps=3)
    advance(config, start(config), 3)
    del task, config
    gc.collect()
    assert gone() is None


def test_what_a_named_race_needs_is_laid_out_once() -> None:
    config = race("moons", [racer("sgd"), racer("adam")], seeds=3)
    assert plan_of(config).rule_rows is plan_of(config).rule_rows
    assert plan_of(config).task is build("moons", config.task.settings)  # type: ignore[union-attr]
