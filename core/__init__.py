"""Descent Lab's core: many small trainings as one table. Usable from a notebook, without Streamlit.

from core import race, racer, run
history = run(race("digits", [racer("sgd", lr=0.3), racer("adam", lr=0.003)], steps=500, seeds=8))
history.smooth[-1]  # final training loss, [racers, seeds]
"""

from core.config import Config, Edit, Racer, Reset, edit, race, racer
from core.history import History, run
from core.optimizers import RULES
from core.schedules import SCHEDULES
from core.spec import Hyper
from core.state import Recording, Records, State
from core.tasks import TASKS, from_function, from_module
from core.train import advance, start

__all__ = [
    "RULES",
    "SCHEDULES",
    "TASKS",
    "Config",
    "Edit",
    "History",
    "Hyper",
    "Racer",
    "Recording",
    "Records",
    "Reset",
    "State",
    "advance",
    "edit",
    "from_function",
    "from_module",
    "race",
    "racer",
    "run",
    "start",
]  # fmt: skip
