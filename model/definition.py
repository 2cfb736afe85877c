"""A workflow's JSON, read afresh from the contract (D1, D2, D4).

Rule 1: only valid definitions come here; nothing is checked.
Rule 2: what is read is a value. One text is read once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import jsonschema_rs
import networkx as nx

from model.history import Json
from model.values import Condition, Schema, condition, has_references


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a thing is tried, and how long one waits before trying again."""

    max_attempts: int = 1
    initial_interval: float = 1
    backoff: float = 2
    max_interval: float = 60

    def delay(self, attempt: int) -> float:
        """The wait after this attempt has failed."""
        try:
            return float(min(self.initial_interval * self.backoff ** (attempt - 1), self.max_interval))
        except OverflowError:
            return float(self.max_interval) if self.initial_interval else 0.0


@dataclass(frozen=True, slots=True)
class Compensation:
    """What undoes a step."""

    parameters: Json
    timeout: float | None
    retries: Retries


@dataclass(frozen=True, slots=True)
class Connection:
    """An edge into a step. All its conditions must hold: its own, and the target's."""

    source: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its policies, and the connections around it."""

    id: str
    index: int
    """Its place in the order of definition, which breaks ties."""

    parameters: Json
    constant: bool
    """Whether its parameters hold no reference."""

    timeout: float | None
    retries: Retries
    continue_on_error: bool
    join: Literal["all", "any"]
    input_schema: Schema
    output_schema: Schema
    compensation: Compensation | None
    condition: Condition | None
    """Its own condition, if it has no connections on which that could stand."""

    incoming: tuple[Connection, ...]
    outgoing: tuple[str, ...]
    """Targets, one for each connection."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow: its steps in the order of definition, and what holds for all of them."""

    steps: Mapping[str, Step]
    max_concurrent_steps: int | None
    timeout: float | None
    rollback_on_cancel: bool

    @property
    def sequence(self) -> tuple[str, ...]:
        """Step ids by rank: topological order, ties broken by the order of definition (D2)."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.steps)
        graph.add_edges_from((source, target) for source, step in self.steps.items() for target in step.outgoing)
        return tuple(nx.lexicographical_topological_sort(graph, key=lambda name: self.steps[name].index))


def read(workflow: Mapping[str, Json]) -> Definition:
    """The definition that a workflow's JSON stands for, in either shape."""
    return _read(json.dumps(workflow))


@lru_cache(maxsize=1024)
def _read(text: str) -> Definition:
    workflow = json.loads(text)
    nodes, connections = _from_graph(workflow) if workflow.get("nodes") is not None else _from_steps(workflow)
    incoming: dict[str, list[Connection]] = {name: [] for name in nodes}
    outgoing: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target, texts in connections:
        incoming[target].append(Connection(source, tuple(condition(text) for text in texts if text is not None)))
        outgoing[source].append(target)
    return Definition(
        steps={
            name: _step(name, index, config, tuple(incoming[name]), tuple(outgoing[name]))
            for index, (name, config) in enumerate(nodes.items())
        },
        max_concurrent_steps=workflow.get("max_concurrent_steps"),
        timeout=workflow.get("timeout"),
        rollback_on_cancel=workflow.get("rollback_on_cancel") or False,
    )


Nodes = dict[str, Mapping[str, Json]]
Edges = list[tuple[str, str, tuple[str | None, ...]]]


def _from_graph(workflow: Mapping[str, Json]) -> tuple[Nodes, Edges]:
    nodes: Nodes = {node["id"]: node.get("config") or {} for node in workflow["nodes"]}
    edges: Edges = []
    for edge in workflow.get("connections") or ():
        target = edge["target"]
        edges.append((edge["source"], target, (edge.get("condition"), nodes[target].get("condition"))))
    return nodes, edges


def _from_steps(workflow: Mapping[str, Json]) -> tuple[Nodes, Edges]:
    nodes: Nodes = {step["id"]: step for step in workflow["steps"]}
    edges: Edges = []
    for name, step in nodes.items():
        for entry in step.get("depends_on") or ():
            edge = {"source": entry} if isinstance(entry, str) else entry
            edges.append((edge["source"], name, (edge.get("condition"), step.get("condition"))))
    return nodes, edges


def _step(
    name: str,
    index: int,
    config: Mapping[str, Json],
    incoming: tuple[Connection, ...],
    outgoing: tuple[str, ...],
) -> Step:
    parameters = config.get("parameters") or {}
    compensation = config.get("compensation")
    own = config.get("condition")
    return Step(
        id=name,
        index=index,
        parameters=parameters,
        constant=not has_references(parameters),
        timeout=config.get("timeout"),
        retries=_retries(config),
        continue_on_error=config.get("continue_on_error") or False,
        join=config.get("join") or "all",
        input_schema=_validator(config.get("input_schema")),
        output_schema=_validator(config.get("output_schema")),
        compensation=None
        if compensation is None
        else Compensation(compensation.get("parameters") or {}, compensation.get("timeout"), _retries(compensation)),
        condition=None if own is None or incoming else condition(own),
        incoming=incoming,
        outgoing=outgoing,
    )


def _retries(config: Mapping[str, Json]) -> Retries:
    return Retries(**{key: value for key, value in (config.get("retries") or {}).items() if value is not None})


def _validator(schema: Json) -> Schema:
    return None if schema is None else _compiled(json.dumps(schema))


@lru_cache(maxsize=1024)
def _compiled(schema: str) -> Schema:
    return jsonschema_rs.validator_for(json.loads(schema))
