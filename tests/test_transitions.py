"""The core, clause by clause: what each command does in each status, and what follows from it in the same batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn, SupportsIndex

import pytest

from engine.definition import parse_workflow
from engine.messages import (
    Begin,
    Cancel,
    Command,
    CompensationRetrying,
    Expire,
    Failure,
    Pause,
    Resume,
    RollbackStarted,
    StartAttempt,
    StepFailed,
    StepRetrying,
    TakeUp,
)
from engine.state import State, Status
from engine.transitions import compensation_parameters, decide, parameters
from engine.workflow import Workflow
from tests.core import Core
from tests.histories import step, workflow

UNDO: Final = {"action": "undo"}
TWICE: Final = {"max_attempts": 2, "initial_interval": 1}
AT_ONCE: Final = {"max_attempts": 9, "initial_interval": 0}


# K1, P1, P2: which command is accepted in which status


def diamond() -> Core:
    """A tolerated failure is possible (b), a rollback is too (a)."""
    return Core(
        workflow(
            step("a", compensation=UNDO), step("b", "a", continue_on_error=True), step("c", "a"), step("d", "b", "c")
        )
    )


def begun() -> Core:
    core = diamond().begin()
    core.complete("a")
    return core.run("b", "c")


def paused() -> Core:
    core = begun()
    core.told(Pause())
    return core


def cancelling() -> Core:
    core = begun()
    core.told(Cancel())
    return core


def rolling_back() -> Core:
    core = begun()
    core.told(core.raised("c"))
    core.told(core.yielded("b"))
    return core


def completed() -> Core:
    core = begun()
    core.told(core.returned("b"))
    core.told(core.returned("c"))
    core.complete("d")
    return core


def partial() -> Core:
    core = begun()
    core.told(core.raised("b"))
    core.told(core.returned("c"))
    core.complete("d")
    return core


def failed() -> Core:
    core = rolling_back()
    core.complete("a")
    return core


def cancelled() -> Core:
    core = cancelling()
    core.told(core.yielded("b"))
    core.told(core.yielded("c"))
    return core


STANDING: Final[Mapping[Status, Callable[[], Core]]] = {
    Status.PENDING: diamond,
    Status.RUNNING: begun,
    Status.PAUSED: paused,
    Status.CANCELLING: cancelling,
    Status.ROLLING_BACK: rolling_back,
    Status.COMPLETED: completed,
    Status.PARTIAL: partial,
    Status.FAILED: failed,
    Status.CANCELLED: cancelled,
}
CONTROL: Final[Mapping[str, Command]] = {
    "Begin": Begin(),
    "TakeUp": TakeUp(),
    "Pause": Pause(),
    "Resume": Resume(None),
    "Cancel": Cancel(),
    "Expire": Expire(),
}
# All that is accepted, and the status after it; steps b and c run, where anything does.
ACCEPTED: Final[Mapping[tuple[Status, str], Status]] = {
    (Status.PENDING, "Begin"): Status.RUNNING,
    (Status.PENDING, "Cancel"): Status.CANCELLED,
    (Status.RUNNING, "TakeUp"): Status.RUNNING,
    (Status.RUNNING, "Pause"): Status.PAUSED,
    (Status.RUNNING, "Cancel"): Status.CANCELLING,
    (Status.RUNNING, "Expire"): Status.ROLLING_BACK,
    (Status.PAUSED, "Resume"): Status.RUNNING,
    (Status.PAUSED, "Cancel"): Status.CANCELLING,
    (Status.PAUSED, "Expire"): Status.ROLLING_BACK,
    (Status.CANCELLING, "TakeUp"): Status.CANCELLING,
    (Status.ROLLING_BACK, "TakeUp"): Status.ROLLING_BACK,
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("command", CONTROL)
def test_a_command_is_accepted_where_the_table_says_so(status: Status, command: str) -> None:
    core = STANDING[status]()
    assert core.state.status is status
    accepted = not core.refused(CONTROL[command])
    assert accepted == ((status, command) in ACCEPTED)
    assert core.state.status is ACCEPTED.get((status, command), status)


@pytest.mark.parametrize("status", list(Status))
def test_an_attempt_starts_where_it_may(status: Status) -> None:
    core = STANDING[status]()
    accepted = [step for step in core.workflow.index if not core.refused(core.start(step))]
    # Under way: b and c. The rest of a rollback: a's compensation.
    assert accepted == (["a"] if status is Status.ROLLING_BACK else [])


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED])
def test_an_attempt_times_out_once_and_only_while_it_runs(status: Status) -> None:
    core = STANDING[status]()
    assert core.refused(core.timed_out("a")), "it has ended"
    assert core.refused(core.timed_out("b", 2)), "it is another attempt that runs"
    assert core.told(core.timed_out("b")) == ["StepTimedOut b 1"]
    assert core.refused(core.timed_out("b"))


@pytest.mark.parametrize("status", [Status.CANCELLING, Status.COMPLETED, Status.CANCELLED, Status.FAILED])
def test_what_is_being_cancelled_does_not_time_out(status: Status) -> None:
    assert STANDING[status]().refused(diamond().timed_out("b"))


def test_a_cancel_is_accepted_exactly_once() -> None:
    core = begun()
    assert core.told(Cancel()) == ["CancellationRequested"]
    assert core.refused(Cancel())


# O1, O2: joins, skips and conditions


def test_roots_become_ready_in_the_order_of_definition() -> None:
    core = Core(workflow(step("c", "b"), step("b"), step("a"), step("z")))
    assert core.ready(Begin()) == ["b", "a", "z"]


def test_a_step_is_ready_when_the_last_of_its_sources_settles() -> None:
    core = Core(workflow(step("a"), step("b"), step("d", "a", "b"))).begin().run("a", "b")
    assert core.refused(core.start("d"))
    assert core.ready(core.returned("b")) == []
    assert core.ready(core.returned("a")) == ["d"]


def test_those_who_become_ready_together_do_so_in_the_order_of_definition() -> None:
    core = Core(workflow(step("z", "a"), step("y", "a"), step("x", "a"), step("a"))).begin().run("a")
    assert core.ready(core.returned("a")) == ["z", "y", "x"]


def test_skips_go_down_the_graph_in_one_batch() -> None:
    never = {"source": "a", "condition": "a.n > 1"}
    core = Core(workflow(step("a"), step("b", never), step("c", "b"), step("d", "c"), step("e", "a"))).begin().run("a")
    assert core.told(core.returned("a")) == ["StepCompleted a 1", "StepSkipped b", "StepSkipped c", "StepSkipped d"]
    assert core.statuses == {"a": "COMPLETED", "b": "SKIPPED", "c": "SKIPPED", "d": "SKIPPED", "e": "PENDING"}
    assert core.complete("e") == ["StepCompleted e 1", "ExecutionEnded COMPLETED"]


def test_a_skip_that_ends_everything_ends_it_in_the_same_batch() -> None:
    core = Core(workflow(step("a"), step("b", "a", condition="a.n == 2"))).begin()
    assert core.complete("a") == ["StepCompleted a 1", "StepSkipped b", "ExecutionEnded COMPLETED"]


@pytest.mark.parametrize(
    ("join", "taken", "runs"),
    [
        ("all", "bc", True),
        ("all", "b", False),
        ("all", "", False),
        ("any", "bc", True),
        ("any", "b", True),
        ("any", "c", True),
        ("any", "", False),
    ],
)
def test_a_join_wants_all_or_any(join: str, taken: str, *, runs: bool) -> None:
    sources = [{"source": name, "condition": f"{name}.n == 1"} for name in "bc"]
    core = Core(workflow(step("b"), step("c"), step("d", *sources, join=join))).begin().run("b", "c")
    told = [core.told(core.returned(name, {"n": 1 if name in taken else 0})) for name in "bc"]
    assert told[-1][-1] == ("StepCompleted c 1" if runs else "ExecutionEnded COMPLETED")
    assert core.statuses["d"] == ("PENDING" if runs else "SKIPPED")


def test_a_skipped_source_is_decided_and_not_taken() -> None:
    core = Core(workflow(step("a", condition="input.go"), step("b"), step("c", "a", "b", join="any")), {"go": False})
    assert core.told(Begin()) == ["ExecutionStarted", "StepSkipped a"]
    core.run("b")
    assert core.ready(core.returned("b")) == ["c"]


def test_conditions_are_looked_at_only_where_their_source_completed_or_was_tolerated() -> None:
    broken = {"source": "b", "condition": "b.nowhere == 1"}
    steps = [step("b", condition="false"), step("a"), step("c", broken, "a", join="any")]
    core = Core(workflow(*steps)).begin().run("a")
    assert core.ready(core.returned("a")) == ["c"]


def test_a_tolerated_failure_takes_its_connections() -> None:
    core = Core(workflow(step("a", continue_on_error=True), step("b", "a"))).begin().run("a")
    assert core.ready(core.raised("a")) == ["b"]
    assert core.complete("b") == ["StepCompleted b 1", "ExecutionEnded PARTIAL"]


def test_skips_are_decided_under_a_pause_and_may_end_it() -> None:
    core = Core(workflow(step("a"), step("b", "a", condition="a.n == 2"))).begin().run("a")
    core.told(Pause())
    assert core.told(core.returned("a")) == ["StepCompleted a 1", "StepSkipped b", "ExecutionEnded COMPLETED"]


def test_a_step_that_opens_under_a_pause_waits_for_the_resume() -> None:
    core = Core(workflow(step("a"), step("b", "a"))).begin().run("a")
    core.told(Pause())
    assert core.ready(core.returned("a")) == []
    assert core.refused(core.start("b"))
    assert core.ready(Resume(None)) == ["b"]


def test_a_roots_own_condition_is_decided_when_it_would_start() -> None:
    core = Core(workflow(step("a", condition="input.go == 1", parameters={"x": "${input.x}"})), {"go": 1}).begin()
    assert core.state.status is Status.PAUSED
    assert core.told(Resume({"go": 2})) == ["ExecutionResumed", "StepSkipped a", "ExecutionEnded COMPLETED"]


# V3-V5: what fails a step before it starts


@pytest.mark.parametrize(
    ("policies", "kind", "message"),
    [
        ({"parameters": {"x": "${a.m}"}}, "UnresolvedReferenceError", "step 'b' refers to a.m, which does not exist"),
        (
            {"parameters": {"x": "${input.i} ${a.m}"}},
            "UnresolvedReferenceError",
            "step 'b' refers to a.m, which does not exist",
        ),
        (
            {"parameters": {"x": "${a.n}"}, "input_schema": {"properties": {"x": {"type": "string"}}}},
            "ValidationError",
            "step 'b' is not valid: $.x: ",
        ),
        ({"condition": "a.m == 1"}, "ConditionError", "the condition of step 'b' cannot be evaluated: 'a.m == 1': "),
        ({"condition": "a.n"}, "ConditionError", "the condition of step 'b' cannot be evaluated: 'a.n': "),
    ],
)
def test_a_step_that_cannot_start_fails_at_attempt_0(policies: dict[str, Any], kind: str, message: str) -> None:
    core = Core(workflow(step("a"), step("b", "a", retries=TWICE, **policies), step("c", "b"))).begin()
    told = core.complete("a")
    assert told == ["StepCompleted a 1", "StepFailed b 0", "RollbackStarted", "ExecutionEnded FAILED"]
    failure = core.events[-3]
    assert isinstance(failure, StepFailed)
    assert (failure.error.step, failure.error.attempt, failure.error.type) == ("b", 0, kind)
    assert failure.error.message.startswith(message)
    assert core.state.error == failure.error


@pytest.mark.parametrize(
    "policies",
    [{"parameters": {"x": "${a.m}"}}, {"condition": "a.m == 1"}],
    ids=["reference", "condition"],
)
def test_a_step_that_cannot_start_may_be_tolerated(policies: dict[str, Any]) -> None:
    core = Core(workflow(step("a"), step("b", "a", continue_on_error=True, **policies), step("c", "b"))).begin()
    assert core.complete("a") == ["StepCompleted a 1", "StepFailed b 0"]
    assert core.complete("c") == ["StepCompleted c 1", "ExecutionEnded PARTIAL"]


def test_a_step_that_cannot_start_ends_the_wave() -> None:
    bad, good = step("b", "a", condition="a.m == 1"), step("c", "a")
    core = Core(workflow(step("a"), good, bad, step("d", "a", condition="a.n == 2"))).begin()
    told = core.complete("a")
    assert told == ["StepCompleted a 1", "StepFailed b 0", "RollbackStarted", "ExecutionEnded FAILED"]
    assert core.statuses == {"a": "COMPLETED", "b": "FAILED", "c": "CANCELLED", "d": "CANCELLED"}


@pytest.mark.parametrize(
    ("policies", "value", "fault"),
    [
        ({"output_schema": {"required": ["n"]}}, {}, "'n' is a required property"),
        ({}, {"n": {1, 2}}, "$.n: is a set, which JSON does not have"),
        ({}, float("nan"), "$: is nan, which JSON does not have"),
        ({}, (1,), "$: is a tuple, which JSON does not have"),
    ],
)
def test_an_output_that_is_not_valid_fails_the_step_and_is_not_retried(
    policies: dict[str, Any], value: object, fault: str
) -> None:
    core = Core(workflow(step("a", retries=TWICE, **policies))).begin().run("a")
    assert core.told(core.returned("a", value)) == ["StepFailed a 1", "RollbackStarted", "ExecutionEnded FAILED"]
    error = core.state.error
    assert error is not None
    assert error.type == "ValidationError"
    assert fault in error.message


# P4: missing inputs


def test_a_missing_input_pauses_and_names_all_that_is_missing_now() -> None:
    core = Core(
        workflow(
            step("a", parameters={"x": "${input.x}", "y": ["${input.y.z} ${input.x}"]}),
            step("b"),
            step("c", parameters={"x": "${input.z}"}),
        )
    )
    decision = core.do(Begin())
    assert [type(event).__name__ for event in decision.events] == ["ExecutionStarted", "ExecutionPaused"]
    assert decision.ready == []
    assert core.state.missing == {"a": ["input.x", "input.y.z"], "c": ["input.z"]}


def test_a_resume_that_does_not_bring_it_pauses_again() -> None:
    core = Core(workflow(step("a", parameters={"x": "${input.x}"}), step("b", parameters={"y": "${input.y}"}))).begin()
    assert core.told(Resume({"y": 1})) == ["ExecutionResumed", "ExecutionPaused"]
    assert core.state.missing == {"a": ["input.x"]}
    assert core.ready(Resume({"x": None})) == ["a", "b"]


def test_a_step_that_misses_an_input_does_not_stop_the_others_running_attempts() -> None:
    core = Core(workflow(step("a"), step("b"), step("c", "a", parameters={"x": "${input.x}"}), step("d", "b")))
    core.begin().run("a", "b")
    assert core.told(core.returned("a")) == ["StepCompleted a 1", "ExecutionPaused"]
    assert core.told(core.returned("b")) == ["StepCompleted b 1"]
    assert core.ready(Resume({"x": 1})) == ["c", "d"]


def test_what_became_ready_with_one_that_misses_an_input_waits_too() -> None:
    core = Core(workflow(step("a"), step("b", "a"), step("c", "a", parameters={"x": "${input.x}"}))).begin().run("a")
    assert core.ready(core.returned("a")) == []
    assert core.state.missing == {"c": ["input.x"]}
    assert core.ready(Resume({"x": 1})) == ["b", "c"]


def test_a_failure_in_the_same_wave_outweighs_a_missing_input() -> None:
    steps = [step("b", "a", parameters={"x": "${input.x}"}), step("c", "a", parameters={"x": "${a.m}"})]
    core = Core(workflow(step("a"), *steps)).begin()
    assert core.complete("a")[1:] == ["StepFailed c 0", "RollbackStarted", "ExecutionEnded FAILED"]


def test_what_waits_becomes_ready_by_the_resume_in_the_order_of_definition() -> None:
    steps = [step("d", "a"), step("c", retries=AT_ONCE), step("b"), step("a")]
    core = Core(workflow(*steps)).begin().run("c", "a")
    core.told(Pause())
    core.told(core.returned("a"))
    core.told(core.raised("c"))
    assert core.ready(Resume(None)) == ["d", "c", "b"]


def test_a_retry_whose_wait_is_not_over_does_not_become_ready_by_the_resume() -> None:
    core = Core(workflow(step("a", retries=TWICE), step("b"))).begin().run("a")
    core.told(core.raised("a"))
    core.told(Pause())
    core.now = 0.5
    assert core.ready(Resume(None)) == ["b"]
    core.told(Pause())
    core.now = 1.0
    assert core.ready(Resume(None)) == ["a", "b"]


# F1, F2: attempts


def test_attempts_are_counted_and_backed_off() -> None:
    retries = {"max_attempts": 5, "initial_interval": 1, "backoff": 3, "max_interval": 10}
    core = Core(workflow(step("a", retries=retries))).begin()
    waits = []
    for attempt in range(1, 5):
        assert core.told(core.start("a")) == [f"StepStarted a {attempt}"]
        assert core.told(core.raised("a")) == [f"StepRetrying a {attempt}"]
        event = core.events[-1]
        assert isinstance(event, StepRetrying)
        waits.append(event.until - core.now)
        assert event.error == Failure("a", attempt, "RuntimeError", "no")
        core.now = event.until
    assert waits == [1, 3, 9, 10]
    assert core.fail("a") == ["StepFailed a 5", "RollbackStarted", "ExecutionEnded FAILED"]


def test_an_attempt_does_not_start_before_its_wait_is_over_whoever_holds_a_slot_for_it() -> None:
    core = Core(workflow(step("a", retries=TWICE))).begin().run("a")
    core.told(core.raised("a"))
    core.now = 0.999
    assert core.refused(core.start("a"))
    core.now = 1.0
    assert core.told(core.start("a")) == ["StepStarted a 2"]


def test_an_action_that_cancels_itself_has_failed() -> None:
    core = Core(workflow(step("a"))).begin().run("a")
    core.told(core.yielded("a"))
    assert core.state.error == Failure("a", 1, "CancelledError", "the action cancelled itself")


@pytest.mark.parametrize("how", ["returned", "raised", "yielded"])
@pytest.mark.parametrize(("retries", "expected"), [({}, "StepFailed a 1"), (TWICE, "StepRetrying a 1")])
def test_a_timeout_holds_however_the_action_ends(how: str, retries: dict[str, int], expected: str) -> None:
    core = Core(workflow(step("a", timeout=2, retries=retries))).begin().run("a")
    assert core.told(core.timed_out("a")) == ["StepTimedOut a 1"]
    assert core.statuses["a"] == "RUNNING", "until its action has really ended"
    assert core.told(getattr(core, how)("a"))[0] == expected
    event = next(event for event in core.events if isinstance(event, StepFailed | StepRetrying))
    assert event.error == Failure("a", 1, "StepTimeoutError", "attempt 1 of step 'a' took longer than 2 seconds")


# F3, F4, F5, F8: failure and rollback


def test_a_failure_for_good_stops_everything_and_rolls_back_newest_first() -> None:
    steps = [step(name, compensation=UNDO) for name in "abc"]
    core = Core(workflow(*steps, step("d"), step("e"), step("f", "a"), step("g", retries=TWICE))).begin()
    core.complete("b", "c", "a")
    core.run("d", "e", "g")
    core.told(core.raised("g"))
    assert core.told(core.raised("e")) == ["StepFailed e 1", "RollbackStarted"]
    assert core.statuses == {
        "a": "COMPLETED",
        "b": "COMPLETED",
        "c": "COMPLETED",
        "d": "RUNNING",
        "e": "FAILED",
        "f": "CANCELLED",
        "g": "CANCELLED",
    }
    assert core.refused(core.start("f"))
    assert core.refused(core.start("a")), "an attempt still runs"
    assert core.ready(core.yielded("d")) == ["a"]
    assert core.complete("a") == ["CompensationCompleted a 1"]
    assert core.complete("c") == ["CompensationCompleted c 1"]
    assert core.refused(core.start("a")), "it is undone"
    assert core.complete("b") == ["CompensationCompleted b 1", "ExecutionEnded FAILED"]


def test_compensations_run_strictly_one_after_the_other() -> None:
    core = Core(workflow(step("a", compensation=UNDO), step("b", compensation=UNDO), step("c"))).begin()
    core.complete("a", "b")
    core.fail("c")
    core.run("b")
    assert core.refused(core.start("a"))
    assert core.refused(core.start("b"))
    assert core.ready(core.returned("b")) == ["a"]


def test_steps_without_a_compensation_stay_completed() -> None:
    core = Core(workflow(step("a"), step("b"))).begin()
    core.complete("a")
    assert core.fail("b") == ["StepFailed b 1", "RollbackStarted", "ExecutionEnded FAILED"]
    assert core.statuses["a"] == "COMPLETED"


def undoing(**policies: Any) -> Core:
    """Step a and then b are completed, c has failed, and b's compensation runs."""
    undo = {**UNDO, **policies}
    core = Core(workflow(step("a", compensation=UNDO), step("b", compensation=undo), step("c"))).begin()
    core.complete("a", "b")
    core.fail("c")
    return core.run("b")


