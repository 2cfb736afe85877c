"""A journal judged after the fact: the least history that explains it, held against the model's invariants.

Rule 1: a journal says what was recorded, and nothing of what callers asked and actions saw. That is supposed, so that
what is recorded can be right: a command just around its event, an action from its attempt's start to its end.
Rule 2: nor does a journal say where an engine crashed. Where a crash explains what is recorded, there was one: an
attempt that outlived its timeout without a word was begun again, and what waited was made ready anew.
Rule 3: events of two times are of two writes, and a write holds all that follows from it without the outside: what is
then still owed, no later write makes good.
Rule 4: an engine's number of slots is not in its journal: C1 is judged by the workflow's own limit alone. Nor are its
clocks: times are judged as those of one clock, which never goes back.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Literal, TypeAlias

from engine.definition import parse_workflow
from engine.errors import DefinitionError
from engine.sqlite_journal import Kept
from machines.recorded import Event, Unreadable, told
from model.execution import Execution
from model.history import Answered, Asked, Began, Ended, Entry, Kind, Outcome, Recorded, Rested
from model.invariants import INVARIANTS
from model.judge import Judge
from model.parts import TERMINAL, Attempt, Fate, Phase

__all__ = ["Finding", "judged"]

Json: TypeAlias = Any

_IN_TURN: Final = INVARIANTS["waited_for_its_turn"]
_CLAIMS: Final = frozenset(invariant.clause for invariant in INVARIANTS.values()) - {_IN_TURN.clause}
"""All clauses but the one about turns, which crashes change: it is judged here (rule 2)."""

_OWED: Final = tuple(
    INVARIANTS[name]
    for name in (
        "failure_is_not_lost",
        "decisions_recorded",
        "missing_input_pauses",
        "missing_path_fails",
        "ends_when_settled",
        "cancel_comes_to_its_end",
        "rollback_goes_on",
    )
)
"""What is owed without the outside: no slot, no action's end and no timer is waited for (rule 3)."""

_AS_SLOTS_ALLOW: Final = ("rollback_goes_on",)
"""Those that are owed so only when no compensation is left, which would wait for a slot."""

