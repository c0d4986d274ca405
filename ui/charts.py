"""From records to what the browser draws: lines over the steps, levels, marks and words. No Streamlit, no torch.

The browser holds three tracks, each with its own steps: every step's loss, the full evaluations, and the probes. A
track is float32 `[racers, fields, samples]`; fields are "name.mid", ".lo", ".hi" for median and range over the seeds.
A race with something `Extra` has other tracks: "curves", the smoothed loss of every seed, which never travel; or, seen
through a lens, those of ui/lens.py and its loss alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.analysis import verdict
from core.config import Config
from core.fork import twins
from core.history import by_racer, counted, summary
from core.optimizers import RULES
from core.schedules import SCHEDULES
from core.state import LOSS_NOT_FINITE, RECORDING, WEIGHTS_NOT_FINITE, Records, Texts
from core.tasks import Task
from ui.closed import closed
from ui.extra import USUAL, Extra
from ui.lens import lens_blank, lens_fields, lens_steps, lens_tracks
from ui.limits import LENS_SAMPLES, LOSS_SAMPLES
from ui.names import labels
from ui.settings import TUNED, selected, setting_of
from ui.words import race_words

Array = NDArray[Any]
WHY = {LOSS_NOT_FINITE: "loss not finite", WEIGHTS_NOT_FINITE: "weights not finite"}
RAW = " (dotted: without averaging)"
HUGE = 1e30  # stands for infinity on its way to a chart
WORSE = 1.01  # times the loss of guessing: what is above that is worse than guessing, not just level with it
SETTLING = 0.1  # share of a race in which nothing is said of that


@dataclass(frozen=True)
class Chart:
    """A quantity that the lower chart can show: where it comes from and how it is drawn."""

    id: str
    track: str
    label: str
    log: bool = True
    percent: bool = False
    missing: str = ""
    needs: str = ""  # "data" where the task must have validation data, "accuracy" where it must have classes


CHARTS = (
    Chart("val_acc", "eval", "Validation accuracy", log=False, percent=True, needs="accuracy"),
    Chart("val_loss", "eval", "Validation loss", needs="data"),
    Chart("m", "probe", "Norm of m (memory of the gradient)", missing="{} keeps no m"),
    Chart("v", "probe", "Norm of √v (memory of its size)", missing="{} keeps no v"),
    Chart("rate", "probe", "Learning rate"),
    Chart("grad", "probe", "Gradient norm"),
    Chart("update", "probe", "Update size (step / weights)"),
    Chart("distance", "probe", "Distance from the initial weights", log=False),
)
CARRIED = (
    Chart("ratio", "probe", "Step size against the twin's"),
    Chart("carried_m", "probe", "Share of m from bad gradients", log=False, percent=True),
    Chart("carried_v", "probe", "Share of v from bad gradients", log=False, percent=True),
)  # of races with a spike, and the first of all whose racers have a twin
EVALS = {"train_loss": "train_loss", "val_loss": "validation_loss", "val_acc": "validation_accuracy"}
LEVEL = {"name": "its twin", "value": 1, "meaning": "A step as long as the twin's, the run without the bad gradient."}
REFERENCE = "were all other gradients alike"
LOSS_FIELDS = ["raw", "mid", "lo", "hi"]
PROBE_FIELDS = {
    "rate": "rate", "grad": "gradient", "update": "update", "distance": "distance", "m": "m", "v": "root_v",
}  # fmt: skip


def charts_for(task: Task) -> list[Chart]:
    """The lower chart's choices for a task, the first being the one shown unasked."""
    have = {"": True, "data": "validation" in task.parts, "accuracy": task.accuracy}
    found = [chart for chart in CHARTS if have[chart.needs]]
    return found if have["data"] else sorted(found, key=lambda chart: chart.id != "distance")


def carried_charts(config: Config) -> list[Chart]:
    """The further charts of a race in which something bad happens."""
    ratio, *shares = CARRIED
    paired = any(twin is not None for twin in twins(config))
    return ([ratio] if paired else []) + (shares if config.spikes() else [])


def probe_fields(config: Config) -> dict[str, str]:
    """The probes that the browser gets, by field: of a race with a spike also what is left of it.

    The field "ratio" is made from the probe "step", over that of the racer's twin.
    """
    return PROBE_FIELDS | {chart.id: "step" if chart.id == "ratio" else chart.id for chart in carried_charts(config)}


def held_out_loss(task: Task) -> str:
    """What the loss on the validation part is called: of a text, a part is held out."""
    return "held-out loss" if task.writes else "validation loss"


