"""Histories that look suspicious and keep the contract: the judge must not cry wolf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machines.strategies import as_graph
from model.parts import Phase, StepPhase
from tests.histories import History, error, step, workflow

if TYPE_CHECKING:
    from model.execution import Execution

ONE = workflow(step("a"))
CHAIN = workflow(step("a"), step("b", "a"))
UNDO = {"compensation": {"action": "undo"}}
TRIES = {"retries": {"max_attempts": 3, "initial_interval": 4}}


def passes(h: History) -> Execution:
    """The execution that the history is about, once all of it was accepted."""
    return h.judged().facts.executions["e"]


def test_a_completion_that_is_recorded_before_a_cancel_on_its_way() -> None:
    h = History()
    h.start(CHAIN)
    h.run("a")
    ask = h.asked("cancel")
    h.finish("a")
    h.started("b")
    h.recorded("CancellationRequested")
    h.answered(ask, answer=True)
    h.of_attempt("StepCancelled", "b")  # its task was cancelled before its first line
    h.ended_as("CANCELLED")
    h.rest()
    e = passes(h)
    assert e.phase is Phase.CANCELLED
    assert e.completed == ["a"]
    assert e.ready == []
    assert "a step is cancelled before its action's first line" in h.watch.found


def test_a_completion_that_is_on_its_way_when_a_cancel_is_recorded() -> None:
    h = History()
    h.start(CHAIN)
    h.run("a")
    h.returned("a")
    ask = h.asked("cancel")
    h.recorded("CancellationRequested")
    h.completed("a")
    h.ended_as("CANCELLED")
    h.answered(ask, answer=True)
    h.rest()
    e = passes(h)
    assert e.steps["b"].phase is StepPhase.CANCELLED
    assert "a cancel while an action's end is on its way" in h.watch.found


def test_an_action_that_begins_between_the_record_of_a_cancel_and_its_answer() -> None:
    h = History()
    h.start(ONE)
    h.started("a")
    ask = h.asked("cancel")
    h.recorded("CancellationRequested")
    h.began("a")
    h.interrupted("a")
    h.answered(ask, answer=True)
    h.rest()
    h.yielded("a")
    h.of_attempt("StepCancelled", "a")
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_an_action_that_swallows_its_cancellation_is_compensated() -> None:
    h = History()
    h.start(workflow(step("a", **UNDO), step("b"), step("c", "a")))
    h.run("a")
    h.run("b")
    h.fail("b")
    h.roll_back()
    h.interrupted("a")
    h.rest()
    h.finish("a", {"paid": 5})
    h.undo("a")
    h.ended_as("FAILED")
    h.rest()
    e = passes(h)
    assert e.rolled_back == ["a"]
    assert "an action swallowed its cancellation" in h.watch.found


def test_an_action_that_swallows_its_cancellation_and_returns_what_is_refused() -> None:
    h = History()
    h.start(workflow(step("a", output_schema={"type": "string"}, **UNDO), step("b")))
    h.run("a")
    h.run("b")
    h.fail("b")
    h.roll_back()
    h.interrupted("a")
    h.returned("a", 5)
    h.of_attempt("StepCancelled", "a")
    h.ended_as("FAILED")
    h.rest()
    passes(h)


def test_an_action_that_swallows_its_timeout_never_completes() -> None:
    h = History()
    h.start(workflow(step("a", timeout=3)))
    h.run("a")
    h.elapse(3)
    h.of_attempt("StepTimedOut", "a")
    h.interrupted("a")
    h.rest()
    h.cancel()
    h.returned("a", 5)
    h.of_attempt("StepCancelled", "a")
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_a_timeout_that_strikes_as_the_action_returns() -> None:
    for timeout_wins in (True, False):
        h = History()
        h.start(workflow(step("a", timeout=3)))
        h.run("a")
        h.elapse(3)
        h.returned("a")
        if timeout_wins:
            h.of_attempt("StepTimedOut", "a")
            h.failed("a", "StepTimeoutError", "a: attempt 1 outlived 3 seconds")
            h.roll_back()
            h.ended_as("FAILED")
        else:
            h.completed("a")
            h.ended_as("COMPLETED")
        h.rest()
        passes(h)


def test_a_pause_that_is_refused_because_the_execution_ended_meanwhile() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    ask = h.asked("pause")
    h.finish("a")
    h.ended_as("COMPLETED")
    h.answered(ask, answer=False)
    h.rest()
    passes(h)
    assert "a command is not accepted because another event came first" in h.watch.found


def test_a_pause_that_is_refused_because_another_came_and_went() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    late = h.asked("pause")
    h.pause()
    h.resume()
    h.answered(late, answer=False)
    h.rest()
    passes(h)


def test_a_resume_that_is_refused_while_the_pause_is_recorded_and_not_yet_answered() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    h.rest()
    pause = h.asked("pause")
    h.recorded("ExecutionPaused", missing={})
    resume = h.asked("resume")
    h.answered(resume, answer=False)
    h.answered(pause, answer=True)
    h.rest()
    passes(h)


def test_a_resume_that_is_refused_after_the_pause_was_answered() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    h.pause()
    h.answered(h.asked("resume"), answer=False)
    assert [violation.clause for violation in h.violations()] == ["K1"]


def test_a_command_that_finds_the_execution_unknown_before_its_start_is_answered() -> None:
    for refused in (True, False):
        h = History()
        start = h.asked("start", None, workflow=ONE, input={})
        early = h.asked("cancel")
        h.recorded("ExecutionCreated", workflow=ONE, input={})
        h.recorded("ExecutionStarted")
        ask = h.asked("cancel")
        h.refused(early)
        if refused:
            h.refused(ask)
        else:
            h.recorded("CancellationRequested")
            h.answered(ask, answer=True)
        h.answered(start, "e")
        passes(h)


def test_a_command_that_was_asked_of_an_unknown_execution_and_finds_it() -> None:
    h = History()
    start = h.asked("start", None, workflow=ONE, input={})
    early = h.asked("pause")
    h.recorded("ExecutionCreated", workflow=ONE, input={})
    h.answered(early, answer=False)
    h.answered(start, "e")
    passes(h)


def test_a_command_that_was_sent_before_there_was_anything_to_send_it_to() -> None:
    h = History()
    ask = h.asked("pause")
    h.start(ONE)
    h.recorded("ExecutionPaused", missing={})
    h.answered(ask, answer=True)
    assert passes(h).phase is Phase.PAUSED


def test_an_action_that_sees_its_cancellation_between_a_failure_and_its_rollback() -> None:
    h = History()
    h.start(workflow(step("a"), step("b")))
    h.run("a")
    h.run("b")
    h.fail("a")
    h.interrupted("b")
    h.roll_back()
    h.rest()
    passes(h)


def test_an_action_that_outlives_its_timeout_while_it_is_cancelled_has_had_its_effect() -> None:
    h = History()
    h.start(workflow(step("a", timeout=3), step("b")))
    h.run("a")
    h.run("b")
    h.fail("b")
    h.roll_back()
    h.interrupted("a")
    h.elapse(5)
    h.rest()
    h.finish("a")
    h.ended_as("FAILED")
    h.rest()
    passes(h)


def test_two_cancels_of_which_the_second_is_accepted() -> None:
    h = History()
    h.start(ONE)
    first, second = h.asked("cancel"), h.asked("cancel")
    h.recorded("CancellationRequested")
    h.answered(first, answer=False)
    h.answered(second, answer=True)
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_two_pauses_that_are_both_accepted_with_a_resume_between() -> None:
    h = History()
    h.start(ONE)
    first = h.asked("pause")
    h.recorded("ExecutionPaused", missing={})
    second = h.asked("pause")
    h.resume()
    h.recorded("ExecutionPaused", missing={})
    h.answered(second, answer=True)
    h.answered(first, answer=True)
    h.rest()
    passes(h)


def test_a_pause_during_the_wait_of_a_retry() -> None:
    h = History()
    h.start(workflow(step("a", **TRIES)))
    h.run("a")
    h.raised("a")
    h.retrying("a", until=4)
    h.pause()
    h.rest()
    h.elapse(10)
    h.rest()
    h.resume()
    h.run("a")
    h.finish("a")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)
    assert "a pause during a retry's wait" in h.watch.found


def test_a_retry_that_waited_under_a_pause_takes_its_place_in_the_order_of_definition() -> None:
    for first, clauses in (("a", []), ("b", ["C3"])):
        h = History(max_concurrent_steps=1)
        h.start(workflow(step("a", **TRIES), step("b")))
        h.run("a")
        h.raised("a")
        h.retrying("a", until=4)
        h.pause()
        h.elapse(5)
        h.rest()
        h.resume()
        assert h.judged().facts.executions["e"].ready == ["a", "b"]
        h.run(first)
        assert [violation.clause for violation in h.violations()] == clauses


def test_a_cancel_during_the_wait_of_a_retry_ends_at_once() -> None:
    h = History()
    h.start(workflow(step("a", **TRIES)))
    h.run("a")
    h.raised("a")
    h.retrying("a", until=4)
    h.rest()
    assert h.judged().facts.executions["e"].retrying == {"a": 4}
    h.cancel()
    h.ended_as("CANCELLED")
    h.elapse(10)
    h.rest()
    assert passes(h).steps["a"].phase is StepPhase.CANCELLED


def test_a_retry_that_becomes_ready_together_with_another_step_may_go_first_or_second() -> None:
    for order in ("ac", "ca"):
        h = History(max_concurrent_steps=1)
        h.start(workflow(step("a", **TRIES), step("b"), step("c", "b")))
        h.run("a")
        h.raised("a")
        h.retrying("a", until=4)
        h.run("b")
        h.rest()
        h.elapse(4)
        h.finish("b")
        assert h.judged().facts.executions["e"].ready == ["c", "a"]
        h.run(order[0])
        h.rest()
        h.finish(order[0])
        h.run(order[1])
        h.rest()
        passes(h)


def test_a_resume_without_the_missing_input_pauses_again() -> None:
    h = History()
    h.start(workflow(step("a", parameters={"p": "${input.x.y}"}), step("b")))
    h.run("b")
    h.recorded("ExecutionPaused", missing={"a": ["input.x.y"]})
    h.rest()
    ask = h.asked("resume", inputs={"x": {"z": 1}})
    h.recorded("ExecutionResumed", inputs={"x": {"z": 1}})
    h.recorded("ExecutionPaused", missing={"a": ["input.x.y"]})
    h.answered(ask, answer=True)
    h.finish("b")
    h.rest()
    assert h.judged().facts.executions["e"].missing == {"a": ["input.x.y"]}
    h.resume({"x": {"y": None}})
    h.run("a", {"p": None})
    h.finish("a")
    h.ended_as("COMPLETED")
    h.rest()
    e = passes(h)
    assert e.input == {"x": {"z": 1, "y": None}}
    assert e.missing == {}


def test_a_pause_whose_steps_were_decided_under_it() -> None:
    h = History()
    missing = {"b": ["input.x"]}
    h.start(workflow(step("a"), step("b", "a", parameters={"p": "${input.x}"})))
    h.run("a")
    h.pause()
    h.finish("a")
    h.rest()
    ask = h.asked("resume", inputs=None)
    h.recorded("ExecutionResumed", inputs={})
    h.recorded("ExecutionPaused", missing=missing)
    h.answered(ask, answer=True)
    h.reported("PAUSED", steps={"a": done(), "b": "PENDING"}, missing=missing)
    h.rest()
    passes(h)


def done(output: object = None, attempts: int = 1) -> dict[str, object]:
    return {"status": "COMPLETED", "attempts": attempts, "output": output}


def test_a_tolerated_failure_ends_partial_and_its_successor_runs() -> None:
    h = History()
    h.start(
        workflow(step("a", continue_on_error=True), step("b", {"source": "a", "condition": "input.go"})), {"go": True}
    )
    h.run("a")
    h.fail("a")
    h.do("b")
    h.ended_as("PARTIAL")
    h.rest()
    a = {"status": "FAILED", "attempts": 1, "error": error("a", 1)}
    h.reported("PARTIAL", steps={"a": a, "b": done()})
    assert passes(h).phase is Phase.PARTIAL


def test_a_skip_cascade_under_a_pause_ends_the_execution() -> None:
    h = History()
    h.start(workflow(step("a"), step("b", "a", condition="a.go"), step("c", "b"), step("d", "c")))
    h.run("a")
    h.pause()
    h.returned("a", {"go": False})
    h.completed("a", {"go": False})
    for name in "bcd":
        h.recorded("StepSkipped", name)
    h.ended_as("COMPLETED")
    h.rest()
    e = passes(h)
    assert {name: progress.phase for name, progress in e.steps.items() if name != "a"} == dict.fromkeys(
        "bcd", StepPhase.SKIPPED
    )
    assert "execution PAUSED -> COMPLETED" in h.watch.found


def test_a_join_of_any_runs_once_all_its_connections_are_decided() -> None:
    h = History()
    h.start(workflow(step("a"), step("b"), step("c", "b", condition="false"), step("d", "a", "c", join="any")))
    h.run("a")
    h.run("b")
    h.finish("a")
    h.finish("b")
    h.recorded("StepSkipped", "c")
    h.run("d")
    h.rest()
    passes(h)
    assert "an any-join runs though a connection is not taken" in h.watch.found


def test_parallel_connections_have_conditions_of_their_own() -> None:
    definition = {
        "id": "w",
        "nodes": [{"id": "a", "config": {"action": "work"}}, {"id": "b", "config": {"action": "work", "join": "any"}}],
        "connections": [
            {"source": "a", "target": "b", "condition": "a.n < 0"},
            {"source": "a", "target": "b", "condition": "a.n > 0"},
        ],
    }
    h = History()
    h.start(definition)
    h.run("a")
    h.finish("a", {"n": 1})
    h.run("b")
    h.rest()
    passes(h)
    h = History()
    h.start({**definition, "nodes": [{"id": "a", "config": {}}, {"id": "b"}]})
    h.run("a")
    h.finish("a", {"n": 1})
    h.recorded("StepSkipped", "b")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)


def test_a_steps_own_condition_and_its_connections_are_joined_as_cel_joins_them() -> None:
    for own, other, skipped in (("a.gone", "false", True), ("false", "a.gone", True), ("true", "a.gone", False)):
        h = History()
        h.start(workflow(step("a"), step("b", {"source": "a", "condition": other}, condition=own)))
        h.do("a")
        if skipped:
            h.recorded("StepSkipped", "b")
        else:
            h.failed("b", "ConditionError", "b: a.gone is missing", n=0)
        passes(h)


def test_null_is_an_output_like_any_other() -> None:
    h = History()
    h.start(workflow(step("a"), step("b", {"source": "a", "condition": "a == null"}, parameters={"p": "${a}"})))
    h.do("a")
    h.run("b", {"p": None})
    h.rest()
    passes(h)


def test_the_second_of_two_failures_leaves_its_step_cancelled() -> None:
    h = History()
    h.start(workflow(step("a"), step("b"), step("c", **TRIES)))
    for name in "abc":
        h.run(name)
    h.raised("c")
    h.retrying("c", until=4)
    h.raised("a")
    h.raised("b")
    h.failed("b")
    h.roll_back()
    h.of_attempt("StepCancelled", "a")
    h.ended_as("FAILED")
    h.rest()
    statuses = {"a": "CANCELLED", "b": {"status": "FAILED", "attempts": 1, "error": error("b", 1)}, "c": "CANCELLED"}
    h.reported("FAILED", steps=statuses, error=error("b", 1))
    passes(h)


def test_the_deadline_passes_under_a_pause() -> None:
    h = History()
    h.start(workflow(step("a", **UNDO), step("b", "a"), timeout=5))
    h.do("a")
    h.pause()
    h.rest()
    h.elapse(5)
    late = error(None, None, "ExecutionTimeoutError", "5 seconds have passed")
    h.recorded("RollbackStarted", error=late)
    h.undo("a")
    h.ended_as("FAILED")
    h.elapse(5)
    h.rest()
    a, b = {"status": "COMPENSATED", "attempts": 1}, {"status": "CANCELLED", "attempts": 0}
    h.reported("FAILED", steps={"a": a, "b": b}, error=late)
    passes(h)
    assert "execution PAUSED -> ROLLING_BACK" in h.watch.found


def test_the_deadline_has_no_effect_on_a_cancelled_execution() -> None:
    h = History()
    h.start(workflow(step("a"), timeout=5))
    h.run("a")
    h.cancel()
    h.interrupted("a")
    h.elapse(9)
    h.rest()
    h.yielded("a")
    h.of_attempt("StepCancelled", "a")
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_a_cancel_while_pending() -> None:
    h = History()
    h.create(ONE)
    h.cancel()
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)
    assert "execution PENDING -> CANCELLING" in h.watch.found


def test_a_cancel_with_a_rollback_that_fails_in_part() -> None:
    h = History()
    undo = {"action": "undo", "timeout": 2, "retries": {"max_attempts": 2, "initial_interval": 4}}
    h.start(workflow(step("a", compensation=undo), step("b", "a"), rollback_on_cancel=True))
    h.do("a")
    h.cancel()
    h.roll_back()
    h.undo_began("a")
    h.elapse(2)
    h.of_attempt("CompensationTimedOut", "a")
    h.interrupted("a", kind="compensation")
    h.rest()
    h.yielded("a", kind="compensation")
    late = error("a", 1, "StepTimeoutError", "the compensation of a, attempt 1, outlived 2 seconds")
    h.of_attempt("CompensationRetrying", "a", error=late, until=6)
    h.rest()
    h.elapse(4)
    h.undo_began("a")
    h.raised("a", kind="compensation")
    h.undo_failed("a")
    a, b = {"status": "COMPENSATION_FAILED", "attempts": 1, "output": None}, {"status": "CANCELLED", "attempts": 0}
    h.reported("ROLLING_BACK", steps={"a": a, "b": b})  # the error may come now or at the end
    h.ended_as("CANCELLED")
    h.rest()
    known = {**error(None, None, "CompensationError", "of a"), "compensations": [error("a", 2)]}
    h.reported("CANCELLED", steps={"a": {**a, "error": error("a", 2)}, "b": b}, error=known)
    passes(h)


def test_a_step_that_its_workflows_limit_holds_back_holds_nobody_else_back() -> None:
    h = History(max_concurrent_steps=2)
    h.start(workflow(step("a"), step("b"), max_concurrent_steps=1))
    h.run("a")
    h.rest()
    h.start(workflow(step("c"), step("d", "c")), of="f")
    h.run("c", of="f")
    h.rest()
    h.finish("c", of="f")
    h.run("d", of="f")
    h.rest()
    h.finish("a")
    h.run("b")
    h.rest()
    passes(h)


def test_a_compensation_waits_for_a_slot() -> None:
    h = History(max_concurrent_steps=1)
    h.start(workflow(step("a", **UNDO), step("b", "a")))
    h.start(ONE, of="f")
    h.do("a")
    h.run("b")
    h.fail("b")
    h.roll_back()
    h.run("a", of="f")
    h.rest()
    h.finish("a", of="f")
    h.ended_as("COMPLETED", of="f")
    h.undo("a")
    h.ended_as("FAILED")
    h.rest()
    passes(h)


def test_a_subscriber_comes_late_leaves_and_comes_back() -> None:
    h = History()
    h.start(ONE)
    h.subscribed(after=1)
    h.run("a")
    h.notified(2)
    h.subscribed(after=2)
    h.notified(3)
    h.finish("a")
    h.ended_as("COMPLETED")
    h.notified(4)
    h.notified(5)
    h.subscribed(after=0, subscriber="t")
    for seq in range(1, 6):
        h.notified(seq, subscriber="t")
    h.subscribed(after=5, subscriber="u")
    h.subscribed(after=1, subscriber="v", of="f")
    h.start(ONE, of="f")
    h.notified(2, subscriber="v", of="f")
    h.run("a", of="f")
    h.notified(3, subscriber="v", of="f")
    h.rest()
    passes(h)


def test_two_starts_of_one_workflow_may_be_answered_crosswise() -> None:
    h = History()
    first = h.asked("start", None, workflow=ONE, input=None)
    second = h.asked("start", None, workflow=ONE, input={})
    for name in "ef":
        h.recorded("ExecutionCreated", of=name, workflow=ONE, input={})
        h.recorded("ExecutionStarted", of=name)
    h.answered(first, "f")
    h.answered(second, "e")
    for name in "ef":
        h.run("a", of=name)
    h.rest()
    passes(h)


def test_a_workflow_without_steps_completes() -> None:
    h = History()
    h.start(workflow())
    h.ended_as("COMPLETED")
    h.rest()
    h.close()
    passes(h)


def test_a_root_whose_condition_reads_the_input_that_a_resume_brought() -> None:
    h = History(max_concurrent_steps=1)
    h.start(workflow(step("a"), step("b", condition="input.go")), {"go": True})
    h.run("a")
    h.pause()
    h.resume({"go": False})
    h.finish("a")
    h.recorded("StepSkipped", "b")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)


def test_what_is_seen_of_an_action_that_never_began_is_left_to_the_world() -> None:
    h = History()
    h.returned("a", of="x")
    h.start(ONE)
    h.interrupted("a")
    h.returned("a")
    passes(h)


# Crash, recovery, failing stores.


def test_a_cancel_that_was_recorded_and_not_answered_has_happened() -> None:
    h = History()
    h.start(workflow(step("a"), step("b")))
    h.run("a")
    h.started("b")
    h.asked("cancel")
    h.recorded("CancellationRequested")
    h.come_back("e")
    h.of_attempt("StepCancelled", "a")
    h.of_attempt("StepCancelled", "b")
    h.ended_as("CANCELLED")
    h.answered(h.asked("cancel"), answer=False)
    h.rest()
    passes(h)
    assert {"a crash with a cancel under way", "a step is cancelled whose action was lost"} <= h.watch.found.keys()
    assert "a step is cancelled before its action's first line" not in h.watch.found


def test_a_cancel_that_ended_its_execution_and_was_not_answered_is_forgotten() -> None:
    h = History()
    h.start(ONE)
    h.asked("cancel")
    h.recorded("CancellationRequested")
    h.ended_as("CANCELLED")
    h.come_back()
    h.answered(h.asked("cancel"), answer=False)
    h.rest()
    passes(h)


def test_a_cancel_that_was_neither_recorded_nor_answered_has_not_happened() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    h.asked("cancel")
    h.come_back("e")
    h.began("a")
    h.rest()
    h.cancel()
    h.yielded("a")
    h.of_attempt("StepCancelled", "a")
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_an_action_that_returned_unrecorded_runs_again_and_returns_something_else() -> None:
    h = History()
    h.start(CHAIN)
    h.run("a")
    h.returned("a", 1)
    h.come_back("e")
    h.began("a")
    h.rest()
    h.finish("a", 2)
    h.run("b")
    h.rest()
    assert passes(h).steps["a"].output == 2


def test_an_attempt_that_was_started_and_had_not_begun_begins_after_the_crash() -> None:
    h = History(max_concurrent_steps=1)
    h.start(ONE)
    h.started("a")
    h.come_back("e")
    h.began("a")
    h.finish("a")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)


def test_a_compensation_sees_the_input_that_its_step_had() -> None:
    h = History()
    h.start(
        workflow(step("a", compensation={"action": "undo", "parameters": {"p": "${input.x}"}}), step("b")), {"x": 1}
    )
    h.do("a")
    h.run("b")
    h.pause()
    h.resume({"x": 2})
    h.fail("b")
    h.roll_back()
    h.undo("a", parameters={"p": 1})
    h.ended_as("FAILED")
    h.judged()


def test_what_a_crash_has_interrupted_holds_no_slot_until_it_runs_again() -> None:
    h = History()
    h.start(workflow(step("a"), step("b"), max_concurrent_steps=1))
    h.run("a")
    h.come_back("e")
    h.run("b")
    h.rest()
    h.finish("b")
    h.began("a")
    h.rest()
    h.finish("a")
    h.ended_as("COMPLETED")
    h.judged()


def test_a_steps_own_condition_stands_on_its_connections_in_either_shape() -> None:
    steps = workflow(step("a"), step("b", {"source": "a", "condition": "a.n > 0"}, condition="input.x == 1"))
    for shaped in (steps, as_graph(steps)):
        h = History()
        h.start(shaped, {"x": 2})
        h.run("a")
        h.finish("a", {"n": 1})
        h.recorded("StepSkipped", "b")
        h.ended_as("COMPLETED")
        h.judged()


def test_a_timed_out_attempt_ended_with_the_crash_or_runs_again_for_nothing() -> None:
    for again in (True, False):
        h = History()
        h.start(workflow(step("a", timeout=3, **TRIES)))
        h.run("a")
        h.elapse(3)
        h.of_attempt("StepTimedOut", "a")
        h.interrupted("a")
        h.elapse(2)
        h.crash()
        h.elapse(1)
        h.recover("e")
        if again:
            h.began("a")
            h.yielded("a")
        h.retrying("a", 10 if again else 9, "StepTimeoutError", "a: attempt 1 outlived 3 seconds")
        h.elapse(4)
        h.run("a")
        h.rest()
        passes(h)


def test_a_timed_out_compensation_ended_with_the_crash() -> None:
    h = History()
    h.start(workflow(step("a", compensation={"action": "undo", "timeout": 2}), step("b", "a")))
    h.do("a")
    h.run("b")
    h.fail("b")
    h.roll_back()
    h.undo_began("a")
    h.elapse(2)
    h.of_attempt("CompensationTimedOut", "a")
    h.come_back("e")
    h.undo_failed("a", kind="StepTimeoutError", message="the compensation of a, attempt 1, outlived 2 seconds")
    h.ended_as("FAILED")
    h.rest()
    passes(h)


def test_a_compensation_runs_again_and_the_rollback_goes_on_where_it_stood() -> None:
    h = History()
    h.start(workflow(step("a", **UNDO), step("b", "a", **UNDO), step("c", "b")))
    h.do("a", "b")
    h.run("c")
    h.fail("c")
    h.roll_back()
    h.undo_began("b")
    h.returned("b", kind="compensation")
    h.come_back("e")
    h.began("b", kind="compensation")
    h.returned("b", kind="compensation")
    h.of_attempt("CompensationCompleted", "b")
    h.come_back("e")
    h.undo("a")
    h.ended_as("FAILED")
    h.rest()
    assert passes(h).rolled_back == ["b", "a"]


def test_an_execution_whose_start_was_never_answered_goes_on() -> None:
    h = History()
    h.asked("start", None, workflow=ONE, input={})
    h.recorded("ExecutionCreated", workflow=ONE, input={})
    h.crash()
    h.rest()
    h.recover("e")
    h.recorded("ExecutionStarted")
    h.run("a")
    h.rest()
    e = passes(h)
    assert e.facts.unclaimed == {}


def test_nothing_is_owed_while_there_is_no_engine_and_nothing_of_what_no_recovery_took_up() -> None:
    h = History()
    h.start(CHAIN)
    h.do("a")
    h.subscribed()
    h.crash()
    h.subscribed(subscriber="t")
    h.rest()
    assert h.judged().facts.down
    ask = h.asked("recover", None)
    h.store_failed(None)
    h.refused(ask, "JournalError")
    h.rest()
    h.refused(h.asked("pause"), "JournalError")
    h.close()
    e = passes(h)
    assert not e.facts.down
    assert e.adrift is not None


def test_an_engine_that_could_not_recover_drives_what_is_new_and_recovers_later() -> None:
    h = History(max_concurrent_steps=1)
    h.start(ONE)
    h.run("a")
    h.crash()
    ask = h.asked("recover", None)
    h.store_failed(None)
    h.refused(ask, "JournalError")
    h.start(CHAIN, of="f")
    h.run("a", of="f")
    h.rest()
    h.recover("e")
    h.rest()  # its attempt waits for a slot
    h.finish("a", of="f")
    h.began("a")
    h.rest()
    h.finish("a")
    h.ended_as("COMPLETED")
    h.run("b", of="f")
    h.rest()
    passes(h)


def test_what_waited_for_a_slot_in_a_crash_waits_anew() -> None:
    h = History(max_concurrent_steps=1)
    h.start(workflow(step("a"), step("b")))
    h.run("a")
    h.rest()
    h.crash()
    h.rest()
    ask = h.asked("recover", None)
    h.start(workflow(step("c")), of="f")  # it may have become ready before the recovery came to e
    h.answered(ask, ["e"])
    h.began("a")
    h.rest()
    h.finish("a")
    h.run("c", of="f")
    h.rest()
    h.finish("c", of="f")
    h.ended_as("COMPLETED", of="f")
    h.run("b")
    h.rest()
    passes(h)


def test_crashes_in_a_row_and_inside_a_recovery() -> None:
    h = History()
    h.start(CHAIN)
    h.run("a")
    h.crash()
    h.crash()
    h.asked("recover", None)
    h.began("a")
    h.crash()
    h.asked("recover", None)
    h.began("a")
    h.finish("a")
    h.started("b")
    h.crash()
    h.recover("e")
    h.began("b")
    h.finish("b")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)
    assert "a crash with a recover under way" in h.watch.found


def test_what_happens_between_a_recovery_and_its_answer() -> None:
    h = History()
    h.start(CHAIN)
    h.run("a")
    h.start(ONE, of="f")
    h.crash()
    ask = h.asked("recover", None)
    h.began("a")
    h.finish("a")
    h.do("b")
    h.ended_as("COMPLETED")
    h.answered(ask, ["e", "f"])
    h.run("a", of="f")
    h.rest()
    passes(h)


def test_an_execution_may_end_before_a_recovery_comes_to_it() -> None:
    for named in (["e"], []):
        h = History()
        h.start(ONE)
        h.run("a")
        ask = h.asked("recover", None)
        h.finish("a")
        h.ended_as("COMPLETED")
        h.answered(ask, named)
        h.rest()
        passes(h)


def test_a_recovery_may_come_upon_an_execution_before_its_start_is_answered() -> None:
    for named in (["e", "f"], []):
        h = History()
        first = h.asked("start", None, workflow=ONE, input={})
        h.recorded("ExecutionCreated", workflow=ONE, input={})
        ask = h.asked("recover", None)
        second = h.asked("start", None, workflow=ONE, input={})
        h.recorded("ExecutionCreated", of="f", workflow=ONE, input={})
        h.answered(ask, named)
        h.answered(first, "e")
        h.answered(second, "f")
        for name in "ef":
            h.recorded("ExecutionStarted", of=name)
            h.run("a", of=name)
        h.rest()
        passes(h)


def test_of_two_recoveries_at_once_one_takes_up_an_execution_and_both_may_say_so() -> None:
    for first, second in ((["e"], []), ([], ["e"]), (["e"], ["e"])):
        h = History()
        h.start(ONE)
        h.crash()
        asks = h.asked("recover", None), h.asked("recover", None)
        h.answered(asks[0], first)
        h.answered(asks[1], second)
        h.run("a")
        h.rest()
        h.recover()
        passes(h)


def test_a_paused_execution_stays_paused_and_what_ran_runs_on_under_the_pause() -> None:
    h = History()
    h.start(workflow(step("a"), step("b"), step("c", "b", parameters={"p": "${b}"})))
    h.run("a")
    h.run("b")
    h.pause()
    h.finish("b", 7)
    h.come_back("e")
    h.began("a")
    h.rest()
    h.reported("PAUSED", steps={"a": {"status": "RUNNING", "attempts": 1}, "b": done(7), "c": "PENDING"})
    h.resume()
    h.run("c", {"p": 7})
    h.rest()
    passes(h)


def test_a_pause_for_a_missing_input_outlives_a_crash() -> None:
    missing = {"b": ["input.x"]}
    h = History()
    h.start(workflow(step("a"), step("b", "a", parameters={"p": "${input.x}"})))
    h.do("a")
    h.recorded("ExecutionPaused", missing=missing)
    h.come_back("e")
    h.rest()
    h.reported("PAUSED", steps={"a": done(), "b": "PENDING"}, missing=missing)
    h.resume({"x": 1})
    h.run("b", {"p": 1})
    h.rest()
    passes(h)


def test_a_retry_whose_wait_ends_while_there_is_no_engine() -> None:
    for order in ("ab", "ba"):
        h = History(max_concurrent_steps=1)
        h.start(workflow(step("a", **TRIES), step("b")))
        h.run("a")
        h.raised("a")
        h.retrying("a", until=4)
        h.crash()
        h.rest()
        h.elapse(4)
        h.recover("e")  # the wait may have been over when it took e up, or just not
        h.run(order[0])
        h.rest()
        h.finish(order[0])
        h.run(order[1])
        h.rest()
        passes(h)


def test_a_deadline_that_passes_while_there_is_no_engine() -> None:
    for again in (True, False):
        h = History()
        h.start(workflow(step("a"), timeout=5))
        h.run("a")
        h.crash()
        h.elapse(9)
        h.rest()
        h.recover("e")
        if again:
            h.began("a")
        h.recorded("RollbackStarted", error=error(None, None, "ExecutionTimeoutError", "5 seconds have passed"))
        if again:
            h.yielded("a")
        h.of_attempt("StepCancelled", "a")
        h.ended_as("FAILED")
        h.rest()
        passes(h)


def test_an_action_that_begins_again_as_its_execution_is_stopped() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    h.come_back("e")
    ask = h.asked("cancel")
    h.recorded("CancellationRequested")
    h.began("a")
    h.interrupted("a")
    h.answered(ask, answer=True)
    h.finish("a")
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_an_action_that_swallowed_its_cancellation_in_a_crash_is_cancelled() -> None:
    h = History()
    h.start(workflow(step("a", **UNDO), step("b")))
    h.run("a")
    h.run("b")
    h.fail("b")
    h.roll_back()
    h.interrupted("a")
    h.returned("a", 5)
    h.come_back("e")
    h.of_attempt("StepCancelled", "a")
    h.ended_as("FAILED")
    h.rest()
    passes(h)


def test_a_crash_between_the_events_of_one_decision() -> None:
    h = History()
    h.start(workflow(step("a"), step("b", "a", condition="a.go"), step("c", "b")))
    h.run("a")
    h.finish("a", {"go": False})
    h.come_back("e")
    h.recorded("StepSkipped", "b")
    h.come_back("e")
    h.recorded("StepSkipped", "c")
    h.come_back("e")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)


def test_subscribers_are_gone_with_the_crash_and_come_back_where_they_stood() -> None:
    h = History()
    h.start(ONE)
    h.subscribed()
    h.notified(1)
    h.run("a")
    h.come_back("e")
    h.began("a")
    h.rest()
    h.subscribed(after=1)
    h.notified(2)
    h.notified(3)
    h.rest()
    passes(h)


def test_a_subscriber_whose_events_cannot_be_read_is_dropped_and_comes_back() -> None:
    h = History()
    h.start(ONE)
    h.subscribed()
    h.notified(1)
    h.notified(2)
    h.subscribed(after=1, subscriber="t")
    h.subscribed(after=2, subscriber="u")
    h.subscribed(after=1, subscriber="v")
    h.store_failed(None, "io")
    h.run("a")
    h.notified(3)
    h.notified(2, subscriber="v")  # it was another that could not be read
    h.rest()
    h.subscribed(after=1, subscriber="t")
    h.notified(2, subscriber="t")
    h.notified(3, subscriber="t")
    h.rest()
    passes(h)


def test_an_execution_that_cannot_be_journaled_is_given_up_and_others_are_not() -> None:
    h = History(max_concurrent_steps=2)
    h.start(CHAIN)
    h.start(CHAIN, of="f")
    h.run("a")
    h.run("a", of="f")
    h.returned("a")
    ask = h.asked("pause")
    h.store_failed()
    h.refused(ask, "JournalError")
    h.rest()
    h.reported("RUNNING", steps={"a": {"status": "RUNNING", "attempts": 1}, "b": "PENDING"})
    h.finish("a", of="f")
    h.run("b", of="f")
    h.refused(h.asked("cancel"), "JournalError")
    h.recover("e")
    h.began("a")
    h.finish("a")
    h.run("b")
    h.rest()
    e = passes(h)
    assert e.adrift is None


def test_a_stubborn_action_holds_a_recovery_up() -> None:
    h = History()
    h.start(CHAIN)
    h.run("a")
    h.store_failed()
    h.rest()
    ask = h.asked("recover", None)
    h.interrupted("a")
    h.rest()
    h.elapse(9)
    h.rest()
    h.returned("a", 1)
    h.began("a")
    h.answered(ask, ["e"])
    h.rest()
    h.finish("a", 2)
    h.run("b")
    h.rest()
    passes(h)


def test_a_recovery_that_does_not_wait_for_a_stubborn_action() -> None:
    h = History()
    h.start(workflow(step("a", timeout=3)))
    h.run("a")
    h.store_failed()
    h.recover("e")
    h.interrupted("a")
    h.elapse(9)
    h.rest()
    h.returned("a", 1)
    h.began("a")
    h.rest()
    h.finish("a", 2)
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)


def test_a_cancelled_action_that_returns_after_its_execution_was_given_up_is_cancelled() -> None:
    h = History()
    h.start(workflow(step("a", **UNDO)))
    h.run("a")
    h.cancel()
    h.interrupted("a")
    h.store_failed()
    h.returned("a", 1)
    h.rest()
    h.recover("e")
    h.of_attempt("StepCancelled", "a")
    h.ended_as("CANCELLED")
    h.rest()
    passes(h)


def test_a_timed_out_action_of_an_execution_that_was_given_up_has_failed() -> None:
    h = History()
    h.start(workflow(step("a", timeout=3)))
    h.run("a")
    h.elapse(3)
    h.of_attempt("StepTimedOut", "a")
    h.interrupted("a")
    h.store_failed()
    h.yielded("a")
    h.recover("e")
    h.failed("a", "StepTimeoutError", "a: attempt 1 outlived 3 seconds")
    h.roll_back()
    h.ended_as("FAILED")
    h.rest()
    passes(h)


def test_a_start_that_was_on_its_way_when_its_execution_was_given_up() -> None:
    h = History()
    h.start(workflow(step("a"), step("b")))
    h.started("a")
    h.store_failed()
    h.began("a")
    h.rest()
    ask = h.asked("recover", None)
    h.yielded("a")
    h.began("a")
    h.returned("a", 1)
    h.completed("a", 1)
    h.answered(ask, ["e"])
    h.run("b")
    h.rest()
    passes(h)


def test_an_execution_that_fails_again_while_it_is_taken_up_may_be_driven_or_not() -> None:
    for named in (["e"], []):
        h = History()
        h.start(ONE)
        h.store_failed()
        first = h.asked("recover", None)
        h.store_failed()
        h.answered(first, ["e"])
        h.rest()
        h.recover(*named)
        h.run("a")
        h.rest()
        passes(h)


def test_a_start_that_the_store_refused_has_not_happened() -> None:
    h = History()
    ask = h.asked("start", None, workflow=ONE, input={})
    h.store_failed("x")
    h.refused(ask, "JournalError")
    h.rest()
    h.start(ONE)
    h.run("a")
    h.rest()
    passes(h)


def test_commands_to_what_is_read_from_the_journal_may_fail_with_it() -> None:
    h = History()
    h.start(ONE)
    h.do("a")
    h.ended_as("COMPLETED")
    asks = h.asked("cancel"), h.asked("cancel", "x")
    h.store_failed(None, "io")
    for ask in asks:
        h.refused(ask, "JournalError")
    h.rest()
    passes(h)


def test_a_second_engine_is_refused_and_changes_nothing() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    h.refused(h.asked("rival", None), "JournalError", "the journal is held by process 7")
    h.rest()
    h.finish("a")
    h.ended_as("COMPLETED")
    h.rest()
    passes(h)


def test_what_is_seen_of_an_action_that_its_engine_took_with_it_is_left_to_the_world() -> None:
    h = History()
    h.start(ONE)
    h.run("a")
    h.crash()
    h.yielded("a")
    h.recover("e")
    h.began("a")
    h.rest()
    assert passes(h).facts.live == 1
