"""The lens: what it records is what the steps really were, whatever the slices, and it changes no training."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from core import RULES, Config, History, Recording, State, advance, edit, race, racer, start
from core.chunk import Chunk
from core.lens import (
    CELLS,
    HEAT,
    LAYERS,
    QUANTILES,
    SAMPLE,
    WATCHED,
    Lens,
    chosen,
    coded,
    decoded,
    grid,
    layers,
    quantiles,
    sampled,
)
from core.optimizers.base import TRACES
from core.plan import plan_of
from core.spec import Layout
from core.tasks import TASKS

RULE_NAMES = ("adam", "amsgrad", "momentum", "adafactor", "lion", "muon")
LENS = Lens(tuple(range(len(RULE_NAMES))), (0, 40, 2409), "W2")
COORDINATES = list(LENS.coordinates)
BETA1, BETA2 = 0.9, 0.999


def contest(steps: int = 24, **more: Any) -> Config:
    """All six rules, two seeds, a spike of Adam's and a reset of its v."""
    found = race("digits", [racer(name) for name in RULE_NAMES], steps=steps, seeds=2, **more)
    happens = (edit(5, 0, "scale_gradient", factor=50.0), edit(9, 0, "reset", what="v", count="own"))
    return Config(found.task, found.racers, found.steps, found.batch, found.seeds, happens)


def seen(config: Config, slices: Sequence[int] = (), lens: Lens | None = LENS) -> tuple[History, State]:
    state, records = start(config, torch.float64), []
    for count in slices or (config.steps,):
        state, record = advance(config, state, count, Recording(lens=lens))
        records.append(record)
    return History.of(config, records), state


def states(config: Config) -> list[State]:
    """Every state of the race, by steps of one."""
    found = [start(config, torch.float64)]
    for _ in range(config.steps):
        found.append(advance(config, found[-1], 1)[0])
    return found


def own(state: State, rule: str, slot: str) -> NDArray[np.float64]:
    """The rule's memory on the first seed: each rule of these races has one racer."""
    return state.slots[rule][slot][0].numpy()


def per_layer(layout: Layout, values: NDArray[np.float64]) -> list[float]:
    ends = np.cumsum([0, *layout.sizes])
    return [float(np.sqrt((values[a:b] ** 2).sum())) for a, b in itertools.pairwise(ends)]


@pytest.fixture(scope="module")
def config() -> Config:
    return contest()


@pytest.fixture(scope="module")
def history(config: Config) -> History:
    return seen(config)[0]


@pytest.fixture(scope="module")
def past(config: Config) -> list[State]:
    return states(config)


def rows(config: Config, state: State) -> NDArray[np.float64]:
    """Weights `[racers, P]` on the first seed: racers stand in the table by the order of their rules."""
    order = sorted(range(len(config.racers)), key=lambda index: RULES.place(config.racers[index].rule))
    table = state.params.numpy()[:: len(config.seeds)]
    return table[np.argsort(order)]


def test_steps_and_weights_are_those_of_the_states(config: Config, history: History, past: list[State]) -> None:
    layout = config.build_task().layout
    for index, step in enumerate(history.lens_at):
        moved = rows(config, past[step]) - rows(config, past[step - 1])
        expected = [per_layer(layout, row) for row in moved]
        np.testing.assert_allclose(history.lens["step"][index], expected, rtol=1e-5, atol=1e-12)
    for step in range(config.steps):
        before, after = rows(config, past[step]), rows(config, past[step + 1])
        np.testing.assert_allclose(history.lens["watch.p"][step], after[:, COORDINATES], rtol=1e-6)
        np.testing.assert_allclose(
            history.lens["watch.step"][step], (after - before)[:, COORDINATES], rtol=1e-5, atol=1e-12
        )


@pytest.mark.parametrize("rule", ["adam", "amsgrad", "momentum", "lion", "muon"])
def test_memories_are_those_of_the_states(config: Config, history: History, past: list[State], rule: str) -> None:
    layout, at = config.build_task().layout, RULE_NAMES.index(rule)
    for index, step in enumerate(history.lens_at):
        expected = per_layer(layout, own(past[step], rule, "m"))
        np.testing.assert_allclose(history.lens["m"][index, at], expected, rtol=1e-5)
        if rule in ("adam", "amsgrad"):
            root = np.sqrt(own(past[step], rule, "v"))
            np.testing.assert_allclose(history.lens["v"][index, at], per_layer(layout, root), rtol=1e-5)
        else:
            assert np.isnan(history.lens["v"][index, at]).all()


