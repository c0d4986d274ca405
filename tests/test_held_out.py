"""Held-out losses that rise: told where they clearly do, and nowhere else. The records are made."""

import numpy as np
import pytest

from core import Config, race, racer
from ui.charts import Array, track_fields, track_steps
from ui.held_out import HeldOut, rises

FALLING = np.linspace(5, 0.2, 21)
VALLEY = np.concatenate([np.linspace(5.8, 4, 6), np.linspace(4.1, 6.2, 15)])  # lowest at 5


def found(median: Array, train: Array = FALLING, spread: float = 0.0) -> list[int]:
    """The index of the minimum at each evaluation, for one racer whose seeds lie within a share of the median."""
    return [
        int(at) for at in rises(median[None], (1 - spread) * median[None], (1 + spread) * median[None], train[None])[0]
    ]


def test_a_valley_is_told_once_three_evaluations_stand_clearly_above_it() -> None:
    """VALLEY is above 1.05 times its minimum from index 7 on (4.25)."""
    assert found(VALLEY) == [-1] * 9 + [5] * 12


@pytest.mark.parametrize(
    "median, train, spread",
    [
        pytest.param(np.linspace(5, 4, 21), FALLING, 0.0, id="it falls"),
        pytest.param(4 + 0.19 * (np.arange(21) / 20), FALLING, 0.0, id="it rises by less than 5%"),
        pytest.param(VALLEY, FALLING[::-1], 0.0, id="the training loss rises with it"),
        pytest.param(VALLEY, FALLING, 0.25, id="the seeds' ranges overlap"),
        pytest.param(np.where(np.arange(21) % 4 == 1, 4.0, 5.0), FALLING, 0.0, id="it swings"),
        pytest.param(np.full(21, np.nan), FALLING, 0.0, id="it diverged"),
    ],
)
def test_no_rise_is_told_where(median: Array, train: Array, spread: float) -> None:
    assert found(median, train, spread) == [-1] * 21


def test_what_swings_about_a_level_is_not_said_to_rise() -> None:
    """2,000 noisy flat curves, their seeds alike: after the chance minimum nearly all the rest stands above it."""
    noise = np.random.default_rng(0).normal(1, 0.1, (2000, 61))
    told_of = (rises(noise, noise, noise, np.linspace(5, 1, 61)[None].repeat(2000, 0)) >= 0)[:, -1]
    assert told_of.mean() < 0.05
    rising = noise + np.linspace(0, 2, 61)
    assert (rises(rising, rising, rising, np.linspace(5, 1, 61)[None].repeat(2000, 0)) >= 0)[:, -1].mean() > 0.95


def test_it_is_taken_back_when_the_loss_falls_below_its_minimum() -> None:
    at = found(np.concatenate([VALLEY[:15], [3.9] * 6]))
    assert at[14] == 5 and at[15:] == [-1] * 6


def test_a_minimum_found_later_begins_anew() -> None:
    again = np.concatenate([VALLEY[:12], [3.0], np.linspace(3.3, 5, 8)])
    assert found(again)[11] == 5 and found(again)[-1] == 12


def test_it_does_not_depend_on_what_comes_after() -> None:
    whole = found(VALLEY)
    assert [found(VALLEY[: n + 1], FALLING[: n + 1])[-1] for n in range(21)] == whole


# --- the words and the marks


def evals(config: Config, values: dict[str, Array]) -> Array:
    """A track of evaluations: `name -> [racers, n]`, all seeds alike."""
    fields, count = track_fields(config)["eval"], len(track_steps(config)["eval"])
    track = np.full((len(config.racers), len(fields), count), np.nan)
    for name, rows in values.items():
        for part in ("mid", "lo", "hi"):
            track[:, fields.index(f"{name}.{part}")] = rows[:, :count]
    return track


def made(task: str, *rows: Array) -> tuple[Config, Array]:
    """A race of as many racers as rows, evaluated after each of 20 steps."""
    config = race(task, [racer(rule) for rule in ("adam", "sgd", "momentum")[: len(rows)]], steps=20, batch=4)
    return config, evals(config, {"val_loss": np.array(rows), "train_loss": np.array([FALLING] * len(rows))})


def test_a_text_overfits() -> None:
    config, track = made("lstm", VALLEY, np.linspace(5, 4, 21))
    (mark,), sentences = HeldOut.of(config).told(track)
    assert (mark.racer, mark.step, mark.kind, mark.known, mark.until) == (0, 5, "lowest", 9, None)
    assert mark.text == "Adam: held-out loss was lowest here (4.00 at step 5)"
    assert sentences[8] == ""
    assert set(sentences[9:]) == {"Adam: held-out loss has risen since step 5 while training loss fell: it overfits."}


def test_several_racers_share_a_sentence() -> None:
    config, track = made("wine", VALLEY, VALLEY, np.linspace(5, 4, 21))
    marks, sentences = HeldOut.of(config).told(track)
    assert [mark.racer for mark in marks] == [0, 1]
    assert sentences[-1] == (
        "Validation loss has risen for Adam since step 5 and SGD since step 5 while training loss fell: they overfit."
    )


def test_a_mark_that_was_wrong_ends_where_that_was_seen() -> None:
    config, track = made("lstm", np.concatenate([VALLEY[:15], [3.9] * 6]))
    (mark,), sentences = HeldOut.of(config).told(track)
    assert (mark.known, mark.until) == (9, 15) and sentences[14] and not any(sentences[15:])


def test_a_task_without_validation_data_is_told_nothing() -> None:
    config = race("quadratic", [racer("sgd")], steps=20)
    track = np.ones((1, len(track_fields(config)["eval"]), 21))
    assert HeldOut.of(config).told(track) == ([], [""] * 21)
