"""The simulated loop: held against stock asyncio, the same on every day, and never silent about work that hangs.

Rule 1: a conformance program records what happens in an order that asyncio promises; times are apart by a ``UNIT``,
which the stock loop really waits for.
Rule 2: nothing here is judged by seconds.
"""

import asyncio
import contextvars
import gc
import itertools
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.loop import Deadlock, Livelock, NotSimulated, SimulatedLoop
from machines.tape import LATENCIES, TICK, Tape

UNIT = 0.01
ROOT = Path(__file__).parent.parent

Program = Callable[[list[object]], Awaitable[object]]
PROGRAMS: list[Program] = []


def program(function: Program) -> Program:
    """Have a program run on both loops."""
    PROGRAMS.append(function)
    return function


@contextmanager
def simulated(tape: Tape | None = None) -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    if tape is not None:
        loop.tape = tape.reader()
    try:
        yield loop
    finally:
        loop.close()


def begin(loop: SimulatedLoop, coroutine: Coroutine[object, object, object], name: str | None = None) -> None:
    """Start a task that nobody keeps."""
    task = loop.create_task(coroutine, name=name)
    del task


async def forever() -> None:
    await asyncio.Event().wait()


async def tick(seconds: float) -> None:
    for _ in itertools.count():
        await asyncio.sleep(seconds)


async def fail(message: str = "boom") -> None:
    raise ValueError(message)


# --- programs that run on both loops --------------------------------------------------------------------------------


@program
async def sleeps_end_in_order(trace: list[object]) -> None:
    async def sleeper(units: int) -> None:
        await asyncio.sleep(units * UNIT)
        trace.append(units)

    await asyncio.gather(*(sleeper(units) for units in (3, 1, 2, 0)))


@program
async def sleep_zero_takes_turns(trace: list[object]) -> None:
    async def turn(name: str) -> None:
        for number in range(3):
            trace.append((name, number))
            await asyncio.sleep(0)

    await asyncio.gather(turn("a"), turn("b"))


@program
async def callbacks_run_in_order(trace: list[object]) -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, trace.append, "nested")
    loop.call_soon(trace.append, "first")
    loop.call_soon_threadsafe(trace.append, "second")
    loop.call_soon(trace.append, "cancelled").cancel()
    await asyncio.sleep(0)
    trace.append("main")
    await asyncio.sleep(0)


@program
async def timers_of_one_delay_fire_in_order(trace: list[object]) -> None:
    loop = asyncio.get_running_loop()
    for number in range(4):
        loop.call_later(UNIT, trace.append, number)
    await asyncio.sleep(3 * UNIT)


@program
async def a_timer_of_zero_waits_for_what_is_ready(trace: list[object]) -> None:
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.call_later(0, trace.append, "timer")
        trace.append("first")

    loop.call_soon(first)
    loop.call_soon(loop.call_soon, trace.append, "soon")
    await asyncio.sleep(UNIT)


@program
async def a_cancelled_timer_stays_silent(trace: list[object]) -> None:
    loop = asyncio.get_running_loop()
    timer = loop.call_later(UNIT, trace.append, "never")
    loop.call_at(loop.time() + 2 * UNIT, trace.append, "at")
    timer.cancel()
    await asyncio.sleep(3 * UNIT)
    trace.append(timer.cancelled())


@program
async def cancelling_a_sleeper(trace: list[object]) -> None:
    async def sleeper() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            trace.append(error.args)
            raise
        finally:
            await asyncio.sleep(0)
            trace.append("cleaned up")

    task = asyncio.create_task(sleeper())
    await asyncio.sleep(0)
    trace.append(task.cancel("enough"))
    with suppress(asyncio.CancelledError):
        await task
    trace.append((task.cancelled(), task.cancel()))


@program
async def cancelling_before_the_first_step(trace: list[object]) -> None:
    async def never() -> None:
        trace.append("started")

    task = asyncio.create_task(never())
    task.cancel()
    trace.append(len(await asyncio.gather(task, return_exceptions=True)))
    trace.append(task.cancelled())


@program
async def a_stubborn_task_outlives_its_cancellation(trace: list[object]) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            trace.append((task.cancelling(), task.uncancel()))
        await asyncio.sleep(0)
        return "done"

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    trace.append(await task)


