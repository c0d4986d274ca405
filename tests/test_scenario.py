"""The address bar: what is shown comes back from it, and whatever stands in it gives a race within the limits."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from core import RULES, SCHEDULES, TASKS, Config, Hyper, Racer, Reset, race, racer
from core.config import BATCH, EVERY, Choice
from tests.strategies import configs, fitting, racers
from ui import limits
from ui.charts import charts_for
from ui.presets import PRESETS
from ui.scenario import (
    AXES,
    FIRST_SEED,
    OFFERED,
    SEEDS,
    SPEEDS,
    Scenario,
    View,
    default,
    read,
    scenario,
    turned,
    write,
)

some = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
many = settings(some, max_examples=120)
LENGTH = 200  # characters of one readable sentence


def offered(contender: Racer) -> Racer:
    """The racer with a reset that the page offers: its shortest time between two resets is the slider's."""
    what, every = contender.reset.what, contender.reset.every
    return replace(contender, reset=Reset(what, 0 if what == "nothing" or not every else max(every, int(EVERY.low))))


def is_small_enough(config: Config) -> bool:
    weights = config.rows * config.build_task().layout.width
    return weights <= limits.NUMBERS and weights * config.batch <= limits.WORK


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """What can be shown: any task and racers with settings between the ends of their sliders, any colours and view."""
    drawn = draw(configs(tables=False, others=False, edited=False, plain_seeds=True))
    batch = max(drawn.batch, int(BATCH.low))
    some = racers(tables=False, others=False, rules=fitting(drawn.build_task(), batch))
    contenders = draw(st.lists(some.map(offered), min_size=1, max_size=limits.RACERS))
    first, seeds = draw(st.integers(0, int(FIRST_SEED.high))), draw(st.integers(1, limits.SEEDS))
    config = replace(
        drawn,
        racers=tuple(contenders),
        batch=batch,
        seeds=tuple(range(first, first + seeds)),
    )
    assume(is_small_enough(config))
    slots = draw(st.sets(st.integers(0, limits.RACERS - 1), min_size=len(contenders), max_size=len(contenders)))
    charts = [chart.id for chart in charts_for(config.build_task())]
    view = View(draw(st.sampled_from(charts)), draw(st.sampled_from(AXES)), draw(st.sampled_from(SPEEDS)))
    return Scenario(config, tuple(sorted(slots)), view)


NAMES = sorted(
    {"v", "task", "steps", "batch", "seeds", "seed", "chart", "x", "speed", "r0", "r1", "r7", "r8", "r01", "r-1", "r"}
    | {f"task.{hyper.name}" for kind in TASKS.values() for hyper in kind.hypers}
    | {f"r0.{hyper.name}" for rule in RULES.values() for hyper in rule.hypers}
    | {f"r0.{hyper.name}" for schedule in SCHEDULES.values() for hyper in schedule.hypers}
    | {"r1.from", "r2.from", "r2.lr", "r2.beta1"}
    | {"r0.schedule", "r0.reset", "r0.reset_every", "r1.lr", "embed", "utm_source"}
)
NASTY = (
    "0.100",
    "1.3",
    "2.7",
    "",
    " ",
    "0",
    "-0",
    "-1",
    "1e6",
    "1e-300",
    "1e400",
    "-inf",
    "NaN",
    "nan",
    "1_0",
    "٣",
    "0x10",
    "1,5",
    "true",
    "False",
    "1.5",
    "500",
    "1000000",
    "<script>alert(1)</script>",
    "'; drop table",
    "[x](javascript:1)",
    "$\\infty$",
    ":red[x]",
    "../../etc/passwd",
    "\x00",
    "\ud83d",
    "💥",
    "a" * 300,
    *RULES,
    *SCHEDULES,
    *TASKS,
    *AXES,
    *SPEEDS,
    "m",
    "v",
    "all",
    "val_acc",
)
values = st.one_of(st.sampled_from(NASTY), st.text(max_size=40), st.floats().map(repr), st.integers().map(str))
addresses = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=12)), values, max_size=14)


