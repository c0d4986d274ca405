"""The pool and the cache, without a browser: fair, bounded, and deaf to the death of a worker."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loky.process_executor import BrokenProcessPool

from core import Config, Edit, advance, edit, race, racer, start
from core.fork import branch
from core.lens import Lens
from tests.pools import InlineRaces, Waiting, settle
from ui import limits, worker
from ui.charts import track_steps
from ui.extra import Extra
from ui.kept import Kept, put, take
from ui.microscope import note, place, step_of, table
from ui.races import Race, Races

PATIENCE = 60.0  # seconds until a test gives up; none of them waits for time to pass


def small(seed: int = 0, steps: int = 5000) -> Config:
    """A race of many short steps; another seed is another race."""
    return race("quadratic", [racer("sgd", lr=0.01), racer("adam", lr=0.01)], steps=steps, seeds=(seed,))


def undisturbed(config: Config) -> Race:
    """The whole race, trained in one go and in this process."""
    pool = InlineRaces()
    found = pool.open(config)
    pool._append(found, worker.train(config, None, Path(os.devnull), 3600.0))
    assert found.complete
    return found


def assert_equal(one: Race, other: Race) -> None:
    """All that a browser could see of two races is the same."""
    assert one.step == other.step and one.held == other.held
    for name, values in one.tracks.items():
        np.testing.assert_array_equal(values, other.tracks[name], err_msg=name)
    assert one.verdicts == other.verdicts
    assert one.texts == other.texts
    assert (one.marks, one.test) == (other.marks, other.test)


def until(pool: Races, condition: Callable[[], object]) -> None:
    """Wait for what a slice brings."""
    with pool._changed:
        assert pool._changed.wait_for(condition, PATIENCE), "it did not happen"


def finish(pool: Races, found: Race) -> None:
    """Pull until the race is complete, as a browser does."""
    while not found.complete:
        assert found.problem is None, found.problem
        pool.ask(found)
        until(pool, lambda: found.pending is None)


@pytest.fixture(scope="module")
def pool() -> Iterator[Races]:
    """One worker process for those tests that do not harm it."""
    found = Races(workers=1)
    found.warm()
    yield found
    found.close()


# --- with worker processes


def test_a_race_trained_in_slices_by_workers_is_the_race(pool: Races) -> None:
    config = race("digits", [racer("sgd", lr=0.2), racer("adam", lr=0.003)], steps=200, seeds=3)
    found = pool.open(config)
    finish(pool, found)
    assert found.state is None, "what is complete need not be kept"
    assert_equal(found, undisturbed(config))


def test_thirty_races_take_turns(monkeypatch: pytest.MonkeyPatch, pool: Races) -> None:
    """Each one asks again as soon as it was served; still all are served before any is served twice over."""
    served: list[int] = []
    append = pool._append

    def noted(found: Race, done: worker.Slice) -> None:
        served.append(found.config.seeds[0])
        append(found, done)

    monkeypatch.setattr(pool, "_append", noted)
    races = [pool.open(small(100 + seed)) for seed in range(30)]
    for found in races:
        pool.ask(found)
    while not all(found.held["loss"] for found in races):
        until(pool, lambda: any(found.pending is None for found in races))
        for found in races:  # those at the head of the class are also the quickest to ask again
            pool.ask(found)
    first_turns = served[: served.index(races[-1].config.seeds[0]) + 1]
    assert len(set(first_turns)) == 30
    assert max(first_turns.count(seed) for seed in first_turns) <= 2
    for found in races:
        pool.leave(found.config)
    until(pool, lambda: all(found.pending is None for found in races))


def test_a_killed_worker_is_replaced_and_the_race_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    config = race("digits", [racer(rule) for rule in ("sgd", "momentum", "adam")], steps=1000, seeds=8)
    pool = Races(workers=1)
    try:
        found = pool.open(config)
        pool.ask(found)
        until(pool, lambda: found.pending is None)
        before, (first,) = found.step, pool._pool._processes  # type: ignore[union-attr]
        assert 0 < before < config.steps
        with monkeypatch.context() as patch:  # a slice that is in work for as long as the race lasts
            patch.setattr(limits, "SLICE_SECONDS", 3600.0)
            pool.ask(found)
        deadline = time.monotonic() + PATIENCE
        while not (found.pending and found.pending.running()) and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(first, signal.SIGKILL)
        until(pool, lambda: found.pending is None)
        assert (found.failures, found.step, found.problem) == (1, before, None), "the slice is lost, and no more"
        finish(pool, found)
        assert found.failures == 0
        (second,) = pool._pool._processes  # type: ignore[union-attr]
        assert second != first
    finally:
        pool.close()
    assert_equal(found, undisturbed(config))


def test_a_race_that_kills_its_workers_is_given_up_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RETRIES", 1)

    class Deadly(Races):
        def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
            return super()._submit(os._exit, 1)

    pool = Deadly(workers=1)
    try:
        found = pool.open(small())
        for failures in (1, 1):
            assert found.problem is None
            pool.ask(found)
            until(pool, lambda: found.pending is None)
            assert found.failures == failures
        assert found.problem is not None and found.problem.endswith(".") and "Traceback" not in found.problem
        pool.ask(found)
        assert found.pending is None, "it is not tried for ever"
        assert pool.open(small()) is not found, "but who comes back to it may try again"
    finally:
        pool.close()


def test_a_slice_that_hangs_is_ended_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one worker, which a step of the one race never gives back: the other race waits, and comes to its end."""
    stuck = small()

    class Hanging(Races):
        def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
            return super()._submit(time.sleep, 3600) if stuck in args else super()._submit(function, *args)

    config = race("digits", [racer("adam")], steps=60, seeds=2)
    pool = Hanging(workers=1)
    try:
        pool.warm()
        hung, other = pool.open(stuck), pool.open(config)
        pool.ask(hung)
        pool.ask(other)
        with monkeypatch.context() as patch:
            patch.setattr(limits, "STUCK_SECONDS", 1.0)
            deadline = time.monotonic() + PATIENCE
            while hung.problem is None and time.monotonic() < deadline:
                pool.ask(other)
                time.sleep(0.05)
        assert hung.problem is not None and hung.problem.endswith("ended.")
        assert other.problem is None
        until(pool, lambda: hung.pending is None and other.pending is None)
        pool.ask(hung)
        assert hung.pending is None, "it is not tried again"
        finish(pool, other)
    finally:
        pool.close()
    assert_equal(other, undisturbed(config))


