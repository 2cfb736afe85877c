"""J1, J2: what the journal has answered for is in the file, exactly, and nothing else is."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actions import ACTIONS
from engine.errors import JournalError, UnknownExecutionError
from engine.event_text import text_of
from engine.journal import Journal, MemoryJournal
from engine.messages import (
    EVENTS,
    Event,
    ExecutionCreated,
    ExecutionEnded,
    ExecutionStarted,
    Failure,
    StepCompleted,
    StepFailed,
)
from engine.sqlite_journal import APPLICATION_ID, SCHEMA_VERSION, SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.loop import SimulatedLoop
from machines.tape import Tape

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
CREATED = ExecutionCreated(0.0, {"id": "w", "steps": []}, {})
STARTED = ExecutionStarted(0.5)
ENDED = ExecutionEnded(1.0, "COMPLETED")


def completed(output: object) -> StepCompleted:
    return StepCompleted(0.25, "a", 1, output)


def really(program: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(program)


def simulated(program: Coroutine[Any, Any, T]) -> T:
    """Run with latencies of very different sizes, so that nothing depends on calls being answered at once."""
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


def seen_from_outside(path: Path, execution: str = "e") -> list[int]:
    """The numbers of an execution's events, as another process would see them now."""
    with closing(sqlite3.connect(path)) as other:
        rows = other.execute("SELECT seq FROM events WHERE execution = ? ORDER BY seq", (execution,)).fetchall()
    return [seq for (seq,) in rows]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else is writing to the file."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def sqlite_error(kind: type[sqlite3.Error], message: str, name: str) -> sqlite3.Error:
    """What SQLite raises by itself."""
    error = kind(message)
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


