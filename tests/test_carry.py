"""How long a bad gradient lives in each memory: measured on the engine, and against the closed forms."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core import RULES, Config, Edit, Racer, State, advance, edit, race, racer, start
from core.carry import (
    Delay,
    adam_step,
    amsgrad_step,
    carried,
    delay,
    half_life,
    momentum_step,
    recovered,
    share,
)
from core.chunk import Block, Chunk, _Spiked
from core.optimizers.base import Context, Named, Rule, Update
from core.optimizers.wrappers import WRAPPERS
from core.plan import plan_of
from core.state import RECORDING
from tests.test_adaptive_rules import given, sizes

Floats = NDArray[np.float64]
STEPS = 60
AT = 12  # the spike's step, counted from 1
SIZE = 100.0
AGES = np.arange(1.0, STEPS + 1)


def spike(*at: int, factor: float = SIZE, index: int = 0) -> list[Edit]:
    """A spike at each of these steps, counted from 1."""
    return [edit(t - 1, index, "scale_gradient", factor=factor) for t in at]


def states(config: Config) -> Iterator[State]:
    """The state after each step, in float64."""
    state = start(config, torch.float64)
    for _ in range(config.steps):
        state, _ = advance(config, state, 1)
        yield state


def measured(config: Config, slot: str) -> Floats:
    """The part of a slot that spikes left in it after each step, of one weight."""
    rule = config.racers[0].rule
    parts = [
        float(state.carried[rule][slot] / state.slots[rule][slot]) if rule in state.carried else 0.0
        for state in states(config)
    ]
    return np.array(parts)


MEMORIES = [
    (racer("momentum", momentum=0.9), "m", 1, 0.9),
    (racer("nesterov", momentum=0.8), "m", 1, 0.8),
    (racer("adam", beta1=0.9), "m", 1, 0.9),
    (racer("adam", beta2=0.99), "v", 2, 0.99),
    (racer("amsgrad", beta2=0.999), "v", 2, 0.999),
    (racer("rmsprop", alpha=0.95), "v", 2, 0.95),
    (racer("adagrad"), "v", 2, 1.0),
    (racer("lion", beta2=0.98), "m", 1, 0.98),
]


@pytest.mark.parametrize(("contender", "slot", "power", "beta"), MEMORIES)
@pytest.mark.parametrize("at", [1, AT])
def test_carry_over_on_constant_gradients_is_the_closed_form(
    contender: Racer, slot: str, power: int, beta: float, at: int
) -> None:
    """Gradients 1, but 100 at one step: `S w / (1 + (S - 1) w)`, of a mean of squares with S^2."""
    config = race(given(np.ones(STEPS)), [contender], steps=STEPS, edits=spike(at))
    found = measured(config, slot)
    assert found == pytest.approx(carried(SIZE**power, beta, AGES, at), rel=1e-9, abs=1e-15)
    assert found[at - 1] > found[-1] > 0


@pytest.mark.parametrize(("contender", "slot", "power", "beta"), MEMORIES)
def test_carry_over_on_random_gradients_is_the_closed_form(
    contender: Racer, slot: str, power: int, beta: float
) -> None:
    """Of the memory `sum_k beta^(t - k) g_k` the terms of the spikes' steps, the slot's own part and no more."""
    g = np.random.default_rng(0).normal(size=STEPS)
    config = race(given(g), [contender], steps=STEPS, edits=spike(AT, AT + 1, AT + 20))
    scaled = np.where(np.isin(AGES, (AT, AT + 1, AT + 20)), SIZE * g, g) ** power

    def memory(values: Floats) -> Floats:
        return np.array(list(accumulate(values, lambda held, new: beta * held + new)))

    own = np.where(np.isin(AGES, (AT, AT + 1, AT + 20)), scaled, 0)
    assert measured(config, slot) == pytest.approx(memory(own) / memory(scaled), rel=1e-9, abs=1e-12)


def test_the_share_that_is_recorded_is_the_projection() -> None:
    """<c, s> / <s, s> of a mean of gradients, sum c / sum s of squares; the twin's is 0, another rule's unknown."""
    config = race(
        ("digits", {"width": 4}), [racer("adam"), racer("adam"), racer("rprop"), racer("amsgrad")], steps=9,
        edits=[*spike(3), *spike(3, index=2), *spike(3, index=3)],
    )  # fmt: skip
    state, _ = advance(config, start(config, torch.float64), 5)
    with torch.no_grad():
        chunk = Chunk(plan_of(config), state, slice(0, 4), RECORDING)
        chunk.run(2)
    blocks = {block.rule.name: block for block in chunk.blocks}
    block = blocks["adam"]
    c, s = block.left, block.slots
    of_m, of_v = block.carried(1), block.carried(2)
    assert of_m is not None
    assert of_v is not None
    assert of_m[0] == pytest.approx(float((c["m"][0] @ s.m[0]) / (s.m[0] @ s.m[0])))
    assert of_v[0] == pytest.approx(float(c["v"][0].sum() / s.v[0].sum()))
    assert 0.05 < of_m[0] < 1
    assert 0.5 < of_v[0] < 1
    assert of_m[1] == of_v[1] == 0
    assert blocks["rprop"].carried(1) is blocks["rprop"].carried(2) is None
    assert blocks["amsgrad"].carried(1) is not None
    assert blocks["amsgrad"].carried(2) is None, "it divides by a maximum, which has no parts"


# ---------------------------------------------------------------- on a live network, for every rule

BAD = (3, 4, 9, 23)  # steps, counted from 0
LAST = 24


class Split:
    """A rule that also keeps what all steps but the bad ones leave in its memories, in the manner of the spikes'."""

    def __init__(self, rule: Rule, extra: str = ""):
        def marked(layout: Any) -> tuple[Any, ...]:
            return tuple(replace(s, linear=True) if s.name == extra else s for s in rule.slots_for(layout))

        self.inner, self.rest, self.extra = rule, {}, extra  # type: ignore[var-annotated]
        self.entry = replace(
            rule, name=f"split_{rule.name}_{extra}".replace("+", "_"), update=self.update, slots=marked
        )

    def update(self, ctx: Context, s: Named, age: Named, h: Named) -> Update:
        found = self.inner.update(ctx, s, age, h)
        if not isinstance(ctx, _Spiked):
            names = [slot.name for slot in self.entry.slots_for(ctx.layout) if slot.linear]
            others = copy.copy(ctx)
            others.__class__ = _Spiked  # which has no gradient elsewhere
            if ctx.step in BAD:
                others.g, others.p = torch.zeros_like(ctx.g), torch.zeros_like(ctx.p)
            held = SimpleNamespace(**(vars(s) | {name: self.rest.get(name, getattr(s, name)) for name in names}))
            _, slots, _ = self.inner.update(others, held, age, h)
            self.rest = {name: slots[name] for name in names}
        return found


