"""Adam and its relatives: a mean of the gradient, divided by the root of a mean of its square."""

from __future__ import annotations

import torch
from torch import Tensor

from core.optimizers.base import (
    BESIDE,
    BETAS,
    CLIP,
    COUPLED,
    Context,
    M,
    Named,
    Rule,
    Slot,
    Update,
    V,
    beside,
    decayed,
    ema,
    eps,
    rate,
    weight_decay,
)  # fmt: skip


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
    return beside(update, ctx, h), slots, trace


def _adam(g: Tensor, s: Named, age: Named, h: Named) -> Update:
    m, v = ema(s.m, g, h.beta1), ema(s.v, g * g, h.beta2)
    m_hat = m / (1 - h.beta1**age.m)
    root = (v / (1 - h.beta2**age.v)).sqrt()
    return m_hat / (root + h.eps), {"m": m, "v": v}, {"m_hat": m_hat, "root_v_hat": root}


_MEANS = r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "

RULES = (
    Rule(
        "adam", "Adam", adam, (rate(0.001), *BETAS, eps(1e-8), COUPLED, CLIP),
        r"\new{m \leftarrow \beta_1 m + (1-\beta_1)\,g},\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "
        r"p \leftarrow p - \eta\,\frac{\new{m/(1-\beta_1^t)}}{\sqrt{v/\new{(1-\beta_2^t)}} + \epsilon}",
        "A heavy ball (m) divided by the size of recent gradients (v).", "Kingma, Ba, 1412.6980",
        (M, V), ("beta1", "beta2"),
        parent="rmsprop", change="The gradient is averaged too, before the division, and both averages start unbiased.",
        tags="adaptive moments",
    ),
    Rule(
        "amsgrad", "AMSGrad", amsgrad, (rate(0.001), *BETAS, eps(1e-8), COUPLED, CLIP),
        _MEANS + r"p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}"
        r"{\sqrt{\new{\max_{s \leq t}}\, v_{\new{s}}/(1-\beta_2^t)} + \epsilon}",
        "Adam that never forgets its largest v.", "Reddi, Kale, Kumar, 1904.09237",
        (M, V, Slot("v_max", 2)), ("beta1", "beta2"),
        parent="adam", change="It divides by the largest v so far, so a rare large gradient is never forgotten.",
        tags="convergence, long-term memory",
    ),
    Rule(
        "adamw", "AdamW", adamw,
        (rate(0.001), *BETAS, eps(1e-8), weight_decay(0.01, BESIDE), CLIP),
        _MEANS + r"p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}"
        r" \new{{}- \eta\lambda p}",
        "Adam with weight decay beside the gradient, not inside it.", "Loshchilov, Hutter, 1711.05101",
        (M, V), ("beta1", "beta2"), decoupled=True,
        parent="adam", change="Weight decay pulls on the weights directly, and is not divided by the root of v.",
        tags="decoupled weight decay",
    ),
)  # fmt: skip
