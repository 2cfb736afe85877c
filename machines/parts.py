"""What a case is made of, and the case without each single part: what "nothing can go" is said of.

Rule 1: the parts of a case are its moves; the steps and the connections of the workflows that it runs or converts; the
arguments of its moves; the deviations of its tapes.
Rule 2: an argument is a field of a move that is not at its default, or a member of an object or a list inside of one,
at any depth. It goes when the field is back at its default, or the member is left out. Without these nothing works,
so they are no arguments: a field without a default, the ids and actions of steps, the ends of connections.
Rule 3: a step goes with its connections. A start goes with its name: the executions after it take over the names.
Rule 4: a deviation goes when its byte is zero.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Final, Literal, TypeAlias

from machines.case import Line
from machines.moves import Move, Run, from_json, misfits, tell, to_json
from machines.tape import LATENCIES

Json: TypeAlias = Any
Path: TypeAlias = tuple[str | int, ...]
Kind: TypeAlias = Literal["move", "step", "connection", "argument", "deviation"]

STEPS: Final = ("steps", "nodes")
"""What stands in these is a step."""
CONNECTIONS: Final = ("depends_on", "connections")
"""What stands in these is a connection."""
DEFINITIONS: Final = ("workflow", "graph")
"""Arguments that are definitions: of a start, and of a conversion."""
_KEEP: Final = frozenset({"id", "action", "config", "source", "target", *STEPS, *CONNECTIONS})
"""Keys without which nothing works, and those that hold parts of their own."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a case, in words, and the program without it."""

    kind: Kind
    text: str
    lines: tuple[Line, ...]


def parts(lines: Sequence[Line], executions: Sequence[str] = ()) -> Iterator[Part]:
    """Every part of a program; ``executions`` are the names that its starts came to, in order."""
    for index, line in enumerate(lines):
        place = f"move {index + 1}"
        yield Part("move", f"{place}, {tell(line.move)}", without_moves(lines, range(index, index + 1), executions))
        for kind, text, move in parts_of(line.move):
            yield Part(kind, f"{text} of {place}", replaced(lines, index, replace(line, move=move)))
        for track in ("latencies", "order"):
            found: bytes = getattr(line.tape, track)
            for position in (position for position, byte in enumerate(found) if byte):
                plain = found[:position] + b"\0" + found[position + 1 :]
                tape = replace(line.tape, **{track: plain})
                without_it = replaced(lines, index, replace(line, tape=tape))
                late = f"latency of {LATENCIES[found[position]] * 1000:g} ms"
                what = late if track == "latencies" else "callback out of turn"
                yield Part("deviation", f"the {what} of {place}", without_it)


def replaced(lines: Sequence[Line], index: int, line: Line) -> tuple[Line, ...]:
    """The program with another line in one place."""
    return (*lines[:index], line, *lines[index + 1 :])


# Moves


def has_steps(run: Run) -> bool:
    """Whether a start has steps that may be something else: a list of them, and no faults."""
    steps = (run.workflow or {}).get("steps")
    return not run.faults and isinstance(steps, list) and bool(names_of(run.workflow))


def without_moves(lines: Sequence[Line], gone: Sequence[int], executions: Sequence[str]) -> tuple[Line, ...]:
    """The program without some lines; where an execution goes, the others take over the names."""
    runs = [index for index, line in enumerate(lines) if isinstance(line.move, Run)]
    before = [name for index, name in zip(runs, executions, strict=False) if index not in gone]
    names = {name: new for name, new in zip(before, executions, strict=False) if name != new}
    rest = tuple(line for index, line in enumerate(lines) if index not in gone)
    return tuple(renamed(line, names) for line in rest) if names else rest


def renamed(line: Line, names: Mapping[str, str]) -> Line:
    """The line for executions of other names."""
    document = to_json(line.move)
    if isinstance(execution := document.get("execution"), str) and execution in names:
        document["execution"] = names[execution]
    if isinstance(gate := document.get("gate"), str):
        execution, slash, step = gate.partition("/")
        document["gate"] = names.get(execution, execution) + slash + step
    return replace(line, move=from_json(document))


# What moves carry


def parts_of(move: Move) -> Iterator[tuple[Kind, str, Move]]:
    """The steps, connections and arguments of a move, in words, and the move without each."""
    document = to_json(move)
    for kind, text, smaller in _parts_of(move, document):
        try:
            made = from_json(smaller)
        except ValueError:  # an argument that the move must have
            continue
        if not misfits(made):
            yield kind, text, made


