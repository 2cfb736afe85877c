"""J7: what an engine may still do that is being closed, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

from model.execution import Execution
from model.facts import EPSILON, Facts
from model.history import Answered, Began, Recorded, Refused, Rested, ShutDown
from model.invariants.registry import ENGINE_WIDE, listens


def refused_by_the_closed(facts: Facts, entry: Refused) -> bool:
    """Whether a command came to an engine that is closed, or is being closed, and is told so (J7)."""
    return facts.closing is not None and entry.type == "EngineClosedError"


@listens("StepStarted", "CompensationStarted")
def nothing_starts_once_it_closes(execution: Execution, entry: Recorded) -> Iterator[str]:
    """J7: an engine that is being closed starts nothing more."""
    closing = execution.facts.closing
    if closing is not None and closing.heard is not None:
        yield f"{entry.event['type']} of {entry.event['step']!r} in {entry.execution}, but the engine is being closed"


@listens(Began)
def nothing_begins_once_it_closes(execution: Execution, entry: Began) -> Iterator[str]:
    """J7: no action begins in an engine that is closed."""
    closing = execution.facts.closing
    if closing is not None and (closing.heard is not None or closing.over):
        yield f"the {entry.kind} of {entry.step!r} in {entry.execution} began, but the engine is being closed"


@listens(Recorded)
def no_further_word(facts: Facts, entry: Recorded) -> Iterator[str]:
    """J7: an engine that is closed adds nothing to its journal."""
    if facts.closing is not None and facts.closing.over:
        yield f"{entry.event.get('type')} was recorded of {entry.execution}, but the engine is closed"


@listens(Rested)
def ends_are_journaled(facts: Facts, entry: Rested) -> Iterator[str]:
    """J7: what ends before an engine's grace is over is recorded."""
    closing = facts.closing
    if closing is not None and entry.at < closing.until - EPSILON:
        yield from _unrecorded(facts)


@listens(Rested)
def closes_at_last(facts: Facts, entry: Rested) -> Iterator[str]:
    """J7: an engine in which no action runs any more is closed at once."""
    closing = facts.closing
    if closing is not None and not closing.over and not facts.live:
        yield f"{closing.ask} has not come back at {entry.at:g} s, and no action lives"


@listens(Rested)
def cancelled_when_grace_is_over(facts: Facts, entry: Rested) -> Iterator[str]:
    """J7: what still runs when an engine's grace is over is cancelled, all of it at once."""
    closing = facts.closing
    if closing is None or closing.heard is None or entry.at <= closing.heard + closing.grace + EPSILON:
        return
    for execution in facts.unfinished.values():
        for attempt in execution.live.values():
            if not attempt.interrupted:
                yield f"{attempt} of {execution.id} runs on uncancelled, and the engine's grace is over"


@listens(ENGINE_WIDE)
def closed_when_all_has_ended(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """J7: an engine is closed once all its actions have ended, and before its grace is over all ends are recorded."""
    ask, closing = facts.asks[entry.ask], facts.closing
    if ask.command != "shutdown" or closing is None:
        return
    if isinstance(entry, Refused):
        yield f"{ask} raised {entry.type}: {entry.message}, expected that the engine is closed"
    if facts.live:
        yield f"{ask} came back, and {facts.live} actions live"
    if entry.at < closing.until - EPSILON:
        yield from _unrecorded(facts)


def _unrecorded(facts: Facts) -> Iterator[str]:
    for execution in facts.unfinished.values():
        for attempt in execution.open.values():
            if attempt.ended is not None and not attempt.interrupted and execution.adrift is None:
                yield f"{attempt} of {execution.id} ended while the engine was being closed, and it is not recorded"


@listens(ShutDown)
def nothing_outlives_its_engine(_facts: Facts, entry: ShutDown) -> Iterator[str]:
    """J7: once an engine is closed, no task of it lives, and nobody waits for it any more."""
    if entry.left:
        yield f"the engine is closed, and there are still alive: {', '.join(entry.left)}"
