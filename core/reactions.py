"""Schedules that react: they read the loss of each run while it trains, and scale its learning rate."""

from __future__ import annotations

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
        self.entry, self.total = SCHEDULES[name], plan.config.steps
        self.memory = {kept: values[rows] for kept, values in state.reacting[name].items()}
        like = state.smooth
        choices = [plan.config.racers[racer].schedule for racer in plan.racers(rows)]
        self.mine = torch.tensor([choice.name == name for choice in choices], device=like.device)
        self.settings = SimpleNamespace(
            **{
                hyper.name: torch.tensor(
                    [float(choice.get(hyper.name)) if choice.name == name else 0.0 for choice in choices]
                ).to(like)
                for hyper in self.entry.hypers
            }
        )

    @property
    def scale(self) -> Tensor:
        """What the learning rate is multiplied by, `[R, 1]`."""
        return self.memory["scale"].unsqueeze(1)

    def after(self, loss: Tensor, alive: Tensor) -> Tensor:
        """Show it the smoothed loss `[R]` of a step; which rows' rates were cut, `[R]`."""
        before, asked = self.memory, self.mine & alive
        found = self.entry.react(before, loss, self.total, self.settings)  # type: ignore[misc]
        self.memory = {name: torch.where(asked, value, before[name]) for name, value in found.items()}
        return self.memory["scale"] < before["scale"]