def assert_within_limits(shown: Scenario) -> None:
    """Nothing about it asks for more work than the page's own controls can."""
    config = shown.config
    assert isinstance(config.task, Choice)
    assert 1 <= config.steps <= limits.STEPS
    assert BATCH.low <= config.batch <= (config.build_task().examples or BATCH.high)
    assert len(config.seeds) <= limits.SEEDS and config.seeds[0] <= FIRST_SEED.high
    assert len(config.racers) <= limits.RACERS and max(shown.slots) < limits.RACERS
    for change in config.edits:
        hyper, value = config.racers[change.racer].spec.hyper(change.what.get("setting")), change.what.get("value")
        assert change.what.name == "set" and hyper.low <= value <= hyper.high
    hypers = [(hyper, config.task.get(hyper.name)) for hyper in TASKS[config.task.name].hypers]
    for contender in config.racers:
        assert set(dict(contender.schedules)) <= {"lr"} and contender.schedule.name in OFFERED
        hypers += [(hyper, contender.get(hyper.name)) for hyper in contender.spec.hypers]
        hypers += [(h, contender.schedule.get(h.name)) for h in SCHEDULES[contender.schedule.name].hypers]
        if contender.reset.every:
            hypers.append((EVERY, contender.reset.every))
    for hyper, value in hypers:
        assert type(value) is type(hyper.default), hyper.name
        assert isinstance(value, bool) or hyper.low <= value <= hyper.high, hyper.name
    assert shown.view.chart in [chart.id for chart in charts_for(config.build_task())]
    assert shown.view.x in AXES and shown.view.speed in SPEEDS


def assert_readable(notes: list[str]) -> None:
    """Few notes, each one sentence of harmless characters."""
    assert len(notes) <= 6
    for note in notes:
        assert note.endswith(".") and len(note) <= LENGTH and "\n" not in note
        assert not set(note) & set("<>[]{}`$*\\|:&#"), note


# --- what is shown comes back


@many
@given(scenarios())
def test_a_scenario_comes_back_from_its_address(shown: Scenario) -> None:
    assert read(write(shown)) == (shown, [])


@some
@given(scenarios())
def test_an_address_survives_being_a_link(shown: Scenario) -> None:
    """Quoted as a browser does it, and short enough to be read."""
    link = urlencode(write(shown))
    assert len(link) <= limits.URL_CHARACTERS
    assert read(dict(parse_qsl(link, keep_blank_values=True))) == (shown, [])


@some
@given(scenarios())
def test_a_config_comes_back_from_json(shown: Scenario) -> None:
    text = shown.config.to_json()
    assert Config.from_json(text) == shown.config
    assert Config.from_json(json.dumps(json.loads(text), indent=1)).key() == shown.config.key()


@some
@given(scenarios(), scenarios())
def test_different_races_have_different_keys(one: Scenario, other: Scenario) -> None:
    assert (one.config.key() == other.config.key()) == (one.config == other.config)


def test_the_fullest_race_fits_into_an_address() -> None:
    """Eight racers with every setting away from its default, each as long as a float can be."""

    def odd(hyper: Hyper) -> Any:
        if isinstance(hyper.default, bool):
            return not hyper.default
        if isinstance(hyper.default, int):
            return int(hyper.high)
        return hyper.low + (hyper.high - hyper.low) * 0.12345678901234567

    widest = max(RULES.values(), key=lambda rule: len(rule.hypers))
    schedule = ("step", {hyper.name: odd(hyper) for hyper in SCHEDULES["step"].hypers})
    contender = racer(
        widest.name, schedule=schedule, reset=Reset("all", 4999), **{hyper.name: odd(hyper) for hyper in widest.hypers}
    )
    shown = scenario(race("spirals", [contender] * limits.RACERS, seeds=range(9999, 9999 + limits.SEEDS)))
    assert read(write(shown)) == (shown, [])


def test_no_setting_of_a_rule_shares_its_place_in_the_address_with_another_thing() -> None:
    """`r0.every` could not be a rule's setting and its schedule's at once."""
    taken = {"schedule", "reset", "reset_every"}
    for schedule in SCHEDULES.values():
        for rule in RULES.values():
            names = [*taken, *(hyper.name for hyper in (*rule.hypers, *schedule.hypers))]
            assert len(names) == len(set(names)), (rule.name, schedule.name)


def test_the_bare_address_is_the_default_race() -> None:
    assert read({}) == (default(), [])
    assert read({"utm_source": "mail", "fbclid": "x"}) == (default(), [])
    assert len(default().config.racers) == 3 and len(default().config.seeds) == SEEDS.default


# --- whatever else stands there


@many
@given(addresses)
@example({"v": "1", "r0": "sgd", "r0.lr": "0"})
@example({"r0": "adam", "r0.reset": "m", "r0.reset_every": "1"})
@example({"r0": "adam", "r0.schedule": "tabulated", "r0.values": "1"})
@example({"task": "rosenbrock", "chart": "val_acc", "batch": "256"})
def test_any_address_gives_a_race_within_the_limits(address: Mapping[str, str]) -> None:
    shown, notes = read(address)
    assert_within_limits(shown)
    assert_readable(notes)
    # What was made of it is a proper address, which needs no further correction.
    assert read(write(shown)) == (shown, [])


