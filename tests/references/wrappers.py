"""Wrappers, each around a rule whose own reference is known."""

from typing import Any

import torch
from torch import Tensor

from tests.references.base import Closure, Reference


def uphill(optimizer: torch.optim.Optimizer, closure: Closure, step: int) -> None:
    """2010.01412, algorithm 1, around any optimizer of torch."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    closure()
    length = torch.sqrt(sum((weight.grad**2).sum() for weight in weights))
    moves = [optimizer.rho * weight.grad / length for weight in weights]  # type: ignore[attr-defined]
    _move(weights, moves, 1)
    closure()
    _move(weights, moves, -1)
    optimizer.step()


def _move(weights: list[Tensor], moves: list[Tensor], sign: int) -> None:
    with torch.no_grad():
        for weight, move in zip(weights, moves, strict=True):
            weight.add_(move, alpha=sign)


def sam(make: Any) -> Any:
    def made(weights: Any, rho: float, **settings: Any) -> Any:
        optimizer = make(weights, **settings)
        optimizer.rho = rho
        return optimizer

    return made


REFERENCES = {"adam+sam": Reference("2010.01412, algorithm 1, around torch.optim.Adam", sam(torch.optim.Adam), uphill)}
