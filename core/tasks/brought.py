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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

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
_BUILT = 4  # tasks that a process keeps, of all that were brought


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
    """The task of that name and settings; the last few are kept, for as long as their bytes are there.

    Raises:
        ValueError: the bytes are not there, or do not make this task; one sentence says why.
    """
    tidy()
    return _built(name, settings)


@lru_cache(maxsize=_BUILT)
def _built(name: str, settings: tuple[tuple[str, Value], ...]) -> Task:
    _kept.add(content_of(name))
    return kind(name).make(**dict(settings))


def content_of(name: str) -> str:
    """The hash in a name; "" where it is none of something brought."""
    brought = Brought.named(name)
    return brought.content if brought else ""


def _text(brought: Brought, **settings: Any) -> Task:
    return own_text(read(brought.content).decode(), by_letter=brought.what == "letters", **settings)


def _table(brought: Brought, **settings: Any) -> Task:
    return prepared(brought).task(**settings)


@lru_cache(maxsize=2)
def prepared(brought: Brought) -> Prepared:
    """A table made ready, and what was done to each of its columns; the last two are kept.

    Raises:
        ValueError: the bytes are not there, or do not make a problem; one sentence says why.
    """
    found = table(brought.content)
    if brought.column >= len(found.columns):
        raise ValueError(f"This table has {len(found.columns)} columns, and no column {brought.column + 1}.")
    return prepare(found, found.columns[brought.column], brought.kind)


@lru_cache(maxsize=2)
def table(content: str) -> Table:
    """The table of these bytes, as it was read; the last two are kept.

    Raises:
        ValueError: the bytes are not there, or are no table; one sentence says why.
    """
    _kept.add(content)
    return read_table(read(content))


# ---------------------------------------------------------------- where the bytes lie

_kept: set[str] = set()  # hashes of what the caches above may hold something of
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


def named(content: bytes) -> str:
    """The hash by which these bytes are known."""
    return hashlib.sha256(content).hexdigest()[:32]


def leave() -> None:
    """Remove the folder, where it is this process's own: a server that a signal ends never comes to its exit."""
    for folder in _home:
        if not isinstance(folder, str):
            folder.cleanup()
    _home.clear()


def keep(content: bytes) -> str:
    """Write the bytes where they are read; returns their hash. What is there already is left as it is."""
    name = named(content)
    if not _file(name).exists():
        handle, half = tempfile.mkstemp(dir=home())  # which makes files for this account alone
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(half, _file(name))
    return name


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


def tidy() -> bool:
    """Let go of what was made of bytes that are no longer there; whether there was any."""
    gone = {content for content in set(_kept) if not _file(content).exists()}
    if gone:
        _kept.difference_update(gone)
        _built.cache_clear()
        prepared.cache_clear()
        table.cache_clear()
    return bool(gone)


def _file(content: str) -> Path:
    return Path(home(), content)
