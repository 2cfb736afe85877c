"""V, P4: what a step gets, what it lacks, and what it may give."""

from __future__ import annotations

from collections.abc import Iterator

from model.execution import Execution
from model.history import Began, Recorded, Rested
from model.invariants.registry import listens
from model.parts import GOING, Fate, Phase, StepPhase
from model.values import same, unnamed


@listens(Began)
def parameters_as_resolved(execution: Execution, entry: Began) -> Iterator[str]:
    """V2, V1, K5: an action gets its parameters as resolved when the step became ready, the same in all attempts."""
    progress = execution.steps.get(entry.step)
    if progress is None:
        return
    expected = progress.parameters
    if entry.kind == "compensation":
        expected = progress.undo.parameters if progress.undo else None
    if entry.step in execution.open and not same(entry.parameters, expected):
        yield (
            f"the {entry.kind} of {entry.step!r} attempt {entry.attempt} in {entry.execution} got "
            f"{entry.parameters!r}, expected {expected!r}"
        )


@listens(Began)
def key_names_the_attempt(_execution: Execution, entry: Began) -> Iterator[str]:
    """J3: the idempotency key is execution/step/attempt (of a compensation: execution/step/compensation/attempt)."""
    infix = "compensation/" if entry.kind == "compensation" else ""
    expected = f"{entry.execution}/{entry.step}/{infix}{entry.attempt}"
    if entry.key != expected:
        yield f"the {entry.kind} of {entry.step!r} got the key {entry.key!r}, expected {expected!r}"


@listens("StepStarted")
def started_with_its_input(execution: Execution, entry: Recorded) -> Iterator[str]:
    """P4, V3: a step that misses an input does not start."""
    plan = execution.due(entry.event["step"])
    if plan is not None and plan.fate is Fate.LACK:
        yield f"{entry.event['step']!r} started without {', '.join(plan.paths)}"


@listens("StepStarted")
def started_with_values_that_hold(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V4, V3, V5: a step whose references, parameters or condition do not hold fails before its first attempt."""
    plan = execution.due(entry.event["step"])
    if plan is not None and plan.fate is Fate.FAIL:
        yield f"{entry.event['step']!r} started, but it must fail with {plan.error} ({', '.join(plan.words)})"


def _before_any_attempt(execution: Execution, entry: Recorded, errors: frozenset[str]) -> Iterator[str]:
    """A failure without an attempt: it must be due, of that type, and its message must say where."""
    event = entry.event
    name, seen = event["step"], event["error"]["type"]
    if event["attempt"] != 0 or execution.phase not in GOING or execution.steps[name].undecided:
        return
    plan = execution.due(name)
    if plan is None or plan.fate is not Fate.FAIL:
        if seen in errors or (errors is OTHERS and seen not in KNOWN):
            must = plan.fate.value if plan else "not fail now"
            yield f"{name!r} failed before any attempt with {event['error']!r}, but it must {must}"
    elif plan.error in errors:
        if seen != plan.error:
            yield f"{name!r} failed with {seen}, expected {plan.error} ({', '.join(plan.words)})"
        lacking = unnamed(plan.words, event["error"]["message"])
        if lacking and seen == plan.error:
            yield f"the {seen} of {name!r} says {event['error']['message']!r}, which does not name {lacking}"


UNRESOLVED = frozenset({"UnresolvedReferenceError"})
OTHERS = frozenset({"ValidationError"})
CONDITION = frozenset({"ConditionError"})
KNOWN = UNRESOLVED | OTHERS | CONDITION


@listens("StepFailed")
def unresolved_reference_fails(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V3: a path that is missing, other than an input's, fails the step; the error names the step and the path."""
    yield from _before_any_attempt(execution, entry, UNRESOLVED)


@listens("StepFailed")
def faulty_parameters_fail(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V4: parameters that the input schema refuses fail the step; the error names the step and each faulty path."""
    yield from _before_any_attempt(execution, entry, OTHERS)


@listens("StepFailed")
def faulty_condition_fails(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V5: a condition that cannot be evaluated, and nothing else, fails its target with ConditionError."""
    yield from _before_any_attempt(execution, entry, CONDITION)


@listens("StepCompleted")
def output_holds(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V4: a step does not complete with an output that its schema refuses or JSON cannot hold."""
    attempt = execution.open.get(entry.event["step"])
    outcome = None if attempt is None or attempt.timed_out else execution.outcome(attempt)
    if outcome is not None and outcome.final and attempt is not None and attempt.ended is not None:
        yield f"{attempt} completed with {attempt.ended.value!r}, which is no output that it may have"


@listens("StepCompleted")
def output_as_returned(execution: Execution, entry: Recorded) -> Iterator[str]:
    """V2, J1: the output that is recorded is the value that the action returned."""
    attempt = execution.open.get(entry.event["step"])
    if attempt is None or attempt.ended is None or not attempt.ended.json:
        return
    if attempt.ended.outcome == "returned" and not same(entry.event["output"], attempt.ended.value):
        yield f"{attempt} returned {attempt.ended.value!r}, recorded is {entry.event['output']!r}"


@listens("ExecutionPaused")
def missing_inputs_named(execution: Execution, entry: Recorded) -> Iterator[str]:
    """P4: a pause for input names each step that is ready but for it, with the paths that it misses."""
    seen = entry.event["missing"]
    if not seen or execution.phase is not Phase.RUNNING:
        return
    expected = execution.lacking()
    if seen.keys() != expected.keys() or any(sorted(seen[step]) != sorted(expected[step]) for step in seen):
        yield f"{entry.execution} was paused for {dict(seen)!r}; missing are {expected!r}"


@listens(Phase.RUNNING)
def missing_input_pauses(execution: Execution, _entry: Rested) -> Iterator[str]:
    """P4, V3: a step that misses an input pauses the execution."""
    lacking = execution.lacking()
    if lacking:
        yield f"{execution.id} goes on although inputs are missing: {lacking!r}"


@listens(Phase.RUNNING)
def missing_path_fails(execution: Execution, _entry: Rested) -> Iterator[str]:
    """V3: a step whose references lead nowhere fails as soon as it is ready, slot or no slot."""
    for name, plan in execution.blocked.items():
        if plan.error == "UnresolvedReferenceError":
            yield f"{name!r} of {execution.id} must fail: {', '.join(plan.paths)} is missing"


@listens("StepFailed")
def failed_while_it_waits(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1, V4: a failure before any attempt befalls a step that has made none."""
    event = entry.event
    progress = execution.steps[event["step"]]
    if event["attempt"] == 0 and progress.phase is not StepPhase.PENDING and execution.phase in GOING:
        yield f"{event['step']!r} failed before any attempt, but it is {progress.phase.name}"
