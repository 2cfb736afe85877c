"""Which executions there are, and where each stands, without a look into their journals.

Rule 1: it stands before the journal, and an entry is made of durable events alone: it is changed after they are (J2).
Rule 2: an execution is listed where it began; a page goes on from a place, so what begins meanwhile moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from engine.errors import JournalError, UnknownExecutionError
from engine.journal import Journal
from engine.messages import (
    CancellationRequested,
    Event,
    ExecutionCreated,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    Json,
    RollbackStarted,
)
from engine.state import Status

_BECOMES: Final[Mapping[type[Event], Status]] = {
    ExecutionStarted: Status.RUNNING,
    ExecutionPaused: Status.PAUSED,
    ExecutionResumed: Status.RUNNING,
    CancellationRequested: Status.CANCELLING,
    RollbackStarted: Status.ROLLING_BACK,
}


class Store(Journal, Protocol):
    """A journal that knows all its executions, and keeps workflows beside them."""

    async def executions(self) -> list[str]:
        """All executions, oldest first.

        Raises:
            JournalError: they cannot be read.
        """
        ...

    async def workflows(self) -> dict[str, dict[str, Json]]:
        """The stored workflows: their definitions by their ids.

        Raises:
            JournalError: they cannot be read.
        """
        ...

    async def keep_workflow(self, workflow: str, definition: dict[str, Json] | None) -> None:
        """Store a workflow under its id, in place of an earlier one; None: store it no more. Durable when it returns.

        Raises:
            JournalError: it could not be written.
        """
        ...


@dataclass(slots=True)
class Entry:
    """An execution in the list."""

    place: int
    """From 1, in the order of their beginnings."""
    execution: str
    workflow: str
    name: str
    status: Status
    created_at: float
    changed_at: float
    seq: int
    """The number of its last event."""

    def see(self, events: Sequence[Event]) -> None:
        """These have become durable."""
        self.seq += len(events)
        self.changed_at = events[-1].at
        for event in events:
            if type(event) is ExecutionEnded:
                self.status = Status(event.status)
            else:
                self.status = _BECOMES.get(type(event), self.status)

    def to_json(self) -> dict[str, Json]:
        """The entry as a JSON object."""
        return {
            "execution": self.execution,
            "workflow": self.workflow,
            "name": self.name,
            "status": self.status.value,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "seq": self.seq,
        }


async def _events(store: Store, execution: str) -> list[Event]:
    """All events of an execution, which begin with its creation.

    Raises:
        JournalError: they do not, or cannot be read.
    """
    try:
        events = await store.read(execution)
    except UnknownExecutionError as error:
        message = f"execution {execution}: it has events, and was never begun"
        raise JournalError(message) from error
    if not events or type(events[0]) is not ExecutionCreated:
        message = f"execution {execution}: its first event is not ExecutionCreated"
        raise JournalError(message)
    return events


def workflow_id(created: ExecutionCreated) -> str:
    """The id of an execution's workflow; in WfFormat it is the name (D1)."""
    return str(created.workflow.get("id") or created.workflow.get("name"))


class Catalogue:
    """A journal, and the list of what is in it; made by ``of``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._order: list[Entry] = []
        self.workflows: dict[str, dict[str, Json]] = {}
        """The stored workflows, by their ids; changed by ``keep_workflow`` alone."""

    @classmethod
    async def of(cls, store: Store) -> Self:
        """The catalogue of a journal that nobody has begun to write to.

        Raises:
            JournalError: it cannot be read.
        """
        catalogue = cls(store)
        for execution in await store.executions():
            catalogue._see(execution, await _events(store, execution))
        catalogue.workflows = await store.workflows()
        return catalogue

    def get(self, execution: str) -> Entry | None:
        """An execution's entry, if there is such an execution."""
        return self._entries.get(execution)

    def newest(self, before: int | None, statuses: Collection[str], workflow: str | None) -> Iterator[Entry]:
        """Entries from a place on backwards, newest first: of these statuses (of all, if none), of this workflow."""
        last = len(self._order) if before is None else min(before - 1, len(self._order))
        for index in range(last - 1, -1, -1):
            entry = self._order[index]
            if (not statuses or entry.status in statuses) and workflow in (None, entry.workflow):
                yield entry

    async def keep_workflow(self, workflow: str, definition: dict[str, Json] | None) -> None:
        """Store a workflow, or store it no more; see `Store`."""
        await self._store.keep_workflow(workflow, definition)
        if definition is None:
            self.workflows.pop(workflow, None)
        else:
            self.workflows[workflow] = definition

    # The journal that the engine writes to

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Add events; see `Journal`."""
        await self._store.append(execution, first, events)
        if events:
            self._see(execution, events)

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events after a number; see `Journal`."""
        return await self._store.read(execution, after, limit)

    async def unfinished(self) -> list[str]:
        """The executions that have not ended; see `Journal`."""
        return await self._store.unfinished()

    async def close(self) -> None:
        """Let go of the journal; see `Journal`."""
        await self._store.close()

    def _see(self, execution: str, events: Sequence[Event]) -> None:
        entry = self._entries.get(execution)
        if entry is None:
            created = events[0]
            assert type(created) is ExecutionCreated, "an execution begins with its creation"
            workflow = workflow_id(created)
            entry = Entry(
                place=len(self._order) + 1,
                execution=execution,
                workflow=workflow,
                name=str(created.workflow.get("name") or workflow),
                status=Status.PENDING,
                created_at=created.at,
                changed_at=created.at,
                seq=0,
            )
            self._entries[execution] = entry
            self._order.append(entry)
        entry.see(events)
