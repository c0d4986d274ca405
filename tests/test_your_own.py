"""Problems of one's own: docs/your-own.md run as it stands, and plug-in files, which only who starts the app names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.served import ROOT
from core import TASKS, Hyper, from_function, from_module, plugins, race, racer, start
from core.plugins import VARIABLE, Plugin, bring, load, plugged, register
from core.tasks import Task
from tests.pools import Waiting
from tests.test_protocol import Session
from ui import live
from ui.scenario import read

PAGE = ROOT / "docs" / "your-own.md"
PLUGIN = ROOT / "tests" / "plugins" / "tasks.py"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
BUILT_IN = set(TASKS)


@pytest.fixture(autouse=True)
def only_built_in() -> Iterator[None]:
    """Whatever a test has registered is gone after it."""
    yield
    for name in set(TASKS) - BUILT_IN:
        del TASKS[name]


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a plug-in file that begins with the usual imports: its path."""

    def written(code: str, name: str = "mine.py") -> str:
        path = tmp_path / name
        path.write_text("from core import from_function\nfrom core.plugins import register\n" + code)
        return str(path)

    return written


GOOD = "register('bowl', 'Bowl', lambda: from_function(lambda x, step: (x**2).sum(1), [1.0]))\n"


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page shows."""
    place = tmp_path_factory.mktemp("your_own")
    for code in BLOCK.findall(PAGE.read_text()):
        if named := FILE.match(code):
            (place / named[1]).write_text(code)
    return place


def test_the_page_runs_as_it_stands(folder: Path) -> None:
    """All blocks in order, in one interpreter, without Streamlit and Plotly; warnings are errors."""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 9 and {path.name for path in folder.glob("*.py")} == {"my_tasks.py", "my_optimizer.py"}
    prologue = (
        "import sys, warnings\nwarnings.simplefilter('error')\n"
        "sys.modules.update(dict.fromkeys(['streamlit', 'plotly', 'ui', 'pages']))\n"
    )
    code = prologue + "\n".join(block for block in blocks if not FILE.match(block))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The layer BatchNorm1d changes its buffer 1.running_mean in training" in done.stdout
    first, *_, last = done.stdout.splitlines()
    ends = [float(number) for number in first.strip("[]").split()]
    assert len(ends) == 2 and max(ends) < 0.5, "the valley's end"
    by_class, by_rule = last.strip("[]").split()
    assert by_class == by_rule


def test_the_pages_file_stands_in_the_menu_and_trains_in_a_worker(folder: Path) -> None:
    """Named when the app is started, known to the server and to each worker; one that is missing is left out."""
    script = (
        "import serve; from core import TASKS, race, racer; from ui.live import races\n"
        "assert TASKS['my_wine'].label == 'My wine'\n"
        "pool = races()\n"
        "found = pool.open(race(('my_wine', {'width': 4}), [racer('adam'), racer('sgd')], steps=100, batch=8))\n"
        "while not found.complete:\n"
        "    assert not found.problem, found.problem\n"
        "    pool.ask(found); pool.wait(found, found.held['loss'])\n"
        "print(found.test, found.tracks['loss'][:, 0, -1].tolist()); pool.close()\n"
    )
    environment = os.environ | {VARIABLE: f"'{folder / 'my_tasks.py'}' missing.py"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['") and "nan" not in done.stdout
    assert done.stderr.count("left out") == 1
    assert "plug-ins: missing.py is left out: FileNotFoundError" in done.stderr


def test_make_hands_the_names_on() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "--eval", "show:; @echo $$DESCENT_LAB_PLUGINS", "show", "PLUGINS=a.py b.py"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "a.py b.py\n", done.stderr
    assert "make run PLUGINS=my_tasks.py" in PAGE.read_text()


# ---------------------------------------------------------------- plug-in files


def test_a_file_registers_problems_with_settings() -> None:
    (plugin,) = load(str(PLUGIN))
    assert plugged() == (plugin,)
    assert set(TASKS) - BUILT_IN == {"plugin_line", "plugin_classes"}
    task = race(("plugin_classes", {"width": 3}), [racer("sgd")], batch=4).build_task()
    assert task.layout.shapes[0] == ("0.weight", (3, 2)) and task.accuracy
    with pytest.raises(ValueError, match="Hidden units"):
        race(("plugin_classes", {"width": 0}), [racer("sgd")])


def test_settings_that_no_task_can_be_made_with_are_a_sentence() -> None:
    """The file's own exception, whatever it is."""
    load(str(PLUGIN))
    with pytest.raises(ValueError, match=r"^A line cannot be made with these settings \(ZeroDivision"):
        race(("plugin_line", {"slope": 0.0}), [racer("sgd")])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("1 +", "SyntaxError: invalid syntax"),
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("x = 1", "it registers no problem: from core.plugins import register"),
        (GOOD + "1 / 0", "ZeroDivisionError: division by zero"),
        (GOOD.replace("bowl", "digits"), "there is a problem called digits already"),
        (GOOD.replace("'bowl'", "'two words'"), "a problem cannot be called 'two words'"),
        ("register('bowl', 'Bowl', lambda: 3)", "Bowl is made as int, but must be a task"),
        ("register('bowl', 'Bowl', lambda: 1 / 0)", "Bowl cannot be made with these settings (ZeroDivisionError"),
        ("register('bowl', 'Bowl', lambda: from_function(None, 3.0))", "start must be a list of finite numbers"),
        (
            "from torch import nn; import torch; from core import from_module\n"
            "register('bowl', 'Bowl', lambda: from_module(lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "
            "nn.MSELoss(), (torch.ones(9, 2), torch.ones(9, 2))))",
            "The layer BatchNorm1d changes its buffer 1.running_mean in training",
        ),
    ],
)  # fmt: skip
def test_what_fails_is_left_out_with_one_line(
    file: Any, capsys: pytest.CaptureFixture[str], code: str, why: str
) -> None:
    """All of it: what the file had registered before it failed goes too; and the next file is loaded."""
    before = dict(TASKS)
    bad, good = file(code, "bad.py"), file(GOOD.replace("bowl", "next"), "good.py")
    (loaded,) = load(f"{bad} {good}")
    assert loaded.path == good
    assert dict(TASKS) == before | {"next": TASKS["next"]}
    assert not any("plugin_bad" in name for name in sys.modules)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"plug-ins: {bad} is left out: {why}") and len(line) < 400


