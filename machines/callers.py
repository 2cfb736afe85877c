"""Who talks to the engine of a case: callers with their commands, and subscribers.

Rule 1: a command may still be under way when the next move comes; its caller notes what comes back, and when.
Rule 2: a subscriber whose engine died comes back, once executions were recovered, after the last event it got (N1).
One that was dropped because the store could not be read comes back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Literal, TypeAlias

from machines.loop import SimulatedLoop
from machines.moves import Json
from machines.target import UnknownExecution
from model.history import Answered, Asked, Entry, Notified, Refused, Subscribed

Command: TypeAlias = Literal["start", "pause", "resume", "cancel", "recover", "rival", "take_over"]
Make: TypeAlias = Callable[[], Coroutine[Any, Any, Json]]


class Callers:
    """Every caller and every subscriber of a case."""

    def __init__(
        self,
        loop: SimulatedLoop,
        note: Callable[[Entry], None],
        listen: Callable[[str, int], AsyncIterator[tuple[int, Mapping[str, Json]]]],
        answered: Callable[[int, Command, Json], None],
        unread: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._note = note
        self._listening = listen
        self._answered = answered
        """Told of every command that was not refused: its number, what it was, and the answer."""
        self._unread = unread
        """Says how many reads have failed."""
        self._dropped = 0
        """How many subscribers were dropped for that."""
        self.asks = 0
        self.tasks: list[asyncio.Task[None]] = []
        """What they fail to read, the loop finds."""
        self.under_way: dict[int, Command] = {}
        self._subscribers = 0
        self._heard: dict[str, tuple[str, int]] = {}
        """By subscriber that listens: its execution, and the number of the last event that it got."""

    def ask(self, command: Command, execution: str | None, arguments: Mapping[str, Json], make: Make) -> None:
        """Send a command; that takes a latency to arrive."""
        self.asks += 1
        self.under_way[self.asks] = command
        self._note(Asked(self._loop.time(), self.asks, command, execution, arguments))
        self._loop.call_delayed(self._send, self.asks, command, make)

    def _send(self, ask: int, command: Command, make: Make) -> None:
        self.tasks.append(self._loop.create_task(self._await_answer(ask, command, make), name=f"{command} {ask}"))

    async def _await_answer(self, ask: int, command: Command, make: Make) -> None:
        try:
            answer = await make()
        except UnknownExecution as error:
            self._refused(ask, "UnknownExecutionError", error)
        except Exception as error:  # noqa: BLE001  # whatever the engine raises is an observation
            self._refused(ask, type(error).__name__, error)
        else:
            del self.under_way[ask]
            self._note(Answered(self._loop.time(), ask, answer))
            self._answered(ask, command, answer)

    def _refused(self, ask: int, kind: str, error: Exception) -> None:
        if self.under_way.pop(ask, None) is not None:  # what a dead engine says while it is taken apart, nobody hears
            self._note(Refused(self._loop.time(), ask, kind, str(error)))

    def subscribe(self, execution: str, after: int) -> None:
        """Somebody wants an execution's events after a number."""
        self._subscribers += 1
        self._subscribe(f"s{self._subscribers}", execution, after)

    def _subscribe(self, name: str, execution: str, after: int) -> None:
        self._heard[name] = (execution, after)
        self._note(Subscribed(self._loop.time(), name, execution, after))
        self.tasks.append(self._loop.create_task(self._listen(name, execution, after), name=f"subscriber {name}"))

    async def _listen(self, name: str, execution: str, after: int) -> None:
        try:
            async for seq, event in self._listening(execution, after):
                self._heard[name] = (execution, seq)
                self._note(Notified(self._loop.time(), name, execution, seq, event))
        except Exception:
            if self._dropped == self._unread():
                raise
            self._dropped += 1
            self._subscribe(name, *self._heard[name])
        else:
            del self._heard[name]

    def die(self) -> list[tuple[str, int]]:
        """The engine is gone, and with it every command under way. Returns who listened to what, and how far."""
        heard = list(self._heard.values())
        self._heard.clear()
        self.under_way.clear()
        self.tasks.clear()
        return heard
