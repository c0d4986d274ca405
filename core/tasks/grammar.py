"""A small stochastic grammar that writes a play without end, and exactly how much of it cannot be foretold."""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

_HOLE = re.compile(r"\{(\w+)\}")

Rules = Mapping[str, tuple[tuple[float, str], ...]]


@dataclass(frozen=True, eq=False)
class Grammar:
    """What each name may become: alternatives `(probability, text)`, in which `{name}` stands for another such choice.

    A text is the first name's expansion over and over, each time chosen anew.

    No alternative is empty, and each begins with a letter that no other one of the same choice begins with. Whoever
    reads a text from its start therefore knows every choice as soon as its first letter is written: no text comes about
    in two ways, and the entropy of the text is that of the choices.

    Raises:
        ValueError: probabilities that do not add up to 1, a name without a rule, an alternative that is empty or begins
            like another one, or an expansion without an expected end.
    """

    rules: Rules

    def __post_init__(self) -> None:
        for name, alternatives in self.rules.items():
            if any(p <= 0 for p, _ in alternatives) or not math.isclose(sum(p for p, _ in alternatives), 1):
                raise ValueError(f"The probabilities of {name!r} must be above 0 and add up to 1.")
            for hole in (hole for _, text in alternatives for hole in _HOLE.findall(text)):
                if hole not in self.rules:
                    raise ValueError(f"{name!r} speaks of {hole!r}, which has no rule.")
        for name in self.rules:
            firsts = self._firsts(name, ())
            if len(firsts) != len(set(firsts)):
                raise ValueError(f"Two alternatives of {name!r} begin with the same letter.")
        if max(abs(np.linalg.eigvals(self._holes))) >= 1:
            raise ValueError("An expansion has no expected end: some name leads back to itself too often.")

    def _firsts(self, name: str, outer: tuple[str, ...]) -> list[str]:
        """What the alternatives of a choice may begin with, one letter for each way in which they may."""
        found: list[str] = []
        for _, text in self.rules[name]:
            hole = _HOLE.match(text)
            if not text or (hole and hole[1] in (*outer, name)):
                raise ValueError(f"An alternative of {name!r} is empty or begins with itself.")
            found += self._firsts(hole[1], (*outer, name)) if hole else [text[0]]
        return found

    @cached_property
    def _holes(self) -> np.ndarray:
        """How often a choice of each name is expected to call each other one, directly: `[names, names]`."""
        called = [[(p, _HOLE.findall(text)) for p, text in alternatives] for alternatives in self.rules.values()]
        return np.array([[sum(p * holes.count(name) for p, holes in one) for name in self.rules] for one in called])

    def _expected(self, own: list[float]) -> float:
        """The expected sum over all choices of one expansion of the first name, `own` being each name's summand."""
        return float(np.linalg.solve(np.eye(len(own)) - self._holes, own)[0])

    @cached_property
    def length(self) -> float:
        """Letters of an expansion of the first name, expected."""
        return self._expected(
            [sum(p * len(_HOLE.sub("", text)) for p, text in alternatives) for alternatives in self.rules.values()]
        )

    @cached_property
    def rate(self) -> float:
        """Entropy in nats a letter: that of the choices of one expansion, over its expected length.

        The mean of `-log p(letter | all before it)` over a long text tends to it with the true probabilities, and with
        any others to no less.
        """
        return (
            self._expected([-sum(p * math.log(p) for p, _ in alternatives) for alternatives in self.rules.values()])
            / self.length
        )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All letters that occur, in order."""
        texts = [_HOLE.sub("", text) for alternatives in self.rules.values() for _, text in alternatives]
        return tuple(sorted(set("".join(texts))))

    def write(self, generator: np.random.Generator, length: int) -> str:
        """The first so many letters of a text."""
        choices = {
            name: (list(accumulate(p for p, _ in alternatives))[:-1], [_HOLE.split(text) for _, text in alternatives])
            for name, alternatives in self.rules.items()
        }
        first = next(iter(self.rules))
        written: list[str] = []
        count, still = 0, [("", first)]  # what is still to be written, last things first: a text, or a choice
        while count < length:
            text, name = still.pop() if still else ("", first)
            written.append(text)
            count += len(text)
            if name:
                bounds, alternatives = choices[name]
                pieces = alternatives[bisect(bounds, generator.random())]  # text, name, text, name, …, text
                still += [(piece, "") if i % 2 == 0 else ("", piece) for i, piece in enumerate(pieces)][::-1]
        return "".join(written)[:length]


FOG = Grammar(
    {
        "scene": ((1, "SCENE. {place}\n\n{turns}"),),
        "place": (
            (0.3, "A {thing} {hour}. Fog."),
            (0.3, "Loose stone. {hearing}"),
            (0.2, "The hut of the KEEPER. A map, and the map is white."),
            (0.2, "Higher than before. Nobody knows why."),
        ),
        "hour": ((0.5, "at night"), (0.3, "before dawn"), (0.2, "in the rain")),
        "hearing": ((0.6, "Wind."), (0.4, "Somebody is running.")),
        "turns": ((0.9, "{turn}{turns}"), (0.1, "{end}")),
        "turn": (
            (0.25, "MARA: {mara}\n"),
            (0.25, "OTTO: {otto}\n"),
            (0.2, "PIP: {pip}\n"),
            (0.15, "KEEPER: {keeper}\n"),
            (0.15, "({stage})\n"),
        ),
        "mara": (
            (0.25, "I ask the {thing}. The {thing} says: {way}."),
            (0.2, "The {thing} is {kind}, and never the whole {thing}."),
            (0.15, "Nobody can see the {thing} from here."),
            (0.15, "We walked {far}. The step was {size}."),
            (0.15, "Small steps are good {where}."),
            (0.1, "Down is {way}."),
        ),
        "otto": (
            (0.25, "My legs remember {memory}!"),
            (0.2, "I cannot {stop}!"),
            (0.15, "Faster! The {thing} is {kind}!"),
            (0.15, "How do we know that the {thing} is {kind}?"),
            (0.15, "Another {thing}! It was {kind}, and it is gone."),
            (0.1, "{parts} parts of every step are old steps."),
        ),
        "pip": (
            (0.35, "({noting}"),
            (0.25, "What is {asked}?"),
            (0.25, "I can see {seen}!"),
            (0.15, "Listen. {sound}."),
        ),
        "noting": (
            (0.5, "writing) We are {number} steps {lower}."),
            (0.5, "reading) The loss is {digit}.{digit}{digit}."),
        ),
        "keeper": (
            (0.3, "Every {thing} looks like a {thing} from the inside."),
            (0.2, "A {thing} is {long}."),
            (0.2, "One man {fate}, and he is here yet."),
            (0.2, "Go back to the {thing}, and begin again, with {another} step."),
            (0.1, "The {thing} matters. But the step matters first."),
        ),
        "stage": (
            (0.3, "They walk. The {thing} walks with them."),
            (0.2, "A stone falls past {whom}, and is gone."),
            (0.2, "OTTO runs past {whom}, and {up}."),
            (0.2, "PIP holds the {thing} high."),
            (0.1, "Nobody speaks."),
        ),
        "thing": (
            (0.2, "valley"), (0.2, "hollow"), (0.15, "slope"), (0.15, "path"), (0.1, "lamp"), (0.1, "mountain"),
            (0.05, "ground"), (0.05, "fog"),
        ),
        "kind": (
            (0.25, "steep"), (0.2, "flat"), (0.15, "wet"), (0.15, "cold"), (0.1, "kind"), (0.1, "gone"),
            (0.05, "older than it looks"),
        ),
        "way": ((0.4, "down"), (0.2, "this way"), (0.2, "left"), (0.1, "where the water runs"), (0.1, "up")),
        "far": ((0.4, "up a wall"), (0.3, "past the {thing}"), (0.3, "into a {thing}")),
        "size": ((0.5, "long"), (0.3, "much too {size}"), (0.2, "short")),
        "where": ((0.4, "on the {thing}"), (0.4, "in the {thing}"), (0.2, "and slow")),
        "memory": ((0.5, "the {thing} above"), (0.3, "{some} {thing}"), (0.2, "nothing")),
        "some": ((0.5, "every"), (0.5, "one more")),
        "stop": ((0.4, "stop"), (0.3, "forget"), (0.2, "turn"), (0.1, "arrive")),
        "parts": ((0.6, "Nine"), (0.2, "Eight"), (0.2, "Six")),
        "asked": ((0.4, "the price"), (0.3, "on the {thing}"), (0.3, "behind the {thing}")),
        "seen": ((0.6, "the {thing}"), (0.2, "MARA"), (0.2, "another {thing}")),
        "sound": ((0.4, "Water"), (0.3, "Nothing"), (0.3, "A {thing}")),
        "number": ((0.4, "nine"), (0.2, "a hundred"), (0.2, "two"), (0.2, "forty")),
        "lower": ((0.6, "lower"), (0.2, "too low"), (0.2, "behind")),
        "digit": ((0.3, "0"), (0.2, "1"), (0.2, "2"), (0.1, "5"), (0.1, "6"), (0.1, "9")),
        "long": ((0.5, "longer"), (0.3, "nothing to a {thing}"), (0.2, "an hour, in here")),
        "fate": (
            (0.3, "took a {size} step"), (0.3, "sat down by my fire"), (0.2, "forgot his {thing}"),
            (0.2, "divided by zero"),
        ),
        "another": ((0.6, "a shorter"), (0.2, "the same"), (0.2, "one more")),
        "whom": ((0.3, "MARA"), (0.3, "PIP"), (0.4, "the {thing}")),
        "up": ((0.5, "up the other side"), (0.3, "cannot stop"), (0.2, "back")),
        "end": (
            (0.5, "ALL: {chorus}.\n\n"),
            (0.3, "END OF A SCENE. The {thing} is {kind}.\n\n"),
            (0.2, "Night. Nobody has arrived.\n\n"),
        ),
        "chorus": ((0.6, "It is always also the step"), (0.4, "We ask the {thing}")),
    }
)  # fmt: skip
