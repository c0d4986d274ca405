"""What the Moments page shows: a trunk with its spike, the twin without, and forks. It is what the address bar holds.

    ?v=1&task=digits&steps=1000&batch=32&seeds=5&r0=adam&r0.lr=0.003&spike=100&factor=100&f0=0.300.v&chart=update

The race and its one racer are read as on the race page (`ui.scenario`). `spike` is the step, counted from 1, `factor`
how many times too large, `cause` what is, `for` the number of steps and `layer` the tensor. A fork is
"parent.step.what": of racer 0, the trunk, or of an earlier fork (2, 3, …), after so many steps. What comes by an
address is untrusted: `read` never raises, keeps within limits and says what it changed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from core.config import Config, Edit, Racer, edit, race, racer
from core.fork import branch
from core.spec import Hyper
from ui import scenario
from ui.charts import CARRIED, charts_for
from ui.limits import RACERS, STEPS
from ui.scenario import Reader, Scenario, View, quoted
from ui.settings import newcomer

TRUNK, TWIN = 0, 1
SEEDS = 5  # unasked
FORKS = RACERS - 2  # the other colours
AT = Hyper("spike", 100, 1, STEPS, label="At step", help="The step whose gradient is a bad one, counted from 1.")
FACTOR = Hyper("factor", 100.0, 1, 1000, log=True, label="Times too large",
               help="1 is no spike at all; SPAM (2501.06842) reports up to 1,000 in language models.")  # fmt: skip
LENGTH = Hyper("for", 1, 1, 50, grid=(1, 2, 3, 5, 10, 20, 50), label="For steps", help="How many steps in a row.")
CAUSES = {
    "gradient": "A gradient, so many times too large",
    "labels": "A batch with wrong labels",
    "inputs": "A batch with unscaled inputs",
    "first": "A too large first step",
}
EVERYWHERE = "all"


class Kind(NamedTuple):
    """A way to go on after a fork."""

    label: str  # on its button
    short: str  # beside its line


KINDS: Mapping[str, Kind] = {
    "keep": Kind("Keep all", "nothing changed"),
    "m": Kind("Reset m", "m reset"),
    "v": Kind("Reset v", "v reset"),
    "all": Kind("Reset both", "all reset"),
    "count": Kind("Reset the step count only", "count reset"),
    "zeros": Kind("Zero m and v, keep the count", "zeroed, count kept"),
    "rate": Kind("A tenth of the rate", "rate / 10"),
    "weights": Kind("New weights, old moments", "new weights"),
}


@dataclass(frozen=True)
class Spike:
    """What goes wrong in the trunk: at step `at`, counted from 1, and the `length - 1` after it."""

    at: int = int(AT.default)
    factor: float = float(FACTOR.default)
    cause: str = "gradient"
    length: int = int(LENGTH.default)
    layer: str = ""  # a tensor of the layout, or all

    def edits(self, trunk: Racer, steps: int) -> tuple[Edit, ...]:
        """The spike as edits of racer 0; what would lie beyond the run's end is left out."""
        if self.cause == "first":
            rate = trunk.spec.hyper("lr")
            return (
                edit(0, TRUNK, "set", setting="lr", value=min(trunk.get("lr") * self.factor, _most(rate))),
                *((edit(1, TRUNK, "set", setting="lr", value=trunk.get("lr")),) if steps > 1 else ()),
            )
        at = range(self.at - 1, min(self.at - 1 + self.length, steps))
        if self.cause == "labels":
            return tuple(edit(step, TRUNK, "mislabel") for step in at)
        if self.cause == "inputs":
            return tuple(edit(step, TRUNK, "unscale", factor=self.factor) for step in at)
        return tuple(edit(step, TRUNK, "scale_gradient", factor=self.factor, layer=self.layer) for step in at)

    @property
    def first(self) -> int:
        """The first step that it spoils, counted from 1."""
        return 1 if self.cause == "first" else self.at


def _most(hyper: Hyper) -> float:
    return hyper.high if hyper.maximum is None else hyper.maximum


@dataclass(frozen=True)
class Fork:
    """Another way to go on from a racer's state after `at` steps."""

    parent: int  # TRUNK, or the racer of an earlier fork
    at: int
    what: str

    def edits(self, trunk: Racer) -> tuple[Edit, ...]:
        """What it does otherwise, as edits of its own step."""
        kinds: Mapping[str, tuple[str, dict[str, object]]] = {
            "m": ("reset", {"what": "m"}),
            "v": ("reset", {"what": "v"}),
            "all": ("reset", {"what": "all"}),
            "count": ("reset", {"what": "count"}),
            "zeros": ("reset", {"what": "all", "count": "kept"}),
            "rate": ("set", {"setting": "lr", "value": trunk.get("lr") / 10}),
            "weights": ("reinitialise", {"draw": 1}),
        }
        if self.what == "keep":
            return ()
        name, settings = kinds[self.what]
        return (edit(self.at, TRUNK, name, **settings),)


