"""The optimizer menu, wrappers around a racer, and what a step costs, in words."""

import re

import pytest

from core import RULES, TASKS, race, racer
from core.optimizers import WRAPPERS, why_not
from ui import costs, menu
from ui.scenario import read, scenario, write
from ui.settings import newcomer

LINES = menu.lines(racer("adam"))
BARE = race("digits", [racer("sgd")])
AVERAGING = [name for name, wrapper in WRAPPERS.items() if wrapper.eval_params]


def found(typed: str) -> list[str]:
    """What stays in the list, as Streamlit filters it."""
    return [rule for rule, line in LINES.items() if typed.lower() in line.lower()]


# --- the menu


def test_the_menu_has_every_rule_once_and_the_racers_own_is_called_by_its_full_name() -> None:
    assert [rule for rule in LINES if "+" not in rule] == list(menu.offered())
    assert len(set(LINES.values())) == len(LINES), "the browser tells lines apart by their texts"
    for rule, line in LINES.items():
        assert line.startswith(f"{RULES[rule].label}\t") and "\n" not in line
    assert menu.lines(racer("adam+sam"))["adam"].startswith("Adam + SAM\t")


@pytest.mark.parametrize("rule", LINES)
def test_a_line_shows_a_few_words_and_hides_the_rest(rule: str) -> None:
    _, idea, *others = LINES[rule].split("\t")
    assert 0 < len(idea) <= menu.IDEA + 1
    assert others[:-1] == [""] * 5, "as many tabs as the list is wide"
    assert len(LINES[rule]) < 400, "each card sends all lines"


@pytest.mark.parametrize("rule", menu.offered())
def test_a_rule_is_found_by_its_name_its_paper_its_tags_and_its_idea(rule: str) -> None:
    entry = RULES[rule]
    tags = [tag.strip() for tag in entry.tags.split(",") if tag.strip()]
    numbers = re.findall(r"\d{4}\.\d{4,5}", entry.paper)
    for typed in (rule, entry.label, entry.label.replace("-", " "), entry.idea, *tags, *numbers):
        assert rule in found(typed), typed


def test_ideas_are_found() -> None:
    assert {"signsgd", "signum", "lion"} <= set(found("sign"))
    assert {"schedule_free_sgd", "schedule_free_adamw"} <= set(found("no schedule"))
    assert {"sophia", "lbfgs"} <= set(found("second order"))
    assert found("2302.06675") == ["lion"]
    assert "adam+sam" in found("SAM")
    assert found("no such thing") == []


def test_the_usual_rules_are_added_first_and_each_before_any_comes_twice() -> None:
    present: set[str] = set()
    for _ in menu.offered():
        present.add(menu.next_rule(present))
    assert present == set(menu.offered())
    assert menu.next_rule(set()) == "sgd" and menu.next_rule({"sgd", "momentum", "adam"}) == "adamw"
    assert set(menu.USUAL) <= set(menu.offered())


# --- wrappers


def test_wrappers_leave_the_settings_that_are_still_there() -> None:
    chosen = racer("adam", lr=0.02, beta1=0.5, schedule=("step", {"factor": 0.5, "every": 100}))
    around = menu.wrapped(chosen, ["sam"])
    assert around == racer("adam+sam", lr=0.02, beta1=0.5, schedule=("step", {"factor": 0.5, "every": 100}))
    assert menu.wrapped(around.but(sam_rho=0.5), []) == chosen
    both = menu.wrapped(around.but(sam_rho=0.5), ["lookahead", "sam"])
    assert both.rule == "adam+sam+lookahead" and both.get("sam_rho") == 0.5


def test_another_rule_comes_at_its_tuned_rate_and_keeps_the_wrappers() -> None:
    chosen = racer("adam+sam", lr=0.5, sam_rho=0.2, schedule=("step", {"factor": 0.5, "every": 100}))
    other = menu.turned(BARE, chosen, "momentum")
    assert other.rule == "momentum+sam" and other.get("sam_rho") == 0.2 and other.schedules == chosen.schedules
    assert other.get("lr") == newcomer(BARE, "momentum").get("lr")
    assert menu.turned(BARE, chosen, "adam+sam+lookahead") == menu.wrapped(chosen, ["sam", "lookahead"])


