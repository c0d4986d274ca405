"""The Moments page in words: what the spike still does at each step, measured against the twin. No Streamlit, no torch.

All of it is read from what the browser draws: medians over the seeds of a racer with the spike and of its twin. The
closed forms of `core.carry` stand beside it where they hold: they are for gradients that are all alike but one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.carry import delays, half_life, recovered
from core.config import Config, Racer
from core.fork import twins
from core.spec import Layout
from ui.charts import loss_steps, loss_stride, track_fields, track_steps
from ui.closed import AVERAGES, closed
from ui.moments_scenario import TRUNK, TWIN, Moments
from ui.numbers import number_text
from ui.races import Race

Array = NDArray[np.float64]
LEVELS = (0.5, "50%"), (0.9, "90%")
FEW = 12  # steps after a spike in which m is what one sees
CALM = 9  # probed steps of which the median counts where it is told since when steps are back: one dip is none


def told(shown: Moments, race: Race, steps: Sequence[int]) -> list[tuple[int, str, str]]:
    """(step, headline, detail) after each of these steps, all of them trained."""
    return [(step, *at(shown, race, step)) for step in steps]


def at(shown: Moments, race: Race, step: int) -> tuple[str, str]:
    """What there is to say after a step: the trunk's step and memories against the twin's, and what it lost; or the
    same of several rules.
    """
    first, spec = shown.spike.first, shown.racer.spec
    if step < first:
        return f"Step {first:,} is where it goes wrong.", "Until then both runs are the same to the last bit."
    probed = np.asarray(track_steps(race.config, race.extra)["probe"])
    now = int(np.searchsorted(probed, step, side="right")) - 1
    if shown.mode == "rules" and shown.rules:
        return _compared(shown, race, step, now)
    steps = _track(race, TRUNK, "ratio")
    if not np.isfinite(steps[now]):
        return f"At step {step:,} there is nothing left to compare.", "This run has diverged, or its twin has."
    head = f"Step {step:,}: its steps are {_times(steps[now])} the twin's{_left(race, now)}."
    if not spec.slots:
        return head, f"{spec.label} remembers nothing, and this is the point: after its own step the bad gradient " \
                     f"is gone from the optimizer; only the weights have moved. {_lost(race, TRUNK, step)}"  # fmt: skip
    words = [
        _back(probed[: now + 1], steps[: now + 1], first) if spec.memory(2, shown.layout) else "",
        _lost(race, TRUNK, step), _by_difference(shown, race, now), _forks(shown, race, step),
        _expected(race.config, step),
    ]  # fmt: skip
    return head, " ".join(filter(None, words))


def _forks(shown: Moments, race: Race, step: int) -> str:
    """What each fork has come to by this step."""
    if shown.mode != "forks":
        return ""
    names = shown.names()
    made = [(racer, names[racer]) for racer, fork in enumerate(shown.forks, start=2) if fork.at < step]
    return "".join(f"{name}: {_behind(race, racer, step)}. " for racer, name in made).strip()


def _compared(shown: Moments, race: Race, step: int, now: int) -> tuple[str, str]:
    """Each rule's steps against its own twin's, and what it lost."""
    pairs = [(2 * place, contender.spec.label) for place, contender in enumerate(shown.contenders)]
    ratios = [(label, _track(race, racer, "ratio")[now]) for racer, label in pairs]
    steps = [f"{label} {_times(ratio) if np.isfinite(ratio) else 'none'}" for label, ratio in ratios]
    losses = [f"{label} is {_behind(race, racer, step)}" for racer, label in pairs]
    return f"Step {step:,}: steps against the twin's: {', '.join(steps)}.", f"In loss {', '.join(losses)}."


def _left(race: Race, now: int) -> str:
    """The carry-over meter: how much of m and v still comes from the spike, where it can be told."""
    if not race.config.spikes():
        return ""
    shares = [(name, _track(race, TRUNK, f"carried_{name}")[now]) for name in ("m", "v")]
    parts = [f"{_percent(share)} of {name}" for name, share in shares if np.isfinite(share)]
    return f"; {' and '.join(parts)} still come from the bad gradient" if parts else ""


def _by_difference(shown: Moments, race: Race, now: int) -> str:
    """Of a memory in which the spike's part cannot be told from the rest: what the twin's is."""
    spec, layout = shown.racer.spec, shown.layout
    said = []
    for moment, name, field in ((1, "m", "m"), (2, "√v", "v")):
        ratio = _ratio(race, field)[now]
        if spec.memory(moment, layout) and not spec.carried(moment, layout) and np.isfinite(ratio):
            said.append(f"{name} is {_times(ratio)} its twin's")
    return f"{' and '.join(said)}: what is kept there does not add up, so only the twin tells." if said else ""


def measured_by(racer: Racer, layout: Layout) -> str:
    """How the share of the spike in a rule's memories is known."""
    found = []
    for moment, name in ((1, "m"), (2, "v")):
        if racer.spec.carried(moment, layout):
            found.append(f"{name}: carried along")
        elif racer.spec.memory(moment, layout):
            found.append(f"{name}: difference from the twin")
    return ", ".join(found) or ("difference from the twin" if racer.spec.slots else "nothing to measure")


