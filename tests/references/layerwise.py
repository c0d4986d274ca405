"""Rules with a trust ratio for each matrix."""

import math
from typing import Any

from pytorch_optimizer import LARS, Lamb

from tests.references.base import Reference, Weights


class Uncut(Lamb):
    """The paper's phi is the identity in its experiments; pytorch_optimizer cuts the weights' norm off at 10."""

    clamp = math.inf


def lamb(weights: Weights, weight_decay: float, **settings: Any) -> Lamb:
    """Biases without decay and trust ratio (`adam=True`), which the authors' code is told by their names.

    `adam_debias=True` switches off what the class calls no bias correction: it divides the step, trust ratio and all,
    by 1 - beta1^t, so that the first step is ten times the rate.
    """
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.dim() == 1], "weight_decay": 0.0, "adam": True},
    ]
    return Uncut(groups, weight_decouple=False, adam_debias=True, **settings)


REFERENCES = {
    "lars": Reference(
        "pytorch_optimizer.LARS", LARS,
        note="The learning rate stands outside of the momentum; in the paper it is a part of it. Biases and gains: "
        "plain momentum.",
    ),
    "lamb": Reference(
        "pytorch_optimizer.Lamb(weight_decouple=False, adam_debias=True)", lamb,
        note="Without bias correction, as in the authors' code for ALBERT and version 3 of the paper (version 5 "
        "corrects). The weights' norm is not cut off at 10, and biases and gains get Adam's plain step.",
    ),
}  # fmt: skip
