"""The optimizers as a family: what changed on the way from SGD to each of them, and what each was proved against."""

from __future__ import annotations

from html import escape

import streamlit as st

from core.conformance import proofs
from core.optimizers import RULES, WRAPPERS
from ui import family, style
from ui.catalogue import HOW, proof_table, proved
from ui.equations import marked
from ui.scenario import write

TREE, LAST = "family", "last-rule"


def chosen() -> None:
    """A rule was clicked in the tree: the address says which."""
    if TREE in st.session_state:  # not where the page has just been left
        st.query_params.from_dict({"rule": str(st.session_state[TREE].chosen)})


def selected() -> str:
    """The rule of the address; of an address without one, that of the last look at this page."""
    name = st.query_params.get("rule", st.session_state.get(LAST, family.DEFAULT))
    if name not in family.menu():
        st.warning(f"This link names an optimizer that is not here; this is {RULES[family.DEFAULT].label}.")
        name = family.DEFAULT
    st.session_state[LAST] = name
    return name


def entry(name: str, heading: str, words: str, equation: str, paper: str) -> None:
    """One rule or wrapper: what it changes, its equation, what it costs, and the race that shows it."""
    rule = RULES[name]
    with st.container(key=f"entry-{name}"):
        with st.container(horizontal=True, vertical_alignment="top"):
            st.html(f"{heading}<p>{escape(words)}</p>")
            if rule.parent:
                st.page_link("pages/1_Race.py", label=f"Race it against {RULES[rule.parent].label}",
                             query_params=write(family.duel(name)))  # fmt: skip
        st.markdown(f"$${marked(equation)}$$")
        st.caption(" · ".join([family.papers(paper), *family.asks(rule), proved(proofs()[name])]))


def main() -> None:
    style.sheet()
    name = selected()
    st.html(f'<h1 class="dl-story">{escape(family.headline(name))}</h1><p class="dl-lead">{escape(RULES[name].idea)} '
            f"{family.LETTERS} What a step changed is in colour.</p>")  # fmt: skip
    with st.container(key="family-row"):
        left, right = st.columns([1, 1.2], gap="large")
        with left:
            family.tree(TREE, name, chosen)
        with right, st.container(key="way"):
            for rule in family.path(name):
                heading = f"<h2>{escape(rule.label)}</h2>"
                entry(rule.name, heading, rule.change or rule.idea, rule.equation, rule.paper)
    st.html('<h2 class="dl-section">Around any rule</h2><p class="dl-lead">A wrapper takes a whole rule, the base, and '
            "changes the gradient that it is given or what becomes of its step.</p>")  # fmt: skip
    with st.container(key="wrappers"):
        for at in family.around():
            wrapper = WRAPPERS[at.split("+")[1]]
            entry(at, f"<h3>{escape(wrapper.label)}</h3>", wrapper.idea, wrapper.equation, wrapper.paper)
    st.html(f'<h2 class="dl-section">Proved, not promised</h2><p class="dl-lead">{HOW}</p>')
    with st.container(key="proofs"):
        st.markdown(proof_table())


main()
