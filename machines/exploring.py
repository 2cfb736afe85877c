"""``lockstep explore``: all that can happen to a small workflow, and not only what chance comes across.

Rule 1: small workflows come first. Where those of one size break the contract nothing larger is played, so that what is
told is the smallest violation.
Rule 2: what is played does not depend on how many processes play it, nor on how fast they are.
Rule 3: progress goes to stderr, the outcome to stdout. Exit status 0 nothing is left and the contract holds, 1 it does
not, 2 bad input.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from machines.given import check_out, directory_named, refuse, target_named, workers_given, write_out
from machines.reporting import counted, tell_failure

if TYPE_CHECKING:
    from machines.choices import Scope
    from machines.levels import Level, Search, Smallest

NONE_LEFT: Final = 0
VIOLATED: Final = 1
_MOST_STEPS: Final = 6
"""As far as the shapes themselves are soon counted."""
_MOST_TROUBLES: Final = 5


@click.command()
@click.option(
    "--steps", type=click.IntRange(1, _MOST_STEPS), default=3, show_default=True, help="Of the largest workflows."
)
@click.option(
    "--troubles",
    type=click.IntRange(0, _MOST_TROUBLES),
    help="How many things may go wrong in one execution, each of another kind.  [default: the fewer steps, the more]",
)
@click.option(
    "--late/--punctual",
    default=None,
    help="Whether one write may be overtaken by what follows.  [default: as time allows, see docs/explore.md]",
)
@click.option("--policies", "only", metavar="NAME", multiple=True, help="Policies of the workflows.  [default: all]")
@click.option("--uncut", is_flag=True, help="Play also those orders that are like another one.")
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the built-in one.")
@click.option("--workers", metavar="N|all", default="all", show_default=True, help="Processes to work with.")
@click.option("--dir", "directory", metavar="DIR", default=".lockstep", show_default=True, help="Where a case is kept.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
def explore(  # noqa: PLR0913  # one for each option
    *,
    steps: int,
    troubles: int | None,
    late: bool | None,
    only: Sequence[str],
    uncut: bool,
    target: str | None,
    workers: str,
    directory: str,
    out: str | None,
) -> int:
    """Play all that can happen to every workflow of a few steps.

    Every shape, and at every place and in every order: actions that end; a failure, a pause and its resume, a cancel, a
    timeout, a crash; a late write. Exit status: 0 nothing is left and the contract holds, 1 it is violated, 2 bad
    input.
    """
    from machines.levels import explored, made_small  # noqa: PLC0415  # the other commands need none of this

    scopes = [_scope(size, troubles, late=late) for size in range(1, steps + 1)]
    search = _search(target_named(target), scopes, only=only, uncut=uncut)
    processes, kept = workers_given(workers), directory_named(directory)
    check_out(out)
    click.echo(_announced(search), err=True)
    began = time.monotonic()
    levels: list[Level] = []
    for size in range(1, steps + 1):
        levels.append(explored(search, size, processes))
        click.echo(_told(levels[-1]))
        if levels[-1].tally.violations:
            break
    found = levels[-1].tally.smallest
    smallest = None if found is None else made_small(found, search.target, kept)
    _tell(levels, smallest, time.monotonic() - began)
    write_out(out, _report(search, levels, smallest))
    return NONE_LEFT if smallest is None else VIOLATED


def _scope(steps: int, troubles: int | None, *, late: bool | None) -> Scope:
    from machines.choices import usual  # noqa: PLC0415  # as above

    scope = usual(steps)
    if troubles is not None:
        scope = replace(scope, troubles=troubles)
    return scope if late is None else replace(scope, late=int(late))


def _search(target: str, scopes: Sequence[Scope], *, only: Sequence[str], uncut: bool) -> Search:
    from machines.choices import NEEDS  # noqa: PLC0415  # as above
    from machines.levels import Search  # noqa: PLC0415  # as above
    from machines.registry import load_target  # noqa: PLC0415  # as above
    from machines.shapes import POLICIES  # noqa: PLC0415  # as above
    from machines.target import left_out  # noqa: PLC0415  # as above

    policies = {each.name: each.needs for each in POLICIES}
    if unknown := [name for name in only if name not in policies]:
        refuse("--policies", f"there are no policies {', '.join(unknown)}; there are {', '.join(policies)}")
    without = left_out(load_target(target)().capabilities)
    if lacking := [name for name in only if not set(policies[name]).isdisjoint(without)]:
        refuse("--policies", f"the target does not claim what {', '.join(lacking)} needs")
    chosen = tuple(name for name in only or policies if set(policies[name]).isdisjoint(without))
    missed = [name for name in without if name in {*NEEDS.values()}.union(*policies.values())]
    possible = [replace(scope, kinds=tuple(k for k in scope.kinds if NEEDS.get(k) not in without)) for scope in scopes]
    return Search(target, tuple(possible), tuple(missed), chosen, uncut)


def _announced(search: Search) -> str:
    return (
        f"lockstep explore: workflows of up to {counted(len(search.scopes), 'step')} ({', '.join(search.policies)})"
        f" against {search.target}"
        + (f"; left out, because the target does not claim it: {', '.join(search.left_out)}" if search.left_out else "")
    )


# What came of it


def _told(level: Level) -> str:
    tally = level.tally
    parts = [
        counted(level.shapes, "shape"),
        counted(level.workflows, "workflow"),
        counted(tally.courses, "course"),
        f"{counted(tally.cut, 'beginning')} cut",
        *([counted(tally.violations, "violation")] if tally.violations else []),
    ]
    return f"{counted(level.steps, 'step')} ({level.scope}): {', '.join(parts)}"


def _troubles(levels: Sequence[Level]) -> dict[str, int]:
    """In how many courses what went wrong."""
    from machines.choices import KINDS  # noqa: PLC0415  # as above

    counts: Counter[str] = Counter()
    for level in levels:
        for kinds, count in level.tally.kinds.items():
            counts.update(dict.fromkeys(kinds or ["nothing"], count))
    return {name: counts[name] for name in ("nothing", *KINDS) if counts[name]}


def _tell(levels: Sequence[Level], smallest: Smallest | None, seconds: float) -> None:
    courses = sum(level.tally.courses for level in levels)
    workflows = sum(level.workflows for level in levels)
    moves = sum(level.tally.moves for level in levels)
    click.echo("courses with " + ", ".join(f"{name} {count:,}" for name, count in _troubles(levels).items()))
    done = (
        f"{counted(courses, 'course')} of {counted(workflows, 'workflow')}, {counted(moves, 'move')}, {seconds:.0f} s"
    )
    if smallest is None:
        click.echo(f"none is left, and the contract holds: {done}")
        return
    size, left = levels[-1].steps, levels[-1].tally.left
    click.echo(f"the contract is violated at {counted(size, 'step')}, and nothing larger was played: {done}")
    if left:
        click.echo(f"where it was violated often enough, {counted(left, 'beginning')} of courses were left")
    click.echo()
    tell_failure(smallest.sentence, smallest.program)
    click.echo(f"  replay it with\n    lockstep replay {shlex.quote(str(smallest.path))}")


def _report(search: Search, levels: Sequence[Level], smallest: Smallest | None) -> dict[str, Any]:
    return {
        "target": search.target,
        "policies": list(search.policies),
        "uncut": search.uncut,
        "levels": [
            {
                "steps": level.steps,
                "troubles": level.scope.troubles,
                "late": level.scope.late,
                "kinds": list(level.scope.kinds),
                "shapes": level.shapes,
                "workflows": level.workflows,
                "courses": level.tally.courses,
                "cut": level.tally.cut,
                "moves": level.tally.moves,
                "violations": level.tally.violations,
                "left": level.tally.left,
            }
            for level in levels
        ],
        "courses_with": _troubles(levels),
        "smallest": None
        if smallest is None
        else {
            "clause": smallest.case.clause,
            "invariant": smallest.case.invariant,
            "sentence": smallest.case.sentence,
            "moves": list(smallest.program),
            "path": str(smallest.path),
        },
    }
