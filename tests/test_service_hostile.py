"""Requests from somebody who means no good: what gets through is counted, and it is none.

Rule 1: something got through if it was granted where nothing may be, or if Python did something for it that no
definition may ask for: the interpreter's own audit events are listened to, not the service's word.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import pytest

from engine.actions import ACTIONS
from engine.service import Catalogue, Limits, create_app
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine

Json: TypeAlias = Any

LEAST: Final = 60
TOKEN: Final = "a-token-of-some-length"  # noqa: S105  # it opens nothing but a service of this test
SECRET: Final = "what-nobody-may-see"  # noqa: S105  # nobody else has it
OWN: Final = {"host": "localhost", "content-type": "application/json"}
FORBIDDEN: Final = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn"),
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "urllib.Request"),
    *("exec", "compile", "import", "ctypes.dlopen", "pickle.find_class", "os.listdir", "os.remove", "os.rename"),
)

CONDITIONS: Final = (
    "__import__('os').system('touch up')",
    "open('secret').read() != ''",
    "eval('1+1') == 2",
    "exec('import os')",
    "().__class__.__bases__[0].__subclasses__().size() > 0",
    "a.__class__ != null",
    "input.__init__.__globals__['os'].system('id') == 0",
    "getattr(a, 'x') == 1",
    "lambda: True",
    "[x for x in [1]] == [1]",
    "import os",
    "os.environ['HOME'] != ''",
    "globals()['__builtins__'] != null",
    "a if True else b",
    "'{0.__class__}'.format(a) != ''",
    "f'{a}' == ''",
    "breakpoint()",
    "(1).__class__ == int",
    "true; touch('up')",
    "`touch up`",
    "$(touch up) == ''",
    "${a.__class__} == 1 || open('secret')",
)
REFERENCES: Final = (
    "${input.__class__}",
    "${input.__class__.__mro__.1}",
    "${first.__init__.__globals__}",
    "${first.keys}",
    "${env.SECRET}",
    "${os.environ}",
    "${../secret}",
    "${file:secret}",
    "${input.x!r}",
    "${first[0].__class__}",
    "${{7*7}}",
    "${self.engine}",
    "${input.${first.name}}",
)
NAMES: Final = (
    *("shell", "os.system", "engine.actions:shell", "engine.actions.shell", "../shell", "subprocess.run", "eval"),
    *("__import__", "builtins.exec", "machines.cli:main", "wait\x00", "WAIT", "", "echo;shell", "lambda: 0"),
)
SCHEMAS: Final = (
    {"$ref": "file:///etc/passwd"},
    {"$ref": "file:secret"},
    {"$ref": "secret"},
    {"$ref": "../secret#/x"},
    {"$ref": "http://127.0.0.1:1/schema"},
    {"$ref": "https://example.org/schema.json"},
    {"$ref": "//127.0.0.1/schema"},
    {"$ref": "ftp://127.0.0.1/schema"},
    {"$ref": "data:application/json,{}"},
    {"$dynamicRef": "http://127.0.0.1:1/schema"},
    {"$schema": "http://127.0.0.1:1/dialect"},
    {"$schema": "file:///etc/passwd"},
    {"$id": "http://127.0.0.1:1/", "$ref": "other"},
    {"properties": {"x": {"$ref": "file:///etc/passwd#/x"}}},
    {"$defs": {"x": {"$id": "file:///etc/", "$ref": "passwd"}}, "$ref": "#/$defs/x"},
)
STRANGERS: Final[tuple[dict[str, str], ...]] = (
    {"host": "evil.example"},
    {"host": "evil.example:8700"},
    {"host": "localhost.evil.example"},
    {"host": "127.0.0.1.nip.io"},
    {"host": "localhost@evil.example:80"},
    {"host": ""},
    {"host": "[::2]"},
    {"host": "[::1"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://localhost:1"},
    {"origin": "file://"},
    {"origin": ""},
)
UNTOLD: Final[tuple[dict[str, str], ...]] = (
    {},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Token {TOKEN}"},
    {"authorization": "Basic Og=="},
    {"authorization": "Basic !!"},
    {"authorization": "Bearer \xe9"},
    {"cookie": f"token={TOKEN}"},
    {"sec-websocket-protocol": f"bearer.{TOKEN}"},
)
BODIES: Final[tuple[tuple[bytes, dict[str, str]], ...]] = (
    (b"[" * 100_000, {}),
    (b'{"workflow":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, {}),
    (b'{"workflow": "stored", "input": {"x": ' + b"[" * 80 + b"]" * 80 + b"}}", {}),
    (b'{"workflow": "stored", "input": {"x": "' + b"x" * (1 << 20) + b'"}}', {}),
    (b'{"workflow": "stored", "input": {"x": NaN}}', {}),
    (b'{"workflow": "stored", "input": {"x": -Infinity}}', {}),
    (b'{"workflow": "stored", "input": {"x": ' + b"9" * 5000 + b"}}", {}),
    (b'{"workflow": "stored", "input": {"x": 1e999}}', {}),
    (b'{"workflow": "other", "workflow": "stored"}', {}),
    (b'{"workflow": "stored", "input": {"x": "\\ud800"}}', {}),
    (b'{"workflow": "stored", "input": [1]}', {}),
    (b'{"workflow": "stored", "actions": {"shell": true}}', {}),
    (b'\xff\xfe{"workflow": "stored"}', {}),
    (b'{"workflow": "stored"}', {"content-type": "text/plain"}),
    (b'{"workflow": "stored"}', {"content-type": "application/x-www-form-urlencoded"}),
    (b'{"workflow": "stored"}', {"content-type": "multipart/form-data; boundary=x"}),
    (b'{"workflow": "stored"}', {"content-type": ""}),
    (b'{"workflow": "stored"}', {"idempotency-key": ""}),
    (b'{"workflow": "stored"}', {"idempotency-key": "x" * 300}),
    (b'{"workflow": "../secret"}', {}),
    (b'{"workflow": "\' OR 1=1 --"}', {}),
    (b'{"workflow": null}', {}),
)
PATHS: Final = (
    *("/v1/workflows/../../secret", "/v1/workflows/%2e%2e%2fsecret", "/v1/workflows//etc/passwd", "/secret"),
    *("/v1/executions/..%2f..%2fsecret", "/v1/executions/x'%20OR%20'1'='1", "/v1/executions/%00", "/assets/../app.py"),
    *("/v1/executions?status=x'%20OR%201=1", "/v1/executions?limit=1e9", "/v1/executions?before=-1", "/static/%2e%2e/"),
)


@dataclass
class Ear:
    """Hears the interpreter's audit events while it is open; a hook stays for good, so there is one for all."""

    open: bool = False
    heard: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.open and (event in FORBIDDEN or (event == "open" and "secret" in str(arguments[0]))):
            self.heard.append(event)


