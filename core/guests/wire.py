"""The pipe between the process that trains and the one in which optimizer classes live, and every limit on it."""

from __future__ import annotations

import os
import select
import struct
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

START_SECONDS = 60.0  # until a new process is ready, a module is imported, a long message is read
FIRST_SECONDS = 2.0  # for the step that makes an optimizer or opens it again
STEP_SECONDS = 1.0  # for every other step
ABANDONED_SECONDS = 60  # a process that is in one step for so long has been forgotten, and ends itself
GRADIENTS = 50  # that one step may ask for
DATA_BYTES = 4 * 2**30  # that all optimizers of one process may take together
SEAL_BYTES = 8 * 2**20  # that one optimizer may remember from slice to slice
JOURNAL_STEPS, JOURNAL_BYTES = 64, 16 * 2**20  # after so much an optimizer's memory is fetched anew
WORDS = 120  # characters of what an optimizer said when it failed

# What comes back: the first byte of each answer.
DONE, WEIGHTS, ASK, SEAL, FAILED = b"o", b"w", b"?", b"s", b"!"


@dataclass(frozen=True)
class Job:
    """One step of one row. `opens` has the shapes of its tensors and what it remembers (nothing: a new optimizer)."""

    row: int
    seed: int  # of whatever the class draws in this step
    settings: dict[str, Any]  # the constructor's keyword arguments, as they are in this step
    loss: float
    p: np.ndarray[Any, Any]  # [P]
    g: np.ndarray[Any, Any]  # [P]
    opens: tuple[tuple[tuple[int, ...], ...], bytes] | None = None


_HEADER = struct.Struct("<Q")


class Wire:
    """Whole messages over two file descriptors; each call has its own time limit, None waits for ever."""

    def __init__(self, incoming: int, outgoing: int):
        self._incoming, self._outgoing, self._read = incoming, outgoing, bytearray()
        for end in (incoming, outgoing):
            os.set_blocking(end, False)

    def send(self, message: bytes, seconds: float | None) -> None:
        """Write a message.

        Raises:
            TimeoutError: nobody read it in time.
            EOFError: the other end has gone.
        """
        left, deadline = memoryview(_HEADER.pack(len(message)) + message), _deadline(seconds)
        while left:
            _wait(self._outgoing, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._outgoing, left) :]
            except BrokenPipeError:
                raise EOFError from None

    def receive(self, seconds: float | None) -> bytes:
        """The next message; raises as `send` does."""
        deadline = _deadline(seconds)
        size = _HEADER.unpack(self._take(_HEADER.size, deadline))[0]
        return self._take(size, deadline)

    def close(self) -> None:
        """Let go of both ends."""
        os.close(self._incoming)
        os.close(self._outgoing)

    def _take(self, size: int, deadline: float | None) -> bytes:
        while len(self._read) < size:
            _wait(self._incoming, select.POLLIN, deadline)
            part = os.read(self._incoming, 1 << 20)
            if not part:
                raise EOFError
            self._read += part
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _wait(end: int, event: int, deadline: float | None) -> None:
    waiting = select.poll()
    waiting.register(end, event)
    left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not waiting.poll(left):
        raise TimeoutError("did not answer in time")
