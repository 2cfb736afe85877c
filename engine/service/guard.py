"""Who may come in: nobody from another site, nobody without the token, nobody too often.

Rule 1: every request and every handshake passes here, whatever its path; what is refused has reached nothing.
Rule 2: a browser tells by ``Origin`` which page asks: only one of ours may. A name that has been made to point here
(DNS rebinding) is told by ``Host``: on a loopback address only our own names are answered.
Rule 3: no answer allows another site anything (CORS), may be kept, guessed at, or framed.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from engine.service.limits import Allowances, Limits
from engine.service.problems import Problem, later

__all__ = ["BEARER", "LOOPBACK", "PROTOCOL", "Guard"]

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
"""The names of this machine by which it is asked from itself."""
PROTOCOL: Final = "lockstep"
"""The WebSocket subprotocol that is spoken."""
BEARER: Final = "bearer."
"""A subprotocol that begins so carries the token: a page can set no header on a handshake."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Lets through to an application what may come in.

    Args:
        app: whom it guards.
        token: what a caller has to bring; None: nothing.
        hosts: the names by which the service may be asked; None: any.
        limits: how often.
        clock: seconds, for that.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: Collection[str] | None,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._hosts = hosts
        self._allowances = Allowances(limits, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request or a handshake through, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
        except Problem as found:
            await refuse(found, scope, receive, sealed)
        else:
            await self._app(scope, receive, sealed)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise Problem(403, "foreign-host", "this service is not to be asked by that name (Host)")
        if (origin := headers.get("origin")) is not None and not _same(origin, host):
            raise Problem(403, "foreign-origin", "pages of other sites may not ask this service (Origin)")
        client = scope.get("client")
        if wait := self._allowances.wait(client[0] if client else ""):
            raise later(429, "too-many-requests", "too many requests from this address", wait)
        if self._token is not None and not any(
            hmac.compare_digest(self._token, found) for found in _tokens(headers, scope.get("subprotocols", ()))
        ):
            raise Problem(
                401,
                "no-token",
                "this service asks for its token: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="lockstep", Basic realm="lockstep", charset="UTF-8"'},
            )


async def refuse(found: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that is refused, or a handshake, with words if the server can."""
    if scope["type"] == "http":
        await found.response()(scope, receive, send)
        return
    socket = WebSocket(scope, receive, send)
    await socket.receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        await socket.send_denial_response(found.response())
    else:
        await socket.close(1008, found.detail)


def _name(host: str) -> str:
    """The name in a ``Host`` header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same(origin: str, host: str) -> bool:
    """Whether a page is from where it asks."""
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place.lower() == host.lower()


def _tokens(headers: Headers, subprotocols: Collection[str]) -> list[bytes]:
    """What a caller brings as its token: as a bearer, as a password (browsers ask for one), or as a subprotocol."""
    found = [protocol.removeprefix(BEARER).encode() for protocol in subprotocols if protocol.startswith(BEARER)]
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(given.strip().encode())
    elif scheme.lower() == "basic":
        with suppress(ValueError):
            found.append(base64.b64decode(given.strip(), validate=True).partition(b":")[2])
    return found
