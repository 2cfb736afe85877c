"""P, K: what commands are accepted, what they are answered, and what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from model.execution import Execution
from model.facts import Ask, Facts
from model.history import Answered, Began, Recorded, Refused, Rested
from model.invariants.registry import listens
from model.invariants.shutdown import refused_by_the_closed
from model.parts import Phase, Served

ACCEPTING: Final[Mapping[str, frozenset[Phase]]] = {
    "pause": frozenset({Phase.RUNNING}),
    "resume": frozenset({Phase.PAUSED}),
    "cancel": frozenset({Phase.PENDING, Phase.RUNNING, Phase.PAUSED}),
}


def _accepted(execution: Execution, entry: Recorded, command: str) -> Iterator[str]:
    event = entry.event
    if execution.phase not in ACCEPTING[command]:
        yield f"{event['type']} was recorded of {entry.execution} while it was {execution.phase.name}"
    elif not execution.asking(command, event.get("inputs")):
        inputs = f" with {event['inputs']!r}" if command == "resume" else ""
        yield f"{event['type']} was recorded of {entry.execution}, but no {command}{inputs} is under way"


@listens("ExecutionPaused")
def pause_accepted(execution: Execution, entry: Recorded) -> Iterator[str]:
    """P1: an execution is paused while it is RUNNING, by a pause command or for missing inputs."""
    if not entry.event["missing"]:
        yield from _accepted(execution, entry, "pause")
    elif execution.phase is not Phase.RUNNING:
        yield f"{entry.execution} was paused for missing inputs while it was {execution.phase.name}"


@listens("ExecutionResumed")
def resume_accepted(execution: Execution, entry: Recorded) -> Iterator[str]:
    """P2: an execution is resumed while it is PAUSED, by a resume command, with that command's inputs."""
    yield from _accepted(execution, entry, "resume")


@listens("CancellationRequested")
def cancel_accepted(execution: Execution, entry: Recorded) -> Iterator[str]:
    """K1: an execution is cancelled once, by a cancel command, while it is PENDING, RUNNING or PAUSED."""
    yield from _accepted(execution, entry, "cancel")


@listens("StepStarted")
def nothing_starts_under_a_pause(execution: Execution, entry: Recorded) -> Iterator[str]:
    """P1: while an execution is PAUSED no attempt starts, retries included."""
    if execution.phase is Phase.PAUSED:
        yield f"{entry.event['step']!r} attempt {entry.event['attempt']} started while {entry.execution} is PAUSED"


@listens("StepFailed")
def nothing_is_ready_under_a_pause(execution: Execution, entry: Recorded) -> Iterator[str]:
    """P1, V2: a step that was decided under a pause is not ready: its parameters are not looked at yet."""
    name = entry.event["step"]
    if entry.event["attempt"] == 0 and name in execution.waiting and execution.waiting[name].plan is None:
        yield f"{name!r} failed with {entry.event['error']['type']} before any attempt, under a pause"


@listens("StepStarted", "StepRetrying", "StepFailed")
def nothing_starts_after_a_cancel(execution: Execution, entry: Recorded) -> Iterator[str]:
    """K2, K3: once a cancel is recorded no attempt starts, and an attempt that ends is CANCELLED or COMPLETED."""
    if execution.phase is Phase.CANCELLING:
        yield f"{entry.event['type']} of {entry.event['step']!r}, but {entry.execution} is CANCELLING"


@listens(Began)
def nothing_begins_after_a_cancel(execution: Execution, entry: Began) -> Iterator[str]:
    """K2: once a cancel has been accepted, no action of the execution begins."""
    if execution.cancel_answered and entry.kind == "action":
        yield f"the action of {entry.step!r} began after the cancel of {entry.execution} was answered True"


@listens(Phase.CANCELLING)
def cancel_reaches_the_actions(execution: Execution, _entry: Rested) -> Iterator[str]:
    """K3: the actions of an execution that is cancelled are cancelled."""
    for attempt in execution.live.values():
        if not attempt.interrupted:
            yield f"{execution.id} is CANCELLING, and {attempt} runs on uncancelled"


