"""The page of the optimizers, without a browser: what an address opens, and what a click in the tree does."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from core import RULES
from ui import family
from ui.catalogue import proof_table
from ui.scenario import read

APP = Path(__file__).resolve().parent.parent / "app.py"


class Page:
    """The page, opened by a link to a rule."""

    def __init__(self, rule: str | None = None) -> None:
        self.app = AppTest.from_file(APP, default_timeout=120)
        self.app.switch_page("pages/2_Optimizers.py")
        if rule is not None:
            self.app.query_params["rule"] = rule
        self.checked(self.app.run())

    def checked(self, app: AppTest) -> None:
        assert not app.exception, app.exception

    def elements(self, kind: str) -> list[Any]:
        return [element.proto for element in self.app._tree if element.type == kind]

    @property
    def component(self) -> Any:
        (found,) = self.elements("bidi_component")
        return found

    @property
    def headline(self) -> str:
        (found,) = [html.body for html in self.elements("html") if "<h1" in html.body]
        return str(found).split(">")[1].split("<")[0]

    @property
    def way(self) -> list[str]:
        """The names on the way from the root."""
        names = [html.body for html in self.elements("html") if html.body.startswith("<h2>")]
        return [name.removeprefix("<h2>").split("<")[0] for name in names]

    def click(self, rule: object) -> None:
        """In the tree."""
        self.tell("chosen", rule)

    def tell(self, event: str, value: object) -> None:
        """The page's component reports something."""
        states = self.app._tree.get_widget_states()
        told = json.dumps([{"event": event, "value": value}])
        states.widgets.append(WidgetState(id=_make_trigger_id(self.component.id, "events"), json_trigger_value=told))
        self.checked(self.app._run(states))

    def turn(self, page: str) -> None:
        """The next run is another page's, without a rule in the address."""
        self.app.query_params.clear()
        self.app.switch_page(f"pages/{page}.py")


@pytest.mark.parametrize("rule", [None, "sgd", "momentum", "adamw", list(RULES)[-1]])
def test_an_address_opens_the_way_to_its_rule(rule: str | None) -> None:
    page, name = Page(rule), rule or family.DEFAULT
    assert page.headline == family.headline(name)
    assert page.way == [step.label for step in family.path(name)]
    assert json.loads(page.component.json)["selected"] == name
    assert not page.app.warning
    texts = [markdown.value for markdown in page.app.markdown]
    assert proof_table() in texts
    assert all(any(step.paper[:5] in caption.value for caption in page.app.caption) for step in family.path(name))


@pytest.mark.parametrize("rule", ["", "adams", "adam+sam", "<script>alert(1)</script>", "[x](http://www.x.y)" * 99])
def test_a_wrong_name_is_one_sentence_and_the_default(rule: str) -> None:
    page = Page(rule)
    (warning,) = page.app.warning
    assert warning.value == "This link names an optimizer that is not here; this is Adam."
    assert page.headline == family.headline("adam")
    page.click("momentum")
    assert not page.app.warning and page.headline == family.headline("momentum")


def test_a_click_in_the_tree_turns_the_page_and_the_address() -> None:
    page = Page()
    for rule in ("nesterov", "sgd", "amsgrad"):
        page.click(rule)
        assert page.app.query_params["rule"] in (rule, [rule])
        assert page.headline == family.headline(rule)
        assert page.way == [step.label for step in family.path(rule)]


@pytest.mark.parametrize("rule", ["nobody", 7, None, ["adam"], {"rule": "adam"}])
def test_whatever_the_browser_says_is_only_looked_up(rule: object) -> None:
    page = Page("sgd")
    page.click(rule)
    assert page.headline in (family.headline("sgd"), family.headline("adam"))


def test_each_step_and_each_wrapper_offers_its_race() -> None:
    page = Page("adamw")
    asked = [*(rule.name for rule in family.path("adamw")[1:]), *family.around()]
    links = page.elements("page_link")
    assert len(links) == len(asked)
    for link, name in zip(links, asked, strict=True):
        assert link.label == f"Race it against {RULES[RULES[name].parent].label}"
        shown, notes = read(dict(parse_qsl(link.query_string)))
        assert notes == [] and [racer.rule for racer in shown.config.racers] == [RULES[name].parent, name]


def test_who_comes_back_finds_the_rule_of_the_last_look() -> None:
    page = Page("adamw")
    page.turn("1_Race")
    page.checked(page.app.run())
    page.turn("2_Optimizers")
    page.checked(page.app.run())
    assert page.headline == family.headline("adamw")


@pytest.mark.parametrize("event", ["pull", "view"])
def test_what_a_chart_says_when_its_page_is_left_is_not_heard(event: str) -> None:
    page = Page()
    page.turn("1_Race")
    page.checked(page.app.run())
    page.turn("2_Optimizers")
    page.tell(event, {})
    assert page.headline == family.headline(family.DEFAULT)


def test_a_click_that_arrives_when_the_page_is_left_is_not_heard() -> None:
    page = Page()
    page.turn("1_Race")
    page.click("momentum")
    assert "rule" not in page.app.query_params
