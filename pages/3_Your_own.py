"""A problem of one's own: a text or a table to race on, and how a network is brought."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.plugins import plugged, tasks_of
from core.tasks import TASKS, brought
from ui import limits, own, style
from ui.controls import setting
from ui.own import Draft
from ui.scenario import write

LEAD = {
    "text": "A network reads a text of yours and learns what comes next; each optimizer starts from the same first "
    "guess. See what each of them writes.",
    "table": "A network learns to tell one column of your table from the others, with each optimizer.",
    "network": "Any nn.Module with any loss becomes a problem here, in one line of Python.",
}
YOURS = "Only you can race on it, and only until you close or reload this page. Nothing in it is ever run."
BEFORE = "Before anything starts, here stands what was found in it, how large the network is, and what a race costs."
EXAMPLE = """# my_tasks.py
from torch import nn
from core import Hyper, from_module
from core.plugins import register

def mine(width):
    return from_module(
        lambda: nn.Sequential(nn.Linear(13, width), nn.Tanh(), nn.Linear(width, 3)),
        nn.functional.cross_entropy,
        train=(x, y),               # arrays or tensors, one entry an example
        validation=(x_new, y_new),
    )

register("mine", "My problem", mine, hypers=[Hyper("width", 16, 1, 64)])"""


def key(what: str) -> str:
    return f"own.{own.own().generation}.{what}"


def turned(at: str) -> None:
    own.turn(st.session_state[at])


def uploaded(at: str) -> None:
    """Take the file out of Streamlit's hands, where it would stay until the session ends."""
    file, context = st.session_state[at], get_script_run_ctx()
    if file is None:
        return
    own.bring(file.name, file.getvalue())
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def pasted(at: str) -> None:
    if text := st.session_state[at]:
        own.bring("pasted", text.encode(errors="replace"))


def told(change: Any, at: str) -> None:
    change(st.session_state[at])


def table(rows: Sequence[tuple[str, ...]], heads: tuple[str, ...] = ()) -> None:
    """Rows of plain text."""
    head = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    st.html(f'<table class="dl-facts">{head}<tbody>{body}</tbody></table>')


def source(now: own.Own) -> None:
    """Where it comes from."""
    text = now.tab == "text"
    st.file_uploader(
        "A text file (.txt)" if text else "A CSV or Parquet file", key=key("file"), on_change=uploaded,
        args=(key("file"),), max_upload_size=limits.UPLOAD_MB,
    )  # fmt: skip
    if text:
        st.text_area(
            "or paste one", key=key("paste"), height=150, max_chars=limits.PASTED, on_change=pasted,
            args=(key("paste"),), placeholder="Paste, then press Ctrl + Enter.",
        )  # fmt: skip


def choices(now: own.Own) -> None:
    """How it is taken."""
    draft = now.draft
    if now.tab == "text":
        st.segmented_control(
            "Learned", [False, True], default=now.letters, required=True, key=key("letters"),
            format_func={False: "word by word", True: "letter by letter"}.__getitem__,
            on_change=told, args=(own.by_letters, key("letters")),
        )  # fmt: skip
    if draft is None:
        return
    if now.tab == "table":
        columns = brought.table(draft.brought.content).columns
        st.selectbox(
            "What to predict", range(len(columns)), draft.brought.column, format_func=columns.__getitem__,
            key=key("target"), on_change=told, args=(own.target, key("target")),
        )  # fmt: skip
        at = key(f"kind.{draft.brought.column}")
        st.segmented_control(
            "It is", ["classes", "number"], default=draft.brought.kind, required=True, key=at,
            format_func={"classes": "one of some classes", "number": "a number"}.__getitem__,
            on_change=told, args=(own.taken_for, at),
        )  # fmt: skip
    values = dict(draft.settings)
    with st.container(key="own-settings"):
        for hyper in TASKS[draft.brought.name].hypers:
            setting(hyper, values[hyper.name], key(f"{draft.brought.what}.{hyper.name}"), own.setting_changed)


def shown(draft: Draft) -> None:
    """What it is and what it costs, and the way to the race."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(f"<h2>{escape(own.title(draft))}</h2>", width="content")
        st.space("stretch")
        st.button("Remove", on_click=own.leave_out, type="tertiary")
    try:
        race = draft.race()
    except ValueError as error:
        st.warning(own.plain(str(error)))
        race = None
    table(own.facts(draft))
    if notes := own.notes(draft):
        st.caption(own.plain(" ".join(notes)))
    if race is not None:
        st.caption(f"{own.racers_in_words(race)} {own.cost(race)}")
    if st.button("Race on it", type="primary", disabled=race is None) and race is not None:
        own.offer(draft)
        st.switch_page("pages/1_Race.py", query_params=write(race))
    if draft.brought.what == "table":
        st.html("<h3>What is done to each column</h3>")
        table([(each.column, each.what, each.words) for each in own.treated(draft)], ("Column", "Taken as", "Done"))
    else:
        st.html("<h3>How it begins</h3>")
        st.code(own.first_lines(draft), language=None, wrap_lines=True)
    st.html("<h3>Lines on its charts</h3>")
    table([(level.name, level.meaning) for level in own.levels(draft)])


def network() -> None:
    """How a module is brought: by whoever starts the app."""
    left, right = st.columns([1, 1.2], gap="large")
    with left:
        st.markdown(
            "Nothing is uploaded here: a module is a program, and what a visitor sends is never run. Who starts the "
            "app names the file, and its problems stand in the menu of the Race page:"
        )
        st.code("make run PLUGINS=my_tasks.py", language=None)
        st.markdown(
            "or, in the environment, `DESCENT_LAB_PLUGINS=my_tasks.py`. Loss and gradient are checked when it is "
            "loaded, and what cannot be trained as a table is refused with the reason. In a notebook the task goes "
            "straight into `race`. All of it: `docs/your-own.md`."
        )
        files = [(plugin.path.rpartition("/")[2], ", ".join(kind.label for kind in tasks_of(plugin)))
                 for plugin in plugged()]  # fmt: skip
        st.html("<h3>Loaded now</h3>")
        if files:
            table(files, ("File", "Problems"))
        else:
            st.caption("No file: this app was started without one.")
    with right:
        st.code(EXAMPLE, language=None)


def main() -> None:
    style.sheet()
    now = own.own()
    st.html(f'<h1 class="dl-story">A problem of your own</h1><p class="dl-lead">{LEAD[now.tab]}</p>')
    with st.container(key="own"):
        st.segmented_control(
            "What you bring", list(own.TABS), default=now.tab, required=True, key="own.tab", on_change=turned,
            args=("own.tab",), format_func=own.TABS.__getitem__, label_visibility="collapsed",
        )  # fmt: skip
        if now.tab == "network":
            network()
            return
        left, right = st.columns([1, 1.6], gap="large")
        with left:
            source(now)
            st.caption(YOURS)
            with st.container(key="own-problem"):
                if now.problem:
                    st.warning(own.plain(now.problem))
            choices(now)
        with right:
            if now.draft is None:
                st.caption(BEFORE)
            else:
                shown(now.draft)


main()
