"""Update rules, from the simplest to the most complex, and the registry that everything else follows.

A rule is `rule(ctx, s, age, h) -> (update, slots, trace)`, all on tables with one row for each run:

    ctx.g, ctx.p    gradient and weights                                              [R, P]
    s.<slot>        what the rule remembers, before this step                         [R, ...]
    age.<slot>      steps since that slot was last reset, this one included (1, 2, …) [R, 1]
    h.<setting>     every number a person can set, the scheduled learning rate too    [R, 1]

`update` is the direction that is subtracted; the trainer multiplies it by the learning rate last, so that a rule
reads like its equation (`scales_by_rate=False` for a rule that returns the whole step). `slots` are the new
memories, `trace` the intermediate quantities by name, for whoever wants to look inside a step.

To add an optimizer: one function and one entry in `RULES`. Its menu entry, sliders, URL parameters, legend,
charts and parity test follow from the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from core.spec import Hyper, Layout


class Context(Protocol):
    """What a rule may look at: the block of rows that is its own."""

    g: Tensor  # [R, P]
    p: Tensor  # [R, P]
    loss: Tensor  # [R], on this step's batch
    layout: Layout
    step: int  # 0, 1, …
    seeds: tuple[int, ...]  # R of them

    def gradient(self, at: Tensor, rows: Tensor | slice | None = None) -> tuple[Tensor, Tensor]:
        """Loss `[R]` and gradient `[R, P]` on the same batch at other weights, clipped like g; each call counts."""
        ...


Named = Any  # a namespace of tensors, one attribute for each slot or setting
Update = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Slot:
    """One thing a rule remembers: a tensor whose first axis is the row.

    `moment` says what it is a memory of: 1 the gradient's mean (what "reset m" clears), 2 its square ("reset v"),
    0 neither (cleared by "all" alone). `shape` gives the axes after the first from the layout (default: one number
    for each parameter). `reset` is the value it starts from: a number, the name of a setting, or a function of the
    weights `[R, P]`. `shown` marks the memory that a chart of its moment shows.
    """

    name: str
    moment: int = 0
    reset: float | str | Callable[[Tensor], Tensor] = 0.0
    shape: Callable[[Layout], tuple[int, ...]] | None = None
    shown: bool = True


@dataclass(frozen=True)
class Rule:
    """A registry entry: everything the rest of the project needs to know about an optimizer.

    `slots` is a tuple, or a function of the layout where the memory depends on the network's matrices.
    `gradient_point(p, s, h)` and `eval_params(p, s, h)` are for rules whose gradient is taken, or whose loss is
    reported, at other weights than are stored.
    """

    name: str
    label: str
    update: Callable[[Context, Named, Named, Named], Update]
    hypers: tuple[Hyper, ...]
    equation: str
    idea: str
    paper: str
    slots: tuple[Slot, ...] | Callable[[Layout], tuple[Slot, ...]] = ()
    face: tuple[str, ...] = ()
    scales_by_rate: bool = True
    gradient_point: Callable[[Tensor, Named, Named], Tensor] | None = None
    eval_params: Callable[[Tensor, Named, Named], Tensor] | None = None

    def slots_for(self, layout: Layout) -> tuple[Slot, ...]:
        """The slots of a run with this layout."""
        return self.slots(layout) if callable(self.slots) else self.slots

    def memory(self, moment: int, layout: Layout) -> Slot | None:
        """The slot that a chart shows as the memory of this moment of the gradient; None where there is none."""
        return next((slot for slot in self.slots_for(layout) if slot.moment == moment and slot.shown), None)

    def hyper(self, name: str) -> Hyper:
        """The description of one setting; `KeyError` where the rule has none of that name."""
        return {hyper.name: hyper for hyper in self.hypers}[name]


def ema(old: Tensor, new: Tensor, beta: Tensor) -> Tensor:
    """Exponential moving average, `beta old + (1 - beta) new`."""
    return torch.lerp(new, old, beta)


def decayed(ctx: Context, h: Named) -> Tensor:
    """Gradient with coupled (L2) weight decay, `g + weight_decay p`."""
    return torch.addcmul(ctx.g, h.weight_decay, ctx.p) if h.uses("weight_decay") else ctx.g


def sgd(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Stochastic gradient descent: `p <- p - lr g`. Robbins and Monro (1951)."""
    return decayed(ctx, h), {}, {}


