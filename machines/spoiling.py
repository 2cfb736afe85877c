"""Definitions that are spoilt on purpose, in known places (D3).

Rule 1: what is spoilt is known by place, so what must be named is known without a second validator.
Rule 2: a fault is its place as the definition's shape spells it, and after it the words that must be named, if any.
Rule 3: two faults of one definition never hide each other: each spoils a step, or a key, of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from machines.strategies import as_graph

Json: TypeAlias = Any
Steps: TypeAlias = list[dict[str, Json]]


class Bad(NamedTuple):
    """A key, and a value that it must not have."""

    key: str
    value: Json
    inside: str = ""
    """Where in the value the fault is."""
    words: str = ""
    """What must be named beside the place."""


_UNDO: Final = {"action": "undo"}
_NO_NUMBERS: Final = ("soon", True, [1])
_NO_OBJECTS: Final = ("x", ["x"], 7)

_BAD_RETRIES: Final = (
    *(Bad("retries", value) for value in _NO_OBJECTS),
    *(Bad("retries", {"max_attempts": value}, ".max_attempts") for value in (0, 2.5, -1, *_NO_NUMBERS)),
    *(Bad("retries", {"initial_interval": value}, ".initial_interval") for value in (-1, *_NO_NUMBERS)),
    *(Bad("retries", {"backoff": value}, ".backoff") for value in (0.5, *_NO_NUMBERS)),
    *(Bad("retries", {"max_interval": value}, ".max_interval") for value in (-0.5, *_NO_NUMBERS)),
    Bad("retries", {"attempts": 2}, ".attempts"),
)
_BAD_WORK: Final = (
    *(Bad("timeout", value) for value in (0, -1.5, *_NO_NUMBERS)),
    *_BAD_RETRIES,
    *(Bad("parameters", value) for value in _NO_OBJECTS),
    Bad("parameters", {"x": "${input..a}"}, ".x"),
    Bad("parameters", {"x": ["fine", "${input.a"]}, ".x[1]"),
    Bad("parameters", {"x": "${}"}, ".x"),
    Bad("parameters", {"deep": {"er": ["${nobody.n}"]}}, ".deep.er[0]", "nobody"),
    Bad("parameters", {"x": "text and ${nobody.n}"}, ".x", "nobody"),
    *(Bad("action", value) for value in ("", 7, None, ["work"], {"work": 1})),
    Bad("action", "nothing", "", "nothing"),
)
"""What may be wrong with an action, a step's or a compensation's."""


def _within(bad: Bad) -> Bad:
    """The same in a compensation."""
    return Bad("compensation", {**_UNDO, bad.key: bad.value}, f".{bad.key}{bad.inside}", bad.words)


BAD_VALUES: Final[Sequence[Bad]] = (
    *_BAD_WORK,
    Bad("parameters", {"x": "${SELF.n}"}, ".x", "SELF"),
    *(_within(bad) for bad in _BAD_WORK),
    *(Bad("compensation", value) for value in _NO_OBJECTS),
    Bad("compensation", {"parameters": {}}, ".action"),
    Bad("compensation", {**_UNDO, "join": "any"}, ".join"),
    *(Bad("join", value) for value in ("some", True, 1)),
    *(Bad("continue_on_error", value) for value in ("yes", 1)),
    Bad("input_schema", {"type": "nothing"}, ".type"),
    Bad("output_schema", {"type": "nothing"}, ".type"),
    Bad("output_schema", {"$ref": "https://example.org/schema"}, "", "$ref"),
    *(
        Bad("condition", value)
        for value in ("input.a ==", "", "(input.a", "input.a = 1", "input.a.open()", 1, ["true"])
    ),
    *(Bad("condition", text) for text in ("open('x') == 1", "input.a.all(x)", "'a", "${input.a", "${input.a}.b.${x}")),
    Bad("condition", "input.a.all(x, x == nobody)", "", "nobody"),
    Bad("condition", "nobody.n == 1", "", "nobody"),
    Bad("condition", "${nobody.n} == 1", "", "nobody"),
    Bad("condition", "${input..a} == 1"),
    Bad("tiemout", 3),
)
"""What may be wrong with a step; the world's actions are ``work``, ``undo`` and ``wait``."""

BAD_IDS: Final = ("", "input", "a.b", "a{b", "a}b", "a$b", None, 7, "a b", "a\tb", "a\u007f", ["a"])
BAD_SETTINGS: Final[Sequence[Bad]] = (
    *(Bad("max_concurrent_steps", value) for value in (0, "two", 1.5, True)),
    *(Bad("timeout", value) for value in (0, -1, *_NO_NUMBERS)),
    *(Bad("rollback_on_cancel", value) for value in ("no", 1)),
    *(Bad("id", value) for value in ("", 7, None)),
    *(Bad("name", value) for value in (7, ["w"])),
    Bad("max_concurent_steps", 2),
)


