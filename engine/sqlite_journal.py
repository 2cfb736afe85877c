"""The journal on one SQLite file.

Rule 1: all of SQLite happens inside ``run_in_executor``: one thread on a real loop, inline on a simulated one. Nothing
here waits for a thread.
Rule 2: appends that come while a transaction is under way are written together by the next one. Each is answered when
that is durable, and one that cannot be written fails alone.
Rule 3: a file that is no journal, or one of a later version, is refused and left as it is: whether it is one is read
from its first hundred bytes, before SQLite is let near it.
Rule 4: an event is kept as JSON text, exactly as it was: order of keys, floats, and even lone surrogates, which UTF-8
does not have (an event with one is a blob of what UTF-8 would have made of it).

An append whose caller was cancelled before its transaction began is not written. After a crash that the process
survives (a simulated one), open a new ``SqliteJournal``: calls in flight never answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Self, TypeVar, TypeVarTuple

from engine.errors import JournalError, UnknownExecutionError
from engine.messages import Event, ExecutionEnded, from_json, to_json

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "SqliteJournal", "Synchronous"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Synchronous = Literal["FULL", "NORMAL"]
"""FULL: an append that was answered survives a loss of power. NORMAL: it survives a crash of the process; faster."""

APPLICATION_ID: Final = 0x4C4B5354
"""``LKST``: what the header of a SQLite file says that is a journal of ours."""
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = (
    """
    CREATE TABLE executions (
        ordinal INTEGER PRIMARY KEY,
        execution TEXT NOT NULL UNIQUE,
        last INTEGER NOT NULL,
        ended INTEGER NOT NULL
    )
    """,
    "CREATE INDEX unfinished ON executions (ordinal) WHERE NOT ended",
    """
    CREATE TABLE events (
        execution TEXT NOT NULL,
        seq INTEGER NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (execution, seq)
    ) WITHOUT ROWID
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_LAST: Final = "SELECT last, ended FROM executions WHERE execution = ?"
_UPSERT: Final = """
    INSERT INTO executions (execution, last, ended) VALUES (?, ?, ?)
    ON CONFLICT (execution) DO UPDATE SET last = excluded.last, ended = excluded.ended
"""
_INSERT: Final = "INSERT INTO events (execution, seq, event) VALUES (?, ?, ?)"
_EVENTS: Final = "SELECT seq, event FROM events WHERE execution = ? AND seq > ? ORDER BY seq"
_UNFINISHED: Final = "SELECT execution FROM executions WHERE NOT ended ORDER BY ordinal"
_BEGUN: Final = "SELECT count(*) FROM executions"

# Where a SQLite file keeps what it is (https://www.sqlite.org/fileformat2.html, section 1.3).
_HEADER: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_USER_VERSION: Final = slice(60, 64)
_APPLICATION_ID: Final = slice(68, 72)

_NO_JOURNAL: Final = "it is an SQLite database, but not a journal"
_PRIMARY: Final = 0xFF
"""The part of SQLite's extended error codes that names the kind of the error."""
_TROUBLE: Final = (sqlite3.Error, OSError, ValueError, OverflowError, JournalError)
"""What the file, SQLite or a value that it cannot hold may raise; anything else is a mistake of ours."""


@dataclass(frozen=True, slots=True, eq=False)
class _Append:
    """Events on their way into the file."""

    execution: str
    first: int
    texts: list[str | bytes]
    ends: bool
    durable: asyncio.Future[None]


