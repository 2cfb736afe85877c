"""Other programs that may violate the same: something is put in, so that more can go.

Rule 1: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
Rule 2: what is put in is one of few: a plain move, a plain argument, a latency of round size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from machines.beginning import from_scratch, of_the_same_moves
from machines.case import Line
from machines.moves import AddStep, Connect, Elapse, Fail, Move, Run
from machines.parts import has_steps, parts, replaced, without_moves
from machines.plain_things import (
    PLAIN_RUN,
    alphabet,
    with_a_step_more,
    with_an_argument_more,
    with_behaviours,
)
from machines.rewriting import Program, reordered, with_a_latency, with_steps_renamed
from machines.small_scope import small_scope
from machines.spoiling import BAD_IDS, BAD_SETTINGS, BAD_VALUES, MISSHAPEN, UNSOUND, Bad, Spoilt, unsound
from machines.tape import PLAIN

_MOST: Final = 8
"""Moves of a program in which two are exchanged for one; of more there are too many pairs."""


def others(lines: Program, executions: Sequence[str], *, definitions: bool) -> Iterator[Program]:
    """Programs with something else in them, those that are likely to be plainer first."""
    moves = list(alphabet(lines, executions))
    yield from _with_other_moves(lines, moves)
    if definitions:
        yield from _with_known_definitions(lines)
    yield from from_scratch(lines, executions, moves)
    if not definitions:
        yield from small_scope(lines, executions)
    yield from of_the_same_moves(lines, executions)
    if len(lines) <= _MOST:
        yield from _with_a_step_that_behaves(lines, moves)
        yield from _with_a_part_exchanged(lines, executions, moves)
        yield from _with_moves_exchanged(lines, executions, moves)


def ended_otherwise(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """Another move in the place of the last one."""
    return _with_other_moves(lines, list(alphabet(lines, executions)), len(lines) - 1)


# Where it is put in


def _with_other_moves(lines: Program, moves: Sequence[Move], first: int = 0) -> Iterator[Program]:
    """A move in another one's place, with its tape or without."""
    for index, line in [*enumerate(lines)][first:]:
        if not isinstance(line.move, Run | AddStep | Connect):
            for move in moves:
                yield replaced(lines, index, Line(move))
                if line.tape != PLAIN:
                    yield replaced(lines, index, Line(move, line.tape))


def _with_a_part_exchanged(lines: Program, executions: Sequence[str], moves: Sequence[Move]) -> Iterator[Program]:
    """A part out; an argument, a latency, another order or another move in."""
    for part in parts(lines, executions):
        yield from with_an_argument_more(part.lines)
        if part.kind == "move":
            yield from with_a_latency(part.lines)
            for plain in (part.lines, _without_manners(part.lines)):
                yield plain
                yield from with_steps_renamed(plain, executions)
            if _starts(part.lines) < _starts(lines):  # that time passed may be all that the start was for
                yield from _with_a_move_more(part.lines, moves)
        else:
            yield from reordered(part.lines)
            yield from _with_other_moves(part.lines, moves)


def _with_a_step_that_behaves(lines: Program, moves: Sequence[Move]) -> Iterator[Program]:
    """A step that ends in another way: when it is told, at once, by a failure, after its time; and time that passes."""
    instead: list[Move] = [Elapse(), Elapse(1.0), Elapse(2.0), *(move for move in moves if isinstance(move, Fail))]
    for index, line in enumerate(lines):
        run = line.move
        if isinstance(run, Run) and has_steps(run):
            for other in with_behaviours(run):
                behaving = replaced(lines, index, replace(line, move=other))
                yield behaving
                yield from _with_a_step_and_one_move(lines, other)
                for place, later in enumerate(lines):
                    if isinstance(later.move, Elapse):
                        yield from (replaced(behaving, place, Line(move)) for move in instead)


def _with_a_step_and_one_move(lines: Program, run: Run) -> Iterator[Program]:
    """The start alone with a step more, and one of the moves that are there."""
    own = [Line(line.move) for line in lines if not isinstance(line.move, Run | AddStep | Connect)]
    for more, line in itertools.product(with_a_step_more(run), own):
        yield Line(more), line


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
        yield from _with_a_move_more(rest, moves)


def _with_a_move_more(lines: Program, moves: Sequence[Move]) -> Iterator[Program]:
    """A plain move at any place but the first."""
    for place, move in itertools.product(range(1, len(lines) + 1), moves):
        yield (*lines[:place], Line(move), *lines[place:])


def _starts(lines: Program) -> int:
    return sum(isinstance(line.move, Run) for line in lines)


# Definitions that are refused, or ought to be


def _with_known_definitions(lines: Program) -> Iterator[Program]:
    """A definition that is valid, or broken in one place, in two, or in its whole."""
    values, settings = _places(BAD_VALUES), _places(BAD_SETTINGS)
    ways = [[("value", rank)] for rank in values] + [[("identity", rank)] for rank in range(len(BAD_IDS))]
    nameless = next(rank for rank in settings if BAD_SETTINGS[rank].key == "id")
    ways += [[("setting", rank)] for rank in settings] + [[("identity", 0), ("setting", nameless)]]
    known = [PLAIN_RUN, *map(_broken, ways)]
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
