"""``lockstep crashes``: every boundary of the journal, of many cases, gets a variant that crashes there and recovers.

Rule 1: a boundary is the place before or after a commit. A variant is the case with a crash armed at one of them; as
soon as that has struck a new engine recovers, and the case goes on. What comes of it is judged like any other case.
Rule 2: completeness is counted: a boundary at which no variant crashed is told of, and fails the command.
Rule 3: progress goes to stderr, the outcome to stdout. Exit status 0 all of them recovered, 1 not all, 2 bad input.
"""

from __future__ import annotations

import copy
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from machines.given import check_out, refuse, write_out
from machines.moves import Crash, Recover
from machines.nemesis import Side
from machines.reporting import counted, tell_failure
from machines.workers import begin

if TYPE_CHECKING:
    from machines.case import Case, Line
    from machines.world import World

ALL_RECOVERED: Final = 0
NOT_ALL: Final = 1
_CHUNK: Final = 10
"""Fresh cases that a worker makes at a time."""
_NEVER: Final = 10**9
_KEPT: Final = 5
"""Failures that are made small and shown; the others are counted."""
_PATIENCE: Final = 600.0
"""Seconds without a word from any worker after which they count as hanging."""


@dataclass(frozen=True, slots=True)
class Program:
    """A case without what came of it."""

    name: str
    lines: tuple[Line, ...]
    max_concurrent_steps: int


@dataclass(slots=True)
class Tally:
    """What came of the variants of some programs."""

    cases: int = 0
    boundaries: int = 0
    crashed: int = 0
    """Variants in which the crash struck."""
    missed: list[str] = field(default_factory=list)
    """Boundaries at which none did."""
    violated: int = 0
    failures: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    """Of some variants that broke the contract: the case as text, the sentence, the program."""

    def add(self, other: Tally) -> None:
        """Take in what another worker counted."""
        self.cases += other.cases
        self.boundaries += other.boundaries
        self.crashed += other.crashed
        self.missed += other.missed
        self.violated += other.violated
        self.failures += other.failures


def played(program: Program, side: Side, commit: int) -> World:
    """Carry out a program that crashes at a boundary, recovers, and goes on.

    Raises:
        ContractViolated: it does not keep the contract. (Its world is closed, and has seen all of it.)
    """
    from machines.targets.sqlite import sqlite  # noqa: PLC0415  # the other commands need none of this
    from machines.world import World  # noqa: PLC0415  # as above

    world = World(sqlite, max_concurrent_steps=program.max_concurrent_steps)
    try:
        world.play(Crash(side, commit))
        for line in copy.deepcopy(program.lines):
            world.play(line.move, line.tape)
            if world.down:
                world.play(Recover())
        world.finish()
    finally:
        world.close()
    return world


def tally(program: Program) -> Tally:
    """Crash a program at each of its boundaries."""
    from machines.world import ContractViolated  # noqa: PLC0415  # it imports Hypothesis

    commits = played(program, "before", _NEVER).nemesis.commits
    found = Tally(cases=1)
    for commit in range(1, commits + 1):
        for side in get_args(Side):
            found.boundaries += 1
            try:
                world = played(program, side, commit)
            except ContractViolated as violated:
                found.crashed += 1
                found.violated += 1
                if len(found.failures) < _KEPT:
                    found.failures.append(_small(program, violated))
                continue
            if world.nemesis.crashes.get((side, commit)):
                found.crashed += 1
            else:
                found.missed.append(f"{program.name}: {side} commit {commit}")
    return found


def _small(program: Program, violated: Any) -> tuple[str, str, tuple[str, ...]]:  # noqa: ANN401  # a ContractViolated
    from machines.case import case_of, from_text, replay, to_text  # noqa: PLC0415  # it imports Hypothesis
    from machines.minimise import minimise  # noqa: PLC0415  # as above
    from machines.recovery import RecoveryMachine  # noqa: PLC0415  # as above

    case = case_of(
        violated.moves,
        violated.violation,
        target=RecoveryMachine.home,
        machine="recovery",
        max_concurrent_steps=program.max_concurrent_steps,
        digest="",
    )
    small = minimise(from_text(to_text(case)))
    return (
        to_text(small),
        f"{small.clause} ({small.invariant}): {small.sentence}",
        tuple(each.tell() for each in replay(small).played),
    )


# Where programs come from


def program_of(case: Case, name: str) -> Program:
    """The program of a saved case."""
    return Program(name, case.lines, case.max_concurrent_steps)


