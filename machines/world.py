"""One case: the loop, the target and the model together, and the moves that are played to them.

Rule 1: ``play`` is the only way in. It carries out a move, lets the loop run for a tick, feeds what was seen to the
judge, and raises on the first sentence against the contract.
Rule 2: what the actions see is noted by the actions, here, and not taken from the engine.
Rule 3: nothing here draws: a move and its tape say everything, so a saved case and a machine are the same to a world.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, assert_never

from machines.loop import SETTLE_LIMIT, Deadlock, Livelock, SimulatedLoop
from machines.moves import (
    NO_JSON,
    OUTPUT,
    AddStep,
    Cancel,
    Connect,
    Elapse,
    Fail,
    Finish,
    Json,
    Manner,
    Move,
    Pause,
    Resume,
    Run,
    Subscribe,
    Yield,
    tell,
)
from machines.tape import PLAIN, TICK, Deviation, Tape
from machines.target import Call, Ports, Target, TargetFactory, UnknownExecution, fitted
from model.history import (
    Answered,
    Asked,
    Began,
    Closed,
    Ended,
    Entry,
    Interrupted,
    Notified,
    Outcome,
    Recorded,
    Refused,
    Reported,
    Rested,
    Subscribed,
    digest,
)
from model.judge import Judge, Violation

_PATIENCE: Final = 100
"""Rounds of opening gates, resuming and letting time pass without any event, until a case counts as never ending."""

_ROUNDS: Final = 100_000
"""The same, with events or without."""

_NEEDS: Final[Mapping[type[Move], str]] = {Pause: "pause", Cancel: "cancel", Subscribe: "subscribe"}

_REREAD: Final = 2
"""Executions, the newest, whose journal is folded afresh at the end; reports were judged all along."""

_TERMINAL: Final = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")

_How: TypeAlias = Literal["return", "raise", "yield"]


class ActionFailed(Exception):  # noqa: N818 - stands for whatever an action raises; its type is part of the move
    """What an action raises; the class is made anew under the name that the move wants."""


class ContractViolated(AssertionError):  # noqa: N818 - the name of what happened
    """A history broke a clause."""

    def __init__(self, violation: Violation, moves: list[Played]) -> None:
        self.violation = violation
        self.moves = moves
        program = "\n".join(f"  {number}. {played.tell()}" for number, played in enumerate(moves, 1))
        super().__init__(f"{violation.clause}: {violation.sentence}\n{program}")


@dataclass(frozen=True, slots=True)
class Played:
    """A move with its tape, and what of the tape was used."""

    move: Move
    tape: Tape
    deviations: tuple[Deviation, ...] = ()

    def tell(self) -> str:
        """The move in words, its deviations marked."""
        marks = [
            f"latency {found.value * 1000:g} ms" if found.track == "latency" else f"out of turn by {found.value:g}"
            for found in self.deviations
        ]
        return tell(self.move) + (f"   <~ {', '.join(marks)}" if marks else "")


class Gate:
    """Where a running action waits to be told how it ends."""

    __slots__ = ("call", "interrupted", "manner", "name", "opened", "told", "waiting")

    def __init__(self, call: Call, manner: Manner, waiting: asyncio.Future[None]) -> None:
        self.call = call
        self.manner = manner
        self.name = f"{call.execution}/{call.step}" + ("!" if call.kind == "compensation" else "")
        self.waiting = waiting
        self.interrupted = False
        self.told = False
        """A move has told it how to end, and that is on its way."""
        self.opened: tuple[_How, Json] | None = None

    def open(self, how: _How, value: Json) -> None:
        """What the move said arrives at the action."""
        self.opened = (how, value)
        if not self.waiting.done():
            self.waiting.set_result(None)


class World:
    """The target under test, its actions, its callers and its judge, in one simulated loop."""

    def __init__(self, factory: TargetFactory, *, max_concurrent_steps: int = 2) -> None:
        self.max_concurrent_steps = max_concurrent_steps
        self.history: list[Entry] = []
        self.moves: list[Played] = []
        self.target: Target = factory()
        self.loop = SimulatedLoop()
        self.judge = Judge(max_concurrent_steps=max_concurrent_steps)
        self.executions: dict[str, None] = {}
        """Those whose start was answered, oldest first."""
        self.gates: list[Gate] = []
        self.draft: list[dict[str, Json]] = []
        self.draft_manners: dict[str, Manner] = {}
        self.runs = 0
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        """Callers and subscribers; what they fail to read, the loop finds."""
        self._asks = 0
        self._subscribers = 0
        self._judged = 0
        self._handed: list[tuple[Json, Json]] = []
        """The definitions handed to the engine: as they were, and as they are."""
        self._manners: dict[str, Mapping[str, Manner]] = {}
        self._asked_manners: dict[int, Mapping[str, Manner]] = {}
        """By start command, until it is answered."""
        self._unfinished: dict[str, Mapping[str, Json]] = {}
        """By execution: the last report, while that is not a terminal one."""
        self._recorded = 0
        self._changed: dict[str, None] = {}
        """Executions of which something was recorded since their last report."""
        ports = Ports(self.loop, self._act, self._record, max_concurrent_steps)
        self.loop.call_soon(self.target.open, ports)
        self.loop.settle()

    # The way in

    def play(self, move: Move, tape: Tape = PLAIN) -> None:
        """Carry out a move, and hold what came of it against the contract.

        Raises:
            ContractViolated: a clause was broken.
        """
        reader = tape.reader()
        self.loop.tape = reader
        self.moves.append(Played(move, tape))
        try:
            self.loop.advance(self._carry_out(move))
        except Livelock as error:
            self._violated("O4", "livelock", str(error))
        finally:
            if reader.deviations:
                self.moves[-1] = Played(move, tape, tuple(reader.deviations))
        self._look()

    def finish(self) -> None:
        """The liveness phase: faults stop, gates open, pauses resume, time passes; then everything must be over.

        Raises:
            ContractViolated: something is owed that does not come, or was left behind.
        """
        self.loop.tape = PLAIN.reader()
        waiting: list[str] = []
        try:
            self._live_on()
            for execution in [*self.executions][-_REREAD:]:
                self._note(
                    Reported(self.loop.time(), execution, self.loop.run(self.target.reread(execution), SETTLE_LIMIT))
                )
            waiting = [task.get_name() for task in self._tasks if not task.done()]
            self.loop.run(self.target.close(), SETTLE_LIMIT)
            self.loop.settle()
        except Livelock as error:
            self._violated("O4", "livelock", str(error))
        except Deadlock as error:
            self._violated("O4", "deadlock", str(error))
        tasks = tuple(dict.fromkeys([*waiting, *self.loop.pending_tasks()]))
        self.loop.close()
        self._note(Closed(self.loop.time(), tasks, tuple(self.loop.errors)))
        self._over = True
        self._judge()
        for before, after in self._handed:
            if after != before:
                sentence = f"the caller's definition was changed by running it: from {before} to {after}"
                self._violated("K5", "definition_unchanged", sentence)

    def close(self) -> None:
        """Drop the world without a further look; needed where ``finish`` was not reached."""
        self._over = True
        self.loop.abandon()
        self.loop.close()

    # What a machine may ask

    def can(self, capability: str) -> bool:
        """Whether the target claims a capability; moves that need another one do nothing."""
        return capability in self.target.capabilities

    def astir(self) -> bool:
        """Whether time alone can change anything: a timer is set, or something is on its way."""
        return bool(self.loop.in_flight) or self.loop.next_timer() is not None

    def unconnected(self) -> int:
        """How many connections the draft could still take."""
        return max(len(self.draft) - 1, 0) - sum(len(step.get("depends_on", ())) for step in self.draft)

    @property
    def latecomers(self) -> int:
        """How many subscribers came by a move of their own."""
        return self._subscribers - len(self.executions)

    def digest(self) -> str:
        """A hash of all that was seen."""
        return digest(self.history)

    # Moves

    def _carry_out(self, move: Move) -> float:
        """Begin the move; returns how long the loop shall run, in seconds."""
        match move:
            case Finish(gate, output):
                self._tell(gate, "return", output)
            case Fail(gate, kind, message):
                self._tell(gate, "raise", (kind, message))
            case Yield(gate):
                self._tell(gate, "yield", None)
            case Elapse(None, before):
                return max(self._until_timer() - before, 0.0)
            case Elapse(seconds):
                return max(seconds or 0.0, TICK)
            case Pause() | Cancel() | Subscribe() if not self.can(_NEEDS[type(move)]):
                pass
            case Pause(execution):
                self._ask("pause", execution, {}, lambda: self.target.pause(execution))
            case Resume(execution, inputs):
                given = _copied(inputs)
                self._ask("resume", execution, {"inputs": inputs}, lambda: self.target.resume(execution, given))
            case Cancel(execution):
                self._ask("cancel", execution, {}, lambda: self.target.cancel(execution))
            case Run(workflow, given, manners, faults):
                self._run(workflow, dict(given), manners, faults)
            case AddStep(step, manner, undo):
                self._add_step(dict(step), manner, undo)
            case Connect(source, target, condition):
                self._connect(source, target, condition)
            case Subscribe(execution, after):
                if execution in self.executions:
                    self._subscribe(execution, after)
            case _:
                assert_never(move)
        return TICK

    def _until_timer(self) -> float:
        due = self.loop.next_timer()
        return TICK if due is None else max(due - self.loop.time(), 0.0)

    def _run(
        self,
        workflow: Mapping[str, Json] | None,
        given: dict[str, Json],
        manners: Mapping[str, Manner],
        faults: Sequence[str],
    ) -> None:
        if workflow is None:
            if not self.draft:
                return
            workflow, manners = {"id": f"draft-{self.runs + 1}", "steps": self.draft}, self.draft_manners
            self.draft, self.draft_manners = [], {}
        self.runs += 1
        workflow = fitted(workflow, self.target.capabilities)
        self._asked_manners[self._asks + 1] = manners
        arguments = {"workflow": workflow, "input": given, **({"faults": list(faults)} if faults else {})}
        mine, its_input = _copied(workflow), _copied(given)
        self._handed.append((workflow, mine))
        self._ask("start", None, arguments, lambda: self.target.start(mine, its_input))

    def _add_step(self, step: dict[str, Json], manner: Manner, undo: Manner) -> None:
        name = step.get("id")
        if isinstance(name, str) and all(name != other["id"] for other in self.draft):
            self.draft.append(step)
            self.draft_manners |= {name: manner, f"{name}!": undo}

    def _connect(self, source: str, target: str, condition: str | None) -> None:
        ids = [step["id"] for step in self.draft]
        if source in ids and target in ids and ids.index(source) < ids.index(target):
            connection = source if condition is None else {"source": source, "condition": condition}
            step = self.draft[ids.index(target)]
            if connection not in step.get("depends_on", []):
                step["depends_on"] = [*step.get("depends_on", []), connection]

    # Commands

    def _ask(
        self,
        command: Literal["start", "pause", "resume", "cancel"],
        execution: str | None,
        arguments: Mapping[str, Json],
        make: Callable[[], Coroutine[Any, Any, Json]],
    ) -> None:
        self._asks += 1
        self._note(Asked(self.loop.time(), self._asks, command, execution, arguments))
        self.loop.call_delayed(self._send, self._asks, command, make)

    def _send(self, ask: int, command: str, make: Callable[[], Coroutine[Any, Any, Json]]) -> None:
        self._tasks.append(self.loop.create_task(self._await_answer(ask, command, make), name=f"{command} {ask}"))

    async def _await_answer(self, ask: int, command: str, make: Callable[[], Coroutine[Any, Any, Json]]) -> None:
        try:
            answer = await make()
        except UnknownExecution as error:
            self._note(Refused(self.loop.time(), ask, "UnknownExecutionError", str(error)))
        except Exception as error:  # noqa: BLE001  # whatever the engine raises is an observation
            self._note(Refused(self.loop.time(), ask, type(error).__name__, str(error)))
        else:
            self._note(Answered(self.loop.time(), ask, answer))
            if command == "start":
                self._manners[answer] = self._asked_manners[ask]
                self.executions[answer] = None
                if self.can("subscribe"):
                    self._subscribe(answer, 0)
        finally:
            self._asked_manners.pop(ask, None)

    def _subscribe(self, execution: str, after: int) -> None:
        self._subscribers += 1
        name = f"s{self._subscribers}"
        self._note(Subscribed(self.loop.time(), name, execution, after))
        self._tasks.append(self.loop.create_task(self._listen(name, execution, after), name=f"subscriber {name}"))

    async def _listen(self, name: str, execution: str, after: int) -> None:
        async for seq, event in self.target.subscribe(execution, after):
            self._note(Notified(self.loop.time(), name, execution, seq, event))

    # Actions

    async def _act(self, call: Call) -> Json:
        """What every action does: wait at a gate, and note what it sees."""
        manner = self._manner(call)
        gate = Gate(call, manner, self.loop.create_future())
        self._note(
            Began(self.loop.time(), call.execution, call.step, call.attempt, call.kind, call.parameters, call.key)
        )
        if manner == "instant":
            return self._ended(gate, "returned", dict(OUTPUT))
        self.gates.append(gate)
        while gate.opened is None:
            try:
                await gate.waiting
            except asyncio.CancelledError:
                gate.interrupted = True
                self._note(Interrupted(self.loop.time(), call.execution, call.step, call.attempt, call.kind))
                if manner != "stubborn":
                    self._ended(gate, "cancelled", None)
                    raise
                gate.waiting = self.loop.create_future()
        how, value = gate.opened
        if how == "yield":
            self._ended(gate, "cancelled", None)
            raise asyncio.CancelledError
        if how == "raise":
            kind, message = value
            self._ended(gate, "raised", [kind, message])
            raise type(kind, (ActionFailed,), {})(message)
        return self._ended(gate, "returned", value)

    def _manner(self, call: Call) -> Manner:
        """How this action was said to behave, when its execution was asked for."""
        manners = self._manners.get(call.execution)
        if manners is None:  # it runs before its start was answered
            manners = next(iter(self._asked_manners.values()), {})
        name = f"{call.step}!" if call.kind == "compensation" else call.step
        return manners.get(name, "gate")

    def _ended(self, gate: Gate, outcome: Outcome, value: Json) -> Json:
        call = gate.call
        if gate in self.gates:
            self.gates.remove(gate)
        odd = outcome == "returned" and value == NO_JSON
        shown = "an object that JSON cannot hold" if odd else value
        self._note(
            Ended(self.loop.time(), call.execution, call.step, call.attempt, call.kind, outcome, shown, json=not odd)
        )
        return object() if odd else value

    def _tell(self, name: str, how: _How, value: Json) -> None:
        """A move tells the oldest waiting action of this name how to end; that takes a latency to arrive."""
        for gate in self.gates:
            if gate.name == name and not gate.told:
                if how == "yield" and not gate.interrupted:
                    return
                gate.told = True
                self.loop.call_delayed(gate.open, how, value)
                return

    # What was seen

    def _note(self, entry: Entry) -> None:
        if not self._over:
            self.history.append(entry)

    def _record(self, execution: str, seq: int, event: Mapping[str, Json]) -> None:
        self._changed[execution] = None
        self._recorded += 1
        self._note(Recorded(self.loop.time(), execution, seq, event))

    def _look(self) -> None:
        """After a move: rest, reports, and the judge's word on all that is new."""
        now = self.loop.time()
        for execution in [name for name in self._changed if name in self.executions]:
            del self._changed[execution]
            report = self.target.report(execution)
            self._note(Reported(now, execution, report))
            if report["status"] in _TERMINAL:
                self._unfinished.pop(execution, None)
            else:
                self._unfinished[execution] = report
        if not self.loop.in_flight:
            self._note(Rested(now))
        if self.loop.errors:
            self._note(Closed(now, (), tuple(self.loop.errors)))
        self._judge()

    def _judge(self) -> None:
        history, feed = self.history, self.judge.feed
        while self._judged < len(history):
            entry = history[self._judged]
            self._judged += 1
            if violations := feed(entry):
                raise ContractViolated(violations[0], self.moves)

    def _violated(self, clause: str, invariant: str, sentence: str) -> None:
        raise ContractViolated(Violation(clause, invariant, sentence, len(self.history)), self.moves)

    # The liveness phase

    def _live_on(self) -> None:
        idle = recorded = 0
        for _ in range(_ROUNDS):
            self.loop.drain()
            self._look()
            if not self._unfinished:
                return
            idle, recorded = (idle + 1 if recorded == self._recorded else 0), self._recorded
            if idle > _PATIENCE:
                break
            moved = self._open_gates()
            for execution, report in self._unfinished.items():
                if report["status"] == "PAUSED":
                    moved = True
                    inputs = _supply(report["missing"])
                    self._ask("resume", execution, {"inputs": inputs}, self._resumer(execution, inputs))
            self.loop.advance(TICK if moved else self._until_timer())
        names = ", ".join(f"{execution} is {report['status']}" for execution, report in self._unfinished.items())
        self._violated("O4", "liveness", f"gates open, pauses resumed, time passed, and there is no end: {names}")

    def _resumer(self, execution: str, inputs: Json) -> Callable[[], Coroutine[Any, Any, bool]]:
        return lambda: self.target.resume(execution, inputs)

    def _open_gates(self) -> bool:
        waiting = [gate for gate in self.gates if not gate.told]
        for gate in waiting:
            gate.told = True
            gate.open(*(("yield", None) if gate.interrupted else ("return", dict(OUTPUT))))
        return bool(waiting)


def _copied(value: Json) -> Json:
    """A JSON value that the engine may keep, and spoil."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _supply(missing: Mapping[str, list[str]]) -> dict[str, Json] | None:
    """Inputs that fill every missing path."""
    inputs: dict[str, Json] = {}
    for paths in missing.values():
        for path in paths:
            *parents, last = path.split(".")[1:]
            into = inputs
            for parent in parents:
                into = into.setdefault(parent, {})
            into[last] = 1
    return inputs or None