@program
async def shield_protects(trace: list[object]) -> None:
    async def inner() -> None:
        await asyncio.sleep(UNIT)
        trace.append("inner")

    task = asyncio.create_task(inner())

    async def outer() -> None:
        await asyncio.shield(task)

    waiter = asyncio.create_task(outer())
    await asyncio.sleep(0)
    waiter.cancel()
    trace.append([type(found).__name__ for found in await asyncio.gather(waiter, return_exceptions=True)])
    await task


@program
async def waiting_for_the_first(trace: list[object]) -> None:
    tasks = [asyncio.create_task(asyncio.sleep(units * UNIT, units)) for units in (8, 1, 9)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    trace.append([task.result() for task in done])
    trace.append(len(pending))
    for task in tasks:
        task.cancel()
    done, pending = await asyncio.wait(tasks)
    trace.append((len(done), len(pending)))


@program
async def waiting_with_a_timeout(trace: list[object]) -> None:
    task = asyncio.create_task(forever())
    trace.append([len(part) for part in await asyncio.wait([task], timeout=UNIT)])
    task.cancel()
    failing = asyncio.create_task(fail())
    done, _ = await asyncio.wait([failing, task], return_when=asyncio.FIRST_EXCEPTION)
    trace.append(failing in done)
    trace.append(repr(failing.exception()))


@program
async def a_task_group_fails_as_one(trace: list[object]) -> None:
    async def child(name: str) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            trace.append(f"{name} cancelled")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child("only"))
            await asyncio.sleep(0)
            group.create_task(fail())
    except* ValueError as failures:
        trace.append(repr(failures.exceptions))


@program
async def a_timeout_fires(trace: list[object]) -> None:
    scope = asyncio.timeout(UNIT)
    try:
        async with scope:
            await asyncio.sleep(100)
    except TimeoutError:
        trace.append(("timeout", scope.expired()))
    async with asyncio.timeout(100) as unused:
        await asyncio.sleep(0)
    trace.append(unused.expired())


@program
async def timeouts_nest(trace: list[object]) -> None:
    try:
        async with asyncio.timeout(8 * UNIT):
            try:
                async with asyncio.timeout(UNIT):
                    await asyncio.sleep(100)
            except TimeoutError:
                trace.append("inner")
            await asyncio.sleep(100)
    except TimeoutError:
        trace.append("outer")


@program
async def wait_for_cancels_and_waits(trace: list[object]) -> None:
    async def slow_to_go() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(UNIT)
            trace.append("gone")

    with suppress(TimeoutError):
        await asyncio.wait_for(slow_to_go(), UNIT)
    trace.append(await asyncio.wait_for(asyncio.sleep(0, "quick"), 100))


@program
async def gather_raises_the_first_failure(trace: list[object]) -> None:
    async def later() -> None:
        await asyncio.sleep(UNIT)
        trace.append("the others go on")

    try:
        await asyncio.gather(later(), fail("first"), fail("second"))
    except ValueError as error:
        trace.append(str(error))
    await asyncio.sleep(3 * UNIT)


@program
async def gather_returns_failures(trace: list[object]) -> None:
    trace.append([str(found) for found in await asyncio.gather(fail(), asyncio.sleep(0, 7), return_exceptions=True)])


@program
async def as_completed_yields_in_order_of_completion(trace: list[object]) -> None:
    tasks = [asyncio.create_task(asyncio.sleep(units * UNIT, units)) for units in (7, 1, 4)]
    trace.extend([await task for task in asyncio.as_completed(tasks)])


@program
async def context_variables_follow_tasks(trace: list[object]) -> None:
    name = contextvars.ContextVar("name", default="nobody")

    async def child() -> None:
        trace.append(name.get())
        name.set("child")
        await asyncio.sleep(0)
        trace.append(name.get())

    name.set("parent")
    task = asyncio.create_task(child())
    asyncio.get_running_loop().call_soon(lambda: trace.append(name.get()))
    name.set("later")
    await task
    trace.append(name.get())
    empty = contextvars.Context()
    await asyncio.create_task(child(), context=empty)
    trace.append(empty[name])


