"""Reports: engines that report what their journal does not say."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_STATE: Final = "engine.state"

MUTANTS: Final = (
    Mutant(
        "retrying_in_a_stopped_execution",
        "reported_steps",
        "J1",
        "A step that waits for its next attempt is reported as RETRYING after its execution was stopped.",
        (
            Edit(
                _STATE,
                "if status in _WAITING and self.status in _STOPPED:",
                "if status is StepStatus.PENDING and self.status in _STOPPED:",
            ),
        ),
        "PrefectHQ/prefect#7732",
    ),
    Mutant(
        "output_outlives_its_rollback",
        "reported_values",
        "F4",
        "The output of a step is still there after its compensation.",
        (
            Edit(
                _STATE,
                "            state.undoable.pop()\n            del state.outputs[step]",
                "            state.undoable.pop()",
            ),
        ),
        "dbos-inc/dbos-transact-py#769",
    ),
    Mutant(
        "later_failure_replaces_the_first",
        "reported_error",
        "F8",
        "The failure of a compensation replaces the failure that began the rollback.",
        (
            Edit(
                _STATE,
                'return {**state.error.to_json(), "compensations": failed} if failed else state.error.to_json()',
                'return {**failed[-1], "compensations": failed} if failed else state.error.to_json()',
            ),
        ),
    ),
    Mutant(
        "one_failed_compensation_is_none",
        "reported_compensations",
        "F5",
        "The compensations that failed are listed only if there are several.",
        (
            Edit(
                _STATE,
                'return {**state.error.to_json(), "compensations": failed} if failed else state.error.to_json()',
                'return {**state.error.to_json(), "compensations": failed} if failed[1:] else state.error.to_json()',
            ),
        ),
    ),
)
