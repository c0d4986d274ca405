"""Sign, layer-wise and matrix rules against limits, invariances and closed forms, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core import RULES, Racer, Reset, State, advance, edit, from_function, race, racer, start
from core.spec import Layout
from core.tasks import Task
from tests.references import Problem
from tests.strategies import table_rows

MATRIX = ("muon", "shampoo", "soap")
Random = Callable[..., Tensor]


@pytest.fixture
def random() -> Random:
    """Normal numbers of any shape, the same for every test."""
    rng = np.random.default_rng(0)
    return lambda *shape: torch.tensor(rng.normal(0, 1, shape))


def states(task: Any, contenders: list[Racer], steps: int, dtype: torch.dtype = torch.float64) -> list[State]:
    """The state at the start and after each step."""
    config = race(task, contenders, steps=steps)
    found = [start(config, dtype)]
    for _ in range(steps):
        found.append(advance(config, found[-1], 1)[0])
    return found


def paths(task: Any, contenders: list[Racer], steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Where each racer stood before the first step and after each, `[T + 1, racers, P]`."""
    order = table_rows(race(task, contenders, steps=steps))[:, 0]
    return torch.stack([state.params[order] for state in states(task, contenders, steps, dtype)])


def network(f: Callable[[Tensor, int], Tensor], start: Tensor, *tensors: tuple[tuple[int, ...], str]) -> Task:
    """A function of some tensors, each a shape and a role."""
    task = from_function(f, start.flatten())
    names = [f"t{i}" for i in range(len(tensors))]
    task.layout = Layout(
        tuple((name, shape) for name, (shape, _) in zip(names, tensors, strict=True)),
        tuple((name, role) for name, (_, role) in zip(names, tensors, strict=True)),
    )
    return task


def pushed(gradients: Tensor, start: Tensor, *tensors: tuple[tuple[int, ...], str]) -> Task:
    """The gradient of step t is `gradients[t]`, wherever the weights are."""
    pushes = gradients.flatten(1)
    return network(lambda p, step: p @ pushes[min(step, len(pushes) - 1)].to(p), start, *tensors)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


# ---------------------------------------------------------------- signs


def test_signum_without_momentum_is_signsgd() -> None:
    found = paths(
        Problem(0, 50), [racer("signsgd", weight_decay=0.1), racer("signum", momentum=0, weight_decay=0.1)], 50
    )
    assert torch.equal(found[:, 0], found[:, 1])


def test_lion_with_one_memory_is_signum() -> None:
    same: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
    contenders = [racer("signum", momentum=0.8, **same), racer("lion", beta1=0.8, beta2=0.8, **same)]
    contenders.append(racer("lion", beta1=0.8, beta2=0.9, **same))
    signum, lion, longer = paths(Problem(0, 100), contenders, 100).unbind(1)
    assert torch.equal(signum, lion)
    assert not torch.equal(signum, longer)


@pytest.mark.parametrize("rule", ["signsgd", "signum", "lion"])
def test_every_weight_moves_by_the_rate_at_any_scale_of_the_loss(random: Random, rule: str) -> None:
    """Scales are powers of 2, which round nothing."""
    gradients, origin = random(30, 6), random(6)
    small, usual, large = (
        paths(pushed(scale * gradients, origin, ((6,), "vector")), [racer(rule, lr=0.25)], 30)[:, 0]
        for scale in (2.0**-60, 1.0, 2.0**60)
    )
    assert torch.equal(small, usual)
    assert torch.equal(large, usual)
    assert usual.diff(dim=0).abs() == pytest.approx(torch.full((30, 6), 0.25), abs=1e-14)


def test_signsgd_ends_within_one_step_of_the_minimum() -> None:
    """On any bowl: `|x|` shrinks by the rate, then x goes to and fro; descent at this rate diverges."""
    bowl = from_function(lambda x, step: 50 * x[:, 0] ** 2, [1.03])
    x = paths(bowl, [racer("signsgd", lr=0.1)], 40).flatten()
    assert x[:11] == pytest.approx(1.03 - 0.1 * torch.arange(11, dtype=torch.float64), abs=1e-12)
    assert bool((x[10:].abs() < 0.1).all())


# ---------------------------------------------------------------- trust ratios

LAYERS = (((4, 3), "hidden"), ((4, 1), "vector"), ((2, 4), "output"))
SIZES = [12, 4, 8]


