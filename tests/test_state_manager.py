"""J1, J2, N1, N2: what is journaled is reported and told, in that order, once each, and to whoever comes when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from engine.definition import parse_workflow
from engine.errors import JournalError, UnknownExecutionError
from engine.journal import MemoryJournal
from engine.messages import (
    Event,
    ExecutionCreated,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    StepCompleted,
    StepStarted,
)
from engine.state import Status, fold, report
from engine.state_manager import ExecutionStateManager, Numbered, Subscription
from machines.loop import SimulatedLoop
from tests.histories import step, workflow

T = TypeVar("T")

WORKFLOW = parse_workflow(workflow(step("a")))
CREATED = ExecutionCreated(0.0, WORKFLOW.definition, {"x": 1})
STARTED = ExecutionStarted(1.0)
ATTEMPT = StepStarted(2.0, "a", 1)
RETURNED = StepCompleted(3.0, "a", 1, {"n": 1})
ENDED = ExecutionEnded(3.0, "COMPLETED")
EVENTS: list[Event] = [CREATED, STARTED, ATTEMPT, RETURNED, ENDED]
LIFE = [Numbered(number, event) for number, event in enumerate(EVENTS, 1)]


class FragileJournal(MemoryJournal):
    """A journal that can be told to fail to write or to read, or to take its time over reading."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.torn = False
        self.reading: Callable[[], Awaitable[None]] | None = None
        self.reads: list[int] = []
        self.closed = 0

    def write(self, execution: str, first: int, events: Sequence[Event]) -> None:
        if self.full:
            raise JournalError("full")
        super().write(execution, first, events)

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        if self.torn:
            raise JournalError("torn")
        self.reads.append(after)
        found = await super().read(execution, after, limit)
        if self.reading is not None:
            await self.reading()
        return found

    async def close(self) -> None:
        self.closed += 1


def simulated(program: Coroutine[Any, Any, T]) -> T:
    loop = SimulatedLoop()
    try:
        return loop.run(program)
    finally:
        loop.close()
        assert loop.errors == []


async def live(manager: ExecutionStateManager) -> None:
    """Have an execution live its whole life."""
    await manager.create("e", WORKFLOW, CREATED)
    await live_on(manager)


async def live_on(manager: ExecutionStateManager) -> None:
    await manager.append("e", [STARTED])
    await manager.append("e", [ATTEMPT])
    await manager.append("e", [RETURNED, ENDED])


async def listen(subscription: Subscription) -> list[Numbered]:
    return [numbered async for numbered in subscription]


# What is kept


def test_what_is_appended_is_in_the_journal_and_in_the_state() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := MemoryJournal())
        await manager.create("e", WORKFLOW, CREATED)
        assert (await manager.state("e")).status is Status.PENDING
        await manager.append("e", [STARTED, ATTEMPT])
        assert await journal.read("e") == [CREATED, STARTED, ATTEMPT]
        state = await manager.state("e")
        assert (state.status, state.seq, state.running) == (Status.RUNNING, 3, {0: 1})

    simulated(program())


def test_a_manager_has_a_journal_in_memory_unless_it_is_given_one() -> None:
    assert isinstance(ExecutionStateManager().journal, MemoryJournal)


def test_a_state_is_what_folding_the_journal_gives() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := MemoryJournal())
        await live(manager)
        kept = report(await manager.state("e"))
        assert report(await manager.load("e")) == kept
        assert report(await ExecutionStateManager(journal).state("e")) == kept
        assert kept["steps"]["a"] == {"status": "COMPLETED", "attempts": 1, "output": {"n": 1}}

    simulated(program())


def test_events_that_nobody_asks_for_are_folded_when_too_many_wait() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        await manager.create("e", WORKFLOW, CREATED)
        waiting = []
        for number in range(3000):
            await manager.append("e", [ExecutionStarted(float(number))])
            waiting.append(len(manager._durable["e"]._unfolded))
        assert max(waiting) == 1024 + 2 * len(WORKFLOW.steps)
        state = await manager.state("e")
        assert (state.seq, state.started_at) == (3001, 2999.0)

    simulated(program())


def test_the_state_of_an_execution_that_has_ended_is_its_drivers() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := MemoryJournal())
        await live(manager)
        state = fold(WORKFLOW, CREATED, EVENTS[1:])
        manager.adopt("e", state)
        assert await manager.state("e") is state
        assert report(state) == report(await ExecutionStateManager(journal).state("e"))
        with pytest.raises(AssertionError):
            manager.adopt("e", fold(WORKFLOW, CREATED, EVENTS[1:-1]))
        assert await manager.state("e") is state

    simulated(program())


def test_an_execution_is_created_once() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        await manager.create("e", WORKFLOW, CREATED)
        with pytest.raises(JournalError, match="event 1 does not follow event 1"):
            await manager.create("e", WORKFLOW, CREATED)
        assert (await manager.state("e")).seq == 1

    simulated(program())


