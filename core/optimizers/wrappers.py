"""Wrappers: what can be put around any rule, and the rule that comes out.

A wrapper is a function from a rule to the step of the wrapped rule; its entry says what it adds. "adam+sam+lookahead"
is Adam within SAM within Lookahead: a rule like any other, with the settings and memories of all three. To add a
wrapper: one function and one entry in `WRAPPERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import Tensor

from core.optimizers.base import Context, Named, Rule, Slot, Step, Update, norm
from core.spec import Hyper


@dataclass(frozen=True)
class Wrapper:
    """A registry entry.

    `wrap(base)` makes the step; `slots` and `hypers` come on top of the base's own, and `gradients` multiplies what a
    step of the base costs. `averages` marks one that reports the loss at other weights, which a rule that does so
    itself cannot have put around it. In `equation` the base's step is `\\mathrm{base}`.
    """

    name: str
    label: str
    wrap: Callable[[Rule], Step]
    hypers: tuple[Hyper, ...]
    equation: str
    idea: str
    paper: str
    slots: tuple[Slot, ...] = ()
    eval_params: Callable[[Tensor, Named, Named], Tensor] | None = None
    gradients: float = 1
    scales_by_rate: bool = True  # False where the wrapped step has the learning rate in it already
    tags: str = ""


def sam(base: Rule) -> Step:
    """Sharpness-aware minimisation: `g <- gradient at p + rho g / |g|`, then the base's step. Foret, 2010.01412."""

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        length = norm(ctx.g).clamp(min=1e-12)
        _, uphill = ctx.gradient(ctx.p + h.rho * ctx.g / length)
        return base.update(ctx.but(g=uphill), s, age, h)

    return step


_RHO = Hyper(
    "rho", 0.05, 0.0, 1.0, grid=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), label="SAM ρ", maximum=100.0,
    help="How far uphill SAM looks before it steps; 0.05 is usual.",
)  # fmt: skip

WRAPPERS: Mapping[str, Wrapper] = {
    wrapper.name: wrapper
    for wrapper in (
        Wrapper(
            "sam", "SAM", sam, (_RHO,),
            r"g \leftarrow \nabla L\left(p + \rho\,\frac{g}{\lVert g\rVert}\right),\quad \mathrm{base}",
            "Takes the gradient a little uphill, so that it finds flat ground.", "Foret et al., 2010.01412",
            gradients=2, tags="sharpness aware, flat minima, two gradients",
        ),
    )
}  # fmt: skip


def why_not(base: Rule, names: tuple[str, ...]) -> str:
    """One sentence on why these wrappers cannot stand around the rule; "" where they can."""
    averaging = [WRAPPERS[name].label for name in names if WRAPPERS[name].eval_params]
    if base.eval_params and averaging:
        return f"{base.label} reports its loss at an average already, so {averaging[0]} cannot be put around it."
    if len(averaging) > 1:
        return f"{averaging[0]} and {averaging[1]} both choose where the loss is reported: take one of them."
    return ""


@lru_cache(maxsize=256)
def wrapped(base: Rule, names: tuple[str, ...]) -> Rule:
    """The rule with wrappers around it, the first one innermost.

    Raises:
        ValueError: they do not go together.
    """
    if problem := why_not(base, names):
        raise ValueError(problem)
    rule = base
    for name in names:
        rule = _around(rule, WRAPPERS[name])
    return rule


def _around(rule: Rule, wrapper: Wrapper) -> Rule:
    inner = rule.slots
    slots: Callable[..., tuple[Slot, ...]] | tuple[Slot, ...] = (
        (lambda layout: (*inner(layout), *wrapper.slots)) if callable(inner) else (*inner, *wrapper.slots)
    )
    *own, clip = rule.hypers
    return replace(
        rule,
        name=f"{rule.name}+{wrapper.name}",
        label=f"{rule.label} + {wrapper.label}",
        update=wrapper.wrap(rule),
        hypers=(*own, *wrapper.hypers, clip),
        equation=wrapper.equation.replace(r"\mathrm{base}", rf"\text{{{rule.label}}}"),
        idea=f"{rule.idea} {wrapper.label}: {wrapper.idea[0].lower()}{wrapper.idea[1:]}",
        paper=f"{rule.paper}; {wrapper.paper}",
        slots=slots,
        scales_by_rate=rule.scales_by_rate and wrapper.scales_by_rate,
        eval_params=wrapper.eval_params or rule.eval_params,
        parent=rule.name,
        change=wrapper.idea,
        tags=f"{rule.tags}, {wrapper.tags}",
        gradients=rule.gradients * wrapper.gradients,
    )