def lengths(table: Tensor) -> Tensor:
    """Of each tensor of `LAYERS`, `[..., P] -> [..., 3]`."""
    return torch.stack([piece.norm(dim=-1) for piece in table.split(SIZES, dim=-1)], dim=-1)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_lars_moves_each_matrix_by_a_share_of_its_size(random: Random, scale: float) -> None:
    """Without momentum and decay the step is `lr trust_coefficient |p|` long; biases follow the gradient."""
    gradients = scale * random(20, 24)
    p = paths(pushed(gradients, random(24), *LAYERS), [racer("lars", lr=0.5, momentum=0, trust_coefficient=0.02)], 20)[
        :, 0
    ]
    moved, size = lengths(p.diff(dim=0)), lengths(p[:-1])
    assert close(moved[:, ::2], 0.01 * size[:, ::2], 1e-9)
    assert close(moved[:, 1], 0.5 * lengths(gradients)[:, 1], 1e-9)


def test_lars_decays_matrices_only_and_within_the_trust_ratio(random: Random) -> None:
    """Without a gradient the ratio is trust_coefficient / weight_decay: matrices shrink by `lr trust_coefficient`."""
    settings: dict[str, Any] = {"lr": 0.5, "momentum": 0.0, "trust_coefficient": 0.02}
    contenders = [racer("lars", weight_decay=decay, **settings) for decay in (0.1, 0.7, 0.0)]
    p = paths(pushed(torch.zeros(3, 24), random(24), *LAYERS), contenders, 3)
    expected = p[0, 0] * torch.tensor([0.99**3] * 12 + [1.0] * 4 + [0.99**3] * 8, dtype=torch.float64)
    assert close(p[-1, 0], expected)
    assert close(p[-1, 1], expected)
    assert torch.equal(p[-1, 2], p[0, 2])


def test_lamb_moves_each_matrix_by_its_own_size(random: Random) -> None:
    """The step is `lr |p|` long, decay included; a matrix of zeros makes Adam's step of 3.2 rates instead of none."""
    origin = random(24)
    origin[16:] = 0
    p = paths(pushed(random(20, 24), origin, *LAYERS), [racer("lamb", lr=0.01, eps=0, weight_decay=0.1)], 20)[:, 0]
    moved, size = lengths(p.diff(dim=0)), lengths(p[:-1])
    assert close(moved[:, 0], 0.01 * size[:, 0], 1e-9)
    assert close(moved[1:, 2], 0.01 * size[1:, 2], 1e-9)
    assert p[1, 16:].abs() == pytest.approx(torch.full((8,), 0.01 * 0.1 / 0.001**0.5, dtype=torch.float64), rel=1e-9)


def test_lamb_decays_within_the_trust_ratio() -> None:
    """Without a gradient u is the decay alone, so that a matrix shrinks by the rate, however small the decay is."""
    contenders = [racer("lamb", lr=0.1, eps=1e-10, weight_decay=decay) for decay in (0.1, 0.7)]
    p = paths(pushed(torch.zeros(3, 24), torch.ones(24), *LAYERS), contenders, 3)[-1]
    expected = torch.tensor([0.9**3] * 12 + [1.0] * 4 + [0.9**3] * 8, dtype=torch.float64)
    assert close(p, expected.expand(2, -1), 1e-8)


def test_lamb_needs_no_bias_correction(random: Random) -> None:
    """Without decay and eps, m and v corrected as in version 5 of the paper give the same steps on a matrix."""
    gradients, p = random(40, 3, 5), random(3, 5)
    found = paths(pushed(gradients, p, ((3, 5), "hidden")), [racer("lamb", lr=0.01, eps=0)], 40)[-1, 0]
    m = v = torch.zeros(3, 5)
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        u = m / (1 - 0.9**t) / (v / (1 - 0.999**t)).sqrt()
        p = p - 0.01 * p.norm() / u.norm() * u
    assert close(found, p.flatten())


def test_lamb_on_vectors_is_rmsprop_where_it_does_not_average() -> None:
    contenders = [racer("lamb", lr=0.01, beta1=0, beta2=0.99, weight_decay=0.1), racer("rmsprop", alpha=0.99, eps=1e-6)]
    lamb, rmsprop = paths("rosenbrock", contenders, 100).unbind(1)
    assert close(lamb, rmsprop)


