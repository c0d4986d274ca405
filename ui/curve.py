"""A racer's learning rate over the run as a small picture for its card."""

from __future__ import annotations

import numpy as np

from core.config import Racer
from core.schedules import SCHEDULES
from ui.names import schedule_words

WIDTH, HEIGHT, EDGE = 120, 22, 2  # in pixels; the edge keeps the line's own width inside
POINTS = 120


def curve(racer: Racer, steps: int, slot: int = 0) -> str:
    """The learning rate over a run of so many steps, 0 at the foot and its largest value at the top: an inline SVG.

    The rates are those that the run will have, at no more than 120 of its steps. A schedule that reacts is drawn as it
    is until it reacts, which the label says.

    Its `<line data-now="r0">` (of the racer's colour, `slot`) marks the present step, at first step 0. To move it, set
    its attributes `x1` and `x2` to `step / steps * 120`: x goes from 0 to the width of the viewBox as the step goes
    from 0 to `steps`. `st.html` strips every SVG; `st.markdown(…, unsafe_allow_html=True)` keeps this one as it is.
    Colours are `currentColor`; the classes `dl-curve`, `dl-curve-fill`, `dl-curve-line` and `dl-curve-now` are for
    the style sheet.
    """
    t = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).round())
    base = np.full(len(t), float(racer.get("lr")))
    if "lr" in racer.moved:
        entry, choice, _ = racer.moved["lr"]
        base = entry.at(base, t, steps, dict(choice.settings))
    foot = HEIGHT - EDGE
    x = np.append(t * (WIDTH / steps), WIDTH)  # the last step lasts until the end
    y = foot - np.append(base, base[-1]) * ((HEIGHT - 2 * EDGE) / (base.max() or 1.0))
    line = " L".join(f"{a:g} {b:g}" for a, b in zip(x.round(1), y.round(1), strict=True))
    return (
        f'<svg class="dl-curve" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
        f' aria-label="{_label(racer)}">'
        f'<path class="dl-curve-fill" d="M0 {foot} L{line} L{WIDTH} {foot} Z" fill="currentColor" fill-opacity="0.15"/>'
        f'<path class="dl-curve-line" d="M{line}" fill="none" stroke="currentColor" stroke-width="1.5"'
        ' stroke-linejoin="round"/>'
        f'<line class="dl-curve-now" data-now="r{slot}" x1="0" x2="0" y1="0" y2="{HEIGHT}" stroke="currentColor"/>'
        "</svg>"
    )


def _label(racer: Racer) -> str:
    words = f"Learning rate over the run: {schedule_words(racer)}"
    return f"{words}; drawn as it is until it reacts" if SCHEDULES[racer.schedule.name].react else words
