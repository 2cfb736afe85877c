"""The page of a campaign, in a real browser; and how growth is drawn."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from machines import campaign_page
from machines.campaign_page import write_page
from machines.case import load
from machines.growth import Growth, picture
from machines.mutants import MUTANTS, target_name
from machines.mutants.catalogue import WITNESSES
from machines.searching import Plan, Trouble
from machines.totals import Totals
from tests.browser import Browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BUG = MUTANTS["cancelled_twice"]


@pytest.fixture
def totals(tmp_path: Path) -> Totals:
    found = Totals(Plan(7, target=target_name(BUG), directory=tmp_path), moves=1000, lived=7200.0, wall_seconds=2.0)
    found.cases_of["lifecycle"] = 40
    found.reach_of["lifecycle"] = Counter({"an execution started": 40})
    for second in range(30):
        found.growth.add(second, second * second)
        found.reached.add(second, second)
        found.covered.add(second, 2 * second)
    found.branches_in_all = 1200
    case = load(WITNESSES / f"{BUG.name}.json")
    found.add_failure(case, ("run a",), 3)
    found.add_trouble(Trouble("worker", "worker <0> was ended by SIGKILL"))
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_shows_what_was_found_and_links_the_stories(
    theme: str, totals: Totals, tmp_path: Path, chromium: "Chrome"
) -> None:
    browser = Browser(chromium)
    browser.show(write_page(totals, tmp_path).as_uri(), theme=theme)
    assert "1,000 moves in 2 seconds (500 moves a second); 2.0 hours of virtual time, 3,600 times" in browser.text("p")
    first, second = browser.texts("li")
    assert first.startswith(f"{BUG.clause} (")
    assert "3 times" in first
    assert second == "worker: worker <0> was ended by SIGKILL, 1 time."
    assert browser.count("tbody tr") > 50
    assert browser.count("polyline") == 3
    assert "Branches of the engine gone through, of 1,200" in browser.texts("h3")
    ground = browser.run("return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (sum(ground) < 300) == (theme == "dark")
    assert browser.faults() == []
    assert browser.said() == []
    browser.click("li a")
    browser.until(lambda: browser.count("#moves button"), "the story")
    assert BUG.clause in browser.text("title")


def test_a_story_that_cannot_be_told_is_not_linked(totals: Totals, tmp_path: Path) -> None:
    (failure,) = totals.failures.values()
    assert failure.path is not None
    failure.path.write_text("{")
    text = write_page(totals, tmp_path).read_text()
    assert "Its story" not in text
    assert BUG.clause in text
    quiet = campaign_page.page(Totals(Plan(1)), {})
    assert "Nothing was found" in quiet


def test_growth_is_bounded_and_drawn() -> None:
    growth = Growth()
    assert growth.blocks() == ""
    for second in range(2000):
        growth.add(float(second), min(second, 1000))
    assert len(growth.points) <= 300
    assert growth.points[0] == (0.0, 0)
    blocks = growth.blocks(10)
    assert len(blocks) == 10
    assert blocks[0] in "▇█"
    assert blocks[-1] == "▁"
    assert "points=" in picture("what <is> new", growth.points)
    assert "&lt;is&gt;" in picture("what <is> new", [])