class Statements:
    """What SQLite carries out for a journal."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.seen: list[str] = []
        self.begun = threading.Event()
        connection = journal._connection
        assert connection is not None
        connection.set_trace_callback(self._note)

    def _note(self, statement: str) -> None:
        self.seen.append(statement)
        if statement.startswith("BEGIN"):
            self.begun.set()

    def count(self, statement: str) -> int:
        return self.seen.count(statement)


# The protocol


@both_loops
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_both_journals_keep_the_same_promises(tmp_path: Path, kind: str, run: Callable[..., object]) -> None:
    async def program() -> None:
        journal: Journal = MemoryJournal() if kind == "memory" else await SqliteJournal.open(tmp_path / "j")
        await journal.append("one", 1, [CREATED, STARTED])
        await journal.append("two", 1, [CREATED])
        await journal.append("three", 1, [CREATED])
        for execution, first in (("one", 1), ("one", 2), ("one", 4), ("one", 0), ("new", 2)):
            with pytest.raises(JournalError, match=f"event {first} does not follow event {2 * (execution == 'one')}"):
                await journal.append(execution, first, [ENDED])
        await journal.append("two", 2, [STARTED, ENDED])
        assert await journal.unfinished() == ["one", "three"]
        assert await journal.read("one") == [CREATED, STARTED]
        assert await journal.read("two", after=1) == [STARTED, ENDED]
        assert await journal.read("two", after=3) == []
        with pytest.raises(UnknownExecutionError, match="'new'"):
            await journal.read("new")
        await journal.close()

    run(program())


@both_loops
def test_another_journal_on_the_same_file_has_it_all(tmp_path: Path, run: Callable[..., object]) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED, STARTED])
            await journal.append("f", 1, [CREATED, ENDED])
        async with opened(tmp_path / "j", synchronous="NORMAL") as journal:
            assert await journal.read("e") == [CREATED, STARTED]
            assert await journal.unfinished() == ["e"]
            assert await journal.begun() == 2
            await journal.append("e", 3, [ENDED])
            assert await journal.unfinished() == []

    run(program())
    assert names(tmp_path) == ["j", "j.lock"], "closing left something beside the file and its lock"


def test_nothing_follows_the_end_of_an_execution(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED, ENDED])
            with pytest.raises(JournalError, match="event 3 comes after its end, event 2"):
                await journal.append("e", 3, [STARTED])
            assert await journal.read("e") == [CREATED, ENDED]

    really(program())


@pytest.mark.parametrize(("level", "found"), [("NORMAL", 1), ("FULL", 2)])
def test_the_file_says_what_it_is(tmp_path: Path, level: Any, found: int) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j", synchronous=level) as journal:
            assert journal._select("PRAGMA synchronous") == [(found,)]

    really(program())
    with closing(sqlite3.connect(tmp_path / "j")) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Values


ODD_VALUES: list[object] = [
    {"b": 1, "a": {"z": None, "": [], "y": {}}},
    [0, -0.0, 0.0, 1, 1.0, True, False, None],
    [0.1, 5e-324, 1.7976931348623157e308, 1e22, 123456789.123456789, 2**53 + 1, -(10**4299)],
    ["", "\0", "\n\t\\\"'", "é", "😀", "\u2028", "\ufeff", "\x7f"],
    ["\ud800", "\ud83d\ude00"],  # each half of a pair by itself: json would join them if it escaped them
    {"\udfff": "a key that UTF-8 does not have"},
]


@pytest.mark.parametrize("value", ODD_VALUES, ids=map(ascii, range(len(ODD_VALUES))))
def test_a_value_comes_back_as_it_was(tmp_path: Path, value: object) -> None:
    failed = StepFailed(0.1, "a", 2, Failure("a", 2, "E", json.dumps(value)))
    events: list[Event] = [
        ExecutionCreated(1e9 + 0.1, {"id": "é", "x": value}, {"value": value}),
        completed(value),
        failed,
    ]

    async def program() -> list[Event]:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, events)
            return await journal.read("e")

    assert repr(simulated(program())) == repr(events), "repr tells 1 from 1.0 and True, and keeps the order of keys"


atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec=None))
values = st.recursive(atoms | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


def test_any_value_comes_back_as_it_was(tmp_path: Path) -> None:
    names = count()
    loop = SimulatedLoop()
    journal = loop.run(SqliteJournal.open(tmp_path / "j"))

    @given(st.lists(values, min_size=1, max_size=5))
    def property_holds(outputs: list[object]) -> None:
        events: list[Event] = [CREATED, *map(completed, outputs)]
        execution = f"e{next(names)}"
        loop.run(journal.append(execution, 1, events))
        assert repr(loop.run(journal.read(execution))) == repr(events)

    property_holds()
    loop.run(journal.close())
    loop.close()


def test_an_event_is_compact_json_that_people_can_read(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED, completed({"b": "é", "a": 1})])

    really(program())
    with closing(sqlite3.connect(tmp_path / "j")) as other:
        (text,) = other.execute("SELECT event FROM events WHERE seq = 2").fetchone()
    assert text == '{"type":"StepCompleted","at":0.25,"step":"a","attempt":1,"output":{"b":"é","a":1}}'


@pytest.mark.parametrize("kind", EVENTS.values())
def test_each_kind_of_event_is_kept_as_its_json(kind: type[Event]) -> None:
    failure = Failure(None, None, 'E"', "100 %s of\n{it}")
    values: tuple[Any, ...] = (None, True, 1, -0.5, 1e300, 'a%sb"\u2028', "", [1, {"b": [], "a": None}], {}, failure)
    for value in values:
        event = kind._make(value for _ in kind._fields)
        document = {name: value.to_json() if value is failure else value for name in kind._fields}
        expected = json.dumps({"type": kind.__name__, **document}, ensure_ascii=False, separators=(",", ":"))
        assert text_of(event) == expected


def test_what_json_does_not_have_is_refused(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            with pytest.raises(JournalError, match="not JSON compliant"):
                await journal.append("e", 1, [CREATED, completed(float("nan"))])
            with pytest.raises(JournalError, match="surrogates"):
                await journal.append("\ud800", 1, [CREATED])
            assert await journal.unfinished() == []

    really(program())


# Group commit


def test_appends_that_come_during_a_commit_share_the_next_one(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            statements = Statements(journal)
            with locked(tmp_path / "j"):
                first = asyncio.create_task(journal.append("first", 1, [CREATED]))
                await asyncio.to_thread(statements.begun.wait, 30)
                others = [asyncio.create_task(journal.append(f"e{n}", 1, [CREATED, STARTED])) for n in range(50)]
                await asyncio.sleep(0)
            await asyncio.gather(first, *others)
            assert statements.count("COMMIT") == 2
            assert await journal.unfinished() == ["first", *(f"e{n}" for n in range(50))]

    really(program())


@both_loops
def test_appends_that_come_in_the_same_turn_of_the_loop_share_one(tmp_path: Path, run: Callable[..., object]) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            statements = Statements(journal)
            await asyncio.gather(*(journal.append(f"e{n}", 1, [CREATED]) for n in range(50)))
            assert statements.count("COMMIT") == 1
            await journal.append("e0", 2, [STARTED])
            await journal.append("e0", 3, [ENDED])
            assert statements.count("COMMIT") == 3

    run(program())


@both_loops
def test_a_bad_append_fails_alone_and_leaves_nothing_of_itself(tmp_path: Path, run: Callable[..., object]) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED])
            outcomes = await asyncio.gather(
                journal.append("before", 1, [CREATED]),
                journal.append("good", 1, [CREATED, STARTED]),
                journal.append("e", 1, [CREATED, STARTED]),
                journal.append("e", 2, [STARTED, ENDED]),
                journal.append("gap", 2, [STARTED]),
                journal.append("late", 1, [CREATED]),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [
                *(type(None), type(None), JournalError),
                *(type(None), JournalError, type(None)),
            ]
            assert await journal.read("e") == [CREATED, STARTED, ENDED]
            assert await journal.unfinished() == ["before", "good", "late"]

    run(program())
    assert seen_from_outside(tmp_path / "j", "gap") == []


def test_one_that_does_not_fit_on_the_disk_does_not_keep_its_neighbours_out(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED])
            journal._select("PRAGMA max_page_count = 100")
            opening = journal.append("e", 2, [STARTED])
            large = journal.append("large", 1, [CREATED, completed("x" * 1_000_000)])
            small = journal.append("small", 1, [CREATED])
            outcomes = await asyncio.gather(opening, large, small, return_exceptions=True)
            assert outcomes[0] is None
            assert outcomes[2] is None
            assert "SQLITE_FULL" in str(outcomes[1])
            assert str(tmp_path / "j") in str(outcomes[1])
            assert await journal.unfinished() == ["e", "small"]

    really(program())


@pytest.mark.parametrize("when", ["in the transaction", "waiting"])
def test_an_append_whose_caller_has_gone(tmp_path: Path, when: str) -> None:
    """Before its transaction it is not written; in it, it is, and nobody is told. Its neighbours notice nothing."""

    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            statements = Statements(journal)
            with locked(tmp_path / "j"):
                tasks = [asyncio.create_task(journal.append("in", 1, [CREATED]))]
                await asyncio.to_thread(statements.begun.wait, 30)
                tasks += [asyncio.create_task(journal.append(name, 1, [CREATED])) for name in ("waits", "stays")]
                await asyncio.sleep(0)
                gone = tasks.pop(0 if when == "in the transaction" else 1)
                gone.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await gone
            await asyncio.gather(*tasks)
            expected = ["in", "waits", "stays"] if when == "in the transaction" else ["in", "stays"]
            assert await journal.unfinished() == expected

    really(program())


# Durability


def test_an_append_is_answered_only_once_others_can_see_it(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED])
            statements = Statements(journal)
            with locked(tmp_path / "j"):
                append = asyncio.create_task(journal.append("e", 2, [STARTED]))
                await asyncio.to_thread(statements.begun.wait, 30)
                assert not append.done()
                assert seen_from_outside(tmp_path / "j") == [1]
            await append
            assert seen_from_outside(tmp_path / "j") == [1, 2]

    really(program())


DYING = """
import asyncio, os, signal, sys
from engine.messages import ExecutionCreated, ExecutionStarted
from engine.sqlite_journal import SqliteJournal

