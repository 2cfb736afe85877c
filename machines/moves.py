"""The moves, as data: whatever can make these can drive the world.

Rule 1: a move is frozen, holds JSON values only, and goes to JSON and back under its name; an argument that is
missing there has its default. So a case survives new moves and new arguments.
Rule 2: a move that fits nothing (its gate is not there, its draft is empty) does nothing. So moves can be deleted
from a case without breaking the others.
Rule 3: executions and steps are named, gates as ``execution/step`` (a compensation's: ``execution/step!``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from machines.nemesis import Fault, Statement

Json: TypeAlias = Any
Manner: TypeAlias = Literal["gate", "instant", "stubborn", "abrupt"]
"""How an action behaves: waits for a move; returns at once; waits for a move even when it is cancelled; raises when it
is first called, before anybody could await it (a compensation gives up as if cancelled), and then waits for a move."""
AT_ONCE: Final[Manner] = "instant"
ABRUPT: Final[Manner] = "abrupt"

OUTPUT: Final = {"n": 1}
"""What an action returns if nothing else was said."""


@dataclass(frozen=True, slots=True)
class AddStep:
    """The draft of the next workflow gets a step."""

    step: Mapping[str, Json]
    manner: Manner = "gate"
    undo: Manner = "gate"


@dataclass(frozen=True, slots=True)
class Connect:
    """The draft gets a connection, from an earlier step to a later one."""

    source: str
    target: str
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Start an execution: of this workflow, or (without one) of the draft, which is then empty again."""

    workflow: Mapping[str, Json] | None = None
    input: Mapping[str, Json] = field(default_factory=dict)
    manners: Mapping[str, Manner] = field(default_factory=dict)
    """By step; ``step!`` is the step's compensation. Without: ``gate``."""
    faults: Sequence[str] = field(default_factory=list)
    """Where the workflow was broken on purpose, each place with words that its refusal must name."""
    key: str = ""
    """What names this start, if anything: sent again with the same key, it starts nothing more (J6)."""


@dataclass(frozen=True, slots=True)
class Convert:
    """A workflow in the graph shape is converted to steps, and not started."""

    graph: Mapping[str, Json]
    faults: Sequence[str] = field(default_factory=list)
    """As those of a start."""


@dataclass(frozen=True, slots=True)
class Finish:
    """An action returns."""

    gate: str
    output: Json = field(default_factory=lambda: dict(OUTPUT))


@dataclass(frozen=True, slots=True)
class Fail:
    """An action raises."""

    gate: str
    type: str = "RuntimeError"
    message: str = "failed"


@dataclass(frozen=True, slots=True)
class Yield:
    """A stubborn action that was cancelled ends as such at last."""

    gate: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause an execution."""

    execution: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Resume an execution, with new inputs or none."""

    execution: str
    inputs: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel an execution."""

    execution: str


@dataclass(frozen=True, slots=True)
class Elapse:
    """Time passes: so many seconds, or (without) until the engine's next timer, or so many seconds before it."""

    seconds: float | None = None
    before: float = 0.0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Somebody wants the events of an execution after a number."""

    execution: str
    after: int = 0


@dataclass(frozen=True, slots=True)
class Crash:
    """The engine's process ends: now, or before or after the next commit of its journal (or a later one)."""

    at: Literal["now", "before", "after"] = "now"
    commits: int = 1
    """Which one, counted from 1; means nothing for ``now``."""


@dataclass(frozen=True, slots=True)
class Recover:
    """A new engine is opened, if the last one crashed; whatever nobody drives is taken up."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The engine is closed: for so many seconds what runs may still end. Then there is none, until a recovery."""

    grace: float = 0.0


@dataclass(frozen=True, slots=True)
class FailStore:
    """The store fails at the next statement of a kind, so many times."""

    fault: Fault = "full"
    statement: Statement = "commit"
    times: int = 1


@dataclass(frozen=True, slots=True)
class Rival:
    """A second engine is opened on the journal of the first, which lives."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A second process takes the journal over from the engine that has it, which lives, and leaves it at that."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The connection of an execution's newest subscriber breaks; it comes back for what it has not got."""

    execution: str


@dataclass(frozen=True, slots=True)
class Stall:
    """An execution's newest subscriber reads no more."""

    execution: str


@dataclass(frozen=True, slots=True)
class Heed:
    """An execution's newest subscriber that reads no more reads on."""

    execution: str


Move: TypeAlias = (
    AddStep
    | Connect
    | Run
    | Convert
    | Finish
    | Fail
    | Yield
    | Pause
    | Resume
    | Cancel
    | Elapse
    | Subscribe
    | Crash
    | Recover
    | Shutdown
    | FailStore
    | Rival
    | TakeOver
    | Reconnect
    | Stall
    | Heed
)

MOVES: Final[Mapping[str, type[Move]]] = {kind.__name__: kind for kind in get_args(Move)}

FORMERLY: Final[Mapping[str, str]] = {}
"""Names that moves had once, and what they are called now."""


def to_json(move: Move) -> dict[str, Json]:
    """The move as a JSON object; ``move`` is its name."""
    return {"move": type(move).__name__, **{part.name: getattr(move, part.name) for part in fields(move)}}