@many
@given(scenarios(), st.data())
def test_one_spoilt_parameter_leaves_the_others_alone(shown: Scenario, data: st.DataObject) -> None:
    address = write(shown)
    spoilt = data.draw(st.sampled_from([name for name in address if name.startswith("r") and name.endswith(".lr")]))
    found, notes = read(address | {spoilt: "fast"})
    slot = int(spoilt[1 : spoilt.index(".")])
    expected = shown.config.racers[shown.slots.index(slot)]
    expected = expected.but(lr=expected.spec.hyper("lr").default)
    assert found == shown.with_racer(slot, expected)
    assert len(notes) == 1 and "“fast”" in notes[0]


@pytest.mark.parametrize(
    ("text", "taken", "said"),
    [
        ("0", 1e-5, "goes from 1e-05 to 10"),
        ("-3", 1e-5, "goes from 1e-05 to 10"),
        ("NaN", 0.001, "no number"),
        ("1e6", 10.0, "goes from 1e-05 to 10"),
        ("inf", 0.001, "no number"),
        ("fast", 0.001, "no number"),
        ("", 0.001, "no number"),
    ],
)
def test_a_bad_learning_rate_is_clamped_or_refused_in_one_sentence(text: str, taken: float, said: str) -> None:
    shown, notes = read({"v": "1", "r0": "sgd", "r0.lr": text})
    assert [contender.get("lr") for contender in shown.config.racers] == [taken]
    assert len(notes) == 1 and said in notes[0] and f"{taken:g} is used" in notes[0]
    assert_readable(notes)


def test_an_unknown_optimizer_is_named_and_replaced() -> None:
    shown, notes = read({"v": "1", "r0": "warp", "r3": "adam"})
    assert [contender.rule for contender in shown.config.racers] == ["sgd", "adam"] and shown.slots == (0, 3)
    assert len(notes) == 1 and notes[0].startswith("There is no optimizer “warp”") and "is used." in notes[0]


def test_five_hundred_racers_are_cut_to_eight_or_refused() -> None:
    short = {f"r{slot}": "sgd" for slot in range(500)}
    shown, notes = read(short)
    assert len(shown.config.racers) <= limits.RACERS and len(notes) == 1
    shown, notes = read({"v": "1", **{f"r{slot}": "adam" for slot in range(100)}})
    assert len(shown.config.racers) == limits.RACERS
    assert notes == ["A race has at most 8 racers; the others of this link were left out."]


def test_a_million_steps_are_cut_to_the_limit() -> None:
    shown, notes = read({"v": "1", "steps": "1000000"})
    assert shown.config.steps == limits.STEPS
    assert len(notes) == 1 and "goes from 1 to 5000" in notes[0]


def test_a_fraction_where_a_whole_number_belongs_is_said_to_be_one() -> None:
    shown, notes = read({"v": "1", "steps": "150.5"})
    assert shown.config.steps == 150
    assert notes == ["Steps of this race is “150.5”, no whole number; 150 is used."]


@pytest.mark.parametrize(("text", "taken", "notes"), [("1077", 1077, 0), ("700", 700, 0), ("1078", 1077, 1)])
def test_a_batch_may_be_all_of_the_data_and_no_more(text: str, taken: int, notes: int) -> None:
    shown, said = read({"task": "digits", "batch": text, "r0": "lbfgs" if taken == 1077 else "sgd"})
    assert shown.config.batch == taken and len(said) == notes
    assert not notes or said == ["Batch of this race is “1078”, but goes from 4 to 1077 here; 1077 is used."]
    assert_readable(said)


@pytest.mark.parametrize(
    ("address", "about"),
    [
        ({"task": "digits", "r0": "adam", "r1": "lbfgs"}, "batch must be 1077"),
        ({"task": "moons", "r0": "lbfgs", "batch": "256"}, "batch must be 600"),
        ({"task": "quadratic", "r0": "sophia"}, "no classes"),
    ],
)
def test_a_link_to_a_race_that_its_optimizer_refuses_says_why(address: dict[str, str], about: str) -> None:
    shown, said = read(address)
    assert shown == default() and len(said) == 1 and about in said[0]
    assert_readable(said)


