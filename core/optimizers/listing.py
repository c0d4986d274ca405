"""An update rule as lines of PyTorch that can be read, run, and filled in with numbers.

The lines of a rule (`Rule.listing`) are assignments on tables `[R, P]` and columns `[R, 1]`, by these names:

    g, p                 gradient and weights
    a setting            its value at this step
    a slot               what the rule remembers, before its own line is run; where its name is another's: last_<name>
    t_<slot>             steps since that slot was last reset, this one included
    now, total_steps     this step, 1, 2, …, and the steps of the run
    batch                examples whose mean the loss is
    drawn, uphill, length   what the rule itself asked for or found beside the gradient, where it did

and of the functions `WORDS`, those of `measures`, and the rule's own `words`. Run in order they give the rule's own
new slots and weights, which tests/test_microscope.py holds for every rule of the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from core.optimizers.base import Line, Rule, dot, norm, of_tensors, rms
from core.spec import Layout

Names = dict[str, Any]


def _table(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _each(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function on numbers too."""
    return lambda *values: function(*(_table(value) for value in values))


# Number by number: shown with their arguments.
WORDS: Mapping[str, Callable[..., Tensor]] = {
    "sqrt": _each(torch.sqrt),
    "exp": _each(torch.exp),
    "log": _each(torch.log),
    "cos": _each(torch.cos),
    "abs": _each(torch.abs),
    "sign": _each(torch.sign),
    "round": _each(torch.round),
    "maximum": _each(torch.maximum),
    "minimum": _each(torch.minimum),
    "fmax": _each(torch.fmax),  # the other number where one is none
    "where": lambda condition, one, other: torch.where(condition, _table(one), _table(other)),
}


def measures(layout: Layout) -> dict[str, Callable[..., Tensor]]:
    """Functions of whole tables: `norm` and `rms` of each tensor, spread over its weights `[R, P]`, and of all
    weights of a run, `[R, 1]`, `total_norm`, `l1` and `dot`.
    """
    return {
        "norm": lambda table: of_tensors(layout, norm, table),
        "rms": lambda table: of_tensors(layout, rms, table),
        "total_norm": norm,
        "l1": lambda table: table.abs().sum(1, keepdim=True),
        "dot": dot,
    }


def called(slot: str) -> str:
    """A slot's name in the lines: its own, unless that means something else there."""
    return f"last_{slot}" if slot in ("g", "p", *WORDS) else slot


def names(
    rule: Rule,
    layout: Layout,
    *,
    p: Tensor,
    g: Tensor,
    slots: Mapping[str, Tensor],
    ages: Mapping[str, Tensor],
    settings: Mapping[str, Tensor],
    **more: Any,
) -> Names:
    """Everything that a rule's lines may name, before the first of them is run; `more` are now, batch, asked …"""
    known: Names = {**WORDS, **measures(layout), **(rule.words(layout) if rule.words else {}), **more, **settings}
    known |= {f"t_{name}": age for name, age in ages.items()}
    known |= {called(name): slot for name, slot in slots.items()}
    return known | {"g": g, "p": p}


def run(line: Line, known: Names, after: Callable[[Tensor], Tensor]) -> None:
    """Do what the line says: its names get their new values. `after(p)` puts weights back where they are allowed."""
    before = known["p"]
    exec(_compiled(line.code), {"__builtins__": {}}, known)
    if known["p"] is not before:
        known["p"] = after(known["p"])


def evaluated(expression: str, known: Names) -> Any:
    """The value of one expression of a line."""
    return eval(_compiled(expression, "eval"), {"__builtins__": {}}, known)


@lru_cache(maxsize=1024)
def _compiled(code: str, mode: str = "exec") -> CodeType:
    return compile(code, "<listing>", mode)


# ---------------------------------------------------------------- lines that rules share

COUPLED = Line(
    "g = g + weight_decay * p",
    "Weight decay through the gradient: {weight_decay} of the weight is added to it, and remembered with it.",
    r"g \leftarrow g + \lambda p", "weight_decay",
)  # fmt: skip
MEAN = Line(
    "m = beta1 * m + (1 - beta1) * g",
    "m is {beta1} of its old value plus {1 - beta1} of today's gradient: half of a bad one is gone after "
    "{half(beta1)}.",
)
SQUARE = Line(
    "v = beta2 * v + (1 - beta2) * g**2",
    "v is {beta2} of its old value plus {1 - beta2} of today's squared gradient: half of a bad one is still there "
    "after {half(beta2)}, and all that time the steps are smaller.",
)
ADAM = Line(
    "p = p - lr * (m / (1 - beta1**t_m)) / (sqrt(v / (1 - beta2**t_v)) + eps)",
    "The weight moves against m, divided by the size of recent gradients: about the rate, {lr}, while they agree, and "
    "far less while a large one still stands in v.",
)
ADAMW = Line(
    "p = p - lr * (m / (1 - beta1**t_m)) / (sqrt(v / (1 - beta2**t_v)) + eps) - lr * weight_decay * p",
    "Adam's step: about the rate, {lr}, while gradients agree, and far less while a large one still stands in v; "
    "beside it the weight shrinks by {lr * weight_decay} of itself, whatever v is.",
)


def own(line: Line, equation: str, when: str = "") -> Line:
    """The same line where the rule's equation leaves it out."""
    return replace(line, equation=equation, when=when or line.when)


MEAN_OWN = own(MEAN, r"m \leftarrow \beta_1 m + (1-\beta_1)\,g")
SQUARE_OWN = own(SQUARE, r"v \leftarrow \beta_2 v + (1-\beta_2)\,g^2")


def of_equation(lines: Iterable[Line]) -> list[Line]:
    """Those that stand in the rule's equation, in its order."""
    return [line for line in lines if not line.equation]
