"""What holds for every test.

Rule 1: an assertion that fails inside ``machines`` explains itself like one in a test, so pytest is told before
anything imports them.
Rule 2: a test run is repeatable: the same tests, the same examples. Searching for new ones is ``lockstep fuzz``.
"""

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

pytest.register_assert_rewrite("machines")

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


def pytest_sessionfinish() -> None:
    """Save what was measured: a worker that is slow to exit is killed, and its share of the coverage would be lost."""
    if (measurement := coverage.Coverage.current()) is not None:
        measurement.save()
