"""Everything that can happen to a small workflow: each shape once, each course once, and nothing that matters cut."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from machines import exhaustive
from machines.case import load, replay
from machines.choices import Row, Scope
from machines.exhaustive import Course, Explorer, Tally
from machines.levels import made_small
from machines.moves import tell
from machines.mutants import MUTANTS, target_name
from machines.shapes import POLICIES, Plan, Shape, plans, reaches, shapes
from machines.targets.builtin import BuiltinTarget, builtin
from machines.targets.naive import naive
from machines.world import World
from model.history import Recorded
from tests.command_line import called

BY_NAME = {policies.name: policies for policies in POLICIES}
APART: Shape = ((), ())
ONE_LATE = Scope()
PUNCTUAL = Scope(late=0)


# Shapes


def graph(shape: Shape) -> Any:
    found: Any = nx.DiGraph()
    found.add_nodes_from(range(len(shape)))
    found.add_edges_from((source, target) for target, sources in enumerate(shape) for source in sources)
    return found


@pytest.mark.parametrize(("steps", "count"), [(1, 1), (2, 2), (3, 6), (4, 31)])
def test_shapes_are_all_there_and_each_once(steps: int, count: int) -> None:
    """The counts are those of https://oeis.org/A003087."""
    found = [graph(shape) for shape in shapes(steps)]
    assert len(found) == count
    assert all(map(nx.is_directed_acyclic_graph, found))
    assert not any(nx.is_isomorphic(one, other) for one, other in combinations(found, 2))


def test_what_a_step_reaches() -> None:
    for shape in shapes(4):
        expected = [{step, *nx.descendants(graph(shape), step)} for step in range(4)]
        assert list(reaches(shape)) == expected


def test_each_workflow_is_there_once() -> None:
    found = [str(plan) for plan in plans(3)]
    assert len(found) == len(set(found)) == 6 * 3 * len(POLICIES)
    assert "a; b after a; c after a+b (undone, slots 2)" in found


# Courses


def explored(plan: Plan, scope: Scope = ONE_LATE, *, uncut: bool = False) -> tuple[Tally, list[tuple[Row, str]]]:
    """What comes of a workflow, and each course with what came of it."""
    seen: list[tuple[Row, str]] = []
    explorer = Explorer(plan, builtin, scope, uncut=uncut, watch=lambda course: seen.append((course.row, fate(course))))
    tally = explorer.explore()
    assert tally.violations == 0, tally.smallest
    assert len(seen) == tally.courses == tally.kinds.total()
    return tally, seen


def fate(course: Course) -> str:
    """What was recorded of each step, and of the execution, without the times."""
    found = defaultdict(list)
    for entry in course.world.history:
        if isinstance(entry, Recorded):
            event = {key: value for key, value in entry.event.items() if key not in {"at", "until"}}
            found[event.get("step", "")].append(event)
    return json.dumps(found, sort_keys=True)


def test_the_courses_of_one_step_are_counted() -> None:
    """For each policy: nothing; a cancel before its end (a stubborn one then ends in two ways), or after; and so on."""
    total = Tally()
    for plan in plans(1):
        total.add(explored(plan, PUNCTUAL)[0])
    assert total.kinds == {(): 7, ("fail",): 9, ("pause",): 21, ("cancel",): 15, ("timeout",): 8, ("crash",): 72}
    assert total.cut == 0


@pytest.mark.unmeasured
def test_the_courses_of_two_steps_are_counted() -> None:
    """So many as the documents say, the same in every process and on every day."""
    total = Tally()
    for plan in plans(2):
        total.add(explored(plan)[0])
    assert (total.courses, total.moves, total.left) == (2109, 10796, 0)


def test_every_place_and_every_order() -> None:
    """A cancel of two steps that run at once: before either ends, between them, and at the end."""
    _, seen = explored(Plan(APART, BY_NAME["undone"], 2), Scope(("cancel",), late=0))
    courses = [[tell(choice.move).removeprefix("x1/")[:1] for choice in path[1:]] for path, _ in seen]
    assert sorted(courses) == sorted(
        [
            *(["a", "b"], ["b", "a"]),
            *(["c"], ["a", "c", "a"], ["b", "c", "b"]),
            *(["a", "b", "c"], ["b", "a", "c"]),
        ]
    )


def test_a_crash_comes_around_every_commit() -> None:
    _, seen = explored(Plan(((),), BY_NAME["undone"], 1), Scope(("crash",), late=0))
    crashes = [choice.crash or "now" for path, _ in seen for choice in path if "crash" in choice.kinds]
    at_start = [*product(("before", "after"), (1, 2))]
    assert Counter(crashes) == Counter([*at_start, "now", ("before", 1), ("after", 1), "now"])


def test_where_time_goes_on_without_an_engine_it_may_take_long_to_recover() -> None:
    _, seen = explored(Plan(((),), BY_NAME["bare"], 1), Scope(("crash",), late=0))
    away = Counter(choice.away for path, _ in seen for choice in path if "crash" in choice.kinds)
    assert away[True] == away[False] > 0


