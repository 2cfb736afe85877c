"""A process that runs workflows until it is killed: what ``test_crash.py`` starts, again and again, on one file.

    python mortal.py JOURNAL LEDGER LIFE SLOTS [last | LINES]

It recovers what it finds, starts new executions and sees to their ends, for ever; with LINES it kills itself when it
has written so many. In its last life it starts none, and goes when all have ended. Every line that it writes says
something that is true by then: what callers were answered, and what the actions did. Lines go to the ledger (those of
actions) and to stdout (all of them) with one unbuffered write each.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from itertools import count, cycle, islice
from typing import Any, Final, TypeAlias

from engine.driver import ActionContext
from engine.messages import Event, ExecutionPaused, StepStarted
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine

Json: TypeAlias = Any

TOGETHER: Final = 6
"""Executions that are under way at once."""
BOUND: Final = 60
"""Seconds after which a life ends by itself, whatever has become of who was to end it."""


def step(name: str, *after: str, action: str = "work", **policies: Json) -> dict[str, Json]:
    return {"id": name, "action": action, "depends_on": list(after), **policies}


def twice(interval: float, attempts: int = 2) -> dict[str, Json]:
    return {"max_attempts": attempts, "initial_interval": interval, "backoff": 1}


UNDO: Final = {"action": "work"}
KINDS: Final[dict[str, dict[str, Json]]] = {
    "sequence": {
        "steps": [step("a"), step("b", "a", parameters={"of": "${a.life}"}), step("c", "b"), step("d", "c")],
    },
    "fan": {
        "steps": [step("a"), *[step(f"b{n}", "a") for n in range(6)], step("c", *[f"b{n}" for n in range(6)])],
        "max_concurrent_steps": 3,
    },
    "retries": {"steps": [step("a", parameters={"fails": 2}, retries=twice(0.02, 3)), step("b"), step("c", "a", "b")]},
    "rollback": {
        "steps": [
            step("a", compensation=UNDO),
            step("b", "a", compensation={**UNDO, "parameters": {"fails": 1}, "retries": twice(0.02)}),
            step("c", "a", compensation=UNDO),
            step("d", "b", "c", parameters={"fails": 9}),
            step("e", "a", action="hang", timeout=0.1, continue_on_error=True),
        ]
    },
    "timeout": {
        "steps": [step("a", action="hang", timeout=0.05, retries=twice(0.01), continue_on_error=True), step("b", "a")]
    },
    "pause": {"steps": [step("a"), step("b", "a"), step("c", "b", parameters={"x": "${input.x}"}), step("d", "c")]},
    "cancel": {
        "steps": [step("a", compensation=UNDO), step("b", "a", action="hang"), step("c", "b")],
        "rollback_on_cancel": True,
    },
    "deadline": {"steps": [step("a", compensation=UNDO), step("b", "a", action="hang")], "timeout": 0.25},
}


class NoisyJournal(SqliteJournal):
    """Says when it has read, so that a process can be killed inside a recovery."""

    async def read(self, execution: str, after: int = 0, limit: int | None = None) -> list[Event]:
        found = await super().read(execution, after, limit)
        say("read", execution)
        return found


class Voice:
    """Says to whoever watches what has happened, and falls silent for good after a number of lines."""

    lines_left = 0

    @classmethod
    def say(cls, *words: object) -> None:
        """Write a line."""
        os.write(1, f"{' '.join(map(str, words))}\n".encode())
        cls.lines_left -= 1
        if cls.lines_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


say = Voice.say


class Actions:
    """What steps do: they enter into the ledger that they begin, that their effect is done, and that they are over."""

    def __init__(self, ledger: int, life: int) -> None:
        self._ledger = ledger
        self._life = life

    def enter(self, what: str, context: ActionContext) -> None:
        entry = f"{self._life} {time.monotonic():.9f} {what} {context.idempotency_key}"
        os.write(self._ledger, f"{entry}\n".encode())
        say(entry)

    async def work(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        """Have an effect, or fail."""
        self.enter("begin", context)
        try:
            await asyncio.sleep(0.002)
            if context.attempt <= parameters.get("fails", 0):
                raise RuntimeError("again")
            self.enter("done", context)
        finally:
            self.enter("over", context)
        return {"life": self._life}

    async def hang(self, parameters: dict[str, Json], context: ActionContext) -> Json:
        """Wait to be cancelled."""
        self.enter("begin", context)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.enter("over", context)


class Life:
    """One engine on the file, and its callers."""

    def __init__(self, journal: SqliteJournal, actions: Actions, number: int, slots: int) -> None:
        self._number = number
        self._count = count(1)
        self._kind = ""
        self._tended: set[asyncio.Task[None]] = set()
        self._engine = WorkflowEngine(
            ExecutionStateManager(journal),
            {"work": actions.work, "hang": actions.hang},
            max_concurrent_steps=slots,
            clock=time.monotonic,  # the same in all processes
            new_id=lambda: f"{self._kind}-{number}-{next(self._count)}",
        )

    async def live(self, *, last: bool) -> None:
        """Recover and see to what was found; then, unless it is the last life, keep new executions under way."""
        async with self._engine as engine:
            say("recovering")
            found = await engine.recover()
            say("recovered", *found)
            for execution in found:
                self._see_to(execution)
            for kind in () if last else islice(cycle(KINDS), self._number, None):
                while len(self._tended) >= TOGETHER:
                    await asyncio.wait(self._tended, return_when=asyncio.FIRST_COMPLETED)
                await self._start(kind)
            await asyncio.gather(*self._tended)

    async def _start(self, kind: str) -> None:
        self._kind = kind
        execution = await self._engine.start_workflow({"id": kind, **KINDS[kind]})
        say("started", execution)
        if kind == "pause" and await self._engine.pause_execution(execution):
            say("paused", execution)
        self._see_to(execution)

    def _see_to(self, execution: str) -> None:
        task = asyncio.create_task(self._tend(execution))
        self._tended.add(task)
        task.add_done_callback(self._tended.discard)

    async def _tend(self, execution: str) -> None:
        """Bring an execution to its end: resume it after each pause; cancel it if that is what it is there for."""
        kind = execution.partition("-")[0]
        async for _, event in self._engine.subscribe(execution):
            if isinstance(event, ExecutionPaused) and await self._engine.resume_execution(execution, {"x": 1}):
                say("resumed", execution)
            starts_b = isinstance(event, StepStarted) and event.step == "b"
            if kind == "cancel" and starts_b and await self._engine.cancel_execution(execution):
                say("cancelled", execution)
        say("ended", execution, (await self._engine.wait(execution))["status"])


async def main(path: str, ledger: str, number: int, slots: int, *, last: bool) -> None:
    say("opening", time.monotonic())
    journal = await NoisyJournal.open(path)
    actions = Actions(os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    await Life(journal, actions, number, slots).live(last=last)
    say("over")


if __name__ == "__main__":
    signal.alarm(BOUND)
    _, path_, ledger_, number_, slots_, *how = sys.argv
    if how and how != ["last"]:
        Voice.lines_left = int(how[0])
    asyncio.run(main(path_, ledger_, int(number_), int(slots_), last=how == ["last"]))
