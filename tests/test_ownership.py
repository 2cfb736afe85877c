"""J5: a journal's file has one owner; who was that before can write nothing more."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from engine import ownership
from engine.errors import JournalError
from engine.messages import ExecutionCreated, ExecutionEnded, ExecutionStarted
from engine.ownership import Lock, Owner
from engine.sqlite_journal import SqliteJournal
from machines.loop import SimulatedLoop
from machines.tape import Tape

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
CREATED = ExecutionCreated(0.0, {"id": "w", "steps": []}, {})
STARTED = ExecutionStarted(0.5)
ENDED = ExecutionEnded(1.0, "COMPLETED")
OTHER = Owner("elsewhere", 7, 0.0)
AT_FIRST = "1970-01-01 00:00:00 UTC"


def really(program: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(program)


def simulated(program: Coroutine[Any, Any, T]) -> T:
    loop = SimulatedLoop()
    loop.tape = Tape(latencies=bytes(range(0, 256, 3)) * 40).reader()
    try:
        return loop.run(program)
    finally:
        loop.close()
        assert loop.errors == []


both_loops = pytest.mark.parametrize("run", [really, simulated])


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(path, **options)
    try:
        yield journal
    finally:
        await journal.close()


async def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(JournalError) as refused:
        await SqliteJournal.open(path, **options)
    return refused.value.reason


# The lock


@both_loops
def test_a_second_opener_is_refused_and_told_who_has_it(tmp_path: Path, run: Callable[..., object]) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path, owner=OTHER) as journal:
            assert await refusal(path) == f"{path}: it is owned by process 7 on elsewhere since {AT_FIRST}"
            await journal.append("e", 1, [CREATED])
        async with opened(path) as journal:
            assert await journal.unfinished() == ["e"]
            assert re.fullmatch(
                rf"{path}: it is owned by process {os.getpid()} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
                await refusal(path, owner=OTHER),
            )

    run(program())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["j", "j.lock"]


def test_of_many_that_open_a_new_file_at_once_one_has_it(tmp_path: Path) -> None:
    async def program() -> None:
        opening = (SqliteJournal.open(tmp_path / "j") for _ in range(8))
        found = await asyncio.gather(*opening, return_exceptions=True)
        (journal,) = [each for each in found if isinstance(each, SqliteJournal)]
        refused = [each.reason for each in found if isinstance(each, JournalError)]
        assert len(refused) == 7
        assert all("it is owned by " in each for each in refused), refused
        await journal.append("e", 1, [CREATED])
        await journal.close()

    really(program())


def test_a_link_is_no_way_around(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "j")

    async def program() -> None:
        async with opened(tmp_path / "j", owner=OTHER) as journal:
            assert "it is owned by process 7" in await refusal(tmp_path / "link")
            await journal.append("e", 1, [CREATED])
            async with opened(tmp_path / "link", read_only=True) as reader:
                assert await reader.unfinished() == ["e"]
        async with opened(tmp_path / "link") as journal:
            await journal.append("e", 2, [STARTED])
            assert "it is owned by" in await refusal(tmp_path / "j")

    really(program())


def test_who_could_not_open_it_has_not_locked_it(tmp_path: Path) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path):
            pass
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await refusal(path, busy_timeout=0.01) == f"{path}: database is locked (SQLITE_BUSY)"
        async with opened(path):
            pass
        (tmp_path / "j.lock").unlink()
        (tmp_path / "j.lock").mkdir()
        assert await refusal(path) == f"{path}: its lock j.lock: Is a directory"
        (tmp_path / "j.lock").rmdir()
        async with opened(path):
            pass

    really(program())


@both_loops
def test_an_opening_that_nobody_waits_for_lets_go_again(tmp_path: Path, run: Callable[..., object]) -> None:
    path = tmp_path / "j"
    made: list[SqliteJournal] = []

    class Noted(SqliteJournal):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    async def program() -> None:
        opening = asyncio.create_task(Noted.open(path))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        (given_up,) = made
        if run is really:
            await asyncio.to_thread(given_up._executor.shutdown)
        else:
            await asyncio.sleep(1000)
        async with opened(path) as journal:
            await journal.append("e", 1, [CREATED])

    run(program())


def test_a_lock_that_was_replaced_while_it_was_taken_is_not_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, taker, tried = tmp_path / "j.lock", Lock(tmp_path / "j.lock"), []
    locked = ownership._locked

    def meanwhile(descriptor: int) -> bool:
        tried.append(descriptor)
        if len(tried) == 1:
            monkeypatch.setattr(ownership, "_locked", locked)
            taker.seize(OTHER)
            monkeypatch.setattr(ownership, "_locked", meanwhile)
        return locked(descriptor)

    monkeypatch.setattr(ownership, "_locked", meanwhile)
    late = Lock(path)
    assert late.acquire(Owner("here", 1, 0.0)) == f"process 7 on elsewhere since {AT_FIRST}"
    assert len(tried) == 2
    taker.release()
    assert late.acquire(Owner("here", 1, 0.0)) is None
    late.release()
    late.release()


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"host": "h"}', b'{"host": "h", "pid": 1, "started": 1e300}'])
def test_a_lock_that_says_nothing_yet_keeps_others_out_all_the_same(tmp_path: Path, record: bytes) -> None:
    mine, other = Lock(tmp_path / "j.lock"), Lock(tmp_path / "j.lock")
    assert mine.acquire(OTHER) is None
    mine.path.write_bytes(record)
    assert other.acquire(OTHER) == "another process, which has just opened it"
    mine.release()


def test_a_seizure_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path) as journal:
            monkeypatch.setattr(ownership, "_tell", full)
            assert await refusal(path, take_over=True) == f"{path}: No space left on device"
            monkeypatch.undo()
            await journal.append("e", 1, [CREATED])
            assert "it is owned by" in await refusal(path)

    really(program())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["j", "j.lock"]


VISITING = """
import sqlite3, sys
visitor = sqlite3.connect(sys.argv[1])
print(visitor.execute("SELECT count(*) FROM events").fetchone()[0])
visitor.close()
"""


def test_those_who_look_at_a_file_in_use_do_not_take_its_locks_away(tmp_path: Path) -> None:
    """SQLite's locks are the process's: without them the next visitor who leaves would take the log with him."""
    path = tmp_path / "j"
    visit = [sys.executable, "-c", VISITING, str(path)]

    async def program() -> None:
        async with opened(path) as journal:
            await journal.append("e", 1, [CREATED])
            await refusal(path)
            async with opened(path, read_only=True) as reader:
                assert await reader.begun() == 1
            visitor = await asyncio.create_subprocess_exec(*visit, stdout=asyncio.subprocess.PIPE)
            assert (await visitor.communicate())[0] == b"1\n"
            await journal.append("e", 2, [STARTED])
        async with opened(path) as journal:
            assert await journal.read("e") == [CREATED, STARTED]

    really(program())


FORKING = """
import asyncio, os, signal, sys
from engine.sqlite_journal import SqliteJournal

