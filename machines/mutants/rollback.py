"""Rollback: engines that fail or roll back wrongly, tolerate what they should not, or name the wrong failure."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_STATE: Final = "engine.state"

MUTANTS: Final = (
    Mutant(
        "compensation_counts_as_its_step",
        "attempt_under_way",
        "F1",
        "The end of a compensation is recorded under the number of its step's last attempt.",
        (
            Edit(
                _CORE,
                "decision.emit(CompensationCompleted(decision.at, step.id, attempt))",
                "decision.emit(CompensationCompleted(decision.at, step.id, state.attempts[index]))",
            ),
        ),
        "argoproj/argo-workflows#2798",
    ),
    Mutant(
        "skips_before_the_rollback",
        "failure_rolls_back",
        "F3",
        "The steps behind a failure are skipped before the rollback starts.",
        (
            Edit(
                _CORE,
                "    if not step.continue_on_error:\n",
                "    if not step.continue_on_error:\n"
                "        for target in _opened(decision.state, step.index):\n"
                "            decision.emit(StepSkipped(decision.at, decision.state.workflow.steps[target].id))\n",
            ),
        ),
        "apache/airflow#27824",
    ),
    Mutant(
        "second_failure_counts",
        "nothing_starts_in_rollback",
        "F3",
        "An attempt that ends while its execution rolls back fails, and is tried again if attempts are left.",
        (
            Edit(
                _CORE,
                "elif state.stopping:\n        decision.emit(StepCancelled",
                "elif state.status is Status.CANCELLING:\n        decision.emit(StepCancelled",
            ),
        ),
        "Netflix/conductor#1851",
    ),
    Mutant(
        "others_survive_the_failure",
        "failure_cancels_the_others",
        "F3",
        "When an execution fails, its other running attempts are not cancelled.",
        (Edit(_SHELL, "case CancellationRequested() | RollbackStarted():", "case CancellationRequested():"),),
        "celery/celery#6220",
    ),
    Mutant(
        "early_failure_is_not_tolerated",
        "rollback_for_a_reason",
        "F3",
        "A step that fails before its first attempt fails its execution, whether that is tolerated or not.",
        (Edit(_CORE, "    if not step.continue_on_error:\n", "    if not step.continue_on_error or not attempt:\n"),),
        "swamp-club/swamp#1813",
    ),
    Mutant(
        "tolerated_failure_is_the_error",
        "error_is_the_first_failure",
        "F8",
        "An execution that fails is said to have failed for the first failure of all, a tolerated one included.",
        (
            Edit(
                _CORE,
                "decision.emit(RollbackStarted(decision.at, failure))",
                "decision.emit(RollbackStarted(decision.at, next(iter(decision.state.errors.values()))))",
            ),
        ),
    ),
    Mutant(
        "rolled_back_by_definition",
        "newest_first",
        "F4",
        "Compensations run in the reverse order of the definition, not of the completions.",
        (Edit(_STATE, "state.undoable.append(index)", "state.undoable = sorted([*state.undoable, index])"),),
        "danielgerlag/workflow-core#682",
    ),
    Mutant(
        "compensation_always_first",
        "compensation_attempts",
        "F4",
        "Every attempt of a compensation has the number 1.",
        (Edit(_CORE, "step.id, state.undo_attempts.get(index, 0) + 1)", "step.id, 1)"),),
        "Netflix/conductor#3630",
    ),
    Mutant(
        "rollback_does_not_wait",
        "one_after_the_other",
        "F4",
        "A rollback begins while cancelled actions are still cleaning up.",
        (
            Edit(_CORE, "    if state.running:\n        return\n", ""),
            Edit(
                _CORE,
                "state.status is Status.ROLLING_BACK and not state.running and",
                "state.status is Status.ROLLING_BACK and",
            ),
        ),
        "temporalio/sdk-typescript#1580",
    ),
    Mutant(
        "undone_as_it_was_written",
        "undoes_what_was_done",
        "F4",
        "A compensation is told its step's parameters as they were written, not as the step got them.",
        (
            Edit(
                _SHELL,
                '"compensation",\n            parameters(self.state, step),',
                '"compensation",\n            fresh(step.parameters),',
            ),
        ),
    ),
    Mutant(
        "missing_under_another_name",
        "compensation_can_be_resolved",
        "F4",
        "A compensation with a reference that leads nowhere fails with a KeyError.",
        (
            Edit(
                _CORE,
                "        return Failure(step.id, 0, type(error).__name__, str(error))\n    return None",
                "        return Failure(step.id, 0, 'KeyError', str(error))\n    return None",
            ),
        ),
    ),
    Mutant(
        "cancel_always_rolls_back",
        "rollback_after_a_cancel",
        "K4",
        "A cancel rolls back whatever can be compensated, asked for or not.",
        (
            Edit(
                _CORE,
                "if not state.workflow.rollback_on_cancel:",
                "if not (state.workflow.rollback_on_cancel or state.undoable):",
            ),
        ),
    ),
    Mutant(
        "rollback_gives_up",
        "stopped_to_the_end",
        "F4",
        "A compensation that fails for good ends the rollback: the older ones never run.",
        (
            Edit(
                _CORE,
                "decision.emit(CompensationFailed(at, step.id, attempt, failure))\n            _unwind(decision)",
                "decision.emit(CompensationFailed(at, step.id, attempt, failure))\n"
                "            ended = Status.CANCELLED if state.cancelled else Status.FAILED\n"
                "            decision.emit(ExecutionEnded(at, ended.value))",
            ),
        ),
    ),
    Mutant(
        "cancel_overwritten",
        "stopped_as_it_began",
        "F4",
        "A cancelled execution with a compensation that failed ends as FAILED.",
        (
            Edit(
                _CORE,
                "ended = Status.CANCELLED if state.cancelled else Status.FAILED",
                "ended = Status.CANCELLED if state.cancelled and not state.errors else Status.FAILED",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "rollback_on_cancel_ignored",
        "cancel_rolls_back",
        "K4",
        "The policy rollback_on_cancel is accepted, and ignored.",
        (Edit(_CORE, "if not state.workflow.rollback_on_cancel:", "if state.status is Status.CANCELLING:"),),
        "camunda/camunda#19634",
    ),
    Mutant(
        "rollback_gets_stuck",
        "rollback_goes_on",
        "F4",
        "After a compensation that fails for good the rollback does not go on.",
        (
            Edit(
                _CORE,
                "decision.emit(CompensationFailed(at, step.id, attempt, failure))\n            _unwind(decision)",
                "decision.emit(CompensationFailed(at, step.id, attempt, failure))",
            ),
        ),
        "camunda/camunda#4400",
    ),
    Mutant(
        "cancel_rolls_back_again",
        "cancel_accepted",
        "K1",
        "A cancel is accepted of an execution that rolls back already.",
        (Edit(_CORE, "case Cancel(), Status.PENDING |", "case Cancel(), Status.ROLLING_BACK | Status.PENDING |"),),
        "discovery-ukraine/saga-lara-flow#64",
    ),
    Mutant(
        "late_effect_is_not_undone",
        "stopped_to_the_end",
        "F4",
        "A step that completes although it was cancelled is not compensated.",
        (
            Edit(
                _STATE,
                "            if state.workflow.steps[index].compensation is not None:\n",
                "            if state.workflow.steps[index].compensation is not None and not state.stopping:\n",
            ),
        ),
        "temporalio/sdk-rust#705",
    ),
    Mutant(
        "tried_as_often_as_its_step",
        "no_attempt_too_many",
        "F1",
        "A compensation is tried as often as its step may be.",
        (Edit(_CORE, "retries = step.compensation.retries", "retries = step.retries"),),
        "argoproj/argo-workflows#2798",
    ),
)
