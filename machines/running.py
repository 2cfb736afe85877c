"""``lockstep run``: one execution of one workflow on the real engine, in real or in virtual time.

Rule 1: what is shown is made of durable events and their own times alone.
Rule 2: whatever can be refused is refused before the execution begins: exit status 2, and no trace of it.
Rule 3: the journal is a file, whatever becomes of this process; one of the execution's own, unless told otherwise.
Rule 4: an execution that began is told to its end: a table, the JSON file, and exit status 0 for COMPLETED, 3 for
anything else, 130 after Ctrl-C (which cancels the execution and waits for its end; a second one does not wait).
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn
from uuid import uuid4

import click

from engine.actions import ACTIONS
from engine.definition import parse_workflow
from engine.errors import DefinitionError, EngineClosedError, JournalError
from engine.journal import Journal, MemoryJournal
from engine.messages import Json
from engine.sqlite_journal import SqliteJournal, Synchronous
from engine.state import Report, Status
from engine.state_manager import ExecutionStateManager
from engine.values import json_faults
from engine.workflow import Workflow
from engine.workflow_engine import WorkflowEngine
from machines.course import Course, Teller, counted, print_outcome, result, teller_of
from machines.following import COMPLETED, NOT_COMPLETED, SIGNALLED, Interruption, follow, report_of, wall_clock
from machines.loop import SimulatedLoop

__all__ = ["check_out", "max_concurrent_steps", "run", "synchronous", "write_out"]

_REAL_ONLY: Final = "shell"
"""The action that has effects outside, which no virtual time can hasten."""
_IN_MEMORY: Final = "none"
"""What stands for no file."""
_RUNS: Final = Path(".lockstep", "runs")
"""Where an execution's journal is kept, if nobody says where."""
_BESIDE: Final = ("", "-wal", "-shm", ".lock")
"""What SQLite and the journal keep beside a journal's file, by the ends of their names."""


max_concurrent_steps = click.option(
    "--max-concurrent-steps", type=click.IntRange(min=1), default=5, show_default=True, help="Slots of the engine."
)


def synchronous(default: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """How durable the journal's file is; ``default`` for those who read the help."""
    return click.option(
        "--synchronous",
        metavar="FULL|NORMAL",
        type=click.Choice(["FULL", "NORMAL"]),
        help=(
            "FULL: whatever was told survives a loss of power. NORMAL: faster, and a loss of power (no crash) may take "
            f"the last moments with it.  [default: {default}]"
        ),
    )


@click.command()
@click.argument("file")
@click.option(
    "--input", "given", metavar="JSON", default="{}", help="The input: a JSON object, or @FILE that holds one."
)
@click.option(
    "--journal",
    metavar="FILE|none",
    help=(
        "Keep the journal in this SQLite file, together with others, or (none) in memory only; "
        f"without it, in a file of its own in {_RUNS}."
    ),
)
@synchronous("FULL; in virtual time NORMAL")
@click.option("--virtual-time", is_flag=True, help="Simulate time: waiting takes none.")
@max_concurrent_steps
@click.option("--json", "out", metavar="OUT", help="Write the outcome to this file as JSON.")
def run(
    *,
    file: str,
    given: str,
    journal: str | None,
    synchronous: Synchronous | None,
    virtual_time: bool,
    max_concurrent_steps: int,
    out: str | None,
) -> int:
    """Run the workflow in FILE (JSON: steps, graph, or WfFormat 1.5) with the built-in actions.

    The actions are wait, echo, fail and shell. What is journaled outlives this process: `lockstep recover` goes on with
    it. Exit status: 0 the execution is COMPLETED, 3 it is not, 2 bad input, 130 interrupted.
    """
    workflow = _read_workflow(file, virtual_time=virtual_time)
    inputs = _read_input(given)
    if journal == _IN_MEMORY and synchronous is not None:
        _refuse(f"--synchronous {synchronous}", "there is no file, by --journal none")
    if out is not None:
        check_out(out, file, None if journal == _IN_MEMORY else journal)
    course = Course(len(workflow.steps))
    with _kept(journal, course) as path:
        # What a simulation did can be simulated again: it need not outlast a loss of power, and may be quick.
        durability = synchronous or ("NORMAL" if virtual_time else "FULL")
        plan = _Plan(workflow, inputs, path, journal is None, durability, virtual_time, max_concurrent_steps)
        with teller_of(course, "lockstep run") as teller:
            outcome = _run_loop(plan, course, teller)
    print_outcome(outcome.report, course)
    if out is not None:
        write_out(out, result(outcome.report, course))
    if outcome.interrupted:
        return SIGNALLED + outcome.interrupted
    return COMPLETED if outcome.report["status"] == Status.COMPLETED else NOT_COMPLETED


# What is given


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be run, and how."""

    workflow: Workflow
    inputs: dict[str, Json]
    journal: Path | None
    own: bool
    """Whether the journal's file is this execution's own, and somebody has to be told where it is."""
    synchronous: Synchronous
    virtual: bool
    slots: int


def _refuse(*parts: object) -> NoReturn:
    raise click.UsageError(": ".join(map(str, parts)), click.get_current_context())


def _read_workflow(file: str, *, virtual_time: bool) -> Workflow:
    definition = _parse(file, _read(file, file))
    try:
        workflow = parse_workflow(definition, ACTIONS)
    except DefinitionError as error:
        _refuse(file, "; ".join(map(str, error.faults)))
    if virtual_time:
        real = [
            step.id
            for step in workflow.steps
            if step.action == _REAL_ONLY or (step.compensation and step.compensation.action == _REAL_ONLY)
        ]
        if real:
            _refuse(file, f"virtual time cannot run real commands, as the action shell does: {', '.join(real)}")
    return workflow


def _read_input(given: str) -> dict[str, Json]:
    if given.startswith("@"):
        place = f"--input {given}"
        value = _parse(place, _read(place, given[1:]))
    else:
        place = "--input"
        value = _parse(place, given.encode(errors="surrogateescape"))
    if type(value) is not dict:
        _refuse(place, f"must be a JSON object, not {_KINDS[type(value)]}")
    if faults := json_faults(value):
        _refuse(place, "; ".join(faults))
    inputs: dict[str, Json] = value
    return inputs


_KINDS: Final = {
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}


def _read(place: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        _refuse(place, error.strerror or error)
    except ValueError as error:
        _refuse(place, error)


def _parse(place: str, content: bytes) -> Json:
    """The JSON value of a file's content (NaN and the like are left for those who know the place inside)."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        _refuse(place, f"line {line}, byte {column}: not UTF-8")
    except json.JSONDecodeError as error:
        _refuse(place, f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}")
    except RecursionError:
        _refuse(place, "is nested too deeply")
    except ValueError:
        _refuse(place, "holds an integer of more than 4300 digits")


def check_out(out: str, file: str, journal: str | None) -> None:
    """Find out before an execution begins whether its outcome can be written, and is not written over what it needs."""
    path = Path(out)
    place = f"--json {out}"
    if path.is_dir():
        _refuse(place, "is a directory")
    if not path.parent.is_dir():
        _refuse(place, f"there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        _refuse(place, "cannot be written to")
    needed = [Path(file), *(Path(f"{journal}{end}") for end in _BESIDE if journal)]
    if any(_same(path, each) for each in needed):
        _refuse(place, "is a file that this execution reads")


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) if one.exists() and other.exists() else one.resolve() == other.resolve()


@contextmanager
def _kept(journal: str | None, course: Course) -> Iterator[Path | None]:
    """The file of the journal, if there is one. One of the execution's own is gone again if nothing began."""
    try:
        if journal is not None:
            yield None if journal == _IN_MEMORY else Path(journal)
            return
        own = _own_file()
        try:
            yield own
        finally:
            if not course.execution:
                for end in _BESIDE:
                    Path(f"{own}{end}").unlink(missing_ok=True)
    except JournalError as error:
        _refuse(error.reason)


def _own_file() -> Path:
    """A name for a journal's file that nobody has; by their names they stand in the order of their times."""
    try:
        _RUNS.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _refuse(_RUNS, f"no journal can be kept there (--journal says where else): {error.strerror or error}")
    return _RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:8]}.db"