class Spoilt:
    """A definition on its way to ruin: steps without connections, so that spoiling one leaves the others sound."""

    def __init__(self, *names: str) -> None:
        self.steps: Steps = [{"id": name, "action": "work"} for name in names]
        self.settings: dict[str, Json] = {}
        self.faults: list[tuple[int | None, str, str]] = []
        """The step, or None for the workflow's own keys; what follows its place; and words."""

    def value(self, step: int, rank: int) -> None:
        """Give a key of the step a value that it must not have."""
        bad = BAD_VALUES[rank % len(BAD_VALUES)]
        name = self.steps[step]["id"]
        self.steps[step][bad.key] = _replaced(bad.value, "SELF", name)
        self.faults.append((step, f".{bad.key}{bad.inside}", bad.words.replace("SELF", name)))

    def identity(self, step: int, rank: int) -> None:
        """Give the step an id that no reference could name, or none."""
        self.steps[step]["id"] = BAD_IDS[rank % len(BAD_IDS)]
        self.faults.append((step, ".id", ""))

    def title(self, step: int, rank: int) -> None:
        """Give the step a name that is no text."""
        self.steps[step]["name"] = (7, True, ["s"])[rank % 3]
        self.faults.append((step, ".name", ""))

    def setting(self, _step: int, rank: int) -> None:
        """Give one of the workflow's own keys a value that it must not have."""
        bad = BAD_SETTINGS[rank % len(BAD_SETTINGS)]
        if bad.key not in self.settings:
            self.settings[bad.key] = bad.value
            self.faults.append((None, bad.key, ""))

    def definition(self, *, graph: bool) -> tuple[dict[str, Json], list[str]]:
        """The spoilt definition in one of the shapes, and its faults."""
        whole = {"id": "w", **self.settings, "steps": self.steps}
        return (as_graph(whole) if graph else whole), [_fault(*fault, graph=graph) for fault in self.faults]


def _fault(step: int | None, rest: str, words: str, *, graph: bool) -> str:
    if step is None:
        place = rest
    elif not graph:
        place = f"steps[{step}]{rest}"
    elif rest == ".name":
        place = f"nodes[{step}].title"
    else:
        place = f"nodes[{step}]{rest}" if rest == ".id" else f"nodes[{step}].config{rest}"
    return f"{place} {words}" if words else place


def _replaced(value: Json, old: str, new: str) -> Json:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    return [_replaced(item, old, new) for item in value] if isinstance(value, list) else value


# Workflows whose parts are sound, and whose whole is not


class Unsound(NamedTuple):
    """What is done to four steps, of which the second follows the first and the third the second; what it breaks."""

    step: int
    key: str
    value: Json
    fault: str
    """In the steps shape."""
    in_graph: str
    """In the graph shape."""


_LINKED: Final = "depends_on"
UNSOUND: Final[Sequence[Unsound]] = (
    Unsound(0, _LINKED, ["s2"], "steps[0].depends_on[0] s0 s1 s2", "connections[0] s0 s1 s2"),
    Unsound(3, _LINKED, ["nobody"], "steps[3].depends_on[0] nobody", "connections[2].source nobody"),
    Unsound(3, "id", "s1", "steps[3].id s1", "nodes[3].id s1"),
    Unsound(3, "parameters", {"x": "${s2.n}"}, "steps[3].parameters.x s2", "nodes[3].config.parameters.x s2"),
    Unsound(
        1,
        "parameters",
        {"deep": [{"x": "a ${s2.n}"}]},
        "steps[1].parameters.deep[0].x s2",
        "nodes[1].config.parameters.deep[0].x s2",
    ),
    Unsound(
        1,
        "compensation",
        {**_UNDO, "parameters": {"x": "${s2.n}"}},
        "steps[1].compensation.parameters.x s2",
        "nodes[1].config.compensation.parameters.x s2",
    ),
    Unsound(3, "condition", "s2.n > 0", "steps[3].condition s2", "nodes[3].config.condition s2"),
    Unsound(
        2,
        _LINKED,
        [{"source": "s1", "condition": "s3.n > 0"}],
        "steps[2].depends_on[0].condition s3",
        "connections[1].condition s3",
    ),
    Unsound(
        2,
        _LINKED,
        [{"source": "s1", "condition": "s1.n >"}],
        "steps[2].depends_on[0].condition",
        "connections[1].condition",
    ),
    Unsound(
        2, _LINKED, [{"source": "s1", "condition": 1}], "steps[2].depends_on[0].condition", "connections[1].condition"
    ),
    Unsound(3, _LINKED, ["s3"], "steps[3].depends_on[0] s3", "connections[2] s3"),
    Unsound(2, _LINKED, ["s1", "s1"], "steps[2].depends_on[1]", "connections[2]"),
    Unsound(2, _LINKED, [{"condition": "true"}], "steps[2].depends_on[0].source", "connections[1].source"),
    Unsound(2, _LINKED, [{"source": 7}], "steps[2].depends_on[0].source", "connections[1].source"),
    Unsound(2, _LINKED, [{"source": "s1", "when": 1}], "steps[2].depends_on[0].when", "connections[1].when"),
    Unsound(2, "sequence_order", 2, "steps[2].sequence_order", "nodes[2].config.sequence_order"),
    Unsound(2, "sequence_order", 3.0, "steps[2].sequence_order", "nodes[2].config.sequence_order"),
)

