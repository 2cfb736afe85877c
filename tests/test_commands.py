"""The commands fuzz, replay and reach: a bug is found, told, kept and replayed; bad input is one line."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machines import registry
from machines.cli import main

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"

PLANTED = '''
import engine.state, engine.state_manager, engine.transitions
import machines.searching
from engine.messages import StepCompleted
from machines.targets.builtin import BuiltinTarget

machines.searching.BUDGET = 20_000
apply = engine.state.apply


def oldest_first(state, event):
    """F4, wrong: what completed first is undone first."""
    apply(state, event)
    if isinstance(event, StepCompleted) and state.undoable[-1:] == [state.workflow.index[event.step]]:
        state.undoable.insert(0, state.undoable.pop())


def wrong_rollback():
    engine.state.apply = engine.state_manager.apply = engine.transitions.apply = oldest_first
    return BuiltinTarget()


class Liar(BuiltinTarget):
    async def cancel(self, execution):
        await super().cancel(execution)
        return True


class Crashing(BuiltinTarget):
    def report(self, execution):
        raise KeyError(execution)

'''

"""Engines with planted bugs; what is found in them is made small in less time than it is for others."""

WRONG = "planted_commands:wrong_rollback"

ENDLESS = """
from pathlib import Path

import machines.campaign
from machines.targets.builtin import BuiltinTarget

machines.campaign.GRACE = machines.campaign.SILENCE = 1e6


class Endless(BuiltinTarget):
    async def pause(self, execution):
        Path("reached").write_text("here")
        while True:
            pass
"""
"""An engine that hangs, says so to whoever reads the pipe, and is left alone by its campaign."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with engines of one's own."""
    (tmp_path / "planted_commands.py").write_text(PLANTED)
    (tmp_path / "planted_endless.py").write_text(ENDLESS)
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def lockstep(place: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "machines.cli", *arguments]
    return subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=False, timeout=200, env=environment(**changes)
    )


def whole(found: subprocess.CompletedProcess[str]) -> str:
    """All that a command has said: a failure that does not come again is known by this alone."""
    return f"{found.stdout}\n{found.stderr}"


