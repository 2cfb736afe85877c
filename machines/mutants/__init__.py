"""The canary's birds: engines with one planted bug each, a target for every one: ``machines.mutants:NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from machines.mutants import commands, definitions, failures, journal, order, reports, rollback, values
from machines.mutants.planting import Edit, Mutant, PlantingError
from machines.target import TargetFactory

__all__ = ["EXEMPT", "MUTANTS", "Edit", "Mutant", "PlantingError", "target_name"]

_GROUPS: Final = (commands, definitions, failures, journal, order, reports, rollback, values)

MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for group in _GROUPS for mutant in group.MUTANTS}

EXEMPT: Final[Mapping[str, str]] = {
    "everything_settled": "the world's own liveness phase, of the same clause, gives up before a case can be closed",
    "limits_kept_in_truth": "`limits_kept` counts an attempt as soon as its start is recorded, and so speaks first",
}
"""Invariants without a mutant, and why no engine can break them where another invariant does not say so first."""


def target_name(mutant: Mutant) -> str:
    """What a case calls a mutant."""
    return f"{__name__}:{mutant.name}"


def __getattr__(name: str) -> TargetFactory:
    """The factory of a mutant's targets, so that ``machines.mutants:NAME`` is a target."""
    if name in MUTANTS:
        return MUTANTS[name].plant()
    message = f"there is no mutant {name!r}"
    raise AttributeError(message)
