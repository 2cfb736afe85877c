"""The durable side of an engine: what is journaled, what is reported, who is told.

Rule 1: a state in here has been made by durable events alone: it is what folding the journal gives (J1).
Rule 2: subscribers hear of an event after it is durable, in sequence (J2, N1).
Rule 3: a subscriber costs the execution nothing: it keeps a place in the journal and reads on from there (N2). One that
lags behind is not even told: it comes and looks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from engine.definition import parse_workflow
from engine.errors import JournalError, UnknownExecutionError
from engine.journal import Journal, MemoryJournal
from engine.messages import Event, ExecutionCreated, ExecutionEnded
from engine.state import State, apply, fold
from engine.workflow import Workflow

_UNFOLDED: Final = 1024
"""Durable events that may wait to be folded, beside two for each step: a report costs no less than they do."""


class Numbered(NamedTuple):
    """An event of an execution and its number in the journal, from 1."""

    seq: int
    event: Event


class _Durable:
    """An execution's durable events, and the state they make: folded when somebody asks, or when too many wait."""

    __slots__ = ("_most", "_state", "_unfolded", "seq")

    def __init__(self, state: State) -> None:
        self.seq = state.seq
        self._state = state
        self._unfolded: list[Event] = []
        self._most = _UNFOLDED + 2 * len(state.workflow.steps)

    def add(self, events: Sequence[Event]) -> None:
        """These have become durable."""
        self.seq += len(events)
        self._unfolded += events
        if len(self._unfolded) > self._most:
            self.state()

    def state(self) -> State:
        """What they all make."""
        for event in self._unfolded:
            apply(self._state, event)
        self._unfolded.clear()
        return self._state


