"""How fast each task trains: steps a second, against a loop of `nn.Module` and `torch.optim`, and until it is learned.

All in one process and one thread, float32, Adam, each task at its default settings, its usual batch and as part of a
race of its usual length, with that race's records and guards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from statistics import median

import numpy as np
import torch

from benchmarks import twins
from benchmarks.engine import MODES, seconds
from benchmarks.measurement import Measurement, Measures
from core import TASKS, Config, Racer, advance, race, racer, start
from core.config import Choice
from core.tasks.functions import WrongWay, quadratic, rosenbrock
from core.tuned import tuned

RATE = 0.003
NETWORKS = [name for name, kind in TASKS.items() if kind.make not in (quadratic, rosenbrock, WrongWay)]
LOOP_RUNS, LOOP_STEPS = 2, 200
LONG_ENOUGH = 0.5  # seconds that a table is timed for, at least
SPEEDUP_BARS = {"words": 2, "letters": 2, "manual": 2, "lstm": 1.2, "gru": 1.2, "cnn": 1.2}
SPEEDUP_BAR = 8  # of all others, small dense and linear ones
HALF, WINDOW, SLICE = 0.5, 50, 25  # the loss to be reached, by the mean of so many steps, asked for every so many


def config(name: str, racers: Sequence[Racer], seeds: Sequence[int], steps: int = 0) -> Config:
    """A race as it is on this task unasked, or of another length."""
    kind = TASKS[name]
    return race(name, racers, steps=steps or kind.steps, batch=kind.batch, seeds=seeds)


def table(name: str, rows: int, most: int = 10_000) -> tuple[Callable[[], object], int]:
    """So many seeds of one Adam racer, through the first steps of their race; and how many those are."""
    whole = config(name, [racer("adam", lr=RATE)], range(rows))

    def first(steps: int) -> Callable[[], object]:
        return lambda: advance(whole, start(whole), steps)

    few = min(20, most)
    first(few)()  # once, so that data and plans are made
    enough = max(few, round(LONG_ENOUGH * few / seconds(first(few))))
    steps = min(enough, most, whole.steps)
    return first(steps), steps


def where(name: str) -> str:
    """The task in words, as a result begins."""
    kind = TASKS[name]
    return f"{config(name, [racer('adam')], [0]).build_task().network}, batch {kind.batch}, float32, one thread"


def rate(name: str, rows: int, bar: int, repeats: int = 7, most: int = 10_000) -> Measurement:
    """Steps a second of the whole table."""
    run, steps = table(name, rows, most)
    rates = [steps / seconds(run) for _ in range(repeats)]
    return Measurement(
        median(rates), "steps/s",
        f"{where(name)}; one table of {rows} runs of Adam through the first {steps} of {TASKS[name].steps} steps with "
        f"the default records and guards. Median of {repeats}, {min(rates):.0f} to {max(rates):.0f}.",
        f"at least {bar}",
    )  # fmt: skip


@lru_cache(maxsize=64)
def loops(name: str, steps: int = LOOP_STEPS) -> tuple[str, Callable[[], object]]:
    """The loop's fastest way, by the smallest of 3 times for one run, and `LOOP_RUNS` runs of it."""
    task = config(name, [racer("adam")], [0]).build_task()
    x, y = twins.data(task, "train", torch.empty(0))
    one = partial(twins.train, task, x, y, steps=steps, size=TASKS[name].batch, rate=RATE)
    taken = {way: min(seconds(partial(one, runs=1, mode=mode)) for _ in range(3)) for way, mode in MODES.items()}
    best = min(taken, key=lambda way: taken[way])
    return best, partial(one, runs=LOOP_RUNS, mode=MODES[best])


