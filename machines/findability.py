"""How many cases without a failure make it 99 % sure that what was found is mended.

Rule 1: the rate at which it came is not known, only how often it came in how many cases. The lower end of Clopper and
Pearson's exact interval (Biometrika 26, 1934, pages 404-413) stands for it: the true rate is lower with a chance of at
most half a percent.
Rule 2: with that rate or a greater one, so many cases miss it with a chance of at most half a percent: (1 - p)^N. The
two together are at most one percent.
Rule 3: it holds for cases like those in which it was counted: the same machine, searched in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from machines.case import Case

DOUBT: Final = 0.01
_MANY: Final = 2000
"""Times beyond which fewer are reckoned with: that only makes the bound lower."""
_HALVINGS: Final = 80
_MOST: Final = 10**12
"""Cases that anybody may claim to have played."""


def lower_bound(times: int, cases: int, doubt: float = DOUBT / 2) -> float:
    """The rate below which the true one lies with this chance at most, if it came so many times in so many cases."""
    if times > _MANY:
        times, cases = _MANY, math.ceil(cases * _MANY / times)
    low, high = 0.0, times / cases
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        if _at_least(times, cases, rate) < doubt:
            low = rate
        else:
            high = rate
    return low


def _at_least(times: int, cases: int, rate: float) -> float:
    """The chance of so many times or more."""
    if rate >= 1:
        return 1.0
    here, there = math.log(rate), math.log1p(-rate)
    whole = math.lgamma(cases + 1)
    less = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(cases - k + 1) + k * here + (cases - k) * there)
        for k in range(times)
    )
    return 1 - math.fsum(less)


def clean_cases(times: int, cases: int) -> int:
    """So many cases without it make it 99 % sure that it is mended."""
    return math.ceil(math.log(DOUBT / 2) / math.log1p(-lower_bound(times, cases)))


def recorded(case: Case, times: int, cases: int) -> Case:
    """The case with how often it came."""
    return replace(case, extra={**case.extra, "found": {"times": times, "cases": cases}})


def needed(case: Case) -> int | None:
    """How many clean cases a case's fix needs; None if nothing is recorded that makes sense."""
    found = case.extra.get("found")
    if not isinstance(found, Mapping):
        return None
    times, cases = found.get("times"), found.get("cases")
    if type(times) is not int or type(cases) is not int or not 0 < times <= cases <= _MOST:
        return None
    return clean_cases(times, cases)
