"""A case carried out once more under the eyes of somebody who notes, move by move, what was claimed and what was known.

Rule 1: what the engine claims is folded from its own events, and replaced by its own reports. What the model knows is
read off its facts. Neither is corrected by the other: where they part is what a story is about.
Rule 2: the entries up to the one that broke the contract were judged; those of the same move that follow it were not.
Rule 3: of a case without bound the last moves are kept.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from machines.case import Case, Line, carry_out
from machines.moves import tell
from machines.nearest import Nearest, nearest
from machines.tape import Deviation, Tape
from machines.target import TargetFactory
from machines.world import ContractViolated, Played, World
from model.execution import Execution
from model.history import Entry, Recorded, Reported
from model.judge import Violation

Json = Any

MOST_MOVES: Final = 1000
"""How many moves are kept, the last ones."""
_TRIALS: Final = 64
"""How many deviations are tried without, the last ones first."""

ENDING: Final = "the case ends: faults stop, gates open, pauses resume, time passes"

EXECUTION_STATUS: Final[Mapping[str, str]] = {
    "ExecutionCreated": "PENDING",
    "ExecutionStarted": "RUNNING",
    "ExecutionPaused": "PAUSED",
    "ExecutionResumed": "RUNNING",
    "CancellationRequested": "CANCELLING",
    "RollbackStarted": "ROLLING_BACK",
}
_STEP: Final[Mapping[str, str]] = {
    "StepSkipped": "SKIPPED",
    "StepStarted": "RUNNING",
    "StepRetrying": "RETRYING",
    "StepCompleted": "COMPLETED",
    "StepFailed": "FAILED",
    "StepCancelled": "CANCELLED",
    "CompensationStarted": "COMPENSATING",
    "CompensationCompleted": "COMPENSATED",
    "CompensationFailed": "COMPENSATION_FAILED",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an execution and its steps stand, by what somebody says."""

    status: str
    steps: Mapping[str, str]
    running: tuple[str, ...] = ()
    """Whose actions really run; only the model says that, as it says what follows."""
    ready: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    """What a rollback has to undo, the next one first."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood after a move."""

    number: int
    """The move's, counted from 1."""
    played: Played | None
    """None: the liveness phase."""
    at: float
    first: int
    """The first of its entries in the history."""
    end: int
    """The one after its last."""
    claimed: Mapping[str, Standing]
    known: Mapping[str, Standing]

    @property
    def text(self) -> str:
        """The move in words, its deviations marked."""
        return ENDING if self.played is None else self.played.tell()

    @property
    def move(self) -> str:
        """The move alone."""
        return ENDING if self.played is None else tell(self.played.move)

    @property
    def deviations(self) -> list[tuple[Deviation, str]]:
        """Its deviations, each with words."""
        return [
            (
                found,
                f"latency {found.value * 1000:g} ms" if found.track == "latency" else f"out of turn by {found.value:g}",
            )
            for found in (() if self.played is None else self.played.deviations)
        ]


@dataclass(frozen=True, slots=True)
class Testimony:
    """All that was noted of a case."""

    case: Case
    frames: tuple[Frame, ...]
    """The last of them is where the contract was broken, if it was."""
    before: int
    """How many moves were forgotten."""
    history: tuple[Entry, ...]
    violation: Violation | None
    digest: str
    workflows: Mapping[str, Execution]
    """By execution: its facts; the definition among them."""
    decisive: frozenset[tuple[int, Deviation]] = field(default_factory=frozenset)
    """The number of a move, and the deviation of it without which the contract holds."""
    nearest: Nearest | None = None
    """The nearest variant that passes, if one does."""

    @property
    def told(self) -> str:
        """What came of it, beside what was recorded."""
        if self.violation is None:
            return "the contract holds"
        same = (self.violation.clause, self.violation.invariant) == (self.case.clause, self.case.invariant)
        return "violated as recorded" if same else "violated in another way"


