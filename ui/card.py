"""A racer's card: its colour, rule, rate and what matters most; the rest one click away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from core.config import CONSTANT, EVERY, Config, Racer, Reset, racer
from core.optimizers import RULES, WRAPPERS
from core.schedules import SCHEDULES
from core.spec import Hyper, Layout
from ui import costs, menu
from ui.controls import choice, setting
from ui.curve import curve
from ui.equations import bare, marked
from ui.family import LETTERS
from ui.from_here import why_fixed
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
SHORT_TITLE = 4  # characters
WHEN = {"start": "from the start", "here": "from here"}
WHEN_HELP = (
    "From the start, a slider changes this racer and all of its race. From here, the race stands still at the play "
    "head, and a slider changes what comes after: the racer stays, and a fork of it joins the race."
)
SETTLED = "This is settled at the start of a race: from a step on, only the sliders can change."
WAITING = "The race tells at which step it stands."
SHORT = {"m": "forgets m", "v": "forgets v", "all": "forgets all"}


@dataclass(frozen=True)
class When:
    """From when on a card's sliders act: `here`, from step `at`, which is None until the browser has told it.

    `fork` is what a fork is, "rate 0.01 from step 300 of Adam"; its sliders act from its own first step at any rate.
    `turns` counts for each slider how often its setting was changed on another card: one that was is a new slider.
    """

    here: bool = False
    at: int | None = None
    fork: str = ""
    turns: Mapping[str, int] = field(default_factory=dict)

    @property
    def later(self) -> bool:
        return self.here or bool(self.fork)

    def key(self, slot: int, setting: str) -> str:
        """The end of the key of a setting's slider on the card of this colour."""
        name = f"r{slot}.at{self.at}.{setting}" if self.here else f"r{slot}.{setting}"
        return f"{name}.{self.turns[name]}" if name in self.turns else name


def card(
    slot: int,
    racer: Racer,
    generation: int,
    changed: Changed,
    *,
    steps: int,
    layout: Layout,
    accuracy: bool,
    alone: bool,
    when: When | None = None,
) -> None:
    """Draw the card; `changed(slot, what, value)` is told of every change.

    `what` is a setting of the rule, "schedule.…", "reset", "reset_every", "rule", "wrapped", "when" ("start" or
    "here"), or one of the actions "duplicate", "remove" and "defaults". `steps` is the length of the run, and `layout`
    the network's, on which it depends what the rule remembers. With `when`, sliders may act from a step on.
    """

    def key(what: str) -> str:
        return f"{generation}.r{slot}.{what}"

    def slider(hyper: Hyper) -> None:
        why = ""
        if when and when.later:
            why = WAITING if when.here and when.at is None else why_fixed(racer.spec, hyper.name, layout)
        place = f"{generation}.{(when or When()).key(slot, hyper.name)}"
        setting(hyper, racer.get(hyper.name), place, tell, fixed=why)

    def tell(what: str, value: Any = None) -> None:
        changed(slot, what, value)

    settled = SETTLED if when and when.later else ""
    faces = [racer.spec.hyper(setting) for setting in racer.spec.face]
    with st.container(key=f"card-{slot}"):
        with st.container(key=f"head-{slot}", horizontal=True, vertical_alignment="center", gap="small"):
            # The browser knows an option by its text: another wrapper is another line, and so another box.
            box = "+".join(["rule", *menu.wrappers_of(racer.rule)])
            choice("Optimizer", "rule", menu.lines(racer), menu.base_of(racer.rule), key(box), tell, hide_label=True,
                   fixed=settled)  # fmt: skip
            # Without the racer's name, which follows its settings: a changed popover is a new one, and closed.
            more = st.popover(
                "More", icon=":material/tune:", key=key("more"), on_change="rerun", help="Equation and all settings"
            )
        if when:
            _when(when, key, tell)
        slider(racer.spec.hyper("lr"))
        # Two sliders share a line if their names leave them room: β₁ and β₂ do.
        short = len(faces) > 1 and all(len(hyper.title) <= SHORT_TITLE for hyper in faces)
        places = st.columns(len(faces), gap="medium", wrap=False) if short else [st.container() for _ in faces]
        for place, hyper in zip(places, faces, strict=True):
            with place:
                slider(hyper)
        _results(slot, accuracy)
        with st.container(key=f"plan-{slot}", horizontal=True, vertical_alignment="center", gap="xsmall"):
            # `st.html` would take the curve out.
            drawn = curve(racer, steps, slot) if racer.schedule != CONSTANT else ""
            about = when.fork if when and when.fork else _plan(racer, layout)
            if when and when.at is not None:
                about = f"the sliders act from step {when.at:,} on<br>{about}"
            st.markdown(f'<div class="dl-plan">{drawn}{about}</div>', True, width="stretch")
            # A label that changed would make another popover, and close this one under the hand.
            plan = st.popover("Change", key=key("plan"), on_change="rerun", type="tertiary", disabled=bool(settled),
                              help=settled or "Schedule and resets")  # fmt: skip
    if plan.open:
        with plan:
            _plan_controls(racer, steps, key, tell)
    if more.open:
        with more:
            _more(racer, key, tell, faces, layout, alone, slider, settled)


def _when(when: When, key: Callable[[str], str], tell: Callable[..., None]) -> None:
    """The switch between sliders that act from the start and sliders that act from the play head on."""
    names = WHEN | ({"start": "from its start"} if when.fork else {})
    st.segmented_control(
        "Sliders act", list(names), default="here" if when.here else "start", required=True,
        format_func=names.__getitem__, key=key("when"), on_change=_switched, args=(key("when"), tell), help=WHEN_HELP,
    )  # fmt: skip


