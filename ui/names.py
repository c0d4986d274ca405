"""What racers are called: by their rule, and by what sets them apart where a rule runs twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from core.config import Config, Racer
from core.optimizers import RULES
from core.schedules import SCHEDULES
from ui.numbers import number_text


def labels(config: Config) -> list[str]:
    """One name a racer, all different: "Adam", or "Adam (lr 0.003)" and "Adam (lr 0.1)".

    Racers that share a rule are told apart by as few things as will do: rate, settings, schedule, reset, in this order.
    One whose settings change on the way is called by its last change: "Adam from 300: rate 0.01".
    """
    forks = {index: change for index in range(len(config.racers)) if (change := _changes(config, index))}
    told: dict[int, list[str]] = {index: [] for index in forks}
    for rule in {racer.rule for racer in config.racers}:
        members = [index for index, racer in enumerate(config.racers) if racer.rule == rule and index not in forks]
        if not members:
            continue
        words: dict[int, list[str]] = {index: [] for index in members}
        for tell in _aspects(config.racers[members[0]]):
            longer = {index: [*words[index], *filter(None, [tell(config.racers[index])])] for index in members}
            if len(set(map(tuple, longer.values()))) > len(set(map(tuple, words.values()))):
                words = longer
        told |= words
    names = [RULES[racer.rule].label for racer in config.racers]
    names = [f"{name} {forks[i]}" if i in forks else name for i, name in enumerate(names)]
    return _numbered([f"{name} ({', '.join(told[i])})" if told[i] else name for i, name in enumerate(names)])


def _changes(config: Config, racer: int) -> str:
    """The last change of a racer's settings on the way, in words; "" where there is none."""
    found = [edit for edit in config.edits if edit.racer == racer and edit.what.name == "set"]
    if not found:
        return ""
    at = max(edit.step for edit in found)
    last = [(edit.what.get("setting"), edit.what.get("value")) for edit in found if edit.step == at]
    return f"from {at:,}: {setting_words(config.racers[racer], last)}"


def setting_words(racer: Racer, settings: Iterable[tuple[str, Any]]) -> str:
    """Settings of its rule as one says them: "rate 0.01, β₁ 0.5"."""
    said = []
    for name, value in settings:
        hyper = racer.spec.hyper(name)
        title = "rate" if name == "lr" else hyper.title
        text = ("on" if value else "off") if isinstance(hyper.default, bool) else number_text(value)
        said.append(f"{title} {text}")
    return ", ".join(said)


def _aspects(racer: Racer) -> list[Callable[[Racer], str]]:
    settings = [hyper for hyper in racer.spec.hypers if hyper.name != "lr"]
    return [
        lambda r: f"lr {number_text(r.get('lr'))}",
        *(lambda r, h=hyper: f"{h.title} {number_text(r.get(h.name))}" for hyper in settings),
        lambda r: SCHEDULES[r.schedule.name].label,
        schedule_words,
        _reset,
    ]


class _Said:
    """A setting within a summary: `{name}` is its value as one says it, `{name:%}` a share in percent."""

    def __init__(self, value: float):
        self.value = value

    def __format__(self, spec: str) -> str:
        value = float(f"{100 * self.value if spec == '%' else self.value:.3g}")
        return number_text(int(value) if value == int(value) else value) + spec


def schedule_words(racer: Racer) -> str:
    """What happens to the learning rate, in a few words: "rate × 0.1 every 300", "5% warm-up, then cosine to 0%"."""
    said = {name: _Said(value) for name, value in racer.schedule.settings if isinstance(value, (int, float))}
    words = SCHEDULES[racer.schedule.name].summary
    if "warmup" in said and said["warmup"].value:
        words = f"{{warmup:%}} warm-up, then {words}"
    return words.format(**said)


def _reset(racer: Racer) -> str:
    if racer.reset.what == "nothing":
        return ""
    return f"resets {racer.reset.what}" + (f" every {number_text(racer.reset.every)}" if racer.reset.every else "")


def _numbered(names: list[str]) -> list[str]:
    """The same names with a number where two are still the same."""
    total, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return unique
