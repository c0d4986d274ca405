"""Any `torch.optim.Optimizer` as a racer: the slow path, and the one that everything else can be compared with.

`adapt(cls)` makes a rule of a class, its sliders read from the constructor's signature; `load("pytorch_optimizer
mine.MyOptimizer path/to/file.py")` finds classes by name and puts their rules into the registry. Who starts the app
says which, in the environment variable `DESCENT_LAB_OPTIMIZERS`; a visitor cannot. The classes run row by row over
real `nn.Parameter`s in a process of their own (`core.guests`), which also is the only one that imports them.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.guests.classes import Found, Number, describe
from core.guests.host import HOST, Guests
from core.optimizers import RULES, WRAPPERS, Rule
from core.optimizers.base import BETAS, CLIP, MU, Context, Named, Slot, Update, decay, eps, number, rate, weight_decay
from core.schedules import SCHEDULES
from core.spec import Hyper

VARIABLE = "DESCENT_LAB_OPTIMIZERS"
LARGE, COUNT = 1e12, 10_000_000  # no number, and no whole number, without a known meaning is larger
SLOWER = 9  # benchmarks/results.json, adapter.cost_over_table.r8


class Setting(NamedTuple):
    """Where a setting goes: to an argument of the constructor or, where that is a tuple, to one place in it."""

    name: str
    argument: str
    place: int | None = None
    kind: type = float


@dataclass(frozen=True)
class Adapted:
    """What makes a rule's guests: a class, and where each setting goes."""

    found: Found
    settings: tuple[Setting, ...]

    @property
    def place(self) -> tuple[str, str]:
        """Where the class is found."""
        return self.found.module, self.found.name

    def __call__(self, sealed: tuple[bytes, ...]) -> Guests:
        return Guests(self.found, sealed)

    def arguments(self, h: Named) -> list[dict[str, Any]]:
        """The constructor's keyword arguments of each row, from the columns of its settings.

        A number that a person typed comes out of a short column as it was typed: 0.003, not 0.003000000026.
        """
        columns = {
            each.name: [each.kind(float(str(value))) for value in getattr(h, each.name)[:, 0].cpu().numpy()]
            for each in self.settings
        }
        rows = []
        for row in range(len(h.lr)):
            arguments: dict[str, Any] = {}
            for each in self.settings:
                value, before = columns[each.name][row], arguments.get(each.argument, ())
                arguments[each.argument] = value if each.place is None else (*before, value)
            rows.append(arguments)
        return rows

    def step(self, ctx: Context, s: Named, age: Named, h: Named) -> Update:
        """The weights that the class's own step leads to; one without a learning rate has its step scaled by it."""
        assert isinstance(ctx.guest, Guests)
        at: Tensor = ctx.guest.step(ctx, self.arguments(h), (age.guest[:, 0] == 1).tolist())
        if self.found.rate is None:
            at = torch.lerp(ctx.p, at, h.lr)
        return at, {"guest": s.guest}, {}


def adapt(cls: type[torch.optim.Optimizer], name: str = "") -> Rule:
    """The rule of a class, called as it is imported ("torch.optim.NAdam") or by another name; `register` it to race.

    Raises:
        ValueError: another process could not import it, because it is no attribute of a module or file.
    """
    parts = cls.__module__.split(".")
    places = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    place = next((each for each in places if getattr(sys.modules.get(each), cls.__name__, None) is cls), "__main__")
    if place == "__main__":
        raise ValueError(f"{cls.__name__} lives in this process only: put it into a file, and name that to `load`.")
    return _rule(describe(cls, place), name)


def register(rule: Rule) -> None:
    """Put a rule into the registry, or in the place of one that the same class had when it was loaded before.

    Raises:
        ValueError: its name is another rule's, or cannot be one.
    """
    if not re.fullmatch(r"[A-Za-z][\w.-]*", rule.name, re.ASCII):
        raise ValueError(f"an optimizer cannot be called {rule.name[:40]!r}: only letters, digits and . _ - will do")
    known = RULES[rule.name].guest if rule.name in RULES else rule.guest
    if not (isinstance(known, Adapted) and isinstance(rule.guest, Adapted) and known.place == rule.guest.place):
        raise ValueError(f"there is an optimizer called {rule.name} already")
    RULES[rule.name] = rule


def load(named: str) -> list[Rule]:
    """Find and register all that is named, as in a shell's command line; the rules.

    A word is a package or module ("torch.optim"), one class of it, or the path of a file. What cannot be had is left
    out, with one line on standard error.
    """
    words, rules = [], []
    HOST.end()  # it may have a file as it was before
    with _or_left_out(named):
        words = shlex.split(named)
    for word in words:
        with _or_left_out(word):
            for rule in map(_rule, _found(word)):
                with _or_left_out(rule.name):
                    register(rule)
                    rules.append(rule)
    HOST.end()  # the process that asks may never train
    return rules