# ---------------------------------------------------------------- Muon


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_muon_brings_singular_values_to_about_one(random: Random, shape: tuple[int, int]) -> None:
    """Five iterations take those of a matrix of condition 10 or less between 0.65 and 1.2, the vectors as they were."""
    rows, columns = shape
    n, adjusted = min(shape), max(1.0, rows / columns) ** 0.5
    u, v = torch.linalg.qr(random(rows, n))[0], torch.linalg.qr(random(columns, n))[0]
    for values in (torch.linspace(1, 10, n), torch.linspace(1, 2, n), torch.ones(n), torch.logspace(-1, 0, n)):
        gradient = 1e3 * (u * values) @ v.T
        p = paths(pushed(gradient[None], random(*shape), (shape, "hidden")), [racer("muon", lr=1, weight_decay=0)], 1)
        step = u.T @ (p[0, 0] - p[1, 0]).view(shape) @ v / adjusted
        assert close(step, step.diag().diag(), 1e-9)
        assert bool((step.diag() > 0.65).all() and (step.diag() < 1.2).all())


def test_muon_leaves_all_but_hidden_matrices_to_adamw() -> None:
    """Each weight's gradient in `Problem` depends on itself alone, so that the two parts do not meet."""
    rest: dict[str, Any] = {"weight_decay": 0.3, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6}
    muon, adamw = paths(
        Problem(0, 60), [racer("muon", lr=0.05, adamw_ratio=0.2, **rest), racer("adamw", lr=0.01, **rest)], 60
    ).unbind(1)
    roles = [Problem.layout.role(name) for name, _ in Problem.layout.shapes]
    pieces = zip(roles, *(table.split(Problem.layout.sizes, dim=1) for table in (muon, adamw)), strict=True)
    assert [role for role, one, other in pieces if not close(one, other, 0.1)] == ["hidden"] * 3
    left = torch.cat([torch.full((n,), r != "hidden") for r, n in zip(roles, Problem.layout.sizes, strict=True)])
    assert close(muon[:, left], adamw[:, left])
    vectors = [racer("muon", lr=0.05, adamw_ratio=0.2), racer("adamw", lr=0.01, weight_decay=0.1)]
    found = paths("rosenbrock", vectors, 60)
    assert close(found[:, 0], found[:, 1])


def test_muon_reads_a_convolution_as_one_matrix(random: Random) -> None:
    gradients, p = random(9, 36), random(36)
    shapes = [((4, 1, 3, 3), "hidden"), ((4, 9), "hidden")]
    flattened, matrix = (paths(pushed(gradients, p, shape), [racer("muon")], 9) for shape in shapes)
    assert torch.equal(flattened, matrix)


def test_muon_keeps_a_square_only_for_what_goes_by_adamw(random: Random) -> None:
    assert RULES["muon"].remembered(Problem.layout) == 1 + 29 / Problem.layout.width
    found = states(pushed(random(2, 6), random(6), ((2, 3), "matrix")), [racer("muon")], 2)[-1]
    assert found.slots["muon"]["v"].shape == (1, 0)


# ---------------------------------------------------------------- matrices in general


@pytest.mark.parametrize("rule", [*MATRIX, "adam"])
def test_only_matrix_rules_turn_with_the_axes(random: Random, rule: str) -> None:
    """Gradients `U G V^T` from weights `U W V^T` lead to `U W' V^T`: no axis is special. For Adam each one is."""
    gradients, p = random(25, 4, 5), random(4, 5)
    u, v = torch.linalg.qr(random(4, 4))[0], torch.linalg.qr(random(5, 5))[0]
    settings: dict[str, Any] = {"precondition_frequency": 3} if rule in ("shampoo", "soap") else {}
    contender = racer(rule, lr=0.1, **settings)
    plain, turned = (
        paths(pushed(g, w, ((4, 5), "hidden")), [contender], 25)[-1, 0].view(4, 5)
        for g, w in ((gradients, p), (u @ gradients @ v.T, u @ p @ v.T))
    )
    assert close(u.T @ turned @ v, plain, 1e-8) == (rule in MATRIX)


def test_shampoo_on_single_numbers_is_adagrad(random: Random) -> None:
    """`(eps + s)^(-1/4) g (eps + s)^(-1/4) = g / sqrt(s)` for a 1 x 1 matrix, `(eps + s)^(-1/2) g` for a bias."""
    task = pushed(random(60, 3), random(3), ((1, 1), "hidden"), ((1, 1), "vector"), ((1, 1, 1, 1), "hidden"))
    contenders = [racer("shampoo", lr=0.1, matrix_eps=1e-14, precondition_frequency=1), racer("adagrad", lr=0.1, eps=0)]
    found = paths(task, contenders, 60)
    assert close(found[:, 0], found[:, 1])


