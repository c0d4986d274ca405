"""Remedies as racers of one race, and what a bad gradient has cost each of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core import Config, Edit, edit, race, racer, run
from core.analysis import Answer, against, verdict
from core.remedies import NOTHING, REMEDIES, TWIN, delays, remedied, standings
from ui.remedies import headline, refused, rows

STEPS = 400
SPIKE = (edit(50, 0, "scale_gradient", factor=1000.0),)


def trunk(rule: str = "adam", seeds: int = 1, **settings: Any) -> Config:
    return race(("digits", {"width": 8}), [racer(rule, **settings)], steps=STEPS, seeds=seeds)


def what_happens(config: Config, index: int) -> list[tuple[int, str]]:
    return sorted((each.step, each.what.name) for each in config.edits if each.racer == index)


def test_every_remedy_is_a_racer_with_the_spike_beside_a_twin_without() -> None:
    own = edit(10, 0, "reset", what="m")
    config = remedied(replace(trunk(), edits=(own,)), SPIKE, REMEDIES)
    assert len(config.racers) == 2 + len(REMEDIES)
    assert config.racers[NOTHING] == config.racers[TWIN] == trunk().racers[0]
    assert what_happens(config, TWIN) == [(10, "reset")]
    spiked = [(10, "reset"), (50, "scale_gradient")]
    for index, name in enumerate(["", "", *REMEDIES]):
        if index != TWIN:
            assert what_happens(config, index) == spiked + [(51, "reset")] * (name == "reset")
    by_name = dict(zip(REMEDIES, config.racers[2:], strict=True))
    assert by_name["clip"].get("clip") == 1
    assert by_name["beta2"].get("beta2") == 0.99
    assert by_name["warmup"].schedule.get("warmup") == 0.5, "2,000 steps are more than the run has"
    assert [by_name[name].rule for name in ("amsgrad", "radam", "stableadamw", "spam")] == [
        "amsgrad", "radam", "stableadamw", "spam",
    ]  # fmt: skip


def test_another_rule_keeps_the_settings_that_both_have() -> None:
    start = trunk(lr=0.01, beta1=0.8, beta2=0.95, schedule="cosine")
    (found,) = remedied(start, SPIKE, ["stableadamw"]).racers[2:]
    assert [found.get(name) for name in ("lr", "beta1", "beta2", "weight_decay")] == [0.01, 0.8, 0.95, 0.0]
    assert found.schedule == start.racers[0].schedule
    (warm,) = remedied(start, SPIKE, ["warmup"]).racers[2:]
    assert (warm.schedule.name, warm.schedule.get("warmup")) == ("cosine", pytest.approx(2 / 0.05 / STEPS))


@pytest.mark.parametrize(
    ("config", "spike", "name", "said"),
    [
        (trunk("sgd"), SPIKE, "reset", "SGD remembers nothing, so there is nothing to reset."),
        (trunk("sgd"), SPIKE, "beta2", "SGD has no beta2."),
        (trunk(beta2=0.0), SPIKE, "beta2", "Adam with β₂ = 0 forgets v at once already."),
        (trunk("momentum"), SPIKE, "radam", "RAdam takes the place of Adam, and this is Momentum."),
        (trunk("spam"), SPIKE, "spam", "This is SPAM already."),
        (trunk(clip=0.5), SPIKE, "clip", "Adam clips its gradient already."),
        (trunk(schedule=("constant", {"warmup": 0.1})), SPIKE, "warmup", "Adam warms up already."),
        (trunk(), (edit(STEPS - 1, 0, "mislabel"),), "reset", "The run ends with the spike: nothing is left"),
        (trunk(), SPIKE, "prayer", "There is no remedy 'prayer'."),
        (race("digits", [racer("adam"), racer("sgd")]), SPIKE, "clip", "one racer, and this race has 2"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(config: Config, spike: tuple[Edit, ...], name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        remedied(config, spike, [name])


def made(curves: list[list[list[float]]]) -> NDArray[np.float64]:
    """Smoothed losses `[racers][seeds][T]` as `[T, racers, seeds]`."""
    return np.array(curves).transpose(2, 0, 1)


def falling(late: int, steps: int = 40) -> list[float]:
    """A loss that stands still for so many steps, and then falls by one a step."""
    return [float(100 - max(t - late, 0)) for t in range(steps)]


def test_delays_are_steps_behind_the_twin_and_a_diverged_run_is_the_worst() -> None:
    lost = [*falling(0)[:20], *[np.nan] * 20]
    curves = made([[falling(10)], [falling(2)], [falling(5)], [lost]])
    steps, at_least = delays(curves)
    assert steps[:, 0].tolist() == [8, 0, 3, np.inf]
    assert not at_least.any()
    assert delays(curves, 5)[0][:, 0].tolist() == [40, 0, 15, np.inf], "of samples every fifth step"


def test_the_ranking_is_by_delay_and_claims_what_the_seeds_allow() -> None:
    few = standings(made([[falling(10)] * 3, [falling(2)] * 3, [falling(5)] * 3]))
    assert [each.racer for each in few] == [2, NOTHING]
    assert (few[0].median, few[0].interval, few[0].ahead) == (3, (3, 3), True)
    assert (few[0].answer, few[1].answer) == (Answer.TOO_FEW, None)
    many = standings(made([[falling(10)] * 8, [falling(2)] * 8, [falling(5)] * 8, [falling(20)] * 8]))
    assert [(each.racer, each.answer, each.ahead) for each in many] == [
        (2, Answer.DIFFERENCE, True), (NOTHING, None, False), (3, Answer.DIFFERENCE, False),
    ]  # fmt: skip
    names = ["nothing", "twin", "B", "C"]
    assert headline(few, names, 3).endswith("that takes at least 6 seeds for 1 of them.")
    assert headline(many, names, 8) == "Behind by fewer steps than doing nothing: B. Behind by more: C."


def test_a_seed_whose_twin_has_diverged_says_nothing() -> None:
    lost = [*falling(0)[:20], *[np.nan] * 20]
    assert np.isnan(delays(made([[falling(10)], [lost]]))[0]).all()
    whole = standings(made([[falling(10)] * 3, [falling(2)] * 3, [falling(5)] * 3]))
    assert standings(made([[*[falling(10)] * 3, lost], [*[falling(2)] * 3, lost], [*[falling(5)] * 3, lost]])) == whole
    assert standings(made([[falling(10)], [lost], [falling(5)]])) == []


def test_reset_now_is_the_step_after_a_too_large_first_one() -> None:
    rate = trunk().racers[0].get("lr")
    first = (edit(0, 0, "set", setting="lr", value=1.0), edit(1, 0, "set", setting="lr", value=rate))
    (reset,) = [each for each in remedied(trunk(), first, ["reset"]).edits if each.what.name == "reset"]
    assert reset.step == 1


def test_against_one_named_before_is_a_smaller_family_than_all_pairs() -> None:
    values = np.arange(4)[:, None] + np.linspace(1, 2, 7)[None]
    assert [pair.answer for pair in against(values, 0)] == [Answer.DIFFERENCE] * 3
    assert {pair.answer for pair in verdict(values).pairs} == {Answer.TOO_FEW}
    for pair, row in zip(against(values, 2), (0, 1, 3), strict=True):
        assert {pair.first, pair.second} == {2, row} and pair.first == min(2, row)
    with pytest.raises(ValueError, match="reference must be a row of 4"):
        against(values, 4)


def test_a_spike_of_a_thousand_costs_adam_steps_that_clipping_does_not() -> None:
    """Measured on the engine: the lasting harm is in v, and a clipped gradient does not reach it."""
    history = run(remedied(trunk(seeds=3), SPIKE, ["clip", "reset"]))
    steps, _ = delays(history.smooth)
    assert (steps[NOTHING] > 10 + steps[2:]).all()
    table = rows(standings(history.smooth), ["nothing", "twin", "clipped", "reset"])
    assert {row["Remedy"] for row in table} == {"nothing", "clipped", "reset"}
    assert table[-1]["Remedy"] == "nothing"


def test_a_page_is_told_which_remedies_a_racer_cannot_have() -> None:
    assert refused(trunk(), SPIKE) == {}
    assert set(refused(trunk("sgd"), SPIKE)) == set(REMEDIES) - {"clip"}
    assert refused(trunk("amsgrad"), SPIKE) == {"amsgrad": "This is AMSGrad already."}
