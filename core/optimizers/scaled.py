"""Rules that give each weight a rate of its own, from the sizes or the signs of its gradients so far."""

from __future__ import annotations

from dataclasses import replace

import torch

from core.optimizers import listing
from core.optimizers.base import (
    CLIP,
    COUPLED,
    Context,
    Line,
    Named,
    Rule,
    Slot,
    Update,
    V,
    decay,
    decayed,
    ema,
    eps,
    rate,
)
from core.spec import Hyper


def adagrad(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adagrad: `v <- v + g^2; p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps)`. Duchi et al. (2011)."""
    g = decayed(ctx, h)
    v = s.v + g * g
    root = v.sqrt()
    return g / ((root + h.eps) * (1 + (age.v - 1) * h.lr_decay)), {"v": v}, {"root_v_hat": root}


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
    return m, {"v": v, "m": m, "mean": mean}, {"root_v_hat": root}


def adadelta(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adadelta: `v <- rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u <- rho u + (1 - rho) d^2;
    p <- p - lr d`. Zeiler, 1212.5701.

    Followed: `torch.optim.Adadelta`. The paper has no learning rate, which here is 1.
    """
    g = decayed(ctx, h)
    v = ema(s.v, g * g, h.rho)
    root = (v + h.eps).sqrt()
    step = (s.u + h.eps).sqrt() / root * g
    return step, {"v": v, "u": ema(s.u, step * step, h.rho)}, {"root_v_hat": root}


def rprop(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Rprop: `size <- size etaplus` where g kept its sign, `size etaminus` where it changed; `p <- p - size sign(g)`.

    Where the sign changed, the weight rests for a step, and the next one counts as its first. Riedmiller and Braun
    (1993); followed: `torch.optim.Rprop` (iRprop-: no step is taken back; Igel and Hüsken, 2000). As there, the
    learning rate is each weight's first size and nothing else: a schedule acts on what starts at a reset.
    """
    sign = ctx.g.sign()
    kept = sign * s.sign  # 1: the same sign, -1: another, 0: there was none to compare with
    factor = torch.where(kept > 0, h.etaplus, torch.where(kept < 0, h.etaminus, 1))
    size = (s.size * factor).clamp(min=h.step_size_min, max=h.step_size_max)
    sign = torch.where(kept < 0, 0, sign)
    return sign * size, {"sign": sign, "size": size}, {}


_ALPHA = decay("alpha", "α", 0.99, "Memory of the squared gradient v: 0.99 forgets half of it in 69 steps.")
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
_ADADELTA_EPS = replace(
    eps(1e-6), open_minimum=True,
    help="Added to both mean squares, of steps and of gradients, so it sets how small the first steps are; 1e-6 is "
    "usual.",
)  # fmt: skip
_ETAMINUS = Hyper(
    "etaminus", 0.5, 0.1, 0.95, label="η₋", minimum=0.0, maximum=1.0, open_minimum=True, open_maximum=True,
    grid=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    help="What a weight's step is multiplied by when its gradient changes sign; 0.5 is usual.",
)  # fmt: skip
_ETAPLUS = Hyper(
    "etaplus", 1.2, 1.01, 2.0, label="η₊", minimum=1.0, maximum=10.0, open_minimum=True,
    grid=(1.01, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0),
    help="What a weight's step is multiplied by while its gradient keeps its sign; 1.2 is usual.",
)  # fmt: skip
_SMALLEST = Hyper(
    "step_size_min", 1e-6, 1e-9, 1e-3, grid=tuple(float(f"1e{k}") for k in range(-9, -2)), label="Smallest step",
    minimum=0.0, maximum=1000.0, help="No weight's step gets smaller than this; 1e-6 is usual.",
)  # fmt: skip
_LARGEST = Hyper(
    "step_size_max", 50.0, 0.001, 50.0, grid=(0.001, 0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
    label="Largest step", minimum=0.0, maximum=1000.0, open_minimum=True,
    help="No weight's step gets larger than this; 50 is the usual bound, which a small network never reaches.",
)  # fmt: skip

RULES = (
    Rule(
        "adagrad", "Adagrad", adagrad, (rate(0.01), _LR_DECAY, _ACCUMULATOR, eps(1e-10), COUPLED, CLIP),
        r"\new{v \leftarrow v + g^2},\quad p \leftarrow p - \eta\,\frac{g}{\new{\sqrt{v} + \epsilon}}",
        "Divides by all the gradients ever seen: its rate only shrinks.", "Duchi, Hazan, Singer (2011)",
        (Slot("v", 2, reset="initial_accumulator_value", linear=True),),
        parent="sgd", change="Each weight's step is divided by the size of all its gradients so far.",
        tags="adaptive, sparse",
        listing=(
            listing.COUPLED,
            Line("v = v + g**2", "v takes today's squared gradient and loses nothing: a bad one stays in it for good."),
            Line("p = p - lr / (1 + (t_v - 1) * lr_decay) * g / (sqrt(v) + eps)",
                 "The weight moves by {lr} of today's gradient, divided by the root of all squares so far: steps only "
                 "shrink."),
        ),
    ),
    Rule(
        "rmsprop", "RMSprop", rmsprop,
        (rate(0.01), _ALPHA, decay("momentum", "μ", 0.0, "Momentum on top of the scaled gradient; 0 is usual."),
         _CENTERED, eps(1e-8), COUPLED, CLIP),
        r"v \leftarrow \new{\alpha} v + \new{(1-\alpha)}\,g^2,\quad "
        r"\new{m \leftarrow \mu m + {}} \frac{g}{\sqrt{v} + \epsilon},\quad p \leftarrow p - \eta\,\new{m}",
        "Divides by the size of recent gradients.", "Hinton (2012), Graves 1308.0850",
        # m is a velocity, not a mean of gradients, and the mean divides only where `centered` is on.
        (V, Slot("m", 1, shown=False, needed_for="momentum"),
         Slot("mean", 1, shown=False, needed_for="centered", linear=True)),
        ("alpha", "momentum"),
        parent="adagrad", change="v is a moving average instead of a sum: it forgets, so the steps need not shrink.",
        tags="adaptive",
        listing=(
            listing.COUPLED,
            Line("v = alpha * v + (1 - alpha) * g**2",
                 "v is {alpha} of its old value plus {1 - alpha} of today's squared gradient: half of a bad one is "
                 "gone after {half(alpha)}."),
            Line("mean = alpha * mean + (1 - alpha) * g",
                 "The same average of the gradient itself, whose square is taken off v: what is left is the spread.",
                 r"\bar g \leftarrow \alpha \bar g + (1-\alpha)\,g", "centered"),
            Line("m = momentum * m + g / (sqrt(where(centered > 0, maximum(v - mean**2, 0), v)) + eps)",
                 "Today's gradient is divided by the usual size of gradients, which leaves about 1 of an ordinary one; "
                 "{momentum} of the last m is kept."),
            Line("p = p - lr * m",
                 "The weight moves by {lr} of m: less than usual for as long as a large gradient is in v."),
        ),
    ),
    Rule(
        "adadelta", "Adadelta", adadelta,
        (rate(1.0), decay("rho", "ρ", 0.9, "Memory of both mean squares: 0.9 forgets half of them in 7 steps."),
         _ADADELTA_EPS, COUPLED, CLIP),
        r"v \leftarrow \rho v + (1-\rho)\,g^2,\quad \new{d = \frac{\sqrt{u + \epsilon}}{\sqrt{v + \epsilon}}}\,g,"
        r"\quad \new{u \leftarrow \rho u + (1-\rho)\,d^2},\quad p \leftarrow p - \eta\,d",
        "Takes steps of the size of its own recent steps, so that no rate has to be found.", "Zeiler, 1212.5701",
        (V, Slot("u")), ("rho",),
        parent="rmsprop", change="The size of recent steps takes the place of a learning rate.",
        tags="adaptive, no learning rate, units",
        listing=(
            listing.COUPLED,
            Line("v = rho * v + (1 - rho) * g**2",
                 "v is {rho} of its old value plus {1 - rho} of today's squared gradient: half of a bad one is gone "
                 "after {half(rho)}."),
            Line("d = sqrt(u + eps) / sqrt(v + eps) * g",
                 "The gradient is divided by its usual size and multiplied by that of recent steps, so a step is as "
                 "long as steps have been."),
            Line("u = rho * u + (1 - rho) * d**2",
                 "u is {rho} of its old value plus {1 - rho} of this step squared: short steps make the next ones "
                 "short."),
            Line("p = p - lr * d", "The weight moves by {lr} of d."),
        ),
    ),
    Rule(
        "rprop", "Rprop", rprop,
        (rate(0.01, "How far each weight's first step goes; after that every weight finds its own step size, and a "
              "schedule changes nothing."),
         _ETAMINUS, _ETAPLUS, _SMALLEST, _LARGEST, CLIP),
        r"\new{d \leftarrow \begin{cases} \eta_+\,d & g\text{ kept its sign} \\ \eta_-\,d & g\text{ changed it}"
        r"\end{cases}},\quad \new{d_0 = \eta},\quad p \leftarrow p - \new{d\;\mathrm{sign}(g)}",
        "Only signs count: a step grows while its sign stays, and halves when it turns. Made for full batches.",
        "Riedmiller, Braun (1993)",
        # The last signs are a memory of the gradient, but not of its mean; the sizes are steps, not gradients.
        (Slot("sign", 1, shown=False), Slot("size", reset="lr")), ("etaminus", "etaplus"), returns="step",
        parent="sgd", change="Every weight has a step size of its own, which follows the signs of its gradients.",
        tags="sign, full batch, resilient propagation, no learning rate",
        listing=(
            Line("size = minimum(maximum(where(sign(g) * last_sign > 0, etaplus * size, "
                 "where(sign(g) * last_sign < 0, etaminus * size, size)), step_size_min), step_size_max)",
                 "The weight's own step size: {etaplus} times larger while its gradient keeps its sign, {etaminus} "
                 "times where the sign has changed. How large the gradient is does not matter."),
            Line("size_0 = lr", "What each size was at first: the rate, {lr}, which plays no part later."),
            Line("last_sign = where(sign(g) * last_sign < 0, 0, sign(g))",
                 "The sign that the next step is compared with: none where it has just changed.",
                 r"s \leftarrow \mathrm{sign}(g),\; 0 \text{ where it changed}"),
            Line("p = p - size * last_sign",
                 "The weight moves by its own size against the sign, and rests where the sign has changed: one bad "
                 "gradient can shrink or grow a size, but cannot throw the weight."),
        ),
    ),
)  # fmt: skip
