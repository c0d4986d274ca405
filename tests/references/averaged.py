"""Rules that report their loss at an average, or find their own rate."""

from typing import Any

import dadaptation
import numpy as np
import prodigyopt
import schedulefree
import torch
from torch import Tensor

from tests.references.base import Reference, Weights, held, in_doubles


def average(optimizer: torch.optim.Optimizer, weights: Weights) -> list[Tensor]:
    """torch's ASGD keeps it beside the weights."""
    return [optimizer.state[weight]["ax"] for weight in weights]


def training(kind: type[Any]) -> Any:
    def made(weights: Weights, **settings: Any) -> Any:
        optimizer = kind(weights, **settings)
        optimizer.train()
        return optimizer

    return made


def evaluated(optimizer: Any, weights: Weights) -> list[Tensor]:
    """The weights that Schedule-Free's package switches to for an evaluation."""
    optimizer.eval()
    found = [weight.detach().clone() for weight in weights]
    optimizer.train()
    return found


def some_momentum(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """The package finds x from y and z by dividing by it."""
    name = "momentum" if "momentum" in settings else "beta1"
    settings[name] = settings[name] or 0.5


def a_rate_of_its_own(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """The rate multiplies a distance, so it is about 1. A first distance of less than 1e-4 would leave the weights in
    place for many steps, and what Prodigy subtracts from the first weights would be their rounding; with a short
    memory of the squares the distance grows without end, and so does any rounding.
    """
    settings["lr"] = float(rng.uniform(0.3, 2))
    settings["d0"] = max(settings["d0"], float(rng.choice([1e-4, 1e-3])))
    settings["beta2"] = max(settings["beta2"], float(rng.choice([0.95, 0.99])))


def some_beta1(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """Without any, the package takes the step with the new d, and else with the old one."""
    a_rate_of_its_own(rng, settings)
    settings["beta1"] = settings["beta1"] or 0.5


# The package stands at y, where the gradient is taken.
FREE = {"gradient_point": held, "eval": evaluated}

REFERENCES: dict[str, Reference] = {
    "asgd": Reference(
        "torch.optim.ASGD", torch.optim.ASGD, in_doubles, compared={"stored": held, "eval": average},
        note="With torch's default dtype at float64: it keeps the rate and the averaging weight in that.",
    ),
    "schedule_free_sgd": Reference(
        "schedulefree.SGDScheduleFree", training(schedulefree.SGDScheduleFree), choose=some_momentum,
        compared=FREE,
    ),
    "schedule_free_adamw": Reference(
        "schedulefree.AdamWScheduleFree", training(schedulefree.AdamWScheduleFree), choose=some_momentum,
        compared=FREE,
    ),
    "dadapt_adam": Reference("dadaptation.DAdaptAdam", dadaptation.DAdaptAdam, choose=a_rate_of_its_own),
    "prodigy": Reference(
        "prodigyopt.Prodigy", prodigyopt.Prodigy, choose=some_beta1,
        note="Without β₁ the package multiplies the gradient by the d after this step's estimate, else by the one "
        "before it; followed is the latter.",
    ),
}  # fmt: skip
