"""A config laid out as a table: which row is whose, which rows share a rule, and every setting as a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import Choice, Config, Edit
from core.optimizers import RULES
from core.optimizers.base import Rule, Slot
from core.spec import Layout
from core.tasks import Task

FEWEST_ROWS, MOST_ROWS = 8, 64
NUMBERS = 3 << 17  # weights and activations of a chunk: 1.5 MB in float32


def chunk_rows(task: Task, batch: int) -> int:
    """How many rows at most run all their steps together, 8 to 64: more fall out of the processor's cache, fewer pay
    for each call.

    So many that their weights and their batch's activations are 1.5 MB. Measured with Adam on 64 rows (a processor
    with 1 MB of cache a core and 32 MB in all, one thread), microseconds a row and step, the least of 6:

    | task | weights | activations | 4 | 8 | 16 | 32 | 64 rows a chunk | chosen |
    |---|---|---|---|---|---|---|---|---|
    | digits, batch 32 | 2,410 | 3,392 | 39 | 25 | 17 | 14 | 13 | 64 |
    | digits, batch 256 | 2,410 | 27,136 | 71 | 56 | 49 | 48 | 52 | 13 |
    | cnn, batch 32 | 1,898 | 21,824 | 150 | 114 | 104 | 116 | 128 | 16 |
    | letters, batch 32 | 12,954 | 8,000 | 104 | 83 | 74 | 80 | 83 | 18 |
    | words, batch 64 | 31,052 | 29,440 | 268 | 222 | 241 | 272 | 272 | 8 |
    | lstm, batch 16 | 52,588 | 80,640 | 907 | 929 | 921 | 910 | 1,035 | 8 |
    """
    row = task.layout.width + (task.activations * batch if task.examples is not None else 0)
    return max(FEWEST_ROWS, min(MOST_ROWS, NUMBERS // row))


@dataclass(frozen=True)
class Table:
    """The rows of a config: racers are put side by side by rule, so that a rule's rows are one slice."""

    config: Config
    racer_of_row: NDArray[np.int64]  # [R]
    seed_of_row: Tensor  # [R], index into config.seeds
    config_row: NDArray[np.int64]  # [R], config row of each table row
    table_row: NDArray[np.int64]  # [R], table row of each config row
    rule_rows: dict[str, slice]
    chunks: tuple[slice, ...]
    edits: dict[int, list[Edit]]
    spikes: dict[int, frozenset[int]]  # step -> racers
    changing: frozenset[str]
    averages: bool  # whether some rule reports its loss at other weights than are stored

    def racers(self, rows: slice) -> tuple[int, ...]:
        """The racer of each of these table rows."""
        return tuple(int(racer) for racer in self.racer_of_row[rows])

    def seeds(self, rows: slice) -> tuple[int, ...]:
        """The seed of each of these table rows."""
        return tuple(self.config.seeds[int(index)] for index in self.seed_of_row[rows])


@dataclass(frozen=True)
class Plan(Table):
    """A config laid out as a table, and its task."""

    task: Task


def plan_of(config: Config) -> Plan:
    """The config's plan. All but the task, which may be large, is kept, where the task has a name."""
    task = config.build_task()
    table = _kept if isinstance(config.task, Choice) else _table
    return Plan(**vars(table(config, chunk_rows(task, config.batch))), task=task)


def _table(config: Config, most: int) -> Table:
    """The config's rows, in chunks of at most so many, which differ by no more than one row."""
    by_rule = sorted(range(len(config.racers)), key=lambda index: RULES.place(config.racers[index].rule))
    seeds = len(config.seeds)
    config_row = np.concatenate([np.arange(racer * seeds, (racer + 1) * seeds) for racer in by_rule])
    rule_rows: dict[str, slice] = {}
    for rule, group in groupby(by_rule, key=lambda index: config.racers[index].rule):
        first = max((rows.stop for rows in rule_rows.values()), default=0)
        rule_rows[rule] = slice(first, first + seeds * len(list(group)))
    chunks = -(-config.rows // most)
    ends = [config.rows * i // chunks for i in range(chunks + 1)]
    return Table(
        config, config_row // seeds, torch.as_tensor(config_row % seeds), config_row,
        np.argsort(config_row),
        rule_rows,
        tuple(slice(first, end) for first, end in pairwise(ends)),
        config.edits_at(), config.spikes(), frozenset(config.changing()),
        any(RULES[rule].eval_params for rule in rule_rows),
    )  # fmt: skip


_kept = lru_cache(maxsize=64)(_table)


class Settings(SimpleNamespace):
    """Every setting of a rule as a `[R, 1]` column; `uses(name)` tells whether any row ever has it switched on."""

    used: frozenset[str]

    def uses(self, name: str) -> bool:
        return name in self.used


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
