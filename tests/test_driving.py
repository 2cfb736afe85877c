"""The fast front end: determined by its seed, guided by what is new, and no stranger to what Hypothesis may do."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import seed
from hypothesis.stateful import get_state_machine_test

from machines.bench import front_end_ratio
from machines.case import VIOLATED, Line, from_text, replay, to_text
from machines.cli import main
from machines.corpus import Corpus, Kept, read_corpus, told
from machines.driving import Driven, Driver, Way
from machines.feeding import watched
from machines.lifecycle import WorldMachine
from machines.minimise import minimise
from machines.moves import Cancel, Crash, Elapse, Fail, FailStore, Finish, Pause, Recover, Resume, Run, Yield
from machines.mutants import MUTANTS, target_name
from machines.registry import MACHINES, load_target
from machines.schedules import SCHEDULES, SIZES, Pct, Schedule, Uniform, guarantee, missed
from machines.searching import explicit_settings
from machines.tape import LATENCIES, PLAIN, Tape
from machines.varying import LONGEST, aimed, varied

CASES = 30
"""Of each machine by each front end."""


def played(machine: str, cases: int, corpus: Corpus | None = None, way: Way | None = None) -> list[Driven]:
    return list(islice(Driver(machine, 7, corpus, way=way).cases(), cases))


class TestDriver:
    @pytest.mark.unmeasured
    @pytest.mark.parametrize("machine", MACHINES)
    def test_the_same_seed_makes_the_same_cases(self, machine: str) -> None:
        corpora = Corpus(), Corpus()
        first, again = (played(machine, 25, corpus) for corpus in corpora)
        assert first == again
        assert [kept.name for kept in corpora[0].kept] == [kept.name for kept in corpora[1].kept]
        assert not [each for each in first if each.case]
        assert any(each.parent for each in first)
        assert sum(each.moves for each in first) > 300
        assert sum(each.seconds for each in first) > 0

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_every_schedule_drives(self, schedule: Schedule) -> None:
        cases = played("lifecycle", 20, way=Way(schedule))
        assert not [each for each in cases if each.case]
        assert len({each.novel for each in cases}) > 10

    @pytest.mark.unmeasured
    def test_what_it_finds_is_a_case_that_can_be_made_small(self) -> None:
        mutant = MUTANTS["cancelled_twice"]
        factory = load_target(target_name(mutant))
        found = next(
            each for each in Driver("lifecycle", 1, target=target_name(mutant), factory=factory).cases() if each.case
        )
        assert found.violation is not None
        assert found.case is not None
        case = from_text(to_text(found.case))
        outcome = replay(case, factory)
        assert (outcome.status, outcome.digest) == (VIOLATED, case.digest)
        small = minimise(case, factory, budget=20_000)
        assert (small.clause, small.invariant) == (found.violation.clause, found.violation.invariant)
        assert len(small.lines) <= 6

    def test_what_is_no_violation_is_told_with_its_case(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_self: object, *_: object) -> None:
            message = "the harness is at fault"
            raise RuntimeError(message)

        monkeypatch.setattr("machines.world.World._look", fail)
        (found,) = played("lifecycle", 1)
        assert found.violation is None
        assert repr(found.error) == "RuntimeError('the harness is at fault')"
        assert found.case is not None
        assert found.case.clause == "harness"

    def test_a_target_that_cannot_be_made_is_told(self) -> None:
        def broken() -> None:
            message = "no engine"
            raise OSError(message)

        (found,) = islice(Driver("lifecycle", 1, factory=broken).cases(), 1)  # type: ignore[arg-type]  # that is the point
        assert (repr(found.error), found.case, found.moves) == ("OSError('no engine')", None, 0)

    def test_with_swarm_rules_are_off_for_a_whole_case(self) -> None:
        driver = Driver("lifecycle", 5, way=Way(swarm=1))
        cases = []
        for _ in range(20):
            driver._prepare()
            cases.append([now - before for before, now in zip([0, *driver._sums], driver._sums, strict=False)])
        assert all(0 in weights and max(weights) > 1 for weights in cases)
        assert all(any(weights[rank] for weights in cases) for rank in range(len(driver._rules)))

    @pytest.mark.unmeasured
    def test_is_measured_beside_hypothesis(self) -> None:
        fast, slow, ratio = front_end_ratio(rounds=1, cases=30)
        assert min(fast, slow, ratio) > 0, "how far ahead it is, `make bench` says: on a busy machine that is no test"


class TestBothFrontEnds:
    """Rules, preconditions and ranges are declared once: both reach the same about as often."""

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("machine", MACHINES)
    def test_play_the_same_moves(self, machine: str) -> None:
        plays: list[Counter[str]] = [Counter(), Counter()]

        def counting(into: Counter[str]) -> type[WorldMachine]:
            def note(driven: WorldMachine) -> None:
                assert driven.world is not None
                into.update(type(each.move).__name__ for each in driven.world.moves)

            factory = staticmethod(load_target(MACHINES[machine].home))
            return type("Counting", (MACHINES[machine],), {"factory": factory, "on_case": staticmethod(note)})

        seed(3)(get_state_machine_test(counting(plays[0]), settings=explicit_settings(CASES)))()
        driver = Driver(machine, 3, base=counting(plays[1]), way=Way(swarm=0, varied=0))
        list(islice(driver.cases(), CASES))
        drawn, driven = ({kind: count / each.total() for kind, count in each.items()} for each in plays)
        apart = sum(abs(drawn.get(kind, 0) - driven.get(kind, 0)) for kind in (drawn | driven)) / 2
        assert apart < 0.25
        assert all(
            kind in drawn and kind in driven for kind in drawn | driven if max(plays[0][kind], plays[1][kind]) > 20
        )

    def test_pick_evenly_among_the_valid_rules(self) -> None:
        driver = Driver("lifecycle", 2, way=Way(swarm=0, varied=0))
        driver._prepare()
        machine = driver._class()
        for begin in driver._begin:
            driver._apply(begin, machine)
        valid = machine.valid_rules()
        picked = Counter(driver._choose(machine) for _ in range(400 * len(valid)))
        assert all(300 < picked[rule] < 500 for rule in valid)
        assert picked.total() == sum(picked[rule] for rule in valid)
        machine.teardown()

    def test_what_is_off_is_played_where_nothing_else_can_be(self) -> None:
        driver = Driver("recovery", 2, way=Way(swarm=0, varied=0))
        driver._prepare()
        machine = driver._class()
        for begin in driver._begin:
            driver._apply(begin, machine)
        machine.play(Crash(), PLAIN)
        assert {rule.function.__name__ for rule in machine.valid_rules()} == {
            *("recover", "recover_and_crash", "recover_late", "stay_down")
        }
        weights = [rule.function.__name__ == "pause" for rule in driver._rules]
        driver._sums = [sum(weights[: rank + 1]) for rank in range(len(weights))]
        rule = driver._choose(machine)
        assert rule in machine.valid_rules()
        machine.teardown()


class TestTheCommand:
    def test_drives_keeps_a_corpus_and_promises(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        corpus = tmp_path / "corpus"
        arguments = ["--cases", "12", "--corpus", str(corpus), "--dir", str(tmp_path)]
        assert lockstep("drive", *arguments, "--schedule", "both") == 0
        out = capsys.readouterr().out
        assert "lifecycle: 12 cases, " in out
        assert f"written to {corpus}" in out
        assert "a bug of depth 2 in cases like these is missed with p <= 1" in out
        (corpus / "bad.json").write_text("{")
        assert lockstep("drive", *arguments) == 0
        said = capsys.readouterr()
        assert "missed with" not in said.out
        assert said.err.startswith(f"left out: {corpus / 'bad.json'}: not JSON")

    @pytest.mark.unmeasured
    def test_what_it_finds_is_kept_small_and_replays(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target = target_name(MUTANTS["cancelled_twice"])
        assert lockstep("drive", "--target", target, "--dir", str(tmp_path), "--cases", "500") == 1
        assert "K1: " in capsys.readouterr().out
        (case,) = (tmp_path / "cases").glob("*.json")
        assert lockstep("replay", str(case)) == 1

    def test_refuses_what_makes_no_sense(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("")
        for arguments, said in (
            (["--machine", "nobody"], "--machine: there is no machine nobody"),
            (["--corpus", str(tmp_path / "file")], "is no directory"),
            (["--schedule", "fair"], "fair"),
        ):
            assert lockstep("drive", "--dir", str(tmp_path), *arguments) == 2
            assert said in capsys.readouterr().err


def lockstep(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


class TestVariations:
    def test_begin_as_the_case_does_and_are_not_too_long(self) -> None:
        corpus = Corpus()
        played("recovery", 40, corpus)
        chance = Random(3)
        schedule = Uniform(chance)
        programs = [varied(kept.lines, corpus.kept[0].lines, chance, schedule) for kept in corpus.kept * 10]
        assert all(0 < len(program) <= LONGEST for program in programs)
        firsts = [program[0] for program in programs]
        assert all(first is not None and isinstance(first.move, Run) for first in firsts)
        assert any(None in program for program in programs)

    @pytest.mark.parametrize(
        "move",
        [
            *(Finish("e1/a"), Fail("e1/a"), Resume("e1"), Pause("e1"), Cancel("e1")),
            *(Crash(), FailStore(), Elapse(), Run({"id": "w", "nodes": []})),
        ],
    )
    def test_change_arguments(self, move: Finish) -> None:
        chance = Random(1)
        programs = [varied([Line(move)], [Line(move)], chance, Uniform(chance)) for _ in range(300)]
        assert len({repr(program[0]) for program in programs}) > 2

    def test_a_move_that_fits_nothing_is_aimed_anew(self) -> None:
        machine = MACHINES["lifecycle"]()
        machine.open(2)
        assert machine.world is not None
        machine.play(Run({"id": "w", "steps": [{"id": "a", "action": "work"}]}), PLAIN)
        (gate,), (execution,) = machine.open_gates(), machine.world.executions
        assert aimed(Finish("e9/z"), machine.world) == Finish(gate)
        assert aimed(Yield("e9/z"), machine.world) == Yield(gate)
        assert aimed(Pause("e9"), machine.world) == Pause(execution)
        for move in (Pause("nobody"), Pause(execution), Finish(gate), Recover()):
            assert aimed(move, machine.world) == move
        machine.teardown()


class TestSchedules:
    def test_pct_has_one_late_move_and_one_change_point(self) -> None:
        chance = Random(5)
        assert all(LATENCIES[byte] > 0 for byte in SIZES)
        for _ in range(50):
            schedule = Pct(chance, 10)
            late = [tape for tape in (schedule.tape() for _ in range(12)) if tape != PLAIN]
            assert 1 <= len(late) <= 2
            assert all(tape == Tape(tape.latencies) for tape in late)


class TestWatched:
    def test_a_machine_is_watched_by_one_class_which_goes_with_it(self) -> None:
        first, other = (type(name, (MACHINES["lifecycle"],), {}) for name in ("First", "Other"))
        assert watched(first) is watched(first)
        assert issubclass(watched(first), first)
        assert watched(other) is not watched(first)
        assert watched(watched(first)) is not watched(first)
        left = [weakref.ref(first), weakref.ref(watched(first))]
        del first
        gc.collect()
        assert [reference() for reference in left] == [None, None]
        assert watched(other).__name__ == "Other"


class TestCorpus:
    def test_what_is_new_is_told_in_words(self) -> None:
        keys = [
            ("reached", "three steps completed"),
            ("moves", "Run", "Pause in RUNNING"),
            (("StepStarted", "StepFailed"), 2, True),
            ("something else",),
        ]
        assert [told(key) for key in keys] == [
            "three steps completed",
            "Run, then Pause in RUNNING",
            "a step with sources: StepStarted, StepFailed, while 2 run",
            "('something else',)",
        ]

    def test_is_kept_in_a_folder_and_played_first(self, tmp_path: Path) -> None:
        corpus = Corpus()
        played("lifecycle", 20, corpus)
        assert len(corpus.save(tmp_path)) == len(corpus.kept)
        assert corpus.save(tmp_path) == []
        (tmp_path / "bad.json").write_text("{")
        read, faults = read_corpus(tmp_path, "lifecycle")
        assert len(faults) == 1
        assert len(read.unplayed) == len(corpus.kept)
        count = len(read.unplayed)
        again = played("lifecycle", count + 5, read)
        assert read.unplayed == []
        assert all(each.parent for each in again[:count])
        missing = [key for key in corpus.known if key not in read.known]
        assert len(missing) < 0.2 * len(corpus.known)  # what cases reached that brought nothing new themselves
        assert read_corpus(tmp_path, "recovery")[0].unplayed == []

    def test_is_bounded_and_lets_go_of_what_was_varied_in_vain(self) -> None:
        corpus = Corpus(most=2)
        one, two, three = (Kept((), limit, "lifecycle", "builtin", news=1) for limit in (1, 2, 3))
        corpus.keep(one)
        corpus.keep(two)
        two.varied = 3
        corpus.keep(three, one)
        assert corpus.kept == [one, three]


class TestGuarantee:
    def test_falls_with_the_cases_and_rises_with_the_moves(self) -> None:
        assert missed(0, 30) == 1
        assert 0 < missed(10**6, 30) < missed(10**5, 30) < 1
        assert missed(10**5, 30) < missed(10**5, 60)
        assert guarantee(10**9, 10) == "a bug of depth 2 in cases like these is missed with p <= 0"
