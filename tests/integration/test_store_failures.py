"""J4, J5 for real: a disk that is full, a file that cannot be written or is gone, two processes for one journal.

Nothing is simulated here: real files, real processes, real limits and signals.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

import pytest

Json = Any

ROOT = Path(__file__).parent.parent.parent
CHILD = Path(__file__).with_name("store_process.py")
WORKFLOW = {
    "id": "w",
    "steps": [
        {"id": "a", "action": "gate"},
        {"id": "b", "depends_on": ["a"], "action": "echo", "parameters": {"a": "${a}"}},
    ],
}
FULL = r"SQLITE_(FULL|IOERR_WRITE)"

pytestmark = pytest.mark.timeout(120)


class RefusedError(Exception):
    """What a process answered with instead."""


class Process:
    """An engine in another process; see `store_process`."""

    def __init__(self) -> None:
        command = [sys.executable, str(CHILD)]
        self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()

    def ask(self, word: str, *arguments: Json, **options: Json) -> Json:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{json.dumps([word, arguments, options])}\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        if "error" in answer:
            raise RefusedError(": ".join(answer["error"]))
        return answer["answer"]

    def refuses(self, reason: str, word: str, *arguments: Json, **options: Json) -> None:
        with pytest.raises(RefusedError, match=f"^JournalError: the journal failed: .*{reason}"):
            self.ask(word, *arguments, **options)

    def has_it_right(self, execution: str) -> Json:
        """What is reported is what the journal makes; returns it."""
        found = self.ask("report", execution)
        assert found == self.ask("folded", execution)
        return found

    def completes(self, execution: str, value: Json) -> None:
        """From its gate, the execution comes to its end."""
        self.ask("reached", "a")
        self.ask("go", "a", value)
        assert self.ask("wait", execution)["status"] == "COMPLETED"
        assert self.has_it_right(execution)["steps"]["b"]["output"] == {"a": value}

    def stop(self) -> None:
        """Stop, and go on only when told."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(60)


def began(process: Process, path: Path) -> str:
    """Open a journal, and start an execution that waits at its gate; returns its id."""
    process.ask("open", str(path))
    execution: str = process.ask("start", WORKFLOW)
    process.ask("reached", "a")
    return execution


# A full disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def fill(process: Process, path: Path) -> None:
    """Let the log not grow any more."""
    process.ask("limit", path.with_name(f"{path.name}-wal").stat().st_size)


def test_what_a_full_disk_cannot_hold_has_not_happened(path: Path) -> None:
    """A step's end, then every command: each says so, and after there is room again all goes on in the same engine."""
    with Process() as engine:
        execution = began(engine, path)
        fill(engine, path)
        engine.ask("go", "a", 1)
        engine.refuses(FULL, "wait", execution)
        engine.refuses(FULL, "pause", execution)
        engine.refuses(FULL, "start", WORKFLOW)
        found = engine.has_it_right(execution)
        assert (found["status"], found["steps"]["a"]["status"]) == ("RUNNING", "RUNNING")
        assert engine.ask("unfinished") == [execution]
        engine.ask("limit", None)
        assert engine.has_it_right(execution) == found
        assert engine.ask("recover") == [execution]
        assert engine.ask("reached", "a") == [f"{execution}/a/1"] * 2
        engine.completes(execution, 2)
        other = engine.ask("start", WORKFLOW)
        engine.completes(other, 3)


def test_a_command_that_a_full_disk_cannot_hold_is_refused(path: Path) -> None:
    with Process() as engine:
        execution = began(engine, path)
        fill(engine, path)
        engine.refuses(FULL, "pause", execution)
        assert engine.has_it_right(execution)["status"] == "RUNNING"
        engine.refuses(FULL, "wait", execution)
        engine.ask("limit", None)
        assert engine.ask("recover") == [execution]
        engine.ask("reached", "a")
        assert engine.ask("pause", execution) is True
        assert engine.has_it_right(execution)["status"] == "PAUSED"


def test_after_a_full_disk_another_process_goes_on(path: Path) -> None:
    with Process() as first, Process() as second:
        execution = began(first, path)
        fill(first, path)
        first.ask("go", "a", 1)
        first.refuses(FULL, "wait", execution)
        first.kill()
        second.ask("open", str(path))
        assert second.ask("recover") == [execution]
        assert second.ask("reached", "a") == [f"{execution}/a/1"]
        second.completes(execution, 2)


