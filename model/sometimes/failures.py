"""Attempts that fail, timeouts, rollback (F)."""

from __future__ import annotations

from typing import Final

from model.execution import Execution
from model.history import Began, Ended, Recorded
from model.parts import STOPPING, Attempt, Phase, StepPhase
from model.sometimes.registry import Group

_FAILED: Final = ("StepFailed", "StepRetrying")


def _attempt(execution: Execution, entry: Recorded) -> Attempt | None:
    return execution.open.get(entry.event["step"])


def _late(execution: Execution, attempt: Attempt | None, at: float) -> bool:
    """Whether an attempt has outlived its timeout, and nothing was recorded of that."""
    deadline = None if attempt is None else execution.deadline_of(attempt)
    return attempt is not None and deadline is not None and at > deadline and not attempt.timed_out


def _doomed(execution: Execution) -> bool:
    """Whether a timed-out action has not ended."""
    return any(attempt.timed_out and attempt.step in execution.live for attempt in execution.open.values())


def _swallowed(execution: Execution, step: str) -> bool:
    """Whether a step completed after its execution had been stopped."""
    for event in execution.events:
        if event["type"] in {"CancellationRequested", "RollbackStarted"}:
            return True
        if event["type"] == "StepCompleted" and event["step"] == step:
            return False
    return False


def _outlived(execution: Execution, entry: Recorded) -> bool:
    """Whether the deadline's moment passed while the execution was being stopped for something else."""
    timeout, error = execution.definition.timeout, execution.error
    return (
        execution.phase in STOPPING
        and timeout is not None
        and entry.at > execution.created + timeout
        and (error is None or error["type"] != "ExecutionTimeoutError")
    )


def _deadline_passed(entry: Recorded) -> bool:
    error = entry.event["error"]
    return error is not None and error["type"] == "ExecutionTimeoutError"


def _own_failure(entry: Recorded) -> bool:
    """Whether it is a step's failure that begins the rollback."""
    error = entry.event["error"]
    return error is not None and error["step"] is not None


# Retries and timeouts

_RETRIES = Group("retries and timeouts")
_RETRIES.sometimes(
    "StepCompleted", "F1", "a step completes after a failed attempt", lambda _, entry: entry.event["attempt"] > 1
)
_RETRIES.sometimes(
    "StepFailed", "F1", "a step fails when all its attempts are spent", lambda _, entry: entry.event["attempt"] > 1
)
_RETRIES.sometimes("StepRetrying", "F1", "two steps wait for a retry", lambda e, _: e.retrying)
_RETRIES.sometimes("StepRetrying", "F1, P1", "a retry is granted under a pause", lambda e, _: e.phase is Phase.PAUSED)
_RETRIES.sometimes(
    _FAILED,
    "F1, P3",
    "an attempt failed under a pause",
    lambda e, entry: entry.event["attempt"] and e.phase is Phase.PAUSED,
)
_RETRIES.sometimes("StepTimedOut", "F2, P3", "an attempt times out under a pause", lambda e, _: e.phase is Phase.PAUSED)
_RETRIES.sometimes(
    "StepTimedOut", "F2", "two timed-out actions have not ended", lambda e, _: any(a.timed_out for a in e.open.values())
)
_RETRIES.sometimes(
    "StepRetrying",
    "F1, F2",
    "a timed-out attempt is tried again",
    lambda _, entry: entry.event["error"]["type"] == "StepTimeoutError",
)
_RETRIES.sometimes(
    Ended,
    "F2",
    "an action returned after its timeout",
    lambda e, entry: (
        entry.outcome == "returned" and entry.kind == "action" and entry.step in e.live and e.live[entry.step].timed_out
    ),
)
_RETRIES.sometimes(
    Ended,
    "F2",
    "an action raised after its timeout",
    lambda e, entry: (
        entry.outcome == "raised" and entry.kind == "action" and entry.step in e.live and e.live[entry.step].timed_out
    ),
)
_RETRIES.sometimes(
    "StepCompleted",
    "F2",
    "a completion beat its timeout while it was on its way",
    lambda e, entry: e.phase not in STOPPING and _late(e, _attempt(e, entry), entry.at),
)
_RETRIES.sometimes(
    "CancellationRequested", "F2, K3", "a cancel while a timed-out action has not ended", lambda e, _: _doomed(e)
)
_RETRIES.sometimes(
    "RollbackStarted",
    "F2, F3",
    "a failure while another step's timed-out action has not ended",
    lambda e, _: e.phase is not Phase.CANCELLING and _doomed(e),
)
_RETRIES.sometimes(
    "RollbackStarted",
    "F7",
    "a deadline passed",
    lambda e, entry: e.phase is Phase.RUNNING and _deadline_passed(entry),
)
_RETRIES.sometimes(
    "RollbackStarted",
    "F7",
    "a deadline passed under a pause",
    lambda e, entry: e.phase is Phase.PAUSED and _deadline_passed(entry),
)
_RETRIES.sometimes(
    "RollbackStarted",
    "F7",
    "a deadline passed while steps waited for a retry",
    lambda e, entry: e.retrying and _deadline_passed(entry),
)
_RETRIES.sometimes(
    "ExecutionEnded", "F7", "a deadline's moment passed in an execution that was being stopped", _outlived
)

