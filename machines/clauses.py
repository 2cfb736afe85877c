"""The contract's clauses, in its own words.

Rule 1: the text is docs/contract.md; an installed package carries a copy of it beside this file.
Rule 2: nothing here knows what a clause means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

__all__ = ["Clause", "clauses", "parse"]

_PLACES: Final = (Path(__file__).parent.parent / "docs" / "contract.md", Path(__file__).with_name("contract.md"))
_HEADING: Final = re.compile(r"## [A-Z]\. (.+)")
_CLAUSE: Final = re.compile(r"- ([A-Z]\d+)\. (.+)")
_SENTENCE: Final = re.compile(r"(?<=\.)\s+(?=[A-Z*`])")


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause: its name, the heading that it stands under, and its words as one paragraph."""

    name: str
    heading: str
    text: str

    @property
    def first_sentence(self) -> str:
        """What it says before it goes into particulars."""
        return _SENTENCE.split(self.text, maxsplit=1)[0]


def parse(text: str) -> Iterator[Clause]:
    """Read the clauses off a contract, in its order."""
    heading, name, words = "", "", list[str]()
    for line in [*text.splitlines(), ""]:
        opening = _CLAUSE.match(line)
        if name and not opening and line.startswith("  "):
            words.append(line.strip())
            continue
        if name:
            yield Clause(name, heading, " ".join(words))
            name = ""
        if opening:
            name, words = opening[1], [opening[2].strip()]
        elif found := _HEADING.match(line):
            heading = found[1]


@cache
def clauses() -> Mapping[str, Clause]:
    """Every clause by its name."""
    place = next(place for place in _PLACES if place.is_file())
    return MappingProxyType({clause.name: clause for clause in parse(place.read_text(encoding="utf-8"))})
