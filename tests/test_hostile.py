"""A case from somebody who means no good: one clear line or a bounded run, and not a byte outside of what was named."""

from __future__ import annotations

import gc
import json
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from machines.bounds import OutOfTime, bounded
from tests.command_line import Answer, called

Json = Any
Call = Callable[..., Answer]
ONE: Final = {"id": "w", "steps": [{"id": "a", "action": "work"}]}
RUN: Final = {"move": "Run", "workflow": ONE}
ESCAPES: Final = "\x1b[2J\x1b]0;taken\x07\r\n\u202e\ud800</script>"
TRICKS: Final = (
    "../up",
    "/var/up",
    "..",
    "a/../../up",
    "~/up",
    "$(touch up)",
    '"; import os; os.abort() #',
    "up\n",
    "\ud800",
)


CASE: Final = {
    "format": 1,
    "target": "builtin",
    "machine": "lifecycle",
    "settings": {"max_concurrent_steps": 2},
    "clause": "F4",
    "invariant": "newest_first",
    "sentence": "it was so",
    "digest": "0" * 64,
    "moves": [RUN],
}


def document(**changes: Json) -> Json:
    return {**CASE, **changes}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command, two directories below ours."""
    place = tmp_path / "one" / "two"
    (place / "out").mkdir(parents=True)
    monkeypatch.chdir(place)
    return lambda *arguments: called(capsys, *arguments)


def write(document: Json) -> None:
    Path("case.json").write_text(json.dumps(document), encoding="utf-8")


def deep(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = {"a": value}
    return value


TOO_MUCH: Final = {
    "fifty megabytes": lambda: json.dumps(document(story="x" * 50_000_000)),
    "a million moves": lambda: '{"format": 1, "moves": [' + '{"move": 1},' * 500_000 + "1]}",
    "a million moves that would be right": lambda: json.dumps(document(moves=[{"move": "Rival"}] * 1_000_000)),
    "a hole without a bottom": lambda: "[" * 1_000_000,
    "objects without end": lambda: '{"a":' * 1_000_000,
    "a deep step": lambda: json.dumps(document(moves=[{"move": "AddStep", "step": deep(300)}])),
    "a number of a million digits": lambda: json.dumps(document()).replace(" 2}", f" {'9' * 1_000_000}}}"),
    "no number": lambda: json.dumps(document(moves=[{"move": "Elapse", "seconds": float("nan")}])),
    "no number, in a tape": lambda: json.dumps(document(moves=[{**RUN, "tape": {"order": float("inf")}}])),
    "a million faults": lambda: json.dumps(document(moves=[{"move": "x" * 600}] * 9999)),
    "words for the terminal": lambda: json.dumps(document(moves=[{"move": ESCAPES}], target=1, digest=[ESCAPES])),
    "a name for the terminal": lambda: json.dumps(document(target=ESCAPES)),
    "somebody else's code": lambda: json.dumps(document(target="os:abort")),
}


@pytest.mark.parametrize("text", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_too_much_is_one_clear_line(text: Callable[[], str], call: Call) -> None:
    Path("case.json").write_text(text(), encoding="utf-8")
    for command in (("replay",), ("story",), ("cases", "keep", "--why", "x", "--dir", "out")):
        status, out, err = call(*command, "case.json")
        assert (status, out) == (2, "")
        assert err.startswith(f"lockstep {' '.join(command[:2][: 1 + (command[0] == 'cases')])}: case.json: ")
        assert err[:-1].isprintable()
        assert len(err) < 6000


NEVER_ENDING: Final = {
    "a pattern": [
        {
            "move": "Run",
            "workflow": {"id": "w", "steps": [{**ONE["steps"][0], "output_schema": {"pattern": "^(a+)+$"}}]},  # type: ignore[dict-item]  # a step of JSON
        },
        {"move": "Finish", "gate": "x1/a", "output": "a" * 64 + "!"},
    ],
    "many moves": [RUN] * 10_000,
    "attempts": [
        {
            "move": "Run",
            "workflow": {
                "id": "w",
                "steps": [{"id": "a", "action": "work", "timeout": 0.001, "retries": {"max_attempts": 10**9}}],
            },
        },
        {"move": "Elapse", "seconds": 1e300},
    ],
}


@pytest.mark.unmeasured
@pytest.mark.parametrize("moves", NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_what_never_ends_is_ended(moves: Json, call: Call) -> None:
    write(document(moves=moves))
    said = "it was not over after 0.3 seconds, which --seconds allows\n"
    assert call("replay", "case.json", "--seconds", "0.3") == (2, "", f"lockstep replay: case.json: {said}")
    assert call("story", "case.json", "--seconds", "0.3") == (2, "", f"lockstep story: case.json: {said}")
    keep = ("cases", "keep", "case.json", "--why", "x", "--dir", "out", "--seconds", "0.3")
    assert call(*keep) == (2, "", f"lockstep cases keep: case.json: {said}")
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_bound_is_a_bound(seconds: str, call: Call) -> None:
    write(document())
    status, _, err = call("replay", "case.json", "--seconds", seconds)
    assert (status, err.count("\n")) == (2, 1)
    assert "--seconds" in err


def test_numbers_beyond_all_measure_do_no_harm(call: Call) -> None:
    for move in (
        {"move": "Elapse", "seconds": -1e300},
        {"move": "Elapse", "before": -1e300},
        {"move": "Subscribe", "execution": "x1", "after": -(10**300)},
        {"move": "Crash", "at": "before", "commits": 10**300},
        {"move": "FailStore", "times": 10**300},
    ):
        write(document(moves=[RUN, move], settings={"max_concurrent_steps": 10**300}))
        assert call("replay", "case.json")[0] in {0, 2}


def test_whatever_is_told_is_text(call: Call) -> None:
    fail = {"move": "Fail", "gate": "x1/a", "type": "Bad", "message": ESCAPES}
    texts = dict.fromkeys(("clause", "invariant", "sentence", "digest", "machine", "lockstep", "why"), ESCAPES)
    write(document(moves=[RUN, fail, {"move": "Pause", "execution": ESCAPES}], **texts))
    assert call("cases", "keep", "case.json", "--why", ESCAPES, "--dir", "out")[0] in {0, 1, 3}
    for command in (("replay", "case.json"), ("story", "case.json"), ("cases", "--dir", "out")):
        _, out, err = call(*command)
        assert all(line.isprintable() for line in f"{out}{err}".split("\n"))


def files(place: Path) -> Iterator[Path]:
    return (path for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TRICKS)
def test_no_name_leads_out(name: str, call: Call, tmp_path: Path) -> None:
    steps = [{"id": name, "action": "work"}, {"id": "b", "action": name, "depends_on": [name]}]
    moves = [
        RUN,
        {"move": "Run", "workflow": {"id": name, "name": name, "steps": steps}, "faults": []},
        {"move": "AddStep", "step": {"id": name, "action": name}},
        {"move": "Fail", "gate": "x1/a", "type": "Bad", "message": name},
        {"move": "Pause", "execution": name},
    ]
    texts = dict.fromkeys(("clause", "invariant", "sentence", "digest", "machine", "lockstep"), name)
    write(document(moves=moves, **texts))
    before = [*files(tmp_path)]
    assert call("replay", "case.json")[0] in {0, 3}
    assert call("story", "case.json", "--html", "out/page.html", "--pytest", "out/test_it.py")[0] == 0
    compile(Path("out/test_it.py").read_text(encoding="utf-8"), "test_it.py", "exec")
    assert call("cases", "keep", "case.json", "--why", name, "--dir", "out")[0] in {0, 2, 3}
    written = [path for path in files(tmp_path) if path not in before]
    assert {path.parent for path in written} == {Path.cwd() / "out"}
    assert {"page.html", "test_it.py"} <= {path.name for path in written}
    assert len(written) <= 3


# The bounds


def test_bounds_are_taken_back() -> None:
    def all_of_them() -> tuple[Any, ...]:
        limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]
        return (*limits, signal.getsignal(signal.SIGALRM))

    before = all_of_them()
    with bounded(60):
        assert all_of_them() != before
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    assert all_of_them() == before
    with pytest.raises(OutOfTime), bounded(0.01):
        signal.pause()
    assert all_of_them() == before


def test_an_alarm_in_a_finaliser_rings_again(capsys: pytest.CaptureFixture[str]) -> None:
    class Slow:
        def __del__(self) -> None:
            signal.pause()

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    def work() -> None:
        Broken()
        Slow()
        signal.pause()

    told: list[type] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda found: told.append(found.exc_type))
        with pytest.raises(OutOfTime), bounded(0.01):
            work()
    assert told == [ValueError]
    assert capsys.readouterr() == ("", "")


def test_what_fails_after_the_alarm_failed_of_it() -> None:
    def work() -> None:
        try:
            signal.pause()
        finally:
            message = "it could not be put away"
            raise RuntimeError(message)

    with pytest.raises(OutOfTime), bounded(0.01):
        work()
    with pytest.raises(RuntimeError), bounded(60):
        raise RuntimeError


def test_nothing_is_said_of_what_was_begun(capsys: pytest.CaptureFixture[str]) -> None:
    async def never() -> None: ...

    def work() -> None:
        begun = never()
        try:
            signal.pause()
        finally:
            signal.pause()
        del begun

    with pytest.raises(OutOfTime), bounded(0.01):
        work()
    gc.collect()
    assert capsys.readouterr() == ("", "")


def test_memory_is_bounded() -> None:
    with bounded(60), pytest.raises(MemoryError):
        bytearray(1 << 36)


def test_what_listens_to_no_alarm_is_ended_by_the_kernel() -> None:
    with bounded(60):
        soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
        used = resource.getrusage(resource.RUSAGE_SELF)
        assert used.ru_utime + used.ru_stime + 60 < soft < used.ru_utime + used.ru_stime + 100


def test_where_no_file_tells_of_memory_it_is_still_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    monkeypatch.setattr("machines.bounds._MEMORY", 1 << 40)
    with bounded(60):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 40
