"""The inner loop: some rows of the table, taken through their steps together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import hardshrink

from core.config import Edit
from core.edits import EDITS, Remembered
from core.fork import twins
from core.lens import Watcher
from core.optimizers import RULES
from core.optimizers.base import Rule, ema
from core.plan import Plan, Settings, fresh, settings_of
from core.probes import PROBES, Look
from core.reactions import Reaction
from core.state import LOSS_NOT_FINITE, OPTIMIZER_FAILED, WEIGHTS_NOT_FINITE, Recording, State
from core.tasks import Batch

FADED = 16  # steps between two looks at what has faded to almost nothing, with which a processor would count slowly

Samples = list[tuple[int, dict[str, Tensor]]]  # (step, {name: [R]})


def join(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of consecutive rows as one, without a copy where there is but one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


class Block:
    """The rows of a chunk that share a rule, with their settings, memories and ages."""

    def __init__(self, plan: Plan, state: State, rule: str, rows: slice, chunk: slice):
        home = plan.rule_rows[rule].start
        inside = slice(rows.start - home, rows.stop - home)
        self.rule = RULES[rule]
        self.rows = slice(rows.start - chunk.start, rows.stop - chunk.start)  # within the chunk
        self.racers = plan.racers(rows)
        self.layout = plan.task.layout
        self.declared = self.rule.slots_for(self.layout)
        self.settings = settings_of(plan.config, self.racers, self.rule, state.params)
        self.slots = SimpleNamespace(**{name: slot[inside] for name, slot in state.slots[rule].items()})
        self._carry_on(plan, state, inside)
        self.guest = self.rule.guest(state.sealed[rule][inside]) if self.rule.guest else None
        names = [slot.name for slot in self.declared]
        self.trace: dict[str, Tensor] = {}
        # One tensor of all ages, so that a step adds 1 once; the attributes are views into it. Each age has a twin that
        # nobody reads, the gap that `power` in core/optimizers/base.py speaks of.
        ages = [state.ages[rule][name][inside].expand(-1, 2) for name in names]
        self.all_ages = torch.stack(ages) if names else None
        self.ages = SimpleNamespace(**{name: self.all_ages[i, :, :1] for i, name in enumerate(names)})  # type: ignore[index]

    def schedule(self, plan: Plan, first: int, count: int, like: Tensor) -> Iterator[None]:
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

    def _carry_on(self, plan: Plan, state: State, inside: slice) -> None:
        """What spikes have left in each linear slot so far, `carried`: rows like the slot's own, 0 where none has.

        It is followed from the rule's first spike on, step `spiked_from`: before it there is nothing to follow.
        """
        home = set(plan.racers(plan.rule_rows[self.rule.name]))
        spikes = [step for step, racers in plan.spikes.items() if racers & home]
        self.spiked_from = min(spikes, default=plan.config.steps)
        linear = [slot.name for slot in self.declared if slot.linear and spikes]
        held = state.carried.get(self.rule.name, {})
        self.left = {
            name: held[name][inside] if name in held else torch.zeros_like(getattr(self.slots, name)) for name in linear
        }
        self.kept = {slot.name: slot.kept for slot in self.declared if slot.name in self.left}
        self.fades = all(self.kept.values())
        self.nothing = {name: torch.zeros_like(part) for name, part in self.left.items()} if self.fades else {}

    def faded(self) -> dict[str, Tensor]:
        """What remains of `left` after a step without a spike, where every linear slot is a moving average (`fades`).

        To the bit what the rule's own update makes of it, without all else that the update computes.
        """
        return {
            name: ema(part, self.nothing[name], getattr(self.settings, self.kept[name]))
            for name, part in self.left.items()
        }

    def carried(self, moment: int) -> Tensor | None:
        """The share of the memory of this moment that comes from spikes, `[R]`; None where it cannot be told.

        Of a mean of gradients the projection `<c, s> / <s, s>` of what the spikes left, c, on the memory s; of a mean
        of squares `sum c / sum s`. With the rest's share it is 1. 0 where no spike has been.
        """
        slot = self.rule.carried(moment, self.layout)
        if slot is None:
            return None
        whole: Tensor = getattr(self.slots, slot.name).flatten(1)
        if not self.left:
            return whole.new_zeros(len(whole))
        part, weight = self.left[slot.name].flatten(1), whole if moment == 1 else torch.ones_like(whole)
        spikes = (part * weight).sum(1)
        return torch.where(spikes == 0, 0, spikes / (whole * weight).sum(1))

    def memory(self, moment: int) -> Tensor | None:
        """What the rule remembers of this moment of the gradient, as a chart shows it."""
        slot = self.rule.memory(moment, self.layout)
        return None if slot is None else getattr(self.slots, slot.name)


class _Context:
    """What a rule sees of a step (`core.optimizers.Context`)."""

    def __init__(self, chunk: Chunk, block: Block, g: Tensor, loss: Tensor, batch: Batch):
        self.p, self.g, self.loss = chunk.p[block.rows], g[block.rows], loss[block.rows]
        self.layout, self.step, self.seeds = chunk.plan.task.layout, batch.step, chunk.seeds[block.rows]
        self.steps, self.guest = chunk.plan.config.steps, block.guest
        self.batch = 1 if chunk.plan.task.examples is None else chunk.plan.config.batch
        self._chunk, self._block, self._batch = chunk, block, batch

    @property
    def alive(self) -> Tensor:
        return self._chunk.alive[self._block.rows]

    def gradient(self, at: Tensor, rows: Tensor | slice | None = None, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        chunk, block, task = self._chunk, self._block, self._chunk.plan.task
        asked = slice(None) if rows is None else rows
        chunk.evaluations[block.rows][asked] += chunk.alive[block.rows][asked]
        batch = self._batch.rows(block.rows).rows(asked)
        if drawn:
            batch = task.draw_labels(
                at, batch, [self.seeds[int(row)] for row in np.arange(len(self.seeds))[_index(asked)]]
            )
        loss, gradient = task.loss_and_grad(at, batch)
        scale = None if chunk.gradient_scale is None else chunk.gradient_scale[block.rows][asked]
        return loss, shaped(gradient, scale, block.settings.clip[asked] if chunk.clips else None)

    def after(self, step: Tensor) -> Tensor:
        return self._chunk.plan.task.project(self.p - step)

    def but(self, *, g: Tensor) -> _Context:
        other = copy(self)
        other.g = g
        return other

    def fail(self, row: int, words: str) -> None:
        self._chunk.failures[self._block.rows.start + row] = words


class _Spiked(_Context):
    """The same step for what spikes left in the memories: without a gradient and at weights 0, but in a spike's rows.

    So what each step adds to a linear slot is added to one of two: here, or to the rest.
    """

    def __init__(self, chunk: Chunk, block: Block, g: Tensor, loss: Tensor, batch: Batch, spiked: Tensor):
        super().__init__(chunk, block, g, loss, batch)
        self.g, self.p = torch.where(spiked, self.g, 0), torch.where(spiked, self.p, 0)

    def gradient(self, at: Tensor, rows: Tensor | slice | None = None, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        """Nothing: what a rule asks for elsewhere is in no linear slot."""
        return at.new_zeros(len(at)), torch.zeros_like(at)


def _index(rows: Tensor | slice) -> NDArray[np.int64] | slice:
    return rows if isinstance(rows, slice) else rows.cpu().numpy()


def shaped(gradient: Tensor, scale: Tensor | None, limit: Tensor | None) -> Tensor:
    """The gradient as a rule gets it: scaled by an edit, then clipped to each row's own largest norm.

    `gradient [R, P]`, `scale` and `limit` `[R, 1]` or None. As `torch.nn.utils.clip_grad_norm_`; a limit of 0 means
    no clipping.
    """
    if scale is not None:
        gradient = gradient * scale
    if limit is not None:
        norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        gradient = gradient * torch.where(limit > 0, (limit / (norm + 1e-6)).clamp(max=1), 1)
    return gradient


class _EditRows:
    """One racer's rows of a chunk, as an edit sees them (`core.edits.Rows`)."""

    def __init__(self, chunk: Chunk, block: Block, rows: Tensor):
        self._chunk, self._block, self._rows = chunk, block, rows  # rows: indices within the block

    @property
    def _chunk_rows(self) -> Tensor:
        moved: Tensor = self._rows + self._block.rows.start
        return moved

    def slots(self) -> tuple[Remembered, ...]:
        return tuple(Remembered(slot.name, slot.moment, slot.counts) for slot in self._block.declared)

    def reset(self, slot: str) -> None:
        declared = next(entry for entry in self._block.declared if entry.name == slot)
        block, layout = self._block, self._chunk.plan.task.layout
        blank = fresh(declared, self._chunk.p[block.rows], block.settings, layout)
        setattr(block.slots, slot, getattr(block.slots, slot).index_copy(0, self._rows, blank[self._rows]))
        if slot in block.left:
            block.left[slot] = block.left[slot].index_fill(0, self._rows, 0)

    def restart(self, slot: str) -> None:
        getattr(self._block.ages, slot)[self._rows] = 0

    def scale_gradient(self, factor: float, layer: str) -> None:
        chunk = self._chunk
        scale = chunk.p.new_ones(len(chunk.p), 1) if chunk.gradient_scale is None else chunk.gradient_scale
        if layer and scale.shape[1] == 1:
            scale = scale.repeat(1, chunk.p.shape[1])
        columns = chunk.plan.task.layout.columns(layer) if layer else slice(None)
        scale[self._chunk_rows, columns] *= factor
        chunk.gradient_scale = scale

    def mislabel(self) -> None:
        self._chunk.wrong = torch.cat([self._chunk.wrong, self._chunk_rows]).unique()

    def unscale(self, factor: float) -> None:
        chunk = self._chunk
        if chunk.input_scale is None:
            chunk.input_scale = chunk.p.new_ones(len(chunk.p))
        chunk.input_scale[self._chunk_rows] *= factor

    def reinitialise(self, draw: int) -> None:
        chunk, rows = self._chunk, self._chunk_rows
        guess = chunk.plan.task.initial([chunk.seeds[int(row)] for row in rows], chunk.p, draw)
        chunk.p = chunk.p.index_copy(0, rows, guess)
        chunk.first_guess = chunk.first_guess.index_copy(0, rows, guess)
        for slot in self._block.declared:
            if callable(slot.reset):  # a memory of weights, of the old ones
                self.reset(slot.name)
                self.restart(slot.name)


