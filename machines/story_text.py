"""The story of a case in a terminal: the clause, the workflow, the moves, and where what was seen parts from the claim.

Rule 1: a typical story fits into 40 lines of 100 columns; what is long is cut in the middle, and says so.
Rule 2: nothing but characters: a story is pasted into a report as it is.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from machines.course import printable
from machines.story_drawing import draw
from machines.story_words import Told, clause_in_words, clipped, expectation, outline, tell_entries
from machines.witness import Frame, Testimony

WIDTH: Final = 100
_MOVES: Final = 9
"""Moves that are told; of more the first ones and the last ones."""
_STEPS: Final = 6
"""Steps that are drawn."""
_ENTRIES: Final = 6
"""Entries that are told, up to the point of parting."""
_COLUMN: Final = 46
_HOLDS: Final = ", the contract holds"
_INDENT: Final = " " * 14
_LESS: Final = {"Notified", "Reported", "Rested", "Subscribed"}
"""What says nothing new, unless it is what parts."""


def story(found: Testimony) -> str:
    """The whole story, as lines."""
    return "\n".join(printable(line.rstrip()) for line in _story(found)) + "\n"


def _story(found: Testimony) -> Iterator[str]:
    violation, case = found.violation, found.case
    name, invariant = (case.clause, case.invariant) if violation is None else (violation.clause, violation.invariant)
    yield f"{name} ({invariant}): {found.told}"
    yield from _paragraph("the contract", clause_in_words(name))
    if violation is None:
        yield from _paragraph("recorded was", case.sentence)
    else:
        yield from _paragraph("expected", expectation(violation))
        yield from _paragraph("seen", violation.sentence)
        if found.told == "violated in another way":
            yield from _paragraph("recorded was", f"{case.clause} ({case.invariant}): {case.sentence}")
    yield from _drawings(found)
    yield ""
    yield "the moves" + (" (callbacks must run out of turn for it, which asyncio does not do)" * case.reorder_only)
    yield from _moves(found)
    if violation is not None:
        yield ""
        yield from _difference(found)
        yield from _parting(found)


def _paragraph(title: str, text: str) -> list[str]:
    lines = textwrap.wrap(clipped(text, 3 * (WIDTH - len(_INDENT))), WIDTH - len(_INDENT)) or [""]
    return [f"{title:>12}  {lines[0]}", *(_INDENT + line for line in lines[1:])]


# The workflow


def _drawings(found: Testimony) -> Iterator[str]:
    """Of the execution in which it parted, or of the first."""
    if not found.workflows:
        return
    name = subject(found)
    drawn = outline(found.workflows[name])
    order = list(found.workflows[name].definition.sequence)
    shown = _near(order, drawn.sources, concerned(found)) if len(order) > _STEPS else order
    last = found.frames[-1]
    claimed, known = last.claimed.get(name), last.known.get(name)
    yield ""
    status = "" if claimed is None else f", which is {claimed.status} by the engine's word"
    if claimed is not None and known is not None and claimed.status != known.status:
        status += f" and {known.status} by the model's"
    more = "" if len(shown) == len(order) else f" ({len(order) - len(shown)} of {len(order)} steps are not drawn)"
    yield _fitted(f"the workflow of {name}{status}{more}", WIDTH)
    sources = {step: [source for source in drawn.sources(step) if source in shown] for step in shown}
    labels = [step + (f" ({drawn.steps[step]})" if drawn.steps[step] else "") for step in shown]
    width = min(max(map(len, labels)), 46)
    for row, step, label in zip(draw(shown, sources), shown, labels, strict=True):
        says = "" if claimed is None else claimed.steps.get(step, "PENDING")
        knows = "" if known is None else known.steps.get(step, says)
        other = f", {knows} by the model's word" if knows != says and claimed is not None else ""
        yield _fitted(f"  {row}  {clipped(label, width):<{width}}  {says}{other}", WIDTH)


def _near(order: Sequence[str], sources: Callable[[str], Iterable[str]], wanted: Iterable[str]) -> list[str]:
    """A few steps of many: those that it is about, and where their connections come from."""
    chosen: dict[str, None] = dict.fromkeys(step for step in wanted if step in order)
    for step in [*chosen]:
        chosen |= dict.fromkeys(sources(step))
    chosen |= dict.fromkeys(order)
    few = set([*chosen][:_STEPS])
    return [step for step in order if step in few]


def subject(found: Testimony) -> str:
    """The execution that a story is about: the one of the parting entry, else the first that its sentence names."""
    violation = found.violation
    names = list(found.workflows)
    if violation is not None and violation.index < len(found.history):
        execution = getattr(found.history[violation.index], "execution", None)
        if execution in found.workflows:
            return str(execution)
    sentence = "" if violation is None else violation.sentence
    return next((name for name in names if name in sentence.split()), names[0])


def concerned(found: Testimony) -> list[str]:
    """The steps that it is about: the parting entry's first, those that the sentence names, those seen last."""
    told = list(tell_entries(found.history))
    if found.violation is None:
        return list(dict.fromkeys(entry.step for entry in reversed(told) if entry.step is not None))
    last, *earlier = reversed([entry.step for entry in told[: found.violation.index + 1]])
    named = re.findall(r"'([^']*)'", found.violation.sentence)
    return [step for step in dict.fromkeys([last, *named, *earlier]) if step is not None]


