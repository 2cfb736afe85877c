"""A workflow as values: what a definition becomes once it has been found valid (D1, D4).

Rule 1: these are frozen; the JSON inside them (parameters, schemas, the definition) is private and nobody changes it.
Rule 2: steps stand in topological order and are known by their index in it; ids are for people and references.
Rule 3: nothing here checks anything. ``engine.definition.parse_workflow`` is the only maker, and it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from engine.conditions import Condition
from engine.schemas import Schema

__all__ = ["Compensation", "Connection", "Join", "Json", "Retries", "Step", "Workflow"]

Json: TypeAlias = Any
Join: TypeAlias = Literal["all", "any"]


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed attempt is tried again, and how long to wait in between, in seconds (D4)."""

    max_attempts: int = 1
    initial_interval: float = 1.0
    backoff: float = 2.0
    max_interval: float = 60.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after ``attempt`` (from 1) failed: min(initial x backoff^(attempt - 1), maximum) (D4)."""
        try:
            interval = self.initial_interval * self.backoff ** (attempt - 1)
        except OverflowError:
            interval = self.max_interval if self.initial_interval else 0.0
        return min(interval, self.max_interval)


@dataclass(frozen=True, slots=True)
class Compensation:
    """The action that undoes a completed step, with policies of its own; ``timeout`` in seconds (D4, F4)."""

    action: str
    parameters: dict[str, Json]
    timeout: float | None
    retries: Retries


@dataclass(frozen=True, slots=True)
class Connection:
    """An edge between two steps, by their indices in ``Workflow.steps``; the condition decides whether it is taken."""

    source: int
    target: int
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of work and its policies (D4); ``timeout`` in seconds.

    ``index`` is its place in ``Workflow.steps``, ``sequence_order`` the same from 1 (D2), ``position`` its rank in the
    definition as it was given. ``condition`` is only set on a step without incoming connections: elsewhere it stands on
    each of them (V5). Without ``has_references`` the parameters hold no ``${`` at all, and resolution is the identity.
    """

    index: int
    id: str
    name: str
    action: str
    parameters: dict[str, Json]
    position: int
    sequence_order: int
    condition: Condition | None
    timeout: float | None
    retries: Retries
    continue_on_error: bool
    join: Join
    input_schema: Schema | None
    output_schema: Schema | None
    compensation: Compensation | None
    has_references: bool


@dataclass(frozen=True, slots=True)
class Workflow:
    """A valid definition: steps in topological order (D2) and the connections between them; ``timeout`` in seconds.

    ``incoming`` holds each step's connections in the order of their definition, ``outgoing`` each step's distinct
    targets in the order in which those were defined, both by index. ``definition`` is a private copy of the JSON given.
    """

    id: str
    name: str
    steps: tuple[Step, ...]
    incoming: tuple[tuple[Connection, ...], ...]
    outgoing: tuple[tuple[int, ...], ...]
    index: Mapping[str, int]
    max_concurrent_steps: int | None
    timeout: float | None
    rollback_on_cancel: bool
    definition: dict[str, Json]
