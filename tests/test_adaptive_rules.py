"""Adaptive rules against closed forms and limits, in float64: what holds whatever an implementation looks like."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

from core import Config, Racer, advance, edit, from_function, race, racer, start
from core.spec import Layout
from core.tasks.base import FunctionTask
from tests.strategies import table_rows

Floats = NDArray[np.float64]
NOISE = np.random.default_rng(0).normal(0.5, 1, (60, 12))
WITHOUT_EPS: dict[str, dict[str, Any]] = {
    "rprop": {},
    "adafactor": {"eps1": 0},
    "adamax": {"eps": 0},
    "nadam": {"eps": 0},
    "adabelief": {"eps": 0},
    "stableadamw": {"eps": 0},
    "adan": {"eps": 0},
    "ademamix": {"eps": 0},
    "spam": {"eps": 0, "threshold": 10.0, "update_proj_gap": 30},
}
# What makes the steps depend on the gradients alone, not on the weights; and a warm-up, which has to start again too.
BY_GRADIENT: dict[str, dict[str, Any]] = {
    "adafactor": {"eps2": 10.0},
    "stableadamw": {"weight_decay": 0},
    "ademamix": {"t_alpha_beta3": 30},
}


def given(gradients: ArrayLike, first: float = 0.0) -> FunctionTask:
    """A task whose gradient is the same at all weights: a row (or number) of `gradients` at each step."""
    rows = np.asarray(gradients, dtype=float)
    table = torch.tensor(rows.reshape(len(rows), -1))
    return from_function(
        lambda x, step: (x * table[min(step, len(table) - 1)].to(x)).sum(1), torch.full((table.shape[1],), first)
    )


def trail(config: Config, dtype: torch.dtype = torch.float64) -> Floats:
    """Weights before the first step and after each `[T + 1, racers, P]`, of the first seed."""
    state, rows = start(config, dtype), table_rows(config)[:, 0]
    found = [state.params[rows].numpy()]
    for _ in range(config.steps):
        state, _ = advance(config, state, 1)
        found.append(state.params[rows].numpy())
    return np.stack(found)


def sizes(gradients: ArrayLike, *contenders: Racer) -> Floats:
    """How far each step goes down `[T, racers]`, on one weight that is given these gradients."""
    config = race(given(gradients), contenders, steps=len(np.asarray(gradients)))
    return -np.diff(trail(config)[:, :, 0], axis=0)


def ends(gradients: ArrayLike, *contenders: Racer) -> Floats:
    """Where these gradients lead `[racers, P]`, from 1."""
    return trail(race(given(gradients, 1.0), contenders, steps=len(np.asarray(gradients))))[-1]


@pytest.mark.parametrize("rule", WITHOUT_EPS)
def test_gradients_in_another_unit_change_nothing(rule: str) -> None:
    """Without an eps, gradients that are 1,000 times larger lead to the same weights."""
    contender = racer(rule, lr=0.01, **WITHOUT_EPS[rule])
    assert ends(1000 * NOISE, contender) == pytest.approx(ends(NOISE, contender), rel=1e-10)


@pytest.mark.parametrize("rule", ["adadelta", "radam", *WITHOUT_EPS])
def test_a_full_reset_is_a_fresh_start(rule: str) -> None:
    """After it, each step is that of a racer who begins there: nothing outside of the slots and ages is remembered."""
    contender = racer(rule, lr=0.01, **BY_GRADIENT.get(rule, {}))
    begun = trail(race(given(NOISE[25:]), [contender], steps=35))
    again = trail(race(given(NOISE), [contender], steps=60, edits=[edit(25, 0, "reset", what="all")]))
    assert np.diff(again[25:], axis=0) == pytest.approx(np.diff(begun, axis=0), rel=1e-9, abs=1e-15)
    assert not np.allclose(np.diff(trail(race(given(NOISE), [contender], steps=60))[25:], axis=0)[0], begun[1])


@pytest.mark.parametrize("slope", [0.01, 5.0])
def test_adadelta_reaches_the_slope_itself_as_its_step(slope: float) -> None:
    """rho = 0: `u <- k (u + eps)` with k = g^2 / (g^2 + eps), so step t is `lr |g| sqrt(1 - k^t)`."""
    eps, t = 0.1, np.arange(1, 101)
    found = sizes([slope] * 100, racer("adadelta", lr=0.5, rho=0, eps=eps))[:, 0]
    assert found == pytest.approx(0.5 * slope * np.sqrt(1 - (slope**2 / (slope**2 + eps)) ** t), rel=1e-9)


def test_rprop_grows_waits_and_halves() -> None:
    """1.2 times a step while the sign stays, up to the largest; a step's rest where it turns, then half the size."""
    signs = np.array([1, 1, 1, 1, -1, -1, -1, 1, -1, -1])
    gradients = signs * np.random.default_rng(1).uniform(0.1, 100, len(signs))
    found = sizes(gradients, racer("rprop", lr=0.1, step_size_max=0.15))[:, 0]
    assert found == pytest.approx([0.1, 0.12, 0.144, 0.15, 0, -0.075, -0.09, 0, -0.045, -0.054], rel=1e-12)


