"""``lockstep run`` as its users meet it: exit status, the outcome, one line for every mistake."""

import asyncio
import json
import math
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from engine.actions import ACTIONS
from engine.errors import JournalError
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines import cli, running
from machines.loop import SimulatedLoop
from tests.command_line import COMMAND, ENVIRONMENT, begun, called, journaled, lockstep, outcome, shown, step, write

DATA = Path(__file__).parent / "data"
MICROSECOND = 1e-6


@pytest.fixture
def answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The same command in this process: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    return partial(called, capsys)


# The floors: virtual time


def tasks(path: Path) -> dict[str, float]:
    workflow = json.loads(path.read_text(encoding="utf-8"))["workflow"]
    return {task["id"]: task["runtimeInSeconds"] for task in workflow["execution"]["tasks"]}


def critical_path(path: Path) -> float:
    """The longest way through the file's tasks, by its own runtimes, worked out without the engine."""
    workflow = json.loads(path.read_text(encoding="utf-8"))["workflow"]
    seconds = tasks(path)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(seconds)
    for task in workflow["specification"]["tasks"]:
        graph.add_edges_from((parent, task["id"]) for parent in task["parents"])
        graph.add_edges_from((task["id"], child) for child in task["children"])
    longest: dict[str, float] = {}
    for task in nx.topological_sort(graph):
        before = max((longest[source] for source in graph.predecessors(task)), default=0.0)
        longest[task] = before + seconds[task]
    return max(longest.values())


def wfformat(path: Path, runtimes: list[float], parents: dict[int, list[int]]) -> Path:
    specification = [
        {"id": f"t{n}", "name": "t", "parents": [f"t{m}" for m in parents.get(n, [])], "children": []}
        for n in range(len(runtimes))
    ]
    execution = [{"id": f"t{n}", "runtimeInSeconds": seconds} for n, seconds in enumerate(runtimes)]
    for number, sources in parents.items():
        for source in sources:
            specification[source]["children"].append(f"t{number}")  # type: ignore[attr-defined]  # a list, not a text
    workflow = {"specification": {"tasks": specification}, "execution": {"tasks": execution}}
    path.write_text(json.dumps({"name": "made", "schemaVersion": "1.5", "workflow": workflow}), encoding="utf-8")
    return path


def large(path: Path, count: int) -> Path:
    """A workflow of many steps whose runtimes have microseconds, and differ by ten powers of ten."""
    chance = random.Random(count)
    runtimes = [round(10 ** chance.uniform(-6, 4), 6) for _ in range(count)]
    parents = {n: sorted(chance.sample(range(max(0, n - 40), n), min(n, 3))) for n in range(20, count)}
    return wfformat(path, runtimes, parents)


@pytest.fixture(params=["run_samples.json", "run_layers.json", "256 steps", "3000 steps"])
def real_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    count = str(request.param).partition(" steps")
    return large(tmp_path / "large.json", int(count[0])) if count[1] else DATA / str(request.param)


