"""What the Moments page shows: a trunk with its spike, the twin without, and more. It is what the address bar holds.

    ?v=1&task=digits&steps=1000&batch=32&seeds=5&r0=adam&r0.lr=0.003&spike=100&factor=100&f0=0.300.v&chart=ratio

The race and its one racer are read as on the race page (`ui.scenario`). `spike` is the step, counted from 1, `factor`
how many times too large, `cause` what is, `for` the number of steps and `layer` the tensor. A fork is
"parent.step.what": of racer 0, the trunk, or of an earlier fork (2, 3, …), after so many steps. `mode` says who runs
beside trunk and twin: these forks, the `remedies`, or other `rules` with the same spike and each with a twin. Of the
network, `show` is the layer looked at, `w` are the watched weights by their columns, `pic` is the racer whose heat maps
are shown, and `look` the step, racer and weight under the microscope. What comes by an address is untrusted: `read`
never raises, keeps within limits and says what it changed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from core.config import Config, Edit, Racer, edit, race, racer
from core.fork import branch
from core.lens import MOST, Lens
from core.optimizers import RULES
from core.remedies import REMEDIES, remedied
from core.spec import Hyper, Layout
from ui import scenario
from ui.charts import CARRIED, charts_for
from ui.extra import Extra
from ui.limits import RACERS, STEPS
from ui.scenario import Reader, Scenario, View, quoted
from ui.settings import newcomer

TRUNK, TWIN = 0, 1
EXTRA = Extra(curves=True)  # what the race records beyond the usual: delays are told from every seed's curve
SEEDS = 5  # unasked
FORKS = RACERS - 2  # the other colours; as many remedies
OTHERS = RACERS // 2 - 1  # rules beside the trunk's, each with its twin
MODES = {"forks": "Forks", "remedies": "Remedies", "rules": "Rules"}
CHART = "ratio"  # unasked
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

    def edits(self, rate: float) -> tuple[Edit, ...]:
        """What it does otherwise, as edits of its own step; `rate` is the one it would go on with."""
        kinds: Mapping[str, tuple[str, dict[str, object]]] = {
            "m": ("reset", {"what": "m"}),
            "v": ("reset", {"what": "v"}),
            "all": ("reset", {"what": "all"}),
            "count": ("reset", {"what": "count"}),
            "zeros": ("reset", {"what": "all", "count": "kept"}),
            "rate": ("set", {"setting": "lr", "value": rate / 10}),
            "weights": ("reinitialise", {"draw": 1}),
        }
        if self.what == "keep":
            return ()
        name, settings = kinds[self.what]
        return (edit(self.at, TRUNK, name, **settings),)


class Look(NamedTuple):
    """What lies under the microscope: a step, counted from 1, of a racer, at one weight."""

    step: int
    racer: int
    coordinate: int


@dataclass(frozen=True)
class Seen:
    """What is looked at of the network: a layer, watched weights by their columns, the racer whose heat maps are shown,
    and what lies under the microscope. Unasked, layer and weights are chosen by `Moments.lens`.
    """

    layer: str = ""
    watched: tuple[int, ...] = ()
    pictured: int = TRUNK
    look: Look | None = None


@dataclass(frozen=True)
class Moments:
    """A trunk (a race of one racer), its spike, who runs beside it, and what is looked at.

    Of `forks`, `remedies` and `rules` those of the mode run; the others wait until it is their turn.
    """

    trunk: Config
    spike: Spike = Spike()
    forks: tuple[Fork, ...] = ()
    view: View = field(default_factory=lambda: View(CHART))
    mode: str = "forks"
    remedies: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    seen: Seen = Seen()

    def __post_init__(self) -> None:
        for many, most, what in ((self.forks, FORKS, "forks"), (self.remedies, FORKS, "remedies"),
                                 (self.rules, OTHERS, "other rules")):  # fmt: skip
            if len(many) > most:
                raise ValueError(f"There can be {most} {what} at a time; take one away first.")
        self.scenario()  # or it is refused here

    @property
    def racer(self) -> Racer:
        return self.trunk.racers[0]

    @property
    def layout(self) -> Layout:
        return self.trunk.build_task().layout

    @property
    def contenders(self) -> tuple[Racer, ...]:
        """The rules that get the same spike: the trunk's, and the others at their tuned rates where these are known."""
        return (self.racer, *(newcomer(self.trunk, rule) for rule in self.rules))

    def config(self) -> Config:
        """The race: the trunk, its twin without the spike, and those of the mode, in the order they were asked for."""
        spike = self.spike.edits(self.racer, self.trunk.steps)
        if self.mode == "remedies":
            return remedied(self.trunk, spike, self.remedies)
        if self.mode == "rules":
            edits = [
                replace(each, racer=2 * place)
                for place, contender in enumerate(self.contenders)
                for each in self.spike.edits(contender, self.trunk.steps)
            ]
            pairs = tuple(contender for contender in self.contenders for _ in (TRUNK, TWIN))
            return replace(self.trunk, racers=pairs, edits=tuple(edits))
        made = replace(self.trunk, racers=(self.racer, self.racer), edits=spike)
        for fork in self.forks:
            set_to = [each for each in made.edits if each.racer == fork.parent and each.what.name == "set"]
            # A too large first step ends with the edit that sets the rate back: a fork there goes on with that, too.
            back = [each for each in set_to if each.step == fork.at == 1 and self.spike.cause == "first"]
            past = [each for each in set_to if each.step < fork.at] + back
            own = fork.edits(past[-1].what.get("value") if past else self.racer.get("lr"))
            made = branch(made, fork.parent, fork.at, *(() if fork.what == "rate" else back), *own)
        return made

    @property
    def bare(self) -> Moments:
        """Trunk and spike, and nothing beside them."""
        return Moments(self.trunk, self.spike, view=self.view)

    @property
    def beside(self) -> Beside:
        """What runs beside trunk and spike, and what is looked at."""
        return Beside(self.forks, self.mode, self.remedies, self.rules, self.seen)

    def branches(self) -> list[tuple[int, int] | None]:
        """(parent, step) of the racers that are forks."""
        own = [(fork.parent, fork.at) for fork in self.forks] if self.mode == "forks" else []
        return [None, None, *own]

    def lens(self, largest: int | None = None) -> Lens:
        """What is looked at: unasked the first layer that is a matrix, and in the layer the weight with the `largest`
        gradient, or its middle while that is not known.
        """
        columns = self.layout.columns(self.layer)
        unasked = (columns.start + columns.stop) // 2 if largest is None else largest
        racers = tuple(range(len(self.config().racers)))
        return Lens(racers, self.seen.watched or (unasked,), self.layer, self.seen.pictured)

    @property
    def layer(self) -> str:
        """The layer looked at."""
        shapes = self.layout.shapes
        return self.seen.layer or next((name for name, shape in shapes if len(shape) > 1), shapes[0][0])

    def scenario(self) -> Scenario:
        """The race as the chart shows it."""
        config = self.config()
        return Scenario(config, tuple(range(len(config.racers))), self.view)

    def names(self) -> list[str]:
        """What each racer of the race is called."""
        if self.mode == "remedies":
            return ["nothing done", "twin, without it", *(REMEDIES[name].label for name in self.remedies)]
        if self.mode == "rules":
            labels = [contender.spec.label for contender in self.contenders]
            return [name for label in labels for name in (label, f"{label}, twin")]
        forks = [f"{fork.at:,}: {KINDS[fork.what].short}" for fork in self.forks]
        return ["with the bad step", "twin, without it", *(_numbered(name, forks[:i]) for i, name in enumerate(forks))]

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