class Chunk:
    """Some rows of the table, trained for all their steps while they stay in the processor's cache."""

    def __init__(self, plan: Plan, state: State, rows: slice, recording: Recording):
        self.plan, self.rows, self.recording, self.first = plan, rows, recording, state.step
        self.seeds = plan.seeds(rows)
        self.p, self.first_guess = state.params[rows], state.first_guess[rows]
        self.evaluations = state.evaluations[rows].clone()
        self.stopped, self.reason = state.stopped[rows].clone(), state.reason[rows].clone()
        self.active = (self.stopped < 0).unsqueeze(1)  # [R, 1]
        self._look_who_runs()
        self.unit = self.p.new_ones(1)
        # What edits make of this step's gradient and batch.
        self.gradient_scale: Tensor | None = None  # [R, 1] or [R, P]
        self.input_scale: Tensor | None = None  # [R]
        self.wrong = torch.empty(0, dtype=torch.int64, device=self.p.device)  # rows with wrong labels
        self.blocks = [
            Block(plan, state, rule, slice(max(home.start, rows.start), min(home.stop, rows.stop)), rows)
            for rule, home in plan.rule_rows.items()
            if home.start < rows.stop and home.stop > rows.start
        ]
        self.clips = any(block.settings.uses("clip") for block in self.blocks)
        self.reactions = [Reaction(plan, state, name, rows) for name in state.reacting]
        self.cuts = state.cuts[rows].clone()
        self.failures: dict[int, str] = {}  # rows of the chunk whose optimizer gave up, and why
        self.smooth = state.smooth[rows]
        # Filled in place: small tensors kept from each step would lie between its large ones and break up the memory,
        # which 200 rows of the LSTM then took 16 GB of.
        self.losses, self.averages = self.p.new_empty(0, len(self.p)), self.smooth.new_empty(0, len(self.p))
        self.probes: Samples = []
        self.evals: Samples = []
        self.test: dict[str, Tensor] = {}
        both = enumerate(zip(plan.racers(rows), plan.seed_of_row[rows].tolist(), strict=True))
        first = {row: racer for row, (racer, seed) in both if seed == 0}
        self.writers = first if plan.task.writes else {}
        self.texts: list[tuple[int, dict[int, str | None]]] = []  # (step, {racer: text})
        lens = recording.lens
        self.watcher = (
            Watcher(lens, plan.config, plan.task.layout, self.blocks, first, twins(plan.config), self.p)
            if lens
            else None
        )

    def run(self, count: int) -> None:
        """Take so many steps."""
        schedules = [block.schedule(self.plan, self.first, count, self.p) for block in self.blocks]
        self.losses, self.averages = self.p.new_empty(count, len(self.p)), self.smooth.new_empty(count, len(self.p))
        if self.watcher:
            self.watcher.begin(self.first, count)
        if self.first == 0 and count:
            self._evaluate(0)
            self._write(0)
        for t in range(self.first, self.first + count):
            for schedule in schedules:
                next(schedule)
            for reaction in self.reactions:
                self._scale_rates(reaction)
            for edit in self.plan.edits.get(t, ()):
                self._edit(edit)
            if self.any_running:
                self._step(t)
            else:
                self._rest(t)
            self._write(t + 1)
        if self.watcher:
            self.watcher.end()

    def _look_who_runs(self) -> None:
        self.alive = self.active.squeeze(1)  # [R]
        self.any_stopped, self.any_running = not bool(self.alive.all()), bool(self.alive.any())

    def _step(self, t: int) -> None:
        config, task = self.plan.config, self.plan.task
        batch = self._corrupted(task.batch(self.seeds, t, config.batch, self.p))
        loss, gradient = task.loss_and_grad(self._at(lambda rule: rule.gradient_point), batch)
        self.evaluations += self.alive
        limit = join([block.settings.clip for block in self.blocks]) if self.clips else None
        used = shaped(gradient, self.gradient_scale, limit)
        before = [block.slots for block in self.blocks]
        new = task.project(join([self._update(block, used, loss, batch) for block in self.blocks]))
        self.gradient_scale = None
        # One number tells whether anything at all stopped being finite; only then is it asked which row.
        if self.any_stopped or self.failures or not math.isfinite(new.sum().item() + loss.sum().item()):
            new, loss = self._freeze(t + 1, new, loss, before)
        for block, old in zip(self.blocks, before, strict=True):
            if block.left and t >= block.spiked_from:
                self._carry(block, old, used, loss, batch)
        self._note(t, loss)
        if self.recording.probe_at(t + 1, config.steps, self.plan.spikes):
            self._probe(t + 1, gradient, new)
        if self.watcher:
            self.watcher.look(t + 1, used, self.p, new, self.alive if self.any_stopped else None)
        self.p = new
        if self.recording.evaluate_at(t + 1, config.steps):
            self._evaluate(t + 1)
        if t + 1 < config.steps:
            for reaction in self.reactions:
                self._react(reaction, t + 1)

    def _scale_rates(self, reaction: Reaction) -> None:
        for block in self.blocks:
            block.settings.lr = block.settings.lr * reaction.scale[block.rows].to(block.settings.lr)

    def _react(self, reaction: Reaction, step: int) -> None:
        """Show the schedule the loss after so many steps; where it cuts the rate, a racer may forget."""
        cut = reaction.after(step, self.smooth / (1 - self.plan.task.smoothing**step), self.alive)
        if not bool(cut.any()):
            return
        first_free = (self.cuts >= 0).sum(1, keepdim=True).clamp(max=self.cuts.shape[1] - 1)
        self.cuts = torch.where(cut.unsqueeze(1), self.cuts.scatter(1, first_free, step), self.cuts)
        for block in self.blocks:
            for racer in set(block.racers):
                contender = self.plan.config.racers[racer]
                mine = torch.tensor([racer == other for other in block.racers], device=self.p.device)
                rows = (mine & cut[block.rows]).nonzero().squeeze(1)
                if contender.resets_with_rate and len(rows):
                    EDITS["reset"].apply(_EditRows(self, block, rows), what=contender.reset.what, count="own")

    def _rest(self, t: int) -> None:
        """A step of a chunk whose rows have all diverged: nothing is computed, and NaN recorded."""
        nothing = self.p.new_full((len(self.p),), math.nan)
        self._note(t, nothing)
        if self.recording.probe_at(t + 1, self.plan.config.steps, self.plan.spikes):
            self.probes.append((t + 1, dict.fromkeys(self.recording.names, nothing)))
        if self.recording.evaluate_at(t + 1, self.plan.config.steps):
            self._evaluate(t + 1)

    def _note(self, t: int, loss: Tensor) -> None:
        """Record the step's loss, and carry its moving average on: `s <- decay s + (1 - decay) loss`."""
        self.losses[t - self.first] = loss
        self.smooth = torch.lerp(loss.double(), self.smooth, self.plan.task.smoothing)
        self.averages[t - self.first] = self.smooth

    def _at(self, which: Callable[[Rule], Callable[[Tensor, SimpleNamespace, Settings], Tensor] | None]) -> Tensor:
        """The stored weights, or those at which a rule wants its gradient taken or its loss reported."""
        elsewhere = [which(block.rule) for block in self.blocks]
        if not any(elsewhere):
            return self.p
        return join(
            [
                point(self.p[block.rows], block.slots, block.settings) if point else self.p[block.rows]
                for point, block in zip(elsewhere, self.blocks, strict=True)
            ]
        )

    def _update(self, block: Block, gradient: Tensor, loss: Tensor, batch: Batch) -> Tensor:
        """The rule's new weights for its rows, `[R_block, P]`; its memories are replaced, never written over."""
        if block.all_ages is not None:
            block.all_ages += 1
        context = _Context(self, block, gradient, loss, batch)
        update, slots, block.trace = block.rule.update(context, block.slots, block.ages, block.settings)
        block.slots = SimpleNamespace(**slots)
        if block.rule.returns == "weights":
            return update
        rate = block.settings.lr if block.rule.returns == "direction" else self.unit
        return torch.addcmul(context.p, update, rate, value=-1)

    def _corrupted(self, batch: Batch) -> Batch:
        """The batch as edits left it: wrong labels, inputs out of scale, in the rows of their racers alone."""
        task = self.plan.task
        if len(self.wrong):
            rows = self.wrong
            theirs = task.mislabelled(batch.rows(rows), [self.seeds[int(row)] for row in rows])
            # A clone lies in memory as the batch did, on which the rounding of products depends; `index_copy` does not.
            pairs = zip(batch.tensors, theirs.tensors, strict=True)
            batch = Batch(batch.step, tuple(all_.clone().index_copy_(0, rows, own) for all_, own in pairs))
            self.wrong = rows[:0]
        if self.input_scale is not None:
            batch = task.unscaled(batch, self.input_scale)
            self.input_scale = None
        return batch

    def _carry(self, block: Block, before: SimpleNamespace, gradient: Tensor, loss: Tensor, batch: Batch) -> None:
        """Take what spikes left in the block's memories through this step, as the rule's own update does.

        Slots that are not linear stand in it as they were; rows that have diverged stay as they are.
        """
        now = self.plan.spikes.get(batch.step, frozenset()).intersection(block.racers)
        if block.fades and not now:
            left = block.faded()
        else:
            spiked = torch.tensor([[racer in now] for racer in block.racers], device=self.p.device)
            context = _Spiked(self, block, gradient, loss, batch, spiked)
            held = SimpleNamespace(**(vars(before) | block.left))
            _, slots, _ = block.rule.update(context, held, block.ages, block.settings)
            left = {name: slots[name] for name in block.left}
        if self.any_stopped:
            running = self.active[block.rows]
            left = {
                name: torch.where(running.view(-1, *[1] * (part.dim() - 1)), part, block.left[name])
                for name, part in left.items()
            }
        if batch.step % FADED == 0:
            least = 1e6 * torch.finfo(self.p.dtype).tiny
            left = {name: hardshrink(part, least) for name, part in left.items()}
        block.left = left

    def _freeze(self, step: int, new: Tensor, loss: Tensor, before: list[SimpleNamespace]) -> tuple[Tensor, Tensor]:
        """Put diverged rows back to their last finite values, for good; their loss is NaN from this step on."""
        finite_loss, finite_new = torch.isfinite(loss), torch.isfinite(new).all(dim=1)
        gave_up = torch.zeros_like(self.alive)
        gave_up[list(self.failures)] = True
        failed = self.alive & (gave_up | ~(finite_loss & finite_new))
        reason = torch.where(finite_loss, torch.where(gave_up, OPTIMIZER_FAILED, WEIGHTS_NOT_FINITE), LOSS_NOT_FINITE)
        self.stopped[failed] = step
        self.reason[failed] = reason[failed]
        self.active = self.active & ~failed.unsqueeze(1)
        self._look_who_runs()
        for block, old in zip(self.blocks, before, strict=True):
            keep = self.active[block.rows]
            block.slots = SimpleNamespace(
                **{
                    name: torch.where(keep.view(-1, *[1] * (slot.dim() - 1)), slot, getattr(old, name))
                    for name, slot in vars(block.slots).items()
                }
            )
        return torch.where(self.active, new, self.p), torch.where(self.alive, loss, math.nan)

    def _probe(self, step: int, gradient: Tensor, new: Tensor) -> None:
        layout, rows = self.plan.task.layout, self.alive
        rate = join([block.settings.lr for block in self.blocks]).squeeze(1)
        look = Look(
            gradient, self.p, new, self.first_guess, self.evaluations, rate, layout,
            self._memory, self._trace, self._carried,
        )  # fmt: skip
        found = {}
        for name in self.recording.names:
            value = PROBES[name](look)
            if value.shape != rows.shape:
                raise ValueError(
                    f"The probe {name!r} gave {tuple(value.shape)} numbers, not one for each of {len(rows)} rows."
                )
            found[name] = torch.where(rows, value, math.nan)
        self.probes.append((step, found))

    def _memory(self, moment: int, norm: Callable[[Tensor], Tensor]) -> Tensor:
        return self._of_blocks(lambda block: block.memory(moment), norm)

    def _trace(self, name: str, norm: Callable[[Tensor], Tensor]) -> Tensor:
        return self._of_blocks(lambda block: block.trace.get(name), norm)

    def _carried(self, moment: int) -> Tensor:
        return join([
            self.p.new_full((len(block.racers),), math.nan) if share is None else share
            for block, share in ((block, block.carried(moment)) for block in self.blocks)
        ])  # fmt: skip

    def _of_blocks(self, read: Callable[[Block], Tensor | None], norm: Callable[[Tensor], Tensor]) -> Tensor:
        """`norm` of each row's part of a table, `[R]`; NaN where a rule has no such table."""
        found = [(block, read(block)) for block in self.blocks]
        return join(
            [
                self.p.new_full((len(block.racers),), math.nan) if table is None else norm(table.flatten(1))
                for block, table in found
            ]
        )

    def _evaluate(self, step: int) -> None:
        """Losses and accuracies on whole parts of the data; on the test part after the last step only."""
        task, alive = self.plan.task, self.alive
        p = self._at(lambda rule: rule.eval_params)
        found = self._losses(p, slice(None), step)
        if "test" in task.parts and step == self.plan.config.steps:
            self.test = {name: torch.where(alive, v, math.nan) for name, v in task.evaluate(p, "test").items()}
        if self.plan.averages:
            found |= self._raw(step, found)
        self.evals.append((step, {name: torch.where(alive, value, math.nan) for name, value in found.items()}))

    def _losses(self, p: Tensor, rows: slice, step: int) -> dict[str, Tensor]:
        """Losses and accuracies of some rows at weights p, by part of the data; of a function, its loss."""
        task = self.plan.task
        if not task.parts:
            return {"train_loss": task.loss(p, task.batch(self.seeds[rows], step, self.plan.config.batch, p))}
        seen = [part for part in task.parts if part != "test"]
        return {f"{part}_{name}": value for part in seen for name, value in task.evaluate(p, part).items()}

    def _raw(self, step: int, names: Iterable[str]) -> dict[str, Tensor]:
        """The same at the stored weights, `raw_…`, for rows whose loss is reported elsewhere; NaN for the others."""
        found = {f"raw_{name}": self.p.new_full((len(self.p),), math.nan) for name in names}
        for block in [block for block in self.blocks if block.rule.eval_params]:
            for name, value in self._losses(self.p[block.rows], block.rows, step).items():
                found[f"raw_{name}"][block.rows] = value
        return found

    def _write(self, step: int) -> None:
        """A text from each racer's network on the race's first seed, at the weights that are reported.

        The same random numbers for all and at every step: two texts differ by what their networks have learned alone.
        They are drawn in double precision, or a rounding would now and then turn one token into its neighbour.
        """
        task, config = self.plan.task, self.plan.config
        if not self.writers or not self.recording.write_at(step, config.steps):
            return
        rows = list(self.writers)
        alive = self.alive[rows].tolist()
        weights = self._at(lambda rule: rule.eval_params)[rows].double()
        texts = task.sample(weights, config.seeds[0], task.sample_length) if any(alive) else [""] * len(rows)
        told = [text if runs else None for text, runs in zip(texts, alive, strict=True)]
        self.texts.append((step, dict(zip(self.writers.values(), told, strict=True))))

    def _edit(self, edit: Edit) -> None:
        """Do it to the racer's rows, those that have diverged left out: they are frozen for good."""
        settings = dict(edit.what.settings)
        for block in self.blocks:
            mine = torch.tensor([racer == edit.racer for racer in block.racers], device=self.p.device)
            rows = (mine & self.alive[block.rows]).nonzero().squeeze(1)
            if len(rows):
                EDITS[edit.what.name].apply(_EditRows(self, block, rows), **settings)