def test_the_gradient_is_what_the_memory_took_up(config: Config, history: History, past: list[State]) -> None:
    """From the states alone: Adam's `g = (m_t - b1 m_(t-1)) / (1 - b1)`, momentum's `g = m_t - mu m_(t-1)`, Lion's
    with its slow decay; so the spike of step 6 is in it.
    """
    layout = config.build_task().layout
    for rule, kept, share in (("adam", BETA1, 1 - BETA1), ("momentum", 0.9, 1.0), ("lion", 0.99, 0.01)):
        at = RULE_NAMES.index(rule)
        for index, step in enumerate(history.lens_at):
            g = (own(past[step], rule, "m") - kept * own(past[step - 1], rule, "m")) / share
            np.testing.assert_allclose(history.lens["g"][index, at], per_layer(layout, g), rtol=1e-4)
            np.testing.assert_allclose(history.lens["watch.g"][step - 1, at], g[COORDINATES], rtol=1e-4, atol=1e-9)
    spiked = history.lens["g"][list(history.lens_at).index(6), 0] / history.lens["g"][list(history.lens_at).index(5), 0]
    assert (spiked > 10).all()


def test_adams_own_corrections(config: Config, history: History, past: list[State]) -> None:
    """`m_hat = m / (1 - b1^t)`; v's age starts again at its reset in step 10."""
    layout = config.build_task().layout
    for index, step in enumerate(history.lens_at):
        m_hat = own(past[step], "adam", "m") / (1 - BETA1**step)
        age = step if step < 10 else step - 9
        root = np.sqrt(own(past[step], "adam", "v") / (1 - BETA2**age))
        np.testing.assert_allclose(history.lens["m_hat"][index, 0], per_layer(layout, m_hat), rtol=1e-5)
        np.testing.assert_allclose(history.lens["root_v_hat"][index, 0], per_layer(layout, root), rtol=1e-5)
        np.testing.assert_allclose(history.lens["watch.root_v_hat"][step - 1, 0], root[COORDINATES], rtol=1e-5)
        moves = np.intersect1d(np.flatnonzero(m_hat), chosen(layout))
        rate = 0.001 / (root[moves] + 1e-8)
        np.testing.assert_allclose(history.lens["rate"][index, 0], np.quantile(rate, QUANTILES), rtol=1e-5)
        top = np.sqrt(np.maximum.reduce([own(past[s], "amsgrad", "v") for s in range(1, step + 1)]) / (1 - BETA2**step))
        np.testing.assert_allclose(history.lens["root_v_hat"][index, 1], per_layer(layout, top), rtol=1e-5)


def test_rates_of_rules_without_a_corrected_mean_are_for_each_unit_of_gradient() -> None:
    config = race("digits", [racer("sgd", lr=0.3), racer("momentum", lr=0.03)], steps=5)
    history, _ = seen(config, lens=Lens((0, 1)))
    np.testing.assert_allclose(history.lens["rate"][:, 0], 0.3, rtol=1e-6)
    np.testing.assert_allclose(history.lens["rate"][0, 1], 0.03, rtol=1e-6)  # its first step is along the gradient
    assert np.isnan(history.lens["m_hat"]).all() and np.isnan(history.lens["m"][:, 0]).all()


def test_adafactor_has_a_root_and_no_memory_a_weight(history: History, config: Config, past: list[State]) -> None:
    at = RULE_NAMES.index("adafactor")
    for name in ("m", "v", "m_hat"):
        assert np.isnan(history.lens[name][:, at]).all(), name
    # The root of the last layer's biases, which keep all of v.
    bias = past[24].slots["adafactor"]["means"][0, -10:].clamp(min=0).sqrt().numpy()
    np.testing.assert_allclose(history.lens["root_v_hat"][-1, at, -1], np.sqrt((bias**2).sum()), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 7, 1024])
def test_quantiles_are_torchs(count: int, dtype: torch.dtype) -> None:
    """To the bit, over what is not NaN: of all, of some, of one and of none."""
    numbers = torch.rand(2, 20, count, dtype=dtype, generator=torch.Generator().manual_seed(count))
    numbers[0, 2:, ::2] = numbers[1, 3, 1:] = numbers[1, 4] = math.nan
    numbers[1, 5, 0] = math.inf
    levels = torch.tensor(QUANTILES, dtype=dtype)
    found, wanted = quantiles(numbers, levels), torch.nanquantile(numbers, levels, dim=2).movedim(0, 2)
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.nan_to_num(-1), wanted.nan_to_num(-1))


