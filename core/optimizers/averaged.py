"""Rules that need no schedule: the loss is reported at an average of the weights, or the rate is found."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from core.optimizers import listing
from core.optimizers.base import (
    BESIDE,
    BETAS,
    CLIP,
    COUPLED,
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
    decayed,
    dot,
    ema,
    eps,
    itself,
    number,
    power,
    rate,
    weight_decay,
)
from core.spec import Hyper


def asgd(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Averaged SGD: `p <- p - eta (g + lambd p); ax <- ax + (p - ax) / max(1, t - 1 - t0)`; the loss is that of ax.

    `eta = lr / (1 + lambd lr t)^alpha`, with t the steps before this one. Polyak and Juditsky (1992). Followed:
    `torch.optim.ASGD`, where a scheduled rate acts one step late, and ax is a copy of p up to step t0 + 2. Not its
    `t0 = 1e6`, with which a short run never averages: here 200.
    """
    step = s.eta * torch.addcmul(decayed(ctx, h), h.lambd, ctx.p)
    ax = torch.lerp(s.ax, ctx.after(step), 1 / (age.ax - 1 - h.t0).clamp(min=1))
    eta = h.lr / power(1 + h.lambd * h.lr * age.eta, h.alpha)
    return step, {"ax": ax, "eta": eta}, {}


