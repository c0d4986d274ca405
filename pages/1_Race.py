"""The race: one to eight optimizers on the same problem, same first guess, same data, each with its own rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import Any

import streamlit as st

from core.config import STEPS, Choice, Racer, race
from core.tasks import TASKS
from ui import costs, from_here, limits, live, menu, own, style
from ui.card import ANEW, When, altered, card
from ui.controls import choice, setting
from ui.names import labels
from ui.network import network
from ui.numbers import number_text
from ui.presets import PRESETS
from ui.scenario import AXES, FIRST_SEED, SEEDS, SPEED, SPEEDS, Scenario, batch_sizes, read, turned, write
from ui.settings import DEFAULTS, SAME, TUNED, each_tuned, library_defaults, newcomer, same_rate, selected, setting_of

STAGE, CHART = "race", "race-chart"
QUESTIONS = {SAME: same_rate, DEFAULTS: library_defaults, TUNED: each_tuned}
HINT = "Each name above is a race worth a look. Move any slider: a new race starts at once, from the same first guess."


@dataclass(frozen=True)
class Stage:
    """All that the page remembers of a visitor."""

    shown: Scenario
    generation: int = 0  # of the widgets: a change that does not come from a widget makes new ones
    notes: tuple[str, ...] = ()
    preset: str | None = None
    scene: int = 0  # a preset or a link is a new scene; a slider moved is the same one
    # The racers whose sliders act from a step on; None until the browser has told where its play head stands.
    here: Mapping[int, int | None] = field(default_factory=dict)
    turns: Mapping[str, int] = field(default_factory=dict)  # of the sliders, by key: changes made on another card
    held: live.Held = field(default_factory=live.Held)
    address: Mapping[str, str] | None = None  # as last written
    drawn: tuple[Any, ...] = ()  # what the widgets last showed


def stage() -> Stage:
    found: Stage = st.session_state[STAGE]
    return found


def put(**changes: Any) -> None:
    st.session_state[STAGE] = replace(stage(), **changes)


def show(shown: Scenario, *, anew: bool = True, preset: str | None = None, scene: bool = False) -> None:
    """Turn to another scenario; `anew` where the widgets do not know of it yet."""
    now = stage()
    if shown.config != now.shown.config:
        live.leave(now.shown)
        put(held=live.Held())  # or who comes back to a race would not be sent what the browser has let go
    same = not scene and (shown.config.task, shown.config.steps) == (now.shown.config.task, now.shown.config.steps)
    here = {slot: at for slot, at in now.here.items() if same and slot in shown.slots}
    put(shown=shown, generation=now.generation + anew, notes=(), preset=preset, scene=now.scene + scene, here=here)


def attempt(change: Any, *, anew: bool, gone: int | None = None) -> None:
    """Make the change; what the core refuses is said in its own words, and the race stays as it is.

    That forks go is said, but of the one that was to be `gone`.
    """
    try:
        before = stage().shown
        shown = change(before)
        if shown != before:
            show(shown, anew=anew)
            if set(dict(before.forks)) - {*shown.slots, gone}:
                put(notes=(from_here.LOST,))
    except ValueError as error:
        put(notes=(str(error),), generation=stage().generation + 1)


def current(generation: int) -> bool:
    """Whether widgets of a generation may still speak: the browser can report one that has just been replaced."""
    return generation == stage().generation


def racer_changed(then: Stage, slot: int, what: str, value: Any) -> None:
    """A card's widget or button, as it was drawn `then`."""
    if not current(then.generation):
        return
    shown = stage().shown
    chosen, fork, at = shown.config.racers[shown.slots.index(slot)], dict(shown.forks).get(slot), stage().here.get(slot)
    if what in dict(chosen.settings) and when(then, slot).key(slot, what) != when(stage(), slot).key(slot, what):
        return  # the echo of a slider that has been made anew
    if what == "when":
        others = {each: step for each, step in stage().here.items() if each != slot}
        put(here=others | {slot: None} if value == "here" else others, notes=())
    elif what == "remove":
        attempt(lambda s: s.without(slot), anew=True, gone=slot)
    elif what == "duplicate":
        add(fork or chosen)
    elif at is not None:
        attempt(lambda s: s.changed(slot, at, what, value), anew=False)
    elif fork:
        attempt(lambda s: s.with_fork(slot, fork.but(what, value)), anew=False)
    else:
        attempt(lambda s: s.with_racer(slot, altered(s.config, chosen, what, value)), anew=what in ANEW)
    align()


