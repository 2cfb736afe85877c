"""What is spoilt is refused by two engines, fault by fault; what is dressed up or asked runs on both."""

from __future__ import annotations

from random import Random

import pytest

from engine.definition import parse_workflow
from engine.errors import DefinitionError
from machines.dressing import DRESSES, KINDS, dressed
from machines.kinship import KIN, kin
from machines.moves import Fail, Finish, Manner, Move, Pause, Resume, Run, tell
from machines.oddities import NO_INPUT, NO_JSON
from machines.questions import QUESTIONS, TEXTS, questions
from machines.spoiling import BAD_IDS, BAD_SETTINGS, BAD_VALUES, MISSHAPEN, RINGS, UNSOUND, Spoilt, rings, unsound
from machines.strategies import Drawn, as_graph, workflow_of
from machines.target import TargetFactory
from machines.targets.builtin import builtin
from machines.targets.naive import naive
from machines.world import World
from model.definition import read
from model.history import Answered, Recorded, Refused
from tests.histories import step, workflow

BOTH = pytest.mark.parametrize("target", [builtin, naive])
WAYS = {"value": len(BAD_VALUES), "identity": len(BAD_IDS), "title": 3, "setting": len(BAD_SETTINGS)}
SHAPES = pytest.mark.parametrize("graph", [False, True])


def play(target: TargetFactory, *moves: Move) -> World:
    world = World(target)
    for move in moves:
        world.play(move)
    world.finish()
    return world


@BOTH
@SHAPES
@pytest.mark.parametrize(
    ("way", "kinds"),
    [("value", len(BAD_VALUES)), ("identity", len(BAD_IDS)), ("title", 3), ("setting", len(BAD_SETTINGS))],
)
def test_each_fault_is_named_where_it_is(target: TargetFactory, way: str, kinds: int, *, graph: bool) -> None:
    for kind in range(kinds):
        spoilt = Spoilt("s0", "s1")
        getattr(spoilt, way)(1, kind)
        definition, faults = spoilt.definition(graph=graph)
        assert len(faults) == 1
        world = play(target, Run(definition, {}, {}, faults))
        assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["DefinitionError"]


@BOTH
@SHAPES
def test_what_does_not_fit_together_is_refused(target: TargetFactory, *, graph: bool) -> None:
    for kind in range(len(UNSOUND) + len(MISSHAPEN)):
        definition, faults = unsound(kind, graph=graph)
        world = play(target, Run(definition, {}, {}, faults))
        assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["DefinitionError"]
        assert tell(world.moves[0].move)


def test_two_faults_do_not_hide_each_other() -> None:
    spoilt = Spoilt("s0", "s1")
    spoilt.value(0, 0)
    spoilt.setting(0, 0)
    spoilt.setting(1, 1)
    spoilt.identity(1, 0)
    definition, faults = spoilt.definition(graph=False)
    assert faults == ["steps[0].timeout", "max_concurrent_steps", "steps[1].id"]
    with pytest.raises(DefinitionError) as refused:
        parse_workflow(definition)
    assert [str(fault).partition(":")[0] for fault in refused.value.faults] == [
        *("steps[1].id", "steps[0].timeout", "max_concurrent_steps"),
    ]


PLAIN = workflow(
    step("a", compensation={"action": "undo", "retries": {"max_attempts": 2}}),
    step("b", "a", {"source": "a", "condition": "a.n > 0"}, parameters={"x": "${a.n}"}, retries={"max_attempts": 2}),
    step("c", "b", condition="b.n == 1 && a['n'] == 1"),
)


@BOTH
@SHAPES
@pytest.mark.parametrize("kind", range(KINDS))
def test_what_is_dressed_up_runs_as_before(target: TargetFactory, kind: int, *, graph: bool) -> None:
    instant: dict[str, Manner] = {"a": "instant", "b": "instant", "c": "instant"}
    definition, manners = dressed(Drawn(PLAIN, instant), kind, graph=graph)
    world = play(target, Run(definition, {}, manners))
    ends = [entry.event["status"] for entry in world.history if isinstance(entry, Recorded) and "status" in entry.event]
    assert ends == ["COMPLETED"]
    names = list(read(definition).steps)
    assert [name if name in "bc" else "a" for name in names] == ["a", "b", "c"]
    if 0 < kind <= len(DRESSES) and not graph:
        assert definition != PLAIN


