"""What an execution of the naive engine asks for without a command: the next event, if there is one.

Rule 1: it follows from three things alone: the state, what has become of the actions, and the time.
Rule 2: what is yielded first is written first; after each event all is looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, TypeAlias

from machines.target import Json
from machines.targets.naive_state import State, error_of, is_json, others, violations

Write: TypeAlias = tuple[str, dict[str, Json]]
"""An event to be written, without its time; ``wait`` becomes ``until``."""

_SETTLED: Final = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")
GOING: Final = ("RUNNING", "PAUSED")


class Attempt:
    """An action under way."""

    def __init__(self, task: asyncio.Task[Json]) -> None:
        self.task = task
        self.expired = False
        self.interrupted = False
        self.over = False
        """The action has ended, and its slot was given back."""
        self.timer: asyncio.TimerHandle | None = None

    def interrupt(self) -> None:
        """Cancel it, once."""
        if not self.interrupted:
            self.interrupted = True
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class Prospect:
    """An execution at one moment, and what follows from it."""

    state: State
    attempts: Mapping[str, Attempt]
    """By step: the actions under way, or over and not yet recorded."""
    now: float

    def next(self) -> Write | None:
        """The next event that nothing but the state, ended actions and the time ask for."""
        if self.state.status == "PENDING":
            return "ExecutionStarted", {}
        if self.state.status in GOING:
            return next(self._while_going(), None)
        if self.state.status == "CANCELLING":
            return next(self._while_cancelling(), None)
        return next(self._while_rolling_back(), None)

    def _while_going(self) -> Iterator[Write]:
        if doom := self.state.doom():
            yield "RollbackStarted", {"error": doom}
        for name, stand in self.state.stands.items():
            if stand.status == "PENDING" and isinstance(stand.decided, str):
                yield "StepFailed", failed(name, 0, "ConditionError", stand.decided)
            elif stand.status == "PENDING" and stand.decided is False:
                yield "StepSkipped", {"step": name}
        if all(stand.status in _SETTLED for stand in self.state.stands.values()):
            partial = any(stand.status == "FAILED" for stand in self.state.stands.values())
            yield "ExecutionEnded", {"status": "PARTIAL" if partial else "COMPLETED"}
        if self.state.status == "RUNNING":
            yield from self._made_ready()
        for name, stand in self.state.stands.items():
            if stand.running:
                yield from self._progress(name)
        if self.now >= self.state.deadline:
            message = f"the execution outlived its {self.state.definition['timeout']:g} s"
            yield "RollbackStarted", {"error": error_of(None, None, "ExecutionTimeoutError", message)}

    def _made_ready(self) -> Iterator[Write]:
        """What becomes of steps that could start now, but for their parameters or their own condition."""
        missing = {name: paths for name in self.state.steps if (paths := self.state.lacks(name)) and not others(paths)}
        if missing:
            yield "ExecutionPaused", {"missing": missing}
        for name in self.state.steps:
            if not self.state.is_open(name):
                continue
            verdict = self.state.own_verdict(name)
            if isinstance(verdict, str):
                yield "StepFailed", failed(name, 0, "ConditionError", verdict)
            elif not verdict:
                yield "StepSkipped", {"step": name}
            elif paths := others(self.state.lacks(name)):
                message = f"step {name}: there is no {', '.join(paths)}"
                yield "StepFailed", failed(name, 0, "UnresolvedReferenceError", message)

    def _progress(self, name: str) -> Iterator[Write]:
        """What has become of a running attempt while its step is wanted."""
        stand, spec, attempt = self.state.stands[name], self.state.steps[name], self.attempts.get(name)
        undo = stand.status == "COMPENSATING"
        number, word = (stand.undone, "Compensation") if undo else (stand.attempts, "Step")
        if attempt and attempt.expired and not stand.timed_out:
            yield f"{word}TimedOut", {"step": name, "attempt": number}
        if not (attempt.over if attempt else stand.timed_out):
            return
        policy = (spec["compensation"] if undo else spec).get("retries", {})
        error, final = self._failure(name, attempt)
        if error is None:
            output = {} if undo else {"output": deepcopy(attempt.task.result())} if attempt else {}
            yield f"{word}Completed", {"step": name, "attempt": number, **output}
        elif final or number >= policy.get("max_attempts", 1):
            yield f"{word}Failed", {"step": name, "attempt": number, "error": error}
        else:
            longest = policy.get("max_interval", 60)
            try:
                wait = policy.get("initial_interval", 1) * policy.get("backoff", 2) ** (number - 1)
            except OverflowError:  # of two floats; of two ints the product is exact
                wait = longest if policy.get("initial_interval", 1) else 0
            wait = min(wait, longest)
            yield f"{word}Retrying", {"step": name, "attempt": number, "error": error, "wait": wait}

    def _failure(self, name: str, attempt: Attempt | None) -> tuple[Json, bool]:
        """How an attempt that is over has failed, and whether that is for good; None: it has not."""
        stand, spec = self.state.stands[name], self.state.steps[name]
        undo = stand.status == "COMPENSATING"
        number = stand.undone if undo else stand.attempts
        if stand.timed_out or attempt is None:
            seconds = (spec["compensation"] if undo else spec)["timeout"]
            message = f"step {name}: attempt {number} outlived its {seconds} s"
            return error_of(name, number, "StepTimeoutError", message), False
        if attempt.task.cancelled():
            return error_of(name, number, "CancelledError", "the action cancelled itself"), False
        if raised := attempt.task.exception():
            return error_of(name, number, type(raised).__name__, str(raised)), False
        if undo:
            return None, False
        output = attempt.task.result()
        found = violations(spec["output_schema"], output) if "output_schema" in spec and is_json(output) else ""
        if not is_json(output):
            found = "$: JSON cannot hold it"
        return (error_of(name, number, "ValidationError", f"step {name}: its output: {found}") if found else None), True

    def _while_cancelling(self) -> Iterator[Write]:
        """Wait for what was cancelled; then roll back, if that is wanted and there is anything to undo."""
        yield from self._given_up()
        if any(stand.running for stand in self.state.stands.values()):
            return
        if self.state.definition.get("rollback_on_cancel") and self.state.next_undo():
            yield "RollbackStarted", {"error": None}
        yield "ExecutionEnded", {"status": "CANCELLED"}

    def _given_up(self) -> Iterator[Write]:
        """What has become of attempts that were cancelled with their execution (F6)."""
        for name, stand in self.state.stands.items():
            attempt = self.attempts.get(name)
            if stand.status != "RUNNING" or (attempt and not attempt.over):
                continue
            error = True if attempt is None or stand.timed_out else self._failure(name, attempt)[0]
            if error or attempt is None:
                yield "StepCancelled", {"step": name, "attempt": stand.attempts}
            else:
                output = deepcopy(attempt.task.result())
                yield "StepCompleted", {"step": name, "attempt": stand.attempts, "output": output}

    def _while_rolling_back(self) -> Iterator[Write]:
        yield from self._given_up()
        if any(stand.status == "RUNNING" for stand in self.state.stands.values()):
            return
        name = self.state.next_undo()
        if name is None:
            yield "ExecutionEnded", {"status": "CANCELLED" if self.state.cancelled else "FAILED"}
        elif self.state.stands[name].running:
            yield from self._progress(name)
        elif fault := self.state.undo_fault(name):
            yield "CompensationFailed", failed(name, 0, "UnresolvedReferenceError", fault)


def failed(step: str, attempt: int, kind: str, message: str) -> dict[str, Json]:
    return {"step": step, "attempt": attempt, "error": error_of(step, attempt, kind, message)}
