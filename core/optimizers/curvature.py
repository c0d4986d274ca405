"""Rules that use the loss's curvature."""

from __future__ import annotations

from core.optimizers.base import Rule

RULES: tuple[Rule, ...] = ()
