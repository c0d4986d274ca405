"""What racers are called: by their rule, and by what sets them apart where a rule runs twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from core.config import Config, Racer
from core.optimizers import RULES
from core.schedules import SCHEDULES
from ui.numbers import number_text


def labels(config: Config) -> list[str]:
    """One name a racer, all different: "Adam", or "Adam 0.003" and "Adam 0.1", or "Adam β₁ 0.9" and "Adam β₁ 0".

    Racers that share a rule are told apart by as few things as will do: rate, settings, schedule, reset, in this order.
    """
    names: dict[int, str] = {}
    for rule in {racer.rule for racer in config.racers}:
        members = [index for index, racer in enumerate(config.racers) if racer.rule == rule]
        texts = dict.fromkeys(members, RULES[rule].label)
        for tell in _aspects(config.racers[members[0]]):
            told = {index: tell(config.racers[index]) for index in members}
            if len(set(texts.values())) < len(members) and len(set(told.values())) > 1:
                texts = {index: f"{texts[index]} {told[index]}" for index in members}
        names |= texts
    return _numbered([names[index] for index in range(len(config.racers))])


def _aspects(racer: Racer) -> list[Callable[[Racer], str]]:
    settings = [hyper for hyper in racer.spec.hypers if hyper.name != "lr"]
    return [
        lambda r: number_text(r.get("lr")),
        *(lambda r, h=hyper: f"{h.title} {number_text(r.get(h.name))}" for hyper in settings),
        schedule_words,
        _reset,
    ]


def schedule_words(racer: Racer) -> str:
    """What happens to the learning rate, in a few words: "constant rate", "rate × 0.1 every 300"."""
    texts = {name: number_text(value) for name, value in racer.schedule.settings if isinstance(value, (int, float))}
    return SCHEDULES[racer.schedule.name].summary.format(**texts)


def _reset(racer: Racer) -> str:
    if racer.reset.what == "nothing":
        return "keeps"
    return f"resets {racer.reset.what}" + (f" every {number_text(racer.reset.every)}" if racer.reset.every else "")


def _numbered(names: list[str]) -> list[str]:
    """The same names with a number where two are still the same."""
    total, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return unique
