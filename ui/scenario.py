"""A scenario is what a page shows: a race, the colours of its racers and the view. It is what the address bar holds.

    ?v=1&task=digits&steps=1000&batch=32&seeds=8&r0=sgd&r0.lr=0.3&r2=adam&r2.lr=0.003&r2.schedule=step&chart=m

`r0` … `r7` are the racers by colour; `rN.setting` is written where it differs from the default. Adam within SAM, the
rule "adam+sam", is written "adam~sam", since a "+" in an address is a space. A fork, whose settings change on the way,
is written as ui/from_here.py says: `r3.from=0.300` and what it changes. What comes by an address is untrusted: `read`
never raises, keeps within the page's limits and says what it changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.config import BATCH, CONSTANT, EVERY, RESETS, STEPS, Choice, Config, Racer, Reset, race, racer
from core.optimizers import RULES, WRAPPERS, why_not
from core.schedules import SCHEDULES
from core.spec import Hyper, complete
from core.tasks import TASKS, Task, brought, build
from ui import limits
from ui.charts import CHARTS, charts_for
from ui.from_here import Fork, Forks, fitting, grown, in_order, why_fixed
from ui.numbers import number_text
from ui.settings import newcomer

VERSION = "1"
SPEEDS = ("0.25", "1", "4", "max")
SPEED = "4"  # unasked
AXES = ("steps", "evaluations", "seconds")
SEEDS = Hyper(
    "seeds", 8, 1, limits.SEEDS, grid=tuple(range(1, limits.SEEDS + 1)), label="Seeds",
    help="Repeats of the race from other initial weights; fewer than 7 can prove nothing about three racers.",
)  # fmt: skip
FIRST_SEED = Hyper(
    "seed", 0, 0, 9999, grid=(0,), label="First seed",
    help="Another number is another set of initial weights and data orders.",
)  # fmt: skip
OFFERED = tuple(name for name, schedule in SCHEDULES.items() if not schedule.table)


@dataclass(frozen=True)
class View:
    """How a race is looked at; none of it changes a number."""

    chart: str
    x: str = "steps"
    speed: str = SPEED


@dataclass(frozen=True)
class Scenario:
    """A race with its racers' colours (`slots[i]`, 0 to 7, ascending) and its view; `forks` are those of its racers
    that are forks of others, by colour.
    """

    config: Config
    slots: tuple[int, ...]
    view: View
    forks: tuple[tuple[int, Fork], ...] = ()

    def __post_init__(self) -> None:
        if len(self.slots) != len(self.config.racers) or sorted(set(self.slots)) != list(self.slots):
            raise ValueError(f"{len(self.config.racers)} racers cannot have the colours {self.slots}.")
        numbers = self.config.rows * self.config.build_task().layout.width
        work = numbers * (self.config.batch if self.config.build_task().examples else 1)
        if numbers > limits.NUMBERS or work > limits.WORK:
            times = max(numbers / limits.NUMBERS, work / limits.WORK)
            raise ValueError(
                f"This race is {times:.1f} times as large as one may be here: "
                "take a smaller network or batch, fewer racers or fewer seeds."
            )

    @property
    def trunk(self) -> Config:
        """The race without its forks."""
        if not self.forks:
            return self.config
        racers = tuple(racer for slot, racer in self._racers().items() if slot not in dict(self.forks))
        return replace(self.config, racers=racers, edits=())

    def with_config(self, trunk: Config) -> Scenario:
        """Another race with the same racers' colours and their forks, where they fit; the view follows the task."""
        charts = [chart.id for chart in charts_for(trunk.build_task())]
        same = trunk.task == self.config.task and self.view.chart in charts
        view = self.view if same else replace(self.view, chart=charts[0])
        own = tuple(slot for slot in self.slots if slot not in dict(self.forks))
        slots, forks = (own, dict(self.forks)) if len(own) == len(trunk.racers) else (range(len(trunk.racers)), {})
        return _forked(trunk, dict(zip(slots, trunk.racers, strict=True)), forks, view)

    def with_racer(self, slot: int, contender: Racer) -> Scenario:
        """The racer of that colour replaced, or added."""
        return self._of(self._racers() | {slot: contender}, dict(self.forks))

    def with_fork(self, slot: int, fork: Fork) -> Scenario:
        """The fork of that colour replaced, or added."""
        return self._of(self._racers(), dict(self.forks) | {slot: fork})

    def changed(self, slot: int, at: int, name: str, value: Any) -> Scenario:
        """A setting of that colour's racer changed from a step on: in its fork that leaves there, or in a new one."""
        forks = dict(self.forks)
        place = next((each for each, fork in forks.items() if (fork.parent, fork.at) == (slot, at)), self.free_slot())
        if place is None:
            raise ValueError(
                f"A race has at most {limits.RACERS} racers, and a change from here on makes one more. Take one out."
            )
        return self.with_fork(place, forks.get(place, Fork(slot, at, ())).but(name, value))

    def acting(self, slot: int, at: int) -> Racer:
        """What the sliders of that colour's racer show that act from this step on: its fork there, or itself."""
        there = (each for each, fork in self.forks if (fork.parent, fork.at) == (slot, at))
        return self.at_last(next(there, slot))

    def without(self, slot: int) -> Scenario:
        """The racer of that colour taken out, with its forks; the others keep their colours."""
        racers = {each: racer for each, racer in self._racers().items() if each != slot}
        return self._of(racers, {each: fork for each, fork in self.forks if each != slot})

    def at_last(self, slot: int) -> Racer:
        """The racer of that colour with the settings that it has at the end, where those of a fork have changed."""
        racer, fork = self._racers()[slot], dict(self.forks).get(slot)
        return self.at_last(fork.parent).but(**dict(fork.settings)) if fork else racer

    def free_slot(self) -> int | None:
        """The first colour that nobody has."""
        return next((slot for slot in range(limits.RACERS) if slot not in self.slots), None)

    def _racers(self) -> dict[int, Racer]:
        return dict(zip(self.slots, self.config.racers, strict=True))

    def _of(self, racers: Mapping[int, Racer], forks: Forks) -> Scenario:
        own = {slot: racers[slot] for slot in sorted(racers) if slot not in dict(self.forks)}
        return _forked(replace(self.trunk, racers=tuple(own.values())), own, forks, self.view)


