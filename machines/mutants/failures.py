"""F1-F3, F6-F8: engines that count, time, tolerate or follow up failures wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ADAPTER, Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"

MUTANTS: Final = (
    Mutant(
        "compensation_counts_as_its_step",
        "attempt_under_way",
        "F1",
        "The end of a compensation is recorded under the number of its step's last attempt.",
        (
            Edit(
                _CORE,
                "decision.emit(CompensationCompleted(decision.at, step.id, attempt))",
                "decision.emit(CompensationCompleted(decision.at, step.id, state.attempts[index]))",
            ),
        ),
        "argoproj/argo-workflows#2798",
    ),
    Mutant(
        "called_again_in_secret",
        "one_call_per_attempt",
        "F1",
        "An action that raises a TimeoutError is called once more within the same attempt.",
        (
            Edit(
                ADAPTER,
                "            return await ports.act(call)",
                "            try:\n"
                "                return await ports.act(call)\n"
                "            except Exception as error:\n"
                "                if type(error).__name__ != 'TimeoutError':\n"
                "                    raise\n"
                "                return await ports.act(call)",
            ),
        ),
        "rush86999/atom",
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
        "late_completion",
        "never_after_its_timeout",
        "F2",
        "An action that returns after its attempt has timed out completes its step all the same.",
        (
            Edit(
                _CORE,
                "    if index in state.timed_out:\n"
                "        _failed(decision, step, _timeout_failure(decision, step, attempt))\n"
                "    elif state.statuses[index] is StepStatus.COMPENSATING:",
                "    if index in state.timed_out and state.statuses[index] is StepStatus.COMPENSATING:\n"
                "        _failed(decision, step, _timeout_failure(decision, step, attempt))\n"
                "    elif state.statuses[index] is StepStatus.COMPENSATING:",
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
        "resume_ends_the_wait",
        "backoff_waited_for",
        "F1",
        "A resume makes a step that waits for its next attempt ready at once.",
        (
            Edit(_CORE, "for index, until in state.retrying.items() if until <= at]", "for index in state.retrying]"),
            Edit(_CORE, "if state.retrying.get(index, at) > at:", "if False:"),
        ),
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
        "timeout_survives_the_cancel",
        "no_timeout_once_cancelled",
        "F6",
        "The timeout of an attempt still counts while its execution is stopped.",
        (
            Edit(
                _CORE,
                "    elif state.stopping:\n        decision.accepted = False\n    else:\n",
                "    else:\n",
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
        "timeout_lost_under_pause",
        "timeouts_strike",
        "F2",
        "A timeout that comes under a pause is dropped.",
        (
            Edit(
                _CORE,
                "    elif state.stopping:\n        decision.accepted = False",
                "    elif state.status is not Status.RUNNING:\n        decision.accepted = False",
            ),
        ),
        "cadence-workflow/cadence#744",
    ),
    Mutant(
        "pause_cancels",
        "interrupted_for_a_reason",
        "K3",
        "A pause cancels the running attempts.",
        (
            Edit(
                _SHELL,
                "            slots.forget(lane)\n        for step in decision.ready:",
                "            slots.forget(lane)\n"
                "            for task in self._tasks.values() if state.status is Status.PAUSED else ():\n"
                "                task.cancel()\n"
                "        for step in decision.ready:",
            ),
        ),
        "PrefectHQ/prefect#9824",
    ),
    Mutant(
        "skips_before_the_rollback",
        "failure_rolls_back",
        "F3",
        "The steps behind a failure are skipped before the rollback starts.",
        (
            Edit(
                _CORE,
                "    if not step.continue_on_error:\n",
                "    if not step.continue_on_error:\n"
                "        for target in _opened(decision.state, step.index):\n"
                "            decision.emit(StepSkipped(decision.at, decision.state.workflow.steps[target].id))\n",
            ),
        ),
        "apache/airflow#27824",
    ),
    Mutant(
        "failure_lost_under_pause",
        "failure_is_not_lost",
        "F3",
        "A step that fails for good under a pause does not fail its execution.",
        (
            Edit(
                _CORE,
                "    if not step.continue_on_error:\n",
                "    if not step.continue_on_error and decision.state.status is not Status.PAUSED:\n",
            ),
        ),
        "PrefectHQ/prefect#9824",
    ),
    Mutant(
        "second_failure_counts",
        "nothing_starts_in_rollback",
        "F3",
        "An attempt that ends while its execution rolls back fails, and is tried again if attempts are left.",
        (
            Edit(
                _CORE,
                "elif state.stopping:\n        decision.emit(StepCancelled",
                "elif state.status is Status.CANCELLING:\n        decision.emit(StepCancelled",
            ),
        ),
        "Netflix/conductor#1851",
    ),
    Mutant(
        "others_survive_the_failure",
        "failure_cancels_the_others",
        "F3",
        "When an execution fails, its other running attempts are not cancelled.",
        (Edit(_SHELL, "case CancellationRequested() | RollbackStarted():", "case CancellationRequested():"),),
        "celery/celery#6220",
    ),
    Mutant(
        "early_failure_is_not_tolerated",
        "rollback_for_a_reason",
        "F3",
        "A step that fails before its first attempt fails its execution, whether that is tolerated or not.",
        (Edit(_CORE, "    if not step.continue_on_error:\n", "    if not step.continue_on_error or not attempt:\n"),),
        "swamp-club/swamp#1813",
    ),
    Mutant(
        "tolerated_failure_is_the_error",
        "error_is_the_first_failure",
        "F8",
        "An execution that fails is said to have failed for the first failure of all, a tolerated one included.",
        (
            Edit(
                _CORE,
                "decision.emit(RollbackStarted(decision.at, failure))",
                "decision.emit(RollbackStarted(decision.at, next(iter(decision.state.errors.values()))))",
            ),
        ),
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
        "deadline_waits_for_the_resume",
        "deadline_strikes",
        "F7",
        "A deadline that passes under a pause is dropped.",
        (Edit(_CORE, "case Expire(), Status.RUNNING | Status.PAUSED:", "case Expire(), Status.RUNNING:"),),
        "cadence-workflow/cadence#744",
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
)
