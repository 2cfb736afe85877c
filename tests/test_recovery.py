"""Coming back after a crash, and going on with a store that fails (J3, J4), in virtual time.

Rule 1: a crash is the loop's: everything that runs stops where it stands, and only what is in the journal is left.
Rule 2: who recovers is judged by three things alone: what the journal holds, which actions began in which life of the
engine, and what callers were answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

import pytest

from engine.definition import parse_workflow
from engine.driver import Action, ActionContext
from engine.errors import EngineClosedError, JournalError
from engine.journal import Journal, MemoryJournal
from engine.messages import (
    CompensationStarted,
    Event,
    ExecutionCreated,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionStarted,
    RollbackStarted,
    StepCompleted,
    StepRetrying,
    StepStarted,
)
from engine.state import TERMINAL, Report, State, Status, StepStatus, fold, report
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.loop import SimulatedLoop
from tests.core import brief
from tests.histories import step, workflow

Json: TypeAlias = Any
Command: TypeAlias = tuple[float, str, tuple[Json, ...]]
UNDO: Final = {"action": "work"}
RUNS_OR_MAY: Final = (StepStatus.PENDING, StepStatus.RUNNING, StepStatus.RETRYING)


def takes(seconds: float, **how: Json) -> dict[str, Json]:
    """The parameters of an action: seconds, and for how many attempts it fails."""
    return {"seconds": seconds, **how}


# Several lives


class MortalJournal:
    """A journal whose process ends at a write: nobody hears of that any more, nor of anything later."""

    def __init__(self, kept: MemoryJournal, writes: int | None, *, keeps: bool) -> None:
        self._kept = kept
        self._left = writes
        self._keeps = keeps
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.made = 0

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        self.made += 1
        last = self.made == self._left
        if not self.died.done() and (self._keeps or not last):
            self._kept.write(execution, first, events)
        if last:
            self.died.set_result(None)
        if self.died.done():
            await asyncio.get_running_loop().create_future()

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        return await self._kept.read(execution, after, limit)

    async def unfinished(self) -> list[str]:
        return await self._kept.unfinished()

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Case:
    """What is started together, the commands that follow (when, which, of what), and how it ends without a crash."""

    starts: tuple[dict[str, Json], ...]
    ends: tuple[str, ...]
    commands: tuple[Command, ...] = ()
    may_end: tuple[str, ...] = ()
    """How it may end too, where a crash swallows the command."""
    slots: int = 5


@dataclass
class Life:
    """What one engine did before it came to its end or crashed."""

    begun: list[str] = field(default_factory=list)
    """The keys of the actions that began, in order."""
    most: int = 0
    writes: int = 0


class Lives:
    """One case, one journal, and the engines that live on it one after the other."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.loop = SimulatedLoop()
        self.kept = MemoryJournal()
        self.lives: list[Life] = []
        self._ids = count(1)

    def live(self, writes: int | None = None, *, keeps: bool = True) -> bool:
        """Have an engine run until all has ended, or until it dies at a write. Returns whether it came to the end."""
        life = Life()
        first = not self.lives
        self.lives.append(life)

        async def main() -> bool:
            journal = MortalJournal(self.kept, writes, keeps=keeps)
            engine = WorkflowEngine(
                ExecutionStateManager(journal),
                {"work": self._action(life)},
                max_concurrent_steps=self.case.slots,
                clock=self.loop.time,
                new_id=lambda: f"x{next(self._ids)}",
            )
            user = self.loop.create_task(self._begin(engine) if first else self._go_on(engine))
            await asyncio.wait((user, journal.died), return_when=asyncio.FIRST_COMPLETED)
            life.writes = journal.made
            if journal.died.done():
                return False
            await user
            await engine.close()
            return True

        ended = self.loop.run(main())
        if not ended:
            self.loop.abandon()
        return ended

    def _action(self, life: Life) -> Action:
        running: list[str] = []

        async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
            life.begun.append(context.idempotency_key)
            running.append(context.idempotency_key)
            life.most = max(life.most, len(running))
            try:
                await asyncio.sleep(parameters.get("seconds", 1))
                if context.attempt <= parameters.get("fails", 0):
                    raise RuntimeError("again")
            finally:
                running.remove(context.idempotency_key)
            return {"n": context.attempt}

        return work

    async def _begin(self, engine: WorkflowEngine) -> None:
        """What callers do before the first crash."""
        started = [await engine.start_workflow(definition) for definition in self.case.starts]
        for at, command, arguments in self.case.commands:
            await asyncio.sleep(at - self.loop.time())
            await getattr(engine, command)(*arguments)
        for execution in started:
            await self._see_to_its_end(engine, execution)

    async def _go_on(self, engine: WorkflowEngine) -> None:
        """What they do after it."""
        before = self.states()
        taken = await engine.recover()
        assert taken == [execution for execution, state in before.items() if not state.terminal], "oldest first"
        for execution, state in before.items():
            if state.status is Status.PAUSED:
                found = await engine.get_execution(execution)
                assert (found["status"], found["missing"]) == ("PAUSED", state.missing), "paused stays paused"
                assert await engine.resume_execution(execution, {"x": 1})
            async for _, event in engine.subscribe(execution, state.seq):
                if isinstance(event, ExecutionPaused):
                    await engine.resume_execution(execution, {"x": 1})
            await self._see_to_its_end(engine, execution)

    async def _see_to_its_end(self, engine: WorkflowEngine, execution: str) -> None:
        found = await engine.wait(execution)
        state = self.states()[execution]
        assert found == report(state), "the fold is what is reported (J1)"
        assert state.terminal

    def states(self) -> dict[str, State]:
        """What the journal makes of every execution, oldest first."""
        return {execution: folded(events) for execution, events in self.kept._events.items()}

    def events(self) -> Iterator[tuple[str, Event]]:
        """Everything the journal holds, execution by execution."""
        for execution, events in self.kept._events.items():
            for event in events:
                yield execution, event

    def close(self) -> None:
        self.loop.close()
        assert self.loop.errors == []


