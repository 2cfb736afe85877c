"""A case becomes small: nothing of it can go, it is as short as its bug's witness, and the same for every seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from machines import minimal
from machines.case import Case, Course, Line, carry_out, from_text, load, to_text
from machines.fingerprint import fingerprint
from machines.inserting import others
from machines.minimise import BUDGET, UNFINISHED, can_go, minimise
from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Convert,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Move,
    Pause,
    Resume,
    Run,
    Subscribe,
    to_json,
)
from machines.mutants import MUTANTS
from machines.mutants.catalogue import place
from machines.parts import names_of, parts, parts_of, without, without_moves
from machines.plainness import ROUND, by_key, weigh
from machines.rewriting import rewritten
from machines.soundness import as_it_says
from machines.spoiling import MISSHAPEN
from machines.tape import Tape
from machines.target import TargetFactory

STEP = {"id": "a", "action": "work"}
ONE = {"id": "w", "steps": [STEP]}
TWO = {"id": "w", "steps": [STEP, {"id": "b", "action": "work", "depends_on": ["a"]}]}
GRAPH = {
    "id": "w",
    "nodes": [{"id": "a", "config": {"action": "work"}}, {"id": "b", "config": {"action": "work", "timeout": 1}}],
    "connections": [{"source": "a", "target": "b", "condition": "a.n > 0"}],
}

SAMPLE = (
    *(
        "completion_lost_under_a_pause",
        "on_after_the_end",
        "refusals_are_not_sent",
        "first_fault_only",
        "null_is_no_output",
    ),
    *("actions_survive_the_cancel", "output_schema_ignored", "told_twice_after_a_reconnect"),
)
"""Bugs of many classes whose cases are found, and made small, in a second or less."""
SEEDS = 3
LITTLE = 60_000
"""Entries that are enough to take away what can go."""


def program(*moves: Move) -> tuple[Line, ...]:
    return tuple(map(Line, moves))


def case_of(bug: str, *lines: Line, slots: int = 2) -> Case:
    """The case of a program that shows a bug."""
    course = carry_out(lines, MUTANTS[bug].plant(), slots)
    assert course.verdict is not None
    return Case(lines, *course.verdict, course.sentence, course.digest, max_concurrent_steps=slots)


def told(lines: tuple[Line, ...]) -> list[dict[str, Any]]:
    return [line.to_json() for line in lines]


class TestParts:
    def test_each_is_told(self) -> None:
        lines = (
            Line(Run({**TWO, "timeout": 5}, {"a": 1}, {"a": "instant"}), Tape(b"\0\x80", b"\1")),
            Line(Elapse(1.0)),
        )
        assert [(part.kind, part.text) for part in parts(lines)] == [
            ("move", "move 1, run a; b after a [timeout=5] with {'a': 1}"),
            ("argument", "input of move 1"),
            ("argument", "manners of move 1"),
            ("step", "step a of move 1"),
            ("step", "step b of move 1"),
            ("connection", "connection a -> b of move 1"),
            ("argument", "timeout of the workflow of move 1"),
            ("argument", "input.a of move 1"),
            ("argument", "manners.a of move 1"),
            ("deviation", "the latency of 0.05 ms of move 1"),
            ("deviation", "the callback out of turn of move 1"),
            ("move", "move 2, 1 seconds pass"),
            ("argument", "seconds of move 2"),
        ]

    def test_the_rest_is_a_program(self) -> None:
        lines = program(Run(TWO), Connect("a", "b", "a.n > 0"), AddStep({**STEP, "timeout": 1}), Resume("x1", {"a": 1}))
        for part in parts(lines):
            assert json.loads(json.dumps(told(part.lines))) == told(part.lines)
            assert weigh(part.lines, 2) < weigh(lines, 2), part.text

    def test_a_step_goes_with_its_connections(self) -> None:
        gone = [smaller for kind, _, smaller in parts_of(Run(TWO)) if kind == "step"]
        assert [to_json(move)["workflow"]["steps"] for move in gone] == [[{**STEP, "id": "b"}], [STEP]]
        gone = [smaller for kind, _, smaller in parts_of(Run(GRAPH)) if kind == "step"]
        assert [to_json(move)["workflow"]["connections"] for move in gone] == [[], []]

    def test_a_start_goes_with_its_name(self) -> None:
        lines = program(Run(ONE), Run(TWO), Run(ONE), Cancel("x3"), Finish("x2/a"), Cancel("other"))
        rest = without_moves(lines, [0], ["x1", "x2", "x3"])
        assert [line.move for line in rest] == [Run(TWO), Run(ONE), Cancel("x2"), Finish("x1/a"), Cancel("other")]
        assert without_moves(lines, [3], ["x1", "x2", "x3"]) == (*lines[:3], *lines[4:])

    def test_of_what_is_no_workflow_there_are_none(self) -> None:
        odd: tuple[Any, ...] = ({}, {"steps": 5}, {"steps": ["a"]}, {"steps": [{"id": 7}]}, None)
        for workflow in odd:
            assert names_of(workflow) == []
        assert [kind for kind, _, _ in parts_of(Run({"id": "w", "steps": [{"id": 7}]}))] == []

    def test_a_list_of_connections_goes_with_its_last(self) -> None:
        assert without({"a": {"depends_on": ["b"]}}, ("a", "depends_on", 0)) == {"a": {}}
        assert without({"a": {"depends_on": ["b", "c"]}}, ("a", "depends_on", 0)) == {"a": {"depends_on": ["c"]}}


class TestPlainness:
    def test_less_is_plainer(self) -> None:
        late = Line(Cancel("x1"), Tape(bytes([ROUND[0]])))
        ladder = [
            program(Run(ONE)),
            program(Run({**ONE, "timeout": 1})),
            program(Run({**ONE, "timeout": 2})),
            program(Run(TWO)),
            program(Run(GRAPH)),
            program(Run(ONE), Finish("x1/a")),
            program(Run(ONE), Finish("x1/a", None)),
            program(Run(ONE), Cancel("x1")),
            (*program(Run(ONE)), late),
            (*program(Run(ONE)), replace(late, tape=Tape(bytes([ROUND[1]])))),
            (*program(Run(ONE)), replace(late, tape=Tape(b"\x81"))),
            program(Run(ONE), Cancel("x1"), Pause("x1")),
            (Line(Run(ONE), Tape(order=b"\1")),),
        ]
        weights = [weigh(lines, 1) for lines in ladder]
        assert weights[6] > weights[7], "an argument counts for more than the kind of a move"
        weights[6], weights[7] = weights[7], weights[6]
        assert weights == sorted(weights)
        assert weigh(ladder[0], 1) < weigh(ladder[0], 2)

    def test_any_values_can_be_compared(self) -> None:
        values = [None, True, 1, 0, 2.5, "", "a", [], [1], {}, {"b": [None]}, {"a": 1, "b": 2}]
        weights = sorted(weigh(program(Finish("x1/a", value)), 1) for value in values)
        assert all(one < other for one, other in itertools.pairwise(weights))

    def test_keys_have_an_order(self) -> None:
        assert list(by_key([{"b": 1, "steps": [], "a": 2, "id": 3}])[0]) == ["id", "steps", "a", "b"]


class TestSoundness:
    def test_what_is_valid_stays_so(self) -> None:
        assert as_it_says(Run(TWO)) == Run(TWO)
        assert as_it_says(Run(None)) == Run(None)
        assert as_it_says(Cancel("x1")) == Cancel("x1")
        assert as_it_says(Run({**ONE, "timeout": 0})) is None

    def test_faults_are_where_they_are_now(self) -> None:
        broken = {"id": "w", "steps": [{**STEP, "timeout": 0}]}
        assert as_it_says(Run(broken, faults=["steps[3].timeout"])) == Run(broken, faults=["steps[0].timeout"])
        assert as_it_says(Run(broken, faults=["steps[0].timeout"])) == Run(broken, faults=["steps[0].timeout"])
        assert as_it_says(Run(broken, faults=["steps[0].timeout nobody"])) is None
        assert as_it_says(Run(broken, faults=["steps[0].id"])) is None
        assert as_it_says(Run(ONE, faults=["steps[0].id"])) == Run(ONE)

    def test_a_fault_may_be_of_the_whole(self) -> None:
        shapeless = Run({"id": "w"}, faults=[" steps nodes"])
        assert as_it_says(shapeless) == shapeless


class TestOtherPrograms:
    @pytest.mark.unmeasured
    @pytest.mark.parametrize("bug", SAMPLE)
    def test_they_are_programs(self, bug: str) -> None:
        witness = load(place(bug))
        for made in (rewritten(witness.lines, ["x1"]), others(witness.lines, ["x1"], definitions=True)):
            for lines in made:
                again = from_text(to_text(replace(witness, lines=tuple(lines))))
                assert told(again.lines) == told(tuple(lines))

    def test_what_is_no_workflow_is_no_hindrance(self) -> None:
        two = [STEP, {"id": "b", "action": "work"}]
        odd = [*({**whole, "id": "w"} for whole, _ in MISSHAPEN), {"steps": two, "nodes": None}]
        listed = {"steps": [STEP, {**STEP, "id": "b", "depends_on": "a"}]}
        for workflow in (*odd, {"steps": two, "nodes": [STEP]}, {"steps": two, "nodes": [7]}, listed):
            lines = program(Run(workflow, faults=["steps"]), Pause("x1"))
            assert list(rewritten(lines, ["x1"]))
            assert list(others(lines, ["x1"], definitions=False))

    def test_a_start_goes_without_its_key(self) -> None:
        lines = program(Run(ONE, key="k1"), Run(ONE), Pause("key-1"), Finish("x1/a"))
        made = [[line.move for line in made] for made in rewritten(lines, ["key-1", "x1"])]
        assert [Run(ONE), Run(ONE), Pause("x1"), Finish("x2/a")] in made

    def test_moves_that_only_took_their_time_go_with_that_time(self) -> None:
        late = [Tape(bytes([0, byte])) for byte in (232, 220, 192, 168)]  # 13.5, 5.5, 1.5 and 0.5 ms
        lines = (Line(Run(ONE), late[1]), *program(*[Finish("x1/b")] * 4), Line(Pause("x1"), late[3]))
        made = list(rewritten(lines, ["x1"]))
        assert (Line(Run(ONE), late[2]), Line(Pause("x1"), late[3])) in made
        assert len({len(each) for each in made}) > 2  # also with some of that time
        assert not [each for each in made if len(each) < len(lines) and each[0].tape == late[0]]

    def test_an_action_ends_by_itself_where_a_move_has_told_it_to(self) -> None:
        lines = program(Run(ONE), Run(TWO, manners={"b": "stubborn"}), Finish("x2/a"), Fail("x2/b"), Fail("x9/a"))
        made = [[line.move for line in made] for made in rewritten(lines, ["x1", "x2"])]
        at_once = Run(TWO, manners={"a": "instant", "b": "stubborn"})
        assert [Run(ONE), at_once, Fail("x2/b"), Fail("x9/a")] in made
        assert [Run(ONE), Run(TWO, manners={"b": "abrupt"}), Finish("x2/a"), Fail("x9/a")] in made

    def test_a_step_looks_at_all_of_the_input_and_less_is_given(self) -> None:
        steps = [{**STEP, "parameters": {"x": "${input.n}"}}]
        whole = [{**STEP, "parameters": {"x": "${input}"}}]
        made = [made[0].move for made in rewritten(program(Run({"id": "w", "steps": steps}, {"n": 1, "m": 2})), ["x1"])]
        assert Run({"id": "w", "steps": whole}, {"m": 2}) in made

    def test_two_starts_become_one(self) -> None:
        three = [STEP, {**STEP, "id": "b"}, {**STEP, "id": "c", "depends_on": ["b"]}]
        lines = program(Run(ONE), Run(TWO, {"a": 1}), Finish("x2/b"), Pause("x1"), Run(ONE), Cancel("x3"))
        made = [[line.move for line in made] for made in rewritten(lines, ["x1", "x2", "x3"])]
        joined = Run({"id": "w", "steps": three}, {"a": 1})
        assert [joined, Finish("x1/c"), Pause("x1"), Run(ONE), Cancel("x2")] in made
        broken = program(Run(ONE, faults=["steps"]), Run(ONE), Run(GRAPH))
        assert min(map(len, rewritten(broken, ["x1", "x2"]))) == len(broken)

    def test_time_that_passes_may_stand_for_a_start(self) -> None:
        lines = (Line(Run(ONE), Tape(bytes([0xFC]))), *program(Run(TWO), Pause("x2")))
        made = [[line.move for line in made] for made in others(lines, ["x1", "x2"], definitions=False)]
        assert [Run(TWO), Elapse(1.0), Pause("x1")] in made

    def test_names_change_everywhere(self) -> None:
        workflow = {
            "id": "w",
            "steps": [
                {"id": "d", "action": "work"},
                {
                    "id": "c",
                    "action": "work",
                    "depends_on": ["d", {"source": "d", "condition": "d.n > input.d && ${d.n} > 1"}],
                    "parameters": {"d": "${d.n} of ${input.d}"},
                },
            ],
        }
        lines = program(Run(workflow, {"d": 1}, {"d": "stubborn", "c!": "instant"}), Fail("x1/c!"), Finish("x2/d"))
        made = next(
            made for made in rewritten(lines, ["x1"]) if names_of(to_json(made[0].move).get("workflow")) == ["a", "b"]
        )
        run = to_json(made[0].move)
        assert run["workflow"]["steps"][1] == {
            "id": "b",
            "action": "work",
            "depends_on": ["a", {"source": "a", "condition": "a.n > input.d && ${a.n} > 1"}],
            "parameters": {"d": "${a.n} of ${input.d}"},
        }
        assert run["manners"] == {"a": "stubborn", "b!": "instant"}
        assert [line.move for line in made[1:]] == [Fail("x1/b!"), Finish("x2/d")]


class TestOneForm:
    @pytest.mark.unmeasured
    def test_what_another_case_came_to_is_come_to_from_here(self) -> None:
        bug = "told_from_now_on_after_a_break"
        crash = case_of(bug, *program(Run(ONE, {"n": 1}), Crash("after"), Elapse(1.0)), slots=1)
        late = case_of(bug, *program(Run(ONE, {"n": 1}), Subscribe("x1", 2), Finish("x1/a")), slots=1)
        small = [minimise(case, MUTANTS[bug].plant()) for case in (crash, late)]
        assert [[line.move for line in each.lines] for each in small] == [[Run(ONE), Subscribe("x1", 1)]] * 2

    @pytest.mark.unmeasured
    def test_a_fault_of_the_store_is_exchanged_for_a_crash(self) -> None:
        late = Line(Run({**ONE, "timeout": 1}), Tape(bytes([ROUND[0]])))
        lines = (late, *program(FailStore(), Elapse()))
        case = case_of("deadline_starts_anew", *lines, slots=1)
        small = minimise(case, MUTANTS["deadline_starts_anew"].plant())
        assert [line.move for line in small.lines] == [Run({**ONE, "timeout": 1}), Crash("after")]

    def test_the_same_moves_may_break_another_invariant_of_the_clause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("machines.minimise._DISTURBANCES", 0)
        monkeypatch.setattr("machines.minimise.others", lambda *_, **__: ())  # it is not they who lead there
        failing = {**STEP, "id": "b", "output_schema": {"required": [""]}}
        twice = {"retries": {"max_attempts": 2}}
        bug, undo = "tried_as_often_as_its_step", {"action": "undo"}
        made = []
        for step in ({"compensation": undo, **twice}, {"compensation": {**undo, **twice}}):
            workflow = {"id": "w", "steps": [{**STEP, **step}, failing]}
            start = Run(workflow, {}, {"a": "instant", "b": "instant"})
            case = case_of(bug, *program(start, Fail("x1/a!", "RuntimeError", "failed")), slots=1)
            made.append((case.invariant, minimise(case, MUTANTS[bug].plant())))
        (many, one), (few, other) = made
        assert (many, few) == ("no_attempt_too_many", "no_attempt_too_few")
        assert one.lines == other.lines
        assert one.invariant == few

    def test_without_an_execution_there_are_other_programs_too(self) -> None:
        assert list(others(program(Run(ONE), Cancel("x1")), [], definitions=False))

    @pytest.mark.unmeasured
    def test_a_latency_that_nobody_asks_for_is_not_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lengths: set[int] = set()

        def carried(lines: Sequence[Line], factory: TargetFactory, slots: int) -> Course:
            course = carry_out(lines, factory, slots)
            lengths.update(len(line.tape.latencies) for line in lines if line.move == Run(ONE))
            return course

        late = Line(Run(ONE, {"n": 1}), Tape(bytes([ROUND[0]])))
        case = case_of("told_from_now_on_after_a_break", late, *program(Crash("after")), slots=1)
        monkeypatch.setattr("machines.minimise.carry_out", carried)
        monkeypatch.setattr("machines.minimise._DISTURBANCES", 0)  # chance does not ask
        minimise(case, MUTANTS["told_from_now_on_after_a_break"].plant())
        assert lengths == {0, 1, 2, 3}, "a start asks for three"


class TestNothingCanGo:
    @pytest.mark.unmeasured
    def test_of_a_large_case_much_can_go(self) -> None:
        case = case_of(
            "cancelled_twice",
            Line(Run(TWO, {"n": 1}, {"a": "stubborn"}), Tape(b"\x80")),
            *program(Cancel("x1"), Elapse(0.01), Cancel("x1")),
        )
        factory = MUTANTS["cancelled_twice"].plant()
        gone = list(can_go(case, factory))
        assert {part.kind for part in gone} == {"move", "step", "connection", "argument", "deviation"}
        assert [part.text for part in gone if part.kind == "move"] == ["move 3, 0.01 seconds pass"]
        small = minimise(case, factory, budget=LITTLE)
        assert list(can_go(small, factory)) == []
        assert [to_json(line.move) for line in small.lines] == [
            to_json(move) for move in (Run(ONE, manners={"a": "stubborn"}), Cancel("x1"), Cancel("x1"))
        ]
        assert minimise(small, factory, budget=LITTLE) == small

    def test_of_a_case_that_holds_nothing_is_said(self) -> None:
        case = case_of("cancelled_twice", *program(Run(ONE, {}, {"a": "stubborn"}), Cancel("x1"), Cancel("x1")))
        assert list(can_go(replace(case, target="builtin"))) == []

    @pytest.mark.unmeasured
    def test_the_bound_is_told(self) -> None:
        lines = program(Run(TWO, {"n": 1}, {"a": "stubborn"}), Cancel("x1"), Elapse(0.01), Cancel("x1"))
        case = case_of("cancelled_twice", *lines)
        factory = MUTANTS["cancelled_twice"].plant()
        small = minimise(case, factory, budget=200)
        assert small.extra == {UNFINISHED: 200}
        assert weigh(small.lines, small.max_concurrent_steps) < weigh(case.lines, case.max_concurrent_steps)
        assert UNFINISHED not in minimise(from_text(to_text(small)), factory, budget=LITTLE).extra

    @pytest.mark.unmeasured
    def test_a_graph_becomes_steps_and_one_execution_is_left(self) -> None:
        late = Line(Run(GRAPH, {}, {"a": "stubborn"}), Tape(bytes([ROUND[1]])))
        case = case_of("cancelled_twice", late, *program(Run(ONE), Elapse(1.0), Cancel("x2"), Cancel("x2")))
        small = minimise(case, MUTANTS["cancelled_twice"].plant(), budget=LITTLE)
        assert [line.move for line in small.lines] == [
            Run(ONE, manners={"a": "stubborn"}),
            Cancel("x1"),
            Cancel("x1"),
        ]

    def test_a_conversion_keeps_the_nodes_that_it_needs(self) -> None:
        nodes = [{"id": f"n{rank}", "config": {"action": "work"}} for rank in range(5)]
        arrows = [{"source": "n0", "target": "n4"}, {"source": "n1", "target": "n3", "condition": "input.a == 1"}]
        large = Convert({"id": "w", "nodes": nodes, "connections": arrows})
        case = case_of("conditions_lost_in_conversion", *program(large, Elapse(1.0)))
        small = minimise(case, MUTANTS["conditions_lost_in_conversion"].plant())
        assert [line.move for line in small.lines] == [
            Convert(
                {
                    "id": "w",
                    "nodes": [{"id": "a", "config": {"action": "work"}}, {"id": "b", "config": {"action": "work"}}],
                    "connections": [{"source": "a", "target": "b", "condition": "1"}],
                }
            )
        ]

    @pytest.mark.unmeasured
    def test_a_draft_becomes_a_workflow(self) -> None:
        draft = program(AddStep(STEP, "stubborn"), AddStep({**STEP, "id": "b"}), Connect("a", "b", "a.n > 0"), Run())
        case = case_of("cancelled_twice", *draft, *program(Cancel("x1"), Cancel("x1")))
        assert len(minimise(case, MUTANTS["cancelled_twice"].plant(), budget=LITTLE).lines) == 3

    def test_a_definition_is_broken_where_its_case_says(self) -> None:
        broken = {
            "id": "w",
            "timeout": 0,
            "steps": [{"id": "s0", "action": "work"}, {"id": "s1", "action": "work", "timeout": 0, "retries": {}}],
        }
        case = case_of("first_fault_only", Line(Run(broken, faults=["timeout", "steps[1].timeout"])))
        small = minimise(case, MUTANTS["first_fault_only"].plant())
        assert [to_json(line.move)["workflow"] for line in small.lines] == [{"id": "", "steps": [{**STEP, "id": ""}]}]
        assert [to_json(line.move)["faults"] for line in small.lines] == [["steps[0].id", "id"]]

    def test_a_definition_that_is_not_what_it_says_is_left_alone(self) -> None:
        odd = {"id": "w", "tiemout": 1, "steps": [{**STEP, "timeout": 1}, {"id": "b", "action": "work"}]}
        case = case_of("first_fault_only", *program(Elapse(1.0), Run(odd)))
        small = minimise(case, MUTANTS["first_fault_only"].plant())
        assert [line.move for line in small.lines] == [Run(odd)]

    @pytest.mark.unmeasured
    def test_one_that_is_not_does_not_keep_the_others_large(self) -> None:
        odd = Run({"id": "w", "tiemout": 1, "steps": [{**STEP, "timeout": 0}]}, faults=["tiemout"])
        assert as_it_says(odd) is None
        start = Run({**TWO, "timeout": 5}, {"n": 1}, {"a": "stubborn"})
        case = case_of("cancelled_twice", *program(odd, start, Cancel("x1"), Cancel("x1")))
        small = minimise(case, MUTANTS["cancelled_twice"].plant(), budget=LITTLE)
        assert [line.move for line in small.lines] == [
            Run(ONE, manners={"a": "stubborn"}),
            Cancel("x1"),
            Cancel("x1"),
        ]


@pytest.mark.unmeasured
@pytest.mark.parametrize("bug", SAMPLE)
def test_every_seed_comes_to_the_same_small_case(bug: str) -> None:
    row = minimal.measure(bug, "random", range(SEEDS), 4000)
    assert len(row.small) == SEEDS
    assert (row.minimal, row.short) == (SEEDS, SEEDS)
    assert len(row.prints) == 1, row.programs


class TestTheCommand:
    @pytest.mark.unmeasured
    def test_it_measures(self, tmp_path: Path) -> None:
        out = tmp_path / "out.json"
        result = CliRunner().invoke(
            minimal.minimal, ["--only", "paused_twice", "--seeds", "2", "--json", str(out)], standalone_mode=False
        )
        assert "paused_twice: 2 cases; 2 1-minimal; moves [2, 2], witness" in result.output
        assert "kept: 2 of 2 cases are 1-minimal (100.0 %, at least 95 %)" in result.output
        assert result.return_value in (0, 1)  # seconds are among the floors
        (row,) = json.loads(out.read_text(encoding="utf-8"))["bugs"]
        assert [each["moves"] for each in row["cases"]] == [2, 2]

    def test_what_is_not_found_is_told(self) -> None:
        result = CliRunner().invoke(
            minimal.minimal, ["--only", "two_recoveries_at_once", "--seeds", "1", "--cases", "1"], standalone_mode=False
        )
        assert "two_recoveries_at_once: 0 cases, 1 not found" in result.output
        assert "NOT KEPT: nothing was found" in result.output
        assert result.return_value == 1

    def test_what_can_go_is_told(self) -> None:
        case = load(place("paused_twice"))
        small = minimal.Small(0, replace(case, extra={UNFINISHED: 5}), 9, 1.0, ("move 2",))
        row = minimal.Row("paused_twice", 2, 1, (small,))
        assert minimal._told(row).endswith(f"1 at the bound of {BUDGET}; can go: move 2")
        assert [met for met, _ in minimal._floors([row])] == [False, False, True, True, True]

    @pytest.mark.unmeasured
    def test_good_ones_become_witnesses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minimal, "keep", lambda cases: [name for name, _ in cases])
        result = CliRunner().invoke(
            minimal.minimal, ["--only", "paused_twice", "--seeds", "1", "--keep-witnesses"], standalone_mode=False
        )
        assert "1 new witness: paused_twice" in result.output


def test_a_fingerprint_knows_no_values() -> None:
    first = case_of("cancelled_twice", *program(Run(ONE, {"a": 1}, {"a": "stubborn"}), Cancel("x1"), Cancel("x1")))
    other = {"id": "v", "steps": [{"id": "z", "action": "work"}]}
    again = case_of("cancelled_twice", *program(Run(other, {"a": 2}, {"z": "stubborn"}), Cancel("x1"), Cancel("x1")))
    assert fingerprint(first) == fingerprint(again) == ("K1", "Run []", "Cancel 2", "Cancel 2")
    longer = replace(first, lines=(*first.lines, *program(Finish("x1/a"))))
    assert fingerprint(longer) == ("K1", "Run []", "Cancel 2", "Cancel 2", "Finish 2/1")
    whole = replace(
        first,
        lines=program(
            Run({**TWO, "timeout": 3}), Run(GRAPH), Run(None), Elapse(), Run(ONE, faults=["id"]), Convert(GRAPH)
        ),
    )
    assert fingerprint(whole) == (
        "K1",
        "Run [] [<1] timeout",
        "Run [] [timeout] connections",
        "Run",
        "Elapse",
        "Run broken []",
        "Convert [] [timeout] connections",
    )
    assert fingerprint(replace(first, clause="K2")) != fingerprint(first)
