"""What a process says of the engine's branches that it went through."""

import os
import subprocess
import sys
from pathlib import Path

from machines import covering
from machines.covering import VARIABLE, Covered, asked

SCRIPT = """
from itertools import islice

from machines.covering import Covered
from machines.driving import Driver

covered, cases = Covered(), Driver("lifecycle", 1).cases()
entries = 0
for _ in range(2):
    entries += sum(case.entries for case in islice(cases, 8))
    fresh, in_all = covered.news()
    again, _ = covered.news()
    print(len(fresh), in_all, len(again), len({file for file, _, _ in fresh}))
print(entries)
"""


def _driven(covers: str) -> list[list[int]]:
    """What a process of its own counts; coverage.py, which measures every process of the suite, is left out of it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**env, VARIABLE: covers},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return [[int(word) for word in line.split()] for line in told.stdout.splitlines()]


def test_branches_are_told_once_and_no_history_changes() -> None:
    [first, second, entries] = _driven("1")
    assert first[0] > 200 > second[0]
    assert first[0] + second[0] < first[1] == second[1]
    assert first[2] == second[2] == 0
    assert first[3] > 8
    assert _driven("") == [[0, 0, 0, 0], [0, 0, 0, 0], entries]


def test_processes_are_asked_while_they_are_started() -> None:
    before = os.environ.get(VARIABLE)
    with asked(covers=True):
        assert os.environ[VARIABLE] == "1"
        with asked(covers=False):
            assert os.environ[VARIABLE] == ""
        assert os.environ[VARIABLE] == "1"
    assert os.environ.get(VARIABLE) == before
    covering.begin_if_asked()
    assert Covered().news() == ((), 0)
