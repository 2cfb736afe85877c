"""A story says in words what a case shows; its files are written whole, and say the same as the case."""

import contextlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import clauses as contract
from machines import witness
from machines.case import Case, Line, load, replay, save
from machines.cli import main
from machines.moves import (
    MOVES,
    AddStep,
    Cancel,
    Connect,
    Convert,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Heed,
    Move,
    Pause,
    Reconnect,
    Recover,
    Resume,
    Rival,
    Run,
    Shutdown,
    Stall,
    Subscribe,
    TakeOver,
    Yield,
)
from machines.program import holds, let_time_pass, run
from machines.program_text import _CALLS, _literal, program_text
from machines.story_drawing import draw
from machines.story_lanes import Lanes
from machines.story_page import page, story_data
from machines.story_text import WIDTH, story
from machines.story_words import clipped, expectation, outline, tell_entries
from machines.tape import LATENCIES, Tape
from machines.target import Ports
from machines.targets.builtin import BuiltinTarget
from machines.witness import MOST_MOVES
from machines.world import ContractViolated
from model.history import Closed, Dropped, Ended, Entry, Interrupted, Stalled
from model.invariants import INVARIANTS
from model.judge import Violation
from tests.stories import (
    BACKWARDS,
    HOSTILE,
    case_of,
    hostile,
    of_many_steps,
    that_holds,
    three_steps,
    told_of,
    undone,
)

ROOT = Path(__file__).parent.parent
REGRESSIONS = sorted((ROOT / "tests" / "regressions").glob("*.json"))
Lockstep = Callable[..., tuple[int, str, str]]
ONE = {"id": "w", "steps": [{"id": "a", "action": "work"}]}


@pytest.fixture
def lockstep(capsys: pytest.CaptureFixture[str]) -> Lockstep:
    """The command: its exit status, and what it prints to either side."""

    def carry_out(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["story", *map(str, arguments)])
        return left.value.code, *capsys.readouterr()  # type: ignore[return-value]  # it is a number here

    return carry_out


# The contract's words


def test_every_clause_is_there_in_its_words() -> None:
    found = contract.clauses()
    assert {invariant.clause for invariant in INVARIANTS.values()} <= found.keys()
    assert found["K6"].text.startswith("A terminal status is final: nothing changes an execution")
    assert found["F4"].heading == "Failure and rollback"
    assert found["O1"].first_sentence == "A step starts only once every incoming connection is decided."
    text = " ".join((ROOT / "docs" / "contract.md").read_text(encoding="utf-8").split())
    assert all(clause.text in text for clause in found.values())


def test_a_clause_ends_where_the_next_thing_begins() -> None:
    text = "# T\n## A. First\n- A1. One,\n  and two.\nno part of it\n- A2. Three\n\n## B. Second\n- B1. Four. Five."
    assert [(each.name, each.heading, each.text) for each in contract.parse(text)] == [
        ("A1", "First", "One, and two."),
        ("A2", "First", "Three"),
        ("B1", "Second", "Four. Five."),
    ]


def test_the_package_carries_the_contract_and_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("machines/contract.md") == (ROOT / "docs" / "contract.md").read_bytes()
    assets = {f"machines/story_assets/{name}" for name in ("page.html", "page.css", "page.js")}
    shared = {f"engine/service/assets/{name}" for name in ("look.css", "drawing.js", "dagre.min.js")}
    assert assets | shared | {"engine/service/assets/dagre.LICENSE.txt"} <= names


def test_what_was_expected_is_the_invariant_in_a_sentence() -> None:
    assert expectation(Violation("F4", "newest_first", "", 0)).startswith("compensations undo completed steps")
    assert expectation(Violation("O4", "livelock", "", 0)).startswith("Every execution settles")
    assert expectation(Violation("harness", "KeyError", "", 0)) == "no clause of the contract"


# The terminal


