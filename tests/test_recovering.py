"""``lockstep recover`` as its users meet it: after a kill, after Ctrl-C, on journals that others left, and on none."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.actions import ACTIONS
from engine.driver import Action, ActionContext
from engine.errors import JournalError
from engine.messages import Event, StepStarted
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.loop import SimulatedLoop
from tests.command_line import (
    Answer,
    begun,
    called,
    journaled,
    lockstep,
    outcome,
    shown,
    step,
    workflow,
    write,
)


@pytest.fixture
def answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return partial(called, capsys)


def kinds(path: Path) -> list[list[str]]:
    return [[event["type"] for event in events] for events in journaled(path).values()]


# Real processes


def held(name: str, *after: str) -> dict[str, Any]:
    """A step that tells its process and hangs, until there is a file ``go``; it counts its effects in a file."""
    command = f"test -e go && {{ echo {name} >> ledger; exit; }}; echo $$ > fifo; exec sleep 300"
    return step(name, "shell", *after, parameters={"command": command})


def ledger(path: Path) -> list[str]:
    return (path / "ledger").read_text(encoding="utf-8").split()


@pytest.fixture
def halfway(tmp_path: Path) -> Path:
    """A workflow whose second step is held."""
    os.mkfifo(tmp_path / "fifo")
    first = step("first", "shell", parameters={"command": "echo first >> ledger"})
    return write(tmp_path / "w.json", first, held("second", "first"), step("third", "echo", "second"))


@contextmanager
def held_up(*arguments: str | Path, cwd: Path) -> Iterator[Any]:
    """The real command, once its execution has come to the step that is held."""
    with begun(*arguments, cwd=cwd) as child:
        pid = int((cwd / "fifo").read_text(encoding="utf-8"))
        try:
            yield child
        finally:
            child.kill()
            child.wait(60)
            with suppress(ProcessLookupError):  # it may have been ended by its parent
                os.kill(pid, signal.SIGKILL)


def test_after_a_kill_the_user_goes_on(halfway: Path, tmp_path: Path) -> None:
    with held_up("run", halfway, cwd=tmp_path) as child:
        child.kill()
    (path,) = (tmp_path / ".lockstep" / "runs").glob("*.db")
    ((execution, before),) = journaled(path).items()
    assert [event["type"] for event in before[-2:]] == ["StepCompleted", "StepStarted"]
    (tmp_path / "go").touch()
    found = lockstep("recover", path, "--json", "out", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stderr.splitlines() == [
        f"lockstep recover: w: 3 steps, execution {execution}, taken up after {len(before)} events",
        *(line for line in found.stderr.splitlines() if " of 3 steps settled, " in line),
    ]
    assert "1 of 3 steps settled" not in found.stderr, "that was before"
    lines = [line.split() for line in found.stdout.splitlines()]
    assert lines[0] == ["w,", "execution", execution]
    assert [line[:3] for line in lines[2:5]] == [[name, "COMPLETED", "1"] for name in ("first", "second", "third")]
    assert lines[5][0] == "COMPLETED"
    ((told),) = outcome(tmp_path / "out")["executions"]
    assert (told["execution"], told["status"]) == (execution, "COMPLETED")
    assert told["steps"]["first"]["started_seconds"] == 0
    assert ledger(tmp_path) == ["first", "second"], "each effect once"
    after = journaled(path)[execution]
    assert after[: len(before)] == before
    checked = lockstep("journal", path, "--check", cwd=tmp_path)
    assert (checked.returncode, checked.stdout.splitlines()) == (
        0,
        [f"1 execution, {len(after)} events: the contract holds"],
    )
    again = lockstep("recover", path, cwd=tmp_path)
    assert (again.returncode, again.stdout, again.stderr) == (0, f"{path}: nothing to recover\n", "")


@pytest.mark.unmeasured
def test_several_that_were_killed_are_told_one_by_one(halfway: Path, tmp_path: Path) -> None:
    """Two in the middle, one ended, one paused: in one file."""
    needy = write(tmp_path / "needy.json", step("a", parameters={"x": "${input.x}"}))
    assert lockstep("run", needy, "--journal", "j", cwd=tmp_path).returncode == 3
    for _ in range(2):
        with held_up("run", halfway, "--journal", "j", cwd=tmp_path) as child:
            child.kill()
    (tmp_path / "go").touch()
    assert lockstep("run", halfway, "--journal", "j", cwd=tmp_path).returncode == 0
    found = lockstep("recover", "j", "--json", "out", cwd=tmp_path)
    assert found.returncode == 3, found.stderr
    told = outcome(tmp_path / "out")["executions"]
    assert [each["status"] for each in told] == ["PAUSED", "COMPLETED", "COMPLETED"]
    names = [each["execution"] for each in told]
    assert [line for line in found.stdout.splitlines() if ", execution " in line] == [
        f"w, execution {name}" for name in names
    ]
    assert found.stdout.splitlines()[-1] == "3 executions: 1 PAUSED, 2 COMPLETED"
    lines = found.stderr.splitlines()
    assert [line.partition(", taken up after ")[0] for line in lines[:3]] == [
        f"lockstep recover: w: {steps}, execution {name}"
        for name, steps in zip(names, ("1 step", "3 steps", "3 steps"), strict=True)
    ]
    missing = "PAUSED, and nobody is here to resume it: step a misses input.x"
    assert f"lockstep recover: execution {names[0]}: {missing}" in lines[3:]
    for name in names[1:]:
        assert any(line.startswith(f"lockstep recover: execution {name}: COMPLETED after ") for line in lines[3:])
    assert len(lines) == 6
    assert ledger(tmp_path) == [*["first"] * 3, *["second"] * 3]
    assert lockstep("journal", "j", "--check", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_an_interruption_stops_and_cancels_nothing(number: int, code: int, halfway: Path, tmp_path: Path) -> None:
    with held_up("run", halfway, "--journal", "j", cwd=tmp_path) as child:
        child.kill()
    before = journaled(tmp_path / "j")
    with held_up("recover", "j", "--json", "out", cwd=tmp_path) as child:
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert err == (
        "lockstep recover: interrupted: stopping; what is unfinished can be recovered again (again: do not wait)\n"
    )
    assert out.splitlines()[-1].startswith("RUNNING after ")
    assert [each["status"] for each in outcome(tmp_path / "out")["executions"]] == ["RUNNING"]
    assert journaled(tmp_path / "j") == before
    (tmp_path / "go").touch()
    assert lockstep("recover", "j", cwd=tmp_path).returncode == 0
    assert ledger(tmp_path) == ["first", "second"]


def test_a_second_interruption_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    command = "trap '' TERM; echo $$ > fifo; exec sleep 300"
    file = write(tmp_path / "w.json", step("a", "shell", parameters={"command": command}))
    with held_up("run", file, "--journal", "j", cwd=tmp_path) as child:
        child.kill()
    with held_up("recover", "j", cwd=tmp_path) as child:
        child.send_signal(signal.SIGINT)
        assert "interrupted: stopping" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert err.splitlines() == ["lockstep recover: interrupted"]
    assert kinds(tmp_path / "j") == [["ExecutionCreated", "ExecutionStarted", "StepStarted"]]


def test_a_terminal_gets_a_bar_that_begins_where_the_execution_stood(halfway: Path, tmp_path: Path) -> None:
    with held_up("run", halfway, "--journal", "j", cwd=tmp_path) as child:
        child.kill()
    (tmp_path / "go").touch()
    code, text = shown("recover", "j", cwd=tmp_path)
    assert code == 0
    assert "│ third  │ COMPLETED │" in text
    assert "COMPLETED after " in text


# What others left


async def hang(parameters: dict[str, Any], context: ActionContext) -> Any:
    await asyncio.get_running_loop().create_future()


def left(
    path: Path,
    *definitions: dict[str, Any],
    actions: dict[str, Action] | None = None,
    ago: float = 0.0,
    until: Callable[[WorkflowEngine, str], Any] | None = None,
) -> list[str]:
    """Executions that an engine began some seconds ago, and left: what they have begun of ``wait`` is under way."""

    async def live() -> list[str]:
        manager = ExecutionStateManager(await SqliteJournal.open(path))
        known = {**ACTIONS, "wait": hang, **(actions or {})}
        async with WorkflowEngine(manager, known, clock=lambda: time.time() - ago) as engine:
            found = []
            for definition in definitions:
                found.append(await engine.start_workflow(definition))
                await (until or begun_hanging)(engine, found[-1])
            return found

    return asyncio.run(live())


async def begun_hanging(engine: WorkflowEngine, execution: str) -> None:
    async for _, event in engine.subscribe(execution):
        if type(event) is StepStarted and event.step == "hang":
            return


async def paused(engine: WorkflowEngine, execution: str) -> None:
    await engine.pause_execution(execution)


HANG = step("hang", "wait", parameters={"seconds": 0})


def test_what_was_told_before_is_not_told_again(tmp_path: Path, answer: Callable[..., Answer]) -> None:
    flaky = step("a", "fail", retries={"max_attempts": 2, "initial_interval": 0}, continue_on_error=True)
    (execution,) = left(tmp_path / "j", workflow(flaky, {**HANG, "depends_on": ["a"]}, step("c", "fail", "hang")))
    before = len(journaled(tmp_path / "j")[execution])
    code, out, err = answer("recover", "j")
    assert code == 3
    assert err.splitlines()[0].endswith(f", taken up after {before} events")
    assert "step a, " not in err
    assert "lockstep recover: step c, attempt 1: ActionError: this step is there to fail" in err.splitlines()
    assert [line.split()[:3] for line in out.splitlines()[2:5]] == [
        ["a", "FAILED", "2"],
        ["hang", "COMPLETED", "1"],
        ["c", "FAILED", "1"],
    ]


def test_a_pause_that_somebody_asked_for_lasts(tmp_path: Path, answer: Callable[..., Answer]) -> None:
    left(tmp_path / "j", workflow(step("a")), until=paused)
    before = journaled(tmp_path / "j")
    code, out, err = answer("recover", "j")
    assert code == 3
    assert err.splitlines()[1:] == ["lockstep recover: PAUSED, and nobody is here to resume it"]
    assert out.splitlines()[-1].startswith("PAUSED after ")
    assert journaled(tmp_path / "j") == before


def test_a_resume_of_long_ago_is_no_pause(tmp_path: Path, answer: Callable[..., Answer]) -> None:
    async def resumed(engine: WorkflowEngine, execution: str) -> None:
        await begun_hanging(engine, execution)
        assert await engine.pause_execution(execution)
        assert await engine.resume_execution(execution)

    left(tmp_path / "j", workflow(HANG, step("b", "echo", "hang")), until=resumed)
    assert answer("recover", "j")[0] == 0


def test_a_deadline_that_passed_under_a_pause_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Answer]
) -> None:
    """The recovery decides it; whoever reads the journal before that is written finds an execution that is paused."""
    left(tmp_path / "j", workflow(step("a", parameters={"x": "${input.x}"}), timeout=60), ago=600, until=paused)
    append, read = SqliteJournal.append, SqliteJournal.read
    reads: list[asyncio.Event] = []

    async def noted(journal: SqliteJournal, *arguments: Any) -> list[Event]:
        found = await read(journal, *arguments)
        reads.pop().set()
        return found

    async def late(journal: SqliteJournal, *arguments: Any) -> None:
        await watched.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        await append(journal, *arguments)

    watched = asyncio.Event()  # the third to read is whoever watches
    reads += [watched, asyncio.Event(), asyncio.Event()]
    monkeypatch.setattr(SqliteJournal, "read", noted)
    monkeypatch.setattr(SqliteJournal, "append", late)
    code, out, _ = answer("recover", "j", "--json", "out")
    assert code == 3
    assert out.splitlines()[-1].startswith("FAILED after ")
    assert [each["error"]["type"] for each in outcome(tmp_path / "out")["executions"]] == ["ExecutionTimeoutError"]


def test_slots_are_as_many_as_told(tmp_path: Path, answer: Callable[..., Answer]) -> None:
    chain = [step(f"s{n}", "wait", "hang", parameters={"seconds": 0}) for n in range(4)]
    (execution,) = left(tmp_path / "j", workflow(HANG, *chain))
    assert answer("recover", "j", "--max-concurrent-steps", "1")[0] == 0
    running, most = 0, 0
    for event in journaled(tmp_path / "j")[execution]:
        running += {"StepStarted": 1, "StepCompleted": -1}.get(event["type"], 0)
        most = max(most, running)
    assert most == 1


@pytest.mark.parametrize(("options", "expected"), [([], "FULL"), (["--synchronous", "NORMAL"], "NORMAL")])
def test_how_durable_the_journal_is(
    options: Sequence[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[..., Answer],
) -> None:
    left(tmp_path / "j", workflow(HANG))
    said = []

    class Watched(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            said.append(statement)
            return super().execute(statement, *arguments)

    monkeypatch.setattr(SqliteJournal, "connection_class", Watched)
    assert answer("recover", "j", *options)[0] == 0
    assert [statement for statement in said if "synchronous" in statement] == [f"PRAGMA synchronous = {expected}"]


def test_a_journal_that_fails_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Answer]
) -> None:
    """J4: what could not be journaled has not happened, is said, and can be recovered again."""
    first, second = left(tmp_path / "j", workflow(HANG), workflow(HANG))
    append = SqliteJournal.append

    async def full(journal: SqliteJournal, execution: str, *arguments: Any) -> None:
        if execution == first:
            raise JournalError("the disk is full")  # noqa: TRY003  # a test's own
        await append(journal, execution, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteJournal, "append", full)
        code, _, err = answer("recover", "j", "--json", "out")
    assert code == 3
    said = [line for line in err.splitlines() if "cannot go on" in line]
    assert len(said) == 1
    assert said[0].startswith(f"lockstep recover: execution {first}: cannot go on: the journal failed: ")
    told = {each["execution"]: each for each in outcome(tmp_path / "out")["executions"]}
    assert {name: each["status"] for name, each in told.items()} == {first: "RUNNING", second: "COMPLETED"}
    assert told[first]["error"]["type"] == "JournalError"
    assert answer("recover", "j")[0] == 0


# Nothing to recover


def test_a_journal_in_which_all_has_ended_is_only_read(tmp_path: Path, answer: Callable[..., Answer]) -> None:
    file = write(tmp_path / "w.json", step("a"))
    assert answer("run", file, "--journal", "j")[0] == 0
    before = (tmp_path / "j").read_bytes()
    assert answer("recover", "j", "--json", "out") == (0, "j: nothing to recover\n", "")
    assert outcome(tmp_path / "out") == {"executions": []}
    assert (tmp_path / "j").read_bytes() == before


def test_another_engine_may_have_taken_it_up_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Answer]
) -> None:
    """Between the look at the file and its opening all has ended."""
    left(tmp_path / "j", workflow(HANG))
    unfinished = SqliteJournal.unfinished
    looks = 0

    async def ended(journal: SqliteJournal) -> list[str]:
        nonlocal looks
        looks += 1
        return await unfinished(journal) if looks == 1 else []

    monkeypatch.setattr(SqliteJournal, "unfinished", ended)
    assert answer("recover", "j") == (0, "j: nothing to recover\n", "")


# Bad input: one line, status 2


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What is no journal, or none that can be recovered here."""
    (tmp_path / "text").write_text("no database", encoding="utf-8")
    (tmp_path / "empty").touch()
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE a (b)")
    left(tmp_path / "good", workflow(HANG))
    (tmp_path / "later").write_bytes((tmp_path / "good").read_bytes())
    with closing(sqlite3.connect(tmp_path / "later")) as later:
        later.execute("PRAGMA user_version = 99")
    left(
        tmp_path / "foreign",
        workflow(HANG),
        workflow(HANG, step("b", "charge", "hang", compensation={"action": "refund"}), step("c", "charge", "hang")),
        workflow(HANG, step("d", "ship", "hang")),
        actions=dict.fromkeys(("charge", "refund", "ship"), hang),
    )
    left(tmp_path / "damaged", workflow(HANG))
    with closing(sqlite3.connect(tmp_path / "damaged", isolation_level=None)) as damaged:
        damaged.execute("UPDATE executions SET execution = 'x1'")
        damaged.execute("UPDATE events SET execution = 'x1'")
        damaged.execute("UPDATE events SET event = '{' WHERE seq = 2")
    simulated(tmp_path / "virtual")
    return tmp_path