def align() -> None:
    """A setting that stands on several cards, a racer's and its forks', is changed on all of them by one slider.

    The others are made anew: what the browser says of the old ones, which it may still hold, is not heard.
    """
    now = stage()
    turns = dict(now.turns)
    for slot in now.shown.slots:
        for name, value in contender(now, slot).settings:
            ours = when(now, slot).key(slot, name)
            if st.session_state.get(f"{now.generation}.{ours}", value) != value:
                base = replace(when(now, slot), turns={}).key(slot, name)
                turns[base] = turns.get(base, 0) + 1
    put(turns=turns)


def contender(now: Stage, slot: int) -> Racer:
    """What the card of this colour shows: the racer, or what its sliders make of it from a step on."""
    at = now.here.get(slot)
    return now.shown.at_last(slot) if at is None else now.shown.acting(slot, at)


def when(now: Stage, slot: int, fork: str = "") -> When:
    """From when on the sliders of this card act."""
    return When(slot in now.here, now.here.get(slot), fork, now.turns)


def add(wanted: Racer | from_here.Fork | None = None) -> None:
    """One more racer: a given one or a fork, or a rule that is not there yet, a usual one before others."""
    shown = stage().shown
    slot = shown.free_slot()
    if slot is None:
        return
    if isinstance(wanted, from_here.Fork):
        attempt(lambda s: s.with_fork(slot, wanted), anew=True)
        return
    rule = menu.next_rule({chosen.rule for chosen in shown.config.racers})
    attempt(lambda s: s.with_racer(slot, wanted or newcomer(s.config, rule)), anew=True)


def shared_changed(generation: int, name: str, value: Any) -> None:
    """Something all racers share: a race whose rates were tuned stays tuned where the new setting was, too."""
    if not current(generation):
        return

    def change(shown: Scenario) -> Scenario:
        config = shown.trunk
        assert isinstance(config.task, Choice)
        task = (config.task.name, dict(config.task.settings))
        steps, batch, seeds = config.steps, config.batch, config.seeds
        if name == "task":
            steps, batch, seeds = turned(config, value)
            task = (value, {})
        elif name.startswith("task."):
            task = (task[0], task[1] | {name.removeprefix("task."): value})
        elif name == "steps":
            steps = value
        elif name == "batch":
            batch = value
        elif name == "seeds":
            seeds = tuple(range(seeds[0], seeds[0] + value))
        elif name == "seed":
            seeds = tuple(range(value, value + len(seeds)))
        made = race(task, config.racers, steps=steps, batch=batch, seeds=seeds)
        if setting_of(config) == TUNED:
            made = each_tuned(made) or made
        return shown.with_config(made)

    attempt(change, anew=name in ("task", "steps", "batch"))


def asked(generation: int, name: str) -> None:
    """One of the three questions, of the race as it is by now."""
    if current(generation):
        attempt(lambda shown: shown.with_config(QUESTIONS[name](shown.trunk) or shown.trunk), anew=True)


def preset_chosen(name: str) -> None:
    """A preset decides all but how the viewer likes to look: the axis stays, and the speed where it asks for none."""
    made, view = PRESETS[name].make(), stage().shown.view
    speed = view.speed if made.view.speed == SPEED else made.view.speed
    show(replace(made, view=replace(made.view, x=view.x, speed=speed)), preset=name, scene=True)


def pulled() -> None:
    """The browser has drawn, and says what it holds; what it says of a page just left is not heard."""
    if CHART not in st.session_state:
        return
    pull, run = st.session_state[CHART].pull, stage().shown.config.key()
    put(held=live.Held.told(pull, run))
    if isinstance(pull, Mapping) and pull.get("run") == run and type(pull.get("head")) is int:
        stands(max(pull["head"], 0))