def test_workers_end_when_they_are_told_to(pool: Races) -> None:
    mine = Races(workers=1)
    mine.warm()
    (worker_id,) = mine._pool._processes  # type: ignore[union-attr]
    os.kill(worker_id, 0)
    found = mine.open(small())
    mine.ask(found)
    until(mine, lambda: found.pending is None)
    assert found.state is not None and found.state.now is not None and found.state.now.exists()
    mine.close()
    assert not found.state.now.parent.parent.exists(), "nor is anything left of what they trained"
    with pytest.raises(ProcessLookupError):
        os.kill(worker_id, 0)


# --- one slice at a time, taken back where nobody wants it


def test_a_race_has_one_slice_in_the_queue_however_many_ask() -> None:
    pool = Waiting()
    for _ in range(30):
        pool.ask(pool.open(small()))
    assert len(pool.queue) == 1
    pool.work()
    assert pool.open(small()).held["loss"] > 0


def test_the_first_slice_is_short_and_the_later_ones_are_bounded() -> None:
    pool, asked = Waiting(), []
    found = pool.open(small())

    def next_slice() -> float:
        pool.ask(found)
        seconds: float = pool.queue[0][2][-1]
        pool.work()
        return seconds

    while found.step <= found.config.steps / 20:
        asked.append(next_slice())
    first, *others = asked
    assert first == limits.FIRST_SLICE_SECONDS and set(others) <= {limits.SLICE_SECONDS}
    assert next_slice() == limits.LONE_SLICE_SECONDS


def test_leaving_takes_back_what_has_not_begun() -> None:
    pool = Waiting()
    left, other = pool.open(small(0)), pool.open(small(1))
    pool.ask(left)
    pool.ask(other)
    pool.leave(left.config)
    assert left.pending is None
    pool.work()
    assert left.step == 0 and other.step > 0
    pool.ask(left)  # and who comes back is served again
    pool.work()
    assert left.step > 0 and left.problem is None


