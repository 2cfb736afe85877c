"""The command journal: a journal is listed, printed and judged after the fact, and never changed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from engine.actions import ACTIONS
from engine.sqlite_journal import Kept, SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.cli import main
from machines.hindsight import judged
from machines.lifecycle import LifecycleMachine, WorldMachine
from machines.loop import SimulatedLoop
from machines.recovery import RecoveryMachine
from machines.targets.builtin import BuiltinTarget
from machines.targets.sqlite import SqliteTarget
from model.history import Recorded

Json: TypeAlias = Any
Events: TypeAlias = list[dict[str, Json]]

DATA = Path(__file__).parent / "data"
EPOCH: Final = 1_785_000_000.0
UNDO: Final = {"action": "echo"}


def call(*arguments: str) -> int:
    """Carry out a command line in this process."""
    with pytest.raises(SystemExit) as end:
        main(("journal", *arguments))
    assert isinstance(end.value.code, int)
    return end.value.code


def simple(name: str, *steps: dict[str, Json], **policies: Json) -> dict[str, Json]:
    return {"id": name, "steps": list(steps), **policies}


def step(name: str, *after: str, action: str = "echo", **policies: Json) -> dict[str, Json]:
    return {"id": name, "action": action, "depends_on": list(after), **policies}


WORKFLOWS: Final = {
    "completed": simple(
        "completed",
        step("a", parameters={"n": 1}),
        step("b", "a", parameters={"x": "${a.n}"}),
        step("c", "a", condition="a.n > 5"),
        step("d", "b", "c", join="any"),
    ),
    "retried": simple(
        "retried",
        step("a", action="fail", parameters={"times": 2}, retries={"max_attempts": 3, "initial_interval": 0.5}),
        step("b", "a"),
    ),
    "partial": simple(
        "partial",
        step("a", action="wait", parameters={"seconds": 9}, timeout=1, continue_on_error=True),
        step("b", "a"),
    ),
    "failed": simple(
        "failed",
        step("a", parameters={"n": 1}, compensation={**UNDO, "parameters": {"what": "${a.n}"}}),
        step("b", "a", compensation=UNDO),
        step("c", "b", action="fail"),
    ),
    "cancelled": simple(
        "cancelled",
        step("a", compensation=UNDO),
        step("b", "a", action="wait", parameters={"seconds": 9}),
        rollback_on_cancel=True,
    ),
    "paused": simple("paused", step("a"), step("b", "a", parameters={"x": "${input.x}"}), step("c", "b")),
    "recovered": simple(
        "recovered", step("a", action="wait", parameters={"seconds": 5}, timeout=6), step("b", "a"), timeout=1000
    ),
    "waiting": simple("waiting", step("a", parameters={"x": "${input.x}"})),
    "running": simple("running", step("a", action="wait", parameters={"seconds": 900}, timeout=950)),
    "limited": simple(
        "limited",
        *(step(name, action="wait", parameters={"seconds": 1}, retries={"max_attempts": 2}) for name in "abc"),
        max_concurrent_steps=2,
    ),
    "deadline": simple("deadline", step("a", action="wait", parameters={"seconds": 9}), timeout=1.5),
}
"""An execution of each, by the same name. The engine is killed at 2 seconds, and the next one begins at 100."""


async def lived(path: Path) -> None:
    """Two lives of an engine."""
    loop = asyncio.get_running_loop()

    async def engine() -> WorkflowEngine:
        names = iter(WORKFLOWS)
        manager = ExecutionStateManager(await SqliteJournal.open(path, synchronous="NORMAL"))
        return WorkflowEngine(
            manager,
            ACTIONS,
            max_concurrent_steps=100,
            clock=lambda: EPOCH + loop.time(),
            new_id=lambda: next(names),
        )

    async with await engine() as first:
        for workflow in WORKFLOWS.values():
            await first.start_workflow(workflow, {"y": 1})
        await asyncio.sleep(0.5)
        assert await first.pause_execution("retried")
        assert await first.resume_execution("retried")
        assert await first.cancel_execution("cancelled")
        assert await first.resume_execution("paused", {"x": 1})
        await asyncio.sleep(1.5)
    await asyncio.sleep(98)
    async with await engine() as second:
        await second.recover()
        await second.wait("recovered")


def simulated(make: Callable[[], Any]) -> None:
    loop = SimulatedLoop()
    try:
        loop.run(make())
    finally:
        loop.close()
    assert loop.errors == []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journals") / "original.db"
    simulated(lambda: lived(path))
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of a journal with executions of all kinds."""
    return Path(shutil.copy(original, tmp_path / "journal.db"))


