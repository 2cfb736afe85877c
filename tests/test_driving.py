"""The fast front end: determined by its seed, guided by what is new, and no stranger to what Hypothesis may do."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from machines.case import VIOLATED, from_text, replay, to_text
from machines.corpus import Corpus, Kept, read_corpus
from machines.driving import Driven, Driver, Way
from machines.minimise import minimise
from machines.mutants import MUTANTS, target_name
from machines.registry import MACHINES, load_target
from machines.schedules import SCHEDULES, Schedule, guarantee, missed


def played(machine: str, cases: int, corpus: Corpus | None = None, way: Way | None = None) -> list[Driven]:
    return list(islice(Driver(machine, 7, corpus, way=way).cases(), cases))


class TestDriver:
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


class TestCorpus:
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