def test_a_compensation_is_tried_once_unless_it_has_retries() -> None:
    core = undoing()
    assert core.ready(core.raised("b")) == ["a"]
    assert core.statuses["b"] == "COMPENSATION_FAILED"
    core.complete("a")
    assert core.state.status is Status.FAILED
    assert core.state.compensation_failures == [Failure("b", 1, "RuntimeError", "no")]


def test_a_compensations_retries_wait_as_a_steps_do() -> None:
    core = undoing(retries={"max_attempts": 3, "initial_interval": 2})
    assert core.told(core.raised("b")) == ["CompensationRetrying b 1"]
    event = core.events[-1]
    assert isinstance(event, CompensationRetrying)
    assert event.until == 2
    assert core.statuses["b"] == "COMPENSATING"
    core.now = 1.999
    assert core.refused(core.start("b"))
    assert core.refused(core.start("a")), "nothing overtakes it"
    core.now = 2.0
    assert core.told(core.start("b")) == ["CompensationStarted b 2"]
    assert core.told(core.returned("b")) == ["CompensationCompleted b 2"]


@pytest.mark.parametrize("how", ["returned", "raised", "yielded"])
def test_a_compensation_that_times_out_has_failed_however_it_ends(how: str) -> None:
    core = undoing(timeout=3)
    assert core.told(core.timed_out("b")) == ["CompensationTimedOut b 1"]
    assert core.refused(core.timed_out("b"))
    assert core.told(getattr(core, how)("b")) == ["CompensationFailed b 1"]
    message = "attempt 1 of step 'b' took longer than 3 seconds"
    assert core.state.compensation_failures == [Failure("b", 1, "StepTimeoutError", message)]


