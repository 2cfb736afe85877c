"""What a case of crashes and failing stores reached, beside what the model tells.

Rule: what is declared here needs a world: which side of which commit a crash hit, which statement failed, and what the
time without an engine has made due.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, get_args

from machines.nemesis import Fault, Statement
from machines.reach import MADE, STARTED, Reach, goals
from model.facts import Facts
from model.history import Answered, Asked, Crashed, Entry, Recorded, Refused, Rested, ShutDown, StoreFailed
from model.parts import Phase

if TYPE_CHECKING:
    from machines.world import World

_HOW: Final = ("now", "before a commit", "after a commit")
_PHASES: Final = (Phase.PENDING, Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING, Phase.ROLLING_BACK)

AGAIN: Final = "a second crash"
THRICE: Final = "a third crash"
UNANSWERED: Final = "an execution recovered whose start was never answered"
LATE: Final = "a deadline that passed while there was no engine"
OVER_BACKOFF: Final = "a retry's wait that ended while there was no engine"
LIVING: Final = "a recovery by the engine that could not write"
HELD_UP: Final = "a recovery held up by a stubborn action"
NOT_RECOVERED: Final = "a recovery refused by its store"
NOT_DONE: Final = "a command refused by its store"
NOT_STARTED: Final = "a start refused by its store"
RIVAL: Final = "a second engine refused"
TAKEN_OVER: Final = "a journal taken over from a living engine"
FENCED: Final = "a write refused to a former owner"
NOT_TAKEN_UP: Final = "a recovery refused to a former owner"
NOT_DRIVEN: Final = "a command to an execution that nobody drove"


def crashed_in(how: str, phase: Phase) -> str:
    """The name of a crash of a kind, with an execution in a phase."""
    return f"crash {how} in {phase.name}"


def failed_with(fault: str) -> str:
    """The name of a fault of the store."""
    return f"store fault: {fault}"


def failed_at(statement: str) -> str:
    """The name of the place where a fault of the store struck."""
    return f"store fault at {statement}"


SEEN_BY_A_WORLD: Final[Mapping[str, tuple[str, ...]]] = {
    **{crashed_in(how, phase): ("J3",) for how in _HOW for phase in _PHASES},
    **{failed_with(fault): ("J4",) for fault in get_args(Fault)},
    **{failed_at(statement): ("J4",) for statement in get_args(Statement)},
    AGAIN: ("J3",),
    THRICE: ("J3",),
    UNANSWERED: ("J3",),
    LATE: ("J3", "F7"),
    OVER_BACKOFF: ("J3", "F1"),
    LIVING: ("J4",),
    HELD_UP: ("J4",),
    NOT_RECOVERED: ("J4",),
    NOT_DONE: ("J4",),
    NOT_STARTED: ("J4",),
    RIVAL: ("J5",),
    TAKEN_OVER: ("J5",),
    FENCED: ("J5",),
    NOT_TAKEN_UP: ("J5",),
    NOT_DRIVEN: ("J4",),
}
"""Situations of crashes and failing stores, and the clauses that they try."""

GOALS: Final[Mapping[str, float]] = {
    **goals((STARTED,), MADE, SEEN_BY_A_WORLD, of=("crashes", "failing stores", "recoveries", "shutdowns")),
    "an attempt that ran again": 0.2,
}
"""What a full run must have reached: a share of its cases."""


class RecoveryReach(Reach):
    """Counts what one case reaches, crashes and faults included."""

    def __init__(self, names: frozenset[str] | None = None) -> None:
        super().__init__(names)
        self._world: World | None = None
        self._down_since: float | None = None
        """When the engine crashed, if it has not been recovered."""
        self._ousted = False
        """Whether the journal was taken over from the engine, which lives."""
        self._crashes = 0
        self._faults = 0
        self._under_way: dict[int, tuple[str, int]] = {}
        """By command: what it is, and how many faults had struck when it was sent."""
        self._unclaimed: dict[str, None] = {}
        """Executions whose start was never answered."""

    def attach(self, world: World) -> None:
        """Watch what the judge of a world is shown, and the world."""
        self._world = world
        world.judge.watch = self.look

    def close(self, world: World, purposes: Collection[str], *, cut: bool) -> None:
        """The case is over."""
        for fault, statement in world.nemesis.struck:
            self.found |= {failed_with(fault): None, failed_at(statement): None}
        super().close(world, purposes, cut=cut)

    def look(self, facts: Facts, entry: Entry) -> None:
        """Take in an entry."""
        match entry:
            case Recorded(event={"type": "ExecutionCreated"}, execution=execution):
                self._unclaimed[execution] = None
            case Rested():
                if self._down_since is None and any(command == "recover" for command, _ in self._under_way.values()):
                    self.found[HELD_UP] = None
            case Asked():
                self._asked(facts, entry)
            case Answered() | Refused():
                self._came_back(entry)
            case Crashed():
                self._crashed(facts, entry)
            case ShutDown():
                self._down_since = entry.at
                self._under_way.clear()
            case StoreFailed():
                self._faults += 1
                if self._ousted:
                    self.found[NOT_TAKEN_UP if entry.execution is None else FENCED] = None
            case _:
                pass
        self.watch(facts, entry)

    def _crashed(self, facts: Facts, entry: Crashed) -> None:
        assert self._world is not None
        how = self._world.deaths[self._crashes]
        self._crashes += 1
        self._ousted = False
        for execution in facts.unfinished.values():
            self.found[crashed_in(how, execution.phase)] = None
        if self._crashes > 1:
            self.found[AGAIN if self._crashes == 2 else THRICE] = None  # noqa: PLR2004  # as the name says
        self._down_since = entry.at
        self._under_way.clear()

    def _asked(self, facts: Facts, entry: Asked) -> None:
        self._under_way[entry.ask] = (entry.command, self._faults)
        since = self._down_since
        if entry.command == "recover" and since is not None:
            for execution in facts.unfinished.values():
                waits = (
                    *execution.retrying.values(),
                    *(execution.steps[step].until for step in execution.compensable),
                )
                if any(since < until <= entry.at for until in waits):
                    self.found[OVER_BACKOFF] = None
                if execution.deadline is not None and since < execution.deadline <= entry.at:
                    self.found[LATE] = None

    def _came_back(self, entry: Answered | Refused) -> None:
        command, faults = self._under_way.pop(entry.ask)
        if isinstance(entry, Refused):
            if entry.type == "JournalError":
                unwritten = {"start": NOT_STARTED, "recover": NOT_RECOVERED, "rival": RIVAL}.get(command, NOT_DONE)
                driven = command in {"start", "recover", "rival"} or self._faults > faults
                self.found[unwritten if driven else NOT_DRIVEN] = None
        elif command == "take_over":
            self._ousted = True
            self.found[TAKEN_OVER] = None
        elif command == "start":
            self._unclaimed.pop(entry.answer, None)
        elif command == "recover":
            if self._down_since is None and entry.answer:
                self.found[LIVING] = None
            if any(execution in self._unclaimed for execution in entry.answer):
                self.found[UNANSWERED] = None
            self._down_since = None
