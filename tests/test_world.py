"""The world's own promises: the same moves give the same history anywhere, and whatever a target owes is missed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import pytest

from machines import world as world_module
from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Elapse,
    Fail,
    Finish,
    Json,
    Manner,
    Move,
    Pause,
    Resume,
    Run,
    Subscribe,
    Yield,
)
from machines.oddities import NO_JSON
from machines.tape import PLAIN, TICK, Deviation, Tape
from machines.target import Call, Ports, immediate
from machines.targets.builtin import BuiltinTarget, builtin
from machines.world import ContractViolated, Played, World
from model.history import Answered, Began, Closed, Ended, Interrupted, Notified, Recorded, Refused, Reported, Rested
from tests.histories import step, workflow

ROOT: Final = Path(__file__).parent.parent
UNDO: Final = {"action": "undo"}
PAIR: Final = workflow(step("a"), step("b", "a"))

PROGRAM: Final[tuple[tuple[Move, Tape], ...]] = (
    (
        Run(workflow(step("a", compensation=UNDO), step("b", timeout=2), step("c", "a", "b"))),
        Tape(bytes(range(128, 168))),
    ),
    (Finish("x1/a"), Tape(bytes([255, 200, 150, 130]), bytes([3, 1, 2]))),
    (Pause("x1"), Tape(bytes([220] * 8))),
    (Resume("x1"), Tape(order=bytes(range(1, 33)))),
    (Elapse(), PLAIN),
    (Subscribe("x1", 2), Tape(bytes([140] * 8), bytes([2] * 8))),
    (Cancel("x1"), PLAIN),
)


def played(
    *program: Move | tuple[Move, Tape], target: Callable[[], BuiltinTarget] = builtin, slots: int = 2, end: bool = True
) -> World:
    """A world after a program."""
    found = World(target, max_concurrent_steps=slots)
    for move in program:
        found.play(*(move if isinstance(move, tuple) else (move,)))
    if end:
        found.finish()
    return found


def violation(*program: Move, target: Callable[[], BuiltinTarget], end: bool = True) -> ContractViolated:
    """What a program shows of a bad target."""
    found = World(target)
    try:
        for move in program:
            found.play(move)
        if end:
            found.finish()
    except ContractViolated as violated:
        return violated
    finally:
        found.close()
    pytest.fail("the contract holds")


def recorded(world: World, execution: str = "x1") -> list[str]:
    """The events that became durable, each with its step."""
    found = [entry.event for entry in world.history if isinstance(entry, Recorded) and entry.execution == execution]
    return [
        " ".join([event["type"], *[str(event[key]) for key in ("step", "status") if key in event]]) for event in found
    ]


def seen(world: World, *kinds: type) -> list[Any]:
    return [entry for entry in world.history if isinstance(entry, kinds)]


# The same again


def test_the_same_moves_and_tapes_give_the_same_history() -> None:
    one, other = played(*PROGRAM), played(*PROGRAM)
    assert one.history == other.history
    assert one.digest() == other.digest()
    assert one.moves == other.moves
    assert len(one.digest()) == 64
    assert sum(len(move.deviations) for move in one.moves) > 3, "the tapes were used"


def test_another_tape_gives_another_history() -> None:
    plain = [(move, PLAIN) for move, _ in PROGRAM]
    assert played(*plain).digest() != played(*PROGRAM).digest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_fresh_process_with_other_hashes_gives_the_same_digest(hash_seed: str) -> None:
    program = "from tests.test_world import PROGRAM, played; print(played(*PROGRAM).digest())"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == played(*PROGRAM).digest(), done.stderr


def test_every_move_lasts_a_tick_and_ends_with_a_rest() -> None:
    world = played(Run(PAIR), Finish("x1/a"), Elapse(0.0), Elapse(2.5), end=False)
    assert [entry.at for entry in seen(world, Rested)] == pytest.approx([TICK, 2 * TICK, 3 * TICK, 2.5 + 3 * TICK])
    world.close()


def test_what_is_recorded_by_a_move_is_reported_after_it() -> None:
    world = played(Run(PAIR), Elapse(1.0), Pause("x1"), end=False)
    assert [entry.report["status"] for entry in seen(world, Reported)] == ["RUNNING", "PAUSED"]
    world.close()


def test_there_is_no_rest_while_something_is_on_its_way() -> None:
    late = Tape(bytes([255] * 4))
    world = played((Run(PAIR), late), end=False)
    assert seen(world, Rested) == []
    assert world.astir()
    world.finish()
    assert seen(world, Rested)


# Gates and manners


def test_an_action_waits_at_its_gate_until_a_move_opens_it() -> None:
    world = played(Run(PAIR), Elapse(1000.0), end=False)
    assert [gate.name for gate in world.gates] == ["x1/a"]
    world.play(Finish("x1/a", {"n": 5}))
    assert [gate.name for gate in world.gates] == ["x1/b"]
    world.play(Fail("x1/b", "KeyError", "no"))
    assert world.gates == []
    ended = seen(world, Ended)
    assert [(entry.step, entry.outcome, entry.value) for entry in ended] == [
        ("a", "returned", {"n": 5}),
        ("b", "raised", ["KeyError", "no"]),
    ]
    world.finish()
    assert recorded(world)[-1] == "ExecutionEnded FAILED"


def test_a_gate_opens_once_and_what_was_said_first_counts() -> None:
    slowly = Tape(bytes([220] * 4))
    world = played(Run(PAIR), (Finish("x1/a"), slowly), end=False)
    assert [gate.told for gate in world.gates] == [True]
    world.play(Fail("x1/a"))
    world.finish()
    assert recorded(world)[-1] == "ExecutionEnded COMPLETED"


def test_an_output_that_json_cannot_hold_is_no_part_of_the_history() -> None:
    world = played(Run(workflow(step("a"))), Finish("x1/a", NO_JSON[0]))
    (ended,) = seen(world, Ended)
    assert (ended.value, ended.json) == ("not JSON, which JSON cannot hold", False)
    assert recorded(world)[-1] == "ExecutionEnded FAILED"


def test_an_instant_action_has_no_gate() -> None:
    world = played(Run(PAIR, {}, {"a": "instant"}), end=False)
    assert [gate.name for gate in world.gates] == ["x1/b"]
    world.finish()


def test_compensations_have_gates_and_manners_of_their_own() -> None:
    definition = workflow(*[step(name, compensation=UNDO) for name in "ab"], step("c", "a", "b"))
    manners: dict[str, Manner] = {"a": "instant", "b": "instant", "b!": "instant"}
    world = played(Run(definition, {}, manners), Fail("x1/c"), end=False)
    assert [gate.name for gate in world.gates] == ["x1/a!"]
    world.play(Finish("x1/a!"))
    assert recorded(world)[-1] == "ExecutionEnded FAILED"
    world.finish()


def stubborn() -> World:
    """Step a was cancelled, and does not end."""
    definition = workflow(step("a", compensation=UNDO), step("b", "a"))
    return played(Run(definition, {}, {"a": "stubborn"}), Cancel("x1"), end=False)


def test_a_gated_action_ends_when_it_is_cancelled_and_a_stubborn_one_does_not() -> None:
    gated = played(Run(PAIR), Cancel("x1"), end=False)
    assert (gated.gates, recorded(gated)[-1]) == ([], "ExecutionEnded CANCELLED")
    gated.finish()
    world = stubborn()
    assert [(gate.name, gate.interrupted) for gate in world.gates] == [("x1/a", True)]
    assert len(seen(world, Interrupted)) == 1
    assert recorded(world)[-1] == "CancellationRequested"
    world.finish()


@pytest.mark.parametrize(
    ("move", "outcome", "event"),
    [
        (Finish("x1/a"), "returned", "StepCompleted a"),
        (Fail("x1/a"), "raised", "StepCancelled a"),
        (Yield("x1/a"), "cancelled", "StepCancelled a"),
    ],
)
def test_a_stubborn_action_that_was_cancelled_ends_as_a_move_says(move: Move, outcome: str, event: str) -> None:
    world = stubborn()
    world.play(move)
    assert [entry.outcome for entry in seen(world, Ended)] == [outcome]
    assert recorded(world)[-2:] == [event, "ExecutionEnded CANCELLED"]
    world.finish()


def test_an_action_that_was_not_cancelled_does_not_yield() -> None:
    world = played(Run(PAIR), Yield("x1/a"), end=False)
    assert [gate.told for gate in world.gates] == [False]
    world.finish()


def test_the_oldest_action_of_a_name_is_told_first() -> None:
    twice = workflow(step("a", timeout=1, retries={"max_attempts": 2, "initial_interval": 0}))
    world = played(Run(twice, {}, {"a": "stubborn"}), Elapse(2.0), end=False)
    assert [gate.call.attempt for gate in world.gates] == [1], "the first attempt holds on"
    world.play(Finish("x1/a"))
    assert [gate.call.attempt for gate in world.gates] == [2]
    world.finish()


def test_actions_behave_as_their_own_start_said() -> None:
    """Whose action runs first says nothing: the first execution waits for an input, the second does not exist."""
    waiting = Run(workflow(step("a", parameters={"x": "${input.x}"})), {}, {"a": "instant"})
    broken = Run({"id": "w", "steps": []}, {}, {"a": "stubborn"}, ["steps"])
    world = played(waiting, broken, Run(workflow(step("a"))), end=False)
    assert [gate.name for gate in world.gates] == ["x2/a"]
    world.play(Resume("x1", {"x": 1}))
    assert recorded(world)[-1] == "ExecutionEnded COMPLETED"
    world.finish()


def test_starts_that_overtake_each_other_keep_their_manners() -> None:
    slow, quick = Tape(bytes([240])), PLAIN
    first, second = Run(workflow(step("a")), {}, {"a": "instant"}), Run(workflow(step("a"), step("b")))
    world = played((first, slow), (second, quick), Elapse(1.0), slots=3, end=False)
    assert [gate.name for gate in world.gates] == ["x1/a", "x1/b"]
    assert recorded(world, "x2")[-1] == "ExecutionEnded COMPLETED"
    world.finish()


class Eager(BuiltinTarget):
    """An engine that calls an action before it has answered the start."""

    def open(self, ports: Ports) -> None:
        super().open(ports)
        self.ports = ports

    async def start(self, workflow: Json, input_data: Json) -> str:
        await self.ports.act(Call("x1", "a", 1, "action", {}, "x1/a/1"))
        return await super().start(workflow, input_data)


def test_an_action_that_begins_before_its_start_was_answered_behaves_as_that_said() -> None:
    world = World(Eager)
    with pytest.raises(ContractViolated, match="x1"):
        world.play(Run(PAIR, {}, {"a": "instant"}))
    early = seen(world, Ended)[0]
    assert (early.step, early.outcome) == ("a", "returned"), "it is instant"
    world.close()


# The draft


def test_a_draft_becomes_a_workflow_step_by_step() -> None:
    program = (
        AddStep(step("a"), "instant"),
        AddStep(step("b")),
        AddStep(step("b")),
        AddStep(step("c")),
        Connect("a", "b"),
        Connect("a", "b"),
        Connect("b", "a"),
        Connect("a", "nowhere"),
        Connect("b", "c", "b.n > 0"),
        Run(None, {"x": 1}),
    )
    world = played(*program, end=False)
    (created,) = [entry.event for entry in seen(world, Recorded) if entry.event["type"] == "ExecutionCreated"]
    assert created["input"] == {"x": 1}
    assert created["workflow"] == {
        "id": "draft-1",
        "steps": [step("a"), step("b", "a"), step("c", {"source": "b", "condition": "b.n > 0"})],
    }
    assert [gate.name for gate in world.gates] == ["x1/b"], "a is instant"
    assert (world.draft, world.runs) == ([], 1)
    world.finish()


def test_a_draft_has_room_for_as_many_connections_as_it_has_later_steps() -> None:
    world = World(builtin)
    found = []
    for move in (AddStep(step("a")), AddStep(step("b")), AddStep(step("c")), Connect("a", "c")):
        world.play(move)
        found.append(world.unconnected())
    assert found == [0, 1, 2, 1]
    world.close()


# Time


def test_time_goes_to_the_next_timer_or_to_just_before_it() -> None:
    world = played(Run(workflow(step("a", timeout=2))), Elapse(None, 0.0005), end=False)
    assert world.loop.time() == pytest.approx(1.9995)
    assert "StepTimedOut a" not in recorded(world)
    world.play(Elapse())
    assert world.loop.time() == pytest.approx(2.0)
    assert "StepTimedOut a" in recorded(world)
    world.finish()


def test_without_a_timer_time_goes_on_for_a_tick() -> None:
    world = played(Elapse(), end=False)
    assert world.loop.time() == pytest.approx(TICK)
    assert not world.astir()
    world.close()


# Callers and subscribers


def test_commands_are_asked_sent_and_answered() -> None:
    world = played(Run(PAIR), Pause("x1"), Pause("x1"), Resume("x1", {"a": 1}), Cancel("nobody"), end=False)
    assert [entry.answer for entry in seen(world, Answered)] == ["x1", True, False, True]
    assert [(entry.type, entry.message) for entry in seen(world, Refused)] == [("UnknownExecutionError", "nobody")]
    world.finish()


def test_every_execution_has_a_subscriber_and_others_may_come() -> None:
    world = played(Run(PAIR), Subscribe("x1", 2), end=False)
    assert world.latecomers == 1
    world.finish()
    heard: dict[str, list[int]] = {}
    for entry in seen(world, Notified):
        heard.setdefault(entry.subscriber, []).append(entry.seq)
    last = len(recorded(world))
    assert heard == {"s1": list(range(1, last + 1)), "s2": list(range(3, last + 1))}


# The liveness phase


def test_the_end_opens_gates_resumes_pauses_and_lets_time_pass() -> None:
    definition = workflow(
        step("a", parameters={"x": "${input.x.y}"}, retries={"max_attempts": 2, "initial_interval": 50}),
        step("b", timeout=1, continue_on_error=True),
        step("c", "a", "b", parameters={"z": "${input.z}"}),
    )
    world = played(
        Run(definition, {}, {"b": "stubborn"}), Resume("x1", {"x": {"y": 1}}), Fail("x1/a"), Pause("x1"), Elapse(2.0)
    )
    assert recorded(world)[-2:] == ["StepCompleted c", "ExecutionEnded PARTIAL"]
    assert world.loop.time() > 50
    assert isinstance(world.history[-1], Closed)
    assert world.history[-1] == Closed(world.history[-1].at, (), ())


def test_the_end_yields_where_a_stubborn_action_was_cancelled() -> None:
    world = stubborn()
    world.finish()
    assert recorded(world)[-2:] == ["StepCancelled a", "ExecutionEnded CANCELLED"]


def test_a_world_that_is_over_notes_nothing_more() -> None:
    world = played(Run(PAIR))
    length = len(world.history)
    world._note(Rested(0.0))
    world.close()
    assert len(world.history) == length


def test_a_world_may_be_dropped_at_any_moment() -> None:
    world = played(Run(PAIR), (Finish("x1/a"), Tape(bytes([255] * 8))), end=False)
    world.close()
    world.close()
    assert world.loop.is_closed()


# Targets that owe something


class Mute(BuiltinTarget):
    async def pause(self, execution: str) -> bool:
        return bool(await asyncio.get_running_loop().create_future())


class Unstarted(BuiltinTarget):
    async def start(self, workflow: Json, input_data: Json) -> str:
        return str(await asyncio.get_running_loop().create_future())


class Stuck(BuiltinTarget):
    async def close(self) -> None:
        await asyncio.get_running_loop().create_future()


async def spin() -> None:
    for _ in repeat(None):
        await asyncio.sleep(0)


class Spinning(BuiltinTarget):
    async def pause(self, execution: str) -> bool:
        await spin()
        return True


class SpinningToTheEnd(BuiltinTarget):
    async def close(self) -> None:
        await spin()


class Leaking(BuiltinTarget):
    async def start(self, workflow: Json, input_data: Json) -> str:
        self.kept = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="housekeeping")
        return await super().start(workflow, input_data)


class Unread(BuiltinTarget):
    async def start(self, workflow: Json, input_data: Json) -> str:
        async def background() -> None:
            raise RuntimeError("unread")

        self.kept = asyncio.get_running_loop().create_task(background(), name="background")
        return await super().start(workflow, input_data)


class Tripping(BuiltinTarget):
    async def start(self, workflow: Json, input_data: Json) -> str:
        def callback() -> None:
            raise RuntimeError("tripped")

        asyncio.get_running_loop().call_soon(callback)
        return await super().start(workflow, input_data)


class Idle(BuiltinTarget):
    def open(self, ports: Ports) -> None:
        super().open(ports)
        self._engine._slots.free = 0


class Meddling(BuiltinTarget):
    async def start(self, workflow: Json, input_data: Json) -> str:
        execution = await super().start(workflow, input_data)
        workflow["steps"][0]["name"] = "changed"
        return execution


class Forgetful(BuiltinTarget):
    async def reread(self, execution: str) -> Any:
        return {**await super().reread(execution), "seq": 1}


class Lying(BuiltinTarget):
    async def pause(self, execution: str) -> bool:
        await super().pause(execution)
        return False


class Confused(BuiltinTarget):
    """Cannot tell of what it has recorded, since that makes no sense."""

    def report(self, execution: str) -> Any:
        self._ports.record(execution, 4, {"type": "StepSkipped", "at": 0.0, "step": "b"})
        raise KeyError("b")


@pytest.mark.parametrize(
    ("target", "clause", "words"),
    [
        (Confused, "O1", "'b'"),
        (Unstarted, "K1", "start (command 1) of a new execution was never answered"),
        (Mute, "K1", "pause (command 2) of x1 was never answered"),
        (Stuck, "O4", "nothing is ready, no timer is set and the work is unfinished"),
        (Spinning, "O4", "callbacks had run without coming to rest; still ready: pause 2"),
        (SpinningToTheEnd, "O4", "callbacks had run without coming to rest; still ready: "),
        (Leaking, "O4", "tasks are still alive: housekeeping"),
        (Unread, "O4", "errors that nobody read: nobody read the exception of task background: RuntimeError: unread"),
        (Tripping, "O4", "exception in callback Tripping.start.<locals>.callback: RuntimeError: tripped"),
        (Idle, "C2", "x1"),
        (Meddling, "K5", "the caller's definition was changed by running it: from "),
        (Forgetful, "J1", "x1 is reported after event 1, expected after event 9"),
        (Lying, "K1", "pause (command 2) of x1 was answered False, yet a pause of nobody else's is recorded"),
    ],
)
def test_what_a_target_owes_is_a_violation_with_a_sentence(
    target: type[BuiltinTarget], clause: str, words: str
) -> None:
    found = violation(Run(PAIR), Pause("x1"), target=target)
    assert found.violation.clause == clause
    assert words in found.violation.sentence
    first, *program = str(found).splitlines()
    assert first == f"{clause}: {found.violation.sentence}"
    assert program == ["  1. run a; b after a", "  2. pause x1"][: len(found.moves)]


def test_an_execution_that_never_ends_is_a_violation_however_patient_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_module, "_ROUNDS", 3)
    chain = workflow(*[step(f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(9)])
    found = violation(Run(chain), target=builtin)
    assert (found.violation.clause, found.violation.invariant) == ("O4", "liveness")
    assert found.violation.sentence.endswith("and there is no end: x1 is RUNNING")


def test_patience_is_for_standing_still_and_not_for_a_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_module, "_PATIENCE", 2)
    chain = workflow(*[step(f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(60)])
    world = World(builtin)
    world.play(Run(chain))
    world.finish()
    assert world.judge.facts.executions["x1"].phase.name == "COMPLETED"


def test_a_violation_ends_the_judging_with_the_move_that_showed_it() -> None:
    found = violation(Run(PAIR), Pause("x1"), Resume("x1"), target=Spinning, end=False)
    assert [played.move for played in found.moves] == [Run(PAIR), Pause("x1")]


def test_a_target_that_waits_where_it_must_answer_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"sleep .* waits, where it must answer at once"):
        immediate(asyncio.sleep(0))


def test_what_answers_at_once_is_its_answer() -> None:
    async def answer() -> int:
        return 7

    assert immediate(answer()) == 7


# What a counterexample shows


def test_deviations_are_marked_where_they_were_used() -> None:
    late = Deviation("latency", 0, 0.0135)
    out_of_turn = Deviation("order", 3, 2)
    assert Played(Pause("x1"), PLAIN).tell() == "pause x1"
    told = Played(Pause("x1"), PLAIN, (late, out_of_turn)).tell()
    assert told == "pause x1   <~ latency 13.5 ms, out of turn by 2"


def test_only_what_was_used_of_a_tape_is_marked() -> None:
    world = played((Run(PAIR), Tape(bytes([0, 230] + 30 * [255]))), (Elapse(), Tape(bytes([255] * 9))), end=False)
    first, second = world.moves
    assert [mark.track for mark in first.deviations] == ["latency"]
    assert first.tell().startswith("run a; b after a   <~ latency ")
    assert (second.deviations, second.tell()) == ((), "the next timer is due")
    world.close()


def test_the_actions_see_what_the_engine_gave_them() -> None:
    definition = workflow(step("a", parameters={"x": "${input.x}"}, retries={"max_attempts": 2, "initial_interval": 0}))
    world = played(Run(definition, {"x": [1]}), Fail("x1/a"), Elapse(0.01))
    assert [(entry.attempt, entry.kind, entry.parameters, entry.key) for entry in seen(world, Began)] == [
        (1, "action", {"x": [1]}, "x1/a/1"),
        (2, "action", {"x": [1]}, "x1/a/2"),
    ]
