"""Schedules: values in closed form, any setting, edits on top, their shapes, where they jump, and how they react."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import SCHEDULES, Recording, Reset, advance, edit, from_function, race, racer, start
from core.config import Config, Racer
from core.schedules import Schedule
from core.state import CUTS, RECORDING, Records, State
from tests.strategies import configs, table_rows, values
from ui.names import schedule_words

STEADY = settings(deadline=None, derandomize=True, max_examples=60)
NAMES = [name for name, entry in SCHEDULES.items() if not entry.table]
FALLING = ("constant", "step", "multistep", "exponential", "polynomial", "cosine", "inverse", "wsd", "plateau")


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


def drawn(data: st.DataObject, name: str) -> dict[str, float | int | bool]:
    """Settings of a schedule and its warm-up."""
    return {hyper.name: data.draw(values(hyper), hyper.name) for hyper in SCHEDULES[name].hypers}


def rates(entry: Schedule, total: int, chosen: dict[str, float | int | bool]) -> np.ndarray:
    return entry.at(np.ones(total), np.arange(total, dtype=float), total, chosen)


@STEADY
@given(data=st.data(), total=st.integers(1, 400))
@pytest.mark.parametrize("name", NAMES)
def test_no_schedule_leaves_the_range_from_nothing_to_the_racers_own(
    name: str, total: int, data: st.DataObject
) -> None:
    """A rate is never above the one on the slider, the first is above 0, and those that only fall do."""
    chosen = drawn(data, name)
    found = rates(SCHEDULES[name], total, chosen)
    assert found.shape == (total,) and np.isfinite(found).all()
    assert found.min() >= 0 and found.max() <= 1 + 1e-12
    assert found[0] > 0 or chosen.get("low_share") == 0
    if name in FALLING:
        assert (np.diff(found[round(float(chosen["warmup"]) * total) :]) <= 1e-12).all()


@STEADY
@given(data=st.data(), thousands=st.integers(1, 3))
@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_steps_keeps_the_shape(name: str, thousands: int, data: st.DataObject) -> None:
    """Each step becomes two in a run of twice the length, one of which has its rate.

    The first (what is counted from 0) or the second (from 1, as a rise is); "step" alone counts steps.
    """
    total = 1000 * thousands
    chosen = {hyper.name: data.draw(st.sampled_from(hyper.stops()), hyper.name) for hyper in SCHEDULES[name].hypers}
    if name not in ("constant", "cosine"):
        chosen["warmup"] = 0.0  # of what it leaves, the shares may be no whole numbers of steps
    short, long = rates(SCHEDULES[name], total, chosen), rates(SCHEDULES[name], 2 * total, chosen)
    same = np.minimum(np.abs(short - long[::2]), np.abs(short - long[1::2])).max() < 1e-12
    assert same or (name == "step" and chosen["every"] < 2 * total)
    if name == "step" and chosen["every"] < total and chosen["factor"] < 0.95:
        assert not same, "it would not have been noticed"


@STEADY
@given(data=st.data(), total=st.integers(1, 200))
@pytest.mark.parametrize("name", NAMES)
def test_decays_are_where_the_rate_jumps(name: str, total: int, data: st.DataObject) -> None:
    """At each decay the rate is lower than before where the entry says that it is cut, higher where it restarts; no
    other step has a jump.
    """
    entry, chosen = SCHEDULES[name], drawn(data, name) | {"warmup": data.draw(st.floats(0, 0.5), "warmup")}
    contender = racer("sgd", lr=1.0, schedule=(name, chosen))
    found, decays = race("moons", [contender], steps=total).values(0, "lr", 0, total), contender.decays(total)
    begin, moves = entry.begin(total, chosen), np.diff(found)
    assert all(begin < step < total for step in decays) and len(set(decays)) == len(decays)
    if entry.event == "is cut":
        assert all(moves[step - 1] < 0 for step in decays)
    else:
        assert entry.event == "restarts" and all(moves[step - 1] > 0 for step in decays)
    if name in ("step", "multistep", "restarts"):
        jumps = moves < 0 if entry.event == "is cut" else moves > 0
        assert decays == tuple(step for step in np.flatnonzero(jumps) + 1 if step > max(begin - 1, 0))
    else:
        assert decays == (), "it moves smoothly"


def test_the_curves_are_the_ones_the_papers_draw() -> None:
    """Some points of each shape, worked out by hand, in a run of 100 steps."""
    points: list[tuple[str, dict[str, object], dict[int, float]]] = [
        ("multistep", {"factor": 0.5, "milestone1": 0.3, "milestone2": 0.3, "milestone3": 0.6},
         {29: 1.0, 30: 0.25, 59: 0.25, 60: 0.125}),
        ("exponential", {"final_share": 0.01}, {0: 1.0, 50: 0.1, 100: 0.01}),
        ("polynomial", {}, {0: 1.0, 25: 0.75, 100: 0.0}),
        ("polynomial", {"power": 2.0, "final_share": 0.2}, {0: 1.0, 50: 0.4, 100: 0.2}),
        ("cosine", {"final_share": 0.2}, {0: 1.0, 50: 0.6, 100: 0.2}),
        ("inverse", {"tau": 0.1}, {9: 1.0, 10: 1.0, 20: 0.5, 50: 0.2}),
        ("inverse_sqrt", {"peak": 0.1}, {0: 1.0, 9: 1.0, 39: 0.5, 89: 1 / 3}),
        ("inverse_sqrt", {"peak": 0.1, "rising": True}, {0: 0.1, 4: 0.5, 9: 1.0, 39: 0.5}),
        ("wsd", {"decay_share": 0.4}, {60: 1.0, 70: 0.5, 99: 1 - math.sqrt(39 / 40)}),
        ("wsd", {"decay_share": 0.4, "sqrt_shape": False, "final_share": 0.1}, {60: 1.0, 80: 0.55, 100: 0.1}),
        ("triangular", {"cycle": 0.4, "low_share": 0.2}, {0: 0.2, 10: 0.6, 20: 1.0, 40: 0.2, 60: 1.0}),
        ("triangular", {"cycle": 0.4, "low_share": 0.2, "halve": True}, {20: 1.0, 40: 0.2, 60: 0.6}),
        ("restarts", {"first_cycle": 0.2, "cycle_growth": 2}, {0: 1.0, 10: 0.5, 20: 1.0, 40: 0.5, 60: 1.0}),
        ("onecycle", {"pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 10.0},
         {0: 0.1, 20: 0.55, 40: 1.0, 70: 0.505, 100: 0.01}),
        ("cosine", {"warmup": 0.2}, {0: 0.05, 9: 0.5, 19: 1.0, 20: 1.0, 60: 0.5}),
        ("constant", {"warmup": 0.2, "warmup_exponential": True}, {9: 0.1, 19: 1.0, 50: 1.0}),
    ]  # fmt: skip
    for name, chosen, expected in points:
        config = race("moons", [racer("sgd", lr=1.0, schedule=(name, chosen))], steps=100)
        found = {t: float(config.values(0, "lr", t, 1)[0]) for t in expected}
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15), (name, chosen)


def test_one_cycle_moves_the_momentum_of_rules_that_have_one() -> None:
    """And is the rule's own where that is switched off, or has a schedule of its own."""
    shape = {"pct_start": 0.5, "base_momentum": 0.7, "max_momentum": 0.9}
    contenders = [
        racer("momentum", momentum=0.3, schedule=("onecycle", shape)),
        racer("adam", schedule=("onecycle", shape | {"warmup": 0.5})),
        racer("momentum", momentum=0.3, schedule=("onecycle", shape | {"cycle_momentum": False})),
        racer("momentum", momentum=0.3, schedules={"lr": ("onecycle", shape), "momentum": ("step", {"every": 1000})}),
        racer("sgd", schedule=("onecycle", shape)),
    ]
    config = race("moons", contenders, steps=100)
    assert config.values(0, "momentum", 0, 100)[[0, 25, 50, 75]] == pytest.approx([0.9, 0.8, 0.7, 0.8])
    assert config.values(1, "beta1", 0, 100)[[0, 49, 50, 75]] == pytest.approx([0.9, 0.9, 0.9, 0.7])
    assert (config.values(2, "momentum", 0, 100) == 0.3).all() and (config.values(3, "momentum", 0, 100) == 0.3).all()
    assert config.changing() == {"lr", "momentum", "beta1"}


