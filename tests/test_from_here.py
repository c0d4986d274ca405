"""A slider that acts from here on: a fork of its racer at the play head, which comes back from its address."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from core import RULES, edit, race, racer, run
from tests.strategies import values
from tests.test_protocol import QUICK, Screen, Session, inline, watch
from tests.test_scenario import assert_readable, assert_within_limits, is_small_enough, scenarios
from ui import limits
from ui.charts import loss_steps
from ui.from_here import Fork, why_fixed
from ui.names import labels
from ui.races import Races
from ui.scenario import Scenario, read, scenario, write

__all__ = ["inline"]  # a fixture
TWO = scenario(race("moons", [racer("sgd", lr=0.1), racer("adam", lr=0.01)], steps=300, seeds=3))
LAYOUT = TWO.config.build_task().layout


def forked(shown: Scenario, *forks: tuple[int, Fork]) -> Scenario:
    for slot, fork in forks:
        shown = shown.with_fork(slot, fork)
    return shown


# --- the race


def test_a_fork_is_its_parent_with_other_settings_from_a_step_on() -> None:
    shown = TWO.with_fork(2, Fork(1, 100, (("beta1", 0.5), ("lr", 0.1))))
    changes = [edit(100, 2, "set", setting=name, value=value) for name, value in (("beta1", 0.5), ("lr", 0.1))]
    assert shown.config == race(
        "moons", [*TWO.config.racers, TWO.config.racers[1]], steps=300, seeds=3, edits=changes
    )  # fmt: skip
    assert (shown.slots, shown.trunk) == ((0, 1, 2), TWO.config)
    assert (shown.at_last(2).get("lr"), shown.at_last(2).get("beta1"), shown.at_last(1)) == (
        0.1, 0.5, TWO.config.racers[1],
    )  # fmt: skip


def test_a_fork_leaves_its_parent_at_its_step_and_the_racers_stay_as_they_were() -> None:
    alone = run(TWO.config)
    shown = forked(TWO, (2, Fork(1, 100, (("lr", 0.1),))), (4, Fork(2, 200, (("lr", 0.001),))))
    loss, before = run(shown.config).loss, alone.loss
    assert np.array_equal(loss[:, :2], before)
    # What a change at step 100 (counted from 0) leads to is the loss of the step after it.
    assert np.array_equal(loss[:101, 2], before[:101, 1]) and not np.array_equal(loss[101, 2], before[101, 1])
    assert np.array_equal(loss[:201, 3], loss[:201, 2]) and not np.array_equal(loss[201, 3], loss[201, 2])


def test_forks_keep_their_colours_whatever_their_order() -> None:
    """A fork may have a colour before its parent's: the races are the same but for the order of the racers."""
    late = forked(TWO, (3, Fork(1, 100, (("lr", 0.1),))), (2, Fork(3, 200, (("lr", 0.001),))))
    soon = forked(TWO, (2, Fork(1, 100, (("lr", 0.1),))), (3, Fork(2, 200, (("lr", 0.001),))))
    assert np.array_equal(run(late.config).loss, run(soon.config).loss[:, [0, 1, 3, 2]])
    assert late.without(2) == TWO.with_fork(3, Fork(1, 100, (("lr", 0.1),)))


def test_a_racer_taken_out_takes_its_forks_with_it() -> None:
    shown = forked(TWO, (2, Fork(1, 100, (("lr", 0.1),))), (3, Fork(2, 200, (("lr", 0.001),))))
    assert shown.without(2) == TWO
    assert shown.without(1) == TWO.without(1)
    with pytest.raises(ValueError, match="at least one racer"):
        shown.without(0).without(1)


def test_forks_follow_what_their_parent_becomes_as_far_as_they_can() -> None:
    shown = TWO.with_fork(2, Fork(1, 100, (("beta1", 0.5), ("lr", 0.1))))
    hotter = shown.with_racer(1, racer("adam", lr=0.02))
    assert hotter.at_last(2) == racer("adam", lr=0.1, beta1=0.5) and hotter.forks == shown.forks
    assert shown.with_racer(1, racer("sgd")).forks == ((2, Fork(1, 100, (("lr", 0.1),))),)
    only = TWO.with_fork(2, Fork(1, 100, (("beta1", 0.5),)))
    assert only.with_racer(1, racer("sgd")) == TWO.with_racer(1, racer("sgd"))


@pytest.mark.parametrize(("steps", "left"), [(101, 1), (100, 0)])
def test_a_shorter_race_has_the_forks_that_begin_before_its_end(steps: int, left: int) -> None:
    shown = TWO.with_fork(2, Fork(1, 100, (("lr", 0.1),)))
    shorter = shown.with_config(race("moons", TWO.config.racers, steps=steps, seeds=3))
    assert (len(shorter.forks), len(shorter.config.racers)) == (left, 2 + left)


