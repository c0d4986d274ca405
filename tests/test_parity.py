"""Every rule of the registry against an independent implementation, in float64, beside rows of all the other rules.

A rule without an entry in tests/references/ fails: it has nothing it was tested against, and no place in the menu.
What was found is kept in core/conformance.json, which the pages and docs/optimizers.md show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core import RULES, Config, Racer, advance, race, racer, start
from core.optimizers import WRAPPERS
from core.plan import settings_of
from core.tasks import Batch
from tests.references import REFERENCES, Problem, Reference
from tests.references.base import STEPS, Bowl, flat
from tests.strategies import table_rows

SEEDS = (0, 1)
RACERS = 9  # of each rule, for each seed
CONFORMANCE = Path(__file__).resolve().parent.parent / "core" / "conformance.json"
TOLERANCE = 1e-9  # of the largest weight
PROVED = tuple(dict.fromkeys([*RULES, *REFERENCES]))


def random_racer(seed: int, number: int, rule: str) -> Racer:
    """Settings over the sliders' stops, rates small enough for all to stay finite, and a step schedule or none."""
    rng = np.random.default_rng([seed, number, *rule.encode()])
    settings: dict[str, Any] = {hyper.name: rng.choice(hyper.stops()).item() for hyper in RULES[rule].hypers}
    settings["lr"] = float(10 ** rng.uniform(-4, -1))
    if settings.get("beta2") == 0:  # m / |g|, which near g = 0 makes any rounding large
        settings["beta2"] = 0.5
    if rng.random() < 0.4 and "clip" in settings:
        settings["clip"] = 0.0
    if rule in REFERENCES:
        REFERENCES[rule].choose(rng, settings)
    factor, every = float(rng.uniform(0.3, 0.95)), int(rng.integers(10, 90))
    return racer(
        rule, schedule=("step", {"factor": factor, "every": every}) if rng.random() < 0.6 else None, **settings
    )


@lru_cache(maxsize=4)
def trajectories(seed: int, full_batch: bool) -> tuple[Config, list[dict[str, Tensor]]]:
    """One table that holds all racers of all rules, and after each step their weights `[racers, P]`: those stored,
    those where the next gradient is taken, and those at which the loss is reported.

    Rules that need all of the data have a table of their own, on a loss that stays the same.
    """
    rng = np.random.default_rng(seed)
    rules = [rule for rule in PROVED if RULES[rule].full_batch == full_batch]
    mixed = [random_racer(seed, i, rule) for rule in rules for i in range(RACERS)]
    rng.shuffle(mixed)
    config = race((Bowl if full_batch else Problem)(seed, STEPS), mixed, steps=STEPS)
    rows = table_rows(config)[:, 0]
    state, found = start(config, torch.float64), []
    for _ in range(STEPS):
        state, _ = advance(config, state, 1)
        found.append({"stored": state.params[rows], **_elsewhere(config, state, rows)})
    return config, found


def _elsewhere(config: Config, state: Any, rows: np.ndarray) -> dict[str, Tensor]:
    """Weights at which a rule wants its next gradient, or its loss reported; NaN where a rule has no such place."""
    found = {name: torch.full_like(state.params, torch.nan) for name in ("gradient_point", "eval")}
    order = np.argsort(rows)
    first = 0
    for name, slots in state.slots.items():
        rule = RULES[name]
        racers = [int(index) for index in order if config.racers[index].rule == name]
        here, first = slice(first, first + len(racers)), first + len(racers)
        h = settings_of(config, racers, rule, state.params)
        memory = type("Slots", (), slots)
        for where, point in (("gradient_point", rule.gradient_point), ("eval", rule.eval_params)):
            if point:
                found[where][here] = point(state.params[here], memory, h)
    return {where: table[rows] for where, table in found.items()}


def followed(config: Config, index: int, reference: Reference) -> Iterator[dict[str, Tensor]]:
    """The same run by the reference, what is compared `[P]` after each step, with clipping and the schedule outside."""
    assert isinstance(config.task, Problem)
    problem, contender = config.task, config.racers[index]
    settings = dict(contender.settings)
    clip = settings.pop("clip", 0.0)
    if "beta2" in settings:
        settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
    rates = config.values(index, "lr", 0, STEPS)
    weights = problem.weights()
    optimizer = reference.make(weights, **settings)
    for step in range(STEPS):
        for group in getattr(optimizer, "param_groups", ()):
            group["lr"] = float(rates[step])

        def closure(at: int = step, drawn: bool = False) -> Tensor:
            gradients = problem.gradient(flat(weights), at, drawn).split(problem.layout.sizes)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.reshape(weight.shape).clone()
            if clip:
                torch.nn.utils.clip_grad_norm_(weights, clip)
            return problem.value(flat(weights), at)

        reference.step(optimizer, closure, step)
        yield {where: flat(read(optimizer, weights)) for where, read in reference.compared.items()}


