"""The page's style sheet: what Streamlit's theme cannot say. Tokens and racers' colours come from `ui.palette`."""

from __future__ import annotations

from functools import lru_cache

import streamlit as st

from ui.palette import RACERS, TOKENS

_SHEET = """
.stApp { font-variant-numeric: tabular-nums; }
[data-testid="stMainBlockContainer"] { padding: 0.55rem 1.25rem 1.5rem; max-width: none; }
[data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"],
.st-key-page { gap: 0.4rem; }
[data-testid="stHeader"] { background: transparent; height: 0; min-height: 0; }
label [data-testid="stTooltipIcon"] { opacity: 0.65; }

/* What all share: names beside their fields, on one line. */
.dl-brand { font-size: 18px; font-weight: 700; margin: 0 0.6rem 0 0; padding: 0; white-space: nowrap; }
.st-key-shared { border-bottom: 1px solid var(--dl-hairline); padding-bottom: 0.5rem; row-gap: 0.4rem; }
.st-key-shared .stElementContainer:has(> .stSelectbox) { width: auto; flex: 0 0 auto; }
.st-key-shared .stSelectbox { display: flex; align-items: center; gap: 0.35rem; }
.st-key-shared .stSelectbox > label { margin: 0; min-height: 0; white-space: nowrap; gap: 0.2rem; }
.st-key-shared .stSelectbox > label p { color: var(--dl-secondary); }
.st-key-shared .stSelectbox > .react-aria-ComboBox { width: 5.6rem; }
.st-key-shared .stSelectbox > label > div { margin-left: 0; }
.st-key-shared .stElementContainer:first-of-type + .stElementContainer .react-aria-ComboBox { width: 11rem; }
.st-key-shared button { padding-left: 0.5rem; padding-right: 0.5rem; white-space: nowrap; }
.st-key-shared label [data-testid="stTooltipIcon"] { margin-left: -0.3rem; }
.st-key-shared button[kind="primary"] { background: transparent; color: var(--dl-accent); border-color: var(--dl-accent); }

/* Scenarios worth a look. */
.st-key-presets { row-gap: 0.1rem; column-gap: 1.1rem; }
.st-key-presets button { padding: 0; min-height: 28px; color: var(--dl-accent); }
.st-key-presets button p { font-size: 15px; }
.st-key-presets > .stElementContainer:last-child { flex-basis: 100%; }
.st-key-presets [data-testid="stCaptionContainer"] p { font-size: 14.5px; color: var(--dl-secondary); opacity: 1; }
[data-testid="stCaptionContainer"] { opacity: 1; }
.st-key-notes:empty { display: none; }

/* A card is a racer: its colour is the stripe, the sliders and nothing else. */
[class*="st-key-card-"] {
  background: var(--dl-panel); border-radius: 8px; border-left: 5px solid var(--dl-racer);
  padding: 0.45rem 0.8rem 0.4rem; gap: 0.15rem;
}
.st-key-cards { gap: 0.6rem; }
[class*="st-key-head-"] input { font-weight: 600; font-size: 16px; }
[class*="st-key-head-"] { padding-bottom: 0.2rem; }
[class*="st-key-card-"] .stSlider { display: flex; align-items: end; gap: 0.6rem; }
[class*="st-key-card-"] .stSlider > label { margin: 0 0 3px; min-height: 0; flex: 0 0 auto; gap: 0.2rem; white-space: nowrap; }
[class*="st-key-card-"] .stSlider > [role="group"] { flex: 1; min-width: 0; padding: 0 8px; }
[class*="st-key-card-"] [data-testid="stSliderTickBar"] { display: none; }
[class*="st-key-card-"] [data-testid="stSliderThumbValue"] p { color: var(--dl-text); font-weight: 600; font-size: 15px; }
[class*="st-key-card-"] .stSlider [role="group"] > div { clip-path: inset(-40px -9px); }
[class*="st-key-card-"] .stSlider [role="group"] > div > div:first-child { background: var(--dl-hairline); }
[class*="st-key-card-"] .stSlider [role="group"] > div > div[data-rac] { background: var(--dl-racer); }
[class*="st-key-card-"] .stSlider [role="group"] > div > div[data-rac]::before {
  content: ""; position: absolute; right: 50%; top: calc(50% - 2px); width: 60rem; height: 4px;
  background: var(--dl-racer); border-radius: 2px; pointer-events: none;
}
.dl-results { display: flex; gap: 1.2rem; font-size: 14px; color: var(--dl-secondary); line-height: 1.3; padding-top: 0.25rem; }
.dl-results b { display: block; font-size: 17px; color: var(--dl-text); font-weight: 600; min-height: 1.3em; }
.dl-results .dl-state { color: var(--dl-text); font-weight: 600; align-self: end; }
.dl-plan { font-size: 14.5px; color: var(--dl-secondary); }
[class*="st-key-plan-"] button { padding: 0; min-height: 28px; color: var(--dl-text); }
[class*="st-key-plan-"] button p { font-size: 14.5px; }

/* With many cards the page scrolls, and the charts stay. */
@media (min-width: 641px) {
  .st-key-arena [data-testid="stColumn"]:has(.dl-live) { position: sticky; top: 0.5rem; align-self: flex-start; }
}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding: 0.5rem 0.75rem 2rem; }
  .st-key-arena > * > [data-testid="stHorizontalBlock"], .st-key-arena > [data-testid="stHorizontalBlock"] {
    flex-direction: column-reverse;
  }
  [class*="st-key-card-"] .stSlider { min-height: 52px; }
  .st-key-presets button { min-height: 40px; }
  .stVerticalBlock > :has(> .st-key-presets) { order: 1; }
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
