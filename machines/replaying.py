"""``lockstep replay`` and ``lockstep reach``: carry out a saved case again; show which situations the machines get to.

Rule 1: a replay tells the sentence, the program with its deviations, the command, and whether the history is the
recorded one, in this order.
Rule 2: a replay's exit status is 0 the contract holds, 1 violated as recorded, 3 violated in another way, 2 the case
cannot be carried out. Of several cases the gravest counts: 2, then 3, then 1.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from machines.bounds import OutOfTime, bounded, seconds_for_a_case
from machines.course import one_line, printable
from machines.fuzzing import FOUND, NOTHING
from machines.given import check_out, machines_named, target_named, write_out
from machines.reporting import Progress, goals_of, report_of, tell_failure, tell_failures, tell_reach, tell_totals

if TYPE_CHECKING:
    from machines.case import Case, Outcome

Json = Any

IMPOSSIBLE: Final = 2
_GRAVEST_FIRST: Final = (IMPOSSIBLE, 3, 1, 0)
_TOLD: Final = {0: "the contract holds", 1: "violated as recorded", 3: "violated in another way"}


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the recorded one.")
@seconds_for_a_case
@click.option("--json", "out", metavar="OUT", help="Write the outcomes to this file as JSON.")
def replay(*, paths: Sequence[str], target: str | None, seconds: float, out: str | None) -> int:
    """Carry out saved cases again.

    Exit status: 0 the contract holds, 1 violated as recorded, 3 violated in another way, 2 it cannot be carried out.
    """
    from machines.case import CaseError, load  # noqa: PLC0415  # the other commands need none of this
    from machines.case import replay as carry_out_again  # noqa: PLC0415  # as above
    from machines.registry import load_target  # noqa: PLC0415  # as above

    factory = None if target is None else load_target(target_named(target))
    check_out(out)
    outcomes: list[dict[str, Json]] = []
    for number, path in enumerate(paths):
        if number:
            click.echo()
        try:
            with bounded(seconds):
                case = load(Path(path))
                outcome = carry_out_again(case, factory)
        except (CaseError, OutOfTime) as error:
            message = str(error) if str(error).startswith(path) else f"{path}: {error}"
            click.echo(f"lockstep replay: {one_line(message)}", err=True)
            outcomes.append({"case": path, "status": IMPOSSIBLE, "error": message})
            continue
        _tell(path, case, outcome, target)
        outcomes.append(_json_of(path, case, outcome))
    write_out(out, {"outcomes": outcomes})
    return next(status for status in _GRAVEST_FIRST if any(each["status"] == status for each in outcomes))


def _tell(path: str, case: Case, outcome: Outcome, target: str | None) -> None:
    violation = outcome.violation
    recorded = f"{case.clause} ({case.invariant}): {case.sentence}"
    if violation is None:
        sentence = "the contract holds"
    else:
        sentence = f"{violation.clause} ({violation.invariant}): {violation.sentence}"
    tell_failure(sentence, [played.tell() for played in outcome.played])
    if case.reorder_only:
        click.echo("  reorder only: it needs callbacks to run out of turn, which asyncio does not do")
    click.echo(f"  lockstep replay {shlex.quote(path)}" + (f" --target {shlex.quote(target)}" if target else ""))
    if outcome.status != 1:
        click.echo(f"  recorded was {printable(recorded)}")
    same = "is the recorded one" if outcome.digest == case.digest else "is not the recorded one"
    click.echo(f"  {_TOLD[outcome.status]}; the history {same} (digest {outcome.digest[:12]})")


def _json_of(path: str, case: Case, outcome: Outcome) -> dict[str, Json]:
    violation = outcome.violation
    return {
        "case": path,
        "status": outcome.status,
        "clause": None if violation is None else violation.clause,
        "invariant": None if violation is None else violation.invariant,
        "sentence": None if violation is None else violation.sentence,
        "moves": [played.tell() for played in outcome.played],
        "digest": outcome.digest,
        "digest_as_recorded": outcome.digest == case.digest,
        "reorder_only": case.reorder_only,
    }


@click.command()
@click.option("--cases", type=click.IntRange(min=1), default=5000, show_default=True, help="How many cases.")
@click.option("--machine", metavar="NAME", default="lifecycle", show_default=True, help="The machine to look at.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of it all.")
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the built-in one.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
def reach(*, cases: int, machine: str, seed: int, target: str | None, out: str | None) -> int:
    """Show which situations a machine gets to, and which it never does.

    Exit status: 0 everything that is expected was reached, 1 something was not (or a violation was found on the way),
    2 bad input.
    """
    from machines.campaign import Campaign  # noqa: PLC0415  # Hypothesis takes half a second to import
    from machines.reach import missed, too_wasteful  # noqa: PLC0415  # as above
    from machines.searching import Plan  # noqa: PLC0415  # as above

    plan = Plan(seed, machines_named([machine]), cases=cases, workers=2, target=target_named(target), fast=True)
    check_out(out)
    with Progress() as progress:
        totals = Campaign(plan, progress.show).run()
    tell_totals(totals)
    tell_reach(totals, in_full=True)
    lacking = [
        *missed(totals.reach_of.get(machine, {}), totals.cases, goals_of(totals).get(machine, {})),
        *too_wasteful(totals.tallies_of.get(machine, {}), totals.cases),
    ]
    if totals.failures or totals.troubles:
        tell_failures(totals)
    click.echo()
    click.echo("everything expected was reached" if not lacking else "not reached as expected:")
    for sentence in lacking:
        click.echo(f"  {sentence}")
    write_out(out, {**report_of(totals), "missed": lacking})
    return FOUND if lacking or totals.failures or totals.troubles else NOTHING
