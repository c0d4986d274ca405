"""Rules that use the loss's curvature."""

from typing import Any

import numpy as np
import torch
from pytorch_optimizer import SophiaH

from tests.references.base import Closure, Reference, Weights


def sophia(weights: Weights, rho: float, hess_interval: int, **settings: Any) -> Any:
    """Its curvature comes from outside; it clips at p = 1 and knows no rho, which therefore goes into the curvature."""
    optimizer: Any = SophiaH(weights, p=1.0, eps=1e-15, update_period=10**9, **settings)
    optimizer.rho, optimizer.hess_interval = rho, hess_interval
    return optimizer


def estimated(optimizer: Any, closure: Closure, step: int) -> None:
    """2305.14342, algorithm 3, without batches: every k steps the square of the gradient on labels drawn."""
    weights = optimizer.param_groups[0]["params"]
    curvature = None
    if step % optimizer.hess_interval == 0:
        closure(drawn=True)
        curvature = [optimizer.rho * weight.grad**2 for weight in weights]
    closure()
    optimizer.step(hessian=curvature)


def unclipped(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """A limit that no gradient reaches: two that were cut to the same length differ by little more than rounding, and
    the curvature is made of this difference. Rates near the usual 1: a first step of 1e-6 changes the loss by rounding.
    """
    settings["clip"] = float(rng.choice([0.0, 1e4]))
    settings["lr"] = float(10 ** rng.uniform(-2, 0))


def lbfgs(weights: Weights, strong_wolfe: bool, **settings: Any) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(
        weights, max_iter=1, max_eval=26, line_search_fn="strong_wolfe" if strong_wolfe else None, **settings
    )


def searched(optimizer: torch.optim.LBFGS, closure: Closure, step: int) -> None:
    optimizer.step(closure)


REFERENCES = {
    "sophia": Reference(
        "pytorch_optimizer.SophiaH, given the Gauss-Newton-Bartlett estimate", sophia, estimated,
        note="Followed: the official SophiaG's update, and the paper for when the curvature is estimated. SophiaH "
        "takes the larger of the curvature and 1e-15 where SophiaG adds them.",
    ),
    "lbfgs": Reference(
        "torch.optim.LBFGS(max_iter=1)", lbfgs, searched, unclipped,
        note="With and without its strong Wolfe line search, which is given its own default of 25 trials, "
        "on a loss that stays the same at all steps.",
    ),
}  # fmt: skip
