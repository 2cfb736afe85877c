"""How what a campaign knows grows: a few hundred points, as a line of blocks in a terminal and as a picture on a page.

Rule 1: points are bounded. Where there are too many, every other one goes and the next ones come half as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import ClassVar, Final

_MOST: Final = 300
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 720
_HEIGHT: Final = 220
_LEFT: Final = 70
_BOTTOM: Final = 30
_TOP: Final = 20


@dataclass(slots=True)
class Growth:
    """Something that is counted over time."""

    points: list[tuple[float, int]] = field(default_factory=list)
    """Seconds, and how much it was."""
    _apart: float = 0.5

    NOTHING: ClassVar = _BLOCKS[0]

    def add(self, seconds: float, count: int) -> None:
        """Note it, if it is time."""
        if self.points and seconds - self.points[-1][0] < self._apart:
            return
        self.points.append((seconds, count))
        if len(self.points) > _MOST:
            self.points = self.points[::2]
            self._apart *= 2

    def blocks(self, width: int = 40) -> str:
        """What came in each part of the time, as a line of blocks."""
        if len(self.points) < 2:  # noqa: PLR2004  # nothing has grown yet
            return ""
        last = self.points[-1][0] or 1.0
        parts = [0] * width
        for (_, before), (seconds, after) in pairwise(self.points):
            parts[min(int(seconds / last * width), width - 1)] += after - before
        most = max(*parts, 1)
        return "".join(_BLOCKS[round(part / most * (len(_BLOCKS) - 1))] for part in parts)


def picture(title: str, points: Sequence[tuple[float, int]]) -> str:
    """A curve as an SVG that takes its colours from the page."""
    last, most = (points[-1][0] or 1.0, max(count for _, count in points) or 1) if points else (1.0, 1)
    wide, high = _WIDTH - _LEFT - 10, _HEIGHT - _BOTTOM - _TOP
    places = [(_LEFT + seconds / last * wide, _TOP + high - count / most * high) for seconds, count in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    ground = _HEIGHT - _BOTTOM
    said = f"{title}: {most if points else 0:,} after {last:,.0f} s"
    return "\n".join(
        (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">',
            f'<path d="M{_LEFT} {_TOP}V{ground}H{_WIDTH - 10}" fill="none" stroke="currentColor" opacity="0.4"/>',
            f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="2.2"/>',
            f'<text x="{_LEFT - 8}" y="{_TOP + 5}" text-anchor="end" fill="currentColor">{most:,}</text>',
            f'<text x="{_LEFT - 8}" y="{ground}" text-anchor="end" fill="currentColor">0</text>',
            f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end" fill="currentColor">{last:,.0f} s</text>',
            "</svg>",
        )
    )
