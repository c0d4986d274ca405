"""The table trainer: config and state in, state and records out.

`advance(config, state, steps)` is the only loop. Every run of a race is a row; one forward and one backward pass
serve all rows of a chunk, then each rule updates the rows that are its own. Results do not depend on how a run is cut
into slices: all that happens at a step is a function of the config, the state and the step's number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from core.config import Config, Edit
from core.edits import EDITS
from core.optimizers import RULES, Rule, Slot
from core.probes import PROBES, Look
from core.spec import Layout
from core.tasks import Batch, Task

# MKL rounds a product by where its operands lie in memory, and so a run by its place in the table, unless it is told
# not to; it reads this at the first product of a process. Measured cost: 0 to 5% of a step.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

CHUNK_ROWS = 64  # rows that run all their steps together: more fall out of the processor's cache
BLOWN_UP = 1.5  # a smoothed loss this many times above both its start and pure guessing is called blown up

RUNNING, LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE = 0, 1, 2
REASONS = {RUNNING: "", LOSS_NOT_FINITE: "its loss is not finite", WEIGHTS_NOT_FINITE: "its weights are not finite"}

Array = NDArray[np.float64]
Samples = list[tuple[int, dict[str, Tensor]]]  # (step, {name: [R]})

# Freed memory is kept from here on: glibc else gives a table back to the system after each use and every page of it
# is faulted in anew, which doubled the time of 64 rows. Freeing one large block, never touched, raises its limits.
torch.empty(31 << 20, dtype=torch.uint8)


@dataclass(frozen=True)
class Recording:
    """How often what is dear to measure is measured: about so many times a run, and at its first and last step."""

    evaluations: int = 60
    probes: int = 100

    def evaluate_at(self, step: int, steps: int) -> bool:
        """Whether the full losses are measured after so many steps (0: before the first)."""
        return step % max(1, round(steps / self.evaluations)) == 0 or step == steps

    def probe_at(self, step: int, steps: int) -> bool:
        """Whether the norms are measured in this step (1, 2, …)."""
        return (step - 1) % max(1, math.ceil(steps / self.probes)) == 0 or step == steps


@dataclass(frozen=True)
class State:
    """Where a race stands after `step` steps: plain tensors, one row a run, in the table's own row order.

    `slots[rule][name]` and `ages[rule][name]` hold the rows of that rule alone.
    """

    step: int
    params: Tensor  # [R, P]
    first_guess: Tensor  # [R, P]
    slots: dict[str, dict[str, Tensor]]  # [R_rule, ...]
    ages: dict[str, dict[str, Tensor]]  # [R_rule, 1], steps since the slot was last reset
    evaluations: Tensor  # [R], gradients taken so far
    stopped: Tensor  # [R], the step at which the row diverged, or -1
    reason: Tensor  # [R], a key of REASONS
    first_loss: Tensor  # [R]
    smooth: Tensor  # [R], exponential moving average of the loss, not yet divided by `1 - smoothing^step`
    blown: Tensor  # [R], the first step at which the row was blown up, or -1


@dataclass(frozen=True)
class Records:
    """What happened in steps `first + 1 … first + n`: arrays `[·, R]` in the config's row order, NaN once diverged."""

    first: int
    loss: Array  # [n, R], minibatch loss of each step
    smooth: Array  # [n, R]
    probes_at: tuple[int, ...]
    probes: dict[str, Array]  # [k, R]
    evals_at: tuple[int, ...]
    evals: dict[str, Array]  # [e, R], "train_loss", "validation_accuracy", …
    test: dict[str, Array]  # [R], after the last step only
    stopped: NDArray[np.int64]  # [R], step or -1
    reason: NDArray[np.int64]  # [R]
    blown: NDArray[np.int64]  # [R], step or -1
    bound: Array  # [R], the smoothed loss above which a row is blown up


