"""The engine as a service: HTTP, WebSocket, a page. An ASGI application, and what runs it on real sockets.

It needs the extra ``service`` (Starlette; uvicorn and websockets for real sockets); nothing else of the engine does.
"""

from engine.service.app import create_app
from engine.service.catalogue import Catalogue, Entry
from engine.service.guard import LOOPBACK
from engine.service.limits import Limits

__all__ = ["LOOPBACK", "Catalogue", "Entry", "Limits", "create_app"]
