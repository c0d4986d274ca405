"""The family tree: every rule hangs on its parent by one marked change, and what is drawn is what the registry says."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import pytest

from core import RULES
from core.conformance import proofs
from core.optimizers import WRAPPERS
from core.optimizers.base import Rule
from core.optimizers.wrappers import Wrapper
from ui import family
from ui.equations import MARK, assignments, bare, marked
from ui.scenario import read, write

STYLE = Path(__file__).resolve().parent.parent / "ui" / "style.css"
ENTRIES: list[Rule | Wrapper] = [*RULES.values(), *WRAPPERS.values()]


def balanced(text: str) -> bool:
    depth = 0
    for brace in text.replace(r"\{", "").replace(r"\}", ""):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0


class Lists(HTMLParser):
    """Reads nested lists of links: (rule, the rule whose list it stands in, its words and its title)."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.above: list[str] = []
        self.found: list[tuple[str, str, str, str]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            assert given["href"] == f"?rule={given['data-rule']}"
            self.found.append((given["data-rule"], "".join(self.above[-1:]), "", given["title"]))
            self.above.append(given["data-rule"])

    def handle_data(self, data: str) -> None:
        if self.found:
            rule, above, _, title = self.found[-1]
            self.found[-1] = rule, above, data, title

    def handle_endtag(self, tag: str) -> None:
        if tag == "li":
            self.above.pop()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A proof of everything but RMSprop."""
    kept = MappingProxyType({name: proof for name, proof in proofs().items() if name != "rmsprop"})
    monkeypatch.setattr(family, "proofs", lambda: kept)
    family.menu.cache_clear()
    yield
    family.menu.cache_clear()


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_every_rule_changes_one_thing_about_its_parent(rule: Rule) -> None:
    assert balanced(rule.equation)
    if rule.name == "sgd":
        assert not rule.parent and r"\new" not in rule.equation
        return
    assert rule.parent in list(RULES)
    assert rule.change[:1].isupper() or rule.change[:1] in "mvgp"
    assert rule.change.endswith(".") and rule.change.count(". ") == 0, "one sentence"
    assert r"\new{" in rule.equation and rule.equation.count(r"\new") == rule.equation.count(r"\new{")


def test_all_descend_from_sgd_without_a_circle() -> None:
    for name in RULES:
        way = [rule.name for rule in family.path(name)]
        assert way[0] == "sgd" and way[-1] == name and len(set(way)) == len(way)
        assert [RULES[child].parent for child in way[1:]] == way[:-1]


def test_every_rule_and_every_wrapper_is_proved_and_in_the_menu() -> None:
    assert set(family.menu()) == set(RULES)
    assert {name.split("+")[1] for name in family.around()} == set(WRAPPERS)


def test_the_menu_has_parents_before_children_and_brothers_by_complexity() -> None:
    menu = family.menu()
    assert len(set(menu)) == len(menu)
    for name in menu[1:]:
        assert menu.index(RULES[name].parent) < menu.index(name)
    for name in menu:
        order = [list(RULES).index(child) for child in family.children(name)]
        assert order == sorted(order)


def test_what_is_not_proved_is_not_offered_nor_what_builds_on_it(without: None) -> None:
    menu = family.menu()
    assert "adagrad" in menu and "momentum" in menu
    gone = set(RULES) - set(menu)
    assert gone == {name for name in RULES if "rmsprop" in {rule.name for rule in family.path(name)}}
    assert {"rmsprop", "adam", "adamw"} <= gone
    assert {name.split("+")[0] for name in family.around()} <= set(menu)


def test_the_tree_that_is_drawn_is_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(family, "_component", lambda **given: sent.update(given))
    family.tree("key", "adam", lambda: None)
    assert sent["data"]["selected"] == "adam"
    drawn = Lists(sent["data"]["tree"]).found
    assert [rule for rule, *_ in drawn] == list(family.menu())
    for rule, above, label, title in drawn:
        assert (above, label) == (RULES[rule].parent, RULES[rule].label)
        assert title == RULES[rule].change or rule == "sgd"


def test_headlines() -> None:
    assert family.headline("sgd") == "SGD: where the others begin."
    assert family.headline("momentum") == "From SGD to Momentum in one change."
    assert family.headline("adam") == "From SGD to Adam in three changes."


def test_arxiv_numbers_become_links() -> None:
    assert family.papers("Kingma, Ba, 1412.6980; Polyak (1964)") == (
        "Kingma, Ba, [1412.6980](https://arxiv.org/abs/1412.6980); Polyak (1964)"
    )
    assert family.papers("Lee et al., 2405.20233") == "Lee et al., [2405.20233](https://arxiv.org/abs/2405.20233)"


@pytest.mark.parametrize("name", [*RULES, *family.around()])
def test_every_race_against_the_parent_is_one_that_the_race_page_takes(name: str) -> None:
    if name == "sgd":
        return
    shown = family.duel(name)
    assert [racer.rule for racer in shown.config.racers] == [RULES[name].parent, name]
    assert read(write(shown)) == (shown, [])
    if "+" in name:
        assert len({racer.get("lr") for racer in shown.config.racers}) == 1


# Equations


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_equations_keep_their_meaning_when_they_are_set(entry: Rule | Wrapper) -> None:
    parts = assignments(entry.equation)
    assert all(map(balanced, parts)) and not any(",\\quad" in bare(part) and part.count("{") < 2 for part in parts)
    shown = marked(entry.equation)
    assert r"\new" not in shown + bare(entry.equation)
    assert shown.count(MARK) >= entry.equation.count(r"\new{")
    assert balanced(shown) and balanced(bare(entry.equation))


def unmarked(equation: str) -> str:
    """What is left without the marked parts."""
    kept, depth = "", 0
    for token in re.split(r"(\\new\{|\\[{}]|[{}])", equation):
        if token == r"\new{" or (depth and token == "{"):
            depth += 1
        elif not depth:
            kept += token
        elif token == "}":
            depth -= 1
    return kept


def defined(equation: str) -> set[str]:
    """What stands left of the assignments."""
    sides = (re.split(r"\\leftarrow|=", part) for part in assignments(equation))
    return {re.sub(r"\\new|[{}]", "", side[0]).strip() for side in sides if len(side) > 1}


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.parent], ids=lambda rule: rule.name)
def test_what_the_parent_does_not_have_is_marked(rule: Rule) -> None:
    """A quantity that only the rule defines, and weight decay; hats, which nothing defines, are not used."""
    parent = RULES[rule.parent].equation
    assert defined(unmarked(rule.equation)) - {""} <= defined(parent)
    assert r"\lambda" in parent or r"\lambda" not in unmarked(rule.equation)
    assert r"\hat m" not in rule.equation and r"\hat v" not in rule.equation


def test_one_assignment_a_line() -> None:
    assert assignments("a") == ["a"]
    assert assignments(r"a,\quad b") == ["a", "b"]
    assert assignments(r"\new{a,\quad b},\quad\new{c}") == [r"\new{a}", r"\new{b}", r"\new{c}"]
    assert assignments(r"f\left(a,\quad b\right)") == [r"f\left(a", r"b\right)"]
    assert assignments(r"{a,\quad b}") == [r"{a,\quad b}"]
    cases = r"\begin{cases} a,\quad b \end{cases}"
    assert assignments(rf"{cases},\quad c") == [cases, "c"]
    assert marked(r"a,\quad \new{b}") == rf"\begin{{aligned}} & a \\ & \textcolor{{{MARK}}}{{b}} \end{{aligned}}"
    assert bare(r"a,\quad \new{b}") == r"a,\quad {b}"


def test_the_style_sheet_knows_the_mark() -> None:
    """It puts the theme's accent in the place of the colour that KaTeX was given."""
    assert f'[style*="{MARK}"] {{ color: var(--dl-accent) !important; }}' in STYLE.read_text()
