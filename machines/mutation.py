"""``make mutation``: every small change of the engine's core must be noticed, as far as it changes what is promised.

The operators are mutmut's: it is alive, and LibCST reads ``match``; cosmic-ray's parser does not, and the core is full
of it. mutmut's own runner is left out: it goes through pytest, puts a trampoline into every function of the engine,
passes over whatever stands outside of functions, and knows one suite. Here each change is planted as a bug is
(`machines.mutants.planting`), in a process forked from a warm one: most changes then cost a fraction of a second.

Rule 1: suites judge the same changes: a short run of the machines, the example tests alone, and the property tests
alone. The score is the share that a suite notices; nothing is left out of it because it was judged to make no
difference.
Rule 2: a shard's results are one JSON file, written after each verdict; started again, a shard makes what is missing.
Results of changes that the source does not have any more are dropped.
Rule 3: the floors are held against the whole: all results in the folder, whichever shards made them; one shard of many
is only told. Exit status 0 they are kept, 1 they are not or a shard is missing, 2 bad input, or the clean engine does
not pass a suite.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from machines.mutation_points import CORE, Altered, Point, alter, points, sample, shard
from machines.mutation_trial import SUITES, Task, trials

Json = Any

OURS: Final = "machines"
LESSER: Final = "examples"
DEFAULT: Final = (OURS, LESSER, "properties")
FLOOR: Final = 90.0
"""Percent of the changes that the machines notice."""
AHEAD: Final = 10.0
"""Points that they are above the example tests alone."""
KEPT: Final = 0
NOT_KEPT: Final = 1
UNUSABLE: Final = 2


@click.command()
@click.option("--shard", "part", metavar="N/OF", default="1/1", show_default=True, help="The part to do.")
@click.option("--sample", "size", type=click.IntRange(min=1), metavar="K", help="Only so many, picked by chance.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the sample.")
@click.option("--module", "modules", metavar="NAME", multiple=True, help="A module to change.  [default: the core]")
@click.option("--suite", "suites", type=click.Choice(list(SUITES)), multiple=True, help="[default: all but units]")
@click.option("--workers", metavar="N|all", default="all", show_default=True, help="Processes.")
@click.option(
    "--dir", "folder", metavar="DIR", default=".lockstep/mutation", show_default=True, help="For the results."
)
@click.option("--merge", is_flag=True, help="Make no trial: only tell what the results come to.")
def mutation(
    *,
    part: str,
    size: int | None,
    seed: int,
    modules: Sequence[str],
    suites: Sequence[str],
    workers: str,
    folder: str,
    merge: bool,
) -> int:
    """Change the engine's core in one place after the other, and see what notices."""
    directory = Path(folder)
    number, of = _part(part)
    if not merge:
        chosen = points(modules or CORE)
        if size is not None:
            chosen = sample(chosen, size, seed)
        file = directory / f"shard-{number}-of-{of}.json"
        if not _run(shard(chosen, number, of), suites or DEFAULT, _workers(workers), file):
            return UNUSABLE
    files = sorted(directory.glob("shard-*.json"))
    results = _together(result for file in files for result in _read(file))
    _tell(results)
    return _judge(results, _missing(files)) if merge or of == 1 else KEPT


