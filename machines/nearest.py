"""The nearest variant of a case that passes: the difference that decides whether the contract is violated.

Rule 1: a variant is the program without one of its parts (``machines.parts``), or with two moves exchanged that follow
each other. It passes if the contract holds; one that is violated in another way says nothing.
Rule 2: without a deviation is nearer than anything else: then chance decides, and nothing that anybody asked for. Then
comes a move that is not there, or in another place; then what a move carries; a start that is not there says least.
Rule 3: of two equally near the nearer is the one that goes the same way longer. Both do the same up to there, so what
they do next is what the difference decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Final

from machines.case import Case, Line, carry_out
from machines.moves import Run, tell
from machines.parts import Part, parts
from machines.story_words import Told, tell_entries
from machines.target import TargetFactory
from model.history import Entry, Recorded

_TRIALS: Final = 128
"""Variants that are tried: all that a minimal case has."""
_LESS: Final = frozenset({"Notified", "Reported", "Rested", "Subscribed"})
"""Entries that follow from others."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """A variant that passes, and where it goes another way."""

    text: str
    """What is different, in words."""
    here: Told | None
    """What came in the case where the two part; None: it had come to its end."""
    there: Told | None
    """What came instead."""


def nearest(case: Case, factory: TargetFactory, history: Sequence[Entry]) -> Nearest | None:
    """The nearest variant of a case that passes, held against the history of the case; None if none does."""
    told = _told(history)
    executions = list(dict.fromkeys(entry.execution for entry in history if isinstance(entry, Recorded)))
    found: list[tuple[int, int, int, Nearest]] = []
    for distance, part in islice(_variants(case.lines, executions), _TRIALS):
        if found and distance > found[0][0]:
            break
        other = carry_out(part.lines, factory, case.max_concurrent_steps)
        if other.verdict is None:
            there = _told(other.history)
            common = sum(1 for _ in takewhile(lambda pair: _same(*pair), zip(told, there, strict=False)))
            here, instead = (next(iter(each[common : common + 1]), None) for each in (told, there))
            found.append((distance, -common, len(found), Nearest(part.text, here, instead)))
    return min(found)[-1] if found else None


def _told(history: Sequence[Entry]) -> list[Told]:
    return [entry for entry in tell_entries(history) if entry.kind not in _LESS]


def _variants(lines: Sequence[Line], executions: Sequence[str]) -> Iterator[tuple[int, Part]]:
    """The variants, each with how far it is; the nearest first."""
    made = [(_distance(lines, part), replace(part, text=f"without {part.text}")) for part in parts(lines, executions)]
    for index in range(1, len(lines)):
        one, other = lines[index - 1], lines[index]
        if not isinstance(one.move, Run) and not isinstance(other.move, Run) and one != other:
            exchanged = (*lines[: index - 1], other, one, *lines[index + 1 :])
            made.append((1, Part("move", f"with {tell(other.move)} before {tell(one.move)}", exchanged)))
    yield from sorted(made, key=lambda variant: variant[0])


def _distance(lines: Sequence[Line], part: Part) -> int:
    if part.kind == "deviation":
        return 0
    if part.kind == "move":
        starts = [sum(isinstance(line.move, Run) for line in each) for each in (lines, part.lines)]
        return 1 if starts[0] == starts[1] else 3
    return 2


def _same(here: Told, there: Told) -> bool:
    """Whether the same came, if not at the same time; that the definitions differ is known."""
    return (here.kind, here.execution, here.step) == (there.kind, there.execution, there.step) and (
        here.text == there.text or "ExecutionCreated" in here.text
    )