def test_a_graph_stays_as_it_is() -> None:
    shaped = Drawn(as_graph(PLAIN), {})
    assert dressed(shaped, 1, graph=False) == shaped


@BOTH
def test_a_definition_may_be_listed_in_any_order(target: TargetFactory) -> None:
    shaped = workflow(step("b", "a"), step("c", "b"), step("a"), max_concurrent_steps=1)
    play(target, Run(shaped, {}, {"a": "instant"}), Finish("x1/b"), Finish("x1/c"))
    listed = [workflow_of(bytes([200, 0, 0, 0, 0, byte, *[0] * 60])).definition["steps"] for byte in (0, 200, 220, 255)]
    assert ["".join(each["id"] for each in steps) for steps in listed] == ["abcde", "edcba", "bcdea", "eabcd"]


@BOTH
def test_questions_have_one_answer(target: TargetFactory) -> None:
    chance = Random(5)
    for _ in range(60):
        play(target, questions(chance.randbytes(2 + 3 * QUESTIONS)))


def test_every_question_can_be_asked() -> None:
    for rank in range(len(TEXTS)):
        parse_workflow(questions(bytes([0, 0, *(rank, 0, 0) * QUESTIONS])).workflow)


@BOTH
@SHAPES
def test_every_ring_is_told(target: TargetFactory, *, graph: bool) -> None:
    chance, several = Random(1), 0
    for _ in range(60):
        definition, faults = rings(chance.randbytes(RINGS), graph=graph)
        several += len(faults) > 1
        world = play(target, Run(definition, {}, {}, faults))
        assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["DefinitionError"]
    assert several > 20


@BOTH
@pytest.mark.parametrize("output", NO_JSON)
def test_what_json_cannot_hold_is_no_output(target: TargetFactory, output: dict[str, str]) -> None:
    world = play(target, Run(workflow(step("a"))), Finish("x1/a", output))
    [error] = [
        entry.event["error"] for entry in world.history if isinstance(entry, Recorded) and "error" in entry.event
    ][:1]
    assert error["type"] == "ValidationError"


@BOTH
@pytest.mark.parametrize("given", NO_INPUT)
def test_what_is_no_object_is_no_input(target: TargetFactory, given: dict[str, str]) -> None:
    world = play(target, Run(workflow(step("a")), given), Run(workflow(step("a"))), Pause("x1"), Resume("x1", given))
    assert [entry.type for entry in world.history if isinstance(entry, Refused)] == ["InputError"] * 2


@BOTH
def test_an_action_may_cancel_itself(target: TargetFactory) -> None:
    world = play(target, Run(workflow(step("a"))), Fail("x1/a", "CancelledError"))
    errors = [entry.event["error"] for entry in world.history if isinstance(entry, Recorded) and "error" in entry.event]
    assert {error["type"] for error in errors} == {"CancelledError"}


@BOTH
def test_an_input_that_is_missing_at_two_depths_is_supplied(target: TargetFactory) -> None:
    parameters = {"x": "${input.p}", "y": "${input.p.k}", "z": "${input.p.k.0}"}
    world = play(target, Run(workflow(step("a", parameters=parameters)), {}, {"a": "instant"}))
    assert [entry.answer for entry in world.history if isinstance(entry, Answered)] == ["x1", True]


@BOTH
@SHAPES
def test_only_ancestors_can_be_asked_for_what_they_returned(target: TargetFactory, *, graph: bool) -> None:
    chance, seen = Random(1), {True: 0, False: 0}
    for _ in range(60):
        definition, faults, manners = kin(chance.randbytes(KIN), graph=graph)
        world = play(target, Run(definition, {}, manners, faults))
        refused = [entry.type for entry in world.history if isinstance(entry, Refused)]
        assert refused == (["DefinitionError"] if faults else [])
        seen[bool(faults)] += 1
    assert min(seen.values()) > 10