async def main():
    await SqliteJournal.open(sys.argv[1])

asyncio.run(main())
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.close(writing)
    print("forked", os.getpid(), flush=True)
    os.read(reading, 1)
    os._exit(0)
os.close(reading)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_forked_process_does_not_keep_what_its_parent_had(tmp_path: Path) -> None:
    path = tmp_path / "j"
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        word, pid = parent.stdout.readline().split()
        assert word == "forked"
        os.kill(int(pid), signal.SIGSTOP)
        try:
            assert f"it is owned by process {parent.pid} on " in really(refusal(path))
            parent.stdin.write("\n")
            parent.stdin.flush()
            assert parent.wait(60) == -signal.SIGKILL
            os.kill(int(pid), 0)
            really(SqliteJournal.open(path)).abandon()
        finally:
            os.kill(int(pid), signal.SIGCONT)


# The generation


@both_loops
def test_a_former_owner_can_write_nothing_more(tmp_path: Path, run: Callable[..., object]) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        former = await SqliteJournal.open(path)
        await former.append("e", 1, [CREATED])
        async with opened(path, take_over=True, owner=OTHER) as taker:
            await taker.append("e", 2, [STARTED])
            outcomes = await asyncio.gather(
                former.append("e", 2, [ENDED]),
                former.append("e", 3, [ENDED]),
                former.append("f", 1, [CREATED]),
                return_exceptions=True,
            )
            assert [str(each) for each in outcomes] == [
                f"the journal failed: {path}: process 7 on elsewhere took it over at {AT_FIRST}"
            ] * 3
            assert await former.read("e") == await taker.read("e") == [CREATED, STARTED]
            with pytest.raises(JournalError, match="took it over"):  # what it read, it would take up
                await former.unfinished()
            assert await taker.unfinished() == ["e"]
            assert await taker.begun() == 1
            assert await refusal(path) == f"{path}: it is owned by process 7 on elsewhere since {AT_FIRST}"
            await taker.append("e", 3, [ENDED])
        async with opened(path, owner=Owner("there", 8, 1.0)) as third:
            with pytest.raises(JournalError, match="process 8 on there took it over at 1970-01-01 00:00:01 UTC"):
                await former.append("f", 1, [CREATED])
            await former.close()
            assert "it is owned by process 8 on there" in await refusal(path)
            await third.append("f", 1, [CREATED])

    run(program())


@both_loops
def test_what_nobody_has_can_be_taken_over_too(tmp_path: Path, run: Callable[..., object]) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j", take_over=True, owner=OTHER) as journal:
            await journal.append("e", 1, [CREATED])
            assert "it is owned by process 7" in await refusal(tmp_path / "j")

    run(program())


def test_a_transaction_under_way_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path) as journal:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert "SQLITE_BUSY" in await refusal(path, take_over=True, busy_timeout=0.01)
            await journal.append("e", 1, [CREATED])
            assert f"it is owned by process {os.getpid()}" in await refusal(path)

    really(program())


def test_without_its_lock_a_file_has_one_writer_all_the_same(tmp_path: Path) -> None:
    """Somebody tidied up: the second opener finds no lock, and the first is told at its next append."""
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path) as first:
            (tmp_path / "j.lock").unlink()
            async with opened(path, owner=OTHER) as second:
                with pytest.raises(JournalError, match="process 7 on elsewhere took it over"):
                    await first.append("e", 1, [CREATED])
                await second.append("e", 1, [CREATED])

    really(program())


def test_a_file_that_does_not_say_who_owns_it_is_not_written(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as other:
                other.execute("DELETE FROM owner")
            with pytest.raises(JournalError, match="the record of its owner is gone"):
                await journal.append("e", 1, [CREATED])
            with pytest.raises(JournalError, match="the record of its owner is gone"):
                await journal.unfinished()
            assert await journal.begun() == 0

    really(program())
