"""The programs of a small scope: a start and a move of any kind, with one argument or one latency, and some like them.

Most bugs show themselves in something small (Jackson and Damon, *Elements of Style: Analyzing a Software Design
Feature with a Counterexample Detector*, 1996: the small scope hypothesis). Most of what is tried here is tried for
every case alike, whatever is in it, so that different cases come to the same program.

Rule 1: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
Rule 2: of the case its first two starts are taken, and its moves, as if all were about one execution.
Rule 3: a program comes before those that are it with a latency: what it asks for says which of them differ from it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from machines.beginning import own_moves
from machines.case import Line
from machines.moves import ABRUPT, AT_ONCE, AddStep, Connect, Elapse, Fail, Finish, Move, Run, to_json
from machines.parts import has_steps, names_of, parts, renamed
from machines.plain_things import HARM, PLAIN_RUN, alphabet, with_an_argument_more, with_behaviours
from machines.plainness import ROUND
from machines.rewriting import Program, with_a_latency

_FEW: Final = 4
"""Moves that are there, of which any may go, and which are put in any order."""
_B: Final = {"id": "b", "action": "work"}


def small_scope(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """Starts and what may come after them."""
    sizes = (ROUND[1], ROUND[-1])
    yield from _with_inputs_missing()
    yield from _in_any_order(lines)
    yield from _two_steps_that_behave(lines, executions)
    starts = [*_starts(lines, executions), PLAIN_RUN]
    known = [(Line(run),) for run in (*starts, *(replace(run, manners={}) for run in starts[:1] if run.manners))]
    for alone in (*known, *with_an_argument_more((Line(PLAIN_RUN),))):
        yield alone
        yield from _with_a_move(alone, executions)
        yield from with_a_latency(alone, sizes)
    own = _own_moves(lines, executions)
    for alone in known:
        for start in (alone, _at_once(alone)) if _of_one_step(alone) else ():
            for more in with_an_argument_more(start):
                yield more
                yield from with_a_latency(more, sizes)
        for move in (*own, *HARM):
            two = (*alone, Line(move))
            yield two
            yield from with_a_latency(two, sizes)
        for wider in _wider(alone):
            yield wider
            yield from ((*wider, Line(move)) for move in own)


def _with_inputs_missing() -> Iterator[Program]:
    """Starts of two steps that lack an input; of one that lacks half of what it needs; and of one that lacks its input.

    Beside the last one another is tried again, or is to be undone by what is given.
    """
    for after in ({}, {"depends_on": ["a"]}):
        steps = [
            {"id": name, "action": "work", **more, "parameters": {"a": f"${{input.{name}}}"}}
            for name, more in (("a", {}), ("b", after))
        ]
        yield (Line(Run({"id": "w", "steps": steps})),)
    for given, key in (({"a": None}, "a"), ([None], "0")):
        both = {"a": f"${{input.a.{key}}}${{input.a.b}}"}
        step = {"id": "a", "action": "work", "parameters": both}
        yield (Line(Run({"id": "w", "steps": [step]}, {"a": given})),)
    of_it_all, lacking = {"parameters": {"a": "${input}"}}, {"parameters": {"a": "${input.a}"}}
    again = {"id": "a", "action": "work", **of_it_all, "retries": {"max_attempts": 2}}
    undone = {"id": "a", "action": "work", "compensation": {"action": "undo", **of_it_all}}
    yield (Line(Run({"id": "w", "steps": [again, {**_B, **lacking}]}, {}, {"a": ABRUPT})),)
    yield (Line(Run({"id": "w", "steps": [undone, {**_B, "depends_on": ["a"], **lacking}]}, {}, {"b": ABRUPT})),)


def _in_any_order(lines: Program) -> Iterator[Program]:
    """The moves after the first in any order, none of them late."""
    if len(lines) <= _FEW + 1:
        first, *rest = (Line(line.move) for line in lines)
        yield from ((first, *moves) for moves in itertools.permutations(rest))


def _two_steps_that_behave(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """A start of two steps, each of which waits, ends at once, fails or is tried again; any of its moves, or one."""
    own = own_moves(lines, executions)[:_FEW]
    some = [each for size in range(len(own) + 1) for each in itertools.combinations(own, size)]
    for run in _starts(lines, executions):
        if len(names_of(run.workflow)) == len("ab"):
            moves = alphabet((Line(run),), executions[:1])
            ends = [Line(move) for move in (*moves, Elapse(2.0)) if isinstance(move, Fail | Finish | Elapse)]
            ways = [*with_behaviours(run)]
            for one in ways[: len(ways) // 2]:
                for both in [*with_behaviours(one)][len(ways) // 2 :]:
                    yield from ((Line(both), *rest) for rest in some)
                    yield from ((Line(both), end) for end in ends)


def _starts(lines: Program, executions: Sequence[str]) -> Iterator[Run]:
    """The first two starts that have steps: as they are, without each step, and without what is said beside."""
    runs = [line.move for line in lines if isinstance(line.move, Run) and has_steps(line.move)]
    for run in runs[:2]:
        yield run
        yield from (plain for plain in _plainly(run) if plain != run)
        for part in parts((Line(run),), executions):
            if part.kind == "step":
                yield from (line.move for line in part.lines if isinstance(line.move, Run))


def _own_moves(lines: Program, executions: Sequence[str]) -> list[Move]:
    """The moves that are there but starts, as if about the first execution; also as if about its first step."""
    if not executions:
        return []  # no start came to anything
    first = executions[0]
    told: dict[str, Move] = {}
    for line in lines:
        if not isinstance(line.move, Run | AddStep | Connect):
            move = renamed(Line(line.move), dict.fromkeys(executions, first)).move
            at_a = [replace(move, gate=f"{first}/a")] if isinstance(move, Finish | Fail) else []
            told |= {json.dumps(to_json(each)): each for each in (move, *at_a)}
    return [*told.values()]


def _wider(alone: Program) -> Iterator[Program]:
    """The start of one step with one and with two more of them that wait."""
    if _of_one_step(alone):
        run = alone[0].move
        assert isinstance(run, Run)
        assert run.workflow is not None
        (step,) = run.workflow["steps"]
        for more in ([_B], [_B, {**_B, "id": "c"}]):
            yield (Line(replace(run, workflow={**run.workflow, "steps": [{**step, "id": "a"}, *more]})),)


def _plainly(run: Run) -> Iterator[Run]:
    """The start with its steps side by side, and with plain compensations: bare, with a timeout, tried again."""
    assert run.workflow is not None
    steps = [{key: value for key, value in step.items() if key != "depends_on"} for step in run.workflow["steps"]]
    undone = any("compensation" in step for step in steps)
    for policies in ({}, {"timeout": 1}, {"retries": {"max_attempts": 2}}) if undone else ({},):
        undo = {"compensation": {"action": "undo", **policies}}
        plain = [{**step, **undo} if "compensation" in step else step for step in steps]
        yield replace(run, workflow={**run.workflow, "steps": plain})


def _of_one_step(alone: Program) -> bool:
    (line,) = alone
    return isinstance(line.move, Run) and len(names_of(line.move.workflow)) == 1


def _at_once(alone: Program) -> Program:
    """The start with a first step that ends at once."""
    (line,) = alone
    assert isinstance(line.move, Run)
    return (Line(replace(line.move, manners=dict.fromkeys(names_of(line.move.workflow)[:1], AT_ONCE))),)


def _with_a_move(lines: Program, executions: Sequence[str]) -> Iterator[Program]:
    """The program with a move of any kind after it."""
    for move in alphabet(lines[:1], executions[:1], harm=True):
        yield (*lines, Line(move))