def _part(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        message = f"a shard is N/OF, as in 3/12, not {text!r}"
        raise click.BadParameter(message, param_hint="--shard")
    return int(number), int(of)


def _workers(text: str) -> int:
    if text == "all":
        return os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        message = f"workers are a number from 1, or all, not {text!r}"
        raise click.BadParameter(message, param_hint="--workers")
    return int(text)


# Running a shard


def _run(chosen: Iterable[Point], suites: Sequence[str], workers: int, file: Path) -> bool:
    """Make the trials that have no result yet; False if the clean engine does not pass a suite."""
    altered = {found.key: found for point in chosen if (found := alter(point)) is not None}
    results = {result["key"]: result for result in _read(file) if result["key"] in altered}
    tasks = [
        Task(suite, found)
        for found in altered.values()
        for suite in suites
        if suite not in results.get(found.key, {}).get("verdicts", {})
    ]
    for task, verdict in trials([Task(suite, None) for suite in suites] if tasks else [], workers):
        if verdict.noticed is not None:
            click.echo(f"the clean engine does not pass the {task.suite}: {verdict.noticed}", err=True)
            return False
        click.echo(f"the clean engine passes the {task.suite}: {verdict.cpu_seconds:.1f} CPU-seconds", err=True)
    for number, (task, verdict) in enumerate(trials(tasks, workers), 1):
        found = task.altered
        assert found is not None
        result = results.setdefault(found.key, _blank(found))
        result["verdicts"][task.suite] = {
            "noticed": verdict.noticed,
            "cpu_seconds": round(verdict.cpu_seconds, 2),
        }
        _write(file, list(results.values()), len(tasks) - number)
        if number % 50 == 0 or number == len(tasks):
            click.echo(f"{number} of {len(tasks)} trials", err=True)
    _write(file, list(results.values()), 0)
    return True


def _blank(found: Altered) -> dict[str, Json]:
    return {"key": found.key, "module": found.module, "line": found.line, "change": found.change, "verdicts": {}}


def _read(file: Path) -> list[dict[str, Json]]:
    """The results of a shard; none if it was never started."""
    if not file.exists():
        return []
    found: list[dict[str, Json]] = json.loads(file.read_text(encoding="utf-8"))["mutants"]
    return found


def _together(results: Iterable[dict[str, Json]]) -> list[dict[str, Json]]:
    """One result for each mutant, whatever shards and suites it was in."""
    found: dict[str, dict[str, Json]] = {}
    for result in results:
        found.setdefault(result["key"], result)["verdicts"].update(result["verdicts"])
    return sorted(found.values(), key=lambda result: (result["module"], result["line"], result["key"]))


def _write(file: Path, results: Sequence[Mapping[str, Json]], left: int) -> None:
    """Replace the file, never leaving half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"format": 1, "left": left, "mutants": results}, indent=1) + "\n", encoding="utf-8")
    new.replace(file)


# Telling


def _missing(files: Sequence[Path]) -> list[str]:
    """The shards that belong to these and are not there, or not to their end."""
    left = {file.stem: json.loads(file.read_text(encoding="utf-8"))["left"] for file in files}
    counts = dict.fromkeys(int(stem.rpartition("-")[2]) for stem in left)
    wanted = [f"shard-{number}-of-{of}" for of in counts for number in range(1, of + 1)]
    return [stem for stem in wanted if left.get(stem, 1)]


def _tell(results: Sequence[Mapping[str, Json]]) -> None:
    suites = [suite for suite in SUITES if any(suite in result["verdicts"] for result in results)]
    click.echo("  ".join([f"{'module':24}", f"{'mutants':>7}", *(f"{suite:>18}" for suite in suites)]))
    modules = list(dict.fromkeys(result["module"] for result in results))
    for module in [*modules, None]:
        of = [result for result in results if module in (None, result["module"])]
        cells = [_cell(_judged(of, suite)) for suite in suites]
        click.echo("  ".join([f"{module or 'all':24}", f"{len(of):7}", *cells]))
    click.echo()
    for result in results:
        if OURS in result["verdicts"] and result["verdicts"][OURS]["noticed"] is None:
            click.echo(f"survived: {result['module']}:{result['line']} [{result['key']}]\n{result['change']}")


def _judge(results: Sequence[Mapping[str, Json]], missing: Sequence[str]) -> int:
    """Hold the first floor against what the machines have judged, the second against what both suites have."""
    for stem in missing:
        click.echo(f"NOT KEPT: {stem} is missing, or not at its end")
    both = [result for result in results if OURS in result["verdicts"] and LESSER in result["verdicts"]]
    score, ahead = _percent(results, OURS), _percent(both, OURS) - _percent(both, LESSER)
    kept = (score >= FLOOR, ahead >= AHEAD)
    above = f"{ahead:.1f} points" if both else "no change was judged by both"
    click.echo(f"{'kept' if kept[0] else 'NOT KEPT'}: {FLOOR:g} % noticed by the machines: {score:.1f} %")
    click.echo(f"{'kept' if kept[1] else 'NOT KEPT'}: {AHEAD:g} points above the examples: {above}")
    return KEPT if all(kept) and not missing else NOT_KEPT


def _judged(results: Iterable[Mapping[str, Json]], suite: str) -> list[Json]:
    return [result["verdicts"][suite]["noticed"] for result in results if suite in result["verdicts"]]


def _cell(judged: Sequence[Json]) -> str:
    """How many were noticed, of how many that were judged."""
    noticed = sum(each is not None for each in judged)
    return f"{noticed:4} of {len(judged):4} {100 * noticed / len(judged):4.0f} %" if judged else f"{'-':>18}"


def _percent(results: Sequence[Mapping[str, Json]], suite: str) -> float:
    judged = _judged(results, suite)
    return 100 * sum(noticed is not None for noticed in judged) / max(len(judged), 1)


if __name__ == "__main__":
    raise SystemExit(mutation(standalone_mode=False))
