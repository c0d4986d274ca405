"""Every schedule of the registry against torch.optim.lr_scheduler, or its published formula where torch has none.

A reference is `reference(base, total, settings) -> [(rate, momentum)]`, for every step of a run of any length. A
schedule without one fails: it has nothing it was tested against.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from core import SCHEDULES, Recording, advance, race, racer, start
from tests.strategies import values

STEADY = settings(deadline=None, derandomize=True, max_examples=40)
Rates = list[tuple[float, float]]
Settings = dict[str, Any]


def recorded(make: Callable[[Optimizer], LRScheduler], base: float, total: int, adam: bool = False) -> Rates:
    """(learning rate, momentum) of each step of a run with this scheduler."""
    weights = [Parameter(torch.zeros(1))]
    optimizer: Optimizer = AdamW(weights, lr=base) if adam else SGD(weights, lr=base, momentum=0.9)
    scheduler, found = make(optimizer), []
    for _ in range(total):
        group = optimizer.param_groups[0]
        found.append((group["lr"], group["betas"][0] if adam else group["momentum"]))
        optimizer.step()
        scheduler.step()
    return found


def of(make: Callable[[Optimizer, float, int, Settings], LRScheduler]) -> Callable[[float, int, Settings], Rates]:
    """A reference that is one scheduler of torch."""
    return lambda base, total, s: recorded(lambda optimizer: make(optimizer, base, total, s), base, total)


def polynomial(base: float, total: int, s: Settings) -> Rates:
    """torch's falls to 0; Keras' `(base - end) (1 - t / total)^power + end` is torch's on what lies above the end."""
    end = s["final_share"] * base
    above = recorded(lambda o: PolynomialLR(o, total, s["power"]), base - end, total)
    return [(end + rate, momentum) for rate, momentum in above]


def inverse_sqrt(n: int, k: float, rising: bool) -> float:
    """Vaswani et al.: `min(n^-0.5, n k^-1.5)`; Raffel et al.: `1 / sqrt(max(n, k))`; here with 1 at n = k."""
    return math.sqrt(k) * (min(n**-0.5, n * k**-1.5) if rising else 1 / math.sqrt(max(n, k)))


def stable_decay(o: Optimizer, base: float, total: int, s: Settings) -> LRScheduler:
    """Straight: LinearLR after ConstantLR. The root: Hägele et al., equation 1, `1 - sqrt((n - n_0) / n_decay)`."""
    falling, end = max(round(s["decay_share"] * total), 1), s["final_share"]
    flat = total - falling
    if s["sqrt_shape"]:
        return LambdaLR(o, lambda t: end + (1 - end) * (1 - math.sqrt(max(t - flat, 0) / falling)))
    line = LinearLR(o, 1.0, end, falling)
    return SequentialLR(o, [ConstantLR(o, 1.0), line], [flat]) if flat else line


def one_cycle(o: Optimizer, base: float, total: int, s: Settings) -> LRScheduler:
    """torch's peak is at step `pct_start total_steps - 1` and its end at `total_steps - 1`: told one step more."""
    share = (s["pct_start"] * total + 1) / (total + 1)
    names = ("cycle_momentum", "base_momentum", "max_momentum", "div_factor", "final_div_factor")
    return OneCycleLR(o, base, total + 1, pct_start=share, **{name: s[name] for name in names})


