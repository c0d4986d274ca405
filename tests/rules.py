"""Three rules that are in no menu: each asks more of the contracts than the rules of the registry do.

They live in the tests only, to show that an optimizer that comes later fits: `monkeypatch.setitem(RULES, ...)`.
"""

import torch
from torch import Tensor

from core import Hyper
from core.optimizers.base import CLIP, Context, Named, Rule, Slot, Update
from core.spec import Layout

RATE = Hyper("lr", 0.1, 1e-5, 10.0, log=True, minimum=0.0, open_minimum=True, maximum=1000.0)


def schedule_free(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Schedule-Free SGD, Defazio et al., 2405.15682. The table holds z, the memory is its average x:

    `y = (1 - beta) z + beta x; z <- z - lr g(y); x <- (1 - c) x + c z` with `c = 1 / (t + 1)`, t = 1, 2, …
    """
    z = ctx.p - h.lr * ctx.g
    c = 1 / (age.x + 1)
    return ctx.g, {"x": (1 - c) * s.x + c * z}, {}


def sam(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Sharpness-aware minimisation, Foret et al., 2010.01412: `p <- p - lr g(p + rho g / |g|)`."""
    length = torch.linalg.vector_norm(ctx.g, dim=1, keepdim=True)
    _, uphill = ctx.gradient(ctx.p + h.rho * ctx.g / length)
    return uphill, {}, {}


def shampoo(ctx: Context, s: Named, age: Named, h: Named) -> Update:
    """Shampoo, Gupta et al., 1802.09568, algorithm 1; a bias is a matrix of one column:

    `L <- L + G G^T; R <- R + G^T G; W <- W - lr L^(-1/4) G R^(-1/4)`, both starting from eps I.
    """
    update: list[Tensor] = []
    slots: dict[str, Tensor] = {}
    for name, g in ctx.layout.views(ctx.g).items():
        left = getattr(s, f"L_{name}") + g @ g.transpose(1, 2)
        right = getattr(s, f"R_{name}") + g.transpose(1, 2) @ g
        update.append(_inverse_fourth_root(left) @ g @ _inverse_fourth_root(right))
        slots |= {f"L_{name}": left, f"R_{name}": right}
    return ctx.layout.flat(update), slots, {}


def _inverse_fourth_root(matrix: Tensor) -> Tensor:
    """`[R, n, n]` -> `[R, n, n]`."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.pow(-0.25).unsqueeze(1) @ vectors.transpose(1, 2)


SHAMPOO_EPS = 1e-3


def _shampoo_slots(layout: Layout) -> tuple[Slot, ...]:
    def square(side: str, name: str, n: int) -> Slot:
        def start(p: Tensor) -> Tensor:
            return (SHAMPOO_EPS * torch.eye(n).to(p)).expand(len(p), n, n)

        return Slot(f"{side}_{name}", reset=start, shape=lambda layout: (n, n))

    return tuple(square(side, name, n) for name, shape in layout.shapes for side, n in zip("LR", shape, strict=True))


def _itself(p: Tensor) -> Tensor:
    return p


LATER = {
    rule.name: rule
    for rule in (
        Rule(
            "schedule_free", "Schedule-Free SGD", schedule_free,
            (RATE, Hyper("beta", 0.9, 0.0, 1.0, maximum=1.0), CLIP), "", "", "2405.15682",
            (Slot("x", reset=_itself),),
            gradient_point=lambda p, s, h: (1 - h.beta) * p + h.beta * s.x,
            eval_params=lambda p, s, h: s.x,
        ),
        Rule("sam", "SAM", sam, (RATE, Hyper("rho", 0.05, 0.0, 1.0), CLIP), "", "", "2010.01412"),
        Rule("shampoo", "Shampoo", shampoo, (RATE, CLIP), "", "", "1802.09568", _shampoo_slots),
    )
}  # fmt: skip
