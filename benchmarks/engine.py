"""How fast the table trains: against a loop over torch.optim, and in steps a second.

All in one process and one thread, float32, on a network of 1,253 parameters (20-25-25-3) with batch 64 and Adam.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from statistics import median
from typing import Any

import torch

from benchmarks import twins
from benchmarks.measurement import Measurement, Measures
from core import Config, Recording, advance, race, racer, start
from core.chunk import Chunk
from core.tasks.data import Examples, split
from core.tasks.dense import DenseClassifier

STEPS, BATCH, RATE, HIDDEN = 300, 64, 0.003, (25, 25)
LOOP_RUNS = 8
DEFAULT, TRAINING_ALONE = Recording(), Recording(evaluations=1, probes=1)
NETWORK = "20-25-25-3, batch 64, 300 Adam steps, float32, one process, one thread"


@lru_cache(maxsize=1)
def task() -> DenseClassifier:
    """Made data, as much of it as the project's own made tasks have: 1,000 examples of 20 features in 3 classes."""
    from sklearn.datasets import make_classification

    x, y = make_classification(1000, 20, n_informative=10, n_classes=3, random_state=0)
    parts = split(x, y, validation=0.2, test=0.2)
    return DenseClassifier(Examples(parts, 3), HIDDEN, "made data")


def config(rows: int, steps: int = STEPS) -> Config:
    """One Adam racer with as many seeds as there are rows."""
    return race(task(), [racer("adam", lr=RATE)], steps=steps, batch=BATCH, seeds=rows)


def default_screen(steps: int = 1000) -> Config:
    """What the page shows first: three racers with 8 seeds on the digits."""
    three = [racer("sgd", lr=0.2), racer("momentum", lr=0.03), racer("adam", lr=0.003)]
    return race("digits", three, steps=steps, seeds=8)


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def table(race: Config, recording: Recording = DEFAULT) -> Callable[[], object]:
    """A whole race through `advance`, with the records and guards that are the default."""
    return lambda: advance(race, start(race), race.steps, recording)


def loop(runs: int, steps: int, mode: dict[str, Any]) -> None:
    """The same trainings one after the other, as torch.optim is used; nothing is evaluated or recorded."""
    x, y = twins.data(task(), "train", torch.empty(0))
    twins.train(task(), x, y, runs=runs, steps=steps, size=BATCH, rate=RATE, mode=mode)


MODES: dict[str, dict[str, Any]] = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


@lru_cache(maxsize=1)
def best_mode() -> str:
    """The loop's fastest way, by the smallest of 5 times for 2 runs of 100 steps."""
    loop(1, 10, {})
    taken = {name: min(seconds(partial(loop, 2, 100, mode)) for _ in range(5)) for name, mode in MODES.items()}
    return min(taken, key=lambda name: taken[name])


def speedup(
    rows: int, recording: Recording = DEFAULT, bar: str | None = None, pairs: int = 7, steps: int = STEPS
) -> Measurement:
    """The loop's time over the table's, in pairs that are taken alternately."""
    name = best_mode()
    ours, theirs = table(config(rows, steps), recording), partial(loop, LOOP_RUNS, steps, MODES[name])
    ours()  # once, so that data and plans are made
    ratios = [seconds(theirs) * rows / LOOP_RUNS / seconds(ours) for _ in range(pairs)]
    kept = (
        "its default records and guards" if recording == DEFAULT
        else f"default guards, {recording.evaluations} evaluation and {recording.probes} probe a run"
    )  # fmt: skip
    return Measurement(
        median(ratios), "times",
        f"{NETWORK}; {rows} runs. One after the other with nn.Sequential and torch.optim.Adam ({name}, the fastest of "
        f"{', '.join(MODES)}), nothing evaluated or recorded, {LOOP_RUNS} runs timed and scaled to {rows}; against one "
        f"table through advance with {kept} (600 training and 200 validation examples). Median of {pairs} "
        f"alternating pairs, {min(ratios):.1f} to {max(ratios):.1f}.",
        bar,
    )  # fmt: skip


