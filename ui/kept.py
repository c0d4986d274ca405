"""Where a race's state lies between two slices: in files, since the larger ones take longer to send than to train."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.state import State


class Kept:
    """The state of one race, in two files by turns: what is written never takes the place of what it goes on from.

    So a worker that dies in the middle of it harms nothing. Files that are written over keep their memory, which is
    several times faster than to ask for it anew. They go with this object.
    """

    def __init__(self, folder: str):
        place = Path(tempfile.mkdtemp(dir=folder))
        self._files, self._sizes = (place / "0", place / "1"), [0, 0]
        self._turn: int | None = None
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)

    @property
    def now(self) -> Path | None:
        """Where the state is; nowhere before the first slice."""
        return None if self._turn is None else self._files[self._turn]

    @property
    def next(self) -> Path:
        """Where a worker is to put the one after it."""
        return self._files[1 if self._turn == 0 else 0]

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return sum(self._sizes)

    @property
    def one(self) -> int:
        """Bytes of one state; 0 before the first slice."""
        return max(self._sizes)

    def turn(self, size: int) -> None:
        """A worker has put as many bytes into `next`: from here on they are the state."""
        self._turn = 1 if self._turn == 0 else 0
        self._sizes[self._turn] = max(size, self._sizes[self._turn])


class Stages:
    """Earlier states of one race, for forks to begin at: a file for each step. They go with this object."""

    def __init__(self, folder: str):
        self._place = Path(tempfile.mkdtemp(dir=folder))
        self.sizes: dict[int, int] = {}  # step -> bytes, of those that are there
        weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)

    def file(self, step: int) -> Path:
        """Where the state after this step is, or is to be put."""
        return self._place / str(step)


class _Pickler(pickle.Pickler):
    """Tensors go to the file as they lie in memory: torch's own way copies them three times."""

    def reducer_override(self, thing: Any) -> Any:
        return (torch.from_numpy, (thing.numpy(),)) if isinstance(thing, Tensor) else NotImplemented


def put(state: State, file: Path) -> int:
    """Write a state over whatever the file holds, and return how many bytes it takes."""
    with open(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as out:
        _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(state)
        return out.tell()


def take(file: Path) -> State:
    """The state that was put there; what an earlier, longer one left behind it is not read."""
    with open(file, "rb") as source:
        state: State = pickle.load(source)
    return state