def guessing(task: Task) -> dict[str, Any] | None:
    """The loss `above` which a racer is worse than guessing, and from which step on; None where nobody can guess."""
    if task.guess is None:
        return None
    names = [level.name for level in task.levels if level.of == "loss" and level.value == task.guess]
    what, _, value = (names[0] if names else f"guessing: {task.guess:.3g}").partition(": ")
    return {
        "above": task.guess + (WORSE - 1) * abs(task.guess), "after": SETTLING,
        "name": what, "words": f"{what} ({value.partition(' (')[0]})",
    }  # fmt: skip


def _evaluated(task: Task) -> list[str]:
    """Which of `EVALS` a task has."""
    have = {"train_loss": True, "val_loss": "validation" in task.parts, "val_acc": task.accuracy}
    return [name for name in EVALS if have[name]]


def loss_stride(config: Config, extra: Extra = USUAL) -> int:
    """Steps between two samples of the loss."""
    return -(-config.steps // (LENS_SAMPLES if extra.lens else LOSS_SAMPLES))


def loss_steps(config: Config, extra: Extra = USUAL) -> list[int]:
    """The steps whose loss travels to the browser: all, or evenly spaced ones that end with the last."""
    return list(range(config.steps, 0, -loss_stride(config, extra)))[::-1]


def track_steps(config: Config, extra: Extra = USUAL) -> dict[str, list[int]]:
    """The sampled steps of each track."""
    steps, at, spikes = config.steps, loss_steps(config, extra), config.spikes()
    if extra.lens:
        return {"loss": at} | lens_steps(config, extra.lens, at)
    return {
        "loss": at,
        "eval": [step for step in range(steps + 1) if RECORDING.evaluate_at(step, steps)],
        "probe": [step for step in range(1, steps + 1) if RECORDING.probe_at(step, steps, spikes)],
    } | ({"curves": at} if extra.curves else {})


def text_steps(config: Config) -> list[int]:
    """The steps after which the racers' networks write a text; none where the task's networks do not write."""
    steps = range(config.steps + 1) if config.build_task().writes else ()
    return [step for step in steps if RECORDING.write_at(step, config.steps)]


def _compact(steps: list[int]) -> dict[str, int] | list[int]:
    """Evenly spaced steps, of which the last may be out of line, in four numbers; others as they are."""
    stride = steps[1] - steps[0] if len(steps) > 1 else 1
    if any(after - before != stride for before, after in pairwise(steps[:-1])):
        return steps
    return {"first": steps[0], "stride": stride, "count": len(steps), "last": steps[-1]}


def averages(config: Config) -> bool:
    """Whether some racer reports its loss at other weights than it trains."""
    return any(racer.spec.eval_params for racer in config.racers)


def track_fields(config: Config, extra: Extra = USUAL) -> dict[str, list[str]]:
    """The fields of each track; an evaluation's "raw" is at the weights that are trained, where others are reported."""
    if extra.lens:
        return {"loss": LOSS_FIELDS} | lens_fields(config, extra.lens)
    evals = _evaluated(config.build_task())
    parts = ("mid", "lo", "hi", "raw") if averages(config) else ("mid", "lo", "hi")
    return {
        "loss": LOSS_FIELDS,
        "eval": [f"{name}.{part}" for name in evals for part in parts],
        "probe": [f"{name}.{part}" for name in probe_fields(config) for part in ("mid", "lo", "hi")] + ["evaluations"],
    } | ({"curves": [f"seed {seed}" for seed in config.seeds]} if extra.curves else {})


def blank(config: Config, extra: Extra = USUAL) -> dict[str, Array]:
    """The tracks of a race of which nothing is trained yet: NaN, but heat maps."""
    samples, fields = track_steps(config, extra), track_fields(config, extra)
    own = lens_blank(config, extra.lens, samples) if extra.lens else {}
    shapes = {name: (len(config.racers), len(fields[name]), len(at)) for name, at in samples.items() if name not in own}
    return {name: np.full(shape, np.nan, dtype=np.float32) for name, shape in shapes.items()} | own


def coarse(fields: list[str]) -> list[str]:
    """The fields of which a chart draws a band or a faint line only: they travel in half the bytes."""
    return [name for name in fields if name.split(".")[-1] in ("raw", "lo", "hi")]


def describe(config: Config) -> dict[str, Any]:
    """What the browser must know of a race before its first number."""
    task = config.build_task()
    fields, steps = track_fields(config), track_steps(config)
    return {
        "steps": config.steps,
        "seeds": len(config.seeds),
        "tracks": {
            name: {"at": _compact(steps[name]), "fields": fields[name], "coarse": coarse(fields[name])}
            for name in steps
        },
        "charts": [
            {
                "id": chart.id, "track": chart.track, "field": chart.id, "log": chart.log,
                "label": _label(chart, task) + (RAW if chart.track == "eval" and averages(config) else ""),
                "percent": chart.percent,
                "missing": "; ".join(chart.missing.format(name) for name in _without(config, chart.id)),
                "levels": [LEVEL] if chart.id == "ratio" else _levels(task, _level_of(chart.id)),
            } | _reference(config, chart.id, steps["probe"])
            for chart in (*charts_for(task), *carried_charts(config))
        ],
        "levels": _levels(task, "loss"),
        "guessing": guessing(task),
        "loss_label": "Training loss" if task.parts else "Loss",
        "loss_log": True,
        "smoothing": "mean of about the last 20 steps" if task.smoothing else "",
    }  # fmt: skip


def _reference(config: Config, chart: str, at: list[int]) -> dict[str, Any]:
    """The closed form for the first racer's spike, from its step on: what the meter would show were all else alike."""
    form, moment = closed(config, 0), {"carried_m": 1, "carried_v": 2}.get(chart)
    if form is None or moment is None or not form.decays[moment - 1]:
        return {}
    steps = [step for step in at if step >= form.at]
    values = form.share(moment, np.array(steps, dtype=float)).tolist()
    return {"reference": {"label": REFERENCE, "at": steps, "values": values}}


def _label(chart: Chart, task: Task) -> str:
    words = held_out_loss(task) if chart.id == "val_loss" else chart.label
    return words[0].upper() + words[1:]


def _levels(task: Task, of: str) -> list[dict[str, Any]]:
    return [{"name": x.name, "value": x.value, "meaning": x.meaning} for x in task.levels if x.of == of]


def _level_of(chart: str) -> str:
    return {"val_acc": "accuracy", "val_loss": "loss"}.get(chart, "")


def _without(config: Config, chart: str) -> list[str]:
    """The racers that have nothing to show on a chart of memories."""
    moment = {"m": 1, "v": 2}.get(chart)
    layout = config.build_task().layout
    if moment is None:
        return []
    names = {RULES[racer.rule].label for racer in config.racers if racer.spec.memory(moment, layout) is None}
    return sorted(names)


@dataclass(frozen=True)
class Mark:
    """Something that happens to a racer at a step; `bound` is the loss above which it counts as blown up.

    What is told in hindsight, a "lowest" held-out loss, is `known` from a later step on, and may be so `until` one.
    """

    racer: int
    step: int
    kind: str  # "decay", "reset", "diverged", "blown" or "lowest"
    text: str
    bound: float | None = None
    known: int | None = None
    until: int | None = None


@dataclass(frozen=True)
class Piece:
    """One slice of a race, ready to travel: track values, verdicts, texts and marks."""

    tracks: dict[str, Array]  # [racers, fields, samples] float32; of heat [maps, cells, samples] uint8
    verdicts: list[tuple[int, str, str]]  # (step, headline, detail)
    texts: list[tuple[int, Texts]]  # (step, what each racer wrote)
    marks: list[Mark]  # all so far
    test: list[str] = field(default_factory=list)  # a racer's test result, after the last step


def piece(config: Config, records: Records, extra: Extra = USUAL) -> Piece:
    """Turn a slice's records into what the browser draws; what a lens saw comes without verdicts and texts."""
    task = config.build_task()
    stopped = by_racer(config, records.stopped)
    tracks = {"loss": _loss(config, records, stopped, extra)}
    if extra.lens:
        tracks |= lens_tracks(config, extra.lens, records, loss_steps(config, extra))
        return Piece(tracks, [], [], _marks(config, records))
    if extra.curves:
        smooth = by_racer(config, records.smooth)[_sampled(config, records, extra)]
        tracks["curves"] = smooth.transpose(1, 2, 0).astype(np.float32)
    return Piece(
        tracks | {"eval": _evals(config, records, stopped, task), "probe": _probes(config, records, stopped)},
        _verdicts(config, records, task),
        list(zip(records.texts_at, records.texts, strict=True)),
        _marks(config, records),
        _test(config, records),
    )


def _lines(values: Array) -> list[Array]:
    """`[n, racers, seeds]` -> median, low and high, `[racers, n]`, as `_finite` has them."""
    return _finite(*summary(values))


def _finite(mid: Array, low: Array, high: Array) -> list[Array]:
    """`[n, racers]` each -> `[racers, n]`; an infinite median ends the line."""
    return [
        np.where(np.isinf(mid), np.nan, mid).T,
        np.where(np.isinf(low), np.nan, low).T,
        np.where(np.isinf(mid), np.nan, np.where(np.isinf(high), HUGE, high)).T,
    ]


def _stack(lines: list[Array], racers: int) -> Array:
    stacked = np.stack(lines, axis=1) if lines else np.empty((racers, 0, 0))
    return stacked.astype(np.float32)


def _sampled(config: Config, records: Records, extra: Extra) -> Array:
    """Which steps of the slice are samples of the loss."""
    steps = np.arange(records.first + 1, records.first + len(records.loss) + 1)
    sampled: Array = (config.steps - steps) % loss_stride(config, extra) == 0
    return sampled


def _loss(config: Config, records: Records, stopped: Array, extra: Extra) -> Array:
    stride, sampled = loss_stride(config, extra), _sampled(config, records, extra)
    loss = np.median(counted(by_racer(config, records.loss), stopped), axis=-1)  # [n, racers]
    loss = np.where(np.isinf(loss), np.nan, loss)
    # A sample of the raw loss is the largest of its bin, so that a spike between two samples is still seen.
    ends = np.flatnonzero(sampled)
    raw = (
        np.stack([loss[max(end - stride + 1, 0) : end + 1].max(axis=0) for end in ends], axis=1)
        if len(ends)
        else (np.empty((len(config.racers), 0)))
    )
    smooth = counted(by_racer(config, records.smooth), stopped)[sampled]
    return _stack([raw, *_lines(smooth)], len(config.racers))


def _evals(config: Config, records: Records, stopped: Array, task: Task) -> Array:
    lines: list[Array] = []
    for name in _evaluated(task):
        source = EVALS[name]
        if source in records.evals:
            worst = 0.0 if name == "val_acc" else np.inf
            lines += _lines(counted(by_racer(config, records.evals[source]), stopped, worst))
            if averages(config):
                raw = np.median(by_racer(config, records.evals[f"raw_{source}"]), axis=-1)
                lines.append(np.where(np.isinf(raw), np.nan, raw).T)
        else:
            lines += [np.empty((len(config.racers), 0))] * (4 if averages(config) else 3)
    return _stack(lines, len(config.racers))


def _probes(config: Config, records: Records, stopped: Array) -> Array:
    if not records.probes:
        return _stack([np.empty((len(config.racers), 0))] * (3 * len(probe_fields(config)) + 1), len(config.racers))
    lines: list[Array] = []
    for name, source in probe_fields(config).items():
        values = by_racer(config, records.probes[source])
        if name == "ratio":
            lines += _ratio(config, values, stopped)
            continue
        lines += _lines(values if np.isnan(values[0]).all() else counted(values, stopped))
    # Gradients are counted by run; a run that stopped no longer counts, the others of a racer agree.
    counts = counted(by_racer(config, records.probes["evaluations"]), stopped, -np.inf).max(axis=-1).T
    return _stack([*lines, np.where(np.isinf(counts), np.nan, counts)], len(config.racers))


def _ratio(config: Config, values: Array, stopped: Array) -> list[Array]:
    """Each run's over its twin's `[k, racers, seeds]`, as median, low and high over the seeds whose twin still runs.

    Two that both stand still are level; a run that has diverged beside a twin that has not counts as the worst. NaN
    for racers without a twin, and once no seed's twin runs.
    """
    found = np.full_like(values, np.nan)
    for racer, twin in enumerate(twins(config)):
        if twin is not None:
            own, other = counted(values[:, racer], stopped[racer]), values[:, twin]
            with np.errstate(divide="ignore", invalid="ignore"):
                found[:, racer] = np.where(np.isnan(other), np.nan, np.where(own == other, 1.0, own / other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a racer without numbers
        return _finite(*(over(found, axis=-1) for over in (np.nanmedian, np.nanmin, np.nanmax)))


def _verdicts(config: Config, records: Records, task: Task) -> list[tuple[int, str, str]]:
    """Headline and detail at each evaluation: seeds paired, on the smoothed training loss and on validation."""
    names, setting, told = labels(config), setting_of(config), []
    if setting == TUNED and selected(config) != "validation loss":
        setting = f"each at its rate tuned on the {selected(config)}"
    bound = by_racer(config, records.bound)
    stopped = by_racer(config, records.stopped)
    smooth = by_racer(config, records.smooth)
    for index, step in enumerate(records.evals_at):
        gone = (stopped >= 0) & (stopped <= step)
        if step:
            now = np.where(gone, np.inf, smooth[step - records.first - 1])
        else:
            now = by_racer(config, records.evals["train_loss"][index])
        validation = None
        if task.accuracy:
            accuracy = np.where(gone, 0.0, by_racer(config, records.evals["validation_accuracy"][index]))
            validation = verdict(accuracy, higher_is_better=True)
        marks = _troubles(config, names, now, gone, stopped, bound, records)
        headline, detail = race_words(
            names, verdict(now), validation, step=step, steps=config.steps, seeds=len(config.seeds),
            loss_name="training loss" if task.parts else "loss", marks=marks, setting=setting,
            worse=_worse(config, task, step, now, {name for name, _ in marks}, names),
        )  # fmt: skip
        told.append((int(step), headline, detail))
    return told


def _troubles(
    config: Config, names: list[str], now: Array, gone: Array, stopped: Array, bound: Array, records: Records
) -> list[tuple[str, str]]:
    """What to say of racers that are diverged, or blown up at this very moment."""
    blown_at = by_racer(config, records.blown)
    found = []
    for racer, name in enumerate(names):
        out, seeds = int(gone[racer].sum()), len(config.seeds)
        # Before the first step `now` is the loss on all of the data, which the bound on small batches is not meant for.
        blown = int(((now[racer] > bound[racer]) & ~gone[racer] & (blown_at[racer] >= 0)).sum())
        if out == seeds:
            found.append((name, f"diverged at step {stopped[racer].max()}"))
        elif out:
            found.append((name, f"diverged on {out} of {seeds} seeds"))
        elif blown > seeds / 2:
            found.append((name, f"blew up at step {blown_at[racer][blown_at[racer] >= 0].min()}"))
    return found


def _worse(
    config: Config, task: Task, step: int, now: Array, troubled: set[str], names: list[str]
) -> tuple[Sequence[str], str]:
    """The racers whose median stands above guessing though they had time to leave it, and what guessing is called.

    Of one that is in trouble already nothing more is said.
    """
    guess = guessing(task)
    if guess is None or step <= guess["after"] * config.steps:
        return (), ""
    above = np.median(now, axis=-1) > guess["above"]
    return [name for name, up in zip(names, above, strict=True) if up and name not in troubled], guess["words"]


def _marks(config: Config, records: Records) -> list[Mark]:
    """Decays and resets (known before), divergence and blow-ups (known after), each with its sentence."""
    names, seeds = labels(config), len(config.seeds)
    stopped, blown = by_racer(config, records.stopped), by_racer(config, records.blown)
    reason = by_racer(config, records.reason)
    bound = np.median(by_racer(config, records.bound), axis=-1)
    found: list[Mark] = []
    for index, (name, racer) in enumerate(zip(names, config.racers, strict=True)):
        event = SCHEDULES[racer.schedule.name].event
        for step in racer.decays(config.steps):
            found.append(Mark(index, step, "decay", f"{name}: the learning rate {event} at step {step}"))
        for steps in by_racer(config, records.cuts)[:, index]:
            if (steps >= 0).any():
                cut = steps[steps >= 0]
                told = f"{name}: the loss stood still and the learning rate was cut, on {len(cut)} of {seeds} seeds"
                found.append(Mark(index, int(np.median(cut)), "decay", told))
        what = {"m": "m", "v": "v", "all": "all it remembers"}.get(racer.reset.what)
        for step in racer.resets(config.steps):
            found.append(Mark(index, step, "reset", f"{name} forgets {what} at step {step}"))
        out = stopped[index] >= 0
        if out.any():
            last = int(stopped[index].max())
            first = int(np.flatnonzero(out)[0])
            why = WHY.get(int(reason[index][first]), records.words.get(index * seeds + first, "its optimizer failed"))
            text = f"{name}: {out.sum()} of {seeds} seeds diverged by step {last} ({why})"
            found.append(Mark(index, last, "diverged", text))
        up = blown[index] >= 0
        if up.any():
            first = int(blown[index][up].min())
            text = f"{name}: {up.sum()} of {seeds} seeds blew up, first at step {first}"
            found.append(Mark(index, first, "blown", text, float(bound[index])))
    return found


def _test(config: Config, records: Records) -> list[str]:
    """Each racer's median test accuracy, or nothing before the end."""
    if "accuracy" not in records.test:
        return []
    accuracy = by_racer(config, counted(records.test["accuracy"], records.stopped, 0.0))
    return [f"{share:.1%}" for share in np.median(accuracy, axis=-1)]
