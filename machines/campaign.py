"""The long run: worker processes search, and their campaign collects what they find.

Rule 1: a worker shares nothing but a pipe with its campaign: one that dies or hangs takes no other with it.
Rule 2: a worker is asked to stop between two chunks, so chunks are short; one that does not stop is ended, and told of.
Rule 3: a case under way is written down move by move where its worker's end cannot reach it, so whatever ends a worker
leaves a case (`machines.underway`). A worker has so much memory and no more.
Rule 4: what they find is counted in one place (`machines.totals`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from machines.case import to_text
from machines.corpus_folder import exchange_of
from machines.covering import Covered, asked
from machines.drift import Drift
from machines.searching import Chunk, Plan, Report, Searcher, Trouble, derive
from machines.shares import Lane, Shares
from machines.totals import Totals
from machines.underway import Underway, left_in
from machines.workers import MOST_MEMORY, begin, confine, fate, most_memory_used

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

EXAMPLES = 150
"""Cases of a chunk, where time does not decide."""
SMALLEST: Final = 3
LARGEST: Final = 250
LARGEST_FAST: Final = 2500
CHUNK_SECONDS = 1.5
GRACE = 20.0
"""Seconds that a worker gets to end its chunk; then it is ended."""
SILENCE = 300.0
"""Seconds without a word after which a worker counts as hanging."""
DEATHS: Final = 3
"""Workers that may die one after the other without a word, before nobody takes their place."""
TICK: Final = 0.2
TAIL: Final = 20_000
"""Characters of a lost worker's log that are kept: a dump of a hundred frames, wherever their files lie."""
_DONE: Final = "done"
_SUCCESSOR: Final = "successor"
_STOP: Final = "stop"


# A worker


@dataclass(frozen=True, slots=True)
class _Post:
    """What a worker is told when it starts."""

    plan: Plan
    worker: int
    first: int
    """The number of its first chunk."""
    done: int
    """Cases that its predecessors have carried out."""
    deadline: float | None
    log: str

    @property
    def underway(self) -> Path:
        """Where the case under way is written down."""
        return Path(self.log).with_suffix(".case")


def _work(post: _Post, pipe: connection.Connection) -> None:
    """Search until told to stop, or until it is time for a successor. The life of a worker process."""
    begin()
    log = confine(Path(post.log))
    searcher = Searcher(post.plan, Underway(post.underway))
    shares = Shares(lanes_of(post.plan))
    exchange = exchange_of(searcher)
    covered = Covered()
    alone = True
    with contextlib.suppress(EOFError, BrokenPipeError):  # the campaign is gone
        for number, chunk in _chunks(post, searcher, shares):
            if pipe.poll():
                break
            exchange.read(chunk)
            report = searcher.run(chunk)
            exchange.write(chunk)
            shares.heard(chunk.lane, report.news)
            branches, in_all = covered.news()
            pipe.send(replace(exchange.told(report), branches=branches, branches_in_all=in_all))
            os.ftruncate(log, 0)
            grown = most_memory_used() > MOST_MEMORY
            if number - post.first + 1 >= post.plan.lifetime or grown:
                alone = False
                break
        pipe.send(_DONE if alone else _SUCCESSOR)


def lanes_of(plan: Plan) -> list[Lane]:
    """The ways of searching: both front ends over every machine, or Hypothesis alone."""
    return [(machine, fast) for fast in (True, False)[not plan.fast :] for machine in plan.machines]


def _chunks(post: _Post, searcher: Searcher, shares: Shares) -> Iterator[tuple[int, Chunk]]:
    """The chunks of a worker, by number: by shares if there are two front ends, else machines in turn."""
    plan, machines = post.plan, post.plan.machines
    for number in itertools.count(post.first):
        lane = shares.turn() if plan.fast else (machines[number % len(machines)], False)
        if plan.cases is not None:
            share = plan.cases // plan.workers + (post.worker < plan.cases % plan.workers)
            examples = min(EXAMPLES, share - post.done - searcher.cases)
        else:
            largest = LARGEST_FAST if lane[1] else LARGEST
            examples = searcher.pace(CHUNK_SECONDS, SMALLEST, largest, post.deadline, lane)
        if examples <= 0:
            return
        swarm = number // len(machines) % 4 == 3  # noqa: PLR2004  # the last of four
        yield number, Chunk(lane[0], derive(plan.seed, post.worker, number, lane[0]), examples, swarm, lane[1])


# The campaign


@dataclass(slots=True)
class _Worker:
    """A worker process, as its campaign sees it."""

    process: SpawnProcess
    pipe: connection.Connection[Any, Any]
    post: _Post
    heard: float
    chunks: int = 0
    cases: int = 0


