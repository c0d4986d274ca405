"""The table trainer: config and state in, state and records out.

`advance(config, state, steps)` is the only loop. Every run of a race is a row; one forward and one backward pass
serve all rows of a chunk, then each rule updates the rows that are its own. Results do not depend on how a run is cut
into slices: all that happens at a step is a function of the config, the state and the step's number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from core.chunk import Block, Chunk, Samples, join
from core.config import Config
from core.lens import joined
from core.optimizers import RULES
from core.plan import Plan, fresh, plan_of, settings_of
from core.reactions import reacting
from core.schedules import SCHEDULES
from core.state import CUTS, RECORDING, Array, Recording, Records, State

# MKL rounds a product by where its operands lie in memory, and so a run by its place in the table, unless it is told
# not to; it reads this at the first product of a process. Measured cost: 0 to 5% of a step.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

BLOWN_UP = 1.5  # a smoothed loss this many times above both its start and pure guessing is called blown up

# Freed memory is kept from here on: glibc else gives a table back to the system after each use and every page of it
# is faulted in anew, which doubled the time of 64 rows. Freeing one large block, never touched, raises its limits.
torch.empty(31 << 20, dtype=torch.uint8)


def start(config: Config, dtype: torch.dtype = torch.float32, device: str = "cpu") -> State:
    """The state before the first step. Every racer has the same initial weights for the same seed.

    Raises:
        ValueError: a dtype other than float32 and float64: beta2 = 0.999 is 1 in a shorter one, and ages stop at 256.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype}, but must be torch.float32 or torch.float64.")
    plan = plan_of(config)
    like = torch.empty(0, dtype=dtype, device=device)
    guesses = plan.task.initial(config.seeds, like)
    params = guesses[plan.seed_of_row.to(device)]
    slots: dict[str, dict[str, Tensor]] = {}
    ages: dict[str, dict[str, Tensor]] = {}
    for rule, rows in plan.rule_rows.items():
        declared = RULES[rule].slots_for(plan.task.layout)
        settings = settings_of(config, plan.racers(rows), RULES[rule], like)
        slots[rule] = {slot.name: fresh(slot, params[rows], settings, plan.task.layout) for slot in declared}
        ages[rule] = {slot.name: params.new_zeros(rows.stop - rows.start, 1) for slot in declared}
    count = torch.zeros(config.rows, dtype=torch.int64, device=device)
    level = torch.zeros(config.rows, dtype=torch.float64, device=device)
    reactions = {name: {kept: level + value for kept, value in SCHEDULES[name].memory} for name in reacting(config)}
    sealed = {rule: (b"",) * (rows.stop - rows.start) for rule, rows in plan.rule_rows.items() if RULES[rule].guest}
    return State(
        0, params, params, slots, ages, count, count - 1, count, level, level, count - 1,
        reactions, count.new_full((config.rows, CUTS), -1), {}, {}, sealed,
    )  # fmt: skip


