"""F1-F3, F6-F8: how attempts end, and what a failure does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model.execution import Execution
from model.facts import EPSILON, Facts
from model.history import Began, Interrupted, Json, Recorded, Rested
from model.invariants.registry import ANY, listens
from model.parts import GOING, STOPPING, Attempt, Outcome, Phase
from model.values import same, unnamed

ENDS = ("StepCompleted", "StepFailed", "StepRetrying", "StepCancelled")
UNDO_ENDS = ("CompensationCompleted", "CompensationFailed", "CompensationRetrying")


def under_way(execution: Execution, event: Mapping[str, Json]) -> Attempt | None:
    """The attempt that an event is about, if the journal has it under way."""
    attempt = execution.open.get(event["step"])
    kind = "compensation" if event["type"].startswith("Compensation") else "action"
    return attempt if attempt and (attempt.number, attempt.kind) == (event["attempt"], kind) else None


@listens(*ENDS, *UNDO_ENDS, "StepTimedOut", "CompensationTimedOut")
def attempt_under_way(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1: what is recorded of an attempt is recorded while it is under way: after its start, before its one end."""
    event = entry.event
    if under_way(execution, event) is None and not (event["type"].endswith("Failed") and event["attempt"] == 0):
        known = execution.open.get(event["step"])
        yield (
            f"{event['type']} of {event['step']!r} attempt {event['attempt']} in {entry.execution}: "
            f"the journal has {f'{known} under way' if known else 'no attempt of it under way'}"
        )


@listens(Began)
def one_call_per_attempt(execution: Execution, entry: Began) -> Iterator[str]:
    """F1, J3: an attempt is one call of the action; once it is interrupted by a crash it is one more."""
    attempt = execution.open.get(entry.step)
    if attempt is not None and attempt.number == entry.attempt and attempt.began is not None:
        if not attempt.again or entry.step in execution.live:
            yield f"{attempt} of {entry.execution} began a second time"
    elif entry.step in execution.live:
        other = execution.live[entry.step]
        yield f"{entry.step!r} of {entry.execution} began attempt {entry.attempt} while {other} lives"


