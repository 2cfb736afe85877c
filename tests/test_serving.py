"""``lockstep serve`` at its border: what is refused, in one line, before anything has happened; and what it serves."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from engine.actions import ACTIONS
from engine.service.server import bound
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines import serving
from tests.command_line import called
from tests.histories import step, workflow
from tests.integration.served import BOUND, served

Json: TypeAlias = Any
Refused: TypeAlias = Callable[..., str]
TOKEN: Final = "a-token-of-some-length"  # noqa: S105  # it opens nothing but a service of this test


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Serve what cannot be served; the line that is said, without the command's name."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments: str) -> str:
        status, out, said = called(capsys, "serve", "--journal", "j.db", *arguments)
        assert (status, out, said.count("\n")) == (2, "", 1)
        return said.removeprefix("lockstep serve: ").rstrip()

    return refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("short", "must hold one token, of 16 to 512 letters, digits and ._~+-"),
        ("with a space in the middle", "must hold one token, of 16 to 512 letters, digits and ._~+-"),
        ("a-token-that-is-not-ascii-\xe9", "must hold one token, of 16 to 512 letters, digits and ._~+-"),
    ],
)
def test_a_token_that_is_none(content: str, said: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(content, encoding="utf-8")
    (tmp_path / "t").chmod(0o600)
    assert refused("--token-file", "t") == f"--token-file t: {said}"


def test_a_token_that_is_nobodys_secret_or_nowhere(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(TOKEN, encoding="utf-8")
    (tmp_path / "t").chmod(0o640)
    assert refused("--token-file", "t") == "--token-file t: others may read it: chmod 600"
    assert refused("--token-file", "u") == "--token-file u: No such file or directory"


@pytest.mark.parametrize("given", ["nan", "-1", "soon"])
def test_a_time_of_grace_that_is_none(given: str, refused: Refused) -> None:
    assert refused("--port", "0", f"--grace={given}").startswith("Invalid value for '--grace': ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "flows.example"])  # noqa: S104  # it is refused
def test_whom_others_reach_needs_a_token(host: str, refused: Refused) -> None:
    assert refused("--host", host) == f"--host {host}: others may reach it there: give a token with --token-file"


def test_a_port_that_is_taken_or_an_address_that_is_not_ours(refused: Refused, tmp_path: Path) -> None:
    with bound("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert refused("--port", port) == f"--host 127.0.0.1 --port {port}: Address already in use"
    (tmp_path / "t").write_text(TOKEN, encoding="utf-8")
    (tmp_path / "t").chmod(0o600)
    assert refused("--host", "192.0.2.1", "--token-file", "t").startswith("--host 192.0.2.1 --port 8700: ")
    assert not (tmp_path / "j.db").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "ModuleNotFoundError: No module named 'mine'"),
        ("", "AttributeError: module 'mine' has no attribute 'ACTIONS'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("ACTIONS = ['a']", "its ACTIONS must be a mapping from names to coroutine functions"),
        ("ACTIONS = {'a': print, 1: 2}", "these of its ACTIONS are no coroutine functions: a, 1"),
    ],
)
def test_actions_that_are_none(
    source: str | None, said: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    if source is not None:
        (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    assert refused("--actions", "mine") == f"--actions mine: {said}"


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "websockets"])
def test_without_the_extra(name: str, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert refused("--port", "0") == f"{name} is not installed: pip install 'workflow-lockstep[service]'"


def test_a_journal_that_is_none(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("hello", encoding="utf-8")
    assert refused("--port", "0") == "j.db: it is not an SQLite database"


def test_a_journal_whose_executions_nobody_here_can_go_on_with(refused: Refused, tmp_path: Path) -> None:
    """The action ``shell`` is not served: `lockstep recover` goes on with these."""

    async def shell(parameters: Json, context: Json) -> Json:
        await asyncio.sleep(BOUND)

    async def begin() -> None:
        manager = ExecutionStateManager(await SqliteJournal.open(tmp_path / "j.db"))
        async with WorkflowEngine(manager, {"shell": shell}) as engine:
            await engine.start_workflow(workflow(step("a", action="shell")), execution_id="e")

    asyncio.run(begin())
    said = "j.db: nothing was taken up: these actions are missing: shell (execution e)"
    assert refused("--port", "0") == said


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM executions", "execution e: it has events, and was never begun"),
        (
            """UPDATE events SET event = '{"type":"ExecutionStarted","at":0.5}' WHERE seq = 1""",
            "execution e: its first event is not ExecutionCreated",
        ),
        ("DELETE FROM events WHERE seq = 1", "j.db: execution e: event 1 is missing"),
    ],
)
def test_a_journal_that_is_damaged(statement: str, said: str, refused: Refused, tmp_path: Path) -> None:
    async def begin() -> None:
        manager = ExecutionStateManager(await SqliteJournal.open(tmp_path / "j.db"))
        async with WorkflowEngine(manager, ACTIONS) as engine:
            await engine.start_workflow(workflow(step("a", action="echo")), execution_id="e")
            await engine.wait("e")

    asyncio.run(begin())
    with closing(sqlite3.connect(tmp_path / "j.db")) as file, file:
        file.execute(statement)
    assert refused("--port", "0") == said


def test_every_loopback_address_may_do_without_a_token() -> None:
    for host in ("127.0.0.1", "127.0.0.9", "localhost", "::1"):
        assert host in (serving._hosts(host, None) or ())
    assert serving._hosts("0.0.0.0", TOKEN) is None  # noqa: S104  # with a token


def test_a_socket_on_either_kind_of_address() -> None:
    for host, family in (("127.0.0.1", socket.AF_INET), ("localhost", None)):
        with bound(host, 0) as listening:
            assert listening.getsockname()[1] > 0
            assert family in (None, listening.family)


@pytest.mark.asyncio
async def test_a_journal_that_has_an_owner(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(BOUND), served(tmp_path / "j.db"):
        command = [sys.executable, "-m", "machines.cli", "serve", "--journal", str(tmp_path / "j.db"), "--port", "0"]
        other = await asyncio.create_subprocess_exec(*command)
        assert await other.wait() == 2
    said = capfd.readouterr().err
    assert said.startswith(f"lockstep serve: {tmp_path / 'j.db'}: it is owned by process ")
    assert said.count("\n") == 1


@pytest.mark.asyncio
async def test_actions_of_ones_own_and_a_token(tmp_path: Path) -> None:
    """A module's actions run, every route asks for the token, and grace lets what runs come to its end."""
    (tmp_path / "mine.py").write_text(
        "import asyncio\n"
        "async def slow(parameters, context):\n"
        "    await asyncio.sleep(0.3)\n"
        "    return {'key': context.idempotency_key}\n"
        "ACTIONS = {'slow': slow}\n",
        encoding="utf-8",
    )
    (tmp_path / "t").write_text(f"{TOKEN}\n", encoding="utf-8")
    (tmp_path / "t").chmod(0o600)
    options = ("--actions", "mine", "--token-file", tmp_path / "t")
    async with (
        asyncio.timeout(BOUND),
        served(tmp_path / "j.db", *options, environment={"PYTHONPATH": str(tmp_path)}) as service,
    ):
        for path in ("/", "/openapi.json", "/v1/executions"):
            assert (await service.client.get(path)).status_code == 401
        service.client.headers["authorization"] = f"Bearer {TOKEN}"
        answer = await service.start(workflow(step("a", action="slow"), step("b", "a", action="slow")), "k")
        execution = answer.json()["execution"]
        assert await service.status(execution) == "RUNNING"
        assert await service.end(signal.SIGTERM) == 0
    journal = await SqliteJournal.open(tmp_path / "j.db")
    kinds = [type(event).__name__ for event in await journal.read(execution)]
    await journal.close()
    assert kinds == ["ExecutionCreated", "ExecutionStarted", "StepStarted", "StepCompleted"], "b is for the next life"


@pytest.mark.asyncio
async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """And the next start says how many executions it has taken up."""
    long = workflow(step("a", action="wait", parameters={"seconds": 10 * BOUND}))
    async with asyncio.timeout(BOUND):
        async with served(tmp_path / "j.db", "--grace", 10 * BOUND) as service:
            await service.start(long)
            service.process.send_signal(signal.SIGTERM)
            assert service.process.stdout is not None
            assert b"again: do not wait" in await service.process.stdout.readline()
            assert await service.end(signal.SIGTERM) == 130
        async with served(tmp_path / "j.db", "--grace", 0) as service:
            assert service.taken == "1 execution taken up"
            assert await service.end(signal.SIGINT) == 0
