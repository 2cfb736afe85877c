"""Programs begun from scratch: a start or two, few moves after it, and at most one latency.

Rule 1: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
Rule 2: of the case nothing is taken but its first starts and its very moves: different cases come to the same program.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from machines.case import Line
from machines.moves import AddStep, Connect, Elapse, Move, Run
from machines.parts import names_of, renamed
from machines.plain_things import AT_ONCE, PLAIN_RUN, with_a_step_more, with_an_argument_more
from machines.plainness import ROUND
from machines.rewriting import Program, with_a_latency
from machines.tape import PLAIN

_TOO_MANY: Final = 350
"""Programs of one length that are made of the moves that are there."""
_FEW: Final = 4
"""Moves that are there, of which two are taken with one latency; of more there are too many pairs."""


def from_scratch(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """The first start alone, or a plain one, with an argument more or without, and one or two moves after it."""
    run = next((Line(line.move) for line in lines if isinstance(line.move, Run) and line.move.workflow), None)
    if run is None:
        return
    assert isinstance(run.move, Run)
    left_alone = Line(replace(run.move, manners={}))
    for start in [run, left_alone] if run.move.manners else [run]:
        yield from _after(start, moves)
        yield from _until_its_time(lines, start, moves)
    yield from _after(Line(PLAIN_RUN), [move for move in moves if _fits(move, executions[:1])])
    yield from _starts_alone()
    yield from _after_two_starts(lines, moves)
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


def _until_its_time(lines: Program, start: Line, moves: Sequence[Move]) -> Iterator[Program]:
    """A start with an argument more, one of the moves that are there, and time."""
    own = [Line(line.move) for line in lines if not isinstance(line.move, Run | AddStep | Connect | Elapse)]
    times = [Line(move) for move in moves if isinstance(move, Elapse) and not move.before]
    if len(own) <= _FEW:
        for more, line, time in itertools.product(with_an_argument_more((start,)), own, times):
            yield (*more, line, time)


def _starts_alone() -> Iterator[Program]:
    """Starts of two and three steps, each of which waits, ends at once or fails, and no move after them."""
    two = [PLAIN_RUN, *with_a_step_more(PLAIN_RUN)]
    for run in (*two[1:], *(three for each in two[1:] for three in with_a_step_more(each))):
        yield (Line(run),)


def _after_two_starts(lines: Program, moves: Sequence[Move]) -> Iterator[Program]:
    """Two starts, plain or those that are there, and up to two moves after them."""
    runs = [Line(line.move) for line in lines if isinstance(line.move, Run) and line.move.workflow]
    if len(runs) > 1:
        for starts in ((Line(PLAIN_RUN), Line(PLAIN_RUN)), tuple(runs[:2])):
            yield from ((*starts, Line(move)) for move in moves)
            yield from ((*starts, Line(one), Line(other)) for one, other in itertools.product(moves, repeat=2))


def of_the_same_moves(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
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
    at_once = replace(run.move, manners=dict.fromkeys(first, AT_ONCE))
    for start in (run, Line(at_once), Line(replace(PLAIN_RUN, manners={"a": AT_ONCE}))):
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
