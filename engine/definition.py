"""A definition becomes a workflow, or is refused as a whole (D1, D3).

Rule 1: ``parse_workflow`` raises nothing but DefinitionError, and that lists every fault it could find in one go.
Rule 2: the definition given is never changed, and nothing of it is shared with the workflow.
Rule 3: which step may refer to which is decided by the graph alone: to the input, to its ancestors, and, in its
        compensation, to itself. A condition is judged as its target's: there it is decided (V5).
Rule 4: a step's own condition stands on each of its incoming connections, after the connection's own, joined by ``&&``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from engine.conditions import TYPES, Condition, read_condition
from engine.graph import Ends, graph_to_steps, sorted_outline, strangers
from engine.policies import (
    read_action,
    read_compensation,
    read_count,
    read_flag,
    read_join,
    read_parameters,
    read_retries,
    read_schema,
    read_timeout,
)
from engine.references import MalformedError, mentions, references_in
from engine.shapes import Draft, Faults, Outline, outline_of_graph, outline_of_steps, private_copy
from engine.values import Json
from engine.wfformat import is_wfformat, outline_of_wfformat
from engine.workflow import Compensation, Connection, Retries, Step, Workflow

__all__ = ["Compensation", "Condition", "Connection", "Retries", "Step", "Workflow", "graph_to_steps", "parse_workflow"]


def parse_workflow(definition: Json, actions: Collection[str] | None = None) -> Workflow:
    """The workflow that ``definition`` describes, in any of the three shapes (D1, D2, D4).

    ``actions`` are the names of the actions there are; None leaves them unchecked. Raises DefinitionError (D3).
    """
    faults = Faults()
    private = private_copy(definition, faults)
    outline = _outline(private, faults)
    order, sources = sorted_outline(outline, faults)
    acyclic = len(order) == len(outline.drafts)
    uses = _Uses(outline, faults)
    conditions = _conditions(outline, uses)
    steps = [
        _step(outline.drafts[position], position, rank if acyclic else None, actions, conditions, uses)
        for rank, position in enumerate(order if acyclic else range(len(outline.drafts)))
    ]
    body = outline.body
    workflow_id, name = _titles(body, faults)
    max_concurrent_steps = read_count(body, "max_concurrent_steps", "", faults)
    timeout = read_timeout(body, "", faults)
    rollback_on_cancel = read_flag(body, "rollback_on_cancel", "", faults)
    if acyclic:
        uses.judge(sources, order)
    faults.refuse()
    index = {position: rank for rank, position in enumerate(order)}
    outgoing: list[list[int]] = [[] for _ in order]
    for target, ends in enumerate(sources):
        for source in ends:
            outgoing[index[source]].append(index[target])
    incoming: list[list[Connection]] = [[] for _ in order]
    for number, arrow in enumerate(outline.arrows):
        target = index[arrow.target]
        incoming[target].append(Connection(index[arrow.source], target, conditions.of_arrows[number]))
    return Workflow(
        workflow_id,
        name,
        tuple(steps),
        tuple(map(tuple, incoming)),
        tuple(map(tuple, outgoing)),
        MappingProxyType({step.id: step.index for step in steps}),
        max_concurrent_steps,
        timeout,
        rollback_on_cancel,
        private,
    )


class _Uses:
    """Who refers to whom, and where; judged together once the order is known (rule 3)."""

    def __init__(self, outline: Outline, faults: Faults) -> None:
        self.outline = outline
        self.faults = faults
        self._asked: list[tuple[str, int, int]] = []

    def note(self, name: str, place: str, user: int) -> None:
        """The step at position ``user`` names the output of the step ``name``, or the input."""
        if name == "input":
            return
        used = self.outline.index.get(name)
        if used is None:
            self.faults.add(place, f"refers to {name!r}, and there is no such step")
        else:
            self._asked.append((place, used, user))

    def judge(self, sources: Ends, order: Sequence[int]) -> None:
        """Note as a fault whatever is no ancestor of its user."""
        if not self._asked:
            return
        wrong = strangers([(used, user) for _, used, user in self._asked], sources, order)
        for place, used, user in self._asked:
            if (used, user) in wrong:
                names = self.outline.drafts[used].id, self.outline.drafts[user].id
                self.faults.add(place, "refers to {!r}, which is no ancestor of {!r}".format(*names))


class _Conditions(NamedTuple):
    """The conditions of an outline: by arrow, and of the steps that no arrow leads to, by position."""

    of_arrows: list[Condition | None]
    of_steps: Mapping[int, Condition]


def _outline(definition: Mapping[str, Json], faults: Faults) -> Outline:
    """Find out which shape a definition has, and read it."""
    steps, nodes = definition.get("steps") is not None, definition.get("nodes") is not None
    if not steps and not nodes:
        if is_wfformat(definition):
            return outline_of_wfformat(definition, faults)
        faults.add("", "has neither steps nor nodes")
        faults.spoilt.add("steps")
    if steps and nodes:
        faults.add("nodes", "a definition has steps or nodes, not both")
        faults.spoilt.add("nodes")
    return outline_of_graph(definition, faults) if nodes and not steps else outline_of_steps(definition, faults)


def _titles(body: Mapping[str, Json], faults: Faults) -> tuple[str, str]:
    """The workflow's id, and its name, which is the id without one."""
    workflow_id = body.get("id")
    if workflow_id is None:
        faults.add("id", "is missing")
    elif type(workflow_id) is not str or not workflow_id:
        faults.add("id", "must be a text that is not empty")
    name = body.get("name", workflow_id)
    if "name" in body and type(name) is not str:
        faults.add("name", "must be a text")
    return workflow_id or "", name or workflow_id or ""