def rows(shown: Moments, race: Race, apart: Mapping[int, float]) -> list[dict[str, str]]:
    """The rules of a complete race, one row each: what the same spike does to each, at the end and on the way.

    `apart` are the distances of racers' weights from their twins' at the end, as far as they are known.
    """
    probed = np.asarray(track_steps(race.config, race.extra)["probe"])
    since, layout, found = probed >= shown.spike.first, shown.layout, []
    for place, contender in enumerate(shown.contenders):
        racer, spec = 2 * place, contender.spec
        ratio = _track(race, racer, "ratio")[since]
        shares = [(name, _track(race, racer, f"carried_{name}")[-1]) for name in ("m", "v")] if race.config.spikes() \
            else []  # fmt: skip
        left = [f"{_percent(share)} of {name}" for name, share in shares if np.isfinite(share)]
        lowest = np.nanmin(ratio) if np.isfinite(ratio).any() else np.nan
        found.append({
            "Rule": spec.label,
            "Remembers": ", ".join(slot.name for slot in spec.slots_for(layout)) or "nothing",
            "Half of it forgotten after": ", ".join(_halves(contender)),
            "Left at the end": ", ".join(left),
            "Steps against the twin's, lowest": _times(lowest) if np.isfinite(lowest) else "",
            **{f"Back at {name} after": _after(probed[since], ratio, level, shown.spike.first)
               if spec.memory(2, layout) else "" for level, name in LEVELS},
            "In loss": _behind(race, racer, race.config.steps),
            "Weights from the twin's": number_text(float(f"{apart[racer]:.2g}")) if racer in apart else "",
            "Told by": measured_by(contender, layout),
        })  # fmt: skip
    return found


def _after(probed: Array, ratio: Array, level: float, first: int) -> str:
    """Steps after the spike from which on the step size stays at this part of the twin's."""
    index = recovered(calm(ratio), level)
    if index is None:
        return "not by the end"
    return _steps(float(probed[index]) - first) if index else "never below"


def half_lives(racer: Racer) -> str:
    """How long the rule's averages remember, in steps; "" for a rule whose memory is something else."""
    found = _halves(racer)
    return f"Half of a memory is forgotten after: {', '.join(found)}." if found else ""


def _halves(racer: Racer) -> list[str]:
    names = AVERAGES.get(racer.rule, ("", ""))
    decays = [(name, racer.get(setting)) for name, setting in zip(("m", "v"), names, strict=True) if setting]
    return [f"{name} {_steps(half_life(decay))}" for name, decay in decays if decay > 0]


def _percent(share: float) -> str:
    """A share in percent; m's may be below 0, where the spike now pulls against all others."""
    return f"{share:.0%}".replace("-", "−") if abs(share) >= 0.005 or share == 0 else "under 1%"


def _track(race: Race, racer: int, field: str) -> Array:
    index = track_fields(race.config, race.extra)["probe"].index(f"{field}.mid")
    values: Array = race.tracks["probe"][racer, index].astype(float)
    return values


def _ratio(race: Race, field: str) -> Array:
    """The trunk's over the twin's at each probed step; NaN where either has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = _track(race, TRUNK, field) / _track(race, TWIN, field)
    return ratio


def _expected(config: Config, step: int) -> str:
    """The closed form: what would still be there if all other gradients were alike."""
    form, age = closed(config, TRUNK), np.array([float(step)])
    if form is None:
        return ""
    parts = [
        f"{_percent(form.share(moment, age)[0])} of {name}"
        for moment, name, decay in zip((1, 2), ("m", "v"), form.decays, strict=True)
        if decay
    ]
    steps = f", steps {_times(form.step(age)[0])}" if form.steps else ""
    return f"If all other gradients were alike: {' and '.join(parts)}{steps}. A run behind has larger gradients."


def _back(probed: Array, ratio: Array, first: int) -> str:
    """Since when the steps are back at half and at nine tenths of the twin's, as far as they were ever below."""
    since = probed >= first
    slow, steps = ratio[since], probed[since]
    if not len(slow) or steps[-1] - first < FEW or not (calm(slow) < 0.5).any():
        return ""
    said = []
    for level, name in LEVELS:
        index = recovered(calm(slow), level)
        said.append(f"not yet at {name}" if index is None else f"at {name} since step {steps[index]:,.0f}")
    return f"Steps are {' and '.join(said)}."


def calm(ratio: Array) -> Array:
    """Each value's median with its neighbours, `CALM` in all, fewer at the ends; NaN where one of them is."""
    padded = np.pad(ratio, CALM // 2, mode="edge")
    found: Array = np.median(np.lib.stride_tricks.sliding_window_view(padded, CALM), axis=-1)
    return found


def _lost(race: Race, racer: int, step: int) -> str:
    """The loss lost, in a sentence."""
    behind = _behind(race, racer, step)
    return f"In loss it is {behind}." if behind else ""


def _behind(race: Race, racer: int, step: int) -> str:
    """The loss in steps of delay behind the racer's twin: the median over the seeds, each of them paired."""
    stops, twin = loss_steps(race.config, race.extra), twins(race.config)[racer]
    count = int(np.searchsorted(stops, step, side="right"))
    if count == 0:
        return ""
    curves = race.tracks["curves"][[racer, TWIN if twin is None else twin], :, :count].astype(float)
    steps, more = delays(curves[0].T, curves[1].T, loss_stride(race.config, race.extra))
    if np.isnan(steps).all():
        return "not to be told: its twin has diverged"
    lost = float(np.nanmedian(steps))
    if not np.isfinite(lost):
        return "lost"
    least = "at least " if more[steps >= lost].any() else ""
    steps_lost = f"{abs(lost):,.0f} step{'' if abs(lost) == 1 else 's'}"
    return f"{least}{steps_lost} {'behind' if lost > 0 else 'ahead'}" if lost else "level"


def _times(value: float) -> str:
    return f"{number_text(float(f'{value:.2g}'))}×"


def _steps(count: float) -> str:
    return f"{number_text(float(f'{count:.3g}'))} steps"
