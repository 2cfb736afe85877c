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


def steps_of(definition: Json) -> dict[str, Spec]:
    """The steps of a sound definition in order, each connection as an object with the whole of its condition."""
    if "steps" in definition:
        steps = {step["id"]: dict(step) for step in definition["steps"]}
    else:
        steps = {node["id"]: {**node["config"], "id": node["id"], "depends_on": []} for node in definition["nodes"]}
        for connection in definition.get("connections", []):
            steps[connection["target"]]["depends_on"].append(connection)
    for step in steps.values():
        own = step.get("condition")
        sources: list[Spec] = [
            {"source": each} if isinstance(each, str) else dict(each) for each in step.get("depends_on", [])
        ]
        for each in sources:
            both = [text for text in (each.get("condition"), own) if text is not None]
            each["condition"] = " && ".join(f"({text})" for text in both) or None
        step["depends_on"] = sources
    if "steps" in definition:
        return steps
    ordered: dict[str, Spec] = {}
    while len(ordered) < len(steps):
        name = next(
            name
            for name, step in steps.items()
            if name not in ordered and all(each["source"] in ordered for each in step["depends_on"])
        )
        ordered[name] = steps[name]
    return ordered


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


def _is_anything(value: Json) -> bool:
    del value
    return True


Check: TypeAlias = Callable[[Json], bool]

_SETTINGS: Final[Mapping[str, Check]] = {
    "id": _is_text,
    "max_concurrent_steps": _is_count,
    "timeout": _is_timeout,
    "rollback_on_cancel": _is_flag,
    **dict.fromkeys(("name", "description", "version", "metadata", "steps", "nodes", "connections"), _is_anything),
}
_RETRIES: Final[Mapping[str, Check]] = {
    "max_attempts": _is_count,
    "initial_interval": lambda value: _is_number(value, 0),
    "backoff": lambda value: _is_number(value, 1),
    "max_interval": lambda value: _is_number(value, 0),
}
_COMPENSATION: Final[Mapping[str, Check]] = {
    "action": _ACTIONS.__contains__,
    "parameters": lambda value: isinstance(value, dict),
    "timeout": _is_timeout,
    "retries": lambda value: isinstance(value, dict),
}
_POLICIES: Final[Mapping[str, Check]] = {
    **_COMPENSATION,
    "join": ("all", "any").__contains__,
    "continue_on_error": _is_flag,
    "condition": lambda value: isinstance(value, str),
    "compensation": lambda value: isinstance(value, dict),
    "input_schema": _is_anything,
    "output_schema": _is_anything,
}
_BESIDE: Final = ("id", "name", "title", "description", "depends_on")


class Inspection:
    """One definition on its way to be refused: every fault that it has, with its place."""

    def __init__(self, definition: Json) -> None:
        self.faults: list[str] = []
        whole = definition if isinstance(definition, dict) else {}
        self._keys("", {"id": None, **whole}, _SETTINGS)
        self._graph = "steps" not in whole
        self._outer = "nodes" if self._graph else "steps"
        self.items = [item if isinstance(item, dict) else {} for item in whole.get(self._outer, [])]
        self.ids: list[str] = []
        self.edges: list[tuple[Json, Json, Json, str]] = []
        """Source, target, condition, place."""
        for rank, item in enumerate(self.items):
            self._identity(f"{self._outer}[{rank}].id", item.get("id"))
        if not self.items:
            self.faults.append(f"{self._outer}: there are no steps")
        self._connect(whole)
        self._cycles()
        for rank, item in enumerate(self.items):
            place = f"{self._outer}[{rank}]"
            config = item.get("config") if self._graph else item
            self._step(place + ".config" * self._graph, config if isinstance(config, dict) else {}, item.get("id"))
        for _, target, condition, place in self.edges:
            self._condition(f"{place}.condition", condition, target)

    def _keys(
        self, place: str, given: Mapping[str, Json], known: Mapping[str, Check], beside: tuple[str, ...] = ()
    ) -> None:
        for key, value in given.items():
            where = f"{place}.{key}" if place else key
            if key not in known and key not in beside:
                self.faults.append(f"{where}: unknown key")
            elif key in known and not known[key](value):
                self.faults.append(f"{where}: {value!r} is not valid")

    def _identity(self, place: str, name: Json) -> None:
        if not isinstance(name, str) or name in ("", "input") or re.search(r"[.{}\s]", name):
            self.faults.append(f"{place}: {name!r} is no id")
        elif name in self.ids:
            self.faults.append(f"{place}: {name} is there twice")
        self.ids.append(name)

    def _connect(self, whole: Mapping[str, Json]) -> None:
        if self._graph:
            for rank, each in enumerate(whole.get("connections", [])):
                place = f"connections[{rank}]"
                for end in ("source", "target"):
                    self._known(f"{place}.{end}", each.get(end))
                self.edges.append((each.get("source"), each.get("target"), each.get("condition"), place))
            return
        for rank, item in enumerate(self.items):
            for number, each in enumerate(item.get("depends_on", [])):
                place = f"steps[{rank}].depends_on[{number}]"
                entry = each if isinstance(each, dict) else {"source": each}
                self._known(place, entry.get("source"))
                self.edges.append((entry.get("source"), item.get("id"), entry.get("condition"), place))

    def _known(self, place: str, name: Json) -> None:
        if name not in self.ids:
            self.faults.append(f"{place}: there is no step {name}")

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

    def _step(self, place: str, config: Spec, name: Json) -> None:
        self._work(place, config, _POLICIES, self.ancestors(name))
        self._condition(f"{place}.condition", config.get("condition"), name)
        for key in ("input_schema", "output_schema"):
            if key in config:
                self._schema(f"{place}.{key}", config[key])
        if isinstance(config.get("compensation"), dict):
            self._work(f"{place}.compensation", config["compensation"], _COMPENSATION, [*self.ancestors(name), name])

    def _work(self, place: str, config: Spec, known: Mapping[str, Check], names: list[str]) -> None:
        self._keys(place, {"action": None, **config}, known, () if known is _COMPENSATION else _BESIDE)
        if isinstance(config.get("retries"), dict):
            self._keys(f"{place}.retries", config["retries"], _RETRIES)
        self._references(f"{place}.parameters", config.get("parameters"), names)

    def _references(self, place: str, value: Json, names: list[str]) -> None:
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

    def _path(self, place: str, path: str, names: list[str]) -> None:
        if "" in path.split("."):
            self.faults.append(f"{place}: a malformed reference")
        elif (name := path.partition(".")[0]) not in ("input", *names):
            self.faults.append(f"{place}: {name} is no ancestor")

    def _condition(self, place: str, condition: Json, name: Json) -> None:
        if not isinstance(condition, str):
            return
        names = self.ancestors(name)
        for match in REFERENCE.finditer(condition):
            self._path(place, match[1] or "", names)
        text = re.sub(r"\"[^\"]*\"|'[^']*'", "''", REFERENCE.sub("1", condition))
        local = re.findall(r"\(\s*(\w+)\s*,", text)
        for word in re.findall(r"(?<![\w.])[A-Za-z_]\w*(?![\w(])", text):
            if word not in ("input", "true", "false", "null", "in", *names, *local):
                self.faults.append(f"{place}: {word} is no ancestor")
        try:
            cel.compile(REFERENCE.sub("_0_", condition))
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