def stands(head: int) -> None:
    """The play head stands at this step, from which the sliders act that wait for it."""
    now = stage()
    waiting = [slot for slot, at in now.here.items() if at is None]
    early = [slot for slot in waiting if head <= from_here.since(dict(now.shown.forks), slot)]
    refused = waiting if head >= now.shown.config.steps else early
    if refused:
        why = from_here.LATE if refused is waiting else from_here.EARLY
        put(notes=(why,), generation=now.generation + 1)
    put(here={slot: head if at is None else at for slot, at in now.here.items() if slot not in refused})


def viewed() -> None:
    """The viewer chose another chart, axis or speed."""
    if CHART not in st.session_state:
        return
    view, shown = st.session_state[CHART].view, stage().shown
    if isinstance(view, Mapping):
        wanted = {name: str(view.get(name)) for name in ("chart", "x", "speed")}
        charts = [chart.id for chart in live.charts_for(shown.config.build_task())]
        if wanted["chart"] in charts and wanted["x"] in AXES and wanted["speed"] in SPEEDS:
            put(shown=replace(shown, view=replace(shown.view, **wanted)))


def by_evaluations() -> None:
    """The x axis on which steps that cost differently can be compared."""
    shown = stage().shown
    put(shown=replace(shown, view=replace(shown.view, x="evaluations")))


def address() -> None:
    """Keep the address bar at what is shown."""
    wanted = write(stage().shown)
    if wanted != stage().address:
        st.query_params.from_dict(wanted)
        put(address=wanted)


