"""The naive engine's definitions: every fault of a bad one, and the steps of a good one (D1 to D3).

Rule 1: written from the contract alone, like the engine itself.
Rule 2: WfFormat is left out: no machine plays it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import cel
import jsonschema

Json: TypeAlias = Any
Spec: TypeAlias = dict[str, Json]
"""A step as the steps shape spells it."""

REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_ACTIONS: Final = ("work", "undo", "wait")
_FUNCTIONS: Final = (
    *("all", "exists", "exists_one", "filter", "map", "has", "in"),
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("int", "uint", "double", "string", "bytes", "type", "dyn", "timestamp", "duration"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)
"""CEL's own."""
_TYPES: Final = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
_LITERAL: Final = re.compile(
    r"""(?<!\w)(?:[bB]?[rR]|[rR][bB]|[bB])?
        (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' ) | //[^\n]*""",
    re.DOTALL | re.VERBOSE,
)
"""A text in CEL, or a comment."""


def outside(condition: str) -> list[str]:
    """The pieces of a condition between its texts and comments."""
    return _LITERAL.split(condition)


def with_references(condition: str, spell: Callable[[re.Match[str]], str]) -> str:
    """A condition with its references spelled otherwise; what stands in a text is none."""
    between = [*_LITERAL.findall(condition), ""]
    pieces = [REFERENCE.sub(spell, piece) for piece in outside(condition)]
    return "".join(each for pair in zip(pieces, between, strict=True) for each in pair)


def steps_of(definition: Json) -> dict[str, Spec]:
    """The steps of a sound definition as listed; each connection is an object with the whole of its condition."""
    whole = given(definition)
    if "steps" in whole:
        steps = {step["id"]: dict(given(step)) for step in whole["steps"]}
    else:
        steps = {node["id"]: {**given(node["config"]), "depends_on": []} for node in whole["nodes"]}
        for connection in whole.get("connections", []):
            steps[connection["target"]]["depends_on"].append(connection)
    for step in steps.values():
        own = step.get("condition")
        sources: list[Spec] = [
            {"source": each} if isinstance(each, str) else dict(each) for each in step.get("depends_on", [])
        ]
        for each in sources:
            both = [text for text in (each.get("condition"), own) if text is not None]
            each["condition"] = " && ".join(f"({text}\n)" for text in both) or None
        step["depends_on"] = sources
        if "compensation" in step:
            step["compensation"] = _with_retries(given(step["compensation"]))
        step.update(_with_retries(step))
    return steps


def _with_retries(spec: Spec) -> Spec:
    return {**spec, "retries": given(spec["retries"])} if "retries" in spec else dict(spec)


