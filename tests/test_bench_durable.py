"""The durable benchmark measures what it says: it is run here at a small size, and only counted."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from engine.sqlite_journal import Synchronous
from machines import bench_durable
from machines.bench_durable import FLOORS, graphs, recover, run_engine, run_loop, speeds, times, write
from machines.bench_engine import workflow

SIZE = 20


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as other:
        ((count,),) = other.execute("SELECT count(*) FROM events").fetchall()
    return int(count)


@pytest.mark.parametrize("name", FLOORS)
def test_both_sides_carry_out_and_keep_the_same_steps(tmp_path: Path, name: str) -> None:
    given = graphs(name, SIZE)
    assert sum(map(len, given)) == SIZE
    assert asyncio.run(run_loop(tmp_path / "bare", "NORMAL", given)) > 0
    assert rows(tmp_path / "bare") == SIZE
    assert asyncio.run(run_engine(tmp_path / "engine", "NORMAL", [workflow(graph) for graph in given])) > 0
    assert rows(tmp_path / "engine") == 2 * SIZE + 3 * len(given), "created, started, ended; each step twice"


@pytest.mark.parametrize(("steps", "executions", "events"), [(10, 4, 84), (45, 1, 91)])
def test_a_recovery_takes_up_all_that_was_written(tmp_path: Path, steps: int, executions: int, events: int) -> None:
    written = asyncio.run(write(tmp_path / "j", 91, steps))
    assert (written, rows(tmp_path / "j")) == (events, events)
    assert asyncio.run(recover(tmp_path / "j"))[1] == executions


def test_every_ratio_is_told_with_its_floor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_durable, "speeds", lambda name, synchronous: speeds(name, synchronous, SIZE, 1))
    monkeypatch.setattr(bench_durable, "times", lambda steps: times(steps and 10, (50, 100)))
    bench_durable.main()
    told = capsys.readouterr().out
    assert told.count("(floor ") == len(FLOORS) * len(get_args(Synchronous))
    assert told.count("(at most ") == 2
