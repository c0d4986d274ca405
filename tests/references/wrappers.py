"""Wrappers, each around rules whose own reference is known, and all of them around one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_optimizer import LARS, Lion, Lookahead
from pytorch_optimizer.optimizer.grokfast import gradfilter_ema
from torch import Tensor
from torch.nn import ParameterList
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_avg_fn

from tests.references.base import STEPS, Closure, Reference, Weights

Make = Callable[..., Any]
Share = Callable[[Tensor], float]


def nothing(weight: Tensor) -> float:
    return 0.0


class Around(torch.optim.Optimizer):
    """Something around an optimizer, for torch an optimizer itself; its `step` needs a closure."""

    def __init__(self, inner: Any, weights: Weights):
        self.inner, self.weights = inner, weights
        self.param_groups, self.defaults = inner.param_groups, {}

    def gradient(self) -> list[Tensor]:
        """A copy of what the closure has put there."""
        return [weight.grad.clone() for weight in self.weights if weight.grad is not None]

    def move(self, by: list[Tensor], sign: int) -> None:
        with torch.no_grad():
            for weight, move in zip(self.weights, by, strict=True):
                weight.add_(move, alpha=sign)


class Grokfast(Around):
    def __init__(self, inner: Any, weights: Weights, grokfast_alpha: float, grokfast_lamb: float):
        super().__init__(inner, weights)
        self.settings = {"alpha": grokfast_alpha, "lamb": grokfast_lamb}
        self.model = ParameterList(weights)
        self.slow: dict[str, Tensor] | None = None

    def step(self, closure: Any = None) -> Any:
        closure()
        self.slow = gradfilter_ema(self.model, self.slow, **self.settings)
        self.inner.step()


class Cautious(Around):
    """2411.16085, algorithm 1, with the mean kept above 1e-3 as the authors' code does.

    `l2(weight)` is the decay within the gradient that the base's step is made of; `beside(weight)` the decay that is
    taken off with the step, which the base is then to leave out: a share of the weight each, at a rate of 1.
    """

    def __init__(self, inner: Any, weights: Weights, l2: Share = nothing, beside: Share = nothing):
        super().__init__(inner, weights)
        self.l2, self.beside = l2, beside

    def step(self, closure: Any = None) -> Any:
        closure()
        before = [weight.detach().clone() for weight in self.weights]
        gradients = self.gradient()
        self.inner.step(closure)
        rate = self.param_groups[0]["lr"]
        with torch.no_grad():
            for weight, old, g in zip(self.weights, before, gradients, strict=True):
                update = old - weight
                mask = (update * (g + self.l2(weight) * old) > 0).to(g.dtype)
                kept = mask.mean().clamp(min=1e-3)
                weight.copy_(old - rate * self.beside(weight) * old - update * mask / kept)


class Sam(Around):
    """2010.01412, algorithm 1, around any optimizer."""

    def __init__(self, inner: Any, weights: Weights, sam_rho: float):
        super().__init__(inner, weights)
        self.rho = sam_rho

    def step(self, closure: Any = None) -> Any:
        def uphill() -> Tensor:
            loss: Tensor = closure()
            g = self.gradient()
            length = torch.stack([(part**2).sum() for part in g]).sum().sqrt()
            moves = [self.rho * part / length for part in g]
            self.move(moves, 1)
            closure()
            self.move(moves, -1)
            return loss

        self.inner.step(uphill)


class Averaged(Around):
    """Weights averaged by torch from 0-based step `first` on."""

    def __init__(self, inner: Any, weights: Weights, first: int, **how: Any):
        super().__init__(inner, weights)
        self.model, self.first, self.taken = ParameterList(weights), first, 0
        self.average = AveragedModel(self.model, **how)

    def step(self, closure: Any = None) -> Any:
        self.inner.step(closure)
        if self.taken >= self.first:
            self.average.update_parameters(self.model)
        self.taken += 1

    def read(self) -> list[Tensor]:
        return list((self.average if self.taken > self.first else self.model).parameters())


def grokfast(make: Make) -> Make:
    def made(weights: Weights, grokfast_alpha: float, grokfast_lamb: float, **settings: Any) -> Grokfast:
        return Grokfast(make(weights, **settings), weights, grokfast_alpha, grokfast_lamb)

    return made


def cautious(make: Make) -> Make:
    """Around a base with weight decay beside the gradient."""

    def made(weights: Weights, weight_decay: float, **settings: Any) -> Cautious:
        return Cautious(make(weights, weight_decay=0.0, **settings), weights, beside=lambda weight: weight_decay)

    return made


def cautious_l2(make: Make, least: int = 1) -> Make:
    """Around a base with weight decay through the gradient, of tensors with at least so many axes."""

    def made(weights: Weights, weight_decay: float, **settings: Any) -> Cautious:
        inner = make(weights, weight_decay=weight_decay, **settings)
        return Cautious(inner, weights, l2=lambda weight: weight_decay if weight.dim() >= least else 0.0)

    return made


class CautiousLamb:
    """2411.16085, algorithm 1, on 1904.00962: `u = m / (sqrt(v) + eps)` without bias correction, masked by its
    agreement with g; `p <- p - lr trust (u + weight_decay p)`, where trust is that of the unmasked step.
    """

    def __init__(self, weights: Weights, betas: tuple[float, float], eps: float, weight_decay: float, lr: float):
        self.weights, self.betas, self.eps, self.weight_decay = weights, betas, eps, weight_decay
        self.param_groups = [{"lr": lr}]
        self.memory = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]

    @torch.no_grad()
    def step(self) -> None:
        for weight, (m, v) in zip(self.weights, self.memory, strict=True):
            g, (beta1, beta2) = weight.grad, self.betas
            assert g is not None
            m.mul_(beta1).add_((1 - beta1) * g)
            v.mul_(beta2).add_((1 - beta2) * g**2)
            update, decay, trust = m / (v.sqrt() + self.eps), torch.zeros_like(weight), 1.0
            if weight.dim() > 1:
                decay = self.weight_decay * weight
                trust = float(weight.norm() / ((update + decay).norm() + self.eps))
            mask = (update * g > 0).to(g.dtype)
            weight.sub_(self.param_groups[0]["lr"] * trust * (update * mask / mask.mean().clamp(min=1e-3) + decay))


def sam(make: Make) -> Make:
    def made(weights: Weights, sam_rho: float, **settings: Any) -> Sam:
        return Sam(make(weights, **settings), weights, sam_rho)

    return made


def lookahead(make: Make) -> Make:
    def made(weights: Weights, sync_period: int, slow_step_size: float, **settings: Any) -> Lookahead:
        return Lookahead(make(weights, **settings), k=sync_period, alpha=slow_step_size)

    return made


def ema(make: Make) -> Make:
    def made(weights: Weights, ema_decay: float, **settings: Any) -> Averaged:
        return Averaged(make(weights, **settings), weights, 0, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))

    return made


def tail(make: Make) -> Make:
    def made(weights: Weights, tail: float, **settings: Any) -> Averaged:
        first = round(STEPS * (1 - tail))
        return Averaged(make(weights, **settings), weights, first, avg_fn=get_swa_avg_fn())

    return made


def with_closure(optimizer: Any, closure: Closure, step: int) -> None:
    optimizer.step(closure)


def averaged(optimizer: Averaged, weights: Weights) -> list[Tensor]:
    return optimizer.read()


def inner_step(rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """The package refuses a step size of 1, which changes nothing."""
    settings["slow_step_size"] = min(settings["slow_step_size"], 0.95)


ADAM, ADAMW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD
_CAUTIOUS = (
    "Followed: algorithm 1 and the authors' code. Algorithm 2 and pytorch_optimizer divide by (kept + 1) / n instead, "
    "which makes even a step that agrees everywhere smaller."
)

REFERENCES = {
    "adam+grokfast": Reference(
        "pytorch_optimizer.gradfilter_ema around torch.optim.Adam", grokfast(ADAM), with_closure
    ),
    "adamw+cautious": Reference(
        "2411.16085, algorithm 1, around torch.optim.AdamW", cautious(ADAMW), with_closure, note=_CAUTIOUS
    ),
    "momentum+cautious": Reference(
        "2411.16085, algorithm 1, around torch.optim.SGD", cautious_l2(SGD), with_closure, note=_CAUTIOUS
    ),
    "lars+cautious": Reference(
        "2411.16085, algorithm 1, around pytorch_optimizer.LARS", cautious_l2(LARS, 2), with_closure, note=_CAUTIOUS
    ),
    "lamb+cautious": Reference(
        "2411.16085, algorithm 1, written out with 1904.00962", CautiousLamb,
        note=f"{_CAUTIOUS} The trust ratio is that of the whole step, decay included.",
    ),
    "lion+cautious": Reference(
        "2411.16085, algorithm 1, around pytorch_optimizer.Lion", cautious(Lion), with_closure, note=_CAUTIOUS
    ),
    "adam+sam": Reference("2010.01412, algorithm 1, around torch.optim.Adam", sam(ADAM), with_closure),
    "adam+lookahead": Reference(
        "pytorch_optimizer.Lookahead around torch.optim.Adam", lookahead(ADAM), with_closure, choose=inner_step
    ),
    "adamw+ema": Reference(
        "torch.optim.swa_utils.AveragedModel(get_ema_multi_avg_fn) around torch.optim.AdamW",
        ema(ADAMW), with_closure, compared={"eval": averaged},
    ),
    "momentum+tail": Reference(
        "torch.optim.swa_utils.AveragedModel(get_swa_avg_fn) around torch.optim.SGD",
        tail(SGD), with_closure, compared={"eval": averaged},
    ),
    "adamw+grokfast+cautious+sam+lookahead+ema": Reference(
        "all of these around torch.optim.AdamW", ema(lookahead(sam(cautious(grokfast(ADAMW))))), with_closure,
        choose=inner_step, compared={"eval": averaged},
    ),
}  # fmt: skip