def schedule_free_sgd(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Schedule-Free SGD: `y = (1 - mu) z + mu x; z <- z - lr g(y); x <- (1 - c) x + c z`; the loss is that of x.

    The table holds z, mu is `momentum`, and c the newest z's share of all weights so far, `t^r lr_max^weight_lr_power`
    each, so that x is their weighted mean. The rate grows over `warmup_steps`; weight decay is that of y. Defazio et
    al., 2405.15682. Followed: `schedulefree.SGDScheduleFree`, which keeps y instead of x, so its mu cannot be 0.
    """
    g = torch.addcmul(ctx.g, h.weight_decay, _between(ctx.p, s.x, h.momentum)) if h.uses("weight_decay") else ctx.g
    lr = _warmed(age, h)
    return lr * g, _averaged(ctx, lr * g, lr, s, age, h), {}


def schedule_free_adamw(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Schedule-Free AdamW: Schedule-Free SGD along `g / (sqrt(v_hat) + eps) + weight_decay y`, mu being beta1.

    Defazio et al., 2405.15682. Followed: `schedulefree.AdamWScheduleFree`, which keeps y instead of x, so its beta1
    cannot be 0.
    """
    v = ema(s.v, ctx.g * ctx.g, h.beta2)
    root = (v / (1 - h.beta2**age.v)).sqrt()
    direction = ctx.g / (root + h.eps)
    if h.uses("weight_decay"):
        direction = torch.addcmul(direction, h.weight_decay, _between(ctx.p, s.x, h.beta1))
    lr = _warmed(age, h)
    step = lr * direction
    return step, {"v": v, **_averaged(ctx, step, lr, s, age, h)}, {"root_v_hat": root}


def dadapt_adam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """D-Adapted Adam: Adam with the rate `d lr`, where d grows to an estimate of the distance to the minimum:

    `r <- b r + (1 - b) d lr g.(s / (sqrt(v) + eps)); s <- b s + (1 - b) d lr g; d <- max(d, r / ((1 - b) |s|_1))`

    with `b = sqrt(b2)` and the rate inside of m. Defazio and Mishchenko, 2301.07733. Followed: `dadaptation.DAdaptAdam`
    with its defaults (no bias correction, L2 decay, d may grow without limit).
    """
    g, b = decayed(ctx, h), h.beta2.sqrt()
    scaled = s.d * h.lr * _correction(age, h) * g
    r = ema(s.r, dot(scaled, s.total / (s.v.sqrt() + h.eps)), b)
    m, v, total = ema(s.m, scaled, h.beta1), ema(s.v, g * g, h.beta2), ema(s.total, scaled, b)
    d = _larger(r / ((1 - b) * _size(total)), s.d)
    return m / (v.sqrt() + h.eps), {"m": m, "v": v, "total": total, "r": r, "d": d}, {"d": d}


def prodigy(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Prodigy: Adam with the rate `d lr`, where d grows to an estimate of the distance to the minimum:

    `r <- b r + d^2 lr g.(p_0 - p); s <- b s + d^2 lr g; d <- max(d, d_coef r / |s|_1)`

    with `b = sqrt(b2)`, m and v of d g, and p_0 the first weights. `safeguard_warmup` leaves lr out of s. Mishchenko
    and Defazio, 2306.06101. Followed: `prodigyopt.Prodigy` with its defaults (decoupled decay, d may grow without
    limit), where m, v and the step have the d from before it (there with b1 = 0 m has the new one), and where r and s
    are counted in units of d0.
    """
    g, b = ctx.g, h.beta2.sqrt()
    lr = s.d * h.lr * _correction(age, h)
    m, v = ema(s.m, s.d * g, h.beta1), ema(s.v, (s.d * g) ** 2, h.beta2)
    unit = s.d / h.d0
    r = b * s.r + unit * lr * dot(g, s.p0 - ctx.p)
    total = torch.addcmul(b * s.total, unit * torch.where(h.safeguard_warmup > 0, s.d, lr), g)
    d = _larger(h.d_coef * r / _size(total), s.d)
    step = lr * beside(m / (v.sqrt() + d * h.eps), ctx, h)
    trace = {"d": d, "decay": lr * h.weight_decay}
    return step, {"m": m, "v": v, "total": total, "r": r, "d": d, "p0": s.p0}, trace


def _between(z: Tensor, x: Tensor, mu: Tensor) -> Tensor:
    """`y = (1 - mu) z + mu x`."""
    return ema(x, z, mu)


def _warmed(age: Named, h: Named) -> Tensor:
    """The learning rate, warmed up over the first `warmup_steps`: `[R, 1]`."""
    lr: Tensor = h.lr * (age.x / h.warmup_steps).clamp(max=1)
    return lr


def _averaged(ctx: Context, step: Tensor, lr: Tensor, s: Named, age: Named, h: Named) -> dict[str, Tensor]:
    """The memory of z's average after this step."""
    lr_max = torch.maximum(s.lr_max, lr)
    weight = age.x**h.r * power(lr_max, h.weight_lr_power)
    weight_sum = s.weight_sum + weight
    c = torch.where(weight > 0, weight / weight_sum, 0)  # a rate of 0 so far: z has not moved
    return {"x": torch.lerp(s.x, ctx.after(step), c), "lr_max": lr_max, "weight_sum": weight_sum}


def _correction(age: Named, h: Named) -> Tensor | float:
    """Adam's bias correction as a factor of the rate, for rows that have it on: `[R, 1]`."""
    if not h.uses("use_bias_correction"):
        return 1.0
    corrected = (1 - h.beta2**age.v).sqrt() / (1 - h.beta1**age.m)
    return torch.where(h.use_bias_correction > 0, corrected, 1)


def _larger(found: Tensor, before: Tensor) -> Tensor:
    """The larger one; `before` too where nothing was found yet, 0 / 0."""
    return torch.where(found > before, found, before)


def _size(table: Tensor) -> Tensor:
    """Sum of absolute values of each row: `[R, P]` -> `[R, 1]`."""
    return table.abs().sum(1, keepdim=True)


_LAMBD = Hyper(
    "lambd", 1e-4, 0.0, 0.1, grid=(0.0, 1e-5, 1e-4, 1e-3, 0.01, 0.1), label="Decay λ", maximum=10.0,
    help="Lowers the rate over time and pulls the weights towards zero; 1e-4 is usual.",
)  # fmt: skip
_ALPHA = Hyper(
    "alpha", 0.75, 0.0, 1.0, label="Decay power α", maximum=10.0,
    help="How fast λ lowers the rate: not at all with 0, like 1 / t with 1; 0.75 is usual.",
)  # fmt: skip
_T0 = Hyper(
    "t0", 200, 0, 2000, grid=(0, 50, 100, 200, 500, 1000, 2000), label="Average from step", maximum=10_000_000,
    help="Steps before the averaging begins; a fifth of the run is a good start.",
)  # fmt: skip
_BETWEEN = "Where between z (0) and its average x (1) the gradient is taken; 0.9 is usual."
_AVERAGING = (
    Hyper(
        "warmup_steps", 0, 0, 1000, grid=(0, 10, 20, 50, 100, 200, 500, 1000), label="Warm-up steps",
        maximum=10_000_000, help="Steps in which the rate grows up to its value; 0 to a tenth of the run is usual.",
    ),
    Hyper(
        "r", 0.0, 0.0, 4.0, grid=(0.0, 0.5, 1.0, 2.0, 4.0), label="Late weight r", maximum=100.0,
        help="Step t counts t^r times in the average: more than 0 favours late steps; 0 is usual.",
    ),
    Hyper(
        "weight_lr_power", 2.0, 0.0, 4.0, grid=(0.0, 0.5, 1.0, 2.0, 4.0), label="Rate weight", maximum=100.0,
        help="Steps at a higher rate count more in the average, by the rate to this power; 2 is usual.",
    ),
)  # fmt: skip
_X = (Slot("x", reset=itself), Slot("lr_max", shape=number), Slot("weight_sum", shape=number))
_MULTIPLIER = rate(
    1.0, "Multiplies the rate that the rule finds by itself: 1 is usual, 0.3 where the loss jumps about."
)
_EPS = replace(eps(1e-8), open_minimum=True)
_D = Slot("d", reset="d0", shape=number)
_D0 = Hyper(
    "d0", 1e-6, 1e-8, 1.0, grid=tuple(float(f"1e{k}") for k in range(-8, 1)), label="First distance d₀",
    minimum=0.0, open_minimum=True, maximum=1e6,
    help="The distance it assumes at first, well below the true one; 1e-6 is usual and rarely matters.",
)  # fmt: skip
_CORRECT = Hyper(
    "use_bias_correction", False, label="Bias correction",
    help="Corrects the averages' start from 0 as Adam does, which makes the first steps smaller; off is usual.",
)  # fmt: skip

_SCHEDULE_FREE = r"x \leftarrow (1-c)\,x + c\,z"

_WARM_UP = Line(
    "rate = lr * minimum(1, t_x / warmup_steps)",
    "The rate at this step of its warm-up.",
    r"\eta_t = \eta \min(1, t/T)",
    "warmup_steps",
)
_AVERAGE = (
    Line("lr_max = maximum(lr_max, rate)", "The largest rate so far.",
         r"\eta_{\max} \leftarrow \max(\eta_{\max}, \eta_t)"),
    Line("weight = t_x**r * lr_max**weight_lr_power", "What this step counts in the average.",
         r"w = t^r\,\eta_{\max}^{\,q}"),
    Line("weight_sum = weight_sum + weight", "What all steps count together.", r"W \leftarrow W + w"),
    Line("c = where(weight > 0, weight / weight_sum, 0)",
         "The newest weights' share in the average, about 1 / t.",
         r"c = w / W"),
    Line("x = (1 - c) * x + c * p",
         "The average x moves a little towards z; it is where the loss is measured, and what one bad step did "
         "to z fades in it like 1 / t."),
)  # fmt: skip

RULES = (
    Rule(
        "asgd", "ASGD", asgd, (rate(0.01), _LAMBD, _ALPHA, _T0, COUPLED, CLIP),
        r"\new{\eta_t = \frac{\eta}{(1 + \lambda\,\eta\,(t-1))^\alpha}},\quad "
        r"p \leftarrow p - \new{\eta_t}\,(g \new{{}+ \lambda p}),\quad "
        r"\new{\bar p \leftarrow \bar p + \frac{p - \bar p}{\max(1,\,t - 1 - t_0)}}",
        "SGD that answers with the average of its steps, in which their noise cancels.",
        "Polyak, Juditsky (1992)",
        (Slot("ax", reset=itself), Slot("eta", reset="lr", shape=number)), ("t0",),
        returns="step", eval_params=lambda p, s, h: s.ax,
        parent="sgd", change="The loss is reported at the average of the weights since step t₀.",
        tags="averaged, Polyak averaging, Ruppert, no schedule",
        listing=(
            listing.COUPLED,
            Line("eta_t = eta", "The rate of this step, as the last one left it: it falls as the steps go on."),
            Line("p = p - eta_t * (g + lambd * p)",
                 "The weight moves by that rate times today's gradient, and shrinks a little."),
            Line("ax = ax + (p - ax) / maximum(1, t_ax - 1 - t0)",
                 "The average of the weights since step {t0 + 2}: one bad step fades in it like 1 / t."),
            Line("eta = lr / (1 + lambd * lr * t_eta)**alpha", "The rate of the next step.",
                 r"\eta_{t+1} = \frac{\eta}{(1 + \lambda\,\eta\,t)^\alpha}"),
        ),
    ),
    Rule(
        "schedule_free_sgd", "Schedule-Free SGD", schedule_free_sgd,
        (rate(1.0), decay("momentum", "Momentum μ", 0.9, _BETWEEN), *_AVERAGING, COUPLED, CLIP),
        r"\new{z \leftarrow z - \eta\,g((1-\mu)\,z + \mu x)},\quad \new{" + _SCHEDULE_FREE + "}",
        "Averages its steps instead of lowering its rate, and takes the gradient near the average.",
        "Defazio et al., 2405.15682", _X, ("momentum",), returns="step",
        gradient_point=lambda p, s, h: _between(p, s.x, h.momentum), eval_params=lambda p, s, h: s.x,
        parent="asgd", change="The gradient is taken between the last step and the average, not at the last step.",
        tags="no schedule, averaged, anytime",
        listing=(
            _WARM_UP,
            Line("p = p - rate * (g + weight_decay * ((1 - momentum) * p + momentum * x))",
                 "z, the weights that are stepped with, move by the rate times the gradient, which was taken "
                 "{momentum} of the way to the average x."),
            *_AVERAGE,
        ),
    ),
    Rule(
        "schedule_free_adamw", "Schedule-Free AdamW", schedule_free_adamw,
        (rate(0.0025), decay("beta1", "β₁", 0.9, _BETWEEN), BETAS[1], *_AVERAGING, eps(1e-8),
         weight_decay(0.0, BESIDE), CLIP),
        r"\new{y = (1-\beta_1)\,z + \beta_1 x},\quad \new{v \leftarrow \beta_2 v + (1-\beta_2)\,g(y)^2},\quad "
        r"z \leftarrow z - \eta\left(\frac{g(y)}{\new{\sqrt{v/(1-\beta_2^t)} + \epsilon}} \new{{}+ \lambda y}\right),"
        r"\quad "
        + _SCHEDULE_FREE,
        "AdamW with an average of its steps in place of both the momentum and the schedule.",
        "Defazio et al., 2405.15682", (V, *_X), ("beta1", "beta2"), returns="step",
        gradient_point=lambda p, s, h: _between(p, s.x, h.beta1), eval_params=lambda p, s, h: s.x,
        parent="schedule_free_sgd", change="Each weight's gradient is divided by the root of v, as in Adam.",
        tags="no schedule, averaged, anytime, adaptive",
        listing=(
            Line("y = (1 - beta1) * p + beta1 * x",
                 "Where the gradient was taken: {beta1} of the way from z to the average x, which damps what one bad "
                 "step did."),
            listing.SQUARE,
            _WARM_UP,
            Line("p = p - rate * (g / (sqrt(v / (1 - beta2**t_v)) + eps) + weight_decay * y)",
                 "z moves against the gradient, divided by the size of recent ones: no mean m, so a bad one is stepped "
                 "along once."),
            *_AVERAGE,
        ),
    ),
    Rule(
        "dadapt_adam", "D-Adapt Adam", dadapt_adam,
        (_MULTIPLIER, *BETAS, _D0, _CORRECT, _EPS, COUPLED, CLIP),
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,\new{d\,\eta}\,g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "
        r"p \leftarrow p - \frac{\new{m}}{\sqrt{\new{v}} + \epsilon},\quad "
        r"\new{r \leftarrow \sqrt{\beta_2}\,r + (1-\sqrt{\beta_2})\,d\,\eta\,g^\top \frac{s}{\sqrt{v} + \epsilon}},"
        r"\quad "
        r"\new{s \leftarrow \sqrt{\beta_2}\,s + (1-\sqrt{\beta_2})\,d\,\eta\,g},\quad "
        r"\new{d \leftarrow \max\left(d,\; \frac{r}{(1-\sqrt{\beta_2})\,\lVert s\rVert_1}\right)}",
        "Adam that finds its own rate: it estimates how far the minimum is and takes steps to match.",
        "Defazio, Mishchenko, 2301.07733",
        (M, V, Slot("total", linear=True), Slot("r", shape=number), _D), ("beta1", "beta2"), returns="step",
        parent="adam", change="The rate is d, an estimate of the distance to the minimum that grows by itself.",
        tags="no learning rate, parameter free, D-Adaptation",
        listing=(
            listing.COUPLED,
            Line("rate = d * lr * where(use_bias_correction > 0, sqrt(1 - beta2**t_v) / (1 - beta1**t_m), 1)",
                 "The rate that it has found for itself so far, d, times {lr}.", r"\eta_t = d\,\eta"),
            Line("w = sqrt(v) + eps", "The usual size of gradients, before today's.", r"w = \sqrt{v} + \epsilon"),
            Line("m = beta1 * m + (1 - beta1) * rate * g",
                 "m is {beta1} of its old value plus {1 - beta1} of today's gradient times the rate: half of a bad one "
                 "is gone after {half(beta1)}."),
            listing.SQUARE,
            Line("p = p - m / (sqrt(v) + eps)",
                 "The weight moves by m, the rate already in it, divided by the usual size."),
            Line("r = sqrt(beta2) * r + (1 - sqrt(beta2)) * rate * dot(g, total / w)",
                 "One number of the whole network: whether today's gradient agrees with those so far."),
            Line("total = sqrt(beta2) * total + (1 - sqrt(beta2)) * rate * g", "The gradients so far, fading slowly."),
            Line("d = fmax(d, r / ((1 - sqrt(beta2)) * l1(total)))",
                 "The estimated distance to the minimum, which only grows: where a bad gradient raised it, it stays."),
        ),
    ),
    Rule(
        "prodigy", "Prodigy", prodigy,
        (_MULTIPLIER, *BETAS,
         Hyper("d_coef", 1.0, 0.1, 10.0, grid=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), label="Distance factor",
               minimum=0.0, open_minimum=True, maximum=1e6,
               help="Multiplies the estimated distance: the setting to tune if you tune one; 0.5 to 2 is usual."),
         _D0, _CORRECT,
         Hyper("safeguard_warmup", False, label="Safeguard warm-up",
               help="Keeps a low rate at the start from inflating the estimate; switch it on with a warm-up."),
         _EPS, weight_decay(0.0, BESIDE), CLIP),
        r"r \leftarrow \sqrt{\beta_2}\,r + \new{d^2 \eta\,g^\top (p_0 - p)},\quad "
        r"s \leftarrow \sqrt{\beta_2}\,s + \new{d^2 \eta}\,g,\quad "
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,\new{d}\,g,\quad "
        r"v \leftarrow \beta_2 v + (1-\beta_2)\,(\new{d}\,g)^2,\quad "
        r"d \leftarrow \max\left(d,\; \new{\frac{r}{\lVert s\rVert_1}}\right),\quad "
        r"p \leftarrow p - \new{d\,\eta}\,\frac{m}{\sqrt{v} + \new{d}\,\epsilon} \new{{}- d\,\eta\lambda p}",
        "Adam that finds its own rate, from how far it has come and which way the gradient points.",
        "Mishchenko, Defazio, 2306.06101",
        (M, V, Slot("total", linear=True), Slot("p0", reset=itself), Slot("r", shape=number, linear=True), _D),
        ("d_coef", "beta1"), returns="step",
        parent="dadapt_adam",
        change="The distance is measured from the first weights, and late gradients count by d², so d grows faster.",
        tags="no learning rate, parameter free, D-Adaptation",
        listing=(
            Line("rate = d * lr * where(use_bias_correction > 0, sqrt(1 - beta2**t_v) / (1 - beta1**t_m), 1)",
                 "The rate that it has found for itself so far, d, times {lr}.", r"\eta_t = d\,\eta"),
            Line("r = sqrt(beta2) * r + d / d0 * rate * dot(g, p0 - p)",
                 "One number of the whole network: whether today's gradient points back to the first weights."),
            Line("total = sqrt(beta2) * total + d / d0 * where(safeguard_warmup > 0, d, rate) * g",
                 "The gradients so far, fading slowly."),
            Line("m = beta1 * m + (1 - beta1) * d * g",
                 "m is {beta1} of its old value plus {1 - beta1} of d times today's gradient: half of a bad one is "
                 "gone after {half(beta1)}."),
            Line("v = beta2 * v + (1 - beta2) * (d * g)**2",
                 "v is {beta2} of its old value plus {1 - beta2} of its square: half of a bad one is still there after "
                 "{half(beta2)}."),
            Line("next_d = fmax(d, d_coef * r / l1(total))",
                 "The estimated distance to the minimum, which only grows: where a bad gradient raised it, it stays."),
            Line("p = p - rate * (m / (sqrt(v) + next_d * eps) + weight_decay * p)",
                 "Adam's step at the rate that was found so far; the new distance counts from the next step on."),
            Line("d = next_d", "The distance, for the next step.", r"d \leftarrow d_{\text{new}}"),
        ),
    ),
)  # fmt: skip
