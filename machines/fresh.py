"""Fresh cases in plenty, with what came of each: the machines driven by random numbers, without Hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from machines.case import Case, Line
from machines.chance import drive
from machines.registry import MACHINES, load_target, target_of_machine
from machines.world import ContractViolated
from model.judge import Violation

_MOVES: Final = 30
_NOTHING: Final = Violation("none", "none", "the contract holds", 0)


def fresh(machine: str, target: str, chance: Random, moves: int = _MOVES) -> Case:
    """A case that a machine has made against a target (the built-in one: in this machine's home)."""
    target = target_of_machine(machine, target)
    base = MACHINES[machine]
    driven = type(base.__name__, (base,), {"factory": staticmethod(load_target(target))})()
    found = _NOTHING
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


def fresh_ones(seed: int, target: str, moves: int = _MOVES) -> Iterator[Case]:
    """Cases without end, each of the machines in turn; each has a seed of its own."""
    number = 0
    while True:
        for machine in MACHINES:
            number += 1
            yield fresh(machine, target, Random(f"{seed}/{number}"), moves)