def from_json(value: Mapping[str, Json]) -> Move:
    """The move that ``to_json`` made this of.

    Raises:
        ValueError: there is no such move, or an argument is missing.
    """
    name = value.get("move")
    kind = MOVES.get(FORMERLY.get(name, name)) if isinstance(name, str) else None
    if kind is None:
        message = f"there is no move {name!r}"
        raise ValueError(message)
    known = {part.name for part in fields(kind)}
    needed = [part.name for part in fields(kind) if part.default is MISSING and part.default_factory is MISSING]
    if absent := [part for part in needed if part not in value]:
        message = f"the move {name} lacks {', '.join(absent)}"
        raise ValueError(message)
    return kind(**{part: given for part, given in value.items() if part in known})


def misfits(move: Move) -> dict[str, Json]:
    """The arguments of a move that are not what they are declared to be."""
    kind: type = type(move)
    given = {name: (getattr(move, name), hint) for name, hint in _hints(kind).items()}
    return {name: value for name, (value, hint) in given.items() if not _fits(value, hint)}


def _fits(value: Json, hint: Any) -> bool:  # noqa: ANN401  # a type
    """Whether a JSON value is one of what a move's argument is declared to be."""
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return type(value) is str and value in arguments
    if origin is UnionType:
        return any(_fits(value, choice) for choice in arguments)
    if origin is Mapping:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is NoneType:
        return value is None
    return type(value) is hint or (hint is float and type(value) is int)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def tell(move: Move) -> str:
    """The move in words, as a counterexample shows it."""
    match move:
        case AddStep(step):
            return f"add step {step.get('id')} to the draft"
        case Connect(source, target, condition):
            return f"connect {source} -> {target}" + (f" if {condition}" if condition else "")
        case Run(workflow, _, _, faults) if faults:
            return f"run {_outline(workflow or {})}, broken at {', '.join(faults)}"
        case Run(workflow, given, key=key):
            what = "the draft" if workflow is None else _outline(workflow)
            return f"run {what}" + (f" with {dict(given)}" if given else "") + (f", key {key}" if key else "")
        case Convert(graph, faults):
            return f"convert {_outline(graph)}" + (f", broken at {', '.join(faults)}" if faults else "")
        case Finish(gate, output):
            return f"{gate} returns {output}"
        case Fail(gate, kind, message):
            return f"{gate} raises {kind}({message!r})"
        case Yield(gate):
            return f"{gate} yields to its cancellation"
        case Pause(execution):
            return f"pause {execution}"
        case Resume(execution, inputs):
            return f"resume {execution}" + (f" with {dict(inputs)}" if inputs else "")
        case Cancel(execution):
            return f"cancel {execution}"
        case Elapse(None, before):
            return (
                f"time passes until {before * 1000:g} ms before the next timer" if before else "the next timer is due"
            )
        case Elapse(seconds):
            return f"{seconds:g} seconds pass"
        case Subscribe(execution, after):
            return f"subscribe to {execution} after event {after}"
        case Crash("now"):
            return "the engine crashes"
        case Crash(side, commits):
            return f"the engine crashes {side} " + ("its next commit" if commits == 1 else f"commit {commits} from now")
        case Recover():
            return "recover"
        case Shutdown(grace):
            return "the engine is shut down" + (f", with a grace of {grace:g} seconds" if grace else "")
        case FailStore(fault, statement, times):
            return f"the store fails ({fault}) at the next {statement}" + (f", {times} times" if times > 1 else "")
        case Rival():
            return "a second engine tries to recover"
        case TakeOver():
            return "another process takes the journal over"
        case Reconnect(execution):
            return f"the connection of a subscriber of {execution} breaks"
        case Stall(execution):
            return f"a subscriber of {execution} stops reading"
        case Heed(execution):
            return f"a subscriber of {execution} reads on"


def _outline(workflow: Mapping[str, Json]) -> str:
    """A workflow in one line: its steps with what is special about them; one that is none as it is."""
    steps = workflow.get("steps") or []
    try:
        parts = [_outline_of_step(step) for step in steps]
    except (AttributeError, KeyError, TypeError):
        return json.dumps(workflow, ensure_ascii=False)
    if not steps:
        parts = [f"{len(workflow.get('nodes') or [])} nodes, {len(workflow.get('connections') or [])} connections"]
    rest = [key for key in workflow if key not in ("id", "steps", "nodes", "connections", "name")]
    told = ", ".join(f"{key}={workflow[key]}" for key in rest if workflow[key] is not None)
    return "; ".join(parts) + (f" [{told}]" if told else "")


def _outline_of_step(step: Mapping[str, Json]) -> str:
    entries = step.get("depends_on") or []
    sources = [entry if isinstance(entry, str) else entry["source"] for entry in entries]
    special = [key for key in step if key not in ("id", "action", "depends_on", "name") and step[key] is not None]
    text: str = step["id"] + (f" after {'+'.join(sources)}" if sources else "")
    return text + (f" ({', '.join(special)})" if special else "")
