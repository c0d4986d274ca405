"""The page of one's own, without a browser: what is taken, what is said before it starts, and what is refused."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import RULES, TASKS
from core.tasks import brought
from tests.pools import InlineRaces
from ui import limits, live, own, store
from ui.scenario import read
from ui.store import Store

APP = Path(__file__).resolve().parent.parent / "app.py"
TEXT = "the fog came in the night and the lamp went out, and nobody saw the valley again.\n" * 12
TABLE = "size,colour,price\n" + "".join(f"{i},{'red' if i % 3 else 'blue'},{2 * i + i % 5}\n" for i in range(60))
RACE = "Race on it"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of its own: an empty folder, an empty store, and races that are trained at once."""
    everybody, pool = Store(), InlineRaces()
    monkeypatch.setattr(brought, "_home", [str(tmp_path)])
    monkeypatch.setattr(own, "store", lambda: everybody)
    monkeypatch.setattr(live, "races", lambda: pool)
    monkeypatch.setattr(store, "races", lambda: pool)
    yield tmp_path
    for file in tmp_path.iterdir():
        file.unlink()
    brought.tidy()


class Page:
    """The page, as one visitor has it."""

    def __init__(self, tab: str = "Text") -> None:
        self.app = AppTest.from_file(APP, default_timeout=120)
        self.app.session_state[own.KEY] = own.Own(session=str(id(self)))  # all sessions of AppTest have one name
        self.app.switch_page("pages/3_Your_own.py")
        self.run()
        if tab != "Text":
            self.set(self.widget("button_group", "What you bring"), tab.lower())

    def run(self) -> None:
        self.app.run()
        assert not self.app.exception, self.app.exception

    def set(self, widget: Any, value: Any) -> None:
        widget.set_value(value)
        self.run()

    def widget(self, kind: str, label: str) -> Any:
        widgets: list[Any] = list(self.app.get(kind))
        (found,) = [widget for widget in widgets if widget.label == label]
        return found

    def upload(self, name: str, content: bytes) -> None:
        self.set(self.app.file_uploader[0], (name, content, "text/plain"))

    def paste(self, text: str) -> None:
        self.set(self.app.text_area[0], text)

    def race(self) -> None:
        self.button(RACE).click()
        self.run()

    def button(self, label: str) -> Any:
        (found,) = [button for button in self.app.button if button.label == label]
        return found

    @property
    def own(self) -> own.Own:
        found: own.Own = self.app.session_state[own.KEY]
        return found

    @property
    def said(self) -> str:
        """The one warning on the page, without its backslashes."""
        (warning,) = self.app.warning
        return str(warning.value).replace("\\", "")

    @property
    def texts(self) -> str:
        """Everything that is written on the page by hand."""
        return "\n".join(element.proto.body for element in self.app._tree if element.type in ("html", "markdown"))


def test_a_text_that_was_pasted_is_raced_on() -> None:
    page = Page()
    page.paste(TEXT)
    assert not page.app.warning
    draft = page.own.drafts["text"]
    task: Any = draft.task
    words = f"{sum(map(len, task.corpus.parts.values())):,}, of which the last {len(task.corpus.parts['validation']):,}"
    assert words in page.texts and f"<td>{task.layout.width:,}</td>" in page.texts
    assert all(level.name in page.texts for level in task.levels)
    captions = " ".join(caption.value for caption in page.app.caption)
    assert "Adam at 0.003, SGD at 1 and Momentum at 0.3 race" in captions and own.UNTUNED in captions
    assert "64 examples a step" in captions and "1,000 steps take about" in captions
    assert page.app.code[0].value == TEXT[:400].strip()
    page.race()
    shown = page.app.session_state["race"].shown
    assert shown == draft.race() and shown.config.batch == 64 and shown.config.seeds == (0,)
    problem = next(box for box in page.app.selectbox if box.label == "Problem")
    assert problem.options == [*(kind.label for kind in TASKS.values()), "Your text: pasted"]
    assert problem.value == draft.brought.name


