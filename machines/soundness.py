"""Whether a definition that was changed still is what its case says it is: valid, or broken in the places it names.

Rule 1: a case says so of each definition: without faults it is valid, with faults it is broken in just those places.
A smaller case must be as true, or what it shows is the mistake of whoever made it smaller (D3).
Rule 2: the built-in engine's own reading decides, whichever engine is under test. Where it disagrees with the case that
was found, that definition is left as it is, or becomes one of which they agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from engine.definition import parse_workflow
from engine.errors import DefinitionError
from machines.moves import Convert, Move, Run

Json: TypeAlias = Any

_ACTIONS: Final = ("work", "undo", "wait")
"""What the machines' workflows may call."""
_RANKS: Final = re.compile(r"\[\d+\]")
_WHOLE: Final = "the definition"
"""Where a fault is that has no place."""


def as_it_says(move: Move) -> Move | None:
    """The move with its definition's faults where they are now; None if its definition is not what it says it is."""
    definition = move.workflow if isinstance(move, Run) else move.graph if isinstance(move, Convert) else None
    if definition is None or not isinstance(move, Run | Convert):
        return move
    try:
        parse_workflow(definition, _ACTIONS)
    except DefinitionError as error:
        found = [_known(str(fault), move.faults) for fault in error.faults]
        now = {place for place in found if place is not None}
        if None in found or not now:
            return None
        return move if now == set(move.faults) else replace(move, faults=list(dict.fromkeys(filter(None, found))))
    return replace(move, faults=[]) if move.faults else move


def _known(line: str, faults: Sequence[str]) -> str | None:
    """The fault that a line of a refusal tells of, at its place now."""
    here = line.partition(": ")[0]
    here = "" if here == _WHOLE else here
    for fault in faults:
        place, *words = fault.split(" ")
        if _RANKS.sub("", place) == _RANKS.sub("", here) and all(word in line for word in words):
            return " ".join([here, *words])
    return None
