"""C1-C3: who gets the next slot, held against a list that is walked from the front each time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.slots import Lane, Slots


class Bench:
    """Slots, lanes by number, and the grants in order: (lane, step)."""

    def __init__(self, total: int, *limits: int | None) -> None:
        self.granted: list[tuple[int, int]] = []
        self.slots = Slots(total)
        self.lanes = [Lane(limit, self.granter(number)) for number, limit in enumerate(limits)]

    def granter(self, lane: int) -> Callable[[int], None]:
        return lambda step: self.granted.append((lane, step))

    def ready(self, *tickets: tuple[int, int]) -> None:
        for lane, step in tickets:
            self.slots.enqueue(self.lanes[lane], step)
        self.slots.dispatch()

    def release(self, lane: int) -> None:
        self.slots.release(self.lanes[lane])
        self.slots.dispatch()


def test_slots_go_to_whoever_became_ready_first_whichever_lane_it_is() -> None:
    bench = Bench(2, None, None)
    bench.ready((0, 10), (1, 20), (0, 11), (1, 21), (0, 12))
    assert bench.granted == [(0, 10), (1, 20)]
    bench.release(1)
    bench.release(0)
    bench.release(0)
    assert bench.granted == [(0, 10), (1, 20), (0, 11), (1, 21), (0, 12)]


def test_a_lane_at_its_limit_keeps_its_place_and_holds_nobody_else_back() -> None:
    bench = Bench(3, 1, None)
    bench.ready((0, 10), (0, 11), (1, 20), (1, 21), (1, 22))
    assert bench.granted == [(0, 10), (1, 20), (1, 21)]
    bench.release(0)
    assert bench.granted[3:] == [(0, 11)], "its ticket is older than that of step 22"
    bench.release(1)
    assert bench.granted[4:] == [(1, 22)]


def test_a_lane_that_is_forgotten_gets_nothing_until_it_is_ready_again() -> None:
    bench = Bench(1, None, None)
    bench.ready((0, 10), (0, 11), (1, 20))
    bench.slots.forget(bench.lanes[0])
    bench.slots.enqueue(bench.lanes[0], 12)
    bench.release(0)
    bench.release(1)
    assert bench.granted == [(0, 10), (1, 20), (0, 12)]


def test_a_lane_holds_what_it_was_granted_though_it_is_forgotten() -> None:
    bench = Bench(1, None)
    bench.ready((0, 10))
    bench.slots.forget(bench.lanes[0])
    assert (bench.lanes[0].held, bench.slots.free) == (1, 0)


def test_what_is_to_run_again_goes_before_all_that_is_ready_in_its_own_order() -> None:
    bench = Bench(1, None, None, None)
    bench.ready((0, 10), (0, 11))
    for lane, step in ((1, 20), (1, 21), (2, 30)):
        bench.slots.enqueue(bench.lanes[lane], step, first=True)
    bench.ready((1, 22))
    for lane in (0, 1, 1, 2, 0):
        bench.release(lane)
    assert bench.granted == [(0, 10), (1, 20), (1, 21), (2, 30), (0, 11), (1, 22)]


def test_what_is_to_run_again_keeps_its_place_while_its_lane_is_held() -> None:
    bench = Bench(1, None, None)
    bench.ready((0, 10))
    for lane, step in ((1, 20), (1, 21), (0, 11)):
        bench.slots.enqueue(bench.lanes[lane], step, first=True)
    bench.ready((1, 22))
    bench.slots.hold(bench.lanes[1])
    for lane in (0, 1, 1):
        bench.release(lane)
    assert bench.granted == [(0, 10), (1, 20), (1, 21), (0, 11)]
    bench.release(0)
    assert len(bench.granted) == 4, "what was ready is forgotten"


def test_a_grant_may_ask_for_the_next_one() -> None:
    slots = Slots(2)
    granted: list[int] = []

    def grant(step: int) -> None:
        granted.append(step)
        if step < 3:
            slots.enqueue(lane, step + 1)

    lane = Lane(None, grant)
    slots.enqueue(lane, 1)
    slots.dispatch()
    assert granted == [1, 2]


@dataclass
class NaiveLane:
    limit: int | None
    waiting: list[int] = field(default_factory=list)
    """Tickets; so is a step's name."""
    held: int = 0


class AgainstAList(RuleBasedStateMachine):
    """The slots do what walking one list of tickets, the oldest first, does."""

    @initialize(total=st.integers(1, 4), limits=st.lists(st.none() | st.integers(1, 2), min_size=1, max_size=3))
    def begin(self, total: int, limits: list[int | None]) -> None:
        self.bench = Bench(total, *limits)
        self.free = total
        self.lanes = [NaiveLane(limit) for limit in limits]
        self.ticket = 0
        self.expected: list[tuple[int, int]] = []

    def serve(self) -> None:
        for ticket, number in sorted((ticket, n) for n, lane in enumerate(self.lanes) for ticket in lane.waiting):
            lane = self.lanes[number]
            if self.free and (lane.limit is None or lane.held < lane.limit):
                lane.waiting.remove(ticket)
                lane.held += 1
                self.free -= 1
                self.expected.append((number, ticket))

    @rule(numbers=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def ready(self, numbers: list[int]) -> None:
        for number in numbers:
            lane = number % len(self.lanes)
            self.ticket += 1
            self.lanes[lane].waiting.append(self.ticket)
            self.bench.slots.enqueue(self.bench.lanes[lane], self.ticket)
        self.serve()
        self.bench.slots.dispatch()

    @precondition(lambda self: any(lane.held for lane in self.lanes))
    @rule(number=st.integers(0, 2))
    def release(self, number: int) -> None:
        held = [n for n, lane in enumerate(self.lanes) if lane.held]
        lane = held[number % len(held)]
        self.lanes[lane].held -= 1
        self.free += 1
        self.serve()
        self.bench.release(lane)

    @rule(number=st.integers(0, 2))
    def forget(self, number: int) -> None:
        lane = number % len(self.lanes)
        self.lanes[lane].waiting.clear()
        self.bench.slots.forget(self.bench.lanes[lane])

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "bench"):
            return
        assert self.bench.granted == self.expected
        assert self.bench.slots.free == self.free
        assert [lane.held for lane in self.bench.lanes] == [lane.held for lane in self.lanes]


TestAgainstAList = AgainstAList.TestCase


@pytest.mark.parametrize("lanes", [1, 1000])
def test_what_is_kept_does_not_grow_with_what_was_granted(lanes: int) -> None:
    bench = Bench(1, *[1] * lanes)
    for turn in range(3000):
        bench.ready((turn % lanes, turn))
        bench.release(turn % lanes)
    assert bench.granted == [(turn % lanes, turn) for turn in range(3000)]
    assert len(bench.slots._heads) == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 3))
def test_with_lanes_that_have_no_limit_it_is_one_queue(lanes: list[int], total: int) -> None:
    bench = Bench(total, None, None, None, None)
    tickets = [(lane, step) for step, lane in enumerate(lanes)]
    bench.ready(*tickets)
    for lane, _ in tickets:
        bench.release(lane)
    assert bench.granted == tickets
