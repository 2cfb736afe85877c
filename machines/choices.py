"""What can come from outside, and what can go wrong with it: the choices that ``lockstep explore`` makes.

Rule 1: a choice is data, and says which moves it takes; two choices are alike if they are equal.
Rule 2: what goes wrong is counted by kinds, and a ``Scope`` says how many of them a course may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from machines.case import Line
from machines.moves import Crash, Elapse, Move, Recover
from machines.nemesis import Side
from machines.tape import LATENCIES, PLAIN, TICK, Tape

Kind: TypeAlias = Literal["fail", "pause", "cancel", "timeout", "crash", "late"]
"""What goes wrong. ``late``: a write that the next choice overtakes."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
NEEDS: Final = {"pause": "pause", "cancel": "cancel", "timeout": "timeouts", "crash": "recovery"}
"""What a target must claim."""
_AWAY: Final = 100.0
"""Seconds without an engine, where it is long away: more than any timeout."""
_LATE: Final = LATENCIES.index(1.5 * TICK)
"""A byte of a tape: long enough for the next move to come first, and no longer."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How much may go wrong in one course."""

    kinds: tuple[Kind, ...] = KINDS
    troubles: int = 1
    """How many kinds, each once at most, beside the late write."""
    late: int = 1
    """How many late writes."""

    def __str__(self) -> str:
        """How much that is, in words."""
        troubles = f"{self.troubles} trouble{'' if self.troubles == 1 else 's'}"
        return troubles + (" and a late write" if self.late else "")

    def left(self, used: Sequence[Kind]) -> tuple[Kind, ...]:
        """What may still go wrong when so much has."""
        late = used.count("late")
        tolerant = len(used) - late < self.troubles
        return tuple(
            kind for kind in self.kinds if (late < self.late if kind == "late" else tolerant and kind not in used)
        )


_BY_SIZE: Final[Mapping[int, tuple[int, int]]] = {1: (2, 1), 2: (2, 0), 3: (1, 1)}
"""Troubles and late writes by steps: the fewer steps, the more may go wrong, in about the same time."""
_LARGER: Final = (1, 0)


def usual(steps: int) -> Scope:
    """How much goes wrong in workflows of so many steps, if nobody says otherwise."""
    troubles, late = _BY_SIZE.get(steps, _LARGER)
    return Scope(troubles=troubles, late=late)


@dataclass(frozen=True, slots=True)
class Choice:
    """What comes next from outside."""

    move: Move
    kind: Kind | None = None
    """What goes wrong by the move itself."""
    crash: tuple[Side, int] | None = None
    """The side of which commit, counted from the move, at which the engine crashes."""
    late: int = 0
    """Which write is late, counted from the move."""
    away: bool = False
    """Whether an engine that crashes is long away."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All that goes wrong by it."""
        found: list[Kind] = [] if self.kind is None else [self.kind]
        if self.crash:
            found.append("crash")
        if self.late:
            found.append("late")
        return tuple(found)

    def leaves(self, other: Choice, left: Sequence[Kind]) -> bool:
        """Whether another choice that could have come in its place can come while its first write is on its way."""
        gate, another = (getattr(choice.move, "gate", None) for choice in (self, other))
        return other.kind != "crash" and set(other.kinds) <= set(left) and (gate is None or gate != another)

    def lines(self) -> Iterator[Line]:
        """The moves that it takes."""
        if self.crash:
            yield Line(Crash(*self.crash))
        way = not isinstance(self.move, Elapse)  # what is sent has a way of its own, before any write
        yield Line(self.move, Tape(bytes(self.late - 1 + way) + bytes([_LATE])) if self.late else PLAIN)
        if "crash" in self.kinds:
            if self.away:
                yield Line(Elapse(_AWAY))
            yield Line(Recover())


Row: TypeAlias = tuple[Choice, ...]
