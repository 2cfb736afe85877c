"""J3-J5: engines that forget, repeat or mistake something when they crash, recover or cannot write."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ON_A_FILE, Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"
_MANAGER: Final = "engine.state_manager"
_FILE: Final = "engine.sqlite_journal"
_LOCK: Final = "engine.ownership"

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
                "                for event in again:\n                    self._perform(event)\n",
                "                for event in again:\n"
                "                    status, self.state.status = self.state.status, Status.RUNNING\n"
                "                    self._perform(event)\n"
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
                "                kind = CompensationStarted if undoing else StepStarted\n",
                "                if undoing:\n"
                "                    self.post(AttemptReturned(index, None))\n"
                "                    continue\n"
                "                kind = StepStarted\n",
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
                "                for event in again:\n                    self._perform(event)\n",
                "                for event in again:\n"
                "                    self._perform(event)\n"
                "                    if timeout := self._timeouts.pop(self.state.workflow.index[event.step], None):\n"
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
    # A store that fails
    Mutant(
        "busy_is_done",
        "durable_before_the_answer",
        "J2",
        "An append that finds the file busy is answered as if it had been written.",
        (
            Edit(
                _FILE,
                "            if refusal is None:\n",
                "            if refusal is None or 'locked' in refusal.reason:\n",
            ),
        ),
        "camunda/camunda#4352",
        ON_A_FILE,
        _MACHINES,
    ),
    Mutant(
        "torn_batch",
        "failure_rolls_back",
        "F3",
        "The events of one batch are written in a transaction each: a crash leaves a part of them.",
        (
            Edit(
                _FILE,
                "        try:\n            self._transact(batch)\n",
                "        try:\n"
                "            for append in batch:\n"
                "                for first, text in enumerate(append.texts, append.first):\n"
                "                    ends = append.ends and text is append.texts[-1]\n"
                "                    part = _Append(append.execution, first, [text], ends, append.durable)\n"
                "                    self._transact((part,))\n",
            ),
        ),
        "dbos-inc/dbos-transact-py#769",
        ON_A_FILE,
        _MACHINES,
    ),
    Mutant(
        "lock_is_shared",
        "one_owner",
        "J5",
        "The lock that keeps a second engine out is one that several may have.",
        (Edit(_LOCK, "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),),
        "apache/airflow#19277",
        ON_A_FILE,
        _MACHINES,
    ),
    Mutant(
        "told_though_it_failed",
        "durable_before_it_is_notified",
        "J2",
        "Subscribers are told of events that could not be written.",
        (
            Edit(
                _MANAGER,
                "        await self.journal.append(execution, first, events)\n        durable.add(events)\n",
                "        try:\n"
                "            await self.journal.append(execution, first, events)\n"
                "        except JournalError:\n"
                "            self._publish(execution, first, events)\n"
                "            raise\n"
                "        durable.add(events)\n",
            ),
        ),
        "ansible/awx#2613",
        machines=_MACHINES,
    ),
    Mutant(
        "memory_runs_ahead",
        "reported_phase",
        "J1",
        "What could not be written is kept in memory all the same, until a recovery reads the journal.",
        (
            Edit(
                _MANAGER,
                "        await self.journal.append(execution, first, events)\n        durable.add(events)\n",
                "        try:\n"
                "            await self.journal.append(execution, first, events)\n"
                "        finally:\n"
                "            durable.add(events)\n",
            ),
        ),
        "rush86999/atom",
        machines=_MACHINES,
    ),
    Mutant(
        "recovered_from_memory",
        "durable_before_it_begins",
        "J2",
        "A living engine recovers an execution from its own memory, where what could not be written has happened.",
        (
            Edit(
                _ENGINE,
                "                state = await self._load(execution)\n",
                "                driver = self._drivers.get(execution)\n"
                "                state = driver.state if driver else await self._load(execution)\n",
            ),
        ),
        "apache/airflow#19277",
        machines=_MACHINES,
    ),
    Mutant(
        "failed_writes_are_sent_again",
        "pause_accepted",
        "P1",
        "What could not be written is kept, and written with what comes next, though its caller was told otherwise.",
        (
            Edit(
                _MANAGER,
                "        self._writing: dict[str, int] = {}\n",
                "        self._writing: dict[str, int] = {}\n        self._unsent: dict[str, list[Event]] = {}\n",
            ),
            Edit(
                _MANAGER,
                "        await self.journal.append(execution, first, events)\n        durable.add(events)\n",
                "        events = self._unsent[execution] = [*self._unsent.get(execution, ()), *events]\n"
                "        await self.journal.append(execution, first, events)\n"
                "        del self._unsent[execution]\n"
                "        durable.add(events)\n",
            ),
        ),
        "langchain-ai/langgraph#8837",
        machines=_MACHINES,
    ),
    Mutant(
        "on_after_a_failed_write",
        "recovered_are_named",
        "J3",
        "An execution whose events could not be written goes on without them.",
        (
            Edit(
                _SHELL,
                "            _refuse((reply for reply, _ in replies), refusal)\n            raise refusal from error\n",
                "            _refuse((reply for reply, _ in replies), refusal)\n",
            ),
        ),
        "apache/airflow#19277",
        machines=_MACHINES,
    ),
    Mutant(
        "given_up_with_its_actions",
        "one_call_per_attempt",
        "F1",
        "A recovery does not wait for the actions of an execution that could not be written.",
        (Edit(_ENGINE, "            await asyncio.gather(*[driver.quit() for driver in broken])\n", ""),),
        "spotify/luigi#2200",
        machines=_MACHINES,
    ),
    Mutant(
        "given_up_with_its_slots",
        "no_slot_lost",
        "C2",
        "An execution that cannot be written keeps the slots of what it was about to start.",
        (
            Edit(
                _SHELL,
                "        for _ in range(self._lane.held - len(self._tasks)):\n"
                "            self._slots.release(self._lane)\n",
                "",
            ),
        ),
        "argoproj/argo-workflows#4870",
        machines=_MACHINES,
    ),
    Mutant(
        "given_up_in_the_queue",
        "no_slot_lost",
        "C2",
        "Steps of an execution that cannot be written keep their places in the queue, and get slots for nothing.",
        (Edit(_SHELL, "        self._slots.forget(self._lane)\n        for _ in range(", "        for _ in range("),),
        "dagster-io/dagster#28456",
        machines=_MACHINES,
    ),
    Mutant(
        "one_fails_for_all",
        "error_of_the_store",
        "J4",
        "While one execution waits to be recovered, commands on all others are refused as well.",
        (
            Edit(
                _ENGINE,
                "        driver = await self._driver_of(execution)\n        return",
                "        driver = await self._driver_of(execution)\n"
                "        for other in self._drivers.values():\n"
                "            if other.task.done():\n"
                "                await other.wait()\n"
                "        return",
            ),
        ),
        "Netflix/conductor#1851",
        machines=_MACHINES,
    ),
    Mutant(
        "once_refused_for_ever",
        "error_of_the_store",
        "J4",
        "Commands on an execution that could not be written are still refused when it was recovered.",
        (
            Edit(
                _ENGINE,
                "        self._drivers[execution] = driver\n",
                "        self._drivers.setdefault(execution, driver)\n",
            ),
        ),
        "dbos-inc/dbos-transact-py#805",
        machines=_MACHINES,
    ),
    # Two engines on one journal
    Mutant(
        "former_owner_writes",
        "nothing_written_once_taken_over",
        "J5",
        "Whoever owns the file when it is opened writes to it for good: that another took it over is not looked at.",
        (
            Edit(
                _FILE,
                "self._place.fault() or successor(connection, self._generation)",
                "self._place.fault()",
            ),
        ),
        adapter=ON_A_FILE,
        machines=_MACHINES,
    ),
    Mutant(
        "former_owner_takes_up",
        "taken_over_for_good",
        "J5",
        "A former owner that was refused a write takes everything up again: what it reads it may, so it believes.",
        (
            Edit(
                _FILE,
                "        if self._reader is None:\n            self._check_owned(self._used())\n",
                "",
            ),
        ),
        adapter=ON_A_FILE,
        machines=_MACHINES,
    ),
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