async def main():
    journal = await SqliteJournal.open(sys.argv[1])
    async def write(name):
        await journal.append(name, 1, [ExecutionCreated(0.0, {}, {}), ExecutionStarted(0.0)])
        print(name, flush=True)
        if name == "e20":
            os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.gather(*(write(f"e{n}") for n in range(40)))

asyncio.run(main())
"""


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "j"
    child = subprocess.run(
        [sys.executable, "-c", DYING, path], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    answered = child.stdout.split()
    assert child.returncode == -9, child.stderr
    assert "e20" in answered

    async def program() -> None:
        async with opened(path) as journal:
            assert set(answered) <= set(await journal.unfinished())
            for execution in await journal.unfinished():
                assert len(await journal.read(execution)) == 2, "half an append is there"

    really(program())


def test_a_busy_file_fails_all_that_wait_and_none_of_it_has_happened(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j", busy_timeout=0.01) as journal:
            statements = Statements(journal)
            appends = [("one", 1), ("two", 1), ("three", 1)]
            with locked(tmp_path / "j"):
                outcomes = await asyncio.gather(
                    *(journal.append(name, first, [CREATED]) for name, first in appends), return_exceptions=True
                )
            assert [str(outcome) for outcome in outcomes] == [
                f"the journal failed: {tmp_path / 'j'}: database is locked (SQLITE_BUSY)"
            ] * 3
            assert len({id(outcome) for outcome in outcomes}) == 3, "one exception raised in several tasks"
            assert statements.count("BEGIN IMMEDIATE") == 1, "each waited for the lock by itself"
            assert await journal.unfinished() == []
            await asyncio.gather(*(journal.append(name, first, [CREATED]) for name, first in appends))
            assert await journal.unfinished() == ["one", "two", "three"]

    really(program())


# Closing


@both_loops
def test_close_writes_what_waits(tmp_path: Path, run: Callable[..., object]) -> None:
    async def program() -> None:
        journal = await SqliteJournal.open(tmp_path / "j")
        appends = [asyncio.create_task(journal.append(f"e{n}", 1, [CREATED])) for n in range(10)]
        await asyncio.sleep(0)
        await journal.close()
        assert all(append.done() for append in appends)
        await asyncio.gather(*appends)
        await journal.close()
        requests: list[Awaitable[object]] = [
            journal.append("e", 1, [CREATED]),
            journal.read("e0"),
            journal.unfinished(),
        ]
        for request in requests:
            with pytest.raises(JournalError, match="it was closed"):
                await request

    run(program())
    assert [seen_from_outside(tmp_path / "j", f"e{n}") for n in range(10)] == [[1]] * 10


# Cost


def test_unfinished_costs_the_same_with_many_finished_executions(tmp_path: Path) -> None:
    async def instructions(finished: int) -> int:
        async with opened(tmp_path / f"j{finished}") as journal:
            await asyncio.gather(*(journal.append(f"f{n}", 1, [CREATED, ENDED]) for n in range(finished)))
            await journal.append("e", 1, [CREATED])
            steps = []
            connection = journal._connection
            assert connection is not None
            connection.set_progress_handler(lambda: steps.append(1), 1)
            assert await journal.unfinished() == ["e"]
            connection.set_progress_handler(None, 0)
            return len(steps)

    assert really(instructions(10_000)) == really(instructions(10)) > 0


def test_nothing_is_searched_for_row_by_row(tmp_path: Path) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED])
            seen: list[str] = []
            connection = journal._connection
            assert connection is not None
            connection.set_trace_callback(seen.append)
            await journal.unfinished()
            await journal.read("e", 0)
            await journal.append("e", 2, [STARTED])
            connection.set_trace_callback(None)
            queries = [
                each for each in seen if each.split()[0] in {"SELECT", "UPDATE", "DELETE"} and "owner" not in each
            ]
            plans = [row[3] for each in queries for row in journal._select(f"EXPLAIN QUERY PLAN {each}")]
            assert "SCAN executions USING INDEX unfinished" in plans
            assert "SEARCH events USING PRIMARY KEY (execution=? AND seq>?)" in plans
            by_name = "SEARCH executions USING INDEX sqlite_autoindex_executions_1 (execution=?)"
            assert {*plans[1:]} == {by_name, "SEARCH events USING PRIMARY KEY (execution=? AND seq>?)"}, plans

    really(program())


# Files that are none of ours


def sqlite_file(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        for statement in statements:
            other.execute(statement)
        other.commit()


def a_text(path: Path) -> None:
    path.write_text("dear diary\n" * 100)


def a_stub(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def a_ruin(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(52) + b"\xff" * 4000)


def a_database(path: Path) -> None:
    sqlite_file(path, "CREATE TABLE people (name TEXT)")


def a_versioned_database(path: Path) -> None:
    sqlite_file(path, "CREATE TABLE people (name TEXT)", f"PRAGMA user_version = {SCHEMA_VERSION}")


def a_marked_database(path: Path) -> None:
    sqlite_file(path, "CREATE TABLE people (name TEXT)", "PRAGMA application_id = 7")


def a_later_version(path: Path) -> None:
    async def program() -> None:
        async with opened(path) as journal:
            await journal.append("e", 1, [CREATED])

    really(program())
    sqlite_file(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_text, "it is not an SQLite database"),
        (a_stub, "it is not an SQLite database"),
        (a_ruin, "it is an SQLite database, but not a journal"),
        (a_database, "it is an SQLite database, but not a journal"),
        (a_versioned_database, "it is an SQLite database, but not a journal"),
        (a_marked_database, "it is an SQLite database, but not a journal"),
        (
            a_later_version,
            f"its schema version is {SCHEMA_VERSION + 1}; this program knows versions up to {SCHEMA_VERSION}",
        ),
    ],
)
def test_a_strange_file_is_refused_and_left_as_it_is(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "j"
    make(path)
    before, beside = path.read_bytes(), names(tmp_path)
    ways: list[dict[str, Any]] = [{}, {"read_only": True}, {"take_over": True}]
    for options in ways:
        with pytest.raises(JournalError) as refusal:
            really(SqliteJournal.open(path, **options))
        assert refusal.value.reason == f"{path}: {reason}"
        assert path.read_bytes() == before
        assert names(tmp_path) == beside


@pytest.mark.parametrize(
    ("path", "reason"),
    [("nowhere/j", r"unable to open database file \(SQLITE_CANTOPEN\)"), (".", "Is a directory")],
    ids=["no directory", "a directory"],
)
def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(JournalError, match=f"{tmp_path / path}: {reason}"):
        really(SqliteJournal.open(tmp_path / path))


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / "j").touch()

    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED])

    really(program())
    assert seen_from_outside(tmp_path / "j") == [1]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("DELETE FROM events WHERE seq = 2", "execution e: event 2 is missing"),
        ("DELETE FROM events WHERE seq = 3", "execution e: event 3 is missing"),
        ("UPDATE events SET event = '{' WHERE seq = 2", "execution e, event 2: Expecting property name"),
        ("""UPDATE events SET event = '{"type":"Strange"}' WHERE seq = 2""", "execution e, event 2: not an event"),
        ("UPDATE events SET event = x'ff' WHERE seq = 2", "execution e, event 2: 'utf-8' codec can't decode"),
        ("DROP TABLE events", "no such table: events"),
    ],
)
def test_a_damaged_journal_says_where(tmp_path: Path, damage: str, reason: str) -> None:
    async def program() -> None:
        async with opened(tmp_path / "j") as journal:
            await journal.append("e", 1, [CREATED, STARTED, ENDED])
            sqlite_file(tmp_path / "j", damage)
            with pytest.raises(JournalError) as failure:
                await journal.read("e")
            assert failure.value.reason.startswith(f"{tmp_path / 'j'}: {reason}")

    really(program())


# Reading only


def test_reading_only_takes_nothing_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path) as journal:
            await journal.append("e", 1, [CREATED, STARTED])
            async with opened(path, read_only=True) as reader:
                assert await reader.read("e") == [CREATED, STARTED]
                await journal.append("f", 1, [CREATED])
                assert await reader.unfinished() == ["e", "f"]
                with pytest.raises(JournalError, match=f"{path}: it was opened for reading only"):
                    await reader.append("e", 3, [ENDED])
                await reader.append("e", 3, [])
            await journal.append("e", 3, [ENDED])
        before = path.read_bytes(), path.stat().st_mtime_ns
        (tmp_path / "j.lock").unlink()
        async with opened(path, read_only=True) as reader:
            assert await reader.unfinished() == ["f"]
            assert await reader.begun() == 2
            assert await reader.read("e") == [CREATED, STARTED, ENDED]
            assert names(tmp_path) == ["j"]
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        assert names(tmp_path) == ["j"]

    really(program())


def test_a_reader_sees_owners_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "j"

    async def program() -> None:
        async with opened(path):
            pass
        async with opened(path, read_only=True) as reader:
            for n in range(3):
                async with opened(path) as journal:
                    await journal.append(f"e{n}", 1, [CREATED])
                    assert await reader.begun() == n + 1
                assert await reader.begun() == n + 1
            path.rename(tmp_path / "k")
            with pytest.raises(JournalError, match=f"{path}: No such file or directory"):
                await reader.begun()
            async with opened(path):
                assert await reader.begun() == 0

    really(program())


def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """A file without a log is read without locks: if an owner came meanwhile, what was read may be anything."""
    path = tmp_path / "j"
    owners: list[SqliteJournal] = []
    asked = count()

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            found = super().execute(sql, parameters)
            if "count" in sql and next(asked) == 0:
                owners.append(asyncio.run(coming()))
            return found

    class Reading(SqliteJournal):
        connection_class: ClassVar[type[sqlite3.Connection]] = Slow

    async def coming() -> SqliteJournal:
        journal = await SqliteJournal.open(path)
        await journal.append("e", 1, [CREATED])
        return journal

    async def program() -> None:
        async with opened(path):
            pass
        reader = await Reading.open(path, read_only=True)
        assert await reader.begun() == 1
        await reader.close()
        await owners[0].close()

    really(program())
    assert next(asked) == 2


def test_a_reader_says_when_it_would_have_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Helpless(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            raise sqlite_error(sqlite3.OperationalError, "unable to open database file", "SQLITE_CANTOPEN")

    async def program() -> None:
        async with opened(tmp_path / "j"):
            monkeypatch.setattr(SqliteJournal, "connection_class", Helpless)
            with pytest.raises(JournalError) as refusal:
                await SqliteJournal.open(tmp_path / "j", read_only=True)
            assert refusal.value.reason == (
                f"{tmp_path / 'j'}: it was not closed, and its log can be read only where SQLite may write j-shm "
                "beside it: unable to open database file (SQLITE_CANTOPEN)"
            )

    really(program())


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"", "it is not an SQLite database")],
    ids=["none", "empty"],
)
def test_there_must_be_something_to_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "j").write_bytes(content)
    before = names(tmp_path)
    with pytest.raises(JournalError, match=f"{tmp_path / 'j'}: {reason}"):
        really(SqliteJournal.open(tmp_path / "j", read_only=True))
    assert names(tmp_path) == before


# Files of an earlier version

VERSION_1 = (
    "PRAGMA journal_mode = WAL",
    """CREATE TABLE executions (
        ordinal INTEGER PRIMARY KEY, execution TEXT NOT NULL UNIQUE, last INTEGER NOT NULL, ended INTEGER NOT NULL)""",
    "CREATE INDEX unfinished ON executions (ordinal) WHERE NOT ended",
    """CREATE TABLE events (
        execution TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (execution, seq)
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
    "INSERT INTO executions VALUES (1, 'e', 2, 0)",
    """INSERT INTO events VALUES ('e', 1, '{"type":"ExecutionCreated","at":0.0,"workflow":{},"input":{}}')""",
    """INSERT INTO events VALUES ('e', 2, '{"type":"ExecutionStarted","at":0.5}')""",
)


