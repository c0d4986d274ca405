"""What a person brought, a text or a table, as a task: known by the hash of its bytes, which lie in a file.

    words-<hash>, letters-<hash>                          a text, learned word by word or letter by letter
    table-<hash>-<column>-classes, table-…-number         a table, its target's column (from 0) and what that is

A name is all that a config holds of it. The bytes lie in a folder of this server (`home`), in a file that only its
account can read, and each worker reads them there when it first needs them. They are read as data and never run.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from core.cache import Cache
from core.spec import Value
from core.tasks.base import Task, TaskKind
from core.tasks.dense import hidden_layers
from core.tasks.language import HELD_OUT, LETTERS, MOST, WORDS, own_text
from core.tasks.own_table import Prepared, Table, TargetKind, prepare, read_table

GONE = "This link speaks of a text or table that was brought in another session: bring it again under Your own."
_NAME = re.compile(
    r"(?P<what>words|letters)-(?P<text>[0-9a-f]{32})|"
    rf"table-(?P<table>[0-9a-f]{{32}})-(?P<column>0|[1-9][0-9]{{0,4}})-(?P<kind>{'|'.join(get_args(TargetKind))})"
)
_MADE = 64 * 10**6  # bytes of which a process keeps what it has made of them


@dataclass(frozen=True)
class Brought:
    """What a name says: the hash of the bytes, and how they are taken.

    `what` is "words", "letters" or "table"; the others are a table's.
    """

    content: str
    what: str
    column: int = 0
    kind: TargetKind = "classes"

    @property
    def name(self) -> str:
        """What configs and links call it."""
        more = f"-{self.column}-{self.kind}" if self.what == "table" else ""
        return f"{self.what}-{self.content}{more}"

    @staticmethod
    def named(name: str) -> Brought | None:
        """What the name of a task says, where it is one of something brought."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        if found["text"]:
            return Brought(found["text"], found["what"])
        kind = next(kind for kind in get_args(TargetKind) if kind == found["kind"])
        return Brought(found["table"], "table", int(found["column"]), kind)


def kind(name: str) -> TaskKind:
    """The registry entry of that name.

    Raises:
        KeyError: it is no name of something brought.
    """
    brought = Brought.named(name)
    if brought is None:
        raise KeyError(name)
    if brought.what == "table":
        return TaskKind(name, "Your table", lambda **settings: _table(brought, **settings), hidden_layers(16, 1))
    sizes = LETTERS if brought.what == "letters" else WORDS
    return TaskKind(
        name, "Your text", lambda **settings: _text(brought, **settings), (*sizes, MOST, HELD_OUT), batch=64, seeds=1,
        selection="train",
    )  # fmt: skip


def build(name: str, settings: tuple[tuple[str, Value], ...]) -> Task:
    """The task of that name and settings; the last ones are kept, for as long as their bytes are there.

    Raises:
        ValueError: the bytes are not there, or do not make this task; one sentence says why.
    """
    brought = Brought.named(name)
    assert brought is not None
    return _of(brought.content, ("task", name, settings), lambda: kind(name).make(**dict(settings)))


def content_of(name: str) -> str:
    """The hash in a name; "" where it is none of something brought."""
    brought = Brought.named(name)
    return brought.content if brought else ""


def _text(brought: Brought, **settings: Any) -> Task:
    return own_text(read(brought.content).decode(), by_letter=brought.what == "letters", **settings)


def _table(brought: Brought, **settings: Any) -> Task:
    return prepared(brought).task(**settings)


def prepared(brought: Brought) -> Prepared:
    """A table made ready, and what was done to each of its columns; the last ones are kept.

    Raises:
        ValueError: the bytes are not there, or do not make a problem; one sentence says why.
    """

    def make() -> Prepared:
        found = table(brought.content)
        if brought.column >= len(found.columns):
            raise ValueError(f"This table has {len(found.columns)} columns, and no column {brought.column + 1}.")
        return prepare(found, found.columns[brought.column], brought.kind)

    return _of(brought.content, ("prepared", brought), make)


def table(content: str) -> Table:
    """The table of these bytes, as it was read; the last ones are kept.

    Raises:
        ValueError: the bytes are not there, or are no table; one sentence says why.
    """
    return _of(content, ("table",), lambda: read_table(read(content)))


T = TypeVar("T")
_made: Cache[tuple[int, Any]] = Cache(_MADE, lambda sized: sized[0])


def _of(content: str, what: tuple[Hashable, ...], make: Callable[[], T]) -> T:
    """Something made of the bytes of that hash, as large as they are for all we know; never of bytes that are gone."""
    size = len_of(content)
    found: T = _made.get((content, *what), lambda: (size, make()))[1]
    len_of(content)  # while it was made, they may have been let go
    return found


# ---------------------------------------------------------------- where the bytes lie

_home: list[str | tempfile.TemporaryDirectory[str]] = []


def home() -> str:
    """The folder of the bytes: one of this process's own, which goes with it, or the one that it was told to use."""
    if not _home:
        _home.append(tempfile.TemporaryDirectory(prefix="descent-lab-"))
    found = _home[0]
    return found if isinstance(found, str) else found.name


def use(folder: str) -> None:
    """Read the bytes from another process's folder: a worker from the server's."""
    _home[:] = [folder]


def hash_of(content: bytes) -> str:
    """The hash by which these bytes are known."""
    return hashlib.sha256(content).hexdigest()[:32]


def leave() -> None:
    """Remove the folder, where it is this process's own: a server that a signal ends never comes to its exit."""
    for folder in _home:
        if not isinstance(folder, str):
            folder.cleanup()
    _home.clear()


def keep(content: bytes, name: str = "") -> str:
    """Write bytes where they are read; returns their hash, which is `name` where that is known. What is there already
    is left as it is.
    """
    name = name or hash_of(content)
    if _file(name).exists():
        return name
    handle, half = tempfile.mkstemp(dir=home())  # which makes files for this account alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(half, _file(name))
    except BaseException:
        os.unlink(half)
        raise
    return name


def len_of(content: str) -> int:
    """How many bytes those of that hash are.

    Raises:
        ValueError: they are not here, or not any more; what was made of them is let go.
    """
    try:
        return _file(content).stat().st_size
    except FileNotFoundError:
        tidy()
        raise ValueError(GONE) from None


def read(content: str) -> bytes:
    """The bytes of that hash.

    Raises:
        ValueError: they are not here, or not any more.
    """
    try:
        return _file(content).read_bytes()
    except FileNotFoundError:
        raise ValueError(GONE) from None


def forget(content: str) -> None:
    """Remove the bytes of that hash, and what was made of them in this process."""
    _file(content).unlink(missing_ok=True)
    tidy()


def tidy() -> None:
    """Let go of what was made of bytes that are no longer there."""
    _made.keep(lambda key: isinstance(key, tuple) and _file(str(key[0])).exists())


def _file(content: str) -> Path:
    return Path(home(), content)
