"""Rules that treat a layer's weights as the matrix they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from core.optimizers import listing
from core.optimizers.adam import adamw
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
    beside,
    decay,
    decayed,
    ema,
    eps,
    power,
    rate,
    weight_decay,
)
from core.spec import Hyper, Layout

# ---------------------------------------------------------------- Muon


def muon(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Muon: `m <- mu m + (1 - mu) g; p <- p - lr (sqrt(max(1, rows / columns)) O + weight_decay p)`

    with `O = orthogonal((1 - mu) g + mu m)`, Nesterov's look ahead. Jordan (2024), kellerjordan.github.io/posts/muon.

    For hidden matrices, a convolution's being flattened to `[out, -1]`; embeddings, the output layer, biases and gains
    go by AdamW at the rate `adamw_ratio lr`, as the authors prescribe, with the same weight decay. Followed:
    `torch.optim.Muon` (momentum as a mean, rate adjusted as in "original") and `torch.optim.AdamW`. torch iterates in
    bfloat16, here it is the table's own precision. Defaults: the authors' rates, 0.02 and 0.0003 for AdamW, which
    torch's own example has too (its signature says 0.001); the other settings are torch's.
    """
    layout: Layout = ctx.layout
    tables = (table.split(layout.sizes, dim=1) for table in (ctx.g, ctx.p, s.m))
    squares = iter(s.v.split(_by_adamw(layout), dim=1))
    steps, means, new_squares, shares = [], [], [], []
    for (name, shape), g, p, m in zip(layout.shapes, *tables, strict=True):
        part: Any = SimpleNamespace(g=g, p=p)
        if _by_muon(layout, name):
            mean = ema(m, g, h.momentum)
            ahead = ema(mean, g, h.momentum).reshape(len(g), shape[0], -1)
            longer = math.sqrt(max(1.0, ahead.shape[1] / ahead.shape[2]))
            step = beside(longer * _orthogonal(ahead).flatten(1), part, h)
            share = h.weight_decay
        else:
            step, slots, _ = adamw(part, SimpleNamespace(m=m, v=next(squares)), age, h)
            step, mean, share = h.adamw_ratio * step, slots["m"], h.adamw_ratio * h.weight_decay
            new_squares.append(slots["v"])
        steps.append(step)
        means.append(mean)
        shares.append(share.expand_as(step))
    v = torch.cat(new_squares, dim=1) if new_squares else s.v
    slots = {"m": torch.cat(means, dim=1), "v": v}
    return torch.cat(steps, dim=1), slots, {"decay": torch.cat(shares, dim=1)}


def _orthogonal(matrix: Tensor) -> Tensor:
    """Each matrix with its singular values brought to about 1, `[R, n, k]`, by five Newton-Schulz iterations:

    `X <- 3.4445 X - 4.7750 X X^T X + 2.0315 (X X^T)^2 X`, from the matrix divided by its Frobenius norm.
    """
    tall = matrix.shape[1] > matrix.shape[2]
    x = matrix.mT if tall else matrix
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


def _by_muon(layout: Layout, name: str) -> bool:
    return layout.role(name) in ("hidden", "matrix")


def _by_adamw(layout: Layout) -> list[int]:
    """The sizes of the tensors that Muon leaves to AdamW."""
    return [size for (name, _), size in zip(layout.shapes, layout.sizes, strict=True) if not _by_muon(layout, name)]


# ---------------------------------------------------------------- Shampoo and SOAP: a square matrix for each axis


