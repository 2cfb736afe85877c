"""J1, J2, N: what the journal holds, and that nothing is seen before it is in there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from model.execution import Execution
from model.facts import EPSILON, Facts
from model.history import (
    Answered,
    Began,
    Closed,
    Dropped,
    Interrupted,
    Json,
    Notified,
    Recorded,
    Refused,
    Reported,
    Rested,
)
from model.invariants.registry import ANY, STRANGER, listens
from model.parts import TERMINAL, Phase
from model.values import same

_ATTEMPT: Final = frozenset({"type", "at", "step", "attempt"})
_PLAIN: Final = frozenset({"type", "at"})

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "ExecutionCreated": _PLAIN | {"workflow", "input"},
    "ExecutionStarted": _PLAIN,
    "ExecutionPaused": _PLAIN | {"missing"},
    "ExecutionResumed": _PLAIN | {"inputs"},
    "CancellationRequested": _PLAIN,
    "RollbackStarted": _PLAIN | {"error"},
    "ExecutionEnded": _PLAIN | {"status"},
    "StepSkipped": _PLAIN | {"step"},
    "StepStarted": _ATTEMPT,
    "StepTimedOut": _ATTEMPT,
    "StepRetrying": _ATTEMPT | {"error", "until"},
    "StepCompleted": _ATTEMPT | {"output"},
    "StepFailed": _ATTEMPT | {"error"},
    "StepCancelled": _ATTEMPT,
    "CompensationStarted": _ATTEMPT,
    "CompensationTimedOut": _ATTEMPT,
    "CompensationRetrying": _ATTEMPT | {"error", "until"},
    "CompensationCompleted": _ATTEMPT,
    "CompensationFailed": _ATTEMPT | {"error"},
}
STATUSES: Final = frozenset(phase.name for phase in TERMINAL)


@listens(Recorded)
def well_formed(facts: Facts, entry: Recorded) -> Iterator[str]:
    """J1: the events of an execution begin with its creation and are numbered from 1 without gaps."""
    event = entry.event
    kind = event.get("type")
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    execution = facts.executions.get(entry.execution)
    if fields is None or not fields <= event.keys():
        lacks = "" if fields is None else f", which lacks {', '.join(sorted(fields - event.keys()))}"
        yield f"event {entry.seq} of {entry.execution} is {dict(event)!r}{lacks}: no event that the contract knows"
    elif (execution is None) != (kind == "ExecutionCreated"):
        yield f"event {entry.seq} of {entry.execution} is {kind}: expected its creation, once, before all else"
    elif entry.seq != (expected := 1 if execution is None else len(execution.events) + 1):
        yield f"{kind} of {entry.execution} is numbered {entry.seq}, expected {expected}"
    elif execution is not None and "step" in fields and event["step"] not in execution.steps:
        yield f"{kind} names the step {event['step']!r}, which the workflow of {entry.execution} does not have"
    elif "error" in fields and not (
        (kind == "RollbackStarted" and event["error"] is None) or _is_error(event["error"])
    ):
        yield f"{kind} carries {event['error']!r}, which is no error as the contract knows it"
    elif kind == "ExecutionEnded" and event["status"] not in STATUSES:
        yield f"{entry.execution} ended as {event['status']!r}, which is no terminal status"
    elif not _in_time(event["at"], execution, entry.at):
        yield f"{kind} of {entry.execution} carries the time {event['at']!r}, and was recorded at {entry.at:g} s"


def _in_time(at: Json, execution: Execution | None, now: float) -> bool:
    """Whether an event's time is one, and lies between the event before it and its recording."""
    if not isinstance(at, (int, float)):
        return False
    before = at if execution is None else execution.events[-1]["at"]
    return bool(before - EPSILON <= at <= now + EPSILON)


def _is_error(error: Json) -> bool:
    """Whether it says of which step and attempt it is, of none perhaps, and in two texts what happened (F8)."""
    return (
        isinstance(error, Mapping)
        and error.keys() >= {"step", "attempt", "type", "message"}
        and isinstance(error["type"], str)
        and isinstance(error["message"], str)
    )


@listens(STRANGER)
def known_execution(_facts: Facts, entry: Began | Interrupted | Notified | Reported) -> Iterator[str]:
    """J2: nothing is seen of an execution before its creation is durable."""
    yield f"{type(entry).__name__.lower()}: {entry.execution}, of which the journal holds nothing"


