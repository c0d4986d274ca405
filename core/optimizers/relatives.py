"""Later relatives of Adam: another second moment, more means of the gradient, or a guard against spikes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from core.optimizers import listing
from core.optimizers.adam import adam_on
from core.optimizers.base import (
    BESIDE,
    BETAS,
    CLIP,
    MOMENTS,
    Context,
    Line,
    M,
    Named,
    Rule,
    Slot,
    Update,
    V,
    beside,
    decay,
    ema,
    eps,
    of_tensors,
    rate,
    rms,
    weight_decay,
)
from core.spec import Hyper


def adabelief(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """AdaBelief: Adam with `v <- b2 v + (1 - b2) (g - m)^2 + eps`. Zhuang et al., 2010.07468.

    Followed: the paper, whose eps adds up in v from step to step, and stands beside sqrt(v_hat) too. Defaults and
    weight decay (beside the gradient) are those of the official code, without its rectification.
    """
    m = ema(s.m, ctx.g, h.beta1)
    surprise = ctx.g - m
    v = ema(s.v, surprise * surprise, h.beta2) + h.eps
    m_hat = m / (1 - h.beta1**age.m)
    root = (v / (1 - h.beta2**age.v)).sqrt()
    trace = {"m_hat": m_hat, "root_v_hat": root, "decay": h.weight_decay}
    return beside(m_hat / (root + h.eps), ctx, h), {"m": m, "v": v}, trace


def stableadamw(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """StableAdamW: AdamW whose rate for each tensor is `lr / max(1, rms(g / sqrt(v_hat)))`. Wortsman, 2304.13013.

    The paper averages m_hat and v_hat themselves, which is the same; there is no sqrt(v_hat) below eps in the
    quotient. Weight decay has the same rate. The paper names no defaults: those of `pytorch_optimizer`.
    """
    update, slots, trace = adam_on(ctx.g, s, age, h)
    excess = of_tensors(ctx.layout, rms, ctx.g / torch.maximum(trace["root_v_hat"], h.eps)).clamp(min=1)
    return beside(update, ctx, h) / excess, slots, trace | {"decay": h.weight_decay / excess}


def adan(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adan: `m <- b1 m + (1 - b1) g; d <- b2 d + (1 - b2) c; v <- b3 v + (1 - b3) (g + b2 c)^2` with c = g - last g;

    `p <- (p - lr (m_hat + b2 d_hat) / (sqrt(v_hat) + eps)) / (1 + lr weight_decay)`. Xie et al., 2208.06677.

    Followed: the official code, with its defaults: betas are 1 minus the paper's, all three averages start unbiased,
    and c is 0 at the first step.
    """
    change = (ctx.g - s.last) * (age.last > 1)
    ahead = torch.addcmul(ctx.g, h.beta2, change)
    m, d, v = ema(s.m, ctx.g, h.beta1), ema(s.d, change, h.beta2), ema(s.v, ahead * ahead, h.beta3)
    m_hat = m / (1 - h.beta1**age.m)
    root = (v / (1 - h.beta3**age.v)).sqrt()
    update = torch.addcmul(m_hat, h.beta2 / (1 - h.beta2**age.d), d) / (root + h.eps)
    lr = h.lr / (1 + h.lr * h.weight_decay)
    trace = {"m_hat": m_hat, "root_v_hat": root, "decay": lr * h.weight_decay}
    return lr * beside(update, ctx, h), {"m": m, "d": d, "v": v, "last": ctx.g}, trace