def test_leaving_costs_at_most_the_slice_in_work() -> None:
    pool = Waiting()
    left = pool.open(small())
    pool.ask(left)
    future, function, args = pool.queue.pop()
    future.set_running_or_notify_cancel()
    pool.leave(left.config)
    assert left.pending is future, "what has begun is not lost"
    future.set_result(function(*args))
    assert left.step > 0 and left.pending is None and not pool.queue


def test_a_complete_race_costs_nothing() -> None:
    pool = InlineRaces()
    found = pool.open(small(steps=3))
    finish(pool, found)
    queue = Waiting()
    queue.ask(found)
    assert not queue.queue


def test_more_races_than_can_be_trained_wait_for_their_next_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRAINING", 3)
    pool = Waiting()
    races = [pool.open(small(seed)) for seed in range(5)]
    for found in races:
        pool.ask(found)
    assert len(pool.queue) == 3 and races[4].problem is None
    pool.work()
    pool.ask(races[4])
    assert races[4].pending is not None


def test_waiting_ends_when_there_is_something_to_see_and_when_time_is_up() -> None:
    pool = InlineRaces()
    found = pool.open(small())
    pool.wait(found, 0, seconds=0.0)
    pool.ask(found)
    pool.wait(found, 0, seconds=3600.0)
    found.problem = "It broke."
    pool.wait(found, 10**9, seconds=3600.0)


def test_an_error_in_a_worker_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(worker, "train", broken)
    pool = InlineRaces()
    found = pool.open(small())
    pool.ask(found)
    assert found.problem is not None and "our fault" in found.problem and found.problem.endswith(".")
    assert found.step == 0 and found.pending is None


# --- what a step costs


def test_the_cost_of_a_step_is_measured_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "seconds_per_step", lambda config: [1.0] * len(config.racers))
    pool = Waiting()
    found = pool.open(small())
    for _ in range(30):
        pool.time(found)
    assert len(pool.queue) == 1
    pool.work()
    assert found.seconds == [1.0, 1.0]
    pool.time(found)
    assert not pool.queue


def test_a_measurement_that_was_lost_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Waiting()
    found = pool.open(small())
    pool.time(found)
    pool.queue.pop()[0].set_exception(BrokenProcessPool("gone"))
    assert found.seconds is None
    pool.time(found)
    assert len(pool.queue) == 1


# --- where the state lies


def test_the_state_lies_in_files_that_go_with_the_race() -> None:
    pool = InlineRaces(cache_bytes=0)
    found = pool.open(small())
    pool.ask(found)
    assert found.state is not None and found.state.now is not None and found.state.now.exists()
    place = found.state.now.parent
    finish(pool, found)
    assert found.state is None and not place.exists(), "what is complete is not kept"
    dropped = pool.open(small(1))
    pool.ask(dropped)
    assert dropped.state is not None
    place = dropped.state.next.parent
    assert place.exists()
    dropped.viewers[""] -= 2 * limits.KEPT_SECONDS
    pool.open(small(2))
    assert small(1).key() not in pool._races
    del dropped
    assert not place.exists()
    folder = place.parent
    assert folder.exists()
    del pool
    gc.collect()
    assert not folder.exists()


def test_what_a_dying_worker_has_half_written_is_not_read() -> None:
    """It is written beside the state, and what is left of it behind a whole one is passed over."""
    config, pool = small(steps=400), InlineRaces()
    found = pool.open(config)
    while not found.complete:
        pool.ask(found)
        assert found.problem is None
        if found.state:
            found.state.next.write_bytes(b"half of a state" * 10_000)
    assert_equal(found, undisturbed(config))


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = race(
        "digits", [racer("sgd"), racer("adam", schedule=("plateau", {})), racer("lion+ema")], steps=9, seeds=2
    )
    state, _ = advance(config, start(config), 4)
    kept = Kept(str(tmp_path))
    assert kept.now is None and kept.size == 0
    kept.turn(put(state, kept.next))
    assert kept.now is not None and kept.size == os.path.getsize(kept.now)
    one, (_, expected) = advance(config, take(kept.now), 5), advance(config, state, 5)
    np.testing.assert_array_equal(one[1].loss, expected.loss)
    first, second = kept.now, kept.next
    kept.turn(put(state, second))
    assert (kept.now, kept.next) == (second, first), "the two take turns"
    assert kept.size == 2 * os.path.getsize(first)