@dataclass(frozen=True)
class Moments:
    """A trunk (a race of one racer), its spike, its forks and the view."""

    trunk: Config
    spike: Spike = Spike()
    forks: tuple[Fork, ...] = ()
    view: View = field(default_factory=lambda: View("update"))

    def __post_init__(self) -> None:
        if len(self.forks) > FORKS:
            raise ValueError(f"There can be {FORKS} forks at a time; take one away first.")
        self.scenario()  # or it is refused here

    @property
    def racer(self) -> Racer:
        return self.trunk.racers[0]

    def config(self) -> Config:
        """The race: the trunk, its twin without the spike, and the forks, in the order in which they were made."""
        made = replace(
            self.trunk, racers=(self.racer, self.racer), edits=self.spike.edits(self.racer, self.trunk.steps)
        )
        for fork in self.forks:
            made = branch(made, fork.parent, fork.at, *fork.edits(self.racer))
        return made

    def scenario(self) -> Scenario:
        """The race as the chart shows it."""
        config = self.config()
        return Scenario(config, tuple(range(len(config.racers))), self.view)

    def names(self) -> list[str]:
        """What each racer of the race is called."""
        forks = [f"{fork.at:,}: {KINDS[fork.what].short}" for fork in self.forks]
        return ["with it", "twin without", *(_numbered(name, forks[:i]) for i, name in enumerate(forks))]

    def without(self, fork: int) -> Moments:
        """One fork taken away, and with it all that were forked from it."""
        gone = {fork}
        for index, each in enumerate(self.forks):
            if each.parent - 2 in gone:
                gone.add(index)
        kept = [index for index in range(len(self.forks)) if index not in gone]
        place = {TRUNK: TRUNK} | {old + 2: new + 2 for new, old in enumerate(kept)}
        return replace(self, forks=tuple(replace(f, parent=place[f.parent]) for f in map(self.forks.__getitem__, kept)))


def _numbered(name: str, before: list[str]) -> str:
    again = before.count(name)
    return f"{name} ({again + 1})" if again else name


def default() -> Moments:
    """The first screen: Adam on the digits, one gradient 100 times too large at step 100 of 1,000."""
    return Moments(race("digits", [newcomer(race("digits", [racer("adam")]), "adam")], seeds=SEEDS))


def write(shown: Moments) -> dict[str, str]:
    """What is shown as the parameters of an address."""
    spike = shown.spike
    found = scenario.write(Scenario(shown.trunk, (0,), shown.view))
    found |= {"spike": str(spike.at), "factor": repr(spike.factor)}
    if spike.cause != "gradient":
        found["cause"] = spike.cause
    if spike.length != LENGTH.default:
        found["for"] = str(spike.length)
    if spike.layer:
        found["layer"] = spike.layer
    return found | {f"f{i}": f"{fork.parent}.{fork.at}.{fork.what}" for i, fork in enumerate(shown.forks)}


def read(params: Mapping[str, str], own: Container[str] = ()) -> tuple[Moments, list[str]]:
    """What an address shows, and one sentence for each thing that could not be taken as it stood."""
    if not params.keys() & {"v", "task", "steps", "r0", "spike"}:
        return default(), []
    others = {name for name in params if re.fullmatch(r"r[1-9]\d*(\..*)?", name)}
    one = {"r0": "adam", "seeds": f"{SEEDS}"} | {
        name: params[name] for name in params if name not in {*others, "chart"}
    }
    plain, notes = scenario.read(one, own)
    if others:
        notes.append("This page shows one optimizer; the others of this link were left out.")
    if len(plain.slots) > 1:  # the race was refused
        return default(), notes
    trunk = plain.config
    chart = params.get("chart", "update")
    charts = [each.id for each in (*charts_for(trunk.build_task()), *CARRIED)]
    view = replace(plain.view, chart=chart if chart in charts else "update")
    spike = _spike(Reader(params, notes, own), trunk)
    try:
        shown = Moments(trunk, spike, view=view)
    except ValueError as error:
        notes.append(f"{error} There is no such spike here.")
        shown = Moments(trunk, Spike(at=spike.at, factor=1.0), view=view)
    for i in range(FORKS):
        text = params.get(f"f{i}")
        if text is None:
            break
        try:
            shown = replace(shown, forks=(*shown.forks, _fork(text, len(shown.forks))))
        except ValueError as error:
            notes.append(f"Fork {i + 1} of this link was left out, with those after it. {error}")
            break
    return shown, notes[:6]


def _spike(reader: Reader, trunk: Config) -> Spike:
    at = replace(AT, high=trunk.steps, default=min(int(AT.default), trunk.steps))
    layers = dict(trunk.build_task().layout.shapes)
    layer = reader.name("layer", [EVERYWHERE, *layers], EVERYWHERE, "layer")
    return Spike(
        int(reader.number("spike", at, "the spike")),
        float(reader.number("factor", FACTOR, "the spike")),
        reader.name("cause", tuple(CAUSES), "gradient", "cause of a spike"),
        int(reader.number("for", LENGTH, "the spike")),
        "" if layer == EVERYWHERE else layer,
    )


def _fork(text: str, forks: int) -> Fork:
    parent, at, what = (*text.split("."), "", "")[:3]
    if what not in KINDS:
        raise ValueError(f"There is no kind of fork {quoted(what)}.")
    if not (parent.isascii() and parent.isdigit() and int(parent[:3]) in (TRUNK, *range(2, forks + 2))):
        raise ValueError(f"There is no racer {quoted(parent)} to fork.")
    if not (at.isascii() and at.isdigit()):
        raise ValueError(f"{quoted(at)} is no step.")
    return Fork(int(parent), int(at[:8]), what)
