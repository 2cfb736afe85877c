"""The service in real processes, on real sockets and a real file: stopped and killed in the middle of its work.

Rule 1: a process is ended at an event that somebody was told, never after a time.
Rule 2: what was answered or told has happened: it is in the journal that the next process shows, and in its place.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from click.testing import CliRunner
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from engine.actions import ACTIONS
from engine.service import Catalogue, Limits, create_app
from engine.service.server import bound, serve
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.cli import lockstep
from tests.integration.served import BOUND, Listener, served

Json: TypeAlias = Any
MANY: Final = 50


def step(name: str, *after: str, **more: Json) -> Json:
    return {"id": name, "action": "echo", "depends_on": list(after), **more}


def waiting(name: str, seconds: float, *after: str) -> Json:
    return step(name, *after, action="wait", parameters={"seconds": seconds})


CHAIN: Final = {
    "id": "chain",
    "steps": [
        step("first"),
        waiting("second", 0.02, "first"),
        step("third", "second", parameters={"n": "${input.n}"}),
        waiting("fourth", 0.02, "third"),
        step("last", "fourth", parameters={"n": "${third.n}"}),
    ],
}
GATED: Final = {"id": "gated", "steps": [step("a"), step("b", "a", parameters={"x": "${input.x}"}), step("c", "b")]}
TCP_CLOSE: Final = 7
"""The state of a connection that was reset, by Linux's account."""
LARGE: Final = 100_000
"""Characters of an output: a few of them are more than the kernel keeps for a connection."""
HEAVY: Final = {
    "id": "heavy",
    "steps": [waiting("s0", 0.2), *[step(f"s{n}", f"s{n - 1}", parameters={"x": "${input.x}"}) for n in range(1, 60)]],
}


