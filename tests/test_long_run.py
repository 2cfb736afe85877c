"""What a long run rests on: both front ends, shares of time, a case that outlives its worker, and drift."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import pytest

from machines import runs
from machines.campaign import Campaign
from machines.case import HARNESS, carry_out, from_text, load, save, to_text
from machines.corpus_folder import Exchange
from machines.drift import Drift
from machines.fresh import fresh_ones
from machines.moves import Elapse, Run
from machines.mutants import MUTANTS, target_name
from machines.registry import BUILTIN, MACHINES
from machines.runs import Keeper, add_up, last_seed, read_runs, write_run
from machines.searching import Chunk, Plan, Searcher
from machines.shares import Shares
from machines.tape import PLAIN
from machines.targets.builtin import builtin
from machines.totals import Totals
from machines.underway import Underway, left_in, name_of
from machines.workers import most_memory_used
from tests.command_line import called, outcome

PLANTED = """
import os
import signal

from machines.targets.builtin import BuiltinTarget


class Killed(BuiltinTarget):
    async def pause(self, execution):
        os.kill(os.getpid(), signal.SIGKILL)


class Greedy(BuiltinTarget):
    def report(self, execution):
        found = super().report(execution)
        return found if found["status"] != "PAUSED" else [bytearray(1 << 33)]


