"""The loop: divergence is data, evaluation is rare and never on the test part, memories have ages of their own."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import RULES, Config, History, Recording, Reset, State, advance, edit, from_function, race, racer, run, start
from core.config import RESETS
from core.probes import PROBES, norm
from core.state import LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE
from core.tasks import Batch
from core.tasks.dense import DenseClassifier
from core.train import BLOWN_UP
from tests.strategies import table_rows

ROOT = Path(__file__).resolve().parent.parent


def end_of(config: Config, steps: int | None = None) -> State:
    return advance(config, start(config, torch.float64), config.steps if steps is None else steps)[0]


# Divergence


def test_a_run_whose_loss_is_not_finite_stops_at_its_last_weights() -> None:
    """Each step of SGD at 1 adds 1; the loss is NaN from 3 on, which the fourth step finds."""
    task = from_function(lambda x, step: torch.where(x[:, 0] < 3, -x[:, 0], math.nan), [0.0])
    config = race(task, [racer("momentum", lr=0.001), racer("sgd", lr=1.0)], steps=9)
    state, records = advance(config, start(config, torch.float64), 9)
    history = History.of(config, [records])
    row = table_rows(config)[1, 0]
    assert state.params[row].tolist() == [3]
    assert history.stopped[:, 0].tolist() == [-1, 4]
    assert history.reason[1, 0] == LOSS_NOT_FINITE
    assert history.why_stopped(1, 0) == "stopped at step 4: its loss is not finite"
    assert history.why_stopped(0, 0) == ""
    assert history.loss[:3, 1, 0].tolist() == [0, -1, -2]
    assert np.isnan(history.loss[3:, 1, 0]).all()
    assert state.evaluations[row] == 4
    assert np.isfinite(history.loss[:, 0]).all()


def test_a_run_whose_weights_are_not_finite_stops_before_they_are() -> None:
    """On x^2 / 2 with rates 1e150 and 1e300: from 1 to -1e150, and then beyond a float's range."""
    task = from_function(lambda x, step: x[:, 0] ** 2 / 2, [1.0])
    rates = {"values": [1e150, 1e300]}
    config = race(task, [racer("momentum", schedule=("tabulated", rates)), racer("adam", lr=0.1)], steps=6)
    state, records = advance(config, start(config, torch.float64), 6)
    history = History.of(config, [records])
    assert history.reason[0, 0] == WEIGHTS_NOT_FINITE
    assert history.stopped[:, 0].tolist() == [2, -1]
    assert "weights are not finite" in history.why_stopped(0, 0)
    assert state.params[0].tolist() == [1 - 1e150]
    assert state.slots["momentum"]["m"][0].tolist() == [1], "its memory is that of the last step that counted"
    for values in (*history.probes.values(), *history.evals.values()):
        assert np.isnan(values[2:, 0]).all()
        assert np.isfinite(values[:, 1]).all()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_survives_its_own_divergence(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen is frozen: weights and memories do not change any more, whatever their rule does with NaN."""
    asked = DenseClassifier.loss_and_grad

    def spoilt(task: DenseClassifier, p: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        loss, gradient = asked(task, p, batch)
        return (loss, gradient) if batch.step < 6 else (loss * math.nan, gradient * math.nan)

    monkeypatch.setattr(DenseClassifier, "loss_and_grad", spoilt)
    config = race(("digits", {"width": 4}), [racer(rule, lr=0.01)], steps=12, seeds=2, batch=1077)
    before, records = advance(config, start(config), 10)
    after, rest = advance(config, before, 2)
    assert (records.stopped == 7).all()
    assert torch.isfinite(after.params).all()
    assert torch.equal(after.params, before.params)
    for name, slot in after.slots[rule].items():
        assert torch.equal(slot, before.slots[rule][name])
    assert np.isnan(rest.test["accuracy"]).all()


@pytest.mark.parametrize(("task", "rate", "steps"), [("quadratic", 0.0801, 900), ("moons", 40.0, 200)])
def test_a_blown_up_run_is_marked_and_goes_on(task: str, rate: float, steps: int) -> None:
    """Marked at the first step at which the smoothed loss is above 1.5 times its level; a slow run is not marked."""
    config = race(task, [racer("sgd", lr=rate), racer("sgd", lr=1e-5), racer("sgd", lr=0.02)], steps=steps)
    history = run(config, torch.float64)
    decay, guess = config.build_task().smoothing, config.build_task().guess or 0
    averages, mean = [], 0.0
    for t, loss in enumerate(history.loss[:, 0, 0], start=1):
        mean = decay * mean + (1 - decay) * loss
        averages.append(mean / (1 - decay**t))
    assert history.smooth[:, 0, 0] == pytest.approx(averages, rel=1e-12)
    expected = 1 + int(np.argmax(np.array(averages) > BLOWN_UP * max(guess, history.loss[0, 0, 0])))
    assert 1 < expected < steps
    assert history.blown[:, 0].tolist() == [expected, -1, -1]
    assert (history.stopped == -1).all()
    assert np.isfinite(history.loss).all()


def test_blown_up_is_measured_against_guessing_where_that_is_more() -> None:
    """Digits at a rate of 100 stand far above ln 10; a good start that only rises towards guessing is not marked."""
    config = race("digits", [racer("sgd", lr=100.0), racer("sgd", lr=0.1)], steps=30)
    history = run(config)
    assert 0 < history.blown[0, 0] <= 2
    assert history.blown[1, 0] == -1


def test_a_falling_negative_loss_is_not_blown_up() -> None:
    """-10 that falls to -19 is no explosion, though it is 1.9 times its start; -10 that rises to 0 is one."""
    falling = run(race(from_function(lambda x, step: x[:, 0] - 10, [0.0]), [racer("sgd", lr=0.1)], steps=90))
    rising = run(race(from_function(lambda x, step: -10 + 0 * x[:, 0] + step, [0.0]), [racer("sgd")], steps=90))
    assert falling.blown[0, 0] == -1
    assert rising.blown[0, 0] > 0


# Slices


def test_nothing_happens_beyond_the_end() -> None:
    config = race("moons", [racer("adam")], steps=5)
    state = end_of(config)
    again, records = advance(config, state, 10)
    assert again.step == 5
    assert torch.equal(again.params, state.params)
    assert records.loss.shape == (0, 1)
    assert records.evals_at == ()


def test_steps_must_not_be_negative() -> None:
    config = race("moons", [racer("adam")], steps=5)
    with pytest.raises(ValueError, match="steps is -1, but must be at least 0"):
        advance(config, start(config), -1)


# Evaluation


@given(steps=st.integers(1, 20_000))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_dear_measurements_are_about_60_and_100_a_run(steps: int) -> None:
    """Never the whole run in full, and always its first and its last moment."""
    recording = Recording()
    evaluations = [t for t in range(steps + 1) if recording.evaluate_at(t, steps)]
    probes = [t for t in range(1, steps + 1) if recording.probe_at(t, steps)]
    assert {0, steps} <= set(evaluations)
    assert {1, steps} <= set(probes)
    assert min(steps + 1, 40) <= len(evaluations) <= 92
    assert min(steps, 50) <= len(probes) <= 102


def test_evaluations_come_first_and_last_and_the_test_part_only_at_the_end() -> None:
    config = race("digits", [racer("adam"), racer("sgd")], steps=130, seeds=2)
    state, first = advance(config, start(config), 129)
    assert first.test == {}
    assert not any(name.startswith("test") for name in first.evals)
    final, last = advance(config, state, 1)
    assert set(last.test) == {"loss", "accuracy"}
    history = History.of(config, [first, last])
    assert history.evals_at[[0, -1]].tolist() == [0, 130]
    assert 40 <= len(history.evals_at) <= 92
    parts = {f"{part}_{what}" for part in ("train", "validation") for what in ("loss", "accuracy")}
    assert set(history.evals) == parts
    assert history.evals["train_loss"].shape == (len(history.evals_at), 2, 2)
    found = config.build_task().evaluate(final.params, "test")["loss"]
    assert last.test["loss"] == pytest.approx(found[table_rows(config).flatten()].numpy(), rel=1e-5)


# Memories and their ages


def test_each_memory_has_an_age_of_its_own() -> None:
    """After m is reset at step 10, m's age starts again and v's goes on; another racer's stay as they are."""
    contenders = [racer("rmsprop", momentum=0.9), racer("rmsprop", momentum=0.9)]
    config = race("moons", contenders, steps=20, seeds=2, edits=[edit(10, 0, "reset", what="m")])
    ages = end_of(config, 13).ages["rmsprop"]
    found = {name: age[table_rows(config)[:, 0]].flatten().tolist() for name, age in ages.items()}
    assert found == {"v": [13, 13], "m": [3, 13], "mean": [3, 13]}


@pytest.mark.parametrize("what", ["m", "v", "all"])
def test_a_reset_corrects_the_bias_of_what_it_cleared_and_of_nothing_else(what: str) -> None:
    """Adam in plain numbers, with one step count for each moment: m / (1 - b1^t_m), v / (1 - b2^t_v)."""
    coefficients = np.random.default_rng(0).normal(1, 1, 31)
    task = from_function(lambda x, step: float(coefficients[step]) * x[:, 0], [0.0])
    config = race(task, [racer("adam", lr=0.1, reset=Reset(what, 10))], steps=30)
    w = m = v = 0.0
    tm = tv = 0
    for step, g in enumerate(coefficients[:30]):
        if step in (10, 20):
            m, tm = (0.0, 0) if what in ("m", "all") else (m, tm)
            v, tv = (0.0, 0) if what in ("v", "all") else (v, tv)
        tm, tv = tm + 1, tv + 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * m / (1 - 0.9**tm) / (math.sqrt(v / (1 - 0.999**tv)) + 1e-8)
    assert float(end_of(config).params) == pytest.approx(w, rel=1e-10)


def test_the_first_step_after_a_full_reset_is_the_rate_times_the_sign() -> None:
    """`lr g / (|g| + eps)`, as in the very first step."""
    slope = torch.tensor([1e-9, -0.5, 30.0], dtype=torch.float64)
    task = from_function(lambda x, step: (x @ slope) * (1000 if step == 0 else 1), torch.zeros(3))
    config = race(task, [racer("adam", lr=0.2)], steps=9, edits=[edit(8, 0, "reset", what="all")])
    before = end_of(config, 8)
    moved = before.params[0] - advance(config, before, 1)[0].params[0]
    assert moved == pytest.approx(0.2 * slope / (slope.abs() + 1e-8), rel=1e-9)


@pytest.mark.parametrize("what", RESETS)
@pytest.mark.parametrize("rule", RULES)
def test_a_reset_policy_is_its_edits(rule: str, what: str) -> None:
    """The same bits as the racer without a policy and a reset at each of those steps."""
    steps, every = 20, 6
    policy = race("moons", [racer("sgd"), racer(rule, lr=0.01, reset=Reset(what, every))], steps=steps, batch=600)
    at = [] if what == "nothing" else [6, 12, 18]
    by_hand = race(
        "moons", [racer("sgd"), racer(rule, lr=0.01)], steps=steps, batch=600,
        edits=[edit(step, 1, "reset", what=what) for step in at],
    )  # fmt: skip
    assert list(policy.racers[1].resets(steps)) == at
    assert torch.equal(end_of(policy).params, end_of(by_hand).params)


def test_reset_at_decay_happens_at_the_decays_only() -> None:
    decaying = ("step", {"factor": 0.5, "every": 8})
    config = race("moons", [racer("adam", schedule=decaying, reset=Reset("all"))], steps=20)
    assert config.racers[0].resets(20) == config.racers[0].decays(20) == (8, 16)
    ages = []
    state = start(config)
    for _ in range(20):
        state, _ = advance(config, state, 1)
        ages.append(float(state.ages["adam"]["v"]))
    assert ages == [*range(1, 9), *range(1, 9), *range(1, 5)]
    steady = race("moons", [racer("adam", reset=Reset("all"))], steps=20)
    assert steady.edits_at() == {}
    assert float(end_of(steady).ages["adam"]["v"]) == 20


def test_adagrad_goes_back_to_the_start_it_was_given() -> None:
    contender = racer("adagrad", initial_accumulator_value=0.25)
    config = race("moons", [contender], steps=9, edits=[edit(8, 0, "reset", what="v")])
    assert start(config).slots["adagrad"]["v"].unique().tolist() == [0.25]
    before = end_of(config, 8)
    after = advance(config, before, 1)[0]
    grown = after.slots["adagrad"]["v"] - 0.25
    task = config.build_task()
    _, g = task.loss_and_grad(before.params, task.batch((0,), 8, config.batch, before.params))
    assert torch.allclose(grown, g * g, rtol=1e-9, atol=1e-15)


# Edits


def test_reinitialise_gives_other_first_weights_and_keeps_the_memory() -> None:
    """Another draw of the row's own seed, for that racer's rows alone; the distance is measured from it."""
    config = race(
        "moons", [racer("adam"), racer("adam")], steps=6, seeds=[3, 7], edits=[edit(5, 1, "reinitialise", draw=10)]
    )
    before = end_of(config, 5)
    after, records = advance(config, before, 1)
    rows = table_rows(config)[1]
    fresh = config.build_task().initial([3, 7], before.params, draw=10)
    assert not torch.equal(fresh, before.first_guess[rows])
    assert torch.equal(after.first_guess[rows], fresh)
    assert torch.equal(after.first_guess[table_rows(config)[0]], before.first_guess[table_rows(config)[0]])
    assert (after.ages["adam"]["m"] == 6).all()
    moved = (after.params[rows] - fresh).norm(dim=1)
    assert records.probes["distance"][-1, 2:] == pytest.approx(moved.numpy(), rel=1e-9)
    assert float(moved.max()) < float((after.params[rows] - before.params[rows]).norm(dim=1).min())


def test_a_spike_scales_the_gradient_of_one_step_before_it_is_clipped() -> None:
    """SGD on a slope of 1: 1 + 1 + 50 + 1; clipped to 5 the spike is 5 (as `clip_grad_norm_`, 5 / (50 + 1e-6))."""
    task = from_function(lambda x, step: x[:, 0], [0.0])
    spikes = [edit(2, index, "scale_gradient", factor=50.0) for index in (0, 1)]
    contenders = [racer("sgd", lr=1.0), racer("sgd", lr=1.0, clip=5.0), racer("sgd", lr=1.0)]
    ends = -end_of(race(task, contenders, steps=4, edits=spikes)).params.flatten()
    assert ends.tolist() == pytest.approx([53, 8, 4], rel=1e-6)


def test_probes_are_what_the_step_really_was() -> None:
    """Momentum on a slope of (3, 4), by hand: gradient 5, m doubled less a tenth, distance, and relative update."""
    slope = torch.tensor([3.0, 4.0], dtype=torch.float64)
    config = race(
        from_function(lambda x, step: x @ slope, [1.0, 0.0]),
        [racer("momentum", lr=0.1), racer("adam", lr=0.1)],
        steps=2,
    )
    history = run(config, torch.float64)
    probes = {name: values[:, 0, 0] for name, values in history.probes.items()}
    assert probes["gradient"] == pytest.approx([5, 5])
    assert probes["m"] == pytest.approx([5, 9.5])
    assert probes["distance"] == pytest.approx([0.5, 1.45])
    assert probes["update"] == pytest.approx([0.5, 0.95 / math.hypot(0.7, 0.4)])
    assert np.isnan(probes["root_v"]).all(), "momentum keeps no v"
    assert history.probes["root_v"][:, 1, 0] == pytest.approx([5 * math.sqrt(0.001), 5 * math.sqrt(0.001999)], rel=1e-9)
    assert probes["evaluations"].tolist() == [1, 2]


# Devices


def test_core_names_no_device() -> None:
    """Rules, schedules, edits and tasks never name a device or ask for one; only the trainer's boundary says "cpu"."""
    for path in ROOT.glob("core/**/*.py"):
        strings = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        named = {text for text in strings if text in ("cpu", "cuda", "mps")}
        allowed = {"cpu"} if path.name in ("train.py", "history.py") else set()
        assert named <= allowed, path
        assert ".cuda(" not in path.read_text(), path


def test_cuda_trains_as_the_cpu_does() -> None:
    """In float64, to rounding; every rule, a schedule, resets, a spike, a reinitialisation, and a diverged row."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    contenders = [racer(rule, schedule=("step", {"every": 5}), reset=Reset("all", 7), clip=1.0) for rule in RULES]
    contenders.append(racer("sgd", schedule=("tabulated", {"values": [0.1, 1e308]})))
    edits = [edit(3, 0, "scale_gradient", factor=9.0), edit(4, 1, "reinitialise", draw=1)]
    config = race("digits", contenders, steps=20, seeds=2, batch=1077, edits=edits)
    there, here = run(config, torch.float64, "cuda"), run(config, torch.float64)
    assert np.array_equal(there.stopped, here.stopped)
    assert there.loss == pytest.approx(here.loss, rel=1e-8, nan_ok=True)


def test_an_edit_leaves_a_diverged_row_alone() -> None:
    """Frozen for good means that nothing of it changes: weights, memory and ages."""
    edits = [edit(30, 0, "reinitialise", draw=1), edit(31, 0, "reset", what="all")]
    config = race("quadratic", [racer("momentum", lr=900.0), racer("momentum", lr=0.01)], steps=40, edits=edits)
    frozen, _ = advance(config, start(config), 30)
    after, records = advance(config, frozen, 10)
    assert records.stopped[0] > 0 > records.stopped[1]
    assert torch.equal(after.params[0], frozen.params[0])
    assert torch.equal(after.slots["momentum"]["m"][0], frozen.slots["momentum"]["m"][0])


def test_a_race_in_which_all_have_diverged_goes_on_to_its_end() -> None:
    config = race("quadratic", [racer("sgd", lr=900.0)], steps=60, seeds=2)
    state, records = advance(config, start(config), 60)
    assert state.step == 60 and (records.stopped > 0).all()
    assert np.isnan(records.loss[-1]).all() and records.loss.shape == (60, 2)
    assert records.evals_at[-1] == 60 and records.probes_at[-1] == 60


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_a_dtype_in_which_adam_cannot_count_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"dtype is {dtype}, but must be torch.float32 or torch.float64"):
        start(race("moons", [racer("adam")], steps=5), dtype)


def test_only_the_probes_that_are_asked_for_are_taken() -> None:
    config = race("moons", [racer("adam")], steps=5)
    _, records = advance(config, start(config), 5, Recording(names=("m",)))
    assert set(records.probes) == {"m"}


def test_a_probe_that_is_no_number_a_row_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBES, "layers", lambda look: look.after)
    config = race("moons", [racer("adam")], steps=5)
    with pytest.raises(ValueError, match="The probe 'layers' gave"):
        advance(config, start(config), 5, Recording(names=("layers",)))


def test_what_the_rule_computed_can_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's own m-hat on the first step is the gradient; SGD has none."""
    monkeypatch.setitem(PROBES, "m_hat", lambda look: look.trace("m_hat", norm))
    config = race("moons", [racer("adam"), racer("sgd")], steps=5)
    _, records = advance(config, start(config), 1, Recording(names=("m_hat", "gradient")))
    assert records.probes["m_hat"][0, 0] == pytest.approx(records.probes["gradient"][0, 0], rel=1e-5)
    assert np.isnan(records.probes["m_hat"][0, 1])
