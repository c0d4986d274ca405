"""Momentum that behaves until step `at` (0: always), and then does what its name says."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import SGD


class _Behaves(SGD):
    def __init__(self, params: Iterable[Any], lr: float = 0.1, at: int = 0) -> None:
        super().__init__(params, lr=lr, momentum=0.9)
        self.at, self.taken = at, 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        self.taken += 1
        if self.taken == self.at:
            self.misbehave()
        return super().step()

    def misbehave(self) -> None:
        raise NotImplementedError


class Raises(_Behaves):
    def misbehave(self) -> None:
        raise ArithmeticError("no more <b>steps</b>\n" + 200 * "x")


class GivesNaN(_Behaves):
    def misbehave(self) -> None:
        with torch.no_grad():
            self.param_groups[0]["params"][0][0] = torch.nan


class Sleeps(_Behaves):
    def misbehave(self) -> None:
        while True:
            time.sleep(1)


class HangsInC(_Behaves):
    """Backtracks for ages without ever letting another thread of its process run."""

    def misbehave(self) -> None:
        re.match("(a+)+$", 60 * "a" + "b")


class Exits(_Behaves):
    def misbehave(self) -> None:
        os._exit(3)


class Leaves(_Behaves):
    def misbehave(self) -> None:
        sys.exit("goodbye")


class Reads(_Behaves):
    def misbehave(self) -> None:
        input()


class Shrinks(_Behaves):
    def misbehave(self) -> None:
        first = self.param_groups[0]["params"][0]
        first.data, first.grad, self.state[first]["momentum_buffer"] = torch.ones(1, 1), torch.ones(1, 1), None


class Hoards(_Behaves):
    def misbehave(self) -> None:
        self.hoard = torch.ones(1 << 22)


class Allocates(_Behaves):
    def misbehave(self) -> None:
        torch.empty(6 << 28)  # 6 GB, none of it touched


class CannotBePickled(_Behaves):
    def __init__(self, params: Iterable[Any], lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.numbers = iter(lambda: 1, 2)


class Prints(_Behaves):
    """Not to be told apart from `_Behaves` but by what it prints where the answers go."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        print("step", flush=True)
        os.write(1, b"step")
        return super().step(closure)
