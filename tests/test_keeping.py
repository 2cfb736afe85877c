"""``lockstep cases``: what is kept is listed, and what is to be kept is kept whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from machines import keeping
from machines.case import Case, Line, load, save
from machines.moves import Cancel, Elapse, Run
from machines.tape import Tape
from machines.targets.builtin import BuiltinTarget
from tests.command_line import Answer, called, lockstep, outcome

Json = Any
Call = Callable[..., Answer]
ONE: Final = {"id": "w", "steps": [{"id": "a", "action": "work"}]}
PROGRAM: Final = (Line(Run(ONE)), Line(Cancel("x1"), Tape(latencies=bytes([0, 200, 201]))), Line(Cancel("x1")))
HELD: Final = Case(PROGRAM, "J2", "answered", "answered True", "0123456789abcdef")


class Liar(BuiltinTarget):
    """Its cancel always says yes."""

    async def cancel(self, execution: str) -> bool:
        await super().cancel(execution)
        return True


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in a project with a folder for regressions, on the last day of a year."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "regressions").mkdir(parents=True)
    monkeypatch.setattr(keeping, "_today", lambda: date(2026, 12, 31))
    save(HELD, tmp_path / "case.json")
    return lambda *arguments: called(capsys, "cases", *arguments)


def kept(place: Path) -> list[Path]:
    return sorted((place / "tests" / "regressions").iterdir())


def test_a_case_is_kept_with_its_reason(call: Call, tmp_path: Path) -> None:
    given = json.loads((tmp_path / "case.json").read_text(encoding="utf-8"))
    (tmp_path / "case.json").write_text(json.dumps({**given, "colour": "red"}), encoding="utf-8")
    status, out, _ = call("keep", "case.json", "--why", "  a cancel\n that came\ttwice ")
    assert (status, out) == (
        0,
        "kept as tests/regressions/J2-answered-01234567.json: the contract holds\n",
    )
    (path,) = kept(tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document == {**given, "colour": "red", "why": "a cancel that came twice", "kept_on": "2026-12-31"}


def test_a_case_whose_bug_lives_is_kept_and_says_so(call: Call, tmp_path: Path) -> None:
    (tmp_path / "tests" / "__init__.py").touch()
    liar = f"{__name__}:Liar"
    save(replace(HELD, invariant="durable_before_the_answer"), tmp_path / "case.json")
    status, out, _ = call("keep", "case.json", "--why", "a liar", "--target", liar)
    assert status == 1
    assert "it is still violated, as recorded: the tests that replay it are red" in out
    save(replace(HELD, clause="F4", max_concurrent_steps=1), tmp_path / "other.json")
    status, out, _ = call("keep", "other.json", "--why", "a liar", "--target", liar)
    assert status == 3
    assert "it is violated in another way than recorded" in out
    assert len(kept(tmp_path)) == 2


def test_where_bugs_are_told_it_is_asked_for(call: Call, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bugs-found.md").touch()
    _, out, _ = call("keep", "case.json", "--why", "twice")
    assert out.endswith("now tell it in docs/bugs-found.md, by that name\n")


def test_the_same_program_is_kept_once(call: Call, tmp_path: Path) -> None:
    assert call("keep", "case.json", "--why", "twice")[0] == 0
    save(replace(HELD, clause="P1", sentence="in other words", digest="f" * 64), tmp_path / "again.json")
    status, out, err = call("keep", "again.json", "--why", "thrice")
    assert (status, out) == (2, "")
    assert err == ("lockstep cases keep: again.json: is kept already, as tests/regressions/J2-answered-01234567.json\n")
    longer = (*PROGRAM, Line(Elapse(1.0)))
    save(replace(HELD, lines=longer), tmp_path / "longer.json")
    status, _, err = call("keep", "longer.json", "--why", "another program under the same name")
    assert (status, "File exists" in err) == (2, True)
    assert load(kept(tmp_path)[0]).why == "twice"
    assert len(kept(tmp_path)) == 1


def test_a_program_of_no_record_gets_a_name(call: Call, tmp_path: Path) -> None:
    document = {"format": 0, "moves": [{"move": "Run", "workflow": ONE}]}
    (tmp_path / "typed.json").write_text(json.dumps(document), encoding="utf-8")
    assert call("keep", "typed.json", "--why", "typed")[0] == 0
    case = load(kept(tmp_path)[0])
    assert kept(tmp_path)[0].name == f"none-none-{case.digest[:8]}.json"
    assert len(case.digest) == 64


BAD: Final = {
    "no reason": (["keep", "case.json"], "Missing option '--why'"),
    "an empty reason": (["keep", "case.json", "--why", " \n "], "--why: must say something"),
    "an endless reason": (["keep", "case.json", "--why", "x" * 401], "--why: must say it in 400 characters, not 401"),
    "no case": (["keep", "nowhere.json", "--why", "x"], "nowhere.json: no such file"),
    "a damaged case": (["keep", "bad.json", "--why", "x"], "bad.json: a damaged case: format must be 1"),
    "a planted bug": (["keep", "planted.json", "--why", "x"], "planted.json: its target machines.mutants:busy_is_done"),
    "a stranger": (["keep", "strange.json", "--why", "x"], "strange.json: cannot be carried out: it names the target"),
    "no directory": (["keep", "case.json", "--why", "x", "--dir", "nowhere"], "there is no directory nowhere"),
    "a file": (["keep", "case.json", "--why", "x", "--dir", "case.json"], "there is no directory case.json"),
    "a report": (["--json", "out.json", "keep", "case.json", "--why", "x"], "--json: is for the list"),
    "an engine that is not there": (
        ["keep", "case.json", "--why", "x", "--target", "nowhere:it"],
        "--target: there is no module nowhere",
    ),
    "nothing to list": (["--dir", "nowhere"], "there is no directory nowhere"),
    "a list that cannot be written": (["--json", "nowhere/x"], "there is no directory nowhere"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_nothing_is_kept(
    arguments: list[str], message: str, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    save(replace(HELD, target="machines.mutants:busy_is_done"), tmp_path / "planted.json")
    save(replace(HELD, target="nowhere:it"), tmp_path / "strange.json")
    before = sorted(tmp_path.rglob("*"))
    status, out, err = call(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_with_a_damaged_case_takes_no_other(call: Call, tmp_path: Path) -> None:
    (tmp_path / "tests" / "regressions" / "bad.json").write_text("[]", encoding="utf-8")
    status, _, err = call("keep", "case.json", "--why", "x")
    assert (status, "bad.json: not a case" in err) == (2, True)
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    "name", ["../../up", "/etc/passwd", ".", "..", "", "-rf", "a\0b", "x" * 5000, "\ud800", "a\nb"]
)
def test_no_name_leads_out_of_the_directory(name: str, call: Call, tmp_path: Path) -> None:
    case = replace(HELD, clause=name, invariant=name, digest=f"{name}0123456789", machine=name, sentence=name)
    save(case, tmp_path / "case.json")
    before = {path for path in tmp_path.rglob("*") if path.parent.name != "regressions"}
    assert call("keep", "case.json", "--why", name or "x")[0] in {0, 2}
    for path in kept(tmp_path):
        assert path.name.endswith(".json")
        assert path.name.isprintable()
        assert not path.name.startswith((".", "-"))
    assert {path for path in tmp_path.rglob("*") if path.parent.name != "regressions"} == before


def test_a_list_names_clause_size_age_and_reason(call: Call, tmp_path: Path) -> None:
    place = tmp_path / "tests" / "regressions"
    save(replace(HELD, why="a cancel that came twice", kept_on="2026-11-30"), place)
    rate = {"times": 10, "cases": 1000}
    save(replace(HELD, clause="A1", kept_on="2026-12-30", extra={"found": rate}), place)
    save(replace(HELD, clause="B2", kept_on="2026-12-31"), place)
    save(replace(HELD, clause="C\x1b[2J", lines=()), place)
    status, out, err = call("--json", "out.json")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "4 cases in tests/regressions",
        "  clause    invariant  moves  deviations  to be sure  age      case",
        "  A1        answered       3           2       1,420  1 day    A1-answered-01234567.json",
        "  B2        answered       3           2           -  today    B2-answered-01234567.json",
        "  C\\x1b[2J  answered       0           0           -  -        C_2J-answered-01234567.json",
        "  J2        answered       3           2           -  31 days  J2-answered-01234567.json",
        "    a cancel that came twice",
    ]
    first, *_, last = outcome(tmp_path / "out.json")["cases"]
    assert (first["clause"], first["why"], first["kept_on"]) == ("A1", None, "2026-12-30")
    assert (last["moves"], last["deviations"], last["why"]) == (3, 2, "a cancel that came twice")


def test_an_empty_list_is_short(call: Call) -> None:
    assert call() == (0, "0 cases in tests/regressions\n", "")


def test_what_cannot_be_read_is_listed_as_such(call: Call, tmp_path: Path) -> None:
    (tmp_path / "tests" / "regressions" / "bad.json").write_text("[]", encoding="utf-8")
    save(HELD, tmp_path / "tests" / "regressions")
    status, out, err = call("--json", "out.json")
    assert status == 2
    assert out.startswith("1 case in tests/regressions\n")
    assert err == "lockstep cases: tests/regressions/bad.json: not a case: a case is a JSON object\n"
    assert len(outcome(tmp_path / "out.json")["damaged"]) == 1


def test_the_real_command_lists_what_is_committed() -> None:
    root = Path(__file__).parent.parent
    answer = lockstep("cases", cwd=root)
    assert answer.returncode == 0, answer.stderr
    for path in (root / "tests" / "regressions").glob("*.json"):
        assert path.name in answer.stdout