def test_a_story_in_the_terminal() -> None:
    lines = story(told_of(three_steps())).splitlines()
    assert lines[0] == "F4 (newest_first): violated as recorded"
    assert "    expected  compensations undo completed steps newest first, each once." in lines
    assert "  ●    c (compensation)  COMPENSATING, COMPLETED by the model's word" in lines
    place = lines.index("the moves")
    assert lines[place + 2 : place + 4] == [
        "     2. x1/a raises RuntimeError('failed') <~ latency 3.5 ms",
        "         ^ decides: without this the contract holds",
    ]
    assert lines[place + 6].startswith(" >  end the case ends")
    assert lines[-1].startswith(" > ")
    assert lines[-1].endswith("| 4.5 ms  #10 CompensationStarted c, attempt 1")
    assert any(line.startswith("  4.5 ms  a raised RuntimeError('failed') ") for line in lines)


@pytest.mark.unmeasured
@pytest.mark.parametrize("make", [three_steps, of_many_steps, hostile, that_holds])
def test_a_typical_story_fits_into_a_terminal(make: Any) -> None:
    text = story(told_of(make()))
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(character.isprintable() for character in text.replace("\n", ""))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_a_case_that_holds_now_tells_what_was_recorded(path: Path) -> None:
    case = load(path)
    text = story(told_of(case))
    assert text.startswith(f"{case.clause} ({case.invariant}): the contract holds\n")
    assert "recorded was  " in text


def test_a_case_violated_in_another_way_says_so() -> None:
    text = story(told_of(replace(three_steps(), invariant="undone_at_last", sentence="it was another thing")))
    assert text.startswith("F4 (newest_first): violated in another way\n")
    assert "recorded was  F4 (undone_at_last): it was another thing" in text


def test_a_long_program_is_told_from_both_ends() -> None:
    moves: list[Move] = [Run(ONE), *(Elapse(0.01 * number) for number in range(1, 31)), Finish("x1/a")]
    lines = story(told_of(case_of(*moves))).splitlines()
    place = lines.index("the moves")
    assert lines[place + 3] == "       ... 25 more moves"
    assert lines[place + 4].startswith("    28. ")


def test_of_a_case_without_bound_the_last_moves_are_kept() -> None:
    case = case_of(Run(ONE), *[Cancel("x9")] * MOST_MOVES, Finish("x1/a"))
    found = told_of(case)
    assert (len(found.frames), found.before, found.frames[-1].number) == (MOST_MOVES, 3, MOST_MOVES + 3)
    assert f"... {MOST_MOVES - 8 + 3} more moves" in story(found)
    data = story_data(found, "long")
    assert data["frames"][0]["claimed"]["x1"]["steps"] == {"a": "RUNNING"}
    assert data["firstEntry"] == found.frames[0].first


class Late(BuiltinTarget):
    """It forgets what it reported; that is seen only when all is over."""

    async def reread(self, execution: str) -> Any:
        return {**await super().reread(execution), "seq": 1}


class Restless(BuiltinTarget):
    """Its loop never comes to rest."""

    def open(self, ports: Ports) -> None:
        super().open(ports)
        self.loop = ports.loop

    async def cancel(self, execution: str) -> bool:
        def again() -> None:
            self.loop.call_soon(again)

        again()
        return await super().cancel(execution)


def test_what_parts_at_no_entry_parts_at_the_end() -> None:
    case = Case((Line(Run(ONE)), Line(Cancel("x1"))), "O4", "livelock", "s", "0" * 64)
    found = witness.testify(case, Restless)
    assert found.violation is not None
    assert found.violation.index == len(found.history)
    assert story(found).splitlines()[-1].endswith("| and here it parts")
    assert story_data(found, "x")["parting"] == len(found.history)


def test_what_the_engine_reports_stands_beside_what_the_model_knows() -> None:
    found = witness.testify(Case((Line(Run(ONE)),), "J1", "reported_as_recorded", "s", "0" * 64), Late)
    assert found.violation is not None
    assert found.frames[-1].played is None
    assert found.frames[-1].claimed["x1"].status == "COMPLETED" == found.frames[-1].known["x1"].status


# The drawing


