"""How plain a program is: of two that violate the same, which one is to be shown.

Rule 1: it is a total order of programs, so whatever makes a program plainer comes to an end, and comes to one form.
Rule 2: what happens in asyncio's own order is plainer than what needs callbacks out of turn, which a real program never
has. Then fewer moves and steps together come first, then fewer moves; then no graph, fewer connections, deviations and
arguments, fewer slots; then plainer kinds of moves, and in the order of their kinds; then what they carry. (With moves
alone first, a start of three steps, one of which lacks its input, would stand for *run, pause*: it is not plainer.)
Rule 3: of values the shortest is the plainest, and of numbers 1, which is what everything is by default. That an action
raises at its call is the last that is said of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final, TypeAlias

from machines.case import Line
from machines.moves import ABRUPT, MOVES, Move, to_json
from machines.parts import CONNECTIONS, DEFINITIONS, STEPS, paths
from machines.tape import LATENCIES, TICK, Tape

Json: TypeAlias = Any
Weight: TypeAlias = tuple[Any, ...]

_RANKS: Final = {name: rank for rank, name in enumerate(["Run", *(name for name in MOVES if name != "Run")])}
_KEYS: Final = ("id", "action", "steps", "depends_on", "source", "target", "condition")
"""Keys that come first in an object that has them."""
ROUND: Final = tuple(LATENCIES.index(ticks * TICK) for ticks in (0.5, 1.5, 5.5, 2560.5))
"""A byte for a latency of each size: within a move, into the next one, beyond it, and longer than most timers."""
_KINDS: Final = ("node", "step", "connection", "argument")
_MANY: Final = 1000
_WEIGHED: Final[dict[int, tuple[Move, tuple[int, tuple[int, ...], Weight]]]] = {}
"""What weighing a move came to, by its identity, its own while it stands here: programs share most of their moves."""


def weigh(lines: Sequence[Line], limit: int) -> Weight:
    """How much there is to a program with so many slots; the less, the plainer."""
    moves = [_of_move(line.move) for line in lines]
    counts = [sum(each) for each in zip(*(each[1] for each in moves), strict=True)] or [0] * len(_KINDS)
    node, step, connection, argument = counts
    out_of_turn = any(byte != 0 for line in lines for byte in line.tape.order)
    late = sum(byte != 0 for line in lines for byte in line.tape.latencies + line.tape.order)
    ranks = [each[0] for each in moves]
    carried = [(each[2], _tape(line.tape)) for each, line in zip(moves, lines, strict=True)]
    sizes = node, step, connection, late, argument
    return out_of_turn, len(lines) + step, len(lines), *sizes, limit, sorted(ranks), ranks, carried


def _of_move(move: Move) -> tuple[int, tuple[int, ...], Weight]:
    """The rank of a move's kind, how many parts of each kind it has, and what it carries."""
    known = _WEIGHED.get(id(move))
    if known is None or known[0] is not move:
        document = to_json(move)
        counts = Counter(_parts(document, _defaults(type(move).__name__)))
        rank = _RANKS[document.pop("move")]
        if len(_WEIGHED) >= _MANY:
            _WEIGHED.clear()
        known = _WEIGHED[id(move)] = move, (rank, tuple(counts[kind] for kind in _KINDS), _shape(document))
    return known[1]


def _parts(document: Mapping[str, Json], defaults: Mapping[str, Json]) -> list[str]:
    """The kinds of the parts that a move has."""
    found = []
    for name, value in document.items():
        if name in (*defaults, *DEFINITIONS) and value != defaults.get(name):
            places = list(paths(value, (name,)))
            found += [] if places else ["argument"]
            for path in places:
                if path[-2] in STEPS:
                    found += ["step", "node"] if path[-2] == "nodes" else ["step"]
                else:
                    found.append("connection" if path[-2] in CONNECTIONS else "argument")
    return found


@cache
def _defaults(kind: str) -> Mapping[str, Json]:
    return {
        part.name: part.default_factory() if part.default_factory is not MISSING else part.default
        for part in fields(MOVES[kind])
        if part.default is not MISSING or part.default_factory is not MISSING
    }


def _shape(value: Json) -> Weight:
    """A JSON value as something that can be compared with any other."""
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value != 1, len(repr(value)), value
    if isinstance(value, str):
        return 3, value == ABRUPT, len(value), value
    if isinstance(value, Mapping):
        return 5, len(value), [(_key(key), _shape(item)) for key, item in value.items()]
    return 4, len(value), [_shape(item) for item in value]


def _key(key: str) -> tuple[int, str]:
    return (_KEYS.index(key) if key in _KEYS else len(_KEYS)), key


def by_key(value: Json) -> Json:
    """The value with the keys of its objects in the order that weighs least."""
    if isinstance(value, Mapping):
        return {key: by_key(value[key]) for key in sorted(value, key=_key)}
    return [by_key(item) for item in value] if isinstance(value, list) else value


def _tape(tape: Tape) -> Weight:
    late = [(place, _roundness(byte)) for place, byte in enumerate(tape.latencies) if byte]
    turned = [(place, byte) for place, byte in enumerate(tape.order) if byte]
    return late, turned


def _roundness(byte: int) -> tuple[int, int]:
    return (0, ROUND.index(byte)) if byte in ROUND else (1, byte)
