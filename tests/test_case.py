"""A case file says everything: it is read with care, carried out to the same history, and made small."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import case as cases
from machines.case import Case, CaseError, Line, from_text, load, reduce_tapes, replay, save, to_text
from machines.minimise import minimise
from machines.moves import AddStep, Cancel, Connect, Elapse, Fail, Finish, Move, Pause, Resume, Run, to_json
from machines.registry import TargetError, load_target
from machines.tape import Tape
from machines.target import Ports
from machines.targets.builtin import BuiltinTarget

ONE = {"id": "w", "steps": [{"id": "a", "action": "work"}]}


class Liar(BuiltinTarget):
    """Its cancel always says yes."""

    async def cancel(self, execution: str) -> bool:
        await super().cancel(execution)
        return True


class Careless(BuiltinTarget):
    """It changes what it is given, and lies about it too."""

    async def start(self, workflow: Any, input_data: Any) -> str:
        execution = await super().start(workflow, input_data)
        input_data["more"] = 1
        return execution

    async def cancel(self, execution: str) -> bool:
        await super().cancel(execution)
        return True


class Forgetful(BuiltinTarget):
    """What it reads again from its journal is not what it reported: seen only when all is over."""

    async def reread(self, execution: str) -> Any:
        return {**await super().reread(execution), "seq": 1}


class LiarAndForgetful(Liar, Forgetful):
    """Whatever one does with it, it breaks some clause."""


class OutOfTurn(BuiltinTarget):
    """It lies only if callbacks run in another order than asyncio's."""

    def open(self, ports: Ports) -> None:
        super().open(ports)
        self.loop = ports.loop

    async def cancel(self, execution: str) -> bool:
        order: list[int] = []
        done = self.loop.create_future()
        for number in range(3):
            self.loop.call_soon(order.append, number)
        self.loop.call_later(0, done.set_result, None)
        await done
        answer = await super().cancel(execution)
        return answer or order != [0, 1, 2]


class Crashing(BuiltinTarget):
    """It cannot report."""

    def report(self, execution: str) -> Any:
        raise KeyError(execution)


def lie(*moves: Move, factory: Any = Liar, tapes: dict[int, Tape] | None = None) -> Case:
    """The case of these moves, as it is violated."""
    lines = tuple(Line(move, (tapes or {}).get(place, Tape())) for place, move in enumerate(moves))
    course = cases.carry_out(lines, factory, 2)
    assert course.violation is not None
    return Case(lines, course.violation.clause, course.violation.invariant, course.sentence, course.digest)


def twice() -> Case:
    return lie(Run(ONE), Cancel("x1"), Cancel("x1"))


PROGRAM = (Line(Run(ONE)), Line(Cancel("x1")), Line(Cancel("x1")))
WRITTEN = Case(PROGRAM, "J2", "durable_before_the_answer", "answered True", "0123456789abcdef")


def document(**changes: Any) -> str:
    return json.dumps({**WRITTEN.to_json(), **changes})


def test_a_case_survives_its_file(tmp_path: Path) -> None:
    case = WRITTEN
    path = save(case, tmp_path / "cases")
    assert path.name == "J2-durable_before_the_answer-01234567.json"
    assert load(path) == case
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_is_unknown_survives_too(tmp_path: Path) -> None:
    given = json.loads(document(story="a cancel too many"))
    given["settings"]["colour"] = "red"
    given["moves"][1]["why"] = {"of": ["course"]}
    path = save(from_text(json.dumps(given)), tmp_path / "case.json")
    assert json.loads(path.read_text(encoding="utf-8")) == given


MOVES = st.one_of(
    st.builds(Run, st.just(ONE), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)),
    st.builds(Finish, st.text(max_size=5), st.sampled_from([None, 1.5, [{}], "x"])),
    st.builds(Fail, st.just("x1/a"), st.text(max_size=3), st.text(max_size=3)),
    st.builds(Resume, st.just("x1"), st.none() | st.just({"a": {}})),
    st.builds(Elapse, st.none() | st.floats(0, 1e9)),
    st.builds(AddStep, st.just({"id": "a"}), st.sampled_from(["gate", "instant", "stubborn", "abrupt"])),
    st.builds(Connect, st.just("a"), st.just("b"), st.none() | st.just("a.n > 0")),
)


