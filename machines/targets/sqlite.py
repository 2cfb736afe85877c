"""The built-in engine on a real SQLite file: ``--target machines.targets.sqlite:sqlite``.

Rule 1: a file per case, in a folder that goes with it.
Rule 2: an event is seen when its transaction is committed, as the file then holds it: what is watched is SQLite's own
statements, and not what the journal says of them.
Rule 3: a crash closes the file as the end of a process would: what is not committed is rolled back.
Rule 4: an error names nothing that is another one in the next process: no folder, no process, no time of day.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar, Final

from engine.errors import JournalError
from engine.messages import Event, to_json
from engine.ownership import Owner
from engine.sqlite_file import failure
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from machines.nemesis import Death, Fault, Nemesis, Statement
from machines.target import CAPABILITIES, Json, Ports
from machines.targets.builtin import BuiltinTarget, Observed

_STATEMENTS: Final[dict[str, Statement]] = {
    "BEGIN": "begin",
    "INSERT": "insert",
    "COMMIT": "commit",
}
_ERRORS: Final[dict[Fault, tuple[type[sqlite3.Error], int, str]]] = {
    "busy": (sqlite3.OperationalError, sqlite3.SQLITE_BUSY, "database is locked"),
    "full": (sqlite3.OperationalError, sqlite3.SQLITE_FULL, "database or disk is full"),
    "io": (sqlite3.OperationalError, sqlite3.SQLITE_IOERR, "disk I/O error"),
    "readonly": (sqlite3.OperationalError, sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
    "corrupt": (sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT, "database disk image is malformed"),
}
"""What SQLite raises (https://www.sqlite.org/rescode.html)."""

_OWNER: Final = Owner("here", 1, 0.0)
_EVENT: Final = 3
"""Values of a row of events: execution, number, text."""


_MEMORY: Final = "/dev/shm"  # noqa: S108  # a folder under a name of its own is made there, as in /tmp
_ROOM: Final = 64 * 1024 * 1024
"""Bytes that must be free there; a case takes less than one in a hundred of them."""


def _memory() -> str | None:
    """Where files are held in memory, if there is such a place with room; what is simulated never meets a real disk."""
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _ROOM else None


class WatchedConnection(sqlite3.Connection):
    """A connection whose commits are seen, and whose statements may fail."""

    ports: Ports | None = None
    """None as long as the file is being opened."""
    dead = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401  # as in sqlite3
        """Carry out a statement, or fail as SQLite does, or die around a commit."""
        if self.ports is None:
            return super().execute(sql, parameters)
        word = sql.split(None, 1)[0]
        reads = word == "SELECT" and not self.in_transaction
        self._may_fail(self.ports.nemesis, "read" if reads else _STATEMENTS.get(word))
        if word == "BEGIN":
            self._rows: list[Sequence[Any]] = []
        elif word == "INSERT" and len(parameters) == _EVENT and "INTO events" in sql:
            self._rows.append(parameters)
        elif word == "COMMIT":
            return self._commit(self.ports)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Carry out a statement several times."""
        if self.ports is None or "INTO events" not in sql:
            return super().executemany(sql, parameters)
        self._may_fail(self.ports.nemesis, "insert")
        rows = list(parameters)
        self._rows += rows
        return super().executemany(sql, rows)

    def _may_fail(self, nemesis: Nemesis, statement: Statement | None) -> None:
        if self.dead:
            raise Death
        if statement is not None and (fault := nemesis.fault(statement)):
            kind, code, message = _ERRORS[fault]
            error = kind(message)
            error.sqlite_errorcode = code
            raise error

    def _commit(self, ports: Ports) -> sqlite3.Cursor:
        ports.nemesis.boundary("before")
        done = super().execute("COMMIT")
        for execution, seq, text in self._rows:
            ports.record(execution, seq, json.loads(text))
        self._rows = []
        ports.nemesis.boundary("after")
        return done


class CaseJournal(SqliteJournal):
    """A journal of a case (rule 4)."""

    def take(self) -> None:
        """Open the file at once."""
        self._connect()

    def _error(self, *reasons: object) -> JournalError:
        return failure(Path(self.path.name), *reasons)


class WatchedJournal(CaseJournal):
    """A journal whose commits are seen, and whose failures are told."""

    connection_class: ClassVar[type[sqlite3.Connection]] = WatchedConnection

    def __init__(self, path: Path, ports: Ports) -> None:
        super().__init__(path, "NORMAL", 0.0, owner=_OWNER)
        self._ports = ports

    def watch(self) -> None:
        """Open the file at once; from now on its commits are seen."""
        self.take()
        assert isinstance(self._connection, WatchedConnection)
        self._connection.ports = self._ports

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Add events, and tell if that failed."""
        try:
            await super().append(execution, first, events)
        except JournalError as error:
            self._failed(execution, error)
            raise

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Read events, and tell if that failed."""
        try:
            return await super().read(execution, after, limit)
        except JournalError as error:
            self._failed(None, error)
            raise

    async def unfinished(self) -> list[str]:
        """Read who is unfinished, and tell if that failed."""
        try:
            return await super().unfinished()
        except JournalError as error:
            self._failed(None, error)
            raise

    def _failed(self, execution: str | None, error: JournalError) -> None:
        self._ports.nemesis.store_failed(execution, error.reason.rpartition(": ")[2])

    def spell(self, event: Event) -> Mapping[str, Json]:
        """The event as JSON."""
        return to_json(event)

    def crash(self) -> None:
        """Let go of the file as a process that ends does."""
        connection = self._connection
        if isinstance(connection, WatchedConnection):
            connection.dead = True
        self.abandon()


class SqliteTarget(BuiltinTarget):
    """`engine.WorkflowEngine` with a journal on a file."""

    name = "builtin on SQLite"
    capabilities = frozenset(CAPABILITIES)

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(mkdtemp(prefix="lockstep-", dir=_memory()))
        self._usurpers: list[CaseJournal] = []
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def path(self) -> Path:
        """Where the journal is."""
        return self._folder / "journal.db"

    def journal(self, ports: Ports, before: Observed | None) -> Observed:
        """Open the file, made anew only if there was no engine before."""
        del before
        journal = WatchedJournal(self.path, ports)
        journal.watch()
        return journal

    async def rival(self) -> list[str]:
        """Open the file with a second engine, which recovers; if that works, it has done its harm."""
        journal = await CaseJournal.open(self.path, busy_timeout=0.0, owner=_OWNER)
        async with self._make_engine(ExecutionStateManager(journal)) as engine:
            return await engine.recover()

    async def take_over(self) -> None:
        """Open the file by force, at one go: nothing is half open when the engine crashes meanwhile."""
        journal = CaseJournal(self.path, "NORMAL", 0.0, take_over=True, owner=_OWNER)
        self._usurpers.append(journal)
        journal.take()

    def crash(self) -> None:
        """End the engine's process, and whoever has taken the file over goes as well."""
        super().crash()
        while self._usurpers:
            self._usurpers.pop().abandon()

    async def close(self) -> None:
        """Close the engine, and remove the file."""
        await super().close()
        self._remove()


def sqlite() -> SqliteTarget:
    """Make the target."""
    return SqliteTarget()