def start(config: Config, dtype: torch.dtype = torch.float32, device: str = "cpu") -> State:
    """The state before the first step. Every racer has the same initial weights for the same seed."""
    plan = _plan(config)
    like = torch.empty(0, dtype=dtype, device=device)
    guesses = plan.task.initial(config.seeds, like)
    params = guesses[plan.seed_of_row.to(device)]
    slots: dict[str, dict[str, Tensor]] = {}
    ages: dict[str, dict[str, Tensor]] = {}
    for rule, rows in plan.rule_rows.items():
        declared = RULES[rule].slots_for(plan.task.layout)
        settings = _settings(config, plan.racers(rows), RULES[rule], like)
        slots[rule] = {slot.name: _fresh(slot, params[rows], settings, plan.task.layout) for slot in declared}
        ages[rule] = {slot.name: params.new_zeros(rows.stop - rows.start, 1) for slot in declared}
    count = torch.zeros(config.rows, dtype=torch.int64, device=device)
    level = torch.zeros(config.rows, dtype=torch.float64, device=device)
    return State(0, params, params, slots, ages, count, count - 1, count, level, level, count - 1)


def advance(config: Config, state: State, steps: int, recording: Recording = Recording()) -> tuple[State, Records]:
    """Train every run of the race for up to `steps` more steps.

    The state that is given is not changed. Beyond the end of the race nothing happens. A row whose loss or weights
    stop being finite is frozen at its last finite values and marked; its neighbours are bit-identical to a race
    without it (of a batch of 1, only where neither race leaves a row alone in its chunk).

    Raises:
        ValueError: `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}, but must be at least 0.")
    plan = _plan(config)
    count = min(steps, config.steps - state.step)
    with torch.no_grad():
        chunks = [_Chunk(plan, state, rows, recording) for rows in plan.chunks]
        for chunk in chunks:
            chunk.run(count)
    return _collect(plan, state, chunks, count)


@dataclass(frozen=True)
class _Plan:
    """A config laid out as a table: racers are put side by side by rule, so that a rule's rows are one slice."""

    config: Config
    task: Task
    racer_of_row: NDArray[np.int64]  # [R]
    seed_of_row: Tensor  # [R], index into config.seeds
    table_row: NDArray[np.int64]  # [R], table row of each config row
    rule_rows: dict[str, slice]
    chunks: tuple[slice, ...]
    edits: dict[int, list[Edit]]
    changing: frozenset[str]

    def racers(self, rows: slice) -> tuple[int, ...]:
        """The racer of each of these table rows."""
        return tuple(int(racer) for racer in self.racer_of_row[rows])

    def seeds(self, rows: slice) -> tuple[int, ...]:
        """The seed of each of these table rows."""
        return tuple(self.config.seeds[int(index)] for index in self.seed_of_row[rows])


@lru_cache(maxsize=64)
def _plan(config: Config) -> _Plan:
    names = list(RULES)
    by_rule = sorted(range(len(config.racers)), key=lambda index: names.index(config.racers[index].rule))
    seeds = len(config.seeds)
    config_row = np.concatenate([np.arange(racer * seeds, (racer + 1) * seeds) for racer in by_rule])
    rule_rows: dict[str, slice] = {}
    for rule, group in groupby(by_rule, key=lambda index: config.racers[index].rule):
        first = max((rows.stop for rows in rule_rows.values()), default=0)
        rule_rows[rule] = slice(first, first + seeds * len(list(group)))
    return _Plan(
        config, config.build_task(), config_row // seeds, torch.as_tensor(config_row % seeds), np.argsort(config_row),
        rule_rows,
        tuple(slice(r, min(r + CHUNK_ROWS, config.rows)) for r in range(0, config.rows, CHUNK_ROWS)),
        config.edits_at(), frozenset(config.changing()),
    )  # fmt: skip


class _Settings(SimpleNamespace):
    """Every setting of a rule as a `[R, 1]` column; `uses(name)` tells whether any row ever has it switched on."""

    used: frozenset[str]

    def uses(self, name: str) -> bool:
        return name in self.used


def _settings(config: Config, racers: Sequence[int], rule: Rule, like: Tensor) -> _Settings:
    changing = config.changing()

    def first(racer: int, name: str) -> float:
        """The value at step 0, from which a slot may start; later ones are put in place by `_Block.schedule`."""
        return float(config.values(racer, name, 0, 1)[0] if name in changing else config.racers[racer].get(name))

    columns = {
        hyper.name: torch.tensor([[first(r, hyper.name)] for r in racers], dtype=torch.float64).to(like)
        for hyper in rule.hypers
    }
    used = frozenset(name for name, column in columns.items() if name in changing or bool(column.any()))
    return _Settings(**columns, used=used)


