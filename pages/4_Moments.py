"""Moments: one bad gradient, and what an optimizer's memory makes of it in the steps that follow."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import streamlit as st

from core.analysis import seeds_needed
from core.config import STEPS, Choice, race, racer
from core.lens import MOST, NORMS, Lens
from core.optimizers import RULES
from core.remedies import REMEDIES, standings
from core.tasks import TASKS
from ui import live, menu, microscope, moments, own, remedies, style
from ui.card import ANEW, altered, card
from ui.charts import CARRIED, charts_for, loss_stride
from ui.controls import choice, setting
from ui.moments_presets import presets
from ui.moments_scenario import (
    AT,
    CAUSES,
    EXTRA,
    FACTOR,
    FORKS,
    KINDS,
    LENGTH,
    MODES,
    OTHERS,
    TRUNK,
    Beside,
    Fork,
    Look,
    Moments,
    fitted,
    read,
    write,
)
from ui.network import network
from ui.numbers import number_text
from ui.races import NotYetError, Race
from ui.scenario import AXES, SEEDS, SPEEDS, batch_sizes, turned

STAGE, CHART = "moments", "moments-chart"
LEAD = (
    "One gradient of a training goes bad. Beside it runs its twin, the same without it; the difference is what an "
    "optimizer's memory does."
)
HINT = "Each name is a bad gradient worth a look. Move any slider: another one strikes at once."


@dataclass(frozen=True)
class Stage:
    """All that the page remembers of a visitor."""

    shown: Moments
    generation: int = 0  # of the widgets: a change that does not come from a widget makes new ones
    notes: tuple[str, ...] = ()
    held: live.Held = field(default_factory=live.Held)
    address: Mapping[str, str] | None = None  # as last written
    drawn: tuple[Any, ...] = ()  # what the widgets last showed
    fork_at: int | None = None  # the step at which the play head asked for a fork
    preset: str = ""  # whose sentence stands beside the presets
    looks: int = 0  # times the browser asked for the microscope
    largest: tuple[tuple[str, str], int] | None = None  # a race and layer, and the weight with the largest gradient


def stage() -> Stage:
    found: Stage = st.session_state[STAGE]
    return found


def put(**changes: Any) -> None:
    st.session_state[STAGE] = replace(stage(), **changes)


def show(shown: Moments, notes: list[str], *, anew: bool) -> None:
    """Turn to what is to be shown; widgets are made `anew` where they do not know of it yet."""
    now = stage()
    if shown.config() != now.shown.config():
        live.leave(now.shown.scenario(), EXTRA, lens(now))
        put(held=live.Held())
    put(shown=shown, generation=now.generation + (anew or bool(notes)), notes=tuple(notes), fork_at=None, preset="")


def attempt(generation: int, change: Callable[[Moments], tuple[Moments, Beside]], *, anew: bool = False) -> None:
    """Make the change, to a trunk with its spike and what is wanted beside them; what the core refuses is said in its
    own words, and all stays as it is.
    """
    now = stage()
    if generation != now.generation:  # a widget that has just been replaced
        return
    try:
        shown, notes = fitted(*change(now.shown))
    except ValueError as error:
        put(notes=(str(error),), generation=now.generation + 1)
        return
    show(shown, notes, anew=anew)


def beside(generation: int, **wanted: Any) -> None:
    """Other forks, remedies, rules or another mode."""
    attempt(generation, lambda shown: (shown.bare, shown.beside._replace(**wanted)), anew=True)


def racer_changed(generation: int, slot: int, what: str, value: Any) -> None:
    """The card's widget or button."""

    def change(shown: Moments) -> tuple[Moments, Beside]:
        made = altered(shown.trunk, shown.racer, what, value)
        return replace(shown.bare, trunk=replace(shown.trunk, racers=(made,))), shown.beside

    attempt(generation, change, anew=what in ANEW)


def shared_changed(generation: int, name: str, value: Any) -> None:
    """Problem, steps, batch or seeds; what lies beyond a shorter run goes, and on another network it is looked anew."""

    def change(shown: Moments) -> tuple[Moments, Beside]:
        trunk, wanted = shown.trunk, shown.beside
        made, spike = trunk, shown.spike
        if name == "task":
            steps, batch, _ = turned(trunk, value)
            made = race(value, trunk.racers, steps=steps, batch=batch, seeds=trunk.seeds)
            spike, wanted = replace(spike, layer=""), wanted._replace(seen=Beside().seen)
        elif name == "seeds":
            made = replace(trunk, seeds=tuple(range(trunk.seeds[0], trunk.seeds[0] + value)))
        else:
            made = replace(trunk, **{name: value})
        spike = replace(spike, at=min(spike.at, made.steps))
        return replace(shown.bare, trunk=made, spike=spike), wanted

    attempt(generation, change, anew=True)


