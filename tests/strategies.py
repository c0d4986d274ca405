"""Random racers and races, drawn from the registries: a new entry is drawn without a change here."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from core import RULES, SCHEDULES, TASKS, Config, Edit, Hyper, Racer, Reset, edit, race, racer
from core.config import RESETS, refusal
from core.edits import COUNTS, EDITS, MOMENTS
from core.schedules import Schedule
from core.tasks import Task

Settings = dict[str, Any]
# The largest settings of a task that trains in no time.
SMALL = {"width": 4, "depth": 1, "noise": 0.1, "context": 2, "embedding": 4, "hidden": 8, "length": 2}


def fitting(task: Task, batch: int) -> list[str]:
    """The rules that can be raced on a task with batches of this size."""
    return [name for name, rule in RULES.items() if not refusal(rule, task, batch)]


def values(hyper: Hyper) -> st.SearchStrategy[float | int | bool]:
    """Any value between the ends of a setting's slider, its stops and its default more often than others."""
    if isinstance(hyper.default, bool):
        return st.booleans()
    if isinstance(hyper.default, int):
        between: st.SearchStrategy[Any] = st.integers(int(hyper.low), int(hyper.high))
    else:
        between = st.floats(hyper.low, hyper.high)
    return st.one_of(st.just(hyper.default), st.sampled_from(hyper.stops()), between)


def settings_of(hypers: Sequence[Hyper]) -> st.SearchStrategy[Settings]:
    """Some settings out of these; those left out have their default."""
    return st.fixed_dictionaries({}, optional={hyper.name: values(hyper) for hyper in hypers})


@st.composite
def schedules(draw: st.DrawFn, hyper: Hyper, *, tables: bool = True) -> tuple[str, Settings]:
    """A schedule and its settings; `tables=False` leaves out those that are a list of values."""

    def offered(entry: Schedule) -> bool:
        return (tables or not entry.table) and (hyper.name == "lr" or not entry.react)

    entry = draw(st.sampled_from([entry for entry in SCHEDULES.values() if offered(entry)]))
    if entry.table:
        return entry.name, {"values": draw(st.lists(values(hyper).map(float), min_size=1, max_size=5))}
    return entry.name, draw(settings_of(entry.hypers))


@st.composite
def racers(
    draw: st.DrawFn, *, tables: bool = True, others: bool = True, every: int = 5000, rules: Sequence[str] = ()
) -> Racer:
    """A racer; `others=False` schedules the learning rate alone, `every` is the longest time between resets, `rules`
    are those it may have (default: any).
    """
    rule = RULES[draw(st.sampled_from(rules or list(RULES)))]
    scheduled = draw(st.sets(st.sampled_from([h.name for h in rule.hypers if h.name == "lr" or others]), max_size=2))
    return racer(
        rule.name,
        schedules={name: draw(schedules(rule.hyper(name), tables=tables)) for name in sorted(scheduled)},
        reset=Reset(draw(st.sampled_from(RESETS)), draw(st.integers(0, every))),
        **draw(settings_of(rule.hypers)),
    )


@st.composite
def edits(draw: st.DrawFn, contenders: Sequence[Racer], steps: int, task: Task) -> Edit:
    """An edit of one of these racers within so many steps, of those that the task can have."""
    offered = {"mislabel": task.mislabels, "unscale": task.numeric}
    step, index = draw(st.integers(0, steps - 1)), draw(st.integers(0, len(contenders) - 1))
    what = draw(st.sampled_from([name for name in EDITS if offered.get(name, True)]))
    if what == "set":
        hyper = draw(st.sampled_from(contenders[index].spec.hypers))
        return edit(step, index, what, setting=hyper.name, value=float(draw(values(hyper))))
    drawn: dict[str, Callable[[], Settings]] = {
        "reset": lambda: draw(
            st.sampled_from([{"what": "count"}] + [{"what": w, "count": c} for w in MOMENTS for c in COUNTS])
        ),
        "scale_gradient": lambda: {
            "factor": draw(st.floats(-1e3, 1e3)),
            "layer": draw(st.sampled_from(["", *dict(task.layout.shapes)])),
        },
        "mislabel": dict,
        "unscale": lambda: {"factor": draw(st.floats(-20, 20))},
        "reinitialise": lambda: {"draw": draw(st.integers(0, 10))},
    }
    return edit(step, index, what, **drawn[what]())


@st.composite
def configs(
    draw: st.DrawFn,
    *,
    small: bool = False,
    tables: bool = True,
    others: bool = True,
    edited: bool = True,
    plain_seeds: bool = False,
) -> Config:
    """A race. `small` trains in a few milliseconds, on a batch of at least 2.

    `plain_seeds` has the seeds 0, 1, …, as a page has them; the rest leaves out what an address may not carry.
    """
    kind = draw(st.sampled_from(list(TASKS.values())))
    # From the stops, so that few different data sets are made.
    task: Settings = {
        hyper.name: SMALL[hyper.name] if small and hyper.name in SMALL else draw(st.sampled_from(hyper.stops()))
        for hyper in kind.hypers
    }
    steps = draw(st.integers(1, 12 if small else 5000))
    built = race((kind.name, task), [racer("sgd")]).build_task()
    most = built.examples or 256
    batches = st.integers(2, min(40, most)) if small else st.integers(1, min(256, most))
    # All of the data at once, where a step of a small race does not take seconds then.
    whole = st.just(built.examples) if built.examples and not (small and built.examples > 2000) else batches
    batch = draw(st.one_of(batches, whole))
    some = racers(tables=tables, others=others, every=8 if small else 5000, rules=fitting(built, batch))
    contenders = draw(st.lists(some, min_size=1, max_size=4))
    seeds: int | list[int] = draw(st.integers(1, 3 if small else 16))
    if not plain_seeds and draw(st.booleans()):
        top = 5 if small else 2**40
        seeds = draw(st.lists(st.integers(0, top), min_size=1, max_size=3, unique=True))
    return race(
        (kind.name, task),
        contenders,
        steps=steps,
        batch=batch,
        seeds=seeds,
        edits=draw(st.lists(edits(contenders, steps, built), max_size=3)) if edited else (),
    )


def table_rows(config: Config) -> np.ndarray:
    """Which rows of a state are which racer's, `[racers, seeds]`: a state keeps its rows side by side by rule."""
    order = sorted(range(len(config.racers)), key=lambda i: RULES.place(config.racers[i].rule))
    return np.argsort(order)[:, None] * len(config.seeds) + np.arange(len(config.seeds))
