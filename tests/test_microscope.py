"""One step under the microscope: the lines are the rule, and the numbers are those that an optimizer really met.

The lines of each rule, run in order, must leave the slots and weights that the rule itself left; the numbers of each
rule that `torch.optim` has are recomputed from what a `torch.optim` optimizer holds before and after the same step.
"""

import ast
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core import RULES, Config, Racer, advance, edit, race, racer, start
from core.optimizers import WRAPPERS, why_not
from core.optimizers.base import Line
from core.optimizers.listing import WORDS, called, measures, of_equation, run
from tests.references import REFERENCES, Problem
from tests.references.base import Bowl, Weights, flat
from tests.references.matrix import Muon
from ui.equations import assignments, bare
from ui.microscope import Row, Step, four, markdown, note, place, step_of, table

STEPS = 14
CLOSE = 1e-12  # of the largest number in a table
# The roots of matrices that leave a direction out make any rounding up to `size / eps` times larger.
ROOTS = 1e-6
LISTED = [wrapper for wrapper in WRAPPERS if not WRAPPERS[wrapper].unlisted]
WRAPPED = [f"{rule}+{wrapper}" for rule in RULES for wrapper in LISTED if not why_not(RULES[rule], (wrapper,))]
STACKED = ["adam+grokfast+sam+lookahead+ema", "sophia+sam+tail"]


def changed(rule: str, seed: int) -> Racer:
    """Settings over the sliders' stops, at a rate that leaves everything finite."""
    rng = np.random.default_rng([seed, *rule.encode()])
    settings: dict[str, Any] = {hyper.name: rng.choice(hyper.stops()).item() for hyper in RULES[rule].hypers}
    settings["lr"] = float(10 ** rng.uniform(-4, -1.5))
    if settings.get("beta2") == 0:
        settings["beta2"] = 0.5
    if rule in REFERENCES:
        REFERENCES[rule].choose(rng, settings)
    return racer(rule, schedule=("step", {"factor": 0.5, "every": 5}), **settings)


def config_of(contender: Racer, steps: int = STEPS) -> Config:
    return race((Bowl if contender.spec.full_batch else Problem)(0, steps), [contender], steps=steps)


