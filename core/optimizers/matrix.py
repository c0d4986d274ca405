"""Rules that treat a layer's weights as the matrix they are."""

from __future__ import annotations

from core.optimizers.base import Rule

RULES: tuple[Rule, ...] = ()
