"""The catalogue of planted bugs is what it says: many, of many kinds, from life; and each has a witness.

A witness is judged a violation with the bug, and passes without it. What the checkers themselves may have, bugs planted
in the model and the machines, is noticed by the tests that are named for it.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from machines import canary
from machines.case import Line, load, to_text
from machines.moves import Elapse
from machines.mutants import CLASSES, MUTANTS
from machines.mutants.catalogue import Bug, catalogue, doubts, keep, place
from machines.mutants.checkers import BLINDNESSES, Blindness, at_hand, notice
from machines.mutants.hunt import Catch
from machines.mutants.planting import PlantingError
from machines.mutants.probing import Probe, probe, programs
from machines.tape import Tape

BUGS: Final = {bug.mutant.name: bug for bug in catalogue()}
KINDS: Final = {
    *("order", "values", "rollback", "cancellation", "pausing", "retries", "slots"),
    *("journal", "recovery", "notifications"),
}
"""Classes that must be there; others may be."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_witness_shows_its_bug(name: str) -> None:
    assert name in BUGS, f"no witness: lockstep canary --keep-witnesses --only {name}"
    assert list(doubts(BUGS[name])) == []


def test_every_witness_is_a_bugs() -> None:
    assert {path.stem for path in place("any").parent.iterdir()} == set(MUTANTS)


class TestTheFloors:
    def test_there_are_many_and_of_many_classes(self) -> None:
        assert len(MUTANTS) >= 72
        assert set(CLASSES.values()) >= KINDS
        assert min(Counter(CLASSES.values()).values()) >= 3

    def test_two_thirds_are_from_life(self) -> None:
        assert sum(bool(mutant.source) for mutant in MUTANTS.values()) >= len(MUTANTS) * 2 / 3

    def test_many_need_a_race_a_crash_or_several_moves(self) -> None:
        assert sum(bug.race for bug in BUGS.values()) >= 20
        assert sum(bug.crash for bug in BUGS.values()) >= 12
        assert sum(bug.depth >= 4 for bug in BUGS.values()) >= 15

    def test_no_two_are_the_same(self) -> None:
        edits = Counter(mutant.edits for mutant in MUTANTS.values())
        assert [edits for edits, times in edits.items() if times > 1] == []
        said = Counter(mutant.what for mutant in MUTANTS.values())
        assert [what for what, times in said.items() if times > 1] == []


class TestDoubts:
    def test_of_a_bug_that_is_not_there(self) -> None:
        bug = BUGS["paused_twice"]
        clean = replace(bug.mutant, edits=(replace(bug.mutant.edits[0], new=bug.mutant.edits[0].old),))
        assert list(doubts(Bug(clean, bug.witness))) == [
            "with the bug, pause_accepted must speak: None, the contract holds"
        ]

    def test_of_a_case_that_the_clean_engine_does_not_pass(self) -> None:
        bug = BUGS["paused_twice"]
        liar = replace(bug.mutant, adapter="machines.targets.builtin", edits=())
        broken = replace(bug.witness, lines=())
        assert len(list(doubts(Bug(liar, broken)))) == 1

    def test_of_another_clause(self) -> None:
        bug = BUGS["paused_twice"]
        other = replace(bug.mutant, clause="P2")
        assert list(doubts(Bug(other, bug.witness))) == ["it is a witness against P1, and the bug is one against P2"]

    def test_of_deviations_that_can_go(self) -> None:
        bug = BUGS["paused_twice"]
        first, *rest = bug.witness.lines
        late = replace(bug.witness, lines=(replace(first, tape=Tape(latencies=b"\0\0\0\0\0\0\0\x80")), *rest))
        assert Bug(bug.mutant, late).race
        assert not bug.race
        assert list(doubts(Bug(bug.mutant, late))) == ["its deviations can go"]


