"""Drift: a case that makes another history in a fresh process than where it was made.

Rule 1: cases are gathered, and a process that knows nothing but them plays each once: in the order of their texts, so
that none follows the one it followed before.
Rule 2: whatever differs is trouble with its case; so is a process that does not answer.
"""

from __future__ import annotations

import signal
import time
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any, Final

from machines.case import carry_out, from_text
from machines.registry import load_target
from machines.searching import Trouble

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

BATCH: Final = 400
"""Cases of a fresh process: importing takes longer than a hundred cases."""
PATIENCE: Final = 120.0
"""Seconds that a process gets for its batch."""


class Drift:
    """Plays cases again, one fresh process after the other."""

    def __init__(self) -> None:
        self.played = 0
        """Cases that were played again."""
        self._waiting: list[str] = []
        self._batch: list[str] = []
        self._process: SpawnProcess | None = None
        self._pipe: connection.Connection[Any, Any] | None = None
        self._since = 0.0

    def add(self, cases: tuple[str, ...]) -> None:
        """Gather cases, and begin when there are enough."""
        self._waiting += cases
        if self._process is None and len(self._waiting) >= BATCH:
            self._begin()

    def look(self) -> list[Trouble]:
        """What a process that has ended found, if one has."""
        if self._process is None or self._pipe is None:
            return []
        late = time.monotonic() - self._since > PATIENCE
        if not (late or self._pipe.poll()) and self._process.is_alive():
            return []
        return self._end()

    def rest(self) -> list[Trouble]:
        """Play what is left, and wait for it."""
        found: list[Trouble] = []
        while self._process is not None or self._waiting:
            if self._process is None:
                self._begin()
            assert self._pipe is not None
            self._pipe.poll(max(self._since + PATIENCE - time.monotonic(), 0.0))
            found += self._end()
        return found

    def stop(self) -> None:
        """End a process that is under way."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _begin(self) -> None:
        self._batch, self._waiting = sorted(self._waiting[:BATCH]), self._waiting[BATCH:]
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_play, args=(self._batch, theirs), name="drift", daemon=True)
        self._process.start()
        self._since = time.monotonic()
        theirs.close()

    def _end(self) -> list[Trouble]:
        assert self._process is not None
        assert self._pipe is not None
        try:
            digests: list[str] | None = self._pipe.recv() if self._pipe.poll() else None
        except EOFError:
            digests = None
        self._pipe.close()
        self.stop()
        if digests is None:
            return [Trouble("drift", f"a fresh process did not play {len(self._batch)} cases again")]
        self.played += len(digests)
        return [
            Trouble("drift", "a case makes another history in a fresh process", f"{_told(text)}: {digest[:12]}", text)
            for text, digest in zip(self._batch, digests, strict=True)
            if digest != from_text(text).digest
        ]


def _told(text: str) -> str:
    case = from_text(text)
    return f"{case.target}, {case.machine}: recorded is {case.digest[:12]}, played again"


def _play(cases: list[str], pipe: connection.Connection[Any, Any]) -> None:
    """The life of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    digests = []
    for text in cases:
        case = from_text(text)
        digests.append(carry_out(case.lines, load_target(case.target), case.max_concurrent_steps).digest)
    pipe.send(digests)
