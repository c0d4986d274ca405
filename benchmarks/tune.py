"""Tune the learning rate of every rule on every task, and keep what was found: `python -m benchmarks.tune`.

Writes core/tuned.json, which `core.tuned` reads. A setting is a task with its own default settings, a number of
steps and a batch size; for each, its rules with their default settings get the same rates and the same seeds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import multiprocessing
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import RULES, TASKS, Recording, race, racer, run
from core.config import Choice, refusal
from core.spec import complete
from core.tasks import Task, build
from core.tuned import part

TARGET = Path(__file__).resolve().parent.parent / "core" / "tuned.json"
SEEDS = (1000, 1001, 1002, 1003, 1004)  # a race counts its own seeds from 0
WIDELY = ("digits", "moons", "spirals", "quadratic", "rosenbrock", "wrong_way")  # every rule, in many settings
USUAL = ("sgd", "momentum", "adam")  # the rules that are tuned on all others, as a race on them is unasked
STEPS = (300, 500, 1000, 2000, 5000)
BATCH, OTHER_BATCHES, OTHER_AT = 32, (8, 128), 1000  # other batch sizes are tuned for one number of steps
LOWEST, HIGHEST = 1e-5, 10.0  # the slider's ends
FIRST_LOW, FIRST_HIGH = 1e-3, 1.0
GRID = tuple(
    rate for decade in range(-5, 2) for m in (1, 2, 3, 5) if LOWEST <= (rate := float(f"{m}e{decade}")) <= HIGHEST
)
HALF_DECADE = 2  # stops of GRID
PROTOCOL = (
    "Constant learning rate; every other setting of the rule and of the task at its default. Rates 1, 2, 3, 5 a "
    "decade from 1e-3 to 1, extended by half a decade for as long as the best lies at an end, up to 1e-5 and 10 "
    "(then edge is true). Chosen: the smallest median, over seeds 1000 to 1004, of the loss on the validation part "
    'after the last step (where the part is "train": on the training part, or of the loss itself where there are no '
    "data). A diverged run counts as infinitely bad, written null. Equal medians: the smaller mean loss of the run. "
    "float32."
)

Medians = dict[float, tuple[float, float]]  # rate -> medians of (final loss, mean loss of the run)


@dataclass(frozen=True)
class Setting:
    """A task (by name) at its default settings, trained for so many steps; `batch` is None where it plays no part."""

    task: str
    steps: int
    batch: int | None


def settings() -> list[Setting]:
    """All that is tuned, longest first."""
    found = []
    for task, kind in TASKS.items():
        examples = _built(task).examples
        if task not in WIDELY:
            found.append(Setting(task, kind.steps, kind.batch if examples else None))
        elif examples is None:
            found += [Setting(task, steps, None) for steps in STEPS]
        else:
            found += [Setting(task, steps, BATCH) for steps in STEPS]
            found += [Setting(task, OTHER_AT, batch) for batch in OTHER_BATCHES if batch <= examples]
    return sorted(found, key=lambda setting: -setting.steps * (setting.batch or 1))


def _choice(task: str) -> Choice:
    return Choice(task, complete(TASKS[task].hypers, {}, task))


def _built(task: str) -> Task:
    return build(task, _choice(task).settings)


def measure(setting: Setting, rates: Mapping[str, Iterable[float]]) -> dict[str, Medians]:
    """Train every rule at its rates, all in one table."""
    rules = [(rule, rate) for rule, its in rates.items() for rate in its]
    config = race(
        setting.task,
        [racer(rule, lr=rate) for rule, rate in rules],
        steps=setting.steps,
        batch=setting.batch or BATCH,
        seeds=SEEDS,
    )
    history = run(config, recording=Recording(evaluations=1, probes=1))
    final = history.evals[f"{part(_choice(setting.task))}_loss"][-1]
    scores = np.stack([final, history.loss.mean(axis=0)])  # [2, racers, seeds]
    medians = np.median(np.where(np.isnan(scores) | (history.stopped >= 0), math.inf, scores), axis=2)
    found: dict[str, Medians] = {rule: {} for rule in rates}
    for (rule, rate), last, mean in zip(rules, *medians, strict=True):
        found[rule][rate] = (float(last), float(mean))
    return found


def best(medians: Medians) -> float:
    """The chosen rate."""
    return min(medians, key=lambda rate: medians[rate])


def beyond(medians: Medians) -> list[float]:
    """The rates to try next: half a decade more where the best is an end of those tried, else none."""
    tried = sorted(medians)
    if best(medians) == tried[-1]:
        above = GRID.index(tried[-1]) + 1
        return list(GRID[above : above + HALF_DECADE])
    if best(medians) == tried[0]:
        below = GRID.index(tried[0])
        return list(GRID[max(0, below - HALF_DECADE) : below])
    return []


def allowed(setting: Setting) -> list[str]:
    """The rules that are tuned there."""
    task, rules = _built(setting.task), RULES if setting.task in WIDELY else USUAL
    return [rule for rule in rules if not refusal(RULES[rule], task, setting.batch or BATCH)]


def tune(setting: Setting, rules: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of core/tuned.json for some rules in one setting."""
    torch.set_num_threads(1)
    medians: dict[str, Medians] = {rule: {} for rule in rules}
    to_try = {rule: [rate for rate in GRID if FIRST_LOW <= rate <= FIRST_HIGH] for rule in rules}
    while to_try:
        for rule, found in measure(setting, to_try).items():
            medians[rule] |= found
        to_try = {rule: rates for rule in rules if (rates := beyond(medians[rule]))}
    return [_entry(setting, rule, medians[rule]) for rule in rules]


