"""LSTM and GRU: against `nn.LSTM` and `nn.GRU` with the same weights; first weights, data, levels, drawn text."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torch import Tensor, nn

from benchmarks.twins import Reader
from core import race, racer, run
from core.tasks import Batch, Task, build
from core.tasks.corpus import Corpus, play
from core.tasks.data import LABELS, WRITING, batch_indices, random
from core.tasks.recurrent import GRU, LSTM, Recurrent
from tests.twins import LIKE, assert_is_drawn, assert_rows_are_alone, assert_writers_are_alone

CPU = torch.device("cpu")
KINDS = ("lstm", "gru")
SETTINGS = [(24, 64, 12), (5, 7, 3), (3, 9, 1)]  # embedding, hidden, length
SEEDS = (0, 1, 2, 3, 4)
LETTERS = Corpus.of("the rain in spain stays mainly in the plain. " * 9, by_letter=True)


def made(kind: str, embedding: int = 24, hidden: int = 64, length: int = 12) -> Recurrent:
    task = build(kind, (("embedding", embedding), ("hidden", hidden), ("length", length)))
    assert isinstance(task, Recurrent)
    return task


class Twin(Reader):
    """One row's network as torch has it."""

    def __init__(self, task: Recurrent, p: Tensor | None = None):
        super().__init__(task)
        if p is not None:
            self.to(p.dtype)
            nn.utils.vector_to_parameters(p.clone(), self.parameters())

    def loss(self, windows: Tensor) -> Tensor:
        """Mean cross-entropy of all positions of `[B, T + 1]`."""
        return nn.functional.cross_entropy(self(windows[:, :-1]), windows[:, 1:].flatten())


def points(task: Task, rows: int = 5) -> Tensor:
    """Weights that are not where a run starts: the gates are open and shut in part."""
    generator = torch.Generator().manual_seed(1)
    first = task.initial(range(rows), LIKE)
    return 2 * first + 0.1 * torch.randn(first.shape, dtype=torch.float64, generator=generator)


def windows_of(batch: Batch, row: int) -> Tensor:
    """A row's stretches, `[B, T + 1]`."""
    x, y = batch.tensors
    return torch.cat([x[row], y[row, -1:]]).T


