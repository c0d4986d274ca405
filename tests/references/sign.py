"""Rules that keep the sign of the gradient."""

from typing import Any

from pytorch_optimizer import Lion, SignSGD

from tests.references.base import Reference, Weights


def without_momentum(weights: Weights, **settings: Any) -> SignSGD:
    return SignSGD(weights, momentum=0.0, **settings)


REFERENCES = {
    "signsgd": Reference("pytorch_optimizer.SignSGD(momentum=0)", without_momentum),
    "signum": Reference("pytorch_optimizer.SignSGD", SignSGD),
    "lion": Reference("pytorch_optimizer.Lion", Lion),
}