def advance(config: Config, state: State, steps: int, recording: Recording = RECORDING) -> tuple[State, Records]:
    """Train every run of the race for up to `steps` more steps.

    The state that is given is not changed. Beyond the end of the race nothing happens. A row whose loss or weights
    stop being finite is frozen at its last finite values and marked; its neighbours are bit-identical to a race
    without it (of a batch of 1, only where neither race leaves a row alone in its chunk).

    Raises:
        ValueError: `steps` is negative, or the recording's lens watches what there is not.
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}, but must be at least 0.")
    plan = plan_of(config)
    if recording.lens:
        recording.lens.check(config, plan.task.layout)
    count = min(steps, config.steps - state.step)
    with torch.no_grad():
        chunks = [Chunk(plan, state, rows, recording) for rows in plan.chunks]
        for chunk in chunks:
            chunk.run(count)
    return _collect(plan, state, chunks, count)


def _collect(plan: Plan, state: State, chunks: list[Chunk], count: int) -> tuple[State, Records]:
    """The chunks' ends as one state, and what they recorded in the config's row order."""
    step = state.step + count

    def by_rule(read: Callable[[Block], dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        joined: dict[str, dict[str, Tensor]] = {}
        for rule in plan.rule_rows:
            own = [read(block) for chunk in chunks for block in chunk.blocks if block.rule.name == rule]
            joined[rule] = {name: join([part[name] for part in own]) for name in own[0]}
        return joined

    def rows(values: Sequence[Tensor]) -> Array:
        """Tensors `[..., R_chunk]` of all chunks -> array `[..., R]` in the config's order."""
        return torch.cat(list(values), dim=-1).double().cpu().numpy()[..., plan.table_row]

    def series(read: Callable[[Chunk], Samples]) -> tuple[tuple[int, ...], dict[str, Array]]:
        taken = [read(chunk) for chunk in chunks]
        if not taken[0]:
            return (), {}
        names = taken[0][0][1]
        tables = {
            name: rows([torch.stack([values[name].double() for _, values in own]) for own in taken]) for name in names
        }
        return tuple(at for at, _ in taken[0]), tables

    losses, averages = rows([chunk.losses for chunk in chunks]), rows([chunk.averages for chunk in chunks])
    at = np.arange(state.step + 1, step + 1)
    smooth = averages / (1 - plan.task.smoothing**at)[:, None]
    first_loss = losses[0] if state.step == 0 and count else state.first_loss.cpu().numpy()[plan.table_row]
    level = first_loss if plan.task.guess is None else np.maximum(first_loss, plan.task.guess)
    bound = level + (BLOWN_UP - 1) * np.abs(level)  # above the level for a negative one too
    above, blown = smooth > bound, state.blown.cpu().numpy()[plan.table_row]
    blown = np.where((blown < 0) & above.any(axis=0), at[above.argmax(axis=0)] if count else -1, blown)
    stopped, reason = join([chunk.stopped for chunk in chunks]), join([chunk.reason for chunk in chunks])
    probes_at, probes = series(lambda chunk: chunk.probes)
    evals_at, evals = series(lambda chunk: chunk.evals)
    texts: dict[int, dict[int, str | None]] = {}
    for chunk in chunks:
        for at_step, written in chunk.texts:
            texts.setdefault(at_step, {}).update(written)
    table = plan.config_row  # back from the config's order to the table's
    after = State(
        step=step,
        params=join([chunk.p for chunk in chunks]),
        first_guess=join([chunk.first_guess for chunk in chunks]),
        slots=by_rule(lambda block: vars(block.slots)),
        ages=by_rule(lambda block: vars(block.ages)),
        evaluations=join([chunk.evaluations for chunk in chunks]),
        stopped=stopped,
        reason=reason,
        first_loss=torch.as_tensor(first_loss[table]).to(state.smooth),
        smooth=join([chunk.smooth for chunk in chunks]),
        blown=torch.as_tensor(blown[table]).to(state.blown),
        reacting={
            name: {kept: join([chunk.reactions[i].memory[kept] for chunk in chunks]) for kept in memory}
            for i, (name, memory) in enumerate(state.reacting.items())
        },
        cuts=join([chunk.cuts for chunk in chunks]),
        words=state.words
        | {chunk.rows.start + row: words for chunk in chunks for row, words in chunk.failures.items()},
        carried={
            rule: left
            for rule, left in by_rule(lambda block: block.left if block.spiked_from < step else {}).items()
            if left
        },
        sealed={
            rule: tuple(
                seal
                for chunk in chunks
                for block in chunk.blocks
                if block.rule.name == rule and block.guest
                for seal in block.guest.seal()
            )
            for rule in state.sealed
        },
    )
    watchers = [chunk.watcher for chunk in chunks if chunk.watcher]
    records = Records(
        first=state.step,
        loss=losses,
        smooth=smooth,
        probes_at=probes_at,
        probes=probes,
        evals_at=evals_at,
        evals=evals,
        test={name: rows([chunk.test[name] for chunk in chunks]) for name in chunks[0].test},
        stopped=stopped.cpu().numpy()[plan.table_row],
        reason=reason.cpu().numpy()[plan.table_row],
        blown=blown,
        bound=bound,
        cuts=rows([chunk.cuts.T for chunk in chunks]).astype(np.int64),
        words={int(plan.config_row[row]): words for row, words in after.words.items()},
        texts_at=tuple(texts),
        texts=tuple(tuple(written[racer] for racer in range(len(plan.config.racers))) for written in texts.values()),
        lens_at=watchers[0].at if watchers else (),
        lens=joined(watchers) if watchers else {},
    )
    return after, records