def ademamix(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """AdEMAMix: AdamW with `m_hat + alpha slow` for m_hat, where `slow <- b3 slow + (1 - b3) g`.

    Over the first t_alpha_beta3 steps alpha rises from 0 in a straight line, and b3 from b1 with a straight line in
    1 / log b3, its half-life. slow starts biased. Pagliardini et al., 2409.03137; defaults of the official code (the
    paper has alpha up to 10, and warms up over the whole run).
    """
    alpha, beta3 = _warmed_up(h, age.slow) if h.uses("t_alpha_beta3") else (h.alpha, h.beta3)
    m, v, slow = ema(s.m, ctx.g, h.beta1), ema(s.v, ctx.g * ctx.g, h.beta2), ema(s.slow, ctx.g, beta3)
    m_hat = m / (1 - h.beta1**age.m)
    root = (v / (1 - h.beta2**age.v)).sqrt()
    update = torch.addcmul(m_hat, alpha, slow) / (root + h.eps)
    trace = {"m_hat": m_hat, "root_v_hat": root, "decay": h.weight_decay}
    return beside(update, ctx, h), {"m": m, "v": v, "slow": slow}, trace


def _warmed_up(h: Named, t: Tensor) -> tuple[Tensor, Tensor]:
    """AdEMAMix's alpha and b3 at step t, `[R, 1]` each; a warm-up of no steps is over at once."""
    share = (t / h.t_alpha_beta3).clamp(max=1)
    beta3 = (1 / ((1 - share) / h.beta1.log() + share / h.beta3.log())).exp()
    return share * h.alpha, torch.where(share < 1, torch.minimum(beta3, h.beta3), h.beta3)


def spam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """SPAM: Adam that forgets m and v every update_proj_gap steps, and shortens spikes: where `g^2 > threshold v`,

    `g <- sign(g) sqrt(threshold v)`, but for the first grad_accu_steps of each period. After each reset the rate rises
    from a hundredth along a cosine, over warmup_epoch steps. Huang et al., 2501.06842.

    Followed: the official code as in `pytorch_optimizer`, with all weights in its mask (density 1): the first period
    has no warm-up, bias corrections go on counting at a reset, eps is added before them, and weights decay after the
    step. As there, a weight whose v is still 0 when clipping sets in rests until the next reset.
    """
    since = age.v % h.update_proj_gap
    m, v = s.m * (since > 0), s.v * (since > 0)
    limit = h.threshold * v
    spike = (ctx.g * ctx.g > limit) & (since >= h.grad_accu_steps) & (h.threshold > 0)
    g = torch.where(spike, ctx.g.sign() * limit.sqrt(), ctx.g)
    m, v = ema(m, g, h.beta1), ema(v, g * g, h.beta2)
    root = v.sqrt()
    warm = 1 - 0.99 * (1 + (math.pi * ((since + 1) / (h.warmup_epoch + 1)).clamp(max=1)).cos()) / 2
    rate = h.lr * torch.where(age.v < h.update_proj_gap, 1, warm)
    unbiased_m, unbiased_root = 1 - h.beta1**age.m, (1 - h.beta2**age.v).sqrt()
    step = rate * unbiased_root / unbiased_m * m / (root + h.eps)
    decay = h.lr * h.weight_decay
    if h.uses("weight_decay"):
        step = torch.addcmul(step, decay, ctx.p - step)
    return step, {"m": m, "v": v}, {"m_hat": m / unbiased_m, "root_v_hat": root / unbiased_root, "decay": decay}


_BELIEF_EPS = replace(
    eps(1e-16), low=1e-16, grid=tuple(float(f"1e{k}") for k in range(-16, 1, 2)),
    help="Added to v at every step, and to the divisor: how far a gradient that m foretold is trusted; 1e-16 is usual.",
)  # fmt: skip
_ADAN_BETAS = (
    decay("beta1", "β₁", 0.98, "Memory of the gradient's mean m: 0.98 forgets half of it in 34 steps."),
    decay("beta2", "β₂", 0.92, "Memory of the gradient's change d, and how much of it is looked ahead; 0.92 is usual."),
    decay("beta3", "β₃", 0.99, "Memory of the squared gradient v: 0.99 forgets half of it in 69 steps."),
)
_BETA3 = decay("beta3", "β₃", 0.9999, "Memory of the slow mean: 0.9999 forgets half of it in 6,931 steps.")
_ALPHA = Hyper(
    "alpha", 2.0, 0.0, 10.0, grid=(0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0), label="Slow share α",
    minimum=0.0, maximum=1000.0, help="How much the slow mean counts beside m; 2 to 10 is usual, and 0 is AdamW.",
)  # fmt: skip
_T_ALPHA_BETA3 = Hyper(
    "t_alpha_beta3", 0, 0, 5000, grid=(0, 50, 100, 200, 300, 500, 1000, 2000, 5000), label="Warm-up of α and β₃",
    maximum=10**9, help="Steps over which α and β₃ rise to their values: the length of the run is usual, 0 is none.",
)  # fmt: skip
_THRESHOLD = Hyper(
    "threshold", 5000.0, 0.0, 50000.0, grid=(0.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10000.0, 50000.0),
    label="Spike θ", maximum=1e9,
    help="A squared gradient more than this many times v is cut down to that; 5,000 is usual, 0 cuts nothing.",
)  # fmt: skip
_GAP = Hyper(
    "update_proj_gap", 500, 20, 5000, grid=(20, 50, 100, 200, 500, 1000, 2000, 5000), label="Forget every",
    minimum=2, maximum=10**9, help="Steps after which m and v are forgotten, again and again; 500 is usual.",
)  # fmt: skip
_ACCUMULATE = Hyper(
    "grad_accu_steps", 20, 2, 100, grid=(2, 5, 10, 20, 50, 100), label="Clip from step", minimum=2, maximum=10**9,
    help="Steps after each reset in which no spike is cut, since v has seen too little; 20 is usual.",
)  # fmt: skip
_WARMUP = Hyper(
    "warmup_epoch", 50, 0, 200, grid=(0, 10, 20, 50, 100, 200), label="Warm-up after a reset", maximum=10**9,
    help="Steps over which the rate rises again after m and v were forgotten; 50 is usual, 0 is none.",
)  # fmt: skip
_DECAY = weight_decay(0.0, BESIDE)

RULES = (
    Rule(
        "adabelief", "AdaBelief", adabelief, (rate(0.001), *BETAS, _BELIEF_EPS, _DECAY, CLIP),
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\,\new{(g-m)^2 + \epsilon},"
        r"\quad p \leftarrow p - \eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon} - \eta\lambda p",
        "Adam that steps far where the gradient is what m foretold, and little where it is not.",
        "Zhuang et al., 2010.07468", (M, Slot("v", 2)), ("beta1", "beta2"),
        parent="adamw", change="v is the mean square of what m did not foretell, not of the whole gradient.",
        tags="variance, belief, prediction",
        listing=(
            listing.MEAN,
            Line("v = beta2 * v + (1 - beta2) * (g - m)**2 + eps",
                 "v is {beta2} of its old value plus {1 - beta2} of the square of what m did not foretell: a bad "
                 "gradient is all surprise, and half of it is gone after {half(beta2)}."),
            listing.ADAMW,
        ),
    ),
    Rule(
        "stableadamw", "StableAdamW", stableadamw,
        (rate(0.001), BETAS[0], replace(BETAS[1], default=0.99), eps(1e-8), weight_decay(0.01, BESIDE), CLIP),
        r"\new{u} = \frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon},\quad "
        r"p \leftarrow p - \frac{\eta}{\new{\max\left(1, \mathrm{rms}\left(g/\sqrt{v/(1-\beta_2^t)}\right)\right)}}"
        r"\,(u + \lambda p)",
        "AdamW that slows a tensor down while its gradients are larger than v expects.",
        "Wortsman et al., 2304.13013", MOMENTS, ("beta1", "beta2"),
        parent="adamw", change="Each tensor's rate is divided by how far its gradient exceeds what v expects.",
        tags="update clipping, spikes, stability",
        listing=(
            listing.MEAN_OWN, listing.SQUARE_OWN,
            Line("u = m / (1 - beta1**t_m) / (sqrt(v / (1 - beta2**t_v)) + eps)",
                 "Adam's direction: m, divided by the size of recent gradients."),
            Line("p = p - lr / maximum(1, rms(g / maximum(sqrt(v / (1 - beta2**t_v)), eps))) * (u + weight_decay * p)",
                 "The step, shortened in the whole tensor while its gradients are larger than v expects: at the bad "
                 "one itself, and not after it."),
        ),
    ),
    Rule(
        "adan", "Adan", adan, (rate(0.001), *_ADAN_BETAS, eps(1e-8), _DECAY, CLIP),
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad "
        r"\new{d \leftarrow \beta_2 d + (1-\beta_2)(g - g_{t-1})},\quad "
        r"v \leftarrow \new{\beta_3} v + \new{(1-\beta_3)}\,(g + \new{\beta_2 (g - g_{t-1})})^2,\quad "
        r"p \leftarrow \new{\frac{1}{1 + \eta\lambda}}\left(p - \eta\,"
        r"\frac{m/(1-\beta_1^t) + \new{\beta_2\,d/(1-\beta_2^t)}}{\sqrt{v/(1-\beta_3^t)} + \epsilon}\right)",
        "Adam that also remembers how the gradient changes, and steps to where it is heading.",
        "Xie et al., 2208.06677",
        (M, Slot("d", 1, linear=True), Slot("v", 2), Slot("last", 1, linear=True)), ("beta1", "beta2"), returns="step",
        parent="adamw", change="A mean of the gradient's changes is added: it looks ahead as Nesterov's momentum does.",
        tags="nesterov, look ahead, gradient difference",
        listing=(
            listing.MEAN,
            Line("d = beta2 * d + (1 - beta2) * where(t_last > 1, g - last, 0)",
                 "d is {beta2} of its old value plus {1 - beta2} of how the gradient has changed: a bad one comes in, "
                 "and goes out again with the next step."),
            Line("v = beta3 * v + (1 - beta3) * (g + beta2 * where(t_last > 1, g - last, 0))**2",
                 "v is {beta3} of its old value plus {1 - beta3} of the square of the gradient looked ahead to: half "
                 "of a bad one is gone after {half(beta3)}."),
            Line("p = 1 / (1 + lr * weight_decay) * (p - lr * (m / (1 - beta1**t_m) + beta2 * d / (1 - beta2**t_d)) "
                 "/ (sqrt(v / (1 - beta3**t_v)) + eps))",
                 "The weight moves against m and where it is heading, d, divided by the size of recent gradients."),
            Line("last = g", "Today's gradient, kept whole for the next step's difference.", r"g_{t-1} \leftarrow g"),
        ),
    ),
    Rule(
        "ademamix", "AdEMAMix", ademamix,
        (rate(0.001), *BETAS, _BETA3, _ALPHA, _T_ALPHA_BETA3, eps(1e-8), _DECAY, CLIP),
        r"\new{n \leftarrow \beta_3 n + (1-\beta_3)\,g},\quad p \leftarrow p - \eta\,"
        r"\frac{m/(1-\beta_1^t) + \new{\alpha\,n}}{\sqrt{v/(1-\beta_2^t)} + \epsilon} - \eta\lambda p",
        "AdamW with a second mean that remembers gradients for thousands of steps.",
        "Pagliardini, Ablin, Grangier, 2409.03137", (M, V, Slot("slow", 1, linear=True)), ("alpha", "beta3"),
        parent="adamw", change="A second, far slower mean of the gradient is added to m.",
        tags="old gradients, two momenta, mixture",
        listing=(
            listing.MEAN_OWN, listing.SQUARE_OWN,
            Line("share = minimum(1, t_slow / t_alpha_beta3)", "How much of the warm-up of the slow mean is over.",
                 r"w = \min(1, t/T)", "t_alpha_beta3"),
            Line("decay = where(share < 1, minimum(exp(1 / ((1 - share) / log(beta1) + share / log(beta3))), "
                 "beta3), beta3)",
                 "Its decay rises from {beta1} to {beta3}.",
                 r"\ln \tilde\beta_3 = \left(\tfrac{1-w}{\ln\beta_1} + \tfrac{w}{\ln\beta_3}\right)^{-1}",
                 "t_alpha_beta3"),
            Line("slow = decay * slow + (1 - decay) * g",
                 "The slow mean keeps nearly all of its old value: half of a bad gradient is still in it after "
                 "{half(beta3)}."),
            Line("p = p - lr * (m / (1 - beta1**t_m) + share * alpha * slow) / (sqrt(v / (1 - beta2**t_v)) + eps) "
                 "- lr * weight_decay * p",
                 "AdamW's step with {alpha} times the slow mean in it: a bad gradient keeps pushing, a little, for "
                 "long."),
        ),
    ),
    Rule(
        "spam", "SPAM", spam,
        (rate(0.001), *BETAS, _THRESHOLD, _ACCUMULATE, _GAP, _WARMUP, eps(1e-6), _DECAY, CLIP),
        r"\new{m, v \leftarrow 0 \text{ every } n \text{ steps}},\quad "
        r"\new{g \leftarrow \mathrm{sign}(g) \min\left(|g|, \sqrt{\theta v}\right)},\quad "
        r"p \leftarrow p - \new{w_t}\,\eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon} - \eta\lambda p",
        "Adam that cuts single spikes, and forgets what they did to its memory.", "Huang et al., 2501.06842",
        # How far a gradient is cut depends on v itself, which is therefore not linear.
        (M, Slot("v", 2)), ("threshold", "update_proj_gap"), returns="step",
        parent="adamw", change="Spikes are cut weight by weight, and both memories are cleared at intervals.",
        tags="spikes, momentum reset, clipping",
        listing=(
            Line("m, v = where(t_v % update_proj_gap == 0, 0, m), where(t_v % update_proj_gap == 0, 0, v)",
                 "Every {update_proj_gap} steps both memories are emptied: nothing bad stays in them for longer."),
            Line("g = where((g**2 > threshold * v) & (t_v % update_proj_gap >= grad_accu_steps) & (threshold > 0), "
                 "sign(g) * sqrt(threshold * v), g)",
                 "A gradient whose square is more than {threshold} times v is cut down to that, before anything "
                 "remembers it."),
            listing.MEAN_OWN, listing.SQUARE_OWN,
            Line("w = where(t_v < update_proj_gap, 1, 1 - 0.99 * (1 + cos(3.141592653589793 * minimum("
                 "(t_v % update_proj_gap + 1) / (warmup_epoch + 1), 1))) / 2)",
                 "The rate's warm-up, anew after each time the memories are emptied.",
                 r"w_t = 1 - \tfrac{0.99}{2}\left(1 + \cos \pi\min"
                 r"\left(1, \tfrac{t \bmod n + 1}{T_w + 1}\right)\right)"),
            Line("p = (1 - lr * weight_decay) * (p - w * lr * sqrt(1 - beta2**t_v) / (1 - beta1**t_m) * m / "
                 "(sqrt(v) + eps))",
                 "Adam's step at the warmed-up rate; after a spike that was cut it is nearly as it would have been."),
        ),
    ),
)  # fmt: skip
