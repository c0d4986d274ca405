"""What a step of a rule costs, in words: the numbers it keeps for each weight, and the gradients it takes."""

from __future__ import annotations

from collections.abc import Mapping

from core.config import Config, Racer
from core.optimizers.base import Rule
from core.spec import Layout
from ui.names import labels
from ui.numbers import number_text


def keeps(rule: Rule, layout: Layout, settings: Mapping[str, object] | None = None) -> str:
    """ "remembers nothing", "remembers 2 numbers a weight": on a network of this layout, with these settings."""
    if rule.guest:
        return "runs outside the table: slow"
    numbers = float(f"{rule.remembered(layout, settings):.2g}")
    return f"remembers {_counted(numbers, 'number')} a weight" if numbers else "remembers nothing"


def used(racer: Racer) -> dict[str, object]:
    """A racer's settings as what it remembers depends on them: one that a schedule moves is switched on."""
    return dict(racer.settings) | dict.fromkeys(racer.moved, True)


def takes(rule: Rule, settings: Mapping[str, object] | None = None) -> str:
    """ "1 gradient a step", "2 or more gradients a step": with these settings (the default ones unless given)."""
    return f"{_gradients(rule.taken(settings))} a step"


def unequal(config: Config) -> str:
    """A sentence on racers whose steps cost differently many gradients; "" where they all cost the same."""
    racers = zip(labels(config), config.racers, strict=True)
    costs = {name: racer.spec.taken(dict(racer.settings)) for name, racer in racers}
    dearest, cheapest = max(costs, key=costs.__getitem__), min(costs, key=costs.__getitem__)
    if costs[dearest] == costs[cheapest]:
        return ""
    most, least = costs[dearest], costs[cheapest]
    return f"A step of {dearest} takes {_gradients(most)}, one of {cheapest} takes {_amount(least)}."


def _gradients(taken: tuple[float, bool]) -> str:
    return f"{_amount(taken)} gradient{'' if taken == (1, False) else 's'}"


def _amount(taken: tuple[float, bool]) -> str:
    count, least = taken
    return f"{number_text(count)}{' or more' if least else ''}"


def _counted(number: float, noun: str) -> str:
    return f"{number_text(number)} {noun}{'' if number == 1 else 's'}"
