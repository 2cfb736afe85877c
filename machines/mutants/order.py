"""O, C: engines that start, join, skip or share slots wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_SLOTS: Final = "engine.slots"

MUTANTS: Final = (
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
                "passed = source is StepStatus.COMPLETED or source is StepStatus.FAILED",
                "passed = source in (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED)",
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
                "passed = source is StepStatus.COMPLETED or source is StepStatus.FAILED",
                "passed = source is StepStatus.COMPLETED",
            ),
        ),
        "argoproj/argo-workflows#1817",
    ),
    Mutant(
        "attempt_counted_from_the_last",
        "started_again",
        "F1",
        "The second attempt of a step has the number of the first.",
        (
            Edit(
                _CORE,
                "decision.emit(StepStarted(at, step.id, state.attempts[index] + 1))",
                "decision.emit(StepStarted(at, step.id, max(state.attempts[index], 1)))",
            ),
        ),
        "apache/airflow#18285",
    ),
    Mutant(
        "ready_in_any_order",
        "waited_for_its_turn",
        "C3",
        "Steps that become ready by one event start in the reverse order of their definition.",
        (
            Edit(
                _CORE,
                "for target in state.workflow.outgoing[index] if",
                "for target in state.workflow.outgoing[index][::-1] if",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "last_come_first_served",
        "nobody_overtaken",
        "C3",
        "Of several executions that wait for a slot, the one that came last gets it.",
        (Edit(_SLOTS, "ticket = next(self._tickets)", "ticket = -next(self._tickets)"),),
    ),
    Mutant(
        "own_limit_ignored",
        "limits_kept",
        "C1",
        "A workflow's own limit is not kept.",
        (Edit(_SLOTS, " or lane.held == lane.limit:", ":"),),
        "dbos-inc/dbos-transact-ts#1272",
    ),
    Mutant(
        "retry_without_notice",
        "no_idling",
        "O3",
        "A retry whose wait is over takes its place in line, and nobody looks at the line.",
        (
            Edit(
                _SHELL,
                "            self._slots.enqueue(self._lane, step)\n            self._slots.dispatch()",
                "            self._slots.enqueue(self._lane, step)",
            ),
        ),
        "PrefectHQ/prefect#23183",
    ),
    Mutant(
        "cancelled_keeps_its_slot",
        "no_slot_lost",
        "C2",
        "An action that ends by its cancellation does not give its slot back.",
        (
            Edit(
                _SHELL,
                "if task.cancelled():\n            self._hand_in(AttemptYielded(step))",
                "if task.cancelled():\n            self.post(AttemptYielded(step))",
            ),
        ),
        "PrefectHQ/prefect#7752",
    ),
    Mutant(
        "no_skips_under_a_pause",
        "decisions_recorded",
        "O2",
        "What follows from a completion under a pause is decided by the resume only.",
        (
            Edit(
                _CORE,
                "        if state.active:\n            _advance(decision, _opened(state, index))\n        else:\n",
                "        if state.status is Status.RUNNING:\n            _advance(decision, _opened(state, index))\n"
                "        elif state.stopping:\n",
            ),
        ),
        "apache/airflow#27824",
    ),
    Mutant(
        "completion_lost_under_a_pause",
        "attempts_accounted_for",
        "O4",
        "An attempt that ends under a pause is never heard of again.",
        (
            Edit(
                _SHELL,
                "        self.post(command)\n        self._slots.release(self._lane)",
                "        if self.state.status is not Status.PAUSED:\n            self.post(command)\n"
                "        self._slots.release(self._lane)",
            ),
        ),
        "restatedev/restate#5196",
    ),
    Mutant(
        "no_end_under_a_pause",
        "ends_when_settled",
        "O4",
        "An execution whose last step settles under a pause ends by the resume only.",
        (Edit(_CORE, "if not state.unsettled:", "if not state.unsettled and state.status is Status.RUNNING:"),),
    ),
    Mutant(
        "failure_lost_at_the_join",
        "ended_as_it_came_out",
        "O4",
        "An execution with a tolerated failure ends as COMPLETED.",
        (Edit(_CORE, "ended = Status.PARTIAL if state.errors else Status.COMPLETED", "ended = Status.COMPLETED"),),
        "localstack/localstack#9863",
    ),
)
