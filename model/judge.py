"""The judge: a history in, violations out.

Rule 1: an entry is judged against the facts before it, then folded into them.
Rule 2: the first entry that violates anything ends the judging: what is known after it would mean nothing.
Rule 3: the cost of an entry does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, get_args

from model.execution import Execution
from model.facts import Facts
from model.history import (
    Answered,
    Began,
    Entry,
    Interrupted,
    Notified,
    Recorded,
    Refused,
    Reported,
    Rested,
)
from model.invariants import ANY, ENGINE_WIDE, INVARIANTS, STRANGER, Check, Invariant, Key
from model.invariants.journal import FIELDS, known_execution, well_formed
from model.parts import Phase


@dataclass(frozen=True, slots=True)
class Violation:
    """A clause that an entry breaks, and how."""

    clause: str
    invariant: str
    sentence: str
    index: int
    """The entry's place in the history."""


Watching: TypeAlias = Callable[[Facts, Entry], None]
Listeners = tuple[tuple[Invariant, Check], ...]
ENTRIES: Final = get_args(Entry)
_ENGINE_WIDE: Final = ("convert", "recover", "shutdown", "rival", "take_over")
_OF_AN_EXECUTION: Final = (Began, Interrupted, Notified, Reported)
_COME_BACK: Final = (Answered, Refused)


@lru_cache(maxsize=64)
def _listeners(claims: frozenset[str] | None) -> dict[Key, Listeners]:
    """Who listens to what, as far as a target claims it. What is malformed cannot be judged: that is never left out."""
    chosen = [
        invariant
        for invariant in INVARIANTS.values()
        if claims is None or invariant.clause in claims or invariant.check in {well_formed, known_execution}
    ]
    keys: list[Key] = [*FIELDS, STRANGER, ENGINE_WIDE, *ENTRIES, *Phase]
    return {
        key: tuple(
            (invariant, invariant.check)
            for invariant in chosen
            if key in invariant.keys or (key in FIELDS and ANY in invariant.keys)
        )
        for key in keys
    }


class Judge:
    """Takes a history entry by entry."""

    def __init__(
        self, *, max_concurrent_steps: int, claims: frozenset[str] | None = None, watch: Watching | None = None
    ) -> None:
        self.facts = Facts(max_concurrent_steps)
        self.violations: list[Violation] = []
        self.watch = watch
        """Shown each entry that was found good, before it is folded."""
        self._listeners = _listeners(claims)

    def feed(self, entry: Entry) -> list[Violation]:
        """The clauses that this entry breaks. Once there was one, nothing is judged any more."""
        if self.violations:
            return []
        facts = self.facts
        facts.moment += 1
        if isinstance(entry, Recorded):
            found = self._recorded(entry)
        elif isinstance(entry, Rested):
            found = self._rested(entry)
        elif isinstance(entry, _OF_AN_EXECUTION):
            execution = facts.executions.get(entry.execution)
            key, subject = (STRANGER, facts) if execution is None else (type(entry), execution)
            found = self._check(key, subject, entry)
        elif isinstance(entry, _COME_BACK) and facts.asks[entry.ask].command in _ENGINE_WIDE:
            found = self._check(ENGINE_WIDE, facts, entry)
        else:
            found = self._check(type(entry), facts, entry)
        if found:
            self.violations = found
        else:
            if self.watch is not None:
                self.watch(facts, entry)
            facts.fold(entry)
        return found

    def _recorded(self, entry: Recorded) -> list[Violation]:
        facts = self.facts
        if found := self._check(Recorded, facts, entry):
            return found
        event = entry.event["type"]
        return self._check(event, facts.executions.get(entry.execution) or facts, entry)

    def _rested(self, entry: Rested) -> list[Violation]:
        found = self._check(Rested, self.facts, entry)
        if not self.facts.down and self.facts.closing is None:
            for execution in self.facts.unfinished.values():
                if execution.adrift is None:
                    found += self._check(execution.phase, execution, entry)
        return found

    def _check(self, key: Key, subject: Facts | Execution, entry: Entry) -> list[Violation]:
        found: list[Violation] = []
        for invariant, check in self._listeners[key]:
            for sentence in check(subject, entry):
                found.append(Violation(invariant.clause, invariant.name, sentence, self.facts.moment))  # noqa: PERF401  # nearly always there is none
        return found


def judge(history: Iterable[Entry], *, max_concurrent_steps: int) -> list[Violation]:
    """The clauses that a history breaks, at the first entry that breaks any."""
    court = Judge(max_concurrent_steps=max_concurrent_steps)
    for entry in history:
        if found := court.feed(entry):
            return found
    return []
