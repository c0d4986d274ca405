"""What a race is: a frozen, hashable description that serialises to JSON and back.

    Config = task + racers + steps + batch + seeds (+ edits)

Every check happens here, when a config or a part of it is made, by whatever door: whatever holds a `Config` may rely
on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.edits import COUNTS, EDITS, MOMENTS, WHATS
from core.optimizers import RULES
from core.optimizers.base import Rule
from core.schedules import SCHEDULES, Schedule
from core.spec import Hyper, complete, is_number
from core.tasks import TASKS, Task, build

Settings = tuple[tuple[str, Any], ...]
EVERY = Hyper("every", 300, 10, 5000, log=True, label="Reset every", minimum=1, maximum=10_000_000,
              help="Steps between two resets of the optimizer's memory.")  # fmt: skip
RESETS = ("nothing", *MOMENTS)
STEPS = Hyper("steps", 1000, 100, 5000, grid=(100, 200, 300, 500, 1000, 2000, 3000, 5000), label="Steps", minimum=1,
              maximum=10_000_000, help="Updates of the weights; a longer run forgives a low rate.")  # fmt: skip
BATCH = Hyper("batch", 32, 4, 256, grid=(4, 8, 16, 32, 64, 128, 256), label="Batch", minimum=1, maximum=1_000_000,
              help="Examples in each step's gradient; 32 is usual.")  # fmt: skip


def _one_of(what: str, value: object, known: Iterable[str]) -> None:
    names = list(known)
    if value not in names:
        raise ValueError(f"{what} is {str(value)[:40]!r}, but must be one of {', '.join(names)}.")


@dataclass(frozen=True)
class Choice:
    """A registry name with its settings: of a task, a schedule or an edit, and checked by what holds it."""

    name: str
    settings: Settings = ()

    def get(self, setting: str) -> Any:
        """The value of one setting."""
        return dict(self.settings)[setting]


CONSTANT = Choice("constant", complete(SCHEDULES["constant"].hypers, {}, "constant"))
MOMENTA = ("momentum", "beta1")  # what a schedule calls a rule's momentum


@dataclass(frozen=True)
class Reset:
    """When the optimizer forgets: `what` is "nothing", "m", "v" or "all".

    `every` is the number of steps between two resets; 0 means at each decay of the learning rate.
    """

    what: str = "nothing"
    every: int = 0

    def __post_init__(self) -> None:
        _one_of("reset", self.what, RESETS)
        object.__setattr__(self, "every", int(EVERY.check(self.every)) if self.every != 0 else 0)


@dataclass(frozen=True)
class Racer:
    """One contender: a rule, all its settings, how they change over time, and when it forgets.

    `schedules` holds (setting, schedule) pairs; a setting without one is constant.
    """

    rule: str
    settings: Settings
    schedules: tuple[tuple[str, Choice], ...] = ()
    reset: Reset = Reset()

    def __post_init__(self) -> None:
        hypers = RULES.find(self.rule).hypers
        for setting, choice in dict(self.schedules).items():
            _one_of("scheduled setting", setting, [hyper.name for hyper in hypers])
            if setting != "lr" and choice.name in SCHEDULES and SCHEDULES[choice.name].react:
                raise ValueError(f"The schedule {choice.name!r} is one of the learning rate, not of {setting}.")
        schedules = ((setting, _schedule(choice)) for setting, choice in dict(self.schedules).items())
        object.__setattr__(self, "settings", complete(hypers, dict(self.settings), self.rule))
        object.__setattr__(self, "schedules", tuple(pair for pair in schedules if pair[1] != CONSTANT))

    def get(self, setting: str) -> Any:
        """The value of one setting of the rule."""
        return dict(self.settings)[setting]

    def but(self, **changes: object) -> Racer:
        """The same racer with some settings changed, checked."""
        return replace(self, settings=tuple((dict(self.settings) | changes).items()))

    @property
    def spec(self) -> Rule:
        """The registry entry of its rule."""
        return RULES[self.rule]

    @property
    def schedule(self) -> Choice:
        """The schedule of the learning rate."""
        return dict(self.schedules).get("lr", CONSTANT)

    @property
    def moved(self) -> dict[str, tuple[Schedule, Choice, bool]]:
        """The settings that change over time: the schedule of each, and whether it is the rate's own or the momentum
        that goes with it.
        """
        found = {setting: (SCHEDULES[choice.name], choice, False) for setting, choice in self.schedules}
        if SCHEDULES[self.schedule.name].momentum:
            with_rate = {name for name in MOMENTA if name in dict(self.settings)} - set(found)
            found |= {name: (SCHEDULES[self.schedule.name], self.schedule, True) for name in with_rate}
        return found

    def decays(self, steps: int) -> tuple[int, ...]:
        """The steps at which the learning rate is cut in a run of so many, as far as they are known before it."""
        return SCHEDULES[self.schedule.name].cuts(steps, dict(self.schedule.settings))

    @property
    def resets_with_rate(self) -> bool:
        """Whether it forgets when its schedule cuts the rate."""
        return self.reset.what != "nothing" and not self.reset.every

    def resets(self, steps: int) -> tuple[int, ...]:
        """The steps at which the optimizer forgets."""
        if self.reset.what == "nothing":
            return ()
        return tuple(range(self.reset.every, steps, self.reset.every)) if self.reset.every else self.decays(steps)


@dataclass(frozen=True)
class Edit:
    """Something that happens to one racer at a 0-based step, before that step's gradient is used."""

    step: int
    racer: int
    what: Choice

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", _edit(self.what))


