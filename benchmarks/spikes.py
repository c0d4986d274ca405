"""What one bad gradient costs each rule: the same poke, every rule at its tuned rate beside its own twin without it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.measurement import Measurement, Measures
from core import edit, race, racer
from core.carry import delay
from core.history import run
from core.optimizers import RULES
from core.state import Recording
from ui.settings import newcomer

AT, STEPS, SEEDS = 100, 1000, 5
FACTORS = 10, 100, 1000
POKED = "sgd", "momentum", "rmsprop", "adam", "amsgrad", "lion", "signum", "adafactor", "adagrad"


def cost(rule: str, steps: int = STEPS, seeds: int = SEEDS) -> Measurement:
    """Steps behind its twin at the end, by the size of the gradient; and how small its steps became for a time."""
    chosen = newcomer(race("digits", [racer(rule)], steps=steps), rule)
    found: dict[str, float] = {}
    for factor in FACTORS:
        plain = race("digits", [chosen, chosen], steps=steps, seeds=seeds)
        bad = edit(min(AT, steps) - 1, 0, "scale_gradient", factor=float(factor))
        spiked = replace(plain, edits=(bad,))
        history = run(spiked, recording=Recording(evaluations=1, names=("step",)))
        lost = [delay(*history.smooth[:, :, seed].T).steps for seed in range(seeds)]
        taken = history.probes["step"]
        ratio = np.median(taken[:, 0] / taken[:, 1], axis=-1)
        found |= {
            f"{factor}x: steps behind": float(np.median(lost)),
            f"{factor}x: least": float(min(lost)),
            f"{factor}x: most": float(max(lost)),
            f"{factor}x: smallest step": float(np.nanmin(ratio)),
        }
    return Measurement(
        found, "steps; times",
        f"{RULES[rule].label} at the rate of {chosen.get('lr'):g} on the digits, {steps:,} steps of batch 32, seeds 0 "
        f"to {seeds - 1}: the gradient of step {AT} so many times too large, against the same run without it. Steps "
        "behind in the smoothed training loss at the end (below 0: ahead), the median over the seeds, the least and "
        "the most; and the smallest step in proportion to the twin's, the median of the seeds, in about a hundred of "
        "the steps.",
    )  # fmt: skip


MEASURES: Measures = {f"spike.{rule}": partial(cost, rule) for rule in POKED}
