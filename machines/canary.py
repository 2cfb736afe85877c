"""``lockstep canary``: the tester is tested. Every planted bug must be found, by the invariant that is there for it.

Rule 1: a mutant counts as caught if its invariant speaks, under its clause; if the case can be made small enough to be
read, and the clean engine passes it; and if a new process, where hashes differ, carries the saved case out again to
the same history.
Rule 2: progress goes to stderr, the table to stdout. Exit status 0 all were caught so, 1 not all, 2 bad input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from machines.bounds import a_number
from machines.given import check_out, refuse, workers_given, write_out
from machines.reporting import counted
from machines.workers import begin

if TYPE_CHECKING:
    from machines.mutants import Mutant
    from machines.mutants.hunt import Catch

Json = Any

ALL_CAUGHT: Final = 0
SOME_MISSED: Final = 1
_PATIENCE: Final = 300.0
"""Seconds without a word from any worker, beyond a mutant's budget, after which they count as hanging."""
_HEADER: Final = ("mutant", "invariant", "clause", "cases", "cpu s", "moves", "deviations", "verdict")
_NUMBERS: Final = range(3, 7)


@click.command()
@click.option("--only", metavar="NAME", multiple=True, help="A mutant to hunt for.  [default: all]")
@click.option(
    "--budget-cpu-seconds",
    "budget",
    type=click.FloatRange(min=1),
    callback=a_number,
    default=100,
    show_default=True,
    help="For each.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of it all.")
@click.option("--workers", metavar="N|all", default="all", show_default=True, help="Processes to search with.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    default=".lockstep/canary",
    show_default=True,
    help="Where the minimal cases are kept.",
)
@click.option("--keep-witnesses", "witnesses", is_flag=True, help="Make them the catalogue's, where they are better.")
@click.option(
    "--probe", "probed", type=click.IntRange(min=1), help="Hunt for none: count so many cases of each machine instead."
)
def canary(  # one for each option
    *,
    only: Sequence[str],
    budget: float,
    seed: int,
    workers: str,
    out: str | None,
    directory: str,
    witnesses: bool,
    probed: int | None,
) -> int:
    """Plant one bug after the other into the engine, and see that each is found.

    Exit status: 0 all were found as they must be, 1 not all, 2 bad input.
    """
    from machines.mutants import MUTANTS  # noqa: PLC0415  # the other commands need none of this

    if unknown := [name for name in only if name not in MUTANTS]:
        refuse("--only", f"there is no mutant {unknown[0]!r}")
    check_out(out)
    mutants = [mutant for name, mutant in MUTANTS.items() if not only or name in only]
    if probed is not None:
        return _probe_all([mutant.name for mutant in mutants], seed, probed, workers_given(workers))
    kept = _directory(directory)
    began = time.monotonic()
    hunted = _hunt_all(mutants, seed, budget, workers_given(workers))
    catches = _replay_all([hunted[mutant.name] for mutant in mutants], kept)
    seconds = time.monotonic() - began
    _tell(mutants, catches, seconds)
    write_out(out, _report(mutants, catches, seed, seconds))
    if witnesses:
        _keep(catches)
    return SOME_MISSED if any(catch.faults for catch in catches) else ALL_CAUGHT


def _directory(directory: str) -> Path:
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(f"--dir {directory}", error.strerror)
    return path


# The hunts


def _hunt_all(mutants: Sequence[Mutant], seed: int, budget: float, workers: int) -> dict[str, Catch]:
    """Hunt for every mutant, several at a time."""
    from multiprocessing import TimeoutError as NoAnswer  # noqa: PLC0415  # see above
    from multiprocessing import get_context  # noqa: PLC0415  # as above

    catches: dict[str, Catch] = {}
    names = [mutant.name for mutant in mutants]
    with get_context("spawn").Pool(min(workers, len(names)), begin) as pool:
        coming = pool.imap_unordered(partial(_hunt, seed=seed, budget=budget), names)
        for number in range(1, len(names) + 1):
            try:
                catch = coming.next(timeout=_PATIENCE + 10 * budget)
            except NoAnswer:
                lost = ", ".join(name for name in names if name not in catches)
                message = f"no word from any worker; still hunted: {lost}"
                raise click.ClickException(message) from None
            catches[catch.mutant] = catch
            verdict = "; ".join(catch.faults) or "caught"
            click.echo(f"lockstep canary: {number} of {len(names)}, {catch.mutant}: {verdict}", err=True)
    return catches


def _hunt(name: str, *, seed: int, budget: float) -> Catch:
    """In a worker: hunt for one mutant; whatever goes wrong is what is wrong with the catch."""
    from machines.mutants import MUTANTS  # noqa: PLC0415  # Hypothesis takes half a second to import
    from machines.mutants.hunt import Catch, hunt  # noqa: PLC0415  # as above

    try:
        return hunt(MUTANTS[name], seed, cpu_seconds=budget)
    except Exception as error:  # noqa: BLE001  # it is told, and the others go on
        return Catch(name, 0, 0.0, faults=(f"{type(error).__name__}: {error}",))


# The replay