def shampoo(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Shampoo: `L <- L + g g^T; R <- R + g^T g; p <- p - lr (L + eps)^(-1/4) g (R + eps)^(-1/4)`.

    Gupta, Koren, Singer, 1802.09568, algorithm 2: a tensor of k axes has a matrix for each, raised to -1/(2k). So a
    bias, a tensor of one axis, gets `(g g^T + … + eps)^(-1/2) g`, Adagrad with a full matrix.

    Followed: `pytorch_optimizer.Shampoo`, without its momentum (which averages gradients with what was preconditioned
    already). The roots are taken anew at each of the first 50 steps, and only then once in `precondition_frequency`:
    there they are 0 until they are first taken, and roots of a few gradients blow up all that is new. They are taken
    in double precision; a run of which not even that has an eigenbasis ends there, alone. Defaults: rate and eps of
    its forerunner, `torch_optimizer` (0.1, 1e-4), and SOAP's frequency, 10, which can be watched live.
    """
    layout = ctx.layout
    # A branch on a tensor: where no run's roots are due there is nothing to take. It changes no number.
    due = _rows((age.total <= 50) | (age.total % h.precondition_frequency.round() == 0))
    sides = _sides(layout, 1)
    memories = zip(_squares(s.total, sides), _squares(s.root, sides), strict=True)
    steps, totals, roots = [], [], []
    for g in _tensors(layout, decayed(ctx, h)):
        step = g
        for axis in range(1, g.dim()):
            total, root = next(memories)
            total = total + _gram(g, axis)
            if len(due):
                exponent = -1 / (2 * (g.dim() - 1))
                root = root.index_copy(0, due, _raised(total[due], h.matrix_eps[due], exponent))
            step = _along(step, axis, root)
            totals.append(total)
            roots.append(root)
        steps.append(step)
    return layout.flat(steps), {"total": layout.flat(totals), "root": layout.flat(roots)}, {}


def soap(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """SOAP: Adam in the eigenbases of Shampoo's matrices, `g' = Q_L^T g Q_R`. Vyas et al., 2409.11321.

    `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g'^2; p <- p - lr Q_L [m' / (sqrt(v) + eps)] Q_R^T`, with Adam's
    corrections of bias outside of the division; then `p <- p - lr weight_decay p; L <- b2 L + (1 - b2) g g^T`, R
    likewise, and every `precondition_frequency` steps one power iteration, `Q <- qr(L Q)`, its columns in the order of
    their eigenvalues and v with them. The first step moves nothing: its gradient makes the first eigenbases. A kernel
    of more axes has a matrix for each, as in Shampoo; biases and gains go by Adam.

    Followed, defaults too: `pytorch_optimizer.SOAP`, which is the authors' first code, but for the QR decomposition,
    which they take in float32 and this in the table's own precision. m is kept unturned, which is the same.
    """
    layout, sides = ctx.layout, _sides(ctx.layout, 2)
    first, passed = age.GG == 1, age.GG - 1
    m = ema(s.m, ctx.g, torch.where(first, 1.0, h.beta1))
    turned = _turned(layout, s.Q, ctx.g)
    v = ema(s.v, turned * turned, torch.where(first, 1.0, h.beta2))
    seen_m, seen_v = torch.minimum(age.m, passed), torch.minimum(age.v, passed)
    corrected = (1 - power(h.beta2, seen_v)).sqrt() / (1 - power(h.beta1, seen_m))
    root = v.sqrt()
    step = h.lr * corrected * _turned(layout, s.Q, _turned(layout, s.Q, m) / (root + h.eps), back=True)
    decay = torch.where(first, 0.0, h.lr * h.weight_decay)
    step = torch.where(first, 0.0, step + decay * (ctx.p - step))

    gg, q = s.GG, s.Q
    if sides:
        grams = (_gram(g, axis) for g in _tensors(layout, ctx.g) if g.dim() > 2 for axis in range(1, g.dim()))
        gg = ema(gg, layout.flat(grams), h.beta2)
        # Branches on tensors: where no run's bases are due there is nothing to decompose. They change no number.
        if len(rows := _rows(first)):
            q = q.index_copy(0, rows, layout.flat(_eigh(gram)[1] for gram in _squares(gg[rows], sides)))
        if len(rows := _rows(~first & (passed % h.precondition_frequency.round() == 0))):
            bases, ordered = _refined(layout, gg[rows], q[rows], v[rows])
            q, v = q.index_copy(0, rows, bases), v.index_copy(0, rows, ordered)
    return step, {"m": m, "v": v, "GG": gg, "Q": q}, {"turned_root_v": root, "decay": decay}


def _turned(layout: Layout, bases: Tensor, table: Tensor, *, back: bool = False) -> Tensor:
    """A table in the eigenbases of its matrices' axes, or back from there; vectors stay as they are: `[R, P]`."""
    squares, found = _squares(bases, _sides(layout, 2)), []
    for tensor in _tensors(layout, table):
        for axis in range(1, tensor.dim()) if tensor.dim() > 2 else ():
            basis = next(squares)
            tensor = _along(tensor, axis, basis if back else basis.mT)
        found.append(tensor)
    return layout.flat(found)


def _refined(layout: Layout, gg: Tensor, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The bases after one power iteration, and v with its columns in their new order."""
    sides = _sides(layout, 2)
    squares = zip(_squares(gg, sides), _squares(q, sides), strict=True)
    bases, found = [], []
    for tensor in _tensors(layout, v):
        for axis in range(1, tensor.dim()) if tensor.dim() > 2 else ():
            gram, basis = next(squares)
            product = gram @ basis
            order = (basis * product).sum(1).argsort(dim=1, descending=True)
            tensor = _ordered(tensor, axis, order)
            bases.append(torch.linalg.qr(_ordered(product, 2, order))[0])
        found.append(tensor)
    return layout.flat(bases), layout.flat(found)


def _ordered(tensor: Tensor, axis: int, order: Tensor) -> Tensor:
    """The same with one axis in another order, `order [R, n]`."""
    shape = [len(order), *[1] * (tensor.dim() - 1)]
    shape[axis] = -1
    return torch.take_along_dim(tensor, order.view(shape), axis)


def _raised(gram: Tensor, eps: Tensor, exponent: float) -> Tensor:
    """`(gram + eps I)^exponent` of symmetric matrices, `[R, n, n]`, `eps [R, 1]`."""
    values, vectors = _eigh(gram)
    return (vectors * power(values.clamp(min=0) + eps, exponent).unsqueeze(1)) @ vectors.mT


def _eigh(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues `[R, n]`, rising, and eigenvectors `[R, n, n]`, found in double precision.

    In single precision torch's solver gives up on some matrices of a few hundred rows, and raises for all runs. Where a
    run has diverged, or its matrix is beyond double precision too, the eigenvectors are NaN, which ends that run alone.
    """
    finite = torch.isfinite(gram).all(2).all(1).view(-1, 1, 1)
    found = torch.where(finite, gram, 0.0).double()
    try:
        values, vectors = torch.linalg.eigh(found)
    except torch.linalg.LinAlgError:
        values, vectors = map(torch.cat, zip(*map(_eigh_or_nan, found.split(1)), strict=True))
    return values.to(gram), torch.where(finite, vectors, math.nan).to(gram)


def _eigh_or_nan(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Of one matrix, `[1, n, n]`."""
    try:
        values, vectors = torch.linalg.eigh(gram)
    except torch.linalg.LinAlgError:
        values, vectors = torch.full_like(gram[:, 0], math.nan), torch.full_like(gram, math.nan)
    return values, vectors


def _gram(tensor: Tensor, axis: int) -> Tensor:
    """Inner products of a tensor's slices along one axis, `[R, *shape] -> [R, n, n]`; of a matrix: g g^T, g^T g."""
    slices = tensor.movedim(axis, 1).flatten(1).view(len(tensor), tensor.shape[axis], -1)
    return slices @ slices.mT


def _along(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """One axis of each run's tensor multiplied by its matrix, `[R, n, n]`."""
    moved = tensor.movedim(axis, 1)
    columns = moved.flatten(1).view(len(tensor), tensor.shape[axis], -1)
    # A lone column goes twice: of one run alone, its product would be taken by another routine, and rounded otherwise.
    product = matrix @ (columns if columns.shape[2] > 1 else columns.expand(-1, -1, 2))
    return product[:, :, : columns.shape[2]].reshape(moved.shape).movedim(1, axis)


def _tensors(layout: Layout, table: Tensor) -> list[Tensor]:
    """`[R, *shape]` of each tensor; a bias `(n, 1)` has one axis, as in the sources: `[R, n]`."""
    views = layout.views(table)
    return [view.flatten(1) if layout.role(name) == "vector" else view for name, view in views.items()]


def _sides(layout: Layout, least: int) -> list[int]:
    """The length of each axis of each tensor that has at least so many."""
    shapes = [
        (size,) if layout.role(name) == "vector" else shape
        for (name, shape), size in zip(layout.shapes, layout.sizes, strict=True)
    ]
    return [side for shape in shapes if len(shape) >= least for side in shape]


def _squares(table: Tensor, sides: list[int]) -> Iterator[Tensor]:
    """A memory of square matrices, `[R, n, n]` each."""
    pieces = table.split([side * side for side in sides], dim=1)
    return (piece.view(len(piece), side, side) for piece, side in zip(pieces, sides, strict=True))


def _rows(which: Tensor) -> Tensor:
    """`[R, 1]` of truths -> the rows where they hold."""
    return which.squeeze(1).nonzero().squeeze(1)


# ---------------------------------------------------------------- words of the listings


def _of_muon(layout: Layout) -> dict[str, Any]:
    sizes = torch.tensor(layout.sizes)

    def of_each(values: list[float]) -> Tensor:
        return torch.repeat_interleave(torch.tensor(values, dtype=torch.float64), sizes).unsqueeze(0)

    def others(table: Tensor) -> Tensor:
        return table[:, ~hidden[0]]

    def spread(kept: Tensor) -> Tensor:
        return kept.new_full((len(kept), layout.width), math.nan).masked_scatter(~hidden, kept)

    def orthogonal(table: Tensor) -> Tensor:
        return layout.flat(
            _orthogonal(view.reshape(len(view), shape[0], -1)) if _by_muon(layout, name) else torch.zeros_like(view)
            for (name, shape), view in zip(layout.shapes, layout.views(table).values(), strict=True)
        )

    hidden = of_each([_by_muon(layout, name) for name, _ in layout.shapes]) > 0
    rows = of_each([shape[0] for _, shape in layout.shapes])
    columns = of_each([size / shape[0] for size, (_, shape) in zip(layout.sizes, layout.shapes, strict=True)])
    return {"hidden": hidden, "rows": rows, "columns": columns, "others": others, "spread": spread,
            "orthogonal": orthogonal}  # fmt: skip


def _of_sides(layout: Layout, least: int) -> dict[str, Any]:
    """Words on the memories of rules with a matrix for each axis of each tensor that has at least so many axes."""
    shapes = [tensor.shape[1:] for tensor in _tensors(layout, torch.empty(1, layout.width)) if tensor.dim() > least]
    axes = [axis for shape in shapes for axis, side in enumerate(shape) for _ in range(side * side)]
    first = torch.tensor(axes, dtype=torch.int64) == 0

    def grams(table: Tensor) -> Tensor:
        tensors = [tensor for tensor in _tensors(layout, table) if tensor.dim() > least]
        found = [_gram(tensor, axis) for tensor in tensors for axis in range(1, tensor.dim())]
        return layout.flat(found) if found else table[:, :0]

    def joined(one: Tensor, other: Tensor) -> Tensor:
        whole = one.new_empty(len(one), len(axes))
        whole[:, first], whole[:, ~first] = one, other
        return whole

    return {
        "grams": grams, "joined": joined, "first": lambda table: table[:, first],
        "others": lambda table: table[:, ~first],
    }  # fmt: skip


def _of_shampoo(layout: Layout) -> dict[str, Any]:
    sides = _sides(layout, 1)

    def roots(total: Tensor, eps: Tensor) -> Tensor:
        of_axes = [g.dim() - 1 for g in _tensors(layout, total.new_empty(1, layout.width)) for _ in range(1, g.dim())]
        return layout.flat(
            _raised(square, eps, -1 / (2 * axes)) for square, axes in zip(_squares(total, sides), of_axes, strict=True)
        )

    def preconditioned(table: Tensor, root: Tensor) -> Tensor:
        squares, found = _squares(root, sides), []
        for tensor in _tensors(layout, table):
            for axis in range(1, tensor.dim()):
                tensor = _along(tensor, axis, next(squares))
            found.append(tensor)
        return layout.flat(found)

    return {**_of_sides(layout, 1), "roots": roots, "preconditioned": preconditioned}


def _of_soap(layout: Layout) -> dict[str, Any]:
    sides = _sides(layout, 2)

    def eigenbases(gg: Tensor) -> Tensor:
        return layout.flat(_eigh(gram)[1] for gram in _squares(gg, sides)) if sides else gg

    def refined(gg: Tensor, q: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = gg.new_zeros(len(gg), layout.width) if v is None else v
        return _refined(layout, gg, q, v) if sides else (q, v)

    return {
        **_of_sides(layout, 2),
        "turned": lambda q, table: _turned(layout, q, table),
        "turned_back": lambda q, table: _turned(layout, q, table, back=True),
        "eigenbases": eigenbases,
        "refined": lambda gg, q: refined(gg, q)[0],
        "reordered": lambda v, gg, q: refined(gg, q, v)[1],
    }


# ---------------------------------------------------------------- settings and entries


def _squared(least: int) -> Any:
    return lambda layout: (sum(side * side for side in _sides(layout, least)),)


_RATIO = Hyper(
    "adamw_ratio", 0.015, 0.001, 10.0, log=True, label="AdamW's rate / η", minimum=0.0, maximum=1e6,
    help="Learning rate of AdamW, for the output layer and the biases, as a share of Muon's; 0.015 is usual.",
)  # fmt: skip
_MATRIX_EPS = Hyper(
    "matrix_eps", 1e-4, 1e-10, 1.0, grid=tuple(float(f"1e{k}") for k in range(-10, 1)), label="ε",
    minimum=0.0, open_minimum=True, maximum=1e9,
    help="Added to every eigenvalue, so that directions without a gradient do not get huge steps; 1e-4 is usual.",
)  # fmt: skip


def _frequency(what: str) -> Hyper:
    return Hyper(
        "precondition_frequency", 10, 1, 100, grid=(1, 2, 5, 10, 20, 50, 100), label=f"Steps between {what}",
        minimum=1, maximum=100_000, help=f"The {what} are taken anew once in so many steps; 10 is usual.",
    )  # fmt: skip


_MEAN = decay("beta1", "β₁", 0.95, "Memory of the gradient's mean m: 0.95 forgets half of it in 14 steps.")
_SQUARE = decay("beta2", "β₂", 0.95, "Memory of the squares, v and the matrices: 0.95 forgets half in 14 steps.")

RULES = (
    Rule(
        "muon", "Muon", muon,
        (rate(0.02, "How far one step goes: the hidden matrices' largest change along any direction."), _RATIO,
         decay("momentum", "Momentum μ", 0.95, "Share of m that is kept at each step; 0.95 is usual."),
         *BETAS, eps(1e-8), weight_decay(0.1, BESIDE), CLIP),
        r"m \leftarrow \mu m + \new{(1-\mu)}\,g,\quad \new{(1-\mu)\,g + \mu m = U \Sigma V^\top},\quad "
        r"p \leftarrow p - \eta\,\Bigl(\new{\sqrt{\max(1, \tfrac{\mathrm{rows}}{\mathrm{columns}})}\;U V^\top}"
        r" \new{{}+ \lambda p}\Bigr)",
        "Momentum whose step is the same size along every direction of a hidden matrix.",
        "Jordan et al. (2024), kellerjordan.github.io/posts/muon",
        (M, Slot("v", 2, shape=lambda layout: (sum(_by_adamw(layout)),), linear=True)), ("momentum", "adamw_ratio"),
        parent="momentum", change="It orthogonalises the whole matrix of m: all its singular values become about 1.",
        tags="orthogonal, Newton-Schulz, spectral norm, AdamW, hidden layers, nanoGPT speedrun",
        listing=(
            Line("m = where(hidden, momentum, beta1) * m + (1 - where(hidden, momentum, beta1)) * g",
                 "m keeps {momentum} of its old value in a hidden matrix and {beta1} elsewhere: half of a bad gradient "
                 "is gone after {half(momentum)} or {half(beta1)}."),
            Line("O = orthogonal((1 - momentum) * g + momentum * m)",
                 "The whole matrix, looked ahead, with every direction made equally long: how large a bad gradient is "
                 "gets "
                 "lost, and only its direction is left, in many weights at once.", when="hidden"),
            Line("v = beta2 * v + (1 - beta2) * others(g)**2",
                 "Outside of hidden matrices AdamW steps: v is {beta2} of its old value plus {1 - beta2} of today's "
                 "squared "
                 "gradient.", r"v \leftarrow \beta_2 v + (1-\beta_2)\,g^2", "~hidden"),
            Line("u = m / (1 - beta1**t_m) / (sqrt(spread(v) / (1 - beta2**t_v)) + eps)", "AdamW's direction.",
                 r"u = \frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}", "~hidden"),
            Line("p = p - lr * where(hidden, sqrt(maximum(1, rows / columns)) * O + weight_decay * p, "
                 "adamw_ratio * (u + weight_decay * p))",
                 "A hidden matrix moves by about {lr} along every direction of it; what is not one, by AdamW at the "
                 "rate {adamw_ratio * lr}."),
        ),
        words=_of_muon,
    ),
    Rule(
        "shampoo", "Shampoo", shampoo,
        (rate(0.1), _frequency("roots"), _MATRIX_EPS, COUPLED, CLIP),
        r"\new{L \leftarrow L + g g^\top,\quad R \leftarrow R + g^\top g},\quad "
        r"p \leftarrow p - \eta\,\new{(L + \epsilon I)^{-1/4}}\,g\,\new{(R + \epsilon I)^{-1/4}}",
        "Adagrad for whole matrices: it also corrects how the weights of a layer pull on each other.",
        "Gupta, Koren, Singer, 1802.09568",
        (Slot("total", 2, shape=_squared(1), shown=False), Slot("root", 2, shape=_squared(1), shown=False)),
        ("precondition_frequency", "matrix_eps"),
        parent="adagrad", change="One matrix for each side of the layer takes the place of one v for each weight.",
        tags="second order, preconditioner, Kronecker, full matrix",
        listing=(
            listing.COUPLED,
            Line("L = first(total) + first(grams(g))",
                 "Inner products of the rows' gradients, added up: a bad one stays in them for good."),
            Line("R = others(total) + others(grams(g))",
                 "The same of the columns (of a kernel: of all its other axes)."),
            Line("total = joined(L, R)", "Both, as they are kept.", r"(L, R)"),
            Line("root = where((t_total <= 50) | (t_total % round(precondition_frequency) == 0), roots(total, "
                 "matrix_eps), root)",
                 "Their inverse roots, taken anew every {precondition_frequency} steps, at each of the first 50.",
                 r"(L + \epsilon I)^{-1/4},\; (R + \epsilon I)^{-1/4}"),
            Line("p = p - lr * preconditioned(g, root)",
                 "The gradient between the two roots: along every direction it is divided by what has been seen along "
                 "it."),
        ),
        words=_of_shampoo,
    ),
    Rule(
        "soap", "SOAP", soap,
        (rate(0.003), _MEAN, _SQUARE, _frequency("eigenbases"), eps(1e-8), weight_decay(0.01, BESIDE), CLIP),
        r"L \leftarrow \new{\beta_2} L + \new{(1-\beta_2)}\,g g^\top \new{{}= Q_L \Lambda Q_L^\top},\quad "
        r"R \leftarrow \new{\beta_2} R + \new{(1-\beta_2)}\,g^\top g \new{{}= Q_R \Lambda' Q_R^\top},\quad "
        r"\new{m \leftarrow \beta_1 m + (1-\beta_1)\,g},\quad "
        r"\new{v \leftarrow \beta_2 v + (1-\beta_2)\,(Q_L^\top g\,Q_R)^2},\quad "
        r"p \leftarrow p - \eta\,\new{Q_L\,\frac{Q_L^\top m\,Q_R/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}"
        r"\,Q_R^\top - \eta\lambda p}",
        "Adam run along the directions that Shampoo finds.", "Vyas et al., 2409.11321",
        # v changes its order with the eigenbases, so that it is not linear.
        (M, Slot("v", 2), Slot("GG", shape=_squared(2)), Slot("Q", shape=_squared(2))),
        ("beta2", "precondition_frequency"), returns="step",
        parent="shampoo", change="Shampoo's matrices only give the axes; along these it is Adam that sets the steps.",
        tags="second order, preconditioner, eigenbasis, rotation, Kronecker",
        listing=(
            Line("L = beta2 * first(GG) + (1 - beta2) * first(grams(g))",
                 "Inner products of the rows' gradients, {beta2} of the old and {1 - beta2} of the new."),
            Line("R = beta2 * others(GG) + (1 - beta2) * others(grams(g))",
                 "The same of the columns (of a kernel: of all its other axes)."),
            Line("m = where(t_GG > 1, beta1 * m + (1 - beta1) * g, m)",
                 "m is {beta1} of its old value plus {1 - beta1} of today's gradient: half of a bad one is gone after "
                 "{half(beta1)}. The run's first gradient only makes the bases."),
            Line("v = where(t_GG > 1, beta2 * v + (1 - beta2) * turned(Q, g)**2, v)",
                 "v is {beta2} of its old value plus {1 - beta2} of the squared gradient along the bases: a bad one "
                 "makes steps short along its own directions, and half of it is gone after {half(beta2)}."),
            Line("p = where(t_GG > 1, (1 - lr * weight_decay) * (p - lr * sqrt(1 - beta2**minimum(t_v, t_GG - 1)) "
                 "/ (1 - beta1**minimum(t_m, t_GG - 1)) * turned_back(Q, turned(Q, m) / (sqrt(v) + eps))), p)",
                 "Adam's step along the bases, turned back into the weights."),
            Line("GG = joined(L, R)", "Both matrices, as they are kept.", r"(L, R)"),
            Line("v = where((t_GG > 1) & ((t_GG - 1) % round(precondition_frequency) == 0), reordered(v, GG, Q), v)",
                 "Where the bases are taken anew, v follows their new order.",
                 r"v \leftarrow \text{in the order of } \Lambda"),
            Line("Q = where(t_GG == 1, eigenbases(GG), "
                 "where((t_GG - 1) % round(precondition_frequency) == 0, refined(GG, Q), Q))",
                 "The bases, by one power iteration every {precondition_frequency} steps.", r"Q_L, Q_R"),
        ),
        words=_of_soap,
    ),
)  # fmt: skip
