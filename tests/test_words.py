"""The sentences: one by one, and over random races held against the verdict they speak of."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.analysis import Answer, Floats, Verdict, verdict
from ui.words import lowest_words, overfitting_words, race_words

INF = float("inf")
LABELS = ("SGD", "Momentum", "Nesterov", "Adagrad", "RMSprop", "Adam", "AMSGrad", "AdamW")
CONDITIONS = "Step 720 of 1,000; each at its rate tuned on validation, same first guess, same data."
# Eight seeds around 1 with median 1; two patterns that agree on no seed, so that neither is ever ahead.
SEEDS = np.array([0.97, 0.98, 0.99, 1.0, 1.0, 1.01, 1.02, 1.03])
OTHER = SEEDS[[1, 0, 3, 2, 5, 4, 7, 6]]


def scaled(*medians: float) -> Floats:
    return np.outer(medians, SEEDS)


def say(
    labels: str,
    values: Floats,
    *,
    val: Verdict | None = None,
    marks: tuple[tuple[str, str], ...] = (),
    step: int = 720,
    setting: str | None = "each tuned",
) -> tuple[str, str]:
    seeds = values.shape[1]
    return race_words(
        labels.split(), verdict(values), val, step=step, steps=1000, seeds=seeds, marks=marks, setting=setting
    )


def with_lost_seeds(values: Floats, lost: dict[int, int]) -> Floats:
    """The same with the first few seeds of some racers diverged."""
    values = values.copy()
    for racer, seeds in lost.items():
        values[racer, :seeds] = INF
    return values


HEADLINES = {
    "a leader": (
        ("Momentum Adam SGD", scaled(0.0213, 0.052, 0.071)),
        "Momentum leads: training loss 0.0213, against Adam 0.0520 and SGD 0.0710.",
    ),
    "two racers": (("SGD Adam", scaled(2, 1)), "Adam leads: training loss 1.00, against SGD 2.00."),
    "no lead over the second": (
        ("Adam SGD RMSprop", np.stack([0.052 * SEEDS, 0.0521 * OTHER, 0.31 * SEEDS])),
        "Adam and SGD are level: training loss 0.0520 and 0.0521, no difference found; RMSprop is behind at 0.310.",
    ),
    "no lead in noise": (
        ("Adam SGD", np.array([[1.0, 2, 3, 4, 5, 6, 7, 8], [9.0, 9, 9, 5, 1, 1, 9, 1]])),
        "No difference found between Adam and SGD: training loss 4.50 and 7.00.",
    ),
    "all level": (
        ("Adam SGD RMSprop", np.stack([SEEDS, OTHER, SEEDS[::-1]])),
        "Adam, SGD and RMSprop are level: training loss 1.00, 1.00 and 1.00, no difference found.",
    ),
    "the leader is too noisy": (
        ("Adam SGD RMSprop", np.stack([[0.01] * 5 + [5.0] * 3, SEEDS, 2 * SEEDS])),
        "Best median: Adam, training loss 0.0100, against SGD 1.00 and RMSprop 2.00; no leader found.",
    ),
    "all diverged": (("A B C", np.full((3, 8), INF)), "All three diverged."),
    "both diverged": (("A B", np.full((2, 8), INF)), "Both diverged."),
    "all eight diverged": (("A B C D E F G H", np.full((8, 8), INF)), "All 8 diverged."),
    "all diverged on many seeds": (
        ("A B", with_lost_seeds(scaled(1, 2), {0: 4, 1: 8})),
        "Both diverged on at least half of the seeds.",
    ),
    "one diverged, as marked": (
        ("Adam Momentum SGD", with_lost_seeds(scaled(1, 0.02, 0.05), {0: 8})),
        "Adam diverged at step 41; Momentum leads SGD: training loss 0.0200 against 0.0500.",
    ),
    "one is left": (
        ("Adam Momentum SGD", with_lost_seeds(scaled(1, 0.02, 0.05), {0: 8, 2: 8})),
        "Adam and SGD diverged; Momentum is at training loss 0.0200.",
    ),
    "one seed": (
        ("Momentum Adam", scaled(0.0213, 0.052)[:, 4:5]),
        "Momentum is ahead on this one seed: training loss 0.0213, against Adam 0.0520. One seed proves nothing.",
    ),
    "few seeds": (
        ("Momentum Adam SGD", scaled(0.0213, 0.052, 0.071)[:, 1:7]),
        "Best median: Momentum, training loss 0.0213, against Adam 0.0520 and SGD 0.0710; too few seeds to say.",
    ),
    "few seeds, equal medians": (
        ("A B C", np.array([[1.0, 2, 3], [3.0, 2, 1], [4.0, 5, 6]])),
        "Best median: A and B, training loss 2.00, against C 5.00; too few seeds to say.",
    ),
    "identical": (
        ("SGD Momentum Adam", scaled(0.05, 0.05, 0.3)),
        "SGD and Momentum are identical here: training loss 0.0500; Adam is behind at 0.300.",
    ),
    "identical, and one unknown": (
        ("SGD Momentum Adam", np.stack([SEEDS, SEEDS, 1.001 * OTHER])),
        "SGD and Momentum are identical here: training loss 1.00, against Adam 1.00 (no difference found).",
    ),
    "identical on one seed": (
        ("SGD Momentum Adam", np.array([[1.0], [1.0], [2.0]])),
        "SGD and Momentum are identical here: training loss 1.00, against Adam 2.00. One seed proves nothing.",
    ),
    "one racer": (("Adam", scaled(0.052)), "Adam: training loss 0.0520 after 720 steps."),
    "one racer diverged": (("Adam", np.full((1, 8), INF)), "Adam diverged at step 41."),
    "eight racers, a leader": (
        (" ".join(LABELS), np.outer(2.0 ** np.arange(8), np.linspace(1, 1.1, 11))),
        "SGD leads: training loss 1.05, against Momentum 2.10, Nesterov 4.20 and 5 more.",
    ),
    "eight racers, few seeds": (
        (" ".join(LABELS), scaled(*range(1, 9))),
        "Best median: SGD, training loss 1.00, against Momentum 2.00, Nesterov 3.00 and 5 more; too few seeds to say.",
    ),
    "many behind": (
        ("A B C D E", np.vstack([SEEDS.repeat(2), OTHER.repeat(2), *np.outer([3, 4, 5], SEEDS.repeat(2))])),
        "A and B are level: training loss 1.00 and 1.00, no difference found; 3 more are behind.",
    ),
}


@pytest.mark.parametrize(("race", "expected"), HEADLINES.values(), ids=HEADLINES)
def test_headline(race: tuple[str, Floats], expected: str) -> None:
    assert say(*race, marks=(("Adam", "diverged at step 41"),))[0] == expected


def test_behind_the_leader_only() -> None:
    # C is behind A on all seeds; B, level with A by its median, is too noisy to be called ahead of C.
    noisy = [0.9, 0.9, 0.9, 1.0, 1.04, 3.0, 3.0, 3.0]
    assert say("A B C", np.stack([SEEDS, noisy, 1.5 * SEEDS]))[0] == (
        "A and B are level: training loss 1.00 and 1.02, no difference found; C is behind A at 1.50."
    )


@pytest.mark.parametrize(
    ("labels", "expected"), [("Adam SGD", "Same first guess, same data: ready."), ("Adam", "Adam is ready.")]
)
def test_at_the_start(labels: str, expected: str) -> None:
    headline, detail = say(labels, np.full((len(labels.split()), 8), 2.3), step=0)
    assert headline == expected
    assert detail.startswith("Step 0 of 1,000; ")
    assert detail.count(".") == 1


def test_one_step_is_no_plural() -> None:
    assert say("Adam", scaled(2.3), step=1)[0] == "Adam: training loss 2.30 after 1 step."


@pytest.mark.parametrize(
    ("setting", "clause"),
    [
        (None, ""),
        ("same rate", "all at the same rate, "),
        ("library defaults", "each at its library's default rate, "),
        ("each tuned", "each at its rate tuned on validation, "),
        ("each at a rate of its own", "each at a rate of its own, "),
    ],
)
def test_conditions(setting: str | None, clause: str) -> None:
    detail = say("A B", scaled(1, 1), setting=setting)[1]
    assert detail.startswith(f"Step 720 of 1,000; {clause}same first guess, same data. ")


def accuracies(*medians: float, seeds: int = 8) -> Verdict:
    return verdict(np.array(medians)[:, None] + (SEEDS[:seeds] - 1) / 10, higher_is_better=True)


NONE_FOUND = verdict(np.stack([SEEDS, OTHER, SEEDS[::-1]]), higher_is_better=True)
DETAILS = {
    "one is beaten": (
        ("Momentum SGD", scaled(1, 2), None),
        "Momentum beats SGD on 8 of 8 seeds (p = 0.0078, Holm).",
    ),
    "two are beaten": (
        ("Momentum Adam SGD", scaled(1, 2, 3), NONE_FOUND),
        "Momentum beats Adam and SGD on 8 of 8 seeds each (p = 0.023, Holm). Validation accuracy: no difference found.",
    ),
    "beaten unequally": (
        ("A B C", np.stack([SEEDS, 2 * SEEDS, [0.96, 3, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6]]), None),
        "A beats B and C on at least 7 of 8 seeds each (p ≤ 0.032, Holm).",
    ),
    "another best by accuracy": (
        ("Momentum Adam SGD", scaled(1, 2, 3), accuracies(0.8, 0.9, 0.7)),
        "Momentum beats Adam and SGD on 8 of 8 seeds each (p = 0.023, Holm). "
        "Validation accuracy: Adam beats Momentum and SGD (p = 0.023).",
    ),
    "nothing found": (
        ("A B", np.stack([SEEDS, OTHER]), None),
        "Training loss: no difference found (smallest p = 1, Holm).",
    ),
    "the second beats the third": (
        ("Adam SGD RMSprop", np.stack([[0.01] * 5 + [5.0] * 3, SEEDS, 2 * SEEDS]), None),
        "SGD beats RMSprop on 8 of 8 seeds (p = 0.023, Holm).",
    ),
    "identical": (("A B", scaled(1, 1), None), "Training loss: identical on all 8 seeds."),
    "too few": (
        ("A B C", scaled(1, 2, 3)[:, :6], accuracies(0.7, 0.8, 0.9, seeds=6)),
        "Too few seeds to say (7 needed for 3 racers).",
    ),
    "all diverged": (("A B", np.full((2, 8), INF), None), ""),
    "two seeds lost": (
        ("SGD Adam", with_lost_seeds(scaled(1, 2), {1: 2}), None),
        "Adam diverged on 2 of 8 seeds. SGD beats Adam on 8 of 8 seeds (p = 0.0078, Holm).",
    ),
    "too long with the wins": (
        (
            "Nesterov Momentum RMSprop",
            with_lost_seeds(scaled(1, 2, 3), {0: 1, 1: 2}),
            accuracies(0.9, 0.8, 0.7),
        ),
        "Nesterov and Momentum diverged on some seeds or blew up. Nesterov beats Momentum (p = 0.047, Holm). "
        "Validation accuracy: Nesterov beats Momentum and RMSprop (p = 0.023).",
    ),
    "many with lost seeds": (
        ("A B C D", with_lost_seeds(scaled(1, 1, 1, 1), {0: 1, 1: 1, 2: 1, 3: 1}), None),
        "A, B, C and D diverged on some seeds or blew up. Training loss: identical on all 8 seeds.",
    ),
}


@pytest.mark.parametrize(("race", "expected"), DETAILS.values(), ids=DETAILS)
def test_detail(race: tuple[str, Floats, Verdict | None], expected: str) -> None:
    labels, values, val = race
    assert say(labels, values, val=val)[1] == f"{CONDITIONS} {expected}".strip()


def test_a_tiny_p() -> None:
    values = np.outer([1, 2], np.linspace(1, 2, 12))
    assert say("A B", values)[1].endswith("A beats B on 12 of 12 seeds (p < 0.001, Holm).")


def test_a_racer_that_blew_up_keeps_its_number() -> None:
    headline, detail = say("Adam SGD", scaled(84, 0.05), marks=(("Adam", "blew up at step 41"),))
    assert headline == "SGD leads: training loss 0.0500, against Adam 84.0."
    assert "Adam blew up at step 41." in detail


@pytest.mark.parametrize(("seeds", "clause"), [(1, "one seed"), (8, "median of 8 seeds")])
def test_one_racer_has_no_opponents(seeds: int, clause: str) -> None:
    assert say("Adam", scaled(1)[:, :seeds], val=verdict(scaled(1)[:, :seeds]))[1] == f"Step 720 of 1,000; {clause}."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.02134, "0.0213"),
        (0.001, "0.00100"),
        (0.0000123, "1.2e-5"),
        (0.99999, "1.00"),
        (99.97, "100"),
        (999.4, "999"),
        (999.6, "1,000"),
        (9999.4, "9,999"),
        (123456.0, "1.2e5"),
        (-0.5, "-0.500"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert say("Adam", np.array([[value]]))[0] == f"Adam: training loss {text} after 720 steps."


def test_a_race_of_accuracies_is_in_percent() -> None:
    headline, _ = race_words(
        ("A", "B"), accuracies(0.9, 0.967), None, step=1, steps=2, seeds=8, loss_name="test accuracy"
    )
    assert headline == "B leads: test accuracy 96.7%, against A 90.0%."


@pytest.mark.parametrize(("labels", "seeds"), [(("A",), 8), (("A", "B"), 7)])
def test_refuses_what_is_not_one_race(labels: tuple[str, ...], seeds: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        race_words(labels, verdict(scaled(1, 2)), None, step=1, steps=2, seeds=seeds)
    with pytest.raises(ValueError, match="does not fit"):
        race_words(("A", "B"), verdict(scaled(1, 2)), verdict(scaled(1)), step=1, steps=2, seeds=8)


@st.composite
def races(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Losses and accuracies of one race: clear, level, tied, diverged, or all of it."""
    racers, seeds = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = rng.choice([0.0, 1e-6, 0.02, 0.021, 0.3, 5.0, 1e7], size=(racers, 1))
    noise = draw(st.sampled_from([0.0, 0.01, 0.3, 2.0]))
    losses = levels * np.exp(noise * rng.normal(size=(racers, seeds)))
    losses = np.round(losses, draw(st.sampled_from([1, 3, 12])))
    if draw(st.booleans()):  # two of one configuration
        losses[-1] = losses[0]
    lost = rng.random(losses.shape) < rng.choice([0.0, 0.2, 1.0], p=[0.6, 0.2, 0.2], size=(racers, 1))
    accuracies = np.round(rng.beta(20, 1 + 10 * rng.random((racers, 1)), size=losses.shape), 2)
    return np.where(lost, INF, losses), np.where(lost, -INF, accuracies)