def off(rule: str, extra: str = "") -> dict[str, float]:
    """How far spike and rest are from the slot after some steps, as a share of its largest number, slot by slot."""
    split = Split(RULES[rule], extra)
    names = {hyper.name for hyper in split.inner.hypers}
    settings: dict[str, Any] = {
        "weight_decay": 0.01,
        "clip": 5.0,
        "centered": True,
        "threshold": 5.0,
        "grad_accu_steps": 2,
    }
    if rule == "rmsprop":
        settings["momentum"] = 0.9  # switched off by default
    batch = 1077 if split.inner.full_batch else 8
    with mock.patch.dict(RULES, {split.entry.name: split.entry}):
        contender = racer(split.entry.name, **{name: value for name, value in settings.items() if name in names})
        config = race(
            ("digits", {"width": 4}), [contender], steps=LAST, batch=batch, seeds=2,
            edits=[
                edit(BAD[0], 0, "scale_gradient", factor=30.0), edit(BAD[1], 0, "mislabel"),
                edit(BAD[2], 0, "unscale", factor=16.0), edit(BAD[3], 0, "scale_gradient", factor=-2.0),
            ],
        )  # fmt: skip
        state, _ = advance(config, start(config, torch.float64), LAST)
        layout = config.build_task().layout
    found = {}
    for name, part in state.carried.get(split.entry.name, {}).items():
        whole, rest = state.slots[split.entry.name][name], split.rest[name]
        pieces = (
            zip(*(layout.views(table).values() for table in (part, rest, whole)), strict=True)
            if whole.shape[1:] == (layout.width,)
            else [(part, rest, whole)]
        )
        found[name] = max(float((p + r - w).abs().max() / w.abs().max().clamp(min=1e-300)) for p, r, w in pieces)
    return found


def linear_slots(rule: str, linear: bool) -> list[str]:
    layout = race(("digits", {"width": 4}), [racer("sgd")]).build_task().layout
    return [slot.name for slot in RULES[rule].slots_for(layout) if slot.linear == linear]


WRAPPED = ("adam+grokfast", "adam+cautious", "momentum+lookahead", "adam+sam+ema")
LINEAR = [rule for rule in (*RULES, *WRAPPED) if linear_slots(rule, True)]


