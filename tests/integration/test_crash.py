"""Real processes on a real file, ended with SIGKILL at random moments, and what is left of their work (J3).

Rule 1: a process is killed after a number of lines that it wrote, never after a time: by us, so that it stands anywhere
by then, or by itself, so that it stands exactly there (inside a recovery).
Rule 2: what happened is told by three witnesses: the journal, read with SQLite alone; the ledger of the actions; and
what the processes were answered. What one has and another should have too is a loss if it has not.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

Json: TypeAlias = Any

KILLS: Final = int(os.environ.get("KILLS", "20"))
SEED: Final = int(os.environ.get("SEED", "1"))
MORTAL: Final = Path(__file__).parent / "mortal.py"
ROOT: Final = Path(__file__).parents[2]
IN_RECOVERY: Final = 0.3
"""The share of processes that are to die before they have recovered."""
OUTCOMES: Final = {
    "sequence": "COMPLETED",
    "fan": "COMPLETED",
    "retries": "COMPLETED",
    "rollback": "FAILED",
    "timeout": "PARTIAL",
    "pause": "COMPLETED",
    "cancel": "CANCELLED",
    "deadline": "FAILED",
}


class Entry(NamedTuple):
    """A line of the ledger: in which life and when an action began, had its effect, or was over."""

    life: int
    at: float
    what: str
    key: str


@dataclass
class Lives:
    """One file, and the processes that live on it one after the other."""

    directory: Path
    kills: int = 0
    in_recovery: int = 0
    lives: int = 0
    slots: list[int] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    """When each of them opened the file."""
    answers: list[list[str]] = field(default_factory=list)
    """What callers were answered, in words."""

    @property
    def journal(self) -> Path:
        return self.directory / "journal.db"

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    def live(self, slots: int, *how: object, kill_after: int = 0) -> None:
        """Have a process live until it is killed after some lines, or until it ends."""
        trouble = self.directory / "stderr"
        # A process that is killed measures no coverage, and would only take longer to get going.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        command = [sys.executable, MORTAL, self.journal, self.ledger, self.lives, slots, *how]
        with (
            trouble.open("w", encoding="utf-8") as errors,
            subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                cwd=ROOT,
                env=environment,
            ) as process,
        ):
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line.split())
                if len(said) == kill_after:
                    process.kill()
        ending = f"life {self.lives} ended so, after {said[-3:]}: {trouble.read_text(encoding='utf-8')}"
        assert process.returncode == (0 if how == ("last",) else -9), ending
        self.lives += 1
        self.slots.append(slots)
        self.opened.append(float(said[0][1]))
        self.answers += said
        if how != ("last",):
            self.kills += 1
            self.in_recovery += all(words[0] != "recovered" for words in said)

    def entries(self) -> list[Entry]:
        """The ledger."""
        found = []
        for line in self.ledger.read_text(encoding="utf-8").splitlines():
            life, at, what, key = line.split()
            found.append(Entry(int(life), float(at), what, key))
        return found

    def events(self) -> dict[str, list[dict[str, Json]]]:
        """What the file holds of each execution."""
        found: dict[str, list[dict[str, Json]]] = {}
        with closing(sqlite3.connect(self.journal)) as connection:
            for execution, event in connection.execute("SELECT execution, event FROM events ORDER BY execution, seq"):
                found.setdefault(execution, []).append(json.loads(event))
        return found


# What each witness says of the others; a sentence is a loss.


def ended_as_they_should(journal: Mapping[str, Sequence[Json]]) -> Iterator[str]:
    """Every execution is over, and came out as its kind does."""
    for execution, events in journal.items():
        kind, last = execution.partition("-")[0], events[-1]
        if (last["type"], last.get("status")) != ("ExecutionEnded", OUTCOMES[kind]):
            yield f"{execution}: its last event is {last}"


def nothing_answered_is_lost(journal: Mapping[str, Sequence[Json]], answers: Sequence[Sequence[str]]) -> Iterator[str]:
    """What a caller was answered has happened, as often as it was answered."""
    events = {
        "started": "ExecutionCreated",
        "paused": "ExecutionPaused",
        "resumed": "ExecutionResumed",
        "cancelled": "CancellationRequested",
        "ended": "ExecutionEnded",
    }
    claimed: dict[tuple[str, str], int] = {}
    for what, *words in answers:
        if what in events:
            claimed[what, words[0]] = claimed.get((what, words[0]), 0) + 1
        if what == "ended" and journal[words[0]][-1].get("status") != words[1]:
            yield f"{words[0]}: it was answered that it ended as {words[1]}"
    for (what, execution), times in claimed.items():
        happened = sum(event["type"] == events[what] for event in journal.get(execution, ()))
        if happened < (1 if what == "ended" else times):
            yield f"{execution}: it was answered {times} times that it was {what}; that happened {happened} times"


class Attempt(NamedTuple):
    """When an attempt was started and ended by the journal."""

    started: float
    ended: float
    outcome: str


def attempts(journal: Mapping[str, Sequence[Json]]) -> dict[str, Attempt]:
    """Every attempt by its key; an attempt starts once, and ends once."""
    found: dict[str, Attempt] = {}
    for execution, events in journal.items():
        for event in events:
            if "attempt" not in event or not event["attempt"] or event["type"].endswith("TimedOut"):
                continue
            kind = "compensation/" if event["type"].startswith("Compensation") else ""
            key = f"{execution}/{event['step']}/{kind}{event['attempt']}"
            if event["type"].endswith("Started"):
                assert key not in found, f"{key} starts twice"
                found[key] = Attempt(event["at"], float("inf"), "")
            else:
                assert not found[key].outcome, f"{key} ends twice"
                found[key] = found[key]._replace(ended=event["at"], outcome=event["type"])
    return found


def effects_agree(known: Mapping[str, Attempt], ledger: Sequence[Entry]) -> Iterator[str]:
    """A completed attempt has had its effect; an attempt begins after it was started and never after it has ended."""
    done = {entry.key: entry.at for entry in reversed(ledger) if entry.what == "done"}
    for key, attempt in known.items():
        if attempt.outcome.endswith("Completed") and not done.get(key, float("inf")) <= attempt.ended:
            yield f"{key} is completed and had no effect before"
    begun: set[tuple[int, str]] = set()
    for entry in ledger:
        if entry.what != "begin":
            continue
        if entry.key not in known or not known[entry.key].started <= entry.at <= known[entry.key].ended:
            yield f"{entry.key} began at {entry.at} in life {entry.life}, and is {known.get(entry.key)}"
        if (entry.life, entry.key) in begun:
            yield f"{entry.key} began twice in life {entry.life}"
        begun.add((entry.life, entry.key))


def completed_stays_completed(known: Mapping[str, Attempt], ledger: Sequence[Entry]) -> Iterator[str]:
    """No attempt of a step begins after one of it was completed."""
    completed = {
        key.rpartition("/")[0]: attempt.ended for key, attempt in known.items() if attempt.outcome.endswith("Completed")
    }
    for entry in ledger:
        if entry.what == "begin" and entry.at > completed.get(entry.key.rpartition("/")[0], float("inf")):
            yield f"{entry.key} began in life {entry.life}, after its step was completed"


def stopped_stays_stopped(
    journal: Mapping[str, Sequence[Json]], ledger: Sequence[Entry], opened: Sequence[float]
) -> Iterator[str]:
    """No step begins in a life after the one in which its execution was cancelled or failed."""
    stopped = {
        execution: event["at"]
        for execution, events in journal.items()
        for event in reversed(events)
        if event["type"] in {"CancellationRequested", "RollbackStarted"}
    }
    for entry in ledger:
        at = stopped.get(entry.key.partition("/")[0], float("inf"))
        if entry.what == "begin" and "/compensation/" not in entry.key and opened[entry.life] > at:
            yield f"{entry.key} began in life {entry.life}, after its execution was stopped"


def limits_kept(ledger: Sequence[Entry], slots: Sequence[int]) -> Iterator[str]:
    """No life has more actions running than it has slots."""
    running = [0] * len(slots)
    for entry in ledger:
        running[entry.life] += {"begin": 1, "over": -1}.get(entry.what, 0)
        if running[entry.life] > slots[entry.life]:
            yield f"{running[entry.life]} actions run in life {entry.life}, which has {slots[entry.life]} slots"


@pytest.mark.timeout(60 + 5 * KILLS)
def test_nothing_is_lost_by_processes_that_are_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(SEED)
    lives = Lives(tmp_path)
    for number in range(KILLS):
        slots = random.choice([2, 4, 6])
        if number and random.random() < IN_RECOVERY:
            lives.live(slots, random.randint(1, 7))
        else:
            lives.live(slots, kill_after=random.randint(5, 150))
    lives.live(4, "last")
    journal, ledger = lives.events(), lives.entries()
    known = attempts(journal)
    lost = [
        *ended_as_they_should(journal),
        *nothing_answered_is_lost(journal, lives.answers),
        *effects_agree(known, ledger),
        *completed_stays_completed(known, ledger),
        *stopped_stays_stopped(journal, ledger, lives.opened),
        *limits_kept(ledger, lives.slots),
    ]
    begun = [entry.key for entry in ledger if entry.what == "begin"]
    again = len(begun) - len(dict.fromkeys(begun))
    with capsys.disabled():
        print(  # noqa: T201  # the figures are what a night is for
            f"\n{lives.kills} kills ({lives.in_recovery} of them inside a recovery), {len(journal)} executions, "
            f"{len(known)} attempts ({again} begun again), losses {len(lost)}"
        )
    assert lost == []
    assert lives.kills == KILLS
    assert min(lives.in_recovery, again) >= KILLS // 20, "nothing was interrupted, and so nothing was tried"
    check = [sys.executable, "-m", "machines.cli", "journal", str(lives.journal), "--check"]
    checked = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