def _forked(trunk: Config, racers: Mapping[int, Racer], forks: Forks, view: View) -> Scenario:
    """A race of these racers by colour, and those of their forks that they can have."""
    config, slots, kept = grown(trunk, tuple(racers), fitting(racers, forks, trunk))
    return Scenario(config, slots, view, kept)


def scenario(config: Config) -> Scenario:
    """A race as it is shown unasked: colours in order, the task's first chart."""
    return Scenario(config, tuple(range(len(config.racers))), View(charts_for(config.build_task())[0].id))


def batch_sizes(task: Task) -> Hyper:
    """The batch size as it can be set for a task: up to all of its training data."""
    return replace(BATCH, high=task.examples or BATCH.high)


def turned(config: Config, name: str) -> tuple[int, int, tuple[int, ...]]:
    """Steps, batch and seeds of a race that turns to another task: what was as usual on the old one is as usual on the
    new one, and what a person chose stays. Who had all of the data, or needs it, has all again.
    """
    assert isinstance(config.task, Choice)
    old, new = TASKS[config.task.name], TASKS[name]
    examples = build(name, complete(new.hypers, {}, name)).examples
    steps = new.steps if config.steps == old.steps else config.steps
    count = new.seeds if len(config.seeds) == old.seeds else len(config.seeds)
    batch = new.batch if config.batch == old.batch else config.batch
    if examples is None:
        batch = batch if batch <= BATCH.high else new.batch
    elif any(racer.spec.full_batch for racer in config.racers) or config.batch == config.build_task().examples:
        batch = examples
    else:
        batch = min(batch, examples)
    return steps, batch, tuple(range(config.seeds[0], config.seeds[0] + count))


def default() -> Scenario:
    """The first screen: the digits, with SGD, momentum and Adam each tuned."""
    bare = race("digits", [racer("sgd")], seeds=int(SEEDS.default))
    return scenario(replace(bare, racers=tuple(newcomer(bare, rule) for rule in ("sgd", "momentum", "adam"))))


