"""Measure and keep: `python -m benchmarks.run [--only PREFIX]` writes benchmarks/results.json.

Each family is a module with a `MEASURES` table: name -> a function that returns a `Measurement`. What `--only` leaves
out keeps its former result.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement import Measures

TARGET = Path(__file__).with_name("results.json")
# How fast the table trains; what each rule costs; what each problem costs; what a class from outside the table costs;
# what becomes of the essay's two races; what a person waits for on the page; until the page stands; a class of 30 at
# once; what it costs to look into the steps; what a bad gradient costs each rule. A family's name begins the names of
# what it measures; "class" is no name for a module.
FAMILIES = {
    "engine": "engine", "rule": "rules", "adapter": "adapter", "live": "live", "start": "start",
    "task": "tasks", "essay": "essay", "class": "classroom", "moments": "moments",
    "spike": "spikes",
}  # fmt: skip


def measures(prefix: str = "") -> dict[str, Any]:
    """The functions of all families that exist, by the names of what they measure."""
    found: dict[str, Any] = {}
    for family, file in FAMILIES.items():
        module = f"benchmarks.{file}"
        wanted = family.startswith(prefix) or prefix.startswith(family)
        if wanted and find_spec(module) is not None:
            table: Measures = import_module(module).MEASURES
            found |= {name: function for name, function in table.items() if name.startswith(prefix)}
    return found


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def rounded(value: float | dict[str, float]) -> float | dict[str, float]:
    """Four significant digits."""
    if isinstance(value, dict):
        return {name: float(f"{part:.4g}") for name, part in value.items()}
    return float(f"{value:.4g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, one after the other, and merge it into the file by name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", default="", metavar="PREFIX", help="measure only what is called PREFIX…")
    prefix = parser.parse_args(arguments).only
    torch.set_num_threads(1)
    wanted = measures(prefix)
    if not wanted:
        parser.error(f"nothing is called {prefix}…; there is {', '.join(measures())}")
    results: dict[str, Any] = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    for name, measure in wanted.items():
        found = measure()
        results[name] = {**asdict(found), "value": rounded(found.value)}
        bar = "" if found.bar is None else f"   ({found.bar}: {'met' if found.met else 'NOT MET'})"
        print(f"{name}: {results[name]['value']} {found.unit}{bar}", flush=True)
        results["machine"] = machine()
        TARGET.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