def test_a_compensation_without_its_values_fails_at_attempt_0_and_the_rest_goes_on() -> None:
    bad = {"action": "undo", "parameters": {"x": "${b.nowhere}", "y": "${input.late}"}}
    core = Core(workflow(step("a", compensation=UNDO), step("b", compensation=bad), step("c"))).begin()
    core.complete("a", "b")
    assert core.fail("c") == ["StepFailed c 1", "RollbackStarted", "CompensationFailed b 0"]
    assert core.state.compensation_failures == [
        Failure("b", 0, "UnresolvedReferenceError", "step 'b' refers to b.nowhere, which does not exist")
    ]
    assert core.complete("a") == ["CompensationCompleted a 1", "ExecutionEnded FAILED"]


def test_a_compensation_sees_its_own_output_those_before_it_and_the_input() -> None:
    undo = {"action": "undo", "parameters": {"mine": "${b.n}", "before": "${a.n}", "given": "${input.i}"}}
    core = Core(workflow(step("a"), step("b", "a", compensation=undo), step("c", "b")), {"i": 5}).begin()
    core.complete("a", "b")
    core.fail("c")
    found = compensation_parameters(core.state, core.workflow.steps[core.workflow.index["b"]])
    assert found == {"mine": 1, "before": 1, "given": 5}