# --- the cache


def test_the_same_race_is_trained_once() -> None:
    pool = InlineRaces()
    assert pool.open(small()) is pool.open(small())
    assert pool.open(small(1)) is not pool.open(small())


def test_the_cache_is_bounded_in_bytes_and_drops_what_was_looked_at_longest_ago() -> None:
    one = InlineRaces().open(small()).size
    pool = InlineRaces(cache_bytes=int(10.5 * one))
    opened = [pool.open(small(seed)) for seed in range(10)]
    assert pool.open(small(0)) is opened[0], "ten fit"
    pool.open(small(10))
    assert sum(found.size for found in pool._races.values()) <= 10.5 * one
    assert pool.open(small(0)) is opened[0], "it was looked at a moment ago"
    assert pool.open(small(2)) is opened[2]
    assert small(1).key() not in pool._races, "this one was not"


def test_what_a_slice_brings_is_counted_too() -> None:
    """A race grows while it is trained: its state and its verdicts."""
    config = race(("digits", {"width": 128}), [racer("adam")], steps=5000, seeds=4)
    probe = InlineRaces().open(config)
    pool = InlineRaces(cache_bytes=2 * probe.size + 1000)
    other = pool.open(small(steps=10))
    found = pool.open(config)
    assert len(pool._races) == 2
    pool.ask(found)
    assert found.size > 2 * probe.size, "else the test shows nothing"
    assert found.state is not None and found.state.now is not None
    assert found.state.size >= os.path.getsize(found.state.now)
    assert found.size >= sum(track.nbytes for track in found.tracks.values()) + found.state.size
    assert other.config.key() not in pool._races and pool.open(config) is found


def test_a_race_that_trains_is_not_dropped() -> None:
    pool = Waiting(cache_bytes=0)
    found = pool.open(small(0))
    pool.ask(found)
    for seed in range(1, 5):
        pool.open(small(seed))
    assert pool.open(small(0)) is found
    pool.work()
    for seed in range(1, 5):
        pool.open(small(seed))
    assert pool.open(small(0)) is found, "it is trained in part, and somebody looks at it"
    found.viewers[""] -= 2 * limits.KEPT_SECONDS
    for seed in range(1, 5):
        pool.open(small(seed))
    assert pool.open(small(0)) is not found


def test_races_that_do_not_fit_together_come_to_their_end_one_after_the_other() -> None:
    """A race begun again for want of room would never end, nor would any other."""
    pool = InlineRaces(cache_bytes=1)
    waiting = [small(seed, steps=2000) for seed in range(4)]
    for _ in range(400):
        for config in waiting:
            pool.ask(pool.open(config))
        waiting = [config for config in waiting if not pool.open(config).complete]
    assert not waiting


def test_a_race_that_was_dropped_comes_back_the_same() -> None:
    pool = InlineRaces(cache_bytes=0)
    config = small(steps=300)
    first = pool.open(config)
    finish(pool, first)
    first.viewers[""] -= 2 * limits.KEPT_SECONDS
    pool.open(small(1))
    again = pool.open(config)
    assert again is not first and again.step == 0
    finish(pool, again)
    assert_equal(again, first)


def test_thirty_threads_at_once_lose_nothing() -> None:
    """Sessions are threads of one process: they share five races, and pull as they like."""
    pool, order = InlineRaces(), count()
    configs = [small(seed, steps=200) for seed in range(5)]
    errors: list[BaseException] = []

    def session() -> None:
        try:
            config = configs[next(order) % len(configs)]
            while not (found := pool.open(config)).complete:
                pool.ask(found)
                pool.wait(found, found.held["loss"], seconds=0.001)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=session) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not errors and not any(thread.is_alive() for thread in threads)
    for config in configs:
        assert_equal(pool.open(config), undisturbed(config))


# --- forks


