"""What it costs to lose nothing: durable steps per second beside a bare loop's, and how long a recovery takes.

Rule 1: every figure that has a bound is a ratio of two measurements made side by side in one run.
Rule 2: the bare loop is what one would write with asyncio alone: it runs a graph as in `machines.bench_engine`, and
after each step it awaits, in a thread of its own, one INSERT and its commit, as `sqlite3` does them by itself. Its rows
go into the events of a file that a journal has made, with the same write-ahead log and the same ``synchronous``. It
writes one row a step and never looks back; the engine writes two, how far the execution has come, and looks whether the
file is still its own. To commit on the loop itself would be faster wherever a commit does not wait for the disk, and
would hold up every action wherever it does.
Rule 3: steps are measured in seconds on the wall, for a commit waits: medians of interleaved pairs. A recovery does not
wait (its file has just been written): it is measured in CPU-seconds, of all threads, which a shared computer disturbs
less.

The files are made where temporary ones go; ``TMPDIR`` says on which disk.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, get_args

import click

from engine import ExecutionStateManager, SqliteJournal, WorkflowEngine
from engine.messages import Event, ExecutionCreated, ExecutionStarted, StepCompleted, StepStarted
from engine.sqlite_journal import Synchronous
from engine.workflow import Workflow
from machines.bench_engine import Graph, chain, fan_out, growth, nothing, run_bare, workflow

FLOORS: Final[Mapping[str, float]] = {"chain": 0.5, "fan-out": 1.0, "executions of 10 steps": 1.0}
"""Durable steps per second of the engine, as a share of the bare loop's. Steps side by side can share a commit."""

SIZES: Final = (10_000, 100_000, 1_000_000)
TIME_GROWTH: Final = 1.5
"""How much more time an event may take in a recovery of ten times as many."""

_SIZE: Final = 1_000
_ROUNDS: Final[Mapping[Synchronous, int]] = {"FULL": 5, "NORMAL": 25}
_SLOTS: Final = 100
_SHORT: Final = 10
_INSERT: Final = "INSERT INTO events (execution, seq, event) VALUES (?, ?, ?)"

_STEPS: Final = 100
_BATCH: Final = 10_000
_REPEATED: Final = 300_000
"""A recovery is repeated, up to five times, until it has taken up so many events."""


