"""J1: a state is what its events make of it, and a report is what a caller may know of a state."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from engine.messages import AttemptReturned, Begin, Cancel, ExecutionCreated, ExecutionEnded, Expire, Pause, Resume
from engine.state import State, Status, StepStatus, apply, fold, merge
from engine.values import fresh
from machines.strategies import INPUTS, WORKFLOWS, Drawn
from tests.core import Core, commands, values
from tests.histories import step, workflow

UNDO = {"action": "undo"}


# Folding


@given(drawn=WORKFLOWS, given=INPUTS, choices=st.lists(st.integers(0, 1000), min_size=5, max_size=40))
def test_folding_the_journal_gives_what_the_commands_have_left(
    drawn: Drawn, given: dict[str, Any], choices: list[int]
) -> None:
    core = Core(drawn.definition, given).begin()
    for choice in choices:
        found = commands(core)
        core.do(found[choice % len(found)])
        core.now += choice % 3
    target(float(len(core.events)))
    assert values(core.refold()) == values(core.state)
    assert core.state.seq == 1 + len(core.events)


@given(drawn=WORKFLOWS, given=INPUTS, choices=st.lists(st.integers(0, 1000), max_size=40))
def test_what_ends_has_nothing_left_to_do(drawn: Drawn, given: dict[str, Any], choices: list[int]) -> None:
    core = Core(drawn.definition, given).begin()
    for choice in choices:
        found = commands(core)[: -3 if choice % 7 else None]
        core.do(found[choice % len(found)])
        core.now += choice % 3
    state = core.state
    if state.terminal:
        assert (state.running, state.timed_out, state.retrying, state.open, state.missing) == ({}, {}, {}, {}, {})
        assert all(core.refused(command) for command in commands(core))
        settled = {"COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATED", "COMPENSATION_FAILED"}
        assert set(core.statuses.values()) <= settled
    assert set(state.running) == {i for i, s in enumerate(state.statuses) if s is StepStatus.RUNNING} | {
        i for i, s in enumerate(state.statuses) if s is StepStatus.COMPENSATING and i not in state.retrying
    }


def test_applying_shares_nothing_of_the_workflow_and_changes_no_input() -> None:
    given_input = {"a": {"b": 1}}
    core = Core(workflow(step("a", parameters={"x": "${input.a}"})), given_input).begin()
    core.told(Pause())
    core.told(Resume({"a": {"c": 2}}))
    assert given_input == {"a": {"b": 1}}
    assert core.state.inputs == [{"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}]


def test_an_execution_is_created_once() -> None:
    core = Core(workflow(step("a")))
    with pytest.raises(AssertionError, match="ExecutionCreated"):
        apply(core.state, core.created)


def test_a_fold_of_nothing_is_pending() -> None:
    core = Core(workflow(step("a"), step("b", "a")))
    state = fold(core.workflow, ExecutionCreated(0.0, {}, {}), ())
    assert (state.status, state.seq, state.undecided) == (Status.PENDING, 1, [0, 1])


def test_connections_are_counted_once_for_each_source() -> None:
    twice = {"source": "a", "condition": "a.n > 0"}
    core = Core(workflow(step("a"), step("b", twice, {"source": "a", "condition": "a.n < 9"}))).begin()
    assert core.state.undecided == [0, 1]
    core.complete("a")
    assert core.state.undecided == [0, 0]


# What follows from the status


@pytest.mark.parametrize("retries", [{}, {"max_attempts": 2}])
def test_a_step_that_waits_is_cancelled_once_its_execution_is_stopped(retries: dict[str, int]) -> None:
    core = Core(workflow(step("a"), step("b", retries=retries), step("c", "b"), step("d"))).begin().run("a", "b", "d")
    core.told(core.raised("b")) if retries else core.told(core.returned("d"))
    assert core.statuses["c"] == "PENDING"
    core.told(Cancel())
    assert core.statuses["a"] == "RUNNING", "it still runs"
    assert core.statuses["c"] == "CANCELLED"
    assert core.statuses["b"] == ("CANCELLED" if retries else "RUNNING")
    assert core.statuses["d"] == ("RUNNING" if retries else "COMPLETED")


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("kept", list(StepStatus))
def test_cancelled_is_derived_from_the_execution_alone(status: Status, kept: StepStatus) -> None:
    state = State(Core(workflow(step("a"))).workflow, {})
    state.status, state.statuses[0] = status, kept
    stopped = status in (Status.CANCELLING, Status.ROLLING_BACK, Status.FAILED, Status.CANCELLED)
    waits = kept in (StepStatus.PENDING, StepStatus.RETRYING)
    assert state.step_status(0) is (StepStatus.CANCELLED if stopped and waits else kept)


@pytest.mark.parametrize(
    ("status", "active", "stopping", "terminal"),
    [
        ("PENDING", False, False, False),
        ("RUNNING", True, False, False),
        ("PAUSED", True, False, False),
        ("CANCELLING", False, True, False),
        ("ROLLING_BACK", False, True, False),
        ("COMPLETED", False, False, True),
        ("PARTIAL", False, False, True),
        ("FAILED", False, False, True),
        ("CANCELLED", False, False, True),
    ],
)
def test_what_a_status_allows(status: str, *, active: bool, stopping: bool, terminal: bool) -> None:
    state = Core(workflow(step("a"))).state
    state.status = Status(status)
    assert (state.active, state.stopping, state.terminal) == (active, stopping, terminal)


# The input that a step sees


def test_a_step_keeps_the_input_of_its_first_attempt() -> None:
    policies = {"parameters": {"x": "${input.a}"}, "retries": {"max_attempts": 3, "initial_interval": 0}}
    core = Core(workflow(step("early", **policies), step("late", **policies)), {"a": 1}).begin().run("early")
    core.told(Pause())
    core.told(core.raised("early"))
    core.told(Resume({"a": 2}))
    core.run("early", "late")
    early, late = core.workflow.index["early"], core.workflow.index["late"]
    assert core.state.scope(early)["input"] == {"a": 1}
    assert core.state.scope(late)["input"] == {"a": 2}
    assert core.state.scope()["input"] == {"a": 2}


def test_a_step_that_has_not_started_sees_the_newest_input() -> None:
    core = Core(workflow(step("a")), {"a": 1}).begin()
    core.told(Pause())
    core.told(Resume({"a": 2}))
    assert core.state.scope(0)["input"] == {"a": 2}


def test_a_resume_that_brings_nothing_makes_no_new_input() -> None:
    core = Core(workflow(step("a")), {"a": 1}).begin()
    for resume in (Resume(None), Resume({})):
        core.told(Pause())
        core.told(resume)
    assert core.state.inputs == [{"a": 1}]


# Merging

json_values = st.recursive(
    st.none() | st.integers(0, 3) | st.text(max_size=1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


def merged(old: Any, new: Any) -> Any:
    """P2, word by word."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: merged(old[key], new[key]) if key in old and key in new else (old | new)[key] for key in old | new}
    return new


