"""J1: what an engine reports is what its journal folds to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model.execution import Execution
from model.history import Json, Reported
from model.invariants.registry import listens
from model.parts import Phase, StepPhase
from model.values import same, unnamed

ABSENT = object()
VISIBLE = frozenset({StepPhase.COMPLETED, StepPhase.COMPENSATING, StepPhase.COMPENSATION_FAILED})


@listens(Reported)
def reported_phase(execution: Execution, entry: Reported) -> Iterator[str]:
    """J1: the status reported is the one that the journal folds to, after its last event."""
    report = entry.report
    if report["status"] != execution.phase.name:
        yield f"{entry.execution} is reported as {report['status']}, expected {execution.phase.name}"
    if report["seq"] != execution.seq:
        yield f"{entry.execution} is reported after event {report['seq']}, expected after event {execution.seq}"


@listens(Reported)
def reported_missing(execution: Execution, entry: Reported) -> Iterator[str]:
    """P4, J1: what a pause misses is reported while it lasts."""
    seen = entry.report["missing"]
    if seen != execution.missing:
        yield f"{entry.execution} is reported to miss {seen!r}, expected {dict(execution.missing)!r}"


@listens(Reported)
def reported_steps(execution: Execution, entry: Reported) -> Iterator[str]:
    """J1: the steps' statuses and attempts are those that the journal folds to."""
    steps = entry.report["steps"]
    if steps.keys() != execution.steps.keys():
        yield f"{entry.execution} is reported with the steps {list(steps)}, expected {list(execution.steps)}"
        return
    for name, progress in execution.steps.items():
        step = steps[name]
        if step["status"] != progress.phase.name:
            yield f"{name!r} of {entry.execution} is reported as {step['status']}, expected {progress.phase.name}"
        if step["attempts"] != progress.attempts:
            seen = step["attempts"]
            yield f"{name!r} of {entry.execution} is reported with {seen} attempts, expected {progress.attempts}"


@listens(Reported)
def reported_values(execution: Execution, entry: Reported) -> Iterator[str]:
    """F4, J1, F8: a step's output is reported while it is visible, until it is compensated; its error, if it failed."""
    steps = entry.report["steps"]
    for name, progress in execution.steps.items():
        step = steps.get(name, {})
        output = progress.output if progress.phase in VISIBLE else ABSENT
        if not same(step.get("output", ABSENT), output):
            yield f"{name!r} of {entry.execution} is reported with {_shown('output', step)}, expected {_value(output)}"
        seen = step.get("error")
        if seen != progress.error and not (seen and seen == progress.undo_error):
            shown = _shown("error", step)
            yield f"{name!r} of {entry.execution} is reported with {shown}, expected {_value(progress.error)}"


def _shown(field: str, step: Mapping[str, Json]) -> str:
    return f"the {field} {step[field]!r}" if field in step else f"no {field}"


def _value(value: object) -> str:
    return "none" if value is ABSENT or value is None else repr(value)


@listens(Reported)
def reported_error(execution: Execution, entry: Reported) -> Iterator[str]:
    """F8: an execution's error is its first failure, or that of a cancelled one's compensations."""
    seen = entry.report["error"]
    expected = execution.error
    plain = None if seen is None else {key: value for key, value in seen.items() if key != "compensations"}
    if expected is None and execution.compensation_errors:
        if seen is None and execution.phase is Phase.ROLLING_BACK:
            return
        expected = {"step": None, "attempt": None, "type": "CompensationError", "message": (plain or {}).get("message")}
        if lacking := unnamed([error["step"] for error in execution.compensation_errors], str(expected["message"])):
            yield f"the error of {entry.execution} is reported as {plain!r}, which does not name {lacking}"
    if not same(plain, expected):
        yield f"the error of {entry.execution} is reported as {plain!r}, expected {expected!r}"


@listens(Reported)
def reported_compensations(execution: Execution, entry: Reported) -> Iterator[str]:
    """F5: an execution's error lists the compensations that failed."""
    error = entry.report["error"]
    seen = [] if error is None else error.get("compensations", [])
    if error is None and execution.phase is Phase.ROLLING_BACK and execution.error is None:
        return
    if seen == [] and "compensations" in (error or {}):
        yield f"the error of {entry.execution} has a list of compensations that failed, with none in it"
    elif not same(list(seen), execution.compensation_errors):
        yield f"the error of {entry.execution} lists {list(seen)!r}, failed have {execution.compensation_errors!r}"
