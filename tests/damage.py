"""Case files gone wrong: documents edited by a careless hand, and bytes that a disk or a stranger has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, Final

from machines.mutants.catalogue import WITNESSES

Json = Any
ROOT: Final = Path(__file__).parent.parent
COMMITTED: Final = sorted([*(ROOT / "tests" / "regressions").glob("*.json"), *WITNESSES.glob("*.json")])
ODD: Final[tuple[Json, ...]] = (
    *(None, True, False, 0, 1, -1, 2.5, 2**70, "", "x", "\x1b[2J", "../../up", "\ud800", "0g", "00", "é"),
    *([], {}, [[]], {"": {}}, ["x"], {"move": "Run"}, {"latencies": "ff", "order": 7}, "2026-02-30", "builtin"),
)
"""What may stand where something else should. No number is whole with a fraction of zero: see docs/case-format.md."""
NAMES: Final = (
    *("format", "target", "machine", "settings", "max_concurrent_steps", "clause", "digest", "moves", "reorder_only"),
    *("why", "kept_on", "move", "tape", "latencies", "order", "workflow", "manners", "gate", "seconds", "colour"),
)
_BYTES: Final = [
    text.encode("utf-8", "surrogateescape")
    for text in (
        *('"', "{", "}", "[", "]", ",", ":", "\\", "\\u0000", "\\ud83d", "\n", " ", "-", "1", "1e999", "NaN", "null"),
        *("9" * 400, "true", "Infinity", "[" * 300, '{"a":' * 50, '"move"', '"format": 2', "\x00", "\ufeff", "é"),
        *("\udcff", "\udced\udca0\udc80", "\udcc3"),  # no UTF-8
    )
]


def documents() -> list[Json]:
    """Every committed case, as JSON."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in COMMITTED]


def edited(document: Json, chance: Random) -> Json:
    """A document with a few edits, each of them at a place that chance picks."""
    document = deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        _edit(chance.choice(list(_containers(document))), chance)
    return document


def _containers(value: Json) -> Iterator[Json]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def _edit(place: Json, chance: Random) -> None:
    """Change, drop, add or exchange something in a container."""
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    what = chance.randrange(4) if keys else 2
    if what == 0:
        place[chance.choice(keys)] = deepcopy(chance.choice(ODD))
    elif what == 1:
        del place[chance.choice(keys)]
    elif what == 2 and isinstance(place, dict):  # a kind of edit
        place[chance.choice(NAMES)] = deepcopy(chance.choice(ODD))
    elif what == 2:  # as above
        place.append(deepcopy(chance.choice(ODD)))
    else:
        one, other = chance.choice(keys), chance.choice(keys)
        place[one], place[other] = place[other], place[one]


def mangled(data: bytes, chance: Random) -> bytes:
    """Bytes cut off, cut out, doubled, exchanged, or with something in their midst."""
    for _ in range(chance.choice((1, 1, 2, 8))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((1, 1, 4, 40, 400)))
        data = chance.choice(
            (
                data[:start],
                data[:start] + data[end:],
                data[:end] + data[start:],
                data[:start] + chance.randbytes(1) + data[end:],
                data[:start] + chance.choice(_BYTES) + data[start:],
                data[:start] + chance.choice(_BYTES) + data[end:],
            )
        )
    return data
