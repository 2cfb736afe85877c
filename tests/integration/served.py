"""A service in a process of its own, for the tests that end such processes.

Rule 1: nothing sleeps: a test waits for a line of the process, for an answer, for an event or for an end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

Json: TypeAlias = Any

ROOT: Final = Path(__file__).parents[2]
BOUND: Final = 60
"""Seconds after which a test gives up waiting."""
_SERVED: Final = "lockstep serve: http://"


class Process:
    """``lockstep serve`` on a journal, and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, place: str, taken: str) -> None:
        self.process = process
        self.place = place
        self.taken = taken
        """The last that it said of itself: what it has taken up, if there was something."""
        self.client = httpx.AsyncClient(base_url=f"http://{place}", timeout=BOUND)

    async def start(self, workflow: Json, key: str | None = None, **body: Json) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post("/v1/executions", json={"workflow": workflow, **body}, headers=headers)

    async def command(self, execution: str, name: str, body: Json = None) -> httpx.Response:
        return await self.client.post(f"/v1/executions/{execution}/{name}", json={} if body is None else body)

    async def status(self, execution: str) -> str:
        return str((await self.client.get(f"/v1/executions/{execution}")).json()["status"])

    async def listed(self, **query: str) -> list[Json]:
        """All entries of the list, page by page."""
        found: list[Json] = []
        following: Json = None
        while True:
            more = {} if following is None else {"before": following}
            page = (await self.client.get("/v1/executions", params={"limit": 20, **query, **more})).json()
            found += page["executions"]
            following = page["next"]
            if following is None:
                return found

    async def events(self, execution: str) -> list[Json]:
        """An execution's journal, page by page."""
        found: list[Json] = []
        while True:
            query = {"after": len(found), "limit": 7}
            page = (await self.client.get(f"/v1/executions/{execution}/events", params=query)).json()
            found += page["events"]
            if page["next"] is None:
                return found

    async def end(self, number: int) -> int:
        """Send a signal, and wait for the end of the process. Returns its exit status."""
        self.process.send_signal(number)
        return await self.process.wait()


@asynccontextmanager
async def served(
    journal: Path, *options: object, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Have a process serve a journal, on a port of its own choice, until it ends or the test does."""
    command = [sys.executable, "-m", "machines.cli", "serve", "--journal", journal, "--port", 0, *options]
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), BOUND)).decode()
        assert line.startswith(_SERVED), line
        place, *_, taken = line.removeprefix(_SERVED).strip().split(", ")
        found = Process(process, place, taken)
        async with found.client:
            yield found
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), BOUND)
            except TimeoutError:
                process.kill()
        process._transport.close()  # type: ignore[attr-defined]  # asyncio would leave the pipe to its finaliser


class Listener:
    """A subscriber that comes back whenever it is let go, and keeps all that it was told."""

    def __init__(self, execution: str) -> None:
        self.execution = execution
        self.heard: list[Json] = []
        self.connections = 0
        self.over = False

    async def listen(self, place: str, until: int | None = None) -> None:
        """Listen until the connection ends, or until so many events have been heard."""
        self.connections += 1
        url = f"ws://{place}/v1/executions/{self.execution}/live?after={len(self.heard)}"
        try:
            async with connect(url, proxy=None, max_size=None) as socket:
                while until is None or len(self.heard) < until:
                    self.heard.append(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            self.over = closed.rcvd is not None and closed.rcvd.code == 1000  # a normal end
        except OSError:
            pass  # the process is no more