@given(st.lists(st.builds(Line, MOVES, st.builds(Tape, st.binary(max_size=4), st.binary(max_size=4))), max_size=4))
def test_every_program_goes_through_text_and_back(lines: list[Line]) -> None:
    case = Case(tuple(lines), "F4", "newest_first", "no", "0")
    assert from_text(to_text(case)) == case


BAD = {
    "not JSON": ('{"format": 1,\n oops}', "not JSON: .*line 2, column 2"),
    "nothing at all": ("", "not JSON: .*line 1, column 1"),
    "no object": ("[]", "a case is a JSON object"),
    "NaN": (document(sentence=float("nan")), "holds NaN, which is not JSON"),
    "infinity": (document(settings={"max_concurrent_steps": 2, "x": float("inf")}), "holds Infinity"),
    "an infinity of digits": (document().replace('"x1"', "1e999"), "holds 1e999"),
    "an endless integer": (document().replace('"x1"', "1" * 5000), "not JSON that can be read"),
    "a future format": (document(format=7), "written in case format 7, .* reads formats up to 1"),
    "no format": ('{"moves": []}', "format must be 1; target is missing; .*; settings must be an object"),
    "format as text": (document(format="1"), 'format must be 1, not "1"'),
    "an unknown move": (document(moves=[{"move": "Explode"}]), r"moves\[0\]: there is no move 'Explode'"),
    "a move that lacks": (document(moves=[{"move": "Finish"}]), r"moves\[0\]: the move Finish lacks gate"),
    "a wrong argument": (document(moves=[{"move": "Run", "workflow": [1]}]), r"workflow of Run cannot be \[1\]"),
    "a wrong manner": (document(moves=[{"move": "Run", "manners": {"a": "shy"}}]), "manners of Run cannot be"),
    "no move": (document(moves=["Run"]), r"moves\[0\]: must be an object, not \"Run\""),
    "a bad tape": (document(moves=[{"move": "Elapse", "tape": {"order": 1}}]), "a tape has the tracks"),
    "no slots": (document(settings={"max_concurrent_steps": 0}), "must be a whole number from 1, not 0"),
    "no moves": (document(moves={}), "moves must be a list"),
    "a wrong mark": (document(reorder_only="no"), "reorder_only must be true or false"),
    "two faults": (document(clause=1, digest=None), "clause must be a text, not 1; digest must be a text, not null"),
    "a deep hole": (document(story=1)[:-1] + ', "x": ' + "[" * 300 + "]" * 300 + "}", "nested more than 256 deep"),
    "a bottomless hole": ("[" * 100_000 + "]" * 100_000, "nested more than 256 deep"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_damaged_case_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, match=message) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CaseError, match="no such file"):
        load(tmp_path / "nowhere.json")
    with pytest.raises(CaseError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(CaseError, match="not UTF-8 text"):
        load(tmp_path / "latin.json")
    monkeypatch.setattr(cases, "MAX_BYTES", 5)
    with pytest.raises(CaseError, match="larger than"):
        load(tmp_path / "latin.json")


def test_a_case_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="holds what JSON cannot"):
        save(replace(WRITTEN, extra={"x": float("nan")}), tmp_path)
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises(CaseError, match="nested more than"):
        save(replace(WRITTEN, extra={"x": deep}), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CaseError, match="cannot write"):
        save(WRITTEN, tmp_path / "file" / "cases")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_replay_says_how_it_went() -> None:
    case = twice()
    again = replay(case, Liar)
    assert (again.status, again.digest) == (1, case.digest)
    assert [played.tell() for played in again.played] == ["run a", "cancel x1", "cancel x1"]
    assert replay(replace(case, clause="F4"), Liar).status == 3
    clean = replay(case)
    assert (clean.status, clean.violation) == (0, None)
    assert clean.digest != case.digest