def forked(*edits: Edit, rule: str = "adam") -> Config:
    """A race of one racer with a spike, its fork of the step of the first edit, and these edits of that."""
    trunk = race("digits", [racer(rule)], steps=300, seeds=2, edits=[edit(40, 0, "scale_gradient", factor=100.0)])
    return branch(trunk, 0, edits[0].step, *edits) if edits else trunk


def pulled(pool: Races, config: Config, to: int = 10**6) -> Race:
    """A race that forks, trained up to this step."""
    found = pool.open(config, forks=True)
    while found.step < min(to, config.steps):
        assert found.problem is None
        pool.ask(found)
    return found


def test_a_fork_begins_at_a_kept_state_with_its_past_and_is_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, config = InlineRaces(), forked(edit(160, 0, "reset", what="v"))
    trunk = pulled(pool, forked())
    assert trunk.stages and 10 < len(trunk.stages.sizes) < limits.STAGES
    taken: list[int] = []
    monkeypatch.setattr(worker, "start", lambda config: taken.append(0))  # it is not trained from the first guess
    found = pool.open(config, forks=True)
    assert found.step == max(step for step in trunk.stages.sizes if step <= 160) > 100
    assert found.held["loss"] == found.step and not np.isnan(found.tracks["loss"][:, :, : found.step]).any()
    whole = pulled(pool, config)
    monkeypatch.undo()
    alone = undisturbed(config)
    assert not taken and whole.held == alone.held and whole.marks == alone.marks and whole.test == alone.test
    for name, values in whole.tracks.items():
        np.testing.assert_array_equal(values, alone.tracks[name], err_msg=name)
    assert [step for step, _, _ in whole.verdicts] == [step for step, _, _ in alone.verdicts]
    assert whole.verdicts[-1] == alone.verdicts[-1]


def test_a_fork_of_a_fork_begins_at_the_later_of_the_two() -> None:
    pool = InlineRaces()
    pulled(pool, forked(), to=120)
    once = forked(edit(60, 0, "reset", what="v"))
    pulled(pool, once)
    again = pool.open(branch(once, 1, 250, edit(250, 0, "reset", what="m")), forks=True)
    assert again.trunk and again.trunk.config == once and 200 < again.step <= 250


def test_a_race_of_another_past_or_with_racers_that_stopped_is_trained_from_the_start() -> None:
    pool = InlineRaces()
    pulled(pool, forked())
    other = race("digits", [racer("adam")], steps=300, seeds=2, edits=[edit(0, 0, "scale_gradient", factor=2.0)])
    assert pool.open(other, forks=True).step == 0
    assert pool.open(replace(forked(), seeds=(5, 6)), forks=True).step == 0
    lost = race("quadratic", [racer("sgd", lr=1000.0)], steps=300, seeds=1)
    assert any(mark.kind == "diverged" for mark in pulled(pool, lost).marks)
    late = pool.open(branch(lost, 0, 299), forks=True)
    assert late.step == 0 or late.step < next(mark.step for mark in pool.open(lost).marks)


