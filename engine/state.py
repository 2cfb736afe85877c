"""What the engine knows of one execution, and what each event changes in it.

Rule 1: a ``State`` is changed by ``apply`` alone; folding an execution's events rebuilds it (J1).
Rule 2: ``apply`` cannot fail, and looks at no clock.
Rule 3: an event costs as much as its own step's connections, however large the workflow is: no scan, no copy.
Rule 4: what follows from the status is derived when asked, not stored (a PENDING step of a stopped execution is
CANCELLED).
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from engine.messages import (
    CancellationRequested,
    CompensationCompleted,
    CompensationFailed,
    CompensationRetrying,
    CompensationStarted,
    CompensationTimedOut,
    Event,
    ExecutionCreated,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    Failure,
    Json,
    RollbackStarted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepTimedOut,
)
from engine.values import fresh
from engine.workflow import Workflow


class Status(StrEnum):
    """Where an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    ROLLING_BACK = "ROLLING_BACK"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"


TERMINAL: Final = (Status.COMPLETED, Status.PARTIAL, Status.FAILED, Status.CANCELLED)
ACTIVE: Final = (Status.RUNNING, Status.PAUSED)
STOPPING: Final = (Status.CANCELLING, Status.ROLLING_BACK)
_STOPPED: Final = (*STOPPING, Status.FAILED, Status.CANCELLED)
_WAITING: Final = (StepStatus.PENDING, StepStatus.RETRYING)

# What every step becomes. To look a member up in its enum is slow before Python 3.12: a twentieth of a step's cost.
# To ask a member for its value is no faster.
_RUNNING: Final = StepStatus.RUNNING
_COMPLETED: Final = StepStatus.COMPLETED
_WORDS: Final = {status: status.value for status in StepStatus}

Report: TypeAlias = dict[str, Json]


class State:
    """Everything the engine knows of one execution. Steps are named by their index in ``workflow.steps``."""

    __slots__ = (
        "attempts",
        "cancelled",
        "compensation_failures",
        "error",
        "errors",
        "inputs",
        "missing",
        "open",
        "outputs",
        "pinned",
        "retrying",
        "running",
        "seq",
        "started_at",
        "status",
        "statuses",
        "timed_out",
        "undecided",
        "undo_attempts",
        "undoable",
        "unsettled",
        "workflow",
    )

    def __init__(self, workflow: Workflow, input_data: dict[str, Json]) -> None:
        steps = len(workflow.steps)
        self.workflow = workflow
        self.status = Status.PENDING
        self.seq = 1
        self.cancelled = False
        self.started_at: float | None = None
        self.inputs = [input_data]
        """The input, and what each resume that brought something made of it."""
        self.pinned: dict[int, int] = {}
        """Which of ``inputs`` a step's parameters are made of, where it is not the first."""
        self.statuses = [StepStatus.PENDING] * steps
        self.attempts = [0] * steps
        self.undecided = [0] * steps
        """Per step: how many of its sources are not settled."""
        for targets in workflow.outgoing:
            for target in targets:
                self.undecided[target] += 1
        self.unsettled = steps
        self.open: dict[int, None] = {}
        """PENDING steps whose connections are all decided, in that order; those that wait for a slot among them."""
        self.running: dict[int, int] = {}
        """The attempts under way, compensations too."""
        self.timed_out: dict[int, None] = {}
        self.retrying: dict[int, float] = {}
        """Steps (or compensations) that wait for their next attempt, and until when."""
        self.outputs: dict[str, Json] = {}
        self.errors: dict[int, Failure] = {}
        self.error: Failure | None = None
        self.missing: dict[str, list[str]] = {}
        self.undoable: list[int] = []
        """COMPLETED steps that have a compensation, oldest first: rollback takes them from the end (F4)."""
        self.undo_attempts: dict[int, int] = {}
        self.compensation_failures: list[Failure] = []

    @property
    def terminal(self) -> bool:
        """Whether nothing can change any more (K6)."""
        return self.status in TERMINAL

    @property
    def active(self) -> bool:
        """Whether steps may still settle one another: RUNNING or PAUSED."""
        return self.status in ACTIVE

    @property
    def stopping(self) -> bool:
        """Whether the execution is on its way to FAILED or CANCELLED: nothing new starts but compensations."""
        return self.status in STOPPING

    def step_status(self, step: int) -> StepStatus:
        """Where a step stands, with what the execution's own status makes of it (F3, K3)."""
        status = self.statuses[step]
        if status in _WAITING and self.status in _STOPPED:
            return StepStatus.CANCELLED
        return status

    def roots(self) -> list[int]:
        """The steps without incoming connections, in the order of definition: of them the topological one is that."""
        return [index for index, incoming in enumerate(self.workflow.incoming) if not incoming]

    def scope(self, step: int | None = None) -> Mapping[str, Json]:
        """The names that references and conditions see (V1): the input as ``step`` sees it, and all outputs."""
        version = -1
        if step is not None and self.attempts[step]:
            version = self.pinned.get(step, 0)
        return ChainMap({"input": self.inputs[version]}, self.outputs)


