"""A config laid out as a table: which row is whose, which rows share a rule, and every setting as a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import Config, Edit
from core.optimizers import RULES
from core.optimizers.base import Rule, Slot
from core.spec import Layout
from core.tasks import Task

CHUNK_ROWS = 64  # rows that run all their steps together: more fall out of the processor's cache


@dataclass(frozen=True)
class Plan:
    """A config laid out as a table: racers are put side by side by rule, so that a rule's rows are one slice."""

    config: Config
    task: Task
    racer_of_row: NDArray[np.int64]  # [R]
    seed_of_row: Tensor  # [R], index into config.seeds
    config_row: NDArray[np.int64]  # [R], config row of each table row
    table_row: NDArray[np.int64]  # [R], table row of each config row
    rule_rows: dict[str, slice]
    chunks: tuple[slice, ...]
    edits: dict[int, list[Edit]]
    changing: frozenset[str]
    averages: bool  # whether some rule reports its loss at other weights than are stored

    def racers(self, rows: slice) -> tuple[int, ...]:
        """The racer of each of these table rows."""
        return tuple(int(racer) for racer in self.racer_of_row[rows])

    def seeds(self, rows: slice) -> tuple[int, ...]:
        """The seed of each of these table rows."""
        return tuple(self.config.seeds[int(index)] for index in self.seed_of_row[rows])


@lru_cache(maxsize=64)
def plan_of(config: Config) -> Plan:
    """The config's plan; made once."""
    by_rule = sorted(range(len(config.racers)), key=lambda index: RULES.place(config.racers[index].rule))
    seeds = len(config.seeds)
    config_row = np.concatenate([np.arange(racer * seeds, (racer + 1) * seeds) for racer in by_rule])
    rule_rows: dict[str, slice] = {}
    for rule, group in groupby(by_rule, key=lambda index: config.racers[index].rule):
        first = max((rows.stop for rows in rule_rows.values()), default=0)
        rule_rows[rule] = slice(first, first + seeds * len(list(group)))
    return Plan(
        config, config.build_task(), config_row // seeds, torch.as_tensor(config_row % seeds), config_row,
        np.argsort(config_row),
        rule_rows,
        tuple(slice(r, min(r + CHUNK_ROWS, config.rows)) for r in range(0, config.rows, CHUNK_ROWS)),
        config.edits_at(), frozenset(config.changing()), any(RULES[rule].eval_params for rule in rule_rows),
    )  # fmt: skip


class Settings(SimpleNamespace):
    """Every setting of a rule as a `[R, 1]` column; `uses(name)` tells whether any row ever has it switched on."""

    used: frozenset[str]

    def uses(self, name: str) -> bool:
        return name in self.used

    def without(self, name: str) -> Settings:
        """The same with one setting switched off: 0 in every row."""
        columns = vars(self) | {name: torch.zeros_like(getattr(self, name)), "used": self.used - {name}}
        return Settings(**columns)


def settings_of(config: Config, racers: Sequence[int], rule: Rule, like: Tensor) -> Settings:
    """The settings of these rows at step 0, in the dtype and on the device of `like`."""
    changing = config.changing()

    def first(racer: int, name: str) -> float:
        """The value at step 0, from which a slot may start; later ones are put in place by `Block.schedule`."""
        return float(config.values(racer, name, 0, 1)[0] if name in changing else config.racers[racer].get(name))

    columns = {
        hyper.name: torch.tensor([[first(r, hyper.name)] for r in racers], dtype=torch.float64).to(like)
        for hyper in rule.hypers
    }
    used = frozenset(name for name, column in columns.items() if name in changing or bool(column.any()))
    # Clipping is the trainer's own, for every rule.
    columns.setdefault("clip", like.new_zeros(len(racers), 1))
    return Settings(**columns, used=used)


def fresh(slot: Slot, p: Tensor, settings: Settings, layout: Layout) -> Tensor:
    """The slot's reset value for rows with weights p."""
    if callable(slot.reset):
        return slot.reset(p)
    shape = slot.shape(layout) if slot.shape else (layout.width,)
    blank = p.new_zeros(len(p), *shape)
    if isinstance(slot.reset, str):
        column: Tensor = getattr(settings, slot.reset)
        return blank + column.view(-1, *[1] * len(shape))
    return blank + slot.reset
