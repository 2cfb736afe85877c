"""Other programs that may violate the same: something is put in, so that more can go.

Rule 1: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
Rule 2: what is put in is one of few: a plain move, a plain argument, a latency of round size.
"""

from __future__ import annotations

import itertools
import json
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
    Manner,
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
from machines.parts import names_of, parts, renamed, replaced, source_of, without_moves
from machines.plainness import ROUND
from machines.rewriting import NAMES, Program, reordered, with_a_latency, with_steps_renamed
from machines.spoiling import BAD_IDS, BAD_SETTINGS, BAD_VALUES, MISSHAPEN, UNSOUND, Bad, Spoilt, unsound
from machines.tape import PLAIN

Json: TypeAlias = Any

_MOST: Final = 8
"""Moves of a program in which two are exchanged for one; of more there are too many pairs."""
_TOO_MANY: Final = 350
"""Programs of one length that are made of the moves that are there."""
_FEW: Final = 4
"""Moves that are there, of which two are taken with one latency; of more there are too many pairs."""
_MANY: Final = 3
"""Steps of a workflow that gets no more of them."""
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
_AT_ONCE: Final[Manner] = "instant"
_FAILING: Final = {"output_schema": {"required": ["a"]}}
"""What makes a step fail that ends at once."""
_PLAIN: Final = Run({"id": "w", "steps": [{"id": "a", "action": "work"}]})
_HARM: Final = (Crash, Recover, FailStore, Rival, TakeOver)


def others(lines: Program, executions: Sequence[str], *, definitions: bool) -> Iterator[Program]:
    """Programs with something else in them, those that are likely to be plainer first."""
    moves = list(alphabet(lines, executions))
    yield from _of_the_same_moves(lines, executions)
    yield from _with_other_moves(lines, moves)
    if definitions:
        yield from _with_known_definitions(lines)
    yield from _from_scratch(lines, executions, moves)
    if len(lines) <= _MOST:
        yield from _with_a_part_exchanged(lines, executions, moves)
        yield from _with_moves_exchanged(lines, executions, moves)


# What may be put in


def alphabet(lines: Program, executions: Sequence[str]) -> Iterator[Move]:
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


def with_an_argument_more(lines: Program) -> Iterator[Program]:
    """The program with one argument more at one of its starts."""
    for index, line in enumerate(lines):
        move = line.move
        if isinstance(move, Run) and not move.faults and isinstance((move.workflow or {}).get("steps"), list):
            yield from (replaced(lines, index, replace(line, move=more)) for more in _with_an_argument(move))


def _with_an_argument(run: Run) -> Iterator[Run]:
    assert run.workflow is not None
    steps = run.workflow["steps"]
    for rank, step in enumerate(steps):
        for manner in (_AT_ONCE, "stubborn"):
            for key in (step["id"], *([f"{step['id']}!"] if "compensation" in step else [])):
                yield replace(run, manners={**run.manners, key: manner})
        sources = [source_of(entry) for entry in step.get("depends_on") or ()][:1]
        for key, value in (*_POLICIES, *(("parameters", {"a": "${" + source + ".a}"}) for source in sources)):
            more = [*steps[:rank], {**step, key: value}, *steps[rank + 1 :]]
            yield replace(run, workflow={**run.workflow, "steps": more})
        at_once = {**run.manners, step["id"]: _AT_ONCE}
        failing = [*steps[:rank], {**step, **_FAILING}, *steps[rank + 1 :]]
        yield replace(run, workflow={**run.workflow, "steps": failing}, manners=at_once)
    for key, value in _SETTINGS:
        yield replace(run, workflow={**run.workflow, key: value})
    yield from _with_a_step_more(run)


def _with_a_step_more(run: Run) -> Iterator[Run]:
    """A step more that waits, ends at once or fails at once, by itself or after another one."""
    assert run.workflow is not None
    names = names_of(run.workflow)
    name = next((name for name in NAMES if name not in names), None)
    if name is None or len(names) > _MANY:
        return
    steps = run.workflow["steps"]
    manners: tuple[dict[str, Manner], ...] = ({}, {name: _AT_ONCE})
    for more, manner in itertools.product(({}, _FAILING), manners):
        step = {"id": name, "action": "work", **more}
        after = [[*steps, {**step, "depends_on": [source]}] for source in names]
        for these in ([*steps, step], [step, *steps], *after):
            yield replace(run, workflow={**run.workflow, "steps": these}, manners={**run.manners, **manner})


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
    assert isinstance(run.move, Run)
    left_alone = Line(replace(run.move, manners={}))
    for start in [run, left_alone] if run.move.manners else [run]:
        yield from _after(start, moves)
    yield from _after(Line(_PLAIN), [move for move in moves if _fits(move, executions[:1])])
    yield from _starts_alone()
    yield from _with_a_latency_from_scratch(lines, run, executions)
    yield from _late_from_scratch(lines, run, executions)