REFERENCES: dict[str, Callable[[float, int, Settings], Rates]] = {
    "constant": of(lambda o, base, total, s: ConstantLR(o, 1.0)),
    "step": of(lambda o, base, total, s: StepLR(o, s["every"], s["factor"])),
    "multistep": of(
        lambda o, base, total, s: MultiStepLR(
            o, [max(round(s[f"milestone{i}"] * total), 1) for i in (1, 2, 3)], s["factor"]
        )
    ),
    "exponential": of(lambda o, base, total, s: ExponentialLR(o, s["final_share"] ** (1 / total))),
    "polynomial": polynomial,
    "cosine": of(lambda o, base, total, s: CosineAnnealingLR(o, total, s["final_share"] * base)),
    "inverse": of(lambda o, base, total, s: LambdaLR(o, lambda t: s["tau"] * total / max(t, s["tau"] * total))),
    "inverse_sqrt": of(
        lambda o, base, total, s: LambdaLR(
            o, lambda t: inverse_sqrt(t + 1, max(s["peak"] * total, 1), s["rising"])
        )
    ),
    "wsd": of(stable_decay),
    "triangular": of(
        lambda o, base, total, s: CyclicLR(
            o, s["low_share"] * base, base, max(round(s["cycle"] * total), 2) / 2,
            mode="triangular2" if s["halve"] else "triangular", cycle_momentum=False,
        )
    ),
    "restarts": of(
        lambda o, base, total, s: CosineAnnealingWarmRestarts(
            o, max(round(s["first_cycle"] * total), 2), s["cycle_growth"], s["final_share"] * base
        )
    ),
    "onecycle": of(one_cycle),
    # Until it reacts; how it reacts is tested below.
    "plateau": of(lambda o, base, total, s: ConstantLR(o, 1.0)),
}  # fmt: skip
NAMES = [name for name, entry in SCHEDULES.items() if not entry.table]


def drawn(data: st.DataObject, name: str) -> Settings:
    """Settings of a schedule and its warm-up, all of them given."""
    return {hyper.name: data.draw(values(hyper)) for hyper in SCHEDULES[name].hypers}


def ours(name: str, base: float, total: int, chosen: Settings, rule: str = "momentum") -> Rates:
    """The same by the registry, as a race has it."""
    config = race("moons", [racer(rule, lr=base, schedule=(name, chosen))], steps=total)
    momentum = "beta1" if rule == "adamw" else "momentum"
    return list(zip(*(config.values(0, setting, 0, total) for setting in ("lr", momentum)), strict=True))


def assert_equal(found: Rates, expected: Rates, base: float) -> None:
    """To 1e-12 of each rate; of 1e-3 of the base where that is larger, since torch's recursions round on their way."""
    for (rate, momentum), (other, other_momentum) in zip(found, expected, strict=True):
        assert rate == pytest.approx(other, rel=1e-12, abs=1e-15 * base)
        assert momentum == pytest.approx(other_momentum, rel=1e-12)


@STEADY
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_schedule_equals_its_reference(name: str, data: st.DataObject) -> None:
    if name not in REFERENCES:
        pytest.fail(f"{name!r} is proved by nothing: say in REFERENCES what it must equal")
    total, base = data.draw(st.integers(1, 400)), data.draw(st.sampled_from([1e-4, 0.03, 1.0, 7.0]))
    chosen = drawn(data, name) | {"warmup": 0.0}
    assert_equal(ours(name, base, total, chosen), REFERENCES[name](base, total, chosen), base)


@STEADY
@given(data=st.data())
def test_one_cycle_moves_beta1_where_a_rule_has_one(data: st.DataObject) -> None:
    total, chosen = data.draw(st.integers(1, 300)), drawn(data, "onecycle") | {"warmup": 0.0}
    expected = recorded(lambda o: one_cycle(o, 0.02, total, chosen), 0.02, total, adam=True)
    assert_equal(ours("onecycle", 0.02, total, chosen, "adamw"), expected, 0.02)