def given(value: Json) -> dict[str, Json]:
    """An object without its keys that are null; an empty one for whatever is no object."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else {}


def _is_number(value: Json, least: float, *, above: bool = False) -> bool:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return good and (value > least if above else value >= least)


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_text(value: Json) -> bool:
    return isinstance(value, str) and value != ""


def _is_flag(value: Json) -> bool:
    return isinstance(value, bool)


def _is_timeout(value: Json) -> bool:
    return _is_number(value, 0, above=True)


def _is_title(value: Json) -> bool:
    return isinstance(value, str)


def _is_list(value: Json) -> bool:
    return isinstance(value, list)


def _is_object(value: Json) -> bool:
    return isinstance(value, dict)


def _is_anything(value: Json) -> bool:
    del value
    return True


Check: TypeAlias = Callable[[Json], bool]

_SEEN: Final = (
    "position",
    "style",
    "data",
    "metadata",
    "description",
    "version",
    "type",
    "title",
    "label",
    "tags",
    "ui",
)
"""What an editor may leave on a workflow, a node or a connection."""


def _may_be_seen(known: Mapping[str, Check]) -> dict[str, Check]:
    return {**dict.fromkeys(_SEEN, _is_anything), **known}


_SETTINGS: Final = _may_be_seen(
    {
        "id": _is_text,
        "name": _is_title,
        "max_concurrent_steps": _is_count,
        "timeout": _is_timeout,
        "rollback_on_cancel": _is_flag,
    }
)
_RETRIES: Final[Mapping[str, Check]] = {
    "max_attempts": _is_count,
    "initial_interval": lambda value: _is_number(value, 0),
    "backoff": lambda value: _is_number(value, 1),
    "max_interval": lambda value: _is_number(value, 0),
}
_COMPENSATION: Final[Mapping[str, Check]] = {
    "action": lambda value: isinstance(value, str) and value in _ACTIONS,
    "parameters": _is_object,
    "timeout": _is_timeout,
    "retries": _is_object,
}
_POLICIES: Final[Mapping[str, Check]] = {
    **_COMPENSATION,
    "join": lambda value: value in ("all", "any"),
    "continue_on_error": _is_flag,
    "condition": _is_title,
    "compensation": _is_object,
    "input_schema": _is_anything,
    "output_schema": _is_anything,
}
_STEP: Final[Mapping[str, Check]] = {
    **_POLICIES,
    "id": _is_anything,
    "name": _is_title,
    "depends_on": _is_list,
    "sequence_order": _is_anything,
}
_NODE: Final = _may_be_seen({"id": _is_anything, "title": _is_title, "config": _is_object})
_ENTRY: Final[Mapping[str, Check]] = {"source": _is_anything, "condition": _is_title}
_CONNECTION: Final = _may_be_seen({**_ENTRY, "id": _is_anything, "target": _is_anything})


class Inspection:
    """One definition on its way to be refused: every fault that it has, with its place."""

    def __init__(self, definition: Json) -> None:
        self.faults: list[str] = []
        whole = given(definition)
        self._graph = "nodes" in whole and "steps" not in whole
        self._outer = "nodes" if self._graph else "steps"
        if "nodes" in whole and "steps" in whole:
            self.faults.append("nodes: there are steps beside the nodes")
            whole.pop("nodes")
        if self._outer not in whole:
            self.faults.append(": neither steps nor nodes are there")
        lists = ("nodes", "connections") if self._graph else ("steps",)
        self._keys("", {"id": None, **whole}, {**_SETTINGS, **dict.fromkeys(lists, _is_list)})
        self.items = self._objects(self._outer, whole.get(self._outer))
        if whole.get(self._outer) == []:
            self.faults.append(f"{self._outer}: there are no steps")
        self.ids: list[Json] = []
        self.edges: list[tuple[Json, Json, Json, str]] = []
        """Source, target, condition, place."""
        for place, item in self.items:
            self._keys(place, {"config": None, **item} if self._graph else item, _NODE if self._graph else _STEP)
            self._identity(f"{place}.id", item.get("id"))
        self._connect(whole)
        self._again()
        self._cycles()
        for place, item in self.items:
            self._step(f"{place}.config" if self._graph else place, item)
        for _, target, condition, place in self.edges:
            self._condition(f"{place}.condition", condition, target)
        self._ranks()

    def _objects(self, place: str, value: Json) -> list[tuple[str, Spec]]:
        """The objects in a list, each with its place, without what is null in them."""
        found = []
        for rank, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                found.append((f"{place}[{rank}]", given(item)))
            else:
                self.faults.append(f"{place}[{rank}]: {item!r} is no object")
        return found

    def _keys(self, place: str, found: Mapping[str, Json], known: Mapping[str, Check]) -> None:
        for key, value in found.items():
            where = f"{place}.{key}" if place else key
            if key not in known:
                self.faults.append(f"{where}: unknown key")
            elif not known[key](value):
                self.faults.append(f"{where}: {value!r} is not valid")

    def _identity(self, place: str, name: Json) -> None:
        if not isinstance(name, str) or name in ("", "input") or re.search(r"[.${}\s\x00-\x1f\x7f-\x9f]", name):
            self.faults.append(f"{place}: {name!r} is no id")
        elif name in self.ids:
            self.faults.append(f"{place}: {name} is there twice")
        self.ids.append(name)

    def _connect(self, whole: Mapping[str, Json]) -> None:
        if self._graph:
            for place, each in self._objects("connections", whole.get("connections")):
                self._keys(place, each, _CONNECTION)
                for end in ("source", "target"):
                    self._known(f"{place}.{end}", each.get(end))
                self.edges.append((each.get("source"), each.get("target"), each.get("condition"), place))
            return
        for outer, item in self.items:
            entries = item.get("depends_on")
            for number, each in enumerate(entries if isinstance(entries, list) else []):
                place = f"{outer}.depends_on[{number}]"
                entry = given(each) if isinstance(each, dict) else {"source": each}
                self._keys(place, entry, _ENTRY)
                self._known(f"{place}.source" if isinstance(each, dict) else place, entry.get("source"))
                self.edges.append((entry.get("source"), item.get("id"), entry.get("condition"), place))

    def _known(self, place: str, name: Json) -> None:
        if name not in self.ids:
            self.faults.append(f"{place}: there is no step {name}")

    def _again(self) -> None:
        seen: list[Json] = []
        for source, target, condition, place in self.edges:
            if [source, target, condition] in seen:
                self.faults.append(f"{place}: the connection of {source} and {target} is there twice")
            seen.append([source, target, condition])

    def ancestors(self, name: Json) -> list[str]:
        """Every step that leads to this one; itself only if it is on a cycle."""
        found: list[str] = []
        fresh = [source for source, target, *_ in self.edges if target == name]
        while fresh:
            found += fresh
            fresh = [source for source, target, *_ in self.edges if target in fresh and source not in found]
        return found

    def _cycles(self) -> None:
        cyclic = [name for name in self.ids if name in self.ancestors(name)]
        while cyclic:
            ring = [name for name in cyclic if name in self.ancestors(cyclic[0]) and cyclic[0] in self.ancestors(name)]
            place = next(place for source, target, _, place in self.edges if source in ring and target in ring)
            self.faults.append(f"{place}: a cycle of {', '.join(ring)}")
            cyclic = [name for name in cyclic if name not in ring]

    def _ranks(self) -> None:
        """Where the steps have a topological order (D2), a ``sequence_order`` is a rank in it."""
        if self._graph or self.faults:
            return
        ranks: list[str] = []
        while len(ranks) < len(self.ids):
            left = [name for name in self.ids if name not in ranks]
            ranks.append(next(name for name in left if all(each in ranks for each in self.ancestors(name))))
        for place, item in self.items:
            rank, right = item.get("sequence_order"), ranks.index(item["id"]) + 1
            if rank is not None and (type(rank) is not int or rank != right):
                self.faults.append(f"{place}.sequence_order: {rank!r} is not {right}")

    def _step(self, place: str, item: Spec) -> None:
        config = given(item.get("config")) if self._graph else item
        if self._graph:
            self._keys(place, config, _POLICIES)
        if "action" not in config:
            self.faults.append(f"{place}.action: it does nothing")
        above = self.ancestors(item.get("id"))
        self._work(place, config, above)
        self._condition(f"{place}.condition", config.get("condition"), item.get("id"))
        for key in ("input_schema", "output_schema"):
            if key in config:
                self._schema(f"{place}.{key}", config[key])
        if isinstance(config.get("compensation"), dict):
            undo = given(config["compensation"])
            self._keys(f"{place}.compensation", {"action": None, **undo}, _COMPENSATION)
            self._work(f"{place}.compensation", undo, [*above, item.get("id")])

    def _work(self, place: str, config: Spec, names: list[Json]) -> None:
        self._keys(f"{place}.retries", given(config.get("retries")), _RETRIES)
        self._references(f"{place}.parameters", config.get("parameters"), names)

    def _references(self, place: str, value: Json, names: list[Json]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._references(f"{place}.{key}", item, names)
        elif isinstance(value, list):
            for rank, item in enumerate(value):
                self._references(f"{place}[{rank}]", item, names)
        elif isinstance(value, str):
            for match in REFERENCE.finditer(value):
                if match[0] != "$${":
                    self._path(place, match[1] or "", names)

    def _path(self, place: str, path: str, names: list[Json]) -> None:
        if "" in path.split("."):
            self.faults.append(f"{place}: a malformed reference")
        elif (name := path.partition(".")[0]) not in ("input", *names):
            self.faults.append(f"{place}: {name} is no ancestor")

    def _condition(self, place: str, condition: Json, name: Json) -> None:
        if not isinstance(condition, str):
            return
        names = self.ancestors(name)
        bare = "''".join(outside(condition))
        for match in REFERENCE.finditer(bare):
            self._path(place, match[1] or "", names)
        text = re.sub(r"\s*\.\s*", ".", REFERENCE.sub("1", bare))
        for word in re.findall(r"([A-Za-z_]\w*)\s*\(", text):
            if word not in _FUNCTIONS:
                self.faults.append(f"{place}: there is no function {word}")
        local = re.findall(r"\(\s*(\w+)\s*,", text)
        for word in re.findall(r"(?<![\w.])[A-Za-z_]\w*(?![\w(])", text):
            if word not in ("input", "true", "false", "null", "in", *_TYPES, *names, *local):
                self.faults.append(f"{place}: {word} is no ancestor")
        try:
            cel.compile(with_references(condition, lambda _: "_0_"))
        except ValueError as error:
            self.faults.append(f"{place}: {error}")

    def _schema(self, place: str, schema: Json) -> None:
        meta = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
        for error in meta.iter_errors(schema):
            self.faults.append(".".join([place, *map(str, error.absolute_path)]) + f": {error.message}")
        if '"$ref": "http' in json.dumps(schema):
            self.faults.append(f"{place}: a $ref to another document")


def faults_of(definition: Json) -> list[str]:
    """Every fault of a definition, each after its place."""
    return Inspection(definition).faults
