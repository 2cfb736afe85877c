"""The machine of the service is not vacuous, and what it drives is the application itself, in ASGI messages."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from machines import service_reach as reach
from machines.chance import drive
from machines.moves import Crash, Elapse, Finish, Heed, Move, Pause, Reconnect, Recover, Resume, Run, Stall
from machines.reach import SELDOM, missed, too_wasteful
from machines.service import ServiceMachine
from machines.service_reach import GOALS, ServiceReach
from machines.targets.builtin import builtin
from machines.targets.service import PATIENCE, service
from machines.world import World
from model.history import Answered, Dropped, Notified, Refused, Stalled, Subscribed
from tests.histories import step, workflow

CASES = 300
ONE = Run(workflow(step("a")))
TWO = workflow(step("a"), step("b", "a"))
KEYED = Run(TWO, {"n": 1}, {}, [], "k1")


@pytest.mark.unmeasured
def test_three_hundred_cases_miss_nothing_that_is_not_rare() -> None:
    counts: Counter[str] = Counter()
    tallies: Counter[str] = Counter()

    class Served(ServiceMachine):
        factory = staticmethod(service)  # type: ignore[mutable-override]  # another target

    for number in range(CASES):
        machine = Served()
        drive(machine, Random(f"service {number}"), 30)
        counts.update(list(machine.reach.found))
        tallies.update(machine.reach.tallies)
    floors = {goal: share for goal, share in GOALS.items() if share > SELDOM}
    assert missed(counts, CASES, {**floors, **dict.fromkeys(reach.SEEN_BY_A_WORLD, SELDOM)}) == []
    assert too_wasteful(tallies, CASES) == []


def played(*program: Move) -> tuple[World, ServiceReach]:
    """A program, to its end."""
    world, found = World(service), ServiceReach()
    found.attach(world)
    for move in program:
        found.before(world, move)
        world.play(move)
        found.after(world, move)
    world.finish()
    return world, found


@pytest.mark.parametrize(
    ("situation", "program"),
    [
        (reach.BROKEN, (ONE, Reconnect("x1"))),
        (reach.BROKEN_UNREAD, (ONE, Stall("x1"), Pause("x1"), Reconnect("x1"))),
        (reach.READ_ON, (ONE, Stall("x1"), Pause("x1"), Heed("x1"))),
        (reach.DROPPED, (ONE, Stall("x1"), Pause("x1"), Elapse(PATIENCE + 1))),
        (reach.IDLE, (ONE, Stall("x1"))),
        (reach.SENT_AGAIN, (KEYED, KEYED)),
        (reach.AFTER_A_CRASH, (KEYED, Crash(), Recover(), KEYED)),
        (reach.RESTARTED, (ONE, Crash())),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_situation_is_told_from_others(situation: str, program: tuple[Move, ...]) -> None:
    assert situation in played(*program)[1].found
    assert situation not in played(*program[:-1])[1].found


def heard(world: World) -> list[int]:
    return [entry.seq for entry in world.history if isinstance(entry, Notified)]


def test_whoever_comes_back_hears_the_rest_once() -> None:
    world, _ = played(Run(TWO), Finish("x1/a"), Reconnect("x1"), Finish("x1/b"), Reconnect("x1"))
    assert heard(world) == list(range(1, 8))
    assert len([entry for entry in world.history if isinstance(entry, Subscribed)]) == 2


def test_who_does_not_read_is_dropped_with_a_reason_and_comes_back() -> None:
    world, _ = played(Run(TWO), Stall("x1"), Finish("x1/a"), Elapse(PATIENCE + 1), Finish("x1/b"))
    (drop,) = [entry for entry in world.history if isinstance(entry, Dropped)]
    assert drop.reason == "too slow; reconnect with after=3"
    assert heard(world) == list(range(1, 8))


def test_who_reads_on_in_time_is_not() -> None:
    world, _ = played(Run(TWO), Stall("x1"), Finish("x1/a"), Elapse(PATIENCE - 1), Heed("x1"), Elapse(PATIENCE + 1))
    assert not [entry for entry in world.history if isinstance(entry, Dropped)]
    assert heard(world) == list(range(1, 8))


def test_a_key_is_answered_with_what_it_has_started_and_refused_to_others() -> None:
    other = Run(TWO, {"n": 2}, {}, [], "k1")
    world, _ = played(KEYED, KEYED, Crash(), Recover(), KEYED, other)
    answers = [entry.answer for entry in world.history if isinstance(entry, Answered) and isinstance(entry.answer, str)]
    assert len(answers) == 3
    assert len({*answers}) == 1
    assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["KeyUsedError"]


def test_what_an_engine_without_connections_is_asked_for_does_nothing() -> None:
    world = World(builtin)
    for move in (KEYED, Stall("x1"), Heed("x1"), Reconnect("x1"), Resume("x1")):
        world.play(move)
    world.finish()
    assert not [entry for entry in world.history if isinstance(entry, Stalled | Dropped)]
    assert list(world.executions) == ["x1"]