def test_the_first_failure_is_the_executions_error_and_stays_it() -> None:
    core = Core(workflow(step("a", continue_on_error=True), step("b"), step("c"))).begin()
    core.fail("a")
    core.run("b", "c")
    core.told(core.raised("b", "KeyError", "first"))
    core.told(core.raised("c", "KeyError", "second"))
    assert core.state.error == Failure("b", 1, "KeyError", "first")
    assert core.statuses["c"] == "CANCELLED", "it ended in another way than by returning"


def test_under_a_pause_a_failure_for_good_rolls_back_at_once() -> None:
    core = Core(workflow(step("a", compensation=UNDO), step("b"))).begin()
    core.complete("a")
    core.run("b")
    core.told(Pause())
    assert core.told(core.raised("b")) == ["StepFailed b 1", "RollbackStarted"]
    assert core.told(core.start("a")) == ["CompensationStarted a 1"]


def test_under_a_pause_a_failed_attempt_is_retried_after_the_resume() -> None:
    core = Core(workflow(step("b", retries=AT_ONCE))).begin().run("b")
    core.told(Pause())
    assert core.told(core.raised("b")) == ["StepRetrying b 1"]
    assert core.refused(core.start("b"))
    core.told(Resume(None))
    assert core.told(core.start("b")) == ["StepStarted b 2"]