def spike_changed(generation: int, name: str, value: Any) -> None:
    """The spike: forks stay, each with its own past, which may have changed."""
    names = {"spike": "at", "for": "length"}
    attempt(
        generation,
        lambda shown: (
            replace(shown.bare, spike=replace(shown.spike, **{names.get(name, name): value})),
            shown.beside,
        ),
        anew=name == "cause",
    )


def mode_changed(generation: int) -> None:
    beside(generation, mode=st.session_state[f"{generation}.mode"])


def forked(generation: int, what: str) -> None:
    """One more fork, where the form says."""
    parent = st.session_state.get(f"{generation}.parent", TRUNK)
    at = int(st.session_state[f"{generation}.fork-at"])
    beside(generation, forks=(*stage().shown.forks, Fork(parent, at, what)))


def unforked(generation: int, fork: int) -> None:
    beside(generation, forks=stage().shown.without(fork).forks)


def remedy_switched(generation: int, name: str) -> None:
    there = stage().shown.remedies
    on = st.session_state[f"{generation}.remedy.{name}"]
    beside(generation, remedies=(*there, name) if on else tuple(each for each in there if each != name))


def rule_changed(generation: int, place: int, _name: str, rule: str) -> None:
    """Another rule in the place of one of those that are compared."""
    there = stage().shown.rules
    beside(generation, rules=tuple(rule if index == place else old for index, old in enumerate(there)))


def rule_added(generation: int) -> None:
    shown = stage().shown
    beside(generation, rules=(*shown.rules, menu.next_rule({shown.racer.rule, *shown.rules})))


def rule_dropped(generation: int, place: int) -> None:
    there = stage().shown.rules
    beside(generation, rules=(*there[:place], *there[place + 1 :]))


def preset_chosen(name: str) -> None:
    """A preset decides all but the axis and the speed."""
    made, view = presets()[name].shown, stage().shown.view
    show(replace(made, view=replace(made.view, x=view.x, speed=view.speed)), [], anew=True)
    put(preset=name)


def pulled() -> None:
    """The browser has drawn, and says what it holds; what it says of a race just left is not heard."""
    if CHART in st.session_state:
        shown = stage().shown
        put(held=live.Held.told(st.session_state[CHART].pull, EXTRA.key(shown.config())))


def viewed() -> None:
    """The viewer chose another chart, axis or speed."""
    view, shown = heard("view"), stage().shown
    wanted = {name: str(view.get(name)) for name in ("chart", "x", "speed")}
    charts = [chart.id for chart in (*charts_for(shown.trunk.build_task()), *CARRIED)]
    if wanted["chart"] in charts and wanted["x"] in AXES and wanted["speed"] in SPEEDS:
        put(shown=replace(shown, view=replace(shown.view, **wanted)))


def heard(name: str) -> Mapping[str, Any]:
    """What the browser says, whatever that is."""
    said = getattr(st.session_state[CHART], name, None) if CHART in st.session_state else None
    return said if isinstance(said, Mapping) else {}


def whole(said: Mapping[str, Any], name: str, first: int, end: int) -> int | None:
    """A whole number that the browser says, from `first` to `end - 1`; None where it says another thing."""
    value = said.get(name)
    return value if type(value) is int and first <= value < end else None


def picked() -> None:
    """The viewer wants to see another layer, weight or racer."""
    said, now = heard("pick"), stage()
    shown, watched = now.shown, lens(now).coordinates
    seen, columns = shown.seen, shown.layout.columns(shown.layer)
    coordinate = whole(said, "coordinate", 0, shown.layout.width)
    if isinstance(said.get("layer"), str) and said["layer"] in dict(shown.layout.shapes):
        seen = replace(seen, layer=said["layer"])
    if (pictured := whole(said, "pictured", 0, len(shown.config().racers))) is not None:
        seen = replace(seen, pictured=pictured)
    if (gone := whole(said, "drop", 0, shown.layout.width)) is not None:
        seen = replace(seen, watched=tuple(column for column in watched if column != gone))
    if said.get("random") is True:
        coordinate = random.randrange(columns.start, columns.stop)
    if isinstance(said.get("largest"), Mapping):
        step = whole(said["largest"], "step", 1, shown.trunk.steps + 1)
        racer = whole(said["largest"], "racer", 0, len(shown.config().racers))
        if step is not None and racer is not None:
            try:
                coordinate = live.races().largest(shown.config(), step, racer, shown.layer)
            except ValueError as error:
                put(notes=(str(error),))
    if coordinate is not None and coordinate not in watched:
        if len(watched) == MOST:
            put(notes=(f"At most {MOST} weights can be watched at a time; take one away first.",))
        else:
            seen = replace(seen, watched=(*watched, coordinate))
    put(shown=replace(shown, seen=seen))