def write(shown: Scenario) -> dict[str, str]:
    """The scenario as the parameters of an address."""
    config = shown.config
    assert isinstance(config.task, Choice)
    found = {"v": VERSION, "task": config.task.name}
    for hyper in TASKS[config.task.name].hypers:
        if config.task.get(hyper.name) != hyper.default:
            found[f"task.{hyper.name}"] = _text(config.task.get(hyper.name))
    found |= {"steps": str(config.steps), "batch": str(config.batch), "seeds": str(len(config.seeds))}
    if config.seeds[0]:
        found["seed"] = str(config.seeds[0])
    forks = dict(shown.forks)
    for slot, contender in zip(shown.slots, config.racers, strict=True):
        if slot in forks:
            found[f"r{slot}.from"] = f"{forks[slot].parent}.{forks[slot].at}"
            found |= {f"r{slot}.{name}": _text(value) for name, value in forks[slot].settings}
            continue
        found[f"r{slot}"] = contender.rule.replace("+", "~")
        for hyper in contender.spec.hypers:
            if hyper.name == "lr" or contender.get(hyper.name) != hyper.default:
                found[f"r{slot}.{hyper.name}"] = _text(contender.get(hyper.name))
        if contender.schedule != CONSTANT:
            found[f"r{slot}.schedule"] = contender.schedule.name
            off = dict(CONSTANT.settings)  # a warm-up that is switched off
            for name, value in contender.schedule.settings:
                if name not in off or value != off[name]:
                    found[f"r{slot}.{name}"] = _text(value)
        if contender.reset.what != "nothing":
            found[f"r{slot}.reset"] = contender.reset.what
            if contender.reset.every:
                found[f"r{slot}.reset_every"] = str(contender.reset.every)
    return found | {"chart": shown.view.chart, "x": shown.view.x, "speed": shown.view.speed}


def read(params: Mapping[str, str], own: Container[str] = ()) -> tuple[Scenario, list[str]]:
    """The scenario of an address, and one sentence for each thing that could not be taken as it stood.

    `own` are the names of the problems that this visitor brought; nobody else's can be reached by a link.
    """
    notes: list[str] = []
    if not any(name in params for name in ("v", "task", "steps", *(f"r{slot}" for slot in range(limits.RACERS)))):
        return default(), notes
    if sum(len(name) + len(value) for name, value in params.items()) > limits.URL_CHARACTERS:
        return default(), ["This link is too long to be one of ours; here is the first screen instead."]
    if params.get("v", VERSION) != VERSION:
        notes.append(f"This link is of version {quoted(params['v'])}; it is read as version {VERSION}.")
    try:
        return Reader(params, notes, own).scenario(), notes[:6]
    except ValueError as error:
        return default(), [str(error)]