def test_a_failure_in_the_liveness_phase_counts() -> None:
    case = lie(Run(ONE), Pause("x1"), factory=Forgetful)
    outcome = replay(case, Forgetful)
    assert outcome.status == 1
    assert len(outcome.played) == 2


def test_what_cannot_be_carried_out_says_why() -> None:
    with pytest.raises(CaseError, match="cannot be carried out: move 1 raised KeyError: 'x1'"):
        replay(twice(), Crashing)
    with pytest.raises(CaseError, match="it names the target nowhere:make, which is not one of Lockstep's"):
        replay(replace(twice(), target="nowhere:make"))
    with pytest.raises(CaseError, match="making the target raised RuntimeError: out of stock"):
        replay(twice(), out_of_stock)
    odd = replace(twice(), lines=(Line(Run(ONE)), Line(Fail("x1/a", "\0"))))
    with pytest.raises(CaseError, match="cannot be carried out"):
        replay(odd, Crashing)


def out_of_stock() -> BuiltinTarget:
    message = "out of stock"
    raise RuntimeError(message)


def test_an_engine_that_changes_what_it_is_given_changes_no_case() -> None:
    case = lie(Run(ONE, {"a": 1}), Cancel("x1"), Cancel("x1"), factory=Careless)
    before = to_text(case)
    assert replay(case, Careless) == replay(case, Careless)
    assert to_text(case) == before


# Making it small

BUSY = Tape(bytes(range(200, 232)), bytes(32))


def test_tapes_are_cut_to_what_is_used() -> None:
    case = lie(Run(ONE), Elapse(60.0), Cancel("x1"), Elapse(60.0), Cancel("x1"), tapes={0: BUSY, 1: BUSY, 4: BUSY})
    small = reduce_tapes(case, Liar)
    assert replay(small, Liar).status == 1
    assert len(to_text(small)) < len(to_text(case))
    assert all(not line.tape.order for line in small.lines)
    assert not small.reorder_only


def test_an_order_that_is_not_needed_goes() -> None:
    shuffled = Tape(order=bytes([1, 2, 1, 1, 2, 1, 1, 3]))
    case = lie(Run(ONE), Cancel("x1"), Cancel("x1"), tapes={0: shuffled, 1: shuffled})
    small = reduce_tapes(case, Liar)
    assert not small.reorder_only
    assert all(not line.tape.order for line in small.lines)


@pytest.mark.unmeasured
def test_an_order_that_is_needed_is_marked() -> None:
    run = Run(ONE, manners={"a": "instant"})
    case = lie(run, Elapse(1.0), Cancel("x1"), factory=OutOfTurn, tapes={2: Tape(order=bytes([1] * 32))})
    small = minimise(case, OutOfTurn)
    assert small.reorder_only
    assert any(line.tape.order for line in small.lines)
    assert replay(small, OutOfTurn).status == 1
    assert (
        replay(replace(small, lines=tuple(replace(line, tape=Tape()) for line in small.lines)), OutOfTurn).status == 0
    )


def test_a_case_that_is_not_violated_stays_as_it_is() -> None:
    case = twice()
    assert reduce_tapes(case, BuiltinTarget) == case
    assert minimise(case, BuiltinTarget) == case