def test_an_execution_that_no_journal_knows_is_unknown() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        for ask in (manager.state, manager.load):
            with pytest.raises(UnknownExecutionError, match="there is no execution 'nobody'"):
                await ask("nobody")
        with pytest.raises(UnknownExecutionError):
            await listen(manager.subscribe("nobody"))
        assert manager._subscriptions == {}

    simulated(program())


@pytest.mark.parametrize("events", [[], [STARTED]], ids=["empty", "headless"])
def test_a_journal_that_does_not_begin_with_its_creation_is_refused(events: list[Event]) -> None:
    async def program() -> None:
        journal = MemoryJournal()
        journal._events["e"] = events
        with pytest.raises(JournalError, match="execution e: its first event is not ExecutionCreated"):
            await ExecutionStateManager(journal).state("e")

    simulated(program())


# A journal that fails (J4)


def test_an_execution_that_cannot_be_journaled_does_not_exist() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        journal.full = True
        with pytest.raises(JournalError, match="the journal failed: full"):
            await manager.create("e", WORKFLOW, CREATED)
        with pytest.raises(UnknownExecutionError):
            await manager.state("e")

    simulated(program())


def test_what_cannot_be_journaled_has_not_happened_and_is_told_to_nobody() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)
        task = asyncio.get_running_loop().create_task(listen(subscription := manager.subscribe("e")))
        before = report(await manager.state("e"))
        journal.full = True
        with pytest.raises(JournalError):
            await manager.append("e", [STARTED])
        assert report(await manager.state("e")) == before
        journal.full = False
        await manager.append("e", [STARTED])
        await asyncio.sleep(1)
        subscription.close()
        assert await task == LIFE[:2]

    simulated(program())


def test_a_subscriber_of_a_journal_that_cannot_be_read_is_told_so_and_let_go() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)
        journal.torn = True
        with pytest.raises(JournalError, match="torn"):
            await listen(subscription := manager.subscribe("e"))
        assert manager._subscriptions == {}
        assert await listen(subscription) == []

    simulated(program())


# Subscribers


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("come", ["before", "early", "late", "after"])
def test_a_subscriber_gets_everything_after_its_number_once_and_in_order(after: int, come: str) -> None:
    async def program() -> list[Numbered]:
        manager = ExecutionStateManager()
        loop = asyncio.get_running_loop()
        await manager.create("e", WORKFLOW, CREATED)
        early = loop.create_task(listen(manager.subscribe("e", after)))
        if come == "early":
            await asyncio.sleep(1)
        await manager.append("e", [STARTED])
        await manager.append("e", [ATTEMPT])
        late = loop.create_task(listen(manager.subscribe("e", after)))
        if come == "late":
            await asyncio.sleep(1)
        await manager.append("e", [RETURNED, ENDED])
        found = await listen(manager.subscribe("e", after))
        assert await early == await late == found
        assert manager._subscriptions == {}
        return found

    assert simulated(program()) == LIFE[after:]


def test_an_event_is_durable_before_it_is_told() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := MemoryJournal())
        await manager.create("e", WORKFLOW, CREATED)

        async def look() -> None:
            async for seq, event in manager.subscribe("e"):
                assert journal._events["e"][seq - 1] is event

        looking = asyncio.get_running_loop().create_task(look())
        await live_on(manager)
        await looking

    simulated(program())


def test_a_slow_subscriber_holds_no_more_than_its_buffer_and_misses_nothing() -> None:
    many = 3000

    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)
        subscription = manager.subscribe("e")
        found = [await anext(subscription)]
        for number in range(many):
            await manager.append("e", [ExecutionStarted(float(number))])
            assert len(subscription._buffer) <= 1024
            if number == 2000:
                found += [await anext(subscription) for _ in range(10)]
        await manager.append("e", [ENDED])
        found += await listen(subscription)
        assert found == [Numbered(n, event) for n, event in enumerate(await journal.read("e"), 1)]
        assert journal.reads[:3] == [0, 1, 1025], "it fell behind, and reads on from where it stood, in pieces"

    simulated(program())


@pytest.mark.parametrize("many", [1022, 1023, 1024, 2047, 2048, 3000])
def test_a_late_subscriber_reads_a_long_journal_in_pieces_while_it_grows(many: int) -> None:
    """What it holds does not grow with the journal, and what is journaled while it reads comes in its turn."""

    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)
        for number in range(many):
            await manager.append("e", [ExecutionStarted(float(number))])

        pieces = 1 if many + 1 < 1024 else 2

        async def meanwhile() -> None:
            if len(journal.reads) <= pieces:
                await manager.append("e", [ExecutionPaused(0.0, {}), ExecutionResumed(0.0, {})])
            if len(journal.reads) == pieces:
                await manager.append("e", [ENDED])

        journal.reading = meanwhile
        subscription, found = manager.subscribe("e"), []
        async for numbered in subscription:
            assert len(subscription._buffer) <= 1024 + 3, "a piece, and what came while it was read"
            found.append(numbered)
        journal.reading = None
        assert found == [Numbered(n, event) for n, event in enumerate(await journal.read("e"), 1)]

    simulated(program())


