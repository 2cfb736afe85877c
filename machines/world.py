"""One case: the loop, the target and the model together, and the moves that are played to them.

Rule 1: ``play`` is the only way in. It carries out a move, lets the loop run for a tick, feeds what was seen to the
judge, and raises on the first sentence against the contract.
Rule 2: what the actions see is noted by the actions, here, and not taken from the engine.
Rule 3: nothing here draws: a move and its tape say everything, so a saved case and a machine are the same to a world.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never, cast

from machines.callers import Callers, Command
from machines.gates import Gate, Gates
from machines.loop import SETTLE_LIMIT, Deadlock, Livelock, SimulatedLoop
from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Convert,
    Crash,
    Elapse,
    Fail,
    FailStore,
    Finish,
    Heed,
    Json,
    Manner,
    Move,
    Pause,
    Reconnect,
    Recover,
    Resume,
    Rival,
    Run,
    Shutdown,
    Stall,
    Subscribe,
    TakeOver,
    Yield,
    tell,
)
from machines.nemesis import Nemesis
from machines.oddities import made, odd_input
from machines.tape import PLAIN, TICK, Deviation, Tape
from machines.target import CONNECTIONS, Connected, Converting, Ports, Recoverable, Target, TargetFactory, fitted
from model.history import Closed, Crashed, Entry, Recorded, Reported, Rested, ShutDown, StoreFailed, digest
from model.judge import Judge, Violation

_PATIENCE: Final = 100
"""Rounds of opening gates, resuming and letting time pass without any event, until a case counts as never ending."""

_ROUNDS: Final = 100_000
"""The same, with events or without."""

_NEEDS: Final[Mapping[type[Move], str]] = {Pause: "pause", Cancel: "cancel", Subscribe: "subscribe"}

_REREAD: Final = 2
"""Executions, the newest, whose journal is folded afresh at the end; reports were judged all along."""

_EVERYTHING: Final = "everything"
"""Stands among the executions that nobody drives from a crash until a recovery has been answered."""

_OF_OTHERS: Final = ("rival", "take_over")
"""Commands that are another engine's."""

_TERMINAL: Final = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")


