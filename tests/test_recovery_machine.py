"""The machine of crashes is not vacuous: it gets to every kind of crash and fault, and a dead engine stays dead."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import seed
from hypothesis.stateful import get_state_machine_test

from machines import recovery_reach as reach
from machines.moves import (
    Cancel,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Manner,
    Move,
    Pause,
    Recover,
    Resume,
    Rival,
    Run,
    Shutdown,
    TakeOver,
)
from machines.nemesis import Death, Fault, Nemesis, Side, Statement
from machines.reach import SELDOM, missed, too_wasteful
from machines.recovery import RecoveryMachine
from machines.recovery_reach import GOALS, RecoveryReach
from machines.searching import explicit_settings
from machines.tape import LATENCIES, PLAIN, Tape
from machines.target import CAPABILITIES, TargetFactory
from machines.targets.builtin import BuiltinTarget, builtin
from machines.targets.sqlite import sqlite
from machines.world import World
from model.history import (
    Answered,
    Asked,
    Began,
    Crashed,
    Interrupted,
    Notified,
    Recorded,
    Refused,
    ShutDown,
    StoreFailed,
    Subscribed,
)
from model.parts import Phase
from tests.histories import step, workflow

CASES = 800
RETRY = {"max_attempts": 2, "initial_interval": 1}
UNDO = {"action": "undo"}
LATE = Tape(bytes([LATENCIES.index(0.0025)] * 8))
WRITTEN_LATE = Tape(bytes([0, LATENCIES.index(0.0025)]))


@pytest.mark.unmeasured
def test_eight_hundred_cases_miss_nothing_that_is_not_rare() -> None:
    """On a real file; in four runs of Hypothesis, each with a seed of its own, as a campaign makes them."""
    counts: Counter[str] = Counter()
    tallies: Counter[str] = Counter()
    cases = 0

    class Counted(RecoveryMachine):
        factory = staticmethod(sqlite)  # type: ignore[mutable-override]  # another target

        @staticmethod
        def on_case(machine: Any) -> None:
            nonlocal cases
            cases += 1
            counts.update(list(machine.reach.found))
            tallies.update(machine.reach.tallies)

    for number in range(4):
        seed(number)(get_state_machine_test(Counted, settings=explicit_settings(CASES // 4)))()
    assert cases >= CASES
    floors = {goal: share for goal, share in GOALS.items() if share > SELDOM}
    assert missed(counts, cases, floors) == []
    assert sum(goal in counts for goal in GOALS) > len(GOALS) / 2
    assert too_wasteful(tallies, cases) == []


def carried_out(*program: Move | tuple[Move, Tape], target: TargetFactory = builtin) -> tuple[World, RecoveryReach]:
    """A program, to its end."""
    world, found = World(target), RecoveryReach()
    found.attach(world)
    for line in program:
        move, tape = line if isinstance(line, tuple) else (line, PLAIN)
        found.before(world, move)
        world.play(move, tape)
        found.after(world, move)
    world.finish()
    found.close(world, (), cut=False)
    return world, found


def run(*steps: Any, manners: dict[str, Manner] | None = None, **policies: Any) -> Run:
    return Run(workflow(*steps, **policies), {}, manners or {})


ONE = run(step("a"))

PROGRAMS: dict[str, list[Move | tuple[Move, Tape]]] = {
    "a crash inside an action": [ONE, Crash()],
    "a crash inside a compensation": [
        run(step("a", compensation=UNDO), step("b", "a")),
        Finish("x1/a"),
        Fail("x1/b"),
        Crash(),
    ],
    "a compensation that ran again": [
        run(step("a", compensation=UNDO), step("b", "a")),
        Finish("x1/a"),
        Fail("x1/b"),
        Crash(),
        Recover(),
    ],
    "a crash during a retry's wait": [run(step("a", retries=RETRY)), Fail("x1/a"), Crash()],
    "a crash during a compensation's wait": [
        run(step("a", compensation={**UNDO, "retries": RETRY}), step("b", "a")),
        Finish("x1/a"),
        Fail("x1/b"),
        Fail("x1/a!"),
        Crash(),
    ],
    "a step is cancelled whose action was lost": [ONE, (Cancel("x1"), LATE), Crash("after"), Elapse(1), Recover()],
    "a store failed in PAUSED": [ONE, Pause("x1"), FailStore(), Resume("x1")],
    "a recovery of two executions": [ONE, ONE, Crash(), Recover()],
    reach.OVER_BACKOFF: [run(step("a", retries=RETRY)), Fail("x1/a"), Crash(), Elapse(5), Recover()],
    reach.LATE: [run(step("a"), timeout=1), Crash(), Elapse(5), Recover()],
    "a crash with a recover under way": [ONE, Crash(), (Recover(), LATE), Crash()],
    "a crash with a pause under way": [ONE, (Pause("x1"), LATE), Crash()],
    "a crash with two executions running": [ONE, ONE, Crash()],
    "a crash while a timed-out action had not ended": [
        run(step("a", timeout=1), manners={"a": "stubborn"}),
        Elapse(2),
        Crash(),
    ],
    reach.AGAIN: [ONE, Crash(), Recover(), Crash()],
    reach.THRICE: [ONE, Crash(), Recover(), Crash(), Recover(), Crash()],
    reach.UNANSWERED: [Crash("after"), ONE, Recover()],
    "an attempt that ran again": [ONE, Crash(), Recover()],
    reach.LIVING: [ONE, FailStore("full"), Finish("x1/a"), Recover()],
    reach.HELD_UP: [run(step("a"), step("b"), manners={"b": "stubborn"}), FailStore(), Finish("x1/a"), Recover()],
    reach.NOT_RECOVERED: [ONE, Crash(), (Recover(), LATE), FailStore("io", "read"), Elapse(1)],
    reach.NOT_DONE: [ONE, FailStore("busy", "begin"), Pause("x1")],
    reach.NOT_STARTED: [FailStore("full", "insert"), ONE],
    "an engine closed before all was over": [ONE, Shutdown()],
    "an action cancelled while its engine is being closed": [ONE, Shutdown(2.0), Elapse(2.5)],
    "an end journaled within the grace": [ONE, Shutdown(2.0), Finish("x1/a")],
    "a command answered by an engine that is being closed": [
        ONE,
        (Pause("x1"), WRITTEN_LATE),
        Shutdown(2.0),
        Elapse(1),
    ],
    "a command refused by an engine that is closed": [ONE, Shutdown(2.0), Pause("x1")],
    reach.NOT_DRIVEN: [ONE, FailStore("full"), Finish("x1/a"), Pause("x1")],
}


@pytest.mark.parametrize(("name", "program"), PROGRAMS.items())
@pytest.mark.parametrize("target", [builtin, sqlite])
def test_what_a_case_reached_is_named(
    name: str, program: list[Move | tuple[Move, Tape]], target: TargetFactory
) -> None:
    _, found = carried_out(*program, target=target)
    assert name in found.found


@pytest.mark.parametrize("how", ["now", "before", "after"])
def test_a_crash_is_counted_by_its_kind_and_by_phase(how: Any) -> None:
    _, found = carried_out(ONE, Crash(how), Pause("x1"), target=sqlite)
    kind = how if how == "now" else f"{how} a commit"
    phase = "PAUSED" if how == "after" else "RUNNING"
    assert f"crash {kind} in {phase}" in found.found


def test_a_second_engine_is_refused() -> None:
    world, found = carried_out(ONE, Rival(), target=sqlite)
    assert reach.RIVAL in found.found
    (refused,) = [entry for entry in world.history if isinstance(entry, Refused)]
    assert refused.type == "JournalError"
    assert "owned by" in refused.message


def test_goals_are_named_once_and_are_all_there_is() -> None:
    assert set(PROGRAMS) <= set(GOALS)
    assert len(GOALS) == len(set(GOALS))


def test_a_former_owner_is_refused() -> None:
    world, found = carried_out(ONE, TakeOver(), Finish("x1/a"), Recover(), Pause("x1"), target=sqlite)
    assert {reach.TAKEN_OVER, reach.FENCED, reach.NOT_TAKEN_UP} <= {*found.found}
    assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["JournalError"] * 2
    assert world.deaths == ["now"]  # then whoever comes next brings it to its end
    assert world.judge.facts.executions["x1"].phase is Phase.COMPLETED


def test_a_journal_in_memory_is_not_taken_over() -> None:
    world, found = carried_out(ONE, TakeOver(), target=builtin)
    assert reach.TAKEN_OVER not in found.found
    assert not world.ousted


# The nemesis


def test_a_crash_strikes_once_at_its_commit() -> None:
    deaths: list[str] = []
    nemesis = Nemesis(deaths.append, lambda *_: None)
    nemesis.arm_crash("after", 2)
    nemesis.boundary("before")
    nemesis.boundary("after")
    nemesis.boundary("before")
    assert nemesis.armed
    with pytest.raises(Death):
        nemesis.boundary("after")
    assert deaths == ["after a commit"]
    assert not nemesis.armed
    nemesis.boundary("before")
    assert nemesis.commits == 3


def test_a_fault_strikes_as_often_as_was_said() -> None:
    nemesis = Nemesis(lambda _: None, lambda *_: None)
    nemesis.arm_fault("full", "insert", 2)
    assert [nemesis.fault("begin"), nemesis.fault("insert"), nemesis.fault("insert"), nemesis.fault("insert")] == [
        None, "full", "full", None,
    ]  # fmt: skip
    assert nemesis.struck == [("full", "insert"), ("full", "insert")]
    nemesis.arm_fault("io", "commit", 1)
    nemesis.calm()
    assert nemesis.fault("commit") is None


# What a shutdown leaves


@pytest.mark.parametrize("target", [builtin, sqlite])
def test_what_runs_may_end_within_the_grace_and_is_not_cancelled_before(target: TargetFactory) -> None:
    both = run(step("a"), step("b"), step("c", "a"))
    world, _ = carried_out(both, Shutdown(2.0), Finish("x1/a"), Elapse(1.5), Elapse(1), Recover(), target=target)
    gone = next(rank for rank, entry in enumerate(world.history) if isinstance(entry, ShutDown))
    before, after = world.history[:gone], world.history[gone:]
    assert [entry.event["type"] for entry in before if isinstance(entry, Recorded)][-1] == "StepCompleted"
    assert [(entry.step, round(entry.at)) for entry in before if isinstance(entry, Interrupted)] == [("b", 2)]
    assert sorted((entry.step, entry.attempt) for entry in after if isinstance(entry, Began)) == [("b", 1), ("c", 1)]


@pytest.mark.parametrize("target", [builtin, sqlite])
def test_a_command_that_is_being_written_when_the_engine_is_closed_is_answered(target: TargetFactory) -> None:
    world, _ = carried_out(
        ONE, (Pause("x1"), WRITTEN_LATE), Shutdown(), Cancel("x1"), Elapse(1), Recover(), target=target
    )
    answers = {entry.ask: entry.answer for entry in world.history if isinstance(entry, Answered)}
    refused = {entry.ask: entry.type for entry in world.history if isinstance(entry, Refused)}
    assert (answers[2], refused[4]) == (True, "EngineClosedError")


def test_a_closed_engine_can_be_closed_no_more_and_nobody_else_comes_while_it_closes() -> None:
    world, _ = carried_out(ONE, Shutdown(9.0), Shutdown(), Rival(), TakeOver(), Elapse(1), target=sqlite)
    assert [entry.command for entry in world.history if isinstance(entry, Asked)][:2] == ["start", "shutdown"]
    assert world.shutdowns == 1


def test_who_claims_no_shutdown_is_not_closed() -> None:
    class Open(BuiltinTarget):
        capabilities = frozenset(CAPABILITIES) - {"shutdown", "ownership"}

    world, _ = carried_out(ONE, Shutdown(), target=Open)
    assert not [entry for entry in world.history if isinstance(entry, ShutDown)]


def test_a_subscriber_of_a_closed_engine_comes_back_where_it_was() -> None:
    world, _ = carried_out(ONE, Shutdown(), Recover())
    assert [entry.after for entry in world.history if isinstance(entry, Subscribed)] == [0, 3]
    assert [entry.seq for entry in world.history if isinstance(entry, Notified)] == [1, 2, 3, 4, 5]


# What a crash leaves


@pytest.mark.parametrize("target", [builtin, sqlite])
def test_what_is_committed_survives_and_what_is_not_is_gone(target: TargetFactory) -> None:
    for side, kept in (("before", 3), ("after", 5)):
        world, _ = carried_out(ONE, Crash(side), Finish("x1/a"), target=target)  # type: ignore[arg-type]  # one of its two words
        crash = next(index for index, entry in enumerate(world.history) if isinstance(entry, Crashed))
        assert len([entry for entry in world.history[:crash] if isinstance(entry, Recorded)]) == kept


@pytest.mark.parametrize("target", [builtin, sqlite])
def test_an_attempt_runs_again_under_its_key(target: TargetFactory) -> None:
    world, _ = carried_out(ONE, Crash(), Recover(), target=target)
    assert [entry.key for entry in world.history if isinstance(entry, Began)] == ["x1/a/1", "x1/a/1"]


def test_a_subscriber_comes_back_where_it_was() -> None:
    world, _ = carried_out(ONE, Crash(), Recover())
    assert [entry.after for entry in world.history if isinstance(entry, Subscribed)] == [0, 3]
    assert [entry.seq for entry in world.history if isinstance(entry, Notified)] == [1, 2, 3, 4, 5]


def test_nothing_can_be_done_to_a_dead_engine() -> None:
    world = World(builtin)
    for move in (ONE, Crash(), Pause("x1"), Cancel("x1"), Resume("x1"), Finish("x1/a"), ONE, FailStore(), Rival()):
        world.play(move)
    assert world.down
    assert world.adrift
    assert not world.gates
    assert world.loop.next_event() is None
    before = len(world.history)
    world.play(Elapse(60))
    assert not [entry for entry in world.history[before:] if isinstance(entry, Recorded | Began)]
    world.finish()
    assert not world.down


@pytest.mark.parametrize("side", get_args(Side))
def test_a_crash_strikes_wherever_there_is_a_commit_also_when_the_target_is_closed(side: Any) -> None:
    ways = []
    for commits in itertools.count(1):
        world, _ = carried_out(
            Crash(side, commits), ONE, Finish("x1/a"), FailStore("full", times=2), ONE, target=sqlite
        )
        (came,) = world.nemesis.crashes.values()
        if not came:
            break
        assert {execution.phase for execution in world.judge.facts.executions.values()} <= {Phase.COMPLETED}
        after = world.history[[isinstance(entry, Crashed) for entry in world.history].index(True) :]
        ways.append("run" if any(isinstance(entry, Recorded) for entry in after) else "closed")
    assert {*ways} == {"run", "closed"}


@pytest.mark.parametrize("number", range(8))
def test_a_take_over_that_is_answered_late_leaves_nothing_undone(number: int) -> None:
    latencies = bytes([0] * number + [255] * 4)
    world, _ = carried_out(ONE, (TakeOver(), Tape(latencies)), target=sqlite)
    assert world.judge.facts.executions["x1"].phase is Phase.COMPLETED


@pytest.mark.parametrize("fault", get_args(Fault))
@pytest.mark.parametrize("statement", get_args(Statement))
@pytest.mark.parametrize("target", [builtin, sqlite])
def test_a_store_fails_in_every_way(fault: Fault, statement: Statement, target: TargetFactory) -> None:
    world, found = carried_out(
        ONE, FailStore(fault, statement, 2), Pause("x1"), Crash(), Recover(), Finish("x1/a"), target=target
    )
    assert {f"store fault: {fault}", f"store fault at {statement}"} <= set(found.found)
    assert [entry for entry in world.history if isinstance(entry, StoreFailed)]


def test_a_target_that_does_not_recover_is_not_crashed() -> None:
    class Mortal(BuiltinTarget):
        capabilities = frozenset(CAPABILITIES) - {"recovery", "ownership"}

    world, found = carried_out(ONE, Crash(), FailStore(), Recover(), Rival(), Finish("x1/a"), target=Mortal)
    assert not [entry for entry in world.history if isinstance(entry, Crashed | StoreFailed)]
    assert not any("crash" in name for name in found.found)


def test_the_same_program_is_recorded_alike_in_memory_and_on_a_file() -> None:
    program = (run(step("a", compensation=UNDO), step("b", "a")), Finish("x1/a"), Crash(), Recover(), Fail("x1/b"))
    worlds = [carried_out(*program, target=target)[0] for target in (builtin, sqlite)]
    memory, file = ([entry for entry in world.history if isinstance(entry, Recorded)] for world in worlds)
    assert memory == file
