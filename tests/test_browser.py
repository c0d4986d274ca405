"""The served page in Chromium: what moves, what stays, and that nothing flickers, overflows or is lost on the way.

The chart says what it did by data attributes of its root (`report` in static/live.js); no test looks at a clock.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.served import server as fresh_server
from core import SCHEDULES, race, racer
from core.config import Choice
from ui import family, limits
from ui.from_here import Fork
from ui.scenario import Scenario, default, read, scenario, write

PATIENCE = 60_000  # milliseconds until a test gives up; none of them waits for time to pass
BYTES = 300_000  # that a run of the first screen may cost from a moved slider to its end, some of it sent twice
RESULTS = re.compile(r"\d")

OpenPage = Callable[..., Page]


def link(shown: Scenario, speed: str = "max") -> str:
    """The address of a scenario, played as fast as it is trained."""
    return "/?" + urlencode(write(shown) | {"speed": speed})


QUICK = link(scenario(race("moons", [racer("sgd", lr=0.1), racer("adam", lr=0.01)], steps=500, seeds=3)))


def chart(page: Page) -> Locator:
    return page.locator(".dl-live[data-run]")


def data(page: Page) -> dict[str, str]:
    """The data attributes of the chart."""
    found: dict[str, str] = chart(page).evaluate("element => ({...element.dataset})")
    return found


def until(page: Page, condition: str) -> dict[str, str]:
    """Wait for a JavaScript condition on `d`, the chart's data attributes, numbers where they are some."""
    script = f"""() => {{
      const d = {{...document.querySelector(".dl-live[data-run]")?.dataset}};
      for (const name of ["head", "trained", "painted", "paints", "blank", "ghosts"]) d[name] = Number(d[name]);
      return {condition};
    }}"""
    page.wait_for_function(script, timeout=PATIENCE)
    return data(page)


def until_complete(page: Page, steps: int, run: str = "") -> dict[str, str]:
    """Until all steps are trained and drawn, the ghost is gone, and the chart is at rest."""
    other = f'd.run !== "{run}" && ' if run else ""
    return until(page, f'{other}d.trained === {steps} && d.head === {steps} && d.ghosts === 0 && d.playing === "false"')


def shown_by(page: Page) -> Scenario:
    """The scenario of the address bar, which must need no correction."""
    found, notes = read(dict(parse_qsl(urlsplit(page.url).query, keep_blank_values=True)))
    assert notes == []
    return found


def picture(page: Page) -> dict[str, object]:
    """Everything that a visitor sees of a race at rest."""
    found: dict[str, object] = page.evaluate(
        """() => {
          const texts = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
          return {
            run: document.querySelector(".dl-live").dataset.run,
            words: texts(".dl-head h2, .dl-head p"),
            labels: texts(".dl-overlay text"),
            lines: [...document.querySelectorAll(".dl-plot .scatterlayer path[d]")].map((e) => e.getAttribute("d")),
            results: texts(".dl-results b"),
            sliders: [...document.querySelectorAll("input[type=range]")].map((e) => e.value),
          };
        }"""
    )
    return found


def slider(page: Page, which: int = 0) -> Locator:
    return page.get_by_role("slider", name="Learning rate").nth(which)


def overflow(page: Page) -> list[str]:
    """What reaches out of the window to the right, outside of anything that clips or scrolls it."""
    found: list[str] = page.evaluate(
        """() => {
          const clipped = (e) => {
            for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) {
              const { overflowX } = getComputedStyle(p);
              if (overflowX === "visible" || p.getBoundingClientRect().right > innerWidth + 1) continue;
              return p.scrollWidth <= p.clientWidth + 1 || overflowX === "hidden" || overflowX === "clip";
            }
            return false;
          };
          const main = document.querySelector("[data-testid=stMain]");
          const pages = [document.scrollingElement, main].filter((e) => e.scrollWidth > e.clientWidth);
          const elements = [...document.querySelectorAll("body *")].filter((e) => {
            const r = e.getBoundingClientRect();
            const seen = r.width > 1 && r.height > 1 && getComputedStyle(e).visibility === "visible";
            return seen && r.right > innerWidth + 1 && !clipped(e);
          });
          return [...pages, ...elements].map((e) => `${e.tagName} ${e.className} ${e.dataset.testid ?? ""}`);
        }"""
    )
    return found


