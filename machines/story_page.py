"""The story of a case as one page that needs no network: the data as JSON, the drawing by a script, all in one file.

Rule 1: no text of a case ever stands where a browser could read it as markup or script: the data is JSON without
``<``, ``>`` and ``&``; the script writes text only; what stands in the page itself is escaped.
Rule 2: the page says by its own policy that it loads nothing, and runs the scripts that it was written with alone.
Rule 3: of a history without bound the last entries are shown.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any, Final

from machines.clauses import clauses
from machines.story_lanes import Lanes
from machines.story_text import story
from machines.story_words import clause_in_words, clipped, expectation, outline, tell_entries
from machines.witness import Frame, Standing, Testimony

Json = Any

MOST_ENTRIES: Final = 20_000
"""How many entries are shown, the last ones."""
_SENTENCE: Final = 600


def page(found: Testimony, name: str) -> str:
    """The page of a case that is known by a name."""
    data = json.dumps(story_data(found, name), separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    style, drawing, script = shared("look.css") + asset("page.css"), layout(), asset("page.js")
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src {_hashed(style)}; "
        f"script-src {_hashed(drawing)} {_hashed(script)}"
    )
    parts = {
        "POLICY": html.escape(policy),
        "TITLE": html.escape(clipped(f"{_named(found)[0]}: {_sentence(found)}", 120)),
        "STYLE": style,
        "PLAIN": html.escape(story(found)),
        "DATA": data,
        "DRAWING": drawing,
        "SCRIPT": script,
    }
    return "".join(parts[part[2:-2]] if part[:2] == "@@" else part for part in _pieces(asset("page.html")))


def _pieces(template: str) -> Iterator[str]:
    """A template cut at its marks, so that nothing that is put in is looked at again."""
    for place, piece in enumerate(template.split("@@")):
        yield piece if place % 2 == 0 else f"@@{piece}@@"


@cache
def asset(name: str) -> str:
    """A file that goes into the page."""
    return resources.files("machines").joinpath("story_assets", name).read_text(encoding="utf-8")


@cache
def shared(name: str) -> str:
    """A file that goes into the page of the engine's service too; it is the engine's, and imports nothing."""
    return resources.files("engine").joinpath("service", "assets", name).read_text(encoding="utf-8")


def layout() -> str:
    """The script that draws."""
    return shared("dagre.min.js") + shared("drawing.js")


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _named(found: Testimony) -> tuple[str, str]:
    if found.violation is None:
        return found.case.clause, found.case.invariant
    return found.violation.clause, found.violation.invariant


def _sentence(found: Testimony) -> str:
    return "the contract holds" if found.violation is None else found.violation.sentence


def story_data(found: Testimony, name: str) -> dict[str, Json]:
    """All that the page shows, as JSON."""
    case, violation = found.case, found.violation
    clause, invariant = _named(found)
    start = max(found.frames[0].first, len(found.history) - MOST_ENTRIES)
    lanes = Lanes.of(found.history)
    return {
        "name": name,
        "clause": clause,
        "invariant": invariant,
        "holds": violation is None,
        "told": found.told,
        "words": clause_in_words(clause),
        "expected": None if violation is None else expectation(violation),
        "seen": clipped(_sentence(found), _SENTENCE),
        "recorded": clipped(f"{case.clause} ({case.invariant}): {case.sentence}", _SENTENCE),
        "decides": None if found.nearest is None else clipped(f"{found.nearest.text}, the contract holds", _SENTENCE),
        "reorderOnly": case.reorder_only,
        "facts": {
            "target": case.target,
            "machine": case.machine,
            "slots": str(case.max_concurrent_steps),
            "history": f"{found.digest[:12]}, "
            + ("as recorded" if found.digest == case.digest else "not the recorded one"),
            **{key: value for key, value in case.versions.items() if key in {"lockstep", "python"}},
        },
        "executions": {name: _drawn(found, name) for name in found.workflows},
        "before": found.before,
        "frames": list(_frames(found)),
        "firstEntry": start,
        "entries": [
            [told.at, told.side, told.execution, told.step, told.kind, told.text]
            for told in tell_entries(found.history, start)
        ],
        "parting": None if violation is None else violation.index,
        "bars": lanes.bars,
        "marks": lanes.marks,
        "lines": lanes.lines,
        "contract": [asdict(each) for each in clauses().values()],
    }


def _drawn(found: Testimony, name: str) -> dict[str, Json]:
    drawn = outline(found.workflows[name])
    return {"steps": [[step, notes] for step, notes in drawn.steps.items()], "edges": drawn.edges}


def _frames(found: Testimony) -> Iterator[dict[str, Json]]:
    claimed: Mapping[str, Standing] = {}
    known: Mapping[str, Standing] = {}
    for frame in found.frames:
        yield {
            "number": frame.number,
            "text": clipped(frame.text if frame.played is None else frame.move, 400),
            "ending": frame.played is None,
            "marks": _marks(found, frame),
            "at": frame.at,
            "first": frame.first,
            "end": frame.end,
            "claimed": _changed(claimed, frame.claimed),
            "known": _changed(known, frame.known),
        }
        claimed, known = frame.claimed, frame.known


def _marks(found: Testimony, frame: Frame) -> list[list[Json]]:
    """The deviations of a move in words, each with whether it decides."""
    return [[words, (frame.number, deviation) in found.decisive] for deviation, words in frame.deviations]


def _changed(before: Mapping[str, Standing], after: Mapping[str, Standing]) -> dict[str, Json]:
    """What is another than before, by execution."""
    changes: dict[str, Json] = {}
    for name, standing in after.items():
        old = before.get(name)
        if old is standing:
            continue
        steps = {} if old is None else old.steps
        changes[name] = {
            **asdict(standing),
            "steps": {step: status for step, status in standing.steps.items() if steps.get(step) != status},
        }
    return changes
