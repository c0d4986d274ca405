"""From here: settings that change in the middle of a race, each in a fork of the racer that had them.

A fork is one more racer: its parent's past, and from a step on other settings. It stands and falls with its parent. In
an address the fork of colour 3 that leaves racer 0 after 300 steps is `r3.from=0.300` with its settings, `r3.lr=0.01`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.config import Config, Racer, Settings, edit
from core.fork import branch
from core.optimizers.base import Rule
from core.spec import Layout
from ui.names import setting_words

LATE = "The play head is at the end, where nothing is left to change. Drag it to the step to change things from."
EARLY = "This racer is a fork itself, so only what comes after its first step can change. Drag the play head there."
LOST = "Forks that this race cannot have were taken out."


@dataclass(frozen=True)
class Fork:
    """A racer's other way to go on: the racer of colour `parent`, after `at` steps with these settings."""

    parent: int
    at: int
    settings: Settings

    def but(self, name: str, value: Any) -> Fork:
        """The same fork with one setting more, or another value of one."""
        return replace(self, settings=tuple(sorted((dict(self.settings) | {name: value}).items())))


Forks = Mapping[int, Fork]  # by colour


def why_fixed(rule: Rule, setting: str, layout: Layout) -> str:
    """Why a setting cannot change on the way, in one sentence; "" where it can."""
    starts = any(slot.reset == setting for slot in rule.slots_for(layout))
    used = "\n".join(line.code for line in rule.listing if not re.match(r"\w+_0 = ", line.code))
    if starts and not re.search(rf"\b{setting}\b", used):
        return "It is only what the optimizer's memory starts from, so a change on the way would change nothing."
    return ""


def in_order(slots: Iterable[int], forks: Forks) -> Iterator[tuple[int, Fork]]:
    """The forks of racers that are there, parents before their forks; the others are left out."""
    known, waiting = set(slots), dict(sorted(forks.items()))
    while ready := [slot for slot, fork in waiting.items() if fork.parent in known]:
        for slot in ready:
            known.add(slot)
            yield slot, waiting.pop(slot)


def grown(config: Config, slots: tuple[int, ...], forks: Forks) -> tuple[Config, tuple[int, ...], tuple[Any, ...]]:
    """The race with its forks, the colours of all its racers, ascending, and the forks that there could be."""
    made, order, kept = config, list(slots), {}
    for slot, fork in in_order(slots, forks):
        edits = [edit(fork.at, 0, "set", setting=name, value=float(value)) for name, value in fork.settings]
        made = branch(made, order.index(fork.parent), fork.at, *edits)
        order.append(slot)
        kept[slot] = fork
    place = sorted(range(len(order)), key=order.__getitem__)
    moved = tuple(replace(each, racer=place.index(each.racer)) for each in made.edits)
    made = replace(made, racers=tuple(made.racers[i] for i in place), edits=moved)
    return made, tuple(sorted(order)), tuple(sorted(kept.items()))


def fitting(racers: Mapping[int, Racer], forks: Forks, config: Config) -> Forks:
    """The forks that these racers can have: of one that is there, after its own start and before the end, and of
    settings that can change.
    """
    layout, found, root = config.build_task().layout, {}, dict(racers)
    for slot, fork in in_order(racers, forks):
        rule = root.setdefault(slot, root[fork.parent]).spec
        known = {hyper.name for hyper in rule.hypers}
        able = tuple(pair for pair in fork.settings if pair[0] in known and not why_fixed(rule, pair[0], layout))
        if able and fork.at < config.steps and fork.at > since(forks, fork.parent):
            found[slot] = replace(fork, settings=able)
    return found


def since(forks: Forks, slot: int) -> int:
    """The step from which on a racer goes its own way; -1 where it is no fork."""
    return forks[slot].at if slot in forks else -1


def told(fork: Fork, racer: Racer, parent: str) -> str:
    """What a fork's card says of it: "rate 0.01 from step 300 of Adam"."""
    return f"{setting_words(racer, fork.settings)} from step {fork.at:,} of {parent}"
