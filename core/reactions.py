"""Schedules that react: they read the loss of each run while it trains, and scale its learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from core.config import Config
from core.plan import Plan
from core.schedules import SCHEDULES
from core.state import State


def reacting(config: Config) -> list[str]:
    """The schedules of this race that react."""
    return sorted({racer.schedule.name for racer in config.racers if SCHEDULES[racer.schedule.name].react})


class Reaction:
    """One such schedule over the rows of a chunk; rows with another schedule keep a scale of 1."""

    def __init__(self, plan: Plan, state: State, name: str, rows: slice):
        self.entry = SCHEDULES[name]
        self.memory = {kept: values[rows] for kept, values in state.reacting[name].items()}
        choices = [plan.config.racers[racer].schedule for racer in plan.racers(rows)]
        steps = plan.config.steps

        def column(values: Sequence[float]) -> Tensor:
            """One number a row, `[R]`, in the precision of the loss."""
            return torch.tensor(values, dtype=state.smooth.dtype, device=state.smooth.device)

        mine = [choice.name == name for choice in choices]
        self.mine = column(mine) > 0
        self.settings = SimpleNamespace(
            **{
                hyper.name: column(
                    [float(choice.get(hyper.name)) if own else 0.0 for choice, own in zip(choices, mine, strict=True)]
                )
                for hyper in self.entry.hypers
            }
        )
        self.begin = column([self.entry.begin(steps, dict(choice.settings)) for choice in choices])
        self.total = steps - self.begin

    @property
    def scale(self) -> Tensor:
        """What the learning rate is multiplied by, `[R, 1]`."""
        return self.memory["scale"].unsqueeze(1)

    def after(self, step: int, loss: Tensor, alive: Tensor) -> Tensor:
        """Show it the smoothed loss `[R]` after so many steps; which rows' rates were cut, `[R]`.

        It looks at no row that has diverged or that is still warming up.
        """
        before, asked = self.memory, self.mine & alive & (step > self.begin)
        found = self.entry.react(before, loss, self.total, self.settings)  # type: ignore[misc]
        self.memory = {name: torch.where(asked, value, before[name]) for name, value in found.items()}
        return self.memory["scale"] < before["scale"]
