"""The journal: engines that say or do what is not durable, or record it wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ADAPTER, Edit, Mutant

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
        "falsy_is_no_input",
        "started_is_answered",
        "K5",
        "An execution whose input is empty is created twice, and answered once.",
        (
            Edit(
                _ENGINE,
                "            del self._starting[execution]\n",
                "            del self._starting[execution]\n"
                "        if not values:\n"
                "            execution = self._new_id()\n"
                "            await self._manager.create(execution, workflow, created)\n",
            ),
        ),
        "dbos-inc/dbos-transact-py#759",
    ),
    Mutant(
        "reported_before_it_is_durable",
        "reported_phase",
        "J1",
        "A report shows events that are being written.",
        (
            Edit(
                _MANAGER,
                "        await self.journal.append(execution, first, events)\n        durable.add(events)\n",
                "        durable.add(events)\n        await self.journal.append(execution, first, events)\n",
            ),
        ),
        "dbos-inc/dbos-transact-py#260",
    ),
    Mutant(
        "one_key_for_both",
        "key_names_the_attempt",
        "J3",
        "An action and its compensation have one idempotency key.",
        (Edit(_SHELL, '{step.id}/compensation/{attempt}"', '{step.id}/{attempt}"'),),
        "langchain-ai/langgraph#6542",
    ),
    Mutant(
        "left_waiting_by_the_store",
        "every_command_answered",
        "K1",
        "A command that comes while events are being written is never answered if the write fails.",
        (
            Edit(
                _SHELL,
                "        _refuse((reply for _, reply in self._mailbox if reply is not None), error)\n",
                "",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
        machines=("recovery",),
    ),
)