def seen(contender: Racer, at: int = STEPS - 1, dtype: torch.dtype = torch.float64) -> Step:
    """Its step after so many."""
    config = config_of(contender)
    state, _ = advance(config, start(config, dtype), at)
    return step_of(config, state, 0)


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference, of the largest number; what is NaN must be so in both."""
    assert torch.equal(found.isnan(), expected.isnan())
    scale = expected.nan_to_num().abs().max() if expected.numel() else torch.tensor(0.0)
    return float((found - expected).nan_to_num().abs().max() / scale) if scale > 0 else float(found.abs().sum())


# ---------------------------------------------------------------- the lines


@pytest.mark.parametrize("rule", RULES)
def test_one_line_for_each_assignment_of_the_equation(rule: str) -> None:
    assert len(of_equation(RULES[rule].listing)) == len(assignments(RULES[rule].equation))


@pytest.mark.parametrize("rule", [*RULES, *WRAPPED, *STACKED])
def test_lines_are_the_rule(rule: str) -> None:
    """Run in order they leave the slots and weights that the rule leaves, at each of the first steps."""
    for contender in (racer(rule), *(changed(rule, seed) for seed in range(3))):
        config = config_of(contender)
        state = start(config, torch.float64)
        for _ in range(STEPS):
            step = step_of(config, state, 0)
            known = step.names()
            for line in step.rule.listing:
                run(line, known, step.project)
            for name, expected in {"p": step.new_p, **{called(slot): s for slot, s in step.after.items()}}.items():
                close = ROOTS if rule.startswith("shampoo") and name in ("p", "root") else CLOSE
                assert off(known[name].expand_as(expected), expected) < close, f"{name} of {contender}, {step.now}"
            state, _ = advance(config, state, 1)
            assert torch.allclose(step.new_p, state.params, rtol=1e-13, atol=1e-13)


def test_weights_that_are_put_back_are_so_in_the_lines_too() -> None:
    """A task that bounds its weights: the last step of a rate that is far too large ends at the bound."""

    class Bounded(Problem):
        def project(self, p: Tensor) -> Tensor:
            return p.clamp(-1.1, 1.1)

    config = race(Bounded(0, 3), [racer("asgd", lr=5.0, t0=0)], steps=3)
    state, _ = advance(config, start(config, torch.float64), 2)
    step = step_of(config, state, 0)
    known = step.names()
    for line in step.rule.listing:
        run(line, known, step.project)
    assert off(known["p"], step.new_p) < CLOSE and off(known["ax"], step.after["ax"]) < CLOSE
    bound = int((step.new_p[0].abs() >= 1.1).nonzero()[0])
    assert any(row.numbers.endswith(("put back to 1.1", "put back to −1.1")) for row in table(step, bound))


@pytest.mark.parametrize("rule", [*RULES, *(f"sgd+{wrapper}" for wrapper in LISTED)])
def test_lines_name_nothing_twice(rule: str) -> None:
    """A setting is never assigned, no slot has a setting's name, and words of a rule hide none that all have."""
    spec, layout = RULES[rule], Problem.layout
    settings = {hyper.name for hyper in spec.hypers}
    words = set(spec.words(layout)) if spec.words else set()
    slots = {called(slot.name) for slot in spec.slots_for(layout)}
    assigned = {
        node.id
        for line in spec.listing
        for node in ast.walk(ast.parse(line.code))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert not (assigned | slots) & (settings | words | set(WORDS) | set(measures(layout)))
    assert slots <= assigned | {"p0"}  # Prodigy's first weights stay


def test_lines_of_a_wrapper_have_their_own_equations() -> None:
    for wrapper in WRAPPERS.values():
        lines: tuple[Line, ...] = (*wrapper.first, *wrapper.last)
        assert all(line.equation for line in lines)
        assert bool(lines) != bool(wrapper.unlisted)


# ---------------------------------------------------------------- torch.optim's own numbers

Numbers = Callable[[dict[str, Any]], list[float]]


def decayed(o: dict[str, Any]) -> float:
    return float(o["g"] + o["weight_decay"] * o["p"])


def mean_of(name: str, beta: str, of: Callable[[dict[str, Any]], float] = decayed) -> Numbers:
    return lambda o: [o[beta], o["was"][name], 1 - o[beta], of(o), o["now"][name]]


def corrected(o: dict[str, Any], beta: str) -> list[float]:
    return [1, o[beta], o["t"]]


COUPLED: Numbers = lambda o: [o["g"], o["weight_decay"], o["p"], decayed(o)]  # noqa: E731
MEAN, SQUARE = mean_of("exp_avg", "beta1"), mean_of("exp_avg_sq", "beta2")


def adam_like(square: str = "exp_avg_sq") -> Numbers:
    return lambda o: [
        o["p"], o["lr"], o["now"]["exp_avg"], *corrected(o, "beta1"), o["now"][square], *corrected(o, "beta2"),
        o["eps"], o["new_p"],
    ]  # fmt: skip


def momenta(o: dict[str, Any]) -> tuple[float, float]:
    """NAdam's of this step and the next."""
    first, second = (o["beta1"] * (1 - 0.5 * 0.96 ** (t * o["momentum_decay"])) for t in (o["t"], o["t"] + 1))
    return first, second


def worth(o: dict[str, Any]) -> tuple[float, float, float]:
    """RAdam's n_max, n and r."""
    most = 2 / (1 - o["beta2"]) - 1
    n = most - 2 * o["t"] * o["beta2"] ** o["t"] / (1 - o["beta2"] ** o["t"])
    return most, n, ((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n)) ** 0.5


def direction(o: dict[str, Any]) -> float:
    """Adam's."""
    m, v = o["now"]["exp_avg"] / (1 - o["beta1"] ** o["t"]), o["now"]["exp_avg_sq"] / (1 - o["beta2"] ** o["t"])
    return float(m / (v**0.5 + o["eps"]))


def factor(o: dict[str, Any]) -> list[float]:
    """What Rprop multiplies a size by, if it does."""
    turned = o["was"]["prev"] * o["g"]
    return [] if turned == 0 else [o["etaplus" if turned > 0 else "etaminus"]]


def factored(o: dict[str, Any]) -> dict[str, float]:
    """Adafactor's tables at the weight, from torch's own means."""
    row, column, (i, j) = o["now"]["row_var"], o["now"]["col_var"], o["at"]
    v = row / row.mean(0).clamp(min=o["eps1"]) * column
    u = o["all_g"] / v.sqrt()
    size = float(o["all_p"].square().mean().sqrt())
    return {"v": float(v[i, j]), "u": float(u[i, j]), "rms_u": float(u.square().mean().sqrt()), "rms_p": size}


def norm(*tables: Tensor) -> float:
    return float(torch.linalg.vector_norm(torch.cat([table.flatten() for table in tables])))


def orthogonal(o: dict[str, Any]) -> float:
    """The part of Muon's step that is the orthogonalised matrix; torch keeps it nowhere."""
    return float((o["p"] - o["new_p"]) / o["lr"] - o["weight_decay"] * o["p"])


# Of each rule, the numbers in each of its rows, in order: settings, and what torch.optim held before and after.
EXPECTED: dict[str, tuple[dict[str, Any], list[Numbers]]] = {
    "sgd": ({"lr": 0.1, "weight_decay": 0.03}, [COUPLED, lambda o: [o["p"], o["lr"], decayed(o), o["new_p"]]]),
    "momentum": (
        {"lr": 0.01, "momentum": 0.8, "dampening": 0.25, "weight_decay": 0.03},
        [
            COUPLED,
            lambda o: [o["momentum"], o["was"]["momentum_buffer"], 1 - o["dampening"], decayed(o),
                       o["now"]["momentum_buffer"]],
            lambda o: [o["p"], o["lr"], o["now"]["momentum_buffer"], o["new_p"]],
        ],
    ),
    "nesterov": (
        {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.03},
        [
            COUPLED,
            lambda o: [o["momentum"], o["was"]["momentum_buffer"], decayed(o), o["now"]["momentum_buffer"]],
            lambda o: [o["p"], o["lr"], decayed(o), o["momentum"], o["now"]["momentum_buffer"], o["new_p"]],
        ],
    ),
    "adagrad": (
        {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.3, "eps": 1e-8, "weight_decay": 0.03},
        [
            COUPLED,
            lambda o: [o["was"]["sum"], decayed(o), o["now"]["sum"]],
            lambda o: [o["p"], o["lr"], 1, o["t"], 1, o["lr_decay"], decayed(o), o["now"]["sum"], o["eps"],
                       o["new_p"]],
        ],
    ),
    "rmsprop": (
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.7, "centered": True, "eps": 1e-6, "weight_decay": 0.03},
        [
            COUPLED,
            mean_of("square_avg", "alpha"),
            mean_of("grad_avg", "alpha"),
            lambda o: [o["momentum"], o["was"]["momentum_buffer"], decayed(o), o["now"]["square_avg"],
                       o["now"]["grad_avg"], 0, o["eps"], o["now"]["momentum_buffer"]],
            lambda o: [o["p"], o["lr"], o["now"]["momentum_buffer"], o["new_p"]],
        ],
    ),
    "adadelta": (
        {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.03},
        [
            COUPLED,
            mean_of("square_avg", "rho"),
            lambda o: [o["was"]["acc_delta"], o["eps"], o["now"]["square_avg"], o["eps"], decayed(o),
                       (o["p"] - o["new_p"]) / o["lr"]],
            mean_of("acc_delta", "rho", lambda o: (o["p"] - o["new_p"]) / o["lr"]),
            lambda o: [o["p"], o["lr"], (o["p"] - o["new_p"]) / o["lr"], o["new_p"]],
        ],
    ),
    "rprop": (
        {"lr": 0.02, "etaminus": 0.4, "etaplus": 1.3, "step_size_min": 0.001, "step_size_max": 0.5},
        [
            lambda o: [*factor(o), o["was"]["step_size"], o["step_size_min"], o["step_size_max"],
                       o["now"]["step_size"]],
            lambda o: [o["lr"]],
            lambda o: [*([] if o["now"]["prev"] == 0 else [o["g"]]), np.sign(o["now"]["prev"])],
            lambda o: [o["p"], o["now"]["step_size"], np.sign(o["now"]["prev"]), o["new_p"]],
        ],
    ),
    "adafactor": (
        {"lr": 0.05, "beta2_decay": -0.6, "eps1": 1e-7, "eps2": 0.01, "d": 1.5, "weight_decay": 0.03},
        [
            lambda o: [norm(*(held for state in o["states"] for name, held in state.items() if name != "step"))],
            lambda o: [factored(o)["v"], o["eps1"] ** 2, factored(o)["v"]],
            lambda o: [o["g"], factored(o)["v"], factored(o)["u"]],
            lambda o: [o["p"], o["lr"], 1, o["t"], o["eps2"], factored(o)["rms_p"], factored(o)["u"], 1,
                       factored(o)["rms_u"], o["d"], o["lr"] * o["weight_decay"], o["p"], o["new_p"]],
        ],
    ),
    "adam": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.03},
        [COUPLED, MEAN, SQUARE, adam_like()],
    ),
    "amsgrad": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.03},
        [
            COUPLED, MEAN, SQUARE,
            lambda o: [o["was"]["max_exp_avg_sq"], o["now"]["exp_avg_sq"], o["now"]["max_exp_avg_sq"]],
            adam_like("max_exp_avg_sq"),
        ],
    ),
    "adamw": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.03},
        [
            mean_of("exp_avg", "beta1", lambda o: o["g"]), mean_of("exp_avg_sq", "beta2", lambda o: o["g"]),
            lambda o: [*adam_like()(o)[:-1], o["lr"] * o["weight_decay"], o["p"], o["new_p"]],
        ],
    ),
    "adamax": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.03},
        [
            COUPLED, MEAN,
            lambda o: [o["beta2"], o["was"]["exp_inf"], decayed(o), o["eps"], o["now"]["exp_inf"]],
            lambda o: [o["p"], o["lr"], o["now"]["exp_avg"], *corrected(o, "beta1"), o["now"]["exp_inf"], o["new_p"]],
        ],
    ),
    "nadam": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "momentum_decay": 0.04, "eps": 1e-6, "weight_decay": 0.03},
        [
            COUPLED, MEAN, SQUARE,
            lambda o: [o["beta1"], 1, 0.5, 0.96, o["t"], o["momentum_decay"], momenta(o)[0]],
            lambda o: [o["beta1"], 1, 0.5, 0.96, o["t"], 1, o["momentum_decay"], momenta(o)[1]],
            lambda o: [o["was"]["mu_product"], momenta(o)[0], o["now"]["mu_product"]],
            lambda o: [o["p"], o["lr"], momenta(o)[1], o["now"]["exp_avg"], 1, o["now"]["mu_product"], momenta(o)[1],
                       1, momenta(o)[0], decayed(o), 1, o["now"]["mu_product"], o["now"]["exp_avg_sq"],
                       *corrected(o, "beta2"), o["eps"], o["new_p"]],
        ],
    ),
    "radam": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.03},
        [
            COUPLED, MEAN, SQUARE,
            lambda o: [worth(o)[0]],
            lambda o: [worth(o)[0], 2, o["t"], o["beta2"], o["t"], *corrected(o, "beta2"), worth(o)[1]],
            lambda o: [worth(o)[1], 4, worth(o)[1], 2, worth(o)[0], worth(o)[0], 4, worth(o)[0], 2, worth(o)[1],
                       worth(o)[2]],
            lambda o: [o["p"], o["lr"], worth(o)[2], o["now"]["exp_avg"], *corrected(o, "beta1"),
                       *corrected(o, "beta2"), o["now"]["exp_avg_sq"], o["eps"], o["new_p"]],
        ],
    ),
    "asgd": (
        {"lr": 0.05, "lambd": 0.01, "alpha": 0.5, "t0": 4, "weight_decay": 0.03},
        [
            COUPLED,
            lambda o: [o["was"]["eta"]],
            lambda o: [o["p"], o["was"]["eta"], decayed(o), o["lambd"], o["p"], o["new_p"]],
            lambda o: [o["was"]["ax"], o["new_p"], o["was"]["ax"], 1, o["t"], 1, o["t0"], o["now"]["ax"]],
            lambda o: [o["lr"], 1, o["lambd"] * o["lr"], o["t"], o["alpha"], o["now"]["eta"]],
        ],
    ),
    "lbfgs": (
        {"lr": 0.7, "history_size": 10, "strong_wolfe": True},
        [
            lambda o: [o["was"]["t"] * o["was"]["d"]],
            lambda o: [o["g"], o["was"]["prev_flat_grad"], o["g"] - o["was"]["prev_flat_grad"]],
            lambda o: [norm(*o["now"]["old_dirs"][-10:])],
            lambda o: [norm(*o["now"]["old_stps"][-10:])],
            lambda o: [o["now"]["d"]],
            lambda o: [o["now"]["t"]],
            lambda o: [o["now"]["t"], o["now"]["d"], o["now"]["t"] * o["now"]["d"]],
            lambda o: [o["p"], o["now"]["t"] * o["now"]["d"], o["new_p"]],
            lambda o: [o["g"]],
        ],
    ),
    "muon": (
        {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.03},
        [
            lambda o: [o["momentum"], o["was"]["momentum_buffer"], 1, o["momentum"], o["g"],
                       o["now"]["momentum_buffer"]],
            lambda o: [orthogonal(o)],
            lambda o: [o["p"], o["lr"], 1, 3, 4, orthogonal(o), o["weight_decay"], o["p"], o["new_p"]],
        ],
    ),
    "muon at W3": (
        {"lr": 0.02, "adamw_ratio": 0.1, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.03},
        [
            lambda o: [o["beta1"], o["was"]["exp_avg"], 1, o["beta1"], o["g"], o["now"]["exp_avg"]],
            mean_of("exp_avg_sq", "beta2", lambda o: o["g"]),
            lambda o: [o["now"]["exp_avg"], *corrected(o, "beta1"), o["now"]["exp_avg_sq"], *corrected(o, "beta2"),
                       o["eps"], direction(o)],
            lambda o: [o["p"], o["lr"], o["adamw_ratio"], direction(o), o["weight_decay"], o["p"], o["new_p"]],
        ],
    ),
}  # fmt: skip
TORCH = [rule for rule in RULES if REFERENCES[rule].source.startswith("torch.optim.")]
AT = 1, 2  # the weight that is watched, of a matrix


