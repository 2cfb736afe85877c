"""What a worker of a cluster is asked to do, and how it does it: each chunk in a child process of its own.

Rule 1: nothing is shared but what a task says: no folder, no module that the worker does not have. Cases go as text.
Rule 2: where cases are counted, a task is a pure function of its plan and its number: whoever carries it out, and
however often, the same comes of it. Where time decides, a child knows what it has learnt in the same campaign.
Rule 3: a child may crash, hang or take too much memory, and costs its worker nothing: what it leaves is a finding with
the case that was under way. A child ends with its worker, however that ends.
Rule 4: whoever is another Lockstep, or on another Python, carries out nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import Pipe
from pathlib import Path
from typing import Final

from machines.campaign import CHUNK_SECONDS, LARGEST, LARGEST_FAST, SMALLEST, TAIL
from machines.case import to_text, versions
from machines.covering import VARIABLE
from machines.fingerprint import ViolationKind
from machines.registry import TargetError, load_target
from machines.searching import Chunk, Plan, Report, Searcher, Trouble, derive
from machines.shares import Lane
from machines.underway import left_in
from machines.workers import fate

PATIENCE: Final = 300.0
"""Seconds that a child gets for a task; then it counts as hanging."""
_FAREWELL: Final = 5.0
LOG: Final = "log"
CASE: Final = "underway.case"


# Who is who


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a process carry out a chunk as another one does."""

    python: str
    lockstep: str
    hypothesis: str

    def differs(self, other: Identity) -> list[str]:
        """In what it is not like another one."""
        ours = {"Python": self.python, "Lockstep": self.lockstep, "Hypothesis": self.hypothesis}
        theirs = other.python, other.lockstep, other.hypothesis
        pairs = zip(ours.items(), theirs, strict=True)
        return [f"{name} {mine}, not {its}" for (name, mine), its in pairs if mine != its]


@cache
def identity() -> Identity:
    """That of this process: the Python without its last number, Lockstep with a digest of its sources."""
    digest, root = hashlib.sha256(), Path(__file__).parent.parent
    for package in ("engine", "machines", "model"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    python = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"
    lockstep = f"{versions()['lockstep']} ({digest.hexdigest()[:12]})"
    return Identity(python, lockstep, versions()["hypothesis"])


def introduce(like: Identity, target: str, redis: str | None) -> list[str]:
    """Why this process cannot take part."""
    found = identity().differs(like)
    try:
        load_target(target)
    except TargetError as error:
        found.append(str(error))
    if redis is not None:
        from machines.sharing import Link  # noqa: PLC0415  # the extra may be missing

        link = Link(redis)
        if why := link.ping():
            found.append(f"{link.address} does not answer: {why}")
    return found


# A task


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk for somebody else."""

    campaign: str
    """A name that no other has."""
    number: int
    lane: Lane
    plan: Plan
    like: Identity
    examples: int | None = None
    """How many cases; none: as many as fit into the time."""
    seconds: float = CHUNK_SECONDS
    came: tuple[tuple[ViolationKind, int], ...] = ()
    """How often violations of each kind came, as far as the campaign has heard; where cases are counted, nothing."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a task."""

    reports: tuple[Report, ...] = ()
    lost: Trouble | None = None
    """Its child has died or hung."""
    misfit: str = ""
    """Why it was not carried out."""


def chunks_of(task: Task, searcher: Searcher) -> Iterator[Chunk]:
    """Its chunks: one ends with the first violation, and another one carries out what it left."""
    machine, fast = task.lane
    swarm = task.number // len(task.plan.machines) % 4 == 3  # noqa: PLR2004  # the last of four
    if task.examples is None:
        examples = searcher.pace(task.seconds, SMALLEST, LARGEST_FAST if fast else LARGEST, None, task.lane)
        yield Chunk(machine, derive(task.plan.seed, 0, task.number, machine), examples, swarm, fast)
        return
    part = -1
    while (left := task.examples - searcher.cases) > 0:
        part, before = part + 1, searcher.cases
        yield Chunk(machine, derive(task.plan.seed, part, task.number, machine), left, swarm, fast)
        if searcher.cases == before:
            return


# On a worker


class _Child:
    """A process that carries out tasks one after the other."""

    def __init__(self, *, covers: bool) -> None:
        """``covers``: whether it counts the branches of the engine."""
        self.folder = Path(tempfile.mkdtemp(prefix="lockstep-"))
        self.campaign = ""
        self._ended = False
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "machines.cluster_child", str(theirs.fileno()), str(self.folder)]
        paths = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": paths, VARIABLE: "1" if covers else ""},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def carry_out(self, task: Task) -> tuple[Carried, bool]:
        """What came of a task, and whether it can carry out another one."""
        try:
            self._pipe.send(task)
            if self._pipe.poll(PATIENCE):
                reports, fit = self._pipe.recv()
                return Carried(reports), fit
        except (EOFError, OSError):
            return self._lost(fate(self._process.wait())), False
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.send_signal(signal.SIGUSR1)  # it writes down where it is
            self._process.wait(1.0)
        self.end()
        return self._lost("did not end its chunk in time and was ended"), False

    def alive(self) -> bool:
        """Whether it can be given a task."""
        return not self._ended and self._process.poll() is None

    def end(self) -> None:
        """End it, whatever it is at."""
        self._ended = True
        self._process.kill()

    def close(self) -> None:
        """Let it go: it ends of itself, or is ended."""
        self._pipe.close()
        try:
            self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self.end()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _lost(self, why: str) -> Carried:
        log = self.folder / LOG
        tail = log.read_text(encoding="utf-8", errors="replace")[-TAIL:] if log.exists() else ""
        sentence = f"a worker on {socket.gethostname()} {why}"
        case = left_in(self.folder / CASE, sentence)
        return Carried(lost=Trouble("worker", sentence, tail, None if case is None else to_text(case)))


_idle: Final[list[_Child]] = []
_all: Final[dict[int, _Child]] = {}
_lock: Final = threading.Lock()


def carry_out(task: Task) -> Carried:
    """Carry out a task, in a child that waits or in a new one."""
    if misfits := identity().differs(task.like):
        return Carried(misfit=f"{socket.gethostname()}: {'; '.join(misfits)}")
    child = _taken(task)
    fit = False
    try:
        carried, fit = child.carry_out(task)
    finally:
        with _lock:
            fit = fit and child.alive()
            if fit:
                _idle.append(child)
            else:
                del _all[id(child)]
        if not fit:
            child.close()
    return carried


def _taken(task: Task) -> _Child:
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.alive():
                child.campaign = task.campaign
                return child
            del _all[id(child)]
            child.close()
    child = _Child(covers=task.plan.covers)
    child.campaign = task.campaign
    _all[id(child)] = child
    return child


def dismiss(campaign: str) -> None:
    """End the children of a campaign that is over, whatever they are at."""
    with _lock:
        over = [child for child in _all.values() if child.campaign == campaign]
        for child in over:
            if child in _idle:
                _idle.remove(child)
                del _all[id(child)]
                child.close()
            else:
                child.end()  # whoever waits for it forgets it