@pytest.mark.parametrize("rule", LINEAR)
def test_spike_and_rest_add_up_to_the_memory(rule: str) -> None:
    """Tensor by tensor, of every slot that is said to be linear, on a network that trains through bad steps."""
    found = off(rule)
    assert set(found) == set(linear_slots(rule, True))
    assert max(found.values()) < 1e-9, found


# Not said to be linear, though what they hold adds up; why they are not followed.
ADDITIVE = {
    ("nadam", "product"): "no gradient is in it",
    ("shampoo", "total"): "a square matrix for each axis, of which a share would say little",
    ("soap", "GG"): "a square matrix for each axis, of which a share would say little",
    ("lbfgs", "g"): "the last gradient and nothing else",
    ("schedule_free_sgd", "lr_max"): "no gradient is in it",
    ("schedule_free_sgd", "weight_sum"): "no gradient is in it",
    ("schedule_free_adamw", "lr_max"): "no gradient is in it",
    ("schedule_free_adamw", "weight_sum"): "no gradient is in it",
    ("asgd", "eta"): "no gradient is in it",
    ("prodigy", "p0"): "no gradient is in it",
    ("asgd", "ax"): "a mean of weights, not of gradients",
    ("schedule_free_sgd", "x"): "a mean of weights, not of gradients",
    ("momentum+lookahead", "slow_weights"): "a mean of weights, not of gradients",
    ("adam+grokfast", "m"): "a mean of the amplified gradient, in which a spike goes on for as long as in the slow one",
}
OTHERS = [(rule, slot) for rule in (*RULES, *WRAPPED) for slot in linear_slots(rule, False)]


@pytest.mark.parametrize(("rule", "slot"), [pair for pair in OTHERS if pair not in ADDITIVE])
def test_in_other_memories_they_do_not(rule: str, slot: str) -> None:
    """A slot that is not said to be linear is not: taken for one, its two parts miss it by far more than rounding."""
    assert not off(rule, slot)[slot] < 1e-6


def test_every_exception_is_a_slot_of_a_rule() -> None:
    assert set(ADDITIVE) <= set(OTHERS)


# ---------------------------------------------------------------- memories that fade by themselves


def averages(rule: str) -> bool:
    """Whether all that is carried along of a rule is said to be moving averages."""
    layout = race(("digits", {"width": 4}), [racer("sgd")]).build_task().layout
    linear = [slot for slot in RULES[rule].slots_for(layout) if slot.linear]
    return bool(linear) and all(slot.kept for slot in linear)


FADING = [rule for rule in (*RULES, *(f"adam+{name}" for name in WRAPPERS)) if averages(rule)]


def test_adam_is_among_them() -> None:
    assert {"adam", "adamw", "amsgrad", "adam+cautious"} <= set(FADING)
    assert not {"momentum", "rmsprop", "adam+grokfast"} & set(FADING)


@pytest.mark.parametrize("rule", FADING)
@pytest.mark.parametrize("beta", [0.3, 0.9])
def test_a_moving_average_fades_as_the_rules_own_update_has_it(rule: str, beta: float) -> None:
    """To the bit, and in steps with a spike not at all."""

    def carried_of(entry: Rule) -> tuple[dict[str, torch.Tensor], int]:
        with (
            mock.patch.dict(RULES, {"both": entry}),
            mock.patch.object(Block, "faded", autospec=True, side_effect=Block.faded) as faded,
        ):
            pair = [racer("both", weight_decay=0.01, beta1=beta, clip=5.0), racer("both")]
            edits = [*spike(BAD[0] + 1), edit(BAD[1], 0, "mislabel"), *spike(BAD[2] + 1, index=1),
                     edit(BAD[2] + 3, 0, "set", setting="beta2", value=0.9)]  # fmt: skip
            config = race(("digits", {"width": 4}), pair, steps=LAST, batch=8, seeds=2, edits=edits)
            state, _ = advance(config, start(config), LAST)
        return state.carried["both"], faded.call_count

    entry = replace(RULES[rule], name="both")
    quick, short = carried_of(entry)
    layout = race(("digits", {"width": 4}), [racer("sgd")]).build_task().layout
    unsaid = tuple(replace(slot, kept="") for slot in entry.slots_for(layout))
    slow, none = carried_of(replace(entry, slots=unsaid))
    assert (short, none) == (LAST - BAD[0] - 3, 0)
    assert set(quick) == {"m", "v"}
    for name, part in quick.items():
        assert part.abs().sum(1).min() > 0
        assert torch.equal(part, slow[name])


