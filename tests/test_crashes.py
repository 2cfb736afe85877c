"""Every boundary of a journal is crashed at: of the regressions, and of a sample of fresh cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from machines import crashes
from machines.case import Line, load
from machines.cli import lockstep, main
from machines.crashes import Program, Tally, fresh, played, program_of, tally
from machines.moves import Crash, Finish, Move, Run
from machines.nemesis import Nemesis
from machines.tape import PLAIN
from machines.target import Call
from machines.targets.builtin import BuiltinTarget
from tests.histories import step, workflow

HERE = Path(__file__).parent
REGRESSIONS = sorted((HERE / "regressions").glob("*.json"))
SAMPLE = 5


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_every_boundary_of_a_regression(path: Path) -> None:
    found = tally(program_of(load(path), path.stem))
    assert found.crashed == found.boundaries > 0
    assert (found.missed, found.violated) == ([], 0)


@pytest.mark.unmeasured
def test_every_boundary_of_a_sample() -> None:
    total = Tally()
    for program in fresh(2026, SAMPLE):
        total.add(tally(program))
    assert total.cases == SAMPLE
    assert total.crashed == total.boundaries > 20 * SAMPLE
    assert (total.missed, total.violated) == ([], 0)


def program(*moves: Move) -> Program:
    return Program("p", tuple(Line(move, PLAIN) for move in moves), 2)


PAIR = program(Run(workflow(step("a"), step("b", "a"))), Finish("x1/a"))


def test_boundaries_lie_before_and_after_each_commit() -> None:
    commits = played(PAIR, "before", 10**9).nemesis.commits
    found = tally(PAIR)
    assert found.boundaries == 2 * commits
    assert found.crashed == 2 * commits


def test_a_boundary_without_a_crash_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nemesis, "arm_crash", lambda *_: None)
    found = tally(PAIR)
    assert found.crashed == 0
    assert len(found.missed) == found.boundaries
    assert found.missed[0] == "p: before commit 1"


class Forgetful(BuiltinTarget):
    """Gives every attempt another key after a crash."""

    lives = 0

    def open(self, ports: Any) -> None:
        self.lives += 1
        key = "" if self.lives == 1 else "'"
        act = ports.act

        async def changed(call: Call) -> Any:
            return await act(Call(call.execution, call.step, call.attempt, call.kind, call.parameters, call.key + key))

        super().open(type(ports)(ports.loop, changed, ports.record, ports.max_concurrent_steps, ports.nemesis))


@pytest.mark.unmeasured
def test_what_does_not_recover_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines.targets.sqlite.sqlite", Forgetful)
    found = tally(PAIR)
    assert found.violated > 0
    text, sentence, told = found.failures[0]
    assert sentence.startswith("J3 ")
    assert any("crashes" in line for line in told)
    monkeypatch.setattr(crashes, "_tally_all", lambda *_: found)
    done = CliRunner().invoke(lockstep, ["crashes", "--dir", str(tmp_path), "--cases", "0"], standalone_mode=False)
    assert done.return_value == 1
    assert sentence in done.output
    kept = sorted((tmp_path / "cases").iterdir())
    assert kept
    assert all(f"lockstep replay {path}" in done.output for path in kept)
    assert json.loads(text)["machine"] == "recovery"


def test_the_command_counts(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    given = [str(REGRESSIONS[0]), "--cases", "1", "--seed", "1", "--workers", "1", "--json", str(out)]
    done = CliRunner().invoke(lockstep, ["crashes", *given], standalone_mode=False)
    assert done.return_value == 0, done.output
    assert "2 cases" in done.output
    assert "(100%), 0 violations" in done.output
    told = json.loads(out.read_text())
    assert told["cases"] == 2
    assert told["crashed"] == told["boundaries"] > 0
    assert told["failures"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere.json"], "CASE: nowhere.json: no such file"),
        (["--cases", "-1"], "-1 is not in the range x>=0"),
        (["--workers", "0"], "0 is not in the range x>=1"),
        (["--json", "/"], "--json /: is a directory"),
    ],
)
def test_bad_input_is_one_line(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["crashes", *given])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_a_crash_of_its_own_does_not_count_for_the_boundary() -> None:
    found = tally(program(Run(workflow(step("a"))), Crash()))
    assert found.crashed == found.boundaries > 0
