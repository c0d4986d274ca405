"""Every rule of the registry against `torch.optim`, in float64, beside rows of all the other rules.

A rule without an entry in `TWINS` fails: it has nothing it was tested against.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core import RULES, Racer, advance, from_function, race, racer, start
from tests.strategies import table_rows

Twin = Callable[..., torch.optim.Optimizer]

TWINS: dict[str, Twin] = {
    "sgd": torch.optim.SGD,
    "momentum": torch.optim.SGD,
    "nesterov": lambda p, **kw: torch.optim.SGD(p, nesterov=True, **kw),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "amsgrad": lambda p, **kw: torch.optim.Adam(p, amsgrad=True, **kw),
    "adamw": torch.optim.AdamW,
}
STEPS, WIDTH, RACERS = 200, 12, 9  # racers: of each rule
TOLERANCE = 1e-10  # of the largest weight


@dataclass(frozen=True)
class Problem:
    """Loss `a_t p + sum(c p^2) / 2`: a random gradient at each step, and one that depends on the weights."""

    a: Tensor  # [STEPS + 1, WIDTH], for the loss after the last step too
    c: Tensor  # [WIDTH]
    p: Tensor  # [WIDTH], where all start
    racers: tuple[Racer, ...]

    def loss(self, p: Tensor, step: int) -> Tensor:
        return p @ self.a[step] + (p * p) @ self.c / 2

    def gradient(self, p: Tensor, step: int) -> Tensor:
        return self.a[step] + self.c * p


def random_racer(rng: np.random.Generator, rule: str) -> Racer:
    """Settings over the sliders' stops, rates small enough for all to stay finite, and a step schedule or none."""
    settings: dict[str, Any] = {hyper.name: rng.choice(hyper.stops()).item() for hyper in RULES[rule].hypers}
    settings["lr"] = float(10 ** rng.uniform(-4, -1))
    if settings.get("centered"):  # with a short memory the variance is a difference of equals, all rounding
        settings["alpha"] = float(rng.choice([0.9, 0.99, 0.999]))
    if rng.random() < 0.4:
        settings["clip"] = 0.0
    factor, every = float(rng.uniform(0.3, 0.95)), int(rng.integers(10, 90))
    return racer(
        rule, schedule=("step", {"factor": factor, "every": every}) if rng.random() < 0.6 else None, **settings
    )


@lru_cache(maxsize=2)
def trajectories(seed: int) -> tuple[Problem, list[Tensor]]:
    """A problem and the weights after each step, `[racers, WIDTH]`, of one table that holds all its racers."""
    rng = np.random.default_rng(seed)
    mixed = [rule for rule in RULES for _ in range(RACERS)]
    rng.shuffle(mixed)
    problem = Problem(
        torch.tensor(rng.normal(0, 2, (STEPS + 1, WIDTH))),
        torch.tensor(rng.uniform(0, 2, WIDTH)),
        torch.tensor(rng.normal(0, 1, WIDTH)),
        tuple(random_racer(rng, rule) for rule in mixed),
    )
    config = race(from_function(problem.loss, problem.p), problem.racers, steps=STEPS)
    rows = table_rows(config)[:, 0]
    state, found = start(config, torch.float64), []
    for _ in range(STEPS):
        state, _ = advance(config, state, 1)
        found.append(state.params[rows])
    return problem, found


def torch_trajectory(problem: Problem, contender: Racer, make: Twin) -> Iterable[Tensor]:
    """The same run by `torch.optim`, with its own clipping and its own schedule."""
    settings = dict(contender.settings)
    clip = settings.pop("clip")
    if "beta1" in settings:
        settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
    weights = problem.p.clone().requires_grad_()
    optimizer = make([weights], **settings)
    scheduler = None
    if contender.schedule.name == "step":
        scheduler = torch.optim.lr_scheduler.StepLR(
            optimizer, contender.schedule.get("every"), contender.schedule.get("factor")
        )
    for step in range(STEPS):
        weights.grad = problem.gradient(weights.detach(), step)
        if clip:
            torch.nn.utils.clip_grad_norm_([weights], clip)
        optimizer.step()
        if scheduler:
            scheduler.step()
        yield weights.detach()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rule", RULES)
def test_rule_equals_its_twin_in_torch(rule: str, seed: int) -> None:
    if rule not in TWINS:
        pytest.fail(f"{rule!r} has no twin: add what it must equal to TWINS in tests/test_parity.py")
    problem, found = trajectories(seed)
    for index, contender in enumerate(problem.racers):
        if contender.rule == rule:
            for step, expected in enumerate(torch_trajectory(problem, contender, TWINS[rule])):
                error = float((found[step][index] - expected).abs().max() / expected.abs().max())
                assert error < TOLERANCE, f"step {step + 1} of {contender}"


def test_every_setting_took_part() -> None:
    """The random racers above switch every setting of every rule on and off, or give it several values."""
    for rule in RULES.values():
        for hyper in rule.hypers:
            taken = {
                contender.get(hyper.name)
                for seed in (0, 1)
                for contender in trajectories(seed)[0].racers
                if contender.rule == rule.name
            }
            assert len(taken) >= 2, f"{rule.name}: {hyper.name} is always {taken}"


def test_registry_entries_declare_what_the_rule_returns() -> None:
    """The memories a rule returns are those of its entry, and the weights it was given are left alone."""
    for rule in RULES.values():
        config = race("quadratic", [racer(rule.name)], steps=1)
        before = start(config)
        kept = before.params.clone()
        after, _ = advance(config, before, 1)
        declared = {slot.name for slot in rule.slots_for(config.build_task().layout)}
        assert set(after.slots[rule.name]) == declared == set(after.ages[rule.name])
        assert torch.equal(before.params, kept)
