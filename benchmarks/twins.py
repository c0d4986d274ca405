"""The networks of tasks as `torch.nn` has them, one run at a time: what a table is tested and timed against."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from core.tasks import Task
from core.tasks.convex import ManyFits
from core.tasks.dense import Dense
from core.tasks.images import Convolutional
from core.tasks.language import FeedForward
from core.tasks.linear import Factorisation
from core.tasks.recurrent import LSTM, Recurrent
from core.tasks.supervised import Classifier, Supervised


class Product(nn.Module):
    """`U V^T`, whatever the input."""

    def __init__(self, task: Factorisation):
        super().__init__()
        self.U, self.V = (nn.Parameter(torch.randn(shape) * task.scale) for _, shape in task.layout.shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.U @ self.V.T


class Reader(nn.Module):
    """An embedding, `nn.LSTM` or `nn.GRU`, and a linear layer at every place of a stretch."""

    def __init__(self, task: Recurrent):
        super().__init__()
        kind = nn.LSTM if isinstance(task, LSTM) else nn.GRU
        self.embedding = nn.Embedding(task.corpus.size, task.embedding)
        self.memory = kind(task.embedding, task.hidden, batch_first=True)
        self.output = nn.Linear(task.hidden, task.corpus.size)

    def read(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Tokens `[B, T]` -> scores `[B, T, V]`, and the state after them; without a state, one of zeros."""
        hidden, state = self.memory(self.embedding(tokens), state)
        return self.output(hidden), state

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, T]` -> scores `[B T, V]`."""
        scores: Tensor = self.read(tokens)[0].flatten(0, 1)
        return scores


def module(task: Task) -> nn.Module:
    """The task's network with torch's own initialisation: inputs `[B, …]`, outputs `[B, K]`."""
    if isinstance(task, Dense):
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(task.widths):
            layers += [nn.Linear(fan_in, fan_out, bias=task.biases), *([nn.ReLU()] if task.relu else [])]
        return nn.Sequential(*(layers[:-1] if task.relu else layers))
    if isinstance(task, Convolutional):
        shapes = dict(task.layout.shapes)
        first, second = shapes["W1"][0], shapes["W2"][0]
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, first, 3), nn.ReLU(), nn.Conv2d(first, second, 3), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * second, 10),
        )  # fmt: skip
    if isinstance(task, FeedForward):
        return nn.Sequential(
            nn.Embedding(task.corpus.size, task.embedding), nn.Flatten(),
            nn.Linear(task.context * task.embedding, task.hidden), nn.Tanh(), nn.Linear(task.hidden, task.corpus.size),
        )  # fmt: skip
    if isinstance(task, Recurrent):
        return Reader(task)
    if isinstance(task, ManyFits):
        plain = nn.Linear(task.layout.width, 1, bias=False)
        nn.init.zeros_(plain.weight)
        return plain
    assert isinstance(task, Factorisation), f"{type(task).__name__} has no twin"
    return Product(task)


def data(task: Task, part: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs `[N, …]`, and class numbers `[N]` (of a stretch `[N, T]`) or targets `[N, K]`, as a plain training has
    them.
    """
    if isinstance(task, Supervised):
        inputs, targets = (torch.as_tensor(array) for array in task.data.parts[part])
        return inputs.to(like), targets if isinstance(task, Classifier) else targets.to(like).view(len(targets), -1)
    if isinstance(task, FeedForward):
        windows = torch.tensor(task.corpus.windows(part, task.context + 1))
        return windows[:, :-1], windows[:, -1]
    if isinstance(task, Recurrent):
        windows = torch.tensor(task.corpus.windows(part, task.length + 1))
        return windows[:, :-1], windows[:, 1:]
    if isinstance(task, ManyFits):
        columns = torch.as_tensor(task.columns()).to(like)
        if part == "validation":
            columns[:, 3:] = 0
        return columns, torch.as_tensor(task.labels).to(like).unsqueeze(1)
    assert isinstance(task, Factorisation), f"{type(task).__name__} has no twin"
    return like.new_empty(1, 0), torch.as_tensor(task.matrix).to(like)


def loss_of(task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as torch has it."""
    if isinstance(task, Recurrent):
        return lambda outputs, targets: nn.functional.cross_entropy(outputs, targets.flatten())
    if isinstance(task, (Classifier, FeedForward)):
        return nn.functional.cross_entropy
    if isinstance(task, Factorisation):
        return lambda outputs, targets: nn.functional.mse_loss(outputs, targets, reduction="sum") / 2
    return nn.functional.mse_loss


def train(
    task: Task, x: Tensor, y: Tensor, *, runs: int, steps: int, size: int, rate: float, mode: dict[str, Any]
) -> None:
    """So many runs one after the other on `data`, as `torch.optim.Adam` is used; nothing is evaluated or recorded."""
    loss = loss_of(task)
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        model = module(task)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate, **mode)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            inputs, targets = x, y
            if task.examples is not None:
                if len(order) < size:
                    order = torch.randperm(len(x), generator=generator)
                chosen, order = order[:size], order[size:]
                inputs, targets = x[chosen], y[chosen]
            optimizer.zero_grad()
            loss(model(inputs), targets).backward()
            optimizer.step()