def speedup(name: str, rows: int = 32, pairs: int = 7, most: int = 10_000, loop_steps: int = LOOP_STEPS) -> Measurement:
    """The loop's time for a step of all runs over the table's, in pairs that are taken alternately."""
    ours, steps = table(name, rows, most)
    way, theirs = loops(name, loop_steps)
    ratios = [seconds(theirs) / (LOOP_RUNS * loop_steps) * rows * steps / seconds(ours) for _ in range(pairs)]
    return Measurement(
        median(ratios), "times",
        f"{where(name)}; {rows} runs. One after the other with nn.Module and torch.optim.Adam ({way}, the fastest of "
        f"{', '.join(MODES)}), nothing evaluated or recorded, {LOOP_RUNS} runs of {loop_steps} steps timed and scaled; "
        f"against one table through the first {steps} of {TASKS[name].steps} steps with the default records and "
        f"guards. Median of {pairs} alternating pairs, {min(ratios):.2f} to {max(ratios):.2f}.",
        f"at least {SPEEDUP_BARS.get(name, SPEEDUP_BAR)}",
    )  # fmt: skip


def thousand(name: str, repeats: int = 3, steps: int = 1000) -> Measurement:
    """How long 1,000 steps of one racer with 8 seeds take."""
    whole = config(name, [racer("adam", lr=RATE)], range(8), steps)
    advance(whole, start(whole), 1)
    taken = [seconds(lambda: advance(whole, start(whole), steps)) for _ in range(repeats)]
    return Measurement(
        median(taken), "s",
        f"{where(name)}; one racer, Adam, with 8 seeds, {steps} steps with the default records and guards. Median of "
        f"{repeats}, {min(taken):.2f} to {max(taken):.2f}.",
    )  # fmt: skip


def essay(name: str, hot: float) -> list[Racer]:
    """Tuned Adam and Adam at a rate that is too high, SGD and momentum tuned."""
    kind = TASKS[name]
    choice = config(name, [racer("adam")], [0]).task
    assert isinstance(choice, Choice)
    rates = {rule: tuned(choice, kind.steps, kind.batch, rule) for rule in ("adam", "sgd", "momentum")}
    if None in rates.values():
        raise ValueError(f"{name} is not tuned at {kind.steps} steps: python -m benchmarks.tune --missing.")
    return [racer("adam", lr=hot), *(racer(rule, lr=found) for rule, found in rates.items())]


def to_half(name: str, hot: float, bar: int, seeds: int = 5, below: float = HALF) -> Measurement:
    """Seconds and steps until the second of the four, tuned Adam, has learned the text."""
    racers = essay(name, hot)
    taken, needed = [], []
    for seed in range(seeds):
        whole = config(name, racers, [seed])
        advance(whole, start(whole), 1)  # once, so that data and plans are made

        def learn(whole: Config = whole) -> None:
            state, losses = start(whole), np.empty(0)
            while not (len(losses) >= WINDOW and losses[-WINDOW:].mean() < below):
                if state.step == whole.steps:
                    raise ValueError(f"{name} does not come below {below} in {whole.steps} steps.")
                state, records = advance(whole, state, SLICE)
                losses = np.append(losses, records.loss[:, 1])
            needed.append(state.step)

        taken.append(seconds(learn))
    four = ", ".join(f"{one.rule} at {one.get('lr'):g}" for one in racers)
    return Measurement(
        median(taken), "s",
        f"{where(name)}; four racers with one seed each: {four}. In slices of {SLICE} steps as fast as they go, until "
        f"the mean of the last {WINDOW} minibatch losses of the second is below {below}: step {min(needed)} to "
        f"{max(needed)}. Median of the seeds 0 to {seeds - 1}, {min(taken):.2f} to {max(taken):.2f}.",
        f"at most {bar}",
    )  # fmt: skip


MEASURES: Measures = {
    "task.words.steps_per_s.r4": partial(rate, "words", 4, 900),
    "task.words.steps_per_s.r32": partial(rate, "words", 32, 100),
    "task.lstm.steps_per_s.r4": partial(rate, "lstm", 4, 190),
    "task.lstm.steps_per_s.r32": partial(rate, "lstm", 32, 23),
    "task.letters.steps_per_s.r4": partial(rate, "letters", 4, 1500),
    "task.cnn.steps_per_s.r4": partial(rate, "cnn", 4, 300),
    "task.words.seconds_to_half": partial(to_half, "words", 0.1, 2),
    "task.lstm.seconds_to_half": partial(to_half, "lstm", 0.3, 6),
    **{f"task.{name}.speedup_over_loop.r32": partial(speedup, name) for name in NETWORKS},
    **{f"task.{name}.seconds_per_1000": partial(thousand, name) for name in NETWORKS},
}