EAR: Final = Ear()


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", SECRET)
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    if "installed" not in EAR.heard:
        sys.addaudithook(EAR)
    EAR.heard[:] = ["installed"]
    yield EAR
    EAR.open = False


def step(**more: Json) -> Json:
    return {"id": "b", "action": "echo", "depends_on": ["first"], **more}


def definition(*steps: Json) -> Json:
    return {"id": "w", "steps": [{"id": "first", "action": "echo", "parameters": {"name": "x"}}, *steps]}


class Attack:
    """A service, and what came of what it was asked."""

    def __init__(self, client: httpx.AsyncClient, engine: WorkflowEngine) -> None:
        self.client = client
        self.engine = engine
        self.tried = 0
        self.through: list[str] = []

    async def ask(self, what: str, method: str, path: str, content: bytes | None, headers: Json) -> httpx.Response:
        """Ask something that must be refused."""
        self.tried += 1
        heard = len(EAR.heard)
        EAR.open = True
        try:
            request = self.client.build_request(method, path, content=content, headers={**OWN, **headers})
            response = await self.client.send(request)
        finally:
            EAR.open = False
        if response.status_code < 400 or response.status_code >= 500 or SECRET in response.text:
            self.through.append(f"{what}: {response.status_code} {response.text[:80]}")
        if len(EAR.heard) > heard:
            self.through.append(f"{what}: {EAR.heard[heard:]}")
        return response

    async def start(self, what: str, given: Json) -> None:
        """Start a definition that must be refused."""
        await self.ask(what, "POST", "/v1/executions", json.dumps({"workflow": given}).encode(), {})

    async def run(self, what: str, given: Json) -> None:
        """Start a definition that may be taken, if what it names is then found to be nothing."""
        self.tried += 1
        heard = len(EAR.heard)
        EAR.open = True
        try:
            response = await self.client.post("/v1/executions", json={"workflow": given}, headers=OWN)
            report: Json = {"status": "REFUSED"}
            if response.status_code == 201:
                execution = response.json()["execution"]
                async for numbered in self.engine.subscribe(execution):
                    if "Ended" in type(numbered.event).__name__ or "Paused" in type(numbered.event).__name__:
                        break
                report = await self.engine.get_execution(execution)
        finally:
            EAR.open = False
        if report["status"] not in {"REFUSED", "FAILED", "PAUSED"} or SECRET in json.dumps(report):
            self.through.append(f"{what}: {report}")
        if len(EAR.heard) > heard:
            self.through.append(f"{what}: {EAR.heard[heard:]}")


