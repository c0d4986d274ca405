"""Schedules: values in closed form, any setting, edits on top, and where the decays are."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import SCHEDULES, advance, edit, from_function, race, racer, start
from core.config import Config
from tests.strategies import configs, table_rows

STEADY = settings(deadline=None, derandomize=True, max_examples=60)


def end_of(config: Config) -> list[float]:
    """The only weight of each racer after the race, in float64."""
    return advance(config, start(config, torch.float64), config.steps)[0].params.flatten().tolist()


@pytest.mark.parametrize("curvature", [0.5, 3.0])
def test_descent_on_a_bowl_is_the_product_over_the_scheduled_rates(curvature: float) -> None:
    """f = lambda x^2 / 2: x_T = x_0 prod(1 - lr_t lambda), so decay compensates where the problem is convex."""
    schedules: list[tuple[str, dict[str, object]]] = [
        ("step", {"factor": 0.3, "every": 4}),
        ("constant", {}),
        ("tabulated", {"values": [0.4, 0.1, 0.02]}),
    ]
    rates = [[0.2 * 0.3 ** (t // 4) for t in range(11)], [0.2] * 11, [0.4, 0.1] + [0.02] * 9]
    task = from_function(lambda x, step: curvature * x[:, 0] ** 2 / 2, [1.0])
    found = end_of(race(task, [racer("sgd", lr=0.2, schedule=schedule) for schedule in schedules], steps=11))
    assert found == pytest.approx([math.prod(1 - rate * curvature for rate in run) for run in rates], rel=1e-12)


def test_any_setting_may_be_scheduled() -> None:
    """Momentum that is halved every 3 steps and clipping that starts late, each in one racer, by hand."""
    slope = 2.0
    task = from_function(lambda x, step: slope * x[:, 0], [0.0])
    contenders = [
        racer("momentum", lr=0.1, momentum=0.8, schedules={"momentum": ("step", {"factor": 0.5, "every": 3})}),
        racer("momentum", lr=0.1, momentum=0.8),
        racer("sgd", lr=0.1, schedules={"clip": ("tabulated", {"values": [0, 0, 0.5]})}),
    ]
    config = race(task, contenders, steps=7)
    state, _ = advance(config, start(config, torch.float64), 7)
    halved, steady, clipped = state.params[table_rows(config)].flatten().tolist()
    expected, velocity = [0.0, 0.0], [0.0, 0.0]
    for t in range(7):
        for i, mu in enumerate((0.8 * 0.5 ** (t // 3), 0.8)):
            velocity[i] = mu * velocity[i] + slope
            expected[i] -= 0.1 * velocity[i]
    assert [halved, steady] == pytest.approx(expected, rel=1e-12)
    assert clipped == pytest.approx(-0.1 * (2 * slope + 5 * 0.5), rel=1e-6)


def test_an_edit_changes_the_base_from_its_step_on_and_the_schedule_acts_on_it() -> None:
    config = race(
        "moons",
        [racer("sgd", lr=0.8, schedule=("step", {"factor": 0.5, "every": 4})), racer("sgd", lr=0.8)],
        steps=10, edits=[edit(6, 0, "set", setting="lr", value=0.08), edit(8, 0, "set", setting="lr", value=4.0)],
    )  # fmt: skip
    expected = [0.8] * 4 + [0.4] * 2 + [0.04] * 2 + [4 * 0.25] * 2
    assert config.values(0, "lr", 0, 10) == pytest.approx(expected)
    assert config.values(1, "lr", 0, 10) == pytest.approx([0.8] * 10)
    assert config.changing() == {"lr"}


def test_a_value_that_is_set_is_the_one_the_rule_uses() -> None:
    """SGD on a slope of 1 moves by the sum of its rates."""
    task = from_function(lambda x, step: x[:, 0], [0.0])
    contenders = [racer("sgd", lr=0.5), racer("sgd", lr=0.5)]
    config = race(task, contenders, steps=6, edits=[edit(4, 1, "set", setting="lr", value=0.01)])
    assert end_of(config) == pytest.approx([-3.0, -2.02], rel=1e-12)


@STEADY
@given(config=configs(small=True), first=st.integers(0, 11), count=st.integers(1, 20))
def test_values_do_not_depend_on_where_they_are_asked_from(config: Config, first: int, count: int) -> None:
    """A slice of the values is the values of the slice: a run cut into slices sees the same schedule."""
    for index, contender in enumerate(config.racers):
        for setting, _ in contender.settings:
            whole = config.values(index, setting, 0, first + count)
            assert np.array_equal(config.values(index, setting, first, count), whole[first:])


@STEADY
@given(data=st.data())
@pytest.mark.parametrize("name", [name for name, entry in SCHEDULES.items() if not entry.table])
def test_decays_are_where_the_rate_is_cut(name: str, data: st.DataObject) -> None:
    """For every schedule of the registry: at each decay the value is lower than before it, and all are in the race."""
    entry = SCHEDULES[name]
    chosen = {
        hyper.name: data.draw(st.integers(1, 80) if type(hyper.default) is int else st.floats(hyper.low, hyper.high))
        for hyper in entry.hypers
    }
    total = data.draw(st.integers(1, 200))
    contender = racer("sgd", lr=1.0, schedule=(name, chosen))
    values = race("moons", [contender], steps=total).values(0, "lr", 0, total)
    decays = contender.decays(total)
    assert all(0 < step < total and values[step] < values[step - 1] for step in decays)
    if name == "step":
        assert decays == tuple(np.flatnonzero(np.diff(values) < 0) + 1)


def test_a_constant_schedule_is_none() -> None:
    """So that one race has one text, and one key."""
    assert racer("sgd", schedule="constant") == racer("sgd")
