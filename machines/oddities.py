"""Values that JSON cannot hold, each by a word that a case can hold: ``{"$": "no number"}`` stands for one (V4, D5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any


def _pit(depth: int) -> Json:
    return [_pit(depth - 1)] if depth else 1


_NO_JSON: Final[Mapping[Json, Callable[[], object]]] = {
    "not JSON": object,
    "no number": lambda: {"n": [math.nan]},
    "a huge number": lambda: {"n": 10**309},
    "half a letter": lambda: {"n": "\ud800"},
    "no key": lambda: {"n": {1: 1}},
    "a pit": lambda: _pit(101),
}
_NO_INPUT: Final[Mapping[Json, Callable[[], object]]] = {**_NO_JSON, "a list": lambda: [1], "a text": lambda: "n"}

NO_JSON: Final = tuple({"$": what} for what in _NO_JSON)
"""Each stands for an output that JSON cannot hold."""
NO_INPUT: Final = tuple({"$": what} for what in _NO_INPUT)
"""Each stands for what is no input."""


def odd_output(value: Json) -> str | None:
    """The word for what an action is to return, if JSON cannot hold it."""
    return _word(value, _NO_JSON)


def odd_input(value: Json) -> str | None:
    """The word for what is given, if it is no input."""
    return _word(value, _NO_INPUT)


def _word(value: Json, words: Mapping[Json, Callable[[], object]]) -> str | None:
    word = value.get("$") if isinstance(value, Mapping) else None
    return word if isinstance(word, str) and word in words else None


def made(word: str) -> object:
    """What a word stands for."""
    return _NO_INPUT[word]()
