"""The built-in engine as a target.

Rule 1: it is driven through its public surface alone; only the journal is wrapped, to see what becomes durable when.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol

from engine.errors import JournalError, UnknownExecutionError
from engine.graph import graph_to_steps
from engine.journal import Journal, MemoryJournal
from engine.messages import Event, ExecutionCreated, from_json, to_json
from engine.state import fold, report
from engine.state_manager import ExecutionStateManager, Subscription
from engine.workflow_engine import WorkflowEngine
from machines.nemesis import Statement
from machines.target import CAPABILITIES, Call, Json, Ports, UnknownExecution, immediate

if TYPE_CHECKING:
    from engine.driver import ActionContext


WRITING: Final[tuple[Statement, ...]] = ("begin", "insert", "commit")
"""The statements of a transaction that writes."""


class Observed(Journal, Protocol):
    """A journal whose events are seen the moment they are durable."""

    def spell(self, event: Event) -> Mapping[str, Json]:
        """The event as JSON."""
        ...

    def crash(self) -> None:
        """The process ends that has it open."""


class ObservedJournal:
    """A journal in memory whose writes take what the tape says, and are seen the moment they are durable.

    It outlives its engine: ``before`` is the journal of the engine that crashed.
    """

    def __init__(self, ports: Ports, before: ObservedJournal | None = None) -> None:
        self._ports = ports
        self._writes = 0
        """How many are on their way."""
        self._written: asyncio.Future[None] | None = None
        """Done when none is."""
        self.kept: MemoryJournal = MemoryJournal() if before is None else before.kept
        self.spelled: dict[int, Mapping[str, Json]] = {} if before is None else before.spelled

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Write at the end of a latency."""
        self._writes += 1
        await self._ports.loop.run_in_executor(None, self._carry_out, execution, first, events)

    def _carry_out(self, execution: str, first: int, events: Sequence[Event]) -> None:
        try:
            self._write(execution, first, events)
        finally:
            self._writes -= 1
            if self._written is not None and not self._writes:
                self._written.set_result(None)

    def _write(self, execution: str, first: int, events: Sequence[Event]) -> None:
        nemesis = self._ports.nemesis
        for statement in WRITING:
            self._may_fail(execution, statement)
        nemesis.boundary("before")
        self.kept.write(execution, first, events)
        for seq, event in enumerate(events, first):
            spelled = self.spelled[id(event)] = to_json(event)
            self._ports.record(execution, seq, spelled)
        nemesis.boundary("after")

    def _may_fail(self, execution: str | None, statement: Statement) -> None:
        if fault := self._ports.nemesis.fault(statement):
            message = f"the store failed: {fault}"
            self._ports.nemesis.store_failed(execution, fault)
            raise JournalError(message)

    def crash(self) -> None:
        """All that is durable has been seen, and whatever is on its way ends with its loop."""

    def spell(self, event: Event) -> Mapping[str, Json]:
        """The event as JSON, made once for those that are kept here (and so alive: their ids are theirs)."""
        return self.spelled.get(id(event)) or to_json(event)

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Read at once: what is durable can be seen."""
        self._may_fail(None, "read")
        return await self.kept.read(execution, after, limit)

    async def unfinished(self) -> list[str]:
        """The executions that have not ended."""
        self._may_fail(None, "read")
        return await self.kept.unfinished()

    async def close(self) -> None:
        """Wait for what is on its way."""
        if self._writes:
            self._written = self._ports.loop.create_future()
            await self._written


class BuiltinTarget:
    """`engine.WorkflowEngine` with a journal in memory."""

    name = "builtin"
    capabilities = frozenset(CAPABILITIES) - {"ownership"}
    engine_class: type[WorkflowEngine] = WorkflowEngine
    manager_class: type[ExecutionStateManager] = ExecutionStateManager

    def __init__(self) -> None:
        self._journal: Observed | None = None
        self._numbers = count(1)

    def journal(self, ports: Ports, before: Observed | None) -> Observed:
        """Make the journal, or open it again after a crash."""
        assert before is None or isinstance(before, ObservedJournal)
        return ObservedJournal(ports, before)

    def open(self, ports: Ports) -> None:
        """Make the engine."""
        self._ports = ports
        self._journal = self.journal(ports, self._journal)
        self._manager = self.manager_class(self._journal)
        self._engine = self._make_engine(self._manager)

    def _make_engine(self, manager: ExecutionStateManager) -> WorkflowEngine:
        ports = self._ports

        def act(parameters: Json, context: ActionContext) -> Awaitable[Json]:
            of, key = (context.execution, context.step, context.attempt, context.kind), context.idempotency_key
            undoing = context.kind == "compensation"
            undoes = {"parameters": context.step_parameters, "output": context.step_output} if undoing else None
            call = Call(*of, parameters, key, undoes)
            return ports.act(call)

        return self.engine_class(
            manager,
            {"work": act, "undo": act, "wait": act},
            max_concurrent_steps=ports.max_concurrent_steps,
            clock=ports.loop.time,
            new_id=lambda: f"x{next(self._numbers)}",
        )

    async def start(self, workflow: Json, input_data: Json) -> str:
        """Start an execution."""
        return await self._engine.start_workflow(workflow, input_data)

    async def pause(self, execution: str) -> bool:
        """Pause."""
        try:
            return await self._engine.pause_execution(execution)
        except UnknownExecutionError as error:
            raise UnknownExecution(execution) from error

    async def resume(self, execution: str, inputs: Json) -> bool:
        """Resume with new inputs."""
        try:
            return await self._engine.resume_execution(execution, inputs)
        except UnknownExecutionError as error:
            raise UnknownExecution(execution) from error

    async def cancel(self, execution: str) -> bool:
        """Cancel."""
        try:
            return await self._engine.cancel_execution(execution)
        except UnknownExecutionError as error:
            raise UnknownExecution(execution) from error

    def report(self, execution: str) -> Mapping[str, Json]:
        """Where the execution stands."""
        found: Mapping[str, Json] = immediate(self._engine.get_execution(execution))
        return found

    async def reread(self, execution: str) -> Mapping[str, Json]:
        """Where its journal, taken through JSON and folded afresh, says it stands."""
        created, *events = [from_json(to_json(event)) for event in await self._opened().read(execution)]
        assert isinstance(created, ExecutionCreated)
        return report(fold((await self._manager.state(execution)).workflow, created, events))

    def subscribe(self, execution: str, after: int) -> AsyncIterator[tuple[int, Mapping[str, Json]]]:
        """The execution's events."""
        told = self._engine.subscribe(execution, after) if after else self._engine.subscribe(execution)
        return _Told(told, self._opened())

    def crash(self) -> None:
        """End the engine's process."""
        self._opened().crash()

    async def recover(self) -> list[str]:
        """Take up what nobody drives."""
        return await self._engine.recover()

    async def shutdown(self, grace: float) -> None:
        """Close the engine."""
        await self._engine.close(grace)

    async def convert(self, workflow: Json) -> list[Mapping[str, Json]]:
        """Make steps of a graph."""
        return [*graph_to_steps(workflow)]

    async def rival(self) -> list[str]:
        """Refuse: this journal is not one that two processes could share."""
        message = "a journal in memory has one engine"
        raise JournalError(message)

    async def take_over(self) -> None:
        """Refuse, for the same reason."""
        await self.rival()

    def _opened(self) -> Observed:
        assert self._journal is not None
        return self._journal

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


class _Told(AsyncIterator[tuple[int, Mapping[str, Json]]]):
    """A subscription, told in JSON."""

    def __init__(self, subscription: Subscription, journal: Observed) -> None:
        self._subscription = subscription
        self._journal = journal

    async def __anext__(self) -> tuple[int, Mapping[str, Json]]:
        seq, event = await self._subscription.__anext__()
        return seq, self._journal.spell(event)


def builtin() -> BuiltinTarget:
    """Make the built-in target."""
    return BuiltinTarget()
