"""Whole workflows on a real loop, in real time, journaled in a real file, from their definition to their last event.

Rule 1: what the engine did is read back from the file, through a journal of our own, event by event, and nothing else
counts as its history.
Rule 2: nothing sleeps to let things settle: actions wait on gates, a test waits for an action to reach its gate, for an
event or for the end; every wait is bounded.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from engine.actions import ACTIONS
from engine.definition import parse_workflow
from engine.driver import Action, ActionContext
from engine.errors import DefinitionError, EngineClosedError, InputError, JournalError, UnknownExecutionError
from engine.graph import graph_to_steps
from engine.messages import Event, ExecutionCreated, ExecutionStarted, from_json, to_json
from engine.service.app import create_app
from engine.service.catalogue import Catalogue
from engine.service.server import bound, serve
from engine.sqlite_journal import APPLICATION_ID, SqliteJournal
from engine.state import fold, report
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from tests.core import brief

Json: TypeAlias = Any

BOUND: Final = 10
"""Seconds after which a test gives up waiting."""
BEGUN: Final = ["ExecutionCreated", "ExecutionStarted"]


class Gates:
    """Where actions wait to be told how they end, and say that they are there."""

    def __init__(self) -> None:
        self._reached: dict[str, asyncio.Event] = {}
        self._ends: dict[str, asyncio.Future[Json]] = {}
        self.calls: list[tuple[str, Json]] = []
        self.cancelled: list[str] = []

    async def gate(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        """Wait at the gate of this attempt."""
        self.calls.append((context.idempotency_key, parameters))
        self._event(context.step).set()
        try:
            return await self._end(context.step)
        except asyncio.CancelledError:
            self.cancelled.append(context.step)
            raise
        finally:
            del self._ends[context.step], self._reached[context.step]

    async def reached(self, *steps: str) -> None:
        """Wait until the actions of these steps are at their gates."""
        for step in steps:
            await self._event(step).wait()

    def open(self, step: str, output: Json = None) -> None:
        """Let a step's action return."""
        self._end(step).set_result(output)

    def fail(self, step: str, message: str = "no") -> None:
        """Let a step's action raise."""
        self._end(step).set_exception(RuntimeError(message))

    def _event(self, step: str) -> asyncio.Event:
        return self._reached.setdefault(step, asyncio.Event())

    def _end(self, step: str) -> asyncio.Future[Json]:
        return self._ends.setdefault(step, asyncio.get_running_loop().create_future())


class Office:
    """One file, and the engines that come and go on it."""

    def __init__(self, path: Path) -> None:
        self.path = path / "journal.db"
        self.gates = Gates()
        self._ids = count(1)

    @asynccontextmanager
    async def engine(
        self, slots: int = 5, busy_timeout: float = 5.0, **actions: Action
    ) -> AsyncIterator[WorkflowEngine]:
        """Open the file, and an engine on it; both close at the end."""
        journal = await SqliteJournal.open(self.path, busy_timeout=busy_timeout)
        engine = WorkflowEngine(
            ExecutionStateManager(journal),
            {**ACTIONS, "gate": self.gates.gate, "undo": undo, **actions},
            max_concurrent_steps=slots,
            new_id=lambda: f"x{next(self._ids)}",
        )
        async with asyncio.timeout(BOUND), engine:
            yield engine

    @asynccontextmanager
    async def served(self) -> AsyncIterator[tuple[WorkflowEngine, str]]:
        """Open the file, an engine on it, and the service of that on a real socket; all close at the end."""
        catalogue = await Catalogue.of(await SqliteJournal.open(self.path))
        actions = {**ACTIONS, "gate": self.gates.gate}
        engine = WorkflowEngine(ExecutionStateManager(catalogue), actions, new_id=lambda: f"x{next(self._ids)}")
        listening, stop = bound("127.0.0.1", 0), asyncio.Event()
        serving = asyncio.create_task(serve(create_app(engine, catalogue), listening, stop))
        async with asyncio.timeout(BOUND), engine:
            yield engine, "ws://{}:{}".format(*listening.getsockname())
            stop.set()
            await serving

    async def events(self, execution: str = "x1") -> list[Event]:
        """What the file holds of an execution."""
        journal = await SqliteJournal.open(self.path)
        try:
            return await journal.read(execution)
        finally:
            await journal.close()

    async def unfinished(self) -> list[str]:
        """The executions that the file has as unfinished."""
        journal = await SqliteJournal.open(self.path)
        try:
            return await journal.unfinished()
        finally:
            await journal.close()

    async def told(self, execution: str = "x1") -> list[str]:
        """The same in brief."""
        return [brief(event) for event in await self.events(execution)]


async def undo(parameters: dict[str, Json], context: ActionContext) -> Json:
    """Undo what a step did: there is nothing to it."""


async def until(engine: WorkflowEngine, execution: str, what: str) -> Json:
    """Wait for an event, and return the report of that moment: it has the event."""
    async for seq, event in engine.subscribe(execution):
        if brief(event) == what:
            found = await engine.get_execution(execution)
            assert found["seq"] >= seq
            return found
    pytest.fail(f"{execution} ended without {what}")


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def step(name: str, *after: Json, action: str = "echo", **policies: Json) -> dict[str, Json]:
    return {"id": name, "action": action, "depends_on": list(after), **policies}


def workflow(*steps: Json, **policies: Json) -> dict[str, Json]:
    return {"id": "w", "steps": list(steps), **policies}


def ran(*steps: str) -> list[str]:
    """Steps that completed, one after the other."""
    return [f"{what} {name} 1" for name in steps for what in ("StepStarted", "StepCompleted")]


def statuses(found: Json) -> dict[str, str]:
    return {name: entry["status"] for name, entry in found["steps"].items()}


def outputs(found: Json) -> dict[str, Json]:
    return {name: entry["output"] for name, entry in found["steps"].items() if "output" in entry}


