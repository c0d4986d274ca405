"""Networks that write: against `nn.Embedding`, `nn.Linear` and tanh; first weights, data, levels, drawn text."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torch import Tensor

from benchmarks.twins import module
from core import TASKS, race, racer, run
from core.tasks import Batch, build
from core.tasks.corpus import Corpus
from core.tasks.data import LABELS, LONG, WRITING, batch_indices, random
from core.tasks.grammar import FOG
from core.tasks.language import FeedForward, own_text
from tests.twins import (
    LIKE,
    assert_first_loss_is_as_expected,
    assert_is_drawn,
    assert_rows_are_alone,
    assert_writers_are_alone,
    points,
)

CPU = torch.device("cpu")
SEEDS = (0, 1, 2, 3, 4)
NAMES = ("words", "letters", "manual")
RAIN = "the rain in spain stays mainly in the plain. " * 9
ODD = FeedForward(Corpus.of(RAIN, by_letter=True), 3, 5, 7, "")  # every size odd: no table is a whole number of vectors


def made(name: str) -> FeedForward:
    task = build(name, tuple((hyper.name, hyper.default) for hyper in TASKS[name].hypers))
    assert isinstance(task, FeedForward)
    return task


def twin(task: FeedForward, p: Tensor) -> torch.nn.Module:
    plain = module(task).to(p.dtype)
    torch.nn.utils.vector_to_parameters(p.clone(), plain.parameters())
    return plain


# Loss and gradient


@pytest.mark.parametrize("task", [made("words"), made("letters"), ODD], ids=["words", "letters", "odd"])
@pytest.mark.parametrize("size", [1, 33, 64])
def test_loss_and_gradient_equal_torchs_module(task: FeedForward, size: int) -> None:
    """`nn.Embedding`, `nn.Linear`, `nn.Tanh`, `nn.Linear`, `cross_entropy`, autograd: float64, 1e-10."""
    p, batch = points(task), task.batch(SEEDS, 7, size, LIKE)
    loss, gradient = task.loss_and_grad(p, batch)
    assert float((task.loss(p, batch) - loss).abs().max()) < 1e-12
    for row, (x, y) in enumerate(zip(*batch.tensors, strict=True)):
        plain = twin(task, p[row])
        expected = torch.nn.functional.cross_entropy(plain(x), y)
        expected.backward()
        parts = torch.cat([w.grad.flatten() for w in plain.parameters() if w.grad is not None])
        assert len(parts) == task.layout.width
        assert abs(float(loss[row]) - expected.item()) < 1e-10
        assert float((gradient[row] - parts).abs().max()) < 1e-10 * float(parts.abs().max())


def test_float32_agrees_with_float64() -> None:
    """Each tensor's gradient to 1e-5 of its largest entry."""
    task = made("words")
    p, batch = points(task), task.batch(SEEDS, 7, 64, LIKE)
    loss, gradient = task.loss_and_grad(p, batch)
    short_loss, short = task.loss_and_grad(p.float(), batch)
    assert short.dtype == short_loss.dtype == torch.float32
    assert short_loss.double() == pytest.approx(loss, rel=1e-5)
    for ours, theirs in zip(task.layout.views(short).values(), task.layout.views(gradient).values(), strict=True):
        assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