def numbers_in(text: str) -> list[float]:
    """All numbers of a row, in order; squares' and steps' exponents of 2 are a sign of their own, not a number."""
    plain = re.sub(r"^\w+ = ", "", text.replace("−", "-"))
    plain = re.sub(r"(?<=[\d)]) - ", " _ ", plain)  # a difference is no minus of the number after it
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", plain)]


def states(optimizer: Any, weights: Weights) -> list[dict[str, Any]]:
    """What an optimizer holds of each weight tensor, copied."""
    if isinstance(optimizer, Muon):
        flat_ones = dict(zip(optimizer.hidden, optimizer.matrices, strict=True))
        held = [
            optimizer.muon.state[flat_ones[weight]] if weight in flat_ones else optimizer.adamw.state[weight]
            for weight in weights
        ]
    elif isinstance(optimizer, torch.optim.LBFGS):
        held = [optimizer.state[weights[0]]] * len(weights)  # of all together
    else:
        held = [optimizer.state[weight] for weight in weights]
    return [deepcopy(dict(state)) for state in held]


def torch_step(contender: Racer, steps: int, tensor: str) -> tuple[dict[str, Any], int]:
    """What a torch.optim optimizer holds before and after its last of so many steps at the watched weight: `was`,
    `now`, gradient, weight and settings; and which weight that is, in our table.
    """
    problem, settings = config_of(contender).task, dict(contender.settings)
    assert isinstance(problem, Problem)
    made = {name: value for name, value in settings.items() if name != "clip"}
    if "beta2" in made:
        made["betas"] = made.pop("beta1"), made.pop("beta2")
    weights = problem.weights()
    optimizer = REFERENCES[contender.rule].make(weights, **made)
    index = [name for name, _ in problem.layout.shapes].index(tensor)
    watched, width = weights[index], problem.layout.width
    coordinate = sum(problem.layout.sizes[:index]) + AT[0] * watched.shape[1] + AT[1]
    found: dict[str, Any] = {}
    for step in range(steps):

        def closure(at: int = step, drawn: bool = False) -> Tensor:
            gradients = problem.gradient(flat(weights), at, drawn).split(problem.layout.sizes)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.reshape(weight.shape).clone()
            return problem.value(flat(weights), at)

        closure()
        assert watched.grad is not None
        found = {"p": watched.detach().clone(), "g": watched.grad.clone(), "was": states(optimizer, weights)[index]}
        REFERENCES[contender.rule].step(optimizer, closure, step)
        found |= {"new_p": watched.detach().clone(), "now": states(optimizer, weights)[index]}

    def here(held: Any) -> Any:
        if isinstance(held, dict):
            return {name: here(value) for name, value in held.items()}
        if not isinstance(held, Tensor) or held.numel() == 1:
            return float(held) if isinstance(held, Tensor) else held
        if held.shape == watched.shape:
            return float(held[AT])
        return float(held[coordinate]) if held.shape == (width,) else held

    more = {"t": steps, "at": AT, "all_g": found["g"], "all_p": found["p"], "states": states(optimizer, weights)}
    return here(found) | settings | more, coordinate


