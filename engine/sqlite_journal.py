"""The journal on one SQLite file.

Rule 1: all of SQLite happens inside ``run_in_executor``: one thread on a real loop, inline on a simulated one. Nothing
here waits for a thread.
Rule 2: appends that come in the same turn of the loop, or while a transaction is under way, are written together by the
next one. Each is answered when that is durable, and one that cannot be written fails alone.
Rule 3: a file has one owner, which alone writes to it (`engine.ownership`), and only while it lies where it lay.
Rule 4: an append that raised is not durable. A COMMIT that raised may be: SQLite takes it back, but what it wrote to
the log may be whole, and a crash would bring it back. So the journal finds out before it answers. If the events are
there, the append has succeeded. If they are not, another transaction takes their place in the log. While neither can be
done nothing more is written, and the error says so; the next append begins by trying again.
Rule 5: an event is kept as JSON text, exactly as it was (`engine.event_text`).

An append whose caller was cancelled before its transaction began is not written. After a crash that the process
survives (a simulated one), ``abandon`` the journal and open a new one: calls in flight never answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, NoReturn, Self, TypeVar, TypeVarTuple

from engine.errors import JournalError, UnknownExecutionError
from engine.event_text import encode, event_of, text_of
from engine.messages import Event, ExecutionEnded, Json
from engine.ownership import Lock, Owner, claim, doubt, successor
from engine.sqlite_file import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    TROUBLE,
    Identity,
    Place,
    Reader,
    UnwritableError,
    beside,
    close_database,
    failure,
    kind,
    open_database,
    prepare,
    reason,
    roll_back,
    transaction,
)

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "Kept", "SqliteJournal", "Synchronous"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Synchronous = Literal["FULL", "NORMAL"]
"""FULL: an append that was answered survives a loss of power. NORMAL: it survives a crash of the process; faster."""

_LAST: Final = "SELECT last, ended FROM executions WHERE execution = ?"
_UPSERT: Final = """
    INSERT INTO executions (execution, last, ended) VALUES (?, ?, ?)
    ON CONFLICT (execution) DO UPDATE SET last = excluded.last, ended = excluded.ended
"""
_ADVANCE: Final = "UPDATE executions SET last = ? WHERE execution = ? AND last = ? AND NOT ended"
_INSERT: Final = "INSERT INTO events (execution, seq, event) VALUES (?, ?, ?)"
_EVENTS: Final = "SELECT seq, event FROM events WHERE execution = ? AND seq > ? ORDER BY seq LIMIT ?"
_UNFINISHED: Final = "SELECT execution FROM executions WHERE NOT ended ORDER BY ordinal"
_BEGUN: Final = "SELECT count(*) FROM executions"
_EXECUTIONS: Final = """
    SELECT execution, min(place) FROM (
        SELECT execution, ordinal AS place FROM executions
        UNION ALL SELECT DISTINCT execution, 9223372036854775807 FROM events
    ) GROUP BY execution ORDER BY min(place), execution
"""
_KEPT: Final = """
    SELECT executions.last, executions.ended, events.seq, events.event FROM (SELECT ? AS execution) AS sought
    LEFT JOIN executions ON executions.execution = sought.execution
    LEFT JOIN events ON events.execution = sought.execution ORDER BY events.seq
