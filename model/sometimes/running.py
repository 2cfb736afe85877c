"""Order, joins, values and slots: where an execution goes its way (O, V, C, N)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from model.definition import Step
from model.execution import Execution
from model.facts import Facts
from model.history import Began, Recorded, Rested, Subscribed
from model.parts import Fate, Phase, StepPhase
from model.sometimes.registry import Group

_PASSED: Final = frozenset({StepPhase.COMPLETED, StepPhase.FAILED})


def _of(execution: Execution, entry: Recorded) -> Step:
    return execution.steps[entry.event["step"]].step


def _sources(execution: Execution, entry: Recorded) -> list[StepPhase]:
    return [execution.steps[connection.source].phase for connection in _of(execution, entry).incoming]


def _joins(execution: Execution, entry: Recorded, join: str) -> bool:
    step = _of(execution, entry)
    return len(step.incoming) > 1 and step.join == join


def _one_untaken(execution: Execution, entry: Recorded) -> bool:
    return _joins(execution, entry, "any") and any(
        execution.steps[connection.source].phase not in _PASSED or not execution.taken(connection.conditions)
        for connection in _of(execution, entry).incoming
    )


def _last_source(execution: Execution, entry: Recorded) -> Iterator[Step]:
    """The targets that wait for this step only."""
    for name in _of(execution, entry).outgoing:
        target = execution.steps[name]
        if target.undecided == 1:
            yield target.step


# Order and joins

_ORDER = Group("order")
_ORDER.sometimes("ExecutionStarted", "O4", "an execution started", lambda *_: True)
_ORDER.sometimes("StepCompleted", "O3", "three steps completed", lambda e, _: len(e.completed) == 2)  # noqa: PLR2004  # and one
_ORDER.sometimes("StepStarted", "O2", "an any-join runs though a connection is not taken", _one_untaken)
_ORDER.sometimes("StepSkipped", "O2", "an any-join is skipped", lambda e, entry: _joins(e, entry, "any"))
_ORDER.sometimes(
    "StepSkipped",
    "O2",
    "an all-join is skipped beside a branch that completed",
    lambda e, entry: _joins(e, entry, "all") and {StepPhase.SKIPPED, StepPhase.COMPLETED} <= {*_sources(e, entry)},
)
_ORDER.sometimes(
    "StepSkipped", "O2", "a skip follows from a skip", lambda e, entry: StepPhase.SKIPPED in _sources(e, entry)
)
_ORDER.sometimes("StepSkipped", "V5", "a step without connections is skipped", lambda e, entry: not _sources(e, entry))
_ORDER.sometimes("StepSkipped", "O4", "a skip is decided under a pause", lambda e, _: e.phase is Phase.PAUSED)
_ORDER.sometimes("StepSkipped", "O1", "a branch is skipped while another runs", lambda e, _: e.live)
_ORDER.sometimes(
    "StepStarted",
    "O1",
    "a step starts behind a tolerated failure",
    lambda e, entry: StepPhase.FAILED in _sources(e, entry),
)
_ORDER.sometimes(
    "StepStarted",
    "O3",
    "a step starts while a branch beside it runs",
    lambda e, entry: e.live and _of(e, entry).incoming,
)
_ORDER.sometimes(
    "StepStarted",
    "O1",
    "a join runs whose sources took more than one attempt",
    lambda e, entry: (
        len(_of(e, entry).incoming) > 1 and any(e.steps[each.source].attempts > 1 for each in _of(e, entry).incoming)
    ),
)
_ORDER.sometimes(
    "StepRetrying",
    "O1, F1",
    "a join waits for nothing but a retry",
    lambda e, entry: any(len(target.incoming) > 1 for target in _last_source(e, entry)),
)
_ORDER.sometimes(
    "StepCompleted",
    "O1, C3",
    "one completion decides two steps",
    lambda e, entry: len([*_last_source(e, entry)]) > 1,
)
_ORDER.sometimes(
    "ExecutionEnded", "O4", "an execution ends with a skip", lambda e, _: e.events[-1]["type"] == "StepSkipped"
)
_ORDER.sometimes(
    "ExecutionEnded",
    "O4",
    "an execution ends with a tolerated failure",
    lambda e, _: e.events[-1]["type"] == "StepFailed",
)
_ORDER.sometimes(
    "ExecutionEnded",
    "O4",
    "an execution completes in which nothing ran",
    lambda e, entry: entry.event["status"] == "COMPLETED" and not e.completed,
)

# Values


def _failed(execution: Execution, entry: Recorded, error: str, *, attempted: bool) -> bool:
    event = entry.event
    return event["error"]["type"] == error and bool(event["attempt"]) is attempted and execution.phase is not None


def _merges(execution: Execution, entry: Recorded) -> bool:
    return any(
        isinstance(value, dict) and isinstance(execution.input.get(key), dict)
        for key, value in entry.event["inputs"].items()
    )


def _tried_again_with_values(execution: Execution, entry: Began) -> bool:
    return entry.kind == "action" and entry.attempt > 1 and not execution.steps[entry.step].step.constant


def _input_changed(execution: Execution, entry: Began) -> bool:
    """Whether a resume has brought inputs between the step's last two attempts."""
    if not _tried_again_with_values(execution, entry):
        return False
    for event in reversed(execution.events):
        if event["type"] == "StepRetrying" and event["step"] == entry.step:
            return False
        if event["type"] == "ExecutionResumed" and event["inputs"]:
            return True
    return False


