"""What `${...}`, a condition and a schema mean, read afresh from the contract (V1-V5).

Rule 1: everything here is a function of values; nothing is remembered but compiled programs.
Rule 2: a value found missing is reported by its path, never replaced by a default.
Rule 3: the libraries behind conditions and schemas are others than an engine would take (Google's CEL, jsonschema-rs):
a shared mistake would agree with itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from cel_expr_python import cel

from model.history import Json

Schema: TypeAlias = Any
"""A JSON Schema's validator, or None: the library names one class for each draft."""

Scope: TypeAlias = Mapping[str, Json]
"""What a name stands for: ``input``, and the output of each step that is COMPLETED."""

REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
TOKEN: Final = re.compile(
    r"""
    (?P<literal> [bB]?[rR][bB]? (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
               | [bB]? (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                         | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
               | //[^\n]* )
    | \$\{ (?P<reference>[^{}]*) \}
    | (?P<name> (?<![\w.])[A-Za-z_]\w*+ (?!\s*\() )
    """,
    re.VERBOSE | re.DOTALL,
)
RESERVED: Final = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "bool",
        "bytes",
        "double",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "type",
        "uint",
    }
)
"""Names that mean something in CEL: a step with such a name is spelled as a reference."""
MISSING: Final = object()


def same(left: Json, right: Json) -> bool:
    """Whether two JSON values are one: true is not 1, the order of keys is nothing."""
    return left is right or repr(left) == repr(right) or _same(left, right)


def _same(left: Json, right: Json) -> bool:
    if isinstance(left, Mapping):
        return (
            isinstance(right, Mapping)
            and left.keys() == right.keys()
            and all(_same(value, right[key]) for key, value in left.items())
        )
    if isinstance(left, (list, tuple)):
        return isinstance(right, (list, tuple)) and len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124  (not a number equals nothing)


def unnamed(words: Iterable[str], text: str) -> list[str]:
    """The words that a text does not name; the ``a`` of "attempt" names nobody."""
    return [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]


def merge(old: Json, new: Json) -> Json:
    """What a resume makes of the input (P2): objects key by key at every depth, any other value replaces."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: merge(old[key], value) if key in old else value for key, value in new.items()}}


def find(path: str, scope: Scope) -> Json:
    """The value at a dotted path, or ``MISSING``. A number indexes a list; null is a value."""
    name, *keys = path.split(".")
    value = scope.get(name, MISSING)
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def resolve(template: Json, scope: Scope, missing: list[str]) -> Json:
    """The template with its references resolved; each path that leads nowhere is appended to ``missing``, once."""
    if isinstance(template, str):
        return _resolve_text(template, scope, missing) if "${" in template else template
    if isinstance(template, Mapping):
        return {key: resolve(value, scope, missing) for key, value in template.items()}
    if isinstance(template, list):
        return [resolve(value, scope, missing) for value in template]
    return template


def _resolve_text(text: str, scope: Scope, missing: list[str]) -> Json:
    def value_of(path: str) -> Json:
        value = find(path, scope)
        if value is MISSING and path not in missing:
            missing.append(path)
        return value

    def text_of(match: re.Match[str]) -> str:
        path = match[1]
        if path is None:
            return "${"
        value = value_of(path)
        if isinstance(value, str):
            return value
        return "" if value is MISSING else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    whole = REFERENCE.fullmatch(text)
    if whole and whole[1] is not None:
        return value_of(whole[1])
    return REFERENCE.sub(text_of, text)


def has_references(template: Json) -> bool:
    """Whether resolving the template could change it."""
    if isinstance(template, str):
        return "${" in template
    if isinstance(template, Mapping):
        return any(map(has_references, template.values()))
    return isinstance(template, list) and any(map(has_references, template))


@lru_cache(maxsize=256)
def _environment(names: tuple[str, ...]) -> Any:  # noqa: ANN401 - the library has no types
    """What declares these names; shared, since a hundred kilobytes go with each, and most conditions name the same."""
    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN))


class Condition:
    """A condition's text, ready to be asked: true, false, or None if it cannot be evaluated (V5)."""

    __slots__ = ("_names", "_program", "_references")

    def __init__(self, text: str) -> None:
        self._names: list[str] = []
        self._references: dict[str, str] = {}
        prefix = "_"
        while prefix in text:
            prefix += "_"

        def put(match: re.Match[str]) -> str:
            if (path := match["reference"]) is not None:
                fresh = f"{prefix}{len(self._references)}"
                self._references[fresh] = path
                return fresh
            name = match["name"]
            if name and name not in RESERVED and name not in self._names:
                self._names.append(name)
            return match[0]

        source = TOKEN.sub(put, text)
        try:
            self._program: Any = _environment((*sorted(self._names), *self._references)).compile(source)
        except RuntimeError:  # by its types alone it can never be evaluated: "a" > 1
            self._program = None

    def holds(self, scope: Scope) -> bool | None:
        """Its verdict on these values."""
        if self._program is None:
            return None
        values = {name: scope[name] for name in self._names if name in scope}
        for name, path in self._references.items():
            if (value := find(path, scope)) is not MISSING:
                values[name] = value
        try:
            result = self._program.eval(data=values)
        except RuntimeError:  # a text that is no Unicode
            return None
        return bool(result.value()) if result.type() == cel.Type.BOOL else None


@lru_cache(maxsize=4096)
def condition(text: str) -> Condition:
    """The condition with this text, compiled once."""
    return Condition(text)


def faulty_paths(validator: Schema, value: Json) -> list[list[str]] | None:
    """Where a value violates a schema (V4): the keys on the way to each fault; None if it does not."""
    if validator is None or validator.is_valid(value):
        return None
    return [[str(key) for key in error.instance_path] for error in validator.iter_errors(value)]