def testify(case: Case, factory: TargetFactory) -> Testimony:
    """Carry a case out and note what is to be seen.

    Raises:
        Exception: whatever comes out of the harness or the engine where nothing may.
    """
    course = _Course(World(factory, max_concurrent_steps=case.max_concurrent_steps))
    violation: Violation | None = None
    try:
        for line in copy.deepcopy(case.lines):
            course.play(line)
        course.finish()
    except ContractViolated as found:
        violation = found.violation
    finally:
        course.world.close()
    world = course.world
    return Testimony(
        case,
        tuple(course.frames),
        max(course.number - len(course.frames), 0),
        tuple(world.history),
        violation,
        world.digest(),
        dict(world.judge.facts.executions),
        frozenset(_decisive(case, factory, world.moves)) if violation is not None else frozenset(),
        nearest(case, factory, world.history) if violation is not None else None,
    )


class _Course:
    """One world, and a note after each of its moves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.frames: deque[Frame] = deque(maxlen=MOST_MOVES)
        self.number = 0
        self._told = 0
        self._claimed: dict[str, Standing] = {}
        self._known: dict[str, Standing] = {}

    def play(self, line: Line) -> None:
        """Play a move, and note what came of it, whatever that is."""
        try:
            self.world.play(line.move, line.tape)
        finally:
            self._note(self.world.moves[-1])

    def finish(self) -> None:
        """The liveness phase, noted in the same way."""
        try:
            self.world.finish()
        finally:
            self._note(None)

    def _note(self, played: Played | None) -> None:
        history, facts = self.world.history, self.world.judge.facts
        self.number += 1
        first, self._told = self._told, len(history)
        entries = history[first:]
        self._claimed = _claims(self._claimed, entries)
        touched = dict.fromkeys(getattr(entry, "execution", None) for entry in entries)
        known = {name: _knowledge(facts.executions[name]) for name in touched if name in facts.executions}
        self._known = {**self._known, **known}
        at = entries[-1].at if entries else (self.frames[-1].at if self.frames else 0.0)
        self.frames.append(Frame(self.number, played, at, first, self._told, self._claimed, self._known))


def _claims(before: Mapping[str, Standing], entries: Iterable[Entry]) -> dict[str, Standing]:
    """What the engine has said last of each execution."""
    after = dict(before)
    for entry in entries:
        if isinstance(entry, Reported):
            steps = {name: str(step["status"]) for name, step in entry.report["steps"].items()}
            after[entry.execution] = Standing(str(entry.report["status"]), steps)
        elif isinstance(entry, Recorded):
            known = after.get(entry.execution, Standing("PENDING", {}))
            after[entry.execution] = _folded(known, entry.event)
    return after


def _folded(standing: Standing, event: Mapping[str, Json]) -> Standing:
    kind = event.get("type", "")
    if kind in _STEP and isinstance(event.get("step"), str):
        return replace(standing, steps={**standing.steps, event["step"]: _STEP[kind]})
    status = str(event.get("status")) if kind == "ExecutionEnded" else EXECUTION_STATUS.get(kind, standing.status)
    return replace(standing, status=status)


def _knowledge(execution: Execution) -> Standing:
    return Standing(
        execution.phase.name,
        {name: progress.phase.name for name, progress in execution.steps.items()},
        tuple(execution.live),
        tuple(execution.ready),
        tuple(reversed(execution.compensable)) if execution.phase.name == "ROLLING_BACK" else (),
    )


def _decisive(case: Case, factory: TargetFactory, moves: Iterable[Played]) -> Iterable[tuple[int, Deviation]]:
    """The deviations without any one of which the contract holds."""
    found = [(number, deviation) for number, played in enumerate(moves, 1) for deviation in played.deviations]
    for number, deviation in found[-_TRIALS:]:
        line = case.lines[number - 1]
        lines = [*case.lines]
        lines[number - 1] = replace(line, tape=_plain_at(line.tape, deviation))
        if carry_out(lines, factory, case.max_concurrent_steps).verdict is None:
            yield number, deviation


def _plain_at(tape: Tape, deviation: Deviation) -> Tape:
    """The tape with one choice made plain."""
    tracks = {"latencies": bytearray(tape.latencies), "order": bytearray(tape.order)}
    tracks["latencies" if deviation.track == "latency" else "order"][deviation.position] = 0
    return Tape(**{name: bytes(track) for name, track in tracks.items()})
