"""Planted bugs of the checkers: a model that owes too little, a world that does not look, a minimiser that cheats.

Rule 1: each is a text edit, like those of the engine; and each names tests of the suite that must fail for it.
Rule 2: the suite runs as it stands, in a process of its own, where the edit is made as the module is imported.
Rule 3: a test that cannot be collected or run notices nothing: it must fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from machines.mutants.planting import Edit

ROOT: Final = Path(__file__).parent.parent.parent
_STORIES: Final = "tests/test_model_invariants.py::test_a_bad_history_is_rejected_in_words_that_say_what_is_wrong"
_OWES: Final = "tests/test_world.py::test_what_a_target_owes_is_a_violation_with_a_sentence"


@dataclass(frozen=True, slots=True)
class Blindness:
    """A checker with one planted bug, and the tests that must notice."""

    name: str
    what: str
    edit: Edit
    noticed_by: tuple[str, ...]
    """Tests as pytest names them."""


BLINDNESSES: Final = (
    Blindness(
        "looks_at_the_first_only",
        "The invariant of the rollback's order looks at the first compensation only.",
        Edit(
            "model.invariants.rollback",
            '    if event["step"] != expected:\n',
            '    if event["step"] != expected and not execution.rolled_back:\n',
        ),
        (f"{_STORIES}[a_step_is_compensated_twice]",),
    ),
    Blindness(
        "one_more_is_no_harm",
        "The invariant of the limits lets one action more run than a workflow allows.",
        Edit(
            "model.execution",
            "len(self.live) + self.unbegun >= limit",
            "len(self.live) + self.unbegun > limit",
        ),
        (f"{_STORIES}[a_start_is_recorded_beyond_the_workflows_limit]",),
    ),
    Blindness(
        "rests_with_the_oldest",
        "At rest, the judge asks what is owed of the oldest execution alone.",
        Edit(
            "model.judge",
            "for execution in self.facts.unfinished.values():",
            "for execution in list(self.facts.unfinished.values())[:1]:",
        ),
        ("tests/test_model_invariants.py::test_at_rest_every_execution_is_looked_at",),
    ),
    Blindness(
        "late_effects_are_not_owed",
        "The model does not owe a compensation to a step that completes while its execution stops.",
        Edit(
            "model.folds",
            "    if progress.step.compensation is not None:\n        execution.compensable.append(name)",
            "    if progress.step.compensation is not None and execution.phase is Phase.RUNNING:\n"
            "        execution.compensable.append(name)",
        ),
        (
            "tests/test_model_races.py::test_an_action_that_swallows_its_cancellation_is_compensated",
            "tests/test_catalogue.py::test_a_witness_shows_its_bug[late_effect_is_not_undone]",
        ),
    ),
    Blindness(
        "recovered_and_forgiven",
        "The model goes on owing nothing of an execution that was recovered.",
        Edit(
            "model.crashes",
            "    execution.adrift = None\n    execution.unclear = False\n",
            "    execution.unclear = False\n",
        ),
        (
            f"{_STORIES}[a_timeout_is_forgotten_in_a_crash]",
            f"{_STORIES}[a_second_recovery_takes_up_again]",
        ),
    ),
    Blindness(
        "judges_on",
        "The judge goes on after a violation, and the last one counts.",
        Edit("model.judge", "        if self.violations:\n            return []\n", ""),
        ("tests/test_model_invariants.py::test_after_a_violation_nothing_is_judged",),
    ),
    Blindness(
        "digest_without_the_end",
        "The digest of a history leaves out the last entry.",
        Edit(
            "model.history",
            "    for entry in history:\n        text.update(json",
            "    for entry in list(history)[:-1]:\n        text.update(json",
        ),
        ("tests/test_model_history.py::test_equal_histories_have_one_digest_and_others_have_others",),
    ),
    Blindness(
        "reports_are_not_fed",
        "The world does not hold reports against the journal until an execution is over.",
        Edit(
            "machines.world",
            "            self._note(Reported(now, execution, report))\n",
            '            if report["status"] in _TERMINAL:\n'
            "                self._note(Reported(now, execution, report))\n",
        ),
        ("tests/test_world.py::test_what_is_recorded_by_a_move_is_reported_after_it",),
    ),
    Blindness(
        "leftovers_are_not_fed",
        "The world does not tell the judge which tasks are left when all is over.",
        Edit("machines.world", "Closed(self.loop.time(), tasks, tuple(", "Closed(self.loop.time(), (), tuple("),
        (f"{_OWES}[Leaking-O4-tasks are still alive: housekeeping]",),
    ),
    Blindness(
        "nothing_is_late",
        "What a tape says of latencies is not done.",
        Edit("machines.tape", "        return seconds\n", "        return 0.0\n"),
        (
            "tests/test_world.py::test_there_is_no_rest_while_something_is_on_its_way",
            "tests/test_catalogue.py::test_a_witness_shows_its_bug[last_call_unanswered]",
        ),
    ),
    Blindness(
        "once_is_enough",
        "A goal of the reach counts as met as soon as one case has met it.",
        Edit(
            "machines.reach",
            "if counts.get(name, 0) < (needed := max(int(share * cases), 1))",
            "if counts.get(name, 0) < min(needed := max(int(share * cases), 1), 1)",
        ),
        ("tests/test_reach.py::test_what_was_missed_is_a_sentence",),
    ),
    Blindness(
        "any_clause_will_do",
        "The minimiser takes a smaller case that violates anything for the same violation.",
        Edit(
            "machines.minimise",
            "        return verdict == self.goal\n",
            "        return verdict is not None\n",
        ),
        ("tests/test_case.py::test_a_program_that_breaks_another_clause_is_no_smaller_one",),
    ),
    Blindness(
        "any_end_is_as_recorded",
        "A replay that is violated in another way counts as violated as recorded.",
        Edit(
            "machines.case",
            "    return course.verdict == (case.clause, case.invariant)",
            "    return course.verdict is not None",
        ),
        ("tests/test_case.py::test_a_replay_says_how_it_went",),
    ),
    Blindness(
        "any_word_is_a_catch",
        "The canary takes whatever is said first for what had to be said.",
        Edit(
            "machines.mutants.hunt",
            "return bool(violations) and violations[0].clause == mutant.clause and _among(mutant, violations)",
            "return bool(violations)",
        ),
        ("tests/test_canary.py::TestTheHunt::test_what_others_say_is_no_catch",),
    ),
)


def at_hand() -> bool:
    """Whether the suite is there: an installed package has none."""
    return (ROOT / "tests" / "blinding.py").exists()


def notice(blindnesses: Sequence[Blindness]) -> dict[str, dict[str, list[str]]]:
    """Run the named tests with each of the bugs: by bug, which have passed and which have failed."""
    asked = [[each.name, each.edit.module, each.edit.old, each.edit.new, list(each.noticed_by)] for each in blindnesses]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "blinding.py")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=plain,
    )
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return found