def _fresh(slot: Slot, p: Tensor, settings: _Settings, layout: Layout) -> Tensor:
    """The slot's reset value for rows with weights p."""
    if callable(slot.reset):
        return slot.reset(p)
    shape = slot.shape(layout) if slot.shape else (layout.width,)
    blank = p.new_zeros(len(p), *shape)
    if isinstance(slot.reset, str):
        column: Tensor = getattr(settings, slot.reset)
        return blank + column.view(-1, *[1] * len(shape))
    return blank + slot.reset


class _Block:
    """The rows of a chunk that share a rule, with their settings, memories and ages."""

    def __init__(self, plan: _Plan, state: State, rule: str, rows: slice, chunk: slice):
        home = plan.rule_rows[rule].start
        inside = slice(rows.start - home, rows.stop - home)
        self.rule = RULES[rule]
        self.rows = slice(rows.start - chunk.start, rows.stop - chunk.start)  # within the chunk
        self.racers = plan.racers(rows)
        self.declared = self.rule.slots_for(plan.task.layout)
        self.settings = _settings(plan.config, self.racers, self.rule, state.params)
        self.slots = SimpleNamespace(**{name: slot[inside] for name, slot in state.slots[rule].items()})
        names = [slot.name for slot in self.declared]
        self.trace: dict[str, Tensor] = {}
        # One tensor of all ages, so that a step adds 1 once; the attributes are views into it. Each age has a twin that
        # nobody reads: torch takes `beta ** age` of 32 and more numbers without a gap by another routine, which rounds
        # differently, and a run would then depend on how many stand beside it.
        ages = [state.ages[rule][name][inside].expand(-1, 2) for name in names]
        self.all_ages = torch.stack(ages) if names else None
        self.ages = SimpleNamespace(**{name: self.all_ages[i, :, :1] for i, name in enumerate(names)})  # type: ignore[index]

    def schedule(self, plan: _Plan, first: int, count: int, like: Tensor) -> Iterator[None]:
        """Put each step's scheduled values in place; to be drawn on once a step."""
        names = sorted(plan.changing & {hyper.name for hyper in self.rule.hypers})
        tables = {}
        for name in names:
            columns = {racer: plan.config.values(racer, name, first, count) for racer in set(self.racers)}
            table = np.stack([columns[racer] for racer in self.racers], axis=1)
            tables[name] = torch.as_tensor(table).to(like).unsqueeze(2)
        for t in range(count):
            for name in names:
                setattr(self.settings, name, tables[name][t])
            yield

    def memory(self, moment: int) -> Tensor | None:
        """The first slot that remembers this moment of the gradient."""
        for slot in self.declared:
            if slot.moment == moment:
                found: Tensor = getattr(self.slots, slot.name)
                return found
        return None


class _Context:
    """What a rule sees of a step (`core.optimizers.Context`)."""

    def __init__(self, chunk: _Chunk, block: _Block, p: Tensor, g: Tensor, batch: Batch):
        self.p, self.g, self.layout = p, g, chunk.plan.task.layout
        self._chunk, self._block, self._batch = chunk, block, batch

    def gradient(self, at: Tensor, rows: Tensor | slice | None = None) -> tuple[Tensor, Tensor]:
        mine = self._batch.rows(self._block.rows)
        asked = slice(None) if rows is None else rows
        counted = self._chunk.active.squeeze(1)[self._block.rows][asked]
        self._chunk.evaluations[self._block.rows][asked] += counted
        return self._chunk.plan.task.loss_and_grad(at, mine if rows is None else mine.rows(rows))


