"""The score as a picture and a page: an SVG that stands alone, and an HTML file that holds it and the tables.

Rule 1: no library and nothing from the network: a file that is opened in ten years shows the same.
Rule 2: light and dark follow the reader; every line has its name beside it, so that none is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from machines.score import SOLVED_WITHIN

Steps = Sequence[tuple[float, float]]

_WIDTH: Final = 760
_HEIGHT: Final = 440
_LEFT: Final = 60
_RIGHT: Final = 20
_TOP: Final = 76
_BOTTOM: Final = 56
_LABEL: Final = 140
"""Room for the name of a floor."""
_SOONEST: Final = 0.01
"""CPU seconds at the left edge: what is faster stands there."""
_LINES: Final = ("", "8 4", "2 3", "10 3 2 3", "1 5", "5 5")
"""Dashes: lines are told apart without colours as well."""

_STYLE: Final = """
svg { --ink: #1f2328; --faint: #d0d7de; --paper: #ffffff;
  --c0: #0550ae; --c1: #953800; --c2: #116329; --c3: #6639ba; --c4: #a40e26; --c5: #57606a; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --faint: #3d444d; --paper: #0d1117;
    --c0: #79c0ff; --c1: #ffa657; --c2: #7ee787; --c3: #d2a8ff; --c4: #ff7b72; --c5: #b1bac4; }
}
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--faint); stroke-width: 1; }
.curve { fill: none; stroke-width: 2.2; }
"""

_PAGE_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0 2rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .25rem .7rem;
  text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; }
td.number, th.number { text-align: right; }
svg { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """A share that rises over CPU seconds."""

    name: str
    steps: Steps


@dataclass(frozen=True, slots=True)
class Table:
    """Cells under a caption; the first row is the header."""

    caption: str
    rows: Sequence[Sequence[str]]
    numbers: range
    """The columns that hold figures."""


def svg(curves: Sequence[Curve], budget: float) -> str:
    """Draw the curves over CPU seconds, on a logarithmic scale up to the budget."""
    most = max(budget, 10 * _SOONEST)
    title = "Share detected over CPU seconds, logarithmic scale"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="var(--paper)"/>',
        *_grid(most),
        *_floors(most),
    ]
    for rank, curve in enumerate(curves):
        look = f'stroke="var(--c{rank % 6})" stroke-dasharray="{_LINES[rank % 6]}"'
        parts.append(f'<path class="curve" {look} d="{_path(curve.steps, most)}"/>')
        x, y = _LEFT + 240 * (rank % 3), 24 + 22 * (rank // 3)
        share = curve.steps[-1][1] if curve.steps else 0.0
        parts += [
            f'<path class="curve" {look} d="M{x} {y}h34"/>',
            f'<text x="{x + 42}" y="{y + 4}">{escape(curve.name)}: {share:.1%}</text>',
        ]
    return "\n".join((*parts, "</svg>")) + "\n"


def _x(seconds: float, most: float) -> float:
    share = math.log(max(seconds, _SOONEST) / _SOONEST) / math.log(most / _SOONEST)
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _path(steps: Steps, most: float) -> str:
    """A line that rises where something was found, and goes on to the end of the budget."""
    moves = [f"M{_LEFT} {_y(0)}", *(f"H{_x(seconds, most)}V{_y(share)}" for seconds, share in steps)]
    return "".join((*moves, f"H{_WIDTH - _RIGHT}"))


def _grid(most: float) -> Iterator[str]:
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        yield f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>'
    for power in range(math.floor(math.log10(_SOONEST)), math.floor(math.log10(most)) + 1):
        x = _x(10.0**power, most)
        yield f'<path class="grid" d="M{x} {_y(0)}V{_y(1)}"/>'
        yield f'<text x="{x}" y="{_y(0) + 20}" text-anchor="middle">{10.0**power:g}</text>'
    yield f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">CPU seconds</text>'
    yield f'<text x="12" y="{_TOP - 12}">share</text>'


def _floors(most: float) -> Iterator[str]:
    """A cross where each floor stands, if the budget goes so far."""
    for share, seconds in SOLVED_WITHIN:
        if seconds <= most:
            x, y = _x(seconds, most), _y(share)
            room = _WIDTH - _RIGHT - x  # curves come from the lower left
            anchor = "start" if room > _LABEL else "middle" if room > _LABEL / 2 else "end"
            yield f'<path d="M{x - 5} {y - 5}l10 10m0 -10l-10 10" stroke="var(--ink)" stroke-width="1.6"/>'
            yield f'<text x="{x}" y="{y + 32}" text-anchor="{anchor}">floor: {share:.0%} solved</text>'


def page(title: str, picture: str, notes: Sequence[str], tables: Sequence[Table]) -> str:
    """An HTML page of a picture, some sentences and some tables."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>",
        f"<style>{_PAGE_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        picture.rstrip(),
        "<ul>",
        *(f"<li>{escape(note)}</li>" for note in notes),
        "</ul>",
    ]
    for table in tables:
        parts += [f"<h2>{escape(table.caption)}</h2>", '<div class="scroll"><table>']
        for rank, row in enumerate(table.rows):
            tag = "td" if rank else "th"
            cells = (
                f"<{tag}{' class=number' if column in table.numbers else ''}>{escape(cell)}</{tag}>"
                for column, cell in enumerate(row)
            )
            parts.append(f"<tr>{''.join(cells)}</tr>")
        parts.append("</table></div>")
    return "\n".join((*parts, "</html>")) + "\n"