def looked() -> None:
    """The viewer wants a step under the microscope."""
    said, now = heard("look"), stage()
    shown = now.shown
    step = whole(said, "step", 1, shown.trunk.steps + 1)
    if step is None:
        return
    racer = whole(said, "racer", 0, len(shown.config().racers))
    coordinate = whole(said, "coordinate", 0, shown.layout.width)
    look = Look(step, TRUNK if racer is None else racer,
                lens(now).coordinates[0] if coordinate is None else coordinate)  # fmt: skip
    put(shown=replace(shown, seen=replace(shown.seen, look=look)), looks=now.looks + 1)


def fork_asked() -> None:
    """The viewer wants a fork where the play head stands."""
    step = whole(heard("fork"), "step", 0, stage().shown.trunk.steps + 1)
    if step is not None:
        last = stage().shown.trunk.steps - 1
        put(fork_at=min(step, last), generation=stage().generation + 1)


def lens(now: Stage) -> Lens:
    """What is looked at of the network; unasked the weight with the largest gradient in the spike, once it is known."""
    known = now.largest and now.largest[0] == (now.shown.config().key(), now.shown.layer)
    return now.shown.lens(now.largest[1] if known and now.largest else None)


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
        elif now.fork_at is not None:
            fork_form(now, now.fork_at)
        else:
            more = st.popover("Fork…", key=f"{now.generation}.fork", on_change="rerun", width="stretch",
                              help="Go on from a step otherwise: what is there stays.")  # fmt: skip
            if more.open:
                with more:
                    fork_form(now, min(shown.spike.first + 1, shown.trunk.steps - 1))


def fork_form(now: Stage, at: int) -> None:
    """From where, and what is otherwise there."""
    shown = now.shown
    names = shown.names()
    st.number_input("Fork after so many steps", 0, shown.trunk.steps - 1, at, key=f"{now.generation}.fork-at")
    if shown.forks:
        racers = [TRUNK, *range(2, len(names))]
        st.selectbox("Of", racers, format_func=names.__getitem__, key=f"{now.generation}.parent")
    for what, kind in KINDS.items():
        st.button(kind.label, key=f"{now.generation}.fork.{what}", width="stretch", on_click=forked,
                  args=(now.generation, what))  # fmt: skip


def remedy_card(now: Stage) -> None:
    """A switch for each remedy; one that the racer cannot have says why."""
    shown = now.shown
    why = remedies.refused(shown.trunk, shown.spike.edits(shown.racer, shown.trunk.steps))
    full = len(shown.remedies) >= FORKS
    with st.container(key="remedies"):
        for name, remedy in REMEDIES.items():
            on = name in shown.remedies
            st.toggle(remedy.label, on, key=f"{now.generation}.remedy.{name}", help=why.get(name, remedy.help),
                      disabled=name in why or (full and not on), on_change=remedy_switched,
                      args=(now.generation, name))  # fmt: skip
            if name in why:
                st.caption(why[name])
        if full:
            st.caption(f"There can be {FORKS} remedies at a time.")


def rules_card(now: Stage) -> None:
    """The other rules that get the same bad gradient, each at its tuned rate where that is known."""
    shown = now.shown
    with st.container(key="rules"):
        for place, rule in enumerate(shown.rules):
            with st.container(key=f"head-rule-{place}", horizontal=True, vertical_alignment="center", gap="small"):
                lines = {name: line for name, line in menu.lines(racer(rule)).items() if not menu.wrappers_of(name)}
                choice("Rule", "rule", lines, menu.base_of(rule), f"{now.generation}.rule.{place}",
                       partial(rule_changed, now.generation, place), hide_label=True)  # fmt: skip
                st.button("Take away", key=f"{now.generation}.rule-drop.{place}", icon=":material/close:",
                          type="tertiary", help=f"Take {RULES[rule].label} away.", on_click=rule_dropped,
                          args=(now.generation, place))  # fmt: skip
        if len(shown.rules) < OTHERS:
            st.button("Add a rule", key=f"{now.generation}.rule-add", icon=":material/add:", width="stretch",
                      help="The same bad gradient in another rule, with a twin of its own.", on_click=rule_added,
                      args=(now.generation,))  # fmt: skip


