"""A lens on its way to the browser: what travels is what was recorded, in few bytes, and no pull is trusted."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core import TASKS, Config, Recording, advance, edit, race, racer, start
from core.lens import HEAT, NORMS, WATCHED, Lens, decoded, sampled
from tests.pools import InlineRaces, Waiting
from ui import limits, live
from ui.charts import blank, loss_steps, piece, track_fields, track_steps
from ui.extra import Extra
from ui.lens import about, drawing, heat_steps
from ui.live import Held
from ui.races import Races
from ui.scenario import Scenario, View

LENS = Lens((0, 1), (3, 2100), "W1", 0)


def poked(steps: int = 60, seeds: int = 1, at: int = 20) -> Config:
    """Adam with a spike, and its twin."""
    spike = [edit(at, 0, "scale_gradient", factor=100.0)]
    return race("digits", [racer("adam"), racer("adam")], steps=steps, seeds=seeds, edits=spike)


def tracks_of(config: Config, lens: Lens, stops: Sequence[int]) -> dict[str, NDArray[Any]]:
    state, found = start(config), []
    for first, last in pairwise([0, *stops]):
        state, records = advance(config, state, last - first, Extra(lens=lens).recording)
        found.append(piece(config, records, Extra(lens=lens)).tracks)
    return {name: np.concatenate([part[name] for part in found], axis=2) for name in found[0]}


# --- which numbers, at which steps


def test_the_tracks_are_what_the_lens_recorded() -> None:
    config = poked()
    _, records = advance(config, start(config), 60, Recording(lens=LENS))
    found, fields = tracks_of(config, LENS, [60]), track_fields(config, Extra(lens=LENS))
    for name in NORMS:
        for layer in range(4):
            got = found["norms"][:, fields["norms"].index(f"{name}.{layer}")]
            np.testing.assert_array_equal(got, records.lens[name][:, :, layer].T, err_msg=name)
    for place, column in enumerate(LENS.coordinates):
        for name in WATCHED:
            got = found["watch"][:, fields["watch"].index(f"{name}.{column}")]
            np.testing.assert_array_equal(got, records.lens[f"watch.{name}"][:, :, place].T, err_msg=name)
    np.testing.assert_array_equal(found["rate"], records.lens["rate"].transpose(1, 2, 0))
    at = track_steps(config, Extra(lens=LENS))["heat"]
    for index, name in enumerate(HEAT):
        taken = records.lens[f"heat.{name}"][np.isin(records.lens_at, at), 0]
        np.testing.assert_array_equal(found["heat"][index], taken.T)


@pytest.mark.parametrize("lens", [LENS, Lens((0, 1)), Lens((1,), (5,)), Lens((1, 0), (), "b2")])
def test_every_sample_that_is_announced_comes_however_the_race_is_cut(lens: Lens) -> None:
    config, extra = poked(1300), Extra(lens=lens)
    ends = loss_steps(config, extra)
    whole, room = tracks_of(config, lens, [1300]), blank(config, extra)
    cut = tracks_of(config, lens, [ends[0], ends[5], ends[200], ends[201], 1300])
    assert whole.keys() == room.keys() == track_steps(config, extra).keys() == track_fields(config, extra).keys()
    for name, values in whole.items():
        assert (values.shape, values.dtype) == (room[name].shape, room[name].dtype), name
        np.testing.assert_array_equal(values, cut[name], err_msg=name)


def test_of_a_bin_the_largest_gradient_and_step_are_kept_and_the_last_of_the_others() -> None:
    config = poked(1300, at=701)  # bins of 4 steps: 701 … 704
    _, records = advance(config, start(config), 1300, Recording(lens=LENS))
    found, fields = tracks_of(config, LENS, [1300])["watch"], track_fields(config, Extra(lens=LENS))["watch"]
    ends = loss_steps(config, Extra(lens=LENS))
    assert {b - a for a, b in pairwise(ends)} == {4} and 704 in ends
    for end in (4, 704, 1300):
        bin = slice(end - 4, end)
        for name in WATCHED:
            got = found[:, fields.index(f"{name}.2100"), ends.index(end)]
            values = records.lens[f"watch.{name}"][bin, :, 1]
            largest = values[np.abs(values).argmax(axis=0), [0, 1]]
            np.testing.assert_array_equal(got, largest if name in ("g", "step") else values[-1], err_msg=name)
    spike = found[0, fields.index("g.2100"), ends.index(704)]
    assert spike == records.lens["watch.g"][701, 0, 1] != records.lens["watch.g"][703, 0, 1]


def test_a_run_that_ends_within_a_bin_keeps_its_last_gradient_and_is_nan_after_it() -> None:
    config = race("quadratic", [racer("sgd", lr=900.0)], steps=4000)
    lens = Lens((0,), (0,))
    _, records = advance(config, start(config), 4000, Recording(lens=lens))
    stopped, ends = int(records.stopped[0]), loss_steps(config, Extra(lens=lens))
    found = tracks_of(config, lens, [4000])["watch"][0, 0]
    assert stopped % 10 > 1, "else the test shows nothing"
    last = ends.index(-(-stopped // 10) * 10)
    assert np.isfinite(found[: last + 1]).all() and np.isnan(found[last + 1 :]).all()


@given(st.integers(1, limits.STEPS), st.lists(st.integers(0, limits.STEPS - 1), max_size=40))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_heat_maps_are_few_and_lie_where_the_lens_looks(steps: int, at: list[int]) -> None:
    spikes = [edit(step, 0, "scale_gradient", factor=9.0) for step in {step % steps for step in at}]
    config = race("quadratic", [racer("sgd")], steps=steps, edits=spikes)
    found = heat_steps(config)
    assert found == sorted(set(found)) and set(found) <= set(sampled(config))
    assert len(found) == min(limits.HEATS, len(sampled(config)))
    assert found[-1] == steps and found[0] == 1


def test_heat_maps_are_densest_after_a_spike() -> None:
    found = heat_steps(poked(2000, at=499))
    assert 500 in found
    assert sum(500 <= step < 520 for step in found) > 3 * sum(900 <= step < 920 for step in found)


# --- what is said of it


@pytest.mark.parametrize("task", TASKS)
def test_a_drawing_has_every_tensor_once_and_in_order(task: str) -> None:
    built = race(task, [racer("sgd")], steps=5, batch=8).build_task()
    named = [name for part in drawing(built) for name in part["tensors"]]
    assert named == [name for name, _ in built.layout.shapes]
    learned = [layer for layer in built.layers if layer.parameters]
    assert len(drawing(built)) == (len(learned) or len(named))


def test_what_is_said_of_a_lens() -> None:
    config = poked()
    told = json.loads(json.dumps(about(config, LENS, loss_steps(config, Extra(lens=LENS))), allow_nan=False))
    assert [layer["name"] for layer in told["layers"]] == ["W1", "b1", "W2", "b2"]
    assert told["layers"][0] == {"name": "W1", "size": 2048, "shape": [32, 64]}
    assert told["coordinates"] == [{"index": 3, "name": "W1[0, 3]"}, {"index": 2100, "name": "W2[0, 20]"}]
    heat = told["heat"]
    assert (heat["rows"], heat["columns"], heat["block"], heat["shape"]) == (32, 32, [1, 2], [32, 64])
    assert (heat["racer"], heat["first"], told["tracks"]["heat"]["cells"]) == (0, 0, 1024)
    sizes = heat["smallest"] * 10 ** (np.arange(heat["levels"]) * heat["decades"] / (heat["levels"] - 1))
    codes = np.arange(heat["zero"] + 1, heat["zero"] + 1 + heat["levels"]).astype(np.uint8)
    np.testing.assert_allclose(decoded(codes), sizes)
    bare = about(config, Lens((0, 1)), [60])
    assert "heat" not in bare and "heat" not in bare["tracks"]


# --- the live chart


class Page:
    """A page with the live chart, and a browser that holds all it was sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pool: Races, config: Config, lens: Lens):
        self.sent: dict[str, Any] = {}
        self.shown, self.lens, self.held = Scenario(config, (0, 1), View("ratio")), lens, Held()
        self.told: dict[str, Any] = {}
        self.have: dict[str, int] = {}
        monkeypatch.setattr(live, "races", lambda: pool)
        monkeypatch.setattr(live, "viewer", lambda: "")
        monkeypatch.setattr(live, "_component", lambda **given: self.sent.update(given))

    def draw(self, **more: Any) -> dict[str, Any]:
        live.chart("chart", self.shown, lambda: None, lambda: None, self.held, lens=self.lens, **more)
        message: dict[str, Any] = json.loads(json.dumps(self.sent["data"], allow_nan=False))
        return message

    def pull(self) -> dict[str, Any]:
        """Draw, and take in what comes."""
        message = self.draw()
        blocks = message["blocks"] + message["lens"]["blocks"]
        self.have |= {block["track"]: block["to"] for block in blocks}
        pull = {"run": message["run"], "have": self.have, "lens": {"run": message["lens"]["run"], "have": self.have}}
        self.held = Held.told(pull, self.shown.config.key())
        return message