class ExecutionStateManager:
    """Journals events, keeps the state that the durable ones make, and tells subscribers.

    Args:
        journal: where to; without one, in memory.
        buffered: events, a count, that a subscriber may lag behind before it has to read them from the journal again.
        piece: events, a count from 1, that it then reads at once.
    """

    def __init__(self, journal: Journal | None = None, *, buffered: int = 128, piece: int = 1024) -> None:
        self.journal: Journal = journal if journal is not None else MemoryJournal()
        self.buffered: Final = buffered
        self.piece: Final = piece
        self._durable: dict[str, _Durable] = {}
        self._subscriptions: dict[str, list[Subscription]] = {}
        """Those who are told."""
        self._lagging: dict[Subscription, None] = {}
        """Those who are not, until they have caught up."""
        self._parsed: tuple[str, Workflow] | None = None
        """The workflow that was read last, and how it was spelled: of many executions to recover, most are of one."""
        self._closed = False
        self._writing: dict[str, int] = {}
        """Where events are on their way into the journal, or did not get there: the number of the first."""

    async def create(self, execution: str, workflow: Workflow, created: ExecutionCreated) -> None:
        """Journal a new execution.

        Raises:
            JournalError: it could not be written; there is no such execution then.
        """
        await self.journal.append(execution, 1, (created,))
        self._durable.setdefault(execution, _Durable(State(workflow, created.input)))

    async def append(self, execution: str, events: Sequence[Event]) -> None:
        """Journal what has happened to an execution; when this returns it is durable, reported and told.

        Raises:
            JournalError: it could not be written; then it has not happened.
        """
        durable = self._durable[execution]
        first = durable.seq + 1
        self._writing[execution] = first
        await self.journal.append(execution, first, events)
        durable.add(events)
        if execution in self._subscriptions:
            self._publish(execution, first, events)
        del self._writing[execution]

    def adopt(self, execution: str, state: State) -> None:
        """Keep its driver's state of an execution that has ended: it is what folding the durable events gives."""
        assert state.seq == self._durable[execution].seq
        self._durable[execution] = _Durable(state)

    async def state(self, execution: str) -> State:
        """What the execution's durable events make; it must not be changed.

        Raises:
            UnknownExecutionError: no journal knows it.
            JournalError: its events cannot be read.
        """
        found = self._durable.get(execution)
        if found is None:
            read = _Durable(self._folded(execution, await self.journal.read(execution)))
            found = self._durable.setdefault(execution, read)  # meanwhile it may have been taken up, and gone on
        return found.state()

    async def load(self, execution: str) -> State:
        """Fold an execution's journal anew (J1). The state is the caller's own: the one reported is another.

        Raises:
            UnknownExecutionError: no journal knows it.
            JournalError: its events cannot be read.
        """
        events = await self.journal.read(execution)
        state = self._folded(execution, events)
        self._durable[execution] = durable = _Durable(State(state.workflow, state.inputs[0]))
        durable.add(events[1:])
        return state

    def subscribe(self, execution: str, after: int = 0) -> Subscription:
        """The execution's events with a number greater than ``after``, as they become durable (N1); the first is 1."""
        subscription = Subscription(self, execution, max(after, 0))
        self._subscriptions.setdefault(execution, []).append(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def told_from(self, execution: str) -> int | None:
        """The number from which on events are told only when their write has returned; None: there is no such write."""
        return self._writing.get(execution)

    def rejoin(self, subscription: Subscription) -> None:
        """Tell this subscriber again: it has come to catch up."""
        if subscription in self._lagging:
            del self._lagging[subscription]
            self._subscriptions.setdefault(subscription.execution, []).append(subscription)

    def lag(self, subscription: Subscription) -> None:
        """Tell this subscriber nothing until it has caught up."""
        self.unsubscribe(subscription)
        self._lagging.setdefault(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Tell this subscriber no more."""
        self._lagging.pop(subscription, None)
        found = self._subscriptions.get(subscription.execution, [])
        if subscription in found:
            found.remove(subscription)
        if not found:
            self._subscriptions.pop(subscription.execution, None)

    async def close(self) -> None:
        """End every subscription, those that are still to come too, and close the journal."""
        self._closed = True
        for subscriptions in (*self._subscriptions.values(), self._lagging):
            for subscription in list(subscriptions):
                subscription.close()
        await self.journal.close()

    def _folded(self, execution: str, events: Sequence[Event]) -> State:
        """What an execution's journal makes.

        Raises:
            JournalError: it makes no sense.
        """
        created = events[0] if events else None
        if not isinstance(created, ExecutionCreated):
            message = f"execution {execution}: its first event is not ExecutionCreated"
            raise JournalError(message)
        try:
            spelled = repr(created.workflow)  # 1, 1.0 and true are equal, and not the same
            if self._parsed is None or self._parsed[0] != spelled:
                self._parsed = (spelled, parse_workflow(created.workflow))
            return fold(self._parsed[1], created, events[1:])
        except Exception as error:
            message = f"execution {execution}: its events make no sense: {type(error).__name__}: {error}"
            raise JournalError(message) from error

    def _publish(self, execution: str, first: int, events: Sequence[Event]) -> None:
        for subscription in tuple(self._subscriptions[execution]):
            if not subscription.offer(first, events):
                self.lag(subscription)


class Subscription(AsyncIterator[Numbered]):
    """A subscriber's place in an execution's journal, for ``async for``; it ends with the execution.

    The events are the journal's own: what they hold must not be changed.
    """

    def __init__(self, manager: ExecutionStateManager, execution: str, after: int) -> None:
        self.execution = execution
        self._manager = manager
        self._next = after + 1
        self._buffer: deque[Numbered] = deque()
        self._behind = True
        self._closed = False
        self._wake: asyncio.Future[None] | None = None

    def offer(self, first: int, events: Sequence[Event]) -> bool:
        """Events have become durable. Returns whether it keeps up: who lags reads them from the journal instead."""
        if not self._behind:
            self._buffer.extend(Numbered(first + offset, event) for offset, event in enumerate(events))
            if len(self._buffer) > self._manager.buffered:
                self._buffer.clear()
                self._behind = True
        self._rouse()
        return not self._behind

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._manager.unsubscribe(self)
        self._rouse()

    async def __anext__(self) -> Numbered:
        """The next event.

        Raises:
            StopAsyncIteration: the execution has ended, or the subscription was closed.
            UnknownExecutionError: no journal knows the execution.
            JournalError: its events cannot be read.
        """
        while not self._closed:
            if self._buffer:
                found = self._buffer.popleft()
                if type(found.event) is ExecutionEnded:
                    self.close()
                if found.seq >= self._next:
                    self._next = found.seq + 1
                    return found
            elif self._behind:
                await self._catch_up()
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
        raise StopAsyncIteration

    async def _catch_up(self) -> None:
        self._behind = False
        piece = self._manager.piece
        self._manager.rejoin(self)
        try:
            events = await self._manager.journal.read(self.execution, self._next - 1, piece)
        except (JournalError, UnknownExecutionError):
            self.close()
            raise
        missed = [Numbered(self._next + offset, event) for offset, event in enumerate(events)]
        if (first := self._manager.told_from(self.execution)) is not None:  # a report must not lag behind what is told
            missed = [numbered for numbered in missed if numbered.seq < first]
        if len(missed) == piece:  # there may be more: what came meanwhile is read again, after that
            self._buffer.clear()
            self._behind = True
            self._manager.lag(self)
        self._buffer.extendleft(reversed(missed))
        if not self._buffer:
            over = (await self._manager.state(self.execution)).terminal
            if over and not self._buffer:  # its last events may have come while we looked
                self.close()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
