"""The page at ``/`` and what it is made of: files, sent as they are.

Rule 1: the page may load and ask its own service alone, and nothing that it shows can become markup or script (its
policy, with trusted types: a script that assigned text as markup would be stopped by the browser).
Rule 2: the page knows the service by its routes alone; whatever it can do, others can.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

__all__ = ["ROUTES"]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_KINDS: Final[Mapping[str, str]] = {"html": "html", "css": "css", "js": "javascript", "txt": "plain"}
_FILES: Final = ("look.css", "page.css", "dagre.min.js", "dagre.LICENSE.txt", "drawing.js", "places.js", "page.js")


@cache
def _content(name: str) -> bytes:
    return resources.files("engine").joinpath("service", "assets", name).read_bytes()


def _file(name: str) -> Response:
    headers = {"Content-Security-Policy": POLICY}
    return Response(_content(name), headers=headers, media_type=f"text/{_KINDS[name.rpartition('.')[2]]}")


async def show(_: Request) -> Response:
    """The page."""
    return _file("page.html")


async def part(request: Request) -> Response:
    """A style or a script of the page."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    return _file(name)


ROUTES: Final[list[BaseRoute]] = [Route("/", show), Route("/assets/{name}", part)]
