"""``lockstep bugs``: how strong is the harness? Every planted bug is searched for, again and again, and timed.

Rule 1: a trial is one search for one bug with a seed of its own (see ``machines.trials``); what trials come to is said
by ``machines.score``. A bug that nobody found is listed, and counts.
Rule 2: other harnesses search for the same bugs with the same budgets, in the same run.
Rule 3: progress goes to stderr, the tables to stdout. Exit status 0 all floors are kept, 1 not all, 2 bad input.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from machines import curve, strength
from machines.bounds import a_number
from machines.given import check_out, refuse, workers_given, write_out
from machines.reporting import counted
from machines.score import FOUND_WITHIN, Score, Shrunk, Trial, floors
from machines.strength import EXAMPLES, OTHERS, OURS, Outcome, class_of
from machines.workers import begin

if TYPE_CHECKING:
    from multiprocessing.pool import Pool

    from machines.mutants import Mutant

T = TypeVar("T")
R = TypeVar("R")

ALL_KEPT: Final = 0
NOT_ALL: Final = 1
_PATIENCE: Final = 300.0
"""Seconds without a word from any worker, beyond ten times the budget, after which they count as hanging."""
_LIFETIME: Final = 60
"""Tasks after which a worker is replaced, since Hypothesis keeps memory."""


@dataclass(frozen=True, slots=True)
class Task:
    """One trial, as a worker is told of it."""

    bug: str
    harness: str
    number: int
    seed: int
    budget: float


@click.command()
@click.option("--only", metavar="NAME|CLASS", multiple=True, help="A bug, or a class of bugs.  [default: all]")
@click.option("--trials", type=click.IntRange(min=1), default=10, show_default=True, help="Searches for each bug.")
@click.option(
    "--budget-cpu-seconds",
    "budget",
    type=click.FloatRange(min=0.1),
    callback=a_number,
    default=60,
    show_default=True,
    help="For each.",
)
@click.option(
    "--last-cpu-seconds",
    "last",
    type=click.FloatRange(min=0),
    callback=a_number,
    default=FOUND_WITHIN,
    show_default=True,
    help="For one more search where all trials found nothing; 0 for none.",
)
@click.option("--against", metavar="LIST", default="", help=f"Other harnesses: {','.join(OTHERS)}.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of it all.")
@click.option("--workers", metavar="N|all", default="all", show_default=True, help="Processes to search with.")
@click.option("--json", "out", metavar="OUT", help="Write the report to this file as JSON.")
@click.option("--html", "page", metavar="FILE", help="Write the tables and the curves to this file as a page.")
@click.option("--svg", "picture", metavar="FILE", help="Write the curves to this file as a picture.")
def bugs(  # noqa: PLR0913  # one for each option
    *,
    only: Sequence[str],
    trials: int,
    budget: float,
    last: float,
    against: str,
    seed: int,
    workers: str,
    out: str | None,
    page: str | None,
    picture: str | None,
) -> int:
    """Search for every planted bug several times, and say how soon each is found.

    Exit status: 0 the floors are kept by the bugs asked for, 1 not so, 2 bad input.
    """
    chosen = _chosen(only)
    others = _others(against)
    processes = workers_given(workers)
    for option, path in (("--json", out), ("--html", page), ("--svg", picture)):
        _check(option, path)
    began = time.monotonic()
    outcome = _search_all(chosen, others, _Search(trials, budget, last, seed, processes))
    outcome.seconds = time.monotonic() - began
    kept = floors(outcome.scores[OURS], budget)
    notes = strength.notes(outcome, kept, budget)
    tables = strength.tables(outcome)
    for table in tables:
        strength.print_table(table)
    for note in notes:
        click.echo(note)
    given = {"trials": trials, "budget_cpu_seconds": budget, "last_cpu_seconds": last, "seed": seed}
    write_out(out, strength.report(outcome, kept, given))
    drawn = curve.svg(strength.curves(outcome), budget)
    _write("--svg", picture, drawn)
    _write("--html", page, curve.page("Planted bugs", drawn, notes, tables))
    return ALL_KEPT if all(floor.met for floor in kept) else NOT_ALL


# What is given


def _chosen(only: Sequence[str]) -> tuple[Mutant, ...]:
    from machines.mutants import MUTANTS  # noqa: PLC0415  # see above

    classes = {name: class_of(mutant) for name, mutant in MUTANTS.items()}
    if unknown := [word for word in only if word not in MUTANTS and word not in classes.values()]:
        known = ", ".join(sorted(dict.fromkeys(classes.values())))
        refuse("--only", f"there is no bug {unknown[0]!r}, and no such class ({known})")
    return tuple(mutant for name, mutant in MUTANTS.items() if not only or name in only or classes[name] in only)


def _others(against: str) -> list[str]:
    names = [name.strip() for name in against.split(",")] if against else []
    if unknown := [name for name in names if name not in OTHERS]:
        refuse("--against", f"must be of {', '.join(OTHERS)}, not {unknown[0]!r}")
    if EXAMPLES in names:
        from machines.examples import at_hand  # noqa: PLC0415  # see above

        if not at_hand():
            refuse("--against", "the example tests are not installed: they are in a clone of the project")
    return list(dict.fromkeys(names))


def _check(option: str, path: str | None) -> None:
    """Refuse a file that cannot be written before hours are spent on what it shall hold."""
    if option == "--json":
        check_out(path)
    elif path is not None and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        refuse(f"{option} {path}", "is a directory" if Path(path).is_dir() else "there is no such directory")


def _write(option: str, path: str | None, text: str) -> None:
    if path is not None:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            refuse(f"{option} {path}", error.strerror)


# The searches


@dataclass(frozen=True, slots=True)
class _Search:
    """How it is searched."""

    trials: int
    budget: float
    last: float
    seed: int
    processes: int

    def task(self, bug: str, harness: str, number: int) -> Task:
        """The trial of this number; the one after the last is the longer search."""
        return Task(bug, harness, number, self.seed, self.budget if number < self.trials else self.last)


def _search_all(chosen: Sequence[Mutant], others: Sequence[str], search: _Search) -> Outcome:
    names = [mutant.name for mutant in chosen]
    harnesses = [OURS, *(name for name in others if name != EXAMPLES)]
    with _pool(search.processes) as pool:
        made = _trials(pool, names, harnesses, search)
        unfound = [name for name in names if search.last and not any(trial.found for trial in made[name, OURS])]
        late = {
            trial.bug: trial
            for trial in _each(pool, _try, [search.task(name, OURS, search.trials) for name in unfound], search.last)
        }
        shown = _shown([*itertools.chain.from_iterable(made[name, OURS] for name in names), *late.values()])
        small = dict(_each(pool, _shrink, shown, search.budget))
        noticed = dict(_each(pool, _notice, names if EXAMPLES in others else [], _PATIENCE))
    scores = {
        harness: [Score(mutant.name, class_of(mutant), tuple(made[mutant.name, harness])) for mutant in chosen]
        for harness in harnesses
    }
    scores[OURS] = [replace(score, late=late.get(score.bug), shrunk=small.get(score.bug)) for score in scores[OURS]]
    return Outcome(tuple(chosen), scores, {name: noticed[name] for name in names if name in noticed})


def _shown(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """By bug, the case of the first trial that found it."""
    cases: dict[str, str] = {}
    for trial in trials:
        if trial.case is not None:
            cases.setdefault(trial.bug, trial.case)
    return list(cases.items())


def _trials(
    pool: Pool, names: Sequence[str], harnesses: Sequence[str], search: _Search
) -> dict[tuple[str, str], list[Trial]]:
    """All trials by bug and harness, in order, and told of as they come."""
    made: dict[tuple[str, str], list[Trial]] = {(name, harness): [] for name in names for harness in harnesses}
    tasks = [search.task(name, harness, number) for name, harness in made for number in range(search.trials)]
    for trial in _each(pool, _try, tasks, search.budget):
        done = made[trial.bug, trial.harness]
        done.append(trial)
        if len(done) == search.trials:
            done.sort(key=lambda each: each.number)
            finished = sum(len(each) == search.trials for each in made.values())
            others = Counter(word for each in done for word in each.others)
            beside = f"; beside that: {', '.join(others)}" if others else ""
            _say(
                f"{finished} of {len(made)}, {trial.bug} ({trial.harness}): found by"
                f" {sum(each.found for each in done)} of {counted(len(done), 'trial')}{beside}"
            )
    return made


def _say(text: str) -> None:
    click.echo(f"lockstep bugs: {text}", err=True)


@contextmanager
def _pool(processes: int) -> Iterator[Pool]:
    """Workers that Ctrl-C does not reach: it is for the one who started them, and who will end them."""
    from multiprocessing import get_context, resource_tracker  # noqa: PLC0415  # see above

    resource_tracker.ensure_running()  # when it starts, it lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # workers inherit it, also those that come later
    try:
        with get_context("spawn").Pool(processes, begin, maxtasksperchild=_LIFETIME) as pool:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # what has come until now ends the pool, too
            yield pool
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _each(pool: Pool, work: Callable[[T], R], tasks: Sequence[T], budget: float) -> Iterator[R]:
    """What the workers make of some tasks, as it comes."""
    from multiprocessing import TimeoutError as NoAnswer  # noqa: PLC0415  # see above

    coming = pool.imap_unordered(work, tasks)
    for _ in tasks:
        try:
            yield coming.next(timeout=_PATIENCE + 10 * budget)
        except NoAnswer:
            message = "no word from any worker: one of them hangs, or has died"
            raise click.ClickException(message) from None


def _try(task: Task) -> Trial:
    """In a worker: one trial; whatever goes wrong is said, and is no detection."""
    from machines.trials import trial  # noqa: PLC0415  # Hypothesis takes half a second to import

    try:
        return trial(task.bug, task.harness, task.number, task.seed, cpu_seconds=task.budget)
    except Exception as error:  # noqa: BLE001  # it is told, and the others go on
        return Trial(task.bug, task.harness, task.number, 0, 0.0, others=(f"{type(error).__name__}: {error}",))


def _shrink(shown: tuple[str, str]) -> tuple[str, Shrunk | None]:
    """In a worker: make a case small."""
    from machines.trials import shrink  # noqa: PLC0415  # see above

    bug, case = shown
    try:
        return bug, shrink(bug, case)
    except Exception as error:  # noqa: BLE001  # it is told, and the others go on
        _say(f"{bug}: its case could not be made small: {type(error).__name__}: {error}")
        return bug, None


def _notice(bug: str) -> tuple[str, str | None]:
    """In a worker: run the example tests."""
    from machines.examples import notice  # noqa: PLC0415  # see above

    return bug, notice(bug)
