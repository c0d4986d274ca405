"""Tasks, one file a family, and their registry. To add one: a function that makes it, and an entry in `TASKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from core.spec import Hyper, Value
from core.tasks.base import Batch, FunctionTask, Level, Task, from_function
from core.tasks.dense import digits, moons, spirals
from core.tasks.functions import WrongWay, quadratic, rosenbrock

__all__ = ["TASKS", "Batch", "FunctionTask", "Level", "Task", "TaskKind", "build", "from_function"]


@dataclass(frozen=True)
class TaskKind:
    """A registry entry: how the task is called, made, and what about it can be set."""

    name: str
    label: str
    make: Callable[..., Task]
    hypers: tuple[Hyper, ...] = ()


def _network(width: int, depth: int) -> tuple[Hyper, ...]:
    return (
        Hyper("width", width, 4, 128, grid=(4, 8, 16, 32, 64, 128), minimum=1, maximum=1024, label="Hidden units",
              help="Neurons in each hidden layer; more fit faster and cost more."),
        Hyper("depth", depth, 1, 4, minimum=1, maximum=16, label="Hidden layers",
              help="Layers between input and output; deeper is harder to train."),
    )  # fmt: skip


_NOISE = Hyper("noise", 0.1, 0.0, 0.4, label="Noise", maximum=10.0, help="Spread of the points around their shape.")

TASKS: Mapping[str, TaskKind] = {
    kind.name: kind
    for kind in (
        TaskKind("digits", "Handwritten digits", digits, _network(32, 1)),
        TaskKind("moons", "Two moons", moons, (*_network(16, 2), _NOISE)),
        TaskKind("spirals", "Two spirals", spirals,
                 (*_network(32, 2), Hyper("noise", 0.02, 0.0, 0.2, label="Noise", maximum=10.0, help=_NOISE.help))),
        TaskKind("quadratic", "Quadratic bowl", quadratic,
                 (Hyper("condition", 25.0, 1.0, 1000.0, log=True, label="Condition number", maximum=1e6,
                        help="How many times steeper the steepest direction is than the flattest."),)),
        TaskKind("rosenbrock", "Rosenbrock's valley", rosenbrock),
        TaskKind("wrong_way", "Wrong way", WrongWay),
    )
}  # fmt: skip


@lru_cache(maxsize=32)
def build(name: str, settings: tuple[tuple[str, Value], ...]) -> Task:
    """The task of that registry name and settings; made once a process."""
    return TASKS[name].make(**dict(settings))
