"""Adapted classes: each the same as the class run plainly, kept from harming anybody, and named at start only.

The plug-ins in tests/plugins/ are the classes somebody might bring: own.py has the unusual ones, misbehaving.py those
that must end their own row and no other.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import benchmarks.adapter
from benchmarks.served import ROOT
from core import RULES, Config, History, Hyper, Racer, Reset, State, advance, edit, race, racer, start
from core import adapter as adapting
from core.adapter import adapt, adapted, load, register
from core.guests import host, wire
from core.guests.host import HOST
from core.state import OPTIMIZER_FAILED, WEIGHTS_NOT_FINITE
from tests.references import Problem
from tests.references.base import flat
from tests.strategies import table_rows
from ui.scenario import read, scenario, write

PLUGINS = ROOT / "tests" / "plugins"
STEPS, SEEDS = 30, (3, 0)
TASK = ("moons", {"width": 6, "depth": 1})
FINE = "misbehaving.Prints"  # behaves, but for its printing


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The classes of torch.optim, and the plug-ins."""
    load(f"torch.optim {PLUGINS / 'own.py'} {PLUGINS / 'misbehaving.py'}")
    yield
    for rule in adapted():
        del RULES[rule.name]
    HOST.end()


def small(*racers: Racer, steps: int = STEPS, seeds: Sequence[int] = SEEDS, **more: Any) -> Config:
    return race(TASK, racers, steps=steps, batch=16, seeds=seeds, **more)


def trained(config: Config, slices: Sequence[int] = (), between: Callable[[], object] = lambda: None) -> State:
    """In float64, in slices of these lengths and one more, the state pickled on its way from each to the next."""
    state = start(config, torch.float64)
    for count in (*slices, config.steps - sum(slices)):
        state, _ = advance(config, pickle.loads(pickle.dumps(state)), count)
        between()
    return state


def weights(config: Config, state: State, index: int) -> Tensor:
    """Of one racer, `[seeds, P]`."""
    return state.params[table_rows(config)[index]]


# ---------------------------------------------------------------- the class, as it is


CLASSES: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.01, "weight_decay": 0.01, "amsgrad": True},
    "AdamW": {"lr": 0.01, "betas": (0.8, 0.95)},
    "RMSprop": {"lr": 0.01, "centered": True, "alpha": 0.9},
    "NAdam": {"lr": 0.02, "momentum_decay": 0.01},
    "LBFGS": {"lr": 0.5, "max_iter": 4, "history_size": 5},
}


def plainly(config: Config, seed: int, make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> Tensor:
    """One run without any table or adapter, `[P]`: parameters, a loop, a closure."""
    task = config.build_task()
    p = task.initial([seed], torch.empty(0, dtype=torch.float64))[0]
    parameters = [
        torch.nn.Parameter(part.reshape(shape if task.layout.role(name) != "vector" else -1).clone())
        for part, (name, shape) in zip(p.split(task.layout.sizes), task.layout.shapes, strict=True)
    ]
    optimizer = make(parameters)
    for t in range(config.steps):
        batch = task.batch((seed,), t, config.batch, p)

        def closure(batch: Any = batch) -> Tensor:
            loss, g = task.loss_and_grad(flat(parameters).unsqueeze(0), batch)
            for parameter, part in zip(parameters, g[0].split(task.layout.sizes), strict=True):
                parameter.grad = part.view(parameter.shape).clone()
            return loss[0]

        closure()
        optimizer.step(closure)  # type: ignore[arg-type]
    return flat(parameters)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_does_here_what_it_does_in_a_plain_loop(name: str) -> None:
    """Bit for bit, for every seed."""
    given = CLASSES[name]
    settings = {key: value for key, value in given.items() if key != "betas"}
    if "betas" in given:
        settings["beta1"], settings["beta2"] = given["betas"]
    config = small(racer("sgd"), racer(f"torch.optim.{name}", **settings))
    found = weights(config, trained(config), 1)
    for row, seed in zip(found, SEEDS, strict=True):
        expected = plainly(config, seed, lambda parameters: getattr(torch.optim, name)(parameters, **given))
        assert torch.equal(row, expected)


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("SGD", {"lr": 0.05}),
        ("Adam", {"lr": 0.01, "beta1": 0.8, "eps": 1e-3, "weight_decay": 0.01, "clip": 0.5}),
        ("AdamW", {"lr": 0.01, "schedule": ("step", {"factor": 0.5, "every": 10})}),
        ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.5}),
        ("Adagrad", {"lr": 0.05, "reset": Reset("all", 10)}),
    ],
)
def test_it_equals_the_rule_of_the_table(rule: str, settings: dict[str, Any]) -> None:
    """Clipping, schedules and resets included: within 1e-9 over 30 steps."""
    config = small(racer(rule.lower(), **settings), racer(f"torch.optim.{rule}", **settings))
    state = trained(config)
    ours, theirs = weights(config, state, 0), weights(config, state, 1)
    assert float((ours - theirs).abs().max() / ours.abs().max()) < 1e-9
    assert not torch.equal(ours, weights(config, start(config, torch.float64), 0))


