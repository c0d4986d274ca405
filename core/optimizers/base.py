"""What an update rule is: its contract, its registry entry, and the settings that rules share.

A rule is `rule(ctx, s, age, h) -> (update, slots, trace)`, all on tables with one row for each run:

    ctx.g, ctx.p    gradient and weights                                              [R, P]
    s.<slot>        what the rule remembers, before this step                         [R, ...]
    age.<slot>      steps since that slot was last reset, this one included (1, 2, …) [R, 1]
    h.<setting>     every number a person can set, the scheduled learning rate too    [R, 1]

`update` is the direction that is subtracted; the trainer multiplies it by the learning rate last, so that a rule
reads like its equation (`Rule.returns` for one that returns the whole step, or the new weights). `slots` are the new
memories, `trace` the intermediate quantities by name (`TRACES`), for whoever wants to look inside a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from core.spec import Hyper, Layout


class Context(Protocol):
    """What a rule may look at: the block of rows that is its own."""

    g: Tensor  # [R, P]
    p: Tensor  # [R, P]
    loss: Tensor  # [R], on this step's batch
    layout: Layout
    step: int  # 0, 1, …
    steps: int  # of the whole run
    seeds: tuple[int, ...]  # R of them
    batch: int  # examples whose mean the loss is; 1 where there are no batches
    guest: Guest | None  # of a rule that has one

    @property
    def alive(self) -> Tensor:
        """Which rows still run, `[R]`; what a rule gives for the others is not used."""
        ...

    def gradient(self, at: Tensor, rows: Tensor | slice | None = None, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        """Loss `[R]` and gradient `[R, P]` on the same batch at other weights, clipped like g; each call counts.

        `drawn` puts labels in the batch that are drawn from the network's own predictions at those weights, the same
        for the same seed and step; only tasks with classes have them.
        """
        ...

    def after(self, step: Tensor) -> Tensor:
        """The weights that this whole step `[R, P]` leads to, put back where they are allowed to be."""
        ...

    def but(self, *, g: Tensor) -> Context:
        """The same step with another gradient, for a rule around a rule."""
        ...

    def fail(self, row: int, words: str) -> None:
        """End this row here, and no other: its optimizer cannot go on, for a reason in a few words."""
        ...


class Guest(Protocol):
    """Optimizers that keep their memory themselves, one a row, and hand it over between two slices of a run."""

    def seal(self) -> tuple[bytes, ...]:
        """What each row's optimizer remembers."""
        ...


# What the names in a trace mean; a rule gives those that it has.
TRACES: Mapping[str, str] = {
    "m_hat": "The mean of gradients that the step goes along, its bias corrected where the rule corrects it. [R, P]",
    "root_v_hat": "The root of the mean of squares that the step is divided by, before eps is added where it is added "
    "outside the root; its bias corrected where the rule corrects it. [R, P]",
    "turned_root_v": "Such a root of gradients turned into other bases than that of the weights. [R, P]",
    "decay": "Weight decay beside the gradient: the share of p that is in the update. [R, 1] or [R, P]",
    "l2": "Weight decay through the gradient, where it is not `weight_decay` all over: the rule used g + l2 p. [R, P]",
    "d": "The estimate of the distance to the minimum. [R, 1]",
    "length": "How long a step a search along the line took, in directions. [R, 1]",
}

Named = Any  # a namespace of tensors, one attribute for each slot or setting
Update = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]
Step = Callable[[Context, Named, Named, Named], Update]


@dataclass(frozen=True)
class Slot:
    """One thing a rule remembers: a tensor whose first axis is the row.

    `moment` says what it is a memory of: 1 the gradient's mean (what "reset m" clears), 2 its square ("reset v"),
    0 neither (cleared by "all" alone). `shape` gives the axes after the first from the layout (default: one number
    for each parameter). `reset` is the value it starts from: a number, the name of a setting, or a function of the
    weights `[R, P]`. `shown` marks the memory that a chart of its moment shows, `needed_for` names the setting without
    which it plays no part. `counts` marks one that counts steps, as an age does, and remembers nothing else.

    `linear` marks a memory to which each step adds a part of its own, `s <- a s + f(g, p)` with `f(0, 0) = 0` and a
    free of both: what several steps' gradients left in it adds up (other slots may stand in f as they are). So the
    part of one bad gradient can be carried along by itself. `kept` names the setting that a is, of a memory that is a
    moving average, `ema(s, …, kept)`: without a gradient nothing else becomes of it.
    """

    name: str
    moment: int = 0
    reset: float | str | Callable[[Tensor], Tensor] = 0.0
    shape: Callable[[Layout], tuple[int, ...]] | None = None
    shown: bool = True
    needed_for: str = ""
    linear: bool = False
    kept: str = ""
    counts: bool = False

    def numbers(self, layout: Layout) -> int:
        """How many numbers it keeps for one run."""
        shape = self.shape(layout) if self.shape else (layout.width,)
        return math.prod(shape)


