"""The same program in plainer words: what makes one bug look the same, whoever finds it.

Rule 1: nothing here knows what violates: every program that comes of it is tried, and is the best from then on if it
is violated in the same way and plainer (``machines.plainness``).
Rule 2: no move more, no step more, no connection more: names, order, values, places.
Rule 3: what is put in comes from short lists, so that different cases come to the same one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from machines.case import Line
from machines.moves import ABRUPT, AT_ONCE, Convert, Fail, Finish, Move, Run, from_json, misfits, to_json
from machines.oddities import NO_JSON
from machines.parts import (
    STEPS,
    Path,
    at,
    has_steps,
    names_of,
    paths,
    renamed,
    replaced,
    source_of,
    with_value,
    without,
    without_moves,
    without_steps,
)
from machines.plainness import ROUND, by_key
from machines.tape import LATENCIES, PLAIN, TICK

Json: TypeAlias = Any
Program: TypeAlias = tuple[Line, ...]

NAMES: Final = "abcdefghijklmnopqrstuvwxyz"
_PLACES: Final = 8
"""Places in a tape where a latency may be put: more than most moves use."""
SIZES: Final = tuple(LATENCIES.index(ticks * TICK) for ticks in (0.5, 1.5, 2.5, 3.5, 5.5, 8.5, 13.5))
"""A byte for each latency that is a whole number of ticks, which a move lasts, longer than another."""
_STEPS: Final = 4
"""Steps of a workflow that are put in every order: of more there are too many."""
_INPUT: Final = re.compile(r"(?<![\w.])input\.(\w+)")
_REFERENCE: Final = re.compile(r"\$\{[^}]*\}")
_GIVEN: Final = ("input", "inputs", "output")
"""Arguments that may be any JSON."""
_WORDS: Final = {
    "at": ("now", "before", "after"),
    "fault": ("full", "busy", "io"),
    "statement": ("commit", "begin", "insert"),
    "manners": (AT_ONCE, ABRUPT, "stubborn"),
    "condition": ("1", "true", "false"),
}
"""By argument: the words that it may be."""


def rewritten(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """The program in other words, one change at a time."""
    yield from with_steps_renamed(lines, executions)
    yield from _without_keys(lines, executions)
    yield from _with_starts_exchanged(lines, executions)
    yield from _with_starts_joined(lines, executions)
    yield from _with_inputs_renamed(lines)
    yield from _with_inputs_exchanged(lines)
    yield from _with_all_of_the_input(lines)
    yield from _ending_by_themselves(lines, executions)
    yield from reordered(lines)
    yield from _with_plainer_values(lines)
    yield from _with_policies_moved(lines)
    yield from _with_latencies_moved(lines)
    yield from _with_less_waiting(lines, executions)
    yield from _with_steps_in_any_order(lines, executions)


def changed(line: Line, document: Mapping[str, Json]) -> Line:
    """The line with another move."""
    return replace(line, move=from_json(document))


# Names


def with_steps_renamed(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """The steps of a workflow called a, b, c in the order of definition; and two of them exchanged."""
    for index, line in enumerate(lines):
        if isinstance(line.move, Convert):
            plain = dict(zip(names_of(line.move.graph), NAMES, strict=False))
            yield replaced(lines, index, replace(line, move=replace(line.move, graph=_renamed(line.move.graph, plain))))
    runs = [index for index, line in enumerate(lines) if isinstance(line.move, Run)]
    for run, execution in itertools.zip_longest(runs, executions[: len(runs)]):
        names = names_of(to_json(lines[run].move)["workflow"])
        plain = dict(zip(names, NAMES, strict=False))
        if list(plain) != list(plain.values()):
            yield _called(lines, plain, run, execution)
        for one, other in itertools.combinations(names, 2):
            exchanged = {one: other, other: one}
            called = _called(lines, exchanged, run, execution)
            yield called
            yield replaced(called, run, lines[run])
            yield replaced(called, run, _exchanged(called[run], exchanged))


def _with_steps_in_any_order(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """The steps of a workflow in every order, called a, b, c in that order, as are those that each depends on."""
    runs = [index for index, line in enumerate(lines) if isinstance(line.move, Run)]
    for run, execution in itertools.zip_longest(runs, executions[: len(runs)]):
        move = lines[run].move
        if not (isinstance(move, Run) and move.workflow and has_steps(move) and len(names_of(move.workflow)) <= _STEPS):
            continue
        for order in itertools.permutations(move.workflow["steps"]):
            names = dict(zip([step["id"] for step in order], NAMES, strict=False))
            shuffled = replace(move, workflow={**move.workflow, "steps": [*order]})
            called = _called(replaced(lines, run, replace(lines[run], move=shuffled)), names, run, execution)
            yield called
            yield replaced(called, run, replace(called[run], move=_with_sources_in_order(called[run].move)))


def _with_sources_in_order(move: Move) -> Move:
    assert isinstance(move, Run)
    assert move.workflow is not None
    steps = [
        {**step, "depends_on": sorted(step["depends_on"], key=lambda entry: str(source_of(entry)))}
        if isinstance(step.get("depends_on"), list)
        else step
        for step in move.workflow["steps"]
    ]
    return replace(move, workflow={**move.workflow, "steps": steps})


def _called(lines: Program, names: Mapping[str, str], run: int, execution: str | None) -> Program:
    """The program where the steps of a run have other names."""
    made = []
    for index, line in enumerate(lines):
        document = to_json(line.move)
        owner, slash, step = str(document.get("gate")).partition("/")
        if index == run:
            document["workflow"] = _renamed(document["workflow"], names)
            document["manners"] = {_step(key, names): manner for key, manner in document["manners"].items()}
        elif slash and owner == execution:
            document["gate"] = owner + slash + _step(step, names)
        made.append(changed(line, document))
    return tuple(made)


def _step(name: str, names: Mapping[str, str]) -> str:
    plain = name.rstrip("!")
    return names.get(plain, plain) + "!" * name.endswith("!")


def _renamed(value: Json, names: Mapping[str, str], key: str = "") -> Json:
    if isinstance(value, Mapping):
        return {name: _renamed(item, names, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names, key) for item in value]
    if not isinstance(value, str):
        return value
    if key in ("id", "source", "target", "depends_on"):
        return names.get(value, value)
    either = "|".join(map(re.escape, names))
    before = r"(?<![\w.])" if key == "condition" else r"(?<=\$\{)"
    return re.sub(rf"{before}({either})(?=[.}}])", lambda found: names[found[1]], value)


def _exchanged(line: Line, names: Mapping[str, str]) -> Line:
    """Two steps in each other's place in the definition."""
    document = to_json(line.move)
    workflow = dict(document["workflow"])
    for key in [key for key in STEPS if isinstance(workflow.get(key), list)][:1]:  # those that have the names
        by_name = {step["id"]: step for step in workflow[key]}
        workflow[key] = [by_name[names.get(name, name)] for name in by_name]
    return changed(line, {**document, "workflow": workflow})