@program
async def to_thread_carries_the_context(trace: list[object]) -> None:
    name = contextvars.ContextVar("name", default="nobody")
    name.set("caller")
    trace.append(await asyncio.to_thread(name.get))
    trace.append(await asyncio.get_running_loop().run_in_executor(None, name.get))


@program
async def a_thread_has_no_loop_and_its_failure_arrives(trace: list[object]) -> None:
    for call in (asyncio.get_running_loop, "x".index):
        try:
            await asyncio.to_thread(call, *(() if call is asyncio.get_running_loop else ("y",)))
        except (RuntimeError, ValueError) as error:
            trace.append(repr(error))
    trace.append(asyncio.get_running_loop().is_running())


@program
async def queues_hand_over(trace: list[object]) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

    async def consumer(name: str) -> None:
        while True:
            trace.append((name, await queue.get()))
            queue.task_done()

    consumers = [asyncio.create_task(consumer(name)) for name in ("a", "b")]
    for number in range(5):
        await queue.put(number)
    await queue.join()
    for task in consumers:
        task.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)


@program
async def locks_and_semaphores_are_fair(trace: list[object]) -> None:
    lock, semaphore, condition = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()

    async def worker(number: int) -> None:
        async with semaphore:
            trace.append(("in", number))
            async with lock:
                await asyncio.sleep(0)
                trace.append(("locked", number))
        async with condition:
            condition.notify_all()

    async def watcher() -> None:
        async with condition:
            await condition.wait()
            trace.append("notified")

    await asyncio.gather(watcher(), *(worker(number) for number in range(4)))


@program
async def an_event_wakes_all_in_order(trace: list[object]) -> None:
    event = asyncio.Event()

    async def waiter(number: int) -> None:
        await event.wait()
        trace.append(number)

    tasks = [asyncio.create_task(waiter(number)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    event.set()
    await asyncio.gather(*tasks, return_exceptions=True)


@program
async def a_failing_callback_reaches_the_handler(trace: list[object]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: trace.append(repr(context["exception"])))
    loop.call_soon(int, "x")
    loop.call_soon(trace.append, "the next one runs")
    await asyncio.sleep(0)
    loop.set_exception_handler(None)


@program
async def done_callbacks_run_in_order(trace: list[object]) -> None:
    future = asyncio.get_running_loop().create_future()
    removed = trace.append
    for callback in (lambda _: trace.append("first"), removed, lambda _: trace.append("second")):
        future.add_done_callback(callback)
    future.remove_done_callback(removed)
    future.set_result(None)
    trace.append("set")
    await asyncio.sleep(0)
    future.add_done_callback(lambda _: trace.append("late"))
    await asyncio.sleep(0)


@program
async def asynchronous_generators_are_closed(trace: list[object]) -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            trace.append("closed")

    async with aclosing(numbers()) as generator:
        trace.append(await anext(generator))
    async for _ in numbers():
        break
    await asyncio.sleep(UNIT)
    trace.append("end")
    left_open = numbers()
    trace.append(await anext(left_open))
    asyncio.get_running_loop().left_open = left_open  # type: ignore[attr-defined]  # so that it lives as long as the loop


@program
async def the_main_task_may_fail(trace: list[object]) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.add_done_callback(lambda _: trace.append("done"))
    await fail("main")


@program
async def leftover_tasks_are_cancelled_at_the_end(trace: list[object]) -> None:
    async def leftover() -> None:
        try:
            await forever()
        finally:
            trace.append("cancelled")

    asyncio.create_task(leftover()).add_done_callback(lambda task: trace.append(task.cancelled()))
    await asyncio.sleep(0)
    trace.append("end")


def record(body: Program, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> list[object]:
    trace: list[object] = []

    async def main() -> object:
        return await body(trace)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            trace.append(("returned", runner.run(main())))
        except Exception as error:  # noqa: BLE001 - whatever ends the program is part of its trace
            trace.append(repr(error))
    return trace


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
def test_a_program_runs_as_on_the_stock_loop(body: Program) -> None:
    trace = record(body, SimulatedLoop)
    assert trace == record(body, asyncio.new_event_loop)
    assert len(trace) > 1


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, SimulatedLoop])
def test_an_interrupt_stops_the_loop(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], exception: type[BaseException]
) -> None:
    async def interrupt() -> None:
        raise exception

    loop = loop_factory()
    with pytest.raises(exception):
        loop.run_until_complete(interrupt())
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    assert loop.run_until_complete(asyncio.sleep(0, "still usable")) == "still usable"
    loop.close()


