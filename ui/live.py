"""The live chart: the only place where a running training and the browser meet.

One `st.components.v2` component holds the charts and the transport; it draws, and each drawing it acknowledges is a
pull that asks for the next slice. So nothing is sent faster than it can be shown, and a browser that has gone costs
nothing. All that is sent is told by where it lies (race, from, to): a message may be lost, repeated or replaced.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ui.charts import charts_for, coarse, describe, track_fields
from ui.names import labels
from ui.palette import RACERS
from ui.races import Race, Races
from ui.scenario import Scenario

# The component's code is a file of its own, fetched once: what is written here travels in every message.
_LOADER = """let code;
export default async (component) => {
  code ??= import(new URL("app/static/live.js", document.baseURI).href);
  return (await code).default(component);
};
"""
__all__ = ["Held", "chart", "charts_for", "leave", "races"]
_component = st.components.v2.component("descent_lab_live", js=_LOADER, isolate_styles=False)
FULL = "Many races are training here right now; this one starts as soon as there is room."
TRACKS = ("loss", "eval", "probe")
TOLD = ("verdict", "text")
Told = Callable[[Race, Sequence[int]], list[tuple[int, str, str]]]  # headline and detail after each of these steps


@dataclass(frozen=True)
class Held:
    """What a browser holds of a race: samples of each track, verdicts, and texts."""

    run: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def told(pull: object, run: str) -> Held:
        """What an acknowledgement says, as far as it makes sense and speaks of this race."""
        if not isinstance(pull, Mapping) or pull.get("run") != run or not isinstance(pull.get("have"), Mapping):
            return Held(run)
        have = pull["have"]
        return Held(run, {name: have[name] for name in (*TRACKS, *TOLD) if _count(have.get(name))})

    def count(self, name: str) -> int:
        return self.counts.get(name, 0)

    def possible(self, race: Race) -> bool:
        """Whether it is no more than the whole race; one that was dropped and is trained anew may hold less."""
        samples = {name: track.shape[2] for name, track in race.tracks.items()}
        samples |= {"verdict": samples["eval"], "text": race.texts_due}
        return all(count <= samples[name] for name, count in self.counts.items())


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@st.cache_resource(show_spinner=False)
def races() -> Races:
    """The pool and the cache, one for the whole server."""
    return Races()


def chart(
    key: str, shown: Scenario, on_pull: Callable[[], None], on_view: Callable[[], None], held: Held, scene: int = 0,
    names: Sequence[str] = (), told: Told | None = None, forks: bool = False,
) -> None:  # fmt: skip
    """Mount the live chart of a scenario; call it inside a fragment, where an acknowledgement reruns it alone.

    `held` is what the browser said it has. New samples are sent at once; where there are none yet the call waits for
    a slice, briefly. Then the next slice is asked for, so that the pool trains while the browser draws. `scene` tells
    races apart that are not to be drawn as each other's ghosts though they share the problem. `names` are the racers',
    where they are not called by what sets them apart; `told` has other words than the verdict. `forks`: the race
    may be forked, and may be a fork itself (`Races.open`).
    """
    pool = races()
    race = pool.open(shown.config, viewer(), forks)
    run = shown.config.key()
    if held.run != run or not held.possible(race):
        held = Held(run)
    if race.held["loss"] <= held.count("loss") and not race.complete:
        pool.ask(race)
        pool.wait(race, held.count("loss"))
    if shown.view.x == "seconds" and race.seconds is None:
        pool.time(race)
    message = _message(shown, race, run, held, told)
    if not held.count("loss"):
        message["race"] = _race(shown, names or labels(shown.config), scene)
    pool.ask(race)
    _component(key=key, data=message, on_pull_change=on_pull, on_view_change=on_view)


def leave(shown: Scenario) -> None:
    """The page turns to another race: what was asked for this one and has not begun is taken back."""
    races().leave(shown.config, viewer())


def viewer() -> str:
    context = get_script_run_ctx()
    return context.session_id if context else ""


def _message(shown: Scenario, race: Race, run: str, held: Held, told: Told | None) -> dict[str, Any]:
    """What the browser does not hold yet; what never changes in a race goes with its first samples only."""
    ids = [f"r{slot}" for slot in shown.slots]
    trained, counts = race.step, dict(race.held)  # the step first: it is written last
    verdicts, texts = race.verdicts[held.count("verdict") :], race.texts[held.count("text") :]
    if told:
        verdicts = told(race, [step for step, _, _ in verdicts])
    return {
        "run": run,
        "blocks": [
            _block(name, race, held.count(name), counts[name]) for name in TRACKS if counts[name] > held.count(name)
        ],
        "trained": trained,
        "verdicts": {
            "from": held.count("verdict"),
            "items": [{"step": step, "headline": head, "detail": detail} for step, head, detail in verdicts],
        },
        "texts": {
            "from": held.count("text"),
            "items": [{"step": step, "texts": written} for step, written in texts],
        },
        "marks": [asdict(mark) | {"racer": ids[mark.racer]} for mark in race.marks],
        "tests": dict(zip(ids, race.test, strict=False)),
        "seconds": None if race.seconds is None else dict(zip(ids, race.seconds, strict=True)),
        "view": {"chart": shown.view.chart, "x": shown.view.x, "speed": shown.view.speed},
        "problem": race.problem or (FULL if race.waiting else None),
    }


def _race(shown: Scenario, names: Sequence[str], scene: int) -> dict[str, Any]:
    return describe(shown.config) | {
        "generation": _problem(shown, scene),
        "racers": [
            {"id": f"r{slot}", "label": name, "color": slot} for name, slot in zip(names, shown.slots, strict=True)
        ],
        "palette": RACERS,
        "writes": shown.config.build_task().writes,
    }


def _block(name: str, race: Race, first: int, last: int) -> dict[str, Any]:
    """Samples `[racers, fields, first … last - 1]`: the exact fields as float32, the coarse ones as its upper half."""
    fields = track_fields(race.config)[name]
    rough = np.isin(fields, coarse(fields))
    values = race.tracks[name][:, :, first:last]
    exact = np.ascontiguousarray(values[:, ~rough])
    # Half of the last bit that stays is added, so that it is rounded, not cut off.
    halves = ((np.ascontiguousarray(values[:, rough]).view(np.uint32) + 0x8000) >> 16).astype("<u2")
    return {"track": name, "from": first, "to": last, "b64": _text(exact), "coarse": _text(halves)}


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _problem(shown: Scenario, scene: int) -> str:
    """What two races must share for one to be drawn as the other's ghost."""
    config = shown.config
    shared = repr((config.task, config.steps, config.batch, config.seeds, scene))
    return hashlib.sha256(shared.encode()).hexdigest()[:8]
