"""O, C: when a step may start, when it must, and who goes first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from model.execution import Execution
from model.facts import EPSILON
from model.history import Began, Recorded, Rested
from model.invariants.registry import listens
from model.parts import GOING, Fate, Phase, StepPhase


@listens("StepStarted", "StepSkipped", "StepFailed")
def connections_decided(execution: Execution, entry: Recorded) -> Iterator[str]:
    """O1, O3: a step starts, or is skipped, once every incoming connection is decided."""
    progress = execution.steps[entry.event["step"]]
    if progress.phase is StepPhase.PENDING and execution.phase in GOING and progress.undecided:
        sources = {connection.source: execution.steps[connection.source] for connection in progress.step.incoming}
        unsettled = [name for name, source in sources.items() if source.phase in UNSETTLED]
        yield f"{entry.event['type']} of {progress.step.id!r}: its connections from {unsettled} are not decided yet"
    elif execution.phase is Phase.PENDING:
        yield f"{entry.event['type']} of {progress.step.id!r}, but {entry.execution} has not started"


UNSETTLED = frozenset({StepPhase.PENDING, StepPhase.RUNNING, StepPhase.RETRYING})


@listens("StepStarted")
def started_once_joined(execution: Execution, entry: Recorded) -> Iterator[str]:
    """O2: a step runs only if its join is satisfied by the connections taken."""
    name = entry.event["step"]
    plan = execution.due(name)
    if plan is not None and plan.fate is Fate.SKIP:
        yield f"{name!r} started, but it must be skipped: {_untaken(execution, name)}"


def _untaken(execution: Execution, name: str) -> str:
    step = execution.steps[name].step
    return f"its {step.join!r} join is not satisfied" if step.incoming else "its condition is false"


@listens("StepSkipped")
def skipped_for_a_reason(execution: Execution, entry: Recorded) -> Iterator[str]:
    """O2, K3: a step is skipped only if its connections do not satisfy its join, or its own condition is false."""
    name = entry.event["step"]
    if execution.phase not in GOING:
        yield f"{name!r} was skipped while {entry.execution} is {execution.phase.name}"
        return
    progress, plan = execution.steps[name], execution.due(name)
    if progress.phase is not StepPhase.PENDING:
        yield f"{name!r} was skipped, but it is {progress.phase.name}"
    elif not progress.undecided and (plan is None or plan.fate is not Fate.SKIP):
        yield f"{name!r} was skipped, but it must {plan.fate.value if plan else 'run'}: its join is satisfied"


@listens("StepStarted")
def started_again(execution: Execution, entry: Recorded) -> Iterator[str]:
    """F1, P2: a step that has an attempt under way, or is settled, is not started; attempts are counted from 1."""
    name, number = entry.event["step"], entry.event["attempt"]
    progress = execution.steps[name]
    if progress.phase not in {StepPhase.PENDING, StepPhase.RETRYING, StepPhase.CANCELLED}:
        yield f"{name!r} attempt {number} started, but the step is {progress.phase.name} after {progress.attempts}"
    elif number != progress.attempts + 1:
        yield f"{name!r} started attempt {number}, expected attempt {progress.attempts + 1}"


@listens("StepStarted")
def waited_for_its_turn(execution: Execution, entry: Recorded) -> Iterator[str]:
    """C3, C4, D2: an execution's steps start as they became ready; by the same event, in the order of definition."""
    name = entry.event["step"]
    if name not in execution.waiting or execution.phase is not Phase.RUNNING:
        return
    for earlier, wait in takewhile(lambda waiting: waiting[0] != name, execution.waiting.items()):
        if wait.plan is not None and wait.plan.fate is Fate.START:
            yield f"{name!r} started before {earlier!r}, which was ready before it"
            break


@listens(Phase.RUNNING, Phase.ROLLING_BACK)
def nobody_overtaken(execution: Execution, _entry: Rested) -> Iterator[str]:
    """C3: what was ready at a rest is not overtaken by what became ready after it, in this or another execution."""
    facts = execution.facts
    start = facts.youngest
    if start is None or execution.full or execution.held_until >= min(start.moment, facts.rest_moment):
        return  # held back by its own limit when the slot was given away, as far as anybody could know
    victims = {**execution.ripe}
    for name, wait in execution.waiting.items():
        if wait.plan is not None and wait.plan.fate is Fate.START:
            victims[name] = wait.due
            break
    if execution.undo_ripe is not None:
        victims[execution.compensable[-1]] = execution.undo_ripe
    for name, rests in victims.items():
        if rests < start.rests:
            yield (
                f"{name!r} of {execution.id} was ready and still waits; {start.step!r} of {start.execution}, "
                "which became ready later, got a slot before it"
            )


@listens("StepStarted", "CompensationStarted")
def limits_kept(execution: Execution, entry: Recorded) -> Iterator[str]:
    """C1, C2: a start that is recorded leaves no more slots taken than there are, in the engine and in the workflow."""
    facts, name = execution.facts, entry.event["step"]
    if facts.live + facts.unbegun >= facts.max_concurrent_steps:
        yield f"{name!r} of {entry.execution} started, but all {facts.max_concurrent_steps} slots are taken"
    if execution.crowded:
        limit = execution.definition.max_concurrent_steps
        yield f"{name!r} of {entry.execution} started, but its workflow's limit of {limit} is reached"