def test_reset_at_each_decay_acts_at_the_restarts() -> None:
    forgetting = racer("adam", schedule=("restarts", {"first_cycle": 0.25}), reset=Reset("m"))
    config = race("moons", [forgetting], steps=20)
    assert forgetting.decays(20) == forgetting.resets(20) == (5, 10, 15)
    state, _ = advance(config, start(config), 17)
    assert float(state.ages["adam"]["m"]) == 2 and float(state.ages["adam"]["v"]) == 17


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("cosine", {"warmup": 1.0}),
        ("cosine", {"warmup": -0.1}),
        ("step", {"factor": 0.0}),
        ("plateau", {"factor": 1.5}),
        ("plateau", {"patience": 0.0}),
        ("multistep", {"milestone2": 1.2}),
        ("multistep", {"milestone1": 0.0}),
        ("exponential", {"final_share": 0.0}),
        ("cosine", {"final_share": 1.1}),
        ("polynomial", {"power": 0.0}),
        ("inverse", {"tau": 0.0}),
        ("inverse_sqrt", {"peak": 0.0}),
        ("wsd", {"decay_share": 0.0}),
        ("triangular", {"cycle": 2.0}),
        ("restarts", {"cycle_growth": 1.5}),
        ("restarts", {"first_cycle": 0.0}),
        ("onecycle", {"pct_start": 1.0}),
        ("onecycle", {"div_factor": 0.5}),
        ("onecycle", {"max_momentum": 1.0}),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_sentence(name: str, chosen: dict[str, object]) -> None:
    (setting,) = chosen
    with pytest.raises(ValueError) as caught:
        racer("sgd", schedule=(name, chosen))
    message = str(caught.value)
    assert f"({setting})" in message and "must be" in message and message.count(".") - str(chosen).count(".") <= 3


