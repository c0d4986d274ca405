"""What each rule was compared with and how closely it agreed: measured by tests/test_parity.py, kept in
conformance.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

_FILE = Path(__file__).with_name("conformance.json")


@dataclass(frozen=True)
class Proof:
    """One rule's comparison: `racers` with random settings, each for `steps` steps, against `reference`.

    `difference` is the largest one at any step, relative to the largest weight, rounded up to a power of ten; `note`
    says which variant was followed where sources differ.
    """

    reference: str
    note: str
    difference: float
    steps: int
    racers: int


@lru_cache(maxsize=1)
def proofs() -> Mapping[str, Proof]:
    """The proofs by rule, "adam+sam" for a wrapper around Adam."""
    entries = json.loads(_FILE.read_text())
    return MappingProxyType({rule: Proof(**entry) for rule, entry in entries.items()})
