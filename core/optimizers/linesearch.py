"""How far to go along a direction: a line search, of one run, that asks for what it wants to know."""

from __future__ import annotations

from collections.abc import Generator
from math import isnan
from typing import NamedTuple

import numpy as np

C1, C2, TRIALS, TOLERANCE = 1e-4, 0.9, 25, 1e-9  # as torch has them


class Tried(NamedTuple):
    """A length, and the loss and its slope there."""

    t: float
    f: float
    slope: float


def strong_wolfe(t: float, f: float, slope: float, longest: float) -> Generator[float, tuple[float, float], float]:
    """A length t with `f(t) <= f(0) + C1 t f'(0)` and `|f'(t)| <= C2 |f'(0)|`, searched from a first t.

    Yields each length that it wants to know about, is sent `(f(t), f'(t))` there, and returns the length it settles
    on; after 25 more than the first, the best so far has to do. `f` and `slope` are those at 0, `longest` is the
    largest entry of the direction. Nocedal and Wright (2006), algorithms 3.5 and 3.6, with the cubic interpolation
    and the tolerances of torch's `_strong_wolfe`, which is followed to the letter.
    """

    def too_high(tried: Tried) -> bool:
        return tried.f > f + C1 * tried.t * slope

    def flat(tried: Tried) -> bool:
        return abs(tried.slope) <= -C2 * slope

    start = before = Tried(0.0, f, slope)
    new, trials = Tried(t, *(yield t)), 0
    while trials < TRIALS:  # go on until two lengths have a good one between them
        risen = too_high(new) or (trials > 1 and new.f >= before.f)
        if not risen and flat(new):
            return new.t
        if risen or new.slope >= 0:
            bracket = [before, new]
            break
        t = lowest(before, new, new.t + 0.01 * (new.t - before.t), 10 * new.t)
        before, new, trials = new, Tried(t, *(yield t)), trials + 1
    else:
        bracket = [start, new]

    low = 0 if bracket[0].f <= bracket[1].f else 1
    near = False  # whether the last length fell close to an end of the bracket
    while trials < TRIALS:  # draw the two together
        left, right = sorted(tried.t for tried in bracket)
        if (right - left) * longest < TOLERANCE:
            break
        t, margin = lowest(bracket[0], bracket[1], left, right), 0.1 * (right - left)
        close = min(right - t, t - left) < margin
        if close and (near or not left < t < right):
            t, close = right - margin if abs(t - right) < abs(t - left) else left + margin, False
        new, near, trials = Tried(t, *(yield t)), close, trials + 1
        if too_high(new) or new.f >= bracket[low].f:
            bracket[1 - low] = new
            low = 0 if bracket[0].f <= bracket[1].f else 1
            continue
        if flat(new):
            return new.t
        if new.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
            bracket[1 - low] = bracket[low]
        bracket[low] = new
    return bracket[low].t


def lowest(a: Tried, b: Tried, low: float, high: float) -> float:
    """Where the cubic through two trials is lowest, within the bounds; their middle where it has no lowest point."""
    (x1, f1, g1), (x2, f2, g2) = np.array(sorted((a, b)))
    with np.errstate(all="ignore"):  # a straight line is lowest at infinity
        d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
        d2 = np.sqrt(d1 * d1 - g1 * g2)
        t = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    return (low + high) / 2 if isnan(t) else float(min(max(t, low), high))
