"""The text in somebody's file: which encoding its bytes are in, and whether they are text at all."""

from __future__ import annotations

import codecs
import re

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # all but tab, line ends, and form feed
_MOST_CONTROL = 0.01  # share of control characters beyond which it is no text
_LOOKED_AT = 200_000  # bytes from which an encoding is guessed


def decoded(content: bytes) -> tuple[str, str]:
    """The text of a file and the name of its encoding: told by its mark, else UTF-8, else guessed from its bytes.

    The guess is charset_normalizer's; it is the same for the same bytes.

    Raises:
        ValueError: the file is empty, or no text; the message is one sentence that says what to do.
    """
    if not content.strip():
        raise ValueError("The file is empty: choose one with something in it.")
    text, encoding = _read(content)
    if "\x00" in text or len(_CONTROL.findall(text)) > _MOST_CONTROL * len(text):
        raise ValueError("The file is binary, not text: save it as plain text in UTF-8, and bring that.")
    return text, encoding


def _read(content: bytes) -> tuple[str, str]:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding), encoding.removesuffix("-sig").upper()
    except UnicodeDecodeError:
        pass
    if b"\x00" not in content:
        from charset_normalizer import from_bytes  # here, because few files need it

        found = from_bytes(content[:_LOOKED_AT]).best()
        if found is not None:
            try:
                return content.decode(found.encoding), found.encoding
            except UnicodeDecodeError:
                pass
    raise ValueError("The file's encoding cannot be told: save it in UTF-8, and bring that.")
