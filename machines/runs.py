"""What a campaign has come to, on disk: it can be stopped, taken up again, and added to what others came to.

Rule 1: each run is one file of its own, `searches/NAME.json`, written whole now and then, and at its end.
Rule 2: a run has a name that no other has, and whoever adds runs up takes each name once: nothing is counted twice,
however often folders are merged, and in whatever order.
Rule 3: what stands in a run is counts and the minimal cases themselves, so a run needs no other file.

docs/campaign.md describes the folder.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from machines.files import write_whole
from machines.given import refuse
from machines.reporting import counted

if TYPE_CHECKING:
    from machines.totals import Totals

Json = Any

FORMAT: Final = 1
_EVERY: Final = 10.0
"""Seconds between two times that a run is written."""
_COUNTS: Final = ("moves", "lived", "news", "again", "cpu_seconds", "wall_seconds")
_COUNTERS: Final = ("cases_of", "moves_of")
_BY_MACHINE: Final = ("reach_of", "tallies_of")
_CASES: Final = ("cases", "corpus")


def named_anew() -> str:
    """A name for a run."""
    return secrets.token_hex(8)


def document_of(totals: Totals) -> dict[str, Json]:
    """A run as JSON."""
    counts = {name: getattr(totals, name) for name in (*_COUNTS, *_COUNTERS, *_BY_MACHINE)}
    return {
        "format": FORMAT,
        "seed": totals.plan.seed,
        "target": totals.plan.target,
        "chunks": {str(worker): number for worker, number in totals.chunks.items()},
        **counts,
        "wall_seconds": totals.wall_seconds or time.monotonic() - totals.started,
        "failures": [
            {"case": failure.case.to_json(), "program": failure.program, "count": failure.count}
            for failure in totals.failures.values()
        ],
    }


class Keeper:
    """Writes a run now and then while it lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = named_anew()
        self._said = time.monotonic()

    def look(self, totals: Totals) -> None:
        """Write it if it is time."""
        if time.monotonic() - self._said >= _EVERY:
            self.write(totals)

    def write(self, totals: Totals) -> None:
        """Write it."""
        self._said = time.monotonic()
        try:
            write_run(totals, self._folder, self._name)
        except OSError as error:
            refuse("--dir", self._folder, error.strerror)


def write_run(totals: Totals, folder: Path, name: str) -> None:
    """Write a run's file.

    Raises:
        OSError: it cannot be written.
    """
    (folder / "searches").mkdir(parents=True, exist_ok=True)
    write_whole(folder / "searches" / f"{name}.json", json.dumps(document_of(totals)) + "\n")


def read_runs(folder: Path) -> dict[str, dict[str, Json]]:
    """The runs of a folder by name; a file that is none is bad input."""
    found = {}
    for path in sorted((folder / "searches").glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            refuse(path, f"cannot be read as a run: {error}")
        if type(document) is not dict or document.get("format") != FORMAT:
            refuse(path, f"is no run of format {FORMAT}")
        found[path.stem] = document
    return found


def add_up(totals: Totals, runs: Iterable[Mapping[str, Json]]) -> None:
    """Add runs to what a campaign has come to."""
    from machines.case import from_text  # noqa: PLC0415  # most commands need none of this

    for run in runs:
        for name in _COUNTS:
            setattr(totals, name, getattr(totals, name) + run[name])
        for name in _COUNTERS:
            getattr(totals, name).update(run[name])
        for name in _BY_MACHINE:
            for machine, counts in run[name].items():
                getattr(totals, name).setdefault(machine, Counter()).update(counts)
        for failure in run["failures"]:
            totals.add_failure(from_text(json.dumps(failure["case"])), tuple(failure["program"]), failure["count"])


def last_seed(folder: Path) -> int | None:
    """The seed of the run that was written last, if there is one."""
    runs = read_runs(folder)
    newest = max(runs, key=lambda name: (folder / "searches" / f"{name}.json").stat().st_mtime, default=None)
    return None if newest is None else runs[newest]["seed"]


def next_chunks(runs: Iterable[Mapping[str, Json]], seed: int) -> dict[int, int]:
    """Where each worker goes on with a seed: behind all chunks that any run has begun with it."""
    found: dict[int, int] = {}
    for run in runs:
        if run["seed"] == seed:
            for worker, number in run["chunks"].items():
                found[int(worker)] = max(found.get(int(worker), 0), number)
    return found


# Merging


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--into", metavar="DIR", required=True, help="The folder that gets it all; it may be there already.")
def merge(*, folders: tuple[str, ...], into: str) -> int:
    """Put the campaigns of several folders into one: runs, cases and corpus.

    What is there already is not counted again. Exit status: 0, or 2 for bad input.
    """
    if missing := [folder for folder in folders if not Path(folder).is_dir()]:
        refuse(f"there is no directory {', '.join(missing)}")
    place = Path(into)
    runs = sum(_merge_runs(Path(folder), place) for folder in folders)
    cases = {kind: sum(_copy(Path(folder) / kind, place / kind) for folder in folders) for kind in _CASES}
    told = f"{counted(runs, 'run')}, {counted(cases['cases'], 'case')} and {cases['corpus']:,} of the corpus are new"
    click.echo(f"{told} in {into}")
    return 0


def _merge_runs(source: Path, place: Path) -> int:
    """Copy runs; of one that both have, the one that came farther stays. Returns how many are new."""
    runs, known = read_runs(source), read_runs(place)
    (place / "searches").mkdir(parents=True, exist_ok=True)
    for name, run in runs.items():
        if name not in known or known[name]["moves"] < run["moves"]:
            write_whole(place / "searches" / f"{name}.json", json.dumps(run) + "\n")
    return len(runs.keys() - known.keys())


def _copy(source: Path, place: Path) -> int:
    """Copy what is not there yet; returns how much that was."""
    new = 0
    for path in sorted(source.rglob("*.json")):
        target = place / path.relative_to(source)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(f".{named_anew()}")
            shutil.copyfile(path, draft)
            draft.replace(target)
            new += 1
    return new