@given(json_values, json_values)
def test_merging_goes_key_by_key_at_every_depth(old: Any, new: Any) -> None:
    kept_old, kept_new = deepcopy(old), deepcopy(new)
    assert merge(old, new) == merged(old, new)
    assert (old, new) == (kept_old, kept_new), "neither is changed"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": None}}}, {"a": {"b": {"c": 1, "d": None}}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {}, {"a": 1}),
        ([1], {"a": 1}, {"a": 1}),
        ({"a": 1}, 2, 2),
    ],
)
def test_how_new_inputs_are_merged(old: Any, new: Any, expected: Any) -> None:
    assert merge(old, new) == expected


def test_merging_knows_no_depth_that_is_too_deep() -> None:
    old: dict[str, Any] = {"end": 1}
    new: dict[str, Any] = {"other": 2}
    for _ in range(5000):
        old, new = {"a": old}, {"a": new}
    found = merge(old, new)
    for _ in range(5000):
        found = found["a"]
    assert found == {"end": 1, "other": 2}


# Reports


def test_a_report_says_where_everything_stands() -> None:
    core = Core(workflow(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))).begin()
    core.complete("a", output=[1, None])
    core.run("b")
    assert core.report == {
        "status": "RUNNING",
        "seq": 5,
        "missing": {},
        "error": None,
        "steps": {
            "a": {"status": "COMPLETED", "attempts": 1, "output": [1, None]},
            "b": {"status": "RUNNING", "attempts": 1},
            "c": {"status": "PENDING", "attempts": 0},
            "d": {"status": "PENDING", "attempts": 0},
        },
    }


