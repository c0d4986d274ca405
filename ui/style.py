"""The page's style sheet, `style.css`, with the tokens and the racers' colours of `ui.palette`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import streamlit as st

from ui.palette import RACERS, TOKENS

_SHEET = Path(__file__).with_name("style.css")


@lru_cache(maxsize=1)
def _css() -> str:
    tokens = "".join(
        f"--dl-{name}: light-dark({value}, {TOKENS['dark'][name]});" for name, value in TOKENS["light"].items()
    )
    racers = "".join(
        f".st-key-card-{slot} {{ --dl-racer: light-dark({light}, {dark}); }}"
        for slot, (light, dark) in enumerate(zip(RACERS["light"], RACERS["dark"], strict=True))
    )
    return f"<style>.stApp {{ {tokens} }}{racers}{_SHEET.read_text()}</style>"


def sheet() -> None:
    """Put the style sheet on the page."""
    st.html(_css())
