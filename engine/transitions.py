"""The pure core: what each command means for an execution, as events or as a refusal.

Rule 1: every decision about an execution is taken in this file. The shell performs, and has no opinion of its own.
Rule 2: nothing here awaits, sleeps, logs or looks at a clock; ``at`` is given.
Rule 3: a refused command leaves the state as it was and makes no event (K1).
Rule 4: whatever follows from an event without the outside (a skip, a failed condition, the next pause, the end)
is decided together with it, so that one durable write holds all of it.

``decide`` works on the state it is given and leaves it as the events have made it; folding the same events into
another copy gives the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from engine.errors import (
    ConditionError,
    ExecutionTimeoutError,
    StepTimeoutError,
    UnresolvedReferenceError,
    ValidationError,
    WorkflowError,
)
from engine.messages import (
    AttemptRaised,
    AttemptReturned,
    AttemptYielded,
    Begin,
    Cancel,
    CancellationRequested,
    Command,
    CompensationCompleted,
    CompensationFailed,
    CompensationRetrying,
    CompensationStarted,
    CompensationTimedOut,
    Event,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    Expire,
    Failure,
    Json,
    Pause,
    Resume,
    RollbackStarted,
    StartAttempt,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepTimedOut,
    TakeUp,
    TimeOut,
)
from engine.references import MissingPath, resolve
from engine.state import State, Status, StepStatus, apply
from engine.values import fresh, json_faults, json_value
from engine.workflow import Step

# What every step is held against; see `engine.state` for why.
_RUNNING: Final = Status.RUNNING
_COMPENSATING: Final = StepStatus.COMPENSATING
_PASSED: Final = (StepStatus.COMPLETED, StepStatus.FAILED)


@dataclass(slots=True)
class Decision:
    """What came of a command: whether it was accepted, its events, and the steps that became ready, in order (C3)."""

    state: State
    at: float
    accepted: bool = True
    events: list[Event] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Let the event happen."""
        apply(self.state, event)
        self.events.append(event)


def decide(state: State, command: Command, at: float) -> Decision:
    """Decide a command at a time (seconds on the engine's clock). The state is left as the events have made it."""
    decision = Decision(state, at)
    match command:
        case AttemptReturned(step=step, value=value):
            _returned(decision, state.workflow.steps[step], value)
        case StartAttempt(step=step):
            _start(decision, state.workflow.steps[step])
        case AttemptRaised(step, kind, message):
            _raised(decision, state.workflow.steps[step], kind, message)
        case AttemptYielded(step):
            _raised(decision, state.workflow.steps[step], "CancelledError", "the action cancelled itself")
        case TimeOut(step, attempt):
            _time_out(decision, state.workflow.steps[step], attempt)
        case Begin() | TakeUp() | Pause() | Resume() | Cancel() | Expire():
            _control(decision, command)
    return decision


def _control(decision: Decision, command: Begin | TakeUp | Pause | Resume | Cancel | Expire) -> None:
    """Commands to the execution as a whole, against the statuses that accept them."""
    state, at = decision.state, decision.at
    match command, state.status:
        case Begin(), Status.PENDING:
            decision.emit(ExecutionStarted(at))
            _advance(decision, state.roots())
        case TakeUp(), Status.RUNNING:
            _wake(decision)
        case TakeUp(), Status.CANCELLING | Status.ROLLING_BACK:
            _unwind(decision)
        case Pause(), Status.RUNNING:
            decision.emit(ExecutionPaused(at, {}))
        case Resume(inputs), Status.PAUSED:
            decision.emit(ExecutionResumed(at, inputs or {}))
            _wake(decision)
        case Cancel(), Status.PENDING | Status.RUNNING | Status.PAUSED:
            decision.emit(CancellationRequested(at))
            _unwind(decision)
        case Expire(), Status.RUNNING | Status.PAUSED:
            error = ExecutionTimeoutError(state.workflow.id, state.workflow.timeout or 0.0)
            decision.emit(RollbackStarted(at, Failure(None, None, type(error).__name__, str(error))))
            _unwind(decision)
        case _:
            decision.accepted = False


# Attempts


def _start(decision: Decision, step: Step) -> None:
    """A slot is there: the next attempt starts, if the step may still run."""
    state, at, index = decision.state, decision.at, step.index
    retries = index in state.retrying
    rested = not retries or state.retrying[index] <= at
    if rested and state.status is _RUNNING and (retries or index in state.open):
        decision.emit(StepStarted(at, step.id, state.attempts[index] + 1))
    elif rested and state.status is Status.ROLLING_BACK and not state.running and state.undoable[-1:] == [index]:
        decision.emit(CompensationStarted(at, step.id, state.undo_attempts.get(index, 0) + 1))
    else:
        decision.accepted = False


