"""Networks that write: the next word or letter from those just before it, in the manner of Bengio and others (2003)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from core.spec import Hyper, Layout
from core.tasks.base import Batch, Layer, Level, Task
from core.tasks.corpus import Corpus, endless_script, manual, play
from core.tasks.data import WRITING, another_class, batch_indices, draw_classes, initial_draw, label_noise, random
from core.tasks.grammar import FOG

TOGETHER = 128  # stretches evaluated at a time: their activations stay in the cache
EVALUATED = 512  # stretches of a part that are evaluated at most


class FeedForward(Task):
    """An embedding, a tanh layer and a softmax, as `nn.Embedding`, `nn.Linear`, `nn.Tanh` and `nn.Linear`.

    An example is a stretch of `context` tokens of the training part and the token after it; the loss is the mean
    cross-entropy of that one, in nats. Each seed goes through all stretches in an order of its own, anew in each
    epoch; where there are more than 65,536, it draws them one by one.

    `evaluate` reads 512 stretches of a part, evenly spaced and always the same ones, or all of them where there are no
    more. Training part and held-out part take as long as 2.5 steps of the words, 3.5 of the letters: 6 and 8% of 2,500
    steps with 60 evaluations (4 rows, one thread).

    The embedding is a gather with each row's own offset, and its gradient the sum that undoes it: as a product with
    one-hot inputs it would cost several times the rest. Activations after it are features first, `[R, features,
    batch]`. The gradient is written out, each part of it into its place. What is taken of every number is softmax and
    tanh: torch's sigmoid and exp2 round a number by its place in the table.

    Initial weights as torch draws them: the embedding N(0, 1), all others uniform within 1/sqrt(fan-in).

    Source: Bengio, Ducharme, Vincent and Jauvin, "A neural probabilistic language model" (2003), without the direct
    connections from the embedding to the output.
    """

    writes = True
    draws_labels = mislabels = True

    def __init__(
        self,
        corpus: Corpus,
        context: int,
        embedding: int,
        hidden: int,
        about: str,
        more_levels: tuple[Level, ...] = (),
    ):
        self.corpus, self.context, self.about = corpus, context, about
        self.embedding, self.hidden = embedding, hidden
        V, C, D, H, kind = corpus.size, context, embedding, hidden, corpus.kind
        self.layout = Layout(
            (("embedding", (V, D)), ("W1", (H, C * D)), ("b1", (H, 1)), ("W2", (V, H)), ("b2", (V, 1))),
            (("embedding", "embedding"), ("W1", "hidden"), ("b1", "vector"), ("W2", "output"), ("b2", "vector")),
        )
        self.activations = C * D + H + V
        self.network = f"{C} {kind}s of {V} → {C} × {D} → {H} tanh → {V}"
        self.layers = (
            Layer("Embedding", f"a vector of {D} numbers for each {kind}, learned", f"{C} × {D}", V * D),
            Layer("Linear, tanh", f"weighted sums of all {C * D} numbers, between -1 and 1", f"{H}", H * (C * D + 1)),
            Layer("Linear, softmax", f"how likely each {kind} is to come next", f"{V}", V * (H + 1)),
        )
        self.parts, self.sample_length = tuple(corpus.parts), corpus.sample_length
        counts = {part: len(corpus.windows(part, C + 1)) for part in self.parts}
        self.examples = counts["train"]
        self.guess = math.log(V)
        self.levels = corpus.levels(C) + more_levels
        self.initial_loss = self._expected()
        self._on_device: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}

    def _expected(self) -> tuple[float, str]:
        """The loss before training, `ln V + s/2 (1 - 1/V)`, where s is the variance of a logit over first guesses.

        A hidden sum is nearly normal with variance (1 + 1 / fan-in) / 3, its inputs being N(0, 1) and its weights and
        bias having variance 1 / (3 fan-in); likewise `s = (E tanh^2 + 1 / hidden) / 3`.
        """
        at, weights = np.polynomial.hermite_e.hermegauss(40)
        spread = math.sqrt((1 + 1 / (self.context * self.embedding)) / 3)
        square = float(weights @ np.tanh(spread * at) ** 2 / weights.sum())
        variance, V = (square + 1 / self.hidden) / 3, self.corpus.size
        more = variance / 2 * (1 - 1 / V)
        return math.log(V) + more, (
            f"ln {V} = {math.log(V):.2f} for guessing, and about {more:.2g} more, because the first outputs differ by "
            f"chance: half their variance, {variance:.2g}."
        )

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        V, H, fan_in = self.corpus.size, self.hidden, self.context * self.embedding
        bounds = np.repeat([1 / math.sqrt(fan_in), 1 / math.sqrt(H)], [H * (fan_in + 1), V * (H + 1)])
        draws = []
        for seed in seeds:
            generator = initial_draw(seed, draw)
            draws.append(
                np.concatenate([generator.normal(size=V * self.embedding), generator.uniform(-bounds, bounds)])
            )
        return torch.as_tensor(np.stack(draws)).to(like)

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        windows, _ = self._stretches("train", like.device)
        chosen = batch_indices(seeds, step, len(windows), size, like.device)
        tokens = windows.index_select(0, chosen).view(len(seeds), size, -1)
        return Batch(step, (tokens[:, :, :-1], tokens[:, :, -1]))

    def _stretches(self, part: str, device: torch.device) -> tuple[Tensor, Tensor]:
        """All stretches of a part with the token after each, `[N, context + 1]`, and those that are evaluated.

        The former are a view of the text, which takes no more memory than the text itself.
        """
        key = part, device
        if key not in self._on_device:
            windows = torch.tensor(self.corpus.parts[part], device=device).unfold(0, self.context + 1, 1)
            some = torch.linspace(0, len(windows) - 1, min(EVALUATED, len(windows)), dtype=torch.float64).long()
            self._on_device[key] = windows, windows[some.to(device)]
        return self._on_device[key]

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        x, y = batch.tensors
        log_p = log_softmax(self._logits(self.layout.views(p), x), dim=1)
        return -log_p.gather(1, y.unsqueeze(1)).mean((1, 2))

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch.tensors
        (R, size, _), targets, views = x.shape, y.unsqueeze(1), self.layout.views(p)
        where, inputs = self._embedded(views, x)
        hidden = self._hidden(views, inputs)
        logits = torch.baddbmm(views["b2"], views["W2"], hidden)
        signal = logits.softmax(1)  # to become dL/d(logits), times the batch's size
        # log(sum exp z) = max z - log(max softmax z): exp is taken once, and nothing overflows.
        loss = (logits.amax(1) - signal.amax(1).log_() - logits.gather(1, targets).squeeze(1)).mean(1)
        signal.scatter_add_(1, targets, signal.new_full((1, 1, 1), -1).expand(R, 1, size)).div_(size)
        into_hidden = torch.bmm(views["W2"].transpose(1, 2), signal)
        torch.ops.aten.tanh_backward.grad_input(into_hidden, hidden, grad_input=into_hidden)
        into_inputs = torch.bmm(into_hidden.transpose(1, 2), views["W1"]).view(-1, self.embedding)
        embedding = p.new_zeros(R * self.corpus.size, self.embedding).index_add_(0, where, into_inputs)
        gradient = torch.empty_like(p)
        found = self.layout.views(gradient)
        found["embedding"].copy_(embedding.view_as(found["embedding"]))
        torch.bmm(into_hidden, inputs, out=found["W1"])
        torch.sum(into_hidden, 2, keepdim=True, out=found["b1"])
        torch.bmm(signal, hidden.transpose(1, 2), out=found["W2"])
        torch.sum(signal, 2, keepdim=True, out=found["b2"])
        return loss, gradient

    def mislabelled(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        return Batch(batch.step, (x, another_class(y, self.corpus.size, seeds, batch.step)))

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, _ = batch.tensors
        noise = label_noise(seeds, batch.step, (x.shape[1],), p)
        return Batch(batch.step, (x, draw_classes(self._logits(self.layout.views(p), x), noise, 1)))

    def evaluate(self, p: Tensor, part: str) -> dict[str, Tensor]:
        _, some = self._stretches(part, p.device)
        losses = []
        for stretches in some.split(TOGETHER):
            tokens = stretches.expand(len(p), -1, -1)
            losses.append(self.loss(p, Batch(0, (tokens[:, :, :-1], tokens[:, :, -1]))) * len(stretches))
        return {"loss": torch.stack(losses).sum(0) / len(some)}

    def sample(self, p: Tensor, seed: int, length: int) -> list[str]:
        """A text of so many tokens from each row's network, going on from where the first line that has enough before
        it begins in the training part (where there is none, from the part's first tokens).
        """
        text = self.corpus.parts["train"][: self.examples]
        line = self.corpus.vocabulary.index("\n") if "\n" in self.corpus.vocabulary else -1
        ends = np.flatnonzero(text[self.context - 1 :] == line)
        first = int(ends[0]) if len(ends) else 0
        seen = torch.tensor(text[first : first + self.context], device=p.device).expand(len(p), 1, -1)
        views, written = self.layout.views(p), [seen[:, 0, :0]]
        for u in torch.as_tensor(random(seed, WRITING).uniform(size=length)).to(p):
            token = draw_classes(self._logits(views, seen), u.expand(len(p), 1), 1)
            seen = torch.cat([seen[:, :, 1:], token.unsqueeze(2)], 2)
            written.append(token)
        return [self.corpus.text(row) for row in torch.cat(written, 1).tolist()]

    def _logits(self, views: dict[str, Tensor], x: Tensor) -> Tensor:
        """Tokens `[R, B, context]` -> the scores of what comes next, `[R, V, B]`."""
        return torch.baddbmm(views["b2"], views["W2"], self._hidden(views, self._embedded(views, x)[1]))

    def _embedded(self, views: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `[R, B, C]` -> their places `[R B C]` among all rows' vectors, and the vectors, `[R, B, C D]`."""
        R, V, D = views["embedding"].shape
        where = (x + torch.arange(0, R * V, V, device=x.device).view(-1, 1, 1)).flatten()
        return where, views["embedding"].reshape(R * V, D).index_select(0, where).view(R, x.shape[1], -1)

    def _hidden(self, views: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """`[R, B, C D]` -> `[R, H, B]`."""
        return torch.baddbmm(views["b1"], views["W1"], inputs.transpose(1, 2)).tanh()


def words(context: int, embedding: int, hidden: int) -> FeedForward:
    """The project's play in words."""
    about = (
        "a short play, learned word by word: what comes next? It can be learned by heart, and what is held out is then "
        "foretold worse and worse"
    )
    return FeedForward(play(), context, embedding, hidden, about)


def letters(context: int, embedding: int, hidden: int) -> FeedForward:
    """The endless play of the grammar, in letters."""
    rate = Level(
        f"the grammar's own: {FOG.rate:.2f}", FOG.rate,
        meaning="So much of a letter cannot be foretold, even by who knows the grammar and all that stands before it: "
        "no model can pass it on fresh text.",
    )  # fmt: skip
    about = (
        "a play without end, from a small grammar, learned letter by letter: what comes next? What is learned holds "
        "for fresh text as well"
    )
    return FeedForward(endless_script(), context, embedding, hidden, about, (rate,))


def python_manual(context: int, embedding: int, hidden: int) -> FeedForward:
    """Python's own manual, in letters."""
    about = "Python's manual of its own language, learned letter by letter: what comes next?"
    return FeedForward(manual(), context, embedding, hidden, about)


MOST = Hyper(
    "most", 2000, 100, 5000, log=True, minimum=2, maximum=20_000, label="Vocabulary",
    help="How many of the most frequent words or letters are told apart; all others become one, unknown.",
)  # fmt: skip
HELD_OUT = Hyper(
    "held_out", 0.1, 0.05, 0.5, minimum=0.01, maximum=0.9, label="Held out",
    help="Share of the text, its end, that no network trains on.",
)  # fmt: skip


def sizes(kind: str, context: int, embedding: int, hidden: int) -> tuple[Hyper, Hyper, Hyper]:
    """The three settings of a network that writes in tokens of this kind ("word", "letter"), with these defaults."""
    return (
        Hyper("context", context, 1, 16, grid=(1, 2, 3, 4, 6, 8, 12, 16), minimum=1, maximum=64, label="Context",
              help=f"How many {kind}s before the next one the network sees."),
        Hyper("embedding", embedding, 4, 64, grid=(4, 8, 16, 24, 32, 64), minimum=1, maximum=256, label="Embedding",
              help=f"Numbers that stand for a {kind}; they are learned with the rest."),
        Hyper("hidden", hidden, 8, 128, grid=(8, 16, 32, 64, 128), minimum=1, maximum=1024, label="Hidden units",
              help="Neurons of the tanh layer; more fit faster and cost more."),
    )  # fmt: skip


WORDS = sizes("word", 4, 16, 64)
LETTERS = sizes("letter", 8, 16, 64)


def own_text(
    text: str,
    *,
    by_letter: bool,
    most: int = 2000,
    held_out: float = 0.1,
    context: int | None = None,
    embedding: int | None = None,
    hidden: int | None = None,
) -> FeedForward:
    """A text of one's own as a task: `race(own_text(text, by_letter=False), [racer("adam", lr=0.003)], batch=64)`.

    Args:
        text: the text itself; its last part is held out.
        by_letter: whether it is learned letter by letter, or else word by word.
        most: how many of its most frequent tokens are told apart; beyond them each is the unknown token.
        held_out: the share that is held out.
        context, embedding, hidden: the network, as the project's own texts have it unless said otherwise: 4, 16 and 64
            for words, 8, 16 and 64 for letters.

    Raises:
        ValueError: the text has fewer than two different tokens, or is too short for one stretch in either part, or a
            setting lies outside its domain; the message is one sentence that says what to do.
    """
    known, share = int(MOST.check(most)), float(HELD_OUT.check(held_out))
    seen, numbers, units = (
        int(hyper.check(hyper.default if given is None else given))
        for hyper, given in zip(LETTERS if by_letter else WORDS, (context, embedding, hidden), strict=True)
    )
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    corpus = Corpus.of(plain, by_letter=by_letter, most=known, validation=share)
    missing = {"train", "validation"} - set(corpus.parts)
    if missing:
        raise ValueError(
            f"The text has {sum(map(len, corpus.parts.values()))} {corpus.kind}s, too few to hold {share:.0%} of them "
            "out: give a longer one."
        )
    about = f"a text of one's own, learned {corpus.kind} by {corpus.kind}: what comes next?"
    return FeedForward(corpus, seen, numbers, units, about)
