"""A large workflow is a small one with more steps: none costs more than it would in company of a few.

Time is counted in calls, which are the same on every day; memory in bytes that Python asked for.
"""

import asyncio
import sys
from types import FrameType

import pytest

from machines.bench_engine import GRAPHS, MEMORY_GROWTH, chain, growth, memory, run_engine, workflow

SMALL, LARGE, HUGE = 1_000, 10_000, 100_000


def calls(name: str, size: int) -> float:
    """Calls per step, of Python and of C, while a graph is run."""
    given = workflow(GRAPHS[name](size))
    count = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        asyncio.run(run_engine(given))
    finally:
        sys.setprofile(before)
    return count / size


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", GRAPHS)
def test_a_step_takes_no_more_calls_in_a_large_workflow(name: str) -> None:
    assert growth([calls(name, SMALL), calls(name, LARGE)]) < 1.1


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", GRAPHS)
def test_a_step_takes_no_more_memory_in_a_large_workflow(name: str) -> None:
    assert growth([memory(name, SMALL), memory(name, LARGE)]) < MEMORY_GROWTH


@pytest.mark.unmeasured
@pytest.mark.timeout(60)
def test_a_chain_of_100_000_steps_comes_to_its_end() -> None:
    given = workflow(chain(HUGE))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)  # nothing recurses with the workflow
    try:
        asyncio.run(run_engine(given))
    finally:
        sys.setrecursionlimit(limit)
