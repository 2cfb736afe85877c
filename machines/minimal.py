"""How small cases become: planted bugs are found from several seeds, and what is found is minimised and held to floors.

Rule 1: a case counts for a bug if the clause that it breaks is the bug's own, and the clean engine passes it: another
clause is another failure. A seed that finds none in time is told, and says nothing of minimal cases.
Rule 2: who searches takes the machines of the bug in turns: how small its case becomes is asked, not how soon it comes.
Rule 3: seconds are CPU seconds of the minimiser alone, on one core; they are told, and no test asks for them.
Rule 4: progress goes to stderr, the table to stdout. Exit status 0 all floors are kept, 1 not all, 2 bad input.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any, Final, TypeAlias

import click

from machines.case import Case, carry_out, from_text, load, to_text
from machines.fingerprint import fingerprint
from machines.given import write_out
from machines.minimise import BUDGET, UNFINISHED, can_go, minimise
from machines.mutants import MUTANTS, Mutant
from machines.mutants.catalogue import keep, place
from machines.registry import load_target
from machines.reporting import counted
from machines.searching import Chunk, derive
from machines.trials import HARNESSES

Json: TypeAlias = Any

MINIMAL: Final = 0.95
"""The share of cases that must be 1-minimal."""
SHORT: Final = 0.90
"""The share of cases that must have as many moves as their bug's witness, or fewer."""
SAME: Final = 0.90
"""The share of bugs whose cases must come to the same moves from every seed."""
SECONDS: Final = (5.0, 30.0)
"""CPU seconds that a case may take: the median, and the 99th percentile."""
_TURN: Final = 20
"""Cases of a machine before the next one takes its turn."""
_SWARM: Final = 4
"""Of so many rounds of turns, one has a random subset of the rules."""


@dataclass(frozen=True, slots=True)
class Small:
    """A case of a bug, made small."""

    seed: int
    case: Case
    moves_before: int
    cpu_seconds: float
    left: tuple[str, ...]
    """The parts that can go all the same."""

    @property
    def program(self) -> str:
        """Its moves, arguments and all."""
        return json.dumps([line.to_json() for line in self.case.lines])


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one bug."""

    bug: str
    witness: int
    """Moves of its witness."""
    seeds: int
    small: tuple[Small, ...]

    @property
    def minimal(self) -> int:
        """How many cases are 1-minimal."""
        return sum(not each.left for each in self.small)

    @property
    def short(self) -> int:
        """How many are as short as the witness, or shorter."""
        return sum(len(each.case.lines) <= self.witness for each in self.small)

    @property
    def prints(self) -> Counter[tuple[str, ...]]:
        """How often cases came to the same moves, their arguments abstracted."""
        return Counter(fingerprint(each.case) for each in self.small)

    @property
    def programs(self) -> Counter[str]:
        """The same to the letter."""
        return Counter(each.program for each in self.small)


def found(mutant: Mutant, harness: str, seed: int, cases: int) -> Case | None:
    """The first case that breaks the bug's clause; None if there is none among so many."""
    search, clean = HARNESSES[harness](mutant), load_target(mutant.clean)
    for chunk in _turns(mutant, seed):
        if search.cases >= cases:
            break
        finding = search.search(replace(chunk, examples=min(chunk.examples, cases - search.cases)))
        if finding is not None and finding.case.clause == mutant.clause:
            case = from_text(to_text(finding.case))
            if carry_out(case.lines, clean, case.max_concurrent_steps).verdict is None:
                return case
    return None


def _turns(mutant: Mutant, seed: int) -> Iterator[Chunk]:
    """The bug's own machines in turns, without end."""
    for turn in itertools.count():
        around, place = divmod(turn, len(mutant.machines))
        machine = mutant.machines[place]
        swarm = around % _SWARM == _SWARM - 1
        yield Chunk(machine, derive(seed, 0, turn, f"{mutant.name}/minimal/{machine}"), _TURN, swarm)


def measure(name: str, harness: str, seeds: Sequence[int], cases: int) -> Row:
    """Find a bug from every seed, and make what is found small."""
    mutant = MUTANTS[name]
    factory = mutant.plant()
    small = []
    for seed in seeds:
        case = found(mutant, harness, seed, cases)
        if case is not None:
            began = time.process_time()
            least = minimise(case, factory)
            spent = time.process_time() - began
            left = tuple(part.text for part in can_go(least, factory))
            small.append(Small(seed, least, len(case.lines), spent, left))
    return Row(name, len(load(place(name)).lines), len(seeds), tuple(small))


# The command