def test_rprop_is_blind_to_a_schedule_until_a_reset() -> None:
    fading = ("tabulated", {"values": [0.1, 0.01, 0.001, 0.0002]})
    config = race(given([1.0] * 4), [racer("rprop", schedule=fading)], steps=4, edits=[edit(2, 0, "reset", what="all")])
    assert -np.diff(trail(config)[:, 0, 0]) == pytest.approx([0.1, 0.12, 0.001, 0.0012], rel=1e-9)


def test_adafactor_loses_nothing_where_v_is_of_rank_one() -> None:
    """Squared gradients `(a_i b_j c_t)^2` are told by their row and column means: a matrix moves like a vector.

    Of other squares it keeps less, and moves otherwise.
    """
    rng = np.random.default_rng(2)
    rank_one = np.einsum("t,i,j->tij", rng.normal(size=40), rng.normal(size=3), rng.normal(size=4)).reshape(40, 12)
    contender = racer("adafactor", lr=0.05, eps1=1e-12)

    def end(gradients: Floats, shape: tuple[int, ...]) -> Floats:
        task = given(gradients, 1.0)
        task.layout = Layout((("x", shape),))
        return trail(race(task, [contender], steps=40))[-1]

    assert end(rank_one, (3, 4)) == pytest.approx(end(rank_one, (12,)), rel=1e-9)
    assert end(NOISE[:40], (3, 4)) != pytest.approx(end(NOISE[:40], (12,)), rel=1e-3)


def test_adafactor_takes_a_share_of_the_weights() -> None:
    """On a slope, u = 1: `p_t = p_(t-1) (1 - min(lr, 1 / sqrt(t)))`, whatever the slope."""
    found = trail(race(given([[3.0, 0.01]] * 30, 100.0), [racer("adafactor", lr=0.3)], steps=30))[1:, 0]
    shares = np.minimum(0.3, 1 / np.sqrt(np.arange(1, 31)))
    assert found == pytest.approx(np.tile(100 * np.cumprod(1 - shares)[:, None], 2), rel=1e-9)


def test_adafactor_cuts_an_update_down_to_d() -> None:
    """A gradient of S after one of 1: v = S^2 w + 1 - w with w = 2^-0.8, u = S / sqrt(v), and no more than d."""
    spike, w = 100.0, 2**-0.8
    free, cut = sizes([1.0, spike], *(racer("adafactor", lr=0.01, eps2=1.0, d=d) for d in (10.0, 1.0)))[1]
    assert free == pytest.approx(0.01 * spike / np.sqrt(w * spike**2 + 1 - w), rel=1e-9)
    assert free > 0.013
    assert cut == pytest.approx(0.01, rel=1e-9)


