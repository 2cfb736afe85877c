"""D: what is refused, and how. The faults of a definition are known to the one who put them there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from model.definition import read
from model.facts import Ask, Facts
from model.history import Answered, Json, Recorded, Refused
from model.invariants.registry import ENGINE_WIDE, listens
from model.invariants.shutdown import refused_by_the_closed
from model.values import same, unnamed

_WORD: Final = re.compile(r"[A-Za-z]{2,}")
_PART_BEFORE: Final = re.compile(r"[\w.\]]$")
_PART_AFTER: Final = re.compile(r"\w|\.\w|\[")
"""What makes of a place a part of a longer one."""


@listens(Refused)
def valid_definition_starts(facts: Facts, entry: Refused) -> Iterator[str]:
    """D3: a valid definition is not refused."""
    ask = facts.asks[entry.ask]
    excused = entry.type in {"JournalError", "KeyUsedError"} or refused_by_the_closed(facts, entry)
    if ask.command == "start" and not (ask.faults or ask.odd or excused):
        yield f"{ask} raised {entry.type}: {entry.message}, but its workflow is valid"


@listens(Refused)
def every_fault_is_named(facts: Facts, entry: Refused) -> Iterator[str]:
    """D3: a broken definition is refused with one DefinitionError: a line for each fault, with its place and words."""
    if not refused_by_the_closed(facts, entry):
        yield from _badly_refused(facts.asks[entry.ask], entry)


@listens(Refused)
def odd_input_is_named(facts: Facts, entry: Refused) -> Iterator[str]:
    """D5: what is no input is refused with an InputError that names it, and says what is wrong with it.

    That it starts and resumes nothing is for those who know what a start and a resume brought.
    """
    ask = facts.asks[entry.ask]
    name = "input" if ask.command == "start" else "inputs"
    others = {"JournalError", *(["UnknownExecutionError"] if ask.command == "resume" else [])}
    if not ask.odd or ask.faults or entry.type in others or refused_by_the_closed(facts, entry):
        return  # others have something to say
    if entry.type != "InputError":
        yield f"{ask} raised {entry.type}: {entry.message}, expected InputError"
    elif name not in (words := re.findall("[a-z]+", entry.message, re.IGNORECASE)) or not set(words) - {name}:
        yield f"{ask} was refused, but that it is for its {name}, and why, is not told in: {entry.message}"


def _badly_refused(ask: Ask, entry: Refused) -> Iterator[str]:
    """What is wrong with the refusal of a definition that was broken on purpose."""
    if ask.faults and entry.type != "DefinitionError":
        yield f"{ask} raised {entry.type}: {entry.message}, expected DefinitionError"
    elif ask.faults:
        lines = entry.message.splitlines()
        for fault in ask.faults:
            place, *words = fault.split(" ")
            if not any(_tells(line, place, words) for line in lines):
                yield f"{ask} was refused, but its fault at {fault} is not named in: {entry.message}"


def _tells(line: str, place: str, words: Sequence[str]) -> bool:
    """Whether a line names the place as a whole, and says beside it what is wrong there."""
    before, found, after = _split(line, place)
    said = before + " " + after
    spoken = [word for word in _WORD.findall(said) if word != "None"]
    return found and bool(spoken) and not unnamed(words, said)


def _split(line: str, place: str) -> tuple[str, bool, str]:
    """What stands before a place and after it, and whether it is there at all; no place is everywhere."""
    for match in re.finditer(re.escape(place), line):
        before, after = line[: match.start()], line[match.end() :]
        if not place or not (_PART_BEFORE.search(before) or _PART_AFTER.match(after)):
            return before, True, after
    return line, False, ""


@listens("ExecutionCreated")
def nothing_broken_is_created(facts: Facts, entry: Recorded) -> Iterator[str]:
    """D3: nothing of a refused definition is kept."""
    for ask in facts.starting(entry):
        if ask.faults:
            yield f"{entry.execution} was created of a definition with faults at {', '.join(ask.faults)}"


@listens(ENGINE_WIDE)
def converted_as_it_is(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """D2, D3: a graph is converted to its steps in topological order, with their ranks and their connections.

    A broken one is refused.
    """
    ask = facts.asks[entry.ask]
    if ask.command != "convert":
        return
    if isinstance(entry, Refused):
        if not ask.faults:
            yield f"{ask} raised {entry.type}: {entry.message}, but its graph is valid"
        yield from _badly_refused(ask, entry)
    elif ask.faults:
        yield f"{ask} was answered, but its graph has faults at {', '.join(ask.faults)}"
    else:
        workflow = ask.arguments["workflow"]
        titled = [node["id"] for node in workflow["nodes"] if node.get("title")]
        expected = [_plain(step, titled) for step in _converted(workflow)]
        steps = entry.answer if isinstance(entry.answer, list) else [entry.answer]
        found = [_plain(step, titled) if isinstance(step, Mapping) else step for step in steps]
        if not same(found, expected):
            yield f"{ask} was answered {found!r}, expected {expected!r}"


def _converted(graph: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """The steps of a graph, in the order of the contract."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    for rank, name in enumerate(read(graph).sequence, 1):
        sources: list[Json] = []
        for connection in graph.get("connections") or ():
            if connection["target"] == name:
                source, condition = connection["source"], connection.get("condition")
                sources.append(source if condition is None else {"source": source, "condition": condition})
        around = {"id": name, "name": nodes[name].get("title"), "sequence_order": rank, "depends_on": sources}
        yield {**around, **{key: value for key, value in nodes[name]["config"].items() if value is not None}}


def _plain(step: Mapping[str, Json], titled: Sequence[str]) -> dict[str, Json]:
    """A step without what is null, and without the name that its graph has not given it: it may have any."""
    named = step.get("id") in titled
    return {key: value for key, value in step.items() if value is not None and (named or key != "name")}
