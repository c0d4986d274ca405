"""The three questions one can ask of a race: at the same rate, at the library's defaults, or each tuned?"""

from __future__ import annotations

from dataclasses import replace

from core.config import Choice, Config, Racer, racer
from core.tuned import part, tuned

SAME, DEFAULTS, TUNED = "same rate", "library defaults", "each tuned"


def setting_of(config: Config) -> str | None:
    """Which of the three a race answers; None for a race of one's own making, as one with changes on the way is."""
    if config.edits:
        return None
    for name, make in ((TUNED, each_tuned), (DEFAULTS, library_defaults)):
        if make(config) == config:
            return name
    rates = {racer.get("lr") for racer in config.racers}
    return SAME if len(rates) == 1 and len(config.racers) > 1 else None


def same_rate(config: Config) -> Config:
    """Every racer at the first one's learning rate."""
    rate = config.racers[0].get("lr")
    return replace(config, racers=tuple(racer.but(lr=rate) for racer in config.racers))


def library_defaults(config: Config) -> Config:
    """Every racer as its library makes it."""
    return replace(config, racers=tuple(racer(chosen.rule) for chosen in config.racers))


def each_tuned(config: Config) -> Config | None:
    """Every racer at its rule's tuned rate, all else at the defaults; None where this setting was not tuned."""
    tuned_racers = [tuned_racer(config, chosen.rule) for chosen in config.racers]
    if any(found is None for found in tuned_racers):
        return None
    return replace(config, racers=tuple(found for found in tuned_racers if found is not None))


def tuned_racer(config: Config, rule: str) -> Racer | None:
    """A rule at the rate that was tuned for this task, length and batch."""
    rate = tuned(config.task, config.steps, config.batch, rule) if isinstance(config.task, Choice) else None
    return None if rate is None else racer(rule, lr=rate)


def newcomer(config: Config, rule: str) -> Racer:
    """A racer to add: tuned where that is known, else as the library makes it."""
    return tuned_racer(config, rule) or racer(rule)


def selected(config: Config) -> str:
    """The loss that chose the tuned rates, in words."""
    assert isinstance(config.task, Choice)
    if not config.build_task().parts:
        return "loss"
    return {"train": "training loss", "validation": "validation loss"}[part(config.task)]
