"""The Moments page: what it costs to record all that it can show (one process, one thread, float32), and how live it is
in a real browser on the served app, taken inside the page as in `benchmarks.live`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from benchmarks.engine import seconds, table
from benchmarks.live import LIMIT, REST, STEPS, Shown, opened, press
from benchmarks.measurement import Measurement, Measures, high
from benchmarks.served import chromium, server
from core import Config, Recording, edit, race, racer
from core.lens import Lens
from ui.moments_scenario import KINDS, Moments, Spike, default, write

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROWS, LONG, AT, FACTOR = 8, 2000, 100, 100.0
NOTHING = Recording(evaluations=1, probes=1, texts=1, names=())
EVERYTHING = Recording(lens=Lens(tuple(range(ROWS)), tuple(range(100, 900, 100)), "W1", pictured=0))
LENS_ALONE = replace(NOTHING, lens=EVERYTHING.lens)
RACE = f"{ROWS} racers with Adam on the digits, one seed, {LONG:,} steps, batch 32"
SPIKED = f"all with a gradient {FACTOR:g} times too large at step {AT}"
SEEN = "8 coordinates at every step; norms, rates and one racer's heat maps of the first layer at sampled ones"

PRESSES = 12
FIRST_RATE = 0.0003  # of Adam; so many presses later it is still a good one
FORKED = ((200, "keep"), (400, "rate"), (600, "keep"), (800, "rate"))
VISITS = 2  # in which forks are made
SECONDS = 3  # of scrubbing
WHAT = (
    f"Moments' default screen (Adam and its twin x 5 seeds x {STEPS:,} steps on the digits), Chromium at 1440x900, no "
    "GPU, at speed max"
)

SEEK = "(bar, step) => { bar.value = step; bar.dispatchEvent(new Event('input', {bubbles: true})); }"
# Drags the scrub bar over the run, back and forth, at each frame: [heat maps drawn, frames, seconds].
SCRUB = """
([steps, lasting]) => new Promise((resolve) => {
  const [bar, live] = [".dl-scrub", ".dl-live"].map((name) => document.querySelector(name));
  const [began, before] = [performance.now(), Number(live.dataset.heats)];
  let frames = 0;
  const move = (now) => {
    const gone = (now - began) / 1000;
    if (gone >= lasting) return resolve([Number(live.dataset.heats) - before, frames, gone]);
    frames++;
    bar.value = Math.round(steps * Math.abs(((gone * 2) / lasting) % 2 - 1));
    bar.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
})
"""


def config(spiked: bool) -> Config:
    """Eight rows, with or without a bad gradient in each."""
    plain = race("digits", [racer("adam")] * ROWS, steps=LONG, seeds=1)
    bad = tuple(edit(AT - 1, index, "scale_gradient", factor=FACTOR) for index in range(ROWS))
    return replace(plain, edits=bad) if spiked else plain


def overhead(spiked: bool, recording: Recording, how: str, bar: str | None, pairs: int = 7) -> Measurement:
    """The time with a recording over the time of the race without a spike and with nothing recorded."""
    recorded, bare = table(config(spiked), recording), table(config(False), NOTHING)
    recorded()
    bare()  # once each, so that data and plans are made
    ratios = [seconds(recorded) / seconds(bare) for _ in range(pairs)]
    return Measurement(
        median(ratios), "times",
        f"{RACE}. {how} Against the race without a spike and nothing recorded but its end. Median of {pairs} "
        f"alternating pairs, {min(ratios):.2f} to {max(ratios):.2f}.",
        bar,
    )  # fmt: skip


def screen(address: str, of: Callable[[], Moments] = default, /, **changes: str) -> str:
    """The address of the page, some of it changed."""
    return f"{address}/Moments?{urlencode(write(of()) | {'speed': 'max'} | changes)}"


def spirals() -> Moments:
    """A long run of six tensors with eight watched weights."""
    shown = Moments(race("spirals", [racer("adam")], steps=LONG, seeds=5), Spike(at=AT, factor=FACTOR))
    return replace(shown, seen=replace(shown.seen, watched=tuple(range(8))))


def lens_drawn(page: Page, steps: int, patience: float = LIMIT) -> None:
    """Until the heat maps of the last step are drawn, for so many ms at most; what is out of sight is not drawn."""
    page.locator(".dl-heat").scroll_into_view_if_needed()
    page.wait_for_function(
        "step => document.querySelector('.dl-heat').textContent.includes(`step ${step}`)", arg=f"{steps:,}",
        timeout=patience,
    )  # fmt: skip


@lru_cache(maxsize=1)
def pressed() -> list[Shown]:
    """Arrow presses on the learning rate, each a race never trained before."""
    changes = {"seed": "300", "r0.lr": str(FIRST_RATE)}
    with server() as address, chromium() as browser, opened(browser, screen(address, **changes)) as page:
        press(page, "ArrowRight")
        return [press(page, "ArrowRight") for _ in range(PRESSES)]


def first_curve(of: Callable[[Sequence[float]], float], bar: int) -> Measurement:
    """From the key to the first painted curve of the race that it asked for."""
    shown = pressed()
    middle = {name: median(getattr(one, name) for one in shown) for name in ("sent", "received", "complete")}
    values = [one.first for one in shown]
    return Measurement(
        of(values), "ms",
        f"{WHAT}. {PRESSES} arrow presses on the Learning rate, each a race never trained before; from the key's own "
        f"time to the frame that paints at least two samples of the new race. {min(values):.0f} to {max(values):.0f}. "
        f"Medians: sent to the server after {middle['sent']:.0f}, samples received after {middle['received']:.0f}, all "
        f"painted after {middle['complete']:.0f}.",
        f"at most {bar}",
    )  # fmt: skip


def forked(page: Page, at: int, what: str) -> tuple[float, float]:
    """Fork at a step: ms from the click to the first paint of the new race, and to one that goes past the fork."""
    page.locator(".dl-scrub").evaluate(SEEK, at)
    page.wait_for_function("at => Number(document.querySelector('.dl-live').dataset.head) === at", arg=at)
    page.get_by_role("button", name="Fork here").click()
    page.get_by_role("spinbutton", name="Fork after so many steps").wait_for()
    time.sleep(REST)
    page.get_by_role("button", name=KINDS[what].label, exact=True).click()
    seen = page.evaluate("([steps, limit]) => __bench.complete(steps, limit)", [STEPS, LIMIT])
    past = next(t for t, painted in seen["paints"] if painted > at)
    return Shown.of(seen).first, past - seen["key"]


def fork_to_first_curve() -> Measurement:
    """From the click in the form to the first paint of the race with the fork."""
    with server() as address, chromium() as browser:
        found = list[tuple[float, float]]()
        for seed in range(400, 400 + VISITS):
            with opened(browser, screen(address, seed=str(seed))) as page:
                time.sleep(REST)
                found += [forked(page, at, what) for at, what in FORKED]
    first, past = ([one[i] for one in found] for i in (0, 1))
    return Measurement(
        median(first), "ms",
        f"{WHAT}. {len(found)} forks, after 200 to 800 steps, with all kept or a tenth of the rate, the form open "
        f"before; from the click's own time to the frame that paints at least two samples of the new race. Median, "
        f"{min(first):.0f} to {max(first):.0f}; the first frame that shows more than the shared past after "
        f"{median(past):.0f}.",
        "at most 150",
    )  # fmt: skip


def traffic() -> Measurement:
    """What the largest run costs the network, its lens included."""
    shown = spirals()
    with server() as address, chromium() as browser, opened(browser, screen(address, spirals), LONG) as page:
        lens_drawn(page, LONG)
        sizes = page.evaluate("__bench.got.map(([, size]) => size)")
    return Measurement(
        sum(sizes), "bytes",
        f"Moments with Adam and its twin x 5 seeds x {LONG:,} steps on the spirals, {len(shown.layout.shapes)} "
        "tensors, 8 watched weights, speed max; all that the page's websocket received, the page itself included, "
        f"until race and lens are drawn to the end ({len(sizes)} messages).",
        "at most 600000",
    )  # fmt: skip


def scrubbing() -> Measurement:
    """Heat maps drawn while the scrub bar is dragged."""
    with server() as address, chromium() as browser, opened(browser, screen(address, seed="500")) as page:
        lens_drawn(page, STEPS)
        time.sleep(REST)
        drawn, frames, lasted = page.evaluate(SCRUB, [STEPS, SECONDS])
    return Measurement(
        drawn / lasted, "1/s",
        f"{WHAT}. The scrub bar is dragged over the whole run by script, at each of {frames} animation frames in "
        f"{lasted:.1f} s; how often the heat maps were drawn.",
        "at least 15",
    )  # fmt: skip


MEASURES: Measures = {
    "moments.slider_to_first_curve_ms.p50": partial(first_curve, median, 150),
    "moments.slider_to_first_curve_ms.p95": partial(first_curve, high, 250),
    "moments.fork_to_first_curve_ms.p50": fork_to_first_curve,
    "moments.bytes_per_run": traffic,
    "moments.scrub_fps": scrubbing,
    "moments.step_overhead": partial(
        overhead, True, EVERYTHING,
        f"Everything recorded, {SPIKED}: the usual losses and probes, what the spike left in m and v carried along, "
        f"and the lens ({SEEN}).",
        "at most 1.5",
    ),
    "moments.lens_overhead": partial(
        overhead, False, LENS_ALONE, f"The lens alone ({SEEN}), no spike and nothing else recorded.", None
    ),
    "moments.carry_overhead": partial(
        overhead, True, NOTHING, f"What the spike left in m and v carried along, {SPIKED}, and nothing recorded.", None
    ),
}  # fmt: skip