@pytest.mark.parametrize(
    ("steps", "drawn"),
    [
        ({"a": "", "b": "a", "c": "b"}, ["● ", "● ", "● "]),
        ({"a": "", "b": "", "c": ""}, ["●", "  ●", "●"]),
        ({"a": "", "b": "a", "c": "a", "d": "bc"}, ["●", "├─●", "● │", "●─┘"]),
        ({"a": "", "b": "", "c": "", "d": "abc", "e": "ad"}, ["●", "│ ●", "│ │ ●", "├─●─┘", "●─┘"]),
        (
            {"a": "", "b": "a", "c": "a", "d": "b", "e": "", "f": "acde"},
            ["●", "├─●", "├─┼─●", "│ ● │", "│ │ │ ●", "●─┴─┴─┘"],
        ),
    ],
)
def test_a_workflow_is_drawn_line_by_line(steps: dict[str, str], drawn: list[str]) -> None:
    assert [row.rstrip() for row in draw(list(steps), steps)] == [row.rstrip() for row in drawn]


@given(st.lists(st.sets(st.integers(0, 11), max_size=4), max_size=12))
def test_every_step_is_drawn_once_whatever_the_workflow(sources: list[set[int]]) -> None:
    names = [str(number) for number in range(len(sources))]
    links = {
        str(number): [str(source) for source in sorted(found) if source < number]
        for number, found in enumerate(sources)
    }
    rows = draw(names, links)
    assert [row.count("●") for row in rows] == [1] * len(names)
    assert len({len(row) for row in rows}) <= 1


def test_conditions_and_policies_are_told_in_both_shapes() -> None:
    steps = {
        "id": "w",
        "steps": [
            {"id": "a", "action": "work", "timeout": 2, "continue_on_error": True},
            {
                "id": "b",
                "action": "work",
                "join": "any",
                "condition": "a.n > 0",
                "depends_on": [{"source": "a", "condition": "a.n < 5"}],
            },
        ],
    }
    nodes = {
        "id": "g",
        "nodes": [
            {"id": "a", "config": {"action": "work", "retries": {"max_attempts": 3}}},
            {"id": "b", "config": {"action": "work"}},
        ],
        "connections": [{"source": "a", "target": "b", "condition": "a.n > 0"}],
    }
    found = told_of(case_of(Run(steps), Run(nodes)))
    assert outline(found.workflows["x1"]).steps == {"a": "timeout 2 s, continue on error", "b": "join any"}
    assert outline(found.workflows["x1"]).edges == (("a", "b", "a.n < 5 && a.n > 0"),)
    assert outline(found.workflows["x2"]).steps == {"a": "3 attempts", "b": ""}
    assert outline(found.workflows["x2"]).edges == (("a", "b", "a.n > 0"),)


# The timeline


def test_lanes_hold_what_really_ran() -> None:
    found = told_of(that_holds())
    lanes = Lanes.of(found.history)
    runs = [(bar["kind"], bar.get("attempt"), bar["outcome"]) for bar in lanes.bars if bar["step"] == "a"]
    assert runs == [("action", 1, "lost"), ("action", 1, "raised"), ("wait", None, "open"), ("action", 2, "returned")]
    assert [line["text"] for line in lanes.lines] == ["crash"]
    assert [bar["label"] for bar in lanes.bars if bar["kind"] == "status"] == ["PENDING", "RUNNING", "COMPLETED"]
    wait = next(bar for bar in lanes.bars if bar["kind"] == "wait")
    assert wait["to"] - wait["from"] == pytest.approx(1.0)


def test_lanes_mark_what_befalls_a_step() -> None:
    workflow = {"id": "w", "steps": [{"id": "a", "action": "work", "timeout": 1}, {"id": "b", "action": "work"}]}
    moves = (Run(workflow), FailStore("busy", "commit"), Elapse(), Recover())
    lanes = Lanes.of(told_of(case_of(*moves, target="machines.targets.sqlite:sqlite")).history)
    assert {mark["text"] for mark in lanes.marks} >= {"saw its cancellation"}
    assert any(line["text"].startswith("store fails") for line in lanes.lines)


# The page, without a browser (see test_story_page.py for what it does in one)


@pytest.mark.unmeasured
@pytest.mark.parametrize("make", [three_steps, of_many_steps, hostile, that_holds])
def test_the_page_is_one_file_and_no_text_in_it_is_markup(make: Any) -> None:
    text = page(told_of(make()), f"case{HOSTILE}.json")
    assert text.count("<script") == text.count("</script>") == 3
    assert text.count("<img") == 0
    assert text.count("<title>") == 1
    text.encode("utf-8")


