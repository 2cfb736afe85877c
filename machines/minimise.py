"""A case made small: fewer moves, plainer tapes, a smaller workflow, and still the same violation.

Rule 1: it works on the case as data, so it serves every source of cases, and asks nothing but "still violated so?".
Rule 2: a candidate has fewer or plainer parts than the best so far, so the search ends; what it may cost is bounded
in entries of history, not in seconds, so the same case always becomes the same small one.
Rule 3: whether a definition is valid is said by whoever made it. One that was made to be broken is left as it is, and
so is every definition where it is a D clause that is violated.
Rule 4: what cannot be minimised comes back as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any, Final, TypeAlias

from machines.case import Case, Course, Line, carry_out, reduce_tapes, settled, target_of
from machines.moves import AddStep, Connect, Manner, Move, Run, from_json, misfits, to_json
from machines.tape import LATENCIES, PLAIN, Tape
from machines.target import TargetFactory

Json: TypeAlias = Any
Path: TypeAlias = tuple[str | int, ...]

BUDGET: Final = 150_000
"""Entries of history that a search may make: some ten seconds."""
_BASE: Final = 30
"""What carrying out a program costs before anything happens, in entries."""
_KEEP: Final = frozenset({"id", "action", "config", "steps", "nodes"})
"""Keys without which nothing works."""
_STEPS: Final = ("steps", "nodes")
"""What stands in these is taken out with all that connects it."""


def minimise(case: Case, factory: TargetFactory | None = None, *, budget: int = BUDGET) -> Case:
    """Find a smaller case that violates the contract in the same way."""
    factory = factory or target_of(case)
    case = reduce_tapes(case, factory)
    search = _Search(case, factory, budget)
    if search.course is None:
        return case
    size = None
    while size != (size := search.size()):
        search.shorten()
        search.isolate()
        search.flatten()
        search.simplify()
    found = settled(case, search.course, reorder_only=False)
    return reduce_tapes(replace(found, max_concurrent_steps=search.limit), factory)


class _Search:
    """The best program so far, and what was spent on it."""

    def __init__(self, case: Case, factory: TargetFactory, budget: int) -> None:
        self.goal = (case.clause, case.invariant)
        self.definitions = not case.clause.startswith("D")
        """Whether definitions may be made smaller (rule 3)."""
        self.factory = factory
        self.left = budget
        self.lines: tuple[Line, ...] = case.lines
        self.limit = case.max_concurrent_steps
        self.course: Course | None = None
        self.attempt(case.lines)

    def attempt(self, lines: Sequence[Line], limit: int | None = None) -> bool:
        """Carry out a program; if it is violated in the same way, it is the best from now on."""
        if self.left <= 0:
            return False
        limit = self.limit if limit is None else limit
        course = carry_out(lines, self.factory, limit)
        self.left -= course.entries + _BASE
        if course.verdict != self.goal:
            return False
        self.course, self.lines, self.limit = course, course.lines, limit
        return True

    def size(self) -> tuple[int, ...]:
        """How much there is left to take away."""
        text = sum(len(str(line.to_json())) for line in self.lines)
        return len(self.lines), text, self.limit

    def isolate(self) -> None:
        """Leave one execution alone, if one is enough: whichever run it came of, and whatever it was called.

        A start that was long on its way has its name from when it arrived, so runs and names cannot be told to belong.
        """
        runs = [index for index, line in enumerate(self.lines) if isinstance(line.move, Run)]
        names = self.course.executions if self.course else ()
        if len(runs) < 2:  # noqa: PLR2004  # nothing to leave out
            return
        for run in runs:
            for name in names:
                for first in dict.fromkeys((names[0], min(names))):
                    if self._alone(run, name, first):
                        return

    def _alone(self, run: int, name: str, first: str) -> bool:
        """Try the program of one run and of what is done to one execution."""
        own = [
            _renamed(line, {name: first})
            for index, line in enumerate(self.lines)
            if index == run or not (isinstance(line.move, Run) or (_subject(line.move) or name) != name)
        ]
        plain = [replace(line, tape=PLAIN) if isinstance(line.move, Run) else line for line in own]
        return self.attempt(own) or self.attempt(plain)

    def shorten(self) -> None:
        """Leave out moves, many at a time while that works."""
        size = len(self.lines)
        while size:
            end = len(self.lines)
            while end > 0:
                start = max(end - size, 0)
                self.attempt(self._without(start, end))
                end = min(start, len(self.lines))
            size //= 2
        for index in reversed(range(len(self.lines))):
            if index < len(self.lines) and (lines := _undrafted(self.lines, index)) is not None:
                self.attempt(lines)

    def _without(self, start: int, end: int) -> list[Line]:
        """The program without some lines; where an execution goes, those after it take over its name."""
        runs = [index for index, line in enumerate(self.lines) if isinstance(line.move, Run)]
        left = [index for index in runs if not start <= index < end]
        names = self.course.executions if self.course else ()
        before = {index: name for index, name in zip(runs, names, strict=False) if index in left}
        renamed = {name: names[place] for place, name in enumerate(before.values()) if name != names[place]}
        rest = [*self.lines[:start], *self.lines[end:]]
        return [_renamed(line, renamed) for line in rest] if renamed else rest

    def flatten(self) -> None:
        """Take deviations out of the tapes."""
        if any(line.tape != PLAIN for line in self.lines):
            self.attempt([replace(line, tape=PLAIN) for line in self.lines])
        for index in reversed(range(len(self.lines))):
            self._try_each(index, lambda line: (replace(line, tape=tape) for tape in _plainer(line.tape)))

    def simplify(self) -> None:
        """Make what the moves carry smaller."""
        for limit in range(1, self.limit):
            if self.attempt(self.lines, limit):
                break
        for index in reversed(range(len(self.lines))):
            self._try_each(
                index,
                lambda line: (replace(line, move=move) for move in simpler(line.move, definitions=self.definitions)),
            )

    def _try_each(self, index: int, variants: Callable[[Line], Iterator[Line]]) -> None:
        """Try the variants of one line, and after a success go on at the same place among the variants of the new."""
        tried = 0
        while index < len(self.lines):
            for rank, line in enumerate(variants(self.lines[index])):
                if rank >= tried:
                    tried = rank
                    if self.attempt((*self.lines[:index], line, *self.lines[index + 1 :])):
                        break
                    tried += 1
            else:
                return
            if self.left <= 0:
                return


def _subject(move: Move) -> str:
    """The execution that a move is about, if it is about one."""
    gate: str = getattr(move, "gate", "")
    execution: str = getattr(move, "execution", "") or gate.partition("/")[0]
    return execution


def _renamed(line: Line, names: Mapping[str, str]) -> Line:
    """The line for executions of other names."""
    document = to_json(line.move)
    if isinstance(execution := document.get("execution"), str) and execution in names:
        document["execution"] = names[execution]
    if isinstance(gate := document.get("gate"), str):
        execution, slash, step = gate.partition("/")
        document["gate"] = names.get(execution, execution) + slash + step
    return replace(line, move=from_json(document))


def _undrafted(lines: Sequence[Line], index: int) -> list[Line] | None:
    """The program where the draft that is run here is carried by the run itself; None if none is."""
    run = lines[index].move
    if not (isinstance(run, Run) and run.workflow is None):
        return None
    start = max((i + 1 for i in range(index) if _is_draft_run(lines[i].move)), default=0)
    drafting = [line.move for line in lines[start:index] if isinstance(line.move, AddStep | Connect)]
    steps: dict[str, dict[str, Json]] = {}
    manners: dict[str, Manner] = {}
    for move in drafting:
        if isinstance(move, AddStep):
            name = move.step.get("id", "")
            if name not in steps:
                steps[name] = dict(move.step)
                manners |= {name: move.manner, f"{name}!": move.undo}
        elif move.source in steps and move.target in steps:
            entry = move.source if move.condition is None else {"source": move.source, "condition": move.condition}
            step = steps[move.target]
            step["depends_on"] = [*step.get("depends_on", []), entry]
    whole = Run({"id": "w", "steps": list(steps.values())}, run.input, manners)
    rest = [line for line in lines[start:index] if not isinstance(line.move, AddStep | Connect)]
    return [*lines[:start], *rest, replace(lines[index], move=whole), *lines[index + 1 :]]


def _is_draft_run(move: Move) -> bool:
    return isinstance(move, Run) and move.workflow is None


def _plainer(tape: Tape) -> Iterator[Tape]:
    """Tapes with fewer deviations, the plainest first."""
    if tape == PLAIN:
        return
    yield PLAIN
    if tape.order and tape.latencies:
        yield replace(tape, order=b"")
        yield replace(tape, latencies=b"")
    for track in ("order", "latencies"):
        found: bytes = getattr(tape, track)
        for place in range(len(found)):
            if found[place]:
                yield replace(tape, **{track: found[:place] + b"\0" + found[place + 1 :]})
    for place, byte in enumerate(tape.latencies):
        for plain in _ROUND:
            if plain < byte:
                yield replace(tape, latencies=tape.latencies[:place] + bytes([plain]) + tape.latencies[place + 1 :])


_ROUND: Final = tuple(LATENCIES.index(seconds) for seconds in sorted(set(LATENCIES)) if seconds)[::8]
"""One latency of each size: a little, more than a tick, very much."""


# What moves carry


def simpler(move: Move, *, definitions: bool = True) -> Iterator[Move]:
    """Moves of the same kind that carry less, the least first."""
    document = to_json(move)
    fixed = set() if definitions and not document.get("faults") else {"workflow", "step", "faults"}
    for candidate in _smaller(move, document, fixed):
        try:
            made = from_json(candidate)
        except ValueError:
            continue
        if not misfits(made) and made != move:
            yield made


def _smaller(move: Move, document: Mapping[str, Json], fixed: set[str]) -> Iterator[dict[str, Json]]:
    plain = {"move", *fixed}  # and what is at its default: that is as plain as it gets
    for part in fields(move):
        default = part.default_factory() if part.default_factory is not MISSING else part.default
        if part.name in fixed or document[part.name] == default:
            plain.add(part.name)
        elif default is not MISSING and part.name != "workflow":
            yield {**document, part.name: default}
    workflow = document.get("workflow")
    if isinstance(workflow, dict) and "workflow" not in fixed:
        yield from ({**document, "workflow": smaller} for smaller in _smaller_workflows(workflow))
    for path in _paths(document, ()):
        if len(path) > 1 and path[0] not in plain and path[-1] not in _KEEP and path[-2] not in _STEPS:
            yield _without(document, path)


def _smaller_workflows(workflow: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """Workflows with fewer steps, many at a time first; and a graph as steps."""
    try:
        if "nodes" in workflow:
            yield _as_steps(workflow)
        steps = workflow.get("steps") or workflow.get("nodes") or []
        names = [step["id"] for step in steps]
        size = len(names) // 2
        while size:
            for end in range(len(names), 0, -size):
                if len(gone := set(names[max(end - size, 0) : end])) < len(names):  # a workflow has steps
                    yield _without_steps(workflow, gone)
            size //= 2
    except (AttributeError, KeyError, TypeError):  # a workflow that is none, as a move may well carry
        return


def _without_steps(workflow: Mapping[str, Json], names: set[str]) -> dict[str, Json]:
    """The workflow without these steps and whatever connects them."""
    smaller: dict[str, Json] = copy.deepcopy(dict(workflow))
    for key in _STEPS:
        if key in smaller:
            smaller[key] = [step for step in smaller[key] if step["id"] not in names]
    for step in smaller.get("steps", []):
        if "depends_on" in step:
            step["depends_on"] = [source for source in step["depends_on"] if _source(source) not in names]
            if not step["depends_on"]:
                del step["depends_on"]
    if "connections" in smaller:
        smaller["connections"] = [
            each for each in smaller["connections"] if each["source"] not in names and each["target"] not in names
        ]
    return smaller


def _source(entry: Json) -> str:
    name: str = entry if isinstance(entry, str) else entry["source"]
    return name


def _as_steps(graph: Mapping[str, Json]) -> dict[str, Json]:
    """A graph in the shape that is easier to read."""
    steps = {node["id"]: {"id": node["id"], **node["config"]} for node in graph["nodes"]}
    for each in graph.get("connections", []):
        conditional = {"source": each["source"], "condition": each.get("condition")}
        entry = conditional if conditional["condition"] else each["source"]
        step = steps[each["target"]]
        step["depends_on"] = [*step.get("depends_on", []), entry]
    rest = {key: value for key, value in graph.items() if key not in ("nodes", "connections")}
    return {**rest, "steps": list(steps.values())}


def _paths(value: Json, path: Path) -> Iterator[Path]:
    """The places in a JSON value, those that hold much before what they hold."""
    items: Sequence[tuple[str | int, Json]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def _without(document: Mapping[str, Json], path: Path) -> dict[str, Json]:
    smaller: dict[str, Json] = copy.deepcopy(dict(document))
    parent: Json = smaller
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return smaller
