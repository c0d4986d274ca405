"""Remedies in words: which a racer can have, what the spike has cost each, and what the seeds allow to say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.analysis import Answer, seeds_needed
from core.config import Config, Edit
from core.remedies import REMEDIES, Standing, remedied

SAYS = {
    Answer.DIFFERENCE: "a difference",
    Answer.NONE_FOUND: "no difference found",
    Answer.TOO_FEW: "too few seeds to say",
    Answer.IDENTICAL: "identical",
}


def refused(trunk: Config, spike: Sequence[Edit]) -> dict[str, str]:
    """Why this racer cannot have a remedy, in a sentence, by its name; those it can have are left out."""
    found = {}
    for name in REMEDIES:
        try:
            remedied(trunk, spike, [name])
        except ValueError as error:
            found[name] = str(error)
    return found


def rows(standings: Sequence[Standing], names: Sequence[str]) -> list[dict[str, str]]:
    """A table: one row for each racer but the twin, the smallest delay first; `names` are all racers'."""
    return [
        {
            "Remedy": names[each.racer],
            "Steps behind (median)": _steps(each),
            # Where a seed diverged only the interval's side means something, not its ends.
            "95% interval of the mean": "" if each.diverged else "{:,.0f} to {:,.0f}".format(*each.interval),
            "Against doing nothing": SAYS[each.answer] if each.answer else "",
        }
        for each in standings
    ]


def _steps(each: Standing) -> str:
    if each.diverged:
        median = "" if math.isinf(each.median) else f"{each.median:,.0f}, "
        return f"{median}diverged on {each.diverged} seed{'s' if each.diverged > 1 else ''}"
    ahead = f"{-each.median:,.0f} ahead"
    return ahead if each.median < 0 else f"{each.median:,.0f}" + (" or more" if each.at_least else "")


def headline(standings: Sequence[Standing], names: Sequence[str], seeds: int) -> str:
    """One sentence: which remedies cost fewer steps than doing nothing, as far as that can be told from chance."""
    judged = [each for each in standings if each.answer]
    if not judged:
        return ""
    found = [each for each in judged if each.answer is Answer.DIFFERENCE]
    if not found and any(each.answer is Answer.TOO_FEW for each in judged):
        return (
            f"With {seeds} seed{'s' if seeds > 1 else ''} no remedy can be told from doing nothing: "
            f"that takes at least {seeds_needed(len(judged))} seeds for {len(judged)} of them."
        )
    better = ", ".join(names[each.racer] for each in found if each.ahead)
    worse = ", ".join(names[each.racer] for each in found if not each.ahead)
    said = [f"Behind by fewer steps than doing nothing: {better}."] if better else []
    said += [f"Behind by more: {worse}."] if worse else []
    return " ".join(said) or "No difference found between any remedy and doing nothing."
