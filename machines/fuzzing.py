"""``lockstep fuzz``: search for a case that breaks the contract.

Rule 1: exit status 0 nothing found, 1 a violation or trouble with the harness, 2 bad input. Ctrl-C ends a search early,
with everything told as usual.
Rule 2: nothing that imports Hypothesis is imported before it is needed: that takes half a second.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from machines.cluster_options import campaign_of, check_given, cluster_at, with_workers
from machines.covering import can_cover
from machines.given import check_out, directory_named, machines_named, refuse, target_named, workers_given, write_out
from machines.reporting import Progress, counted, report_of, tell_failures, tell_reach, tell_totals
from machines.runs import Keeper, add_up, last_seed, next_chunks, read_runs
from machines.target import left_out

if TYPE_CHECKING:
    from machines.searching import Plan
    from machines.totals import Totals

Json = Any

NOTHING: Final = 0
FOUND: Final = 1
_AGAIN: Final = 100
"""One case of so many is played twice."""


@click.command()
@click.option("--seconds", metavar="N", help="How long to search.  [default: 60]")
@click.option(
    "--cases", type=click.IntRange(min=1), metavar="N", help="How many cases to carry out, instead of a time."
)
@click.option("--workers", metavar="N|all", default="all", show_default=True, help="Processes to search with.")
@click.option("--machine", "machines", metavar="NAME", multiple=True, help="Machine to search with.  [default: all]")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Seed of it all.  [default: a random one]")
@click.option("--workflow", metavar="FILE", help="Search with this workflow: steps, graph or WfFormat 1.5.")
@click.option("--target", metavar="MODULE:FACTORY", help="An engine other than the built-in one.")
@click.option("--dir", "directory", metavar="DIR", default=".lockstep", show_default=True, help="Where cases are kept.")
@click.option("--resume", is_flag=True, help="Go on where the runs in DIR stopped, and count them in.")
@click.option("--cluster", metavar="ADDRESS", help="Search on a cluster of Dask, at tcp://HOST:PORT (docs/cluster.md).")
@click.option("--redis", metavar="ADDRESS", help="Share the corpus through a server, at redis://HOST:PORT/DB.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
def fuzz(  # noqa: PLR0913  # one for each option
    *,
    seconds: str | None,
    cases: int | None,
    workers: str,
    machines: Sequence[str],
    seed: int | None,
    workflow: str | None,
    target: str | None,
    directory: str,
    resume: bool,
    cluster: str | None,
    redis: str | None,
    out: str | None,
) -> int:
    """Search for a case that breaks the contract.

    What is found is minimised and kept as a case file. Exit status: 0 nothing found, 1 a violation (or trouble with the
    harness), 2 bad input. Ctrl-C ends the search early.
    """
    from machines.searching import Plan  # noqa: PLC0415  # see rule 2

    check_given(cluster, redis, workers, cases)
    place = directory_named(directory)
    earlier = list(read_runs(place).values()) if resume else []
    if seed is None:
        seed = last_seed(place) if earlier else secrets.randbits(32)
    assert seed is not None
    plan = Plan(
        seed=seed,
        machines=machines_named(machines, workflow),
        seconds=_seconds(seconds, cases),
        cases=cases,
        workers=workers_given(workers),
        target=target_named(target),
        workflow=_workflow(workflow),
        directory=place,
        fast=workflow is None,
        again=_AGAIN,
        covers=can_cover(),
        redis=redis,
    )
    check_out(out)
    keeper = Keeper(place)
    with cluster_at(cluster, plan) as client:
        plan = with_workers(plan, client)
        click.echo(_announced(plan), err=True)
        with Progress() as progress:

            def watch(totals: Totals) -> None:
                progress.show(totals)
                keeper.look(totals)

            totals = campaign_of(plan, client, watch, next_chunks(earlier, seed)).run()
    keeper.write(totals)
    if earlier:
        click.echo(f"with {counted(len(earlier), 'earlier run')}:")
        add_up(totals, earlier)
    totals.record_rates()
    tell_totals(totals)
    tell_reach(totals)
    click.echo("A search may be too short to reach everything: that is no failure. `lockstep reach` is held to it.")
    tell_failures(totals)
    write_out(out, report_of(totals))
    _tell_page(totals, place)
    return FOUND if totals.failures or totals.troubles else NOTHING


def _tell_page(totals: Totals, place: Path) -> None:
    from machines.campaign_page import write_page  # noqa: PLC0415  # see rule 2

    try:
        click.echo(f"\nas a page: {write_page(totals, place)}")
    except OSError as error:
        refuse("--dir", place, error.strerror)


# What is given


def _seconds(given: str | None, cases: int | None) -> float | None:
    if given is None:
        return 60.0 if cases is None else None
    if cases is not None:
        refuse("--seconds and --cases: give one of them")
    try:
        seconds = float(given)
    except ValueError:
        refuse("--seconds", f"{given!r} is not a number")
    if not (math.isfinite(seconds) and seconds > 0):
        refuse("--seconds", f"must be more than 0 and finite, not {given}")
    return seconds


def _workflow(file: str | None) -> dict[str, Json] | None:
    from machines.own_workflow import OwnWorkflowError, read_workflow  # noqa: PLC0415  # see rule 2

    if file is None:
        return None
    try:
        return read_workflow(Path(file))
    except OwnWorkflowError as error:
        refuse("--workflow", error)


def _announced(plan: Plan) -> str:
    from machines.registry import load_target, target_of_machine  # noqa: PLC0415  # see rule 2

    bound = f"{plan.seconds:g} seconds" if plan.seconds is not None else counted(plan.cases or 0, "case")
    names = ", ".join(plan.machines) + (" over a workflow of your own" if plan.workflow else "")
    targets = dict.fromkeys(target_of_machine(machine, plan.target) for machine in plan.machines)
    without = left_out(frozenset[str]().union(*(load_target(target)().capabilities for target in targets)))
    return (
        f"lockstep: {bound} of {names} against {plan.target}, {counted(plan.workers, 'worker')}, seed {plan.seed}"
        + (f"; left out, because the target does not claim it: {', '.join(without)}" if without else "")
    )
