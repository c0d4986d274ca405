"""Rules that need no schedule: the loss is reported at an average of the weights, or the rate is found."""

from __future__ import annotations

from core.optimizers.base import Rule

RULES: tuple[Rule, ...] = ()
