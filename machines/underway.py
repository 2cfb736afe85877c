"""The case under way, where it outlives its process: a worker writes down each move before it is played.

Rule 1: it is a file that is mapped into memory: what was written stays, whatever ends the process, and costs no call.
Rule 2: the length is written last, so that a reader never takes half a move for a whole one.
Rule 3: only the one who started a worker reads what it left, from a folder of its own: it is a pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import pickle
import struct
from pathlib import Path
from typing import Final

from machines.case import HARNESS, Case, Line
from machines.lifecycle import WorldMachine
from machines.moves import Move
from machines.tape import Tape

_SIZE: Final = 1 << 20
"""Bytes that a case may take; what does not fit is not written down."""
_LENGTH: Final = struct.Struct("<Q")


class Underway:
    """Where a worker notes the case that it plays."""

    def __init__(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(_SIZE)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)
        self._end = _LENGTH.size

    def begin(self, machine: str, target: str, limit: int) -> None:
        """Another case begins."""
        self._end = _LENGTH.size
        self._write((machine, target, limit))

    def note(self, move: Move, tape: Tape) -> None:
        """A move is about to be played."""
        self._write((move, tape))

    def _write(self, what: object) -> None:
        data = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
        end = self._end + len(data)
        if end <= _SIZE:
            self._memory[self._end : end] = data
            self._end = end
            _LENGTH.pack_into(self._memory, 0, end)


def noting(base: type[WorldMachine], underway: Underway, machine: str, target: str) -> type[WorldMachine]:
    """A machine that notes what it plays."""

    class Noting(base):  # type: ignore[valid-type, misc]  # it is whichever machine was asked for
        def open(self, limit: int) -> None:
            underway.begin(machine, target, limit)
            super().open(limit)

        def play(self, move: Move, tape: Tape) -> None:
            underway.note(move, tape)
            super().play(move, tape)

    Noting.__name__ = base.__name__
    return Noting


def left_in(path: Path, sentence: str) -> Case | None:
    """The case that was under way in a process that is no more; nothing is known of its history."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _LENGTH.size or (end := _LENGTH.unpack_from(data)[0]) <= _LENGTH.size:
        return None
    written, found = io.BytesIO(data[_LENGTH.size : end]), []
    while written.tell() < end - _LENGTH.size:
        found.append(pickle.load(written))  # noqa: S301  # see rule 3
    (machine, target, limit), *played = found
    lines = tuple(Line(move, tape) for move, tape in played)
    return Case(lines, HARNESS, "worker", sentence, "", target, machine, max_concurrent_steps=limit)


def name_of(case: Case) -> str:
    """The file name of a case without a history: what its program is."""
    text = json.dumps([case.max_concurrent_steps, [line.to_json() for line in case.lines]], sort_keys=True)
    return f"{case.clause}-{case.invariant}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