def _time_out(decision: Decision, step: Step, attempt: int) -> None:
    """The attempt is doomed from now on (F2), unless it has ended."""
    state, index = decision.state, step.index
    runs = state.running.get(index) == attempt and index not in state.timed_out
    if runs and state.statuses[index] is _COMPENSATING:
        decision.emit(CompensationTimedOut(decision.at, step.id, attempt))
    elif runs and not state.stopping:
        decision.emit(StepTimedOut(decision.at, step.id, attempt))
    else:
        decision.accepted = False


def _returned(decision: Decision, step: Step, value: Json) -> None:
    state, index = decision.state, step.index
    attempt = state.running[index]
    if index in state.timed_out:
        _failed(decision, step, _timeout_failure(decision, step, attempt))
    elif state.statuses[index] is _COMPENSATING:
        decision.emit(CompensationCompleted(decision.at, step.id, attempt))
        _unwind(decision)
    elif faults := _output_faults(step, value):
        error = ValidationError(step.id, faults)
        _failed(decision, step, Failure(step.id, attempt, type(error).__name__, str(error)), final=True)
    else:
        decision.emit(StepCompleted(decision.at, step.id, attempt, value))
        if state.active:
            _advance(decision, _opened(state, index))
        else:
            _unwind(decision)


def _output_faults(step: Step, value: Json) -> tuple[str, ...]:
    if not json_value(value):
        return json_faults(value)
    return step.output_schema.faults(value) if step.output_schema else ()


def _raised(decision: Decision, step: Step, kind: str, message: str) -> None:
    state, index = decision.state, step.index
    attempt = state.running[index]
    if index in state.timed_out:
        _failed(decision, step, _timeout_failure(decision, step, attempt))
    else:
        _failed(decision, step, Failure(step.id, attempt, kind, message))


def _timeout_failure(decision: Decision, step: Step, attempt: int) -> Failure:
    undoing = decision.state.statuses[step.index] is _COMPENSATING
    policy = step.compensation if undoing and step.compensation else step
    error = StepTimeoutError(step.id, attempt, policy.timeout or 0.0)
    return Failure(step.id, attempt, type(error).__name__, str(error))


def _failed(decision: Decision, step: Step, failure: Failure, *, final: bool = False) -> None:
    """An attempt failed: another one follows, or it was the last (F1, F5); ``final``: another one cannot cure it."""
    state, at, index = decision.state, decision.at, step.index
    attempt = state.running[index]
    if state.statuses[index] is _COMPENSATING and step.compensation is not None:
        retries = step.compensation.retries
        if attempt < retries.max_attempts:
            decision.emit(CompensationRetrying(at, step.id, attempt, failure, at + retries.delay(attempt)))
        else:
            decision.emit(CompensationFailed(at, step.id, attempt, failure))
            _unwind(decision)
    elif state.stopping:
        decision.emit(StepCancelled(at, step.id, attempt))
        _unwind(decision)
    elif attempt < step.retries.max_attempts and not final:
        decision.emit(StepRetrying(at, step.id, attempt, failure, at + step.retries.delay(attempt)))
    else:
        _give_up(decision, step, attempt, failure)
        if state.active:
            _advance(decision, _opened(state, index))


def _give_up(decision: Decision, step: Step, attempt: int, error: Failure | WorkflowError) -> bool:
    """The step has failed for good: so has the execution, unless the failure is tolerated (F3). Returns False."""
    failure = error if isinstance(error, Failure) else Failure(step.id, attempt, type(error).__name__, str(error))
    decision.emit(StepFailed(decision.at, step.id, attempt, failure))
    if not step.continue_on_error:
        decision.emit(RollbackStarted(decision.at, failure))
        _unwind(decision)
    return False


# What follows


def _opened(state: State, index: int) -> list[int]:
    """The steps whose last undecided connection came from this one, in the order of definition."""
    return [target for target in state.workflow.outgoing[index] if not state.undecided[target]]


def _advance(decision: Decision, wave: list[int], *, woken: bool = False) -> None:
    """Decide the steps whose connections are all decided, and those that follow (O1, O2); then the pause or the end.

    ``woken``: they were decided before and wait to be made ready, or to be tried again; a condition of a step's own is
    looked at again, as it is decided when the step would start (V5).
    """
    state = decision.state
    missing: dict[str, list[str]] = {}
    steps = state.workflow.steps
    while wave:
        following: list[int] = []
        for index in wave:
            step = steps[index]
            if index in state.retrying:  # its wait is over, and its parameters stay what they are
                decision.ready.append(index)
                continue
            runs = (woken and step.condition is None) or _join(decision, step)
            if runs and (state.status is not _RUNNING or _prepare(decision, step, missing)):
                continue
            if not state.active:
                return
            following += _opened(state, index)
        wave, woken = following, False
    if missing:
        decision.ready.clear()
        decision.emit(ExecutionPaused(decision.at, missing))
    if not state.unsettled:
        ended = Status.PARTIAL if state.errors else Status.COMPLETED
        decision.emit(ExecutionEnded(decision.at, ended.value))