def test_a_file_that_never_ends_is_left_out(
    file: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it sleeps, loops, or hangs while its problem is made; whatever it catches on the way."""
    monkeypatch.setattr(plugins, "SECONDS", 0.2)
    for name, code in {
        "sleeps.py": GOOD + "import time; time.sleep(3600)",
        "loops.py": GOOD + "while True:\n    try:\n        1 / 0\n    except Exception:\n        pass",
        "waits.py": "import threading; register('bowl', 'Bowl', lambda: threading.Event().wait())",
    }.items():
        path = file(code, name)
        assert load(path) == [] and set(TASKS) == BUILT_IN
        assert capsys.readouterr().err == f"plug-ins: {path} is left out: it has not come to its end after 0.2 s\n"
    assert load(file(GOOD)), "the clock is stopped"
    time.sleep(0.3)


def test_a_file_loaded_again_takes_its_own_place(file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = file(GOOD)
    load(path)
    first = race("bowl", [racer("sgd")]).build_task()
    load(file(GOOD.replace("Bowl", "Other").replace("[1.0]", "[2.0]")))
    assert TASKS["bowl"].label == "Other" and plugged()[0].path == path
    second = race("bowl", [racer("sgd", lr=0.2)]).build_task()
    like = torch.empty(0)
    assert (first.initial([0], like).item(), second.initial([0], like).item()) == (1, 2)
    load(file(GOOD.replace("bowl", "dish")))
    assert set(TASKS) - BUILT_IN == {"dish"}, "what it no longer registers is gone"
    load(file(GOOD))
    load(file(GOOD, "twin.py"))
    assert "there is a problem called bowl already" in capsys.readouterr().err
    assert set(TASKS) - BUILT_IN == {"bowl"} and TASKS["bowl"].plugin.path == path  # type: ignore[attr-defined]


def test_a_worker_runs_what_the_server_has_read(file: Any) -> None:
    """Even where the file has been changed, or has gone, since."""
    path = file(GOOD)
    plugins = load(path)
    Path(path).unlink()
    del TASKS["bowl"]
    bring(plugins)
    assert TASKS["bowl"].label == "Bowl" and plugged() == tuple(plugins)


def test_a_file_may_import_its_neighbours_and_define_what_it_likes(file: Any) -> None:
    file("START = [4.0]\n", "neighbour_of_mine.py")
    code = (
        "from dataclasses import dataclass\nfrom pathlib import Path\nfrom neighbour_of_mine import START\n"
        "@dataclass\nclass Made:\n    start: list\n"
        "assert Path(__file__).name == 'mine.py' and Made.__annotations__ == {'start': list}\n"
    )
    load(file(code + GOOD.replace("[1.0]", "Made(START).start")))
    assert race("bowl", [racer("sgd")]).build_task().initial([0], torch.empty(0)).item() == 4


def test_a_notebook_registers_without_a_file() -> None:
    def make(width: int) -> Task:
        return from_function(lambda x, step: (x**2).sum(1), [1.0] * width)

    register("cell", "A cell's", make, [Hyper("width", 2, 1, 8)])
    register("cell", "A cell's, once more", make, [Hyper("width", 3, 1, 8)])
    assert start(race("cell", [racer("sgd")])).params.shape == (1, 3)
    assert plugged() == (), "and no worker is told"


def test_a_problem_is_made_once_and_stays_where_its_successor_cannot_be_made() -> None:
    made: list[Task] = []

    def make() -> Task:
        made.append(from_function(lambda x, step: (x**2).sum(1), [1.0]))
        return made[-1]

    register("cell", "A cell's", make)
    assert race("cell", [racer("sgd")]).build_task() is made[0] and len(made) == 1
    with pytest.raises(ValueError, match="cannot be made"):
        register("cell", "A worse one", lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    assert TASKS["cell"].label == "A cell's"
    assert race("cell", [racer("sgd")]).build_task() is made[-1]


def test_a_file_that_cannot_be_read_is_no_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = tmp_path / "binary.py"
    binary.write_bytes(b"\xff\xfe\x00")
    assert load(f"{binary} {tmp_path} '{tmp_path}/not there.py'") == []
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" is left out: ")[1].split(":")[0] for line in lines] == [
        "UnicodeDecodeError", "IsADirectoryError", "FileNotFoundError",
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError):
        Plugin.read(str(tmp_path / "nothing.py"))


# ---------------------------------------------------------------- on the page


def test_a_plugged_problem_is_chosen_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the menu, with its settings, in the address; and nobody has tuned it."""
    pool = Waiting()
    monkeypatch.setattr(live, "races", lambda: pool)
    load(str(PLUGIN))
    session = Session()
    menu = session.app.selectbox(key=session.key("task"))
    assert "Classes of a plug-in" in menu.options
    session.choose("task", "plugin_classes")
    assert session.warnings == []
    assert session.shown.config.task.name == "plugin_classes"  # type: ignore[union-attr]
    assert session.address["task"] == "plugin_classes"
    assert session.app.button(key=session.key("each tuned")).disabled
    session.choose("task", "plugin_line")
    assert session.shown.config.task.name == "plugin_line"  # type: ignore[union-attr]


def test_a_link_cannot_name_a_file() -> None:
    """A visitor's address chooses among what there is; what it says is looked up and never opened."""
    for name in (str(PLUGIN), "tasks.py", "my_wine"):
        shown, notes = read({"v": "1", "task": name, "r0": "sgd"})
        assert shown.config.task.name == "digits"  # type: ignore[union-attr]
        assert len(notes) == 1 and "There is no problem" in notes[0]
    assert set(TASKS) == BUILT_IN


def test_a_module_is_no_link() -> None:
    task = from_module(lambda: nn.Linear(2, 1), nn.MSELoss(), (torch.ones(9, 2), torch.ones(9, 1)))
    with pytest.raises(ValueError, match="cannot be written"):
        race(task, [racer("sgd")], batch=2).to_json()
