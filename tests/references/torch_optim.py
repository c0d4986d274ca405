"""Rules that `torch.optim` has."""

from typing import Any

import numpy as np
import torch

from tests.references.base import Reference, Weights


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


REFERENCES = {
    "sgd": Reference("torch.optim.SGD", torch.optim.SGD),
    "momentum": Reference("torch.optim.SGD", torch.optim.SGD),
    "nesterov": Reference("torch.optim.SGD(nesterov=True)", nesterov, choose=some_momentum),
    "adagrad": Reference("torch.optim.Adagrad", torch.optim.Adagrad),
    "rmsprop": Reference("torch.optim.RMSprop", torch.optim.RMSprop, choose=long_memory),
    "adam": Reference("torch.optim.Adam", torch.optim.Adam),
    "amsgrad": Reference("torch.optim.Adam(amsgrad=True)", amsgrad),
    "adamw": Reference("torch.optim.AdamW", torch.optim.AdamW),
}