@listens("ExecutionCreated")
def created_as_asked(facts: Facts, entry: Recorded) -> Iterator[str]:
    """K5, J1: an execution is created because a start asked for it, with that workflow and that input unchanged."""
    if not facts.starting(entry):
        yield (
            f"{entry.execution} was created with workflow {entry.event['workflow']!r} and input "
            f"{entry.event['input']!r}: no start under way asked for these"
        )


@listens(ANY)
def final(execution: Execution | Facts, entry: Recorded) -> Iterator[str]:
    """K6: nothing is added to a journal after the execution's end."""
    if isinstance(execution, Execution) and execution.phase in TERMINAL:
        yield f"{entry.event['type']} was recorded of {entry.execution}, which had ended as {execution.phase.name}"


@listens(Began)
def durable_before_it_begins(execution: Execution, entry: Began) -> Iterator[str]:
    """J2: the start of an attempt is recorded before its action begins."""
    attempt = execution.open.get(entry.step)
    if attempt is None or (attempt.number, attempt.kind) != (entry.attempt, entry.kind):
        yield (
            f"the {entry.kind} of {entry.step!r} in {entry.execution} began attempt {entry.attempt}; "
            f"the journal has {f'{attempt} under way' if attempt else 'no attempt of it under way'}"
        )


@listens(Answered)
def durable_before_the_answer(facts: Facts, entry: Answered) -> Iterator[str]:
    """J2: what a command did is recorded between its asking and its answer."""
    ask = facts.asks[entry.ask]
    if ask.command == "start":
        execution = facts.executions.get(entry.answer) if isinstance(entry.answer, str) else None
        known = ask.key and execution is not None and any(other.key == ask.key for other in execution.answered_by)
        if known or ask.key in facts.keys:
            return  # the same key may have started it before; which one it must be then is J6's
        if execution is None or entry.answer not in facts.unclaimed or ask not in execution.answered_by:
            yield f"{ask} was answered {entry.answer!r}: no such execution was recorded as created for it"
    elif entry.answer is True and ask.execution in facts.executions:
        served = facts.executions[ask.execution].served
        if not any(each.command == ask.command and ask in each.asks for each in served):
            yield f"{ask} of {ask.execution} was answered True, but the journal holds no event that it caused"


@listens(Notified)
def durable_before_it_is_notified(execution: Execution, entry: Notified) -> Iterator[str]:
    """J2, N2: nothing is notified that is not recorded."""
    if entry.seq > execution.seq:
        yield (
            f"{entry.subscriber} got event {entry.seq} of {entry.execution}, "
            f"of which only {execution.seq} events are recorded"
        )


@listens(Notified)
def notified_in_sequence(execution: Execution, entry: Notified) -> Iterator[str]:
    """N1: a subscriber gets each event once, in sequence, from the number it asked for, as it was recorded."""
    subscription = execution.facts.subscriptions.get(entry.subscriber)
    if subscription is None or subscription.execution != entry.execution:
        yield f"{entry.subscriber} got event {entry.seq} of {entry.execution}, to which it did not subscribe"
    elif entry.seq != subscription.next:
        yield f"{entry.subscriber} got event {entry.seq} of {entry.execution}, expected event {subscription.next}"
    elif entry.seq <= execution.seq and entry.event != execution.events[entry.seq - 1]:
        yield (
            f"{entry.subscriber} got event {entry.seq} of {entry.execution} as {dict(entry.event)!r}, "
            f"recorded is {dict(execution.events[entry.seq - 1])!r}"
        )


@listens(Rested)
def everything_notified(facts: Facts, _entry: Rested) -> Iterator[str]:
    """N1: at rest, subscribers have got everything that is recorded."""
    for subscriber, subscription in facts.behind.items():
        if facts.down or facts.executions[subscription.execution].adrift is not None:
            continue
        yield (
            f"{subscriber} still waits for event {subscription.next} of {subscription.execution}, "
            f"recorded are {facts.executions[subscription.execution].seq}"
        )


