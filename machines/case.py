"""The case file: a failure that replays without Hypothesis, in any process, to the same digest.

Rule 1: what a document must be is said in `machines.case_format`; what else stands there is kept, at every level.
Rule 2: a case that cannot be read or carried out is a `CaseError` that says all that is wrong with it, no traceback.
Rule 3: a case may come from a stranger. Reading one runs nothing, and carrying one out imports nothing but our own
targets: any other one is named by whoever carries it out.
Rule 4: a program is carried out from a copy, so an engine that changes what it is given changes no case.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

from machines.case_format import FORMAT, KEPT, MAX_DEPTH, TEXTS, VERSIONS, FormatError, depth, document_of, shortened
from machines.files import write_whole
from machines.moves import Move, from_json, to_json
from machines.registry import BUILTIN, FORMERLY, TargetError, is_ours, load_target
from machines.tape import PLAIN, TRACKS, Tape
from machines.target import TargetFactory
from machines.world import ContractViolated, Played, World
from model.history import Entry, digest
from model.judge import Violation

Json: TypeAlias = Any

HOLDS: Final = 0
VIOLATED: Final = 1
VIOLATED_OTHERWISE: Final = 3
HARNESS: Final = "harness"
"""Stands for a clause where not the engine but the harness is at fault."""
MAX_BYTES: Final = 8 * 1024 * 1024
_NAME: Final = 60


class CaseError(Exception):
    """A case cannot be read, written or carried out; the message says why."""


def _refuse(message: str) -> NoReturn:
    raise CaseError(message) from None


@cache
def versions() -> Mapping[str, str]:
    """Give the versions that a case is written by."""
    try:
        lockstep = metadata.version("workflow-lockstep")
    except metadata.PackageNotFoundError:
        lockstep = "not installed"
    return {"lockstep": lockstep, "python": platform.python_version(), "hypothesis": metadata.version("hypothesis")}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a case's program: a move with its tape."""

    move: Move
    tape: Tape = PLAIN
    extra: Mapping[str, Json] = field(default_factory=dict)
    """What this version does not know of it."""
    tape_extra: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The line as a JSON object; a plain tape is left out, and the key of a start that has none."""
        tape = {**self.tape.to_json(), **self.tape_extra}
        move = {name: value for name, value in to_json(self.move).items() if (name, value) != ("key", "")}
        return {**move, **({"tape": tape} if tape else {}), **self.extra}


@dataclass(frozen=True, slots=True)
class Case:
    """A tape with what came of it, as its file holds it."""

    lines: tuple[Line, ...]
    clause: str
    invariant: str
    sentence: str
    digest: str
    target: str = BUILTIN
    machine: str = "lifecycle"
    max_concurrent_steps: int = 2
    reorder_only: bool = False
    why: str = ""
    """Why it is kept as a regression; empty if it is not."""
    kept_on: str = ""
    """Since which day."""
    versions: Mapping[str, str] = field(default_factory=lambda: dict(versions()))
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Settings that this version does not know."""
    extra: Mapping[str, Json] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Where it is kept: clause, invariant and the start of the digest; a plain name, whatever they are."""
        parts = (self.clause[:_NAME], self.invariant[:_NAME], self.digest[:8])
        return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part) or "_" for part in parts) + ".json"

    @property
    def program(self) -> tuple[Json, ...]:
        """All that decides its history, for comparison with another's."""
        return (self.target, self.max_concurrent_steps, [(to_json(line.move), line.tape) for line in self.lines])

    @property
    def deviations(self) -> int:
        """In how many places its tapes are not plain."""
        return sum(byte != 0 for line in self.lines for byte in line.tape.latencies + line.tape.order)

    def to_json(self) -> dict[str, Json]:
        """The case as a JSON object."""
        return {
            "format": FORMAT,
            **self.versions,
            "target": self.target,
            "machine": self.machine,
            "settings": {"max_concurrent_steps": self.max_concurrent_steps, **self.settings},
            "clause": self.clause,
            "invariant": self.invariant,
            "sentence": self.sentence,
            "reorder_only": self.reorder_only,
            "digest": self.digest,
            **{name: value for name, value in (("why", self.why), ("kept_on", self.kept_on)) if value},
            **self.extra,
            "moves": [line.to_json() for line in self.lines],
        }