class SqliteJournal:
    """A journal on one SQLite file, in WAL mode; made by ``open``, used by one event loop."""

    def __init__(self, path: str | os.PathLike[str], synchronous: Synchronous, busy_timeout: float) -> None:
        self.path = Path(path)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[_Append] = []
        self._writing: asyncio.Future[list[JournalError | None]] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls, path: str | os.PathLike[str], *, synchronous: Synchronous = "FULL", busy_timeout: float = 5.0
    ) -> Self:
        """Open a journal's file, or make it; ``busy_timeout``: seconds to wait for another process's transaction.

        Raises:
            JournalError: it cannot be opened, is no journal, or is of a later version. It was left as it is.
        """
        journal = cls(path, synchronous, busy_timeout)
        try:
            await journal._call(journal._connect)
        except BaseException:
            journal._executor.shutdown(wait=False)
            raise
        return journal

    # The protocol

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Add events; see `Journal`."""
        if not events:
            return
        self._check_open()
        try:
            texts = [_text(event) for event in events]
        except ValueError as error:
            place = f"execution {execution}"
            raise self._error(place, error) from error
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Append(execution, first, texts, type(events[-1]) is ExecutionEnded, durable))
        if self._writing is None:
            self._flush()
        await durable

    async def read(self, execution: str, after: int = 0) -> list[Event]:
        """The events after a number; see `Journal`."""
        self._check_open()
        return await self._call(self._read, execution, after)

    async def unfinished(self) -> list[str]:
        """The executions that have not ended; see `Journal`."""
        self._check_open()
        return [execution for (execution,) in await self._call(self._select, _UNFINISHED)]

    async def begun(self) -> int:
        """How many executions the journal has, ended ones included.

        Raises:
            JournalError: it cannot be read.
        """
        self._check_open()
        ((count,),) = await self._call(self._select, _BEGUN)
        return int(count)

    async def close(self) -> None:
        """Write what waits, then let go of the file; see `Journal`."""
        self._closed = True
        while self._writing is not None:
            await asyncio.wait((self._writing,))
        if self._connection is not None:
            await self._call(self._disconnect)
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
        for append, failure in zip(batch, outcomes, strict=True):
            if append.durable.done():
                continue
            if failure is None:
                append.durable.set_result(None)
            else:
                append.durable.set_exception(failure)
        self._flush()

    async def _call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        except _TROUBLE as error:
            raise self._failure(error) from error

    def _check_open(self) -> None:
        if self._closed:
            self._fail("it was closed")

    def _fail(self, *reasons: object) -> NoReturn:
        raise self._error(*reasons)

    def _failure(self, error: BaseException) -> JournalError:
        """An error of the file's as one of the journal's; a new one each time, for whoever is to raise it."""
        return JournalError(error.reason) if isinstance(error, JournalError) else self._error(_reason(error))

    def _error(self, *reasons: object) -> JournalError:
        return JournalError(": ".join(map(str, (self.path, *reasons))))

    # In the executor: the file

    def _connect(self) -> None:
        self._look()
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                self._fail(f"SQLite cannot keep a write-ahead log there, only {mode!r}")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _look(self) -> None:
        """Refuse a file that is no journal of a version that we know (rule 3); one that is empty may become one."""
        try:
            with self.path.open("rb") as file:
                header = file.read(_HEADER)
        except FileNotFoundError:
            return
        if not header:
            return
        if not header.startswith(_MAGIC) or len(header) < _HEADER:
            self._fail("it is not an SQLite database")
        application = int.from_bytes(header[_APPLICATION_ID], "big")
        version = int.from_bytes(header[_USER_VERSION], "big")
        if fault := _fault(application, version):
            self._fail(fault)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables in a database that is new; refuse one that is another's."""
        if _marks(connection) == (APPLICATION_ID, SCHEMA_VERSION):
            return
        # The schema is committed before the database turns to WAL: so its marks stand in the file's header for good.
        with _transaction(connection):
            marks = _marks(connection)
            if fault := _fault(*marks):
                self._fail(fault)
            if marks == (0, 0):
                if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    self._fail(_NO_JOURNAL)
                for statement in _SCHEMA:
                    connection.execute(statement)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # In the executor: writing

    def _write(self, batch: Sequence[_Append]) -> list[JournalError | None]:
        """Make appends durable in one transaction; if that fails, each in its own. Returns what became of each."""
        try:
            self._transact(batch)
        except _TROUBLE as error:
            if len(batch) == 1 or _busy(error):
                return [self._failure(error) for _ in batch]
        else:
            return [None] * len(batch)
        return [outcome for append in batch for outcome in self._write((append,))]

    def _transact(self, batch: Sequence[_Append]) -> None:
        """All of the batch or nothing: the one place where the file changes, so the one to guard who may change it."""
        with _transaction(self._used()) as connection:
            for append in batch:
                self._insert(connection, append)

    def _insert(self, connection: sqlite3.Connection, append: _Append) -> None:
        execution, first, texts = append.execution, append.first, append.texts
        last, ended = connection.execute(_LAST, (execution,)).fetchone() or (0, 0)
        if ended:
            self._fail(f"execution {execution}: event {first} comes after its end, event {last}")
        if first != last + 1:
            self._fail(f"execution {execution}: event {first} does not follow event {last}")
        connection.execute(_UPSERT, (execution, last + len(texts), append.ends))
        connection.executemany(_INSERT, ((execution, seq, text) for seq, text in enumerate(texts, first)))

    # In the executor: reading

    def _read(self, execution: str, after: int) -> list[Event]:
        last = self._select(_LAST, execution)
        if not last:
            raise UnknownExecutionError(execution)
        events: list[Event] = []
        for seq, text in self._select(_EVENTS, execution, after):
            if seq != after + len(events) + 1:
                break
            events.append(self._event(execution, seq, text))
        if after + len(events) < last[0][0]:
            self._fail(f"execution {execution}: event {after + len(events) + 1} is missing")
        return events

    def _event(self, execution: str, seq: int, text: str | bytes) -> Event:
        try:
            return from_json(json.loads(text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")))
        except (ValueError, JournalError) as error:
            place = f"execution {execution}, event {seq}"
            raise self._error(place, _reason(error)) from error

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._used().execute(query, values).fetchall()

    def _used(self) -> sqlite3.Connection:
        if self._connection is None:
            self._fail("it was closed")
        return self._connection


def _fault(application: int, version: int) -> str | None:
    """What is wrong with a database by its header; one without any marks may be new."""
    if (application, version) in ((0, 0), (APPLICATION_ID, SCHEMA_VERSION)):
        return None
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        return f"its schema version is {version}; this program knows versions up to {SCHEMA_VERSION}"
    return _NO_JOURNAL


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing, and nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return application, version


def _text(event: Event) -> str | bytes:
    """The event as JSON (rule 4)."""
    text = json.dumps(to_json(event), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _busy(error: BaseException) -> bool:
    """Whether somebody else had the file: then no append is at fault, and trying each alone would only wait again."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY == sqlite3.SQLITE_BUSY


def _reason(error: BaseException) -> str:
    """What went wrong, with SQLite's own name for it if it has one."""
    if isinstance(error, JournalError):
        return error.reason
    if isinstance(error, OSError):
        return error.strerror or str(error)
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)
