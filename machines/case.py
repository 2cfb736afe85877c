"""The case file: a failure that replays without Hypothesis, in any process, to the same digest.

Rule 1: format 1 is one JSON object: ``format``; the versions of ``lockstep``, ``python`` and ``hypothesis`` that wrote
it; ``target``; ``machine``; ``settings``; ``moves``, each with its ``tape``; what was violated (``clause``,
``invariant``, ``sentence``); the ``digest`` of the history; ``reorder_only``. What else stands there is kept.
Rule 2: reading lists every fault it finds; a case that cannot be read or carried out is a `CaseError`, no traceback.
Rule 3: a program is carried out from a copy, so an engine that changes what it is given changes no case.
"""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, NoReturn, TypeAlias, get_args, get_origin, get_type_hints

from machines.moves import Move, from_json, to_json
from machines.registry import BUILTIN, TargetError, load_target
from machines.tape import PLAIN, Tape, TapeError
from machines.target import TargetFactory
from machines.world import ContractViolated, Played, World
from model.judge import Violation

Json: TypeAlias = Any

FORMAT: Final = 1
HOLDS: Final = 0
VIOLATED: Final = 1
VIOLATED_OTHERWISE: Final = 3
HARNESS: Final = "harness"
"""Stands for a clause where not the engine but the harness is at fault."""
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 256
"""More than the engine takes in a value, so that a case may show that it takes no more."""

_TEXTS: Final = ("target", "machine", "clause", "invariant", "sentence", "digest")
_VERSIONS: Final = ("lockstep", "python", "hypothesis")
_CONTAINERS: Final = (dict, list)


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

    def to_json(self) -> dict[str, Json]:
        """The line as a JSON object; a plain tape is left out."""
        tape = self.tape.to_json()
        return {**to_json(self.move), **({"tape": tape} if tape else {}), **self.extra}


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
    versions: Mapping[str, str] = field(default_factory=lambda: dict(versions()))
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Settings that this version does not know."""
    extra: Mapping[str, Json] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Where it is kept: clause, invariant and the start of the digest."""
        return re.sub(r"[^\w.-]+", "_", f"{self.clause}-{self.invariant}-{self.digest[:8]}") + ".json"

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
            **self.extra,
            "moves": [line.to_json() for line in self.lines],
        }


@dataclass(frozen=True, slots=True)
class Course:
    """What happened when a program was carried out."""

    violation: Violation | None
    error: Exception | None
    """What came out of the harness or the engine where nothing may."""
    digest: str
    played: tuple[Played, ...]
    """The moves up to the end, their deviations marked."""
    lines: tuple[Line, ...]
    """The same as lines, each tape cut down to what was used of it."""
    executions: tuple[str, ...]
    entries: int

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
    document = _parse(text)
    if type(document) is not dict:
        _refuse("not a case: a case is a JSON object")
    number = document.get("format")
    if type(number) is int and number > FORMAT:
        _refuse(f"written in case format {number}, and this version of Lockstep reads format {FORMAT}")
    faults = list(_faults(document))
    if faults:
        _refuse(f"a damaged case: {'; '.join(faults)}")
    settings = dict(document["settings"])
    known = {"format", "settings", "moves", "reorder_only", *_TEXTS, *_VERSIONS}
    return Case(
        lines=tuple(map(_line, document["moves"])),
        **{name: document[name] for name in _TEXTS},
        max_concurrent_steps=settings.pop("max_concurrent_steps"),
        reorder_only=document.get("reorder_only", False),
        versions={name: document[name] for name in _VERSIONS if name in document},
        settings=settings,
        extra={name: value for name, value in document.items() if name not in known},
    )


def to_text(case: Case) -> str:
    """Give a case as JSON text.

    Raises:
        CaseError: it holds what JSON cannot.
    """
    document = case.to_json()
    if _depth(document) > MAX_DEPTH:
        _refuse(f"the case is nested more than {MAX_DEPTH} deep")
    try:
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        _refuse(f"the case holds what JSON cannot: {error}")


def save(case: Case, path: Path) -> Path:
    """Write a case file, all of it or nothing; in a directory under its own name. Returns where it is.

    Raises:
        CaseError: it cannot be written.
    """
    text = to_text(case)
    try:
        if path.suffix != ".json":
            path.mkdir(parents=True, exist_ok=True)
            path /= case.file_name
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            draft.chmod(0o644)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
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


