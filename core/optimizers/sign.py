"""Rules that keep the sign of the gradient and forget its size."""

from __future__ import annotations

from core.optimizers.base import Rule

RULES: tuple[Rule, ...] = ()
