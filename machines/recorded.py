"""What a journal holds of an execution, read as events: the plain JSON objects of ``model.history``.

Rule: whatever stands there is told, one way or the other. An engine would refuse the whole for one event that it cannot
read; who looks at a damaged journal wants to know which, and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any, Final, NoReturn, TypeAlias

from engine.messages import EVENTS
from engine.sqlite_journal import Kept

__all__ = ["Event", "Unreadable", "told"]

Json: TypeAlias = Any
Event: TypeAlias = Mapping[str, Json]


def told(kept: Kept) -> Iterator[tuple[int, Event | Unreadable]]:
    """The events that are kept, each with its number, as far as they can be read."""
    for seq, text in kept.texts:
        try:
            yield seq, _read(text)
        except Unreadable as error:
            yield seq, error


class Unreadable(Exception):  # noqa: N818 - the name of what happened
    """What stands in the journal is no event that an engine could read."""


def _read(text: object) -> Event:
    """The event that a journal holds as this text.

    Raises:
        Unreadable: there is none.
    """
    try:
        spelled = text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text
        event = json.loads(spelled if isinstance(spelled, str) else "", parse_constant=_no_json)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise Unreadable(message) from error
    except ValueError as error:
        message = f"not JSON: {error}"
        raise Unreadable(message) from error
    except RecursionError as error:
        message = "not JSON that can be read: it is nested too deeply"
        raise Unreadable(message) from error
    if not isinstance(event, dict):
        message = f"not an event: {_shown(event)}"
        raise Unreadable(message)
    _check_fields(event)
    return event


def _no_json(constant: str) -> NoReturn:
    message = f"{constant} is no number of JSON's"
    raise ValueError(message)


def _check_fields(event: Event) -> None:
    """Refuse what is not exactly an event with the fields that its type has."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in EVENTS:
        message = f"there is no event of the type {_shown(kind)}"
        raise Unreadable(message)
    fields = EVENTS[kind]._fields
    if lacking := [name for name in fields if name not in event]:
        message = f"{kind} lacks {', '.join(lacking)}"
        raise Unreadable(message)
    for name, value in event.items():
        if name != "type" and name not in fields:
            message = f"{kind} has a field {name!r}, which no engine knows"
            raise Unreadable(message)
        wanted, fits = _VALUES.get(name, _ANYTHING)
        if not fits(value) and not (value is None and (kind, name) == ("RollbackStarted", "error")):
            message = f"{kind}: {name} must be {wanted}, not {_shown(value)}"
            raise Unreadable(message)


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."  # noqa: PLR2004  # enough to recognise it


def _is_number(value: Json) -> bool:
    try:
        return type(value) in {int, float} and isfinite(value)
    except OverflowError:
        return False


def _is_count(value: Json) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: Json) -> bool:
    return type(value) is str


def _is_object(value: Json) -> bool:
    return type(value) is dict


def _is_missing(value: Json) -> bool:
    return type(value) is dict and all(type(paths) is list and all(map(_is_text, paths)) for paths in value.values())


def _is_error(value: Json) -> bool:
    if type(value) is not dict or value.keys() != {"step", "attempt", "type", "message"}:
        return False
    step, attempt = value["step"], value["attempt"]
    known = (step is None or _is_text(step)) and (attempt is None or _is_count(attempt))
    return known and _is_text(value["type"]) and _is_text(value["message"])


_Fits: TypeAlias = Callable[[Json], bool]
_ANYTHING: Final[tuple[str, _Fits]] = ("anything", lambda _: True)
_VALUES: Final[Mapping[str, tuple[str, _Fits]]] = {
    "at": ("a finite number", _is_number),
    "until": ("a finite number", _is_number),
    "workflow": ("an object", _is_object),
    "input": ("an object", _is_object),
    "inputs": ("an object", _is_object),
    "missing": ("an object of lists of texts", _is_missing),
    "error": ("an error: step, attempt, type and message", _is_error),
    "status": ("a text", _is_text),
    "step": ("a text", _is_text),
    "attempt": ("a whole number of at least 0", _is_count),
}
