"""The live chart: the only place where a running training and the browser meet.

One `st.components.v2` component holds the charts and the transport; it draws, and each drawing it acknowledges is a
pull that asks for the next slice. So nothing is sent faster than it can be shown, and a browser that has gone costs
nothing. All that is sent is told by where it lies (race, from, to): a message may be lost, repeated or replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.config import Config
from core.lens import Lens
from ui.charts import charts_for, coarse, describe, loss_steps, track_fields
from ui.extra import USUAL, Extra
from ui.lens import about, lens_block, pictured
from ui.names import labels
from ui.palette import RACERS
from ui.races import Race, Races
from ui.scenario import Scenario
from ui.wire import halves, text

# The component's code is a file of its own, fetched once: what is written here travels in every message.
_LOADER = """let code;
export default async (component) => {
  code ??= import(new URL("app/static/live.js", document.baseURI).href);
  return (await code).default(component);
};
"""
__all__ = ["Held", "chart", "charts_for", "leave", "races", "seen", "viewer"]
_component = st.components.v2.component("descent_lab_live", js=_LOADER, isolate_styles=False)
FULL = "Many races are training here right now; this one starts as soon as there is room."
TRACKS = ("loss", "eval", "probe")
TOLD = ("verdict", "text")
SEEN = ("norms", "rate", "watch", "heat")  # tracks of a lens
Told = Callable[[Race, Sequence[int]], list[tuple[int, str, str]]]  # headline and detail after each of these steps


@dataclass(frozen=True)
class Held:
    """What a browser holds of a race: samples of each track, verdicts, and texts; and of its lens."""

    run: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    lens: Held | None = None

    @staticmethod
    def told(pull: object, run: str) -> Held:
        """What an acknowledgement says, as far as it makes sense and speaks of this race, the one of this key
        (`Extra.key`); a lens has its own key, and what is said of one that is not shown any more is not used.
        """
        if not isinstance(pull, Mapping):
            return Held(run)
        lens = pull.get("lens")
        seen = lens if isinstance(lens, Mapping) else {}
        return Held(
            run,
            _counts(pull, (*TRACKS, *TOLD)) if pull.get("run") == run else {},
            Held(seen["run"], _counts(seen, SEEN)) if isinstance(seen.get("run"), str) else None,
        )

    def count(self, name: str) -> int:
        return self.counts.get(name, 0)

    def of(self, race: Race) -> Held:
        """This where it is of that race and no more than the whole of it, else nothing.

        A race that was dropped and is trained anew may hold less.
        """
        samples = {name: track.shape[2] for name, track in race.tracks.items()}
        samples |= {"verdict": samples.get("eval", 0), "text": race.texts_due}
        possible = all(count <= samples.get(name, 0) for name, count in self.counts.items())
        return self if self.run == race.key and possible else Held(race.key)


def _counts(told: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    have = told.get("have")
    return {name: have[name] for name in names if _count(have.get(name))} if isinstance(have, Mapping) else {}


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@st.cache_resource(show_spinner=False)
def races() -> Races:
    """The pool and the cache, one for the whole server."""
    return Races()


def chart(
    key: str, shown: Scenario, on_pull: Callable[[], None], on_view: Callable[[], None], held: Held, scene: int = 0,
    names: Sequence[str] = (), told: Told | None = None, forks: bool = False, extra: Extra = USUAL,
    lens: Lens | None = None, on: Mapping[str, Callable[[], None]] | None = None,
    branches: Sequence[tuple[int, int] | None] = (), asks: bool = False,
) -> None:  # fmt: skip
    """Mount the live chart of a scenario; call it inside a fragment, where an acknowledgement reruns it alone.

    `held` is what the browser said it has. New samples are sent at once; where there are none yet the call waits for
    a slice, briefly. Then the next slice is asked for, so that the pool trains while the browser draws. `scene` tells
    races apart that are not to be drawn as each other's ghosts though they share the problem. `names` are the racers',
    where they are not called by what sets them apart; `told` has other words than the verdict. `forks`: the race
    may be forked, and may be a fork itself (`Races.open`). `extra` is what it records beyond the usual.

    `lens` is looked through below the charts, in a race of the same racers on the first seed alone, which the charts
    never wait for. `on` are the callbacks of what the browser offers besides: "pick", "look" and "fork". `branches`
    are (parent, step) of the racers that are forks. `asks` has the browser stop, and say in its next pull at which step
    it stands, its `head`.
    """
    pool = races()
    race = pool.open(shown.config, viewer(), forks, extra)
    mine = held.of(race)
    if race.held["loss"] <= mine.count("loss") and not race.complete:
        pool.ask(race)
        pool.wait(race, mine.count("loss"))
    if shown.view.x == "seconds" and race.seconds is None:
        pool.time(race)
    message = _message(shown, race, mine, told)
    if not mine.count("loss"):
        message["race"] = _race(shown, names or labels(shown.config), scene, branches)
    if on:
        message["offers"] = list(on)
    if asks:
        message["asks"] = True
    pool.ask(race)
    if lens:
        drawn = race.complete and mine.count("loss") == race.held["loss"]
        racers = _racers(shown, names or labels(shown.config), branches)
        message["lens"] = _lens(pool, shown.config, lens, held.lens or Held(), racers, patient=drawn)
    heard: dict[str, Any] = {"pull": on_pull, "view": on_view} | dict(on or {})
    _component(key=key, data=message, **{f"on_{name}_change": call for name, call in heard.items()})


def seen(config: Config, lens: Lens) -> Race:
    """The race that is looked at through a lens, as far as it is trained."""
    through, extra = _through(config, lens)
    return races().open(through, viewer(), extra=extra)


def leave(shown: Scenario, extra: Extra = USUAL, lens: Lens | None = None) -> None:
    """The page turns to another race: what was asked for this one, or to look through this lens at it, and has not
    begun is taken back.
    """
    races().leave(shown.config, viewer(), extra)
    if lens:
        seen, through = _through(shown.config, lens)
        races().leave(seen, viewer(), through)


def viewer() -> str:
    context = get_script_run_ctx()
    return context.session_id if context else ""


def _message(shown: Scenario, race: Race, held: Held, told: Told | None) -> dict[str, Any]:
    """What the browser does not hold yet; what never changes in a race goes with its first samples only."""
    ids = [f"r{slot}" for slot in shown.slots]
    trained, counts = race.step, dict(race.held)  # the step first: it is written last
    verdicts, texts = race.verdicts[held.count("verdict") :], race.texts[held.count("text") :]
    if told:
        verdicts = told(race, [step for step, _, _ in verdicts])
    return {
        "run": race.key,
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
        "problem": _problem(race),
    }


def _problem(race: Race) -> str | None:
    return race.problem or (FULL if race.waiting else None)


def _through(config: Config, lens: Lens) -> tuple[Config, Extra]:
    """The race that is looked at through a lens: on the first seed alone, and with the heat maps of one racer."""
    return replace(config, seeds=config.seeds[:1]), Extra(lens=replace(lens, pictured=pictured(lens)))


def _lens(
    pool: Races, config: Config, lens: Lens, held: Held, racers: list[dict[str, Any]], patient: bool
) -> dict[str, Any]:
    """What the browser does not hold yet of what is seen through the lens; `patient` waits for it, briefly."""
    seen, extra = _through(config, lens)
    try:
        lens.check(seen, seen.build_task().layout)
    except ValueError as error:
        return {"run": "", "blocks": [], "problem": str(error)}
    race = pool.open(seen, viewer(), extra=extra)
    held = held.of(race)
    pool.ask(race)
    if patient and not _news(race, held):
        pool.wait(race, race.held["loss"])
        pool.ask(race)
    message: dict[str, Any] = {
        "run": race.key,
        "blocks": [lens_block(name, race.tracks[name], held.count(name), count) for name, count in _news(race, held)],
        "problem": _problem(race),
    }
    if not any(held.counts.values()):
        own = [racers[racer] for racer in lens.racers]
        message["about"] = {"racers": own} | about(seen, lens, loss_steps(seen, extra))
    return message


def _news(race: Race, held: Held) -> list[tuple[str, int]]:
    """The tracks of which there is more than is held, and how much there is."""
    counts = [(name, race.held[name]) for name in SEEN if name in race.tracks and race.tracks[name].shape[1]]
    return [(name, count) for name, count in counts if count > held.count(name)]


def _race(
    shown: Scenario, names: Sequence[str], scene: int, branches: Sequence[tuple[int, int] | None]
) -> dict[str, Any]:
    return describe(shown.config) | {
        "generation": _generation(shown, scene),
        "racers": _racers(shown, names, branches),
        "palette": RACERS,
        "writes": shown.config.build_task().writes,
    }


def _racers(shown: Scenario, names: Sequence[str], branches: Sequence[tuple[int, int] | None]) -> list[dict[str, Any]]:
    """Each racer's name and colour; of a fork also where it leaves its parent."""
    found: list[dict[str, Any]] = [
        {"id": f"r{slot}", "label": name, "color": slot} for name, slot in zip(names, shown.slots, strict=True)
    ]
    for racer, branch in zip(found, branches, strict=False):
        if branch:
            racer["parent"], racer["since"] = branch
    return found


def _block(name: str, race: Race, first: int, last: int) -> dict[str, Any]:
    """Samples `[racers, fields, first … last - 1]`: the exact fields as float32, the coarse ones as its upper half."""
    fields = track_fields(race.config)[name]
    rough = np.isin(fields, coarse(fields))
    values = race.tracks[name][:, :, first:last]
    exact = np.ascontiguousarray(values[:, ~rough])
    return {"track": name, "from": first, "to": last, "b64": text(exact), "coarse": text(halves(values[:, rough]))}


def _generation(shown: Scenario, scene: int) -> str:
    """What two races must share for one to be drawn as the other's ghost."""
    config = shown.config
    shared = repr((config.task, config.steps, config.batch, config.seeds, scene))
    return hashlib.sha256(shared.encode()).hexdigest()[:8]