class _EditRows:
    """One racer's rows of a chunk, as an edit sees them (`core.edits.Rows`)."""

    def __init__(self, chunk: _Chunk, block: _Block, rows: Tensor):
        self._chunk, self._block, self._rows = chunk, block, rows  # rows: indices within the block

    @property
    def _chunk_rows(self) -> Tensor:
        moved: Tensor = self._rows + self._block.rows.start
        return moved

    def slots(self) -> tuple[tuple[str, int], ...]:
        return tuple((slot.name, slot.moment) for slot in self._block.declared)

    def reset(self, slot: str) -> None:
        declared = next(entry for entry in self._block.declared if entry.name == slot)
        block, layout = self._block, self._chunk.plan.task.layout
        fresh = _fresh(declared, self._chunk.p[block.rows], block.settings, layout)
        setattr(block.slots, slot, getattr(block.slots, slot).index_copy(0, self._rows, fresh[self._rows]))
        getattr(block.ages, slot)[self._rows] = 0

    def scale_gradient(self, factor: float) -> None:
        scale = self._chunk.gradient_scale
        if scale is None:
            scale = self._chunk.gradient_scale = self._chunk.p.new_ones(len(self._chunk.p), 1)
        scale[self._chunk_rows] *= factor

    def reinitialise(self, offset: int) -> None:
        chunk = self._chunk
        rows = self._chunk_rows
        seeds = [chunk.seeds[int(row)] + offset for row in rows]
        guess = chunk.plan.task.initial(seeds, chunk.p)
        chunk.p = chunk.p.index_copy(0, rows, guess)
        chunk.first_guess = chunk.first_guess.index_copy(0, rows, guess)