def gapless(events: Sequence[Json]) -> bool:
    return [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.asyncio
async def test_an_execution_from_its_start_to_its_end(tmp_path: Path) -> None:
    """Every route once, by its user's order: validate, store, start, list, look, pause, resume, listen."""
    async with asyncio.timeout(BOUND), served(tmp_path / "journal.db") as service:
        client = service.client
        assert (await client.post("/v1/validate", json=GATED)).json()["steps"][1]["depends_on"] == [
            {"source": "a", "condition": None}
        ]
        assert (await client.post("/v1/workflows", json=GATED)).status_code == 201
        assert (await client.post("/v1/workflows", json=GATED)).status_code == 200
        assert (await client.get("/v1/workflows")).json() == {"workflows": ["gated"]}
        assert (await client.get("/v1/workflows/gated")).json() == GATED
        answer = await service.start("gated")
        assert answer.status_code == 201
        execution = answer.json()["execution"]
        assert answer.headers["location"] == f"/v1/executions/{execution}"
        listener = Listener(execution)
        await listener.listen(service.place, until=5)
        report = (await client.get(answer.headers["location"])).json()
        assert (report["status"], report["missing"]) == ("PAUSED", {"b": ["input.x"]})
        assert (await service.listed(status="PAUSED"))[0]["execution"] == execution
        assert await service.listed(status="RUNNING") == await service.listed(workflow="other") == []
        refused = await service.command(execution, "pause")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:lockstep:not-accepted")
        assert (await service.command(execution, "resume", {"inputs": {"x": 1}})).json()["status"] == "RUNNING"
        await listener.listen(service.place)
        assert listener.over
        assert listener.heard == await service.events(execution)
        assert listener.heard[-1]["status"] == "COMPLETED"
        assert (await client.get(f"/v1/executions/{execution}/workflow")).json()["id"] == "gated"
        assert (await client.delete("/v1/workflows/gated")).status_code == 204
        assert (await service.start("gated")).status_code == 404
        assert await service.end(signal.SIGTERM) == 0


@pytest.mark.unmeasured
@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_fifty_executions_outlive_the_ends_of_their_processes(tmp_path: Path, number: signal.Signals) -> None:
    """Nothing that was answered is lost, keys start nothing twice, and every stream has each event once, in order."""
    journal = tmp_path / "journal.db"
    executions: list[str] = []
    listeners: list[Listener] = []
    async with asyncio.timeout(2 * BOUND):
        for life in range(3):
            async with served(journal, "--grace", 1) as service:
                if not life:
                    starts = [service.start(CHAIN, f"key {rank}", input={"n": rank}) for rank in range(MANY)]
                    executions = [answer.json()["execution"] for answer in await asyncio.gather(*starts)]
                    listeners = [Listener(execution) for execution in executions]
                again = [service.start(CHAIN, f"key {rank}", input={"n": rank}) for rank in range(MANY)]
                answers = await asyncio.gather(*again)
                assert {answer.status_code for answer in answers} == {200}
                assert [answer.json()["execution"] for answer in answers] == executions
                hearing = [asyncio.create_task(listener.listen(service.place)) for listener in listeners]
                if life < 2:
                    told = Listener(executions[10 + 20 * life])
                    await told.listen(service.place, until=5)  # that one has come so far: end it there
                    await service.end(number)
                await asyncio.gather(*hearing)
                if life < 2:
                    continue
                assert len(await service.listed()) == MANY
                assert {entry["status"] for entry in await service.listed()} == {"COMPLETED"}
                for rank, listener in enumerate(listeners):
                    assert listener.over
                    assert gapless(listener.heard)
                    assert listener.heard == await service.events(listener.execution)
                    started = [event["step"] for event in listener.heard if event["type"] == "StepStarted"]
                    assert started == ["first", "second", "third", "fourth", "last"]
                    completed = [event for event in listener.heard if event["type"] == "StepCompleted"]
                    assert completed[-1]["output"] == {"n": rank}
    checked = await asyncio.to_thread(CliRunner().invoke, lockstep, ["journal", str(journal), "--check"])
    assert checked.exit_code == 0, checked.output
    assert any(listener.connections > 1 for listener in listeners), "nobody had to come back"


@pytest.mark.asyncio
async def test_who_does_not_read_is_dropped_with_a_reason_and_comes_back(tmp_path: Path) -> None:
    """N2 on real sockets: one never reads, one dies, one reads; the first may read on, and misses nothing."""
    catalogue = await Catalogue.of(await SqliteJournal.open(tmp_path / "journal.db", synchronous="NORMAL"))
    limits = Limits(patience=0.3)
    async with asyncio.timeout(BOUND), WorkflowEngine(ExecutionStateManager(catalogue), ACTIONS) as engine:
        listening, stop = bound("127.0.0.1", 0), asyncio.Event()
        place = "{}:{}".format(*listening.getsockname())
        serving = asyncio.create_task(serve(create_app(engine, catalogue, limits=limits), listening, stop))
        execution = await engine.start_workflow(HEAVY, {"x": "x" * LARGE})
        url = f"ws://{place}/v1/executions/{execution}/live"
        stuck = await connect(url, proxy=None, max_queue=1)
        dead = await connect(url, proxy=None, max_queue=1)
        dead.transport.abort()
        reader = Listener(execution)
        await reader.listen(place)
        assert reader.over
        assert gapless(reader.heard)
        slow = Listener(execution)
        await until_dropped(engine)
        with pytest.raises(ConnectionClosedError) as closed:
            await hear(stuck, slow.heard)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert closed.value.rcvd.reason == f"too slow; reconnect with after={len(slow.heard)}"
        assert 0 < len(slow.heard) < len(reader.heard)
        await slow.listen(place)
        assert slow.over
        assert slow.heard == reader.heard
        stop.set()
        await serving


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell of a connection's state")
@pytest.mark.asyncio
@pytest.mark.parametrize("trickle", [False, True], ids=["never", "byte by byte"])
async def test_who_does_not_read_on_is_cut_off_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trickle: bool
) -> None:
    """N2: nobody keeps a connection, and what the kernel holds for it, by not reading, or next to nothing."""
    monkeypatch.setattr("engine.service.server._LINGER", 0.1)
    catalogue = await Catalogue.of(await SqliteJournal.open(tmp_path / "journal.db", synchronous="NORMAL"))
    async with asyncio.timeout(BOUND), WorkflowEngine(ExecutionStateManager(catalogue), ACTIONS) as engine:
        listening, stop = bound("127.0.0.1", 0), asyncio.Event()
        app = create_app(engine, catalogue, limits=Limits(patience=0.1))
        serving = asyncio.create_task(serve(app, listening, stop))
        execution = await engine.start_workflow(HEAVY, {"x": "x" * LARGE})
        lines = [f"GET /v1/executions/{execution}/live HTTP/1.1", "Host: localhost", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ=="]
        with closing(socket.create_connection(listening.getsockname()[:2])) as mute:
            mute.sendall("\r\n".join([*lines, "", ""]).encode())
            mute.settimeout(0)
            await engine.wait(execution)
            reading = asyncio.create_task(read_bytes(mute, 1 if trickle else 0))
            await until_dropped(engine)
            await cut_off(mute)
            with pytest.raises(ConnectionResetError):
                await reading
        stop.set()
        await serving


async def read_bytes(mute: socket.socket, size: int) -> None:
    """Read so many bytes, again and again, until the connection is reset."""
    while mute.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
        with suppress(BlockingIOError):
            mute.recv(size)
        await asyncio.sleep(0.01)
    mute.send(b"x")


async def cut_off(mute: socket.socket) -> None:
    """Wait until the other side is no more: nothing is read, and nothing sent, to find that out."""
    while mute.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.01)


async def hear(subscriber: ClientConnection, heard: list[Json]) -> None:
    """Read what is there, to the reason of its end."""
    while True:
        heard.append(json.loads(await subscriber.recv()))


async def until_dropped(engine: WorkflowEngine) -> None:
    """Wait until the service has nobody to tell anything: who does not read has been dropped."""
    manager = engine._manager
    while manager._subscriptions or manager._lagging:  # noqa: ASYNC110  # nobody tells when a subscriber is dropped
        await asyncio.sleep(0.01)
