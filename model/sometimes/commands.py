"""Pause, resume and cancel: what they find, and what races with them (P, K)."""

from __future__ import annotations

from typing import Final

from model.execution import Execution
from model.facts import Facts
from model.history import Answered, Asked, Ended, Recorded, Refused
from model.parts import TERMINAL, Phase
from model.sometimes.registry import Group, Holds

_CONTROLS: Final = ("pause", "resume", "cancel")


def _execution(facts: Facts, entry: Answered | Refused) -> Execution | None:
    return facts.executions.get(facts.asks[entry.ask].execution or "")


def _denied(facts: Facts, entry: Answered) -> Execution | None:
    """The execution on which a command was not accepted."""
    return _execution(facts, entry) if entry.answer is False else None


def _denied_in(phase: Phase) -> Holds:
    return lambda facts, entry: (execution := _denied(facts, entry)) is not None and execution.phase is phase


def _denied_in_a_race(facts: Facts, entry: Answered) -> bool:
    return _denied(facts, entry) is not None and len(facts.asks[entry.ask].phases) > 1


def _undoing(execution: Execution | None) -> bool:
    return execution is not None and any(attempt.kind == "compensation" for attempt in execution.live.values())


def _under_way(facts: Facts, entry: Asked, *commands: str) -> bool:
    execution = facts.executions.get(entry.execution or "")
    return execution is not None and any(ask.command in commands for ask in execution.asks.values())


def _overdue(execution: Execution, entry: Recorded) -> bool:
    return any(until <= entry.at for until in execution.retrying.values())


# Pause and resume

_PAUSES = Group("pause and resume")
_PAUSES.sometimes("ExecutionPaused", "P4", "a pause for a missing input", lambda _, entry: entry.event["missing"])
_PAUSES.sometimes("ExecutionPaused", "P4", "two steps miss an input", lambda _, entry: len(entry.event["missing"]) > 1)
_PAUSES.sometimes(
    "ExecutionPaused",
    "P4",
    "a pause for a missing input while actions run",
    lambda e, entry: entry.event["missing"] and e.live,
)
_PAUSES.sometimes(
    "ExecutionPaused",
    "P4",
    "a resume that did not bring what is missing",
    lambda e, entry: entry.event["missing"] and e.events[-1]["type"] == "ExecutionResumed",
)
_PAUSES.sometimes(
    "ExecutionResumed",
    "P4, P2",
    "a resume brings inputs while some are missing",
    lambda e, entry: e.missing and entry.event["inputs"],
)
_PAUSES.sometimes(
    "ExecutionPaused",
    "P1",
    "an execution is paused again",
    lambda e, entry: not entry.event["missing"] and any(event["type"] == "ExecutionResumed" for event in e.events),
)
_PAUSES.sometimes(
    "ExecutionPaused", "P1", "a pause while actions run", lambda e, entry: e.live and not entry.event["missing"]
)
_PAUSES.sometimes("ExecutionPaused", "P1", "a pause during a retry's wait", lambda e, _: e.retrying)
_PAUSES.sometimes("ExecutionPaused", "P1, C3", "a pause while a ready step waits for a slot", lambda e, _: e.ready)
_PAUSES.sometimes(
    "ExecutionPaused",
    "P1, J2",
    "a pause while an action's end is on its way",
    lambda e, _: any(attempt.ended for attempt in e.open.values()),
)
_PAUSES.sometimes("StepCompleted", "P1", "a step completes under a pause", lambda e, _: e.phase is Phase.PAUSED)
_PAUSES.sometimes("ExecutionResumed", "P2", "a resume finds actions running", lambda e, _: e.live)
_PAUSES.sometimes("ExecutionResumed", "P2, F1", "a resume finds a retry overdue", _overdue)
_PAUSES.sometimes(
    "ExecutionResumed",
    "P2, F1",
    "a resume finds a retry that still waits",
    lambda e, entry: any(until > entry.at for until in e.retrying.values()),
)
_PAUSES.sometimes(
    "RollbackStarted",
    "P3, F3",
    "an execution fails under a pause while actions run",
    lambda e, _: e.phase is Phase.PAUSED and e.live,
)