def _parts_of(move: Move, document: Mapping[str, Json]) -> Iterator[tuple[Kind, str, dict[str, Json]]]:
    plain = {"move"}  # and what is at its default: that is as plain as it gets
    for part in fields(move):
        default = part.default_factory() if part.default_factory is not MISSING else part.default
        if document[part.name] == default:
            plain.add(part.name)
        elif default is not MISSING and part.name != "workflow":
            yield "argument", part.name, {**document, part.name: default}
    for key in DEFINITIONS:
        for name in (names := names_of(document.get(key))):
            if len(names) > 1:  # a workflow has steps
                yield "step", f"step {name}", {**document, key: without_steps(document[key], [name])}
    for path in paths(document):
        if len(path) > 1 and path[0] not in plain and path[-1] not in _KEEP and path[-2] not in STEPS:
            kind: Kind = "connection" if path[-2] in CONNECTIONS else "argument"
            yield kind, _in_words(document, path), without(document, path)


def _in_words(document: Json, path: Path) -> str:
    """Where a part of a move is, in words."""
    if path[0] not in DEFINITIONS:
        return ".".join(map(str, path))
    if path[1] in STEPS:
        step, (*before, last) = at(document, path[:3]), path[3:]
        name = ".".join(str(key) for key in (*before, last) if key != "config")
        if path[-2] == "depends_on":
            return f"connection {source_of(step['depends_on'][path[-1]])} -> {step.get('id')}"
        return f"{name} of step {step.get('id')}"
    if path[1] == "connections" and len(path) == 3:  # noqa: PLR2004  # the workflow, its connections, one of them
        source, target = _ends(at(document, path))
        return f"connection {source} -> {target}"
    return f"{'.'.join(map(str, path[1:]))} of the workflow"


def names_of(workflow: Json) -> list[str]:
    """The ids of a workflow's steps; none of one that is no workflow."""
    if not isinstance(workflow, Mapping):
        return []
    steps: list[Json] = next((workflow[key] for key in STEPS if isinstance(workflow.get(key), list)), [])
    names = [step.get("id") if isinstance(step, dict) else None for step in steps]
    return [name for name in names if isinstance(name, str)] if all(isinstance(name, str) for name in names) else []


def without_steps(workflow: Mapping[str, Json], names: Sequence[str]) -> dict[str, Json]:
    """The workflow without these steps and whatever connects them."""
    smaller: dict[str, Json] = copy.deepcopy(dict(workflow))
    for key in STEPS:
        if isinstance(smaller.get(key), list):
            smaller[key] = [step for step in smaller[key] if not isinstance(step, dict) or step.get("id") not in names]
    for step in smaller.get("steps") or ():
        if isinstance(step, dict) and isinstance(step.get("depends_on"), list):
            step["depends_on"] = [entry for entry in step["depends_on"] if source_of(entry) not in names]
            if not step["depends_on"]:
                del step["depends_on"]
    if isinstance(smaller.get("connections"), list):
        ends = [(each, _ends(each)) for each in smaller["connections"]]
        smaller["connections"] = [each for each, both in ends if not any(end in names for end in both)]
    return smaller


def _ends(connection: Json) -> tuple[Json, Json]:
    """The ends of a graph's connection, if it is one."""
    return (connection.get("source"), connection.get("target")) if isinstance(connection, dict) else (None, None)


def source_of(entry: Json) -> Json:
    """The source of an entry of ``depends_on``."""
    return entry.get("source") if isinstance(entry, dict) else entry


def paths(value: Json, path: Path = ()) -> Iterator[Path]:
    """The places in a JSON value, those that hold much before what they hold."""
    items: Sequence[tuple[str | int, Json]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def at(document: Json, path: Path) -> Json:
    """What stands at a place."""
    for key in path:
        document = document[key]
    return document


def without(document: Mapping[str, Json], path: Path) -> dict[str, Json]:
    """The document without what stands at a place; a list of connections goes with its last entry."""
    smaller: dict[str, Json] = copy.deepcopy(dict(document))
    parent = at(smaller, path[:-1])
    del parent[path[-1]]
    if not parent and path[-2] in CONNECTIONS:
        del at(smaller, path[:-2])[path[-2]]
    return smaller


def with_value(document: Mapping[str, Json], path: Path, value: Json) -> dict[str, Json]:
    """The document with another value at a place."""
    changed: dict[str, Json] = copy.deepcopy(dict(document))
    at(changed, path[:-1])[path[-1]] = value
    return changed
