"""How ``lockstep run`` and ``lockstep recover`` tell of an execution: while it goes on, and when it is over.

Rule 1: everything told is made of durable events, and their own times, and the engine's report.
Rule 2: progress goes to stderr, a line at a time (under a bar, if there is a terminal); the outcome goes to stdout.
Rule 3: whatever text an action, a file or a user has chosen stays on its line.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

import click

from engine.messages import (
    CancellationRequested,
    CompensationCompleted,
    CompensationFailed,
    CompensationRetrying,
    CompensationStarted,
    Event,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    Json,
    RollbackStarted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
)
from engine.state import Report

__all__ = [
    "BriefTeller",
    "Course",
    "Teller",
    "counted",
    "one_line",
    "outcome_line",
    "print_outcome",
    "printable",
    "result",
    "teller_of",
]

_TENTHS: Final = 10
_NOTES: Final = 20
"""Failures that are told while the execution goes on; the table has them all."""
_SHOWN: Final = 200
_DIGITS: Final = 9
"""Decimals of the seconds in the JSON: finer than any clock, coarser than the noise of adding floats."""


def one_line(text: str) -> str:
    """A text as one line that any terminal can show: runs of white space are blanks, other oddities are escaped."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """A text as any terminal can show it, and be none the wiser: oddities are escaped, the ends of lines too."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


@dataclass(slots=True)
class Course:
    """What has happened when, by the events' own times."""

    steps: int
    execution: str = ""
    began: float | None = None
    now: float = 0.0
    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    """Steps that started and are settled."""
    running: dict[str, None] = field(default_factory=dict)
    settled: int = 0
    paused: bool = False

    def see(self, event: Event) -> None:
        """Take note of the next event."""
        self.now = event.at
        match event:
            case ExecutionStarted(at):
                self.began = at
            case StepStarted(at, step):
                self.started.setdefault(step, at)
                self.running[step] = None
            case StepCompleted(at, step) | StepFailed(at, step) | StepCancelled(at, step):
                self.ended[step] = at
                self.running.pop(step, None)
                self.settled += 1
            case StepSkipped():
                self.settled += 1
            case CompensationStarted(_, step):
                self.running[step] = None
            case (
                StepRetrying(_, step)
                | CompensationRetrying(_, step)
                | CompensationCompleted(_, step)
                | CompensationFailed(_, step)
            ):
                self.running.pop(step, None)
            case ExecutionPaused():
                self.paused = True
            case ExecutionResumed() | CancellationRequested() | RollbackStarted():
                self.paused = False
            case _:
                pass

    def since(self, at: float | None) -> float | None:
        """The seconds from the execution's start to a time; None if one of them never came."""
        return None if at is None or self.began is None else round(at - self.began, _DIGITS)

    def times(self, step: str) -> tuple[float | None, float | None]:
        """When a step started and when it was settled, in seconds since the execution's start."""
        started = self.started.get(step)
        return self.since(started), None if started is None else self.since(self.ended.get(step))

    def makespan(self) -> float | None:
        """The seconds from the execution's start to its last event."""
        return self.since(self.now)