@pytest.mark.parametrize("rule", EXPECTED)
@pytest.mark.parametrize("steps", [9, STEPS])
def test_numbers_are_those_of_torch_optim(rule: str, steps: int) -> None:
    """Each displayed number of each row, to its four digits."""
    settings, expected = EXPECTED[rule]
    name, _, tensor = rule.partition(" at ")
    contender = racer(name, **settings)
    optimizer, coordinate = torch_step(contender, steps, tensor or "W2")
    rows = table(seen(contender, steps - 1), coordinate)
    assert len(rows) == len(expected)
    for row, numbers in zip(rows, expected, strict=True):
        wanted = [float(four(number).replace("−", "-")) for number in numbers(optimizer)]
        found = numbers_in(row.numbers)
        assert found == wanted, row.numbers


def test_every_rule_of_torch_optim_has_its_numbers() -> None:
    assert set(TORCH) == {name.split(" at ")[0] for name in EXPECTED}


# ---------------------------------------------------------------- what is shown


def worked_out(text: str) -> float:
    """The right side of a row, computed from its own digits."""
    plain = text.replace("−", "-").replace("·", "*").replace("mod", "%").replace("^", "**").replace("²", "**2")
    plain = plain.replace("√", "sqrt").replace("∞", "inf")
    known = {
        "sqrt": lambda x: x**0.5, "max": max, "min": min, "sign": np.sign, "abs": abs, "exp": np.exp, "log": np.log,
        "cos": np.cos, "round": round, "inf": np.inf,
    }  # fmt: skip
    return float(eval(plain, {"__builtins__": {}}, known))


