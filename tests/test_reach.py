"""A full run of the lifecycle machine gets to everything that is declared, and what is declared can be missed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from machines.lifecycle import LifecycleMachine
from machines.moves import NO_JSON, Cancel, Elapse, Fail, Finish, Manner, Move, Pause, Resume, Run, Subscribe, Yield
from machines.reach import FLOORS, PAIRS, SOMETIMES, STEP_STATUSES, Reach, expected, missed, pair
from machines.tape import PLAIN, Tape
from machines.targets.builtin import builtin
from machines.world import World
from model.execution import Phase as ExecutionPhase
from tests.histories import step, workflow

CASES = 1000
UNDO = {"action": "undo"}
RETRY = {"max_attempts": 2, "initial_interval": 1}


def test_a_thousand_cases_miss_nothing() -> None:
    """In four runs of Hypothesis, each with a seed of its own, as a campaign makes them."""
    counts: Counter[str] = Counter()
    cases = 0

    class Counted(LifecycleMachine):
        @staticmethod
        def on_case(machine: Any) -> None:
            nonlocal cases
            cases += 1
            counts.update(list(machine.reach.found))

    for number in range(4):
        test = get_state_machine_test(
            Counted,
            settings=settings(
                settings.get_profile("lockstep"),
                max_examples=CASES // 4,
                stateful_step_count=30,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        seed(number)(test)()
    assert cases >= CASES
    assert missed(counts, cases) == []


def test_what_is_expected_is_named_once() -> None:
    names = expected()
    assert len(names) == len(set(names))
    assert len(names) == (
        len(FLOORS) + len(ExecutionPhase) + len(STEP_STATUSES) + sum(map(len, PAIRS.values())) + len(SOMETIMES)
    )


def test_what_was_never_reached_is_a_sentence() -> None:
    counts = dict.fromkeys(expected(), 100)
    assert missed(counts, 100) == []
    del counts["execution PAUSED"]
    counts["three steps completed"] = 39
    assert missed(counts, 100) == [
        "three steps completed: 39 of 100 cases, and the floor is 40%",
        "execution PAUSED: never",
    ]


def reached(*program: Move | tuple[Move, Tape], slots: int = 2) -> set[str]:
    """What a program reaches."""
    world = World(builtin, max_concurrent_steps=slots)
    reach = Reach()
    for line in program:
        move, tape = line if isinstance(line, tuple) else (line, PLAIN)
        reach.before(world, move)
        world.play(move, tape)
        reach.after(world)
    world.finish()
    reach.after(world)
    return set(reach.found)


STUBBORN: dict[str, Manner] = {"a": "stubborn"}
UNDOABLE = step("a", compensation=UNDO)
LATE = Tape(bytes([220] * 4))

PROGRAMS: dict[str, tuple[Move | tuple[Move, Tape], ...]] = {
    "an execution started": (Run(workflow(step("a"))),),
    "three steps completed": (Run(workflow(*[step(name) for name in "abc"])),),
    "two compensations rolled back": (
        Run(workflow(UNDOABLE, step("b", "a", compensation=UNDO), step("c", "b"))),
        Finish("x1/a"),
        Finish("x1/b"),
        Fail("x1/c"),
    ),
    "a completion beat its timeout while it was on its way": (
        Run(workflow(step("a", timeout=1))),
        Elapse(None, 0.0005),
        (Finish("x1/a"), Tape(bytes([0, 220]))),
    ),
    "an action returned after its timeout": (
        Run(workflow(step("a", timeout=1)), {}, STUBBORN),
        Elapse(2.0),
        Finish("x1/a"),
    ),
    "a cancel during a backoff": (Run(workflow(step("a", retries=RETRY))), Fail("x1/a"), Cancel("x1")),
    "an attempt failed under a pause": (Run(workflow(step("a"))), Pause("x1"), Fail("x1/a")),
    "an action swallowed its cancellation": (
        Run(workflow(step("a"), step("b")), {}, STUBBORN),
        Cancel("x1"),
        Finish("x1/a"),
    ),
    "a swallowed cancellation was compensated": (
        Run(workflow(UNDOABLE, step("b")), {}, STUBBORN),
        Fail("x1/b"),
        Finish("x1/a"),
    ),
    "a compensation failed for good": (
        Run(workflow(UNDOABLE, step("b", "a"))),
        Finish("x1/a"),
        Fail("x1/b"),
        Fail("x1/a!"),
    ),
    "a compensation was tried again": (
        Run(workflow(step("a", compensation={**UNDO, "retries": RETRY}), step("b", "a"))),
        Finish("x1/a"),
        Fail("x1/b"),
        Fail("x1/a!"),
    ),
    "a pause for a missing input": (Run(workflow(step("a", parameters={"x": "${input.x}"}))),),
    "a resume that did not bring what is missing": (
        Run(workflow(step("a", parameters={"x": "${input.x}"}))),
        Resume("x1"),
    ),
    "a deadline passed": (Run(workflow(step("a"), timeout=1)), Elapse(2.0)),
    "a deadline passed under a pause": (Run(workflow(step("a"), timeout=1)), Pause("x1"), Elapse(2.0)),
    "an action returned while a cancel was on its way": (
        Run(workflow(step("a"), step("b", "a"))),
        (Cancel("x1"), LATE),
        Finish("x1/a"),
    ),
    "actions of two executions ran at once": (Run(workflow(step("a"))), Run(workflow(step("a")))),
    "an execution's own limit held a step back": (Run(workflow(step("a"), step("b"), max_concurrent_steps=1)),),
    "a condition that cannot be evaluated": (Run(workflow(step("a"), step("b", "a", condition="a.m == 1"))),),
    "an output that breaks its schema, or JSON": (Run(workflow(step("a"))), Finish("x1/a", NO_JSON)),
    "a command to an unknown execution": (Pause("nobody"),),
    "a command not accepted in COMPLETED": (Run(workflow(step("a"))), Finish("x1/a"), Cancel("x1")),
    "a command not accepted in PARTIAL": (
        Run(workflow(step("a", continue_on_error=True))),
        Fail("x1/a"),
        Pause("x1"),
    ),
    "a command not accepted in FAILED": (Run(workflow(step("a"))), Fail("x1/a"), Resume("x1")),
    "a command not accepted in CANCELLED": (Run(workflow(step("a"))), Cancel("x1"), Cancel("x1")),
    "Yield in CANCELLING": (Run(workflow(step("a")), {}, STUBBORN), Cancel("x1"), Yield("x1/a")),
    "Subscribe in PAUSED": (Run(workflow(step("a"))), Pause("x1"), Subscribe("x1")),
    "step SKIPPED": (Run(workflow(step("a", condition="false"))),),
    "step RETRYING": (Run(workflow(step("a", retries=RETRY))), Fail("x1/a")),
}


def test_every_situation_has_its_program() -> None:
    assert {*FLOORS, *SOMETIMES} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_situation_counts_when_it_comes_about_and_not_before(name: str) -> None:
    program = PROGRAMS[name]
    assert name in reached(*program)
    quiet = [line for line in program[:-1] if len(program) > 1]
    if name not in {"an execution started", "three steps completed"}:
        assert name not in reached(*quiet), "the last move makes it come about"


@pytest.mark.parametrize(("move", "phase"), [(Finish, "RUNNING"), (Cancel, "PENDING")])
def test_a_pair_is_named_by_its_move_and_its_phase(move: type[Move], phase: str) -> None:
    assert pair(move, ExecutionPhase[phase]) == f"{move.__name__} in {phase}"


def test_a_definition_that_is_refused_is_no_unknown_execution() -> None:
    assert "a command to an unknown execution" not in reached(Run({"id": "w", "steps": []}, {}, {}, ["steps"]))


def test_a_move_for_nobody_reaches_no_pair() -> None:
    assert not any(" in " in name for name in reached(Finish("x9/a"), Subscribe("x9")))
