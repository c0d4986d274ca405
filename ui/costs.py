"""What a step of a rule costs, in words: the numbers it keeps for each weight, and the gradients it takes."""

from __future__ import annotations

from collections.abc import Mapping

from core.config import Config
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


def takes(rule: Rule) -> str:
    """ "1 gradient a step"."""
    return f"{_counted(rule.gradients, 'gradient')} a step"


def unequal(config: Config) -> str:
    """A sentence on racers whose steps cost differently many gradients; "" where they all cost the same."""
    costs = {name: racer.spec.gradients for name, racer in zip(labels(config), config.racers, strict=True)}
    dearest, cheapest = max(costs, key=costs.__getitem__), min(costs, key=costs.__getitem__)
    if costs[dearest] == costs[cheapest]:
        return ""
    return (
        f"A step of {dearest} takes {_counted(costs[dearest], 'gradient')}, "
        f"one of {cheapest} takes {number_text(costs[cheapest])}."
    )


def _counted(number: float, noun: str) -> str:
    return f"{number_text(number)} {noun}{'' if number == 1 else 's'}"
