"""The family tree of the rules: who changes whom, in which order they are offered, and the way from the root to each.

It is read from the registry: a rule names its parent and the one thing that it changes. A rule is offered where it
and all that it builds on are proved (core/conformance.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from html import escape

import streamlit as st

from core.config import race, racer
from core.conformance import proofs
from core.optimizers import RULES, WRAPPERS
from core.optimizers.base import Rule
from core.spec import Layout
from ui import costs
from ui.scenario import SEEDS, Scenario, scenario
from ui.settings import newcomer

DEFAULT = "adam"
LETTERS = "g is the gradient, η the learning rate, p the weights."
_LOADER = """let code;
export default async (component) => {
  code ??= import(new URL("app/static/family.js", document.baseURI).href);
  return (await code).default(component);
};
"""
_component = st.components.v2.component("descent_lab_family", js=_LOADER, isolate_styles=False)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


# ---------------------------------------------------------------- who descends from whom


def path(name: str) -> tuple[Rule, ...]:
    """The rules from the root to this one."""
    rule = RULES[name]
    return (*path(rule.parent), rule) if rule.parent else (rule,)


@lru_cache(maxsize=1)
def menu() -> tuple[str, ...]:
    """The rules that are offered, each after its parent, brothers in the order of the registry."""
    return tuple(_descent(""))


def children(name: str) -> list[str]:
    """The offered rules that change this one; of "": the roots."""
    return [rule.name for rule in RULES.values() if rule.parent == name and rule.name in proofs()]


def _descent(name: str) -> list[str]:
    return [each for child in children(name) for each in (child, *_descent(child))]


def around() -> tuple[str, ...]:
    """Each proved wrapper, around the first rule that it was proved with: "adam+sam"."""
    first: dict[str, str] = {}
    for name in proofs():
        base, *wrappers = name.split("+")
        if len(wrappers) == 1 and base in menu():
            first.setdefault(wrappers[0], name)
    return tuple(first[wrapper] for wrapper in WRAPPERS if wrapper in first)


# ---------------------------------------------------------------- in words


def headline(name: str) -> str:
    """What the way to a rule amounts to, in one sentence."""
    root, *changed = path(name)
    if not changed:
        return f"{root.label}: where the others begin."
    count = _NUMBERS[len(changed)] if len(changed) < len(_NUMBERS) else str(len(changed))
    return f"From {root.label} to {changed[-1].label} in {count} {'change' if len(changed) == 1 else 'changes'}."


def asks(rule: Rule) -> list[str]:
    """What a rule remembers on the network of the first screen, what a step takes, and what it cannot do without."""
    around = f"around {RULES[rule.parent].label} it " if "+" in rule.name else ""
    found = [around + costs.keeps(rule, _network()), costs.takes(rule)]
    if rule.full_batch:
        found.append("needs all of the data in every step")
    if rule.draws_labels:
        found.append("needs a problem with classes")
    return found


@lru_cache(maxsize=1)
def _network() -> Layout:
    return race("digits", [racer("sgd")]).build_task().layout


def papers(text: str) -> str:
    """Markdown in which every arXiv number is a link."""
    return re.sub(r"\b(\d{4}\.\d{4,5})\b", r"[\1](https://arxiv.org/abs/\1)", text)


# ---------------------------------------------------------------- on the page


def duel(name: str) -> Scenario:
    """A rule against its parent, each tuned where that is known; a wrapped rule runs at its parent's rate."""
    rule = RULES[name]
    bowl = rule.full_batch or RULES[rule.parent].full_batch
    task, steps = ("quadratic", 300) if bowl else ("digits", 1000)
    alone = race(task, [racer(rule.parent)], steps=steps, seeds=int(SEEDS.default))
    parent = newcomer(alone, rule.parent)
    other = racer(name, lr=parent.get("lr")) if "+" in name else newcomer(alone, name)
    return scenario(race(task, [parent, other], steps=steps, seeds=alone.seeds))


def tree(key: str, selected: str, on_chosen: Callable[[], None]) -> None:
    """Draw the tree; where a rule is clicked, `on_chosen` is called, and the component's `chosen` holds its name."""
    fold = f"All {len(menu())} optimizers, as a family tree"
    markup = f"<details><summary>{fold}</summary>{_lists('')}</details>"
    _component(key=key, data={"tree": markup, "selected": selected}, on_chosen_change=on_chosen)


def _lists(name: str) -> str:
    items = [f"<li>{_link(RULES[child])}{_lists(child)}</li>" for child in children(name)]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _link(rule: Rule) -> str:
    return (
        f'<a href="?rule={rule.name}" data-rule="{rule.name}" title="{escape(rule.change or rule.idea)}">'
        f"{escape(rule.label)}</a>"
    )
