"""Records, joined: what a whole race did, as arrays that a chart or a verdict reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import Config
from core.state import REASONS, RECORDING, Array, Recording, Records, Texts
from core.train import advance, start

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class History:
    """A race's past: `[·, racers, seeds]` arrays; `loss[t]` is the minibatch loss of step t + 1.

    Runs that diverged hold NaN from their step on; `stopped` and `reason` say where and why, `blown` where a run
    first stood clearly above its own start. -1 means never.
    """

    config: Config
    loss: Array  # [T, racers, seeds]
    smooth: Array  # [T, racers, seeds]
    probes_at: NDArray[np.int64]
    probes: dict[str, Array]
    evals_at: NDArray[np.int64]
    evals: dict[str, Array]
    test: dict[str, Array]  # [racers, seeds]
    stopped: NDArray[np.int64]  # [racers, seeds]
    reason: NDArray[np.int64]  # [racers, seeds]
    blown: NDArray[np.int64]  # [racers, seeds]
    words: dict[int, str]  # row -> what an optimizer that failed said
    texts_at: tuple[int, ...]
    texts: tuple[Texts, ...]  # what each racer's network wrote, on the race's first seed
    lens_at: NDArray[np.int64]
    lens: dict[str, NDArray[Any]]  # as core/lens.py says: of its racers, on the race's first seed

    @staticmethod
    def of(config: Config, records: Sequence[Records]) -> History:
        """Join records of consecutive slices, oldest first."""
        last = records[-1]
        test = next((piece.test for piece in reversed(records) if piece.test), {})  # an empty slice may come after it

        def joined(arrays: Sequence[Array]) -> Array:
            return by_racer(config, np.concatenate(arrays))

        def tables(pieces: Sequence[dict[str, Array]]) -> dict[str, Array]:
            full = [piece for piece in pieces if piece]
            return {name: joined([piece[name] for piece in full]) for name in (full[0] if full else {})}

        return History(
            config, joined([r.loss for r in records]), joined([r.smooth for r in records]),
            np.concatenate([np.asarray(r.probes_at, dtype=np.int64) for r in records]),
            tables([r.probes for r in records]),
            np.concatenate([np.asarray(r.evals_at, dtype=np.int64) for r in records]),
            tables([r.evals for r in records]),
            {name: by_racer(config, values) for name, values in test.items()},
            by_racer(config, last.stopped), by_racer(config, last.reason), by_racer(config, last.blown),
            last.words,
            tuple(at for r in records for at in r.texts_at),
            tuple(written for r in records for written in r.texts),
            np.concatenate([np.asarray(r.lens_at, dtype=np.int64) for r in records]),
            {name: np.concatenate([r.lens[name] for r in records]) for name in records[0].lens},
        )  # fmt: skip

    def why_stopped(self, racer: int, seed: int) -> str:
        """One sentence on a diverged run, "" for one that did not."""
        step = self.stopped[racer, seed]
        if step < 0:
            return ""
        words = self.words.get(racer * len(self.config.seeds) + seed)
        return f"stopped at step {step}: {REASONS[int(self.reason[racer, seed])]}" + (f" ({words})" if words else "")


def by_racer(config: Config, values: NDArray[T]) -> NDArray[T]:
    """`[..., R]` -> `[..., racers, seeds]`."""
    return values.reshape(*values.shape[:-1], len(config.racers), len(config.seeds))


def counted(values: Array, stopped: NDArray[np.int64], worst: float = np.inf) -> Array:
    """Values `[..., racers, seeds]` in which diverged runs are not missing but count as the worst."""
    return np.where((stopped >= 0) & np.isnan(values), worst, values)


def summary(values: Array) -> tuple[Array, Array, Array]:
    """Median, smallest and largest over the seeds: `[..., seeds]` -> three `[...]`; NaN where nothing was measured."""
    return np.median(values, axis=-1), values.min(axis=-1), values.max(axis=-1)


def run(
    config: Config,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    recording: Recording = RECORDING,
) -> History:
    """Train a whole race and return its history; raises as `advance` does."""
    _, records = advance(config, start(config, dtype, device), config.steps, recording)
    return History.of(config, [records])