@pytest.mark.parametrize("rule", [*RULES, *STACKED])
def test_a_row_comes_to_what_it_says(rule: str) -> None:
    """What stands right of the first equals sign comes to what stands right of the last, as far as four digits go."""
    shown = 0
    for contender in (racer(rule), changed(rule, 0)):
        step = seen(contender)
        for coordinate in (2, step.layout.width - 1):  # of a hidden matrix, and of a bias
            for row in table(step, coordinate):
                name, *sides = row.numbers.split(" = ")
                if len(sides) == 2 and not row.code.startswith(f"{name}, "):
                    terms = [abs(number) for number in numbers_in(sides[0])] or [0.0]
                    assert worked_out(sides[0]) == pytest.approx(
                        worked_out(sides[1]), rel=5e-3, abs=1e-3 * min(1, max(terms))
                    ), row.numbers
                    shown += 1
    assert shown or rule in ("shampoo", "lbfgs")


def test_the_words_have_the_settings_in_them() -> None:
    first, second, third = table(seen(racer("adam", beta1=0.5, lr=0.003)), 0)
    assert first.says.startswith("m is 0.5 of its old value plus 0.5 of today's gradient")
    assert first.says.endswith("after 1 step.") and "693 steps" in second.says and "0.003" in third.says
    assert first.equation == bare(assignments(RULES["adam"].equation)[0]) and "leftarrow" in first.equation
    assert first.code == "m = beta1 * m + (1 - beta1) * g"