# Whoever meddles with a journal


@contextmanager
def meddling(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def events_of(path: Path, execution: str) -> Events:
    with meddling(path) as connection:
        rows = connection.execute("SELECT event FROM events WHERE execution = ? ORDER BY seq", (execution,)).fetchall()
    return [json.loads(text) for (text,) in rows]


def rewrite(path: Path, execution: str, events: Events) -> None:
    """Have the journal hold these events of an execution, as if they had been appended."""
    ended = any(event["type"] == "ExecutionEnded" for event in events)
    with meddling(path) as connection:
        connection.execute("DELETE FROM events WHERE execution = ?", (execution,))
        rows = [(execution, seq, json.dumps(event)) for seq, event in enumerate(events, 1)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
        connection.execute(
            "UPDATE executions SET last = ?, ended = ? WHERE execution = ?", (len(events), ended, execution)
        )


def at(events: Events, kind: str, name: str | None = None, n: int | None = None) -> int:
    """Where an event is: the first of a type, of a step, of an attempt."""
    return next(
        position
        for position, event in enumerate(events)
        if event["type"] == kind and name in {None, event.get("step")} and n in {None, event.get("attempt")}
    )


# What is shown


def test_executions_are_listed(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(str(path), "--json", str(tmp_path / "out.json")) == 0
    told, errors = capsys.readouterr()
    assert errors == ""
    head, first = (" ".join(line.split()) for line in told.splitlines()[:2])
    assert head == "execution workflow status events steps done started ended"
    assert first == "completed completed COMPLETED 10 4/4 2026-07-25 17:20:00Z 2026-07-25 17:20:00Z"
    lines = [line.split() for line in told.splitlines()]
    assert {line[0]: line[2] for line in lines[1:-1]} == {
        "completed": "COMPLETED",
        "retried": "COMPLETED",
        "partial": "PARTIAL",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
        "paused": "COMPLETED",
        "recovered": "COMPLETED",
        "waiting": "PAUSED",
        "running": "RUNNING",
        "limited": "COMPLETED",
        "deadline": "FAILED",
    }
    assert lines[-1] == ["11", "executions"]
    found = {row["execution"]: row for row in json.loads((tmp_path / "out.json").read_text())["executions"]}
    assert list(found) == list(WORKFLOWS), "oldest first"
    assert found["recovered"] == {
        "execution": "recovered",
        "workflow": "recovered",
        "status": "COMPLETED",
        "events": 7,
        "steps_done": 2,
        "steps": 2,
        "started": EPOCH,
        "ended": EPOCH + 105,
    }
    assert (found["running"]["ended"], found["running"]["steps_done"], found["deadline"]["steps_done"]) == (None, 0, 1)


def test_one_execution_is_printed_event_by_event(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(str(path), "failed", "--json", str(tmp_path / "out.json")) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == ' 1       0.000  ExecutionCreated, workflow failed of 3 steps, input {"y": 1}'
    assert told[3] == ' 4       0.000  StepCompleted a attempt 1, output {"n": 1}'
    assert told[7] == " 8       0.000  StepFailed c attempt 1, ActionError: this step is there to fail"
    assert [line.split()[0] for line in told] == [str(number) for number in range(1, len(told) + 1)]
    assert told[-1].split()[2:] == ["ExecutionEnded,", "FAILED"]
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert outcome["execution"] == "failed"
    assert [row["event"] for row in outcome["events"]] == events_of(path, "failed")
    assert call(str(path), "retried") == 0
    assert "  StepRetrying a attempt 1, ActionError: this step is there to fail, until 0.5" in capsys.readouterr().out
    assert call(str(path), "paused") == 0
    told = capsys.readouterr().out.splitlines()
    assert any(line.endswith('ExecutionPaused, missing {"b": ["input.x"]}') for line in told)
    assert any(line.endswith('ExecutionResumed, inputs {"x": 1}') for line in told)
    assert call(str(path), "cancelled") == 0
    assert "  RollbackStarted\n" in capsys.readouterr().out


def test_whatever_a_text_holds_it_stays_on_its_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = events_of(path, "completed")
    events[at(events, "StepCompleted", "b")]["output"] = {"text": "two\nlines \x1b[31m" + "x" * 500}
    rewrite(path, "completed", events)
    assert call(str(path), "completed") == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert len(told.splitlines()) == len(events)
    assert max(map(len, told.splitlines())) < 250


# What is right


def test_a_journal_of_executions_of_all_kinds_is_right(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(str(path), "--check", "--json", str(tmp_path / "out.json")) == 0
    events = sum(len(events_of(path, name)) for name in WORKFLOWS)
    assert capsys.readouterr().out == f"11 executions, {events} events: the contract holds\n"
    assert json.loads((tmp_path / "out.json").read_text()) == {"executions": 11, "violation": None}
    assert call(str(path), "failed", "--check") == 0
    assert capsys.readouterr().out == "1 execution, 14 events: the contract holds\n"


def test_what_a_crash_does_to_times_is_no_fault(path: Path) -> None:
    recovered = events_of(path, "recovered")
    started, ended = recovered[at(recovered, "StepStarted", "a")], recovered[at(recovered, "StepCompleted", "a")]
    assert ended["at"] - started["at"] == 105, "it outlived its timeout of 6 seconds, since it was begun again"
    assert started["attempt"] == ended["attempt"] == 1
    partial = events_of(path, "partial")
    for event in partial[at(partial, "StepFailed", "a") :]:
        event["at"] += 500
    rewrite(path, "partial", partial)
    assert call(str(path), "--check") == 0, "an attempt that had timed out is recorded as failed when somebody is back"


def test_after_a_crash_what_waits_starts_in_the_order_of_definition(path: Path) -> None:
    """C3: b was ready before a. If nobody crashed b starts first, and after a crash a does."""
    steps = [step("x"), step("y"), step("a", "y"), step("b", "x"), step("c", "x")]
    for order, fault in (("bca", None), ("bac", None), ("abc", None), ("cba", "C3"), ("acb", "C3")):
        events: Events = [
            {"type": "ExecutionCreated", "workflow": simple("w", *steps), "input": {}},
            {"type": "ExecutionStarted"},
            *({"type": "StepStarted", "step": name, "attempt": 1} for name in "xy"),
            *({"type": "StepCompleted", "step": name, "attempt": 1, "output": None} for name in "xy"),
            *({"type": "StepStarted", "step": name, "attempt": 1} for name in order),
        ]
        rewrite(path, "running", [{**event, "at": float(number)} for number, event in enumerate(events)])
        assert call(str(path), "running", "--check") == (1 if fault else 0), order


def test_a_workflow_of_wfformat_is_judged_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def program() -> None:
        manager = ExecutionStateManager(await SqliteJournal.open(tmp_path / "j", synchronous="NORMAL"))
        async with WorkflowEngine(
            manager, ACTIONS, clock=asyncio.get_running_loop().time, new_id=lambda: "e"
        ) as engine:
            await engine.wait(await engine.start_workflow(json.loads((DATA / "wfformat-diamond.json").read_text())))

    simulated(program)
    assert call(str(tmp_path / "j")) == 0
    assert "e          diamond   COMPLETED      11         4/4  0.000 s  6.750 s" in capsys.readouterr().out
    assert call(str(tmp_path / "j"), "--check") == 0


def search(base: type[WorldMachine], on_case: Callable[[Any], None], cases: int, **attributes: Json) -> None:
    """Have Hypothesis carry out so many cases."""
    machine: Any = type("Watched", (base,), {"on_case": staticmethod(on_case), **attributes})
    test = get_state_machine_test(
        machine,
        settings=settings(
            settings.get_profile("lockstep"),
            max_examples=cases,
            stateful_step_count=30,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    seed(4)(test)()


@pytest.mark.unmeasured
@pytest.mark.parametrize(("base", "cases"), [(LifecycleMachine, 90), (RecoveryMachine, 150)])
def test_no_journal_of_the_engine_is_rejected(base: type[WorldMachine], cases: int) -> None:
    judgements: Counter[str] = Counter()

    def over(machine: Any) -> None:
        recorded: dict[str, Events] = {}
        for entry in machine.world.history:
            if isinstance(entry, Recorded):
                recorded.setdefault(entry.execution, []).append(dict(entry.event))
        for execution, events in recorded.items():
            writes = [place for place in range(1, len(events)) if events[place]["at"] != events[place - 1]["at"]]
            for end in (*writes, len(events)):
                finding = judged(execution, kept(events[:end]))
                assert finding is None, (finding, events[:end])
            judgements["unfinished"] += len(writes)
            judgements[events[-1].get("status", "unfinished")] += 1

    search(base, over, cases)
    whole = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")
    assert all(judgements[status] for status in whole), judgements
    assert sum(judgements[status] for status in whole) >= 300
    assert judgements["unfinished"] >= 900


def kept(events: Events) -> Kept:
    """What a journal keeps of an execution with these events."""
    ended = bool(events) and events[-1]["type"] == "ExecutionEnded"
    return Kept(len(events), ended, [(seq, json.dumps(event)) for seq, event in enumerate(events, 1)])


def test_no_file_of_the_engine_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = count(1)

    class Keeping(SqliteTarget):
        async def close(self) -> None:
            await BuiltinTarget.close(self)
            shutil.copy(self.path, tmp_path / f"{next(numbers)}.db")
            self._remove()

    search(LifecycleMachine, lambda _: None, 15, factory=staticmethod(Keeping))
    files = list(tmp_path.iterdir())
    assert len(files) >= 15
    for file in files:
        assert call(str(file), "--check") == 0, capsys.readouterr().out


# What is wrong


def gone(events: Events, kind: str, name: str | None = None) -> Events:
    del events[at(events, kind, name)]
    return events


def swapped(events: Events, first: int) -> Events:
    events[first], events[first + 1] = events[first + 1], events[first]
    return events


def moved(events: Events, source: int, target: int) -> Events:
    events.insert(target, events.pop(source))
    return events


def changed(events: Events, position: int, **changes: Json) -> Events:
    events[position] |= changes
    return events


def added(events: Events, position: int, **event: Json) -> Events:
    """One more event, at the time of the one that it comes after."""
    events.insert(position, {"at": events[position - 1]["at"], **event})
    return events


def failure(name: str | None, n: int | None, kind: str = "ActionError") -> dict[str, Json]:
    return {"step": name, "attempt": n, "type": kind, "message": f"step {name} is there to fail"}


def second_completion(events: Events) -> Events:
    first = at(events, "StepCompleted", "a")
    return added(events, first + 1, **events[first])


def failed_and_completed(events: Events) -> Events:
    last = at(events, "ExecutionEnded")
    return changed(events, last, status="COMPLETED")


def rolled_back_in_order(events: Events) -> Events:
    """What completed first is undone first."""
    names = {"a": "b", "b": "a"}
    for event in events[at(events, "RollbackStarted") :]:
        if event["type"].startswith("Compensation"):
            event["step"] = names[event["step"]]
    return events


def with_schema(events: Events) -> Events:
    events[0]["workflow"]["steps"][0]["output_schema"] = {"properties": {"n": {"type": "string"}}}
    return events


def torn(events: Events) -> Events:
    """The step has failed, and nothing follows."""
    return events[: at(events, "StepFailed", "c") + 1]


def unsatisfied(events: Events) -> Events:
    events[0]["workflow"]["steps"][3]["join"] = "all"
    return events


def misspelled(events: Events) -> Events:
    events[0]["workflow"]["steps"][1]["depends_on"] = ["z"]
    return events


def started_in_the_pause(events: Events) -> Events:
    position = at(events, "ExecutionPaused")
    return moved(events, at(events, "StepStarted", "b"), position + 1)


def too_soon(events: Events) -> Events:
    """The timeout strikes before its time."""
    for event in events[at(events, "StepTimedOut", "a") :]:
        event["at"] -= 0.5
    return events


def the_deadline_too_soon(events: Events) -> Events:
    for event in events[at(events, "RollbackStarted") :]:
        event["at"] -= 0.5
    return events


def completed_after_all(events: Events) -> Events:
    position = at(events, "StepFailed", "a")
    event = {"type": "StepCompleted", "at": events[position]["at"], "step": "a", "attempt": 1, "output": None}
    events[position] = event
    return events


def one_attempt_more(events: Events) -> Events:
    events[0]["workflow"]["steps"][0]["retries"]["max_attempts"] = 2
    return events


def one_attempt_less(events: Events) -> Events:
    events[0]["workflow"]["steps"][2]["retries"] = {"max_attempts": 2}
    return events


def tried_again_too_soon(events: Events) -> Events:
    for event in events[at(events, "StepStarted", "a", 2) :]:
        event["at"] -= 0.1
    return events


def not_undone(events: Events) -> Events:
    first = at(events, "CompensationStarted", "a")
    return [*events[:first], *events[first + 2 :]]


def started_after_the_cancel(events: Events) -> Events:
    position = at(events, "CancellationRequested")
    events = moved(events, at(events, "StepStarted", "b"), position)
    return changed(events, position, at=events[position - 1]["at"])


def without_the_input(events: Events) -> Events:
    return [event for event in events if event["type"] not in {"ExecutionPaused", "ExecutionResumed"}]


def all_at_once(events: Events) -> Events:
    return moved(events, at(events, "StepStarted", "c"), at(events, "StepStarted", "b") + 1)


def unresolved(events: Events) -> Events:
    position = at(events, "StepStarted", "b")
    error = failure("b", 0, "UnresolvedReferenceError")
    return added(events, position, type="StepFailed", step="b", attempt=0, error=error)


DAMAGES: Final[dict[str, tuple[str, Callable[[Events], Events], str, int]]] = {
    "a swapped pair": ("completed", lambda events: swapped(events, 3), "O1 (connections_decided)", 4),
    "a step before its source": (
        "completed",
        lambda events: moved(events, at(events, "StepStarted", "b"), 2),
        "O1 (connections_decided)",
        3,
    ),
    "a second completion": ("completed", second_completion, "F1 (attempt_under_way)", 5),
    "a second start": (
        "running",
        lambda events: added(events, len(events), type="StepStarted", step="a", attempt=2),
        "F1 (started_again)",
        4,
    ),
    "an attempt skipped": (
        "retried",
        lambda events: changed(events, at(events, "StepStarted", "a", 2), attempt=3),
        "F1 (started_again)",
        5,
    ),
    "a join that is not satisfied": ("completed", unsatisfied, "O2 (started_once_joined)", 8),
    "a lost skip": ("completed", lambda events: gone(events, "StepSkipped"), "O1 (connections_decided)", 7),
    "a skip for no reason": (
        "completed",
        lambda events: changed(events, at(events, "StepCompleted", "a"), output={"n": 9}),
        "O2 (skipped_for_a_reason)",
        5,
    ),
    "an output that its schema refuses": ("completed", with_schema, "V4 (output_holds)", 4),
    "a reference that leads somewhere": ("completed", unresolved, "V3 (unresolved_reference_fails)", 6),
    "a step that the workflow has not": (
        "completed",
        lambda events: changed(events, at(events, "StepStarted", "d"), step="z"),
        "J1 (well_formed)",
        8,
    ),
    "a workflow that no engine takes": ("completed", misspelled, "D3 (nothing_broken_is_created)", 1),
    "a wrong final status": (
        "completed",
        lambda events: changed(events, len(events) - 1, status="PARTIAL"),
        "O4 (ended_as_it_came_out)",
        10,
    ),
    "completed with a failed step": ("partial", failed_and_completed, "O4 (ended_as_it_came_out)", 8),
    "a failure that ends as a cancellation": (
        "failed",
        lambda events: changed(events, len(events) - 1, status="CANCELLED"),
        "F4 (stopped_as_it_began)",
        14,
    ),
    "an end before the end": (
        "completed",
        lambda events: moved(events, len(events) - 1, 8),
        "O4 (ended_as_it_came_out)",
        9,
    ),
    "an event after the end": (
        "completed",
        lambda events: added(events, len(events), type="ExecutionEnded", status="COMPLETED"),
        "K6 (final)",
        11,
    ),
    "no creation": ("completed", lambda events: events[1:], "J1 (well_formed)", 1),
    "two creations": ("completed", lambda events: [events[0], *events], "J1 (well_formed)", 2),
    "a failure without its rollback": (
        "failed",
        lambda events: gone(events, "RollbackStarted"),
        "F3 (failure_rolls_back)",
        9,
    ),
    "a failure at the torn end": ("failed", torn, "F3 (failure_is_not_lost)", 8),
    "an end that is lost": ("completed", lambda events: events[:-1], "O4 (ends_when_settled)", 9),
    "another step's error": (
        "failed",
        lambda events: changed(events, at(events, "StepFailed", "c"), error=failure("b", 1)),
        "F1 (failed_for_what_happened)",
        8,
    ),
    "a rollback for something else": (
        "failed",
        lambda events: changed(events, at(events, "RollbackStarted"), error=failure("c", 1)),
        "F8 (error_is_the_first_failure)",
        9,
    ),
    "a rollback out of order": ("failed", rolled_back_in_order, "F4 (newest_first)", 10),
    "a rollback that leaves something": ("failed", not_undone, "F4 (stopped_to_the_end)", 12),
    "a rollback for no reason": (
        "running",
        lambda events: added(events, len(events), type="RollbackStarted", error=failure("a", 1)),
        "F3 (rollback_for_a_reason)",
        4,
    ),
    "a deadline that strikes too soon": ("deadline", the_deadline_too_soon, "F3 (rollback_for_a_reason)", 4),
    "one attempt too many": ("retried", one_attempt_more, "F1 (no_attempt_too_many)", 7),
    "one attempt too few": ("failed", one_attempt_less, "F1 (no_attempt_too_few)", 8),
    "a wait that is too short": (
        "retried",
        lambda events: changed(events, at(events, "StepRetrying", "a"), until=EPOCH),
        "F1 (backoff_as_defined)",
        4,
    ),
    "a wait that is cut short": ("retried", tried_again_too_soon, "F1 (backoff_waited_for)", 5),
    "a timeout that strikes too soon": ("partial", too_soon, "F2 (timed_out_in_time)", 4),
    "a completion after the timeout": ("partial", completed_after_all, "F2 (never_after_its_timeout)", 5),
    "a start under a pause": ("paused", started_in_the_pause, "P1 (nothing_starts_under_a_pause)", 6),
    "a start without the input": ("paused", without_the_input, "P4 (missing_input_pauses)", 4),
    "a resume while it runs": (
        "running",
        lambda events: added(events, len(events), type="ExecutionResumed", inputs={}),
        "P2 (resume_accepted)",
        4,
    ),
    "a pause for an input that is there": (
        "running",
        lambda events: added(events, len(events), type="ExecutionPaused", missing={"a": ["input.y"]}),
        "P4 (missing_inputs_named)",
        4,
    ),
    "a start after the cancel": ("cancelled", started_after_the_cancel, "K2 (nothing_starts_after_a_cancel)", 6),
    "a second cancel": (
        "cancelled",
        lambda events: added(events, at(events, "CancellationRequested") + 1, type="CancellationRequested"),
        "K1 (cancel_accepted)",
        7,
    ),
    "more at once than the workflow allows": ("limited", all_at_once, "C1 (limits_kept)", 5),
    "a type that there is not": (
        "completed",
        lambda events: changed(events, 5, type="StepVanished"),
        "J1 (readable)",
        6,
    ),
    "a time that is a text": ("completed", lambda events: changed(events, 5, at="soon"), "J1 (readable)", 6),
    "an attempt that is true": ("completed", lambda events: changed(events, 5, attempt=True), "J1 (readable)", 6),
    "a step that is a list": ("completed", lambda events: changed(events, 5, step=["a"]), "J1 (readable)", 6),
    "an error that is none": (
        "failed",
        lambda events: changed(events, at(events, "StepFailed"), error={"type": "Boom"}),
        "J1 (readable)",
        8,
    ),
    "no error": ("failed", lambda events: changed(events, at(events, "StepFailed"), error=None), "J1 (readable)", 8),
    "a field too many": ("completed", lambda events: changed(events, 5, color="red"), "J1 (readable)", 6),
    "missing inputs without paths": (
        "waiting",
        lambda events: changed(events, at(events, "ExecutionPaused"), missing={"a": "input.x"}),
        "J1 (readable)",
        3,
    ),
}


@pytest.mark.parametrize(("execution", "damage", "clause", "number"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_journal_is_told_by_its_clause(
    execution: str,
    damage: Callable[[Events], Events],
    clause: str,
    number: int,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    rewrite(path, execution, damage(events_of(path, execution)))
    assert call(str(path), "--check", "--json", str(tmp_path / "out.json")) == 1
    told, errors = capsys.readouterr()
    assert errors == ""
    assert told.startswith(f"{clause}: execution {execution}, event {number}: "), told
    assert len(told.splitlines()) == 1
    violation = json.loads((tmp_path / "out.json").read_text())["violation"]
    assert (violation["execution"], violation["event"]) == (execution, number)
    assert f"{violation['clause']} ({violation['invariant']})" == clause
    assert told.endswith(f": {violation['sentence']}\n")
    assert call(str(path), execution, "--check") == 1
    assert call(str(path), "recovered", "--check") == 0, "the others are as they were"


UPDATE_EVENT: Final = "UPDATE events SET event = ? WHERE execution = 'completed' AND seq = 5"
TAMPERINGS: Final[dict[str, tuple[str, tuple[Json, ...], str]]] = {
    "a gap": (
        "DELETE FROM events WHERE execution = 'completed' AND seq = 5",
        (),
        "J1 (well_formed): execution completed, event 6: StepStarted of completed is numbered 6, expected 5",
    ),
    "a lost end": (
        "DELETE FROM events WHERE execution = 'running' AND seq = 3",
        (),
        "J1 (counted): execution running, event 2: it is the last one that is there, and the journal says that event 3",
    ),
    "events of nobody": (
        "DELETE FROM executions WHERE execution = 'waiting'",
        (),
        "J1 (counted): execution waiting, event 3: it is the last one that is there, and the journal says that event 0",
    ),
    "an execution without events": (
        "DELETE FROM events WHERE execution = 'waiting'",
        (),
        "J1 (counted): execution waiting, event 0: ",
    ),
    "an end that recoveries miss": (
        "UPDATE executions SET ended = 0 WHERE execution = 'partial'",
        (),
        "J3 (counted_as_ended): execution partial, event 8: recoveries take the execution for unfinished, and by its",
    ),
    "no end that recoveries believe in": (
        "UPDATE executions SET ended = 1 WHERE execution = 'running'",
        (),
        "J3 (counted_as_ended): execution running, event 3: recoveries take the execution for ended, and by its",
    ),
    "broken JSON": (UPDATE_EVENT, ('{"type": ',), "J1 (readable): execution completed, event 5: not JSON: Expecting"),
    "no object": (UPDATE_EVENT, ("[]",), "J1 (readable): execution completed, event 5: not an event: []"),
    "nothing": (UPDATE_EVENT, ("{}",), "J1 (readable): execution completed, event 5: there is no event of the type"),
    "bytes": (UPDATE_EVENT, (b"\xff",), "J1 (readable): execution completed, event 5: not JSON: 'utf-8' codec"),
    "an infinite time": (
        UPDATE_EVENT,
        ('{"type": "ExecutionStarted", "at": Infinity}',),
        "J1 (readable): execution completed, event 5: not JSON: Infinity is no number",
    ),
    "a time beyond all numbers": (
        UPDATE_EVENT,
        ('{"type": "ExecutionStarted", "at": 1e999}',),
        "J1 (readable): execution completed, event 5: ExecutionStarted: at must be a finite number, not inf",
    ),
    "deep nesting": (
        UPDATE_EVENT,
        ("[" * 100_000,),
        "J1 (readable): execution completed, event 5: not JSON that can be read: it is nested too deeply",
    ),
    "something missing": (
        UPDATE_EVENT,
        ('{"type": "StepSkipped"}',),
        "J1 (readable): execution completed, event 5: StepSkipped lacks at, step",
    ),
}


@pytest.mark.parametrize(("statement", "values", "sentence"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_file_that_somebody_meddled_with_is_told(
    statement: str, values: tuple[Json, ...], sentence: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with meddling(path) as connection:
        connection.execute(statement, values)
    assert call(str(path), "--check") == 1
    told, errors = capsys.readouterr()
    assert told.startswith(sentence), told
    assert (len(told.splitlines()), errors) == (1, "")


def test_what_is_damaged_is_shown_all_the_same(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with meddling(path) as connection:
        connection.execute(UPDATE_EVENT, ('{"type": "Step',))
        connection.execute("DELETE FROM events WHERE execution = 'completed' AND seq = 7")
    assert call(str(path), "completed", "--json", str(tmp_path / "out.json")) == 2
    told, errors = capsys.readouterr()
    lines = told.splitlines()
    assert lines[4].split(None, 2)[1:] == ["-", 'cannot be read: {"type": "Step']
    assert lines[6].split()[0] == "8"
    assert errors == f"lockstep journal: {path}: execution completed: event 7 is missing (and 1 more like that)\n"
    assert json.loads((tmp_path / "out.json").read_text())["events"][4] == {"seq": 5, "event": None}
    assert call(str(path)) == 2
    told, errors = capsys.readouterr()
    assert told.endswith("11 executions\n")
    assert errors.startswith(f"lockstep journal: {path}: execution completed: event 7 is missing")


def test_what_is_nested_too_deeply_for_the_model_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = events_of(path, "paused")
    deep: Json = {}
    for _ in range(900):
        deep = {"y": deep}
    events[0]["input"] = events[at(events, "ExecutionResumed")]["inputs"] = deep
    rewrite(path, "paused", events)
    assert call(str(path), "--check") == 1
    assert capsys.readouterr().out.endswith(": it is nested too deeply to be judged\n")


# Who else is there


def test_an_engine_may_own_the_journal(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.new_event_loop()
    try:
        owner = loop.run_until_complete(SqliteJournal.open(path))
        for arguments in ((), ("running",), ("--check",)):
            assert call(str(path), *arguments) == 0, capsys.readouterr().err
        loop.run_until_complete(owner.close())
    finally:
        loop.close()


@pytest.mark.parametrize("arguments", [(), ("failed",), ("--check",)])
def test_the_journal_is_left_as_it_is(path: Path, arguments: tuple[str, ...]) -> None:
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert call(str(path), *arguments) == 0
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


# Bad input


def newer(path: Path) -> None:
    with meddling(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def spoilt(path: Path) -> None:
    """Something has written over all pages but the first."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


def another(path: Path) -> None:
    path.unlink()
    with meddling(path) as connection:
        connection.execute("CREATE TABLE things (thing)")


BAD: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]]] = {
    "no file": (Path.unlink, (), "{path}: No such file"),
    "no database": (lambda path: path.write_text("{}" * 200), (), "{path}: it is not an SQLite database"),
    "another database": (another, (), "{path}: it is an SQLite database, but not a journal"),
    "a newer journal": (newer, (), "{path}: its schema version is 99"),
    "a damaged file": (spoilt, (), "{path}: .*malformed"),
    "an unknown execution": (Path.exists, ("nobody",), "{path}: there is no execution 'nobody'"),
    "an unknown execution to check": (Path.exists, ("nobody", "--check"), "{path}: there is no execution 'nobody'"),
    "an outcome nowhere": (Path.exists, ("--json", "no/out.json"), "--json no/out.json: there is no directory no"),
    "an outcome over the journal": (Path.exists, ("--json", "journal.db"), "--json journal.db: is a file of the"),
    "an unknown option": (Path.exists, ("--fast",), "No such option '--fast'"),
}


@pytest.mark.parametrize(("spoil", "arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(
    spoil: Callable[[Path], object],
    arguments: tuple[str, ...],
    message: str,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(path.parent)
    spoil(path)
    before = path.read_bytes() if path.exists() else None
    assert call("journal.db", *arguments) == 2
    told, errors = capsys.readouterr()
    assert told == ""
    expected = message.format(path="journal.db")
    assert re.match(rf"lockstep journal: .*{expected}", errors), errors
    assert errors.count("\n") == 1
    assert (path.read_bytes() if path.exists() else None) == before


def test_no_file_at_all_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert capsys.readouterr().err == "lockstep journal: Missing argument 'FILE'.\n"
