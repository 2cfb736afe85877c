"""The tester is tested: every invariant has a planted bug, the bugs are found, and the clean engine stays clean."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from machines import canary, mutants
from machines.case import Case, Line, carry_out, from_text, replay, to_text
from machines.cli import lockstep
from machines.moves import Cancel, Crash, Elapse, Fail, FailStore, Finish, Pause, Recover, Resume, Rival, Run
from machines.mutants import EXEMPT, MUTANTS, Edit, PlantingError, hunt, target_name
from machines.mutants.hunt import Catch
from machines.mutants.planting import ON_A_FILE
from machines.registry import TargetError, load_target
from model.invariants import INVARIANTS

SAMPLE = (
    "cancelled_attempt_fails",
    "refusals_are_not_sent",
    "any_step_may_be_named",
    "late_completion",
    "backoff_one_ahead",
    "begun_before_it_is_durable",
    "falsy_is_no_input",
    "skipped_is_done",
    "own_limit_ignored",
    "output_outlives_its_rollback",
    "rollback_on_cancel_ignored",
    "expanded_again",
    "cancelled_is_crashed",
    "one_fails_for_all",
    "torn_batch",
)
ENOUGH = 1500
"""Cases within which each of the sample is found, with room: most need ten."""

WORKFLOW = {
    "id": "w",
    "rollback_on_cancel": True,
    "steps": [
        {"id": "a", "action": "work", "compensation": {"action": "undo", "parameters": {"what": "${a.n}"}}},
        {"id": "b", "action": "work", "retries": {"max_attempts": 2}, "timeout": 5},
        {"id": "c", "action": "work", "depends_on": ["a", "b"], "condition": "a.n == 1"},
    ],
}
PROGRAM = [
    Line(move)
    for move in (
        Run(WORKFLOW, {"x": 1}, {"b": "stubborn"}),
        Finish("x1/a"),
        Fail("x1/b"),
        Pause("x1"),
        Elapse(),
        Resume("x1"),
        Cancel("x1"),
    )
]
AFTERWARDS = [
    Line(move)
    for move in (
        *(Run(WORKFLOW, {"x": 1}), FailStore(), Finish("x2/a"), Recover(), Rival()),
        *(Crash("after"), Finish("x2/a"), Recover()),
    )
]


@pytest.fixture(scope="module")
def caught() -> dict[str, Catch]:
    """What the hunts of this module came to; each is made once."""
    return {}


def catch(name: str, caught: dict[str, Catch]) -> Catch:
    if name not in caught:
        caught[name] = hunt.hunt(MUTANTS[name], 0, cases=ENOUGH)
    return caught[name]


def case_of(found: Catch) -> Case:
    assert found.case is not None
    return from_text(found.case)


class TestTheMutants:
    def test_every_invariant_has_one(self) -> None:
        covered = {mutant.invariant for mutant in MUTANTS.values()}
        assert not INVARIANTS.keys() - covered - EXEMPT.keys(), "invariants that nothing tests"
        assert not covered - INVARIANTS.keys(), "mutants of no invariant"

    def test_few_are_exempt_and_each_for_a_reason(self) -> None:
        assert len(EXEMPT) < 5
        assert all(EXEMPT.values())
        assert EXEMPT.keys() <= INVARIANTS.keys()
        assert not EXEMPT.keys() & {mutant.invariant for mutant in MUTANTS.values()}

    def test_names_are_unique_and_can_be_written_in_a_target(self) -> None:
        names = [mutant.name for group in mutants._GROUPS for mutant in group.MUTANTS]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)

    @pytest.mark.parametrize("name", MUTANTS)
    def test_each_says_what_it_does_and_breaks_the_clause_of_its_invariant(self, name: str) -> None:
        mutant = MUTANTS[name]
        assert mutant.clause == INVARIANTS[mutant.invariant].clause
        assert mutant.what.endswith(".")
        assert "/" in mutant.source or not mutant.source
        assert mutant.edits

    @pytest.mark.parametrize("name", MUTANTS)
    def test_each_can_be_planted(self, name: str) -> None:
        mutant = MUTANTS[name]
        assert load_target(target_name(mutant))().name == load_target(mutant.clean)().name

    def test_some_have_their_journal_on_a_file(self) -> None:
        names = {mutant.name for mutant in MUTANTS.values() if mutant.adapter == ON_A_FILE}
        assert "torn_batch" in names
        assert all("recovery" in MUTANTS[name].machines for name in names)

    def test_there_is_no_other(self) -> None:
        with pytest.raises(TargetError, match="has no nobody"):
            load_target("machines.mutants:nobody")

    @pytest.mark.parametrize(("old", "found"), [("no such place", 0), ("state", 2)])
    def test_a_place_that_is_not_there_once_is_an_error(self, old: str, found: int) -> None:
        with pytest.raises(PlantingError, match=f"{found} times, expected once"):
            Edit("engine.nowhere", old, "").apply("state = state")


class TestPlanting:
    @pytest.mark.unmeasured
    def test_the_clean_engine_is_not_touched(self) -> None:
        program = [*PROGRAM, *AFTERWARDS]
        clean = [load_target(name) for name in dict.fromkeys(mutant.clean for mutant in MUTANTS.values())]
        before = [carry_out(program, target, 2) for target in clean]
        assert [course.sentence for course in before if course.verdict is not None] == []
        modules = dict(sys.modules)
        for mutant in MUTANTS.values():
            carry_out(program, mutant.plant(), 2)
        assert {name: module for name, module in sys.modules.items() if name in modules} == modules
        assert [carry_out(program, target, 2).digest for target in clean] == [course.digest for course in before]

    def test_mutants_do_not_touch_each_other(self) -> None:
        first, second = MUTANTS["cancelled_attempt_fails"].plant(), MUTANTS["output_outlives_its_rollback"].plant()
        assert carry_out(PROGRAM, first, 2).verdict == ("K2", "nothing_starts_after_a_cancel")
        assert carry_out(PROGRAM, second, 2).verdict == ("F4", "reported_values")
        assert carry_out(PROGRAM, first, 2).verdict == ("K2", "nothing_starts_after_a_cancel")


class TestTheHunt:
    @pytest.mark.parametrize("name", SAMPLE)
    @pytest.mark.unmeasured
    def test_finds_what_is_planted_and_makes_it_small(self, name: str, caught: dict[str, Catch]) -> None:
        found = catch(name, caught)
        assert not found.faults
        assert found.cases <= ENOUGH + hunt.ROUNDS[-1][1]
        assert 1 <= found.moves <= hunt.MOST_WITH_A_CRASH
        assert found.sentence
        assert case_of(found).clause == MUTANTS[name].clause

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("name", SAMPLE)
    def test_the_bug_is_at_fault_and_not_the_case(self, name: str, caught: dict[str, Catch]) -> None:
        case = case_of(catch(name, caught))
        assert replay(case).status == 1
        assert replay(case, load_target(MUTANTS[name].clean)).status == 0, "the clean engine breaks on it too"

    @pytest.mark.unmeasured
    def test_is_the_same_hunt_again(self, caught: dict[str, Catch]) -> None:
        name = "cancelled_attempt_fails"
        first, again = catch(name, caught), hunt.hunt(MUTANTS[name], 0, cases=ENOUGH)
        assert replace(first, cpu_seconds=0) == replace(again, cpu_seconds=0)

    @pytest.mark.unmeasured
    def test_gives_up_on_an_engine_without_a_bug(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mutant = MUTANTS["cancelled_attempt_fails"]
        clean = replace(mutant, name="clean", edits=(replace(mutant.edits[0], new=mutant.edits[0].old),))
        monkeypatch.setitem(MUTANTS, "clean", clean)
        found = hunt.hunt(clean, 0, cases=60)
        assert found.case is None
        assert found.faults == ("not caught; others that spoke: nothing",)

    def test_what_others_say_is_no_catch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = replace(MUTANTS["begun_before_it_is_durable"], name="other", invariant="final", clause="K6")
        monkeypatch.setitem(MUTANTS, "other", other)
        found = hunt.hunt(other, 0, cases=20)
        assert found.case is None
        assert "durable_before_it_begins (" in found.faults[0]

    def test_says_what_is_wrong_with_a_catch(self, caught: dict[str, Catch]) -> None:
        mutant = MUTANTS["cancelled_attempt_fails"]
        case = case_of(catch(mutant.name, caught))
        padded = replace(case, lines=(*(7 * (Line(Elapse(1)),)), *case.lines), clause="K1")
        assert hunt.examine(mutant, padded, mutant.plant()).faults == (
            "violated is K1, expected K2",
            f"{7 + len(case.lines)} moves, expected 6 at most",
            "carried out again, it has another history",
        )
        broken = replace(case, lines=(Line(Run({"id": "w"})), *case.lines))
        assert hunt.examine(mutant, broken, mutant.plant()).faults[-1].startswith("the clean engine breaks on it too: ")
        silent = hunt.examine(mutant, replace(case, lines=()), mutant.plant())
        assert silent.faults[0] == "nothing_starts_after_a_cancel does not speak"


class TestTheCommand:
    @pytest.mark.unmeasured
    def test_catches_keeps_and_replays(self, tmp_path: Path) -> None:
        out, kept = tmp_path / "report.json", tmp_path / "kept"
        names = ("one_number_for_a_batch", "begun_before_it_is_durable")
        only = [word for name in names for word in ("--only", name)]
        command = [sys.executable, "-m", "machines.cli", "canary", *only, "--dir", str(kept), "--json", str(out)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        *table, last = done.stdout.splitlines()
        assert [line.split()[0] for line in table] == ["mutant", *names]
        assert last.startswith("2 mutants of 2 invariants: 2 caught, 0 not; ")
        assert done.stderr.splitlines()[-1].startswith("lockstep canary: 2 of 2, ")
        report = json.loads(out.read_text())
        assert (report["mutants"], report["caught"]) == (2, 2)
        assert sorted(path.stem for path in kept.iterdir()) == sorted(names)

    def test_one_that_gets_away_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = SAMPLE[0]
        got_away = Catch(name, 7, 1.0, faults=("not caught; others that spoke: nothing",))
        monkeypatch.setattr(canary, "_hunt_all", lambda *_: {name: got_away})
        done = CliRunner().invoke(lockstep, ["canary", "--only", name, "--dir", str(tmp_path)], standalone_mode=False)
        assert done.return_value == 1
        assert "not caught; others that spoke: nothing" in done.output
        assert "1 mutant of 1 invariant: 0 caught, 1 not; 7 cases" in done.output
        assert not list(tmp_path.iterdir())

    @pytest.mark.unmeasured
    def test_a_case_with_another_history_elsewhere_is_none(self, tmp_path: Path, caught: dict[str, Catch]) -> None:
        found = catch("cancelled_attempt_fails", caught)
        other = replace(found, case=to_text(replace(case_of(found), digest="0" * 64)))
        assert canary._replay_all([found], tmp_path) == [found]
        assert canary._replay_all([other], tmp_path)[0].faults == ("in a new process it has another history",)

    def test_an_engine_that_has_changed_is_told(self) -> None:
        assert canary._hunt("nobody", seed=0, budget=1).faults == ("KeyError: 'nobody'",)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--only", "nobody"], "--only: there is no mutant 'nobody'"),
            (["--workers", "many"], "--workers: must be all, or a sensible number of processes, not 'many'"),
            (["--dir", __file__], f"--dir {__file__}: File exists"),
            (["--budget-cpu-seconds", "0"], "0.0 is not in the range x>=1"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, arguments: list[str], message: str, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "machines.cli", "canary", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
