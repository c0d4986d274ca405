"""Remedies for a bad gradient: each a racer of one race, ranked by the steps that the gradient has cost it.

What a remedy costs by itself counts too: all are compared with the one twin that has neither the bad gradient nor a
remedy, so that none looks good for having slowed its own twin down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import carry
from core.analysis import Answer, against, compare
from core.config import Choice, Config, Edit, Racer, edit
from core.edits import EDITS
from core.optimizers import RULES
from core.schedules.base import WARMUP

NOTHING, TWIN = 0, 1  # the racers before the remedies: with the spike and nothing done about it; without the spike
CLIP = 1.0  # the usual largest norm
SOONER = 10  # times as fast as before, a smaller beta2 forgets


@dataclass(frozen=True)
class Remedy:
    """A registry entry: `apply(racer, steps)` gives the racer that has it, in a run of so many steps.

    It raises ValueError, with one sentence, where a racer cannot have it or has it already. One that `clears` makes the
    racer forget everything right after the spike.
    """

    name: str
    label: str
    help: str
    apply: Callable[[Racer, int], Racer]
    clears: bool = False


def _clipped(racer: Racer, steps: int) -> Racer:
    if "clip" not in dict(racer.settings):
        raise ValueError(f"{racer.spec.label} cannot clip its gradient.")
    if 0 < racer.get("clip") <= CLIP:
        raise ValueError(f"{racer.spec.label} clips its gradient already.")
    return racer.but(clip=CLIP)


def _warmed(racer: Racer, steps: int) -> Racer:
    """Linear, over `2 / (1 - beta2)` steps (Ma and Yarats, 1910.04209), but no longer than a slider lets it be."""
    schedule = dict(racer.schedule.settings)
    if "warmup" not in schedule:
        raise ValueError("A table of rates has no warm-up before it.")
    if schedule["warmup"]:
        raise ValueError(f"{racer.spec.label} warms up already.")
    share = min(2 / (1 - _beta2(racer)) / steps, WARMUP[0].high)
    chosen = Choice(racer.schedule.name, tuple((schedule | {"warmup": share, "warmup_exponential": False}).items()))
    return replace(racer, schedules=tuple((dict(racer.schedules) | {"lr": chosen}).items()))


def _sooner(racer: Racer, steps: int) -> Racer:
    if not _beta2(racer):
        raise ValueError(f"{racer.spec.label} with β₂ = 0 forgets v at once already.")
    beta2 = max(0.0, 1 - SOONER * (1 - _beta2(racer)))
    return racer.but(beta2=round(beta2, 12))  # 0.999 becomes 0.99, not 0.990000…01


def _beta2(racer: Racer) -> float:
    found = dict(racer.settings).get("beta2")
    if found is None:
        raise ValueError(f"{racer.spec.label} has no beta2.")
    return float(found)


def _as(rule: str) -> Callable[[Racer, int], Racer]:
    """Another rule in its place, with those settings that both have; only where it is one of Adam's relatives."""

    def apply(racer: Racer, steps: int) -> Racer:
        settings, label = dict(racer.settings), RULES[rule].label
        if racer.rule == rule:
            raise ValueError(f"This is {label} already.")
        if racer.rule not in ADAMS:
            raise ValueError(f"{label} takes the place of Adam, and this is {racer.spec.label}.")
        own = {hyper.name for hyper in RULES[rule].hypers}
        kept = tuple((name, value) for name, value in settings.items() if name in own)
        schedules = tuple((name, choice) for name, choice in racer.schedules if name in own)
        return Racer(rule, kept, schedules, racer.reset)

    return apply


def _forgetful(racer: Racer, steps: int) -> Racer:
    if not racer.spec.slots:
        raise ValueError(f"{racer.spec.label} remembers nothing, so there is nothing to reset.")
    return racer


ADAMS = ("adam", "adamw", "amsgrad", "radam", "stableadamw", "spam")
REMEDIES: Mapping[str, Remedy] = {
    remedy.name: remedy
    for remedy in (
        Remedy("clip", "Gradient clipping", f"A gradient whose norm is above {CLIP:g} is shrunk to it.", _clipped),
        Remedy("warmup", "Warm-up", "The rate grows from 0 over the first 2 / (1 - β₂) steps, or half of the run "
               "where that is less. It can only help against what happens in them.", _warmed),
        Remedy("beta2", "Smaller β₂", f"v forgets {SOONER} times as fast.", _sooner),
        Remedy("amsgrad", "AMSGrad", "Divides by the largest v so far, and so never forgets.", _as("amsgrad")),
        Remedy("radam", "RAdam", "Holds steps back while v is an average of few gradients.", _as("radam")),
        Remedy("stableadamw", "StableAdamW", "Slows a tensor down while its gradient is larger than v expects.",
               _as("stableadamw")),
        Remedy("spam", "SPAM", "Cuts spikes weight by weight, and clears m and v at intervals.", _as("spam")),
        Remedy("reset", "Reset now", "Forgets everything in the step after the spike.", _forgetful, clears=True),
    )
}  # fmt: skip