_ENDS: Final = (
    *("StepCompleted", "StepFailed", "StepRetrying", "StepCancelled"),
    *("CompensationCompleted", "CompensationFailed", "CompensationRetrying"),
)
_TIMEOUTS: Final = ("StepTimedOut", "CompensationTimedOut")
_STARTS: Final[Mapping[str, Kind]] = {"StepStarted": "action", "CompensationStarted": "compensation"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A clause that an execution's journal breaks, at which event, and how."""

    clause: str
    invariant: str
    execution: str
    event: int
    sentence: str

    def tell(self) -> str:
        """The finding as a sentence."""
        return f"{self.clause} ({self.invariant}): execution {self.execution}, event {self.event}: {self.sentence}"


class _Broken(Exception):  # noqa: N818 - the name of what happened
    """An event breaks a clause: clause, invariant, sentence."""

    def __init__(self, clause: str, invariant: str, sentence: str) -> None:
        super().__init__(sentence)
        self.clause = clause
        self.invariant = invariant
        self.sentence = sentence


def judged(execution: str, kept: Kept) -> Finding | None:
    """The first clause that what is kept of an execution breaks, if it breaks any. It need not have ended."""
    hindsight = _Hindsight(execution, kept)
    try:
        hindsight.judge()
    except _Broken as broken:
        return Finding(broken.clause, broken.invariant, execution, hindsight.number, broken.sentence)
    except RecursionError:
        return Finding("J1", "readable", execution, hindsight.number, "it is nested too deeply to be judged")
    return None


# What is supposed


class _Hindsight:
    """One execution's journal, before a judge of its own."""

    def __init__(self, name: str, kept: Kept) -> None:
        self.number = 0
        """The event that is being judged."""
        self._name = name
        self._kept = kept
        self._court = Judge(max_concurrent_steps=sys.maxsize, claims=_CLAIMS)
        self._asks = 0
        self._events: list[tuple[int, Event]] = []
        self._next: list[int | None] = []
        """By position: where the next word about the attempt is that started there."""

    @property
    def _execution(self) -> Execution | None:
        return self._court.facts.executions.get(self._name)

    def judge(self) -> None:
        """Go through all of it.

        Raises:
            _Broken: a clause is.
        """
        unreadable = self._read()
        before = 0.0
        for position, (seq, event) in enumerate(self._events):
            if position and event["at"] != before:
                self._check_owed(before)
            before, self.number = event["at"], seq
            self._take(position, seq, event)
        if unreadable is not None:
            self.number, sentence = unreadable
            raise _Broken("J1", "readable", sentence)
        self._check_owed(before)
        self._check_count()

    def _read(self) -> tuple[int, str] | None:
        """Read the events, as far as they can be read; returns which cannot, and why."""
        unreadable = origin = None
        for seq, event in told(self._kept):
            if isinstance(event, Unreadable):
                unreadable = seq, str(event)
                break
            origin = event["at"] if origin is None else origin
            self._events.append((seq, _since(origin, event)))
        following: dict[str, int] = {}
        self._next = [None] * len(self._events)
        for position in reversed(range(len(self._events))):
            event = self._events[position][1]
            if event["type"] in _STARTS:
                self._next[position] = following.pop(event["step"], None)
            elif event["type"] in (*_ENDS, *_TIMEOUTS):
                following[event["step"]] = position
        return unreadable

    def _take(self, position: int, seq: int, event: Event) -> None:
        """Judge an event, with what must have come before it and what comes right after."""
        kind, at = event["type"], event["at"]
        if kind == "ExecutionCreated":
            event = {**event, "workflow": _plain(event["workflow"])}
        asked = self._asked(kind, event, at)
        if kind in _ENDS:
            self._suppose_end(event, at)
        if kind == "StepStarted":
            self._check_turn(event["step"])
        self._feed(Recorded(at, self._name, seq, event))
        if asked is not None:
            self._feed(Answered(at, asked, self._name if kind == "ExecutionCreated" else True))
        if kind in _STARTS:
            self._suppose_begin(position, event, at)

    def _feed(self, entry: Entry) -> None:
        for violation in self._court.feed(entry):
            raise _Broken(violation.clause, violation.invariant, violation.sentence)

    # Commands

    def _asked(self, kind: str, event: Event, at: float) -> int | None:
        """Suppose the command that an event is the answer to, if it is one."""
        match kind:
            case "ExecutionCreated":
                return self._ask("start", {"workflow": event["workflow"], "input": event["input"]}, at)
            case "ExecutionPaused" if not event["missing"]:
                return self._ask("pause", {}, at)
            case "ExecutionResumed":
                return self._ask("resume", {"inputs": event["inputs"]}, at)
            case "CancellationRequested":
                return self._ask("cancel", {}, at)
            case _:
                return None

    def _ask(
        self, command: Literal["start", "pause", "resume", "cancel"], arguments: Mapping[str, Json], at: float
    ) -> int:
        self._asks += 1
        self._feed(Asked(at, self._asks, command, None if command == "start" else self._name, arguments))
        return self._asks

    # Actions

    def _suppose_begin(self, position: int, event: Event, at: float) -> None:
        """An attempt's action begins, with what the model says that it gets."""
        execution, step, number = self._execution, event["step"], event["attempt"]
        assert execution is not None
        attempt = execution.open[step]
        progress = execution.steps[step]
        parameters = progress.parameters
        infix = ""
        if attempt.kind == "compensation":
            parameters, infix = progress.undo and progress.undo.parameters, "compensation/"
        began = self._begun(position, execution.policy(attempt).timeout, at)
        key = f"{self._name}/{step}/{infix}{number}"
        self._feed(Began(began, self._name, step, number, attempt.kind, parameters, key))

    def _begun(self, position: int, timeout: float | None, at: float) -> float:
        """When the action began whose outcome was recorded: with the attempt, or after a crash (rule 2)."""
        following = self._next[position]
        if timeout is None or following is None:
            return at
        then = self._events[following][1]
        return at if then["type"] in _TIMEOUTS else max(at, then["at"] - timeout)

    def _suppose_end(self, event: Event, at: float) -> None:
        """An attempt's action has ended as its event says."""
        execution = self._execution
        attempt = None if execution is None else execution.live.get(event["step"])
        if execution is None or attempt is None or attempt.number != event["attempt"]:
            return
        outcome, value, is_json = _outcome(execution, attempt, event)
        self._feed(Ended(at, self._name, attempt.step, attempt.number, attempt.kind, outcome, value, is_json))

    # What the model does not say of a journal

    def _check_turn(self, step: str) -> None:
        """C3: steps start as they became ready, or, after a crash, in the order of definition (rule 2)."""
        execution = self._execution
        if execution is None or execution.phase is not Phase.RUNNING or step not in execution.waiting:
            return
        index = execution.steps[step].step.index
        for earlier, wait in takewhile(lambda waiting: waiting[0] != step, execution.waiting.items()):
            startable = wait.plan is not None and wait.plan.fate is Fate.START
            if startable and execution.steps[earlier].step.index < index:
                sentence = f"{step!r} started before {earlier!r}, which was ready before it, and is defined before it"
                raise _Broken(_IN_TURN.clause, _IN_TURN.name, sentence)

    def _check_owed(self, at: float) -> None:
        """A write is over: what follows from it without the outside is in it (rule 3)."""
        execution = self._execution
        if execution is None:
            return
        for invariant in _OWED:
            waits = invariant.name in _AS_SLOTS_ALLOW and execution.compensable
            if execution.phase in invariant.keys and not waits:
                for sentence in invariant.check(execution, Rested(at)):
                    raise _Broken(invariant.clause, invariant.name, sentence)

    def _check_count(self) -> None:
        """J1, J3: the journal's own account of the execution is right: appends and recoveries go by it."""
        last = self._events[-1][0] if self._events else 0
        if self._kept.last != last:
            sentence = f"it is the last one that is there, and the journal says that event {self._kept.last} is"
            raise _Broken("J1", "counted", sentence)
        ended = self._execution is not None and self._execution.phase in TERMINAL
        if self._kept.ended != ended:
            told, is_so = ("ended", "has not") if self._kept.ended else ("unfinished", "has")
            sentence = f"recoveries take the execution for {told}, and by its events it {is_so} ended"
            raise _Broken("J3", "counted_as_ended", sentence)


def _outcome(execution: Execution, attempt: Attempt, event: Event) -> tuple[Outcome, Json, bool]:
    """How an action must have ended for the event to be right: outcome, value, and whether that is JSON."""
    kind = event["type"]
    if attempt.timed_out or kind == "StepCancelled":
        return "cancelled", None, True
    if kind.endswith("Completed"):
        return "returned", event.get("output"), True
    error = event["error"]
    refused = kind == "StepFailed" and error["type"] == "ValidationError"
    if refused and attempt.number < execution.policy(attempt).retries.max_attempts:
        return "returned", None, False  # it is final, so it is an output that V4 refuses: which, no journal says
    return "raised", [error["type"], error["message"]], True


def _since(origin: float, event: Event) -> Event:
    """The event with its times counted from the first one's: nobody can read a sentence about seconds since 1970."""
    return {**event, **{name: event[name] - origin for name in ("at", "until") if name in event}}


def _plain(workflow: Json) -> Json:
    """The definition in a shape that the model reads.

    Raises:
        _Broken: no engine would have taken it.
    """
    try:
        parse_workflow(workflow)
    except DefinitionError as error:
        sentence = f"an execution was created of a workflow that is refused: {'; '.join(map(str, error.faults))}"
        raise _Broken("D3", "nothing_broken_is_created", sentence) from error
    present = {key: value for key, value in workflow.items() if value is not None}
    if "steps" in present or "nodes" in present:
        return present
    from machines.own_workflow import with_our_actions  # noqa: PLC0415  # Hypothesis takes half a second to import

    return with_our_actions(present)
