"""Colours: eight racers and the page's own tokens, each for the light and the dark ground.

A racer keeps its colour everywhere: a chart's line, a card's stripe, a word in a table. Under normal vision
and under each of three simulated colour blindnesses any two of the eight stay apart, and all are readable as
text of a chart on their ground (tests/test_palette.py computes both). The dash is the second cue.
"""

from typing import Literal

Theme = Literal["light", "dark"]

HUES = ("blue", "amber", "rose", "green", "violet", "teal", "red", "olive")

# In the order of HUES; the same hue in both, lighter on the dark ground.
RACERS: dict[Theme, tuple[str, ...]] = {
    "light": ("#2f6fde", "#b86e00", "#c72c68", "#4c9f5d", "#9153b6", "#01766e", "#8a353c", "#6e6401"),
    "dark": ("#6ea2ff", "#f0a33a", "#f0709b", "#76cf8d", "#b280cd", "#52e4e0", "#ee5a46", "#cada5e"),
}

# Plotly's names and patterns, one for each racer.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "6px,2px,2px,2px", "2px,6px")

TOKENS: dict[Theme, dict[str, str]] = {
    "light": {
        "ground": "#ffffff",
        "panel": "#f6f7f9",
        "hairline": "#e2e6eb",
        "text": "#1b232d",
        "secondary": "#5c6875",
        "accent": "#2f6fde",
        "grid": "#eceff3",
    },
    "dark": {
        "ground": "#0f141b",
        "panel": "#171e27",
        "hairline": "#2a333f",
        "text": "#e8edf3",
        "secondary": "#9aa7b5",
        "accent": "#6ea2ff",
        "grid": "#242d38",
    },
}
