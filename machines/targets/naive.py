"""A second engine, written from docs/contract.md alone: slow and plain, to find where the model cries wolf.

Rule 1: it imports nothing of the built-in engine or of the model. The contract is all that the engines share.
Rule 2: the journal is a list, and nothing else is remembered but which actions run and who waits for a slot. Where an
execution stands is folded from the first event after each new one; recovery is nothing but to begin again.
Rule 3: where the contract leaves a choice, it makes an odd one: each event is a write of its own, stamped when it is
durable; ends are recorded in the order of definition; a start is answered before it is RUNNING, other commands when
there is nothing more to write, and a recovery when the last action has ended that a failed store left behind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from itertools import count
from typing import Any, Final, TypeAlias

from machines.target import CAPABILITIES, Call, Json, Ports, UnknownExecution
from machines.targets.naive_definition import faults_of, steps_of
from machines.targets.naive_follows import GOING, Attempt, Prospect, failed
from machines.targets.naive_state import Stand, State, is_json

Key: TypeAlias = tuple[str, str]
"""An execution and one of its steps."""

_TERMINAL: Final = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")
_ABORTING: Final = ("CANCELLING", "ROLLING_BACK")


class JournalError(Exception):
    """The journal cannot be written or read, or an execution was given up for that (J4)."""


class InputError(Exception):
    """Something is no input."""


class DefinitionError(Exception):
    """A definition is refused, with every fault and its place (D3)."""


def _check(name: str, value: object) -> None:
    """Let nothing pass as an input that is none (D5)."""
    if not isinstance(value, dict):
        message = f"the {name}: an object is wanted"
        raise InputError(message)
    if not is_json(value):
        message = f"the {name}: JSON has no such value"
        raise InputError(message)


class NaiveTarget:
    """The engine and its adapter in one."""

    name = "naive"
    capabilities = frozenset(CAPABILITIES) - {"ownership", "shutdown", "conversion"}

    def __init__(self) -> None:
        self.journal: dict[str, list[Mapping[str, Json]]] = {}
        """The events of each execution, the oldest first."""
        self._numbers = count(1)

    def open(self, ports: Ports) -> None:
        """Begin with what is in the journal, and nothing else."""
        self._ports, self._loop = ports, ports.loop
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._sick: list[str] = []
        """Executions that could not be written, and whose driver still waits for their actions to end."""
        self._inbox: dict[str, list[tuple[str, Json, asyncio.Future[bool]]]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._live: dict[Key, Attempt] = {}
        self._queue: list[Key] = []
        self._holders: list[Key] = []
        self._news = asyncio.Event()
        self._folded: dict[str, State] = {}

    # The journal

    def _fold(self, x: str) -> State:
        """Where an execution stands: all its events from the first, unless that is what was folded last."""
        events = self.journal[x]
        state = self._folded.get(x)
        if state is None or state.seq != len(events):
            steps = steps_of(events[0]["workflow"])
            state = State(steps, events[0]["workflow"], events[0]["input"], stands={name: Stand() for name in steps})
            for event in events:
                state.apply(event)
            self._folded[x] = state
        return state

    async def _write(self, x: str, kind: str, fields: dict[str, Json]) -> None:
        await self._loop.run_in_executor(None, self._commit, x, kind, fields)
        self._look()
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _commit(self, x: str, kind: str, fields: dict[str, Json]) -> None:
        nemesis = self._ports.nemesis
        for statement in ("begin", "insert", "commit"):
            self._may_fail(x, statement)
        nemesis.boundary("before")
        now = self._loop.time()
        event = {"type": kind, "at": now, **fields}
        if "wait" in event:
            event["until"] = now + event.pop("wait")
        events = self.journal.setdefault(x, [])
        events.append(event)
        self._ports.record(x, len(events), event)
        nemesis.boundary("after")

    def _may_fail(self, x: str | None, statement: Any) -> None:  # noqa: ANN401  # one of four words
        if fault := self._ports.nemesis.fault(statement):
            self._ports.nemesis.store_failed(x, fault)
            message = f"the store failed: {fault}"
            raise JournalError(message)

    # Who has a slot, and who comes next (C1 to C3)

    def _wanted(self, x: str) -> list[str]:
        """The steps that could make use of a slot now, in the order of definition."""
        state = self._fold(x)
        return [name for name in state.steps if (x, name) not in self._live and self._could_start(state, name)]

    def _could_start(self, state: State, name: str) -> bool:
        stand = state.stands[name]
        due = self._loop.time() >= stand.until
        if state.status == "ROLLING_BACK":
            return name == state.next_undo() and due and not stand.timed_out and not state.undo_fault(name)
        if stand.running:
            return state.status in GOING and not stand.timed_out
        if state.status != "RUNNING" or state.doom():
            return False
        return due if stand.status == "RETRYING" else state.is_ready(name)

    def _look(self) -> None:
        """Who waits for a slot, in which order; whoever can have one gets it, and is woken."""
        wanted = [(x, name) for x in self._drivers if x not in self._sick for name in self._wanted(x)]
        free = [key for key in wanted if key not in self._holders]
        self._queue = [key for key in self._queue if key in free] + [key for key in free if key not in self._queue]
        for key in list(self._queue):
            own = sum(x == key[0] for x, _ in self._holders)
            limit = self._fold(key[0]).definition.get("max_concurrent_steps") or math.inf
            if len(self._holders) < self._ports.max_concurrent_steps and own < limit:
                self._queue.remove(key)
                self._holders.append(key)
                self._wake[key[0]].set()

    def _let_go(self, key: Key) -> None:
        self._holders.remove(key)
        self._look()

    async def _launch(self, state: State, key: Key) -> None:
        """Start an attempt, and see that its action has begun."""
        x, name = key
        stand, spec = state.stands[name], state.steps[name]
        undo = state.status == "ROLLING_BACK"
        if undo:
            spec = spec["compensation"]
            number, parameters = stand.undone, state.undo_parameters(name, [])
        else:
            number, parameters = stand.attempts, deepcopy(stand.parameters)
        idempotency = f"{x}/{name}/compensation/{number}" if undo else f"{x}/{name}/{number}"
        undoes = {"parameters": deepcopy(stand.parameters), "output": deepcopy(stand.output)} if undo else None
        call = Call(x, name, number, "compensation" if undo else "action", parameters, idempotency, undoes)
        begun = asyncio.Event()

        async def work() -> Json:
            begun.set()
            return await self._ports.act(call)

        attempt = self._live[key] = Attempt(self._loop.create_task(work(), name=f"attempt {idempotency}"))
        if "timeout" in spec:
            attempt.timer = self._loop.call_later(spec["timeout"], self._expire, key, attempt)
        attempt.task.add_done_callback(lambda _: self._ended(key, attempt))
        await begun.wait()

    def _expire(self, key: Key, attempt: Attempt) -> None:
        attempt.expired = not attempt.over
        self._wake[key[0]].set()

    def _ended(self, key: Key, attempt: Attempt) -> None:
        if attempt.timer:
            attempt.timer.cancel()
        if not attempt.task.cancelled():
            attempt.task.exception()  # read, whether anybody asks for it or not
        attempt.over = True
        self._let_go(key)
        self._wake[key[0]].set()

    # An execution

    def _drive(self, x: str) -> None:
        self._inbox[x], self._wake[x] = [], asyncio.Event()
        self._drivers[x] = self._loop.create_task(self._driver(x), name=f"driver {x}")

    async def _driver(self, x: str) -> None:
        answers: list[asyncio.Future[bool]] = []
        failure: JournalError | None = None
        try:
            await self._live_through(x, answers)
        except JournalError as error:
            failure = error
            self._sick.append(x)
        for future in answers:
            future.set_result(True)
        for _, _, future in self._inbox.pop(x):
            if failure:
                future.set_exception(JournalError(f"execution {x} was given up: {failure}"))
            else:
                future.set_result(False)
        await self._abandon(x)
        del self._drivers[x]
        if failure:
            self._sick.remove(x)

    async def _abandon(self, x: str) -> None:
        """Cancel what still runs of an execution, and wait for that; nobody asks what came of it (J4)."""
        if x in self._alarms:
            self._alarms.pop(x).cancel()
        self._holders = [key for key in self._holders if key[0] != x or key in self._live]
        self._look()
        attempts = {key: attempt for key, attempt in self._live.items() if key[0] == x}
        for attempt in attempts.values():
            attempt.interrupt()
        for key, attempt in attempts.items():
            while not attempt.over:
                await self._wake[x].wait()
                self._wake[x].clear()
            del self._live[key]

    async def _live_through(self, x: str, answers: list[asyncio.Future[bool]]) -> None:
        """Write one event after the other, as long as there are any."""
        while (state := self._fold(x)).status not in _TERMINAL:
            self._tidy(x, state)
            inbox = self._inbox[x]
            if (write := self._prospect(x, state).next()) and not (state.status == "PENDING" and inbox):
                await self._write(x, *write)
            elif inbox:
                await self._obey(x, state, answers)
            elif key := next((key for key in self._holders if key[0] == x and key not in self._live), None):
                await self._start(state, key)
            else:
                while answers:
                    answers.pop(0).set_result(True)
                await self._wake[x].wait()
                self._wake[x].clear()

    def _prospect(self, x: str, state: State) -> Prospect:
        attempts = {name: attempt for (execution, name), attempt in self._live.items() if execution == x}
        return Prospect(state, attempts, self._loop.time())

    def _tidy(self, x: str, state: State) -> None:
        """Make tasks, slots and timers what the state says."""
        for (execution, name), attempt in list(self._live.items()):
            if execution != x:
                continue
            stand = state.stands[name]
            if not stand.running:
                del self._live[x, name]
            elif stand.timed_out or (state.status in _ABORTING and stand.status == "RUNNING"):
                attempt.interrupt()
        wanted = self._wanted(x)
        for key in list(self._holders):
            if key[0] == x and key not in self._live and key[1] not in wanted:
                self._let_go(key)
        self._look()
        now = self._loop.time()
        moments = [stand.until for stand in state.stands.values() if stand.until > now]
        if state.status in GOING and now < state.deadline < math.inf:
            moments.append(state.deadline)
        if x in self._alarms:
            self._alarms.pop(x).cancel()
        if moments:
            self._alarms[x] = self._loop.call_at(min(moments), self._ring, x)

    def _ring(self, x: str) -> None:
        self._look()
        self._wake[x].set()

    async def _obey(self, x: str, state: State, answers: list[asyncio.Future[bool]]) -> None:
        command, inputs, future = self._inbox[x][0]
        allowed, kind, fields = {
            "pause": (("RUNNING",), "ExecutionPaused", {"missing": {}}),
            "resume": (("PAUSED",), "ExecutionResumed", {"inputs": inputs or {}}),
            "cancel": (("PENDING", "RUNNING", "PAUSED"), "CancellationRequested", {}),
        }[command]
        if state.status in allowed:
            await self._write(x, kind, fields)
            answers.append(future)
        else:
            future.set_result(False)
        del self._inbox[x][0]

    async def _start(self, state: State, key: Key) -> None:
        """Make use of a slot: start an attempt, or what ran before a crash once more."""
        x, name = key
        stand = state.stands[name]
        if not stand.running:
            if state.status == "ROLLING_BACK":
                await self._write(x, "CompensationStarted", {"step": name, "attempt": stand.undone + 1})
            elif fault := state.input_fault(name):
                await self._write(x, "StepFailed", failed(name, 0, "ValidationError", fault))
                return
            else:
                await self._write(x, "StepStarted", {"step": name, "attempt": stand.attempts + 1})
            state = self._fold(x)
        await self._launch(state, key)

    # The protocol

    async def start(self, workflow: Json, input_data: Json) -> str:
        """Check a definition, and record that it is to be run."""
        if faults := faults_of(workflow):
            lines = [fault.partition(": ") for fault in faults]
            raise DefinitionError("\n".join(f"- {words} (at {place or 'the whole'})" for place, _, words in lines))
        _check("input", input_data)
        x = f"x{next(self._numbers)}"
        await self._write(x, "ExecutionCreated", {"workflow": deepcopy(workflow), "input": deepcopy(input_data)})
        self._drive(x)
        return x

    async def _command(self, x: str, name: str, inputs: Json = None) -> bool:
        if x not in self.journal:
            raise UnknownExecution(x)
        if self._fold(x).status in _TERMINAL:
            return False
        if x not in self._drivers or x in self._sick:
            message = f"nobody drives execution {x}"
            raise JournalError(message)
        future: asyncio.Future[bool] = self._loop.create_future()
        self._inbox[x].append((name, deepcopy(inputs), future))
        self._wake[x].set()
        return await future

    async def pause(self, execution: str) -> bool:
        """Pause."""
        return await self._command(execution, "pause")

    async def resume(self, execution: str, inputs: Json) -> bool:
        """Resume with new inputs."""
        _check("inputs", {} if inputs is None else inputs)
        return await self._command(execution, "resume", inputs)

    async def cancel(self, execution: str) -> bool:
        """Cancel."""
        return await self._command(execution, "cancel")

    def report(self, execution: str) -> Mapping[str, Json]:
        """Where the execution stands."""
        return self._fold(execution).report()

    async def reread(self, execution: str) -> Mapping[str, Json]:
        """The same, folded once more."""
        self._folded.clear()
        return self.report(execution)

    async def subscribe(self, execution: str, after: int) -> AsyncIterator[tuple[int, Mapping[str, Json]]]:
        """The execution's events, read one by one."""
        while True:
            events = self.journal[execution]
            if after < len(events):
                after += 1
                yield after, events[after - 1]
            elif events and events[-1]["type"] == "ExecutionEnded":
                return
            else:
                await self._news.wait()

    def crash(self) -> None:
        """Nothing is kept but the journal, which has been seen."""

    async def recover(self) -> list[str]:
        """Take up what nobody drives, once the actions that were given up have ended."""
        await self._loop.run_in_executor(None, self._may_fail, None, "read")
        while self._sick:
            await asyncio.wait([self._drivers[self._sick[0]]])
        adrift = [x for x in self.journal if x not in self._drivers and self._fold(x).status not in _TERMINAL]
        for x in adrift:
            self._drive(x)
        self._look()
        return adrift

    async def close(self) -> None:
        """End what still runs."""
        tasks = [*self._drivers.values(), *(attempt.task for attempt in self._live.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def naive() -> NaiveTarget:
    """Make the target."""
    return NaiveTarget()
