"""Rules that set each tensor's step by the size of its weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from core.optimizers import listing
from core.optimizers.base import (
    BETAS,
    CLIP,
    MOMENTS,
    MU,
    Context,
    Line,
    M,
    Named,
    Rule,
    Update,
    ema,
    eps,
    norm,
    of_tensors,
    rate,
    weight_decay,
)
from core.spec import Hyper, Layout


def lars(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """LARS: `m <- mu m + trust (g + weight_decay p); p <- p - lr m`, for each weight matrix by itself

    `trust = trust_coefficient |p| / (|g| + weight_decay |p|)`, 1 where that is 0 or 0/0. You et al., 1708.03888. A
    kernel of more axes is one matrix: its norms are those of all its numbers.

    Biases and gains are left to plain momentum without decay, as in `pytorch_optimizer.LARS`, TensorFlow's skip list
    and MLPerf; the paper does not speak of them. Followed too: the learning rate stands outside of m, as in
    `torch.optim.SGD`; in the paper's algorithm 1 it is a part of m, which differs only while a schedule moves it.
    Default rate: 1, at which a matrix moves by a thousandth of its size; 0.001, the class's own, would be a millionth.
    """

    def trust(g: Tensor, p: Tensor) -> Tensor:
        return _ratio(h.trust_coefficient * norm(p), norm(g) + h.weight_decay * norm(p))

    l2 = _of_matrices(ctx.layout, lambda g: h.weight_decay, 0, ctx.g)
    pushed = _of_matrices(ctx.layout, trust, 1, ctx.g, ctx.p) * torch.addcmul(ctx.g, l2, ctx.p)
    m = torch.addcmul(pushed, h.momentum, s.m)
    return m, {"m": m}, {"l2": l2}


def lamb(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """LAMB: `u = m / (sqrt(v) + eps) + weight_decay p; p <- p - lr trust u`, for each weight matrix by itself

    with Adam's m and v, and `trust = |p| / (|u| + eps)`, 1 where |p| or |u| is 0. You et al., 1904.00962. A kernel of
    more axes is one matrix: its norms are those of all its numbers.

    Followed: the authors' own code for ALBERT, and version 3 of the paper, where m and v are not corrected for their
    bias; version 5 corrects them, which without weight decay is a factor that the trust ratio takes out again. The
    paper's phi is the identity, as in that code (`pytorch_optimizer.Lamb` cuts |p| off at 10). As usual with it
    (`exclude_from_weight_decay`), biases and gains are left to Adam's step without decay and trust ratio.
    """
    m, v = ema(s.m, ctx.g, h.beta1), ema(s.v, ctx.g * ctx.g, h.beta2)
    root = v.sqrt()

    def trust(u: Tensor, p: Tensor) -> Tensor:
        size = norm(u)
        return _ratio(norm(p) * (size > 0), size + h.eps)

    decay = _of_matrices(ctx.layout, lambda g: h.weight_decay, 0, ctx.g)
    u = torch.addcmul(m / (root + h.eps), decay, ctx.p)
    trusted = _of_matrices(ctx.layout, trust, 1, u, ctx.p)
    return trusted * u, {"m": m, "v": v}, {"root_v_hat": root, "decay": trusted * decay}


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """`above / below`, and 1 where either is 0."""
    return torch.where((above > 0) & (below > 0), above / below, 1.0)


def _of_matrices(layout: Layout, measure: Callable[..., Tensor], otherwise: float, *tables: Tensor) -> Tensor:
    """`of_tensors` for each weight matrix or kernel; `otherwise` for biases and gains: `[R, P]`."""
    names = iter(name for name, _ in layout.shapes)

    def measured(*pieces: Tensor) -> Tensor:
        if layout.role(next(names)) == "vector":
            return pieces[0].new_full((len(pieces[0]), 1), otherwise)
        return measure(*pieces)

    return of_tensors(layout, measured, *tables)


def _roles(layout: Layout) -> dict[str, Tensor]:
    """Which weights are a matrix's or a kernel's, `[1, P]`."""
    matrix = [layout.role(name) != "vector" for name, _ in layout.shapes]
    return {"matrix": torch.repeat_interleave(torch.tensor(matrix), torch.tensor(layout.sizes)).unsqueeze(0)}


_TRUST = Hyper(
    "trust_coefficient", 0.001, 1e-4, 1.0, log=True, label="Trust coefficient", minimum=0.0, open_minimum=True,
    maximum=1000.0, help="How far a matrix moves at rate 1, as a share of its own size; 0.001 is usual.",
)  # fmt: skip
_LAYERWISE = "on matrices only, before the trust ratio"

RULES = (
    Rule(
        "lars", "LARS", lars, (rate(1.0), _TRUST, MU, weight_decay(0.0, _LAYERWISE), CLIP),
        r"m \leftarrow \mu m + \new{\kappa\,\frac{\lVert p\rVert}{\lVert g\rVert + \lambda\lVert p\rVert}}\,"
        r"(g \new{{}+ \lambda p}),\quad p \leftarrow p - \eta\,m",
        "Momentum in which every layer moves by the same share of its own size.",
        "You, Gitman, Ginsburg, 1708.03888", (M,), ("trust_coefficient", "momentum"),
        parent="momentum", change="Each matrix's gradient is made as long as a set share of the matrix itself.",
        tags="layer-wise adaptive rate scaling, trust ratio, large batch",
        listing=(
            Line("m = momentum * m + where(matrix & (norm(p) > 0) & (norm(g) + weight_decay * norm(p) > 0), "
                 "trust_coefficient * norm(p) / (norm(g) + weight_decay * norm(p)), 1) "
                 "* (g + where(matrix, weight_decay, 0) * p)",
                 "m keeps {momentum} of itself and takes the matrix's gradient, made {trust_coefficient} times as long "
                 "as the matrix itself: however large a bad one is, it counts as one gradient. Biases take theirs as "
                 "it is."),
            Line("p = p - lr * m", "The weight moves by {lr} of m: every matrix by the same share of its size."),
        ),
        words=_roles,
    ),
    Rule(
        "lamb", "LAMB", lamb, (rate(0.001), *BETAS, eps(1e-6), weight_decay(0.0, _LAYERWISE), CLIP),
        r"m \leftarrow \beta_1 m + (1-\beta_1)\,g,\quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2,\quad "
        r"\new{u} = \frac{\new{m}}{\sqrt{\new{v}} + \epsilon} + \lambda p,\quad "
        r"p \leftarrow p - \eta\,\new{\frac{\lVert p\rVert}{\lVert u\rVert + \epsilon}\,u}",
        "Adam in which every layer moves by the same share of its own size.",
        "You et al., 1904.00962", MOMENTS, ("beta1", "beta2"),
        parent="adamw",
        change="Each matrix's step is made as long as the matrix itself, times the rate; m and v keep their bias.",
        tags="layer-wise adaptive moments, trust ratio, large batch, BERT",
        listing=(
            listing.MEAN, listing.SQUARE,
            Line("u = m / (sqrt(v) + eps) + where(matrix, weight_decay, 0) * p",
                 "Adam's direction with the averages' bias left in, and the decay of matrices."),
            Line("p = p - lr * where(matrix & (norm(p) > 0) & (norm(u) > 0), norm(p) / (norm(u) + eps), 1) * u",
                 "The whole matrix's u is made as long as the matrix, times {lr}: where a bad gradient in v shortens "
                 "all of u, this makes it long again. Biases go by u itself."),
        ),
        words=_roles,
    ),
)  # fmt: skip
