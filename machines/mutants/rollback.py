"""F4, F5, K4: engines that roll back wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_STATE: Final = "engine.state"

MUTANTS: Final = (
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
)
