"""Later relatives of Adam, by pytorch_optimizer, its own extras switched off."""

from typing import Any

import numpy as np
import pytorch_optimizer
import torch

from tests.references.base import Reference, Weights

Optimizer = torch.optim.Optimizer


def unforetold(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """Without memory m foretells every gradient exactly, and AdaBelief's v is eps alone: steps of 1e8 and more."""
    settings["beta1"] = settings["beta1"] or 0.5


def adabelief(weights: Weights, **settings: Any) -> Optimizer:
    return pytorch_optimizer.AdaBelief(weights, weight_decouple=True, rectify=False, ams_bound=False, **settings)


def stableadamw(weights: Weights, **settings: Any) -> Optimizer:
    return pytorch_optimizer.StableAdamW(weights, weight_decouple=True, kahan_sum=False, **settings)


def longer_square(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """Adan's square has beta3: at 0 its step is m / |g|, which near g = 0 makes any rounding large."""
    settings["beta3"] = settings["beta3"] or 0.5


def adan(weights: Weights, betas: tuple[float, float], beta3: float, **settings: Any) -> Optimizer:
    return pytorch_optimizer.Adan(weights, betas=(*betas, beta3), weight_decouple=False, **settings)


def slower(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """The reference's warm-up takes the logarithm of beta1, and passes a pole where beta3 is the shorter memory."""
    if settings["t_alpha_beta3"]:
        settings["beta1"] = settings["beta1"] or 0.5
        settings["beta3"] = max(settings["beta1"], settings["beta3"])


def ademamix(
    weights: Weights, betas: tuple[float, float], beta3: float, t_alpha_beta3: int, **settings: Any
) -> Optimizer:
    return pytorch_optimizer.AdEMAMix(
        weights, betas=(*betas, beta3), t_alpha_beta3=t_alpha_beta3 or None, weight_decouple=True, **settings
    )


def spam(weights: Weights, **settings: Any) -> Optimizer:
    return pytorch_optimizer.SPAM(weights, density=1.0, **settings)


REFERENCES = {
    "adabelief": Reference(
        "pytorch_optimizer.AdaBelief(rectify=False)", adabelief, choose=unforetold,
        note="The paper's algorithm, without the rectification that the official code has on by default.",
    ),
    "stableadamw": Reference("pytorch_optimizer.StableAdamW", stableadamw),
    "adan": Reference(
        "pytorch_optimizer.Adan(weight_decouple=False)", adan, choose=longer_square,
        note="Weight decay as in the paper: the weights are divided by 1 + lr weight_decay after the step.",
    ),
    "ademamix": Reference("pytorch_optimizer.AdEMAMix(weight_decouple=True)", ademamix, choose=slower),
    "spam": Reference(
        "pytorch_optimizer.SPAM(density=1)", spam,
        note="All weights are updated; bias corrections go on counting over its resets, as there.",
    ),
}  # fmt: skip
