"""Every workflow up to a size, as far as its shape, its policies and the slots go: what ``lockstep explore`` plays.

Rule 1: a shape is a directed acyclic graph, and stands for all that are like it but for the names of the steps. Its
steps are a, b, c, ..., defined in that order, and each is defined after the sources of its connections.
Rule 2: the policies are those of one line of ``POLICIES``, the same for every step.
Rule 3: the engine's slots are 1, 2, ... up to the number of steps: more would make no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, permutations
from typing import Any, Final, TypeAlias

from machines.moves import Manner, Run

Json: TypeAlias = Any
Shape: TypeAlias = tuple[tuple[int, ...], ...]
"""By step, in the order of definition: the steps that its connections come from."""

NAMES: Final = "abcdefghij"
TIMEOUT: Final = 60.0
"""Seconds of every timeout."""
WAIT: Final = 1.0
"""Seconds that a retry waits."""
GIVEN: Final = {"k": 0}
"""The input of every execution."""


@cache
def shapes(steps: int) -> tuple[Shape, ...]:
    """Every shape of so many steps, those with fewer connections first."""
    pairs = list(combinations(range(steps), 2))
    orders = list(permutations(range(steps)))
    found: dict[tuple[tuple[int, int], ...], Shape] = {}
    for count in range(len(pairs) + 1):
        for edges in combinations(pairs, count):
            alike = min(tuple(sorted((order[source], order[target]) for source, target in edges)) for order in orders)
            found.setdefault(alike, tuple(tuple(s for s, t in edges if t == step) for step in range(steps)))
    return tuple(found.values())


def reaches(shape: Shape) -> tuple[frozenset[int], ...]:
    """By step: itself, and the steps that come after it."""
    found: list[frozenset[int]] = [frozenset()] * len(shape)
    for step in reversed(range(len(shape))):
        targets = [target for target, sources in enumerate(shape) if step in sources]
        found[step] = frozenset([step]).union(*(found[target] for target in targets))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Policies:
    """What every step of a workflow, and the workflow itself, asks for."""

    name: str
    what: str
    step: Mapping[str, Json] = field(default_factory=dict)
    workflow: Mapping[str, Json] = field(default_factory=dict)
    refers: bool = True
    """Whether each step's parameters refer to the input, and to the outputs that come into it."""
    condition: bool = False
    """Whether each connection asks for an output above 0."""
    manner: Manner = "gate"
    lasting: bool = False
    """Whether anything can become due while there is no engine."""
    needs: tuple[str, ...] = ()
    """What a target must claim; without, there is nothing in it that is not elsewhere."""

    @property
    def undone(self) -> bool:
        """Whether the order of completions says what a rollback does."""
        return "compensation" in self.step


_UNDO: Final = {"compensation": {"action": "undo"}}

POLICIES: Final = (
    Policies("bare", "nothing but a deadline", workflow={"timeout": TIMEOUT}, lasting=True),
    Policies(
        "undone",
        "compensations, also on a cancel, and timeouts",
        {"timeout": TIMEOUT, **_UNDO},
        {"rollback_on_cancel": True},
        needs=("compensation",),
    ),
    Policies(
        "stubborn",
        "the same, and actions that take their time to end when they are cancelled",
        {"timeout": TIMEOUT, **_UNDO},
        {"rollback_on_cancel": True},
        manner="stubborn",
    ),
    Policies(
        "retried",
        "a second attempt, and timeouts",
        {"timeout": TIMEOUT, "retries": {"max_attempts": 2, "initial_interval": WAIT}},
        lasting=True,
        needs=("retries",),
    ),
    Policies(
        "tolerated",
        "failures are tolerated, and timeouts",
        {"timeout": TIMEOUT, "continue_on_error": True},
        refers=False,
    ),
    Policies(
        "agreed",
        "each connection has a condition, joins take all, and timeouts",
        {"timeout": TIMEOUT},
        refers=False,
        condition=True,
        needs=("conditions",),
    ),
    Policies(
        "chosen",
        "each connection has a condition, joins take any, and timeouts",
        {"timeout": TIMEOUT, "join": "any"},
        refers=False,
        condition=True,
        needs=("conditions",),
    ),
)


NAMES_OF_POLICIES: Final = tuple(policies.name for policies in POLICIES)


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow that is explored: its shape, its policies, and the engine's slots."""

    shape: Shape
    policies: Policies
    slots: int

    def run(self) -> Run:
        """The move that starts it."""
        steps = [self._step(number, sources) for number, sources in enumerate(self.shape)]
        manner = self.policies.manner
        manners = {} if manner == "gate" else {step["id"]: manner for step in steps}
        return Run({"id": "w", "steps": steps, **self.policies.workflow}, dict(GIVEN), manners)

    def _step(self, number: int, sources: Sequence[int]) -> dict[str, Json]:
        names = [NAMES[source] for source in sources]
        step: dict[str, Json] = {"id": NAMES[number], "action": "work"}
        if names:
            chosen = [{"source": name, "condition": f"{name}.n > 0"} for name in names]
            step["depends_on"] = chosen if self.policies.condition else names
        if self.policies.refers:
            step["parameters"] = {"k": "${input.k}", **{name: f"${{{name}.n}}" for name in names}}
        return {**step, **self.policies.step}

    def __str__(self) -> str:
        """Its shape, policies and slots in a line."""
        steps = [
            NAMES[number] + (f" after {'+'.join(NAMES[source] for source in sources)}" if sources else "")
            for number, sources in enumerate(self.shape)
        ]
        return f"{'; '.join(steps)} ({self.policies.name}, slots {self.slots})"


def plans(steps: int, names: Sequence[str] = NAMES_OF_POLICIES) -> Iterator[Plan]:
    """Every workflow of so many steps with policies of these names."""
    for shape in shapes(steps):
        for policies in POLICIES:
            if policies.name in names:
                for slots in range(1, steps + 1):
                    yield Plan(shape, policies, slots)