class _Chunk:
    """Some rows of the table, trained for all their steps while they stay in the processor's cache."""

    def __init__(self, plan: _Plan, state: State, rows: slice, recording: Recording):
        self.plan, self.rows, self.recording, self.first = plan, rows, recording, state.step
        self.seeds = plan.seeds(rows)
        self.p, self.first_guess = state.params[rows], state.first_guess[rows]
        self.evaluations = state.evaluations[rows].clone()
        self.stopped, self.reason = state.stopped[rows].clone(), state.reason[rows].clone()
        self.active = (self.stopped < 0).unsqueeze(1)  # [R, 1]
        self.any_stopped = not bool(self.active.all())
        self.unit = self.p.new_ones(1)
        self.gradient_scale: Tensor | None = None
        self.blocks = [
            _Block(plan, state, rule, slice(max(home.start, rows.start), min(home.stop, rows.stop)), rows)
            for rule, home in plan.rule_rows.items()
            if home.start < rows.stop and home.stop > rows.start
        ]
        self.clips = any(block.settings.uses("clip") for block in self.blocks)
        self.losses: list[Tensor] = []
        self.probes: Samples = []
        self.evals: Samples = []
        self.test: dict[str, Tensor] = {}

    def run(self, count: int) -> None:
        """Take so many steps."""
        schedules = [block.schedule(self.plan, self.first, count, self.p) for block in self.blocks]
        if self.first == 0 and count:
            self._evaluate(0)
        for t in range(self.first, self.first + count):
            for schedule in schedules:
                next(schedule)
            for edit in self.plan.edits.get(t, ()):
                self._edit(edit)
            self._step(t)

    def _step(self, t: int) -> None:
        config, task = self.plan.config, self.plan.task
        batch = task.batch(self.seeds, t, config.batch, self.p)
        loss, gradient = task.loss_and_grad(self._at(lambda rule: rule.gradient_point), batch)
        self.evaluations += self.active.squeeze(1)
        used = self._shaped(gradient)
        before = [block.slots for block in self.blocks]
        new = task.project(_join([self._update(block, used, batch) for block in self.blocks]))
        # One number tells whether anything at all stopped being finite; only then is it asked which row.
        if self.any_stopped or not math.isfinite(new.sum().item() + loss.sum().item()):
            new, loss = self._freeze(t + 1, new, loss, before)
        self.losses.append(loss)
        if self.recording.probe_at(t + 1, config.steps):
            self._probe(t + 1, gradient, new)
        self.p = new
        if self.recording.evaluate_at(t + 1, config.steps):
            self._evaluate(t + 1)

    def _at(self, which: Callable[[Rule], Callable[[Tensor, SimpleNamespace, _Settings], Tensor] | None]) -> Tensor:
        """The stored weights, or those at which a rule wants its gradient taken or its loss reported."""
        elsewhere = [which(block.rule) for block in self.blocks]
        if not any(elsewhere):
            return self.p
        return _join(
            [
                point(self.p[block.rows], block.slots, block.settings) if point else self.p[block.rows]
                for point, block in zip(elsewhere, self.blocks, strict=True)
            ]
        )

    def _shaped(self, gradient: Tensor) -> Tensor:
        """The gradient as the rules get it: scaled by an edit, then clipped to each row's own largest norm."""
        if self.gradient_scale is not None:
            gradient, self.gradient_scale = gradient * self.gradient_scale, None
        if self.clips:
            limit = _join([block.settings.clip for block in self.blocks])
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            # As torch.nn.utils.clip_grad_norm_; a limit of 0 means no clipping.
            factor = torch.where(limit > 0, (limit / (norm + 1e-6)).clamp(max=1), 1)
            gradient = gradient * factor
        return gradient

    def _update(self, block: _Block, gradient: Tensor, batch: Batch) -> Tensor:
        """The rule's new weights for its rows, `[R_block, P]`; its memories are replaced, never written over."""
        if block.all_ages is not None:
            block.all_ages += 1
        context = _Context(self, block, self.p[block.rows], gradient[block.rows], batch)
        update, slots, block.trace = block.rule.update(context, block.slots, block.ages, block.settings)
        block.slots = SimpleNamespace(**slots)
        rate = block.settings.lr if block.rule.scales_by_rate else self.unit
        return torch.addcmul(context.p, update, rate, value=-1)

    def _freeze(self, step: int, new: Tensor, loss: Tensor, before: list[SimpleNamespace]) -> tuple[Tensor, Tensor]:
        """Put diverged rows back to their last finite values, for good; their loss is NaN from this step on."""
        finite_loss, finite_new = torch.isfinite(loss), torch.isfinite(new).all(dim=1)
        failed = self.active.squeeze(1) & ~(finite_loss & finite_new)
        self.stopped[failed] = step
        self.reason[failed] = torch.where(finite_loss, WEIGHTS_NOT_FINITE, LOSS_NOT_FINITE)[failed]
        self.active = self.active & ~failed.unsqueeze(1)
        self.any_stopped = not bool(self.active.all())
        for block, old in zip(self.blocks, before, strict=True):
            keep = self.active[block.rows]
            block.slots = SimpleNamespace(
                **{
                    name: torch.where(keep.view(-1, *[1] * (slot.dim() - 1)), slot, getattr(old, name))
                    for name, slot in vars(block.slots).items()
                }
            )
        return torch.where(self.active, new, self.p), torch.where(self.active.squeeze(1), loss, math.nan)

    def _probe(self, step: int, gradient: Tensor, new: Tensor) -> None:
        look = Look(gradient, self.p, new, self.first_guess, self.evaluations, self._memory)
        alive = self.active.squeeze(1)
        self.probes.append((step, {name: torch.where(alive, probe(look), math.nan) for name, probe in PROBES.items()}))

    def _memory(self, moment: int, norm: Callable[[Tensor], Tensor]) -> Tensor:
        """`norm` of each row's memory of that moment of the gradient, `[R]`; NaN where its rule keeps none."""
        found = [block.memory(moment) for block in self.blocks]
        return _join(
            [
                self.p.new_full((len(block.racers),), math.nan) if memory is None else norm(memory.flatten(1))
                for memory, block in zip(found, self.blocks, strict=True)
            ]
        )

    def _evaluate(self, step: int) -> None:
        """Losses and accuracies on whole parts of the data; on the test part after the last step only."""
        task, alive = self.plan.task, self.active.squeeze(1)
        p = self._at(lambda rule: rule.eval_params)
        found: dict[str, Tensor] = {}
        for part in task.parts:
            if part != "test":
                found |= {f"{part}_{name}": value for name, value in task.evaluate(p, part).items()}
            elif step == self.plan.config.steps:
                self.test = {name: torch.where(alive, v, math.nan) for name, v in task.evaluate(p, part).items()}
        if not task.parts:
            found["train_loss"] = task.loss(p, task.batch(self.seeds, step, self.plan.config.batch, p))
        self.evals.append((step, {name: torch.where(alive, value, math.nan) for name, value in found.items()}))

    def _edit(self, edit: Edit) -> None:
        settings = dict(edit.what.settings)
        for block in self.blocks:
            rows = [index for index, racer in enumerate(block.racers) if racer == edit.racer]
            if rows:
                EDITS[edit.what.name].apply(
                    _EditRows(self, block, torch.tensor(rows, device=self.p.device)), **settings
                )


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _collect(plan: _Plan, state: State, chunks: list[_Chunk], count: int) -> tuple[State, Records]:
    """The chunks' ends as one state, and what they recorded in the config's row order."""
    step = state.step + count

    def by_rule(read: Callable[[_Block], SimpleNamespace]) -> dict[str, dict[str, Tensor]]:
        joined: dict[str, dict[str, Tensor]] = {}
        for rule in plan.rule_rows:
            own = [vars(read(block)) for chunk in chunks for block in chunk.blocks if block.rule.name == rule]
            joined[rule] = {name: _join([part[name] for part in own]) for name in own[0]}
        return joined

    def rows(values: Sequence[Tensor]) -> Array:
        """Tensors `[..., R_chunk]` of all chunks -> array `[..., R]` in the config's order."""
        return torch.cat(list(values), dim=-1).double().cpu().numpy()[..., plan.table_row]

    def series(
        read: Callable[[_Chunk], list[tuple[int, dict[str, Tensor]]]],
    ) -> tuple[tuple[int, ...], dict[str, Array]]:
        taken = [read(chunk) for chunk in chunks]
        if not taken[0]:
            return (), {}
        names = taken[0][0][1]
        tables = {
            name: rows([torch.stack([values[name].double() for _, values in own]) for own in taken]) for name in names
        }
        return tuple(at for at, _ in taken[0]), tables

    stopped = torch.cat([chunk.stopped for chunk in chunks])
    losses = torch.cat([_stacked(chunk.losses, chunk.p) for chunk in chunks], dim=1).double().cpu()  # [n, R]
    first_loss = losses[0] if state.step == 0 and count else state.first_loss.cpu()
    guess = -math.inf if plan.task.guess is None else plan.task.guess
    level = np.maximum(first_loss.numpy(), guess)
    bound = level + (BLOWN_UP - 1) * np.abs(level)  # above the level for a negative one too
    smooth, last, blown = _smooth(plan.task.smoothing, state, losses.numpy(), bound)
    like = state.smooth
    probes_at, probes = series(lambda chunk: chunk.probes)
    evals_at, evals = series(lambda chunk: chunk.evals)
    after = State(
        step, _join([chunk.p for chunk in chunks]), _join([chunk.first_guess for chunk in chunks]),
        by_rule(lambda block: block.slots), by_rule(lambda block: block.ages),
        torch.cat([chunk.evaluations for chunk in chunks]), stopped, torch.cat([chunk.reason for chunk in chunks]),
        first_loss.to(like), torch.as_tensor(last).to(like), torch.as_tensor(blown).to(state.blown),
    )  # fmt: skip
    records = Records(
        state.step, losses.numpy()[:, plan.table_row], smooth[:, plan.table_row], probes_at, probes, evals_at, evals,
        {name: rows([chunk.test[name] for chunk in chunks]) for name in chunks[0].test},
        stopped.cpu().numpy()[plan.table_row], after.reason.cpu().numpy()[plan.table_row], blown[plan.table_row],
        bound[plan.table_row],
    )  # fmt: skip
    return after, records


def _stacked(losses: list[Tensor], p: Tensor) -> Tensor:
    return torch.stack(losses) if losses else p.new_empty(0, len(p))


def _smooth(decay: float, state: State, losses: Array, bound: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Smoothed losses `[n, R]`, the average carried on `[R]`, and where a row first was blown up.

    `s_t = decay s_{t-1} + (1 - decay) loss_t`, divided by `1 - decay^t` so that it starts at the loss.
    """
    carried, blown = state.smooth.cpu().numpy(), state.blown.cpu().numpy().copy()
    if not len(losses):
        return losses, carried, blown
    averages, _ = lfilter([1 - decay], [1, -decay], losses, axis=0, zi=decay * carried[None])
    steps = np.arange(state.step + 1, state.step + len(losses) + 1)
    smooth = averages / (1 - decay**steps)[:, None]
    above = smooth > bound
    newly = above.any(axis=0) & (blown < 0)
    blown[newly] = steps[above.argmax(axis=0)[newly]]
    return smooth, averages[-1], blown
