"""Where a racer overfits: its held-out loss has risen, and stays up, while its training loss fell.

Read from what is kept of a whole race, since a slice does not know what the best so far was.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import Config
from ui.charts import Mark, held_out_loss, track_fields, track_steps
from ui.names import labels
from ui.words import lowest_words, overfitting_words

Array = NDArray[Any]
RISE = 1.05  # times the lowest median: a rise of less is none
LASTING = 3  # evaluations in a row that must show it


def rises(median: Array, low: Array, high: Array, train: Array) -> NDArray[np.int64]:
    """Where the held-out loss was lowest, for each evaluation at which it has clearly risen since.

    Clearly: in each of the last three evaluations the median over the seeds is more than 5% above its minimum so far,
    every seed is above the highest seed of that moment, and the training loss is below what it was then. Besides, the
    smallest of these three rises is larger than what the curve does from one evaluation to the next: than any rise so
    far, and any fall since the minimum. So one that swings about a level, and has its minimum where it swung lowest, is
    not taken for one that rises.

    Args:
        median, low, high: `[racers, n]`, of the held-out loss, positive; NaN once a racer has diverged.
        train: `[racers, n]`, the median training loss at the same evaluations.

    Returns:
        `[racers, n]`, the index of the minimum, or -1.
    """
    racers, count = median.shape
    every, found = np.arange(racers), np.full((racers, count), -1)
    best, lasting = np.zeros(racers, dtype=int), np.zeros(racers, dtype=int)
    jump, fall = np.zeros(racers), np.zeros(racers)  # the largest from one evaluation to the next
    smallest = np.full((racers, count), np.inf)  # rise at each evaluation, where it counts
    for now in range(1, count):
        lower = median[:, now] <= median[every, best]
        change, best = median[:, now] - median[:, now - 1], np.where(lower, now, best)
        jump, fall = np.maximum(jump, change), np.where(lower, 0.0, np.maximum(fall, -change))
        least = median[every, best]
        up = (median[:, now] > least + (RISE - 1) * np.abs(least)) & (low[:, now] > high[every, best])
        up &= train[:, now] < train[every, best]
        lasting = np.where(up, lasting + 1, 0)
        smallest[:, now] = median[:, now] - least
        rise = smallest[:, max(0, now - LASTING + 1) : now + 1].min(axis=1)
        found[:, now] = np.where((lasting >= LASTING) & (rise > np.maximum(jump, fall)), best, -1)
    return found


@dataclass(frozen=True)
class HeldOut:
    """What must be known of a race to tell where its held-out losses rise; `fields` is empty where it has none."""

    names: tuple[str, ...]
    loss_name: str
    steps: tuple[int, ...]  # of the evaluations
    fields: tuple[int, ...]  # of the track of evaluations: median, low and high held-out loss, median training loss

    @staticmethod
    def of(config: Config) -> HeldOut:
        """Of this race; asks its task."""
        task, fields = config.build_task(), track_fields(config)["eval"]
        wanted = ("val_loss.mid", "val_loss.lo", "val_loss.hi", "train_loss.mid") if "validation" in task.parts else ()
        return HeldOut(
            tuple(labels(config)),
            held_out_loss(task),
            tuple(track_steps(config)["eval"]),
            tuple(map(fields.index, wanted)),
        )

    def told(self, evals: Array) -> tuple[list[Mark], list[str]]:
        """The marks at those minima, and for each evaluation a sentence on the racers concerned, or "".

        Of one that has only risen since the start nothing is said: that is not overfitting, but worse. `evals` is the
        track of evaluations `[racers, fields, n]` as far as it is trained. A mark holds from the evaluation that showed
        the rise until one that does not.
        """
        if not self.fields:
            return [], [""] * evals.shape[2]
        median, low, high, train = (evals[:, field] for field in self.fields)
        found = rises(median, low, high, train)
        sentences = [
            overfitting_words(
                [(self.names[r], self.steps[at]) for r, at in enumerate(column) if at > 0], self.loss_name
            )
            for column in found.T.tolist()
        ]
        marks = [mark for racer in range(len(self.names)) for mark in self._marks(racer, found[racer], median[racer])]
        return marks, sentences

    def _marks(self, racer: int, found: NDArray[np.int64], median: Array) -> list[Mark]:
        """One racer's marks: each minimum with the steps between which it is known to be one."""
        changes = np.flatnonzero(np.diff(found, prepend=-1)).tolist()
        marks = []
        for first, after in pairwise([*changes, len(found)]):
            at = int(found[first])
            if at >= 0:
                step = self.steps[at]
                text = f"{self.names[racer]}: {lowest_words(float(median[at]), step, self.loss_name)}"
                until = self.steps[after] if after < len(found) else None
                marks.append(Mark(racer, step, "lowest", text, known=self.steps[first], until=until))
        return marks
