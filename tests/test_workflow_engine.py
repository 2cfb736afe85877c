"""The engine as its callers see it: in virtual time and on a real loop, on every journal there is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from engine.definition import parse_workflow
from engine.driver import Action, ActionContext
from engine.errors import (
    DefinitionError,
    EngineClosedError,
    InputError,
    JournalError,
    UnknownExecutionError,
)
from engine.journal import Journal, MemoryJournal
from engine.messages import Event, ExecutionCreated, ExecutionEnded, StepCompleted, StepRetrying, StepStarted
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.transitions import decide
from engine.workflow_engine import WorkflowEngine
from machines.loop import SimulatedLoop
from tests.core import brief
from tests.histories import step, workflow

Json: TypeAlias = Any
UNDO: Final = {"action": "undo"}
PAIR: Final = workflow(step("a"), step("b", "a"))
OUTPUT: Final = {"n": 1}


async def seconds(parameters: dict[str, Json], context: ActionContext) -> Json:
    """Take a second, unless the parameters say otherwise."""
    await asyncio.sleep(parameters.get("seconds", 1))
    return dict(OUTPUT)


async def at_once(parameters: dict[str, Json], context: ActionContext) -> Json:
    return dict(OUTPUT)


class Shop:
    """One loop, one journal, and the engines that come and go on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: Callable[[], Awaitable[Journal]]) -> None:
        self.loop = loop
        self._opened = opened
        self._ids = count(1)
        self.trouble: list[dict[str, Any]] = []

    @asynccontextmanager
    async def engine(self, slots: int = 5, **actions: Action) -> AsyncIterator[WorkflowEngine]:
        """Open the journal, and an engine on it; both close at the end."""
        made = await self.bare(slots, **actions)
        async with made:
            yield made

    async def bare(self, slots: int = 5, **actions: Action) -> WorkflowEngine:
        return WorkflowEngine(
            ExecutionStateManager(await self._opened()),
            {"work": seconds, "undo": at_once, **actions},
            max_concurrent_steps=slots,
            clock=self.loop.time,
            new_id=lambda: f"x{next(self._ids)}",
        )

    async def events(self, execution: str = "x1") -> list[str]:
        """What the journal holds, in brief."""
        journal = await self._opened()
        try:
            return [brief(event) for event in await journal.read(execution)]
        finally:
            await journal.close()


Run: TypeAlias = Callable[[Callable[[Shop], Coroutine[Any, Any, None]]], None]


def _run(loop: asyncio.AbstractEventLoop, shop: Shop, program: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
    loop.set_exception_handler(lambda _, context: shop.trouble.append(context))

    async def main() -> None:
        before = asyncio.all_tasks()
        await asyncio.wait_for(program(shop), 10_000)
        left = [task.get_name() for task in asyncio.all_tasks() - before]
        assert left == [], "the engine left tasks behind"

    loop.run_until_complete(main())


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Awaitable[Journal]]:
    """What opens the journal; each time the same one."""
    memory = MemoryJournal()

    async def opened() -> Journal:
        return memory if request.param == "memory" else await SqliteJournal.open(tmp_path / "journal.db")

    return opened


