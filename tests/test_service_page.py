"""The page of the service does in a real Chromium what it must: it shows what is, and says when it does not know.

Rule 1: the service is a real process on a real journal; nothing sleeps, a test waits for what the page shows.
Rule 2: the console stays empty, but for what a browser itself says of a service that is not there.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser import Browser
from tests.stories import HOSTILE, NAME

pytestmark = pytest.mark.xdist_group("browser")  # one browser at a time: two share what a machine has of memory

ROOT: Final = Path(__file__).parents[1]
TOKEN: Final = "a-token-of-the-tests"  # noqa: S105  # of nothing
_SERVED: Final = "lockstep serve: http://"


def waiting(name: str, seconds: float, *after: str) -> dict[str, Any]:
    return {"id": name, "action": "wait", "depends_on": list(after), "parameters": {"seconds": seconds}}


def echo(name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "action": "echo", "depends_on": list(after), **more}


GATED: Final[dict[str, Any]] = {
    "id": "order",
    "name": "An order",
    "steps": [
        echo("reserve", compensation={"action": "echo"}),
        echo("price", "reserve"),
        echo("pay", "reserve", "price", parameters={"sum": "${input.payment.sum}"}),
        {
            **echo("ship", condition='pay.sum != "nothing"'),
            "depends_on": [{"source": "pay", "condition": "pay.sum != null"}],
        },
    ],
}
"""It waits, paused, for an input."""
LONG: Final[dict[str, Any]] = {
    "id": "long",
    "steps": [echo("first"), waiting("slow", 600, "first"), echo("last", "slow")],
}
FAILING: Final[dict[str, Any]] = {
    "id": "failing",
    "steps": [
        echo("a", compensation={"action": "echo"}),
        {
            "id": "b",
            "action": "fail",
            "depends_on": ["a"],
            "parameters": {"message": "no more"},
            "retries": {"max_attempts": 2, "initial_interval": 0.01},
        },
        echo("c", "b"),
    ],
}


class Service:
    """``lockstep serve`` in a process, which can be ended and begun again in its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.token: str | None = None

    def begin(self, token: str | None = None) -> None:
        options = []
        if token is not None:
            file = self.folder / "token"
            file.touch(0o600)
            file.write_text(token)
            options = ["--token-file", str(file)]
        self.token = token
        command = [sys.executable, "-m", "machines.cli", "serve", "--journal", str(self.folder / "journal.db")]
        command += ["--port", str(self.port), "--synchronous", "NORMAL", "--grace", "0", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(_SERVED), line
        self.port = int(line.removeprefix(_SERVED).partition(",")[0].rpartition(":")[2])

    def end(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.communicate(timeout=60)
            self.process = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, self.address + path, json=body, headers=headers, timeout=60)
        assert answer.is_success, answer.text
        return answer.json()

    def start(self, workflow: Any, given: Any = None) -> str:
        return str(self.ask("POST", "/v1/executions", {"workflow": workflow, "input": given or {}})["execution"])


class Page(Browser):
    """The page of a service in a browser."""

    def __init__(self, chromium: Chrome, service: Service) -> None:
        super().__init__(chromium)
        self.service = service

    def open(self, execution: str | None = None, **how: Any) -> None:
        self.chromium.get("about:blank")
        self.show(f"{self.service.address}/#{'start' if execution is None else f'/{execution}'}", **how)

    def until_text(self, selector: str, *words: str) -> None:
        self.until(lambda: all(word in self.text(selector) for word in words), f"{words} in {selector}")

    def until_status(self, status: str) -> None:
        self.until(lambda: self.text("#status") == status, f"the status {status}")

    def write(self, field: str, value: object) -> None:
        text = value if isinstance(value, str) else json.dumps(value, indent=2)
        script = "const [id, text] = arguments; const field = document.getElementById(id); field.value = text;"
        self.run(f"{script} field.dispatchEvent(new Event('input'))", field, text)

    def complaints(self) -> list[Any]:
        """What the console got, but for what the browser itself says of answers that are errors."""
        return [line for line in self.said() if line["source"] != "network"]

    def steps(self) -> dict[str, str]:
        """What the graph says of each step."""
        script = """return [...document.querySelectorAll('#graph .node')].map((node) =>
            [node.querySelector('text').textContent, node.querySelector('.says').textContent])"""
        return dict(self.run(script))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as it is."""
    service = Service(tmp_path_factory.mktemp("service"))
    service.begin()
    yield service
    service.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Service]:
    """A service of a test's own, to be ended."""
    service = Service(tmp_path)
    service.begin()
    yield service
    service.end()


@pytest.fixture
def page(chromium: Chrome, running: Service) -> Iterator[Page]:
    page = Page(chromium, running)
    yield page
    assert page.complaints() == [], "the console is to stay empty"


def test_it_shows_an_execution_and_follows_it(page: Page) -> None:
    execution = page.service.start(GATED)
    page.open(execution)
    page.until_status("PAUSED")
    assert page.text("#id") == execution
    assert page.text("#of") == "of An order"
    assert page.text("#link") == "live"
    assert page.text("#missing") == "pay waits for input.payment.sum"
    assert page.steps() == {"reserve": "COMPLETED", "price": "COMPLETED", "pay": "PENDING", "ship": "PENDING"}
    assert page.texts("#lanes .names div") == ["", execution, "reserve", "price", "pay", "ship"]
    assert page.texts("#graph .condition title") == ['(pay.sum != null) && (pay.sum != "nothing")']
    assert page.text("#events tbody tr td:nth-child(3)") == "ExecutionPaused"
    page.service.ask("POST", f"/v1/executions/{execution}/resume", {"inputs": {"payment": {"sum": 3}}})
    page.until_status("COMPLETED")
    page.until_text("#link", "complete")
    assert set(page.steps().values()) == {"COMPLETED"}
    events = page.service.ask("GET", f"/v1/executions/{execution}/events")["events"]
    assert page.texts("#events tbody td:first-child") == [str(event["seq"]) for event in reversed(events)]
    assert page.text("#list [aria-current] .status") == "COMPLETED"
    assert page.chromium.title.startswith("COMPLETED")


def test_a_failure_is_told_with_its_retries_and_its_rollback(page: Page) -> None:
    execution = page.service.start(FAILING)
    page.open(execution)
    page.until_status("FAILED")
    assert "no more" in page.text("#error")
    assert page.text("#error").startswith("b, attempt 2: ")
    assert page.steps() == {"a": "COMPENSATED", "b": "FAILED, attempt 2", "c": "CANCELLED"}
    assert page.count("#lanes .run.wait") == 1
    assert page.count("#lanes .run.compensation") == 1


def test_the_buttons_do_what_they_say(page: Page) -> None:
    execution = page.service.start(LONG)
    page.open(execution)
    page.until_status("RUNNING")
    page.click("#pause")
    page.until_status("PAUSED")
    assert not page.chromium.find_element(By.ID, "pause").is_enabled()
    page.write("inputs", "{ a: 1 }")
    page.click("#resume button")
    page.until_text("#problem", "line 1: no JSON from here on")
    page.write("inputs", '{"a": 1}')
    page.click("#resume button")
    page.until_status("RUNNING")
    page.click("#cancel")
    page.until_status("CANCELLED")
    assert page.steps() == {"first": "COMPLETED", "slow": "CANCELLED", "last": "CANCELLED"}
    assert page.texts("#events tbody td:nth-child(3)").count("ExecutionResumed") == 1
    assert not page.chromium.find_element(By.ID, "cancel").is_enabled()


def test_what_is_missing_is_asked_for(page: Page) -> None:
    page.open(page.service.start(GATED))
    page.until_status("PAUSED")
    field = page.chromium.find_element(By.ID, "inputs")
    assert json.loads(field.get_property("value")) == {"payment": {"sum": None}}  # type: ignore[arg-type]  # the property is a text
    field.click()
    page.press(Keys.CONTROL, "a")
    page.press(Keys.NULL)
    page.write("inputs", {"payment": {"sum": "paid"}})
    page.click("#resume button")
    page.until_status("COMPLETED")


def test_a_pasted_definition_is_started(page: Page) -> None:
    page.open()
    page.write("definition", GATED)
    page.click("#validate")
    page.until_text("#faults-title", "No fault: 4 steps, in this order: reserve, price, pay, ship")
    page.write("input", {"payment": {"sum": 5}})
    page.click("#start [type=submit]")
    page.until_status("COMPLETED")
    page.until(lambda: page.count("#list [aria-current]") == 1, "it is in the list")
    assert page.text("#list [aria-current] b") == "An order"


def test_faults_are_shown_in_their_places(page: Page) -> None:
    page.open()
    steps = [echo("a"), {**echo("b", "nobody"), "action": "work"}, {**echo("a"), "retries": {"backoff": "x"}}]
    definition = json.dumps({"id": "w", "steps": steps}, indent=1)
    page.write("definition", definition)
    page.click("#start [type=submit]")
    page.until(lambda: page.count("#faults-list li") > 2, "the faults")
    places = page.texts("#faults-list code")
    assert {"steps[1].depends_on[0]", "steps[1].action", "steps[2].retries.backoff"} <= set(places)
    lines = [int(line.split()[1]) for line in page.texts("#faults-list button span:first-child")]
    text = definition.split("\n")
    assert '"nobody"' in text[lines[places.index("steps[1].depends_on[0]")] - 1]
    assert '"backoff"' in text[lines[places.index("steps[2].retries.backoff")] - 1]
    marked = page.texts("#definition-lines .faulty")
    assert marked == [str(line) for line in sorted(set(lines))]
    page.run("document.querySelectorAll('#faults-list button')[arguments[0]].click()", places.index("steps[1].action"))
    selected = "const field = document.getElementById('definition');"
    selected += " return field.value.slice(field.selectionStart, field.selectionEnd)"
    assert page.run(selected) == '"work"'
    assert page.run("return document.activeElement.id") == "definition"


@pytest.mark.parametrize(
    ("definition", "given", "line", "problem"),
    [
        ('{\n "id": "w",\n "steps": [}\n}', "", "line 3", "a value must stand here"),
        ('{"id": "w",\n "id": "v"}', "", "line 2", "this key stands twice in one object"),
        ('{"id": 01}', "", "line 1", "no JSON from here on"),
        ('{"id": "w"', "", "line 1", "the text ends too early"),
        ('{"id": "w" "steps": []}', "", "line 1", "a comma or } must stand here"),
        ('{"id" "w"}', "", "line 1", "a colon must stand here"),
        ("{1: 2}", "", "line 1", "a key in quotes must stand here"),
        ("{} {}", "", "line 1", "nothing may stand after the value"),
        ("[" * 300, "", "line 1", "nested too deeply"),
        (json.dumps(GATED), "\n[1]", "input 2", "the input must be a JSON object"),
    ],
)
def test_what_is_no_json_is_told_with_its_line(
    definition: str, given: str, line: str, problem: str, page: Page
) -> None:
    if not page.chromium.current_url.startswith(f"{page.service.address}/#start"):
        page.open()
    page.write("definition", definition)
    page.write("input", given)
    page.click("#start [type=submit]")
    page.until(lambda: page.texts("#faults-list span") == [line, problem], problem)


def test_a_stored_workflow_is_at_hand(page: Page) -> None:
    page.service.ask("POST", "/v1/workflows", {**LONG, "id": "stored/of mine?"})
    page.open()
    page.until(lambda: page.count("#stored option") == 2, "it is offered")
    page.chromium.find_element(By.CSS_SELECTOR, "#stored option:nth-child(2)").click()
    page.until(lambda: "stored/of mine?" in page.run("return document.getElementById('definition').value"), "it")
    page.service.ask("GET", "/v1/workflows")


def test_the_list_is_filtered_and_goes_on(page: Page) -> None:
    names = [page.service.start({"id": f"many-{number}", "steps": [echo("a")]}) for number in range(52)]
    page.open()
    page.until(lambda: page.count("#list li") == 50, "a page of the list")
    assert page.text("#list li:first-child b") == "many-51"
    page.click("#older")
    page.until(lambda: page.count("#list li") > 51, "the older ones")
    page.chromium.find_element(By.CSS_SELECTOR, "#filter [value=FAILED]").click()
    page.until(lambda: set(page.texts("#list .status")) <= {"FAILED"}, "those of a status")
    page.chromium.find_element(By.CSS_SELECTOR, "#filter [value='']").click()
    page.until(lambda: page.count("#list li") >= 50, "all again")
    page.run("document.activeElement.blur()")
    page.press("j")
    page.until_text("#id", names[-1])
    page.press("j")
    page.until_text("#id", names[-2])
    page.press("k")
    page.until_text("#id", names[-1])
    page.press("n")
    assert page.run("return document.activeElement.id") == "definition"


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_restart_in_the_middle_of_a_live_view(kill: bool, chromium: Chrome, own: Service) -> None:  # noqa: FBT001  # pytest gives it by name
    page = Page(chromium, own)
    execution = own.start(LONG)
    page.open(execution)
    page.until_status("RUNNING")
    page.run("window.same = true")
    own.end(kill=kill)
    page.until_text("#link", "disconnected")
    assert page.text("#status") == "RUNNING"
    own.begin()
    page.until_text("#link", "live")
    page.click("#pause")
    page.until_status("PAUSED")
    own.end(kill=kill)
    own.begin()
    own.ask("POST", f"/v1/executions/{execution}/cancel", {})
    page.until_status("CANCELLED")
    page.until_text("#link", "complete")
    assert page.run("return window.same"), "the page was never loaded again"
    events = own.ask("GET", f"/v1/executions/{execution}/events")["events"]
    assert page.texts("#events tbody td:first-child") == [str(event["seq"]) for event in reversed(events)]
    assert [line for line in page.complaints() if "WebSocket connection" not in line["message"]] == []


def test_a_token_is_asked_for_when_the_service_wants_one(chromium: Chrome, own: Service) -> None:
    page = Page(chromium, own)
    execution = own.start(LONG)
    page.open(execution)
    page.until_status("RUNNING")
    own.end()
    own.begin(TOKEN)
    page.until(lambda: not page.run("return document.getElementById('token-card').hidden"), "the field")
    assert page.text("#link") == "not let in"
    chromium.find_element(By.ID, "token").send_keys("wrong", Keys.ENTER)
    page.until(lambda: page.run("return document.getElementById('token').value") == "", "it is taken")
    chromium.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
    page.until_text("#link", "live")
    page.click("#cancel")
    page.until_status("CANCELLED")
    assert page.run("return document.getElementById('token-card').hidden")
    assert [line for line in page.complaints() if "WebSocket connection" not in line["message"]] == []


def test_hostile_text_stays_text(page: Page) -> None:
    steps = [
        echo(NAME, parameters={"__proto__": HOSTILE, "a": HOSTILE}),
        echo("__proto__", NAME),
        {**echo("</style>", "__proto__"), "action": "fail", "parameters": {"message": HOSTILE}},
    ]
    execution = page.service.start({"id": HOSTILE, "name": HOSTILE, "steps": steps}, {"constructor": HOSTILE})
    page.open(execution)
    page.until_status("FAILED")
    assert page.count("script") == 4
    assert page.count("img") == page.count("style") == 0
    assert page.run("return typeof taken") == "undefined"
    assert "taken" not in page.chromium.title.split("·")[0]
    assert page.steps()["__proto__"] == "COMPLETED"
    assert HOSTILE[:30] in page.text("#list b")
    assert HOSTILE[:30] in page.text("#error")
    page.open("%3Cimg%20src=x%20onerror=taken=1%3E")
    page.until_text("#problem", "there is no execution")
    page.open("%E0%A4%A")
    page.until(lambda: page.text("#problem") != "", "it is told")
    assert page.run("return typeof taken") == "undefined"


def test_the_policy_is_strict(page: Page) -> None:
    answer = httpx.get(page.service.address)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in answer.text.replace("xmlns", "")
    assert httpx.get(f"{page.service.address}/assets/../app.py").status_code == 404
    assert httpx.get(f"{page.service.address}/assets/nothing.js").status_code == 404
    page.open()
    page.until_text("#link", "connected")
    page.run("try { document.body.innerHTML = '<b>x</b>' } catch (error) { window.stopped = error.name }")
    assert page.run("return window.stopped") == "TypeError"
    assert all("TrustedHTML" in line["message"] for line in page.said())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("what", ["start", "faults", "running", "paused", "failed"])
def test_anybody_can_use_it(what: str, theme: str, page: Page) -> None:
    shown = page.service.start({"running": LONG, "paused": GATED}.get(what, FAILING))
    page.open(None if what in ("start", "faults") else shown, theme=theme)
    if what not in ("start", "faults"):
        page.until_status(what.upper())
    elif what == "faults":
        page.write("definition", {"id": "w", "steps": [{"id": "a"}]})
        page.click("#start [type=submit]")
        page.until(lambda: page.count("#faults-list li"), "the fault")
    page.until(lambda: page.count("#list li"), "the list")
    assert page.run("return document.documentElement.dataset.theme") == theme
    assert page.faults() == []


def test_it_fits_into_a_narrow_window(page: Page) -> None:
    page.open(page.service.start(GATED), width=380, height=800)
    page.until_status("PAUSED")
    assert page.run("return document.documentElement.scrollWidth") <= 380