def test_a_late_write_is_overtaken() -> None:
    """The end of a is recorded when b has ended, too, though not yet told."""
    _, seen = explored(Plan(APART, BY_NAME["tolerated"], 2), Scope(("late",)))
    late = [path for path, _ in seen if path[-1].late or path[-2].late]
    assert [[choice.late for choice in path] for path in late] == [[0, 1, 0], [0, 1, 0]]


def test_troubles_are_each_of_another_kind() -> None:
    tally, _ = explored(Plan(((),), BY_NAME["undone"], 1), Scope(troubles=2, late=0))
    pairs = {frozenset(kinds) for kinds in tally.kinds if len(kinds) == 2}
    every = set(map(frozenset, combinations(("fail", "pause", "cancel", "timeout", "crash"), 2)))
    assert pairs == every - {frozenset({"fail", "timeout"})}  # the one ends it before the other could
    assert max(map(len, tally.kinds)) == 2


def test_without_troubles_there_is_only_the_order() -> None:
    tally, _ = explored(Plan(((), (), ()), BY_NAME["undone"], 3), Scope(troubles=0, late=0))
    assert tally.kinds == {(): 1}
    tally, _ = explored(Plan(((), (), ()), BY_NAME["undone"], 3), Scope(troubles=0, late=0), uncut=True)
    assert tally.kinds == {(): 6}


# What is cut


def apart_or_not(plan: Plan, scope: Scope) -> Callable[[Row, int], bool]:
    """Says of a course whether two of its choices that follow each other commute, where the first of them comes."""
    explorer, known = Explorer(plan, builtin, scope), dict[str, bool]()

    def calm(path: Row) -> bool:
        if repr(path) not in known:
            course = Course(World(builtin, max_concurrent_steps=plan.slots))
            for choice in path:
                course.take(choice)
            known[repr(path)] = explorer.calm(course)
            course.world.close()
        return known[repr(path)]

    return lambda path, place: explorer.apart(*path[place : place + 2]) and calm(path[:place])


UNCUT = [
    *((plan, PUNCTUAL) for plan in plans(2)),
    *((Plan(APART, policies, 2), ONE_LATE) for policies in POLICIES),
    *((Plan(shape, BY_NAME[name], 3), PUNCTUAL) for shape in shapes(3) for name in ("bare", "tolerated")),
]


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("plan", "scope"), UNCUT, ids=lambda value: value if isinstance(value, Plan) else str(value.late)
)
def test_what_is_cut_is_like_what_is_played(plan: Plan, scope: Scope) -> None:
    """All courses, sorted into classes by what commutes: one of each is played, and the others come out the same."""
    commute = apart_or_not(plan, scope)
    every = {repr(path): (path, fate) for path, fate in explored(plan, scope, uncut=True)[1]}
    alike: nx.Graph[str] = nx.Graph()
    alike.add_nodes_from(every)
    for name, (path, _) in every.items():
        for place in range(1, len(path) - 1):
            if commute(path, place):
                other = (*path[:place], *reversed(path[place : place + 2]), *path[place + 2 :])
                assert every[repr(other)][1] == every[name][1]
                alike.add_edge(name, repr(other))
    chosen = [repr(path) for path, _ in explored(plan, scope)[1]]
    assert len(chosen) == nx.number_connected_components(alike)
    assert all(len(found.intersection(chosen)) == 1 for found in nx.connected_components(alike))


def test_something_is_cut() -> None:
    """Of the 24 orders of four steps that have nothing to do with each other one is enough."""
    plan = Plan(((), (), (), ()), BY_NAME["tolerated"], 4)
    assert explored(plan, Scope((), late=0), uncut=True)[0].courses == 24
    assert explored(plan, Scope((), late=0))[0].courses == 1


# Planted bugs

PLANTED = [
    ("joined_by_the_first", "chosen", 3, 0, 2),
    ("skipped_is_done", "agreed", 3, 0, 2),
    ("tolerated_is_not_taken", "tolerated", 2, 0, 2),
    ("launched_after_the_cancel", "bare", 1, 1, 2),
    ("completion_lost_under_a_pause", "bare", 1, 0, 2),
    ("key_of_another_life", "bare", 1, 0, 2),
]
"""Bugs, under which policies they are found at which size, whether it takes a late write, and the moves of the case."""


@pytest.mark.unmeasured
@pytest.mark.parametrize(("bug", "policies", "steps", "late", "moves"), PLANTED)
def test_a_planted_bug_is_found_where_it_is_smallest(
    bug: str, policies: str, steps: int, late: int, moves: int, tmp_path: Path
) -> None:
    mutant = MUTANTS[bug]
    every = ((size, plan) for size in range(1, steps + 1) for plan in plans(size, (policies,)))
    tallies = ((size, Explorer(plan, mutant.plant(), Scope(late=late)).explore()) for size, plan in every)
    size, tally = next((size, tally) for size, tally in tallies if tally.violations)
    assert size == steps
    assert tally.smallest is not None
    found = made_small(tally.smallest, target_name(mutant), tmp_path)
    assert len(found.program) <= moves
    case = load(found.path)
    assert (replay(case).status, replay(case, builtin).status) == (1, 0)


