"""How strong the harness is, is measured rightly: trials, their statistics, the curves, and the command."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from machines import bugs, chance, curve, examples, score, strength, trials
from machines.case import HOLDS, VIOLATED, carry_out, from_text, replay
from machines.cli import lockstep
from machines.mutants import CLASSES, MUTANTS, Edit
from machines.mutants.planting import ADAPTER
from machines.registry import MACHINES, load_target
from machines.score import Score, Shrunk, Trial
from machines.tape import PLAIN
from model.judge import Violation

ROOT = Path(__file__).parent.parent

SAMPLE = (
    "any_step_may_be_named",
    "begun_before_it_is_durable",
    "cancelled_twice",
    "falsy_is_not_completed",
    "joined_by_the_first",
    "last_come_first_served",
    "late_subscriber_waits",
    "launched_after_the_cancel",
    "listeners_are_left_behind",
    "null_is_no_output",
    "one_failed_compensation_is_none",
    "paused_is_not_driven",
    "paused_twice",
    "refused_output_tried_again",
    "rollback_gives_up",
    "step_timeout_for_its_compensation",
    "told_again_after_a_break",
)
"""Of every class one or two, in crashes, in races and without."""
ENOUGH = 800
"""Cases within which a trial finds each of the sample, with room: most need fifty."""


@pytest.fixture(scope="module")
def tried() -> dict[str, Trial]:
    """The trials of the sample; each is made once."""
    return {}


def first_trial(name: str, tried: dict[str, Trial]) -> Trial:
    if name not in tried:
        tried[name] = trials.trial(name, "lockstep", 0, 0, cases=ENOUGH)
    return tried[name]


def planted(monkeypatch: pytest.MonkeyPatch, *edits: Edit) -> str:
    """A bug of our own, in the catalogue for the length of a test."""
    mutant = replace(MUTANTS["cancelled_twice"], name="ours", edits=edits)
    monkeypatch.setitem(MUTANTS, "ours", mutant)
    return mutant.name


NOTHING = Edit(ADAPTER, "def report(", "def report(")
"""A change that changes nothing."""


class TestATrial:
    def test_the_sample_is_of_every_class(self) -> None:
        assert {CLASSES[name] for name in SAMPLE} == set(CLASSES.values())

    @pytest.mark.parametrize("name", SAMPLE)
    @pytest.mark.unmeasured
    def test_finds_the_sample_by_a_case_in_which_the_bug_is_at_fault(self, name: str, tried: dict[str, Trial]) -> None:
        found = first_trial(name, tried)
        assert found.found, found.others
        assert found.cases <= ENOUGH
        assert found.case is not None
        case = from_text(found.case)
        assert (case.invariant, case.clause) == (found.invariant, found.clause)
        assert replay(case).status == VIOLATED
        assert replay(case, load_target(MUTANTS[name].clean)).status == HOLDS

    def test_is_the_same_again_and_another_with_another_number(self, tried: dict[str, Trial]) -> None:
        name = "refused_output_tried_again"
        first = first_trial(name, tried)
        again = trials.trial(name, "lockstep", 0, 0, cases=ENOUGH)
        assert replace(again, cpu_seconds=first.cpu_seconds) == first
        assert trials.trial(name, "lockstep", 1, 0, cases=ENOUGH).case != first.case

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("harness", trials.HARNESSES)
    def test_every_harness_finds_what_is_easy(self, harness: str) -> None:
        found = trials.trial("late_completion", harness, 0, 0, cases=ENOUGH)
        assert found.harness == harness
        assert found.clause in {"F1", "F2"}  # it completes after its timeout, or fails for something else

    def test_the_obvious_machine_lets_nothing_be_late(self) -> None:
        found = trials.trial("late_completion", "obvious", 0, 0, cases=ENOUGH)
        assert found.case is not None
        assert {line.tape for line in from_text(found.case).lines} == {PLAIN}

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("harness", trials.HARNESSES)
    def test_finds_nothing_in_an_engine_without_a_bug(self, harness: str, monkeypatch: pytest.MonkeyPatch) -> None:
        found = trials.trial(planted(monkeypatch, NOTHING), harness, 0, 0, cases=60)
        assert (found.found, found.others, found.case) == (False, (), None)
        assert found.cases >= 60

    @pytest.mark.parametrize("harness", trials.HARNESSES)
    def test_an_exception_is_no_detection_and_is_told(self, harness: str, monkeypatch: pytest.MonkeyPatch) -> None:
        raising = Edit(ADAPTER, '"""Where the execution stands."""', "raise KeyError(execution)")
        found = trials.trial(planted(monkeypatch, raising), harness, 0, 0, cases=1)
        assert not found.found
        (other,) = found.others
        assert re.fullmatch(r"KeyError \(\d+\)", other)

    def test_what_the_clean_engine_breaks_too_is_no_detection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alarm = Violation("O1", "false", "not so", 0)
        monkeypatch.setattr("machines.trials.carry_out", lambda *given: replace(carry_out(*given), violation=alarm))
        found = trials.trial("late_completion", "lockstep", 0, 0, cases=30)
        assert not found.found
        (other,) = found.others
        assert re.fullmatch(r"the clean engine breaks O1 \(false\) too \(\d+\)", other)

    def test_a_detection_beyond_the_budget_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = iter([0.0, 1.0])
        monkeypatch.setattr("machines.trials.time.process_time", lambda: next(now, 100.0))
        found = trials.trial("late_completion", "random", 0, 0, cpu_seconds=60)
        assert (found.found, found.cpu_seconds) == (False, 60)

    @pytest.mark.unmeasured
    def test_what_is_found_is_made_small(self, tried: dict[str, Trial]) -> None:
        found = first_trial("cancelled_twice", tried)
        assert found.case is not None
        small = trials.shrink("cancelled_twice", found.case)
        assert (small.clause, small.invariant) == (found.clause, found.invariant)
        assert small.moves == len(small.program) <= 4
        assert small.deviations == sum("<~" in line for line in small.program)


class TestChance:
    @pytest.mark.parametrize("machine", MACHINES)
    def test_draws_for_every_rule_and_the_same_again(self, machine: str) -> None:
        state = MACHINES[machine].setup_state()
        strategies = [each for rule in (*state.initializers, *state.rules) for each in rule.arguments.values()]
        first = [chance.draw(each, Random(7)) for each in strategies]
        assert [chance.draw(each, Random(7)) for each in strategies] == first

    @pytest.mark.parametrize("machine", MACHINES)
    def test_drives_a_machine_and_the_same_again(self, machine: str) -> None:
        worlds = []
        for _ in range(2):
            driven = MACHINES[machine]()
            chance.drive(driven, Random(3), 20)
            assert driven.world is not None
            worlds.append(driven.world)
        assert len(worlds[0].moves) >= 15
        assert worlds[0].digest() == worlds[1].digest()

    def test_ends_a_case_in_which_nothing_can_be_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        driven = MACHINES["lifecycle"]()
        monkeypatch.setattr(driven, "valid_rules", list)
        chance.drive(driven, Random(3), 20)
        assert driven.world is not None
        assert len(driven.world.moves) == 1


# Statistics


def tries(*seconds: float | None, bug: str = "one", own: bool = True) -> tuple[Trial, ...]:
    """Trials that found the bug after so many seconds and ten times as many cases; None: not at all."""
    return tuple(
        Trial(bug, "lockstep", number, 600, 60.0)
        if each is None
        else Trial(bug, "lockstep", number, int(10 * each), each, "final", "K6", own=own)
        for number, each in enumerate(seconds)
    )


def scored(*seconds: float | None, bug: str = "one", bug_class: str = "order", **parts: Any) -> Score:
    return Score(bug, bug_class, tries(*seconds, bug=bug), **parts)


class TestTheScore:
    def test_a_bug_is_solved_when_every_trial_finds_it(self) -> None:
        found = scored(1.0, 4.0, 2.0)
        assert (found.solved, found.found, found.own, found.slowest) == (True, 3, 3, 4.0)
        assert found.solved_within(4.0)
        assert not found.solved_within(3.9)
        missed = scored(1.0, None, 2.0)
        assert (missed.solved, missed.found, missed.slowest) == (False, 2, math.inf)

    @pytest.mark.parametrize(
        ("seconds", "median", "cases"),
        [
            ((1.0, 4.0, 2.0), 2.0, 20),
            ((1.0, None, 2.0), 2.0, 20),
            ((1.0, None, None), None, None),
            ((1.0, None), None, None),
        ],
    )
    def test_medians_are_of_all_trials(
        self, seconds: tuple[float | None, ...], median: float | None, cases: float | None
    ) -> None:
        found = scored(*seconds)
        assert (found.median_seconds, found.median_cases) == (median, cases)

    def test_the_longer_search_counts_as_found_and_not_as_solved(self) -> None:
        late = tries(300.0)[0]
        found = scored(None, None, late=late)
        assert (found.ever, found.solved, found.invariant) == (late, False, "final")
        assert scored(None).ever is None
        assert scored(None).invariant == ""
        shrunk = Shrunk(1, 0, "O1", "in_order", "not so", ("run a",))
        assert scored(1.0, shrunk=shrunk).invariant == "in_order"

    def test_floors(self) -> None:
        twenty = [*(scored(1.0) for _ in range(16)), *(scored(30.0) for _ in range(3)), scored(61.0)]
        assert [floor.met for floor in score.floors(twenty, 100)] == [True, True, True]
        assert [floor.met for floor in score.floors([*twenty, scored(6.0, None)], 100)] == [False, False, True]
        assert [floor.met for floor in score.floors([scored(None)], 60)] == [False, False, False]
        assert [floor.met for floor in score.floors([scored(None, late=tries(601.0)[0])], 60)][-1] is False

    def test_a_small_budget_makes_a_floor_harder(self) -> None:
        kept = score.floors([scored(3.0)], 2.0)
        assert [floor.promise for floor in kept[:2]] == [
            "95% solved within 2 CPU-seconds",
            "80% solved within 2 CPU-seconds",
        ]
        assert not any(floor.met for floor in kept[:2])

    def test_a_curve_rises_with_each_detection_and_never_to_what_was_not_found(self) -> None:
        assert score.detected(tries(2.0, None, 1.0, 2.0)) == [(1.0, 0.25), (2.0, 0.5), (2.0, 0.75)]
        assert score.solved([scored(2.0, 3.0), scored(1.0, None)]) == [(3.0, 0.5)]

    def test_rows_sum_up(self) -> None:
        scores = [scored(1.0, 3.0, bug_class="b"), scored(None, 2.0, bug_class="a"), scored(4.0, 5.0, bug_class="b")]
        first, second = score.by_class(scores)
        assert (first.name, first.bugs, first.solved, first.ever, first.trials, first.found) == ("a", 1, 0, 1, 2, 1)
        assert (second.name, second.bugs, second.solved, second.median_seconds) == ("b", 2, 2, 3.5)
        assert [row.name for row in score.by_harness({"x": scores, "y": scores})] == ["x", "y"]


class TestThePicture:
    def test_is_a_picture_that_names_its_lines(self) -> None:
        curves = [curve.Curve("lockstep <trials>", [(0.001, 0.5), (4.0, 1.0)]), curve.Curve("none", [])]
        drawn = curve.svg(curves, 60)
        root = ET.fromstring(drawn)  # noqa: S314  # we made it
        texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert "lockstep <trials>: 100.0%" in texts
        assert "none: 0.0%" in texts
        assert {"0 %", "100 %", "0.1", "10", "CPU seconds", "floor: 95% solved", "floor: 80% solved"} <= set(texts)
        assert "prefers-color-scheme: dark" in drawn

    def test_a_floor_beyond_the_budget_is_not_shown(self) -> None:
        assert "floor" not in curve.svg([], 2)

    def test_lines_only_rise_and_stay_inside(self) -> None:
        drawn = curve.svg([curve.Curve("one", [(0.0001, 0.25), (0.5, 0.5), (60.0, 1.0)])], 60)
        (path,) = re.findall(r' d="(M60 [^"]*V[^"]*)"/>', drawn)[-1:]
        places = [float(each) for each in re.findall(r"H([\d.]+)", path)]
        heights = [float(each) for each in re.findall(r"V([\d.]+)", path)]
        assert places == sorted(places)
        assert heights == sorted(heights, reverse=True)
        assert (places[0], places[-1], heights[-1]) == (60, 740, 76)

    def test_a_page_needs_nothing_but_itself(self) -> None:
        table = curve.Table("Bugs", (("bug", "moves"), ("<a>", "3")), range(1, 2))
        text = curve.page("Title", curve.svg([], 60), ["a & b"], [table])
        assert "<td>&lt;a&gt;</td><td class=number>3</td>" in text
        assert "<li>a &amp; b</li>" in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "<script" not in text


class TestTheWords:
    @staticmethod
    def outcome(**noticed: str | None) -> strength.Outcome:
        names = ("cancelled_twice", "late_completion", "null_is_missing")
        ours = [
            scored(1.0, 2.0, bug=names[0], bug_class="commands", shrunk=Shrunk(3, 1, "K1", "final", "so", ("run a",))),
            scored(1.0, None, bug=names[1]),
            replace(scored(None, None, bug=names[2]), late=tries(300.0, bug=names[2])[0]),
        ]
        theirs = [scored(None, None, bug=name) for name in names]
        return strength.Outcome(tuple(MUTANTS[name] for name in names), {"lockstep": ours, "obvious": theirs}, noticed)

    def test_tables(self) -> None:
        found, classes, harnesses = strength.tables(self.outcome(cancelled_twice="test_a: so", late_completion=None))
        assert found.rows[1] == ("cancelled_twice", "commands", "yes", "2/2", "2/2", "15", "1.50", "3", "1", "final")
        assert found.rows[3][2:] == ("no", "0/2", "0/2", "-", "-", "-", "-", "final")
        assert [row[0] for row in classes.rows] == ["class", "commands", "order", "all"]
        assert [row[:4] for row in harnesses.rows[1:]] == [
            ("lockstep", "3", "1 (33.3%)", "2"),
            ("obvious", "3", "0 (0.0%)", "0"),
            ("examples", "2", "1", "1"),
        ]

    def test_one_harness_alone_is_compared_with_nobody(self) -> None:
        alone = self.outcome()
        del alone.scores["obvious"]
        assert [table.caption for table in strength.tables(alone)] == ["Bugs", "Classes"]

    def test_notes_name_what_was_not_found(self) -> None:
        outcome = self.outcome(cancelled_twice=None)
        broken = tuple(replace(each, others=("KeyError (2)",)) for each in tries(None))
        outcome.scores["lockstep"].append(Score("broken", "order", broken))
        said = "\n".join(strength.notes(outcome, score.floors(outcome.scores["lockstep"], 60), 60))
        assert "NOT KEPT: 95% solved within 60 CPU-seconds: 1 of 4, 25.0%" in said
        assert "not solved: late_completion, found by 1 of 2 trials" in said
        assert "found only by a longer search, after 300 CPU-seconds: null_is_missing" in said
        assert "never found: broken\n" in said
        assert "no detection, in trial 0 for one (lockstep): KeyError (2)" in said
        assert "never found 3: cancelled_twice, late_completion, null_is_missing" in said
        assert "silent on 1: cancelled_twice" in said

    def test_the_report_holds_every_trial_and_no_endless_number(self) -> None:
        outcome = self.outcome(cancelled_twice="test_a: so", late_completion=None, null_is_missing=None)
        made = strength.report(outcome, score.floors(outcome.scores["lockstep"], 60), {"seed": 1})
        read = json.loads(json.dumps(made, allow_nan=False))
        assert (read["seed"], len(read["floors"]), len(read["bugs"])) == (1, 3, 3)
        first, _, last = read["bugs"]
        assert first["noticed_by"] == "test_a: so"
        assert first["harnesses"]["lockstep"]["shrunk"]["moves"] == 3
        assert len(last["harnesses"]["obvious"]["trials"]) == 2
        assert last["harnesses"]["lockstep"]["late"]["cpu_seconds"] == 300

    def test_every_bug_has_a_class(self) -> None:
        assert all(map(strength.class_of, MUTANTS.values()))


class TestTheExamples:
    def test_notice_what_they_are_about(self) -> None:
        said = examples.notice("late_completion")
        assert said is not None
        assert said.startswith("test_")

    @pytest.mark.unmeasured
    def test_notice_a_test_that_never_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def endless(*_: object) -> None:
            signal.raise_signal(signal.SIGALRM)

        faults: Any = examples._faults()
        monkeypatch.setattr(faults.Trial, "notices", endless)
        assert (examples.notice("late_completion") or "").endswith(": no end")

    def test_notice_nothing_in_an_engine_that_they_do_not_use(self) -> None:
        assert examples.notice("unknown_is_denied") is None

    def test_what_is_noticed_once_only_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = iter(["late", None, "late"])
        faults: Any = examples._faults()
        monkeypatch.setattr(faults.Trial, "notices", lambda *_: next(said, None))
        assert examples.notice("late_completion") is None

    def test_are_silent_where_no_test_says_a_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        faults: Any = examples._faults()
        monkeypatch.setattr(faults.Trial, "notices", lambda *_: None)
        before = signal.getsignal(signal.SIGALRM)
        assert examples.notice("late_completion") is None
        assert signal.getsignal(signal.SIGALRM) is before


# The command


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "machines.cli", "bugs", *arguments]
    return subprocess.Popen(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def told(*arguments: str) -> Any:
    return CliRunner().invoke(lockstep, ["bugs", *arguments], standalone_mode=False)


class TestTheCommand:
    @pytest.mark.unmeasured
    def test_searches_tells_and_draws(self, tmp_path: Path) -> None:
        files = ["--json", "report.json", "--html", "page.html", "--svg", "curve.svg"]
        budget = ["--trials", "2", "--against", "obvious,random,examples", "--workers", "2"]
        with started(tmp_path, "--only", "late_completion", *files, *budget) as process:
            stdout, stderr = process.communicate()
        read = json.loads((tmp_path / "report.json").read_text())
        assert process.returncode == (0 if all(floor["met"] for floor in read["floors"]) else 1), stderr
        (bug,) = read["bugs"]
        assert [each["found"] for each in bug["harnesses"].values()] == [2, 2, 2]
        assert bug["harnesses"]["lockstep"]["shrunk"]["moves"] <= 6
        assert bug["noticed_by"].startswith("test_")
        assert stdout.splitlines()[0].split()[:3] == ["bug", "class", "solved"]
        assert stderr.splitlines()[-1].startswith("lockstep bugs: 3 of 3, ")
        assert (tmp_path / "curve.svg").read_text().rstrip() in (tmp_path / "page.html").read_text()

    def test_is_ended_by_an_interrupt_in_one_line(self, tmp_path: Path) -> None:
        """Whenever it comes: workers that still import are not struck by it."""
        with started(tmp_path, "--only", "late_completion", "--trials", "1000", "--workers", "2") as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while len(children.read_text().split()) < 3:  # its workers, and Python's tracker of them
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT)
            _, stderr = process.communicate()
        assert process.returncode == 130
        assert stderr.splitlines()[-1].endswith(": interrupted")
        assert "Traceback" not in stderr

    @pytest.mark.parametrize("kept", [True, False])
    def test_its_status_says_whether_the_floors_are_kept(
        self,
        kept: bool,  # noqa: FBT001  # pytest gives it by name
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        name = "cancelled_twice"
        found = scored(1.0 if kept else None, bug=name)
        outcome = strength.Outcome((MUTANTS[name],), {"lockstep": [found]})
        monkeypatch.setattr(bugs, "_search_all", lambda *_: outcome)
        done = told("--only", name, "--json", str(tmp_path / "out"))
        assert done.return_value == (0 if kept else 1)
        assert ("NOT KEPT" in done.output) is not kept

    def test_a_class_may_be_named(self) -> None:
        chosen = bugs._chosen(["order", "cancelled_twice"])
        assert MUTANTS["cancelled_twice"] in chosen
        assert {strength.class_of(mutant) for mutant in chosen} >= {"order"}
        assert len(bugs._chosen([])) == len(MUTANTS) > len(chosen) > 1

    def test_a_bug_that_nobody_finds_is_searched_for_once_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[bugs.Task] = []

        def each(_pool: object, work: Any, tasks: Any, _budget: float) -> Any:
            for task in tasks:
                if isinstance(task, bugs.Task):
                    asked.append(task)
                    yield Trial(task.bug, task.harness, task.number, 7, task.budget)
                else:
                    yield work(task)

        monkeypatch.setattr(bugs, "_each", each)
        search = bugs._Search(2, 1.0, 9.0, 0, 1)
        made = bugs._search_all([MUTANTS["cancelled_twice"]], ["obvious"], search)
        assert [(task.harness, task.number, task.budget) for task in asked] == [
            ("lockstep", 0, 1.0), ("lockstep", 1, 1.0), ("obvious", 0, 1.0), ("obvious", 1, 1.0), ("lockstep", 2, 9.0),
        ]  # fmt: skip
        (found,) = made.scores["lockstep"]
        assert found.late is not None
        assert found.ever is None

    def test_what_goes_wrong_in_a_worker_is_told(self) -> None:
        failed = bugs._try(bugs.Task("nobody", "lockstep", 0, 0, 1.0))
        assert (failed.found, failed.others) == (False, ("KeyError: 'nobody'",))
        assert bugs._shrink(("nobody", "")) == ("nobody", None)

    @pytest.mark.unmeasured
    def test_a_worker_does_what_it_is_asked(self, tried: dict[str, Trial]) -> None:
        name = "refused_output_tried_again"
        first = first_trial(name, tried)
        assert bugs._try(bugs.Task(name, "lockstep", 0, 0, 1e9)).case == first.case
        assert first.case is not None
        assert bugs._shrink((name, first.case))[1] == trials.shrink(name, first.case)
        assert bugs._notice("unknown_is_denied") == ("unknown_is_denied", None)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--only", "nobody"], "--only: there is no bug 'nobody', and no such class ("),
            (
                ["--against", "obvious,nobody"],
                f"--against: must be of {', '.join(strength.OTHERS)}, not 'nobody'",
            ),
            (["--workers", "many"], "--workers: must be all, or a sensible number of processes, not 'many'"),
            (["--trials", "0"], "0 is not in the range x>=1"),
            (["--budget-cpu-seconds", "nan!"], "'nan!' is not a valid float"),
            (["--svg", "/nowhere/x.svg"], "--svg /nowhere/x.svg: there is no such directory"),
            (["--html", "/"], "--html /: is a directory"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, arguments: list[str], message: str, tmp_path: Path) -> None:
        with started(tmp_path, *arguments) as process:
            _, stderr = process.communicate()
        assert process.returncode == 2
        assert message in stderr
        assert len(stderr.splitlines()) == 1

    def test_needs_a_clone_for_the_examples(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(examples, "_ROOT", tmp_path)
        done = told("--against", "examples")
        assert done.exit_code == 2 or done.return_value == 2
        assert "they are in a clone of the project" in done.output