def shared_row(now: Stage) -> None:
    """What all racers share, and the three questions."""
    config = now.shown.config
    assert isinstance(config.task, Choice)
    task = config.build_task()

    def key(what: str) -> str:
        return f"{now.generation}.{what}"

    def tell(name: str, value: Any) -> None:
        shared_changed(now.generation, name, value)

    with st.container(key="shared", horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.html('<h1 class="dl-brand">Descent Lab</h1>', width="content")
        choice("Problem", "task", {name: kind.label for name, kind in TASKS.items()} | own.offered(),
               config.task.name, key("task"), tell,
               help="What the network learns; each problem has its own data and network.")  # fmt: skip
        with st.popover(
            "Network", key=key("network"), on_change="rerun", type="tertiary", help="Network, data and seeds"
        ) as more:
            if more.open:
                about = task.about[:1].upper() + task.about[1:].rstrip(".") + ("" if task.about.endswith("?") else ".")
                first, last = config.seeds[0], config.seeds[-1]
                seeds = f"the seed is {first}" if first == last else f"the seeds are {first} to {last}"
                st.caption(f"{own.plain(about)} Every racer has the same initial weights and data order for the same "
                           f"seed: {seeds}.")  # fmt: skip
                settings, drawing = st.columns([2, 3], gap="medium")
                with settings:
                    for hyper in TASKS[config.task.name].hypers:
                        setting(hyper, config.task.get(hyper.name), key(f"task.{hyper.name}"),
                                lambda name, value: tell(f"task.{name}", value))  # fmt: skip
                    st.number_input("First seed", FIRST_SEED.low, FIRST_SEED.high, config.seeds[0], key=key("seed"),
                                    help=FIRST_SEED.help, on_change=_seed_changed,
                                    args=(now.generation, key("seed")))  # fmt: skip
                with drawing:
                    st.html(network(task, len(config.racers), len(config.seeds), live.races().pace(config)))
        st.html(f'<span class="dl-plan" title="{escape(task.network)}">{escape(task.network)}</span>', width="content")
        stops = {stop: number_text(stop) for stop in STEPS.stops()}
        choice("Steps", "steps", stops, config.steps, key("steps"), tell, help=STEPS.help)
        if task.examples is not None:
            batch = batch_sizes(task)
            sizes = {size: number_text(size) for size in batch.stops()}
            sizes[task.examples] = f"all ({number_text(task.examples)})"
            choice("Batch", "batch", sizes, config.batch, key("batch"), tell, help=batch.help)
        choice("Seeds", "seeds", SEEDS.stops(), len(config.seeds), key("seeds"), tell, help=SEEDS.help)
        st.space("stretch")
        _questions(now, key)


def _seed_changed(generation: int, key: str) -> None:
    shared_changed(generation, "seed", int(st.session_state[key]))


def _questions(now: Stage, key: Any) -> None:
    answered, tuned = setting_of(now.shown.trunk), each_tuned(now.shown.trunk) is not None
    for label, name, help in (
        ("Same rate", SAME, "Everybody at the first racer's learning rate."),
        ("Library defaults", DEFAULTS, "Everybody as the library makes it."),
        ("Each tuned", TUNED, f"Everybody at the rate with the lowest {selected(now.shown.config)}, found beforehand."
         if tuned else "Nobody has tuned this problem, network, length and batch: go back to the usual ones."),
    ):  # fmt: skip
        st.button(label, key=key(name), on_click=asked, args=(now.generation, name), help=help,
                  disabled=name == TUNED and not tuned,
                  type="primary" if name == answered else "secondary")  # fmt: skip


def presets_row(now: Stage) -> None:
    """Scenarios worth a look."""
    with st.container(key="presets", horizontal=True, gap="small", vertical_alignment="center"):
        for name, preset in PRESETS.items():
            st.button(name, key=f"preset.{name}", help=preset.sentence, type="tertiary",
                      on_click=preset_chosen, args=(name,))  # fmt: skip
        st.caption(PRESETS[now.preset].sentence if now.preset else HINT)


def visible(now: Stage) -> tuple[Any, ...]:
    """All of the stage that the widgets show."""
    return now.shown.config, now.generation, now.notes, now.preset, now.here


@st.fragment
def chart() -> None:
    """The live chart; an acknowledgement of the browser reruns this and nothing else."""
    now = stage()
    # A click that reaches the server together with an acknowledgement may rerun only one of the two fragments.
    if now.drawn != visible(now):
        # The whole rerun carries the address that the browser had when it asked, not the one that was written since.
        put(address=st.query_params.to_dict())
        st.rerun()
    forks = dict(now.shown.forks)
    branches = [
        (now.shown.slots.index(forks[slot].parent), forks[slot].at) if slot in forks else None
        for slot in now.shown.slots
    ]
    live.chart(
        CHART, now.shown, pulled, viewed, now.held, now.scene, forks=True, branches=branches,
        asks=None in now.here.values(),
    )  # fmt: skip
    if now.shown.view.x != "evaluations" and (sentence := costs.unequal(now.shown.config)):
        with st.container(key="hint", horizontal=True, gap="xsmall", vertical_alignment="center"):
            st.caption(sentence, width="content")
            st.button("Compare by gradient evaluations", key="evaluations", type="tertiary", on_click=by_evaluations)
    address()


@st.fragment
def arena() -> None:
    """All of the page: a change of any setting reruns it, and with it the chart."""
    now = stage()
    put(drawn=visible(now))
    config, shown, forks = now.shown.config, now.shown, dict(now.shown.forks)
    names = dict(zip(shown.slots, labels(config), strict=True))
    words = {slot: from_here.told(fork, shown.at_last(slot), names[fork.parent]) for slot, fork in forks.items()}
    shared_row(now)
    presets_row(now)
    # Always there, full or empty: a fragment that changes its place on the page loses what is on its way to it.
    with st.container(key="notes"):
        if now.notes:
            st.warning("\n\n".join(now.notes))
    with st.container(key="arena"):
        left, right = st.columns([1, 3.15], gap="medium")
        with left, st.container(key="cards"):
            for slot in shown.slots:
                card(slot, contender(now, slot), now.generation, partial(racer_changed, now),
                     steps=config.steps, layout=config.build_task().layout, accuracy=config.build_task().accuracy,
                     alone=slot not in forks and len(shown.trunk.racers) == 1,
                     when=when(now, slot, words.get(slot, "")))  # fmt: skip
            if len(config.racers) < limits.RACERS:
                st.button("Add a racer", key=f"{now.generation}.add", icon=":material/add:", on_click=add,
                          width="stretch", help="One more optimizer, at its tuned rate if known.")  # fmt: skip
        with right:
            chart()


def main() -> None:
    arrived = st.query_params.to_dict()
    # Who comes back by the navigation brings no address, and finds the race that was left.
    if STAGE not in st.session_state or (arrived and arrived != stage().address):
        shown, notes = read(arrived, own.offered())
        old = st.session_state.get(STAGE, Stage(shown, -1, scene=-1))
        st.session_state[STAGE] = Stage(shown, old.generation + 1, tuple(notes), scene=old.scene + 1)
    elif not arrived:
        put(address=None)
    style.sheet()
    arena()


main()
