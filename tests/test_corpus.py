"""Text as numbers: tokens and back, parts, the unknown token, and entropies against a direct count."""

import math
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

import core.tasks.corpus
from core.tasks.corpus import UNKNOWN, Corpus, endless_script, join_words, manual, play, words
from core.tasks.grammar import FOG

PLAY = (Path(core.tasks.corpus.__file__).parent / "texts" / "down_in_the_fog.txt").read_text("utf-8")


def counted(tokens: list[int], context: int) -> float:
    """`-mean log p(token | so many before it)`, p from the counts of the same tokens."""
    pairs = [(tuple(tokens[i - context : i]), tokens[i]) for i in range(context, len(tokens))]
    whole, before = Counter(pairs), Counter(c for c, _ in pairs)
    return -sum(math.log(whole[pair] / before[pair[0]]) for pair in pairs) / len(pairs)


def test_words_marks_and_line_ends_are_tokens() -> None:
    assert words("Don\u2019t stop, he's\nhere!") == ["Don\u2019t", "stop", ",", "he's", "\n", "here", "!"]
    assert join_words(["(", "He", "runs", ".", ")", "\n", "Why", "?"]) == "(He runs.)\nWhy?"
    assert words("") == []


def test_the_play_can_be_put_together_again_to_the_last_letter() -> None:
    assert join_words(words(PLAY)) == PLAY
    corpus = play()
    tokens = [int(token) for part in corpus.parts.values() for token in part]
    assert corpus.text(tokens) == PLAY
    assert list(corpus.parts) == ["train", "validation"]
    assert len(corpus.parts["validation"]) == round(0.1 * len(tokens))


def test_parts_follow_each_other_and_share_a_vocabulary() -> None:
    corpus = Corpus.of("abcdefghij" * 10, by_letter=True, validation=0.2, test=0.1)
    assert {part: len(tokens) for part, tokens in corpus.parts.items()} == {"train": 70, "validation": 20, "test": 10}
    assert "".join(corpus.text(tokens.tolist()) for tokens in corpus.parts.values()) == "abcdefghij" * 10
    assert corpus.vocabulary == tuple("abcdefghij")
    assert (corpus.kind, corpus.size, corpus.sample_length) == ("letter", 10, 160)
    assert play().sample_length == 40


def test_rare_words_become_one_and_so_does_the_sign_for_them() -> None:
    corpus = Corpus.of("a a a b b c d", by_letter=False, most=2, validation=0)
    assert corpus.vocabulary == ("a", "b", UNKNOWN)
    assert corpus.parts["train"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    itself = Corpus.of(f"a {UNKNOWN} b", by_letter=False, validation=0)
    assert itself.vocabulary == ("a", "b", UNKNOWN)
    assert itself.parts["train"].tolist() == [0, 2, 1]
    assert Corpus.of("a b", by_letter=False, validation=0).vocabulary == ("a", "b")


@pytest.mark.parametrize("context", [0, 1, 2, 4, 9])
def test_entropies_are_what_a_direct_count_says(context: int) -> None:
    for corpus in (play(), Corpus.of(PLAY, by_letter=True)):
        assert corpus.entropy(context) == pytest.approx(counted(corpus.parts["train"].tolist(), context), rel=1e-12)


def test_levels_go_down_and_say_what_they_mean() -> None:
    corpus = play()
    levels = corpus.levels(4)
    tokens = corpus.parts["train"].tolist()
    expected = [math.log(corpus.size), *(counted(tokens, context) for context in (0, 1, 4))]
    assert [level.value for level in levels] == pytest.approx(expected)
    assert sorted(expected, reverse=True) == expected
    assert all(f"{level.value:.2f}" in level.name and level.meaning.endswith(".") for level in levels)
    assert [level.value for level in corpus.levels(1)] == pytest.approx(expected[:3])


def test_a_stretch_is_a_view_and_a_part_that_has_none_is_refused() -> None:
    corpus = Corpus.of("abcabcabca", by_letter=True)
    windows = corpus.windows("train", 4)
    assert windows.shape == (6, 4)
    assert np.shares_memory(windows, corpus.parts["train"])
    assert corpus.text(windows[5].tolist()) == "cabc"
    with pytest.raises(ValueError, match="The validation part of the text has 1 letter, but one stretch of it takes 4"):
        corpus.windows("validation", 4)


@pytest.mark.parametrize(("text", "by_letter"), [("", True), (" \t", False), ("aaa", True), ("so so so", False)])
def test_a_text_without_two_different_tokens_is_refused(text: str, by_letter: bool) -> None:
    with pytest.raises(ValueError, match="give one with at least 2 different ones"):
        Corpus.of(text, by_letter=by_letter)


def test_the_endless_script_is_the_grammars_and_its_later_parts_are_fresh() -> None:
    corpus = endless_script()
    assert corpus.vocabulary == FOG.vocabulary
    assert {part: len(tokens) for part, tokens in corpus.parts.items()} == {
        "train": 200_000,
        "validation": 25_000,
        "test": 25_000,
    }
    train = corpus.text(corpus.parts["train"].tolist())
    assert train.startswith("SCENE. ")
    for part in ("validation", "test"):
        text = corpus.text(corpus.parts[part].tolist())
        assert sum(text[i : i + 100] in train for i in range(0, 24_000, 200)) < 12


def test_the_manual_is_pythons_own_and_no_topic_is_told_twice() -> None:
    corpus = manual()
    text = "".join(corpus.text(tokens.tolist()) for tokens in corpus.parts.values())
    assert sorted(text) == sorted("\n".join(set(topics.values())))
    assert set(corpus.parts) == {"train", "validation", "test"}
    assert corpus.by_letter