# Loss and gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size", [1, 16, 17])
def test_loss_and_gradient_equal_torchs_module(kind: str, settings: tuple[int, int, int], size: int) -> None:
    """`nn.Embedding`, `nn.LSTM` or `nn.GRU` (batch_first), `nn.Linear`, `cross_entropy`, autograd: float64, 1e-10."""
    task = made(kind, *settings)
    p, batch = points(task), task.batch(SEEDS, 7, size, LIKE)
    loss, gradient = task.loss_and_grad(p, batch)
    assert torch.equal(task.loss(p, batch), loss)
    for row in range(len(p)):
        twin = Twin(task, p[row])
        expected = twin.loss(windows_of(batch, row))
        expected.backward()
        parts = torch.cat([w.grad.flatten() for w in twin.parameters() if w.grad is not None])
        assert len(parts) == task.layout.width
        assert float(loss[row]) == pytest.approx(expected.item(), rel=1e-10)
        assert float((gradient[row] - parts).abs().max()) < 1e-10 * float(parts.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_each_tensor_equals_autograd(kind: str) -> None:
    """Of `loss` itself, in float64, to 1e-12 of that tensor's own largest entry; in float32 to 1e-5 of it."""
    task = made(kind)
    for dtype, within in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        p, batch = points(task).to(dtype), task.batch(SEEDS, 7, 16, LIKE)
        _, gradient = task.loss_and_grad(p, batch)
        leaf = p.clone().requires_grad_()
        (by_autograd,) = torch.autograd.grad(task.loss(leaf, batch).sum(), leaf)
        for ours, theirs in zip(
            task.layout.views(gradient).values(), task.layout.views(by_autograd).values(), strict=True
        ):
            assert ours.dtype == dtype
            assert float((ours - theirs).abs().max()) < within * float(theirs.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_float32_says_what_float64_says(kind: str, settings: tuple[int, int, int]) -> None:
    """The LSTM's layer is another there: loss to 1e-6, each tensor's gradient to 1e-5 of its own largest entry."""
    task = made(kind, *settings)
    p, batch = points(task), task.batch(SEEDS, 7, 16, LIKE)
    exact_loss, exact = task.loss_and_grad(p.float().double(), batch)
    loss, gradient = task.loss_and_grad(p.float(), batch)
    assert float((loss / exact_loss - 1).abs().max()) < 1e-6
    for ours, true in zip(task.layout.views(gradient).values(), task.layout.views(exact).values(), strict=True):
        assert float((ours - true).abs().max()) <= 1e-5 * float(true.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_carry_torchs_names_and_order(kind: str) -> None:
    """Embedding, weight_ih, weight_hh, bias_ih, bias_hh, output weight and bias: shape by shape."""
    task = made(kind)
    assert [shape for _, shape in task.layout.shapes] == [tuple(w.shape) for w in Twin(task).parameters()]
    assert task.layout.width == {"lstm": 52_588, "gru": 46_828}[kind]
    assert_is_drawn(task)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_does_not_see_its_neighbours(kind: str, dtype: torch.dtype) -> None:
    """Loss, gradient, evaluation and text of some rows are those of the whole table, to the last bit; a row that is not
    finite changes no other.
    """
    task = made(kind)
    assert_rows_are_alone(task, 16, dtype)
    assert_writers_are_alone(task, 16, points(task, 9).to(dtype))


# Evaluation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [3, 12])
def test_evaluation_reads_stretches_that_follow_each_other(kind: str, length: int) -> None:
    """The module's loss on them, by hand: all of what is held out, at most 64 of the training part, from end to end."""
    task = made(kind, 5, 7, length)
    p = points(task, 3)
    for part in ("train", "validation"):
        text = torch.tensor(play().parts[part])
        stretches = torch.stack([text[i : i + length + 1] for i in range(0, len(text) - length, length)])
        if len(stretches) > 64:
            stretches = stretches[[k * (len(stretches) - 1) // 63 for k in range(64)]]
        found = task.evaluate(p, part)["loss"]
        for row in range(3):
            assert float(found[row]) == pytest.approx(float(Twin(task, p[row]).loss(stretches).detach()), rel=1e-10)


# First weights


@pytest.mark.parametrize("kind", KINDS)
def test_first_weights_are_distributed_as_torchs(kind: str) -> None:
    """Tensor by tensor, 20 draws of both: Kolmogorov and Smirnov's test, and torch's bounds, reached and not passed."""
    task = made(kind, 9, 16, 3)
    ours = task.layout.views(task.initial(range(20), LIKE))
    theirs = [[w.detach() for w in Twin(task).parameters()] for _ in range(20)]
    for i, (name, tensor) in enumerate(ours.items()):
        expected = torch.stack([draw[i] for draw in theirs])
        assert ks_2samp(tensor.flatten().numpy(), expected.flatten().numpy()).pvalue > 1e-5, name
        if name == "embedding":
            assert float(tensor.mean()) == pytest.approx(0, abs=0.02)
            assert float(tensor.std()) == pytest.approx(1, abs=0.02)
        else:
            assert float(tensor.abs().max()) <= 1 / 4
            assert float(tensor.max()) > 0.245
            assert float(tensor.min()) < -0.245
            assert float(expected.abs().max()) <= 1 / 4


@pytest.mark.parametrize("kind", KINDS)
def test_draws_of_a_seed_are_its_own(kind: str) -> None:
    task = made(kind)
    first = task.initial([3, 8], LIKE)
    assert torch.equal(first[1], task.initial([8], LIKE)[0])
    again = task.initial([3, 8], LIKE, draw=1)
    assert len({float(value) for value in torch.cat([first, again])[:, 5]}) == 4
    assert task.initial([3], torch.empty(0)).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_before_training_is_what_is_expected(kind: str) -> None:
    task = made(kind)
    assert task.initial_loss is not None
    expected, why = task.initial_loss
    found = task.evaluate(task.initial(range(10), LIKE), "train")["loss"]
    assert expected == task.guess == pytest.approx(math.log(332))
    assert float((found - expected).abs().max()) < 0.05
    assert "ln 332 = 5.81" in why


# Data


def test_a_batch_is_text_with_each_tokens_next_one() -> None:
    """Stretches of the training part, as the seed's epochs order them, whoever else asks."""
    task = made("lstm")
    text = torch.tensor(play().parts["train"])
    for step in (0, 4, 900):
        x, y = task.batch((4, 9, 4), step, 16, LIKE).tensors
        assert x.shape == y.shape == (3, 12, 16)
        assert torch.equal(x[:, 1:], y[:, :-1])
        assert torch.equal(x[0], x[2])
        assert torch.equal(x[1], task.batch((9,), step, 16, LIKE).tensors[0][0])
        chosen = batch_indices((9,), step, len(text) - 12, 16, CPU).tolist()
        assert torch.equal(windows_of(Batch(step, (x, y)), 1), torch.stack([text[i : i + 13] for i in chosen]))
    assert task.examples == len(text) - 12


def test_the_last_level_is_what_knowing_every_stretch_by_heart_comes_to() -> None:
    """Counted directly: for each place in a stretch, how often each token follows all that stands before it there."""
    for task in (made("lstm", 5, 7, 4), LSTM(LETTERS, 2, 3, 6, "")):
        windows = task.corpus.windows("train", task.length + 1).tolist()
        told = []
        for place in range(1, task.length + 1):
            after: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
            for stretch in windows:
                after[tuple(stretch[:place])][stretch[place]] += 1
            told += [-math.log(after[tuple(s[:place])][s[place]] / after[tuple(s[:place])].total()) for s in windows]
        assert task.levels[-1].value == pytest.approx(np.mean(told))
        assert task.levels[0].value == task.guess == pytest.approx(math.log(task.corpus.size))
        values = [level.value for level in task.levels]
        assert values == sorted(values, reverse=True)
        assert all(level.meaning for level in task.levels)


def test_a_text_too_short_for_a_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="the text is too short"):
        GRU(Corpus.of("a b a b", by_letter=False), 2, 2, 12, "")


# Drawn text and labels


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_drawn_step_by_step_with_the_state_carried_on(kind: str) -> None:
    """As with torch's module, begun by a line's end: the token whose cumulated share first reaches the uniform draw."""
    task = made(kind, 5, 7, 3)
    p = 2 * points(task, 3)
    draws = random(6, WRITING).uniform(size=30)
    for row, text in enumerate(task.sample(p, 6, 30)):
        twin, state, tokens = Twin(task, p[row]), None, []
        token = task.corpus.vocabulary.index("\n")
        for u in draws:
            scores, state = twin.read(torch.tensor([[token]]), state)
            shares = scores.detach()[0, 0].softmax(0).cumsum(0).numpy()
            token = int(np.searchsorted(shares, u))
            tokens.append(token)
        assert text == task.corpus.text(tokens)
    assert task.sample(p[:1], 7, 30) != task.sample(p[:1], 6, 30)
    assert task.sample(p, 6, 0) == ["", "", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_noise_for_all_and_each_token_as_often_as_it_is_likely(kind: str) -> None:
    """A network that gives known chances whatever it reads: 4,000 letters drawn from it, and 3,840 labels."""
    task = {"lstm": LSTM, "gru": GRU}[kind](LETTERS, 2, 3, 6, "")
    V = LETTERS.size
    chances = np.arange(1, V + 1) / (V * (V + 1) / 2)
    p = torch.zeros(2, task.layout.width, dtype=torch.float64)
    task.layout.views(p)["b_out"][:] = torch.as_tensor(np.log(chances)) + 5
    one, other = task.sample(p, 3, 4000)
    assert one == other
    assert len(one) == 4000
    seen = Counter(one)
    assert chisquare([seen[letter] for letter in LETTERS.vocabulary], 4000 * chances).pvalue > 1e-4
    batch = task.batch((0, 1), 2, 320, LIKE)
    drawn = task.draw_labels(p, batch, (0, 1))
    assert drawn.step == 2
    assert torch.equal(drawn.tensors[0], batch.tensors[0])
    y = drawn.tensors[1]
    assert y.shape == batch.tensors[1].shape
    assert chisquare(np.bincount(y.flatten().numpy(), minlength=V), 3840 * chances).pvalue > 1e-4
    assert torch.equal(y[1], task.draw_labels(p[1:], batch.rows(slice(1, 2)), (1,)).tensors[1][0])
    assert not torch.equal(y[0], y[1])
    assert not torch.equal(y, task.draw_labels(p, Batch(3, batch.tensors), (0, 1)).tensors[1])


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_drawn_from_what_the_network_says_at_each_place(kind: str) -> None:
    """With torch's module's scores: the same tokens from the same uniform draws."""
    task = made(kind, 5, 7, 3)
    p, batch = 2 * points(task, 2), task.batch((0, 1), 5, 8, LIKE)
    drawn = task.draw_labels(p, batch, (0, 1)).tensors[1]
    for row in (0, 1):
        scores, _ = Twin(task, p[row]).read(batch.tensors[0][row].T)
        shares = scores.detach().softmax(2).cumsum(2).transpose(0, 1)  # [T, B, V]
        u = torch.as_tensor(random(row, LABELS, 5).uniform(size=(3, 8)))
        assert torch.equal(drawn[row], torch.searchsorted(shares.contiguous(), u.unsqueeze(2)).squeeze(2))


# Training


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_words_alone_do_not_tell(kind: str) -> None:
    """150 steps of Adam: below the entropy of the words' frequencies, which needs what stands before."""
    config = race((kind, {"hidden": 32}), [racer("adam", lr=0.02)], steps=150, batch=16, seeds=1)
    history = run(config)
    frequencies = made(kind).levels[1].value
    assert history.loss[0] > frequencies + 0.5
    assert history.loss[-20:].mean() < frequencies - 0.5
