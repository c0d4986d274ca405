"""How long it takes from `make run`, where everything is installed, to the first painted curve."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measurement import Measurement, Measures
from benchmarks.served import ROOT, chromium, free_port, until_ready

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FIRST_CURVE = """
() => {
  const first = window.__descentLab?.paints?.find(({ painted }) => painted >= 2);
  return first && performance.timeOrigin + first.t;
}
"""


def once(browser: Browser) -> tuple[float, float]:
    """Seconds until the server answers, and until the first curve is painted."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    began, clock = time.time(), time.perf_counter()
    process = subprocess.Popen(
        ["make", "run", f"PORT={port}"],
        cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until_ready(address, process)
        ready = time.perf_counter() - clock
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        try:
            page = context.new_page()
            page.goto(address)
            painted = page.wait_for_function(FIRST_CURVE, timeout=60_000).json_value()
        finally:
            context.close()
        return ready, painted / 1000 - began
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def first_curve(repeats: int = 3) -> Measurement:
    """From `make run` to the first painted curve."""
    with chromium() as browser:
        once(browser)
        found = [once(browser) for _ in range(repeats)]
    curves = [curve for _, curve in found]
    return Measurement(
        median(curves), "s",
        f"`make run` where everything is installed, to the frame that paints at least two samples of the first screen; "
        f"Chromium, at 1440x900 and without GPU, is running and opens the page, with an empty cache, as soon as the "
        f"port answers, after {median(ready for ready, _ in found):.1f} s. Median of {repeats} after one that is not "
        f"counted, {min(curves):.1f} to {max(curves):.1f}.",
        "at most 6",
    )  # fmt: skip


MEASURES: Measures = {"start.ready_to_first_curve_s": partial(first_curve, 3)}
