"""The Moments page in words: what the spike still does at each step, measured against the twin. No Streamlit, no torch.

All of it is read from what the browser draws: medians over the seeds of the trunk (racer 0) and its twin (racer 1). The
closed forms of `core.carry` stand beside it where they hold: they are for gradients that are all alike but one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.carry import adam_step, carried, delay, half_life, momentum_step, recovered
from core.config import Racer
from ui.charts import loss_steps, track_fields, track_steps
from ui.moments_scenario import TRUNK, TWIN, Moments
from ui.numbers import number_text
from ui.races import Race

Array = NDArray[np.float64]
# The settings that are the decay of m and of v, for rules whose whole memory is these two averages.
AVERAGES = {
    "momentum": ("momentum", ""), "nesterov": ("momentum", ""), "rmsprop": ("", "alpha"), "adam": ("beta1", "beta2"),
    "adamw": ("beta1", "beta2"), "nadam": ("beta1", "beta2"), "radam": ("beta1", "beta2"),
}  # fmt: skip
FEW = 12  # steps after a spike in which m is what one sees


def told(shown: Moments, race: Race, steps: Sequence[int]) -> list[tuple[int, str, str]]:
    """(step, headline, detail) after each of these steps, all of them trained."""
    return [(step, *at(shown, race, step)) for step in steps]


def at(shown: Moments, race: Race, step: int) -> tuple[str, str]:
    """What there is to say after a step: the trunk's step and memories against the twin's, and what it lost."""
    first, spec = shown.spike.first, shown.racer.spec
    if step < first:
        return f"The bad gradient comes at step {first:,}.", "Until then both runs are the same to the last bit."
    steps = _ratio(race, "update")
    probed = np.asarray(track_steps(race.config)["probe"])
    now = int(np.searchsorted(probed, step, side="right")) - 1
    if not np.isfinite(steps[now]):
        return f"At step {step:,} there is nothing left to compare.", "A run that diverged takes no more steps."
    left = _left(race, now, first)
    head = f"At step {step:,}{left} steps are {_times(steps[now])} the twin's."
    if not spec.slots:
        return head, f"{spec.label} remembers nothing, and this is the point: after its own step the bad gradient " \
                     f"is gone from the optimizer; only the weights have moved. {_lost(race, step)}"  # fmt: skip
    memories = [f"{name} {_times(_ratio(race, field)[now])}" for name, field in (("m", "m"), ("√v", "v"))
                if np.isfinite(_ratio(race, field)[now])]  # fmt: skip
    words = [f"Against the twin: {' and '.join(memories)}." if memories else ""]
    words += [_expected(shown, step), _back(probed[: now + 1], steps[: now + 1], first), _lost(race, step)]
    return head, " ".join(filter(None, words))


def _left(race: Race, now: int, first: int) -> str:
    """The carry-over meter: how much of m and v still comes from the spike, where it can be told."""
    if not race.config.spikes():
        return ","
    parts = []
    for name in ("m", "v"):
        share = _track(race, TRUNK, f"carried_{name}")[now]
        if np.isfinite(share):
            parts.append(f"{_percent(share)} of {name}")
    return f", {' and '.join(parts)} still come from the bad gradient of step {first:,};" if parts else ","


def half_lives(racer: Racer) -> str:
    """How long the rule's averages remember, in steps; "" for a rule whose memory is something else."""
    found = []
    for name, setting in zip(("m", "v"), AVERAGES.get(racer.rule, ("", "")), strict=True):
        if setting and racer.get(setting) > 0:
            found.append(f"{name} forgets half in {_steps(half_life(racer.get(setting)))}")
    return f"{' and '.join(found)}, each of itself." if found else ""


def _percent(share: float) -> str:
    """A share in percent; m's may be below 0, where the spike now pulls against all others."""
    return f"{share:.0%}" if abs(share) >= 0.005 or share == 0 else "under 1%"


def _track(race: Race, racer: int, field: str) -> Array:
    index = track_fields(race.config)["probe"].index(f"{field}.mid")
    values: Array = race.tracks["probe"][racer, index].astype(float)
    return values


def _ratio(race: Race, field: str) -> Array:
    """The trunk's over the twin's at each probed step; NaN where either has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = _track(race, TRUNK, field) / _track(race, TWIN, field)
    return ratio


def _expected(shown: Moments, step: int) -> str:
    """The closed form: what would still be there if all other gradients were alike."""
    racer, spike, at_spike = shown.racer, shown.spike, shown.spike.at
    names = AVERAGES.get(racer.rule)
    one = spike.cause == "gradient" and spike.length == 1 and not spike.layer and not racer.get("clip")
    if names is None or not one or racer.rule in ("nadam", "radam", "nesterov"):
        return ""
    decays = [racer.get(name) if name else 0.0 for name in names]
    age = np.array([float(step)])
    parts = [
        f"{_percent(carried(size, decay, age, at_spike)[0])} of {name}"
        for name, decay, size in zip(("m", "v"), decays, (spike.factor, spike.factor**2), strict=True)
        if decay
    ]
    if racer.rule == "rmsprop" and racer.get("momentum"):
        return ""
    if racer.rule == "momentum":
        size = momentum_step(spike.factor, age, at_spike, decays[0])[0]
    else:
        size = adam_step(spike.factor, age, at_spike, *decays)[0]
    return f"Were all other gradients alike, {' and '.join(parts)} would be the bad one's, and steps {_times(size)}."


def _back(probed: Array, ratio: Array, first: int) -> str:
    """Since when the steps are back at half and at nine tenths of the twin's, as far as they were ever below."""
    since = probed >= first
    slow, steps = ratio[since], probed[since]
    if not len(slow) or steps[-1] - first < FEW or not (slow < 0.5).any():
        return ""
    said = []
    for level, name in ((0.5, "50%"), (0.9, "90%")):
        index = recovered(slow, level)
        said.append(f"not yet at {name}" if index is None else f"at {name} since step {steps[index]:,.0f}")
    return f"Steps are {' and '.join(said)}."


def _lost(race: Race, step: int) -> str:
    """The loss in steps of delay, from the smoothed training losses."""
    stops = loss_steps(race.config)
    count = int(np.searchsorted(stops, step, side="right"))
    field = track_fields(race.config)["loss"].index("mid")
    curves = race.tracks["loss"][[TRUNK, TWIN], field, :count].astype(float)
    if count == 0:
        return ""
    found = delay(*curves)
    lost = abs(found.steps) * (stops[1] - stops[0] if len(stops) > 1 else 1)
    if not lost:
        return "In loss the two are level."
    least = "at least " if found.at_least else ""
    return f"In loss it is {least}{lost:,} steps {'behind' if found.steps > 0 else 'ahead of'} its twin."


def _times(value: float) -> str:
    return f"{number_text(float(f'{value:.2g}'))}×"


def _steps(count: float) -> str:
    return f"{number_text(float(f'{count:.3g}'))} steps"
