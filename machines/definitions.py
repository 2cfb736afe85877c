"""The machine of definitions: valid ones in every shape start, broken ones are refused with all their faults (D3).

Rule 1: a workflow is broken on purpose, in known places, so what must be named is known without a second validator.
Rule 2: each way of breaking says its place as the definition's shape spells it, and words that must be named.
Rule 3: two faults of one case never hide each other: each breaks a step, or a key, of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from machines.lifecycle import WorldMachine
from machines.moves import Elapse, Run
from machines.reach import DEFINITIONS, STARTED
from machines.strategies import INDEX, INPUTS, TAPES, WORKFLOWS, Drawn, as_graph
from machines.tape import PLAIN, Tape

Json: TypeAlias = Any
Steps: TypeAlias = list[dict[str, Json]]

_BAD_VALUES: Final[Sequence[tuple[str, Json]]] = (
    ("timeout", 0),
    ("timeout", -1.5),
    ("timeout", "soon"),
    ("timeout", True),
    ("retries", {"max_attempts": 0}),
    ("retries", {"max_attempts": 2.5}),
    ("retries", {"initial_interval": -1}),
    ("retries", {"backoff": 0.5}),
    ("retries", {"max_interval": "long"}),
    ("retries", {"attempts": 2}),
    ("join", "some"),
    ("continue_on_error", "yes"),
    ("parameters", ["x"]),
    ("input_schema", {"type": "nothing"}),
    ("output_schema", {"$ref": "https://example.org/schema"}),
    ("condition", "input.a =="),
    ("condition", 1),
    ("compensation", {"action": "nothing"}),
    ("compensation", {"action": "undo", "timeout": 0}),
    ("parameters", {"x": "${input..a}"}),
    ("parameters", {"x": ["fine", "${input.a"]}),
    ("parameters", {"x": "${nobody.n}"}),
    ("parameters", {"x": "${self.n}"}),
    ("condition", "nobody.n == 1"),
    ("action", "nothing"),
    ("action", ""),
    ("tiemout", 3),
)
"""A key of a step, and a value that it must not have."""

_PLACES: Final[Mapping[int, str]] = {
    4: ".max_attempts",
    5: ".max_attempts",
    6: ".initial_interval",
    7: ".backoff",
    8: ".max_interval",
    9: ".attempts",
    17: ".action",
    18: ".timeout",
    19: ".x",
    20: ".x[1]",
    21: ".x",
    22: ".x",
}
"""Where inside the key the fault is, by the rank of the bad value."""

_SCHEMA_FAULTS: Final = (13, 14)
_BAD_IDS: Final = ("", "input", "a.b", "a{b", "a}b", None, 7, "a b")
_BAD_SETTINGS: Final[Sequence[tuple[str, Json]]] = (
    ("max_concurrent_steps", 0),
    ("max_concurrent_steps", "two"),
    ("timeout", 0),
    ("timeout", -1),
    ("rollback_on_cancel", "no"),
    ("id", ""),
    ("max_concurent_steps", 2),
)


class Broken:
    """A definition on its way to ruin: a plain copy of a valid one in the steps shape, and its faults so far."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.settings: dict[str, Json] = {}
        self.faults: list[tuple[int | None, str]] = []
        """The step, or None for the workflow's own keys; what follows its place, and words."""

    def value(self, step: int, rank: int) -> None:
        """Give a key of the step a value that it must not have."""
        key, value = _BAD_VALUES[rank % len(_BAD_VALUES)]
        rank %= len(_BAD_VALUES)
        if value == {"x": "${self.n}"}:
            value = {"x": "${" + self.steps[step]["id"] + ".n}"}
        self.steps[step][key] = value
        place = f".{key}{_PLACES.get(rank, '')}"
        if rank in _SCHEMA_FAULTS:
            place += ".type" if rank == _SCHEMA_FAULTS[0] else " $ref"
        self.faults.append((step, place))

    def identity(self, step: int, rank: int) -> None:
        """Give the step an id that no reference could name, or none."""
        bad = _BAD_IDS[rank % len(_BAD_IDS)]
        if bad is None:
            del self.steps[step]["id"]
        else:
            self.steps[step]["id"] = bad
        self.faults.append((step, ".id"))

    def setting(self, _step: int, rank: int) -> None:
        """Give one of the workflow's own keys a value that it must not have."""
        key, value = _BAD_SETTINGS[rank % len(_BAD_SETTINGS)]
        if key not in self.settings:
            self.settings[key] = value
            self.faults.append((None, key))

    def definition(self, *, graph: bool) -> tuple[dict[str, Json], list[str]]:
        """The broken definition in one of the shapes, and where its faults are."""
        whole = {"id": "w", **self.settings, "steps": self.steps}
        outer = ("id", "name")
        places = []
        for step, rest in self.faults:
            if step is None:
                places.append(rest)
            elif graph:
                places.append(f"nodes[{step}]" + ("" if rest[1:] in outer else ".config") + rest)
            else:
                places.append(f"steps[{step}]{rest}")
        return (as_graph(whole) if graph else whole), places