@dataclass(frozen=True)
class Line:
    """One assignment of an update rule, as a line of PyTorch on whole tables (`run` in core/optimizers/listing.py).

    `says` is what it does and what to expect of it, in one sentence; an expression in braces in it is filled in with
    the settings. `equation` (KaTeX) is the assignment's own, of a line that the rule's equation leaves out. `when` is
    an expression that is 0 where the line has nothing to show: it is run all the same.
    """

    code: str
    says: str
    equation: str = ""
    when: str = ""


@dataclass(frozen=True)
class Rule:
    """A registry entry: everything the rest of the project needs to know about an optimizer.

    `slots` is a tuple, or a function of the layout where the memory depends on the network's matrices.
    `gradient_point(p, s, h)` and `eval_params(p, s, h)` are for rules whose gradient is taken, or whose loss is
    reported, at other weights than are stored.

    `parent` is the rule that this one generalises or changes, `change` the one thing that changed, in words; in
    `equation` (KaTeX) that part stands within `\\new{…}`. `tags` are words to find it by, besides its name, idea and
    paper. `returns` says what the update is: a "direction", to be multiplied by the learning rate, the whole "step",
    or the new "weights" themselves. `gradients` is what a step costs in evaluations of the gradient, over many steps,
    a number or a function of the settings by name; `more_gradients` names the switch with which that is the least it
    costs. `full_batch` refuses batches that are less than all of the data, and tasks whose loss changes from step to
    step, `draws_labels` tasks without classes. `guest(sealed)` opens what keeps its memory elsewhere than in slots,
    from what it sealed before (empty: a new one); its slots then say only how old that memory is.

    `listing` is the update once more, as lines of PyTorch to be read: one for each assignment of `equation`, in its
    order, and before and between them those with an equation of their own. `words(layout)` are the names that only
    these lines use: functions of whole tables, and what is known of each weight's tensor, `[1, P]`. `unlisted` says in
    one sentence what is not among the lines.

    Among the `hypers` of a rule whose gradient may be clipped is `CLIP`, the last of them.
    """

    name: str
    label: str
    update: Step
    hypers: tuple[Hyper, ...]
    equation: str
    idea: str
    paper: str
    slots: tuple[Slot, ...] | Callable[[Layout], tuple[Slot, ...]] = ()
    face: tuple[str, ...] = ()
    returns: Literal["direction", "step", "weights"] = "direction"
    gradient_point: Callable[[Tensor, Named, Named], Tensor] | None = None
    eval_params: Callable[[Tensor, Named, Named], Tensor] | None = None
    parent: str = ""
    change: str = ""
    tags: str = ""
    gradients: float | Callable[[Mapping[str, Any]], float] = 1
    more_gradients: str = ""
    full_batch: bool = False
    draws_labels: bool = False
    guest: Callable[[tuple[bytes, ...]], Guest] | None = None
    listing: tuple[Line, ...] = ()
    words: Callable[[Layout], Mapping[str, Any]] | None = None
    unlisted: str = ""

    def slots_for(self, layout: Layout) -> tuple[Slot, ...]:
        """The slots of a run with this layout."""
        return self.slots(layout) if callable(self.slots) else self.slots

    def memory(self, moment: int, layout: Layout) -> Slot | None:
        """The slot that a chart shows as the memory of this moment of the gradient; None where there is none."""
        return next((slot for slot in self.slots_for(layout) if slot.moment == moment and slot.shown), None)

    def carried(self, moment: int, layout: Layout) -> Slot | None:
        """The memory of this moment in which what a step left can be told from the rest.

        None where there is none, or where the rule goes by another memory too, in which it cannot (AMSGrad's maximum).
        """
        own = [slot for slot in self.slots_for(layout) if slot.moment == moment and not slot.needed_for]
        if any(slot.shown and not slot.linear for slot in own):
            return None
        return next((slot for slot in own if slot.linear), None)

    def remembered(self, layout: Layout, settings: Mapping[str, object] | None = None) -> float:
        """Numbers kept between two steps for each weight, with these settings (the default ones unless given)."""
        on = self._completed(settings)
        needed = [slot for slot in self.slots_for(layout) if not slot.needed_for or on[slot.needed_for]]
        return sum(slot.numbers(layout) for slot in needed) / layout.width

    def taken(self, settings: Mapping[str, object] | None = None) -> tuple[float, bool]:
        """Gradients a step with these settings (the default ones unless given), and whether that is only the least."""
        on = self._completed(settings)
        count = self.gradients(on) if callable(self.gradients) else self.gradients
        return count, bool(self.more_gradients and on[self.more_gradients])

    def _completed(self, settings: Mapping[str, object] | None) -> dict[str, Any]:
        return {hyper.name: hyper.default for hyper in self.hypers} | dict(settings or {})

    def hyper(self, name: str) -> Hyper:
        """The description of one setting; `KeyError` where the rule has none of that name."""
        return {hyper.name: hyper for hyper in self.hypers}[name]

    def whole_step(self, ctx: Context, update: Tensor, h: Named) -> Tensor:
        """What is subtracted from the weights, the learning rate applied: `[R, P]`."""
        if self.returns == "weights":
            return ctx.p - update
        step: Tensor = h.lr * update if self.returns == "direction" else update
        return step