def test_the_scheduled_rate_of_this_step_is_shown() -> None:
    contender = racer("sgd", lr=0.4, schedule=("step", {"factor": 0.5, "every": 5}))
    (row,) = table(seen(contender, 7), 0)
    assert "· " in row.numbers and numbers_in(row.numbers)[1] == 0.2


@pytest.mark.parametrize("rule", [*RULES, *STACKED, "adam+cautious"])
def test_no_sentence_is_left_with_a_brace_or_a_hole(rule: str) -> None:
    rows = table(seen(racer(rule)), 0)
    assert rows
    for row in rows:
        assert row.says.endswith(".") and not re.search(r"[{}]|nan|None", row.says), row.says
        assert row.equation and not re.search(r"nan|tensor", row.numbers), row.numbers
        assert r"\new" not in row.equation


def test_lines_that_play_no_part_are_not_shown() -> None:
    def codes(contender: Racer, coordinate: int = 0) -> list[str]:
        return [row.code.split(" = ")[0] for row in table(seen(contender), coordinate)]

    assert codes(racer("adam")) == ["m", "v", "p"] and codes(racer("adam", weight_decay=0.1)) == ["g", "m", "v", "p"]
    assert codes(racer("rmsprop")) == ["v", "m", "p"] and codes(racer("rmsprop", centered=True))[1] == "mean"
    assert codes(racer("muon"), 0) == ["m", "O", "p"]
    assert codes(racer("muon"), Problem.layout.width - 1) == ["m", "v", "u", "p"]


