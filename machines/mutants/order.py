"""Order and joins: engines that decide, join, skip or end wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_STATE: Final = "engine.state"

MUTANTS: Final = (
    Mutant(
        "on_after_the_end",
        "final",
        "K6",
        "A step that fails before its first attempt ends its execution, and what it was decided with goes on.",
        (Edit(_CORE, "            if not state.active:\n                return\n", ""),),
        "Netflix/conductor#210",
    ),
    Mutant(
        "joined_by_the_first",
        "connections_decided",
        "O1",
        "A join of any is decided by the first of its sources: it is skipped if that one is not taken.",
        (
            Edit(
                _CORE,
                "[target for target in state.workflow.outgoing[index] if not state.undecided[target]]",
                "[target for target in state.workflow.outgoing[index]"
                " if not state.undecided[target] or state.workflow.steps[target].join == 'any']",
            ),
        ),
        "apache/airflow#19222",
    ),
    Mutant(
        "skipped_is_done",
        "started_once_joined",
        "O2",
        "A step that was skipped counts as done: what depends on it runs.",
        (
            Edit(
                _CORE,
                "passed = source in _PASSED",
                "passed = source in (*_PASSED, StepStatus.SKIPPED)",
            ),
        ),
        "dagster-io/dagster#30077",
    ),
    Mutant(
        "tolerated_is_not_taken",
        "skipped_for_a_reason",
        "O2",
        "What depends on a tolerated failure is skipped.",
        (
            Edit(
                _CORE,
                "passed = source in _PASSED",
                "passed = source is StepStatus.COMPLETED",
            ),
        ),
        "argoproj/argo-workflows#1817",
    ),
    Mutant(
        "failure_lost_at_the_join",
        "ended_as_it_came_out",
        "O4",
        "An execution with a tolerated failure ends as COMPLETED.",
        (Edit(_CORE, "ended = Status.PARTIAL if state.errors else Status.COMPLETED", "ended = Status.COMPLETED"),),
        "localstack/localstack#9863",
    ),
    Mutant(
        "retry_counts_as_an_arrival",
        "connections_decided",
        "O1",
        "A step that is to be tried again counts as settled at a join that waits for others as well.",
        (
            Edit(
                _STATE,
                "            state.retrying[_ended(state, step, StepStatus.RETRYING)] = until\n",
                "            index = _ended(state, step, StepStatus.RETRYING)\n"
                "            state.retrying[index] = until\n"
                "            for target in state.workflow.outgoing[index]:\n"
                "                state.undecided[target] = max(state.undecided[target] - 1, 1)\n",
            ),
        ),
        "celery/celery#2405",
    ),
    Mutant(
        "woken_by_the_next",
        "attempts_accounted_for",
        "O4",
        "An end that comes while events are being written is looked at when something else comes.",
        (
            Edit(
                _SHELL,
                "            if not self._mailbox and not self._closed:\n",
                "            if (self._wake is not None or not self._mailbox) and not self._closed:\n",
            ),
        ),
        "Netflix/conductor#1957",
    ),
    Mutant(
        "cleared_after_the_write",
        "attempts_accounted_for",
        "O4",
        "What comes while events are being written is thrown away with what was written.",
        (
            Edit(
                _SHELL,
                "                await self._manager.append(self.execution, events)\n            for event in events:",
                "                await self._manager.append(self.execution, events)\n"
                "                mailbox.clear()\n"
                "            for event in events:",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
    ),
)
