"""J4 and J5: engines that mistake what became of a write, or whose the journal's file is.

Rule 1: these bugs are of the class `machines.mutants.recovery`, which has them among its own.
"""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import ON_A_FILE, Edit, Mutant

_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"
_MANAGER: Final = "engine.state_manager"
_FILE: Final = "engine.sqlite_journal"
_LOCK: Final = "engine.ownership"

_MACHINES: Final = ("recovery",)

MUTANTS: Final = (
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
)