def test_every_entry_says_what_it_is() -> None:
    """For a menu, a card and a popover: labels that differ, one sentence each, and words with no blank left open."""
    assert len({entry.label for entry in SCHEDULES.values()}) == len(SCHEDULES)
    for name in NAMES:
        entry = SCHEDULES[name]
        assert entry.help.endswith(".") and len(entry.help) < 110
        assert all(hyper.label and hyper.help.endswith(".") for hyper in entry.hypers)
        plain, warm = (schedule_words(racer("sgd", schedule=(name, {"warmup": share}))) for share in (0.0, 0.05))
        assert 3 < len(plain) < 45 and not set(plain) & set("{}") and warm == f"5% warm-up, then {plain}"
    assert schedule_words(racer("sgd", schedule="step")) == "rate × 0.1 every 300"
    assert schedule_words(racer("sgd", schedule=("step", {"every": 3000}))) == "rate × 0.1 every 3,000"
    assert schedule_words(racer("sgd", schedule=("cosine", {"final_share": 0.125}))) == "cosine to 12.5%"


# --- schedules that react


def plateau(rule: str, lr: float, reset: Reset | None = None, **chosen: object) -> Racer:
    """A racer with little patience."""
    return racer(rule, lr=lr, schedule=("plateau", {"factor": 0.5, "patience": 0.02} | chosen), reset=reset or Reset())


def trained(config: Config, *counts: int, recording: Recording = RECORDING) -> tuple[State, list[Records]]:
    """In slices of so many steps, the rest in one; in float64."""
    state, found = start(config, torch.float64), []
    for count in (*counts, config.steps):
        state, records = advance(config, state, count, recording)
        found.append(records)
    return state, found