def test_run_forever_runs_until_stopped() -> None:
    with simulated() as loop:
        loop.call_later(3, loop.stop)
        loop.run_forever()
        assert loop.time() == 3


# What a task of a random program does: yield, spawn its own children, wait for an event, set one, sleep some ticks.
scripts = st.recursive(
    st.lists(st.sampled_from(["yield", "wait 0", "set 0", "wait 1", "set 1", "soon"]), max_size=5),
    lambda inner: st.lists(st.sampled_from(["yield", "wait 0", "set 1"]) | inner, max_size=4),
    max_leaves=8,
)


async def interpret(script: Sequence[object], trace: list[object]) -> None:
    """Carry out a random program; no event stays unset for ever."""
    events = [asyncio.Event(), asyncio.Event()]

    async def task(name: str, script: Sequence[object]) -> None:
        children = []
        for number, instruction in enumerate(script):
            trace.append((name, number))
            if isinstance(instruction, list):
                children.append(asyncio.create_task(task(f"{name}.{number}", instruction)))
            elif instruction == "yield":
                await asyncio.sleep(0)
            elif instruction == "soon":
                asyncio.get_running_loop().call_soon(trace.append, (name, "soon"))
            else:
                what, which = str(instruction).split()
                event = events[int(which)]
                event.set() if what == "set" else await event.wait()
        await asyncio.gather(*children)
        trace.append((name, "end"))

    root = asyncio.create_task(task("root", script))
    for _ in range(20):
        await asyncio.sleep(0)
    for event in events:
        event.set()
    await root


@given(scripts)
def test_on_a_plain_tape_every_program_runs_in_stock_order(script: list[object]) -> None:
    plain: list[object] = []
    stock: list[object] = []
    with simulated() as loop:
        loop.run(interpret(script, plain))
        assert loop.time() == 0
    stock_loop = asyncio.new_event_loop()
    stock_loop.run_until_complete(interpret(script, stock))
    stock_loop.close()
    assert plain == stock


@given(scripts, st.binary(max_size=32))
def test_in_another_order_the_same_things_happen(script: list[object], order: bytes) -> None:
    plain: list[object] = []
    picked: list[object] = []
    with simulated() as loop:
        loop.run(interpret(script, plain))
        loop.settle()
    with simulated(Tape(order=order)) as loop:
        loop.run(interpret(script, picked))
        loop.settle()
        deviated = bool(loop.tape.deviations)
    assert sorted(map(str, picked)) == sorted(map(str, plain))
    assert deviated or picked == plain


# --- time and latencies ---------------------------------------------------------------------------------------------


@given(st.binary(max_size=32))
def test_latencies_end_in_order_of_length_then_of_sending(latencies: bytes) -> None:
    ended: list[tuple[float, int]] = []
    with simulated(Tape(latencies)) as loop:
        for number in range(len(latencies) + 2):
            loop.call_delayed(lambda which: ended.append((loop.time(), which)), number)
        loop.drain()
        assert loop.in_flight == 0
        assert loop.time() == max([0.0, *(LATENCIES[byte] for byte in latencies)])
    sent = [LATENCIES[byte] for byte in latencies] + [0.0, 0.0]
    assert ended == sorted((seconds, number) for number, seconds in enumerate(sent))