_STEPS: Final = [{"id": "a", "action": "work"}]
_NODES: Final = [{"id": "a", "config": {"action": "work"}}]
MISSHAPEN: Final[Sequence[tuple[dict[str, Json], str]]] = (
    ({"id": "w"}, " steps nodes"),
    ({"id": "w", "steps": None, "nodes": None}, " steps nodes"),
    ({"id": "w", "steps": [*_STEPS], "nodes": [*_NODES]}, "nodes steps"),
    ({"id": "w", "steps": []}, "steps"),
    ({"id": "w", "nodes": []}, "nodes"),
    ({"id": "w", "steps": {"a": {}}}, "steps"),
    ({"id": "w", "nodes": "a"}, "nodes"),
    ({"id": "w", "steps": ["a"]}, "steps[0]"),
    ({"id": "w", "nodes": [*_NODES, 7]}, "nodes[1]"),
    ({"id": "w", "nodes": [{"id": "a"}]}, "nodes[0].config"),
    ({"id": "w", "nodes": [{"id": "a", "config": "work"}]}, "nodes[0].config"),
    ({"id": "w", "nodes": [{**_NODES[0], "action": "work"}]}, "nodes[0].action"),
    ({"id": "w", "nodes": [*_NODES], "connections": {"a": "b"}}, "connections"),
    ({"id": "w", "nodes": [*_NODES], "connections": ["a"]}, "connections[0]"),
    ({"id": "w", "nodes": [*_NODES], "connections": [{"source": "a"}]}, "connections[0].target"),
    ({"id": "w", "nodes": [*_NODES], "connections": [{"source": "a", "target": "b"}]}, "connections[0].target b"),
    ({"id": "w", "steps": [{**_STEPS[0], "depends_on": "a"}]}, "steps[0].depends_on"),
    ({"id": "w", "steps": [*_STEPS], "connections": []}, "connections"),
)
"""What is no workflow in either shape, and its fault."""


def unsound(kind: int, *, graph: bool) -> tuple[dict[str, Json], list[str]]:
    """A workflow of sound parts that do not fit together, or one in no shape, and its fault."""
    kind %= len(UNSOUND) + len(MISSHAPEN)
    if kind >= len(UNSOUND):
        whole, fault = MISSHAPEN[kind - len(UNSOUND)]
        return whole, [fault]
    broken = UNSOUND[kind]
    steps: Steps = [{"id": f"s{rank}", "action": "work"} for rank in range(4)]
    steps[1][_LINKED], steps[2][_LINKED] = ["s0"], ["s1"]
    steps[broken.step][broken.key] = broken.value
    whole = {"id": "w", "steps": steps}
    return (as_graph(whole), [broken.in_graph]) if graph else (whole, [broken.fault])


RINGS: Final = 33
"""Bytes that decide what rings are made of."""
_RING_SIZES: Final = (1, 2, 1, 3)


def rings(chance: bytes, *, graph: bool) -> tuple[dict[str, Json], list[str]]:
    """Steps and rings of steps behind one another, defined in any order; each ring is a cycle, and is told once."""
    draws = iter(chance)
    order = list(range(4 + next(draws) % 5))
    for last in range(len(order) - 1, 0, -1):
        other = next(draws) % (last + 1)
        order[last], order[other] = order[other], order[last]
    steps: Steps = [{"id": f"s{rank}", "action": "work", _LINKED: []} for rank in range(len(order))]
    found, done = [], 0
    while done < len(order):
        size = 2 + next(draws) % 2 if not done else _RING_SIZES[next(draws) % len(_RING_SIZES)]
        ring = order[done : done + size]
        for place, step in enumerate(ring):
            before = next(draws)
            steps[step][_LINKED] += [f"s{order[(before + more) % done]}" for more in range(min(before % 3, done))]
            if len(ring) > 1:
                steps[step][_LINKED].append(f"s{ring[place - 1]}")
        if len(ring) > 1:
            found.append(ring)
        done += size
    faults = [_cycle(steps, ring, graph=graph) for ring in found]
    whole = {"id": "w", "steps": steps}
    return (as_graph(whole) if graph else whole), faults


def _cycle(steps: Steps, ring: Sequence[int], *, graph: bool) -> str:
    """The fault of a ring: at its connection into the step that is defined first, which is that step's last one."""
    into, names = min(ring), " ".join(f"s{step}" for step in ring)
    if graph:
        return f"connections[{sum(len(step[_LINKED]) for step in steps[: into + 1]) - 1}] {names}"
    return f"steps[{into}].depends_on[{len(steps[into][_LINKED]) - 1}] {names}"
