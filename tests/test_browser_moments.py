"""The Moments page in Chromium: a bad gradient is put in, watched, forked away from, looked at, and found again."""

import re
from urllib.parse import parse_qsl, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from benchmarks.moments import SEEK, lens_drawn, screen, spirals
from core import race, racer
from core.lens import sampled
from tests.test_browser import PATIENCE, OpenPage, overflow, picture, rest, until, until_complete
from ui.moments_scenario import Fork, Moments, Spike, read

STEPS = 400
BYTES = 600_000  # that the largest run may cost from the first message to its end, the page itself included
SHOWN = Moments(race("moons", [racer("adam", lr=0.01)], steps=STEPS, seeds=3), Spike(at=100, factor=100.0))
PATH = screen("", lambda: SHOWN)
# Streamlit looks for its server beside the page's path before it looks at the root: see docs/design.md.
STREAMLITS_OWN = "status of 404"


def shown_by(page: Page) -> Moments:
    """What the address bar says, which must need no correction."""
    found, notes = read(dict(parse_qsl(urlsplit(page.url).query, keep_blank_values=True)))
    assert notes == []
    return found


def meter(page: Page, of: str) -> Locator:
    return page.locator(f"[data-live='r0.{of}']")


def seek(page: Page, step: int) -> None:
    page.locator(".dl-scrub").evaluate(SEEK, step)
    until(page, f"d.head === {step}")


def errors(told: list[str]) -> list[str]:
    return [each for each in told if STREAMLITS_OWN not in each]


def test_a_spike_is_put_in_watched_forked_away_from_and_found_again(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(PATH)
    before = until_complete(opened, STEPS)
    # Inject: a larger one.
    factor = opened.get_by_role("slider", name="Times too large")
    factor.focus()
    factor.press("ArrowRight")
    injected = until_complete(opened, STEPS, run=before["run"])
    assert shown_by(opened).spike.factor > SHOWN.spike.factor
    # Watch the meter: all but m's share is gone slowly.
    seek(opened, 101)
    early = [meter(opened, name).inner_text() for name in ("carried_m", "carried_v")]
    seek(opened, STEPS)
    late = [meter(opened, name).inner_text() for name in ("carried_m", "carried_v")]
    m, v = ([float(each.rstrip("%").replace("−", "-")) for each in both] for both in zip(early, late, strict=True))
    assert m[0] > 50 and abs(m[1]) < 5, "m forgets"
    assert v[0] > 90 and v[1] > 60, "v does not"
    # Fork, and reset v.
    seek(opened, 150)
    opened.get_by_role("button", name="Fork here").click()
    opened.get_by_role("button", name="Reset v", exact=True).click()
    forked = until_complete(opened, STEPS, run=injected["run"])
    assert shown_by(opened).forks == (Fork(0, 150, "v"),)
    assert any("150: v reset" in label for label in picture(opened)["labels"])  # type: ignore[attr-defined]
    # Read the microscope, at the spike's own step and at the next one.
    seek(opened, 100)
    opened.get_by_role("button", name="Look at this step").click()
    expect(opened.get_by_role("columnheader", name="PyTorch")).to_be_visible(timeout=PATIENCE)
    opened.wait_for_url(re.compile(r"look=100\."), timeout=PATIENCE)
    numbers = opened.get_by_role("row").nth(1).inner_text()
    assert "m = beta1 * m + (1 - beta1) * g" in numbers and "m = 0.9 · " in numbers
    opened.get_by_role("button", name="Forward", exact=True).click()
    opened.wait_for_url(re.compile(r"look=101\."), timeout=PATIENCE)
    # And all of it from nothing but the address.
    seek(opened, STEPS)
    rest(opened)
    whole, url = picture(opened), opened.url
    opened.reload()
    again = until_complete(opened, STEPS)
    rest(opened)
    assert opened.url == url and again["run"] == forked["run"]
    assert picture(opened) == whole
    expect(opened.get_by_role("columnheader", name="PyTorch")).to_be_visible(timeout=PATIENCE)
    assert errors(console_errors) == [] and again["blank"] == "0"


def test_the_heat_maps_move_with_the_cursor_and_ask_the_server_for_nothing(
    page: OpenPage, console_errors: list[str], received: list[int]
) -> None:
    opened = page(PATH)
    until_complete(opened, STEPS)
    lens_drawn(opened, STEPS, PATIENCE)
    rest(opened)
    counted = "() => Number(document.querySelector('.dl-live').dataset.heats)"
    pixels = "() => [...document.querySelectorAll('.dl-heat canvas')].map((c) => c.toDataURL())"
    drawn, images = opened.evaluate(counted), opened.evaluate(pixels)
    assert len(images) == 3
    received.clear()
    for step in (50, 99, 101, 150, 300):
        seek(opened, step)
    opened.wait_for_function(f"() => ({counted})() >= {drawn + 3}", timeout=PATIENCE)
    assert opened.evaluate(pixels) != images
    assert sum(received) < 5_000, "what the browser holds is enough"
    # A weight that is clicked in the map is watched, in the address too.
    opened.locator(".dl-heat canvas").first.click(position={"x": 20, "y": 20})
    opened.wait_for_url(re.compile(r"[?&]w="), timeout=PATIENCE)
    (column,) = shown_by(opened).seen.watched[-1:]
    assert 0 <= column < SHOWN.layout.width
    assert errors(console_errors) == []


def test_a_whole_run_with_its_lens_is_within_its_bytes(page: OpenPage, received: list[int]) -> None:
    """2,000 steps, six layers, eight watched weights, the twin: lines binned, and exact values only where asked for."""
    shown = spirals()
    assert len(shown.layout.shapes) == 6 and len(shown.seen.watched) == 8 and shown.trunk.steps == 2000
    opened = page(screen("", spirals))
    until_complete(opened, 2000)
    lens_drawn(opened, 2000, PATIENCE)
    assert len(sampled(shown.config())) > 100
    assert sum(received) <= BYTES, sum(received)


def test_the_page_fits_a_phone_and_a_projector_and_can_be_read_by_all(page: OpenPage) -> None:
    for width, height, dark in ((390, 844, False), (1024, 768, True)):
        opened = page(PATH, width=width, height=height, dark=dark)
        until_complete(opened, STEPS)
        lens_drawn(opened, STEPS, PATIENCE)
        assert overflow(opened) == [], width
        found = Axe().run(opened)
        serious = [
            (v["id"], [n["html"][:200] for n in v["nodes"]])
            for v in found.response["violations"]
            if v["impact"] in ("critical", "serious")
        ]
        assert serious == [], (width, serious)