@contextmanager
def _or_left_out(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        print(f"optimizers: {what} is left out: {error}", file=sys.stderr)


def adapted() -> tuple[Rule, ...]:
    """The rules of the registry that are adapted classes, for a worker to `register`."""
    return tuple(rule for rule in RULES.values() if isinstance(rule.guest, Adapted))


def warm_guests() -> None:
    """Start the process that adapted classes live in, where there are any."""
    if adapted():
        HOST.start()


def _found(word: str) -> list[Found]:
    word = str(Path(word).resolve()) if word.endswith(".py") else word
    return [Found.read(data) for data in json.loads(HOST.ask("find", word))]


def _rule(found: Found, name: str = "") -> Rule:
    place = Path(found.module).stem if found.module.endswith(".py") else found.module
    settings, hypers = _settings(found)
    shown = found.name.replace("_", r"\_")
    made = Adapted(found, settings)
    return Rule(
        name or re.sub(r"[^\w.-]", "_", f"{place}.{found.name}", flags=re.ASCII),
        f"{found.name} ({place})", made.step, (*hypers, CLIP),
        rf"p \leftarrow \text{{{shown}}}(p,\, g;\ \eta)",
        f"As it is, and about {SLOWER} times as slow as Adam here: it runs outside the table, row by row.",
        f"{found.origin}, {found.name}",
        (Slot("guest", shape=number),),
        tuple(hyper.name for hyper in hypers if hyper.name in FACES)[:2],
        returns="weights", tags="adapted, class, plug-in, torch.optim.Optimizer", guest=made,
    )  # fmt: skip


# ---------------------------------------------------------------- settings from a signature

FACES = ("momentum", "beta1", "beta2", "alpha", "rho")
# Names that mean something else in an address, or to the trainer.
TAKEN = {
    "lr", "clip", "rule", "schedule", "reset", "reset_every",
    *(hyper.name for schedule in SCHEDULES.values() for hyper in schedule.hypers),
    *(hyper.name for wrapper in WRAPPERS.values() for hyper in wrapper.hypers),
}  # fmt: skip
KNOWN = {hyper.name: hyper for hyper in (MU, *BETAS)} | {
    "beta3": decay("beta3", "β₃", 0.999, "Memory of the third average; 0.9 to 0.9999 is usual."),
    "alpha": decay("alpha", "α", 0.99, "Share of an old average that is kept; 0.99 is usual."),
    "eps": eps(1e-8),
    "weight_decay": weight_decay(0.0, "in the way of this class"),
}


def _settings(found: Found) -> tuple[tuple[Setting, ...], tuple[Hyper, ...]]:
    """Where each setting goes, and its description: a tuple of an argument's defaults is as many settings."""
    settings = [] if found.rate is None else [Setting("lr", "lr")]
    hypers = [_rate(found)]
    names = set(TAKEN)
    for argument, default in found.arguments:
        several = isinstance(default, tuple)
        for index, value in enumerate(default if isinstance(default, tuple) else (default,)):
            stem = argument.removesuffix("s") if argument != "eps" else argument
            name = f"{stem}{index + 1}" if several else argument
            while name in names:
                name = f"own_{name}"
            names.add(name)
            value = float(value) if name in KNOWN else value
            settings.append(Setting(name, argument, index if several else None, type(value)))
            hypers.append(_hyper(name, value, f"{argument} of {found.name}"))
    return tuple(settings), tuple(hypers)


def _rate(found: Found) -> Hyper:
    if found.rate is None:
        return rate(1.0, f"{found.name} has no learning rate of its own: this scales its step, and 1 leaves it alone.")
    return _reaching(rate(1e-3), found.rate if found.rate > 0 else 1e-3)


def _hyper(name: str, default: Number, what: str) -> Hyper:
    """A setting's description: what is known of a usual name, else a range around the default."""
    known = KNOWN.get(name)
    if known and isinstance(default, float) and _within(known, default):
        return _reaching(known, default)
    help = f"The argument {what}; {default:g} is its default." if type(default) is not bool else f"The switch {what}."
    if isinstance(default, bool):
        return Hyper(name, default, help=help)
    if isinstance(default, int):
        if default < 0:
            return Hyper(name, default, default, 10, help=help, minimum=-COUNT, maximum=COUNT)
        high = 10 if default <= 5 else 10 ** ceil(log10(2 * default))
        return Hyper(name, default, int(default > 0), high, log=default > 5, help=help, minimum=0, maximum=COUNT)
    if default <= 0:
        high = 1.0 if default == 0 else -2 * default
        zero = (0.0, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.5, 1.0) if default == 0 else ()
        return Hyper(name, default, 2 * default, high, grid=zero, help=help, minimum=-LARGE, maximum=LARGE)
    if 0.5 <= default < 1:
        return replace(decay(name, "", default, help), minimum=-LARGE, maximum=LARGE)
    if 0.05 <= default <= 1:
        return Hyper(name, default, 0.0, 1.0, help=help, minimum=-LARGE, maximum=LARGE)
    decade = 10.0 ** floor(log10(default))
    return Hyper(name, default, decade / 1e3, decade * 1e3, log=True, help=help, minimum=-LARGE, maximum=LARGE)


def _within(hyper: Hyper, default: float) -> bool:
    try:
        hyper.check(default)
    except ValueError:
        return False
    return True


def _reaching(hyper: Hyper, default: float) -> Hyper:
    """The same with another default, and a slider that reaches it."""
    return replace(hyper, default=default, low=min(hyper.low, default), high=max(hyper.high, default))
