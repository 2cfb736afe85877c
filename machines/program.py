"""A case as a program in plain words, for a test that people read: ``run``, ``finish``, ``crash``, one call a move.

Rule 1: the calls stand in a ``with holds(...)``. Each plays one move to the engine and to the model, and raises where
they part; at the end of the block faults stop, gates open and time passes, and then all must be over.
Rule 2: a call means exactly what its move means. ``latencies`` says how many milliseconds each thing outside takes in
the course of the move, in their order; ``out_of_turn`` which of the ready callbacks goes first.
Rule 3: whoever reads such a test needs nothing but its words; nothing here draws or asks the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, TypedDict, Unpack

from machines.moves import (
    OUTPUT,
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
)
from machines.nemesis import Fault, Statement
from machines.registry import BUILTIN, load_target
from machines.tape import LATENCIES, Tape
from machines.world import World

__all__ = [
    "add_step",
    "cancel",
    "connect",
    "convert",
    "crash",
    "fail",
    "fail_store",
    "finish",
    "holds",
    "let_time_pass",
    "pause",
    "recover",
    "resume",
    "rival",
    "run",
    "shut_down",
    "subscribe",
    "take_over",
    "yield_to_cancellation",
]

Json = Any

_WORLD: Final[ContextVar[World | None]] = ContextVar("_WORLD", default=None)
_BYTES: Final = {round(seconds * 1000, 6): byte for byte, seconds in reversed(list(enumerate(LATENCIES)))}
"""By milliseconds: the smallest byte that means them."""


class Chance(TypedDict, total=False):
    """What of a move chance decides; without, nothing takes any time and everything goes in turn."""

    latencies: Sequence[float]
    out_of_turn: Sequence[int]


@contextmanager
def holds(*, target: str = BUILTIN, max_concurrent_steps: int = 2) -> Iterator[World]:
    """The contract holds for this engine, whatever is played to it in this block.

    Raises:
        ContractViolated: it does not; which clause, and what was seen.
    """
    world = World(load_target(target), max_concurrent_steps=max_concurrent_steps)
    token = _WORLD.set(world)
    try:
        yield world
        world.finish()
    finally:
        _WORLD.reset(token)
        world.close()


def _play(move: Move, chance: Chance) -> None:
    world = _WORLD.get()
    assert world is not None, "moves are played inside `with holds(...)`"
    world.play(move, Tape(_bytes(chance.get("latencies", ())), bytes(chance.get("out_of_turn", ()))))


def _bytes(latencies: Sequence[float]) -> bytes:
    unknown = [each for each in latencies if round(each, 6) not in _BYTES]
    assert not unknown, f"a latency is one of {sorted(_BYTES)} milliseconds, not {unknown[0]}"
    return bytes(_BYTES[round(each, 6)] for each in latencies)


def run(
    workflow: Mapping[str, Json] | None = None,
    given: Mapping[str, Json] | None = None,
    *,
    manners: Mapping[str, Manner] | None = None,
    faults: Sequence[str] = (),
    key: str = "",
    **chance: Unpack[Chance],
) -> None:
    """Start an execution of a workflow (without one, of the draft); the first is called x1, the next x2."""
    _play(Run(workflow, dict(given or {}), dict(manners or {}), list(faults), key), chance)


def convert(graph: Mapping[str, Json], *, faults: Sequence[str] = (), **chance: Unpack[Chance]) -> None:
    """Have a workflow in the graph shape converted to steps."""
    _play(Convert(graph, list(faults)), chance)


def add_step(
    step: Mapping[str, Json], *, manner: Manner = "gate", undo: Manner = "gate", **chance: Unpack[Chance]
) -> None:
    """Add a step to the draft of the next workflow."""
    _play(AddStep(step, manner, undo), chance)


def connect(source: str, target: str, condition: str | None = None, **chance: Unpack[Chance]) -> None:
    """Connect two steps of the draft."""
    _play(Connect(source, target, condition), chance)


def finish(action: str, output: Json = OUTPUT, **chance: Unpack[Chance]) -> None:
    """Let an action return: ``x1/a`` is that of step a, ``x1/a!`` its compensation."""
    _play(Finish(action, dict(output) if output is OUTPUT else output), chance)


def fail(
    action: str,
    type: str = "RuntimeError",  # noqa: A002  # it is called what it is called in the case
    message: str = "failed",
    **chance: Unpack[Chance],
) -> None:
    """Let an action raise."""
    _play(Fail(action, type, message), chance)


def yield_to_cancellation(action: str, **chance: Unpack[Chance]) -> None:
    """Let a stubborn action that was cancelled end as such at last."""
    _play(Yield(action), chance)


def pause(execution: str, **chance: Unpack[Chance]) -> None:
    """Pause an execution."""
    _play(Pause(execution), chance)


def resume(execution: str, inputs: Mapping[str, Json] | None = None, **chance: Unpack[Chance]) -> None:
    """Resume an execution."""
    _play(Resume(execution, inputs), chance)


def cancel(execution: str, **chance: Unpack[Chance]) -> None:
    """Cancel an execution."""
    _play(Cancel(execution), chance)


def let_time_pass(seconds: float | None = None, *, before: float = 0.0, **chance: Unpack[Chance]) -> None:
    """Let so many seconds pass; without: until the next timer is due (or so many seconds ``before`` that)."""
    _play(Elapse(seconds, before), chance)


def subscribe(execution: str, *, after: int = 0, **chance: Unpack[Chance]) -> None:
    """Ask for the events of an execution after a number."""
    _play(Subscribe(execution, after), chance)


def crash(at: Literal["now", "before", "after"] = "now", *, commits: int = 1, **chance: Unpack[Chance]) -> None:
    """Let the engine's process end: now, or before or after a commit of its journal that is to come."""
    _play(Crash(at, commits), chance)


def recover(**chance: Unpack[Chance]) -> None:
    """Open a new engine on the journal, and recover."""
    _play(Recover(), chance)


def shut_down(grace: float = 0.0, **chance: Unpack[Chance]) -> None:
    """Close the engine; for so many seconds what runs may still end."""
    _play(Shutdown(grace), chance)


def fail_store(
    fault: Fault = "full", statement: Statement = "commit", *, times: int = 1, **chance: Unpack[Chance]
) -> None:
    """Let the store fail at its next statements of a kind."""
    _play(FailStore(fault, statement, times), chance)


def take_over(**chance: Unpack[Chance]) -> None:
    """Have another process take the journal over from the engine, which lives."""
    _play(TakeOver(), chance)


def rival(**chance: Unpack[Chance]) -> None:
    """Open a second engine on the journal of the first, which lives."""
    _play(Rival(), chance)


def reconnect(execution: str, **chance: Unpack[Chance]) -> None:
    """Break the connection of an execution's newest subscriber, which comes back."""
    _play(Reconnect(execution), chance)


def stop_reading(execution: str, **chance: Unpack[Chance]) -> None:
    """Have an execution's newest subscriber read no more."""
    _play(Stall(execution), chance)


def read_on(execution: str, **chance: Unpack[Chance]) -> None:
    """Have an execution's newest subscriber that reads no more read on."""
    _play(Heed(execution), chance)
