"""Plug-in files: problems of one's own, in the menu beside the built-in ones.

`register` puts a task into the registry; `load("my_tasks.py")` runs the files that call it. Who starts the app says
which, in the environment variable `DESCENT_LAB_PLUGINS`; a visitor cannot. A file runs in the server and, from the
text that the server has read, in each worker: both always have the same tasks.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from core.spec import Hyper, complete
from core.tasks import TASKS, Task, TaskKind, build, make_anew
from core.tasks.plain import said

VARIABLE = "DESCENT_LAB_PLUGINS"
SECONDS = 60.0  # a file may take, its data and the checks of its tasks included


@dataclass(frozen=True)
class Plugin:
    """A file as it was when it was read."""

    path: str
    source: str

    @staticmethod
    def read(path: str) -> Plugin:
        """Raises what the system raises where it cannot be read, and `ValueError` where it is no text."""
        place = Path(path).resolve(strict=True)
        return Plugin(str(place), place.read_text("utf-8"))

    def run(self) -> None:
        """Register its tasks, in the place of those it had before: all of them or, where anything fails, none.

        Raises:
            ValueError: it registers nothing, or has not come to its end in time. Whatever else it raises is raised.
        """
        self._forget()
        running = _RUNNING.set(self)
        try:
            with _in_time(SECONDS):
                self._execute()
            if not any(_is_from(self, kind) for kind in TASKS.values()):
                raise ValueError("it registers no problem: from core.plugins import register")
        except BaseException:
            self._forget()
            raise
        finally:
            _RUNNING.reset(running)

    def _execute(self) -> None:
        module = ModuleType(self._name)
        module.__file__ = self.path
        sys.modules[self._name] = module  # where dataclasses look for it
        folder = str(Path(self.path).parent)
        if folder not in sys.path:
            sys.path.append(folder)  # a file may import its neighbours
        exec(compile(self.source, self.path, "exec", dont_inherit=True), vars(module))

    def _forget(self) -> None:
        sys.modules.pop(self._name, None)
        for name in [name for name, kind in TASKS.items() if _is_from(self, kind)]:
            del TASKS[name]
        make_anew()

    @property
    def _name(self) -> str:
        return f"plugin_{Path(self.path).stem}_{zlib.crc32(self.path.encode()):08x}"


@dataclass(frozen=True)
class Plugged(TaskKind):
    """A registry entry that a file brought, or (None) a notebook."""

    plugin: Plugin | None = None


_RUNNING: ContextVar[Plugin | None] = ContextVar("the plug-in file that is being run", default=None)


def register(name: str, label: str, make: Callable[..., Task], hypers: Iterable[Hyper] = ()) -> None:
    """Put a problem into the registry, or in the place of one that was registered from here before.

    Args:
        name: what links and `race` call it: letters, digits and . _ -
        label: what the menu calls it.
        make: makes the task, with the settings as keyword arguments. It is made here once, with their defaults.
        hypers: the settings.

    Raises:
        ValueError: the name is taken or cannot be one, or the task cannot be made; a sentence says why.
    """
    plugin = _RUNNING.get()
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII):
        raise ValueError(f"a problem cannot be called {name[:40]!r}: only letters, digits and . _ - will do")
    known = TASKS.get(name)
    if known is not None and not (isinstance(known, Plugged) and _home(known.plugin) == _home(plugin)):
        raise ValueError(f"there is a problem called {name} already")
    kind = Plugged(name, label, _guarded(label, make), tuple(hypers), plugin=plugin)
    settings = complete(kind.hypers, {}, name)
    make_anew()
    TASKS[name] = kind
    try:
        build(name, settings)
    except BaseException:
        if known is None:
            del TASKS[name]
        else:
            TASKS[name] = known
        raise


def load(named: str) -> list[Plugin]:
    """Read and run all files that are named, as in a shell's command line; those that could be.

    What cannot be had is left out, with one line on standard error.
    """
    found = []
    for word in shlex.split(named):
        with _left_out(word):
            plugin = Plugin.read(word)
            plugin.run()
            found.append(plugin)
    return found


def bring(plugins: Iterable[Plugin]) -> None:
    """Run files that another process has read, in the same way."""
    for plugin in plugins:
        with _left_out(plugin.path):
            plugin.run()


def tasks_of(plugin: Plugin) -> list[TaskKind]:
    """The registry entries that a file brought."""
    return [kind for kind in TASKS.values() if _is_from(plugin, kind)]


def plugged() -> tuple[Plugin, ...]:
    """The files that have tasks in the registry, for a worker to `bring`."""
    files = [kind.plugin for kind in TASKS.values() if isinstance(kind, Plugged) and kind.plugin is not None]
    return tuple(dict.fromkeys(files))


class _TooLong(BaseException):
    """Raised in the midst of a file; no `except Exception` of its own stops it."""


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    """Interrupt what runs in the main thread after so many seconds; what another thread runs is left alone.

    What neither sleeps nor comes back to Python meanwhile, a long computation of a library, is interrupted at its end.

    Raises:
        ValueError: it was interrupted.
    """

    def interrupt(*_: object) -> None:
        raise _TooLong

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TooLong:
        raise ValueError(f"it has not come to its end after {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _left_out(word: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        why = str(error).partition("\n")[0] if type(error) is ValueError else said(error)
        print(f"plug-ins: {word} is left out: {why}", file=sys.stderr)


def _guarded(label: str, make: Callable[..., Task]) -> Callable[..., Task]:
    """`make`, which raises nothing but `ValueError` and gives nothing but a task."""

    def guarded(**settings: Any) -> Task:
        try:
            made = make(**settings)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"{label} cannot be made with these settings ({said(error)}).") from error
        if not isinstance(made, Task):
            raise ValueError(f"{label} is made as {type(made).__name__}, but must be a task, as from_module gives.")
        return made

    return guarded


def _home(plugin: Plugin | None) -> str | None:
    return plugin.path if plugin else None


def _is_from(plugin: Plugin, kind: TaskKind) -> bool:
    return isinstance(kind, Plugged) and _home(kind.plugin) == plugin.path
