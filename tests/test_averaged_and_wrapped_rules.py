"""Rules that average or find their own rate, and wrappers, against their definitions and closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from core import RULES, Config, History, Racer, Reset, State, advance, from_function, race, racer, run, start
from core.optimizers import WRAPPERS, why_not
from core.optimizers.base import COUPLED, Context, Named, Rule, Update
from core.tasks import Task
from tests.references import Problem
from tests.strategies import table_rows

FITTING = [(rule, wrapper) for wrapper in WRAPPERS for rule in RULES if not why_not(RULES[rule], (wrapper,))]
NEUTRAL: dict[str, dict[str, Any]] = {
    "grokfast": {"grokfast_lamb": 0}, "sam": {"sam_rho": 0}, "lookahead": {"slow_step_size": 1, "sync_period": 2},
    "ema": {}, "tail": {},
}  # fmt: skip
# What a wrapper cannot change: a step that has the sign of the gradient anyway, for it remembers nothing of its
# direction; and one made of signs alone, which in `Problem`, a bowl along every axis, are the same uphill.
UNMOVED = {
    "cautious": ("sgd", "signsgd", "adagrad", "rmsprop", "adadelta", "adafactor"),
    "sam": ("signsgd", "rprop"),
}
AVERAGES = {
    "asgd": "ax", "schedule_free_sgd": "x", "sgd+lookahead": "slow_weights", "sgd+ema": "ema_weights",
    "sgd+tail": "tail_weights",
}  # fmt: skip
ALL = "adamw+grokfast+cautious+sam+lookahead+ema"


def walk(config: Config, dtype: torch.dtype = torch.float64) -> Iterator[State]:
    """The state after each step."""
    state = start(config, dtype)
    for _ in range(config.steps):
        state, _ = advance(config, state, 1)
        yield state


def path(task: Task, contender: Racer, steps: int) -> Tensor:
    """A lone racer's stored weights after each step `[T, P]`."""
    return torch.stack([state.params[0] for state in walk(race(task, [contender], steps=steps))])


def memory(config: Config, name: str) -> Tensor:
    """What a lone racer keeps under this name after each step, `[T, ...]`."""
    rule = config.racers[0].rule
    return torch.stack([state.slots[rule][name][0] for state in walk(config)])


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def slope(x: Tensor, step: int) -> Tensor:
    """A gradient of 1 everywhere."""
    return x.sum(1)


# ---------------------------------------------------------------- averages


