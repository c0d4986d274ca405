"""What each rule's whole step costs, beside Adam's: 64 runs of the benchmark network, one process and one thread."""

from __future__ import annotations

from functools import partial
from statistics import median

from benchmarks.engine import BATCH, RATE, seconds, table, task
from benchmarks.measurement import Measurement, Measures
from core import RULES, Config, race, racer
from core.optimizers import WRAPPERS

ROWS, STEPS, PAIRS = 64, 150, 9
ELEMENTWISE_BAR = "at most 1.6"
# Rules that look at norms or matrices of whole tensors: what they cost is reported, and has no bar.
WHOLE_TENSORS = {
    "adafactor", "stableadamw", "lars", "lamb", "muon", "shampoo", "soap", "prodigy", "dadapt_adam", "lbfgs",
    "adam+cautious",
}  # fmt: skip


def config(rule: str, batch: int) -> Config:
    """So many seeds of one racer as there are rows, at a rate at which nothing happens to its finiteness."""
    return race(
        task(), [racer(rule, lr=min(RATE, RULES[rule].hyper("lr").default))], steps=STEPS, batch=batch, seeds=ROWS
    )


def cost(rule: str) -> Measurement:
    """The rule's time over Adam's, in pairs that are taken alternately."""
    batch = task().examples or BATCH if RULES[rule].full_batch else BATCH
    adam, ours = (table(config(name, batch)) for name in ("adam", rule))
    adam(), ours()
    ratios = [seconds(ours) / seconds(adam) for _ in range(PAIRS)]
    return Measurement(
        median(ratios), "times",
        f"20-25-25-3, batch {batch}, {ROWS} runs, {STEPS} steps through advance with its default records. Median of "
        f"{PAIRS} alternating pairs, {min(ratios):.2f} to {max(ratios):.2f}.",
        None if whole_tensors(rule) else ELEMENTWISE_BAR,
    )  # fmt: skip


def whole_tensors(rule: str) -> bool:
    """Whether a step does more than arithmetic on single numbers: other gradients, norms, matrices, evaluations."""
    spec = RULES[rule]
    return spec.taken()[0] > 1 or spec.eval_params is not None or rule in WHOLE_TENSORS


def _wrapped() -> list[str]:
    return [f"adam+{name}" for name in WRAPPERS]


MEASURES: Measures = {
    f"rule.{rule}.cost_over_adam": partial(cost, rule) for rule in [*RULES, *_wrapped()] if rule != "adam"
}
