"""Wrappers: what can be put around any rule, and the rule that comes out.

A wrapper is a function from a rule to the step of the wrapped rule; its entry says what it adds. "adam+sam+lookahead"
is Adam within SAM within Lookahead: a rule like any other, with the settings and memories of all three. To add a
wrapper: one function and one entry in `WRAPPERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from core.optimizers.base import (
    CLIP,
    Context,
    Line,
    Named,
    Rule,
    Slot,
    Step,
    Update,
    decay,
    decayed,
    ema,
    itself,
    norm,
    of_tensors,
)
from core.spec import Hyper, Layout


@dataclass(frozen=True)
class Wrapper:
    """A registry entry.

    `wrap(base)` makes the step; `slots` and `hypers` come on top of the base's own, and `gradients` on top of what a
    step of the base costs. `changes` says what becomes another than the base knows of: its "gradient", its "step", or
    nothing. `first` and `last` are its lines before and behind those of the base (`Rule.listing`), each with its own
    equation, `unlisted` says what cannot be put that way. `eval_params` marks one that reports the loss at other
    weights, which a rule that does so itself cannot have put around it. `returns` says what the wrapped rule's update
    is, where that is not what the base's is. In `equation` the base's step is `\\mathrm{base}`.
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
    gradients: int = 0
    returns: Literal["", "step"] = ""
    changes: str = ""
    tags: str = ""
    first: tuple[Line, ...] = ()
    last: tuple[Line, ...] = ()
    unlisted: str = ""


def grokfast(base: Rule) -> Step:
    """Grokfast-EMA: `slow <- alpha slow + (1 - alpha) g; g <- g + lamb slow`, then the base's step.

    Lee et al., 2405.20233. Followed: the authors' `gradfilter_ema`, where slow starts as the first gradient. It sees
    the clipped gradient, and what a base asks for elsewhere is left as it is.
    """

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        slow = torch.where(age.slow_gradient > 1, ema(s.slow_gradient, ctx.g, h.grokfast_alpha), ctx.g)
        amplified = torch.addcmul(ctx.g, h.grokfast_lamb, slow)
        update, slots, trace = base.update(ctx.but(g=amplified), s, age, h)
        return update, slots | {"slow_gradient": slow}, trace

    return step


def cautious(base: Rule) -> Step:
    """Cautious: only those parts of the step that agree with the gradient, `u <- u mask / mean(mask)`.

    `mask = (u g > 0)`, its mean taken over each tensor. Liang et al., 2411.16085, algorithm 1. Followed: the authors'
    code, where the mean is at least 1e-3; their algorithm 2 and pytorch_optimizer divide by (kept + 1) / n, which
    would halve the step of a lone bias. Decay beside the gradient stays out of the mask, and so out of u; decay through
    the gradient is part of the g that u is compared with. In LAMB u is the step with its trust ratio.
    """

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        update, slots, trace = base.update(ctx, s, age, h)
        share = trace.get("decay") if h.uses("weight_decay") else None
        if share is None:
            g = torch.addcmul(ctx.g, trace["l2"], ctx.p) if "l2" in trace else decayed(ctx, h)
            return _agreeing(ctx.layout, update, g), slots, trace
        bare = torch.addcmul(update, share, ctx.p, value=-1)
        return torch.addcmul(_agreeing(ctx.layout, bare, ctx.g), share, ctx.p), slots, trace

    return step


def _agreeing(layout: Layout, update: Tensor, g: Tensor) -> Tensor:
    """`u mask / mean(mask)`, `[R, P]`."""
    mask = (update * g > 0).to(g)
    share = of_tensors(layout, lambda part: part.mean(1, keepdim=True), mask).clamp_(min=1e-3)
    return update * mask.div_(share)