class Campaign:
    """Starts workers, listens to them, and ends them."""

    def __init__(
        self,
        plan: Plan,
        watch: Callable[[Totals], None] = lambda _: None,
        first: Mapping[int, int] | None = None,
    ) -> None:
        """``first``: by worker, the number of its first chunk, if an earlier run of this seed was stopped there."""
        self.plan = plan
        self.totals = Totals(plan)
        self.drift = Drift()
        self._watch = watch
        self._first = first or {}
        self._workers: list[_Worker] = []
        self._stopping: float | None = None
        """When the workers were told to stop."""
        self._deaths: Counter[int] = Counter()
        """By worker: how many have died one after the other without a word."""
        self._logs = ""
        seconds = plan.seconds
        self._deadline = None if seconds is None else self.totals.started + seconds

    def run(self) -> Totals:
        """Search until the time is up, the cases are done, or somebody interrupts."""
        with tempfile.TemporaryDirectory(prefix="lockstep-") as self._logs, self._signals():
            try:
                for number in range(self.plan.workers):
                    self._start(number, self._first.get(number, 0), 0)
                while self._workers:
                    self._listen()
                    self._check()
                    self._tell_drift(self.drift.look())
                    self._watch(self.totals)
                self._tell_drift(self.drift.rest())
            finally:
                self.drift.stop()
                for worker in self._workers:
                    worker.process.kill()
                    worker.process.join()
        self.totals.wall_seconds = time.monotonic() - self.totals.started
        return self.totals

    def _tell_drift(self, found: list[Trouble]) -> None:
        self.totals.again = self.drift.played
        for trouble in found:
            self.totals.add_trouble(trouble)

    def _start(self, worker: int, first: int, done: int) -> None:
        self.totals.chunks[worker] = max(first, self.totals.chunks.get(worker, 0))
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        log = str(Path(self._logs) / f"{worker}-{first}.log")
        post = _Post(self.plan, worker, first, done, self._deadline, log)
        process = context.Process(target=_work, args=(post, theirs), name=f"worker {worker}", daemon=True)
        handler = signal.getsignal(signal.SIGINT) if _in_main_thread() else None
        try:
            if handler is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: it must not hit a worker that still imports
            with asked(covers=self.plan.covers):
                process.start()
        finally:
            if handler is not None:
                signal.signal(signal.SIGINT, handler)
        theirs.close()
        self._workers.append(_Worker(process, ours, post, time.monotonic()))

    def _listen(self) -> None:
        by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in self._workers}
        for pipe in connection.wait(list(by_pipe), timeout=TICK):
            worker = by_pipe[pipe]
            try:
                word = worker.pipe.recv()
            except (EOFError, OSError):
                self._lost(worker, "died")
                continue
            worker.heard = time.monotonic()
            self._deaths[worker.post.worker] = 0
            if isinstance(word, Report):
                worker.chunks += 1
                self.totals.chunks[worker.post.worker] = worker.post.first + worker.chunks
                worker.cases += word.cases
                self.totals.add(word)
                self.drift.add(word.again)
            else:
                self._dismiss(worker)
                if word == _SUCCESSOR:
                    self._succeed(worker, worker.post.first + worker.chunks)

    def _check(self) -> None:
        """Tell the workers to stop when it is time, and end those that do not."""
        now = time.monotonic()
        over = self._deadline is not None and now >= self._deadline
        if self._stopping is None and (over or self.totals.interrupted):
            self._stopping = now
            for worker in self._workers:
                with contextlib.suppress(OSError):
                    worker.pipe.send(_STOP)
        for worker in list(self._workers):
            since = max(worker.heard, self._stopping or 0.0)
            if now - since > (SILENCE if self._stopping is None else GRACE):
                self._lost(worker, "hung")

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join(GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _lost(self, worker: _Worker, how: str) -> None:
        """A worker has died or hangs: say so, with what it left in its log, and put another in its place."""
        process = worker.process
        if how == "hung" and process.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGUSR1)  # it writes down where it is
            process.join(1.0)
            process.kill()
        process.join()
        self._workers.remove(worker)
        worker.pipe.close()
        log = Path(worker.post.log)
        tail = log.read_text(encoding="utf-8", errors="replace")[-TAIL:] if log.exists() else ""
        code = process.exitcode or 0
        why = "did not end its chunk in time and was ended" if how == "hung" else fate(code)
        case = left_in(worker.post.underway, f"worker {worker.post.worker} {why}")
        text = None if case is None else to_text(case)
        self.totals.add_trouble(Trouble("worker", f"worker {worker.post.worker} {why}", tail, text))
        self._deaths[worker.post.worker] += 1
        if self._deaths[worker.post.worker] < DEATHS:
            self._succeed(worker, worker.post.first + worker.chunks + 1)  # not the chunk that ended it

    def _succeed(self, worker: _Worker, first: int) -> None:
        if self._stopping is None:
            self._start(worker.post.worker, first, worker.post.done + worker.cases)

    # Interruption

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """While it lasts, Ctrl-C and SIGTERM ask for an end; a second one ends the workers at once."""
        if not _in_main_thread():
            yield
            return
        before = {number: signal.signal(number, self._caught) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, _number: int, _frame: FrameType | None) -> None:
        if self.totals.interrupted:
            raise KeyboardInterrupt
        self.totals.interrupted = True


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