def test_events_that_come_while_a_subscriber_reads_are_told_once() -> None:
    async def program() -> list[Numbered]:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)

        async def meanwhile() -> None:
            journal.reading = None
            await live_on(manager)

        journal.reading = meanwhile
        return await listen(manager.subscribe("e"))

    assert simulated(program()) == LIFE


def test_an_end_that_comes_while_a_subscriber_finds_nothing_new_is_told() -> None:
    async def program() -> list[Numbered]:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)
        await manager.append("e", [STARTED, ATTEMPT])

        async def meanwhile() -> None:
            await manager.append("e", [RETURNED, ENDED])

        journal.reading = meanwhile
        return await listen(manager.subscribe("e", 3))

    assert simulated(program()) == LIFE[3:]


def test_more_events_than_a_buffer_holds_while_a_subscriber_reads_are_told_once() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)

        async def meanwhile() -> None:
            journal.reading = None
            for number in range(1100):
                await manager.append("e", [ExecutionStarted(float(number))])
            await manager.append("e", [ENDED])

        journal.reading = meanwhile
        found = await listen(manager.subscribe("e"))
        assert [seq for seq, _ in found] == list(range(1, 1103))

    simulated(program())


def test_subscribers_of_one_execution_hear_nothing_of_another() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        await manager.create("e", WORKFLOW, CREATED)
        await manager.create("f", WORKFLOW, CREATED)
        task = asyncio.get_running_loop().create_task(listen(subscription := manager.subscribe("f")))
        await asyncio.sleep(1)
        await live_on(manager)
        subscription.close()
        assert await task == LIFE[:1]

    simulated(program())


def test_a_subscription_that_is_closed_ends_and_is_forgotten() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        await manager.create("e", WORKFLOW, CREATED)
        loop = asyncio.get_running_loop()
        one, other = manager.subscribe("e"), manager.subscribe("e")
        tasks = [loop.create_task(listen(subscription)) for subscription in (one, other)]
        await asyncio.sleep(1)
        one.close()
        one.close()
        assert await tasks[0] == LIFE[:1]
        await live_on(manager)
        assert await tasks[1] == LIFE
        assert manager._subscriptions == {}

    simulated(program())


def test_closing_the_manager_ends_every_subscription_and_closes_the_journal() -> None:
    async def program() -> None:
        manager = ExecutionStateManager(journal := FragileJournal())
        await manager.create("e", WORKFLOW, CREATED)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(listen(manager.subscribe("e"))) for _ in range(3)]
        await asyncio.sleep(1)
        await manager.close()
        assert [await task for task in tasks] == [LIFE[:1]] * 3
        assert journal.closed == 1

    simulated(program())


def test_a_subscriber_may_come_before_its_number() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        await manager.create("e", WORKFLOW, CREATED)
        task = asyncio.get_running_loop().create_task(listen(manager.subscribe("e", 4)))
        await asyncio.sleep(1)
        await live_on(manager)
        assert await task == LIFE[4:]

    simulated(program())


# The journal in memory


def test_events_follow_each_other_without_gaps() -> None:
    journal = MemoryJournal()
    with pytest.raises(JournalError, match="execution e: event 2 does not follow event 0"):
        journal.write("e", 2, [STARTED])
    journal.write("e", 1, [CREATED, STARTED])
    for first in (1, 2, 4):
        with pytest.raises(JournalError, match=f"event {first} does not follow event 2"):
            journal.write("e", first, [ATTEMPT])
    assert simulated(journal.read("e")) == [CREATED, STARTED]


def test_what_a_reader_does_with_its_list_is_its_own_business() -> None:
    journal = MemoryJournal()
    journal.write("e", 1, [CREATED, STARTED])
    simulated(journal.read("e")).clear()
    assert simulated(journal.read("e", 1)) == [STARTED]
    assert simulated(journal.read("e", 7)) == []


def test_the_unfinished_are_named_oldest_first() -> None:
    journal = MemoryJournal()
    for name in "bac":
        journal.write(name, 1, [CREATED])
    journal.write("a", 2, [ENDED])
    assert simulated(journal.unfinished()) == ["b", "c"]
    simulated(journal.close())


def test_workflows_that_are_equal_and_not_the_same_are_kept_apart() -> None:
    async def program() -> None:
        manager = ExecutionStateManager()
        found = []
        for number, value in enumerate((1, True, 1.0, 1)):
            definition = workflow(step("a", parameters={"x": value}))
            await manager.journal.append(f"e{number}", 1, (ExecutionCreated(0.0, definition, {}),))
            found.append((await manager.load(f"e{number}")).workflow)
        assert [repr(one.steps[0].parameters["x"]) for one in found] == ["1", "True", "1.0", "1"]
        await manager.journal.append("e4", 1, (ExecutionCreated(0.0, workflow(step("a", parameters={"x": 1})), {}),))
        assert (await manager.load("e4")).workflow is found[-1]

    simulated(program())
