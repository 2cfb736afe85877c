"""What the worker processes of every search have in common."""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

MEMORY: Final = 6 * 1024**3
"""Bytes of address space that a worker may have: what goes beyond is a MemoryError in the case under way."""
MOST_MEMORY: Final = 700 * 1024
"""KiB of memory at which a worker is replaced, however young."""

_YOUNG: Final = (20_000, 20, 20)
"""A case makes thousands of objects and drops nearly all of them at its end: with CPython's own thresholds the
collector looks at most of them several times, for a tenth of a search's time."""


def begin() -> None:
    """The first words of a worker.

    Ctrl-C is for the one who started it, and who will end it. The garbage collector comes seldom, and not to what has
    been imported: nothing that is judged depends on when it comes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(*_YOUNG)


def confine(path: Path) -> int:
    """Put whatever a worker says into a log, where it also says on SIGUSR1 where it is; and bound its memory.

    Returns the log's descriptor.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    faulthandler.register(signal.SIGUSR1, file=log, all_threads=True)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or hard > MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    return log


def fate(code: int) -> str:
    """How a process ended, by its exit status."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended of itself with exit status {code}"


def most_memory_used() -> int:
    """The most memory that this process had, in KiB.

    ``getrusage`` says no less than what the parent had when it started this process; /proc, where it is, says its own.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
