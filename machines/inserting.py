"""Other programs that may violate the same: something is put in, so that more can go.

Rule 1: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
Rule 2: what is put in is one of few: a plain move, a plain argument, a latency of round size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from machines.case import Line
from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Move,
    Pause,
    Recover,
    Resume,
    Rival,
    Run,
    Subscribe,
    TakeOver,
    Yield,
)
from machines.parts import names_of, parts, replaced, source_of, without_moves
from machines.rewriting import Program, reordered, with_a_latency
from machines.spoiling import BAD_IDS, BAD_SETTINGS, BAD_VALUES, MISSHAPEN, UNSOUND, Bad, Spoilt, unsound
from machines.tape import PLAIN

Json: TypeAlias = Any

_MOST: Final = 8
"""Moves of a program in which two are exchanged for one; of more there are too many pairs."""
_MISSING: Final = {"parameters": {"a": "${input.a}"}}
_POLICIES: Final[Sequence[tuple[str, Json]]] = (
    ("timeout", 1),
    ("continue_on_error", True),
    ("retries", {"max_attempts": 2}),
    ("compensation", {"action": "undo"}),
    ("compensation", {"action": "undo", **_MISSING}),
    ("condition", "false"),
    ("condition", "1"),
    ("output_schema", {"required": ["a"]}),
    *_MISSING.items(),
)
_SETTINGS: Final[Sequence[tuple[str, Json]]] = (
    ("timeout", 1),
    ("rollback_on_cancel", True),
    ("max_concurrent_steps", 1),
)
_PLAIN: Final = Run({"id": "w", "steps": [{"id": "a", "action": "work"}]})
_HARM: Final = (Crash, Recover, FailStore, Rival, TakeOver)


def others(lines: Program, executions: Sequence[str], *, definitions: bool) -> Iterator[Program]:
    """Programs with something else in them, those that are likely to be plainer first."""
    moves = list(_alphabet(lines, executions))
    yield from _with_other_moves(lines, moves)
    if definitions:
        yield from _with_known_definitions(lines)
    yield from _from_scratch(lines, executions, moves)
    if len(lines) <= _MOST:
        yield from _with_a_part_exchanged(lines, executions, moves)
        yield from _with_moves_exchanged(lines, executions, moves)


# What may be put in


def _alphabet(lines: Program, executions: Sequence[str]) -> Iterator[Move]:
    """Moves that may stand for others."""
    gates = []
    runs = [line.move for line in lines if isinstance(line.move, Run)]
    for run, execution in zip(runs, executions, strict=False):
        for name in names_of(run.workflow):
            gates += [f"{execution}/{name}"] + [f"{execution}/{name}!"] * ("compensation" in str(run.workflow))
    yield from (kind(gate) for kind in (Finish, Fail, Yield) for gate in gates)
    yield from (kind(name) for kind in (Pause, Resume, Cancel, Subscribe) for name in executions[:2])
    yield from (Elapse(), Elapse(1.0), Elapse(None, 0.0005), Elapse(None, 0.0015))
    if any(isinstance(line.move, _HARM) for line in lines):
        yield from (Crash(), Crash("before"), Crash("after"), Recover(), FailStore(), Rival(), TakeOver())


def _arguments(lines: Program) -> Iterator[Program]:
    """The program with one argument more at one of its starts."""
    for index, line in enumerate(lines):
        move = line.move
        if isinstance(move, Run) and not move.faults and isinstance((move.workflow or {}).get("steps"), list):
            yield from (replaced(lines, index, replace(line, move=more)) for more in _with_an_argument(move))


def _with_an_argument(run: Run) -> Iterator[Run]:
    assert run.workflow is not None
    steps = run.workflow["steps"]
    for rank, step in enumerate(steps):
        for manner in ("instant", "stubborn"):
            for key in (step["id"], *([f"{step['id']}!"] if "compensation" in step else [])):
                yield replace(run, manners={**run.manners, key: manner})
        sources = [source_of(entry) for entry in step.get("depends_on") or ()][:1]
        for key, value in (*_POLICIES, *(("parameters", {"a": "${" + source + ".a}"}) for source in sources)):
            more = [*steps[:rank], {**step, key: value}, *steps[rank + 1 :]]
            yield replace(run, workflow={**run.workflow, "steps": more})
    for key, value in _SETTINGS:
        yield replace(run, workflow={**run.workflow, key: value})


# Where it is put in


def _with_other_moves(lines: Program, moves: Sequence[Move]) -> Iterator[Program]:
    """A move in another one's place, with its tape or without."""
    for index, line in enumerate(lines):
        if not isinstance(line.move, Run | AddStep | Connect):
            for move in moves:
                yield replaced(lines, index, Line(move))
                if line.tape != PLAIN:
                    yield replaced(lines, index, Line(move, line.tape))