def test_a_long_history_is_shown_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machines.story_page.MOST_ENTRIES", 5)
    found = told_of(three_steps())
    data = story_data(found, "x")
    assert (data["firstEntry"], len(data["entries"])) == (len(found.history) - 5, 5)


def test_every_kind_of_entry_is_told() -> None:
    sqlite = "machines.targets.sqlite:sqlite"
    moves = (Run(ONE), Cancel("x7"), Crash(), Recover(), Rival(), FailStore(), Cancel("x1"), Shutdown())
    told = [
        *tell_entries(told_of(case_of(*moves, target=sqlite)).history),
        *tell_entries([Closed(0.0, ("task",), ("error",)), Interrupted(0.0, "x", "a", 1, "action")]),
        *tell_entries([Ended(0.0, "x", "a", 1, "action", "raised", "odd")]),
        *tell_entries([Stalled(0.0, "s", "x", 10.0), Dropped(0.0, "s", "x", "too slow")]),
    ]
    assert {entry.kind for entry in told} == {kind.__name__ for kind in get_args(Entry)}
    assert all(entry.text and entry.text == clipped(entry.text) for entry in told)


# The test for pytest

EVERY_MOVE: Any = (
    AddStep({"id": "a", "action": "work"}),
    AddStep(
        {"id": "b", "action": "work", "parameters": {"text": 'say "it"', "long": ["0123456789" * 3] * 6}}, "stubborn"
    ),
    Connect("a", "b"),
    Run(),
    Run(ONE, {"n": 1}, {"a": "instant"}),
    Run({"id": "two", "steps": [{"id": "b", "action": "work"}]}),
    Run(None, {}, {}, ["nowhere"]),
    Subscribe("x1", 2),
    Pause("x1"),
    Resume("x1", {"late": None}),
    Resume("x1"),
    Fail("x1/a", "ValueError", "it's"),
    Yield("x1/b"),
    Elapse(2.5),
    Elapse(before=0.001),
    FailStore("busy", times=2),
    Rival(),
    TakeOver(),
    Crash("after", 2),
    Recover(),
    Convert({"id": "g", "nodes": [{"id": "a", "config": {"action": "work"}}]}),
    Shutdown(2.0),
    Finish("x3/b", {"$": [True, None, 1.5]}),
    Stall("x2"),
    Reconnect("x2"),
    Heed("x2"),
    Run(ONE, {}, {}, [], "k1"),
    Cancel("x2"),
)


def test_every_move_has_a_call() -> None:
    assert set(_CALLS) == set(MOVES.values()) == {type(move) for move in EVERY_MOVE}


def _carried_out(text: str) -> tuple[list[Line], str]:
    """The moves that a written test plays, and the digest of what it sees."""
    names: dict[str, Any] = {}
    exec(compile(text, "written", "exec"), names)  # noqa: S102  # it is what is tested
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    worlds: list[Any] = []

    @contextlib.contextmanager
    def watched(**given: Any) -> Iterator[None]:
        with holds(**given) as world:
            worlds.append(world)
            yield

    names["holds"] = watched
    with contextlib.suppress(ContractViolated):
        test()
    (world,) = worlds
    return [Line(played.move, played.tape) for played in world.moves], world.digest()


def test_a_written_test_plays_the_moves_of_its_case() -> None:
    sqlite = "machines.targets.sqlite:sqlite"
    case = case_of(*EVERY_MOVE, target=sqlite, tapes={3: Tape(bytes([0, 200]), bytes([0, 2])), 8: Tape(bytes([130]))})
    text = program_text(told_of(case), sqlite)
    lines, digest = _carried_out(text)
    assert [line.move for line in lines] == [line.move for line in case.lines][: len(lines)]
    assert digest == case.digest
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.unmeasured
@pytest.mark.parametrize("make", [three_steps, of_many_steps, hostile, that_holds])
def test_a_written_test_sees_what_its_case_shows(make: Any) -> None:
    case = make()
    assert _carried_out(program_text(told_of(case), case.target))[1] == case.digest


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_a_value_is_spelled_so_that_it_is_read_again(value: Any) -> None:
    spelled = _literal(value, 40)
    assert eval(spelled) == value  # noqa: S307  # it is what is tested
    spelled.encode("utf-8")