class Fickle(BuiltinTarget):
    cases = 0

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        Fickle.cases += 1

    async def pause(self, execution):
        if Fickle.cases > 3:
            return await super().pause(execution)
        return None
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines that end their process, take all memory, or change with time."""
    (tmp_path / "planted_ends.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "planted_ends", raising=False)
    return tmp_path


def fast(examples: int = 60, seed: int = 1) -> Chunk:
    return Chunk("lifecycle", seed, examples, swarm=False, fast=True)


class TestFrontEnds:
    def test_a_fast_chunk_is_reported_as_any_other(self) -> None:
        plan = Plan(1, fast=True, again=10)
        first, second = (Searcher(plan).run(fast()) for _ in range(2))
        assert (first.cases, first.moves, first.news, first.again) == (60, second.moves, second.news, second.again)
        assert first.fast
        assert first.lived > 0
        assert first.news > 100
        assert first.reach["an execution started"] > 30
        for text in first.again:
            case = from_text(text)
            assert carry_out(case.lines, builtin, case.max_concurrent_steps).digest == case.digest
        assert 4 <= len(first.again) <= 6

    @pytest.mark.unmeasured
    def test_what_the_fast_driver_finds_is_made_small(self) -> None:
        target = target_name(MUTANTS["cancelled_twice"])
        report = Searcher(Plan(1, target=target, fast=True)).run(fast(2000))
        assert report.trouble is None
        assert report.found is not None
        assert len(report.program) <= 6
        assert report.cases < 2000

    def test_hypothesis_feeds_the_corpus(self) -> None:
        searcher = Searcher(Plan(1, fast=True))
        report = searcher.run(Chunk("lifecycle", 1, 10, swarm=False))
        assert report.news > 20
        assert 0 < len(searcher.corpora["lifecycle"].kept) <= report.cases
        again = searcher.run(Chunk("lifecycle", 1, 10, swarm=False))
        assert again.news == 0

    @pytest.mark.unmeasured
    def test_both_search_in_a_campaign(self, tmp_path: Path) -> None:
        totals = Campaign(Plan(3, cases=300, fast=True, again=20, directory=tmp_path)).run()
        assert totals.troubles == {}
        assert set(totals.moves_of) == {"fast", "hypothesis"}
        assert totals.moves_of.total() == totals.moves
        assert 10 < totals.again <= totals.cases / 20
        assert totals.lived > 0


class TestMemory:
    def test_a_process_has_its_own(self) -> None:
        large = "import subprocess, sys; x = b'x' * (64 << 20); subprocess.run([sys.executable, '-c', sys.argv[1]])"
        asked = "from machines.workers import most_memory_used; print(most_memory_used())"
        told = subprocess.run([sys.executable, "-c", large, asked], check=True, capture_output=True, text=True).stdout
        assert 1_000 < int(told) < 60_000

    def test_where_nobody_tells_it_is_what_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nothing(*_: object, **__: object) -> str:
            raise FileNotFoundError

        monkeypatch.setattr(Path, "read_text", nothing)
        assert most_memory_used() > 1_000


class TestShares:
    def test_nobody_starves_and_whoever_finds_gets_more(self) -> None:
        shares = Shares([("a", True), ("b", True), ("a", False)])
        turns = []
        for _ in range(300):
            lane = shares.turn()
            turns.append(lane)
            shares.heard(lane, 50 if lane == ("b", True) else 0)
        counts = {lane: turns.count(lane) for lane in set(turns)}
        assert counts["b", True] > 200
        assert min(counts.values()) >= 20
        assert len(counts) == 3
        assert sum(shares.weights().values()) == pytest.approx(1)

    def test_without_news_all_get_the_same(self) -> None:
        shares = Shares([("a", True), ("b", True)])
        turns = [shares.turn() for _ in range(10)]
        assert turns.count(("a", True)) == turns.count(("b", True)) == 5


class TestUnderway:
    def test_the_last_case_is_left(self, tmp_path: Path) -> None:
        path = tmp_path / "left.case"
        assert left_in(path, "it went") is None
        underway = Underway(path)
        assert left_in(path, "it went") is None
        underway.begin("lifecycle", "builtin", 1)
        underway.note(Elapse(3.0), PLAIN)
        underway.begin("recovery", "builtin", 5)
        underway.note(Run({"id": "w", "steps": [{"id": "a", "action": "work"}]}), PLAIN)
        underway.note(Elapse(2.0), PLAIN)
        underway.note(Run({"id": "x" * (1 << 20), "steps": []}), PLAIN)
        case = left_in(path, "it went")
        assert case is not None
        assert (case.machine, case.max_concurrent_steps, case.clause) == ("recovery", 5, HARNESS)
        assert [type(line.move) for line in case.lines] == [Run, Elapse]
        assert from_text(to_text(case)).lines == case.lines
        assert name_of(case).startswith("harness-worker-")

    @pytest.mark.parametrize("front", [True, False], ids=["fast", "hypothesis"])
    def test_a_worker_that_is_killed_leaves_its_case(self, planted: Path, *, front: bool) -> None:
        plan = Plan(3, cases=200, target="planted_ends:Killed", directory=planted / "kept", fast=front)
        totals = Campaign(plan).run()
        (entry,) = totals.troubles.values()
        assert entry.trouble.message == "worker 0 was ended by SIGKILL"
        assert entry.path is not None
        case = load(entry.path)
        assert case.target == "planted_ends:Killed"
        assert any(type(line.move).__name__ == "Pause" for line in case.lines)
        assert carry_out(case.lines, builtin, case.max_concurrent_steps).error is None

    @pytest.mark.unmeasured
    def test_memory_without_bound_is_a_finding_with_its_case(self, planted: Path) -> None:
        plan = Plan(3, cases=60, target="planted_ends:Greedy", directory=planted / "kept", fast=True)
        totals = Campaign(plan).run()
        (entry,) = totals.troubles.values()
        assert entry.trouble.message == "MemoryError:"
        assert entry.path is not None
        assert len(load(entry.path).lines) <= 3


class TestDrift:
    def test_the_same_history_is_no_trouble(self) -> None:
        drift = Drift()
        drift.add(tuple(map(to_text, fresh_ones(1, [BUILTIN]))))
        assert drift.rest() == []
        assert drift.played == len(MACHINES)
        assert drift.look() == []

    @pytest.mark.unmeasured
    def test_another_history_is_told_with_its_case(self, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:

        plan = Plan(3, cases=160, target="planted_ends:Fickle", directory=planted / "kept", again=4)
        totals = Campaign(plan).run()
        drifted = [entry for entry in totals.troubles.values() if entry.trouble.kind == "drift"]
        assert [entry.trouble.message for entry in drifted] == ["a case makes another history in a fresh process"]
        assert drifted[0].path is not None
        assert "played again: " in drifted[0].trouble.details

    def test_a_process_that_ends_early_is_told_of(self) -> None:
        (case, *_) = fresh_ones(1, [BUILTIN])
        drift = Drift()
        drift.add((to_text(case).replace('"target": "builtin"', '"target": "os:abort"'),))
        (trouble,) = drift.rest()
        assert trouble.message == "a fresh process did not play 1 cases again"
        drift.stop()


class TestExchange:
    def test_workers_learn_of_each_other(self, tmp_path: Path) -> None:
        plan = Plan(1, seconds=60, fast=True, directory=tmp_path)
        one, other = Searcher(plan), Searcher(plan)
        chunk = fast(20)
        one.run(chunk)
        Exchange(plan, one).write(chunk)
        kept = len(one.corpora["lifecycle"].kept)
        assert len(list((tmp_path / "corpus" / "lifecycle").iterdir())) == kept > 5
        (tmp_path / "corpus" / "lifecycle" / "damaged.json").write_text("{")
        exchange = Exchange(plan, other)
        exchange.read(chunk)
        assert len(other.corpora["lifecycle"].unplayed) == kept
        other.run(fast(kept))
        assert other.corpora["lifecycle"].unplayed == []
        assert len(other.corpora["lifecycle"].kept) > kept / 2
        exchange.read(chunk)
        exchange.write(chunk)
        assert len(list((tmp_path / "corpus" / "lifecycle").iterdir())) == kept + 1

    def test_where_cases_are_counted_each_keeps_to_itself(self, tmp_path: Path) -> None:
        plan = Plan(1, cases=60, fast=True, directory=tmp_path)
        searcher = Searcher(plan)
        chunk = fast(20)
        searcher.run(chunk)
        exchange = Exchange(plan, searcher)
        exchange.write(chunk)
        exchange.read(chunk)
        assert not (tmp_path / "corpus").exists()


class TestRuns:
    def test_a_run_that_goes_on_repeats_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        arguments = ("fuzz", "--cases", "20", "--workers", "1", "--machine", "lifecycle", "--json", "out.json")
        assert called(capsys, *arguments, "--seed", "5")[0] == 0
        first = outcome(tmp_path / "out.json")
        status, told, _ = called(capsys, *arguments, "--resume")
        both = outcome(tmp_path / "out.json")
        runs = read_runs(tmp_path / ".lockstep")
        assert status == 0
        assert "with 1 earlier run:" in told
        assert both["seed"] == 5
        assert both["cases"] == 40
        assert sorted(run["chunks"]["0"] for run in runs.values()) == [1, 2]
        assert {run["moves"] for run in runs.values()} == {first["moves"], both["moves"] - first["moves"]}
        assert first["moves"] != both["moves"] - first["moves"]

    def test_merged_twice_is_counted_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        totals = Totals(Plan(7, directory=tmp_path / "a"), moves=11, lived=2.5)
        totals.cases_of["lifecycle"] = 3
        totals.reach_of["lifecycle"] = Counter({"x": 2})
        (case, *_) = fresh_ones(1, [BUILTIN])
        totals.add_failure(case, ("run a",), 4)
        for folder, name in (("a", "one"), ("b", "one"), ("b", "two")):
            write_run(totals, tmp_path / folder, name)
        save(case, tmp_path / "b" / "corpus" / "lifecycle")
        told = ""
        for folders in (("a", "b"), ("b", "a"), ("all", "b")):
            status, told, _ = called(
                capsys, "merge", *(tmp_path / folder for folder in folders), "--into", tmp_path / "all"
            )
            assert status == 0
        assert told.startswith("0 runs, 0 cases and 0 of the corpus are new in ")
        assert len(list((tmp_path / "all" / "corpus" / "lifecycle").iterdir())) == 1
        merged = Totals(Plan(7, directory=tmp_path / "all"))
        add_up(merged, read_runs(tmp_path / "all").values())
        assert (merged.moves, merged.lived, merged.cases, merged.hits) == (22, 5.0, 6, 8)
        assert merged.reach["x"] == 4
        assert len(merged.failures) == 1

    def test_the_run_that_came_farther_stays(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for folder, moves in (("a", 5), ("b", 9), ("c", 7)):
            write_run(Totals(Plan(7), moves=moves), tmp_path / folder, "one")
        called(capsys, "merge", *(tmp_path / folder for folder in "abc"), "--into", tmp_path / "all")
        assert [run["moves"] for run in read_runs(tmp_path / "all").values()] == [9]

    @pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}'])
    def test_what_is_no_run_is_bad_input(self, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "searches").mkdir()
        (tmp_path / "searches" / "x.json").write_text(text)
        status, _, told = called(capsys, "fuzz", "--resume", "--dir", tmp_path)
        assert status == 2
        assert "x.json" in told
        assert called(capsys, "merge", tmp_path / "nowhere", "--into", tmp_path)[0] == 2

    def test_a_run_is_written_while_it_lasts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = Keeper(tmp_path)
        keeper.look(Totals(Plan(7)))
        assert read_runs(tmp_path) == {}
        assert last_seed(tmp_path) is None
        monkeypatch.setattr(runs, "_EVERY", 0.0)
        keeper.look(Totals(Plan(7), moves=3))
        keeper.look(Totals(Plan(7), moves=4))
        assert [run["moves"] for run in read_runs(tmp_path).values()] == [4]
        assert last_seed(tmp_path) == 7
        (tmp_path / "searches").rename(tmp_path / "gone")
        (tmp_path / "searches").touch()
        with click.Context(click.Command("fuzz")), pytest.raises(click.UsageError, match="--dir"):
            keeper.write(Totals(Plan(7)))
