"""Concurrency and slots: engines that start too many, too few, or the wrong ones."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"
_SLOTS: Final = "engine.slots"

MUTANTS: Final = (
    Mutant(
        "second_execution_waits",
        "started_at_all",
        "O4",
        "An execution that is created while another one is under way is not taken to work.",
        (
            Edit(
                _ENGINE,
                "        self._drive(execution, State(workflow, values)).post(Begin())",
                "        driver = self._drive(execution, State(workflow, values))\n"
                "        if len(self._drivers) == 1:\n"
                "            driver.post(Begin())",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
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
        (
            Edit(
                _SLOTS,
                "next(self._first if first else self._tickets)",
                "next(self._first) if first else 2**40 - next(self._tickets)",
            ),
        ),
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
        "grant_refused_in_silence",
        "no_idling",
        "O3",
        "A slot that comes too late for its step is given back, and nobody looks at the line.",
        (
            Edit(
                _SHELL,
                "                slots.release(lane)\n                slots.dispatch()\n            return",
                "                slots.release(lane)\n            return",
            ),
        ),
        "PrefectHQ/prefect#23183",
    ),
    Mutant(
        "grant_refused_and_lost",
        "no_slot_lost",
        "C2",
        "A slot that comes too late for its step is not given back.",
        (
            Edit(
                _SHELL,
                "                slots.release(lane)\n                slots.dispatch()\n            return",
                "                slots.dispatch()\n            return",
            ),
        ),
        "argoproj/argo-workflows#4870",
    ),
    Mutant(
        "start_lost_with_its_slot",
        "no_idling",
        "O3",
        "An attempt whose start is recorded together with the end of its execution's work keeps its slot.",
        (
            Edit(
                _SHELL,
                "        if self.state.stopping:\n            self._hand_in(AttemptYielded(step.index))",
                "        if self.state.stopping:\n            self.post(AttemptYielded(step.index))",
            ),
        ),
        "PrefectHQ/prefect#7732",
    ),
    Mutant(
        "place_kept_through_a_pause",
        "nobody_overtaken",
        "C3",
        "What waits for a slot keeps its place while its execution is paused.",
        (Edit(_SHELL, "                slots.hold(lane)\n", "                pass\n"),),
    ),
    Mutant(
        "slot_held_while_it_sleeps",
        "no_slot_lost",
        "C2",
        "A step that waits for its next attempt holds a slot.",
        (
            Edit(
                _SHELL,
                "                self._retry(workflow.index[step], until)\n",
                "                self._slots.free -= 1\n"
                "                awake = lambda: setattr(self._slots, 'free', self._slots.free + 1)\n"
                "                self._loop.call_later(max(0.0, until - self._clock()), awake)\n"
                "                self._retry(workflow.index[step], until)\n",
            ),
        ),
        "argoproj/argo-workflows#9875",
    ),
    Mutant(
        "paused_for_the_whole_batch",
        "no_slot_lost",
        "C2",
        "What a resume makes ready loses its place in line if something else is decided together with the resume.",
        (
            Edit(
                _SHELL,
                "        before = state.status\n",
                "        paused = events and self.before is Status.PAUSED\n"
                "        before = self.before = Status.PAUSED if paused else state.status\n",
            ),
        ),
        "apache/airflow#19277",
    ),
    Mutant(
        "sorted_by_the_batch",
        "waited_for_its_turn",
        "C3",
        "Steps that become ready by several events that are decided together wait in the order of definition.",
        (
            Edit(
                _SHELL,
                "            slots.enqueue(lane, step)\n        if decision.ready:\n",
                "            slots.enqueue(lane, step)\n"
                "        if decision.ready and len(events) > len(decision.events):\n"
                "            steps = sorted(step for _, step in lane.waiting)\n"
                "            tickets = [ticket for ticket, _ in lane.waiting]\n"
                "            lane.waiting = deque(zip(tickets, steps, strict=True))\n"
                "        if decision.ready:\n",
            ),
        ),
        "rush86999/atom",
    ),
)