def test_a_case_without_moves_is_a_test_too() -> None:
    assert _carried_out(program_text(told_of(case_of()), "builtin"))[0] == []


@pytest.mark.unmeasured
def test_a_written_test_fails_while_the_bug_is_there_and_passes_when_it_is_mended(
    lockstep: Lockstep, tmp_path: Path
) -> None:
    case = save(three_steps(), tmp_path / "case.json")
    assert lockstep(case, "--pytest", tmp_path / "test_bug.py")[0] == 0
    mended = lockstep(case, "--pytest", tmp_path / "test_mended.py", "--target", "builtin")
    assert "the contract holds; run it with: pytest" in mended[1]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert "1 failed, 1 passed" in found.stdout
    assert "F4: the compensation of 'c' started, expected 'b'" in found.stdout


def test_a_move_outside_of_a_block_says_so() -> None:
    with pytest.raises(AssertionError, match="inside `with holds"):
        run(ONE)
    with pytest.raises(AssertionError, match="a latency is one of"), holds():
        let_time_pass(latencies=[1.0])


def test_all_latencies_can_be_said() -> None:
    with holds():
        for seconds in dict.fromkeys(LATENCIES):
            let_time_pass(1.0, latencies=[seconds * 1000])


# The command


def test_the_command_tells_and_writes(lockstep: Lockstep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = told_of(load(save(three_steps(), tmp_path / "case.json")))
    assert lockstep("case.json") == (0, story(found), "")
    status, out, err = lockstep("case.json", "--html", "page.html", "--pytest", "test_it.py")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "wrote page.html: violated as recorded",
        "wrote test_it.py: violated as recorded; run it with: pytest test_it.py",
    ]
    assert Path("page.html").read_text(encoding="utf-8") == page(found, "case.json")
    assert Path("test_it.py").read_text(encoding="utf-8") == program_text(found, BACKWARDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.json", "page.html", "test_it.py"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.json"], "lockstep story: nothing.json: no such file"),
        (["broken.json"], "lockstep story: broken.json: not JSON"),
        (
            ["case.json", "--html", "nowhere/page.html"],
            "lockstep story: --html nowhere/page.html: there is no directory nowhere",
        ),
        (["case.json", "--html", "."], "lockstep story: --html .: is a directory"),
        (["case.json", "--pytest", "link.py"], "lockstep story: --pytest link.py: is a link, or no file"),
        (["case.json", "--html", "x" * 300], "lockstep story: --html "),
        (["case.json", "--target", "nowhere:it"], "lockstep story: --target: "),
        (
            ["lost.json"],
            "lockstep story: lost.json: cannot be carried out: it names the target nowhere:it, which is not",
        ),
        (
            ["crashing.json", "--target", "tests.test_case:Crashing"],
            "lockstep story: crashing.json: cannot be carried out: KeyError: 'x1'",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lockstep: Lockstep,
) -> None:
    monkeypatch.chdir(tmp_path)
    case = case_of(Run(ONE), Finish("x1/a"))
    save(case, tmp_path / "case.json")
    save(replace(case, target="nowhere:it"), tmp_path / "lost.json")
    save(replace(case, target="tests.test_case:Crashing"), tmp_path / "crashing.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "link.py").symlink_to(tmp_path / "elsewhere.py")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    before = sorted(tmp_path.iterdir())
    status, out, err = lockstep(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(said)
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click import ClickException, Context  # noqa: PLC0415  # only this test goes in by the back door

    from machines.story import story as command  # noqa: PLC0415  # as above
    from machines.story import write_whole  # noqa: PLC0415  # as above

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with Context(command), pytest.raises(ClickException, match="No space left"):
        write_whole("--html", str(tmp_path / "page.html"), "text")
    assert list(tmp_path.iterdir()) == []


def test_a_story_changes_nothing_of_its_case() -> None:
    case = three_steps()
    told_of(case)
    assert replay(case).status == 1
    assert case.target == BACKWARDS
    assert undone("a")["id"] == "a"
