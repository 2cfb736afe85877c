"""Workflows, inputs, outputs and tapes for Hypothesis.

Rule 1: one draw for a whole workflow, one for a tape: a string of bytes of fixed length, each byte a look-up in a
table of 256. A draw costs as much as a step of the engine, whatever is drawn.
Rule 2: every table is ordered simplest first, because shrinking goes that way: all zeros are the plainest.
Rule 3: what is made of bytes is valid: a workflow that the engine refuses is the business of ``definitions``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from hypothesis import strategies as st

from machines.moves import Cancel, Fail, Finish, Manner, Pause
from machines.oddities import NO_INPUT, NO_JSON
from machines.tape import PLAIN, Tape

Json: TypeAlias = Any
T = TypeVar("T")

NAMES: Final = ("a", "b", "c", "d", "e", "f")


def table(first: T, *others: tuple[int, T]) -> tuple[T, ...]:
    """A look-up for a byte: each of ``others`` with its weight in 256ths, and ``first`` for all the rest."""
    rest = 256 - sum(weight for weight, _ in others)
    return (*(first for _ in range(rest)), *(value for weight, value in others for _ in range(weight)))


_RETRY: Final = {"max_attempts": 2, "initial_interval": 1, "backoff": 2}
_DEFAULT: Final = {"max_attempts": 3}
_LONG: Final = {"max_attempts": 2, "initial_interval": 90}
_BRIEF: Final = {"max_attempts": 2, "initial_interval": 4, "max_interval": 0.5}
_PATIENT: Final = {"max_attempts": 3, "initial_interval": 0.5, "backoff": 3, "max_interval": 1}
_STEEP: Final = {"max_attempts": 4, "initial_interval": 0.5, "backoff": 1e200, "max_interval": 0.5}
_STEEP_AT_ONCE: Final = {**_STEEP, "initial_interval": 0}
_AT_ONCE: Final = {"max_attempts": 2, "initial_interval": 0}

_TROUBLE: Final[Sequence[Mapping[str, Json]]] = table(
    {},
    (10, {"retries": _RETRY}),
    (6, {"retries": _DEFAULT}),
    (2, {"retries": _LONG}),
    (18, {"continue_on_error": True}),
    (40, {"timeout": 2}),
    (24, {"retries": _AT_ONCE, "timeout": 1}),
    (12, {"retries": _PATIENT}),
    (3, {"retries": _STEEP, "timeout": 1}),
    (2, {"retries": _STEEP_AT_ONCE, "timeout": 1}),
    (12, {"retries": _RETRY, "continue_on_error": True}),
    (20, {"timeout": 1, "continue_on_error": True}),
)
_UNDO: Final[Sequence[Mapping[str, Json] | None]] = table(
    None,
    (90, {"action": "undo"}),
    (14, {"action": "undo", "parameters": {"what": "${SELF.n}"}}),
    (20, {"action": "undo", "retries": _RETRY}),
    (6, {"action": "undo", "retries": _DEFAULT}),
    (4, {"action": "undo", "retries": _BRIEF}),
    (12, {"action": "undo", "timeout": 1}),
    (24, {"action": "undo", "timeout": 1, "retries": _AT_ONCE}),
    (6, {"action": "undo", "parameters": {"what": "${SELF.nowhere}"}}),
    (4, {"action": "undo", "parameters": {"what": ["of ${SELF.n}", {"why": "${input.late}"}]}}),
)
_MANNERS: Final[Sequence[Manner]] = table("gate", (50, "instant"), (6, "abrupt"), (70, "stubborn"))
_TIMED_MANNERS: Final[Sequence[Manner]] = table("gate", (20, "instant"), (6, "abrupt"), (130, "stubborn"))
"""A timeout is worth little against an action that ends when it is told to."""

_UNDO_MANNERS: Final[Sequence[Manner]] = table("instant", (120, "gate"), (8, "abrupt"), (60, "stubborn"))
_DATA: Final[Sequence[Mapping[str, Json]]] = table(
    {},
    (16, {"parameters": {"x": "${input.a}"}}),
    (22, {"parameters": {"x": "${FROM.n}", "text": "got ${FROM.n} of ${input.a}, $${kept}"}}),
    (16, {"output_schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}),
    (18, {"parameters": {"x": "${FROM.n}"}, "input_schema": {"properties": {"x": {"type": "integer"}}}}),
    (8, {"parameters": {"x": ["${input.b.c}", {"y": "${input.a}"}]}}),
    (8, {"parameters": {"x": "${input.late}"}}),
    (3, {"parameters": {"first": "${FROM.n.0}", "more": "at ${FROM.n.1.m}"}}),
    (6, {"parameters": {"far": ["${FAR.n}"]}}),
    (3, {"parameters": {"x": "${FROM}"}}),
    (3, {"parameters": {"x": 1}, "input_schema": {"properties": {"x": {"type": "string"}}}}),
    (2, {"parameters": {"x": "${FROM.nowhere}"}}),
)
_CONDITIONS: Final[Sequence[str | None]] = table(
    None,
    (10, "FROM.n > 0"),
    (6, "FROM.n != 1"),
    (2, "FROM.n in [1, 2, 'x']"),
    (2, "[0, 1].exists(each, each == FROM.n)"),
    (2, "size(string(FROM.n)) > 0 && 'FROM.n' != \"n\""),
    (2, "FROM['n'] == 1 ? input.a == 1 : !(FROM.n == 0)"),
    (1, "string(FROM.n).matches('^[01]$')"),
    (8, "input.a == 1"),
    (6, "${FROM.n} == 1 || input.a == 1"),
    (2, "FROM.n"),
    (2, "FROM.nowhere == 1"),
)
_MASKS: Final = table(0, (60, 1), (30, 2), (40, 3), (24, 4), (24, 5), (24, 6), (24, 7))
"""Which of the last three steps are a step's sources."""