def _parse(text: str) -> Json:
    def refuse(constant: str) -> float:
        _refuse(f"holds {constant}, which is not JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits)

    try:
        document = json.loads(text, parse_constant=refuse, parse_float=finite)
    except json.JSONDecodeError as error:
        _refuse(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
    except RecursionError:
        _refuse(f"nested more than {MAX_DEPTH} deep: no case is")
    except ValueError as error:  # an integer of more digits than Python reads
        _refuse(f"not JSON that can be read: {error}")
    if _depth(document) > MAX_DEPTH:
        _refuse(f"nested more than {MAX_DEPTH} deep: no case is")
    return document


def _depth(value: Json) -> int:
    """How deep containers are nested in a value; it gives up just past what is allowed."""
    depth, level = 0, [value]
    while (level := [item for item in level if isinstance(item, _CONTAINERS)]) and depth <= MAX_DEPTH:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


# What is wrong with a document


def _faults(document: Mapping[str, Json]) -> Iterator[str]:
    number = document.get("format")
    if number != FORMAT or type(number) is not int:
        yield f"format must be {FORMAT}" + ("" if "format" not in document else f", not {_shown(number)}")
    for name in (*_TEXTS, *_VERSIONS):
        if name not in document:
            if name in _TEXTS:
                yield f"{name} is missing"
        elif type(document[name]) is not str:
            yield f"{name} must be a text, not {_shown(document[name])}"
    if type(document.get("reorder_only", False)) is not bool:
        yield f"reorder_only must be true or false, not {_shown(document['reorder_only'])}"
    settings = document.get("settings")
    if type(settings) is not dict:
        yield "settings must be an object"
    else:
        limit = settings.get("max_concurrent_steps")
        if type(limit) is not int or limit < 1:
            yield f"settings.max_concurrent_steps must be a whole number from 1, not {_shown(limit)}"
    moves = document.get("moves")
    if type(moves) is not list:
        yield "moves must be a list"
        return
    for rank, line in enumerate(moves):
        yield from (f"moves[{rank}]: {fault}" for fault in _line_faults(line))


def _line_faults(line: Json) -> Iterator[str]:
    if type(line) is not dict:
        yield f"must be an object, not {_shown(line)}"
        return
    try:
        Tape.from_json(line.get("tape", {}))
    except TapeError as error:
        yield str(error)
    try:
        move = from_json(line)
    except ValueError as error:
        yield str(error)
        return
    for name, value in misfits(move).items():
        yield f"{name} of {line['move']} cannot be {_shown(value)}"


def _fits(value: Json, hint: Any) -> bool:  # noqa: ANN401  # a type
    """Whether a JSON value is one of what a move's argument is declared to be."""
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return type(value) is str and value in arguments
    if origin is UnionType:
        return any(_fits(value, choice) for choice in arguments)
    if origin is Mapping:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is NoneType:
        return value is None
    return type(value) is hint or (hint is float and type(value) is int)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def misfits(move: Move) -> dict[str, Json]:
    """The arguments of a move that are not what they are declared to be."""
    kind: type = type(move)
    given = {name: (getattr(move, name), hint) for name, hint in _hints(kind).items()}
    return {name: value for name, (value, hint) in given.items() if not _fits(value, hint)}


def _shown(value: Json) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004  # what fits into a line


def _line(value: Mapping[str, Json]) -> Line:
    move = from_json(value)
    known = {"move", "tape", *(part.name for part in fields(move))}
    tape = Tape.from_json(value.get("tape", {}))
    return Line(move, tape, {name: item for name, item in value.items() if name not in known})


# Carrying out


def carry_out(lines: Sequence[Line], factory: TargetFactory, max_concurrent_steps: int) -> Course:
    """Play a program in a new world: all its moves, then the liveness phase."""
    given = [_line(line.to_json()) for line in copy.deepcopy(list(lines))]
    used: list[Line] = []
    try:
        target = factory()
    except Exception as error:  # noqa: BLE001  # the target is the user's code
        return Course(None, error, "", (), (), (), 0)
    world = World(lambda: target, max_concurrent_steps=max_concurrent_steps)
    violation: Violation | None = None
    broken: Exception | None = None
    try:
        for line in given:
            try:
                world.play(line.move, line.tape)
            finally:
                used.append(replace(lines[len(used)], tape=world.loop.tape.essence()))
        world.finish()
    except ContractViolated as found:
        violation = found.violation
    except Exception as error:  # noqa: BLE001  # it is told, not lost
        broken = error
    finally:
        world.close()
    moves, executions = tuple(world.moves), tuple(world.executions)
    return Course(violation, broken, world.digest(), moves, tuple(used), executions, len(world.history))


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
    """Find the target that a case names.

    Raises:
        CaseError: it cannot be had.
    """
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
