"""The optimizer menu: what its lines say, and what becomes of a racer when another rule or wrapper is chosen.

A line is the rule's name, a tab, its idea in a few words, and beyond more tabs, out of sight, all that it may be looked
for by: Streamlit's box searches the whole line. ui/style.css sets the tabs: narrow in the open list, so that names and
ideas stand in two columns, and in the closed box so wide that it shows the name alone (static/menu.js marks it all
when it is clicked, so that what is typed takes its place).
"""

from __future__ import annotations

from dataclasses import replace

from core.config import Config, Racer
from core.optimizers import RULES, WRAPPERS, why_not
from core.optimizers.base import Rule
from core.optimizers.wrappers import Wrapper
from ui import family
from ui.settings import newcomer

IDEA = 66  # characters of an idea that a line shows
USUAL = ("sgd", "momentum", "adam", "adamw", "rmsprop", "lion", "muon", "schedule_free_adamw")


def offered() -> tuple[str, ...]:
    """The rules of the menu: those that are proved, as the family tree has them, and those brought from elsewhere."""
    return (*family.menu(), *(rule.name for rule in RULES.values() if rule.guest))


def base_of(rule: str) -> str:
    """A rule's name without the wrappers around it."""
    return rule.split("+")[0]


def wrappers_of(rule: str) -> list[str]:
    """The names of the wrappers around a rule."""
    return rule.split("+")[1:]


def lines(chosen: Racer) -> dict[str, str]:
    """The menu of a racer: every rule, and at the end its own with one more wrapper around it."""
    base, around = base_of(chosen.rule), wrappers_of(chosen.rule)
    found = {name: _line(RULES[name].label, RULES[name]) for name in (*offered(), base)}
    found[base] = _line(chosen.spec.label, RULES[base])
    for name, wrapper in WRAPPERS.items():
        if name not in around and not why_not(RULES[base], (*around, name)):
            rule = _named(base, [*around, name])
            found[rule] = _line(RULES[rule].label, wrapper)
    return found


def _line(label: str, entry: Rule | Wrapper) -> str:
    idea = entry.idea
    if len(idea) > IDEA:
        idea = idea[:IDEA].rsplit(" ", 1)[0].rstrip(",;:") + "…"
    spoken = entry.label.replace("-", " ")
    text = f"{label}\t{idea}{6 * chr(9)}"
    for words in (entry.idea, entry.tags, entry.paper, entry.name, spoken, spoken.replace(" ", "")):
        if words.lower() not in text.lower():  # every card sends all of them
            text += f"{words} "
    return text


def _named(base: str, wrappers: list[str]) -> str:
    return "+".join([base, *(name for name in WRAPPERS if name in wrappers)])


def wrapped(chosen: Racer, wrappers: list[str]) -> Racer:
    """The racer with just these wrappers around its rule; settings that are still there keep their values.

    Raises:
        ValueError: they do not go together.
    """
    rule = _named(base_of(chosen.rule), wrappers)
    known = {hyper.name for hyper in RULES.find(rule).hypers}
    settings, schedules = (
        tuple((name, value) for name, value in of if name in known) for of in (chosen.settings, chosen.schedules)
    )
    return replace(chosen, rule=rule, settings=settings, schedules=schedules)


def turned(config: Config, chosen: Racer, rule: str) -> Racer:
    """The racer with another rule, at its tuned rate where that is known; schedule and wrappers stay where they fit."""
    if wrappers_of(rule):
        return wrapped(chosen, wrappers_of(rule))
    around: list[str] = []
    for name in wrappers_of(chosen.rule):
        if not why_not(RULES[rule], (*around, name)):
            around.append(name)
    other = wrapped(replace(newcomer(config, rule), schedules=chosen.schedules), around)
    own = {hyper.name for name in around for hyper in WRAPPERS[name].hypers}
    return other.but(**{name: value for name, value in chosen.settings if name in own})


def next_rule(present: set[str]) -> str:
    """The rule of a racer to be added: the first usual one that is not there yet, else the first of the menu."""
    order = [*(name for name in USUAL if name in offered()), *offered()]
    return next((name for name in order if name not in present), "adam")