_VALUES = Group("values")
_VALUES.sometimes(
    "StepFailed",
    "V3",
    "a reference leads nowhere",
    lambda e, entry: _failed(e, entry, "UnresolvedReferenceError", attempted=False),
)
_VALUES.sometimes(
    "StepFailed",
    "V4",
    "an input schema refuses parameters",
    lambda e, entry: _failed(e, entry, "ValidationError", attempted=False),
)
_VALUES.sometimes(
    "StepFailed",
    "V4",
    "an output that breaks its schema, or JSON",
    lambda e, entry: _failed(e, entry, "ValidationError", attempted=True),
)
_VALUES.sometimes(
    "StepFailed",
    "V4, F1",
    "an output is refused although attempts are left",
    lambda e, entry: (
        _failed(e, entry, "ValidationError", attempted=True)
        and entry.event["attempt"] < _of(e, entry).retries.max_attempts
    ),
)
_VALUES.sometimes(
    "StepFailed",
    "V5",
    "a condition that cannot be evaluated",
    lambda e, entry: _failed(e, entry, "ConditionError", attempted=False),
)
_VALUES.sometimes(
    "StepFailed",
    "V5",
    "a condition that cannot be evaluated is tolerated",
    lambda e, entry: entry.event["error"]["type"] == "ConditionError" and _of(e, entry).continue_on_error,
)
_VALUES.sometimes(
    "StepFailed",
    "V5, P3",
    "a condition that cannot be evaluated, under a pause",
    lambda e, entry: entry.event["error"]["type"] == "ConditionError" and e.phase is Phase.PAUSED,
)
_VALUES.sometimes(
    Began,
    "V2",
    "an action gets a value that looks like a reference",
    lambda _, entry: any(isinstance(value, str) and value.startswith("${") for value in entry.parameters.values()),
)
_VALUES.sometimes(Began, "V3", "an action gets null for a value", lambda _, entry: None in entry.parameters.values())
_VALUES.sometimes(Began, "V2", "a step with references is tried again", _tried_again_with_values)
_VALUES.sometimes(Began, "V2", "a step with references is tried again after the input has changed", _input_changed)
_VALUES.sometimes("ExecutionResumed", "P2", "a resume merges into what is there", _merges)

# Slots


def _engine_full(facts: Facts) -> bool:
    return facts.live + facts.unbegun >= facts.max_concurrent_steps


def _held_by_the_interrupted(facts: Facts, _entry: Rested) -> bool:
    return (
        _engine_full(facts)
        and any(attempt.interrupted for execution in facts.unfinished.values() for attempt in execution.live.values())
        and any(execution.ready for execution in facts.unfinished.values())
    )


