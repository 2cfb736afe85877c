"""What a request says: its body as JSON, its parameters as numbers and names.

Rule 1: a body is read no further than its limit, and parsed only if it says that it is JSON: a form of another site's,
which a browser sends without asking, says something else.
Rule 2: what is JSON here is what the engine takes for JSON (`engine.values`), and no key stands twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from types import NoneType
from typing import Final, NoReturn

from starlette.requests import HTTPConnection, Request

from engine.errors import Fault
from engine.messages import Json
from engine.service.limits import Limits
from engine.service.problems import Problem, refusal
from engine.values import json_problems

__all__ = ["Query", "body_of", "object_of"]

_LARGEST: Final = 2**53
"""Numbers of events are counts: past this, JSON's readers disagree about them."""


async def body_of(request: Request, limits: Limits) -> Json:
    """A request's body as a JSON value; None if it has none.

    Raises:
        Problem: it is no JSON, too large, too deep, or does not say that it is JSON.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.body:
            raise Problem(413, "too-large", f"the body has more than {limits.body} bytes")
        parts.append(part)
    if not size:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "not-json", "the body must be application/json")
    value = _parsed(b"".join(parts))
    if _depth(value, limits.depth) > limits.depth:
        raise Problem(422, "too-deep", f"the body has more than {limits.depth} objects and lists inside each other")
    if problems := json_problems(value):
        faults = [Fault(path.removeprefix("."), problem) for path, problem in problems]
        raise Problem(422, "invalid-request", "the body holds what JSON does not have", faults)
    return value


def object_of(
    value: Json, required: Collection[str] = (), objects: Collection[str] = (), faults: Iterable[Fault] = ()
) -> dict[str, Json]:
    """The body as an object with these members and no others; ``objects`` may be left out, and are objects themselves.

    ``faults``: what else is wrong with the request.

    Raises:
        Problem: something is wrong, with all faults.
    """
    found = list(faults)
    members = {} if value is None and not required else value
    if type(members) is dict:
        found += [Fault(name, "is missing") for name in required if name not in members]
        found += [Fault(name, "is unknown") for name in members if name not in required and name not in objects]
        wrong = (name for name in objects if type(members.get(name)) not in (dict, NoneType))
        found += [Fault(name, "must be a JSON object") for name in wrong]
    else:
        found.append(Fault("", "the body must be a JSON object"))
    if found:
        raise refusal(*found)
    return members


class Query:
    """A query's parameters; when all were read, ``check`` tells what is wrong with them."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._given = connection.query_params
        self._faults: list[Fault] = []

    def number(self, name: str, default: int, least: int, most: int = _LARGEST) -> int:
        """A whole number, in its range."""
        given = self._given.getlist(name)
        if not given:
            return default
        text = given[-1]
        if len(given) > 1 or not (text.isascii() and text.isdigit()) or not least <= int(text[:20]) <= most:
            self._faults.append(Fault(name, f"must be one whole number from {least} to {most}"))
            return default
        return int(text)

    def names(self, name: str, known: Collection[str]) -> list[str]:
        """Some of the names that are known."""
        given = self._given.getlist(name)
        self._faults += [
            Fault(name, f"{each!r} is none of {', '.join(known)}") for each in dict.fromkeys(given) if each not in known
        ]
        return given

    def check(self) -> None:
        """Go on if nothing was wrong.

        Raises:
            Problem: something was, with all faults.
        """
        if self._faults:
            raise refusal(*self._faults)


def _parsed(content: bytes) -> Json:
    try:
        return json.loads(content.decode(), parse_constant=_constant, object_pairs_hook=_members)
    except RecursionError:
        raise Problem(422, "too-deep", "the body is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise Problem(400, "not-json", f"the body is not UTF-8, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Problem(
            400, "not-json", f"the body is not JSON: {place}: {error.msg}", [Fault(place, error.msg)]
        ) from None
    except ValueError:
        raise Problem(400, "not-json", "the body holds an integer of too many digits") from None


def _constant(name: str) -> NoReturn:
    raise Problem(400, "not-json", f"the body holds {name}, which JSON does not have")


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(400, "not-json", f"the body has the key {json.dumps(twice)} twice in one object")
    return found


def _depth(value: Json, enough: int) -> int:
    """How many containers are inside each other; nobody looks further than one past ``enough``."""
    depth, level = 0, [value]
    while depth <= enough:
        level = [item for item in level if type(item) is dict or type(item) is list]
        if not level:
            break
        depth += 1
        level = [inner for item in level for inner in (item.values() if type(item) is dict else item)]
    return depth
