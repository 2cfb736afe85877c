"""J4: whatever the file or SQLite does wrong, an append that raised is not durable, and one that did not is."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from engine.errors import JournalError
from engine.messages import ExecutionCreated, ExecutionEnded, ExecutionStarted
from engine.sqlite_journal import SqliteJournal
from machines.loop import SimulatedLoop

T = TypeVar("T")

CREATED = ExecutionCreated(0.0, {"id": "w", "steps": []}, {})
STARTED = ExecutionStarted(0.5)
ENDED = ExecutionEnded(1.0, "COMPLETED")


def really(program: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(program)


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(path, **options)
    try:
        yield journal
    finally:
        await journal.close()


async def refusal(request: Coroutine[Any, Any, object]) -> str:
    with pytest.raises(JournalError) as refused:
        await request
    return refused.value.reason


def sqlite_error(name: str) -> sqlite3.Error:
    """What SQLite raises by itself."""
    error = sqlite3.DatabaseError("it failed") if name == "SQLITE_CORRUPT" else sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


# Statements that fail


class Faulty(sqlite3.Connection):
    """Some of its statements fail: before they have done anything, or after they have done it all."""

    seen: ClassVar[list[str]] = []
    """The first word of each."""
    fails: ClassVar[Callable[..., bool]] = staticmethod(bool)
    """Whether the last one that was seen does."""
    after: ClassVar[bool] = False
    error: ClassVar[Callable[..., BaseException]] = staticmethod(partial(sqlite_error, "SQLITE_IOERR"))

    @classmethod
    def fail(cls, failing: Container[int] = (), word: str | None = None, *, after: bool = False) -> None:
        """Let statements fail by their number, counted from now and from 1; or those of one word."""
        seen: list[str] = []

        def fails() -> bool:
            return len(seen) in failing if word is None else seen[-1] == word and seen.count(word) in failing

        cls.seen, cls.fails, cls.after = seen, staticmethod(fails), after

    @classmethod
    def fail_from(cls, word: str, *, after: bool = False) -> None:
        """Let all statements fail from the first of one word on."""
        seen: list[str] = []
        cls.seen, cls.fails, cls.after = seen, staticmethod(lambda: word in seen), after

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return self._carry_out(sql, super().execute, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        return self._carry_out(sql, super().executemany, parameters)

    def _carry_out(self, sql: str, statement: Callable[[str, Any], sqlite3.Cursor], parameters: Any) -> sqlite3.Cursor:
        self.seen.append(sql.split(None, 1)[0])
        fails = self.fails()
        if fails and not self.after:
            raise self.error()
        found = statement(sql, parameters)
        if fails:
            found.close()
            raise self.error()
        return found


@pytest.fixture(autouse=True)
def nothing_fails() -> Iterator[None]:
    Faulty.fail()
    yield
    Faulty.error = staticmethod(partial(sqlite_error, "SQLITE_IOERR"))


class FaultyJournal(SqliteJournal):
    connection_class: ClassVar[type[sqlite3.Connection]] = Faulty


async def told(journal: SqliteJournal) -> dict[str, int]:
    """How many events each execution has, by its journal."""
    return {execution: len(await journal.read(execution)) for execution in await journal.unfinished()}


async def attempt(journal: SqliteJournal, *appends: tuple[str, int, int]) -> list[JournalError | None]:
    """Append several things at once, and return what came of each."""
    requests = (journal.append(name, first, [STARTED] * events) for name, first, events in appends)
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, JournalError)]
    assert len(errors) == len(outcomes) - outcomes.count(None), outcomes
    assert all(each.reason.startswith(f"{journal.path}: ") for each in errors), outcomes
    return [each if isinstance(each, JournalError) else None for each in outcomes]


async def with_faults(path: Path, failing: range, ending: str, *, after: bool) -> Sequence[str]:
    """Append with some statements failing, then go on in one way or another; what was answered has to hold.

    Returns the statements that there were while they failed.
    """
    journal = await FaultyJournal.open(path, synchronous="NORMAL")
    await journal.append("e", 1, [CREATED])
    kept = {"e": 1}
    Faulty.fail(failing, after=after)
    (first,) = await attempt(journal, ("e", 2, 1))
    kept["e"] += first is None
    last = kept["e"]
    grouped = await attempt(journal, ("e", last + 1, 2), ("e", last + 3, 1), ("f", 1, 1), ("e", last + 4, 1))
    seen = Faulty.seen
    Faulty.fail()
    *parts, new = [grouped[which] is None for which in (0, 1, 3, 2)]
    assert parts == sorted(parts, reverse=True), "it went on from what is not there"
    kept["e"] += sum(size for size, there in zip((2, 1, 1), parts, strict=True) if there)
    if new:
        kept["f"] = 1
    doubtful = any("a crash may bring this back" in str(each) for each in (first, *grouped))
    if ending == "goes on":
        assert await told(journal) == kept
        await journal.append("e", kept["e"] + 1, [STARTED])
        kept["e"] += 1
        assert await told(journal) == kept
    if ending == "dies":
        journal.abandon()
    else:
        await journal.close()
    async with opened(path) as found:
        if ending == "dies" and doubtful:
            assert (await told(found))["e"] >= kept["e"]
        else:
            assert await told(found) == kept
        assert found._select("PRAGMA integrity_check") == [("ok",)]
    return seen


@pytest.mark.unmeasured
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("ending", ["goes on", "closes", "dies"])
def test_a_statement_that_fails_is_no_way_to_half_an_append(tmp_path: Path, ending: str, *, after: bool) -> None:
    """Each statement fails in turn, alone or with those that follow it; then the journal goes on, closes or dies."""
    failed: dict[str, None] = {}
    for length in (1, 2, 3, 1000):
        failed.update(dict.fromkeys(each_in_turn(tmp_path, length, ending, after=after)))
    assert {"BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT", "ROLLBACK"} <= failed.keys()


@pytest.mark.parametrize("name", ["SQLITE_BUSY", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CORRUPT", "memory"])
def test_whatever_it_fails_with(tmp_path: Path, name: str) -> None:
    Faulty.error = MemoryError if name == "memory" else staticmethod(partial(sqlite_error, name))
    for after in (False, True):
        assert "COMMIT" in each_in_turn(tmp_path, 2, "dies", after=after)

    async def program() -> None:
        journal = await FaultyJournal.open(tmp_path / "j")
        await journal.append("e", 1, [CREATED])
        for request in (journal.read("e"), journal.unfinished(), journal.begun()):
            Faulty.fail([1])
            assert (await refusal(request)).startswith(f"{tmp_path / 'j'}: ")
        await journal.close()

    really(program())


def each_in_turn(folder: Path, length: int, ending: str, *, after: bool) -> list[str]:
    """Let each statement fail in turn, with those that follow it; returns them all."""
    failed: list[str] = []
    for first in count(1):
        path = folder / str(first)
        path.mkdir()
        loop = SimulatedLoop()
        failing = range(first, first + length)
        seen = loop.run(with_faults(path / "j", failing, ending, after=after))
        loop.close()
        shutil.rmtree(path)
        if first > len(seen):
            return failed
        failed += seen[first - 1 : first - 1 + length]
    raise AssertionError


def test_a_transaction_that_could_not_be_ended_is_ended_by_the_next(tmp_path: Path) -> None:
    async def program() -> None:
        journal = await FaultyJournal.open(tmp_path / "j")
        Faulty.fail_from("INSERT")
        await refusal(journal.append("e", 1, [CREATED]))
        assert Faulty.seen[-1] == "ROLLBACK"
        Faulty.fail()
        await journal.append("f", 1, [CREATED])
        assert await journal.unfinished() == ["f"]
        await journal.close()

    really(program())


def test_a_commit_that_has_happened_is_answered_so(tmp_path: Path) -> None:
    async def program() -> None:
        journal = await FaultyJournal.open(tmp_path / "j")
        Faulty.fail([1], "COMMIT", after=True)
        await journal.append("e", 1, [CREATED])
        assert Faulty.seen.count("COMMIT") == 1
        assert await journal.read("e") == [CREATED]
        await journal.close()

    really(program())


@pytest.mark.parametrize(("execution", "first"), [("e", 2), ("f", 1)], ids=["goes on", "new"])
def test_what_a_failed_commit_left_in_the_log_is_written_over(tmp_path: Path, execution: str, first: int) -> None:
    """SQLite takes it back in memory only, so something else has to be written in its place."""

    async def program() -> None:
        journal = await FaultyJournal.open(tmp_path / "j")
        await journal.append("e", 1, [CREATED])
        before = frames(tmp_path / "j-wal")
        Faulty.fail([1], "COMMIT")
        refused = await refusal(journal.append(execution, first, [STARTED]))
        assert refused == f"{tmp_path / 'j'}: it failed (SQLITE_IOERR)"
        assert Faulty.seen.count("COMMIT") == 2
        assert frames(tmp_path / "j-wal") > before
        assert await journal.read("e") == [CREATED]
        assert await journal.unfinished() == ["e"]
        await journal.close()

    really(program())


def frames(log: Path) -> int:
    return (log.stat().st_size - 32) // (4096 + 24)


def test_while_it_is_in_doubt_nothing_is_written_and_the_error_says_so(tmp_path: Path) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        journal = await FaultyJournal.open(path)
        await journal.append("e", 1, [CREATED])
        Faulty.fail(range(1, 100), "COMMIT")
        doubt = f"{path}: it failed (SQLITE_IOERR); until it can be written again a crash may bring this back"
        assert await refusal(journal.append("e", 2, [STARTED])) == f"{doubt}: it failed (SQLITE_IOERR)"
        assert Faulty.seen.count("COMMIT") == 2
        names = ("e", "f", "g")
        outcomes = await asyncio.gather(*(journal.append(name, 2, [STARTED]) for name in names), return_exceptions=True)
        assert [str(each) for each in outcomes] == [f"the journal failed: {path}: it failed (SQLITE_IOERR)"] * 3
        assert Faulty.seen.count("COMMIT") == 3, "each was tried by itself"
        assert Faulty.seen.count("INSERT") == 1, "something was written"
        assert await journal.read("e") == [CREATED]
        Faulty.fail()
        await journal.append("e", 2, [ENDED])
        assert await journal.read("e") == [CREATED, ENDED]
        await journal.close()

    really(program())


def test_what_is_in_doubt_is_not_read(tmp_path: Path) -> None:
    """It was committed, and nobody could find out: it is refused to readers, then taken back."""
    path = tmp_path / "j"

    async def program() -> None:
        journal = await FaultyJournal.open(path)
        await journal.append("e", 1, [CREATED])
        Faulty.fail_from("COMMIT", after=True)
        assert "a crash may bring this back" in await refusal(journal.append("e", 2, [STARTED, ENDED]))
        assert Faulty.seen[-2:] == ["COMMIT", "SELECT"], Faulty.seen
        Faulty.fail(range(1, 100), "COMMIT")
        assert await refusal(journal.read("e")) == f"{path}: it failed (SQLITE_IOERR)"
        assert await refusal(journal.unfinished()) == f"{path}: it failed (SQLITE_IOERR)"
        Faulty.fail()
        assert await journal.unfinished() == ["e"]
        assert await journal.read("e") == [CREATED]
        await journal.append("e", 2, [STARTED])
        await journal.close()

    really(program())


# Files that go


def away(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).rename(folder / "away")


def back(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "away").replace(folder / name)


def copied(name: str) -> Callable[[Path], object]:
    return lambda folder: (away(name)(folder), shutil.copy(folder / "away", folder / name))


@pytest.mark.parametrize(
    ("harm", "reason", "cure"),
    [
        (away("j"), "FOLDER/j was deleted or moved away", back("j")),
        (copied("j"), "another file has taken the place of FOLDER/j", back("j")),
        (away("j-wal"), "FOLDER/j-wal was deleted or moved away", back("j-wal")),
        (copied("j-wal"), "another file has taken the place of FOLDER/j-wal", back("j-wal")),
    ],
    ids=["gone", "replaced", "log gone", "log replaced"],
)
def test_what_nobody_would_ever_read_is_not_written(
    tmp_path: Path, harm: Callable[[Path], object], reason: str, cure: Callable[[Path], object]
) -> None:
    """SQLite would go on writing to a file that has no name any more, and say that all is well."""
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path) as journal:
            await journal.append("e", 1, [CREATED])
            harm(tmp_path)
            requests = [journal.append("e", 2, [STARTED]), journal.append("f", 1, [CREATED])]
            outcomes = await asyncio.gather(*requests, return_exceptions=True)
            assert [
                each.reason.replace(str(tmp_path), "FOLDER") for each in outcomes if isinstance(each, JournalError)
            ] == [f"FOLDER/j: {reason}"] * 2
            assert await journal.read("e") == [CREATED]
            cure(tmp_path)
            await journal.append("e", 2, [STARTED])
        async with opened(path) as journal:
            assert await journal.read("e") == [CREATED, STARTED]

    really(program())


# Files that are damaged

PAGE = 4096


def damaged(path: Path, page: int, start: int = 0) -> bytes:
    """Overwrite a page from a place on, and return what the file is then."""
    content = bytearray(path.read_bytes())
    content[page * PAGE + start : (page + 1) * PAGE] = b"\xa5" * (PAGE - start)
    path.write_bytes(content)
    return bytes(content)


def test_a_damaged_page_is_said_by_whoever_comes_upon_it(tmp_path: Path) -> None:
    path = tmp_path / "j"

    async def filled() -> None:
        async with opened(path) as journal:
            await asyncio.gather(*(journal.append(f"e{n:02}", 1, [CREATED, *[STARTED] * 60]) for n in range(20)))

    async def program() -> None:
        async with opened(path) as journal:
            last = journal.path.stat().st_size // PAGE - 1
        damaged(path, last)
        async with opened(path) as journal:
            fine, broken = [], []
            for execution in await journal.unfinished():
                try:
                    assert len(await journal.read(execution)) == 61
                    await journal.append(execution, 62, [STARTED])
                    fine.append(execution)
                except JournalError as error:
                    assert error.reason == f"{path}: database disk image is malformed (SQLITE_CORRUPT)"  # noqa: PT017  # some raise, and some do not
                    broken.append(execution)
            assert len(fine) + len(broken) == 20
            assert fine
            assert 1 <= len(broken) <= 3, broken
            assert "SQLITE_CORRUPT" in await refusal(journal.append(broken[0], 62, [STARTED]))
            await journal.append(fine[0], 63, [STARTED])

    really(filled())
    really(program())


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"take_over": True}], ids=["own", "read", "take"])
@pytest.mark.parametrize("harm", ["schema", "truncated"])
def test_a_file_that_cannot_be_used_at_all_is_left_as_it_is(tmp_path: Path, harm: str, options: dict[str, Any]) -> None:
    path = tmp_path / "j"

    async def filled() -> None:
        async with opened(path) as journal:
            await journal.append("e", 1, [CREATED])

    really(filled())
    if harm == "schema":
        before = damaged(path, 0, 100)
    else:
        before = path.read_bytes()[: 2 * PAGE]
        path.write_bytes(before)
    names = sorted(each.name for each in tmp_path.iterdir())
    reason = really(refusal(SqliteJournal.open(path, **options)))
    assert reason.startswith(f"{path}: ")
    assert "SQLITE_CORRUPT" in reason
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == names == ["j", "j.lock"]
