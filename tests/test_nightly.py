"""The night: its parts, its page, and an issue for each failure, with an executable in place of GitHub's `gh`."""

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from machines import nightly, telling
from machines.case import Case, Line, save
from machines.moves import Elapse, Run
from machines.nightly import Done, Part, pace_of, parts_of, summary_of
from machines.telling import body_of, mark_of, title_of

REPORT: dict[str, Any] = {
    "moves": 5_000_000,
    "wall_seconds": 360.0,
    "virtual_seconds": 720_000.0,
    "played_again": 12,
    "missing": ["lifecycle: a | b", "recovery: never seen"],
    "machines": {"lifecycle": {"cases": 7, "reach": {"common": 7, "rare": 1}}, "recovery": {"cases": 0, "reach": {}}},
    "failures": [{"clause": "F4", "sentence": "so <it> was", "count": 2, "path": ".lockstep/cases/x.json"}],
    "errors": [{"kind": "worker", "message": "worker 0 was ended by SIGKILL", "count": 1, "path": None}],
}

GH = """#!{python}
import json, pathlib, sys
log = pathlib.Path({log!r})
arguments = sys.argv[1:]
told = log.read_text().splitlines() if log.exists() else []
calls = [json.loads(line) for line in told]
if arguments[:2] == ["issue", "list"]:
    mark = arguments[arguments.index("--search") + 1].split()[0]
    opened = [call for call in calls if call["arguments"][1] == "create"]
    print(json.dumps([{{"number": n}} for n, call in enumerate(opened, 1) if mark in call["body"]]))
else:
    body = sys.stdin.read()
    if "forbidden" in body:
        sys.exit("HTTP 403: Resource not accessible")
    log.write_text("\\n".join([*told, json.dumps({{"arguments": arguments, "body": body}})]) + "\\n")
"""


