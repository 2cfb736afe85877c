"""A program disturbed: a few plain things put in at random places, so that taking away begins somewhere else.

Taking away ends in a local minimum, and another one may be plainer: where a bug shows itself in two ways, each is
minimal. This is the disturbance of an iterated local search (Lourenço, Martin and Stützle, *Iterated Local Search*,
2003).

Rule 1: like ``machines.rewriting``, this knows nothing of what violates.
Rule 2: all is decided by the random numbers that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from machines.case import Line
from machines.parts import parts
from machines.plain_things import alphabet, with_an_argument_more
from machines.rewriting import Program, with_a_latency

_MOST: Final = 3
"""Things put in at once: one or two are tried without chance."""


def perturbed(lines: Program, executions: Sequence[str], chance: Random) -> Program:
    """The program with one to three things more in it."""
    for _ in range(chance.randint(1, _MOST)):
        way = chance.choice((_a_move_more, _an_argument_more, _an_argument_more, _a_latency_more))
        lines = way(lines, executions, chance)
    return lines


def _a_move_more(lines: Program, executions: Sequence[str], chance: Random) -> Program:
    moves = list(alphabet(lines, executions))
    place = chance.randint(1, len(lines))
    return (*lines[:place], Line(chance.choice(moves)), *lines[place:])


def _an_argument_more(lines: Program, _executions: Sequence[str], chance: Random) -> Program:
    return _one_of(list(with_an_argument_more(lines)), lines, chance)


def _a_latency_more(lines: Program, _executions: Sequence[str], chance: Random) -> Program:
    return _one_of(list(with_a_latency(lines)), lines, chance)


def _one_of(programs: Sequence[Program], otherwise: Program, chance: Random) -> Program:
    return chance.choice(programs) if programs else otherwise


def in_any_order(lines: Program, executions: Sequence[str], chance: Random) -> list[Program]:
    """The program without each of its parts alone, in an order left to chance."""
    programs = [part.lines for part in parts(lines, executions)]
    chance.shuffle(programs)
    return programs