@listens(Dropped)
def dropped_for_a_reason(facts: Facts, entry: Dropped) -> Iterator[str]:
    """N2: a subscriber is dropped only if it takes nothing for as long as patience lasts, and is told the reason."""
    subscription = facts.subscriptions[entry.subscriber]
    where = f"{entry.subscriber}, a subscriber of {entry.execution},"
    if not entry.reason:
        yield f"{where} was dropped without a reason"
    if subscription.patience is None or subscription.waiting is None:
        yield f"{where} was dropped ({entry.reason}), and takes whatever there is"
    elif entry.at < subscription.waiting + subscription.patience - EPSILON:
        waited = entry.at - subscription.waiting
        yield f"{where} was dropped after {waited:g} s, and patience lasts {subscription.patience:g} s"


@listens(Rested)
def who_does_not_read_is_dropped(facts: Facts, entry: Rested) -> Iterator[str]:
    """N2: a subscriber that takes nothing for as long as patience lasts is dropped."""
    for subscriber, subscription in facts.stalled.items():
        patience, waiting = subscription.patience, subscription.waiting
        if patience is not None and waiting is not None and entry.at > waiting + patience + EPSILON:
            yield (
                f"{subscriber}, a subscriber of {subscription.execution}, has taken nothing since {waiting:g} s, "
                f"patience lasts {patience:g} s, and it was not dropped"
            )


@listens(Answered)
def one_execution_per_key(facts: Facts, entry: Answered) -> Iterator[str]:
    """J6: whoever starts with a key that has started an execution is answered with that one."""
    ask = facts.asks[entry.ask]
    known = facts.keys.get(ask.key, entry.answer)
    if ask.key and known != entry.answer:
        yield f"{ask} with the key {ask.key!r}, which has started {known}, was answered {entry.answer!r}"


@listens("ExecutionCreated")
def a_key_starts_once(facts: Facts, entry: Recorded) -> Iterator[str]:
    """J6: a key that has started an execution starts no other."""
    asks = facts.starting(entry)
    if asks and all(ask.key in facts.keys for ask in asks):
        known = ", ".join(facts.keys[ask.key] for ask in asks)
        yield f"{entry.execution} was created, though its key has started {known}"


@listens(Refused)
def a_key_is_for_one_start(facts: Facts, entry: Refused) -> Iterator[str]:
    """J6: a start is refused for its key only if the key was sent with another workflow or input."""
    ask = facts.asks[entry.ask]
    if entry.type == "KeyUsedError":
        mine = [ask.arguments.get("workflow"), ask.arguments.get("input") or {}]
        if all(same(mine, other) for other in facts.keyed.get(ask.key, ())):
            yield f"{ask} was refused for its key {ask.key!r}, which was sent with this alone"


@listens(Rested)
def started_is_answered(facts: Facts, _entry: Rested) -> Iterator[str]:
    """K5, J1: each execution is somebody's: the start that created it answers with its id."""
    if facts.unclaimed and not facts.asks and facts.closing is None:
        yield f"{', '.join(facts.unclaimed)}: created, but no start was answered with it"


@listens(Closed)
def nothing_left_behind(_facts: Facts, entry: Closed) -> Iterator[str]:
    """O4: once all is over, no task of the engine lives and no error went unread."""
    if entry.tasks:
        yield f"after the end, tasks are still alive: {', '.join(entry.tasks)}"
    if entry.errors:
        yield f"after the end, errors that nobody read: {'; '.join(entry.errors)}"


@listens(Closed)
def everything_settled(facts: Facts, entry: Closed) -> Iterator[str]:
    """O4: once actions have ended, pauses are resumed and time has passed, every execution is terminal."""
    for execution in facts.unfinished.values():
        if not facts.down and execution.adrift is None:
            yield f"{execution.id} is {execution.phase.name} at {entry.at:g} s, after everything was done to let it end"


@listens(Phase.PENDING)
def started_at_all(execution: Execution, _entry: Rested) -> Iterator[str]:
    """O4: an execution that was created starts without another command."""
    yield f"{execution.id} is still PENDING, and nothing is under way that would start it"


@listens("ExecutionStarted")
def started_once(execution: Execution, entry: Recorded) -> Iterator[str]:
    """O4: an execution starts once, from PENDING."""
    if execution.phase is not Phase.PENDING:
        yield f"{entry.execution} was recorded as started while {execution.phase.name}"
