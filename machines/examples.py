"""The engine's own two test files against a bug: examples by hand, and properties of generated workflows.

Rule 1: they are run as they stand, on an engine with the bug (see ``tests.faults``); nothing here judges.
Rule 2: an end that does not come is noticed, too. What is noticed once only is not: a busy machine is no bug.
Rule 3: a bug in what makes a target of the engine is none of theirs: they do not use it.
"""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from machines.mutants import MUTANTS
from machines.mutants.planting import Edit

_ROOT: Final = Path(__file__).parent.parent
EXAMPLES: Final = "tests.integration.test_workflow_engine_execution"
PROPERTIES: Final = "tests.property_tests.workflow.test_workflow_engine_state_invariants"
_PATIENCE: Final = 10.0
"""Seconds until a test that waits counts as never ending; the slowest takes a third of one."""
_MORE_PATIENCE: Final = 60
"""The same for one that never waits: only an alarm ends it."""


class _NoEnd(KeyboardInterrupt):
    """A test takes too long. What an engine or asyncio catches is anything but this."""


def at_hand() -> bool:
    """Whether the tests are there: an installed package has none."""
    return (_ROOT / "tests" / "faults.py").exists()


def warm() -> None:
    """Import the tests now, so that processes forked from this one need not."""
    _faults()


def notice(bug: str) -> str | None:
    """The first test that notices a bug, with what it says; None if none does."""
    mutant = MUTANTS[bug]
    if not any(edit.module.startswith("engine.") for edit in mutant.edits):
        return None
    return noticed(mutant.edits, mutant.name)


def noticed(edits: Sequence[Edit], name: str, files: Sequence[str] = (EXAMPLES, PROPERTIES)) -> str | None:
    """The same for any edits of the engine, and for some of the files."""
    faults = _faults()
    make = partial(faults.Trial.of, edits, name, _PATIENCE)
    trial = make()
    with warnings.catch_warnings(), _bounded():
        warnings.simplefilter("ignore")  # what a faulty engine leaves behind is not our trouble
        for test in (test for test, file in faults.places().items() if file in files):
            if (said := _said(trial, test)) and _said(make(), test):
                return f"{test}: {said}"
    return None


def _said(trial: Any, test: str) -> str | None:  # noqa: ANN401  # see below
    """What a test says of an engine."""
    signal.alarm(_MORE_PATIENCE)
    try:
        said: str | None = trial.notices(test)
    except _NoEnd:
        said = "no end"
    return said


def _faults() -> Any:  # noqa: ANN401  # a module of the tests, which no types follow
    if str(_ROOT) not in sys.path:
        sys.path.insert(0, str(_ROOT))
    importlib.import_module("tests.conftest")
    return importlib.import_module("tests.faults")


@contextmanager
def _bounded() -> Iterator[None]:
    """While it lasts, an alarm is a `_NoEnd`."""
    before = signal.signal(signal.SIGALRM, _ring)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _NoEnd