def momentum(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Heavy ball: `m <- mu m + (1 - dampening) g; p <- p - lr m`. Polyak (1964).

    Followed: `torch.optim.SGD`, where m starts as the first gradient itself, undampened, and mu = 0 switches the
    dampening off too.
    """
    g = decayed(ctx, h)
    m = h.momentum * s.m + (1 - h.dampening * ((age.m > 1) & (h.momentum > 0))) * g
    return m, {"m": m}, {}


def nesterov(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Nesterov's momentum: `m <- mu m + g; p <- p - lr (g + mu m)`. Sutskever et al. (2013).

    Followed: `torch.optim.SGD(nesterov=True)`.
    """
    g = decayed(ctx, h)
    m = h.momentum * s.m + g
    return g + h.momentum * m, {"m": m}, {}


def adagrad(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adagrad: `v <- v + g^2; p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps)`. Duchi et al. (2011)."""
    g = decayed(ctx, h)
    v = s.v + g * g
    root = v.sqrt()
    return g / ((root + h.eps) * (1 + (age.v - 1) * h.lr_decay)), {"v": v}, {"root_v": root}


def rmsprop(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """RMSprop: `v <- alpha v + (1 - alpha) g^2; m <- mu m + g / (sqrt(v) + eps); p <- p - lr m`. Hinton (2012).

    `centered` divides by the standard deviation instead, `sqrt(v - mean^2)` with `mean` the same average of g
    (Graves, 2013). Followed: `torch.optim.RMSprop` (no bias correction, eps outside the root).
    """
    g = decayed(ctx, h)
    v = ema(s.v, g * g, h.alpha)
    mean = ema(s.mean, g, h.alpha)  # also where it is not subtracted: an edit may ask for it at any step
    # Rounding can put v below mean^2; torch then has NaN, here the spread is 0.
    root = (v - h.centered * mean * mean).clamp(min=0).sqrt() if h.uses("centered") else v.sqrt()
    scaled = g / (root + h.eps)
    m = h.momentum * s.m + scaled if h.uses("momentum") else scaled
    return m, {"v": v, "m": m, "mean": mean}, {"root_v": root}


def adam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adam: `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - lr m_hat / (sqrt(v_hat) + eps)`.

    `m_hat = m / (1 - b1^t)`, `v_hat = v / (1 - b2^t)`, with t the age of each slot. Kingma and Ba, 1412.6980.
    """
    return _adam(decayed(ctx, h), s, age, h)


def amsgrad(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """AMSGrad: Adam that divides by the largest v so far. Reddi et al., 1904.09237.

    Followed: `torch.optim.Adam(amsgrad=True)`, which takes the maximum before the bias correction.
    """
    g = decayed(ctx, h)
    m, v = ema(s.m, g, h.beta1), ema(s.v, g * g, h.beta2)
    v_max = torch.maximum(s.v_max, v)
    m_hat = m / (1 - h.beta1**age.m)
    root = (v_max / (1 - h.beta2**age.v)).sqrt()
    return m_hat / (root + h.eps), {"m": m, "v": v, "v_max": v_max}, {"m_hat": m_hat, "root_v_hat": root}


def adamw(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """AdamW: Adam on the bare gradient, and `p <- p - lr weight_decay p` beside it. Loshchilov, Hutter, 1711.05101."""
    update, slots, trace = _adam(ctx.g, s, age, h)
    if h.uses("weight_decay"):
        update = torch.addcmul(update, h.weight_decay, ctx.p)
    return update, slots, trace


def _adam(g: Tensor, s: Named, age: Named, h: Named) -> Update:
    m, v = ema(s.m, g, h.beta1), ema(s.v, g * g, h.beta2)
    m_hat = m / (1 - h.beta1**age.m)
    root = (v / (1 - h.beta2**age.v)).sqrt()
    return m_hat / (root + h.eps), {"m": m, "v": v}, {"m_hat": m_hat, "root_v_hat": root}


def _rate(default: float) -> Hyper:
    return Hyper(
        "lr", default, 1e-5, 10.0, log=True, label="Learning rate", minimum=0.0, open_minimum=True, maximum=1000.0,
        help="How far one step goes. The one setting to tune if you tune only one: search it in factors of 3.",
    )  # fmt: skip


def _decay(name: str, label: str, default: float, help: str) -> Hyper:
    stops = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
    return Hyper(
        name, default, 0.0, 0.9999, grid=stops, label=label, help=help, minimum=0.0, maximum=1.0, open_maximum=True
    )


def _eps(default: float) -> Hyper:
    return Hyper(
        "eps", default, 1e-10, 1.0, grid=tuple(float(f"1e{k}") for k in range(-10, 1)), label="ε",
        minimum=0.0, maximum=1e9,
        help="Added to the divisor so that tiny gradients do not make huge steps; 1e-8 is usual.",
    )  # fmt: skip


def _weight_decay(default: float, how: str) -> Hyper:
    return Hyper(
        "weight_decay", default, 0.0, 0.1, grid=(0.0, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1),
        label="Weight decay", minimum=0.0, maximum=10.0,
        help=f"Pulls every weight towards zero, {how}; 0 to 0.01 is usual.",
    )  # fmt: skip


CLIP = Hyper(
    "clip", 0.0, 0.0, 10.0, grid=(0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), label="Clip gradient norm",
    minimum=0.0, maximum=1e9,
    help="Shrinks a gradient whose norm is larger than this down to it; 0 switches clipping off, 1 is usual.",
)  # fmt: skip
_COUPLED = _weight_decay(0.0, "through the gradient (L2)")
_MU = _decay("momentum", "Momentum μ", 0.9, "Share of the last step's velocity that is kept; 0.9 is usual.")
_BETAS = (
    _decay("beta1", "β₁", 0.9, "Memory of the gradient's mean m: 0.9 forgets half of it in 7 steps."),
    _decay("beta2", "β₂", 0.999, "Memory of the squared gradient v: 0.999 forgets half of it in 693 steps."),
)
_DAMPENING = Hyper(
    "dampening", 0.0, 0.0, 1.0, label="Dampening", help="Share of each new gradient that is left out of m; 0 is usual."
)
_ALPHA = _decay("alpha", "α", 0.99, "Memory of the squared gradient v: 0.99 forgets half of it in 69 steps.")
_CENTERED = Hyper("centered", False, label="Centered", help="Divide by the gradient's spread instead of its size.")
_LR_DECAY = Hyper(
    "lr_decay",
    0.0,
    0.0,
    0.1,
    grid=(0.0, 1e-4, 1e-3, 0.01, 0.1),
    label="Rate decay",
    maximum=10.0,
    help="Divides the rate by 1 + this times the step.",
)
_ACCUMULATOR = Hyper(
    "initial_accumulator_value", 0.0, 0.0, 1.0, label="Start of v", maximum=1e6, help="Where the sum of squares starts."
)
_ADAM_EQUATION = (
    r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "
    r"p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}"
)
_M, _V = Slot("m", 1), Slot("v", 2)

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "sgd", "SGD", sgd, (_rate(0.001), _COUPLED, CLIP),
            r"p \leftarrow p - \eta\,g",
            "Step against the gradient. It remembers nothing.", "Robbins, Monro (1951)",
        ),
        Rule(
            "momentum", "Momentum", momentum, (_rate(0.001), _MU, _DAMPENING, _COUPLED, CLIP),
            r"m \leftarrow \mu m + g,\quad p \leftarrow p - \eta\,m",
            "A heavy ball: past gradients keep pushing.", "Polyak (1964)", (_M,), ("momentum",),
        ),
        Rule(
            "nesterov", "Nesterov", nesterov, (_rate(0.001), _MU, _COUPLED, CLIP),
            r"m \leftarrow \mu m + g,\quad p \leftarrow p - \eta\,(g + \mu m)",
            "A heavy ball that looks one step ahead.", "Nesterov (1983), Sutskever et al. (2013)",
            (_M,), ("momentum",),
        ),
        Rule(
            "adagrad", "Adagrad", adagrad, (_rate(0.01), _LR_DECAY, _ACCUMULATOR, _eps(1e-10), _COUPLED, CLIP),
            r"v \leftarrow v + g^2,\quad p \leftarrow p - \eta\,\frac{g}{\sqrt{v} + \epsilon}",
            "Divides by all the gradients ever seen: its rate only shrinks.", "Duchi, Hazan, Singer (2011)",
            (Slot("v", 2, reset="initial_accumulator_value"),),
        ),
        Rule(
            "rmsprop", "RMSprop", rmsprop,
            (_rate(0.01), _ALPHA, _decay("momentum", "μ", 0.0, "Momentum on top of the scaled gradient; 0 is usual."),
             _CENTERED, _eps(1e-8), _COUPLED, CLIP),
            r"v \leftarrow \alpha v + (1-\alpha)\,g^2,\quad m \leftarrow \mu m + \frac{g}{\sqrt{v} + \epsilon},\quad "
            r"p \leftarrow p - \eta\,m",
            "Divides by the size of recent gradients.", "Hinton (2012), Graves 1308.0850",
            # m is a velocity, not a mean of gradients, and the mean divides only where `centered` is on.
            (_V, Slot("m", 1, shown=False), Slot("mean", 1, shown=False)), ("alpha", "momentum"),
        ),
        Rule(
            "adam", "Adam", adam, (_rate(0.001), *_BETAS, _eps(1e-8), _COUPLED, CLIP), _ADAM_EQUATION,
            "A heavy ball (m) divided by the size of recent gradients (v).", "Kingma, Ba, 1412.6980",
            (_M, _V), ("beta1", "beta2"),
        ),
        Rule(
            "amsgrad", "AMSGrad", amsgrad, (_rate(0.001), *_BETAS, _eps(1e-8), _COUPLED, CLIP),
            _ADAM_EQUATION.replace(r"\sqrt{v/", r"\sqrt{\max_{s \leq t} v_s/"),
            "Adam that never forgets its largest v.", "Reddi, Kale, Kumar, 1904.09237",
            (_M, _V, Slot("v_max", 2)), ("beta1", "beta2"),
        ),
        Rule(
            "adamw", "AdamW", adamw,
            (_rate(0.001), *_BETAS, _eps(1e-8), _weight_decay(0.01, "beside the gradient"), CLIP),
            _ADAM_EQUATION + r" - \eta\lambda p",
            "Adam with weight decay beside the gradient, not inside it.", "Loshchilov, Hutter, 1711.05101",
            (_M, _V), ("beta1", "beta2"),
        ),
    )
}  # fmt: skip