_SIZES: Final = table(1, (20, 2), (60, 3), (80, 4), (60, 5), (16, 6))
_LIMITS: Final = table(None, (40, 1), (40, 2))
_DEADLINES: Final = table(None, (24, 5), (24, 1.5))
_BESIDE: Final = "input.a == 1"
_PLACES: Final = table("step", (112, "connection"), (24, "both"))
"""Where a condition stands; where it stands on a connection, the step may have one of its own beside it."""
_LISTED: Final = table("as they follow", (40, "backwards"), (24, "the first last"), (24, "the last first"))
"""In which order the steps are defined."""
_HALF: Final = table(False, (128, True))  # noqa: FBT003  # a table of flags
_QUARTER: Final = table(False, (64, True))  # noqa: FBT003  # a table of flags

OUTPUTS: Final = st.sampled_from(
    (
        *({"n": 1}, {"n": None}, {"n": 0}, {"n": None}, {"n": "${input.a}"}, {"n": [1, {"m": "x"}]}, {}, None),
        *({"n": 1}, {"n": None}, {"n": 0}, {"n": None}, {"n": "${input.a}"}, {"n": [1, {"m": "x"}]}, {}, None),
        *NO_JSON,
    )
)
_INPUTS: Final[tuple[Json, ...]] = (
    {"a": 1, "n": 1},
    {"a": 1, "n": 1},
    {"a": 1, "n": 1, "b": {"c": 2}},
    {"a": 1, "n": 1, "b": {"c": 2}, "late": 1},
    {"a": 1, "n": 1, "b": {"c": 2}, "late": 1},
    {"a": 1, "n": 1, "b": {"c": 2}, "late": None},
    {"a": 0, "n": 2, "late": 0},
    {"a": "${input.n}", "n": 0, "b": {"c": "${input.a}"}},
    {},
    {"a": 1, "n": 1, "b": {"c": 2}, "late": 1},
)
INPUTS: Final = st.sampled_from((*_INPUTS * 16, *NO_INPUT))
_NEW_INPUTS: Final[tuple[Json, ...]] = (
    *(None, {"late": 1}, {"a": 1, "n": 1, "b": {"c": 2}, "late": 1}, {"b": {"d": 3}}, {"a": 2}, {}, None),
)
NEW_INPUTS: Final = st.sampled_from((*_NEW_INPUTS * 12, *NO_INPUT))
ERRORS: Final = st.sampled_from(("RuntimeError", "ValidationError", "TimeoutError", "RuntimeError", "CancelledError"))
CALM: Final = st.sampled_from((False, True, True, False))
INDEX: Final = st.integers(0, 7)
SECONDS: Final = st.sampled_from((1.0, 0.5, 0.999, 5.0, 0.01, 60.0, 1.0))

MEETINGS: Final = st.sampled_from((Finish, Cancel, Fail, Pause))
"""What may come just before a timer."""
JUST_BEFORE: Final = st.sampled_from((0.0, 0.0005, 0.0015, 0.0005, 0.0))

_MODES: Final = table("plain", (110, "latencies"), (30, "both"), (20, "order"))


def tape_of(chance: bytes) -> Tape:
    """Make a tape of 33 bytes: nothing but the plain course, latencies, an order, or half of each."""
    mode = _MODES[chance[0]]
    if mode == "latencies":
        return Tape(latencies=chance[1:])
    if mode == "order":
        return Tape(order=chance[1:])
    return Tape(chance[1:17], chance[17:]) if mode == "both" else PLAIN


TAPES: Final = st.binary(min_size=33, max_size=33).map(tape_of)
"""What chance does during one move."""


