"""A campaign finds what is planted, counts it, and comes to its end whatever the engine under test does."""

import gc
import json
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis.errors import Unsatisfiable

from engine.definition import parse_workflow
from engine.errors import DefinitionError
from machines import campaign, searching
from machines.campaign import Campaign
from machines.case import Case, Line, carry_out, from_text, load, replay, to_text
from machines.fingerprint import kind_of
from machines.minimise import minimise
from machines.moves import Cancel, Elapse, Pause, Run
from machines.mutants import MUTANTS
from machines.own_workflow import OwnWorkflowError, machine_for, read_workflow, with_our_actions
from machines.registry import load_target
from machines.searching import LOOKED_INTO, Chunk, Plan, Report, Searcher, Trouble, derive, worth_a_look
from machines.targets.builtin import builtin
from machines.totals import Totals
from model.judge import Violation

DATA = Path(__file__).parent / "data"
LANE = "lifecycle", False

LITTLE = 20_000
"""Entries of history that are enough to make small what is found here."""

PLANTED = f"""
import os
from pathlib import Path

import machines.searching
from machines.targets.builtin import BuiltinTarget

machines.searching.BUDGET = {LITTLE}


class Liar(BuiltinTarget):
    async def cancel(self, execution):
        await super().cancel(execution)
        return True


class Crashing(BuiltinTarget):
    def report(self, execution):
        found = super().report(execution)
        if found["status"] == "PAUSED":
            raise KeyError("paused")
        return found


class Deadly(BuiltinTarget):
    async def pause(self, execution):
        os.write(2, b"farewell")
        os._exit(3)


class Endless(BuiltinTarget):
    async def pause(self, execution):
        Path("reached").touch()
        while True:
            pass


def stillborn():
    if os.environ.get("LOCKSTEP_TEST_PARENT") != str(os.getpid()):
        os.abort()
    return BuiltinTarget()
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines with planted bugs, to be had as targets by name."""
    (tmp_path / "planted_bugs.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "planted_bugs", raising=False)
    monkeypatch.setattr(searching, "BUDGET", LITTLE)  # it is another process' too, of which the module takes care
    return tmp_path


def chunk(number: int = 0, examples: int = 40, *, swarm: bool = True) -> Chunk:
    return Chunk("lifecycle", derive(1, 0, number, "lifecycle"), examples, swarm)


# A searcher


def test_every_chunk_has_a_seed_of_its_own() -> None:
    seeds = {derive(7, worker, number, name) for worker in range(4) for number in range(9) for name in ("a", "b")}
    assert len(seeds) == 72
    assert derive(7, 0, 0, "lifecycle") == derive(7, 0, 0, "lifecycle") != derive(8, 0, 0, "lifecycle")


@pytest.mark.parametrize("swarm", [True, False])
def test_the_same_chunk_makes_the_same_cases(*, swarm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Searcher(Plan(1)).run(chunk(examples=10, swarm=swarm))
    monkeypatch.setenv("CI", "true")
    second = Searcher(Plan(1)).run(chunk(examples=10, swarm=swarm))
    assert first.cases >= 10
    assert replace(first, cpu_seconds=0) == replace(second, cpu_seconds=0)
    assert Searcher(Plan(1)).run(chunk(5, examples=10, swarm=swarm)).reach != first.reach


@pytest.mark.parametrize("fast", [False, True])
def test_a_searcher_goes_when_its_search_is_over(*, fast: bool) -> None:
    """Though Hypothesis keeps every class that it has made."""
    searcher = Searcher(Plan(1, fast=True))
    assert searcher.run(replace(chunk(examples=3), fast=fast)).cases >= 3
    left = weakref.ref(searcher)
    del searcher
    gc.collect()
    assert left() is None


def test_a_chunk_says_whether_there_is_a_swarm() -> None:
    searcher = Searcher(Plan(1))
    assert [searcher._machine("lifecycle", swarm=swarm).swarm for swarm in (True, False)] == [True, False]
    assert searcher._machine("lifecycle", swarm=True) is searcher._machine("lifecycle", swarm=True)


@pytest.mark.unmeasured
def test_a_planted_bug_is_found_minimised_and_replayed(planted: Path) -> None:
    searcher = Searcher(Plan(1, target="planted_bugs:Liar"))
    report = searcher.run(chunk())
    assert report.trouble is None
    assert report.found is not None
    case = from_text(report.found)
    assert case.target == "planted_bugs:Liar"
    assert len(case.lines) == len(report.program) <= 3
    outcome = replay(case, load_target(case.target))
    assert (outcome.status, outcome.digest) == (1, case.digest)
    assert replay(case, builtin).status == 0


@pytest.mark.unmeasured
def test_what_is_well_known_is_only_counted(planted: Path) -> None:
    searcher = Searcher(Plan(1, target="planted_bugs:Liar"))
    first = searcher.run(chunk())
    assert first.found is not None
    assert first.kind is not None
    assert first.kind[:2] == (from_text(first.found).clause, from_text(first.found).invariant)
    searcher._came[first.kind] = LOOKED_INTO
    again = searcher.run(chunk())
    assert (again.found, again.kind) == (None, first.kind)
    searcher._came[first.kind] = 2 * LOOKED_INTO - 1
    assert searcher.run(chunk()).found is not None


def test_an_exception_in_a_case_is_an_error_of_the_harness(planted: Path) -> None:
    searcher = Searcher(Plan(1, target="planted_bugs:Crashing"))
    report = searcher.run(chunk())
    assert report.found is None
    assert report.trouble is not None
    assert report.trouble.kind == "harness error"
    assert report.trouble.message == "KeyError: 'paused'"
    assert "Traceback" in report.trouble.details
    assert report.trouble.details.startswith("1. run ")
    assert report.trouble.case is not None
    assert len(from_text(report.trouble.case).lines) <= 2
    searcher._came["harness", "KeyError", ""] = LOOKED_INTO
    again = searcher.run(chunk()).trouble
    assert again is not None
    assert again.case is None


def test_what_hypothesis_raises_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsatisfiable() -> None:
        raise Unsatisfiable

    monkeypatch.setattr(searching, "get_state_machine_test", lambda *_, **__: unsatisfiable)
    report = Searcher(Plan(1)).run(chunk())
    assert report.trouble is not None
    assert (report.trouble.kind, report.cases) == ("hypothesis", 0)


def test_a_violation_that_does_not_come_back_is_an_error(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "minimise", lambda case, _, **__: replace(case, lines=case.lines[:1]))
    report = Searcher(Plan(1, target="planted_bugs:Liar")).run(chunk())
    assert report.trouble is not None
    assert "not again when the case was replayed" in report.trouble.message
    assert report.trouble.case is not None


def test_a_chunk_is_as_long_as_the_time_allows() -> None:
    searcher = Searcher(Plan(1))
    assert searcher.pace(1.5, 3, 250, None, LANE) == 3
    searcher.run(chunk(examples=10))
    assert 3 <= searcher.pace(1.5, 3, 250, None, LANE) <= 250
    assert searcher.pace(1e9, 3, 250, None, LANE) == 250
    assert searcher.pace(1.5, 3, 250, time.monotonic() - 1, LANE) == 0


# What is counted


def found(*moves: Any, digest: str = "d1", clause: str = "F4") -> Report:
    case = Case(tuple(map(Line, moves)), clause, "newest_first", "so it was", digest)
    program = tuple(str(move) for move in moves)
    return Report("lifecycle", 3, 9, 0.5, {"x": 2}, to_text(case), program, (clause, "newest_first", digest))


def test_one_bug_is_one_failure(tmp_path: Path) -> None:
    totals = Totals(Plan(1, directory=tmp_path))
    long = found(Run({"id": "w", "steps": []}, {"a": 1}), Cancel("x2"), digest="long")
    for report in (
        long,
        found(Run({"id": "w"}), Cancel("x1"), digest="short"),
        long,
        found(Run({"id": "w"}), Pause("x")),
        replace(long, found=None),
    ):
        totals.add(report)
    assert [(failure.case.digest, failure.count) for failure in totals.failures.values()] == [("short", 4), ("d1", 1)]
    assert (totals.cases, totals.moves, totals.hits, totals.reach["x"]) == (15, 45, 5, 10)
    names = sorted(path.name for path in (tmp_path / "cases").iterdir())
    assert names == ["F4-newest_first-d1.json", "F4-newest_first-short.json"]
    for failure in totals.failures.values():
        assert failure.path is not None
        assert load(failure.path) == failure.case


def hunted(target: str, chunks: int, directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Totals, int]:
    """What comes of so many chunks of one search, and how many cases were made small."""
    monkeypatch.setattr(searching, "BUDGET", LITTLE)
    searcher, totals, small = Searcher(Plan(1, target=target)), Totals(Plan(1, directory=directory)), 0

    def minimised(*arguments: Any, **options: Any) -> Case:
        nonlocal small
        small += 1
        return minimise(*arguments, **options)

    monkeypatch.setattr(searching, "minimise", minimised)
    for number in range(chunks):
        totals.add(searcher.run(chunk(number)))
    return totals, small


@pytest.mark.unmeasured
def test_a_bug_that_comes_again_and_again_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "LOOKED_INTO", 2)
    totals, small = hunted("machines.mutants:cancelled_twice", 8, tmp_path, monkeypatch)
    assert totals.troubles == {}
    assert {key[0] for key in totals.failures} == {"K1"}
    assert len(totals.failures) == 1
    assert totals.hits > 2
    assert small <= len(totals.fingerprints) * (2 + totals.hits.bit_length())


def test_looks_become_rare() -> None:
    looked = [times for times in range(1, 1001) if worth_a_look(times)]
    assert looked == [1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512]


@pytest.mark.unmeasured
def test_two_bugs_of_one_clause_stay_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One accepts a cancel twice, the other one denies a cancel under a pause: K1 is what both break."""
    one, other = MUTANTS["cancelled_twice"], MUTANTS["cancel_under_a_pause_is_denied"]
    assert one.clause == other.clause
    module = ModuleType("twins")
    module.both = replace(one, edits=(*one.edits, *other.edits)).plant()  # type: ignore[attr-defined]  # a module has what it is given
    monkeypatch.setitem(sys.modules, "twins", module)
    totals, _ = hunted("twins:both", 12, tmp_path, monkeypatch)
    assert totals.troubles == {}
    small = [failure.case for failure in totals.failures.values() if failure.case.clause == one.clause]
    for bug in (one, other):
        alone = [carry_out(case.lines, bug.plant(), case.max_concurrent_steps).verdict for case in small]
        assert any(verdict is not None for verdict in alone), bug.name
        assert not all(verdict is not None for verdict in alone), bug.name


def test_a_kind_is_a_sentence_without_what_it_says_it_of() -> None:
    violation = Violation("F1", "one_call", "step 'a' attempt 1 of x1 began a second time, [1, {}] of it", 3)
    assert kind_of(violation) == ("F1", "one_call", "step attempt of began second time,")


def test_trouble_is_told_once(tmp_path: Path) -> None:
    totals = Totals(Plan(1, directory=tmp_path))
    for number in range(3):
        totals.add(Report("lifecycle", 1, 1, 0.1, {}, trouble=Trouble("hypothesis", f"after {number} tries")))
    totals.add(Report("lifecycle", 1, 1, 0.1, {}, kind=("F4", "newest_first", "")))
    assert [entry.count for entry in totals.troubles.values()] == [3, 1]


def test_a_case_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "cases").touch()
    totals = Totals(Plan(1, directory=tmp_path))
    totals.add(found(Elapse()))
    (failure,) = totals.failures.values()
    assert failure.path is None
    assert [kind for kind, _ in totals.troubles] == ["case file"]


# A campaign


@pytest.mark.unmeasured
def test_a_sound_engine_gives_no_failure(tmp_path: Path) -> None:
    seen: list[int] = []
    plan = Plan(3, cases=40, workers=2, directory=tmp_path, lifetime=1)
    totals = Campaign(plan, lambda totals: seen.append(totals.cases)).run()
    assert totals.troubles == {}
    assert totals.failures == {}
    assert totals.cases >= 40
    assert totals.reach["an execution started"] > 20
    assert seen == sorted(seen)
    assert not totals.interrupted


@pytest.mark.unmeasured
def test_a_campaign_goes_on_after_a_failure(planted: Path) -> None:
    totals = Campaign(Plan(3, cases=40, target="planted_bugs:Liar", directory=planted / "kept", lifetime=2)).run()
    assert totals.troubles == {}
    assert totals.hits > 1
    assert totals.cases >= 40
    for failure in totals.failures.values():
        assert failure.path is not None
        assert replay(load(failure.path), load_target("planted_bugs:Liar")).status == 1


def test_a_campaign_ends_in_time(tmp_path: Path) -> None:
    totals = Campaign(Plan(3, seconds=2.5, directory=tmp_path)).run()
    assert totals.troubles == {}  # nobody had to be ended
    assert totals.wall_seconds >= 2.5


def test_a_worker_that_dies_is_told_of(planted: Path) -> None:
    totals = Campaign(Plan(3, cases=60, target="planted_bugs:Deadly", directory=planted)).run()
    ((kind, message), *_), (entry, *_) = list(totals.troubles), list(totals.troubles.values())
    assert (kind, message) == ("worker", "worker # ended of itself with exit status #")
    assert entry.count == 3
    assert "farewell" in entry.trouble.details


def test_a_worker_that_hangs_is_ended_and_says_where(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "GRACE", 0.5)

    def watch(totals: Totals) -> None:
        totals.interrupted = (planted / "reached").exists()

    totals = Campaign(Plan(3, target="planted_bugs:Endless", directory=planted), watch).run()
    (entry,) = totals.troubles.values()
    assert entry.trouble.message == "worker 0 did not end its chunk in time and was ended"
    assert "planted_bugs.py" in entry.trouble.details
    assert "in pause" in entry.trouble.details


def test_workers_that_die_at_birth_end_the_campaign(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no other end."""
    monkeypatch.setenv("LOCKSTEP_TEST_PARENT", str(__import__("os").getpid()))
    totals = Campaign(Plan(3, workers=1, target="planted_bugs:stillborn", directory=planted)).run()
    (entry,) = totals.troubles.values()
    assert entry.trouble.message == "worker 0 was ended by SIGABRT"
    assert entry.count == 3


def test_a_silent_worker_is_replaced(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "SILENCE", 1.5)
    totals = Campaign(Plan(3, cases=60, target="planted_bugs:Endless", directory=planted)).run()
    (entry,) = totals.troubles.values()
    assert entry.count == 3


# A workflow of one's own

OWN: dict[str, Any] = {
    "id": "own",
    "steps": [
        {"id": "fetch", "action": "http_get", "parameters": {"url": "${input.site.url}"}, "timeout": 30},
        {
            "id": "count",
            "action": "sql",
            "depends_on": [{"source": "fetch", "condition": "fetch.rows > 0"}],
            "parameters": {"rows": "${fetch.rows}"},
            "compensation": {"action": "drop", "parameters": {"what": "${count.n}"}},
        },
    ],
}
OWN_GRAPH: dict[str, Any] = {
    "id": "own",
    "nodes": [{"id": "a", "config": {"action": "one"}}, {"id": "b", "config": {"action": "two"}}],
    "connections": [{"source": "a", "target": "b"}],
}


def test_a_workflow_keeps_all_but_its_actions() -> None:
    ours = with_our_actions(OWN)
    assert [step["action"] for step in ours["steps"]] == ["work", "work"]
    assert ours["steps"][1]["compensation"] == {"action": "undo", "parameters": {"what": "${count.n}"}}
    assert ours["steps"][0]["timeout"] == 30
    assert OWN["steps"][0]["action"] == "http_get"
    assert [node["config"] for node in with_our_actions(OWN_GRAPH)["nodes"]] == [{"action": "work"}] * 2


def test_wfformat_becomes_steps() -> None:
    path = DATA / "wfformat-diamond.json"
    ours = read_workflow(path)
    before, after = parse_workflow(json.loads(path.read_text(encoding="utf-8"))), parse_workflow(ours)
    assert [step.id for step in after.steps] == [step.id for step in before.steps]
    assert after.incoming == before.incoming
    assert {step["action"] for step in ours["steps"]} == {"work"}


def test_the_engine_refuses_a_bad_workflow_first(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError):
        with_our_actions({"id": "w", "steps": [{"id": "a", "action": "x", "depends_on": ["a"]}]})
    for text, message in {
        '{"id": "w", "steps": [{"id": "a"}]}': "action",
        "[]": "definition",
        "{": "not JSON.*line 1",
        "[" * 100_000: "not JSON that can be read",
    }.items():
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(OwnWorkflowError, match=message):
            read_workflow(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_bytes(b"\xff")
    with pytest.raises(OwnWorkflowError, match="not UTF-8"):
        read_workflow(tmp_path / "bad.json")
    with pytest.raises(OwnWorkflowError, match="No such file"):
        read_workflow(tmp_path / "nowhere.json")


def wide(count: int) -> dict[str, Any]:
    steps = [{"id": f"s{rank}", "action": "x", "depends_on": ["s0"] if rank else []} for rank in range(count)]
    return {"id": "wide", "steps": steps}


@pytest.mark.unmeasured
@pytest.mark.parametrize("workflow", [OWN, OWN_GRAPH, wide(120)], ids=["steps", "graph", "wide"])
def test_cases_run_that_workflow_and_no_other(workflow: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = with_our_actions(workflow)
    ran: list[Any] = []
    note = Searcher._note

    def noted(self: Searcher, machine: Any) -> None:
        ran.extend(played.move.workflow for played in machine.world.moves if isinstance(played.move, Run))
        note(self, machine)

    monkeypatch.setattr(Searcher, "_note", noted)
    report = Searcher(Plan(1, workflow=ours)).run(chunk(examples=12))
    assert report.trouble is None
    assert report.found is None
    assert ran
    assert all(each == ours for each in ran)
    assert report.reach["step RUNNING -> COMPLETED"] > 2
    assert "execution RUNNING -> COMPLETED" in report.reach


def test_references_find_what_they_ask_for() -> None:
    supply = machine_for(with_our_actions(OWN)).supply
    assert supply["input"] == {"site": {"url": 1}}
    assert supply["fetch"] == {"n": 1, "rows": 1}
    odd = {**wide(2), "name": "s0.a.b s0.a s0.a.b.c", "max_concurrent_steps": 1}
    assert machine_for(with_our_actions(odd)).supply["s0"]["a"] == {"b": 1}


def test_a_signal_asks_first_and_then_insists(tmp_path: Path) -> None:
    running = Campaign(Plan(1, cases=1, directory=tmp_path))
    running._caught(2, None)
    assert running.totals.interrupted
    with pytest.raises(KeyboardInterrupt):
        running._caught(2, None)
    assert running.run().interrupted
