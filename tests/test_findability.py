"""How many clean cases it takes to be sure that a bug is gone."""

from math import log
from pathlib import Path
from typing import Any

import pytest

from machines.case import Case, from_text, load, to_text
from machines.findability import clean_cases, lower_bound, needed, recorded
from machines.searching import Plan
from machines.totals import Totals
from tests.command_line import called

CASE = Case((), "F4", "newest_first", "so it was", "0" * 64)


@pytest.mark.parametrize(
    ("times", "cases", "bound"), [(1, 1, 0.025), (1, 100, 0.000253), (10, 100, 0.0490), (50, 100, 0.3983)]
)
def test_the_bound_is_that_of_clopper_and_pearson(times: int, cases: int, bound: float) -> None:
    """Their tables are of 95 % intervals: two and a half percent below."""
    assert lower_bound(times, cases, 0.025) == pytest.approx(bound, rel=0.005)


def test_where_all_failed_the_bound_is_a_root_of_the_doubt() -> None:
    assert lower_bound(100, 100) == pytest.approx(0.005 ** (1 / 100))
    assert lower_bound(1, 100) == pytest.approx(1 - 0.995 ** (1 / 100))


def test_more_evidence_needs_fewer_cases_and_a_rarer_bug_more() -> None:
    needs = [clean_cases(times, 10_000) for times in (1, 2, 10, 100, 2000, 5000, 10_000)]
    assert needs == sorted(needs, reverse=True)
    assert clean_cases(10, 1000) < clean_cases(10, 10_000) < clean_cases(10, 100_000)
    assert log(0.005) / log(1 - 0.01) < clean_cases(100, 10_000) < 2 * log(0.005) / log(1 - 0.01)
    assert clean_cases(300_000, 1_000_000) >= clean_cases(600_000, 1_000_000) > 5


@pytest.mark.parametrize(
    "found", [None, 3, {}, {"times": 0, "cases": 5}, {"times": 6, "cases": 5}, {"times": 1, "cases": 10**30}]
)
def test_what_makes_no_sense_is_not_reckoned_with(found: Any) -> None:
    assert needed(Case((), "F4", "i", "s", "d", extra={"found": found})) is None


def test_it_is_recorded_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    totals = Totals(Plan(1, directory=tmp_path))
    totals.cases_of["lifecycle"] = 1000
    totals.add_failure(CASE, (), 10)
    totals.record_rates()
    (failure,) = totals.failures.values()
    assert failure.path is not None
    kept = load(failure.path)
    assert kept.extra == {"found": {"times": 10, "cases": 1000}}
    assert from_text(to_text(kept)) == kept == recorded(CASE, 10, 1000)
    status, told, _ = called(capsys, "cases", "--dir", failure.path.parent)
    assert status == 0
    assert "to be sure" in told
    assert f" {clean_cases(10, 1000):,} " in told