@cache
def difference(rule: str, seed: int) -> float:
    """The largest difference from the reference at any step of any of the rule's racers, of the largest weight."""
    config, found = trajectories(seed, RULES[rule].full_batch)
    reference, largest = REFERENCES[rule], 0.0
    for index, contender in enumerate(config.racers):
        if contender.rule == rule:
            for step, there in enumerate(followed(config, index, reference)):
                for where, expected in there.items():
                    error = float((found[step][where][index] - expected).abs().max() / expected.abs().max())
                    assert error < TOLERANCE, f"{where} after step {step + 1} of {contender}"
                    largest = max(largest, error)
    return largest


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", PROVED)
def test_rule_equals_its_reference(rule: str, seed: int) -> None:
    if rule not in REFERENCES:
        pytest.fail(f"{rule!r} is proved by nothing: say in tests/references/ what it must equal")
    assert difference(rule, seed) < TOLERANCE


def test_the_conformance_table_is_kept() -> None:
    """It names every rule, its reference and what was found here; written anew where it does not.

    The difference is kept to its power of ten, rounded up, and another machine's rounding is no reason to change it.
    """
    kept = json.loads(CONFORMANCE.read_text()) if CONFORMANCE.exists() else {}
    found = {
        rule: {
            "reference": REFERENCES[rule].source,
            "note": REFERENCES[rule].note,
            "difference": 10.0 ** math.ceil(math.log10(max(1e-16, *(difference(rule, seed) for seed in SEEDS)))),
            "steps": STEPS,
            "racers": RACERS * len(SEEDS),
        }
        for rule in PROVED
    }

    def without_difference(table: dict[str, Any]) -> dict[str, Any]:
        return {rule: {**entry, "difference": 0.0} for rule, entry in table.items()}

    if without_difference(kept) != without_difference(found):
        CONFORMANCE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        pytest.fail(f"{CONFORMANCE.name} was out of date and has been written anew: look at it and keep it")


def test_every_wrapper_has_a_reference() -> None:
    assert {name for rule in REFERENCES for name in rule.split("+")[1:]} == set(WRAPPERS)


def test_every_setting_took_part() -> None:
    """The random racers above switch every setting of every rule on and off, or give it several values."""
    tables = [trajectories(seed, full_batch)[0] for seed in SEEDS for full_batch in (False, True)]
    contenders = [contender for config in tables for contender in config.racers]
    for name in PROVED:
        for hyper in RULES[name].hypers:
            taken = {contender.get(hyper.name) for contender in contenders if contender.rule == name}
            assert len(taken) >= 2, f"{name}: {hyper.name} is always {taken}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
def test_64_runs_take_the_steps_that_each_takes_alone(rule: str, dtype: torch.dtype) -> None:
    """To the bit: torch has other routines for 32 and more numbers that lie without a gap, which round otherwise."""
    rng, task, steps = np.random.default_rng(7), Single(0, 12), 12
    between = [h for h in RULES[rule].hypers if isinstance(h.default, float) and h.name != "clip"]
    contenders = [  # numbers between the sliders' stops: powers of round ones may round alike
        random_racer(7, number, rule).but(
            **{h.name: float(rng.uniform(h.low, min(h.high, h.low + 1))) for h in between}
        )
        for number in range(64)
    ]

    def ends(some: list[Racer]) -> list[list[float]]:
        config = race(task, some, steps=steps)
        state, _ = advance(config, start(config, dtype), steps)
        kept = [slot.flatten(1) for slot in state.slots[rule].values()]
        rows: list[list[float]] = torch.cat([state.params, *kept], dim=1).nan_to_num().tolist()
        return rows

    assert ends(contenders) == [end for contender in contenders for end in ends([contender])]


class Single(Problem):
    """Whose own gradient does not depend on the number of rows: elementwise, where a product with c would."""

    def loss_and_grad(self, p: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        a, c = batch.tensors[0], self.c.to(p)
        return (p * a + p * p * c / 2).sum(1), a + c * p


def test_registry_entries_declare_what_the_rule_returns() -> None:
    """The memories a rule returns are those of its entry, and the weights it was given are left alone."""
    for name in PROVED:
        config = race(Problem(0, 1), [racer(name)], steps=1)
        before = start(config)
        kept = before.params.clone()
        after, _ = advance(config, before, 1)
        declared = {slot.name for slot in RULES[name].slots_for(config.build_task().layout)}
        assert set(after.slots[name]) == declared == set(after.ages[name])
        assert torch.equal(before.params, kept)
