"""D: what is refused, and how. The faults of a definition are known to the one who put them there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from model.facts import Facts
from model.history import Recorded, Refused
from model.invariants.registry import listens
from model.values import unnamed

_WORD: Final = re.compile(r"[A-Za-z]{2,}")
_PART_BEFORE: Final = re.compile(r"[\w.\]]$")
_PART_AFTER: Final = re.compile(r"\w|\.\w|\[")
"""What makes of a place a part of a longer one."""


@listens(Refused)
def valid_definition_starts(facts: Facts, entry: Refused) -> Iterator[str]:
    """D3: a valid definition is not refused."""
    ask = facts.asks[entry.ask]
    if ask.command == "start" and not ask.faults and entry.type not in {"JournalError", "KeyUsedError"}:
        yield f"{ask} raised {entry.type}: {entry.message}, but its workflow is valid"


@listens(Refused)
def every_fault_is_named(facts: Facts, entry: Refused) -> Iterator[str]:
    """D3: a broken definition is refused with one DefinitionError: a line for each fault, with its place and words."""
    ask = facts.asks[entry.ask]
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