def test_adamax_forgets_a_spike_at_its_own_pace() -> None:
    """beta1 = 0, a gradient of S and then ones: `u = max(beta2^(t-1) S, 1)`, over after log S / -log beta2 steps."""
    t = np.arange(1, 101)
    found = sizes([50.0] + [1.0] * 99, racer("adamax", lr=0.1, beta1=0, beta2=0.95, eps=0))[:, 0]
    expected = 0.1 / np.maximum(0.95 ** (t - 1) * 50, 1)
    expected[0] = 0.1
    assert found == pytest.approx(expected, rel=1e-9)
    assert 1 + int(np.argmax(found[1:] >= 0.1)) == np.ceil(np.log(50) / -np.log(0.95))


@pytest.mark.parametrize(("momentum_decay", "share"), [(0.0, 0.5), (1000.0, 1.0)])
def test_nadam_on_a_slope(momentum_decay: float, share: float) -> None:
    """With mu the same at all steps, half of beta1 or all of it:

    step / lr = `(1 - mu) / (1 - mu^t) + mu (1 - b1^t) / (1 - mu^(t+1))`.
    """
    b1, t = 0.8, np.arange(1, 51)
    mu = share * b1
    found = sizes([-3.0] * 50, racer("nadam", lr=0.01, beta1=b1, momentum_decay=momentum_decay, eps=0))[:, 0]
    expected = (1 - mu) / (1 - mu**t) + mu * (1 - b1**t) / (1 - mu ** (t + 1))
    assert found == pytest.approx(-0.01 * expected, rel=1e-9)


@pytest.mark.parametrize(
    ("rule", "settings", "limit", "same"),
    [
        ("nadam", {"beta1": 0}, "adam", {"beta1": 0}),
        ("adan", {"beta1": 0.9, "beta2": 0, "beta3": 0.99}, "adam", {"beta2": 0.99}),
        ("ademamix", {"alpha": 0, "weight_decay": 0.1}, "adamw", {"weight_decay": 0.1}),
        ("spam", {"threshold": 0, "eps": 0}, "adam", {"eps": 0}),
    ],
)
def test_a_rule_with_its_addition_switched_off(
    rule: str, settings: dict[str, Any], limit: str, same: dict[str, Any]
) -> None:
    new, old = ends(NOISE, racer(rule, lr=0.01, **settings), racer(limit, lr=0.01, **same))
    assert new == pytest.approx(old, rel=1e-12)
    defaults: dict[str, Any] = {"update_proj_gap": 25} if rule == "spam" else {}
    switched_on = ends(NOISE, racer(rule, lr=0.01, **defaults))
    assert switched_on != pytest.approx(old, rel=1e-4)


def rectification(t: NDArray[np.int64], beta2: float) -> Floats:
    """1908.03265, equation (5) and step 11, with torch's threshold."""
    most = 2 / (1 - beta2) - 1
    n = most - 2 * t * beta2**t / (1 - beta2**t)
    with np.errstate(invalid="ignore"):
        return np.where(n > 5, np.sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n)), 1)


def test_radam_warms_up_by_itself() -> None:
    """On a slope of S: five steps of momentum, `lr S`, then `lr r_t`, which rises to Adam's `lr`."""
    t = np.arange(1, 201)
    found = sizes([4.0] * 200, *(racer("radam", lr=0.01, beta2=beta2, eps=0) for beta2 in (0.9, 0.999)))
    for column, beta2 in zip(found.T, (0.9, 0.999), strict=True):
        factor = rectification(t, beta2)
        assert column == pytest.approx(0.01 * np.where(factor == 1, 4, factor), rel=1e-8)
    assert found[:5, 1] == pytest.approx([0.04] * 5)
    assert found[5, 1] < 0.0003
    assert found[-1, 0] == pytest.approx(0.01, rel=1e-4)


def test_radam_counts_its_gradients_in_single_precision_too() -> None:
    """beta2 = 0.9999: n is 5 and a bit, the difference of two numbers near 20,000."""
    config = race(given([1.0] * 40), [racer("radam", lr=0.01, beta2=0.9999, eps=0)], steps=40)
    single, double = (np.diff(trail(config, dtype)[:, 0, 0]) for dtype in (torch.float32, torch.float64))
    assert single == pytest.approx(double, rel=0.02)