@pytest.mark.parametrize(
    ("rule", "before", "batch", "after", "expected"),
    [
        ("adam", "digits", 32, "moons", 32),
        ("adam", "digits", 1077, "moons", 600),
        ("adam", "digits", 700, "moons", 600),
        ("adam", "digits", 8, "quadratic", 8),
        ("adam", "digits", 1077, "quadratic", 32),
        ("adam", "quadratic", 8, "digits", 8),
        ("adam", "digits", 32, "lstm", 16),
        ("adam", "lstm", 16, "digits", 32),
        ("lbfgs", "quadratic", 8, "digits", 1077),
        ("lbfgs", "moons", 600, "digits", 1077),
    ],
)
def test_all_of_the_data_stays_all_on_another_problem(
    rule: str, before: str, batch: int, after: str, expected: int
) -> None:
    """And who needs it has it, since on a function there is no menu to choose it from beforehand."""
    _, found, _ = turned(race(before, [racer(rule)], batch=batch), after)
    assert found == expected


def test_what_was_as_usual_is_as_usual_on_another_problem_and_what_was_chosen_stays() -> None:
    usual = race("digits", [racer("adam")], steps=1000, seeds=8)
    assert turned(usual, "lstm") == (TASKS["lstm"].steps, TASKS["lstm"].batch, tuple(range(TASKS["lstm"].seeds)))
    chosen = race("digits", [racer("adam")], steps=300, batch=8, seeds=(4, 5, 6))
    assert turned(chosen, "lstm") == (300, 8, (4, 5, 6))


def test_all_of_the_digits_are_within_the_limits_for_four_racers_and_eight_seeds() -> None:
    config = race("digits", [racer("lbfgs", strong_wolfe=True)] * 4, batch=1077, seeds=8)
    assert scenario(config).config == config
    with pytest.raises(ValueError, match="times as large as one may be here"):
        scenario(race("digits", [racer("adam")] * 8, batch=1077, seeds=10))


def test_a_script_in_a_name_is_not_repeated() -> None:
    _, notes = read({"v": "1", "task": "<script>alert(1)</script>", "r0": "<img src=x onerror=alert(1)>"})
    assert len(notes) == 2
    assert_readable(notes)


def test_no_link_is_made_of_a_strangers_text() -> None:
    _, notes = read({"v": "1", "task": "WWW.evil-bank.com"})
    assert "www." not in notes[0].lower()


def test_a_link_that_is_too_long_is_refused_as_a_whole() -> None:
    shown, notes = read({"v": "1", "r0": "sgd", "junk": "x" * limits.URL_CHARACTERS})
    assert shown == default() and len(notes) == 1
    assert_readable(notes)


def test_a_link_of_another_version_is_read_and_said() -> None:
    shown, notes = read({"v": "2", "r0": "adam"})
    assert shown.config.racers[0].rule == "adam" and len(notes) == 1 and "version" in notes[0]


# --- changing a scenario


@some
@given(scenarios())
def test_racers_keep_their_colours(shown: Scenario) -> None:
    by_colour = dict(zip(shown.slots, shown.config.racers, strict=True))
    free = shown.free_slot()
    if free is None:
        assert len(shown.slots) == limits.RACERS
    else:
        assume(is_small_enough(replace(shown.config, racers=(*shown.config.racers, racer("sgd")))))
        more = shown.with_racer(free, racer("sgd"))
        assert dict(zip(more.slots, more.config.racers, strict=True)) == by_colour | {free: racer("sgd")}
        assert more.without(free) == shown
    if len(shown.slots) > 1:
        fewer = shown.without(shown.slots[0])
        assert dict(zip(fewer.slots, fewer.config.racers, strict=True)) == {s: by_colour[s] for s in shown.slots[1:]}
    else:
        with pytest.raises(ValueError, match="at least one racer"):
            shown.without(shown.slots[0])


def test_a_scenario_needs_a_colour_for_each_racer() -> None:
    config = race("quadratic", [racer("sgd"), racer("adam")])
    for slots in ((0,), (0, 0), (1, 0), (0, 1, 2)):
        with pytest.raises(ValueError, match="colours"):
            Scenario(config, slots, View("distance"))


@pytest.mark.parametrize("task", TASKS)
def test_the_view_follows_the_task(task: str) -> None:
    """A chart that the other problem does not have gives way to its first one."""
    shown = scenario(race("digits", [racer("adam")])).with_config(race(task, [racer("adam")]))
    assert shown.view.chart in [chart.id for chart in charts_for(shown.config.build_task())]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_from_its_address(name: str) -> None:
    shown = PRESETS[name].make()
    assert read(write(shown)) == (shown, [])
    assert_within_limits(shown)
