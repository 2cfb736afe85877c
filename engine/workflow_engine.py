"""The engine as its callers see it.

Rule 1: all that is not deterministic comes in through the constructor: clock, ids, journal, actions.
Rule 2: a command is answered once what it did is durable (J2); a refused one has changed nothing (K1).
Rule 3: every task belongs to a driver, and every driver to this engine, until ``close``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from uuid import uuid4

from engine.definition import parse_workflow
from engine.driver import Action, Driver
from engine.errors import EngineClosedError, InputError, JournalError
from engine.messages import Begin, Cancel, ExecutionCreated, Json, Pause, Resume
from engine.slots import Slots
from engine.state import Report, State, report
from engine.state_manager import ExecutionStateManager, Subscription
from engine.values import fresh, json_faults
from engine.workflow import Workflow


class WorkflowEngine:
    """Runs workflows: at most ``max_concurrent_steps`` actions at once, over all its executions (C1).

    Args:
        state_manager: keeps the journal; one engine per journal.
        actions: by name; ``async def action(parameters, context) -> JSON value``.
        max_concurrent_steps: slots, a count from 1.
        clock: seconds, for the events' times; never goes back.
        new_id: makes an execution's id.

    Raises:
        ValueError: ``max_concurrent_steps`` is less than 1.
    """

    def __init__(
        self,
        state_manager: ExecutionStateManager,
        actions: Mapping[str, Action],
        *,
        max_concurrent_steps: int = 5,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        if max_concurrent_steps < 1:
            message = f"max_concurrent_steps is {max_concurrent_steps}, which is less than 1"
            raise ValueError(message)
        self._manager = state_manager
        self._actions = dict(actions)
        self._slots = Slots(max_concurrent_steps)
        self._clock = clock
        self._new_id = new_id
        self._drivers: dict[str, Driver] = {}
        self._starting: dict[str, asyncio.Event] = {}
        """Executions whose creation is being written; set once that is over."""
        self._recovering = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Use the engine in ``async with``: it closes at the end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""
        await self.close()

    def parse(self, definition: Json) -> Workflow:
        """The workflow that a definition describes, as ``start_workflow`` would read it.

        Raises:
            DefinitionError: it is refused, with all its faults (D3).
        """
        return parse_workflow(definition, self._actions)

    async def start_workflow(
        self,
        workflow: Workflow | dict[str, Json],
        input_data: dict[str, Json] | None = None,
        execution_id: str | None = None,
    ) -> str:
        """Start an execution and return its id, once it is durable (J2). It runs in the background.

        ``execution_id``: the id that it gets, where the caller has one; the journal begins none twice.

        Raises:
            DefinitionError: the definition is refused, with all its faults (D3).
            InputError: the input is no JSON object (D5).
            JournalError: it could not be journaled, or there is such an execution already; this has not happened.
            EngineClosedError: this engine was closed.
        """
        self._check_open()
        if not isinstance(workflow, Workflow):
            workflow = self.parse(workflow)
        values = _object("input", input_data)
        execution = self._new_id() if execution_id is None else execution_id
        if execution in self._starting:
            message = f"execution {execution} is being started"
            raise JournalError(message)
        created = ExecutionCreated(self._clock(), workflow.definition, values)
        start = self._starting[execution] = asyncio.Event()  # a recovery that comes upon it leaves it to us
        try:
            await self._manager.create(execution, workflow, created)
        finally:
            del self._starting[execution]
            start.set()
        if not self._closed:
            self._drive(execution, State(workflow, values)).post(Begin())
        return execution

    async def pause_execution(self, execution_id: str) -> bool:
        """Start no further attempt; running ones go on (P1). Returns whether it was accepted.

        Raises:
            UnknownExecutionError: there is no such execution (K1).
            JournalError: it could not be journaled, and has not happened.
        """
        return await self._command(execution_id, Pause())

    async def resume_execution(self, execution_id: str, new_inputs: dict[str, Json] | None = None) -> bool:
        """Go on after a pause, with new inputs merged into the old ones (P2). Returns whether it was accepted.

        Raises:
            InputError: the inputs are no JSON object (D5).
            UnknownExecutionError: there is no such execution (K1).
            JournalError: it could not be journaled, and has not happened.
        """
        return await self._command(execution_id, Resume(_object("new_inputs", new_inputs)))

    async def cancel_execution(self, execution_id: str) -> bool:
        """Stop an execution for good (K1-K4). Returns whether it was accepted; actions may still be ending.

        Raises:
            UnknownExecutionError: there is no such execution (K1).
            JournalError: it could not be journaled, and has not happened.
        """
        return await self._command(execution_id, Cancel())

    async def get_execution(self, execution_id: str) -> Report:
        """Where an execution stands, made of its durable events alone (J1); see `engine.state.report`.

        Raises:
            UnknownExecutionError: there is no such execution.
            JournalError: its events cannot be read.
        """
        return report(await self._manager.state(execution_id))

    async def get_workflow(self, execution_id: str) -> Workflow:
        """The workflow that an execution runs.

        Raises:
            UnknownExecutionError: there is no such execution.
            JournalError: its events cannot be read.
        """
        return (await self._manager.state(execution_id)).workflow

    async def wait(self, execution_id: str) -> Report:
        """Wait until an execution has ended, and return where it stands.

        Raises:
            UnknownExecutionError: there is no such execution.
            JournalError: it cannot go on, because its events cannot be journaled.
            EngineClosedError: this engine was closed before it ended.
        """
        if driver := await self._driver_of(execution_id):
            await driver.wait()
        return await self.get_execution(execution_id)

    def subscribe(self, execution_id: str, after: int = 0) -> Subscription:
        """The execution's events with a number greater than ``after``, each once, as they become durable (N1)."""
        return self._manager.subscribe(execution_id, after)

    async def recover(self) -> list[str]:
        """Take up every unfinished execution that this engine does not drive (J3). Returns their ids, oldest first.

        Attempts that were under way run again as slots allow, before anything that is new. Where this engine itself had
        to give an execution up, because it could not be journaled (J4), its actions are cancelled and awaited first.

        Raises:
            JournalError: the journal cannot be read, or what it has of an execution, which is named; none was taken up.
            EngineClosedError: this engine was closed.
        """
        async with self._recovering:
            self._check_open()
            adrift: dict[str, State] = {}
            for execution in await self._manager.journal.unfinished():
                if execution in self._starting or self._drives(execution):
                    continue
                state = await self._load(execution)
                if not state.terminal:  # it may have ended since it was listed
                    adrift[execution] = state
            self._check_open()  # what a closed engine does not drive any more is not broken
            broken = [self._drivers[execution] for execution in adrift if execution in self._drivers]
            await asyncio.gather(*[driver.quit() for driver in broken])
            self._check_open()
            for execution, state in adrift.items():  # all at one moment: what was running is in line before what is new
                self._drive(execution, state).take_up()
            self._slots.dispatch()
            return list(adrift)

    async def _load(self, execution: str) -> State:
        try:
            return await self._manager.load(execution)
        except JournalError as error:
            message = f"execution {execution} cannot be recovered, and so none was: {error.reason}"
            raise JournalError(message) from error

    async def close(self, grace: float = 0.0) -> None:
        """Stop; unfinished executions can be recovered from the journal.

        ``grace``: for so many seconds attempts under way may still end, and that is journaled; nothing else starts.
        After them, there is no further word to the journal.
        """
        self._closed = True
        self._slots.closed = True
        if grace > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    while busy := [driver for driver in self._drivers.values() if driver.busy]:
                        await asyncio.gather(*[driver.rest() for driver in busy], return_exceptions=True)
        for driver in self._drivers.values():
            driver.close()
        await asyncio.gather(*[driver.wait_closed() for driver in self._drivers.values()])
        self._drivers.clear()
        await self._manager.close()

    def _drive(self, execution: str, state: State) -> Driver:
        driver = Driver(execution, state, self._manager, self._actions, self._slots, self._clock)
        self._drivers[execution] = driver
        driver.task.add_done_callback(partial(self._driven, execution))
        return driver

    def _driven(self, execution: str, task: asyncio.Task[None]) -> None:
        """A driver is done. One that cannot go on is kept: it says why, and its actions still run."""
        if not task.cancelled() and task.exception() is None:
            self._drivers.pop(execution, None)  # unless it was closed meanwhile

    def _drives(self, execution: str) -> bool:
        driver = self._drivers.get(execution)
        return driver is not None and not driver.task.done()

    async def _command(self, execution: str, command: Pause | Resume | Cancel) -> bool:
        self._check_open()
        driver = await self._driver_of(execution)
        return driver is not None and await driver.ask(command)

    async def _driver_of(self, execution: str) -> Driver | None:
        """Who drives an execution, or cannot go on with it; None if it is over."""
        while not self._drives(execution):
            if (await self._manager.state(execution)).terminal:
                return None
            if start := self._starting.get(execution):  # its creation is durable, and nobody was told yet
                await start.wait()
                continue
            self._check_open()
            if execution not in self._drivers:  # a recovery may have come meanwhile
                message = f"execution {execution} is not driven by this engine: recover it first"
                raise JournalError(message)
            break
        return self._drivers[execution]

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError


def _object(name: str, value: Json) -> dict[str, Json]:
    """A private copy of a caller's JSON object."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(name, ("$: not a JSON object",))
    if faults := json_faults(value):
        raise InputError(name, faults)
    private: dict[str, Json] = fresh(value)
    return private
