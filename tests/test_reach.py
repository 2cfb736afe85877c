"""The machines get to everything that is declared, and what is declared can be missed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import seed
from hypothesis.stateful import get_state_machine_test

from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Crash,
    Elapse,
    Fail,
    Finish,
    Manner,
    Move,
    Pause,
    Recover,
    Resume,
    Run,
    Subscribe,
    Yield,
)
from machines.oddities import NO_INPUT, NO_JSON
from machines.reach import (
    CUT_EARLY,
    CUT_SHORT,
    FLOORS,
    IDLE,
    MISFITS,
    MOVES,
    NOT_MADE,
    PAIR_NAMES,
    REFUSED,
    SELDOM,
    STARTED,
    Reach,
    missed,
    pair,
    rarest,
    too_wasteful,
    wasted,
)
from machines.recovery_reach import SEEN_BY_A_WORLD as SEEN_WITH_A_STORE
from machines.registry import MACHINES
from machines.searching import explicit_settings
from machines.service_reach import SEEN_BY_A_WORLD as SEEN_AT_A_SERVICE
from machines.tape import PLAIN, Tape
from machines.targets.builtin import builtin
from machines.world import World
from model.execution import Phase as ExecutionPhase
from model.sometimes import SITUATIONS, TRANSITIONS
from tests.histories import step, workflow

SEEN_BY_A_WORLD = {**SEEN_WITH_A_STORE, **SEEN_AT_A_SERVICE}
ROOT = Path(__file__).parents[1]
UNDO = {"action": "undo"}
RETRY = {"max_attempts": 2, "initial_interval": 1}


def searched(name: str, cases: int) -> tuple[Counter[str], Counter[str], int]:
    """What a machine reaches, in four runs of Hypothesis, as a campaign makes them; and its tallies."""
    counts: Counter[str] = Counter()
    tallies: Counter[str] = Counter()
    over = 0

    def note(machine: Any) -> None:
        nonlocal over
        over += 1
        counts.update(list(machine.reach.found))
        tallies.update(machine.reach.tallies)

    counted = type("Counted", (MACHINES[name],), {"on_case": staticmethod(note)})
    for number in range(4):
        seed(number)(get_state_machine_test(counted, settings=explicit_settings(cases // 4)))()
    return counts, tallies, over


@pytest.mark.unmeasured
@pytest.mark.parametrize(("name", "cases"), [("lifecycle", 1000), ("concurrency", 200), ("definitions", 400)])
def test_a_short_run_misses_nothing_that_is_not_rare(name: str, cases: int) -> None:
    counts, tallies, over = searched(name, cases)
    assert over >= cases
    goals = {goal: share for goal, share in MACHINES[name].goals.items() if share > SELDOM}
    assert sum(goal in counts for goal in MACHINES[name].goals) > len(MACHINES[name].goals) / 2
    assert missed(counts, over, goals) == []
    assert too_wasteful(tallies, over) == []
    assert set(counts) <= {*SITUATIONS, *TRANSITIONS, *PAIR_NAMES}, "what is reached is declared"


def test_there_are_sixty_situations_and_every_one_is_some_machines_goal() -> None:
    expected = {goal for machine in MACHINES.values() for goal in machine.goals}
    assert expected == {*SITUATIONS, *SEEN_BY_A_WORLD, *TRANSITIONS, *PAIR_NAMES} - {*NOT_MADE}
    assert set(NOT_MADE) < set(TRANSITIONS)
    assert len(SITUATIONS) > 60
    assert not {*SITUATIONS} & {*SEEN_BY_A_WORLD, *TRANSITIONS, *PAIR_NAMES}


def test_every_situation_cites_clauses_of_the_contract() -> None:
    known = re.findall(r"^- ([A-Z]\d)\. ", (ROOT / "docs/contract.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = {clause for situation in SITUATIONS.values() for clause in situation.clauses}
    assert cited | {clause for clauses in SEEN_BY_A_WORLD.values() for clause in clauses} <= set(known)


def test_what_was_missed_is_a_sentence() -> None:
    goals = {STARTED: 0.8, "a deadline passed": SELDOM, "execution RUNNING -> PAUSED": SELDOM}
    assert missed({STARTED: 80, "a deadline passed": 1, "execution RUNNING -> PAUSED": 1}, 100, goals) == []
    assert missed({STARTED: 1600, "a deadline passed": 1}, 2000, goals) == [
        "a deadline passed (F7): 1, and 2 of 2,000 cases must",
        "execution RUNNING -> PAUSED: never, and 2 of 2,000 cases must",
    ]
    assert missed({STARTED: 79, "a deadline passed": 1, "execution RUNNING -> PAUSED": 1}, 100, goals) == [
        "an execution started (O4): 79, and 80 of 100 cases must"
    ]


def test_the_rarest_come_first() -> None:
    assert rarest({"a": 3, "b": 1}, ["a", "b", "c", "d"], 3) == ["c", "d", "b"]


def test_waste_is_a_sentence_from_ten_in_a_hundred_on() -> None:
    assert too_wasteful({CUT_EARLY: 4, IDLE: 5, CUT_SHORT: 60}, 100) == []
    assert too_wasteful({CUT_EARLY: 4, IDLE: 6}, 100) == ["10 of 100 cases were wasted, and it must be less than 10%"]


def played(*program: Move | tuple[Move, Tape], slots: int = 2, cut: bool = False) -> Reach:
    """What a program reaches, and counts."""
    world = World(builtin, max_concurrent_steps=slots)
    reach = Reach()
    reach.attach(world)
    for line in program:
        move, tape = line if isinstance(line, tuple) else (line, PLAIN)
        reach.before(world, move)
        world.play(move, tape)
        reach.after(world, move)
    world.finish()
    reach.close(world, (STARTED,), cut=cut)
    return reach


def reached(*program: Move | tuple[Move, Tape], slots: int = 2) -> set[str]:
    """What a program reaches."""
    return set(played(*program, slots=slots).found)


ONE = Run(workflow(step("a")))


@pytest.mark.parametrize(
    "move",
    [
        Finish("x1/b"),
        Fail("x2/a"),
        Yield("x1/a"),
        Run(None),
        Subscribe("x2"),
        Connect("a", "b"),
        AddStep({"action": "work"}),
    ],
)
def test_a_move_that_fits_nothing_is_counted(move: Move) -> None:
    assert played(ONE, move).tallies[MISFITS] == 1


@pytest.mark.parametrize(
    "move", [Finish("x1/a"), Fail("x1/a"), Subscribe("x1"), AddStep({"id": "b"}), Elapse(), Crash()]
)
def test_a_move_that_fits_is_not(move: Move) -> None:
    assert played(ONE, move).tallies[MISFITS] == 0


def test_without_an_engine_only_time_and_a_recovery_fit() -> None:
    assert played(ONE, Crash(), Finish("x1/a"), Pause("x1"), Elapse(), Recover()).tallies[MISFITS] == 2


def test_a_stubborn_action_can_give_in() -> None:
    assert played(Run(workflow(step("a")), {}, STUBBORN), Cancel("x1"), Yield("x1/a")).tallies[MISFITS] == 0


def test_refusals_and_moves_are_counted() -> None:
    tallies = played(ONE, Pause("nobody"), Resume("x1"), Pause("x1")).tallies
    assert (tallies[REFUSED], tallies[MOVES]) == (2, 4)


def test_a_case_is_wasted_if_it_comes_to_nothing_or_is_cut_early() -> None:
    assert wasted(played(ONE).tallies) == 0
    assert wasted(played(Pause("nobody")).tallies) == 1
    assert wasted(played(Pause("nobody"), cut=True).tallies) == 1
    assert wasted(played(ONE, cut=True).tallies) == 1
    late = played(ONE, *[Elapse()] * 14, cut=True).tallies
    assert (wasted(late), late[CUT_SHORT]) == (0, 1)


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
    "an output that breaks its schema, or JSON": (Run(workflow(step("a"))), Finish("x1/a", NO_JSON[0])),
    "a start is refused for its input": (Run(workflow(step("a")), NO_INPUT[0]),),
    "a resume is refused for its inputs": (Run(workflow(step("a"))), Pause("x1"), Resume("x1", NO_INPUT[-1])),
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
    "step PENDING -> SKIPPED": (Run(workflow(step("a", condition="false"))),),
    "step RUNNING -> RETRYING": (Run(workflow(step("a", retries=RETRY))), Fail("x1/a")),
    "step RETRYING -> CANCELLED": (Run(workflow(step("a", retries=RETRY))), Fail("x1/a"), Cancel("x1")),
    "execution PAUSED -> CANCELLING": (Run(workflow(step("a"))), Pause("x1"), Cancel("x1")),
    "a cancel arrives while a compensation runs": (
        Run(workflow(UNDOABLE, step("b", "a"))),
        Finish("x1/a"),
        Fail("x1/b"),
        Cancel("x1"),
    ),
    "a join waits for nothing but a retry": (
        Run(workflow(step("a"), step("b", retries=RETRY), step("c", "a", "b"))),
        Finish("x1/a"),
        Fail("x1/b"),
    ),
    "a failure drops another step's retry": (
        Run(workflow(step("a", retries=RETRY), step("b"))),
        Fail("x1/a"),
        Fail("x1/b"),
    ),
    "a resume finds a retry overdue": (
        Run(workflow(step("a", retries=RETRY))),
        Fail("x1/a"),
        Pause("x1"),
        Elapse(5.0),
    ),
    "a step waits for a slot that a cancelled action still holds": (
        Run(workflow(step("a", timeout=1), step("b"), step("c")), {}, STUBBORN),
        Elapse(2.0),
    ),
    "a cancel while a timed-out action has not ended": (
        Run(workflow(step("a", timeout=1)), {}, STUBBORN),
        Elapse(2.0),
        Cancel("x1"),
    ),
    "two cancels of one execution are under way": (
        Run(workflow(step("a"))),
        (Cancel("x1"), LATE),
        (Cancel("x1"), LATE),
    ),
}


def test_what_has_a_floor_has_its_program() -> None:
    assert set(FLOORS) <= set(PROGRAMS)


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
