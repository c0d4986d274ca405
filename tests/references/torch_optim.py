"""Rules that `torch.optim` has."""

from typing import Any

import numpy as np
import torch

from tests.references.base import Reference, Weights, in_doubles


def long_memory(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """With a short memory the variance is a difference of equals, all rounding."""
    if settings["centered"]:
        settings["alpha"] = float(rng.choice([0.9, 0.99, 0.999]))


def some_momentum(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """torch refuses Nesterov's momentum of 0, which here is plain SGD."""
    settings["momentum"] = settings["momentum"] or 0.5


def nesterov(weights: Weights, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, nesterov=True, **settings)


def amsgrad(weights: Weights, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, amsgrad=True, **settings)


def rprop(
    weights: Weights, etaminus: float, etaplus: float, step_size_min: float, step_size_max: float, **settings: Any
) -> torch.optim.Optimizer:
    etas, sizes = (etaminus, etaplus), (step_size_min, step_size_max)
    return torch.optim.Rprop(weights, etas=etas, step_sizes=sizes, **settings)


def adafactor(weights: Weights, eps1: float, eps2: float, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(weights, eps=(eps1, eps2), **settings)


REFERENCES = {
    "sgd": Reference("torch.optim.SGD", torch.optim.SGD),
    "momentum": Reference("torch.optim.SGD", torch.optim.SGD),
    "nesterov": Reference("torch.optim.SGD(nesterov=True)", nesterov, choose=some_momentum),
    "adagrad": Reference("torch.optim.Adagrad", torch.optim.Adagrad),
    "rmsprop": Reference("torch.optim.RMSprop", torch.optim.RMSprop, choose=long_memory),
    "adadelta": Reference("torch.optim.Adadelta", torch.optim.Adadelta),
    "rprop": Reference("torch.optim.Rprop", rprop),
    "adafactor": Reference(
        "torch.optim.Adafactor", adafactor,
        note="Torch's use of eps1 and of lr is followed, which differs from the paper's.",
    ),
    "adam": Reference("torch.optim.Adam", torch.optim.Adam),
    "amsgrad": Reference("torch.optim.Adam(amsgrad=True)", amsgrad),
    "adamw": Reference("torch.optim.AdamW", torch.optim.AdamW),
    "adamax": Reference("torch.optim.Adamax", torch.optim.Adamax),
    "nadam": Reference(
        "torch.optim.NAdam", torch.optim.NAdam, step=in_doubles,
        note="With its product of momenta in double precision; torch keeps it in single.",
    ),
    "radam": Reference("torch.optim.RAdam", torch.optim.RAdam, note="Rectified from n > 5 on, as in torch; paper: 4."),
}  # fmt: skip