def test_wrappers_stand_before_and_behind() -> None:
    codes = [row.code.split(" = ")[0] for row in table(seen(racer("adam+grokfast+sam+lookahead+ema")), 0)]
    assert codes == ["g", "slow_gradient", "g", "m", "v", "p", "slow_weights", "p", "ema_weights"]
    assert note(RULES["adam+cautious"]).startswith("Cautious acts around these lines") and not note(RULES["adam"])


def test_a_real_network_in_single_precision() -> None:
    config = race("digits", [racer("momentum"), racer("adam")], steps=30, seeds=(3, 4))
    state, _ = advance(config, start(config), 12)
    step = step_of(config, state, 1, 1)
    after, _ = advance(config, state, 1)
    row = 3  # Adam's second seed, behind the rows of momentum and of its first
    assert step.now == 13 and step.batch == config.batch
    assert torch.allclose(step.new_p[0], after.params[row].double(), rtol=1e-5, atol=1e-7)
    busy = int(step.gradient[0].abs().argmax())
    assert table(step, busy)[-1].numbers.endswith(four(float(step.new_p[0, busy])))
    assert torch.equal(state.slots["adam"]["m"], advance(config, start(config), 12)[0].slots["adam"]["m"])


def test_what_an_edit_does_at_the_step_is_seen() -> None:
    """A spike's gradient as the rule got it, memories as the edit left them, each with its own age."""
    at = 6
    events = {
        "scale_gradient": edit(at, 0, "scale_gradient", factor=100.0),
        "reset": edit(at, 0, "reset", what="v"),
    }

    def looked(*named: str) -> Step:
        config = race(Problem(0, STEPS), [racer("adam")], steps=STEPS, edits=[events[name] for name in named])
        return step_of(config, advance(config, start(config, torch.float64), at)[0], 0)

    plain, spiked, cleared = looked(), looked("scale_gradient"), looked("reset")
    assert torch.equal(spiked.gradient, 100 * plain.gradient)
    assert torch.equal(spiked.before["m"], plain.before["m"])  # and not what the spike alone has left
    assert f"{four(float(spiked.gradient[0, 0]))}" in table(spiked, 0)[0].numbers
    assert not cleared.before["v"].any() and torch.equal(cleared.before["m"], plain.before["m"])
    assert float(cleared.ages["v"]) == 1 and float(cleared.ages["m"]) == at + 1
    assert table(cleared, 0)[1].numbers.startswith("v = 0.999 · 0 + ")