def itself(p: Tensor) -> Tensor:
    """The reset of a slot that starts as a copy of the weights."""
    return p


def ema(old: Tensor, new: Tensor, beta: Tensor) -> Tensor:
    """Exponential moving average, `beta old + (1 - beta) new`."""
    return torch.lerp(new, old, beta)


def decayed(ctx: Context, h: Named) -> Tensor:
    """Gradient with coupled (L2) weight decay, `g + weight_decay p`."""
    return torch.addcmul(ctx.g, h.weight_decay, ctx.p) if h.uses("weight_decay") else ctx.g


def beside(update: Tensor, ctx: Context, h: Named) -> Tensor:
    """Update with decoupled weight decay, `update + weight_decay p`."""
    return torch.addcmul(update, h.weight_decay, ctx.p) if h.uses("weight_decay") else update


def power(base: Tensor | float, exponent: Tensor | float) -> Tensor:
    """`base ** exponent`, each number as if it were alone.

    torch raises 32 and more numbers that lie without a gap by another routine, which rounds otherwise: a run would
    then depend on how many stand beside it. So the numbers are laid out with gaps. The ages that a rule is given have
    such gaps already (`Block` in core/chunk.py): `h.beta1**age.m` needs no care.
    """
    base, exponent = (torch.stack([x, x], dim=-1)[..., 0] if isinstance(x, Tensor) else x for x in (base, exponent))
    raised: Tensor = base**exponent
    return raised


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Inner product of each row: two `[R, n]` -> `[R, 1]`."""
    return (one * other).sum(1, keepdim=True)


def norm(table: Tensor) -> Tensor:
    """Euclidean norm of each row: `[R, n]` -> `[R, 1]`."""
    found: Tensor = torch.linalg.vector_norm(table, dim=1, keepdim=True)
    return found


def rms(table: Tensor) -> Tensor:
    """Root mean square of each row: `[R, n]` -> `[R, 1]`."""
    return norm(table) / math.sqrt(table.shape[1])


def of_tensors(layout: Layout, measure: Callable[..., Tensor], *tables: Tensor) -> Tensor:
    """One number for each tensor of each run, `measure([R, n], …) -> [R, 1]`, spread over its parameters: `[R, P]`."""
    pieces = zip(*(table.split(layout.sizes, dim=1) for table in tables), strict=True)
    return torch.cat([measure(*piece).expand_as(piece[0]) for piece in pieces], dim=1)


def number(layout: Layout) -> tuple[int, ...]:
    """The shape of a slot that holds one number for each run."""
    return (1,)


# ---------------------------------------------------------------- settings that rules share


def rate(default: float, help: str = "") -> Hyper:
    """The learning rate."""
    return Hyper(
        "lr", default, 1e-5, 10.0, log=True, label="Learning rate", minimum=0.0, open_minimum=True, maximum=1000.0,
        help=help or "How far one step goes. The one setting to tune if you tune only one: search it in factors of 3.",
    )  # fmt: skip


def decay(name: str, label: str, default: float, help: str) -> Hyper:
    """How much of a moving average is kept at each step."""
    stops = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
    return Hyper(
        name, default, 0.0, 0.9999, grid=stops, label=label, help=help, minimum=0.0, maximum=1.0, open_maximum=True
    )


def eps(default: float) -> Hyper:
    """What keeps a divisor away from 0."""
    return Hyper(
        "eps", default, 1e-10, 1.0, grid=tuple(float(f"1e{k}") for k in range(-10, 1)), label="ε",
        minimum=0.0, maximum=1e9,
        help="Added to the divisor so that tiny gradients do not make huge steps; 1e-8 is usual.",
    )  # fmt: skip


def weight_decay(default: float, how: str) -> Hyper:
    """Weight decay, `how` being "through the gradient (L2)" or "beside the gradient"."""
    return Hyper(
        "weight_decay", default, 0.0, 0.1, grid=(0.0, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1),
        label="Weight decay", minimum=0.0, maximum=10.0,
        help=f"Pulls every weight towards zero, {how}; 0 to 0.01 is usual.",
    )  # fmt: skip


CLIP = Hyper(
    "clip", 0.0, 0.0, 10.0, grid=(0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), label="Clip gradient norm",
    minimum=0.0, maximum=1e9,
    help="Shrinks a gradient whose norm is larger than this down to it; 0 switches clipping off, 1 is usual.",
)  # fmt: skip
COUPLED = weight_decay(0.0, "through the gradient (L2)")
BESIDE = "beside the gradient"
MU = decay("momentum", "Momentum μ", 0.9, "Share of the last step's velocity that is kept; 0.9 is usual.")
BETAS = (
    decay("beta1", "β₁", 0.9, "Memory of the gradient's mean m: 0.9 forgets half of it in 7 steps."),
    decay("beta2", "β₂", 0.999, "Memory of the squared gradient v: 0.999 forgets half of it in 693 steps."),
)
M, V = Slot("m", 1, linear=True), Slot("v", 2, linear=True)
MOMENTS = (replace(M, kept="beta1"), replace(V, kept="beta2"))
