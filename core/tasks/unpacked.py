"""A Parquet file on standard input, its cells as JSON on standard output: a script, run as a process of its own.

The library that reads Parquet aborts its whole process over some damaged files, and takes what memory a file asks for.
Here it takes down nothing else, and gets so much memory and time and no more.

    {"names": […], "columns": [[text or null, …] or {"words": […], "index": [number or null, …]}, …]}
    {"refused": "why, in one sentence"}
"""

from __future__ import annotations

import io
import json
import resource
import sys
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

MEMORY = 4 * 2**30  # bytes of addresses, of which most are never used
SECONDS = 20  # of a processor
_UNPACKED = 128 * 2**20  # bytes that a file may claim to unpack to
_WIDEST = 64  # bytes of a number
_DESCRIPTION = 2**24  # bytes of texts, and entries of lists, in the description
_CHARACTERS = 200  # of a text that are handed on
_PLAIN = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_string,
          types.is_large_string, types.is_temporal, types.is_null)  # fmt: skip


def unpacked(content: bytes, most_columns: int, most_cells: int) -> dict[str, Any]:
    """The names and cells of a file, or why it is refused; its description is looked at before anything is unpacked.

    Texts are a dictionary and an index, so that one repeated a million times takes no more memory than once.
    """
    limits = {"thrift_string_size_limit": _DESCRIPTION, "thrift_container_size_limit": _DESCRIPTION}
    file = pq.ParquetFile(io.BytesIO(content), **limits)
    about, schema = file.metadata, file.schema_arrow
    leaves = [file.schema.column(i) for i in range(about.num_columns)]
    chunks = [about.row_group(group).column(i) for group in range(about.num_row_groups) for i in range(len(leaves))]
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if not any(ask(kind) for ask in _PLAIN) or types.is_interval(kind):
            return {
                "refused": f"The column “{_shown(field.name)}” holds {_shown(str(kind))}, not one number, date or text "
                "a cell: leave it out."
            }
    if len(leaves) > most_columns:
        return {
            "refused": f"The table has {len(leaves):,} columns, and at most {most_columns} are read: keep those that "
            "matter."
        }
    cells = max(about.num_rows * len(leaves), sum(chunk.num_values for chunk in chunks))
    size = sum(chunk.total_uncompressed_size for chunk in chunks)
    if cells > most_cells or size > _UNPACKED or any(leaf.length > _WIDEST for leaf in leaves):
        return {"refused": too_large(most_cells)}
    file = pq.ParquetFile(io.BytesIO(content), read_dictionary=[leaf.path for leaf in leaves], **limits)
    table = file.read(use_threads=False)
    return {"names": table.column_names, "columns": [_cells(column) for column in table.columns]}


def too_large(most_cells: int) -> str:
    """A sentence on a table that is."""
    return f"The table has more than {most_cells:,} cells or is too large unpacked: bring fewer rows or columns of it."


def _shown(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:40]


def _cells(column: Any) -> list[str | None] | dict[str, list[Any]]:
    """The cells of a column of pyarrow's as texts."""
    kind = column.type
    if types.is_dictionary(kind) and not _is_text(kind.value_type):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_dictionary(kind) or _is_text(kind):
        one = (column if types.is_dictionary(kind) else column.dictionary_encode()).unify_dictionaries()
        words = one.chunk(0).dictionary.to_pylist() if one.num_chunks else []
        index = [i for chunk in one.chunks for i in chunk.indices.to_pylist()]
        return {"words": [word and word[:_CHARACTERS] for word in words], "index": index}
    if types.is_boolean(kind):
        return [None if value is None else str(value).lower() for value in column.to_pylist()]
    if types.is_date(kind) or types.is_timestamp(kind):
        seconds = column.cast(pa.timestamp("s", tz=getattr(kind, "tz", None)), safe=False).to_numpy()
        return [None if np.isnat(value) else str(value) for value in seconds.astype("datetime64[s]")]
    if types.is_temporal(kind):  # a time of day, or how long something took
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if types.is_float16(kind) or types.is_float32(kind) or types.is_decimal(kind):
        column = column.cast(pa.float64(), safe=False)
    return [None if value is None else str(value) for value in column.to_pylist()]


def _is_text(kind: Any) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))


if __name__ == "__main__":
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a system that does not know this one
            resource.setrlimit(limit, (most, most))
    columns, cells, bytes_said = map(int, sys.argv[1:])
    said = json.dumps(unpacked(sys.stdin.buffer.read(), columns, cells), ensure_ascii=False).encode()
    if len(said) > bytes_said:
        said = json.dumps({"refused": too_large(cells)}).encode()
    sys.stdout.buffer.write(said)
