"""J3-J5: engines that forget, repeat or mistake something when they crash, recover or cannot write.

Rule 1: what goes wrong with a write, or with the file and its owner, stands in `machines.mutants.stores`.
"""

from __future__ import annotations

from typing import Final

from machines.mutants import stores
from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"
_MANAGER: Final = "engine.state_manager"

_MACHINES: Final = ("recovery",)

_TAKEN_UP: Final = "        self.post(TakeUp())\n"
"""Where an execution's state has been read, and nothing has come of it yet."""
_FOLDED: Final = "        state = self._folded(execution, events)\n"
"""The same, one floor below."""

MUTANTS: Final = (
    # What a recovery takes up
    Mutant(
        "paused_are_left_alone",
        "recovered_are_named",
        "J3",
        "A recovery leaves out executions that are paused: a resume would come for them.",
        (Edit(_ENGINE, "if not state.terminal:", "if not state.terminal and state.status != 'PAUSED':"),),
        "PrefectHQ/prefect#498",
        machines=_MACHINES,
    ),
    Mutant(
        "never_started_never_recovered",
        "recovered_are_named",
        "J3",
        "A recovery leaves out executions that were created and had not started when the engine crashed.",
        (Edit(_ENGINE, "if not state.terminal:", "if not state.terminal and state.started_at is not None:"),),
        "dbos-inc/dbos-transact-py#805",
        machines=_MACHINES,
    ),
    Mutant(
        "paused_is_not_driven",
        "only_unfinished_are_recovered",
        "J3",
        "A recovery by a living engine takes up paused executions, though it drives them.",
        (
            Edit(
                _ENGINE,
                "if execution in self._starting or self._drives(execution):",
                "if execution in self._starting or (\n"
                "                    self._drives(execution) and self._drivers[execution].state.status != 'PAUSED'\n"
                "                ):",
            ),
        ),
        "apache/airflow#19277",
        machines=_MACHINES,
    ),
    Mutant(
        "two_recoveries_at_once",
        "one_call_per_attempt",
        "F1",
        "A recovery that comes while another one waits for an action to end takes up the same executions.",
        (Edit(_ENGINE, "async with self._recovering:", "async with asyncio.Lock():"),),
        "apache/airflow#19277",
        machines=_MACHINES,
    ),
    Mutant(
        "recovered_rollback_stands_still",
        "rollback_goes_on",
        "F4",
        "A recovery takes up a rollback, and goes on with it only if a compensation was under way.",
        (
            Edit(
                _CORE,
                "case TakeUp(), Status.CANCELLING | Status.ROLLING_BACK:",
                "case TakeUp(), Status.CANCELLING:",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
        machines=_MACHINES,
    ),
    # What an execution was
    Mutant(
        "falsy_is_not_completed",
        "started_again",
        "F1",
        "After a crash a completed step whose output is falsy is run again.",
        (
            Edit(
                _MANAGER,
                _FOLDED,
                _FOLDED
                + "        for index, step in enumerate(state.workflow.steps):\n"
                + "            if state.active and step.id in state.outputs and not state.outputs[step.id]:\n"
                + "                state.open[index] = None\n"
                + "                state.unsettled += 1\n",
            ),
        ),
        "dbos-inc/dbos-transact-py#759",
        machines=_MACHINES,
    ),
    Mutant(
        "retries_counted_anew",
        "started_again",
        "F1",
        "A step that waits for its next attempt when the engine crashes begins to count again.",
        (
            Edit(
                _SHELL,
                _TAKEN_UP,
                _TAKEN_UP + "        for index in state.retrying:\n            state.attempts[index] = 0\n",
            ),
        ),
        "PrefectHQ/prefect#1177",
        machines=_MACHINES,
    ),
    Mutant(
        "rollback_starts_over",
        "newest_first",
        "F4",
        "What a recovered rollback has to undo is made of the completions: what is compensated is so once more.",
        (
            Edit(
                _MANAGER,
                _FOLDED,
                _FOLDED
                + "        if state.stopping:\n"
                + "            done = [event for event in events if type(event).__name__ == 'StepCompleted']\n"
                + "            steps = [state.workflow.steps[state.workflow.index[event.step]] for event in done]\n"
                + "            state.outputs |= {event.step: event.output for event in done}\n"
                + "            state.undoable = [step.index for step in steps if step.compensation]\n",
            ),
        ),
        "discovery-ukraine/saga-lara-flow#64",
        machines=_MACHINES,
    ),
    Mutant(
        "pause_forgotten_by_a_crash",
        "nothing_starts_under_a_pause",
        "P1",
        "A recovery goes on with an execution that was paused by command, as if it were running.",
        (
            Edit(
                _SHELL,
                _TAKEN_UP,
                "        if state.status is Status.PAUSED and not state.missing:\n"
                "            state.status = Status.RUNNING\n" + _TAKEN_UP,
            ),
        ),
        "PrefectHQ/prefect#498",
        machines=_MACHINES,
    ),
    Mutant(
        "cancel_forgotten_by_a_crash",
        "stopped_as_it_began",
        "F4",
        "A recovered rollback does not know that a cancel began it: the execution ends as FAILED.",
        (
            Edit(
                _MANAGER,
                _FOLDED,
                _FOLDED + "        state.cancelled = state.status == 'CANCELLING'\n",
            ),
        ),
        "dagster-io/dagster#33923",
        machines=_MACHINES,
    ),
    Mutant(
        "cancelled_is_crashed",
        "nothing_begins_again_once_stopped",
        "K2",
        "What was being cancelled when the engine crashed is run again like what was interrupted by the crash.",
        (
            Edit(
                _SHELL,
                "if index in state.timed_out or (state.stopping and not undoing):",
                "if index in state.timed_out:",
            ),
            Edit(
                _SHELL,
                "                for begin in again:\n                    begin()\n",
                "                for begin in again:\n"
                "                    status, self.state.status = self.state.status, Status.RUNNING\n"
                "                    begin()\n"
                "                    self.state.status = status\n",
            ),
        ),
        "dagster-io/dagster#33923",
        machines=_MACHINES,
    ),
    Mutant(
        "missing_inputs_are_not_kept",
        "reported_missing",
        "P4",
        "What a paused execution misses is not reported any more once it was recovered.",
        (
            Edit(
                _MANAGER,
                "        durable.add(events[1:])\n",
                "        durable.add(events[1:])\n        durable.state().missing = {}\n",
            ),
        ),
        "PrefectHQ/prefect#18326",
        machines=_MACHINES,
    ),
    Mutant(
        "run_again_with_todays_input",
        "parameters_as_resolved",
        "V2",
        "An attempt that runs again after a crash gets parameters made of the input as resumes have left it.",
        (
            Edit(
                _SHELL,
                _TAKEN_UP,
                _TAKEN_UP + "        state.pinned.update(dict.fromkeys(state.running, len(state.inputs) - 1))\n",
            ),
        ),
        "argoproj/argo-workflows#759",
        machines=_MACHINES,
    ),
    # What was under way
    Mutant(
        "key_of_another_life",
        "key_names_the_attempt",
        "J3",
        "An attempt that runs again after a crash has another idempotency key.",
        (
            Edit(
                _SHELL,
                "context = ActionContext(self.execution, step.id, attempt, key)",
                "again = vars(self).get('before', {}).get(step.index) == attempt\n"
                "        context = ActionContext(self.execution, step.id, attempt, f'{key}/again' if again else key)",
            ),
            Edit(_SHELL, _TAKEN_UP, _TAKEN_UP + "        self.before = {**state.running}\n"),
        ),
        "dbos-inc/dbos-transact-py#759",
        machines=_MACHINES,
    ),
    Mutant(
        "interrupted_wait_for_the_resume",
        "attempts_accounted_for",
        "O4",
        "Attempts under way when the engine crashes are not run again while their execution is paused.",
        (
            Edit(
                _SHELL,
                "                self._slots.enqueue(self._lane, index, first=True)\n",
                "                if state.status is not Status.PAUSED:\n"
                "                    self._slots.enqueue(self._lane, index, first=True)\n",
            ),
        ),
        "spotify/luigi#2200",
        machines=_MACHINES,
    ),
    Mutant(
        "interrupted_survive_the_stop",
        "attempts_accounted_for",
        "O4",
        "An attempt that waits to be run again when its execution is stopped is never heard of any more.",
        (Edit(_SHELL, "                self._yield_interrupted()\n", "                self._interrupted.clear()\n"),),
        "temporalio/sdk-python#1813",
        machines=_MACHINES,
    ),
    Mutant(
        "timed_out_runs_again",
        "timeouts_strike",
        "F2",
        "An attempt that had timed out when the engine crashed is run again, as if it had not, and may complete.",
        (
            Edit(
                _SHELL,
                "if index in state.timed_out or (state.stopping and not undoing):",
                "state.timed_out.pop(index, None)\n            if state.stopping and not undoing:",
            ),
        ),
        "Netflix/conductor#210",
        machines=_MACHINES,
    ),
    Mutant(
        "interrupted_is_done",
        "completed_by_returning",
        "F1",
        "A compensation that was under way when the engine crashed counts as having returned.",
        (
            Edit(
                _SHELL,
                "                begin = self._undo if undoing else self._start\n",
                "                if undoing:\n"
                "                    self.post(AttemptReturned(index, None))\n"
                "                    continue\n"
                "                begin = self._start\n",
            ),
        ),
        "dbos-inc/dbos-transact-py#260",
        machines=_MACHINES,
    ),
    Mutant(
        "run_again_without_a_slot",
        "limits_kept_in_truth",
        "C1",
        "An attempt that runs again does not wait until a slot is free, which others of a living engine may hold.",
        (
            Edit(
                _SHELL,
                "                self._slots.enqueue(self._lane, index, first=True)\n",
                "                self._slots.free -= 1\n"
                "                self._lane.held += 1\n"
                "                self._granted(index)\n",
            ),
        ),
        "dbos-inc/dbos-transact-ts#1272",
        machines=_MACHINES,
    ),
    Mutant(
        "timeouts_end_with_a_crash",
        "timeouts_strike",
        "F2",
        "An attempt that runs again after a crash has no timeout.",
        (
            Edit(
                _SHELL,
                "                for begin in again:\n                    begin()\n",
                "                for begin in again:\n"
                "                    begin()\n"
                "                    if timeout := self._timeouts.pop(begin.args[0].index, None):\n"
                "                        timeout.cancel()\n",
            ),
        ),
        "botify-labs/simpleflow#15",
        machines=_MACHINES,
    ),
    # What was waited for
    Mutant(
        "deadline_starts_anew",
        "deadline_strikes",
        "F7",
        "An execution's deadline is counted from its last recovery.",
        (
            Edit(
                _SHELL,
                "        if state.active:\n            self._set_deadline()\n",
                "        if state.active:\n"
                "            state.started_at = self._clock()\n"
                "            self._set_deadline()\n",
            ),
        ),
        machines=_MACHINES,
    ),
    Mutant(
        "backoff_starts_anew",
        "no_idling",
        "O3",
        "A retry's wait begins again when its execution is recovered.",
        (
            Edit(
                _SHELL,
                _TAKEN_UP,
                _TAKEN_UP
                + "        for index, until in state.retrying.items():\n"
                + "            if until > self._clock() and not state.stopping:\n"
                + "                delay = state.workflow.steps[index].retries.delay(state.attempts[index])\n"
                + "                state.retrying[index] = self._clock() + delay\n",
            ),
        ),
        machines=_MACHINES,
    ),
    Mutant(
        "crash_ends_the_wait",
        "backoff_waited_for",
        "F1",
        "A step that waits for its next attempt is tried at once when its execution is recovered.",
        (
            Edit(
                _SHELL,
                _TAKEN_UP,
                "        if not state.stopping:\n"
                "            state.retrying.update(dict.fromkeys(state.retrying, self._clock()))\n" + _TAKEN_UP,
            ),
        ),
        machines=_MACHINES,
    ),
    Mutant(
        "crash_drops_the_wait",
        "no_slot_lost",
        "C2",
        "A retry that still waits when its execution is recovered is never tried again.",
        (
            Edit(
                _SHELL,
                "            if until > now or not state.active:",
                "            if not state.active:",
            ),
        ),
        "cadence-workflow/cadence#744",
        machines=_MACHINES,
    ),
    # A store that fails, two engines on one journal
    *stores.MUTANTS,
    # Who listens
    Mutant(
        "recovery_ends_subscriptions",
        "everything_notified",
        "N1",
        "Who listens to an execution when it is recovered hears nothing more of it.",
        (Edit(_MANAGER, _FOLDED, _FOLDED + "        self._subscriptions.pop(execution, None)\n"),),
        "n8n-io/n8n#34661",
        machines=_MACHINES,
    ),
    Mutant(
        "told_all_again_after_a_crash",
        "notified_in_sequence",
        "N1",
        "Who comes back for an execution that ended before the crash is told all of it again.",
        (
            Edit(
                _MANAGER,
                "subscription = Subscription(self, execution, max(after, 0))",
                "subscription = Subscription(self, execution, max(after, 0) if execution in self._durable else 0)",
            ),
        ),
        "n8n-io/n8n#34661",
        machines=_MACHINES,
    ),
)
