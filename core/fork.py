"""Forks: another racer that shares a racer's past up to a step, and from there goes its own way.

A fork is a config like any other: the trunk's racer once more, with the edits that the trunk had until then and others
after it. Everything at a step is a function of config and step, so that its past is the trunk's to the bit; `graft`
therefore takes it from the trunk's state instead of training it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import Choice, Config, Edit
from core.edits import EDITS
from core.plan import plan_of
from core.reactions import reacting
from core.state import REASONS, State


def branch(config: Config, racer: int, at: int, *edits: Edit) -> Config:
    """The race with one more racer, the last: this one's past before step `at`, then these edits and no others.

    `at` counts from 0, the first guess. The edits are the fork's own whichever racer they name. Without any it goes on
    as the racer would without what is still to happen to it.

    Raises:
        ValueError: there is no such racer or no such step, or an edit lies before the fork.
    """
    for what, value, end in (("racer", racer, len(config.racers)), ("step", at, config.steps)):
        if type(value) is not int or not 0 <= value < end:
            wanted = f"a whole number from 0 to {end - 1}"
            if what == "step" and value == end:
                wanted += ": after the last step nothing is left to do otherwise"
            raise ValueError(f"The {what} of a fork is {repr(value)[:40]}, but must be {wanted}.")
    for edit in edits:
        if edit.step < at:
            raise ValueError(f"An edit of the fork lies at step {edit.step}, before the fork itself, at {at}.")
    new = len(config.racers)
    past = [replace(edit, racer=new) for edit in config.edits if edit.racer == racer and edit.step < at]
    own = [replace(edit, racer=new) for edit in edits]
    return replace(config, racers=(*config.racers, config.racers[racer]), edits=(*config.edits, *past, *own))


def sources(before: Config, after: Config, step: int) -> list[int]:
    """For each racer of `after`, the racer of `before` whose past until this step is its own, the same if it can be.

    Raises:
        ValueError: as `graft` does, but for racers that had stopped.
    """
    if _setting(before) != _setting(after):
        raise ValueError("A fork shares its trunk's problem, steps, batch and seeds, and these races do not.")
    pasts = [_past(before, racer, step) for racer in range(len(before.racers))]
    found = []
    for racer in range(len(after.racers)):
        own = _past(after, racer, step)
        if own not in pasts:
            raise ValueError(f"Racer {racer} of the fork had another past than any racer before it: {_told(own)}.")
        found.append(racer if racer < len(pasts) and pasts[racer] == own else pasts.index(own))
    return found


def twins(config: Config) -> tuple[int | None, ...]:
    """For each racer that something bad happens to, the racer that it is compared with; None for the others.

    Bad are a spike, and a rate set for the first step alone, which is too large a one. The twin is a racer without: the
    same contender to which the same happens else; or else the same contender; or else the first without.
    """
    own = [[e for e in config.edits if e.racer == racer] for racer in range(len(config.racers))]
    bad = [{e for e in edits if _bad(e, edits)} for edits in own]
    well = [racer for racer, edits in enumerate(bad) if not edits]

    def besides(racer: int) -> set[tuple[int, Choice]]:
        return {(e.step, e.what) for e in config.edits if e.racer == racer and e not in bad[racer]}

    def twin(racer: int) -> int | None:
        if not bad[racer]:
            return None
        same = [other for other in well if config.racers[other] == config.racers[racer]]
        return next(iter([*(other for other in same if besides(other) == besides(racer)), *same, *well]), None)

    return tuple(twin(racer) for racer in range(len(config.racers)))


def _bad(edit: Edit, edits: Sequence[Edit]) -> bool:
    """Whether it is a spike, or belongs to a rate that is another one in the first step alone."""
    ends = {e.step for e in edits if e.what.name == "set" and e.what.get("setting") == "lr"}
    first = {0, 1} <= ends and edit.step in (0, 1) and edit.what.name == "set" and edit.what.get("setting") == "lr"
    return EDITS[edit.what.name].spikes or first


def graft(before: Config, state: State, after: Config) -> State:
    """Where the race `after` stands at the state's step, from a state of `before`: rows of a shared past, copied.

    Each racer of `after` must have had the same past as some racer of `before`: to the bit what training it from the
    start would give.

    Raises:
        ValueError: the races are not on the same task, batch, steps and seeds; or a racer has another past than all of
            `before`; or a racer that is new had stopped on every seed, so that nothing is left to go on from.
    """
    own = sources(before, after, state.step)
    old, new = plan_of(before), plan_of(after)
    seeds = np.arange(len(before.seeds))
    wanted = np.asarray(own)[new.config_row // len(seeds)] * len(seeds) + new.config_row % len(seeds)
    rows = old.table_row[wanted]  # of the old table, for each row of the new one
    _refuse_stopped(before, state, after, own, old.table_row)
    index = torch.as_tensor(rows, device=state.params.device)

    def of_rule(tables: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        found: dict[str, dict[str, Tensor]] = {}
        for rule, home in new.rule_rows.items():
            if rule in tables:
                places = index[home] - old.rule_rows[rule].start
                found[rule] = {name: table.index_select(0, places) for name, table in tables[rule].items()}
        return found

    carried = {
        rule: left
        for rule, left in of_rule(state.carried).items()
        if any(
            step < state.step and racers & set(new.racers(new.rule_rows[rule])) for step, racers in new.spikes.items()
        )
    }
    columns = {
        name: getattr(state, name).index_select(0, index)
        for name in (
            "params", "first_guess", "evaluations", "stopped", "reason", "first_loss", "smooth", "blown", "cuts",
        )
    }  # fmt: skip
    return State(
        step=state.step,
        **columns,
        slots=of_rule(state.slots),
        ages=of_rule(state.ages),
        reacting={
            name: {kept: values.index_select(0, index) for kept, values in state.reacting[name].items()}
            for name in reacting(after)
        },
        words={place: state.words[row] for place, row in enumerate(rows.tolist()) if row in state.words},
        carried=carried,
        sealed={
            rule: tuple(state.sealed[rule][row - old.rule_rows[rule].start] for row in rows[home].tolist())
            for rule, home in new.rule_rows.items()
            if rule in state.sealed
        },
    )


def _setting(config: Config) -> tuple[object, ...]:
    return config.task, config.steps, config.batch, config.seeds


def _past(config: Config, racer: int, step: int) -> tuple[object, tuple[tuple[int, Choice], ...]]:
    """What decides where a racer stands after so many steps: itself, and what has happened to it."""
    return config.racers[racer], tuple((e.step, e.what) for e in config.edits if e.racer == racer and e.step < step)


def _told(past: tuple[object, tuple[tuple[int, Choice], ...]]) -> str:
    """Its edits, in words."""
    return ", ".join(f"{what.name} at step {step}" for step, what in past[1]) or "no edits"


def _refuse_stopped(
    before: Config, state: State, after: Config, sources: Sequence[int], table_row: NDArray[np.int64]
) -> None:
    seeds = len(before.seeds)
    for source in {source for racer, source in enumerate(sources) if racer >= len(before.racers)}:
        rows = table_row[source * seeds : (source + 1) * seeds]
        stopped = state.stopped[rows]
        if bool((stopped >= 0).all()):
            last = int(stopped.max())
            why = REASONS[int(state.reason[rows][stopped.argmax()])]
            raise ValueError(f"Racer {source} stopped at step {last} ({why}): a fork at step {state.step} is too late.")