# F6: a swallowed cancellation


def stopped(by: str, **policies: Any) -> Core:
    """Step a runs, and is being cancelled: by a failure of b, by a cancel or by the deadline."""
    steps = [step("a", compensation=UNDO, **policies), step("b"), step("c", "a")]
    core = Core(workflow(*steps, timeout=9, rollback_on_cancel=True)).begin().run("a", "b")
    if by == "failure":
        core.told(core.raised("b"))
    else:
        core.told(Cancel() if by == "cancel" else Expire())
        core.told(core.yielded("b"))
    return core


STOPS: Final = pytest.mark.parametrize("by", ["failure", "cancel", "deadline"])


@STOPS
def test_an_action_that_returns_although_it_was_cancelled_is_completed_and_compensated(by: str) -> None:
    core = stopped(by)
    told = core.told(core.returned("a"))
    assert told == ["StepCompleted a 1", *(["RollbackStarted"] if by == "cancel" else [])]
    assert core.statuses["c"] == "CANCELLED"
    assert core.refused(core.start("c"))
    ended = "CANCELLED" if by == "cancel" else "FAILED"
    assert core.complete("a") == ["CompensationCompleted a 1", f"ExecutionEnded {ended}"]
    assert core.statuses["a"] == "COMPENSATED"


@STOPS
@pytest.mark.parametrize("how", ["raised", "yielded"])
def test_one_that_ends_in_any_other_way_is_cancelled(by: str, how: str) -> None:
    core = stopped(by, retries=AT_ONCE)
    told = core.told(getattr(core, how)("a"))
    assert told[0] == "StepCancelled a 1"
    assert told[-1].startswith("ExecutionEnded")
    assert "a" not in core.state.outputs
    assert core.state.errors.keys() == ({core.workflow.index["b"]} if by == "failure" else set())


