"""A module checked on its way to a task: what `from_module` refuses, and what it measures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.tasks.base import Batch
from core.tasks.data import DATA, random
from core.tasks.module import CHECKED, ModuleTask
from core.tasks.plain import Loss, Make, kind, said

Pair = tuple[Any, Any]
GUESSES = 4  # first weights, of which the initial loss is measured


def from_module(
    make: Make,
    loss: Loss,
    train: Pair,
    validation: Pair | None = None,
    test: Pair | None = None,
    about: str = "",
) -> ModuleTask:
    """Make a task of any module and any loss, in one line:

    `from_module(lambda: nn.Sequential(…), nn.functional.cross_entropy, train=(x, y), validation=(x, y))`.

    Whole-number targets of a module that gives one output a class are classes: accuracy is measured on validation.

    Args:
        make: makes the module, with first weights of its own initialisation; called once for each seed.
        loss: `loss(module(x), y)`, one number, the mean over the examples; a function or a module.
        train: inputs `[N, …]` and targets `[N, …]`: arrays or tensors.
        validation: the same, of which the live accuracy is measured.
        test: the same, evaluated after the last step alone.
        about: the problem in one sentence.

    Raises:
        ValueError: they do not make a task, or one whose gradients are wrong; a sentence says why and what to do.
    """
    given = {"train": train, "validation": validation, "test": test}
    data = {part: _read(part, pair) for part, pair in given.items() if pair is not None}
    for part, pair in data.items():
        for what, values, first in zip(("inputs", "targets"), pair, data["train"], strict=True):
            if (values.shape[1:], values.is_floating_point()) != (first.shape[1:], first.is_floating_point()):
                raise ValueError(
                    f"The {what} of {part} are {kind(values)}, those of train {kind(first)}: they must be alike."
                )
    task = ModuleTask(make, loss, data, about)
    _equals_a_plain_loop(task)
    _equals_differences(task)
    like = torch.empty(0)
    measured = float(task.evaluate(task.initial(range(GUESSES), like), "train")["loss"].mean())
    guessing = f", and guessing has {task.guess:.2f}" if task.guess is not None else ""
    task.initial_loss = measured, f"Measured: the mean of {GUESSES} first guesses on the training part{guessing}."
    return task


def _read(part: str, pair: object) -> tuple[Tensor, Tensor]:
    """Inputs and targets as tensors of this task's own: real numbers as they are, whole ones as int64."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{part} must be a pair (inputs, targets), not {type(pair).__name__}.")
    found = []
    for what, values in zip(("inputs", "targets"), pair, strict=True):
        try:
            tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values)).detach().clone()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"The {what} of {part} are no table of numbers ({said(error)}).") from error
        if tensor.is_complex() or not tensor.ndim or not len(tensor) or not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"The {what} of {part} must be finite real numbers, one entry an example.")
        found.append(tensor if tensor.is_floating_point() else tensor.long())
    if len(found[0]) != len(found[1]):
        raise ValueError(
            f"{part} has {len(found[0])} inputs and {len(found[1])} targets: it must have as many of each."
        )
    return found[0], found[1]


# ---------------------------------------------------------------- checked when it is made


def _equals_a_plain_loop(task: ModuleTask) -> None:
    """Loss and gradient of three rows at three steps against the module with `backward`, in float64, to 1e-6."""
    seeds, like = (0, 1, 2), torch.empty(0, dtype=torch.float64)
    p = task.initial(seeds, like)
    for step in range(3):  # the third replays what the second has written down
        batch = task.batch(seeds, step, min(CHECKED, len(task.data["train"][0])), like)
        loss, gradient = _by_vmap(task, p, batch)
        for row, seed in enumerate(seeds):
            expected, slope = _by_backward(task, seed, p[row], *(tensor[row] for tensor in batch.tensors))
            close = torch.allclose(loss[row], expected, rtol=1e-6, atol=1e-9)
            if not close or float((gradient[row] - slope).abs().max()) > 1e-6 * float(slope.abs().max()) + 1e-12:
                raise ValueError(
                    "All rows at once give another loss or gradient than the module in a plain loop: its forward pass "
                    "must use nothing but its weights and its input, and change neither."
                )
        p = p - 0.01 * gradient / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp(min=1)


def _by_vmap(task: ModuleTask, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    try:
        return task.loss_and_grad(p, batch)
    except Exception as error:
        text = str(error)
        if "data-dependent control flow" in text or ".item()" in text:
            raise ValueError(
                "The forward pass decides by what is in a tensor (if, while, .item()), which cannot be done for all "
                "rows at once: use torch.where."
            ) from error
        if any(f"aten::{name}" in text for name in ("lstm", "gru", "rnn")):
            raise ValueError(
                "torch.func cannot run torch's recurrent layers for all rows at once: write their step with nn.Linear, "
                "as docs/your-own.md does."
            ) from error
        if "dtype" in text or "Double" in text:
            raise ValueError(
                f"The module or its loss works in float32 only ({said(error)}): make new tensors of the input's type "
                "(x.new_zeros(…)), and constant ones buffers (register_buffer)."
            ) from error
        raise ValueError(f"torch.func cannot run this module for all rows at once ({said(error)}).") from error


def _by_backward(task: ModuleTask, seed: int, p: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient `[P]` of the module by itself, with weights p `[P]`."""
    module = task.plain(seed, p)
    nn.utils.vector_to_parameters(p, module.parameters())
    with torch.enable_grad():
        loss = task._criterion(module(x), y, p)
        slopes = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, materialize_grads=True)
    return loss.detach(), torch.cat([slope.flatten() for slope in slopes])


def _equals_differences(task: ModuleTask, directions: int = 4, h: float = 1e-6) -> None:
    """The slope along random directions d against `(L(p + h d) - L(p - h d)) / 2h`, in float64, to 0.1 percent.

    A little away from the first guess: weights of exactly 0 often put a ReLU at its kink.
    """
    rng, like = random(0, DATA), torch.empty(0, dtype=torch.float64)
    seeds = tuple(range(directions))
    p = task.initial(seeds, like)
    p = p + 0.01 * torch.as_tensor(rng.standard_normal(p.shape))
    batch = task.batch(seeds, 0, min(CHECKED, len(task.data["train"][0])), like)
    _, gradient = task.loss_and_grad(p, batch)
    d = torch.as_tensor(rng.standard_normal(p.shape)) / math.sqrt(p.shape[1])
    up, down = (task.loss(p + sign * h * d, batch) for sign in (1, -1))
    measured, claimed = (up - down) / (2 * h), (gradient * d).sum(1)
    size = torch.linalg.vector_norm(gradient, dim=1) / math.sqrt(p.shape[1])
    if bool(((measured - claimed).abs() > 1e-3 * size + 1e-8 * (1 + up.abs())).any()):
        row = int((measured - claimed).abs().argmax())
        raise ValueError(
            f"The gradient is wrong: along a random direction autograd says {float(claimed[row]):.4g}, but the loss "
            f"changes by {float(measured[row]):.4g}. Look for .detach(), no_grad, or a rounding in between."
        )
