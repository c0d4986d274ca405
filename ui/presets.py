"""Scenarios worth a look, each one click and one sentence. What they show is whatever is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from core.config import Racer, Reset, race, racer
from core.tasks import TASKS
from ui.scenario import Scenario, default, scenario
from ui.settings import newcomer

Maker = Callable[[], Scenario]
WATCHED = "1"  # the speed at which an eye can follow a loss that falls from 6 to 0.5


@dataclass(frozen=True)
class Preset:
    """A name for the button, a sentence for who presses it, and the scenario."""

    name: str
    sentence: str
    make: Maker


def _race(task: str, racers: list[Racer], steps: int | None = None, seeds: int | None = None, **view: str) -> Scenario:
    """A race as it usually is on this task, but for what is given."""
    kind = TASKS[task]
    config = race(task, racers, steps=steps or kind.steps, batch=kind.batch, seeds=seeds or kind.seeds)
    shown = scenario(config)
    return replace(shown, view=replace(shown.view, **view))


def _tuned(rule: str, task: str = "digits", steps: int | None = None) -> Racer:
    kind = TASKS[task]
    return newcomer(race(task, [racer(rule)], steps=steps or kind.steps, batch=kind.batch), rule)


def _rate(rule: str) -> float:
    return float(_tuned(rule).get("lr"))


def _sgd_rate() -> Scenario:
    return _race("digits", [_tuned("sgd"), racer("adam", lr=_rate("sgd")), _tuned("adam")])


def _adam_rate() -> Scenario:
    return _race("digits", [racer("adam", lr=_rate("adam")), racer("sgd", lr=_rate("adam")), _tuned("sgd")])


def _out_of_the_box() -> Scenario:
    return _race("digits", [racer(rule) for rule in ("sgd", "adagrad", "rmsprop", "adam", "adamw")], seeds=9)


def _too_hot() -> Scenario:
    good = _rate("sgd")
    cut = ("step", {"factor": 0.1, "every": 500})
    hot = [racer("sgd", lr=min(factor * good, 10.0), schedule=cut) for factor in (10, 20)]
    return _race("digits", [_tuned("sgd"), *hot], chart="distance")


def _forget() -> Scenario:
    cut = ("step", {"factor": 0.3, "every": 250})
    cutting = [racer("adam", lr=0.01, schedule=cut, reset=reset) for reset in (Reset(), Reset("m"), Reset("all"))]
    return _race("digits", [racer("adam", lr=0.01), *cutting], chart="update")


def _memory() -> Scenario:
    return _race("digits", [_tuned("adam").but(beta1=beta) for beta in (0.0, 0.9, 0.99)], chart="m")


def _valley() -> Scenario:
    return _race("quadratic", [_tuned(rule, "quadratic", 300) for rule in ("sgd", "momentum", "adam")], steps=300)


def _spirals() -> Scenario:
    return _race("spirals", [_tuned(rule, "spirals") for rule in ("sgd", "momentum", "rmsprop", "adam")])


def _wrong_way() -> Scenario:
    published = [racer(rule, lr=0.01, beta2=0.99) for rule in ("adam", "amsgrad")]
    return _race("wrong_way", [*published, racer("sgd", lr=1e-4)], steps=5000)


def _classmates() -> Scenario:
    racers = [racer("adam", lr=0.1), racer("adam", lr=0.003), racer("sgd", lr=3.0), racer("momentum", lr=0.3)]
    return _race("words", racers, speed=WATCHED)


def _essay() -> Scenario:
    cooled = ("multistep", {"factor": 1 / 30, "milestone1": 100 / TASKS["lstm"].steps, "milestone2": 1.0})
    racers = [
        racer("adam", lr=0.3), racer("adam", lr=0.01), racer("sgd", lr=6.0), racer("momentum", lr=1.0),
        racer("adam", lr=0.3, schedule=cooled),
    ]  # fmt: skip
    return _race("lstm", racers, speed=WATCHED)


# Rates for presets with a schedule, found as core/tuned.json finds those without one: on a grid of 1, 2, 3, 5 a decade
# the smallest median validation loss over seeds 1000 to 1004, of the digits in 1,000 steps.
WARM_COSINE, COSINE, SCHEDULE_FREE = 1.0, 0.5, 0.3  # losses 0.1345, 0.1364 and 0.1625


def _good_schedule() -> Scenario:
    sgd = racer("sgd", lr=WARM_COSINE, schedule=("cosine", {"warmup": 0.05}))
    others = [racer(rule) for rule in ("rmsprop", "adam", "adamw", "lion", "muon", "prodigy")]
    return _race("digits", [sgd, *others], seeds=10)


def _no_schedule() -> Scenario:
    cosine, free = racer("sgd", lr=COSINE, schedule="cosine"), racer("schedule_free_sgd", lr=SCHEDULE_FREE)
    return _race("digits", [_tuned("sgd"), cosine, free], chart="val_loss")


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "The classmates",
            "A script generator, four settings of its optimizer: who gets below 0.5, and who stays above 2?",
            _classmates,
        ),
        Preset(
            "The script generator of the essay",
            "The same play for an LSTM. The fifth racer starts as hot as the first, then cools: is it repaired?",
            _essay,
        ),
        Preset(
            "A fair race",
            "Each at the rate with the lowest validation loss: what is left of the difference?",
            default,
        ),
        Preset("Adam at SGD's rate", "The rate that was tuned for SGD, given to Adam as well.", _sgd_rate),
        Preset("SGD at Adam's rate", "The rate that was tuned for Adam, given to SGD as well.", _adam_rate),
        Preset("Out of the box", "Five optimizers as their library makes them, nothing tuned.", _out_of_the_box),
        Preset(
            "Too hot to start",
            "SGD 10 and 20 times hotter for half the run, then a tenth of it: is it repaired?",
            _too_hot,
        ),
        Preset(
            "Forget at each decay",
            "Adam keeps or clears its memory when its rate is cut; a reset makes its steps larger for a while.",
            _forget,
        ),
        Preset("How much memory", "Adam with no, usual and long memory of the gradient (β₁).", _memory),
        Preset("Narrow valley", "A bowl 25 times steeper one way than the other: no data, no noise.", _valley),
        Preset(
            "SGD with a good schedule",
            "SGD with warm-up, a cosine and a tuned rate, against six as their libraries make them: what counts more?",
            _good_schedule,
        ),
        Preset(
            "No schedule needed?",
            "SGD at a constant rate, with a cosine, and Schedule-Free, each tuned: what does a schedule add?",
            _no_schedule,
        ),
        Preset(
            "Adam runs the wrong way",
            "One gradient in 101 is large and right, the rest small and wrong: Adam goes with the rest, AMSGrad not.",
            _wrong_way,
        ),
        Preset("Two spirals", "A harder shape to learn, for a small network.", _spirals),
    )
}
