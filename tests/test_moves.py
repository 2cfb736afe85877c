"""Moves are data: each goes to JSON and back, is told in one line, and does nothing where it fits nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.moves import (
    MOVES,
    OUTPUT,
    AddStep,
    Cancel,
    Connect,
    Elapse,
    Fail,
    Finish,
    Heed,
    Move,
    Pause,
    Reconnect,
    Resume,
    Run,
    Stall,
    Subscribe,
    Yield,
    from_json,
    tell,
    to_json,
)
from machines.strategies import CHARACTERS, INPUTS, NEW_INPUTS, OUTPUTS, SECONDS, WORKFLOWS
from machines.targets.builtin import builtin
from machines.world import World
from model.history import Asked, Refused, Rested
from tests.histories import graph, step, workflow

names = st.sampled_from(("a", "b", "x1/a", "x1/b!"))
manners = st.sampled_from(("gate", "instant", "stubborn", "abrupt"))
# A field's name says what it is: the same name means the same in every move.
FIELDS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "step": CHARACTERS.map(lambda character: character.named("a", ())),
    "manner": manners,
    "undo": manners,
    "source": names,
    "target": names,
    "condition": st.none() | st.just("a.n > 0"),
    "workflow": st.none() | WORKFLOWS.map(lambda drawn: drawn.definition),
    "graph": st.just(graph("a", "b", edges=(("a", "b"),))),
    "input": INPUTS,
    "manners": st.dictionaries(names, manners, max_size=2),
    "faults": st.lists(st.just("steps[0].id: missing"), max_size=2),
    "gate": names,
    "output": OUTPUTS,
    "type": st.just("RuntimeError"),
    "message": st.text(max_size=3),
    "execution": st.sampled_from(("x1", "nobody")),
    "inputs": NEW_INPUTS,
    "seconds": st.none() | SECONDS,
    "before": st.sampled_from((0.0, 0.0005)),
    "after": st.integers(0, 9),
    "at": st.sampled_from(("now", "before", "after")),
    "commits": st.integers(1, 3),
    "fault": st.sampled_from(("busy", "full", "io", "readonly", "corrupt")),
    "statement": st.sampled_from(("begin", "insert", "commit", "read")),
    "times": st.integers(1, 3),
    "grace": st.sampled_from((0.0, 2.0)),
    "key": st.sampled_from(("", "k1")),
}


def moves_of(kind: type[Move]) -> st.SearchStrategy[Move]:
    return st.builds(kind, **{field.name: FIELDS[field.name] for field in fields(kind)})


any_move = st.one_of([moves_of(kind) for kind in MOVES.values()])


@pytest.mark.parametrize("kind", MOVES.values())
@given(st.data())
def test_every_move_survives_json(kind: type[Move], data: st.DataObject) -> None:
    move = data.draw(moves_of(kind))
    assert from_json(json.loads(json.dumps(to_json(move)))) == move


@given(any_move)
def test_a_move_stands_under_its_name(move: Move) -> None:
    assert MOVES[to_json(move)["move"]] is type(move)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"move": "AddStep", "step": {"id": "a"}}, AddStep({"id": "a"}, "gate", "gate")),
        ({"move": "Connect", "source": "a", "target": "b"}, Connect("a", "b", None)),
        ({"move": "Run"}, Run(None, {}, {})),
        ({"move": "Finish", "gate": "x1/a"}, Finish("x1/a", OUTPUT)),
        ({"move": "Fail", "gate": "x1/a"}, Fail("x1/a", "RuntimeError", "failed")),
        ({"move": "Resume", "execution": "x1"}, Resume("x1", None)),
        ({"move": "Elapse"}, Elapse(None, 0.0)),
        ({"move": "Subscribe", "execution": "x1", "later": "unknown"}, Subscribe("x1", 0)),
    ],
)
def test_what_is_missing_has_its_default_and_what_is_unknown_is_passed_over(
    told: dict[str, Any], expected: Move
) -> None:
    assert from_json(told) == expected


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({}, "there is no move None"),
        ({"move": "Jump"}, "there is no move 'Jump'"),
        ({"move": ["Run"]}, r"there is no move \['Run'\]"),
        ({"move": "Finish"}, "the move Finish lacks gate"),
        ({"move": "Connect", "condition": "true"}, "the move Connect lacks source, target"),
        ({"move": "Pause"}, "the move Pause lacks execution"),
    ],
)
def test_what_is_no_move_is_refused(told: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        from_json(told)


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (AddStep({"id": "a"}), "add step a to the draft"),
        (Connect("a", "b"), "connect a -> b"),
        (Connect("a", "b", "a.n > 0"), "connect a -> b if a.n > 0"),
        (Run(), "run the draft"),
        (Run(None, {"a": 1}), "run the draft with {'a': 1}"),
        (Run(workflow(step("a"), step("b", "a")), {"a": 1}), "run a; b after a with {'a': 1}"),
        (
            Run(workflow(step("a", timeout=1), step("b"), step("c", "a", {"source": "b"}, join="any"), timeout=5)),
            "run a (timeout); b; c after a+b (join) [timeout=5]",
        ),
        (Run({"id": "w", "steps": [step("a")]}, {}, {}, ["a", "b"]), "run a, broken at a, b"),
        (Run(graph("a", "b", edges=(("a", "b"),))), "run 2 nodes, 1 connections"),
        (Finish("x1/a"), "x1/a returns {'n': 1}"),
        (Fail("x1/a!", "KeyError", "no"), "x1/a! raises KeyError('no')"),
        (Yield("x1/a"), "x1/a yields to its cancellation"),
        (Pause("x1"), "pause x1"),
        (Resume("x1"), "resume x1"),
        (Resume("x1", {"a": 1}), "resume x1 with {'a': 1}"),
        (Cancel("x1"), "cancel x1"),
        (Elapse(2.5), "2.5 seconds pass"),
        (Elapse(), "the next timer is due"),
        (Elapse(None, 0.0005), "time passes until 0.5 ms before the next timer"),
        (Subscribe("x1", 3), "subscribe to x1 after event 3"),
        (Run(None, {"a": 1}, {}, [], "k1"), "run the draft with {'a': 1}, key k1"),
        (Reconnect("x1"), "the connection of a subscriber of x1 breaks"),
        (Stall("x1"), "a subscriber of x1 stops reading"),
        (Heed("x1"), "a subscriber of x1 reads on"),
    ],
)
def test_how_a_move_is_told(move: Move, words: str) -> None:
    assert tell(move) == words


@given(any_move)
def test_every_move_is_told_in_one_line(move: Move) -> None:
    assert len(tell(move).splitlines()) == 1


@pytest.mark.parametrize(
    "move",
    [
        Run(),
        Connect("a", "b"),
        AddStep({}),
        AddStep({"id": 7}),
        Finish("x1/a"),
        Fail("x1/a"),
        Yield("x1/a"),
        Elapse(),
        Subscribe("x1"),
        Reconnect("x1"),
        Stall("x1"),
        Heed("x1"),
    ],
    ids=tell,
)
def test_a_move_that_fits_nothing_does_nothing(move: Move) -> None:
    world = World(builtin)
    world.play(move)
    assert [type(entry) for entry in world.history] == [Rested]
    assert (world.draft, world.runs, world.executions, world.gates) == ([], 0, {}, [])
    world.finish()


@pytest.mark.parametrize("move", [Pause("nobody"), Resume("nobody"), Cancel("nobody")], ids=tell)
def test_a_command_to_nobody_is_refused_and_does_nothing_else(move: Move) -> None:
    world = World(builtin)
    world.play(move)
    assert [type(entry) for entry in world.history] == [Asked, Refused, Rested]
    world.finish()


playable = any_move.filter(lambda move: not getattr(move, "faults", []))


@given(st.lists(playable, max_size=12), st.data())
def test_any_move_may_be_left_out(program: list[Move], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(program), max_size=len(program)))
    world = World(builtin)
    for move, keep in zip([Run(workflow(step("a"), step("b", "a"))), *program], [True, *kept], strict=True):
        if keep:
            world.play(move)
    world.finish()
