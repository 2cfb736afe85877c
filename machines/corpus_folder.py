"""What workers share of a campaign's corpus: each puts in what it kept, and takes out what others did.

Rule 1: a case is named by what its program is: two workers that find the same put in the same.
Rule 2: where cases are counted and not seconds, each worker keeps to itself, so that the same seed does the same.
Rule 3: what cannot be read or written costs a search nothing: it is passed over.
Rule 4: it is a folder, whose files are written whole; or a place that needs no common disk (`machines.sharing`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from machines.case import Case, CaseError, load, to_text
from machines.corpus import MOST, Kept
from machines.files import write_whole
from machines.searching import Chunk, Plan, Report, Searcher, Trouble

_EVERY: Final = 20
"""Chunks of a machine between two looks at what others have found."""
_ROOM: Final = 4 * MOST
"""Cases of a machine beyond which nothing is put in."""
_AT_ONCE: Final = MOST // 4
"""Cases that are taken in at a time."""


class Place(Protocol):
    """Where a corpus is that several search with."""

    def names(self, machine: str) -> list[str]:
        """What is there, in order."""
        ...

    def read(self, machine: str, names: Iterable[str]) -> list[Case]:
        """Those of them that can be read."""
        ...

    def put(self, machine: str, texts: Mapping[str, str], most: int) -> None:
        """Add what is not there yet, as long as there are not so many."""
        ...


class Folder:
    """A corpus as files: MACHINE/NAME."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self, machine: str) -> list[str]:
        """What is there, in order."""
        return sorted(path.name for path in (self._path / machine).glob("*.json"))

    def read(self, machine: str, names: Iterable[str]) -> list[Case]:
        """Those of them that can be read."""
        found = []
        for name in names:
            with contextlib.suppress(CaseError):
                found.append(load(self._path / machine / name))
        return found

    def put(self, machine: str, texts: Mapping[str, str], most: int) -> None:
        """Add what is not there yet, as long as there are not so many."""
        place = self._path / machine
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            known = set(self.names(machine))
            new = [name for name in texts if name not in known]
            for name in new[: max(most - len(known), 0)]:
                write_whole(place / name, texts[name])


class Exchange:
    """One worker's way to what is shared."""

    def __init__(self, plan: Plan, searcher: Searcher, place: Place | None = None) -> None:
        """``place``: where it is, if not in the campaign's folder."""
        self._place = place or Folder(plan.directory / "corpus")
        self._silent = False
        """Whether it has been told that the place is gone."""
        self._shared = plan.fast and plan.cases is None
        self._searcher = searcher
        self._seen: dict[str, dict[str, None]] = {}
        """By machine."""
        self._written: dict[str, dict[int, Kept]] = {}
        """By machine, by identity: to name a case costs as much as to play it."""
        self._chunks: dict[str, int] = {}

    def read(self, chunk: Chunk) -> None:
        """Before a chunk: take in what is there and not yet known."""
        number = self._chunks[chunk.machine] = self._chunks.get(chunk.machine, -1) + 1
        if not (self._shared and chunk.fast) or number % _EVERY:
            return
        seen = self._seen.setdefault(chunk.machine, {})
        new = [name for name in self._place.names(chunk.machine) if name not in seen][:_AT_ONCE]
        seen.update(dict.fromkeys(new))
        corpus = self._searcher.corpus_of(chunk.machine)
        for case in self._place.read(chunk.machine, new):
            corpus.unplayed.append(Kept(case.lines, case.max_concurrent_steps, case.machine, case.target))

    def write(self, chunk: Chunk) -> None:
        """After a chunk: put in what is new."""
        if not self._shared or chunk.machine not in self._searcher.corpora:
            return
        corpus, written = self._searcher.corpora[chunk.machine], self._written.get(chunk.machine, {})
        if new := [kept for kept in corpus.kept if id(kept) not in written]:
            texts = {}
            for kept in new:
                with contextlib.suppress(CaseError):
                    texts[kept.name] = to_text(kept.as_case())
            self._seen.setdefault(chunk.machine, {}).update(dict.fromkeys(texts))
            self._place.put(chunk.machine, texts, _ROOM)
            self._written[chunk.machine] = {id(kept): kept for kept in corpus.kept}

    def told(self, report: Report) -> Report:
        """A report, which also says that the place is gone if nobody has said so, and it is about nothing else."""
        link = self._searcher.link
        if link is None or not link.lost or self._silent or report.kind is not None or report.trouble is not None:
            return report
        self._silent = True
        sentence = f"{link.address} does not answer, and nothing is shared any more"
        return replace(report, trouble=Trouble("redis", sentence, link.lost))


def exchange_of(searcher: Searcher) -> Exchange:
    """A searcher's exchange: on its server if it has one, else in the campaign's folder."""
    if searcher.link is None:
        return Exchange(searcher.plan, searcher)
    from machines.sharing import SharedCorpus  # noqa: PLC0415  # the extra may be missing

    return Exchange(searcher.plan, searcher, SharedCorpus(searcher.link))
