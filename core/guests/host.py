"""The side that trains: optimizers that live in another process, one a row of a table (`core.optimizers.base.Guest`).

One child process serves all races of this one. It answers row by row, each within its own time limit, so whoever
hangs is known: the child is killed, that row ends, and the others go on in a new child, bit for bit, because each row
keeps a journal of what it was told since its memory was last fetched, and is told it again. A row whose child ends by
itself is tried once more, since a process that was killed from outside is nobody's fault.
"""

from __future__ import annotations

import atexit
import itertools
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.guests import wire
from core.guests.classes import Found
from core.guests.wire import Job
from core.optimizers.base import Context

ROOT = Path(__file__).resolve().parents[2]
Shapes = tuple[tuple[int, ...], ...]
Answer = tuple[float, NDArray[Any]]  # loss and gradient
Gradient = Callable[["Row", bytes], Answer]


def harmless(said: bytes | str) -> str:
    """What a class said, on one short line that no page can take for anything but text."""
    text = " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())
    text = text.translate(str.maketrans("<>[]`&*$\\", "()()'+x  "))
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= wire.WORDS else text[: wire.WORDS - 1] + "…"


class Host:
    """The child process: started when it is needed, and anew when it was lost."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.turn = 0  # counts the processes
        self.left: list[int] = []  # rows that nobody asks about any more
        self._process: subprocess.Popen[bytes] | None = None
        self._loaded: dict[tuple[str, str], str] = {}  # of each class it was asked to load, why it could not
        atexit.register(self.end)

    def start(self) -> None:
        """Have it ready.

        Raises:
            RuntimeError: it does not start.
        """
        with self.lock:
            if self._process is not None and self._process.poll() is None:
                return
            self.end()
            path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
            threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            self._process = process = subprocess.Popen(
                # In a session of its own, so that it and whatever it starts can be killed, and Ctrl-C is not for it.
                [sys.executable, "-P", "-m", "core.guests.child"], start_new_session=True, bufsize=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=os.environ | threads | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            )  # fmt: skip
            assert process.stdin is not None and process.stdout is not None
            self.turn += 1
            self._loaded = {key: why for key, why in self._loaded.items() if why}  # that is not tried again
            self.wire = wire.Wire(process.stdout.fileno(), process.stdin.fileno())
            try:
                self.send(*map(os.path.abspath, sys.path))
                self.wire.receive(wire.START_SECONDS)
            except (EOFError, TimeoutError) as error:
                self.end()
                raise RuntimeError("The process for optimizer classes does not start.") from error

    def end(self, patience: float = 0.0) -> str:
        """Kill it and whatever it started; how it had ended by itself, if it does so within `patience` seconds."""
        with self.lock:
            process, self._process = self._process, None
            if process is None:
                return ""
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            code = process.returncode
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            return "" if code is None else f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def send(self, *message: object) -> None:
        """One message; raises what `Wire.send` does."""
        self.wire.send(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), wire.START_SECONDS)

    def forgotten(self) -> list[int]:
        """The rows that have left since somebody asked last."""
        gone = self.left[:]
        del self.left[: len(gone)]
        return gone

    def ask(self, *message: object) -> bytes:
        """One message, one answer.

        Raises:
            ValueError: the child could not do it; why, in a few words.
        """
        with self.lock:
            self.start()
            try:
                self.send(*message)
                answer = self.wire.receive(wire.START_SECONDS)
            except TimeoutError:
                self.end()
                raise ValueError(f"did not answer within {wire.START_SECONDS:g} s") from None
            except EOFError:
                raise ValueError(f"ended its process ({self.end(patience=1.0)})") from None
            except BaseException:  # an answer would be left in the pipe
                self.end()
                raise
            if answer[:1] == wire.FAILED:
                raise ValueError(harmless(answer[1:]))
            return answer[1:]

    def load(self, found: Found) -> str:
        """Have a class imported, once; why it cannot be, or ""."""
        key = found.module, found.name
        if key not in self._loaded:
            try:
                self.ask("load", *key)
                self._loaded[key] = ""
            except ValueError as error:
                self.start()
                self._loaded[key] = f"cannot be imported: {error}"
        return self._loaded[key]


HOST = Host()
_numbers = itertools.count()


@dataclass
class Told:
    """What a row was told in one step, and what it was answered when it asked for gradients."""

    job: Job
    answers: list[Answer] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.job.p.nbytes + self.job.g.nbytes + sum(g.nbytes for _, g in self.answers)


@dataclass(eq=False)
class Row:
    """One row's optimizer, as this side knows it."""

    place: int  # in its block
    seal: bytes  # what it remembered when the journal was begun; after "!": why it could not be kept
    journal: list[Told] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_numbers))
    turn: int = -1  # the process in which it is open
    lost: bool = False  # whether its process ended in this very step
    over: bool = False
    words: str = ""  # why it failed
    answer: bytes = b""  # to the last request

    def end(self, words: str = "") -> None:
        """Nobody will ask about it any more."""
        self.over, self.words, self.seal, self.journal = True, words, b"", []
        HOST.left.append(self.number)

    def begin(self) -> None:
        """Forget everything: the next step makes a new optimizer."""
        self.seal, self.journal, self.turn = b"", [], -1

    def requests(self, shapes: Shapes, seal: bool) -> list[tuple[Job | int, Told | None]]:
        """What is to be sent for its next step, or its seal; first, in a new process, all that it was told before."""
        opens = self.turn != HOST.turn
        telling = self.journal if opens else [] if seal else self.journal[-1:]
        found: list[tuple[Job | int, Told | None]] = [(told.job, told) for told in telling]
        if opens:
            found[0] = replace(telling[0].job, opens=(shapes, self.seal)), telling[0]
        return [*found, (self.number, None)] if seal else found


