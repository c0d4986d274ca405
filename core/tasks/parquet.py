"""The columns of a Parquet file, unpacked by a process that may die of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from core.tasks.columns import CELLS, COLUMNS, ROWS, Column, drawn, some_are_used, typed

MARK = b"PAR1"  # how such a file begins
_SCRIPT = Path(__file__).with_name("unpacked.py")
_SECONDS = 60  # that the process may take, on a busy machine
_MOST = 32 * 2**20  # bytes of JSON that it may say
_ONE = threading.Lock()
_BROKEN = "The Parquet file cannot be read: it is damaged or cut short, so write it anew or bring the table as CSV."


def read_parquet(content: bytes) -> tuple[list[str], list[Column], list[str]]:
    """The names, the columns, and sentences about what was done, of a table in Parquet.

    A column is typed by what its cells say, as in a CSV file.

    Raises:
        ValueError: it is no such table, or too large; the message is one sentence that says what to do.
    """
    found = _unpacked(content)
    if "refused" in found:
        raise ValueError(found["refused"])
    names: list[str] = found["names"]
    count = (
        max(len(column["index"] if isinstance(column, dict) else column) for column in found["columns"]) if names else 0
    )
    rows = drawn(count, ROWS).tolist() if count > ROWS else range(count)
    columns = []
    for column in found["columns"]:
        if isinstance(column, dict):
            words, index = column["words"], column["index"]
            cells = [None if (at := index[row]) is None else words[at] for row in rows]
        else:
            cells = [column[row] for row in rows]
        columns.append(typed(cells))
    return names, columns, [some_are_used(count)] * (count > ROWS)


def _unpacked(content: bytes) -> dict[str, Any]:
    """What the script `unpacked.py` says of these bytes, in a file that is no larger than it may be; one at a time."""
    command = [sys.executable, "-I", str(_SCRIPT), str(COLUMNS), str(CELLS), str(_MOST)]
    try:
        with _ONE, tempfile.TemporaryFile() as said:
            subprocess.run(
                command, input=content, stdout=said, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=True
            )  # fmt: skip
            said.seek(0)
            found: dict[str, Any] = json.load(said)
    except (subprocess.SubprocessError, ValueError):
        raise ValueError(_BROKEN) from None
    return found
