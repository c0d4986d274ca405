"""Rules that treat a layer's weights as the matrix they are."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from pytorch_optimizer import SOAP, Shampoo
from torch.nn import Parameter
from torch.optim import _muon

from tests.references.base import Closure, Problem, Reference, Weights


def without_cast(function: Callable[..., Any], cast: str, instead: str) -> Any:
    """The same function, its own text compiled again, with a cast to a lower precision taken out."""
    text = textwrap.dedent(inspect.getsource(function))
    assert text.count(cast) == 1
    scope = dict(function.__globals__)
    exec(text.replace(cast, instead), scope)
    return scope[function.__name__]


iteration = without_cast(_muon._zeropower_via_newtonschulz, "grad.bfloat16()", "grad.clone()")


class Muon:
    """torch.optim.Muon for the hidden matrices, torch.optim.AdamW for the rest.

    torch's takes matrices alone: a kernel is handed to it as its author hands it to his own, flattened to `[out, -1]`.
    """

    def __init__(
        self,
        weights: Weights,
        adamw_ratio: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        **shared: Any,
    ):
        hidden = [Problem.layout.role(name) == "hidden" for name, _ in Problem.layout.shapes]
        rest = [weight for weight, is_hidden in zip(weights, hidden, strict=True) if not is_hidden]
        self.hidden = [weight for weight, is_hidden in zip(weights, hidden, strict=True) if is_hidden]
        self.matrices = [Parameter(weight.detach().flatten(1)) for weight in self.hidden]  # on the same numbers
        self.muon = torch.optim.Muon(self.matrices, momentum=momentum, **shared)
        self.adamw = torch.optim.AdamW(rest, betas=betas, eps=eps, **shared)
        self.param_groups, self.ratio = self.muon.param_groups, adamw_ratio

    def step(self) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = self.ratio * self.param_groups[0]["lr"]
        for matrix, weight in zip(self.matrices, self.hidden, strict=True):
            assert weight.grad is not None
            matrix.grad = weight.grad.flatten(1)
        usual = _muon._zeropower_via_newtonschulz
        _muon._zeropower_via_newtonschulz = iteration
        try:
            self.muon.step()
        finally:
            _muon._zeropower_via_newtonschulz = usual
        self.adamw.step()


def shampoo(weights: Weights, precondition_frequency: int, **settings: Any) -> Shampoo:
    return Shampoo(weights, preconditioning_compute_steps=precondition_frequency, **settings)


def early_roots(optimizer: Shampoo, closure: Closure, step: int) -> None:
    """Its roots are 0 until they are first taken, so that nothing moves; here they are taken at the first 50 steps."""
    every = optimizer.preconditioning_compute_steps
    closure()
    optimizer.preconditioning_compute_steps = 1 if step < 50 else every
    optimizer.step()
    optimizer.preconditioning_compute_steps = every


class Soap(SOAP):
    get_orthogonal_matrix_qr = without_cast(SOAP.get_orthogonal_matrix_qr, "power_iter.to(torch.float32)", "power_iter")


REFERENCES = {
    "muon": Reference(
        "torch.optim.Muon and torch.optim.AdamW", Muon,
        note="torch's cast to bfloat16 within Newton-Schulz is taken out. Hidden matrices by Muon, the rest by AdamW.",
    ),
    "shampoo": Reference(
        "pytorch_optimizer.Shampoo", shampoo, early_roots,
        note="Roots are taken at each of the first 50 steps; there they are 0 until first taken, and nothing moves.",
    ),
    "soap": Reference(
        "pytorch_optimizer.SOAP", Soap,
        note="The cast to float32 before each QR decomposition is taken out. The first step moves nothing.",
    ),
}  # fmt: skip