@listens("StepCompleted", "CompensationCompleted")
def completed_by_returning(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1: an attempt completes because its action has returned."""
    attempt = under_way(execution, entry.event)
    if attempt is None or (attempt.ended is not None and attempt.ended.outcome == "returned"):
        return
    if attempt.ended is None:
        yield f"{attempt} of {entry.execution} completed, but its action {_alive(attempt)}"
    elif not attempt.timed_out:
        how = f"{attempt.ended.outcome} {attempt.ended.value!r}"
        yield f"{attempt} of {entry.execution} completed, but its action {how}"


def _alive(attempt: Attempt) -> str:
    if attempt.began is not None:
        return "is still alive"
    return "has not begun" if attempt.lost is None else "was interrupted and has not begun again"


@listens("StepCompleted", "CompensationCompleted")
def never_after_its_timeout(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F2: an attempt that timed out never completes, whatever its action does."""
    attempt = under_way(execution, entry.event)
    if attempt is not None and attempt.timed_out:
        yield f"{attempt} of {entry.execution} completed, but it had timed out"


@listens("StepCompleted", "StepFailed", "StepRetrying", *UNDO_ENDS)
def outlived_its_timeout(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F2: an attempt that outlives its timeout is timed out, even if it ends before anybody comes to see it."""
    attempt = under_way(execution, entry.event)
    if attempt is None or attempt.timed_out or attempt.ended is None or execution.phase is Phase.CANCELLING:
        return
    if attempt.kind == "action" and execution.phase is Phase.ROLLING_BACK:
        return
    deadline = execution.deadline_of(attempt)
    if deadline is not None and attempt.ended.at > deadline + EPSILON:
        yield (
            f"{attempt} of {entry.execution} ended at {attempt.ended.at:g} s, after its deadline of {deadline:g} s; "
            f"recorded is {entry.event['type']} and no timeout"
        )


@listens("StepFailed", "StepRetrying", "CompensationFailed", "CompensationRetrying")
def failed_for_what_happened(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1, F2, V4: an attempt fails with what its action raised, its timeout, or the fault in its output."""
    event = entry.event
    error = event["error"]
    if (error["step"], error["attempt"]) != (event["step"], event["attempt"]):
        yield f"the error of {event['step']!r} attempt {event['attempt']} names {error['step']!r} {error['attempt']!r}"
    attempt = under_way(execution, event)
    if attempt is None:
        return
    outcome = execution.outcome(attempt)
    if outcome is None:
        yield f"{attempt} of {entry.execution} failed with {error['type']}, but its action {_alive(attempt)}"
    elif outcome.error is None:
        yield f"{attempt} of {entry.execution} failed with {error['type']}, but its action returned what it may"
    elif error["type"] != outcome.error or outcome.message not in {None, error["message"]}:
        expected = outcome.error if outcome.message is None else f"{outcome.error}: {outcome.message}"
        yield f"{attempt} of {entry.execution} failed with {error['type']}: {error['message']}, expected {expected}"
    elif lacking := unnamed(outcome.words, error["message"]):
        yield f"the {error['type']} of {attempt} says {error['message']!r}, which does not name {lacking}"


def _failing(execution: Execution, entry: Recorded) -> tuple[Attempt, Outcome] | None:
    """The attempt that fails, and what it came to; None if others have something to say about that."""
    attempt = under_way(execution, entry.event)
    outcome = None if attempt is None else execution.outcome(attempt)
    return None if attempt is None or outcome is None or outcome.error is None else (attempt, outcome)


@listens("StepRetrying", "CompensationRetrying")
def no_attempt_too_many(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1: at most max_attempts attempts are made."""
    most = _most(execution, entry)
    if entry.event["attempt"] >= most:
        yield f"{entry.event['step']!r} is to be tried again after attempt {entry.event['attempt']} of at most {most}"


@listens("StepFailed", "CompensationFailed")
def no_attempt_too_few(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1: while attempts are left, a failed attempt is followed by another."""
    failing = _failing(execution, entry)
    most = _most(execution, entry)
    if failing is not None and not failing[1].final and entry.event["attempt"] < most:
        yield f"{failing[0]} of {entry.execution} failed for good, but {most} attempts are allowed"


def _most(execution: Execution, entry: Recorded) -> int:
    attempt = under_way(execution, entry.event)
    return execution.policy(attempt).retries.max_attempts if attempt else entry.event["attempt"] + 1


@listens("StepRetrying")
def violation_not_retried(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V4: an output that is refused is refused for good."""
    failing = _failing(execution, entry)
    if failing is not None and failing[1].final:
        yield f"{failing[0]} of {entry.execution} is to be tried again, but its output was refused: that is final"


@listens("StepRetrying", "CompensationRetrying")
def backoff_as_defined(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1, D4: after attempt n the next one waits min(initial_interval x backoff^(n - 1), max_interval) seconds."""
    failing = _failing(execution, entry)
    if failing is None:
        return
    attempt, until = failing[0], entry.event["until"]
    delay = execution.policy(attempt).retries.delay(attempt.number)
    failed_at = attempt.ended.at if attempt.ended is not None else attempt.lost
    earliest, latest = (entry.at if failed_at is None else failed_at) + delay, entry.at + delay
    if not earliest - EPSILON <= until <= latest + EPSILON:
        yield (
            f"{attempt} of {entry.execution} is to be tried again at {until:g} s, expected {delay:g} s after its "
            f"failure: {earliest:g} s" + (f" to {latest:g} s" if latest > earliest else "")
        )


@listens("StepStarted")
def backoff_waited_for(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1: the next attempt starts no earlier than the backoff says."""
    until = execution.retrying.get(entry.event["step"])
    if until is not None and entry.at < until - EPSILON:
        yield f"{entry.event['step']!r} of {entry.execution} was tried again at {entry.at:g} s, before {until:g} s"


@listens("StepTimedOut", "CompensationTimedOut")
def timed_out_in_time(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F2: an attempt times out when it has outlived its timeout, not before."""
    attempt = under_way(execution, entry.event)
    if attempt is None:
        return
    deadline = execution.deadline_of(attempt)
    if deadline is None:
        why = "has not begun" if attempt.began is None else "has no timeout"
        yield f"{attempt} of {entry.execution} timed out, but it {why}"
    elif entry.at < deadline - EPSILON:
        yield f"{attempt} of {entry.execution} timed out at {entry.at:g} s, its deadline is {deadline:g} s"
    elif attempt.ended is not None and attempt.ended.at < deadline - EPSILON:
        yield f"{attempt} of {entry.execution} timed out, but it ended at {attempt.ended.at:g} s, before {deadline:g} s"
    elif attempt.timed_out:
        yield f"{attempt} of {entry.execution} timed out a second time"


@listens("StepTimedOut")
def no_timeout_once_cancelled(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F6: once an attempt is cancelled with its execution, its own timeout no longer counts."""
    if execution.phase in STOPPING:
        phase = execution.phase.name
        yield f"{entry.event['step']!r} timed out, but {entry.execution} is {phase}: it is being cancelled anyway"


@listens(Phase.RUNNING, Phase.PAUSED, Phase.ROLLING_BACK)
def timeouts_strike(execution: Execution, entry: Rested) -> Iterator[str]:
    """F2, P3: an attempt that outlives its timeout is timed out and cancelled, under a pause too."""
    for attempt in execution.live.values():
        if attempt.void or (attempt.kind == "action" and execution.phase is Phase.ROLLING_BACK):
            continue
        deadline = execution.deadline_of(attempt)
        if deadline is not None and entry.at > deadline + EPSILON and not attempt.timed_out:
            yield f"{attempt} of {execution.id} lives at {entry.at:g} s, its deadline was {deadline:g} s"
        elif attempt.timed_out and not attempt.interrupted:
            yield f"{attempt} of {execution.id} timed out, and its action was not cancelled"


@listens(Interrupted)
def interrupted_for_a_reason(execution: Execution, entry: Interrupted) -> Iterator[str]:
    """K3, F2, F3, J4: an action is cancelled only for a recorded timeout, a cancellation or failure of its execution.

    Or because its execution was given up, when it could not be journaled, or (J7) its engine is closed: it will run
    again.
    """
    attempt = execution.live.get(entry.step)
    if attempt is None or attempt.timed_out or attempt.void or execution.adrift is not None:
        return
    closing = execution.facts.closing
    if closing is not None and entry.at >= closing.until - EPSILON:
        return
    stopping = execution.phase in STOPPING or execution.failure is not None
    if not stopping or entry.kind == "compensation":
        yield f"{attempt} of {entry.execution} was cancelled, and nothing that is recorded asks for it"


@listens(ANY)
def failure_rolls_back(execution: Execution | Facts, entry: Recorded) -> Iterator[str]:
    """F3: from the failure that fails it on, an execution rolls back: nothing comes between."""
    if isinstance(execution, Execution) and execution.failure is not None and entry.event["type"] != "RollbackStarted":
        yield (
            f"{execution.failure['step']!r} failed for good, so {entry.execution} rolls back from there on; "
            f"{entry.event['type']} was recorded instead"
        )


@listens(Phase.RUNNING, Phase.PAUSED)
def failure_is_not_lost(execution: Execution, _entry: Rested) -> Iterator[str]:
    """F3, P3: a step that fails for good fails the execution, under a pause too."""
    if execution.failure is not None:
        yield f"{execution.failure['step']!r} failed for good, and {execution.id} is still {execution.phase.name}"


@listens("StepStarted", "StepRetrying", "StepFailed")
def nothing_starts_in_rollback(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F3, F8: once an execution rolls back nothing starts, and an attempt that ends is CANCELLED or COMPLETED."""
    if execution.phase is Phase.ROLLING_BACK:
        yield f"{entry.event['type']} of {entry.event['step']!r}, but {entry.execution} is ROLLING_BACK"


@listens(Phase.ROLLING_BACK)
def failure_cancels_the_others(execution: Execution, _entry: Rested) -> Iterator[str]:
    """F3: when an execution fails, its running attempts are cancelled."""
    for attempt in execution.live.values():
        if attempt.kind == "action" and not attempt.interrupted:
            yield f"{execution.id} is ROLLING_BACK, and {attempt} runs on uncancelled"


@listens("RollbackStarted")
def rollback_for_a_reason(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F3, F7: a rollback begins by a failure, by the deadline when it has passed, or after a cancel."""
    if execution.failure is not None or execution.phase is Phase.CANCELLING:
        return
    if execution.phase not in GOING:
        yield f"{entry.execution} was to roll back while {execution.phase.name}"
    elif execution.deadline is None:
        yield f"{entry.execution} was to roll back, but no step failed for good and it has no timeout"
    elif entry.at < execution.deadline - EPSILON:
        yield (
            f"{entry.execution} was to roll back at {entry.at:g} s, but no step failed for good and its deadline "
            f"is {execution.deadline:g} s"
        )


@listens("RollbackStarted")
def error_is_the_first_failure(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F8: an execution's error is the failure that failed it."""
    error = entry.event["error"]
    if execution.failure is not None and not same(error, execution.failure):
        yield f"{entry.execution} rolls back for {error!r}, expected {dict(execution.failure)!r}"


@listens("RollbackStarted")
def deadline_is_named(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F7: a deadline that passes fails the execution with ExecutionTimeoutError, of no step, which names it."""
    error = entry.event["error"]
    if execution.failure is None and execution.phase in GOING:
        seen = error and (error["step"], error["attempt"], error["type"])
        if seen != (None, None, "ExecutionTimeoutError"):
            yield f"{entry.execution} rolls back for {error!r}, expected an ExecutionTimeoutError of no step"
        elif lacking := unnamed([f"{execution.definition.timeout or 0:g}"], error["message"]):
            yield f"{entry.execution} rolls back for {error!r}, whose message does not name {', '.join(lacking)}"


@listens(Phase.RUNNING, Phase.PAUSED)
def deadline_strikes(execution: Execution, entry: Rested) -> Iterator[str]:
    """F7, P3: the workflow's timeout fails the execution when it passes, pauses included."""
    if execution.deadline is not None and entry.at > execution.deadline + EPSILON:
        yield f"{execution.id} is {execution.phase.name} at {entry.at:g} s, its deadline was {execution.deadline:g} s"


@listens("StepCancelled")
def cancelled_when_it_had_no_effect(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F6: an attempt that was cancelled and returned all the same has had its effect: its step is COMPLETED."""
    attempt = under_way(execution, entry.event)
    outcome = None if attempt is None else execution.outcome(attempt)
    if outcome is not None and outcome.error is None:
        yield f"{attempt} of {entry.execution} returned, so its step is COMPLETED; recorded is that it was cancelled"


@listens("StepCancelled")
def cancelled_when_it_has_ended(execution: Execution, entry: Recorded) -> Iterator[str]:
    """K3, F3: an action that is cancelled is awaited; its step is CANCELLED when it has ended."""
    attempt = under_way(execution, entry.event)
    if attempt is None:
        return
    if execution.phase not in STOPPING:
        yield f"{attempt} was recorded as cancelled while {entry.execution} is {execution.phase.name}"
    elif attempt.began is not None and attempt.ended is None:
        yield f"{attempt} of {entry.execution} was recorded as cancelled, but its action is still alive"