@listens(Began)
def limits_kept_in_truth(execution: Execution, entry: Began) -> Iterator[str]:
    """C1: never do more actions run than the engine's and the workflow's limits say."""
    facts = execution.facts
    if facts.live >= facts.max_concurrent_steps:
        yield (
            f"the {entry.kind} of {entry.step!r} in {entry.execution} began as number {facts.live + 1}: "
            f"the limit is {facts.max_concurrent_steps}"
        )
    limit = execution.definition.max_concurrent_steps
    if limit is not None and len(execution.live) >= limit:
        yield (
            f"the {entry.kind} of {entry.step!r} in {entry.execution} began as number {len(execution.live) + 1} "
            f"of its execution: the workflow's limit is {limit}"
        )


@listens(Phase.RUNNING)
def no_idling(execution: Execution, entry: Rested) -> Iterator[str]:
    """O3: at rest, no step is ready while a slot is free."""
    facts = execution.facts
    if facts.live and facts.live < facts.max_concurrent_steps and not execution.full:
        for name, what in _owed(execution, entry.at):
            yield (
                f"{name!r} of {execution.id} must {what}, and {facts.max_concurrent_steps - facts.live} of "
                f"{facts.max_concurrent_steps} slots are free: nothing is under way that would do it"
            )


@listens(Phase.RUNNING)
def no_slot_lost(execution: Execution, entry: Rested) -> Iterator[str]:
    """C2, O3: while no action lives, all slots are free: a step that is ready runs."""
    if not execution.facts.live:
        for name, what in _owed(execution, entry.at):
            yield f"no action lives, yet {name!r} of {execution.id}, which must {what}, got no slot"


def _owed(execution: Execution, at: float) -> Iterator[tuple[str, str]]:
    """What a free slot owes: the first of the waiting steps, or a retry whose wait is over."""
    for name, wait in execution.waiting.items():
        if wait.plan is not None and wait.plan.fate is not Fate.LACK:
            yield name, wait.plan.fate.value
            return
    for name, until in execution.retrying.items():
        if until <= at - EPSILON:
            yield name, "be tried again"
            return


@listens(Phase.RUNNING, Phase.PAUSED)
def decisions_recorded(execution: Execution, _entry: Rested) -> Iterator[str]:
    """O2, V5: a step that cannot run is skipped, or fails for its condition, as soon as that is decided."""
    for name, plan in execution.doomed.items():
        yield f"{name!r} of {execution.id} must {plan.fate.value}{plan.error and f' with {plan.error}'}, and was not"


@listens(Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING, Phase.ROLLING_BACK)
def attempts_accounted_for(execution: Execution, _entry: Rested) -> Iterator[str]:
    """O4, J1, J3: at rest, what is recorded as under way is alive, and what has ended is recorded as ended.

    What a crash or a failing store has interrupted is under way: it runs again as soon as a slot is free, unless it had
    timed out or its execution has been stopped; then it has ended.
    """
    facts = execution.facts
    for attempt in execution.open.values():
        if attempt.ended is not None:
            yield f"{attempt} of {execution.id} has ended, and the journal does not say so"
        elif attempt.began is not None:
            continue
        elif attempt.lost is None:
            yield f"{attempt} of {execution.id} was recorded as started, and its action never began"
        elif not attempt.counted:
            yield f"{attempt} of {execution.id} was interrupted and is over, and the journal does not say so"
        elif facts.live < facts.max_concurrent_steps and not execution.crowded:
            yield f"{attempt} of {execution.id} was interrupted at {attempt.lost:g} s, and did not run again"


@listens(Phase.RUNNING, Phase.PAUSED)
def ends_when_settled(execution: Execution, _entry: Rested) -> Iterator[str]:
    """O4: an execution whose last step has settled ends at once, under a pause too."""
    if not execution.unsettled:
        yield f"all steps of {execution.id} are settled, and it is still {execution.phase.name}"


@listens("ExecutionEnded")
def ended_as_it_came_out(execution: Execution, entry: Recorded) -> Iterator[str]:
    """O4: an execution ends once all steps are settled: PARTIAL if one failed and was tolerated, else COMPLETED."""
    status = entry.event["status"]
    if execution.phase is Phase.PENDING:
        yield f"{entry.execution} ended as {status} before it started"
    if execution.phase not in GOING:
        return
    if execution.unsettled:
        open_steps = [name for name, progress in execution.steps.items() if progress.phase in UNSETTLED]
        yield f"{entry.execution} ended as {status}, but {open_steps} are not settled"
        return
    failed = [name for name, progress in execution.steps.items() if progress.phase is StepPhase.FAILED]
    expected = "PARTIAL" if failed else "COMPLETED"
    if status != expected:
        yield f"{entry.execution} ended as {status}, expected {expected}: failed and tolerated are {failed}"