def test_a_number_that_was_typed_reaches_the_class_as_it_was_typed() -> None:
    """In float32, too, where 0.003 is not 0.003."""
    spec = RULES["torch.optim.AdamW"]
    h = type("H", (), {name: torch.tensor([[float(value)]]) for name, value in racer(spec.name, lr=0.003).settings})
    (arguments,) = spec.guest.arguments(h)  # type: ignore[union-attr]
    assert arguments == {
        "lr": 0.003, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False,
    }  # fmt: skip
    assert type(arguments["amsgrad"]) is bool


def test_a_rate_that_differs_between_groups_keeps_its_ratio() -> None:
    """And a schedule moves both: plain SGD with a tenth of the rate for vectors, in closed form."""
    config = race(
        Problem(0, 4), [racer("own.TwoRates", lr=0.1, schedule=("tabulated", {"values": [0.1, 0.2, 0.05]}))], steps=3
    )
    task = config.build_task()
    assert isinstance(task, Problem)
    vector = torch.cat([torch.full((size,), task.layout.role(name) == "vector") for (name, _), size in
                        zip(task.layout.shapes, task.layout.sizes, strict=True)])  # fmt: skip
    p = task.p
    for t, lr in enumerate([0.1, 0.2, 0.05]):
        p = p - torch.ones_like(p).masked_fill(vector, 0.1) * lr * task.gradient(p, t)
    assert torch.allclose(trained(config).params[0], p, rtol=1e-13, atol=0)


def test_a_class_without_a_rate_has_its_step_scaled() -> None:
    config = small(*(racer("own.NoRate", lr=lr) for lr in (1.0, 0.25)), steps=1)
    state = start(config, torch.float64)
    after, _ = advance(config, state, 1)
    whole, quarter = (weights(config, after, i) - weights(config, state, i) for i in (0, 1))
    assert torch.allclose(whole.abs(), torch.full_like(whole, 0.01), rtol=1e-9)
    assert torch.allclose(quarter, whole / 4, rtol=1e-9)


def test_a_setting_that_is_fixed_when_the_optimizer_is_made_ends_the_row() -> None:
    """`at` is no key of its parameter groups, so a schedule cannot reach it; a learning rate it can."""
    config = small(racer(FINE), racer(FINE), edits=[edit(5, 0, "set", setting="at", value=7)])
    history = run_of(config)
    assert history.words == {
        0: "ValueError: at is fixed once the optimizer is made",
        1: "ValueError: at is fixed once the optimizer is made",
    }
    assert history.stopped.tolist() == [[6, 6], [-1, -1]]


def run_of(config: Config, slices: Sequence[int] = ()) -> History:
    state, records = start(config, torch.float64), []
    for count in (*slices, config.steps - sum(slices)):
        state, record = advance(config, state, count)
        records.append(record)
    return History.of(config, records)