def sam(base: Rule) -> Step:
    """Sharpness-aware minimisation: `g <- gradient at p + rho g / |g|`, then the base's step. Foret, 2010.01412.

    p is where the base takes its gradient. Both gradients are clipped, which leaves the direction uphill as it is;
    what a base asks for elsewhere is left as it is, too.
    """

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        here = base.gradient_point(ctx.p, s, h) if base.gradient_point else ctx.p
        _, uphill = ctx.gradient(here + h.sam_rho * ctx.g / norm(ctx.g).clamp(min=1e-12))
        return base.update(ctx.but(g=uphill), s, age, h)

    return step


def lookahead(base: Rule) -> Step:
    """Lookahead: every k steps of the base, `slow <- slow + alpha (p - slow); p <- slow`. Zhang et al., 1907.08610.

    k is `sync_period`, alpha `slow_step_size`; slow starts as the first weights. The base's memory is kept, and the
    loss is reported at p.
    """

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        update, slots, trace = base.update(ctx, s, age, h)
        trace.pop("decay", None)  # the step that is returned is another
        whole = base.whole_step(ctx, update, h)
        due = age.slow_weights % h.sync_period == 0
        slow = torch.where(due, torch.lerp(s.slow_weights, ctx.after(whole), h.slow_step_size), s.slow_weights)
        return torch.where(due, ctx.p - slow, whole), slots | {"slow_weights": slow}, trace

    return step


def average(base: Rule) -> Step:
    """EMA of the weights: `average <- b average + (1 - b) p` after each step; the loss is that of the average.

    b is `ema_decay`. Polyak and Juditsky (1992), in the form of Tarvainen and Valpola, 1703.01780. Followed:
    `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`, where the first update copies p.
    """

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        update, slots, trace = base.update(ctx, s, age, h)
        p = ctx.after(base.whole_step(ctx, update, h))
        averaged = torch.where(age.ema_weights > 1, ema(s.ema_weights, p, h.ema_decay), p)
        return update, slots | {"ema_weights": averaged}, trace

    return step


def tail(base: Rule) -> Step:
    """Tail average: the mean of the weights over the last share of the run, `tail`; the loss is that of the mean.

    Until then, and without a tail, the loss is that of p. Izmailov et al., 1803.05407, who average once an epoch.
    Followed: `torch.optim.swa_utils.AveragedModel` with equal weights, updated at every step.
    """

    def step(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        update, slots, trace = base.update(ctx, s, age, h)
        p = ctx.after(base.whole_step(ctx, update, h))
        within = ctx.step + 1 - (ctx.steps * (1 - h.tail)).round()  # steps of the tail so far
        count = torch.minimum(within, age.tail_weights).clamp(min=1)
        return update, slots | {"tail_weights": torch.lerp(s.tail_weights, p, 1 / count)}, trace

    return step


# Names of settings and memories are no rule's: a wrapped rule has both kinds.
_GROKFAST = (
    decay("grokfast_alpha", "Grokfast α", 0.98, "Memory of the slow gradient: 0.98 forgets half of it in 34 steps."),
    Hyper("grokfast_lamb", 2.0, 0.0, 10.0, grid=(0.0, 0.5, 1.0, 2.0, 5.0, 10.0), label="Grokfast λ", maximum=1e3,
          help="How many times the slow part of the gradient is added to it; 2 is usual, 0 adds nothing."),
)  # fmt: skip
_RHO = Hyper(
    "sam_rho", 0.05, 0.0, 1.0, grid=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), label="SAM ρ", maximum=100.0,
    help="How far uphill SAM looks before it steps; 0.05 is usual.",
)  # fmt: skip
_LOOKAHEAD = (
    Hyper("sync_period", 5, 1, 20, label="Lookahead k", maximum=10_000_000,
          help="Fast steps between two steps of the slow weights; 5 is usual."),
    Hyper("slow_step_size", 0.5, 0.0, 1.0, label="Lookahead α",
          help="Share of the way to the fast weights that the slow ones go; 0.5 is usual, 1 changes nothing."),
)  # fmt: skip
_EMA_DECAY = decay("ema_decay", "EMA decay", 0.99, "Memory of the averaged weights: 0.99 spans about 100 steps.")
_TAIL = Hyper(
    "tail",
    0.25,
    0.0,
    1.0,
    label="Tail",
    help="Share of the run, at its end, whose weights are averaged; 0.25 is usual.",
)

