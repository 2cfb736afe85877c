"""What a run of ``lockstep bugs`` came to: tables, sentences, curves, and the same for machines.

Rule 1: a bug that was not found is named, in every form.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from machines.curve import Curve, Table
from machines.reporting import counted
from machines.score import Floor, Row, Score, by_class, by_harness, detected, solved

if TYPE_CHECKING:
    from machines.mutants import Mutant

Json = Any

OURS: Final = "lockstep"
OBVIOUS: Final = "obvious"
RANDOM: Final = "random"
EXAMPLES: Final = "examples"
OTHERS: Final[Mapping[str, str]] = {
    "hypothesis": "Hypothesis alone, without the fast front end",
    OBVIOUS: "the obvious machine: whatever a rule does is over before the next one comes, and there is no tape",
    RANDOM: "a plain random driver: the same rules, tables and tapes, and no Hypothesis",
    EXAMPLES: "the example tests alone",
    "unguided": "the fast front end, without swarm and without a corpus",
    "swarm": "the fast front end, with swarm and without a corpus",
    "guided": "the fast front end, guided by what is new",
    "guided-swarm": "the same, with swarm in half of its cases",
    "guided-pct": "as guided-swarm, with PCT's schedules",
    "guided-both": "as guided-swarm, with uniform schedules and PCT's",
}
_HEADER: Final = ("bug", "class", "solved", "found", "own", "cases", "cpu s", "moves", "deviations", "invariant")
_NUMBERS: Final = range(3, 9)
_SUMS: Final = range(1, 6)
_ROWS: Final = ("bugs", "solved", "found by some", "trials that found", "median cpu s")


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    bugs: tuple[Mutant, ...]
    scores: dict[str, list[Score]]
    """By harness, ours first; in the order of the bugs."""
    noticed: dict[str, str | None] = field(default_factory=dict)
    """By bug: the example test that notices it, if the example tests were run."""
    seconds: float = 0.0


def class_of(mutant: Mutant) -> str:
    """The class of a bug."""
    from machines.mutants import CLASSES  # noqa: PLC0415  # the other commands need none of this

    return CLASSES[mutant.name]


def tables(outcome: Outcome) -> list[Table]:
    """Bugs, classes, and harnesses if there are several."""
    ours = outcome.scores[OURS]
    made = [
        Table("Bugs", (_HEADER, *map(_row, ours)), _NUMBERS),
        Table("Classes", (("class", *_ROWS), *map(_summed, [*by_class(ours), Row.of("all", ours)])), _SUMS),
    ]
    if len(outcome.scores) > 1 or outcome.noticed:
        rows = [_summed(row) for row in by_harness(outcome.scores)]
        if outcome.noticed:
            seen = str(sum(test is not None for test in outcome.noticed.values()))
            rows.append((EXAMPLES, str(len(outcome.noticed)), seen, seen, "-", "-"))
        made.append(Table("Harnesses", (("harness", *_ROWS), *rows), _SUMS))
    return made


def _row(score: Score) -> tuple[str, ...]:
    of = len(score.trials)
    small = score.shrunk
    return (
        score.bug,
        score.bug_class,
        "yes" if score.solved else "no",
        f"{score.found}/{of}",
        f"{score.own}/{of}",
        _figure(score.median_cases, "g"),
        _figure(score.median_seconds, ".2f"),
        str(small.moves) if small else "-",
        str(small.deviations) if small else "-",
        score.invariant or "-",
    )


def _summed(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        str(row.bugs),
        f"{row.solved} ({row.solved / row.bugs:.1%})",
        str(row.ever),
        f"{row.found}/{row.trials} ({row.found / row.trials:.1%})",
        _figure(row.median_seconds, ".2f"),
    )


def _figure(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def print_table(table: Table) -> None:
    """Print it, aligned."""
    widths = [max(map(len, column)) for column in zip(*table.rows, strict=True)]
    for row in table.rows:
        cells = [
            cell.rjust(width) if column in table.numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
    click.echo()


def notes(outcome: Outcome, kept: Sequence[Floor], budget: float) -> list[str]:
    """The sentences below the tables."""
    ours = outcome.scores[OURS]
    said = [f"{'kept' if floor.met else 'NOT KEPT'}: {floor.promise}: {floor.reached}" for floor in kept]
    for score in ours:
        if score.ever is None:
            said.append(f"never found: {score.bug}")
        elif score.late is not None:
            spent = score.late.cpu_seconds
            said.append(f"found only by a longer search, after {spent:.0f} CPU-seconds: {score.bug}")
        elif not score.solved:
            said.append(f"not solved: {score.bug}, found by {score.found} of {counted(len(score.trials), 'trial')}")
    for harness in list(outcome.scores)[1:]:
        better = [score.bug for score in outcome.scores[harness] if not score.found]
        said.append(f"{harness} ({OTHERS[harness]}): never found {len(better)}: {', '.join(better) or '-'}")
    if outcome.noticed:
        silent = [bug for bug, test in outcome.noticed.items() if test is None]
        said.append(f"{EXAMPLES} ({OTHERS[EXAMPLES]}): silent on {len(silent)}: {', '.join(silent) or '-'}")
    trials = [trial for scores in outcome.scores.values() for score in scores for trial in score.trials]
    said += [
        f"no detection, in trial {trial.number} for {trial.bug} ({trial.harness}): {', '.join(trial.others)}"
        for trial in trials
        if trial.others
    ]
    spent = sum(trial.cpu_seconds for trial in trials)
    said.append(
        f"{counted(len(outcome.bugs), 'bug')}, {counted(len(trials), 'trial')} of {budget:g} CPU-seconds at most,"
        f" {counted(sum(trial.cases for trial in trials), 'case')}, {spent:.0f} CPU-seconds, {outcome.seconds:.0f} s"
    )
    return said


def report(outcome: Outcome, kept: Sequence[Floor], settings: Mapping[str, Json]) -> dict[str, Json]:
    """All of it, for machines."""
    return {
        **settings,
        "python": platform.python_version(),
        "wall_seconds": round(outcome.seconds, 3),
        "floors": [{"promise": each.promise, "reached": each.reached, "met": each.met} for each in kept],
        "bugs": [
            {
                "bug": mutant.name,
                "class": class_of(mutant),
                "invariant": mutant.invariant,
                "clause": mutant.clause,
                "what": mutant.what,
                "source": mutant.source,
                "harnesses": {harness: scores[rank].to_json() for harness, scores in outcome.scores.items()},
                **({"noticed_by": outcome.noticed[mutant.name]} if outcome.noticed else {}),
            }
            for rank, mutant in enumerate(outcome.bugs)
        ],
    }


def curves(outcome: Outcome) -> list[Curve]:
    """Ours twice: by trial, and by bug that every trial found; the others by trial."""
    trials = {
        harness: [trial for score in scores for trial in score.trials] for harness, scores in outcome.scores.items()
    }
    return [
        *(Curve(f"{harness}, trials", detected(found)) for harness, found in trials.items()),
        Curve(f"{OURS}, bugs solved", solved(outcome.scores[OURS])),
    ]
