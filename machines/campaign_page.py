"""What a campaign came to as a page that needs no network: curves, failures with their stories, reach.

Rule 1: text of a case is escaped wherever it stands; the page's own policy lets nothing be loaded, and has no script.
Rule 2: the stories stand beside it in a folder, one page each, and are linked by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from machines.bounds import OutOfTime, bounded
from machines.files import write_whole
from machines.growth import picture
from machines.reporting import counted, goals_of, span
from machines.story_page import shared

if TYPE_CHECKING:
    from machines.totals import Totals

PAGE = "campaign.html"
STORIES = "stories"
_STYLE = """
h2 { font-size: 1.3rem; margin: 1.6rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
svg { width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; }
"""
_SENTENCE = 400
_PATIENCE = 10.0
"""Seconds for one story."""


def write_page(totals: Totals, folder: Path) -> Path:
    """Write the page, and a story beside it for each failure that has a case.

    Raises:
        OSError: it cannot be written.
    """
    stories: dict[str, str] = {}
    for failure in totals.failures.values():
        if failure.path is not None and (text := _story(failure.path, totals.plan.target)) is not None:
            (folder / STORIES).mkdir(parents=True, exist_ok=True)
            write_whole(folder / STORIES / f"{failure.path.stem}.html", text)
            stories[failure.path.name] = f"{STORIES}/{failure.path.stem}.html"
    write_whole(folder / PAGE, page(totals, stories))
    return folder / PAGE


def _story(path: Path, target: str) -> str | None:
    """A case's own page; None if it cannot be told, which is no reason to have no page of the rest."""
    from machines.case import CaseError, load  # noqa: PLC0415  # only here
    from machines.registry import load_target, target_of_machine  # noqa: PLC0415  # as above
    from machines.story_page import page as story_page  # noqa: PLC0415  # as above
    from machines.witness import testify  # noqa: PLC0415  # as above

    try:
        case = load(path)
        with bounded(_PATIENCE):
            found = testify(case, load_target(target_of_machine(case.machine, target)))
        return story_page(found, path.name)
    except (CaseError, OutOfTime):
        return None


def page(totals: Totals, stories: Mapping[str, str]) -> str:
    """The page, with the addresses of the stories by their cases' names."""
    parts = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Lockstep: seed {totals.plan.seed}</title>",
        f"<style>{_look()}{_STYLE}</style>\n</head>\n<body>",
        f"<main>\n<h1>A campaign of {escape(', '.join(totals.plan.machines))}</h1>",
        *_figures(totals),
        "<h2>Growth</h2>",
        *_growth(totals),
        "<h2>Failures</h2>",
        *_failures(totals, stories),
        "<h2>Reach</h2>",
        *_reach(totals),
        "</main>\n</body>\n</html>\n",
    )
    return "\n".join(parts)


def _look() -> str:
    """The look that all pages share; there is no script here to choose the theme, so the reader's own is taken."""
    light, _, rest = shared("look.css").partition(':root[data-theme="dark"] {')
    dark, _, more = rest.partition("}")
    return f"{light}@media (prefers-color-scheme: dark) {{ :root {{{dark}}} }}{more}"


def _figures(totals: Totals) -> Iterator[str]:
    seconds = max(totals.wall_seconds, 0.001)
    yield (
        f"<p>{counted(totals.cases, 'case')}, {counted(totals.moves, 'move')} in {seconds:,.0f} seconds"
        f" ({totals.moves / seconds:,.0f} moves a second); {span(totals.lived)} of virtual time,"
        f" {totals.lived / seconds:,.0f} times real time. {counted(totals.again, 'case')} played twice."
        f" Seed {totals.plan.seed}, target {escape(totals.plan.target)}.</p>"
    )


def _growth(totals: Totals) -> Iterator[str]:
    curves = {"New on the model": totals.growth, "Situations reached": totals.reached}
    if totals.branches_in_all:
        curves[f"Branches of the engine gone through, of {totals.branches_in_all:,}"] = totals.covered
    for name, growth in curves.items():
        yield f"<h3>{name}</h3>"
        yield picture(name, growth.points)


def _failures(totals: Totals, stories: Mapping[str, str]) -> Iterator[str]:
    if not totals.failures and not totals.troubles:
        yield "<p>Nothing was found.</p>"
        return
    yield "<ul>"
    for failure in totals.failures.values():
        case = failure.case
        said = escape(f"{case.clause} ({case.invariant}): {case.sentence}"[:_SENTENCE])
        story = stories.get(failure.path.name) if failure.path is not None else None
        link = f' <a href="{escape(story)}">Its story</a>' if story is not None else ""
        yield f"<li>{said}, {counted(failure.count, 'time')}.{link}</li>"
    for found in totals.troubles.values():
        said = escape(f"{found.trouble.kind}: {found.trouble.message}"[:_SENTENCE])
        yield f"<li>{said}, {counted(found.count, 'time')}.</li>"
    yield "</ul>"


def _reach(totals: Totals) -> Iterator[str]:
    goals = goals_of(totals)
    for machine in totals.plan.machines:
        reach: Mapping[str, int] = totals.reach_of.get(machine, {})
        names: Sequence[str] = sorted(goals.get(machine, reach), key=lambda name: (reach.get(name, 0), name))
        yield f"<h3>{escape(machine)}, in {counted(totals.cases_of[machine], 'case')}</h3>"
        yield '<table><thead><tr><th scope="col">situation</th>'
        yield '<th scope="col" class="number">cases</th></tr></thead><tbody>'
        for name in names:
            count = f"{reach[name]:,}" if reach.get(name) else "never"
            yield f'<tr><td>{escape(name)}</td><td class="number">{count}</td></tr>'
        yield "</tbody></table>"
