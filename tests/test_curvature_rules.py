"""Sophia-G, L-BFGS and its line search against closed forms and properties; each docstring says where they are from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.optim.lbfgs import _cubic_interpolate, _strong_wolfe

from core import RULES, Config, Recording, Reset, advance, from_function, race, racer, start
from core.optimizers import linesearch
from core.optimizers.linesearch import Tried, lowest, strong_wolfe
from core.tasks import Task
from tests.strategies import table_rows

RARELY = Recording(evaluations=1, probes=1)
ALL = 600  # examples of the moons
MOONS = ("moons", {"width": 4, "depth": 1})


def weights(config: Config) -> list[Tensor]:
    """The weights before the first step and after each `[racers * seeds, P]`, in the config's order, in float64."""
    rows = table_rows(config).flatten()
    state = start(config, torch.float64)
    found = [state.params[rows]]
    for _ in range(config.steps):
        state, _ = advance(config, state, 1, RARELY)
        found.append(state.params[rows])
    return found


def evaluations(config: Config) -> list[int]:
    """Gradients that each racer's first seed has taken in all."""
    state, _ = advance(config, start(config, torch.float64), config.steps, RARELY)
    return [int(count) for count in state.evaluations[table_rows(config)[:, 0]]]


# --- the line search


def wiggly(seed: int) -> Callable[[float], tuple[float, float]]:
    """A smooth function of one number that falls at 0, with hills and valleys of several widths; and its slope."""
    rng = np.random.default_rng(seed)
    height, rate, phase = rng.normal(0, 1, 4), 10 ** rng.uniform(-1, 1.5, 4), rng.uniform(0, 7, 4)
    bend, tilt = 10 ** rng.uniform(-4, 1), 10 ** rng.uniform(-2, 2)
    tilt += abs(float((height * rate * np.cos(phase)).sum()))

    def f(t: float) -> tuple[float, float]:
        waves = float((height * np.sin(rate * t + phase)).sum())
        return waves - tilt * t + bend * t * t, float(
            (height * rate * np.cos(rate * t + phase)).sum()
        ) - tilt + 2 * bend * t

    return f


def cliff(t: float) -> tuple[float, float]:
    """Falls so far that the last of 26 lengths, each ten times the one before, is the first beyond its edge."""
    return (-t, -1.0) if t < 5e24 else (t, 1.0)


def ours(f: Callable[[float], tuple[float, float]], t: float) -> tuple[list[float], float]:
    """The lengths that are tried, and the one that is taken."""
    search, tried = strong_wolfe(t, *f(0.0), 1.0), []
    try:
        t = next(search)
        while True:
            tried.append(t)
            t = search.send(f(t))
    except StopIteration as done:
        return tried, done.value


def torchs(f: Callable[[float], tuple[float, float]], t: float) -> tuple[list[float], float]:
    tried = []

    def at(x: object, t: Tensor | float, d: Tensor) -> tuple[float, Tensor]:
        tried.append(float(t))
        value, slope = f(float(t))
        return value, torch.tensor([slope], dtype=torch.float64)

    value, slope = f(0.0)
    g = torch.tensor([slope], dtype=torch.float64)
    return tried, float(_strong_wolfe(at, None, t, torch.ones(1, dtype=torch.float64), value, g, g[0])[2])


def test_the_cubic_is_lowest_where_torchs_is() -> None:
    """Random values and slopes at two points, in either order; torch's root and quotients are off by a bit at times."""
    rng = np.random.default_rng(0)
    for values in rng.normal(0, 1, (2000, 6)) * 10 ** rng.uniform(-2, 2, (2000, 6)):
        x1, f1, g1, x2, f2, g2 = values.tolist()
        slopes = torch.tensor([g1, g2], dtype=torch.float64)
        low, high = sorted((x1, x2))
        found = lowest(Tried(x1, f1, g1), Tried(x2, f2, g2), low, high)
        expected = float(_cubic_interpolate(x1, f1, slopes[0], x2, f2, slopes[1]))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * (high - low))