def test_only_a_race_that_forks_keeps_states_and_never_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = InlineRaces()
    plain = pool.open(forked())
    while not plain.complete:
        pool.ask(plain)
    assert plain.stages is None
    pool = InlineRaces()
    one = max(pulled(pool, forked()).stages.sizes.values())  # type: ignore[union-attr]
    monkeypatch.setattr(limits, "STAGE_BYTES", 4 * one)
    pool = InlineRaces()
    few = pulled(pool, forked())
    assert few.stages and 0 < sum(few.stages.sizes.values()) <= limits.STAGE_BYTES
    assert few.size >= sum(few.stages.sizes.values())
    assert all(few.stages.file(step).stat().st_size == size for step, size in few.stages.sizes.items())
    monkeypatch.setattr(limits, "STAGE_BYTES", one // 2)
    none = pulled(InlineRaces(), forked())
    assert none.stages and not none.stages.sizes


# --- what is recorded beyond the usual


def poked(steps: int = 60, seeds: int = 3) -> Config:
    """Adam with a spike, and its twin."""
    spike = [edit(20, 0, "scale_gradient", factor=100.0)]
    return race("digits", [racer("adam"), racer("adam")], steps=steps, seeds=seeds, edits=spike)


WATCHED = Lens((0, 1), (5, 2100), "W2", 0)
LENS = Extra(lens=WATCHED)


def test_a_race_seen_through_a_lens_is_another_entry_and_the_same_however_it_is_cut(pool: Races) -> None:
    config = replace(poked(1500), seeds=(0,))
    found, plain = pool.open(config, extra=LENS), pool.open(config)
    assert found is not plain and found.key != plain.key and plain.key == config.key()
    assert pool.open(config, extra=Extra(lens=replace(WATCHED, coordinates=(5,)))).key not in (found.key, plain.key)
    finish(pool, found)
    assert found.held == {name: len(at) for name, at in track_steps(config, LENS).items()}
    assert max(found.held.values()) <= limits.LENS_SAMPLES and found.held["heat"] <= limits.HEATS
    whole = worker.train(config, None, Path(os.devnull), 3600.0, extra=LENS)
    for name, values in found.tracks.items():
        (one,) = np.unique([piece.tracks[name].dtype for piece in whole.pieces])
        assert one == values.dtype
        np.testing.assert_array_equal(
            values, np.concatenate([piece.tracks[name] for piece in whole.pieces], axis=2), err_msg=name
        )
    assert found.verdicts == [] and found.texts == [] and pool.pace(config) is None


def test_a_race_seen_through_a_lens_begins_at_the_start_and_its_fork_too() -> None:
    pool = InlineRaces()
    config = replace(poked(), seeds=(0,))
    known = pool.open(config, forks=True)
    while not known.complete:
        pool.ask(known)
    assert known.stages and known.stages.sizes
    assert pool.open(config, forks=True, extra=LENS).step == 0
    assert pool.open(branch(config, 0, 50), forks=True, extra=LENS).step == 0


def test_who_leaves_a_lens_leaves_the_race_itself_alone() -> None:
    pool = Waiting()
    config = poked()
    plain, lens = pool.open(config), pool.open(config, extra=LENS)
    for found in (plain, lens):
        pool.ask(found)
    pool.leave(config, extra=LENS)
    assert lens.pending is None and plain.pending is not None


def test_curves_are_every_seeds_smoothed_loss_also_of_a_fork_of_them() -> None:
    pool, curves = InlineRaces(), Extra(curves=True)
    found = pool.open(poked(), forks=True, extra=curves)
    while not found.complete:
        pool.ask(found)
    _, records = advance(poked(), start(poked()), 60)
    expected = records.smooth.reshape(60, 2, 3).transpose(1, 2, 0)
    np.testing.assert_array_equal(found.tracks["curves"], expected.astype(np.float32))
    pool.open(poked(), forks=True)
    late = pool.open(branch(poked(), 0, 55), forks=True, extra=curves)
    assert late.step > 40
    np.testing.assert_array_equal(late.tracks["curves"][2, :, : late.step], found.tracks["curves"][0, :, : late.step])
    others = pool.open(branch(poked(), 1, 55), forks=True)
    assert others.step == 0, "a race without curves does not begin at one with them, nor the other way round"


# --- one step under the microscope


def test_a_look_is_the_step_that_was_taken_from_the_start_or_from_a_kept_state() -> None:
    config, pool = poked(), InlineRaces()
    state, _ = advance(config, start(config), 44)
    step = step_of(config, state, 0)
    alone = pool.look(config, 45, 0, 7)
    assert (alone.place, alone.note) == (place(step.layout, 7), note(step.rule))
    assert alone.rows == table(step, 7) and len(alone.rows) > 2
    kept, asked = InlineRaces(), list[Path | None]()
    trained = kept.open(config, forks=True)
    while not trained.complete:
        kept.ask(trained)
    submit = kept._submit

    def noted(function: Callable[..., Any], *args: Any) -> Future[Any]:
        asked.append(args[1])
        return submit(function, *args)

    kept._submit = noted  # type: ignore[method-assign]
    assert kept.look(config, 45, 0, 7) == alone == kept.look(config, 45, 0, 7)
    assert len(asked) == 1 and asked[0] and 22 <= int(asked[0].name) < 45, "asked again, it is known"
    weights = step.gradient[0, step.layout.columns("W2")].abs()
    assert weights.argmax() + step.layout.columns("W2").start == kept.largest(config, 45, 0, "W2")
    assert kept.largest(config, 21, 0, "W2") == kept.largest(config, 21, 1, "W2"), "in the spike's step too"


@pytest.mark.parametrize(
    ("step", "racer", "coordinate", "says"),
    [
        (0, 0, 0, "There is no step 0: they are counted from 1 to 60."),
        (61, 0, 0, "There is no step 61"),
        (5, 2, 0, "There is no racer 2: they are counted from 0 to 1."),
        (5, -1, 0, "There is no racer -1"),
        (5, 0, 2410, "There is no weight 2,410"),
        (5, 0, -1, "There is no weight -1"),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_a_sentence(step: int, racer: int, coordinate: int, says: str) -> None:
    with pytest.raises(ValueError, match=says) as found:
        InlineRaces().look(poked(), step, racer, coordinate)
    assert str(found.value).endswith(".") and "\n" not in str(found.value)


def test_looks_count_as_jobs_and_end_before_they_would_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRAINING", 2)
    pool = Waiting()
    for step in (5, 6):
        pool._submit(worker.look, poked(), None, 0, step, 7)
    waiting = pool.open(small())
    pool.ask(waiting)
    assert waiting.waiting and waiting.pending is None
    with pytest.raises(ValueError, match="Many races are training"):
        pool.look(poked(), 8, 0, 7)
    monkeypatch.setattr(limits, "LOOK_MOST", 0.0)
    with pytest.raises(ValueError, match=r"more than 0 seconds to come to step 45; look at an earlier one\.$"):
        worker.look(poked(), None, 0, 45, 7)


def test_a_fork_from_before_the_spike_is_compared_with_nobody_from_a_kept_state_too() -> None:
    pool = InlineRaces()
    trunk = race(
        "digits", [racer("adam")] * 2, steps=300, seeds=2, edits=[edit(200, 0, "scale_gradient", factor=100.0)]
    )
    pulled(pool, trunk)
    config = branch(trunk, 0, 100, edit(100, 2, "reset", what="m"))
    assert pool.open(config, forks=True).step > 50
    for name, values in pulled(pool, config).tracks.items():
        np.testing.assert_array_equal(values, undisturbed(config).tracks[name], err_msg=name)


def test_of_a_run_that_diverged_there_is_no_step_to_look_at() -> None:
    lost = race("quadratic", [racer("sgd", lr=900.0)], steps=400)
    with pytest.raises(ValueError, match=r"diverged at step \d+ and takes no more steps"):
        InlineRaces().look(lost, 399, 0, 0)
    with pytest.raises(ValueError, match="There is no layer 'W9'; the network has x"):
        InlineRaces().largest(lost, 3, 0, "W9")


def test_a_look_that_takes_long_or_fails_is_a_sentence_and_can_be_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.01)
    pool = Waiting()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"still being worked out; look again in a moment\.$"):
            pool.look(poked(), 5, 0, 7)
    assert [job.cancelled() for job, _, _ in pool.queue] == [True, True], "nobody waits for it, and it had not begun"
    pool.queue.clear()
    begun = Waiting()
    begun._submit = lambda *given: begun_job  # type: ignore[method-assign]
    begun_job: Future[Any] = Future()
    begun_job.set_running_or_notify_cancel()
    for _ in range(2):
        with pytest.raises(ValueError, match="still being worked out"):
            begun.look(poked(), 5, 0, 7)
    settle(begun_job, worker.look, (poked(), None, 0, 5, 7))
    assert begun.look(poked(), 5, 0, 7).rows, "what had begun is there for whoever asks again"
    lost = Waiting()
    broken: Future[Any] = Future()
    broken.set_exception(BrokenProcessPool("gone"))
    lost._submit = lambda *given: broken  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"our fault\. Try another one\.$"):
        lost.look(poked(), 6, 0, 7)
    del lost._submit
    with pytest.raises(ValueError, match="still being worked out"):
        lost.look(poked(), 6, 0, 7)
    assert len(lost.queue) == 1, "what was lost is done again"
    monkeypatch.setattr(limits, "TRAINING", 0)
    with pytest.raises(ValueError, match=r"Many races are training .* look again in a moment\.$"):
        pool.look(poked(), 7, 0, 7)
