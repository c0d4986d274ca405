"""What the racers' networks write while they learn: the same however a race is cut, and it changes no training."""

from itertools import pairwise

import numpy as np
import pytest

from core import Config, History, advance, edit, race, racer, run, start
from core.config import Racer
from core.state import Recording
from core.tasks import build
from tests.pools import InlineRaces
from ui import limits
from ui.charts import text_steps

SMALL = ("lstm", {"embedding": 4, "hidden": 8, "length": 4})
SPOILT = [edit(20, 1, "scale_gradient", factor=1e300)]  # the second racer's


def small(*racers: Racer, steps: int = 60, seeds: tuple[int, ...] = (5, 6)) -> Config:
    contenders = racers or (racer("sgd", lr=0.5), racer("sgd", lr=0.1), racer("adam", lr=0.01))
    return race(SMALL, contenders, steps=steps, batch=8, seeds=seeds, edits=SPOILT if not racers else ())


def in_slices(config: Config, stops: list[int]) -> History:
    state, records = start(config), []
    for first, last in pairwise([0, *stops, config.steps]):
        state, piece = advance(config, state, last - first)
        records.append(piece)
    return History.of(config, records)


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1200, 5000])
def test_texts_come_early_and_often_then_rarely_and_at_both_ends(steps: int) -> None:
    at = [step for step in range(steps + 1) if Recording().write_at(step, steps)]
    assert at[0] == 0 and at[-1] == steps and len(at) <= Recording().texts + 1
    assert at[1] <= 3, "the first steps change most"
    if steps >= 1200:
        assert len(at) >= 20
        gaps = [after - before for before, after in pairwise(at)]
        assert gaps == sorted(gaps) and gaps[-1] < steps / 8
        assert sum(step <= steps / 10 for step in at) >= 10


def test_slices_write_the_same_texts() -> None:
    config = small()
    whole = run(config)
    assert len(whole.texts) == len(whole.texts_at) > 10
    assert all(len(written) == 3 for written in whole.texts)
    for stops in ([1, 2, 3, 30], [59], [20, 20, 21]):
        pieces = in_slices(config, stops)
        assert (pieces.texts_at, pieces.texts) == (whole.texts_at, whole.texts)


def test_texts_change_no_training() -> None:
    config = small()
    often, rarely = run(config, recording=Recording(texts=60)), run(config, recording=Recording(texts=1))
    assert len(often.texts) > 20 and rarely.texts_at == (0, 60)
    np.testing.assert_array_equal(often.loss, rarely.loss)
    for name, values in often.evals.items():
        np.testing.assert_array_equal(values, rarely.evals[name], err_msg=name)
    assert often.texts[-1] == rarely.texts[-1], "nor do they depend on how often there are any"


def test_the_same_weights_write_the_same_text() -> None:
    """Before the first step all racers' networks are the same, and a racer's twin stays so."""
    history = run(small(racer("adam", lr=0.01), racer("sgd", lr=0.5), racer("adam", lr=0.01)))
    assert len(set(history.texts[0])) == 1
    assert all(one == twin for one, _, twin in history.texts)
    one, other, _ = history.texts[-1]
    assert one != other and one != history.texts[0][0]


def test_a_text_is_of_the_first_seed_and_of_the_racer_it_stands_with() -> None:
    """Rows stand by rule in the table, and racers in the order they were given."""
    mixed = [racer("sgd", lr=0.5), racer("adam", lr=0.01), racer("sgd", lr=0.1)]
    together = run(small(*mixed))
    for index, contender in enumerate(mixed):
        alone = run(small(contender, seeds=(5,)))
        assert [written[index] for written in together.texts] == [written for (written,) in alone.texts]
    config = small(*mixed, seeds=(6, 5))
    assert run(config).texts[-1] != together.texts[-1], "another first seed is another network, and other dice"


def test_averaged_weights_write_where_averaged_weights_are_reported() -> None:
    config = small(racer("sgd", lr=0.5), racer("sgd+ema", lr=0.5), seeds=(5,))
    state, _ = advance(config, start(config), config.steps)
    task = build(SMALL[0], tuple(config.task.settings))  # type: ignore[union-attr]
    stored = task.sample(state.params, 5, task.sample_length)
    raw, averaged = run(config).texts[-1]
    assert raw == stored[0]
    assert averaged != stored[1]


def test_who_has_diverged_writes_no_more_and_the_others_go_on() -> None:
    config = small()
    history = run(config)
    assert history.stopped.tolist() == [[-1, -1], [21, 21], [-1, -1]], "else the test shows nothing"
    for step, written in zip(history.texts_at, history.texts, strict=True):
        assert [text is None for text in written] == [False, step >= 21, False]


def test_a_network_that_does_not_write_is_asked_for_no_text() -> None:
    config = race("moons", [racer("sgd")], steps=20, seeds=1)
    history = run(config)
    assert history.texts_at == history.texts == ()
    assert text_steps(config) == []


def test_a_text_is_as_long_as_its_task_says() -> None:
    words = build(SMALL[0], tuple(small().task.settings))  # type: ignore[union-attr]
    assert 30 <= words.sample_length <= 50
    text = run(small()).texts[0][0]
    assert text is not None and 80 < len(text) < 400


def test_what_arrives_on_the_page_is_what_the_core_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLICE_SECONDS", "LONE_SLICE_SECONDS", "FIRST_SLICE_SECONDS"):
        monkeypatch.setattr(limits, name, 0.0)
    config, pool = small(), InlineRaces()
    found = pool.open(config)
    sizes = [found.size]
    for _ in range(config.steps):
        pool.ask(found)
        sizes.append(found.size)
    assert found.complete
    history = run(config)
    assert found.texts == list(zip(history.texts_at, history.texts, strict=True))
    assert found.texts_due == len(found.texts) == len(text_steps(config))
    letters = sum(len(text) for _, written in found.texts for text in written if text)
    assert found.size - sizes[0] >= letters > 1000, "they are counted where memory is counted"
