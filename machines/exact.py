"""``make exact``: the same case makes the same history, in any process, with any hash seed, on any Python.

Rule 1: the cases are made once, in one process: witnesses with their planted bugs, regressions, and fresh ones, against
the engine and against planted bugs in turn. What a case is, and its digest, is what the file says that they are put in.
Rule 2: whoever plays them is a new process and knows nothing but that file. Each of several processes plays them in
another order, so that no case can lean on the one before it.
Rule 3: every digest is held against the recorded one, and each that differs is a mismatch. Exit status 0 there is none,
1 there is one, or a Python that is there could not take part, 2 bad input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from pathlib import Path
from random import Random
from typing import Any, Final

import click

from machines.case import Case, carry_out, from_text, load, target_of
from machines.course import one_line
from machines.files import write_whole
from machines.fresh import NOTHING, fresh_ones
from machines.given import refuse
from machines.interpreters import EnvironmentTrouble, Interpreter, environment, interpreters
from machines.mutants import MUTANTS, target_name
from machines.mutants.catalogue import WITNESSES
from machines.registry import BUILTIN
from machines.reporting import counted
from machines.target import TargetFactory

Json = Any

EXACT: Final = 0
NOT_EXACT: Final = 1
ROOT: Final = Path(__file__).parent.parent
HASH_SEEDS: Final = (0, 1, 4242, 2**32 - 1)
_MOVES: Final = 12
_TOLD: Final = 10
_SHARE: Final = 5
"""At most one case of so many is a witness; the regressions are all there."""


@click.command()
@click.option("--cases", "count", type=click.IntRange(min=1), default=1000, show_default=True, help="How many cases.")
@click.option("--processes", type=click.IntRange(min=1), default=3, show_default=True, help="Processes for each seed.")
@click.option(
    "--hash-seeds",
    type=click.IntRange(1, len(HASH_SEEDS)),
    default=len(HASH_SEEDS),
    show_default=True,
    help="How many.",
)
@click.option("--python", "pythons", metavar="PATH", multiple=True, help="A Python.  [default: every CPython here]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the fresh cases.")
@click.option("--dir", "folder", metavar="DIR", default=".lockstep/exact", show_default=True, help="For all this.")
@click.option(
    "--play", "file_to_play", metavar="FILE", hidden=True, help="Play the cases of a file, and print their digests."
)
@click.option("--order", type=click.IntRange(min=0), default=0, hidden=True, help="In which order.")
def exact(
    *,
    count: int,
    processes: int,
    hash_seeds: int,
    pythons: Sequence[str],
    seed: int,
    folder: str,
    file_to_play: str | None,
    order: int,
) -> int:
    """Play many cases in many processes, and count the histories that differ."""
    if file_to_play is not None:
        click.echo(json.dumps(played(Path(file_to_play), order)))
        return EXACT
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found = interpreters([Path(python) for python in pythons])
    if not found or len(found) < len(set(pythons)):
        refuse("--python", "is no CPython from 3.11 up, or the same one twice")
    began, file = time.monotonic(), place / "cases.jsonl"
    made = collected(count, seed)
    write_whole(file, "".join(f"{json.dumps(case.to_json())}\n" for case in made))
    failing = sum(case.clause != NOTHING for case in made)
    click.echo(f"{counted(count, 'case')}, {failing:,} failing and {count - failing:,} passing, in {_since(began)}")
    plays = [(hash_seed, process) for hash_seed in HASH_SEEDS[:hash_seeds] for process in range(processes)]
    mismatches, absent = 0, 0
    for interpreter in found:
        try:
            python = environment(interpreter, place, ROOT / "requirements.lock")
        except EnvironmentTrouble as trouble:
            absent += 1
            click.echo(f"Python {interpreter.version} cannot take part: {trouble}")
            continue
        for hash_seed, process in plays:
            now, play = time.monotonic(), Play(interpreter, python, hash_seed, process)
            differing = mismatches_of(play, file, made)
            mismatches += len(differing)
            click.echo(f"{play}: {counted(len(differing), 'mismatch', 'mismatches')} in {_since(now)}", err=True)
            for sentence in differing[:_TOLD]:
                click.echo(f"{play}: {sentence}")
    histories = (len(found) - absent) * len(plays) * count
    click.echo(
        f"{counted(len(found) - absent, 'Python')} ({', '.join(each.version for each in found)}) x "
        f"{counted(hash_seeds, 'hash seed')} x {counted(processes, 'process', 'processes')}: "
        f"{counted(histories, 'history', 'histories')} in {_since(began)}"
    )
    click.echo(f"mismatches: {mismatches:,}")
    return NOT_EXACT if mismatches or absent else EXACT


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


# The cases


def collected(count: int, seed: int) -> list[Case]:
    """So many cases of all kinds, each with the digest of the history that it makes here."""
    most = count // _SHARE
    witnesses = sorted(WITNESSES.glob("*.json"))
    stride = -(-len(witnesses) // max(most, 1))
    paths = [*sorted((ROOT / "tests" / "regressions").glob("*.json"))[:most], *witnesses[::stride][:most]]
    committed = [_played_once(load(path)) for path in paths]
    bugs = (target_name(mutant) for mutant in cycle(MUTANTS.values()))
    targets = chain.from_iterable((BUILTIN, bug) for bug in bugs)
    return [*committed, *islice(fresh_ones(seed, targets, _MOVES), count - len(committed))]


def _played_once(case: Case) -> Case:
    course = carry_out(case.lines, target_of(case), case.max_concurrent_steps)
    clause, invariant = course.verdict or (NOTHING, NOTHING)
    return replace(case, clause=clause, invariant=invariant, digest=course.digest)


# Playing them


@dataclass(frozen=True, slots=True)
class Play:
    """All cases once, in a process of its own."""

    interpreter: Interpreter
    python: Path
    hash_seed: int
    process: int

    def digests(self, file: Path) -> list[str]:
        """Play the cases of a file.

        Raises:
            ClickException: the process failed.
        """
        command: list[str | Path] = [self.python, "-m", "machines.exact", "--play", file, "--order", str(self.process)]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(self.hash_seed)}
        answer = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        if answer.returncode:
            message = f"{self}: {(answer.stderr.strip() or 'no word').splitlines()[-1]}"
            raise click.ClickException(message)
        digests: list[str] = json.loads(answer.stdout)
        return digests

    def __str__(self) -> str:
        """Name it."""
        return f"Python {self.interpreter.version}, hash seed {self.hash_seed}, process {self.process + 1}"


def mismatches_of(play: Play, file: Path, made: Sequence[Case]) -> list[str]:
    """The cases that make another history there than here."""
    digests = play.digests(file)
    return [
        f"case {number} of {case.target}, {case.machine}: {digest[:12]}, recorded is {case.digest[:12]}"
        for number, (case, digest) in enumerate(zip(made, digests, strict=True), 1)
        if digest != case.digest
    ]


def played(file: Path, order: int) -> list[str]:
    """The digests of the cases of a file; 0 plays them in their order, 1 from the end, any other shuffled."""
    cases = [from_text(line) for line in file.read_text(encoding="utf-8").splitlines()]
    ranks = list(range(len(cases)))
    if order == 1:
        ranks.reverse()
    elif order:
        Random(order).shuffle(ranks)
    targets: dict[str, TargetFactory] = {}
    digests = [""] * len(cases)
    for rank in ranks:
        case = cases[rank]
        if case.target not in targets:
            targets[case.target] = target_of(case)
        digests[rank] = carry_out(case.lines, targets[case.target], case.max_concurrent_steps).digest
    return digests


def main() -> None:
    """Carry out the command line."""
    try:
        sys.exit(exact.main(prog_name="lockstep exact", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"make exact: {one_line(error.format_message())}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