class Beside(NamedTuple):
    """What is wanted beside trunk and spike, whether a race can have it or not."""

    forks: tuple[Fork, ...] = ()
    mode: str = "forks"
    remedies: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    seen: Seen = Seen()


def fitted(shown: Moments, wanted: Beside) -> tuple[Moments, list[str]]:
    """This trunk and spike with all that is wanted beside them and fits; one sentence for each thing that does not."""
    notes: list[str] = []
    for i, fork in enumerate(wanted.forks):
        try:
            shown = replace(shown, forks=(*shown.forks, fork))
        except ValueError as error:
            notes.append(f"Fork {i + 1} was left out, with those after it. {error}")
            break
    for name in wanted.remedies:
        try:
            shown = _remedied(shown, name)
        except ValueError as error:
            notes.append(f"{REMEDIES[name].label} was left out. {error}" if name in REMEDIES else str(error))
    for name in wanted.rules:
        try:
            shown = _compared(shown, name)
        except ValueError as error:
            notes.append(f"{RULES[name].label} was left out. {error}" if name in RULES else str(error))
    try:
        shown = replace(shown, mode=wanted.mode)
    except ValueError as error:
        notes.append(str(error))
    return replace(shown, seen=_seen(wanted.seen, shown, notes)), notes


def _remedied(shown: Moments, name: str) -> Moments:
    """One more remedy, tried out."""
    if name in shown.remedies:
        raise ValueError("It was asked for twice.")
    return replace(replace(shown, mode="remedies", remedies=(*shown.remedies, name)), mode=shown.mode)


def _compared(shown: Moments, name: str) -> Moments:
    """One more rule, tried out."""
    if name not in RULES:
        raise ValueError(f"There is no optimizer {quoted(name)}.")
    if name in (shown.racer.rule, *shown.rules):
        raise ValueError("It is in the comparison already.")
    return replace(replace(shown, mode="rules", rules=(*shown.rules, name)), mode=shown.mode)


