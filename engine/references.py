"""References: ``${input.a.b}`` and ``${step.rows.0}`` inside a JSON value (V1, V2, V3).

Rule 1: a reference is ``${``, a name, segments after dots, ``}``; the name is ``input`` or a step's id. No part is
        empty, holds ``$ . { }`` or a control character, or begins or ends with a space. ``$${`` is a literal ``${``.
Rule 2: one pass. What a reference brings in is never looked at again, and keys are left alone.
Rule 3: a text that is one reference and nothing else becomes the value, type and all; in a longer text a str goes in as
        it is, everything else as compact JSON.
Rule 4: what comes out shares no container with the template or with the scope: an action may do with it what it likes.
Rule 5: a number indexes a list and is a key of an object. Null is a value; only what is not there is missing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from engine.values import Json, fresh, path_text

__all__ = [
    "MalformedError",
    "MissingPath",
    "Reference",
    "look_up",
    "mentions",
    "read_reference",
    "references_in",
    "resolve",
]

_MARK = re.compile(r"\$\$\{|\$\{([^${}]*)(\}?)")
_PART = re.compile(r"(?!\s)[^${}.\x00-\x1f\x7f]+(?<!\s)")
_LONGEST_INDEX = 18  # digits; no list is longer, and int() refuses thousands of them


class MissingPath(LookupError):  # noqa: N818 - it says what is missing; the core turns it into an error or a pause
    """A template refers to what is not there; ``paths`` names each such reference once, in order (V3)."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(paths)
        self.paths = paths

    def __str__(self) -> str:
        """The paths."""
        return f"missing: {', '.join(self.paths)}"


class MalformedError(ValueError):
    """A reference or a condition is no such thing; the message says why (D3)."""

    def __init__(self, what: str, text: str, reason: str) -> None:
        super().__init__(what, text, reason)

    def __str__(self) -> str:
        """What it should have been, the text, the reason."""
        what, text, reason = self.args
        return f"malformed {what} {text!r}: {reason}"


class Reference(NamedTuple):
    """A path into the input (``name`` is ``input``) or into the output of the step ``name``."""

    name: str
    segments: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is written between the braces."""
        return ".".join((self.name, *self.segments))


class _Absent:
    """Stands for what is not there, since None is a value."""


_ABSENT = _Absent()


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | Reference, ...]:
    """A text as literals and references in turn; raises MalformedError (rule 1)."""
    parts: list[str | Reference] = []
    literal, end = "", 0
    for mark in _MARK.finditer(text):
        literal += text[end : mark.start()]
        end = mark.end()
        if mark[1] is None:
            literal += "${"
            continue
        if not mark[2]:
            raise MalformedError("reference", mark[0], "it is not closed, or holds '$' or a brace")
        if literal:
            parts.append(literal)
        parts.append(read_reference(mark[1]))
        literal = ""
    literal += text[end:]
    return (*parts, literal) if literal else tuple(parts)


def read_reference(path: str) -> Reference:
    """The reference written ``${path}``; raises MalformedError (V1, D3)."""
    name, *segments = path.split(".")
    if not all(map(_PART.fullmatch, (name, *segments))):
        raise MalformedError("reference", f"${{{path}}}", "a part of it is empty, or begins or ends with a space")
    return Reference(name, tuple(segments))


def mentions(template: Json) -> bool:
    """Whether ``template`` holds ``${`` in any of its texts, so that ``resolve`` would be more than a copy."""
    todo = [template]
    for item in todo:  # it grows while we walk it
        if type(item) is str:
            if "${" in item:
                return True
        elif type(item) is dict:
            todo.extend(item.values())
        elif type(item) is list:
            todo.extend(item)
    return False


def references_in(template: Json) -> Iterator[tuple[str, Reference | str]]:
    """Every reference of ``template`` in order, with its path; a malformed one as a sentence that says why (D3)."""
    todo: list[tuple[Json, tuple[str | int, ...]]] = [(template, ())]
    while todo:
        item, path = todo.pop()
        if type(item) is dict:
            todo.extend((inner, (*path, key)) for key, inner in reversed(item.items()))
        elif type(item) is list:
            todo.extend((inner, (*path, rank)) for rank, inner in reversed(list(enumerate(item))))
        elif type(item) is str and "${" in item:
            try:
                parts = _parts(item)
            except MalformedError as error:
                yield path_text(path), str(error)
                continue
            yield from ((path_text(path), part) for part in parts if isinstance(part, Reference))


def look_up(reference: Reference, scope: Mapping[str, Json]) -> Json:
    """The value a reference names, not copied; raises MissingPath if it is not there (V1, V3)."""
    value = _find(reference, scope)
    if value is _ABSENT:
        raise MissingPath((reference.text,))
    return value


def resolve(template: Json, scope: Mapping[str, Json]) -> Json:
    """``template`` with every reference replaced by what ``scope`` (``input`` and step ids to values) holds (V1, V2).

    The template must have been accepted by the parser. Raises MissingPath with every path that is not there (V3).
    """
    missing: dict[str, None] = {}
    resolved = _resolve(template, scope, missing)
    if missing:
        raise MissingPath(tuple(missing))
    return resolved


def _resolve(template: Json, scope: Mapping[str, Json], missing: dict[str, None]) -> Json:
    """One level of ``resolve``; notes what is missing and goes on."""
    kind = type(template)
    if kind is dict:
        return {key: _resolve(item, scope, missing) for key, item in template.items()}
    if kind is list:
        return [_resolve(item, scope, missing) for item in template]
    if kind is not str or "${" not in template:
        return template
    parts = _parts(template)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return fresh(_value(parts[0], scope, missing))
    return "".join(part if isinstance(part, str) else _spelled(_value(part, scope, missing)) for part in parts)


def _value(reference: Reference, scope: Mapping[str, Json], missing: dict[str, None]) -> Json:
    """The value a reference names, or None and a note of what is missing."""
    value = _find(reference, scope)
    if value is _ABSENT:
        missing.setdefault(reference.text)
        return None
    return value


def _find(reference: Reference, scope: Mapping[str, Json]) -> Json:
    """The value a reference names, or ``_ABSENT`` (rule 5)."""
    value = scope.get(reference.name, _ABSENT)
    for segment in reference.segments:
        if type(value) is dict:
            value = value.get(segment, _ABSENT)
        elif type(value) is list and segment.isascii() and segment.isdigit() and len(segment) <= _LONGEST_INDEX:
            index = int(segment)
            value = value[index] if index < len(value) else _ABSENT
        else:
            return _ABSENT
    return value


def _spelled(value: Json) -> str:
    """A value as it goes into a longer text (rule 3)."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
