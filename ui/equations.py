"""Equations of the registry: `\\new{…}` stands around what changed relative to the parent."""

from __future__ import annotations

import re

# KaTeX takes any word for a colour and writes it into the style attribute, where style.css finds it and puts the
# theme's accent in its place: one formula for the light and the dark page.
MARK = "dodgerblue"
_TOKEN = re.compile(r",\\quad(?![a-zA-Z])\s*|\\new\{|\\[{}]|[{}]|\\begin\b|\\end\b")


def marked(equation: str) -> str:
    """With the changed part in colour, one assignment a line."""
    lines = r" \\ ".join(f"& {line}" for line in assignments(equation))
    return rf"\begin{{aligned}} {lines} \end{{aligned}}".replace(r"\new{", rf"\textcolor{{{MARK}}}{{")


def bare(equation: str) -> str:
    """Without the marks."""
    return equation.replace(r"\new{", "{")


def assignments(equation: str) -> list[str]:
    """The parts between the commas, a mark around several of them put around each.

    A comma within other braces or an environment separates nothing.
    """
    lines, end = [""], 0
    opened: list[str] = []  # braces
    begun = 0  # environments
    for token in _TOKEN.finditer(equation):
        text = token.group()
        lines[-1] += equation[end : token.start()]
        end = token.end()
        if text.startswith(",") and not begun and all(brace == r"\new{" for brace in opened):
            lines[-1] += "}" * len(opened)
            lines.append("".join(opened))
            continue
        lines[-1] += text
        begun += (text == r"\begin") - (text == r"\end")
        if text in ("{", r"\new{"):
            opened.append(text)
        elif text == "}":
            opened.pop()
    return [*lines[:-1], lines[-1] + equation[end:]]
