"""J7: engines that are closed, and do not keep to it."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_SHELL: Final = "engine.driver"
_ENGINE: Final = "engine.workflow_engine"
_MANAGER: Final = "engine.state_manager"
_SLOTS: Final = "engine.slots"

_MACHINES: Final = ("recovery",)

MUTANTS: Final = (
    Mutant(
        "starts_on_while_it_closes",
        "nothing_starts_once_it_closes",
        "J7",
        "Within the grace of an engine that is being closed, steps that become ready start.",
        (Edit(_ENGINE, "        self._slots.closed = True\n", ""),),
        "postalserver/postal#455",
        machines=_MACHINES,
    ),
    Mutant(
        "called_once_more_in_the_grace",
        "nothing_begins_once_it_closes",
        "J7",
        "An action that raises while its engine is being closed is called once more.",
        (
            Edit(
                _SHELL,
                "        elif error := task.exception():\n",
                "        elif self._slots.closed and task.exception():\n"
                "            self._start(self.state.workflow.steps[step], self.state.running[step])\n"
                "        elif error := task.exception():\n",
            ),
        ),
        "taskcluster/docker-worker#506",
        machines=_MACHINES,
    ),
    Mutant(
        "closed_and_writing",
        "no_further_word",
        "J7",
        "An engine says that it is closed, and goes on recording the ends of the actions that it has cancelled.",
        (
            Edit(
                _SHELL,
                "        self._closed = True\n        self._stop()\n        self._rouse()\n",
                "        self._stop()\n",
            ),
            Edit(_SHELL, "asyncio.gather(self.task, *self._tasks.values(), ", "asyncio.gather(*self._tasks.values(), "),
        ),
        "aegra/aegra#474",
        machines=_MACHINES,
    ),
    Mutant(
        "ends_unheard_in_the_grace",
        "ends_are_journaled",
        "J7",
        "What ends within the grace of an engine that is being closed is not recorded while another action runs.",
        (
            Edit(
                _SHELL,
                '        """Report an attempt\'s end, then give its slot back."""\n        self.post(command)\n',
                '        """Report an attempt\'s end, then give its slot back."""\n'
                "        if not (self._slots.closed and self._lane.held > 1):\n            self.post(command)\n",
            ),
        ),
        "kestra-io/kestra#17124",
        machines=_MACHINES,
    ),
    Mutant(
        "waits_out_the_grace",
        "closes_at_last",
        "J7",
        "An engine that is being closed waits as long as it may, though nothing runs any more.",
        (
            Edit(
                _ENGINE,
                "                    while busy := ",
                "                    await asyncio.sleep(grace)\n                    while busy := ",
            ),
        ),
        "chrisguidry/docket#262",
        machines=_MACHINES,
    ),
    Mutant(
        "closed_one_by_one",
        "cancelled_when_grace_is_over",
        "J7",
        "An engine that is closed ends its executions one after the other, each when the one before it has ended.",
        (
            Edit(
                _ENGINE,
                "        for driver in self._drivers.values():\n            driver.close()\n"
                "        await asyncio.gather(*[driver.wait_closed() for driver in self._drivers.values()])\n",
                "        for driver in list(self._drivers.values()):\n            driver.close()\n"
                "            await driver.wait_closed()\n",
            ),
        ),
        "NuGet/NuGet.Services.Metadata#752",
        machines=_MACHINES,
    ),
    Mutant(
        "forgets_what_waits_to_be_written",
        "closed_when_all_has_ended",
        "J7",
        "An end that waits for another write is forgotten by an engine that is closed, grace or no grace.",
        (
            Edit(
                _SHELL,
                "not self.task.done() and (self._lane.held > 0 or bool(self._mailbox))",
                "not self.task.done() and self._lane.held > 0",
            ),
        ),
        "temporalio/sdk-go#1197",
        machines=_MACHINES,
    ),
    Mutant(
        "listeners_are_left_behind",
        "nothing_outlives_its_engine",
        "J7",
        "An engine that is closed leaves its subscribers waiting.",
        (
            Edit(
                _MANAGER,
                "            for subscription in list(subscriptions):\n                subscription.close()\n",
                "            pass\n",
            ),
        ),
        machines=_MACHINES,
    ),
)