def _without_keys(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """The starts without their keys, and their executions under the names that they have then."""
    if any(isinstance(line.move, Run) and line.move.key for line in lines):
        names = {name: f"x{rank}" for rank, name in enumerate(executions, 1)}
        moves = [replace(line.move, key="") if isinstance(line.move, Run) else line.move for line in lines]
        yield tuple(renamed(replace(line, move=move), names) for line, move in zip(lines, moves, strict=True))


def _with_starts_exchanged(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """Two starts in each other's place, and their executions under each other's name."""
    runs = [index for index, line in enumerate(lines) if isinstance(line.move, Run)]
    for (one, name), (other, other_name) in itertools.combinations(zip(runs, executions, strict=False), 2):
        exchanged = replaced(replaced(lines, one, lines[other]), other, lines[one])
        names = {name: other_name, other_name: name}
        yield tuple(renamed(line, names) for line in exchanged)
        yield exchanged


def _with_starts_joined(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """One start of the steps of two, under other names; what is done to the second execution is done to it."""
    runs = [(index, line.move) for index, line in enumerate(lines) if isinstance(line.move, Run)]
    by_run = {index: name for (index, run), name in zip(runs, executions, strict=False) if has_steps(run)}
    for one, other in itertools.combinations(by_run, 2):
        first = to_json(lines[one].move)
        taken = names_of(first["workflow"])
        free = (name for name in NAMES if name not in taken)
        names = dict(zip(names_of(to_json(lines[other].move)["workflow"]), free, strict=False))
        called = _called(lines, names, other, by_run[other])
        second = to_json(called[other].move)
        workflow = {**first["workflow"], "steps": [*first["workflow"]["steps"], *second["workflow"]["steps"]]}
        both = {key: {**second[key], **first[key]} for key in ("manners", "input")}
        joined = replaced(called, one, changed(called[one], {**first, "workflow": workflow, **both}))
        yield without_moves([renamed(line, {by_run[other]: by_run[one]}) for line in joined], [other], executions)


def _with_inputs_renamed(lines: Program) -> Iterator[Program]:
    """What is given from outside called a, b, c as it comes; and two of those exchanged."""
    names = list(dict.fromkeys(name for line in lines for name in _inputs(line)))
    pairs = itertools.combinations(dict.fromkeys((*names, "a", "b")), 2)
    changes = [dict(zip(names, NAMES, strict=False)), *({one: other, other: one} for one, other in pairs)]
    for change in changes if names else ():
        yield tuple(_given(line, change) for line in lines)


def _inputs(line: Line) -> Iterable[str]:
    document = to_json(line.move)
    return (*_INPUT.findall(str(document)), *(name for key in ("input", "inputs") for name in document.get(key) or ()))


def _given(line: Line, names: Mapping[str, str]) -> Line:
    document = _looked_up(to_json(line.move), names)
    for key in ("input", "inputs"):
        if isinstance(document.get(key), Mapping):
            document[key] = {names.get(name, name): value for name, value in document[key].items()}
    return changed(line, document)


def _looked_up(value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, Mapping):
        return {name: _looked_up(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_looked_up(item, names) for item in value]
    if not isinstance(value, str):
        return value
    return _INPUT.sub(lambda found: "input." + names.get(found[1], found[1]), value)


def _with_inputs_exchanged(lines: Program) -> Iterator[Program]:
    """What one move brings in exchanged for what another one brings."""
    bringing = [
        (index, key) for index, line in enumerate(lines) for key in ("input", "inputs") if getattr(line.move, key, None)
    ]
    for (one, key), (other, other_key) in itertools.combinations(bringing, 2):
        first, second = to_json(lines[one].move), to_json(lines[other].move)
        first[key], second[other_key] = second[other_key], first[key]
        yield replaced(replaced(lines, one, changed(lines[one], first)), other, changed(lines[other], second))


def _with_all_of_the_input(lines: Program) -> Iterator[Program]:
    """A reference to all of the input instead of one to what a start was given, which is not given then."""
    for index, line in enumerate(lines):
        document = to_json(line.move)
        if isinstance(line.move, Run) and document["input"]:
            for path in paths(document["workflow"]):
                value = at(document["workflow"], path)
                for name in _INPUT.findall(value) if isinstance(value, str) else ():
                    workflow = with_value(document["workflow"], path, "${input}")
                    rest = {key: given for key, given in document["input"].items() if key != name}
                    other = {**document, "workflow": workflow, "input": rest}
                    yield replaced(lines, index, changed(line, other))


def _ending_by_themselves(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """An action that raises at its call, or returns at once, where a move has told it to."""
    runs = [index for index, line in enumerate(lines) if isinstance(line.move, Run)]
    started = dict(zip(executions, runs, strict=False))
    for index, line in enumerate(lines):
        if isinstance(line.move, Fail | Finish):
            execution, _, action = line.move.gate.partition("/")
            if (run := started.get(execution, index)) < index:
                start = lines[run].move
                assert isinstance(start, Run)
                manner = ABRUPT if isinstance(line.move, Fail) else AT_ONCE
                by_itself = replace(start, manners={**start.manners, action: manner})
                rest = (*lines[:index], *lines[index + 1 :])
                yield replaced(rest, run, replace(lines[run], move=by_itself))


# Order


def reordered(lines: Program) -> Iterator[Program]:
    """A move at an earlier place, with the tapes or without; and keys in order."""
    yield tuple(changed(line, {key: by_key(value) for key, value in to_json(line.move).items()}) for line in lines)
    for place, index in itertools.combinations(range(len(lines)), 2):
        moved = (*lines[:place], lines[index], *lines[place:index], *lines[index + 1 :])
        yield moved
        if any(line.tape != PLAIN for line in moved):
            yield tuple(replace(line, tape=PLAIN) for line in moved)


# Values


def _with_plainer_values(lines: Program) -> Iterator[Program]:
    """One value of a move plainer; or a step less, and what looked at its output looks at the input."""
    for index, line in enumerate(lines):
        document = to_json(line.move)
        for path in paths(document):
            for value in _plainer(at(document, path), path):
                plainer = changed(line, with_value(document, path, value))
                if not misfits(plainer.move):
                    yield replaced(lines, index, plainer)
        if isinstance(line.move, Run):
            for name in names_of(document["workflow"]):
                workflow = _of_input(without_steps(document["workflow"], [name]), name)
                for given in ({}, {"a": 1}):
                    inputs = {**document["input"], **given}
                    yield replaced(lines, index, changed(line, {**document, "workflow": workflow, "input": inputs}))


def _plainer(value: Json, path: Path) -> Iterator[Json]:
    """Values that may be plainer than one."""
    key = path[-1]
    given = path[0] in _GIVEN
    if path == ("output",):
        yield from (None, {}, {"n": None}, NO_JSON[0])
    elif isinstance(value, str) and (words := _WORDS.get(str(key)) or _WORDS.get(str(path[0]))):
        yield from words
    elif key in ("input_schema", "output_schema"):
        yield {"required": ["a"]}
    elif key in ("move", "gate", "execution", "id", "action", "faults") or path[0] == "faults":
        return
    elif isinstance(value, str):
        yield from dict.fromkeys(_REFERENCE.findall(value))
        yield from (None, 1, "") if given else ("", "a", "${input.a}")
    elif isinstance(value, bool):
        return
    elif isinstance(value, int | float):
        yield from (None, 1, 0, 2) if given else (1, 0, 2)
    elif key in ("parameters", *_GIVEN) and isinstance(value, Mapping):
        yield {"a": "${input.a}"}
        if len(value) == 1:
            yield from ({name: item} for name in "ab" for item in value.values())
    elif isinstance(value, Mapping) and list(value) == ["source"]:
        yield value["source"]
    elif len(path) > 1 and given:
        yield from (None, 1, {})
    elif isinstance(value, dict | list) and len(value) == 1 and "parameters" in path:
        yield from value.values() if isinstance(value, dict) else value


def _of_input(value: Json, name: str) -> Json:
    """The value with a reference to the input for every one to a step's output."""
    if isinstance(value, Mapping):
        return {key: _of_input(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_input(item, name) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(rf"\$\{{{re.escape(name)}\.[^}}]*\}}", "${input.a}", value)


# Places


def _with_policies_moved(lines: Program) -> Iterator[Program]:
    """A policy or a manner at another step, or between a step and its compensation; an earlier source."""
    for index, line in enumerate(lines):
        move = line.move
        if isinstance(move, Run) and names_of(move.workflow) and isinstance((move.workflow or {}).get("steps"), list):
            yield from (replaced(lines, index, changed(line, document)) for document in _moved(to_json(move)))


def _moved(document: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    steps, names = document["workflow"]["steps"], names_of(document["workflow"])
    for rank, step in enumerate(steps):
        place: Path = ("workflow", "steps", rank)
        for key in (key for key in step if key not in ("id", "action", "depends_on")):
            for other in (other for other in range(len(steps)) if steps[other].get(key) != step[key]):
                moved = without(document, (*place, key))
                yield with_value(moved, ("workflow", "steps", other, key), step[key])
        undo = step.get("compensation")
        if isinstance(undo, Mapping):
            for key in (key for key in undo if key != "action" and key not in step):
                yield with_value(without(document, (*place, "compensation")), (*place, key), undo[key])
                yield with_value(without(document, (*place, "compensation", key)), (*place, key), undo[key])
            for key in (key for key in step if key in ("timeout", "retries") and key not in undo):
                yield with_value(without(document, (*place, key)), (*place, "compensation", key), step[key])
        sources = step.get("depends_on")
        for entry, connection in enumerate(sources if isinstance(sources, list) else ()):
            for source in (name for name in names[:rank] if name != source_of(connection)):
                yield with_value(document, (*place, "depends_on", entry), source)
    for key, manner in document["manners"].items():
        rest = {name: value for name, value in document["manners"].items() if name != key}
        for name in (name for step in names for name in (step, f"{step}!") if name != key):
            yield {**document, "manners": {**rest, name: manner}}


def _with_latencies_moved(lines: Program) -> Iterator[Program]:
    """A latency of round size, and at another place."""
    for index, line in enumerate(lines):
        track = line.tape.latencies
        for place in (place for place, byte in enumerate(track) if byte):
            less = replace(line.tape, latencies=track[:place] + b"\0" + track[place + 1 :])
            rest = replaced(lines, index, replace(line, tape=less))
            yield from with_a_latency(rest, (*ROUND, track[place]))


def _with_less_waiting(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """A latency shorter by some ticks, and as many moves less after it: what came of them was that time passed."""
    for index, line in enumerate(lines):
        track = line.tape.latencies
        for place, byte in enumerate(track):
            size = LATENCIES.index(LATENCIES[byte])
            for less in SIZES[: SIZES.index(size)] if size in SIZES else ():
                late = bytes([*track[:place], less, *track[place + 1 :]])
                sooner = replaced(lines, index, replace(line, tape=replace(line.tape, latencies=late)))
                ticks = round((LATENCIES[byte] - LATENCIES[less]) / TICK)
                for start in range(index + 1, len(lines) - ticks + 1):
                    yield without_moves(sooner, range(start, start + ticks), executions)


def with_a_latency(lines: Program, sizes: Iterable[int] = ROUND) -> Iterator[Program]:
    """The program with one latency more."""
    for index, line in enumerate(lines):
        for place, size in itertools.product(range(_PLACES), sizes):
            track = line.tape.latencies.ljust(place + 1, b"\0")
            late = replace(line.tape, latencies=track[:place] + bytes([size]) + track[place + 1 :])
            yield replaced(lines, index, replace(line, tape=late))