@given(st.lists(st.integers(0, 20), max_size=10), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_time_stops_at_every_timer_on_the_way(delays: list[int], jumps: list[int]) -> None:
    fired: list[tuple[float, int]] = []
    with simulated() as loop:
        for number, delay in enumerate(delays):
            loop.call_later(delay, lambda which: fired.append((loop.time(), which)), number)
        for jump in jumps:
            loop.advance(jump)
        assert loop.time() == sum(jumps)
        due = sorted((delay, number) for number, delay in enumerate(delays))
        assert fired == [entry for entry in due if entry[0] <= sum(jumps)]
        assert loop.next_timer() == min((delay for delay, _ in due if delay > sum(jumps)), default=None)


def test_a_call_in_the_executor_runs_when_its_latency_ends() -> None:
    rows: list[str] = []
    with simulated(Tape(bytes([250, 130]))) as loop:
        slow = loop.run_in_executor(None, rows.append, "slow")
        quick = loop.run_in_executor(None, rows.append, "quick")
        loop.settle()
        assert (rows, loop.in_flight, loop.next_timer()) == ([], 2, None)
        assert loop.next_event() == LATENCIES[130]
        loop.advance(TICK)
        assert (rows, quick.done(), slow.done(), loop.in_flight) == (["quick"], True, False, 1)
        slow.cancel()  # nobody waits any more, but it was sent
        loop.drain()
        assert (rows, loop.in_flight, loop.time()) == (["quick", "slow"], 0, LATENCIES[250])
    assert loop.errors == []


def test_draining_passes_the_timers_on_the_way_and_no_others() -> None:
    fired: list[str] = []
    with simulated(Tape(bytes([200]))) as loop:
        task = loop.create_task(loop.delay())
        loop.call_later(LATENCIES[200] / 2, fired.append, "on the way")
        loop.call_later(LATENCIES[200] * 2, fired.append, "too far")
        loop.drain()
        assert task.done()
        assert fired == ["on the way"]
        assert loop.next_timer() == LATENCIES[200] * 2


def test_a_waiter_may_be_cancelled_between_a_write_and_its_news() -> None:
    """A thread's result takes one more turn to arrive: the row is there, and whoever waited never hears of it."""
    rows: list[int] = []
    with simulated() as loop:
        news = loop.run_in_executor(None, rows.append, 1)
        loop.call_soon(news.cancel)
        loop.settle()
        assert (rows, news.cancelled()) == ([1], True)


# --- sentences ------------------------------------------------------------------------------------------------------


def test_a_deadlock_names_who_waits() -> None:
    async def main() -> None:
        helper = asyncio.create_task(forever(), name="helper")
        await helper

    with simulated() as loop:
        loop.call_later(2, print)
        with pytest.raises(Deadlock) as caught:
            loop.run(main())
        assert str(caught.value) == (
            "at 2 s nothing is ready, no timer is set and the work is unfinished; tasks waiting: Task-1, helper"
        )
        assert loop.pending_tasks() == ["Task-1", "helper"]


def test_an_endless_sleep_is_a_deadlock_too() -> None:
    with simulated() as loop, pytest.raises(Deadlock):
        loop.run(asyncio.sleep(float("inf")))


def test_a_livelock_names_what_kept_running() -> None:
    def again() -> None:
        asyncio.get_running_loop().call_soon(again)

    with simulated() as loop:
        begin(loop, tick(0), name="spinner")
        loop.call_soon(again)
        with pytest.raises(Livelock) as caught:
            loop.settle(limit=1000)
        assert str(caught.value) == (
            "at 0 s more than 1000 callbacks had run without coming to rest; "
            "still ready: spinner, test_a_livelock_names_what_kept_running.<locals>.again"
        )
        with pytest.raises(Livelock):
            loop.run(forever(), limit=1000)


def test_ever_shorter_sleeps_are_a_livelock() -> None:
    with simulated() as loop:
        begin(loop, tick(1e-9))
        with pytest.raises(Livelock):
            loop.advance(1, limit=1000)


def test_many_callbacks_over_a_long_time_are_no_livelock() -> None:
    with simulated() as loop:
        begin(loop, tick(1))
        loop.advance(10_000, limit=10)
        assert loop.pending_tasks() == ["Task-1"]


def test_what_went_wrong_is_said_once_in_order_and_without_addresses() -> None:
    with simulated() as loop:
        unread = loop.create_task(fail(f"in {object()}"), name="unread")
        read = loop.create_task(fail("read"))
        begin(loop, forever(), name="leak")
        begin(loop, forever(), name="never started")
        loop.create_future().set_exception(KeyError("future"))
        loop.call_soon(int, "x")
        loop.settle()
        assert isinstance(read.exception(), ValueError)
        assert loop.errors == ["exception in callback int: ValueError: invalid literal for int() with base 10: 'x'"]
        del unread, read
        gc.collect()
        assert len(loop.errors) == 1
        begin(loop, forever(), name="late")
    gc.collect()
    assert loop.errors[1:] == [
        "nobody read the exception of task unread: ValueError: in <object object at 0x>",
        "task leak was still pending when its loop closed",
        "task never started was still pending when its loop closed",
        "nobody read the exception of a future: KeyError: 'future'",
        "task late was still pending when its loop closed",
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda: asyncio.create_subprocess_shell("ls"),
        lambda: asyncio.open_connection("localhost", 80),
        lambda: asyncio.start_server(print, "localhost", 0),
    ],
    ids=["subprocess", "connection", "server"],
)
def test_the_world_outside_is_not_simulated(call: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        with pytest.raises(NotSimulated, match="is not simulated: in virtual time there are no sockets"):
            await call()
        with pytest.raises(NotSimulated):
            asyncio.get_running_loop().add_signal_handler(2, print)
        with pytest.raises(NotSimulated):
            asyncio.get_running_loop().set_task_factory(lambda *_: None)  # type: ignore[arg-type]  # that is what is refused

    with simulated() as loop:
        loop.run(main())


def test_one_loop_inside_another_is_refused() -> None:
    async def main(inner: SimulatedLoop) -> None:
        with pytest.raises(RuntimeError, match="another loop is running"):
            inner.settle()

    with simulated() as outer, simulated() as inner:
        outer.run(main(inner))
        outer.close()
        with pytest.raises(RuntimeError, match="closed"):
            outer.settle()
        with pytest.raises(RuntimeError, match="closed"):
            outer.call_soon(print)


# --- crashes --------------------------------------------------------------------------------------------------------


def test_an_abandoned_program_never_runs_again() -> None:
    trace: list[str] = []
    gate: asyncio.Future[None]

    async def victim(name: str, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
            trace.append(f"{name} went on")
        finally:
            trace.append(f"{name} ended")
            await asyncio.sleep(1)

    with simulated(Tape(bytes([200]))) as loop:
        gate = loop.create_future()
        begin(loop, victim("writer", asyncio.to_thread(trace.append, "write")))
        begin(loop, victim("sleeper", asyncio.sleep(1)))
        begin(loop, victim("gated", gate))
        begin(loop, fail())
        loop.settle()
        begin(loop, victim("unborn", forever_after := asyncio.sleep(0)))
        loop.abandon()
        assert (loop.pending_tasks(), loop.in_flight, loop.next_event()) == ([], 0, None)
        gate.set_result(None)
        loop.advance(10)
        assert trace == []
        assert loop.run(asyncio.sleep(1, "the next program runs")) == "the next program runs"
        forever_after.close()
    assert trace == ["writer ended", "sleeper ended", "gated ended"]
    assert loop.errors == []


def test_a_task_may_abandon_its_own_program() -> None:
    trace: list[str] = []

    async def crash() -> None:
        loop.abandon()
        trace.append("crashed")
        await asyncio.sleep(0)
        trace.append("survived")

    with simulated() as loop:
        begin(loop, crash())
        begin(loop, fail())
        loop.call_soon(trace.append, "next")
        loop.settle()
    assert (trace, loop.errors) == (["crashed"], [])


# --- the same on every day ------------------------------------------------------------------------------------------

DIARY = """
import asyncio, sys
from machines.loop import SimulatedLoop
from machines.tape import Tape

trace = []

async def action(name, group):
    loop = asyncio.get_running_loop()
    try:
        await loop.delay()
        row = await asyncio.to_thread(trace.append, (name, "row", loop.time()))
        if name % 7 == 6:
            raise ValueError(name)
        await asyncio.sleep(0.002 * (name % 3))
    except asyncio.CancelledError:
        trace.append((name, "cancelled", loop.time()))
        raise
    trace.append((name, "done", loop.time(), asyncio.current_task().get_name()))

async def main():
    for size in (5, 30):
        try:
            async with asyncio.TaskGroup() as group:
                for name in range(size):
                    group.create_task(action(name, group))
        except* ValueError as errors:
            trace.append([str(error) for error in errors.exceptions])
        tasks = [asyncio.create_task(action(name, None)) for name in range(size)]
        while tasks:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            trace.append([task.get_name() for task in done])
            tasks = list(pending)
            if len(tasks) < 10:
                for task in pending:
                    task.cancel()

for seed in range(4):
    track = bytes((seed + 1) * 97 * number % 251 for number in range(200))
    loop = SimulatedLoop()
    loop.tape = Tape(track, track[::-1] if seed % 2 else b"").reader()
    loop.create_task(main())
    loop.settle()
    loop.drain()
    loop.advance(10)
    loop.create_task(main(), name="left")
    loop.settle()
    trace += loop.tape.deviations, loop.pending_tasks(), loop.time()
    loop.close()
    trace.append(loop.errors)
sys.stdout.write("\\n".join(map(repr, trace)))
"""


def interpreters() -> list[str]:
    """List the Pythons of this machine that we promise to run on, this one first; one of each version."""
    found = {sys.version_info[:2]: sys.executable}
    for minor in range(11, 15):
        name = f"python3.{minor}"
        homes = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))
        if candidate := next(map(str, homes), None) or shutil.which(name):
            found.setdefault((3, minor), candidate)
    return list(found.values())