def test_shampoo_on_a_vector_is_adagrad_with_a_full_matrix(random: Random) -> None:
    """`p <- p - lr (eps + sum g g^T)^(-1/2) g`, the root from a singular value decomposition."""
    gradients, p = random(30, 6), random(6)
    found = paths(
        pushed(gradients, p, ((6, 1), "vector")),
        [racer("shampoo", lr=0.1, matrix_eps=0.01, precondition_frequency=1)],
        30,
    )[-1, 0]
    total = 0.01 * torch.eye(6, dtype=torch.float64)
    for g in gradients:
        total = total + torch.outer(g, g)
        vectors, values, _ = torch.linalg.svd(total)
        p = p - 0.1 * vectors @ (vectors.T @ g / values.sqrt())
    assert close(found, p)


@pytest.mark.parametrize(("rule", "slot", "early"), [("shampoo", "root", 50), ("soap", "Q", 1)])
def test_decompositions_are_made_when_due(random: Random, rule: str, slot: str, early: int) -> None:
    """At the first steps each, then once in 7 steps of each row's own: a reset at step 65 starts its count anew."""
    contenders = [racer(rule, precondition_frequency=7), racer(rule, precondition_frequency=7, reset=Reset("all", 65))]
    found = states(pushed(random(100, 12), random(12), ((4, 3), "hidden")), contenders, 100)
    kept = torch.stack([state.slots[rule][slot] for state in found])
    changed = (kept.diff(dim=0) != 0).any(2)

    def due(age: int) -> bool:
        return age <= early or (age if rule == "shampoo" else age - 1) % 7 == 0

    assert changed[:, 0].tolist() == [due(t) for t in range(1, 101)]
    assert changed[:, 1].tolist() == [due(t if t <= 65 else t - 65) for t in range(1, 101)]


def test_soap_without_matrices_is_adam_one_step_later() -> None:
    contenders = [racer("soap", lr=0.01, eps=0, weight_decay=0), racer("adam", lr=0.01, beta1=0.95, beta2=0.95, eps=0)]
    soap, adam = paths("rosenbrock", contenders, 101).unbind(1)
    assert close(soap[1:], adam[:-1])


def test_soap_counts_what_each_memory_has_seen() -> None:
    """A gradient of 3 everywhere: steps of the rate, none at first and after a reset of all; others change nothing."""
    contenders = [
        racer("soap", lr=0.5, eps=0, weight_decay=0, reset=Reset(what, 5)) for what in ("nothing", "m", "v", "all")
    ]
    x = paths(pushed(3 * torch.ones(12, 2), torch.zeros(2), ((2,), "vector")), contenders, 12)[:, :, 0]
    steps = -x.diff(dim=0).T
    still = torch.zeros(12, dtype=torch.bool)
    still[0] = True
    assert close(steps[:3], torch.where(still, 0, 0.5).expand(3, 12))
    still[[5, 10]] = True
    assert close(steps[3], torch.where(still, 0, 0.5))


def test_soap_on_a_constant_gradient_is_orthogonal(random: Random) -> None:
    """In its eigenbases `U S V^T` is S, which Adam makes 1: a step of `lr U V^T`, whatever becomes of the bases."""
    gradient = random(3, 5)
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    contender = racer("soap", lr=0.1, weight_decay=0, precondition_frequency=2)
    p = paths(pushed(gradient[None], random(3, 5), ((3, 5), "hidden")), [contender], 8)[:, 0]
    assert torch.equal(p[1], p[0])
    assert close(-p[1:].diff(dim=0), (0.1 * u @ v).flatten().expand(7, -1), 1e-6)


def test_soap_decays_the_weights_it_has_moved() -> None:
    """`p' = (p - lr u)(1 - lr weight_decay)`: an update of 1 from 0 gives `-lr (1 - lr weight_decay)`."""
    task = pushed(torch.ones(2, 1), torch.zeros(1), ((1,), "vector"))
    assert float(paths(task, [racer("soap", lr=0.5, eps=0, weight_decay=0.4)], 2)[-1]) == pytest.approx(
        -0.5 * (1 - 0.2)
    )


