"""An engine in a process of its own, for tests that take its store away: it does what it is told, line by line.

A request is a line of JSON, a word and its arguments; the answer is a line of JSON: ``{"answer": ...}``, or
``{"error": ...}`` with the exception's type and what it says.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from engine.actions import ACTIONS
from engine.definition import parse_workflow
from engine.driver import ActionContext
from engine.messages import ExecutionCreated
from engine.sqlite_journal import SqliteJournal
from engine.state import fold, report
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine

Json = Any
NOBODY = 65534


class Process:
    """What is asked for, by its word."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Future[Json]] = {}
        self._reached: dict[str, asyncio.Future[None]] = {}
        self._calls: list[str] = []

    async def open(self, path: str, **options: Any) -> None:
        """Open a journal, and an engine on it."""
        self._journal = await SqliteJournal.open(path, **options)
        manager = ExecutionStateManager(self._journal)
        self._engine = WorkflowEngine(manager, {**ACTIONS, "gate": self._gate})

    async def close(self) -> None:
        """Close both."""
        await self._engine.close()

    async def start(self, definition: dict[str, Json]) -> str:
        """Start an execution."""
        return await self._engine.start_workflow(definition)

    async def pause(self, execution: str) -> bool:
        """Pause it."""
        return await self._engine.pause_execution(execution)

    async def wait(self, execution: str) -> Json:
        """Wait for its end."""
        return await self._engine.wait(execution)

    async def recover(self) -> list[str]:
        """Take up what is unfinished."""
        return await self._engine.recover()

    async def report(self, execution: str) -> Json:
        """Say what the engine reports."""
        return await self._engine.get_execution(execution)

    async def folded(self, execution: str) -> Json:
        """Say what the journal makes of it."""
        events = await self._journal.read(execution)
        created = events[0]
        assert isinstance(created, ExecutionCreated)
        return report(fold(parse_workflow(created.workflow), created, events[1:]))

    async def unfinished(self) -> list[str]:
        """Say what the journal has as unfinished."""
        return await self._journal.unfinished()

    # Steps that wait for us

    async def _gate(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        self._calls.append(context.idempotency_key)
        gate = self._gates[context.step] = asyncio.get_running_loop().create_future()
        reached = self._coming(context.step)
        if not reached.done():
            reached.set_result(None)
        return await gate

    def _coming(self, step: str) -> asyncio.Future[None]:
        return self._reached.setdefault(step, asyncio.get_running_loop().create_future())

    async def reached(self, step: str) -> list[str]:
        """Wait until a step waits for us, and say what keys have been called so far."""
        await self._coming(step)
        return self._calls

    async def go(self, step: str, value: Json) -> None:
        """Let a step that waits for us return a value."""
        del self._reached[step]
        self._gates.pop(step).set_result(value)

    # The world around it

    async def limit(self, size: int | None) -> None:
        """Let no file grow beyond a size, as on a disk that is full."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    async def drop(self) -> None:
        """Be nobody, if we are root: root may write wherever it likes."""
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)


async def main() -> None:
    """Answer until there are no more requests."""
    process, loop = Process(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, arguments, options = json.loads(line)
        method: Callable[..., Awaitable[Json]] = getattr(process, word)
        try:
            answer = {"answer": await method(*arguments, **options)}
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
            answer = {"error": [type(error).__name__, str(error)]}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asyncio.run(main())
