"""Who may write to a journal's file (J5).

Rule 1: a lock keeps a second process out. It is the kernel's (``flock``), so that whoever dies lets go of it, and it is
on a file of its own: SQLite loses its locks on a file as soon as its process closes any other descriptor of that.
Rule 2: a generation keeps a former owner out. Every opening counts it up in the journal's file, and every transaction
looks whether it is still its own: one that was stalled while another took over can write nothing more.
Rule 3: the lock's file is never deleted: somebody may be about to lock it. Whoever takes over puts a locked file of his
own in its place, and from then on that one keeps the others out.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Self

__all__ = ["OWNER_SCHEMA", "Lock", "Owner", "claim", "doubt", "successor"]

OWNER_SCHEMA: Final = (
    """
    CREATE TABLE owner (
        generation INTEGER NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started REAL NOT NULL,
        doubts INTEGER NOT NULL
    )
    """,
    "INSERT INTO owner (generation, host, pid, started, doubts) VALUES (0, '', 0, 0, 0)",
)
_CLAIM: Final = "UPDATE owner SET generation = generation + 1, host = ?, pid = ?, started = ?"
_GENERATION: Final = "SELECT generation FROM owner"
_OWNER: Final = "SELECT host, pid, started FROM owner"
_DOUBT: Final = "UPDATE owner SET doubts = doubts + 1"

_RECORD: Final = 4096
"""Bytes that a lock's file has at most."""
_MODE: Final = 0o644
_HELD: Final[dict[int, None]] = {}
"""The descriptors of this process's locks."""


def _let_go() -> None:
    """A forked process has its parent's locks, and would keep them when the parent dies."""
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)


class Owner(NamedTuple):
    """The process that a journal's file is open in for writing."""

    host: str
    pid: int
    started: float
    """When it opened the file, in seconds since 1970."""

    @classmethod
    def here(cls) -> Self:
        """Name this process, as the owner from now on."""
        return cls(socket.gethostname(), os.getpid(), time.time())

    def __str__(self) -> str:
        """The process."""
        return f"process {self.pid} on {self.host}"

    def since(self) -> str:
        """When it opened the file.

        Raises:
            ValueError, OverflowError, OSError: that is no time.
        """
        return datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class Lock:
    """A lock on a journal's file, by way of the file that is beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, owner: Owner) -> str | None:
        """Take the lock if it is free. Returns who has it; None: we have.

        Raises:
            OSError: there can be no lock.
        """
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, _MODE)
            try:
                if not _locked(descriptor):
                    return _told(os.pread(descriptor, _RECORD, 0))
                if _same(descriptor, self.path):
                    _tell(descriptor, owner)
                    self._hold(descriptor)
                    return None
            finally:
                if descriptor != self._descriptor:
                    os.close(descriptor)

    def seize(self, owner: Owner) -> None:
        """Put a locked file of our own in the place of one that somebody else has locked (rule 3).

        Raises:
            OSError: there can be no lock.
        """
        descriptor, name = tempfile.mkstemp(prefix=f"{self.path.name}.", dir=self.path.parent)
        try:
            os.fchmod(descriptor, _MODE)
            _locked(descriptor)
            _tell(descriptor, owner)
            Path(name).replace(self.path)
            self._hold(descriptor)
        finally:
            if descriptor != self._descriptor:
                os.close(descriptor)
                Path(name).unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the lock, if we have it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and descriptor in _HELD:
            del _HELD[descriptor]
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _HELD[descriptor] = None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(descriptor: int, path: Path) -> bool:
    """Whether what we have locked is still what others would lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _tell(descriptor: int, owner: Owner) -> None:
    """Write into a lock's file who has it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{json.dumps(owner._asdict())}\n".encode(), 0)


def _told(record: bytes) -> str:
    """Who has a lock, by its file: for a moment after it was taken that says nothing yet."""
    try:
        owner = Owner(**json.loads(record))
        return f"{owner} since {owner.since()}"
    except (ValueError, TypeError, OverflowError, OSError):
        return "another process, which has just opened it"


# In the journal's file, in a transaction


def claim(connection: sqlite3.Connection, owner: Owner) -> int:
    """Make the file ours, and return its new generation."""
    connection.execute(_CLAIM, owner)
    ((generation,),) = connection.execute(_GENERATION).fetchall()
    return int(generation)


def successor(connection: sqlite3.Connection, generation: int) -> str | None:
    """Who has taken the file over from the owner of a generation; None: nobody has."""
    if connection.execute(_GENERATION).fetchone() == (generation,):
        return None
    found = connection.execute(_OWNER).fetchone()
    if found is None:
        return "the record of its owner is gone"
    owner = Owner(*found)
    return f"{owner} took it over at {owner.since()}"


def doubt(connection: sqlite3.Connection) -> None:
    """Change something, so that a transaction writes at least one page."""
    connection.execute(_DOUBT)