# From the inside out: what changes the step sees the gradient as SAM hands it in, averages see the weights at last.
WRAPPERS: Mapping[str, Wrapper] = {
    wrapper.name: wrapper
    for wrapper in (
        Wrapper(
            "grokfast", "Grokfast", grokfast, _GROKFAST,
            r"\new{\bar g \leftarrow \alpha \bar g + (1-\alpha)\,g,\quad g \leftarrow g + \lambda \bar g},\quad "
            r"\mathrm{base}",
            "Amplifies the slow part of the gradient, which is said to bring late generalisation forward.",
            "Lee et al., 2405.20233", (Slot("slow_gradient", 1, linear=True),),
            changes="gradient", tags="gradient filter, grokking, low-pass",
            first=(
                Line("slow_gradient = where(t_slow_gradient > 1, "
                     "grokfast_alpha * slow_gradient + (1 - grokfast_alpha) * g, g)",
                     "The slow gradient keeps {grokfast_alpha} of its old value: half of a bad one is gone after "
                     "{half(grokfast_alpha)}.",
                     r"\bar g \leftarrow \alpha \bar g + (1-\alpha)\,g"),
                Line("g = g + grokfast_lamb * slow_gradient",
                     "It is added to today's gradient {grokfast_lamb} times: a bad one comes back for many steps.",
                     r"g \leftarrow g + \lambda \bar g"),
            ),
        ),
        Wrapper(
            "cautious", "Cautious", cautious, (),
            r"u = \mathrm{base},\quad p \leftarrow p - \eta\,u \new{\,\frac{[u\,g > 0]}{\mathrm{mean}\,[u\,g > 0]}}",
            "Moves only the weights whose step agrees with the gradient, and those a little more.",
            "Liang et al., 2411.16085",
            changes="step", tags="sign agreement, mask",
            unlisted="Cautious acts around these lines: of the step that they make it takes only the parts that agree "
                     "with today's gradient, made a little longer.",
        ),
        Wrapper(
            "sam", "SAM", sam, (_RHO,),
            r"\new{g \leftarrow \nabla L\left(p + \rho\,\frac{g}{\lVert g\rVert}\right)},\quad \mathrm{base}",
            "Takes the gradient a little uphill, so that it finds flat ground.", "Foret et al., 2010.01412",
            gradients=1, changes="gradient", tags="sharpness aware, flat minima, two gradients",
            first=(
                Line("g = uphill", "The gradient, taken once more, {sam_rho} uphill: this is what the rule sees.",
                     r"g \leftarrow \nabla L\left(p + \rho\,\frac{g}{\lVert g\rVert}\right)"),
            ),
        ),
        Wrapper(
            "lookahead", "Lookahead", lookahead, _LOOKAHEAD,
            r"\mathrm{base},\quad \new{\text{every } k \text{ steps: } s \leftarrow s + \alpha\,(p - s),\; "
            r"p \leftarrow s}",
            "Every few steps it goes back part of the way, to slow weights that follow the fast ones.",
            "Zhang et al., 1907.08610", (Slot("slow_weights", reset=itself),),
            returns="step", changes="step", tags="slow weights, k steps forward",
            last=(
                Line("slow_weights = where(t_slow_weights % sync_period == 0, "
                     "slow_weights + slow_step_size * (p - slow_weights), slow_weights)",
                     "Every {sync_period} steps the slow weights go {slow_step_size} of the way to the fast ones.",
                     r"s \leftarrow s + \alpha\,(p - s)"),
                Line("p = where(t_slow_weights % sync_period == 0, slow_weights, p)",
                     "And the fast ones start from there again: a part of what a bad gradient did is taken back.",
                     r"p \leftarrow s"),
            ),
        ),
        Wrapper(
            "ema", "EMA", average, (_EMA_DECAY,),
            r"\mathrm{base},\quad \new{\bar p \leftarrow \beta \bar p + (1-\beta)\,p}",
            "Reports the loss at a moving average of the weights, and trains on undisturbed.",
            "Polyak, Juditsky (1992), Tarvainen, Valpola, 1703.01780", (Slot("ema_weights", reset=itself),),
            eval_params=lambda p, s, h: s.ema_weights, tags="exponential moving average, averaged weights",
            last=(
                Line("ema_weights = where(t_ema_weights > 1, ema_decay * ema_weights + (1 - ema_decay) * p, p)",
                     "The average where the loss is measured: half of where the weights have been is gone after "
                     "{half(ema_decay)}.",
                     r"\bar p \leftarrow \beta \bar p + (1-\beta)\,p"),
            ),
        ),
        Wrapper(
            "tail", "Tail average", tail, (_TAIL,),
            r"\mathrm{base},\quad \new{\bar p = \mathrm{mean}\left(p_s : s > (1 - \tau)\,T\right)}",
            "Reports the loss at the mean of the weights over the last part of the run.",
            "Izmailov et al., 1803.05407", (Slot("tail_weights", reset=itself),),
            eval_params=lambda p, s, h: s.tail_weights, tags="stochastic weight averaging, SWA, averaged weights",
            last=(
                Line("tail_weights = tail_weights + (p - tail_weights) "
                     "/ maximum(1, minimum(now - round(total_steps * (1 - tail)), t_tail_weights))",
                     "The mean of the weights since the tail began; until then, the weights themselves.",
                     r"\bar p \leftarrow \bar p + \frac{p - \bar p}{n}"),
            ),
        ),
    )
}  # fmt: skip