@dataclass(frozen=True)
class Config:
    """A race: everything that decides its outcome, and nothing else.

    `task` is a registry choice, or a `Task` made in this process (which then cannot be written as JSON).
    Row r of its table is racer `r // len(seeds)` with seed `seeds[r % len(seeds)]`.
    """

    task: Choice | Task
    racers: tuple[Racer, ...]
    steps: int = 1000
    batch: int = 32
    seeds: tuple[int, ...] = (0,)
    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.task, Choice):
            kind = TASKS.find(self.task.name)
            settings = complete(kind.hypers, dict(self.task.settings), self.task.name)
            object.__setattr__(self, "task", Choice(self.task.name, settings))
        object.__setattr__(self, "steps", int(STEPS.check(self.steps)))
        object.__setattr__(self, "batch", int(BATCH.check(self.batch)))
        if not self.racers:
            raise ValueError("A race needs at least one racer.")
        whole = all(type(seed) is int and seed >= 0 for seed in self.seeds)
        if not self.seeds or not whole or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are {self.seeds!r}, but must be different whole numbers of at least 0.")
        for each in ("racers", "seeds", "edits"):
            object.__setattr__(self, each, tuple(getattr(self, each)))
        task = self.build_task()
        for contender in self.racers:
            if problem := refusal(contender.spec, task, self.batch):
                raise ValueError(problem)
        examples = task.examples
        if examples is not None and self.batch > examples:
            raise ValueError(f"batch is {self.batch}, but must be at most {examples}, the size of the training data.")
        for edit in self.edits:
            for what, value, end in (("step", edit.step, self.steps), ("racer", edit.racer, len(self.racers))):
                if type(value) is not int or not 0 <= value < end:
                    raise ValueError(
                        f"The {what} of an edit is {repr(value)[:40]}, but must be a whole number from 0 to {end - 1}."
                    )
            _possible(edit.what, self.racers[edit.racer], task)

    @property
    def rows(self) -> int:
        """R, the number of runs."""
        return len(self.racers) * len(self.seeds)

    def build_task(self) -> Task:
        """The task itself."""
        return build(self.task.name, self.task.settings) if isinstance(self.task, Choice) else self.task

    def edits_at(self) -> dict[int, list[Edit]]:
        """All edits by step: those given, and those that the racers' reset policies make."""
        found: dict[int, list[Edit]] = {}
        for index, racer in enumerate(self.racers):
            for step in racer.resets(self.steps):
                forgets = Choice("reset", (("what", racer.reset.what), ("count", "own")))
                found.setdefault(step, []).append(Edit(step, index, forgets))
        for edit in self.edits:
            found.setdefault(edit.step, []).append(edit)
        return found

    def values(self, racer: int, setting: str, first: int, count: int) -> NDArray[np.float64]:
        """The setting's value at steps `first … first + count - 1`, schedule and edits worked in: `[count]`."""
        chosen = self.racers[racer]
        t = np.arange(first, first + count, dtype=float)
        base = np.full(count, float(chosen.get(setting)))
        for edit in self.edits:
            if edit.racer == racer and edit.what.name == "set" and edit.what.get("setting") == setting:
                base[t >= edit.step] = edit.what.get("value")
        if setting not in chosen.moved:
            return base
        entry, schedule, momentum = chosen.moved[setting]
        return entry.at(base, t, self.steps, dict(schedule.settings), momentum)

    def changing(self) -> set[str]:
        """The settings that are not the same at all steps, for some racer."""
        scheduled = {setting for racer in self.racers for setting in racer.moved}
        return scheduled | {edit.what.get("setting") for edit in self.edits if edit.what.name == "set"}

    def spikes(self) -> dict[int, frozenset[int]]:
        """The steps that have another gradient than the data would give, and the racers for which they have."""
        steps = {edit.step for edit in self.edits if EDITS[edit.what.name].spikes}
        return {
            step: frozenset(e.racer for e in self.edits if e.step == step and EDITS[e.what.name].spikes)
            for step in sorted(steps)
        }

    def to_json(self) -> str:
        """This config as JSON, readable and complete.

        Raises:
            ValueError: the task was made from a function, which has no name to write.
        """
        if not isinstance(self.task, Choice):
            raise ValueError("A task made from a function lives in this process only and cannot be written as JSON.")
        data = {
            "task": _choice(self.task),
            "racers": [
                {
                    "rule": racer.rule,
                    "settings": dict(racer.settings),
                    "schedules": {setting: _choice(schedule) for setting, schedule in racer.schedules},
                    "reset": asdict(racer.reset),
                }
                for racer in self.racers
            ],
            "steps": self.steps,
            "batch": self.batch,
            "seeds": self.seeds,
            "edits": [{"step": e.step, "racer": e.racer, "what": _choice(e.what)} for e in self.edits],
        }
        return json.dumps(data, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Config:
        """The inverse of `to_json`; everything is checked again.

        Raises:
            ValueError: it is no config, or one with a value outside its domain.
        """
        try:
            data = json.loads(text)
            return race(
                (data["task"]["name"], data["task"]["settings"]),
                [_racer_from(entry) for entry in data["racers"]],
                steps=data["steps"],
                batch=data["batch"],
                seeds=data["seeds"],
                edits=[edit(e["step"], e["racer"], e["what"]["name"], **e["what"]["settings"]) for e in data["edits"]],
            )
        except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"This is not a race: {error}") from error

    def key(self) -> str:
        """A short name of this config's content, for caches."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def racer(
    rule: str,
    *,
    schedule: str | tuple[str, Mapping[str, object]] | None = None,
    schedules: Mapping[str, tuple[str, Mapping[str, object]]] | None = None,
    reset: Reset = Reset(),
    **settings: object,
) -> Racer:
    """A contender, checked: `racer("adam", lr=0.003, schedule=("step", {"factor": 0.1, "every": 300}))`.

    Settings that are not given have the library's default. `schedule` is the learning rate's; `schedules` may give
    one for any setting.

    Raises:
        ValueError: unknown rule, setting or schedule, or a value outside its domain; the message names it.
    """
    chosen = dict(schedules or {})
    if schedule is not None:
        chosen["lr"] = (schedule, {}) if isinstance(schedule, str) else schedule
    choices = tuple((setting, Choice(name, tuple(given.items()))) for setting, (name, given) in chosen.items())
    return Racer(rule, tuple(settings.items()), choices, reset)


def refusal(rule: Rule, task: Task, batch: int) -> str:
    """Why this rule cannot be raced on this task with this batch size, in one sentence; "" where it can."""
    if rule.full_batch and task.examples is not None and batch < task.examples:
        return (
            f"{rule.label} needs all of the data in every step, so batch must be {task.examples}, "
            f"the size of the training data, and not {batch}."
        )
    if rule.full_batch and task.changes:
        return f"{rule.label} compares the losses of two steps, and this problem has another one at each step."
    if rule.draws_labels and not task.draws_labels:
        return f"{rule.label} draws labels from the network's own predictions, and this problem has no classes."
    return ""


def edit(step: int, racer: int, what: str, /, **settings: object) -> Edit:
    """An edit, checked: `edit(100, 0, "scale_gradient", factor=100.0)`.

    Raises:
        ValueError: unknown edit, or not its settings; where it lies is checked by the race.
    """
    return Edit(step, racer, Choice(what, tuple(settings.items())))


def race(
    task: str | tuple[str, Mapping[str, object]] | Task,
    racers: Iterable[Racer],
    *,
    steps: int = int(STEPS.default),
    batch: int = int(BATCH.default),
    seeds: int | Sequence[int] = 1,
    edits: Iterable[Edit] = (),
) -> Config:
    """A race, checked: `race("digits", [racer("sgd", lr=0.3), racer("adam", lr=0.003)], steps=500, seeds=8)`.

    `seeds` is how many (0, 1, …), or which ones.

    Raises:
        ValueError: anything unknown or outside its domain; the message names the setting, the value and the range.
    """
    chosen: Choice | Task
    if isinstance(task, Task):
        chosen = task
    else:
        name, settings = (task, {}) if isinstance(task, str) else task
        chosen = Choice(name, tuple(settings.items()))
    if isinstance(seeds, bool) or (isinstance(seeds, int) and seeds < 1):
        raise ValueError(f"seeds is {seeds!r}, but must be at least 1.")
    given = range(seeds) if isinstance(seeds, int) else seeds
    return Config(chosen, tuple(racers), steps, batch, given, tuple(edits))  # type: ignore[arg-type]


def _edit(choice: Choice) -> Choice:
    """An edit with its settings checked, in the order of their declaration."""
    what = choice.name
    _one_of("edit", what, EDITS)
    kinds = EDITS[what].settings
    settings = {**EDITS[what].defaults, **dict(choice.settings)}
    if set(settings) != set(kinds):
        given = ", ".join(dict(choice.settings)) or "nothing"
        raise ValueError(f"The edit {what!r} takes {', '.join(kinds) or 'no settings'}, not {given}.")
    for name, value in settings.items():
        if not (isinstance(value, str) if kinds[name] is str else is_number(value)):
            wanted = "a word" if kinds[name] is str else "a finite number"
            raise ValueError(f"{name} of the edit {what!r} is {repr(value)[:40]}, but must be {wanted}.")
        if kinds[name] is int and (value != int(value) or value < 0):
            raise ValueError(f"{name} of the edit {what!r} is {value!r}, but must be a whole number of at least 0.")
    if what == "reset":
        _one_of("reset", settings["what"], WHATS)
        _one_of("count of a reset", settings["count"], COUNTS)
        if (settings["what"], settings["count"]) == ("count", "kept"):
            raise ValueError("A reset of the count that keeps the count does nothing.")
    return Choice(what, tuple((name, kind(settings[name])) for name, kind in kinds.items()))


def _possible(what: Choice, contender: Racer, task: Task) -> None:
    """Refuse an edit that this racer or this task cannot have."""
    if what.name == "set":
        complete(contender.spec.hypers, {what.get("setting"): what.get("value")}, contender.rule)
    if what.name == "scale_gradient" and what.get("layer"):
        _one_of("layer of an edit", what.get("layer"), dict(task.layout.shapes))
    if what.name == "reset" and contender.spec.guest and (what.get("what") == "count" or what.get("count") == "kept"):
        raise ValueError(f"{contender.spec.label} counts its steps itself: its memory and its count go together.")
    if what.name == "mislabel" and not task.mislabels:
        raise ValueError("This problem has no labels that could be wrong.")
    if what.name == "unscale" and not task.numeric:
        raise ValueError("This problem has no inputs that are numbers, so a batch of them cannot be out of scale.")


def _schedule(choice: Choice) -> Choice:
    """A schedule with all of its settings, checked."""
    name, settings = choice.name, dict(choice.settings)
    _one_of("schedule", name, SCHEDULES)
    entry = SCHEDULES[name]
    if not entry.table:
        return Choice(name, complete(entry.hypers, settings, f"The schedule {name!r}"))
    values = settings.get("values")
    if set(settings) != {"values"} or not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"The schedule {name!r} takes a list of values, not {settings!r}.")
    for value in values:
        if not is_number(value):
            raise ValueError(f"A value of the schedule {name!r} is {repr(value)[:40]}, but must be a finite number.")
    return Choice(name, (("values", tuple(float(value) for value in values)),))


def _racer_from(data: Mapping[str, Any]) -> Racer:
    return racer(
        data["rule"],
        schedules={setting: (which["name"], which["settings"]) for setting, which in data["schedules"].items()},
        reset=Reset(data["reset"]["what"], data["reset"]["every"]),
        **data["settings"],
    )


def _choice(choice: Choice) -> dict[str, Any]:
    return {"name": choice.name, "settings": dict(choice.settings)}