@STOPS
def test_so_is_one_whose_output_is_refused(by: str) -> None:
    core = stopped(by, output_schema={"type": "string"})
    assert core.told(core.returned("a"))[0] == "StepCancelled a 1"


@STOPS
def test_one_that_had_timed_out_before_is_not_completed(by: str) -> None:
    core = Core(workflow(step("a", compensation=UNDO, timeout=1), step("b"), timeout=9)).begin().run("a", "b")
    core.told(core.timed_out("a"))
    core.told({"failure": core.raised("b"), "cancel": Cancel(), "deadline": Expire()}[by])
    assert "StepCancelled a 1" in core.told(core.returned("a"))


# F7: the deadline


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_a_deadline_fails_the_execution_as_a_step_does(status: str) -> None:
    core = Core(workflow(step("a", compensation=UNDO), step("b"), timeout=2.5)).begin()
    core.complete("a")
    core.run("b")
    if status == "PAUSED":
        core.told(Pause())
    assert core.told(Expire()) == ["RollbackStarted"]
    message = "execution 'w' took longer than 2.5 seconds"
    assert core.events[-1] == RollbackStarted(0.0, Failure(None, None, "ExecutionTimeoutError", message))
    assert core.told(core.yielded("b")) == ["StepCancelled b 1"]
    assert core.complete("a") == ["CompensationCompleted a 1", "ExecutionEnded FAILED"]


