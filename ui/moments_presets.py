"""Bad gradients worth a look, each one click and one question. What they show is whatever is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from core.analysis import seeds_needed
from ui.moments_scenario import Moments, Spike, default
from ui.settings import newcomer


@dataclass(frozen=True)
class Preset:
    """A sentence for who presses the button, and what is shown then."""

    sentence: str
    shown: Moments


def _of(rule: str, spike: Spike) -> Moments:
    """The first screen with another rule, at its tuned rate, and another spike."""
    first = default()
    return replace(first, trunk=replace(first.trunk, racers=(newcomer(first.trunk, rule),)), spike=spike)


HARD = Spike(factor=100.0)
REMEDIES = "clip", "beta2", "amsgrad", "stableadamw", "spam", "reset"


@cache
def presets() -> Mapping[str, Preset]:
    """By the name on the button."""
    adam = _of("adam", HARD)
    return {
        "100× in Adam": Preset("Does one bad gradient throw the weights, or slow the steps? Watch m and v.", adam),
        "The same in momentum": Preset("A memory of the gradient alone, without a v.", _of("momentum", HARD)),
        "The same in four rules": Preset(
            "The same bad gradient, each rule against its own twin: who remembers it?",
            replace(adam, mode="rules", rules=("sgd", "momentum", "lion")),
        ),
        "Wrong labels": Preset("One batch of which every label is wrong.", _of("adam", Spike(cause="labels"))),
        "A too large first step": Preset(
            "The rate is 100 times too large, in the first step alone.", _of("adam", Spike(cause="first"))
        ),
        "What helps?": Preset(
            "The same bad gradient again with a remedy each; the table below ranks them.",
            replace(
                adam,
                mode="remedies",
                remedies=REMEDIES,
                trunk=replace(adam.trunk, seeds=tuple(range(seeds_needed(len(REMEDIES))))),
            ),
        ),
    }
