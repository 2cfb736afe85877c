"""Reached, triggered, detected, counted apart: what a set of cases does to a planted bug.

Rule 1: a bug is *reached* by a case in which one of its changed lines is executed, *triggered* by one whose history
is another than the clean engine's, *detected* by one that the judge rejects.
Rule 2: a bug that is triggered and never detected is a hole in the model; one that is reached and never triggered is
one in the moves.
Rule 3: the same programs, tapes and all, are carried out by both engines; nothing here searches.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from random import Random
from types import FrameType
from typing import Any, TypeAlias

from machines.case import Course, Line, carry_out
from machines.chance import drive
from machines.mutants.planting import Mutant, file_of, source_of
from machines.registry import MACHINES, load_target
from machines.searching import STEPS

Tracer: TypeAlias = Callable[[FrameType, str, Any], Any]
Program: TypeAlias = tuple[tuple[Line, ...], int]
"""The lines of a case, and how many slots its engine has."""


@dataclass(frozen=True, slots=True)
class Probe:
    """In how many cases a bug was reached, triggered and detected."""

    bug: str
    cases: int
    reached: int
    triggered: int
    detected: int

    @property
    def hole(self) -> str:
        """Where something is missing: in the model or in the moves; nowhere, if it was detected."""
        if self.detected:
            return ""
        if self.triggered:
            return "in the model"
        return "in the moves" if self.reached else "never reached"


def programs(machine: str, seed: int, cases: int) -> Iterator[Program]:
    """What chance makes of a machine on its clean engine."""
    chance = Random(seed)
    for _ in range(cases):
        made = MACHINES[machine]()
        drive(made, chance, STEPS)
        assert made.world is not None
        moves = made.world.moves
        yield tuple(Line(played.move, played.tape) for played in moves), made.world.max_concurrent_steps


def probe(mutant: Mutant, given: Sequence[Program]) -> Probe:
    """Carry out all programs with the bug and without it."""
    factory, clean = mutant.plant(), load_target(mutant.clean)
    lines = _changed(mutant)
    reached = triggered = detected = 0
    for program, slots in given:
        hit: list[int] = []
        with _traced(_tracer(lines, hit)):
            course = carry_out(program, factory, slots)
        reached += bool(hit)
        detected += course.verdict is not None
        triggered += _differ(course, carry_out(program, clean, slots))
    return Probe(mutant.name, len(given), reached, triggered, detected)


def _differ(course: Course, other: Course) -> bool:
    return (course.digest, course.verdict) != (other.digest, other.verdict)


# Which lines are changed, and whether they are executed


def _changed(mutant: Mutant) -> dict[str, frozenset[int]]:
    """The lines that count as the bug's, by the file that its modules say they are of."""
    return {
        file_of(module, mutant.name): frozenset(_lines(source_of(module, ()), source_of(module, mutant.edits)))
        for module in dict.fromkeys(edit.module for edit in mutant.edits)
    }


def _lines(clean: str, changed: str) -> Iterator[int]:
    """The lines that were not there before, or what stands where some were; of a long statement its first line too."""
    statements = [node for node in ast.walk(ast.parse(changed)) if isinstance(node, ast.stmt)]
    matcher = SequenceMatcher(None, clean.splitlines(), changed.splitlines(), autojunk=False)
    for tag, _, _, first, end in matcher.get_opcodes():
        for line in range(first + 1, max(first + 1, end) + 1) if tag != "equal" else ():
            yield line
            around = [node for node in statements if node.lineno <= line <= (node.end_lineno or 0)]
            closest = max(around, key=lambda node: node.lineno, default=None)
            if closest is not None and not hasattr(closest, "body"):
                yield closest.lineno


def _tracer(lines: dict[str, frozenset[int]], hit: list[int]) -> Tracer:
    """Notes the first of the lines that is executed."""

    def local(frame: FrameType, event: str, _argument: object) -> Tracer:
        if event == "line" and not hit and frame.f_lineno in lines[frame.f_code.co_filename]:
            hit.append(frame.f_lineno)
        return local

    def called(frame: FrameType, _event: str, _argument: object) -> Tracer | None:
        return local if not hit and frame.f_code.co_filename in lines else None

    return called


@contextmanager
def _traced(tracer: Tracer) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        yield
    finally:
        sys.settrace(before)
