"""A case written down as a test for pytest, in the words of ``machines.program``.

Rule 1: what a case says becomes literals and comments of one line; no text of it can become code.
Rule 2: an argument that has its default is left out, so that what is read is what matters.
Rule 3: the test fails as long as the contract is violated, and passes when the bug is mended.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Convert,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Heed,
    Move,
    Pause,
    Reconnect,
    Recover,
    Resume,
    Rival,
    Run,
    Shutdown,
    Stall,
    Subscribe,
    TakeOver,
    Yield,
)
from machines.story_words import clause_in_words, clipped
from machines.tape import LATENCIES, Tape
from machines.witness import Testimony

Json = Any

_WIDTH: Final = 100
_CALLS: Final[Mapping[type[Move], tuple[str, tuple[str, ...]]]] = {
    AddStep: ("add_step", ("step",)),
    Connect: ("connect", ("source", "target", "condition")),
    Run: ("run", ("workflow", "input")),
    Convert: ("convert", ("graph",)),
    Finish: ("finish", ("gate", "output")),
    Fail: ("fail", ("gate", "type", "message")),
    Yield: ("yield_to_cancellation", ("gate",)),
    Pause: ("pause", ("execution",)),
    Resume: ("resume", ("execution", "inputs")),
    Cancel: ("cancel", ("execution",)),
    Elapse: ("let_time_pass", ("seconds",)),
    Subscribe: ("subscribe", ("execution",)),
    Crash: ("crash", ("at",)),
    Recover: ("recover", ()),
    Shutdown: ("shut_down", ("grace",)),
    FailStore: ("fail_store", ("fault", "statement")),
    Rival: ("rival", ()),
    TakeOver: ("take_over", ()),
    Reconnect: ("reconnect", ("execution",)),
    Stall: ("stop_reading", ("execution",)),
    Heed: ("read_on", ("execution",)),
}
"""By move: the call, and those of its arguments that need no name."""


def program_text(found: Testimony, target: str) -> str:
    """The test of a case, against a target."""
    return "\n".join(_lines(found, target)) + "\n"


def _lines(found: Testimony, target: str) -> Iterator[str]:
    case, violation = found.case, found.violation
    clause, invariant, sentence = (
        (case.clause, case.invariant, case.sentence)
        if violation is None
        else (violation.clause, violation.invariant, violation.sentence)
    )
    moves = [(line.move, line.tape) for line in case.lines]
    workflows = [move.workflow for move, _ in moves if isinstance(move, Run) and move.workflow is not None]
    yield f"# The contract, {clipped(clause, 60)}:"
    yield from _comment(clause_in_words(clause))
    yield "# It was violated:"
    yield from _comment(clipped(sentence, 400))
    yield "# This test fails as long as that is so. Written by `lockstep story CASE --pytest FILE`."
    yield ""
    calls = sorted({_CALLS[type(move)][0] for move, _ in moves} | {"holds"})
    yield from _imports(calls)
    names: dict[int, str] = {}
    for number, workflow in enumerate(workflows, 1):
        names[id(workflow)] = "WORKFLOW" if len(workflows) == 1 else f"WORKFLOW_{number}"
        yield ""
        yield from _assigned(names[id(workflow)], workflow)
    yield ""
    yield ""
    yield f"def test_{_snake(clause)}_{_snake(invariant)}() -> None:"
    yield f"    with holds(target={_literal(target, _WIDTH)}, max_concurrent_steps={case.max_concurrent_steps}):"
    if not moves:
        yield "        pass"
    for move, tape in moves:
        yield from textwrap.indent(_call(move, tape, names), "        ").split("\n")


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - 6):
        yield f"#     {line}"


def _imports(calls: list[str]) -> Iterator[str]:
    line = f"from machines.program import {', '.join(calls)}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield "from machines.program import ("
    yield from (f"    {call}," for call in calls)
    yield ")"


def _assigned(name: str, value: Json) -> Iterator[str]:
    yield from f"{name} = {_literal(value, _WIDTH - len(name) - 3)}".split("\n")


def _literal(value: Json, width: int) -> str:
    """A JSON value as Python spells it: on one line if that is short enough, else a line for each of its parts."""
    if isinstance(value, str):
        return f'"{value}"' if value.isprintable() and not set(value) & {'"', "\\"} else repr(value)
    if not value or not isinstance(value, Mapping | list | tuple):
        return repr(value)
    if isinstance(value, Mapping):
        parts = [f"{_literal(key, width)}: {_literal(item, width - 4)}" for key, item in value.items()]
    else:
        parts = [_literal(item, width - 4) for item in value]
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) <= width and "\n" not in line:
        return line
    return f"{opening}\n{_indented(parts)}{closing}"


def _indented(parts: Iterable[str]) -> str:
    """Each part on lines of its own."""
    return textwrap.indent("".join(f"{part},\n" for part in parts), "    ")


def _snake(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "case"


def _call(move: Move, tape: Tape, names: Mapping[int, str]) -> str:
    name, plain = _CALLS[type(move)]
    arguments: list[str] = []
    skipped = False
    for part in fields(move):
        value = getattr(move, part.name)
        default = part.default_factory() if part.default_factory is not MISSING else part.default
        if type(value) is type(default) and value == default:
            skipped = True
            continue
        text = names.get(id(value)) or _literal(value, _WIDTH - 36)
        said = {"input": "given", "gate": "action"}.get(part.name, part.name)
        arguments.append(text if part.name in plain and not skipped else f"{said}={text}")
    if tape.latencies:
        arguments.append(f"latencies={[_milliseconds(byte) for byte in tape.latencies]}")
    if tape.order:
        arguments.append(f"out_of_turn={[*tape.order]}")
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= _WIDTH - 8 and "\n" not in line:
        return line
    return f"{name}(\n" + _indented(arguments) + ")"


def _milliseconds(byte: int) -> float:
    milliseconds = round(LATENCIES[byte] * 1000, 6)
    return int(milliseconds) if milliseconds.is_integer() else milliseconds