# ---------------------------------------------------------------- steps


RULES_STEPS: list[tuple[Racer, Callable[[Floats], Floats]]] = [
    (racer("adam", lr=0.01, eps=0), lambda t: adam_step(SIZE, t, AT, 0.9, 0.999)),
    (racer("adam", lr=0.01, eps=0, beta1=0.5, beta2=0.9), lambda t: adam_step(SIZE, t, AT, 0.5, 0.9)),
    (racer("rmsprop", lr=0.01, eps=0), lambda t: adam_step(SIZE, t, AT, 0.0, 0.99)),
    (racer("momentum", lr=0.01), lambda t: momentum_step(SIZE, t, AT, 0.9)),
    (racer("amsgrad", lr=0.01, eps=0), lambda t: amsgrad_step(SIZE, t, AT, 0.9, 0.999)),
    (racer("amsgrad", lr=0.01, eps=0, beta2=0.9), lambda t: amsgrad_step(SIZE, t, AT, 0.9, 0.9)),
]


@pytest.mark.parametrize(("contender", "form"), RULES_STEPS)
def test_step_after_a_spike_over_the_twins(contender: Racer, form: Callable[[Floats], Floats]) -> None:
    """The engine's two runs against the closed form, before, at and after the spike."""
    gradients = np.ones(400)
    twin = sizes(gradients, contender)[:, 0]
    gradients[AT - 1] = SIZE
    assert sizes(gradients, contender)[:, 0] / twin == pytest.approx(form(np.arange(1.0, 401)), rel=1e-9)


def test_a_small_spike_is_not_amsgrads_largest() -> None:
    """With `(S^2 - 1) (1 - b2) < b2^at` v goes on rising, and the maximum is always the last."""
    gradients = np.ones(300)
    gradients[AT - 1] = 3.0
    contender = racer("amsgrad", lr=0.01, eps=0)
    found = sizes(gradients, contender)[:, 0] / sizes(np.ones(300), contender)[:, 0]
    assert found == pytest.approx(amsgrad_step(3.0, np.arange(1.0, 301), AT, 0.9, 0.999), rel=1e-9)


def test_adam_recovers_and_amsgrad_never_does() -> None:
    """evidence: after a spike of 100 in its first step Adam is back at half its step 1,466 steps after the smallest;
    AMSGrad stays at `1 / sqrt(v_1)` of it, 0.316.
    """
    gradients = np.ones(12_000)
    gradients[0] = SIZE
    adam, amsgrad = sizes(gradients, racer("adam", lr=0.01, eps=0), racer("amsgrad", lr=0.01, eps=0)).T / 0.01
    assert recovered(adam, 0.5) == 1466
    assert recovered(adam, 0.9) == 3774
    assert recovered(amsgrad, 0.9) is None
    assert amsgrad[-1] == pytest.approx(1 / math.sqrt(SIZE**2 * 0.001), rel=1e-4)


def test_half_lives() -> None:
    """6.58 steps at 0.9, 692.8 at 0.999; the engine's m after a lone gradient falls by half in that time."""
    assert half_life(0.9) == pytest.approx(6.58, abs=0.005)
    assert half_life(0.999) == pytest.approx(692.8, abs=0.05)
    assert (half_life(0.0), half_life(1.0)) == (0.0, math.inf)
    config = race(given([1.0] + [0.0] * 20), [racer("adam", beta1=0.5)], steps=4)
    m = [float(state.slots["adam"]["m"]) for state in states(config)]
    assert m[2] / m[0] == pytest.approx(0.5 ** (2 / half_life(0.5)))


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.999, 1.0])
def test_shares_add_up(beta: float) -> None:
    assert sum(share(beta, AGES, at)[-1] for at in range(1, STEPS + 1)) == pytest.approx(1, rel=1e-12)


# ---------------------------------------------------------------- a reset and its count


def first_steps(count: int, *contenders: tuple[str, Sequence[Edit]]) -> Floats:
    """Root mean square of the first step after `count` others, over lr, where gradients are random with mean 0."""
    g = np.random.default_rng(1).normal(size=(count + 1, 3000))
    racers = [racer(rule, lr=0.01, eps=0) for rule, _ in contenders]
    edits = [replace(entry, racer=i) for i, (_, own) in enumerate(contenders) for entry in own]
    config = race(given(g), racers, steps=count + 1, edits=edits)
    before, _ = advance(config, start(config, torch.float64), count)
    after, _ = advance(config, before, 1)
    return ((after.params - before.params) / 0.01).square().mean(1).sqrt().numpy()


