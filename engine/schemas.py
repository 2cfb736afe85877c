"""JSON Schema on parameters and outputs (V4).

Rule 1: the dialect is the one that ``$schema`` names, Draft 2020-12 without it; a dialect nobody knows is a fault.
Rule 2: a schema is one document. A ``$ref`` that leads out of it, to a file or to the network, is a fault, and nothing
        is ever fetched.
Rule 3: a check always ends with an answer: what a validator raises (as when a schema refers to itself without end) is a
        fault of the value, never a pass.
Rule 4: faults are sorted, so the same value always reads the same.

Checking a schema and building its validator cost milliseconds, so both are remembered by the schema's text. A step
without a schema has None in its place, and costs nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError as BrokenRule
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from engine.values import Json, json_fault, json_faults, json_value, path_text

__all__ = ["Schema", "json_fault", "json_faults", "json_value", "schema_problems"]

_LONGEST_PROBLEM = 200
_REFERENCE_WORDS = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class Schema:
    """A valid JSON Schema; ``text`` is its JSON, which is also its identity."""

    text: str

    @classmethod
    def of(cls, document: Json) -> "Schema":
        """The schema that ``document`` is; whether it is a valid one, ``schema_problems`` has said before."""
        return cls(json.dumps(document))

    def faults(self, value: Json) -> tuple[str, ...]:
        """What ``value`` breaks, each as ``$.path: problem``, sorted; empty if it is valid (V4)."""
        validator = _validator(self.text)
        try:
            if validator.is_valid(value):
                return ()
            return tuple(sorted({_told(error) for error in validator.iter_errors(value)}))
        except Exception as error:  # noqa: BLE001 - rule 3: the library may raise anything, and it must not pass for valid
            return (f"$: cannot be checked: {type(error).__name__}: {error}"[:_LONGEST_PROBLEM],)


def schema_problems(document: Json) -> tuple[tuple[str, str], ...]:
    """Why ``document`` is no JSON Schema (D3): pairs of path in it (such as ``.properties.a``) and problem."""
    if type(document) is not dict and type(document) is not bool:
        return (("", "must be a JSON Schema: an object, true or false"),)
    return _problems(json.dumps(document))


@lru_cache(maxsize=256)
def _problems(text: str) -> tuple[tuple[str, str], ...]:
    """``schema_problems`` of a schema given as text."""
    document = json.loads(text)
    dialect = _dialect(document)
    if dialect is None:
        return ((".$schema", f"names a dialect that is not known: {document['$schema']!r}"),)
    meta = dialect(dialect.META_SCHEMA, format_checker=dialect.FORMAT_CHECKER)
    try:
        broken = sorted({(path_text(error.absolute_path), error.message) for error in meta.iter_errors(document)})
        return tuple((path, problem[:_LONGEST_PROBLEM]) for path, problem in broken) or tuple(
            _dangling(document, dialect)
        )
    except Exception as error:  # noqa: BLE001 - a pattern may break the regex compiler in its own ways
        return (("", f"cannot be checked: {type(error).__name__}: {error}"[:_LONGEST_PROBLEM]),)


def _dialect(document: Json) -> type[Validator] | None:
    """The validator class of the dialect that a schema is written in (rule 1), or None."""
    if isinstance(document, bool) or "$schema" not in document:
        return Draft202012Validator
    named = document["$schema"]
    unknown: Any = None  # the library's types do not know that this default is allowed
    found: type[Validator] | None = validator_for(document, default=unknown) if isinstance(named, str) else None
    return found


def _dangling(document: Json, dialect: type[Validator]) -> Iterator[tuple[str, str]]:
    """The ``$ref`` and their like that lead out of the schema (rule 2), wherever a validator could meet them."""
    specification = specification_with(str(dialect.META_SCHEMA["$schema"]))
    root = specification.create_resource(document)
    resolver = Registry().with_resource("", root).resolver_with_root(root)
    todo = [(root, resolver)]
    seen: set[int] = set()
    for resource, here in todo:  # it grows while we walk it
        contents = resource.contents
        if not isinstance(contents, dict) or id(contents) in seen:
            continue
        seen.add(id(contents))
        todo.extend((inner, here.in_subresource(inner)) for inner in resource.subresources())
        for word in _REFERENCE_WORDS:
            if isinstance(target := contents.get(word), str):
                try:
                    found = here.lookup(target)
                except Unresolvable:
                    yield "", f"{word} {target!r} leads out of the schema"
                else:
                    todo.append((specification.create_resource(found.contents), found.resolver))


@lru_cache(maxsize=256)
def _validator(text: str) -> Validator:
    """The validator of a valid schema given as text; it has nothing to fetch with (rule 2)."""
    document = json.loads(text)
    dialect = _dialect(document)
    assert dialect is not None, "the schema was checked"
    return dialect(document, registry=Registry())


def _told(error: BrokenRule) -> str:
    """A broken rule as ``$.path: problem``."""
    return f"${path_text(error.absolute_path)}: {error.message[:_LONGEST_PROBLEM]}"
