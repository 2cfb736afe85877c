"""What decides: the variant of a case that passes and is nearest to it."""

from __future__ import annotations

import pytest

from machines.case import carry_out, target_of
from machines.moves import Cancel, Fail, Finish, Move, Pause, Run
from machines.nearest import Nearest, nearest
from machines.story_text import story
from machines.tape import Tape
from tests.stories import case_of, told_of, undone

STEPS = {"id": "w", "steps": [{"id": "a", "action": "work"}, undone("b"), undone("c")]}
TWICE = "machines.mutants:cancelled_twice"
ONE = {"id": "w", "steps": [{"id": "a", "action": "work"}]}


def nearest_of(
    *moves: Move, target: str = "machines.mutants:rolled_back_by_definition", **tapes: Tape
) -> Nearest | None:
    case = case_of(*moves, target=target, tapes={int(name[1:]): tape for name, tape in tapes.items()})
    course = carry_out(case.lines, target_of(case), case.max_concurrent_steps)
    return nearest(case, target_of(case), course.history)


def test_a_deviation_comes_first() -> None:
    late = Tape(b"\0\xd0")
    found = nearest_of(Run(ONE), Cancel("x1"), Cancel("x1"), target=TWICE, _1=late)
    assert found is not None
    assert found.text == "without the latency of 3.5 ms of move 2"
    assert found.here is not None
    assert found.there is not None
    assert (found.here.text, found.there.text) == ("command 3: cancel x1", "#4 CancellationRequested")


def test_of_moves_the_one_that_goes_the_same_way_longest() -> None:
    found = nearest_of(Run(STEPS), Finish("x1/b"), Finish("x1/c"), Fail("x1/a"))
    assert found is None or "the contract holds" not in found.text
    found = nearest_of(Run(STEPS), Finish("x1/c"), Finish("x1/b"), Fail("x1/a"))
    assert found is not None
    assert found.text == "without move 4, x1/a raises RuntimeError('failed')"
    assert found.here is not None
    assert found.here.text == "a raised RuntimeError('failed')"


def test_what_a_move_carries_comes_before_a_start() -> None:
    broken = {"id": "w", "steps": [{"id": "a", "action": "work", "condition": "1"}]}
    found = nearest_of(Run(broken), target="machines.mutants:on_after_the_end")
    assert found is not None
    assert found.text == "without condition of step a of move 1"
    found = nearest_of(Run(ONE, {}, {"a": "stubborn"}), Cancel("x1"), Cancel("x1"), target=TWICE)
    assert found is not None
    assert found.text.startswith("without move ")


@pytest.mark.parametrize("moves", [(Run(ONE), Pause("x1"))])
def test_of_a_case_that_holds_nothing_decides(moves: tuple[Move, ...]) -> None:
    assert told_of(case_of(*moves)).nearest is None


def test_the_story_tells_it() -> None:
    told = story(told_of(case_of(Run(STEPS), Finish("x1/c"), Finish("x1/b"), Fail("x1/a"))))
    assert "what decides  without move 4, x1/a raises RuntimeError('failed'), the contract holds\n" in told
    assert "        here  3.0 ms  a raised RuntimeError('failed')\n" in told
    assert "     instead  " in told
