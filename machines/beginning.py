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
from machines.moves import ABRUPT, AT_ONCE, AddStep, Connect, Elapse, Move, Run
from machines.parts import has_steps, names_of, parts, renamed
from machines.plain_things import PLAIN_RUN, with_a_step_more, with_an_argument_more, with_behaviours
from machines.plainness import ROUND
from machines.rewriting import SIZES, Program, with_a_latency
from machines.tape import PLAIN

_TOO_MANY: Final = 350
"""Programs of one length that are made of the moves that are there."""
_FEW: Final = 5
"""Moves that are there, of which two are taken with one latency; of more there are too many pairs."""


def from_scratch(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """The first start alone, or a plain one, with an argument more or without, and one or two moves after it."""
    run = next((Line(line.move) for line in lines if isinstance(line.move, Run) and line.move.workflow), None)
    if run is None:
        return
    assert isinstance(run.move, Run)
    left_alone = Line(replace(run.move, manners={}))
    yield from _starts_alone()
    own = [line.move for line in own_moves(lines, executions)]
    for start in [run, left_alone] if run.move.manners else [run]:
        yield from _after(start, moves, own)
        yield from _until_its_time(lines, start, moves)
    fitting = [move for move in moves if _fits(move, executions[:1])]
    yield from _after(Line(PLAIN_RUN), fitting, fitting)
    yield from _after_two_starts(lines, moves)
    yield from _with_a_latency_from_scratch(lines, run, executions)
    yield from _late_from_scratch(lines, run, executions)


def _after(start: Line, moves: Sequence[Move], own: Sequence[Move]) -> Iterator[Program]:
    """A start, and up to two moves after it; or one, and an argument more. One of the moves is one that is there."""
    alone = (start,)
    yield alone
    yield from ((*alone, Line(move)) for move in moves)
    yield from with_an_argument_more(alone)
    for one, other in (*itertools.product(own, moves), *itertools.product(moves, own)):
        yield (*alone, Line(one), Line(other))
    yield from ((*more, Line(move)) for more in with_an_argument_more(alone) for move in own)


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
    """A start one of whose steps waits or ends at once, one of the moves that are there, and one latency."""
    if all(line.tape == PLAIN for line in lines):
        return
    own = own_moves(lines, executions)
    sizes = dict.fromkeys((ROUND[1], ROUND[-1], *_sizes(lines)))
    for start in _behaving(run, executions):
        yield (start,)
        yield from with_a_latency((start,), sizes)
        for line in own:
            yield start, line
            yield from with_a_latency((start, line), sizes)


def _sizes(lines: Program) -> Iterator[int]:
    return (byte for line in lines for byte in line.tape.latencies if byte)


def _behaving(run: Line, executions: Sequence[str]) -> Iterator[Line]:
    """The start, also without one of its arguments; one of its steps ends at once, or it has one more; a plain one."""
    assert isinstance(run.move, Run)
    for part in parts((run,), executions):
        if part.kind == "argument":
            yield from (Line(start) for line in part.lines for start in _ending_at_once(line.move))
    yield run
    yield from map(Line, _ending_at_once(run.move))
    if len(names_of(run.move.workflow)) == 1:
        yield from map(Line, with_a_step_more(run.move))
    yield Line(replace(PLAIN_RUN, manners={"a": AT_ONCE}))


def _ending_at_once(move: Move) -> Iterator[Run]:
    """The start with one of its steps ending at once: as it is, and without policies."""
    if isinstance(move, Run) and has_steps(move):
        yield from (replace(move, manners={name: AT_ONCE}) for name in names_of(move.workflow))
        yield from (other for other in with_behaviours(move) if {AT_ONCE, ABRUPT} & {*other.manners.values()})


def _late_from_scratch(lines: Program, run: Line, executions: Sequence[str]) -> Iterator[Program]:
    """A start, two of the moves that are there, and one latency, at any place."""
    sizes = dict.fromkeys((*_sizes(lines), *SIZES))
    own = own_moves(lines, executions)
    if len(own) <= _FEW and any(line.tape != PLAIN for line in lines):
        for pair in itertools.product(own, repeat=2):
            yield (run, *pair)
            yield from with_a_latency((run, *pair), sizes)


def own_moves(lines: Program, executions: Sequence[str]) -> list[Line]:
    """The moves that are there about the first execution, or about none, each once."""
    told = {json.dumps(Line(line.move).to_json()): Line(line.move) for line in lines}
    return [
        line
        for line in told.values()
        if not isinstance(line.move, Run | AddStep | Connect) and _fits(line.move, executions[:1], any_step=True)
    ]


def _fits(move: Move, executions: Sequence[str], *, any_step: bool = False) -> bool:
    """Whether a move is about the first step, or none, of the first execution, or of none."""
    execution, _, step = str(getattr(move, "gate", getattr(move, "execution", ""))).partition("/")
    return execution in ("", *executions) and (any_step or step in ("", "a", "a!"))
