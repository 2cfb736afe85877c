"""What the mutation run changes, how a trial ends, and what its results come to."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from machines import examples, mutation, mutation_trial
from machines.case import load
from machines.mutants.planting import Edit
from machines.mutation_points import CORE, Altered, alter, points, sample, shard
from machines.mutation_trial import SUITES, Task, Verdict, trials
from machines.registry import MACHINES

SLOTS = "engine.slots"


def _altered(module: str, old: str, new: str) -> Altered:
    source = (Path(__file__).parent.parent / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert source.count(old) == 1
    return Altered("key", module, 1, f"- {old}\n+ {new}", source, source.replace(old, new))


def _verdict(suite: str, altered: Altered | None) -> Verdict:
    [(_, verdict)] = trials([Task(suite, altered)], 1)
    return verdict


# Points


def test_a_change_says_where_it_is_and_what_it_is() -> None:
    found = [each for point in points([SLOTS]) if (each := alter(point)) is not None]
    [change] = [each for each in found if "while self.free >= 0" in each.altered]
    assert change.change == "- while self.free > 0 and self._heads:\n+ while self.free >= 0 and self._heads:"
    assert change.source.splitlines()[change.line - 1].strip() == "while self.free > 0 and self._heads:"
    assert len({each.key for each in found}) == len({each.altered for each in found}) > 50


def test_a_texts_case_is_no_change() -> None:
    assert not [point for point in points([SLOTS]) if '"GRANT"' in point.tree.code_for_node(point.new)]
    assert [point for point in points([SLOTS]) if '"XXgrantXX"' in point.tree.code_for_node(point.new)]


def test_what_nothing_carries_out_is_not_changed() -> None:
    changes = [each.change for point in points(["engine.workflow"]) if (each := alter(point)) is not None]
    assert not [change for change in changes if "TypeAlias" in change or "__all__" in change]
    assert [change for change in changes if "max_attempts: int" in change]


def test_a_change_that_is_none_or_no_python_is_left_out() -> None:
    point = points([SLOTS])[0]
    same = replace(point, new=point.old)
    assert alter(same) is None
    found = points(["engine.workflow"])
    assert all(compile(each.altered, "x", "exec") for point in sample(found, 10, 1) if (each := alter(point)))


def test_the_shards_are_the_whole_and_a_sample_is_repeatable() -> None:
    found = points([SLOTS])
    parts = [shard(found, number, 3) for number in (1, 2, 3)]
    assert sorted(point.rank for part in parts for point in part) == [point.rank for point in found]
    ranks = [point.rank for point in sample(found, 7, 5)]
    assert ranks == [point.rank for point in sample(found, 7, 5)]
    assert len({*ranks}) == 7
    assert len(sample(found, 10_000, 0)) == len(found)


def test_the_core_is_there() -> None:
    assert all(find_spec(module) is not None for module in CORE)


# Trials


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machines' run, made short, and without anything that was kept."""
    monkeypatch.setattr(mutation_trial, "KEPT", (tmp_path,))
    monkeypatch.setattr(mutation_trial, "ROUNDS", (("lifecycle", 4), ("concurrency", 10)))


@pytest.mark.usefixtures("short")
def test_the_machines_pass_the_clean_engine() -> None:
    assert _verdict("machines", None).noticed is None
    assert mutation_trial.by_machines(None) is None


def test_what_was_kept_of_every_machine_is_played_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = {load(path).machine: path for folder in mutation_trial.KEPT for path in sorted(folder.glob("*.json"))}
    assert kept.keys() == MACHINES.keys()
    for path in kept.values():
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(mutation_trial, "KEPT", (tmp_path,))
    monkeypatch.setattr(mutation_trial, "ROUNDS", ())
    assert mutation_trial.by_machines(None) is None


@pytest.mark.usefixtures("short")
def test_a_broken_contract_is_said_with_its_clause() -> None:
    altered = _altered(SLOTS, "            self.free -= 1", "            pass")
    assert (mutation_trial.by_machines(altered) or "").startswith("lifecycle, ")
    assert " C1 (" in (mutation_trial.by_machines(altered) or "")


def test_the_example_tests_are_run_on_the_altered_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(examples, "noticed", lambda *said: asked.append(said))
    altered = _altered(SLOTS, "            self.free -= 1", "            pass")
    mutation_trial.by_examples(altered)
    mutation_trial.by_properties(None)
    assert asked == [
        ((Edit(SLOTS, altered.source, altered.altered),), "altered", (examples.EXAMPLES,)),
        ((), "altered", (examples.PROPERTIES,)),
    ]


def test_each_of_the_two_files_is_run_alone() -> None:
    altered = _altered(SLOTS, "            self.free -= 1", "            pass")
    by = {suite: (_verdict(suite, altered).noticed or "").partition(":")[0] for suite in ("examples", "properties")}
    places = examples._faults().places()
    assert [places[by["examples"]], places[by["properties"]]] == [examples.EXAMPLES, examples.PROPERTIES]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("            self.free -= 1", "            pass", "C1 ("),
        ("            waiting.pop()", "            pass", "no end"),
    ],
)
def test_the_machines_notice(old: str, new: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mutation_trial._CPU_SECONDS, "machines", 5)
    assert said in (_verdict("machines", _altered(SLOTS, old, new)).noticed or "")


