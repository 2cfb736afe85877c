"""What is known of one execution: a few facts, folded from what was recorded and from what its actions saw.

Rule 1: the phase changes by recorded events only; ``live`` and the attempts in it by what actions saw only.
Rule 2: nothing is judged here. Whatever comes is folded, so that a target which breaks a clause it never claimed can
still be judged by the others.
Rule 3: the work for an event is proportional to the step's own connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from model.crashes import lose
from model.definition import Compensation, Definition, Step, read
from model.history import Began, Ended, Interrupted, Json
from model.parts import (
    GOING,
    SKIP,
    STOPPING,
    TERMINAL,
    Attempt,
    Fate,
    Outcome,
    Phase,
    Plan,
    Progress,
    Served,
    StepPhase,
    Wait,
)
from model.values import Condition, faulty_paths, resolve, same

if TYPE_CHECKING:
    from model.facts import Ask, Facts

__all__ = ["GOING", "STOPPING", "TERMINAL", "Execution", "Phase", "StepPhase"]


class Execution:
    """What is known of one execution."""

    def __init__(self, name: str, event: Mapping[str, Json], at: float, facts: Facts) -> None:
        self.id = name
        self.facts = facts
        self.definition: Definition = read(event["workflow"])
        self._know_values(event)
        self._know_attempts()
        self._know_order()
        self._know_stops()
        self._know_commands(at)
        self._know_driver()

    def _know_values(self, event: Mapping[str, Json]) -> None:
        self.input: Json = event["input"]
        self.scope: dict[str, Json] = {"input": self.input}
        """What references can name: the input, and outputs while they are visible."""
        self.events: list[Mapping[str, Json]] = [event]
        self.steps = {step: Progress(policy) for step, policy in self.definition.steps.items()}
        self.unsettled = len(self.steps)

    def _know_attempts(self) -> None:
        self.live: dict[str, Attempt] = {}
        """What really runs."""
        self.open: dict[str, Attempt] = {}
        """What was recorded as started and not yet as ended."""
        self.unbegun = 0
        """How many of those hold a slot though their actions have not begun."""
        self.retrying: dict[str, float] = {}
        """When the next attempt of a step that is RETRYING may start."""

    def _know_order(self) -> None:
        self.waiting: dict[str, Wait] = {}
        """Decided and joined, in the order in which they became ready."""
        self.blocked: dict[str, Plan] = {}
        """Those of them that cannot start as they are."""
        self.doomed: dict[str, Plan] = {}
        """Decided, and to be skipped or failed for it."""
        self.ripe: dict[str, int] = {}
        """Retries whose wait was over at a rest: how many rests came before that."""
        self.held_until = -1
        """The entry at which it last went below its own limit."""

    def _know_stops(self) -> None:
        self.completed: list[str] = []
        self.compensable: list[str] = []
        """Completed, with a compensation that has not come to an end; newest last."""
        self.rolled_back: list[str] = []
        self.undo_ripe: int | None = None
        """As in ``ripe``, for the compensation that is next."""
        self.failure: Mapping[str, Json] | None = None
        """The failure that fails the execution, until its rollback is recorded."""
        self.error: Mapping[str, Json] | None = None
        self.after_cancel = False
        self.compensation_errors: list[Mapping[str, Json]] = []
        self.deadline: float | None = None
        """When the workflow's timeout strikes."""

    def _know_commands(self, at: float) -> None:
        self.created = at
        self.phase = Phase.PENDING
        self.missing: Mapping[str, Json] = {}
        self.cancel_answered = False
        self.asks: dict[int, Ask] = {}
        """Commands on it that are under way."""
        self.believed = [Phase.PENDING]
        """The phases that an engine may hold it to be in: what was recorded reaches it later, but before a rest."""
        self.changes = 0
        self.served: list[Served] = []
        """Events that a command asked for, while its answer is out."""
        self.answered_by: list[Ask] = []
        """The start commands whose answer may name it."""

    def _know_driver(self) -> None:
        self.born = self.facts.moment
        """The entry at which it was created."""
        self.over: int | None = None
        """The entry at which it ended."""
        self.adrift: int | None = None
        """The entry since which nobody is known to drive it."""
        self.left = -1
        """The entry at which that was so last."""
        self.unclear = False
        """Whether a recovery named it that had set out before it went adrift: it may be driven, or not."""

    @property
    def seq(self) -> int:
        """The number of the last recorded event."""
        return len(self.events)

    @property
    def ready(self) -> list[str]:
        """The steps that may start now, in the order in which they became ready; then retries, by their time."""
        if self.phase is not Phase.RUNNING:
            return []
        now = self.facts.now
        steps = [step for step, wait in self.waiting.items() if wait.plan and wait.plan.fate is Fate.START]
        retries = [(until, step) for step, until in self.retrying.items() if until <= now and step not in self.waiting]
        return [*steps, *(step for _, step in sorted(retries))]

    @property
    def full(self) -> bool:
        """Whether its workflow's own limit may hold it back, as far as the journal tells."""
        limit = self.definition.max_concurrent_steps
        return limit is not None and len(self.open) >= limit

    @property
    def crowded(self) -> bool:
        """Whether all the slots are taken that its workflow lets it have."""
        limit = self.definition.max_concurrent_steps
        return limit is not None and len(self.live) + self.unbegun >= limit

    def lacking(self) -> dict[str, list[str]]:
        """The steps that are ready but for their input, with the paths that they miss."""
        return {step: plan.paths for step, plan in self.blocked.items() if plan.fate is Fate.LACK}

    def due(self, step: str) -> Plan | None:
        """What must become of a step that has not started, if its connections are decided."""
        if step in self.doomed:
            return self.doomed[step]
        return self.waiting[step].plan if step in self.waiting else None

    def policy(self, attempt: Attempt) -> Step | Compensation:
        """The policies under which an attempt runs."""
        step = self.definition.steps[attempt.step]
        return step if attempt.kind == "action" or step.compensation is None else step.compensation

    def deadline_of(self, attempt: Attempt) -> float | None:
        """When an attempt has outlived its timeout; None if it has none or did not begin."""
        timeout = self.policy(attempt).timeout
        return None if timeout is None or attempt.began is None else attempt.began + timeout

    def undo_plan(self, step: str) -> Plan:
        """What must become of a step's compensation: a start with these parameters, or a failure."""
        progress = self.steps[step]
        if progress.undo is None:
            missing: list[str] = []
            compensation = progress.step.compensation
            scope = {**self.scope, "input": progress.input}
            parameters = resolve(compensation.parameters if compensation else {}, scope, missing)
            progress.undo = (
                Plan(Fate.FAIL, error="UnresolvedReferenceError", words=[step, missing[0]])
                if missing
                else Plan(Fate.START, parameters=parameters)
            )
        return progress.undo

    def next_undo_due(self, at: float) -> bool:
        """Whether a compensation may run: the rollback is on, nothing else is under way, no wait holds it back."""
        if self.phase is not Phase.ROLLING_BACK or self.open or self.live or not self.compensable:
            return False
        return self.steps[self.compensable[-1]].until <= at

    # What actions saw.

    def began(self, entry: Began) -> None:
        """An action runs."""
        attempt = self.open.get(entry.step) or Attempt(entry.step, entry.attempt, entry.kind)
        self.uncount(attempt)
        if attempt.began is not None:
            attempt.again = False
        attempt.began, attempt.ended, attempt.lost = entry.at, None, None
        attempt.interrupted = attempt.void = False
        self.live[entry.step] = attempt
        self.facts.live += 1

    def interrupted(self, entry: Interrupted) -> None:
        """A running action saw its cancellation."""
        if (attempt := self.live.get(entry.step)) is not None:
            attempt.interrupted = True

    def ended(self, entry: Ended) -> None:
        """A running action has ended."""
        if (attempt := self.live.pop(entry.step, None)) is not None:
            attempt.ended = entry
            self.facts.live -= 1
            if attempt.void:
                lose(self, attempt, entry.at)

    # What recorded events do (the table of them is in folds.py).

    def enter(self, phase: Phase) -> None:
        """Change the phase, and let the commands under way see it."""
        self.phase = phase
        self.changes += 1
        self.believed.append(phase)
        for ask in self.asks.values():
            ask.phases.add(phase)
        if phase is not Phase.PAUSED:
            self.missing = {}

    def stop(self, phase: Phase) -> None:
        """Nothing new starts any more: what neither settled nor runs is CANCELLED."""
        if self.phase not in STOPPING:
            for progress in self.steps.values():
                if progress.phase in {StepPhase.PENDING, StepPhase.RETRYING}:
                    progress.phase = StepPhase.CANCELLED
            self.waiting.clear()
            self.blocked.clear()
            self.doomed.clear()
            self.retrying.clear()
            self.ripe.clear()
            for attempt in self.open.values():
                self.uncount(attempt)
        self.failure = None
        self.deadline = None
        self.enter(phase)

    def start(self, attempt: Attempt) -> None:
        """An attempt was recorded as started: it holds a slot."""
        self.open[attempt.step] = attempt
        self.unbegun += 1
        self.facts.unbegun += 1

    def serve(self, command: str, inputs: Json = None) -> None:
        """An event serves one of the commands under way."""
        self.served.append(Served(command, self.asking(command, inputs), self.changes))

    def knows(self, changes: int) -> None:
        """The engine has shown that it knows of so many changes of phase."""
        outdated = len(self.believed) - 1 - (self.changes - changes)
        del self.believed[: max(outdated, 0)]

    def asking(self, command: str, inputs: Json = None) -> list[Ask]:
        """The commands under way that such an event may serve."""
        return [
            ask
            for ask in self.asks.values()
            if ask.command == command and (command != "resume" or same(ask.inputs, inputs))
        ]

    def close(self, step: str) -> None:
        """An attempt is accounted for."""
        if self.full:
            self.held_until = self.facts.moment
        if (attempt := self.open.pop(step, None)) is not None:
            self.uncount(attempt)

    def uncount(self, attempt: Attempt) -> None:
        """A started attempt has begun, or need not any more."""
        if attempt.counted and attempt.lost is None:
            self.unbegun -= 1
            self.facts.unbegun -= 1
        attempt.counted = False

    def settle(self, progress: Progress) -> None:
        """A step will never run again: its connections are decided, and so may be other steps."""
        self.unsettled -= 1
        if self.phase not in GOING:
            return
        fresh = []
        for name in progress.step.outgoing:
            target = self.steps[name]
            target.undecided -= 1
            if target.undecided == 0:
                fresh.append(target)
        if len(fresh) > 1:
            fresh.sort(key=lambda target: target.step.index)
        for target in fresh:
            self.decide(target)

    def decide(self, progress: Progress) -> None:
        """All sources of a step are settled: look at its conditions, join them (O1, O2, V5)."""
        step, taken = progress.step, 0
        for connection in step.incoming:
            if self.steps[connection.source].phase is StepPhase.SKIPPED:
                continue
            verdict = self.taken(connection.conditions)
            if verdict is None:
                self.doomed[step.id] = Plan(Fate.FAIL, error="ConditionError", words=[step.id])
                return
            taken += verdict
        if taken == len(step.incoming) if step.join == "all" else taken:
            self.wait(step.id, self.plan(progress) if self.phase is Phase.RUNNING else None)
        else:
            self.doomed[step.id] = SKIP

    def taken(self, conditions: Iterable[Condition]) -> bool | None:
        """Whether all conditions of a connection hold, as `&&` has it; None if that cannot be said."""
        verdicts = [condition.holds(self.scope) for condition in conditions]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def plan(self, progress: Progress) -> Plan:
        """What must become of a step that becomes ready now (V2-V5)."""
        step = progress.step
        if step.condition is not None and not (verdict := step.condition.holds(self.scope)):
            return SKIP if verdict is False else Plan(Fate.FAIL, error="ConditionError", words=[step.id])
        missing: list[str] = []
        parameters = step.parameters if step.constant else resolve(step.parameters, self.scope, missing)
        if missing:
            unresolved = [path for path in missing if path.split(".", 1)[0] != "input"]
            if unresolved:
                return Plan(
                    Fate.FAIL, error="UnresolvedReferenceError", paths=unresolved, words=[step.id, unresolved[0]]
                )
            return Plan(Fate.LACK, paths=missing)
        faults = faulty_paths(step.input_schema, parameters)
        if faults is not None:
            words = [step.id, *(key for path in faults for key in path)]
            return Plan(Fate.FAIL, error="ValidationError", words=words)
        return Plan(Fate.START, parameters=parameters)

    def begin(self) -> None:
        """All that waits becomes ready, in the order of definition: by the start, a resume or a recovery (C3)."""
        rest_at = self.facts.rest_at
        over = {step for step, until in self.retrying.items() if until <= rest_at}
        self.ripe.clear()
        waiting = sorted(over | self.waiting.keys(), key=lambda step: self.steps[step].step.index)
        self.waiting = {}
        self.blocked.clear()
        for name in waiting:
            progress = self.steps[name]
            again = progress.phase is StepPhase.RETRYING
            plan = Plan(Fate.START, parameters=progress.parameters) if again else self.plan(progress)
            self.wait(name, plan)

    def wait(self, step: str, plan: Plan | None) -> None:
        """A step waits, for its start or for whatever else is due to it."""
        self.waiting[step] = Wait(self.facts, plan)
        if plan is not None and plan.fate is not Fate.START:
            self.blocked[step] = plan

    def unwait(self, step: str) -> Wait | None:
        """A step does not wait any more."""
        self.doomed.pop(step, None)
        self.blocked.pop(step, None)
        return self.waiting.pop(step, None)

    def outcome(self, attempt: Attempt) -> Outcome | None:
        """What must be recorded of an attempt, by what its action saw; None until it has ended (F1, F2, V4)."""
        ended, policy = attempt.ended, self.policy(attempt)
        if attempt.timed_out and (ended is not None or attempt.lost is not None):
            seconds = f"{policy.timeout or 0:g}"
            return Outcome("StepTimeoutError", words=[attempt.step, str(attempt.number), seconds])
        if ended is None:
            return None
        if ended.outcome == "raised":
            return Outcome(ended.value[0], ended.value[1])
        if ended.outcome == "cancelled":
            return Outcome("CancelledError")
        if isinstance(policy, Step):
            faults = faulty_paths(policy.output_schema, ended.value) if ended.json else [[]]
            if faults is not None:
                words = [attempt.step, *(key for path in faults for key in path)]
                return Outcome("ValidationError", words=words, final=True)
        return Outcome(None)