@listens(Phase.CANCELLING)
def cancel_comes_to_its_end(execution: Execution, _entry: Rested) -> Iterator[str]:
    """K3, K4, O4: a cancelled execution whose actions have ended is CANCELLED, or rolled back first."""
    if not execution.live and not execution.open:
        yield f"no action of {execution.id} lives, and it is still CANCELLING"


def _unclaimed(served: list[Served], ask: Ask, pending: Mapping[int, Ask]) -> list[str]:
    """Commands whose events nobody is left to have asked for, once this one is answered."""
    left = pending.keys() - {ask.number}
    return [each.command for each in served if not any(other.number in left for other in each.asks)]


@listens(Answered)
def refusal_changes_nothing(facts: Facts, entry: Answered) -> Iterator[str]:
    """K1: a command that is answered False has journaled nothing; one that is answered True, one event."""
    ask = facts.asks[entry.ask]
    execution = facts.executions.get(ask.execution or "")
    if execution is None:
        return
    served = list(execution.served)
    if entry.answer is True:
        mine = [each for each in served if each.command == ask.command and ask in each.asks]
        served = [each for each in served if each not in mine[:1]]
    for command in _unclaimed(served, ask, execution.asks):
        yield f"{ask} of {ask.execution} was answered {entry.answer!r}, yet a {command} of nobody else's is recorded"


@listens(Refused)
def error_changes_nothing(facts: Facts, entry: Refused) -> Iterator[str]:
    """K1, J4: a command that raises has journaled nothing."""
    ask = facts.asks[entry.ask]
    execution = facts.executions.get(ask.execution or "")
    if execution is not None:
        for command in _unclaimed(execution.served, ask, execution.asks):
            yield f"{ask} of {ask.execution} raised {entry.type}, yet a {command} of nobody else's is recorded"


@listens(Answered)
def refused_for_a_reason(facts: Facts, entry: Answered) -> Iterator[str]:
    """K1, P1, P2: a command is answered False only if, at some moment since, the execution did not accept it."""
    ask = facts.asks[entry.ask]
    if ask.command == "start" or entry.answer is True:
        return
    if entry.answer is not False:
        yield f"{ask} of {ask.execution} was answered {entry.answer!r}, expected True or False"
        return
    known = [phase for phase in ask.phases if phase is not None]
    if known and all(phase in ACCEPTING[ask.command] for phase in known):
        phases = " or ".join(sorted(phase.name for phase in known))
        yield f"{ask} of {ask.execution} was answered False, but it was {phases} all the time and accepts it"


@listens(Answered)
def unknown_is_refused(facts: Facts, entry: Answered) -> Iterator[str]:
    """K1: a command for an unknown execution raises UnknownExecutionError."""
    ask = facts.asks[entry.ask]
    if ask.command != "start" and ask.execution not in facts.executions:
        yield f"{ask} of {ask.execution}, an unknown execution, was answered {entry.answer!r}, expected an error"


@listens(Refused)
def known_is_answered(facts: Facts, entry: Refused) -> Iterator[str]:
    """K1: a command for a known execution is answered; UnknownExecutionError is for unknown ones.

    JournalError, which says that the store failed, is `error_of_the_store`'s, and InputError `odd_input_is_named`'s.
    """
    ask = facts.asks[entry.ask]
    told_elsewhere = entry.type == "JournalError" or (ask.odd and entry.type == "InputError")
    if ask.command == "start" or told_elsewhere or refused_by_the_closed(facts, entry):
        return
    if entry.type != "UnknownExecutionError" or None not in ask.phases:
        known = "a known" if None not in ask.phases else "an unknown"
        yield f"{ask} of {ask.execution}, {known} execution, raised {entry.type}: {entry.message}"


def _held_up(execution: Execution) -> bool:
    """Whether an action still lives that an engine has given up."""
    return any(attempt.void or attempt.again for attempt in execution.live.values())


@listens(Rested)
def every_command_answered(facts: Facts, _entry: Rested) -> Iterator[str]:
    """K1: every command comes back, a recovery once the actions have ended that it cancels."""
    for ask in facts.asks.values():
        if ask.command == "shutdown" or (ask.command == "recover" and any(map(_held_up, facts.unfinished.values()))):
            continue
        yield f"{ask} of {ask.execution or 'a new execution'} was never answered, and nothing is under way"
