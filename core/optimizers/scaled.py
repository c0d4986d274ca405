"""Rules that divide each weight's gradient by its own size so far."""

from __future__ import annotations

from core.optimizers.base import (
    CLIP,
    COUPLED,
    Context,
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
)  # fmt: skip
from core.spec import Hyper


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

RULES = (
    Rule(
        "adagrad", "Adagrad", adagrad, (rate(0.01), _LR_DECAY, _ACCUMULATOR, eps(1e-10), COUPLED, CLIP),
        r"\new{v \leftarrow v + g^2},\quad p \leftarrow p - \eta\,\frac{g}{\new{\sqrt{v} + \epsilon}}",
        "Divides by all the gradients ever seen: its rate only shrinks.", "Duchi, Hazan, Singer (2011)",
        (Slot("v", 2, reset="initial_accumulator_value"),),
        parent="sgd", change="Each weight's step is divided by the size of all its gradients so far.",
        tags="adaptive, sparse",
    ),
    Rule(
        "rmsprop", "RMSprop", rmsprop,
        (rate(0.01), _ALPHA, decay("momentum", "μ", 0.0, "Momentum on top of the scaled gradient; 0 is usual."),
         _CENTERED, eps(1e-8), COUPLED, CLIP),
        r"v \leftarrow \new{\alpha} v + \new{(1-\alpha)}\,g^2,\quad "
        r"m \leftarrow \mu m + \frac{g}{\sqrt{v} + \epsilon},\quad p \leftarrow p - \eta\,m",
        "Divides by the size of recent gradients.", "Hinton (2012), Graves 1308.0850",
        # m is a velocity, not a mean of gradients, and the mean divides only where `centered` is on.
        (V, Slot("m", 1, shown=False), Slot("mean", 1, shown=False)), ("alpha", "momentum"),
        parent="adagrad", change="v is a moving average instead of a sum: it forgets, so the steps need not shrink.",
        tags="adaptive",
    ),
)  # fmt: skip
