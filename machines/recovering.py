"""``lockstep recover``: every unfinished execution of a journal is taken up, and told to its end.

Rule 1: all of them or none: whatever can be refused is refused before the first is taken up, with exit status 2.
Rule 2: a journal is never made here, and one in which all has ended is only read.
Rule 3: Ctrl-C stops this process and no execution: all that is unfinished can be recovered again.
Rule 4: an execution that was taken up is told as ``lockstep run`` would tell it, from there on (of several, only what
is out of the ordinary). Exit status 0 if all are COMPLETED, 3 if one is not, 130 after Ctrl-C.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import click

from engine.actions import ACTIONS
from engine.errors import JournalError
from engine.messages import Json
from engine.sqlite_journal import SqliteJournal, Synchronous
from engine.state import TERMINAL, Report, State, Status
from engine.state_manager import ExecutionStateManager
from engine.workflow import Workflow
from engine.workflow_engine import WorkflowEngine
from machines.course import (
    BriefTeller,
    Course,
    Teller,
    counted,
    one_line,
    outcome_line,
    print_outcome,
    result,
    teller_of,
)
from machines.following import COMPLETED, NOT_COMPLETED, SIGNALLED, Interruption, follow, report_of, wall_clock
from machines.given import refuse
from machines.running import check_out, max_concurrent_steps, synchronous, write_out

__all__ = ["check_unfinished", "recover"]

_FIRST_DATE: Final = 1e8
"""A real clock is past this, in seconds since 1970; one that began at 0 is not."""
_SPEAKER: Final = "lockstep recover"


@click.command()
@click.argument("file")
@synchronous("FULL")
@max_concurrent_steps
@click.option("--json", "out", metavar="OUT", help="Write the outcomes to this file as JSON.")
def recover(*, file: str, synchronous: Synchronous | None, max_concurrent_steps: int, out: str | None) -> int:
    """Go on with every unfinished execution of the SQLite journal FILE, with the built-in actions.

    Steps that completed do not run again; an attempt that was interrupted does. Ctrl-C stops, and cancels nothing: what
    is unfinished can be recovered again. Exit status: 0 all are COMPLETED (or there is nothing to recover), 3 one is
    not, 2 bad input, 130 interrupted.
    """
    if out is not None:
        check_out(out, file, file)
    plan = _Plan(file, synchronous or "FULL", max_concurrent_steps)
    try:
        outcome = asyncio.run(_recover(plan))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except JournalError as error:
        refuse(error.reason)
    outcome.print(file)
    if out is not None:
        write_out(out, outcome.to_json())
    return outcome.status()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be recovered, and how."""

    file: str
    synchronous: Synchronous
    slots: int


@dataclass(frozen=True, slots=True)
class _Adrift:
    """An execution that is unfinished, and how far it had come."""

    execution: str
    workflow: Workflow
    known: int
    """The number of its last event."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the executions; ``interrupted`` is the signal, or 0."""

    ends: Sequence[tuple[_Adrift, Course, Report]]
    interrupted: int

    def print(self, file: str) -> None:
        """A table for each."""
        if not self.ends:
            click.echo(one_line(f"{file}: nothing to recover"))
        for number, (each, course, report) in enumerate(self.ends):
            if number:
                click.echo()
            click.echo(one_line(f"{each.workflow.name}, execution {each.execution}"))
            print_outcome(report, course)
        if len(self.ends) > 1:
            counts = Counter(report["status"] for _, _, report in self.ends)
            totals = ", ".join(f"{count} {status}" for status, count in counts.items())
            click.echo(f"\n{counted(len(self.ends), 'execution')}: {totals}")

    def to_json(self) -> Json:
        """The same for machines."""
        return {"executions": [result(report, course) for _, course, report in self.ends]}

    def status(self) -> int:
        """The exit status."""
        if self.interrupted:
            return SIGNALLED + self.interrupted
        completed = all(report["status"] == Status.COMPLETED for _, _, report in self.ends)
        return COMPLETED if completed else NOT_COMPLETED


async def _recover(plan: _Plan) -> _Outcome:
    """Take up what is unfinished, and see it to its end, or to where nobody goes on with it."""
    if not await _is_unfinished(plan.file):
        return _Outcome((), 0)
    manager = ExecutionStateManager(await SqliteJournal.open(plan.file, synchronous=plan.synchronous))
    async with WorkflowEngine(manager, ACTIONS, max_concurrent_steps=plan.slots, clock=wall_clock()) as engine:
        adrift = await _adrift(plan.file, manager)
        if not adrift:  # somebody else was quicker
            return _Outcome((), 0)
        with Interruption() as interruption:
            await engine.recover()
            ends = await _follow_all(engine, adrift, interruption)
            await engine.close()  # here a second Ctrl-C is still heard: actions may take their time to end
    return _Outcome(ends, interruption.signal)


