"""The tester is tested: what the two files that say how the engine behaves notice, fault by fault.

Rule 1: each of their tests fails on a planted fault of its subject; a test that fails on none says nothing.
Rule 2: faults of every group of the contract's clauses are noticed by these two files alone.
Rule 3: nobody is accused of nothing: without a fault, the same tests on the same private copies are content.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.faults import FAULTS, Fault, Trial, places

pytestmark = pytest.mark.filterwarnings("ignore")  # what a faulty engine leaves behind is not our trouble

GROUPS = "DOCVFPKJN"
LEAST_TRIED = 28
LEAST_NOTICED = 24


@pytest.fixture(autouse=True)
def left_behind() -> Iterator[None]:
    """A faulty engine leaves tasks, files and processes in pieces: they fall here, and not into a later test."""
    yield
    gc.collect()


@pytest.mark.unmeasured
def test_without_a_fault_nothing_is_noticed() -> None:
    clean = Trial(None)
    said = {test: clean.notices(test) for test in places()}
    assert {test: why for test, why in said.items() if why} == {}


@pytest.mark.unmeasured
@pytest.mark.parametrize("test", list(places()))
def test_each_test_fails_on_a_fault_of_its_subject(test: str) -> None:
    subjects = [fault for fault in FAULTS if test in fault.noticed_by]
    assert subjects, "a test without a fault of its subject"
    assert any(Trial(fault).notices(test) for fault in subjects), [fault.name for fault in subjects]


@pytest.mark.unmeasured
def test_the_faults_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(fault, *first_notice(fault)) for fault in FAULTS]
    with capsys.disabled():
        print()  # noqa: T201  # the table is what this test is read for
        for fault, test, why in rows:
            print(f"{fault.clause:3} {fault.name:36} {test or '-':46} {why[:60]}")  # noqa: T201  # what was measured
        noticed = [fault for fault, test, _ in rows if test]
        print(f"{len(noticed)} of {len(rows)} faults noticed")  # noqa: T201  # what was measured
    assert {fault.clause[0] for fault in noticed} == set(GROUPS)
    assert len(rows) >= LEAST_TRIED
    assert len(noticed) >= LEAST_NOTICED
    assert [fault.name for fault, test, _ in rows if not test] == []


def first_notice(fault: Fault) -> tuple[str, str]:
    """The first test that notices a fault, and what it says."""
    trial = Trial(fault)
    for test in fault.noticed_by:
        if why := trial.notices(test):
            return test, why
    return "", ""
