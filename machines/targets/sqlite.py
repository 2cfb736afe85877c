"""The built-in engine on a real SQLite file: ``--target machines.targets.sqlite:sqlite``.

Rule 1: a file per case, in a folder that goes with it.
Rule 2: an event is seen when its transaction is committed, as the file holds it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.messages import Event
from engine.sqlite_journal import SqliteJournal
from machines.target import Ports
from machines.targets.builtin import BuiltinTarget, ObservedJournal


class WatchedJournal(SqliteJournal):
    """A journal whose commits are seen."""

    ports: Ports

    def _transact(self, batch: Sequence[Any]) -> None:
        super()._transact(batch)
        for append in batch:
            for seq, text in enumerate(append.texts, append.first):
                self.ports.record(append.execution, seq, json.loads(text))


class ObservedFile(ObservedJournal):
    """A journal on a file that is opened by its first use."""

    def __init__(self, ports: Ports) -> None:
        super().__init__(ports)
        self._folder = TemporaryDirectory(prefix="lockstep-")
        self._file: WatchedJournal | None = None
        self._opening = asyncio.Lock()

    async def _opened(self) -> WatchedJournal:
        async with self._opening:
            if self._file is None:
                path = Path(self._folder.name) / "journal.db"
                self._file = await WatchedJournal.open(path, synchronous="NORMAL")
                self._file.ports = self._ports
        return self._file

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Write as the journal does, by way of the loop's executor."""
        await (await self._opened()).append(execution, first, events)

    async def read(self, execution: str, after: int = 0) -> list[Event]:
        """Read what the file holds."""
        return await (await self._opened()).read(execution, after)

    async def unfinished(self) -> list[str]:
        """The executions that have not ended."""
        return await (await self._opened()).unfinished()

    async def close(self) -> None:
        """Close the file, and remove it."""
        if self._file is not None:
            await self._file.close()
        self._folder.cleanup()


class SqliteTarget(BuiltinTarget):
    """`engine.WorkflowEngine` with a journal on a file."""

    name = "builtin on SQLite"

    def journal(self, ports: Ports) -> ObservedJournal:
        """Make the journal."""
        return ObservedFile(ports)


def sqlite() -> SqliteTarget:
    """Make the target."""
    return SqliteTarget()
