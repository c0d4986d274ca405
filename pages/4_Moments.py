"""Moments: one bad gradient, and what an optimizer's memory makes of it in the steps that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import streamlit as st

from core.config import STEPS, Choice, race, racer
from core.tasks import TASKS
from ui import live, menu, moments, own, style
from ui.card import altered, card
from ui.charts import CARRIED, charts_for
from ui.controls import choice, setting
from ui.moments_scenario import AT, CAUSES, FACTOR, FORKS, KINDS, LENGTH, TRUNK, Fork, Moments, read, write
from ui.network import network
from ui.numbers import number_text
from ui.scenario import AXES, SEEDS, SPEEDS, batch_sizes, turned

STAGE, CHART = "moments", "moments-chart"


@dataclass(frozen=True)
class Stage:
    """All that the page remembers of a visitor."""

    shown: Moments
    generation: int = 0  # of the widgets: a change that does not come from a widget makes new ones
    notes: tuple[str, ...] = ()
    held: live.Held = field(default_factory=live.Held)
    address: Mapping[str, str] | None = None  # as last written
    drawn: tuple[Any, ...] = ()  # what the widgets last showed


def stage() -> Stage:
    found: Stage = st.session_state[STAGE]
    return found


def put(**changes: Any) -> None:
    st.session_state[STAGE] = replace(stage(), **changes)


def attempt(generation: int, change: Callable[[Moments], Moments], *, anew: bool = False) -> None:
    """Make the change; what the core refuses is said in its own words, and all stays as it is."""
    now = stage()
    if generation != now.generation:  # a widget that has just been replaced
        return
    try:
        shown = change(now.shown)
    except ValueError as error:
        put(notes=(str(error),), generation=now.generation + 1)
        return
    if shown.config() != now.shown.config():
        live.leave(now.shown.scenario())
        put(held=live.Held())
    put(shown=shown, generation=now.generation + anew, notes=())


def racer_changed(generation: int, slot: int, what: str, value: Any) -> None:
    """The card's widget or button."""

    def change(shown: Moments) -> Moments:
        chosen = shown.racer
        if what == "defaults":
            made = racer(chosen.rule)
        elif what == "rule":
            made = menu.turned(shown.trunk, chosen, value)
        elif what == "wrapped":
            made = menu.wrapped(chosen, value)
        else:
            made = altered(chosen, what, value)
        return replace(shown, trunk=replace(shown.trunk, racers=(made,)))

    attempt(generation, change, anew=what in ("defaults", "rule"))


def shared_changed(generation: int, name: str, value: Any) -> None:
    """Problem, steps, batch or seeds; forks that lie beyond a shorter run go."""

    def change(shown: Moments) -> Moments:
        trunk = shown.trunk
        made, spike = trunk, shown.spike
        if name == "task":
            steps, batch, _ = turned(trunk, value)
            made = race(value, trunk.racers, steps=steps, batch=batch, seeds=trunk.seeds)
            spike = replace(spike, layer="")
        elif name == "seeds":
            made = replace(trunk, seeds=tuple(range(trunk.seeds[0], trunk.seeds[0] + value)))
        else:
            made = replace(trunk, **{name: value})
        spike = replace(spike, at=min(spike.at, made.steps))
        forks = shown.forks if all(fork.at < made.steps for fork in shown.forks) else ()
        return replace(shown, trunk=made, spike=spike, forks=forks)

    attempt(generation, change, anew=True)


def spike_changed(generation: int, name: str, value: Any) -> None:
    """The spike: forks stay, each with its own past, which may have changed."""
    names = {"spike": "at", "for": "length"}
    attempt(
        generation,
        lambda shown: replace(shown, spike=replace(shown.spike, **{names.get(name, name): value})),
        anew=name == "cause",
    )


def forked(generation: int, what: str) -> None:
    """One more fork, where the form says."""
    parent = st.session_state.get(f"{generation}.parent", TRUNK)
    at = int(st.session_state[f"{generation}.fork-at"])
    attempt(generation, lambda shown: replace(shown, forks=(*shown.forks, Fork(parent, at, what))), anew=True)


def unforked(generation: int, fork: int) -> None:
    attempt(generation, lambda shown: shown.without(fork), anew=True)


def pulled() -> None:
    """The browser has drawn, and says what it holds; what it says of a race just left is not heard."""
    if CHART in st.session_state:
        put(held=live.Held.told(st.session_state[CHART].pull, stage().shown.config().key()))


def viewed() -> None:
    """The viewer chose another chart, axis or speed."""
    view, shown = st.session_state[CHART].view if CHART in st.session_state else None, stage().shown
    if isinstance(view, Mapping):
        wanted = {name: str(view.get(name)) for name in ("chart", "x", "speed")}
        charts = [chart.id for chart in (*charts_for(shown.trunk.build_task()), *CARRIED)]
        if wanted["chart"] in charts and wanted["x"] in AXES and wanted["speed"] in SPEEDS:
            put(shown=replace(shown, view=replace(shown.view, **wanted)))


