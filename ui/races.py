"""Every race that is being run or was run: a cache of trajectories over a small pool of worker processes.

A race is known by its config's key, so thirty people who open one link share one training. Slices are short and
queue in the order they are asked for, one a race at a time: nobody starves, and a race that nobody asks about any
more costs nothing from its next slice on.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor, ShutdownExecutorError
from numpy.typing import NDArray

from core.adapter import adapted
from core.cache import Cache
from core.config import Choice, Config
from core.fork import sources, twins
from core.plugins import plugged
from core.state import Texts
from core.tasks import brought
from ui import limits, worker
from ui.charts import Mark, blank, loss_steps, text_steps, track_fields, track_steps
from ui.extra import USUAL, Extra
from ui.held_out import HeldOut
from ui.kept import Kept, Stages

log = logging.getLogger(__name__)
BUSY = "Many races are training here right now; look again in a moment."
SLOW = "This step is still being worked out; look again in a moment."
LOST = BrokenProcessPool, ShutdownExecutorError  # what becomes of a job whose worker is gone


class NotYetError(ValueError):
    """No answer just now: asked for again in a moment, there may be one."""


@dataclass(frozen=True)
class Trunk:
    """A state of a race, at which another begins that shares its past. The file is kept for as long as this is."""

    config: Config
    stages: Stages
    step: int

    @property
    def file(self) -> Path:
        return self.stages.file(self.step)


@dataclass
class Race:
    """One trajectory, as far as it is trained. Read it freely; only `Races` writes it, under its lock."""

    config: Config
    extra: Extra  # what it records beyond the usual
    tracks: dict[str, NDArray[Any]]  # [racers, fields, samples], NaN where not yet trained; heat as ui/lens.py says
    held: dict[str, int]  # samples there are
    held_out: HeldOut  # what its held-out losses are watched by
    step: int = 0
    state: Kept | None = None
    trunk: Trunk | None = None  # until its own first slice
    stages: Stages | None = None  # of a race that can be forked
    verdicts: list[tuple[int, str, str]] = field(default_factory=list)
    texts: list[tuple[int, Texts]] = field(default_factory=list)  # (step, what each racer wrote)
    texts_due: int = 0  # how many of these there will be
    marks: list[Mark] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    spent: float = 0.0  # seconds of training so far
    seconds: list[float | None] | None = None  # a step of each racer alone; None in it where that could not be measured
    problem: str | None = None
    pending: Future[Any] | None = None
    timing: Future[Any] | None = None  # while `seconds` are being measured
    failures: int = 0
    waiting: bool = False  # whether there was no room to start it
    dropped: bool = False  # whether what it was about is gone
    viewers: dict[str, float] = field(default_factory=dict)  # who looked at it, and when last

    @property
    def key(self) -> str:
        """The name it is known by, here and in the browser."""
        return self.extra.key(self.config)

    @property
    def complete(self) -> bool:
        return self.step >= self.config.steps

    @property
    def size(self) -> int:
        """Bytes it takes: tracks, states, verdicts and texts."""
        written = sum(sys.getsizeof(text) for _, texts in self.texts for text in texts)
        tracks = sum(track.nbytes for track in self.tracks.values())
        states = (self.state.size if self.state else 0) + sum(self.stages.sizes.values() if self.stages else ())
        return tracks + states + 300 * len(self.verdicts) + written

    def seen(self, within: float) -> bool:
        """Whether anybody looked at it in the last so many seconds."""
        return max(self.viewers.values(), default=-within) > time.monotonic() - within


def _shared(known: Race, race: Race, step: int) -> list[int] | None:
    """For each racer of `race`, the racer of `known` whose past until this step is its own; None where one has none.

    So it is, too, where a racer had stopped on a seed by then: a fork of what has ended is trained from the start.
    """
    if track_fields(known.config, known.extra) != track_fields(race.config, race.extra):
        return None
    try:
        own = sources(known.config, race.config, step)
    except ValueError:
        return None
    stopped = {mark.racer for mark in known.marks if mark.kind == "diverged" and mark.step <= step}
    if stopped & set(own) or not _compared_alike(known.config, race.config, own):
        return None
    # Around spikes, also those of racers that are no more, it is looked more closely.
    looked = [[at for at in track_steps(each.config, each.extra)["probe"] if at <= step] for each in (known, race)]
    return own if looked[0] == looked[1] else None


def _compared_alike(known: Config, new: Config, own: Sequence[int]) -> bool:
    """Whether each racer of `new` that has a twin had that same one in `known`, as the source of its past."""
    before, after = twins(known), twins(new)
    return all(twin is None or before[own[racer]] == own[twin] for racer, twin in enumerate(after))


def _fresh(config: Config, extra: Extra) -> Race:
    """A race of which nothing is trained yet."""
    tracks = blank(config, extra)
    due = 0 if extra.lens else len(text_steps(config))
    return Race(config, extra, tracks, dict.fromkeys(tracks, 0), HeldOut.of(config), texts_due=due)


class Races:
    """The pool and the cache; one for the whole server.

    Nothing that may take long is done under its lock: a task that somebody brought is made before.
    """

    def __init__(self, workers: int = limits.WORKERS, cache_bytes: int = limits.CACHE_BYTES):
        self._workers, self._cache_bytes = workers, cache_bytes
        self._races: OrderedDict[str, Race] = OrderedDict()
        # Loky's executor starts workers as fresh interpreters, which never run this app's script again.
        self._pool: ProcessPoolExecutor | None = None
        self._changed = threading.Condition(threading.RLock())
        self._prices: Cache[float] = Cache(limits.PRICES, lambda _: 1)  # seconds a step, by config
        self._looks: Cache[Future[Any]] = Cache(limits.LOOKS, lambda _: 1)  # steps under the microscope
        self._jobs: list[Future[Any]] = []  # submitted and not known to be done, oldest first
        self._oldest: tuple[Future[Any] | None, float] = None, 0.0  # the first of them, and since when it is

    def warm(self) -> None:
        """Start the workers and have each run through a small race; returns when all are ready."""
        with self._changed:
            futures = [self._submit(worker.warm_up) for _ in range(self._workers)]
        for future in futures:
            future.result()

    def open(self, config: Config, viewer: str = "", forks: bool = False, extra: Extra = USUAL) -> Race:
        """The race of this config, from the cache where it is known; `viewer` looks at it from now on.

        Of one that `forks`, some states on the way are kept; a new one begins at the latest of these that a known race
        of the same past has, and has that past at once. What was told of the past is what was told of that race. One
        that is seen through a lens is always trained from the start: what a lens shows has another past with each fork,
        since its samples lie around the edits.
        """
        key = extra.key(config)
        with self._changed:
            known = key in self._races and not self._races[key].problem
        fresh = None if known else _fresh(config, extra)  # asks the task, which may take a second to make
        with self._changed:
            if key not in self._races or self._races[key].problem:
                # One that was known may have been dropped in the meantime.
                self._races[key] = fresh or _fresh(config, extra)
                if forks and not extra.lens:
                    self._fork(self._races[key])
            if forks and self._races[key].stages is None:
                self._races[key].stages = Stages(self._folder)
            self._races[key].viewers[viewer] = time.monotonic()
            self._races.move_to_end(key)
            self._evict()
            return self._races[key]

    def ask(self, race: Race) -> None:
        """Have the race trained for one more slice, unless one is on its way or it is complete.

        Where too many races train already nothing is asked, and where there is no room for one more none is begun, so
        that those that have begun come to their end: the browser asks again.
        """
        with self._changed:
            self._end_stuck()
            if race.complete or race.problem or race.dropped or race.pending is not None:
                return
            race.waiting = self._busy() or (not race.step and self._full())
            if race.waiting:
                return
            race.state = state = race.state or Kept(self._folder)
            begun, trunk = (race.trunk.file, race.trunk.config) if race.trunk else (state.now, None)
            train = partial(worker.train, trunk=trunk, stages=self._due(race), extra=race.extra)
            race.pending = self._submit(train, race.config, begun, state.next, self._slice(race))
            race.pending.add_done_callback(partial(self._trained, race))

    def wait(self, race: Race, have: int, seconds: float = limits.WAIT_SECONDS) -> None:
        """Until the race has more than `have` loss samples, is at its end, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: race.held["loss"] > have or race.complete or race.problem, seconds)

    def leave(self, config: Config, viewer: str = "", extra: Extra = USUAL) -> None:
        """This viewer looks elsewhere: what was asked for and has not begun is taken back if no other looks on."""
        with self._changed:
            race = self._races.get(extra.key(config))
            if race is None:
                return
            race.viewers.pop(viewer, None)
            if race.seen(limits.LOOKING_SECONDS):
                return
            if race.pending is not None and race.pending.cancel():
                race.pending = None
            if race.timing is not None and race.timing.cancel():
                race.timing = None
            self._changed.notify_all()

    def forget(self, content: str) -> None:
        """Drop all races on what was brought with this hash: the texts they wrote are its words."""
        with self._changed:
            tasks = {key: race.config.task for key, race in self._races.items()}
            for key, task in tasks.items():
                if isinstance(task, Choice) and brought.content_of(task.name) == content:
                    race = self._races.pop(key)
                    race.dropped = True  # a job in work cannot be cancelled
                    for job in filter(None, (race.pending, race.timing)):
                        job.cancel()

    def time(self, race: Race) -> None:
        """Measure what a step of each racer costs alone; `race.seconds` holds it when done."""
        with self._changed:
            if race.seconds is None and race.timing is None and not race.dropped and not self._busy():
                race.timing = self._submit(worker.seconds_per_step, race.config)
                race.timing.add_done_callback(partial(self._timed, race))

    def price(self, config: Config) -> float | None:
        """Seconds that a step of this race takes, measured once by a worker; None where none is free to tell."""

        def measured() -> float:
            with self._changed:
                self._end_stuck()
                if self._busy():
                    raise TimeoutError
                future = self._submit(worker.seconds_of_step, config)
            try:
                found: float = future.result(limits.PRICE_SECONDS)
            finally:
                future.cancel()  # where it has not begun; a price comes late to nobody
            return found

        key = config.key()
        try:
            return self._prices.get(key, measured)
        except Exception:  # too slow just now, or no such race any more: a price is no more than told
            return None

    def look(self, config: Config, step: int, racer: int, coordinate: int) -> worker.Look:
        """One step (1, 2, …) of a racer under the microscope, on the race's first seed; kept for whoever asks again.

        Raises:
            ValueError: there is no such step, racer or weight, or no answer in time; one readable sentence.
        """
        found: worker.Look = self._seen(worker.look, config, step, racer, coordinate)
        return found

    def largest(self, config: Config, step: int, racer: int, layer: str) -> int:
        """The column of the largest gradient in a layer in this step (1, 2, …), as for `look`.

        Raises:
            ValueError: there is no such step, racer or layer, or no answer in time; one readable sentence.
        """
        names = [name for name, _ in config.build_task().layout.shapes]
        if layer not in names:
            raise ValueError(f"There is no layer {layer[:40]!r}; the network has {', '.join(names)}.")
        found: int = self._seen(worker.largest, config, step, racer, layer)
        return found

    def _seen(self, see: Callable[..., Any], config: Config, step: int, racer: int, what: int | str) -> Any:
        """What a worker sees in a step: trained from the nearest state that is kept, or from the start."""
        for name, value, first, last in (("step", step, 1, config.steps), ("racer", racer, 0, len(config.racers) - 1)):
            if not first <= value <= last:
                raise ValueError(f"There is no {name} {value:,}: they are counted from {first} to {last:,}.")

        def ask() -> Future[Any]:
            with self._changed:
                self._end_stuck()
                if self._busy():
                    raise NotYetError(BUSY)
                trunk = self._nearest(config, step)
                if trunk:
                    future = self._submit(see, config, trunk.file, racer, step, what)
                else:
                    own = tuple(replace(edit, racer=0) for edit in config.edits if edit.racer == racer)
                    alone = replace(config, racers=(config.racers[racer],), seeds=config.seeds[:1], edits=own)
                    future = self._submit(see, alone, None, 0, step, what)
            kept = [trunk]  # and with it the file, until it was read
            future.add_done_callback(lambda _: kept.clear())
            return future

        key = (see.__name__, config.key(), step, racer, what)
        try:
            job = self._looks.get(key, ask)
            return job.result(limits.LOOK_SECONDS)
        except TimeoutError:
            if job.cancel():  # it has not begun, and nobody waits for it any more
                self._looks.keep(lambda known: known != key)
            raise NotYetError(SLOW) from None
        except Exception as error:
            self._looks.keep(lambda known: known != key)
            if isinstance(error, ValueError):
                raise
            log.error("a step could not be looked at: %s", config, exc_info=error)
            raise ValueError("This step could not be looked at, which is our fault. Try another one.") from None

    def _nearest(self, config: Config, step: int) -> Trunk | None:
        """The latest state before a step that a known race of this config has, if all runs of the race take fewer steps
        from it than one run alone takes from the start.
        """
        found = [
            Trunk(config, race.stages, at)
            for race in self._races.values()
            if race.config == config and race.stages and not race.problem
            for at in race.stages.sizes
            if at < step and (step - at) * len(config.racers) * len(config.seeds) < step
        ]
        return max(found, key=lambda trunk: trunk.step, default=None)

    def pace(self, config: Config) -> float | None:
        """Seconds that a step of this race has taken so far; None while it has none."""
        with self._changed:
            same = (
                race for race in self._races.values() if race.config == config and race.step and not race.extra.lens
            )
            race = next(same, None)
            return race.spent / race.step if race else None

    def close(self) -> None:
        """End the workers, and leave no state behind: a server that is told to end may run no finalizer."""
        with self._changed:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(kill_workers=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def _folder(self) -> str:
        """Where the states of the races lie; it goes with this object, or with a worker if the server is killed."""
        folder = tempfile.mkdtemp(prefix="descent-lab-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Queue a call; a pool that broke because a worker died is replaced by a new one."""
        while True:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._workers, timeout=None, initializer=worker.begin,
                    initargs=(os.getpid(), self._folder, brought.home(), adapted(), plugged()),
                    env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                )  # fmt: skip
            try:
                future: Future[Any] = self._pool.submit(function, *args)
                self._jobs.append(future)
                return future
            except LOST:
                self._pool = None

    def _end_stuck(self) -> None:
        """End the workers where the oldest job does not come to an end: a step of somebody's own problem may hang.

        Jobs are begun in the order in which they were submitted, so the oldest is in work. Its race is given up, and
        every other loses a slice.
        """
        self._jobs = [job for job in self._jobs if not job.done()]
        oldest, now = next(iter(self._jobs), None), time.monotonic()
        if oldest is not self._oldest[0]:
            self._oldest = oldest, now
        if oldest is None or now - self._oldest[1] < limits.STUCK_SECONDS:
            return
        for race in self._races.values():
            if oldest in (race.pending, race.timing):
                log.error("a race hung for %g s: %s", limits.STUCK_SECONDS, race.config)
                race.problem = f"This race hung for {limits.STUCK_SECONDS:g} seconds in one step, and was ended."
                race.state = None
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, kill_workers=True)  # what is told about it takes our lock
        self._changed.notify_all()

    def _trained(self, race: Race, future: Future[Any]) -> None:
        with self._changed:
            race.pending = None
            if future.cancelled() or race.dropped:
                return
            error = future.exception()
            if error is None:
                self._append(race, future.result())
            elif isinstance(error, LOST) and (race.problem or race.failures < limits.RETRIES):
                race.failures += 1  # the next pull asks for the same slice again
            else:
                log.error("a race could not be trained: %s", race.config, exc_info=error)
                race.problem = "This race could not be trained, which is our fault. Change a setting to try again."
                race.state = None
            self._evict()
            self._changed.notify_all()

    def _append(self, race: Race, done: worker.Slice) -> None:
        for piece in done.pieces:
            for name, values in piece.tracks.items():
                first, count = race.held[name], values.shape[2]
                race.tracks[name][:, :, first : first + count] = values
                race.held[name] = first + count
            race.texts += piece.texts
            race.test = piece.test
        race.marks = done.pieces[-1].marks
        if "eval" in race.tracks:
            self._tell(race, [verdict for piece in done.pieces for verdict in piece.verdicts])
        race.spent += done.seconds
        race.step, race.failures, race.trunk = done.step, 0, None
        if race.stages:
            race.stages.sizes |= done.staged
        if race.complete:
            race.state = None
        elif race.state:
            race.state.turn(done.size)

    def _tell(self, race: Race, verdicts: list[tuple[int, str, str]]) -> None:
        """Add what a slice had to say, and what is seen of a held-out loss in all that is trained."""
        marks, told = race.held_out.told(race.tracks["eval"][:, :, : race.held["eval"]])
        race.verdicts += [
            (step, headline, " ".join(filter(None, (detail, more))))
            for (step, headline, detail), more in zip(verdicts, told[len(race.verdicts) :], strict=True)
        ]
        race.marks += marks

    def _timed(self, race: Race, future: Future[Any]) -> None:
        with self._changed:
            race.timing = None
            if future.cancelled() or race.dropped:
                return
            error = future.exception()
            if error is None:
                race.seconds = future.result()
            elif not isinstance(error, LOST):  # a lost one is measured again
                log.error("the steps of a race could not be timed: %s", race.config, exc_info=error)
                race.seconds = [None] * len(race.config.racers)
            self._changed.notify_all()

    def _fork(self, race: Race) -> None:
        """Begin a race at the latest kept state of a known race with the same past, if there is one."""
        found: list[tuple[int, Race, Stages, list[int]]] = []
        for known in self._races.values():
            for step in sorted(known.stages.sizes if known.stages and not known.problem else (), reverse=True):
                own = _shared(known, race, step)
                if own is not None and known.stages:
                    found.append((step, known, known.stages, own))
                    break
        if not found:
            return
        step, known, stages, own = max(found, key=lambda each: each[0])
        race.trunk, race.step = Trunk(known.config, stages, step), step
        for name, steps in track_steps(race.config, race.extra).items():
            count = race.held[name] = sum(at <= step for at in steps)
            race.tracks[name][:, :, :count] = known.tracks[name][own, :, :count]
        alone = [racer for racer, twin in enumerate(twins(race.config)) if twin is None]
        ratios = [field.startswith("ratio.") for field in track_fields(race.config, race.extra)["probe"]]
        race.tracks["probe"][np.ix_(np.array(alone, dtype=int), np.flatnonzero(ratios))] = np.nan
        race.texts = [(at, tuple(texts[racer] for racer in own)) for at, texts in known.texts if at <= step]
        race.verdicts = [told for told in known.verdicts if told[0] <= step]
        race.marks = [
            replace(mark, racer=racer)
            for racer, source in enumerate(own)
            for mark in known.marks
            if mark.racer == source and (mark.step if mark.known is None else mark.known) <= step
        ]
        race.spent = known.spent * step / known.step

    def _due(self, race: Race) -> dict[int, Path]:
        """The files for the states that are still to be kept, by step; none until it is known how large one is."""
        if race.stages is None or race.state is None or not race.state.one:
            return {}
        count = min(limits.STAGES, limits.STAGE_BYTES // race.state.one)
        stops = loss_steps(race.config, race.extra)
        due = {stops[len(stops) * index // count] for index in range(1, count)}
        return {step: race.stages.file(step) for step in due if step > race.step}

    def _busy(self) -> bool:
        """Whether as many jobs wait or run as there may be, of whatever kind."""
        return sum(not job.done() for job in self._jobs) >= limits.TRAINING

    def _slice(self, race: Race) -> float:
        """Seconds that the next slice may take."""
        if not race.step or race.trunk:
            return limits.FIRST_SLICE_SECONDS
        # The second slice is trained while the browser draws the first, which it should not be slow at.
        begun = race.step > race.config.steps / 20
        alone = all(other.pending is None for other in self._races.values())
        return limits.LONE_SLICE_SECONDS if begun and alone else limits.SLICE_SECONDS

    def _full(self) -> bool:
        """Whether the races that are under way take all the room there is."""
        under_way = [race.size for race in self._races.values() if race.step and not race.complete]
        return sum(under_way) > self._cache_bytes

    def _size(self) -> int:
        return sum(race.size for race in self._races.values())

    def _evict(self) -> None:
        """Drop races until the rest fits: of those not begun or no longer looked at, the least recent first.

        A race that has begun and is looked at stays: dropped, it would begin again, and none would ever end.
        """
        size = self._size()
        for key in list(self._races)[:-1]:
            if size <= self._cache_bytes:
                break
            race = self._races[key]
            working = race.pending is not None or race.timing is not None
            if not working and (not race.step or not race.seen(limits.KEPT_SECONDS)):
                size -= self._races.pop(key).size
