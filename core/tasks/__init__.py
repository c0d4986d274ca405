"""Tasks, one file a family, and their registry. To add one: a function that makes it, and an entry in `TASKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from core.spec import Hyper, Value
from core.tasks.base import Batch, FunctionTask, Level, Task, from_function
from core.tasks.checked import from_module
from core.tasks.convex import ManyFits, linear_regression, rare_classes, softmax_regression
from core.tasks.dense import digits, moons, spirals
from core.tasks.functions import WrongWay, quadratic, rosenbrock
from core.tasks.images import cnn
from core.tasks.linear import Factorisation, autoencoder, deep_linear
from core.tasks.recurrent import gru, lstm
from core.tasks.tables import breast_cancer, diabetes, wine

__all__ = ["TASKS", "Batch", "FunctionTask", "Level", "Task", "TaskKind", "build", "from_function", "from_module"]


@dataclass(frozen=True)
class TaskKind:
    """A registry entry: how the task is called, made, and what about it can be set.

    `steps`, `batch` and `seeds` (how many) are those of a race on it unasked. `selection` is the part of the data whose
    loss tells which learning rate is best: the training part where it is the question itself, a text to be learned by
    heart.
    """

    name: str
    label: str
    make: Callable[..., Task]
    hypers: tuple[Hyper, ...] = ()
    steps: int = 1000
    batch: int = 32
    seeds: int = 8
    selection: str = "validation"


def _network(width: int, depth: int) -> tuple[Hyper, ...]:
    return (
        Hyper("width", width, 4, 128, grid=(4, 8, 16, 32, 64, 128), minimum=1, maximum=1024, label="Hidden units",
              help="Neurons in each hidden layer; more fit faster and cost more."),
        Hyper("depth", depth, 1, 4, minimum=1, maximum=16, label="Hidden layers",
              help="Layers between input and output; deeper is harder to train."),
    )  # fmt: skip


_NOISE = Hyper("noise", 0.1, 0.0, 0.4, label="Noise", maximum=10.0, help="Spread of the points around their shape.")

_MEMORY = (
    Hyper("embedding", 24, 4, 64, grid=(4, 8, 16, 24, 32, 64), minimum=1, maximum=256, label="Embedding",
          help="Numbers that stand for a word; they are learned with the rest."),
    Hyper("hidden", 64, 8, 128, grid=(8, 16, 32, 64, 128), minimum=1, maximum=256, label="Hidden units",
          help="Numbers that the network keeps in mind; more remember more and cost more."),
    Hyper("length", 12, 2, 32, grid=(2, 4, 8, 12, 16, 24, 32), minimum=1, maximum=64, label="Steps",
          help="Words of a stretch of text, read one after another; the gradient goes back through all of them."),
)  # fmt: skip

TASKS: dict[str, TaskKind] = {
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
        TaskKind("cnn", "Digits, convolutional", cnn,
                 (Hyper("width", 8, 4, 32, grid=(4, 8, 16, 32), minimum=1, maximum=128, label="Channels",
                        help="Patterns that the first convolution looks for; the second has twice as many."),)),
        TaskKind("autoencoder", "Digits, autoencoder", autoencoder,
                 (Hyper("width", 16, 2, 64, grid=(2, 4, 8, 16, 32, 64), minimum=1, maximum=1024, label="Code",
                        help="Numbers that an image is squeezed through; more of them draw it better."),)),
        TaskKind("breast_cancer", "Breast cancer", breast_cancer, _network(16, 1)),
        TaskKind("wine", "Wine", wine, _network(16, 1)),
        TaskKind("diabetes", "Diabetes", diabetes, _network(16, 1)),
        TaskKind("linear_regression", "Linear regression", linear_regression),
        TaskKind("softmax_regression", "Softmax regression", softmax_regression),
        TaskKind("rare_classes", "Many rare classes", rare_classes),
        TaskKind("many_fits", "Many perfect fits", ManyFits),
        TaskKind("deep_linear", "Deep linear network", deep_linear, _network(16, 2)),
        TaskKind("factorisation", "Matrix factorisation", Factorisation,
                 (Hyper("rank", 4, 1, 8, minimum=1, maximum=16, label="Rank",
                        help="Numbers for each row and each column; the matrix has four strong directions."),
                  Hyper("scale", 0.1, 0.001, 1.0, log=True, minimum=0.0, maximum=100.0, open_minimum=True,
                        label="First guess", help="Spread of the initial weights; near 0 is a saddle, left slowly."))),
        TaskKind("lstm", "Script generator, LSTM", lstm, _MEMORY, steps=1200, batch=16, seeds=1, selection="train"),
        TaskKind("gru", "Script generator, GRU", gru, _MEMORY, steps=1200, batch=16, seeds=1, selection="train"),
    )
}  # fmt: skip


@lru_cache(maxsize=32)
def build(name: str, settings: tuple[tuple[str, Value], ...]) -> Task:
    """The task of that registry name and settings; made once a process."""
    return TASKS[name].make(**dict(settings))