@pytest.mark.parametrize("rule", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free_evaluates_the_weighted_mean_of_its_steps(rule: str) -> None:
    """x is the mean of all z so far, each counted `t^r lr_max^weight_lr_power` times; lr_max grows in the warm-up."""
    steps, lr, r, power = 60, 0.02, 1.5, 1.3
    config = race(
        Problem(1, steps), [racer(rule, lr=lr, r=r, weight_lr_power=power, warmup_steps=20, weight_decay=0.1)],
        steps=steps,
    )  # fmt: skip
    t = np.arange(1, steps + 1)
    counts = torch.tensor(t**r * (lr * np.minimum(t / 20, 1)) ** power)[:, None]
    z = path(Problem(1, steps), config.racers[0], steps)
    assert close(memory(config, "x"), (counts * z).cumsum(0) / counts.cumsum(0))


@pytest.mark.parametrize(
    ("free", "plain"),
    [
        (racer("schedule_free_sgd", lr=0.05, momentum=0, weight_decay=0.1), racer("sgd", lr=0.05, weight_decay=0.1)),
        (
            racer("schedule_free_adamw", lr=0.05, beta1=0, weight_decay=0.1),
            racer("adamw", lr=0.05, beta1=0, weight_decay=0.1),
        ),
    ],
)
def test_schedule_free_that_looks_at_z_steps_like_the_plain_rule(free: Racer, plain: Racer) -> None:
    """Without momentum the gradient is taken at z, and the average looks on (Polyak and Ruppert)."""
    assert close(path(Problem(0, 50), free, 50), path(Problem(0, 50), plain, 50))


def test_schedule_free_rests_where_the_rate_is_0() -> None:
    """A schedule may begin at 0: nothing moves, and the average is that of no step, not 0 / 0."""
    rates = ("tabulated", {"values": [0.0, 0.0, 0.1]})
    config = race(Problem(0, 4), [racer("schedule_free_sgd", schedule=rates)], steps=4)
    x, p = memory(config, "x"), Problem(0, 4).p
    assert torch.equal(x[1], p) and torch.isfinite(x).all() and not torch.equal(x[2], p)


def test_asgd_without_decay_is_sgd_and_averages_from_its_step_on() -> None:
    """ax is p up to step t0 + 2, and from there on the mean of the weights since then."""
    steps, t0 = 40, 10
    averaged = racer("asgd", lr=0.05, lambd=0, t0=t0, weight_decay=0.1)
    p = path(Problem(0, steps), averaged, steps)
    assert close(p, path(Problem(0, steps), racer("sgd", lr=0.05, weight_decay=0.1), steps))
    ax = memory(race(Problem(0, steps), [averaged], steps=steps), "ax")
    assert torch.equal(ax[: t0 + 2], p[: t0 + 2])
    for t in range(t0 + 2, steps + 1):
        assert close(ax[t - 1], p[t0 + 1 : t].mean(0))


def test_asgd_lowers_its_rate() -> None:
    """On x^2 / 2 each step multiplies x by `1 - eta (1 + lambd)`, with `eta = lr / (1 + lambd lr t)^alpha`."""
    lr, lambd, alpha = 0.5, 0.2, 0.6
    bowl = from_function(lambda x, step: (x * x).sum(1) / 2, [1.0])
    p = path(bowl, racer("asgd", lr=lr, lambd=lambd, alpha=alpha), 30).flatten()
    eta = lr / (1 + lambd * lr * np.arange(30)) ** alpha
    assert close(p, torch.tensor(np.cumprod(1 - eta * (1 + lambd))))


def test_an_average_of_n_noisy_steps_has_a_variance_of_1_over_n() -> None:
    """SGD on x^2 / 2 with gradient noise of variance 1 ends with a variance of `lr / (2 - lr)`; the mean of its last n
    weights has about 1 / n, whatever the rate (Polyak and Juditsky, 1992). 4,000 weights with independent noise.
    """
    lr, n, steps = 0.2, 400, 450
    noise = torch.tensor(np.random.default_rng(0).normal(size=(steps + 1, 4000)))
    task = from_function(lambda x, step: (x * x).sum(1) / 2 + (x * noise[step]).sum(1), torch.zeros(4000))
    contenders = [racer("asgd", lr=lr, lambd=0, t0=steps - n - 1), racer("sgd+tail", lr=lr, tail=n / steps)]
    *_, end = walk(race(task, contenders, steps=steps))
    assert float(end.params[0].var()) == pytest.approx(lr / (2 - lr), rel=0.1)
    for rule, slot in (("asgd", "ax"), ("sgd+tail", "tail_weights")):
        assert float(end.slots[rule][slot].var()) == pytest.approx(1 / n, rel=0.1)


@pytest.mark.parametrize("rule", AVERAGES)
def test_averages_stay_where_weights_are_allowed(rule: str) -> None:
    """Downhill against a wall at -1: what is averaged is where the weights were put back to."""
    task = from_function(slope, [0.5], project=lambda p: p.clamp(-1, 1))
    kept = memory(race(task, [racer(rule, lr=0.7)], steps=30), AVERAGES[rule])
    assert float(kept.min()) >= -1


# ---------------------------------------------------------------- distances


def distances(contender: Racer, task: Task, steps: int) -> list[float]:
    """d after each step."""
    return memory(race(task, [contender], steps=steps), "d").flatten().tolist()


@pytest.mark.parametrize("d_coef", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_prodigy_never_overestimates_the_distance(seed: int, d_coef: float) -> None:
    """For convex losses with one minimum x*, `d <= d_coef max|x_0 - x*|` at any rate, and it comes near.

    `g.(x_0 - x) <= g.(x_0 - x*)` by convexity; summed with the weights that s has, the right is at most
    `|s|_1 max|x_0 - x*|` (2306.06101, the bound d <= D, here in the norms of its Adam version).
    """
    rng = np.random.default_rng(seed)
    target, rows = torch.tensor(rng.normal(0, 3, 6)), torch.tensor(rng.normal(size=(401, 6)))
    bend = torch.tensor(rng.uniform(0, 1, 6))

    def loss(x: Tensor, step: int) -> Tensor:
        return ((x - target) @ rows[step]).abs() + ((x - target) ** 2) @ bend

    contender = racer("prodigy", lr=float(rng.uniform(0.5, 2)), d_coef=d_coef)
    d = distances(contender, from_function(loss, torch.zeros(6)), 400)
    largest = d_coef * float(target.abs().max())
    assert d == sorted(d)
    assert largest / 20 < d[-1] <= largest


def test_prodigy_finds_the_distance() -> None:
    """On |x - 3| from 0, in small steps: between 0.6 and 1 times the distance, and d_coef times that."""
    factors = (0.5, 1.0, 2.0)
    contenders = [racer("prodigy", lr=0.03, beta2=0.99, d_coef=factor) for factor in factors]
    task = from_function(lambda x, step: (x - 3).abs().sum(1), [0.0])
    config = race(task, contenders, steps=2000)
    state, _ = advance(config, start(config, torch.float64), 2000)
    for factor, d in zip(factors, state.slots["prodigy"]["d"].flatten().tolist(), strict=True):
        assert 0.6 * 3 * factor < d <= 3 * factor


@pytest.mark.parametrize("rule", ["prodigy", "dadapt_adam"])
def test_a_found_rate_does_not_depend_on_the_scale_of_the_loss(rule: str) -> None:
    """With a tiny eps, the steps on c times the loss are the same; c is a power of 2, so that nothing is rounded."""

    def scaled(c: float) -> Task:
        return from_function(lambda x, step: c * ((x - 2) ** 2).sum(1), [0.0, 1.0, 5.0])

    one, *others = [path(scaled(c), racer(rule, eps=1e-100), 150) for c in (1.0, 2.0**20, 2.0**-20)]
    assert float((one[-1] - 2).abs().max()) < 1  # it went somewhere
    for other in others:
        assert close(other, one, 1e-9)


def test_prodigy_that_knows_the_distance_is_adam() -> None:
    """An estimate beyond the true distance stays; with bias correction that is Adam at the rate d0 lr."""
    task = from_function(lambda x, step: ((x - 2) ** 2).sum(1), [0.0, 1.0, 5.0])
    found = racer("prodigy", lr=0.01, d0=4.0, use_bias_correction=True, eps=1e-100)
    assert set(distances(found, task, 60)) == {4.0}
    assert close(path(task, found, 60), path(task, racer("adam", lr=0.04, eps=0), 60))


def test_dadapt_adam_that_knows_the_distance_is_rmsprop() -> None:
    """Without beta1 and bias correction, at the rate d0 lr."""
    task = from_function(lambda x, step: ((x - 2) ** 2).sum(1), [0.0, 1.0, 5.0])
    found = racer("dadapt_adam", lr=0.001, d0=40.0, beta1=0, beta2=0.99, eps=1e-3, weight_decay=0.01)
    assert set(distances(found, task, 60)) == {40.0}
    plain = racer("rmsprop", lr=0.04, alpha=0.99, eps=1e-3, weight_decay=0.01)
    assert close(path(task, found, 60), path(task, plain, 60))


@pytest.mark.parametrize("rule", ["prodigy", "dadapt_adam"])
def test_no_gradient_no_distance(rule: str) -> None:
    """Where there was no gradient yet the estimate is 0 / 0, and nothing moves."""
    task = from_function(lambda x, step: 0 * x.sum(1), [0.0, 1.0])
    config = race(task, [racer(rule, weight_decay=0)], steps=3)
    assert memory(config, "d").unique().tolist() == [1e-6]
    assert torch.equal(path(task, config.racers[0], 3)[-1], torch.tensor([0.0, 1.0], dtype=torch.float64))


# ---------------------------------------------------------------- wrappers around every rule


def settled(rule: str) -> dict[str, Any]:
    """Settings that are switched off by default, on."""
    return {name: value for name, value in (("weight_decay", 0.03), ("clip", 5.0)) if name in names_of(RULES[rule])}


def names_of(rule: Rule) -> set[str]:
    return {hyper.name for hyper in rule.hypers}


def test_wrappers_share_no_name_with_any_rule() -> None:
    """Neither of a setting, which would then be set for both, nor of a memory."""
    wrappers = list(WRAPPERS.values())
    settings = [hyper.name for wrapper in wrappers for hyper in wrapper.hypers]
    slots = [slot.name for wrapper in wrappers for slot in wrapper.slots]
    assert len(set(settings)) == len(settings) and len(set(slots)) == len(slots)
    for rule in RULES.values():
        assert not names_of(rule) & set(settings), rule.name
        assert not {slot.name for slot in rule.slots_for(Problem.layout)} & set(slots), rule.name


@pytest.mark.parametrize("wrapper", NEUTRAL)
def test_a_neutral_wrapper_leaves_every_rule_as_it_is(wrapper: str) -> None:
    rules = [rule for rule, fitting in FITTING if fitting == wrapper]
    contenders = [
        racer(name, **settled(rule), **(NEUTRAL[wrapper] if name != rule else {}))
        for rule in rules
        for name in (rule, f"{rule}+{wrapper}")
    ]
    config = race(Problem(2, 12), contenders, steps=12)
    rows = table_rows(config)[:, 0]
    for state in walk(config):
        bare, around = state.params[rows[::2]], state.params[rows[1::2]]
        assert torch.isfinite(around).all()
        for rule, one, other in zip(rules, bare, around, strict=True):
            assert close(other, one), rule


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_does_something_to_every_rule(wrapper: str) -> None:
    """It stays finite, resets too, and ends elsewhere, or is evaluated elsewhere, than the bare rule."""
    rules = [rule for rule, fitting in FITTING if fitting == wrapper]
    far: dict[str, Any] = {"sam_rho": 5.0} if wrapper == "sam" else {}  # where a mean of gradients has other signs
    contenders = [
        racer(name, reset=Reset("all", 10), **(far if name != rule else {}))
        for rule in rules
        for name in (rule, f"{rule}+{wrapper}")
    ]
    config = race(Problem(2, 25), contenders, steps=25, seeds=2)
    *_, state = walk(config)
    rows = table_rows(config)[:, 0]
    assert int(state.stopped.max()) == -1
    for index, rule in enumerate(rules):
        bare, around = (state.params[rows[2 * index + i]] for i in (0, 1))
        if WRAPPERS[wrapper].eval_params:
            assert torch.equal(bare, around), rule
            around = state.slots[f"{rule}+{wrapper}"][WRAPPERS[wrapper].slots[0].name][0]
        assert torch.equal(bare, around) == (rule in UNMOVED.get(wrapper, ())), rule


@pytest.mark.parametrize("rule", [rule for rule, wrapper in FITTING if wrapper == "cautious"])
def test_cautious_moves_only_with_the_gradient(rule: str) -> None:
    """From the same weights and memories: the base's step but for decay beside the gradient, its disagreeing parts left
    out and the rest divided by the share that is left in each tensor.

    That decay is a share of the weights. It is found as the one with which a tensor's whole step is a multiple of its
    step without decay (LAMB's trust ratio and decay after the step change its length) and a share of its weights.
    """
    settings, problem = settled(rule), Problem(3, 30)
    plain = settings | {"weight_decay": 0.0}
    coupled = next((hyper is COUPLED for hyper in RULES[rule].hypers if hyper.name == "weight_decay"), False)

    def step(name: str, chosen: dict[str, Any], state: State) -> Tensor:
        config = race(problem, [racer(name, **chosen)], steps=30)
        slots, ages = next(iter(state.slots.values())), next(iter(state.ages.values()))
        after, _ = advance(config, replace(state, slots={name: slots}, ages={name: ages}), 1)
        return state.params[0] - after.params[0]

    state, masked = start(race(problem, [racer(rule, **settings)], steps=30), torch.float64), 0
    for t in range(20):
        p = state.params[0]
        g = problem.gradient(p, t)
        g = g * min(1, 5 / float(g.norm()))
        whole, found = (step(name, settings, state) for name in (rule, f"{rule}+cautious"))
        bare = step(rule, plain, state) if "weight_decay" in settings and not coupled and rule != "lars" else whole
        expected = []
        for (name, _), u, b, w, h in zip(
            problem.layout.shapes, *(x.split(problem.layout.sizes) for x in (whole, bare, p, g)), strict=True
        ):
            matrix = problem.layout.role(name) != "vector"
            h = h + settings["weight_decay"] * w if coupled or (rule == "lars" and matrix) else h
            share = 0.0 if bare is whole else float(torch.linalg.lstsq(torch.stack([b, w], 1), u[:, None])[0][1])
            kept = (u - share * w) * h > 0
            expected.append((u - share * w) * kept / kept.double().mean().clamp(min=1e-3) + share * w)
            masked += int((~kept).sum())
        assert torch.allclose(found, torch.cat(expected), rtol=1e-8, atol=1e-13)
        config = race(problem, [racer(rule, **settings)], steps=30)
        state, _ = advance(config, state, 1)
    assert (masked == 0) == (rule in UNMOVED["cautious"])


@pytest.mark.parametrize(
    "rule", ["asgd", "schedule_free_sgd", "schedule_free_adamw", "dadapt_adam", "prodigy", ALL, "momentum+tail"]
)
def test_a_run_does_not_notice_its_neighbours_nor_how_it_is_cut(rule: str) -> None:
    """To the bit, in single precision, with settings that are not simple powers."""
    odd: dict[str, Any] = {
        "r": 0.7,
        "weight_lr_power": 1.3,
        "alpha": 0.6,
        "lambd": 0.1,
        "warmup_steps": 7,
        "use_bias_correction": True,
    }
    chosen = {name: value for name, value in odd.items() if name in names_of(RULES[rule])}
    contender = racer(rule, lr=0.02, schedule=("step", {"every": 6}), reset=Reset("all", 11), **chosen)
    task = ("moons", {"width": 4, "depth": 1})
    alone, _ = train(race(task, [contender], steps=24, seeds=[37]), (24,))
    among, _ = train(race(task, [racer("adam"), contender], steps=24, seeds=40), (5, 12, 7))
    row = table_rows(race(task, [racer("adam"), contender], seeds=40))[1, 37]
    assert torch.equal(alone.params[0], among.params[row])
    for name, kept in alone.slots[rule].items():
        assert torch.equal(kept[0], among.slots[rule][name][37]), name


def train(config: Config, slices: tuple[int, ...]) -> tuple[State, History]:
    state, records = start(config), []
    for count in slices:
        state, record = advance(config, state, count)
        records.append(record)
    return state, History.of(config, records)


# ---------------------------------------------------------------- each wrapper by itself


def test_grokfast_without_memory_multiplies_the_gradient() -> None:
    found = path(Problem(0, 30), racer("sgd+grokfast", lr=0.01, grokfast_alpha=0, grokfast_lamb=3), 30)
    assert close(found, path(Problem(0, 30), racer("sgd", lr=0.04), 30))


def test_grokfast_amplifies_the_mean_of_past_gradients() -> None:
    """Gradients 1, then -1: the mean starts as the first of them and moves by `1 - alpha` of the way."""
    turning = from_function(lambda x, step: (1.0 if step == 0 else -1.0) * x[:, 0], [0.0])
    p = path(turning, racer("sgd+grokfast", lr=1.0, grokfast_alpha=0.9, grokfast_lamb=2), 20).flatten()
    mean = 2 * 0.9 ** torch.arange(20, dtype=torch.float64) - 1
    g = torch.tensor([1.0] + [-1.0] * 19, dtype=torch.float64)
    assert close(p, -(g + 2 * mean).cumsum(0))


def test_lookahead_at_every_step_is_a_lower_rate() -> None:
    found = path(Problem(0, 30), racer("sgd+lookahead", lr=0.04, sync_period=1, slow_step_size=0.25), 30)
    assert close(found, path(Problem(0, 30), racer("sgd", lr=0.01), 30))


def test_lookahead_goes_back_every_k_steps() -> None:
    """At a gradient of 1: two steps forward, then to half of the three."""
    p = path(from_function(slope, [0.0]), racer("sgd+lookahead", lr=1.0, sync_period=3), 7).flatten()
    assert (-p).tolist() == [1, 2, 1.5, 2.5, 3.5, 3, 4]


def test_ema_and_tail_average_in_closed_form() -> None:
    """At a gradient of 1, p = -lr t; the EMA lags behind by `b / (1 - b) (1 - b^(t-1))` steps, the mean of the last n
    by `(n - 1) / 2`, growing from 0 where the tail begins.
    """
    steps, b = 40, 0.8
    task, t = from_function(slope, [0.0]), torch.arange(1, 41, dtype=torch.float64)
    ema = memory(race(task, [racer("sgd+ema", lr=1.0, ema_decay=b)], steps=steps), "ema_weights").flatten()
    assert close(-ema, t - b / (1 - b) * (1 - b ** (t - 1)))
    tail = memory(race(task, [racer("sgd+tail", lr=1.0, tail=0.25)], steps=steps), "tail_weights").flatten()
    assert close(-tail, t - (t - 31).clamp(min=0) / 2)
    none = memory(race(task, [racer("sgd+tail", lr=1.0, tail=0)], steps=steps), "tail_weights").flatten()
    assert torch.equal(-none, t)


def test_an_average_starts_again_at_a_reset() -> None:
    forgets = Reset("all", 30)
    ema, tail = racer("sgd+ema", lr=1.0, reset=forgets), racer("sgd+tail", lr=1.0, tail=1, reset=forgets)
    for contender, slot in ((ema, "ema_weights"), (tail, "tail_weights")):
        kept = memory(race(from_function(slope, [0.0]), [contender], steps=35), slot).flatten()
        assert float(kept[29]) > -29 and float(kept[30]) == -31


def test_sam_at_a_gradient_of_0_stays() -> None:
    bowl = from_function(lambda x, step: (x * x).sum(1) / 2, [0.0, 0.0])
    *_, state = walk(race(bowl, [racer("sgd+sam", lr=0.1)], steps=3))
    assert int(state.stopped) == -1 and state.params.tolist() == [[0, 0]]


def test_sam_clips_the_gradient_it_steps_along() -> None:
    """On x^2 / 2 from 1: the direction uphill does not depend on the clipping, the step is that of the limit."""
    bowl = from_function(lambda x, step: (x * x).sum(1) / 2, [1.0])
    p = path(bowl, racer("sgd+sam", lr=0.1, sam_rho=0.5, clip=0.2), 1)
    assert float(p) == pytest.approx(1 - 0.1 * 0.2, rel=1e-6)


def test_sam_climbs_from_where_the_gradient_is_taken() -> None:
    """Around Schedule-Free that is y: on x^2 / 2 the gradient used is `y + rho` for y above 0."""
    bowl = from_function(lambda x, step: (x * x).sum(1) / 2, [1.0])
    contender = racer("schedule_free_sgd+sam", lr=0.1, momentum=0.5, sam_rho=0.2)
    z = x = 1.0
    for t, found in enumerate(path(bowl, contender, 8).flatten().tolist(), start=1):
        z -= 0.1 * ((z + x) / 2 + 0.2)
        x += (z - x) / t
        assert found == pytest.approx(z, rel=1e-12)


def test_every_gradient_of_a_wrapped_rule_is_counted() -> None:
    config = race(Problem(0, 6), [racer("adam"), racer("adam+sam"), racer(ALL)], steps=6)
    *_, state = walk(config)
    assert state.evaluations[table_rows(config)[:, 0]].tolist() == [6, 12, 12]
    assert [RULES[name].taken() for name in ("adam", "adam+sam", ALL)] == [(1, False), (2, False), (2, False)]


@pytest.mark.parametrize("k", [1, 4, 10])
def test_around_sophia_sam_and_cautious_leave_its_interval_alone(k: int) -> None:
    """Estimates at every kth step, as without them; SAM takes one gradient more, Cautious none."""
    names = ("sophia", "sophia+cautious", "sophia+sam")
    config = race("moons", [racer(name, hess_interval=k) for name in names], steps=40)
    state, _ = advance(config, start(config), 40)
    counted = (state.evaluations[table_rows(config)[:, 0]] / 40).tolist()
    assert counted == pytest.approx([1 + 1 / k, 1 + 1 / k, 2 + 1 / k])
    assert [(pytest.approx(count), False) for count in counted] == [
        RULES[name].taken({"hess_interval": k}) for name in names
    ]


@pytest.mark.parametrize("base", ["adamw", "muon", "soap", "lamb"])
def test_cautious_asks_its_base_once(base: str) -> None:
    asked = []

    def update(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        asked.append(ctx.step)
        return RULES[base].update(ctx, s, age, h)

    with mock.patch.dict(RULES, {"watched": replace(RULES[base], name="watched", update=update)}):
        config = race("moons", [racer("watched+cautious", weight_decay=0.1)], steps=5)
        advance(config, start(config), 5)
    assert asked == [0, 1, 2, 3, 4]


def test_a_rule_without_clipping_has_none_when_wrapped() -> None:
    """The other ones have it as their last setting, behind those of the wrappers."""
    assert "clip" not in names_of(RULES["lbfgs"]) | names_of(RULES["lbfgs+ema"])
    assert [hyper.name for hyper in RULES["lbfgs+ema"].hypers[-2:]] == ["strong_wolfe", "ema_decay"]
    for rule in RULES.values():
        assert rule.hypers[-1].name == "clip" or rule.name == "lbfgs"


def test_every_way_of_looking_up_a_rule_finds_the_same() -> None:
    name = "adam+sam"
    assert name in RULES and RULES.get(name) is RULES[name] is RULES.find(name) and name not in list(RULES)
    for wrong in ("adam+", "+sam", "adam+sam+grokfast", "asgd+ema", "nothing", "nothing+sam", 3, None):
        assert wrong not in RULES and RULES.get(wrong) is None  # type: ignore[arg-type]
        with pytest.raises(KeyError):
            RULES[wrong]  # type: ignore[index]
        with pytest.raises(ValueError):
            RULES.find(wrong)


# ---------------------------------------------------------------- what is reported, and what does not go together


def test_the_loss_of_the_raw_weights_is_recorded_beside_that_of_the_average() -> None:
    """EMA trains on undisturbed: its raw loss is plain Adam's; a rule that averages nothing has none."""
    contenders = [racer("adam", lr=0.01), racer("adam+ema", lr=0.01), racer("schedule_free_sgd", lr=0.5)]
    config = race(("moons", {"width": 6}), contenders, steps=60, seeds=2)
    history = run(config, torch.float64)
    loss, raw = history.evals["validation_loss"], history.evals["raw_validation_loss"]
    assert np.isnan(raw[:, 0]).all()
    assert np.array_equal(raw[:, 1], loss[:, 0])
    *_, state = walk(config)
    task = config.build_task()
    for index, (rule, slot) in enumerate((("adam+ema", "ema_weights"), ("schedule_free_sgd", "x")), start=1):
        rows = table_rows(config)[index]
        for found, weights in ((loss, state.slots[rule][slot]), (raw, state.params[rows])):
            assert found[-1, index] == pytest.approx(task.evaluate(weights, "validation")["loss"].numpy(), rel=1e-12)
        assert not np.array_equal(loss[-1, index], raw[-1, index])
    assert "raw_validation_loss" not in run(replace(config, racers=config.racers[:1])).evals


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("asgd+ema", "reports its loss at an average already, so EMA"),
        ("schedule_free_sgd+tail", "reports its loss at an average already, so Tail average"),
        ("schedule_free_adamw+lookahead", "averages the weights it steps to, so Lookahead"),
        ("asgd+cautious", "averages the weights it steps to, so Cautious"),
        ("adam+ema+tail", "EMA and Tail average both choose where the loss is reported"),
        ("lbfgs+sam", "learns from its own steps and gradients, so SAM, which changes its gradient"),
        ("lbfgs+lookahead", "learns from its own steps and gradients, so Lookahead, which changes its step"),
        ("adam+sam+grokfast", "in this order"),
        ("adam+sam+sam", "in this order"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(name: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        racer(name)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert name not in RULES


def test_a_class_that_hides_its_decay_cannot_be_cautious() -> None:
    def update(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        return ctx.g, {}, {}

    def guest(sealed: tuple[bytes, ...]) -> Any:
        return None

    hidden = replace(RULES["sgd"], label="Adapted", update=update, guest=guest)
    assert why_not(hidden, ("cautious",)).startswith("Adapted keeps its weight decay to itself, so Cautious cannot")
    assert [name for name in WRAPPERS if why_not(hidden, (name,))] == ["cautious"]


def test_wrapped_rules_are_rules_like_any_other() -> None:
    """They are built on the base by one step, say what they cost, and travel as JSON."""
    rule = RULES[ALL]
    assert rule.parent == ALL.removesuffix("+ema") and rule.label.startswith("AdamW + Grokfast + Cautious + SAM")
    assert rule.hypers[-1].name == "clip" and len(names_of(rule)) == len(rule.hypers)
    assert rule.remembered(Problem.layout) == RULES["adamw"].remembered(Problem.layout) + 3
    config = race("moons", [racer(ALL, sam_rho=0.2, schedules={"sam_rho": ("step", {"factor": 0.5, "every": 10})})])
    assert Config.from_json(config.to_json()) == config


def test_an_entry_says_what_it_adds() -> None:
    for wrapper in WRAPPERS.values():
        assert r"\mathrm{base}" in wrapper.equation and wrapper.equation.count(r"\new{") == 1
        assert wrapper.changes in ("", "gradient", "step")
        assert not (wrapper.eval_params and wrapper.changes)
        for hyper in wrapper.hypers:
            assert hyper.label and hyper.help.endswith(".")