# What a failure finds

_FAILURES = Group("failures")
_FAILURES.sometimes(
    "RollbackStarted", "F3", "a failure while another action runs", lambda e, entry: _own_failure(entry) and e.live
)
_FAILURES.sometimes(
    "RollbackStarted", "F3", "a failure drops another step's retry", lambda e, entry: _own_failure(entry) and e.retrying
)
_FAILURES.sometimes(
    "RollbackStarted",
    "F3, K2",
    "a failure while a ready step waits for a slot",
    lambda e, entry: _own_failure(entry) and e.ready,
)
_FAILURES.sometimes(
    "RollbackStarted",
    "F3, F6",
    "a failure while another action's end is on its way",
    lambda e, entry: _own_failure(entry) and any(attempt.ended for attempt in e.open.values()),
)
_FAILURES.sometimes(
    "RollbackStarted",
    "F8",
    "a failure after a tolerated one",
    lambda e, entry: (
        _own_failure(entry)
        and any(progress.phase is StepPhase.FAILED and progress.step.continue_on_error for progress in e.steps.values())
    ),
)
_FAILURES.sometimes("StepCompleted", "F6", "an action swallowed its cancellation", lambda e, _: e.phase in STOPPING)
_FAILURES.sometimes(
    "StepCancelled",
    "F6, V4",
    "an output is refused of an action that was being cancelled",
    lambda e, entry: (attempt := _attempt(e, entry)) and attempt.ended and attempt.ended.outcome == "returned",
)
_FAILURES.sometimes(
    "StepCancelled",
    "F6, F8",
    "an action raises that was being cancelled",
    lambda e, entry: (attempt := _attempt(e, entry)) and attempt.ended and attempt.ended.outcome == "raised",
)
_FAILURES.sometimes(
    ("StepCompleted", "StepCancelled"),
    "F6, F2",
    "a timeout passes of an action that is being cancelled",
    lambda e, entry: e.phase in STOPPING and _late(e, _attempt(e, entry), entry.at),
)

# Rollback

_ROLLBACK = Group("rollback")
_ROLLBACK.sometimes(
    "CompensationCompleted", "F4", "two compensations rolled back", lambda e, _: len(e.rolled_back) == 1
)
_ROLLBACK.sometimes(
    "RollbackStarted",
    "F4",
    "a rollback of steps that did not complete in the order of definition",
    lambda e, _: [*e.compensable] != sorted(e.compensable, key=lambda name: e.steps[name].step.index),
)
_ROLLBACK.sometimes(
    "CompensationStarted",
    "F4, K4",
    "a rollback after a cancel",
    lambda e, _: e.after_cancel,
)
_ROLLBACK.sometimes(
    "CompensationCompleted",
    "F6, F4",
    "a swallowed cancellation was compensated",
    lambda e, entry: _swallowed(e, entry.event["step"]),
)
_ROLLBACK.sometimes(
    Began,
    "F4, V1",
    "a compensation gets its step's output",
    lambda _, entry: entry.kind == "compensation" and entry.parameters,
)
_ROLLBACK.sometimes(
    "CompensationFailed",
    "F4, V3",
    "a compensation's reference leads nowhere",
    lambda _, entry: not entry.event["attempt"],
)
_ROLLBACK.sometimes(
    "CompensationFailed", "F5", "a compensation failed for good", lambda _, entry: entry.event["attempt"]
)
_ROLLBACK.sometimes(
    "CompensationFailed",
    "F5",
    "a compensation fails when all its attempts are spent",
    lambda _, entry: entry.event["attempt"] > 1,
)
_ROLLBACK.sometimes(
    "CompensationStarted",
    "F5",
    "a rollback goes on after a compensation that failed",
    lambda e, _: e.compensation_errors,
)
_ROLLBACK.sometimes("CompensationFailed", "F5, F8", "two compensations failed", lambda e, _: e.compensation_errors)
_ROLLBACK.sometimes("CompensationRetrying", "F5", "a compensation was tried again", lambda *_: True)
_ROLLBACK.sometimes("CompensationTimedOut", "F2, F5", "a compensation times out", lambda *_: True)
_ROLLBACK.sometimes(
    "CompensationCompleted",
    "F5",
    "a compensation succeeds after a failed attempt",
    lambda _, entry: entry.event["attempt"] > 1,
)
