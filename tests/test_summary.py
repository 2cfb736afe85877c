"""The summary: each part says what was measured, and that nothing was where nothing was."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from machines import summary
from machines.mutants import EXEMPT, MUTANTS
from model.invariants import INVARIANTS

REACH = {"machines": {"lifecycle": {"cases": 1200, "reach": {"an execution started": 1100}}}}


def test_coverage_is_told_by_file() -> None:
    found = {"num_statements": 40, "percent_covered": 97.25}
    lines = list(summary.coverage_lines({"files": {"b.py": {"summary": found}}, "totals": found}))
    assert lines[-2:] == ["| b.py | 40 | 97.2 % |", "| all | 40 | 97.2 % |"]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (summary.coverage_lines, "There is no coverage data: `make coverage` makes it."),
        (summary.test_lines, "The tests could not be collected."),
        (summary.bug_lines, "There is no docs/bugs-found.md."),
        (summary.reach_lines, "The reach could not be measured."),
    ],
)
def test_what_was_not_measured_is_said(part: object, sentence: str) -> None:
    assert callable(part)
    assert list(part(None))[-1] == sentence


def test_tests_are_counted_by_kind(tmp_path: Path) -> None:
    file = tmp_path / "test_canary.py"
    file.write_text("@given(x=1)\ndef test_a(x): ...\n@other\n@given.never\ndef test_b(): ...\n")
    listing = f"{file}::test_a\n{file}::TestIt::test_b[a::b]\n{file}::Machine::runTest\n\n3 tests collected\n"
    counts = summary.collected(listing)
    assert counts == {summary.PROPERTY: 2, "canary": 1}
    assert list(summary.test_lines(counts))[-3:] == ["| canary | 1 |", "| property (Hypothesis) | 2 |", "| all | 3 |"]


def test_a_folder_may_say_the_kind() -> None:
    assert summary.kind_of("tests/integration/test_a.py::test_b", ()) == "integration"


def test_every_file_that_has_a_kind_is_there() -> None:
    assert not [name for name in summary.KINDS if not (Path(__file__).parent / f"{name}.py").exists()]


def test_without_a_canary_every_invariant_names_what_it_has_to_catch() -> None:
    text = "\n".join(summary.invariant_lines(INVARIANTS.values(), None))
    assert all(name in text for name in (*INVARIANTS, *MUTANTS, *EXEMPT.values()))
    assert "| none |" not in text


def test_with_a_canary_it_is_said_what_was_caught() -> None:
    invariant = INVARIANTS["cancel_accepted"]
    catches = [
        {"invariant": "cancel_accepted", "mutant": "one", "faults": []},
        {"invariant": "cancel_accepted", "mutant": "two", "faults": ["too late"]},
    ]
    lines = list(summary.invariant_lines([invariant], {"caught": 1, "mutants": 2, "catches": catches}))
    assert "The canary caught 1 of 2 planted bugs." in lines
    assert lines[-1] == f"| {', '.join(invariant.clauses)} | cancel_accepted | one, two (not caught) |"


def test_bugs_are_listed_and_false_alarms_are_not() -> None:
    text = "# Bugs found\n\n## One\n\ntext\n\n## Two\n\n# False alarms\n\n## Three\n"
    assert list(summary.bug_lines(text))[-2:] == ["- One", "- Two"]


def test_reach_names_what_was_never_reached() -> None:
    lines = list(summary.reach_lines(REACH))
    assert "In 1,200 cases of the lifecycle machine:" in lines
    assert "| an execution started | 1100 |" in lines
    assert "| three steps completed | never |" in lines


def test_it_is_written_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n")
    (tmp_path / "reach.json").write_text(json.dumps(REACH))
    result = CliRunner().invoke(summary.summary, ["--reach", "reach.json", "--out", "there/summary.md"])
    assert (result.exit_code, result.output) == (0, "there/summary.md\n")
    text = (tmp_path / "there" / "summary.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# Summary", "## Coverage", "## Tests", "## Invariants", "## Bugs found", "## Reach"]
    assert "| example | 1 |" in text
