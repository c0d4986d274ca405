"""A racer's card: its colour, rule, rate and what matters most; the rest one click away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.config import EVERY, Racer
from core.optimizers import RULES
from core.schedules import SCHEDULES
from ui.controls import choice, setting
from ui.names import schedule_words
from ui.numbers import number_text
from ui.scenario import OFFERED

Changed = Callable[[int, str, Any], None]
MEMORY = {
    "nothing": "keeps its memory",
    "m": "forgets m (the gradient's mean)",
    "v": "forgets v (the gradient's size)",
    "all": "forgets everything",
}
SHORT = {"nothing": "keeps its memory", "m": "forgets m", "v": "forgets v", "all": "forgets all"}


def card(slot: int, racer: Racer, generation: int, changed: Changed, *, accuracy: bool, alone: bool) -> None:
    """Draw the card; `changed(slot, what, value)` is told of every change.

    `what` is a setting of the rule, "schedule.…", "reset", "reset_every", "rule", or one of the actions "duplicate",
    "remove" and "defaults".
    """

    def key(what: str) -> str:
        return f"{generation}.r{slot}.{what}"

    def tell(what: str, value: Any = None) -> None:
        changed(slot, what, value)

    faces = [racer.spec.hyper(setting) for setting in racer.spec.face]
    with st.container(key=f"card-{slot}"):
        with st.container(key=f"head-{slot}", horizontal=True, vertical_alignment="center", gap="small"):
            rules = {rule: entry.label for rule, entry in RULES.items()}
            choice("Optimizer", "rule", rules, racer.rule, key("rule"), tell, hide_label=True)
            # Without the racer's name, which follows its settings: a changed popover is a new one, and closed.
            more = st.popover(
                "More", icon=":material/tune:", key=key("more"), on_change="rerun", help=f"All of {racer.spec.label}"
            )
        setting(racer.spec.hyper("lr"), racer.get("lr"), key("lr"), tell)
        if faces:
            for column, hyper in zip(st.columns(len(faces), gap="medium", wrap=False), faces, strict=True):
                with column:
                    setting(hyper, racer.get(hyper.name), key(hyper.name), tell)
        _results(slot, accuracy)
        with st.container(key=f"plan-{slot}", horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.html(f'<span class="dl-plan">{_plan(racer)}</span>', width="content")
            # A label that changed would make another popover, and close this one under the hand.
            plan = st.popover("Change", key=key("plan"), on_change="rerun", type="tertiary", help="Schedule and resets")
    if plan.open:
        with plan:
            _plan_controls(racer, key, tell)
    if more.open:
        with more:
            _more(racer, key, tell, faces, alone)


def _results(slot: int, accuracy: bool) -> None:
    """Places that the live chart keeps filled (`data-live`)."""
    validation = f'<span>validation<b data-live="r{slot}.second">&ndash;</b></span>' if accuracy else ""
    test = f'<span>test<b data-live="r{slot}.test">&ndash;</b></span>' if accuracy else ""
    st.html(
        f'<div class="dl-results"><span>loss<b data-live="r{slot}.loss">&ndash;</b></span>{validation}{test}'
        f'<span class="dl-state" data-live="r{slot}.state"></span></div>'
    )


def _plan(racer: Racer) -> str:
    """Schedule and reset policy in a few words."""
    words = schedule_words(racer)
    if not racer.spec.slots:
        return f"{words} · remembers nothing"
    when = ""
    if racer.reset.what != "nothing":
        when = f" every {number_text(racer.reset.every)}" if racer.reset.every else " at each decay"
    return f"{words} · {SHORT[racer.reset.what]}{when}"


def _plan_controls(racer: Racer, key: Callable[[str], str], tell: Callable[..., None]) -> None:
    options = {name: SCHEDULES[name].label for name in OFFERED}
    choice(
        "Learning rate over time", "schedule", options, racer.schedule.name, key("schedule"), tell,
        help=" ".join(SCHEDULES[name].help for name in OFFERED),
    )  # fmt: skip
    for hyper in SCHEDULES[racer.schedule.name].hypers:
        value = racer.schedule.get(hyper.name)
        setting(hyper, value, key(f"schedule.{hyper.name}"), lambda name, v: tell(f"schedule.{name}", v))
    if not racer.spec.slots:
        st.caption(f"{racer.spec.label} remembers nothing, so there is nothing to forget.")
        return
    choice(
        "Memory", "reset", MEMORY, racer.reset.what, key("reset"), tell,
        help="Clears the optimizer's memory during the run; the weights stay as they are.",
    )  # fmt: skip
    if racer.reset.what == "nothing":
        return
    when = {0: "at each decay of the rate", EVERY.default: "every so many steps"}
    choice("When", "reset_when", when, 0 if racer.reset.every == 0 else EVERY.default, key("reset_when"), tell)
    if racer.reset.every:
        setting(EVERY, racer.reset.every, key("reset_every"), lambda _, value: tell("reset_every", value))
    elif racer.schedule.name == "constant":
        st.caption("The rate is constant: there is no decay, so nothing is forgotten.")


def _more(racer: Racer, key: Callable[[str], str], tell: Callable[..., None], faces: list[Any], alone: bool) -> None:
    rule = racer.spec
    st.markdown(f"**{rule.label}.** {rule.idea}")
    st.latex(rule.equation)
    st.caption(f"{rule.paper}. g is the gradient, η the learning rate, p the weights.")
    shown = {"lr", *(hyper.name for hyper in faces)}
    for hyper in rule.hypers:
        if hyper.name not in shown:
            setting(hyper, racer.get(hyper.name), key(hyper.name), tell)
    with st.container(horizontal=True):
        for label, action, off, help in (
            ("Duplicate", "duplicate", False, "Add a copy, to change one thing about it."),
            ("Library defaults", "defaults", False, "All settings as the library has them."),
            ("Remove", "remove", alone, "Take this racer out."),
        ):
            st.button(label, key=key(action), on_click=tell, args=(action,), disabled=off, help=help)
