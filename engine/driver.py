"""The shell around one execution: it makes tasks, timers and slots match what the core decided.

Rule 1: an input (a command, an attempt's end, a timer, a slot) goes through the mailbox, one at a time, in order.
Rule 2: a batch of decided events is durable before any of them is acted upon or answered (J2).
Rule 3: every task made here is read when it ends, and its slot comes back then and not before (C2).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from engine.errors import EngineClosedError, JournalError
from engine.messages import (
    AttemptRaised,
    AttemptReturned,
    AttemptYielded,
    Begin,
    CancellationRequested,
    Command,
    CompensationRetrying,
    CompensationStarted,
    CompensationTimedOut,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Expire,
    Json,
    RollbackStarted,
    StartAttempt,
    StepCompleted,
    StepRetrying,
    StepStarted,
    StepTimedOut,
    TakeUp,
    TimeOut,
)
from engine.slots import Lane, Slots
from engine.state import State, Status, StepStatus
from engine.transitions import compensation_parameters, decide, parameters
from engine.values import fresh, json_value

if TYPE_CHECKING:
    from engine.state_manager import ExecutionStateManager
    from engine.workflow import Step


class ActionContext(NamedTuple):
    """What an action is told beside its parameters."""

    execution: str
    step: str
    attempt: int
    """Counted from 1, over restarts (F1)."""
    idempotency_key: str
    """``execution/step/attempt``; of a compensation ``execution/step/compensation/attempt`` (J3)."""
    kind: Literal["action", "compensation"] = "action"
    step_parameters: Json = None
    """For a compensation: the parameters of the step it undoes (F4)."""
    step_output: Json = None
    """For a compensation: the output of the step it undoes (F4)."""


Action: TypeAlias = Callable[[dict[str, Json], ActionContext], Awaitable[Json]]
"""A step's work: ``async def action(parameters, context)``; it returns a JSON value."""