def test_the_line_search_tries_what_torchs_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lengths, to the last bit, on 1,000 functions from first lengths far too short and far too long, where
    both have the same cubic.
    """

    def same(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float, bounds: Any = None) -> float:
        return lowest(Tried(x1, f1, g1), Tried(x2, f2, g2), *(bounds or sorted((x1, x2))))

    monkeypatch.setattr(sys.modules[_strong_wolfe.__module__], "_cubic_interpolate", same)
    counts = set()
    for seed in range(1000):
        first = float(10 ** np.random.default_rng(seed).uniform(-4, 3))
        found, expected = ours(wiggly(seed), first), torchs(wiggly(seed), first)
        assert found == expected, seed
        counts.add(len(found[0]))
    assert {1, 2, 5, 10, 26} <= counts, "from those that take the first length to those that run out of trials"
    tried, taken = ours(cliff, 1.0)
    assert (tried, taken) == torchs(cliff, 1.0) and len(tried) == 26 and taken == 0


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e3])
def test_the_line_search_finds_the_bottom_of_a_parabola_at_once(first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cubic through two points of a parabola is the parabola itself: where its bottom lies within the bounds, the
    second length is there. From 1e-3, ten times the length is the most that is tried next.
    """
    monkeypatch.setattr(linesearch, "C2", 1e-8)
    tried, taken = ours(lambda t: ((t - 3) ** 2, 2 * (t - 3)), first)
    assert taken == pytest.approx(3, rel=1e-7)
    assert len(tried) == {1e-3: 5, 1.0: 2, 1e3: 2}[first]


# --- L-BFGS


def rosenbrock() -> Task:
    return from_function(lambda p, step: (1 - p[:, 0]) ** 2 + 100 * (p[:, 1] - p[:, 0] ** 2) ** 2, [-1.2, 1.0])


def bowl(*curvatures: float) -> Task:
    half = torch.tensor(curvatures, dtype=torch.float64) / 2
    return from_function(lambda x, step: (x * x) @ half, torch.linspace(1, 2, len(curvatures)))


def gradient(task: Task, p: Tensor) -> tuple[Tensor, Tensor]:
    return task.loss_and_grad(p, task.batch((0,) * len(p), 0, ALL, p))


def test_the_first_step_is_a_short_one_along_the_gradient_and_so_is_the_first_after_a_reset() -> None:
    """`t = min(1, 1 / |g|_1) lr` along `-g`, as in torch; a reset of everything forgets all that bends it."""
    task = bowl(0.01, 0.1, 1, 10)
    plain, forgets = (racer("lbfgs", lr=0.5, reset=reset) for reset in (Reset(), Reset("all", 10)))
    path = weights(race(task, [plain, forgets], steps=20))
    for row, step in ((0, 0), (1, 0), (1, 10)):
        p = path[step][row : row + 1]
        _, g = gradient(task, p)
        expected = p - 0.5 * min(1, 1 / float(g.abs().sum())) * g
        torch.testing.assert_close(path[step + 1][row : row + 1], expected, rtol=1e-14, atol=0)
    assert torch.equal(path[10][0], path[10][1]) and not torch.allclose(path[11][0], path[11][1])


