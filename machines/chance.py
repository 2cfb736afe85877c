"""A driver without Hypothesis: the machines' own rules and tables, and ``random.Random`` to choose among them.

Rule 1: a machine cannot tell who drives it: the way in first, then rules that are valid, then the end of its world.
Rule 2: every kind of strategy that a rule's argument may be is a line of a table here; one that is not is an error.

Private surface of Hypothesis: ``setup_state`` of a machine, ``wrapped_strategy`` of a lazy strategy, and what the kinds
in the table say of themselves (``elements``, ``start``, ``end``, ``min_size``, ``max_size``, ``pack``,
``mapped_strategy``, ``element_strategy``, ``element_strategies``). A test draws for every rule of every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from hypothesis.stateful import Rule
from hypothesis.strategies._internal.collections import ListStrategy, TupleStrategy
from hypothesis.strategies._internal.lazy import LazyStrategy
from hypothesis.strategies._internal.misc import BooleansStrategy
from hypothesis.strategies._internal.numbers import IntegersStrategy
from hypothesis.strategies._internal.strategies import MappedStrategy, SampledFromStrategy
from hypothesis.strategies._internal.strings import BytesStrategy

from machines.lifecycle import WorldMachine

_DRAWS: Final[Mapping[type, Callable[[Any, Random], Any]]] = {
    BooleansStrategy: lambda _, chance: chance.random() < 0.5,  # noqa: PLR2004  # as often as not
    BytesStrategy: lambda found, chance: chance.randbytes(_size(found, chance)),
    IntegersStrategy: lambda found, chance: chance.randint(found.start, found.end),
    ListStrategy: lambda found, chance: [draw(found.element_strategy, chance) for _ in range(_size(found, chance))],
    MappedStrategy: lambda found, chance: found.pack(draw(found.mapped_strategy, chance)),
    SampledFromStrategy: lambda found, chance: chance.choice(found.elements),
    TupleStrategy: lambda found, chance: tuple(draw(each, chance) for each in found.element_strategies),
}


def _size(found: Any, chance: Random) -> int:  # noqa: ANN401  # a strategy that has sizes
    return chance.randint(found.min_size, int(found.max_size))


def draw(strategy: Any, chance: Random) -> Any:  # noqa: ANN401  # any strategy, and what it stands for
    """A value that the strategy might have drawn."""
    if isinstance(strategy, LazyStrategy):
        strategy = strategy.wrapped_strategy
    return _DRAWS[type(strategy)](strategy, chance)


def drive(machine: WorldMachine, chance: Random, moves: int) -> None:
    """Carry out one case, liveness phase and all.

    Raises:
        ContractViolated: the contract was broken.
    """
    try:
        for begin in type(machine).setup_state().initializers:
            _apply(begin, machine, chance)
        for _ in range(moves - 1):
            if not (valid := machine.valid_rules()):
                break
            _apply(chance.choice(valid), machine, chance)
    finally:
        machine.teardown()


def _apply(rule: Rule, machine: WorldMachine, chance: Random) -> None:
    arguments = {name: draw(strategy, chance) for name, strategy in rule.arguments.items()}
    rule.function(machine, **arguments)
