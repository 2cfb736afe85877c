"""Replay is exact: a few cases in a few processes here, a thousand on every Python in ``make exact``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import click
import pytest

from machines import exact as module
from machines.case import replay, to_text
from machines.exact import Play, collected, exact, played
from machines.fresh import NOTHING, fresh_ones
from machines.interpreters import EnvironmentTrouble, Interpreter, environment, interpreters

HERE: Final = Interpreter(sys.version.split()[0], Path(sys.executable))


def carried_out(*arguments: str | Path) -> int:
    status: int = exact.main([str(argument) for argument in arguments], standalone_mode=False)
    return status


@pytest.mark.unmeasured
def test_the_same_case_makes_the_same_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--cases", "16", "--processes", "2", "--hash-seeds", "2", "--python", sys.executable)
    assert carried_out(*few, "--dir", tmp_path / "exact") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "mismatches: 0"
    assert f"1 Python ({HERE.version}) x 2 hash seeds x 2 processes: 64 histories in " in out
    assert err.count(": 0 mismatches in ") == 4
    assert [path.name for path in (tmp_path / "exact").iterdir()] == ["cases.jsonl"]


def test_there_are_cases_of_all_kinds() -> None:
    cases = collected(24, 7)
    assert len(cases) == 24
    assert {case.machine for case in cases} == {"lifecycle", "concurrency", "definitions", "recovery", "service"}
    assert {case.clause == NOTHING for case in cases} == {True, False}
    assert any(case.why for case in cases)
    assert any(case.target.startswith("machines.mutants:") for case in cases)
    assert [case.digest for case in collected(24, 7)] == [case.digest for case in cases]


def test_the_order_changes_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = collected(10, 1)
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(f"{json.dumps(json.loads(to_text(case)))}\n" for case in cases), encoding="utf-8")
    digests = [case.digest for case in cases]
    assert [played(file, order) for order in range(3)] == [digests] * 3
    assert carried_out("--play", file, "--order", "1") == 0
    assert json.loads(capsys.readouterr().out) == digests


def test_another_history_is_a_mismatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = collected(3, 1)
    monkeypatch.setattr(module, "collected", lambda *_: [real[0], replace(real[1], digest="0" * 64), real[2]])
    few = ("--cases", "3", "--processes", "1", "--hash-seeds", "1", "--python", sys.executable)
    assert carried_out(*few, "--dir", tmp_path) == 1
    out = capsys.readouterr().out
    assert f"Python {HERE.version}, hash seed 0, process 1: case 2 of {real[1].target}, {real[1].machine}: " in out
    assert out.splitlines()[-1] == "mismatches: 1"


def test_a_python_that_cannot_take_part_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> Path:
        message = "no room"
        raise EnvironmentTrouble(message)

    monkeypatch.setattr(module, "environment", none)
    assert carried_out("--cases", "1", "--python", sys.executable, "--dir", tmp_path) == 1
    assert f"Python {HERE.version} cannot take part: no room\n" in capsys.readouterr().out


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"Python .*, hash seed 1, process 2: .*nowhere"):
        Play(HERE, HERE.path, 1, 1).digests(tmp_path / "nowhere")


@pytest.mark.parametrize("given", [["/bin/true"], ["nowhere"], [sys.executable, sys.executable, "/bin/true"]])
def test_what_is_no_python_is_refused(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"is no CPython from 3.11 up"):
        carried_out("--dir", tmp_path, *(part for path in given for part in ("--python", path)))


def test_bad_input_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["exact", "--cases", "0"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("make exact: Invalid value for '--cases'")


# The Pythons of a machine

FAKE: Final = """#!/bin/sh
case "$*" in
*platform*) echo '{answer}' ;;
"-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
*install*) {pip} ;;
esac
"""


def fake(path: Path, *answer: Any, free: bool = False, pip: str = "echo once >> {0}/calls") -> Path:
    """A Python that only says which one it is, and pretends to make environments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = json.dumps([*answer, free]) if answer else "I am a snake"
    path.write_text(FAKE.format(answer=told, pip=pip.format(path.parent)), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_every_cpython_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fake(first / "python3.11", "CPython", [3, 11], "3.11.9", "/first/3.11")
    fake(first / "python3.11-config", "CPython", [3, 11], "3.11.8", "/not/this")
    fake(second / "python3", "CPython", [3, 11], "3.11.9", "/second/3.11")
    fake(second / "python3.9", "CPython", [3, 9], "3.9.1", "/too/old")
    fake(second / "python3.10", "PyPy", [3, 11], "3.11.3", "/another/kind")
    fake(second / "python3.13", "CPython", [3, 13], "3.13.1", "/without/a/gil", free=True)
    fake(second / "python3.12")
    fake(tmp_path / "pyenv/versions/3.14.0/bin/python3", "CPython", [3, 14], "3.14.0", "/pyenv")
    fake(tmp_path / "uv/cpython/bin/python3", "CPython", [3, 12], "3.12.10", "/uv")
    fake(tmp_path / "ci/Python/3.12.2/x64/bin/python3", "CPython", [3, 12], "3.12.2", "/ci")
    monkeypatch.setenv("PATH", f"{first}:{second}:/bin:{tmp_path / 'nowhere'}")
    for variable, folder in (("PYENV_ROOT", "pyenv"), ("UV_PYTHON_INSTALL_DIR", "uv"), ("AGENT_TOOLSDIRECTORY", "ci")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    found = {each.version: str(each.path) for each in interpreters()}
    mine = {version: path for version, path in found.items() if not path.startswith(("/usr", "/bin"))}
    assert mine == {"3.11.9": "/first/3.11", "3.12.2": "/ci", "3.12.10": "/uv", "3.14.0": "/pyenv"}
    assert [version for version in found if version in mine] == list(mine)


def test_this_python_needs_no_environment(tmp_path: Path) -> None:
    (found,) = interpreters([Path(sys.executable)])
    assert found.version == HERE.version
    assert environment(found, tmp_path, tmp_path / "nowhere") == Path(sys.executable)
    assert os.listdir(tmp_path) == []  # noqa: PTH208  # to see all of it


def test_an_environment_is_built_once_for_each_lock(tmp_path: Path) -> None:
    (other,) = interpreters([fake(tmp_path / "python3", "CPython", [3, 99], "3.99.0", str(tmp_path / "python3"))])
    lock = tmp_path / "requirements.lock"
    built = tmp_path / "in" / "python-3.99.0"
    for text in ("a==1", "a==1", "a==2"):
        lock.write_text(text, encoding="utf-8")
        assert environment(other, tmp_path / "in", lock) == built / "bin" / "python"
        assert (built / ".installed").read_text(encoding="utf-8") == text
    assert (tmp_path / "calls").read_text(encoding="utf-8").count("once") == 2


def test_an_environment_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    answer = ("CPython", [3, 99], "3.99.0", str(tmp_path / "python3"))
    (other,) = interpreters([fake(tmp_path / "python3", *answer, pip="echo some words; echo the reason >&2; exit 1")])
    (tmp_path / "requirements.lock").touch()
    with pytest.raises(EnvironmentTrouble, match="python pip: some words"):
        environment(other, tmp_path / "in", tmp_path / "requirements.lock")
    assert not (tmp_path / "in" / "python-3.99.0" / ".installed").exists()


# Where the fresh ones come from


@pytest.mark.unmeasured
def test_a_fresh_case_against_a_planted_bug_may_fail() -> None:
    for case in fresh_ones(0, repeat("machines.mutants:rolled_back_by_definition"), moves=12):
        if case.clause != NOTHING:
            break
    outcome = replay(case)
    assert (outcome.status, outcome.digest) == (1, case.digest)


def test_what_breaks_more_than_the_contract_is_left_out_of_planted_bugs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(machine: str, target: str, *_: object) -> str:
        if machine == "recovery":
            raise KeyError(target)
        return machine

    monkeypatch.setattr("machines.fresh.fresh", broken)
    assert len(list(fresh_ones(0, ["machines.mutants:busy_is_done"] * 2))) == 8
    with pytest.raises(KeyError, match="builtin"):
        list(fresh_ones(0, ["builtin"]))
