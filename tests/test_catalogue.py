"""docs/optimizers.md and the table of proofs: complete, well-formed, and up to date."""

import re
from dataclasses import replace

import pytest

from core import RULES, SCHEDULES
from core.conformance import Proof, proofs
from core.optimizers import WRAPPERS
from core.optimizers.base import CLIP
from ui.catalogue import FILE, document, proof_table, proved
from ui.family import around, menu
from ui.scenario import OFFERED

TEXT = document()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_document_is_up_to_date() -> None:
    assert FILE.read_text() == TEXT + "\n", "docs/optimizers.md is out of date: `make docs` writes it anew"


def test_every_proof_is_complete() -> None:
    for name, proof in proofs().items():
        assert name in RULES and proof.reference and 0 < proof.difference < 1e-9
        assert proof.steps >= 200 and proof.racers >= 10
        assert not proof.note or (proof.note.endswith(".") and not proof.reference.endswith("."))


@pytest.mark.parametrize("name", menu())
def test_a_rule_has_all_of_its_entry(name: str) -> None:
    rule = RULES[name]
    part = TEXT.split(f"\n### {rule.label}\n")[1].split("\n### ")[0]
    assert part.startswith(f"\n{rule.idea}\n\n$$\n") and proofs()[name].reference in part
    assert rule.change in part
    for hyper in rule.hypers:
        assert (f"(`{hyper.name}`)" in part) == (hyper is not CLIP)
        assert hyper is CLIP or (hyper.help in part and hyper.domain in part)


def test_wrappers_and_schedules_are_there() -> None:
    wrappers = [(entry.label, entry.hypers) for entry in WRAPPERS.values()]
    schedules = [(SCHEDULES[name].label, SCHEDULES[name].hypers) for name in OFFERED]
    for label, hypers in wrappers + schedules:
        assert f"\n### {label[0].upper()}{label[1:]}\n" in TEXT
        assert all(f"(`{hyper.name}`)" in TEXT for hyper in hypers)


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    linked = set(re.findall(r"\]\(#([^)]*)\)", TEXT))
    assert len(linked) == len(menu()) and all(anchors.count(anchor) == 1 for anchor in linked)


def test_tables_are_tables() -> None:
    """Every row has as many cells as its head, none of them empty."""
    tables = re.findall(r"(?:^\|.*\|\n?)+", TEXT, re.MULTILINE)
    assert len(tables) > len(menu())
    for table in tables:
        head, rule, *rows = map(cells, table.splitlines())
        assert set(rule) == {"---"} and rows
        for row in rows:
            assert len(row) == len(head) and all(row), row


def test_the_table_of_proofs_names_every_rule_and_wrapper() -> None:
    rows = [cells(line) for line in proof_table().splitlines()[2:]]
    assert [row[0] for row in rows] == [RULES[name].label for name in (*menu(), *around())]
    adam = proofs()["adam"]
    (row,) = [row for row in rows if row[0] == "Adam"]
    assert row[1].startswith(adam.reference) and row[3] == f"{adam.racers}\u00a0×\u00a0{adam.steps}"


def test_a_difference_reads_as_a_power_of_ten() -> None:
    proof = Proof("the paper", "", 1e-13, 200, 18)
    assert proved(proof) == "within 10⁻¹³ of the paper"
    assert proved(replace(proof, difference=2e-14)) == "within 10⁻¹³ of the paper", "rounded up"
