"""Settings, names, numbers and presets: what the buttons make of a race, and what the page calls things."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import RULES, SCHEDULES, TASKS, Config, Hyper, Racer, Recording, Reset, race, racer, run
from core.analysis import seeds_needed
from core.config import BATCH, EVERY, STEPS, Choice
from core.tuned import tuned
from tests.strategies import configs, fitting, racers
from ui import limits
from ui.names import labels
from ui.numbers import number_text
from ui.presets import PRESETS
from ui.scenario import SEEDS, default
from ui.settings import (
    DEFAULTS,
    SAME,
    TUNED,
    each_tuned,
    library_defaults,
    newcomer,
    same_rate,
    setting_of,
    tuned_racer,
)

some = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
races = configs(edited=False)
BOWL = race("quadratic", [racer("sgd")]).build_task()
contenders = st.lists(racers(rules=fitting(BOWL, int(BATCH.default))), min_size=1, max_size=limits.RACERS)


def shares(config: Config) -> tuple[object, ...]:
    """What all racers of a race share."""
    return config.task, config.steps, config.batch, config.seeds, config.edits, [r.rule for r in config.racers]


# --- the three questions


@some
@given(races)
def test_the_same_rate_is_the_first_ones_and_changes_nothing_else(config: Config) -> None:
    made = same_rate(config)
    assert shares(made) == shares(config)
    rate = config.racers[0].get("lr")
    assert [r.get("lr") for r in made.racers] == [rate] * len(config.racers)
    assert list(made.racers) == [r.but(lr=rate) for r in config.racers]


@some
@given(races)
def test_library_defaults_are_bare_racers(config: Config) -> None:
    made = library_defaults(config)
    assert shares(made) == shares(config)
    for contender in made.racers:
        assert contender == racer(contender.rule)
        assert all(contender.get(hyper.name) == hyper.default for hyper in contender.spec.hypers)
    assert setting_of(made) in (DEFAULTS, TUNED)


@some
@given(races)
def test_each_tuned_is_what_was_measured_for_exactly_this_setting(config: Config) -> None:
    assert isinstance(config.task, Choice)
    rates = [tuned(config.task, config.steps, config.batch, r.rule) for r in config.racers]
    made = each_tuned(config)
    if None in rates:
        assert made is None
    else:
        assert made is not None and shares(made) == shares(config)
        assert list(made.racers) == [racer(r.rule, lr=rate) for r, rate in zip(config.racers, rates, strict=True)]
        assert setting_of(made) == TUNED


@pytest.mark.parametrize("task", TASKS)
def test_every_task_was_tuned_at_its_usual_setting(task: str) -> None:
    """Else the first screen of that problem would not be a fair race."""
    kind = TASKS[task]
    usual = race(task, [racer("sgd"), racer("momentum"), racer("adam")], steps=kind.steps, batch=kind.batch)
    made = each_tuned(usual)
    assert made is not None
    assert all(
        contender.spec.hyper("lr").low <= contender.get("lr") <= contender.spec.hyper("lr").high
        for contender in made.racers
    )


def test_what_was_not_tuned_is_not_claimed_to_be() -> None:
    for config in (
        race(("digits", {"width": 64}), [racer("adam")]),
        race("digits", [racer("adam")], steps=999),
        race("digits", [racer("adam")], batch=16),
    ):
        assert each_tuned(config) is None and tuned_racer(config, "adam") is None
        assert newcomer(config, "adam") == racer("adam")


def test_a_setting_is_named_only_while_it_holds() -> None:
    config = default().config
    assert setting_of(config) == TUNED
    assert setting_of(library_defaults(config)) == DEFAULTS
    assert setting_of(same_rate(config)) == SAME
    first, *others = config.racers
    touched = race("digits", [first.but(lr=first.get("lr") * 0.5), *others], seeds=8)
    assert setting_of(touched) is None
    alone = race("digits", [racer("sgd", lr=0.123)])
    assert setting_of(alone) is None


# --- names


@some
@given(contenders)
def test_all_names_are_different_and_begin_with_the_rule(chosen: list[Racer]) -> None:
    names = labels(race("quadratic", chosen))
    assert len(set(names)) == len(names)
    for name, contender in zip(names, chosen, strict=True):
        assert name.startswith(RULES[contender.rule].label)


def test_names_say_no_more_than_is_needed() -> None:
    cut = ("step", {"factor": 0.1, "every": 100})
    assert labels(race("digits", [racer("sgd"), racer("adam")])) == ["SGD", "Adam"]
    assert labels(race("digits", [racer("adam", lr=0.003), racer("adam", lr=0.1), racer("sgd")])) == [
        "Adam (lr 0.003)", "Adam (lr 0.1)", "SGD",
    ]  # fmt: skip
    for other, word in (
        (racer("adam", schedule=cut), "step decay"),
        (racer("adam", reset=Reset("v", 50)), "v every 50"),
        (racer("adam", beta1=0.5), "0.5"),
    ):
        plain, named, sgd = labels(race("digits", [racer("adam"), other, racer("sgd")]))
        assert plain.startswith("Adam") and named.startswith("Adam") and sgd == "SGD"
        assert word in named and word not in plain and "0.001" not in plain
    assert labels(race("digits", [racer("adam"), racer("adam")])) == ["Adam (1)", "Adam (2)"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.003, "0.003"),
        (1e-8, "1e-8"),
        (1000, "1,000"),
        (0.00025, "2.5e-4"),
        (0.0, "0"),
        (-1e-5, "-1e-5"),
        (10.0, "10"),
    ],
)
def test_numbers_are_said_as_people_say_them(value: float, text: str) -> None:
    assert number_text(value) == text


HYPERS: dict[str, Hyper] = {
    f"{owner}.{hyper.name}": hyper
    for owner, hypers in (
        *((name, rule.hypers) for name, rule in RULES.items()),
        *((name, schedule.hypers) for name, schedule in SCHEDULES.items()),
        *((name, task.hypers) for name, task in TASKS.items()),
    )
    for hyper in hypers
    if not isinstance(hyper.default, bool)
} | {hyper.name: hyper for hyper in (STEPS, BATCH, SEEDS, EVERY)}


@pytest.mark.parametrize("name", HYPERS)
def test_the_stops_of_a_slider_read_differently_and_as_what_they_are(name: str) -> None:
    """The browser sends back a text: two stops with the same one would be the same stop."""
    hyper = HYPERS[name]
    stops = hyper.stops(hyper.default)  # as the page asks for them
    texts = [number_text(stop) for stop in stops]
    assert len(set(texts)) == len(texts)
    assert [float(text.replace(",", "")) for text in texts] == pytest.approx(stops, rel=2e-3)  # three digits
    assert stops[0] == hyper.low and stops[-1] == hyper.high


@pytest.mark.parametrize(
    "name", [name for name, h in HYPERS.items() if isinstance(h.default, int) and h.high - h.low <= 20 and not h.grid]
)
def test_a_short_slider_of_whole_numbers_offers_each_of_them(name: str) -> None:
    hyper = HYPERS[name]
    assert hyper.stops() == list(range(int(hyper.low), int(hyper.high) + 1))


# --- presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_within_the_pages_limits_and_says_what_it_is(name: str) -> None:
    preset = PRESETS[name]
    shown = preset.make()
    assert preset.name == name and preset.sentence[-1] in ".?" and len(preset.sentence) < 120
    assert len(shown.config.racers) <= limits.RACERS and shown.config.steps <= limits.STEPS
    count = len(shown.config.racers)
    needed = seeds_needed(count * (count - 1) // 2, 0.05)
    assert isinstance(shown.config.task, Choice)
    usual = TASKS[shown.config.task.name].seeds
    assert len(shown.config.seeds) >= usual
    assert usual == 1 or needed <= len(shown.config.seeds), "nothing could be proved"
    assert preset.make() == shown


def test_presets_are_different_races() -> None:
    assert len({preset.make().config for preset in PRESETS.values()}) == len(PRESETS)
    assert len({preset.sentence for preset in PRESETS.values()}) == len(PRESETS)


def test_presets_show_what_their_names_say() -> None:
    made = {name: preset.make().config for name, preset in PRESETS.items()}
    tuned_rates = {rule: each_tuned(race("digits", [racer(rule)])) for rule in ("sgd", "adam")}
    sgd, adam = (found.racers[0].get("lr") for found in tuned_rates.values() if found)
    assert ("adam", sgd) in [(r.rule, r.get("lr")) for r in made["Adam at SGD's rate"].racers]
    assert ("sgd", adam) in [(r.rule, r.get("lr")) for r in made["SGD at Adam's rate"].racers]
    assert setting_of(made["A fair race"]) == TUNED
    assert setting_of(made["Out of the box"]) == DEFAULTS
    hot = made["Too hot to start"]
    assert all(r.get("lr") >= 10 * sgd or r.get("lr") == 10 for r in hot.racers[1:])
    assert all(r.decays(hot.steps) == (hot.steps // 2,) for r in hot.racers[1:])
    forget = made["Forget at each decay"]
    assert [r.reset.what for r in forget.racers] == ["nothing", "nothing", "m", "all"]
    assert forget.racers[0].decays(forget.steps) == (), "the control: no decay at all"
    assert all(r.resets(forget.steps) == r.decays(forget.steps) != () for r in forget.racers[2:])
    memory = made["How much memory"]
    assert sorted(r.get("beta1") for r in memory.racers) == [0.0, 0.9, 0.99]
    assert len({r.but(beta1=0.9) for r in memory.racers}) == 1
    assert [(r.rule, r.schedule.name) for r in made["SGD with a good schedule"].racers[:1]] == [("sgd", "cosine")]
    assert all(r == racer(r.rule) for r in made["SGD with a good schedule"].racers[1:]), "as their libraries make them"
    free = made["No schedule needed?"].racers
    assert [(r.rule, r.schedule.name) for r in free] == [
        ("sgd", "constant"), ("sgd", "cosine"), ("schedule_free_sgd", "constant"),
    ]  # fmt: skip


def test_the_essays_races_differ_in_the_optimizers_settings_alone() -> None:
    classmates, essay = (PRESETS[n].make().config for n in ("The classmates", "The script generator of the essay"))
    assert [(r.rule, r.get("lr")) for r in classmates.racers] == [
        ("adam", 0.1), ("adam", 0.003), ("sgd", 3.0), ("momentum", 0.3),
    ]  # fmt: skip
    assert all(r == racer(r.rule, lr=r.get("lr")) for r in classmates.racers)
    assert [(r.rule, r.get("lr")) for r in essay.racers] == [
        ("adam", 0.3), ("adam", 0.01), ("sgd", 6.0), ("momentum", 1.0), ("adam", 0.3),
    ]  # fmt: skip
    last = len(essay.racers) - 1
    assert essay.racers[last].decays(essay.steps) == (100,)
    rates = essay.values(last, "lr", 0, essay.steps)
    assert rates[:100] == pytest.approx(0.3) and rates[100:] == pytest.approx(0.01)


def test_adam_runs_the_wrong_way_where_the_preset_says_so() -> None:
    """On every seed: Adam ends above its start, AMSGrad and SGD below."""
    config = PRESETS["Adam runs the wrong way"].make().config
    history = run(config, recording=Recording(evaluations=2, probes=1))
    before, after = history.evals["train_loss"][0], history.evals["train_loss"][-1]
    ways = dict(zip([r.rule for r in config.racers], np.sign(after - before).tolist(), strict=True))
    seeds = len(config.seeds)
    assert ways == {"adam": [1] * seeds, "amsgrad": [-1] * seeds, "sgd": [-1] * seeds}