async def attacked(directory: Path, token: str | None, limits: Limits, *names: str) -> tuple[Attack, WorkflowEngine]:
    catalogue = await Catalogue.of(await SqliteJournal.open(directory / "journal.db", synchronous="NORMAL"))
    actions = {name: ACTIONS[name] for name in ("wait", "echo", "fail", *names)}
    engine = WorkflowEngine(ExecutionStateManager(catalogue), actions)
    app = create_app(engine, catalogue, token=token, limits=limits)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return Attack(httpx.AsyncClient(transport=transport, base_url="http://localhost"), engine), engine


async def attack(directory: Path) -> Attack:
    limits = Limits(rate=1e6, burst=10**6)
    found, engine = await attacked(directory, None, limits)
    stored = definition(step())
    assert (await found.client.post("/v1/validate", json=stored)).status_code == 200
    warm = definition(step(condition="first.x == 1", input_schema={"$ref": "http://x/"}, output_schema={}))
    await found.client.post("/v1/validate", json=warm)  # what is imported on first use is imported now
    await found.client.post("/v1/workflows", json={**stored, "id": "stored"})
    for condition in CONDITIONS:
        await found.run(condition, definition(step(condition=condition)))
        await found.run(condition, {"id": "w", "steps": [{"id": "a", "action": "echo", "condition": condition}]})
    for reference in REFERENCES:
        await found.run(reference, definition(step(parameters={"x": reference})))
    for name in NAMES:
        await found.start(name, definition(step(action=name)))
        await found.start(name, definition(step(compensation={"action": name})))
    for schema in SCHEMAS:
        for place in ("input_schema", "output_schema"):
            await found.start(f"{place} {schema}", definition(step(**{place: schema})))
    for headers in STRANGERS:
        for method, path in (("GET", "/v1/executions"), ("POST", "/v1/executions"), ("GET", "/")):
            await found.ask(f"{method} {headers}", method, path, None, headers)
    for body, headers in BODIES:
        await found.ask(f"{body[:40]!r} {headers}", "POST", "/v1/executions", body, headers)
    for path in PATHS:
        await found.ask(path, "GET", path, None, {})
    await found.client.aclose()
    await engine.close()
    return found


async def attack_the_token(directory: Path) -> Attack:
    found, engine = await attacked(directory, TOKEN, Limits())
    for headers in UNTOLD:
        for path in ("/v1/executions", "/openapi.json", "/", "/nowhere"):
            given = {name: value.encode("latin-1") for name, value in headers.items()}
            response = await found.ask(f"{path} {headers}", "GET", path, None, given)
            if response.status_code != 401 or "www-authenticate" not in response.headers:
                found.through.append(f"{path} {headers}: {response.status_code}")
    for authorization in (f"Bearer {TOKEN}", f"bearer {TOKEN}"):
        answer = await found.client.get("/v1/executions", headers={**OWN, "authorization": authorization})
        assert answer.status_code == 200
    assert (await found.client.get("/v1/executions", auth=("anybody", TOKEN))).status_code == 200
    await found.client.aclose()
    await engine.close()
    return found


def test_nothing_gets_through(ear: Ear, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = asyncio.run(attack(tmp_path)), asyncio.run(attack_the_token(tmp_path))
    tried, through = one.tried + other.tried, one.through + other.through
    with capsys.disabled():
        print(f"\n{tried} hostile requests, {len(through)} got through")  # noqa: T201  # what was measured
    assert through == []
    assert tried >= LEAST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.db", "journal.db.lock", "secret"]


def test_what_gets_through_is_noticed(ear: Ear, tmp_path: Path) -> None:
    """An engine that has the action shell: a definition reaches a command, and its output."""

    async def program() -> Attack:
        found, engine = await attacked(tmp_path, None, Limits(), "shell")
        await found.run("shell", definition(step(action="shell", parameters={"command": "cat secret"})))
        await found.start("shell", definition(step(action="shell", parameters={"command": "true"})))
        await found.client.aclose()
        await engine.close()
        return found

    through = asyncio.run(program()).through
    assert SECRET in through[0]
    assert "subprocess.Popen" in through[1]
    assert through[2].startswith("shell: 201 ")
