"""``make summary``: what is tested, by what, and what came of it, as one Markdown file.

Rule 1: each part is a function from what was measured to lines; measuring is done in one place, at the end.
Rule 2: what was not measured is said to be missing, never left out and never guessed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from machines.mutants import EXEMPT, MUTANTS
from machines.reach import LIFECYCLE
from model.invariants import INVARIANTS, Invariant

Json = Any

OUT: Final = ".lockstep/summary.md"
CANARY: Final = ".lockstep/canary.json"
BUGS: Final = "docs/bugs-found.md"

PROPERTY: Final = "property (Hypothesis)"
EXAMPLE: Final = "example"
INTEGRATION: Final = "integration"
KINDS: Final[Mapping[str, str]] = {
    "test_canary": "canary",
    "test_model_history": "model histories",
    "test_model_invariants": "model histories",
    "test_model_races": "model histories",
    "test_regressions": "regressions",
    "test_size": "size",
    **dict.fromkeys(
        (
            "test_campaign",
            "test_commands",
            "test_packaging",
            "test_running",
            "test_sqlite_journal",
            "test_targets",
            "test_workflow_engine",
            "test_world",
        ),
        INTEGRATION,
    ),
}
"""What the tests of a file are, unless Hypothesis draws their arguments or their folder says; others are examples."""


def coverage_lines(report: Json | None) -> Iterator[str]:
    """A row for each file, of what ``coverage json`` wrote."""
    yield from ("## Coverage", "")
    if report is None:
        yield "There is no coverage data: `make coverage` makes it."
        return
    files: Mapping[str, Json] = report["files"]
    yield from ("| file | statements | covered |", "| --- | ---: | ---: |")
    for name in sorted(files):
        yield _row(name, *_covered(files[name]["summary"]))
    yield _row("all", *_covered(report["totals"]))


def _covered(found: Json) -> tuple[int, str]:
    return found["num_statements"], f"{found['percent_covered']:.1f} %"


def kind_of(test: str, drawn: Iterable[str]) -> str:
    """What kind of test a collected one is; ``drawn`` are the names of its file's tests that are drawn."""
    file, *_, name = test.partition("[")[0].split("::")
    if name in drawn or name == "runTest":
        return PROPERTY
    if Path(file).parent.name == INTEGRATION:
        return INTEGRATION
    return KINDS.get(Path(file).stem, EXAMPLE)


def drawn_in(source: str) -> set[str]:
    """The functions of a file that Hypothesis draws arguments for."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {function.name for function in functions if any(map(_gives, function.decorator_list))}


def _gives(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "given"


def test_lines(counts: Mapping[str, int] | None) -> Iterator[str]:
    """A row for each kind of test."""
    yield from ("## Tests", "")
    if counts is None:
        yield "The tests could not be collected."
        return
    yield from ("| kind | tests |", "| --- | ---: |")
    for kind in sorted(counts):
        yield _row(kind, counts[kind])
    yield _row("all", sum(counts.values()))


def invariant_lines(invariants: Iterable[Invariant], canary: Json | None) -> Iterator[str]:
    """A row for each invariant, and the planted bugs that it caught, or has to catch if none were hunted."""
    yield from ("## Invariants", "")
    if canary is None:
        yield f"No report of a canary (`make canary JSON={CANARY}`): these are the bugs that each has to catch."
        birds = [(mutant.invariant, mutant.name, True) for mutant in MUTANTS.values()]
    else:
        yield f"The canary caught {canary['caught']} of {canary['mutants']} planted bugs."
        birds = [(catch["invariant"], catch["mutant"], not catch["faults"]) for catch in canary["catches"]]
    yield from ("", "| clauses | invariant | planted bugs |", "| --- | --- | --- |")
    for invariant in sorted(invariants, key=lambda found: (found.clauses, found.name)):
        mine = [name if caught else f"{name} (not caught)" for owner, name, caught in birds if owner == invariant.name]
        yield _row(", ".join(invariant.clauses), invariant.name, ", ".join(mine) or EXEMPT.get(invariant.name, "none"))


def bug_lines(text: str | None) -> Iterator[str]:
    """The headings of the list of bugs, false alarms apart."""
    yield from ("## Bugs found", "")
    if text is None:
        yield f"There is no {BUGS}."
        return
    bugs = text.partition("\n# ")[0]
    yield from (f"- {heading}" for heading in re.findall(r"^## (.+)$", bugs, re.MULTILINE))


def reach_lines(report: Json | None) -> Iterator[str]:
    """A row for each situation that is expected of the lifecycles."""
    yield from ("## Reach", "")
    if report is None:
        yield "The reach could not be measured."
        return
    found = report["machines"]["lifecycle"]
    yield from (f"In {found['cases']:,} cases of the lifecycle machine:", "")
    yield from ("| situation | cases |", "| --- | ---: |")
    for name in LIFECYCLE:
        yield _row(name, found["reach"].get(name, "never"))


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


# Measuring


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Carry out a module; pytest as it is by itself, whatever somebody likes to add to it."""
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run([sys.executable, "-m", *arguments], check=False, capture_output=True, text=True, env=env)


def _written(*arguments: str, option: str) -> Json | None:
    """The JSON that a command writes into a file, or None if it writes none."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.json"
        _run(*arguments, option, str(out))
        return _read(out)


def _read(path: Path) -> Json | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def collected(listing: str) -> Counter[str]:
    """Tests by kind, of what ``pytest --collect-only`` lists; the files are read for what is drawn."""
    tests = [line for line in listing.splitlines() if "::" in line]
    files = {test.partition("::")[0] for test in tests}
    drawn = {file: drawn_in(Path(file).read_text(encoding="utf-8")) for file in sorted(files)}
    return Counter(kind_of(test, drawn[test.partition("::")[0]]) for test in tests)


@click.command()
@click.option("--canary", default=CANARY, show_default=True, help="The JSON of `lockstep canary`.")
@click.option("--reach", help="The JSON of `lockstep reach`.  [default: 200 cases are played]")
@click.option("--out", default=OUT, show_default=True, help="The file to write.")
def summary(canary: str, reach: str | None, out: str) -> None:
    """Write a summary of what is tested and what came of it, and print its path."""
    covered = _written("coverage", "json", "--quiet", option="-o") if Path(".coverage").exists() else None
    listing = _run("pytest", "--collect-only", "-q")
    reached = _read(Path(reach)) if reach else _written("machines.cli", "reach", "--cases", "200", option="--json")
    bugs = Path(BUGS)
    parts = (
        coverage_lines(covered),
        test_lines(collected(listing.stdout) if not listing.returncode else None),
        invariant_lines(INVARIANTS.values(), _read(Path(canary))),
        bug_lines(bugs.read_text(encoding="utf-8") if bugs.exists() else None),
        reach_lines(reached),
    )
    text = "\n\n".join(("# Summary", *("\n".join(part) for part in parts)))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(f"{text}\n", encoding="utf-8")
    click.echo(out)


if __name__ == "__main__":
    summary()