class Teller:
    """Plain lines: one for each tenth of the steps, and one for what is out of the ordinary."""

    def __init__(self, course: Course, speaker: str) -> None:
        self._course = course
        self._speaker = speaker
        self._tenths = 0
        self._failures = 0

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put away."""

    def tell(self, event: Event) -> None:
        """A step was settled, or something is out of the ordinary."""
        if text := self._remarkable(event):
            self.note(text)
        if type(event) is CancellationRequested:
            self._tenths = _TENTHS  # what follows is no progress
        tenths = self._tenths_settled()
        if tenths > self._tenths:
            self._tenths = tenths
            self.note(self.progress())

    def skip(self) -> None:
        """All that the course has seen so far is history, and no progress."""
        self._tenths = self._tenths_settled()

    def note(self, text: str) -> None:
        """Print a line."""
        click.echo(one_line(f"{self._speaker}: {text}"), err=True)

    def progress(self) -> str:
        """Where the execution stands, in a few words."""
        course = self._course
        steps, running = counted(course.steps, "step"), len(course.running)
        return f"{course.settled} of {steps} settled, {running} running, {_time(course.makespan())} s"

    def _tenths_settled(self) -> int:
        return self._course.settled * _TENTHS // max(self._course.steps, 1)

    def _remarkable(self, event: Event) -> str | None:
        match event:
            case StepFailed() | StepRetrying() | CompensationFailed() | CompensationRetrying():
                self._failures += 1
                if self._failures > _NOTES:
                    return None
                more = " (further failures are in the table)" if self._failures == _NOTES else ""
                return f"step {event.step}, attempt {event.attempt}: {_failure(event.error.to_json())}{more}"
            case ExecutionPaused():
                return "paused"
            case RollbackStarted():
                return "rolling back"
            case _:
                return None


class BriefTeller(Teller):
    """One of several executions at once: only what is out of the ordinary."""

    def tell(self, event: Event) -> None:
        """Something may be out of the ordinary."""
        if text := self._remarkable(event):
            self.note(text)


class BarTeller(Teller):
    """A bar at the foot of the terminal, with the lines above it."""

    def __init__(self, course: Course, speaker: str) -> None:
        from rich.console import Console  # noqa: PLC0415  # most commands and most runs need no terminal
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  # as above

        super().__init__(course, speaker)
        columns = (TextColumn("{task.description}", markup=False), BarColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=course.steps)

    def __enter__(self) -> Self:
        """Draw the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def tell(self, event: Event) -> None:
        """Move the bar."""
        if text := self._remarkable(event):
            self.note(text)
        self._update()

    def skip(self) -> None:
        """Put the bar where the course stands."""
        self._update()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(one_line(f"{self._speaker}: {text}"), markup=False, highlight=False, soft_wrap=True)

    def _update(self) -> None:
        self._bar.update(self._task, completed=self._course.settled, description=self.progress())


def teller_of(course: Course, speaker: str) -> Teller:
    """Who tells of a single execution: with a bar, if there is a terminal."""
    return (BarTeller if sys.stdout.isatty() and sys.stderr.isatty() else Teller)(course, speaker)


_COLUMNS: Final = ("step", "status", "attempts", "start", "end", "duration", "error")
_NUMBERS: Final = range(2, 6)


def print_outcome(report: Report, course: Course) -> None:
    """Every step in a row, in the order of the workflow, and the outcome below."""
    rows = list(_rows(report, course))
    if sys.stdout.isatty():
        _print_rich(rows)
    else:
        _print_plain(rows)
    click.echo(outcome_line(report, course))


def outcome_line(report: Report, course: Course) -> str:
    """How an execution ended, or where it stands, in a line."""
    error = f": {_failure(report['error'])}" if report["error"] else ""
    return one_line(f"{report['status']} after {_time(course.makespan())} s{error}")


def _rows(report: Report, course: Course) -> Iterable[tuple[str, ...]]:
    for step, found in report["steps"].items():
        started, ended = course.times(step)
        duration = None if started is None or ended is None else ended - started
        error = _failure(found["error"]) if "error" in found else ""
        times = (_time(started), _time(ended), _time(duration))
        yield (one_line(step), found["status"], str(found["attempts"]), *times, error)


def _print_plain(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows):
        cells = [
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _print_rich(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console  # noqa: PLC0415  # see ``BarTeller``
    from rich.table import Table  # noqa: PLC0415  # as above
    from rich.text import Text  # noqa: PLC0415  # as above

    table = Table()
    for number, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if number in _NUMBERS else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"


def _failure(error: Json) -> str:
    """A failure in one line that a table can hold."""
    text = one_line(f"{error['type']}: {error['message']}")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def result(report: Report, course: Course) -> dict[str, Json]:
    """The outcome as a JSON object."""
    steps = {}
    for step, found in report["steps"].items():
        started, ended = course.times(step)
        steps[step] = {
            "status": found["status"],
            "started_seconds": started,
            "ended_seconds": ended,
            "attempts": found["attempts"],
            "output": found.get("output"),
            "error": found.get("error"),
        }
    return {
        "execution": course.execution,
        "status": report["status"],
        "makespan_seconds": course.makespan(),
        "error": report["error"],
        "missing": report["missing"],
        "steps": steps,
    }
