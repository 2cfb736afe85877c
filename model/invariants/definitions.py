"""D: what is refused, and how. The faults of a definition are known to the one who put them there."""

from __future__ import annotations

from collections.abc import Iterator

from model.facts import Facts
from model.history import Recorded, Refused
from model.invariants.registry import listens


@listens(Refused)
def valid_definition_starts(facts: Facts, entry: Refused) -> Iterator[str]:
    """D3: a valid definition is not refused."""
    ask = facts.asks[entry.ask]
    if ask.command == "start" and not ask.faults and entry.type != "JournalError":
        yield f"{ask} raised {entry.type}: {entry.message}, but its workflow is valid"


@listens(Refused)
def every_fault_is_named(facts: Facts, entry: Refused) -> Iterator[str]:
    """D3: a broken definition is refused with one DefinitionError that lists every fault with its place."""
    ask = facts.asks[entry.ask]
    if ask.faults and entry.type != "DefinitionError":
        yield f"{ask} raised {entry.type}: {entry.message}, expected DefinitionError"
    elif ask.faults:
        lines = [line.strip() for line in entry.message.splitlines()]
        for fault in ask.faults:
            place, *words = fault.split(" ")
            if not any(line.startswith(f"{place}: ") and all(word in line for word in words) for line in lines):
                yield f"{ask} was refused, but its fault at {fault} is not named in: {entry.message}"


@listens("ExecutionCreated")
def nothing_broken_is_created(facts: Facts, entry: Recorded) -> Iterator[str]:
    """D3: nothing of a refused definition is kept."""
    for ask in facts.starting(entry):
        if ask.faults:
            yield f"{entry.execution} was created of a definition with faults at {', '.join(ask.faults)}"
