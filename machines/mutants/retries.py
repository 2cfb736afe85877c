"""Retries and timeouts: engines that count, wait or time wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ADAPTER, Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_STATE: Final = "engine.state"

MUTANTS: Final = (
    Mutant(
        "called_again_in_secret",
        "one_call_per_attempt",
        "F1",
        "An action that raises a TimeoutError is called once more within the same attempt.",
        (
            Edit(
                ADAPTER,
                "            return ports.act(call)",
                "            async def twice() -> Json:\n"
                "                try:\n"
                "                    return await ports.act(call)\n"
                "                except Exception as error:\n"
                "                    if type(error).__name__ != 'TimeoutError':\n"
                "                        raise\n"
                "                    return await ports.act(call)\n\n"
                "            return twice()",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "late_completion",
        "never_after_its_timeout",
        "F2",
        "An action that returns after its attempt has timed out completes its step all the same.",
        (
            Edit(
                _CORE,
                "    if index in state.timed_out:\n"
                "        _failed(decision, step, _timeout_failure(decision, step, attempt))\n"
                "    elif state.statuses[index] is _COMPENSATING:",
                "    if index in state.timed_out and state.statuses[index] is _COMPENSATING:\n"
                "        _failed(decision, step, _timeout_failure(decision, step, attempt))\n"
                "    elif state.statuses[index] is _COMPENSATING:",
            ),
        ),
        "hatchet-dev/hatchet#1699",
    ),
    Mutant(
        "timer_comes_late",
        "outlived_its_timeout",
        "F2",
        "A timeout strikes a moment late: what ends until then counts.",
        (
            Edit(
                _SHELL,
                "self._loop.call_later(timeout, self.post, expired)",
                "self._loop.call_later(timeout + 0.0014, self.post, expired)",
            ),
        ),
    ),
    Mutant(
        "own_timeout_mistaken",
        "failed_for_what_happened",
        "F1",
        "A TimeoutError that an action raises by itself is recorded as the step's timeout.",
        (
            Edit(
                _CORE,
                "    if index in state.timed_out:\n"
                "        _failed(decision, step, _timeout_failure(decision, step, attempt))\n"
                "    else:",
                "    if index in state.timed_out or kind == 'TimeoutError':\n"
                "        _failed(decision, step, _timeout_failure(decision, step, attempt))\n"
                "    else:",
            ),
        ),
    ),
    Mutant(
        "timeouts_do_not_count",
        "no_attempt_too_many",
        "F1",
        "A timed out attempt is tried again even if it was the last one allowed.",
        (
            Edit(
                _CORE,
                "elif attempt < step.retries.max_attempts and not final:",
                "elif (attempt < step.retries.max_attempts or failure.type == 'StepTimeoutError') and not final:",
            ),
        ),
        "botify-labs/simpleflow#15",
    ),
    Mutant(
        "judged_by_its_name",
        "no_attempt_too_few",
        "F1",
        "A ValidationError that an action raises by itself is not tried again.",
        (
            Edit(
                _CORE,
                "elif attempt < step.retries.max_attempts and not final:",
                "elif attempt < step.retries.max_attempts and failure.type != 'ValidationError':",
            ),
        ),
    ),
    Mutant(
        "refused_output_tried_again",
        "violation_not_retried",
        "V4",
        "An attempt whose output the schema refuses is tried again, as if that could cure it.",
        (
            Edit(
                _CORE,
                "elif attempt < step.retries.max_attempts and not final:",
                "elif attempt < step.retries.max_attempts:",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "backoff_one_ahead",
        "backoff_as_defined",
        "F1",
        "The wait before the next attempt is computed from that attempt's number, not from the failed one's.",
        (
            Edit(
                _CORE,
                "failure, at + step.retries.delay(attempt)))",
                "failure, at + step.retries.delay(attempt + 1)))",
            ),
        ),
        "apache/airflow#18285",
    ),
    Mutant(
        "step_timeout_for_its_compensation",
        "timed_out_in_time",
        "F2",
        "A compensation gets its step's timeout.",
        (Edit(_SHELL, "compensation.action, compensation.timeout,", "compensation.action, step.timeout,"),),
        "argoproj/argo-workflows#2798",
    ),
    Mutant(
        "deadline_under_another_name",
        "deadline_is_named",
        "F7",
        "An execution whose deadline passes fails with a TimeoutError.",
        (
            Edit(
                _CORE,
                "decision.emit(RollbackStarted(at, Failure(None, None, type(error).__name__, str(error))))",
                "decision.emit(RollbackStarted(at, Failure(None, None, 'TimeoutError', str(error))))",
            ),
        ),
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
        "failed_before_it_was_tried",
        "failed_while_it_waits",
        "F1",
        "A step that fails by its last attempt is recorded as having failed before its first.",
        (Edit(_CORE, "_give_up(decision, step, attempt, failure)\n", "_give_up(decision, step, 0, failure)\n"),),
    ),
    Mutant(
        "one_timer_strikes",
        "timeouts_strike",
        "F2",
        "While one timed out action has not ended, the timeouts of others are dropped.",
        (
            Edit(
                _CORE,
                "runs = state.running.get(index) == attempt and index not in state.timed_out",
                "runs = state.running.get(index) == attempt and not state.timed_out",
            ),
        ),
        "cadence-workflow/cadence#744",
    ),
    Mutant(
        "timer_of_another_attempt",
        "timed_out_in_time",
        "F2",
        "The timer of an attempt that has failed strikes the next one.",
        (
            Edit(
                _SHELL,
                "            timeout.cancel()\n        if task.cancelled():",
                "            pass\n        if task.cancelled():",
            ),
            Edit(
                _CORE,
                "    runs = state.running.get(index) == attempt and index not in state.timed_out\n",
                "    attempt = state.running.get(index, 0)\n    runs = attempt > 0 and index not in state.timed_out\n",
            ),
        ),
        "cadence-workflow/cadence#1610",
    ),
    Mutant(
        "another_failure_resets_the_count",
        "reported_steps",
        "J1",
        "When a step fails for good, the steps that wait for their next attempt begin to count again.",
        (
            Edit(
                _STATE,
                "            index = _ended(state, step, StepStatus.FAILED)\n",
                "            index = _ended(state, step, StepStatus.FAILED)\n"
                "            for other in state.retrying:\n"
                "                state.attempts[other] = 0\n",
            ),
        ),
        "PrefectHQ/prefect#1177",
    ),
    Mutant(
        "wait_from_the_write",
        "no_slot_lost",
        "C2",
        "A retry's wait is counted from when the failure was written, not from when it was.",
        (
            Edit(
                _SHELL,
                "                self._retry(workflow.index[step], until)\n",
                "                self._retry(workflow.index[step], until + self._clock() - event.at)\n",
            ),
        ),
    ),
    Mutant(
        "returned_before_the_strike",
        "never_after_its_timeout",
        "F2",
        "An action that returns while its timeout is being written completes its step.",
        (
            Edit(
                _SHELL,
                "            value = task.result()",
                "            if not task.cancelling():\n"
                "                self.state.timed_out.pop(step, None)\n"
                "            value = task.result()",
            ),
        ),
        "hatchet-dev/hatchet#1699",
    ),
    Mutant(
        "deadline_overtakes_the_end",
        "nothing_left_behind",
        "O4",
        "A deadline that passes while an execution's end is being written fails it.",
        (
            Edit(
                _CORE,
                "case Expire(), Status.RUNNING | Status.PAUSED:",
                "case Expire(), Status.RUNNING | Status.PAUSED | Status.COMPLETED:",
            ),
        ),
        "Netflix/conductor#210",
    ),
    Mutant(
        "one_retry_of_a_batch",
        "no_idling",
        "O3",
        "Of two failures that are decided together, only the first is tried again.",
        (
            Edit(
                _SHELL,
                "            for event in events:\n                self._perform(event)\n            if self._again:",
                "            first = next((event for event in events if type(event) is StepRetrying), None)\n"
                "            for event in events:\n"
                "                if type(event) is not StepRetrying or event is first:\n"
                "                    self._perform(event)\n"
                "            if self._again:",
            ),
        ),
        "Netflix/conductor#1851",
    ),
    Mutant(
        "rested_during_a_write",
        "no_slot_lost",
        "C2",
        "A retry whose wait is over while events of its execution are being written is never tried.",
        (
            Edit(
                _SHELL,
                "        elif self.state.status is not Status.PAUSED:\n",
                "        elif self.state.status is not Status.PAUSED"
                " and self.execution not in self._manager._writing:\n",
            ),
        ),
        "camunda/camunda#4352",
    ),
)