def test_the_first_screen_races_at_once_and_a_moved_slider_moves_its_curves(
    page: OpenPage, console_errors: list[str], received: list[int]
) -> None:
    opened = page("/")
    before = until_complete(opened, 1000)
    assert before["run"] == default().config.key() and before["blank"] == "0"
    first = picture(opened)
    for result in opened.locator(".dl-results b").all():
        expect(result).to_have_text(RESULTS)
    opened.evaluate("window.__descentLab.ghosts = 0")
    opened.evaluate(
        """() => new MutationObserver(() => {
          const { ghosts } = document.querySelector(".dl-live").dataset;
          window.__descentLab.ghosts = Math.max(window.__descentLab.ghosts, Number(ghosts));
        }).observe(document.querySelector(".dl-live"), {attributes: true})"""
    )
    received.clear()
    slider(opened).focus()
    slider(opened).press("ArrowRight")
    after = until_complete(opened, 1000, run=before["run"])
    assert sum(received) <= BYTES, (len(received), sum(received))
    moved = shown_by(opened)
    assert moved.config.racers[0].get("lr") > default().config.racers[0].get("lr")
    assert moved.config.racers[1:] == default().config.racers[1:]
    assert after["run"] == moved.config.key()
    second = picture(opened)
    assert second["lines"] != first["lines"] and second["labels"] != first["labels"]
    assert opened.evaluate("window.__descentLab.ghosts") == 3, "the old curves stay until they are overtaken"
    assert after["blank"] == "0" and int(after["paints"]) > int(before["paints"])
    assert slider(opened).evaluate("element => element === document.activeElement"), "so that it can be moved on"
    assert console_errors == []