class Driver:
    """Drives one execution from where its state stands to its end."""

    def __init__(
        self,
        execution: str,
        state: State,
        manager: ExecutionStateManager,
        actions: Mapping[str, Action],
        slots: Slots,
        clock: Callable[[], float],
    ) -> None:
        self.execution = execution
        self.state = state
        self._manager = manager
        self._actions = actions
        self._slots = slots
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._lane = Lane(state.workflow.max_concurrent_steps, self._granted)
        self._mailbox: deque[tuple[Command, asyncio.Future[bool] | None]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._tasks: dict[int, asyncio.Task[Json]] = {}
        self._timeouts: dict[int, asyncio.TimerHandle] = {}
        self._retries: dict[int, asyncio.TimerHandle] = {}
        self._interrupted: dict[int, Callable[[], None]] = {}
        """By step whose attempt is under way by the journal, and is to run again once it has a slot: what does that."""
        self._again: list[Callable[[], None]] = []
        """Those that have got one, and start when what was decided before is durable."""
        self._deadline: asyncio.TimerHandle | None = None
        self._closed = False
        self.task = self._loop.create_task(self._drive(), name=f"drive {execution}")
        self.task.add_done_callback(self._reap)

    async def wait(self) -> None:
        """Wait until the execution has ended.

        Raises:
            JournalError: it cannot go on, because its events cannot be journaled.
            EngineClosedError: the engine was closed before.
        """
        await asyncio.shield(self._ended)

    async def ask(self, command: Command) -> bool:
        """Hand in a caller's command, and return whether it was accepted, once that is durable.

        Raises:
            JournalError: it could not be journaled, and has not happened.
            EngineClosedError: the engine was closed before.
        """
        if self.task.done():
            await self.wait()
            return False
        reply: asyncio.Future[bool] = self._loop.create_future()
        self.post(command, reply)
        return await reply

    # Inputs

    def post(self, command: Command, reply: asyncio.Future[bool] | None = None) -> None:
        """Put a command into the mailbox; ``reply`` gets whether it was accepted, once that is durable."""
        self._mailbox.append((command, reply))
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _granted(self, step: int) -> None:
        self.post(StartAttempt(step))

    def _rested(self, step: int) -> None:
        """A retry's wait is over. Under a pause it waits on for the resume."""
        del self._retries[step]
        until = self.state.retrying.get(step)
        if until is None:
            return
        if self._clock() < until:  # the loop's clock is ahead of ours
            self._retry(step, until)
        elif self.state.status is not Status.PAUSED:
            self._slots.enqueue(self._lane, step)
            self._slots.dispatch()

    def _finished(self, step: int, task: asyncio.Task[Json]) -> None:
        """An action has really ended."""
        del self._tasks[step]
        if timeout := self._timeouts.pop(step, None):
            timeout.cancel()
        if task.cancelled():
            self._hand_in(AttemptYielded(step))
        elif error := task.exception():
            self._hand_in(AttemptRaised(step, type(error).__name__, _message(error)))
        else:
            value = task.result()  # copied now: what the action does to it from here on is its own affair
            self._hand_in(AttemptReturned(step, fresh(value) if json_value(value) else value))

    def _hand_in(self, command: Command) -> None:
        """Report an attempt's end, then give its slot back."""
        self.post(command)
        self._slots.release(self._lane)
        if not self._closed:
            self._slots.dispatch()

    # The loop

    async def _drive(self) -> None:
        while self._mailbox or not self.state.terminal:
            if not self._mailbox and not self._closed:
                self._wake = self._loop.create_future()
                await self._wake
            if self._closed:
                raise EngineClosedError
            await self._turn()
        self._manager.adopt(self.execution, self.state)

    async def _turn(self) -> None:
        """Decide everything that waits in the mailbox, make it durable as one batch, then act on it."""
        events: list[Event] = []
        replies: list[tuple[asyncio.Future[bool], bool]] = []
        at = self._clock()
        mailbox = self._mailbox
        try:
            while mailbox:
                command, reply = mailbox[0]
                self._decide(command, reply, at, events, replies)
                mailbox.popleft()
            if events:
                await self._manager.append(self.execution, events)
            for event in events:
                self._perform(event)
            if self._again:
                again, self._again = self._again, []
                for begin in again:
                    begin()
        except JournalError as error:
            message = f"execution {self.execution} stands still, recover it first: {error.reason}"
            refusal = JournalError(message)
            _refuse((reply for reply, _ in replies), refusal)
            raise refusal from error
        except BaseException as error:
            _refuse((reply for reply, _ in replies), error)
            raise
        for reply, accepted in replies:
            if not reply.done():
                reply.set_result(accepted)

    def _decide(
        self,
        command: Command,
        reply: asyncio.Future[bool] | None,
        at: float,
        events: list[Event],
        replies: list[tuple[asyncio.Future[bool], bool]],
    ) -> None:
        state, slots, lane = self.state, self._slots, self._lane
        if type(command) is StartAttempt and (begin := self._interrupted.pop(command.step, None)):
            self._again.append(begin)
            return
        before = state.status
        decision = decide(state, command, at)
        if reply is not None:
            replies.append((reply, decision.accepted))
        if not decision.accepted:
            if type(command) is StartAttempt:
                slots.release(lane)
                slots.dispatch()
            return
        events += decision.events
        if state.status is not before:
            if state.active:
                slots.hold(lane)
                self._void_grants()
            else:
                slots.forget(lane)
                self._yield_interrupted()
        for step in decision.ready:
            if retry := self._retries.pop(step, None):
                retry.cancel()
            slots.enqueue(lane, step)
        if decision.ready:
            slots.dispatch()

    def _void_grants(self) -> None:
        """What was granted a slot and has not started gives it back: it will be ready anew, in its turn (C3)."""
        mailbox = self._mailbox
        mailbox.rotate(-1)  # the first is being decided
        for _ in range(len(mailbox) - 1):
            command, _reply = entry = mailbox.popleft()
            if type(command) is StartAttempt and command.step not in self._interrupted:
                self._slots.release(self._lane)
            else:
                mailbox.append(entry)
        self._slots.dispatch()

    # Effects

    def _perform(self, event: Event) -> None:
        """Act on a durable event, unless this was closed while it was being written."""
        if self._closed:
            return
        workflow = self.state.workflow
        match event:
            case StepCompleted():
                pass  # half of all events
            case StepStarted(step=step, attempt=attempt):
                self._start(workflow.steps[workflow.index[step]], attempt)
            case CompensationStarted(_, step, attempt):
                self._undo(workflow.steps[workflow.index[step]], attempt)
            case StepRetrying(_, step, _, _, until) | CompensationRetrying(_, step, _, _, until):
                self._retry(workflow.index[step], until)
            case StepTimedOut(_, step) | CompensationTimedOut(_, step):
                if task := self._tasks.get(workflow.index[step]):
                    task.cancel()
            case CancellationRequested() | RollbackStarted():
                self._stop()
            case ExecutionStarted():
                self._set_deadline()
            case ExecutionEnded():
                self._stop()
            case _:
                pass

    def _start(self, step: Step, attempt: int) -> None:
        if self.state.stopping:
            self._hand_in(AttemptYielded(step.index))
            return
        key = f"{self.execution}/{step.id}/{attempt}"
        context = ActionContext(self.execution, step.id, attempt, key)
        self._run(step, step.action, step.timeout, parameters(self.state, step), context)

    def _undo(self, step: Step, attempt: int) -> None:
        compensation = step.compensation
        assert compensation is not None
        context = ActionContext(
            self.execution,
            step.id,
            attempt,
            f"{self.execution}/{step.id}/compensation/{attempt}",
            "compensation",
            parameters(self.state, step),
            fresh(self.state.outputs[step.id]),
        )
        resolved = compensation_parameters(self.state, step)
        self._run(step, compensation.action, compensation.timeout, resolved, context)

    def _run(
        self, step: Step, action: str, timeout: float | None, resolved: dict[str, Json], context: ActionContext
    ) -> None:
        index = step.index
        if self._closed:
            return
        try:
            work: Any = self._actions[action](resolved, context)
            task: asyncio.Task[Json] = self._loop.create_task(work, name=context.idempotency_key)
        except asyncio.CancelledError:
            self._hand_in(AttemptYielded(index))
            return
        except Exception as error:  # noqa: BLE001  # whatever the action does wrong is its failure
            self._hand_in(AttemptRaised(index, type(error).__name__, _message(error)))
            return
        self._tasks[index] = task
        task.add_done_callback(partial(self._finished, index))
        if timeout is not None:
            expired = TimeOut(index, context.attempt)
            self._timeouts[index] = self._loop.call_later(timeout, self.post, expired)

    def _retry(self, step: int, until: float) -> None:
        if step in self.state.retrying:
            self._retries[step] = self._loop.call_later(max(0.0, until - self._clock()), self._rested, step)

    def _set_deadline(self) -> None:
        timeout, started = self.state.workflow.timeout, self.state.started_at
        if timeout is None or started is None:
            return
        left = started + timeout - self._clock()
        if left > 0:
            self._deadline = self._loop.call_later(left, self.post, Expire())
        else:
            self.post(Expire())

    def _stop(self) -> None:
        """Cancel what runs and what waits (F3, K3); a stopped execution's timers mean nothing any more."""
        self._drop_timers()
        for task in self._tasks.values():
            task.cancel()

    def _drop_timers(self) -> None:
        for handle in (*self._timeouts.values(), *self._retries.values()):
            handle.cancel()
        self._timeouts.clear()
        self._retries.clear()
        if self._deadline is not None:
            self._deadline.cancel()

    # Coming and going

    def take_up(self) -> None:
        """Go on with an execution that another engine, or an earlier life of this one, left unfinished (J3).

        Attempts under way by the journal wait for their slots in that order; who calls this dispatches them. Those that
        had timed out, and those of an execution that is stopped, ended with the crash, and need none. That is decided
        before any other starts, and so is a deadline that has passed.
        """
        state = self.state
        if state.status is Status.PENDING:
            self.post(Begin())
            return
        self.post(TakeUp())
        if state.active:
            self._set_deadline()
        for index, attempt in state.running.items():
            undoing = state.statuses[index] is StepStatus.COMPENSATING
            if index in state.timed_out or (state.stopping and not undoing):
                self.post(AttemptYielded(index))
            else:
                begin = self._undo if undoing else self._start
                self._interrupted[index] = partial(begin, state.workflow.steps[index], attempt)
                self._slots.enqueue(self._lane, index, first=True)
        now = self._clock()
        for index, until in state.retrying.items():
            if until > now or not state.active:  # what is overdue becomes ready in its turn, by the decision (C3)
                self._retry(index, until)

    def _yield_interrupted(self) -> None:
        """The execution is stopped: what was to run again has ended with the crash."""
        for step in self._interrupted:
            self.post(AttemptYielded(step))
        self._interrupted.clear()

    @property
    def busy(self) -> bool:
        """Whether attempts are under way, or their ends wait to be journaled."""
        return not self.task.done() and (self._lane.held > 0 or bool(self._mailbox))

    async def rest(self) -> None:
        """Wait for the ends of the actions that run, and until these are durable.

        Raises:
            JournalError: they could not be journaled.
        """
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self.ask(Begin())  # refused, and answered only when whatever came before is durable

    async def quit(self) -> None:
        """End what still runs of an execution that cannot go on; its slots come back."""
        self._stop()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def close(self) -> None:
        """End everything: what is being written comes to its end, and nothing else is. The rest can be recovered."""
        self._closed = True
        self._stop()
        self._rouse()

    async def wait_closed(self) -> None:
        """Wait until all has ended."""
        await asyncio.gather(self.task, *self._tasks.values(), return_exceptions=True)

    def _reap(self, task: asyncio.Task[None]) -> None:
        """The drive is over: hand its outcome to whoever waits for it."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._ended.set_result(None)
            return
        _refuse((reply for _, reply in self._mailbox if reply is not None), error)
        if not isinstance(error, JournalError | EngineClosedError | asyncio.CancelledError):
            context = {"message": f"execution {self.execution} cannot go on", "exception": error}
            self._loop.call_exception_handler(context)
        _refuse((self._ended,), error)
        self._ended.exception()
        if not self._closed:
            self._let_go()

    def _let_go(self) -> None:
        """Start nothing more: only the slots of what still runs stay with this execution (C2, J4)."""
        self._drop_timers()
        self._slots.forget(self._lane)
        for _ in range(self._lane.held - len(self._tasks)):
            self._slots.release(self._lane)
        self._slots.dispatch()


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # whose exception it is, its author knows
        return "it has no message that can be read"


def _refuse(replies: Iterable[asyncio.Future[Any]], error: BaseException) -> None:
    """Give those who wait an error: nothing of what they asked has happened."""
    refusal = error if isinstance(error, Exception) else EngineClosedError()
    for reply in replies:
        if not reply.done():
            reply.set_exception(refusal)
