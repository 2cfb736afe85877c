"""Live events over a WebSocket: every durable event after a number, each once, in order (N1, N2).

Rule 1: a connection is a place in the journal and one message under way; nothing is queued for it here.
Rule 2: who does not take a message for as long as patience lasts is dropped, and told where to go on.
Rule 3: a subscriber only listens: one that speaks is dropped too.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from engine.errors import JournalError
from engine.messages import to_json
from engine.service.catalogue import Catalogue
from engine.service.guard import PROTOCOL, refuse
from engine.service.limits import Limits
from engine.service.problems import Problem, later
from engine.service.reading import Query
from engine.state import TERMINAL
from engine.state_manager import Numbered, Subscription
from engine.workflow_engine import WorkflowEngine

__all__ = ["Closing", "Live", "encoded"]


class Closing(Enum):
    """Why a connection is closed: code (RFC 6455, 7.4) and words."""

    ENDED = (1000, "the execution has ended")
    STOPPING = (1001, "the service is stopping; reconnect with after={last}")
    SPOKE = (1003, "nothing is expected from a subscriber")
    BROKEN = (1011, "the journal cannot be read; reconnect with after={last}")
    SLOW = (1013, "too slow; reconnect with after={last}")


def encoded(numbered: Numbered) -> str:
    """An event as the message that tells it."""
    return json.dumps({"seq": numbered.seq, **to_json(numbered.event)}, separators=(",", ":"))


@dataclass(slots=True)
class _Place:
    """How far a subscriber has come."""

    last: int


class Live:
    """The endpoint: an ASGI application for one path."""

    def __init__(self, engine: WorkflowEngine, catalogue: Catalogue, limits: Limits) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._limits = limits
        self._subscribers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        socket = WebSocket(scope, receive, send)
        execution = socket.path_params["execution"]
        try:
            after = self._admit(socket, execution)
        except Problem as found:
            await refuse(found, scope, receive, send)
            return
        self._subscribers += 1
        try:
            await socket.accept(PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None)
            await self._tell(socket, execution, after)
        finally:
            self._subscribers -= 1

    def _admit(self, socket: WebSocket, execution: str) -> int:
        """The number after which a connection wants to hear the events.

        Raises:
            Problem: it may not.
        """
        if self._catalogue.get(execution) is None:
            raise Problem(404, "unknown-execution", f"there is no execution {execution!r}")
        if self._subscribers >= self._limits.subscribers:
            raise later(503, "too-many-subscribers", "as many subscribers are connected as are allowed")
        query = Query(socket)
        after = query.number("after", 0, 0)
        query.check()
        return after

    async def _tell(self, socket: WebSocket, execution: str, after: int) -> None:
        """Send events until there are no more, or nobody takes them; then say which it was."""
        subscription = self._engine.subscribe(execution, after)
        hearing = asyncio.get_running_loop().create_task(socket.receive(), name=f"hear a subscriber of {execution}")
        hearing.add_done_callback(lambda _: subscription.close())
        place = _Place(after)
        try:
            await self._send_all(socket, subscription, place)
            closing = Closing.SPOKE if hearing.done() else self._ending(execution, place)
        except TimeoutError:
            closing = Closing.SLOW
        except JournalError:
            closing = Closing.BROKEN
        except WebSocketDisconnect:
            return
        finally:
            subscription.close()
            gone = hearing.done() and hearing.result()["type"] == "websocket.disconnect"
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        if not gone:
            await self._close(socket, closing, place)

    async def _send_all(self, socket: WebSocket, subscription: Subscription, place: _Place) -> None:
        now, patience = asyncio.get_running_loop().time, self._limits.patience
        async with asyncio.timeout(None) as limit:
            async for numbered in subscription:
                limit.reschedule(now() + patience)
                await socket.send({"type": "websocket.send", "text": encoded(numbered)})
                limit.reschedule(None)
                place.last = numbered.seq

    def _ending(self, execution: str, place: _Place) -> Closing:
        """Why the events are over: nothing comes after the last one, or the engine was closed."""
        entry = self._catalogue.get(execution)
        assert entry is not None, "executions stay"
        return Closing.ENDED if entry.status in TERMINAL and place.last >= entry.seq else Closing.STOPPING

    async def _close(self, socket: WebSocket, closing: Closing, place: _Place) -> None:
        code, words = closing.value
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(self._limits.patience):
                await socket.close(code, words.format(last=place.last))