def test_gradients_that_a_class_asks_for_are_counted() -> None:
    """Curious takes one at the weights where the table's own was taken, which is not taken again, and three others."""
    config = small(racer("own.Curious", asks=3), racer("own.Curious", asks=0), racer("sgd"))
    state = trained(config)
    assert state.evaluations[table_rows(config)].tolist() == [[4 * STEPS] * 2, [STEPS] * 2, [STEPS] * 2]
    four = small(racer("sgd", lr=0.01), steps=1)
    (w,) = (weights(four, trained(four), 0),)
    once = small(racer("own.Curious", asks=0, lr=0.01), steps=1)
    assert torch.equal(weights(once, trained(once), 0), w)


def test_a_wrapper_goes_around_it() -> None:
    config = small(racer("adam+sam", lr=0.01, sam_rho=0.1), racer("torch.optim.Adam+sam", lr=0.01, sam_rho=0.1))
    state = trained(config, (7,))
    ours, theirs = weights(config, state, 0), weights(config, state, 1)
    assert float((ours - theirs).abs().max() / ours.abs().max()) < 1e-9
    assert state.evaluations.tolist() == [2 * STEPS] * 4


# ---------------------------------------------------------------- slices, resets, processes


MANY = ["torch.optim.Adam", "torch.optim.LBFGS", "torch.optim.Rprop", "torch.optim.ASGD", "own.Plain", "own.Noisy"]


def mixed(**more: Any) -> Config:
    return small(*(racer(rule, lr=0.01) for rule in MANY), racer("adam"), **more)


@pytest.fixture(scope="module")
def whole() -> State:
    return trained(mixed())


def assert_same(state: State, other: State) -> None:
    assert torch.equal(state.params, other.params)
    assert torch.equal(state.smooth, other.smooth)
    assert state.words == other.words == {}
    assert bool(torch.isfinite(state.params).all())


def test_slices_do_not_change_bits(whole: State) -> None:
    assert_same(trained(mixed(), (1, 3, 7, 1, 0, 12)), whole)


def test_another_process_goes_on_where_one_ended(whole: State) -> None:
    assert_same(trained(mixed(), (4, 9), HOST.end), whole)


