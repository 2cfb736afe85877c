"""A start said in a simpler way: with fewer steps, as steps instead of a graph, without a draft; so a conversion.

Rule 1: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from machines.case import Line
from machines.moves import AddStep, Connect, Convert, Manner, Move, Run
from machines.parts import names_of, without_steps

Json: TypeAlias = Any


def halves(move: Move) -> Iterator[Move]:
    """The start of a graph as steps; and of workflows, or their conversion, with fewer steps, many at a time first."""
    if isinstance(move, Run) and move.workflow is not None:
        if names_of(move.workflow) and move.workflow.get("nodes") and not move.faults:
            yield replace(move, workflow=_as_steps(move.workflow))
        yield from (replace(move, workflow=smaller) for smaller in _with_fewer_steps(move.workflow))
    elif isinstance(move, Convert):
        yield from (replace(move, graph=smaller) for smaller in _with_fewer_steps(move.graph))


def _with_fewer_steps(workflow: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    names = names_of(workflow)
    size = len(names) // 2
    while size > 1:
        for end in range(len(names), 0, -size):
            if len(gone := names[max(end - size, 0) : end]) < len(names):  # a workflow has steps
                yield without_steps(workflow, gone)
        size //= 2


def undrafted(lines: Sequence[Line], index: int) -> list[Line] | None:
    """The program where the draft that is run here is carried by the run itself; None if none is."""
    run = lines[index].move
    if not (isinstance(run, Run) and run.workflow is None):
        return None
    start = max((i + 1 for i in range(index) if _is_draft_run(lines[i].move)), default=0)
    drafting = [line.move for line in lines[start:index] if isinstance(line.move, AddStep | Connect)]
    steps: dict[str, dict[str, Json]] = {}
    manners: dict[str, Manner] = {}
    for move in drafting:
        if isinstance(move, AddStep):
            name = move.step.get("id", "")
            if name not in steps:
                steps[name] = dict(move.step)
                manners |= {name: move.manner, f"{name}!": move.undo}
        elif move.source in steps and move.target in steps:
            entry = move.source if move.condition is None else {"source": move.source, "condition": move.condition}
            step = steps[move.target]
            step["depends_on"] = [*step.get("depends_on", []), entry]
    whole = Run({"id": "w", "steps": list(steps.values())}, run.input, manners)
    rest = [line for line in lines[start:index] if not isinstance(line.move, AddStep | Connect)]
    return [*lines[:start], *rest, replace(lines[index], move=whole), *lines[index + 1 :]]


def _is_draft_run(move: Move) -> bool:
    return isinstance(move, Run) and move.workflow is None


def _as_steps(graph: Mapping[str, Json]) -> dict[str, Json]:
    """A graph in the shape that is easier to read."""
    steps = {node["id"]: {"id": node["id"], **node["config"]} for node in graph["nodes"]}
    for each in graph.get("connections") or ():
        conditional = {"source": each["source"], "condition": each.get("condition")}
        entry = conditional if conditional["condition"] else each["source"]
        step = steps[each["target"]]
        step["depends_on"] = [*(step.get("depends_on") or ()), entry]
    rest = {key: value for key, value in graph.items() if key not in ("nodes", "connections")}
    return {**rest, "steps": list(steps.values())}
