"""The JSON shapes of a definition, read into one outline: steps as written, and arrows between them (D1).

Rule 1: a shape is read as far as it goes. What is broken is noted in ``Faults`` with its place, the rest is read.
Rule 2: a key that nobody knows is a fault, so that a misspelled policy is never silently ignored. Exceptions are the
        ``EDITOR_KEYS`` on a workflow, on a graph's nodes and on its connections: visual editors save them.
Rule 3: an optional key whose value is null counts as absent.
Rule 4: a connection is known by source, target and condition: a second one with all three alike is a fault.
Rule 5: what is read is ``private_copy``: the caller's definition is neither changed nor shared.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from engine.errors import DefinitionError, Fault
from engine.values import MAX_PROBLEMS, Json, fresh, json_problems, json_value

__all__ = [
    "EDITOR_KEYS",
    "POLICIES",
    "UNNAMEABLE",
    "WORKFLOW_KEYS",
    "Arrow",
    "Draft",
    "Faults",
    "Outline",
    "add_arrow",
    "add_draft",
    "check_keys",
    "outline_of_graph",
    "outline_of_steps",
    "present",
    "private_copy",
    "vertex",
]

POLICIES = ("timeout", "retries", "continue_on_error", "join", "input_schema", "output_schema", "compensation")
WORKFLOW_KEYS = ("id", "name", "max_concurrent_steps", "timeout", "rollback_on_cancel")
EDITOR_KEYS = frozenset(
    {"position", "style", "data", "metadata", "description", "version", "type", "title", "label", "tags", "ui"}
)
_STEPS_KEYS = frozenset({*WORKFLOW_KEYS, "steps", *EDITOR_KEYS})
_STEP_KEYS = frozenset({"id", "name", "action", "parameters", "depends_on", "condition", "sequence_order", *POLICIES})
_GRAPH_KEYS = frozenset({*WORKFLOW_KEYS, "nodes", "connections", *EDITOR_KEYS})
_NODE_KEYS = frozenset({"id", "title", "config", *EDITOR_KEYS})
_CONFIG_KEYS = frozenset({"action", "parameters", "condition", *POLICIES})
_CONNECTION_KEYS = frozenset({"id", "source", "target", "condition", *EDITOR_KEYS})
_ENTRY_KEYS = frozenset({"source", "condition"})

UNNAMEABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f.{}$\ud800-\udfff]")


@dataclass(slots=True)
class Faults:
    """What is wrong with a definition so far; ``spoilt`` places have been reported, and are not reported again."""

    found: list[Fault] = field(default_factory=list)
    spoilt: set[str] = field(default_factory=set)

    def add(self, place: str, problem: str) -> None:
        if place not in self.spoilt:
            self.found.append(Fault(place, problem))

    def refuse(self) -> None:
        """Raise DefinitionError if there is any fault (D3)."""
        if self.found:
            raise DefinitionError(tuple(self.found))


@dataclass(frozen=True, slots=True)
class Draft:
    """A step as written: where, under which id (empty if it has none that works), and its keys in ``body``."""

    place: str
    body_place: str
    id: str
    name: str
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Arrow:
    """A connection as written, between drafts by their positions."""

    source: int
    target: int
    condition: str | None
    place: str
    condition_place: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A definition as written: its steps in the order given, and its connections in theirs."""

    body: Mapping[str, Json]
    drafts: list[Draft] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    known: set[tuple[int, int, str | None]] = field(default_factory=set)


def outline_of_steps(definition: Mapping[str, Json], faults: Faults) -> Outline:
    """The outline of the *steps* shape: ``{id, steps: [{id, action, depends_on, ...}]}`` (D1)."""
    outline = Outline(present(definition))
    check_keys(outline.body, "", _STEPS_KEYS, faults)
    for place, body in _objects(outline.body.get("steps"), "steps", faults):
        check_keys(body, place, _STEP_KEYS, faults)
        add_draft(outline, Draft(place, place, "", _text(body, "name", place, faults), body), body.get("id"), faults)
    for target, draft in enumerate(outline.drafts):
        depends_on = draft.body.get("depends_on", [])
        if type(depends_on) is not list:
            faults.add(f"{draft.place}.depends_on", "must be a list of step ids")
            continue
        for rank, entry in enumerate(depends_on):
            place = f"{draft.place}.depends_on[{rank}]"
            if type(entry) is dict:
                check_keys(entry, place, _ENTRY_KEYS, faults)
                source = vertex(outline, entry.get("source"), f"{place}.source", faults)
                add_arrow(outline, (source, target), entry.get("condition"), place, faults)
            else:
                add_arrow(outline, (vertex(outline, entry, place, faults), target), None, place, faults)
    return outline


