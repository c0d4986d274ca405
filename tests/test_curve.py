"""The small curve on a racer's card: the rates the run will have, as an SVG."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import SCHEDULES, race, racer
from tests.strategies import racers
from ui.curve import EDGE, HEIGHT, POINTS, WIDTH, curve


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def line_of(text: str) -> np.ndarray:
    """The points of the line, `[n, 2]`."""
    path = next(part for part in parsed(text) if part.get("class") == "dl-curve-line").get("d", "")
    return np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path), dtype=float)


@pytest.mark.parametrize("steps", [1, 2, 7, 119, 120, 121, 1000, 5000])
@pytest.mark.parametrize("name", [name for name, entry in SCHEDULES.items() if not entry.table])
def test_the_line_is_the_rate_of_the_run(name: str, steps: int) -> None:
    """Read back from the picture: each point is the race's own value at that step, to the tenth of a pixel."""
    contender = racer("adam", lr=0.02, schedule=(name, {"warmup": 0.1}))
    points = line_of(curve(contender, steps))
    assert len(points) <= POINTS + 1 and points[0, 0] == 0 and points[-1, 0] == WIDTH
    at = points[:-1, 0] / WIDTH * steps
    values = race("moons", [contender], steps=steps).values(0, "lr", 0, steps)
    taken = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).round().astype(int))
    assert at == pytest.approx(taken, abs=0.051 / WIDTH * steps)
    drawn = (HEIGHT - EDGE - points[:, 1]) / (HEIGHT - 2 * EDGE)
    assert drawn == pytest.approx(np.append(values[taken], values[-1]) / values[taken].max(), abs=0.051 / (HEIGHT - 4))
    assert drawn.max() == 1


@settings(deadline=None, derandomize=True, max_examples=60)
@given(contender=racers(), steps=st.integers(1, 5000))
def test_any_racer_has_a_picture_of_it(contender: object, steps: int) -> None:
    """Well-formed, with no text in it, all of it within its frame, and small enough for eight of them."""
    text = curve(contender, steps, slot=3)  # type: ignore[arg-type]
    found = parsed(text)
    assert found.tag == "svg" and found.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    assert not "".join(found.itertext()) and len(text) < 4000 and "nan" not in text
    assert str(found.get("aria-label")).startswith("Learning rate over the run: ")
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line_of(text))
    (now,) = [part for part in found if part.get("data-now")]
    assert now.tag == "line" and now.get("data-now") == "r3" and now.get("x1") == now.get("x2") == "0"


def test_a_schedule_that_reacts_says_that_it_is_drawn_before_it_did() -> None:
    flat = line_of(curve(racer("sgd", schedule="plateau"), 500))
    assert set(flat[:, 1]) == {EDGE}
    assert "rate × 0.1 when the loss stands still; drawn as it is until it reacts" in curve(
        racer("sgd", schedule="plateau"), 500
    )
    assert "until it reacts" not in curve(racer("sgd", schedule="cosine"), 500)


def test_a_rate_of_nothing_is_a_line_at_the_foot() -> None:
    nothing = racer("sgd", schedule=("tabulated", {"values": [0.0]}))
    assert set(line_of(curve(nothing, 10))[:, 1]) == {HEIGHT - EDGE}
