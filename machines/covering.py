"""How much of the engine a campaign's workers have been through: its branches, by SlipCover.

Rule 1: it is shown and never steered by: what is new is measured on the model (``machines.corpus``).
Rule 2: a module is covered if it is imported after ``begin``, so a process that is to cover is asked to do so when it
starts: ``machines`` itself looks, before anything of it imports the engine.
Rule 3: who has no SlipCover does without, and where coverage.py measures already, this does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

VARIABLE: Final = "LOCKSTEP_COVERAGE"
"""In the environment of a process that is to cover the engine: anything but nothing."""
_ENGINE: Final = Path(__file__).parent.parent / "engine"
_covers: list[Any] = []
"""SlipCover at work; none or one."""

Branch: TypeAlias = tuple[str, int, int]
"""A file of the engine, and the lines that a branch goes from and to; to 0 is out."""


def can_cover() -> bool:
    """Whether SlipCover is installed."""
    return find_spec("slipcover") is not None


def begin() -> None:
    """Cover what is imported of the engine from now on."""
    from slipcover import FileMatcher, ImportManager, Slipcover  # type: ignore[import-untyped]  # noqa: PLC0415  # most processes do not

    covers = Slipcover(branch=True)
    ImportManager(covers, FileMatcher(sources=[str(_ENGINE)])).__enter__()  # until the process ends
    _covers.append(covers)


def begin_if_asked() -> None:
    """Cover if the environment says so, and nothing is in the way."""
    if os.environ.get(VARIABLE) and can_cover() and "coverage" not in sys.modules:
        begin()


@contextmanager
def asked(*, covers: bool) -> Iterator[None]:
    """Processes that are started meanwhile are asked to cover, or not to."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1" if covers else ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


class Covered:
    """What this process has covered, told bit by bit."""

    def __init__(self) -> None:
        self._told: set[Branch] = set()

    def news(self) -> tuple[tuple[Branch, ...], int]:
        """The branches that were covered since the last time, and how many there are in all that was imported."""
        if not _covers:
            return (), 0
        files = _covers[0].get_coverage()["files"]
        there: list[Branch] = []
        for path, found in sorted(files.items()):
            name = str(Path(path).resolve().relative_to(_ENGINE))
            there.extend((name, come, go) for come, go in found["executed_branches"])
        fresh = tuple(branch for branch in there if branch not in self._told)
        self._told.update(fresh)
        return fresh, len(there) + sum(len(found["missing_branches"]) for found in files.values())
