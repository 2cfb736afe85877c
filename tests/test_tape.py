"""The tape: every byte means something, smaller is simpler, and only a real choice uses one up."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.tape import LATENCIES, PLAIN, TICK, Deviation, Tape, TapeError

tapes = st.builds(Tape, st.binary(max_size=32), st.binary(max_size=32))
# What a loop asks of a tape: 0 is a latency, any other number is a pick among so many.
questions = st.lists(st.integers(0, 5), max_size=60)


def answers(tape: Tape, asked: list[int]) -> list[float]:
    reader = tape.reader()
    return [reader.pick(count) if count else reader.next_latency() for count in asked]


def test_latencies_are_of_a_few_very_different_sizes() -> None:
    at_once = [seconds for seconds in LATENCIES if seconds == 0]
    little = [seconds for seconds in LATENCIES if 0 < seconds < TICK]
    much = [seconds for seconds in LATENCIES if TICK < seconds < 20 * TICK]
    far = [seconds for seconds in LATENCIES if seconds > 40 * TICK]
    assert [len(at_once), len(little), len(much), len(far)] == [128, 64, 48, 16]
    assert LATENCIES[0] == 0
    assert all(smaller <= larger for smaller, larger in pairwise(LATENCIES))


def test_no_latency_ends_with_a_move() -> None:
    assert all((seconds / TICK) % 1 > 0.01 for seconds in LATENCIES if seconds)


def test_the_plain_tape_never_deviates() -> None:
    reader = PLAIN.reader()
    assert [reader.next_latency(), reader.pick(7), reader.pick(1)] == [0, 0, 0]
    assert reader.deviations == []
    assert not reader.ordering
    assert PLAIN.to_json() == {}


def test_a_byte_is_used_only_where_there_is_a_choice() -> None:
    reader = Tape(order=bytes([5, 4])).reader()
    assert [reader.pick(1), reader.pick(0), reader.pick(3), reader.pick(1)] == [0, 0, 2, 0]
    assert reader.ordering
    assert [reader.pick(3), reader.pick(3)] == [1, 0]
    assert not reader.ordering


def test_deviations_name_the_bytes_that_mattered() -> None:
    reader = Tape(bytes([0, 200, 7]), bytes([3, 4])).reader()
    for _ in range(4):
        reader.next_latency()
        reader.pick(3)
    assert reader.deviations == [Deviation("latency", 1, LATENCIES[200]), Deviation("order", 1, 1)]


@given(tapes)
def test_json_both_ways(tape: Tape) -> None:
    assert Tape.from_json(json.loads(json.dumps(tape.to_json()))) == tape


@pytest.mark.parametrize("value", [{"order": "0g"}, {"order": 7}, ["order"], None])
def test_what_is_no_tape_is_refused(value: object) -> None:
    with pytest.raises(TapeError, match="a tape has the tracks latencies and order"):
        Tape.from_json(value)


@given(tapes, questions)
def test_every_answer_is_in_range(tape: Tape, asked: list[int]) -> None:
    for count, answer in zip(asked, answers(tape, asked), strict=True):
        assert answer in (range(count) if count else LATENCIES)


@given(tapes, questions)
def test_the_essence_answers_alike_and_is_no_larger(tape: Tape, asked: list[int]) -> None:
    reader = tape.reader()
    told = [reader.pick(count) if count else reader.next_latency() for count in asked]
    essence = reader.essence()
    assert answers(essence, asked) == told
    for smaller, larger in ((essence.latencies, tape.latencies), (essence.order, tape.order)):
        assert len(smaller) <= len(larger)
        assert all(new <= old for new, old in zip(smaller, larger, strict=False))
        assert not smaller.endswith(b"\x00")
