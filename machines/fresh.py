"""Fresh cases in plenty, with what came of each: the machines driven by random numbers, without Hypothesis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Final

from machines.case import Case, Line
from machines.chance import drive
from machines.registry import MACHINES, is_planted, load_target, target_of_machine
from machines.world import ContractViolated
from model.judge import Violation

_MOVES: Final = 30
NOTHING: Final = "none"
"""Stands for clause and invariant where none was violated."""
HOLDS: Final = Violation(NOTHING, NOTHING, "the contract holds", 0)
"""Stands for the violation of a case without one."""


def fresh(machine: str, target: str, chance: Random, moves: int = _MOVES) -> Case:
    """A case that a machine has made against a target (the built-in one: in this machine's home)."""
    target = target_of_machine(machine, target)
    base = MACHINES[machine]
    driven = type(base.__name__, (base,), {"factory": staticmethod(load_target(target))})()
    found = HOLDS
    try:
        drive(driven, chance, moves)
    except ContractViolated as violated:
        found = violated.violation
    world = driven.world
    assert world is not None
    lines = tuple(Line(played.move, played.tape) for played in world.moves)
    return Case(
        *(lines, found.clause, found.invariant, found.sentence, world.digest(), target, machine),
        max_concurrent_steps=world.max_concurrent_steps,
    )


def fresh_ones(seed: int, targets: Iterable[str], moves: int = _MOVES) -> Iterator[Case]:
    """For each target a case of each machine; each case has a seed of its own.

    An engine with a planted bug may break more than the contract: such a case is left out.
    """
    for number, (target, machine) in enumerate((target, machine) for target in targets for machine in MACHINES):
        try:
            yield fresh(machine, target, Random(f"{seed}/{number}"), moves)
        except Exception:
            if not is_planted(target):
                raise