@pytest.mark.unmeasured
def test_a_long_program_becomes_a_short_one() -> None:
    graph = {
        "id": "w",
        "nodes": [{"id": name, "type": "task", "config": {"action": "work", "timeout": 2}} for name in "abc"],
        "connections": [{"source": "a", "target": "b", "condition": "a.n > 0"}, {"source": "b", "target": "c"}],
        "rollback_on_cancel": True,
    }
    case = lie(
        Run({**ONE, "timeout": 9}, {"a": {"b": [1, 2]}}, {"a": "stubborn"}),
        Finish("x1/a", {"n": 3}),
        AddStep({"id": "a", "action": "work", "timeout": 5}, "instant"),
        AddStep({"id": "b", "action": "work"}),
        Connect("a", "b"),
        Run(None),
        Pause("x2"),
        Run(graph),
        Elapse(0.5),
        Finish("x3/a", {"n": 2}),
        Cancel("x3"),
        Pause("x3"),
        Cancel("x3"),
        tapes={0: BUSY, 5: BUSY, 7: BUSY, 10: BUSY},
    )
    small = minimise(case, Liar)
    assert [to_json(line.move) for line in small.lines] == [
        to_json(Run(ONE, manners={"a": "instant"})),
        to_json(Cancel("x1")),
    ]
    assert all(line.tape == Tape() for line in small.lines)
    assert small.max_concurrent_steps == 1
    outcome = replay(small, Liar)
    assert (outcome.status, outcome.digest) == (1, small.digest)
    assert minimise(small, Liar) == small


@pytest.mark.unmeasured
def test_a_program_that_breaks_another_clause_is_no_smaller_one() -> None:
    case = lie(Run(ONE), Elapse(1.0), Cancel("x1"), Cancel("x1"), factory=LiarAndForgetful)
    small = minimise(case, LiarAndForgetful)
    assert [type(line.move) for line in small.lines] == [Run, Cancel]
    assert (small.clause, small.invariant) == (case.clause, case.invariant)
    assert replay(small, LiarAndForgetful).status == 1


@pytest.mark.unmeasured
def test_a_draft_becomes_a_workflow() -> None:
    case = lie(
        AddStep({"id": "a", "action": "work"}, "instant"),
        AddStep({"id": "b", "action": "work"}),
        Connect("a", "b", "a.n > 0"),
        Run(None),
        Cancel("x1"),
        Cancel("x1"),
    )
    small = minimise(case, Liar)
    assert [type(line.move) for line in small.lines] == [Run, Cancel]


def test_the_budget_bounds_the_search() -> None:
    case = lie(Run(ONE), Pause("x1"), Resume("x1"), Cancel("x1"), Cancel("x1"))
    assert len(minimise(case, Liar, budget=1).lines) == 5


# Targets by name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("somewhere", "a target is builtin or MODULE:FACTORY, not 'somewhere'"),
        ("a:b:c", "a target is builtin or MODULE:FACTORY"),
        (":make", "a target is builtin or MODULE:FACTORY"),
        ("nowhere:make", "there is no module nowhere"),
        ("nowhere.at_all:make", "there is no module nowhere"),
        ("good:nothing", "target good:nothing: the module good has no nothing"),
        ("good:NUMBER", "NUMBER is of type int, and cannot be called"),
        ("good:dict", "has no dict"),
        ("good:empty", "is no target, it lacks cancel, close, open, .*"),
        ("good:broken", "calling broken raised ValueError: not today"),
        ("good:needy", "calling needy raised TypeError"),
        ("bad:make", "importing bad raised NameError: name 'oops' is not defined"),
        ("needs:make", "importing needs raised ModuleNotFoundError: No module named 'nowhere_either'"),
        ("quits:make", "importing quits raised SystemExit: 5"),
    ],
)
def test_a_target_that_cannot_be_had_says_why(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "good.py").write_text(
        "NUMBER = 1\n"
        "def empty(): return {}\n"
        "def broken(): raise ValueError('not\\ntoday')\n"
        "def needy(this): return this\n"
    )
    (tmp_path / "bad.py").write_text("oops\n")
    (tmp_path / "needs.py").write_text("import nowhere_either\n")
    (tmp_path / "quits.py").write_text("raise SystemExit(5)\n")
    for module in ("good", "bad", "needs", "quits"):
        monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    with pytest.raises(TargetError, match=message) as refusal:
        load_target(name)
    assert "\n" not in str(refusal.value)


def test_a_target_of_ones_own_is_found_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "house_engine.py").write_text(
        "from machines.targets.builtin import BuiltinTarget\nclass Nest:\n    Target = BuiltinTarget\n"
    )
    assert load_target("house_engine:Nest.Target") is BuiltinTarget
    assert load_target("builtin")().name == "builtin"