# The moves


def _moves(found: Testimony) -> Iterator[str]:
    frames = found.frames
    hidden = range(0)
    if len(frames) > _MOVES:
        hidden = range(2, len(frames) - (_MOVES - 3))
    for rank, frame in enumerate(frames):
        if rank in hidden:
            if rank == hidden.start:
                yield f"       ... {len(hidden) + found.before} more moves"
            continue
        yield from _move(found, frame)


def _move(found: Testimony, frame: Frame) -> Iterator[str]:
    parting = found.violation is not None and frame is found.frames[-1]
    number = f"{frame.number:>4}." if frame.played is not None else "  end"
    mark = ">" if parting else " "
    lines = textwrap.wrap(clipped(frame.text, 2 * (WIDTH - 9)), WIDTH - 9) or [""]
    yield f" {mark}{number} {lines[0]}"
    yield from (f"         {line}" for line in lines[1:])
    decisive = [deviation for number, deviation in found.decisive if number == frame.number]
    if decisive:
        several = "either of these" if len(decisive) > 1 else "this"
        yield f"         ^ decides: without {several} the contract holds"


# What decides


def _difference(found: Testimony) -> Iterator[str]:
    """The nearest variant that passes, and what comes in it instead."""
    if found.nearest is None:
        return
    text = clipped(found.nearest.text, WIDTH - len(_INDENT) - len(_HOLDS))
    yield f"what decides  {text}{_HOLDS}"
    for title, entry in (("here", found.nearest.here), ("instead", found.nearest.there)):
        text = "nothing more comes" if entry is None else f"{entry.at * 1000:.1f} ms  {entry.text}"
        yield _fitted(f"{title:>12}  {text}", WIDTH)


# The point of parting


def _parting(found: Testimony) -> Iterator[str]:
    assert found.violation is not None
    index = found.violation.index
    start = found.frames[0].first
    told = [
        entry
        for entry in tell_entries(found.history[: index + 1])
        if entry.index >= start and (entry.index == index or entry.kind not in _LESS)
    ][-_ENTRIES:]
    yield f"  {'what the actions saw':<{_COLUMN}}| what the engine claimed"
    several = len(found.workflows) > 1
    for entry in told:
        yield from _entry(entry, parts=entry.index == index, several=several)
    if index >= len(found.history):
        yield f" >{'':<{_COLUMN}}| {_fitted('and here it parts', WIDTH - _COLUMN - 4)}"


def _entry(entry: Told, *, parts: bool, several: bool) -> Iterator[str]:
    where = f"{entry.execution}: " if several and entry.execution else ""
    text = f"{entry.at * 1000:.1f} ms  {where}{entry.text}"
    mark = ">" if parts else " "
    if entry.side in {"asked", "outside"}:
        yield f" {mark}{_fitted(text, WIDTH - 2)}"
        return
    width = _COLUMN - 1 if entry.side == "saw" else WIDTH - _COLUMN - 4
    for line in textwrap.wrap(text, width, subsequent_indent="    ", max_lines=2, placeholder="..."):
        yield f" {mark}{line:<{_COLUMN}}|" if entry.side == "saw" else f" {mark}{'':<{_COLUMN}}| {line}"
        mark = " "


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
