"""``lockstep cases``: the counterexamples that stay. What is kept is replayed by every ``make test``, and must hold.

Rule 1: a case is kept with a reason, as a file of its own name in one directory: whole, once, and over nothing else.
Rule 2: a case is carried out before it is kept, and it is said what came of it. It may be kept before its bug is fixed.
Rule 3: of ``cases`` exit status 0 they are listed, 2 bad input, a case that cannot be read included; of ``cases keep``
that of a replay: 0 it is kept and holds, 1 and 3 it is kept and still violated, 2 it is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from machines.bounds import OutOfTime, bounded, seconds_for_a_case
from machines.course import one_line
from machines.given import check_out, refuse, target_named, write_out
from machines.reporting import counted

if TYPE_CHECKING:
    from machines.case import Case, Outcome

Json = Any

LISTED: Final = 0
UNREADABLE: Final = 2
HERE: Final = "tests/regressions"
TOLD_IN: Final = Path("docs/bugs-found.md")
_LONGEST: Final = 400
_HEAD: Final = ("clause", "invariant", "moves", "deviations", "to be sure", "age", "case")
_NUMBERS: Final = ("moves", "deviations", "to be sure")
_SAID: Final = {
    0: "the contract holds",
    1: "it is still violated, as recorded: the tests that replay it are red until that is fixed",
    3: "it is violated in another way than recorded: the tests that replay it are red until that is fixed",
}


@click.group(invoke_without_command=True)
@click.option("--dir", "directory", metavar="DIR", default=HERE, show_default=True, help="Where they are kept.")
@click.option("--json", "out", metavar="OUT", help="Write the list to this file as JSON.")
@click.pass_context
def cases(ctx: click.Context, *, directory: str, out: str | None) -> int:
    """List the cases that are kept as regressions: clause, size, age, and why. `keep` adds one.

    "To be sure" is how many cases of its machine without a failure make it 99 % sure that the fix holds.

    Exit status: 0, or 2 for bad input, a case that cannot be read included.
    """
    ctx.obj = directory
    if ctx.invoked_subcommand is not None:
        if out is not None:
            refuse("--json", "is for the list, and takes no other command")
        return LISTED
    check_out(out)
    readable, damaged = _kept_in(_directory(directory))
    today = _today()
    click.echo(f"{counted(len(readable), 'case')} in {directory}")
    rows = [_row(path, case, today) for path, case in readable.items()]
    for line in _table(rows, [case.why for case in readable.values()]):
        click.echo(line)
    for message in damaged:
        click.echo(f"lockstep cases: {one_line(message)}", err=True)
    write_out(out, {"cases": [_json_of(path, case) for path, case in readable.items()], "damaged": damaged})
    return UNREADABLE if damaged else LISTED


@cases.command()
@click.argument("path", metavar="CASE")
@click.option("--why", metavar="TEXT", required=True, help="What it is a case of, for whoever meets it in a year.")
@click.option("--dir", "directory", metavar="DIR", help=f"Where to keep it.  [default: {HERE}]")
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the recorded one.")
@seconds_for_a_case
@click.pass_obj
def keep(given: str, *, path: str, why: str, directory: str | None, target: str | None, seconds: float) -> int:
    """Keep CASE as a regression: `lockstep cases keep .lockstep/cases/F4-...json --why "..."`.

    It is best kept in the change that fixes its bug. Exit status: 0 it is kept and the contract holds, 1 it is kept and
    still violated as recorded, 3 in another way, 2 it is not kept.
    """
    from machines.case import CaseError, load, save  # noqa: PLC0415  # the other commands need none of this

    place = _directory(directory or given)
    reason = _reason(why)
    try:
        case = load(Path(path))
        _refuse_useless(path, case, place)
        with bounded(seconds):
            outcome = _carried_out(case, target)
        kept = replace(case, why=reason, kept_on=_today().isoformat(), digest=case.digest or outcome.digest)
        file = save(kept, place / kept.file_name, anew=True)
    except (CaseError, OutOfTime) as error:
        refuse(str(error) if str(error).startswith((path, "cannot write")) else f"{path}: {error}")
    click.echo(f"kept as {file}: {_SAID[outcome.status]}")
    if TOLD_IN.exists():
        click.echo(f"now tell it in {TOLD_IN}, by that name")
    return outcome.status


def _today() -> date:
    return datetime.now(UTC).date()


def _directory(name: str) -> Path:
    path = Path(name)
    if not path.is_dir():
        refuse(f"there is no directory {name}: name the one where cases are kept with --dir")
    return path


# Listing


def _kept_in(directory: Path) -> tuple[dict[Path, Case], list[str]]:
    """The cases of a directory by their files, in the order of clauses; and what is wrong with those that are none."""
    from machines.case import CaseError, load  # noqa: PLC0415  # as above

    readable, damaged = {}, []
    for path in sorted(directory.glob("*.json")):
        try:
            readable[path] = load(path)
        except CaseError as error:
            damaged.append(str(error))
    return readable, damaged


def _row(path: Path, case: Case, today: date) -> dict[str, str]:
    from machines.findability import needed  # noqa: PLC0415  # as above

    age = "-" if not case.kept_on else _age((today - date.fromisoformat(case.kept_on)).days)
    sure = needed(case)
    numbers = (str(len(case.lines)), str(case.deviations), "-" if sure is None else f"{sure:,}")
    cells = (case.clause, case.invariant, *numbers, age, path.name)
    return {name: one_line(cell) for name, cell in zip(_HEAD, cells, strict=True)}


def _age(days: int) -> str:
    return counted(days, "day") if days > 0 else "today"


def _table(rows: list[dict[str, str]], reasons: list[str]) -> Iterator[str]:
    """The rows under a head, each with its reason below."""
    if not rows:
        return
    widths = {name: max(len(row[name]) for row in [*rows, dict(zip(_HEAD, _HEAD, strict=True))]) for name in _HEAD}
    for row, reason in zip([dict(zip(_HEAD, _HEAD, strict=True)), *rows], ["", *reasons], strict=True):
        cells = (row[name].rjust(widths[name]) if name in _NUMBERS else row[name].ljust(widths[name]) for name in _HEAD)
        yield f"  {'  '.join(cells)}".rstrip()
        if reason:
            yield f"    {one_line(reason)}"


def _json_of(path: Path, case: Case) -> dict[str, Json]:
    from machines.findability import needed  # noqa: PLC0415  # as above

    return {
        "case": str(path),
        "clause": case.clause,
        "invariant": case.invariant,
        "sentence": case.sentence,
        "target": case.target,
        "machine": case.machine,
        "moves": len(case.lines),
        "deviations": case.deviations,
        "clean_cases_to_be_sure": needed(case),
        "reorder_only": case.reorder_only,
        "why": case.why or None,
        "kept_on": case.kept_on or None,
    }


# Keeping


def _reason(why: str) -> str:
    reason = one_line(why)
    if not reason:
        refuse("--why", "must say something")
    if len(reason) > _LONGEST:
        refuse("--why", f"must say it in {_LONGEST} characters, not {len(reason):,}")
    return reason


def _refuse_useless(path: str, case: Case, directory: Path) -> None:
    """Refuse a case that could never hold, and one that is there already."""
    from machines.registry import is_planted  # noqa: PLC0415  # as above

    if is_planted(case.target):
        refuse(path, f"its target {case.target} has a planted bug, which nobody is going to fix")
    readable, damaged = _kept_in(directory)
    if damaged:
        refuse(damaged[0])
    for other, kept in readable.items():
        if case.program == kept.program:
            refuse(path, f"is kept already, as {other}")


def _carried_out(case: Case, target: str | None) -> Outcome:
    from machines.case import replay  # noqa: PLC0415  # as above
    from machines.registry import load_target  # noqa: PLC0415  # as above

    return replay(case, None if target is None else load_target(target_named(target)))
