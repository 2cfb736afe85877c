"""The model does not cry wolf at an engine that is not ours, written from the contract alone and odd in its ways."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import get_state_machine_test

from machines.concurrency import ConcurrencyMachine
from machines.definitions import DefinitionMachine
from machines.lifecycle import LifecycleMachine, WorldMachine
from machines.moves import Cancel, Elapse, Fail, FailStore, Finish, Json, Move, Pause, Recover, Resume, Run
from machines.recovery import RecoveryMachine
from machines.searching import explicit_settings
from machines.target import TargetFactory
from machines.targets.builtin import builtin
from machines.targets.naive import naive
from machines.targets.naive_definition import faults_of
from machines.world import World
from model.history import Answered, Recorded, Refused
from tests.histories import graph, step, workflow

HERE = Path(__file__).parent.parent
CASES: dict[type[WorldMachine], int] = {
    LifecycleMachine: 100,
    ConcurrencyMachine: 60,
    DefinitionMachine: 40,
    RecoveryMachine: 80,
}
RETRY = {"max_attempts": 2, "initial_interval": 1}
UNDO = {"action": "undo"}


@pytest.mark.unmeasured
@pytest.mark.parametrize("machine", CASES)
def test_it_keeps_the_contract(machine: type[WorldMachine]) -> None:
    events = cases = 0

    def count(over: WorldMachine) -> None:
        nonlocal events, cases
        assert over.world is not None
        cases += 1
        events += sum(isinstance(entry, Recorded) for entry in over.world.history)

    members: dict[str, Any] = {"factory": staticmethod(naive), "on_case": staticmethod(count)}
    shorter = settings(explicit_settings(CASES[machine]), stateful_step_count=20)
    seed(1)(get_state_machine_test(type("Naive", (machine,), members), settings=shorter))()
    assert cases >= CASES[machine]
    assert events > cases


@pytest.mark.parametrize("path", sorted((HERE / "machines/targets").glob("naive*.py")), ids=lambda path: path.stem)
def test_it_is_a_stranger_to_engine_and_model(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in imports for alias in node.names]
    names += [node.module or "" for node in imports if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.split(".")[0] in ("engine", "model")]
    assert not [name for name in names if name.startswith(("machines.targets.builtin", "machines.targets.sqlite"))]


# The same program, the same journal

CHAIN = workflow(step("a"), step("b", "a"), step("c", "b"))
WIDE = workflow(step("a"), step("b"), step("c"), max_concurrent_steps=2)
DIAMOND = workflow(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c", join="any"))
CHOICE = workflow(
    step("a"),
    step("b", {"source": "a", "condition": "a.n > 1"}),
    step("c", {"source": "a", "condition": "a.n == 1"}, parameters={"x": "${a.n}"}),
    step("d", "b", "c", join="any"),
)
CAREFUL = workflow(
    step("a", compensation=UNDO),
    step("b", "a", compensation={**UNDO, "parameters": {"x": "${b.n}"}}),
    step("c", "b", retries=RETRY),
)
SHAPES = {"chain": CHAIN, "wide": WIDE, "diamond": DIAMOND, "choice": CHOICE, "careful": CAREFUL}
X = "x1/"
COURSES: dict[str, list[Move]] = {
    "left alone": [],
    "paused": [Pause("x1"), Finish(X + "a"), Resume("x1"), Finish(X + "b")],
    "cancelled": [Finish(X + "a"), Cancel("x1")],
    "failing": [Finish(X + "a"), Finish(X + "b"), Fail(X + "c"), Elapse(1.0), Fail(X + "c")],
}


def journal(target: TargetFactory, moves: Sequence[Move]) -> list[dict[str, Json]]:
    world = World(target)
    for move in moves:
        world.play(move)
    world.finish()
    return [dict(entry.event) for entry in world.history if isinstance(entry, Recorded)]


def in_groups(events: list[dict[str, Json]]) -> list[tuple[float, list[str]]]:
    """The events of each moment, in an order of their own."""
    moments = groupby(events, key=lambda event: round(event["at"], 6))
    return [(at, sorted(str({**event, "at": at}) for event in group)) for at, group in moments]


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_its_journal_is_that_of_the_builtin_engine(shape: str, course: str) -> None:
    program = [Run(SHAPES[shape]), *COURSES[course]]
    mine, theirs = journal(naive, program), journal(builtin, program)
    assert in_groups(mine) == in_groups(theirs)
    for kind in ("StepStarted", "StepCompleted", "CompensationStarted"):
        order = [[event["step"] for event in events if event["type"] == kind] for events in (mine, theirs)]
        assert order[0] == order[1], f"{kind}: the contract fixes this order"


def test_both_shapes_of_a_workflow_make_one_journal() -> None:
    shaped = graph("c", "a", "b", edges=(("a", "b"), ("b", "c")))
    kinds = [[event["type"] for event in journal(naive, [Run(each)])] for each in (CHAIN, shaped)]
    assert kinds[0] == kinds[1]


# What no machine draws


@pytest.mark.parametrize(
    ("definition", "fault"),
    [
        ([], "id: None is not valid"),
        ({"id": "w", "steps": []}, "steps: there are no steps"),
        (workflow(step("a", condition="[1].all(x, x == 1) && 'nobody' != ''")), None),
        (workflow(step("a"), step("b", "a", parameters={"x": "$${nobody}"})), None),
        (workflow(step("a", compensation={"action": "undo", "tiemout": 1})), "steps[0].compensation.tiemout: unknown"),
        (workflow(step("a-b"), step("c", "a-b", condition="${a-b.n} > 3 && nobody")), "steps[1].condition: nobody is"),
        (workflow(step("a"), step("b", {"source": "a", "condition": "${nobody.n}"})), "condition: nobody is no ance"),
        (workflow(step("a", "b"), step("b", "a"), step("c", "d"), step("d", "c")), "depends_on[0]: a cycle of c, d"),
    ],
)
def test_a_definition_is_judged(definition: Json, fault: str | None) -> None:
    found = faults_of(definition)
    assert any(fault in each for each in found) if fault else not found


def test_values_are_interpolated_and_objects_merged() -> None:
    texts = {"x": "got ${input.o} and $${kept}, ${input.l.1}", "y": "${input.o}"}
    steps = workflow(step("a"), step("b", "a", parameters=texts))
    world = World(naive)
    world.play(Run(steps, {"o": {"k": {"m": 1}}, "l": [1]}))
    world.play(Finish("x1/a", {"n": 1.5}))
    world.play(Resume("x1", {"o": {"k": {"n": 2}}, "l": [1, "x"]}))
    assert world._actions.waiting[0].call.parameters == {
        "x": 'got {"k":{"m":1,"n":2}} and ${kept}, x',
        "y": {"k": {"m": 1, "n": 2}},
    }
    world.finish()


def test_what_a_failed_store_gave_up_is_awaited_before_it_is_taken_up_again() -> None:
    world = World(naive)
    world.play(Run(workflow(step("a"), step("b")), {}, {"a": "stubborn"}))
    for move in (FailStore("io"), Pause("x1"), Cancel("x1"), Recover(), Elapse(1.0)):
        world.play(move)
    assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["JournalError"] * 2
    assert not any(isinstance(entry, Answered) and entry.answer == ["x1"] for entry in world.history)
    world.play(Finish("x1/a"))
    assert any(isinstance(entry, Answered) and entry.answer == ["x1"] for entry in world.history)
    assert [(gate.name, gate.call.attempt) for gate in world.gates] == [("x1/a", 1), ("x1/b", 1)]
    world.finish()


def test_closing_it_ends_what_still_runs() -> None:
    world = World(naive)
    world.play(Run(CHAIN))
    assert "driver x1" in world.loop.pending_tasks()
    world.loop.run(world.target.close())
    assert world.loop.pending_tasks() == ["subscriber s1"]
    world.close()
