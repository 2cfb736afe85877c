"""What the engine costs: its speed beside a bare loop's, and whether a step of a large workflow costs more.

Rule 1: every figure that has a bound is a ratio of two measurements made side by side in one run.
Rule 2: the bare loop is what one would write with asyncio alone for steps that can neither fail nor wait nor be kept:
it holds no journal, no state, no limit, no identity. The ratio is what is left of its speed with all of these.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, TypeAlias

import click

from engine import ExecutionStateManager, WorkflowEngine
from engine.definition import parse_workflow
from engine.workflow import Workflow

Graph: TypeAlias = Sequence[Sequence[int]]
"""The sources of each step, all of them earlier ones."""


def chain(size: int) -> Graph:
    """Every step after the one before it."""
    return [[step - 1] if step else [] for step in range(size)]


def fan_out(size: int) -> Graph:
    """One step, then all others."""
    return [[0] if step else [] for step in range(size)]


def random_graph(size: int) -> Graph:
    """Each step after up to three of all the earlier ones."""
    chance = random.Random(size)
    return [
        sorted({chance.randrange(step) for _ in range(chance.randint(0, 3))} if step else ()) for step in range(size)
    ]


GRAPHS: Final[Mapping[str, Callable[[int], Graph]]] = {"chain": chain, "fan-out": fan_out, "random graph": random_graph}

FLOORS: Final[Mapping[str, float]] = {"chain": 0.33, "fan-out": 0.25, "random graph": 0.25}
"""Steps per second of the engine, as a share of the bare loop's."""

SIZES: Final = (1_000, 10_000, 100_000)
TIME_GROWTH: Final = 1.5
"""How much more time a step may take in a workflow ten times as large."""
MEMORY_GROWTH: Final = 1.1
"""How much more memory."""

_SIZE: Final = 2_000
_ROUNDS: Final = 15
_SLOTS: Final = 100


def workflow(graph: Graph) -> Workflow:
    """The workflow of a graph, of steps that do nothing."""
    steps = [
        {"id": f"s{step}", "action": "nothing", "depends_on": [f"s{source}" for source in sources]}
        for step, sources in enumerate(graph)
    ]
    return parse_workflow({"id": "bench", "steps": steps})


async def nothing(_parameters: object, _context: object) -> None:
    """An action that returns at once."""


async def run_bare(graph: Graph, action: Callable[[object, int], Awaitable[None]] = nothing) -> None:
    """Run a graph with asyncio alone: a queue of ready steps, a task for each, a count of each one's open sources."""
    targets: list[list[int]] = [[] for _ in graph]
    waits = [len(sources) for sources in graph]
    for step, sources in enumerate(graph):
        for source in sources:
            targets[source].append(step)
    ready: asyncio.Queue[int] = asyncio.Queue()

    async def run(step: int) -> None:
        await action({}, step)
        for target in targets[step]:
            waits[target] -= 1
            if not waits[target]:
                ready.put_nowait(target)

    for step, count in enumerate(waits):
        if not count:
            ready.put_nowait(step)
    async with asyncio.TaskGroup() as group:
        for _ in graph:
            group.create_task(run(await ready.get()))


async def run_engine(given: Workflow) -> None:
    """Run a workflow on a journal in memory, to its end and its report."""
    actions = {"nothing": nothing}
    async with WorkflowEngine(ExecutionStateManager(), actions, max_concurrent_steps=_SLOTS) as engine:
        found = await engine.wait(await engine.start_workflow(given))
    assert found["status"] == "COMPLETED"


def _seconds(work: Coroutine[None, None, None]) -> float:
    """CPU-seconds of running a coroutine in a loop of its own."""
    with asyncio.Runner() as runner:
        runner.get_loop()
        gc.collect()
        began = time.process_time()
        runner.run(work)
        return time.process_time() - began


def speeds(name: str, size: int = _SIZE, rounds: int = _ROUNDS) -> tuple[float, float, float]:
    """Steps per CPU-second of the engine and of the bare loop, and their ratio: medians of interleaved pairs."""
    graph = GRAPHS[name](size)
    given = workflow(graph)
    pairs = [(_seconds(run_engine(given)), _seconds(run_bare(graph))) for _ in range(rounds + 1)]
    engine, bare = zip(*pairs[1:], strict=True)  # the first round warms caches
    ratio = median(theirs / ours for ours, theirs in pairs[1:])
    return size / median(engine), size / median(bare), ratio


def times(name: str, sizes: Sequence[int] = SIZES, rounds: int = 3) -> list[float]:
    """CPU-seconds per step of running a graph, for each size: medians, interleaved."""
    given = [workflow(GRAPHS[name](size)) for size in sizes]
    measured = [[_seconds(run_engine(one)) / len(one.steps) for one in given] for _ in range(rounds)]
    return [median(column) for column in zip(*measured, strict=True)]


def memory(name: str, size: int) -> float:
    """Bytes per step, at the most, while a definition is parsed and run."""
    graph = GRAPHS[name](size)
    gc.collect()
    tracemalloc.start()
    try:
        asyncio.run(run_engine(workflow(graph)))
        return tracemalloc.get_traced_memory()[1] / size
    finally:
        tracemalloc.stop()


def growth(figures: Sequence[float]) -> float:
    """The largest ratio of a figure to the one before."""
    return max(later / earlier for earlier, later in pairwise(figures))


def main() -> None:
    """Print the figures."""
    for name, floor in FLOORS.items():
        engine, bare, ratio = speeds(name)
        click.echo(f"{name}: {engine:,.0f} steps per CPU-second, a bare loop {bare:,.0f}")
        click.echo(f"ratio: {ratio:.2f} (floor {floor})")
    sizes = ", ".join(f"{size:,}" for size in SIZES)
    for name in GRAPHS:
        seconds = times(name)
        kept = [memory(name, size) for size in SIZES]
        shown = ", ".join(f"{1e6 * figure:.1f}" for figure in seconds)
        click.echo(f"{name} of {sizes} steps: {shown} microseconds per step")
        click.echo(f"largest growth: {growth(seconds):.2f} (at most {TIME_GROWTH})")
        shown = ", ".join(f"{figure:,.0f}" for figure in kept)
        click.echo(f"{name} of {sizes} steps: {shown} bytes per step")
        click.echo(f"largest growth: {growth(kept):.2f} (at most {MEMORY_GROWTH})")


if __name__ == "__main__":
    main()
