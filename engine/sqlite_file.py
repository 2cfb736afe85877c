"""A journal's file: what it says it is, its tables, where it lies, and how to read it without a change.

Rule 1: a file that is no journal, or one of a later version, is refused and left as it is: whether it is one is read
from its first hundred bytes, before SQLite is let near it.
Rule 2: those bytes are not read while a journal of this process has the file: SQLite's locks would go with the reader's
descriptor. Whoever has the file has read them.
Rule 3: the tables are made, and brought up to date, before the file turns to WAL: so what it says it is stands in those
bytes for good. SQLite lets a file leave WAL only when nobody else has it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from engine.errors import JournalError
from engine.ownership import OWNER_SCHEMA

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "TROUBLE",
    "Identity",
    "Place",
    "Reader",
    "UnwritableError",
    "beside",
    "close_database",
    "failure",
    "kind",
    "open_database",
    "prepare",
    "reason",
    "roll_back",
    "transaction",
]

APPLICATION_ID: Final = 0x4C4B5354
"""``LKST``: what the header of a SQLite file says that is a journal of ours."""
SCHEMA_VERSION: Final = 2

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
)
_UPGRADES: Final[Mapping[int, tuple[str, ...]]] = {0: (*_SCHEMA, *OWNER_SCHEMA), 1: OWNER_SCHEMA}
"""What makes a file of a version one of today's; 0 is a new file."""

# Where a SQLite file keeps what it is (https://www.sqlite.org/fileformat2.html, section 1.3).
_HEADER: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_USER_VERSION: Final = slice(60, 64)
_APPLICATION_ID: Final = slice(68, 72)

_NO_JOURNAL: Final = "it is an SQLite database, but not a journal"
_LOG: Final = "-wal"
_PRIMARY: Final = 0xFF
"""The part of SQLite's extended error codes that names the kind of the error."""
TROUBLE: Final = (sqlite3.Error, OSError, MemoryError, ValueError, OverflowError, JournalError)
"""What the file, SQLite or a value that it cannot hold may raise; anything else is a mistake of ours."""

Identity: TypeAlias = tuple[int, int]

_GUARD: Final = threading.Lock()
_IN_USE: Final[dict[Identity, int]] = {}
"""How many connections journals of this process have to a file (rule 2)."""


class UnwritableError(JournalError):
    """Nothing at all can be written: no append is at fault, and trying each alone would not help."""


def failure(path: Path, *reasons: object) -> JournalError:
    """An error that names the file."""
    return JournalError(": ".join(map(str, (path, *reasons))))


def reason(error: BaseException) -> str:
    """What went wrong, with SQLite's own name for it if it has one."""
    if isinstance(error, JournalError):
        return error.reason
    if isinstance(error, OSError):
        return error.strerror or str(error)
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error) or type(error).__name__


def kind(error: BaseException) -> int:
    """SQLite's code for what went wrong, without the detail."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)) & _PRIMARY


# Opening


def open_database(
    path: Path, connect: Callable[[], sqlite3.Connection], *, new: bool = True
) -> tuple[sqlite3.Connection, Identity]:
    """Have SQLite open a file that is a journal of a version that we know, or may become one if it is ``new``.

    Raises:
        JournalError: it is refused.
        sqlite3.Error, OSError: it cannot be opened or read.
    """
    with _GUARD:
        found = _identity(path)
        unmarked = not (found and _IN_USE.get(found)) and _look(path, new=new)
        connection = connect()
        try:
            if unmarked:
                _check_empty(path, connection)
            status = path.stat()
        except BaseException:
            connection.close()
            raise
        identity = (status.st_dev, status.st_ino)
        _IN_USE[identity] = _IN_USE.get(identity, 0) + 1
    return connection, identity


def close_database(connection: sqlite3.Connection, identity: Identity) -> None:
    """Have SQLite close a file."""
    with _GUARD:
        connection.close()
        _IN_USE[identity] -= 1
        if not _IN_USE[identity]:
            del _IN_USE[identity]


def _identity(path: Path) -> Identity | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _look(path: Path, *, new: bool) -> bool:
    """Refuse a file that is no journal, by its header. Returns whether that leaves the question to SQLite."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError:
        if new:
            return False
        raise
    if new and not header:
        return False
    if not header.startswith(_MAGIC) or len(header) < _HEADER:
        raise failure(path, "it is not an SQLite database")
    application = int.from_bytes(header[_APPLICATION_ID], "big")
    version = int.from_bytes(header[_USER_VERSION], "big")
    if fault := _fault(application, version) or (None if new or version else _NO_JOURNAL):
        raise failure(path, fault)
    return not version