# A file that cannot be written


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may look into."""
    folder = Path(mkdtemp(prefix="lockstep-"))
    folder.chmod(0o755)
    yield folder
    protect(folder, folder=0o755, files=0o644)
    shutil.rmtree(folder)


def protect(path: Path, *, folder: int = 0o555, files: int = 0o444) -> None:
    path.chmod(folder)
    for each in path.iterdir():
        each.chmod(files)


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


def test_a_file_that_cannot_be_written_can_be_read(public: Path) -> None:
    """Owning it is refused, with the reason; an engine that only reads reports, and can do nothing else."""
    path = public / "journal.db"
    with Process() as owner, Process() as reader:
        execution = began(owner, path)
        owner.ask("close")
        protect(public)
        before = contents(public)
        reader.ask("drop")
        for options in ({}, {"take_over": True}):
            reader.refuses(f"{path}: it may not be written, only read", "open", str(path), **options)
        reader.ask("open", str(path), read_only=True)
        found = reader.has_it_right(execution)
        assert (found["status"], found["steps"]["a"]["status"]) == ("RUNNING", "RUNNING")
        reader.refuses("it was opened for reading only", "start", WORKFLOW)
        assert reader.ask("recover") == [execution]
        reader.ask("reached", "a")
        reader.refuses("it was opened for reading only", "pause", execution)
        reader.refuses("it was opened for reading only", "wait", execution)
        assert reader.has_it_right(execution) == found
        assert contents(public) == before


def test_a_file_in_use_can_be_read_where_nothing_can_be_written(public: Path) -> None:
    path, copy = public / "journal.db", public / "copy.db"
    with Process() as owner, Process() as reader:
        execution = began(owner, path)
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
        protect(public)
        reader.ask("drop")
        reader.ask("open", str(path), read_only=True)
        assert reader.has_it_right(execution)["status"] == "RUNNING"
        owner.completes(execution, 1)
        assert reader.ask("folded", execution)["status"] == "COMPLETED"
        reader.refuses(
            f"{copy}: it was not closed, and its log can be read only where SQLite may write copy.db-shm beside it",
            *("open", str(copy)),
            read_only=True,
        )


def test_a_file_alone_may_be_protected(public: Path) -> None:
    """Its folder is not, nor is its lock: SQLite would open it, and leave a log beside it that it cannot use."""
    path = public / "journal.db"
    with Process() as owner, Process() as other:
        execution = began(owner, path)
        owner.ask("close")
        path.chmod(0o444)
        (public / "journal.db.lock").chmod(0o666)
        public.chmod(0o777)
        other.ask("drop")
        other.refuses(f"{path}: it may not be written, only read", "open", str(path))
        other.ask("open", str(path), read_only=True)
        assert other.has_it_right(execution)["status"] == "RUNNING"
        assert contents(public).keys() == {"journal.db", "journal.db.lock"}


def test_a_folder_alone_may_be_protected(public: Path) -> None:
    path = public / "journal.db"
    with Process() as owner, Process() as other:
        began(owner, path)
        owner.ask("close")
        (public / "journal.db.lock").unlink()
        path.chmod(0o666)
        public.chmod(0o555)
        other.ask("drop")
        other.refuses(f"{path}: its lock journal.db.lock: Permission denied", "open", str(path))
        assert contents(public).keys() == {"journal.db"}


# A file that is gone


def test_a_file_that_was_moved_away_is_not_written(path: Path) -> None:
    with Process() as engine:
        execution = began(engine, path)
        path.rename(path.with_name("elsewhere"))
        engine.ask("go", "a", 1)
        engine.refuses(f"{path} was deleted or moved away", "wait", execution)
        engine.refuses(f"{path} was deleted or moved away", "start", WORKFLOW)
        assert engine.has_it_right(execution)["steps"]["a"]["status"] == "RUNNING"
        path.with_name("elsewhere").rename(path)
        assert engine.ask("recover") == [execution]
        engine.completes(execution, 2)


def test_a_file_that_was_deleted_is_not_written(path: Path) -> None:
    with Process() as engine, Process() as successor:
        execution = began(engine, path)
        for each in path.parent.iterdir():
            each.unlink()
        engine.refuses(f"{path} was deleted or moved away", "pause", execution)
        successor.ask("open", str(path))
        assert successor.ask("recover") == []
        engine.refuses(f"another file has taken the place of {path}", "start", WORKFLOW)
        assert engine.has_it_right(execution)["status"] == "RUNNING"
        other = successor.ask("start", WORKFLOW)
        successor.completes(other, 1)
        assert successor.ask("unfinished") == []


# Two processes


def test_a_second_process_is_refused_until_the_first_is_gone(path: Path) -> None:
    with Process() as first, Process() as second:
        execution = began(first, path)
        second.refuses(rf"{path}: it is owned by process {first.pid} on \S+ since ", "open", str(path))
        first.kill()
        second.ask("open", str(path))
        assert second.ask("recover") == [execution]
        assert second.ask("reached", "a") == [f"{execution}/a/1"]
        second.completes(execution, 1)
        second.ask("close")
        with Process() as third:
            third.ask("open", str(path))
            assert third.ask("recover") == []
            assert third.has_it_right(execution)["status"] == "COMPLETED"


def test_a_stalled_process_that_wakes_up_can_write_nothing_more(path: Path) -> None:
    """It is told who took over, by every command; the journal is the other's alone."""
    with Process() as stalled, Process() as taker:
        execution = began(stalled, path)
        stalled.stop()
        taker.refuses(f"it is owned by process {stalled.pid} on ", "open", str(path))
        taker.ask("open", str(path), take_over=True)
        assert taker.ask("recover") == [execution]
        taker.ask("reached", "a")
        stalled.go_on()
        taken = rf"process {taker.pid} on \S+ took it over at \d{{4}}-"
        stalled.ask("go", "a", "stalled")
        stalled.refuses(taken, "wait", execution)
        stalled.refuses(taken, "pause", execution)
        stalled.refuses(taken, "start", WORKFLOW)
        assert taker.has_it_right(execution)["steps"]["a"]["status"] == "RUNNING"
        taker.completes(execution, "taker")
        assert taker.ask("unfinished") == []
        assert stalled.ask("folded", execution)["steps"]["a"]["output"] == "taker"
        stalled.ask("close")
        with Process() as third:
            third.refuses(f"it is owned by process {taker.pid} on ", "open", str(path))
            taker.ask("close")
            third.ask("open", str(path))


def test_a_stalled_process_that_was_not_taken_over_goes_on(path: Path) -> None:
    with Process() as stalled, Process() as other:
        execution = began(stalled, path)
        stalled.stop()
        other.refuses(f"it is owned by process {stalled.pid} on ", "open", str(path))
        stalled.go_on()
        stalled.completes(execution, 1)
