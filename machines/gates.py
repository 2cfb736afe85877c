"""What the actions of a case do: they wait at gates, and note what they see.

Rule 1: what an action sees is noted by the action, and not taken from the engine.
Rule 2: a gate is opened by a move, by way of a latency; whoever waits there knows nothing of moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

from machines.loop import SimulatedLoop
from machines.moves import OUTPUT, Json, Manner
from machines.oddities import made, odd_output
from machines.target import Call
from model.history import Began, Ended, Entry, Interrupted, Outcome

How: TypeAlias = Literal["return", "raise", "yield"]


class ActionFailed(Exception):  # noqa: N818 - stands for whatever an action raises; its type is part of the move
    """What an action raises; the class is made anew under the name that the move wants."""


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
        self.opened: tuple[How, Json] | None = None

    def open(self, how: How, value: Json) -> None:
        """What the move said arrives at the action."""
        self.opened = (how, value)
        if not self.waiting.done():
            self.waiting.set_result(None)


class Gates:
    """Every action of a case."""

    def __init__(
        self,
        loop: SimulatedLoop,
        note: Callable[[Entry], None],
        manners: Callable[[str], Mapping[str, Manner]],
    ) -> None:
        self._loop = loop
        self._note = note
        self._manners = manners
        """Says of an execution how its actions behave, by step."""
        self.waiting: list[Gate] = []
        """Where actions wait now, oldest first."""

    def act(self, call: Call) -> Awaitable[Json]:
        """What every action does: wait at a gate, and note what it sees.

        Raises:
            ActionFailed: an abrupt action is called for the first time.
            CancelledError: an abrupt compensation is.
        """
        name = f"{call.step}!" if call.kind == "compensation" else call.step
        manner = self._manners(call.execution).get(name, "gate")
        if manner != "abrupt" or call.attempt > 1:
            return self._act(call, manner)
        self._begin(call)
        gate = Gate(call, manner, self._loop.create_future())
        if call.kind == "compensation":
            self._ended(gate, "cancelled", None)
            raise asyncio.CancelledError
        kind, message = "RuntimeError", "called in vain"
        self._ended(gate, "raised", [kind, message])
        raise type(kind, (ActionFailed,), {})(message)

    def _begin(self, call: Call) -> None:
        told = (call.execution, call.step, call.attempt, call.kind, call.parameters, call.key, call.undoes)
        self._note(Began(self._loop.time(), *told))

    async def _act(self, call: Call, manner: Manner) -> Json:
        gate = Gate(call, manner, self._loop.create_future())
        self._begin(call)
        if manner == "instant":
            return self._ended(gate, "returned", dict(OUTPUT))
        self.waiting.append(gate)
        while gate.opened is None:
            try:
                await gate.waiting
            except asyncio.CancelledError:
                gate.interrupted = True
                self._note(Interrupted(self._loop.time(), call.execution, call.step, call.attempt, call.kind))
                if manner != "stubborn":
                    self._ended(gate, "cancelled", None)
                    raise
                gate.waiting = self._loop.create_future()
        how, value = gate.opened
        if how == "yield":
            self._ended(gate, "cancelled", None)
            raise asyncio.CancelledError
        if how == "raise":
            kind, message = value
            if kind == "CancelledError":  # it gives up of its own accord
                self._ended(gate, "cancelled", None)
                raise asyncio.CancelledError
            self._ended(gate, "raised", [kind, message])
            raise type(kind, (ActionFailed,), {})(message)
        return self._ended(gate, "returned", value)

    def _ended(self, gate: Gate, outcome: Outcome, value: Json) -> Json:
        call = gate.call
        if gate in self.waiting:
            self.waiting.remove(gate)
        odd = odd_output(value) if outcome == "returned" else None
        shown = value if odd is None else f"{odd}, which JSON cannot hold"
        self._note(
            Ended(
                self._loop.time(), call.execution, call.step, call.attempt, call.kind, outcome, shown, json=odd is None
            )
        )
        return value if odd is None else made(odd)

    def tell(self, name: str, how: How, value: Json) -> None:
        """A move tells the oldest waiting action of this name how to end; that takes a latency to arrive."""
        for gate in self.waiting:
            if gate.name == name and not gate.told:
                if how == "yield" and not gate.interrupted:
                    return
                gate.told = True
                self._loop.call_delayed(gate.open, how, value)
                return

    def open_all(self) -> bool:
        """Let everything end at once, as it likes best. Returns whether anything was waiting for that."""
        waiting = [gate for gate in self.waiting if not gate.told]
        for gate in waiting:
            gate.told = True
            gate.open(*(("yield", None) if gate.interrupted else ("return", dict(OUTPUT))))
        return bool(waiting)