def test_radam_without_enough_gradients_is_momentum() -> None:
    """beta2 = 0.6 is worth 4 gradients at most: `m_hat`, heavy ball at the rate `lr (1 - b1) / (1 - b1^t)`."""
    rates = 0.05 * 0.1 / (1 - 0.9 ** np.arange(1, 61))
    ball = racer("momentum", momentum=0.9, schedule=("tabulated", {"values": rates.tolist()}))
    rectified, heavy = ends(NOISE, racer("radam", lr=0.05, beta2=0.6), ball)
    assert rectified == pytest.approx(heavy, rel=1e-10)


def test_adabelief_steps_farther_the_better_it_foretells() -> None:
    """On a slope g - m is `g b1^t`, and v `(1 - b2) g^2 b1^2 (b2^t - b1^2t) / (b2 - b1^2) + eps (1 - b2^t) / (1 - b2)`.

    In the end only eps is left of v, and the step is `lr g sqrt((1 - b2) / eps)` (where Adam's is lr).
    """
    g, b1, b2, eps, t = 2.0, 0.8, 0.95, 1e-4, np.arange(1, 401)
    found = sizes([g] * 400, racer("adabelief", lr=1e-3, beta1=b1, beta2=b2, eps=eps))[:, 0]
    v = (1 - b2) * g**2 * b1**2 * (b2**t - b1 ** (2 * t)) / (b2 - b1**2) + eps * (1 - b2**t) / (1 - b2)
    assert found == pytest.approx(1e-3 * g / (np.sqrt(v / (1 - b2**t)) + eps), rel=1e-8)
    assert found[-1] == pytest.approx(1e-3 * g / (np.sqrt(eps / (1 - b2)) + eps), rel=1e-3)


def test_stableadamw_is_adamw_until_a_spike() -> None:
    """Gradients 1, one of 0.1, then S: that step, weight decay and all, is divided by `S / sqrt(v_hat)`, no other."""
    spike, b2 = 30.0, 0.99
    gradients = [1.0] * 19 + [0.1, spike]
    contenders = [racer(rule, lr=0.01, beta2=b2, weight_decay=0.1) for rule in ("adamw", "stableadamw")]
    config = race(given(gradients, 5.0), contenders, steps=21)
    adamw, stable = trail(config)[:, :, 0].T
    assert stable[:21] == pytest.approx(adamw[:21], rel=1e-12)
    v_hat = ((1 - b2) * (spike**2 + 0.01 * b2) + b2**2 * (1 - b2**19)) / (1 - b2**21)
    assert stable[20] - stable[21] == pytest.approx((adamw[20] - adamw[21]) / (spike / np.sqrt(v_hat)), rel=1e-9)


def test_stableadamw_looks_at_each_tensor_alone() -> None:
    """A spike in one tensor does not slow the other down."""
    task = given([[1.0, 1.0]] * 20 + [[1.0, 30.0]])
    task.layout = Layout((("a", (1,)), ("b", (1,))))
    adamw, stable = -np.diff(trail(race(task, [racer("adamw", beta2=0.99), racer("stableadamw")], steps=21)), axis=0)[
        -1
    ]
    assert stable[0] == pytest.approx(adamw[0], rel=1e-3)
    assert stable[1] < 0.5 * adamw[1]


def test_adan_decays_by_division() -> None:
    """Without a gradient: `p <- p / (1 + lr weight_decay)`."""
    found = trail(race(given([0.0] * 20, 1.0), [racer("adan", lr=0.1, weight_decay=0.5)], steps=20))[:, 0, 0]
    assert found == pytest.approx(1.05 ** -np.arange(21), rel=1e-12)


