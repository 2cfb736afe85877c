"""What holds for every test.

Rule 1: an assertion that fails inside ``machines`` explains itself like one in a test, so pytest is told before
anything imports them.
Rule 2: a test run is repeatable: the same tests, the same examples. Searching for new ones is ``lockstep fuzz``.
Rule 3: coverage says what the short tests reach, those that name what they expect. A search marked ``unmeasured`` has
counts of its own, and would take more than twice as long under measurement. So is a test in which an alarm raises an
exception: where it strikes coverage.py's own code, a lock stays taken, and the process stands still for ever.
Rule 4: it does not matter who starts the tests: a shell has what it starts in the background ignore Ctrl-C, and so
would every child that a test interrupts.
Rule 5: the garbage collector comes as seldom as to a worker of a search: a case makes thousands of objects and drops
nearly all of them at its end.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytest.register_assert_rewrite("machines")
gc.set_threshold(20_000, 20, 20)

# Hypothesis looks for CI in the environment and then loads a profile of its own, so ours is loaded by name, and
# stands under that name too.
for name in ("lockstep", "ci"):
    settings.register_profile(
        name,
        database=None,  # what an earlier run found must not decide this one
        deadline=None,  # a busy machine is no failure
        derandomize=True,
        phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],  # explain doubles a failing run
        suppress_health_check=[HealthCheck.too_slow],  # a busy machine again
    )
settings.load_profile("lockstep")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_MEASURED_CHILDREN: Final = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""By these variables a child process learns that it is to be measured."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Carry out a test, without measuring it if it says so."""
    measurement = coverage.Coverage.current()
    if measurement is None or item.get_closest_marker("unmeasured") is None:
        return (yield)
    told = {name: os.environ.pop(name) for name in _MEASURED_CHILDREN if name in os.environ}
    measurement.stop()
    try:
        return (yield)
    finally:
        measurement.start()
        os.environ.update(told)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests of pages."""
    from tests.browser import opened  # noqa: PLC0415  # the other tests need none

    window = opened(tmp_path_factory.mktemp("chromium"))
    yield window
    window.quit()


def pytest_sessionfinish() -> None:
    """Save what was measured: a worker that is slow to exit is killed, and its share of the coverage would be lost."""
    if (measurement := coverage.Coverage.current()) is not None:
        measurement.save()
