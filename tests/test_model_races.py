"""Histories that look suspicious and keep the contract: the judge must not cry wolf."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    assert e.facts.seen["cancelled before its first line"] == 1


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
    assert e.facts.seen["cancel while a completion is on its way"] == 1


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
    assert e.facts.seen["completion in spite of its cancellation"] == 1


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
    assert passes(h).facts.seen["pause not accepted in a race"] == 1


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
    assert passes(h).facts.seen["pause during a retry's wait"] == 1


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
    assert e.facts.seen["end under a pause"] == 1


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
    assert passes(h).facts.seen["join any with a connection not taken"] == 1


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
    assert passes(h).facts.seen["rollback from a pause"] == 1


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
    assert passes(h).facts.seen["cancel while PENDING"] == 1


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
    known = {**error(None, None, "CompensationError", "one failed"), "compensations": [error("a", 2)]}
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
