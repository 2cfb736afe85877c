"""A bound on what carrying out a case may take: a case may come from a stranger, and be made never to end.

Rule 1: when the time is over, an alarm ends the work from inside: it is told as what it is, and what was begun is put
away. It rings again every second, for what does not listen at once. Whatever fails after it rang failed of it.
Rule 2: what no alarm reaches (a library that computes on and on) is ended by the kernel, for the CPU-seconds it took.
Rule 3: memory is bounded too: what asks for more gets none.
Rule 4: when the work is done, all is as it was before.
"""

from __future__ import annotations

import gc
import math
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

_MEMORY: Final = 4 * 1024**3
"""Bytes that may come to those that are used already."""
_AGAIN: Final = 1.0
_GRACE: Final = 30
"""CPU-seconds beyond the time, until the kernel ends it all."""


def a_number(_ctx: click.Context, _param: click.Parameter, number: float) -> float:
    """Refuse what is in every range, or without an end: neither can be counted with."""
    if not math.isfinite(number):
        message = f"{number:g} is no finite number"
        raise click.BadParameter(message)
    return number


seconds_for_a_case: Final = click.option(
    "--seconds",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=300,
    show_default=True,
    callback=a_number,
    help="How long a case may take.",
)


class OutOfTime(KeyboardInterrupt):
    """The time is over. What an engine or asyncio catches is anything but a KeyboardInterrupt."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it was not over after {seconds:g} seconds, which --seconds allows")


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Carry out what follows within so many seconds.

    Raises:
        OutOfTime: they were not enough.
    """
    rang = False

    def ring(_number: int, _frame: FrameType | None) -> None:
        nonlocal rang
        rang = True
        raise OutOfTime(seconds)

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = int(used.ru_utime + used.ru_stime + seconds) + _GRACE
    before = [(kind, resource.getrlimit(kind)) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]
    handler = signal.signal(signal.SIGALRM, ring)
    for (kind, (soft, hard)), bound in zip(before, (cpu_seconds, _memory_used() + _MEMORY), strict=True):
        lower = [limit for limit in (soft, hard, bound) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(lower), hard))
    hook, sys.unraisablehook = sys.unraisablehook, _unless_out_of_time(sys.unraisablehook)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    except (Exception, OutOfTime) as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not rang:
            raise
        _forget(error)
        raise OutOfTime(seconds) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, handler)
        for kind, limits in before:
            resource.setrlimit(kind, limits)


def _forget(error: BaseException | None) -> None:
    """Let go of all that was begun and will never be ended, without a word of Python's about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__
        gc.collect()


def _unless_out_of_time(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Tell of what a finaliser raised, as ever; but an alarm that rings in one is no news: it rings again."""
    return lambda found: None if issubclass(found.exc_type, OutOfTime) else hook(found)


def _memory_used() -> int:
    """The address space of this process, in bytes; nothing where no file says so."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()
