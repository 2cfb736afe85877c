"""JSON values: what is one, why something is not, and how to copy one.

Rule 1: a JSON value is None, a bool, an int, a finite float, a str, a list of them, or a dict from str to them. Exactly
        these types: a tuple, an enum or a subclass comes back from a journal as something else.
Rule 2: a value is at most ``MAX_DEPTH`` containers deep, an integer lies within a float's range, and a text has no lone
        surrogates. So whatever was accepted can also be printed, stored, copied and handed to any library.
Rule 3: the check does not recurse: it ends with an answer on values of any depth, and on such as hold themselves.
"""

import json
import re
from collections.abc import Sequence
from math import isfinite
from sys import float_info
from typing import Any, TypeAlias

__all__ = [
    "MAX_DEPTH",
    "MAX_PROBLEMS",
    "Json",
    "fresh",
    "json_fault",
    "json_faults",
    "json_problems",
    "json_value",
    "path_text",
]

Json: TypeAlias = Any

MAX_DEPTH = 100
MAX_PROBLEMS = 20
_LARGEST = int(float_info.max)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")
_ATOMS = frozenset({bool, type(None)})
_CONTAINERS = frozenset({dict, list})


def json_value(value: object) -> bool:
    """Whether ``value`` is a JSON value, as rules 1 and 2 have it (V4)."""
    if type(value) not in _CONTAINERS:
        return value is None or _atom(value)
    todo: list[tuple[object, int]] = [([value], 0)]
    while todo:
        container, depth = todo.pop()
        if depth > MAX_DEPTH:
            return False
        items: Any = container
        if type(container) is dict:
            if not all(map(_text, container)):
                return False
            items = container.values()
        for item in items:
            kind = type(item)
            if kind in _CONTAINERS:
                todo.append((item, depth + 1))
            elif not (kind is str and item.isascii()) and not _atom(item):
                return False
    return True


def json_problems(value: object) -> list[tuple[str, str]]:
    """Why ``value`` is no JSON value: up to ``MAX_PROBLEMS`` pairs of path (such as ``.rows[0]``) and problem."""
    if json_value(value):
        return []
    problems: list[tuple[str, str]] = []
    todo: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while todo and len(problems) < MAX_PROBLEMS:
        item, path = todo.pop()
        if type(item) not in _CONTAINERS:
            if not _atom(item):
                problems.append((path_text(path), _oddity(item)))
        elif len(path) >= MAX_DEPTH:
            problems.append((path_text(path), f"is nested more than {MAX_DEPTH} deep"))
        elif isinstance(item, list):
            todo.extend((inner, (*path, rank)) for rank, inner in reversed(list(enumerate(item))))
        else:
            odd = [key for key in item if not _text(key)]
            problems.extend((path_text(path), f"has the key {_shown(key)}, which is no text") for key in odd)
            todo.extend((inner, (*path, key)) for key, inner in reversed(item.items()) if _text(key))
    return problems


def json_faults(value: object) -> tuple[str, ...]:
    """Why ``value`` is no JSON value, each as ``$.path: problem``; empty if it is one (V4)."""
    return tuple(f"${path}: {problem}" for path, problem in json_problems(value))


def json_fault(value: object) -> str | None:
    """The first of ``json_faults``, or None if ``value`` is a JSON value (V4)."""
    return next(iter(json_faults(value)), None)


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it, without the root: ``.rows[0].name``, and ``["two words"]`` for an unusual key."""
    return "".join(
        f"[{part}]" if type(part) is int else f".{part}" if _PLAIN_KEY.fullmatch(str(part)) else f"[{json.dumps(part)}]"
        for part in path
    )


def fresh(value: Json) -> Json:
    """A copy of a JSON value that shares no container with it."""
    kind = type(value)
    if kind is dict:
        return {key: fresh(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if kind is list:
        return [fresh(item) if type(item) in _CONTAINERS else item for item in value]
    return value


def _text(item: object) -> bool:
    """Whether ``item`` is a text that can be written down; almost all are plain ASCII, which is known at once."""
    return type(item) is str and (item.isascii() or not _SURROGATE.search(item))


def _atom(item: object) -> bool:
    """Whether ``item`` is a JSON value that is no container."""
    if type(item) in _ATOMS:
        return True
    if type(item) is str:
        return _text(item)
    if type(item) is int:
        return -_LARGEST <= item <= _LARGEST
    return type(item) is float and isfinite(item)


def _oddity(item: object) -> str:
    """What is wrong with something that is neither a container nor a JSON value."""
    if type(item) is int:
        return "is an integer too large for JSON"
    if type(item) is float:
        return f"is {item}, which JSON does not have"
    if type(item) is str:
        return "is a text with a lone surrogate"
    return f"is a {type(item).__name__}, which JSON does not have"


def _shown(key: object) -> str:
    """A key that is no text, in short; the ``repr`` of a stranger is not trusted."""
    return ascii(key) if _atom(key) or type(key) is str else type(key).__name__
