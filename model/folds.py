"""What each recorded event changes: a table, to be held against the one in history.py line by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from model.execution import Execution
from model.history import Recorded
from model.parts import Attempt, Phase, StepPhase, Wait
from model.values import merge


def _execution_started(execution: Execution, entry: Recorded) -> None:
    execution.enter(Phase.RUNNING)
    timeout = execution.definition.timeout
    if timeout is not None:
        began = min(max(entry.event["at"], execution.created), entry.at)
        execution.deadline = began + timeout
    for name, progress in execution.steps.items():
        if not progress.step.incoming:
            execution.waiting[name] = Wait(execution.facts, None)
    execution.begin()


def _execution_paused(execution: Execution, entry: Recorded) -> None:
    missing = entry.event["missing"]
    if not missing:
        execution.serve("pause")
    execution.enter(Phase.PAUSED)
    execution.missing = missing


def _execution_resumed(execution: Execution, entry: Recorded) -> None:
    inputs = entry.event["inputs"]
    execution.serve("resume", inputs)
    execution.enter(Phase.RUNNING)
    if inputs:
        execution.input = execution.scope["input"] = merge(execution.input, inputs)
    execution.begin()


def _cancellation_requested(execution: Execution, _entry: Recorded) -> None:
    execution.serve("cancel")
    execution.stop(Phase.CANCELLING)


def _rollback_started(execution: Execution, entry: Recorded) -> None:
    execution.after_cancel = execution.phase is Phase.CANCELLING
    execution.error = entry.event["error"]
    execution.stop(Phase.ROLLING_BACK)


def _execution_ended(execution: Execution, entry: Recorded) -> None:
    execution.enter(Phase(entry.event["status"]))
    execution.over = execution.facts.moment
    execution.facts.unfinished.pop(execution.id, None)


def _step_skipped(execution: Execution, entry: Recorded) -> None:
    progress = execution.steps[entry.event["step"]]
    progress.phase = StepPhase.SKIPPED
    execution.unwait(progress.step.id)
    execution.settle(progress)


def _step_started(execution: Execution, entry: Recorded) -> None:
    event, facts = entry.event, execution.facts
    name, number = event["step"], event["attempt"]
    progress = execution.steps[name]
    wait = execution.unwait(name)
    if wait is None:
        rests, moment = execution.ripe.pop(name, facts.rests), facts.rest_moment
    else:
        rests, moment = wait.rests, wait.moment
        progress.parameters = wait.plan.parameters if wait.plan else None
    if number == 1:
        progress.input = execution.input
    facts.note_start(rests, moment, execution.id, name)
    execution.retrying.pop(name, None)
    progress.phase = StepPhase.RUNNING
    progress.attempts = number
    execution.start(Attempt(name, number, "action"))


def _step_timed_out(execution: Execution, entry: Recorded) -> None:
    if (attempt := execution.open.get(entry.event["step"])) is not None:
        attempt.timed_out = True


def _step_retrying(execution: Execution, entry: Recorded) -> None:
    event = entry.event
    progress = execution.steps[event["step"]]
    progress.phase = StepPhase.RETRYING
    execution.retrying[progress.step.id] = event["until"]
    execution.close(progress.step.id)


def _step_completed(execution: Execution, entry: Recorded) -> None:
    event = entry.event
    name = event["step"]
    progress = execution.steps[name]
    progress.phase = StepPhase.COMPLETED
    progress.output = execution.scope[name] = event["output"]
    execution.completed.append(name)
    if progress.step.compensation is not None:
        execution.compensable.append(name)
    execution.close(name)
    execution.settle(progress)


def _step_failed(execution: Execution, entry: Recorded) -> None:
    event = entry.event
    progress = execution.steps[event["step"]]
    progress.phase = StepPhase.FAILED
    progress.error = event["error"]
    execution.unwait(progress.step.id)
    execution.close(progress.step.id)
    if progress.step.continue_on_error:
        execution.settle(progress)
    else:
        execution.failure = event["error"]


def _step_cancelled(execution: Execution, entry: Recorded) -> None:
    progress = execution.steps[entry.event["step"]]
    progress.phase = StepPhase.CANCELLED
    execution.close(progress.step.id)
    execution.settle(progress)


def _compensation_started(execution: Execution, entry: Recorded) -> None:
    event = entry.event
    name, number = event["step"], event["attempt"]
    progress = execution.steps[name]
    progress.phase = StepPhase.COMPENSATING
    progress.undo_attempts = number
    execution.undo_plan(name)
    execution.undo_ripe = None
    execution.start(Attempt(name, number, "compensation"))


def _compensation_retrying(execution: Execution, entry: Recorded) -> None:
    event = entry.event
    execution.steps[event["step"]].until = event["until"]
    execution.close(event["step"])


def _compensation_completed(execution: Execution, entry: Recorded) -> None:
    name = entry.event["step"]
    execution.steps[name].phase = StepPhase.COMPENSATED
    execution.scope.pop(name, None)
    execution.rolled_back.append(name)
    _undone(execution, name)


def _compensation_failed(execution: Execution, entry: Recorded) -> None:
    name, error = entry.event["step"], entry.event["error"]
    progress = execution.steps[name]
    progress.phase = StepPhase.COMPENSATION_FAILED
    progress.undo_error = error
    execution.compensation_errors.append(error)
    _undone(execution, name)


def _undone(execution: Execution, name: str) -> None:
    if name in execution.compensable:
        execution.compensable.remove(name)
    execution.close(name)


FOLDS: Final[Mapping[str, Callable[[Execution, Recorded], None]]] = {
    "ExecutionStarted": _execution_started,
    "ExecutionPaused": _execution_paused,
    "ExecutionResumed": _execution_resumed,
    "CancellationRequested": _cancellation_requested,
    "RollbackStarted": _rollback_started,
    "ExecutionEnded": _execution_ended,
    "StepSkipped": _step_skipped,
    "StepStarted": _step_started,
    "StepTimedOut": _step_timed_out,
    "StepRetrying": _step_retrying,
    "StepCompleted": _step_completed,
    "StepFailed": _step_failed,
    "StepCancelled": _step_cancelled,
    "CompensationStarted": _compensation_started,
    "CompensationTimedOut": _step_timed_out,
    "CompensationRetrying": _compensation_retrying,
    "CompensationCompleted": _compensation_completed,
    "CompensationFailed": _compensation_failed,
}