def folded(events: Sequence[Event]) -> State:
    created, *rest = events
    assert isinstance(created, ExecutionCreated)
    return fold(parse_workflow(created.workflow), created, rest)


def under_way(execution: str, state: State) -> dict[int, str]:
    """The keys of the attempts that the journal has under way."""
    undoing = {
        index: "compensation/" for index, status in enumerate(state.statuses) if status is StepStatus.COMPENSATING
    }
    steps = state.workflow.steps
    return {n: f"{execution}/{steps[n].id}/{undoing.get(n, '')}{attempt}" for n, attempt in state.running.items()}


def judge(crashed: Mapping[str, State], at: float, before: Sequence[Life], after: Life, slots: int) -> None:
    """What began in the life after a crash is what was due, under the keys that it had (J3)."""
    assert len(after.begun) == len(set(after.begun)), "no attempt runs twice in one life"
    assert after.most <= slots
    earlier = {key for life in before for key in life.begun}
    for execution, state in crashed.items():
        began = [key for key in after.begun if key.startswith(f"{execution}/")]
        for index, status in enumerate(state.statuses):
            name = f"{execution}/{state.workflow.steps[index].id}/"
            if status not in RUNS_OR_MAY or state.stopping:
                again = [key for key in began if key.startswith(name) and not key.startswith(f"{name}compensation/")]
                assert again == [], f"a step that is {status} in an execution that is {state.status}"
        due = under_way(execution, state)
        assert [key for key in began if key in earlier and key not in due.values()] == [], "nothing else runs again"
        timeout, started = state.workflow.timeout, state.started_at
        overdue = state.active and timeout is not None and started is not None and started + timeout <= at
        lost = {
            key
            for index, key in due.items()
            if index in state.timed_out or overdue or (state.stopping and "/compensation/" not in key)
        }
        assert [key for key in began if key in lost] == [], "what was lost with the crash does not run again"
        if not state.timed_out:
            assert [key for key in due.values() if key not in lost and key not in began] == []


def judge_the_whole(lives: Lives, ends: Sequence[Sequence[str]]) -> None:
    """What the journal says at the end, whatever happened on the way."""
    starts: dict[tuple[str, str, bool], list[int]] = {}
    until: dict[tuple[str, str], float] = {}
    for execution, event in lives.events():
        if isinstance(event, StepStarted | CompensationStarted):
            starts.setdefault((execution, event.step, isinstance(event, StepStarted)), []).append(event.attempt)
            assert event.at >= until.get((execution, event.step), 0.0), "the rest of the backoff was kept (F1)"
        if isinstance(event, StepRetrying):
            until[execution, event.step] = event.until
    for place, attempts in starts.items():
        assert attempts == list(range(1, len(attempts) + 1)), f"attempts are counted across crashes: {place}"
    journaled = {
        f"{execution}/{name}/{'' if plain else 'compensation/'}{attempt}"
        for (execution, name, plain), attempts in starts.items()
        for attempt in attempts
    }
    for life in lives.lives:
        assert [key for key in life.begun if key not in journaled] == [], "nothing begins that is not durable (J2)"
    for state, may in zip(lives.states().values(), ends, strict=False):
        assert state.status.value in may


