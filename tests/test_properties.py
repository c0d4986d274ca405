"""What must hold for every race: how it is cut, ordered, written or accompanied does not change what happens.

Races are drawn from the registries. The same examples are drawn at every run, so that a failure repeats.
"""

import math
import pickle
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import core
import core.plan
from core import (
    RULES,
    Config,
    Edit,
    History,
    Racer,
    Recording,
    State,
    advance,
    edit,
    from_function,
    race,
    racer,
    run,
    start,
)
from core.edits import EDITS
from core.optimizers.base import Context, Named, Update
from tests.strategies import configs, fitting

ROOT = Path(__file__).resolve().parent.parent
RECORDING = Recording(evaluations=5, probes=7)
EVERY_STEP = replace(RECORDING, probes=10**6)  # of a race with spikes more steps are probed than of one without
some = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
many = settings(some, max_examples=150)

small_configs = configs(small=True)
WITHOUT_CLASSES = [name for name, rule in RULES.items() if not rule.draws_labels]
dtypes = st.sampled_from([torch.float32, torch.float64])


def parts(found: History | State) -> dict[str, Any]:
    """Every array and tensor in it, by name."""

    def flat(name: str, value: Any) -> Iterable[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, entry in value.items():
                yield from flat(f"{name}.{key}", entry)
        else:
            yield name, np.asarray(value)

    return {
        key: entry
        for field in fields(found)
        if field.name != "config"
        for key, entry in flat(field.name, getattr(found, field.name))
    }


def assert_same_bits(
    a: History | State, b: History | State, columns: tuple[Sequence[int], Sequence[int]] | None = None
) -> None:
    """All of it equal, NaN where NaN; `columns`: these racers of a against those of b."""
    left, right = parts(a), parts(b)
    assert left.keys() == right.keys()
    for name, value in left.items():
        other = right[name]
        if columns and value.size and not name.endswith("_at"):
            axis = -1 if name == "texts" else -2 if value.ndim > 1 else 0
            value, other = value.take(columns[0], axis), other.take(columns[1], axis)
        assert np.array_equal(value, other, equal_nan=value.dtype.kind == "f"), name


def trained(
    config: Config, dtype: torch.dtype = torch.float32, slices: Sequence[int] = (), recording: Recording = RECORDING
) -> tuple[History, State]:
    """The race in slices (all at once by default), and its end."""
    state, records = start(config, dtype), []
    for count in slices or (config.steps,):
        state, record = advance(config, state, count, recording)
        records.append(record)
    return History.of(config, records), state


@st.composite
def cuts(draw: st.DrawFn, steps: int) -> list[int]:
    """Slices that add up to a race, empty ones and one beyond the end among them."""
    ends = [*sorted(draw(st.lists(st.integers(0, steps), max_size=5))), steps + draw(st.integers(0, 3))]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


@some
@given(data=st.data(), config=small_configs, dtype=dtypes)
def test_slicing_changes_no_bit(data: st.DataObject, config: Config, dtype: torch.dtype) -> None:
    """Cut anyhow, the state pickled between the slices."""
    whole, end = trained(config, dtype)
    state, records = start(config, dtype), []
    for count in data.draw(cuts(config.steps)):
        state, record = advance(config, pickle.loads(pickle.dumps(state)), count, RECORDING)
        records.append(record)
    assert_same_bits(History.of(config, records), whole)
    assert_same_bits(state, end)


def test_another_process_continues_with_the_same_bits(tmp_path: Path) -> None:
    """The state is pickled after a third of a race of all rules, and another interpreter finishes it."""
    contenders = [racer(rule, schedule=("step", {"every": 7})) for rule in RULES]
    config = race("digits", contenders, steps=30, seeds=2, batch=1077, edits=[edit(25, 1, "reset", what="all")])
    whole, end = trained(config)
    state, first = advance(config, start(config), 10, RECORDING)
    (tmp_path / "before").write_bytes(pickle.dumps((config.to_json(), state, RECORDING)))
    script = (
        "import pickle, sys, torch; from pathlib import Path; from core import Config, advance\n"
        "torch.set_num_threads(1); folder = Path(sys.argv[1])\n"
        "text, state, recording = pickle.loads((folder / 'before').read_bytes())\n"
        "(folder / 'after').write_bytes(pickle.dumps(advance(Config.from_json(text), state, 20, recording)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    state, rest = pickle.loads((tmp_path / "after").read_bytes())
    assert_same_bits(History.of(config, [first, rest]), whole)
    assert_same_bits(state, end)


@some
@given(data=st.data(), config=small_configs, dtype=dtypes)
def test_a_diverged_neighbour_changes_no_bit(data: st.DataObject, config: Config, dtype: torch.dtype) -> None:
    """Any rule whose steps turn to NaN, put anywhere among the others, leaves no trace in them."""
    at = data.draw(st.integers(0, len(config.racers)))
    rule = RULES[data.draw(st.sampled_from(fitting(config.build_task(), config.batch)))]

    def spoilt(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        update, slots, trace = rule.update(ctx, s, age, h)
        # From the second step on, so that its memories are not fresh any more.
        return (update * math.nan, slots, trace) if ctx.step else (update, slots, trace)

    others = [index for index in range(len(config.racers) + 1) if index != at]
    edits = tuple(replace(e, racer=others[e.racer]) for e in config.edits)
    config = replace(config, steps=config.steps + 5)
    with mock.patch.dict(RULES, {"spoilt": replace(rule, name="spoilt", update=spoilt)}):
        racers = (*config.racers[:at], racer("spoilt", lr=0.01), *config.racers[at:])
        beside = replace(config, racers=racers, edits=edits)
        alone, found = trained(config, dtype)[0], trained(beside, dtype)[0]
    assert (found.stopped[at] == 2).all()
    # The loss without averaging is recorded for all where some rule averages.
    found = replace(found, evals={name: found.evals[name] for name in alone.evals})
    assert_same_bits(alone, found, (range(len(config.racers)), others))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_rows_changes_no_bit(dtype: torch.dtype) -> None:
    """One run of each rule alone and among 40 of its kind, on a network whose rows are aligned differently.

    Two routines once told them apart: torch's power of 32 and more numbers (from step 46 on), and MKL's products.
    """
    for rule in RULES:
        rates = [racer(rule, lr=0.003 + 0.0001 * (i % 7)) for i in range(40)]
        batch = 1077 if RULES[rule].full_batch else 6
        alone = run(race(("digits", {"width": 5}), rates[:1], steps=60, batch=batch), dtype, recording=RECORDING)
        among = run(race(("digits", {"width": 5}), rates, steps=60, batch=batch), dtype, recording=RECORDING)
        for place in (0, 7, 14, 21, 35):
            assert_same_bits(alone, among, ([0], [place]))


@some
@given(data=st.data(), config=small_configs)
def test_order_of_racers_does_not_matter(data: st.DataObject, config: Config) -> None:
    """The same racers in another order have the same past, beyond rounding."""
    order = data.draw(st.permutations(range(len(config.racers))))
    edits = tuple(replace(e, racer=order.index(e.racer)) for e in config.edits)
    shuffled = replace(config, racers=tuple(config.racers[index] for index in order), edits=edits)
    one, other = trained(config, torch.float64)[0], trained(shuffled, torch.float64)[0]
    assert np.array_equal(one.stopped[order], other.stopped)
    assert one.loss[:, order] == pytest.approx(other.loss, rel=1e-9, abs=1e-12, nan_ok=True)


def no_change(index: int, contender: Racer, step: int, numeric: bool) -> list[Edit]:
    """Edits that leave everything as it is."""
    unscheduled = [hyper.name for hyper in contender.spec.hypers]
    same = [edit(step, index, "set", setting=name, value=float(contender.get(name))) for name in unscheduled]
    return [
        *same,
        edit(step, index, "scale_gradient", factor=1.0),
        *([edit(step, index, "unscale", factor=1.0)] if numeric else []),
        edit(0, index, "reset", what="all"),
        edit(0, index, "reinitialise", draw=0),
    ]


@some
@given(data=st.data(), config=configs(small=True, edited=False), dtype=dtypes)
def test_an_edit_that_changes_nothing_changes_no_bit(data: st.DataObject, config: Config, dtype: torch.dtype) -> None:
    """The gradient or the inputs times 1, a setting set to its own value, a reset and a reinitialisation before the
    first step. Only what is followed of such a step's gradient is another matter.
    """
    numeric = config.build_task().numeric
    edits = [
        entry
        for index, contender in enumerate(config.racers)
        for entry in no_change(index, contender, data.draw(st.integers(0, config.steps - 1)), numeric)
    ]
    never = {"mislabel"} if numeric else {"mislabel", "unscale"}
    assert {entry.what.name for entry in edits} == set(EDITS) - never, "say here how a new edit changes nothing"
    chosen = data.draw(st.lists(st.sampled_from(edits), max_size=6))
    (plain, end), (edited, edited_end) = (
        trained(replace(config, edits=made), dtype, recording=EVERY_STEP) for made in ((), tuple(chosen))
    )
    followed = {name: plain.probes[name] for name in plain.probes if name.startswith("carried")}
    assert_same_bits(plain, replace(edited, probes=edited.probes | followed))
    assert_same_bits(end, replace(edited_end, carried={}))


@some
@given(data=st.data(), config=small_configs, dtype=dtypes)
def test_a_fork_shares_its_trunk_to_the_bit(data: st.DataObject, config: Config, dtype: torch.dtype) -> None:
    """The state of a race without edits, continued with them, is where the race with them arrives by itself."""
    first = min((entry.step for entry in config.edits), default=0)
    at = data.draw(st.integers(0, first))
    trunk, record = advance(replace(config, edits=()), start(config, dtype), at, RECORDING)
    end, rest = advance(config, trunk, config.steps, RECORDING)
    whole, whole_end = trained(config, dtype)
    assert_same_bits(end, whole_end)
    assert_same_bits(History.of(config, [record, rest]), whole)


@many
@given(config=configs())
def test_a_race_survives_being_written(config: Config) -> None:
    """To JSON and back: the same race, the same text, the same key."""
    text = config.to_json()
    back = Config.from_json(text)
    assert back == config
    assert hash(back) == hash(config)
    assert back.to_json() == text
    assert back.key() == config.key()


@some
@given(first=small_configs, second=small_configs, dtype=dtypes)
def test_the_same_race_gives_the_same_bits(first: Config, second: Config, dtype: torch.dtype) -> None:
    """Whatever ran in between, and whatever the global random state is."""
    one = trained(first, dtype)[0]
    trained(second, dtype)
    torch.rand(3)
    assert_same_bits(trained(first, dtype)[0], one)


def test_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense race of all rules in chunks of any size: rows of one rule fall into several chunks."""
    contenders = [racer(rule, lr=lr, reset=core.Reset("v", 5)) for rule in RULES for lr in (0.003, 0.01)]
    config = race(("digits", {"width": 8}), contenders, steps=12, batch=1077, seeds=3)
    found = []
    for rows in (64, 1, 5, 16):
        monkeypatch.setattr(core.plan, "chunk_rows", lambda task, batch, rows=rows: rows)
        found.append(trained(config))
    for history, state in found[1:]:
        assert_same_bits(history, found[0][0])
        assert_same_bits(state, found[0][1])


@some
@given(data=st.data(), config=small_configs)
def test_advance_leaves_its_input_alone(data: st.DataObject, config: Config) -> None:
    """Two advances from one state, as two forks make them, do not meet."""
    state, _ = advance(config, start(config), data.draw(st.integers(0, config.steps)), RECORDING)
    kept = pickle.loads(pickle.dumps(state))
    once = advance(config, state, config.steps)[0]
    assert_same_bits(state, kept)
    assert_same_bits(advance(config, state, config.steps)[0], once)


@some
@given(start_at=st.lists(st.floats(-2, 2), min_size=1, max_size=4), rule=st.sampled_from(WITHOUT_CLASSES))
def test_a_function_of_ones_own_slices_like_any_task(start_at: list[float], rule: str) -> None:
    config = race(from_function(lambda x, step: (x**2 + step * x).sum(1), start_at), [racer(rule, lr=0.1)] * 2, steps=9)
    assert_same_bits(trained(config)[0], trained(config, slices=(2, 0, 3, 4))[0])
