"""``lockstep drive``: one process, one machine, the fast front end, and what it comes to.

Rule 1: the same seed, number of cases and corpus make the same cases; a corpus is read first and written last.
Rule 2: what is found is made small, kept as a case and told; the first one ends the search.
Rule 3: exit status 0 the contract holds in every case, 1 it is violated or a case says nothing, 2 bad input.
"""

from __future__ import annotations

import shlex
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from machines.given import directory_named, machines_named, refuse, target_named
from machines.reporting import counted, tell_failure

if TYPE_CHECKING:
    from machines.corpus import Corpus
    from machines.driving import Driven, Driver

HOLDS: Final = 0
VIOLATED: Final = 1
_SCHEDULES: Final = ("uniform", "pct", "both")
_EVERY: Final = 1000
"""Cases after which a line is printed."""


@click.command()
@click.option("--machine", metavar="NAME", default="lifecycle", show_default=True, help="The machine to drive.")
@click.option("--cases", type=click.IntRange(min=1), default=1000, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of it all.")
@click.option("--schedule", type=click.Choice(_SCHEDULES), default="uniform", show_default=True, help="Who is late.")
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the built-in one.")
@click.option("--corpus", metavar="DIR", help="Case files to begin with, and where new ones are kept.")
@click.option("--dir", "directory", metavar="DIR", default=".lockstep", show_default=True, help="Where a case is kept.")
def drive(  # one for each option
    *, machine: str, cases: int, seed: int, schedule: str, target: str | None, corpus: str | None, directory: str
) -> int:
    """Search with the fast front end: no Hypothesis, guided by what is new.

    Exit status: 0 the contract holds, 1 it is violated, 2 bad input.
    """
    from machines.driving import STEPS, Driver, Way  # noqa: PLC0415  # the other commands need none of this
    from machines.schedules import guarantee  # noqa: PLC0415  # as above

    (machine,) = machines_named((machine,))
    engine, kept = target_named(target), directory_named(directory)
    read = _read(corpus, machine)
    driver = Driver(machine, seed, read, target=engine, way=Way(schedule))  # type: ignore[arg-type]  # one of three words
    began = time.process_time()
    moves = lived = 0.0
    for number, driven in enumerate(islice(driver.cases(), cases), 1):
        moves += driven.moves
        lived += driven.seconds
        if driven.case is not None:
            break
        if number % _EVERY == 0:
            click.echo(f"{counted(number, 'case')}, {len(read.known):,} reached, {len(read.kept):,} kept", err=True)
    spent = time.process_time() - began
    click.echo(
        f"{machine}: {counted(number, 'case')}, {counted(int(moves), 'move')}, {moves / spent:,.0f} moves a CPU-second,"
        f" {lived:,.0f} s of virtual time; {len(read.known):,} things reached, {counted(len(read.kept), 'case')} kept"
    )
    _save(read, corpus)
    if driven.case is None:
        if schedule != "uniform":
            click.echo(guarantee(driver.pct, STEPS))
        return HOLDS
    _tell(driver, driven, kept)
    return VIOLATED


def _read(folder: str | None, machine: str) -> Corpus:
    from machines.corpus import Corpus, read_corpus  # noqa: PLC0415  # as above

    if folder is None:
        return Corpus()
    if Path(folder).exists() and not Path(folder).is_dir():
        refuse(f"--corpus {folder}", "is no directory")
    corpus, faults = read_corpus(Path(folder), machine)
    for fault in faults:
        click.echo(f"left out: {fault}", err=True)
    return corpus


def _save(corpus: Corpus, folder: str | None) -> None:
    from machines.case import CaseError  # noqa: PLC0415  # as above

    if folder is not None:
        try:
            written = corpus.save(Path(folder))
        except (CaseError, OSError) as error:
            refuse(f"--corpus {folder}", error)
        click.echo(f"{counted(len(written), 'case')} written to {folder}")


def _tell(driver: Driver, driven: Driven, kept: Path) -> None:
    from machines.case import from_text, replay, save, to_text  # noqa: PLC0415  # as above
    from machines.minimise import minimise  # noqa: PLC0415  # as above
    from machines.searching import BUDGET  # noqa: PLC0415  # as above

    assert driven.case is not None
    small = minimise(from_text(to_text(driven.case)), driver.factory, budget=BUDGET)
    path = save(small, kept / "cases")
    played = replay(small, driver.factory).played if driven.error is None else ()
    tell_failure(f"{small.clause}: {small.sentence}", tuple(each.tell() for each in played))
    click.echo(f"  replay it with\n    lockstep replay {shlex.quote(str(path))}")
