"""How a campaign is told: while it lasts, when it is over, and for machines.

Rule 1: progress goes to stderr, what came of it to stdout.
Rule 2: a failure is told as three things: the sentence, the program, the command that replays it.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

from machines.course import printable

if TYPE_CHECKING:
    from rich.live import Live

    from machines.totals import Totals

Json = Any

_NAMED: Final = 4
"""Situations that are named while they are missing."""
_EVERY: Final = 5.0
"""Seconds between two lines of progress where there is no terminal."""
_LONGEST: Final = 1000
"""Characters of a line that a case has a say in."""


# Words


def counted(number: int, noun: str, several: str = "") -> str:
    """A number of things; what several of them are called, if that is not the word with an s."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def span(seconds: float) -> str:
    """A stretch of virtual time."""
    for size, unit in ((365 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"


# While it lasts


class Progress:
    """Says on stderr how a campaign goes: a line that changes in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Begin."""
        from rich.console import Console  # noqa: PLC0415  # most commands need no terminal
        from rich.live import Live  # noqa: PLC0415  # see above

        console = Console(stderr=True)
        if console.is_terminal:
            self._live = Live(console=console, transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        if self._live is not None:
            self._live.stop()

    def show(self, totals: Totals) -> None:
        """Show how it stands."""
        if self._live is not None:
            from rich.text import Text  # noqa: PLC0415  # see above

            self._live.update(Text("\n".join(_standing_at_length(totals)), no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            click.echo(_standing(totals), err=True)


def _standing_at_length(totals: Totals) -> list[str]:
    """The line of progress, what is missing and how what is known grows."""
    lines = [_standing(totals)]
    if missing := _missing(totals):
        lines.append(f"never yet: {'; '.join(missing[:_NAMED])}{' ...' if len(missing) > _NAMED else ''}")
    for name, growth in (("on the model", totals.growth), ("branches", totals.covered)):
        if (blocks := growth.blocks()).strip(growth.NOTHING):
            lines.append(f"new {name} over time: {blocks}")
    return lines


def _standing(totals: Totals) -> str:
    seconds = time.monotonic() - totals.started
    found = (
        f"{counted(len(totals.failures), 'failure')} ({counted(totals.hits, 'time')})"
        if totals.failures
        else "no failure"
    )
    parts = [
        f"{seconds:.0f} s",
        counted(totals.cases, "case"),
        f"{totals.moves / max(seconds, 0.001):.0f} moves/s",
        f"lived {span(totals.lived)} ({totals.lived / max(seconds, 0.001):,.0f}x)",
        f"{totals.news:,} new",
        f"reach {_share(totals)}",
        *([_branches(totals)] if totals.branches_in_all else []),
        found,
    ]
    if totals.troubles:
        parts.append(counted(len(totals.troubles), "error"))
    if totals.interrupted:
        parts.append("interrupted, ending")
    return ", ".join(parts)


# What came of it


def goals_of(totals: Totals) -> dict[str, Mapping[str, float]]:
    """What each machine of such a campaign should reach, if it lasts; those without goals are left out."""
    from machines.registry import MACHINES  # noqa: PLC0415  # it imports Hypothesis

    if totals.plan.workflow is not None:
        return {}
    return {name: MACHINES[name].goals for name in totals.plan.machines if MACHINES[name].goals}


def _missing(totals: Totals) -> list[str]:
    return [
        f"{machine}: {name}"
        for machine, goals in goals_of(totals).items()
        for name in goals
        if name not in totals.reach_of.get(machine, {})
    ]


def _share(totals: Totals) -> str:
    goals = sum(map(len, goals_of(totals).values()))
    return f"{goals - len(_missing(totals))} of {goals}" if goals else str(len(totals.reach))


def _branches(totals: Totals) -> str:
    return f"{len(totals.branches):,} of {totals.branches_in_all:,} branches of the engine"


def tell_totals(totals: Totals) -> None:
    """How much was done."""
    seconds = max(totals.wall_seconds, 0.001)
    click.echo(
        f"{counted(totals.cases, 'case')}, {counted(totals.moves, 'move')} in {totals.wall_seconds:.1f} s"
        f" ({totals.cases / seconds:.0f} cases and {totals.moves / seconds:.0f} moves a second,"
        f" {totals.cpu_seconds:.1f} CPU-seconds), seed {totals.plan.seed}"
        + (", interrupted" if totals.interrupted else "")
    )
    if totals.plan.fast:
        click.echo(
            f"{', '.join(f'{count:,} moves by {front}' for front, count in sorted(totals.moves_of.items()))};"
            f" lived {span(totals.lived)} of virtual time, {totals.lived / seconds:,.0f} times real time;"
            f" {counted(totals.again, 'case')} played again in a fresh process"
        )
    if totals.branches_in_all:
        click.echo(f"went through {_branches(totals)}, which is shown and steers nothing")


def tell_reach(totals: Totals, *, in_full: bool = False) -> None:
    """What was reached, in how many cases, and what was wasted: of each machine's goals the rarest, or all."""
    from machines.reach import rarest  # noqa: PLC0415  # it imports Hypothesis

    goals = goals_of(totals)
    click.echo(f"\nreached {_share(totals)} situations" + (" that are expected" if goals else ""))
    for machine, names in goals.items():
        cases, counts = totals.cases_of[machine], totals.reach_of.get(machine, Counter())
        if in_full:
            click.echo(f"{machine}, in {counted(cases, 'case')}:")
            _tell_table(list(names), counts, cases)
        few = rarest(counts, names)
        click.echo(f"{machine}, in {counted(cases, 'case')}, the rarest {len(few)} of {len(names)}:")
        _tell_table(few, counts, cases)
    rest: Counter[str] = Counter()
    for machine, reach in totals.reach_of.items():
        rest.update({name: count for name, count in reach.items() if name not in goals.get(machine, {})})
    if rest and (in_full or not goals):
        click.echo("beside that:")
        _tell_table(sorted(rest), rest, totals.cases)
    for machine in totals.plan.machines:
        click.echo(_waste(machine, totals))


def _waste(machine: str, totals: Totals) -> str:
    """How much of a machine's work was for nothing."""
    from machines.reach import CUT_EARLY, CUT_SHORT, IDLE, MISFITS, MOVES, REFUSED, wasted  # noqa: PLC0415  # as above

    tallies = totals.tallies_of.get(machine, Counter())
    share = wasted(tallies) / max(totals.cases_of[machine], 1)
    return (
        f"{machine} wasted {share:.1%} of its cases: {tallies[IDLE]:,} came to nothing,"
        f" {tallies[CUT_EARLY]:,} of the {tallies[CUT_SHORT]:,} that Hypothesis cut short had made less than half their"
        f" moves; of {counted(tallies[MOVES], 'move')} {tallies[MISFITS]:,} fitted nothing,"
        f" and {counted(tallies[REFUSED], 'command')} came back refused"
    )


def _tell_table(names: Sequence[str], counts: Mapping[str, int], cases: int) -> None:
    width = max(map(len, names))
    for name in names:
        count = counts.get(name, 0)
        share = f"{count / max(cases, 1):7.1%}" if count else "  never"
        click.echo(f"{'  ' if count else '! '}{name.ljust(width)}  {count:>7}  {share}")


def tell_failures(totals: Totals) -> None:
    """Each failure: the sentence, the program, the command that replays it. Then what went wrong with the harness."""
    for failure in totals.failures.values():
        case = failure.case
        click.echo()
        tell_failure(f"{case.clause} ({case.invariant}): {case.sentence}", failure.program)
        if case.reorder_only:
            click.echo("  reorder only: it needs callbacks to run out of turn, which asyncio does not do")
        click.echo(f"  found {counted(failure.count, 'time')}; replay it with")
        click.echo(f"    {_replayed(failure.path, case.target)}")
    for found in totals.troubles.values():
        click.echo(f"\n{found.trouble.kind}: {found.trouble.message} ({counted(found.count, 'time')})")
        for line in found.trouble.details.rstrip().splitlines():
            click.echo(f"  {line}")
        if found.path is not None:
            click.echo(f"  {_replayed(found.path, totals.plan.target)}")
    if not totals.failures and not totals.troubles:
        click.echo("\nnothing found")


def _replayed(path: Path | None, target: str) -> str:
    """The command that replays a case: a target that is not ours must be named by whoever replays it."""
    from machines.registry import is_ours  # noqa: PLC0415  # it imports Hypothesis

    return f"lockstep replay {shlex.quote(str(path))}" + ("" if is_ours(target) else f" --target {shlex.quote(target)}")


def tell_failure(sentence: str, program: Sequence[str]) -> None:
    """A sentence, and a numbered program; whatever a case holds stays on its line."""
    click.echo(_shown(sentence))
    for number, line in enumerate(program, 1):
        click.echo(f"  {number}. {_shown(line)}")


def _shown(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")


def report_of(totals: Totals) -> dict[str, Json]:
    """The same for machines."""
    plan = totals.plan
    return {
        "seed": plan.seed,
        "target": plan.target,
        "machines": {
            name: {
                "cases": totals.cases_of[name],
                "reach": dict(sorted(totals.reach_of.get(name, {}).items())),
                "waste": dict(totals.tallies_of.get(name, {})),
            }
            for name in plan.machines
        },
        "cases": totals.cases,
        "moves": totals.moves,
        "cpu_seconds": round(totals.cpu_seconds, 3),
        "wall_seconds": round(totals.wall_seconds, 3),
        "interrupted": totals.interrupted,
        "virtual_seconds": round(totals.lived, 3),
        "moves_of": dict(sorted(totals.moves_of.items())),
        "played_again": totals.again,
        "news": totals.news,
        "branches": len(totals.branches),
        "branches_in_all": totals.branches_in_all,
        "reach": dict(sorted(totals.reach.items())),
        "missing": _missing(totals),
        "failures": [
            {
                "clause": failure.case.clause,
                "invariant": failure.case.invariant,
                "sentence": failure.case.sentence,
                "moves": list(failure.program),
                "count": failure.count,
                "path": None if failure.path is None else str(failure.path),
                "reorder_only": failure.case.reorder_only,
            }
            for failure in totals.failures.values()
        ],
        "errors": [
            {
                "kind": found.trouble.kind,
                "message": found.trouble.message,
                "details": found.trouble.details,
                "count": found.count,
                "path": None if found.path is None else str(found.path),
            }
            for found in totals.troubles.values()
        ],
    }
