"""The machines never cry wolf: a hundred thousand moves on the clean engine, and no violation.

What drives them is plain chance, which makes more moves in the same time than Hypothesis; a night makes ten million.
"""

from __future__ import annotations

from random import Random

import pytest

from machines.chance import drive
from machines.reach import MOST_WASTE
from machines.registry import MACHINES, load_target

MOVES = 25_000
"""Of each machine."""
LENGTH = 30


@pytest.mark.unmeasured
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("part", range(4))
def test_nothing_is_found_where_nothing_is(machine: str, part: int) -> None:
    home = MACHINES[machine]
    clean = type(home.__name__, (home,), {"factory": staticmethod(load_target(home.home))})
    made = case = purposeful = 0
    while made < MOVES / 4:
        driven = clean()
        drive(driven, Random(f"{machine} {part} {case}"), LENGTH)
        made += len(driven.world.moves)
        case += 1
        purposeful += any(purpose in driven.reach.found for purpose in home.purposes)
    assert made / case > LENGTH / 2
    assert purposeful / case > 1 - MOST_WASTE
