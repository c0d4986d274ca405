"""Wrappers, each around rules whose own reference is known, and all of them around one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_optimizer import Lion, Lookahead
from pytorch_optimizer.optimizer.grokfast import gradfilter_ema
from torch import Tensor
from torch.nn import ParameterList
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_avg_fn

from tests.references.base import Closure, Reference, Weights

Make = Callable[..., Any]
LENGTH = 200  # steps of a run in tests/test_parity.py


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
    """2411.16085, algorithm 1, with the mean kept above 1e-3 as the authors' code does; `l2` is for a base whose decay
    goes through the gradient, else the decay is taken out of the base.
    """

    def __init__(self, inner: Any, weights: Weights, weight_decay: float, l2: bool):
        super().__init__(inner, weights)
        self.weight_decay, self.l2 = weight_decay, l2

    def step(self, closure: Any = None) -> Any:
        closure()
        before = [weight.detach().clone() for weight in self.weights]
        gradients = self.gradient()
        self.inner.step(closure)
        rate = self.param_groups[0]["lr"]
        with torch.no_grad():
            for weight, old, g in zip(self.weights, before, gradients, strict=True):
                update = old - weight
                if self.l2:
                    g = g + self.weight_decay * old
                mask = (update * g > 0).to(g.dtype)
                kept = mask.mean().clamp(min=1e-3)
                decay = 0 if self.l2 else rate * self.weight_decay * old
                weight.copy_(old - decay - update * mask / kept)


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


def cautious(make: Make, l2: bool = False) -> Make:
    def made(weights: Weights, weight_decay: float, **settings: Any) -> Cautious:
        inner = make(weights, weight_decay=weight_decay if l2 else 0.0, **settings)
        return Cautious(inner, weights, weight_decay, l2)

    return made


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
        first = round(LENGTH * (1 - tail))
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
        "2411.16085, algorithm 1, around torch.optim.SGD", cautious(SGD, l2=True), with_closure, note=_CAUTIOUS
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
        ema(ADAMW), with_closure, compared="eval", read=averaged,
    ),
    "momentum+tail": Reference(
        "torch.optim.swa_utils.AveragedModel(get_swa_avg_fn) around torch.optim.SGD",
        tail(SGD), with_closure, compared="eval", read=averaged,
    ),
    "adamw+grokfast+cautious+sam+lookahead+ema": Reference(
        "all of these around torch.optim.AdamW", ema(lookahead(sam(cautious(grokfast(ADAMW))))), with_closure,
        choose=inner_step, compared="eval", read=averaged,
    ),
}  # fmt: skip
