"""Networks that write: the next word or letter from those just before it, in the manner of Bengio and others (2003)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from core.spec import Layout
from core.tasks.base import Batch, Layer, Task
from core.tasks.corpus import Corpus, play
from core.tasks.data import LABELS, WRITING, batch_indices, initial_draw, random

TOGETHER = 128  # stretches evaluated at a time: their activations stay in the cache


class FeedForward(Task):
    """An embedding, a tanh layer and a softmax, as `nn.Embedding`, `nn.Linear`, `nn.Tanh` and `nn.Linear`.

    An example is a stretch of `context` tokens of the training part and the token after it; the loss is the mean
    cross-entropy of that one, in nats. Each seed goes through all stretches in an order of its own, anew in each
    epoch. `evaluate` reads `evaluated` stretches of a part, evenly spaced and always the same ones, or all of them
    where there are no more.

    The embedding is a gather with each row's own offset, and its gradient the sum that undoes it: as a product with
    one-hot inputs it would cost several times the rest. Activations after it are features first, `[R, features,
    batch]`. The gradient is written out.

    Initial weights as torch draws them: the embedding N(0, 1), all others uniform within 1/sqrt(fan-in).

    Source: Bengio, Ducharme, Vincent and Jauvin, "A neural probabilistic language model" (2003), without the direct
    connections from the embedding to the output.
    """

    writes = True
    draws_labels = True

    def __init__(self, corpus: Corpus, context: int, embedding: int, hidden: int, about: str, evaluated: int):
        self.corpus, self.context, self.about, self.evaluated = corpus, context, about, evaluated
        self.embedding, self.hidden = embedding, hidden
        V, C, D, H, kind = corpus.size, context, embedding, hidden, corpus.kind
        self.layout = Layout(
            (("embedding", (V, D)), ("W1", (H, C * D)), ("b1", (H, 1)), ("W2", (V, H)), ("b2", (V, 1))),
            (("embedding", "embedding"), ("W1", "hidden"), ("b1", "vector"), ("W2", "output"), ("b2", "vector")),
        )
        self.network = f"{C} {kind}s of {V} → {C} × {D} → {H} tanh → {V}"
        self.layers = (
            Layer("Embedding", f"a vector of {D} numbers for each {kind}, learned", f"{C} × {D}", V * D),
            Layer("Linear, tanh", f"weighted sums of all {C * D} numbers, between -1 and 1", f"{H}", H * (C * D + 1)),
            Layer("Linear, softmax", f"how likely each {kind} is to come next", f"{V}", V * (H + 1)),
        )
        self.parts = tuple(corpus.parts)
        self.examples = len(corpus.windows("train", C + 1))
        self.guess = math.log(V)
        self.levels = corpus.levels(C)
        self.initial_loss = self._expected()
        self._windows: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}

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
            draws.append(np.concatenate([generator.normal(size=V * self.embedding), generator.uniform(-bounds, bounds)]))
        return torch.as_tensor(np.stack(draws)).to(like)

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        windows, _ = self._stretches("train", like.device)
        chosen = batch_indices(seeds, step, len(windows), size, like.device)
        tokens = windows.index_select(0, chosen).view(len(seeds), size, -1)
        return Batch(step, (tokens[:, :, :-1], tokens[:, :, -1]))

    def _stretches(self, part: str, device: torch.device) -> tuple[Tensor, Tensor]:
        """All stretches of a part with the token after each, `[N, context + 1]`, and those that are evaluated."""
        key = part, device
        if key not in self._windows:
            windows = torch.tensor(self.corpus.windows(part, self.context + 1)).to(device)
            count = min(self.evaluated, len(windows))
            self._windows[key] = windows, windows[torch.linspace(0, len(windows) - 1, count, device=device).long()]
        return self._windows[key]

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        x, y = batch.tensors
        log_p = log_softmax(self._logits(p, x), dim=1)
        return -log_p.gather(1, y.unsqueeze(1)).mean((1, 2))

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch.tensors
        (R, size, _), targets, views = x.shape, y.unsqueeze(1), self.layout.views(p)
        where, inputs = self._embedded(views, x)
        hidden = self._hidden(views, inputs)
        log_p = log_softmax(torch.baddbmm(views["b2"], views["W2"], hidden), dim=1)
        loss = -log_p.gather(1, targets).mean((1, 2))
        signal = log_p.exp_()  # dL/d(logits), times the batch's size
        signal.scatter_add_(1, targets, signal.new_full((1, 1, 1), -1).expand(R, 1, size)).div_(size)
        into_hidden = torch.bmm(views["W2"].transpose(1, 2), signal)
        torch.ops.aten.tanh_backward.grad_input(into_hidden, hidden, grad_input=into_hidden)
        into_inputs = torch.bmm(into_hidden.transpose(1, 2), views["W1"]).view(-1, self.embedding)
        embedding = p.new_zeros(R * self.corpus.size, self.embedding).index_add_(0, where, into_inputs)
        return loss, self.layout.flat(
            [
                embedding.view(R, -1),
                torch.bmm(into_hidden, inputs),
                into_hidden.sum(2),
                torch.bmm(signal, hidden.transpose(1, 2)),
                signal.sum(2),
            ]
        )

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, _ = batch.tensors
        draws = np.stack([random(seed, LABELS, batch.step).uniform(size=x.shape[1]) for seed in seeds])
        return Batch(batch.step, (x, _drawn(self._logits(p, x), torch.as_tensor(draws).to(p))))

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
        written = [seen[:, 0, :0]]
        for u in torch.as_tensor(random(seed, WRITING).uniform(size=length)).to(p):
            token = _drawn(self._logits(p, seen), u.expand(len(p), 1))
            seen = torch.cat([seen[:, :, 1:], token.unsqueeze(2)], 2)
            written.append(token)
        return [self.corpus.text(row) for row in torch.cat(written, 1).tolist()]

    def _logits(self, p: Tensor, x: Tensor) -> Tensor:
        """Tokens `[R, B, context]` -> the scores of what comes next, `[R, V, B]`."""
        views = self.layout.views(p)
        return torch.baddbmm(views["b2"], views["W2"], self._hidden(views, self._embedded(views, x)[1]))

    def _embedded(self, views: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `[R, B, C]` -> their places `[R B C]` among all rows' vectors, and the vectors, `[R, B, C D]`."""
        R, V, D = views["embedding"].shape
        where = (x + torch.arange(0, R * V, V, device=x.device).view(-1, 1, 1)).flatten()
        return where, views["embedding"].reshape(R * V, D).index_select(0, where).view(R, x.shape[1], -1)

    def _hidden(self, views: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """`[R, B, C D]` -> `[R, H, B]`."""
        return torch.baddbmm(views["b1"], views["W1"], inputs.transpose(1, 2)).tanh()


def _drawn(logits: Tensor, u: Tensor) -> Tensor:
    """Tokens `[R, B]` drawn from the softmax of `logits [R, V, B]` by its cumulated shares and uniform numbers u."""
    shares = logits.softmax(1).cumsum(1)
    return (shares < u.unsqueeze(1)).sum(1).clamp_(max=logits.shape[1] - 1)


def words(context: int, embedding: int, hidden: int) -> FeedForward:
    """The project's play in words."""
    return FeedForward(play(), context, embedding, hidden, "a short play, learned word by word: what comes next?", 512)