def established(judged: Verdict, first: str, second: str) -> bool:
    return any(
        (LABELS[pair.first], LABELS[pair.second], pair.answer) == (first, second, Answer.DIFFERENCE)
        for pair in judged.pairs
    )


def listed(text: str) -> list[str]:
    """The labels in a list such as "Adam 0.05, SGD 0.07 and 5 more"."""
    return [word for word in re.findall(r"[A-Za-z]+", text) if word in LABELS]


def more(text: str) -> int:
    return sum(int(count) for count in re.findall(r"(\d+) more", text))


@given(races(), st.integers(0, 1000), st.sampled_from([None, "same rate", "each tuned"]))
@settings(max_examples=300, deadline=None)
def test_words_claim_no_more_than_the_verdict(race: tuple[Floats, Floats], step: int, setting: str | None) -> None:
    losses, accuracy = race
    racers, seeds = losses.shape
    train, val = verdict(losses), verdict(accuracy, higher_is_better=True)
    headline, detail = race_words(LABELS[:racers], train, val, step=step, steps=1000, seeds=seeds, setting=setting)
    assert not re.search(r"\b(nan|inf)", f"{headline} {detail}", re.IGNORECASE)
    assert headline.endswith(".")
    assert detail.endswith(".")
    assert "  " not in headline + detail
    assert len(headline) <= (150 if racers <= 3 else 200)
    assert len(detail) <= (240 if racers <= 3 else 300)

    if lead := re.search(r"(\w+) leads(.*)", headline):
        assert listed(lead[2])
        assert all(established(train, lead[1], other) for other in listed(lead[2]))
        running = [r for r in range(racers) if np.isfinite(train.medians[r])]
        assert len(listed(lead[2])) + more(lead[2]) == len(running) - 1
        assert all(established(train, lead[1], LABELS[r]) for r in running if LABELS[r] != lead[1])
    if behind := re.search(r"([^;]*) (?:is|are) behind", headline):
        assert all(established(train, LABELS[train.leader], other) for other in listed(behind[1]))
    for judged, text in zip((train, val), detail.split("Validation accuracy:"), strict=False):
        for winner, beaten in re.findall(r"(\w+) beats (.*?) (?:on|\(p)", text):
            assert all(established(judged, winner, other) for other in listed(beaten))
            wins = [p for p in judged.pairs if LABELS[p.first] == winner and p.answer is Answer.DIFFERENCE]
            assert len(listed(beaten)) + more(beaten) == len(wins)
    if "no difference found" in detail.lower().split("validation")[0]:
        assert not any(pair.answer is Answer.DIFFERENCE for pair in train.pairs)


