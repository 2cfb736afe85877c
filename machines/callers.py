"""Who talks to the engine of a case: callers with their commands, and subscribers.

Rule 1: a command may still be under way when the next move comes; its caller notes what comes back, and when.
Rule 2: a subscriber whose engine died comes back, once executions were recovered, after the last event it got (N1).
One that was dropped comes back at once: because the store could not be read, because it did not read, or because its
connection broke.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Literal, TypeAlias

from machines.loop import SimulatedLoop
from machines.moves import Json
from machines.target import Connection, HungUp, LetGo, UnknownExecution
from model.history import Answered, Asked, Dropped, Entry, Notified, Refused, Stalled, Subscribed

Command: TypeAlias = Literal[
    "start", "convert", "pause", "resume", "cancel", "recover", "shutdown", "rival", "take_over"
]
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
        self._connections: dict[str, Connection] = {}
        """By subscriber: what it listens to, if that can be broken off, or not be read."""
        self._stalled: dict[str, Connection] = {}
        """Those that read no more."""
        self.drops = 0
        """How many subscribers were dropped because they did not read."""
        self.closing = False
        """Whether the engine is being shut down: who is let go comes back to the next one."""

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
        over = False
        try:
            events = self._listening(execution, after)
            if hasattr(events, "hang_up") and isinstance(events, Connection):  # the latter is slow, and often false
                self._connections[name] = events
            async for seq, event in events:
                self._heard[name] = (execution, seq)
                self._note(Notified(self._loop.time(), name, execution, seq, event))
                over = event["type"] == "ExecutionEnded"
        except HungUp:
            self._subscribe(name, *self._heard[name])
        except LetGo as reason:
            self.drops += 1
            self._stalled.pop(name, None)
            self._note(Dropped(self._loop.time(), name, execution, str(reason)))
            self._subscribe(name, *self._heard[name])
        except Exception:
            unread = self._dropped < self._unread()
            if not (unread or self.closing):
                raise
            self._dropped += unread
            self._subscribe(name, *self._heard[name])
        else:
            if over or not self.closing:
                del self._heard[name]
            self._stalled.pop(name, None)

    def reconnect(self, execution: str) -> None:
        """The connection of an execution's newest subscriber breaks, at the end of a latency."""
        if (name := self._newest(execution)) is not None:
            self._loop.call_delayed(self._hang_up, name, self._connections[name])

    def _hang_up(self, name: str, connection: Connection) -> None:
        if self._connections.get(name) is connection:
            self._stalled.pop(name, None)
            connection.hang_up()

    def hang_up(self) -> None:
        """The connections that nobody reads break: what is being sent over them would be waited for."""
        for connection in self._stalled.values():
            connection.hang_up()

    def stall(self, execution: str) -> None:
        """An execution's newest subscriber that reads does not any more."""
        name = self._newest(execution)
        if name is not None and name not in self._stalled:
            connection = self._stalled[name] = self._connections[name]
            connection.stall()
            self._note(Stalled(self._loop.time(), name, execution, connection.patience))

    def heed(self, execution: str | None = None) -> None:
        """An execution's newest subscriber that reads no more reads on; without an execution, all do."""
        names = [name for name in self._stalled if execution in (None, self._heard[name][0])]
        for name in names if execution is None else names[-1:]:
            self._note(Subscribed(self._loop.time(), name, *self._heard[name]))
            self._stalled.pop(name).heed()

    def listening(self, execution: str) -> bool:
        """Whether an execution has a subscriber whose connection can break."""
        return self._newest(execution) is not None

    def stalled(self, execution: str) -> bool:
        """Whether the newest of these reads no more."""
        return self._newest(execution) in self._stalled

    def _newest(self, execution: str) -> str | None:
        found = [name for name in self._connections if self._heard.get(name, ("",))[0] == execution]
        return found[-1] if found else None

    def die(self) -> list[tuple[str, int]]:
        """The engine is gone, and with it every command under way. Returns who listened to what, and how far."""
        heard = list(self._heard.values())
        self.closing = False
        self._heard.clear()
        self._connections.clear()
        self._stalled.clear()
        self.under_way.clear()
        self.tasks.clear()
        return heard
