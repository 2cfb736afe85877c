"""The canary's birds: engines with one planted bug each, a target for every one: ``machines.mutants:NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from machines.mutants import (
    cancellation,
    definitions,
    journal,
    notifications,
    order,
    pausing,
    recovery,
    reports,
    retries,
    rollback,
    service,
    shutdowns,
    slots,
    values,
)
from machines.mutants.planting import Edit, Mutant, PlantingError
from machines.target import TargetFactory

__all__ = ["CLASSES", "EXEMPT", "MUTANTS", "Edit", "Mutant", "PlantingError", "target_name"]

_GROUPS: Final = (
    *(order, values, rollback, cancellation, pausing, retries, slots),
    *(journal, recovery, notifications, reports, definitions, service, shutdowns),
)
"""A module for each class of bugs; a class has its module's name."""

MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for group in _GROUPS for mutant in group.MUTANTS}

CLASSES: Final[Mapping[str, str]] = {
    mutant.name: group.__name__.rpartition(".")[2] for group in _GROUPS for mutant in group.MUTANTS
}
"""The class of each."""

EXEMPT: Final[Mapping[str, str]] = {
    "everything_settled": "the world's own liveness phase, of the same clause, gives up before a case can be closed",
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
