"""A problem's network as it is drawn: its layers, the loss to expect before training, its levels, its cost here."""

from __future__ import annotations

import math
from html import escape

from core.tasks import Task
from ui.numbers import duration_text, number_text

BYTES = 4  # of a weight as it is trained, a float32


def network(task: Task, racers: int, seeds: int, pace: float | None) -> str:
    """HTML of all that there is to say of a task's network.

    `pace` is what a step of this race has taken so far, in seconds, with all of its racers and seeds; None before the
    first one.
    """
    parts = (_layers(task), _size(task), _first_loss(task), _cost(racers, seeds, pace), _levels(task))
    return f'<div class="dl-network">{"".join(parts)}</div>'


def _layers(task: Task) -> str:
    """A block a layer, from the input down to the output, as wide as a square with the numbers that leave it."""
    most = max((layer.numbers for layer in task.layers), default=1)
    items = [
        f'<li class="{"dl-learned" if layer.parameters else "dl-fixed"}">'
        f'<span><i style="width: {100 * math.sqrt(layer.numbers / most):.1f}%"></i></span>'
        f"<div><p><b>{escape(layer.name)}</b><span>{escape(layer.shape)}</span>"
        f"<em>{_plural(layer.parameters, 'parameter') if layer.parameters else ''}</em></p>"
        f"<p>{escape(layer.does)}</p></div></li>"
        for layer in task.layers
    ]
    return f"<ol>{''.join(items)}</ol>" if items else ""


def _size(task: Task) -> str:
    """The sum of all; a task without layers says what it is instead."""
    width, size = task.layout.width, BYTES * task.layout.width
    memory = f"{size / 1024:.3g} KiB" if size >= 1024 else f"{size} bytes"
    if not task.layers:
        return f"<p>No network: the loss is a function of {_plural(width, 'number')}, and these are trained.</p>"
    return f"<p><b>{_plural(width, 'parameter')}</b> in all, {memory}, for each racer and seed.</p>"


def _first_loss(task: Task) -> str:
    if task.initial_loss is None:
        return ""
    value, why = task.initial_loss
    reason = why if why.startswith("ln ") else why[0].lower() + why[1:]
    return f"<p>Before training expect a loss of about <b>{value:.3g}</b>: {escape(reason)}</p>"


def _levels(task: Task) -> str:
    items = [f"<dt>{escape(level.name)}</dt><dd>{escape(level.meaning)}</dd>" for level in task.levels]
    return f"<p>The dashed lines of the charts:</p><dl>{''.join(items)}</dl>" if items else ""


def _cost(racers: int, seeds: int, pace: float | None) -> str:
    """How long 1,000 steps take, as this race itself has shown."""
    whom = f"{_plural(racers, 'racer')}, {_plural(seeds, 'seed')}"
    if pace is None:
        return f"<p>What 1,000 steps of this race ({whom}) take here is measured as it runs.</p>"
    took = duration_text(1000 * pace)
    return f"<p>1,000 steps of this race ({whom}) take about <b>{took}</b> here, as it has run so far.</p>"


def _plural(count: int, noun: str) -> str:
    return f"{number_text(count)} {noun}{'' if count == 1 else 's'}"
