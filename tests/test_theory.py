"""The rules against closed forms and limits, in float64. Each docstring says where its figure is from."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from core import Racer, Recording, advance, edit, from_function, race, racer, start
from core.config import Config
from tests.strategies import table_rows

Floats = NDArray[np.float64]
RARELY = Recording(evaluations=1, probes=1)


def weights(config: Config) -> Tensor:
    """The weights at the end `[racers, P]`, of the first seed."""
    state, _ = advance(config, start(config, torch.float64), config.steps, RARELY)
    return state.params[table_rows(config)[:, 0]]


def positions(config: Config) -> Floats:
    """Where each racer stood before each step `[T, racers]`, for a task whose loss is its only weight."""
    _, records = advance(config, start(config, torch.float64), config.steps, RARELY)
    return records.loss


def bowl(*curvatures: float) -> Callable[[Tensor, int], Tensor]:
    """`sum(curvature x^2) / 2`."""
    half = torch.tensor(curvatures, dtype=torch.float64) / 2
    return lambda x, step: (x * x) @ half


def tabulated(values: ArrayLike) -> tuple[str, dict[str, object]]:
    return "tabulated", {"values": np.asarray(values, dtype=float).tolist()}


def test_adam_becomes_momentum_as_eps_grows() -> None:
    """beta1 = mu, lr_t = eps eta (1 - mu^t) / (1 - mu): the weights differ from momentum's by O(1 / eps).

    Taking `m / (1 - mu)` for the velocity, Adam's step is `eta velocity eps / (sqrt(v_hat) + eps)`.
    """
    mu, eta, steps = 0.9, 2e-4, 200
    t = np.arange(1, steps + 1)
    rates = [eps * eta * (1 - mu**t) / (1 - mu) for eps in (1e4, 1e6, 1e8)]
    config = race(
        "rosenbrock",
        [racer("momentum", lr=eta, momentum=mu)]
        + [
            racer("adam", beta1=mu, eps=eps, schedule=tabulated(rate))
            for eps, rate in zip((1e4, 1e6, 1e8), rates, strict=True)
        ],
        steps=steps,
    )
    ball, *adams = weights(config)
    errors = [float((adam - ball).abs().max()) for adam in adams]
    assert errors[2] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.05)


def separable() -> tuple[Tensor, Tensor]:
    """The construction of 1705.08292, section 3.3: 60 positives, 40 negatives, X `[100, 503]` and y."""
    y = torch.tensor([1.0] * 60 + [-1.0] * 40, dtype=torch.float64)
    x = torch.zeros(100, 3 + 5 * 100, dtype=torch.float64)
    x[:, 0], x[:, 1:3] = y, 1
    for i, label in enumerate(y):
        x[i, 3 + 5 * i : 3 + 5 * i + (1 if label > 0 else 5)] = 1
    return x, y


def test_adaptive_rules_call_everything_positive_where_descent_does_not() -> None:
    """1705.08292: the adaptive rules end at `sign(X^T y) / 4`, gradient descent at the minimum-norm solution.

    On new samples these give +0.75 and +0.25, and +0.991842 and -0.940420 (computed for 60 and 40 samples). Adam
    with a large eps is gradient descent: it agrees with it.
    """
    x, y = separable()
    fading = ("step", {"factor": 0.5, "every": 150})
    config = race(
        from_function(lambda w, step: ((w @ x.T - y) ** 2).mean(1) / 2, torch.zeros(x.shape[1])),
        [
            racer("sgd", lr=0.6),
            racer("adam", lr=300.0, eps=1e3),
            racer("adam", lr=0.01, eps=1e-10, schedule=fading),
            racer("rmsprop", lr=0.01, eps=1e-10, schedule=fading),
            racer("adagrad", lr=0.05, schedule=fading),
        ],
        steps=3000,
    )
    ends = weights(config)
    new_positive, new_negative = ends[:, :3].sum(1), ends[:, 1:3].sum(1) - ends[:, 0]
    smallest_norm = torch.linalg.pinv(x) @ y
    assert ends[0] == pytest.approx(smallest_norm, abs=1e-5)
    assert new_positive[:2].tolist() == pytest.approx([0.991842] * 2, abs=1e-4)
    assert new_negative[:2].tolist() == pytest.approx([-0.940420] * 2, abs=1e-4)
    for end in ends[2:]:
        assert end == pytest.approx(torch.sign(x.T @ y) / 4, abs=1e-3)
    assert new_positive[2:].tolist() == pytest.approx([0.75] * 3, abs=0.01)
    assert new_negative[2:].tolist() == pytest.approx([0.25] * 3, abs=0.01)


def test_adam_runs_the_wrong_way_and_amsgrad_does_not() -> None:
    """1904.09237, section 3: f_t = 1010x if t mod 101 = 1, else -10x, x in [-1, 1]; the optimum is -1.

    From 0 with betas (0.9, 0.99) and rate 0.01, Adam ends at +1 and AMSGrad at -0.07097 after 10,100 steps
    (computed with `torch.optim`).
    """
    task = from_function(
        lambda x, step: (1010 if step % 101 == 0 else -10) * x[:, 0], [0.0], project=lambda x: x.clamp(-1, 1)
    )
    contenders = [racer(rule, lr=0.01, beta2=0.99) for rule in ("adam", "amsgrad")]
    adam, amsgrad = weights(race(task, contenders, steps=10_100)).flatten().tolist()
    assert adam == 1
    assert amsgrad == pytest.approx(-0.07097, abs=5e-6)


CURVATURE = 7.0
THRESHOLDS = [
    ("sgd", {}, 2.0),
    *(("momentum", {"momentum": beta}, 2 * (1 + beta)) for beta in (0.0, 0.5, 0.9)),
    *(("nesterov", {"momentum": beta}, 2 * (1 + beta) / (1 + 2 * beta)) for beta in (0.0, 0.5, 0.9)),
]


@pytest.mark.parametrize(("rule", "settings", "threshold"), THRESHOLDS)
def test_stability_threshold(rule: str, settings: dict[str, Any], threshold: float) -> None:
    """On curvature lambda: lr < 2 / lambda (SGD), 2 (1 + beta) / lambda (heavy ball, Polyak 1964), and
    2 (1 + beta) / ((1 + 2 beta) lambda) (Nesterov's as in torch): 1% below converges, 1% above diverges.
    """
    rates = (0.99 * threshold / CURVATURE, 1.01 * threshold / CURVATURE)
    contenders = [racer(rule, lr=rate, **settings) for rate in rates]
    below, above = weights(race(from_function(bowl(CURVATURE), [1.0]), contenders, steps=3000)).abs()
    assert below < 1e-6
    assert above > 1e6


def test_descent_is_fastest_at_the_textbook_rate() -> None:
    """Eigenvalues mu and L, kappa = L / mu: lr = 2 / (L + mu) contracts by (kappa - 1) / (kappa + 1) each step,
    and both a smaller and a larger rate contract less.
    """
    mu, top, steps = 1.0, 25.0, 200
    best = 2 / (top + mu)
    contenders = [racer("sgd", lr=rate) for rate in (best, 0.98 * best, 1.02 * best)]
    left = weights(race(from_function(bowl(mu, top), [1.0, 1.0]), contenders, steps=steps)).abs().amax(1)
    exact, smaller, larger = (left ** (1 / steps)).tolist()
    assert exact == pytest.approx((25 - 1) / (25 + 1), rel=1e-9)
    assert smaller > exact + 1e-3
    assert larger > exact + 1e-3


def test_heavy_ball_reaches_its_best_rate() -> None:
    """lr = (2 / (sqrt(mu) + sqrt(L)))^2, beta = ((sqrt(kappa) - 1) / (sqrt(kappa) + 1))^2: asymptotically
    (sqrt(kappa) - 1) / (sqrt(kappa) + 1) a step, with a factor k in front (Polyak 1964): tested loosely.
    """
    mu, top = 1.0, 25.0
    rate = (math.sqrt(top / mu) - 1) / (math.sqrt(top / mu) + 1)
    ball = racer("momentum", lr=(2 / (math.sqrt(mu) + math.sqrt(top))) ** 2, momentum=rate**2)
    task = from_function(bowl(mu, top), [1.0, 1.0])
    early, late = (float(weights(race(task, [ball], steps=steps)).norm()) for steps in (40, 70))
    assert (late / early) ** (1 / 30) == pytest.approx(rate, rel=0.03)


def test_first_adam_step_is_the_rate_times_the_sign() -> None:
    """The first step is `lr g / (|g| + eps)`: bias correction turns m into g and v into g^2."""
    slope = torch.tensor([1e-12, -3e-9, 1e-8, -0.5, 100.0], dtype=torch.float64)
    contenders = [
        racer(rule, lr=0.3, eps=eps, weight_decay=0) for rule in ("adam", "amsgrad", "adamw") for eps in (1e-8, 1e-3)
    ]
    ends = weights(race(from_function(lambda x, step: x @ slope, torch.zeros(5)), contenders, steps=1))
    for contender, end in zip(contenders, ends, strict=True):
        assert end == pytest.approx(-0.3 * slope / (slope.abs() + contender.get("eps")), rel=1e-12)


def threshold_of(contender: Callable[[float], Racer], low: float, high: float) -> float:
    """The largest first rate from which `(relu(w) - 1)^2 / 2` at w = 3 still reaches its minimum, to 1e-4."""
    task = from_function(lambda w, step: (w[:, 0].relu() - 1) ** 2 / 2, [3.0])
    while high - low > 1e-4:
        tried = (low + high) / 2
        loss = positions(race(task, [contender(tried)], steps=150))[-1, 0]
        assert loss < 1e-3 or loss == 0.5, "neither solved nor dead"
        low, high = (tried, high) if loss < 0.5 else (low, tried)
    return (low + high) / 2


def test_first_rate_that_kills_a_relu() -> None:
    """L = (relu(w) - 1)^2 / 2, w = 3, rate cut to 0.1 after the first step: SGD is dead for ever beyond 1.5.

    The first gradient is 2, so w leaves the positive side at lr = 3/2. Adam's first step is the rate itself, so its
    threshold is 3 when the later rate is 0, and lower at 0.1, since the carried momentum pushes on.
    """
    assert threshold_of(lambda lr: racer("sgd", schedule=tabulated([lr, 0.1])), 1, 2) == pytest.approx(1.5, abs=1e-3)
    adam = threshold_of(lambda lr: racer("adam", schedule=tabulated([lr, 0.1])), 2, 4)
    assert 2.5 < adam < 2.99
    task = from_function(lambda w, step: (w[:, 0].relu() - 1) ** 2 / 2, [3.0])
    frozen = [racer("adam", schedule=tabulated([lr, 0.0])) for lr in (2.999, 3.001)]
    alive, dead = positions(race(task, frozen, steps=5))[-1]
    assert alive < 0.5
    assert dead == 0.5


def test_rmsprop_is_adam_without_first_moment_and_bias_correction() -> None:
    """With beta1 = 0 and eps = 0, `lr_t = lr sqrt(1 - beta2^t)` takes Adam's bias correction back: RMSprop."""
    t = np.arange(1, 101)
    undone = tabulated(0.003 / np.sqrt(1 - 0.99**t))
    config = race(
        "rosenbrock",
        [
            racer("adam", lr=0.003, beta1=0, beta2=0.99, eps=0),
            racer("rmsprop", alpha=0.99, eps=0, schedule=tabulated(0.003 * np.sqrt(1 - 0.99**t))),
            racer("rmsprop", lr=0.003, alpha=0.99, eps=0),
            racer("adam", beta1=0, beta2=0.99, eps=0, schedule=undone),
        ],
        steps=100,
    )
    adam, same_as_adam, rms, same_as_rms = weights(config)
    assert same_as_adam == pytest.approx(adam, rel=1e-11)
    assert same_as_rms == pytest.approx(rms, rel=1e-11)
    assert adam != pytest.approx(rms, rel=1e-3)


def test_how_long_adam_remembers_a_spike() -> None:
    """Gradients 1 except S = 100 in the first step (k = 1). For t >= k, with the defaults,

    step / lr = [1 + (S-1)(1-b1) b1^(t-k) / (1-b1^t)] / sqrt(1 + (S^2-1)(1-b2) b2^(t-k) / (1-b2^t)):
    smallest 0.074, back above 0.5 after 1466 steps, above 0.9 after 3774. So the lasting harm is slowness.
    """
    lr, s, b1, b2 = 0.01, 100, 0.9, 0.999
    config = race(
        from_function(lambda x, step: x[:, 0], [0.0]), [racer("adam", lr=lr, eps=0)],
        steps=4500, edits=[edit(0, 0, "scale_gradient", factor=s)],
    )  # fmt: skip
    sizes = -np.diff(positions(config)[:, 0]) / lr  # sizes[i]: step i + 1
    t = np.arange(1, len(sizes) + 1)
    mean = 1 + (s - 1) * (1 - b1) * b1 ** (t - 1) / (1 - b1**t)
    square = 1 + (s**2 - 1) * (1 - b2) * b2 ** (t - 1) / (1 - b2**t)
    assert sizes == pytest.approx(mean / np.sqrt(square), rel=1e-8)
    assert sizes.min() == pytest.approx(0.074, abs=5e-4)
    lowest = int(sizes.argmin())
    after = [lowest + int(np.argmax(sizes[lowest:] > share)) for share in (0.5, 0.9)]  # steps since the first
    assert after == [1466, 3774]


@pytest.mark.parametrize(("at", "size", "expected"), [(0, 1.0, 6.0055), (0, 1000.0, 6.0055), (12_000, 30.0, 31.766)])
def test_how_far_a_lone_gradient_throws(at: int, size: float, expected: float) -> None:
    """A gradient S, then zeros: Adam moves 6.0055 lr in all if it came first, 31.766 lr if late, whatever S is;
    momentum moves lr S / (1 - mu).
    """

    def loss(x: Tensor, step: int) -> Tensor:
        return (size if step == at else 0.0) * x[:, 0]

    contenders = [racer("adam", lr=0.01), racer("momentum", lr=0.01)]
    adam, ball = (-weights(race(from_function(loss, [0.0]), contenders, steps=at + 300)).flatten() / 0.01).tolist()
    assert adam == pytest.approx(expected, rel=1e-4)
    assert ball == pytest.approx(10 * size, rel=1e-9)