@click.command()
@click.option("--only", metavar="NAME", multiple=True, type=click.Choice(list(MUTANTS)), help="A bug.  [default: all]")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="One bug in so many.")
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True, help="The first of them.")
@click.option("--seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Searches for each bug.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The first of those.")
@click.option(
    "--harness", type=click.Choice(list(HARNESSES)), default="unguided", show_default=True, help="Who searches."
)
@click.option("--cases", type=click.IntRange(min=1), default=4000, show_default=True, help="For each search, at most.")
@click.option("--keep-witnesses", "witnesses", is_flag=True, help="Make them the catalogue's, where they are better.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
def minimal(  # noqa: PLR0913  # one for each option
    *,
    only: Sequence[str],
    every: int,
    offset: int,
    seeds: int,
    seed: int,
    harness: str,
    cases: int,
    witnesses: bool,
    out: str | None,
) -> int:
    """Find planted bugs from several seeds, make the cases small, and say how small they are."""
    names = [name for name in MUTANTS if not only or name in only][offset::every]
    rows: list[Row] = []
    for number, name in enumerate(names, 1):
        rows.append(measure(name, harness, range(seed, seed + seeds), cases))
        click.echo(f"{number} of {len(names)}: {_told(rows[-1])}", err=True)
        write_out(out, _whole(rows))  # a run that is broken off has told what it knows
    for row in rows:
        click.echo(_told(row))
    kept = list(_floors(rows))
    for met, sentence in kept:
        click.echo(f"{'kept' if met else 'NOT KEPT'}: {sentence}")
    write_out(out, _whole(rows))
    if witnesses:
        best = keep((row.bug, to_text(each.case)) for row in rows for each in row.small)
        click.echo(f"{counted(len(best), 'new witness', 'new witnesses')}: {', '.join(best) or '-'}", err=True)
    return 0 if all(met for met, _ in kept) else 1


def _told(row: Row) -> str:
    """A bug in one line."""
    moves = [len(each.case.lines) for each in row.small]
    lost = f", {row.seeds - len(row.small)} not found" if len(row.small) < row.seeds else ""
    left = sorted({text for each in row.small for text in each.left})
    bounded = sum(UNFINISHED in each.case.extra for each in row.small)
    return (
        f"{row.bug}: {counted(len(row.small), 'case')}{lost}; {row.minimal} 1-minimal; moves {sorted(moves)}, witness"
        f" {row.witness}; {counted(len(row.prints), 'fingerprint')}, {counted(len(row.programs), 'program')};"
        f" {sum(each.cpu_seconds for each in row.small):.1f} s"
        + (f"; {bounded} at the bound of {BUDGET}" if bounded else "")
        + (f"; can go: {', '.join(left)}" if left else "")
    )


def _floors(rows: Sequence[Row]) -> Iterator[tuple[bool, str]]:
    """The floors, each with whether it is kept."""
    small = [each for row in rows for each in row.small]
    several = [row for row in rows if len(row.small) > 1]
    if not small:
        yield False, "nothing was found"
        return
    yield _share("cases are 1-minimal", sum(row.minimal for row in rows), len(small), MINIMAL)
    yield _share("cases are as short as the witness or shorter", sum(row.short for row in rows), len(small), SHORT)
    same = sum(len(row.prints) == 1 for row in several)
    yield _share("bugs come to the same moves from every seed", same, len(several), SAME)
    letter = sum(len(row.programs) == 1 for row in several)
    most = sum(max(row.prints.values()) for row in several)
    yield (
        True,
        (
            f"{letter} of {len(several)} to the letter; {most} of {sum(len(row.small) for row in several)} cases have"
            " the form that is their bug's most common one"
        ),
    )
    seconds = [each.cpu_seconds for each in small]
    worst = quantiles(seconds, n=100)[-1] if len(seconds) > 1 else seconds[0]
    yield (
        median(seconds) <= SECONDS[0] and worst <= SECONDS[1],
        (
            f"{median(seconds):.2f} CPU-seconds in the median and {worst:.2f} at the 99th percentile"
            f" ({SECONDS[0]:g} and {SECONDS[1]:g} are allowed)"
        ),
    )


def _share(what: str, met: int, of: int, floor: float) -> tuple[bool, str]:
    return met >= floor * of, f"{met} of {of} {what} ({100 * met / max(of, 1):.1f} %, at least {100 * floor:g} %)"


def _whole(rows: Sequence[Row]) -> dict[str, Json]:
    return {"floors": [sentence for _, sentence in _floors(rows)], "bugs": [_report(row) for row in rows]}


def _report(row: Row) -> dict[str, Json]:
    return {
        "bug": row.bug,
        "seeds": row.seeds,
        "witness": row.witness,
        "cases": [
            {
                "seed": each.seed,
                "moves_before": each.moves_before,
                "moves": len(each.case.lines),
                "cpu_seconds": round(each.cpu_seconds, 3),
                "can_go": list(each.left),
                "at_the_bound": UNFINISHED in each.case.extra,
                "invariant": each.case.invariant,
                "program": json.loads(each.program),
            }
            for each in row.small
        ],
    }


if __name__ == "__main__":
    raise SystemExit(minimal(standalone_mode=False))
