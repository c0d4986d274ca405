"""The process in which optimizer classes live: `python -m core.guests.child`, started and killed by host.py.

It reads messages (pickled tuples) from its standard input and answers each in bytes: weights, a question for the
gradient, what an optimizer remembers, or why it failed. An optimizer is one row of a table: real `nn.Parameter`s and
the class itself, made when its first step comes. The process ends when nobody can hear it any more: at the end of its
input, and by an alarm in a step that takes for ever.
"""

from __future__ import annotations

import inspect
import io
import json
import os
import pickle
import random
import resource
import signal
import sys
import types
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from core.guests.classes import class_of, find
from core.guests.wire import (
    ABANDONED_SECONDS,
    ASK,
    DATA_BYTES,
    DONE,
    FAILED,
    GRADIENTS,
    SEAL,
    SEAL_BYTES,
    WEIGHTS,
    Job,
    Wire,
)

FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)


@dataclass
class Living:
    """An optimizer, its parameters, the settings that it was last told, each group's share of the rate."""

    optimizer: torch.optim.Optimizer
    parameters: list[Parameter]
    settings: dict[str, Any]
    shares: list[float]
    asks: bool  # whether its step takes a closure


def step(living: Living, job: Job, ask: Callable[[np.ndarray[Any, Any]], tuple[float, np.ndarray[Any, Any]]]) -> Tensor:
    """The weights after the step, `[P]`; `ask` gives loss and gradient at other weights."""
    parameters, asked = living.parameters, 0
    told = torch.from_numpy(job.p)

    def closure() -> Tensor:
        """As training loops write it: gradient into the parameters, loss out. Where they are, it is known already."""
        nonlocal asked
        asked += 1
        if asked > GRADIENTS:
            raise RuntimeError(f"asked for more than {GRADIENTS} gradients in one step")
        here = flat(parameters)
        loss, g = (job.loss, job.g.copy()) if torch.equal(here, told) else ask(here.numpy())
        put_gradient(parameters, g)
        return torch.tensor(loss, dtype=told.dtype)

    with torch.no_grad():
        for parameter, part in zip(parameters, split(told, parameters), strict=True):
            parameter.copy_(part)
    put_gradient(parameters, job.g.copy())
    take: Any = living.optimizer.step
    take(closure) if living.asks else take()
    found = flat(parameters)
    if found.shape != told.shape or found.dtype != told.dtype:
        raise TypeError(f"left weights of shape {tuple(found.shape)} and type {found.dtype}")
    return found


