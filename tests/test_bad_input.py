"""Bad input to the core: a `ValueError` that names the setting, what was given, and what is allowed."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import RULES, SCHEDULES, TASKS, Config, Edit, Hyper, Racer, Reset, edit, from_function, race, racer, run
from core.config import Choice
from core.edits import EDITS
from core.schedules import Schedule
from tests.refusals import refused
from tests.strategies import configs

SGD = [racer("sgd")]
NUMBERS = {"not a number": float("nan"), "infinite": float("inf"), "text": "fast", "a switch": True, "nothing": None,
           "a list": [0.1], "huge": 10**400}  # fmt: skip


# One setting


@pytest.mark.parametrize("bad", [0, -0.1, 1e6, *NUMBERS.values()], ids=["zero", "negative", "1e6", *NUMBERS])
@pytest.mark.parametrize("rule", RULES)
def test_learning_rate(rule: str, bad: object) -> None:
    refused(lambda: racer(rule, lr=bad), "Learning rate (lr)", repr(bad)[:40], "must be above 0 and at most 1000")


def owners() -> list[tuple[str, Hyper, Callable[[object], object]]]:
    """Every setting of every registry, with the way to give it a value."""

    def of_rule(rule: str, hyper: Hyper) -> Callable[[object], object]:
        return lambda value: racer(rule, **cast(Any, {hyper.name: value}))

    def of_schedule(entry: Schedule, hyper: Hyper) -> Callable[[object], object]:
        return lambda value: racer("sgd", schedule=(entry.name, {hyper.name: value}))

    def of_task(task: str, hyper: Hyper) -> Callable[[object], object]:
        return lambda value: race((task, {hyper.name: value}), SGD)

    return [
        *((f"{name}.{h.name}", h, of_rule(name, h)) for name, rule in RULES.items() for h in rule.hypers),
        *((f"{name}.{h.name}", h, of_schedule(entry, h)) for name, entry in SCHEDULES.items() for h in entry.hypers),
        *((f"{name}.{h.name}", h, of_task(name, h)) for name, task in TASKS.items() for h in task.hypers),
    ]


@pytest.mark.parametrize(("hyper", "give"), [entry[1:] for entry in owners()], ids=[entry[0] for entry in owners()])
def test_every_setting_of_every_registry_says_what_it_takes(hyper: Hyper, give: Callable[[object], object]) -> None:
    """Outside the domain on either side, no number at all, and a fraction where whole numbers are asked for."""
    low = hyper.low if hyper.minimum is None else hyper.minimum
    high = hyper.high if hyper.maximum is None else hyper.maximum
    switch = isinstance(hyper.default, bool)
    bad: list[object] = [value for value in NUMBERS.values() if not (switch and value is True)]
    bad += [2, -1] if switch else [low - 1, high * 2 + 1]
    bad += [low] if hyper.open_minimum else []
    bad += [high] if hyper.open_maximum else []
    bad += [low + 0.5] if isinstance(hyper.default, int) and not switch else []
    for value in bad:
        refused(lambda value=value: give(value), f"({hyper.name})", repr(value)[:40], "must be", hyper.domain)  # type: ignore[misc]


def test_settings_keep_their_type() -> None:
    """A whole number given as 3.0 is 3, a switch given as 1 is True, a rate given as 1 is 1.0."""
    assert repr(race(("moons", {"depth": 3.0}), SGD).task) == repr(race(("moons", {"depth": 3}), SGD).task)
    assert racer("rmsprop", centered=1).get("centered") is True
    assert repr(racer("sgd", lr=1).get("lr")) == "1.0"


# Names


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: racer("adamm"), ("optimizer", "'adamm'", "adam, radam, nadam", "+sam")),
        (lambda: racer(3), ("optimizer", "3", "sgd, momentum, nesterov")),  # type: ignore[arg-type]
        (lambda: racer("sgd", beta1=0.9), ("sgd", "'beta1'", "lr, weight_decay, clip")),
        (lambda: racer("sgd", schedule="cosinus"), ("schedule", "'cosinus'", "constant", "step")),
        (lambda: racer("sgd", schedule=("step", {"evry": 3})), ("'step'", "'evry'", "factor, every")),
        (lambda: racer("sgd", schedules={"beta1": ("step", {})}), ("scheduled setting", "'beta1'", "lr")),
        (lambda: racer("sgd", schedule=("tabulated", {})), ("'tabulated'", "list of values")),
        (lambda: racer("sgd", schedule=("tabulated", {"values": []})), ("'tabulated'", "list of values")),
        (lambda: racer("sgd", schedule=("tabulated", {"values": [0.1, 1e400]})), ("'tabulated'", "inf", "finite")),
        (lambda: racer("sgd", schedule=("tabulated", {"values": ["x"]})), ("'tabulated'", "'x'", "finite")),
        (lambda: race("digit", SGD), ("task", "'digit'", "digits, moons")),
        (lambda: race(("digits", {"deep": 3}), SGD), ("digits", "'deep'", "width, depth")),
        (lambda: Reset("w"), ("reset", "'w'", "nothing, m, v, all")),
        (lambda: Reset("m", -5), ("Reset every (every)", "-5", "at least 1")),
        (lambda: Reset("m", 1.5), ("Reset every (every)", "1.5", "whole number")),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_unknown_names_are_answered_with_the_known_ones(make: Callable[[], object], words: tuple[str, ...]) -> None:
    refused(make, *words)


# The race


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"steps": 0}, ("Steps (steps)", "0", "at least 1 and at most 1e+07")),
        ({"steps": -1}, ("Steps (steps)", "-1", "at least 1")),
        ({"steps": 1.5}, ("Steps (steps)", "1.5", "whole number")),
        ({"steps": True}, ("Steps (steps)", "True", "whole number")),
        ({"steps": "100"}, ("Steps (steps)", "'100'", "whole number")),
        ({"batch": 0}, ("Batch (batch)", "0", "at least 1")),
        ({"batch": 2.5}, ("Batch (batch)", "2.5", "whole number")),
        ({"batch": 601}, ("batch", "601", "at most 600")),
        ({"seeds": 0}, ("seeds", "0", "at least 1")),
        ({"seeds": -2}, ("seeds", "-2", "at least 1")),
        ({"seeds": True}, ("seeds", "True", "at least 1")),
        ({"seeds": []}, ("seeds", "[]", "different whole numbers of at least 0")),
        ({"seeds": [1, 1]}, ("seeds", "[1, 1]", "different")),
        ({"seeds": [0, -1]}, ("seeds", "[0, -1]", "at least 0")),
        ({"seeds": [0.5]}, ("seeds", "0.5", "whole numbers")),
        ({"seeds": [True]}, ("seeds", "True", "whole numbers")),
        ({"seeds": "12"}, ("seeds", "'12'", "whole numbers")),
    ],
)
def test_races(given_: Mapping[str, Any], words: tuple[str, ...]) -> None:
    refused(lambda: race("moons", SGD, **given_), *words)


def test_a_race_needs_a_racer() -> None:
    refused(lambda: race("moons", []), "at least one racer")


def test_the_largest_batch_is_the_training_data() -> None:
    assert race("moons", SGD, batch=600).batch == 600


@pytest.mark.parametrize(
    ("step", "index", "words"),
    [
        (10, 0, ("step of an edit", "10", "from 0 to 9")),
        (-1, 0, ("step of an edit", "-1", "from 0 to 9")),
        (1.5, 0, ("step of an edit", "1.5", "whole number from 0 to 9")),
        ("1", 0, ("step of an edit", "'1'", "whole number")),
        (True, 0, ("step of an edit", "True", "whole number")),
        (0, 1, ("racer of an edit", "1", "from 0 to 0")),
        (0, -1, ("racer of an edit", "-1", "from 0 to 0")),
        (0, None, ("racer of an edit", "None", "whole number")),
    ],
)
def test_edits_outside_the_race(step: Any, index: Any, words: tuple[str, ...]) -> None:
    refused(lambda: race("moons", SGD, steps=10, edits=[edit(step, index, "reset", what="m")]), *words)


@pytest.mark.parametrize(
    ("what", "given_", "words"),
    [
        ("spike", {}, ("edit", "'spike'", "reset", "scale_gradient")),
        ("reset", {}, ("'reset'", "what", "nothing")),
        ("reset", {"what": "w"}, ("reset", "'w'", "m, v, all")),
        ("reset", {"what": 1}, ("what", "1", "a word")),
        ("scale_gradient", {"factr": 2.0}, ("'scale_gradient'", "factor", "factr")),
        *(
            ("scale_gradient", {"factor": bad}, ("factor", repr(bad)[:40], "a finite number"))
            for bad in NUMBERS.values()
        ),
        ("reinitialise", {"draw": 0.5}, ("draw", "0.5", "whole number of at least 0")),
        ("reinitialise", {"draw": -1}, ("draw", "-1", "whole number of at least 0")),
        ("set", {"setting": "lr", "value": -1.0}, ("Learning rate (lr)", "-1", "above 0 and at most 1000")),
        ("set", {"setting": "beta1", "value": 0.5}, ("sgd", "'beta1'", "lr, weight_decay, clip")),
        ("set", {"setting": 3, "value": 0.5}, ("setting", "3", "a word")),
    ],
)  # fmt: skip
def test_edits_with_wrong_settings(what: str, given_: Mapping[str, Any], words: tuple[str, ...]) -> None:
    refused(lambda: race("moons", SGD, steps=10, edits=[edit(0, 0, what, **given_)]), *words)


def test_every_kind_of_edit_can_be_made_and_written() -> None:
    """Those of the registry with plain values, through JSON and back."""
    plain: dict[type, Any] = {str: "m", float: 0.5, int: 2}
    for kind in EDITS.values():
        chosen = {name: plain[type_] for name, type_ in kind.settings.items() if name not in kind.defaults} | (
            {"setting": "lr"} if kind.name == "set" else {}
        )
        config = race("moons", SGD, edits=[edit(3, 0, kind.name, **chosen)])
        assert Config.from_json(config.to_json()) == config


# Any door


def with_schedule(setting: str, name: str, **settings: object) -> Racer:
    """SGD with a schedule, put together by hand."""
    return Racer("sgd", (), ((setting, Choice(name, tuple(settings.items()))),))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_schedule("lr", "stairs"), ("schedule", "'stairs'")),
        (lambda: with_schedule("lr", "step", factor=7.0), ("Decay factor", "7")),
        (lambda: with_schedule("lr", "step", speed=1), ("'step'", "'speed'")),
        (lambda: with_schedule("lr", "tabulated", values=()), ("'tabulated'", "list of values")),
        (lambda: with_schedule("lr", "tabulated", values=(0.1, math.nan)), ("'tabulated'", "nan", "finite")),
        (lambda: with_schedule("beta1", "cosine"), ("scheduled setting", "'beta1'")),
        (lambda: with_schedule("weight_decay", "plateau"), ("'plateau'", "learning rate")),
        (lambda: replace(racer("sgd"), schedules=(("lr", Choice("step", (("factor", 0.0),))),)), ("Decay factor", "0")),
        (lambda: replace(racer("sgd"), settings=(("lr", -1.0),)), ("Learning rate", "-1")),
        (lambda: replace(racer("sgd"), rule="sdg"), ("sdg",)),
        (lambda: Edit(0, 0, Choice("spike")), ("edit", "'spike'")),
        (lambda: Edit(0, 0, Choice("reset", (("what", "w"),))), ("reset", "'w'")),
        (lambda: Edit(0, 0, Choice("scale_gradient")), ("'scale_gradient'", "factor", "nothing")),
        (lambda: replace(edit(0, 0, "reset", what="m"), what=Choice("reinitialise", (("draw", -1),))), ("draw", "-1")),
        (lambda: Config(Choice("mons"), (racer("sgd"),)), ("mons",)),
        (lambda: Config(Choice("moons", (("width", 0),)), (racer("sgd"),)), ("Hidden units", "0")),
        (lambda: Config(Choice("moons"), (racer("sgd"),), seeds=(True,)), ("seeds", "True")),
        (lambda: replace(race("moons", SGD), task=Choice("moons", (("noise", -1.0),))), ("Noise", "-1")),
        (lambda: replace(race("moons", SGD), batch=601), ("batch", "601")),
    ],
)
def test_what_is_put_together_by_hand_is_checked_as_well(make: Callable[[], object], words: tuple[str, ...]) -> None:
    refused(make, *words)


def test_what_is_put_together_by_hand_is_complete() -> None:
    """Defaults are filled in and numbers have their types: equal to what the functions make, and written alike."""
    by_hand = Config(
        Choice("moons"), (with_schedule("lr", "step", factor=0.5),), 100, 20, (0,),
        (Edit(3, 0, Choice("scale_gradient", (("factor", 2),))),),
    )  # fmt: skip
    made = race(
        "moons", [racer("sgd", schedule=("step", {"factor": 0.5}))], steps=100, batch=20,
        edits=[edit(3, 0, "scale_gradient", factor=2.0)],
    )  # fmt: skip
    assert by_hand == made
    assert by_hand.to_json() == made.to_json() == Config.from_json(made.to_json()).to_json()
    assert with_schedule("lr", "constant") == racer("sgd")


def test_a_rule_that_compares_two_steps_needs_the_same_loss_at_both() -> None:
    refused(lambda: race("wrong_way", [racer("lbfgs")]), "L-BFGS", "another one at each step")
    assert race("rosenbrock", [racer("lbfgs")]).racers[0].rule == "lbfgs"


# JSON


GOOD = race("moons", [racer("adam", schedule="step")], edits=[edit(1, 0, "reset", what="m")]).to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"race"',
        "{}",
        "[" * 100_000,
        '{"task":{"name":"moons","settings":{}}}',
        "\x00",
        "NaN",
    ],
)
def test_what_is_no_race(text: str) -> None:
    refused(lambda: Config.from_json(text), "This is not a race")


SCRAPS = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=5),
        st.sampled_from([10**400, "adam", "moons", "set", "lr", 1e308]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["name", "settings", "lr", "every"]), inner, max_size=2),
    ),
    max_leaves=4,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, entry in entries for place in places(entry, (*path, key))]


@settings(deadline=None, derandomize=True, max_examples=400)
@given(data=st.data(), scrap=SCRAPS)
def test_a_race_with_something_else_in_one_place_is_read_or_refused(data: st.DataObject, scrap: Any) -> None:
    """Whatever stands in whichever place of a good race: a race, or a `ValueError`, and nothing else."""
    value = json.loads(GOOD)
    *above, last = data.draw(st.sampled_from(places(value)[1:]))
    at = value
    for key in above:
        at = at[key]
    at[last] = scrap
    try:
        config = Config.from_json(json.dumps(value))
    except ValueError:
        return
    assert Config.from_json(config.to_json()) == config


@settings(deadline=None, derandomize=True, max_examples=30)
@given(data=st.data(), config=configs())
def test_a_race_with_something_missing_is_refused(data: st.DataObject, config: Config) -> None:
    value = json.loads(config.to_json())
    del value[data.draw(st.sampled_from(sorted(value)))]
    refused(lambda: Config.from_json(json.dumps(value)), "This is not a race")


def test_a_racer_made_by_hand_is_checked_too() -> None:
    refused(lambda: Racer("sgd", (("lr", -1.0),)), "lr", "-1.0")
    refused(lambda: Racer("sdg", ()), "sdg")
    assert Reset("m", 300.0).every == 300  # type: ignore[arg-type]


def test_a_function_must_give_one_loss_a_row() -> None:
    task = from_function(lambda x, step: x**2, [1.0, 2.0])
    refused(lambda: run(race(task, SGD, steps=3)), "(1, 2)", "one loss a row")


def test_a_function_of_ones_own_has_no_text() -> None:
    config = race(from_function(lambda x, step: x[:, 0] ** 2, [1.0]), SGD)
    refused(config.to_json, "this process only")