@contextmanager
def begun(place: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A search that goes on until it is told to end; what it prints goes to a file, so that nobody need read it."""
    command = [sys.executable, "-m", "machines.cli", "fuzz", "--seconds", "100000", *arguments]
    with (
        (place / "stdout").open("w") as stdout,
        subprocess.Popen(
            command,
            cwd=place,
            env=environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its workers too


def wait_until_said(process: subprocess.Popen[str], pattern: str) -> None:
    """Read what a search says on its standard error, up to a line that has this; it must come."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError("".join(lines))


def report(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# A bug, from its finding to its replay


@pytest.mark.unmeasured
def test_a_wrong_rollback_is_found_told_and_replayed(place: Path) -> None:
    found = lockstep(
        place, "fuzz", "--cases", "60", "--workers", "1", "--machine", "lifecycle", "--seed", "5",
        "--target", WRONG, "--json", "report.json", PYTHONHASHSEED="1", CI="true",
    )  # fmt: skip
    assert found.returncode == 1, whole(found)
    told = report(place / "report.json")
    assert told["errors"] == []
    failures = [failure for failure in told["failures"] if failure["clause"] == "F4"]
    assert failures
    assert {"clause", "invariant", "sentence", "moves", "count", "path", "reorder_only"} == failures[0].keys()
    assert sum(failure["count"] for failure in told["failures"]) >= 2
    for failure in failures:
        assert len(failure["moves"]) <= 5
        assert not failure["reorder_only"]
        assert failure["sentence"] in found.stdout
        assert f"lockstep replay {failure['path']} --target {WRONG}" in found.stdout
        digest = report(place / failure["path"])["digest"]
        again = lockstep(
            place, "replay", failure["path"], "--target", WRONG, "--json", "again.json", PYTHONHASHSEED="4711"
        )
        assert again.returncode == 1, again.stderr
        (outcome,) = report(place / "again.json")["outcomes"]
        assert (outcome["status"], outcome["digest"], outcome["moves"]) == (1, digest, failure["moves"])
        lines = again.stdout.splitlines()
        assert lines[0] == f"F4 ({failure['invariant']}): {failure['sentence']}"
        assert lines[1] == f"  1. {failure['moves'][0]}"
        assert lines[-2] == f"  lockstep replay {failure['path']} --target {WRONG}"
        assert "the history is the recorded one" in lines[-1]
        clean = lockstep(place, "replay", failure["path"], "--target", "builtin")
        assert clean.returncode == 0
        assert clean.stdout.startswith("the contract holds\n")


@pytest.mark.unmeasured
def test_the_same_seed_finds_the_same(place: Path) -> None:
    arguments = ("fuzz", "--cases", "30", "--workers", "1", "--seed", "8", "--json")
    first = lockstep(place, *arguments, "first.json", PYTHONHASHSEED="3")
    second = lockstep(place, *arguments, "second.json", PYTHONHASHSEED="4")
    assert (first.returncode, second.returncode) == (0, 0), whole(first) + whole(second)
    assert "nothing found" in first.stdout
    assert "seed 8" in first.stdout
    keys = ("cases", "moves", "reach", "machines", "seed", "failures", "errors")
    told = report(place / "first.json")
    assert {key: told[key] for key in keys} == {key: report(place / "second.json")[key] for key in keys}
    assert told["cases"] >= 30
    assert told["cpu_seconds"] > 0
    assert told["wall_seconds"] > 0


@pytest.mark.unmeasured
def test_an_error_of_the_harness_is_said_to_be_one(place: Path) -> None:
    found = lockstep(
        place, "fuzz", "--cases", "10", "--workers", "1", "--target", "planted_commands:Crashing", "--json", "out.json",
        "--seed", "3",
    )  # fmt: skip
    assert found.returncode == 1
    assert "\nharness error: KeyError: 'x1' (" in found.stdout
    told = report(place / "out.json")
    assert told["failures"] == []
    (error, *_) = told["errors"]
    assert "Traceback" in error["details"]
    again = lockstep(place, "replay", error["path"], "--target", "planted_commands:Crashing")
    assert again.returncode == 2
    assert re.fullmatch(r"lockstep replay: \S+: cannot be carried out: move 1 raised KeyError: 'x1'\n", again.stderr)


def test_a_workflow_of_ones_own(place: Path) -> None:
    found = lockstep(
        place, "fuzz", "--cases", "12", "--workers", "1", "--workflow", str(DATA / "wfformat-diamond.json"),
        "--seed", "3", "--json", "out.json",
    )  # fmt: skip
    assert found.returncode == 0, whole(found)
    assert "a workflow of your own" in found.stderr
    told = report(place / "out.json")
    assert list(told["machines"]) == ["lifecycle"]
    assert told["missing"] == []
    assert told["reach"]["step RUNNING -> COMPLETED"] > 6


@pytest.mark.unmeasured
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_is_interrupted_tells_what_it_has(place: Path, number: signal.Signals) -> None:
    arguments = ("--workers", "2", "--seed", "3", "--json", "out.json", "--target", "planted_commands:Liar")
    with begun(place, *arguments) as process:
        wait_until_said(process, r"\d failures? \(")
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait() == 1
    stdout = (place / "stdout").read_text()
    assert "interrupted" in stdout
    assert "Traceback" not in stdout + rest
    told = report(place / "out.json")
    assert told["interrupted"]
    assert told["errors"] == []
    assert told["failures"]


def test_a_second_interrupt_does_not_wait(place: Path) -> None:
    os.mkfifo(place / "reached")
    with begun(place, "--workers", "1", "--seed", "3", "--target", "planted_endless:Endless") as process:
        assert (place / "reached").read_text() == "here"
        process.send_signal(signal.SIGINT)
        wait_until_said(process, "interrupted, ending$")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read().endswith("lockstep fuzz: interrupted\n")
        assert process.wait() == 130


def test_progress_is_told_while_it_goes_on(place: Path) -> None:
    found = lockstep(place, "fuzz", "--seconds", "7", "--workers", "1", "--seed", "3")
    assert found.returncode == 0, whole(found)
    assert re.search(
        r"^\d+ s, \d+ cases?, \d+ moves/s, lived .*x\), [\d,]+ new, reach \d+ of \d+,"
        r"( [\d,]+ of [\d,]+ branches of the engine,)? no failure$",
        found.stderr,
        flags=re.MULTILINE,
    )


def test_a_terminal_sees_a_line_that_changes(place: Path) -> None:
    found = lockstep(
        place, "fuzz", "--seconds", "2", "--workers", "1", "--seed", "3",
        FORCE_COLOR="1", TTY_COMPATIBLE="1", COLUMNS="200",
    )  # fmt: skip
    assert found.returncode == 0, whole(found)
    assert "moves/s" in found.stderr


# Replays


CASE: dict[str, Any] = {
    "format": 1,
    "target": "builtin",
    "machine": "lifecycle",
    "settings": {"max_concurrent_steps": 2},
    "clause": "J2",
    "invariant": "durable_before_the_answer",
    "sentence": "cancel (command 2) of x1 was answered True",
    "digest": "0",
    "moves": [
        {"move": "Run", "workflow": {"id": "w", "steps": [{"id": "a", "action": "work"}]}, "manners": {"a": "instant"}},
        {"move": "Cancel", "execution": "x1", "tape": {"latencies": "88"}},
        {"move": "Elapse", "seconds": 1},
    ],
}


def call(*arguments: str) -> int:
    """Carry out a command line in this process."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_each_outcome_has_its_exit_status(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(registry, "_OURS", ("builtin", "planted_commands:Liar"))
    (place / "good.json").write_text(json.dumps(CASE))
    liar = {**CASE, "target": "planted_commands:Liar", "reorder_only": True}
    (place / "bad.json").write_text(json.dumps(liar))
    (place / "other.json").write_text(json.dumps({**liar, "clause": "F4"}))
    (place / "broken.json").write_text("{}")
    assert call("replay", "good.json") == 0
    told = capsys.readouterr().out
    assert told.startswith("the contract holds\n  1. run a")
    assert "  2. cancel x1   <~ latency" in told
    assert "recorded was J2 (durable_before_the_answer): cancel" in told
    assert call("replay", "bad.json") == 1
    assert "reorder only" in capsys.readouterr().out
    assert call("replay", "other.json") == 3
    assert "violated in another way; the history is not the recorded one" in capsys.readouterr().out
    assert call("replay", "good.json", "bad.json") == 1
    assert call("replay", "bad.json", "other.json", "good.json") == 3
    capsys.readouterr()
    assert call("replay", "bad.json", "broken.json", "other.json", "--json", "out.json") == 2
    told, errors = capsys.readouterr()
    assert told.count("lockstep replay ") == 2
    assert errors.startswith("lockstep replay: broken.json: a damaged case: format must be 1; ")
    assert [outcome["status"] for outcome in report(place / "out.json")["outcomes"]] == [1, 2, 3]
    assert call("replay", "good.json", "--target", "planted_commands:Liar") == 1
    assert "--target planted_commands:Liar" in capsys.readouterr().out


def test_what_a_case_names_is_not_imported(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (place / "trap.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    for target in ("trap:make", "os:abort", "machines.mutants:planting.os.abort", "machines.mutants:nobody"):
        (place / "strange.json").write_text(json.dumps({**CASE, "target": target}))
        for command in ("replay", "story"):
            assert call(command, "strange.json") == 2
            told = capsys.readouterr().err
            assert f"it names the target {target}, which is not one of Lockstep's" in told
            assert told.count("\n") == 1
    assert not (place / "sprung").exists()


# Reach


def test_reach_names_what_was_missed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert call("reach", "--cases", "8", "--json", "out.json") == 1
    told = capsys.readouterr().out
    assert "not reached as expected:" in told
    missed = report(place / "out.json")["missed"]
    assert missed
    assert all(f"  {sentence}\n" in told for sentence in missed)
    assert re.search(r"^  an execution started +\d+ +\d+\.\d%$", told, flags=re.MULTILINE)
    assert re.search(r"^! .* never$", told, flags=re.MULTILINE)
    assert re.search(r"^lifecycle, in \d+ cases, the rarest 10 of \d+:$", told, flags=re.MULTILINE)
    assert re.search(r"^lifecycle wasted \d+\.\d% of its cases: ", told, flags=re.MULTILINE)
    assert report(place / "out.json")["machines"]["lifecycle"]["waste"]["moves"] > 100


def test_reach_is_content_once_everything_was_reached(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("machines.reach.missed", lambda *_: [])
    monkeypatch.setattr("machines.reach.too_wasteful", lambda *_: [])
    assert call("reach", "--cases", "2") == 0
    assert "everything expected was reached" in capsys.readouterr().out


# Bad input

BAD = {
    "no time": (["fuzz", "--seconds", "0"], "--seconds: must be more than 0 and finite, not 0"),
    "less than no time": (["fuzz", "--seconds=-5"], "--seconds: must be more than 0 and finite, not -5"),
    "no number of seconds": (["fuzz", "--seconds", "soon"], "--seconds: 'soon' is not a number"),
    "endless": (["fuzz", "--seconds", "inf"], "--seconds: must be more than 0 and finite, not inf"),
    "not a number": (["fuzz", "--seconds", "nan"], "--seconds: must be more than 0 and finite, not nan"),
    "both bounds": (["fuzz", "--seconds", "1", "--cases", "1"], "--seconds and --cases: give one of them"),
    "no cases": (["fuzz", "--cases", "0"], "'--cases'"),
    "no workers": (["fuzz", "--workers", "0"], "--workers: must be all, or a sensible number of processes, not '0'"),
    "some workers": (["fuzz", "--workers", "some"], "--workers: must be all, or"),
    "very many workers": (["fuzz", "--workers", "100000"], "--workers: must be all, or"),
    "an unknown machine": (["fuzz", "--machine", "steam"], "--machine: there is no machine steam; there is lifecycle"),
    "a bad seed": (["fuzz", "--seed", "-1"], "'--seed'"),
    "no workflow": (["fuzz", "--workflow", "nowhere.json"], "--workflow: nowhere.json: No such file or directory"),
    "a bad workflow": (["fuzz", "--workflow", "planted_commands.py"], "--workflow: planted_commands.py: not JSON"),
    "a cyclic workflow": (["fuzz", "--workflow", "cycle.json"], "--workflow: cycle.json: .*a"),
    "a workflow and another machine": (
        ["fuzz", "--workflow", "cycle.json", "--machine", "definitions"],
        "--workflow: only the lifecycle machine takes a workflow",
    ),
    "no target": (["fuzz", "--target", "nowhere:make"], "--target: there is no module nowhere"),
    "a bad target": (["fuzz", "--target", "planted_commands:PLANTED"], "the module planted_commands has no PLANTED"),
    "a directory that is a file": (["fuzz", "--dir", "planted_commands.py"], "--dir: planted_commands.py: "),
    "a report that is a directory": (["fuzz", "--json", "."], r"--json \.: is a directory"),
    "a report nowhere": (["fuzz", "--json", "no/out.json"], "--json no/out.json: there is no directory no"),
    "an unknown option": (["fuzz", "--fast"], "No such option '--fast'"),
    "no case": (["replay"], "Missing argument 'PATH...'"),
    "a case that is not there": (["replay", "nowhere.json"], "nowhere.json: no such file"),
    "a case that is none": (["replay", "planted_commands.py"], "planted_commands.py: not JSON: .*line 2, column 1"),
    "a target for a case": (["replay", "nowhere.json", "--target", "x"], "--target: a target is builtin or"),
    "no cases to reach": (["reach", "--cases", "none"], "'--cases'"),
    "no machine to reach": (["reach", "--machine", "steam"], "--machine: there is no machine steam"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    loop = {"id": "w", "steps": [{"id": "a", "action": "x", "depends_on": ["a"]}]}
    (place / "cycle.json").write_text(json.dumps(loop))
    assert call(*arguments) == 2
    told, errors = capsys.readouterr()
    assert told == ""
    assert re.fullmatch(rf"lockstep {arguments[0]}: .*{message}.*\n", errors), errors