async def _is_unfinished(file: str) -> bool:
    """Whether there is something to recover, found out without a change to the file (rule 2)."""
    journal = await SqliteJournal.open(file, read_only=True)
    try:
        return bool(await journal.unfinished())
    finally:
        await journal.close()


async def _adrift(file: str, manager: ExecutionStateManager) -> list[_Adrift]:
    """What is unfinished, if we can go on with all of it (rule 1)."""
    states = await check_unfinished(file, manager, ACTIONS)
    return [_Adrift(execution, state.workflow, state.seq) for execution, state in states.items()]


async def check_unfinished(file: str, manager: ExecutionStateManager, actions: Collection[str]) -> dict[str, State]:
    """The states of what is unfinished in a journal; one that nobody could go on with here is refused."""
    states = {execution: await manager.state(execution) for execution in await manager.journal.unfinished()}
    lacking = {execution: found for execution, state in states.items() if (found := _lacking(state.workflow, actions))}
    if lacking:
        names = ", ".join(dict.fromkeys(name for found in lacking.values() for name in found))
        refuse(file, "nothing was taken up", f"these actions are missing: {names} ({_named(list(lacking))})")
    if virtual := [execution for execution, state in states.items() if _is_virtual(state)]:
        refuse(
            file, "nothing was taken up", f"virtual time cannot go on in real time: run it again ({_named(virtual)})"
        )
    return states


def _named(executions: Sequence[str]) -> str:
    """Some executions in a few words."""
    return f"execution {executions[0]}" + (f" and {len(executions) - 1} more" if len(executions) > 1 else "")


def _lacking(workflow: Workflow, actions: Collection[str]) -> list[str]:
    """The actions that a workflow names and nobody has here."""
    named = (
        action
        for step in workflow.steps
        for action in (step.action, *((step.compensation.action,) if step.compensation else ()))
    )
    return [action for action in named if action not in actions]


def _is_virtual(state: State) -> bool:
    """Whether an execution's times are no dates: waits and deadlines would all be over."""
    return state.started_at is not None and state.started_at < _FIRST_DATE


# What happens


async def _follow_all(
    engine: WorkflowEngine, adrift: Sequence[_Adrift], interruption: Interruption
) -> list[tuple[_Adrift, Course, Report]]:
    """See all to their ends, unless somebody does not want to wait for that (rule 3)."""
    courses = [Course(len(each.workflow.steps), each.execution) for each in adrift]
    alone = len(adrift) == 1
    with teller_of(courses[0], _SPEAKER) if alone else BriefTeller(Course(0), _SPEAKER) as teller:
        tellers = [
            teller if alone else BriefTeller(course, f"{_SPEAKER}: execution {course.execution}") for course in courses
        ]
        for each in adrift:
            steps, known = counted(len(each.workflow.steps), "step"), counted(each.known, "event")
            teller.note(f"{each.workflow.name}: {steps}, execution {each.execution}, taken up after {known}")
        following = [
            asyncio.create_task(_follow_one(engine, *found, brief=not alone))
            for found in zip(adrift, courses, tellers, strict=True)
        ]
        stopping = asyncio.create_task(_stop(following, interruption, teller))
        await asyncio.wait(following)
        stopping.cancel()
        reports = [
            await engine.get_execution(course.execution) if task.cancelled() else task.result()
            for course, task in zip(courses, following, strict=True)
        ]
    return list(zip(adrift, courses, reports, strict=True))


async def _follow_one(
    engine: WorkflowEngine, adrift: _Adrift, course: Course, teller: Teller, *, brief: bool
) -> Report:
    report = await report_of(engine, course, teller, await follow(engine, course, teller, adrift.known))
    if brief and report["status"] in TERMINAL:
        teller.note(outcome_line(report, course))
    return report


async def _stop(following: Sequence[asyncio.Task[Report]], wish: Interruption, teller: Teller) -> None:
    await wish.came.wait()
    teller.note("interrupted: stopping; what is unfinished can be recovered again (again: do not wait)")
    for task in following:
        task.cancel()
