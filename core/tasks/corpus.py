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
        pieces = list(text) if by_letter else words(text)
        frequent = [piece for piece, _ in Counter(pieces).most_common(most)]
        if len(frequent) < 2:
            raise ValueError(
                f"The text has {len(frequent)} different {'letters' if by_letter else 'words'}: at least 2 are needed."
            )
        vocabulary = sorted(frequent) + ([UNKNOWN] if len(set(pieces)) > len(frequent) else [])
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
            raise ValueError(
                f"The {part} part of the text has {len(piece)} {self.kind}s, but one stretch of it takes {length}: "
                "the text is too short, or the context too long."
            )
        return np.lib.stride_tricks.sliding_window_view(piece, length)

    def entropy(self, context: int) -> float:
        """Entropy in nats of a token of the training part given so many before it, counted in that part itself:

        `-mean log (n(c, x) / n(c))` over all its stretches of a context c and a token x. No function of so many tokens
        has a lower mean loss on them.
        """
        windows = self.windows("train", context + 1)
        whole, before = self._numbered(windows), self._numbered(windows[:, :-1])
        return float(np.log(np.bincount(before)[before] / np.bincount(whole)[whole]).mean())

    def _numbered(self, windows: Ints) -> Ints:
        """A number for each of these stretches `[N, length]`, the same for equal ones."""
        number = np.zeros(len(windows), dtype=np.int64)
        for tokens in windows.T:
            number = np.unique(number * self.size + tokens, return_inverse=True)[1]
        return number

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
