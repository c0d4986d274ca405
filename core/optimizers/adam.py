"""Adam and its relatives: a mean of the gradient, divided by the root of a mean of its square."""

from __future__ import annotations

import torch
from torch import Tensor

from core.optimizers import listing
from core.optimizers.base import (
    BESIDE,
    BETAS,
    CLIP,
    COUPLED,
    MOMENTS,
    Context,
    Line,
    M,
    Named,
    Rule,
    Slot,
    Update,
    beside,
    decayed,
    ema,
    eps,
    number,
    power,
    rate,
    weight_decay,
)
from core.spec import Hyper


def adam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adam: `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - lr m_hat / (sqrt(v_hat) + eps)`.

    `m_hat = m / (1 - b1^t)`, `v_hat = v / (1 - b2^t)`, with t the age of each slot. Kingma and Ba, 1412.6980.
    """
    return adam_on(decayed(ctx, h), s, age, h)


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
    update, slots, trace = adam_on(ctx.g, s, age, h)
    return beside(update, ctx, h), slots, trace | {"decay": h.weight_decay}


def adam_on(g: Tensor, s: Named, age: Named, h: Named) -> Update:
    """Adam's step with g for the gradient."""
    m, v = ema(s.m, g, h.beta1), ema(s.v, g * g, h.beta2)
    m_hat = m / (1 - h.beta1**age.m)
    root = (v / (1 - h.beta2**age.v)).sqrt()
    return m_hat / (root + h.eps), {"m": m, "v": v}, {"m_hat": m_hat, "root_v_hat": root}