def failing(sentence: str, *moves: Any) -> Case:
    return Case(tuple(map(Line, moves)), "F4", "newest_first", sentence, "0" * 64)


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands in for `gh` writes down what it is told."""
    log = tmp_path / "gh.log"
    command = tmp_path / "bin" / "gh"
    command.parent.mkdir()
    command.write_text(GH.format(python=sys.executable, log=str(log)))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    return log


def told(report: Path) -> tuple[int, str]:
    answer = CliRunner().invoke(telling.telling, [str(report)], standalone_mode=False)
    if answer.exception is not None:
        raise answer.exception
    return answer.return_value, answer.output


def written(folder: Path, *cases: Case) -> Path:
    found = [
        {"clause": case.clause, "sentence": case.sentence, "count": 3, "path": str(save(case, folder / f"{rank}.json"))}
        for rank, case in enumerate(cases)
    ]
    out = folder / "report.json"
    out.write_text(json.dumps({"failures": found}))
    return out


RAN = Run({"id": "w", "steps": [{"id": "a", "action": "work"}]})


class TestIssues:
    @pytest.mark.unmeasured
    def test_each_failure_opens_one_and_is_added_to_it_later(self, gh: Path, tmp_path: Path) -> None:
        one, other = failing("one", RAN), failing("other", RAN, Elapse(1.0))
        report = written(tmp_path, one, other)
        assert told(report) == (0, "opened: F4: one\nopened: F4: other\n")
        assert told(written(tmp_path, replace(one, sentence="one, in other words"))) == (
            0,
            "added to #1: F4: one, in other words\n",
        )
        calls = [json.loads(line) for line in gh.read_text().splitlines()]
        assert [call["arguments"][:2] for call in calls] == [
            ["issue", verb] for verb in ("create", "create", "comment")
        ]
        assert calls[0]["arguments"][2:] == ["--title", "F4: one", "--body-file", "-"]
        assert f"lockstep replay {tmp_path / '0.json'}" in calls[0]["body"]
        assert "Found 3 times" in calls[0]["body"]
        assert "F4" in calls[0]["body"].partition("```text")[2]
        assert mark_of(one) in calls[0]["body"]
        assert calls[2]["arguments"][2] == "1"

    def test_what_is_refused_keeps_no_other_from_its_turn(self, gh: Path, tmp_path: Path) -> None:
        lost = failing("lost", Elapse(5.0))
        report = written(tmp_path, failing("forbidden", RAN), lost, failing("other", RAN, Elapse(1.0)))
        (tmp_path / "1.json").unlink()
        (tmp_path / "0.json").rename(tmp_path / "forbidden.json")
        report.write_text(report.read_text().replace("0.json", "forbidden.json"))
        status, said = told(report)
        assert status == 1
        assert "not told: F4: forbidden: HTTP 403: Resource not accessible\n" in said
        assert "not told: F4: lost: " in said
        assert said.endswith("opened: F4: other\n")

    def test_without_gh_it_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert told(written(tmp_path, failing("one", RAN))) == (1, "not told: F4: one: there is no command gh\n")

    @pytest.mark.parametrize("text", ["{", "[]", "{}"])
    def test_what_is_no_report_is_bad_input(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(click.UsageError, match="is no report"):
            told(tmp_path / "report.json")

    def test_a_story_cannot_leave_its_block_and_a_title_is_one_line(self) -> None:
        case = failing("a\nb " + "c" * 300, RAN)
        assert "\n" not in title_of(case)
        assert len(title_of(case)) == 200
        body = body_of(case, Path("x.json"), 1, "before\n" + "`" * 12 + "\nafter")
        assert "Found 1 time in" in body
        assert body.count("`" * 12) == 2


class TestNight:
    def test_its_parts_fit_its_length(self) -> None:
        names = [f"bug{number}" for number in range(10)]
        parts = {part.name: part.arguments for part in parts_of(0.05, 3, names, "here")}
        assert list(parts) == ["search", "canary", "explore", "crashes"]
        assert parts["search"] == ("fuzz", "--seconds", "126", "--dir", "here", "--json", "here/nightly.json")
        assert parts["canary"][:6] == ("canary", "--only", "bug9", "--only", "bug0", "--only")
        assert parts["explore"] == ("explore", "--steps", "3")
        everything = {part.name: part.arguments for part in parts_of(4, 3, names, "here")}
        assert everything["canary"].count("--only") == 10
        assert everything["explore"] == ("explore", "--steps", "4")

    def test_its_page_says_what_was_found_and_what_was_not_reached(self) -> None:
        done = [Done(Part("search", ("fuzz",)), 1, 361.0), Done(Part("explore", ("explore",)), 0, 5.0)]
        text = "\n".join(summary_of(done, REPORT))
        assert text.startswith("# The night is red: search\n")
        assert "- F4: so &lt;it> was (2 times)" in text
        assert "      .venv/bin/lockstep replay .lockstep/cases/x.json" in text
        assert "- worker: worker 0 was ended by SIGKILL (1 time)" in text
        assert "| a \\| b | never |\n| rare | 1 |\n| common | 7 |" in text
        assert "| never seen | never |" in text
        quiet = "\n".join(summary_of(done[1:], {**REPORT, "failures": [], "errors": []}))
        assert quiet.startswith("# The night is green\n")
        assert "Nothing." in quiet
        assert "ended without a report" in "\n".join(summary_of(done, None))

    def test_its_pace_is_held_against_what_an_hour_should_bring(self) -> None:
        said = pace_of(REPORT)
        assert "50,000,000 an hour (100% of 50,000,000)" in said
        assert "8.3 days, 2,000 times real time (200% of 1,000)" in said

    @pytest.mark.parametrize("status", [0, 1])
    def test_one_part_that_fails_makes_it_red(
        self, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = tmp_path / "night"

        def carried_out(parts: list[Part], _: Any) -> list[Done]:
            (place / "nightly.json").write_text(json.dumps(REPORT))
            return [Done(part, status, 1.0) for part in parts]

        monkeypatch.setattr(nightly, "carry_out", carried_out)
        answer = CliRunner().invoke(nightly.nightly, ["--dir", str(place)], standalone_mode=False)
        assert answer.return_value == status
        assert (place / "nightly.md").read_text() == answer.stdout

    def test_a_part_is_a_command(self) -> None:
        said: list[str] = []
        (done,) = nightly.carry_out([Part("one", ("fuzz", "--seconds", "never"))], said.append)
        assert done.status == 2
        assert said == ["=== one: lockstep fuzz --seconds never"]

    def test_a_folder_that_is_none_is_bad_input(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        answer = CliRunner().invoke(nightly.nightly, ["--dir", str(tmp_path / "file")], standalone_mode=False)
        assert isinstance(answer.exception, click.UsageError)
