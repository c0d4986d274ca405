"""The registries and the proofs as Markdown: docs/optimizers.md, and the table of proofs that a page shows.

`python -m ui.catalogue` (or `make docs`) writes the file; tests/test_catalogue.py says when it is out of date.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.conformance import Proof, proofs
from core.optimizers import RULES, WRAPPERS
from core.optimizers.base import CLIP, Rule
from core.schedules import SCHEDULES
from core.schedules.base import WARMUP, Schedule
from core.spec import Hyper
from ui.equations import bare
from ui.family import LETTERS, around, asks, children, menu, papers
from ui.numbers import number_text
from ui.scenario import OFFERED

FILE = Path(__file__).resolve().parent.parent / "docs" / "optimizers.md"
HOW = (
    "Each run of the tests trains every rule with random settings, in 64-bit numbers and in one table with all the "
    "others, beside another implementation of it, and compares the weights after every step. A rule that was compared "
    "with nothing is not in the menu."
)


def document() -> str:
    """All of docs/optimizers.md."""
    return "\n\n".join(
        [
            "# Optimizers",
            "Written by `make docs` from the registry and from what the tests measured: change those, not this file.",
            "## Family tree",
            "Each rule is its parent with one thing changed.",
            "\n".join(_tree("", 0)),
            "## The rules",
            f"{LETTERS} Besides its own settings each rule{_unclipped()} has:",
            *_settings([CLIP]),
            *(part for name in menu() for part in _rule(RULES[name])),
            "## Around any rule",
            "A wrapper takes a whole rule, the base, and changes the gradient that it is given or what becomes of its "
            "step. Its settings come on top of the base's.",
            *(part for name in around() for part in _wrapper(name)),
            "## Schedules",
            "What the learning rate does during a run.",
            *(part for name in OFFERED for part in _schedule(SCHEDULES[name])),
            "Any of them may have a warm-up before it:",
            *_settings(WARMUP),
            "## Proofs",
            HOW,
            proof_table(),
        ]
    )


def proof_table() -> str:
    """Rule, reference, largest difference and size of every comparison, as a Markdown table."""
    rows = [
        (_label(name), ". ".join(filter(None, [proof.reference, proof.note])),
         _power(proof.difference), f"{proof.racers}\u00a0×\u00a0{proof.steps}")
        for name, proof in _proofs()
    ]  # fmt: skip
    return _table(("Optimizer", "Equals", "Largest difference", "Runs × steps"), rows)


def proved(proof: Proof) -> str:
    """A comparison in a few words."""
    return f"within {_power(proof.difference)} of {proof.reference}"


def _power(number: float) -> str:
    """The next power of ten, as one writes it: 10⁻¹⁵."""
    return "10" + str(math.ceil(math.log10(number))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _proofs() -> list[tuple[str, Proof]]:
    return [(name, proofs()[name]) for name in (*menu(), *around())]


def _label(name: str) -> str:
    return RULES[name].label


def _tree(name: str, depth: int) -> Iterable[str]:
    for child in children(name):
        rule = RULES[child]
        yield f"{'  ' * depth}- {_linked(rule)}: {rule.change or rule.idea}"
        yield from _tree(child, depth + 1)


def _rule(rule: Rule) -> Sequence[str]:
    changed = [f"Changes {_linked(RULES[rule.parent])}: {rule.change}"] if rule.parent else []
    return [
        f"### {rule.label}",
        rule.idea,
        f"$$\n{bare(rule.equation)}\n$$",
        *changed,
        _facts(rule.name, rule.paper),
        *_settings(hyper for hyper in rule.hypers if hyper is not CLIP),
    ]


def _wrapper(name: str) -> Sequence[str]:
    entry = WRAPPERS[name.split("+")[1]]
    return [
        f"### {entry.label}",
        entry.idea,
        f"$$\n{bare(entry.equation)}\n$$",
        _facts(name, entry.paper),
        *_settings(entry.hypers),
    ]


def _unclipped() -> str:
    """ " but …": the rules whose gradient is not clipped."""
    names = [_linked(rule) for rule in map(RULES.__getitem__, menu()) if CLIP not in rule.hypers]
    return f" but {' and '.join(names)}" if names else ""


def _schedule(entry: Schedule) -> Sequence[str]:
    own = [hyper for hyper in entry.hypers if hyper not in WARMUP]
    return [f"### {_sentence(entry.label)[:-1]}", entry.help, *_settings(own)]


def _facts(name: str, paper: str) -> str:
    proof = proofs()[name]
    facts = _sentence(", ".join(asks(RULES[name])))
    return " ".join(filter(None, [f"{papers(paper)}.", facts, _sentence(proved(proof)), proof.note]))


def _settings(hypers: Iterable[Hyper]) -> list[str]:
    """A table; none where there is nothing to set."""
    rows = [(f"{hyper.title} (`{hyper.name}`)", _value(hyper.default), hyper.domain, hyper.help) for hyper in hypers]
    return [_table(("Setting", "Default", "Allowed", "What it does"), rows)] if rows else []


def _value(default: float | int | bool) -> str:
    return ("on" if default else "off") if isinstance(default, bool) else number_text(default)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _linked(rule: Rule) -> str:
    """A link to its heading, by the name that Markdown gives to that."""
    anchor = re.sub(r"[^\w -]", "", rule.label.lower()).replace(" ", "-")
    return f"[{rule.label}](#{anchor})"


if __name__ == "__main__":
    FILE.write_text(document() + "\n")