class Drawn(NamedTuple):
    """A workflow, and how its actions behave."""

    definition: dict[str, Json]
    manners: dict[str, Manner]


class Character(NamedTuple):
    """A step but for its name and its sources.

    ``FROM`` stands for one of those, ``FAR`` for a step behind it and ``SELF`` for the step itself.
    """

    step: dict[str, Json]
    condition: str | None
    manner: Manner
    undo_manner: Manner

    def named(self, name: str, sources: Sequence[str], far: str | None = None) -> dict[str, Json]:
        """The step under its name: ``FROM`` becomes its first source, or the input where it has none."""
        near = sources[0] if sources else "input"
        names = {"FROM": near, "FAR": far or near, "SELF": name}
        return {"id": name, **_renamed(self.step, names)}

    def condition_on(self, source: str | None) -> str | None:
        """Its condition, as one that looks at this source."""
        return None if self.condition is None else self.condition.replace("FROM", source or "input")


def character_of(chance: Iterator[int]) -> Character:
    """Make a character of six bytes."""
    step: dict[str, Json] = {"action": "work", **_TROUBLE[next(chance)], **_DATA[next(chance)]}
    undo = _UNDO[next(chance)]
    if undo is not None:
        step["compensation"] = undo
    manners = _TIMED_MANNERS if "timeout" in step else _MANNERS
    return Character(step, _CONDITIONS[next(chance)], manners[next(chance)], _UNDO_MANNERS[next(chance)])


def _renamed(value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


_WORKFLOW: Final = 6 + 9 * len(NAMES)
"""Bytes that a workflow takes at most."""


def workflow_of(bytes_: bytes) -> Drawn:
    """Make a workflow, in one of the two shapes, and the manners of its actions."""
    chance = iter(bytes_)
    size, limit, deadline = _SIZES[next(chance)], _LIMITS[next(chance)], _DEADLINES[next(chance)]
    definition: dict[str, Json] = {"id": "w", "steps": []}
    steps: list[dict[str, Json]] = definition["steps"]
    if limit is not None:
        definition["max_concurrent_steps"] = limit
    if deadline is not None:
        definition["timeout"] = deadline
    if _HALF[next(chance)]:
        definition["rollback_on_cancel"] = True
    graph, listed = _QUARTER[next(chance)], _LISTED[next(chance)]
    manners: dict[str, Manner] = {}
    behind: dict[str, list[str]] = {}
    for name in NAMES[:size]:
        mask, character = _MASKS[next(chance)], character_of(chance)
        sources = [step["id"] for rank, step in enumerate(reversed(steps[-3:])) if mask >> rank & 1]
        behind[name] = [each for source in sources for each in (*behind[source], source)]
        step = character.named(name, sources, behind[name][0] if sources else None)
        condition = character.condition_on(sources[0] if sources else None)
        either, place = _QUARTER[next(chance)], _PLACES[next(chance)]
        if sources:
            step["depends_on"] = sources
            if either:
                step["join"] = "any"
        if condition is not None and sources and place != "step":
            step["depends_on"] = [{"source": sources[0], "condition": condition}, *sources[1:]]
            if place == "both":
                step["condition"] = _BESIDE
        elif condition is not None:
            step["condition"] = condition
        steps.append(step)
        manners |= {name: character.manner, f"{name}!": character.undo_manner}
    if listed == "backwards":
        steps.reverse()
    elif listed != "as they follow":
        turn = 1 if listed == "the first last" else -1
        definition["steps"] = [*steps[turn:], *steps[:turn]]
    return Drawn(
        as_graph(definition) if graph else definition,
        {name: manner for name, manner in manners.items() if manner != "gate"},
    )


WORKFLOWS: Final = st.binary(min_size=_WORKFLOW, max_size=_WORKFLOW).map(workflow_of)
CHARACTERS: Final = st.binary(min_size=6, max_size=6).map(lambda chance: character_of(iter(chance)))


def as_graph(definition: Mapping[str, Json]) -> dict[str, Json]:
    """The same workflow as a visual editor saves it (D1)."""
    nodes = []
    connections = []
    for step in definition["steps"]:
        rest = {key: value for key, value in step.items() if key not in ("id", "name", "depends_on")}
        named = {"id": step["id"]} if "id" in step else {}
        titled = {"title": step["name"]} if "name" in step else {}
        nodes.append({**named, **titled, "type": "task", "config": rest})
        for source in step.get("depends_on") or ():
            entry = {"source": source} if isinstance(source, str) else dict(source)
            connections.append({**entry, "target": step["id"]})
    settings = {key: value for key, value in definition.items() if key != "steps"}
    return {**settings, "nodes": nodes, "connections": connections}
