"""``make nightly``: a night's search, as long as it may last, and what came of it on one page.

Rule 1: each part is a command that anybody can give, in a process of its own; one that fails does not keep the others
from their turn, and makes the night red.
Rule 2: what a tester is worth is part of the night: planted bugs, other ones each night, must all be caught.
Rule 3: exit status 0 if every part is, else 1; 2 bad input.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from machines.bounds import a_number
from machines.given import refuse
from machines.reporting import counted, span

Json = Any

QUIET: Final = 0
RED: Final = 1
FUZZED: Final = "nightly.json"
SUMMARY: Final = "nightly.md"
_SHARE: Final = 0.7
"""Of the night, what the search gets; about as much as the rest takes."""
_BIRDS_AN_HOUR: Final = 60
_HOUR: Final = 3600
_MOVES_AN_HOUR: Final = 50_000_000
_TIMES_REAL_TIME: Final = 1000
_RAREST: Final = 15
_SENTENCE: Final = 300


@dataclass(frozen=True, slots=True)
class Part:
    """One of the night's commands."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it."""

    part: Part
    status: int
    seconds: float


def parts_of(hours: float, night: int, birds: Sequence[str], folder: str) -> list[Part]:
    """The night's commands, for so many hours. Which birds are planted goes by the night: all have their turn."""
    seconds = max(round(hours * _HOUR * _SHARE), 1)
    many = min(max(math.ceil(hours * _BIRDS_AN_HOUR), 1), len(birds))
    planted = [birds[(night * many + rank) % len(birds)] for rank in range(many)]
    only = tuple(word for name in dict.fromkeys(planted) for word in ("--only", name))
    out = str(Path(folder) / FUZZED)
    return [
        Part("search", ("fuzz", "--seconds", str(seconds), "--dir", folder, "--json", out)),
        Part("canary", ("canary", *only, "--dir", str(Path(folder) / "canary"))),
        Part("explore", ("explore", "--steps", "4" if hours >= 2 else "3")),  # noqa: PLR2004  # it takes 15 minutes
        Part("crashes", ("crashes", "--cases", str(max(round(500 * hours), 10)))),
    ]


def carry_out(parts: Sequence[Part], say: Callable[[str], None]) -> Iterator[Done]:
    """Carry out one after the other."""
    for part in parts:
        say(f"=== {part.name}: lockstep {' '.join(part.arguments)}")
        began = time.monotonic()
        status = subprocess.run([sys.executable, "-m", "machines.cli", *part.arguments], check=False).returncode
        yield Done(part, status, time.monotonic() - began)


# What came of it


def pace_of(report: Json) -> str:
    """How fast the search was, held against what an hour should bring."""
    seconds = max(report["wall_seconds"], 0.001)
    hourly, times = report["moves"] / seconds * _HOUR, report["virtual_seconds"] / seconds
    return (
        f"{report['moves']:,} moves in {seconds:,.0f} s, which is {hourly:,.0f} an hour"
        f" ({hourly / _MOVES_AN_HOUR:.0%} of {_MOVES_AN_HOUR:,}); lived {span(report['virtual_seconds'])},"
        f" {times:,.0f} times real time ({times / _TIMES_REAL_TIME:.0%} of {_TIMES_REAL_TIME:,});"
        f" {counted(report['played_again'], 'case')} played again in a fresh process"
    )


def summary_of(done: Sequence[Done], report: Json | None) -> Iterator[str]:
    """The night in Markdown: its parts, its pace, what was found, what was reached."""
    red = [each.part.name for each in done if each.status]
    yield from (f"# The night is {'red: ' + ', '.join(red) if red else 'green'}", "")
    yield from ("| part | exit status | seconds |", "| --- | ---: | ---: |")
    for each in done:
        yield f"| {each.part.name} | {each.status} | {each.seconds:,.0f} |"
    if report is None:
        yield from ("", "The search ended without a report.")
        return
    yield from ("", pace_of(report), "")
    yield from _findings(report)
    for machine, found in report["machines"].items():
        yield from _reach(machine, found, report["missing"])


def _findings(report: Json) -> Iterator[str]:
    found = [(f"{each['clause']}: {each['sentence']}", each) for each in report["failures"]]
    found += [(f"{each['kind']}: {each['message']}", each) for each in report["errors"]]
    yield from ("## Found", "")
    if not found:
        yield "Nothing."
    for title, each in found:
        yield f"- {_cell(title[:_SENTENCE])} ({counted(each['count'], 'time')})"
        if each["path"] is not None:
            yield from ("", f"      .venv/bin/lockstep replay {each['path']}", "")


def _reach(machine: str, found: Json, missing: Sequence[str]) -> Iterator[str]:
    """A machine's rarest situations; what was never reached comes first."""
    never = [name.removeprefix(f"{machine}: ") for name in missing if name.startswith(f"{machine}: ")]
    rarest = sorted(found["reach"].items(), key=lambda entry: (entry[1], entry[0]))[:_RAREST]
    yield from ("", f"## Reach of {machine}, in {counted(found['cases'], 'case')}", "")
    yield f"{counted(len(found['reach']), 'situation')} reached, {len(never)} expected and never reached. The rarest:"
    yield from ("", "| situation | cases |", "| --- | ---: |")
    for name in never:
        yield f"| {_cell(name)} | never |"
    for name, count in rarest:
        yield f"| {_cell(name)} | {count:,} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


@click.command()
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    callback=a_number,
    default=1.0,
    show_default=True,
    help="In all.",
)
@click.option("--dir", "folder", metavar="DIR", default=".lockstep", show_default=True, help="For all that is kept.")
def nightly(*, hours: float, folder: str) -> int:
    """Search for a night: all machines, planted bugs, all small workflows, crashes everywhere."""
    from machines.mutants import MUTANTS  # noqa: PLC0415  # nothing above needs them

    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / FUZZED).unlink(missing_ok=True)
    except OSError as error:
        refuse("--dir", folder, error.strerror)
    night = datetime.now(UTC).toordinal()
    done = list(carry_out(parts_of(hours, night, list(MUTANTS), folder), lambda line: click.echo(line, err=True)))
    out = place / FUZZED
    report = json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
    text = "\n".join(summary_of(done, report))
    (place / SUMMARY).write_text(f"{text}\n", encoding="utf-8")
    click.echo(text)
    return RED if any(each.status for each in done) else QUIET


def main() -> None:
    """Carry out the command line."""
    try:
        sys.exit(nightly.main(prog_name="make nightly", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"make nightly: {error.format_message()}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
