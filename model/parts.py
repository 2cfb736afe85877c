"""The parts of what is known of an execution: phases, fates, attempts.

Rule: a part holds facts. What is to be made of them stands where they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

from model.definition import Step
from model.history import Ended, Json, Kind

if TYPE_CHECKING:
    from model.facts import Ask, Facts


class Phase(Enum):
    """Where an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    ROLLING_BACK = "ROLLING_BACK"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    __hash__ = object.__hash__  # a member is itself only; the enum's own hash is several times slower


class StepPhase(Enum):
    """Where a step stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"

    __hash__ = object.__hash__


GOING: Final = frozenset({Phase.RUNNING, Phase.PAUSED})
STOPPING: Final = frozenset({Phase.CANCELLING, Phase.ROLLING_BACK})
TERMINAL: Final = frozenset({Phase.COMPLETED, Phase.PARTIAL, Phase.FAILED, Phase.CANCELLED})


class Fate(Enum):
    """What must become of a step whose connections are decided."""

    START = "start"
    LACK = "wait for input"
    FAIL = "fail"
    SKIP = "be skipped"


class Plan:
    """A fate with its particulars: the parameters to start with, the paths that are missing, the failure due."""

    __slots__ = ("error", "fate", "parameters", "paths", "words")

    def __init__(
        self,
        fate: Fate,
        *,
        parameters: Json = None,
        paths: Iterable[str] = (),
        error: str = "",
        words: Iterable[str] = (),
    ) -> None:
        self.fate = fate
        self.parameters = parameters
        self.paths = list(paths)
        self.error = error
        """The type of the failure due."""
        self.words = list(words)
        """What the failure's message must name."""


SKIP: Final = Plan(Fate.SKIP)


class Wait:
    """A step that waits for its start: since which rest and which entry, and what is due to it."""

    __slots__ = ("due", "moment", "plan", "rests")

    def __init__(self, facts: Facts, plan: Plan | None) -> None:
        self.rests = facts.rests
        """How many rests came before it became ready."""
        self.due = facts.rests
        """The same at the latest: an execution that is recovered may be taken up before anybody can know."""
        self.moment = facts.moment
        self.plan = plan
        """None while a pause forbids the step to become ready."""


class Attempt:
    """One attempt: what was recorded of it, and what its action saw."""

    __slots__ = (
        "again",
        "barred",
        "began",
        "counted",
        "ended",
        "interrupted",
        "kind",
        "lost",
        "number",
        "step",
        "timed_out",
        "void",
    )

    def __init__(self, step: str, number: int, kind: Kind) -> None:
        self.step = step
        self.number = number
        self.kind = kind
        self.counted = True
        """Whether its action has not begun and must: it holds a slot by its record alone, unless it was lost."""
        self.began: float | None = None
        self.ended: Ended | None = None
        self.interrupted = False
        self.timed_out = False
        self.lost: float | None = None
        """When its call ended without its engine, unless it has begun again since."""
        self.barred = False
        """Whether it must not begin again: its execution had been stopped when it was lost."""
        self.void = False
        """Whether its call has outlived its engine's drive: what it comes to counts for nothing."""
        self.again = False
        """Whether the call that it had before its engine gave it up may still begin, beside the one that follows."""

    def __str__(self) -> str:
        return f"{'step' if self.kind == 'action' else 'the compensation of'} {self.step!r} attempt {self.number}"


class Progress:
    """One step of an execution."""

    __slots__ = (
        "attempts",
        "error",
        "input",
        "output",
        "parameters",
        "phase",
        "step",
        "undecided",
        "undo",
        "undo_attempts",
        "undo_error",
        "until",
    )

    def __init__(self, step: Step) -> None:
        self.step = step
        self.phase = StepPhase.PENDING
        self.attempts = 0
        self.undecided = len(step.incoming)
        self.parameters: Json = None
        """As resolved when it became ready; the same for all attempts."""
        self.input: Json = None
        """What the input was when they were: its compensation's parameters see that one."""
        self.output: Json = None
        self.error: Mapping[str, Json] | None = None
        self.until = float("-inf")
        """When the next attempt of its compensation may start."""
        self.undo: Plan | None = None
        self.undo_attempts = 0
        self.undo_error: Mapping[str, Json] | None = None


class Outcome:
    """What an attempt came to: a failure's type and message, or none."""

    __slots__ = ("error", "final", "message", "words")

    def __init__(
        self, error: str | None, message: str | None = None, *, words: Iterable[str] = (), final: bool = False
    ) -> None:
        self.error = error
        """The failure's type; None if the attempt completed."""
        self.message = message
        """The failure's message, if the action chose it."""
        self.words = list(words)
        """What the message must name otherwise."""
        self.final = final
        """Whether trying again is out of the question."""


class Served:
    """An event that a command asked for, and the commands that may have asked for it."""

    __slots__ = ("asks", "changes", "command")

    def __init__(self, command: str, asks: list[Ask], changes: int) -> None:
        self.command = command
        self.asks = asks
        self.changes = changes
        """How many changes of phase came before it."""