def test_a_count_that_is_kept_makes_a_step_of_three_rates() -> None:
    """evidence: rms 0.2294 lr in steady state, 1 after a reset, sqrt(10) = 3.16 where the count was kept, late in a
    run; and with the count alone reset, `sqrt(1 - b2) / (1 - b1)` of the steady one.
    """
    late = 4000

    def after(**what: str) -> tuple[str, list[Edit]]:
        return "adam", [edit(late, 0, "reset", **what)]

    steady, own, bug, other_bug = first_steps(
        late, ("adam", []), after(what="all"), after(what="all", count="kept"), after(what="count")
    )
    assert steady == pytest.approx(0.2294, rel=0.05)
    assert own == pytest.approx(1, rel=1e-9)
    assert bug == pytest.approx(math.sqrt(10), rel=0.01)
    assert other_bug == pytest.approx(steady * math.sqrt(0.001) / 0.1, rel=0.02)


@pytest.mark.parametrize("rule", ["adam", "adamw", "amsgrad", "nadam", "adabelief"])
def test_with_ages_of_its_own_no_reset_makes_a_large_step(rule: str) -> None:
    """The first step after a reset is as long as the first of all; with the count kept it is more than twice that."""
    late = 2500
    resets = [[edit(late, 0, "reset", what="all", count=count)] for count in ("own", "kept")]
    first = first_steps(0, (rule, []))[0]
    own, kept = first_steps(late, *((rule, reset) for reset in resets))
    assert own == pytest.approx(first, rel=0.05)
    assert kept > 2 * own


def test_a_reset_clears_what_spikes_left() -> None:
    """m's part goes with m, v's stays; and both parts go on to add up."""
    config = race(given(np.ones(9)), [racer("adam")], steps=9, edits=[*spike(3), edit(5, 0, "reset", what="m")])
    *_, before, after = list(states(config))[:6]
    assert before.carried["adam"]["m"] > 0
    assert after.carried["adam"]["m"] == 0
    assert after.carried["adam"]["v"] > 0


def test_a_diverged_row_keeps_what_it_held() -> None:
    """Weights that stop being finite: what spikes had left is finite, and stays as it was."""
    config = race("quadratic", [racer("momentum", lr=900.0)], steps=400, edits=spike(2))
    ends = list(states(config))
    at = int(ends[-1].stopped[0])
    assert 2 < at < 400
    held = [state.carried["momentum"]["m"] for state in ends[at - 2 :]]
    assert all(torch.isfinite(part).all() for part in held)
    assert all(torch.equal(part, held[0]) for part in held)


# ---------------------------------------------------------------- what was measured of a run


def test_recovered() -> None:
    ratio = np.array([1.0, 0.2, 0.6, 0.4, 0.7, 0.95])
    assert [recovered(ratio, level) for level in (0.1, 0.5, 0.9, 0.99)] == [0, 4, 5, None]
    assert recovered(np.array([np.nan, 1.0]), 0.5) == 1


def test_delay_is_how_much_later_the_same_loss_is_reached() -> None:
    """A run three steps behind, one three ahead, an equal one however noisy; one that never comes down, or diverged."""
    falling = np.exp(-np.arange(50) / 10.0)
    late = np.concatenate([falling[:10], falling[7:47]])
    assert delay(late, falling) == Delay(3)
    assert delay(falling, late) == Delay(-3)
    noisy = falling + np.random.default_rng(2).normal(0, 0.2, 50)
    assert delay(noisy, noisy.copy()) == Delay(0)
    assert delay(falling + 5, falling) == Delay(49, at_least=True)
    lost = np.where(np.arange(50) > 20, np.nan, falling)
    assert delay(lost, falling) == Delay(49, at_least=True)
    assert delay(falling, lost) == Delay(-49, at_least=True)
    assert delay(lost, lost) == Delay(0)
    with pytest.raises(ValueError, match="Two curves of one length"):
        delay(falling, falling[1:])


def test_a_spike_on_a_network_costs_adam_steps() -> None:
    """On the digits a spike of 1,000 early in a run leaves Adam behind its twin, and momentum thrown off course."""
    config = race("digits", [racer("adam"), racer("adam")], steps=300, edits=spike(20, factor=1000.0))
    _, records = advance(config, start(config, torch.float64), 300)
    found = delay(records.smooth[:, 0], records.smooth[:, 1])
    assert found.steps > 100
