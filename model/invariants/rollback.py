"""F4, F5, K4: compensations, newest first, and how an execution that stops comes to its end."""

from __future__ import annotations

from collections.abc import Iterator

from model.execution import Execution
from model.facts import EPSILON
from model.history import Began, Recorded, Rested
from model.invariants.registry import listens
from model.parts import STOPPING, Fate, Phase
from model.values import same, unnamed


@listens("CompensationStarted", "CompensationFailed")
def newest_first(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F4: compensations undo completed steps newest first, each once."""
    event = entry.event
    if event["type"] == "CompensationFailed" and event["attempt"] != 0:
        return
    expected = execution.compensable[-1] if execution.compensable else None
    if event["step"] != expected:
        if expected is None:
            wanted = "nothing is left to compensate"
        else:
            wanted = f"expected {expected!r}: completed were {execution.completed}"
        yield f"the compensation of {event['step']!r} started, {wanted}, compensated {execution.rolled_back}"


@listens("CompensationStarted")
def compensation_attempts(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F4, F1: attempts of a compensation are numbered from 1 and wait for their backoff."""
    event = entry.event
    progress = execution.steps[event["step"]]
    if event["attempt"] != progress.undo_attempts + 1:
        yield (
            f"the compensation of {event['step']!r} started attempt {event['attempt']}, "
            f"expected attempt {progress.undo_attempts + 1}"
        )
    elif entry.at < progress.until - EPSILON:
        yield f"the compensation of {event['step']!r} was tried again at {entry.at:g} s, before {progress.until:g} s"


@listens("CompensationStarted", "CompensationFailed")
def one_after_the_other(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F4, F3: a compensation starts when the rollback has begun and nothing else of the execution is under way."""
    event = entry.event
    if event["type"] == "CompensationFailed" and event["attempt"] != 0:
        return
    if execution.phase is not Phase.ROLLING_BACK:
        yield f"the compensation of {event['step']!r} started while {entry.execution} is {execution.phase.name}"
    elif execution.live or execution.open:
        others = [str(attempt) for attempt in {**execution.open, **execution.live}.values()]
        yield f"the compensation of {event['step']!r} started while {', '.join(others)} is under way"


@listens("CompensationStarted", "CompensationFailed")
def compensation_can_be_resolved(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F4, V3: a compensation with a reference that leads nowhere fails before any attempt, and only such a one."""
    event = entry.event
    if event["type"] == "CompensationFailed" and event["attempt"] != 0:
        return
    plan = execution.undo_plan(event["step"])
    fails = event["type"] == "CompensationFailed"
    if fails != (plan.fate is Fate.FAIL):
        did = f"failed with {event['error']['type']} before any attempt" if fails else "started"
        why = f"{plan.words[-1]} is missing" if plan.words else "all its references can be resolved"
        yield f"the compensation of {event['step']!r} {did}, but {why}"
    elif fails and (event["error"]["type"] != plan.error or unnamed(plan.words, event["error"]["message"])):
        expected = f"{plan.error}: {', '.join(plan.words)}"
        yield f"the compensation of {event['step']!r} failed with {event['error']!r}, expected {expected}"


@listens(Began)
def undoes_what_was_done(execution: Execution, entry: Began) -> Iterator[str]:
    """F4: a compensation has the parameters and the output of its step at hand, if anybody tells what it has."""
    if entry.undoes is None or entry.step not in execution.steps:
        return
    progress = execution.steps[entry.step]
    expected = {"parameters": progress.parameters, "output": progress.output}
    if entry.kind != "compensation" or not same(entry.undoes, expected):
        of = f"the {entry.kind} of {entry.step!r} in {entry.execution}"
        yield f"{of} was told that it undoes {dict(entry.undoes)!r}, expected {expected!r}"


@listens("RollbackStarted")
def rollback_after_a_cancel(execution: Execution, entry: Recorded) -> Iterator[str]:
    """K4: a cancel leads to a rollback only with rollback_on_cancel, once its actions have ended, without error."""
    if execution.phase is not Phase.CANCELLING:
        return
    if not execution.definition.rollback_on_cancel:
        yield f"{entry.execution} was cancelled, and is rolled back without rollback_on_cancel"
    if execution.live or execution.open:
        others = [str(attempt) for attempt in {**execution.open, **execution.live}.values()]
        yield f"{entry.execution} was cancelled, and its rollback began while {', '.join(others)} is under way"
    if entry.event["error"] is not None:
        yield f"{entry.execution} was cancelled, and is rolled back for {entry.event['error']!r}, expected no error"


@listens("ExecutionEnded")
def stopped_to_the_end(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F4, F3, K3: an execution that stops ends when its actions have ended and all that must be is rolled back."""
    if execution.phase not in STOPPING:
        return
    status = entry.event["status"]
    if execution.live or execution.open:
        others = [str(attempt) for attempt in {**execution.open, **execution.live}.values()]
        yield f"{entry.execution} ended as {status} while {', '.join(others)} is under way"
    elif execution.phase is Phase.ROLLING_BACK and execution.compensable:
        yield f"{entry.execution} ended as {status}, but {execution.compensable[::-1]} are not compensated"


@listens("ExecutionEnded")
def stopped_as_it_began(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F4, K4: an execution that failed ends as FAILED, one that was cancelled as CANCELLED."""
    if execution.phase in STOPPING:
        cancelled = execution.phase is Phase.CANCELLING or execution.after_cancel
        expected = "CANCELLED" if cancelled else "FAILED"
        if entry.event["status"] != expected:
            yield f"{entry.execution} ended as {entry.event['status']}, expected {expected}"


@listens("ExecutionEnded")
def cancel_rolls_back(execution: Execution, entry: Recorded) -> Iterator[str]:
    """K4: with rollback_on_cancel the completed steps are rolled back before the execution is CANCELLED."""
    if execution.phase is Phase.CANCELLING and execution.definition.rollback_on_cancel and execution.compensable:
        yield f"{entry.execution} ended without its rollback: {execution.compensable[::-1]} are to be compensated"


@listens(Phase.ROLLING_BACK)
def rollback_goes_on(execution: Execution, entry: Rested) -> Iterator[str]:
    """F4, F5, O4: a rollback goes on, past a compensation that failed, until nothing is left; then it ends."""
    facts = execution.facts
    if execution.live or execution.open:
        return
    if not execution.compensable:
        yield f"all of {execution.id} is rolled back, and it is still ROLLING_BACK"
        return
    if execution.next_undo_due(entry.at - EPSILON) and facts.live < facts.max_concurrent_steps:
        name = execution.compensable[-1]
        yield f"{execution.id} is ROLLING_BACK, a slot is free, and the compensation of {name!r} does not run"
