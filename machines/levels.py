"""The work of ``lockstep explore``: all workflows of one size, by several processes; and the smallest violation.

Rule 1: what is played does not depend on how many processes play it, nor on how fast they are: what comes of each
workflow is put together in the workflows' order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import TimeoutError as NoAnswer
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import click

from machines.case import Case, carry_out, from_text, save, to_text
from machines.choices import Scope
from machines.exhaustive import Broken, Explorer, Tally
from machines.minimise import minimise
from machines.registry import load_target
from machines.reporting import counted
from machines.shapes import Plan, plans, shapes
from machines.workers import begin

_PATIENCE: Final = 3600.0
"""Seconds without a word from any worker after which they count as hanging."""
_EVERY: Final = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is played, against what."""

    target: str
    scopes: tuple[Scope, ...]
    """How much may go wrong, by size: of one step, of two, ..."""
    left_out: tuple[str, ...]
    """What the target does not claim."""
    policies: tuple[str, ...]
    uncut: bool


@dataclass(frozen=True, slots=True)
class Level:
    """All workflows of one size, and what came of them."""

    steps: int
    scope: Scope
    shapes: int
    workflows: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Smallest:
    """The smallest violation, made as small as can be."""

    case: Case
    program: tuple[str, ...]
    path: Path

    @property
    def sentence(self) -> str:
        """Which clause was broken, and how."""
        return f"{self.case.clause} ({self.case.invariant}): {self.case.sentence}"


def explored(search: Search, steps: int, processes: int) -> Level:
    """Explore all workflows of a size."""
    chosen = list(plans(steps, search.policies))
    scope = search.scopes[steps - 1]
    tasks = [_Task(number, plan, scope, search.target, search.uncut) for number, plan in enumerate(chosen)]
    return Level(steps, scope, len(shapes(steps)), len(chosen), _explored(tasks, processes))


@dataclass(frozen=True, slots=True)
class _Task:
    """One workflow to explore."""

    number: int
    plan: Plan
    scope: Scope
    target: str
    uncut: bool


def _explored(tasks: Sequence[_Task], processes: int) -> Tally:
    """What comes of some workflows, put together in their order."""
    found: dict[int, Tally] = {}
    said = time.monotonic()
    with get_context("spawn").Pool(min(processes, len(tasks)), begin) as pool:
        coming = pool.imap_unordered(_work, tasks)
        for _ in tasks:
            try:
                number, tally = coming.next(timeout=_PATIENCE)
            except NoAnswer:
                message = f"no word from any worker for {_PATIENCE:g} s"
                raise click.ClickException(message) from None
            found[number] = tally
            if time.monotonic() - said > _EVERY:
                said = time.monotonic()
                click.echo(f"lockstep explore: {_standing(tasks, list(found.values()))}", err=True)
    total = Tally()
    for task in tasks:
        total.add(found[task.number])
    return total


def _work(task: _Task) -> tuple[int, Tally]:
    """In a worker: one workflow."""
    return task.number, Explorer(task.plan, load_target(task.target), task.scope, uncut=task.uncut).explore()


def _standing(tasks: Sequence[_Task], done: Sequence[Tally]) -> str:
    steps = counted(len(tasks[0].plan.shape), "step")
    courses = counted(sum(tally.courses for tally in done), "course")
    return f"{steps}: {len(done)} of {counted(len(tasks), 'workflow')}, {courses}"


def made_small(found: Broken, target: str, directory: Path) -> Smallest:
    """Make a violation as small as can be, and keep it as a case."""
    factory = load_target(target)
    case = Case(found.lines, found.clause, found.invariant, found.sentence, "", target, "explore", found.slots)
    case = minimise(from_text(to_text(case)), factory)
    played = carry_out(case.lines, factory, case.max_concurrent_steps).played
    return Smallest(case, tuple(each.tell() for each in played), save(case, directory / "cases"))