class TestKeeping:
    def test_the_better_one_is_kept(self, tmp_path: Path) -> None:
        name = "paused_twice"
        good = BUGS[name].witness
        longer = replace(good, lines=(Line(Elapse(1.0)), *good.lines))
        assert keep([(name, to_text(longer))], tmp_path) == [name]
        assert keep([(name, to_text(longer))], tmp_path) == []
        assert keep([(name, to_text(good))], tmp_path) == [name]
        assert keep([(name, to_text(longer))], tmp_path) == []
        assert load(place(name, tmp_path)) == good
        assert [bug.mutant.name for bug in catalogue(tmp_path)] == [name]

    def test_one_that_does_not_hold_any_more_is_replaced(self, tmp_path: Path) -> None:
        name = "paused_twice"
        good = BUGS[name].witness
        assert keep([(name, to_text(replace(good, lines=good.lines[:1])))], tmp_path) == [name]
        assert keep([(name, to_text(good))], tmp_path) == [name]
        assert load(place(name, tmp_path)) == good

    def test_the_canary_keeps_good_catches(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given: list[tuple[str, str]] = []

        def keep_in_mind(found: list[tuple[str, str]]) -> list[str]:
            given.extend(found)
            return ["a"]

        monkeypatch.setattr("machines.mutants.catalogue.keep", keep_in_mind)
        canary._keep([Catch("a", 1, 1.0, "{}"), Catch("b", 1, 1.0, "{}", faults=("too long",)), Catch("c", 1, 1.0)])
        assert given == [("a", "{}")]
        assert capsys.readouterr().err == "1 new witness: a\n"


class TestProbes:
    @pytest.mark.parametrize("name", ["paused_twice", "own_limit_ignored", "rollback_does_not_wait", "torn_batch"])
    def test_a_witness_reaches_triggers_and_is_detected(self, name: str) -> None:
        bug = BUGS[name]
        found = probe(bug.mutant, [(bug.witness.lines, bug.witness.max_concurrent_steps)])
        assert found == Probe(name, 1, reached=1, triggered=1, detected=1)
        assert not found.hole

    def test_a_case_without_steps_reaches_no_join(self) -> None:
        found = probe(MUTANTS["skipped_is_done"], [((Line(Elapse(1.0)),), 1)])
        assert found == Probe("skipped_is_done", 1, reached=0, triggered=0, detected=0)
        assert found.hole == "never reached"

    def test_a_hole_is_where_it_stops(self) -> None:
        assert Probe("a", 9, reached=9, triggered=3, detected=0).hole == "in the model"
        assert Probe("a", 9, reached=9, triggered=0, detected=0).hole == "in the moves"

    def test_the_same_seed_makes_the_same_programs(self) -> None:
        assert list(programs("lifecycle", 3, 2)) == list(programs("lifecycle", 3, 2))
        assert list(programs("lifecycle", 3, 2)) != list(programs("lifecycle", 4, 2))

    def test_whoever_traced_before_traces_on(self) -> None:
        before = sys.gettrace()
        probe(MUTANTS["skipped_is_done"], [((Line(Elapse(1.0)),), 1)])
        assert sys.gettrace() is before

    def test_the_canary_prints_the_table(self) -> None:
        words = ["canary", "--probe", "2", "--workers", "1", "--only", "torn_batch"]
        done = subprocess.run(
            [sys.executable, "-m", "machines.cli", *words], check=False, capture_output=True, text=True
        )
        assert done.returncode in {canary.ALL_CAUGHT, canary.SOME_MISSED}, done.stderr
        header, row = done.stdout.splitlines()
        assert header.split() == ["mutant", "cases", "reached", "triggered", "detected", "a", "hole"]
        assert row.split()[:2] == ["torn_batch", "2"]


@pytest.fixture(scope="module")
def noticed() -> dict[str, dict[str, list[str]]]:
    """What became of the named tests, by bug; all of them once more without any bug."""
    assert at_hand()
    tests = tuple(dict.fromkeys(test for each in BLINDNESSES for test in each.noticed_by))
    edit = BLINDNESSES[0].edit
    return notice([*BLINDNESSES, Blindness("none", "No bug.", replace(edit, new=edit.old), tests)])


class TestTheCheckers:
    def test_there_are_enough_and_each_says_what_it_does(self) -> None:
        assert len(BLINDNESSES) >= 8
        assert len({each.name for each in BLINDNESSES}) == len(BLINDNESSES)
        assert len({each.edit for each in BLINDNESSES}) == len(BLINDNESSES)
        assert all(each.what.endswith(".") and each.noticed_by for each in BLINDNESSES)
        assert all(each.edit.module.startswith(("model.", "machines.")) for each in BLINDNESSES)

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("blindness", BLINDNESSES, ids=lambda each: str(each.name))
    def test_the_suite_notices(self, blindness: Blindness, noticed: dict[str, dict[str, list[str]]]) -> None:
        found = noticed[blindness.name]
        assert found["broken"] == []
        assert found["failed"] == list(blindness.noticed_by)

    def test_and_is_content_without(self, noticed: dict[str, dict[str, list[str]]]) -> None:
        assert noticed["none"]["failed"] == noticed["none"]["broken"] == []
        assert noticed["none"]["passed"]

    def test_an_edit_whose_place_is_gone_notices_nothing(self) -> None:
        gone = replace(BLINDNESSES[0], edit=replace(BLINDNESSES[0].edit, old="no such place"))
        (found,) = notice([gone]).values()
        assert found["failed"] == []
        assert found["broken"]
        with pytest.raises(PlantingError):
            gone.edit.apply("")
