"""Update rules, from the simplest to the most complex, and the registry that everything else follows.

To add an optimizer: one function and one entry in the `RULES` of its family's file. Its menu entry, sliders, URL
parameters, legend, charts, family tree and tests follow from the entry; tests/references/ names what it must equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from difflib import get_close_matches

from core.optimizers import adam, averaged, curvature, factored, layerwise, matrix, plain, relatives, scaled, sign
from core.optimizers.base import Rule
from core.optimizers.wrappers import WRAPPERS, why_not, wrapped


class Rules(MutableMapping[str, Rule]):
    """The rules by name; "adam+sam" is there too, without being listed: Adam with a wrapper around it.

    Wrappers stand in the order of `WRAPPERS`, each at most once, so that a combination has one name.
    """

    def __init__(self, rules: Iterable[Rule]):
        self._listed = {rule.name: rule for rule in rules}

    def __getitem__(self, name: str) -> Rule:
        base, *around = name.split("+") if isinstance(name, str) else [""]
        rule = self._listed[base]
        if not around:
            return rule
        if around != [known for known in WRAPPERS if known in around] or why_not(rule, tuple(around)):
            raise KeyError(name)
        return wrapped(rule, tuple(around))

    def __setitem__(self, name: str, rule: Rule) -> None:
        self._listed[name] = rule

    def __delitem__(self, name: str) -> None:
        del self._listed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)

    def find(self, name: object) -> Rule:
        """The rule of that name.

        Raises:
            ValueError: there is none, or its wrappers do not go together; one readable sentence.
        """
        if isinstance(name, str) and name in self:
            return self[name]
        base, *around = str(name).split("+")
        if base in self and around and around == [known for known in WRAPPERS if known in around]:
            raise ValueError(why_not(self[base], tuple(around)))
        near = get_close_matches(base, self, 3, 0.5) or list(self)[:3]
        others = ", ".join(f"+{wrapper}" for wrapper in WRAPPERS)
        raise ValueError(
            f"optimizer is {str(name)[:40]!r}, but must be one of the {len(self)} in RULES, such as "
            f"{', '.join(near)}, alone or followed by some of {others}, in this order."
        )

    def place(self, name: str) -> tuple[int, str]:
        """Where a rule, wrapped or not, stands in the order of all."""
        return list(self).index(name.split("+")[0]), name


RULES = Rules(
    rule
    for family in (plain, scaled, factored, adam, relatives, sign, layerwise, averaged, matrix, curvature)
    for rule in family.RULES
)

__all__ = ["RULES", "WRAPPERS", "Rule", "Rules", "why_not", "wrapped"]
