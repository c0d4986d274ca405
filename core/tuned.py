"""Learning rates that were tuned beforehand: what "each tuned" starts from.

Measured by `python -m benchmarks.tune`, kept in tuned.json with the date, the versions and the whole curve over the
rate. Every task has its default settings, every rule its default settings and a constant rate. The classic tasks are
tuned for every rule and for 300, 500, 1,000, 2,000 and 5,000 steps at batch 32, and 1,000 steps at batch 8 and 128 too
(a function has no batches, so one rate holds for any); the others for SGD, momentum and Adam at the steps and the batch
of their `core.tasks.TaskKind`.

Rates 1, 2, 3, 5 a decade from 0.001 to 1, extended by half a decade for as long as the best was an end. Chosen: the
smallest median over seeds 1000 to 1004 of the loss on the validation part after the last step, a diverged run counted
as infinitely bad; on the training part where `TaskKind.selection` says so, and where there is no other. Where the best
rate is an end of the slider, its entry says `"edge": true`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.config import Choice
from core.tasks import TASKS, build

_FILE = Path(__file__).with_name("tuned.json")


def tuned(task: Choice, steps: int, batch: int, rule: str) -> float | None:
    """The tuned learning rate; None where exactly this setting was not measured (see the module)."""
    rates = _rates()
    where = (task.name, frozenset(task.settings), steps)
    return rates.get((*where, batch, rule), rates.get((*where, None, rule)))


def part(task: Choice) -> str:
    """The part of a task's data whose loss chooses its rates: "validation", or "train"."""
    wanted = TASKS.find(task.name).selection
    return wanted if wanted in build(task.name, task.settings).parts else "train"


def measured() -> dict[str, Any]:
    """All of tuned.json: "measured", "versions", "protocol", "entries"."""
    found: dict[str, Any] = json.loads(_FILE.read_text())
    return found


@lru_cache(maxsize=1)
def _rates() -> dict[tuple[object, ...], float]:
    return {
        (e["task"], frozenset(e["settings"].items()), e["steps"], e["batch"], e["rule"]): e["lr"]
        for e in measured()["entries"]
    }