def remedied(trunk: Config, spike: Sequence[Edit], names: Iterable[str]) -> Config:
    """The race: the trunk's racer with the spike, its twin without, then with the spike and each of these remedies.

    `trunk` is a race of one racer. Its own edits happen to all; those of the `spike` to all but the twin.

    Raises:
        ValueError: the trunk is no race of one racer; or there is no such remedy, or this racer cannot have it.
    """
    if len(trunk.racers) != 1:
        raise ValueError(f"Remedies are for one racer, and this race has {len(trunk.racers)}.")
    racers, edits = [trunk.racers[0], trunk.racers[0]], list(trunk.edits)
    edits += [replace(each, racer=TWIN) for each in trunk.edits]
    edits += [replace(each, racer=NOTHING) for each in spike]
    # A too large first step is two edits, of which the second only sets the rate back.
    bad = [each.step for each in spike if EDITS[each.what.name].spikes] or [each.step for each in spike[:1]]
    after = max(bad, default=-1) + 1
    for name in names:
        if name not in REMEDIES:
            raise ValueError(f"There is no remedy {name[:40]!r}.")
        remedy, place = REMEDIES[name], len(racers)
        racers.append(remedy.apply(trunk.racers[0], trunk.steps))
        edits += [replace(each, racer=place) for each in (*trunk.edits, *spike)]
        if remedy.clears:
            if after >= trunk.steps:
                raise ValueError("The run ends with the spike: nothing is left to reset for.")
            edits.append(edit(after, place, "reset", what="all"))
    return replace(trunk, racers=tuple(racers), edits=tuple(edits))


@dataclass(frozen=True)
class Standing:
    """What the spike has cost one racer, in steps behind the twin without it, over the seeds."""

    racer: int
    median: float  # infinite where most seeds diverged
    interval: tuple[float, float]  # 95%, of the mean; see `core.analysis.compare` where seeds diverged
    at_least: int  # seeds on which it may be more
    diverged: int  # seeds
    ahead: bool  # of doing nothing, by the median
    answer: Answer | None  # of the comparison with doing nothing; None for that itself


def delays(smooth: NDArray[Any], stride: int = 1) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Steps behind the twin `[racers, seeds]` at the end of these curves, and where it may be more.

    `smooth` are smoothed losses `[T, racers, seeds]`, one every `stride` steps. Infinite where the run diverged and its
    twin did not.
    """
    pairs = [carry.delays(smooth[:, racer], smooth[:, TWIN], stride) for racer in range(smooth.shape[1])]
    return np.stack([steps for steps, _ in pairs]), np.stack([more for _, more in pairs])


def standings(smooth: NDArray[Any], stride: int = 1) -> list[Standing]:
    """The racers of a `remedied` race but the twin, the smallest delay first, from curves as `delays` takes them.

    Each remedy is judged against doing nothing, which was named before anyone looked: one test for each, paired by
    seed, Holm's correction over all of them, and the project's other conditions (`core.analysis.verdict`). Seeds whose
    twin has diverged are left out; where none is left, so are all racers.
    """
    steps, open_ended = (each[:, np.isfinite(smooth[-1, TWIN])] for each in delays(smooth, stride))
    if not steps.size:
        return []
    racers = [racer for racer in range(len(steps)) if racer != TWIN]
    nothing = racers.index(NOTHING)
    pairs = {
        racers[pair.second if pair.first == nothing else pair.first]: pair for pair in against(steps[racers], nothing)
    }
    found = [
        Standing(
            racer,
            float(np.median(own)),
            compare(own, np.zeros_like(own)).interval,
            int(open_ended[racer].sum()),
            int(np.isinf(own).sum()),
            racer in pairs and pairs[racer].first != nothing,
            pairs[racer].answer if racer in pairs else None,
        )
        for racer, own in ((racer, steps[racer]) for racer in racers)
    ]
    return sorted(found, key=lambda each: (each.median, each.diverged, each.racer))
