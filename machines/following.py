"""What ``lockstep run`` and ``lockstep recover`` share: an execution is watched to its end, and Ctrl-C is heard.

Rule 1: nobody is here to resume an execution: one that is paused, and has nothing running, is left at that.
Rule 2: an engine that cannot go on with an execution is told of, and keeps nobody waiting.
"""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self

from engine.errors import JournalError
from engine.messages import Failure
from engine.state import Report, Status
from engine.workflow_engine import WorkflowEngine
from machines.course import Course, Teller

__all__ = ["COMPLETED", "NOT_COMPLETED", "SIGNALLED", "Interruption", "follow", "report_of", "wall_clock"]

COMPLETED: Final = 0
NOT_COMPLETED: Final = 3
SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that ended a program."""


def wall_clock() -> Callable[[], float]:
    """A clock that tells the time of day, and never goes back."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


async def follow(engine: WorkflowEngine, course: Course, teller: Teller, known: int = 0) -> JournalError | None:
    """Watch an execution to its end, or to where nobody goes on with it. Returns what kept the engine from that.

    Events up to the number ``known`` are seen, and not told: they are history.
    """
    watching = asyncio.create_task(_watch(engine, course, teller, known))
    ending = asyncio.create_task(engine.wait(course.execution))
    try:
        await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            await ending
        await watching
    except JournalError as error:
        return error
    finally:
        for task in (watching, ending):
            task.cancel()
        await asyncio.gather(watching, ending, return_exceptions=True)
    return None


async def _watch(engine: WorkflowEngine, course: Course, teller: Teller, known: int) -> None:
    async for seq, event in engine.subscribe(course.execution):
        course.see(event)
        if seq > known:
            teller.tell(event)
        elif seq == known:
            teller.skip()
        if course.paused and not course.running and await _rests(engine, course.execution, seq):
            return


async def _rests(engine: WorkflowEngine, execution: str, seq: int) -> bool:
    """Whether an execution is paused since this event, and nothing more is on its way into the journal."""
    if not await _is_paused(engine, execution, seq):
        return False
    # Refused, and answered only when whatever was decided before (a deadline that had passed, say) is durable.
    await engine.pause_execution(execution)
    return await _is_paused(engine, execution, seq)


async def _is_paused(engine: WorkflowEngine, execution: str, seq: int) -> bool:
    report = await engine.get_execution(execution)
    return bool(report["status"] == Status.PAUSED and report["seq"] == seq)


async def report_of(engine: WorkflowEngine, course: Course, teller: Teller, failure: JournalError | None) -> Report:
    """Where an execution stands that is followed no more; says so if that is not its end."""
    report = await engine.get_execution(course.execution)
    if failure is not None:
        teller.note(f"cannot go on: {failure}")
        report["error"] = Failure(None, None, type(failure).__name__, str(failure)).to_json()
    elif report["status"] == Status.PAUSED:
        missing = "; ".join(f"step {step} misses {', '.join(paths)}" for step, paths in report["missing"].items())
        teller.note(f"PAUSED, and nobody is here to resume it{missing and ': '}{missing}")
    return report


class Interruption:
    """While it lasts, the first Ctrl-C (or SIGTERM) is told by ``came``, and the next cancels the task that made this.

    From then on nobody listens: whoever does not want to wait for that either gets his ``KeyboardInterrupt``.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.came = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._waiting = asyncio.current_task(self._loop)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen, if this is the thread that may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            for each in self._before:
                signal.signal(each, signal.default_int_handler)
        self._loop.call_soon_threadsafe(self._insist if self.signal else self.came.set)
        self.signal = number

    def _insist(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