def shared_row(now: Stage) -> None:
    """What trunk, twin and forks share."""
    trunk = now.shown.trunk
    assert isinstance(trunk.task, Choice)
    task = trunk.build_task()

    def key(what: str) -> str:
        return f"{now.generation}.{what}"

    tell = partial(shared_changed, now.generation)
    with st.container(key="shared", horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.html('<h1 class="dl-brand">Moments</h1>', width="content")
        choice("Problem", "task", {name: kind.label for name, kind in TASKS.items()} | own.offered(),
               trunk.task.name, key("task"), tell)  # fmt: skip
        with st.popover(
            "Network", key=key("network"), on_change="rerun", type="tertiary", help="Network and data"
        ) as more:
            if more.open:
                shown = now.shown.config()
                st.html(network(task, len(shown.racers), len(shown.seeds), live.races().pace(shown)))
        choice("Steps", "steps", {stop: number_text(stop) for stop in STEPS.stops()}, trunk.steps, key("steps"), tell)
        if task.examples is not None:
            sizes = {size: number_text(size) for size in batch_sizes(task).stops()}
            choice("Batch", "batch", sizes | {task.examples: f"all ({number_text(task.examples)})"}, trunk.batch,
                   key("batch"), tell)  # fmt: skip
        choice("Seeds", "seeds", SEEDS.stops(), len(trunk.seeds), key("seeds"), tell, help=SEEDS.help)


def spike_card(now: Stage) -> None:
    """What goes wrong, when, how much and where."""
    spike, trunk = now.shown.spike, now.shown.trunk
    task = trunk.build_task()

    def key(what: str) -> str:
        return f"{now.generation}.spike.{what}"

    tell = partial(spike_changed, now.generation)
    possible = {"gradient": True, "labels": task.mislabels, "inputs": task.numeric, "first": True}
    with st.container(key="spike"):
        choice("What goes wrong", "cause", {name: text for name, text in CAUSES.items() if possible[name]},
               spike.cause, key("cause"), tell)  # fmt: skip
        if spike.cause != "first":
            within = replace(AT, high=trunk.steps, default=min(int(AT.default), trunk.steps), log=True)
            setting(within, spike.at, key("at"), tell, help=False)
            setting(LENGTH, spike.length, key("for"), tell, help=False)
        if spike.cause != "labels":
            setting(FACTOR, spike.factor, key("factor"), tell, help=False)
        if spike.cause == "gradient":
            names = [name for name, _ in task.layout.shapes]
            choice("In", "layer", {"": "all layers"} | {name: name for name in names}, spike.layer, key("layer"), tell)
        if words := moments.half_lives(now.shown.racer):
            st.caption(words)


def fork_card(now: Stage) -> None:
    """The forks there are, and the form that makes one more."""
    shown = now.shown
    names = shown.names()
    with st.container(key="forks"):
        for index, name in enumerate(names[2:]):
            parent = shown.forks[index].parent
            of = "" if parent == TRUNK else f", from {names[parent]}"
            st.button(f"{name}{of}", key=f"{now.generation}.drop.{index}", icon=":material/close:", type="tertiary",
                      help="Take this fork away, and those made from it.", on_click=unforked,
                      args=(now.generation, index))  # fmt: skip
        if len(shown.forks) >= FORKS:
            st.caption(f"There can be {FORKS} forks at a time.")
            return
        more = st.popover("Fork…", key=f"{now.generation}.fork", on_change="rerun", width="stretch",
                          help="Go on from a step otherwise: what is there stays.")  # fmt: skip
        if not more.open:
            return
        with more:
            after = min(shown.spike.first + 1, shown.trunk.steps - 1)
            st.number_input("After so many steps", 0, shown.trunk.steps - 1, after, key=f"{now.generation}.fork-at")
            if shown.forks:
                racers = [TRUNK, *range(2, len(names))]
                st.selectbox("Of", racers, format_func=names.__getitem__, key=f"{now.generation}.parent")
            for what, kind in KINDS.items():
                st.button(kind.label, key=f"{now.generation}.fork.{what}", width="stretch", on_click=forked,
                          args=(now.generation, what))  # fmt: skip


def visible(now: Stage) -> tuple[Any, ...]:
    """All of the stage that the widgets show."""
    return now.shown.config(), now.generation, now.notes


@st.fragment
def chart() -> None:
    """The live chart; an acknowledgement of the browser reruns this and nothing else."""
    now = stage()
    if now.drawn != visible(now):
        put(address=st.query_params.to_dict())
        st.rerun()
    shown = now.shown
    live.chart(
        CHART, shown.scenario(), pulled, viewed, now.held, names=shown.names(), told=partial(moments.told, shown),
        forks=True,
    )  # fmt: skip
    wanted = write(shown)
    if wanted != now.address:
        st.query_params.from_dict(wanted)
        put(address=wanted)


@st.fragment
def lab() -> None:
    """All of the page: a change of any setting reruns it, and with it the chart."""
    now = stage()
    put(drawn=visible(now))
    shared_row(now)
    # Always there, full or empty: a fragment that changes its place on the page loses what is on its way to it.
    with st.container(key="notes"):
        if now.notes:
            st.warning("\n\n".join(now.notes))
    trunk = now.shown.trunk
    task = trunk.build_task()
    with st.container(key="arena"):
        left, right = st.columns([1, 3.15], gap="medium")
        with left, st.container(key="cards"):
            card(0, now.shown.racer, now.generation, partial(racer_changed, now.generation), steps=trunk.steps,
                 layout=task.layout, accuracy=task.accuracy, alone=True)  # fmt: skip
            spike_card(now)
            fork_card(now)
        with right:
            chart()


def main() -> None:
    arrived = st.query_params.to_dict()
    if STAGE not in st.session_state or (arrived and arrived != stage().address):
        shown, notes = read(arrived, own.offered())
        old = st.session_state.get(STAGE, Stage(shown, -1))
        st.session_state[STAGE] = Stage(shown, old.generation + 1, tuple(notes))
    elif not arrived:
        put(address=None)
    style.sheet()
    lab()


main()