def apply(state: State, event: Event) -> None:  # noqa: PLR0915  # one exhaustive table of all events
    """Fold one event into the state."""
    state.seq += 1
    match event:
        case StepStarted(step=step, attempt=attempt):
            index = state.workflow.index[step]
            state.open.pop(index, None)
            state.retrying.pop(index, None)
            state.statuses[index] = _RUNNING
            state.attempts[index] = attempt
            state.running[index] = attempt
            if attempt == 1 and len(state.inputs) > 1:
                state.pinned[index] = len(state.inputs) - 1
        case StepCompleted(step=step, output=output):
            index = _ended(state, step, _COMPLETED)
            state.outputs[step] = output
            if state.workflow.steps[index].compensation is not None:
                state.undoable.append(index)
            _settle(state, index)
        case StepSkipped(_, step):
            _settle(state, _ended(state, step, StepStatus.SKIPPED))
        case StepFailed(_, step, _, error):
            index = _ended(state, step, StepStatus.FAILED)
            state.errors[index] = error
            _settle(state, index)
        case StepRetrying(_, step, _, _, until):
            state.retrying[_ended(state, step, StepStatus.RETRYING)] = until
        case StepCancelled(_, step):
            _ended(state, step, StepStatus.CANCELLED)
        case StepTimedOut(_, step) | CompensationTimedOut(_, step):
            state.timed_out.setdefault(state.workflow.index[step])
        case CompensationStarted(_, step, attempt):
            index = state.workflow.index[step]
            state.retrying.pop(index, None)
            state.statuses[index] = StepStatus.COMPENSATING
            state.undo_attempts[index] = attempt
            state.running[index] = attempt
        case CompensationRetrying(_, step, _, _, until):
            state.retrying[_ended(state, step, StepStatus.COMPENSATING)] = until
        case CompensationCompleted(_, step):
            _ended(state, step, StepStatus.COMPENSATED)
            state.undoable.pop()
            del state.outputs[step]
        case CompensationFailed(_, step, _, error):
            state.errors[_ended(state, step, StepStatus.COMPENSATION_FAILED)] = error
            state.undoable.pop()
            state.compensation_failures.append(error)
        case ExecutionStarted(at):
            state.status = Status.RUNNING
            state.started_at = at
            state.open.update(dict.fromkeys(state.roots()))
        case ExecutionPaused(_, missing):
            state.status = Status.PAUSED
            state.missing = missing
        case ExecutionResumed(_, inputs):
            state.status = Status.RUNNING
            state.missing = {}
            if inputs:
                state.inputs.append(merge(state.inputs[-1], inputs))
        case CancellationRequested():
            state.cancelled = True
            _stop(state, Status.CANCELLING)
        case RollbackStarted(_, error):
            state.error = error
            _stop(state, Status.ROLLING_BACK)
        case ExecutionEnded(_, status):
            state.status = Status(status)
        case ExecutionCreated():
            raise AssertionError(event)  # a broken promise of ours: an execution is created once


def _ended(state: State, step: str, status: StepStatus) -> int:
    """An attempt, if there was one, is over."""
    index = state.workflow.index[step]
    state.statuses[index] = status
    state.running.pop(index, None)
    state.timed_out.pop(index, None)
    return index


def _settle(state: State, index: int) -> None:
    """The step will never run again: its connections are decided."""
    state.open.pop(index, None)
    state.unsettled -= 1
    if state.status not in ACTIVE:
        return
    undecided = state.undecided
    for target in state.workflow.outgoing[index]:
        undecided[target] -= 1
        if not undecided[target]:
            state.open.setdefault(target)


def _stop(state: State, status: Status) -> None:
    state.status = status
    state.missing = {}
    state.open.clear()
    state.retrying.clear()


def merge(old: Json, new: Json) -> Json:
    """``new`` over ``old``: objects key by key at every depth, any other value replaces (P2). Neither is changed."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    merged = dict(old)
    stack = [(merged, new)]
    while stack:
        into, values = stack.pop()
        for key, value in values.items():
            found = into.get(key)
            if isinstance(found, dict) and isinstance(value, dict):
                into[key] = copy = dict(found)
                stack.append((copy, value))
            else:
                into[key] = value
    return merged


def fold(workflow: Workflow, created: ExecutionCreated, events: Iterable[Event]) -> State:
    """The state after these events; ``created`` is the first of the execution's journal (J1)."""
    state = State(workflow, created.input)
    for event in events:
        apply(state, event)
    return state


def report(state: State) -> Report:
    """Where the execution stands, for its caller: a JSON object of their own.

    ``status``, ``seq`` (the number of its last event), ``missing`` (step to paths, P4), ``error`` (F8;
    with ``compensations`` if some failed, F5), and ``steps``: id to ``status``, ``attempts``, ``output`` while it is
    visible, ``error`` if it failed for good.
    """
    return {
        "status": state.status.value,
        "seq": state.seq,
        "missing": fresh(state.missing),
        "error": _error(state),
        "steps": dict(_steps(state)),
    }


def _steps(state: State) -> Iterator[tuple[str, Json]]:
    outputs, errors, attempts = state.outputs, state.errors, state.attempts
    for step in state.workflow.steps:
        found: dict[str, Json] = {"status": _WORDS[state.step_status(step.index)], "attempts": attempts[step.index]}
        if step.id in outputs:
            found["output"] = fresh(outputs[step.id])
        if step.index in errors:
            found["error"] = errors[step.index].to_json()
        yield step.id, found


def _error(state: State) -> Json:
    failed = [failure.to_json() for failure in state.compensation_failures]
    if state.error is not None:
        return {**state.error.to_json(), "compensations": failed} if failed else state.error.to_json()
    if failed:
        names = ", ".join(str(failure["step"]) for failure in failed)
        message = f"compensations failed: {names}"
        return {"step": None, "attempt": None, "type": "CompensationError", "message": message, "compensations": failed}
    return None