def test_wrappers_that_do_not_fit_the_new_rule_are_left() -> None:
    averages = next(rule.name for rule in RULES.values() if rule.eval_params)
    around = racer(f"adam+sam+{AVERAGING[0]}")
    assert menu.turned(BARE, around, averages).rule == f"{averages}+sam"
    with pytest.raises(ValueError, match=re.escape(why_not(RULES["adam"], tuple(AVERAGING[:2])))):
        menu.wrapped(around, AVERAGING[:2])
    offered = [rule for rule in menu.lines(around) if "+" in rule]
    assert offered and not any(f"+{name}" in rule for rule in offered for name in AVERAGING[1:])


@pytest.mark.parametrize("base", ["adam", "sgd"])
def test_wrapped_racers_come_back_from_their_address(base: str) -> None:
    fitting = [name for name in WRAPPERS if name not in AVERAGING[1:]]
    shown = scenario(race("moons", [racer("+".join([base, *fitting])), racer(f"{base}+sam", sam_rho=0.2)], steps=100))
    written = write(shown)
    assert written["r0"] == "~".join([base, *fitting]) and not set("+ %") & set(written["r0"])
    assert read(written) == (shown, [])


@pytest.mark.parametrize(
    ("written", "rule", "about"),
    [
        ("adam~sam~sam", "adam+sam", ""),
        ("adam~lookahead~sam", "adam+sam+lookahead", ""),
        ("adam~warp", "adam", "no such wrapper"),
        ("warp~sam", "sgd", "no optimizer"),
        ("adam~", "adam", "no such wrapper"),
        ("~sam", "sgd", "no optimizer"),
        ("adam~" + "~".join(AVERAGING), "adam", "take one of them"),
    ],
)
def test_wrappers_by_address_are_taken_as_far_as_they_go(written: str, rule: str, about: str) -> None:
    shown, notes = read({"task": "moons", "r0": written})
    assert shown.config.racers[0].rule == rule
    assert [about in note for note in notes] == ([True] if about else [])


# --- what a step costs


def test_costs_are_said_of_the_network_that_is_trained() -> None:
    layout = BARE.build_task().layout
    assert costs.keeps(RULES["sgd"], layout) == "remembers nothing"
    assert costs.keeps(RULES["momentum"], layout) == "remembers 1 number a weight"
    assert costs.keeps(RULES["adam"], layout) == "remembers 2 numbers a weight"
    assert costs.takes(RULES["adam"]) == "1 gradient a step"
    assert costs.takes(RULES["adam+sam"]) == "2 gradients a step"
    assert costs.takes(RULES["sophia"], {"hess_interval": 2}) == "1.5 gradients a step"
    assert costs.takes(RULES["lbfgs"], {"strong_wolfe": True}) == "2 or more gradients a step"
    for schedule, numbers in (("constant", 1), ("onecycle", 2)):  # the latter moves its momentum of 0
        still = racer("rmsprop", schedule=schedule)
        assert costs.keeps(still.spec, layout, costs.used(still)).startswith(f"remembers {numbers} ")
    for rule in RULES.values():
        for task in TASKS:
            words = costs.keeps(rule, race(task, [racer("sgd")]).build_task().layout)
            assert re.fullmatch(r"remembers (nothing|1 number a weight|[\d.,]+ numbers a weight)", words), words


def test_steps_that_cost_differently_are_told_apart() -> None:
    assert costs.unequal(race("moons", [racer("sgd"), racer("adam")])) == ""
    assert costs.unequal(race("moons", [racer("adam+sam"), racer("sgd+sam")])) == ""
    unequal = costs.unequal(race("moons", [racer("sgd"), racer("adam+sam"), racer("adam")]))
    assert unequal == "A step of Adam + SAM takes 2 gradients, one of SGD takes 1."
    often, rarely = (racer("sophia", hess_interval=k) for k in (2, 10))
    assert " takes 1.5 gradients, one of " in costs.unequal(race("moons", [rarely, often]))
