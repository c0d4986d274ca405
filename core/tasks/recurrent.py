"""Networks with a memory that write: at every word of a stretch of text, the next one, from all of those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from core.spec import Layout
from core.tasks.base import Batch, Layer, Level, Task
from core.tasks.corpus import Corpus, Ints, play
from core.tasks.data import WRITING, another_class, batch_indices, draw_classes, initial_draw, label_noise, random

TOGETHER = 48  # stretches evaluated at a time: their activations stay in the cache
EVALUATED = 64  # stretches of a part that are evaluated at most: all of them took an eighth of a run of 1,200 steps
PER_NAT = 1 / math.log(2)  # bits
LAYER = "W_ih", "W_hh", "b_ih", "b_hh"  # what a recurrent layer's weights are called, in the layout's order

Kept = tuple[Tensor, ...]


class Recurrent(Task):
    """An embedding, a recurrent layer and a softmax, as `nn.Embedding`, `nn.LSTM` (or `nn.GRU`) and `nn.Linear`.

    An example is a stretch of T + 1 tokens of the training part; the state is zero where it begins. The loss is the
    mean cross-entropy of the next token over all T positions, in nats. Each seed goes through all stretches in an
    order of its own, anew in each epoch. `evaluate` reads a part in stretches that follow each other, so that no token
    is told twice; where there are more than 64 of them, in 64 that are evenly spaced and always the same.

    Activations are kept `[R, time x batch, features]`, not features first: a step's rows are then one piece of memory,
    and so are all steps' for the products outside the loop. The embedding is a gather; the input products of all steps
    are one, as are the softmax and each weight's gradient. What is left inside the loop is one product with the gates
    side by side. The gradient through time is written out.

    Weights, biases and the order of the gates are torch's, so that they can be copied over one to one; initial weights
    as torch draws them: the embedding N(0, 1), all others uniform within 1/sqrt(hidden).
    """

    writes = True
    draws_labels = mislabels = True
    name: str  # of the layer
    gates: int  # G
    remembers: str  # what the layer does, in words

    def __init__(self, corpus: Corpus, embedding: int, hidden: int, length: int, about: str):
        self.corpus, self.length, self.about = corpus, length, about
        self.embedding, self.hidden = embedding, hidden
        V, D, H, G = corpus.size, embedding, hidden, self.gates
        self.layout = Layout(
            (
                ("embedding", (V, D)),
                ("W_ih", (G * H, D)), ("W_hh", (G * H, H)), ("b_ih", (G * H,)), ("b_hh", (G * H,)),
                ("W_out", (V, H)), ("b_out", (V,)),
            ),
            (
                ("embedding", "embedding"),
                ("W_ih", "hidden"), ("W_hh", "hidden"), ("b_ih", "vector"), ("b_hh", "vector"),
                ("W_out", "output"), ("b_out", "vector"),
            ),
        )  # fmt: skip
        kind = corpus.kind
        self.activations = length * (D + H + V)
        self.network = f"{V} {kind}s → {D} → {self.name} of {H}, {length} steps → {V}"
        self.layers = (
            Layer("Embedding", f"a vector of {D} numbers for each {kind}, learned", f"{length} × {D}", V * D),
            Layer(self.name, self.remembers, f"{length} × {H}", G * H * (D + H + 2)),
            Layer("Linear, softmax", f"how likely each {kind} is to come next", f"{length} × {V}", V * (H + 1)),
        )
        self.parts, self.sample_length = tuple(corpus.parts), corpus.sample_length
        self.guess = math.log(V)
        self.initial_loss = (
            self.guess,
            f"ln {V} = {math.log(V):.2f} for guessing: the states and the last layer's weights are small at first, so "
            f"that all {V} {kind}s are about equally likely.",
        )
        windows = corpus.windows("train", length + 1)
        self.examples = len(windows)
        self.levels = (*corpus.levels(1), self._floor(windows))
        self._windows: dict[tuple[str, torch.device], Tensor] = {}

    def _floor(self, windows: Ints) -> Level:
        """The least mean loss on stretches `[N, T + 1]` of whoever sees of each no more than what it has read.

        `-mean log (n(c, x) / n(c))` over all tokens x that have something before them in their stretch, c being all
        of that.
        """
        seen, told = np.unique(windows[:, 0], return_inverse=True)[1], 0.0
        for column in windows.T[1:]:
            before, seen = seen, np.unique(seen * self.corpus.size + column, return_inverse=True)[1]
            told += float(np.log(np.bincount(before)[before] / np.bincount(seen)[seen]).mean())
        kind, value = self.corpus.kind, told / self.length
        return Level(
            f"every stretch by heart: {value:.2f}", value,
            meaning=f"At a stretch's first {kind} the network has seen one, at its last {self.length}. Who knows by "
            "heart what follows in the training part has this loss there; no network that begins every stretch with an "
            "empty memory can go below it on all of them.",
        )  # fmt: skip

    def initial(self, seeds: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        table = self.corpus.size * self.embedding
        bound = 1 / math.sqrt(self.hidden)
        draws = []
        for seed in seeds:
            generator = initial_draw(seed, draw)
            rest = self.layout.width - table
            draws.append(np.concatenate([generator.normal(size=table), generator.uniform(-bound, bound, rest)]))
        return torch.as_tensor(np.stack(draws)).to(like)

    def batch(self, seeds: tuple[int, ...], step: int, size: int, like: Tensor) -> Batch:
        windows = self._all_windows("train", like.device)
        chosen = batch_indices(seeds, step, len(windows), size, like.device)
        tokens = windows.index_select(0, chosen).view(len(seeds), size, -1).transpose(1, 2)
        return Batch(step, (tokens[:, :-1], tokens[:, 1:]))

    def _all_windows(self, part: str, device: torch.device) -> Tensor:
        """All stretches of a part, `[N, T + 1]`."""
        key = part, device
        if key not in self._windows:
            self._windows[key] = torch.tensor(self.corpus.windows(part, self.length + 1)).to(device)
        return self._windows[key]

    def loss(self, p: Tensor, batch: Batch) -> Tensor:
        x, y = batch.tensors
        log_p = log_softmax(self._logits(self.layout.views(p), x), dim=2)
        return -log_p.gather(2, y.flatten(1).unsqueeze(2)).mean((1, 2))

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = batch.tensors
        (R, T, B), V, H = x.shape, self.corpus.size, self.hidden
        n, views, targets = T * B, self.layout.views(p), y.flatten(1).unsqueeze(2)
        where, inputs = self._embedded(views, x)
        hidden, kept = self._read(views, inputs)
        flat = hidden.view(R, n, H)
        log_p = log_softmax(self._scores(views, flat), dim=2)
        loss = -log_p.gather(2, targets).mean((1, 2))
        # dL/d(logits), times n; `exp_` takes three times as long.
        signal = log_p.mul_(PER_NAT).exp2_() if _aligned(log_p) else log_p.exp_()
        signal.scatter_add_(2, targets, signal.new_full((1, 1, 1), -1).expand(R, n, 1)).mul_(1 / n)
        into_hidden = torch.bmm(signal, views["W_out"]).view(R, T, B, H)
        into_inputs, *of_layer = self._gradients(views, inputs, hidden, kept, into_hidden)
        embedding = p.new_zeros(R * V, self.embedding).index_add_(0, where, into_inputs.view(R * n, -1))
        return loss, self.layout.flat(
            [
                embedding.view(R, -1),
                *of_layer,
                torch.bmm(signal.transpose(1, 2), flat),
                signal.sum(1),
            ]
        )

    def mislabelled(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, y = batch.tensors
        return Batch(batch.step, (x, another_class(y, self.corpus.size, seeds, batch.step)))

    def draw_labels(self, p: Tensor, batch: Batch, seeds: Sequence[int]) -> Batch:
        x, _ = batch.tensors
        noise = label_noise(seeds, batch.step, x.shape[1:], p)
        labels = draw_classes(self._logits(self.layout.views(p), x), noise.flatten(1), 2)
        return Batch(batch.step, (x, labels.view_as(x)))

    def evaluate(self, p: Tensor, part: str) -> dict[str, Tensor]:
        some = self._all_windows(part, p.device)[:: self.length]
        if len(some) > EVALUATED:
            some = some[torch.arange(EVALUATED, device=p.device) * (len(some) - 1) // (EVALUATED - 1)]
        losses = []
        for stretches in some.split(TOGETHER):
            tokens = stretches.T.expand(len(p), -1, -1)
            losses.append(self.loss(p, Batch(0, (tokens[:, :-1], tokens[:, 1:]))) * len(stretches))
        return {"loss": torch.stack(losses).sum(0) / len(some)}

    def sample(self, p: Tensor, seed: int, length: int) -> list[str]:
        """A text of so many tokens from each row's network: its state is carried on, and no longer begins at zero.

        It is begun by a line's end (or the text's first token, where it has no lines).
        """
        views, corpus = self.layout.views(p), self.corpus
        start = corpus.vocabulary.index("\n") if "\n" in corpus.vocabulary else int(corpus.parts["train"][0])
        token = torch.full((len(p), 1), start, device=p.device)
        state, written = self._nothing(p, 1), [token[:, :0]]
        for u in torch.as_tensor(random(seed, WRITING).uniform(size=length)).to(p):
            drive = self._drive(views, self._embedded(views, token.unsqueeze(2))[1].flatten(1, 2))
            state, _ = self._step(drive, state, *self._recurrent(views))
            token = draw_classes(self._scores(views, state[0]), u.expand(len(p), 1), 2)
            written.append(token)
        return [corpus.text(row) for row in torch.cat(written, 1).tolist()]

    def _logits(self, views: dict[str, Tensor], x: Tensor) -> Tensor:
        """Tokens `[R, T, B]` -> the scores of what comes next, `[R, T B, V]`."""
        hidden, _ = self._read(views, self._embedded(views, x)[1])
        return self._scores(views, hidden.flatten(1, 2))

    def _embedded(self, views: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `[R, T, B]` -> their places `[R T B]` among all rows' vectors, and the vectors `[R, T, B, D]`."""
        R, V, D = views["embedding"].shape
        where = (x.flatten(1) + torch.arange(0, R * V, V, device=x.device).unsqueeze(1)).flatten()
        return where, views["embedding"].reshape(R * V, D).index_select(0, where).view(*x.shape, D)

    def _drive(self, views: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """What the inputs `[R, N, D]` bring to each gate, `[R, N, G H]`."""
        return torch.baddbmm(self._bias(views).unsqueeze(1), inputs, views["W_ih"].transpose(1, 2))

    def _scores(self, views: dict[str, Tensor], hidden: Tensor) -> Tensor:
        """Logits `[R, N, V]` of states `[R, N, H]`."""
        return torch.baddbmm(views["b_out"].unsqueeze(1), hidden, views["W_out"].transpose(1, 2))

    def _read(self, views: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, list[Kept]]:
        """Vectors `[R, T, B, D]` -> the states after each step, `[R, T, B, H]`, and what `_gradients` needs of each."""
        drive = self._drive(views, inputs.flatten(1, 2)).view(*inputs.shape[:3], -1)
        state, recurrent = self._nothing(drive, drive.shape[2]), self._recurrent(views)
        hidden, kept = [], []
        for step in drive.unbind(1):
            state, remembered = self._step(step, state, *recurrent)
            hidden.append(state[0])
            kept.append(remembered)
        return torch.stack(hidden, 1), kept

    def _gradients(
        self, views: dict[str, Tensor], inputs: Tensor, hidden: Tensor, kept: list[Kept], signal: Tensor
    ) -> tuple[Tensor, ...]:
        """From dL/d(hidden), `[R, T, B, H]`, dL/d(inputs), `[R, T B, D]`, and those of W_ih, W_hh, b_ih and b_hh."""
        R, T, B, H = hidden.shape
        before = torch.cat([hidden.new_zeros(R, 1, B, H), hidden[:, :-1]], 1)
        driven, recurrent = self._back(views["W_hh"], signal, before, kept)
        return (
            torch.bmm(driven, views["W_ih"]),
            torch.bmm(driven.transpose(1, 2), inputs.flatten(1, 2)),
            torch.bmm(recurrent.transpose(1, 2), before.view(R, T * B, H)),
            driven.sum(1),
            recurrent.sum(1),
        )

    @staticmethod
    def _recurrent(views: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weights `[R, H, G H]` and biases `[R, 1, G H]` by which a state acts on the gates."""
        return views["W_hh"].transpose(1, 2), views["b_hh"].unsqueeze(1)

    def _nothing(self, like: Tensor, size: int) -> Kept:
        """The state of so many sequences before their first step: zeros, hidden state first."""
        raise NotImplementedError

    def _bias(self, views: dict[str, Tensor]) -> Tensor:
        """What `_drive` adds, `[R, G H]`."""
        raise NotImplementedError

    def _step(self, drive: Tensor, state: Kept, W: Tensor, b: Tensor) -> tuple[Kept, Kept]:
        """One step: `drive [R, B, G H]` and a state -> the next state, and what `_back` needs."""
        raise NotImplementedError

    def _back(self, W_hh: Tensor, signal: Tensor, before: Tensor, kept: list[Kept]) -> tuple[Tensor, Tensor]:
        """Through time: `signal [R, T, B, H]` is dL/d(state) by way of the logits, `before` the state before each step.

        Returns dL/d(gates) by way of the inputs' product and by way of the recurrent one, `[R, T B, G H]` each.
        """
        raise NotImplementedError


class LSTM(Recurrent):
    """Hochreiter and Schmidhuber (1997), with a forget gate (Gers and others, 2000), as `nn.LSTM` has it:

    (i, f, g, o) = W_ih x + b_ih + W_hh h + b_hh, c = σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c).

    In float32 on a processor the layer is oneDNN's, which `nn.LSTM` calls too, one row after the other: with it loss
    and gradient take 827 µs a row where there are 32 rows, and 785 where there is one; with products of all rows at
    once, 961 and 1,333 (12 steps, batch 16, processor time, the least of 9). In float64, which oneDNN's does not read,
    and elsewhere, it is those products.
    """

    name, gates = "LSTM", 4
    remembers = "reads on and remembers: a cell state, and gates for what enters it, what stays and what is shown"

    def _read(self, views: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, list[Kept]]:
        if not _onednn(inputs):
            return super()._read(views, inputs)
        zeros, read = inputs.new_zeros(1, inputs.shape[2], self.hidden), torch.ops.aten.mkldnn_rnn_layer
        with torch.enable_grad():  # without it no workspace is kept for the way back
            kept = [
                read(x, *own, zeros, zeros, False, [], 2, self.hidden, 1, True, False, False, True)
                for x, *own in zip(inputs, *(views[name] for name in LAYER), strict=True)
            ]
        return torch.stack([states for states, *_ in kept]), kept

    def _gradients(
        self, views: dict[str, Tensor], inputs: Tensor, hidden: Tensor, kept: list[Kept], signal: Tensor
    ) -> tuple[Tensor, ...]:
        if not _onednn(inputs):
            return super()._gradients(views, inputs, hidden, kept, signal)
        zeros, back = inputs.new_zeros(1, inputs.shape[2], self.hidden), torch.ops.aten.mkldnn_rnn_layer_backward
        found = [
            back(
                x, *own, zeros, zeros, states, last, cell, into, None, None,
                False, 2, self.hidden, 1, True, True, False, [], False, workspace,
            )[:5]
            for (states, last, cell, workspace), into, x, *own in zip(
                kept, signal, inputs, *(views[name] for name in LAYER), strict=True
            )
        ]  # fmt: skip
        return tuple(torch.stack(every) for every in zip(*found, strict=True))

    def _nothing(self, like: Tensor, size: int) -> Kept:
        zeros = like.new_zeros(len(like), size, self.hidden)
        return zeros, zeros

    def _bias(self, views: dict[str, Tensor]) -> Tensor:
        return views["b_ih"] + views["b_hh"]

    def _step(self, drive: Tensor, state: Kept, W: Tensor, b: Tensor) -> tuple[Kept, Kept]:
        (h, c), H = state, self.hidden
        sums = torch.baddbmm(drive, h, W)
        sums[..., 2 * H : 3 * H].mul_(2)  # for tanh, see `_tanh`: so one sigmoid does for all four
        s = _sigmoid(sums)
        i, f, g, o = s.view(*s.shape[:2], 4, H).unbind(2)
        g = g.mul(2).sub_(1)
        after = torch.addcmul(f * c, i, g)
        shown = _tanh(after)
        return (o * shown, after), (s, g, c, shown)

    def _back(self, W_hh: Tensor, signal: Tensor, before: Tensor, kept: list[Kept]) -> tuple[Tensor, Tensor]:
        (R, T, B, H), (s, g, cell, shown) = signal.shape, (torch.stack(every, 1) for every in zip(*kept, strict=True))
        i, f, _, o = s.view(R, T, B, 4, H).unbind(3)
        to_cell = torch.addcmul(o, o * shown, shown, value=-1)
        # What a gate's sum changes: c for i, f and g, h for o. Each has σ' = σ (1 - σ), and tanh' = 4 σ (1 - σ).
        slope = torch.addcmul(s, s, s, value=-1).view(R, T, B, 4, H)
        for gate, factor in zip(slope.unbind(3), (g, cell, 4 * i, shown), strict=True):
            gate.mul_(factor)
        found = torch.empty_like(slope)
        # All views are made at once, outside of the loop.
        of_cell, of_state = slope[..., :3, :].unbind(1), slope[..., 3, :].unbind(1)
        into_cell, into_state = found[..., :3, :].unbind(1), found[..., 3, :].unbind(1)
        into_sums, cells, stays = found.flatten(3).unbind(1), to_cell.unbind(1), f.unbind(1)
        dh, dc = signal[:, -1], signal.new_zeros(R, B, H)
        for t in reversed(range(T)):
            dc = torch.addcmul(dc, dh, cells[t])
            torch.mul(of_cell[t], dc.unsqueeze(2), out=into_cell[t])
            torch.mul(of_state[t], dh, out=into_state[t])
            if t:
                dh = torch.baddbmm(signal[:, t - 1], into_sums[t], W_hh)
                dc = dc * stays[t]
        flat = found.view(R, T * B, 4 * H)
        return flat, flat


class GRU(Recurrent):
    """Cho and others (2014), as `nn.GRU` has it:

    (a_r, a_z, a_n) = W_ih x + b_ih, (u_r, u_z, u_n) = W_hh h + b_hh, r = σ(a_r + u_r), z = σ(a_z + u_z),
    n = tanh(a_n + r u_n), h = (1 - z) n + z h.
    """

    name, gates = "GRU", 3
    remembers = "reads on and remembers: a state, and gates for how much of it is looked at and how much is kept"

    def _nothing(self, like: Tensor, size: int) -> Kept:
        return (like.new_zeros(len(like), size, self.hidden),)

    def _bias(self, views: dict[str, Tensor]) -> Tensor:
        return views["b_ih"]

    def _step(self, drive: Tensor, state: Kept, W: Tensor, b: Tensor) -> tuple[Kept, Kept]:
        (h,), H = state, self.hidden
        sums = torch.baddbmm(b, h, W)
        rz, un = _sigmoid(drive[..., : 2 * H] + sums[..., : 2 * H]), sums[..., 2 * H :]
        r, z = rz.view(*rz.shape[:2], 2, H).unbind(2)
        n = _tanh(torch.addcmul(drive[..., 2 * H :], r, un))
        return (torch.lerp(n, h, z),), (rz, un, n)

    def _back(self, W_hh: Tensor, signal: Tensor, before: Tensor, kept: list[Kept]) -> tuple[Tensor, Tensor]:
        (R, T, B, H), (rz, un, n) = signal.shape, (torch.stack(every, 1) for every in zip(*kept, strict=True))
        r, z = rz.view(R, T, B, 2, H).unbind(3)
        # What each sum changes h by: r's, z's, n's by way of u, and n's by way of a.
        slope = signal.new_empty(R, T, B, 4, H)
        of_r, of_z, of_u, of_a = slope.unbind(3)
        torch.mul(1 - z, torch.addcmul(torch.ones_like(n), n, n, value=-1), out=of_a)
        torch.mul(of_a, r, out=of_u)
        torch.mul(of_u * un, 1 - r, out=of_r)
        torch.mul(before - n, torch.addcmul(z, z, z, value=-1), out=of_z)
        found = torch.empty_like(slope)
        slopes, into, keeps = slope.unbind(1), found.unbind(1), z.unbind(1)
        into_sums = found[..., :3, :].flatten(3).unbind(1)
        dh = signal[:, -1]
        for t in reversed(range(T)):
            torch.mul(slopes[t], dh.unsqueeze(2), out=into[t])
            if t:
                dh = torch.baddbmm(torch.addcmul(signal[:, t - 1], dh, keeps[t]), into_sums[t], W_hh)
        flat = found.view(R, T * B, 4 * H)
        return torch.cat([flat[..., : 2 * H], flat[..., 3 * H :]], 2), flat[..., : 3 * H]


def _onednn(like: Tensor) -> bool:
    """Whether oneDNN's LSTM reads such inputs: float32, on a processor that torch has oneDNN for."""
    return like.dtype == torch.float32 and like.is_cpu and torch.backends.mkldnn.is_available()


def _aligned(x: Tensor) -> bool:
    """Whether each row fills whole groups of 32 numbers. Where it does not, torch's `sigmoid` and `exp2` take the last
    numbers of a table by another routine, which rounds differently, and a row would depend on how many stand beside it;
    its `tanh` and `exp` do not.
    """
    return x[0].numel() % 32 == 0


def _sigmoid(x: Tensor) -> Tensor:
    """σ(x), in the place of x; (1 + tanh(x / 2)) / 2 where rows are not aligned."""
    return x.sigmoid_() if _aligned(x) else x.mul_(0.5).tanh_().mul_(0.5).add_(0.5)


def _tanh(x: Tensor) -> Tensor:
    """tanh x = 2 σ(2x) - 1, to one rounding of 1, where rows are aligned: torch's own takes twice as long."""
    return x.mul(2).sigmoid_().mul(2).sub_(1) if _aligned(x) else x.tanh()


def lstm(embedding: int, hidden: int, length: int) -> LSTM:
    """The project's play in words, read by an LSTM."""
    return LSTM(play(), embedding, hidden, length, _ABOUT)


def gru(embedding: int, hidden: int, length: int) -> GRU:
    """The project's play in words, read by a GRU."""
    return GRU(play(), embedding, hidden, length, _ABOUT)


_ABOUT = "a short play, learned word by word by a network with a memory: what comes next?"