def _seen(wanted: Seen, shown: Moments, notes: list[str]) -> Seen:
    """What can be looked at of this race."""
    racers, width = len(shown.config().racers), shown.layout.width
    names = [name for name, _ in shown.layout.shapes]
    layer, pictured, look = wanted.layer, wanted.pictured, wanted.look
    if layer and layer not in names:
        notes.append(f"There is no layer {quoted(layer)}; the network has {', '.join(names)}.")
        layer = ""
    there = tuple(column for column in dict.fromkeys(wanted.watched) if column < width)
    gone = [column for column in wanted.watched if column >= width]
    if gone:
        notes.append(f"There is no parameter {gone[0]:,} to watch: there are {width:,}, counted from 0.")
    if len(there) > MOST:
        notes.append(f"At most {MOST} weights can be watched; the others were left out.")
    if pictured >= racers:
        notes.append(f"There is no racer {pictured} to picture: there are {racers}, counted from 0.")
        pictured = TRUNK
    if look and not (1 <= look.step <= shown.trunk.steps and look.racer < racers and look.coordinate < width):
        notes.append("There is no such step, racer or weight to put under the microscope.")
        look = None
    return Seen(layer, there[:MOST], pictured, look)


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
    found |= {f"f{i}": f"{fork.parent}.{fork.at}.{fork.what}" for i, fork in enumerate(shown.forks)}
    seen = shown.seen
    more = {
        "mode": shown.mode if shown.mode != "forks" else "",
        "remedies": ",".join(shown.remedies),
        "rules": ",".join(rule.replace("+", "~") for rule in shown.rules),
        "show": seen.layer,
        "w": ",".join(map(str, seen.watched)),
        "pic": str(seen.pictured) if seen.pictured != TRUNK else "",
        "look": ".".join(map(str, seen.look)) if seen.look else "",
    }
    return found | {name: text for name, text in more.items() if text}


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
    chart = params.get("chart", CHART)
    charts = [each.id for each in (*charts_for(trunk.build_task()), *CARRIED)]
    view = replace(plain.view, chart=chart if chart in charts else CHART)
    reader = Reader(params, notes, own)
    spike = _spike(reader, trunk)
    try:
        bare = Moments(trunk, spike, view=view)
    except ValueError as error:
        notes.append(f"{error} There is no such spike here.")
        spike = Spike(at=spike.at, factor=1.0)
        bare = Moments(trunk, spike, view=view)
    forks, mode = _forks(params, notes), reader.name("mode", tuple(MODES), "forks", "mode")
    rules = tuple(rule.replace("~", "+") for rule in _list(params, "rules"))
    shown, more = fitted(bare, Beside(forks, mode, _list(params, "remedies"), rules, _looked_at(params, notes)))
    return shown, [*notes, *more][:6]


def _list(params: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, params.get(name, "").split(",")))


def _forks(params: Mapping[str, str], notes: list[str]) -> tuple[Fork, ...]:
    found: list[Fork] = []
    for i in range(FORKS):
        text = params.get(f"f{i}")
        if text is None:
            break
        try:
            found.append(_fork(text, i))
        except ValueError as error:
            notes.append(f"Fork {i + 1} of this link was left out, with those after it. {error}")
            break
    return tuple(found)


def _looked_at(params: Mapping[str, str], notes: list[str]) -> Seen:
    """What the address would look at; whether it is there is for `fitted` to say."""
    watched: list[int] = []
    for text in _list(params, "w"):
        if (column := _whole(text)) is None:
            notes.append(f"There is no parameter {quoted(text)} to watch.")
        else:
            watched.append(column)
    pictured = _whole(params.get("pic", str(TRUNK)))
    if pictured is None:
        notes.append(f"There is no racer {quoted(params['pic'])} to picture.")
    look, places = None, [_whole(text) for text in params.get("look", "").split(".")]
    if "look" in params:
        whole = [place for place in places if place is not None]
        if len(whole) == len(places) == len(Look._fields):
            look = Look(*whole)
        else:
            notes.append(f"{quoted(params['look'])} is no step, racer and weight to put under the microscope.")
    return Seen(params.get("show", ""), tuple(watched), pictured or TRUNK, look)


def _whole(text: str) -> int | None:
    """A whole number from 0 on, as far as one is so long; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


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
    racer, step = _whole(parent), _whole(at)
    if racer is None or racer not in (TRUNK, *range(2, forks + 2)):
        raise ValueError(f"There is no racer {quoted(parent)} to fork.")
    if step is None:
        raise ValueError(f"{quoted(at)} is no step.")
    return Fork(racer, step, what)
