"""The lens: what the rules themselves computed, layer by layer and weight by weight, for a few runs that are watched.

All of it is read off the step that was taken: the gradient as the rule got it (after edits and clipping), the rule's
own memories and trace (`core.optimizers.base.TRACES`), and the weights before and after. Nothing is computed a second
time. Three things are recorded:

    g, m, v, m_hat, root_v_hat, step,   at sampled steps, the norm of each layer; v as that of its root; step is the
    apart                               change of the weights, apart how far they are from those of the racer's twin
                                        (`core.fork.twins`)                 [k, racers, layers]
    rate                                at sampled steps, QUANTILES over the weights of `|step| / |m_hat|`, or
                                        `|step| / |g|` where the rule has no m_hat (its norms are NaN then): with Adam
                                        and no decay, lr / (root_v_hat + eps). Left out are weights for which it is
                                        0 / 0; of more than SAMPLE weights, those `chosen` stand for all
                                                                            [k, racers, 5]
    heat.g, heat.m, heat.v              at sampled steps, the weights of one layer, v as its root, as codes: `decoded`
                                        reads them; of the racer that is pictured, or of all
                                                                            [k, racers, cells], uint8
    watch.g, .m_hat, .root_v_hat,       at every step, of single weights; p is the weight after the step
          .step, .p                                                         [n, racers, coordinates]

What a rule does not have is NaN, and so is all of a run from the step on at which it diverged; apart is, too, once the
twin has diverged, and where that is in another chunk of the table (at most 8 rows are always one). A memory that is not
one number for each weight (Adafactor's means, some of Muon's v) has no norm here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from core.config import Config
from core.optimizers.base import Rule
from core.spec import Layout

NORMS = ("g", "m", "v", "m_hat", "root_v_hat", "step", "apart")
HEAT = ("g", "m", "v")
WATCHED = ("g", "m_hat", "root_v_hat", "step", "p")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

MOST = 8  # racers, and coordinates
LAYERS = 12  # further tensors are one
CELLS = 1024  # of a heat map
SAMPLE = 1024  # weights whose rates are sorted
EVENLY, GROWTH, EVENTS = 100, 1.25, 16  # sampled steps: evenly spread ones, and after how many edits growing gaps

SMALLEST, DECADES = 1e-12, 16  # of a heat map: |x| from 1e-12 to 1e4
LEVELS, ZERO = 127, 128  # codes ZERO + 1 … ZERO + LEVELS are positive numbers, ZERO - 1 … 1 negative ones, 0 is NaN


@dataclass(frozen=True)
class Lens:
    """Who is watched, on the race's first seed, and what of them: weights by their columns, one layer's heat map.

    `layer` is a tensor of the layout, or "" for no heat map; `pictured` is the one racer whose heat maps are kept,
    among `racers`, or None for all of these.
    """

    racers: tuple[int, ...]
    coordinates: tuple[int, ...] = ()
    layer: str = ""
    pictured: int | None = None

    def check(self, config: Config, layout: Layout) -> None:
        """Raise a `ValueError` where the race or its network has not got what is to be watched."""
        for what, wanted, there in (
            ("racer", self.racers, len(config.racers)),
            ("parameter", self.coordinates, layout.width),
        ):
            if len(wanted) > MOST:
                raise ValueError(f"At most {MOST} {what}s can be watched, not {len(wanted)}.")
            for index in wanted:
                if not 0 <= index < there:
                    raise ValueError(f"There is no {what} {index}: there are {there:,}, counted from 0.")
        if self.pictured is not None and self.pictured not in self.racers:
            raise ValueError(f"Racer {self.pictured} cannot be pictured: it is not among those that are watched.")
        names = [name for name, _ in layout.shapes]
        if self.layer and self.layer not in names:
            raise ValueError(f"There is no layer {self.layer!r}; the network has {', '.join(names)}.")


def sampled(config: Config) -> tuple[int, ...]:
    """The steps (1, 2, …) at which norms, rates and heat maps are taken.

    About 100 a run evenly, its last, and after each edit of any racer that edit's step and further ones in gaps that
    grow by a quarter. Of edits in a row, a spike of some steps, the first and the last are such, and of all edits the
    first 16: so there are some hundred steps, whatever the race.
    """
    return _sampled(config.steps, tuple(sorted(config.edits_at())))


@lru_cache(maxsize=256)
def _sampled(steps: int, edited: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*range(1, steps + 1, max(1, math.ceil(steps / EVENLY))), steps} | dense(edited, steps)))


@lru_cache(maxsize=256)
def dense(edited: tuple[int, ...], steps: int) -> frozenset[int]:
    """The steps (1, 2, …) that are looked at because something happens at `edited` ones (0, 1, …): see `sampled`."""
    found = set()
    ends = [at for at in edited if at - 1 not in edited or at + 1 not in edited]
    for at in ends[:EVENTS]:
        gap = 0
        while at + 1 + gap <= steps:
            found.add(at + 1 + gap)
            gap = max(gap + 1, round(GROWTH * gap))
    return frozenset(found)


def layers(layout: Layout) -> tuple[tuple[str, int], ...]:
    """Name and number of weights of each layer whose norms are recorded: a tensor, or all those from the 12th on."""
    found = [(name, size) for (name, _), size in zip(layout.shapes, layout.sizes, strict=True)]
    if len(found) <= LAYERS:
        return tuple(found)
    rest = found[LAYERS - 1 :]
    return (*found[: LAYERS - 1], (f"{len(rest)} more", sum(size for _, size in rest)))


def chosen(layout: Layout, device: torch.device | None = None) -> Tensor:
    """The columns whose rates stand for all: all, or SAMPLE drawn ones, the same for every race."""
    drawn = torch.randperm(layout.width, generator=torch.Generator().manual_seed(0))
    return drawn[:SAMPLE].sort().values.to(device)


@dataclass(frozen=True)
class Grid:
    """A heat map: `rows x columns` cells, each a block of so many weights (at the edges fewer)."""

    rows: int
    columns: int
    block: tuple[int, int]


def grid(shape: Sequence[int]) -> Grid:
    """The heat map of a tensor: its first axis down, all others across; a vector is one row. At most 1,024 cells."""
    height, width = matrix(shape)
    tall, wide = 1, 1
    while (rows := -(-height // tall)) * (columns := -(-width // wide)) > CELLS:
        tall, wide = (tall + 1, wide) if rows > columns else (tall, wide + 1)
    return Grid(rows, columns, (tall, wide))


def matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a tensor as a heat map shows it, a cell a weight."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def coded(sizes: Tensor, signs: Tensor) -> Tensor:
    """Numbers as uint8, by the logarithm of their size; `decoded` gives them back to within 16%."""
    scale = (LEVELS - 1) / DECADES
    level = sizes.log10().mul_(scale).add_(1 - math.log10(SMALLEST) * scale).round_().clamp_(0, LEVELS)
    return level.copysign_(signs).add_(ZERO).nan_to_num_(0).to(torch.uint8)


def decoded(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The numbers of a heat map: from -1e4 over 0 (below 0.9e-12) to 1e4 in steps of 34%; NaN where there is none."""
    level = codes.astype(float) - ZERO
    size = SMALLEST * 10 ** ((np.abs(level) - 1) * DECADES / (LEVELS - 1))
    return np.where(codes == 0, np.nan, np.where(level == 0, 0.0, np.sign(level) * size))