def adamax(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adamax: `m <- b1 m + (1 - b1) g; u <- max(b2 u, |g| + eps); p <- p - lr m_hat / u`.

    Kingma and Ba, 1412.6980, section 7.1. Followed: `torch.optim.Adamax`, which adds eps to |g|; the paper has none.
    """
    g = decayed(ctx, h)
    m, u = ema(s.m, g, h.beta1), torch.maximum(h.beta2 * s.u, g.abs() + h.eps)
    m_hat = m / (1 - h.beta1**age.m)
    return m_hat / u, {"m": m, "u": u}, {"m_hat": m_hat}


def nadam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """NAdam: Adam with `m_hat = (1 - mu_t) / (1 - mu_1 … mu_t) g + mu_(t+1) / (1 - mu_1 … mu_(t+1)) m`,

    where `mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)`. Dozat (2016). Followed: `torch.optim.NAdam`, whose m is an
    average with b1; Dozat's is one with mu_t.
    """
    g = decayed(ctx, h)
    m, v = ema(s.m, g, h.beta1), ema(s.v, g * g, h.beta2)
    mu, following = (h.beta1 * (1 - 0.5 * power(0.96, t * h.momentum_decay)) for t in (age.m, age.m + 1))
    product = s.product * mu
    m_hat = (1 - mu) / (1 - product) * g + following / (1 - product * following) * m
    root = (v / (1 - h.beta2**age.v)).sqrt()
    return m_hat / (root + h.eps), {"m": m, "v": v, "product": product}, {"m_hat": m_hat, "root_v_hat": root}


def radam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """RAdam: Adam whose step is multiplied by `r_t = sqrt((n - 4) (n - 2) n_max / ((n_max - 4) (n_max - 2) n))`,

    with n the number of gradients that v is worth: `n_max = 2 / (1 - b2) - 1; n = n_max - 2 t b2^t / (1 - b2^t)`. As
    long as n <= 5, v is left out: `p <- p - lr m_hat`. Liu et al., 1908.03265 (which has 4 for 5). Followed:
    `torch.optim.RAdam`, with eps added before the bias correction, `sqrt(1 - b2^t) / (sqrt(v) + eps)`.
    """
    g = decayed(ctx, h)
    m, v = ema(s.m, g, h.beta1), ema(s.v, g * g, h.beta2)
    m_hat, root = m / (1 - h.beta1**age.m), v.sqrt()
    # In double precision: n is a small difference of numbers up to 20,000.
    beta2 = h.beta2.double()
    left = power(beta2, age.v)
    most = 2 / (1 - beta2) - 1
    n = most - 2 * age.v * left / (1 - left)
    rectified = ((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n) * (1 - left)).sqrt().to(v)
    update = m_hat * torch.where(n > 5, rectified / (root + h.eps), 1)
    return update, {"m": m, "v": v}, {"m_hat": m_hat, "root_v_hat": root / (1 - left).sqrt().to(v)}


_MEANS = r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "
_MOMENTUM_DECAY = Hyper(
    "momentum_decay", 0.004, 0.0, 1.0, grid=(0.0, 0.001, 0.004, 0.01, 0.04, 0.1, 1.0), label="Momentum warm-up",
    minimum=0.0, maximum=1000.0,
    help="How fast m's share of a step rises from half of β₁ to β₁; at the usual 0.004 it is half way in 4,200 steps.",
)  # fmt: skip

RULES = (
    Rule(
        "adam", "Adam", adam, (rate(0.001), *BETAS, eps(1e-8), COUPLED, CLIP),
        r"\new{m \leftarrow \beta_1 m + (1-\beta_1)\,g},\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "
        r"p \leftarrow p - \eta\,\frac{\new{m/(1-\beta_1^t)}}{\sqrt{v/\new{(1-\beta_2^t)}} + \epsilon}",
        "A heavy ball (m) divided by the size of recent gradients (v).", "Kingma, Ba, 1412.6980",
        MOMENTS, ("beta1", "beta2"),
        parent="rmsprop", change="The gradient is averaged too, before the division, and both averages start unbiased.",
        tags="adaptive moments",
        listing=(listing.COUPLED, listing.MEAN, listing.SQUARE, listing.ADAM),
    ),
    Rule(
        "amsgrad", "AMSGrad", amsgrad, (rate(0.001), *BETAS, eps(1e-8), COUPLED, CLIP),
        _MEANS + r"p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}"
        r"{\sqrt{\new{\max_{s \leq t}}\, v_{\new{s}}/(1-\beta_2^t)} + \epsilon}",
        "Adam that never forgets its largest v.", "Reddi, Kale, Kumar, 1904.09237",
        (*MOMENTS, Slot("v_max", 2)), ("beta1", "beta2"),
        parent="adam", change="It divides by the largest v so far, so a rare large gradient is never forgotten.",
        tags="convergence, long-term memory",
        listing=(
            listing.COUPLED, listing.MEAN, listing.SQUARE,
            Line("v_max = maximum(v_max, v)",
                 "The largest v so far: what one bad gradient has put there stays for good.",
                 r"v_{\max} \leftarrow \max(v_{\max}, v)"),
            Line("p = p - lr * (m / (1 - beta1**t_m)) / (sqrt(v_max / (1 - beta2**t_v)) + eps)",
                 "Adam's step, divided by the root of the largest v: after a bad gradient steps are short to the end."),
        ),
    ),
    Rule(
        "adamw", "AdamW", adamw,
        (rate(0.001), *BETAS, eps(1e-8), weight_decay(0.01, BESIDE), CLIP),
        _MEANS + r"p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}"
        r" \new{{}- \eta\lambda p}",
        "Adam with weight decay beside the gradient, not inside it.", "Loshchilov, Hutter, 1711.05101",
        MOMENTS, ("beta1", "beta2"),
        parent="adam", change="Weight decay pulls on the weights directly, and is not divided by the root of v.",
        tags="decoupled weight decay",
        listing=(listing.MEAN, listing.SQUARE, listing.ADAMW),
    ),
    Rule(
        "adamax", "Adamax", adamax, (rate(0.002), *BETAS, eps(1e-8), COUPLED, CLIP),
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad \new{u \leftarrow \max(\beta_2 u, |g| + \epsilon)},\quad "
        r"p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}{\new{u}}",
        "Adam that divides by the largest recent gradient instead of their mean size.", "Kingma, Ba, 1412.6980",
        # Not of moment 2 as a chart shows it: u is a size, not a square.
        (M, Slot("u", 2, shown=False)), ("beta1", "beta2"),
        parent="adam", change="It divides by the largest gradient so far, which fades, instead of a root mean square.",
        tags="infinity norm, maximum",
        listing=(
            listing.COUPLED, listing.MEAN,
            Line("u = maximum(beta2 * u, abs(g) + eps)",
                 "u is the largest gradient of late, which fades by {1 - beta2} a step: a bad one is half its size "
                 "after {half(beta2)}."),
            Line("p = p - lr * (m / (1 - beta1**t_m)) / u",
                 "The weight moves against m, divided by the largest recent gradient: never by more than about the "
                 "rate, {lr}."),
        ),
    ),
    Rule(
        "nadam", "NAdam", nadam, (rate(0.002), *BETAS, _MOMENTUM_DECAY, eps(1e-8), COUPLED, CLIP),
        _MEANS + r"p \leftarrow p - \eta\,\frac{\new{\mu_{t+1} m/(1-\prod_{s \leq t+1} \mu_s)"
        r" + (1-\mu_t)\,g/(1-\prod_{s \leq t} \mu_s)}}{\sqrt{v/(1-\beta_2^t)} + \epsilon}",
        "Adam with Nesterov's look ahead.", "Dozat (2016)",
        (*MOMENTS, Slot("product", 1, reset=1.0, shape=number, shown=False, counts=True)), ("beta1", "beta2"),
        parent="adam", change="The newest gradient is counted once more, as Nesterov's momentum does.",
        tags="nesterov, accelerated gradient, look ahead",
        listing=(
            listing.COUPLED, listing.MEAN, listing.SQUARE,
            Line("mu = beta1 * (1 - 0.5 * 0.96**(t_m * momentum_decay))",
                 "The momentum at this step, which rises from half of {beta1} to {beta1}.",
                 r"\mu_t = \beta_1\left(1 - \tfrac12\,0.96^{t\psi}\right)"),
            Line("mu_next = beta1 * (1 - 0.5 * 0.96**((t_m + 1) * momentum_decay))", "The momentum at the next step.",
                 r"\mu_{t+1} = \beta_1\left(1 - \tfrac12\,0.96^{(t+1)\psi}\right)"),
            Line("product = product * mu", "The product of all momenta so far, which corrects the bias of m.",
                 r"\Pi \leftarrow \Pi\,\mu_t"),
            Line("p = p - lr * (mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)) "
                 "/ (sqrt(v / (1 - beta2**t_v)) + eps)",
                 "Adam's step, in which today's gradient counts once more beside m; divided by the size of recent "
                 "gradients."),
        ),
    ),
    Rule(
        "radam", "RAdam", radam, (rate(0.001), *BETAS, eps(1e-8), COUPLED, CLIP),
        _MEANS + r"\new{n_\infty = \tfrac{2}{1-\beta_2} - 1},\quad "
        r"\new{n = n_\infty - \frac{2t\beta_2^t}{1-\beta_2^t}},\quad "
        r"\new{r_t = \sqrt{\frac{(n-4)(n-2)\,n_\infty}{(n_\infty-4)(n_\infty-2)\,n}}},\quad "
        r"p \leftarrow p - \eta\,\new{\begin{cases} r_t\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon} "
        r"& n > 5 \\ m/(1-\beta_1^t) & n \leq 5 \end{cases}}",
        "Adam that trusts v only as far as it has seen enough gradients: a warm-up of its own.",
        "Liu et al., 1908.03265", MOMENTS, ("beta1", "beta2"),
        parent="adam", change="Steps are held back while v is an average of few gradients.",
        tags="rectified, warm-up, variance",
        listing=(
            listing.COUPLED, listing.MEAN, listing.SQUARE,
            Line("n_max = 2 / (1 - beta2) - 1", "The most gradients that v is ever worth as an average."),
            Line("n = n_max - 2 * t_v * beta2**t_v / (1 - beta2**t_v)",
                 "How many it is worth by now: few in the first steps."),
            Line("r = sqrt((n - 4) * (n - 2) * n_max / ((n_max - 4) * (n_max - 2) * n))",
                 "How far v can be trusted: it grows from near 0 to 1.", when="n > 5"),
            Line("p = p - lr * where(n > 5, r * m / (1 - beta1**t_m) * sqrt(1 - beta2**t_v) / (sqrt(v) + eps), "
                 "m / (1 - beta1**t_m))",
                 "Until v is worth more than 5 gradients the weight moves by m alone; from then on by Adam's step, "
                 "held back by r."),
        ),
    ),
)  # fmt: skip
