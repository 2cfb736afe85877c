"""What an outsider can see of an engine: entries, in the order in which they were seen.

Rule 1: an entry is a fact about the outside. Nothing in here knows what an engine looks like inside.
Rule 2: what the actions saw (`Began`, `Interrupted`, `Ended`) is the truth; what the engine says (`Recorded`,
`Notified`, `Reported`, `Answered`) is a claim that is held against it.
Rule 3: entries are frozen and hold JSON values only, so a history has one canonical text and one digest.

The engine's events, as `Recorded` and `Notified` carry them, are JSON objects with a `type`, an `at` (seconds) and:

| type | fields | after it |
| --- | --- | --- |
| ExecutionCreated | workflow, input | PENDING |
| ExecutionStarted | | RUNNING |
| ExecutionPaused | missing: step -> list of paths; empty if a pause command did it | PAUSED |
| ExecutionResumed | inputs: object, empty if none were given | RUNNING |
| CancellationRequested | | CANCELLING |
| RollbackStarted | error: see below, null after a cancel | ROLLING_BACK |
| ExecutionEnded | status: COMPLETED, PARTIAL, FAILED or CANCELLED | that status |
| StepSkipped | step | SKIPPED |
| StepStarted | step, attempt | RUNNING |
| StepTimedOut | step, attempt | RUNNING still, until its action has ended |
| StepRetrying | step, attempt (the one that failed), error, until (seconds on the engine's clock) | RETRYING |
| StepCompleted | step, attempt, output | COMPLETED |
| StepFailed | step, attempt (0: it failed before any attempt), error | FAILED |
| StepCancelled | step, attempt | CANCELLED |
| CompensationStarted | step, attempt | COMPENSATING |
| CompensationTimedOut | step, attempt | COMPENSATING still |
| CompensationRetrying | step, attempt, error, until | COMPENSATING still |
| CompensationCompleted | step, attempt | COMPENSATED |
| CompensationFailed | step, attempt (0 as above), error | COMPENSATION_FAILED |

An error is `{step, attempt, type, message}`; step and attempt are null for an execution's deadline.

A report is `{status, seq, missing, error, steps: {id: {status, attempts, output?, error?}}}`: the status, the number of
the last event, what a pause misses (as above), the execution's error (as above, with `compensations`, the list of the
errors of those that failed, if there are any; of a cancelled execution it is then a `CompensationError` of no step;
null if there is none) and each step's status, the attempts started, the output while it is visible, the error if it
failed for good.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Any
"""A value that JSON can hold. It is not spelled out: a recursive alias helps no reader and costs the type checker."""

Kind: TypeAlias = Literal["action", "compensation"]
Outcome: TypeAlias = Literal["returned", "raised", "cancelled"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A command went out. Between this and its answer it may take effect at any moment."""

    at: float
    ask: int
    command: Literal["start", "convert", "pause", "resume", "cancel", "recover", "shutdown", "rival", "take_over"]
    """``convert``: make steps of a graph, and start nothing; ``recover``: take up every execution that nobody drives;
    ``shutdown``: close the engine; ``rival``: a second engine on a living one's journal; ``take_over``: another process
    takes that journal by force."""

    execution: str | None
    arguments: Mapping[str, Json]
    """``start``: workflow, input, and if it was broken on purpose ``faults``: the place of each, and words to be named;
    ``key``, if it carries one. ``convert``: workflow and faults likewise.
    ``resume``: inputs (null if none). ``shutdown``: grace (seconds). Otherwise empty."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A command came back: an id after ``start``, a list of ids after ``recover``, else whether it was accepted.

    After ``convert`` it is the list of the steps, after ``shutdown`` null: the engine is closed.
    """

    at: float
    ask: int
    answer: Json


@dataclass(frozen=True, slots=True)
class Refused:
    """A command raised an error."""

    at: float
    ask: int
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event of an execution became durable in the journal."""

    at: float
    execution: str
    seq: int
    event: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Notified:
    """A subscriber got an event."""

    at: float
    subscriber: str
    execution: str
    seq: int
    event: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscriber asked for the events of an execution after a number."""

    at: float
    subscriber: str
    execution: str
    after: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """A subscriber reads no more; where it reads on, it asks anew for what it has not got."""

    at: float
    subscriber: str
    execution: str
    patience: float
    """Seconds that the engine waits for it to take an event."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The engine let a subscriber go before it had got everything."""

    at: float
    subscriber: str
    execution: str
    reason: str


@dataclass(frozen=True, slots=True)
class Began:
    """An attempt's action runs: its first line was reached."""

    at: float
    execution: str
    step: str
    attempt: int
    kind: Kind
    parameters: Json
    key: str
    """The idempotency key that its context carried."""

    undoes: Mapping[str, Json] | None = None
    """What a compensation's context carried of its step: ``parameters`` and ``output``; null if nobody tells."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A running action saw its cancellation. It may still take its time, return, or raise."""

    at: float
    execution: str
    step: str
    attempt: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Ended:
    """A running action has really ended."""

    at: float
    execution: str
    step: str
    attempt: int
    kind: Kind
    outcome: Outcome
    value: Json
    """What it returned; ``[type, message]`` if it raised; null if it was cancelled."""

    json: bool = True
    """False if what it returned is no JSON value (``value`` is then a description of it)."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The engine was asked where an execution stands, at a moment when nothing was under way."""

    at: float
    execution: str
    report: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Rested:
    """Quiescence: nothing can move before an action ends, a timer fires or a command comes."""

    at: float


@dataclass(frozen=True, slots=True)
class Crashed:
    """The engine's process died: its actions and subscribers are gone, and commands under way are never answered.

    What was recorded before is durable. The next engine on the same journal begins with a ``recover``.
    """

    at: float


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The engine was closed before all was over, its closing has come back, and nothing is under way any more.

    What was recorded before is durable. The next engine on the same journal begins with a ``recover``.
    """

    at: float
    left: tuple[str, ...]
    """Names of tasks that are still alive: the engine's own, its callers' and its subscribers'."""


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store refused a write of an execution's events: nothing of that is durable. Or it refused a read."""

    at: float
    execution: str | None
    """None: it was a read."""

    fault: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The case is over: gates opened, pauses resumed, time passed, the engine closed. What it left behind."""

    at: float
    tasks: tuple[str, ...]
    """Names of tasks that are still alive."""

    errors: tuple[str, ...]
    """Exceptions that nobody read."""


Entry: TypeAlias = (
    Asked
    | Answered
    | Refused
    | Recorded
    | Notified
    | Subscribed
    | Stalled
    | Dropped
    | Began
    | Interrupted
    | Ended
    | Reported
    | Rested
    | Crashed
    | ShutDown
    | StoreFailed
    | Closed
)


def to_json(entry: Entry) -> dict[str, Json]:
    """The entry as a JSON object; ``entry`` is its kind."""
    return {"entry": type(entry).__name__, **{field.name: getattr(entry, field.name) for field in fields(entry)}}


def digest(history: Iterable[Entry]) -> str:
    """A hash (SHA-256, hexadecimal) of the history's canonical text: equal for equal histories, in any process."""
    text = hashlib.sha256()
    for entry in history:
        text.update(json.dumps(to_json(entry), sort_keys=True, ensure_ascii=True, allow_nan=True).encode())
        text.update(b"\n")
    return text.hexdigest()