def test_a_network_that_is_sure_of_something_false_has_a_finite_loss() -> None:
    """Scores far beyond what exp can hold: the loss is their difference."""
    task = ODD
    p = torch.zeros(1, task.layout.width)
    task.layout.views(p)["b2"][0, 0] = 5000.0
    x = torch.zeros(1, 2, 3, dtype=torch.int64)
    loss, gradient = task.loss_and_grad(p, Batch(0, (x, torch.tensor([[1, 1]]))))
    assert loss.item() == task.loss(p, Batch(0, (x, torch.tensor([[1, 1]])))).item() == 5000
    assert bool(torch.isfinite(gradient).all())
    assert task.layout.views(gradient)["b2"][0, :2, 0].tolist() == [1, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("task", [made("words"), ODD], ids=["words", "odd"])
def test_a_row_does_not_see_its_neighbours(task: FeedForward, dtype: torch.dtype) -> None:
    """Loss, gradient, evaluation and text of some rows are those of the whole table, to the last bit; a row that is not
    finite changes no other.
    """
    assert_rows_are_alone(task, 17, dtype)
    assert_writers_are_alone(task, 17, points(task, 9).to(dtype))


# Evaluation


@pytest.mark.parametrize("name", ["words", "letters"])
def test_evaluation_reads_stretches_evenly_spaced(name: str) -> None:
    """The module's loss on them, by hand: all where there are no more than 512, else 512 from end to end."""
    task = made(name)
    p = points(task, 2)
    for part in task.parts:
        text = torch.tensor(task.corpus.parts[part])
        count = len(text) - task.context
        starts = range(count) if count <= 512 else [k * (count - 1) // 511 for k in range(512)]
        x = torch.stack([text[i : i + task.context] for i in starts])
        y = torch.stack([text[i + task.context] for i in starts])
        found = task.evaluate(p, part)["loss"]
        for row in (0, 1):
            expected = torch.nn.functional.cross_entropy(twin(task, p[row])(x), y).item()
            assert float(found[row]) == pytest.approx(expected, rel=1e-10)


# First weights


def test_first_weights_are_distributed_as_torchs() -> None:
    """Tensor by tensor, 20 draws of both: Kolmogorov and Smirnov's test, and torch's bounds, reached and not passed."""
    task = ODD
    ours = task.layout.views(task.initial(range(20), LIKE))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        theirs = [[w.detach() for w in module(task).parameters()] for _ in range(20)]
    for i, (name, tensor) in enumerate(ours.items()):
        expected = torch.stack([draw[i] for draw in theirs])
        assert tensor[0].numel() == expected[0].numel()
        assert ks_2samp(tensor.flatten().numpy(), expected.flatten().numpy()).pvalue > 1e-4, name
        if name != "embedding":
            bound = 1 / math.sqrt(15 if name in ("W1", "b1") else 7)
            assert 0.95 * bound < float(tensor.abs().max()) <= bound


@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_drawn_and_its_first_loss_foretold(name: str) -> None:
    """The formula is of second order in the outputs: to 0.02."""
    task = made(name)
    assert_is_drawn(task)
    assert_first_loss_is_as_expected(task, draws=40, slack=0.02)
    assert task.guess == pytest.approx(math.log(task.corpus.size))


def test_draws_of_a_seed_are_its_own() -> None:
    first = ODD.initial([3, 8], LIKE)
    assert torch.equal(first[1], ODD.initial([8], LIKE)[0])
    again = ODD.initial([3, 8], LIKE, draw=1)
    assert len({float(value) for value in torch.cat([first, again])[:, 5]}) == 4
    assert ODD.initial([3], torch.empty(0)).dtype == torch.float32


# Data


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_text_and_the_token_after_it(name: str) -> None:
    """Stretches of the training part, as the seed's epochs order them, whoever else asks."""
    task = made(name)
    text = torch.tensor(task.corpus.parts["train"])
    assert task.examples == len(text) - task.context
    for step in (0, 4, 1100):
        x, y = task.batch((4, 9, 4), step, 64, LIKE).tensors
        assert x.shape == (3, 64, task.context)
        assert torch.equal(x[0], x[2])
        assert not torch.equal(x[0], x[1])
        assert torch.equal(x[1], task.batch((9,), step, 64, LIKE).tensors[0][0])
        for i, start in enumerate(batch_indices((9,), step, task.examples, 64, CPU).tolist()):
            assert torch.equal(x[1, i], text[start : start + task.context])
            assert y[1, i] == text[start + task.context]


def test_a_long_text_is_drawn_from_all_of_it() -> None:
    """More examples than an epoch holds: every 65,536 are new independent draws, of which 1 in e is never drawn."""
    count, size = 3 * LONG, 1 << 12
    seen = torch.cat([batch_indices((0,), step, count, size, CPU) for step in range(LONG // size)])
    shares = np.histogram(seen.numpy(), bins=64, range=(0, count))[0]
    assert chisquare(shares).pvalue > 1e-4
    following = batch_indices((0,), LONG // size, count, size, CPU)
    assert not torch.equal(following, seen[:size])
    assert len(batch_indices((0,), 1, count, LONG + 1, CPU).unique()) == LONG + 1


# Drawn text and labels


@pytest.mark.parametrize("task", [made("words"), ODD], ids=["words", "odd"])
def test_text_is_drawn_step_by_step(task: FeedForward) -> None:
    """As with torch's module: the token whose cumulated share first reaches the uniform draw, from a line's end on."""
    p = 1.5 * points(task, 2)
    draws = random(6, WRITING).uniform(size=30)
    text = task.corpus.parts["train"].tolist()
    line = task.corpus.vocabulary.index("\n") if "\n" in task.corpus.vocabulary else None
    first = text.index(line, task.context - 1) + 1 - task.context if line is not None else 0
    for row, written in enumerate(task.sample(p, 6, 30)):
        plain, seen = twin(task, p[row]), text[first : first + task.context]
        for u in draws:
            scores = plain(torch.tensor([seen[-task.context :]])).detach()[0]
            seen.append(int(np.searchsorted(scores.softmax(0).cumsum(0).numpy(), u)))
        assert written == task.corpus.text(seen[task.context :])
    assert task.sample(p[:1], 7, 30) != task.sample(p[:1], 6, 30)
    assert task.sample(p, 6, 0) == ["", ""]


def test_the_same_noise_for_all_and_each_token_as_often_as_it_is_likely() -> None:
    """A network that gives known chances whatever it reads: 4,000 letters drawn from it, and 3,200 labels."""
    V = ODD.corpus.size
    chances = np.arange(1, V + 1) / (V * (V + 1) / 2)
    p = torch.zeros(2, ODD.layout.width, dtype=torch.float64)
    ODD.layout.views(p)["b2"][:] = torch.as_tensor(np.log(chances)).unsqueeze(1) + 5
    one, other = ODD.sample(p, 3, 4000)
    assert one == other
    seen = Counter(one)
    assert chisquare([seen[letter] for letter in ODD.corpus.vocabulary], 4000 * chances).pvalue > 1e-4
    many = FeedForward(Corpus.of(RAIN * 20, by_letter=True), 3, 5, 7, "")
    batch = many.batch((0, 1), 2, 1600, LIKE)
    drawn = many.draw_labels(p, batch, (0, 1))
    assert drawn.step == 2
    assert torch.equal(drawn.tensors[0], batch.tensors[0])
    y = drawn.tensors[1]
    assert chisquare(np.bincount(y.flatten().numpy(), minlength=V), 3200 * chances).pvalue > 1e-4
    assert torch.equal(y[1], many.draw_labels(p[1:], batch.rows(slice(1, 2)), (1,)).tensors[1][0])
    assert not torch.equal(y[0], y[1])
    assert not torch.equal(y, many.draw_labels(p, Batch(3, batch.tensors), (0, 1)).tensors[1])


def test_labels_are_drawn_from_what_the_network_says() -> None:
    task = made("words")
    p, batch = points(task, 2), task.batch((0, 1), 5, 8, LIKE)
    drawn = task.draw_labels(p, batch, (0, 1)).tensors[1]
    for row in (0, 1):
        shares = twin(task, p[row])(batch.tensors[0][row]).detach().softmax(1).cumsum(1)
        u = torch.as_tensor(random(row, LABELS, 5).uniform(size=(8, 1)))
        assert torch.equal(drawn[row], torch.searchsorted(shares, u).squeeze(1))


# Training


def test_the_endless_scripts_last_level_is_the_grammars_rate() -> None:
    level = made("letters").levels[-1]
    assert level.value == FOG.rate
    assert level.name == f"the grammar's own: {FOG.rate:.2f}"
    assert "no model can pass it on fresh text" in level.meaning


@pytest.mark.parametrize("name", ["words", "letters"])
def test_it_learns_what_frequencies_alone_do_not_tell(name: str) -> None:
    """250 steps of Adam end below the entropy of the tokens' frequencies, which needs what stands before them."""
    history = run(race(name, [racer("adam", lr=0.01)], steps=250, batch=32, seeds=1))
    frequencies = made(name).levels[1].value
    assert history.loss[0] > frequencies
    assert history.loss[-20:].mean() < frequencies - 0.7


# A text of one's own


def test_a_text_of_ones_own_becomes_a_task() -> None:
    task = own_text(RAIN.replace("\n", "\r\n"), by_letter=True, context=2, embedding=3, hidden=4, held_out=0.25)
    assert (task.context, task.embedding, task.hidden) == (2, 3, 4)
    assert {part: len(tokens) for part, tokens in task.corpus.parts.items()} == {"train": 304, "validation": 101}
    by_word = own_text("One two.\r\nOne three.\rOne two.\n" * 9, by_letter=False, most=3)
    assert by_word.corpus.vocabulary == ("\n", ".", "One", "⁇")
    assert (by_word.context, by_word.embedding, by_word.hidden) == (4, 16, 64)
    losses = run(race(task, [racer("adam", lr=0.03)], steps=60, batch=8)).loss
    assert losses[-10:].mean() < losses[:10].mean() - 0.5


@pytest.mark.parametrize(
    ("text", "given", "words"),
    [
        ("", {"by_letter": True}, "The text has no letters: give one with at least 2 different ones."),
        (" \r\n\t", {"by_letter": False}, "The text has one word only"),
        ("\t ", {"by_letter": False}, "The text has no words: give one with at least 2 different ones."),
        ("aaaa", {"by_letter": True}, "The text has one letter only, 'a': give one"),
        ("No " * 50, {"by_letter": False}, "The text has one word only, 'No': give one"),
        ("a b", {"by_letter": False}, "The text has 2 words, too few to hold 10% of them out: give a longer one."),
        ("a b c d e f g h i j k l", {"by_letter": False}, "validation part of the text has 1 word, but one stretch"),
        ("a b c d e f g h i j", {"by_letter": False, "held_out": 0.6}, "The train part of the text has 4 words, but"),
        (RAIN, {"by_letter": True, "context": 0}, r"Context \(context\) is 0, but must be a whole number at least 1"),
        (RAIN, {"by_letter": True, "held_out": 1}, r"Held out \(held_out\) is 1, but must be at least 0.01"),
        (RAIN, {"by_letter": True, "most": 1}, r"Vocabulary \(most\) is 1, but must be a whole number at least 2"),
        (RAIN, {"by_letter": True, "hidden": 2.5}, "Hidden units"),
        (RAIN, {"by_letter": True, "embedding": 10_000}, "Embedding"),
    ],
)
def test_a_text_that_will_not_do_is_refused_in_a_sentence(text: str, given: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        own_text(text, **given)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")
