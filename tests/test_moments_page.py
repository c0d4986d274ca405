"""The Moments page without a browser: its address, its race, its words, and what it refuses."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import race, racer
from core.carry import adam_step, carried
from core.history import run
from tests.pools import InlineRaces
from ui import live, moments
from ui.charts import track_fields, track_steps
from ui.moments_scenario import (
    CAUSES,
    EXTRA,
    FORKS,
    KINDS,
    TRUNK,
    TWIN,
    Fork,
    Moments,
    Spike,
    default,
    read,
    write,
)
from ui.races import Race

APP = Path(__file__).resolve().parent.parent / "app.py"
SMALL = Moments(race("moons", [racer("adam", lr=0.01)], steps=120, seeds=2), Spike(at=30))


def trained(shown: Moments) -> Race:
    """The race, complete."""
    pool = InlineRaces()
    made = pool.open(shown.config(), extra=EXTRA)
    while not made.complete and not made.problem:
        pool.ask(made)
    assert made.problem is None
    return made


FORKED = replace(SMALL, forks=(Fork(TRUNK, 60, "v"), Fork(2, 90, "zeros"), Fork(TRUNK, 0, "weights")))


@pytest.mark.parametrize(
    "shown",
    [
        default(),
        SMALL,
        FORKED,
        replace(SMALL, spike=Spike(7, 3.5, "labels", 4)),
        replace(SMALL, spike=Spike(7, 3.0, layer=SMALL.trunk.build_task().layout.shapes[0][0])),
    ],
)
def test_an_address_brings_back_what_is_shown(shown: Moments) -> None:
    assert read(write(shown)) == (shown, [])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"spike": "0"}, "goes from 1 to 1000"),
        ({"spike": "-3"}, "goes from 1 to 1000"),
        ({"factor": "0"}, "goes from 1 to 1000"),
        ({"factor": "1e30"}, "1000 is used"),
        ({"factor": "nan"}, "no number"),
        ({"cause": "luck"}, "There is no cause"),
        ({"layer": "nowhere"}, "There is no layer"),
        ({"f0": "0.1000.v"}, "after the last step nothing is left"),
        ({"f0": "1.10.v"}, "There is no racer"),
        ({"f0": "0001.10.v"}, "There is no racer"),
        ({"f0": "2.10.v"}, "There is no racer"),
        ({"f0": "0.10.magic"}, "There is no kind of fork"),
        ({"f0": "0..v"}, "is no step"),
        ({"task": "quadratic", "cause": "labels"}, "no labels"),
        ({"r0": "lbfgs"}, "needs all of the data"),
        ({"r3": "sgd"}, "shows one optimizer"),
    ],
)
def test_bad_input_is_one_readable_sentence(wrong: dict[str, str], says: str) -> None:
    shown, notes = read({"v": "1"} | wrong)
    assert any(says in note for note in notes) and len(notes) == 1
    assert read(write(shown)) == (shown, [])  # what is shown instead needs no correction


def test_a_fork_takes_its_own_forks_along_when_it_goes() -> None:
    assert FORKED.without(0).forks == (Fork(TRUNK, 0, "weights"),)
    assert FORKED.without(2).forks == FORKED.forks[:2]
    again = replace(
        FORKED, forks=(Fork(TRUNK, 0, "keep"), *(replace(f, parent=f.parent + (f.parent > 0)) for f in FORKED.forks))
    )
    assert again.without(0).forks == FORKED.forks


def test_there_are_no_more_forks_than_colours() -> None:
    full = replace(SMALL, forks=tuple(Fork(TRUNK, 50 + i, "v") for i in range(FORKS)))
    with pytest.raises(ValueError, match="take one away"):
        replace(full, forks=(*full.forks, Fork(TRUNK, 90, "v")))


@pytest.mark.parametrize("cause", CAUSES)
def test_the_twin_is_the_trunk_until_the_spike_and_another_run_after_it(cause: str) -> None:
    shown = replace(SMALL, spike=Spike(at=30, cause=cause))
    loss = run(shown.config()).loss
    first = shown.spike.first  # the spoilt batch's own loss is that of wrong labels or inputs already
    assert np.array_equal(loss[: first - 1, TRUNK], loss[: first - 1, TWIN])
    assert (loss[first:, TRUNK] != loss[first:, TWIN]).any()


@pytest.mark.parametrize("what", KINDS)
def test_each_kind_of_fork_is_its_trunk_until_then(what: str) -> None:
    loss = run(replace(SMALL, forks=(Fork(TRUNK, 60, what),)).config()).loss
    assert np.array_equal(loss[:60, 2], loss[:60, TRUNK])
    assert np.array_equal(loss[:, 2], loss[:, TRUNK]) == (what == "keep")


@pytest.mark.parametrize("what", ["keep", "m"])
def test_a_fork_after_a_too_large_first_step_has_the_good_rate_again(what: str) -> None:
    shown = replace(SMALL, spike=Spike(cause="first"), forks=(Fork(TRUNK, 1, what),))
    assert shown.config().values(2, "lr", 0, 4).tolist() == pytest.approx([1.0, 0.01, 0.01, 0.01])


def test_a_tenth_of_the_rate_is_that_of_the_fork_it_leaves() -> None:
    shown = replace(SMALL, forks=(Fork(TRUNK, 60, "rate"), Fork(2, 90, "rate")))
    assert shown.config().values(2, "lr", 59, 2).tolist() == pytest.approx([0.01, 0.001])
    assert shown.config().values(3, "lr", 89, 2).tolist() == pytest.approx([0.001, 0.0001])


def test_the_words_say_what_the_race_has() -> None:
    done = trained(SMALL)
    step, now = 90, max(i for i, at in enumerate(track_steps(done.config)["probe"]) if at <= 90)
    head, detail = moments.at(SMALL, done, step)
    fields = track_fields(done.config)["probe"]
    share, ratio = (done.tracks["probe"][:, fields.index(f"{name}.mid"), now] for name in ("carried_v", "ratio"))
    assert f"{share[TRUNK]:.0%} of v" in head and share[TWIN] == 0
    assert f"{float(f'{ratio[TRUNK]:.2g}'):g}×" in head and np.isnan(ratio[TWIN])
    age = np.array([90.0])
    assert f"{carried(1e4, 0.999, age, 30)[0]:.0%} of v, steps" in detail
    assert f"steps {float(f'{adam_step(100, age, 30, 0.9, 0.999)[0]:.2g}'):g}×." in detail


def test_before_the_spike_there_is_nothing_to_say_of_it() -> None:
    made = trained(SMALL)
    assert moments.at(SMALL, made, 29)[0] == "Step 30 is where it goes wrong."
    head, _ = moments.at(SMALL, made, 30)  # its own step is measured, whatever the others are
    field, now = track_fields(made.config)["probe"].index("carried_m.mid"), track_steps(made.config)["probe"].index(30)
    share = float(made.tracks["probe"][TRUNK, field, now])
    assert share > 0.9 and f"{share:.0%} of m" in head and head.startswith("Step 30: its steps are")


def test_of_a_rule_without_memory_the_page_says_that_this_is_the_point() -> None:
    sgd = replace(SMALL, trunk=replace(SMALL.trunk, racers=(racer("sgd", lr=0.1),)))
    head, detail = moments.at(sgd, trained(sgd), 90)
    assert " of v" not in head and "remembers nothing, and this is the point" in detail
    assert moments.half_lives(sgd.racer) == ""


def test_half_lives_are_those_of_the_settings() -> None:
    assert moments.half_lives(racer("adam")) == "Half of a memory is forgotten after: m 6.58 steps, v 693 steps."


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    pool = InlineRaces()
    monkeypatch.setattr(live, "races", lambda: pool)
    app = AppTest.from_file(APP, default_timeout=120)
    app.switch_page("pages/4_Moments.py")
    app.run()
    assert not app.exception
    yield app


def shown_by(page: AppTest) -> Moments:
    found: Any = page.session_state["moments"]
    shown: Moments = found.shown
    return shown


def widget(page: AppTest, kind: str, label: str) -> Any:
    widgets: Any = page.get(kind)
    (found,) = [each for each in widgets if each.label == label]
    return found


def test_the_first_screen_is_adam_with_its_twin(page: AppTest) -> None:
    assert shown_by(page) == default() and [r.rule for r in default().config().racers] == ["adam", "adam"]


def test_a_slider_of_the_spike_makes_another_race_and_another_address(page: AppTest) -> None:
    widget(page, "select_slider", "Times too large").set_value(10.0).run()
    assert not page.exception and shown_by(page).spike.factor == 10
    assert page.query_params["factor"] == "10.0"


def test_another_rule_keeps_the_spike(page: AppTest) -> None:
    widget(page, "selectbox", "Optimizer").set_value("sgd").run()
    assert not page.exception
    assert (shown_by(page).racer.rule, shown_by(page).spike) == ("sgd", default().spike)


def test_what_a_problem_cannot_have_is_refused_in_a_sentence(page: AppTest) -> None:
    widget(page, "selectbox", "What goes wrong").set_value("inputs").run()
    widget(page, "selectbox", "Problem").set_value("words").run()
    assert not page.exception and shown_by(page).trunk.task == default().trunk.task
    assert "no inputs that are numbers" in page.warning[0].value