def test_a_process_that_is_killed_in_a_step_is_replaced(whole: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a step reaches it, and between two rows of one; memories are fetched every 3 steps."""
    monkeypatch.setattr(wire, "JOURNAL_STEPS", 3)
    answer, send, turns = host._answer, HOST.send, set()
    counts = {"work": 0, "answers": 0}

    def kill() -> None:
        assert HOST._process is not None
        HOST._process.kill()
        HOST._process.wait()

    def sends(*message: Any) -> None:
        counts["work"] += message[0] == "work"
        if message[0] == "work" and counts["work"] == 9:
            kill()
        send(*message)

    def answers(*arguments: Any) -> bytes:
        counts["answers"] += 1
        turns.add(HOST.turn)
        if counts["answers"] == 333:
            kill()
        return answer(*arguments)

    monkeypatch.setattr(HOST, "send", sends)
    monkeypatch.setattr(host, "_answer", answers)
    assert_same(trained(mixed()), whole)
    assert len(turns) >= 3


def test_a_row_does_not_depend_on_its_neighbours(whole: State) -> None:
    config = mixed(seeds=(7, *SEEDS, 5))
    state = trained(config)
    for index in range(len(MANY)):
        assert torch.equal(weights(config, state, index)[1:3], weights(mixed(), whole, index))


def test_reset_makes_a_new_optimizer() -> None:
    """From step 10 on it is what an optimizer without a past does from the same weights."""
    config = small(*(racer(rule, lr=0.01, reset=Reset("all", 10)) for rule in MANY), steps=20)
    unreset = replace(config, racers=tuple(replace(each, reset=Reset()) for each in config.racers))
    before, _ = advance(unreset, start(unreset, torch.float64), 10)
    forgetful, _ = advance(config, before, 10)
    blank = start(unreset, torch.float64)
    fresh, _ = advance(unreset, replace(before, slots=blank.slots, ages=blank.ages, sealed=blank.sealed), 10)
    assert torch.equal(forgetful.params, fresh.params)
    went_on, _ = advance(unreset, before, 10)
    for index in range(len(MANY)):
        assert not torch.equal(weights(config, forgetful, index), weights(config, went_on, index))


def test_what_nobody_asks_about_any_more_is_let_go() -> None:
    """Guests of a slice that was cut short, too."""
    config = small(racer(FINE))
    opened: list[Any] = []
    rule = RULES[FINE]
    made = replace(rule, guest=lambda sealed: opened.append(weakref.ref(g := rule.guest(sealed))) or g)  # type: ignore[misc, func-returns-value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RULES, FINE, made)
        trained(config, (3, 4))
    gc.collect()
    assert len(opened) == 3 and all(reference() is None for reference in opened)
    assert len(HOST.left) >= 2


def test_the_process_ends_with_the_one_that_started_it() -> None:
    script = (
        "import os; from core.guests.host import HOST\n"
        "HOST.start(); print(HOST._process.pid, flush=True); os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert gone(int(done.stdout), 10)


def gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


# ---------------------------------------------------------------- misbehaviour


LIMIT = f"did not answer within {wire.STEP_SECONDS:g} s"
MISBEHAVIOUR = {
    "Raises": "ArithmeticError: no more (b)steps(/b) " + 81 * "x" + "…",
    "Leaves": "SystemExit: goodbye",
    "Reads": "EOFError",
    "Shrinks": "left weights of",
    "Sleeps": LIMIT,
    "HangsInC": LIMIT,
    "Exits": "ended its process (exit code 3)",
    "Allocates": "can't allocate memory",
}


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
def test_misbehaviour_ends_its_own_row_and_no_other(kind: str) -> None:
    """Its neighbours, of the same class, of another one and of the table, are those of a race without it."""
    good = [racer(f"misbehaving.{kind}", lr=0.05), racer("torch.optim.Adam", lr=0.01), racer("adam", lr=0.01)]
    bad = racer(f"misbehaving.{kind}", lr=0.05, at=12)
    seeds = (3, 0) if kind == "Raises" else (3,)
    alone, beside = run_of(small(*good, seeds=seeds)), run_of(small(good[0], bad, *good[1:], seeds=seeds), (5, 11))
    assert np.array_equal(beside.loss[:, [0, 2, 3]], alone.loss)
    assert np.isfinite(alone.loss).all()
    assert beside.stopped.tolist() == [[-1] * len(seeds), [12] * len(seeds), [-1] * len(seeds), [-1] * len(seeds)]
    assert (beside.reason[1] == OPTIMIZER_FAILED).all()
    assert set(beside.words) == {len(seeds) + i for i in range(len(seeds))}
    for words in beside.words.values():
        assert MISBEHAVIOUR[kind] in words
        assert len(words) <= wire.WORDS and words.isprintable() and not set(words) & set("<>&`[]")


def test_nan_ends_a_row_like_any_other() -> None:
    history = run_of(small(racer("misbehaving.GivesNaN", at=4), racer(FINE), steps=8))
    assert history.stopped.tolist() == [[4, 4], [-1, -1]]
    assert (history.reason[0] == WEIGHTS_NOT_FINITE).all() and history.words == {}


def test_a_row_that_has_ended_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that diverged, one that failed, and one whose loss has just stopped being finite."""
    asked: list[int] = []
    exchange = host.Guests._exchange

    def noted(self: host.Guests, rows: Sequence[host.Row], gradient: Any) -> None:
        if gradient:
            asked.append(len(rows))
        exchange(self, rows, gradient)

    monkeypatch.setattr(host.Guests, "_exchange", noted)
    dead = ("tabulated", {"values": [0.1, 1e200]})
    config = small(racer("torch.optim.SGD", schedule=dead), racer("torch.optim.SGD"), steps=8, seeds=(0,))
    history = run_of(config, (5,))
    last = int(history.stopped[0, 0])
    assert 2 <= last < 5
    assert asked == [2] * (last - 1) + [1] * (9 - last)


def test_what_cannot_be_handed_over_ends_in_its_first_step() -> None:
    history = run_of(small(racer("misbehaving.CannotBePickled"), steps=3, seeds=(0,)))
    assert history.stopped.tolist() == [[1]]
    assert "pickle" in history.words[0]


def test_too_large_a_memory_ends_with_the_slice() -> None:
    config = small(racer("misbehaving.Hoards", at=2), racer(FINE), steps=8, seeds=(0,))
    history = run_of(config, (4,))
    assert history.stopped.tolist() == [[5], [-1]]
    assert history.words == {0: f"ValueError: remembers more than {wire.SEAL_BYTES >> 20} MB"}


def test_a_step_may_ask_for_so_many_gradients() -> None:
    most = wire.GRADIENTS
    history = run_of(
        small(*(racer("own.Curious", lr=1e-4, asks=asks) for asks in (most - 1, most)), steps=2, seeds=(0,))
    )
    assert history.stopped.tolist() == [[-1], [1]]
    assert history.words == {1: f"RuntimeError: asked for more than {most} gradients in one step"}


def test_a_defect_of_a_task_is_no_fault_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out of `advance`, and the next race finds nothing of it in the pipe."""
    config = small(racer("own.Curious", lr=0.01), seeds=(0,))
    task = config.build_task()
    gradient, count = task.loss_and_grad, 0

    def breaks(p: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        nonlocal count
        count += 1
        if count == 7:
            raise LookupError("of the task")
        return gradient(p, batch)

    with monkeypatch.context() as patch:
        patch.setattr(task, "loss_and_grad", breaks)
        with pytest.raises(LookupError, match="of the task"):
            trained(config)
    assert trained(config).words == {}


# ---------------------------------------------------------------- names and settings


def test_a_signature_becomes_settings() -> None:
    rule = RULES["own.Plain"]
    hypers = {hyper.name: hyper for hyper in rule.hypers}
    assert list(hypers) == [
        "lr", "beta1", "beta2", "weight_decay", "momentum", "nesterov", "size1", "size2", "own_patience", "own_sam_rho",
        "shift", "keep", "clip",
    ]  # fmt: skip
    defaults = {name: hyper.default for name, hyper in hypers.items()}
    assert defaults == {
        "lr": 0.1, "beta1": 0.9, "beta2": 0.5, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False, "size1": 1e-6,
        "size2": 50.0, "own_patience": 3, "own_sam_rho": 0.05, "shift": -0.25, "keep": 200, "clip": 0.0,
    }  # fmt: skip
    assert {name: type(value) for name, value in defaults.items()} == {
        **dict.fromkeys(defaults, float), "nesterov": bool, "own_patience": int, "keep": int,
    }  # fmt: skip
    assert rule.face == ("beta1", "beta2")
    assert hypers["beta1"].label == "β₁" and hypers["weight_decay"].grid


def check_settings(rule: Any) -> None:
    """Every setting has a name an address can carry, and a slider in its domain that reaches its default."""
    names = [hyper.name for hyper in rule.hypers]
    assert len(set(names)) == len(names) and names[0] == "lr" and names[-1] == "clip"
    for hyper in rule.hypers:
        assert isinstance(hyper, Hyper) and hyper.name.isidentifier() and hyper.name.isascii() and hyper.help
        assert hyper.check(hyper.default) == hyper.default
        assert hyper.low <= hyper.default <= hyper.high
        if not isinstance(hyper.default, bool):
            stops = hyper.stops(hyper.default)
            assert 2 <= len(stops) <= 120, hyper
            assert [hyper.check(stop) for stop in stops] == stops


def test_every_class_of_torch_has_settings() -> None:
    public = {name: getattr(torch.optim, name) for name in torch.optim.__all__ if name != "Optimizer"}
    listed = {name for name, each in public.items() if isinstance(each, type)}
    assert {rule.name for rule in adapted() if rule.name.startswith("torch.")} == {f"torch.optim.{n}" for n in listed}
    for rule in adapted():
        check_settings(rule)
        assert racer(rule.name).spec is rule


def test_the_library_of_pytorch_optimizer() -> None:
    """All it lists is found; a sample of it trains. (benchmarks/adapter.py runs every one.)"""
    library = pytest.importorskip("pytorch_optimizer")
    before = set(RULES)
    try:
        rules = load("pytorch_optimizer")
        assert len(rules) == len(library.get_supported_optimizers()) > 100
        for rule in rules:
            check_settings(rule)
        sample = ["AdaBelief", "Prodigy", "SOAP", "ScheduleFreeAdamW", "Lion", "ADOPT", "ScalableShampoo"]
        config = small(*(racer(f"pytorch_optimizer.{name}", lr=0.01) for name in sample), steps=6)
        assert_same(trained(config, (2, 3)), trained(config))
    finally:
        for name in set(RULES) - before:
            del RULES[name]


def test_an_adapted_racer_is_written_and_read_like_any_other() -> None:
    config = small(
        racer("own.Plain", lr=0.2, beta1=0.5, own_patience=4, schedule="step", reset=Reset("all", 20)), seeds=(0, 1)
    )
    assert Config.from_json(config.to_json()) == config
    shown = scenario(config)
    assert read(write(shown)) == (shown, [])
    wrapped = scenario(replace(config, racers=(racer("torch.optim.Adam+sam", sam_rho=0.1),)))
    assert read(write(wrapped)) == (wrapped, [])


def test_a_stranger_cannot_name_a_class() -> None:
    shown, notes = read({"v": "1", "r0": "os.system", "r1": str(PLUGINS / "own.py"), "r2": "pytorch_optimizer.Lion"})
    assert [each.rule for each in shown.config.racers] == ["sgd"] * 3
    assert all("There is no optimizer" in note for note in notes) and len(notes) == 3


def test_adapt_and_register() -> None:
    rule = adapt(torch.optim.NAdam)
    assert rule.hypers == RULES["torch.optim.NAdam"].hypers and rule.guest == RULES["torch.optim.NAdam"].guest
    register(rule)  # once more is the same
    other = adapt(torch.optim.SGD, "mine")
    try:
        register(other)
        assert other.name == "mine" and racer("mine").spec is other
        assert trained(small(racer("mine"), steps=2)).words == {}
        with pytest.raises(ValueError, match="called mine already"):
            register(adapt(torch.optim.Adam, "mine"))
    finally:
        del RULES["mine"]
    for name in ("a+b", "a b", "a~b", "9", "ä"):
        with pytest.raises(ValueError, match="cannot be called"):
            register(replace(rule, name=name))


def test_a_file_that_has_changed_is_loaded_anew(tmp_path: Path) -> None:
    file = tmp_path / "changing.py"
    try:
        for default in (0.1, 0.2):
            head = f"import torch\nclass Mine(torch.optim.SGD):\n    def __init__(self, params, lr={default}):\n"
            file.write_text(f"{head}        super().__init__(params, lr)\n")
            (rule,) = load(str(file))
            assert racer("changing.Mine").get("lr") == default and RULES["changing.Mine"] is rule
            assert trained(small(racer("changing.Mine"), steps=2)).words == {}
    finally:
        RULES.pop("changing.Mine", None)


def test_a_class_that_no_other_process_can_import_is_refused() -> None:
    class Local(torch.optim.SGD):
        pass

    with pytest.raises(ValueError, match="put it into a file"):
        adapt(Local)


def test_what_cannot_be_loaded_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    before = list(RULES)
    files = f"{PLUGINS / 'broken.py'} {PLUGINS / 'deadly.py'} {PLUGINS / 'nowhere.py'}"
    assert load(f"nosuchpackage torch.optim.NoSuch torch.nn.Linear json {files} torch.optim.SGD") == [
        RULES["torch.optim.SGD"]
    ]
    assert list(RULES) == before
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("optimizers: ")]
    for words, line in zip(
        (
            "nosuchpackage",
            "no attribute",
            "no subclass",
            "no subclass",
            "this file is broken",
            "exit code 7",
            "nowhere.py",
        ),
        said,
        strict=True,
    ):
        assert " is left out: " in line and words in line


def test_one_class_that_cannot_be_had_does_not_cost_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of two files that give a class the same name, the first one has it."""
    (file := tmp_path / "own.py").write_text(
        "import torch\nclass Plain(torch.optim.SGD): pass\nclass Other(torch.optim.SGD): pass\n"
    )
    try:
        assert [rule.name for rule in load(str(file))] == ["own.Other"]
        assert load("'torch.optim.SGD") == []
    finally:
        RULES.pop("own.Other", None)
    said = capfd.readouterr().err
    assert "own.Plain is left out: there is an optimizer called own.Plain already" in said
    assert "'torch.optim.SGD is left out: No closing quotation" in said


def test_a_class_that_is_no_longer_there_ends_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "fleeting.py"
    file.write_text("import torch\nclass Fleeting(torch.optim.SGD): pass\n")
    (rule,) = load(str(file))
    file.unlink()
    try:
        history = run_of(small(racer(rule.name), racer(FINE), steps=3))
        assert history.stopped.tolist() == [[1, 1], [-1, -1]]
        assert "cannot be imported: FileNotFoundError" in history.words[0]
    finally:
        del RULES[rule.name]


def test_without_names_nothing_is_paid() -> None:
    """No process, no class, and nothing imported that torch does not import itself."""
    script = (
        "import sys, threading; import ui.worker as w; from core.adapter import load, adapted\n"
        "from core.guests.host import HOST\n"
        "load(''); w.begin(__import__('os').getppid(), '', '', adapted()); w.warm_up()\n"
        "assert HOST._process is None and HOST.turn == 0 and adapted() == ()\n"
        "assert not {'pytorch_optimizer', 'torch._dynamo'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_server_and_its_workers_know_what_was_named() -> None:
    """serve.py reads the variable; a class stays out of the server's process, and a race of it trains in a worker's."""
    script = (
        "import sys; import serve; from core import RULES, race, racer; from ui.live import races\n"
        "assert 'own.Plain' in RULES and 'plugin_own' not in str(list(sys.modules))\n"
        "pool = races(); found = pool.open(race('quadratic', [racer('own.Plain'), racer('sgd')], steps=100))\n"
        "while not found.complete:\n"
        "    assert not found.problem, found.problem\n"
        "    pool.ask(found); pool.wait(found, found.held['loss'])\n"
        "print(found.marks, found.tracks['loss'][:, 0, -1].tolist()); pool.close()\n"
    )
    environment = os.environ | {adapting.VARIABLE: f"'{PLUGINS / 'own.py'}' nosuchpackage"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] [") and "nan" not in done.stdout
    assert "nosuchpackage is left out: ModuleNotFoundError" in done.stderr


def test_the_page_says_how_slow_it_is() -> None:
    """The number in the sentence is about the one that was measured last."""
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert results["adapter.cost_over_table.r8"]["value"] == pytest.approx(adapting.SLOWER, rel=0.3)
    assert f"about {adapting.SLOWER} times" in RULES["torch.optim.NAdam"].idea


def test_the_measurement_runs() -> None:
    assert benchmarks.adapter.cost_over_table(rows=2, pairs=1, steps=3).value > 0  # type: ignore[operator]


# ---------------------------------------------------------------- the pipe


def test_the_pipe_keeps_whole_messages_and_its_limits() -> None:
    ends = [os.pipe(), os.pipe()]
    left, right = wire.Wire(ends[0][0], ends[1][1]), wire.Wire(ends[1][0], ends[0][1])
    for message in (b"", b"a", b"b" * 1000):
        left.send(message, 1.0)
    assert [right.receive(1.0) for _ in range(3)] == [b"", b"a", b"b" * 1000]
    with pytest.raises(TimeoutError):
        right.receive(0.01)
    with pytest.raises(TimeoutError):
        left.send(bytes(1 << 22), 0.01)
    right.close()
    with pytest.raises(EOFError):
        left.send(b"x", 1.0)
    with pytest.raises(EOFError):
        left.receive(1.0)
    left.close()


def test_an_abandoned_process_ends_itself() -> None:
    """By an alarm of the system, which no class that holds the interpreter can keep from ringing."""
    assert wire.ABANDONED_SECONDS > wire.FIRST_SECONDS > wire.STEP_SECONDS > 0
    script = (
        "from core.guests import child; child.ABANDONED_SECONDS = 1; import re\n"
        "child.Child(None).attempt(lambda: re.match('(a+)+$', 60 * 'a' + 'b'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60)
    assert -done.returncode == signal.SIGALRM