@STEADY
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_warm_up_goes_before_any_schedule(name: str, data: st.DataObject) -> None:
    """LinearLR or ExponentialLR up to the schedule's first rate, then the schedule with the rest of the run to itself.

    torch's LinearLR counts from 0; ours begins with one part of the way instead of with nothing.
    """
    total, base = data.draw(st.integers(2, 300)), 0.3
    chosen = drawn(data, name) | {"warmup": data.draw(st.floats(0, 0.9))}
    begin = round(chosen["warmup"] * total)
    expected = REFERENCES[name](base, max(total - begin, 1), chosen)
    (first, momentum), *_ = expected

    def warm_up(o: Optimizer) -> LRScheduler:
        if chosen["warmup_exponential"]:
            return ExponentialLR(o, 100 ** (1 / begin))
        return LinearLR(o, 1 / begin, 1.0, max(begin - 1, 1))

    if begin:
        least = first * 0.01 ** (1 - 1 / begin) if chosen["warmup_exponential"] else first
        before = [(rate, momentum) for rate, _ in recorded(warm_up, least, begin)]
        expected = [*before, *expected]
    assert_equal(ours(name, base, total, chosen), expected[:total], base)


@STEADY
@given(total=st.integers(20, 300), begin=st.integers(2, 10), every=st.integers(1, 50))
def test_warm_up_and_schedule_are_torchs_sequence(total: int, begin: int, every: int) -> None:
    """SequentialLR of LinearLR and the schedule, as one writes it in torch."""
    pairs: dict[str, tuple[Settings, Callable[[Optimizer], LRScheduler]]] = {
        "cosine": ({}, lambda o: CosineAnnealingLR(o, total - begin)),
        "step": ({"factor": 0.5, "every": every}, lambda o: StepLR(o, every, 0.5)),
        "exponential": ({}, lambda o: ExponentialLR(o, 0.01 ** (1 / (total - begin)))),
    }
    for name, (chosen, after) in pairs.items():
        expected = recorded(
            lambda o, after=after: SequentialLR(o, [LinearLR(o, 1 / begin, 1.0, begin - 1), after(o)], [begin]),  # type: ignore[misc]
            0.3, total,
        )  # fmt: skip
        assert_equal(ours(name, 0.3, total, chosen | {"warmup": begin / total}), expected, 0.3)


@pytest.mark.parametrize("steps", [37, 150])
@pytest.mark.parametrize("warmup", [0.0, 0.15])
def test_plateau_cuts_where_torch_does(steps: int, warmup: float) -> None:
    """ReduceLROnPlateau, told the recorded smoothed loss from the end of the warm-up on; every run its own."""
    chosen: Sequence[Settings] = [
        {"factor": factor, "patience": patience, "warmup": warmup}
        for factor, patience in ((0.5, 0.02), (0.1, 0.05), (0.9, 0.01), (0.3, 0.1), (0.5, 1.0))
    ]
    contenders = [racer("sgd", lr=lr, schedule=("plateau", s)) for lr in (0.5, 3.0) for s in chosen]
    config = race("spirals", contenders, steps=steps, batch=8, seeds=3)
    _, records = advance(config, start(config, torch.float64), steps, Recording(probes=steps, names=("rate",)))
    begin, cuts = round(warmup * steps), 0
    for row in range(config.rows):
        contender = config.racers[row // 3]
        s, lr = dict(contender.schedule.settings), contender.get("lr")
        optimizer = SGD([Parameter(torch.zeros(1))], lr=lr)
        patience = max(round(s["patience"] * (steps - begin)), 1)
        torchs = ReduceLROnPlateau(optimizer, factor=s["factor"], patience=patience, threshold=1e-3, eps=0)
        expected = []
        for t in range(steps):
            expected.append(optimizer.param_groups[0]["lr"] * (min((t + 1) / begin, 1) if begin else 1))
            if t >= begin:
                torchs.step(records.smooth[t, row])
        assert records.probes["rate"][:, row] == pytest.approx(expected, rel=1e-12)
        known = [step for step in range(max(begin, 1), steps) if expected[step] < expected[step - 1]]
        assert [step for step in records.cuts[:, row] if step >= 0] == _as_many_as_are_kept(known, records.cuts)
        cuts += len(known)
    assert cuts > 20


def _as_many_as_are_kept(steps: list[int], cuts: np.ndarray) -> list[int]:
    """Of more cuts than are remembered, the last place holds the latest."""
    return steps if len(steps) <= len(cuts) else [*steps[: len(cuts) - 1], steps[-1]]
