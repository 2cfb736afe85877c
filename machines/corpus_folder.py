"""A campaign's corpus as a folder: each worker puts in what it kept, and takes out what others did.

Rule 1: files are written whole, and named by what the program is: two workers that find the same write the same file.
Rule 2: where cases are counted and not seconds, each worker keeps to itself, so that the same seed does the same.
Rule 3: what cannot be read or written costs a search nothing: it is passed over.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from machines.case import CaseError, load, save
from machines.corpus import MOST, Kept
from machines.searching import Chunk, Plan, Searcher

_EVERY: Final = 20
"""Chunks of a machine between two looks at what others have found."""
_ROOM: Final = 4 * MOST
"""Files of a machine beyond which nothing is put in."""
_AT_ONCE: Final = MOST // 4
"""Files that are taken in at a time."""


class Exchange:
    """One worker's way to the folder."""

    def __init__(self, plan: Plan, searcher: Searcher) -> None:
        self._folder = plan.directory / "corpus"
        self._shared = plan.fast and plan.cases is None
        self._searcher = searcher
        self._seen: dict[Path, None] = {}
        self._written: dict[str, dict[int, Kept]] = {}
        """By machine, by identity: to name a case costs as much as to play it."""
        self._chunks: dict[str, int] = {}

    def read(self, chunk: Chunk) -> None:
        """Before a chunk: take in what is there and not yet known."""
        number = self._chunks[chunk.machine] = self._chunks.get(chunk.machine, -1) + 1
        if not (self._shared and chunk.fast) or number % _EVERY:
            return
        new = [path for path in sorted(self._place(chunk).glob("*.json")) if path not in self._seen][:_AT_ONCE]
        corpus = self._searcher.corpus_of(chunk.machine)
        for path in new:
            self._seen[path] = None
            with contextlib.suppress(CaseError):
                case = load(path)
                corpus.unplayed.append(Kept(case.lines, case.max_concurrent_steps, case.machine, case.target))

    def write(self, chunk: Chunk) -> None:
        """After a chunk: put in what is new."""
        place = self._place(chunk)
        if not self._shared or chunk.machine not in self._searcher.corpora:
            return
        corpus, written = self._searcher.corpora[chunk.machine], self._written.get(chunk.machine, {})
        if new := [kept for kept in corpus.kept if id(kept) not in written]:
            with contextlib.suppress(CaseError, OSError):
                place.mkdir(parents=True, exist_ok=True)
                room = _ROOM - len(list(place.glob("*.json")))
                for kept in new[: max(room, 0)]:
                    self._seen[path := place / kept.name] = None
                    if not path.exists():
                        save(kept.as_case(), path)
            self._written[chunk.machine] = {id(kept): kept for kept in corpus.kept}

    def _place(self, chunk: Chunk) -> Path:
        return self._folder / chunk.machine
