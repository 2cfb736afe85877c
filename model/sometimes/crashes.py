"""What a crash, a store that fails and a recovery find (J)."""

from __future__ import annotations

from collections.abc import Iterator

from model.execution import Execution
from model.facts import Facts
from model.history import Answered, Began, Crashed, Recorded, Rested, StoreFailed
from model.parts import STOPPING, Attempt, Phase
from model.sometimes.registry import Group, Holds


def _attempts(facts: Facts) -> Iterator[tuple[Execution, Attempt]]:
    for execution in facts.unfinished.values():
        for attempt in execution.open.values():
            yield execution, attempt


def _running(facts: Facts, kind: str) -> bool:
    return any(attempt.kind == kind for each in facts.unfinished.values() for attempt in each.live.values())


def _lost(execution: Execution, entry: Began | Recorded) -> bool:
    """Whether the call that this attempt had was lost with its engine."""
    step = entry.step if isinstance(entry, Began) else entry.event["step"]
    attempt = execution.open.get(step)
    return attempt is not None and attempt.lost is not None


def _under_way(command: str) -> Holds:
    return lambda facts, _: any(ask.command == command for ask in facts.asks.values())


def _failed_in(phase: Phase) -> Holds:
    return lambda facts, entry: entry.execution in facts.unfinished and facts.unfinished[entry.execution].phase is phase


def _recovered(facts: Facts, entry: Answered) -> bool:
    return facts.asks[entry.ask].command == "recover"


_CRASHES = Group("crashes")
_CRASHES.sometimes(Crashed, "J3", "a crash inside an action", lambda facts, _: _running(facts, "action"))
_CRASHES.sometimes(Crashed, "J3, F4", "a crash inside a compensation", lambda facts, _: _running(facts, "compensation"))
_CRASHES.sometimes(
    Crashed,
    "J3, F1",
    "a crash during a retry's wait",
    lambda facts, _: any(each.retrying for each in facts.unfinished.values()),
)
_CRASHES.sometimes(
    Crashed,
    "J3, F5",
    "a crash during a compensation's wait",
    lambda facts, entry: any(
        each.steps[step].until > entry.at for each in facts.unfinished.values() for step in each.compensable
    ),
)
for _command in ("start", "pause", "resume", "cancel", "recover"):
    _CRASHES.sometimes(
        Crashed,
        "J3",
        f"a crash with a {_command} under way",
        _under_way(_command),
    )
_CRASHES.sometimes(
    Crashed,
    "J3",
    "a crash with two executions running",
    lambda facts, _: sum(bool(each.live) for each in facts.unfinished.values()) > 1,
)
_CRASHES.sometimes(
    Crashed,
    "J3, F2",
    "a crash while a timed-out action had not ended",
    lambda facts, _: any(attempt.timed_out and attempt.step in e.live for e, attempt in _attempts(facts)),
)
_CRASHES.sometimes(
    Crashed,
    "J3, K3",
    "a crash while an action was being cancelled",
    lambda facts, _: any(
        attempt.interrupted and attempt.kind == "action" and e.phase in STOPPING for e, attempt in _attempts(facts)
    ),
)
_CRASHES.sometimes(
    Crashed,
    "J3, J2",
    "a crash between an attempt's record and its first line",
    lambda facts, _: any(attempt.began is None and attempt.lost is None for _, attempt in _attempts(facts)),
)
_CRASHES.sometimes(
    Crashed,
    "J3",
    "a crash before an action's end was recorded",
    lambda facts, _: any(attempt.ended is not None for _, attempt in _attempts(facts)),
)
_CRASHES.sometimes(
    Crashed,
    "J3, P4",
    "a crash while an input is missing",
    lambda facts, _: any(e.missing for e in facts.unfinished.values()),
)
_CRASHES.sometimes(
    Crashed,
    "J3, K6",
    "a crash when an execution is over",
    lambda facts, _: len(facts.executions) > len(facts.unfinished),
)

_STORES = Group("failing stores")
for _phase in (Phase.PENDING, Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING, Phase.ROLLING_BACK):
    _STORES.sometimes(
        StoreFailed,
        "J4",
        f"a store failed in {_phase.name}",
        _failed_in(_phase),
    )
_STORES.sometimes(
    StoreFailed,
    "J4",
    "a store failed while actions ran",
    lambda facts, entry: (e := facts.unfinished.get(entry.execution)) and e.live,
)
_STORES.sometimes(
    StoreFailed,
    "J4",
    "a store failed when an action's end was to be recorded",
    lambda facts, entry: (
        (e := facts.unfinished.get(entry.execution)) and any(attempt.ended for attempt in e.open.values())
    ),
)

_RECOVERIES = Group("recoveries")
_RECOVERIES.sometimes(
    Began, "J3", "an attempt that ran again", lambda e, entry: entry.kind == "action" and _lost(e, entry)
)
_RECOVERIES.sometimes(
    Began, "J3, F4", "a compensation that ran again", lambda e, entry: entry.kind == "compensation" and _lost(e, entry)
)
_RECOVERIES.sometimes(
    Began,
    "J3, P1",
    "an attempt that ran again under a pause",
    lambda e, entry: e.phase is Phase.PAUSED and _lost(e, entry),
)
_RECOVERIES.sometimes("StepCancelled", "J3, K3", "a step is cancelled whose action was lost", _lost)
_RECOVERIES.sometimes(
    ("StepFailed", "StepRetrying"),
    "J3, F2",
    "a timed-out attempt fails whose action was lost",
    _lost,
)
_RECOVERIES.sometimes(
    Answered,
    "J3",
    "a recovery of two executions",
    lambda facts, entry: _recovered(facts, entry) and len(entry.answer) > 1,
)
_RECOVERIES.sometimes(
    Answered, "J3", "a recovery of nothing", lambda facts, entry: _recovered(facts, entry) and not entry.answer
)
_RECOVERIES.sometimes(
    Rested,
    "J3, C1",
    "a recovered attempt waits for a slot",
    lambda facts, _: any(
        attempt.lost is not None and not attempt.barred and not attempt.timed_out and e.adrift is None
        for e, attempt in _attempts(facts)
    ),
)
_RECOVERIES.sometimes(
    "StepStarted", "J3, F1", "a retry after a recovery", lambda e, entry: e.left >= 0 and entry.event["attempt"] > 1
)
_RECOVERIES.sometimes("StepSkipped", "J3, O2", "a skip after a recovery", lambda e, _: e.left >= 0)
_RECOVERIES.sometimes("ExecutionResumed", "J3, P2", "a resume after a recovery", lambda e, _: e.left >= 0)
_RECOVERIES.sometimes("CancellationRequested", "J3, K1", "a cancel after a recovery", lambda e, _: e.left >= 0)
_RECOVERIES.sometimes("CompensationStarted", "J3, F4", "a compensation after a recovery", lambda e, _: e.left >= 0)
_RECOVERIES.sometimes(
    "ExecutionEnded",
    "J3, O4",
    "a recovered execution completes",
    lambda e, entry: e.left >= 0 and entry.event["status"] == "COMPLETED",
)
