"""J, N, O4: engines whose journal, notifications or ends are not what they say."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ADAPTER, Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"
_MANAGER: Final = "engine.state_manager"

MUTANTS: Final = (
    Mutant(
        "one_number_for_a_batch",
        "well_formed",
        "J1",
        "Events that become durable together have one number.",
        (Edit(ADAPTER, "self._ports.record(execution, seq,", "self._ports.record(execution, first,"),),
        "apache/airflow#19277",
    ),
    Mutant(
        "known_under_another_name",
        "known_execution",
        "J2",
        "Actions are told the name of their execution in another case.",
        (
            Edit(
                _SHELL,
                "ActionContext(self.execution, step.id, attempt, key)",
                "ActionContext(self.execution.upper(), step.id, attempt, key)",
            ),
        ),
        "camunda/camunda#54243",
    ),
    Mutant(
        "null_is_no_input",
        "created_as_asked",
        "K5",
        "What is null in the input is left out when an execution is created.",
        (
            Edit(
                _ENGINE,
                'values = _object("input", input_data)',
                'values = {name: value for name, value in _object("input", input_data).items() if value is not None}',
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "on_after_the_end",
        "final",
        "K6",
        "A step that fails before its first attempt ends its execution, and what it was decided with goes on.",
        (Edit(_CORE, "            if not state.active:\n                return\n", ""),),
        "Netflix/conductor#210",
    ),
    Mutant(
        "begun_before_it_is_durable",
        "durable_before_it_begins",
        "J2",
        "Attempts begin while their start is being written.",
        (
            Edit(
                _SHELL,
                "            if events:\n"
                "                await self._manager.append(self.execution, events)\n"
                "            for event in events:\n"
                "                self._perform(event)",
                "            for event in events:\n"
                "                self._perform(event)\n"
                "            if events:\n"
                "                await self._manager.append(self.execution, events)",
            ),
        ),
    ),
    Mutant(
        "answered_before_it_is_durable",
        "durable_before_the_answer",
        "J2",
        "A command is answered as soon as it is decided, while what it did is being written.",
        (
            Edit(
                _SHELL,
                "            replies.append((reply, decision.accepted))",
                "            reply.set_result(decision.accepted)",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
    ),
    Mutant(
        "told_before_it_is_durable",
        "durable_before_it_is_notified",
        "J2",
        "Subscribers are told of events that are being written.",
        (
            Edit(
                _MANAGER,
                "        await self.journal.append(execution, first, events)\n"
                "        for event in events:\n"
                "            apply(state, event)\n"
                "        if execution in self._subscriptions:\n"
                "            self._publish(execution, first, events)",
                "        if execution in self._subscriptions:\n"
                "            self._publish(execution, first, events)\n"
                "        await self.journal.append(execution, first, events)\n"
                "        for event in events:\n"
                "            apply(state, event)",
            ),
        ),
        "ansible/awx#2613",
    ),
    Mutant(
        "told_twice_after_a_reconnect",
        "notified_in_sequence",
        "N1",
        "A subscriber that comes back after an event is told that event again.",
        (Edit(_MANAGER, "self._next = after + 1", "self._next = max(after, 1)"),),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "end_is_not_told",
        "everything_notified",
        "N1",
        "A subscriber that waits is not roused when an execution ends.",
        (
            Edit(
                _MANAGER,
                "                self._behind = True\n        self._rouse()",
                "                self._behind = True\n"
                "        if type(events[-1]) is not ExecutionEnded:\n"
                "            self._rouse()",
            ),
        ),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "falsy_is_no_input",
        "started_is_answered",
        "K5",
        "An execution whose input is empty is created twice, and answered once.",
        (
            Edit(
                _ENGINE,
                "        await self._manager.create(execution, workflow, created)",
                "        await self._manager.create(execution, workflow, created)\n"
                "        if not values:\n"
                "            execution = self._new_id()\n"
                "            await self._manager.create(execution, workflow, created)",
            ),
        ),
        "dbos-inc/dbos-transact-py#759",
    ),
    Mutant(
        "retry_timer_survives",
        "nothing_left_behind",
        "O4",
        "The timer of a retry survives the end of its execution, and finds nothing there.",
        (
            Edit(
                _SHELL,
                "for handle in (*self._timeouts.values(), *self._retries.values()):",
                "for handle in self._timeouts.values():",
            ),
        ),
        "restatedev/restate#3217",
    ),
    Mutant(
        "late_subscriber_waits",
        "nothing_left_behind",
        "O4",
        "A subscriber that has got everything of an execution that is over waits for more.",
        (
            Edit(
                _MANAGER,
                "if not missed and not self._buffer and (await self._manager.state(self.execution)).terminal:",
                "if self._closed:",
            ),
        ),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "second_execution_waits",
        "started_at_all",
        "O4",
        "An execution that is created while another one is under way is not taken to work.",
        (
            Edit(
                _ENGINE,
                "            self._drive(execution, State(workflow, values)).post(Begin())",
                "            driver = self._drive(execution, State(workflow, values))\n"
                "            if len(self._drivers) == 1:\n"
                "                driver.post(Begin())",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
    ),
    Mutant(
        "resumed_by_a_new_start",
        "started_once",
        "O4",
        "A resume that brings nothing is recorded as another start.",
        (
            Edit(
                _CORE,
                "decision.emit(ExecutionResumed(at, inputs or {}))",
                "decision.emit(ExecutionResumed(at, inputs) if inputs else ExecutionStarted(at))",
            ),
        ),
        "argoproj/argo-workflows#759",
    ),
)