_ATOMS: Final = frozenset({str, int, float, bool, type(None)})


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
        """Those whose start was answered, or that were recovered, oldest first."""
        self.draft: list[dict[str, Json]] = []
        self.draft_manners: dict[str, Manner] = {}
        self.runs = 0
        self.latecomers = 0
        """How many subscribers came by a move of their own."""
        self.down = False
        """Whether the engine has crashed, and no other was opened since."""
        self._over = False
        self._judged = 0
        self._actions = Gates(self.loop, self._note, self._manners_of)
        self._callers = Callers(self.loop, self._note, self._events, self._answered, self._unread)
        self._handed: list[tuple[Json, Json]] = []
        """The definitions handed to the engine: as they were, and as they are."""
        self._starts: dict[int, tuple[Json, Mapping[str, Manner]]] = {}
        """By start command that was not answered: the workflow, and how its actions are to behave."""
        self._manners: dict[str, Mapping[str, Manner]] = {}
        """The same by execution."""
        self._unfinished: dict[str, Mapping[str, Json]] = {}
        """By execution: the last report, while that is not a terminal one."""
        self._recorded = 0
        self._changed: dict[str, None] = {}
        """Executions of which something was recorded since their last report."""
        self.rivals = 0
        """How many second engines were tried."""
        self.ousted = False
        """Whether the journal was taken over from the engine."""
        self.deaths: list[str] = []
        """How the engine crashed, each time."""
        self.shutdowns = 0
        """How often the engine was shut down."""
        self._closed = False
        """Whether it has said that it is."""
        self._adrift: dict[str, int] = {}
        """Executions that nobody drives, as far as is known, and how many commands had been sent by then."""
        self._reconnect: list[tuple[str, int]] = []
        """Who listened when the engine crashed, and how far."""
        self.nemesis = Nemesis(self._die, self._store_failed)
        self._ports = Ports(self.loop, self._actions.act, self._record, max_concurrent_steps, self.nemesis)
        self.loop.call_soon(self.target.open, self._ports)
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
        self.nemesis.calm()
        self._callers.heed()
        if self.ousted:  # as a process that finds that out should end; then whoever comes next can go on
            self._die("now")
        waiting: list[str] = []
        try:
            closed = False
            while not closed:
                self._live_on()
                for execution in [*self.executions][-_REREAD:]:
                    found = self.loop.run(self.target.reread(execution), SETTLE_LIMIT)
                    self._note(Reported(self.loop.time(), execution, found))
                waiting = [task.get_name() for task in self._callers.tasks if not task.done()]
                closed = self._shut()
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
        if not self._over and not self.down and self.can("recovery"):
            self._target().crash()
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
    def gates(self) -> Sequence[Gate]:
        """Where actions wait, oldest first."""
        return self._actions.waiting

    @property
    def adrift(self) -> bool:
        """Whether there is anything to recover."""
        return bool(self._adrift)

    @property
    def closing(self) -> bool:
        """Whether the engine is being shut down."""
        return self._callers.closing

    @property
    def callers(self) -> Callers:
        """Who talks to the engine."""
        return self._callers

    def digest(self) -> str:
        """A hash of all that was seen."""
        return digest(self.history)

    # Moves

    def _carry_out(self, move: Move) -> float:
        """Begin the move; returns how long the loop shall run, in seconds."""
        match move:
            case _ if self.down and not isinstance(move, (AddStep, Connect, Elapse, Recover)):
                pass
            case Finish(gate, output):
                self._actions.tell(gate, "return", output)
            case Fail(gate, kind, message):
                self._actions.tell(gate, "raise", (kind, message))
            case Yield(gate):
                self._actions.tell(gate, "yield", None)
            case Elapse(None, before):
                return max(self._until_timer() - before, 0.0)
            case Elapse(seconds):
                return max(seconds or 0.0, TICK)
            case Pause() | Cancel() | Subscribe() if not self.can(_NEEDS[type(move)]):
                pass
            case Pause(execution):
                self._callers.ask("pause", execution, {}, lambda: self.target.pause(execution))
            case Resume(execution, inputs):
                given, told = self._given("inputs", inputs)
                self._callers.ask("resume", execution, told, lambda: self.target.resume(execution, given))
            case Cancel(execution):
                self._callers.ask("cancel", execution, {}, lambda: self.target.cancel(execution))
            case Run():
                self._run(move)
            case Convert(graph, faults):
                self._convert(graph, faults)
            case Reconnect(execution):
                self._callers.reconnect(execution)
            case Stall(execution):
                self._callers.stall(execution)
            case Heed(execution):
                self._callers.heed(execution)
            case AddStep(step, manner, undo):
                self._add_step(dict(step), manner, undo)
            case Connect(source, target, condition):
                self._connect(source, target, condition)
            case Subscribe(execution, after):
                if execution in self.executions:
                    self.latecomers += 1
                    self._callers.subscribe(execution, after)
            case Crash() | Recover() | FailStore() | Rival() | TakeOver():
                self._harm(move)
            case Shutdown(grace):
                self._shut_down(grace)
            case _:
                assert_never(move)
        return TICK

    def _until_timer(self) -> float:
        due = self.loop.next_timer()
        return TICK if due is None else max(due - self.loop.time(), 0.0)

    def _run(self, move: Run) -> None:
        workflow, manners, faults = move.workflow, move.manners, move.faults
        key = move.key if self.can(CONNECTIONS) else ""
        if workflow is None:
            if not self.draft:
                return
            workflow, manners = {"id": f"draft-{self.runs + 1}", "steps": self.draft}, self.draft_manners
            self.draft, self.draft_manners = [], {}
        self.runs += 1
        workflow = fitted(workflow, self.target.capabilities)
        self._starts[self._callers.asks + 1] = (workflow, manners)
        mine = _copied(workflow)
        its_input, told = self._given("input", dict(move.input))
        arguments = {"workflow": workflow, **told, **({"faults": list(faults)} if faults else {})}
        arguments |= {"key": key} if key else {}
        self._handed.append((workflow, mine))
        self._callers.ask("start", None, arguments, lambda: self._start(mine, its_input, key))

    def _given(self, name: str, value: Json) -> tuple[Json, dict[str, Json]]:
        """What a target is handed as an input, and what is told of it."""
        odd = odd_input(value)
        if odd is None:
            return _copied(value), {name: value}
        return (made(odd), {name: value, "odd": True}) if self.can("odd_inputs") else ({}, {name: {}})

    def _convert(self, graph: Mapping[str, Json], faults: Sequence[str]) -> None:
        if not self.can("conversion"):
            return
        mine = _copied(graph)
        self._handed.append((graph, mine))
        arguments = {"workflow": graph, **({"faults": list(faults)} if faults else {})}
        self._callers.ask("convert", None, arguments, lambda: cast("Converting", self.target).convert(mine))

    def _start(self, workflow: Json, input_data: Json, key: str) -> Coroutine[Any, Any, str]:
        if not key:
            return self.target.start(workflow, input_data)
        return cast("Connected", self.target).start_once(workflow, input_data, key)

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

    def _answered(self, ask: int, command: Command, answer: Json) -> None:
        """A command was not refused."""
        if command == "start":
            self._manners[answer] = self._starts.pop(ask)[1]
            self.executions[answer] = None
            if self.can("subscribe"):
                self._callers.subscribe(answer, 0)
        elif command == "take_over":
            self.ousted = True
        elif command == "shutdown":
            self._closed = True
            self._callers.hang_up()
        elif command == "recover":
            self._adrift = {name: asks for name, asks in self._adrift.items() if asks >= ask}
            for execution in answer:
                self._changed[execution] = None
                self.executions.setdefault(execution)
            for execution, seq in self._reconnect:
                self._callers.subscribe(execution, seq)
            self._reconnect = []

    def _events(self, execution: str, after: int) -> AsyncIterator[tuple[int, Mapping[str, Json]]]:
        return self.target.subscribe(execution, after)

    def _unread(self) -> int:
        return sum(statement == "read" for _, statement in self.nemesis.struck)

    def _manners_of(self, execution: str) -> Mapping[str, Manner]:
        """How the actions of an execution behave, also if nothing of it was recorded or answered yet."""
        if execution in self._manners:
            return self._manners[execution]
        return next((manners for ask, (_, manners) in self._starts.items() if ask in self._callers.under_way), {})

    # What goes wrong

    def _harm(self, move: Crash | Recover | FailStore | Rival | TakeOver) -> None:
        if not self.can("ownership" if isinstance(move, Rival | TakeOver) else "recovery"):
            return
        match move:
            case Crash("before" | "after" as side, commits):
                self.nemesis.arm_crash(side, commits)
            case Crash():
                self._die("now")
            case FailStore(fault, statement, times):
                self.nemesis.arm_fault(fault, statement, times)
            case Recover():
                self._recover()
            case Rival() | TakeOver() if self.closing:
                pass
            case Rival():
                self.rivals += 1
                self._callers.ask("rival", None, {}, self._target().rival)
            case TakeOver():
                self._callers.ask("take_over", None, {}, self._target().take_over)

    def _target(self) -> Recoverable:
        return cast("Recoverable", self.target)

    def _recover(self) -> None:
        if not self.down:
            self._callers.ask("recover", None, {}, self._target().recover)
            return
        self.down = False
        self.loop.call_soon(self._reopen)

    def _reopen(self) -> None:
        self.target.open(self._ports)
        self._callers.ask("recover", None, {}, self._target().recover)

    def _shut_down(self, grace: float) -> None:
        owners = [command for command in self._callers.under_way.values() if command in _OF_OTHERS]
        if self.can("shutdown") and not (self.closing or self.ousted or owners):
            self.shutdowns += 1
            self._callers.closing = True
            self._callers.ask("shutdown", None, {"grace": grace}, lambda: self._target().shutdown(grace))

    def _leave(self) -> None:
        """The engine has been closed, and nothing is on its way any more."""
        waiting = [task.get_name() for task in self._callers.tasks if not task.done()]
        left = tuple(dict.fromkeys([*waiting, *self.loop.pending_tasks()]))
        self._note(ShutDown(self.loop.time(), left))
        self._let_down()

    def _die(self, how: str) -> None:
        """The engine's process ends, in the middle of whatever it is doing."""
        self.deaths.append(how)
        self._target().crash()
        self._let_down()
        self._note(Crashed(self.loop.time()))

    def _let_down(self) -> None:
        """There is no engine any more, and nothing of it."""
        self.loop.abandon()
        self.down = True
        self._closed = False
        self.ousted = False
        self._actions.waiting.clear()
        self._unfinished.clear()  # whoever is left is named by the recovery
        self._changed.clear()
        self._reconnect += self._callers.die()
        self._adrift |= dict.fromkeys([*self.judge.facts.unfinished, _EVERYTHING], self._callers.asks)

    def _store_failed(self, execution: str | None, fault: str) -> None:
        if execution is not None:
            self._adrift[execution] = self._callers.asks
            self._changed[execution] = None  # nothing has: so it must be reported as before (J4)
        self._note(StoreFailed(self.loop.time(), execution, fault))

    # What was seen

    def _note(self, entry: Entry) -> None:
        if not self._over:
            self.history.append(entry)

    def _record(self, execution: str, seq: int, event: Mapping[str, Json]) -> None:
        self._changed[execution] = None
        self._adrift.pop(execution, None)
        if seq == 1:
            self._manners[execution] = next(
                (manners for asked, manners in self._starts.values() if asked == event.get("workflow")), {}
            )
        self._recorded += 1
        self._note(Recorded(self.loop.time(), execution, seq, event))

    def _look(self) -> None:
        """After a move: rest, reports, and the judge's word on all that is new."""
        now = self.loop.time()
        lost = self.down or self._closed or _EVERYTHING in self._adrift
        for execution in [name for name in self._changed if name in self.executions and not lost]:
            del self._changed[execution]
            try:
                report = self.target.report(execution)
            except Exception:
                self._judge()  # what was recorded may tell why
                raise
            self._note(Reported(now, execution, report))
            if report["status"] in _TERMINAL:
                self._unfinished.pop(execution, None)
            else:
                self._unfinished[execution] = report
        if self._closed and not self.loop.in_flight:
            self._leave()
        elif not self.loop.in_flight:
            self._note(Rested(now))
        if self.loop.errors:
            self._note(Closed(now, (), tuple(self.loop.errors)))
        self._judge()

    def _judge(self) -> None:
        feed = self.judge.feed
        for entry in self.history[self._judged :]:
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
            if not (self._unfinished or self.adrift or self.closing):
                return
            if self.ousted:  # by a rival whose answer was still on its way
                self._die("now")
            idle, recorded = (idle + 1 if recorded == self._recorded else 0), self._recorded
            if idle > _PATIENCE:
                break
            moved = self._actions.open_all()
            if self.adrift and not self.closing and "recover" not in self._callers.under_way.values():
                moved = True
                self._recover()
            for execution, report in self._unfinished.items():
                if report["status"] == "PAUSED" and execution not in self._adrift and not self.closing:
                    moved = True
                    inputs = _supply(report["missing"])
                    self._callers.ask("resume", execution, {"inputs": inputs}, self._resumer(execution, inputs))
            self.loop.advance(TICK if moved else self._until_timer())
        names = ", ".join(f"{execution} is {report['status']}" for execution, report in self._unfinished.items())
        self._violated("O4", "liveness", f"gates open, pauses resumed, time passed, and there is no end: {names}")

    def _shut(self) -> bool:
        """Close the target; false if it died of that: a last commit may be where a crash waits."""
        try:
            self.loop.run(self.target.close(), SETTLE_LIMIT)
        except Deadlock:
            if not self.down:
                raise
        return not self.down

    def _resumer(self, execution: str, inputs: Json) -> Callable[[], Coroutine[Any, Any, bool]]:
        return lambda: self.target.resume(execution, inputs)


def _copied(value: Json) -> Json:
    """A JSON value that the engine may keep, and spoil."""
    if isinstance(value, Mapping):
        return {key: item if type(item) in _ATOMS else _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _ATOMS else _copied(item) for item in value]
    return value


def _supply(missing: Mapping[str, list[str]]) -> dict[str, Json] | None:
    """Inputs that fill every missing path."""
    inputs: dict[str, Json] = {}
    paths = sorted((path for each in missing.values() for path in each), key=lambda path: -path.count("."))
    for path in paths:  # the longest first: what leads to another path is an object
        *parents, last = path.split(".")[1:]
        into = inputs
        for parent in parents:
            into = into.setdefault(parent, {})
        into.setdefault(last, 1)
    return inputs or None
