"""Update rules, from the simplest to the most complex, and the registry that everything else follows.

To add an optimizer: one function and one entry in the `RULES` of its family's file. Its menu entry, sliders, URL
parameters, legend, charts, family tree and tests follow from the entry; tests/references/ names what it must equal.
"""

from __future__ import annotations

from difflib import get_close_matches

from core.optimizers import adam, averaged, curvature, factored, layerwise, matrix, plain, relatives, scaled, sign
from core.optimizers.base import Rule
from core.optimizers.wrappers import WRAPPERS, why_not, wrapped


class Rules(dict[str, Rule]):
    """The rules by name; "adam+sam" is found too, without being listed: Adam with a wrapper around it.

    Wrappers stand in the order of `WRAPPERS`, each at most once, so that a combination has one name.
    """

    def __missing__(self, name: str) -> Rule:
        base, *names = name.split("+")
        if not names or not dict.__contains__(self, base) or not set(names) <= set(WRAPPERS):
            raise KeyError(name)
        if names != [known for known in WRAPPERS if known in names]:
            raise KeyError(name)
        return wrapped(self[base], tuple(names))

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self[name])
        except (KeyError, ValueError):
            return False

    def find(self, name: object) -> Rule:
        """The rule of that name.

        Raises:
            ValueError: there is none, or its wrappers do not go together; one readable sentence.
        """
        try:
            return self[str(name)]
        except KeyError:
            base = str(name).split("+")[0]
            near = get_close_matches(base, self, 3, 0.5) or list(self)[:3]
            around = ", ".join(f"+{wrapper}" for wrapper in WRAPPERS)
            raise ValueError(
                f"optimizer is {str(name)[:40]!r}, but must be one of the {len(self)} in RULES, such as "
                f"{', '.join(near)}, alone or followed by some of {around}, in this order."
            ) from None

    def place(self, name: str) -> tuple[int, str]:
        """Where a rule, wrapped or not, stands in the order of all."""
        return list(self).index(name.split("+")[0]), name


RULES = Rules(
    {
        rule.name: rule
        for family in (plain, scaled, factored, adam, relatives, sign, layerwise, averaged, matrix, curvature)
        for rule in family.RULES
    }
)

__all__ = ["RULES", "WRAPPERS", "Rule", "Rules", "why_not", "wrapped"]
