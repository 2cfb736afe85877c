"""``lockstep journal``: what a SQLite journal holds, and whether that keeps the contract.

Rule 1: the file is only read, an engine may own it meanwhile, and an execution need not have ended.
Rule 2: what can be read is shown, as it stands there: whoever looks at a damaged journal wants to see the damage.
Rule 3: exit status 0 for what was asked, 1 for a journal that breaks the contract (``--check``), 2 for bad input: what
cannot be read included.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.errors import JournalError, UnknownExecutionError
from engine.sqlite_journal import Kept, SqliteJournal
from machines.course import one_line
from machines.given import check_out, refuse, write_out
from machines.recorded import Event, Unreadable, told
from machines.reporting import counted

if TYPE_CHECKING:
    from machines.hindsight import Finding

__all__ = ["journal"]

Json = Any

HOLDS: Final = 0
BROKEN: Final = 1
BAD_INPUT: Final = 2
_SHOWN: Final = 200
_FIRST_DATE: Final = 1e8
"""Times from here on are taken for seconds since 1970, times before for seconds of a clock that began at 0."""
_LAST_DATE: Final = 2.5e11
_BESIDE: Final = ("", "-wal", "-shm", "-journal", ".lock")
"""What SQLite and the journal keep beside a file, by the ends of their names."""


@click.command()
@click.argument("file")
@click.argument("execution", required=False)
@click.option("--check", is_flag=True, help="Hold every execution (or the one that is named) against the contract.")
@click.option("--json", "out", metavar="OUT", help="Write the same to this file as JSON.")
def journal(*, file: str, execution: str | None, check: bool, out: str | None) -> int:
    """List the executions of the SQLite journal FILE, or the events of one EXECUTION.

    With --check, say whether what is recorded keeps the contract. An engine may own the journal, and executions may be
    unfinished. Exit status: 0, or 1 for the first event that breaks the contract, 2 bad input.
    """
    _check_out(out, file)
    try:
        return asyncio.run(_look(file, execution, out, check=check))
    except JournalError as error:
        refuse(error.reason)
    except UnknownExecutionError as error:
        refuse(file, error)


def _check_out(out: str | None, file: str) -> None:
    """Find out whether the outcome can be written, and is not written over the journal."""
    check_out(out)
    if out is not None and Path(out).exists():
        for end in _BESIDE:
            if (path := Path(file + end)).exists() and path.samefile(out):
                refuse(f"--json {out}", "is a file of the journal")


async def _look(file: str, execution: str | None, out: str | None, *, check: bool) -> int:
    async with _opened(file) as kept:
        if check:
            return await _check(kept, execution, out)
        if execution is not None:
            return await _print_events(kept, execution, out)
        return await _print_executions(kept, out)


@asynccontextmanager
async def _opened(file: str) -> AsyncIterator[SqliteJournal]:
    found = await SqliteJournal.open(file, read_only=True)
    try:
        yield found
    finally:
        await found.close()


# The executions


@dataclass(slots=True)
class _Summary:
    """An execution in one row."""

    execution: str
    workflow: str | None = None
    steps: int | None = None
    status: str = "unknown"
    events: int = 0
    started: float | None = None
    ended: float | None = None
    done: dict[str, None] = field(default_factory=dict)
    """Steps that were recorded as settled."""

    def see(self, event: Event) -> None:
        """Take note of the next event."""
        self.events += 1
        kind = event["type"]
        self.status = _STATUSES.get(kind, self.status)
        if kind == "ExecutionCreated":
            self.workflow, self.steps = _titled(event["workflow"])
        elif kind == "ExecutionStarted":
            self.started = event["at"]
        elif kind == "ExecutionEnded":
            self.ended, self.status = event["at"], event["status"]
        elif kind in _SETTLING:
            self.done[event["step"]] = None

    def row(self) -> tuple[str, ...]:
        """The row for people."""
        steps = "?" if self.steps is None else str(self.steps)
        return (
            one_line(self.execution),
            one_line(self.workflow or "-"),
            one_line(self.status),
            str(self.events),
            f"{len(self.done)}/{steps}",
            _moment(self.started),
            _moment(self.ended),
        )

    def to_json(self) -> dict[str, Json]:
        """The row for machines."""
        return {
            "execution": self.execution,
            "workflow": self.workflow,
            "status": self.status,
            "events": self.events,
            "steps_done": len(self.done),
            "steps": self.steps,
            "started": self.started,
            "ended": self.ended,
        }


_COLUMNS: Final = ("execution", "workflow", "status", "events", "steps done", "started", "ended")
_NUMBERS: Final = (3, 4)
_STATUSES: Final[Mapping[str, str]] = {
    "ExecutionCreated": "PENDING",
    "ExecutionStarted": "RUNNING",
    "ExecutionPaused": "PAUSED",
    "ExecutionResumed": "RUNNING",
    "CancellationRequested": "CANCELLING",
    "RollbackStarted": "ROLLING_BACK",
}
_SETTLING: Final = ("StepCompleted", "StepFailed", "StepSkipped", "StepCancelled")


async def _print_executions(kept: SqliteJournal, out: str | None) -> int:
    found: list[_Summary] = []
    damages: list[str] = []
    for execution in await kept.executions():
        summary = _Summary(execution)
        for _, event in _told(execution, await kept.kept(execution), damages):
            if not isinstance(event, Unreadable):
                summary.see(event)
        found.append(summary)
    _print_table([summary.row() for summary in found])
    click.echo(counted(len(found), "execution"))
    write_out(out, {"executions": [summary.to_json() for summary in found]})
    return _say(kept, damages)


def _titled(workflow: Mapping[str, Json]) -> tuple[str | None, int | None]:
    """A workflow's name, and how many steps it has, as far as its definition says; in any of the three shapes."""
    name = workflow.get("name") or workflow.get("id")
    inner = workflow.get("workflow")
    specification = inner.get("specification") if isinstance(inner, dict) else None
    tasks = specification.get("tasks") if isinstance(specification, dict) else None
    steps = workflow.get("steps") or workflow.get("nodes") or tasks
    return None if name is None else str(name), len(steps) if isinstance(steps, list) else None


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows):
        cells = [
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _moment(at: float | None) -> str:
    """A time on an engine's clock: a date, if it can be one."""
    if at is None:
        return "-"
    if _FIRST_DATE <= at < _LAST_DATE:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"
    return f"{at:.3f} s"


# The events of one


async def _print_events(kept: SqliteJournal, execution: str, out: str | None) -> int:
    damages: list[str] = []
    held = await kept.kept(execution)
    rows = list(_told(execution, held, damages))
    first = next((event["at"] for _, event in rows if not isinstance(event, Unreadable)), 0.0)
    width = len(str(len(rows)))
    for (seq, event), (_, text) in zip(rows, held.texts, strict=True):
        if isinstance(event, Unreadable):
            time, what = "-", f"cannot be read: {_clipped(text)}"
        else:
            time, what = f"{event['at'] - first:.3f}", _described(event, first)
        click.echo(f"{seq!s:>{width}}  {time:>10}  {what}")
    events = [{"seq": seq, "event": None if isinstance(event, Unreadable) else event} for seq, event in rows]
    write_out(out, {"execution": execution, "events": events})
    return _say(kept, damages)


def _described(event: Event, first: float) -> str:
    """An event in one line: its type, its step and attempt, and whatever else it says."""
    about = [event["type"]]
    if "step" in event:
        about.append(event["step"])
    if "attempt" in event:
        about.append(f"attempt {event['attempt']}")
    more = [_detail(name, value, first) for name, value in event.items() if name not in _HEADING]
    return _clipped(" ".join(about) + "".join(f", {detail}" for detail in more if detail))


def _clipped(text: str | bytes) -> str:
    line = one_line(text if isinstance(text, str) else text.decode(errors="replace"))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


_HEADING: Final = ("type", "at", "step", "attempt")


def _detail(name: str, value: Json, first: float) -> str:
    match name, value:
        case "error", None:
            return ""
        case "error", _:
            return f"{value['type']}: {value['message']}"
        case "until", _:
            return f"until {value - first:.3f}"
        case "status", _:
            return str(value)
        case "workflow", _:
            title, steps = _titled(value)
            return f"workflow {title}" + ("" if steps is None else f" of {counted(steps, 'step')}")
        case "missing" | "inputs", _ if not value:
            return ""
        case _:
            return f"{name} {json.dumps(value, ensure_ascii=False)}"


# The check


async def _check(kept: SqliteJournal, execution: str | None, out: str | None) -> int:
    from machines.hindsight import judged  # noqa: PLC0415  # the model's libraries take a while to import

    names = await kept.executions() if execution is None else [execution]
    events = 0
    finding: Finding | None = None
    for name in names:
        held = await kept.kept(name)
        events += len(held.texts)
        finding = judged(name, held)
        if finding is not None:
            click.echo(one_line(finding.tell()))
            break
    else:
        click.echo(f"{counted(len(names), 'execution')}, {counted(events, 'event')}: the contract holds")
    write_out(out, {"executions": len(names), "violation": None if finding is None else _finding(finding)})
    return HOLDS if finding is None else BROKEN


def _finding(finding: Finding) -> dict[str, Json]:
    return {
        "clause": finding.clause,
        "invariant": finding.invariant,
        "execution": finding.execution,
        "event": finding.event,
        "sentence": finding.sentence,
    }


# What cannot be read


def _told(execution: str, held: Kept, damages: list[str]) -> Iterator[tuple[int, Event | Unreadable]]:
    """The events with their numbers; what is missing or cannot be read goes to ``damages``."""
    gap = next((number for number, (seq, _) in enumerate(held.texts, 1) if seq != number), len(held.texts) + 1)
    if gap <= max(len(held.texts), held.last):
        damages.append(f"execution {execution}: event {gap} is missing")
    for seq, event in told(held):
        if isinstance(event, Unreadable):
            damages.append(f"execution {execution}, event {seq}: {event}")
        yield seq, event


def _say(kept: SqliteJournal, damages: Sequence[str]) -> int:
    """Refuse what is damaged, now that the rest is shown."""
    if damages:
        more = f" (and {len(damages) - 1} more like that)" if len(damages) > 1 else ""
        refuse(kept.path, f"{damages[0]}{more}")
    return HOLDS