@pytest.mark.parametrize("rule", MATRIX)
def test_rows_of_different_ages_do_not_notice_each_other(rule: str) -> None:
    """Bit by bit, in float32 too: resets at other steps, other frequencies, and 40 rows more."""

    def contender(number: int, lr: float) -> Racer:
        own: dict[str, Any] = {} if rule == "muon" else {"precondition_frequency": number % 5 + 1}
        return racer(rule, lr=lr, reset=Reset("all", number), **own)

    contenders = [contender(number % 9, 0.5 / (number + 1)) for number in range(43)]
    task = ("moons", {"width": 6})
    for dtype in (torch.float32, torch.float64):
        together = paths(task, contenders, 60, dtype)
        for index in (0, 4, 13, 42):
            assert torch.equal(paths(task, [contenders[index]], 60, dtype)[:, 0], together[:, index])


@pytest.mark.parametrize("rule", MATRIX)
@pytest.mark.parametrize("factor", [1e30, 1e200])
def test_a_row_that_diverges_ends_alone(rule: str, factor: float) -> None:
    """Squares of its gradient overflow, for which torch's decompositions would raise for all rows."""
    contenders = [racer(rule, lr=0.01), racer(rule, lr=0.02)]
    config = race("digits", contenders, steps=15, edits=[edit(t, 1, "scale_gradient", factor=factor) for t in (0, 5)])
    state, _ = advance(config, start(config), 15)
    alone = race("digits", contenders[:1], steps=15)
    assert torch.equal(state.params[0], advance(alone, start(alone), 15)[0].params[0])
    assert bool(torch.isfinite(state.params).all())
    assert state.stopped.tolist()[0] == -1
    # SOAP's first gradient moves nothing; the overflow of its squares reaches AdamW's mean, and so Muon, a step later.
    late = rule == "soap" or (rule == "muon" and factor == 1e30)
    assert state.stopped.tolist()[1] == (2 if late else 1)


def test_shampoo_bears_eigenvalues_that_rounding_made_negative() -> None:
    """In float32 those of a matrix without full rank are off by more than eps, to either side of 0."""
    contender = racer("shampoo", matrix_eps=1e-10, precondition_frequency=1)
    assert states("digits", [contender], 10, torch.float32)[-1].stopped.tolist() == [-1]


# ---------------------------------------------------------------- matrices that a solver gives up on


def of_few_words() -> Tensor:
    """A gradient of a table of 332 words that saw 51 of them, some often and some hardly ever: `[332, 16]`."""
    rng = np.random.default_rng(0)
    gradient = np.zeros((332, 16))
    seen = rng.choice(332, 51, replace=False)
    gradient[seen] = rng.normal(0, 1, (51, 16)) * 10.0 ** rng.uniform(-6, 0, (51, 1))
    return torch.tensor(gradient, dtype=torch.float32)


@pytest.mark.parametrize("rule", ["shampoo", "soap"])
def test_a_matrix_that_single_precision_cannot_decompose_ends_no_race(rule: str) -> None:
    gradient = of_few_words()
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.eigh(gradient @ gradient.mT)
    task = pushed(gradient.unsqueeze(0).double(), torch.zeros(332 * 16), ((332, 16), "embedding"))
    *_, end = states(task, [racer(rule), racer("sgd")], 3, torch.float32)
    assert end.stopped.tolist() == [-1, -1] and end.params.isfinite().all() and end.params.abs().amax(1).min() > 0


@pytest.mark.parametrize("rule", ["shampoo", "soap"])
def test_a_matrix_that_nothing_can_decompose_ends_its_row_alone(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that gives up on all that has a large number in it; the others take the steps they take without it."""
    solve = torch.linalg.eigh

    def fussy(matrices: Tensor) -> Any:
        if bool((matrices > 1e4).any()):
            raise torch.linalg.LinAlgError("no convergence")
        return solve(matrices)

    monkeypatch.setattr(torch.linalg, "eigh", fussy)
    task = network(lambda p, step: (p * p).sum(1) / 2, torch.arange(1.0, 21.0) * 100, ((5, 4), "hidden"))
    contenders = [racer(rule, clip=0), racer(rule, clip=1.0), racer(rule, clip=2.0)]
    *_, end = states(task, contenders, 4)
    assert (end.stopped >= 0).tolist() == [True, False, False]
    *_, alone = states(task, contenders[1:], 4)
    assert torch.equal(end.params[1:], alone.params) and end.params.isfinite().all()
