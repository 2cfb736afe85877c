"""A workflow drawn with the characters of a terminal: one step a line, in topological order.

Rule: a step stands in a column of its own, until its last target has taken its lines; whatever the drawing leaves
unclear (many crossings) is in words beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["draw"]

STEP: Final = "●"
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LINES: Final = {
    0: " ",
    _UP | _DOWN: "│",
    _LEFT | _RIGHT: "─",
    _UP | _RIGHT: "└",
    _UP | _LEFT: "┘",
    _UP | _DOWN | _RIGHT: "├",
    _UP | _DOWN | _LEFT: "┤",
    _UP | _LEFT | _RIGHT: "┴",
    _UP | _DOWN | _LEFT | _RIGHT: "┼",
}


def draw(order: Sequence[str], sources: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each step: its mark, and the lines of its and of others' connections."""
    left = Counter(source for step in order for source in sources[step])
    columns: list[str | None] = []
    """Who holds each column; None: nobody."""
    rows = list(_rows(order, sources, left, columns))
    width = max(map(len, rows), default=0)
    return [row.ljust(width) for row in rows]


def _rows(
    order: Sequence[str], sources: Mapping[str, Sequence[str]], left: Counter[str], columns: list[str | None]
) -> Iterator[str]:
    freed: set[int] = set()
    for step in order:
        mine = [columns.index(source) for source in dict.fromkeys(sources[step]) if source in columns]
        for source in sources[step]:
            left[source] -= 1
        ending = {column for column in mine if not left[columns[column] or ""]}
        place = min(ending) if ending else _free(columns, freed)
        yield _row(columns, mine, ending, place)
        for column in ending:
            columns[column] = None
        columns[place] = step if left[step] else None
        freed = ending - {place} | ({place} if not left[step] else set())


def _free(columns: list[str | None], freed: set[int]) -> int:
    """A column that nobody holds, nor held just now: a step right below another one seems to follow it."""
    for column, holder in enumerate(columns):
        if holder is None and column not in freed:
            return column
    columns.append(None)
    return len(columns) - 1


def _row(columns: Sequence[str | None], mine: Sequence[int], ending: set[int], place: int) -> str:
    lines = [0 if holder is None else _UP | _DOWN for holder in columns]
    between = [False] * len(columns)
    """Whether a line goes from each column to the next."""
    for column in mine:
        if column == place:
            continue
        low, high = sorted((column, place))
        lines[column] = (lines[column] & ~_DOWN if column in ending else lines[column]) | (
            _RIGHT if column < place else _LEFT
        )
        for passed in range(low, high):
            between[passed] = True
            if passed > low:
                lines[passed] |= _LEFT | _RIGHT
    drawn = "".join(
        (STEP if column == place else _LINES[line]) + ("─" if between[column] else " ")
        for column, line in enumerate(lines)
    )
    return drawn.rstrip()