def _plain_steps(count: int) -> Steps:
    """Steps without connections: breaking one leaves the others sound."""
    return [{"id": f"s{rank}", "action": "work"} for rank in range(count)]


def unsound(kind: int, *, graph: bool) -> tuple[dict[str, Json], list[str]]:
    """A workflow whose parts are sound, and whose whole is not: its connections, ids or references."""
    steps = _plain_steps(4)
    steps[1]["depends_on"] = ["s0"]
    steps[2]["depends_on"] = ["s1"]
    places: tuple[str, str]
    match kind % 6:
        case 0:
            steps[0]["depends_on"] = ["s2"]
            places = ("steps[0].depends_on[0] s0 s1 s2", "connections[0] s0 s1 s2")
        case 1:
            steps[3]["depends_on"] = ["nobody"]
            places = ("steps[3].depends_on[0] nobody", "connections[2].source nobody")
        case 2:
            steps[3]["id"] = "s1"
            places = ("steps[3].id s1", "nodes[3].id s1")
        case 3:
            steps[3]["parameters"] = {"x": "${s2.n}"}
            places = ("steps[3].parameters.x s2", "nodes[3].config.parameters.x s2")
        case 4:
            steps[1]["parameters"] = {"deep": [{"x": "a ${s2.n}"}]}
            places = ("steps[1].parameters.deep[0].x s2", "nodes[1].config.parameters.deep[0].x s2")
        case _:
            steps[2]["depends_on"] = [{"source": "s1", "condition": "s3.n > 0"}]
            places = ("steps[2].depends_on[0].condition s3", "connections[1].condition s3")
    whole = {"id": "w", "steps": steps}
    return (as_graph(whole) if graph else whole), [places[graph]]


class DefinitionMachine(WorldMachine):
    """Definitions of both shapes, good and broken in every way that D3 names, given to one engine."""

    goals = DEFINITIONS
    purposes: ClassVar[Collection[str]] = (STARTED, "broken steps are refused", "a broken graph is refused")

    @initialize(limit=st.integers(1, 3))
    def begin(self, limit: int) -> None:
        """Have an engine."""
        self.open(limit)

    @precondition(lambda self: self.world is not None)
    @rule(drawn=WORKFLOWS, given=INPUTS, graph=st.booleans(), tape=TAPES)
    def valid(self, drawn: Drawn, given: dict[str, Any], graph: bool, tape: Tape) -> None:  # noqa: FBT001
        """A valid definition starts, in either shape."""
        definition = drawn.definition
        if graph and "steps" in definition and all("condition" not in step for step in definition["steps"]):
            definition = as_graph(definition)
        self.play(Run(definition, given, drawn.manners), tape)

    @precondition(lambda self: self.world is not None)
    @rule(
        breaks=st.lists(
            st.tuples(st.sampled_from(("value", "identity", "setting")), st.integers(0, 31)), min_size=1, max_size=4
        ),
        graph=st.booleans(),
        tape=TAPES,
    )
    def broken(self, breaks: list[tuple[str, int]], graph: bool, tape: Tape) -> None:  # noqa: FBT001
        """A definition with faults of its own making is refused, and each is named."""
        broken = Broken(_plain_steps(len(breaks)))
        ways: Mapping[str, Callable[[int, int], None]] = {
            "value": broken.value,
            "identity": broken.identity,
            "setting": broken.setting,
        }
        for step, (way, rank) in enumerate(breaks):
            ways[way](step, rank)
        definition, places = broken.definition(graph=graph)
        self.play(Run(definition, {}, {}, places), tape)

    @precondition(lambda self: self.world is not None)
    @rule(kind=INDEX, graph=st.booleans(), tape=TAPES)
    def unsound(self, kind: int, graph: bool, tape: Tape) -> None:  # noqa: FBT001
        """A definition whose connections, ids or references do not fit together is refused."""
        definition, places = unsound(kind, graph=graph)
        self.play(Run(definition, {}, {}, places), tape)

    @precondition(lambda self: self.world is not None and self.world.astir())
    @rule(seconds=st.sampled_from((0.001, 1.0)))
    def elapse(self, seconds: float) -> None:
        """Time passes, and commands that are on their way arrive."""
        self.play(Elapse(seconds), PLAIN)