def why_not(base: Rule, names: tuple[str, ...]) -> str:
    """One sentence on why these wrappers cannot stand around the rule; "" where they can."""
    wrappers = [WRAPPERS[name] for name in names]
    averaging = [wrapper.label for wrapper in wrappers if wrapper.eval_params]
    for wrapper in wrappers:
        if base.full_batch and wrapper.changes:
            return (
                f"{base.label} learns from its own steps and gradients, so {wrapper.label}, which changes its "
                f"{wrapper.changes}, cannot be put around it."
            )
        if base.eval_params and wrapper.changes == "step":
            return f"{base.label} averages the weights it steps to, so {wrapper.label}, which moves them, does not fit."
        if base.guest and wrapper.name == "cautious":
            return f"{base.label} keeps its weight decay to itself, so {wrapper.label} cannot tell it from the step."
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

    def around(slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
        if wrapper.changes == "gradient":  # the base remembers another one than the spike's
            slots = tuple(replace(slot, linear=False) for slot in slots)
        return (*slots, *wrapper.slots)

    slots: Callable[..., tuple[Slot, ...]] | tuple[Slot, ...] = (
        (lambda layout: around(inner(layout))) if callable(inner) else around(inner)
    )
    clipping = tuple(hyper for hyper in rule.hypers if hyper is CLIP)  # stays the last
    return replace(
        rule,
        name=f"{rule.name}+{wrapper.name}",
        label=f"{rule.label} + {wrapper.label}",
        update=wrapper.wrap(rule),
        hypers=(*(hyper for hyper in rule.hypers if hyper is not CLIP), *wrapper.hypers, *clipping),
        equation=wrapper.equation.replace(r"\mathrm{base}", rf"\text{{{rule.label}}}"),
        idea=f"{rule.idea} {wrapper.label}: {wrapper.idea[0].lower()}{wrapper.idea[1:]}",
        paper=f"{rule.paper}; {wrapper.paper}",
        slots=slots,
        returns=wrapper.returns or rule.returns,
        eval_params=wrapper.eval_params or rule.eval_params,
        parent=rule.name,
        change=wrapper.idea,
        tags=f"{rule.tags}, {wrapper.tags}",
        gradients=lambda settings: rule.taken(settings)[0] + wrapper.gradients,
        listing=(*wrapper.first, *rule.listing, *wrapper.last) if rule.listing else (),
        unlisted=" ".join(filter(None, (rule.unlisted, wrapper.unlisted))),
    )