def test_a_rule_without_lines_says_so() -> None:
    bare_rule = replace(RULES["sgd"], listing=())
    assert table(replace(seen(racer("sgd")), rule=bare_rule), 0) == []
    assert note(bare_rule) == "SGD takes its step in code of its own, which is not written out here."


def test_places_have_names() -> None:
    layout = Problem.layout
    assert place(layout, 0) == "W1[0, 0]" and place(layout, 20) == "b1[0, 0]" and place(layout, 7) == "W1[1, 3]"
    assert place(layout, layout.width - 1) == "b3[3, 0]"


def test_markdown_keeps_its_columns() -> None:
    text = markdown([Row(r"\lvert g \rvert + |p|", "a | b", "|x|", "so | so"), *table(seen(racer("lbfgs")), 0)])
    for line in text.splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 5, line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (-0.5, "−0.5"), (1e-8, "1e−8"), (12345.6, "1.235e4"), (1999.0, "1999"), (0.0, "0"),
     (float("nan"), "not a number"), (float("-inf"), "−∞")],
)  # fmt: skip
def test_four_digits(value: float, text: str) -> None:
    assert four(value) == text


# ---------------------------------------------------------------- bad input


def test_a_weight_that_is_not_there() -> None:
    step = seen(racer("sgd"))
    for coordinate in (-1, step.layout.width):
        with pytest.raises(ValueError, match=f"There is no weight {coordinate}"):
            table(step, coordinate)
    with pytest.raises(ValueError, match="There is no weight 999"):
        place(step.layout, 999)


def test_a_step_that_is_not_there() -> None:
    config = config_of(racer("sgd"))
    state, _ = advance(config, start(config, torch.float64), STEPS)
    with pytest.raises(ValueError, match=f"The run ends with step {STEPS}"):
        step_of(config, state, 0)


def test_a_run_that_has_diverged() -> None:
    config = race(Problem(0, 400), [racer("sgd", lr=900.0)], steps=400)
    state, _ = advance(config, start(config), 300)
    with pytest.raises(ValueError, match="This run diverged at step"):
        step_of(config, state, 0)
