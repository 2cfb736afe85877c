"""What the worker processes of every search have in common."""

from __future__ import annotations

import gc
import resource
import signal
from pathlib import Path
from typing import Final

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


def most_memory_used() -> int:
    """The most memory that this process had, in KiB.

    ``getrusage`` says no less than what the parent had when it started this process; /proc, where it is, says its own.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