def _conditions(outline: Outline, uses: _Uses) -> _Conditions:
    """Compile every condition, and put each step's own on its incoming connections (rule 4)."""
    own: dict[int, Condition] = {}
    for position, draft in enumerate(outline.drafts):
        text = draft.body.get("condition")
        place = f"{draft.body_place}.condition"
        if text is not None and (condition := _condition(text, place, position, uses)):
            own[position] = condition
    of_arrows: list[Condition | None] = []
    for arrow in outline.arrows:
        shared = own.get(arrow.target)
        condition = None
        if arrow.condition is not None:
            condition = _condition(arrow.condition, arrow.condition_place, arrow.target, uses)
            if condition and shared:
                both = f"({_closed(condition.text)}) && ({_closed(shared.text)})"
                condition = _condition(both, arrow.condition_place, arrow.target, uses)
        of_arrows.append(condition or shared)
    targets = {arrow.target for arrow in outline.arrows}
    return _Conditions(
        of_arrows, {position: condition for position, condition in own.items() if position not in targets}
    )


def _closed(text: str) -> str:
    """A condition's text to put in parentheses: a comment in it must not swallow the closing one."""
    return f"{text}\n" if "//" in text else text


def _condition(text: Json, place: str, position: int, uses: _Uses) -> Condition | None:
    """The condition of the step at ``position`` or of a connection into it, or None and a fault."""
    if type(text) is not str:
        uses.faults.add(place, "must be a text")
        return None
    try:
        condition = read_condition(text)
    except MalformedError as error:
        uses.faults.add(place, str(error))
        return None
    names = tuple(name for name in condition.names if name not in TYPES or name in uses.outline.index)
    for name in names:
        uses.note(name, place, position)
    return replace(condition, names=names)


def _step(
    draft: Draft,
    position: int,
    rank: int | None,
    actions: Collection[str] | None,
    conditions: _Conditions,
    uses: _Uses,
) -> Step:
    """The step that a draft describes, ``rank`` from 0 in topological order, if there is one."""
    body, place, faults = draft.body, draft.body_place, uses.faults
    parameters = read_parameters(body, place, faults)
    has_references = mentions(parameters)
    if has_references:
        _note_references(parameters, f"{place}.parameters", position, uses, None)
    compensation = read_compensation(body, place, actions, faults)
    if compensation and mentions(compensation.parameters):
        _note_references(compensation.parameters, f"{place}.compensation.parameters", position, uses, draft.id)
    order = body.get("sequence_order")
    if order is not None and rank is not None and (type(order) is not int or order != rank + 1):
        faults.add(f"{place}.sequence_order", f"must be {rank + 1}, the step's rank in topological order")
    index = rank or 0
    return Step(
        index=index,
        id=draft.id,
        name=draft.name,
        action=read_action(body, place, actions, faults),
        parameters=parameters,
        position=position,
        sequence_order=index + 1,
        condition=conditions.of_steps.get(position),
        timeout=read_timeout(body, place, faults),
        retries=read_retries(body, place, faults),
        continue_on_error=read_flag(body, "continue_on_error", place, faults),
        join=read_join(body, place, faults),
        input_schema=read_schema(body, "input_schema", place, faults),
        output_schema=read_schema(body, "output_schema", place, faults),
        compensation=compensation,
        has_references=has_references,
    )


def _note_references(parameters: Json, place: str, position: int, uses: _Uses, own: str | None) -> None:
    """Note every reference in parameters; ``own`` is a step's id that may be named although it is no ancestor."""
    for path, reference in references_in(parameters):
        if isinstance(reference, str):
            uses.faults.add(f"{place}{path}", reference)
        elif reference.name != own:
            uses.note(reference.name, f"{place}{path}", position)
