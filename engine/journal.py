"""Where events are kept: the protocol, and a journal in memory.

Rule 1: an event is durable once ``append`` has returned; nobody may show what follows from it before (J2).
Rule 2: the events of one ``append`` become durable together or not at all.
Rule 3: a journal knows events and their numbers, and nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.errors import JournalError, UnknownExecutionError
from engine.messages import Event, ExecutionEnded, Json


class Journal(Protocol):
    """An ordered, durable list of events per execution."""

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Add events numbered from ``first``; they are durable when this returns.

        Raises:
            JournalError: they could not be written, and are not there; or ``first`` is not the next number.
        """
        ...

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events with a number greater than ``after``, in order; ``limit``: so many at most.

        Raises:
            UnknownExecutionError: the journal has no such execution.
            JournalError: they cannot be read.
        """
        ...

    async def unfinished(self) -> list[str]:
        """The executions that have not ended, oldest first.

        Raises:
            JournalError: they cannot be read.
        """
        ...

    async def close(self) -> None:
        """Let go of what the journal holds open."""
        ...


class MemoryJournal:
    """A journal that lives as long as its process; durable the moment it is asked."""

    def __init__(self) -> None:
        self._events: dict[str, list[Event]] = {}
        self._unfinished: dict[str, None] = {}
        self._workflows: dict[str, dict[str, Json]] = {}

    def write(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """``append`` without the wait."""
        if not events:
            return
        kept = self._events.get(execution, [])
        if first != len(kept) + 1:
            message = f"execution {execution}: event {first} does not follow event {len(kept)}"
            raise JournalError(message)
        if not kept:
            self._events[execution] = kept
            self._unfinished[execution] = None
        kept.extend(events)
        if type(kept[-1]) is ExecutionEnded:
            del self._unfinished[execution]

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        """Add events; see `Journal`."""
        self.write(execution, first, events)

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events after a number; see `Journal`."""
        if execution not in self._events:
            raise UnknownExecutionError(execution)
        return self._events[execution][after : None if limit is None else after + limit]

    async def unfinished(self) -> list[str]:
        """The executions that have not ended; see `Journal`."""
        return list(self._unfinished)

    async def executions(self) -> list[str]:
        """All executions, oldest first."""
        return list(self._events)

    async def workflows(self) -> dict[str, dict[str, Json]]:
        """The workflows that are kept: their definitions by their ids."""
        return dict(self._workflows)

    async def keep_workflow(self, workflow: str, definition: dict[str, Json] | None) -> None:
        """Keep a workflow under its id, in place of an earlier one; None: keep it no more."""
        if definition is None:
            self._workflows.pop(workflow, None)
        else:
            self._workflows[workflow] = definition

    async def close(self) -> None:
        """Nothing to let go of."""
