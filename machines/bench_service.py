"""What it costs to be told: events per second that the service delivers live, beside a bare WebSocket broadcast's.

Rule 1: the figure that has a bound is a ratio of two measurements made side by side in one run: medians of interleaved
pairs, in seconds on the wall.
Rule 2: both sides send the same texts to as many subscribers over real sockets, and the subscribers are the same: the
client of the library ``websockets``, in this process. The bare side is that library's own server, which has all texts
at hand and hands each of them to all connections at once (``broadcast``). The service runs the execution meanwhile,
journals it in memory, and makes a text of each event for each subscriber.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

import click
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_bare

from engine.journal import MemoryJournal
from engine.service import Catalogue, Limits, create_app
from engine.service.server import bound, serve
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.bench_engine import chain, nothing, workflow

FLOOR: Final = 0.25
"""Events per second of the service, as a share of the bare broadcast's."""

_STEPS: Final = 500
_SUBSCRIBERS: Final = 20
_ROUNDS: Final = 5
_YIELD: Final = 10
"""Texts after which the bare side lets its subscribers read, as the engine does at each commit."""


async def _hear(url: str, ready: asyncio.Barrier) -> list[str]:
    """Everything that a subscriber is sent, to the end."""
    async with connect(url, proxy=None, compression=None) as socket:
        heard = [str(await socket.recv()) for _ in range(1)]
        await ready.wait()
        return [*heard, *[str(text) async for text in socket]]


async def run_service(steps: int, subscribers: int) -> tuple[float, list[str]]:
    """Seconds of telling a running execution to its subscribers, and what one of them was sent."""
    catalogue = await Catalogue.of(MemoryJournal())
    limits = Limits(rate=1e9, burst=10**9)
    async with WorkflowEngine(ExecutionStateManager(catalogue), {"nothing": nothing}) as engine:
        listening, stop = bound("127.0.0.1", 0), asyncio.Event()
        url = "ws://{}:{}".format(*listening.getsockname())
        serving = asyncio.create_task(serve(create_app(engine, catalogue, limits=limits), listening, stop))
        execution = await engine.start_workflow(workflow(chain(steps)), execution_id="x")
        await engine.pause_execution(execution)
        ready = asyncio.Barrier(subscribers + 1)
        hearing = [
            asyncio.create_task(_hear(f"{url}/v1/executions/{execution}/live", ready)) for _ in range(subscribers)
        ]
        await ready.wait()
        began = time.perf_counter()
        await engine.resume_execution(execution)
        heard = await asyncio.gather(*hearing)
        took = time.perf_counter() - began
        stop.set()
        await serving
    assert all(each == heard[0] for each in heard)
    return took, heard[0]


async def run_bare(texts: Sequence[str], subscribers: int) -> float:
    """Seconds of sending texts to all connections of a bare server."""
    over = asyncio.Event()

    async def keep(socket: ServerConnection) -> None:
        await socket.send(texts[0])
        await over.wait()

    async with serve_bare(keep, "127.0.0.1", 0, compression=None) as server:
        url = "ws://{}:{}".format(*next(iter(server.sockets)).getsockname())
        ready = asyncio.Barrier(subscribers + 1)
        hearing = [asyncio.create_task(_hear(url, ready)) for _ in range(subscribers)]
        await ready.wait()
        began = time.perf_counter()
        for number, text in enumerate(texts[1:]):
            broadcast(server.connections, text)
            if number % _YIELD == 0:
                await asyncio.sleep(0)
        over.set()
        heard = await asyncio.gather(*hearing)
        took = time.perf_counter() - began
    assert all(each == list(texts) for each in heard)
    return took


def speeds(steps: int = _STEPS, subscribers: int = _SUBSCRIBERS, rounds: int = _ROUNDS) -> tuple[float, float, float]:
    """Events delivered per second by the service and by the bare server, and their ratio; medians, interleaved."""
    pairs: list[tuple[float, float]] = []
    events = 0
    for _ in range(rounds + 1):
        gc.collect()
        ours, texts = asyncio.run(run_service(steps, subscribers))
        gc.collect()
        pairs.append((ours, asyncio.run(run_bare(texts, subscribers))))
        events = (len(texts) - 1) * subscribers
    service, bare = zip(*pairs[1:], strict=True)  # the first round warms caches
    return events / median(service), events / median(bare), median(theirs / ours for ours, theirs in pairs[1:])


def main() -> None:
    """Print the figures."""
    service, bare, ratio = speeds()
    told = f"{_SUBSCRIBERS} subscribers of an execution of {_STEPS} steps"
    click.echo(f"{told}: {service:,.0f} events per second delivered, a bare broadcast {bare:,.0f}")
    click.echo(f"ratio: {ratio:.2f} (floor {FLOOR})")


if __name__ == "__main__":
    main()