class Guests:
    """The optimizers of one block of rows, all of one class."""

    def __init__(self, found: Found, sealed: Sequence[bytes]):
        self._found = found
        self._rows = [Row(place, seal) for place, seal in enumerate(sealed)]
        self._shapes: Shapes = ()
        self._kept = np.zeros(2, np.int64)  # steps and bytes in the journals
        weakref.finalize(self, HOST.left.extend, [row.number for row in self._rows])

    def step(self, ctx: Context, settings: Sequence[Mapping[str, Any]], new: Sequence[bool]) -> Tensor:
        """The weights after the step, `[R, P]`: of rows that are `new` by an optimizer made from these settings."""
        layout = ctx.layout
        self._shapes = tuple(
            shape if layout.role(name) != "vector" else (math.prod(shape),) for name, shape in layout.shapes
        )
        p, g = ctx.p.cpu().numpy().copy(), ctx.g.cpu().numpy().copy()  # the journal keeps them
        losses, runs = ctx.loss.tolist(), (ctx.alive & ctx.loss.isfinite()).tolist()
        for row in [row for row in self._rows if not row.over]:
            i = row.place
            if not runs[i]:
                row.end()
            elif row.seal[:1] == wire.FAILED and not new[i]:
                self._fail(ctx, row, row.seal[1:].decode())
            else:
                if new[i]:
                    row.begin()
                seed = int(np.random.SeedSequence((ctx.seeds[i], ctx.step)).generate_state(1)[0])
                row.journal.append(Told(Job(row.number, seed, dict(settings[i]), losses[i], p[i], g[i])))

        def gradient(row: Row, at: bytes) -> Answer:
            there = torch.from_numpy(np.frombuffer(at, p.dtype).copy()).to(ctx.p)
            loss, found = ctx.gradient(there.unsqueeze(0), slice(row.place, row.place + 1))
            return float(loss), found[0].cpu().numpy()

        after, going = p.copy(), [row for row in self._rows if not row.over]
        self._exchange(going, gradient)
        for row in going:
            if not row.over:
                after[row.place] = np.frombuffer(row.answer, p.dtype)
        self._kept += np.array([1, sum(row.journal[-1].size for row in going if not row.over)])
        if (self._kept > (wire.JOURNAL_STEPS, wire.JOURNAL_BYTES)).any():
            self._fetch(going)
        for row in going:
            if row.over:
                self._fail(ctx, row, row.words)
        return torch.from_numpy(after).to(ctx.p)

    def seal(self) -> tuple[bytes, ...]:
        """What each row's optimizer remembers, as bytes; what cannot be kept ends its row in the next step."""
        stepped = [row for row in self._rows if row.journal]
        self._fetch(stepped)
        for row in stepped:
            if row.over:
                row.seal = wire.FAILED + row.words.encode()
        return tuple(row.seal for row in self._rows)

    def _fail(self, ctx: Context, row: Row, words: str) -> None:
        row.end(words)
        ctx.fail(row.place, words)

    def _fetch(self, rows: Sequence[Row]) -> None:
        """Ask what they remember, and begin their journals anew."""
        asked = [row for row in rows if not row.over]
        self._kept[:] = 0
        self._exchange(asked, None)
        for row in asked:
            if not row.over:
                row.seal, row.journal = row.answer, []

    def _exchange(self, rows: Sequence[Row], gradient: Gradient | None) -> None:
        """Have every row answered, whatever becomes of the process meanwhile; those that fail are over.

        They take the last step of their journals; without a `gradient` to ask for, they hand over their memory.
        """
        left, found = list(rows), self._found
        with HOST.lock:
            while left:
                HOST.start()
                if words := HOST.load(found):
                    for row in left:
                        row.end(words)
                    return
                plan = [(row, row.requests(self._shapes, gradient is None)) for row in left]
                jobs = [job for _, requests in plan for job, _ in requests]
                row = left[0]
                try:
                    HOST.send("work", found.module, found.name, HOST.forgotten(), jobs)
                    for row, requests in plan:
                        said = [_answer(row, job, told, gradient) for job, told in requests]
                        row.turn, row.lost, row.answer = HOST.turn, False, said[-1][1:]
                        if failed := next((each for each in said if each[:1] == wire.FAILED), b""):
                            row.end(harmless(failed[1:]))
                        left.remove(row)
                except TimeoutError as error:
                    HOST.end()
                    row.end(str(error))
                    left.remove(row)
                except EOFError:
                    how = HOST.end(patience=1.0)
                    if row.lost:
                        row.end(f"ended its process ({how})")
                        left.remove(row)
                    row.lost = True
                except BaseException:  # answers would be left in the pipe
                    HOST.end()
                    raise


def _answer(row: Row, job: Job | int, told: Told | None, gradient: Gradient | None) -> bytes:
    """The answer to one request; what the optimizer asks meanwhile is computed, or read from the journal."""
    limit = wire.FIRST_SECONDS if isinstance(job, Job) and job.opens else wire.STEP_SECONDS
    left, asked = limit, 0
    while True:
        began = time.monotonic()
        try:
            said = HOST.wire.receive(left)
        except TimeoutError:
            raise TimeoutError(f"did not answer within {limit:g} s") from None
        left = max(0.0, left - (time.monotonic() - began))
        if said[:1] != wire.ASK:
            return said
        assert told is not None
        if asked == len(told.answers):
            assert gradient is not None
            told.answers.append(gradient(row, said[1:]))
        HOST.send(*told.answers[asked])
        asked += 1
