"""What a caller is told that has done something wrong: problem+json (RFC 9457), with every fault and its place.

Rule 1: every answer that is not a success is one of these.
Rule 2: it tells what the caller did and what is wrong with it; of the service's insides it tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.errors import DefinitionError, EngineClosedError, Fault, JournalError
from engine.messages import Json

__all__ = ["ANSWERED", "Problem", "later", "on_error", "refusal"]

MEDIA_TYPE: Final = "application/problem+json"
_RETRY: Final = 5
"""Seconds after which somebody may look again whether the journal can be written."""


class Problem(Exception):  # noqa: N818  # the name of what it becomes
    """A request that is refused."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer that tells it."""
        content: dict[str, Json] = {
            "type": f"urn:lockstep:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            content["faults"] = [{"place": fault.place, "problem": fault.problem} for fault in self.faults]
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def refusal(*faults: Fault) -> Problem:
    """A request whose parameters or body have these faults."""
    told = "; ".join(f"{fault.place}: {fault.problem}" if fault.place else fault.problem for fault in faults)
    return Problem(422, "invalid-request", told, faults)


def later(status: int, kind: str, detail: str, seconds: float = _RETRY) -> Problem:
    """A request that may succeed some time later."""
    return Problem(status, kind, detail, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def _counted(faults: int) -> str:
    return "the definition has 1 fault" if faults == 1 else f"the definition has {faults} faults"


ANSWERED: Final = (Problem, HTTPException, DefinitionError, JournalError, EngineClosedError)
"""What may be raised on the way to an answer: the caller's doing, or the store's."""


async def on_error(_: Request, error: Exception) -> Response:
    """The answer to a request that raised."""
    match error:
        case Problem():
            found = error
        case HTTPException(status_code=404):
            found = Problem(404, "not-found", "there is nothing here")
        case HTTPException(status_code=status, detail=detail, headers=headers):
            found = Problem(status, "refused", detail, headers=headers)
        case DefinitionError(faults=faults):
            found = Problem(422, "invalid-definition", _counted(len(faults)), faults)
        case JournalError():
            found = later(503, "journal-failed", "the journal cannot be read or written, or not for this execution")
        case EngineClosedError():
            found = later(503, "stopping", "the service is stopping")
        case _:
            found = Problem(500, "broken", "the service has made a mistake; it is in its log")
    return found.response()
