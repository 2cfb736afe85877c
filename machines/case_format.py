"""What a case's document must be: read from text, brought up to the present format, and every fault of it found.

Rule 1: a document of an older format goes through ``UPGRADES`` one step at a time; one of a newer format is refused.
Rule 2: what a document says that this version does not know is no fault. Whatever would change a history gets a new
format, so what is unknown can be kept and left alone.
Rule 3: faults are found, not raised, one sentence each with its place; there are ``MOST_FAULTS`` at most.
Rule 4: nothing here imports, opens or carries out anything that a document names.

docs/case-format.md describes the format for people, ``case.schema.json`` for programs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any, Final, NoReturn, TypeAlias

from machines.moves import from_json, misfits
from machines.tape import Tape, TapeError

Json: TypeAlias = Any

FORMAT: Final = 1
MAX_DEPTH: Final = 256
"""More than the engine takes in a value, so that a case may show that it takes no more."""
MAX_MOVES: Final = 10_000
MOST_FAULTS: Final = 20

TEXTS: Final = ("target", "machine", "clause", "invariant", "sentence", "digest")
VERSIONS: Final = ("lockstep", "python", "hypothesis")
KEPT: Final = ("why", "kept_on")
"""What a case says that was promoted to a regression."""

_CONTAINERS: Final = (dict, list)
_SHOWN: Final = 60
_SENTENCE: Final = 200


class FormatError(ValueError):
    """A text is no case that can be read; the message says all that is wrong with it."""


def _refuse(message: str) -> NoReturn:
    raise FormatError(message) from None


def document_of(text: str) -> dict[str, Json]:
    """The document that a text is, in the present format and without a fault.

    Raises:
        FormatError: it is none.
    """
    document = _parse(text)
    if type(document) is not dict:
        _refuse("not a case: a case is a JSON object")
    document = upgraded(document)
    if found := list(islice(faults(document), MOST_FAULTS + 1)):
        more = "; and there is more" if len(found) > MOST_FAULTS else ""
        _refuse(f"a damaged case: {'; '.join(found[:MOST_FAULTS])}{more}")
    return document


# Text


def _parse(text: str) -> Json:
    def refuse(constant: str) -> float:
        _refuse(f"holds {constant}, which is not JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(shortened(digits))

    try:
        document = json.loads(text, parse_constant=refuse, parse_float=finite)
    except json.JSONDecodeError as error:
        _refuse(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
    except RecursionError:
        _refuse(f"nested more than {MAX_DEPTH} deep: no case is")
    except FormatError:
        raise
    except ValueError as error:  # an integer of more digits than Python reads
        _refuse(f"not JSON that can be read: {error}")
    if depth(document) > MAX_DEPTH:
        _refuse(f"nested more than {MAX_DEPTH} deep: no case is")
    return document


def depth(value: Json) -> int:
    """How deep containers are nested in a value; it gives up just past what is allowed."""
    found, level = 0, [value]
    while (level := [item for item in level if isinstance(item, _CONTAINERS)]) and found <= MAX_DEPTH:
        found += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return found


# Older formats


def _with_a_record(document: Mapping[str, Json]) -> dict[str, Json]:
    """Format 0 was a program alone, the JSON of its moves: nothing is recorded, so nothing is claimed."""
    blank = {
        "target": "builtin",
        "machine": "lifecycle",
        "settings": {"max_concurrent_steps": 2},
        "clause": "none",
        "invariant": "none",
        "sentence": "nothing is recorded",
        "digest": "",
    }
    return {**blank, **document, "format": 1}


UPGRADES: Final[Mapping[int, Callable[[Mapping[str, Json]], dict[str, Json]]]] = {0: _with_a_record}
"""By format: what makes a document of the next one of it. It takes what it finds: faults are found afterwards."""


def upgraded(document: dict[str, Json]) -> dict[str, Json]:
    """A document in the present format, if it says that it has an older one.

    Raises:
        FormatError: it has a newer one.
    """
    number = document.get("format")
    if type(number) is not int:
        return document
    if number > FORMAT:
        _refuse(
            f"written in case format {_shown(number)}, and this version of Lockstep reads formats up to {FORMAT}: "
            "take a newer one"
        )
    while number in UPGRADES:
        document = UPGRADES[number](document)
        number = document["format"]
    return document


# Faults


def faults(document: Mapping[str, Json]) -> Iterator[str]:
    """What is wrong with a document of the present format."""
    number = document.get("format")
    if number != FORMAT or type(number) is not int:
        yield f"format must be {FORMAT}" + ("" if "format" not in document else f", not {_shown(number)}")
    for name in (*TEXTS, *VERSIONS, *KEPT):
        if name not in document:
            if name in TEXTS:
                yield f"{name} is missing"
        elif type(document[name]) is not str:
            yield f"{name} must be a text, not {_shown(document[name])}"
    if not _is_day(document.get("kept_on")):
        yield f"kept_on must be a day as in 2026-01-31, not {_shown(document['kept_on'])}"
    if type(document.get("reorder_only", False)) is not bool:
        yield f"reorder_only must be true or false, not {_shown(document['reorder_only'])}"
    yield from _settings_faults(document.get("settings"))
    yield from _moves_faults(document.get("moves"))


def _is_day(value: Json) -> bool:
    """Whether it is a day; what is no text is another fault."""
    if type(value) is not str:
        return True
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _settings_faults(settings: Json) -> Iterator[str]:
    if type(settings) is not dict:
        yield "settings must be an object"
        return
    limit = settings.get("max_concurrent_steps")
    if type(limit) is not int or limit < 1:
        yield f"settings.max_concurrent_steps must be a whole number from 1, not {_shown(limit)}"


def _moves_faults(moves: Json) -> Iterator[str]:
    if type(moves) is not list:
        yield "moves must be a list"
        return
    if len(moves) > MAX_MOVES:
        yield f"moves are {len(moves):,}: no case has more than {MAX_MOVES:,}"
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
        yield shortened(str(error), _SENTENCE)
    try:
        move = from_json(line)
    except ValueError as error:
        yield shortened(str(error), _SENTENCE)
        return
    for name, value in misfits(move).items():
        yield f"{name} of {type(move).__name__} cannot be {_shown(value)}"


def _shown(value: Json) -> str:
    """A value in a few characters, whatever its size."""
    if isinstance(value, _CONTAINERS) and len(value) > _SHOWN:
        value = dict(islice(value.items(), _SHOWN)) if isinstance(value, dict) else value[:_SHOWN]
    return shortened(json.dumps(value, default=repr))


def shortened(text: str, most: int = _SHOWN) -> str:
    """A text, cut where it gets long."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
