"""The network's drawing: every layer with its width and parameters, and nothing that is not true of the task."""

import math
import re
from html import escape

import pytest

from core import TASKS, race, racer
from core.tasks import Task
from ui.network import network
from ui.numbers import duration_text


def task_of(name: str) -> Task:
    return race(name, [racer("sgd")], steps=5, batch=8).build_task()


@pytest.mark.parametrize("name", TASKS)
def test_every_layer_level_and_first_loss_is_told_and_the_parameters_add_up(name: str) -> None:
    task = task_of(name)
    html = network(task, 2, 8, 0.001)
    told = [int(count.replace(",", "")) for count in re.findall(r"<em>([\d,]+) parameters?</em>", html)]
    assert told == [layer.parameters for layer in task.layers if layer.parameters]
    assert not task.layers or (sum(told) == task.layout.width and f"<b>{task.layout.width:,} parameters</b>" in html)
    assert html.count("<li") == len(task.layers) and html.count('class="dl-learned"') == len(told)
    for layer in task.layers:
        assert escape(layer.name) in html and escape(layer.does) in html
    for level in task.levels:
        assert f"<dt>{escape(level.name)}</dt><dd>{escape(level.meaning)}</dd>" in html
    if task.initial_loss is not None:
        assert f"Before training expect a loss of about <b>{task.initial_loss[0]:.3g}</b>" in html


def test_a_block_is_as_wide_as_the_root_of_what_leaves_it() -> None:
    widths = [float(width) for width in re.findall(r"width: ([\d.]+)%", network(task_of("digits"), 1, 1, None))]
    assert widths == pytest.approx([100, 100 * math.sqrt(32 / 64), 100 * math.sqrt(10 / 64)], abs=0.06)


def test_a_function_has_no_network() -> None:
    html = network(task_of("quadratic"), 1, 1, None)
    assert "No network: the loss is a function of 2 numbers" in html and "<ol>" not in html


def test_what_a_stranger_wrote_is_text() -> None:
    task = task_of("digits")
    layer = task.layers[1]
    hostile = type("Hostile", (), {"__getattr__": lambda self, name: getattr(task, name)})()
    hostile.layers = (type(layer)("<script>", "<b>does</b>", "<i>", 1),)
    html = network(hostile, 1, 1, None)
    assert "<script>" not in html and "<b>does</b>" not in html and "&lt;script&gt;" in html


def test_the_cost_is_what_the_race_has_shown_and_none_before() -> None:
    task = task_of("wine")
    assert "1,000 steps of this race (3 racers, 8 seeds) take about <b>2 min</b> here" in network(task, 3, 8, 0.12)
    assert "(1 racer, 1 seed) take here is measured as it runs" in network(task, 1, 1, None)


@pytest.mark.parametrize(
    "seconds, words",
    [(0.0842, "0.084 s"), (0.84, "0.84 s"), (9.96, "10 s"), (42.4, "42 s"), (200, "3 min 20 s"), (119, "2 min")],
)
def test_seconds_are_said_as_one_says_them(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words