def test_a_slider_moved_again_changes_the_fork_that_is_there() -> None:
    once = TWO.changed(1, 100, "lr", 0.1)
    assert once == TWO.with_fork(2, Fork(1, 100, (("lr", 0.1),)))
    twice = once.changed(1, 100, "lr", 0.2).changed(1, 100, "beta1", 0.5)
    assert twice == TWO.with_fork(2, Fork(1, 100, (("beta1", 0.5), ("lr", 0.2))))
    assert len(twice.changed(1, 150, "lr", 0.2).forks) == 2
    assert twice.acting(1, 100) == twice.at_last(2) and twice.acting(1, 150) == TWO.config.racers[1]


def test_there_are_at_most_eight_racers_with_their_forks() -> None:
    shown = TWO
    for at in range(limits.RACERS - 2):
        shown = shown.changed(1, at, "lr", 0.1)
    assert len(shown.config.racers) == limits.RACERS
    with pytest.raises(ValueError, match="at most 8 racers") as refused:
        shown.changed(1, 200, "lr", 0.1)
    assert_readable([str(refused.value)])
    assert shown.changed(1, 3, "lr", 0.2).at_last(5).get("lr") == 0.2


# --- which settings can change on the way


@pytest.mark.parametrize(
    ("rule", "setting", "free"),
    [("rprop", "lr", False), ("adagrad", "initial_accumulator_value", False), ("dadapt_adam", "d0", False),
     ("asgd", "lr", True), ("prodigy", "d0", True), ("adam", "beta1", True), ("rmsprop", "centered", True)],
)  # fmt: skip
def test_a_setting_is_fixed_where_a_change_of_it_changes_nothing(rule: str, setting: str, free: bool) -> None:
    chosen = racer(rule)
    hyper = chosen.spec.hyper(setting)
    other = next(stop for stop in hyper.stops() if stop != chosen.get(setting))
    changed = edit(6, 1, "set", setting=setting, value=float(other))
    loss = run(race("moons", [chosen, chosen], steps=12, batch=8, edits=[changed])).loss
    assert np.array_equal(loss[:, 0], loss[:, 1]) != free
    assert bool(why_fixed(chosen.spec, setting, LAYOUT)) != free


def test_most_settings_can_change() -> None:
    fixed = {rule.name for rule in RULES.values() for h in rule.hypers if why_fixed(rule, h.name, LAYOUT)}
    assert fixed == {"rprop", "adagrad", "dadapt_adam"}


# --- names


def test_a_fork_is_called_by_its_rule_its_step_and_what_changes() -> None:
    shown = forked(
        TWO, (2, Fork(1, 100, (("lr", 0.1),))), (3, Fork(2, 200, (("beta1", 0.5), ("lr", 0.001)))),
        (4, Fork(1, 100, (("lr", 0.1),))),
    )  # fmt: skip
    assert labels(shown.config) == [
        "SGD", "Adam", "Adam from 100: rate 0.1 (1)",
        "Adam from 200: β₁ 0.5, rate 0.001", "Adam from 100: rate 0.1 (2)",
    ]  # fmt: skip


def test_a_switch_that_changes_is_called_on_or_off() -> None:
    shown = scenario(race("moons", [racer("rmsprop")])).changed(0, 5, "centered", True)
    assert labels(shown.config)[1] == "RMSprop from 5: Centered on"


# --- the address

some = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def with_forks(draw: st.DrawFn) -> Scenario:
    """A scenario with one to three forks, of its racers and of one another."""
    shown = draw(scenarios())
    layout = shown.config.build_task().layout
    for _ in range(draw(st.integers(1, 3))):
        slot, parent = shown.free_slot(), draw(st.sampled_from(shown.slots))
        start = dict(shown.forks)[parent].at + 1 if parent in dict(shown.forks) else 0
        rule = shown.at_last(parent).spec
        able = [hyper for hyper in rule.hypers if not why_fixed(rule, hyper.name, layout)]
        assume(slot is not None and start < shown.config.steps)
        hyper = draw(st.sampled_from(able))
        at = draw(st.integers(start, shown.config.steps - 1))
        assume(is_small_enough(replace(shown.config, racers=(*shown.config.racers, shown.config.racers[0]))))
        assert slot is not None
        shown = shown.with_fork(slot, Fork(parent, at, ((hyper.name, draw(values(hyper))),)))
    return shown


