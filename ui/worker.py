"""What a worker process does: train a race for a moment and hand back what the browser draws.

A worker keeps nothing between two calls. The state lies in files (ui/kept.py), so any worker can go on with any race,
and one that dies loses a slice and no more.
"""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from core.adapter import register, warm_guests
from core.config import Config, race, racer
from core.fork import graft
from core.optimizers import Rule
from core.plugins import Plugin, bring
from core.state import Recording
from core.tasks import brought
from core.train import advance, start
from ui import limits
from ui.charts import Piece, loss_steps, piece
from ui.extra import USUAL, Extra
from ui.kept import put, take
from ui.microscope import Row, Step, note, place, step_of, table

STEPS_ALONE = Recording(evaluations=1, probes=1, texts=1, names=())  # what a step costs, without looking at it
LOOK_STEPS = 50  # on the way to a step that is looked at, between two looks at the clock
FIRST_STEPS = 4  # before a worker knows how fast this race goes


@dataclass(frozen=True)
class Slice:
    """What one call gives back: the step the race is at, the bytes of its state, and the pieces since the last call."""

    step: int
    size: int
    pieces: list[Piece]
    seconds: float  # that the steps took
    staged: dict[int, int] = field(default_factory=dict)  # step -> bytes, of the states put aside


def begin(server: int, folder: str, home: str, adapted: Sequence[Rule] = (), plugins: Sequence[Plugin] = ()) -> None:
    """Called first in each new worker: one thread, and an end when the server's process has gone.

    Two threads on a busy machine wait for each other at every small operation. `folder` holds the races' states
    and `home` what visitors brought; both go with the server. `adapted` are the optimizer classes that whoever started
    the server named, `plugins` the files of problems.
    """
    torch.set_num_threads(1)
    brought.use(home)
    for rule in adapted:
        register(rule)
    bring(plugins)
    threading.Thread(target=_end_with, args=(server, (folder, home)), daemon=True).start()


def _end_with(server: int, folders: Sequence[str]) -> None:
    while os.getppid() == server:
        with suppress(OSError):  # whatever becomes of the folder, a worker does not outlive its server
            brought.tidy()
        time.sleep(1)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def warm_up() -> None:
    """Import and run through once whatever the first visitor's race will need."""
    config = race("digits", [racer("sgd"), racer("momentum"), racer("adam")], steps=40, seeds=8)
    train(config, None, Path(os.devnull), 60.0)
    warm_guests()


def train(
    config: Config, state: Path | None, after: Path, seconds: float, *,
    trunk: Config | None = None, stages: Mapping[int, Path] | None = None, extra: Extra = USUAL,
) -> Slice:  # fmt: skip
    """Go on with a race for about so many seconds, and for at least one sample of its loss curve.

    `state` is the file to go on from, None at the beginning; `after` is where the state is put then, unless the race is
    complete. Where the state is one of a `trunk`, this race begins as a fork of it. `stages` are files for the states
    after these steps of the loss curve, for forks to begin at; `extra` is what is recorded beyond the usual.
    """
    now = take(state) if state else start(config)
    if trunk is not None:
        now = graft(trunk, now, config)
    stops, stages, staged = loss_steps(config, extra), stages or {}, {}
    pieces, began, rate, taken = [], time.perf_counter(), 0.0, 0
    while now.step < config.steps:
        left = seconds - (time.perf_counter() - began)
        if taken and left <= 0:
            break
        wanted = now.step + (max(1, int(0.8 * left * rate)) if taken else FIRST_STEPS)
        stop = stops[min(bisect_left(stops, wanted), len(stops) - 1)]
        stop = min([step for step in stages if now.step < step <= stop], default=stop)
        before = now.step
        now, records = advance(config, now, stop - before, extra.recording)
        pieces.append(piece(config, records, extra))
        if stop in stages:
            staged[stop] = put(now, stages[stop])
        taken += now.step - before
        rate = taken / (time.perf_counter() - began)
    spent = time.perf_counter() - began
    return Slice(now.step, put(now, after) if now.step < config.steps else 0, pieces, spent, staged)


@dataclass(frozen=True)
class Look:
    """One step under the microscope: what `ui.microscope` has to show of one weight, whose name is `place`."""

    place: str
    rows: list[Row]
    note: str  # what the rows do not show; "" where they show all


def look(config: Config, state: Path | None, racer: int, step: int, coordinate: int) -> Look:
    """A step of a run, trained up to it from this state of the race, None for its start.

    Raises:
        ValueError: there is no such weight, the run had diverged, or it takes too long; one readable sentence.
    """
    seen = _step(config, state, racer, step)
    rows = table(seen, coordinate)
    return Look(place(seen.layout, coordinate), rows, note(seen.rule))


def largest(config: Config, state: Path | None, racer: int, step: int, layer: str) -> int:
    """The column of a layer's largest gradient in a step, trained up to it as for `look`.

    Raises:
        ValueError: the run had diverged, or it takes too long.
    """
    seen = _step(config, state, racer, step)
    columns = seen.layout.columns(layer)
    found: int = columns.start + int(seen.gradient[0, columns].abs().argmax())
    return found


def _step(config: Config, state: Path | None, racer: int, step: int) -> Step:
    before, began = take(state) if state else start(config), time.perf_counter()
    while before.step < step - 1:
        if time.perf_counter() - began > limits.LOOK_MOST:
            raise ValueError(
                f"It takes more than {limits.LOOK_MOST:g} seconds to come to step {step:,}; look at an earlier one."
            )
        before, _ = advance(config, before, min(LOOK_STEPS, step - 1 - before.step), STEPS_ALONE)
    return step_of(config, before, racer)


def seconds_per_step(config: Config, rounds: int = 8, steps: int = 25, most: float = 1.0) -> list[float]:
    """What a step of each racer costs alone, with one seed, measured here and now.

    The racers take turns, and the quickest of the rounds counts: other work on the machine only ever adds. No further
    round is begun after `most` seconds.
    """
    length = max(config.steps, (rounds + 1) * steps)
    alone = [Config(config.task, (racer,), length, config.batch, config.seeds[:1]) for racer in config.racers]
    states = [start(each) for each in alone]
    best, since = [math.inf] * len(alone), time.perf_counter()
    for turn in range(rounds + 1):
        if turn > 1 and time.perf_counter() - since > most:
            break
        for index, each in enumerate(alone):
            began = time.perf_counter()
            states[index], _ = advance(each, states[index], steps, STEPS_ALONE)
            if turn:  # the first round warms up
                best[index] = min(best[index], (time.perf_counter() - began) / steps)
    return best


def seconds_of_step(config: Config, most: float = 0.2) -> float:
    """What a step of this race takes, all runs together: the least of as many as fit into `most` seconds."""
    state, _ = advance(config, start(config), 2, STEPS_ALONE)
    best, since = math.inf, time.perf_counter()
    while best == math.inf or (state.step < config.steps and time.perf_counter() - since < most):
        began = time.perf_counter()
        state, _ = advance(config, state, 1, STEPS_ALONE)
        best = min(best, time.perf_counter() - began)
    return best
