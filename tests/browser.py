"""A real Chromium, and what a test asks of a page in it.

It needs Debian's packages chromium and chromium-driver (or Chrome and its driver on the PATH). Without them tests that
want it are skipped, and say so; with LOCKSTEP_BROWSER=required, as in CI, they fail.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

AXE: Final = Path(__file__).parent / "data" / "axe" / "axe.min.js"
BOUND: Final = 30
"""Seconds after which a test gives up waiting for a page."""
MISSING: Final = (
    "no Chromium with its driver: `apt-get install chromium chromium-driver` (as root) brings both; "
    "no page is tested without"
)


def _found(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def opened(profile: Path) -> Chrome:
    """A browser with a profile of its own."""
    browser, driver = _found("chromium", "chromium-browser", "google-chrome"), _found("chromedriver")
    if browser is None or driver is None:
        (pytest.fail if os.environ.get("LOCKSTEP_BROWSER") == "required" else pytest.skip)(MISSING)
    options = ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for switch in (
        "headless",
        "no-sandbox",  # root needs it, and the page is our own
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{switch}")
    window = Chrome(options=options, service=Service(driver))
    window.set_page_load_timeout(60)  # its own 300 s are those of a whole test
    return window


class Browser:
    """A page in a browser."""

    def __init__(self, chromium: Chrome) -> None:
        self.chromium = chromium

    def show(self, address: str, *, theme: str = "light", width: int = 1280, height: int = 900) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.said()
        self.chromium.get(address)

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait for something to hold."""
        WebDriverWait(self.chromium, BOUND, 0.05).until(lambda _: holds(), f"never: {what}")

    def command(self, name: str, **arguments: Any) -> Any:
        return self.chromium.execute_cdp_cmd(name, arguments)

    def said(self) -> list[Any]:
        """What the console got since it was asked last."""
        return self.log("browser")

    def log(self, kind: str) -> list[Any]:
        chromium: Any = self.chromium  # this method of it has no types
        return list(chromium.get_log(kind))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chromium.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
        return list(self.run(script, selector))

    def count(self, selector: str) -> int:
        return len(self.chromium.find_elements(By.CSS_SELECTOR, selector))

    def click(self, selector: str) -> None:
        found = self.chromium.find_element(By.CSS_SELECTOR, selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def press(self, *keys: str) -> None:
        self.chromium.switch_to.active_element.send_keys(*keys)

    def faults(self) -> list[str]:
        """What axe finds fault with."""
        self.run(AXE.read_text(encoding="utf-8"))
        found = self.chromium.execute_async_script(
            "const done = arguments[arguments.length - 1]; axe.run(document, {resultTypes: ['violations']}).then(done)"
        )
        return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]