def simulated(path: Path) -> None:
    """An execution that was left in virtual time."""
    loop = SimulatedLoop()

    async def live() -> None:
        manager = ExecutionStateManager(await SqliteJournal.open(path))
        async with WorkflowEngine(manager, {"wait": hang}, clock=loop.time, new_id=lambda: "x1") as engine:
            await begun_hanging(engine, await engine.start_workflow(workflow(HANG)))

    loop.run(live())
    loop.close()


BAD = {
    "no file": ([], "Missing argument 'FILE'."),
    "no such file": (["gone"], "gone: No such file or directory"),
    "a directory": (["."], ".: Is a directory"),
    "no database": (["text"], "text: it is not an SQLite database"),
    "an empty file": (["empty"], "empty: it is not an SQLite database"),
    "another database": (["other"], "other: it is an SQLite database, but not a journal"),
    "a later version": (["later"], "later: its schema version is 99; this program knows versions up to 2"),
    "two files": (["good", "good"], "Got unexpected extra argument (good)"),
    "an unknown option": (["good", "--virtual-time"], "No such option '--virtual-time'."),
    "no slots": (
        ["good", "--max-concurrent-steps", "0"],
        "Invalid value for '--max-concurrent-steps': 0 is not in the range x>=1.",
    ),
    "a durability that there is not": (
        ["good", "--synchronous", "OFF"],
        "Invalid value for '--synchronous': 'OFF' is not one of 'FULL', 'NORMAL'.",
    ),
    "an outcome nowhere": (["good", "--json", "gone/out"], "--json gone/out: there is no directory gone"),
    "an outcome over the journal": (["good", "--json", "./good"], "--json ./good: is a file that this execution reads"),
    "an outcome over the lock": (
        ["good", "--json", "good.lock"],
        "--json good.lock: is a file that this execution reads",
    ),
    "a damaged event": (
        ["damaged"],
        "damaged: execution x1, event 2: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ),
    "virtual time": (
        ["virtual"],
        "virtual: nothing was taken up: virtual time cannot go on in real time: run it again (execution x1)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_status_2(name: str, files: Path, answer: Callable[..., Answer]) -> None:
    arguments, line = BAD[name]
    before = {path.name: kept(path) for path in sorted(files.iterdir())}
    assert answer("recover", *arguments) == (2, "", f"lockstep recover: {line}\n")
    assert {path.name: kept(path) for path in sorted(files.iterdir())} == before


def kept(path: Path) -> Any:
    """What a file holds; of a journal its events, because to own it is to write one's name into it."""
    if path.name in {"good", "foreign", "damaged", "virtual"}:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT * FROM events ORDER BY execution, seq").fetchall()
    return None if path.name.endswith(".lock") else path.read_bytes()


def test_actions_that_are_not_built_in_are_all_named(files: Path, answer: Callable[..., Answer]) -> None:
    before = journaled(files / "foreign")
    with closing(sqlite3.connect(files / "foreign")) as database:
        names = [name for (name,) in database.execute("SELECT execution FROM executions ORDER BY ordinal")]
    code, out, err = answer("recover", "foreign")
    assert (code, out) == (2, "")
    assert err == (
        "lockstep recover: foreign: nothing was taken up: these actions are missing: charge, refund, ship "
        f"(execution {names[1]} and 1 more)\n"
    )
    assert journaled(files / "foreign") == before


def test_a_journal_that_somebody_owns(halfway: Path, tmp_path: Path, answer: Callable[..., Answer]) -> None:
    with held_up("run", halfway, "--journal", "j", cwd=tmp_path) as child:
        code, out, err = answer("recover", "j")
        assert (code, out) == (2, "")
        assert err.startswith(f"lockstep recover: j: it is owned by process {child.pid} on ")
        assert len(err.splitlines()) == 1


def test_the_outcome_is_written_for_machines(tmp_path: Path, answer: Callable[..., Answer]) -> None:
    left(tmp_path / "j", workflow(HANG))
    assert answer("recover", "j", "--json", "out")[0] == 0
    text = (tmp_path / "out").read_text(encoding="ascii")
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
