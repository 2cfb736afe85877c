"""Histories written by hand: each call adds what an outsider would see, so that a test reads as a story."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from model.history import (
    Answered,
    Asked,
    Began,
    Closed,
    Crashed,
    Ended,
    Entry,
    Interrupted,
    Json,
    Kind,
    Notified,
    Recorded,
    Refused,
    Reported,
    Rested,
    ShutDown,
    StoreFailed,
    Subscribed,
)
from model.judge import Judge, Violation, judge
from model.sometimes import Watch

Command = Literal["start", "convert", "pause", "resume", "cancel", "recover", "shutdown", "rival", "take_over"]


def step(name: str, *after: str | Mapping[str, Json], **policies: Json) -> dict[str, Json]:
    """A step of the steps shape."""
    return {"id": name, "action": "work", **({"depends_on": list(after)} if after else {}), **policies}


def workflow(*steps: dict[str, Json], **policies: Json) -> dict[str, Json]:
    """A workflow in the steps shape."""
    return {"id": "w", "steps": list(steps), **policies}


def graph(*nodes: str, edges: tuple[tuple[str, str], ...] = (), **policies: Json) -> dict[str, Json]:
    """A workflow in the graph shape."""
    return {
        "id": "w",
        "nodes": [{"id": name, "config": {"action": "work", "parameters": {}}} for name in nodes],
        "connections": [{"source": source, "target": target} for source, target in edges],
        **policies,
    }


def error(name: str | None, attempt: int | None, kind: str = "Boom", message: str = "it broke") -> dict[str, Json]:
    """An error as events and reports carry it."""
    return {"step": name, "attempt": attempt, "type": kind, "message": message}


class History:
    """A history in the making. Verbs in the past tense add one entry, the others a usual sequence of them."""

    def __init__(self, max_concurrent_steps: int = 5) -> None:
        self.limit = max_concurrent_steps
        self.entries: list[Entry] = []
        self.now = 0.0
        self._seq: dict[str, int] = {}
        self._events: dict[str, list[Mapping[str, Json]]] = {}
        self._attempts: dict[tuple[str, str, Kind], int] = {}
        self._asks = 0
        self._failure: Json = None
        self.watch = Watch()
        """What was seen of it when it was judged."""

    # The verdict.

    def violations(self) -> list[Violation]:
        """What the judge has to say."""
        return judge(self.entries, max_concurrent_steps=self.limit)

    def judged(self) -> Judge:
        """A judge that has taken it all in, and found nothing."""
        court = Judge(max_concurrent_steps=self.limit, watch=self.watch)
        for entry in self.entries:
            found = court.feed(entry)
            assert not found, found
        return court

    # The world.

    def add(self, entry: Entry) -> None:
        """Add any entry."""
        self.entries.append(entry)

    def elapse(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def rest(self) -> None:
        """Nothing is under way."""
        self.add(Rested(self.now))

    def close(self, tasks: tuple[str, ...] = (), errors: tuple[str, ...] = ()) -> None:
        """All is over."""
        self.add(Closed(self.now, tasks, errors))

    # What goes wrong.

    def crash(self) -> None:
        """The engine dies."""
        self.add(Crashed(self.now))

    def shut_down(self, *left: str) -> None:
        """The engine is gone that was closed."""
        self.add(ShutDown(self.now, left))

    def store_failed(self, of: str | None = "e", fault: str = "full") -> None:
        """A write of an execution's events fails; of None: a read."""
        self.add(StoreFailed(self.now, of, fault))

    def recover(self, *names: str) -> None:
        """A recovery takes up the executions named, and nothing is seen of them before its answer."""
        self.answered(self.asked("recover", None), list(names))

    def come_back(self, *names: str) -> None:
        """The engine dies, and another one recovers the executions named."""
        self.crash()
        self.recover(*names)

    # Commands.

    def asked(self, command: Command, of: str | None = "e", **arguments: Json) -> int:
        """A command goes out."""
        self._asks += 1
        self.add(Asked(self.now, self._asks, command, of, arguments))
        return self._asks

    def answered(self, ask: int, answer: Json) -> None:
        """A command comes back."""
        self.add(Answered(self.now, ask, answer))

    def refused(self, ask: int, kind: str = "UnknownExecutionError", message: str = "no") -> None:
        """A command raises."""
        self.add(Refused(self.now, ask, kind, message))

    def create(self, definition: Mapping[str, Json], data: Json = None, of: str = "e") -> None:
        """An execution is asked for, created and answered, and does not start yet."""
        data = {} if data is None else data
        ask = self.asked("start", None, workflow=definition, input=data)
        self.recorded("ExecutionCreated", of=of, workflow=definition, input=data)
        self.answered(ask, of)

    def start(self, definition: Mapping[str, Json], data: Json = None, of: str = "e") -> None:
        """An execution is created and starts."""
        self.create(definition, data, of)
        self.recorded("ExecutionStarted", of=of)

    def pause(self, of: str = "e") -> None:
        """A pause is accepted."""
        ask = self.asked("pause", of)
        self.recorded("ExecutionPaused", of=of, missing={})
        self.answered(ask, answer=True)

    def resume(self, inputs: Json = None, of: str = "e") -> None:
        """A resume is accepted."""
        ask = self.asked("resume", of, inputs=inputs)
        self.recorded("ExecutionResumed", of=of, inputs=inputs or {})
        self.answered(ask, answer=True)

    def cancel(self, of: str = "e") -> None:
        """A cancel is accepted."""
        ask = self.asked("cancel", of)
        self.recorded("CancellationRequested", of=of)
        self.answered(ask, answer=True)

    # The journal.

    def recorded(
        self, kind: str, name: str | None = None, *, of: str = "e", seq: int | None = None, **more: Json
    ) -> None:
        """An event becomes durable; its number is the next one."""
        self._seq[of] = self._seq.get(of, 0) + 1 if seq is None else seq
        event = {"type": kind, "at": self.now, **({} if name is None else {"step": name}), **more}
        self._events.setdefault(of, []).append(event)
        self.add(Recorded(self.now, of, self._seq[of], event))

    def started(self, name: str, n: int | None = None, of: str = "e", kind: Kind = "action") -> None:
        """An attempt is recorded as started."""
        number = n or self._attempts.get((of, name, kind), 0) + 1
        self._attempts[of, name, kind] = number
        self.recorded("StepStarted" if kind == "action" else "CompensationStarted", name, of=of, attempt=number)

    def of_attempt(self, event: str, name: str, n: int | None = None, of: str = "e", **more: Json) -> None:
        """An event about an attempt, the latest unless told."""
        kind: Kind = "compensation" if event.startswith("Compensation") else "action"
        self.recorded(event, name, of=of, attempt=self.latest(name, of, kind) if n is None else n, **more)

    def completed(self, name: str, output: Json = None, n: int | None = None, of: str = "e") -> None:
        """A step is recorded as completed."""
        self.of_attempt("StepCompleted", name, n, of, output=output)

    def failed(
        self, name: str, kind: str = "Boom", message: str = "it broke", n: int | None = None, of: str = "e"
    ) -> None:
        """A step is recorded as failed for good; ``n=0``: before any attempt."""
        number = self.latest(name, of) if n is None else n
        self._failure = error(name, number, kind, message)
        self.of_attempt("StepFailed", name, number, of, error=self._failure)

    def retrying(self, name: str, until: float, kind: str = "Boom", message: str = "it broke") -> None:
        """A step is recorded as about to be tried again."""
        self.of_attempt("StepRetrying", name, error=error(name, self.latest(name), kind, message), until=until)

    def ended_as(self, status: str, of: str = "e") -> None:
        """An execution is recorded as ended."""
        self.recorded("ExecutionEnded", of=of, status=status)

    def latest(self, name: str, of: str = "e", kind: Kind = "action") -> int:
        """The number of the latest attempt."""
        return self._attempts.get((of, name, kind), 1)

    # What actions see.

    def began(
        self,
        name: str,
        parameters: Json = None,
        of: str = "e",
        kind: Kind = "action",
        key: str | None = None,
        n: int = 0,
        undoes: Mapping[str, Json] | None = None,
    ) -> None:
        """An action runs."""
        number = n or self.latest(name, of, kind)
        infix = "compensation/" if kind == "compensation" else ""
        known = key or f"{of}/{name}/{infix}{number}"
        self.add(Began(self.now, of, name, number, kind, {} if parameters is None else parameters, known, undoes))

    def interrupted(self, name: str, of: str = "e", kind: Kind = "action") -> None:
        """An action sees its cancellation."""
        self.add(Interrupted(self.now, of, name, self.latest(name, of, kind), kind))

    def returned(
        self, name: str, value: Json = None, of: str = "e", kind: Kind = "action", *, json: bool = True
    ) -> None:
        """An action returns."""
        self.add(Ended(self.now, of, name, self.latest(name, of, kind), kind, "returned", value, json))

    def raised(self, name: str, type_: str = "Boom", message: str = "it broke", kind: Kind = "action") -> None:
        """An action raises."""
        self.add(Ended(self.now, "e", name, self.latest(name, "e", kind), kind, "raised", [type_, message]))

    def yielded(self, name: str, of: str = "e", kind: Kind = "action") -> None:
        """An action ends as its cancellation wants it to."""
        self.interrupted(name, of, kind)
        self.add(Ended(self.now, of, name, self.latest(name, of, kind), kind, "cancelled", None))

    def gave_up(self, name: str) -> None:
        """An action ends as if it had been cancelled, and was not."""
        self.add(Ended(self.now, "e", name, self.latest(name), "action", "cancelled", None))

    # Usual sequences.

    def run(self, name: str, parameters: Json = None, of: str = "e") -> None:
        """A step starts, and its action begins."""
        self.started(name, of=of)
        self.began(name, parameters, of)

    def finish(self, name: str, output: Json = None, of: str = "e") -> None:
        """An action returns, and its step is completed."""
        self.returned(name, output, of)
        self.completed(name, output, of=of)

    def do(self, *names: str, of: str = "e") -> None:
        """Steps run and complete, one after the other, with null as their output."""
        for name in names:
            self.run(name, of=of)
            self.finish(name, of=of)

    def fail(self, name: str) -> None:
        """An action raises, and its step fails for good."""
        self.raised(name)
        self.failed(name)

    def roll_back(self, cause: Json = None) -> None:
        """A rollback starts: for the latest failure, if there was one, unless told."""
        self.recorded("RollbackStarted", error=cause or self._failure)

    def undo(self, *names: str, parameters: Json = None) -> None:
        """Compensations run, one after the other."""
        for name in names:
            self.undo_began(name, parameters)
            self.returned(name, kind="compensation")
            self.of_attempt("CompensationCompleted", name)

    def undo_began(self, name: str, parameters: Json = None) -> None:
        """A compensation starts, and its action begins."""
        self.started(name, kind="compensation")
        self.began(name, parameters, kind="compensation")

    def undo_failed(self, name: str, n: int | None = None, kind: str = "Boom", message: str = "it broke") -> None:
        """A compensation is recorded as failed for good."""
        number = self.latest(name, kind="compensation") if n is None else n
        self.of_attempt("CompensationFailed", name, number, error=error(name, number, kind, message))

    # Subscribers and reports.

    def subscribed(self, after: int = 0, of: str = "e", subscriber: str = "s") -> None:
        """A subscriber asks for the events after a number."""
        self.add(Subscribed(self.now, subscriber, of, after))

    def notified(self, seq: int, event: Mapping[str, Json] | None = None, of: str = "e", subscriber: str = "s") -> None:
        """A subscriber gets an event, as it was recorded unless told."""
        known = self._events[of]
        shown = event or (known[seq - 1] if seq <= len(known) else {"type": "ExecutionStarted", "at": self.now})
        self.add(Notified(self.now, subscriber, of, seq, shown))

    def reported(self, status: str, *, of: str = "e", steps: Mapping[str, Json], **more: Any) -> None:
        """The engine says where an execution stands; each step as ``"PHASE"`` or as an object."""
        shown = {
            name: {"status": known, "attempts": 0 if known in {"PENDING", "SKIPPED"} else 1}
            if isinstance(known, str)
            else known
            for name, known in steps.items()
        }
        seq = self._seq.get(of, 0)
        report = {"status": status, "seq": seq, "missing": {}, "error": None, "steps": shown, **more}
        self.add(Reported(self.now, of, report))
