"""The closed forms of `core.carry` for a race's own spike, where they hold: one gradient too large, in a rule whose
whole memory is moving averages. No Streamlit, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.carry import adam_step, carried, momentum_step
from core.config import Config

Array = NDArray[np.float64]
# The settings that are the decay of m and of v, for rules whose whole memory is these two averages.
AVERAGES: Mapping[str, tuple[str, str]] = {
    "momentum": ("momentum", ""), "nesterov": ("momentum", ""), "rmsprop": ("", "alpha"), "adam": ("beta1", "beta2"),
    "adamw": ("beta1", "beta2"), "nadam": ("beta1", "beta2"), "radam": ("beta1", "beta2"),
}  # fmt: skip
OTHER_STEPS = ("nesterov", "nadam", "radam")  # which are not along m
OTHER_FORMS = ("centered", "dampening")  # settings with which a memory is another one
EPS = 1e-6  # larger ones count in the division


@dataclass(frozen=True)
class Closed:
    """A spike of one step, `factor` times too large, and the decays of m and v; 0 where there is no such average."""

    rule: str
    at: int  # its step, counted from 1
    factor: float
    decays: tuple[float, float]
    steps: bool = True  # whether the size of a step is known too: not where weights decay beside it

    def share(self, moment: int, age: Array) -> Array:
        """The part of m (1) or v (2) that is the spike's after so many steps."""
        return carried(self.factor**moment, self.decays[moment - 1], age, self.at)

    def step(self, age: Array) -> Array:
        """The step's size over the twin's."""
        if self.rule == "momentum":
            return momentum_step(self.factor, age, self.at, self.decays[0])
        return adam_step(self.factor, age, self.at, *self.decays)


def closed(config: Config, racer: int) -> Closed | None:
    """The closed form for this racer; None where it does not hold.

    It takes one gradient that is too large all over, nothing else that happens to the racer, no clipping, no weight
    decay in the gradient, no damping or centring, an eps that does not matter, and decays that stay as they are.
    """
    own, edits = config.racers[racer], [edit for edit in config.edits if edit.racer == racer]
    names = AVERAGES.get(own.rule)
    if names is None or own.rule in OTHER_STEPS or (own.rule == "rmsprop" and own.get("momentum")):
        return None
    settings = dict(own.settings)
    decoupled = own.rule == "adamw"
    if any(settings.get(name) for name in OTHER_FORMS) or (settings.get("weight_decay") and not decoupled):
        return None
    if float(settings.get("eps", 0)) > EPS:
        return None
    still = own.reset.what == "nothing" and not set(names) & set(own.moved) and not own.get("clip")
    if not still or len(edits) != 1 or edits[0].what.name != "scale_gradient" or edits[0].what.get("layer"):
        return None
    m, v = (float(own.get(name)) if name else 0.0 for name in names)
    return (
        Closed(own.rule, edits[0].step + 1, edits[0].what.get("factor"), (m, v), not settings.get("weight_decay"))
        if m or v
        else None
    )
