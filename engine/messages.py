"""What is asked of an execution, and what has happened to it.

Rule 1: a command may be refused; an event has already happened and is named in the past tense.
Rule 2: both unions are closed: mypy holds every match over them to be exhaustive.
Rule 3: an event is frozen, carries JSON values only, and goes to JSON and back without loss.
Rule 4: steps are named by their ids, never by a position: a journal must be readable by itself.
Rule 5: what comes with every attempt is a named tuple: as immutable as a frozen dataclass, and made in a third of the
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from engine.errors import JournalError

Json: TypeAlias = Any
"""A value that JSON can hold."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step (or the whole execution: step and attempt are None) failed: the exception's type and message (F8)."""

    step: str | None
    attempt: int | None
    type: str
    message: str

    def to_json(self) -> dict[str, Json]:
        """The failure as a JSON object."""
        return {"step": self.step, "attempt": self.attempt, "type": self.type, "message": self.message}


Kind = TypeVar("Kind", bound=type)


def distinct(kind: Kind) -> Kind:
    """Let a named tuple be equal only to one of its own kind, not to any other tuple of the same values (rule 5)."""

    def equal(self: tuple[Json, ...], other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)

    def unequal(self: tuple[Json, ...], other: object) -> bool:
        return not equal(self, other)

    for name, method in (("__eq__", equal), ("__ne__", unequal)):
        setattr(kind, name, method)
    return kind


# Commands: from the caller ...


@dataclass(frozen=True, slots=True)
class Begin:
    """Take a PENDING execution to work."""


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Go on with an execution that was left unfinished (J3)."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Start no further attempt until a resume (P1)."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on, with new inputs merged into the old ones (P2)."""

    inputs: dict[str, Json] | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop for good (K1)."""


# ... and from the shell, which reports what the outside did.


@distinct
class StartAttempt(NamedTuple):
    """A slot is free for the step: start its next attempt, or its compensation's."""

    step: int


@distinct
class AttemptReturned(NamedTuple):
    """The running attempt's action returned a value."""

    step: int
    value: Json


@distinct
class AttemptRaised(NamedTuple):
    """The running attempt's action raised an exception."""

    step: int
    type: str
    message: str


@distinct
class AttemptYielded(NamedTuple):
    """The running attempt's action ended by its cancellation."""

    step: int


@distinct
class TimeOut(NamedTuple):
    """The attempt has outlived its timeout (F2)."""

    step: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Expire:
    """The execution's deadline has passed (F7)."""


Command: TypeAlias = (
    Begin
    | TakeUp
    | Pause
    | Resume
    | Cancel
    | StartAttempt
    | AttemptReturned
    | AttemptRaised
    | AttemptYielded
    | TimeOut
    | Expire
)


# Events. ``at`` is in seconds on the clock the engine was given.


@distinct
class ExecutionCreated(NamedTuple):
    """PENDING: the workflow as it was defined, and the input."""

    at: float
    workflow: dict[str, Json]
    input: dict[str, Json]


@distinct
class ExecutionStarted(NamedTuple):
    """RUNNING; the deadline counts from here (F7)."""

    at: float


@distinct
class ExecutionPaused(NamedTuple):
    """PAUSED: by a command, or because steps miss inputs (``missing``: step to paths, P4)."""

    at: float
    missing: dict[str, list[str]]


@distinct
class ExecutionResumed(NamedTuple):
    """RUNNING again, with these inputs merged (P2)."""

    at: float
    inputs: dict[str, Json]


@distinct
class CancellationRequested(NamedTuple):
    """CANCELLING: a cancel was accepted (K1)."""

    at: float


@distinct
class RollbackStarted(NamedTuple):
    """ROLLING_BACK: after the failure that is named, or after a cancel (F3, K4)."""

    at: float
    error: Failure | None


@distinct
class ExecutionEnded(NamedTuple):
    """A terminal status (O4, K6)."""

    at: float
    status: str


@distinct
class StepSkipped(NamedTuple):
    """The step's join was not satisfied, or its own condition was false (O2)."""

    at: float
    step: str


@distinct
class StepStarted(NamedTuple):
    """An attempt of the step starts."""

    at: float
    step: str
    attempt: int


@distinct
class StepTimedOut(NamedTuple):
    """The attempt is doomed; its action is being cancelled (F2)."""

    at: float
    step: str
    attempt: int


@distinct
class StepRetrying(NamedTuple):
    """The attempt failed; the next one starts no earlier than ``until`` (F1)."""

    at: float
    step: str
    attempt: int
    error: Failure
    until: float


@distinct
class StepCompleted(NamedTuple):
    """The attempt's action returned this output."""

    at: float
    step: str
    attempt: int
    output: Json


@distinct
class StepFailed(NamedTuple):
    """The step failed for good; attempt 0: before it could start."""

    at: float
    step: str
    attempt: int
    error: Failure


@distinct
class StepCancelled(NamedTuple):
    """The attempt under way when the execution was stopped has ended (K3)."""

    at: float
    step: str
    attempt: int


@distinct
class CompensationStarted(NamedTuple):
    """An attempt of the step's compensation starts (F4)."""

    at: float
    step: str
    attempt: int


@distinct
class CompensationTimedOut(NamedTuple):
    """The compensation's attempt is doomed; its action is being cancelled."""

    at: float
    step: str
    attempt: int


@distinct
class CompensationRetrying(NamedTuple):
    """The compensation's attempt failed; the next one starts no earlier than ``until``."""

    at: float
    step: str
    attempt: int
    error: Failure
    until: float


@distinct
class CompensationCompleted(NamedTuple):
    """The step's effect is undone."""

    at: float
    step: str
    attempt: int


@distinct
class CompensationFailed(NamedTuple):
    """The step's compensation failed for good (F5); attempt 0: before it could start."""

    at: float
    step: str
    attempt: int
    error: Failure


Event: TypeAlias = (
    ExecutionCreated
    | ExecutionStarted
    | ExecutionPaused
    | ExecutionResumed
    | CancellationRequested
    | RollbackStarted
    | ExecutionEnded
    | StepSkipped
    | StepStarted
    | StepTimedOut
    | StepRetrying
    | StepCompleted
    | StepFailed
    | StepCancelled
    | CompensationStarted
    | CompensationTimedOut
    | CompensationRetrying
    | CompensationCompleted
    | CompensationFailed
)

EVENTS: Final[dict[str, type[Event]]] = {event.__name__: event for event in Event.__args__}
_FIELDS: Final = {event: event._fields for event in EVENTS.values()}


def to_json(event: Event) -> dict[str, Json]:
    """The event as a JSON object; ``type`` is its name."""
    kind = type(event)
    found: dict[str, Json] = {"type": kind.__name__}
    for name, value in zip(_FIELDS[kind], event, strict=True):
        found[name] = value.to_json() if type(value) is Failure else value
    return found


def from_json(value: Json) -> Event:
    """The event that ``to_json`` made this of.

    Raises:
        JournalError: it is no event that this version knows.
    """
    try:
        facts = dict(value)
        kind = EVENTS[facts.pop("type")]
        if facts.get("error") is not None:
            facts["error"] = Failure(**facts["error"])
        return kind(**facts)
    except (KeyError, TypeError, ValueError) as error:
        message = f"not an event of a journal: {str(value)[:200]}"
        raise JournalError(message) from error
