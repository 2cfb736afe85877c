"""Who searches next: each way of searching gets a share of the time, by what it still finds.

Rule 1: nobody starves: two fifths of the time are shared evenly, since some of what a machine does (the variety of
definitions) is no news to any corpus. The rest goes by news for each chunk, the last ones counting most.
Rule 2: it is decided by counts alone, so that the same seed does the same. Chunks take the same time, so chunks count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Lane: TypeAlias = tuple[str, bool]
"""A machine, and whether the fast front end drives it."""

_EVEN: Final = 0.4
_FADING: Final = 0.8
"""What remains of a chunk's weight with each later one."""
_SOME: Final = 0.1
"""News that nobody is ever taken to be without."""


@dataclass(slots=True)
class _Yield:
    news: float = 1.0
    chunks: float = 1.0
    credit: float = 0.0


class Shares:
    """Says whose turn it is."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = {lane: _Yield() for lane in lanes}

    def weights(self) -> dict[Lane, float]:
        """The share of each; all together are 1."""
        rates = {lane: (each.news + _SOME) / each.chunks for lane, each in self._lanes.items()}
        total = sum(rates.values())
        return {lane: _EVEN / len(rates) + (1 - _EVEN) * rate / total for lane, rate in rates.items()}

    def turn(self) -> Lane:
        """Whoever has waited longest for its share."""
        for lane, weight in self.weights().items():
            self._lanes[lane].credit += weight
        chosen = max(self._lanes, key=lambda lane: self._lanes[lane].credit)
        self._lanes[chosen].credit -= 1
        return chosen

    def heard(self, lane: Lane, news: int) -> None:
        """What came of a turn."""
        each = self._lanes[lane]
        each.news = each.news * _FADING + news
        each.chunks = each.chunks * _FADING + 1