CASES: Final[Mapping[str, Case]] = {
    "a sequence": Case(
        (workflow(step("a"), step("b", "a", parameters=takes(2, n="${a.n}")), step("c", "b")),),
        ("COMPLETED",),
    ),
    "branches, two at once, few slots": Case(
        (
            workflow(
                step("a"),
                step("yes", {"source": "a", "condition": "${a.n} == 1"}),
                step("no", {"source": "a", "condition": "${a.n} == 2"}),
                step("after", "no"),
                step("join", "yes", "after", join="any"),
                max_concurrent_steps=1,
            ),
            workflow(*[step(name) for name in "dcb"], step("a", "d", "c", "b")),
        ),
        ("COMPLETED", "COMPLETED"),
        slots=2,
    ),
    "retries": Case(
        (
            workflow(
                step("a", parameters=takes(1, fails=2), retries={"max_attempts": 3, "initial_interval": 5}),
                step("b", parameters=takes(3)),
                step("c", "a", "b"),
            ),
        ),
        ("COMPLETED",),
    ),
    "a rollback": Case(
        (
            workflow(
                step("a", compensation=UNDO),
                step(
                    "b",
                    "a",
                    compensation={"action": "work", "parameters": takes(2, fails=1), "retries": {"max_attempts": 2}},
                ),
                step("c", "b", compensation={"action": "work", "parameters": takes(9), "timeout": 2}),
                step("fails", "c", parameters=takes(1, fails=9)),
                step("long", "b", parameters=takes(60), compensation=UNDO),
                step("never", "fails"),
            ),
        ),
        ("FAILED",),
    ),
    "timeouts": Case(
        (
            workflow(
                step("slow", parameters=takes(9), timeout=2, retries={"max_attempts": 2}, continue_on_error=True),
                step("b", "slow"),
                step("beside", parameters=takes(4)),
            ),
        ),
        ("PARTIAL",),
    ),
    "a pause and an input that is missing": Case(
        (
            workflow(
                step("a", parameters=takes(2)), step("b", "a", parameters=takes(1, x="${input.x}")), step("c", "b")
            ),
        ),
        ("COMPLETED",),
        (
            (1, "pause_execution", ("x1",)),
            (3, "resume_execution", ("x1",)),
            (4, "resume_execution", ("x1", {"x": 1})),
        ),
    ),
    "a cancel that is rolled back": Case(
        (
            workflow(
                step("a", compensation=UNDO),
                step("b", "a", parameters=takes(3)),
                step("c", "a", parameters=takes(1, fails=1), retries={"max_attempts": 2, "initial_interval": 9}),
                step("d", "b", "c"),
                rollback_on_cancel=True,
            ),
        ),
        ("CANCELLED",),
        ((2.5, "cancel_execution", ("x1",)),),
        may_end=("COMPLETED",),
    ),
    "a deadline": Case(
        (
            workflow(
                step("a", compensation=UNDO),
                step("b", "a", parameters=takes(60)),
                step("c", parameters=takes(60)),
                timeout=5,
            ),
        ),
        ("FAILED",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_a_crash_each_case_ends_as_it_should(name: str) -> None:
    lives = Lives(CASES[name])
    assert lives.live()
    judge_the_whole(lives, [[end] for end in CASES[name].ends])
    lives.close()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("keeps", [True, False], ids=["after the write", "before the write"])
def test_wherever_it_crashes_the_next_engine_goes_on(name: str, *, keeps: bool) -> None:
    """J3: at every boundary of the journal; completed steps never again, attempts under way under their own keys."""
    case = CASES[name]
    whole = Lives(case)
    assert whole.live()
    whole.close()
    for writes in range(1, whole.lives[0].writes + 1):
        lives = Lives(case)
        assert not lives.live(writes, keeps=keeps)
        crashed, at = lives.states(), lives.loop.time()
        assert lives.live(), f"write {writes}"
        judge(crashed, at, lives.lives[:1], lives.lives[1], case.slots)
        judge_the_whole(lives, [[end, *case.may_end] for end in case.ends])
        lives.close()


@pytest.mark.parametrize("name", CASES)
def test_an_engine_that_crashes_at_its_every_write_gets_to_the_end(name: str) -> None:
    """J3: any number of crashes."""
    case = CASES[name]
    lives = Lives(case)
    for number in range(100):
        crashed, at = lives.states(), lives.loop.time()
        ended = lives.live(1)
        if number:
            judge(crashed, at, lives.lives[:-1], lives.lives[-1], case.slots)
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    judge_the_whole(lives, [[end, *case.may_end] for end in case.ends])
    lives.close()


def test_these_crashes_come_upon_every_status() -> None:
    seen: set[Status] = set()
    steps: set[StepStatus] = set()
    for case in CASES.values():
        for writes in count(1):
            lives = Lives(case)
            ended = lives.live(writes)
            for state in lives.states().values():
                seen.add(state.status)
                steps.update(map(state.step_status, range(len(state.statuses))))
            lives.close()
            if ended:
                break
    assert [status for status in Status if status not in TERMINAL and status not in seen] == []
    assert [status for status in StepStatus if status not in steps] == []


# One situation at a time


class Yard:
    """One loop, one journal in memory, and the engines that come and go on it; each that is not closed has crashed."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop()
        self.kept: MemoryJournal = MemoryJournal()
        self.begun: list[str] = []
        """The keys of the actions that began, over all engines."""
        self.trouble: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        self._ids = count(1)

    def bare(self, journal: Journal | None = None, slots: int = 5, **actions: Action) -> WorkflowEngine:
        return WorkflowEngine(
            ExecutionStateManager(self.kept if journal is None else journal),
            {"work": self._work, **actions},
            max_concurrent_steps=slots,
            clock=self.loop.time,
            new_id=lambda: f"x{next(self._ids)}",
        )

    @asynccontextmanager
    async def engine(
        self, journal: Journal | None = None, slots: int = 5, **actions: Action
    ) -> AsyncIterator[WorkflowEngine]:
        async with self.bare(journal, slots, **actions) as made:
            yield made

    async def _work(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        self.begun.append(context.idempotency_key)
        try:
            await asyncio.sleep(parameters.get("seconds", 1))
        except asyncio.CancelledError:
            await asyncio.sleep(parameters.get("cleans", 0))
            raise
        if context.attempt <= parameters.get("fails", 0):
            raise RuntimeError("again")
        return {"n": 1}

    def until_crash(
        self, seconds: float, *starts: dict[str, Json], slots: int = 5, commands: Sequence[Command] = ()
    ) -> None:
        """Have an engine run for some seconds, and crash."""

        async def main() -> None:
            engine = self.bare(slots=slots)
            for definition in starts:
                await engine.start_workflow(definition)
            for at, command, arguments in commands:
                await asyncio.sleep(at - self.loop.time())
                await getattr(engine, command)(*arguments)
            await asyncio.sleep(seconds - self.loop.time())

        self.run(main())
        self.loop.abandon()
        self.begun.clear()

    def later(self, seconds: float) -> None:
        """Nobody is there for a while."""
        self.run(asyncio.sleep(seconds))

    def run(self, program: Coroutine[Any, Any, None]) -> None:
        self.loop.run(program)

    async def told(self, execution: str = "x1") -> list[str]:
        return [brief(event) for event in await self.kept.read(execution)]


@pytest.fixture
def yard() -> Iterator[Yard]:
    yard = Yard()
    yield yard
    yard.loop.close()
    assert yard.loop.errors == []
    assert yard.trouble == []


def statuses(found: Report) -> dict[str, str]:
    return {name: each["status"] for name, each in found["steps"].items()}


def test_a_deadline_that_passed_while_nobody_was_there_rolls_back_at_once(yard: Yard) -> None:
    """J3, F7: nothing is run again first."""
    definition = workflow(step("a", compensation=UNDO), step("b", "a", parameters=takes(60)), timeout=5)
    yard.until_crash(2, definition)
    yard.later(10)

    async def program() -> None:
        async with yard.engine() as engine:
            assert await engine.recover() == ["x1"]
            found = await engine.wait("x1")
            assert (found["status"], found["error"]["type"]) == ("FAILED", "ExecutionTimeoutError")
            assert statuses(found) == {"a": "COMPENSATED", "b": "CANCELLED"}
        assert yard.begun == ["x1/a/compensation/1"]
        events = await yard.kept.read("x1")
        assert [event.at for event in events if isinstance(event, RollbackStarted)] == [12]

    yard.run(program())


def test_a_deadline_passes_while_attempts_wait_to_run_again(yard: Yard) -> None:
    """F7, K3: what has not begun again is CANCELLED at once."""
    hog = workflow(step("hog", parameters=takes(60)))
    yard.until_crash(1, hog, workflow(step("a", parameters=takes(60)), timeout=5))

    async def program() -> None:
        async with yard.engine(slots=1) as engine:
            await engine.recover()
            assert statuses(await engine.wait("x2")) == {"a": "CANCELLED"}
            assert yard.loop.time() == 5
        assert yard.begun == ["x1/hog/1"]

    yard.run(program())


def test_an_attempt_that_had_timed_out_fails_and_is_not_run_again(yard: Yard) -> None:
    """J3, F2: the next attempt follows after its backoff."""
    retries = {"max_attempts": 2, "initial_interval": 3}
    yard.until_crash(2, workflow(step("a", parameters=takes(9, cleans=9), timeout=1, retries=retries)))

    async def program() -> None:
        async with yard.engine() as engine:
            await engine.recover()
            await asyncio.sleep(0)
            assert statuses(await engine.get_execution("x1")) == {"a": "RETRYING"}
            found = await engine.wait("x1")
            assert found["error"]["type"] == "StepTimeoutError"
        assert yard.begun == ["x1/a/2"]
        assert [event.at for event in await yard.kept.read("x1") if isinstance(event, StepStarted)] == [0, 5]

    yard.run(program())


def test_where_the_crash_was_an_attempts_last_failure_the_others_are_not_run_again(yard: Yard) -> None:
    """J3, F3: the rollback is decided before anything starts."""
    yard.until_crash(2, workflow(step("a", parameters=takes(60)), step("b", parameters=takes(9, cleans=9), timeout=1)))

    async def program() -> None:
        async with yard.engine() as engine:
            await engine.recover()
            assert statuses(await engine.wait("x1")) == {"a": "CANCELLED", "b": "FAILED"}
        assert yard.begun == []
        assert (await yard.told())[-4:] == [
            "StepFailed b 1",
            "RollbackStarted",
            "StepCancelled a 1",
            "ExecutionEnded FAILED",
        ]

    yard.run(program())


@pytest.mark.parametrize("rolls_back", [False, True])
def test_a_step_under_way_in_a_cancelled_execution_is_cancelled(yard: Yard, *, rolls_back: bool) -> None:
    """J3, K2, K3, K4: it does not begin again, and the cancellation goes on."""
    definition = workflow(
        step("a", compensation=UNDO),
        step("b", "a", parameters=takes(60, cleans=60)),
        step("c", "b"),
        rollback_on_cancel=rolls_back,
    )
    hog = workflow(step("hog", parameters=takes(3)))
    yard.until_crash(3, hog, definition, commands=[(2, "cancel_execution", ("x2",))])

    async def program() -> None:
        async with yard.engine(slots=1) as engine:
            assert await engine.recover() == ["x1", "x2"]
            assert await engine.cancel_execution("x2") is False, "exactly once"
            await asyncio.sleep(0)
            assert statuses(await engine.get_execution("x2"))["b"] == "CANCELLED", "it needs no slot for that"
            found = await engine.wait("x2")
            assert found["status"] == "CANCELLED"
            assert statuses(found) == {
                "a": "COMPENSATED" if rolls_back else "COMPLETED",
                "b": "CANCELLED",
                "c": "CANCELLED",
            }
        assert yard.begun == ["x1/hog/1", *(["x2/a/compensation/1"] if rolls_back else [])]

    yard.run(program())


def test_a_step_that_was_still_ending_when_the_rollback_was_cut_off_is_cancelled(yard: Yard) -> None:
    """J3, F3: then what was completed is undone."""
    definition = workflow(
        step("a", compensation=UNDO),
        step("b", "a", parameters=takes(60, cleans=60)),
        step("c", "a", parameters=takes(1, fails=9)),
    )
    yard.until_crash(3, definition)

    async def program() -> None:
        async with yard.engine() as engine:
            await engine.recover()
            found = await engine.wait("x1")
            assert statuses(found) == {"a": "COMPENSATED", "b": "CANCELLED", "c": "FAILED"}
            assert found["error"]["step"] == "c"
        assert yard.begun == ["x1/a/compensation/1"]

    yard.run(program())


def test_a_compensation_under_way_runs_again_and_the_rollback_goes_on_from_there(yard: Yard) -> None:
    """J3, F4: under its own number and key; what was undone is not undone again."""
    undo = {"action": "work", "parameters": takes(2, fails=1), "retries": {"max_attempts": 2, "initial_interval": 1}}
    chain = [step("a", compensation=UNDO), step("b", "a", compensation=undo), step("c", "b", compensation=UNDO)]
    yard.until_crash(9, workflow(*chain, step("d", "c", parameters=takes(1, fails=9))))

    async def program() -> None:
        async with yard.engine() as engine:
            found = await engine.get_execution("x1")
            assert statuses(found)["b"] == "COMPENSATING"
            await engine.recover()
            assert (await engine.wait("x1"))["status"] == "FAILED"
        assert yard.begun == ["x1/b/compensation/2", "x1/a/compensation/1"]

    yard.run(program())


def test_a_compensation_that_had_timed_out_has_failed(yard: Yard) -> None:
    """J3, F5: it was tried once."""
    undo = {"action": "work", "parameters": takes(9, cleans=9), "timeout": 1}
    chain = [step("a", compensation=UNDO), step("b", "a", compensation=undo)]
    yard.until_crash(5, workflow(*chain, step("c", "b", parameters=takes(1, fails=9))))

    async def program() -> None:
        async with yard.engine() as engine:
            await engine.recover()
            assert statuses(await engine.wait("x1")) == {"a": "COMPENSATED", "b": "COMPENSATION_FAILED", "c": "FAILED"}
        assert yard.begun == ["x1/a/compensation/1"]

    yard.run(program())


def test_under_a_pause_only_what_was_under_way_runs_again(yard: Yard) -> None:
    """J3, P1: neither what is ready nor what is to be tried again starts before the resume."""
    retries = {"max_attempts": 2, "initial_interval": 1}
    definition = workflow(
        step("a", parameters=takes(5)),
        step("b", parameters=takes(0, fails=1), retries=retries),
        step("c", "b"),
        step("d", "a"),
    )
    yard.until_crash(0.75, definition, commands=[(0.5, "pause_execution", ("x1",))])

    async def program() -> None:
        async with yard.engine() as engine:
            await engine.recover()
            await asyncio.sleep(100)
            found = await engine.get_execution("x1")
            assert found["status"] == "PAUSED"
            assert statuses(found) == {"a": "COMPLETED", "b": "RETRYING", "c": "PENDING", "d": "PENDING"}
            assert yard.begun == ["x1/a/1"]
            assert await engine.resume_execution("x1")
            assert (await engine.wait("x1"))["status"] == "COMPLETED"
        assert yard.begun == ["x1/a/1", "x1/b/2", "x1/d/1", "x1/c/1"]

    yard.run(program())


def test_a_pause_for_an_input_still_says_what_is_missing(yard: Yard) -> None:
    """J3, P4."""
    yard.until_crash(2, workflow(step("a"), step("b", "a", parameters={"x": "${input.x.y}"})))

    async def program() -> None:
        async with yard.engine() as engine:
            await engine.recover()
            await asyncio.sleep(10)
            found = await engine.get_execution("x1")
            assert (found["status"], found["missing"]) == ("PAUSED", {"b": ["input.x.y"]})
            assert await engine.resume_execution("x1", {"x": {"y": 1}})
            assert (await engine.wait("x1"))["status"] == "COMPLETED"
        assert yard.begun == ["x1/b/1"]

    yard.run(program())


def test_what_was_created_and_never_begun_begins(yard: Yard) -> None:
    """J3: its deadline counts from now."""
    yard.kept.write("x1", 1, [ExecutionCreated(0.0, parse_workflow(workflow(step("a"), timeout=5)).definition, {})])
    yard.later(100)

    async def program() -> None:
        async with yard.engine() as engine:
            assert await engine.recover() == ["x1"]
            assert (await engine.wait("x1"))["status"] == "COMPLETED"

    yard.run(program())


# Slots


def test_more_attempts_than_slots_run_again_in_their_order_before_anything_new(yard: Yard) -> None:
    """C1, C3: oldest execution first, within it in the order of the journal; then what waits."""
    starts = [
        workflow(step("b", parameters=takes(9)), step("a", parameters=takes(9)), step("next", "a")),
        workflow(step("c")),
    ]
    yard.until_crash(0.5, *starts, workflow(step("d"), step("e")), slots=4)

    async def program() -> None:
        async with yard.engine(slots=2) as engine:
            await engine.start_workflow(workflow(*[step(name) for name in "pqr"]))
            await asyncio.sleep(0)
            assert await engine.recover() == ["x1", "x2", "x3"]
            for execution in ("x1", "x2", "x3", "x4"):
                assert (await engine.wait(execution))["status"] == "COMPLETED"
            assert engine._slots.free == 2
        assert yard.begun == [
            *("x4/p/1", "x4/q/1"),
            *("x1/b/1", "x1/a/1", "x2/c/1", "x3/d/1"),
            *("x4/r/1", "x3/e/1", "x1/next/1"),
        ]

    yard.run(program())


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_than_its_slots_run_at_once_and_none_is_lost(yard: Yard, slots: int) -> None:
    """C1, C2."""
    yard.until_crash(0.5, *[workflow(*[step(name) for name in "abc"])] * 3, slots=9)
    running = most = 0

    async def work(parameters: dict[str, Json], context: ActionContext) -> Json:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async def program() -> None:
        async with yard.engine(slots=slots, work=work) as engine:
            await engine.recover()
            for execution in ("x1", "x2", "x3"):
                assert (await engine.wait(execution))["status"] == "COMPLETED"
            assert engine._slots.free == slots

    yard.run(program())
    assert most == slots


def test_an_attempt_that_waits_to_run_again_keeps_its_place_under_a_pause(yard: Yard) -> None:
    """P1, C3: it was under way when the pause came."""
    yard.until_crash(
        0.5, workflow(step("a"), step("next", "a")), workflow(step("b"), step("then", "b")), workflow(step("c"))
    )

    async def program() -> None:
        async with yard.engine(slots=1) as engine:
            await engine.recover()
            assert await engine.pause_execution("x2")
            await engine.wait("x3")
            assert statuses(await engine.get_execution("x2")) == {"b": "COMPLETED", "then": "PENDING"}
            assert await engine.resume_execution("x2")
            assert (await engine.wait("x2"))["status"] == "COMPLETED"
        assert yard.begun == ["x1/a/1", "x2/b/1", "x3/c/1", "x1/next/1", "x2/then/1"]

    yard.run(program())


@pytest.mark.parametrize("slots", [1, 2], ids=["it waits for a slot", "it has one"])
def test_an_attempt_that_is_about_to_run_again_does_not_after_a_cancel(yard: Yard, slots: int) -> None:
    """K2, K3: it is CANCELLED at once, and its slot goes to the next."""
    yard.until_crash(0.5, workflow(step("a")), workflow(step("b"), step("c")), workflow(step("d")))

    async def program() -> None:
        async with yard.engine(slots=slots) as engine:
            await engine.recover()
            assert await engine.cancel_execution("x2")
            assert statuses(await engine.wait("x2")) == {"b": "CANCELLED", "c": "CANCELLED"}
            assert yard.loop.time() == 0.5
            assert (await engine.wait("x3"))["status"] == "COMPLETED"
            await engine.wait("x1")
            assert engine._slots.free == slots
        assert yard.begun == ["x1/a/1", "x3/d/1"]

    yard.run(program())


def test_what_waits_becomes_ready_in_the_order_of_definition(yard: Yard) -> None:
    """C3: as by a resume, a retry whose wait is over among it."""
    retries = {"max_attempts": 2, "initial_interval": 0.25}
    definition = workflow(
        step("r", parameters=takes(0, fails=1), retries=retries),
        step("b", "g"),
        step("g", parameters=takes(0.125)),
        step("hog", parameters=takes(9)),
    )
    yard.until_crash(3, definition, slots=1)

    async def program() -> None:
        async with yard.engine(slots=1) as engine:
            await engine.recover()
            assert (await engine.wait("x1"))["status"] == "COMPLETED"
        assert yard.begun == ["x1/hog/1", "x1/r/2", "x1/b/1"]

    yard.run(program())


# Beside other calls


class SlowJournal(MemoryJournal):
    """Answers some of its reads late: with what it held when it was asked."""

    def __init__(self, kept: MemoryJournal) -> None:
        super().__init__()
        self._events, self._unfinished = kept._events, kept._unfinished
        self.reads: list[str] = []
        self.lists = 0
        self.delays: Iterator[float] = iter(())
        """Seconds of each read, and of each list."""

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        self.reads.append(execution)
        found = await super().read(execution, after, limit)
        await asyncio.sleep(next(self.delays, 0.0))
        return found

    async def unfinished(self) -> list[str]:
        self.lists += 1
        found = await super().unfinished()
        await asyncio.sleep(next(self.delays, 0.0))
        return found


def test_a_report_that_was_asked_for_before_a_recovery_does_not_undo_it(yard: Yard) -> None:
    """J1, J3: what was read late is older than what is known."""
    yard.until_crash(0.5, workflow(step("a"), step("b", "a"), step("c", "b")))
    journal = SlowJournal(yard.kept)
    journal.delays = iter([1.5])

    async def program() -> None:
        async with yard.engine(journal) as engine:
            asked = yard.loop.create_task(engine.get_execution("x1"))
            await asyncio.sleep(0)
            await engine.recover()
            assert statuses(await asked) == {"a": "COMPLETED", "b": "RUNNING", "c": "PENDING"}
            assert (await engine.wait("x1"))["status"] == "COMPLETED"

    yard.run(program())


def test_recoveries_at_the_same_time_take_up_each_execution_once(yard: Yard) -> None:
    """J3: also where the first is long over when the second has read everything."""
    yard.until_crash(0.5, *[workflow(step("a", parameters=takes(0.75)))] * 3)
    journal = SlowJournal(yard.kept)
    journal.delays = iter([1.0] * 99)

    async def program() -> None:
        async with yard.engine(journal) as engine:
            first, second = await asyncio.gather(engine.recover(), engine.recover())
            assert (first, second) == (["x1", "x2", "x3"], [])
            for execution in ("x1", "x2", "x3"):
                assert (await engine.wait(execution))["status"] == "COMPLETED"
        assert yard.begun == ["x1/a/1", "x2/a/1", "x3/a/1"]

    yard.run(program())


def test_what_ends_while_a_recovery_looks_is_not_taken_up(yard: Yard) -> None:
    """J3: a list that comes late names executions that this engine has driven to their ends."""
    yard.until_crash(0.5, workflow(step("a")))
    journal = SlowJournal(yard.kept)

    async def program() -> None:
        async with yard.engine(journal) as engine:
            other = await engine.start_workflow(workflow(step("b")))
            journal.delays = iter([5.0])
            assert await engine.recover() == ["x1"]
            assert (await engine.wait(other))["status"] == "COMPLETED"
            assert (await engine.wait("x1"))["status"] == "COMPLETED"
        assert yard.begun == ["x2/b/1", "x1/a/1"]

    yard.run(program())


def test_an_engine_that_is_closed_while_it_recovers_takes_nothing_up(yard: Yard) -> None:
    yard.until_crash(0.5, workflow(step("a")))
    journal = SlowJournal(yard.kept)
    journal.delays = iter([0.0, 5.0])

    async def program() -> None:
        async with yard.engine(journal) as engine:
            recovering = yard.loop.create_task(engine.recover())
            await asyncio.sleep(1)
        with pytest.raises(EngineClosedError):
            await recovering
        assert yard.begun == []

    yard.run(program())


def test_a_recovery_reads_each_unfinished_execution_once_and_nothing_else(yard: Yard) -> None:
    """J3: 10,000 that are over cost nothing."""
    definition = parse_workflow(workflow(step("a", parameters=takes(60)))).definition
    for number in range(11_000):
        begun: list[Event] = [ExecutionCreated(0.0, definition, {}), ExecutionStarted(0.0), StepStarted(0.0, "a", 1)]
        ended: list[Event] = [StepCompleted(1.0, "a", 1, None), ExecutionEnded(1.0, "COMPLETED")]
        yard.kept.write(f"x{number}", 1, [*begun, *(ended if number % 11 else [])])
    unfinished = [f"x{number}" for number in range(0, 11_000, 11)]
    journal = SlowJournal(yard.kept)

    async def program() -> None:
        async with yard.engine(journal) as engine:
            assert await engine.recover() == unfinished
            await engine.get_execution("x0")
        assert (journal.lists, journal.reads) == (1, unfinished)

    yard.run(program())


# What cannot be read, and what cannot be written


def damages() -> Mapping[str, Callable[[list[Event]], list[Event]]]:
    """What a journal may hold that no engine has written."""
    return {
        "no beginning": lambda events: events[1:],
        "a step that nobody defined": lambda events: [*events, StepStarted(0.0, "stranger", 1)],
        "a definition that is none": lambda events: [ExecutionCreated(0.0, {"id": "w"}, {}), *events[1:]],
        "a beginning in the middle": lambda events: [*events, events[0]],
    }


@pytest.mark.parametrize("damage", damages())
def test_a_recovery_that_cannot_read_an_execution_names_it_and_takes_up_none(yard: Yard, damage: str) -> None:
    """J3: nothing is half done; once it is put right, all go on."""
    yard.until_crash(0.5, *[workflow(step("a"))] * 3)
    right = yard.kept._events["x2"]

    async def program() -> None:
        async with yard.engine() as engine:
            yard.kept._events["x2"] = damages()[damage](right)
            with pytest.raises(JournalError, match="execution x2 cannot be recovered, and so none was: "):
                await engine.recover()
            with pytest.raises(JournalError, match="x2"):
                await engine.get_execution("x2")
            await asyncio.sleep(10)
            assert yard.begun == []
            with pytest.raises(JournalError, match="execution x1 is not driven by this engine: recover it first"):
                await engine.cancel_execution("x1")
            yard.kept._events["x2"] = right
            assert await engine.recover() == ["x1", "x2", "x3"]
            for execution in ("x1", "x2", "x3"):
                assert (await engine.wait(execution))["status"] == "COMPLETED"

    yard.run(program())


class TellsLate(MemoryJournal):
    """What it holds is durable a second before the writer hears of it."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__()
        self.fails = fails

    async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
        self.write(execution, first, events)
        await asyncio.sleep(1 if first == 1 else 0)
        if self.fails:
            raise JournalError("nobody knows")  # noqa: TRY003  # what a store says


@pytest.mark.parametrize("fails", [False, True])
def test_a_command_waits_for_a_start_whose_creation_is_durable_already(yard: Yard, *, fails: bool) -> None:
    """J4: nobody is told to recover what is about to begin."""
    journal = TellsLate(fails=fails)

    async def program() -> None:
        async with yard.engine(journal) as engine:
            start = yard.loop.create_task(engine.start_workflow(workflow(step("a"))))
            await asyncio.sleep(0.5)
            found = await asyncio.gather(start, engine.cancel_execution("x1"), return_exceptions=True)
            if fails:
                assert [str(each) for each in found] == [
                    "the journal failed: nobody knows",
                    "the journal failed: execution x1 is not driven by this engine: recover it first",
                ]
            else:
                assert [*found] == ["x1", True]
                assert (await engine.wait("x1"))["status"] == "CANCELLED"

    yard.run(program())


class FailingJournal(MemoryJournal):
    """A store that fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str], bool] = lambda execution: False
        self.unreadable: Callable[[str], bool] = lambda execution: False

    def write(self, execution: str, first: int, events: Sequence[Event]) -> None:
        if self.refuses(execution):
            message = "the disk is full"
            raise JournalError(message)
        super().write(execution, first, events)

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        if self.unreadable(execution):
            message = "the disk is gone"
            raise JournalError(message)
        return await super().read(execution, after, limit)


class TestAStoreThatFails:
    """J4, on an engine that lives on."""

    @pytest.fixture
    def journal(self, yard: Yard) -> FailingJournal:
        yard.kept = journal = FailingJournal()
        return journal

    def test_the_execution_says_so_to_whoever_asks_and_goes_on_after_a_recovery(
        self, yard: Yard, journal: FailingJournal
    ) -> None:
        why = "execution x1 stands still, recover it first: the disk is full"

        async def program() -> None:
            async with yard.engine() as engine:
                chain = [
                    step("a"),
                    step("b", "a", parameters=takes(2)),
                    step("c", "b"),
                    step("d", "a", parameters=takes(9)),
                ]
                first = await engine.start_workflow(workflow(*chain))
                other = await engine.start_workflow(workflow(step("o"), step("p", "o", parameters=takes(5))))
                waiter = yard.loop.create_task(engine.wait(first))
                await asyncio.sleep(1.5)
                before = await engine.get_execution(first)
                journal.refuses = lambda execution: execution == first
                with pytest.raises(JournalError, match=why):
                    await engine.pause_execution(first)
                with pytest.raises(JournalError, match=why):
                    await waiter
                await asyncio.sleep(2)
                for ask in (engine.pause_execution, engine.resume_execution, engine.cancel_execution, engine.wait):
                    with pytest.raises(JournalError, match=why):
                        await ask(first)
                assert await engine.get_execution(first) == before
                assert yard.begun == ["x1/a/1", "x2/o/1", "x1/b/1", "x1/d/1", "x2/p/1"], "nothing new starts"
                journal.refuses = lambda execution: False
                assert await engine.recover() == [first]
                assert yard.loop.time() == 3.5
                assert (await engine.wait(first))["status"] == "COMPLETED"
                assert yard.begun[5:] == ["x1/b/1", "x1/d/1", "x1/c/1"], "what ended meanwhile runs again"
                assert (await engine.wait(other))["status"] == "COMPLETED"
                assert engine._slots.free == 5

        yard.run(program())

    def test_a_recovery_cancels_what_still_runs_and_waits_for_its_end(
        self, yard: Yard, journal: FailingJournal
    ) -> None:
        async def program() -> None:
            async with yard.engine(slots=1) as engine:
                await engine.start_workflow(workflow(step("a", parameters=takes(5, cleans=3))))
                await asyncio.sleep(0.5)
                other = await engine.start_workflow(workflow(step("o")))
                journal.refuses = lambda execution: execution == "x1"
                with pytest.raises(JournalError):
                    await engine.pause_execution("x1")
                journal.refuses = lambda execution: False
                assert await engine.recover() == ["x1"]
                assert yard.loop.time() == 3.5
                assert (await engine.wait("x1"))["status"] == "COMPLETED"
                assert (await engine.wait(other))["status"] == "COMPLETED"
            assert yard.begun == ["x1/a/1", "x2/o/1", "x1/a/1"], "no slot idles until it comes back"

        yard.run(program())

    def test_a_recovery_that_is_refused_leaves_what_runs_alone(self, yard: Yard, journal: FailingJournal) -> None:
        async def program() -> None:
            async with yard.engine() as engine:
                await engine.start_workflow(workflow(step("a", parameters=takes(5))))
                await engine.start_workflow(workflow(step("b")))
                await asyncio.sleep(0.5)
                journal.refuses = lambda execution: True
                for execution in ("x1", "x2"):
                    with pytest.raises(JournalError, match=f"execution {execution} stands still"):
                        await engine.pause_execution(execution)
                journal.unreadable = lambda execution: execution == "x2"
                with pytest.raises(
                    JournalError, match="execution x2 cannot be recovered, and so none was: the disk is gone"
                ):
                    await engine.recover()
                await asyncio.sleep(1)
                assert engine._slots.free == 4, "the action of x1 runs on"
                assert yard.loop.time() == 1.5
                journal.refuses = journal.unreadable = lambda execution: False
                assert await engine.recover() == ["x1", "x2"]
                for execution in ("x1", "x2"):
                    assert (await engine.wait(execution))["status"] == "COMPLETED"

        yard.run(program())

    def test_what_could_not_even_begin_begins_after_a_recovery(self, yard: Yard, journal: FailingJournal) -> None:
        async def program() -> None:
            async with yard.engine() as engine:
                execution = await engine.start_workflow(workflow(step("a")))
                journal.refuses = lambda execution: True
                with pytest.raises(JournalError, match="execution x1 stands still"):
                    await engine.wait(execution)
                with pytest.raises(JournalError, match="the disk is full"):
                    await engine.start_workflow(workflow(step("b")))
                journal.refuses = lambda execution: False
                assert await engine.recover() == [execution]
                assert (await engine.wait(execution))["status"] == "COMPLETED"

        yard.run(program())

    def test_it_may_fail_again_while_attempts_wait_to_run_again(self, yard: Yard, journal: FailingJournal) -> None:
        async def program() -> None:
            async with yard.engine(slots=2) as engine:
                await engine.start_workflow(workflow(step("a", parameters=takes(4)), step("b"), step("c", "b")))
                await asyncio.sleep(0.5)
                for _ in range(3):
                    journal.refuses = lambda execution: True
                    with pytest.raises(JournalError):
                        await engine.pause_execution("x1")
                    journal.refuses = lambda execution: False
                    assert await engine.recover() == ["x1"]
                assert (await engine.wait("x1"))["status"] == "COMPLETED"
                assert engine._slots.free == 2

        yard.run(program())

    def test_a_subscriber_hears_every_event_once_all_the_same(self, yard: Yard, journal: FailingJournal) -> None:
        """N1."""
        heard: list[tuple[int, str]] = []

        async def program() -> None:
            async with yard.engine() as engine:
                execution = await engine.start_workflow(workflow(step("a"), step("b", "a")))

                async def listen() -> None:
                    async for seq, event in engine.subscribe(execution):
                        heard.append((seq, brief(event)))

                listener = yard.loop.create_task(listen())
                await asyncio.sleep(1.5)
                journal.refuses = lambda execution: True
                with pytest.raises(JournalError):
                    await engine.cancel_execution(execution)
                journal.refuses = lambda execution: False
                await engine.recover()
                await engine.wait(execution)
                await listener
            assert heard == list(enumerate(await yard.told(), 1))

        yard.run(program())

    def test_a_retry_and_a_deadline_wait_on_in_the_next_life(self, yard: Yard, journal: FailingJournal) -> None:
        """F1, F7: counted from where they were, whenever the recovery comes."""

        async def program() -> None:
            async with yard.engine() as engine:
                retries = {"max_attempts": 2, "initial_interval": 10}
                await engine.start_workflow(workflow(step("a", parameters=takes(0, fails=1), retries=retries)))
                await engine.start_workflow(workflow(step("b", parameters=takes(60)), timeout=20))
                await asyncio.sleep(1)
                journal.refuses = lambda execution: True
                for execution in ("x1", "x2"):
                    with pytest.raises(JournalError):
                        await engine.pause_execution(execution)
                await asyncio.sleep(4)
                journal.refuses = lambda execution: False
                assert await engine.recover() == ["x1", "x2"]
                await engine.wait("x1")
                assert yard.loop.time() == 10
                assert (await engine.wait("x2"))["error"]["type"] == "ExecutionTimeoutError"
                assert yard.loop.time() == 20

        yard.run(program())
