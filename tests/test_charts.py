"""From records to what travels: the same numbers however a race is cut, at the steps that were announced."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import RULES, TASKS, Config, History, Reset, advance, edit, race, racer, start
from core.carry import carried
from core.state import OPTIMIZER_FAILED
from tests.strategies import configs
from ui import limits, worker
from ui.charts import (
    CARRIED,
    CHARTS,
    HUGE,
    PROBE_FIELDS,
    Piece,
    charts_for,
    describe,
    guessing,
    loss_steps,
    piece,
    track_fields,
    track_steps,
)
from ui.closed import closed
from ui.kept import Kept
from ui.names import labels

some = settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
# The last racer's rate is so high that its loss is soon no number any more.
DIVERGING = race(
    "quadratic", [racer("sgd", lr=0.01), racer("momentum", lr=0.01), racer("sgd", lr=10.0)], steps=60, seeds=3
)


def pieces_of(config: Config, stops: list[int]) -> list[Piece]:
    """A race trained from stop to stop."""
    state, found = start(config), []
    for first, last in pairwise([0, *stops]):
        state, records = advance(config, state, last - first)
        found.append(piece(config, records))
    return found


def joined(pieces: list[Piece]) -> dict[str, Any]:
    """The tracks of consecutive pieces, side by side."""
    return {name: np.concatenate([p.tracks[name] for p in pieces], axis=2) for name in pieces[0].tracks}


def whole(config: Config) -> Piece:
    return pieces_of(config, [config.steps])[0]


def field(config: Config, tracks: dict[str, Any], track: str, name: str) -> Any:
    """`[racers, samples]` of one field."""
    return tracks[track][:, track_fields(config)[track].index(name)]


# --- which steps


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 59, 60, 61, 100, 124, 125, 126, 999, 1000, 1001, 1500, 2001, 4999, 5000])
def test_the_steps_of_a_track_are_announced_in_four_numbers(steps: int) -> None:
    config = race("digits", [racer("sgd")], steps=steps)
    announced = describe(config)["tracks"]
    for name, at in track_steps(config).items():
        short = announced[name]["at"]
        told = [short["first"] + i * short["stride"] for i in range(short["count"])]
        told[-1] = short["last"]
        assert told == at, name
        assert at == sorted(set(at)) and at[-1] == steps, name
        assert len(at) <= limits.LOSS_SAMPLES + 1, name


@given(st.integers(1, limits.STEPS))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_loss_is_sampled_evenly_and_at_its_end(steps: int) -> None:
    at = loss_steps(race("digits", [racer("sgd")], steps=steps))
    assert len({after - before for before, after in pairwise(at)}) <= 1
    assert at[-1] == steps and len(at) <= limits.LOSS_SAMPLES
    assert steps > limits.LOSS_SAMPLES or at == list(range(1, steps + 1))


# --- which numbers


@some
@given(configs(small=True), st.data())
def test_a_race_is_the_same_however_it_is_cut(config: Config, data: st.DataObject) -> None:
    inner = data.draw(st.sets(st.integers(1, max(1, config.steps - 1)), max_size=3))
    stops = sorted((inner | {config.steps}) - {0})
    cut, full = pieces_of(config, stops), whole(config)
    for name, values in joined(cut).items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, full.tracks[name], err_msg=name)
    assert [verdict for p in cut for verdict in p.verdicts] == full.verdicts
    assert (cut[-1].marks, cut[-1].test) == (full.marks, full.test)


@some
@given(configs(small=True))
def test_every_announced_sample_comes(config: Config) -> None:
    found, at, fields = whole(config), track_steps(config), track_fields(config)
    for name, values in found.tracks.items():
        assert values.shape == (len(config.racers), len(fields[name]), len(at[name])), name
    assert [step for step, _, _ in found.verdicts] == at["eval"]
    assert all(headline and detail for _, headline, detail in found.verdicts)


@some
@given(configs(small=True, tables=False, others=False))
def test_a_band_encloses_its_line(config: Config) -> None:
    found, fields = whole(config), track_fields(config)
    for track, names in fields.items():
        for name in {n.removesuffix("mid") for n in names if n.endswith("mid")}:
            mid, low, high = (field(config, found.tracks, track, name + part) for part in ("mid", "lo", "hi"))
            drawn = ~np.isnan(mid)
            assert (low[drawn] <= mid[drawn]).all() and (mid[drawn] <= high[drawn]).all(), name
            assert not np.isinf(found.tracks[track]).any()


def test_the_lines_are_the_cores_medians_and_ranges() -> None:
    config = race("moons", [racer("sgd", lr=0.1), racer("adam", lr=0.01)], steps=130, seeds=4)
    state, records = advance(config, start(config), config.steps)
    history, found = History.of(config, [records]), piece(config, records)
    at = np.asarray(loss_steps(config)) - 1
    wanted = {
        ("loss", ""): history.smooth[at],
        ("eval", "train_loss."): history.evals["train_loss"],
        ("eval", "val_loss."): history.evals["validation_loss"],
        ("eval", "val_acc."): history.evals["validation_accuracy"],
        **{("probe", f"{name}."): history.probes[source] for name, source in PROBE_FIELDS.items()},
    }
    for (track, name), values in wanted.items():
        for part, reduce in (("mid", np.median), ("lo", np.min), ("hi", np.max)):
            expected = reduce(values, axis=-1).T.astype(np.float32)
            np.testing.assert_array_equal(
                field(config, found.tracks, track, name + part), expected, err_msg=name + part
            )
    np.testing.assert_array_equal(
        field(config, found.tracks, "loss", "raw"), np.median(history.loss, axis=-1).T.astype(np.float32)
    )
    assert state.step == config.steps
    assert found.test == [f"{x:.1%}" for x in np.median(history.test["accuracy"], axis=-1)]


def test_a_spike_between_two_samples_is_still_seen() -> None:
    """More steps than points: a point of the raw loss is the largest of its bin."""
    config = race("quadratic", [racer("sgd", lr=0.001), racer("adam")], steps=2 * limits.LOSS_SAMPLES + 500)
    stride = 3
    _, records = advance(config, start(config), config.steps)
    found = piece(config, records)
    loss = History.of(config, [records]).loss[:, :, 0]
    last = loss_steps(config)
    for index in (0, 1, len(last) // 2, len(last) - 1):
        bin = loss[max(last[index] - stride, 0) : last[index]]
        np.testing.assert_array_equal(
            field(config, found.tracks, "loss", "raw")[:, index], bin.max(axis=0).astype(np.float32)
        )


# --- what diverges


def test_a_racer_that_diverges_ends_its_line_and_is_named() -> None:
    found = whole(DIVERGING)
    mid = field(DIVERGING, found.tracks, "loss", "mid")
    assert np.isfinite(mid[:2]).all()
    gone = np.isnan(mid[2])
    assert gone[-1] and not gone[0] and (np.diff(gone.astype(int)) >= 0).all(), "once gone, gone for good"
    name = labels(DIVERGING)[2]
    marks = [mark for mark in found.marks if mark.kind == "diverged"]
    assert [mark.racer for mark in marks] == [2] and name in marks[0].text
    assert name in found.verdicts[-1][1] and "diverged" in found.verdicts[-1][1]


def test_a_line_whose_worst_seed_diverged_goes_on_with_an_open_band() -> None:
    """One seed of three is gone: the median lives, the upper end is beyond every axis."""
    config = race("quadratic", [racer("sgd", lr=0.01)], steps=10, seeds=3)
    _, records = advance(config, start(config), config.steps)
    records.loss[5:, 0] = records.smooth[5:, 0] = np.nan
    records.stopped[0], records.reason[0] = 6, 1
    found = piece(config, records)
    mid, high = (field(config, found.tracks, "loss", part)[0] for part in ("mid", "hi"))
    assert np.isfinite(mid).all()
    assert (high[5:] == np.float32(HUGE)).all() and (high[:5] < HUGE).all()


def test_decays_and_resets_are_marked_where_they_are() -> None:
    cut = ("step", {"factor": 0.5, "every": 20})
    contenders = [racer("adam", schedule=cut, reset=Reset("v")), racer("adam", reset=Reset("all", 25)), racer("sgd")]
    config = race("quadratic", contenders, steps=60, seeds=2)
    marks = [(mark.racer, mark.step, mark.kind) for mark in whole(config).marks]
    assert sorted(marks) == sorted(
        [(0, step, kind) for step in (20, 40) for kind in ("decay", "reset")] + [(1, 25, "reset"), (1, 50, "reset")]
    )


def test_a_schedule_that_reacts_is_marked_where_it_did() -> None:
    """All seeds cut a rate at which the loss stands still; the mark is at the median of their steps."""
    waiting = ("plateau", {"factor": 0.5, "patience": 0.1})
    config = race("quadratic", [racer("sgd", lr=0.09, schedule=waiting), racer("sgd", lr=0.01)], steps=60, seeds=3)
    _, records = advance(config, start(config), config.steps)
    marks = [mark for mark in piece(config, records).marks if mark.kind == "decay"]
    cuts = records.cuts[:, :3]
    assert [mark.step for mark in marks] == [int(np.median(row)) for row in cuts if (row >= 0).all()] != []
    assert {mark.racer for mark in marks} == {0} and "3 of 3 seeds" in marks[0].text
    for seed in range(3):  # what the chart of the rate shows is what was done
        rate = records.probes["rate"][:, seed]
        at = np.array(records.probes_at)
        assert rate[-1] == pytest.approx(0.09 * 0.5 ** (cuts[:, seed] >= 0).sum())
        assert rate[at <= cuts[0, seed]] == pytest.approx(0.09)
    assert (records.cuts[:, 3:] == -1).all()


def test_an_average_travels_with_the_weights_it_is_of() -> None:
    """The line is the loss at the average; "raw" is the loss that the same racer without averaging reports."""
    config = race("moons", [racer("adam+ema", lr=0.01, ema_decay=0.98), racer("adam", lr=0.01)], steps=60, seeds=3)
    found, label = whole(config), {chart["id"]: chart["label"] for chart in describe(config)["charts"]}
    raw, mid = (field(config, found.tracks, "eval", f"val_loss.{part}") for part in ("raw", "mid"))
    np.testing.assert_allclose(raw[0], mid[1], rtol=1e-6)
    assert np.abs(mid[0] - raw[0])[5:].min() > 0 and np.isnan(raw[1]).all()
    assert "dotted" in label["val_loss"] and "dotted" not in label["grad"]
    plain = race("moons", [racer("adam")], steps=60, seeds=3)
    assert not any(name.endswith("raw") for name in track_fields(plain)["eval"])


def test_an_optimizer_that_failed_is_named_with_its_words() -> None:
    config = race("quadratic", [racer("sgd", lr=0.01)], steps=10, seeds=3)
    _, records = advance(config, start(config), config.steps)
    records.stopped[1], records.reason[1] = 6, OPTIMIZER_FAILED
    records.words[1] = "ValueError: no such thing"
    (mark,) = [mark for mark in piece(config, records).marks if mark.kind == "diverged"]
    assert mark.step == 6 and mark.text.endswith("(ValueError: no such thing)")


# --- what is said of a race


@some
@given(configs(small=True))
def test_what_is_said_of_a_race_is_plain_json(config: Config) -> None:
    """No NaN and no infinity: a browser would refuse the whole message."""
    told = describe(config)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    fields = {name: track["fields"] for name, track in told["tracks"].items()}
    for chart in told["charts"]:
        assert f"{chart['field']}.mid" in fields[chart["track"]]


@pytest.mark.parametrize("task", TASKS)
def test_a_chart_is_offered_where_the_task_can_fill_it(task: str) -> None:
    config = race(task, [racer("adam")], steps=5, batch=8)
    found, built = whole(config), config.build_task()
    offered = {chart.id for chart in charts_for(built)}
    assert offered == {
        chart.id for chart in CHARTS
        if not (chart.needs == "data" and not built.parts) and not (chart.needs == "accuracy" and not built.accuracy)
    }  # fmt: skip
    for chart in charts_for(built):
        line = field(config, found.tracks, chart.track, f"{chart.id}.mid")
        if chart.id == "update" and not start(config).params.any():
            line = line[:, 1:]  # a first step from 0 has no size relative to the weights
        assert np.isfinite(line).all(), chart.id


@pytest.mark.parametrize("rule", RULES)
def test_a_memory_that_a_racer_lacks_is_said_to_be_missing(rule: str) -> None:
    """And one that it has is drawn."""
    config = race("moons", [racer(rule)], steps=5, batch=600)
    found, charts = whole(config), {chart["id"]: chart for chart in describe(config)["charts"]}
    for name in ("m", "v"):
        drawn = np.isfinite(field(config, found.tracks, "probe", f"{name}.mid")).all()
        assert drawn == (charts[name]["missing"] == ""), name
        assert drawn or charts[name]["missing"] == f"{RULES[rule].label} keeps no {name}"


# --- the worker


@pytest.mark.parametrize("steps", [1, 150, 2500])
def test_a_worker_takes_whole_samples_and_at_least_one(steps: int, tmp_path: Path) -> None:
    config = race("quadratic", [racer("sgd", lr=0.01), racer("adam")], steps=steps, seeds=2)
    stops, kept, at, pieces = loss_steps(config), Kept(str(tmp_path)), 0, []
    while at < steps:
        done = worker.train(config, kept.now, kept.next, 0.0)
        assert done.step in stops and at < done.step <= at + max(worker.FIRST_STEPS, 3) + 2
        at = done.step
        kept.turn(done.size)
        pieces += done.pieces
    full = worker.train(config, None, kept.next, 600.0)
    assert full.step == steps
    for name, values in joined(full.pieces).items():
        np.testing.assert_array_equal(joined(pieces)[name], values, err_msg=name)


def test_what_a_step_costs_is_measured_for_each_racer() -> None:
    config = race("quadratic", [racer("sgd"), racer("adam")], steps=10, seeds=3)
    costs = worker.seconds_per_step(config, rounds=1, steps=5)
    assert len(costs) == 2 and all(cost > 0 for cost in costs)


# --- guessing, held-out losses and levels


def test_a_racer_above_guessing_is_named_after_the_first_tenth_and_not_before() -> None:
    """Made losses: the first racer's above ln 3, the second's below."""
    config = race("wine", [racer("sgd"), racer("adam")], steps=40, seeds=3, batch=8)
    _, records = advance(config, start(config), config.steps)
    guess = guessing(config.build_task())
    assert guess is not None and guess["words"] == "guessing (ln 3 = 1.10)"
    records.smooth[:, :3], records.smooth[:, 3:] = 1.02 * guess["above"], 0.98 * guess["above"]
    records.bound[:], records.blown[:] = 10.0, -1
    told = {step: detail for step, _, detail in piece(config, records).verdicts}
    said = {step for step, detail in told.items() if "SGD stands above guessing (ln 3 = 1.10)." in detail}
    assert said == {step for step in told if step > 4} and not any("Adam stand" in detail for detail in told.values())


def test_of_a_racer_that_blew_up_it_is_not_said_too() -> None:
    config = race("wine", [racer("sgd"), racer("adam")], steps=40, seeds=3, batch=8)
    _, records = advance(config, start(config), config.steps)
    records.smooth[:, :3], records.bound[:], records.blown[:3] = 20.0, 10.0, 1
    *_, detail = piece(config, records).verdicts[-1]
    assert "SGD blew up at step 1." in detail and "above guessing" not in detail


def test_levels_carry_their_meaning_to_both_charts_and_a_text_is_held_out() -> None:
    told = describe(race("lstm", [racer("adam")], steps=20))
    wanted = [{"name": x.name, "value": x.value, "meaning": x.meaning} for x in TASKS["lstm"].make(24, 64, 12).levels]
    assert told["levels"] == told["charts"][0]["levels"] == wanted
    assert (told["charts"][0]["id"], told["charts"][0]["label"]) == ("val_loss", "Held-out loss")
    (other,) = [chart for chart in describe(race("wine", [racer("adam")]))["charts"] if chart["id"] == "val_loss"]
    assert other["label"] == "Validation loss"


# --- what a spike does


def poked(rules: tuple[str, ...] = ("adam", "adam"), spiked: tuple[int, ...] = (0,), **settings: Any) -> Config:
    """A spike at step 20 of some racers."""
    spikes = [edit(19, index, "scale_gradient", factor=100.0) for index in spiked]
    return race("digits", [racer(rule, **settings) for rule in rules], steps=60, seeds=3, edits=spikes)


def test_the_ratio_is_the_step_over_that_of_the_twin_seed_by_seed() -> None:
    config = poked(("sgd", "adam", "adam", "sgd"), (0, 1))
    _, records = advance(config, start(config), config.steps)
    found, step = piece(config, records), History.of(config, [records]).probes["step"]
    for index, twin in ((0, 3), (1, 2)):
        ratio = (step[:, index] / step[:, twin]).astype(np.float32)
        for part, reduce in (("mid", np.median), ("lo", np.min), ("hi", np.max)):
            np.testing.assert_allclose(
                field(config, found.tracks, "probe", f"ratio.{part}")[index], reduce(ratio, axis=1), rtol=1e-6
            )
    mid = field(config, found.tracks, "probe", "ratio.mid")
    assert np.isnan(mid[2:]).all() and (mid[:2, :19] == 1).all() and mid[0, 19] > 50 and mid[1, 40] < 0.5


def test_the_ratio_is_of_seeds_whose_twin_runs() -> None:
    config = poked()
    _, records = advance(config, start(config), config.steps)
    for row, first in ((1, 30), (4, 50)):  # a seed of the racer, a seed of the twin
        records.probes["step"][first:, row] = np.nan
        records.stopped[row], records.reason[row] = first + 1, 1
    mid, low, high = (
        field(config, piece(config, records).tracks, "probe", f"ratio.{part}")[0] for part in ("mid", "lo", "hi")
    )
    assert np.isfinite(mid).all() and (high[30:50] == np.float32(HUGE)).all() and (low > 0).all()
    assert (high[50:] < HUGE).all(), "the seed whose twin has diverged says nothing any more"
    records.probes["step"][55:, 3:6] = np.nan  # and now every seed of the twin
    mid = field(config, piece(config, records).tracks, "probe", "ratio.mid")[0]
    assert np.isfinite(mid[:55]).all() and np.isnan(mid[55:]).all()


def test_charts_of_a_spike_are_there_where_there_is_one() -> None:
    def offered(config: Config) -> list[str]:
        return [chart["id"] for chart in describe(config)["charts"] if chart["id"] in {each.id for each in CARRIED}]

    first = [edit(step, 0, "set", setting="lr", value=rate) for step, rate in ((0, 0.1), (1, 0.001))]
    plain = race("digits", [racer("adam")] * 2, steps=60)
    assert offered(poked()) == ["ratio", "carried_m", "carried_v"]
    assert offered(replace(plain, edits=tuple(first))) == ["ratio"], "a too large first step"
    assert offered(poked(("adam",))) == ["carried_m", "carried_v"], "there is nobody to compare it with"
    assert offered(plain) == []
    (level,) = next(chart for chart in describe(poked())["charts"] if chart["id"] == "ratio")["levels"]
    assert (level["name"], level["value"]) == ("its twin", 1)


def test_the_closed_form_lies_over_the_meter() -> None:
    config = poked(beta2=0.99)
    told = {chart["id"]: chart.get("reference") for chart in describe(config)["charts"]}
    at = [step for step in track_steps(config)["probe"] if step >= 20]
    for name, size, beta in (("carried_m", 100, 0.9), ("carried_v", 10_000, 0.99)):
        values = told.pop(name)
        assert values["at"] == at and values["label"]
        np.testing.assert_allclose(values["values"], carried(size, beta, np.array(at), 20))
    assert set(told.values()) == {None}


@pytest.mark.parametrize(
    "config",
    [
        poked(("amsgrad", "amsgrad")), poked(("nadam", "nadam")), poked(clip=1.0), poked(("sgd", "sgd")),
        poked(eps=0.1), poked(weight_decay=0.1), poked(("rmsprop",), centered=True),
        poked(("momentum",), dampening=0.9),
        poked(reset=Reset("m", 20)), poked(schedules={"beta1": ("cosine", {})}), poked(("momentum",), momentum=0.0),
        replace(poked(), edits=(*poked().edits, edit(30, 0, "reset", what="v"))),
        replace(poked(), edits=(edit(19, 0, "scale_gradient", factor=9.0, layer="W1"),)),
        replace(poked(), edits=(edit(19, 0, "mislabel"),)),
        replace(poked(), edits=()),
    ],
)  # fmt: skip
def test_where_the_closed_form_does_not_hold_none_is_drawn(config: Config) -> None:
    assert closed(config, 0) is None
    assert not any("reference" in chart for chart in describe(config)["charts"])


def test_the_closed_form_of_a_rule_without_m_is_drawn_over_v_alone() -> None:
    told = {chart["id"]: "reference" in chart for chart in describe(poked(("rmsprop", "rmsprop")))["charts"]}
    assert (told["carried_m"], told["carried_v"]) == (False, True)
    decoupled = closed(poked(("adamw", "adamw"), weight_decay=0.1), 0)
    assert decoupled and not decoupled.steps, "what decays beside the step is part of it"
    found = closed(poked(("momentum", "momentum")), 0)
    assert found and found.step(np.array([20.0]))[0] == pytest.approx(1 + 99 * 0.1 / (1 - 0.9**20))