"""
_SHELF: Final = (
    "CREATE TABLE IF NOT EXISTS workflows (workflow TEXT PRIMARY KEY, definition TEXT NOT NULL) WITHOUT ROWID"
)
_HAS_SHELF: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'workflows'"
_WORKFLOWS: Final = "SELECT workflow, definition FROM workflows ORDER BY workflow"
_KEEP: Final = "INSERT OR REPLACE INTO workflows (workflow, definition) VALUES (?, ?)"
_DROP: Final = "DELETE FROM workflows WHERE workflow = ?"
_ANY: Final = "SELECT 1 FROM executions LIMIT 1"
_TAKE_BACK: Final = "DELETE FROM events WHERE execution = ? AND seq >= ?"
_NEVER_BEGUN: Final = "DELETE FROM executions WHERE execution = ?"
_NOT_SO_FAR: Final = "UPDATE executions SET last = ?, ended = 0 WHERE execution = ?"


class _Append(NamedTuple):
    """Events on their way into the file."""

    execution: str
    first: int
    texts: list[str | bytes]
    ends: bool
    durable: asyncio.Future[None]


class Kept(NamedTuple):
    """What a file holds of an execution, as it stands there: nothing of it has been checked."""

    last: int
    """The number of its last event, as appends go by it."""
    ended: bool
    """Whether it has ended, as recoveries go by it."""
    texts: list[tuple[int, str | bytes]]
    """Its events: number and text (rule 5)."""


class SqliteJournal:
    """A journal on one SQLite file, in WAL mode; made by ``open``, used by one event loop."""

    connection_class: ClassVar[type[sqlite3.Connection]] = sqlite3.Connection
    """What carries out every statement, by ``execute`` and ``executemany``: a subclass sees them, or fails."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        synchronous: Synchronous,
        busy_timeout: float,
        *,
        take_over: bool = False,
        read_only: bool = False,
        owner: Owner | None = None,
    ) -> None:
        self.path = Path(path)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._take_over = take_over
        self._reader = Reader(self.path, partial(self._connection_to, uri=True)) if read_only else None
        self._owner = owner
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._lock = Lock(beside(self.path, ".lock"))
        self._generation = 0
        self._place: Place | None = None
        self._waiting: list[_Append] = []
        self._writing: asyncio.Future[list[JournalError | None]] | None = None
        self._doubtful: Sequence[_Append] = ()
        """What was in a transaction of which nobody knows what became of it (rule 4)."""
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        busy_timeout: float = 5.0,
        take_over: bool = False,
        read_only: bool = False,
        owner: Owner | None = None,
    ) -> Self:
        """Open a journal's file, or make it; ``busy_timeout``: seconds to wait for another process's transaction.

        ``take_over``: own the file even if another process does, a stalled one, say; it can write nothing more.
        ``read_only``: own nothing and change nothing; the file may have an owner, and appends are refused.
        ``owner``: who is to be named as the file's owner; by default this process, at this moment.

        Raises:
            JournalError: it cannot be opened, has another owner, is no journal, or is of a later version. It was left
                as it is.
        """
        journal = cls(path, synchronous, busy_timeout, take_over=take_over, read_only=read_only, owner=owner)
        try:
            await journal._call(journal._connect)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):  # the thread may open it all the same, and lock it for good
                _ = asyncio.get_running_loop().run_in_executor(journal._executor, journal._disconnect)
            journal._executor.shutdown(wait=False)
            raise
        return journal

    # The protocol

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Add events; see `Journal`."""
        if not events:
            return
        self._check_open()
        if self._reader is not None:
            self._fail("it was opened for reading only")
        try:
            texts = [text_of(event) for event in events]
        except ValueError as error:
            place = f"execution {execution}"
            raise self._error(place, error) from error
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Append(execution, first, texts, type(events[-1]) is ExecutionEnded, durable))
        if self._writing is None and len(self._waiting) == 1:
            loop.call_soon(self._flush)
        await durable

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events after a number; see `Journal`."""
        self._check_open()
        return await self._call(self._read, execution, after, limit)

    async def unfinished(self) -> list[str]:
        """The executions that have not ended; see `Journal`. Whom the file was taken over from may not take them up."""
        self._check_open()
        return [execution for (execution,) in await self._call(self._unfinished)]

    async def begun(self) -> int:
        """How many executions the journal has, ended ones included.

        Raises:
            JournalError: it cannot be read.
        """
        self._check_open()
        ((count,),) = await self._call(self._select, _BEGUN)
        return int(count)

    async def executions(self) -> list[str]:
        """All executions that the file holds anything of, oldest first.

        Raises:
            JournalError: it cannot be read.
        """
        self._check_open()
        return [execution for execution, _ in await self._call(self._select, _EXECUTIONS)]

    async def workflows(self) -> dict[str, dict[str, Json]]:
        """The workflows that are kept beside the executions: their definitions by their ids.

        Raises:
            JournalError: they cannot be read.
        """
        self._check_open()
        if not await self._call(self._select, _HAS_SHELF):
            return {}
        return {workflow: json.loads(text) for workflow, text in await self._call(self._select, _WORKFLOWS)}

    async def keep_workflow(self, workflow: str, definition: dict[str, Json] | None) -> None:
        """Keep a workflow under its id, in place of an earlier one; None: keep it no more. Durable when it returns.

        Raises:
            JournalError: it could not be written.
        """
        self._check_open()
        if self._reader is not None:
            self._fail("it was opened for reading only")
        await self._call(self._shelve, workflow, None if definition is None else encode(definition))

    async def kept(self, execution: str) -> Kept:
        """What the file holds of an execution, at one moment; for those who judge it, so it may be damaged.

        Raises:
            UnknownExecutionError: the file holds nothing of it.
            JournalError: it cannot be read.
        """
        self._check_open()
        rows = await self._call(self._select, _KEPT, execution)
        last, ended, _, _ = rows[0]
        found = [(seq, text) for _, _, seq, text in rows if seq is not None]
        if last is None and not found:
            raise UnknownExecutionError(execution)
        return Kept(last if isinstance(last, int) else 0, bool(ended), found)

    async def close(self) -> None:
        """Write what waits, then let go of the file; see `Journal`."""
        self._closed = True
        if self._writing is None:
            self._flush()
        while self._writing is not None:
            await asyncio.wait((self._writing,))
        if self._is_open():
            try:
                await self._call(self._finish)
            finally:
                self._executor.shutdown(wait=False)

    def abandon(self) -> None:
        """Let go of the file at once, as the end of the process would: for one that outlives a crash (a simulated one).

        Nothing may be under way in a thread; what waits is not written.
        """
        self._closed = True
        self._waiting.clear()
        self._disconnect()
        self._executor.shutdown(wait=False)

    # Group commit, on the loop

    def _flush(self) -> None:
        """Send off all that waits, as one transaction."""
        batch = [append for append in self._waiting if not append.durable.done()]
        self._waiting.clear()
        if batch:
            self._writing = asyncio.get_running_loop().run_in_executor(self._executor, self._write, batch)
            self._writing.add_done_callback(partial(self._written, batch))

    def _written(self, batch: Sequence[_Append], writing: asyncio.Future[list[JournalError | None]]) -> None:
        """Answer those whose transaction is over, and send off those that came meanwhile."""
        self._writing = None
        error = writing.exception()
        outcomes = writing.result() if error is None else [self._error(repr(error)) for _ in batch]
        for append, refusal in zip(batch, outcomes, strict=True):
            if append.durable.done():
                continue
            if refusal is None:
                append.durable.set_result(None)
            else:
                append.durable.set_exception(refusal)
        self._flush()

    async def _call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        except TROUBLE as error:
            raise self._failure(error) from error

    def _is_open(self) -> bool:
        return self._connection is not None or self._reader is not None

    def _check_open(self) -> None:
        if self._closed:
            self._fail("it was closed")

    def _fail(self, *reasons: object) -> NoReturn:
        raise self._error(*reasons)

    def _failure(self, error: BaseException) -> JournalError:
        """An error of the file's as one of the journal's; a new one each time, for whoever is to raise it."""
        return JournalError(error.reason) if isinstance(error, JournalError) else self._error(reason(error))

    def _error(self, *reasons: object) -> JournalError:
        return failure(self.path, *reasons)

    # In the executor: the file

    def _connect(self) -> None:
        try:
            if self._reader is not None:
                self._reader.select(_ANY, ())
            else:
                self._own()
        except BaseException:
            self._disconnect()
            raise

    def _own(self) -> None:
        """Lock the file, open it, and claim it."""
        owner = self._owner or Owner.here()
        connection, self._identity = open_database(self.path, partial(self._connection_to, self.path))
        self._connection = connection
        if not os.access(self.path, os.W_OK):  # SQLite would open it all the same
            self._fail("it may not be written, only read")
        holder = self._acquire(owner)
        if holder is not None and not self._take_over:
            self._fail(f"it is owned by {holder}")
        prepare(self.path, connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        with transaction(connection):
            self._generation = claim(connection, owner)
            if holder is not None:
                self._lock.seize(owner)
            connection.execute("COMMIT")
        self._place = Place(self.path)

    def _acquire(self, owner: Owner) -> str | None:
        try:
            return self._lock.acquire(owner)
        except OSError as error:
            place = f"its lock {self._lock.path.name}"
            raise self._error(place, reason(error)) from error

    def _connection_to(self, database: str | Path, *, uri: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(
            database,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=self.connection_class,
            uri=uri,
        )

    def _finish(self) -> None:
        try:
            if self._doubtful:
                with suppress(*TROUBLE):  # the last chance
                    self._take_back(self._used())
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        reader, self._reader = self._reader, None
        identity, self._identity = self._identity, None
        try:
            if connection is not None and identity is not None:
                close_database(connection, identity)
            if reader is not None:
                reader.close()
        finally:
            self._lock.release()

    # In the executor: writing

    def _write(self, batch: Sequence[_Append]) -> list[JournalError | None]:
        """Make appends durable in one transaction; if that fails, each in its own. Returns what became of each."""
        try:
            self._transact(batch)
        except TROUBLE as error:
            if len(batch) == 1 or isinstance(error, UnwritableError) or kind(error) == sqlite3.SQLITE_BUSY:
                return [self._failure(error) for _ in batch]
        else:
            return [None] * len(batch)
        return [outcome for append in batch for outcome in self._write((append,))]

    def _transact(self, batch: Sequence[_Append]) -> None:
        """All of the batch or nothing: the one place where events get into the file; durable when it returns."""
        connection = self._used()
        if self._doubtful:
            try:
                self._take_back(connection)
            except TROUBLE as error:
                raise UnwritableError(self._failure(error).reason) from error
        with transaction(connection):
            self._check_owned(connection)
            for append in batch:
                self._insert(connection, append)
            self._commit(connection, batch)

    def _check_owned(self, connection: sqlite3.Connection) -> None:
        """Nobody else may write, and what we write is what others will read (rule 3): in a transaction, that stays."""
        assert self._place is not None
        if fault := self._place.fault() or successor(connection, self._generation):
            raise UnwritableError(self._error(fault).reason)

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Append]) -> None:
        """Commit, and find out whether it has happened if SQLite says that it has not (rule 4)."""
        try:
            connection.execute("COMMIT")
        except TROUBLE as error:
            self._doubtful = batch
            try:
                if self._is_there(connection):
                    self._doubtful = ()
                    return
                self._take_back(connection)
            except TROUBLE as other:
                doubts = f"{reason(error)}; until it can be written again a crash may bring this back: {reason(other)}"
                raise UnwritableError(self._error(doubts).reason) from error
            raise

    def _is_there(self, connection: sqlite3.Connection) -> bool:
        """Whether the doubtful events are in the file: all of them or none."""
        roll_back(connection)
        append = self._doubtful[-1]
        found = connection.execute(_LAST, (append.execution,)).fetchone()
        return found is not None and found[0] >= append.first + len(append.texts) - 1

    def _take_back(self, connection: sqlite3.Connection) -> None:
        """Make certain that nothing of the doubtful events is durable, or will be."""
        with transaction(connection):
            self._check_owned(connection)
            for append in reversed(self._doubtful):
                connection.execute(_TAKE_BACK, (append.execution, append.first))
                if append.first == 1:
                    connection.execute(_NEVER_BEGUN, (append.execution,))
                else:
                    connection.execute(_NOT_SO_FAR, (append.first - 1, append.execution))
            doubt(connection)  # even if there is nothing to take back
            connection.execute("COMMIT")
        self._doubtful = ()

    def _shelve(self, workflow: str, text: str | None) -> None:
        """Workflows lie in a table that is made for the first: programs that do not know it pass it over."""
        connection = self._used()
        with transaction(connection):
            self._check_owned(connection)
            connection.execute(_SHELF)
            if text is None:
                connection.execute(_DROP, (workflow,))
            else:
                connection.execute(_KEEP, (workflow, text))
            connection.execute("COMMIT")

    def _insert(self, connection: sqlite3.Connection, append: _Append) -> None:
        execution, first, texts = append.execution, append.first, append.texts
        if append.ends or not self._advance(connection, append):
            last, ended = connection.execute(_LAST, (execution,)).fetchone() or (0, 0)
            if ended:
                self._fail(f"execution {execution}: event {first} comes after its end, event {last}")
            if first != last + 1:
                self._fail(f"execution {execution}: event {first} does not follow event {last}")
            connection.execute(_UPSERT, (execution, last + len(texts), append.ends))
        connection.executemany(_INSERT, [(execution, seq, text) for seq, text in enumerate(texts, first)])

    def _advance(self, connection: sqlite3.Connection, append: _Append) -> bool:
        """Whether events go on an execution, as almost all do: one statement looks and moves its end."""
        last = append.first + len(append.texts) - 1
        return connection.execute(_ADVANCE, (last, append.execution, append.first - 1)).rowcount == 1

    # In the executor: reading

    def _unfinished(self) -> list[tuple[Any, ...]]:
        unfinished = self._select(_UNFINISHED)
        if self._reader is None:
            self._check_owned(self._used())
        return unfinished

    def _read(self, execution: str, after: int, limit: int | None) -> list[Event]:
        last = self._select(_LAST, execution)
        if not last:
            raise UnknownExecutionError(execution)
        events: list[Event] = []
        for seq, text in self._select(_EVENTS, execution, after, -1 if limit is None else limit):
            if seq != after + len(events) + 1:
                break
            events.append(self._event(execution, seq, text))
        if after + len(events) < last[0][0] and len(events) != limit:
            self._fail(f"execution {execution}: event {after + len(events) + 1} is missing")
        return events

    def _event(self, execution: str, seq: int, text: str | bytes) -> Event:
        try:
            return event_of(text)
        except (ValueError, JournalError) as error:
            place = f"execution {execution}, event {seq}"
            raise self._error(place, reason(error)) from error

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        if self._reader is not None:
            return self._reader.select(query, values)
        connection = self._used()
        roll_back(connection)
        if self._doubtful and self._is_there(connection):
            self._take_back(connection)
        return connection.execute(query, values).fetchall()

    def _used(self) -> sqlite3.Connection:
        if self._connection is None:
            self._fail("it was closed")
        return self._connection
