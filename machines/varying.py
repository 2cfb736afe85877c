"""Variations of a case: what a program of moves becomes when chance edits it.

Rule 1: a variation is made of moves with their tapes; ``None`` stands for a move that the machine's rules shall make
when its turn comes.
Rule 2: nothing that is shared is changed: cases of a corpus are varied again and again.
Rule 3: the first move stays: without a workflow there is nothing to vary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final, TypeAlias

from machines.case import Line
from machines.chance import draw
from machines.moves import AddStep, Cancel, Crash, Elapse, Fail, FailStore, Finish, Move, Pause, Resume, Run, Yield
from machines.recovery import COMMITS, PLACES, SIDES
from machines.schedules import Pct, Uniform
from machines.strategies import (
    CHARACTERS,
    ERRORS,
    INPUTS,
    JUST_BEFORE,
    NEW_INPUTS,
    OUTPUTS,
    SECONDS,
    WORKFLOWS,
    Character,
    Drawn,
)
from machines.tape import PLAIN, Tape
from machines.world import World

Program: TypeAlias = list[Line | None]

LONGEST: Final = 45
"""Moves of a variation."""
_MOST_EDITS: Final = 4
_MOST_LINES: Final = 3
"""Lines that one edit takes away or puts in."""
_FROM_ELSEWHERE: Final = 12


def _other_run(move: Run, chance: Random) -> Move:
    """The same with another input, with one step of another character, or another workflow altogether."""
    which = chance.randrange(4)
    if move.workflow is None or which == 0:
        return replace(move, input=draw(INPUTS, chance))
    steps: Any = move.workflow.get("steps")
    if which == 1 or move.faults or not _plain(steps):
        drawn: Drawn = draw(WORKFLOWS, chance)
        return Run(drawn.definition, move.input, drawn.manners)
    rank = chance.randrange(len(steps))
    character: Character = draw(CHARACTERS, chance)
    old = steps[rank]
    sources = [each if isinstance(each, str) else each["source"] for each in old.get("depends_on") or ()]
    ties = {key: old[key] for key in ("depends_on", "join") if key in old}
    step = {**character.named(old["id"], sources), **ties}
    manners = {**move.manners, old["id"]: character.manner, f"{old['id']}!": character.undo_manner}
    return Run({**move.workflow, "steps": [*steps[:rank], step, *steps[rank + 1 :]]}, move.input, manners)


def _plain(steps: object) -> bool:
    """Whether these are steps as the tables make them."""
    return isinstance(steps, list) and bool(steps) and all(isinstance(each, dict) and "id" in each for each in steps)


def _other_elapse(_: Elapse, chance: Random) -> Move:
    if chance.random() < 0.5:  # noqa: PLR2004  # as often as not
        return Elapse(None, draw(JUST_BEFORE, chance))
    return Elapse(draw(SECONDS, chance))


_OTHERS: Final[Mapping[type[Move], Callable[[Any, Random], Move]]] = {
    Run: _other_run,
    Elapse: _other_elapse,
    Finish: lambda move, chance: Finish(move.gate, draw(OUTPUTS, chance)) if chance.randrange(2) else Fail(move.gate),
    Fail: lambda move, chance: Fail(move.gate, draw(ERRORS, chance)) if chance.randrange(2) else Finish(move.gate),
    Resume: lambda move, chance: Resume(move.execution, draw(NEW_INPUTS, chance)),
    Pause: lambda move, _: Cancel(move.execution),
    Cancel: lambda move, _: Pause(move.execution),
    Crash: lambda _, chance: Crash(draw(SIDES, chance), draw(COMMITS, chance)),
    FailStore: lambda move, chance: replace(
        move, **dict(zip(("fault", "statement"), draw(PLACES, chance), strict=True))
    ),
    AddStep: lambda move, _: replace(move, manner="stubborn"),
}
"""By kind of move: the same with another argument."""


def _argument(program: Program, chance: Random, _: Uniform | Pct) -> None:
    rank = chance.randrange(len(program))
    line = program[rank]
    if line is not None and (other := _OTHERS.get(type(line.move))):
        program[rank] = Line(other(line.move, chance), line.tape)


def _tape(program: Program, chance: Random, schedule: Uniform | Pct) -> None:
    """Another tape, none, or the same with one byte changed."""
    rank = chance.randrange(len(program))
    line = program[rank]
    if line is None:
        return
    which = chance.randrange(3)
    tape = schedule.tape() if which else PLAIN
    if which == 1:
        late = bytearray(line.tape.latencies or bytes(4))
        late[chance.randrange(min(len(late), 8))] = chance.randrange(256)
        tape = Tape(bytes(late), line.tape.order)
    program[rank] = Line(line.move, tape)


def _delete(program: Program, chance: Random, _: Uniform | Pct) -> None:
    if len(program) > 1:
        start = chance.randrange(1, len(program))
        del program[start : start + chance.randint(1, _MOST_LINES)]


def _insert(program: Program, chance: Random, _: Uniform | Pct) -> None:
    place = chance.randint(1, len(program))
    program[place:place] = [None] * chance.randint(1, _MOST_LINES)


def _repeat(program: Program, chance: Random, _: Uniform | Pct) -> None:
    rank = chance.randrange(len(program))
    program.insert(min(rank + chance.randint(1, _MOST_LINES), len(program)), program[rank])


def _cut(program: Program, chance: Random, _: Uniform | Pct) -> None:
    """What comes after a place is for the rules to make."""
    del program[chance.randint(1, len(program)) :]


_EDITS: Final = (_argument, _tape, _tape, _delete, _insert, _insert, _repeat, _cut)


def varied(lines: Sequence[Line], other: Sequence[Line], chance: Random, schedule: Uniform | Pct) -> Program:
    """The program with some edits; one in eight goes on as another one does."""
    program: Program = list(lines)
    if chance.randrange(8) == 0:
        start = chance.randrange(len(other))
        program[chance.randint(1, len(program)) :] = other[start : start + _FROM_ELSEWHERE]
    for _ in range(chance.randint(1, _MOST_EDITS)):
        chance.choice(_EDITS)(program, chance, schedule)
    return program[:LONGEST]


def aimed(move: Move, world: World) -> Move:
    """A move that fits nothing any more, made to fit: another action that waits, or the newest execution."""
    match move:
        case Finish(gate) | Fail(gate) | Yield(gate):
            waiting = [each.name for each in world.gates if not each.told]
            if waiting and gate not in waiting:
                return replace(move, gate=waiting[len(gate) % len(waiting)])
        case Pause(execution) | Resume(execution) | Cancel(execution):
            if execution not in world.executions and world.executions and execution != "nobody":
                return replace(move, execution=next(reversed(world.executions)))
        case _:
            pass
    return move
