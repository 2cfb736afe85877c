"""Cancellation: engines that accept, answer, obey or outlive a cancel wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ADAPTER, Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"

MUTANTS: Final = (
    Mutant(
        "cancelled_twice",
        "cancel_accepted",
        "K1",
        "A second cancel is accepted while the first one is carried out.",
        (Edit(_CORE, "case Cancel(), Status.PENDING |", "case Cancel(), Status.CANCELLING | Status.PENDING |"),),
        "temporalio/sdk-python#1813",
    ),
    Mutant(
        "cancelled_attempt_fails",
        "nothing_starts_after_a_cancel",
        "K2",
        "An attempt that ends by the cancel of its execution counts as failed, and may be tried again.",
        (
            Edit(
                _CORE,
                "elif state.stopping:\n        decision.emit(StepCancelled",
                "elif state.status is Status.ROLLING_BACK:\n        decision.emit(StepCancelled",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "launched_after_the_cancel",
        "nothing_begins_after_a_cancel",
        "K2",
        "An attempt begins a moment after its start was recorded, whatever has come in between.",
        (
            Edit(
                _SHELL,
                "self._run(step, step.action, step.timeout, parameters(self.state, step), context)",
                "self._loop.call_later("
                "0.0001, self._run, step, step.action, step.timeout, parameters(self.state, step), context)",
            ),
        ),
        "dagster-io/dagster#24896",
    ),
    Mutant(
        "actions_survive_the_cancel",
        "cancel_reaches_the_actions",
        "K3",
        "A cancel leaves the running actions alone.",
        (Edit(_SHELL, "case CancellationRequested() | RollbackStarted():", "case RollbackStarted():"),),
        "PrefectHQ/prefect#7732",
    ),
    Mutant(
        "cancel_waits_for_an_action",
        "cancel_comes_to_its_end",
        "K3",
        "A cancel that finds nothing running never ends: only an action that ends would end it.",
        (
            Edit(
                _CORE,
                "            decision.emit(CancellationRequested(at))\n            _unwind(decision)",
                "            decision.emit(CancellationRequested(at))",
            ),
        ),
        "camunda/camunda#4352",
    ),
    Mutant(
        "cancel_under_a_pause_is_denied",
        "refusal_changes_nothing",
        "K1",
        "A cancel of a PAUSED execution is carried out, and answered False.",
        (
            Edit(
                _SHELL,
                "            replies.append((reply, decision.accepted))",
                '            denied = type(command).__name__ == "Cancel" and before is Status.PAUSED\n'
                "            replies.append((reply, decision.accepted and not denied))",
            ),
        ),
    ),
    Mutant(
        "cancel_to_the_end_raises",
        "error_changes_nothing",
        "K1",
        "A cancel that ends its execution at once raises, because there is none any more that could answer.",
        (
            Edit(
                _ENGINE,
                "        return driver is not None and await driver.ask(command)",
                "        accepted = driver is not None and await driver.ask(command)\n"
                "        if accepted and not self._drives(execution):\n"
                "            raise JournalError(execution)\n"
                "        return accepted",
            ),
        ),
    ),
    Mutant(
        "no_cancel_under_a_pause",
        "refused_for_a_reason",
        "K1",
        "A PAUSED execution cannot be cancelled.",
        (
            Edit(
                _CORE,
                "case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED:",
                "case Cancel(), Status.PENDING | Status.RUNNING:",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "unknown_is_denied",
        "unknown_is_refused",
        "K1",
        "A cancel of an execution that does not exist is answered False.",
        (
            Edit(
                ADAPTER,
                "            return await self._engine.cancel_execution(execution)\n"
                "        except UnknownExecutionError as error:\n"
                "            raise UnknownExecution(execution) from error",
                "            return await self._engine.cancel_execution(execution)\n"
                "        except UnknownExecutionError:\n"
                "            return False",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "forgotten_at_its_end",
        "known_is_answered",
        "K1",
        "A command to an execution that has ended raises, as if there had never been such an execution.",
        (
            Edit(
                _ENGINE,
                "            if (await self._manager.state(execution)).terminal:\n                return None",
                "            if (await self._manager.state(execution)).terminal:\n"
                "                raise UnknownExecutionError(execution)",
            ),
        ),
    ),
    Mutant(
        "refusals_are_not_sent",
        "every_command_answered",
        "K1",
        "A command that is not accepted is never answered.",
        (
            Edit(
                _SHELL,
                "if not reply.done():\n                reply.set_result(accepted)",
                "if accepted and not reply.done():\n                reply.set_result(accepted)",
            ),
        ),
    ),
    Mutant(
        "cancelled_is_done",
        "completed_by_returning",
        "F1",
        "An action that ends by its cancellation counts as having returned.",
        (
            Edit(
                _SHELL,
                "if task.cancelled():\n            self._hand_in(AttemptYielded(step))",
                "if task.cancelled():\n            self._hand_in(AttemptReturned(step, None))",
            ),
        ),
        "celery/celery#2405",
    ),
    Mutant(
        "timeout_survives_the_cancel",
        "no_timeout_once_cancelled",
        "F6",
        "The timeout of an attempt still counts while its execution is stopped.",
        (
            Edit(
                _CORE,
                "elif runs and not state.stopping:",
                "elif runs:",
            ),
            Edit(
                _SHELL,
                "for handle in (*self._timeouts.values(), *self._retries.values()):",
                "for handle in self._retries.values():",
            ),
            Edit(_SHELL, "        self._timeouts.clear()\n", ""),
        ),
        "restatedev/restate#3217",
    ),
    Mutant(
        "effect_forgotten",
        "cancelled_when_it_had_no_effect",
        "F6",
        "An action that returns although it was cancelled leaves its step CANCELLED.",
        (
            Edit(
                _CORE,
                "        decision.emit(StepCompleted(",
                "        if state.stopping:\n"
                "            decision.emit(StepCancelled(decision.at, step.id, attempt))\n"
                "            _unwind(decision)\n"
                "            return\n"
                "        decision.emit(StepCompleted(",
            ),
        ),
        "temporalio/sdk-rust#705",
    ),
    Mutant(
        "cancelled_at_once",
        "cancelled_when_it_has_ended",
        "K3",
        "A cancel records the running steps as CANCELLED before their actions have ended.",
        (
            Edit(
                _CORE,
                "            decision.emit(CancellationRequested(at))\n",
                "            decision.emit(CancellationRequested(at))\n"
                "            for index, attempt in list(state.running.items()):\n"
                "                decision.emit(StepCancelled(at, state.workflow.steps[index].id, attempt))\n",
            ),
        ),
        "temporalio/sdk-typescript#1580",
    ),
    Mutant(
        "last_call_unanswered",
        "every_command_answered",
        "K1",
        "A command that comes while an execution's end is being written is never answered.",
        (
            Edit(
                _SHELL,
                "while self._mailbox or not self.state.terminal:",
                "while not self.state.terminal:",
            ),
        ),
        "temporalio/sdk-rust#705",
    ),
    Mutant(
        "acknowledged_and_overwritten",
        "durable_before_the_answer",
        "J2",
        "A cancel that comes while an execution's end is being written is answered True.",
        (
            Edit(
                _SHELL,
                "            replies.append((reply, decision.accepted))",
                '            late = type(command).__name__ == "Cancel" and state.terminal\n'
                "            replies.append((reply, decision.accepted or late))",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "one_answer_for_all",
        "refusal_changes_nothing",
        "K1",
        "Commands that are decided together get the answer of the first.",
        (
            Edit(
                _SHELL, "                reply.set_result(accepted)", "                reply.set_result(replies[0][1])"
            ),
        ),
        "langchain-ai/langgraph#6542",
    ),
    Mutant(
        "sleepers_are_not_cancelled",
        "refused_for_a_reason",
        "K1",
        "An execution in which nothing runs, and a step waits for its next attempt, cannot be cancelled.",
        (
            Edit(
                _CORE,
                "case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED:",
                "case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED"
                " if state.running or not state.retrying:",
            ),
        ),
        "restatedev/restate#3656",
    ),
    Mutant(
        "start_lost_to_a_cancel",
        "attempts_accounted_for",
        "O4",
        "An attempt whose start is recorded together with a cancel neither begins nor ends.",
        (
            Edit(
                _SHELL,
                "        if self.state.stopping:\n"
                "            self._hand_in(AttemptYielded(step.index))\n"
                "            return",
                "        if self.state.stopping:\n            return",
            ),
        ),
        "dagster-io/dagster#24896",
    ),
    Mutant(
        "cancelled_before_it_is_durable",
        "interrupted_for_a_reason",
        "K3",
        "The running actions are cancelled while the cancel of their execution is being written.",
        (
            Edit(
                _SHELL,
                "                slots.forget(lane)\n",
                "                slots.forget(lane)\n"
                "                for task in self._tasks.values() if state.status is Status.CANCELLING else ():\n"
                "                    task.cancel()\n",
            ),
        ),
    ),
    Mutant(
        "finished_and_cancelled",
        "known_is_answered",
        "K1",
        "A cancel that comes while an execution's end is being written is carried out.",
        (
            Edit(
                _CORE,
                "case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED:",
                "case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED | Status.COMPLETED:",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "deadline_overtakes_the_cancel",
        "rollback_after_a_cancel",
        "K4",
        "A deadline that passes while a cancel is being written fails the execution.",
        (
            Edit(
                _CORE,
                "case Expire(), Status.RUNNING | Status.PAUSED:",
                "case Expire(), Status.RUNNING | Status.PAUSED | Status.CANCELLING:",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "struck_while_it_is_cancelled",
        "no_timeout_once_cancelled",
        "F6",
        "A timeout that strikes while the cancel of its execution is being written counts.",
        (
            Edit(
                _CORE,
                "elif runs and not state.stopping:",
                "elif runs:",
            ),
        ),
        "cadence-workflow/cadence#1610",
    ),
    Mutant(
        "returned_before_it_was_told",
        "cancelled_when_it_had_no_effect",
        "F6",
        "An action that returns while the cancel of its execution is being written leaves its step CANCELLED.",
        (
            Edit(
                _SHELL,
                "        if task.cancelled():\n            self._hand_in(AttemptYielded(step))",
                "        if task.cancelled() or (self.state.status is Status.CANCELLING and not task.cancelling()):\n"
                "            self._hand_in(AttemptYielded(step))",
            ),
        ),
        "temporalio/sdk-rust#705",
    ),
    Mutant(
        "denied_in_company",
        "refusal_changes_nothing",
        "K1",
        "A command that is carried out together with what came before it is answered False.",
        (
            Edit(
                _SHELL,
                "            replies.append((reply, decision.accepted))",
                "            replies.append((reply, decision.accepted and not events))",
            ),
        ),
        "temporalio/sdk-rust#705",
    ),
)
