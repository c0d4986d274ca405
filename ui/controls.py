"""Settings as widgets: a description (`Hyper`) becomes a slider or a switch, and each change tells its owner.

A widget describes the next race; nothing reads it afterwards. Its key carries the page's generation, so that a preset
or a button that changes settings from outside simply makes new widgets with the new values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.spec import Hyper
from ui.numbers import number_text

OnChange = Callable[[str, Any], None]


def _tell(key: str, name: str, changed: OnChange) -> None:
    changed(name, st.session_state[key])


def setting(hyper: Hyper, value: Any, key: str, changed: OnChange, help: bool = True, fixed: str = "") -> None:
    """A slider over the setting's stops, or a switch; `changed(name, value)` is called when it moves.

    Where it is `fixed` it cannot be moved, and its help says why.
    """
    text, off = f"{hyper.help} Default {number_text(hyper.default)}." if help and hyper.help else None, bool(fixed)
    if isinstance(hyper.default, bool):
        st.toggle(hyper.title, value, key=key, help=fixed or text, disabled=off,
                  on_change=_tell, args=(key, hyper.name, changed))  # fmt: skip
        return
    # The browser tells stops apart by their texts alone: one that reads like its neighbour is written out.
    texts: dict[Any, str] = {}
    for stop in sorted(hyper.stops(value, hyper.default), key=lambda stop: stop == value):
        texts[stop] = repr(stop) if number_text(stop) in texts.values() else number_text(stop)
    st.select_slider(
        hyper.title, sorted(texts), value, format_func=texts.__getitem__, key=key, help=fixed or text, disabled=off,
        on_change=_tell, args=(key, hyper.name, changed),
    )  # fmt: skip


def choice(
    label: str, name: str, options: Sequence[Any] | Mapping[Any, str], value: Any, key: str, changed: OnChange,
    help: str | None = None, hide_label: bool = False, fixed: str = "",
) -> None:  # fmt: skip
    """A drop-down that finds what is typed anywhere in an option; a value that is none of them stands at the end.

    Where it is `fixed` nothing else can be chosen, and its help says why.
    """
    texts = dict(options) if isinstance(options, Mapping) else {option: str(option) for option in options}
    if value not in texts:
        texts[value] = number_text(value)
    st.selectbox(
        label, list(texts), list(texts).index(value), format_func=lambda option: texts[option], key=key,
        help=fixed or help, disabled=bool(fixed), on_change=_tell, args=(key, name, changed),
        label_visibility="collapsed" if hide_label else "visible", filter_mode="contains",
    )  # fmt: skip
