"""What a training hands from slice to slice, and what it reports: plain tensors and arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.lens import Lens, dense
from core.probes import PROBES

RUNNING, LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE, OPTIMIZER_FAILED = 0, 1, 2, 3
REASONS = {
    RUNNING: "",
    LOSS_NOT_FINITE: "its loss is not finite",
    WEIGHTS_NOT_FINITE: "its weights are not finite",
    OPTIMIZER_FAILED: "its optimizer failed",
}
CUTS = 12  # of a schedule that reacts, as many are remembered

Array = NDArray[np.float64]
Texts = tuple[str | None, ...]  # one a racer; None once it has diverged


@dataclass(frozen=True)
class Recording:
    """How often what is dear to measure is measured: about so many times a run, and at its first and last step.

    `names` are the probes that are wanted, `texts` are of networks that write, `lens` looks into the steps of a few
    runs. What is recorded is asked for by who looks; it changes no training.
    """

    evaluations: int = 60
    probes: int = 100
    texts: int = 24
    names: tuple[str, ...] = tuple(PROBES)
    lens: Lens | None = None

    def evaluate_at(self, step: int, steps: int) -> bool:
        """Whether the full losses are measured after so many steps (0: before the first)."""
        return step % max(1, round(steps / self.evaluations)) == 0 or step == steps

    def probe_at(self, step: int, steps: int, spikes: Iterable[int] = ()) -> bool:
        """Whether the norms are measured in this step (1, 2, …): also densely from those of `spikes` (0, 1, …) on."""
        evenly = (step - 1) % max(1, math.ceil(steps / self.probes)) == 0 or step == steps
        return evenly or step in dense(tuple(spikes), steps)

    def write_at(self, step: int, steps: int) -> bool:
        """Whether a text is written after so many steps (0: before the first).

        At the i-th of n times, `steps (i / n)^3`: dense early, when a network learns to write, and rarer and rarer
        from there.
        """
        turn = round(self.texts * math.cbrt(step / steps))
        return step == round(steps * (turn / self.texts) ** 3)


RECORDING = Recording()  # the usual one


@dataclass(frozen=True)
class State:
    """Where a race stands after `step` steps: plain tensors, one row a run, in the table's own row order.

    `slots[rule][name]` and `ages[rule][name]` hold the rows of that rule alone.
    """

    step: int
    params: Tensor  # [R, P]
    first_guess: Tensor  # [R, P]
    slots: dict[str, dict[str, Tensor]]  # [R_rule, ...]
    ages: dict[str, dict[str, Tensor]]  # [R_rule, 1], steps since the slot was last reset
    evaluations: Tensor  # [R], gradients taken so far
    stopped: Tensor  # [R], the step at which the row diverged, or -1
    reason: Tensor  # [R], a key of REASONS
    first_loss: Tensor  # [R]
    smooth: Tensor  # [R], moving average of the loss after this step, not yet divided by `1 - smoothing^step`
    blown: Tensor  # [R], the first step at which the row was blown up, or -1
    reacting: dict[str, dict[str, Tensor]]  # [R], the memories of schedules that react, by schedule
    cuts: Tensor  # [R, CUTS], the first steps of each lower rate of such a schedule, or -1
    words: dict[int, str]  # row -> what an optimizer that failed said
    carried: dict[str, dict[str, Tensor]]  # [R_rule, ...], of rules that had a spike: what spikes left in linear slots
    sealed: dict[str, tuple[bytes, ...]]  # by rule, one a row: what a guest optimizer remembers


@dataclass(frozen=True)
class Records:
    """What happened in steps `first + 1 … first + n`: arrays `[·, R]` in the config's row order, NaN once diverged."""

    first: int
    loss: Array  # [n, R], minibatch loss of each step
    smooth: Array  # [n, R]
    probes_at: tuple[int, ...]
    probes: dict[str, Array]  # [k, R]
    evals_at: tuple[int, ...]
    evals: dict[str, Array]  # [e, R], "train_loss", "validation_accuracy", …
    test: dict[str, Array]  # [R], after the last step only
    stopped: NDArray[np.int64]  # [R], step or -1
    reason: NDArray[np.int64]  # [R]
    blown: NDArray[np.int64]  # [R], step or -1
    bound: Array  # [R], the smoothed loss above which a row is blown up
    cuts: NDArray[np.int64]  # [CUTS, R], when a schedule that reacts has cut the rate, or -1
    words: dict[int, str]  # row -> what an optimizer that failed said
    texts_at: tuple[int, ...]
    texts: tuple[Texts, ...]  # what each racer's network wrote, on the race's first seed
    lens_at: tuple[int, ...]
    lens: dict[str, NDArray[Any]]  # as core/lens.py says; empty where there is none