def test_an_output_of_null_is_an_output() -> None:
    core = Core(workflow(step("a"))).begin().run("a")
    core.told(AttemptReturned(0, None))
    assert core.report["steps"]["a"] == {"status": "COMPLETED", "attempts": 1, "output": None}


def test_a_report_names_what_a_pause_misses_and_only_then() -> None:
    core = Core(workflow(step("a", parameters={"x": "${input.x}", "y": ["${input.y.z}"]}))).begin()
    assert core.report["status"] == "PAUSED"
    assert core.report["missing"] == {"a": ["input.x", "input.y.z"]}
    core.told(Cancel())
    assert core.report["missing"] == {}


def test_a_failure_is_its_steps_error_and_the_executions() -> None:
    core = Core(workflow(step("a"))).begin()
    core.fail("a")
    error = {"step": "a", "attempt": 1, "type": "RuntimeError", "message": "no"}
    assert core.report["status"] == "FAILED"
    assert core.report["error"] == error
    assert core.report["steps"]["a"] == {"status": "FAILED", "attempts": 1, "error": error}


def test_a_tolerated_failure_is_its_steps_error_and_not_the_executions() -> None:
    core = Core(workflow(step("a", continue_on_error=True))).begin()
    core.fail("a")
    assert (core.report["status"], core.report["error"]) == ("PARTIAL", None)
    assert core.report["steps"]["a"]["error"]["message"] == "no"


def test_a_deadline_is_an_error_without_a_step() -> None:
    core = Core(workflow(step("a"), timeout=2)).begin()
    core.told(Expire())
    message = "execution 'w' took longer than 2 seconds"
    assert core.report["error"] == {
        "step": None,
        "attempt": None,
        "type": "ExecutionTimeoutError",
        "message": message,
    }


def undone(**policies: Any) -> Core:
    """Steps a and b are completed, and cancelled with a rollback."""
    steps = [step("a", compensation=UNDO), step("b", "a", compensation=UNDO), step("c", "b")]
    core = Core(workflow(*steps, **policies)).begin()
    core.complete("a", "b")
    return core


def test_the_output_of_a_compensated_step_is_hidden() -> None:
    core = undone(rollback_on_cancel=True)
    core.told(Cancel())
    core.complete("b")
    assert "output" not in core.report["steps"]["b"]
    assert core.report["steps"]["a"] == {"status": "COMPLETED", "attempts": 1, "output": {"n": 1}}
    core.run("a")
    assert core.report["steps"]["a"]["output"] == {"n": 1}, "it is not undone yet"


def test_compensations_that_failed_are_listed_beside_the_first_failure() -> None:
    core = undone()
    core.fail("c")
    core.fail("b")
    core.complete("a")
    failed = {"step": "b", "attempt": 1, "type": "RuntimeError", "message": "no"}
    assert core.report["status"] == "FAILED"
    assert core.report["error"] == {**failed, "step": "c", "compensations": [failed]}
    assert core.report["steps"]["b"] == {
        "status": "COMPENSATION_FAILED",
        "attempts": 1,
        "output": {"n": 1},
        "error": failed,
    }


def test_compensations_that_failed_after_a_cancel_are_an_error_of_their_own() -> None:
    core = undone(rollback_on_cancel=True)
    core.told(Cancel())
    core.fail("b")
    core.fail("a")
    failed = [{"step": name, "attempt": 1, "type": "RuntimeError", "message": "no"} for name in "ba"]
    assert core.report["status"] == "CANCELLED"
    assert core.report["error"] == {
        "step": None,
        "attempt": None,
        "type": "CompensationError",
        "message": "compensations failed: b, a",
        "compensations": failed,
    }


def test_a_report_is_json_of_its_own_to_the_second_level() -> None:
    core = Core(workflow(step("a"))).begin()
    core.complete("a")
    before = fresh(core.report)
    core.report["steps"]["a"]["status"] = "FAILED"
    assert core.report == before


def test_the_end_is_the_last_event() -> None:
    core = Core(workflow(step("a")))
    assert core.told(Begin()) == ["ExecutionStarted"]
    assert core.complete("a") == ["StepCompleted a 1", "ExecutionEnded COMPLETED"]
    assert core.events[-1] == ExecutionEnded(0.0, "COMPLETED")