@pytest.mark.asyncio
class TestWorkflowExecution:
    """Workflows as a service would run them."""

    # From start to end

    async def test_complete_workflow_execution(self, office: Office) -> None:
        """One step after the other, each with what the one before returned."""
        definition = workflow(
            step("fetch", parameters={"rows": [1, 2, "${input.last}"], "of": "${input}"}),
            step("count", "fetch", parameters={"text": "last of ${fetch.rows}: ${fetch.rows.2}"}),
            step("store", "count", parameters={"value": "${count.text}", "nothing": None}),
            name="Sequence",
        )
        async with office.engine() as engine:
            execution = await engine.start_workflow(definition, {"last": 3.5})
            found = await engine.wait(execution)
            assert found["status"] == "COMPLETED"
            assert found["error"] is None
            assert outputs(found) == {
                "fetch": {"rows": [1, 2, 3.5], "of": {"last": 3.5}},
                "count": {"text": "last of [1,2,3.5]: 3.5"},
                "store": {"value": "last of [1,2,3.5]: 3.5", "nothing": None},
            }
            assert await engine.get_execution(execution) == found
        assert await office.told() == [*BEGUN, *ran("fetch", "count", "store"), "ExecutionEnded COMPLETED"]

    async def test_parallel_steps_run_together(self, office: Office) -> None:
        """Three that wait for one another can only end together; what joins them sees all their outputs."""
        together = asyncio.Barrier(3)

        async def meet(parameters: dict[str, Json], context: ActionContext) -> Json:
            await together.wait()
            return {"met": context.step}

        joined = step("join", "c", "a", "b", parameters={"met": ["${a.met}", "${b.met}", "${c.met}"]})
        async with office.engine(slots=3, meet=meet) as engine:
            meeting = [step(name, action="meet") for name in "abc"]
            found = await engine.wait(await engine.start_workflow(workflow(joined, *meeting)))
        assert (found["status"], outputs(found)["join"]) == ("COMPLETED", {"met": ["a", "b", "c"]})
        told = await office.told()
        assert told[:5] == [*BEGUN, "StepStarted a 1", "StepStarted b 1", "StepStarted c 1"]
        assert sorted(told[5:8]) == ["StepCompleted a 1", "StepCompleted b 1", "StepCompleted c 1"]
        assert told[8:] == [*ran("join"), "ExecutionEnded COMPLETED"]

    async def test_branching_workflow(self, office: Office) -> None:
        """Conditions choose the branch; the other one is skipped to the end of it, and a join of any goes on."""
        definition = workflow(
            step("check", parameters={"score": "${input.score}"}),
            step("high", {"source": "check", "condition": "check.score >= 50"}),
            step("low", {"source": "check", "condition": "!(check.score >= 50)"}),
            step("low-next", "low"),
            step("report", "high", "low-next", join="any", parameters={"score": "${check.score}"}),
            step("never", condition="input.score > 1000"),
        )
        async with office.engine(slots=1) as engine:
            first = await engine.wait(await engine.start_workflow(definition, {"score": 70}))
            second = await engine.wait(await engine.start_workflow(definition, {"score": 7}))
            third = await engine.wait(await engine.start_workflow(definition, {"score": "much"}))
        assert first["status"] == second["status"] == "COMPLETED"
        assert [name for name, status in statuses(first).items() if status == "SKIPPED"] == ["low", "low-next", "never"]
        assert [name for name, status in statuses(second).items() if status == "SKIPPED"] == ["high", "never"]
        assert await office.told() == [
            *BEGUN,
            "StepSkipped never",
            "StepStarted check 1",
            "StepCompleted check 1",
            "StepSkipped low",
            "StepSkipped low-next",
            *ran("high", "report"),
            "ExecutionEnded COMPLETED",
        ]
        assert await office.told("x2") == [
            *BEGUN,
            "StepSkipped never",
            "StepStarted check 1",
            "StepCompleted check 1",
            "StepSkipped high",
            *ran("low", "low-next", "report"),
            "ExecutionEnded COMPLETED",
        ]
        assert (third["status"], third["error"]["type"], third["error"]["step"]) == (
            "FAILED",
            "ConditionError",
            "never",
        )
        assert await office.told("x3") == [*BEGUN, "StepFailed never 0", "RollbackStarted", "ExecutionEnded FAILED"]

    async def test_many_to_many_mapping(self, office: Office) -> None:
        """Each of three targets hangs on each of three sources, and starts when the last of them has ended."""
        targets = [step(f"t{n}", *"abc", parameters={"from": [f"${{{name}.v}}" for name in "abc"]}) for n in (1, 2, 3)]
        sources = [step(name, action="gate") for name in "abc"]
        gates = office.gates
        async with office.engine() as engine:
            execution = await engine.start_workflow(workflow(*targets, *sources))
            await gates.reached(*"abc")
            heard = aiter(engine.subscribe(execution, 5))
            for name, value in (("c", {"v": 3}), ("a", {"v": [1]})):
                gates.open(name, value)
                assert brief((await anext(heard)).event) == f"StepCompleted {name} 1"
            assert set(statuses(await engine.get_execution(execution)).values()) == {"PENDING", "RUNNING", "COMPLETED"}
            gates.open("b", {"v": None})
            found = await engine.wait(execution)
        assert outputs(found)["t1"] == outputs(found)["t2"] == outputs(found)["t3"] == {"from": [[1], None, 3]}
        told = await office.told()
        assert told[:8] == [
            *BEGUN,
            *(f"StepStarted {name} 1" for name in "abc"),
            *(f"StepCompleted {name} 1" for name in "cab"),
        ]
        assert told[8:11] == ["StepStarted t1 1", "StepStarted t2 1", "StepStarted t3 1"]
        assert told[11:] == [*(f"StepCompleted t{n} 1" for n in (1, 2, 3)), "ExecutionEnded COMPLETED"]

    async def test_graph_to_steps_conversion(self, office: Office) -> None:
        """A graph as an editor saved it converts to ordered steps, and both run alike."""

        def node(name: str, **config: Json) -> Json:
            return {"id": name, "title": name.title(), "type": "task", "position": {"x": 0}, "config": config}

        graph = {
            "id": "drawn",
            "version": 3,
            "nodes": [
                node("end", action="echo", join="any", parameters={"got": "${left.n}"}),
                node("right", action="echo"),
                node("left", action="echo", parameters={"n": 1}),
                node("start", action="echo", parameters={"go": True}),
            ],
            "connections": [
                {"id": "e1", "source": "start", "target": "left", "condition": "start.go"},
                {"id": "e2", "source": "start", "target": "right", "condition": "!start.go"},
                {"id": "e3", "source": "right", "target": "end"},
                {"id": "e4", "source": "left", "target": "end", "label": "then"},
            ],
        }
        converted = graph_to_steps(graph)
        assert converted == [
            {
                "id": "start",
                "name": "Start",
                "sequence_order": 1,
                "depends_on": [],
                "action": "echo",
                "parameters": {"go": True},
            },
            {
                "id": "right",
                "name": "Right",
                "sequence_order": 2,
                "depends_on": [{"source": "start", "condition": "!start.go"}],
                "action": "echo",
            },
            {
                "id": "left",
                "name": "Left",
                "sequence_order": 3,
                "depends_on": [{"source": "start", "condition": "start.go"}],
                "action": "echo",
                "parameters": {"n": 1},
            },
            {
                "id": "end",
                "name": "End",
                "sequence_order": 4,
                "depends_on": ["right", "left"],
                "action": "echo",
                "join": "any",
                "parameters": {"got": "${left.n}"},
            },
        ]
        async with office.engine() as engine:
            for definition in (graph, {"id": "steps", "steps": converted}):
                found = await engine.wait(await engine.start_workflow(definition))
                assert (found["status"], outputs(found)["end"]) == ("COMPLETED", {"got": 1})
        assert await office.told("x1") == await office.told("x2")
        assert await office.told() == [
            *BEGUN,
            *ran("start"),
            "StepSkipped right",
            *ran("left", "end"),
            "ExecutionEnded COMPLETED",
        ]

    async def test_wfformat_instances_run(self, office: Office) -> None:
        """A trace in WfFormat 1.5 is a workflow of waits."""
        tasks = [{"id": "one.1", "children": ["two"]}, {"id": "two", "parents": ["one.1"]}]
        runs = [{"id": task["id"], "runtimeInSeconds": 0.01} for task in tasks]
        instance = {
            "name": "trace",
            "schemaVersion": "1.5",
            "workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": runs}},
        }
        async with office.engine() as engine:
            found = await engine.wait(await engine.start_workflow(instance))
        assert outputs(found) == {"one_1": {"seconds": 0.01}, "two": {"seconds": 0.01}}
        assert await office.told() == [*BEGUN, *ran("one_1", "two"), "ExecutionEnded COMPLETED"]

    # Commands

    async def test_pause_resume_workflow(self, office: Office) -> None:
        """Under a pause the running action goes on and nothing starts; the resume goes on from there."""
        gates = office.gates
        async with office.engine() as engine:
            late = step("b", "a", action="gate", parameters={"n": "${input.late}"})
            execution = await engine.start_workflow(workflow(step("a", action="gate"), late))
            await gates.reached("a")
            assert await engine.pause_execution(execution) is True
            assert await engine.pause_execution(execution) is False
            gates.open("a", "done")
            found = await until(engine, execution, "StepCompleted a 1")
            assert (found["status"], statuses(found)) == ("PAUSED", {"a": "COMPLETED", "b": "PENDING"})
            assert gates.calls == [("x1/a/1", {})]
            assert await engine.resume_execution(execution, {"late": 1}) is True
            assert await engine.resume_execution(execution) is False
            await gates.reached("b")
            assert gates.calls[1:] == [("x1/b/1", {"n": 1})]
            gates.open("b")
            assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert await office.told() == [
            *BEGUN,
            "StepStarted a 1",
            "ExecutionPaused",
            "StepCompleted a 1",
            "ExecutionResumed",
            *ran("b"),
            "ExecutionEnded COMPLETED",
        ]

    async def test_missing_input_waits_for_a_resume(self, office: Office) -> None:
        """What is missing is named, and brought by a resume that is merged into what was there."""
        needs = {"user": "${input.user.name}", "city": "${input.user.city}"}
        definition = workflow(step("ask", parameters=needs), step("other", "ask", parameters={"n": "${input.n}"}))
        async with office.engine() as engine:
            execution = await engine.start_workflow(definition, {"user": {"name": "Ada"}, "n": 1})
            assert (await until(engine, execution, "ExecutionPaused"))["missing"] == {"ask": ["input.user.city"]}
            with pytest.raises(InputError, match="new_inputs"):
                await engine.resume_execution(execution, {"n": float("nan")})
            assert await engine.resume_execution(execution, {"user": {"city": "London"}, "n": 2})
            found = await engine.wait(execution)
        assert outputs(found) == {"ask": {"user": "Ada", "city": "London"}, "other": {"n": 2}}
        assert await office.told() == [
            *BEGUN,
            "ExecutionPaused",
            "ExecutionResumed",
            *ran("ask", "other"),
            "ExecutionEnded COMPLETED",
        ]

    async def test_cancelled_workflow_is_rolled_back(self, office: Office) -> None:
        """A cancel ends the running action, undoes the completed steps newest first, and leaves the others alone."""
        gates, undone = office.gates, list[tuple[str, Json, Json]]()

        async def undo_step(parameters: dict[str, Json], context: ActionContext) -> Json:
            undone.append((context.idempotency_key, parameters, context.step_output))

        undoing: dict[str, Json] = {"compensation": {"action": "undo", "parameters": {"id": "${a.id}"}}}
        definition = workflow(
            step("a", parameters={"id": 1}, **undoing),
            step("b", "a", parameters={"id": 2}, **undoing),
            step("c", "b", action="gate", **undoing),
            step("d", "c"),
            rollback_on_cancel=True,
        )
        async with office.engine(undo=undo_step) as engine:
            execution = await engine.start_workflow(definition)
            other = await engine.start_workflow(workflow(step("o", action="gate")))
            await gates.reached("c", "o")
            assert await engine.cancel_execution(execution) is True
            assert await engine.cancel_execution(execution) is False
            found = await engine.wait(execution)
            gates.open("o", 1)
            assert outputs(await engine.wait(other)) == {"o": 1}
        assert found["status"] == "CANCELLED"
        assert statuses(found) == {"a": "COMPENSATED", "b": "COMPENSATED", "c": "CANCELLED", "d": "CANCELLED"}
        assert (gates.cancelled, outputs(found)) == (["c"], {})
        assert undone == [
            ("x1/b/compensation/1", {"id": 1}, {"id": 2}),
            ("x1/a/compensation/1", {"id": 1}, {"id": 1}),
        ]
        assert (await office.told())[6:] == [
            "StepStarted c 1",
            "CancellationRequested",
            "StepCancelled c 1",
            "RollbackStarted",
            "CompensationStarted b 1",
            "CompensationCompleted b 1",
            "CompensationStarted a 1",
            "CompensationCompleted a 1",
            "ExecutionEnded CANCELLED",
        ]

    # Failures

    async def test_error_recovery_workflow(self, office: Office) -> None:
        """Retries cure one failure, tolerance another; the one that nothing cures rolls everything back."""
        again = {"max_attempts": 3, "initial_interval": 0.01, "backoff": 1}
        flaky = step("flaky", action="fail", parameters={"times": 2}, retries=again, compensation={"action": "undo"})
        tolerated = step("tolerated", "flaky", action="fail", continue_on_error=True)
        fatal = step("fatal", "tolerated", action="fail", parameters={"message": "out of paper"})
        cured = [
            "StepStarted flaky 1",
            "StepRetrying flaky 1",
            "StepStarted flaky 2",
            "StepRetrying flaky 2",
            "StepStarted flaky 3",
            "StepCompleted flaky 3",
            "StepStarted tolerated 1",
            "StepFailed tolerated 1",
        ]
        async with office.engine() as engine:
            partial = await engine.wait(await engine.start_workflow(workflow(flaky, tolerated)))
            failed = await engine.wait(await engine.start_workflow(workflow(flaky, tolerated, fatal)))
        assert (partial["status"], partial["error"]) == ("PARTIAL", None)
        assert partial["steps"]["flaky"] == {"status": "COMPLETED", "attempts": 3, "output": {}}
        assert partial["steps"]["tolerated"]["error"]["message"] == "this step is there to fail"
        assert await office.told() == [*BEGUN, *cured, "ExecutionEnded PARTIAL"]
        error = {"step": "fatal", "attempt": 1, "type": "ActionError", "message": "out of paper"}
        assert (failed["status"], failed["error"]) == ("FAILED", error)
        assert statuses(failed) == {"flaky": "COMPENSATED", "tolerated": "FAILED", "fatal": "FAILED"}
        assert await office.told("x2") == [
            *BEGUN,
            *cured,
            "StepStarted fatal 1",
            "StepFailed fatal 1",
            "RollbackStarted",
            "CompensationStarted flaky 1",
            "CompensationCompleted flaky 1",
            "ExecutionEnded FAILED",
        ]

    async def test_timeouts_in_real_time(self, office: Office) -> None:
        """An attempt, a compensation and a whole execution that take too long are ended and named."""
        again = {"max_attempts": 2, "initial_interval": 0}
        slow = step("slow", "kept", action="gate", timeout=0.05, retries=again)
        kept = step("kept", compensation={"action": "gate", "timeout": 0.05, "retries": again})
        async with office.engine() as engine:
            found = await engine.wait(await engine.start_workflow(workflow(slow, kept)))
            late = await engine.wait(await engine.start_workflow(workflow(step("a", action="gate"), timeout=0.05)))
        assert found["error"]["message"] == "attempt 2 of step 'slow' took longer than 0.05 seconds"
        (stuck,) = found["error"]["compensations"]
        assert (stuck["type"], stuck["message"]) == (
            "StepTimeoutError",
            "attempt 2 of step 'kept' took longer than 0.05 seconds",
        )
        assert statuses(found) == {"slow": "FAILED", "kept": "COMPENSATION_FAILED"}
        assert (await office.told())[4:] == [
            *(f"{what} slow 1" for what in ("StepStarted", "StepTimedOut", "StepRetrying")),
            *(f"{what} slow 2" for what in ("StepStarted", "StepTimedOut", "StepFailed")),
            "RollbackStarted",
            *(f"Compensation{what} kept 1" for what in ("Started", "TimedOut", "Retrying")),
            *(f"Compensation{what} kept 2" for what in ("Started", "TimedOut", "Failed")),
            "ExecutionEnded FAILED",
        ]
        assert late["error"]["message"] == "execution 'w' took longer than 0.05 seconds"
        assert (await office.told("x2"))[2:] == [
            "StepStarted a 1",
            "RollbackStarted",
            "StepCancelled a 1",
            "ExecutionEnded FAILED",
        ]
        assert office.gates.cancelled == ["slow", "slow", "kept", "kept", "a"]

    async def test_values_that_json_does_not_have(self, office: Office) -> None:
        """What an action returns or says may be anything; the journal takes what can be written and names the rest."""

        async def odd(parameters: dict[str, Json], context: ActionContext) -> Json:
            if context.step == "said":
                raise RuntimeError("\udcff")
            return {"rows": [{1}, float("nan"), 10**400, "\ud800"], 5: 1} if context.step == "wide" else DEEP

        steps = [step(name, action="odd", continue_on_error=True) for name in ("wide", "deep", "said")]
        async with office.engine(odd=odd) as engine:
            found = await engine.wait(await engine.start_workflow(workflow(*steps)))
        errors = {name: entry["error"]["message"] for name, entry in found["steps"].items()}
        assert found["status"] == "PARTIAL"
        assert errors["wide"] == (
            "step 'wide' is not valid: $: has the key 5, which is no text; "
            "$.rows[0]: is a set, which JSON does not have; "
            "$.rows[1]: is nan, which JSON does not have; $.rows[2]: is an integer too large for JSON; "
            "$.rows[3]: is a text with a lone surrogate"
        )
        assert errors["deep"].endswith(": is nested more than 100 deep")
        assert errors["said"] == "\udcff"
        kept = await office.events()
        assert [from_json(to_json(event)) for event in kept] == kept
        created = kept[0]
        assert isinstance(created, ExecutionCreated)
        assert report(fold(parse_workflow(created.workflow), created, kept[1:])) == found

    # In the background

    async def test_background_task_execution(self, office: Office) -> None:
        """Executions run while their caller does other things, as many at once as there are slots."""
        gates = office.gates
        async with office.engine(slots=2) as engine:
            executions = [await engine.start_workflow(workflow(step(name, action="gate"))) for name in "abc"]
            assert executions == ["x1", "x2", "x3"]
            await gates.reached("a", "b")
            assert [key for key, _ in gates.calls] == ["x1/a/1", "x2/b/1"]
            third = await until(engine, "x3", "ExecutionStarted")
            assert (third["status"], statuses(third)) == ("RUNNING", {"c": "PENDING"})
            waiting = asyncio.create_task(engine.wait("x3"))
            gates.open("b", 2)
            assert (await engine.wait("x2"))["status"] == "COMPLETED"
            await gates.reached("c")
            assert not waiting.done()
            gates.open("c", 3)
            assert outputs(await waiting) == {"c": 3}
            assert (await engine.get_execution("x1"))["status"] == "RUNNING"
            gates.open("a", 1)
            assert outputs(await engine.wait("x1")) == {"a": 1}
            journal = engine._manager.journal
            assert isinstance(journal, SqliteJournal)
            assert (await journal.begun(), await journal.unfinished()) == (3, [])
        for execution, name in zip(executions, "abc", strict=True):
            assert await office.told(execution) == [*BEGUN, *ran(name), "ExecutionEnded COMPLETED"]

    async def test_execution_state_persistence(self, office: Office) -> None:
        """An engine that goes leaves everything in the file: the next one has it all, and goes on."""
        gates = office.gates
        again = {"max_attempts": 2, "initial_interval": 0.01}
        definition = workflow(
            step("a", parameters={"n": "${input.n}"}),
            step("flaky", "a", action="fail", parameters={"times": 1}, retries=again),
            step("b", "flaky", action="gate", parameters={"n": "${a.n}"}),
            step("c", "b", parameters={"b": "${b}"}),
        )
        async with office.engine() as engine:
            await engine.wait(await engine.start_workflow(workflow(step("over", parameters={"n": 0}))))
            execution = await engine.start_workflow(definition, {"n": [1, 2]})
            paused = await engine.start_workflow(workflow(step("p", action="gate"), step("q", "p")))
            await gates.reached("b", "p")
            assert await engine.pause_execution(paused)
            before = [await engine.get_execution(each) for each in (execution, paused)]
            waiting = asyncio.create_task(engine.wait(execution))
        with pytest.raises(EngineClosedError):
            await waiting
        with pytest.raises(EngineClosedError):
            await engine.start_workflow(definition)
        assert sorted(gates.cancelled) == ["b", "p"]
        assert await office.unfinished() == [execution, paused]
        async with office.engine() as engine:
            assert outputs(await engine.wait("x1")) == {"over": {"n": 0}}
            assert [await engine.get_execution(each) for each in (execution, paused)] == before
            with pytest.raises(JournalError, match="recover it first"):
                await engine.pause_execution(execution)
            assert await engine.recover() == [execution, paused]
            await gates.reached("b", "p")
            gates.open("b", "late")
            gates.open("p")
            found = await engine.wait(execution)
            assert (found["status"], outputs(found)["c"]) == ("COMPLETED", {"b": "late"})
            assert await engine.resume_execution(paused) is True
            assert (await engine.wait(paused))["status"] == "COMPLETED"
            assert await engine.cancel_execution(paused) is False
        assert sorted(gates.calls[:2]) == sorted(gates.calls[2:]) == [("x2/b/1", {"n": [1, 2]}), ("x3/p/1", {})]
        assert await office.told(execution) == [
            *BEGUN,
            *ran("a"),
            "StepStarted flaky 1",
            "StepRetrying flaky 1",
            "StepStarted flaky 2",
            "StepCompleted flaky 2",
            *ran("b", "c"),
            "ExecutionEnded COMPLETED",
        ]

    # Notifications

    async def test_websocket_notifications(self, office: Office) -> None:
        """Over a real WebSocket each event comes once, in order, and after a reconnect what came since."""
        gates = office.gates
        sent: list[tuple[int, str]] = []
        async with office.served() as (engine, place):
            execution = await engine.start_workflow(workflow(step("a", action="gate"), step("b", "a", action="gate")))
            live = f"{place}/v1/executions/{execution}/live"

            async def hear(after: int, until: str) -> int:
                async with connect(f"{live}?after={after}") as socket:
                    async for text in socket:
                        event = json.loads(text)
                        sent.append((event["seq"], event["type"]))
                        if sent[-1][1] == until:
                            break
                return sent[-1][0]

            last = await hear(0, "StepStarted")
            gates.open("a")
            await gates.reached("b")
            gates.open("b")
            await asyncio.gather(hear(last, ""), engine.wait(execution))
            async with connect(f"{live}?after=6") as socket:
                at_the_end = [json.loads(text)["seq"] async for text in socket]
            async with connect(f"{live}?after=7") as socket:
                assert [text async for text in socket] == []
                assert (socket.close_code, socket.close_reason) == (1000, "the execution has ended")
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{place}/v1/executions/nobody/live")
            assert refused.value.response.status_code == 404
        assert sent == list(enumerate((name.split()[0] for name in await office.told()), 1))
        assert at_the_end == [7]

    async def test_slow_subscribers_lose_nothing(self, office: Office) -> None:
        """One that does not listen costs nobody anything, and reads what it missed from the file."""
        names = [f"s{number}" for number in range(520)]
        async with office.engine() as engine:
            execution = await engine.start_workflow(workflow(*map(step, names)))
            slow = engine.subscribe(execution)
            heard = [await anext(slow)]
            assert (await engine.wait(execution))["status"] == "COMPLETED"
            assert len(slow._buffer) <= 1024
            heard += [numbered async for numbered in slow]
        assert [seq for seq, _ in heard] == list(range(1, 2 * len(names) + 4))
        assert [event for _, event in heard] == await office.events()

    # Built-in actions

    async def test_commands_of_the_shell(self, office: Office) -> None:
        """A command's output is its step's, a failure says what the command said, and nonsense is refused."""
        wrong: dict[str, tuple[str, Json]] = {
            "no command": ("shell", {}),
            "empty": ("shell", {"command": []}),
            "nul": ("shell", {"command": ["echo", "\0"]}),
            "nowhere": ("shell", {"command": ["/nowhere/at-all"]}),
            "three": ("shell", {"command": "echo oh no >&2; exit 3"}),
            "killed": ("shell", {"command": "kill -9 $$"}),
            "minus": ("wait", {"seconds": -1}),
            "colour": ("wait", {"colour": "${input.red}"}),
            "times": ("fail", {"times": "two"}),
            "text": ("fail", {"message": ["x" * 99]}),
        }
        steps = [
            step(name.replace(" ", "-"), action=action, parameters=given, continue_on_error=True)
            for name, (action, given) in wrong.items()
        ]
        hello = step("hello", action="shell", parameters={"command": ["printf", "%s, ", "hello", "${input.name}"]})
        async with office.engine() as engine:
            found = await engine.wait(await engine.start_workflow(workflow(hello, *steps), {"name": "you", "red": 1}))
        assert found["status"] == "PARTIAL"
        assert outputs(found) == {"hello": {"exit_code": 0, "stdout": "hello, you, ", "stderr": ""}}
        messages = {name: entry["error"]["message"] for name, entry in found["steps"].items() if "error" in entry}
        assert messages == {
            "no-command": "shell: parameters.command must be a text or a list of texts, the first of them not empty, "
            "not None",
            "empty": "shell: parameters.command must be a text or a list of texts, the first of them not empty, not []",
            "nul": "shell: parameters.command holds a NUL character, which no command can",
            "nowhere": "cannot start '/nowhere/at-all': No such file or directory",
            "three": "the command exited with 3: oh no",
            "killed": "the command was killed by SIGKILL",
            "minus": "wait: parameters.seconds must be a finite number of at least 0, not -1",
            "colour": "wait: parameters.colour is unknown: it takes seconds",
            "times": "fail: parameters.times must be a whole number of at least 0, not 'two'",
            "text": f"fail: parameters.message must be a text, not ['{'x' * 48}...",
        }

    async def test_cancelled_commands_leave_no_process(self, office: Office) -> None:
        """A cancel ends a command and all that it has started; of a long output the beginning is kept."""
        pipe = office.path.parent / "pipe"
        os.mkfifo(pipe)
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        said = asyncio.Event()
        asyncio.get_running_loop().add_reader(reading, said.set)
        stuck = step("stuck", action="shell", parameters={"command": f"(exec >{pipe}; echo here; sleep 60) & wait"})
        long = step("long", action="shell", parameters={"command": "yes | head -c 1100000"})
        async with office.engine() as engine:
            execution = await engine.start_workflow(workflow(stuck))
            await said.wait()
            asyncio.get_running_loop().remove_reader(reading)
            assert os.read(reading, 100) == b"here\n"
            with pytest.raises(BlockingIOError):
                os.read(reading, 100)
            assert await engine.cancel_execution(execution)
            assert statuses(await engine.wait(execution)) == {"stuck": "CANCELLED"}
            assert os.read(reading, 100) == b"", "nobody is left who could say more"
            os.close(reading)
            told = outputs(await engine.wait(await engine.start_workflow(workflow(long))))["long"]
        assert (len(told["stdout"]), told["cut"]) == (1 << 20, {"stdout": 1100000})

    # Definitions and conditions

    async def test_broken_definitions_name_every_place(self, office: Office) -> None:
        """A definition that is refused names each of its faults, whatever its shape, and leaves no execution."""
        async with office.engine() as engine:
            for definition, expected in BROKEN:
                with pytest.raises(DefinitionError) as refused:
                    await engine.start_workflow(definition)
                assert {(fault.place, fault.problem.partition(":")[0]) for fault in refused.value.faults} == expected
            assert await engine.recover() == []
        assert office.gates.calls == []

    async def test_conditions_that_cannot_be_evaluated(self, office: Office) -> None:
        """A condition is true, false or an error that says why; it is never silently false."""
        given = {"n": 3, "rows": [1, 2], "map": {"k": 1}, "text": "${input.n}"}
        doubtful = {
            "input.absent > 1": "there is no key 'absent'",
            "${input.rows.9} == 1": "input.rows.9 is missing",
            "input.n": "it is neither true nor false, but of type int",
            "input.map.all(k, k == 'k')": "Unsupported operation: map + list",
            "input.n > 'text'": "",
        }
        true = [
            "input.rows.exists(row, row == input.n - 1) && size(input.rows.filter(r, r > 1)) == 1",
            "'${input.n}' == input.text && \"it's\" != r'\\d' // as it stands",
            "input.rows[0] == 1 && [input.rows][0].all(r, [r].exists(r, r > 0))",
            "${input.rows.1} == 2 || ${input.absent} == 2",
            "type(input.n) == int && input.n in [3]",
        ]
        steps = [step(f"d{rank}", condition=text, continue_on_error=True) for rank, text in enumerate(doubtful)]
        steps += [step(f"t{rank}", condition=text) for rank, text in enumerate(true)]
        async with office.engine() as engine:
            found = await engine.wait(await engine.start_workflow(workflow(*steps), given))
        for rank, (text, reason) in enumerate(doubtful.items()):
            error = found["steps"][f"d{rank}"]["error"]
            assert (error["type"], error["attempt"]) == ("ConditionError", 0)
            assert error["message"].startswith(
                f"the condition of step 'd{rank}' cannot be evaluated: {text!r}: {reason}"
            )
        assert {statuses(found)[f"t{rank}"] for rank in range(len(true))} == {"COMPLETED"}
        assert found["status"] == "PARTIAL"

    async def test_actions_that_misbehave_fail_their_step(self, office: Office) -> None:
        """What is no coroutine, raises when it is called, cancels itself or has no message is its step's failure."""

        class Mute(Exception):  # noqa: N818  # it is named for what it does
            def __str__(self) -> str:
                raise RuntimeError

        def plain(parameters: dict[str, Json], context: ActionContext) -> Any:
            return 1

        def raising(parameters: dict[str, Json], context: ActionContext) -> Any:
            raise KeyError(context.step)

        def yielding(parameters: dict[str, Json], context: ActionContext) -> Any:
            raise asyncio.CancelledError

        async def leaving(parameters: dict[str, Json], context: ActionContext) -> Json:
            raise asyncio.CancelledError

        async def mute(parameters: dict[str, Json], context: ActionContext) -> Json:
            raise Mute

        actions: dict[str, Any] = {
            "plain": plain,
            "raising": raising,
            "yielding": yielding,
            "leaving": leaving,
            "mute": mute,
        }
        steps = [step(name, action=name, continue_on_error=True) for name in actions]
        async with office.engine(slots=1, **actions) as engine:
            found = await engine.wait(await engine.start_workflow(workflow(*steps, step("last"))))
        errors = {
            name: (entry["error"]["type"], entry["error"]["message"])
            for name, entry in found["steps"].items()
            if "error" in entry
        }
        assert errors == {
            "plain": ("TypeError", "a coroutine was expected, got 1"),
            "raising": ("KeyError", "'raising'"),
            "yielding": ("CancelledError", "the action cancelled itself"),
            "leaving": ("CancelledError", "the action cancelled itself"),
            "mute": ("Mute", "it has no message that can be read"),
        }
        assert (found["status"], statuses(found)["last"]) == ("PARTIAL", "COMPLETED")

    async def test_rollback_goes_on_in_the_next_engine(self, office: Office) -> None:
        """An engine that goes during a rollback leaves it where it stood; the one after it undoes the rest."""
        gates = office.gates
        undoing: dict[str, Json] = {"compensation": {"action": "gate", "parameters": {"undo": "${input.id}"}}}
        definition = workflow(step("a", **undoing), step("b", "a", **undoing), step("c", "b", action="fail"))
        async with office.engine() as engine:
            execution = await engine.start_workflow(definition, {"id": 7})
            await gates.reached("b")
            assert (await engine.get_execution(execution))["status"] == "ROLLING_BACK"
            assert await engine.cancel_execution(execution) is False
        async with office.engine() as engine:
            assert await engine.recover() == [execution]
            await gates.reached("b")
            gates.open("b")
            await gates.reached("a")
        async with office.engine() as engine:
            assert await engine.recover() == [execution]
            await gates.reached("a")
            gates.open("a")
            found = await engine.wait(execution)
        assert (found["status"], found["error"]["step"]) == ("FAILED", "c")
        assert statuses(found) == {"a": "COMPENSATED", "b": "COMPENSATED", "c": "FAILED"}
        keys = [f"x1/{name}/compensation/1" for name in "bbaa"]
        assert gates.calls == [(key, {"undo": 7}) for key in keys]
        assert (await office.told())[6:] == [
            "StepStarted c 1",
            "StepFailed c 1",
            "RollbackStarted",
            *(f"Compensation{what} b 1" for what in ("Started", "Completed")),
            *(f"Compensation{what} a 1" for what in ("Started", "Completed")),
            "ExecutionEnded FAILED",
        ]

    # The file

    async def test_busy_file_means_that_nothing_happened(self, office: Office) -> None:
        """While somebody else holds the file a command raises and changes nothing; afterwards all goes on."""
        gates = office.gates
        async with office.engine(busy_timeout=0.05) as engine:
            execution = await engine.start_workflow(workflow(step("a", action="gate"), step("b", "a")))
            await gates.reached("a")
            with closing(sqlite3.connect(office.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(JournalError, match=r"database is locked \(SQLITE_BUSY"):
                    await engine.pause_execution(execution)
                with pytest.raises(JournalError, match="SQLITE_BUSY"):
                    await engine.start_workflow(workflow(step("c")))
            assert (await engine.get_execution(execution))["status"] == "RUNNING"
            with pytest.raises(JournalError, match="SQLITE_BUSY"):
                await engine.wait(execution)
            with pytest.raises(UnknownExecutionError):
                await engine.get_execution("x2")
            assert await engine.recover() == [execution]
            await gates.reached("a")
            gates.open("a")
            assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert await office.told() == [*BEGUN, *ran("a", "b"), "ExecutionEnded COMPLETED"]
        assert [key for key, _ in gates.calls] == ["x1/a/1"] * 2

    async def test_strange_files_are_refused(self, office: Office) -> None:
        """A file that is no journal of ours, or is damaged, is refused with the reason and left as it is."""
        path = office.path
        for content, reason in ((b"hello " * 40, "not an SQLite database"), (b"short", "not an SQLite database")):
            path.write_bytes(content)
            with pytest.raises(JournalError, match=reason):
                await SqliteJournal.open(path)
            assert path.read_bytes() == content
        for statements, reason in (
            ("CREATE TABLE t (a)", "but not a journal"),
            ("PRAGMA application_id = 7; CREATE TABLE t (a)", "but not a journal"),
            (f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 9", "versions up to 2"),
        ):
            path.unlink()
            with closing(sqlite3.connect(path)) as other:
                other.executescript(statements)
            content = path.read_bytes()
            with pytest.raises(JournalError, match=reason):
                await SqliteJournal.open(path)
            assert path.read_bytes() == content
        with pytest.raises(JournalError, match=r"unable to open|directory"):
            await SqliteJournal.open(path.parent)
        path.write_bytes(b"")
        async with office.engine() as engine:
            await engine.wait(await engine.start_workflow(workflow(step("a"))))
        with closing(sqlite3.connect(path)) as other, other:
            other.execute('UPDATE events SET event = \'{"type": "Nothing"}\' WHERE seq = 3')
        with pytest.raises(JournalError, match="execution x1, event 3: not an event of a journal"):
            await office.events()
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("DELETE FROM events WHERE seq = 3")
        with pytest.raises(JournalError, match="execution x1: event 3 is missing"):
            await office.events()

    async def test_journal_keeps_its_order(self, office: Office) -> None:
        """Numbers have no gap, nothing follows an end, and what is refused leaves nothing."""
        async with office.engine() as engine:
            await engine.wait(await engine.start_workflow(workflow(step("a"))))
            journal = engine._manager.journal
            created = (await journal.read("x1"))[0]
            await journal.append("y", 1, ())
            good = journal.append("y", 1, (created,))
            gap = journal.append("z", 2, (ExecutionStarted(0.0),))
            twice = journal.append("y", 1, (created,))
            over = journal.append("x1", 6, (ExecutionStarted(0.0),))
            odd = journal.append("y", 2, (ExecutionStarted(float("inf")),))
            outcomes = await asyncio.gather(good, gap, twice, over, odd, return_exceptions=True)
            assert outcomes[0] is None
            reasons = [str(outcome).partition(f"{office.path}: ")[2] for outcome in outcomes[1:]]
            assert reasons[:3] == [
                "execution z: event 2 does not follow event 0",
                "execution y: event 1 does not follow event 1",
                "execution x1: event 6 comes after its end, event 5",
            ]
            assert reasons[3].startswith("execution y: Out of range float values")
            assert (await journal.read("y"), await journal.unfinished()) == ([created], ["y"])
        with pytest.raises(JournalError, match="it was closed"):
            await journal.read("y")


DEEP: Final[Json] = json.loads("[" * 150 + "]" * 150)

NO_ID: Final = "must be a text that is not empty"
ECHO: Final[dict[str, Json]] = {"action": "echo"}
BROKEN: Final[list[tuple[Json, set[tuple[str, str]]]]] = [
    ([1], {("", "must be an object, not a list")}),
    ({"id": "w"}, {("", "has neither steps nor nodes")}),
    (
        {"steps": [{"id": "a", **ECHO}], "nodes": []},
        {("nodes", "a definition has steps or nodes, not both"), ("id", "is missing")},
    ),
    (workflow(), {("steps", "is empty")}),
    ({"id": 3, "steps": 3}, {("steps", "must be a list"), ("id", NO_ID)}),
    (
        workflow({"id": "a", **ECHO, "parameters": {"p": {1}}, "timeout": float("inf")}, {"id": "b", **ECHO, 5: 1}),
        {
            ("steps[0].parameters.p", "is a set, which JSON does not have"),
            ("steps[0].timeout", "is inf, which JSON does not have"),
            ("steps[1]", "has the key 5, which is no text"),
        },
    ),
    (
        workflow(
            ECHO,
            {"id": 3, **ECHO},
            {"id": "input", **ECHO},
            {"id": "a.b", **ECHO},
            {"id": "a", **ECHO},
            {"id": "a", **ECHO},
            7,
            {"id": "d", **ECHO, "depends_on": "a"},
            step("e", "a", "a", None, 3, "nobody", "e", {"source": "a", "condition": 1}, {"source": "d", "colour": 1}),
        ),
        {
            ("steps[0].id", "is missing"),
            ("steps[1].id", NO_ID),
            ("steps[2].id", "must not be 'input'"),
            ("steps[3].id", "'a.b' holds a dot, brace, '$', space or control character"),
            ("steps[5].id", "'a' is the id of steps[4] already"),
            ("steps[6]", "must be an object"),
            ("steps[7].depends_on", "must be a list of step ids"),
            ("steps[8].depends_on[1]", "is there twice"),
            ("steps[8].depends_on[2]", "is missing"),
            ("steps[8].depends_on[3]", "must be a step's id"),
            ("steps[8].depends_on[4]", "unknown step 'nobody'"),
            ("steps[8].depends_on[5]", "step 'e' depends on itself"),
            ("steps[8].depends_on[6].condition", "must be a text"),
            ("steps[8].depends_on[7].colour", "unknown key"),
        },
    ),
    (
        {
            "id": "w",
            "nodes": [{"id": "a", "config": 3}, {"id": "b", "title": 4, "config": {**ECHO, "colour": 1}}],
            "connections": [{"source": "a"}, {"source": "a", "target": "b", "colour": 1}],
        },
        {
            ("nodes[0].config", "must be an object with the step's action"),
            ("nodes[1].config.colour", "unknown key"),
            ("nodes[1].title", "must be a text"),
            ("connections[0].target", "is missing"),
            ("connections[1].colour", "unknown key"),
        },
    ),
    (
        {
            "name": "",
            "schemaVersion": "1.4",
            "workflow": {
                "specification": {"tasks": [{"id": "a", "children": ["b", "x"]}, {"id": "b", "parents": 3}]},
                "execution": {"tasks": [{"id": "a", "runtimeInSeconds": -1}]},
            },
        },
        {
            ("name", NO_ID),
            ("schemaVersion", "must be '1.5', not '1.4'"),
            *(
                (
                    f"workflow.specification.tasks[{n}]",
                    "has no runtimeInSeconds of at least 0 in workflow.execution.tasks",
                )
                for n in (0, 1)
            ),
            ("workflow.specification.tasks[1].parents", "must be a list of task ids"),
            ("workflow.specification.tasks[0].children[1]", "unknown task 'x'"),
        },
    ),
    (
        {"name": "w", "workflow": {"specification": {"tasks": []}, "execution": 3}},
        {
            ("workflow.specification.tasks", "is empty"),
            ("workflow.execution.tasks", "must be a list of objects"),
        },
    ),
    (
        workflow(
            step("a", input_schema={"$schema": "http://nowhere"}),
            step("b", input_schema={"$ref": "other.json"}),
            step("c", output_schema={"properties": {"p": {"$ref": "#/nowhere"}}}),
            step("d", output_schema={"pattern": "("}),
        ),
        {
            ("steps[0].input_schema.$schema", "names a dialect that is not known"),
            ("steps[1].input_schema", "$ref 'other.json' leads out of the schema"),
            ("steps[2].output_schema", "$ref '#/nowhere' leads out of the schema"),
            ("steps[3].output_schema.pattern", "'(' is not a 'regex'"),
        },
    ),
    (
        workflow(
            step("a", condition="f(1)"),
            step("b", condition="${a..b} == 1"),
            step("c", {"source": "a", "condition": "x" * 5000}),
            step("d", "c", condition="a."),
        ),
        {
            ("steps[0].condition", "malformed condition 'f(1)'"),
            ("steps[1].condition", "malformed reference '${a..b}'"),
            ("steps[2].depends_on[0].condition", f"malformed condition '{'x' * 50}...'"),
            ("steps[3].condition", "malformed condition 'a.'"),
        },
    ),
]
"""What is refused, and all that is wrong with it."""