def graphs(name: str, size: int) -> Sequence[Graph]:
    """The executions of a shape, which have this many steps together."""
    if name == "executions of 10 steps":
        return [chain(_SHORT)] * (size // _SHORT)
    return [chain(size) if name == "chain" else fan_out(size)]


# Durable steps


async def run_engine(path: Path, synchronous: Synchronous, given: Sequence[Workflow]) -> float:
    """Seconds of running workflows at once on a new file, to their ends and their reports."""
    manager = ExecutionStateManager(await SqliteJournal.open(path, synchronous=synchronous))
    async with WorkflowEngine(manager, {"nothing": nothing}, max_concurrent_steps=_SLOTS) as engine:

        async def run(one: Workflow) -> None:
            found = await engine.wait(await engine.start_workflow(one))
            assert found["status"] == "COMPLETED"

        began = time.perf_counter()
        await asyncio.gather(*map(run, given))
        return time.perf_counter() - began


async def run_loop(path: Path, synchronous: Synchronous, given: Sequence[Graph]) -> float:
    """Seconds of running graphs at once with asyncio alone, on a new file, each step committed once it has run."""
    await (await SqliteJournal.open(path)).close()
    loop = asyncio.get_running_loop()
    with (
        closing(sqlite3.connect(path, check_same_thread=False)) as table,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        table.execute(f"PRAGMA synchronous = {synchronous}")

        def commit(execution: str, step: int) -> None:
            done = {"type": "StepCompleted", "at": time.time(), "step": f"s{step}", "attempt": 1, "output": None}
            with table:
                table.execute(_INSERT, (execution, step, json.dumps(done)))

        async def act(execution: str, parameters: object, step: int) -> None:
            await nothing(parameters, step)
            await loop.run_in_executor(thread, commit, execution, step)

        began = time.perf_counter()
        await asyncio.gather(*[run_bare(one, partial(act, f"{number:032x}")) for number, one in enumerate(given)])
        return time.perf_counter() - began


def pair(synchronous: Synchronous, given: Sequence[Graph], workflows: Sequence[Workflow]) -> tuple[float, float]:
    """Seconds of the engine and of the bare loop, one after the other."""
    with TemporaryDirectory() as folder:
        gc.collect()
        ours = asyncio.run(run_engine(Path(folder, "engine"), synchronous, workflows))
        gc.collect()
        theirs = asyncio.run(run_loop(Path(folder, "bare"), synchronous, given))
    return ours, theirs


def speeds(
    name: str, synchronous: Synchronous, size: int = _SIZE, rounds: int | None = None
) -> tuple[float, float, float]:
    """Durable steps per second of the engine and of the bare loop, and their ratio: medians of interleaved pairs."""
    given = graphs(name, size)
    workflows = [workflow(graph) for graph in given]
    pairs = [pair(synchronous, given, workflows) for _ in range((rounds or _ROUNDS[synchronous]) + 1)]
    engine, bare = zip(*pairs[1:], strict=True)  # the first round warms caches
    return size / median(engine), size / median(bare), median(theirs / ours for ours, theirs in pairs[1:])


# Recovery


def _history(given: Workflow) -> list[Event]:
    """The events of a chain whose last step is under way."""
    events: list[Event] = [ExecutionCreated(0.0, given.definition, {}), ExecutionStarted(0.0)]
    for step in given.steps:
        events += (StepStarted(0.0, step.id, 1), StepCompleted(0.0, step.id, 1, None))
    return events[:-1]


async def write(path: Path, size: int, steps: int) -> int:
    """Write a journal of about this many events, of executions of so many steps each; returns how many they are."""
    journal = await SqliteJournal.open(path, synchronous="NORMAL")
    events = _history(workflow(chain(steps)))
    executions = max(1, size // len(events))
    for execution in range(executions):
        for done in range(0, len(events), _BATCH):
            await journal.append(f"{execution:032x}", done + 1, events[done : done + _BATCH])
    await journal.close()
    return executions * len(events)


async def _never(_parameters: object, _context: object) -> None:
    """An action that stays under way."""
    await asyncio.get_running_loop().create_future()


async def recover(path: Path) -> tuple[float, int]:
    """CPU-seconds of opening a journal and taking up all that it has, and how many executions that was."""
    began = time.process_time()
    manager = ExecutionStateManager(await SqliteJournal.open(path))
    async with WorkflowEngine(manager, {"nothing": _never}, max_concurrent_steps=_SLOTS) as engine:
        taken = await engine.recover()
        return time.process_time() - began, len(taken)


def times(steps: int | None, sizes: Sequence[int] = SIZES) -> list[float]:
    """CPU-seconds per event of a recovery, for each size: medians, interleaved.

    ``steps``: how many each execution has; None: one execution has it all.
    """
    measured: list[list[float]] = [[] for _ in sizes]
    with TemporaryDirectory() as folder:
        paths = [Path(folder, str(size)) for size in sizes]
        events = [asyncio.run(write(path, size, steps or size // 2)) for path, size in zip(paths, sizes, strict=True)]
        for number in range(5):
            for path, count, seconds in zip(paths, events, measured, strict=True):
                if number * count < _REPEATED:
                    gc.collect()
                    seconds.append(asyncio.run(recover(path))[0] / count)
    return [median(seconds) for seconds in measured]


def main() -> None:
    """Print the figures."""
    for name, floor in FLOORS.items():
        for synchronous in get_args(Synchronous):
            engine, bare, ratio = speeds(name, synchronous)
            told = f"{_SIZE // _SHORT} {name}" if "executions" in name else f"{name} of {_SIZE:,}"
            click.echo(f"{told}, {synchronous}: {engine:,.0f} durable steps per second, a bare loop {bare:,.0f}")
            click.echo(f"ratio: {ratio:.2f} (floor {floor})")
    sizes = ", ".join(f"{size:,}" for size in SIZES)
    for name, steps in (f"executions of {_STEPS} steps", _STEPS), ("one execution", None):
        seconds = times(steps)
        shown = ", ".join(f"{1e6 * figure:.1f}" for figure in seconds)
        click.echo(f"recovery of {sizes} events, {name}: {shown} microseconds per event")
        click.echo(f"largest growth: {growth(seconds):.2f} (at most {TIME_GROWTH})")


if __name__ == "__main__":
    main()
