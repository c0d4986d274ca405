"""Probes: one number a row, measured on a step. To add one: one function and one entry in `PROBES`.

A probe reads what the step really was: the gradient, the weights before and after, and the rule's own memories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.spec import Layout

Norm = Callable[[Tensor], Tensor]  # [R, n] -> [R]


@dataclass(frozen=True)
class Look:
    """A step as a probe sees it; tables `[R, P]`.

    `memory(moment, norm)` is `norm` of each row's memory of the gradient's mean (1) or square (2), and
    `trace(name, norm)` that of an intermediate of the rule's own step: `[R]`, NaN where its rule has none.
    `carried(moment)` is the share of that memory that comes from spikes, NaN where it cannot be told.
    """

    gradient: Tensor  # before scaling and clipping
    before: Tensor
    after: Tensor
    first_guess: Tensor
    evaluations: Tensor  # [R]
    rate: Tensor  # [R], the learning rate of this step
    layout: Layout
    memory: Callable[[int, Norm], Tensor]
    trace: Callable[[str, Norm], Tensor]
    carried: Callable[[int], Tensor]


def norm(table: Tensor) -> Tensor:
    """Euclidean norm of each row: `[R, P]` -> `[R]`."""
    found: Tensor = torch.linalg.vector_norm(table, dim=1)
    return found


def root_norm(table: Tensor) -> Tensor:
    """Norm of the square root of each row, `sqrt(sum v)`."""
    return table.sum(dim=1).sqrt()


PROBES: Mapping[str, Callable[[Look], Tensor]] = {
    "gradient": lambda look: norm(look.gradient),
    "step": lambda look: norm(look.after - look.before),
    "update": lambda look: norm(look.after - look.before) / norm(look.before),
    "distance": lambda look: norm(look.after - look.first_guess),
    "m": lambda look: look.memory(1, norm),
    "root_v": lambda look: look.memory(2, root_norm),
    "carried_m": lambda look: look.carried(1),
    "carried_v": lambda look: look.carried(2),
    "rate": lambda look: look.rate,
    "evaluations": lambda look: look.evaluations.to(look.before),
}
