"""Rules that use the loss's curvature."""

from __future__ import annotations

import torch
from torch import Tensor

from core.optimizers.base import (
    BESIDE,
    CLIP,
    Context,
    Line,
    M,
    Named,
    Rule,
    Slot,
    Update,
    beside,
    decay,
    dot,
    ema,
    rate,
    weight_decay,
)
from core.optimizers.linesearch import strong_wolfe
from core.spec import Hyper, Layout


def sophia(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Sophia-G: `m <- b1 m + (1 - b1) g; p <- p - lr clip(m / (rho B h + 1e-15), 1) - lr weight_decay p`.

    h is a mean of squared gradients on labels that are drawn from the network's own predictions, made every
    `hess_interval` steps: `h <- b2 h + (1 - b2) g_drawn^2`. B times it is the Gauss-Newton-Bartlett estimate of the
    curvature, B being the batch size (1 where there are no batches). Liu et al., 2305.14342.

    Followed: the official SophiaG, which keeps B out of h, corrects no bias and adds 1e-15 where the paper takes the
    larger of the two; its clipping, which limits the drawn gradient too; its defaults (interval from its training
    script). Followed for when: the paper's algorithm 3, which estimates before the first step and every k steps from
    there; the official script does so after step k - 1, and has h = 0, sign descent, until then.
    """
    m, curvature = ema(s.m, ctx.g, h.beta1), s.h
    due = ((age.h - 1) % h.hess_interval == 0).squeeze(1).nonzero().squeeze(1)
    if len(due):
        _, drawn = ctx.gradient(ctx.p[due], due, drawn=True)
        curvature = curvature.index_copy(0, due, ema(curvature[due], drawn * drawn, h.beta2[due]))
    update = (m / (h.rho * ctx.batch * curvature + 1e-15)).clamp(-1, 1)
    return beside(update, ctx, h), {"m": m, "h": curvature}, {"decay": h.weight_decay}


PAIRS = 10  # of L-BFGS, as many as its memory has room for


def lbfgs(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """L-BFGS: `p <- p + t d` with `d = -H g`, H made of the last steps s and of how the gradient changed along them, y.

    `d` comes from the two-loop recursion over the pairs (s, y) with `y s > 1e-10`, starting from `H = (y s / y y) I`
    of the newest; without any, `H = I`. `t = lr`, in the first step `min(1, 1 / |g|_1) lr`, or the length that the
    line search finds from there. Liu and Nocedal (1989).

    Followed: `torch.optim.LBFGS(max_iter=1)`, with room for 10 pairs where torch has 100, and 25 lengths tried after
    the first, the default of its line search (max_iter=1 alone would leave it none). Where torch stops, at
    `max |g| <= 1e-7` or `g d > -1e-9`, the row stands still. torch then counts the step it did not take as taken,
    which on all of the data changes nothing: the gradient does not change either.
    """
    change = ctx.g - s.g
    curved = (dot(change, s.step) > 1e-10).unsqueeze(2)
    changes, steps = _pushed(s.changes, change, curved), _pushed(s.steps, s.step, curved)
    d = _newton(ctx.g, changes, steps, h.history_size)
    slope = dot(ctx.g, d)
    still = (ctx.g.abs().amax(1, keepdim=True) <= 1e-7) | (slope > -1e-9)
    shorter = (1 / ctx.g.abs().sum(1, keepdim=True)).clamp(max=1)
    t = torch.where(age.g == 1, shorter, 1) * h.lr
    if h.uses("strong_wolfe"):
        sound = ctx.alive & ctx.loss.isfinite()
        searching = (h.strong_wolfe > 0) & ~still & slope.isfinite() & sound.unsqueeze(1)
        t = _searched(ctx, d, slope, t, searching)
    step = torch.where(still, 0, t * d)
    return -step, {"g": ctx.g, "step": step, "changes": changes, "steps": steps}, {"length": t}


def _pushed(stack: Tensor, newest: Tensor, where: Tensor) -> Tensor:
    """The stack `[R, n, P]`, newest first, with one more on top in the rows `where [R, 1, 1]`; the oldest drops out."""
    return torch.where(where, torch.cat([newest.unsqueeze(1), stack[:, :-1]], dim=1), stack)


def _newton(g: Tensor, changes: Tensor, steps: Tensor, size: Tensor) -> Tensor:
    """`-H g` by the two-loop recursion over each row's `size` newest pairs; a place that is still empty is all 0."""
    ys = (changes * steps).sum(2)  # [R, n]
    newer = torch.arange(len(ys[0]), device=g.device)
    ro = torch.where((ys > 0) & (newer < size), 1 / ys, 0)
    d, alpha = -g, torch.empty_like(ro)
    for i in range(len(newer)):
        alpha[:, i : i + 1] = ro[:, i : i + 1] * dot(steps[:, i], d)
        d = torch.addcmul(d, alpha[:, i : i + 1], changes[:, i], value=-1)
    d = d * torch.where(ys[:, :1] > 0, ys[:, :1] / dot(changes[:, 0], changes[:, 0]), 1)
    for i in reversed(range(len(newer))):
        beta = ro[:, i : i + 1] * dot(changes[:, i], d)
        d = torch.addcmul(d, alpha[:, i : i + 1] - beta, steps[:, i])
    return d


def _searched(ctx: Context, d: Tensor, slope: Tensor, t: Tensor, rows: Tensor) -> Tensor:
    """The length of each row's step along d, searched in these rows, all together: a round is one gradient for all
    who still ask. `slope` is the loss's along d, t the first lengths, all `[R, 1]`.
    """
    loss, slopes, longest, found = (column.flatten().tolist() for column in (ctx.loss, slope, d.abs().amax(1), t))
    searches = {
        row: strong_wolfe(found[row], loss[row], slopes[row], longest[row])
        for row in rows.flatten().nonzero().flatten().tolist()
    }
    asked = {row: next(search) for row, search in searches.items()}
    while asked:
        at = torch.tensor(list(asked), device=d.device)
        lengths = d.new_tensor(list(asked.values())).unsqueeze(1)
        losses, g = ctx.gradient(ctx.p[at] + lengths * d[at], at)
        answers = zip(list(asked), losses.tolist(), dot(g, d[at]).flatten().tolist(), strict=True)
        for row, f, along in answers:
            try:
                asked[row] = searches[row].send((f, along))
            except StopIteration as done:
                found[row] = done.value
                del asked[row]
    return d.new_tensor(found).unsqueeze(1)


_HESS_INTERVAL = Hyper(
    "hess_interval", 10, 1, 100, grid=(1, 2, 5, 10, 20, 50, 100), label="Curvature every", maximum=1_000_000,
    help="Steps between two estimates of the curvature, each of which costs one more gradient; 10 is usual.",
)  # fmt: skip
_RHO = Hyper(
    "rho", 0.04, 0.001, 1.0, grid=(0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.2, 0.5, 1.0), label="ρ",
    minimum=0.0, maximum=1e6,
    help="How much the curvature counts: a smaller one clips more weights to a step of the whole rate; "
    "0.01 to 0.1 is usual.",
)  # fmt: skip
_HISTORY_SIZE = Hyper(
    "history_size", PAIRS, 1, PAIRS, label="Steps remembered",
    help="How many past steps, with the change of the gradient along each, the curvature is made of; 10 is usual.",
)  # fmt: skip
_STRONG_WOLFE = Hyper(
    "strong_wolfe", False, label="Line search",
    help="Tries lengths along the direction until the loss has fallen enough and its slope is small; "
    "each try costs one more gradient.",
)  # fmt: skip


def _pairs(layout: Layout) -> tuple[int, ...]:
    return PAIRS, layout.width


RULES = (
    Rule(
        "sophia", "Sophia-G", sophia,
        (
            rate(1e-4), decay("beta1", "β₁", 0.965, "Memory of the gradient's mean m; 0.965 forgets half in 19 steps."),
            decay("beta2", "β₂", 0.99, "Memory of the curvature h: 0.99 forgets half of it in 69 estimates."),
            _RHO, _HESS_INTERVAL, weight_decay(0.1, BESIDE), CLIP,
        ),
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad "
        r"\new{h \leftarrow \beta_2 h + (1-\beta_2)\,\hat g^2 \text{ every } k \text{ steps}},\quad "
        r"p \leftarrow p - \eta\,\new{\mathrm{clip}}\left(\frac{\new{m}}{\new{\rho B h}},\new{1}\right)"
        r" - \eta\lambda p",
        "Divides by the curvature, estimated now and then, and takes no step larger than the rate.",
        "Liu, Li, Hall, Liang, Ma, 2305.14342",
        (M, Slot("h", 2)), ("rho", "beta1"),
        parent="adamw",
        change="It divides by the curvature, estimated on labels the network draws itself, and clips the result.",
        tags="second order, diagonal Hessian, Gauss-Newton, sign, clipping, language models",
        gradients=lambda h: 1 + 1 / h["hess_interval"], draws_labels=True,
        listing=(
            Line("m = beta1 * m + (1 - beta1) * g",
                 "m is {beta1} of its old value plus {1 - beta1} of today's gradient: half of a bad one is gone after "
                 "{half(beta1)}."),
            Line("h = where((t_h - 1) % hess_interval == 0, beta2 * h + (1 - beta2) * drawn**2, h)",
                 "Every {hess_interval} steps the curvature h takes {1 - beta2} of the square of a gradient on labels "
                 "that the network draws itself: a bad gradient is in it only if it falls on such a step."),
            Line("p = p - lr * (minimum(maximum(m / (rho * batch * h + 1e-15), -1), 1) + weight_decay * p)",
                 "The weight moves by m divided by the curvature, and by no more than the rate, {lr}: a bad gradient "
                 "throws nothing."),
        ),
    ),
    Rule(
        "lbfgs", "L-BFGS", lbfgs,
        (rate(1.0, "Length of a step along the direction, or the first one that the line search tries; 1 is usual."),
         _HISTORY_SIZE, _STRONG_WOLFE),  # no clipping: two gradients cut to one length tell no curvature
        r"\new{s = \Delta p},\quad \new{y = \Delta g},\quad "
        r"\new{H = (I - \tfrac{s y^\top}{y^\top s})\,H\,(I - \tfrac{y s^\top}{y^\top s}) + \tfrac{s s^\top}{y^\top s}"
        r" \text{ for each remembered } (s, y)},\quad p \leftarrow p - \eta\,\new{H}g",
        "Reads the curvature off its last few steps, and goes where a bowl of that shape has its bottom.",
        "Liu, Nocedal (1989)",
        (Slot("g"), Slot("step"), Slot("changes", shape=_pairs), Slot("steps", shape=_pairs)),
        ("history_size", "strong_wolfe"), returns="step",
        parent="sgd",
        change="The gradient is multiplied by an inverse Hessian made of the last steps and what they did to it.",
        tags="second order, quasi-Newton, BFGS, line search, Wolfe conditions, full batch, limited memory",
        full_batch=True, gradients=lambda h: 1 + h["strong_wolfe"], more_gradients="strong_wolfe",
        listing=(
            Line("s = step", "The last step."),
            Line("y = g - last_g", "How the gradient has changed along it."),
            Line("changes = pushed(changes, y, dot(y, s) > 1e-10)",
                 "The changes of the last {history_size} steps, where the loss curved upwards.", r"(y, \dots)"),
            Line("steps = pushed(steps, s, dot(y, s) > 1e-10)", "The steps themselves.", r"(s, \dots)"),
            Line("d = newton(g, changes, steps, history_size)",
                 "The direction -H g, to where a bowl of the remembered shape has its bottom: one bad gradient makes "
                 "two bad pairs, and the next {history_size} steps go by them."),
            Line("t = where(strong_wolfe > 0, length, lr * where(t_g == 1, minimum(1, 1 / l1(g)), 1))",
                 "The length of the step along it: {lr}, less in the first step, or what the line search has found.",
                 r"\eta"),
            Line("step = where((largest(g) <= 1e-7) | (dot(g, d) > -1e-9), 0, t * d)",
                 "The step; none where there is no slope left.", r"s \leftarrow -\eta H g"),
            Line("p = p + step", "The weight takes it."),
            Line("last_g = g", "Today's gradient, for the next step's difference.", r"g_{t-1} \leftarrow g"),
        ),
        words=lambda layout: {
            "pushed": lambda stack, newest, where: _pushed(stack, newest, where.unsqueeze(2)),
            "newton": _newton,
            "largest": lambda table: table.abs().amax(1, keepdim=True),
        },
    ),
)  # fmt: skip
