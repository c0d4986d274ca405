"""How slow the slow path is: an optimizer class in its own process, row by row, against the same rule on the table."""

from __future__ import annotations

from importlib.util import find_spec
from statistics import median

import torch

from benchmarks.engine import NETWORK, seconds, table, task
from benchmarks.measurement import Measurement, Measures
from core import Config, race, racer, run
from core.adapter import adapt, load, register

RATE, BATCH = 0.003, 64


def config(rule: str, rows: int, steps: int) -> Config:
    """One racer with as many seeds as there are rows."""
    return race(task(), [racer(rule, lr=RATE)], steps=steps, batch=BATCH, seeds=rows)


def cost_over_table(rows: int = 8, pairs: int = 9, steps: int = 300) -> Measurement:
    """The time of a race of torch.optim.Adam over that of a race of Adam, in pairs that are taken alternately."""
    register(adapt(torch.optim.Adam))
    ours, theirs = (table(config(rule, rows, steps)) for rule in ("adam", "torch.optim.Adam"))
    ours()  # once, so that data and plans are made, and the other process is there
    theirs()
    ratios = [seconds(theirs) / seconds(ours) for _ in range(pairs)]
    return Measurement(
        median(ratios), "times",
        f"{NETWORK}; {rows} runs, whole races through advance with the default records and guards, {steps} steps: "
        f"torch.optim.Adam through core.adapter, in its own process, over Adam on the table. Median of {pairs} "
        f"alternating pairs, {min(ratios):.1f} to {max(ratios):.1f}.",
    )  # fmt: skip


def outcomes(named: str = "pytorch_optimizer", steps: int = 3) -> dict[str, str]:
    """Why each class of a package does not take a few steps on the digits with its own defaults; "" where it does."""
    found = {}
    for rule in load(named):
        history = run(race("digits", [racer(rule.name)], steps=steps))
        found[rule.name.rpartition(".")[2]] = history.words.get(0, history.why_stopped(0, 0))
    return found


def classes_that_run() -> Measurement:
    """How many classes of pytorch_optimizer take three steps."""
    found = outcomes()
    others = {name: why for name, why in found.items() if why}
    return Measurement(
        len(found) - len(others), "classes",
        f"Of the {len(found)} that pytorch_optimizer lists, on the digits with their own defaults. The others: "
        + "; ".join(f"{name}: {why}" for name, why in sorted(others.items())),
    )  # fmt: skip


MEASURES: Measures = {"adapter.cost_over_table.r8": cost_over_table} | (
    {"adapter.classes_of_pytorch_optimizer": classes_that_run} if find_spec("pytorch_optimizer") else {}
)
