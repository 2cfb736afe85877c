"""What may be put into a program, or begun with: plain moves, plain arguments, one more step.

Rule 1: what is put in is one of few, so that different cases come to the same one.
Rule 2: like ``machines.rewriting``, this knows nothing of what violates; whatever comes of it is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from machines.moves import (
    ABRUPT,
    AT_ONCE,
    Cancel,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Heed,
    Manner,
    Move,
    Pause,
    Reconnect,
    Recover,
    Resume,
    Rival,
    Run,
    Stall,
    Subscribe,
    TakeOver,
    Yield,
)
from machines.parts import has_steps, names_of, replaced, source_of
from machines.rewriting import NAMES, Program

Json: TypeAlias = Any

_MANY: Final = 3
"""Steps of a workflow that gets no more of them."""
_MISSING: Final = {"parameters": {"a": "${input.a}"}}
_POLICIES: Final[Sequence[tuple[str, Json]]] = (
    ("timeout", 1),
    ("continue_on_error", True),
    ("retries", {"max_attempts": 2}),
    ("compensation", {"action": "undo"}),
    ("compensation", {"action": "undo", **_MISSING}),
    ("condition", "false"),
    ("condition", "1"),
    ("output_schema", {"required": ["a"]}),
    *_MISSING.items(),
)
_SETTINGS: Final[Sequence[tuple[str, Json]]] = (
    ("timeout", 1),
    ("rollback_on_cancel", True),
    ("max_concurrent_steps", 1),
)
_FAILING: Final = {"output_schema": {"required": ["a"]}}
"""What makes a step fail that ends at once."""
_AGAIN: Final = {"retries": {"max_attempts": 2, "initial_interval": 0}}
"""What makes a step begin again at once."""
PLAIN_RUN: Final = Run({"id": "w", "steps": [{"id": "a", "action": "work"}]})
_WATCHING: Final = (Stall, Heed, Reconnect)
_PATIENCE: Final = 12.0
"""Seconds after which the service waits no more for who does not read."""
_HARMFUL: Final = (Crash, Recover, FailStore, Rival, TakeOver)
HARM: Final[Sequence[Move]] = (Crash(), Crash("before"), Crash("after"), Recover(), FailStore(), Rival(), TakeOver())


def alphabet(lines: Program, executions: Sequence[str], *, harm: bool = False) -> Iterator[Move]:
    """Moves that may stand for others; those that harm if one of the program's does, or if they are asked for."""
    gates = []
    runs = [line.move for line in lines if isinstance(line.move, Run)]
    for run, execution in zip(runs, executions, strict=False):
        for name in names_of(run.workflow):
            gates += [f"{execution}/{name}"] + [f"{execution}/{name}!"] * ("compensation" in str(run.workflow))
    yield from (kind(gate) for kind in (Finish, Fail, Yield) for gate in gates)
    yield from (kind(name) for kind in (Pause, Resume, Cancel, Subscribe) for name in executions[:2])
    yield from (Subscribe(name, 1) for name in executions[:1])
    yield from (Elapse(), Elapse(1.0), Elapse(None, 0.0005), Elapse(None, 0.0015))
    if harm or any(isinstance(line.move, _HARMFUL) for line in lines):
        yield from HARM
    yield from _while_watched(lines, executions)


def _while_watched(lines: Program, executions: Sequence[str]) -> Iterator[Move]:
    """What a watcher of the service may do, if one does anything; and time past the service's patience."""
    if any(isinstance(line.move, _WATCHING) for line in lines):
        yield from (kind(name) for kind in _WATCHING for name in executions[:2])
        yield Elapse(_PATIENCE)


def with_an_argument_more(lines: Program) -> Iterator[Program]:
    """The program with one argument more at one of its starts."""
    for index, line in enumerate(lines):
        move = line.move
        if isinstance(move, Run) and has_steps(move):
            yield from (replaced(lines, index, replace(line, move=more)) for more in _with_an_argument(move))


def _with_an_argument(run: Run) -> Iterator[Run]:
    assert run.workflow is not None
    steps = run.workflow["steps"]
    for rank, step in enumerate(steps):
        for manner in (AT_ONCE, "stubborn", ABRUPT):
            for key in (step["id"], *([f"{step['id']}!"] if "compensation" in step else [])):
                yield replace(run, manners={**run.manners, key: manner})
        sources = [source_of(entry) for entry in step.get("depends_on") or ()][:1]
        for key, value in (*_POLICIES, *(("parameters", {"a": "${" + source + ".a}"}) for source in sources)):
            more = [*steps[:rank], {**step, key: value}, *steps[rank + 1 :]]
            yield replace(run, workflow={**run.workflow, "steps": more})
    for key, value in _SETTINGS:
        yield replace(run, workflow={**run.workflow, key: value})
    yield from with_a_step_more(run)


def with_a_step_more(run: Run) -> Iterator[Run]:
    """A step more that waits or ends at once, well or not, or that lacks an input; by itself or after another one."""
    assert run.workflow is not None
    names = names_of(run.workflow)
    name = next((name for name in NAMES if name not in names), None)
    if name is None or len(names) > _MANY:
        return
    steps = run.workflow["steps"]
    kinds: Sequence[tuple[Mapping[str, Json], Mapping[str, Manner]]]
    kinds = [({}, {}), ({}, {name: AT_ONCE}), ({}, {name: ABRUPT}), (_FAILING, {}), (_MISSING, {})]
    for more, manner in kinds:
        step = {"id": name, "action": "work", **more}
        after = [[*steps, {**step, "depends_on": [source]}] for source in names]
        for these in ([*steps, step], [step, *steps], *after):
            yield replace(run, workflow={**run.workflow, "steps": these}, manners={**run.manners, **manner})


def with_behaviours(run: Run) -> Iterator[Run]:
    assert run.workflow is not None
    steps = run.workflow["steps"]
    for rank, step in enumerate(steps):
        plain = {key: value for key, value in step.items() if key in ("id", "action", "depends_on", "compensation")}
        rest = {key: manner for key, manner in run.manners.items() if key != step["id"]}
        at_once, abrupt = {**rest, step["id"]: AT_ONCE}, {**rest, step["id"]: ABRUPT}
        ways: Sequence[tuple[Mapping[str, Json], Mapping[str, Manner]]]
        ways = ({}, rest), ({}, at_once), ({}, abrupt), (_FAILING, rest), ({"timeout": 1}, rest), (_AGAIN, rest)
        for more, manners in ways:
            behaving = [*steps[:rank], {**plain, **more}, *steps[rank + 1 :]]
            yield replace(run, workflow={**run.workflow, "steps": behaving}, manners=manners)
