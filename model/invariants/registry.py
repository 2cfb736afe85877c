"""How an invariant is told apart from a function: by the clauses its docstring opens with, and by what it listens to.

Rule 1: an invariant is a generator of sentences. No sentence: it holds.
Rule 2: *allowed* ones listen to an entry and see the facts before it; *owed* ones listen to `Rested` and `Closed`.
Rule 3: one that raises has not passed: the exception goes through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from model.parts import Phase

Key: TypeAlias = type | str | Phase
"""What is listened to: a type of entry; `STRANGER`; `ENGINE_WIDE` (`Answered`, `Refused` of such commands); a type of
recorded event by its name (`ANY` for all); for a rest, the phase of each unfinished execution that it finds."""

Check: TypeAlias = Callable[[Any, Any], Iterator[str]]
"""From what is known (`Facts`, or the `Execution` that the entry is about) and an entry to sentences."""

ANY: Final = "any event"
STRANGER: Final = "an entry about an unknown execution"
ENGINE_WIDE: Final = "a recovery, a rival or who takes over has come back"
CLAUSES: Final = re.compile(r"((?:[A-Z]\d(?:, )?)+): ")


@dataclass(frozen=True, slots=True)
class Invariant:
    """A clause of the contract, or a part of one, as something that can be checked."""

    name: str
    clauses: tuple[str, ...]
    """The clause it reports, then others that it serves."""

    check: Check
    keys: tuple[Key, ...]

    @property
    def clause(self) -> str:
        """The clause it reports."""
        return self.clauses[0]


INVARIANTS: Final[dict[str, Invariant]] = {}


def listens(*keys: Key) -> Callable[[Check], Check]:
    """Register a generator of sentences as an invariant that listens to these."""

    def register(check: Check) -> Check:
        opening = CLAUSES.match(check.__doc__ or "")
        assert opening is not None, f"{check.__name__}: its docstring names no clause"
        assert check.__name__ not in INVARIANTS, f"{check.__name__}: the name is taken"
        INVARIANTS[check.__name__] = Invariant(check.__name__, tuple(opening[1].split(", ")), check, keys)
        return check

    return register