def version(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[60:64], "big")


def test_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "j"
    sqlite_file(path, *VERSION_1)

    async def program() -> None:
        before = path.read_bytes()
        async with opened(path, read_only=True) as reader:
            assert len(await reader.read("e")) == 2
        assert path.read_bytes() == before
        async with opened(path) as journal:
            assert version(path) == SCHEMA_VERSION, "the header said it late"
            assert len(await journal.read("e")) == 2
            await journal.append("e", 3, [ENDED])
            await journal.append("f", 1, [CREATED])
        async with opened(path) as journal:
            assert await journal.unfinished() == ["f"]
            assert journal._select("PRAGMA integrity_check") == [("ok",)]
            assert journal._select("PRAGMA journal_mode") == [("wal",)]

    really(program())


def test_it_is_left_alone_while_somebody_has_it(tmp_path: Path) -> None:
    """A program of that version knows nothing of owners, and would go on writing."""
    path = tmp_path / "j"
    sqlite_file(path, *VERSION_1)
    before = path.read_bytes()
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM events").fetchall()
        with pytest.raises(JournalError, match=f"{path}: database is locked"):
            really(SqliteJournal.open(path, busy_timeout=0.01))
        assert path.read_bytes() == before
    really(SqliteJournal.open(path)).abandon()
    assert version(path) == SCHEMA_VERSION