class Broken(BuiltinTarget):
    """Cannot be paused: it raises what no caller expects."""

    def report(self, execution: str) -> Any:
        found = super().report(execution)
        if found["status"] == "PAUSED":
            raise NotImplementedError
        return found


def test_what_an_engine_may_not_raise_is_told(tmp_path: Path) -> None:
    tally = Explorer(Plan(((),), BY_NAME["bare"], 1), Broken, PUNCTUAL).explore()
    assert tally.violations > 0
    assert tally.smallest is not None
    assert (tally.smallest.clause, tally.smallest.invariant) == ("harness", "NotImplementedError")


def test_enough_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "ENOUGH", 1)
    tally = Explorer(Plan(APART, BY_NAME["bare"], 2), Broken, PUNCTUAL).explore()
    assert tally.violations == 1
    assert tally.left > 0


def test_a_course_without_an_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "LONGEST", 2)
    tally = Explorer(Plan(((), (0,)), BY_NAME["bare"], 1), builtin, Scope((), late=0)).explore()
    assert tally.smallest is not None
    assert tally.smallest.sentence == "after 2 choices there is still something to come"


def test_an_engine_that_nobody_of_the_model_has_seen_keeps_the_contract() -> None:
    total = Tally()
    for plan in plans(1):
        total.add(Explorer(plan, naive, ONE_LATE).explore())
    assert (total.smallest, total.violations) == (None, 0)
    assert total.courses == 298


# The command


@pytest.mark.unmeasured
def test_the_command_says_that_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        given = ("--steps", 2, "--troubles", 1, "--policies", "bare", "--policies", "undone", "--workers", workers)
        status, told, _ = called(capsys, "explore", *map(str, given), "--dir", tmp_path, "--json", out)
        assert status == 0
        assert "2 steps (1 trouble): 2 shapes, 8 workflows, " in told
        assert "\nnone is left, and the contract holds: " in told
        reports.append(json.loads(out.read_text()))
    assert reports[0] == reports[1]
    assert [level["courses"] for level in reports[0]["levels"]] == [67, 271]
    assert reports[0]["smallest"] is None


@pytest.mark.unmeasured
def test_the_command_stops_at_the_smallest_violation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    given = ("--steps", "3", "--policies", "tolerated", "--troubles", "1", "--punctual", "--workers", "1")
    target = "machines.mutants:tolerated_is_not_taken"
    status, told, said = called(capsys, "explore", *given, "--target", target, "--dir", tmp_path, "--json", out)
    assert status == 1
    assert f"against {target}" in said
    assert "the contract is violated at 2 steps, and nothing larger was played" in told
    assert "\nO2 (skipped_for_a_reason): " in told
    assert "its join is satisfied\n  1. run " in told
    report = json.loads(out.read_text())
    assert len(report["levels"]) == 2
    assert f"lockstep replay {report['smallest']['path']}" in told
    assert replay(load(Path(report["smallest"]["path"]))).status == 1


def test_what_a_target_does_not_claim_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain_engine.py").write_text(
        "from machines.targets.builtin import BuiltinTarget\n"
        "class Plain(BuiltinTarget):\n"
        "    capabilities = frozenset(['subscribe', 'compensation'])\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    status, told, said = called(
        capsys, "explore", "--steps", "1", "--punctual", "--workers", "1", "--target", "plain_engine:Plain"
    )
    assert status == 0, said
    assert "(bare, undone, stubborn, tolerated) against plain_engine:Plain; left out" in said
    assert "pause, cancel, recovery, retries, timeouts, conditions" in said
    assert "courses with nothing 4, fail 4\n" in told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--steps", "0"], "0 is not in the range 1<=x<=6"),
        (["--steps", "many"], "'many' is not a valid integer"),
        (["--troubles", "9"], "9 is not in the range 0<=x<=5"),
        (["--workers", "none"], "--workers: must be all, or a sensible number of processes, not 'none'"),
        (["--policies", "bare", "--policies", "odd"], "--policies: there are no policies odd; there are bare, undone,"),
        (["--target", "nowhere:engine"], "--target: there is no module nowhere"),
        (["--json", "/"], "--json /: is a directory"),
        (["--dir", "/dev/null"], "--dir: /dev/null: Not a directory"),
    ],
)
def test_bad_input_is_one_line(
    given: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, told, said = called(capsys, "explore", *given)
    assert (status, told) == (2, "")
    assert message in said
    assert len(said.splitlines()) == 1


def test_policies_that_need_what_a_target_does_not_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(BuiltinTarget, "capabilities", frozenset({"pause"}))
    status, _, said = called(capsys, "explore", "--policies", "retried")
    assert status == 2
    assert "--policies: the target does not claim what retried needs" in said