class Reader:
    """Reads parameters one by one; whatever is wrong becomes a note and the default."""

    def __init__(self, params: Mapping[str, str], notes: list[str], own: Container[str]):
        self.params, self.notes, self.own = params, notes, own

    def scenario(self) -> Scenario:
        task = self.task()
        settings = {h.name: self.number(f"task.{h.name}", h, "the problem") for h in TASKS[task].hypers}
        problem = build(task, tuple(settings.items()))
        batch = self.number("batch", batch_sizes(problem), "this race")
        steps = int(self.number("steps", replace(STEPS, low=1, high=limits.STEPS), "this race"))
        seeds, first = int(self.number("seeds", SEEDS, "this race")), int(self.number("seed", FIRST_SEED, "this race"))
        racers = self.racers()
        if not racers:
            racers = dict(zip(default().slots, default().config.racers, strict=True))
        config = race(
            (task, settings), racers.values(), steps=steps, batch=int(batch), seeds=range(first, first + seeds)
        )
        charts = [chart.id for chart in charts_for(config.build_task())]
        known = [chart.id for chart in CHARTS]
        chart = self.name("chart", known, charts[0], "chart")
        view = View(
            chart if chart in charts else charts[0],
            self.name("x", AXES, "steps", "axis"),
            self.name("speed", SPEEDS, SPEED, "speed"),
        )
        return _forked(config, racers, self.forks(racers, config), view)

    def task(self) -> str:
        name = self.params.get("task", "digits")
        if not brought.content_of(name):
            return self.name("task", TASKS, "digits", "problem")
        if name not in self.own:
            raise ValueError(brought.GONE)
        return name

    def racers(self) -> dict[int, Racer]:
        named = {int(name[1:]) for name in self.params if name[:1] == "r" and _is_small(name[1:])}
        slots = sorted(slot for slot in named if f"r{slot}.from" not in self.params)
        if len(slots) > limits.RACERS or any(slot >= limits.RACERS for slot in slots):
            self.notes.append(f"A race has at most {limits.RACERS} racers; the others of this link were left out.")
        return {slot: self.racer(f"r{slot}", slot + 1) for slot in slots if slot < limits.RACERS}

    def racer(self, at: str, position: int) -> Racer:
        rule = self.rule(at)
        owner = f"racer {position} ({RULES[rule].label})"
        settings: dict[str, Any] = {h.name: self.number(f"{at}.{h.name}", h, owner) for h in RULES[rule].hypers}
        schedule = self.name(f"{at}.schedule", OFFERED, "constant", "schedule")
        shape = {h.name: self.number(f"{at}.{h.name}", h, owner) for h in SCHEDULES[schedule].hypers}
        what = self.name(f"{at}.reset", RESETS, "nothing", "reset")
        every = int(self.number(f"{at}.reset_every", EVERY, owner)) if f"{at}.reset_every" in self.params else 0
        return racer(rule, schedule=(schedule, shape), reset=Reset(what, every if what != "nothing" else 0), **settings)

    def forks(self, racers: Mapping[int, Racer], config: Config) -> Forks:
        """The forks of these racers, by colour."""
        asked = {slot: self.params[f"r{slot}.from"] for slot in range(limits.RACERS) if f"r{slot}.from" in self.params}
        origins = {slot: _origin(text) for slot, text in asked.items()}
        rules, layout = {slot: racer.spec for slot, racer in racers.items()}, config.build_task().layout
        found: dict[int, Fork] = {}
        for slot, fork in in_order(racers, {slot: fork for slot, fork in origins.items() if fork}):
            rule = rules[slot] = rules[fork.parent]
            owner, last = f"racer {slot + 1} ({rule.label})", config.steps - 1
            settings = [
                (hyper.name, self.number(f"r{slot}.{hyper.name}", hyper, owner))
                for hyper in rule.hypers
                if f"r{slot}.{hyper.name}" in self.params and not why_fixed(rule, hyper.name, layout)
            ]
            if fork.at > last:
                self.notes.append(f"The start of {owner} is step {fork.at}, beyond the last one; {last} is used.")
            found[slot] = Fork(fork.parent, min(fork.at, last), tuple(sorted(settings)))
        kept = fitting(racers, found, config)
        for slot in sorted(asked.keys() - kept.keys()):
            self.notes.append(
                f"Racer {slot + 1} was left out, since {quoted(asked[slot])} is no racer and step for it to leave, "
                "or nothing changes there."
            )
        return kept

    def rule(self, at: str) -> str:
        """A rule's name; wrappers that cannot stand around it are left out."""
        base, *around = self.params.get(at, "sgd").split("~")
        if base not in RULES or not around:
            return self.name(at, RULES, "sgd", "optimizer")
        unknown = any(name not in WRAPPERS for name in around)
        rule = "+".join([base, *(name for name in WRAPPERS if name in around)])
        if rule in RULES and not unknown:
            return rule
        why = "There is no such wrapper." if unknown else why_not(RULES[base], tuple(rule.split("+")[1:]))
        self.notes.append(f"{why} {RULES[base].label} is used alone.")
        return base

    def name(
        self, param: str, known: Mapping[str, object] | tuple[str, ...] | list[str], default: str, what: str
    ) -> str:
        value = self.params.get(param, default)
        if value in known:
            return value
        self.notes.append(f"There is no {what} {quoted(value)}; {default} is used.")
        return default

    def number(self, param: str, hyper: Hyper, owner: str) -> float | int | bool:
        if param not in self.params:
            return hyper.default
        text, kind = self.params[param], type(hyper.default)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if kind is bool and value not in (0, 1):
            value = math.nan
        if not math.isfinite(value):
            self.notes.append(
                f"{hyper.title} of {owner} is {quoted(text)}, no number; {number_text(hyper.default)} is used."
            )
            return hyper.default
        taken = hyper.clamp(value)
        if taken != value:
            within = hyper.low <= value <= hyper.high
            why = "no whole number" if within else f"but goes from {hyper.low:g} to {hyper.high:g} here"
            self.notes.append(f"{hyper.title} of {owner} is {quoted(text)}, {why}; {taken:g} is used.")
        return taken


def _origin(text: str) -> Fork | None:
    """The racer and the step of "0.300", where these are two numbers."""
    parent, _, at = text.partition(".")
    numbers = all(part.isascii() and part.isdigit() and len(part) < 8 for part in (parent, at))
    return Fork(int(parent), int(at), ()) if numbers else None


def _is_small(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 5


def quoted(text: str) -> str:
    """A stranger's text, short and harmless in a sentence of Markdown, where "www." would begin a link."""
    kept = "".join(character for character in text[:24] if character.isalnum() or character in " .+-_")
    kept = re.sub(r"www\.", "www ", kept, flags=re.IGNORECASE)
    return f"“{kept}”" if kept == text else f"“{kept}…”"


def _text(value: float | int | bool) -> str:
    return str(int(value)) if isinstance(value, bool) else repr(value)
