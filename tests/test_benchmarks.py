"""The benchmarks' names and file, and that their smallest pieces run. No time is asserted."""

import json
import math
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from benchmarks import engine, live, moments, run, spikes, tasks, twins
from benchmarks.measurement import Measurement
from core import TASKS, Racer, race, racer
from core import run as train
from core.state import Array
from ui.moments_scenario import TRUNK, Fork, default, read


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


# Tasks


def test_every_task_with_a_network_has_its_measures_and_a_twin() -> None:
    """The twin has as many weights as a row of the table."""
    built = {name: race(name, [racer("sgd")], batch=2).build_task() for name in TASKS}
    assert {name for name, task in built.items() if task.layers} == set(tasks.NETWORKS)
    for name in tasks.NETWORKS:
        assert {f"task.{name}.speedup_over_loop.r32", f"task.{name}.seconds_per_1000"} <= tasks.MEASURES.keys()
        weights = sum(weight.numel() for weight in twins.module(built[name]).parameters())
        assert weights == built[name].layout.width, name
    assert set(tasks.SPEEDUP_BARS) <= set(tasks.NETWORKS)


@pytest.mark.parametrize("name", ["diabetes", "factorisation", "many_fits", "words", "lstm"])
def test_a_tasks_smallest_pieces_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LONG_ENOUGH", 0.0)
    tasks.loops.cache_clear()
    found = [
        tasks.speedup(name, rows=2, pairs=1, most=2, loop_steps=2),
        tasks.rate(name, 2, 1, repeats=1, most=2),
        tasks.thousand(name, repeats=1, steps=2),
    ]
    tasks.loops.cache_clear()
    assert all(isinstance(m.value, float) and math.isfinite(m.value) and m.value > 0 for m in found)


def test_the_time_to_half_ends_where_the_mean_of_fifty_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the second racer, at a multiple of 25 steps; a loss that is not reached is said."""
    four = [racer("sgd", lr=1e-4), racer("adam", lr=0.02), racer("sgd", lr=1e-3), racer("sgd", lr=1e-4)]
    monkeypatch.setattr(tasks, "essay", lambda name, hot: four)
    history = run_of(four, 200)
    means = {step: history[step - 50 : step].mean() for step in range(50, 201, 25)}
    below = (means[100] + means[125]) / 2
    assert means[100] > below > means[125]
    found = tasks.to_half("wine", 1.0, 1, seeds=1, below=below)
    assert isinstance(found.value, float) and found.value > 0 and "step 125 to 125" in found.how
    with pytest.raises(ValueError, match="wine does not come below"):
        tasks.to_half("wine", 1.0, 1, seeds=1, below=0.0)


def run_of(four: list[Racer], steps: int) -> Array:
    """The second racer's losses with the first seed."""
    losses: Array = train(race("wine", four, steps=1000, seeds=1)).loss[:steps, 1, 0]
    return losses


# Spikes


def test_a_spike_is_measured_against_its_twin() -> None:
    """A spike slows Adam down; the signs that Lion goes by have no size."""
    found = spikes.cost("lion", steps=120, seeds=1).value
    assert isinstance(found, dict) and found["1000x: smallest step"] == pytest.approx(1, abs=0.1)
    adam = spikes.cost("adam", steps=120, seeds=1).value
    assert isinstance(adam, dict) and adam["1000x: smallest step"] < 0.9
    assert {f"{factor}x: steps behind" for factor in spikes.FACTORS} <= adam.keys()


# Moments


def test_what_the_moments_pages_figures_are_taken_on() -> None:
    """The addresses need no correction, the run is as long as is waited for, and the forks can be made in one visit."""
    shown, notes = read(dict(parse_qsl(urlsplit(moments.screen("", moments.spirals)).query)))
    assert notes == [] and shown.trunk.steps == moments.LONG
    assert len(shown.layout.shapes) == 6 and shown.seen.watched == tuple(range(8))
    assert default().trunk.steps == live.STEPS
    forks = tuple(Fork(TRUNK, at, what) for at, what in moments.FORKED)
    assert len(replace(default(), forks=forks).config().racers) == 2 + len(forks)
    assert moments.EVERYTHING.lens and moments.EVERYTHING.lens.pictured == default().lens().pictured