def _check_empty(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database without marks, unless there is nothing in it: a crash may have come before its tables."""
    if _marks(connection) == (0, 0) and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise failure(path, _NO_JOURNAL)


def _fault(application: int, version: int) -> str | None:
    """What is wrong with a database by its header; one without any marks may be new."""
    if (application, version) in ((0, 0), (APPLICATION_ID, SCHEMA_VERSION)):
        return None
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        return f"its schema version is {version}; this program knows versions up to {SCHEMA_VERSION}"
    return None if application == APPLICATION_ID and version else _NO_JOURNAL


def prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Make the tables in a database that is new, bring an older one up to date, and turn it to WAL.

    Raises:
        JournalError: it is another's database, or cannot be in WAL.
        sqlite3.Error: it cannot be read or written.
    """
    application, version = _marks(connection)
    if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        if application == APPLICATION_ID and version < SCHEMA_VERSION:
            connection.execute("PRAGMA journal_mode = DELETE")
        _upgrade(path, connection)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise failure(path, f"SQLite cannot keep a write-ahead log there, only {mode!r}")


def _upgrade(path: Path, connection: sqlite3.Connection) -> None:
    with transaction(connection):
        marks = _marks(connection)
        if fault := _fault(*marks):
            raise failure(path, fault)
        _check_empty(path, connection)
        for statement in _UPGRADES.get(marks[1], ()):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return application, version


# Writing


class transaction:  # noqa: N801  # used as the context manager that it is; a generator would cost each commit more
    """All or nothing, and nobody else writes meanwhile. What is in it ends with a COMMIT."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        """Begin; what was left open is rolled back."""
        roll_back(self._connection)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self.__exit__(type(error))
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Roll back what has failed."""
        if kind is not None:
            with suppress(*TROUBLE):  # then the next one does that first
                roll_back(self._connection)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that was left open.

    Raises:
        sqlite3.Error: it is still open.
    """
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class Place:
    """Where a file and its log lay when it was opened. SQLite would go on writing to what was deleted or replaced."""

    def __init__(self, path: Path) -> None:
        self._files = [(str(each), _identity(each)) for each in (path.absolute(), beside(path, _LOG))]

    def fault(self) -> str | None:
        """What has become of the file; None: it lies where it lay."""
        for name, identity in self._files:
            try:
                status = os.stat(name)  # noqa: PTH116  # before each transaction: twice as fast as a Path's
            except FileNotFoundError:
                return f"{name} was deleted or moved away"
            if (status.st_dev, status.st_ino) != identity:
                return f"another file has taken the place of {name}"
        return None


def beside(path: Path, ending: str) -> Path:
    """A file that goes with a journal's: it is beside that one itself, and not beside a link to it."""
    return Path(f"{path.resolve()}{ending}")


# Reading what others may own


class _Standing(NamedTuple):
    identity: Identity
    stamp: tuple[int, int] | None
    """Tells one state of the file from another; None: it has a log, and SQLite knows."""


class Reader:
    """Reads a file that may have an owner, as it stands at each call, and changes nothing.

    Beside a file without a log SQLite would make one, and leave it there: such a file is read as one that nobody
    changes (``immutable``), and read again if somebody did.
    """

    def __init__(self, path: Path, connect: Callable[[str], sqlite3.Connection]) -> None:
        self.path = path
        self._connect = connect
        self._opened: tuple[sqlite3.Connection, Identity] | None = None
        self._seen: _Standing | None = None

    def select(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """What a query finds.

        Raises:
            JournalError: the file is no journal, or SQLite would have to write.
            sqlite3.Error, OSError: it cannot be read.
        """
        while True:
            seen = self._standing()
            try:
                if seen != self._seen:
                    self._reopen(seen)
                assert self._opened is not None
                rows = self._opened[0].execute(query, values).fetchall()
            except sqlite3.Error as error:
                if self._standing() == seen:
                    raise self._explained(error) from error
            else:
                if self._standing() == seen:
                    return rows

    def close(self) -> None:
        """Let go of the file."""
        opened, self._opened = self._opened, None
        if opened is not None:
            close_database(*opened)
        self._seen = None

    def _standing(self) -> _Standing:
        status = self.path.stat()
        logged = beside(self.path, _LOG).exists()
        return _Standing((status.st_dev, status.st_ino), None if logged else (status.st_mtime_ns, status.st_size))

    def _reopen(self, seen: _Standing) -> None:
        self.close()
        options = "mode=ro" if seen.stamp is None else "mode=ro&immutable=1"
        uri = f"{self.path.absolute().as_uri()}?{options}"
        self._opened = open_database(self.path, lambda: self._connect(uri), new=False)
        self._seen = seen

    def _explained(self, error: sqlite3.Error) -> Exception:
        if kind(error) not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            return error
        return failure(
            self.path,
            f"it was not closed, and its log can be read only where SQLite may write {self.path.name}-shm beside it",
            reason(error),
        )