def _join(decision: Decision, step: Step) -> bool:
    """Whether a step is to run, now that its connections are decided; if not, it is SKIPPED or FAILED."""
    try:
        taken = _taken(decision.state, step)
    except ConditionError as error:
        _give_up(decision, step, 0, error)
        return False
    if not taken:
        decision.emit(StepSkipped(decision.at, step.id))
    return taken


def _taken(state: State, step: Step) -> bool:
    """Whether all of the step's connections are taken, or any, as its join wants (O2).

    Raises:
        ConditionError: a condition cannot be evaluated (V5).
    """
    connections = state.workflow.incoming[step.index]
    if not connections:
        return step.condition is None or step.condition.evaluate(step.id, state.scope())
    taken = []
    for connection in connections:
        source = state.statuses[connection.source]
        passed = source in _PASSED
        if passed and connection.condition is not None:
            passed = connection.condition.evaluate(step.id, state.scope())
        taken.append(passed)
    return all(taken) if step.join == "all" else any(taken)


def _prepare(decision: Decision, step: Step, missing: dict[str, list[str]]) -> bool:
    """Make a step that is to run ready, or note the inputs it misses (V3, V4, P4). Returns False if it failed."""
    state, index = decision.state, step.index
    if step.has_references or step.input_schema is not None:
        try:
            resolved = resolve(step.parameters, state.scope(index))
        except MissingPath as error:
            inputs = [path for path in error.paths if path.partition(".")[0] == "input"]
            if len(inputs) == len(error.paths):
                missing[step.id] = inputs
                return True
            path = next(path for path in error.paths if path not in inputs)
            return _give_up(decision, step, 0, UnresolvedReferenceError(step.id, path))
        if step.input_schema is not None and (faults := step.input_schema.faults(resolved)):
            return _give_up(decision, step, 0, ValidationError(step.id, faults))
    decision.ready.append(index)
    return True


def _wake(decision: Decision) -> None:
    """After a resume or a recovery: all that waits becomes ready by it, in the order of definition (C3)."""
    state, steps = decision.state, decision.state.workflow.steps
    rested = [index for index, until in state.retrying.items() if until <= decision.at]
    _advance(decision, sorted([*rested, *state.open], key=lambda index: steps[index].position), woken=True)


def _unwind(decision: Decision) -> None:
    """A stopped execution goes on to its end: first its attempts end, then its compensations run, newest first (F4)."""
    state, at = decision.state, decision.at
    decision.ready.clear()
    if state.running:
        return
    if state.status is Status.CANCELLING:
        if not state.workflow.rollback_on_cancel:
            decision.emit(ExecutionEnded(at, Status.CANCELLED.value))
            return
        decision.emit(RollbackStarted(at, None))
    while state.undoable:
        step = state.workflow.steps[state.undoable[-1]]
        if step.index in state.retrying:
            return
        if (failure := _unresolved(state, step)) is None:
            decision.ready.append(step.index)
            return
        decision.emit(CompensationFailed(at, step.id, 0, failure))
    ended = Status.CANCELLED if state.cancelled else Status.FAILED
    decision.emit(ExecutionEnded(at, ended.value))


def _unresolved(state: State, step: Step) -> Failure | None:
    """What keeps a step's compensation from starting, if anything does."""
    try:
        compensation_parameters(state, step)
    except MissingPath as missing:
        error = UnresolvedReferenceError(step.id, missing.paths[0])
        return Failure(step.id, 0, type(error).__name__, str(error))
    return None


# What an attempt gets


def parameters(state: State, step: Step) -> dict[str, Json]:
    """The parameters of a step's attempts: made anew for each, always the same value (V2)."""
    found: dict[str, Json]
    found = resolve(step.parameters, state.scope(step.index)) if step.has_references else fresh(step.parameters)
    return found


def compensation_parameters(state: State, step: Step) -> dict[str, Json]:
    """The parameters of a step's compensation; its own id names its output (F4).

    Raises:
        MissingPath: a reference leads nowhere.
    """
    assert step.compensation is not None
    resolved: dict[str, Json] = resolve(step.compensation.parameters, state.scope(step.index))
    return resolved
