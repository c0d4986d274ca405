"""Text as numbers: tokens, the part a network learns from, those it never sees, and the levels of its entropy."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.tasks.base import PARTS, Level
from core.tasks.data import DATA, random
from core.tasks.grammar import FOG

Ints = NDArray[np.int64]
UNKNOWN = "⁇"  # stands for every token outside the vocabulary
_WORDS = re.compile("\\n|\\w+(?:['\u2019]\\w+)*|[^\\w\\s]")
_OPENING, _CLOSING = set("([{\u201c\u2018"), set(".,;:!?)]}\u2019\u201d")
_PLAY = Path(__file__).parent / "texts" / "down_in_the_fog.txt"


def words(text: str) -> list[str]:
    """Words, punctuation marks and line ends, each a token of its own."""
    return _WORDS.findall(text)


def join_words(tokens: Sequence[str]) -> str:
    """The text that `words` was given, with spaces where print has them; of the play, to the last letter."""
    text, glue = "", True
    for token in tokens:
        if token == "\n" or glue or token in _CLOSING:
            text += token
        else:
            text += " " + token
        glue = token == "\n" or token in _OPENING
    return text


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in tokens: indices into `vocabulary`, by part ("train", "validation" and, where there is one, "test").

    `by_letter` tells how a sample is put together again.
    """

    parts: Mapping[str, Ints]
    vocabulary: tuple[str, ...]
    by_letter: bool

    @staticmethod
    def of(text: str, *, by_letter: bool, most: int = 10_000, validation: float = 0.1, test: float = 0.0) -> Corpus:
        """Cut a text into tokens; beyond the `most` frequent ones each becomes the unknown token.

        The parts follow each other in the text: training first, then these shares of it for validation and test. The
        vocabulary is the whole text's, so some tokens may never be seen in training.

        Raises:
            ValueError: the text has fewer than two different tokens.
        """
        pieces, kind = (list(text), "letter") if by_letter else (words(text), "word")
        counted = Counter(pieces)
        if not counted:
            raise ValueError(f"The text has no {kind}s: give one with at least 2 different ones.")
        if len(counted) == 1:
            (only,) = counted
            raise ValueError(
                f"The text has one {kind} only, {only[:40]!r}: give one with at least 2 different ones, or there is "
                "nothing to foretell."
            )
        frequent = [piece for piece, _ in counted.most_common(most) if piece != UNKNOWN]
        vocabulary = sorted(frequent) + ([UNKNOWN] if len(counted) > len(frequent) else [])
        index = {piece: i for i, piece in enumerate(vocabulary)}
        tokens = np.array([index.get(piece, len(vocabulary) - 1) for piece in pieces], dtype=np.int64)
        last = len(tokens) - round(test * len(tokens))
        cuts = [last - round(validation * len(tokens)), last]
        parts = dict(zip(PARTS, np.split(tokens, cuts), strict=True))
        return Corpus({name: part for name, part in parts.items() if len(part)}, tuple(vocabulary), by_letter)

    @property
    def size(self) -> int:
        """V, how many different tokens there are."""
        return len(self.vocabulary)

    @property
    def kind(self) -> str:
        """What a token is called."""
        return "letter" if self.by_letter else "word"

    @property
    def sample_length(self) -> int:
        """How many tokens make a text that one can judge at a glance: three or four lines."""
        return 160 if self.by_letter else 40

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as they are read."""
        pieces = [self.vocabulary[token] for token in tokens]
        return "".join(pieces) if self.by_letter else join_words(pieces)

    def windows(self, part: str, length: int) -> Ints:
        """All stretches of `length` tokens of a part, `[N, length]`, a view of it.

        Raises:
            ValueError: the part is shorter than that.
        """
        piece = self.parts[part]
        if len(piece) < length:
            kinds = self.kind + "s" * (len(piece) != 1)
            raise ValueError(
                f"The {part} part of the text has {len(piece)} {kinds}, but one stretch of it takes {length}: the text"
                " is too short, so give a longer one, or let the network see less of it at a time."
            )
        return np.lib.stride_tricks.sliding_window_view(piece, length)

    def entropy(self, context: int) -> float:
        """Entropy in nats of a token of the training part given so many before it, counted in that part itself:

        `-mean log (n(c, x) / n(c))` over all its stretches of a context c and a token x. No function of so many tokens
        has a lower mean loss on them.
        """
        *before, last = self.windows("train", context + 1).T
        seen = np.zeros(len(last), dtype=np.int64)  # a number for what stands before, the same for the same
        for tokens in before:
            seen = np.unique(seen * self.size + tokens, return_inverse=True)[1]
        whole = np.unique(seen * self.size + last, return_inverse=True)[1]
        return float(np.log(np.bincount(seen)[seen] / np.bincount(whole)[whole]).mean())

    def levels(self, context: int) -> tuple[Level, ...]:
        """ln V, the frequencies alone, the last token, and so many tokens before: what each is worth knowing for."""
        kind, nothing = self.kind, math.log(self.size)
        alone, last, heart = self.entropy(0), self.entropy(1), self.entropy(context)
        found = [
            Level(
                f"guessing: ln {self.size} = {nothing:.2f}", nothing,
                meaning=f"Giving each of {self.size} {kind}s the same chance has this loss; above it, a network is too "
                "sure of itself.",
            ),
            Level(
                f"how frequent each {kind} is: {alone:.2f}", alone,
                meaning=f"Who knows how often each {kind} occurs, and looks at none before it, has this loss.",
            ),
            Level(
                f"which {kind} follows which: {last:.2f}", last,
                meaning=f"Who has counted which {kind} follows which in the training part has this loss there.",
            ),
        ]  # fmt: skip
        if context > 1:
            found.append(
                Level(
                    f"the last {context} {kind}s by heart: {heart:.2f}", heart,
                    meaning=f"Who has learned by heart what follows every {context} {kind}s of the training part has "
                    f"this loss there. No network that sees {context} {kind}s can go below it on all of that part.",
                )
            )  # fmt: skip
        return tuple(found)


@lru_cache(maxsize=1)
def play() -> Corpus:
    """ "Down in the Fog", a play in five scenes that was written for this project, in words; its last tenth held out.

    There is no test part: what is held out is one scene's end, about 200 words, too little to be cut in two.
    """
    return Corpus.of(_PLAY.read_text("utf-8"), by_letter=False)


@lru_cache(maxsize=1)
def endless_script() -> Corpus:
    """250,000 letters of a play without end, from the grammar `FOG`: four fifths to train on, then two tenths that no
    network has seen. They go on from there, so that they are fresh text of the same source.
    """
    return Corpus.of(FOG.write(random(0, DATA), 250_000), by_letter=True, validation=0.1, test=0.1)


@lru_cache(maxsize=1)
def manual() -> Corpus:
    """Python's manual of its own language, letter by letter: the topics of `help()`, in the order of their names.

    The text is that of the Python which runs this, and differs between versions, as do all levels. Topics that hold
    the same words as another are left out, for a network would know them; the last topics are held out.
    """
    from pydoc_data.topics import topics  # here, because it is half a megabyte

    return Corpus.of("\n".join(dict.fromkeys(topics[name] for name in sorted(topics))), by_letter=True, test=0.1)