def test_a_deadline_that_finds_nothing_under_way_ends_the_execution_at_once() -> None:
    core = Core(workflow(step("a"), timeout=1)).begin()
    assert core.told(Expire()) == ["RollbackStarted", "ExecutionEnded FAILED"]
    assert core.statuses == {"a": "CANCELLED"}


# K2-K4: cancellation


def test_a_cancel_waits_for_what_runs_and_rolls_nothing_back_unless_it_was_asked_to() -> None:
    core = Core(workflow(step("a", compensation=UNDO), step("b"), step("c", retries=TWICE), step("d", "b"))).begin()
    core.complete("a")
    core.run("b", "c")
    core.told(core.raised("c"))
    assert core.told(Cancel()) == ["CancellationRequested"]
    assert core.statuses == {"a": "COMPLETED", "b": "RUNNING", "c": "CANCELLED", "d": "CANCELLED"}
    assert [step for step in core.workflow.index if not core.refused(core.start(step))] == []
    assert core.told(core.yielded("b")) == ["StepCancelled b 1", "ExecutionEnded CANCELLED"]
    assert core.statuses["a"] == "COMPLETED"


def test_with_rollback_on_cancel_the_completed_steps_are_undone_first() -> None:
    core = Core(workflow(step("a", compensation=UNDO), step("b"), rollback_on_cancel=True)).begin()
    core.complete("a")
    assert core.told(Cancel()) == ["CancellationRequested", "RollbackStarted"]
    assert core.events[-1] == RollbackStarted(0.0, None)
    assert core.complete("a") == ["CompensationCompleted a 1", "ExecutionEnded CANCELLED"]
    assert core.state.error is None


@pytest.mark.parametrize("rollback", [False, True])
def test_a_pending_execution_is_cancelled_at_once(*, rollback: bool) -> None:
    core = Core(workflow(step("a"), rollback_on_cancel=rollback))
    told = core.told(Cancel())
    expected = ["RollbackStarted"] if rollback else []
    assert told == ["CancellationRequested", *expected, "ExecutionEnded CANCELLED"]


# J3: taking up


def test_taking_up_makes_ready_all_that_waits_in_the_order_of_definition() -> None:
    core = Core(workflow(step("b", "a"), step("a"), step("c"), step("d", condition="input.x == 1")), {"x": 1}).begin()
    core.complete("a")
    core.run("c")
    assert core.ready(TakeUp()) == ["b", "d"], "like after a resume"


def test_taking_up_a_rollback_goes_on_with_the_newest_that_is_left() -> None:
    core = undoing()
    core.told(core.returned("b"))
    assert core.ready(TakeUp()) == ["a"]