# Cancel

_CANCELS = Group("cancellation")
_CANCELS.sometimes("CancellationRequested", "K2", "a cancel during a backoff", lambda e, _: e.retrying)
_CANCELS.sometimes("CancellationRequested", "K3", "a cancel while two actions run", lambda e, _: len(e.live) > 1)
_CANCELS.sometimes(
    "CancellationRequested", "K2, C3", "a cancel while a ready step waits for a slot", lambda e, _: e.ready
)
_CANCELS.sometimes(
    "CancellationRequested",
    "K2",
    "a cancel while an action's end is on its way",
    lambda e, _: any(attempt.ended for attempt in e.open.values()),
)
_CANCELS.sometimes("CancellationRequested", "K1, P4", "a cancel while an input is missing", lambda e, _: e.missing)
_CANCELS.sometimes(
    "StepCancelled",
    "K3",
    "a step is cancelled before its action's first line",
    lambda e, entry: (a := e.open.get(entry.event["step"])) and a.began is None and a.lost is None,
)
_CANCELS.sometimes(
    Ended,
    "K2, K3",
    "an action returned while a cancel was on its way",
    lambda e, entry: (
        entry.outcome == "returned"
        and entry.kind == "action"
        and any(ask.command == "cancel" for ask in e.asks.values())
    ),
)
_CANCELS.sometimes(
    Ended,
    "K3, F1",
    "an action raised while a cancel was on its way",
    lambda e, entry: (
        entry.outcome == "raised" and entry.kind == "action" and any(ask.command == "cancel" for ask in e.asks.values())
    ),
)
_CANCELS.sometimes(
    Ended,
    "K3",
    "one cancelled action ends while another has not",
    lambda e, _: e.phase is Phase.CANCELLING and len(e.live) > 1,
)
_CANCELS.sometimes(
    Answered,
    "K1, F4",
    "a cancel arrives while a compensation runs",
    lambda facts, entry: facts.asks[entry.ask].command == "cancel" and _undoing(_denied(facts, entry)),
)

# Commands that are not accepted, or race

_RACES = Group("refusals and races")
for _phase in (Phase.CANCELLING, Phase.ROLLING_BACK, *(phase for phase in Phase if phase in TERMINAL)):
    _RACES.sometimes(
        Answered,
        "K1, K6" if _phase in TERMINAL else "K1",
        f"a command not accepted in {_phase.name}",
        _denied_in(_phase),
    )
_RACES.sometimes(
    Refused,
    "K1",
    "a command to an unknown execution",
    lambda facts, entry: entry.type == "UnknownExecutionError" and facts.asks[entry.ask].command in _CONTROLS,
)
_RACES.sometimes(
    Refused,
    "D5",
    "a resume is refused for its inputs",
    lambda facts, entry: entry.type == "InputError" and facts.asks[entry.ask].command == "resume",
)
_RACES.sometimes(Answered, "K1", "a command is not accepted because another event came first", _denied_in_a_race)
_RACES.sometimes(
    Asked,
    "K1",
    "two cancels of one execution are under way",
    lambda facts, entry: entry.command == "cancel" and _under_way(facts, entry, "cancel"),
)
_RACES.sometimes(
    Asked,
    "K1, P1",
    "a pause and a cancel are under way",
    lambda facts, entry: (
        (entry.command == "cancel" and _under_way(facts, entry, "pause"))
        or (entry.command == "pause" and _under_way(facts, entry, "cancel"))
    ),
)
_RACES.sometimes(
    Asked,
    "K1, P2",
    "a resume and a cancel are under way",
    lambda facts, entry: (
        (entry.command == "cancel" and _under_way(facts, entry, "resume"))
        or (entry.command == "resume" and _under_way(facts, entry, "cancel"))
    ),
)
_RACES.sometimes(
    Asked,
    "P1, P2",
    "a pause and a resume are under way",
    lambda facts, entry: (
        (entry.command == "resume" and _under_way(facts, entry, "pause"))
        or (entry.command == "pause" and _under_way(facts, entry, "resume"))
    ),
)
