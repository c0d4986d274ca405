"""Adafactor: the squared gradients of a matrix, remembered by its rows and columns alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from core.optimizers.base import (
    BESIDE,
    CLIP,
    Context,
    Line,
    Named,
    Rule,
    Slot,
    Update,
    of_tensors,
    rate,
    rms,
    weight_decay,
)
from core.spec import Hyper, Layout


def adafactor(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Adafactor: `v = row col / mean(row)` for a matrix, with `row` and `col` moving averages of the means of g^2;

    `u = g / sqrt(v); p <- p - min(lr, 1 / sqrt(t)) max(eps2, rms(p)) u / max(1, rms(u) / d)`, tensor by tensor, the
    averages with `beta2 = 1 - t^beta2_decay`. Shazeer and Stern, 1804.04235.

    Followed: `torch.optim.Adafactor`. There eps1 is the least mean(row) and the least sqrt(v); the paper adds it to
    g^2. There lr bounds the relative step, in the paper 0.01 does. Its eps1 of None is, in single precision, ours.
    Vectors keep all of v; a kernel of more axes is, as there, a stack of matrices, those of its last two axes. Weight
    decay is beside the gradient, `lr weight_decay p`.
    """
    means = torch.lerp(s.means, _means(ctx.layout, ctx.g * ctx.g), age.means**h.beta2_decay)
    root = torch.maximum(_unfactored(ctx.layout, means, h.eps1), h.eps1 * h.eps1).sqrt()
    u = ctx.g / root
    size = torch.minimum(h.lr, 1 / age.means.sqrt()) * torch.maximum(of_tensors(ctx.layout, rms, ctx.p), h.eps2)
    step = size * u / (of_tensors(ctx.layout, rms, u) / h.d).clamp(min=1)
    decay = h.lr * h.weight_decay
    if h.uses("weight_decay"):
        step = torch.addcmul(step, decay, ctx.p)
    return step, {"means": means}, {"root_v_hat": root, "decay": decay}


def _means(layout: Layout, table: Tensor) -> Tensor:
    """What Adafactor keeps of a table: a matrix's means over its columns and over its rows, a vector itself."""
    kept: list[Tensor] = []
    for name, part in layout.views(table).items():
        kept += [part] if layout.role(name) == "vector" else [part.mean(-1), part.mean(-2)]
    return layout.flat(kept)


def _unfactored(layout: Layout, means: Tensor, eps1: Tensor) -> Tensor:
    """The table `[R, P]` that these means stand for."""
    pieces = iter(means.split([math.prod(shape) for shape in _kept(layout)], dim=1))
    found: list[Tensor] = []
    for name, shape in layout.shapes:
        if layout.role(name) == "vector":
            found.append(next(pieces))
        else:
            row = next(pieces).view(-1, *shape[:-1], 1)
            column = next(pieces).view(-1, *shape[:-2], 1, shape[-1])
            mean = torch.maximum(row.mean(-2, keepdim=True), eps1.view(-1, *[1] * len(shape)))
            found.append(row * column / mean)
    return layout.flat(found)


def _kept(layout: Layout) -> list[tuple[int, ...]]:
    """The shapes of what `_means` keeps."""
    kept: list[tuple[int, ...]] = []
    for name, shape in layout.shapes:
        kept += [shape] if layout.role(name) == "vector" else [shape[:-1], (*shape[:-2], shape[-1])]
    return kept


_BETA2_DECAY = Hyper(
    "beta2_decay", -0.8, -1.0, 0.0, label="Memory exponent", minimum=-10.0, maximum=0.0,
    help="At step t each new squared gradient counts t to this power: the memory grows with time; -0.8 is usual.",
)  # fmt: skip
_EPS1 = Hyper(
    "eps1", torch.finfo(torch.float32).eps, 1e-10, 1.0, label="ε₁", minimum=0.0, maximum=1e9,
    grid=tuple(sorted([torch.finfo(torch.float32).eps, *(float(f"1e{k}") for k in range(-10, 1))])),
    help="The least divisor, so that tiny gradients do not make huge steps; 1.2e-7, a float's precision, is usual.",
)  # fmt: skip
_EPS2 = Hyper(
    "eps2", 1e-3, 1e-4, 1.0, grid=(1e-4, 1e-3, 0.01, 0.1, 1.0), label="ε₂", minimum=0.0, maximum=1e9,
    help="The least size a tensor of weights is taken to have when a step is a share of it; 0.001 is usual.",
)  # fmt: skip
_D = Hyper(
    "d", 1.0, 1.0, 10.0, grid=(1.0, 1.5, 2.0, 3.0, 5.0, 10.0), label="Clip update d", minimum=1.0, maximum=1e9,
    help="Shrinks an update whose root mean square is larger than this down to it; 1 is usual.",
)  # fmt: skip

RULES = (
    Rule(
        "adafactor", "Adafactor", adafactor,
        (rate(0.01, "The largest step, as a share of the size of the weights; 0.01 is usual."),
         _BETA2_DECAY, _EPS1, _EPS2, _D, weight_decay(0.0, BESIDE), CLIP),
        r"\new{v_{ij} = \frac{r_i\,c_j}{\mathrm{mean}(r)}},\quad \new{u} = \frac{g}{\new{\sqrt{v}}},\quad "
        r"p \leftarrow p - \new{\min\left(\eta, \tfrac{1}{\sqrt{t}}\right) \max(\epsilon_2, \mathrm{rms}(p))}\,"
        r"\frac{u}{\new{\max(1, \mathrm{rms}(u)/d)}}",
        "Keeps v of a matrix as one number a row and one a column, and steps by a share of the weights.",
        "Shazeer, Stern, 1804.04235",
        # Means over rows and over columns: no table of v that a chart could compare with others.
        (Slot("means", 2, shape=lambda layout: (sum(math.prod(shape) for shape in _kept(layout)),), shown=False,
              linear=True),),
        ("beta2_decay", "d"), returns="step",
        parent="rmsprop", change="v is kept as its rows' and columns' means, and steps are relative to the weights.",
        tags="factored, memory, relative step, update clipping",
        listing=(
            Line("means = (1 - t_means**beta2_decay) * means + t_means**beta2_decay * means_of(g**2)",
                 "Each row's and each column's mean of squared gradients, averaged; a new one counts t to the power "
                 "{beta2_decay}, so the memory grows with the run.",
                 r"(r, c) \leftarrow (1-t^{\gamma})\,(r, c) + t^{\gamma}\,\mathrm{means}(g^2)"),
            Line("v = maximum(product_of(means, eps1), eps1**2)",
                 "v of a weight, put together from its row and its column: a bad gradient in one weight is felt by all "
                 "that share either."),
            Line("u = g / sqrt(v)", "Today's gradient, divided by the usual size in its row and column: about 1."),
            Line("p = p - minimum(lr, 1 / sqrt(t_means)) * maximum(eps2, rms(p)) * u / maximum(1, rms(u) / d) "
                 "- lr * weight_decay * p",
                 "The weight moves by a share, at most {lr}, of the usual size of its tensor's weights; a tensor whose "
                 "update is larger than {d} is cut down as a whole, so a bad gradient throws nothing."),
        ),
        words=lambda layout: {
            "means_of": lambda table: _means(layout, table),
            "product_of": lambda means, eps1: _unfactored(layout, means, eps1),
        },
    ),
)  # fmt: skip