# --- held-out losses that rise, and losses above guessing


def test_racers_above_guessing_are_named_with_its_loss() -> None:
    values = scaled(5.9, 6.0, 1.0)
    for worse, said in (
        (["Adam"], "Adam stands above guessing (ln 332 = 5.81)."),
        (["Adam", "SGD"], "Adam and SGD stand above guessing (ln 332 = 5.81)."),
    ):
        _, detail = race_words(
            ["Adam", "SGD", "RMSprop"], verdict(values), None, step=720, steps=1000, seeds=8,
            worse=(worse, "guessing (ln 332 = 5.81)"),
        )  # fmt: skip
        assert f"same data. {said}" in detail
    assert "guessing" not in say("Adam SGD RMSprop", values)[1]


def test_of_a_rise_it_is_said_whose_and_since_when() -> None:
    assert overfitting_words([], "held-out loss") == ""
    assert overfitting_words([("Adam", 1320)], "held-out loss") == (
        "Adam: held-out loss has risen since step 1,320 while training loss fell: it overfits."
    )
    assert overfitting_words([("Adam", 2), ("SGD", 30)], "validation loss") == (
        "Validation loss has risen for Adam since step 2 and SGD since step 30 while training loss fell: they overfit."
    )
    assert lowest_words(4.0812, 320, "held-out loss") == "held-out loss was lowest here (4.08 at step 320)"