def test_taking_up_a_rollback_waits_for_the_compensation_under_way() -> None:
    assert undoing().ready(TakeUp()) == []


def test_taking_up_a_rollback_keeps_the_wait_of_a_compensations_retry() -> None:
    core = undoing(retries=TWICE)
    core.told(core.raised("b"))
    assert core.ready(TakeUp()) == [], "its timer will make it ready"
    assert core.refused(core.start("b"))


def test_taking_up_a_cancellation_ends_it_if_nothing_runs() -> None:
    # No journal ends here: the end is decided together with what makes it due. But a core trusts nobody's journal.
    core = Core(workflow(step("a"))).begin()
    core.state.status = core.twin.status = Status.CANCELLING
    core.state.cancelled = core.twin.cancelled = True
    assert core.told(TakeUp()) == ["ExecutionEnded CANCELLED"]


# What an attempt gets


def test_all_attempts_of_a_step_get_the_same_parameters() -> None:
    template = {"x": "${input.x}", "y": ["${a}"]}
    core = Core(workflow(step("a"), step("b", "a", parameters=template, retries=AT_ONCE)), {"x": 1}).begin()
    core.complete("a")
    core.run("b")
    wanted = core.workflow.steps[core.workflow.index["b"]]
    first = parameters(core.state, wanted)
    assert first == {"x": 1, "y": [{"n": 1}]}
    first["y"][0]["n"] = 2
    core.told(Pause())
    core.told(core.raised("b"))
    core.told(Resume({"x": 2}))
    core.run("b")
    assert parameters(core.state, wanted) == {"x": 1, "y": [{"n": 1}]}


# What an event costs


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("walk")


class Counted:
    """What a container is asked for, in all."""

    asked = 0


class UnwalkedList(list[Any]):
    """A list of which single items are to be had, and nothing else."""

    __iter__ = __contains__ = __reversed__ = index = count = copy = insert = remove = sort = _refuse

    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        assert not isinstance(place, slice) or place == slice(-1, None)
        Counted.asked += 1
        return super().__getitem__(place)


class UnwalkedTuple(tuple[Any, ...]):
    """The same for a tuple."""

    __slots__ = ()
    __iter__ = __contains__ = index = count = _refuse

    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        assert not isinstance(place, slice)
        Counted.asked += 1
        return super().__getitem__(place)


class UnwalkedDict(dict[Any, Any]):
    """The same for a dictionary."""

    __iter__ = keys = values = items = copy = _refuse


def chain(length: int) -> Workflow:
    """A chain of steps with compensations; made by hand, which is quicker than parsing 100,000 of them."""
    small = parse_workflow(workflow(step("s0", compensation=UNDO), step("s1", "s0")))
    first = small.steps[0]
    connection = small.incoming[1][0]
    return replace(
        small,
        steps=tuple(replace(first, index=n, id=f"s{n}", position=n, sequence_order=n + 1) for n in range(length)),
        incoming=((), *((replace(connection, source=n, target=n + 1),) for n in range(length - 1))),
        outgoing=(*((n + 1,) for n in range(length - 1)), ()),
        index={f"s{n}": n for n in range(length)},
    )


def costs(length: int) -> list[int]:
    """What each command of some steps' lives asks of a chain's containers."""
    found = chain(length)
    state = State(found, {})
    decide(state, Begin(), 0.0)
    state.workflow = replace(
        found,
        steps=UnwalkedTuple(found.steps),
        incoming=UnwalkedTuple(found.incoming),
        outgoing=UnwalkedTuple(found.outgoing),
        index=UnwalkedDict(found.index),
    )
    state.outputs = UnwalkedDict(state.outputs)
    for name in ("statuses", "attempts", "undecided", "undoable"):
        setattr(state, name, UnwalkedList(getattr(state, name)))
    core = diamond()  # for its commands alone
    core.workflow = found
    asked = []
    for number in range(6):
        name = f"s{number}"
        last = core.raised(name) if number == 5 else core.returned(name)
        for command in (StartAttempt(number), Pause(), last, Resume(None)):
            Counted.asked = 0
            decide(state, command, 0.0)
            asked.append(Counted.asked)
    for number in range(4, -1, -1):
        for command in (StartAttempt(number), core.returned(f"s{number}")):
            Counted.asked = 0
            decide(state, command, 0.0)
            asked.append(Counted.asked)
    assert state.status is Status.FAILED
    return asked


def test_what_an_event_costs_does_not_depend_on_the_size_of_the_workflow() -> None:
    short, long = costs(10), costs(100_000)
    assert short == long
    assert max(long) <= 20
