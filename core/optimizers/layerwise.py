"""Rules that set each tensor's step by the size of its weights."""

from __future__ import annotations

from core.optimizers.base import Rule

RULES: tuple[Rule, ...] = ()