# What happens


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How the execution ended, or why it did not; ``interrupted`` is the signal, or 0."""

    report: Report
    interrupted: int


def _run_loop(plan: _Plan, course: Course, teller: Teller) -> _Outcome:
    try:
        if not plan.virtual:
            return asyncio.run(_execute(plan, course, teller))
        loop = SimulatedLoop()
        try:
            outcome = loop.run(_execute(plan, course, teller))
        finally:
            loop.close()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    for error in loop.errors:
        teller.note(f"left behind: {error}")
    return outcome


async def _execute(plan: _Plan, course: Course, teller: Teller) -> _Outcome:
    """Run the execution until it has ended, or nobody could go on with it."""
    journal: Journal = MemoryJournal()
    if plan.journal:
        journal = await SqliteJournal.open(plan.journal, synchronous=plan.synchronous)
    clock, new_id = await _determined(journal) if plan.virtual else (wall_clock(), lambda: uuid4().hex)
    manager = ExecutionStateManager(journal)
    async with WorkflowEngine(manager, ACTIONS, max_concurrent_steps=plan.slots, clock=clock, new_id=new_id) as engine:
        with Interruption() as interruption:
            course.execution = await engine.start_workflow(plan.workflow, plan.inputs)
            where = f", journal {plan.journal}" if plan.own else ""
            teller.note(f"{plan.workflow.name}: {counted(course.steps, 'step')}, execution {course.execution}{where}")
            cancelling = asyncio.create_task(_cancel(engine, course, teller, interruption))
            try:
                failure = await follow(engine, course, teller)
            finally:
                cancelling.cancel()
                await asyncio.gather(cancelling, return_exceptions=True)
        report = await report_of(engine, course, teller, failure)
    return _Outcome(report, interruption.signal)


async def _determined(journal: Journal) -> tuple[Callable[[], float], Callable[[], str]]:
    """A clock that starts at 0, and an id that the journal alone decides."""
    begun = await journal.begun() if isinstance(journal, SqliteJournal) else 0
    return asyncio.get_running_loop().time, lambda: f"execution-{begun + 1}"


async def _cancel(engine: WorkflowEngine, course: Course, teller: Teller, interruption: Interruption) -> None:
    await interruption.came.wait()
    teller.note("interrupted: cancelling the execution and waiting for its end (again: do not wait)")
    with suppress(JournalError, EngineClosedError):
        await engine.cancel_execution(course.execution)


def write_out(out: str, value: Json) -> None:
    """Write an outcome to the file that it was asked for in."""
    try:
        Path(out).write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="ascii")
    except OSError as error:
        _refuse(f"--json {out}", error.strerror or error)
