"""A driver without Hypothesis: the machines' own rules and tables, and ``random.Random`` to choose among them.

Rule 1: a machine cannot tell who drives it: the way in first, then rules that are valid, then the end of its world.
Rule 2: every kind of strategy that a rule's argument may be is a line of a table here; one that is not is an error.
Rule 3: a strategy is looked into once, and is a plain function from then on.

Private surface of Hypothesis: ``setup_state`` of a machine, ``wrapped_strategy`` of a lazy strategy, and what the kinds
in the table say of themselves (``elements``, ``start``, ``end``, ``min_size``, ``max_size``, ``pack``,
``mapped_strategy``, ``element_strategy``, ``element_strategies``). A test draws for every rule of every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from hypothesis.stateful import Rule
from hypothesis.strategies._internal.collections import ListStrategy, TupleStrategy
from hypothesis.strategies._internal.lazy import LazyStrategy
from hypothesis.strategies._internal.misc import BooleansStrategy
from hypothesis.strategies._internal.numbers import IntegersStrategy
from hypothesis.strategies._internal.strategies import MappedStrategy, SampledFromStrategy
from hypothesis.strategies._internal.strings import BytesStrategy

from machines.lifecycle import WorldMachine

Drawer: TypeAlias = Callable[[Random], Any]
"""Draws a value."""


def _boolean(_: BooleansStrategy) -> Drawer:
    return lambda chance: chance.random() < 0.5  # noqa: PLR2004  # as often as not


def _bytes(found: BytesStrategy) -> Drawer:
    size = _size(found)
    return lambda chance: chance.randbytes(size(chance))


def _integer(found: IntegersStrategy) -> Drawer:
    start, end = found.start, found.end
    assert start is not None
    assert end is not None
    return lambda chance: chance.randint(start, end)


def _list(found: ListStrategy[Any]) -> Drawer:
    size, element = _size(found), drawer(found.element_strategy)
    return lambda chance: [element(chance) for _ in range(size(chance))]


def _mapped(found: MappedStrategy[Any, Any]) -> Drawer:
    pack, inner = found.pack, drawer(found.mapped_strategy)
    return lambda chance: pack(inner(chance))


def _sampled(found: SampledFromStrategy[Any]) -> Drawer:
    elements = found.elements
    return lambda chance: chance.choice(elements)


def _tuple(found: TupleStrategy) -> Drawer:
    inner = [drawer(each) for each in found.element_strategies]
    return lambda chance: tuple(each(chance) for each in inner)


_KINDS: Final[Mapping[type, Callable[[Any], Drawer]]] = {
    BooleansStrategy: _boolean,
    BytesStrategy: _bytes,
    IntegersStrategy: _integer,
    ListStrategy: _list,
    MappedStrategy: _mapped,
    SampledFromStrategy: _sampled,
    TupleStrategy: _tuple,
}
_DRAWERS: Final[WeakKeyDictionary[Any, Drawer]] = WeakKeyDictionary()


def _size(found: Any) -> Callable[[Random], int]:  # noqa: ANN401  # a strategy that has sizes
    smallest, largest = found.min_size, int(found.max_size)
    return lambda chance: chance.randint(smallest, largest)


def drawer(strategy: Any) -> Drawer:  # noqa: ANN401  # any strategy, and what it stands for
    """What draws a value that the strategy might have drawn."""
    made = _DRAWERS.get(strategy)
    if made is None:
        whole = strategy.wrapped_strategy if isinstance(strategy, LazyStrategy) else strategy
        made = _DRAWERS[strategy] = _KINDS[type(whole)](whole)
    return made


def draw(strategy: Any, chance: Random) -> Any:  # noqa: ANN401  # any strategy, and what it stands for
    """A value that the strategy might have drawn."""
    return drawer(strategy)(chance)


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