def test_a_run_that_reacts_is_the_same_in_slices() -> None:
    contenders = [plateau("sgd", 1.0), plateau("adam", 0.1, Reset("all")), racer("sgd", lr=0.1), plateau("sgd", 3.0)]
    config = race("spirals", contenders, steps=90, batch=8, seeds=2)
    whole, [records] = trained(config)
    pieces, parts = trained(config, 1, 20, 0, 31)
    assert (records.cuts >= 0).any(0).reshape(4, 2).any(1).tolist() == [True, True, False, True]
    assert np.array_equal(records.loss, np.concatenate([part.loss for part in parts]))
    assert np.array_equal(records.cuts, parts[-1].cuts)
    assert torch.equal(whole.params, pieces.params)
    for kept, value in whole.reacting["plateau"].items():
        assert torch.equal(value, pieces.reacting["plateau"][kept]), kept


def test_reset_at_each_decay_acts_when_a_plateau_is_cut() -> None:
    """Each run forgets at its own cuts, and what it is told to forget."""
    contenders = [plateau("adam", 0.1, reset, patience=0.1) for reset in (Reset(), Reset("m"), Reset("all"))]
    config = race("spirals", contenders, steps=80, batch=8, seeds=4)
    state, [records] = trained(config)
    since = np.where((records.cuts >= 0).any(0), 80 - records.cuts.max(0), 80).reshape(3, 4)
    assert len(set(since.flat)) > 4, "runs are cut at different steps"
    m, v = (state.ages["adam"][slot].flatten().numpy()[table_rows(config)] for slot in ("m", "v"))
    assert np.array_equal(m, [[80] * 4, since[1], since[2]])
    assert np.array_equal(v, [[80] * 4, [80] * 4, since[2]])


def test_a_cut_is_the_same_as_the_rates_and_resets_it_made() -> None:
    """The losses of the whole data too: of a rule that averages, the loss at a cut is measured before it forgets."""
    seeing = Recording(60, 60, names=("rate",))
    config = race(
        "spirals", [plateau("schedule_free_sgd", 2.0, Reset("all"), patience=0.05, warmup=0.1)], steps=60, batch=8
    )
    _, [reacted] = trained(config, recording=seeing)
    cuts = [int(step) for step in reacted.cuts[:, 0] if step >= 0]
    assert 2 <= len(cuts) < CUTS and min(cuts) > 6
    planned = race(
        "spirals",
        [racer("schedule_free_sgd", schedule=("tabulated", {"values": reacted.probes["rate"][:, 0].tolist()}))],
        steps=60, batch=8, edits=[edit(step, 0, "reset", what="all") for step in cuts],
    )  # fmt: skip
    _, [expected] = trained(planned, recording=seeing)
    assert np.array_equal(reacted.loss, expected.loss)
    for name, curve in expected.evals.items():
        assert np.array_equal(reacted.evals[name], curve), name


def test_a_diverged_run_is_cut_no_more_and_moves_nobody() -> None:
    task = from_function(lambda x, step: x[:, 0] ** 2, [1.0])
    bad = racer("sgd", lr=1000.0, schedule=("plateau", {"factor": 0.99, "patience": 0.01}))
    good = plateau("sgd", 1.0, patience=0.1)
    state, [records] = trained(race(task, [bad, good], steps=200))
    alone, [expected] = trained(race(task, [good], steps=200))
    assert 20 < records.stopped[0] < 100 and records.stopped[1] == -1
    assert 0 < records.cuts[:, 0].max() <= records.stopped[0]
    assert np.array_equal(records.cuts[:, 1:], expected.cuts) and (expected.cuts >= 0).any()
    assert np.array_equal(records.loss[:, 1:], expected.loss)
    assert torch.equal(state.params[1:], alone.params)


def test_only_the_learning_rate_can_react() -> None:
    with pytest.raises(ValueError, match="'plateau' is one of the learning rate, not of momentum"):
        racer("momentum", schedules={"momentum": ("plateau", {})})


def test_a_constant_schedule_is_none() -> None:
    """So that one race has one text, and one key."""
    assert racer("sgd", schedule="constant") == racer("sgd")