@dataclass(frozen=True, slots=True)
class Course:
    """What happened when a program was carried out."""

    violation: Violation | None
    error: Exception | None
    """What came out of the harness or the engine where nothing may."""
    played: tuple[Played, ...]
    """The moves up to the end, their deviations marked."""
    lines: tuple[Line, ...]
    """The same as lines, each tape cut down to what was used of it."""
    executions: tuple[str, ...]
    history: tuple[Entry, ...]
    """All that was seen."""
    asked: tuple[int, ...] = ()
    """How many latencies each move asked its tape for: what the tape says beyond them makes no difference."""

    @property
    def digest(self) -> str:
        """A hash of the history, worked out when it is asked for; empty if there was no target."""
        return digest(self.history) if self.history else ""

    @property
    def entries(self) -> int:
        """How much was seen: what it cost, on every day the same."""
        return len(self.history)

    @property
    def verdict(self) -> tuple[str, str] | None:
        """What is wrong, as a case names it: clause and invariant; None if the contract holds."""
        if self.error is not None:
            return HARNESS, type(self.error).__name__
        return None if self.violation is None else (self.violation.clause, self.violation.invariant)

    @property
    def sentence(self) -> str:
        """What is wrong, in words."""
        if self.error is not None:
            place = f"move {len(self.played)}" if self.played else "making the target"
            return f"{place} raised {type(self.error).__name__}: {self.error}"
        return "the contract holds" if self.violation is None else self.violation.sentence


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of replaying a case; ``status`` is the exit status of a replay."""

    status: Literal[0, 1, 3]
    violation: Violation | None
    digest: str
    played: tuple[Played, ...]
    """The moves up to the violation, their deviations marked."""


# Reading and writing


def load(path: Path) -> Case:
    """Read a case file.

    Raises:
        CaseError: there is none, or it is damaged.
    """
    try:
        return from_text(_read(path))
    except CaseError as error:
        _refuse(f"{path}: {error}")


def from_text(text: str) -> Case:
    """Read a case from its JSON text.

    Raises:
        CaseError: it is damaged, and every fault it has.
    """
    try:
        document = document_of(text)
    except FormatError as error:
        _refuse(str(error))
    settings, machine = dict(document["settings"]), document["machine"]
    document["machine"] = FORMERLY.get(machine, machine)
    known = {"format", "settings", "moves", "reorder_only", *TEXTS, *VERSIONS, *KEPT}
    return Case(
        lines=tuple(map(_line, document["moves"])),
        **{name: document[name] for name in (*TEXTS, *KEPT) if name in document},
        max_concurrent_steps=settings.pop("max_concurrent_steps"),
        reorder_only=document.get("reorder_only", False),
        versions={name: document[name] for name in VERSIONS if name in document},
        settings=settings,
        extra={name: value for name, value in document.items() if name not in known},
    )


def to_text(case: Case) -> str:
    """Give a case as JSON text.

    Raises:
        CaseError: it holds what JSON cannot.
    """
    document = case.to_json()
    if depth(document) > MAX_DEPTH:
        _refuse(f"the case is nested more than {MAX_DEPTH} deep")
    try:
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        _refuse(f"the case holds what JSON cannot: {error}")


def save(case: Case, path: Path, *, anew: bool = False) -> Path:
    """Write a case file, all of it or nothing; in a directory under its own name. Returns where it is.

    Raises:
        CaseError: it cannot be written; ``anew``: something stands there already.
    """
    text = to_text(case)
    try:
        if path.suffix != ".json":
            path.mkdir(parents=True, exist_ok=True)
            path /= case.file_name
        write_whole(path, text, anew=anew)
    except OSError as error:
        _refuse(f"cannot write {path}: {error.strerror}")
    return path


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _refuse("no such file")
    except OSError as error:
        _refuse(f"cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        _refuse(f"larger than {MAX_BYTES // 1024 // 1024} MiB: no case is")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"not UTF-8 text: {error.reason} at byte {error.start}")


def _line(value: Mapping[str, Json]) -> Line:
    move, tape = from_json(value), value.get("tape", {})
    known = {"move", "tape", *(part.name for part in fields(move))}
    return Line(
        move,
        Tape.from_json(tape),
        {name: item for name, item in value.items() if name not in known},
        {name: item for name, item in tape.items() if name not in TRACKS},
    )


# Carrying out


def carry_out(lines: Sequence[Line], factory: TargetFactory, max_concurrent_steps: int) -> Course:
    """Play a program in a new world: all its moves, then the liveness phase."""
    given = [_line(json.loads(json.dumps(line.to_json()))) for line in lines]
    used: list[Line] = []
    asked: list[int] = []
    try:
        target = factory()
    except Exception as error:  # noqa: BLE001  # the target is the user's code
        return Course(None, error, (), (), (), ())
    world = World(lambda: target, max_concurrent_steps=max_concurrent_steps)
    violation: Violation | None = None
    broken: Exception | None = None
    try:
        for line in given:
            try:
                world.play(line.move, line.tape)
            finally:
                used.append(replace(lines[len(used)], tape=world.loop.tape.essence()))
                asked.append(world.loop.tape.asked)
        world.finish()
    except ContractViolated as found:
        violation = found.violation
    except Exception as error:  # noqa: BLE001  # it is told, not lost
        broken = error
    finally:
        world.close()
    moves, executions = tuple(world.moves), tuple(world.executions)
    return Course(violation, broken, moves, tuple(used), executions, tuple(world.history), tuple(asked))


def replay(case: Case, factory: TargetFactory | None = None) -> Outcome:
    """Carry out a case again; ``factory`` makes another target than the recorded one.

    Raises:
        CaseError: it cannot be carried out.
    """
    course = carry_out(case.lines, factory or target_of(case), case.max_concurrent_steps)
    if course.error is not None:
        _refuse(f"cannot be carried out: {course.sentence}")
    return Outcome(_status(case, course), course.violation, course.digest, course.played)


def _status(case: Case, course: Course) -> Literal[0, 1, 3]:
    if course.verdict is None:
        return HOLDS
    return VIOLATED if _as_recorded(case, course) else VIOLATED_OTHERWISE


def target_of(case: Case) -> TargetFactory:
    """Find the target that a case names, if it is one of ours.

    Raises:
        CaseError: it is not, or it cannot be had.
    """
    if not is_ours(case.target):
        _refuse(
            f"cannot be carried out: it names the target {shortened(case.target)}, which is not one of Lockstep's, and "
            "a case's word is not enough to run code: name a target yourself with --target MODULE:FACTORY"
        )
    try:
        return load_target(case.target)
    except TargetError as error:
        _refuse(f"cannot be carried out: {error}")


def case_of(
    played: Sequence[Played], violation: Violation, *, target: str, machine: str, max_concurrent_steps: int, digest: str
) -> Case:
    """Make a case of what a world has played."""
    return Case(
        tuple(Line(line.move, line.tape) for line in played),
        violation.clause,
        violation.invariant,
        violation.sentence,
        digest,
        target,
        machine,
        max_concurrent_steps,
    )


def reduce_tapes(case: Case, factory: TargetFactory | None = None) -> Case:
    """Cut every tape down to what is used of it, and do without callbacks out of turn wherever that is possible.

    The violation stays the same. A case that needs an order all the same is marked "reorder only".
    """
    factory = factory or target_of(case)
    course = carry_out(case.lines, factory, case.max_concurrent_steps)
    if not _as_recorded(case, course):
        return case
    needs_order = any(line.tape.order for line in course.lines)
    if needs_order:
        in_turn = [replace(line, tape=Tape(latencies=line.tape.latencies)) for line in case.lines]
        other = carry_out(in_turn, factory, case.max_concurrent_steps)
        if _as_recorded(case, other):
            course, needs_order = other, False
    return settled(case, course, reorder_only=needs_order)


def settled(case: Case, course: Course, *, reorder_only: bool) -> Case:
    """The case as its program was last carried out."""
    return replace(case, lines=course.lines, sentence=course.sentence, digest=course.digest, reorder_only=reorder_only)


def _as_recorded(case: Case, course: Course) -> bool:
    return course.verdict == (case.clause, case.invariant)