def test_a_table_that_was_uploaded_is_raced_on() -> None:
    page = Page("Table")
    page.upload("houses.csv", TABLE.encode())
    assert not page.app.warning
    assert page.widget("selectbox", "What to predict").value == 2, "the last column, unasked"
    assert page.own.drafts["table"].brought.kind == "number"
    for each in own.treated(page.own.drafts["table"]):
        assert f"<td>{each.column}</td><td>{each.what}</td><td>{each.words}</td>" in page.texts
    page.set(page.widget("selectbox", "What to predict"), 1)
    assert page.own.drafts["table"].brought.kind == "classes"
    page.set(page.widget("selectbox", "What to predict"), 0)
    page.set(page.widget("button_group", "It is"), "number")
    page.race()
    config = page.app.session_state["race"].shown.config
    assert config.task.name == page.own.drafts["table"].brought.name and config.task.name.endswith("-0-number")
    assert [chosen.rule for chosen in config.racers] == ["adam", "sgd", "momentum"]
    assert next(box for box in page.app.selectbox if box.label == "Problem").options[-1] == "Your table: houses.csv"


def test_a_table_in_parquet() -> None:
    page, file = Page("Table"), io.BytesIO()
    pd.read_csv(io.StringIO(TABLE)).to_parquet(file)
    page.upload("houses.parquet", file.getvalue())
    assert not page.app.warning and page.own.drafts["table"].task.examples == 36


def test_how_a_text_is_taken_can_be_changed() -> None:
    page = Page()
    page.upload("fog.txt", TEXT.encode())
    page.set(page.widget("button_group", "Learned"), True)
    assert page.own.drafts["text"].brought.what == "letters"
    page.set(page.widget("select_slider", "Hidden units"), 8)
    assert dict(page.own.drafts["text"].settings)["hidden"] == 8
    layout = page.own.drafts["text"].task.layout
    assert dict(layout.shapes)["W2"][1] == 8
    page.race()
    assert page.app.session_state["race"].shown.config.task.get("hidden") == 8
    assert page.own.offered == ((page.own.drafts["text"].brought.name, "Your text: fog.txt, by letters"),)


