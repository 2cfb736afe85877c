"""The page at ``/`` and what it is made of."""

from typing import Final

from starlette.routing import BaseRoute

__all__ = ["ROUTES"]

ROUTES: Final[list[BaseRoute]] = []