def test_adan_looks_ahead() -> None:
    """A gradient that grows by k a step from g: m + b2 d at the second is `[(1 - b1^2) g + (1 - b1) k] / (1 - b1^2)`

    plus `b2 k (1 - b2) / (1 - b2^2)`, divided by the root of `[b3 g^2 + (g + k + b2 k)^2] / (1 + b3)`.
    """
    g, k, b1, b2, b3 = 2.0, 0.5, 0.9, 0.7, 0.8
    second = sizes([g, g + k], racer("adan", lr=0.1, beta1=b1, beta2=b2, beta3=b3, eps=0))[1, 0]
    m, d = g + k * (1 - b1) / (1 - b1**2), k * (1 - b2) / (1 - b2**2)
    v = (b3 * g**2 + (g + k + b2 * k) ** 2) / (1 + b3)
    assert second == pytest.approx(0.1 * (m + b2 * d) / np.sqrt(v), rel=1e-12)


@pytest.mark.parametrize("warm_up", [0, 40])
def test_ademamix_on_a_slope(warm_up: int) -> None:
    """step / lr = `1 + alpha_t (1 - b3_1 … b3_t)`: alpha in a straight line, b3 by the official code's half-lives."""
    alpha, b1, b3, t = 6.0, 0.9, 0.999, np.arange(1, 61)
    found = sizes([3.0] * 60, racer("ademamix", lr=1e-3, alpha=alpha, beta3=b3, t_alpha_beta3=warm_up, eps=0))[:, 0]
    share = np.minimum(t / warm_up, 1) if warm_up else np.ones(60)
    first, last = (np.log(0.5) / np.log(beta) - 1 for beta in (b1, b3))
    betas = 0.5 ** (1 / ((1 - share) * first + share * last + 1))
    assert found == pytest.approx(1e-3 * (1 + share * alpha * (1 - np.cumprod(betas))), rel=1e-9)


def test_spam_cuts_a_spike_and_adam_given_the_rest_does_the_same() -> None:
    """A gradient of -1000 counts as `-sqrt(threshold v)`, v being that of the 30 before; the first 19 are left."""
    b2, threshold = 0.99, 50.0
    gradients = np.ones(45)
    gradients[[10, 30]] = 1.5, -1000
    v = 1 - b2**30 + (1.5**2 - 1) * (1 - b2) * b2**19
    seen = gradients.copy()
    seen[30] = -np.sqrt(threshold * v)
    spam = sizes(gradients, racer("spam", lr=0.01, beta2=b2, threshold=threshold, eps=0))
    adam = sizes(seen, racer("adam", lr=0.01, beta2=b2, eps=0))
    assert spam == pytest.approx(adam, rel=1e-9)
    early = np.ones(19)
    early[15] = 1000
    untouched = sizes(early, racer("spam", threshold=threshold, eps=0), racer("adam", eps=0))
    assert untouched[:, 0] == pytest.approx(untouched[:, 1], rel=1e-9)


@pytest.mark.parametrize("warm_up", [0, 10])
def test_spam_begins_again(warm_up: int) -> None:
    """On a slope, k steps after step n: `w_k sqrt(1 - b2^t) / (1 - b1^t) (1 - b1^(k+1)) / sqrt(1 - b2^(k+1))`

    with `w_k = 1 - 0.99 (1 + cos(pi (k + 1) / (warm_up + 1))) / 2`, then 1; up to step n it is Adam.
    """
    b1, b2, n, lr = 0.9, 0.999, 25, 0.01
    contender = racer("spam", lr=lr, update_proj_gap=n, warmup_epoch=warm_up, eps=0)
    found = sizes([7.0] * 45, contender)[:, 0]
    assert found[: n - 1] == pytest.approx([lr] * (n - 1), rel=1e-9)
    t, k = np.arange(n, 46), np.arange(46 - n)
    warm = 1 - 0.99 * (1 + np.cos(np.pi * np.minimum((k + 1) / (warm_up + 1), 1))) / 2
    fresh = (1 - b1 ** (k + 1)) / np.sqrt(1 - b2 ** (k + 1))
    expected = lr * warm * np.sqrt(1 - b2**t) / (1 - b1**t) * fresh
    assert found[n - 1 :] == pytest.approx(expected, rel=1e-9)