@pytest.mark.parametrize(("encoding", "said"), [
    ("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "UTF-16"), ("cp1251", "cp1251"),
])  # fmt: skip
def test_the_encoding_is_told(encoding: str, said: str) -> None:
    text = "Туман пришёл ночью, и лампа погасла, и никто больше не видел долины.\n" * 8
    page = Page()
    page.upload("туман.txt", text.encode(encoding))
    draft = page.own.drafts["text"]
    assert brought.read(draft.brought.content).decode() == text and draft.label == "туман.txt"
    assert draft.notes == ((f"Its encoding was taken to be {said}.",) if said else ())


def test_a_long_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHARACTERS", 500)
    page = Page()
    page.paste(TEXT)
    assert page.own.drafts["text"].notes == (f"Of its {len(TEXT):,} characters the first 500 are used.",)
    assert brought.read(page.own.drafts["text"].brought.content).decode() == TEXT[:500]


# What is refused

MB = 10**6
TEXTS = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\t ", "is empty"),
    "one word": (b"word", "one word only"),
    "few words": (b"two words", "longer"),
    "one token": (b"word " * 1000, "one word only"),
    "too large": (b"many words " * (50 * MB // 11), "10 MB is the most"),
    "binary": (bytes(range(256)) * 40, "save it"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(3000), "save it"),
    "wrong encoding": ("wrong encoding, no mark".encode("utf-16-le"), "save it"),
}
TABLES = {
    "empty": (b"", "empty"),
    "one row": (b"a,b\n1,2\n", "row"),
    "one column": (b"a\n" + b"1\n" * 50, "column"),
    "all missing": (b"a,b\n" + b",\n" * 50, "at least ten of data"),
    "wide": ((",".join(f"c{i}" for i in range(10_000)) + "\n" + ",".join("1" * 10_000) + "\n").encode() * 3, "column"),
    "900 classes": (b"a,b\n" + b"".join(b"%d,x%d\n" % (i % 7, i % 900) for i in range(2000)), "classes"),
    "one class": (b"a,b\n" + b"".join(b"%d,same\n" % i for i in range(50)), "same in every row"),
    "too large": (b"1,2\n" * (13 * MB), "10 MB is the most"),
    "binary": (bytes(range(256)) * 40, "save it"),
    "broken parquet": (b"PAR1" + bytes(300) + b"PAR1", "damaged"),
}


@pytest.mark.parametrize("tab", ["Text", "Table"])
def test_what_cannot_be_taken_is_said_in_a_sentence_and_not_kept(tab: str, folder: Path) -> None:
    other, page = Page(tab), Page(tab)
    other.upload("mine", TEXT.encode() if tab == "Text" else TABLE.encode())
    (mine,) = folder.iterdir()
    for what, (content, words) in (TEXTS if tab == "Text" else TABLES).items():
        page.upload("theirs", content)
        assert words in page.said and 20 < len(page.said) < 400, (what, page.said)
        assert page.said.endswith(".") and "Traceback" not in page.said, (what, page.said)
        assert list(folder.iterdir()) == [mine], what
        assert not page.own.drafts and page.app.file_uploader[0].value is None, what
    other.run()
    assert other.own.drafts[tab.lower()].task.examples and not other.app.warning
    page.upload("better", TEXT.encode() if tab == "Text" else TABLE.encode())
    assert not page.app.warning and page.own.drafts


def test_what_is_refused_leaves_the_one_before() -> None:
    page = Page()
    page.paste(TEXT)
    page.upload("bad", b"\0\0\0")
    assert "binary" in page.said and page.own.drafts["text"].task.examples
    page.paste("a text so short that a tenth of it has six words, " * 5)
    assert not page.app.warning
    before = page.own.drafts["text"]
    page.set(page.widget("select_slider", "Context"), 16)
    assert "too short" in page.said and page.own.drafts["text"] == before
    assert page.widget("select_slider", "Context").value == 4, "the slider goes back"


def test_a_race_that_would_be_too_large_cannot_be_begun() -> None:
    page = Page()
    page.paste(" ".join(f"word{i % 4999}" for i in range(10_000)))
    for name, value in (("Vocabulary", 5000), ("Hidden units", 128), ("Embedding", 64)):
        page.set(page.widget("select_slider", name), value)
    assert "times as large as one may be here" in page.said and page.button(RACE).disabled


def test_names_are_never_read_as_markup() -> None:
    page = Page("Table")
    page.upload("![x](http://a.b)<b>.csv", TABLE.replace("colour", "<script>*x*</script>").encode())
    assert page.own.drafts["table"].label == "xhttpa.bb.csv"
    assert "<td>&lt;script&gt;*x*&lt;/script&gt;</td>" in page.texts and "<script>" not in page.texts
    page.set(page.widget("selectbox", "What to predict"), 1)
    page.race()
    assert not page.app.exception and "<script>" not in page.texts
    assert own.plain("[a](http://b) *c* `d` $e$ <f>") == r"\[a\]\(http\://b\) \*c\* \`d\` \$e\$ \<f\>"


# How long it stays


def test_it_stays_in_the_menu_and_can_be_let_go(folder: Path) -> None:
    page = Page()
    page.paste(TEXT)
    page.race()
    page.app.query_params.clear()
    page.app.switch_page("pages/3_Your_own.py")
    page.run()
    page.button("Remove").click()
    page.run()
    assert not page.own.drafts and len(list(folder.iterdir())) == 1, "the menu of the Race page still has it"
    page.app.switch_page("pages/1_Race.py")
    page.run()
    assert next(box for box in page.app.selectbox if box.label == "Problem").options[-1] == "Your text: pasted"
    digits = read({})[0]
    box = next(box for box in page.app.selectbox if box.label == "Problem")
    page.set(box, digits.config.task.name)  # type: ignore[union-attr]
    page.set(next(box for box in page.app.selectbox if box.label == "Problem"), page.own.offered[0][0])
    assert page.app.session_state["race"].shown.config.task.name == page.own.offered[0][0]


def test_the_menu_holds_the_last_few(folder: Path) -> None:
    page = Page()
    for number in range(limits.OFFERED + 2):
        page.paste(f"{number} {TEXT}")
        page.race()
        page.app.query_params.clear()
        page.app.switch_page("pages/3_Your_own.py")
        page.run()
    assert len(page.own.offered) == limits.OFFERED == len(list(folder.iterdir()))


def test_a_link_of_another_session_is_not_opened() -> None:
    one, other = Page(), Page()
    one.paste(TEXT)
    one.race()
    other.app.switch_page("pages/1_Race.py")
    other.app.query_params["task"] = one.own.offered[0][0]
    other.run()
    assert other.said == brought.GONE
    assert other.app.session_state["race"].shown == read({})[0]


def test_the_network_tab_says_how_and_takes_nothing() -> None:
    page = Page("Network")
    assert not page.app.file_uploader and not page.app.text_area
    assert "DESCENT_LAB_PLUGINS" in page.texts or any("DESCENT_LAB_PLUGINS" in text.value for text in page.app.markdown)
    assert any("make run PLUGINS=" in code.value for code in page.app.code)
    assert any("started without one" in caption.value for caption in page.app.caption)


def test_the_usual_racers_are_rules() -> None:
    assert all(rule in RULES for racers in own._RACERS.values() for rule, _ in racers)
