"""What it costs to record all that the Moments page can show. One process, one thread, float32."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import median

from benchmarks.engine import seconds, table
from benchmarks.measurement import Measurement, Measures
from core import Config, Recording, edit, race, racer
from core.lens import Lens

ROWS, STEPS, AT, FACTOR = 8, 2000, 100, 100.0
NOTHING = Recording(evaluations=1, probes=1, texts=1, names=())
EVERYTHING = Recording(lens=Lens(tuple(range(ROWS)), tuple(range(100, 900, 100)), "W1"))
LENS_ALONE = replace(NOTHING, lens=EVERYTHING.lens)
RACE = f"{ROWS} racers with Adam on the digits, one seed, {STEPS:,} steps, batch 32"
SPIKED = f"all with a gradient {FACTOR:g} times too large at step {AT}"
SEEN = "8 coordinates at every step; norms, rates and the heat maps of the first layer at sampled ones"


def config(spiked: bool) -> Config:
    """Eight rows, with or without a bad gradient in each."""
    plain = race("digits", [racer("adam")] * ROWS, steps=STEPS, seeds=1)
    bad = tuple(edit(AT - 1, index, "scale_gradient", factor=FACTOR) for index in range(ROWS))
    return replace(plain, edits=bad) if spiked else plain


def overhead(spiked: bool, recording: Recording, how: str, bar: str | None, pairs: int = 7) -> Measurement:
    """The time with a recording over the time of the race without a spike and with nothing recorded."""
    recorded, bare = table(config(spiked), recording), table(config(False), NOTHING)
    recorded()
    bare()  # once each, so that data and plans are made
    ratios = [seconds(recorded) / seconds(bare) for _ in range(pairs)]
    return Measurement(
        median(ratios), "times",
        f"{RACE}. {how} Against the race without a spike and nothing recorded but its end. Median of {pairs} "
        f"alternating pairs, {min(ratios):.2f} to {max(ratios):.2f}.",
        bar,
    )  # fmt: skip


MEASURES: Measures = {
    "moments.step_overhead": partial(
        overhead, True, EVERYTHING,
        f"Everything recorded, {SPIKED}: the usual losses and probes, what the spike left in m and v carried along, "
        f"and the lens ({SEEN}).",
        "at most 1.5",
    ),
    "moments.lens_overhead": partial(
        overhead, False, LENS_ALONE, f"The lens alone ({SEEN}), no spike and nothing else recorded.", None
    ),
    "moments.carry_overhead": partial(
        overhead, True, NOTHING, f"What the spike left in m and v carried along, {SPIKED}, and nothing recorded.", None
    ),
}  # fmt: skip