def test_a_browser_gets_all_of_a_lens_once_and_what_it_is_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, InlineRaces(), poked(1000, seeds=2), LENS)
    messages = [page.pull()]
    while any(block for block in (*messages[-1]["blocks"], *messages[-1]["lens"]["blocks"])):
        messages.append(page.pull())
    assert [("about" in message["lens"], "race" in message) for message in messages[1:]] == [(False, False)] * (
        len(messages) - 1
    )
    first = messages[0]["lens"]
    assert [each["id"] for each in first["about"]["racers"]] == ["r0", "r1"] and first["problem"] is None
    narrow, extra = replace(page.shown.config, seeds=(0,)), Extra(lens=LENS)
    race_ = live.races().open(narrow, extra=extra)
    assert race_.complete and first["run"] == race_.key != messages[0]["run"]
    for name in live.SEEN:
        blocks = [block for message in messages for block in message["lens"]["blocks"] if block["track"] == name]
        assert [block["from"] for block in blocks] == [0, *(block["to"] for block in blocks[:-1])]
        assert blocks[-1]["to"] == race_.tracks[name].shape[2]
        for block in blocks:
            data, kept = base64.b64decode(block["b64"]), race_.tracks[name][:, :, block["from"] : block["to"]]
            if name == "heat":
                got = np.frombuffer(data, np.uint8).reshape(kept.shape[2], *kept.shape[:2])
                np.testing.assert_array_equal(got, kept.transpose(2, 0, 1))
            else:
                halves = np.frombuffer(data, "<u2").astype(np.uint32) << 16
                np.testing.assert_allclose(halves.view(np.float32).reshape(kept.shape), kept, rtol=0.004, atol=1e-37)


