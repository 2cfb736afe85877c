"""The process in which a worker of a cluster carries out tasks; see ``machines.cluster_task``.

Rule 1: it ends when nobody is there to hear it, and takes its folder with it.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from machines.cluster_task import CASE, LOG, Task, chunks_of
from machines.corpus_folder import exchange_of
from machines.covering import Covered
from machines.searching import Report, Searcher
from machines.underway import Underway
from machines.workers import MOST_MEMORY, begin, confine, most_memory_used


class Tasks:
    """Carries out tasks, in this process."""

    def __init__(self, underway: Underway) -> None:
        self._underway = underway
        self._campaign: tuple[str, int | None] | None = None
        self._covered = Covered()

    def carry_out(self, task: Task) -> tuple[Report, ...]:
        """Carry out a task: where cases are counted, without a memory of any other."""
        campaign = task.campaign, None if task.examples is None else task.number
        if campaign[0] != (self._campaign or ("",))[0]:
            self._covered = Covered()  # another campaign has heard of none of it
        if campaign != self._campaign:
            self._searcher = Searcher(task.plan, self._underway)
            self._exchange = exchange_of(self._searcher)
            self._campaign = campaign
        if task.examples is None:
            self._searcher.hear(dict(task.came))
        return tuple(self._reports(task))

    def _reports(self, task: Task) -> list[Report]:
        reports = []
        for chunk in chunks_of(task, self._searcher):
            self._exchange.read(chunk)
            report = self._searcher.run(chunk)
            self._exchange.write(chunk)
            branches, in_all = self._covered.news()
            reports.append(replace(self._exchange.told(report), branches=branches, branches_in_all=in_all))
        return reports


def serve(pipe: Connection[Any, Any], folder: Path) -> None:
    """Carry out what comes, until it is time for a successor or nobody is there."""
    log = confine(folder / LOG)
    tasks, done = Tasks(Underway(folder / CASE)), 0
    try:
        while True:
            task = pipe.recv()
            reports = tasks.carry_out(task)
            done += 1
            pipe.send((reports, done < task.plan.lifetime and most_memory_used() <= MOST_MEMORY))
            os.ftruncate(log, 0)
    except (EOFError, ConnectionError):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    begin()
    serve(Connection(int(sys.argv[1])), Path(sys.argv[2]))