@some
@given(with_forks())
def test_forks_come_back_from_their_address(shown: Scenario) -> None:
    assert shown.forks and read(write(shown)) == (shown, [])
    assert_within_limits(shown)


def test_an_address_says_a_fork_in_words() -> None:
    address = write(TWO.with_fork(2, Fork(1, 100, (("lr", 0.1),))))
    assert {name: value for name, value in address.items() if name.startswith("r2")} == {
        "r2.from": "1.100", "r2.lr": "0.1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"r2.from": "5.100"}, "“5.100” is no racer and step"),
        ({"r2.from": "2.100"}, "“2.100” is no racer and step"),
        ({"r2.from": "100"}, "“100” is no racer and step"),
        ({"r2.from": "1.-5"}, "“1.-5” is no racer and step"),
        ({"r2.from": "1.1e3"}, "“1.1e3” is no racer and step"),
        ({"r2.from": "٣.٣"}, "is no racer and step"),
        ({"r2.from": "9" * 400}, "is no racer and step"),
        ({"r2.lr": ""}, "no number"),
        ({"r2.lr": "1e9"}, "goes from 1e-05 to 10"),
        ({"r2.from": "1.300"}, "beyond the last one; 299 is used"),
        ({"r2.from": "3.5", "r3.from": "2.9"}, "Racer 3 was left out"),
        ({"r3.from": "2.100", "r3.lr": "0.5"}, "Racer 4 was left out"),
        ({"r3.from": "1.100", "r3.warp": "9"}, "or nothing changes there"),
    ],
)  # fmt: skip
def test_a_bad_fork_is_clamped_or_left_out_in_one_sentence(bad: Mapping[str, str], said: str) -> None:
    address = write(TWO.with_fork(2, Fork(1, 100, (("lr", 0.1),))))
    shown, notes = read({**address, **bad})
    assert any(said in note for note in notes) and len(notes) <= 2
    assert_readable(notes)
    assert_within_limits(shown)
    assert shown.slots[:2] == (0, 1) and read(write(shown)) == (shown, [])


# --- the page


def switch(session: Session, slot: int, when: str) -> None:
    """The card's switch between "start" and "here"."""
    (control,) = [each for each in session.app.segmented_control if str(each.key).endswith(f".r{slot}.when")]
    session._checked(control.set_value(when).run())


def stand(session: Session, head: object) -> dict[str, Any]:
    """The browser answers at which step it stands."""
    assert session.message["asks"]
    have = {"loss": 0, "eval": 0, "probe": 0}
    return session.tell("pull", {"run": session.message["run"], "have": have, "head": head, "at": 1})


def help_of(session: Session, what: str) -> tuple[bool, str]:
    """Whether a card's slider is fixed, and its help."""
    found = session.app.select_slider(key=session.key(what))
    return found.disabled, found.help


def test_a_slider_told_to_act_from_here_makes_a_fork_at_the_play_head(inline: Races) -> None:
    session = Session(write(QUICK))
    assert "asks" not in session.message
    switch(session, 1, "here")
    assert help_of(session, "r1.atNone.lr") == (True, "The race tells at which step it stands.")
    assert session.shown == QUICK
    assert "asks" not in stand(session, 120)
    assert not help_of(session, "r1.at120.lr")[0] and session.shown == QUICK
    session.slide("r1.at120.lr", 0.1)
    assert session.shown == QUICK.with_fork(2, Fork(1, 120, (("lr", 0.1),)))
    names = [each["label"] for each in session.message["race"]["racers"]]
    assert names == ["SGD", "Adam", "Adam from 120: rate 0.1"]
    assert [each.get("since") for each in session.message["race"]["racers"]] == [None, None, 120]
    # The same slider, moved on, is the same fork; and so is the fork's own.
    session.slide("r1.at120.lr", 0.2)
    assert session.shown == QUICK.with_fork(2, Fork(1, 120, (("lr", 0.2),)))
    assert session.app.select_slider(key=session.key("r2.lr.1")).value == 0.2
    session.slide("r2.lr.1", 0.05)
    assert session.shown == QUICK.with_fork(2, Fork(1, 120, (("lr", 0.05),)))
    assert session.app.select_slider(key=session.key("r1.at120.lr.1")).value == 0.05
    # From the start again, it is the racer's own, and the fork stays.
    switch(session, 1, "start")
    assert session.app.select_slider(key=session.key("r1.lr")).value == 0.01
    session.slide("r1.lr", 0.02)
    assert session.shown == QUICK.with_racer(1, racer("adam", lr=0.02)).with_fork(2, Fork(1, 120, (("lr", 0.05),)))