CARDS = {"forks": fork_card, "remedies": remedy_card, "rules": rules_card}


def presets_row(now: Stage) -> None:
    """Bad gradients worth a look."""
    st.html(f'<p class="dl-lead">{LEAD}</p>')
    with st.container(key="presets", horizontal=True, gap="small", vertical_alignment="center"):
        for name, preset in presets().items():
            st.button(name, key=f"moments.preset.{name}", help=preset.sentence, type="tertiary",
                      on_click=preset_chosen, args=(name,))  # fmt: skip
        st.caption(presets()[now.preset].sentence if now.preset else HINT)


def strip(now: Stage) -> None:
    """Numbers at the play head, which the live chart keeps filled (`data-live`), and the half-lives."""
    shown = now.shown
    places = [("ratio", "steps / the twin's")]
    if shown.config().spikes() and shown.racer.spec.slots:
        places += [("carried_m", "of m is the bad one's"), ("carried_v", "of v is the bad one's")]
    cells = "".join(f'<span>{text}<b data-live="r{TRUNK}.{name}">&ndash;</b></span>' for name, text in places)
    st.html(f'<div class="dl-results">{cells}</div>')


def visible(now: Stage) -> tuple[Any, ...]:
    """All of the stage that the widgets show."""
    return now.shown.config(), now.shown.mode, now.generation, now.notes, now.preset, now.looks


def address() -> None:
    """Keep the address bar at what is shown."""
    wanted = write(stage().shown)
    if wanted != stage().address:
        st.query_params.from_dict(wanted)
        put(address=wanted)


@st.fragment
def chart() -> None:
    """The live chart and what its end has to say; an acknowledgement of the browser reruns this and nothing else."""
    now = stage()
    if now.drawn != visible(now):
        put(address=st.query_params.to_dict())
        st.rerun()
    shown = now.shown
    live.chart(
        CHART, shown.scenario(), pulled, viewed, now.held, names=shown.names(), told=partial(moments.told, shown),
        forks=True, extra=EXTRA, lens=lens(now), branches=shown.branches(),
        on={"pick": picked, "look": looked} | ({"fork": fork_asked} if shown.mode == "forks" else {}),
    )  # fmt: skip
    run = live.races().open(shown.config(), live.viewer(), True, EXTRA)
    if run.complete and find_largest(now):
        put(address=st.query_params.to_dict())
        st.rerun()  # the browser has all it asked for, and would not ask again
    if shown.mode == "remedies" and shown.remedies:
        ranking(now, run)
    if shown.mode == "rules":
        comparison(now, run)
    address()


def find_largest(now: Stage) -> bool:
    """Find the weight with the largest gradient in the spike, once all is trained: before, it would hold that up.

    Whether it is another one than has been watched until now.
    """
    shown, key = now.shown, (now.shown.config().key(), now.shown.layer)
    if shown.seen.watched or (now.largest and now.largest[0] == key):
        return False
    (middle,) = shown.lens().coordinates
    try:
        found = live.races().largest(shown.config(), shown.spike.first, TRUNK, shown.layer)
    except NotYetError:
        return False
    except ValueError:  # it is not to be had, and the middle does as well
        found = middle
    put(largest=(key, found))
    return found != middle


def ranking(now: Stage, run: Race) -> None:
    """The remedies in the order of what the bad gradient has cost each."""
    shown, seeds = now.shown, len(now.shown.trunk.seeds)
    if not run.complete:
        st.caption("At the end the remedies are ranked here, by the steps that the bad gradient has cost each.")
        return
    found = standings(run.tracks["curves"].transpose(2, 0, 1), loss_stride(run.config, EXTRA))
    names = shown.names()
    if not found:
        st.caption("The twin without the bad gradient has diverged on every seed, so there is nothing to rank by.")
        return
    st.markdown(f"**{remedies.headline(found, names, seeds)}**")
    st.table(remedies.rows(found, names))
    st.caption(
        f"Steps behind one and the same twin, {shown.racer.spec.label} without the bad gradient and without a remedy: "
        "what is simply faster than the twin ranks high too. Judged by a signed-rank test on seeds in pairs, with "
        "Holm's correction."
    )
    needed = seeds_needed(len(shown.remedies))
    if seeds < needed <= SEEDS.high:
        st.button(f"Take {needed} seeds", key=f"{now.generation}.seeds-needed", on_click=shared_changed,
                  args=(now.generation, "seeds", needed))  # fmt: skip


