"""Faults of the engine, one line each, and how a test file runs against an engine that has one.

Rule 1: a fault is a source edit, as a mutant's is (see ``machines.mutants.planting``): nothing clean is touched.
Rule 2: a test file is run again beside the clean one, with the faulty modules in place of those it imports. So a test
knows nothing of this, and what is tried here is the very test that pytest runs.
Rule 3: a fault is noticed by an assertion, an error of the engine or an end that does not come. What Hypothesis itself
raises is trouble of the harness and notices nothing.
"""

# ruff: noqa: E501  # a place in a source is quoted as it stands there

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import Phase, settings

from machines.mutants.planting import Edit, _Planted

INVARIANTS: Final = "tests.property_tests.workflow.test_workflow_engine_state_invariants"
EXECUTION: Final = "tests.integration.test_workflow_engine_execution"
CLASSES: Final = {INVARIANTS: "TestWorkflowStateInvariants", EXECUTION: "TestWorkflowExecution"}
EXAMPLES: Final = 25
PATIENCE: Final = 1.5
"""Seconds until an end does not come; the slowest of these tests takes a fifth of it."""

settings.register_profile(
    "faults",
    parent=settings.get_profile("lockstep"),
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    print_blob=False,
    report_multiple_bugs=False,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A place in the engine's source, what stands there instead, and the tests whose subject it is."""

    name: str
    clause: str
    module: str
    old: str
    new: str
    noticed_by: tuple[str, ...]


@contextmanager
def few_examples() -> Iterator[None]:
    """Let Hypothesis try no more than a few examples, and shrink nothing."""
    settings.load_profile("faults")
    try:
        yield
    finally:
        settings.load_profile("lockstep")


class Trial:
    """The two files, run against an engine with a fault, or without any."""

    def __init__(self, fault: Fault | None) -> None:
        self._patience = None if fault is None else PATIENCE  # a busy machine is no fault
        edits = () if fault is None else (Edit(f"engine.{fault.module}", fault.old, fault.new),)
        self._planted = _Planted(edits, "a clean copy" if fault is None else fault.name)

    @classmethod
    def of(cls, edits: Sequence[Edit], name: str, patience: float) -> Trial:
        """The two files against an engine with these edits; seconds until an end does not come."""
        trial = cls(None)
        trial._patience = patience
        trial._planted = _Planted(edits, name)
        return trial

    def notices(self, test: str) -> str | None:
        """Carry out a test by its name; what it said against the engine, if it did."""
        place = places()[test]
        with few_examples(), TemporaryDirectory() as directory:
            module = self._planted.load(place)
            function = getattr(getattr(module, CLASSES[place])(), test)
            try:
                if inspect.iscoroutinefunction(function):
                    asyncio.run(_patiently(function(module.Office(Path(directory))), self._patience))
                else:
                    function()
            except (Exception, pytest.fail.Exception) as error:
                if type(error).__module__.partition(".")[0] == "hypothesis":
                    raise
                _end_children()
                return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return None


def _end_children() -> None:
    """End the commands that a faulty engine has left running, and let asyncio's watchers of them come to their end."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # processes come and go
            name, _, rest = stat.read_text(encoding="utf-8").partition("(")[2].rpartition(")")
            if name in {"sh", "dash", "bash", "sleep"} and int(rest.split()[1]) == os.getpid():
                os.killpg(int(stat.parent.name), signal.SIGKILL)
    for thread in threading.enumerate():
        if "waitpid" in thread.name:
            thread.join(5)


async def _patiently(test: Coroutine[Any, Any, None], seconds: float | None) -> None:
    await asyncio.wait_for(test, seconds)


def places() -> dict[str, str]:
    """Every test of the two files, and which of them it is in."""
    clean = _Planted((), "a clean copy")
    return {
        name: place
        for place, owner in CLASSES.items()
        for name in vars(getattr(clean.load(place), owner))
        if name.startswith("test_")
    }


_CORE: Final = "transitions"
_SHELL: Final = "driver"
_STATE: Final = "state"
_MANAGER: Final = "state_manager"
_ENGINE: Final = "workflow_engine"
_FILE: Final = "sqlite_journal"

FAULTS: Final = (
    # Clauses D: definitions
    Fault(
        "smallest_is_largest",
        "D2",
        "graph",
        "waits[target] -= 1\n            if not waits[target]:\n                heappush(ready, target)",
        "waits[target] -= 1\n            if not waits[target]:\n                ready.insert(0, target)",
        ("test_both_shapes_alike",),
    ),
    Fault(
        "first_fault_only",
        "D3",
        "shapes",
        "raise DefinitionError(tuple(self.found))",
        "raise DefinitionError(tuple(self.found[:1]))",
        ("test_definition_faults_are_all_listed",),
    ),
    Fault(
        "strangers_welcome",
        "D3",
        "definition",
        "if (used, user) in wrong:",
        "if used == user and wrong:",
        ("test_cycles_and_strangers_are_named",),
    ),
    Fault(
        "editors_are_strangers",
        "D3",
        "shapes",
        '"id", "title", "config", *EDITOR_KEYS',
        '"id", "title", "config"',
        ("test_both_shapes_alike",),
    ),
    Fault(
        "backoff_counts_from_two",
        "D4",
        "workflow",
        "self.backoff ** (attempt - 1)",
        "self.backoff**attempt",
        ("test_retries_and_backoff", "test_pause_resume"),
    ),
    Fault(
        "no_longest_wait",
        "D4",
        "workflow",
        "return min(interval, self.max_interval)",
        "return interval",
        ("test_retries_and_backoff",),
    ),
    Fault(
        "children_forgotten",
        "D1",
        "wfformat",
        '"children", place, faults',
        '"parents", place, faults',
        ("test_wfformat_instances_run",),
    ),
    Fault(
        "graph_conditions_dropped",
        "D2",
        "graph",
        "source if plain else",
        "source if True else",
        ("test_graph_to_steps_conversion",),
    ),
    Fault(
        "places_are_forgotten",
        "D3",
        "shapes",
        'faults.add(f"{place}[{rank}]", "must be an object")',
        'faults.add(place, "must be an object")',
        ("test_broken_definitions_name_every_place",),
    ),
    # Clauses O: order
    Fault(
        "sources_are_not_awaited",
        "O1",
        _CORE,
        "[target for target in state.workflow.outgoing[index] if not state.undecided[target]]",
        "[target for target in state.workflow.outgoing[index] if state.undecided[target] <= 1]",
        ("test_execution_order_preserved",),
    ),
    Fault(
        "first_source_decides",
        "O1",
        _CORE,
        "[target for target in state.workflow.outgoing[index] if not state.undecided[target]]",
        "[target for target in state.workflow.outgoing[index] if target in state.open or state.workflow.steps[target].join == 'any']",
        ("test_joins_wait_for_all_their_sources",),
    ),
    Fault(
        "skipped_is_done",
        "O2",
        _CORE,
        "passed = source in _PASSED",
        "passed = source in (*_PASSED, StepStatus.SKIPPED)",
        ("test_branching_workflow", "test_conditional_branching"),
    ),
    Fault(
        "tolerated_is_not_taken",
        "O2",
        _CORE,
        "source in _PASSED",
        "source is StepStatus.COMPLETED",
        ("test_joins_wait_for_all_their_sources",),
    ),
    Fault(
        "any_is_all",
        "O2",
        _CORE,
        'return all(taken) if step.join == "all" else any(taken)',
        "return all(taken)",
        ("test_conditional_branching",),
    ),
    Fault(
        "partial_is_complete",
        "O4",
        _CORE,
        "ended = Status.PARTIAL if state.errors else Status.COMPLETED",
        "ended = Status.COMPLETED",
        ("test_error_recovery_workflow",),
    ),
    # Clauses C: concurrency
    Fault(
        "one_slot_too_many",
        "C1",
        "slots",
        "self.free = total",
        "self.free = total + 1",
        ("test_background_task_execution", "test_concurrent_step_limit"),
    ),
    Fault(
        "one_slot_too_few",
        "C1",
        "slots",
        "self.free = total",
        "self.free = total - 1",
        ("test_parallel_steps_run_together",),
    ),
    Fault("own_limit_ignored", "C1", "slots", " or lane.held == lane.limit:", ":", ("test_concurrent_step_limit",)),
    Fault(
        "timed_out_keeps_its_slot",
        "C2",
        _SHELL,
        "        self._slots.release(self._lane)\n        if not self._closed:",
        "        if type(command) is not AttemptYielded:\n            self._slots.release(self._lane)\n        if not self._closed:",
        ("test_concurrent_step_limit",),
    ),
    Fault(
        "last_come_first_served",
        "C3",
        "slots",
        "next(self._first if first else self._tickets)",
        "next(self._first) if first else 2**40 - next(self._tickets)",
        ("test_no_execution_starves_another",),
    ),
    Fault(
        "ready_in_reverse",
        "C3",
        _CORE,
        "for target in state.workflow.outgoing[index] if",
        "for target in state.workflow.outgoing[index][::-1] if",
        ("test_ready_steps_take_turns", "test_many_to_many_mapping"),
    ),
    Fault(
        "chance_decides",
        "C4",
        _CORE,
        "decision.emit(StepCompleted(decision.at, step.id, attempt, value))",
        "decision.emit(StepCompleted(id(object()) / 1e15, step.id, attempt, value))",
        ("test_same_inputs_same_journal",),
    ),
    # Clauses V: values
    Fault(
        "expanded_again",
        "V2",
        "references",
        "return fresh(_value(parts[0], scope, missing))",
        "return _resolve(fresh(_value(parts[0], scope, missing)), scope, missing)",
        ("test_variable_resolution_deterministic",),
    ),
    Fault(
        "parameters_are_shared",
        "V2",
        "references",
        "return {key: _resolve(item, scope, missing) for key, item in template.items()}",
        "template.update({key: _resolve(item, scope, missing) for key, item in template.items()})\n        return template",
        ("test_variable_resolution_deterministic",),
    ),
    Fault(
        "spelled_with_spaces",
        "V1",
        "references",
        'separators=(",", ":")',
        'separators=(", ", ": ")',
        ("test_complete_workflow_execution",),
    ),
    Fault(
        "null_is_missing",
        "V3",
        "references",
        "    if value is _ABSENT:\n        missing.setdefault(reference.text)",
        "    if value is _ABSENT or value is None:\n        missing.setdefault(reference.text)",
        ("test_missing_inputs", "test_many_to_many_mapping"),
    ),
    Fault(
        "wrong_path_is_named",
        "V3",
        _CORE,
        "_give_up(decision, step, 0, UnresolvedReferenceError(step.id, path))",
        "_give_up(decision, step, 0, UnresolvedReferenceError(step.id, step.id))",
        ("test_unresolved_references_fail_their_step",),
    ),
    Fault(
        "checked_unresolved",
        "V4",
        _CORE,
        "step.input_schema.faults(resolved)",
        "step.input_schema.faults(step.parameters)",
        ("test_parameter_schema_validation",),
    ),
    Fault(
        "output_schema_ignored",
        "V4",
        _CORE,
        "return step.output_schema.faults(value) if step.output_schema else ()",
        "return ()",
        ("test_parameter_schema_validation",),
    ),
    Fault(
        "doubt_is_false",
        "V5",
        "conditions",
        "            raise ConditionError(step_id, self.text, reason) from None\n",
        "            return False\n",
        ("test_conditional_branching",),
    ),
    Fault(
        "too_deep_is_fine",
        "V4",
        "values",
        "if depth > MAX_DEPTH:",
        "if depth > 2 * MAX_DEPTH:",
        ("test_values_that_json_does_not_have",),
    ),
    Fault(
        "numbers_are_not_told_apart",
        "V5",
        "conditions",
        "if type(result) is not bool:",
        "if type(result) is str:",
        ("test_conditions_that_cannot_be_evaluated",),
    ),
    # Clauses F: failure and rollback
    Fault(
        "one_attempt_too_many",
        "F1",
        _CORE,
        "elif attempt < step.retries.max_attempts and not final:",
        "elif attempt <= step.retries.max_attempts and not final:",
        ("test_retries_and_backoff",),
    ),
    Fault(
        "late_completion",
        "F2",
        _CORE,
        "    attempt = state.running[index]\n    if index in state.timed_out:\n        _failed(decision, step, _timeout_failure(decision, step, attempt))\n    elif state.statuses",
        "    attempt = state.running[index]\n    if index in state.timed_out and not step:\n        _failed(decision, step, _timeout_failure(decision, step, attempt))\n    elif state.statuses",
        ("test_timeout_enforcement",),
    ),
    Fault(
        "timer_comes_late",
        "F2",
        _SHELL,
        "self._loop.call_later(timeout, self.post, expired)",
        "self._loop.call_later(timeout + 0.4, self.post, expired)",
        ("test_timeout_enforcement",),
    ),
    Fault(
        "others_survive_the_failure",
        "F3",
        _SHELL,
        "case CancellationRequested() | RollbackStarted():",
        "case CancellationRequested():",
        ("test_step_failure_rollback",),
    ),
    Fault(
        "rolled_back_by_definition",
        "F4",
        _STATE,
        "state.undoable.append(index)",
        "state.undoable = sorted([*state.undoable, index])",
        ("test_step_failure_rollback",),
    ),
    Fault(
        "output_outlives_its_rollback",
        "F4",
        _STATE,
        "            del state.outputs[step]",
        "            state.outputs[step] = None",
        ("test_step_failure_rollback",),
    ),
    Fault(
        "rollback_gives_up",
        "F5",
        _CORE,
        "decision.emit(CompensationFailed(at, step.id, attempt, failure))\n            _unwind(decision)",
        "decision.emit(CompensationFailed(at, step.id, attempt, failure))\n            decision.emit(ExecutionEnded(at, Status.FAILED.value))",
        ("test_failed_compensations_are_listed",),
    ),
    Fault(
        "effect_forgotten",
        "F6",
        _CORE,
        "    elif faults := _output_faults(step, value):",
        "    elif state.stopping:\n        _failed(decision, step, Failure(step.id, attempt, '', ''))\n    elif faults := _output_faults(step, value):",
        ("test_swallowed_cancellation_compensated",),
    ),
    Fault(
        "deadline_waits_for_the_resume",
        "F7",
        _CORE,
        "case Expire(), Status.RUNNING | Status.PAUSED:",
        "case Expire(), Status.RUNNING:",
        ("test_deadline",),
    ),
    Fault(
        "last_failure_counts",
        "F8",
        _STATE,
        'return {**state.error.to_json(), "compensations": failed} if failed',
        'return {**failed[-1], "compensations": failed} if failed',
        ("test_failed_compensations_are_listed",),
    ),
    Fault(
        "compensation_under_its_steps_policy",
        "F2",
        _CORE,
        "policy = step.compensation if undoing and step.compensation else step",
        "policy = step",
        ("test_timeouts_in_real_time",),
    ),
    Fault(
        "failed_command_is_fine",
        "F1",
        "actions",
        "    if code:\n        raise",
        "    if code < 0:\n        raise",
        ("test_commands_of_the_shell",),
    ),
    Fault(
        "mute_is_deaf",
        "F1",
        _SHELL,
        'return "it has no message that can be read"',
        "raise",
        ("test_actions_that_misbehave_fail_their_step",),
    ),
    # Clauses P: pause and resume
    Fault(
        "paused_twice",
        "P1",
        _CORE,
        "case Pause(), Status.RUNNING:",
        "case Pause(), Status.RUNNING | Status.PAUSED:",
        ("test_pause_resume",),
    ),
    Fault(
        "ready_under_a_pause",
        "P1",
        _CORE,
        "(state.status is not _RUNNING or _prepare(decision, step, missing))",
        "_prepare(decision, step, missing)",
        ("test_pause_resume_workflow",),
    ),
    Fault(
        "merged_at_the_top_only",
        "P2",
        _STATE,
        "if isinstance(found, dict) and isinstance(value, dict):",
        "if isinstance(found, list) and isinstance(value, dict):",
        ("test_missing_input_waits_for_a_resume",),
    ),
    Fault(
        "first_missing_step_only",
        "P4",
        _CORE,
        "missing[step.id] = inputs\n",
        "missing.setdefault(step.id, inputs) if not missing else None\n",
        ("test_missing_inputs",),
    ),
    # Clauses K: cancellation
    Fault(
        "pause_is_always_accepted",
        "K1",
        _SHELL,
        "reply.set_result(accepted)",
        "reply.set_result(True)",
        ("test_commands_answer_what_they_did",),
    ),
    Fault(
        "cancelled_twice",
        "K1",
        _CORE,
        "case Cancel(), Status.PENDING |",
        "case Cancel(), Status.CANCELLING | Status.PENDING |",
        ("test_commands_answer_what_they_did",),
    ),
    Fault(
        "no_cancel_under_a_pause",
        "K1",
        _CORE,
        "case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED:",
        "case Cancel(), Status.PENDING | Status.RUNNING:",
        ("test_cancellation_propagation",),
    ),
    Fault(
        "actions_survive_the_cancel",
        "K3",
        _SHELL,
        "case CancellationRequested() | RollbackStarted():",
        "case RollbackStarted():",
        ("test_cancelled_workflow_is_rolled_back",),
    ),
    Fault(
        "cancel_always_rolls_back",
        "K4",
        _CORE,
        "if not state.workflow.rollback_on_cancel:",
        "if not (state.workflow.rollback_on_cancel or state.undoable):",
        ("test_cancellation_propagation",),
    ),
    Fault(
        "forgotten_at_its_end",
        "K1",
        _ENGINE,
        "        return driver is not None and await driver.ask(command)",
        "        if driver is None:\n            raise JournalError(execution)\n        return await driver.ask(command)",
        ("test_commands_answer_what_they_did",),
    ),
    Fault(
        "commands_are_left_behind",
        "K3",
        "actions",
        "        finally:\n            await _clear(process)\n",
        "        finally:\n            del process\n",
        ("test_cancelled_commands_leave_no_process",),
    ),
    # Clauses J: journal, crash and recovery
    Fault(
        "reported_before_it_is_durable",
        "J1",
        _MANAGER,
        "        await self.journal.append(execution, first, events)\n        durable.add(events)\n",
        "        durable.add(events)\n        await self.journal.append(execution, first, events)\n",
        ("test_journal_fold_equals_report",),
    ),
    Fault(
        "begun_before_it_is_durable",
        "J2",
        _SHELL,
        "            if events:\n                await self._manager.append(self.execution, events)\n            for event in events:\n                self._perform(event)",
        "            for event in events:\n                self._perform(event)\n            if events:\n                await self._manager.append(self.execution, events)",
        ("test_journal_fold_equals_report", "test_failing_journal_stops_the_execution"),
    ),
    Fault(
        "recovered_as_the_next_attempt",
        "J3",
        _SHELL,
        "partial(begin, state.workflow.steps[index], attempt)",
        "partial(begin, state.workflow.steps[index], attempt + (not undoing))",
        ("test_recovery_continues_where_it_stood",),
    ),
    Fault(
        "undone_as_the_next_attempt",
        "J3",
        _SHELL,
        "partial(begin, state.workflow.steps[index], attempt)",
        "partial(begin, state.workflow.steps[index], attempt + undoing)",
        ("test_rollback_goes_on_in_the_next_engine",),
    ),
    Fault(
        "second_recovery_takes_again",
        "J3",
        _ENGINE,
        "if execution in self._starting or self._drives(execution):",
        "if execution in self._starting:",
        ("test_recovery_continues_where_it_stood",),
    ),
    Fault(
        "trouble_is_overlooked",
        "J4",
        _MANAGER,
        "        await self.journal.append(execution, 1, (created,))\n",
        "        try:\n            await self.journal.append(execution, 1, (created,))\n        except JournalError:\n            pass\n",
        ("test_busy_file_means_that_nothing_happened",),
    ),
    Fault(
        "gaps_are_filled", "J1", _FILE, "if first != last + 1:", "if first <= last:", ("test_journal_keeps_its_order",)
    ),
    Fault(
        "end_is_not_kept",
        "J3",
        _FILE,
        "type(events[-1]) is ExecutionEnded, durable",
        "type(events[0]) is ExecutionEnded, durable",
        ("test_execution_state_persistence",),
    ),
    Fault(
        "later_versions_will_do",
        "J1",
        "sqlite_file",
        "if (application, version) in ((0, 0), (APPLICATION_ID, SCHEMA_VERSION)):",
        "if application == APPLICATION_ID or (application, version) == (0, 0):",
        ("test_strange_files_are_refused",),
    ),
    # Clauses N: notifications
    Fault(
        "told_twice_after_a_reconnect",
        "N1",
        _MANAGER,
        "self._next = after + 1",
        "self._next = max(after, 1)",
        ("test_notifications_in_sequence",),
    ),
    Fault(
        "late_subscriber_waits",
        "N1",
        _MANAGER,
        "        if not self._buffer:\n",
        "        if missed and not self._buffer:\n",
        ("test_websocket_notifications",),
    ),
    Fault(
        "told_before_it_is_durable",
        "N2",
        _MANAGER,
        "        await self.journal.append(execution, first, events)\n        durable.add(events)\n        if execution in self._subscriptions:\n            self._publish(execution, first, events)",
        "        if execution in self._subscriptions:\n            self._publish(execution, first, events)\n        await self.journal.append(execution, first, events)\n        durable.add(events)",
        ("test_notifications_in_sequence",),
    ),
    Fault(
        "slow_ones_pile_up",
        "N2",
        _MANAGER,
        "if len(self._buffer) > self._manager.buffered:",
        "if len(self._buffer) > 99 * self._manager.buffered:",
        ("test_slow_subscribers_lose_nothing",),
    ),
)
