"""P, K: engines that accept, answer or obey commands wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ADAPTER, Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"

MUTANTS: Final = (
    Mutant(
        "paused_twice",
        "pause_accepted",
        "P1",
        "A pause is accepted of an execution that is PAUSED already.",
        (Edit(_CORE, "case Pause(), Status.RUNNING:", "case Pause(), Status.RUNNING | Status.PAUSED:"),),
    ),
    Mutant(
        "resumed_while_running",
        "resume_accepted",
        "P2",
        "A resume is accepted of an execution that is RUNNING.",
        (Edit(_CORE, "case Resume(inputs), Status.PAUSED:", "case Resume(inputs), Status.PAUSED | Status.RUNNING:"),),
    ),
    Mutant(
        "cancelled_twice",
        "cancel_accepted",
        "K1",
        "A second cancel is accepted while the first one is carried out.",
        (Edit(_CORE, "case Cancel(), Status.PENDING |", "case Cancel(), Status.CANCELLING | Status.PENDING |"),),
        "temporalio/sdk-python#1813",
    ),
    Mutant(
        "pause_is_a_kind_of_running",
        "nothing_starts_under_a_pause",
        "P1",
        "A step that has its slot when the pause comes starts under the pause.",
        (Edit(_CORE, "elif state.status is Status.RUNNING and (index in", "elif state.active and (index in"),),
        "PrefectHQ/prefect#498",
    ),
    Mutant(
        "ready_under_a_pause",
        "nothing_is_ready_under_a_pause",
        "P1",
        "A step whose connections are decided under a pause becomes ready at once, and fails for what it lacks.",
        (
            Edit(
                _CORE,
                "(state.status is not Status.RUNNING or _prepare(decision, step, missing))",
                "_prepare(decision, step, missing)",
            ),
        ),
        "PrefectHQ/prefect#9824",
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
                "            return await self._drivers[execution].ask(command)",
                "            accepted = await self._drivers[execution].ask(command)\n"
                "            if not self._drives(execution):\n"
                "                raise JournalError(execution)\n"
                "            return accepted",
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
                "        await self._check_ended(execution)\n        return False",
                "        await self._check_ended(execution)\n        raise UnknownExecutionError(execution)",
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
)