def test_it_is_brought_up_to_date_whole_or_not_at_all(tmp_path: Path) -> None:
    """The opening dies at each of its statements in turn; the next one finds a journal, of one version or the other."""

    class Dying(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            statements.append(sql)
            if len(statements) == limit:
                raise sqlite_error(sqlite3.OperationalError, "disk I/O error", "SQLITE_IOERR")
            return super().execute(sql, parameters)

    class Failing(SqliteJournal):
        connection_class: ClassVar[type[sqlite3.Connection]] = Dying

    versions = []
    for limit in count(1):
        statements: list[str] = []
        path = tmp_path / f"j{limit}"
        sqlite_file(path, *VERSION_1)
        try:
            really(Failing.open(path)).abandon()
        except JournalError as error:
            assert error.reason == f"{path}: disk I/O error (SQLITE_IOERR)"  # noqa: PT017  # the last one succeeds
        else:
            break
        versions.append(version(path))

        async def program(path: Path = path) -> None:
            async with opened(path) as journal:
                assert len(await journal.read("e")) == 2
                await journal.append("e", 3, [ENDED])

        really(program())
    assert versions == sorted(versions)
    assert {*versions} == {1, SCHEMA_VERSION}


# The engine on it

DEFINITION = {
    "id": "w",
    "steps": [
        {"id": "a", "action": "echo", "parameters": {"x": ["${input.x}", "\0é"]}},
        {"id": "b", "action": "fail", "parameters": {"times": 2}, "retries": {"max_attempts": 3}, "depends_on": ["a"]},
        {"id": "c", "action": "wait", "parameters": {"seconds": 0.1}, "depends_on": ["a"]},
        {"id": "d", "action": "echo", "depends_on": ["b", "c"], "parameters": {"seen": "${a.x}"}},
    ],
}


def test_the_engine_does_the_same_on_either_journal(tmp_path: Path) -> None:
    def events(make: Callable[[], Coroutine[Any, Any, Journal]]) -> list[Event]:
        loop = SimulatedLoop()

        async def program() -> list[Event]:
            journal = await make()
            manager = ExecutionStateManager(journal)
            async with WorkflowEngine(manager, ACTIONS, clock=loop.time, new_id=lambda: "e") as engine:
                await engine.start_workflow(DEFINITION, {"x": 1.0})
                report = await engine.wait("e")
                assert report["status"] == "COMPLETED"
                return await journal.read("e")

        try:
            return loop.run(program())
        finally:
            loop.close()
            assert loop.errors == []

    async def memory() -> Journal:
        return MemoryJournal()

    async def sqlite() -> Journal:
        return await SqliteJournal.open(tmp_path / "j")

    on_file = events(sqlite)
    assert repr(on_file) == repr(events(memory))
    assert len(seen_from_outside(tmp_path / "j")) == len(on_file)


def test_a_new_engine_goes_on_where_a_crash_left_the_file(tmp_path: Path) -> None:
    """J3: crash a simulated engine between its writes, and recover from the file."""
    ends = []
    for crash in (*(n * 0.00009 for n in range(20)), 0.05, 0.1001, 0.5, 1.0003, 2.5, 3.001, 60.0):
        path = tmp_path / f"j{crash}"
        loop = SimulatedLoop()
        loop.tape = Tape(latencies=bytes([140] * 200)).reader()

        living: list[SqliteJournal] = []

        class Mortal(SqliteJournal):
            def __init__(self, *arguments: Any, living: list[SqliteJournal] = living, **options: Any) -> None:
                super().__init__(*arguments, **options)
                living.append(self)

        async def begin(path: Path = path, loop: SimulatedLoop = loop, kind: type[Mortal] = Mortal) -> None:
            manager = ExecutionStateManager(await kind.open(path))
            engine = WorkflowEngine(manager, ACTIONS, clock=loop.time, new_id=lambda: "e")
            await engine.start_workflow(DEFINITION, {"x": 1.0})

        async def recover(path: Path = path, loop: SimulatedLoop = loop) -> str:
            journal = await SqliteJournal.open(path)
            async with WorkflowEngine(ExecutionStateManager(journal), ACTIONS, clock=loop.time) as engine:
                taken = await engine.recover()
                if taken != ["e"]:
                    return "over" if await journal.begun() else "never begun"
                return str((await engine.wait("e"))["status"])

        beginning = loop.create_task(begin())
        loop.advance(crash)
        del beginning
        loop.abandon()
        for each in living:
            each.abandon()
        ends.append(loop.run(recover()))
        loop.close()
    assert list(dict.fromkeys(ends)) == ["never begun", "COMPLETED", "over"], ends
    assert ends.count("COMPLETED") > 15, ends