def _from_scratch(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """The first start alone, or a plain one, with an argument more or without, and one or two moves after it."""
    run = next((Line(line.move) for line in lines if isinstance(line.move, Run) and line.move.workflow), None)
    if run is None:
        return
    for start in (run, Line(_PLAIN)):
        alone = (start,)
        own = moves if start is run else [move for move in moves if _fits(move, executions[:1])]
        yield alone
        yield from ((*alone, Line(move)) for move in own)
        yield from _arguments(alone)
        yield from ((*alone, Line(one), Line(other)) for one, other in itertools.product(own, repeat=2))
        yield from ((*more, Line(move)) for more in _arguments(alone) for move in own)


def _fits(move: Move, executions: Sequence[str]) -> bool:
    """Whether a move is about the first step, or none, of the first execution, or of none."""
    execution, _, step = str(getattr(move, "gate", getattr(move, "execution", ""))).partition("/")
    return execution in ("", *executions) and step in ("", "a", "a!")


def _with_a_part_exchanged(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """A part out; an argument, a latency, another order or another move in."""
    for part in parts(lines, executions):
        yield from _arguments(part.lines)
        if part.kind == "move":
            yield from with_a_latency(part.lines)
        else:
            yield from reordered(part.lines)
            yield from _with_other_moves(part.lines, moves)


def _with_moves_exchanged(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """Two moves out; nothing, an argument or another move in."""
    for gone in itertools.combinations(range(len(lines)), 2):
        rest = without_moves(lines, gone, executions)
        yield rest
        yield from _arguments(rest)
        for place, move in itertools.product(range(1, len(rest) + 1), moves):
            yield (*rest[:place], Line(move), *rest[place:])


# Definitions that are refused, or ought to be


def _with_known_definitions(lines: Program) -> Iterator[Program]:
    """A definition that is valid, or broken in one place, in two, or in its whole."""
    values, settings = _places(BAD_VALUES), _places(BAD_SETTINGS)
    ways = [[("value", rank)] for rank in values] + [[("identity", rank)] for rank in range(len(BAD_IDS))]
    nameless = next(rank for rank in settings if BAD_SETTINGS[rank].key == "id")
    ways += [[("setting", rank)] for rank in settings] + [[("identity", 0), ("setting", nameless)]]
    known = [_PLAIN, *map(_broken, ways)]
    for kind, graph in itertools.product(range(len(UNSOUND) + len(MISSHAPEN)), (False, True)):
        definition, places = unsound(kind, graph=graph)
        known.append(Run(definition, {}, {}, places))
    for index, line in enumerate(lines):
        if isinstance(line.move, Run):
            yield from (replaced(lines, index, Line(run)) for run in known)


def _places(bad: Sequence[Bad]) -> list[int]:
    """The ranks of the bad values, one for each place and type."""
    known = {(each.key, each.inside, each.words, type(each.value)): rank for rank, each in reversed([*enumerate(bad)])}
    return sorted(known.values())


def _broken(ways: Sequence[tuple[str, int]]) -> Run:
    """A workflow of one step that is broken in these ways."""
    broken = Spoilt("a")
    for way, rank in ways:
        getattr(broken, way)(0, rank)
    definition, places = broken.definition(graph=False)
    return Run(definition, {}, {}, places)
