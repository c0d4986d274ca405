"""Schedules that read the loss while the run trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from core.schedules.base import FACTOR, Memory, Schedule, share
from core.schedules.falling import constant


def plateau(memory: Memory, loss: Tensor, total: Tensor, h: Any) -> Memory:
    """Cut by `factor` where the smoothed loss has not fallen by a thousandth for `patience` (a share of the run).

    As `torch.optim.lr_scheduler.ReduceLROnPlateau(threshold=1e-3)`, told the smoothed training loss after every step;
    the patience in steps is `round(patience total)`, at least 1. It does not look during a warm-up.
    """
    better = loss < memory["best"] * (1 - 1e-3)
    waited = torch.where(better, 0, memory["waited"] + 1)
    cut = waited > (h.patience * total).round().clamp(min=1)
    return {
        "best": torch.where(better, loss, memory["best"]),
        "waited": torch.where(cut, 0, waited),
        "scale": torch.where(cut, memory["scale"] * h.factor, memory["scale"]),
    }


ENTRIES = (
    Schedule(
        "plateau", "reduce on plateau", "rate × {factor} when the loss stands still", constant,
        hypers=(
            FACTOR,
            share("patience", 0.1, "Patience", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
                  "Share of the run that the loss may stand still before the rate is cut; 0.05 to 0.2 is usual."),
        ),
        help="The rate is cut when the training loss has stopped falling.",
        react=plateau, memory=(("best", float("inf")), ("waited", 0.0), ("scale", 1.0)),
    ),
)  # fmt: skip
