"""What a visitor brings: a name in the config, bytes in a file, and neither for longer than somebody holds them."""

import gc
import os
import pickle
import stat
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import TASKS, Config, race, racer, run
from core.tasks import Task, brought
from core.tasks.brought import GONE, Brought
from core.tasks.language import own_text
from core.tasks.own_table import TargetKind, own_table
from tests.pools import InlineRaces
from ui import limits, store, worker
from ui.scenario import read, scenario, write
from ui.store import Store

ROOT = Path(__file__).resolve().parent.parent
TEXT = "the fog came in the night and the lamp went out, and nobody saw the valley again.\n" * 12
TABLE = "size,colour,price\n" + "".join(f"{i},{'red' if i % 3 else 'blue'},{2 * i + i % 5}\n" for i in range(60))
FEW = "size,colour,price\n" + "".join(f"{i},{'ab'[i % 2]},{i % 3}\n" for i in range(60))
HASHES = st.text("0123456789abcdef", min_size=32, max_size=32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder instead of this process's."""
    monkeypatch.setattr(brought, "_home", [str(tmp_path)])
    yield tmp_path
    for file in tmp_path.iterdir():
        file.unlink()
    brought.tidy()


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> InlineRaces:
    """The server's races, trained in this process."""
    races = InlineRaces()
    monkeypatch.setattr(store, "races", lambda: races)
    return races


@pytest.fixture
def everybody() -> Store:
    """A server's store."""
    return Store()


def text_race(content: str, what: str = "words", **settings: float) -> Config:
    return race((f"{what}-{content}", settings), [racer("adam", lr=0.003)], steps=6, batch=8, seeds=2)


# Names


@given(HASHES, st.sampled_from(["words", "letters"]))
def test_a_name_says_what_it_is_one_of(content: str, what: str) -> None:
    assert Brought.named(Brought(content, what).name) == Brought(content, what)
    assert brought.content_of(Brought(content, what).name) == content


@given(HASHES, st.integers(0, 99_999), st.sampled_from(get_args(TargetKind)))
def test_a_name_says_what_of_a_table_is_told(content: str, column: int, kind: TargetKind) -> None:
    made = Brought(content, "table", column, kind)
    assert Brought.named(made.name) == made


@pytest.mark.parametrize("name", [
    "", "words-", "words-../../../etc/passwd", f"words-{'A' * 32}", f"words-{'a' * 31}", f"words-{'a' * 32}\n",
    f"table-{'a' * 32}", f"table-{'a' * 32}-01-classes", f"table-{'a' * 32}-1-code", f"table-{'a' * 32}--1-number",
    f"table-{'a' * 32}-٣-number", f"text-{'a' * 32}", f"words-{'a' * 32}-1-classes",
])  # fmt: skip
def test_no_other_name_reaches_a_file(name: str) -> None:
    assert Brought.named(name) is None and brought.content_of(name) == ""
    with pytest.raises(ValueError, match="must be one of digits"):
        race(name, [racer("sgd")])


def test_what_is_brought_is_found_and_not_listed() -> None:
    name = f"words-{brought.keep(TEXT.encode())}"
    assert TASKS[name].batch == 64 and TASKS[name].seeds == 1
    assert name not in TASKS and name not in list(TASKS)


# Bytes in a file


def test_only_this_account_can_read_the_file(folder: Path) -> None:
    kept = brought.keep(b"mine")
    assert stat.S_IMODE((folder / kept).stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == [kept]
    assert brought.keep(b"mine") == kept and brought.read(kept) == b"mine"


def test_the_folder_goes_with_the_process() -> None:
    script = (
        "import os, stat; from core.tasks import brought; brought.keep(b'mine')\n"
        "assert stat.S_IMODE(os.stat(brought.home()).st_mode) == 0o700; print(brought.home())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "descent-lab" in done.stdout and not Path(done.stdout.strip()).exists()


@pytest.mark.parametrize("what", ["words", "letters"])
def test_a_race_on_a_text_is_the_race_on_its_task(what: str) -> None:
    config = text_race(brought.keep(TEXT.encode()), what, held_out=0.2)
    task = own_text(TEXT, by_letter=what == "letters", held_out=0.2)
    direct = run(race(task, [racer("adam", lr=0.003)], steps=6, batch=8, seeds=2))
    assert (run(config).loss == direct.loss).all()
    assert Config.from_json(config.to_json()) == config == pickle.loads(pickle.dumps(config))
    assert TEXT[:20] not in config.to_json()


@pytest.mark.parametrize(("column", "kind"), [(1, "classes"), (2, "number"), (2, "classes")])
def test_a_race_on_a_table_is_the_race_on_its_task(column: int, kind: TargetKind) -> None:
    table = TABLE if kind == "number" or column == 1 else FEW
    name = Brought(brought.keep(table.encode()), "table", column, kind).name
    racers = [racer("sgd", lr=0.1)]
    task = own_table(table.encode(), target=("size", "colour", "price")[column], kind=kind, width=8, depth=2)
    found = run(race((name, {"width": 8, "depth": 2}), racers, steps=5, batch=8))
    assert (found.loss == run(race(task, racers, steps=5, batch=8)).loss).all()


def test_another_process_reads_it_where_it_is_told() -> None:
    config = text_race(brought.keep(TEXT.encode()))
    script = (
        "import os, sys, ui.worker as w; from pathlib import Path; from core import Config, run\n"
        "w.begin(os.getppid(), '', sys.argv[1]); config = Config.from_json(sys.argv[2])\n"
        "assert w.train(config, None, Path(os.devnull), 60).step == 6\n"
        "print(run(config).loss[-1].tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", script, brought.home(), config.to_json()], cwd=ROOT,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == run(config).loss[-1].tobytes().hex()


def test_what_is_gone_is_gone_from_the_caches_too() -> None:
    kept, table = brought.keep(TEXT.encode()), brought.keep(TABLE.encode())
    config = text_race(kept)
    task = weakref.ref(config.build_task())
    rows = weakref.ref(brought.prepared(Brought(table, "table", 2, "number")))
    worker.train(config, None, Path(os.devnull), 60)
    os.unlink(Path(brought.home(), kept))  # the server does this; a worker looks every second
    brought.tidy()
    gc.collect()
    assert task() is None
    with pytest.raises(ValueError, match=GONE):
        config.build_task()
    brought.forget(table)
    gc.collect()
    assert rows() is None


def test_a_class_of_30_has_its_texts_kept_and_many_large_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [brought.keep(f"{TEXT} {student}".encode()) for student in range(30)]
    tasks = [text_race(name).build_task() for name in kept]
    assert [text_race(name).build_task() for name in kept] == tasks
    monkeypatch.setattr(brought._made, "_most", 3 * len(TEXT))
    alive = [weakref.ref(text_race(kept[0], hidden=hidden).build_task()) for hidden in range(1, 12)]
    del tasks
    gc.collect()
    assert sum(task() is not None for task in alive) <= 3


def test_what_is_let_go_while_it_is_made_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = brought.keep(TEXT.encode())

    def slow(text: str, **settings: Any) -> Task:
        brought.forget(kept)
        return own_text(text, **settings)

    monkeypatch.setattr("core.tasks.brought.own_text", slow)
    with pytest.raises(ValueError, match=GONE):
        text_race(kept)
    assert len(brought._made) == 0


def test_a_file_that_cannot_be_written_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("core.tasks.brought.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        brought.keep(b"mine")
    assert list(Path(brought.home()).iterdir()) == []


def test_a_column_that_a_table_does_not_have() -> None:
    name = Brought(brought.keep(TABLE.encode()), "table", 7, "number").name
    with pytest.raises(ValueError, match="3 columns, and no column 8"):
        race(name, [racer("sgd")])


# Who holds it


def test_bytes_go_with_the_last_who_holds_them(folder: Path, everybody: Store, pool: InlineRaces) -> None:
    kept = everybody.keep("one", TEXT.encode())
    assert everybody.keep("two", TEXT.encode()) == kept and everybody.size == len(TEXT.encode())
    config, other = text_race(kept), race("quadratic", [racer("sgd", lr=0.01)], steps=2)
    pool.open(config), pool.open(other)
    everybody.hold("one", [])
    everybody.hold("three", [kept])
    assert (folder / kept).exists() and pool._races.keys() == {config.key(), other.key()}
    everybody.hold("two", ["nothing of theirs"])
    assert not any(folder.iterdir()) and everybody.size == 0
    assert pool._races.keys() == {other.key()}, "the texts that a race wrote are words of the text it learned"


def test_who_is_gone_holds_nothing(folder: Path, everybody: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, connected = [1000.0], {"stays", "goes", "returns"}
    monkeypatch.setattr(everybody, "_connected", connected.__contains__)
    monkeypatch.setattr("ui.store.time.monotonic", lambda: clock[0])
    kept = {session: everybody.keep(session, session.encode()) for session in sorted(connected)}
    for seconds, here in ((0, {"stays"}), (limits.AWAY_SECONDS - 1, {"stays", "returns"}), (2, {"stays"})):
        clock[0] += seconds
        connected &= here
        connected |= here
        everybody.sweep()
    assert {file.name for file in folder.iterdir()} == {kept["stays"], kept["returns"]}
    assert everybody.size == len("stays" + "returns")


def test_who_is_gone_is_noticed_without_a_visitor(
    folder: Path, everybody: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(limits, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(everybody, "_connected", lambda session: False)
    for content in (b"one after", b"the other"):
        everybody.keep("gone", content)
        deadline = time.monotonic() + 30
        while (everybody.size or everybody._watching) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(folder.iterdir()) and everybody.size == 0 and not everybody._watching


def test_all_together_is_bounded(folder: Path, everybody: Store) -> None:
    everybody._most = 10
    first = everybody.keep("one", b"12345678")
    with pytest.raises(ValueError, match="try again when some of them have left") as refused:
        everybody.keep("two", b"abc")
    assert str(refused.value).count(".") == 1
    assert [file.name for file in folder.iterdir()] == [first] and everybody.size == 8
    assert everybody.keep("two", b"12345678") == first, "what is here already takes no room"
    everybody.hold("one", [])
    everybody.hold("two", [])
    assert everybody.keep("two", b"abc") and everybody.size == 3


def test_the_largest_upload_fits_many_times() -> None:
    assert 10 * limits.UPLOAD_MB * 10**6 < limits.BROUGHT_BYTES


# Links


def test_a_link_of_ones_own() -> None:
    name = f"words-{brought.keep(TEXT.encode())}"
    shown = scenario(race((name, {"hidden": 8}), [racer("adam", lr=0.003)], steps=300, batch=8))
    again, notes = read(write(shown), [name])
    assert again == shown and not notes


@pytest.mark.parametrize("own", [[], [f"letters-{'a' * 32}"]])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_of_somebody_elses(own: list[str], there: bool) -> None:
    """Whether the text is still here or not is not told to strangers."""
    kept = brought.keep(TEXT.encode()) if there else "b" * 32
    shown, notes = read({"v": "1", "task": f"words-{kept}", "r0": "adam"}, own)
    assert notes == [GONE] and shown.config.task == read({})[0].config.task


def test_a_link_with_settings_that_cannot_be() -> None:
    name = f"words-{brought.keep(TEXT.encode())}"
    shown, notes = read({"task": name, "task.hidden": "1000000", "task.context": "x", "batch": "-1"}, [name])
    assert shown.config.task.name == name and len(notes) == 3  # type: ignore[union-attr]
    short = f"words-{brought.keep(b'one two three four five six seven eight nine ten eleven twelve')}"
    shown, notes = read({"task": short, "task.context": "16"}, [short])
    assert shown == read({})[0] and len(notes) == 1 and "too short" in notes[0]


def test_one_session_cannot_fill_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSION_BYTES", 30)
    kept = Store(most=100, connected=lambda _: True)
    first = kept.keep("greedy", b"a" * 20)
    with pytest.raises(ValueError, match="as much here as one visitor may"):
        kept.keep("greedy", b"b" * 20)
    assert kept.keep("greedy", b"a" * 20) == first and kept.size == 20
    kept.keep("another", b"b" * 20)
    kept.hold("greedy", ())
    kept.keep("greedy", b"c" * 20)
    assert kept.size == 40


def test_what_cannot_be_written_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("core.tasks.brought.os.replace", full)
    kept = Store(most=100, connected=lambda _: True)
    with pytest.raises(OSError, match="no space"):
        kept.keep("unlucky", b"a" * 20)
    assert kept.size == 0
