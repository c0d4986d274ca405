"""The tuned rates that are kept as data: what they refer to exists, and one of them comes out again."""

import pytest

from benchmarks.tune import GRID, USUAL, Setting, allowed, best, beyond, settings, tune
from core import RULES, TASKS
from core.config import Choice
from core.spec import complete
from core.tuned import measured, part, tuned

ENTRIES = measured()["entries"]


def choice(task: str, **changed: object) -> Choice:
    return Choice(task, complete(TASKS[task].hypers, changed, task))


def test_the_file_says_how_it_was_made() -> None:
    assert {"measured", "versions", "protocol", "entries"} <= measured().keys()
    assert measured()["versions"].keys() == {"python", "torch", "numpy"}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['task']}-{e['steps']}-{e['batch']}-{e['rule']}")
def test_an_entry_refers_to_what_exists(entry: dict) -> None:
    task = choice(entry["task"], **entry["settings"])
    assert dict(task.settings) == entry["settings"]
    stops = RULES[entry["rule"]].hyper("lr").stops()
    curve = dict(entry["curve"])
    assert set(curve) <= set(stops)
    assert curve[entry["lr"]] == pytest.approx(entry["loss"], rel=1e-3)
    assert curve[entry["lr"]] == min(value for value in curve.values() if value is not None)
    inside = min(curve) < entry["lr"] < max(curve)
    assert entry["edge"] is not inside
    assert inside or entry["lr"] in (stops[0], stops[-1])  # a search ends inside or at an end of the slider
    assert tuned(task, entry["steps"], entry["batch"] or 7, entry["rule"]) == entry["lr"]


def test_no_setting_is_kept_twice() -> None:
    names = [(e["task"], e["steps"], e["batch"], e["rule"]) for e in ENTRIES]
    assert len(set(names)) == len(names)


def test_everything_that_is_tuned_now_is_in_the_file() -> None:
    kept = {(e["task"], e["steps"], e["batch"], e["rule"], e["part"]) for e in ENTRIES}
    assert kept == {(s.task, s.steps, s.batch, rule, part(choice(s.task))) for s in settings() for rule in allowed(s)}


def test_a_starting_point_for_the_usual_three_is_tuned_wherever_a_race_begins() -> None:
    for name, kind in TASKS.items():
        for rule in USUAL:
            assert tuned(choice(name), kind.steps, kind.batch, rule) is not None, (name, rule)


@pytest.mark.parametrize(
    ("task", "steps", "batch", "rule"),
    [
        (choice("digits", width=64), 1000, 32, "adam"),
        (choice("moons", noise=0.2), 1000, 32, "adam"),
        (choice("quadratic", condition=100.0), 300, 32, "sgd"),
        (choice("digits"), 999, 32, "adam"),
        (choice("digits"), 1000, 16, "adam"),
        (choice("digits"), 500, 8, "adam"),
        (choice("digits"), 1000, 32, "no such rule"),
        (Choice("no such task"), 1000, 32, "adam"),
    ],
)
def test_what_was_not_tuned_has_no_rate(task: Choice, steps: int, batch: int, rule: str) -> None:
    assert tuned(task, steps, batch, rule) is None


def test_one_rate_comes_out_again() -> None:
    """Its best rate is better than its neighbours by orders of magnitude, so rounding does not decide."""
    (again,) = tune(Setting("quadratic", 300, None), ["sgd"])
    (kept,) = [e for e in ENTRIES if (e["task"], e["steps"], e["rule"]) == ("quadratic", 300, "sgd")]
    assert again["lr"] == kept["lr"] == tuned(choice("quadratic"), 300, 32, "sgd")
    assert [rate for rate, _ in again["curve"]] == [rate for rate, _ in kept["curve"]]


def test_a_search_goes_on_beyond_an_end_that_is_best() -> None:
    inf = float("inf")
    rising = {0.1: (1.0, 1.0), 0.2: (2.0, 1.0), 0.3: (inf, inf)}
    assert best(rising) == 0.1
    assert beyond(rising) == [0.03, 0.05]
    assert beyond({0.1: (2.0, 1.0), 0.2: (1.0, 1.0)}) == [0.3, 0.5]
    assert beyond({0.1: (2.0, 1.0), 0.2: (1.0, 1.0), 0.3: (2.0, 1.0)}) == []
    assert beyond({GRID[-1]: (1.0, 1.0), GRID[-2]: (2.0, 1.0)}) == []
    assert best({0.1: (0.0, 2.0), 0.2: (0.0, 1.0)}) == 0.2  # equal: the smaller mean loss of the run
