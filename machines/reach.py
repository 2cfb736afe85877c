"""What a case reached: the measure against vacuity.

Rule 1: reach is counted on what the world and its judge saw, never on what a machine meant to do.
Rule 2: a name is counted at most once per case; so a count is a number of cases.
Rule 3: what a full run must have reached is declared here, beside what it is called: a floor (a share of all
cases) or, without one, at least one case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from machines.moves import Cancel, Fail, Finish, Move, Pause, Resume, Subscribe, Yield
from model.execution import TERMINAL, Phase
from model.history import Answered, Asked, Crashed, Ended, Entry, Recorded, Refused

if TYPE_CHECKING:
    from machines.world import World

_AT_WORK: Final = (Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING, Phase.ROLLING_BACK)

PAIRS: Final[Mapping[type[Move], tuple[Phase, ...]]] = {
    Finish: _AT_WORK,
    Fail: _AT_WORK,
    Yield: _AT_WORK,
    Pause: tuple(Phase),
    Resume: tuple(Phase),
    Cancel: tuple(Phase),
    Subscribe: tuple(Phase),
}
"""The phases of its execution in which a move can be played; a command that must be refused is a legal move."""

STEP_STATUSES: Final = (
    "RUNNING",
    "RETRYING",
    "COMPLETED",
    "FAILED",
    "SKIPPED",
    "CANCELLED",
    "COMPENSATING",
    "COMPENSATED",
    "COMPENSATION_FAILED",
)

_STEP_STATUS: Final[Mapping[str, str]] = {
    "StepStarted": "RUNNING",
    "StepRetrying": "RETRYING",
    "StepCompleted": "COMPLETED",
    "StepFailed": "FAILED",
    "StepSkipped": "SKIPPED",
    "StepCancelled": "CANCELLED",
    "CompensationStarted": "COMPENSATING",
    "CompensationCompleted": "COMPENSATED",
    "CompensationFailed": "COMPENSATION_FAILED",
}


def pair(move: type[Move], phase: Phase) -> str:
    """The name of a move played in a phase."""
    return f"{move.__name__} in {phase.name}"


STARTED: Final = "an execution started"
THREE: Final = "three steps completed"
TWO_UNDONE: Final = "two compensations rolled back"
FLOORS: Final[Mapping[str, float]] = {STARTED: 0.80, THREE: 0.40, TWO_UNDONE: 0.08}
"""Shares of all cases that must reach something."""

TIMEOUT_BEATEN: Final = "a completion beat its timeout while it was on its way"
TIMEOUT_WON: Final = "an action returned after its timeout"
CANCEL_IN_BACKOFF: Final = "a cancel during a backoff"
FAILED_UNDER_PAUSE: Final = "an attempt failed under a pause"
SWALLOWED: Final = "an action swallowed its cancellation"
SWALLOWED_UNDONE: Final = "a swallowed cancellation was compensated"
UNDO_FAILED: Final = "a compensation failed for good"
UNDO_RETRIED: Final = "a compensation was tried again"
MISSING: Final = "a pause for a missing input"
STILL_MISSING: Final = "a resume that did not bring what is missing"
LATE: Final = "a deadline passed"
LATE_UNDER_PAUSE: Final = "a deadline passed under a pause"
RACED: Final = "an action returned while a cancel was on its way"
AT_ONCE: Final = "actions of two executions ran at once"
HELD_BACK: Final = "an execution's own limit held a step back"
NO_VERDICT: Final = "a condition that cannot be evaluated"
BAD_OUTPUT: Final = "an output that breaks its schema, or JSON"
UNKNOWN: Final = "a command to an unknown execution"


def _not_accepted(phase: Phase) -> str:
    return f"a command not accepted in {phase.name}"


SOMETIMES: Final = (
    TIMEOUT_BEATEN,
    TIMEOUT_WON,
    CANCEL_IN_BACKOFF,
    FAILED_UNDER_PAUSE,
    SWALLOWED,
    SWALLOWED_UNDONE,
    UNDO_FAILED,
    UNDO_RETRIED,
    MISSING,
    STILL_MISSING,
    LATE,
    LATE_UNDER_PAUSE,
    RACED,
    AT_ONCE,
    HELD_BACK,
    NO_VERDICT,
    BAD_OUTPUT,
    UNKNOWN,
    *(_not_accepted(phase) for phase in (Phase.COMPLETED, Phase.PARTIAL, Phase.FAILED, Phase.CANCELLED)),
)
"""Situations that a full run of lifecycles must have seen."""


def expected() -> list[str]:
    """Everything that a full run of `LifecycleMachine` must have reached, in a fixed order."""
    return [
        *FLOORS,
        *(f"execution {phase.name}" for phase in Phase),
        *(f"step {status}" for status in STEP_STATUSES),
        *(pair(move, phase) for move, phases in PAIRS.items() for phase in phases),
        *SOMETIMES,
    ]


class _Course:
    """How far one execution has come, as its recorded events say."""

    __slots__ = ("completed", "phase", "resumed", "retrying", "started", "stopped", "timed_out", "undone")

    def __init__(self) -> None:
        self.phase = Phase.PENDING
        self.completed: dict[str, bool] = {}
        """By step: whether it was after the execution had been stopped."""
        self.retrying: dict[str, None] = {}
        self.resumed = False
        """Whether the last event was a resume."""
        self.started: dict[str, float] = {}
        self.stopped = False
        self.timed_out: dict[str, None] = {}
        self.undone = 0


class Reach:
    """Counts what one case reaches: the names are in ``found``."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}
        self._seen = 0
        self._courses: dict[str, _Course] = {}
        self._asks: dict[int, Asked] = {}

    def before(self, world: World, move: Move) -> None:
        """A move is about to be played."""
        if type(move) in PAIRS:
            gate: str = getattr(move, "gate", "")
            name: str = getattr(move, "execution", "") or gate.partition("/")[0]
            execution = world.judge.facts.executions.get(name)
            if execution is not None:
                self.found[pair(type(move), execution.phase)] = None

    def after(self, world: World) -> None:
        """A move has been played, or the case is over."""
        history = world.history
        while self._seen < len(history):
            entry = history[self._seen]
            self._seen += 1
            self.look(entry, world)
        running = 0
        for execution in world.judge.facts.unfinished.values():
            running += bool(execution.live)
            if execution.full and execution.ready:
                self.found[HELD_BACK] = None
        if running > 1:
            self.found[AT_ONCE] = None

    def look(self, entry: Entry, world: World) -> None:
        """Take in an entry."""
        if (look := _LOOKS.get(type(entry))) is not None:
            look(self, entry, world)

    def asked(self, entry: Asked, _world: World) -> None:
        self._asks[entry.ask] = entry

    def answered(self, entry: Answered, _world: World) -> None:
        asked = self._asks.pop(entry.ask)
        course = self._courses.get(asked.execution or "")
        if entry.answer is False and course is not None and course.phase in TERMINAL:
            self.found[_not_accepted(course.phase)] = None

    def refused(self, entry: Refused, _world: World) -> None:
        del self._asks[entry.ask]
        if entry.type == "UnknownExecutionError":
            self.found[UNKNOWN] = None

    def ended(self, entry: Ended, _world: World) -> None:
        course = self._courses.get(entry.execution)
        if course is None or entry.outcome != "returned" or entry.kind != "action":
            return
        if entry.step in course.timed_out:
            self.found[TIMEOUT_WON] = None
        for asked in self._asks.values():
            if asked.command == "cancel" and asked.execution == entry.execution:
                self.found[RACED] = None

    def crashed(self, _entry: Crashed, _world: World) -> None:
        self._asks.clear()

    def recorded(self, entry: Recorded, world: World) -> None:
        event = entry.event
        kind: str = event["type"]
        if kind == "ExecutionCreated":
            self._courses[entry.execution] = _Course()
            self.found["execution PENDING"] = None
            return
        course = self._courses[entry.execution]
        if kind in _STEP_STATUS:
            self.found[f"step {_STEP_STATUS[kind]}"] = None
        if (note := _EVENTS.get(kind)) is not None:
            note(self, course, entry, world)
        course.resumed = kind == "ExecutionResumed"

    def _enter(self, course: _Course, phase: Phase) -> None:
        course.phase = phase
        self.found[f"execution {phase.name}"] = None

    def execution_started(self, course: _Course, _entry: Recorded, _world: World) -> None:
        self._enter(course, Phase.RUNNING)
        self.found[STARTED] = None

    def paused(self, course: _Course, entry: Recorded, _world: World) -> None:
        self._enter(course, Phase.PAUSED)
        if entry.event["missing"]:
            self.found[STILL_MISSING if course.resumed else MISSING] = None

    def resumed(self, course: _Course, _entry: Recorded, _world: World) -> None:
        self._enter(course, Phase.RUNNING)

    def cancelling(self, course: _Course, _entry: Recorded, _world: World) -> None:
        if course.retrying:
            self.found[CANCEL_IN_BACKOFF] = None
        course.stopped = True
        self._enter(course, Phase.CANCELLING)

    def rolling_back(self, course: _Course, entry: Recorded, _world: World) -> None:
        error = entry.event["error"]
        if error is not None and error["type"] == "ExecutionTimeoutError":
            self.found[LATE_UNDER_PAUSE if course.phase is Phase.PAUSED else LATE] = None
        course.stopped = True
        self._enter(course, Phase.ROLLING_BACK)

    def execution_ended(self, course: _Course, entry: Recorded, _world: World) -> None:
        self._enter(course, Phase[entry.event["status"]])

    def step_started(self, course: _Course, entry: Recorded, _world: World) -> None:
        step = entry.event["step"]
        course.retrying.pop(step, None)
        course.timed_out.pop(step, None)
        course.started[step] = entry.at

    def timed_out(self, course: _Course, entry: Recorded, _world: World) -> None:
        course.timed_out[entry.event["step"]] = None

    def attempt_failed(self, course: _Course, entry: Recorded, _world: World) -> None:
        event = entry.event
        if event["type"] == "StepRetrying":
            course.retrying[event["step"]] = None
        if event["attempt"] and course.phase is Phase.PAUSED:
            self.found[FAILED_UNDER_PAUSE] = None
        if event["error"]["type"] == "ConditionError":
            self.found[NO_VERDICT] = None
        if event["error"]["type"] == "ValidationError" and event["attempt"] and event["type"] == "StepFailed":
            self.found[BAD_OUTPUT] = None

    def completed(self, course: _Course, entry: Recorded, world: World) -> None:
        step = entry.event["step"]
        course.completed[step] = course.stopped
        if course.stopped:
            self.found[SWALLOWED] = None
        if len(course.completed) == 3:  # noqa: PLR2004  # as the name says
            self.found[THREE] = None
        timeout = world.judge.facts.executions[entry.execution].definition.steps[step].timeout
        if timeout is not None and entry.at > course.started[step] + timeout:
            self.found[TIMEOUT_BEATEN] = None

    def compensated(self, course: _Course, entry: Recorded, _world: World) -> None:
        course.undone += 1
        if course.undone == 2:  # noqa: PLR2004  # as the name says
            self.found[TWO_UNDONE] = None
        if course.completed[entry.event["step"]]:
            self.found[SWALLOWED_UNDONE] = None

    def undo_failed(self, _course: _Course, _entry: Recorded, _world: World) -> None:
        self.found[UNDO_FAILED] = None

    def undo_retried(self, _course: _Course, _entry: Recorded, _world: World) -> None:
        self.found[UNDO_RETRIED] = None


