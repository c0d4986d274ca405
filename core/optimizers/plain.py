"""Rules that follow the gradient itself: SGD and its momenta."""

from __future__ import annotations

from core.optimizers import listing
from core.optimizers.base import CLIP, COUPLED, MU, Context, Line, M, Named, Rule, Update, decayed, rate
from core.spec import Hyper


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


_DAMPENING = Hyper(
    "dampening", 0.0, 0.0, 1.0, label="Dampening", help="Share of each new gradient that is left out of m; 0 is usual."
)

RULES = (
    Rule(
        "sgd", "SGD", sgd, (rate(0.001), COUPLED, CLIP),
        r"p \leftarrow p - \eta\,g",
        "Step against the gradient. It remembers nothing.", "Robbins, Monro (1951)",
        tags="stochastic gradient descent, plain",
        listing=(
            listing.COUPLED,
            Line("p = p - lr * g",
                 "The weight moves by {lr} of today's gradient; nothing of it is left for the next step."),
        ),
    ),
    Rule(
        "momentum", "Momentum", momentum, (rate(0.001), MU, _DAMPENING, COUPLED, CLIP),
        r"\new{m \leftarrow \mu m + g},\quad p \leftarrow p - \eta\,\new{m}",
        "A heavy ball: past gradients keep pushing.", "Polyak (1964)", (M,), ("momentum",),
        parent="sgd", change="It steps along m, a running sum of gradients in which old ones fade.",
        tags="heavy ball, velocity",
        listing=(
            listing.COUPLED,
            Line("m = momentum * m + where((t_m > 1) & (momentum > 0), 1 - dampening, 1) * g",
                 "m keeps {momentum} of itself and takes today's gradient in full, less the dampening, {dampening}: "
                 "half of a bad one is gone after {half(momentum)}."),
            Line("p = p - lr * m",
                 "The weight moves by {lr} of m: a bad gradient is stepped along again and again, and all of it "
                 "together {1 / (1 - momentum)} times."),
        ),
    ),
    Rule(
        "nesterov", "Nesterov", nesterov, (rate(0.001), MU, COUPLED, CLIP),
        r"m \leftarrow \mu m + g,\quad p \leftarrow p - \eta\,(\new{g + \mu m})",
        "A heavy ball that looks one step ahead.", "Nesterov (1983), Sutskever et al. (2013)",
        (M,), ("momentum",),
        parent="momentum", change="The newest gradient is counted once more: the step is taken from where m will lead.",
        tags="accelerated gradient, look ahead",
        listing=(
            listing.COUPLED,
            Line("m = momentum * m + g",
                 "m keeps {momentum} of itself and takes today's gradient in full: half of a bad one is gone after "
                 "{half(momentum)}."),
            Line("p = p - lr * (g + momentum * m)",
                 "The weight moves by {lr} of what m will be if the same gradient comes again, so the newest one "
                 "counts more."),
        ),
    ),
)  # fmt: skip