def fresh(seed: int, cases: int) -> Iterator[Program]:
    """Programs that the lifecycle machine has made."""
    from hypothesis import seed as seeded  # noqa: PLC0415  # it takes half a second to import
    from hypothesis.stateful import get_state_machine_test  # noqa: PLC0415  # as above

    from machines.case import Line  # noqa: PLC0415  # as above
    from machines.lifecycle import LifecycleMachine  # noqa: PLC0415  # as above
    from machines.searching import explicit_settings  # noqa: PLC0415  # as above

    made: list[Program] = []

    def keep(machine: LifecycleMachine) -> None:
        if machine.world is not None and machine.violation is None:
            lines = tuple(Line(each.move, each.tape) for each in machine.world.moves)
            name = f"case {len(made) + 1} of seed {seed}"
            made.append(Program(name, lines, machine.world.max_concurrent_steps))

    machine = type("Fresh", (LifecycleMachine,), {"on_case": staticmethod(keep)})
    seeded(seed)(get_state_machine_test(machine, settings=explicit_settings(cases)))()
    yield from made[:cases]


# The command


@click.command()
@click.argument("files", metavar="[CASE]...", nargs=-1)
@click.option("--cases", type=click.IntRange(min=0), default=500, show_default=True, help="Fresh cases beside those.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the fresh cases.  [default: a new one]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes to work with.  [default: one for each core]")
@click.option("--dir", "directory", default=".lockstep", show_default=True, help="Where failing cases are kept.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
def crashes(
    *, files: Sequence[str], cases: int, seed: int | None, workers: int | None, directory: str, out: str | None
) -> int:
    """Crash at every boundary of the journal of many cases, recover, and hold what comes of it against the contract.

    Exit status: 0 every boundary was crashed at and recovered from, 1 not so, 2 bad input.
    """
    from machines.case import CaseError, load  # noqa: PLC0415  # it imports Hypothesis

    check_out(out)
    try:
        programs = [program_of(load(Path(file)), file) for file in files]
    except CaseError as error:
        refuse("CASE", error)
    seed = secrets.randbits(32) if seed is None else seed
    began = time.monotonic()
    found = _tally_all(programs, cases, seed, workers or os.cpu_count() or 1)
    _tell(found, seed, time.monotonic() - began, _keep(found, Path(directory)))
    write_out(out, _report(found, seed))
    return NOT_ALL if found.missed or found.violated else ALL_RECOVERED


def _tally_all(programs: Sequence[Program], cases: int, seed: int, workers: int) -> Tally:
    from multiprocessing import TimeoutError as NoAnswer  # noqa: PLC0415  # the other commands need none of this
    from multiprocessing import get_context  # noqa: PLC0415  # as above

    from machines.searching import derive  # noqa: PLC0415  # as above

    work: list[Program | tuple[int, int]] = [*programs]
    for number, start in enumerate(range(0, cases, _CHUNK)):
        work.append((derive(seed, 0, number, "crashes"), min(_CHUNK, cases - start)))
    total, said = Tally(), time.monotonic()
    with get_context("spawn").Pool(min(workers, max(len(work), 1)), begin) as pool:
        coming = pool.imap_unordered(_work, work)
        for _ in work:
            try:
                total.add(coming.next(timeout=_PATIENCE))
            except NoAnswer:
                message = f"no word from any worker for {_PATIENCE:g} s"
                raise click.ClickException(message) from None
            if time.monotonic() - said > 5:  # noqa: PLR2004  # seconds
                said = time.monotonic()
                click.echo(f"lockstep crashes: {_standing(total)}", err=True)
    return total


def _work(work: Program | tuple[int, int]) -> Tally:
    """In a worker: a program, or the seed and the number of fresh ones."""
    total = Tally()
    for program in [work] if isinstance(work, Program) else fresh(*work):
        total.add(tally(program))
    return total


def _standing(found: Tally) -> str:
    return f"{counted(found.cases, 'case')}, {found.crashed:,} of {counted(found.boundaries, 'boundary', 'boundaries')}"


def _keep(found: Tally, directory: Path) -> list[Path]:
    from machines.case import from_text, save  # noqa: PLC0415  # it imports Hypothesis

    return [save(from_text(text), directory / "cases") for text, _, _ in found.failures[:_KEPT]]


def _tell(found: Tally, seed: int, seconds: float, kept: Sequence[Path]) -> None:
    for path, (_, sentence, program) in zip(kept, found.failures, strict=False):
        tell_failure(sentence, program)
        click.echo(f"  lockstep replay {path}")
    for place in found.missed[:_KEPT]:
        click.echo(f"no crash came {place}")
    click.echo(
        f"crashed at {_standing(found)} ({found.crashed / max(found.boundaries, 1):.0%}), "
        f"{counted(found.violated, 'violation')}; {seconds:.0f} s, seed {seed}"
    )


def _report(found: Tally, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "cases": found.cases,
        "boundaries": found.boundaries,
        "crashed": found.crashed,
        "missed": found.missed,
        "violations": found.violated,
        "failures": [{"sentence": sentence, "moves": list(program)} for _, sentence, program in found.failures],
    }