def comparison(now: Stage, run: Race) -> None:
    """The rules side by side."""
    if run.complete:
        seen = live.seen(now.shown.config(), lens(now))
        st.table(moments.rows(now.shown, run, apart(seen)))
    else:
        st.caption("At the end the rules stand side by side here.")


def apart(seen: Race) -> dict[int, float]:
    """How far each racer's weights are from its twin's at the end, on the first seed; none before the end."""
    if not seen.complete:
        return {}
    last = seen.tracks["norms"][:, :, -1].reshape(len(seen.config.racers), len(NORMS), -1)[:, NORMS.index("apart")]
    sizes = (last.astype(float) ** 2).sum(axis=1) ** 0.5
    return {racer: float(size) for racer, size in enumerate(sizes) if size == size}


@st.fragment
def under_the_microscope() -> None:
    """One step, line by line; what is done here reruns this and nothing else."""
    now = stage()
    shown, look = now.shown, now.shown.seen.look
    with st.container(key="microscope"):
        st.html('<h2 class="dl-section">One step under the microscope</h2>')
        if look is None:
            step, weight = shown.spike.first, lens(now).coordinates[0]
            st.button(f"Look at step {step:,}", key="microscope.open", help="Its equations with one weight's numbers.",
                      on_click=look_at, args=(Look(step, TRUNK, weight),))  # fmt: skip
            return
        with st.container(key="microscope-row", horizontal=True, vertical_alignment="bottom", gap="small"):
            for by, icon in ((-1, "chevron_left"), (1, "chevron_right")):
                st.button("Back" if by < 0 else "Forward", key=f"microscope.{by}", icon=f":material/{icon}:",
                          disabled=not 1 <= look.step + by <= shown.trunk.steps, on_click=look_at,
                          args=(look._replace(step=look.step + by),))  # fmt: skip
            names = shown.names()
            st.selectbox("Racer", range(len(names)), look.racer, format_func=names.__getitem__,
                         key=f"{now.generation}.microscope.racer.{look.racer}", on_change=look_at_racer,
                         args=(f"{now.generation}.microscope.racer.{look.racer}",))  # fmt: skip
            st.button("Close", key="microscope.close", type="tertiary", on_click=look_at, args=(None,))
        try:
            found = live.races().look(shown.config(), look.step, look.racer, look.coordinate)
        except ValueError as error:
            st.caption(str(error))
        else:
            st.markdown(f"Step **{look.step:,}** of {names[look.racer]}, weight **{found.place}**")
            if found.rows:
                st.markdown(microscope.markdown(found.rows))
            if found.note:
                st.caption(found.note)
    address()


def look_at(look: Look | None) -> None:
    shown = stage().shown
    put(shown=replace(shown, seen=replace(shown.seen, look=look)))


def look_at_racer(key: str) -> None:
    look = stage().shown.seen.look
    if look:
        look_at(look._replace(racer=st.session_state[key]))


@st.fragment
def lab() -> None:
    """All of the page: a change of any setting reruns it, and with it the chart."""
    now = stage()
    put(drawn=visible(now))
    shared_row(now)
    presets_row(now)
    # Always there, full or empty: a fragment that changes its place on the page loses what is on its way to it.
    with st.container(key="notes"):
        if now.notes:
            st.warning("\n\n".join(now.notes))
    trunk = now.shown.trunk
    task = trunk.build_task()
    with st.container(key="arena"):
        left, right = st.columns([1, 3.15], gap="medium")
        with left, st.container(key="cards"):
            st.segmented_control("Compare with", list(MODES), default=now.shown.mode, required=True,
                                 format_func=MODES.__getitem__, key=f"{now.generation}.mode", on_change=mode_changed,
                                 args=(now.generation,))  # fmt: skip
            card(0, now.shown.racer, now.generation, partial(racer_changed, now.generation), steps=trunk.steps,
                 layout=task.layout, accuracy=task.accuracy, alone=True)  # fmt: skip
            strip(now)
            spike_card(now)
            CARDS[now.shown.mode](now)
        with right:
            chart()
            under_the_microscope()


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
