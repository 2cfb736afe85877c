"""What a case of crashes and failing stores reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, get_args

from machines.nemesis import Fault, Statement
from machines.reach import STARTED, Reach
from model.execution import Phase
from model.history import Answered, Asked, Began, Crashed, Ended, Entry, Recorded, Refused, Rested, StoreFailed

if TYPE_CHECKING:
    from machines.world import World

_HOW: Final = ("now", "before a commit", "after a commit")
_PHASES: Final = (Phase.PENDING, Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING, Phase.ROLLING_BACK)

IN_ACTION: Final = "a crash inside an action"
IN_COMPENSATION: Final = "a crash inside a compensation"
IN_BACKOFF: Final = "a crash during a retry's wait"
IN_RECOVERY: Final = "a crash inside a recovery"
UNDER_WAY: Final = "a crash with a command under way"
AT_ONCE: Final = "a crash with two executions running"
TIMED_OUT: Final = "a crash while a timed-out action had not ended"
AGAIN: Final = "a second crash"
THRICE: Final = "a third crash"
UNANSWERED: Final = "an execution recovered whose start was never answered"
RAN_AGAIN: Final = "an attempt that ran again"
UNDONE_AGAIN: Final = "a compensation that ran again"
LATE: Final = "a deadline that passed while there was no engine"
OVER_BACKOFF: Final = "a retry's wait that ended while there was no engine"
LIVING: Final = "a recovery by the engine that could not write"
HELD_UP: Final = "a recovery held up by a stubborn action"
NOT_RECOVERED: Final = "a recovery refused by its store"
NOT_DONE: Final = "a command refused by its store"
NOT_STARTED: Final = "a start refused by its store"
RIVAL: Final = "a second engine refused"
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


GOALS: Final[Mapping[str, float]] = {
    STARTED: 0.8,
    RAN_AGAIN: 0.2,
    **{crashed_in(how, phase): 0.0 for how in _HOW for phase in _PHASES},
    **{failed_with(fault): 0.0 for fault in get_args(Fault)},
    **{failed_at(statement): 0.0 for statement in get_args(Statement)},
    **dict.fromkeys(
        (
            *(IN_ACTION, IN_COMPENSATION, IN_BACKOFF, IN_RECOVERY, UNDER_WAY, AT_ONCE, TIMED_OUT, AGAIN, THRICE),
            *(UNANSWERED, UNDONE_AGAIN, LATE, OVER_BACKOFF, LIVING, HELD_UP),
            *(NOT_RECOVERED, NOT_DONE, NOT_STARTED, RIVAL, NOT_DRIVEN),
        ),
        0.0,
    ),
}
"""What a full run must have reached: a share of its cases, or (0) at least one."""


class RecoveryReach(Reach):
    """Counts what one case reaches, crashes and faults included."""

    def __init__(self) -> None:
        super().__init__()
        self._down_since: float | None = None
        """When the engine crashed, if it has not been recovered."""
        self._crashes = 0
        self._faults = 0
        self._under_way: dict[int, tuple[str, int]] = {}
        """By command: what it is, and how many faults had struck when it was sent."""
        self._live: dict[tuple[str, str], str] = {}
        """The actions that run, and their kind."""
        self._began: dict[tuple[str, str, int, str], None] = {}
        self._waits: dict[tuple[str, str], float] = {}
        """When a retry's wait ends."""
        self._deadlines: dict[str, float] = {}
        self._unclaimed: dict[str, None] = {}

    def after(self, world: World) -> None:
        """A move has been played, or the case is over."""
        super().after(world)
        for fault, statement in world.nemesis.struck:
            self.found |= {failed_with(fault): None, failed_at(statement): None}

    def look(self, entry: Entry, world: World) -> None:
        """Take in an entry."""
        match entry:
            case Crashed():
                self._crashed(entry, world)
            case StoreFailed():
                self._faults += 1
            case Asked():
                self._asked(entry)
            case Answered() | Refused():
                self._came_back(entry)
            case Began():
                self._begun(entry)
            case Ended(execution=execution, step=step):
                self._live.pop((execution, step), None)
            case Recorded():
                self._noted(entry, world)
            case Rested() if self._down_since is None and self._among("recover"):
                self.found[HELD_UP] = None
            case _:
                pass
        super().look(entry, world)

    def _among(self, *commands: str) -> bool:
        return any(command in commands for command, _ in self._under_way.values())

    def _crashed(self, entry: Crashed, world: World) -> None:
        how = world.deaths[self._crashes]
        self._crashes += 1
        for execution in self._courses.values():
            if execution.phase in _PHASES:
                self.found[crashed_in(how, execution.phase)] = None
        kinds = list(self._live.values())
        timed_out = any(step in self._courses[execution].timed_out for execution, step in self._live)
        reached = {
            IN_ACTION: "action" in kinds,
            IN_COMPENSATION: "compensation" in kinds,
            IN_BACKOFF: bool(self._waits),
            IN_RECOVERY: self._among("recover"),
            UNDER_WAY: self._among("start", "pause", "resume", "cancel"),
            AT_ONCE: len({execution for execution, _ in self._live}) > 1,
            TIMED_OUT: timed_out,
            AGAIN: self._crashes == 2,  # noqa: PLR2004  # as the name says
            THRICE: self._crashes == 3,  # noqa: PLR2004  # as the name says
        }
        self.found |= dict.fromkeys(name for name, whether in reached.items() if whether)
        self._down_since = entry.at
        self._live.clear()
        self._under_way.clear()

    def _asked(self, entry: Asked) -> None:
        self._under_way[entry.ask] = (entry.command, self._faults)
        if entry.command == "recover" and self._down_since is not None:
            if any(self._down_since < until <= entry.at for until in self._waits.values()):
                self.found[OVER_BACKOFF] = None
            if any(self._down_since < deadline <= entry.at for deadline in self._deadlines.values()):
                self.found[LATE] = None

    def _came_back(self, entry: Answered | Refused) -> None:
        command, faults = self._under_way.pop(entry.ask)
        if isinstance(entry, Refused):
            if entry.type == "JournalError":
                unwritten = {"start": NOT_STARTED, "recover": NOT_RECOVERED, "rival": RIVAL}.get(command, NOT_DONE)
                driven = command in {"start", "recover", "rival"} or self._faults > faults
                self.found[unwritten if driven else NOT_DRIVEN] = None
        elif command == "start":
            self._unclaimed.pop(entry.answer, None)
        elif command == "recover":
            if self._down_since is None and entry.answer:
                self.found[LIVING] = None
            if any(execution in self._unclaimed for execution in entry.answer):
                self.found[UNANSWERED] = None
            self._down_since = None

    def _begun(self, entry: Began) -> None:
        call = (entry.execution, entry.step, entry.attempt, entry.kind)
        if call in self._began:
            self.found[RAN_AGAIN if entry.kind == "action" else UNDONE_AGAIN] = None
        self._began[call] = None
        self._live[entry.execution, entry.step] = entry.kind

    def _noted(self, entry: Recorded, world: World) -> None:
        event, execution = entry.event, entry.execution
        step = (execution, event.get("step", ""))
        match event["type"]:
            case "ExecutionCreated":
                self._unclaimed[execution] = None
            case "ExecutionStarted":
                timeout = world.judge.facts.executions[execution].definition.timeout
                if timeout is not None:
                    self._deadlines[execution] = entry.at + timeout
            case "RollbackStarted" | "CancellationRequested" | "ExecutionEnded":
                self._deadlines.pop(execution, None)
                self._waits = {key: until for key, until in self._waits.items() if key[0] != execution}
            case "StepRetrying" | "CompensationRetrying":
                self._waits[step] = event["until"]
            case _:
                self._waits.pop(step, None)