def test_heat_maps_are_the_layers_weights(history: History, config: Config, past: list[State]) -> None:
    layout = config.build_task().layout
    columns, shape = layout.columns("W2"), dict(layout.shapes)["W2"]
    made = grid(shape)
    assert made.block == (1, 1) and made.rows * made.columns == math.prod(shape) <= CELLS
    for index, step in enumerate(history.lens_at):
        for name, exact in (("m", own(past[step], "adam", "m")), ("v", np.sqrt(own(past[step], "adam", "v")))):
            shown, exact = decoded(history.lens[f"heat.{name}"][index, 0]), exact[columns]
            exact = np.where(np.abs(exact) < 1e-12, 0, exact)
            np.testing.assert_allclose(shown, exact, rtol=0.17)
    assert (history.lens["heat.v"][:, RULE_NAMES.index("lion")] == 0).all()


def test_a_large_layer_is_shown_in_blocks() -> None:
    """The first layer of the digits, 64 inputs to 32 units: 2,048 weights in blocks, each their mean size."""
    config = race("digits", [racer("momentum")], steps=1)
    layout = config.build_task().layout
    shape = dict(layout.shapes)["W1"]
    made, state = grid(shape), advance(config, start(config, torch.float64), 1)[0]
    assert math.prod(shape) > CELLS >= made.rows * made.columns and made.block != (1, 1)
    history, _ = seen(config, lens=Lens((0,), layer="W1"))
    matrix = state.slots["momentum"]["m"][0, layout.columns("W1")].numpy().reshape(shape[0], -1)
    tall, wide = made.block
    for cell, shown in enumerate(decoded(history.lens["heat.m"][0, 0])):
        row, column = divmod(cell, made.columns)
        block = matrix[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        size = np.abs(block).mean()
        assert abs(shown) == pytest.approx(size if size >= 1e-12 else 0, rel=0.17)
        assert shown * block.mean() >= 0


def test_codes_keep_sign_and_size() -> None:
    values = torch.tensor([0.0, 1e-13, -1e-12, 3e-5, -0.2, 1.0, -900.0, 1e9, math.nan], dtype=torch.float64)
    expected = [0, 0, -1e-12, 3e-5, -0.2, 1.0, -900.0, 1e4, math.nan]
    np.testing.assert_allclose(decoded(coded(values.abs(), values).numpy()), expected, rtol=0.16)


@pytest.mark.parametrize("slices", [[1] * 24, [7, 0, 3, 14], [23, 1, 5]])
def test_slices_agree(config: Config, history: History, slices: list[int]) -> None:
    cut, _ = seen(config, slices)
    assert np.array_equal(cut.lens_at, history.lens_at) and cut.lens.keys() == history.lens.keys()
    for name, values in history.lens.items():
        assert np.array_equal(values, cut.lens[name], equal_nan=values.dtype.kind == "f"), name


def test_looking_changes_no_training(config: Config, history: History) -> None:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
        return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")

    blind, end = seen(config, lens=None)
    _, watched = seen(config)
    assert blind.lens == {} and not len(blind.lens_at)
    for field in fields(History):
        if field.name not in ("config", "lens", "lens_at"):
            assert same(getattr(blind, field.name), getattr(history, field.name)), field.name
    for field in fields(State):
        assert same(getattr(end, field.name), getattr(watched, field.name)), field.name


def test_its_racers_may_be_any_and_in_any_order(config: Config, history: History) -> None:
    """Spread over several chunks too: 120 rows of the digits are two."""
    few, _ = seen(config, lens=Lens((4, 0), LENS.coordinates, LENS.layer))
    for name, values in few.lens.items():
        assert np.array_equal(values, history.lens[name][:, [4, 0]], equal_nan=values.dtype.kind == "f"), name
    wide = race("digits", [racer("sgd"), racer("adam"), racer("lion")], steps=3, seeds=40)
    alone = race("digits", [racer("lion")], steps=3, seeds=1)
    found, expected = seen(wide, lens=Lens((2, 0), (5,)))[0], seen(alone, lens=Lens((0,), (5,)))[0]
    np.testing.assert_allclose(found.lens["watch.step"][:, 0], expected.lens["watch.step"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.lens["m"][:, 0], expected.lens["m"][:, 0], rtol=1e-5)


def test_a_diverged_run_is_nan_from_then_on() -> None:
    """Its neighbours are not, and a chunk that has come to rest goes on saying so."""
    config = race("quadratic", [racer("sgd", lr=900.0), racer("adam", lr=0.1)], steps=400)
    history, _ = seen(config, lens=Lens((0, 1), (0,)))
    stopped = int(history.stopped[0, 0])
    assert 1 < stopped < 400
    for name in ("g", "step", "rate"):
        dead = np.isnan(history.lens[name][:, 0]).all(axis=-1)
        assert np.array_equal(dead, history.lens_at >= stopped), name
        assert not np.isnan(history.lens[name][:, 1]).any()
    assert np.array_equal(np.isnan(history.lens["watch.p"][:, 0, 0]), np.arange(1, 401) >= stopped)
    lone, _ = seen(race("quadratic", [racer("sgd", lr=900.0)], steps=400), lens=Lens((0,), (0,)))
    assert np.isnan(lone.lens["g"][-1]).all() and np.isnan(lone.lens["watch.p"][-1]).all()


def test_apart_is_the_distance_from_the_twin() -> None:
    """0 to the bit until the spike, from the weights after it; of another rule from its own twin, and NaN without."""
    spikes = (edit(8, 0, "scale_gradient", factor=50.0), edit(8, 1, "scale_gradient", factor=50.0))
    racers = [racer("lion"), racer("adam"), racer("adam"), racer("lion")]
    config = race("digits", racers, steps=20, seeds=2, edits=spikes)
    history, past = seen(config, lens=Lens((1, 0, 3)))[0], states(config)
    layout = config.build_task().layout
    for index, step in enumerate(history.lens_at):
        weights = rows(config, past[step])
        for place, (one, other) in enumerate([(1, 2), (0, 3)]):
            expected = per_layer(layout, weights[one] - weights[other])
            np.testing.assert_allclose(history.lens["apart"][index, place], expected, rtol=1e-5)
        assert (history.lens["apart"][index, :2] > 0).any() == (step > 8)
    assert np.isnan(history.lens["apart"][:, 2]).all()


def test_nobody_is_apart_from_a_twin_that_diverged() -> None:
    spikes = [edit(2, 0, "scale_gradient", factor=1e-3)]
    history, _ = seen(race("quadratic", [racer("sgd", lr=900.0)] * 2, steps=400, edits=spikes), lens=Lens((0, 1)))
    spiked, twin = history.stopped[:, 0]
    assert 1 < twin < spiked, "else the test shows nothing"
    assert np.array_equal(np.isnan(history.lens["apart"][:, 0, 0]), history.lens_at >= twin)


@pytest.mark.parametrize("task", ["lstm", "words", "cnn", "digits"])
def test_eight_rows_are_one_chunk_whatever_the_task(task: str) -> None:
    """So that every racer's twin is in its chunk: four rules, each with its own."""
    rules = ("sgd", "adam", "lion", "muon")
    spikes = [edit(0, 2 * index, "scale_gradient", factor=9.0) for index in range(4)]
    config = race(task, [racer(rule) for rule in rules for _ in range(2)], steps=1, batch=4, edits=spikes)
    assert len(plan_of(config).chunks) == 1
    history, _ = seen(config, lens=Lens(tuple(range(8))))
    assert np.isfinite(history.lens["apart"][:, ::2]).all() and np.isnan(history.lens["apart"][:, 1::2]).all()


def test_of_one_who_is_pictured_alone_the_heat_map_is_kept(config: Config, history: History) -> None:
    for wide, pictured in ((config, 0), (config, 4)):
        one, _ = seen(wide, lens=Lens(LENS.racers, LENS.coordinates, LENS.layer, pictured))
        for name, values in history.lens.items():
            expected = values[:, [pictured]] if name.startswith("heat") else values
            assert np.array_equal(one.lens[name], expected, equal_nan=values.dtype.kind == "f"), name
    large = race("digits", [racer("sgd"), racer("adam"), racer("lion")], steps=3, seeds=40)
    found, alone = (seen(large, lens=Lens(each, (), "W2", 2))[0].lens["heat.m"] for each in ((0, 1, 2), (2,)))
    assert len(plan_of(large).chunks) > 1 and np.array_equal(found, alone)


def test_sampled_steps_are_few_and_dense_after_edits() -> None:
    plain = race("digits", [racer("adam")], steps=2000)
    assert sampled(plain)[0] == 1 and sampled(plain)[-1] == 2000 and len(sampled(plain)) <= 102
    spike = tuple(edit(at, 0, "scale_gradient", factor=9.0) for at in range(300, 350))
    config = Config(plain.task, plain.racers, 2000, plain.batch, plain.seeds, spike)
    added = sorted(set(sampled(config)) - set(sampled(plain)))
    assert set(range(301, 306)) <= set(sampled(config)) and 350 in sampled(config)
    assert min(added) > 300 and len(added) < 80
    often = tuple(edit(at, 0, "scale_gradient", factor=9.0) for at in range(0, 2000, 3))
    assert len(sampled(Config(plain.task, plain.racers, 2000, plain.batch, plain.seeds, often))) < 700


@pytest.mark.parametrize("task", TASKS)
def test_what_is_kept_is_bounded_whatever_the_network(task: str) -> None:
    layout = race(task, [racer("sgd")]).build_task().layout
    found = layers(layout)
    assert len(found) <= LAYERS and sum(size for _, size in found) == layout.width
    for _, shape in layout.shapes:
        made = grid(shape)
        assert made.rows * made.columns <= CELLS


def test_more_than_twelve_tensors_are_twelve_layers() -> None:
    layout = Layout(tuple((f"W{index}", (index + 1, 2)) for index in range(20)))
    found = layers(layout)
    assert len(found) == LAYERS and found[-1] == ("9 more", sum(layout.sizes[11:])) and found[10] == ("W10", 22)


def test_the_weights_whose_rates_are_sorted_are_spread_over_all() -> None:
    """All of a small network; of a large one as many of each half as chance gives, to within 5 standard deviations."""
    assert chosen(Layout((("W", (10, 3)),))).tolist() == list(range(30))
    large = chosen(Layout((("W", (512, 64)),)))
    assert len(large.unique()) == SAMPLE and int(large.max()) < 512 * 64
    for part in (large < 512 * 32, large % 64 < 32, large % 2 == 0):
        assert abs(int(part.sum()) - SAMPLE / 2) < 5 * math.sqrt(SAMPLE) / 2


def test_everything_is_small_and_single_precision(history: History) -> None:
    for name, values in history.lens.items():
        assert values.dtype == (np.uint8 if name.startswith("heat") else np.float32), name
    assert {f"watch.{name}" for name in WATCHED} | {f"heat.{name}" for name in HEAT} <= history.lens.keys()


@pytest.mark.parametrize(
    ("lens", "words"),
    [
        (Lens((6,)), "There is no racer 6: there are 6, counted from 0"),
        (Lens((0,), (2410,)), "There is no parameter 2410: there are 2,410, counted from 0"),
        (Lens((0,), (-1,)), "There is no parameter -1"),
        (Lens((0,), layer="W9"), "There is no layer 'W9'; the network has W1, b1"),
        (Lens((0, 1), pictured=2), "Racer 2 cannot be pictured"),
        (Lens((0,) * 9), "At most 8 racers can be watched, not 9"),
        (Lens((0,), (0,) * 9), "At most 8 parameters can be watched, not 9"),
    ],
)
def test_what_there_is_not_cannot_be_watched(config: Config, lens: Lens, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        advance(config, start(config), 1, Recording(lens=lens))


# ---------------------------------------------------------------- traces, all over the registry


def traced(rule: str, task: str) -> tuple[Layout, dict[str, Tensor]]:
    """The trace of the rule's second step, for two seeds."""
    examples = race(task, [racer("sgd")]).build_task().examples
    batch = examples if examples and RULES[rule].full_batch else 32
    config = race(task, [racer(rule)], steps=2, seeds=2, batch=batch)
    plan = plan_of(config)
    with torch.no_grad():
        chunk = Chunk(plan, start(config), plan.chunks[0], Recording(evaluations=1, probes=1))
        chunk.run(2)
    return plan.task.layout, chunk.blocks[0].trace


@pytest.mark.parametrize("rule", RULES)
def test_every_entry_of_a_trace_has_a_meaning(rule: str) -> None:
    """It is on the closed list, and of the shape that is written there."""
    layout, trace = traced(rule, "digits")
    assert trace.keys() <= TRACES.keys()
    full, column = (2, layout.width), (2, 1)
    allowed = {"[R, P]": [full], "[R, 1]": [column], "[R, 1] or [R, P]": [full, column]}
    for name, table in trace.items():
        assert tuple(table.shape) in allowed[TRACES[name].rsplit(". ", 1)[1]], name


def test_the_design_says_which_rule_has_which() -> None:
    design = (Path(__file__).parent.parent / "docs" / "design.md").read_text()
    means, roots = re.findall(r"`(?:m_hat|root_v_hat)`: ([^.]+)\.", design)
    said_means = set(re.split(r",\s+", means))
    said_roots = said_means - {"adamax"} | set(re.split(r",\s+", roots.split("and ", 1)[1]))
    traces = {rule: traced(rule, "digits")[1] for rule in RULES}
    assert said_means == {rule for rule, trace in traces.items() if "m_hat" in trace}
    assert said_roots == {rule for rule, trace in traces.items() if "root_v_hat" in trace}
