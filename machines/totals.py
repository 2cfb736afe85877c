"""What a campaign has come to so far: how much was done, what was reached, and what was found, how often.

Rule 1: the same failure is counted once, with how often it came and its smallest case: one clause, and the same minimal
moves but for their arguments. What was not made small counts with what its kind was last found to be.
Rule 2: whoever carries out the chunks, here or on a cluster, adds its reports here; nothing else counts.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from machines.case import Case, CaseError, from_text, save, to_text
from machines.covering import Branch
from machines.findability import recorded
from machines.fingerprint import Fingerprint, ViolationKind, fingerprint
from machines.growth import Growth
from machines.searching import Plan, Report, Trouble
from machines.underway import name_of


@dataclass(slots=True)
class Failure:
    """A way in which the contract was violated."""

    case: Case
    program: tuple[str, ...]
    count: int = 1
    path: Path | None = None


@dataclass(slots=True)
class Found:
    """Trouble, and how often it came."""

    trouble: Trouble
    count: int = 1
    path: Path | None = None


@dataclass(slots=True)
class Totals:
    """What a campaign has come to so far."""

    plan: Plan
    started: float = field(default_factory=time.monotonic)
    moves: int = 0
    lived: float = 0.0
    """Virtual seconds."""
    news: int = 0
    """How much of the model was reached for the first time, each worker for itself."""
    again: int = 0
    """Cases that were played again in a fresh process."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    cases_of: Counter[str] = field(default_factory=Counter)
    """By machine."""
    moves_of: Counter[str] = field(default_factory=Counter)
    """By front end."""
    reach_of: dict[str, Counter[str]] = field(default_factory=dict)
    tallies_of: dict[str, Counter[str]] = field(default_factory=dict)
    """By machine: what was counted to know what is wasted."""
    failures: dict[Fingerprint, Failure] = field(default_factory=dict)
    fingerprints: dict[ViolationKind, Fingerprint] = field(default_factory=dict)
    """What violations of a kind were last found to be, once one of them was small."""
    troubles: dict[tuple[str, str], Found] = field(default_factory=dict)
    chunks: dict[int, int] = field(default_factory=dict)
    """By worker: the number of the chunk behind the last one that was begun."""
    growth: Growth = field(default_factory=Growth)
    """Of ``news``, over time."""
    reached: Growth = field(default_factory=Growth)
    """Situations, of all machines together."""
    branches: dict[Branch, None] = field(default_factory=dict)
    """Of the engine: those that any worker went through, if they are counted."""
    branches_in_all: int = 0
    covered: Growth = field(default_factory=Growth)
    """Of ``branches``, over time."""
    interrupted: bool = False

    @property
    def cases(self) -> int:
        """Cases carried out in all."""
        return self.cases_of.total()

    @property
    def reach(self) -> Counter[str]:
        """In how many cases something was reached, over all machines."""
        return sum(self.reach_of.values(), Counter())

    @property
    def hits(self) -> int:
        """How often a violation was found."""
        return sum(failure.count for failure in self.failures.values())

    def add(self, report: Report) -> None:
        """Count a chunk."""
        self.moves += report.moves
        self.lived += report.lived
        self.news += report.news
        self.moves_of["fast" if report.fast else "hypothesis"] += report.moves
        self.cpu_seconds += report.cpu_seconds
        self.cases_of[report.machine] += report.cases
        self.reach_of.setdefault(report.machine, Counter()).update(report.reach)
        self.tallies_of.setdefault(report.machine, Counter()).update(report.tallies)
        self.branches.update(dict.fromkeys(report.branches))
        self.branches_in_all = max(self.branches_in_all, report.branches_in_all)
        seconds = time.monotonic() - self.started
        self.growth.add(seconds, self.news)
        self.reached.add(seconds, sum(map(len, self.reach_of.values())))
        self.covered.add(seconds, len(self.branches))
        if report.found is not None:
            self.add_failure(from_text(report.found), report.program, kind=report.kind)
        elif report.kind is not None and report.trouble is None:
            self._count_again(report.kind)
        if report.trouble is not None:
            self.add_trouble(report.trouble)

    def _count_again(self, kind: ViolationKind) -> None:
        """A violation that nobody looked into, since others of its kind were: it counts with the last of them."""
        if (key := self.fingerprints.get(kind)) is None:
            sentence = f"{kind[0]} ({kind[1]}) was violated again; no case shows it"
            self.add_trouble(Trouble("harness error", sentence))
        else:
            self.failures[key].count += 1

    def add_failure(
        self, case: Case, program: tuple[str, ...], count: int = 1, kind: ViolationKind | None = None
    ) -> None:
        """Count a failure that came so often."""
        key = fingerprint(case)
        if kind is not None:
            self.fingerprints[kind] = key
        known = self.failures.get(key)
        if known is None:
            self.failures[key] = Failure(case, program, count, self._save(case))
            return
        known.count += count
        if _length(case) < _length(known.case):
            before, known.case, known.program, known.path = known.path, case, program, self._save(case)
            if before is not None and before != known.path:
                before.unlink(missing_ok=True)

    def add_trouble(self, trouble: Trouble) -> None:
        """Count what is no violation."""
        key = (trouble.kind, "".join("#" if letter.isdigit() else letter for letter in trouble.message))
        if key in self.troubles:
            self.troubles[key].count += 1
        else:
            self.troubles[key] = Found(trouble)
            if trouble.case is not None:
                self.troubles[key].path = self._save(from_text(trouble.case))

    def record_rates(self) -> None:
        """Write into each failure's case how often it came."""
        for failure in self.failures.values():
            cases = self.cases_of[failure.case.machine]
            if failure.path is not None and 0 < failure.count <= cases:
                failure.case = recorded(failure.case, failure.count, cases)
                with contextlib.suppress(CaseError):  # the case itself is written already
                    save(failure.case, failure.path)

    def _save(self, case: Case) -> Path | None:
        folder = self.plan.directory / "cases"
        with contextlib.suppress(OSError):  # that it cannot be written to is told below
            folder.mkdir(parents=True, exist_ok=True)
        try:
            return save(case, folder if case.digest else folder / name_of(case))
        except CaseError as error:
            self.add_trouble(Trouble("case file", str(error)))
            return None


def _length(case: Case) -> int:
    return len(to_text(case))