def outline_of_graph(definition: Mapping[str, Json], faults: Faults) -> Outline:
    """The outline of the *graph* shape: ``{id, nodes: [{id, config}], connections: [{source, target}]}`` (D1)."""
    outline = Outline(present(definition))
    check_keys(outline.body, "", _GRAPH_KEYS, faults)
    for place, node in _objects(outline.body.get("nodes"), "nodes", faults):
        check_keys(node, place, _NODE_KEYS, faults)
        config_place = f"{place}.config"
        config = node.get("config")
        if type(config) is dict:
            config = present(config)
            check_keys(config, config_place, _CONFIG_KEYS, faults)
        else:
            faults.add(config_place, "must be an object with the step's action")
            config = {}
            faults.spoilt.add(f"{config_place}.action")
        name = _text(node, "title", place, faults)
        add_draft(outline, Draft(place, config_place, "", name, config), node.get("id"), faults)
    for place, connection in _objects(outline.body.get("connections", []), "connections", faults):
        check_keys(connection, place, _CONNECTION_KEYS, faults)
        source = vertex(outline, connection.get("source"), f"{place}.source", faults)
        target = vertex(outline, connection.get("target"), f"{place}.target", faults)
        add_arrow(outline, (source, target), connection.get("condition"), place, faults)
    return outline


def private_copy(definition: Json, faults: Faults) -> dict[str, Json]:
    """A copy of the definition that nobody else has; what is no JSON is noted and becomes null (D3).

    Raises DefinitionError if there is nothing to go on with.
    """
    if type(definition) is not dict:
        faults.add("", f"must be an object, not a {type(definition).__name__}")
        faults.refuse()
    problems = json_problems(definition)
    if not problems:
        copy: dict[str, Json] = fresh(definition)
        return copy
    for path, problem in problems:
        faults.add(path.removeprefix("."), problem)
    if len(problems) >= MAX_PROBLEMS or any(problem.endswith("deep") for _, problem in problems):
        faults.refuse()  # what was not looked at may hold itself
    faults.spoilt.update(path.removeprefix(".") for path, _ in problems)
    pruned: dict[str, Json] = _pruned(definition)
    return pruned


def _pruned(value: Json) -> Json:
    """A copy of a value, with null for what is no JSON, and without the keys that are no texts."""
    if type(value) is dict:
        return {key: _pruned(item) for key, item in value.items() if type(key) is str and json_value(key)}
    if type(value) is list:
        return [_pruned(item) for item in value]
    return value if json_value(value) else None


def add_draft(outline: Outline, draft: Draft, given: Json, faults: Faults) -> None:
    """Add a step under the id given for it, if that is one (D3)."""
    place = f"{draft.place}.id"
    step = ""
    if given is None:
        faults.add(place, "is missing")
    elif type(given) is not str or not given:
        faults.add(place, "must be a text that is not empty")
    elif given == "input":
        faults.add(place, "must not be 'input': references call the execution's input so")
    elif UNNAMEABLE.search(given):
        faults.add(place, f"{given!r} holds a dot, brace, '$', space or control character: no reference could name it")
    elif given in outline.index:
        faults.add(place, f"{given!r} is the id of {outline.drafts[outline.index[given]].place} already")
    else:
        step = given
        outline.index[step] = len(outline.drafts)
    outline.drafts.append(Draft(draft.place, draft.body_place, step, draft.name or step, draft.body))


def vertex(outline: Outline, end: Json, place: str, faults: Faults) -> int | None:
    """The position of the step that one end of a connection names, if there is one (D3)."""
    if end is None:
        faults.add(place, "is missing")
    elif type(end) is not str:
        faults.add(place, "must be a step's id")
    elif end not in outline.index:
        faults.add(place, f"unknown step {end!r}")
    else:
        return outline.index[end]
    return None


def add_arrow(
    outline: Outline, ends: tuple[int | None, int | None], condition: Json, place: str, faults: Faults
) -> None:
    """Add a connection from the first end to the second, if both exist (D3, rule 4)."""
    if condition is not None and type(condition) is not str:
        faults.add(f"{place}.condition", "must be a text")
        return
    source, target = ends
    if source is None or target is None:
        return
    known = (source, target, condition)
    if source == target:
        faults.add(place, f"step {outline.drafts[source].id!r} depends on itself")
    elif known in outline.known:
        faults.add(place, "is there twice")
    else:
        outline.known.add(known)
        outline.arrows.append(Arrow(source, target, condition, place, f"{place}.condition"))


def present(body: Mapping[str, Json]) -> Mapping[str, Json]:
    """An object without the keys that are null (rule 3)."""
    return {key: value for key, value in body.items() if value is not None} if None in body.values() else body


def check_keys(body: Mapping[str, Json], place: str, allowed: Collection[str], faults: Faults) -> None:
    """Note the keys that nobody knows (rule 2)."""
    for key in body:
        if key not in allowed:
            close = get_close_matches(key[:40], sorted(allowed), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            faults.add(f"{place}.{key}" if place else key, f"unknown key{hint}")


def _objects(items: Json, place: str, faults: Faults) -> Iterable[tuple[str, Mapping[str, Json]]]:
    """The objects of a list, without their null keys, each with its place."""
    if type(items) is not list:
        faults.add(place, "must be a list")
        return
    if not items and place != "connections":
        faults.add(place, "is empty: a workflow needs at least one step")
    for rank, item in enumerate(items):
        if type(item) is dict:
            yield f"{place}[{rank}]", present(item)
        else:
            faults.add(f"{place}[{rank}]", "must be an object")


def _text(body: Mapping[str, Json], key: str, place: str, faults: Faults) -> str:
    """The text under an optional key, or an empty one."""
    value = body.get(key, "")
    if type(value) is str:
        return value
    faults.add(f"{place}.{key}", "must be a text")
    return ""
