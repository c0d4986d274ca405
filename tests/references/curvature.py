"""Rules that use the loss's curvature."""

from typing import Any

import numpy as np
import torch
from pytorch_optimizer import SophiaH

from tests.references.base import Closure, Reference, Weights

SMALL = 1e-15


def sophia(weights: Weights, rho: float, hess_interval: int, **settings: Any) -> Any:
    """Its curvature comes from outside; it clips at p = 1 and knows no rho, which therefore goes into the curvature."""
    optimizer: Any = SophiaH(weights, p=1.0, eps=SMALL, update_period=10**9, **settings)
    optimizer.rho, optimizer.hess_interval = rho, hess_interval
    return optimizer


def estimated(optimizer: Any, closure: Closure, step: int) -> None:
    """2305.14342, algorithm 3, without batches: every k steps the square of the gradient on labels drawn.

    Where SophiaG adds 1e-15 to the curvature, SophiaH takes the larger of the two: here it is in each estimate, and in
    the mean from the start.
    """
    weights = optimizer.param_groups[0]["params"]
    curvature = None
    if step % optimizer.hess_interval == 0:
        closure(drawn=True)
        curvature = [optimizer.rho * weight.grad**2 + SMALL for weight in weights]
    closure()
    if step == 0:
        (group,) = optimizer.param_groups
        optimizer.init_group(group)
        for weight in weights:
            optimizer.state[weight]["hessian_moment"].fill_(SMALL)
    optimizer.step(hessian=curvature)


def usual_rates(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """Rates near the usual 1: a first step of 1e-6 changes the loss by rounding."""
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
        "takes the larger of the curvature and 1e-15 where SophiaG adds them: here the curvature has it added.",
    ),
    "lbfgs": Reference(
        "torch.optim.LBFGS(max_iter=1)", lbfgs, searched, usual_rates,
        note="With and without its strong Wolfe line search, which is given its own default of 25 trials, "
        "on a loss that stays the same at all steps.",
    ),
}  # fmt: skip