@pytest.mark.parametrize("history_size", [1, 10])
def test_on_a_bowl_with_an_exact_line_search_it_is_conjugate_gradients(
    history_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nazareth (1979): the same points, whatever it remembers, and so the bottom after as many steps as dimensions."""
    monkeypatch.setattr(linesearch, "C2", 1e-12)
    curvatures = torch.tensor([1.0, 2, 3, 5, 8, 13], dtype=torch.float64)
    config = race(
        bowl(*curvatures.tolist()),
        [racer("lbfgs", history_size=history_size, strong_wolfe=True)],
        steps=len(curvatures),
    )
    path = weights(config)
    p, d, last = path[0][0], torch.zeros(6, dtype=torch.float64), torch.full((6,), torch.inf, dtype=torch.float64)
    for found in path:
        assert float((found[0] - p).abs().max()) < 1e-6
        g = curvatures * p
        d, last = (g @ g) / (last @ last) * d - g, g
        p = p - (g @ d) / (d @ (curvatures * d)) * d
    assert [float(at.norm()) < 1e-5 for at in path] == [False] * len(curvatures) + [True]


@pytest.mark.parametrize(
    "make", [rosenbrock, lambda: race(MOONS, [racer("sgd")]).build_task()], ids=["valley", "moons"]
)
def test_every_step_meets_the_strong_wolfe_conditions(make: Callable[[], Task]) -> None:
    """`f(p + s) <= f(p) + C1 g s` and `|g(p + s) s| <= C2 |g s|`; without the search some steps do not."""
    task = make()
    contenders = [racer("lbfgs", strong_wolfe=searches) for searches in (True, False)]
    path = weights(race(task, contenders, steps=20, batch=ALL))
    held = []
    for before, after in pairwise(path):
        (f, g), (new_f, new_g), step = gradient(task, before), gradient(task, after), after - before
        slope, new_slope = (g * step).sum(1), (new_g * step).sum(1)
        held.append((new_f <= f + 1e-4 * slope) & (new_slope.abs() <= 0.9 * slope.abs()))
    searching, plain = torch.stack(held).T
    assert bool(searching.all()) and not bool(plain.all())


@pytest.mark.parametrize("searches", [False, True])
def test_it_walks_through_rosenbrocks_valley_as_torchs_does(searches: bool) -> None:
    """Where the curvature is negative, too, and a pair is not stored: which a line search never steps across.

    Compared while both are on their way: at the bottom the loss is all rounding.
    """
    task = rosenbrock()
    path = weights(race(task, [racer("lbfgs", history_size=5, strong_wolfe=searches)], steps=30))
    p = torch.nn.Parameter(path[0][0].clone())
    optimizer = torch.optim.LBFGS(
        [p], max_iter=1, max_eval=26, history_size=5, line_search_fn="strong_wolfe" if searches else None
    )

    def closure() -> Tensor:
        loss, g = gradient(task, p.detach().unsqueeze(0))
        p.grad = g[0]
        return loss[0]

    bent = []
    for before, after in pairwise(path):
        optimizer.step(closure)
        torch.testing.assert_close(after[0], p.detach(), rtol=1e-7, atol=1e-7)
        bent.append(float(((gradient(task, after)[1] - gradient(task, before)[1]) * (after - before)).sum()))
    assert (min(bent) > 1e-10) == searches


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B"])
def test_it_takes_as_many_gradients_to_the_bottom_of_the_valley_as_scipys(method: str) -> None:
    """From the usual start to a loss below 1e-8, to within a factor of 2.5; ours takes each step's own gradient anew,
    where it has been just before, as torch does.
    """
    task, losses = rosenbrock(), []
    state = start(config := race(task, [racer("lbfgs", strong_wolfe=True)], steps=60), torch.float64)
    while float(gradient(task, state.params)[0]) > 1e-8:
        state, _ = advance(config, state, 1, RARELY)

    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        loss, g = gradient(task, torch.from_numpy(x).unsqueeze(0))
        losses.append(float(loss))
        return losses[-1], g[0].numpy()

    minimize(f, np.array([-1.2, 1.0]), jac=True, method=method, options={"gtol": 1e-12})
    theirs = next(count for count, loss in enumerate(losses, start=1) if loss < 1e-8)
    assert theirs / 2.5 < int(state.evaluations[0]) < 2.5 * theirs


def test_at_the_bottom_a_row_stands_still_and_its_neighbour_goes_on() -> None:
    """torch stops at `max |g| <= 1e-7`; a row that stands still asks for no more than its own gradient."""
    config = race(bowl(1.0, 1.0), [racer("lbfgs", strong_wolfe=True), racer("lbfgs", lr=0.01)], steps=40)
    path = weights(config)
    assert float(path[10][0].abs().max()) <= 1e-7
    assert all(torch.equal(path[10][0], later[0]) for later in path[11:])
    assert all(not torch.equal(before[1], after[1]) for before, after in pairwise(path))
    assert evaluations(config)[1] == 40 and 40 < evaluations(config)[0] < 50


def test_it_stops_where_the_gradient_or_the_slope_along_the_direction_is_all_but_0() -> None:
    """torch's tolerances: `max |g| <= 1e-7`, here on a bowl of curvature 1e-7 within 1 of its bottom, which half steps
    come to from 1,000; and `g d > -1e-9`, here at once where `g = 1e-5`.
    """
    wide = from_function(lambda x, step: 5e-8 * x[:, 0] ** 2, [1000.0])
    halving = ("tabulated", {"values": [1000.0] + [0.5] * 29})
    path = weights(race(wide, [racer("lbfgs", schedule=halving)], steps=30))
    assert 0.5 < float(path[-1]) <= 1 and torch.equal(path[-1], path[-2])
    for slope in (1e-5, 1e-4):
        plane = from_function(partial(lambda slope, x, step: slope * x[:, 0], slope), [1.0])
        first, last = weights(race(plane, [racer("lbfgs")], steps=1))
        assert torch.equal(first, last) == (slope < 3e-5)


def test_rows_that_search_together_find_what_they_find_alone() -> None:
    """Bit for bit: their searches take different numbers of trials, and each row remembers as much as it may."""
    contenders = [
        racer("lbfgs", lr=lr, history_size=size, strong_wolfe=searches)
        for lr, size, searches in ((1.0, 10, True), (0.1, 3, True), (1.0, 1, False), (0.01, 2, True))
    ]
    together = weights(race(MOONS, contenders, steps=15, batch=ALL, seeds=2))[-1]
    for index, contender in enumerate(contenders):
        alone = weights(race(MOONS, [contender], steps=15, batch=ALL, seeds=2))[-1]
        assert torch.equal(together[2 * index : 2 * index + 2], alone)


@pytest.mark.parametrize("searches", [False, True])
def test_a_rate_beyond_all_reason_ends_the_row_and_not_the_race(searches: bool) -> None:
    """Lengths that float32 cannot hold are tried and taken."""
    rates = ("tabulated", {"values": [0.01, float(torch.finfo(torch.float32).max)]})
    contenders = [racer("lbfgs", strong_wolfe=searches, schedule=rates), racer("lbfgs", lr=0.1)]
    _, records = advance(config := race(MOONS, contenders, steps=5, batch=ALL), start(config), 5)
    assert 0 < records.stopped[0] <= 3 and records.stopped[1] == -1


def test_the_whole_of_the_data_is_asked_for_in_one_sentence() -> None:
    with pytest.raises(ValueError) as refused:
        race("digits", [racer("adam"), racer("lbfgs")])
    assert str(refused.value) == (
        "L-BFGS needs all of the data in every step, so batch must be 1077, the size of the training data, and not 32."
    )
    assert race("digits", [racer("lbfgs")], batch=1077).batch == 1077
    assert race("quadratic", [racer("lbfgs")]).batch == 32, "a function has no batches"


def test_it_says_how_many_gradients_it_takes_at_least() -> None:
    """One, and with the line search one more for each length that is tried."""
    config = race(rosenbrock(), [racer("lbfgs"), racer("lbfgs", strong_wolfe=True)], steps=20)
    plain, searching = evaluations(config)
    spec = RULES["lbfgs"]
    assert (plain / 20, False) == spec.taken() == (1, False)
    count, least = spec.taken({"strong_wolfe": True})
    assert least and count == 2 and searching / 20 > count


# --- Sophia-G


def drawn(task: Task, p: Tensor, batch: Any, seed: int) -> Tensor:
    """The gradient on labels that the network draws, `[1, P]`."""
    return task.loss_and_grad(p, task.draw_labels(p, batch, [seed]))[1]


def test_sophia_is_the_official_loop() -> None:
    """2305.14342, algorithm 3 with the official code's `ratio = |m| / (rho bs h + 1e-15)`, one weight table, batches
    of 16.
    """
    lr, beta1, beta2, rho, k, decay, size = 0.01, 0.9, 0.95, 0.02, 3, 0.1, 16
    config = race(
        MOONS, [racer("sophia", lr=lr, beta1=beta1, beta2=beta2, rho=rho, hess_interval=k, weight_decay=decay)],
        steps=12, batch=size, seeds=[5],
    )  # fmt: skip
    task, (p, *path) = config.build_task(), weights(config)
    m, h, clipped = torch.zeros_like(p), torch.zeros_like(p), []
    for t, found in enumerate(path, start=1):
        batch = task.batch((5,), t - 1, size, p)
        m = beta1 * m + (1 - beta1) * task.loss_and_grad(p, batch)[1]
        if t % k == 1:
            h = beta2 * h + (1 - beta2) * drawn(task, p, batch, 5) ** 2
        ratio = m.abs() / (rho * size * h + 1e-15)
        clipped.append(float((ratio > 1).double().mean()))
        p = p * (1 - lr * decay) - lr * m.sign() * ratio.clamp(max=1)
        torch.testing.assert_close(found, p, rtol=1e-12, atol=1e-14)
    assert 0.1 < np.mean(clipped) < 0.9, "some are clipped and some are not"


def test_without_curvature_sophia_is_sign_descent() -> None:
    """2305.14342, section 2: where the estimate is 0 every weight moves by the rate, in the direction of -m."""
    task = bowl(0.1, 1, 10)
    config = race(MOONS, [racer("sophia", lr=0.01, rho=0, beta1=0, weight_decay=0)], steps=5, batch=ALL)
    task, path = config.build_task(), weights(config)
    for before, after in pairwise(path):
        torch.testing.assert_close(after, before - 0.01 * gradient(task, before)[1].sign(), rtol=0, atol=1e-15)


def test_a_batch_times_the_squared_gradient_on_drawn_labels_is_the_gauss_newton_diagonal() -> None:
    """2305.14342, section 2.3: the mean of `B g_drawn^2` over the draws is the diagonal of the Gauss-Newton matrix,
    `mean over x of sum over classes c of prob(c | x) (d log prob(c | x) / dp)^2`.
    """
    seeds, size = tuple(range(3000)), 8
    config = race(MOONS, [racer("sophia", beta2=0)], steps=1, batch=size, seeds=seeds)
    task, state = config.build_task(), start(config, torch.float64)
    batch = task.batch(seeds, 0, size, state.params)
    exact = torch.zeros_like(state.params)
    x, y = batch.tensors  # [R, features, batch], [R, classes, batch]
    for i in range(size):
        for c in range(y.shape[1]):
            label = torch.zeros_like(y[:, :, :1])
            label[:, c] = 1
            loss, g = task.loss_and_grad(state.params, type(batch)(0, (x[:, :, i : i + 1], label)))
            exact += torch.exp(-loss).unsqueeze(1) * g * g / size
    after, _ = advance(config, state, 1, RARELY)
    estimate = size * after.slots["sophia"]["h"]
    assert estimate.mean(0) == pytest.approx(exact.mean(0), rel=0.15)
    assert float(estimate.mean() / exact.mean()) == pytest.approx(1, abs=0.02)


def test_sophia_asks_for_one_more_gradient_at_every_kth_step_of_its_own_memory() -> None:
    """Due at steps 1, 11 and 21; a memory cleared before the 16th is due then and at the 26th; one of v, too."""
    contenders = [
        racer("sophia", hess_interval=k, reset=reset)
        for k, reset in (
            (10, Reset()),
            (10, Reset("all", 15)),
            (10, Reset("v", 15)),
            (10, Reset("m", 15)),
            (1, Reset()),
        )
    ]
    assert evaluations(race(MOONS, contenders, steps=29)) == [32, 33, 33, 32, 58]


def test_sophia_needs_classes() -> None:
    with pytest.raises(ValueError, match="Sophia-G draws labels from the network's own predictions, and this problem"):
        race("quadratic", [racer("sophia")])