def _others_run(execution: Execution) -> bool:
    return execution.facts.live > len(execution.live)


def _beside(execution: Execution) -> Iterator[Execution]:
    return (other for other in execution.facts.unfinished.values() if other is not execution)


_SLOTS = Group("slots")
_SLOTS.sometimes(
    Rested,
    "C1",
    "an execution's own limit held a step back",
    lambda facts, _: any(each.full and each.ready for each in facts.unfinished.values()),
)
_SLOTS.sometimes(Rested, "C2", "a step waits for a slot that a cancelled action still holds", _held_by_the_interrupted)
_SLOTS.sometimes(
    "StepStarted",
    "C3",
    "a retry waited for a slot",
    lambda e, entry: e.retrying.get(entry.event["step"], entry.at) < e.facts.rest_at,
)

_AT_ONCE = Group("executions at once")
_AT_ONCE.sometimes(Began, "K5", "actions of two executions ran at once", lambda e, _: _others_run(e))
_AT_ONCE.sometimes(
    Began,
    "K5",
    "actions of three executions ran at once",
    lambda e, _: sum(bool(other.live) for other in _beside(e)) > 1,
)
_AT_ONCE.sometimes(
    Rested,
    "C3",
    "two executions wait for a slot",
    lambda facts, _: (
        _engine_full(facts) and sum(bool(each.ready) and not each.full for each in facts.unfinished.values()) > 1
    ),
)
_AT_ONCE.sometimes(
    "StepStarted",
    "C3",
    "a step passes one that its execution's own limit holds back",
    lambda e, _: any(other.full and other.ready for other in _beside(e)),
)
_AT_ONCE.sometimes("CancellationRequested", "K3", "a cancel while another execution runs", lambda e, _: _others_run(e))
_AT_ONCE.sometimes(
    "CancellationRequested",
    "K3, C3",
    "a cancel while another execution waits for a slot",
    lambda e, _: e.live and any(other.ready for other in _beside(e)),
)
_AT_ONCE.sometimes("RollbackStarted", "F3, K5", "an execution fails while another runs", lambda e, _: _others_run(e))
_AT_ONCE.sometimes(
    "CompensationStarted", "F4, C1", "a compensation starts while another execution runs", lambda e, _: _others_run(e)
)
_AT_ONCE.sometimes(
    Rested,
    "F4, C1",
    "a compensation waits for a slot",
    lambda facts, entry: (
        _engine_full(facts) and any(each.next_undo_due(entry.at) for each in facts.unfinished.values())
    ),
)
_AT_ONCE.sometimes(
    "StepStarted",
    "C3, P1",
    "a step starts while a paused execution would have been next",
    lambda e, entry: any(
        other.phase is Phase.PAUSED and any(wait.moment < _since(e, entry) for wait in other.waiting.values())
        for other in _beside(e)
    ),
)
_AT_ONCE.sometimes(
    "CompensationStarted",
    "F4",
    "two executions roll back at once",
    lambda e, _: any(other.phase is Phase.ROLLING_BACK and other.open for other in _beside(e)),
)


def _since(execution: Execution, entry: Recorded) -> int:
    """The entry at which a step became ready, or was about to."""
    wait = execution.waiting.get(entry.event["step"])
    return -1 if wait is None or wait.plan is None or wait.plan.fate is not Fate.START else wait.moment


# Subscribers

_SUBSCRIBERS = Group("subscribers")
_SUBSCRIBERS.sometimes(
    Subscribed,
    "N1",
    "a subscriber comes late",
    lambda facts, entry: entry.execution in facts.executions and entry.after < facts.executions[entry.execution].seq,
)
_SUBSCRIBERS.sometimes(
    Subscribed,
    "N1",
    "a subscriber comes when all is over",
    lambda facts, entry: entry.execution in facts.executions and entry.execution not in facts.unfinished,
)
_SUBSCRIBERS.sometimes(
    Subscribed,
    "N1",
    "a subscriber asks for events that are still to come",
    lambda facts, entry: entry.execution in facts.unfinished and entry.after > facts.executions[entry.execution].seq,
)
