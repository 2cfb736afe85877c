"""The protocol through which any engine is driven.

Rule 1: a target translates; it decides nothing, and checks nothing.
Rule 2: whatever an engine wants from outside reaches it through the ports: the loop (and with it time and storage
latencies), and the actions, which are the world's gates.
Rule 3: what a target does not claim is neither played nor checked, and is said to be left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

from machines.loop import SimulatedLoop
from machines.nemesis import Nemesis

Json: TypeAlias = Any

CAPABILITIES: Final = (
    *("pause", "cancel", "subscribe", "recovery", "ownership", "shutdown", "conversion", "odd_inputs"),
    *("retries", "timeouts", "compensation", "conditions", "schemas"),
)
"""What a target can claim: first moves, then policies of a workflow."""

CONNECTIONS: Final = "connections"
"""What a service claims beside these: its subscribers are connected to it, and its starts may carry keys."""

POLICIES: Final[Mapping[str, tuple[str, ...]]] = {
    "retries": ("retries",),
    "timeouts": ("timeout",),
    "compensation": ("compensation", "rollback_on_cancel"),
    "conditions": ("condition",),
    "schemas": ("input_schema", "output_schema"),
}
"""The keys of a definition that need a capability."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an action, as the engine made it."""

    execution: str
    step: str
    attempt: int
    kind: Literal["action", "compensation"]
    parameters: Json
    key: str
    undoes: Mapping[str, Json] | None = None
    """Of a compensation: ``parameters`` and ``output`` of its step, as the action is told (F4).

    None: this target does not say, and so it is not checked.
    """


@dataclass(frozen=True, slots=True)
class Ports:
    """What the world hands to a target.

    ``act`` is every action's work, and may raise when it is called; ``record`` takes each event at the moment it
    becomes durable: execution, number, event (as ``model.history`` spells it).
    """

    loop: SimulatedLoop
    act: Callable[[Call], Awaitable[Json]]
    record: Callable[[str, int, Mapping[str, Json]], None]
    max_concurrent_steps: int
    nemesis: Nemesis
    """For a target that claims recovery: its store asks it at every commit, and at every statement that may fail."""


class UnknownExecution(LookupError):  # noqa: N818 - the name of what happened
    """A command named an execution that the engine does not know (K1)."""


class HungUp(Exception):  # noqa: N818 - the name of what happened
    """A connection was broken off by its subscriber, or by what lies between."""


class LetGo(Exception):  # noqa: N818 - the name of what happened
    """A connection was ended by the engine, before its execution's end; its text is the reason that was told."""


@runtime_checkable
class Connection(Protocol):
    """What ``subscribe`` of a target returns that claims connections: events that travel, and may not be read.

    Iterating it raises `HungUp` or `LetGo` where it ends so.
    """

    patience: float
    """Seconds that the engine waits for an event to be taken."""

    def hang_up(self) -> None:
        """It breaks: what was not taken is lost."""

    def stall(self) -> None:
        """From now on nothing is taken."""

    def heed(self) -> None:
        """What is there is taken."""

    def __aiter__(self) -> AsyncIterator[tuple[int, Mapping[str, Json]]]:
        """The events."""
        ...


class Target(Protocol):
    """An engine under test. One instance lives for one case."""

    name: str
    capabilities: frozenset[str]

    def open(self, ports: Ports) -> None:
        """Make the engine, inside the running loop."""

    async def start(self, workflow: Json, input_data: Json) -> str:
        """Start an execution and return its id."""
        ...

    async def pause(self, execution: str) -> bool:
        """Pause; whether it was accepted. An unknown execution raises `UnknownExecution`, as below."""
        ...

    async def resume(self, execution: str, inputs: Json) -> bool:
        """Resume with new inputs (or None)."""
        ...

    async def cancel(self, execution: str) -> bool:
        """Cancel."""
        ...

    def report(self, execution: str) -> Mapping[str, Json]:
        """Where the execution stands now (a report of ``model.history``); it must not wait."""
        ...

    async def reread(self, execution: str) -> Mapping[str, Json]:
        """The same, made anew from what is durable alone."""
        ...

    def subscribe(self, execution: str, after: int) -> AsyncIterator[tuple[int, Mapping[str, Json]]]:
        """The execution's events with their numbers, from ``after`` + 1 on."""
        ...

    async def close(self) -> None:
        """Close the engine."""


class Converting(Target, Protocol):
    """A target that claims conversion: it makes steps of a graph for whoever asks (D2)."""

    async def convert(self, workflow: Json) -> list[Mapping[str, Json]]:
        """The steps of a workflow in the graph shape, as the steps shape spells them, in topological order.

        Raises:
            Exception: the graph is broken (D3).
        """
        ...


class Recoverable(Target, Protocol):
    """A target that claims recovery: its executions outlive its engine. After a crash it is opened once more."""

    def crash(self) -> None:
        """End the engine's process: nothing of it may be written from now on. It must not wait.

        What is durable and was not recorded yet is recorded now.
        """

    async def recover(self) -> list[str]:
        """Take up every unfinished execution that is not driven. Returns their ids, oldest first (J3)."""
        ...

    async def shutdown(self, grace: float) -> None:
        """Under ``shutdown``: close the engine; for ``grace`` seconds what runs may still end (J7).

        It may be opened once more then.
        """
        ...

    async def rival(self) -> list[str]:
        """Under ``ownership``: open a second engine on the same journal, and let it recover (J5).

        Raises:
            Exception: it was refused, as it must be.
        """
        ...

    async def take_over(self) -> None:
        """Under ``ownership``: take the journal over for another process, until the engine crashes (J5)."""


class Connected(Recoverable, Protocol):
    """A target that claims connections (it is none of `CAPABILITIES`: an engine need not have any)."""

    async def start_once(self, workflow: Json, input_data: Json, key: str) -> str:
        """Start an execution with a key, or return what the key has started (J6)."""
        ...


TargetFactory: TypeAlias = Callable[[], Target]


def left_out(capabilities: frozenset[str]) -> list[str]:
    """What a target does not claim, in the order of `CAPABILITIES`: neither played nor checked."""
    return [name for name in CAPABILITIES if name not in capabilities]


def fitted(definition: Json, capabilities: frozenset[str]) -> Json:
    """The definition without the policies that a target does not claim; the same object if it claims them all."""
    keys = {key for name in left_out(capabilities) for key in POLICIES.get(name, ())}
    return _without(definition, keys) if keys else definition


def _without(value: Json, keys: set[str]) -> Json:
    if isinstance(value, Mapping):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value


def immediate(coroutine: Any) -> Any:  # noqa: ANN401 - any coroutine, and what it returns
    """The result of a coroutine that does not wait.

    Raises:
        RuntimeError: it waited.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    message = f"{coroutine} waits, where it must answer at once"
    raise RuntimeError(message)
