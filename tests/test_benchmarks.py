"""The benchmarks' names and file, and that their smallest pieces run. No time is asserted."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import engine, run
from benchmarks.measurement import Measurement


def test_names_begin_with_their_family() -> None:
    names = run.measures()
    assert names
    assert all(name.split(".")[0] in run.FAMILIES for name in names)


def test_a_prefix_chooses() -> None:
    assert set(run.measures("engine.steps")) == {"engine.steps_per_s.r4", "engine.steps_per_s.r40"}
    assert run.measures("nothing") == {}


@pytest.mark.skipif(not run.TARGET.exists(), reason="nothing has been measured yet: make bench")
def test_the_kept_results_have_their_form() -> None:
    results = json.loads(run.TARGET.read_text())
    assert {"cores", "python", "torch", "date"} <= results.pop("machine").keys()
    for name, entry in results.items():
        assert name.split(".")[0] in run.FAMILIES
        assert entry.keys() == {"value", "unit", "how", "bar"}
        assert entry["bar"] is None or entry["bar"].startswith(("at least ", "at most "))


def test_results_are_merged_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TARGET", tmp_path / "results.json")
    small = {"engine.b": lambda: Measurement(2.00001, "s", "so", "at most 3")}
    (tmp_path / "results.json").write_text('{"engine.a": 1, "engine.b": 1}')
    monkeypatch.setattr(run, "measures", lambda prefix="": small)
    run.main(["--only", "engine.b"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == ["engine.a", "engine.b", "machine"]
    assert results["engine.b"] == {"value": 2.0, "unit": "s", "how": "so", "bar": "at most 3"}


def test_a_bar_is_met_or_not() -> None:
    assert Measurement(10.0, "times", "", "at least 10").met
    assert not Measurement(9.9, "times", "", "at least 10").met
    assert not Measurement(3.1, "s", "", "at most 3").met
    assert Measurement(0.0, "s", "").met


@pytest.mark.parametrize("mode", engine.MODES)
def test_the_loop_runs(mode: str) -> None:
    engine.loop(2, 3, engine.MODES[mode])


def test_the_smallest_pieces_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "best_mode", lambda: "fused")
    found = [
        engine.speedup(2, pairs=1, steps=3),
        engine.rate(2, 1, repeats=1, steps=3),
        engine.default_screen_seconds(repeats=1, steps=3),
    ]
    assert all(isinstance(m.value, float) and math.isfinite(m.value) and m.value > 0 for m in found)
    parts = engine.step_parts(steps=3, repeats=1).value
    assert isinstance(parts, dict)
    assert parts.keys() == {"batch", "loss_and_grad", "update", "evaluate", "guards_and_records", "whole"}
    assert engine.task().widths == (20, 25, 25, 3)
