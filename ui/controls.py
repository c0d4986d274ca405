"""Settings as widgets: a description (`Hyper`) becomes a slider or a switch, and each change tells its owner.

A widget describes the next race; nothing reads it afterwards. Its key carries the page's generation, so that a preset
or a button that changes settings from outside simply makes new widgets with the new values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.spec import Hyper

OnChange = Callable[[str, Any], None]


def number_text(value: float | int | bool) -> str:
    """A setting's value as one says it: 0.003, 1e-8, 1,000."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"


def _tell(key: str, name: str, changed: OnChange) -> None:
    changed(name, st.session_state[key])


def setting(hyper: Hyper, value: Any, key: str, changed: OnChange, help: bool = True) -> None:
    """A slider over the setting's stops, or a switch; `changed(name, value)` is called when it moves."""
    text = f"{hyper.help} Default {number_text(hyper.default)}." if help and hyper.help else None
    if isinstance(hyper.default, bool):
        st.toggle(hyper.title, value, key=key, help=text, on_change=_tell, args=(key, hyper.name, changed))
        return
    st.select_slider(
        hyper.title, hyper.stops(value), value, format_func=number_text, key=key, help=text,
        on_change=_tell, args=(key, hyper.name, changed),
    )  # fmt: skip


def choice(
    label: str, name: str, options: Sequence[Any] | Mapping[Any, str], value: Any, key: str, changed: OnChange,
    help: str | None = None, hide_label: bool = False,
) -> None:  # fmt: skip
    """A drop-down; a value that is not among the options has a place of its own at the end."""
    texts = dict(options) if isinstance(options, Mapping) else {option: str(option) for option in options}
    if value not in texts:
        texts[value] = number_text(value)
    st.selectbox(
        label, list(texts), list(texts).index(value), format_func=lambda option: texts[option], key=key, help=help,
        on_change=_tell, args=(key, name, changed), label_visibility="collapsed" if hide_label else "visible",
    )  # fmt: skip