def test_every_process_and_python_writes_the_same_diary() -> None:
    diaries = {}
    for python in interpreters():
        for seed in ("0", "1", "random"):
            environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
            command = [python, "-W", "error", "-c", DIARY]
            diaries[python, seed] = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout
    first, *others = diaries.values()
    assert len(first) > 10_000
    assert all(other == first for other in others)


# --- costs, by count ------------------------------------------------------------------------------------------------


def calls_made_by(function: Callable[[], object]) -> int:
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


def test_a_callback_costs_two_calls() -> None:
    """The handle's, and its own."""
    with simulated() as loop:
        for _ in range(1000):
            loop.call_soon(lambda: None)
        assert calls_made_by(loop.settle) < 2 * 1000 + 30


def test_a_loop_is_cheap_enough_for_one_a_case() -> None:
    assert calls_made_by(lambda: SimulatedLoop().close()) < 40


def test_a_closed_loop_leaves_nothing_behind() -> None:
    async def tidy() -> None:
        await asyncio.wait([asyncio.create_task(asyncio.sleep(1)), asyncio.create_task(asyncio.to_thread(int))])
        with suppress(ValueError):
            await asyncio.create_task(fail())
        asyncio.get_running_loop().call_later(5, print)

    async def leaky() -> None:
        await asyncio.wait([asyncio.create_task(forever())], timeout=1)

    def case(main: Callable[[], Coroutine[object, object, None]]) -> weakref.ref[SimulatedLoop]:
        with simulated(Tape(bytes([250]))) as loop:
            loop.run(main())
        return weakref.ref(loop)

    gc.disable()
    try:
        assert [case(tidy)() for _ in range(5)] == [None] * 5
        left = [case(leaky) for _ in range(5)]
    finally:
        gc.enable()
    gc.collect()
    assert [loop() for loop in left] == [None] * 5


def test_a_long_program_stays_small() -> None:
    async def main() -> None:
        for _ in range(5000):
            await asyncio.wait_for(asyncio.create_task(asyncio.sleep(0)), 1000)

    with simulated() as loop:
        begin(loop, fail(), name="early")
        loop.run(main())
        assert len(loop._owned) < 2000
        assert len(loop._timers) < 500
    assert loop.errors == ["nobody read the exception of task early: ValueError: boom"]


def test_a_closed_loop_leaves_no_task_behind() -> None:
    """Whoever still holds it: tasks of later loops hash as it does, and would be slow to find among many of them."""
    known = next(
        vars(asyncio.tasks)[name] for name in ("_all_tasks", "_scheduled_tasks") if name in vars(asyncio.tasks)
    )
    held = []

    async def program(loop: SimulatedLoop) -> None:
        for _ in range(200):
            held.append(loop.create_task(asyncio.sleep(0.0)))
            await held[-1]
        held.append(loop.create_task(asyncio.sleep(1.0)))
        loop.abandon()

    loop = SimulatedLoop()
    held.append(loop.create_task(program(loop)))
    loop.settle()
    loop.close()
    assert not [task for task in held if task in known]
