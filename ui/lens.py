"""A lens on its way to the browser: which of its numbers travel, at which steps, and what must be known to draw them.

Four tracks: norms and rates at the steps at which they were taken, watched weights in bins, and heat maps of one racer
at fewer steps. No Streamlit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import Config
from core.lens import DECADES, HEAT, LEVELS, NORMS, SMALLEST, WATCHED, ZERO, Lens, grid, layers, matrix, sampled
from core.state import Records
from core.tasks import Task
from ui.limits import HEATS
from ui.microscope import place
from ui.wire import halves, text

Array = NDArray[Any]
LARGEST = ("g", "step")  # of a bin the largest is kept, so that a spike is seen; of the others the last
QUANTILES = ("q05", "q25", "q50", "q75", "q95")


def lens_steps(config: Config, lens: Lens, bins: list[int]) -> dict[str, list[int]]:
    """The sampled steps of each track; `bins` are the last steps of the bins of watched weights."""
    at = list(sampled(config))
    found = {"norms": at, "rate": at, "watch": bins}
    return found | ({"heat": heat_steps(config)} if lens.layer else {})


def heat_steps(config: Config) -> list[int]:
    """Of the sampled steps at most 50: the first, the last and those of edits, and of the others evenly many, so that
    they lie densest where these do.
    """
    at = list(sampled(config))
    edited = sorted({step + 1 for step in config.edits_at()} & set(at))[: HEATS // 2]
    kept = {at[0], at[-1], *edited}
    rest = [step for step in at if step not in kept]
    room = min(HEATS - len(kept), len(rest))
    return sorted(kept | {rest[index * len(rest) // room] for index in range(room)})


def lens_fields(config: Config, lens: Lens) -> dict[str, list[str]]:
    """The fields of each track: a quantity of a layer or of a weight, by its place among them; of heat, the maps."""
    count = len(layers(config.build_task().layout))
    found = {
        "norms": [f"{name}.{layer}" for name in NORMS for layer in range(count)],
        "rate": list(QUANTILES),
        "watch": [f"{name}.{column}" for column in lens.coordinates for name in WATCHED],
    }
    return found | ({"heat": list(HEAT)} if lens.layer else {})


def lens_blank(config: Config, lens: Lens, samples: dict[str, list[int]]) -> dict[str, Array]:
    """The tracks before the first step: `[racers, fields, samples]` of NaN; heat `[maps, cells, samples]` of 0."""
    found: dict[str, Array] = {
        name: np.full((len(lens.racers), len(fields), len(samples[name])), np.nan, dtype=np.float32)
        for name, fields in lens_fields(config, lens).items()
        if name != "heat"
    }
    if lens.layer:
        shown = grid(dict(config.build_task().layout.shapes)[lens.layer])
        found["heat"] = np.zeros((len(HEAT), shown.rows * shown.columns, len(samples["heat"])), dtype=np.uint8)
    return found


def lens_tracks(config: Config, lens: Lens, records: Records, bins: list[int]) -> dict[str, Array]:
    """A slice's part of each track."""
    seen, racers = records.lens, len(lens.racers)
    norms = np.stack([seen[name] for name in NORMS], axis=1)  # [k, NORMS, racers, layers]
    found = {
        "norms": norms.transpose(2, 1, 3, 0).reshape(racers, norms.shape[1] * norms.shape[3], len(norms)),
        "rate": seen["rate"].transpose(1, 2, 0),
        "watch": _binned(lens, records, bins),
    }
    if lens.layer:
        taken = np.isin(records.lens_at, heat_steps(config))
        found["heat"] = np.stack([seen[f"heat.{name}"][taken, 0].T for name in HEAT])
    return found


def _binned(lens: Lens, records: Records, bins: list[int]) -> Array:
    """Watched weights `[racers, fields, bins]` of the bins that end in this slice."""
    stride = bins[1] - bins[0] if len(bins) > 1 else bins[0]
    count = len(records.loss)
    ends = [step - records.first for step in bins if 0 < step - records.first <= count]
    if not lens.coordinates or not ends:
        return np.empty((len(lens.racers), len(WATCHED) * len(lens.coordinates), len(ends)), dtype=np.float32)
    found = []
    for name in WATCHED:
        values = records.lens[f"watch.{name}"]  # [n, racers, coordinates]
        if name in LARGEST:
            found.append(np.stack([_largest(values[max(end - stride, 0) : end]) for end in ends]))
        else:
            found.append(values[np.asarray(ends) - 1])
    return np.stack(found, axis=-1).transpose(1, 2, 3, 0).reshape(len(lens.racers), -1, len(ends))


def _largest(values: Array) -> Array:
    """Of `[n, …]` the one with the largest size, NaN where there is none."""
    index = np.nan_to_num(np.abs(values), nan=-1.0, posinf=np.inf).argmax(axis=0)
    found: Array = np.take_along_axis(values, index[None], axis=0)[0]
    return found


def lens_block(name: str, track: Array, first: int, last: int) -> dict[str, Any]:
    """Samples `first … last - 1`: `[racers, fields, samples]` as halves, heat `[samples, maps, cells]` as it is."""
    values = track[:, :, first:last]
    sent = np.ascontiguousarray(values.transpose(2, 0, 1)) if name == "heat" else halves(values)
    return {"track": name, "from": first, "to": last, "b64": text(sent)}


def about(config: Config, lens: Lens, bins: list[int]) -> dict[str, Any]:
    """What the browser must know of a lens before its first number."""
    task = config.build_task()
    layout, steps, fields = task.layout, lens_steps(config, lens, bins), lens_fields(config, lens)
    tracks: dict[str, Any] = {name: {"at": steps[name], "fields": fields[name]} for name in ("norms", "rate", "watch")}
    found = {
        "layers": [
            {"name": name, "size": size, "shape": dict(layout.shapes).get(name, ())} for name, size in layers(layout)
        ],
        "quantities": NORMS,
        "tracks": tracks,
        "coordinates": [{"index": column, "name": place(layout, column)} for column in lens.coordinates],
        "layer": lens.layer,
        "drawing": drawing(task),
    }
    if lens.layer:
        shape = dict(layout.shapes)[lens.layer]
        shown = grid(shape)
        tracks["heat"] = {"at": steps["heat"], "cells": shown.rows * shown.columns, "maps": HEAT}
        found["heat"] = {
            "rows": shown.rows, "columns": shown.columns, "block": shown.block, "shape": matrix(shape),
            "racer": pictured(lens), "first": layout.columns(lens.layer).start,
            "smallest": SMALLEST, "decades": DECADES, "levels": LEVELS, "zero": ZERO,
        }  # fmt: skip
    return found


def pictured(lens: Lens) -> int:
    """The racer whose heat maps travel: the one that is pictured, or the first."""
    return lens.racers[0] if lens.pictured is None else lens.pictured


def drawing(task: Task) -> list[dict[str, Any]]:
    """The network in a few words: its layers that learn, each with its tensors; a layer's are consecutive."""
    left = list(zip((name for name, _ in task.layout.shapes), task.layout.sizes, strict=True))
    found: list[dict[str, Any]] = []
    for layer in (layer for layer in task.layers if layer.parameters):
        names, size = [], 0
        while left and size < layer.parameters:
            name, own = left.pop(0)
            names.append(name)
            size += own
        found.append({"label": f"{layer.name}, {layer.shape}", "tensors": names})
    return found + [{"label": name, "tensors": [name]} for name, _ in left]
