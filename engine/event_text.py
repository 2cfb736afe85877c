"""An event as the text that a file keeps of it.

Rule 1: it comes back exactly as it was: order of keys, floats, and even lone surrogates, which UTF-8 does not have: an
event with one is a blob of what UTF-8 would have made of it.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Final

from engine.messages import EVENTS, Event, Failure, Json, from_json

encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""A value as JSON, without white space."""
_SHAPES: Final = {
    event: "".join((f'{{"type":"{name}"', *(f',"{field}":%s' for field in event._fields), "}"))
    for name, event in EVENTS.items()
}
"""Each kind of event as ``to_json`` would have it, in JSON, with a hole for each value."""


def _value(value: Json) -> str:
    """A field of an event as JSON. Most are numbers, or nothing: no encoder is made for these."""
    if value is None:
        return "null"
    if type(value) is int or (type(value) is float and isfinite(value)):
        return repr(value)
    return encode(value.to_json() if type(value) is Failure else value)


def text_of(event: Event) -> str | bytes:
    """The event as JSON."""
    text = _SHAPES[type(event)] % tuple([_value(value) for value in event])
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def event_of(text: str | bytes) -> Event:
    """The event that ``text_of`` made this of.

    Raises:
        ValueError: it is no JSON.
        JournalError: it is no event that this version knows.
    """
    return from_json(json.loads(text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")))
