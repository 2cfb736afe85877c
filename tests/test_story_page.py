"""The page of a story does in a real Chromium what it must: it tells, it walks, it prints, anybody can use it."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from machines.case import Case
from machines.story_page import page
from tests.browser import Browser
from tests.stories import HOSTILE, NAME, hostile, of_many_steps, that_holds, three_steps, told_of

pytestmark = pytest.mark.xdist_group("browser")  # one browser at a time: two share what a machine has of memory

CASES: Final[dict[str, Callable[[], Case]]] = {
    "three steps": three_steps,
    "200 steps": of_many_steps,
    "hostile": hostile,
    "holds": that_holds,
}


class Page(Browser):
    """A story in a browser."""

    def __init__(self, chromium: Chrome, file: Path) -> None:
        super().__init__(chromium)
        self.file = file

    def open(self, case: Case, *, theme: str = "light", width: int = 1280, height: int = 900) -> None:
        self.file.write_text(page(told_of(case), self.file.name), encoding="utf-8")
        self.show(self.file.as_uri(), theme=theme, width=width, height=height)


@pytest.fixture
def shown(chromium: Chrome, tmp_path: Path) -> Iterator[Page]:
    shown = Page(chromium, tmp_path / "story.html")
    yield shown
    assert shown.said() == [], "the console is to stay empty"


def test_it_tells_the_story(shown: Page) -> None:
    shown.open(three_steps())
    assert shown.text("h1").startswith("the compensation of 'c' started, expected 'b'")
    assert shown.text("#clause") == "F4 · Failure and rollback"
    assert shown.text("#told") == "violated as recorded"
    assert shown.text("#words").startswith("Rollback runs the compensations of all COMPLETED steps")
    assert shown.count("#moves li") == 5
    assert shown.text("#moves .decides") == "latency 3.5 ms: decides; without it the contract holds"
    assert shown.count("#graph .node") == 3
    assert shown.texts("#graph .node.parts .says") == ["COMPENSATING", "the model: COMPLETED"]
    assert shown.texts("#lanes .names div") == ["", "x1", "a", "b", "c"]
    assert shown.count("#lanes .parting") == 1
    assert "#10 CompensationStarted c, attempt 1 — here they part" in shown.text("#history .parting-row")
    assert shown.count("#history .after") > 0
    assert shown.texts("#model .differs td") == ["c", "COMPENSATING", "COMPLETED", ""]
    assert "to be undone, in this order: b, c" in shown.text("#model .whole")


def test_the_clause_is_a_link_into_the_contract(shown: Page) -> None:
    shown.open(three_steps())
    assert shown.run("return document.getElementById('contract').open") is False
    shown.click("#clause-link")
    assert shown.run("return document.getElementById('contract').open") is True
    assert shown.run("return location.hash") == "#F4"
    top = shown.run("return document.getElementById('F4').getBoundingClientRect().top")
    assert 0 <= top < 900
    assert shown.text("#clauses .violated").startswith("F4Rollback runs")
    assert shown.run("return document.querySelector('#F4 a').hash") == "#K4"


def test_one_walks_with_keys(shown: Page) -> None:
    shown.open(three_steps())
    shown.press(Keys.HOME)
    assert shown.text("#now").startswith("Move 1 of 4: run a; b")
    assert shown.texts("#graph .says") == ["RUNNING", "", "RUNNING", "", "RUNNING", ""]
    assert shown.count("#history .parting-row") == 0
    shown.press(Keys.ARROW_RIGHT, "k")
    assert shown.text("#now").startswith("Move 3 of 4: x1/c returns")
    assert shown.texts("#graph .node.moved text")[:1] == ["c"]
    assert shown.texts("#model tr:nth-child(4) td")[1:3] == ["COMPLETED", "COMPLETED"]
    shown.press(Keys.ARROW_LEFT)
    assert shown.text("#now").startswith("Move 2 of 4")
    shown.press(Keys.END)
    assert shown.text("#now").startswith("The end")
    shown.press("k")
    assert shown.text("#moves [aria-current]").startswith("end")


def test_one_walks_with_the_slider_the_buttons_and_the_list(shown: Page) -> None:
    shown.open(three_steps())
    slider = shown.chromium.find_element(By.ID, "slider")
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown.text("#now").startswith("Move 4 of 4")
    assert str(slider.get_attribute("aria-valuetext")).startswith("Move 4 of 4: x1/b returns")
    shown.click("#first")
    assert shown.text("#now").startswith("Move 1 of 4")
    assert not shown.chromium.find_element(By.ID, "back").is_enabled()
    shown.click("#next")
    assert slider.get_property("value") == "1"
    shown.click("#moves li:nth-child(4) button")
    assert shown.text("#now").startswith("Move 4 of 4")
    shown.click("#last")
    shown.click("#back")
    assert shown.text("#now").startswith("Move 4 of 4")


def test_what_is_to_come_is_drawn_faintly(shown: Page) -> None:
    shown.open(three_steps())
    widths = "return [...document.querySelectorAll('#lanes .run')].map((bar) => bar.getAttribute('width') * 1)"
    at_the_end = shown.run(widths)
    shown.press(Keys.HOME)
    at_the_start = shown.run(widths)
    assert all(width > 0 for width in at_the_end)
    assert at_the_start.count(0) > 0
    assert max(at_the_start) < max(at_the_end)


def test_everything_from_the_beginning_is_there_to_be_read(shown: Page) -> None:
    shown.open(three_steps())
    shown.click("#all")
    heads = shown.texts("#history .head-row")
    assert [head.split(":")[0] for head in heads] == ["1", "2", "3", "4", "End"]
    assert any("command 1: start" in row for row in shown.texts("#history tr"))


@pytest.mark.unmeasured
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", CASES)
def test_anybody_can_use_it(name: str, theme: str, shown: Page) -> None:
    shown.open(CASES[name](), theme=theme)
    assert shown.run("return document.documentElement.dataset.theme") == theme
    shown.run("document.getElementById('contract').open = true")
    assert shown.faults() == []


def test_light_and_dark_can_be_chosen(shown: Page) -> None:
    shown.open(three_steps(), theme="dark")
    themes = []
    for _ in range(3):
        themes.append((shown.text("#theme-name"), shown.run("return document.documentElement.dataset.theme")))
        shown.press("t")
    assert themes == [("system", "dark"), ("light", "light"), ("dark", "dark")]


def test_two_hundred_steps_are_usable(shown: Page) -> None:
    shown.open(of_many_steps())
    assert shown.count("#graph .node") == 200
    seen = """
        const box = document.getElementById('graph').getBoundingClientRect();
        const node = document.querySelector('#graph .node.parts').getBoundingClientRect();
        const beside = node.left >= box.left && node.right <= box.right;
        return [beside, node.top >= box.top && node.bottom <= box.bottom, node.height];
    """
    inside, within, height = shown.run(seen)
    assert (inside, within) == (True, True), "the place of parting is in sight"
    assert height > 25, "and can be read"
    assert any("never started" in text for text in shown.texts("#lanes .names div"))
    assert "more steps" in shown.text("#model tbody tr:last-child")
    assert shown.count("#model tbody tr") < 100
    shown.click("#every")
    assert shown.count("#model tbody tr") == 201
    shown.click("#fit")
    fitted = "const box = document.getElementById('graph'); return box.scrollWidth <= box.clientWidth"
    assert shown.run(fitted) is True
    shown.click("#larger")
    shown.click("#larger")
    assert shown.run(fitted) is False


def test_hostile_text_stays_text(shown: Page) -> None:
    shown.open(hostile())
    assert shown.count("script") == 3
    assert shown.count("img") == 0
    assert shown.run("return typeof taken") == "undefined"
    assert shown.chromium.title.startswith("F4: the compensation of ")
    assert NAME in shown.texts("#model td")
    assert "__proto__" in shown.texts("#model td")
    assert any(HOSTILE[:30] in row for row in shown.texts("#moves button"))


def test_it_asks_the_network_for_nothing(shown: Page) -> None:
    shown.open(three_steps())
    shown.log("performance")
    shown.chromium.refresh()
    shown.press(Keys.HOME, Keys.END)
    wanted = [line["message"] for line in shown.log("performance") if "requestWillBeSent" in line["message"]]
    assert [message for message in wanted if "file://" not in message and "data:," not in message] == []
    assert (
        shown.run(
            "return performance.getEntriesByType('resource').filter((each) => !each.name.startsWith('data:')).length"
        )
        == 0
    )
    policy = shown.run("return document.querySelector('[http-equiv=Content-Security-Policy]').content")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", CASES)
def test_it_fits_into_a_narrow_window(name: str, shown: Page) -> None:
    shown.open(CASES[name](), width=380, height=800)
    assert shown.run("return document.documentElement.scrollWidth") <= 380


def test_it_is_readable_when_printed(shown: Page) -> None:
    shown.open(three_steps(), theme="dark")
    printed = base64.b64decode(shown.command("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") <= 3
    shown.run("dispatchEvent(new Event('beforeprint'))")
    shown.command("Emulation.setEmulatedMedia", media="print")
    assert shown.run("return document.documentElement.dataset.theme") == "light"
    for hidden in ("#walk", "#theme", ".keys"):
        assert not shown.chromium.find_element(By.CSS_SELECTOR, hidden).is_displayed()
    assert shown.run("return Number(document.querySelector('#lanes .sheet').getAttribute('width'))") <= 660
    for seen in ("#history .parting-row", "#history th", "#clauses .violated"):
        assert shown.chromium.find_element(By.CSS_SELECTOR, seen).is_displayed()
    assert not shown.chromium.find_element(By.ID, "K1").is_displayed()
    shown.run("dispatchEvent(new Event('afterprint'))")
    shown.command("Emulation.setEmulatedMedia", media="")
    assert shown.run("return document.documentElement.dataset.theme") in {"light", "dark"}


def test_without_scripts_the_story_is_there_in_words(shown: Page) -> None:
    shown.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        shown.open(three_steps())
        words = shown.chromium.find_element(By.CSS_SELECTOR, "noscript pre")
        assert "F4 (newest_first): violated as recorded" in words.text
    finally:
        shown.command("Emulation.setScriptExecutionDisabled", value=False)