def _switched(key: str, tell: Callable[..., None]) -> None:
    tell("when", st.session_state[key])


def _results(slot: int, accuracy: bool) -> None:
    """Places that the live chart keeps filled (`data-live`)."""
    validation = f'<span>validation<b data-live="r{slot}.second">&ndash;</b></span>' if accuracy else ""
    test = f'<span>test<b data-live="r{slot}.test">&ndash;</b></span>' if accuracy else ""
    st.html(
        f'<div class="dl-results"><span>loss<b data-live="r{slot}.loss">&ndash;</b></span>{validation}{test}'
        f'<span class="dl-state" data-live="r{slot}.state"></span></div>'
    )


def _plan(racer: Racer, layout: Layout) -> str:
    """Two lines: the schedule, with what a step takes where that is unusual; what is remembered, and until when."""
    rate, memory = [schedule_words(racer)], [costs.keeps(racer.spec, layout, costs.used(racer))]
    settings = dict(racer.settings)
    if racer.spec.taken(settings) != (1, False):
        rate.append(costs.takes(racer.spec, settings))
    if racer.spec.slots and racer.reset.what != "nothing":
        when = f"every {number_text(racer.reset.every)}" if racer.reset.every else "at each decay"
        memory.append(f"{SHORT[racer.reset.what]} {when}")
    return "<br>".join(map(" · ".join, (rate, memory)))


def _plan_controls(racer: Racer, steps: int, key: Callable[[str], str], tell: Callable[..., None]) -> None:
    schedule = SCHEDULES[racer.schedule.name]
    choice(
        "Learning rate over time", "schedule", {name: SCHEDULES[name].label for name in OFFERED}, schedule.name,
        key("schedule"), tell, help="\n".join(f"- {SCHEDULES[name].label}: {SCHEDULES[name].help}" for name in OFFERED),
    )  # fmt: skip
    st.caption(schedule.help)
    for hyper in schedule.hypers:
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
    elif not schedule.react and not racer.decays(steps):
        st.caption("With this schedule the rate never jumps, so nothing is forgotten.")


def _more(
    racer: Racer, key: Callable[[str], str], tell: Callable[..., None], faces: list[Any], layout: Layout, alone: bool,
    slider: Callable[[Hyper], None], settled: str,
) -> None:  # fmt: skip
    rule, around = racer.spec, menu.wrappers_of(racer.rule)
    st.markdown(f"**{rule.label}.** {rule.idea}")
    for depth in range(len(around), -1, -1):
        name = "+".join([menu.base_of(racer.rule), *around[:depth]])
        st.latex(marked(bare(RULES[name].equation)))
    cost = f"{costs.keeps(rule, layout, costs.used(racer))}; {costs.takes(rule, dict(racer.settings))}"
    st.caption(f"{LETTERS} {rule.paper}.  \n{cost[0].upper()}{cost[1:]}.")
    kinds = "\n".join(f"- {wrapper.label}: {wrapper.idea}" for wrapper in WRAPPERS.values())
    st.pills(
        "Wrapped in", list(WRAPPERS), selection_mode="multi", default=around, key=key("wrapped"),
        format_func=lambda name: WRAPPERS[name].label, on_change=_wrapped, args=(key("wrapped"), tell),
        disabled=bool(settled), help=settled or kinds,
    )  # fmt: skip
    shown = {"lr", *(hyper.name for hyper in faces)}
    for hyper in rule.hypers:
        if hyper.name not in shown:
            slider(hyper)
    with st.container(horizontal=True):
        for label, action, off, help in (
            ("Duplicate", "duplicate", False, "Add a copy, to change one thing about it."),
            ("Library defaults", "defaults", bool(settled), settled or "All settings as the library has them."),
            ("Remove", "remove", alone, "Take this racer out, and with it its forks."),
        ):
            st.button(label, key=key(action), on_click=tell, args=(action,), disabled=off, help=help)


def _wrapped(key: str, tell: Callable[..., None]) -> None:
    tell("wrapped", st.session_state[key])


ANEW = ("defaults", "rule")  # what changes more of a card than the widget that was touched


def altered(config: Config, chosen: Racer, what: str, value: Any) -> Racer:
    """A racer of this race with one thing changed: `what` and `value` as the card tells them."""
    if what == "defaults":
        return racer(chosen.rule)
    if what == "rule":
        return menu.turned(config, chosen, value)
    if what == "wrapped":
        return menu.wrapped(chosen, value)
    if what == "schedule":
        defaults = {hyper.name: hyper.default for hyper in SCHEDULES[value].hypers}
        return _scheduled(chosen, value, defaults)
    if what.startswith("schedule."):
        name = what.removeprefix("schedule.")
        if name not in dict(chosen.schedule.settings):  # of a schedule that has just been replaced
            return chosen
        return _scheduled(chosen, chosen.schedule.name, dict(chosen.schedule.settings) | {name: value})
    if what == "reset":
        return replace(chosen, reset=Reset(value, chosen.reset.every if value != "nothing" else 0))
    if what in ("reset_when", "reset_every"):
        return replace(chosen, reset=Reset(chosen.reset.what, value if chosen.reset.what != "nothing" else 0))
    return chosen.but(**{what: value})


def _scheduled(chosen: Racer, schedule: str, settings: Mapping[str, Any]) -> Racer:
    made = racer(chosen.rule, schedule=(schedule, settings))
    return replace(chosen, schedules=made.schedules)