def test_with_slots_enough_the_makespan_is_the_critical_path(
    real_file: Path, tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, _ = answer("run", real_file, "--virtual-time", "--max-concurrent-steps", "100000", "--json", "out")
    found = outcome(tmp_path / "out")
    assert code == 0
    assert found["status"] == "COMPLETED"
    assert abs(found["makespan_seconds"] - critical_path(real_file)) < MICROSECOND


def test_with_one_slot_the_makespan_is_the_sum(
    real_file: Path, tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, _ = answer("run", real_file, "--virtual-time", "--max-concurrent-steps", "1", "--json", "out")
    found = outcome(tmp_path / "out")
    assert code == 0
    assert abs(found["makespan_seconds"] - math.fsum(tasks(real_file).values())) < MICROSECOND


def test_each_step_takes_its_runtime_and_waits_for_its_parents(
    tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    file = DATA / "run_samples.json"
    code, _, _ = answer("run", file, "--virtual-time", "--json", "out", "--max-concurrent-steps", "3")
    assert code == 0
    steps = outcome(tmp_path / "out")["steps"]
    seconds = tasks(file)
    assert set(steps) == set(seconds)
    for name, found in steps.items():
        assert found["status"] == "COMPLETED"
        assert found["attempts"] == 1
        assert found["output"] == {"seconds": seconds[name]}
        assert abs(found["ended_seconds"] - found["started_seconds"] - seconds[name]) < MICROSECOND
    for task in json.loads(file.read_text(encoding="utf-8"))["workflow"]["specification"]["tasks"]:
        for parent in task["parents"]:
            assert steps[task["id"]]["started_seconds"] >= steps[parent]["ended_seconds"]
    moments = sorted(found["started_seconds"] for found in steps.values())
    at_once = [
        sum(found["started_seconds"] <= moment < found["ended_seconds"] for found in steps.values())
        for moment in moments
    ]
    assert max(at_once) == 3


def test_hours_of_256_steps_take_less_than_two_seconds(tmp_path: Path) -> None:
    """Of processor time, so that a busy machine is no failure; that nothing sleeps, the hours themselves show."""
    file = large(tmp_path / "large.json", 256)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = lockstep("run", file, "--virtual-time", "--json", "out", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.returncode == 0, found.stderr
    assert outcome(tmp_path / "out")["makespan_seconds"] > 3600
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert len(found.stderr.splitlines()) <= 12, "256 steps are to be quiet"
    assert len(found.stdout.splitlines()) == 258


# The outcome


def test_the_command_itself(tmp_path: Path) -> None:
    file = write(
        tmp_path / "w.json",
        step("a", parameters={"x": "${input.x}"}),
        step("b", "fail", "a", parameters={"times": 1}, retries={"max_attempts": 2, "initial_interval": 0.01}),
        step("c", "shell", "b", parameters={"command": "echo ${a.x}"}),
        step("d", "echo", "a", condition="false"),
    )
    found = lockstep("run", file, "--input", '{"x": ["é", 1.0]}', "--json", "out.json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    result = outcome(tmp_path / "out.json")
    assert result["status"] == "COMPLETED"
    assert result["error"] is None
    assert list(result["steps"]) == ["a", "b", "c", "d"]
    assert result["steps"]["a"]["output"] == {"x": ["é", 1.0]}
    assert result["steps"]["b"]["attempts"] == 2
    assert result["steps"]["c"]["output"]["stdout"] == "[é,1.0]\n"
    assert result["steps"]["d"]["status"] == "SKIPPED"
    assert {key for key, value in result["steps"]["d"].items() if value is None} == {
        *("started_seconds", "ended_seconds", "output", "error")
    }
    times = [result["steps"][name][key] for name in "abc" for key in ("started_seconds", "ended_seconds")]
    assert times == sorted(times)
    assert times[0] == 0
    assert result["makespan_seconds"] >= times[-1]
    rows = [line.split() for line in found.stdout.splitlines()]
    assert rows[0] == ["step", "status", "attempts", "start", "end", "duration", "error"]
    assert rows[2][:3] == ["b", "COMPLETED", "2"]
    assert rows[4][:6] == ["d", "SKIPPED", "0", "-", "-", "-"]
    assert found.stdout.splitlines()[-1].startswith("COMPLETED after 0.")
    assert "lockstep run: step b, attempt 1: ActionError: this step is there to fail" in found.stderr


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ([step("a"), step("b", "fail", "a")], "FAILED"),
        ([step("a", "fail", continue_on_error=True), step("b", "echo", "a")], "PARTIAL"),
        ([step("a", "wait", parameters={"seconds": 10}, timeout=1)], "FAILED"),
        ([step("a", "wait", parameters={"second": 10})], "FAILED"),
    ],
)
def test_another_outcome_than_completed_is_status_3(
    steps: list[dict[str, Any]], status: str, tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = answer("run", write(tmp_path / "w.json", *steps), "--virtual-time", "--json", "out")
    found = outcome(tmp_path / "out")
    assert code == 3
    assert found["status"] == status
    assert out.splitlines()[-1].startswith(status)
    assert (found["error"] is None) == (status == "PARTIAL")


def test_the_first_failure_is_told(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    compensation = {"action": "fail", "parameters": {"message": "stays\ndone"}}
    file = write(
        tmp_path / "w.json",
        step("a", compensation=compensation),
        step("b", "fail", "a", parameters={"message": "two\nlines \x1b[31m"}),
    )
    code, out, err = answer("run", file, "--virtual-time", "--json", "out")
    found = outcome(tmp_path / "out")
    assert code == 3
    assert found["error"]["message"] == "two\nlines \x1b[31m"
    assert found["steps"]["a"]["status"] == "COMPENSATION_FAILED"
    assert "b     FAILED                      1  0.000  0.000     0.000  ActionError: two lines \\x1b[31m" in out
    assert out.splitlines()[-1] == "FAILED after 0.000 s: ActionError: two lines \\x1b[31m"
    assert "lockstep run: rolling back" in err.splitlines()


def test_a_thousand_failures_are_not_told_one_by_one(
    tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    steps = [step(f"s{n}", "fail", continue_on_error=True) for n in range(1000)]
    _, out, err = answer("run", write(tmp_path / "w.json", *steps), "--virtual-time")
    assert len(err.splitlines()) == 1 + 20 + 10
    assert len(out.splitlines()) == 1 + 1000 + 1


def test_an_execution_that_nobody_can_resume(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    """What runs when it pauses is not cut off; what is missing is named; the journal can still be resumed."""
    file = write(
        tmp_path / "w.json",
        step("slow", "wait", parameters={"seconds": 5}),
        step("quick", "wait", parameters={"seconds": 1}),
        step("needy", "echo", "quick", parameters={"x": "${input.a.b}", "y": "${input.c}"}),
    )
    for options in (["--virtual-time"], ["--virtual-time", "--journal", "j"]):
        code, out, err = answer("run", file, "--json", "out", *options)
        found = outcome(tmp_path / "out")
        assert code == 3
        assert found["status"] == "PAUSED"
        assert found["missing"] == {"needy": ["input.a.b", "input.c"]}
        assert found["steps"]["slow"]["status"] == "COMPLETED"
        assert found["makespan_seconds"] == 5
        assert "nobody is here to resume it: step needy misses input.a.b, input.c" in err
        assert out.splitlines()[-1] == "PAUSED after 5.000 s"

    async def resume() -> Any:
        journal = await SqliteJournal.open(tmp_path / "j")
        async with WorkflowEngine(ExecutionStateManager(journal), ACTIONS) as engine:
            (execution,) = await engine.recover()
            assert await engine.resume_execution(execution, {"a": {"b": 1}, "c": 2})
            return await engine.wait(execution)

    assert asyncio.run(resume())["steps"]["needy"]["output"] == {"x": 1, "y": 2}


def test_a_failure_under_the_pause_still_ends_the_execution(
    tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    file = write(
        tmp_path / "w.json",
        step("slow", "wait", parameters={"seconds": 5}, timeout=2),
        step("quick", "wait", parameters={"seconds": 1}),
        step("needy", "echo", "quick", parameters={"x": "${input.x}"}),
    )
    code, _, _ = answer("run", file, "--virtual-time", "--json", "out")
    assert code == 3
    assert outcome(tmp_path / "out")["status"] == "FAILED"


@pytest.mark.parametrize("given", ['{"x": 1}', "@in.json"])
def test_an_input_stands_in_the_line_or_in_a_file(
    given: str, tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "in.json").write_text('\ufeff{"x": 1}', encoding="utf-8")
    file = write(tmp_path / "w.json", step("a", parameters={"x": "${input.x}"}))
    code, _, _ = answer("run", file, "--input", given, "--json", "out")
    assert code == 0
    assert outcome(tmp_path / "out")["steps"]["a"]["output"] == {"x": 1}


def test_the_engine_has_five_slots_unless_told(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    steps = [step(f"s{n}", "wait", parameters={"seconds": 1}) for n in range(10)]
    file = write(tmp_path / "w.json", *steps)
    assert answer("run", file, "--virtual-time")[1].splitlines()[-1] == "COMPLETED after 2.000 s"
    assert answer("run", file, "--virtual-time", "--max-concurrent-steps", "4")[1].endswith("after 3.000 s\n")


def test_a_graph_runs_too(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    nodes = [{"id": name, "config": {"action": "echo", "parameters": {"n": name}}} for name in "ab"]
    graph = {"id": "g", "nodes": nodes, "connections": [{"source": "a", "target": "b"}]}
    (tmp_path / "g.json").write_text(json.dumps(graph), encoding="utf-8")
    code, out, _ = answer("run", "g.json")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["step", "a", "b", "COMPLETED"]


def test_a_terminal_gets_a_table_with_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "w.json", step("a"), step("b", "fail", "a", parameters={"message": "[red]no[/red]"}))
    code, text = shown("run", file, cwd=tmp_path)
    assert code == 3
    assert "│ a    │ COMPLETED │" in text
    assert "│ ActionError: [red]no[/red]" in text
    assert "FAILED after 0." in text


# The journal


def test_each_run_is_a_fresh_execution_in_the_journal(tmp_path: Path) -> None:
    file = write(tmp_path / "w.json", step("a"))
    for _ in range(2):
        assert lockstep("run", file, "--journal", "j", "--json", "out", cwd=tmp_path).returncode == 0
    executions = journaled(tmp_path / "j")
    assert len(executions) == 2
    assert outcome(tmp_path / "out")["execution"] in executions
    for events in executions.values():
        assert [event["type"] for event in events] == [
            *("ExecutionCreated", "ExecutionStarted", "StepStarted", "StepCompleted", "ExecutionEnded")
        ]
        assert events[0]["at"] > 1.7e9, "the time of day"


def test_virtual_time_decides_every_byte(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    for journal in ("one", "two"):
        for _ in range(2):
            arguments = ("run", DATA / "run_layers.json", "--virtual-time", "--journal", journal)
            assert answer(*arguments, "--json", f"{journal}.json")[0] == 0
    assert journaled(tmp_path / "one") == journaled(tmp_path / "two")
    assert list(journaled(tmp_path / "one")) == ["execution-1", "execution-2"]
    assert [events[0]["at"] for events in journaled(tmp_path / "one").values()] == [0, 0]
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_the_outcome_is_the_same_with_and_without_a_file(
    tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    arguments = ("run", DATA / "run_samples.json", "--virtual-time")
    without = answer(*arguments, "--json", "without", "--journal", "none")
    assert without == answer(*arguments, "--json", "with", "--journal", "j")
    code, out, err = answer(*arguments, "--json", "own")
    (own,) = (tmp_path / ".lockstep" / "runs").glob("*.db")
    assert (code, out, err.replace(f", journal {own.relative_to(tmp_path)}\n", "\n", 1)) == without
    assert (tmp_path / "without").read_bytes() == (tmp_path / "with").read_bytes() == (tmp_path / "own").read_bytes()
    assert journaled(own) == journaled(tmp_path / "j")


def test_each_execution_has_a_file_of_its_own_unless_told_otherwise(
    tmp_path: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    """The names stand in the order of time, and are told."""
    file = write(tmp_path / "w.json", step("a"))
    told = []
    for number in range(3):
        code, _, err = answer("run", file, "--json", str(number))
        assert code == 0
        told.append(tmp_path / err.splitlines()[0].partition(", journal ")[2])
    assert sorted((tmp_path / ".lockstep" / "runs").glob("*.db")) == told
    assert len(set(told)) == 3
    for number, path in enumerate(told):
        assert list(journaled(path)) == [outcome(tmp_path / str(number))["execution"]]


def test_a_journal_in_memory_leaves_nothing(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    file = write(tmp_path / "w.json", step("a"))
    code, _, err = answer("run", file, "--journal", "none")
    assert code == 0
    assert "journal" not in err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "FULL"),
        (["--virtual-time"], "NORMAL"),
        (["--synchronous", "NORMAL"], "NORMAL"),
        (["--synchronous", "FULL", "--virtual-time", "--journal", "j"], "FULL"),
    ],
)
def test_how_durable_the_journal_is(
    options: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[..., tuple[int, str, str]],
) -> None:
    said = []

    class Watched(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            said.append(statement)
            return super().execute(statement, *arguments)

    monkeypatch.setattr(SqliteJournal, "connection_class", Watched)
    assert answer("run", write(tmp_path / "w.json", step("a")), *options)[0] == 0
    assert [statement for statement in said if "synchronous" in statement] == [f"PRAGMA synchronous = {expected}"]


def test_a_journal_that_somebody_owns(tmp_path: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    write(tmp_path / "w.json", step("a", "wait", parameters={"seconds": 300}))
    with begun("run", "w.json", "--journal", "j", cwd=tmp_path) as child:
        code, out, err = answer("run", "w.json", "--journal", "j")
        assert (code, out) == (2, "")
        assert err.startswith(f"lockstep run: j: it is owned by process {child.pid} on ")
        assert len(err.splitlines()) == 1


def test_a_journal_that_fails_on_the_way(tmp_path: Path) -> None:
    """J4, with a real limit to the size of files: what could not be journaled has not happened, and is said."""
    big = {"command": f"{sys.executable} -c \"print('x' * 300000)\""}
    file = write(tmp_path / "w.json", *(step(f"s{n}", "shell", parameters=big) for n in range(5)))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    arguments = ("run", file, "--journal", "j", "--json", "out", "--max-concurrent-steps", "1")
    found = lockstep(*arguments, cwd=tmp_path, preexec_fn=limit)
    assert found.returncode == 3, found.stderr
    assert "Traceback" not in found.stderr
    assert "lockstep run: cannot go on: the journal failed: execution " in found.stderr
    assert " stands still, recover it first: j: " in found.stderr
    result = outcome(tmp_path / "out")
    assert result["status"] == "RUNNING"
    assert result["error"]["type"] == "JournalError"
    completed = [name for name, each in result["steps"].items() if each["status"] == "COMPLETED"]
    (events,) = journaled(tmp_path / "j").values()
    assert completed == [event["step"] for event in events if event["type"] == "StepCompleted"]
    assert 0 < len(completed) < 5


# Bad input: one line, status 2


def bad_inputs() -> Iterator[tuple[str, list[str], str]]:
    two = "steps[1].depends_on[0]: unknown step 'zz'; steps[0].action: unknown action 'nope'"
    inf = "--input: $.x.y[0]: is inf, which JSON does not have"
    yield "no command", [], "lockstep: Missing command."
    yield "an unknown command", ["frobnicate"], "lockstep: No such command 'frobnicate'."
    yield "an unknown option", ["--frobnicate"], "lockstep: No such option '--frobnicate'."
    yield "no file", ["run"], "lockstep run: Missing argument 'FILE'."
    yield "no such file", ["run", "gone.json"], "lockstep run: gone.json: No such file or directory"
    yield "a file of a strange name", ["run", "a\nb\x1b[0m"], r"lockstep run: a b\x1b[0m: No such file or directory"
    yield "a directory", ["run", "."], "lockstep run: .: Is a directory"
    yield "too many files", ["run", "w.json", "w.json"], "lockstep run: Got unexpected extra argument (w.json)"
    yield "a wrong option", ["run", "w.json", "--frobnicate"], "lockstep run: No such option '--frobnicate'."
    yield (
        "an option without its value",
        ["run", "w.json", "--json"],
        "lockstep run: Option '--json' requires an argument.",
    )
    yield "no JSON", ["run", "syntax.json"], "lockstep run: syntax.json: line 2, column 4: not JSON: Expecting value"
    yield (
        "an empty file",
        ["run", "empty.json"],
        "lockstep run: empty.json: line 1, column 1: not JSON: Expecting value",
    )
    yield "not UTF-8", ["run", "latin.json"], "lockstep run: latin.json: line 2, byte 3: not UTF-8"
    yield "nested too deeply", ["run", "deep.json"], "lockstep run: deep.json: is nested too deeply"
    yield "a huge number", ["run", "huge.json"], "lockstep run: huge.json: holds an integer of more than 4300 digits"
    yield "a list", ["run", "list.json"], "lockstep run: list.json: the definition: must be an object, not a list"
    yield "a refused definition", ["run", "refused.json"], f"lockstep run: refused.json: {two}"
    yield (
        "shell in virtual time",
        ["run", "shell.json", "--virtual-time"],
        ("lockstep run: shell.json: virtual time cannot run real commands, as the action shell does: a, b"),
    )
    yield (
        "no slots",
        ["run", "w.json", "--max-concurrent-steps", "0"],
        ("lockstep run: Invalid value for '--max-concurrent-steps': 0 is not in the range x>=1."),
    )
    yield (
        "slots that are no number",
        ["run", "w.json", "--max-concurrent-steps", "many"],
        ("lockstep run: Invalid value for '--max-concurrent-steps': 'many' is not a valid integer range."),
    )
    yield (
        "an input that is no JSON",
        ["run", "w.json", "--input", "{x: 1}"],
        ("lockstep run: --input: line 1, column 2: not JSON: Expecting property name enclosed in double quotes"),
    )
    yield (
        "an input that is no object",
        ["run", "w.json", "--input", "[1]"],
        ("lockstep run: --input: must be a JSON object, not a list"),
    )
    yield (
        "an input that is null",
        ["run", "w.json", "--input", "null"],
        ("lockstep run: --input: must be a JSON object, not null"),
    )
    yield "an input beyond JSON", ["run", "w.json", "--input", '{"x": {"y": [1e999]}}'], f"lockstep run: {inf}"
    yield (
        "an input file that is not there",
        ["run", "w.json", "--input", "@gone"],
        ("lockstep run: --input @gone: No such file or directory"),
    )
    yield (
        "an input file that is no JSON",
        ["run", "w.json", "--input", "@syntax.json"],
        ("lockstep run: --input @syntax.json: line 2, column 4: not JSON: Expecting value"),
    )
    yield (
        "a journal that is none",
        ["run", "w.json", "--journal", "syntax.json"],
        ("lockstep run: syntax.json: it is not an SQLite database"),
    )
    yield (
        "a journal nowhere",
        ["run", "w.json", "--journal", "gone/j"],
        ("lockstep run: gone/j: unable to open database file (SQLITE_CANTOPEN)"),
    )
    yield (
        "an outcome nowhere",
        ["run", "w.json", "--json", "gone/out"],
        ("lockstep run: --json gone/out: there is no directory gone"),
    )
    yield (
        "an outcome over a journal that is to be made",
        ["run", "w.json", "--journal", "j", "--json", "./j"],
        ("lockstep run: --json ./j: is a file that this execution reads"),
    )
    yield (
        "how durable memory is",
        ["run", "w.json", "--journal", "none", "--synchronous", "FULL"],
        ("lockstep run: --synchronous FULL: there is no file, by --journal none"),
    )
    yield (
        "durability that there is not",
        ["run", "w.json", "--synchronous", "OFF"],
        ("lockstep run: Invalid value for '--synchronous': 'OFF' is not one of 'FULL', 'NORMAL'."),
    )
    yield "an outcome that is a directory", ["run", "w.json", "--json", "."], "lockstep run: --json .: is a directory"
    yield (
        "an outcome over the definition",
        ["run", "w.json", "--json", "./w.json"],
        ("lockstep run: --json ./w.json: is a file that this execution reads"),
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(tmp_path / "w.json", step("a"))
    write(tmp_path / "refused.json", step("a", "nope"), step("b", "echo", "zz"))
    write(tmp_path / "shell.json", step("a", "shell"), step("b", compensation={"action": "shell"}), step("c"))
    (tmp_path / "syntax.json").write_text('{"a":\n  [}', encoding="utf-8")
    (tmp_path / "empty.json").touch()
    (tmp_path / "latin.json").write_bytes(b'{"id":\n "\xe9"}')
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "huge.json").write_text("9" * 5000, encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    return tmp_path


BAD = {name: (arguments, line) for name, arguments, line in bad_inputs()}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_status_2(
    name: str, files: Path, answer: Callable[..., tuple[int, str, str]]
) -> None:
    arguments, line = BAD[name]
    before = sorted(files.iterdir())
    assert answer(*arguments) == (2, "", f"{line}\n")
    assert sorted(files.iterdir()) == before, "something was made of it"


@pytest.mark.parametrize("name", ["no command", "no JSON", "a refused definition", "a journal that is none"])
def test_bad_input_is_the_same_for_the_real_command(name: str, files: Path) -> None:
    arguments, line = BAD[name]
    found = lockstep(*arguments, cwd=files)
    assert (found.returncode, found.stdout, found.stderr) == (2, "", f"{line}\n")


def test_an_input_that_is_not_utf_8(files: Path) -> None:
    found = lockstep("run", "w.json", "--input", os.fsdecode(b'{"x":"\xff"}'), cwd=files)
    assert (found.returncode, found.stderr) == (2, "lockstep run: --input: line 1, byte 7: not UTF-8\n")


def test_a_mistake_of_ours_is_no_bad_input(
    files: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., object]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(running, "parse_workflow", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "w.json"])


@pytest.mark.parametrize("option", ["--version", "--help", "-h"])
def test_help_and_version(option: str, answer: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = answer(option)
    assert (code, err) == (0, "")
    assert out.startswith("lockstep " if option == "--version" else "Usage: lockstep")


def test_a_reader_that_has_gone_is_no_crash(tmp_path: Path) -> None:
    steps = [step(f"s{n}") for n in range(5000)]
    file = write(tmp_path / "w.json", *steps)
    with subprocess.Popen(
        [*COMMAND, "run", file, "--virtual-time"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
        child.wait(60)
    assert "Traceback" not in said
    assert "Exception ignored" not in said


# Ctrl-C


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_an_interruption_cancels_the_execution_and_tells_its_end(number: int, code: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    command = f"exec 3>{tmp_path}/fifo; echo ready >&3; trap 'echo cleaned >&3; exit 1' TERM; sleep 300 & wait"
    file = write(tmp_path / "w.json", step("a", "shell", parameters={"command": command}), step("b", "echo", "a"))
    with (
        begun("run", file, "--journal", "j", "--json", "out", cwd=tmp_path) as child,
        (tmp_path / "fifo").open() as fifo,
    ):
        assert fifo.readline() == "ready\n"
        child.send_signal(number)
        assert fifo.read() == "cleaned\n", "the end of the FIFO is the end of every process of the command"
        out, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert err == ("lockstep run: interrupted: cancelling the execution and waiting for its end (again: do not wait)\n")
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["a", "CANCELLED"], ["b", "CANCELLED"]]
    found = outcome(tmp_path / "out")
    assert found["status"] == "CANCELLED"
    assert found["steps"]["a"]["ended_seconds"] == found["makespan_seconds"]
    assert found["steps"]["b"]["started_seconds"] is None
    (events,) = journaled(tmp_path / "j").values()
    assert [event["type"] for event in events[-3:]] == ["CancellationRequested", "StepCancelled", "ExecutionEnded"]


def test_virtual_time_can_be_interrupted(tmp_path: Path) -> None:
    endless = step("a", "fail", retries={"max_attempts": 10**9, "max_interval": 1})
    file = write(tmp_path / "w.json", endless)
    with begun("run", file, "--virtual-time", "--json", "out", cwd=tmp_path) as child:
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out.splitlines()[-1].startswith("CANCELLED after ")
    assert outcome(tmp_path / "out")["steps"]["a"]["status"] == "CANCELLED"


def test_a_second_interruption_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    command = f"trap '' TERM; exec 3>{tmp_path}/fifo; echo ready >&3; sleep 300"
    undo = {"action": "wait", "parameters": {"seconds": 300}}
    file = write(
        tmp_path / "w.json",
        step("first", compensation=undo),
        step("a", "shell", "first", parameters={"command": command}),
        rollback_on_cancel=True,
    )
    with begun("run", file, cwd=tmp_path) as child, (tmp_path / "fifo").open() as fifo:
        assert child.stderr is not None
        assert fifo.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        while "interrupted" not in child.stderr.readline():
            pass
        child.send_signal(signal.SIGINT)
        assert fifo.read() == ""
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "lockstep run: interrupted"


def test_an_interruption_before_the_execution(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.json")
    with (
        subprocess.Popen(
            [*COMMAND, "run", "w.json"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child,
        (tmp_path / "w.json").open("w"),
    ):
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, "", "lockstep run: interrupted\n")


def test_a_killed_execution_is_recovered_from_its_journal(tmp_path: Path) -> None:
    """J3 across processes: the command is killed in the middle, and an engine here takes the execution up."""
    file = write(
        tmp_path / "w.json",
        step("done", parameters={"x": 1}),
        step("running", "wait", "done", parameters={"seconds": 300}),
        step("last", "echo", "running", parameters={"x": "${done.x}"}),
    )
    with begun("run", file, "--journal", "j", cwd=tmp_path) as child:
        assert child.stderr is not None
        assert "1 of 3 steps settled" in child.stderr.readline()
        child.kill()
        child.wait(60)
    ((execution, before),) = journaled(tmp_path / "j").items()
    assert [event["type"] for event in before[-2:]] == ["StepCompleted", "StepStarted"]
    loop = SimulatedLoop()

    async def recover() -> Any:
        journal = await SqliteJournal.open(tmp_path / "j")
        async with WorkflowEngine(ExecutionStateManager(journal), ACTIONS, clock=loop.time) as engine:
            assert await engine.recover() == [execution]
            return await engine.wait(execution)

    report = loop.run(recover())
    loop.close()
    assert report["status"] == "COMPLETED"
    assert {name: each["attempts"] for name, each in report["steps"].items()} == {"done": 1, "running": 1, "last": 1}
    after = journaled(tmp_path / "j")[execution]
    assert after[: len(before)] == before
    assert [event["step"] for event in after if event["type"] == "StepCompleted"] == ["done", "running", "last"]


def test_a_journal_that_fails_at_the_start_is_bad_input(
    files: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    async def full(*_: object) -> None:
        raise JournalError("j: the disk is full")  # noqa: TRY003  # a test's own

    monkeypatch.setattr(SqliteJournal, "append", full)
    assert answer("run", "w.json", "--journal", "j") == (2, "", "lockstep run: j: the disk is full\n")


def test_nothing_is_left_where_nothing_began(
    files: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., tuple[int, str, str]]
) -> None:
    async def full(*_: object) -> None:
        raise JournalError("the disk is full")  # noqa: TRY003  # a test's own

    monkeypatch.setattr(SqliteJournal, "append", full)
    assert answer("run", "w.json") == (2, "", "lockstep run: the disk is full\n")
    assert list((files / ".lockstep" / "runs").iterdir()) == []


def test_no_journal_can_be_kept_where_it_belongs(files: Path, answer: Callable[..., tuple[int, str, str]]) -> None:
    (files / ".lockstep").touch()
    code, out, err = answer("run", "w.json")
    assert (code, out) == (2, "")
    assert err == (
        "lockstep run: .lockstep/runs: no journal can be kept there (--journal says where else): Not a directory\n"
    )
    assert answer("run", "w.json", "--journal", "none")[0] == 0