def rate(rows: int, bar: int, repeats: int = 9, steps: int = STEPS) -> Measurement:
    """Steps a second of the whole table."""
    ours = table(config(rows, steps))
    ours()
    rates = [steps / seconds(ours) for _ in range(repeats)]
    return Measurement(
        median(rates), "steps/s",
        f"{NETWORK}; one table of {rows} runs through advance with its default records and guards. Median of "
        f"{repeats}, {min(rates):.0f} to {max(rates):.0f}.",
        f"at least {bar}",
    )  # fmt: skip


@contextmanager
def timed(owner: type, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds spent in a method while this lasts."""
    original = getattr(owner, name)

    def timing(*arguments: object, **named: object) -> object:
        began = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

    setattr(owner, name, timing)
    try:
        yield
    finally:
        setattr(owner, name, original)


def step_parts(steps: int = 1000, repeats: int = 5) -> Measurement:
    """Where a step's time goes on the default screen."""
    screen = default_screen(steps)
    run = table(screen)
    run()
    parts = {"batch": "batch", "loss_and_grad": "loss_and_grad", "_update": "update", "_evaluate": "evaluate"}
    rounds = []
    for _ in range(repeats):
        spent: dict[str, float] = {}
        with ExitStack() as stack:
            for owner, name in (
                (DenseClassifier, "batch"), (DenseClassifier, "loss_and_grad"),
                (Chunk, "_update"), (Chunk, "_evaluate"),
            ):  # fmt: skip
                stack.enter_context(timed(owner, name, spent))
            whole = seconds(run)
        took = {parts[name]: spent[name] for name in parts}
        rounds.append({**took, "guards_and_records": whole - sum(took.values()), "whole": whole})
    return Measurement(
        {part: median(one[part] for one in rounds) / steps * 1e6 for part in rounds[0]}, "µs a step",
        f"The default screen: SGD, momentum and Adam with 8 seeds each on the digits, batch 32, {steps} steps through "
        f"advance. Evaluation of the full losses is spread over all steps; guards_and_records is the rest, probes and "
        f"collecting included. Medians of {repeats}.",
    )  # fmt: skip


def default_screen_seconds(repeats: int = 7, steps: int = 1000) -> Measurement:
    """How long the default screen trains, without the page."""
    run = table(default_screen(steps))
    run()
    taken = [seconds(run) for _ in range(repeats)]
    return Measurement(
        median(taken), "s",
        f"3 racers with 8 seeds each on the digits, batch 32, {steps} steps, through advance with its default records, "
        f"one process, one thread. Median of {repeats}, {min(taken):.2f} to {max(taken):.2f}.",
    )  # fmt: skip


MIXED = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "amsgrad", "adamw")


def mixed(pairs: int = 9, steps: int = STEPS) -> Measurement:
    """One table of 64 runs of 8 different rules over one of 64 runs of Adam."""
    eight = [racer(rule, lr=RATE) for rule in MIXED]
    ours, single = table(race(task(), eight, steps=steps, batch=BATCH, seeds=8)), table(config(64, steps))
    ours(), single()
    ratios = [seconds(ours) / seconds(single) for _ in range(pairs)]
    return Measurement(
        median(ratios), "times",
        f"{NETWORK}, through advance with its default records; 8 runs each of {', '.join(MIXED)}, against 64 of Adam. "
        f"Median of {pairs} alternating pairs, {min(ratios):.2f} to {max(ratios):.2f}.",
        "at most 1.5",
    )  # fmt: skip


MEASURES: Measures = {
    "engine.speedup_over_torch_optim_loop.r64": partial(speedup, 64, bar="at least 10"),
    "engine.speedup_over_torch_optim_loop.r256": partial(speedup, 256, bar="at least 10"),
    "engine.speedup_training_alone.r64": partial(speedup, 64, TRAINING_ALONE),
    "engine.speedup_training_alone.r256": partial(speedup, 256, TRAINING_ALONE),
    "engine.steps_per_s.r4": partial(rate, 4, 4000),
    "engine.steps_per_s.r40": partial(rate, 40, 1300),
    "engine.mixed_over_single": mixed,
    "engine.step_parts.r24": step_parts,
    "engine.default_screen_s": default_screen_seconds,
}
