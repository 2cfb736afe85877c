"""``lockstep run``: one execution of one workflow on the real engine, in real or in virtual time.

Rule 1: what is shown is made of durable events and their own times alone.
Rule 2: whatever can be refused is refused before the execution begins: exit status 2, and no trace of it.
Rule 3: an execution that began is told to its end: a table, the JSON file, and exit status 0 for COMPLETED, 3 for
anything else, 130 after Ctrl-C (which cancels the execution and waits for its end; a second one does not wait).
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, Self
from uuid import uuid4

import click

from engine.actions import ACTIONS
from engine.definition import parse_workflow
from engine.errors import DefinitionError, EngineClosedError, JournalError
from engine.journal import Journal, MemoryJournal
from engine.messages import (
    Failure,
    Json,
)
from engine.sqlite_journal import SqliteJournal
from engine.state import Report, Status
from engine.state_manager import ExecutionStateManager
from engine.values import json_faults
from engine.workflow import Workflow
from engine.workflow_engine import WorkflowEngine
from machines.course import BarTeller, Course, Teller, counted, print_outcome, result
from machines.loop import SimulatedLoop

__all__ = ["run"]

COMPLETED: Final = 0
NOT_COMPLETED: Final = 3
SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that ended a program."""

_REAL_ONLY: Final = "shell"
"""The action that has effects outside, which no virtual time can hasten."""
_TENTHS: Final = 10
_NOTES: Final = 20
"""Failures that are told while the execution goes on; the table has them all."""
_SHOWN: Final = 200
_DIGITS: Final = 9
"""Decimals of the seconds in the JSON: finer than any clock, coarser than the noise of adding floats."""


@click.command()
@click.argument("file")
@click.option(
    "--input", "given", metavar="JSON", default="{}", help="The input: a JSON object, or @FILE that holds one."
)
@click.option("--journal", metavar="FILE", help="Keep the journal in this SQLite file; without it, in memory.")
@click.option("--virtual-time", is_flag=True, help="Simulate time: waiting takes none.")
@click.option(
    "--max-concurrent-steps", type=click.IntRange(min=1), default=5, show_default=True, help="Slots of the engine."
)
@click.option("--json", "out", metavar="OUT", help="Write the outcome to this file as JSON.")
def run(
    *, file: str, given: str, journal: str | None, virtual_time: bool, max_concurrent_steps: int, out: str | None
) -> int:
    """Run the workflow in FILE (JSON: steps, graph, or WfFormat 1.5) with the built-in actions.

    The actions are wait, echo, fail and shell. Exit status: 0 the execution is COMPLETED, 3 it is not, 2 bad input,
    130 interrupted.
    """
    workflow = _read_workflow(file, virtual_time=virtual_time)
    plan = _Plan(workflow, _read_input(given), journal, virtual_time, max_concurrent_steps)
    if out is not None:
        _check_out(out, file, journal)
    course = Course(len(workflow.steps))
    teller = BarTeller(course) if sys.stdout.isatty() and sys.stderr.isatty() else Teller(course)
    try:
        with teller:
            outcome = _run_loop(plan, course, teller)
    except JournalError as error:
        _refuse(error.reason)
    print_outcome(outcome.report, course)
    if out is not None:
        _write_out(out, result(outcome.report, course))
    if outcome.interrupted:
        return SIGNALLED + outcome.interrupted
    return COMPLETED if outcome.report["status"] == Status.COMPLETED else NOT_COMPLETED


