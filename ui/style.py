"""The page's style sheet: what Streamlit's theme cannot say. Tokens and racers' colours come from `ui.palette`."""

from __future__ import annotations

from functools import lru_cache

import streamlit as st

from ui.palette import RACERS, TOKENS

_SHEET = """
.stApp { font-variant-numeric: tabular-nums; }
[data-testid="stMainBlockContainer"] { padding: 0.6rem 1.25rem 1.5rem; max-width: none; }
[data-testid="stHeader"] { background: transparent; height: 0; min-height: 0; }
.dl-brand { font-size: 18px; font-weight: 700; margin: 0; padding: 0; white-space: nowrap; }
.st-key-shared { border-bottom: 1px solid var(--dl-hairline); padding-bottom: 0.55rem; }
.st-key-shared [data-testid="stSelectbox"] { width: auto; }
.dl-results { display: flex; gap: 1.1rem; font-size: 14px; color: var(--dl-secondary); line-height: 1.35; }
.dl-results b { display: block; font-size: 17px; color: var(--dl-text); font-weight: 600; }
.dl-results .dl-state { color: var(--dl-text); font-weight: 600; align-self: end; }
[class*="st-key-card-"] {
  background: var(--dl-panel); border-radius: 8px; border-left: 5px solid var(--dl-racer);
  padding: 0.5rem 0.85rem 0.6rem; gap: 0.35rem;
}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding: 0.5rem 0.75rem 2rem; }
  .st-key-arena > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-direction: column-reverse; }
}
"""


@lru_cache(maxsize=1)
def _css() -> str:
    tokens = "".join(
        f"--dl-{name}: light-dark({value}, {TOKENS['dark'][name]});" for name, value in TOKENS["light"].items()
    )
    racers = "".join(
        f".st-key-card-{slot} {{ --dl-racer: light-dark({light}, {dark}); }}"
        for slot, (light, dark) in enumerate(zip(RACERS["light"], RACERS["dark"], strict=True))
    )
    return f"<style>.stApp {{ {tokens} }}{racers}{_SHEET}</style>"


def sheet() -> None:
    """Put the style sheet on the page."""
    st.html(_css())