def test_the_old_racers_and_the_shared_past_are_the_same_to_the_bit(inline: Races) -> None:
    session, before, after = Session(write(QUICK)), Screen(), Screen()
    watch(session, before)
    switch(session, 1, "here")
    stand(session, 120)
    session.slide("r1.at120.lr", 0.1)
    watch(session, after)
    old, new = (np.concatenate(screen.values["loss"], axis=2) for screen in (before, after))
    assert np.array_equal(new[:2], old)
    past = np.array(loss_steps(QUICK.config)) <= 120
    assert np.array_equal(new[2][:, past], new[1][:, past]) and not np.array_equal(new[2], new[1])


def test_what_is_settled_at_the_start_says_so_on_a_card_that_acts_from_here(inline: Races) -> None:
    session = Session(write(scenario(race("moons", [racer("rprop"), racer("adam")], steps=300, seeds=3))))
    switch(session, 0, "here")
    stand(session, 10)
    off, why = help_of(session, "r0.at10.lr")
    assert off and "memory starts from" in why
    menus = {each.key.split(".", 1)[-1]: each for each in session.app.selectbox if each.key and ".rule" in each.key}
    assert menus["r0.rule"].disabled and not menus["r1.rule"].disabled
    assert "settled at the start" in menus["r0.rule"].help


@pytest.mark.parametrize(("head", "said"), [(300, "at the end"), (10**9, "at the end")])
def test_at_the_end_nothing_is_left_to_do_otherwise(inline: Races, head: int, said: str) -> None:
    session = Session(write(QUICK))
    switch(session, 1, "here")
    assert "asks" not in stand(session, head)
    (note,) = session.warnings
    assert said in note and session.app.select_slider(key=session.key("r1.lr")).value == 0.01
    assert_readable([note])


@pytest.mark.parametrize("head", [None, "120", 1.5, True, [120]])
def test_an_answer_that_is_no_step_is_not_heard(inline: Races, head: object) -> None:
    session = Session(write(QUICK))
    switch(session, 1, "here")
    assert stand(session, head)["asks"]


def test_a_fork_is_forked_after_its_start_only(inline: Races) -> None:
    session = Session(write(QUICK.with_fork(2, Fork(1, 120, (("lr", 0.1),)))))
    switch(session, 2, "here")
    stand(session, 120)
    (note,) = session.warnings
    assert "after its first step" in note
    switch(session, 2, "here")
    stand(session, 121)
    session.slide("r2.at121.beta1", 0.5)
    assert session.shown.forks == (
        (2, Fork(1, 120, (("lr", 0.1),))), (3, Fork(2, 121, (("beta1", 0.5),))),
    )  # fmt: skip
    # What a fork takes over from its parent moves with it.
    switch(session, 2, "start")
    session.slide("r2.lr", 0.2)
    assert session.app.select_slider(key=session.key("r3.lr.1")).value == 0.2


def test_a_fork_is_copied_and_taken_out_by_its_card(inline: Races) -> None:
    fork = Fork(1, 120, (("lr", 0.1),))
    session = Session(write(QUICK.with_fork(2, fork)))
    session.open("r2.more")
    session.press("r2.duplicate")
    assert session.shown == forked(QUICK, (2, fork), (3, fork))
    session.open("r2.more")
    session.press("r2.remove")
    assert session.shown == QUICK.with_fork(3, fork)
    session.open("r1.more")
    session.press("r1.remove")
    assert session.shown == QUICK.without(1)


def test_a_ninth_racer_is_refused_in_a_sentence(inline: Races) -> None:
    shown = QUICK
    for at in range(6):
        shown = shown.changed(1, at, "lr", 0.1)
    session = Session(write(shown))
    switch(session, 0, "here")
    stand(session, 50)
    session.slide("r0.at50.lr", 0.5)
    assert session.shown == shown and "at most 8 racers" in session.warnings[0]


def test_a_race_with_a_fork_is_none_of_the_three_questions_answers_but_its_racers_may_be(inline: Races) -> None:
    session = Session(write(QUICK.with_fork(2, Fork(1, 120, (("lr", 0.1),)))))
    session.press("same rate")
    same = QUICK.with_racer(1, racer("adam", lr=0.1))
    assert session.shown == same.with_fork(2, Fork(1, 120, (("lr", 0.1),)))


def test_a_shorter_race_says_which_racers_it_lost(inline: Races) -> None:
    session = Session(write(QUICK.with_fork(2, Fork(1, 120, (("lr", 0.1),)))))
    session.choose("steps", 100)
    assert len(session.shown.config.racers) == 2
    assert "taken out" in session.warnings[0]
