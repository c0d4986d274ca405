"""Optimizers somebody wrote: what their constructors, memories and steps may look like."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer


class Plain(Optimizer):
    """Momentum, with every kind of argument. No closure, and half of its memory in attributes of its own."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.5),
        weight_decay: float = 0,
        momentum: float = 0,
        nesterov: bool = False,
        sizes: tuple[float, float] = (1e-6, 50.0),
        patience: int = 3,  # the name of a schedule's setting
        sam_rho: float = 0.05,  # and of a wrapper's
        shift: float = -0.25,
        cap: float = float("inf"),
        mode: str = "usual",
        chosen: float | None = None,
        *,
        foreach: bool = False,
        keep: int = 200,
        **unread: object,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": betas[0]})
        self.steps, self.velocity = 0, [torch.zeros_like(p) for p in self.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        self.steps += 1
        for group in self.param_groups:
            for p, v in zip(group["params"], self.velocity, strict=True):
                v.mul_(group["momentum"]).add_(p.grad)
                p.sub_(group["lr"] / self.steps**0.5 * v)


class NoRate(Optimizer):
    """Steps of 0.01 along the sign: it has no learning rate."""

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for p in self.param_groups[0]["params"]:
            p.sub_(0.01 * p.grad.sign())


class Noisy(Optimizer):
    """SGD with noise from every source there is, a function among its attributes, and its own class in its memory."""

    def __init__(self, params: Iterable[Any], lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr})
        self.scale = lambda: 0.01
        self.record = Record()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for p in self.param_groups[0]["params"]:
            self.record.noise = torch.randn_like(p).sum().item() + random.random() + np.random.rand()
            p.sub_(self.param_groups[0]["lr"] * (p.grad + self.scale() * (self.record.noise + self.record.steps)))
        self.record.steps += 1


class Record:
    """What a careful `torch.load` refuses."""

    steps = 0
    noise = 0.0


class TwoRates(Optimizer):
    """SGD whose vectors have a tenth of the rate, in a group of their own."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        every = list(params)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in every if p.dim() > 1]},
            {"params": [p for p in every if p.dim() == 1], "lr": lr / 10},
        ]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)


class Curious(Optimizer):
    """SGD that asks for `asks` further gradients, each at the weights that the one before leads to."""

    def __init__(self, params: Iterable[Any], lr: float = 0.01, asks: int = 3) -> None:
        super().__init__(params, {"lr": lr, "asks": asks})

    def step(self, closure: Callable[[], Any]) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        for _ in range(group["asks"] + 1):
            closure()
            with torch.no_grad():
                for p in group["params"]:
                    p.sub_(group["lr"] * p.grad)