def test_the_charts_do_not_wait_for_the_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a queue in which nothing is done the charts' slice is the first, and nobody waits for the second."""
    pool, waited = Waiting(), list[Any]()
    monkeypatch.setattr(pool, "wait", lambda race, have, seconds=0.0: waited.append(race.key))
    page = Page(monkeypatch, pool, poked(1000), LENS)
    message = page.draw()
    assert waited == [message["run"]] and message["lens"]["blocks"] == []
    first, second = (args[0] for _, _, args in pool.queue)
    assert (first, second) == (page.shown.config, replace(page.shown.config, seeds=(0,)))


def test_another_lens_trains_its_own_race_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = InlineRaces()
    page = Page(monkeypatch, pool, poked(100), LENS)
    while page.pull()["blocks"]:
        pass
    page.lens = replace(LENS, layer="W2", pictured=1)
    message = page.draw()
    assert message["blocks"] == [] and "race" not in message and message["lens"]["blocks"]
    assert message["lens"]["about"]["heat"]["racer"] == 1
    assert len(pool._races) == 3
    live.leave(page.shown, lens=page.lens)


def test_what_cannot_be_watched_is_a_sentence_and_the_charts_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, InlineRaces(), poked(100), Lens((0, 1), (2410,)))
    message = page.draw()
    assert message["lens"] == {
        "run": "", "blocks": [], "problem": "There is no parameter 2410: there are 2,410, counted from 0.",
    }  # fmt: skip
    assert message["blocks"] and "about" not in message["lens"]


def test_what_the_browser_may_offer_and_where_forks_leave_their_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, InlineRaces(), poked(100), LENS)
    assert "offers" not in page.draw()
    calls = {"pick": lambda: None, "look": lambda: None}
    message = page.draw(on=calls, branches=(None, (0, 30)))
    assert message["offers"] == ["pick", "look"]
    assert page.sent["on_pick_change"] is calls["pick"] and page.sent["on_look_change"] is calls["look"]
    trunk, fork = message["race"]["racers"]
    assert "since" not in trunk and (fork["parent"], fork["since"]) == (0, 30)
    assert message["lens"]["about"]["racers"] == message["race"]["racers"]


def test_a_race_with_curves_has_a_name_of_its_own_and_sends_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, InlineRaces(), poked(100), LENS)
    message = page.draw(extra=Extra(curves=True))
    assert message["run"] == Extra(curves=True).key(page.shown.config) != page.shown.config.key()
    assert {block["track"] for block in message["blocks"]} == set(live.TRACKS)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["run", "have", "lens", "norms", "heat", "loss", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(anything)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_no_pull_is_trusted(pull: Any) -> None:
    """Whatever the browser says, what is held of a race is no more than it has."""
    race_ = InlineRaces().open(poked(30), extra=Extra(lens=LENS))
    for told in (pull, {"run": race_.key, "have": pull, "lens": {"run": race_.key, "have": pull}}, {"lens": pull}):
        held = Held.told(told, race_.key)
        for each in filter(None, (held, held.lens)):
            mine = each.of(race_)
            assert mine.run == race_.key
            assert all(0 <= count <= race_.tracks[name].shape[2] for name, count in mine.counts.items())


def test_a_long_run_of_many_layers_is_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 steps, 6 layers of which one is shown in 1,024 cells, 8 weights, the twin too: all that is sent."""
    spike = [edit(99, 0, "scale_gradient", factor=100.0)]
    config = race("spirals", [racer("adam"), racer("adam")], steps=2000, seeds=5, edits=spike)
    page = Page(monkeypatch, InlineRaces(), config, Lens((0, 1), tuple(range(8)), "W2"))
    assert len(config.build_task().layout.shapes) == 6
    page.pull()
    for found in live.races()._races.values():
        while not found.complete:
            live.races().ask(found)
    page.held = Held()
    message = page.pull()  # what a slower browser gets in many messages, each with a few hundred bytes around it
    assert page.have["heat"] == limits.HEATS and page.have["watch"] == limits.LENS_SAMPLES
    assert page.have["loss"] == limits.LOSS_SAMPLES and "about" in message["lens"]
    assert 300_000 < len(json.dumps(message)) <= 500_000
