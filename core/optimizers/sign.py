"""Rules that keep the sign of the gradient and forget its size."""

from __future__ import annotations

from core.optimizers.base import (
    BESIDE,
    CLIP,
    MU,
    Context,
    Line,
    M,
    Named,
    Rule,
    Update,
    beside,
    decay,
    ema,
    rate,
    weight_decay,
)


def signsgd(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """signSGD: `p <- p - lr (sign(g) + weight_decay p)`. Bernstein et al., 1802.04434, algorithm 1.

    Weight decay, which the paper has none of, stands beside the sign, as in `pytorch_optimizer.SignSGD`.
    """
    return beside(ctx.g.sign(), ctx, h), {}, {"decay": h.weight_decay}


def signum(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Signum: `m <- mu m + (1 - mu) g; p <- p - lr (sign(m) + weight_decay p)`. 1802.04434, algorithm 2.

    m starts at 0 and needs no correction: a factor has no effect on its sign.
    """
    m = ema(s.m, ctx.g, h.momentum)
    return beside(m.sign(), ctx, h), {"m": m}, {"decay": h.weight_decay}


def lion(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Lion: `c = b1 m + (1 - b1) g; p <- p - lr (sign(c) + weight_decay p); m <- b2 m + (1 - b2) g`.

    Chen et al., 2302.06675. Followed, defaults too: the authors' code (google/automl), whose weight decay is 0.
    """
    c = ema(s.m, ctx.g, h.beta1)
    return beside(c.sign(), ctx, h), {"m": ema(s.m, ctx.g, h.beta2)}, {"decay": h.weight_decay}


_RATE = rate(0.001, "How far every single weight moves in one step. Take 3 to 10 times less than for Adam.")
_DECAY = weight_decay(0.0, BESIDE)
_STEP = decay(
    "beta1", "β₁", 0.9, "Share of m, the rest being the new gradient, in what decides the signs; 0.9 is usual."
)
_MEMORY = decay("beta2", "β₂", 0.99, "Memory of the gradient's mean m: 0.99 forgets half of it in 69 steps.")

RULES = (
    Rule(
        "signsgd", "signSGD", signsgd, (_RATE, _DECAY, CLIP),
        r"p \leftarrow p - \eta\,(\new{\operatorname{sign}(g) + \lambda p})",
        "Every weight moves by the same amount, whichever way its gradient points.",
        "Bernstein, Wang, Azizzadenesheli, Anandkumar, 1802.04434",
        parent="sgd", change="Only the sign of each gradient counts: one bit a weight, and no size.",
        tags="sign descent, one bit, compression, scale invariant",
        listing=(
            Line("p = p - lr * (sign(g) + weight_decay * p)",
                 "The weight moves by {lr} against the sign of today's gradient: a bad one moves it no further than "
                 "any other."),
        ),
    ),
    Rule(
        "signum", "Signum", signum, (_RATE, MU, _DECAY, CLIP),
        r"\new{m \leftarrow \mu m + (1-\mu)\,g},\quad "
        r"p \leftarrow p - \eta\,(\operatorname{sign}(\new{m}) + \lambda p)",
        "Every weight moves by the same amount, whichever way its recent gradients point on average.",
        "Bernstein, Wang, Azizzadenesheli, Anandkumar, 1802.04434", (M,), ("momentum",),
        parent="signsgd", change="The sign is that of a mean of recent gradients, so that noise flips it less often.",
        tags="sign descent, momentum, compression, scale invariant",
        listing=(
            Line("m = momentum * m + (1 - momentum) * g",
                 "m is {momentum} of its old value plus {1 - momentum} of today's gradient: a bad one can set its sign "
                 "for many steps."),
            Line("p = p - lr * (sign(m) + weight_decay * p)",
                 "The weight moves by {lr} against the sign of m: no further, but the wrong way while a bad gradient "
                 "outweighs the rest of m."),
        ),
    ),
    Rule(
        "lion", "Lion", lion,
        (rate(1e-4, "How far every single weight moves in one step. Take 3 to 10 times less than for AdamW."),
         _STEP, _MEMORY, _DECAY, CLIP),
        r"p \leftarrow p - \eta\,(\operatorname{sign}(\new{\beta_1 m + (1-\beta_1)\,g}) + \lambda p),\quad "
        r"m \leftarrow \new{\beta_2} m + (1-\new{\beta_2})\,g",
        "Signs of a mean in which the newest gradient counts for more than in the memory that is kept.",
        "Chen et al., 2302.06675", (M,), ("beta1", "beta2"),
        parent="signum", change="Two memories of one mean: a long one is kept, and the newest gradient weighs more.",
        tags="evolved sign momentum, symbolic discovery, scale invariant",
        listing=(
            Line("p = p - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)",
                 "The weight moves by {lr} against the sign of {beta1} of m and {1 - beta1} of today's gradient: a bad "
                 "one turns steps round, and makes none longer."),
            Line("m = beta2 * m + (1 - beta2) * g",
                 "m is {beta2} of its old value plus {1 - beta2} of today's gradient, for the steps to come: half of a "
                 "bad one is gone after {half(beta2)}."),
        ),
    ),
)  # fmt: skip
