"""The service on real sockets: uvicorn, told when to stop from outside, and made strict about who does not read.

Rule 1: the socket is bound before anything else happens: a port that is taken has no consequences.
Rule 2: nobody keeps a connection by not reading: what was closed is gone within a bounded time (N2).
Rule 3: signals are the caller's business.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["bound", "serve"]

_LINGER: Final = 5.0
"""Seconds that a connection which was closed has to take what was written to it."""
_HEARD: Final = 1024
"""Bytes of a message from a subscriber, who is not expected to send any."""
_KERNEL: Final = 1 << 17
"""Bytes that the kernel may keep for one connection: what it keeps, a stuck subscriber has not read."""
_BACKLOG: Final = 512
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""For ``SO_LINGER``: what is closed is not sent to its end."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: on one that is free.

    Raises:
        OSError: it cannot: the address is not ours, the port is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    found = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL)  # its connections inherit it
    return found


async def serve(app: ASGIApp, listening: socket.socket, stop: asyncio.Event) -> None:
    """Answer requests until ``stop``; then end the connections, and let the requests under way be answered."""
    config = uvicorn.Config(
        app,
        ws=_Protocol,
        ws_max_size=_HEARD,
        ws_per_message_deflate=False,  # events are small, and compression is memory for each connection
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a stranger could say that it is somebody else
        timeout_graceful_shutdown=int(_LINGER),
    )
    server = _Server(config)
    stopping = asyncio.create_task(_stop(server, stop))
    try:
        await server.serve(sockets=[listening])
    finally:
        stopping.cancel()


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none (rule 3)."""
        yield


class _Protocol(WebSocketsSansIOProtocol):
    """A WebSocket whose end does not depend on the other side (rule 2)."""

    async def send(self, message: Any) -> None:  # noqa: ANN401  # uvicorn's types for it are not public
        """Send a message; the last one is not held up by those that were not read."""
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused in words; uvicorn would log that it was not answered

    async def run_asgi(self) -> None:
        """Serve the connection, and see that it goes."""
        await super().run_asgi()
        self.loop.call_later(_LINGER, self._cut)

    def shutdown(self) -> None:
        """Close the connection because the server stops, and see that it goes."""
        super().shutdown()
        self.loop.call_later(_LINGER / 2, self._cut)

    def _cut(self) -> None:
        """End the connection, if it is still there; the kernel forgets at once what was not read."""
        found: socket.socket | None = self.transport.get_extra_info("socket")
        if found is not None and found.fileno() >= 0:
            with suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()
