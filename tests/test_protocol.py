"""The live protocol and the page around it, without a browser: what it is told, what it answers, what it remembers.

`Session` is a visitor's page in Streamlit's AppTest. `Screen` holds what static/store.js would hold of the messages.
"""

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from core import RULES, TASKS, Config, race, racer, run
from core.config import Choice
from core.optimizers import WRAPPERS, why_not
from tests.pools import InlineRaces, Waiting
from tests.test_scenario import addresses, assert_readable
from ui import limits, worker
from ui.charts import loss_steps
from ui.menu import USUAL
from ui.presets import PRESETS
from ui.races import Races
from ui.scenario import Scenario, default, read, scenario, write
from ui.settings import each_tuned, library_defaults, newcomer, same_rate

APP = Path(__file__).resolve().parent.parent / "app.py"
TRACKS = ("loss", "eval", "probe")
QUICK = scenario(race("moons", [racer("sgd", lr=0.1), racer("adam", lr=0.01)], steps=300, seeds=3))

WRITING = scenario(
    race(("gru", {"embedding": 4, "hidden": 8, "length": 4}), [racer("sgd", lr=0.5), racer("adam", lr=0.01)],
         steps=150, batch=16, seeds=2)
)  # fmt: skip


def no_number(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON: a browser would refuse the message")


class Session:
    """One visitor: a page opened at an address, its widgets, and the component's messages and answers."""

    def __init__(self, address: Mapping[str, str] | None = None) -> None:
        self.app = AppTest.from_file(APP, default_timeout=120)
        self.app.query_params.update(address or {})
        self._checked(self.app.run())

    def _checked(self, app: AppTest) -> AppTest:
        assert not app.exception, app.exception
        return app

    @property
    def _component(self) -> Any:
        (found,) = [element.proto for element in self.app._tree if element.type == "bidi_component"]
        return found

    @property
    def message(self) -> dict[str, Any]:
        """What the component was sent last."""
        found: dict[str, Any] = json.loads(self._component.json, parse_constant=no_number)
        return found

    def tell(self, event: str, value: object) -> dict[str, Any]:
        """The component reports something ("pull", "view"); what it is sent then."""
        states = self.app._tree.get_widget_states()
        name = _make_trigger_id(self._component.id, "events")
        states.widgets.append(WidgetState(id=name, json_trigger_value=json.dumps([{"event": event, "value": value}])))
        self._checked(self.app._run(states))
        return self.message

    def pull(self, have: object, run: str | None = None) -> dict[str, Any]:
        """The component says what it holds."""
        return self.tell("pull", {"run": run or self.message["run"], "have": have, "at": 1})

    def key(self, what: str) -> str:
        """The key of a widget, whose generation a change from outside has raised."""
        tree = [
            *self.app.button,
            *self.app.select_slider,
            *self.app.selectbox,
            *self.app.toggle,
            *self.app.number_input,
            *self.app.pills,
        ]
        (found,) = [w.key for w in tree if w.key and w.key.split(".", 1)[-1] == what and w.key[0].isdigit()]
        return str(found)

    def press(self, what: str) -> dict[str, Any]:
        """A button, by its key without the generation, or a preset by its name."""
        self._checked(self.app.button(key=f"preset.{what}" if what in PRESETS else self.key(what)).click().run())
        return self.message

    def slide(self, what: str, value: Any) -> dict[str, Any]:
        self._checked(self.app.select_slider(key=self.key(what)).set_value(value).run())
        return self.message

    def choose(self, what: str, value: Any) -> dict[str, Any]:
        self._checked(self.app.selectbox(key=self.key(what)).set_value(value).run())
        return self.message

    def wrap(self, what: str, names: list[str]) -> dict[str, Any]:
        """The pills of a racer's wrappers."""
        self._checked(self.app.pills(key=self.key(what)).set_value(names).run())
        return self.message

    def open(self, what: str) -> None:
        """A popover, by its key without the generation."""
        states = self.app._tree.get_widget_states()
        found = {
            block.proto.id for block in _blocks(self.app._tree)
            if block.type == "popover" and block.proto.id.endswith(f".{what}")
        }  # fmt: skip
        (name,) = found
        states.widgets.append(WidgetState(id=name, bool_value=True))
        self._checked(self.app._run(states))

    @property
    def address(self) -> dict[str, str]:
        return {name: value if isinstance(value, str) else value[-1] for name, value in self.app.query_params.items()}

    @property
    def shown(self) -> Scenario:
        """The scenario of the address bar, which must need no correction; what is trained must be this one."""
        found, notes = read(self.address)
        assert notes == []
        assert self.address == write(found)
        assert self.message["run"] == found.config.key()
        return found

    @property
    def warnings(self) -> list[str]:
        return [sentence for element in self.app.warning for sentence in element.value.split("\n\n")]


def _blocks(root: Any) -> Any:
    """Every block of a page's tree."""
    for child in getattr(root, "children", {}).values():
        yield from _blocks(child)
        if hasattr(child, "children"):
            yield child


class Screen:
    """What a browser holds of one race, merged as static/store.js merges it."""

    def __init__(self) -> None:
        self.run = ""
        self.race: dict[str, Any] = {}

    def take(self, message: dict[str, Any]) -> None:
        if "race" in message:
            if message["run"] != self.run:
                self.values: dict[str, list[np.ndarray]] = {name: [] for name in TRACKS}
                self.held = dict.fromkeys(TRACKS, 0)
                self.verdicts: list[dict[str, Any]] = []
                self.texts: list[dict[str, Any]] = []
            self.run, self.race = message["run"], message["race"]
        assert message["run"] == self.run, "a race is introduced before its samples come"
        for block in message["blocks"]:
            name, first, last = block["track"], block["from"], block["to"]
            track, racers = self.race["tracks"][name], len(self.race["racers"])
            rough = np.isin(track["fields"], track["coarse"])
            values = np.empty((racers, len(rough), last - first), dtype=np.float32)
            exact = np.frombuffer(base64.b64decode(block["b64"]), dtype="<f4")
            halves = np.frombuffer(base64.b64decode(block["coarse"]), dtype="<u2").astype(np.uint32) << 16
            values[:, ~rough] = exact.reshape(racers, -1, last - first)
            values[:, rough] = halves.view(np.float32).reshape(racers, -1, last - first)
            if first <= self.held[name] < last:
                self.values[name].append(values[:, :, self.held[name] - first :])
                self.held[name] = last
        self.verdicts = _continued(self.verdicts, message["verdicts"])
        self.texts = _continued(self.texts, message["texts"])
        self.last = message

    @property
    def have(self) -> dict[str, int]:
        return {**self.held, "verdict": len(self.verdicts), "text": len(self.texts)}

    @property
    def complete(self) -> bool:
        counts = {name: track["at"]["count"] for name, track in self.race["tracks"].items()}
        return bool(self.last["trained"] == self.race["steps"] and self.held == counts)

    def line(self, track: str, field: str) -> np.ndarray:
        """`[racers, samples]`."""
        joined = np.concatenate(self.values[track], axis=2)
        return np.asarray(joined[:, self.race["tracks"][track]["fields"].index(field)])


def _continued(held: list[dict[str, Any]], told: dict[str, Any]) -> list[dict[str, Any]]:
    """What is held, with what a message tells of it from some place on; nothing past a gap, and none taken away."""
    first, items = told["from"], told["items"]
    return held[:first] + items if first <= len(held) < first + len(items) else held


def watch(session: Session, screen: Screen) -> None:
    """Pull until all is held."""
    screen.take(session.message)
    for _ in range(500):
        if screen.complete:
            return
        screen.take(session.pull(screen.have))
    raise AssertionError("the race never ends")


def assert_is_the_cores(screen: Screen, config: Config) -> None:
    """What was sent is what `core.run` gives: the median of each seed group as float32, its band to within 0.4%."""
    history = run(config)
    sources = {
        ("loss", ""): history.smooth[np.asarray(loss_steps(config)) - 1],
        ("eval", "train_loss."): history.evals["train_loss"],
        ("probe", "grad."): history.probes["gradient"],
    }
    if "validation_accuracy" in history.evals:
        sources["eval", "val_acc."] = history.evals["validation_accuracy"]
    for (track, name), values in sources.items():
        for part, reduce in (("mid", np.median), ("lo", np.min), ("hi", np.max)):
            expected = reduce(values, axis=-1).T.astype(np.float32)
            sent = screen.line(track, name + part)
            np.testing.assert_allclose(sent, expected, rtol=0 if part == "mid" else 2**-8, err_msg=name + part)
    assert [verdict["step"] for verdict in screen.verdicts] == [int(step) for step in history.evals_at]
    assert [(told["step"], tuple(told["texts"])) for told in screen.texts] == list(
        zip(history.texts_at, history.texts, strict=True)
    )


def use(monkeypatch: pytest.MonkeyPatch, pool: Races) -> Races:
    monkeypatch.setattr("ui.live.races", lambda: pool)
    return pool


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Races:
    """A server whose slices are done at once."""
    return use(monkeypatch, InlineRaces())


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """A server that trains nothing unless the test says so, and whose pages do not wait for it."""
    monkeypatch.setattr(limits, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(Races.wait, "__defaults__", (0.0,))
    pool = Waiting()
    use(monkeypatch, pool)
    return pool


# --- messages and acknowledgements


def test_the_first_message_introduces_the_race_and_begins_with_its_first_sample(inline: Races) -> None:
    session = Session(write(QUICK))
    message = session.message
    assert message["run"] == QUICK.config.key()
    assert message["race"]["steps"] == 300 and [r["label"] for r in message["race"]["racers"]] == ["SGD", "Adam"]
    assert {block["track"]: block["from"] for block in message["blocks"]} == dict.fromkeys(TRACKS, 0)
    assert all(block["to"] > 0 for block in message["blocks"]) and message["trained"] > 0
    assert message["verdicts"]["from"] == 0 and message["verdicts"]["items"][0]["step"] == 0
    assert message["problem"] is None


def test_an_acknowledgement_brings_the_following_samples_only(inline: Races, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLICE_SECONDS", "LONE_SLICE_SECONDS"):
        monkeypatch.setattr(limits, name, 0.005)
    session, screen = Session(write(QUICK)), Screen()
    screen.take(session.message)
    for _ in range(3):
        have = screen.have
        message = session.pull(have)
        assert "race" not in message
        assert all(block["from"] == have[block["track"]] < block["to"] for block in message["blocks"])
        assert message["verdicts"]["from"] == have["verdict"] and message["texts"]["from"] == have["text"]
        assert "loss" in [block["track"] for block in message["blocks"]] and message["trained"] > 0
        screen.take(message)


def test_what_is_held_is_not_sent_again(inline: Races) -> None:
    session, screen = Session(write(QUICK)), Screen()
    watch(session, screen)
    message = session.pull(screen.have)
    assert message["blocks"] == message["verdicts"]["items"] == message["texts"]["items"] == []
    assert message["trained"] == 300


@pytest.mark.parametrize(
    "have",
    [
        {"have": "x"}, None, {}, [], "loss", 7, {"loss": "x"}, {"loss": None}, {"loss": -5}, {"loss": 1.5},
        {"loss": True},
        {"loss": []}, {"loss": 301, "eval": 0, "probe": 0, "verdict": 0}, dict.fromkeys((*TRACKS, "verdict"), 10**30),
        {"eval": 10**6}, {"verdict": 10**6}, {"text": 10**6}, {"<script>": 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_acknowledgement_without_sense_gets_a_full_message(inline: Races, have: object) -> None:
    session, screen = Session(write(QUICK)), Screen()
    message = session.pull(have)
    assert "race" in message
    assert {block["track"]: block["from"] for block in message["blocks"]} == dict.fromkeys(TRACKS, 0)
    assert message["verdicts"]["from"] == 0
    screen.take(message)
    watch(session, screen)


@pytest.mark.parametrize("pull", [None, "x", 5, [], [1], {}, {"run": 3}, {"run": None, "have": None}], ids=str)
def test_a_pull_of_any_shape_is_answered(inline: Races, pull: object) -> None:
    session = Session(write(QUICK))
    message = session.tell("pull", pull)
    assert "race" in message and message["blocks"][0]["from"] == 0


def test_an_acknowledgement_of_another_race_gets_a_full_message(inline: Races) -> None:
    """It was under way while the slider moved."""
    session, screen = Session(write(QUICK)), Screen()
    screen.take(session.message)
    old, have = screen.run, screen.have
    session.slide("r0.lr", 0.2)
    message = session.pull(have, run=old)
    assert message["run"] != old and "race" in message and message["blocks"][0]["from"] == 0


@pytest.mark.parametrize("race_shown", [QUICK, WRITING], ids=["classes", "texts"])
@pytest.mark.parametrize("seed", range(2))
def test_all_messages_together_are_the_race_whatever_is_acknowledged(
    inline: Races, monkeypatch: pytest.MonkeyPatch, seed: int, race_shown: Scenario
) -> None:
    """Messages are lost, come twice or are overtaken; answers are old, wrong or nonsense."""
    for name in ("SLICE_SECONDS", "LONE_SLICE_SECONDS", "FIRST_SLICE_SECONDS"):
        monkeypatch.setattr(limits, name, 0.0)  # the smallest slices, always the same ones
    chance, shown = random.Random(seed), race_shown.with_config(replace(race_shown.config, steps=120))
    session, screen, seen = Session(write(shown)), Screen(), []
    screen.take(session.message)
    for _ in range(400):
        if screen.complete:
            break
        have: object = screen.have
        mood = chance.random()
        if mood < 0.1:
            have = {name: chance.randrange(count + 1) for name, count in screen.have.items()}
        elif mood < 0.2:
            have = chance.choice([None, {}, {"loss": -1}, {"loss": 10**9}])
        message = session.pull(have)
        seen.append(message)
        if chance.random() < 0.25:
            continue  # lost
        for taken in [message] + [chance.choice(seen)] * (chance.random() < 0.3):
            screen.take(taken)
    screen.take(session.pull(screen.have))
    assert screen.complete and len(seen) > 15
    assert_is_the_cores(screen, shown.config)


def test_a_race_trained_by_workers_arrives_as_the_core_trains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = use(monkeypatch, Races(workers=1))
    try:
        session, screen = Session(), Screen()
        watch(session, screen)
    finally:
        pool.close()
    assert screen.run == default().config.key()
    assert_is_the_cores(screen, default().config)
    # In the end the tests of all racers are told.
    assert set(screen.last["tests"]) == {"r0", "r1", "r2"}
    assert all(text.endswith("%") for text in screen.last["tests"].values())


def test_two_visitors_of_one_link_share_one_training(idle: Waiting) -> None:
    one, other = Session(write(QUICK)), Session(write(QUICK))
    assert len(idle.queue) == 1
    idle.work()
    assert one.pull({})["trained"] == other.pull({})["trained"] > 0


def test_a_page_that_has_no_samples_yet_is_introduced_and_served_later(idle: Waiting) -> None:
    session = Session(write(QUICK))
    assert session.message["blocks"] == [] and session.message["trained"] == 0 and "race" in session.message
    idle.work()
    message = session.pull(dict.fromkeys((*TRACKS, "verdict"), 0))
    assert "race" in message and message["trained"] > 0 and len(message["blocks"]) == 3


def test_a_race_that_cannot_be_trained_is_a_sentence_and_another_one_goes_on(
    inline: Races, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> NoReturn:
        raise RuntimeError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr("ui.worker.train", broken)
        session = Session(write(QUICK))
        problem = session.message["problem"]
    assert problem.endswith(".") and "secret" not in problem
    message = session.slide("r0.lr", 0.2)
    assert message["problem"] is None and message["trained"] > 0


def test_a_browser_that_holds_more_than_a_dropped_race_waits_for_it(inline: Races) -> None:
    """The server forgot the race: it is trained again, and nothing that is held is sent twice."""
    session, screen = Session(write(QUICK)), Screen()
    watch(session, screen)
    have = screen.have | {"loss": screen.have["loss"] - 5}
    inline._races.clear()
    for _ in range(500):
        message = session.pull(have)
        assert "race" not in message and all(block["from"] >= have[block["track"]] for block in message["blocks"])
        if message["blocks"]:
            break
    assert message["blocks"][0]["from"] == have["loss"]


# --- the view


def test_the_view_is_kept_in_the_address(inline: Races) -> None:
    session = Session(write(QUICK))
    message = session.tell("view", {"chart": "m", "x": "evaluations", "speed": "max"})
    assert message["view"] == {"chart": "m", "x": "evaluations", "speed": "max"}
    view = session.shown.view
    assert (view.chart, view.x, view.speed) == ("m", "evaluations", "max")
    assert session.message["run"] == QUICK.config.key(), "it is the same race"


@pytest.mark.parametrize(
    "view", [None, "x", [], {}, {"chart": "nope", "x": "steps", "speed": "1"}, {"chart": "m", "x": 3, "speed": "1"},
             {"chart": "m", "x": "steps", "speed": ["1"]}], ids=str,
)  # fmt: skip
def test_a_view_without_sense_changes_nothing(inline: Races, view: object) -> None:
    session = Session(write(QUICK))
    session.tell("view", view)
    assert session.shown == QUICK


def test_the_seconds_of_a_step_are_told_when_they_are_measured(idle: Waiting) -> None:
    session = Session(write(QUICK) | {"x": "seconds"})
    assert session.message["seconds"] is None
    assert [function for _, function, _ in idle.queue].count(worker.seconds_per_step) == 1
    session.pull({})
    assert [function for _, function, _ in idle.queue].count(worker.seconds_per_step) == 1
    while idle.queue:
        idle.work()
    seconds = session.pull({})["seconds"]
    assert set(seconds) == {"r0", "r1"} and all(value > 0 for value in seconds.values())


# --- what the widgets do


def test_a_moved_slider_is_another_race_at_once(inline: Races) -> None:
    session = Session(write(QUICK))
    before = session.message["run"]
    message = session.slide("r0.lr", 0.2)
    assert message["run"] != before and "race" in message
    assert [block["from"] for block in message["blocks"]] == [0, 0, 0] and message["trained"] > 0
    assert [r.get("lr") for r in session.shown.config.racers] == [0.2, 0.01]


def test_a_moved_slider_takes_back_the_old_races_slice(idle: Waiting) -> None:
    session = Session(write(QUICK))
    (old,) = [future for future, _, _ in idle.queue]
    session.slide("r0.lr", 0.2)
    assert old.cancelled()
    assert [future.cancelled() for future, _, _ in idle.queue] == [True, False]


def test_a_slider_moved_back_finds_its_race_as_it_was(inline: Races) -> None:
    session, screen = Session(write(QUICK)), Screen()
    watch(session, screen)
    session.slide("r0.lr", 0.2)
    message = session.slide("r0.lr", 0.1)
    assert message["run"] == screen.run and message["trained"] == 300
    again = Screen()
    again.take(message)
    assert again.complete


def test_a_rate_between_two_stops_can_be_left_for_either(inline: Races) -> None:
    """What reads the same is another stop all the same."""
    session = Session(write(scenario(QUICK.config)) | {"r0.lr": "0.3000001"})
    slider = session.app.select_slider(key=session.key("r0.lr"))
    assert len(set(slider.options)) == len(slider.options)
    session.slide("r0.lr", 0.3)
    assert session.shown.config.racers[0].get("lr") == 0.3


@pytest.mark.parametrize(
    ("button", "make"), [("same rate", same_rate), ("library defaults", library_defaults), ("each tuned", each_tuned)]
)
def test_the_three_questions(idle: Waiting, button: str, make: Any) -> None:
    session = Session(
        write(scenario(race("digits", [racer("sgd", lr=0.05), racer("adam", lr=0.02), racer("adagrad")], seeds=2)))
    )
    before = session.shown.config
    message = session.press(button)
    assert session.shown.config == make(before) != before
    assert message["run"] == make(before).key()
    slider = session.app.select_slider(key=session.key("r0.lr"))
    assert slider.value == make(before).racers[0].get("lr"), "the widgets show what is raced"


@pytest.mark.parametrize("change", [{"task.width": "64"}, {"steps": "999"}, {"batch": "16"}], ids=str)
def test_each_tuned_cannot_be_asked_of_a_setting_that_was_not_tuned(idle: Waiting, change: dict[str, str]) -> None:
    usual = write(default())
    session = Session(usual)
    assert not session.app.button(key=session.key("each tuned")).disabled
    session = Session(usual | change)
    assert session.app.button(key=session.key("each tuned")).disabled
    assert not session.app.button(key=session.key("library defaults")).disabled


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_it_says(idle: Waiting, name: str) -> None:
    session = Session(write(QUICK))
    session.press(name)
    assert session.shown == PRESETS[name].make()
    texts = [element.value for element in (*session.app.caption, *session.app.markdown)]
    assert any(PRESETS[name].sentence in text for text in texts)


def test_racers_are_added_up_to_eight_and_keep_their_colours(idle: Waiting) -> None:
    session = Session(write(scenario(race("quadratic", [racer("adam")], seeds=1))))
    for count in range(2, limits.RACERS + 1):
        message = session.press("add")
        assert len(message["race"]["racers"]) == count == len(session.shown.slots)
    assert {r.rule for r in session.shown.config.racers} == set(USUAL), "the usual ones, each once"
    assert session.shown.config.racers[0].rule == "adam"
    assert "add" not in [str(button.key).split(".", 1)[-1] for button in session.app.button]


def test_a_racer_is_duplicated_changed_and_removed(idle: Waiting) -> None:
    session = Session(write(QUICK))
    session.open("r0.more")
    session.press("r0.duplicate")
    shown = session.shown
    assert shown.slots == (0, 1, 2) and shown.config.racers[2] == shown.config.racers[0]
    labels = [r["label"] for r in session.message["race"]["racers"]]
    assert len(set(labels)) == 3
    session.open("r1.more")
    session.press("r1.remove")
    assert session.shown.slots == (0, 2), "the others keep their colours"
    assert [r["color"] for r in session.message["race"]["racers"]] == [0, 2]
    session.open("r0.more")
    session.press("r0.defaults")
    assert session.shown.config.racers[0] == racer("sgd")


def test_the_last_racer_cannot_be_removed(idle: Waiting) -> None:
    session = Session(write(scenario(race("quadratic", [racer("adam")], seeds=1))))
    session.open("r0.more")
    assert session.app.button(key=session.key("r0.remove")).disabled


def test_another_optimizer_comes_at_its_tuned_rate(idle: Waiting) -> None:
    session = Session()
    session.choose("r0.rule", "rmsprop")
    tuned = each_tuned(race("digits", [racer("rmsprop")]))
    assert tuned is not None and session.shown.config.racers[0] == tuned.racers[0]


def test_wrappers_are_put_around_a_racer_and_taken_away(idle: Waiting) -> None:
    session = Session(write(QUICK))
    session.open("r1.more")
    message = session.wrap("r1.wrapped", ["sam"])
    assert session.shown.config.racers[1] == racer("adam+sam", lr=0.01)
    assert [r["label"] for r in message["race"]["racers"]] == ["SGD", "Adam + SAM"]
    session.slide("r1.sam_rho", 0.2)
    session.wrap("r1.wrapped", ["sam", "lookahead"])
    assert session.shown.config.racers[1] == racer("adam+sam+lookahead", lr=0.01, sam_rho=0.2)
    session.choose("r1.rule+sam+lookahead", "sgd")
    tuned = newcomer(QUICK.config, "sgd").get("lr")
    assert session.shown.config.racers[1] == racer("sgd+sam+lookahead", lr=tuned, sam_rho=0.2)
    session.open("r1.more")
    session.wrap("r1.wrapped", [])
    assert session.shown.config.racers[1] == racer("sgd", lr=tuned)


def test_a_wrapper_may_be_chosen_in_the_menu(idle: Waiting) -> None:
    session = Session(write(QUICK))
    session.choose("r1.rule", "adam+sam")
    assert session.shown.config.racers[1] == racer("adam+sam", lr=0.01)


def test_wrappers_that_do_not_go_together_are_refused_in_a_sentence(idle: Waiting) -> None:
    averaging = [name for name, wrapper in WRAPPERS.items() if wrapper.eval_params]
    session = Session(write(QUICK))
    session.open("r1.more")
    session.wrap("r1.wrapped", averaging[:1])
    before = session.shown
    session.wrap("r1.wrapped", averaging[:2])
    assert session.warnings == [why_not(RULES["adam"], tuple(averaging[:2]))] and session.shown == before
    session.open("r1.more")
    assert session.app.pills(key=session.key("r1.wrapped")).value == averaging[:1], "the pills show what is raced"


def test_steps_that_cost_differently_offer_the_axis_that_is_fair(idle: Waiting) -> None:
    session = Session(write(QUICK))
    assert "evaluations" not in [button.key for button in session.app.button]
    session.choose("r1.rule", "adam+sam")
    assert "A step of Adam + SAM takes 2 gradients, one of SGD takes 1." in [c.value for c in session.app.caption]
    run = session.message["run"]
    session.app.button(key="evaluations").click().run()
    assert session.message["view"]["x"] == session.shown.view.x == "evaluations" and session.message["run"] == run
    assert "evaluations" not in [button.key for button in session.app.button]


def test_schedule_and_resets_are_set_and_unset(idle: Waiting) -> None:
    session = Session(write(QUICK))
    session.open("r1.plan")
    session.choose("r1.schedule", "step")
    assert session.shown.config.racers[1].schedule.name == "step"
    plans = [element.value for element in session.app.markdown if "dl-plan" in element.value]
    assert ["data-now" in plan for plan in plans] == [False, True], "only a rate that moves has a curve"
    assert "remembers nothing" in plans[0] and "remembers 2 numbers a weight" in plans[1]
    session.slide("r1.schedule.factor", 0.5)
    session.choose("r1.reset", "v")
    contender = session.shown.config.racers[1]
    assert contender.schedule.get("factor") == 0.5 and contender.reset.what == "v" and contender.reset.every == 0
    session.choose("r1.reset_when", 300)
    assert session.shown.config.racers[1].reset.every == 300
    session.choose("r1.schedule", "constant")
    session.choose("r1.reset", "nothing")
    assert session.shown.config.racers[1] == QUICK.config.racers[1]


@pytest.mark.parametrize("task", TASKS)
def test_another_problem_is_raced_by_the_same_rules_each_tuned_for_it(idle: Waiting, task: str) -> None:
    session = Session()
    if task != "digits":
        session.choose("task", task)
    config = session.shown.config
    assert isinstance(config.task, Choice) and config.task.name == task
    assert [r.rule for r in config.racers] == [r.rule for r in default().config.racers]
    assert config == each_tuned(config)


def test_what_all_share_is_changed_for_all(idle: Waiting) -> None:
    session = Session(write(scenario(race("moons", [racer("sgd", lr=0.1), racer("adam", lr=0.7)], seeds=2))))
    session.choose("steps", 300)
    session.choose("batch", 16)
    session.choose("seeds", 5)
    config = session.shown.config
    assert (config.steps, config.batch, config.seeds) == (300, 16, (0, 1, 2, 3, 4))
    assert [r.get("lr") for r in config.racers] == [0.1, 0.7], "rates of one's own stay"


def test_all_of_the_data_is_the_last_entry_of_the_batch_menu(idle: Waiting) -> None:
    """What needs it is refused before, in a sentence that says what to choose; and it stays all on another problem."""
    session = Session(write(scenario(race("digits", [racer("sgd", lr=0.1)], seeds=1))))
    assert session.app.selectbox(key=session.key("batch")).options[-2:] == ["256", "all (1,077)"]
    session.choose("r0.rule", "lbfgs")
    (sentence,) = session.warnings
    assert "batch must be 1077" in sentence and session.shown.config.racers[0].rule == "sgd"
    session.choose("batch", 1077)
    session.choose("r0.rule", "lbfgs")
    assert session.warnings == [] and session.shown.config.racers[0] == racer("lbfgs")
    session.choose("batch", 32)
    assert len(session.warnings) == 1 and session.shown.config.batch == 1077
    session.choose("task", "quadratic")
    session.choose("task", "moons")
    assert session.warnings == [] and session.shown.config.batch == 600
    assert session.app.selectbox(key=session.key("batch")).value == 600


# --- the address


def test_the_address_follows_every_change_and_leads_back_to_the_same_page(inline: Races) -> None:
    session, seen = Session(write(QUICK)), []
    for change in (
        lambda: session.slide("r0.lr", 0.5),
        lambda: session.choose("r1.rule", "momentum"),
        lambda: session.press("add"),
        lambda: session.tell("view", {"chart": "grad", "x": "steps", "speed": "0.25"}),
        lambda: session.press("same rate"),
    ):
        change()
        seen.append(session.shown)  # which compares the address with what is shown
        again = Session(session.address)
        assert (again.shown, again.warnings) == (session.shown, [])
        assert again.message["run"] == session.message["run"]
        assert again.message["race"] == session.pull({})["race"]
        assert again.message["view"] == session.message["view"]
    assert len({write(shown)["r0.lr"] for shown in seen}) == 1 and len(set(map(repr, seen))) == len(seen)


def test_an_address_typed_into_an_open_page_is_read(idle: Waiting) -> None:
    session = Session(write(QUICK))
    session.app.query_params.clear()
    session.app.query_params.update(write(default()))
    session.app.run()
    assert session.shown == default()


def test_the_bare_address_is_written_out(idle: Waiting) -> None:
    session = Session()
    assert session.address == write(default()) and session.warnings == []


# --- bad input, all by address


@pytest.mark.parametrize(
    ("bad", "about"),
    [
        ({"r0.lr": "0"}, "Learning rate"),
        ({"r0.lr": "-1"}, "Learning rate"),
        ({"r0.lr": "NaN"}, "Learning rate"),
        ({"r0.lr": "1e6"}, "Learning rate"),
        ({"r0.lr": "fast"}, "Learning rate"),
        ({"r0": "warp"}, "optimizer"),
        ({f"r{slot}": "adam" for slot in range(400)}, "8 racers"),
        ({f"r{slot}": "adam" for slot in range(500)} | {f"x{i}": "y" * 90 for i in range(50)}, "too long"),
        ({"steps": "1000000"}, "Steps"),
        ({"steps": "many"}, "Steps"),
        ({"batch": "0"}, "Batch"),
        ({"seeds": "500"}, "Seeds"),
        ({"task": "<script>alert(1)</script>"}, "problem"),
        ({"r0": "<img src=x onerror=alert(1)>"}, "optimizer"),
        ({"r0.schedule": "tabulated"}, "schedule"),
        ({"chart": "$\\infty$"}, "chart"),
        ({"v": "99"}, "version"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_is_one_readable_sentence_on_the_page(idle: Waiting, bad: dict[str, str], about: str) -> None:
    session = Session({"v": "1", "task": "quadratic", "r0": "sgd"} | bad)
    (sentence,) = session.warnings
    assert about in sentence
    assert_readable([sentence])
    shown = session.shown  # of the address, which now is a proper one
    assert len(shown.config.racers) <= limits.RACERS and shown.config.steps <= limits.STEPS
    (config,) = {args[0] for _, _, args in idle.queue}
    assert config == shown.config, "and this is all that was asked of the workers"
    session.slide("r0.lr", 0.25)
    assert session.warnings == [], "the next change takes the sentence away"


@settings(
    deadline=None, derandomize=True, max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(addresses)
def test_any_address_whatever_gives_a_page(idle: Waiting, address: Mapping[str, str]) -> None:
    # AppTest makes a query string of it, which cannot hold half a character.
    sent = {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in address.items()
        if name not in ("embed", "embed_options")  # are Streamlit's own
    }
    session = Session(sent)
    assert_readable(session.warnings)
    assert session.message["run"] == session.shown.config.key()


def test_a_strangers_parameter_is_dropped(idle: Waiting) -> None:
    session = Session(write(QUICK) | {"utm_source": "mail"})
    assert session.shown.config == QUICK.config