@pytest.fixture
def run(opened: Callable[[], Awaitable[Journal]]) -> Run:
    """Run a program in virtual time; nothing may be left behind, and nothing go wrong unnoticed."""

    def run(program: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
        loop = SimulatedLoop()
        shop = Shop(loop, opened)
        try:
            _run(loop, shop, program)
        finally:
            loop.close()
        assert loop.errors == []
        assert shop.trouble == []

    return run


@pytest.fixture
def really(opened: Callable[[], Awaitable[Journal]]) -> Run:
    """Run a program on asyncio's own loop."""

    def run(program: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.new_event_loop()
        shop = Shop(loop, opened)
        try:
            _run(loop, shop, program)
        finally:
            loop.close()
        assert shop.trouble == []

    return run


def statuses(report: Mapping[str, Json]) -> dict[str, str]:
    return {name: found["status"] for name, found in report["steps"].items()}


# From start to end


def test_a_workflow_runs_from_start_to_end(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            assert execution == "x1"
            report = await engine.wait(execution)
            assert shop.loop.time() == pytest.approx(2)
            done = {"status": "COMPLETED", "attempts": 1, "output": OUTPUT}
            assert report == {
                "status": "COMPLETED",
                "seq": 7,
                "missing": {},
                "error": None,
                "steps": {"a": done, "b": done},
            }
            assert await engine.get_execution(execution) == await engine.wait(execution) == report
        assert await shop.events() == [
            "ExecutionCreated",
            "ExecutionStarted",
            "StepStarted a 1",
            "StepCompleted a 1",
            "StepStarted b 1",
            "StepCompleted b 1",
            "ExecutionEnded COMPLETED",
        ]

    run(program)


def test_both_shapes_run_alike_and_so_does_a_workflow_that_was_parsed_before(run: Run) -> None:
    graph = {
        "id": "w",
        "nodes": [{"id": name, "config": {"action": "work"}} for name in "ab"],
        "connections": [{"source": "a", "target": "b"}],
    }

    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            for definition in (PAIR, graph, parse_workflow(PAIR)):
                report = await engine.wait(await engine.start_workflow(definition))
                assert statuses(report) == {"a": "COMPLETED", "b": "COMPLETED"}
        assert await shop.events("x1") == await shop.events("x2") == await shop.events("x3")

    run(program)


def test_it_runs_on_a_real_loop_too(really: Run) -> None:
    turn: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        turn.append(context.step)
        await asyncio.sleep(0)
        if context.attempt == 1 and context.step == "b":
            raise RuntimeError("once")
        return {"n": len(turn)}

    async def program(shop: Shop) -> None:
        retries = {"max_attempts": 2, "initial_interval": 0.001}
        definition = workflow(step("a"), step("b", "a", retries=retries, timeout=60), step("c", "b"), timeout=60)
        async with shop.engine(work=work) as engine:
            execution = await engine.start_workflow(definition)
            told = [brief(event) async for _, event in engine.subscribe(execution)]
            assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert told == await shop.events()
        assert turn == ["a", "b", "b", "c"]
        assert "StepRetrying b 1" in told

    really(program)


def test_an_engine_has_a_clock_ids_and_a_journal_of_its_own() -> None:
    async def program() -> None:
        async with WorkflowEngine(ExecutionStateManager(), {"work": at_once}) as engine:
            one, other = await engine.start_workflow(PAIR), await engine.start_workflow(PAIR)
            assert one != other
            assert (await engine.wait(one))["status"] == "COMPLETED"
            assert (await engine.wait(other))["status"] == "COMPLETED"

    asyncio.run(program())


def test_a_subscriber_hears_the_whole_life_or_what_comes_after_a_number(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            heard = [(seq, brief(event)) async for seq, event in engine.subscribe(execution)]
            again = [(seq, brief(event)) async for seq, event in engine.subscribe(execution, 4)]
        assert heard == list(enumerate(await shop.events(), 1))
        assert again == heard[4:]

    run(program)


# What is refused


def test_a_definition_that_is_refused_lists_all_its_faults_and_leaves_nothing(run: Run) -> None:
    wrong = workflow(step("a", "c"), step("a"), {"id": "b", "action": "none", "timeout": 0}, colour="red")

    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            with pytest.raises(DefinitionError) as refused:
                await engine.start_workflow(wrong)
            assert {fault.place for fault in refused.value.faults} == {
                "colour",
                "steps[0].depends_on[0]",
                "steps[1].id",
                "steps[2].action",
                "steps[2].timeout",
            }
            with pytest.raises(UnknownExecutionError):
                await engine.get_execution("x1")
            assert await engine.recover() == []

    run(program)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([1], "input is not valid: $: not a JSON object"),
        ("text", "input is not valid: $: not a JSON object"),
        ({"a": {1, 2}}, "input is not valid: $.a: is a set, which JSON does not have"),
        ({1: 2}, "input is not valid: $: has the key 1, which is no text"),
    ],
)
def test_an_input_that_is_no_json_object_is_refused(run: Run, given: Any, fault: str) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            with pytest.raises(InputError) as refused:
                await engine.start_workflow(PAIR, given)
            assert str(refused.value) == fault
            execution = await engine.start_workflow(PAIR)
            with pytest.raises(InputError, match="new_inputs"):
                await engine.resume_execution(execution, given)
            assert (await engine.wait(execution))["status"] == "COMPLETED"

    run(program)


def test_an_execution_that_nobody_knows_is_an_error_whatever_is_asked(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            asks = (engine.pause_execution, engine.resume_execution, engine.cancel_execution)
            for ask in (*asks, engine.get_execution, engine.wait):
                with pytest.raises(UnknownExecutionError, match="there is no execution 'nobody'"):
                    await ask("nobody")
            with pytest.raises(UnknownExecutionError):
                await anext(engine.subscribe("nobody"))

    run(program)


@pytest.mark.parametrize("slots", [0, -1])
def test_an_engine_without_slots_is_refused(slots: int) -> None:
    with pytest.raises(ValueError, match=f"max_concurrent_steps is {slots}, which is less than 1"):
        WorkflowEngine(ExecutionStateManager(), {}, max_concurrent_steps=slots)


def test_an_action_that_a_parsed_workflow_names_and_nobody_has_fails_its_step(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            report = await engine.wait(
                await engine.start_workflow(parse_workflow({"id": "w", "steps": [{"id": "a", "action": "none"}]}))
            )
            assert (report["status"], report["error"]["type"]) == ("FAILED", "KeyError")

    run(program)


# Pause, resume, cancel


def test_commands_are_answered_by_whether_they_were_accepted(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            assert await engine.resume_execution(execution) is False
            assert await engine.pause_execution(execution) is True
            assert await engine.pause_execution(execution) is False
            assert await engine.resume_execution(execution) is True
            assert await engine.cancel_execution(execution) is True
            assert await engine.cancel_execution(execution) is False
            report = await engine.wait(execution)
            assert statuses(report) == {"a": "CANCELLED", "b": "CANCELLED"}
            for ask in (engine.pause_execution, engine.resume_execution, engine.cancel_execution):
                assert await ask(execution) is False
        assert await shop.events() == [
            "ExecutionCreated",
            "ExecutionStarted",
            "StepStarted a 1",
            "ExecutionPaused",
            "ExecutionResumed",
            "CancellationRequested",
            "StepCancelled a 1",
            "ExecutionEnded CANCELLED",
        ]

    run(program)


def test_whoever_hears_that_it_has_ended_may_ask_again_at_once(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine(slots=1) as engine:
            busy = await engine.start_workflow(PAIR)
            execution = await engine.start_workflow(PAIR)
            assert await engine.cancel_execution(execution) is True, "nothing runs: this ends it"
            assert await engine.cancel_execution(execution) is False
            assert await engine.pause_execution(execution) is False
            assert (await engine.wait(execution))["status"] == "CANCELLED"
            assert (await engine.wait(busy))["status"] == "COMPLETED"

    run(program)


def test_commands_asked_together_are_answered_in_their_order(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            asked = [engine.pause_execution(execution), engine.resume_execution(execution)]
            answers = await asyncio.gather(
                *asked, engine.cancel_execution(execution), engine.cancel_execution(execution)
            )
            assert answers == [True, True, True, False]
            await engine.wait(execution)

    run(program)


def test_a_caller_who_gives_up_disturbs_nobody(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            callers = [
                shop.loop.create_task(engine.pause_execution(execution)),
                shop.loop.create_task(engine.wait(execution)),
            ]
            await asyncio.sleep(0)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            assert all(caller.cancelled() for caller in callers)
            assert await engine.resume_execution(execution) is True, "the pause was on its way"
            assert (await engine.wait(execution))["status"] == "COMPLETED"

    run(program)


def test_under_a_pause_nothing_starts_and_a_resume_goes_on(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
            await engine.pause_execution(execution)
            await asyncio.sleep(100)
            assert statuses(await engine.get_execution(execution)) == {"a": "COMPLETED", "b": "PENDING"}
            await engine.resume_execution(execution)
            assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert (await shop.events())[2:6] == [
            "StepStarted a 1",
            "ExecutionPaused",
            "StepCompleted a 1",
            "ExecutionResumed",
        ]

    run(program)


def test_a_missing_input_pauses_until_a_resume_brings_it(run: Run) -> None:
    got: list[Json] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        got.append(parameters)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            execution = await engine.start_workflow(workflow(step("a", parameters={"x": "${input.x.y}"})), {"z": 1})
            await asyncio.sleep(1)
            assert (await engine.get_execution(execution))["missing"] == {"a": ["input.x.y"]}
            brought = {"x": {"y": [1]}}
            assert await engine.resume_execution(execution, brought)
            brought["x"]["y"].append(2)
            assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert got == [{"x": [1]}]

    run(program)


# Attempts


def test_attempts_are_numbered_backed_off_and_keyed(run: Run) -> None:
    seen: list[tuple[float, int, str, str]] = []

    async def program(shop: Shop) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            seen.append((shop.loop.time(), context.attempt, context.idempotency_key, context.kind))
            if context.attempt < 3:
                raise RuntimeError("early")
            return None

        async with shop.engine(work=work) as engine:
            retries = {"max_attempts": 3, "initial_interval": 1, "backoff": 4}
            report = await engine.wait(await engine.start_workflow(workflow(step("a", retries=retries))))
            assert report["steps"]["a"] == {"status": "COMPLETED", "attempts": 3, "output": None}

    run(program)
    assert seen == [
        (0.0, 1, "x1/a/1", "action"),
        (1.0, 2, "x1/a/2", "action"),
        (5.0, 3, "x1/a/3", "action"),
    ]


def test_an_attempt_that_takes_too_long_is_cancelled_and_never_completes(run: Run) -> None:
    async def program(shop: Shop) -> None:
        cleaned: list[float] = []

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(3)
                cleaned.append(shop.loop.time())
            return dict(OUTPUT)

        async with shop.engine(work=work, slots=1) as engine:
            first = await engine.start_workflow(workflow(step("a", timeout=2)))
            other = await engine.start_workflow(workflow({"id": "b", "action": "undo"}))
            await asyncio.sleep(4)
            assert statuses(await engine.get_execution(other)) == {"b": "PENDING"}, "the slot is held until the end"
            report = await engine.wait(first)
            assert report["error"]["message"] == "attempt 1 of step 'a' took longer than 2 seconds"
            assert cleaned == [5.0]
            assert (await engine.wait(other))["status"] == "COMPLETED"
        assert (await shop.events())[2:] == [
            "StepStarted a 1",
            "StepTimedOut a 1",
            "StepFailed a 1",
            "RollbackStarted",
            "ExecutionEnded FAILED",
        ]

    run(program)


def test_a_deadline_counts_from_the_start_pauses_included(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(workflow(step("a", parameters={"seconds": 3}), timeout=2))
            await engine.pause_execution(execution)
            report = await engine.wait(execution)
            assert shop.loop.time() == pytest.approx(2)
            assert report["error"]["type"] == "ExecutionTimeoutError"
            assert statuses(report) == {"a": "CANCELLED"}

    run(program)


def test_a_retry_whose_wait_ends_under_a_pause_starts_with_the_resume(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            if context.attempt == 1:
                raise RuntimeError("no")

        async with shop.engine(work=work) as engine:
            retries = {"max_attempts": 2, "initial_interval": 10}
            execution = await engine.start_workflow(workflow(step("a", retries=retries)))
            await asyncio.sleep(1)
            await engine.pause_execution(execution)
            await engine.resume_execution(execution)
            await engine.pause_execution(execution)
            await asyncio.sleep(20)
            assert statuses(await engine.get_execution(execution)) == {"a": "RETRYING"}
            await engine.resume_execution(execution)
            assert (await engine.wait(execution))["steps"]["a"]["attempts"] == 2
            assert shop.loop.time() == pytest.approx(21)

    run(program)


def test_a_cancel_drops_the_waits_of_retries(run: Run) -> None:
    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        raise RuntimeError("no")

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            retries = {"max_attempts": 2, "initial_interval": 10}
            execution = await engine.start_workflow(workflow(step("a", retries=retries)))
            await asyncio.sleep(1)
            assert await engine.cancel_execution(execution)
            assert statuses(await engine.wait(execution)) == {"a": "CANCELLED"}
            assert shop.loop.time() == pytest.approx(1)

    run(program)


def test_a_slot_granted_before_a_pause_and_again_by_the_resume_starts_no_retry_early(run: Run) -> None:
    """The pause, the resume and a grant wait together; the second ticket must not be taken for a retry's."""

    async def program(shop: Shop) -> None:
        starts: list[float] = []

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            starts.append(shop.loop.time())
            raise RuntimeError("no")

        async with shop.engine(work=work, slots=1, wait=seconds) as engine:
            await engine.start_workflow(workflow({"id": "busy", "action": "wait"}))
            retries = {"max_attempts": 2, "initial_interval": 10}
            execution = await engine.start_workflow(workflow(step("a", retries=retries)))
            await asyncio.sleep(0.5)
            driver = engine._drivers[execution]
            slots, lane = driver._slots, driver._lane
            slots.free += 1  # as if the other one had ended at this very moment
            asked = [shop.loop.create_task(ask(execution)) for ask in (engine.pause_execution, engine.resume_execution)]
            shop.loop.call_soon(slots.dispatch)
            assert await asyncio.gather(*asked) == [True, True]
            await engine.wait(execution)
            assert starts == [pytest.approx(0.5), pytest.approx(10.5)]
            assert lane.held == 0

    run(program)


# Actions that misbehave


def test_what_an_action_does_wrong_is_its_steps_failure(run: Run) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("mute")

    def raises(parameters: dict[str, Json], context: ActionContext) -> Any:
        raise RuntimeError("immediately")

    def gives_in(parameters: dict[str, Json], context: ActionContext) -> Any:
        raise asyncio.CancelledError

    def returns(parameters: dict[str, Json], context: ActionContext) -> Any:
        return {"n": 1}

    async def cancels_itself(parameters: dict[str, Json], context: ActionContext) -> Json:
        raise asyncio.CancelledError

    async def raises_later(parameters: dict[str, Json], context: ActionContext) -> Json:
        await asyncio.sleep(1)
        raise LookupError("where")

    async def says_nothing(parameters: dict[str, Json], context: ActionContext) -> Json:
        raise MuteError

    def says_nothing_at_once(parameters: dict[str, Json], context: ActionContext) -> Any:
        raise MuteError

    expected = {
        raises: ("RuntimeError", "immediately"),
        gives_in: ("CancelledError", "the action cancelled itself"),
        returns: ("TypeError", "a coroutine was expected, got {'n': 1}"),
        cancels_itself: ("CancelledError", "the action cancelled itself"),
        raises_later: ("LookupError", "where"),
        says_nothing: ("MuteError", "it has no message that can be read"),
        says_nothing_at_once: ("MuteError", "it has no message that can be read"),
    }

    async def program(shop: Shop) -> None:
        actions: dict[str, Action] = {action.__name__: action for action in expected}
        async with shop.engine(slots=1, **actions) as engine:
            for action, (kind, message) in expected.items():
                definition = workflow({"id": "a", "action": action.__name__})
                report = await engine.wait(await engine.start_workflow(definition))
                assert report["status"] == "FAILED"
                assert report["error"] == {"step": "a", "attempt": 1, "type": kind, "message": message}
            last = await engine.start_workflow(PAIR)
            assert (await engine.wait(last))["status"] == "COMPLETED", "no slot was lost on the way"

    run(program)


def test_an_output_that_is_changed_after_it_was_returned_changes_nothing(run: Run) -> None:
    async def program(shop: Shop) -> None:
        output = {"rows": [1]}

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            if context.step == "b":
                output["rows"].append(2)
                parameters["x"].append(3)
            return output if context.step == "a" else parameters

        async with shop.engine(work=work) as engine:
            definition = workflow(
                step("a"), step("b", "a", parameters={"x": "${a.rows}"}), step("c", "b", parameters={"x": "${a.rows}"})
            )
            report = await engine.wait(await engine.start_workflow(definition))
            assert {name: found["output"] for name, found in report["steps"].items()} == {
                "a": {"rows": [1]},
                "b": {"x": [1, 3]},
                "c": {"x": [1]},
            }

    run(program)


def test_what_an_attempt_does_to_its_parameters_the_next_one_does_not_see(run: Run) -> None:
    seen: list[Json] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        seen.append(deepcopy(parameters))
        parameters["plain"]["list"].append("changed")
        parameters["given"]["y"] = "changed"
        parameters.clear()
        raise RuntimeError("again")

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            template = {"plain": {"list": [1]}, "given": "${input.x}"}
            retries = {"max_attempts": 3, "initial_interval": 0}
            await engine.wait(
                await engine.start_workflow(workflow(step("a", parameters=template, retries=retries)), {"x": {"y": 1}})
            )

    run(program)
    assert seen == [{"plain": {"list": [1]}, "given": {"y": 1}}] * 3


def test_the_callers_definition_and_input_are_neither_changed_nor_kept(run: Run) -> None:
    definition = workflow(step("a", parameters={"x": ["${input.x}"]}), step("b", "a"))
    given: dict[str, Json] = {"x": [1]}
    kept = json.dumps([definition, given])

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        if context.step == "a":
            parameters["x"][0].append(2)
        return parameters

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            first = await engine.start_workflow(definition, given)
            assert json.dumps([definition, given]) == kept
            definition["steps"][0]["parameters"]["x"] = "changed"
            given["x"].append("changed")
            report = await engine.wait(first)
            assert report["steps"]["a"]["output"] == {"x": [[1, 2]]}
            report["steps"]["a"]["output"]["x"].append("changed")
            assert (await engine.get_execution(first))["steps"]["a"]["output"] == {"x": [[1, 2]]}

    run(program)


# Rollback


def test_a_rollback_undoes_what_is_completed_newest_first_with_its_values_at_hand(run: Run) -> None:
    undone: list[Json] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        if context.step == "c":
            raise RuntimeError("no")
        return {"n": context.step}

    async def undo(parameters: dict[str, Json], context: ActionContext) -> Json:
        undone.append((context.step, context.attempt, context.idempotency_key, context.kind))
        undone.append((parameters, context.step_parameters, deepcopy(context.step_output)))
        context.step_output["n"] = "changed"
        if context.step == "b":
            raise RuntimeError("stuck")

    async def program(shop: Shop) -> None:
        undo_b = {"action": "undo", "parameters": {"what": "${b.n}"}, "retries": {"max_attempts": 2}}
        definition = workflow(
            step("a", compensation=UNDO, parameters={"p": 1}), step("b", "a", compensation=undo_b), step("c", "b")
        )
        async with shop.engine(work=work, undo=undo) as engine:
            report = await engine.wait(await engine.start_workflow(definition))
            assert statuses(report) == {"a": "COMPENSATED", "b": "COMPENSATION_FAILED", "c": "FAILED"}
            assert report["steps"]["b"]["output"] == {"n": "b"}
            assert [failure["message"] for failure in report["error"]["compensations"]] == ["stuck"]
        assert (await shop.events())[7:] == [
            "StepFailed c 1",
            "RollbackStarted",
            "CompensationStarted b 1",
            "CompensationRetrying b 1",
            "CompensationStarted b 2",
            "CompensationFailed b 2",
            "CompensationStarted a 1",
            "CompensationCompleted a 1",
            "ExecutionEnded FAILED",
        ]

    run(program)
    assert undone == [
        ("b", 1, "x1/b/compensation/1", "compensation"),
        ({"what": "b"}, {}, {"n": "b"}),
        ("b", 2, "x1/b/compensation/2", "compensation"),
        ({"what": "b"}, {}, {"n": "b"}),
        ("a", 1, "x1/a/compensation/1", "compensation"),
        ({}, {"p": 1}, {"n": "a"}),
    ]


def test_a_compensation_has_a_timeout_of_its_own(run: Run) -> None:
    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        if context.step == "b":
            raise RuntimeError("no")

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work, undo=seconds) as engine:
            undo = {"action": "undo", "timeout": 0.25}
            definition = workflow(step("a", compensation=undo, timeout=9), step("b", "a"))
            report = await engine.wait(await engine.start_workflow(definition))
            assert report["steps"]["a"]["status"] == "COMPENSATION_FAILED"
            assert shop.loop.time() == pytest.approx(0.25)

    run(program)


def test_an_action_that_swallows_its_cancellation_is_compensated(run: Run) -> None:
    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return dict(OUTPUT)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            definition = workflow(step("a", compensation=UNDO), step("b", "a"), rollback_on_cancel=True)
            execution = await engine.start_workflow(definition)
            await asyncio.sleep(0.5)
            assert await engine.cancel_execution(execution)
            report = await engine.wait(execution)
            assert (report["status"], report["error"]) == ("CANCELLED", None)
            assert statuses(report) == {"a": "COMPENSATED", "b": "CANCELLED"}

    run(program)


# Slots


def test_slots_are_shared_in_the_order_in_which_steps_become_ready(run: Run) -> None:
    order: list[str] = []

    async def program(shop: Shop) -> None:
        running = 0

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            nonlocal running
            running += 1
            assert running <= 2
            order.append(context.idempotency_key)
            await asyncio.sleep(1)
            running -= 1

        async with shop.engine(work=work, slots=2) as engine:
            narrow = workflow(step("a"), step("b"), step("c"), max_concurrent_steps=1)
            executions = [await engine.start_workflow(narrow) for _ in range(2)]
            for execution in executions:
                await engine.wait(execution)
            assert shop.loop.time() == pytest.approx(3)

    run(program)
    assert order == [f"{execution}/{name}/1" for name in "abc" for execution in ("x1", "x2")]


def test_a_grant_that_comes_with_a_cancel_starts_nothing(run: Run) -> None:
    started: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        started.append(context.execution)
        await asyncio.sleep(1)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work, slots=1) as engine:
            first = await engine.start_workflow(workflow(step("a")))
            second = await engine.start_workflow(workflow(step("a")))
            third = await engine.start_workflow(workflow(step("a")))
            cancelled = shop.loop.create_task(asyncio.sleep(1))
            cancelled.add_done_callback(lambda _: asks.append(shop.loop.create_task(engine.cancel_execution(second))))
            asks: list[asyncio.Task[bool]] = []
            await engine.wait(first)
            assert (await engine.wait(second))["status"] == "CANCELLED"
            assert [await ask for ask in asks] == [True]
            assert (await engine.wait(third))["status"] == "COMPLETED"

    run(program)
    assert started in (["x1", "x3"], ["x1", "x2", "x3"])


def test_a_start_and_a_cancel_in_one_batch_run_no_action(run: Run) -> None:
    started: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        started.append(context.execution)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work, slots=1) as engine:
            execution = await engine.start_workflow(PAIR)
            # The first turn decides the beginning, which grants the slot, and then the grant itself, and this.
            assert await engine.cancel_execution(execution)
            assert statuses(await engine.wait(execution)) == {"a": "CANCELLED", "b": "CANCELLED"}
            await engine.wait(await engine.start_workflow(workflow(step("a"))))

    run(program)
    assert started == ["x2"]


# Coming back (J3)


def test_an_attempt_that_was_running_runs_again_under_its_number_and_key(run: Run) -> None:
    keys: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        keys.append(context.idempotency_key)
        return await seconds(parameters, context)

    async def program(shop: Shop) -> None:
        definition = workflow(step("a"), step("b", "a"), step("c", "b"))
        async with shop.engine(work=work) as engine:
            execution = await engine.start_workflow(definition)
            await asyncio.sleep(1.5)
        async with shop.engine(work=work) as engine:
            assert statuses(await engine.get_execution(execution))["b"] == "RUNNING"
            assert await engine.recover() == ["x1"]
            assert await engine.recover() == [], "it is driven already"
            report = await engine.wait(execution)
            assert [found["attempts"] for found in report["steps"].values()] == [1, 1, 1]
        async with shop.engine(work=work) as engine:
            assert await engine.recover() == [], "it has ended"
            assert (await engine.wait(execution)) == report
            assert await engine.cancel_execution(execution) is False
        assert [event for event in await shop.events() if event.startswith("StepStarted")] == [
            "StepStarted a 1",
            "StepStarted b 1",
            "StepStarted c 1",
        ]

    run(program)
    assert keys == ["x1/a/1", "x1/b/1", "x1/b/1", "x1/c/1"]


def test_what_was_created_and_never_begun_begins(run: Run, opened: Callable[[], Awaitable[Journal]]) -> None:
    async def program(shop: Shop) -> None:
        journal = await opened()
        await journal.append("x1", 1, [ExecutionCreated(0.0, PAIR, {})])
        await journal.close()
        async with shop.engine() as engine:
            assert await engine.recover() == ["x1"]
            assert (await engine.wait("x1"))["status"] == "COMPLETED"

    run(program)


def test_paused_stays_paused_and_goes_on_with_the_resume(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
            await engine.pause_execution(execution)
        async with shop.engine() as engine:
            await engine.recover()
            await asyncio.sleep(100)
            report = await engine.get_execution(execution)
            assert report["status"] == "PAUSED"
            assert statuses(report) == {"a": "COMPLETED", "b": "PENDING"}, "the attempt under way went on"
            assert await engine.resume_execution(execution)
            assert (await engine.wait(execution))["status"] == "COMPLETED"

    run(program)


def test_cancelled_stays_cancelled(run: Run) -> None:
    starts: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        starts.append(context.step)
        try:
            return await seconds(parameters, context)
        except asyncio.CancelledError:
            await asyncio.sleep(0.25)
            raise

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
            assert await engine.cancel_execution(execution)
        async with shop.engine(work=work) as engine:
            await engine.recover()
            report = await engine.wait(execution)
            assert report["status"] == "CANCELLED"
            assert statuses(report) == {"a": "CANCELLED", "b": "CANCELLED"}

    run(program)
    assert starts == ["a"]


def test_a_rollback_goes_on_where_it_stood(run: Run) -> None:
    undone: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        if context.step == "d":
            raise RuntimeError("no")

    async def undo(parameters: dict[str, Json], context: ActionContext) -> Json:
        undone.append(context.idempotency_key)
        await asyncio.sleep(1)

    async def program(shop: Shop) -> None:
        steps = [step("a", compensation=UNDO), step("b", "a", compensation=UNDO), step("c", "b", compensation=UNDO)]
        async with shop.engine(work=work, undo=undo) as engine:
            execution = await engine.start_workflow(workflow(*steps, step("d", "c")))
            await asyncio.sleep(1.5)
        async with shop.engine(work=work, undo=undo) as engine:
            await engine.recover()
            assert statuses(await engine.wait(execution)) == {
                "a": "COMPENSATED",
                "b": "COMPENSATED",
                "c": "COMPENSATED",
                "d": "FAILED",
            }

    run(program)
    assert undone == [f"x1/{name}/compensation/1" for name in "cbba"]


@pytest.mark.parametrize("undoing", [False, True], ids=["a step", "a compensation"])
def test_the_wait_of_a_retry_goes_on(run: Run, *, undoing: bool) -> None:
    starts: list[tuple[float, int]] = []
    retries = {"max_attempts": 2, "initial_interval": 10}

    async def program(shop: Shop) -> None:
        async def fails(parameters: dict[str, Json], context: ActionContext) -> Json:
            if context.step == "a":
                starts.append((shop.loop.time(), context.attempt))
            raise RuntimeError("no")

        if undoing:
            undo = {"action": "undo", "retries": retries}
            definition = workflow(step("a", compensation=undo), {"id": "b", "action": "fails", "depends_on": ["a"]})
        else:
            definition = workflow({**step("a", retries=retries), "action": "fails"})
        async with shop.engine(work=at_once, fails=fails, undo=fails) as engine:
            execution = await engine.start_workflow(definition)
            await asyncio.sleep(1)
        async with shop.engine(work=at_once, fails=fails, undo=fails) as engine:
            await engine.recover()
            assert (await engine.wait(execution))["status"] == "FAILED"

    run(program)
    assert starts == [(0.0, 1), (10.0, 2)]


def test_a_deadline_goes_on_and_one_that_has_passed_meanwhile_is_found_out(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            for timeout in (5, 20):
                await engine.start_workflow(workflow(step("a", parameters={"seconds": 60}), timeout=timeout))
            await asyncio.sleep(1)
        await asyncio.sleep(9)
        async with shop.engine() as engine:
            await engine.recover()
            for execution, at in (("x1", 10), ("x2", 20)):
                assert (await engine.wait(execution))["error"]["type"] == "ExecutionTimeoutError"
                assert shop.loop.time() == pytest.approx(at)

    run(program)


def test_an_attempt_that_had_timed_out_is_not_run_again(run: Run) -> None:
    starts: list[int] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        starts.append(context.attempt)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(3)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            execution = await engine.start_workflow(workflow(step("a", timeout=1)))
            await asyncio.sleep(2)
        async with shop.engine(work=work) as engine:
            await engine.recover()
            assert (await engine.wait(execution))["error"]["type"] == "StepTimeoutError"

    run(program)
    assert starts == [1]


def test_those_that_come_back_hold_their_slots_before_anything_new_starts(run: Run) -> None:
    async def program(shop: Shop) -> None:
        running = most = 0

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await seconds(parameters, context)
            finally:
                running -= 1

        async with shop.engine(work=work, slots=2) as engine:
            await engine.start_workflow(workflow(step("a"), step("c", "a"), max_concurrent_steps=1))
            await engine.start_workflow(workflow(step("b")))
            await engine.start_workflow(workflow(*[step(name) for name in "defg"]))
            await asyncio.sleep(0.5)
        async with shop.engine(work=work, slots=2) as engine:
            assert await engine.recover() == ["x1", "x2", "x3"]
            for execution in ("x1", "x2", "x3"):
                assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert most == 2

    run(program)


def test_recoveries_at_the_same_time_drive_an_execution_once(run: Run) -> None:
    keys: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        keys.append(context.idempotency_key)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=seconds) as engine:
            await engine.start_workflow(workflow(step("a")))
            await asyncio.sleep(0.5)
        async with shop.engine(work=work) as engine:
            taken = await asyncio.gather(engine.recover(), engine.recover(), engine.start_workflow(workflow(step("a"))))
            assert sorted([*taken[0], *taken[1]]) in (["x1"], ["x1", "x2"])
            for execution in ("x1", "x2"):
                assert (await engine.wait(execution))["status"] == "COMPLETED"

    run(program)
    assert sorted(keys) == ["x1/a/1", "x2/a/1"]


def test_an_execution_of_the_journal_that_nobody_drives_takes_no_command(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
        async with shop.engine() as engine:
            for ask in (engine.pause_execution, engine.resume_execution, engine.cancel_execution, engine.wait):
                with pytest.raises(JournalError, match="execution x1 is not driven by this engine: recover it first"):
                    await ask(execution)
            assert (await engine.get_execution(execution))["status"] == "RUNNING"

    run(program)


# Closing


def test_closing_ends_what_runs_and_says_nothing_to_the_journal(run: Run) -> None:
    async def program(shop: Shop) -> None:
        engine = await shop.bare()
        execution = await engine.start_workflow(workflow(step("a"), step("b", retries={"max_attempts": 2}), timeout=99))
        waiter = shop.loop.create_task(engine.wait(execution))
        listener = shop.loop.create_task(anext(engine.subscribe(execution, 99), None))
        await asyncio.sleep(0.5)
        paused = shop.loop.create_task(engine.pause_execution(execution))
        await asyncio.sleep(0)
        await engine.close()
        await engine.close()
        with pytest.raises(EngineClosedError):
            await waiter
        with pytest.raises(EngineClosedError):
            await paused
        assert await listener is None
        assert (await shop.events())[2:] == ["StepStarted a 1", "StepStarted b 1"]
        for ask in (engine.start_workflow(PAIR), engine.cancel_execution(execution), engine.recover()):
            with pytest.raises(EngineClosedError, match="the engine is closed"):
                await ask
        with pytest.raises(EngineClosedError):
            await engine.wait(execution)

    run(program)


def test_closing_waits_for_actions_that_clean_up(run: Run) -> None:
    cleaned: list[str] = []

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            cleaned.append(context.step)

    async def program(shop: Shop) -> None:
        async with shop.engine(work=work) as engine:
            await engine.start_workflow(workflow(step("a"), step("b")))
            await asyncio.sleep(1)

    run(program)
    assert cleaned == ["a", "b"]


# A journal that fails (J4), and an engine that breaks its own promises


class FragileJournal(MemoryJournal):
    """Refuses what it is told to refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str, Event], bool] = lambda execution, event: False
        self.error: Exception = JournalError("full")

    def write(self, execution: str, first: int, events: Sequence[Event]) -> None:
        if any(self.refuses(execution, event) for event in events):
            raise self.error
        super().write(execution, first, events)


@pytest.fixture
def journal() -> FragileJournal:
    return FragileJournal()


@pytest.fixture
def fragile(journal: FragileJournal) -> Run:
    """Run a program in virtual time on the journal that fails."""

    def run(program: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
        async def opened() -> Journal:
            return journal

        loop = SimulatedLoop()
        shop = Shop(loop, opened)
        try:
            _run(loop, shop, program)
        finally:
            loop.close()
        assert loop.errors == []

    return run


def test_a_start_that_cannot_be_journaled_has_not_happened(fragile: Run, journal: FragileJournal) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            journal.refuses = lambda execution, event: True
            with pytest.raises(JournalError, match="full"):
                await engine.start_workflow(PAIR)
            with pytest.raises(UnknownExecutionError):
                await engine.get_execution("x1")
        assert shop.trouble == []

    fragile(program)


def test_an_execution_that_cannot_be_journaled_stops_and_says_so(fragile: Run, journal: FragileJournal) -> None:
    started: list[str] = []

    async def program(shop: Shop) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            started.append(context.step)
            return await seconds(parameters, context)

        async with shop.engine(work=work) as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
            before = await engine.get_execution(execution)
            waiter = shop.loop.create_task(engine.wait(execution))
            journal.refuses = lambda execution, event: True
            with pytest.raises(JournalError, match="full"):
                await engine.cancel_execution(execution)
            with pytest.raises(JournalError, match="full"):
                await waiter
            await asyncio.sleep(100)
            journal.refuses = lambda execution, event: False
            assert await engine.get_execution(execution) == before, "memory and journal do not differ"
            with pytest.raises(JournalError, match="full"):
                await engine.wait(execution)
            with pytest.raises(JournalError, match="recover it first"):
                await engine.pause_execution(execution)
            assert started == ["a"]
            assert await engine.recover() == [execution]
            assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert started == ["a", "a", "b"]
        assert shop.trouble == [], "it is no mistake of the engine's"

    fragile(program)


def test_a_recovery_waits_for_the_actions_of_the_execution_that_could_not_go_on(
    fragile: Run, journal: FragileJournal
) -> None:
    async def program(shop: Shop) -> None:
        running: list[str] = []

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            assert running == []
            running.append(context.idempotency_key)
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(1)
                running.clear()

        async with shop.engine(work=work, slots=1) as engine:
            execution = await engine.start_workflow(workflow(step("a")))
            await asyncio.sleep(0.5)
            journal.refuses = lambda execution, event: True
            with pytest.raises(JournalError):
                await engine.pause_execution(execution)
            journal.refuses = lambda execution, event: False
            assert running == ["x1/a/1"]
            assert await engine.recover() == [execution]
            assert (await engine.wait(execution))["status"] == "COMPLETED"

    fragile(program)


@pytest.mark.parametrize("refused", [StepStarted, StepCompleted, StepRetrying])
def test_one_execution_that_cannot_be_journaled_costs_the_others_no_slot(
    fragile: Run, journal: FragileJournal, refused: type[Event]
) -> None:
    journal.refuses = lambda execution, event: execution == "x1" and isinstance(event, refused)

    async def program(shop: Shop) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            await asyncio.sleep(1)
            if context.step == "c":
                raise RuntimeError("again")

        async with shop.engine(work=work, slots=2) as engine:
            steps = [step(name, retries={"max_attempts": 9}) for name in "cdef"]
            first = await engine.start_workflow(workflow(*steps, timeout=60))
            other = await engine.start_workflow(workflow(*[step(name) for name in "abxyz"]))
            with pytest.raises(JournalError):
                await engine.wait(first)
            assert (await engine.wait(other))["status"] == "COMPLETED"
            await asyncio.sleep(100)
            assert engine._slots.free == 2

    fragile(program)


def test_the_timers_of_an_execution_that_cannot_go_on_do_nothing_more(fragile: Run, journal: FragileJournal) -> None:
    async def program(shop: Shop) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            if context.step == "a":
                raise RuntimeError("no")
            return await seconds(parameters, context)

        async with shop.engine(work=work, slots=2) as engine:
            retries = {"max_attempts": 2, "initial_interval": 10}
            definition = workflow(step("a", retries=retries), step("b", timeout=20), timeout=30)
            execution = await engine.start_workflow(definition)
            journal.refuses = lambda execution, event: isinstance(event, StepCompleted)
            with pytest.raises(JournalError):
                await engine.wait(execution)
            await asyncio.sleep(100)
            assert engine._slots.free == 2
        assert shop.trouble == []

    fragile(program)


def test_an_end_that_cannot_be_journaled_is_none(fragile: Run, journal: FragileJournal) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(workflow(step("a")))
            journal.refuses = lambda execution, event: isinstance(event, ExecutionEnded)
            for _ in range(2):
                with pytest.raises(JournalError, match="full"):
                    await engine.wait(execution)
            assert statuses(await engine.get_execution(execution)) == {"a": "RUNNING"}
            journal.refuses = lambda execution, event: False
            assert await engine.recover() == [execution]
            assert (await engine.wait(execution))["status"] == "COMPLETED"

    fragile(program)


def test_a_mistake_of_the_engine_reaches_the_callers_and_the_loops_exception_handler(
    fragile: Run, journal: FragileJournal
) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
            journal.error = ZeroDivisionError("mistake")
            journal.refuses = lambda execution, event: True
            with pytest.raises(ZeroDivisionError):
                await engine.pause_execution(execution)
            with pytest.raises(ZeroDivisionError):
                await engine.wait(execution)
        assert [(context["message"], context["exception"]) for context in shop.trouble] == [
            ("execution x1 cannot go on", journal.error)
        ]

    fragile(program)


def test_a_decision_that_goes_wrong_leaves_no_caller_waiting(
    fragile: Run, journal: FragileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            execution = await engine.start_workflow(PAIR)
            await asyncio.sleep(0.5)
            right = decide

            def wrong(state: Any, command: Any, at: float) -> Any:
                if type(command).__name__ == "Resume":
                    raise ZeroDivisionError("mistake")
                return right(state, command, at)

            monkeypatch.setattr("engine.driver.decide", wrong)
            asks = (engine.pause_execution, engine.resume_execution, engine.cancel_execution)
            answers = await asyncio.gather(*[ask(execution) for ask in asks], return_exceptions=True)
            assert [type(answer) for answer in answers] == [ZeroDivisionError] * 3
        assert len(shop.trouble) == 1
        assert (await shop.events())[2:] == ["StepStarted a 1"]

    fragile(program)


class LingeringJournal(FragileJournal):
    """Takes its time to answer once an event is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.lingers: Callable[[Event], float] = lambda event: 0.0

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        self.write(execution, first, events)
        await asyncio.sleep(max(map(self.lingers, events)))


class TestWhileAWriteIsUnderWay:
    @pytest.fixture
    def journal(self) -> LingeringJournal:
        return LingeringJournal()

    def test_a_retry_whose_wait_ends_starts_nothing_after_a_cancel(
        self, fragile: Run, journal: LingeringJournal
    ) -> None:
        attempts: list[int] = []

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            attempts.append(context.attempt)
            raise RuntimeError("again")

        async def program(shop: Shop) -> None:
            async with shop.engine(work=work) as engine:
                retries = {"max_attempts": 2, "initial_interval": 1}
                execution = await engine.start_workflow(workflow(step("a", retries=retries)))
                await asyncio.sleep(0.5)
                journal.lingers = lambda event: 2.0
                assert await engine.cancel_execution(execution)
                assert (await engine.wait(execution))["status"] == "CANCELLED"
                assert engine._slots.free == 5
            assert attempts == [1]

        fragile(program)

    def test_a_failure_and_a_cancel_that_wait_together_set_no_timer(
        self, fragile: Run, journal: LingeringJournal
    ) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            await asyncio.sleep(1 if context.step == "a" else 1.5)
            if context.step == "b":
                raise RuntimeError("again")

        async def program(shop: Shop) -> None:
            async with shop.engine(work=work) as engine:
                retries = {"max_attempts": 2, "initial_interval": 50}
                execution = await engine.start_workflow(workflow(step("a"), step("b", retries=retries), step("c")))
                await asyncio.sleep(0.5)
                journal.lingers = lambda event: 1.0
                await asyncio.sleep(1.25)
                assert await engine.cancel_execution(execution)
                assert (await engine.wait(execution))["status"] == "CANCELLED"
                assert shop.loop.time() < 10
            assert [event for event in await shop.events() if event.startswith("StepRetrying")] == ["StepRetrying b 1"]

        fragile(program)

    def test_a_caller_who_has_given_up_is_not_answered(self, fragile: Run, journal: LingeringJournal) -> None:
        async def program(shop: Shop) -> None:
            async with shop.engine() as engine:
                execution = await engine.start_workflow(workflow(step("a", parameters={"seconds": 60})))
                await asyncio.sleep(0.5)
                journal.lingers = lambda event: 1.0
                caller = shop.loop.create_task(engine.pause_execution(execution))
                await asyncio.sleep(0.5)
                caller.cancel()
                await asyncio.gather(caller, return_exceptions=True)
                other = shop.loop.create_task(engine.resume_execution(execution))
                await asyncio.sleep(0.25)
                await engine.close()
                with pytest.raises(EngineClosedError):
                    await other
            assert (await shop.events())[-1] == "ExecutionPaused"

        fragile(program)

    def test_an_execution_that_a_recovery_comes_upon_while_it_is_started_is_driven_once(
        self, fragile: Run, journal: LingeringJournal
    ) -> None:
        attempts: list[str] = []

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            attempts.append(context.idempotency_key)
            return await seconds(parameters, context)

        async def program(shop: Shop) -> None:
            async with shop.engine(work=work) as engine:
                journal.lingers = lambda event: 1.0 if isinstance(event, ExecutionCreated) else 0.0
                starting = shop.loop.create_task(engine.start_workflow(workflow(step("a"))))
                await asyncio.sleep(0.5)
                assert await engine.recover() == [], "who starts it drives it"
                assert await starting == "x1"
                assert (await engine.wait("x1"))["status"] == "COMPLETED"
            assert attempts == ["x1/a/1"]

        fragile(program)

    def test_an_engine_that_is_closed_meanwhile_does_not_begin(self, fragile: Run, journal: LingeringJournal) -> None:
        async def program(shop: Shop) -> None:
            async with shop.engine() as engine:
                journal.lingers = lambda event: 1.0
                starting = shop.loop.create_task(engine.start_workflow(PAIR))
                await asyncio.sleep(0.5)
            assert await starting == "x1", "it is durable, and can be recovered"
            assert await shop.events() == ["ExecutionCreated"]

        fragile(program)


@pytest.mark.parametrize(("rate", "resumed"), [(0.9, None), (1.1, None), (0.9, 10.05), (1.1, 9.5)])
def test_a_retry_waits_by_the_engines_clock_where_the_loops_is_another(
    run: Run, rate: float, resumed: float | None
) -> None:
    starts: list[float] = []

    async def program(shop: Shop) -> None:
        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            starts.append(shop.loop.time() * rate)
            if context.attempt == 1:
                raise RuntimeError("again")

        manager = ExecutionStateManager()
        async with WorkflowEngine(manager, {"work": work}, clock=lambda: shop.loop.time() * rate) as engine:
            retries = {"max_attempts": 2, "initial_interval": 10}
            execution = await engine.start_workflow(workflow(step("a", retries=retries)))
            if resumed is not None:
                await asyncio.sleep(0.5)
                await engine.pause_execution(execution)
                await asyncio.sleep(resumed - 0.5)
                await engine.resume_execution(execution)
            assert (await engine.wait(execution))["status"] == "COMPLETED"

    run(program)
    assert starts == [0.0, pytest.approx(10.0, abs=1.1)]
    assert starts[1] >= 10


# Closing with a grace time


def test_what_runs_may_end_while_grace_lasts_and_nothing_else_starts(run: Run) -> None:
    async def program(shop: Shop) -> None:
        definition = workflow(step("a"), step("b", "a"), step("slow", parameters={"seconds": 100}))
        engine = await shop.bare()
        await engine.start_workflow(definition)
        await asyncio.sleep(0.5)
        await engine.close(grace=10)
        assert shop.loop.time() == 10.5, "the slow one has used it up"
        ended = ["ExecutionCreated", "ExecutionStarted", "StepStarted a 1", "StepStarted slow 1", "StepCompleted a 1"]
        assert await shop.events() == ended
        async with shop.engine() as engine:
            assert await engine.recover() == ["x1"]
            assert (await engine.wait("x1"))["status"] == "COMPLETED"

    run(program)


def test_nobody_waits_for_the_grace_time_longer_than_there_is_something_to_wait_for(run: Run) -> None:
    async def program(shop: Shop) -> None:
        retries = {"max_attempts": 2, "initial_interval": 5}
        engine = await shop.bare(work=seconds, never=failing)
        await engine.start_workflow(workflow(step("a"), step("n", action="never", retries=retries)))
        await asyncio.sleep(0)
        await engine.close(grace=1000)
        assert shop.loop.time() == 1, "a retry is no attempt under way"
        with pytest.raises(EngineClosedError):
            await engine.pause_execution("x1")

    async def failing(parameters: dict[str, Json], context: ActionContext) -> Json:
        raise RuntimeError("never")

    run(program)


def test_a_journal_that_fails_under_grace_keeps_nobody(run: Run) -> None:
    async def program(shop: Shop) -> None:
        class Full(MemoryJournal):
            async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
                if shop.loop.time() > 0:
                    raise JournalError("disk full")  # noqa: TRY003  # what a disk says
                await super().append(execution, first, events)

        engine = WorkflowEngine(ExecutionStateManager(Full()), {"work": seconds}, clock=shop.loop.time)
        await engine.start_workflow(workflow(step("a")))
        await asyncio.sleep(0)
        await engine.close(grace=1000)
        assert shop.loop.time() == 1

    run(program)


# Ids of the caller's


def test_an_execution_of_the_callers_name_begins_once(run: Run) -> None:
    async def program(shop: Shop) -> None:
        async with shop.engine() as engine:
            starts = [engine.start_workflow(PAIR, execution_id="mine") for _ in range(3)]
            found = await asyncio.gather(*starts, return_exceptions=True)
            assert found[0] == "mine"
            reasons = [error.reason for error in found if isinstance(error, JournalError)]
            assert [reason.partition(" mine")[0] for reason in reasons] == ["execution", "execution"]
            assert (await engine.get_workflow("mine")).id == engine.parse(PAIR).id
            with pytest.raises(JournalError, match="execution mine: event 1 "):
                await engine.start_workflow(PAIR, execution_id="mine")
            assert (await engine.wait("mine"))["status"] == "COMPLETED"

    run(program)