def quantiles(numbers: Tensor, levels: Tensor) -> Tensor:
    """Along the last axis `[…, n] -> […, levels]`: as `torch.nanquantile`, to the bit.

    NumPy sorts 20 times as fast as it, NaN last.
    """
    there = numbers.isnan().logical_not_().sum(-1, keepdim=True)
    ordered = torch.from_numpy(np.sort(numbers.cpu().numpy(), axis=-1)).to(numbers)
    rank = levels * (there - 1).clamp_(min=0)
    below = rank.floor()
    low, high = (ordered.gather(-1, place.long()) for place in (below, rank.ceil()))
    return torch.lerp(low, high, rank - below)


class Source(Protocol):
    """The rows of a chunk that share a rule, after their step: `core.chunk.Block`."""

    rule: Rule
    layout: Layout
    rows: slice  # within the chunk
    slots: SimpleNamespace
    trace: dict[str, Tensor]


class Watcher:
    """The lens on one chunk of the table: reads each step, and keeps what it saw.

    `watched` are the chunk's rows and their racers, `twins` the twin of each racer of the race. Arrays are made before
    the first step (`begin`), all NaN, and what can be made of many steps at once is made after the last (`end`).
    """

    def __init__(
        self, lens: Lens, config: Config, layout: Layout, sources: Sequence[Source], watched: Mapping[int, int],
        twins: Sequence[int | None], like: Tensor,
    ):  # fmt: skip
        self.lens, self.layout = lens, layout
        self.steps = sampled(config)
        rows = {row: racer for row, racer in watched.items() if racer in lens.racers}
        self.racers = tuple(rows.values())
        self.rows = torch.tensor(list(rows), dtype=torch.int64, device=like.device)
        place = {racer: row for row, racer in watched.items()}
        # Of the watched rows those whose twin is in this chunk, and the rows of these twins.
        pairs = [(turn, twins[racer]) for turn, racer in enumerate(self.racers)]
        self.paired = self.rows.new_tensor([turn for turn, twin in pairs if twin in place])
        self.twins = self.rows.new_tensor([place[twin] for _, twin in pairs if twin in place])
        # Of the watched rows those whose heat maps are kept.
        pictured = [racer for racer in self.racers if lens.pictured in (None, racer)]
        self.pictured = self.rows.new_tensor([self.racers.index(racer) for racer in pictured])
        self.sizes = [size for _, size in layers(layout)]
        self.chosen = chosen(layout, like.device)
        self.levels = like.new_tensor(QUANTILES)
        self.like = like
        self.sources: list[tuple[Source, Tensor]] = []
        for source in sources:
            inside = self.rows[(self.rows >= source.rows.start) & (self.rows < source.rows.stop)] - source.rows.start
            if len(inside):
                self.sources.append((source, inside))
        columns = torch.tensor(lens.coordinates, dtype=torch.int64, device=like.device)
        self.places = self._places(self.rows, columns)
        self.own_places = [self._places(inside, columns) for _, inside in self.sources]
        if lens.layer:
            self.columns, shape = layout.columns(lens.layer), dict(layout.shapes)[lens.layer]
            self.shape, self.grid = matrix(shape), grid(shape)

    def _places(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Where these columns of these rows lie in a table: `[rows, columns]`."""
        return rows.unsqueeze(1) * self.layout.width + columns

    def begin(self, first: int, count: int) -> None:
        """Make room for the steps `first + 1 … first + count`."""
        self.first = first
        self.at = tuple(step for step in self.steps if first < step <= first + count)
        self.turn = {step: index for index, step in enumerate(self.at)}
        taken, wide = len(self.at), len(self.racers)

        def blank(*shape: int) -> Tensor:
            return self.like.new_full(shape, math.nan, dtype=torch.float32)

        self.norms = blank(taken, len(NORMS), wide, len(self.sizes))
        self.all_rates = self.like.new_full((taken, wide, len(self.chosen)), math.nan)
        self.watch = self.like.new_full((count, len(WATCHED), wide, len(self.lens.coordinates)), math.nan)
        cells = self.grid.rows * self.grid.columns if self.lens.layer else 0
        self.images = self.like.new_full((taken, len(HEAT), len(self.pictured), cells), math.nan)

    def end(self) -> None:
        """Quantiles of the rates and codes of the heat maps, of all steps since `begin`."""
        self.rates = quantiles(self.all_rates, self.levels).float()
        self.heat = coded(self.images.abs(), self.images)

    def look(self, step: int, gradient: Tensor, before: Tensor, after: Tensor, alive: Tensor | None) -> None:
        """Read the step: tables `[R, P]` of the whole chunk; `alive` `[R]` are the rows that run on, None for all."""
        if not self.sources:
            return
        if self.lens.coordinates:
            self._watch(step, gradient, before, after, alive)
        if step in self.turn:
            self._sample(self.turn[step], gradient, before, after, alive)

    def _watch(self, step: int, gradient: Tensor, before: Tensor, after: Tensor, alive: Tensor | None) -> None:
        p = after.take(self.places)
        kept = self.watch[step - 1 - self.first]
        torch.stack((gradient.take(self.places), self._taken("m_hat"), self._taken("root_v_hat"),
                     p - before.take(self.places), p), out=kept)  # fmt: skip
        if alive is not None:
            kept.masked_fill_(~alive[self.rows].unsqueeze(1), math.nan)

    def _taken(self, name: str) -> Tensor:
        """An entry of the traces at the watched weights, `[rows, coordinates]`."""
        found = [
            source.trace[name].take(places)
            if name in source.trace
            else self.like.new_full(places.shape, math.nan)
            for (source, _), places in zip(self.sources, self.own_places, strict=True)
        ]  # fmt: skip
        return found[0] if len(found) == 1 else torch.cat(found)

    def _sample(self, turn: int, gradient: Tensor, before: Tensor, after: Tensor, alive: Tensor | None) -> None:
        g = gradient.index_select(0, self.rows)
        step = after.index_select(0, self.rows) - before.index_select(0, self.rows)
        m_hat = self._tables(lambda source: source.trace.get("m_hat"))
        tables = torch.stack((g, self._memory(1), self._memory(2).sqrt(), m_hat,
                              self._tables(lambda source: source.trace.get("root_v_hat")), step))  # fmt: skip
        self.norms[turn, :-1] = self._norms(tables)
        if len(self.paired):
            apart = after.index_select(0, self.rows[self.paired]) - after.index_select(0, self.twins)
            self.norms[turn, -1, self.paired] = self._norms(apart).float()
        along = torch.cat([m_hat[rows] if "m_hat" in source.trace else g[rows] for source, rows in self._parts()])
        rates = step.index_select(1, self.chosen).div_(along.index_select(1, self.chosen))
        torch.abs(rates, out=self.all_rates[turn])
        if self.lens.layer and len(self.pictured):
            self.images[turn] = self._heat(tables[: len(HEAT), :, self.columns].index_select(1, self.pictured))
        if alive is not None:
            over = ~alive[self.rows]
            self.norms[turn, :, over] = self.all_rates[turn, over] = math.nan
            self.images[turn, :, over[self.pictured]] = math.nan
            self.norms[turn, -1, self.paired[~alive[self.twins]]] = math.nan

    def _norms(self, tables: Tensor) -> Tensor:
        """The norm of each layer: `[…, rows, P]` -> `[…, rows, layers]`."""
        pieces = tables.split(self.sizes, dim=-1)
        return torch.stack([torch.linalg.vector_norm(piece, dim=-1) for piece in pieces], dim=-1)

    def _parts(self) -> list[tuple[Source, slice]]:
        """Each source, and its rows among those that are watched."""
        found, first = [], 0
        for source, inside in self.sources:
            found.append((source, slice(first, first + len(inside))))
            first += len(inside)
        return found

    def _tables(self, read: Callable[[Source], Tensor | None]) -> Tensor:
        """The watched rows of a table that each source has its part of, or has not: `[rows, P]`."""
        found = []
        for source, inside in self.sources:
            table = read(source)
            found.append(self.like.new_full((len(inside), self.layout.width), math.nan) if table is None
                         else table.index_select(0, inside))  # fmt: skip
        return found[0] if len(found) == 1 else torch.cat(found)

    def _memory(self, moment: int) -> Tensor:
        def read(source: Source) -> Tensor | None:
            slot = source.rule.memory(moment, source.layout)
            return None if slot is None or slot.shape is not None else getattr(source.slots, slot.name)

        return self._tables(read)

    def _heat(self, tables: Tensor) -> Tensor:
        """Numbers `[HEAT, rows, cells]`; a block's is its mean size, with the sign of its mean."""
        images = tables.reshape(-1, 1, *self.shape)
        if self.grid.block != (1, 1):
            sizes, signs = (
                avg_pool2d(image, self.grid.block, ceil_mode=True, count_include_pad=False)
                for image in (images.abs(), images)
            )
            images = sizes.copysign_(signs)
        return images.view(*tables.shape[:2], -1)


def joined(watchers: Sequence[Watcher]) -> dict[str, NDArray[Any]]:
    """What the lens saw of all chunks, in the order of its racers."""
    lens = watchers[0].lens
    order = [racer for watcher in watchers for racer in watcher.racers]
    place = [order.index(racer) for racer in lens.racers]

    def arrays(names: Sequence[str], parts: Sequence[Tensor], place: Sequence[int] = place) -> dict[str, NDArray[Any]]:
        whole = torch.cat(list(parts), dim=2)[:, :, place].cpu().numpy()
        return {name: whole[:, index] for index, name in enumerate(names)}

    found = arrays(NORMS, [watcher.norms for watcher in watchers])
    found |= arrays(["rate"], [watcher.rates.unsqueeze(1) for watcher in watchers])
    if lens.layer:
        pictured = place if lens.pictured is None else [0]
        found |= arrays([f"heat.{name}" for name in HEAT], [watcher.heat for watcher in watchers], pictured)
    if lens.coordinates:
        found |= arrays([f"watch.{name}" for name in WATCHED], [watcher.watch.float() for watcher in watchers])
    return found
