"""The Moments page's modes without a browser: remedies and rules, what is looked at, and what is refused of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import racer
from core.carry import recovered
from core.fork import twins
from core.lens import MOST
from core.remedies import standings
from tests.pools import InlineRaces
from tests.test_moments_page import APP, SMALL, shown_by, trained, widget
from ui import live, moments
from ui.charts import loss_stride, track_fields
from ui.moments_presets import presets
from ui.moments_scenario import FORKS, OTHERS, TRUNK, Fork, Look, Moments, Seen, fitted, read, write

REMEDIED = replace(SMALL, mode="remedies", remedies=("clip", "reset"))
RULES = replace(SMALL, mode="rules", rules=("sgd", "lion"))
EVERYTHING = replace(
    SMALL, mode="rules", forks=(Fork(0, 60, "v"),), remedies=("clip",), rules=("sgd",),
    seen=Seen("W2", (3, 1), 2, Look(30, 1, 5)),
)  # fmt: skip


@pytest.mark.parametrize("shown", [REMEDIED, RULES, EVERYTHING, *(each.shown for each in presets().values())])
def test_an_address_brings_back_what_is_shown(shown: Moments) -> None:
    assert read(write(shown)) == (shown, [])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "magic"}, "There is no mode"),
        ({"remedies": "magic"}, "There is no remedy"),
        ({"r0": "sgd", "remedies": "beta2"}, "has no beta2"),
        ({"remedies": "clip,clip"}, "asked for twice"),
        ({"rules": "magic"}, "There is no optimizer"),
        ({"rules": "adam"}, "in the comparison already"),
        ({"rules": "lbfgs"}, "needs all of the data"),
        ({"rules": "sgd,lion,momentum,rmsprop"}, f"There can be {OTHERS} other rules"),
        ({"remedies": "clip,warmup,beta2,amsgrad,radam,spam,reset"}, f"There can be {FORKS} remedies"),
        ({"show": "W9"}, "There is no layer"),
        ({"w": "-1"}, "There is no parameter"),
        ({"w": "99999999"}, "There is no parameter 99,999,999"),
        ({"w": "1e9999"}, "There is no parameter"),
        ({"w": ",".join(map(str, range(MOST + 1)))}, f"At most {MOST} weights"),
        ({"pic": "2"}, "There is no racer 2"),
        ({"pic": "x"}, "There is no racer"),
        ({"look": "0.0.0"}, "no such step"),
        ({"look": "1.2"}, "is no step, racer and weight"),
        ({"look": "1.2.3.4"}, "is no step, racer and weight"),
    ],
)
def test_bad_input_is_one_readable_sentence(wrong: dict[str, str], says: str) -> None:
    shown, notes = read({"v": "1"} | wrong)
    assert len(notes) == 1 and says in notes[0]
    assert read(write(shown)) == (shown, [])


def test_each_rule_has_the_spike_and_a_twin_of_its_own() -> None:
    config = RULES.config()
    assert [r.rule for r in config.racers] == ["adam", "adam", "sgd", "sgd", "lion", "lion"]
    assert twins(config) == (1, None, 3, None, 5, None)


def test_what_another_racer_cannot_have_goes_with_a_sentence() -> None:
    bare = replace(REMEDIED.bare, trunk=replace(SMALL.trunk, racers=(racer("sgd", lr=0.1),)))
    shown, notes = fitted(bare, REMEDIED.beside)
    assert shown.remedies == ("clip",) and shown.mode == "remedies"
    assert notes == ["Reset now was left out. SGD remembers nothing, so there is nothing to reset."]


def test_a_racer_that_went_is_looked_at_no_more() -> None:
    forked = replace(SMALL, forks=(Fork(0, 60, "v"),), seen=Seen(pictured=2, look=Look(70, 2, 0)))
    shown, notes = fitted(forked.bare, forked.beside._replace(forks=()))
    assert shown.seen == Seen() and len(notes) == 2


def test_unasked_a_weight_of_the_first_matrix_is_watched() -> None:
    columns = SMALL.layout.columns("W1")
    (middle,) = SMALL.lens().coordinates
    assert SMALL.lens().layer == "W1" and columns.start < middle < columns.stop
    assert SMALL.lens(largest=3).coordinates == (3,)
    assert EVERYTHING.lens(largest=7).coordinates == (3, 1)


def test_the_table_of_rules_says_what_the_race_has() -> None:
    done = trained(RULES)
    adam, sgd, _ = moments.rows(RULES, done, {0: 1.234})
    fields = track_fields(done.config)["probe"]
    share = done.tracks["probe"][0, fields.index("carried_v.mid"), -1]
    assert f"{share:.0%} of v" in adam["Left at the end"]
    assert adam["Half of it forgotten after"] == "m 6.58 steps, v 693 steps"
    assert adam["Told by"] == "m: carried along, v: carried along"
    assert (adam["Weights from the twin's"], sgd["Weights from the twin's"]) == ("1.2", "")
    assert (sgd["Remembers"], sgd["Left at the end"]) == ("nothing", "")
    ratio = done.tracks["probe"][2, fields.index("ratio.mid")].astype(float)
    head, _ = moments.at(RULES, done, RULES.trunk.steps)
    assert f"SGD {float(f'{ratio[-1]:.2g}'):g}×" in head and np.isfinite(ratio).all()


def test_a_memory_that_does_not_add_up_is_told_by_the_twin() -> None:
    amsgrad = racer("amsgrad", lr=0.01)
    shown = replace(SMALL, trunk=replace(SMALL.trunk, racers=(amsgrad,)))
    assert moments.measured_by(amsgrad, shown.layout) == "m: carried along, v: difference from the twin"
    head, detail = moments.at(shown, trained(shown), 90)
    assert " of v" not in head and "only the twin tells" in detail


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    pool = InlineRaces()
    monkeypatch.setattr(live, "races", lambda: pool)
    app = AppTest.from_file(APP, default_timeout=120)
    app.switch_page("pages/4_Moments.py")
    for name, value in write(SMALL).items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    yield app


def button(page: AppTest, label: str) -> Any:
    return widget(page, "button", label)


def test_a_switched_remedy_is_one_more_racer(page: AppTest) -> None:
    widget(page, "button_group", "Compare with").set_value("remedies").run()
    widget(page, "toggle", "Gradient clipping").set_value(True).run()
    assert not page.exception and shown_by(page).remedies == ("clip",)
    assert page.query_params["remedies"] == "clip" and len(shown_by(page).config().racers) == 3


@pytest.mark.parametrize("name", presets())
def test_each_preset_shows_what_it_says(page: AppTest, name: str) -> None:
    button(page, name).click().run()
    assert not page.exception and not page.warning
    wanted, found = presets()[name].shown, shown_by(page)
    assert (found.config(), found.mode) == (wanted.config(), wanted.mode)


def test_a_step_lies_under_the_microscope_and_the_next_one(page: AppTest) -> None:
    button(page, "Look at step 30").click().run()
    button(page, "Forward").click().run()
    assert not page.exception
    look = shown_by(page).seen.look
    assert look is not None and look.step == 31
    assert any("| Equation | PyTorch |" in each.value for each in page.markdown)


def test_headline_and_ranking_tell_the_same_delay() -> None:
    """The median over the seeds of what the spike has cost each of them, at the end."""
    made = trained(REMEDIED)
    assert made.tracks["curves"].shape[:2] == (4, len(REMEDIED.trunk.seeds))
    ranked = standings(made.tracks["curves"].transpose(2, 0, 1), loss_stride(made.config, made.extra))
    (nothing,) = (each.median for each in ranked if each.racer == TRUNK)
    _, detail = moments.at(REMEDIED, made, made.config.steps)
    assert f"{abs(nothing):,.0f} steps {'behind' if nothing > 0 else 'ahead'}" in detail


def test_one_dip_is_no_return() -> None:
    """Steps count as back where their median with their neighbours is, so a lone low value does not undo it."""
    ratio = np.concatenate([np.full(20, 0.3), np.ones(40)])
    assert recovered(moments.calm(ratio), 0.5) == 20
    ratio[45] = 0.1
    assert recovered(moments.calm(ratio), 0.5) == 20 and recovered(ratio, 0.5) == 46