def test_a_slider_pulled_in_a_hurry_ends_where_it_was_let_go(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(QUICK)
    run = until_complete(opened, 500)["run"]
    slider(opened).focus()
    for key in ["ArrowRight"] * 6 + ["ArrowLeft"] * 2 + ["ArrowRight"] * 3:
        slider(opened).press(key)
    stops = [r.spec.hyper("lr").stops() for r in shown_by(opened).config.racers]
    wanted = stops[0][stops[0].index(0.1) + 7]
    opened.wait_for_url(re.compile(rf"r0\.lr={re.escape(repr(wanted))}(&|$)"), timeout=PATIENCE)
    found = until_complete(opened, 500, run=run)
    assert found["run"] == shown_by(opened).config.key()
    assert found["blank"] == "0" and console_errors == []


def test_play_pause_and_scrub(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(link(scenario(race("moons", [racer("sgd", lr=0.1)], steps=500)), speed="0.25"))
    until(opened, "d.head >= 5")
    opened.get_by_role("button", name="Pause").click()
    until(opened, 'd.playing === "false"')
    rest(opened)
    head = int(data(opened)["head"])
    assert 5 <= head < 500
    opened.get_by_role("button", name="One step forward").click()
    until(opened, f"d.head === {head + 1}")
    opened.keyboard.press("ArrowLeft")  # the button has the focus: its own keys go on working
    scrub = opened.get_by_role("slider", name="Step")
    scrub.focus()
    scrub.press("Home")
    assert until(opened, "d.head === 0")["playing"] == "false"
    chart_keys = opened.locator(".dl-charts")
    chart_keys.focus()
    chart_keys.press("Shift+ArrowRight")
    until(opened, "d.head === 10")
    chart_keys.press("Space")
    until(opened, 'd.playing === "true" && d.head > 10')
    opened.get_by_role("button", name="max: as fast as it trains").click()
    at_rest = until_complete(opened, 500)
    expect(opened.locator(".dl-step")).to_have_text(re.compile("500 of 500"))
    words = opened.locator(".dl-head h2").text_content()
    scrub.focus()
    scrub.press("ArrowLeft")
    until(opened, "d.head === 499")
    scrub.press("Home")
    until(opened, "d.head === 0")
    expect(opened.locator(".dl-head h2")).not_to_have_text(str(words))
    opened.get_by_role("button", name="To the end of what is trained").click()
    assert until(opened, "d.head === 500")["trained"] == at_rest["trained"]
    expect(opened.locator(".dl-head h2")).to_have_text(str(words))
    opened.get_by_role("button", name="4×: 1000 steps a second").click()
    opened.get_by_role("button", name="Play").click()  # at its end: once more from the start
    until(opened, 'd.head < 500 && d.playing === "true"')
    assert until_complete(opened, 500)["blank"] == "0" and console_errors == []


def test_a_slider_that_acts_from_here_on_adds_a_line_and_leaves_the_others_as_they_are(
    page: OpenPage, console_errors: list[str]
) -> None:
    def seen() -> tuple[list[str], str]:
        """The coordinates of all lines, and the names beside them."""
        rest(opened)
        paths = opened.locator(".dl-plot .scatterlayer path[d]").evaluate_all(
            "all => all.map((e) => e.getAttribute('d'))"
        )
        return paths, " ".join(opened.locator(".dl-overlay text").all_text_contents())

    # On a phone the names stand within the charts, so that a longer one does not make these narrower; and a fork of SGD
    # stays above Adam, so that they show the same range.
    racing = scenario(race("moons", [racer("sgd", lr=0.1), racer("adam", lr=0.01)], steps=500))
    opened = page(link(racing), width=390)
    before = until_complete(opened, 500)
    old, _ = seen()
    opened.get_by_role("slider", name="Step").fill("200")
    until(opened, "d.head === 200")
    opened.get_by_text("from here", exact=True).first.click()
    expect(opened.get_by_text("the sliders act from step 200 on")).to_be_visible(timeout=PATIENCE)
    slider(opened).focus()
    slider(opened).press("ArrowLeft")
    after = until_complete(opened, 500, run=before["run"])
    rate = shown_by(opened).at_last(2).get("lr")
    assert shown_by(opened) == replace(racing, view=shown_by(opened).view).with_fork(2, Fork(0, 200, (("lr", rate),)))
    assert rate < 0.1 and f"SGD from 200: rate {rate}" in seen()[1]
    # The same slider moved on is the same fork, and the slider is still where the keys go.
    slider(opened).press("ArrowLeft")
    until_complete(opened, 500, run=after["run"])
    assert shown_by(opened).slots == (0, 1, 2) and shown_by(opened).at_last(2).get("lr") < rate
    assert slider(opened).evaluate("element => element === document.activeElement")
    opened.get_by_text("from the start", exact=True).first.click()
    expect(slider(opened)).to_have_attribute("aria-valuetext", "0.1")
    new, _ = seen()
    assert len(new) > len(old) and set(old) < set(new)
    whole = picture(opened)
    opened.reload()
    until_complete(opened, 500)
    rest(opened)
    assert picture(opened) == whole
    assert console_errors == []


def test_a_reload_gives_the_same_picture(page: OpenPage, console_errors: list[str]) -> None:
    """After a few changes, from nothing but the address bar."""
    opened = page(QUICK)
    run = until_complete(opened, 500)["run"]
    slider(opened, 1).focus()
    slider(opened, 1).press("ArrowRight")
    run = until_complete(opened, 500, run=run)["run"]
    opened.get_by_role("button", name="Same rate").click()
    until_complete(opened, 500, run=run)
    opened.get_by_label("Lower chart").select_option("distance")
    opened.wait_for_url(re.compile("chart=distance"), timeout=PATIENCE)
    expect(opened.locator(".dl-charts")).to_have_attribute(
        "aria-label", re.compile("Distance from the initial weights below")
    )
    until(opened, "d.paints > 0")
    rest(opened)
    before, url = picture(opened), opened.url
    opened.reload()
    until_complete(opened, 500)
    rest(opened)
    assert opened.url == url
    assert picture(opened) == before
    other = page("/" + url.split("/", 3)[3])  # another visitor, who was sent the link
    until_complete(other, 500)
    rest(other)
    assert picture(other) == before
    assert console_errors == []


def rest(page: Page) -> None:
    """Until nothing is drawn any more: the ranges have arrived and every point is shown."""
    page.evaluate(
        """() => new Promise((done) => {
          const root = document.querySelector(".dl-live");
          let last = -1;
          let quiet = 0;
          const look = () => {
            quiet = root.dataset.paints === last ? quiet + 1 : 0;
            last = root.dataset.paints;
            quiet < 30 ? requestAnimationFrame(look) : done();
          };
          look();
        })"""
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_all_of_it_in_both_themes(page: OpenPage, console_errors: list[str], dark: bool) -> None:
    opened = page(link(default()), width=390, height=844, dark=dark)
    found = until_complete(opened, 1000)
    assert found["theme"] == ("dark" if dark else "light") and found["size"] == "narrow"
    ground = opened.locator(".stApp").evaluate("element => getComputedStyle(element).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) / 3 < 60 if dark else ground == "rgb(255, 255, 255)"
    assert overflow(opened) == []
    box = chart(opened).bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    slider(opened).scroll_into_view_if_needed()
    assert overflow(opened) == []
    assert found["blank"] == "0" and console_errors == []


def test_no_width_overflows(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(link(default()), width=1920, height=900)
    until_complete(opened, 1000)
    for width in (1024, 768, 640, 390, 1440):
        opened.set_viewport_size({"width": width, "height": 900})
        opened.wait_for_function(
            "document.querySelector('.dl-live svg').width.baseVal.value <= innerWidth", timeout=PATIENCE
        )
        rest(opened)
        assert overflow(opened) == [], width
    assert data(opened)["blank"] == "0" and console_errors == []


def test_bad_input_by_address_is_a_sentence_and_runs_no_script(page: OpenPage, console_errors: list[str]) -> None:
    script = '<img src=x onerror="window.__descentLab.hit=1"><script>window.__descentLab.hit=1</script>'
    bad = {
        "v": "1",
        "task": script,
        "steps": "100",
        "r0": script,
        "r0.lr": "NaN",
        "r1": "adam",
        "r1.lr": "1e6",
        "speed": "max",
    }
    opened = page("/?" + urlencode(bad))
    until_complete(opened, 100)
    notes = opened.get_by_role("alert").all_inner_texts()
    assert len(notes) == 1 and len(notes[0].split("\n\n")) == 4 and "Traceback" not in notes[0]
    assert opened.evaluate("window.__descentLab.hit") is None
    shown = shown_by(opened)  # the address is a proper one now
    assert [r.rule for r in shown.config.racers] == ["sgd", "adam"] and shown.config.steps <= limits.STEPS
    assert shown.config.racers[1].get("lr") == 10
    assert opened.locator(".stException").count() == 0 and console_errors == []


def test_presets_and_popovers(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(QUICK)
    run = until_complete(opened, 500)["run"]
    opened.get_by_role("button", name="Narrow valley").click()
    run = until(opened, f'd.run !== "{run}" && d.head > 0')["run"]
    assert until(opened, "d.ghosts === 0")["blank"] == "0"
    until_complete(opened, 300)
    opened.get_by_role("button", name="Change").nth(2).click()
    opened.get_by_role("combobox", name="Learning rate over time").click()
    opened.get_by_role("option", name="step decay", exact=True).click()
    until(opened, f'd.run !== "{run}"')
    factor = opened.get_by_role("slider", name="Decay factor")
    expect(factor).to_be_visible(timeout=PATIENCE)
    factor.focus()

    def schedule() -> Choice:
        return shown_by(opened).config.racers[2].schedule

    opened.wait_for_url(lambda url: schedule().name == "step", timeout=PATIENCE)
    hyper = SCHEDULES["step"].hypers[0]
    stops = hyper.stops(hyper.default)
    wanted = stops[stops.index(schedule().get("factor")) + 2]
    for _ in range(2):  # the popover stays open, and the slider keeps the focus
        factor.press("ArrowRight")
    expect(factor).to_be_visible(timeout=PATIENCE)
    opened.wait_for_url(lambda url: schedule().get("factor") == wanted, timeout=PATIENCE)
    assert until(opened, f'd.run === "{shown_by(opened).config.key()}"')["blank"] == "0" and console_errors == []


def test_the_classmates_part_and_their_texts_can_be_read(page: OpenPage, console_errors: list[str]) -> None:
    """The essay's case in one click: the same network and first guess, told apart by the optimizer's settings alone."""
    opened = page(QUICK)
    run = until_complete(opened, 500)["run"]
    opened.get_by_role("button", name="The classmates").click()
    until(opened, f'd.run !== "{run}" && d.head > 100')
    opened.get_by_role("button", name="max").click()
    steps = shown_by(opened).config.steps
    until_complete(opened, steps)
    opened.evaluate("document.activeElement.blur()")
    losses = [float(text) for text in opened.locator("[data-live$='.loss']").all_inner_texts()]
    hot, *others = losses
    assert hot > 2 and max(others) < 0.5, "what the project measures, whatever it is: benchmarks/results.json"
    texts = opened.locator(".dl-samples .dl-text")
    assert texts.count() == 2 * len(losses) and all(text.strip() for text in texts.all_inner_texts())
    late = texts.first.inner_text()
    opened.locator(".dl-transport").get_by_role("slider").first.press("Home")
    until(opened, "d.head === 0")
    assert texts.first.inner_text() != late, "the texts follow the cursor"
    opened.get_by_role("button", name="Network").click()
    expect(opened.locator(".dl-network")).to_contain_text("ln 332", timeout=PATIENCE)
    assert overflow(opened) == [] and console_errors == []


def test_the_optimizer_menu_is_searched_and_the_card_follows(page: OpenPage, console_errors: list[str]) -> None:
    wrapped = racer("adam+sam", lr=0.01)
    opened = page(link(scenario(race("moons", [racer("sgd", lr=0.1, schedule="cosine"), wrapped], steps=500, seeds=3))))
    run = until_complete(opened, 500)["run"]
    assert "r1=adam~sam&" in opened.url, "a link that can be read, and copied through anything"
    expect(opened.locator("[data-now]")).to_have_attribute("x1", "120.0")  # the curve's mark stands at the end
    box = opened.get_by_role("combobox", name="Optimizer").nth(1)
    assert box.input_value().startswith("Adam + SAM\t")
    assert box.evaluate("e => e.clientWidth < parseFloat(getComputedStyle(e).tabSize)"), (
        "closed, it shows the name alone"
    )
    box.click()
    opened.keyboard.press("Backspace")  # takes all that stood there, what is out of sight, too
    opened.keyboard.type("sign")
    options = opened.get_by_role("option")
    expect(options.filter(has_text="signSGD")).to_be_visible(timeout=PATIENCE)
    assert {"signSGD", "Signum", "Lion"} <= {text.split("\t")[0] for text in options.all_inner_texts()}
    for _ in "sign":
        opened.keyboard.press("Backspace")
    opened.keyboard.type("2302.06675")
    expect(options).to_have_count(1)
    opened.keyboard.press("Enter")
    opened.wait_for_url(re.compile("r1=lion~sam&"), timeout=PATIENCE)
    run = until_complete(opened, 500, run=run)["run"]
    opened.get_by_role("button", name="Compare by gradient evaluations").click()
    opened.wait_for_url(re.compile("x=evaluations"), timeout=PATIENCE)
    opened.get_by_role("button", name="More").nth(1).click()
    opened.get_by_role("button", name="Lookahead").click()
    opened.wait_for_url(re.compile("r1=lion~sam~lookahead&"), timeout=PATIENCE)
    expect(opened.get_by_role("slider", name="Lookahead k")).to_be_visible(timeout=PATIENCE)  # it stays open
    assert until_complete(opened, 500, run=run)["blank"] == "0" and console_errors == []


# The page of the optimizers


def in_tree(page: Page, rule: str) -> Locator:
    return page.locator(f'.dl-family a[data-rule="{rule}"]')


def until_way(page: Page, rule: str) -> None:
    """Until the page shows the way to a rule, to the last equation."""
    expect(page.get_by_role("heading", level=1)).to_have_text(family.headline(rule), timeout=PATIENCE)
    last = page.locator(f".st-key-way > :last-child > .st-key-entry-{rule}")
    expect(last.locator(".katex-html")).to_be_visible(timeout=PATIENCE)
    expect(in_tree(page, rule)).to_have_attribute("aria-current", "true")


def test_every_rule_of_the_tree_is_a_click_away(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(QUICK)
    until_complete(opened, 500)
    opened.get_by_role("link", name="Optimizers").click()
    until_way(opened, family.DEFAULT)
    accent = opened.locator(".dl-family .dl-path > a").first.evaluate("link => getComputedStyle(link).color")
    for rule in reversed(family.menu()):
        in_tree(opened, rule).click()
        until_way(opened, rule)
        opened.wait_for_url(re.compile(rf"/Optimizers\?rule={rule}$"))
        assert opened.locator(".dl-family .dl-path > a").all_inner_texts() == [r.label for r in family.path(rule)]
        assert opened.locator(".katex-error").count() == 0
    in_tree(opened, "adam").focus()
    opened.keyboard.press("Enter")
    until_way(opened, "adam")
    marks = opened.locator('.st-key-entry-adam .katex [style*="color"]')
    assert marks.first.evaluate("mark => getComputedStyle(mark).color") == accent
    opened.go_back()
    until_way(opened, "sgd")
    assert console_errors == []


def test_a_rule_races_its_parent_by_one_click(page: OpenPage, console_errors: list[str]) -> None:
    opened = page(QUICK)
    opened.get_by_role("link", name="Optimizers").click()
    in_tree(opened, "momentum").click()
    until_way(opened, "momentum")
    opened.get_by_role("link", name="Race it against SGD").click()
    until_complete(opened, 1000)
    assert shown_by(opened).config == family.duel("momentum").config
    assert console_errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_optimizers_are_readable_at_every_width(page: OpenPage, dark: bool) -> None:
    opened = page("/Optimizers?rule=amsgrad", width=390, height=844, dark=dark)
    expect(opened.locator(".st-key-entry-amsgrad .katex-html")).to_be_visible(timeout=PATIENCE)
    link, fold = in_tree(opened, "momentum"), opened.locator(".dl-family summary")
    expect(link).to_be_hidden()
    fold.click()
    expect(link).to_be_visible()
    assert overflow(opened) == []
    link.click()
    expect(opened.get_by_role("heading", level=1)).to_have_text(family.headline("momentum"), timeout=PATIENCE)
    expect(link).to_be_hidden()
    for width in (768, 1024, 1440, 1920):
        opened.set_viewport_size({"width": width, "height": 900})
        expect(link).to_be_visible()
        assert overflow(opened) == [], width
    found = Axe().run(opened).response["violations"]
    assert [violation["id"] for violation in found if violation["impact"] in ("serious", "critical")] == []


def test_a_text_and_a_table_of_ones_own_are_raced_on(page: OpenPage, console_errors: list[str], tmp_path: Path) -> None:
    table = tmp_path / "houses.csv"
    table.write_text("size,place,price\n" + "".join(f"{i},{'ab'[i % 2]},{3 * i + i % 7}\n" for i in range(200)))
    opened = page(QUICK)
    run = until_complete(opened, 500)["run"]
    opened.get_by_role("link", name="Your own").click()
    opened.get_by_role("textbox", name="or paste one").fill("the fog came and the lamp went out in the night. " * 20)
    opened.keyboard.press("Control+Enter")
    expect(opened.locator(".dl-facts").first).to_contain_text("Vocabulary", timeout=PATIENCE)
    assert overflow(opened) == []
    opened.get_by_role("button", name="Race on it").click()
    text = until(opened, f'd.run !== "{run}" && d.trained > 0')["run"]
    problem = opened.get_by_role("combobox", name="Problem")
    expect(problem).to_have_value("Your text: pasted")
    opened.get_by_role("button", name="max").click()
    until_complete(opened, 1000)
    expect(opened.locator(".dl-samples")).to_contain_text("fog")
    opened.get_by_role("link", name="Your own").click()
    opened.get_by_role("radio", name="Table").click()
    expect(opened.get_by_text("A CSV or Parquet file")).to_be_visible(timeout=PATIENCE)  # not the text's any more
    opened.locator("input[type=file]").set_input_files(table)
    expect(opened.locator(".dl-facts").first).to_contain_text("120 to train on", timeout=PATIENCE)
    for width in (390, 1440):
        opened.set_viewport_size({"width": width, "height": 900})
        assert overflow(opened) == [], width
    found = Axe().run(opened).response["violations"]
    assert [violation["id"] for violation in found if violation["impact"] in ("serious", "critical")] == []
    opened.get_by_role("button", name="Race on it").click()
    until(opened, f'd.run !== "{text}" && d.trained > 0')
    expect(problem).to_have_value("Your table: houses.csv")
    assert console_errors == []


@pytest.mark.slow
def test_a_link_to_a_page_is_the_first_thing_a_server_is_asked(browser: Browser) -> None:
    with fresh_server(warming=0) as address:
        opened = browser.new_page()
        opened.goto(f"{address}/Optimizers?rule=momentum")
        until_way(opened, "momentum")
        expect(opened.get_by_role("navigation", name="App pages").get_by_role("link")).to_have_text(
            ["Race", "Optimizers", "Moments", "Your own"]
        )
        opened.close()