def flat(parameters: list[Parameter]) -> Tensor:
    """`[P]`, a copy."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in parameters])


def split(table: Tensor, parameters: list[Parameter]) -> list[Tensor]:
    """`[P]` -> a view for each parameter, in its shape."""
    pieces = table.split([parameter.numel() for parameter in parameters])
    return [piece.view(parameter.shape) for piece, parameter in zip(pieces, parameters, strict=True)]


def put_gradient(parameters: list[Parameter], g: np.ndarray[Any, Any]) -> None:
    """Into `.grad`; the array is theirs from now on."""
    for parameter, part in zip(parameters, split(torch.from_numpy(g), parameters), strict=True):
        parameter.grad = part


def opened(cls: Any, job: Job) -> Living:
    """A new optimizer, or one with all that it remembered."""
    assert job.opens is not None
    shapes, seal = job.opens
    pieces = torch.from_numpy(job.p).split([int(np.prod(shape)) for shape in shapes])
    parameters = [Parameter(piece.reshape(shape).clone()) for piece, shape in zip(pieces, shapes, strict=True)]
    optimizer = cls(parameters, **job.settings)
    if seal:
        return unsealed(optimizer, seal)
    if callable(getattr(optimizer, "train", None)):  # Schedule-Free's classes want to be told
        optimizer.train()
    rate = job.settings.get("lr")
    shares = [group["lr"] / rate if rate and group.get("lr") else 1.0 for group in optimizer.param_groups]
    asks = bool(inspect.signature(optimizer.step).parameters)
    return Living(optimizer, parameters, job.settings, shares, asks)


def tell(living: Living, settings: dict[str, Any]) -> None:
    """Put what changed since the last step into the parameter groups, as schedulers do."""
    for name, value in settings.items():
        if value == living.settings[name]:
            continue
        for group, share in zip(living.optimizer.param_groups, living.shares, strict=True):
            if name not in group:
                raise ValueError(f"{name} is fixed once the optimizer is made")
            group[name] = value * share if name == "lr" else value
    living.settings = settings


def sealed(living: Living) -> bytes:
    """All that it remembers, its parameters included; functions are left as its constructor makes them.

    Raises:
        ValueError: it is too much. What cannot be pickled raises what pickle raises.
    """
    kept = {name: value for name, value in vars(living.optimizer).items() if not isinstance(value, FUNCTIONS)}
    if isinstance(kept.get("state"), defaultdict):
        kept["state"] = dict(kept["state"])  # the only kind that a careful `torch.load` takes
    buffer = io.BytesIO()
    torch.save((kept, living.parameters, living.settings, living.shares, living.asks), buffer)
    if buffer.tell() > SEAL_BYTES:
        raise ValueError(f"remembers more than {SEAL_BYTES >> 20} MB")
    return buffer.getvalue()


def unsealed(optimizer: torch.optim.Optimizer, seal: bytes) -> Living:
    """The inverse, on an optimizer that has just been made.

    A few classes keep objects of their own, for which the careful load will not do. A seal was made in this program
    and goes through the trainer only, never past a visitor.
    """
    try:
        kept, *rest = torch.load(io.BytesIO(seal), weights_only=True)
    except pickle.UnpicklingError:
        kept, *rest = torch.load(io.BytesIO(seal), weights_only=False)
    if "state" in kept:
        kept["state"] = defaultdict(dict, kept["state"])
    vars(optimizer).update(kept)
    return Living(optimizer, *rest)


def why(error: BaseException) -> bytes:
    """An error in words; its type alone where even those fail."""
    try:
        return f"{type(error).__name__}: {error}"[:1000].encode(errors="replace")
    except Exception:
        return type(error).__name__.encode()


class Child:
    """The loop: message in, answers out."""

    def __init__(self, wire: Wire):
        self.wire, self.living = wire, dict[int, Living]()

    def answer(self, kind: bytes, body: bytes = b"") -> None:
        self.wire.send(kind + body, None)

    def attempt(self, do: Callable[[], tuple[bytes, bytes]]) -> bool:
        """Answer with what comes of it, or with why it failed, whatever was raised."""
        signal.alarm(ABANDONED_SECONDS)
        try:
            found = do()
        except BaseException as error:
            found = FAILED, why(error)
        signal.alarm(0)
        self.answer(*found)
        return found[0] != FAILED

    def find(self, named: str) -> tuple[bytes, bytes]:
        return DONE, json.dumps([asdict(found) for found in find(named)]).encode()

    def load(self, module: str, name: str) -> tuple[bytes, bytes]:
        class_of(module, name)
        return DONE, b""

    def work(self, module: str, name: str, left: list[int], jobs: list[Job | int]) -> None:
        """Forget the rows that have `left`; then a step for each job, or for a number the seal of that row."""
        for row in left:
            self.living.pop(row, None)
        cls = class_of(module, name)
        for job in jobs:
            row = job.row if isinstance(job, Job) else job
            if not self.attempt(lambda job=job: self.one(cls, job)):  # type: ignore[misc]
                self.living.pop(row, None)

    def one(self, cls: Any, job: Job | int) -> tuple[bytes, bytes]:
        if isinstance(job, int):
            return SEAL, sealed(self.living[job])
        torch.default_generator.manual_seed(job.seed)
        np.random.seed(job.seed)
        random.seed(job.seed)
        if job.opens is not None:
            self.living[job.row] = opened(cls, job)
        living = self.living[job.row]
        tell(living, job.settings)
        found = step(living, job, self.ask)
        if job.opens is not None and not job.opens[1]:
            sealed(living)  # what cannot be handed over shall say so at once, not when a slice ends
        return WEIGHTS, found.numpy().tobytes()

    def ask(self, at: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        self.answer(ASK, at.tobytes())
        loss, g = self.next()
        return loss, g

    def next(self) -> Any:
        """The next message; where there will be none, this is the end, whatever is in work."""
        try:
            return pickle.loads(self.wire.receive(None))
        except EOFError:
            os._exit(0)

    def serve(self) -> None:
        while True:
            what, *arguments = self.next()
            if what == "work":
                self.work(*arguments)
            else:
                do = {"find": self.find, "load": self.load}[what]
                self.attempt(lambda do=do, arguments=arguments: do(*arguments))  # type: ignore[misc]


def main() -> None:
    wire = Wire(os.dup(0), os.dup(1))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a class prints goes where the trainer's own errors go
    sys.path[:] = pickle.loads(wire.receive(None))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    sys.dont_write_bytecode = True  # a file that is edited and loaded again within a second would be the old one
    torch.set_num_threads(1)
    torch.optim.SGD([Parameter(torch.zeros(1))])  # the first one made imports the compiler, most of a second
    wire.send(DONE, None)
    Child(wire).serve()


if __name__ == "__main__":
    main()
