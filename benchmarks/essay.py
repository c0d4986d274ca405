"""What becomes of the essay's two races, over five seeds: the presets of the page, run to their end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import Measurement, Measures
from core.history import run
from core.state import Recording
from ui.names import labels
from ui.presets import PRESETS

SEEDS = 5
WINDOW = 50  # steps whose mean loss counts
HALF = 0.5
RACES = {"classmates": "The classmates", "generator": "The script generator of the essay"}


def windowed(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of `WINDOW` steps, `[T, …] -> [T - WINDOW + 1, …]`; infinite where a run has diverged."""
    loss = np.where(np.isnan(loss), np.inf, loss)
    return np.lib.stride_tricks.sliding_window_view(loss, WINDOW, axis=0).mean(axis=-1)


def outcome(preset: str) -> Measurement:
    """Each racer's final loss, and the steps it took to half a nat."""
    config = replace(PRESETS[preset].make().config, seeds=tuple(range(SEEDS)))
    means = windowed(run(config, recording=Recording(evaluations=1, probes=1)).loss)  # [·, racers, seeds]
    found: dict[str, float] = {}
    for index, name in enumerate(labels(config)):
        final = means[-1, index]
        found |= {f"{name}: loss": median(final), f"{name}: lowest": min(final), f"{name}: highest": max(final)}
        below = means[:, index] < HALF
        reached = [int(np.argmax(column)) + WINDOW for column in below.T if column.any()]
        found[f"{name}: seeds below {HALF:g}"] = len(reached)
        if len(reached) == SEEDS:
            found[f"{name}: steps to {HALF:g}"] = median(reached)
    return Measurement(
        found, "nats a word",
        f"The preset {preset!r}, {config.steps:,} steps of batch {config.batch}, seeds 0 to {SEEDS - 1}: mean training "
        f"loss of the last {WINDOW} steps, its median over the seeds, and the lowest and the highest, between which "
        f"the median of all seeds lies with 94% confidence; and the median number of steps until the mean of "
        f"{WINDOW} is below {HALF:g}, where all seeds came there.",
    )  # fmt: skip


MEASURES: Measures = {f"essay.{name}": partial(outcome, preset) for name, preset in RACES.items()}