def _replay_all(catches: Sequence[Catch], directory: Path) -> list[Catch]:
    """Save the minimal cases, and have one new process carry all of them out again."""
    paths = {catch.mutant: directory / f"{catch.mutant}.json" for catch in catches}
    for catch in catches:
        paths[catch.mutant].unlink(missing_ok=True)
        if catch.case is not None:
            paths[catch.mutant].write_text(catch.case, encoding="utf-8")
    outcomes = _replayed([str(paths[catch.mutant]) for catch in catches if catch.case is not None])
    checked = []
    for catch in catches:
        outcome = outcomes.get(str(paths[catch.mutant]), {})
        same = outcome.get("status") == 1 and outcome.get("digest_as_recorded")
        fault = "" if same or catch.case is None else "in a new process it has another history"
        checked.append(replace(catch, faults=(*catch.faults, fault)) if fault else catch)
    return checked


def _replayed(paths: Sequence[str]) -> Mapping[str, Json]:
    """What a new process with another hash seed says of the cases, by path."""
    if not paths:
        return {}
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "outcomes.json"
        command = [sys.executable, "-m", "machines.cli", "replay", "--json", str(out), *paths]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONHASHSEED": other})
        said = json.loads(out.read_text(encoding="utf-8"))["outcomes"] if out.exists() else []
    return {outcome["case"]: outcome for outcome in said}


# Where nothing is hunted for


def _probe_all(names: Sequence[str], seed: int, cases: int, workers: int) -> int:
    """Print how often each bug is reached, triggered and detected in cases that chance makes, and where a hole is."""
    from multiprocessing import get_context  # noqa: PLC0415  # see above

    rows: list[tuple[str, ...]] = [("mutant", "cases", "reached", "triggered", "detected", "a hole")]
    with get_context("spawn").Pool(min(workers, len(names)), begin) as pool:
        rows += pool.imap(partial(_probe, seed=seed, cases=cases), names)
    _print(rows, range(1, 5))
    return ALL_CAUGHT if not any(hole for *_, hole in rows[1:]) else SOME_MISSED


def _probe(name: str, *, seed: int, cases: int) -> tuple[str, ...]:
    """In a worker: one row of the table."""
    from machines.mutants import MUTANTS  # noqa: PLC0415  # see above
    from machines.mutants.probing import probe, programs  # noqa: PLC0415  # as above

    mutant = MUTANTS[name]
    found = probe(mutant, [program for machine in mutant.machines for program in programs(machine, seed, cases)])
    return (name, *map(str, (found.cases, found.reached, found.triggered, found.detected)), found.hole)


def _keep(catches: Sequence[Catch]) -> None:
    """Make good catches witnesses."""
    from machines.mutants.catalogue import keep  # noqa: PLC0415  # see above

    good = [(catch.mutant, catch.case) for catch in catches if catch.case is not None and not catch.faults]
    kept = keep(good)
    click.echo(f"{counted(len(kept), 'new witness', 'new witnesses')}: {', '.join(kept) or '-'}", err=True)


# What came of it


def _tell(mutants: Sequence[Mutant], catches: Sequence[Catch], seconds: float) -> None:
    rows = [_HEADER, *(_row(mutant, catch) for mutant, catch in zip(mutants, catches, strict=True))]
    _print(rows, _NUMBERS)
    missed = sum(1 for catch in catches if catch.faults)
    invariants = len({mutant.invariant for mutant in mutants})
    cases = sum(catch.cases for catch in catches)
    spent = sum(catch.cpu_seconds for catch in catches)
    click.echo(
        f"{counted(len(mutants), 'mutant')} of {counted(invariants, 'invariant')}: {len(mutants) - missed} caught,"
        f" {missed} not; {counted(cases, 'case')}, {spent:.0f} CPU-seconds, {seconds:.0f} s"
    )


def _print(rows: Sequence[tuple[str, ...]], numbers: range) -> None:
    """A table, aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _row(mutant: Mutant, catch: Catch) -> tuple[str, ...]:
    verdict = "; ".join(catch.faults) or "caught"
    found = catch.case is not None
    return (
        mutant.name,
        mutant.invariant,
        mutant.clause,
        str(catch.cases),
        f"{catch.cpu_seconds:.1f}",
        str(catch.moves) if found else "-",
        str(catch.deviations) if found else "-",
        verdict,
    )


def _report(mutants: Sequence[Mutant], catches: Sequence[Catch], seed: int, seconds: float) -> dict[str, Json]:
    return {
        "seed": seed,
        "wall_seconds": round(seconds, 3),
        "mutants": len(mutants),
        "caught": sum(1 for catch in catches if not catch.faults),
        "catches": [
            {
                "mutant": mutant.name,
                "invariant": mutant.invariant,
                "clause": mutant.clause,
                "what": mutant.what,
                "source": mutant.source,
                "cases": catch.cases,
                "cpu_seconds": round(catch.cpu_seconds, 3),
                "moves": catch.moves,
                "deviations": catch.deviations,
                "sentence": catch.sentence,
                "faults": list(catch.faults),
            }
            for mutant, catch in zip(mutants, catches, strict=True)
        ],
    }