# What is given


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be run, and how."""

    workflow: Workflow
    inputs: dict[str, Json]
    journal: str | None
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


def _check_out(out: str, *others: str | None) -> None:
    """Find out before the execution begins whether its outcome can be written."""
    path = Path(out)
    place = f"--json {out}"
    if path.is_dir():
        _refuse(place, "is a directory")
    if not path.parent.is_dir():
        _refuse(place, f"there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        _refuse(place, "cannot be written to")
    if path.exists() and any(Path(other).exists() and path.samefile(other) for other in others if other):
        _refuse(place, "is a file that this execution reads")


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
        # What a simulation did can be simulated again: it need not outlast a loss of power, and may be quick.
        journal = await SqliteJournal.open(plan.journal, synchronous="NORMAL" if plan.virtual else "FULL")
    clock, new_id = await _determined(journal) if plan.virtual else (_clock(), lambda: uuid4().hex)
    manager = ExecutionStateManager(journal)
    async with WorkflowEngine(manager, ACTIONS, max_concurrent_steps=plan.slots, clock=clock, new_id=new_id) as engine:
        with _Interruption() as interruption:
            course.execution = await engine.start_workflow(plan.workflow, plan.inputs)
            teller.note(f"{plan.workflow.name}: {counted(course.steps, 'step')}, execution {course.execution}")
            failure = await _follow(engine, course, teller, interruption)
        report = await engine.get_execution(course.execution)
    if failure is not None:
        teller.note(f"cannot go on: {failure}")
        report["error"] = Failure(None, None, type(failure).__name__, str(failure)).to_json()
    elif report["status"] == Status.PAUSED:
        missing = "; ".join(f"step {step} misses {', '.join(paths)}" for step, paths in report["missing"].items())
        teller.note(f"PAUSED, and nobody is here to resume it: {missing}")
    return _Outcome(report, interruption.signal)


async def _determined(journal: Journal) -> tuple[Callable[[], float], Callable[[], str]]:
    """A clock that starts at 0, and an id that the journal alone decides."""
    begun = await journal.begun() if isinstance(journal, SqliteJournal) else 0
    return asyncio.get_running_loop().time, lambda: f"execution-{begun + 1}"


def _clock() -> Callable[[], float]:
    """A clock that tells the time of day, and never goes back."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


async def _follow(
    engine: WorkflowEngine, course: Course, teller: Teller, interruption: "_Interruption"
) -> JournalError | None:
    """Watch the execution to its end, or to where nobody goes on with it. Returns what kept the engine from that."""
    watching = asyncio.create_task(_watch(engine, course, teller))
    ending = asyncio.create_task(engine.wait(course.execution))
    cancelling = asyncio.create_task(_cancel(engine, course, teller, interruption))
    try:
        await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            await ending
        await watching
    except JournalError as error:
        return error
    finally:
        for task in (watching, ending, cancelling):
            task.cancel()
        await asyncio.gather(watching, ending, cancelling, return_exceptions=True)
    return None


async def _watch(engine: WorkflowEngine, course: Course, teller: Teller) -> None:
    async for seq, event in engine.subscribe(course.execution):
        course.see(event)
        teller.tell(event)
        if course.paused and not course.running:
            report = await engine.get_execution(course.execution)
            if report["status"] == Status.PAUSED and report["seq"] == seq:
                return


async def _cancel(engine: WorkflowEngine, course: Course, teller: Teller, interruption: "_Interruption") -> None:
    await interruption.came.wait()
    teller.note("interrupted: cancelling the execution and waiting for its end (again: do not wait)")
    with suppress(JournalError, EngineClosedError):
        await engine.cancel_execution(course.execution)


class _Interruption:
    """While it lasts, the first Ctrl-C (or SIGTERM) is told by ``came``, and the next cancels the task that made this.

    From then on nobody listens: whoever does not want to wait for that either gets his ``KeyboardInterrupt``.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.came = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._waiting = asyncio.current_task(self._loop)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen, if this is the thread that may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            for each in self._before:
                signal.signal(each, signal.default_int_handler)
        self._loop.call_soon_threadsafe(self._insist if self.signal else self.came.set)
        self.signal = number

    def _insist(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


def _write_out(out: str, value: Json) -> None:
    try:
        Path(out).write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="ascii")
    except OSError as error:
        _refuse(f"--json {out}", error.strerror or error)
