"""Tasks, one file a family, and their registry. To add one: a function that makes it, and an entry in `TASKS`."""

from __future__ import annotations

from functools import lru_cache

from core.spec import Hyper, Value
from core.tasks import brought
from core.tasks.base import Batch, FunctionTask, Level, Task, TaskKind, from_function
from core.tasks.checked import from_module
from core.tasks.convex import ManyFits, linear_regression, rare_classes, softmax_regression
from core.tasks.dense import digits, hidden_layers, moons, spirals
from core.tasks.functions import WrongWay, quadratic, rosenbrock
from core.tasks.images import cnn
from core.tasks.language import LETTERS, WORDS, letters, python_manual, words
from core.tasks.linear import Factorisation, autoencoder, deep_linear
from core.tasks.recurrent import gru, lstm
from core.tasks.tables import breast_cancer, diabetes, wine

__all__ = ["TASKS", "Batch", "FunctionTask", "Level", "Task", "TaskKind", "build", "from_function", "from_module"]


class Tasks(dict[str, TaskKind]):
    """By name. What a person brought (`core.tasks.brought`) is found by its name as well, but is not listed."""

    def __missing__(self, name: str) -> TaskKind:
        return brought.kind(name)

    def find(self, name: object) -> TaskKind:
        """The entry of that name.

        Raises:
            ValueError: there is none; the message names those there are.
        """
        try:
            return self[str(name)]
        except KeyError:
            raise ValueError(f"task is {str(name)[:40]!r}, but must be one of {', '.join(self)}.") from None


_NOISE = Hyper("noise", 0.1, 0.0, 0.4, label="Noise", maximum=10.0, help="Spread of the points around their shape.")

_MEMORY = (
    Hyper("embedding", 24, 4, 64, grid=(4, 8, 16, 24, 32, 64), minimum=1, maximum=256, label="Embedding",
          help="Numbers that stand for a word; they are learned with the rest."),
    Hyper("hidden", 64, 8, 128, grid=(8, 16, 32, 64, 128), minimum=1, maximum=256, label="Hidden units",
          help="Numbers that the network keeps in mind; more remember more and cost more."),
    Hyper("length", 12, 2, 32, grid=(2, 4, 8, 12, 16, 24, 32), minimum=1, maximum=64, label="Steps",
          help="Words of a stretch of text, read one after another; the gradient goes back through all of them."),
)  # fmt: skip

TASKS = Tasks(
    (kind.name, kind)
    for kind in (
        TaskKind("digits", "Handwritten digits", digits, hidden_layers(32, 1)),
        TaskKind("moons", "Two moons", moons, (*hidden_layers(16, 2), _NOISE)),
        TaskKind("spirals", "Two spirals", spirals,
                 (*hidden_layers(32, 2),
                  Hyper("noise", 0.02, 0.0, 0.2, label="Noise", maximum=10.0, help=_NOISE.help))),
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
        TaskKind("breast_cancer", "Breast cancer", breast_cancer, hidden_layers(16, 1)),
        TaskKind("wine", "Wine", wine, hidden_layers(16, 1)),
        TaskKind("diabetes", "Diabetes", diabetes, hidden_layers(16, 1)),
        TaskKind("linear_regression", "Linear regression", linear_regression),
        TaskKind("softmax_regression", "Softmax regression", softmax_regression),
        TaskKind("rare_classes", "Many rare classes", rare_classes),
        TaskKind("many_fits", "Many perfect fits", ManyFits),
        TaskKind("deep_linear", "Deep linear network", deep_linear, hidden_layers(16, 2)),
        TaskKind("factorisation", "Matrix factorisation", Factorisation,
                 (Hyper("rank", 4, 1, 8, minimum=1, maximum=16, label="Rank",
                        help="Numbers for each row and each column; the matrix has four strong directions."),
                  Hyper("scale", 0.1, 0.001, 1.0, log=True, minimum=0.0, maximum=100.0, open_minimum=True,
                        label="First guess", help="Spread of the initial weights; near 0 is a saddle, left slowly."))),
        TaskKind("words", "Script generator, words", words, WORDS, steps=2500, batch=64, seeds=1, selection="train"),
        TaskKind("letters", "Script generator, letters", letters, LETTERS, steps=2500, batch=64, seeds=1),
        TaskKind("manual", "Python's own manual", python_manual, LETTERS, steps=2500, batch=64, seeds=1),
        TaskKind("lstm", "Script generator, LSTM", lstm, _MEMORY, steps=1200, batch=16, seeds=1, selection="train"),
        TaskKind("gru", "Script generator, GRU", gru, _MEMORY, steps=1200, batch=16, seeds=1, selection="train"),
    )
)  # fmt: skip


def build(name: str, settings: tuple[tuple[str, Value], ...]) -> Task:
    """The task of that registry name and settings; made once a process, what was brought for as long as it is there."""
    return _built(name, settings) if name in TASKS else brought.build(name, settings)


@lru_cache(maxsize=32)
def _built(name: str, settings: tuple[tuple[str, Value], ...]) -> Task:
    return TASKS[name].make(**dict(settings))


def make_anew() -> None:
    """Forget which tasks were made: an entry has changed."""
    _built.cache_clear()
