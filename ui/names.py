"""What racers are called: by their rule, and by what sets them apart where a rule runs twice."""

from __future__ import annotations

from collections import Counter

from core.config import Config, Racer
from core.optimizers import RULES


def labels(config: Config) -> list[str]:
    """One name a racer, all different: "Adam", or "Adam 0.003" and "Adam 0.1"."""
    names = [RULES[racer.rule].label for racer in config.racers]
    for detail in (_rate, _plan, _settings):
        doubled = {name for name, count in Counter(names).items() if count > 1}
        names = [
            f"{name} {detail(racer)}".strip() if name in doubled else name
            for name, racer in zip(names, config.racers, strict=True)
        ]
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if names.count(name) == 1 else f"{name} ({seen[name]})")
    return unique


def _rate(racer: Racer) -> str:
    return f"{racer.get('lr'):g}"


def _plan(racer: Racer) -> str:
    """Schedule and reset, where there are any."""
    parts = [] if racer.schedule.name == "constant" else ["decayed"]
    if racer.reset.what != "nothing":
        parts.append(f"reset {racer.reset.what}")
    return " ".join(parts)


def _settings(racer: Racer) -> str:
    """The settings that are not the library's defaults."""
    changed = [
        f"{hyper.title} {racer.get(hyper.name):g}"
        for hyper in racer.spec.hypers
        if hyper.name != "lr" and racer.get(hyper.name) != hyper.default
    ]
    return " ".join(changed)
