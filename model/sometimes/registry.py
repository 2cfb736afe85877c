"""How a situation is told: by the clauses it tries, a name, and what it listens to.

Rule 1: a situation is a plain function from what is known, before it is folded, and an entry to a truth. It says that
a run came to a place where bugs live, never that anything is wrong.
Rule 2: a name is found at most once a case, and its function is not asked again: watching must cost little.
Rule 3: what is found is declared here; nothing is counted under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from model.history import Began, Ended, Entry, Interrupted, Recorded
from model.parts import STOPPING, Phase, StepPhase

if TYPE_CHECKING:
    from model.execution import Execution
    from model.facts import Facts

Key: TypeAlias = type | str
"""What is listened to: a type of entry, or a type of recorded event by its name."""

Holds: TypeAlias = Callable[[Any, Any], object]
"""From the `Execution` that an event or an action's entry is about (else `Facts`) and the entry to a truth."""


class Situation(NamedTuple):
    """Something that a run must have seen."""

    name: str
    clauses: tuple[str, ...]
    group: str
    holds: Holds


SITUATIONS: Final[dict[str, Situation]] = {}
_LISTENING: Final[dict[Key, tuple[Situation, ...]]] = {}
_OF_AN_EXECUTION: Final = (Began, Interrupted, Ended)


class Group:
    """Situations of one kind, declared one after the other."""

    def __init__(self, name: str) -> None:
        self.name = name

    def sometimes(self, key: Key | tuple[Key, ...], clauses: str, name: str, holds: Holds) -> None:
        """Declare a situation."""
        assert name not in SITUATIONS, f"{name}: the name is taken"
        situation = SITUATIONS[name] = Situation(name, tuple(clauses.split(", ")), self.name, holds)
        for each in key if isinstance(key, tuple) else (key,):
            _LISTENING[each] = (*_LISTENING.get(each, ()), situation)


# Transitions

_EXECUTION_EVENTS: Final[Mapping[str, tuple[tuple[Phase, ...], tuple[Phase, ...]]]] = {
    "ExecutionStarted": ((Phase.PENDING,), (Phase.RUNNING,)),
    "ExecutionPaused": ((Phase.RUNNING,), (Phase.PAUSED,)),
    "ExecutionResumed": ((Phase.PAUSED,), (Phase.RUNNING,)),
    "CancellationRequested": ((Phase.PENDING, Phase.RUNNING, Phase.PAUSED), (Phase.CANCELLING,)),
    "RollbackStarted": ((Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING), (Phase.ROLLING_BACK,)),
}
_ENDS: Final[Mapping[Phase, tuple[Phase, ...]]] = {
    Phase.RUNNING: (Phase.COMPLETED, Phase.PARTIAL),
    Phase.PAUSED: (Phase.COMPLETED, Phase.PARTIAL),
    Phase.CANCELLING: (Phase.CANCELLED,),
    Phase.ROLLING_BACK: (Phase.FAILED, Phase.CANCELLED),
}
_STEP_EVENTS: Final[Mapping[str, tuple[tuple[StepPhase, ...], StepPhase]]] = {
    "StepStarted": ((StepPhase.PENDING, StepPhase.RETRYING), StepPhase.RUNNING),
    "StepSkipped": ((StepPhase.PENDING,), StepPhase.SKIPPED),
    "StepRetrying": ((StepPhase.RUNNING,), StepPhase.RETRYING),
    "StepCompleted": ((StepPhase.RUNNING,), StepPhase.COMPLETED),
    "StepFailed": ((StepPhase.PENDING, StepPhase.RUNNING), StepPhase.FAILED),
    "StepCancelled": ((StepPhase.RUNNING,), StepPhase.CANCELLED),
    "CompensationStarted": ((StepPhase.COMPLETED,), StepPhase.COMPENSATING),
    "CompensationCompleted": ((StepPhase.COMPENSATING,), StepPhase.COMPENSATED),
    "CompensationFailed": ((StepPhase.COMPLETED, StepPhase.COMPENSATING), StepPhase.COMPENSATION_FAILED),
}


def _execution(before: Phase, after: Phase) -> str:
    return f"execution {before.name} -> {after.name}"


def _step(before: StepPhase, after: StepPhase) -> str:
    return f"step {before.name} -> {after.name}"


_EXECUTION_NAMES: Final = {
    kind: {before: _execution(before, after) for before in befores for after in afters}
    for kind, (befores, afters) in _EXECUTION_EVENTS.items()
}
_END_NAMES: Final = {
    before: {after.name: _execution(before, after) for after in afters} for before, afters in _ENDS.items()
}
_STEP_NAMES: Final = {
    kind: {before: _step(before, after) for before in befores} for kind, (befores, after) in _STEP_EVENTS.items()
}
_STOPPED: Final = {before: _step(before, StepPhase.CANCELLED) for before in (StepPhase.PENDING, StepPhase.RETRYING)}
"""What neither runs nor is settled when its execution is stopped becomes CANCELLED by that (F3, K3)."""

_NAMES: Final[list[Mapping[Any, str]]] = [
    *_EXECUTION_NAMES.values(),
    *_END_NAMES.values(),
    *_STEP_NAMES.values(),
    _STOPPED,
]
TRANSITIONS: Final = tuple(dict.fromkeys(name for names in _NAMES for name in names.values()))
"""Every change of status that the contract allows, of executions and of steps."""


@lru_cache(maxsize=16)
def _listening(names: frozenset[str] | None) -> Mapping[Key, tuple[Situation, ...]]:
    return {
        key: tuple(situation for situation in situations if names is None or situation.name in names)
        for key, situations in _LISTENING.items()
    }


class Watch:
    """Finds the situations and the transitions of one case: to be called with each entry before it is folded."""

    __slots__ = ("_left", "found")

    def __init__(self, names: frozenset[str] | None = None) -> None:
        """Watch for all situations, or for those of these names: one that never comes about is asked all along."""
        self.found: dict[str, None] = {}
        self._left = dict(_listening(names))

    def __call__(self, facts: Facts, entry: Entry) -> None:
        """Look at an entry."""
        subject: Facts | Execution | None = facts
        key: Key = type(entry)
        if isinstance(entry, Recorded):
            key = kind = entry.event["type"]
            if (execution := facts.executions.get(entry.execution)) is not None:
                subject = execution
                self._passed(execution, kind, entry)
        elif isinstance(entry, _OF_AN_EXECUTION):
            subject = facts.executions.get(entry.execution)
        left = self._left.get(key)
        if left and subject is not None:
            for situation in left:
                if situation.holds(subject, entry):
                    self.found[situation.name] = None
                    self._left[key] = tuple(other for other in self._left[key] if other is not situation)

    def _passed(self, execution: Execution, kind: str, entry: Recorded) -> None:
        """From one status to another."""
        name: str | None
        if (steps := _STEP_NAMES.get(kind)) is not None:
            name = steps.get(execution.steps[entry.event["step"]].phase)
        elif kind == "ExecutionEnded":
            name = _END_NAMES[execution.phase].get(entry.event["status"])
        elif (executions := _EXECUTION_NAMES.get(kind)) is not None:
            name = executions.get(execution.phase)
            if kind in {"CancellationRequested", "RollbackStarted"} and execution.phase not in STOPPING:
                for progress in execution.steps.values():
                    if progress.phase in _STOPPED:
                        self.found[_STOPPED[progress.phase]] = None
        else:
            return
        if name is not None:
            self.found[name] = None
