"""The grammar that writes without end: no text comes about in two ways, and its entropy rate is what texts show."""

import math
import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from core.tasks.corpus import Corpus
from core.tasks.grammar import FOG, Grammar, Rules

HOLE = re.compile(r"\{(\w+)\}")
COIN = Grammar({"s": ((0.5, "a"), (0.5, "ba"))})


def derivations(rules: Rules, text: str) -> int:
    """In how many ways the first name may become exactly this text: every alternative is tried at every place."""

    @cache
    def of_name(name: str, at: int) -> dict[int, int]:
        """{where an expansion that begins here may end: in how many ways}"""
        found: dict[int, int] = {}
        for _, alternative in rules[name]:
            for end, ways in of_pieces(tuple(HOLE.split(alternative)), at).items():
                found[end] = found.get(end, 0) + ways
        return found

    @cache
    def of_pieces(pieces: tuple[str, ...], at: int) -> dict[int, int]:
        """The same for text, name, text, name, …, text."""
        if not text.startswith(pieces[0], at):
            return {}
        at += len(pieces[0])
        if len(pieces) == 1:
            return {at: 1}
        found: dict[int, int] = {}
        for middle, ways in of_name(pieces[1], at).items():
            for end, more in of_pieces(pieces[2:], middle).items():
                found[end] = found.get(end, 0) + ways * more
        return found

    return of_name(next(iter(rules)), 0).get(len(text), 0)


def reading(rules: Rules, text: str) -> Iterator[tuple[float, int]]:
    """The choices behind a text, read from its start with one letter in sight: (-log p, letters) of each expansion of
    the first name that is whole.
    """
    at, first = 0, next(iter(rules))

    def begins(alternative: str, letter: str) -> bool:
        hole = HOLE.match(alternative)
        if hole:
            return any(begins(inner, letter) for _, inner in rules[hole[1]])
        return alternative[0] == letter

    def read(name: str) -> float:
        nonlocal at
        ((p, alternative),) = [(p, text_) for p, text_ in rules[name] if begins(text_, text[at])]
        told = -math.log(p)
        for i, piece in enumerate(HOLE.split(alternative)):
            if i % 2:
                told += read(piece)
            else:
                if len(text) - at < len(piece):
                    raise IndexError
                assert text.startswith(piece, at)
                at += len(piece)
        return told

    while True:
        start = at
        try:
            told = read(first)
        except IndexError:  # the text breaks off
            return
        yield told, at - start


def test_every_scene_comes_about_in_one_way() -> None:
    """Counted over all derivations, of 40 scenes; and the count does see where there are two."""
    text, scenes, at = FOG.write(np.random.default_rng(3), 40_000), [], 0
    for _, length in reading(FOG.rules, text):
        scenes.append(text[at : at + length])
        at += length
    assert len(scenes) >= 40
    assert [derivations(FOG.rules, scene) for scene in scenes[:40]] == [1] * 40
    assert derivations({"s": ((0.5, "a{t}"), (0.5, "ab")), "t": ((1, "b"),)}, "ab") == 2
    assert derivations(FOG.rules, scenes[0] + "!") == 0


def test_the_entropy_rate_is_that_of_long_texts() -> None:
    """The choices that a reader recovers from two million letters: within three standard errors, and less than 1%."""
    text = FOG.write(np.random.default_rng(5), 2_000_000)
    told, letters = np.array(list(reading(FOG.rules, text))).T
    rate = told.sum() / letters.sum()
    error = (told - rate * letters).std() / math.sqrt(len(told)) / letters.mean()
    assert error < 0.01 * FOG.rate
    assert abs(rate - FOG.rate) < 3 * error
    spread = letters.std() / math.sqrt(len(letters))
    assert abs(letters.mean() - FOG.length) < 3 * spread


def test_rates_by_hand() -> None:
    """A coin a word of one letter or two: ln 2 / 1.5. An ending with chance 1/2: two choices and three letters."""
    assert COIN.rate == pytest.approx(math.log(2) / 1.5)
    tail = Grammar({"s": ((0.5, "ab"), (0.5, "c{s}"))})
    assert tail.length == pytest.approx(3)
    assert tail.rate == pytest.approx(2 * math.log(2) / 3)
    assert Grammar({"s": ((1, "{t}{t}."),), "t": ((0.25, "x"), (0.75, "y"))}).rate == pytest.approx(
        2 * (0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / 3
    )


def test_the_rate_is_what_counting_letters_comes_to() -> None:
    """Of a source whose next letter depends on the last alone, all choices left aside: 200,000 letters, to 1%."""
    corpus = Corpus.of(COIN.write(np.random.default_rng(0), 200_000), by_letter=True)
    assert corpus.entropy(1) == pytest.approx(COIN.rate, rel=0.01)


def test_a_text_is_as_long_as_asked_and_its_beginning_does_not_depend_on_that() -> None:
    long = FOG.write(np.random.default_rng(1), 5000)
    assert len(long) == 5000
    assert FOG.write(np.random.default_rng(1), 1234) == long[:1234]
    assert FOG.write(np.random.default_rng(2), 1234) != long[:1234]
    assert FOG.write(np.random.default_rng(1), 0) == ""
    assert long.startswith("SCENE. ")
    assert set(long) <= set(FOG.vocabulary)


def test_each_alternative_is_chosen_as_often_as_its_rule_says() -> None:
    written = Grammar({"s": ((0.2, "a"), (0.3, "b"), (0.5, "c"))}).write(np.random.default_rng(0), 20_000)
    for letter, share in (("a", 0.2), ("b", 0.3), ("c", 0.5)):
        assert written.count(letter) / 20_000 == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"s": ((0.5, "a"), (0.4, "b"))}, "add up to 1"),
        ({"s": ((1.5, "a"), (-0.5, "b"))}, "above 0"),
        ({"s": ((1, "a{t}"),)}, "speaks of 't', which has no rule"),
        ({"s": ((0.5, "ab"), (0.5, "ac"))}, "begin with the same letter"),
        ({"s": ((0.5, "{t}"), (0.5, "ac")), "t": ((1, "a"),)}, "begin with the same letter"),
        ({"s": ((0.5, ""), (0.5, "a"))}, "is empty or begins with itself"),
        ({"s": ((0.5, "{t}"), (0.5, "a")), "t": ((1, "{s}"),)}, "is empty or begins with itself"),
        ({"s": ((0.5, "a{s}{s}"), (0.5, "b"))}, "no expected end"),
    ],
)
def test_a_grammar_that_would_not_do_is_refused(rules: Rules, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Grammar(rules)