def test_an_engine_that_cannot_be_imported_is_noticed() -> None:
    altered = _altered(SLOTS, "_FIRST: Final = -(2**62)", "_FIRST: Final = 1 / 0")
    assert "ZeroDivisionError" in (_verdict("machines", altered).noticed or "")


def test_what_was_kept_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [regression] = mutation_trial.KEPT[0].glob("N1-everything_notified-*.json")
    shutil.copy(regression, tmp_path)
    monkeypatch.setattr(mutation_trial, "KEPT", (tmp_path,))
    monkeypatch.setattr(mutation_trial, "ROUNDS", ())
    altered = _altered("engine.transitions", "if not state.unsettled:", "if state.unsettled:")
    assert _verdict("machines", None).noticed is None
    assert (_verdict("machines", altered).noticed or "").startswith(f"{regression.stem}: ")


@pytest.mark.unmeasured
def test_unit_tests_are_run_as_pytest_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation_trial, "UNITS", ("test_slots",))
    altered = _altered(SLOTS, "            self.free -= 1", "            pass")
    assert (_verdict("units", altered).noticed or "").startswith("tests/test_slots.py::")
    monkeypatch.setattr(mutation_trial, "UNITS", ("test_messages",))
    assert _verdict("units", altered).noticed is None


def test_a_process_that_says_nothing_did_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_: Altered | None) -> str | None:
        while True:
            pass

    monkeypatch.setitem(SUITES, "endless", endless)
    monkeypatch.setitem(mutation_trial._CPU_SECONDS, "endless", 1)
    assert _verdict("endless", None) == Verdict("no end", 1.0)


# The command


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Suites that look at nothing but the clean engine and a word of the change."""
    asked: list[str] = []

    def made(tasks: list[Task], _workers: int) -> Any:
        for task in tasks:
            asked.append(f"{task.suite} {task.altered.key if task.altered else 'clean'}")
            notices = task.altered is not None and ("None" in task.altered.change or task.suite == "machines")
            yield task, Verdict("so it says" if notices else None, 0.5)

    monkeypatch.setattr(mutation, "trials", made)
    return asked


def _run(folder: Path, *arguments: str) -> tuple[int, str]:
    invoked = CliRunner().invoke(
        mutation.mutation, ["--dir", str(folder), "--module", SLOTS, *arguments], standalone_mode=False
    )
    if isinstance(invoked.exception, Exception):
        raise invoked.exception
    return invoked.return_value, invoked.output


def test_the_score_is_told_and_held_against_the_floors(tmp_path: Path, judged: list[str]) -> None:
    status, output = _run(tmp_path, "--sample", "20")
    assert status == mutation.KEPT
    assert "the clean engine passes the machines: 0.5 CPU-seconds" in output
    assert "kept: 90 % noticed by the machines: 100.0 %" in output
    assert "points above the examples" in output
    assert len(judged) == 63


def test_a_shard_goes_on_where_it_stopped(tmp_path: Path, judged: list[str]) -> None:
    status, output = _run(tmp_path, "--sample", "20", "--suite", "machines")
    assert status == mutation.NOT_KEPT
    assert "\nkept: 90 % noticed by the machines: 100.0 %" in output
    assert "NOT KEPT: 10 points above the examples: no change was judged by both" in output
    before = len(judged)
    assert _run(tmp_path, "--sample", "20")[0] == mutation.KEPT
    assert [word.split()[0] for word in judged[before:]] == [
        "machines",
        "examples",
        "properties",
        *["examples", "properties"] * 20,
    ]
    again = len(judged)
    assert _run(tmp_path, "--sample", "20")[0] == mutation.KEPT
    assert judged[again:] == []


@pytest.mark.usefixtures("judged")
def test_shards_are_merged_and_one_that_is_missing_is_told(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "--shard", "1/2", "--sample", "20")
    assert (status, "KEPT" in output) == (mutation.KEPT, False)
    status, output = _run(tmp_path, "--merge")
    assert status == mutation.NOT_KEPT
    assert "NOT KEPT: shard-2-of-2 is missing, or not at its end" in output
    _run(tmp_path, "--shard", "2/2", "--sample", "20")
    assert _run(tmp_path, "--merge")[0] == mutation.KEPT


def test_survivors_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "trials", lambda tasks, _: ((task, Verdict(None, 0.5)) for task in tasks))
    status, output = _run(tmp_path, "--sample", "3")
    assert status == mutation.NOT_KEPT
    assert output.count(f"survived: {SLOTS}:") == 3
    kept = json.loads((tmp_path / "shard-1-of-1.json").read_text(encoding="utf-8"))
    assert all(f"\n{each['change']}\n" in output for each in kept["mutants"])


def test_a_suite_that_the_clean_engine_does_not_pass_judges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutation, "trials", lambda tasks, _: ((task, Verdict("C1", 0.5)) for task in tasks))
    status, output = _run(tmp_path, "--sample", "3")
    assert status == mutation.UNUSABLE
    assert "the clean engine does not pass the machines: C1" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--shard", "3"),
        ("--shard", "0/2"),
        ("--shard", "3/2"),
        ("--shard", "a/b"),
        ("--workers", "0"),
        ("--workers", "x"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter, match=r"not '"):
        _run(tmp_path, *arguments)