_EVENTS: Final[Mapping[str, Callable[[Reach, _Course, Recorded, World], None]]] = {
    "ExecutionStarted": Reach.execution_started,
    "ExecutionPaused": Reach.paused,
    "ExecutionResumed": Reach.resumed,
    "CancellationRequested": Reach.cancelling,
    "RollbackStarted": Reach.rolling_back,
    "ExecutionEnded": Reach.execution_ended,
    "StepStarted": Reach.step_started,
    "StepTimedOut": Reach.timed_out,
    "StepRetrying": Reach.attempt_failed,
    "StepFailed": Reach.attempt_failed,
    "StepCompleted": Reach.completed,
    "CompensationCompleted": Reach.compensated,
    "CompensationFailed": Reach.undo_failed,
    "CompensationRetrying": Reach.undo_retried,
}

_LOOKS: Final[Mapping[type, Callable[[Reach, Any, World], None]]] = {
    Recorded: Reach.recorded,
    Ended: Reach.ended,
    Asked: Reach.asked,
    Answered: Reach.answered,
    Refused: Reach.refused,
    Crashed: Reach.crashed,
}


GOALS: Final[Mapping[str, float]] = {name: FLOORS.get(name, 0.0) for name in expected()}
"""The same with its floors: a share of all cases, or (0) at least one case."""


def missed(counts: Mapping[str, int], cases: int, goals: Mapping[str, float] = GOALS) -> list[str]:
    """The goals that so many cases have not met, as sentences; empty if all is well."""
    floors = [
        f"{name}: {counts.get(name, 0)} of {cases} cases, and the floor is {share:.0%}"
        for name, share in goals.items()
        if share and counts.get(name, 0) < share * cases
    ]
    return [*floors, *(f"{name}: never" for name, share in goals.items() if not share and not counts.get(name))]
