"""How live the page is: from a key on a slider to the painted curve, in a real browser on the served app.

All of it is taken inside the page. A listener notes when the key came down, the page's own list of paints
(`__descentLab.paints`) says what was painted when, and a WebSocket that counts says what was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from benchmarks.measurement import Measurement, Measures, high
from benchmarks.served import chromium, server
from ui.scenario import default, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VISITS, PRESSES = 2, 15  # pages that are opened, and races on each
FIRST_RATE = 0.006  # of SGD; so many presses later it is 0.25
WATCHED = 5  # races watched frame by frame, at each of two speeds
REST = 0.5  # seconds between a race's end and the next key
LIMIT = 30_000  # ms for one race
SCREEN = {"width": 1440, "height": 900}
STEPS = default().config.steps
WHAT = f"Default screen (3 racers x 8 seeds x {STEPS:,} steps on the digits, both charts), Chromium at 1440x900, no GPU"
FRESH = f"{VISITS * PRESSES} arrow presses on the first Learning rate, each a race never trained before"

# What is put into the page before anything else: a WebSocket that counts, and the time of the last key
# or click.
PROBE = """
(() => {
  const bench = (window.__bench = { key: 0, sent: [], got: [], frames: 0, grey: 0, watching: false });
  const bytes = (text) => new TextEncoder().encode(text);
  const marks = [bytes('"blocks"'), bytes('"b64"')];
  const holds = (data, mark) => {
    for (let i = data.indexOf(mark[0]); i >= 0; i = data.indexOf(mark[0], i + 1))
      if (mark.every((byte, j) => data[i + j] === byte)) return true;
    return false;
  };
  window.WebSocket = class extends window.WebSocket {
    constructor(...all) {
      super(...all);
      this.addEventListener("message", ({ data }) => {
        const [now, message] = [performance.now(), new Uint8Array(data)];
        bench.got.push([now, message.length, message.length > 500 && marks.every((m) => holds(message, m))]);
      });
    }
    send(data) {
      bench.sent.push(performance.now());
      super.send(data);
    }
  };
  const asked = (event) => {
    const last = window.__descentLab.paints.at(-1);
    Object.assign(bench, { key: event.timeStamp, before: last.run, sent: [], got: [] });
  };
  for (const how of ["keydown", "click"]) addEventListener(how, asked, true);
  // Resolves when the race that the last key asked for is painted to its end.
  bench.complete = (steps, limit) => new Promise((resolve, reject) => {
    const began = performance.now();
    const look = () => {
      const all = window.__descentLab?.paints ?? [];
      const paints = all.filter((p) => p.t > bench.key && p.run !== bench.before).map((p) => [p.t, p.painted]);
      if (paints.some(([, painted]) => painted >= steps)) {
        const { key, sent, got } = bench;
        resolve({ key, sent, got, paints });
      } else if (performance.now() - began > limit) reject(new Error("the race did not come to its end"));
      else setTimeout(look, 25);
    };
    look();
  });
  // Looks at every frame: a chart, or anything around it, that is not fully opaque, or anything greyed as stale.
  const clear = (element) => Number(getComputedStyle(element).opacity) >= 1;
  const look = () => {
    if (!bench.watching) return;
    const chart = document.querySelector(".dl-live");
    let good = chart !== null;
    for (let each = chart; each && good; each = each.parentElement) good = clear(each);
    good &&= [...document.querySelectorAll("[data-stale=true]")].every(clear);
    bench.frames++;
    bench.grey += !good;
    requestAnimationFrame(look);
  };
  bench.watch = (on) => {
    bench.watching = on;
    if (on) requestAnimationFrame(look);
  };
})();
"""


@dataclass(frozen=True)
class Shown:
    """One race as the page saw it; times in ms after the key."""

    first: float  # a curve of the new race is painted
    complete: float  # all of it is painted
    sent: float  # the page tells the server
    received: float  # the first message with samples is there
    bytes: int  # of all messages until it was complete
    rate: float  # paints that showed more than the one before, a second, between the two

    @staticmethod
    def of(seen: dict[str, Any]) -> Shown:
        key, paints = seen["key"], [(t - seen["key"], painted) for t, painted in seen["paints"]]
        first = next(t for t, painted in paints if painted >= 2)
        complete = next(t for t, painted in paints if painted >= STEPS)
        news = [now for (_, before), (_, now) in pairwise([(0.0, 1), *paints]) if now > before]
        return Shown(
            first=first,
            complete=complete,
            sent=next(t for t in seen["sent"] if t >= key) - key,
            received=next((t for t, _, samples in seen["got"] if samples), key) - key,
            bytes=sum(size for t, size, _ in seen["got"] if t - key <= complete),
            rate=1000 * (len(news) - 1) / (complete - first) if complete > first else 0.0,
        )


@contextmanager
def opened(browser: Browser, url: str, steps: int = STEPS) -> Iterator[Page]:
    """A page, its first race painted to the end."""
    context = browser.new_context(viewport=SCREEN)  # type: ignore[arg-type]
    try:
        context.add_init_script(PROBE)
        page = context.new_page()
        page.goto(url)
        page.evaluate("([steps, limit]) => __bench.complete(steps, limit)", [steps, LIMIT])
        page.get_by_role("slider", name="Learning rate").first.focus()
        yield page
    finally:
        context.close()


def screen(address: str, **changes: str) -> str:
    """The address of the default screen, some of it changed."""
    return f"{address}/?{urlencode(write(default()) | {'r0.lr': str(FIRST_RATE)} | changes)}"


def press(page: Page, key: str) -> Shown:
    """One key, and the race that it asks for to its end."""
    time.sleep(REST)
    page.keyboard.press(key)
    return Shown.of(page.evaluate("([steps, limit]) => __bench.complete(steps, limit)", [STEPS, LIMIT]))


@dataclass(frozen=True)
class Visits:
    """All that one session of server and browser gave."""

    fresh: list[Shown]  # never trained before, as fast as it goes
    again: list[Shown]  # trained before
    played: list[Shown]  # never trained before, at the speed that the page starts with
    frames: int  # looked at while races streamed
    grey: int
    blank: int


@lru_cache(maxsize=1)
def visits() -> Visits:
    """One visitor after the other: first the clock alone, then with an eye on every frame."""
    fresh, again, played = list[Shown](), list[Shown](), list[Shown]()
    frames = grey = blank = 0
    with server() as address, chromium() as browser:
        for seed in range(100, 100 + VISITS):
            with opened(browser, screen(address, seed=str(seed), speed="max")) as page:
                press(page, "ArrowRight")
                fresh += [press(page, "ArrowRight") for _ in range(PRESSES)]
                again += [press(page, "ArrowLeft") for _ in range(PRESSES)]
                blank += blanks(page)
        for seed, speed in enumerate(("max", default().view.speed), start=200):
            with opened(browser, screen(address, seed=str(seed), speed=speed)) as page:
                press(page, "ArrowRight")
                if speed != "max":
                    played = [press(page, "ArrowRight") for _ in range(WATCHED)]
                page.evaluate("__bench.watch(true)")
                for _ in range(WATCHED):
                    press(page, "ArrowRight")
                page.evaluate("__bench.watch(false)")
                seen = page.evaluate("[__bench.frames, __bench.grey]")
                frames, grey, blank = frames + seen[0], grey + seen[1], blank + blanks(page)
    return Visits(fresh, again, played, frames, grey, blank)


def blanks(page: Page) -> int:
    """Paints without a line where there had been one, as the page itself counts them."""
    return int(page.locator("[data-blank]").get_attribute("data-blank") or 0)


def first_curve(of: Callable[[Sequence[float]], float], bar: int) -> Measurement:
    """From the key to the first painted curve of the race that it asked for."""
    shown = visits().fresh
    middle = {name: median(getattr(one, name) for one in shown) for name in ("sent", "received", "first")}
    values = [one.first for one in shown]
    return Measurement(
        of(values), "ms",
        f"{WHAT}, at speed max. {FRESH}; from the key's own time to the frame that paints at least two samples of the "
        f"new race. {min(values):.0f} to {max(values):.0f}. Medians on the way: sent to the server after "
        f"{middle['sent']:.0f}, samples received after {middle['received']:.0f}, painted after {middle['first']:.0f}.",
        f"at most {bar}",
    )  # fmt: skip


def complete(cached: bool, bar: int) -> Measurement:
    """From the key to the whole race painted."""
    values = [one.complete for one in (visits().again if cached else visits().fresh)]
    which = f"{len(values)} arrow presses back over the same races" if cached else FRESH
    return Measurement(
        median(values), "ms",
        f"{WHAT}, at speed max. {which}; from the key's own time to the frame that paints step {STEPS:,}. "
        f"Median, {min(values):.0f} to {max(values):.0f}.",
        f"at most {bar}",
    )  # fmt: skip


def updates() -> Measurement:
    """How often the curves grow while a race streams."""
    values, played = [one.rate for one in visits().fresh], [one.rate for one in visits().played]
    return Measurement(
        median(values), "1/s",
        f"{WHAT}. {FRESH}, at speed max; paints that show more samples than the one before, from the first curve to "
        f"the last step. Median, {min(values):.1f} to {max(values):.1f}; at the speed that the page starts with "
        f"{median(played):.1f}.",
        "at least 10",
    )  # fmt: skip


def disturbed() -> Measurement:
    """Frames in which a chart is not all there."""
    seen = visits()
    return Measurement(
        seen.blank + seen.grey, "frames",
        f"{WHAT}. {seen.blank} paints without a line where one had been, in all races of this benchmark, and "
        f"{seen.grey} of {seen.frames} frames of {2 * WATCHED} races, at speed max and as the page starts, in which "
        "the chart was gone, it or something around it was not opaque, or anything on the page was greyed as stale.",
        "at most 0",
    )  # fmt: skip


def traffic() -> Measurement:
    """What a race costs the network."""
    values = [one.bytes for one in visits().fresh]
    return Measurement(
        median(values), "bytes",
        f"{WHAT}, at speed max. {FRESH}; all that the page's websocket received from the key to the paint of the last "
        f"step. Median, {min(values):,} to {max(values):,}.",
        "at most 200000",
    )  # fmt: skip


MEASURES: Measures = {
    "live.slider_to_first_curve_ms.p50": partial(first_curve, median, 120),
    "live.slider_to_first_curve_ms.p95": partial(first_curve, high, 200),
    "live.complete_ms.fresh": partial(complete, False, 1500),
    "live.complete_ms.cached": partial(complete, True, 300),
    "live.painted_updates_per_s": updates,
    "live.blank_or_greyed_frames": disturbed,
    "live.bytes_per_run": traffic,
}