def _after(start: Line, moves: Sequence[Move]) -> Iterator[Program]:
    """A start, with an argument more or without, and up to two moves after it."""
    alone = (start,)
    yield alone
    yield from ((*alone, Line(move)) for move in moves)
    yield from with_an_argument_more(alone)
    yield from ((*alone, Line(one), Line(other)) for one, other in itertools.product(moves, repeat=2))
    yield from ((*more, Line(move)) for more in with_an_argument_more(alone) for move in moves)


def _starts_alone() -> Iterator[Program]:
    """Starts of two and three steps, each of which waits, ends at once or fails, and no move after them."""
    two = [_PLAIN, *_with_a_step_more(_PLAIN)]
    for run in (*two[1:], *(three for each in two[1:] for three in _with_a_step_more(each))):
        yield (Line(run),)


def _of_the_same_moves(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """One start, and three or four of the very moves about its execution, in any order; a latency, if there is one."""
    runs = [line for line in lines if isinstance(line.move, Run)]
    late = any(line.tape != PLAIN for line in lines)
    for length, (start, execution) in itertools.product((3, 4), [*zip(runs, executions, strict=False)]):
        own = list(_letters(lines, execution, executions[0]))
        if len(own) ** length > _TOO_MANY or length + 1 >= len(lines):
            continue
        alone = (Line(start.move),)
        for begun in [(start,), alone, *(with_a_latency(alone, ROUND[-1:]) if late else ())]:
            yield from ((*begun, *rest) for rest in itertools.product(own, repeat=length))


def _letters(lines: Program, execution: str, first: str) -> Iterator[Line]:
    """The moves about an execution, or about none, each once, as if it were the first; and time."""
    told: dict[str, Line] = {}
    for line in (Line(Elapse()), *lines):
        about = str(getattr(line.move, "gate", getattr(line.move, "execution", ""))).partition("/")[0]
        if about in ("", execution) and not isinstance(line.move, Run | AddStep | Connect):
            for each in (Line(line.move), line):
                same = renamed(each, {execution: first})
                told.setdefault(json.dumps(same.to_json()), same)
    yield from told.values()


def _with_a_latency_from_scratch(lines: Program, run: Line, executions: Sequence[str]) -> Iterator[Program]:
    """A start whose first step waits or ends at once, one of the moves that are there, and one latency."""
    if all(line.tape == PLAIN for line in lines):
        return
    assert isinstance(run.move, Run)
    first = names_of(run.move.workflow)[:1]
    own = {json.dumps(Line(line.move).to_json()): Line(line.move) for line in lines if line.move is not run.move}
    at_once = replace(run.move, manners=dict.fromkeys(first, _AT_ONCE))
    for start in (run, Line(at_once), Line(replace(_PLAIN, manners={"a": _AT_ONCE}))):
        yield from with_a_latency((start,))
        for line in own.values():
            if not isinstance(line.move, Run | AddStep | Connect) and _fits(line.move, executions[:1], any_step=True):
                yield from with_a_latency((start, line))


def _late_from_scratch(lines: Program, run: Line, executions: Sequence[str]) -> Iterator[Program]:
    """A start, two of the moves that are there, and one of the latencies, at any place."""
    sizes = dict.fromkeys(byte for line in lines for byte in line.tape.latencies if byte)
    told = {json.dumps(Line(line.move).to_json()): Line(line.move) for line in lines if line.move is not run.move}
    own = [
        line
        for line in told.values()
        if not isinstance(line.move, Run | AddStep | Connect) and _fits(line.move, executions[:1], any_step=True)
    ]
    if len(sizes) * len(own) <= _FEW:
        for pair in itertools.product(own, repeat=2):
            yield from with_a_latency((run, *pair), sizes)


def _fits(move: Move, executions: Sequence[str], *, any_step: bool = False) -> bool:
    """Whether a move is about the first step, or none, of the first execution, or of none."""
    execution, _, step = str(getattr(move, "gate", getattr(move, "execution", ""))).partition("/")
    return execution in ("", *executions) and (any_step or step in ("", "a", "a!"))


def _with_a_part_exchanged(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """A part out; an argument, a latency, another order or another move in."""
    for part in parts(lines, executions):
        yield from with_an_argument_more(part.lines)
        if part.kind == "move":
            yield from with_a_latency(part.lines)
            for plain in (part.lines, _without_manners(part.lines)):
                yield plain
                yield from with_steps_renamed(plain, executions)
        else:
            yield from reordered(part.lines)
            yield from _with_other_moves(part.lines, moves)


def _without_manners(lines: Program) -> Program:
    """The program in which every action waits for its move."""
    return tuple(
        replace(line, move=replace(line.move, manners={})) if isinstance(line.move, Run) else line for line in lines
    )


def _with_moves_exchanged(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """Two moves out; nothing, an argument or another move in."""
    for gone in itertools.combinations(range(len(lines)), 2):
        rest = without_moves(lines, gone, executions)
        yield rest
        yield from with_an_argument_more(rest)
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
