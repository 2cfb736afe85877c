"""What the worker processes of every search have in common."""

from __future__ import annotations

import gc
import signal
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