def _entry(setting: Setting, rule: str, medians: Medians) -> dict[str, Any]:
    rate, tried = best(medians), sorted(medians)
    return {
        "task": setting.task,
        "settings": dict(_choice(setting.task).settings),
        "steps": setting.steps,
        "batch": setting.batch,
        "initialisation": "torch default",
        "rule": rule,
        "lr": rate,
        "part": part(_choice(setting.task)),
        "loss": _short(medians[rate][0], 6),
        "edge": rate in (tried[0], tried[-1]),
        "curve": [[tried_rate, _short(medians[tried_rate][0], 4)] for tried_rate in tried],
    }


def _short(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def written(entries: Iterable[Mapping[str, Any]]) -> str:
    """The whole file: one entry a line, in the registries' order."""
    order = {name: place for place, name in enumerate([*TASKS, *RULES])}
    lines = sorted(entries, key=lambda e: (order[e["task"]], e["steps"], e["batch"] or 0, order[e["rule"]]))
    head = {
        "measured": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "protocol": PROTOCOL,
    }
    body = ",\n".join(json.dumps(entry) for entry in lines)
    return json.dumps(head, indent=1).removesuffix("\n}") + f',\n "entries": [\n{body}\n]}}\n'


def main(arguments: Sequence[str] | None = None) -> None:
    """Tune everything in two processes; the file is written as each setting is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--missing", action="store_true", help="only what the file does not have yet")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    entries = json.loads(TARGET.read_text())["entries"] if options.missing else []
    kept = {(entry["task"], entry["steps"], entry["batch"], entry["rule"]) for entry in entries}
    todo = {
        setting: rules
        for setting in settings()
        if (rules := [r for r in allowed(setting) if (setting.task, setting.steps, setting.batch, r) not in kept])
    }
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(tune, setting, rules): setting for setting, rules in todo.items()}
        for done, future in enumerate(as_completed(running), start=1):
            entries += future.result()
            TARGET.write_text(written(entries))
            setting = running[future]
            print(
                f"{done}/{len(todo)} {setting.task}, {setting.steps} steps, batch {setting.batch or 'any'} "
                f"({time.monotonic() - began:.0f} s)",
                flush=True,
            )
    edges = sum(entry["edge"] for entry in entries)
    print(f"{len(entries)} rates written to {TARGET}, {edges} of them at an end of the slider")


if __name__ == "__main__":
    main()
