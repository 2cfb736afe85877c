"""What a story says of one entry, of a workflow, and of a violation: one line each, for any terminal and any page.

Rule 1: whatever text an action, an engine or a file has chosen stays on its line, and is cut where it gets long.
Rule 2: what the actions saw and what the engine claimed are told apart, as the history tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from machines.clauses import clauses
from machines.course import one_line
from model.execution import Execution
from model.history import (
    Answered,
    Asked,
    Began,
    Closed,
    Crashed,
    Dropped,
    Ended,
    Entry,
    Interrupted,
    Notified,
    Recorded,
    Refused,
    Reported,
    Rested,
    ShutDown,
    Stalled,
    StoreFailed,
    Subscribed,
)
from model.invariants import INVARIANTS
from model.invariants.registry import CLAUSES
from model.judge import Violation

Json = Any
Side: TypeAlias = Literal["saw", "claimed", "asked", "outside"]

_LONG: Final = 160
_SIDES: Final[Mapping[type, Side]] = {
    Began: "saw",
    Interrupted: "saw",
    Ended: "saw",
    Recorded: "claimed",
    Notified: "claimed",
    Reported: "claimed",
    Answered: "claimed",
    Refused: "claimed",
    Asked: "asked",
    Subscribed: "asked",
    Dropped: "claimed",
}
_PLAIN_KEYS: Final = ("id", "action", "depends_on", "name", "title", "type", "config", "parameters", "condition")


@dataclass(frozen=True, slots=True)
class Told:
    """An entry in words."""

    index: int
    """Its place in the history."""
    at: float
    side: Side
    execution: str | None
    step: str | None
    kind: str
    text: str


def clipped(text: str, most: int = _LONG) -> str:
    """A text on one line, and no longer than that."""
    text = one_line(text[: 4 * most])
    return text if len(text) <= most else f"{text[: most - 3]}..."


def tell_entries(entries: Iterable[Entry], first: int = 0) -> Iterator[Told]:
    """Entries in words; the first of them stands at a place in its history."""
    asks: dict[int, tuple[str, str | None]] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, Asked):
            asks[entry.ask] = (entry.command, entry.execution)
        if index < first:
            continue
        execution = getattr(entry, "execution", None)
        if isinstance(entry, Answered | Refused):
            execution = asks.get(entry.ask, ("", None))[1]
        step = entry.event.get("step") if isinstance(entry, Recorded | Notified) else getattr(entry, "step", None)
        yield Told(
            index,
            entry.at,
            _SIDES.get(type(entry), "outside"),
            execution,
            step if isinstance(step, str) else None,
            type(entry).__name__,
            clipped(_text(entry, asks)),
        )


def _text(entry: Entry, asks: Mapping[int, tuple[str, str | None]]) -> str:
    match entry:
        case Began(_, _, step, attempt, kind):
            return f"{_who(step, kind)} began, attempt {attempt}"
        case Interrupted(_, _, step, _, kind):
            return f"{_who(step, kind)} saw its cancellation"
        case Ended(_, _, step, _, kind, outcome, value):
            how = {"returned": f"returned {value}", "cancelled": "ended as cancelled"}
            return f"{_who(step, kind)} {how.get(outcome) or _raised(value)}"
        case Recorded(_, _, seq, event):
            return f"#{seq} {_event(event)}"
        case Notified(_, subscriber, _, seq, event):
            return f"{subscriber} is told #{seq} {event.get('type')}"
        case Reported(_, _, report):
            steps = ", ".join(f"{name} {step['status']}" for name, step in report["steps"].items())
            return f"reports {report['status']} after #{report['seq']}: {steps}"
        case Answered(_, ask, answer):
            return f"answers {asks.get(ask, ('a command',))[0]} (command {ask}): {answer!r}"
        case Refused(_, ask, kind, message):
            return f"refuses {asks.get(ask, ('a command',))[0]} (command {ask}): {kind}: {message}"
        case Asked(_, ask, command, execution):
            return f"command {ask}: {command}" + (f" {execution}" if execution else "")
        case Subscribed(_, subscriber, execution, after):
            return f"{subscriber} subscribes to {execution} after event {after}"
        case Stalled(_, subscriber, execution):
            return f"{subscriber}, a subscriber of {execution}, reads no more"
        case Dropped(_, subscriber, execution, reason):
            return f"{subscriber}, a subscriber of {execution}, is dropped: {reason}"
        case Rested():
            return "at rest: nothing is under way"
        case Crashed():
            return "the engine crashes"
        case ShutDown(_, left):
            return "the engine is closed" + "".join(f"; left behind: {thing}" for thing in left)
        case StoreFailed(_, _, fault):
            return f"the store fails: {fault}"
        case Closed(_, tasks, errors):
            return "closed" + "".join(f"; left behind: {thing}" for thing in (*tasks, *errors))


def _who(step: str, kind: str) -> str:
    return step if kind == "action" else f"the compensation of {step}"


def _raised(value: Json) -> str:
    return f"raised {value[0]}({value[1]!r})" if isinstance(value, list) else f"raised {value}"


def _event(event: Mapping[str, Json]) -> str:
    """An event with what is special about it; the workflow that an execution was created of is told elsewhere."""
    error = event.get("error")
    parts = [str(event.get("type")), *([str(event["step"])] if "step" in event else [])]
    details = [
        *([f"attempt {event['attempt']}"] if "attempt" in event else []),
        *([f"{error.get('type')}: {error.get('message')}"] if isinstance(error, Mapping) else []),
        *(
            f"{key} {value}"
            for key, value in event.items()
            if key not in {"type", "at", "step", "attempt", "error", "workflow"} and value not in ({}, None)
        ),
    ]
    return " ".join(parts) + (f", {', '.join(details)}" if details else "")


# A workflow


@dataclass(frozen=True, slots=True)
class Outline:
    """A workflow as it is drawn."""

    steps: Mapping[str, str]
    """By step: what is special about it."""
    edges: tuple[tuple[str, str, str], ...]
    """Source, target, condition (empty if there is none), in the order of definition."""

    def sources(self, step: str) -> list[str]:
        """Where a step's connections come from."""
        return [source for source, target, _ in self.edges if target == step]


def outline(execution: Execution) -> Outline:
    """What is to be drawn of an execution's workflow."""
    workflow = execution.events[0]["workflow"]
    nodes = workflow.get("nodes") or workflow["steps"]
    policies = {node["id"]: {**node, **(node.get("config") or {})} for node in nodes}
    conditions = dict(_conditions(workflow))
    edges = [
        (link.source, name, clipped(conditions.get((link.source, name), ""), 60))
        for name, step in execution.definition.steps.items()
        for link in step.incoming
    ]
    return Outline({name: _special(policies[name]) for name in execution.definition.steps}, tuple(edges))


def _conditions(workflow: Mapping[str, Json]) -> Iterator[tuple[tuple[str, str], str]]:
    for edge in workflow.get("connections") or ():
        if edge.get("condition"):
            yield (edge["source"], edge["target"]), str(edge["condition"])
    for step in workflow.get("steps") or ():
        for entry in step.get("depends_on") or ():
            edge = {"source": entry} if isinstance(entry, str) else entry
            if texts := [str(text) for text in (edge.get("condition"), step.get("condition")) if text]:
                yield (edge["source"], step["id"]), " && ".join(texts)


def _special(policies: Mapping[str, Json]) -> str:
    """The policies of a step, but for those that most steps have."""
    parts = []
    for key, value in policies.items():
        if key in _PLAIN_KEYS or value is None or value is False:
            continue
        match key:
            case "timeout":
                parts.append(f"timeout {value} s")
            case "retries":
                parts.append(f"{(value or {}).get('max_attempts', 1)} attempts")
            case "join":
                parts.append(f"join {value}")
            case _:
                parts.append(key.replace("_", " "))
    return clipped(", ".join(parts), 80)


# A violation


def expectation(violation: Violation) -> str:
    """What was expected: the invariant in a sentence, or the clause's first one."""
    invariant = INVARIANTS.get(violation.invariant)
    lines = ((invariant and invariant.check.__doc__) or "").strip().split("\n\n")[0]
    words = CLAUSES.sub("", " ".join(lines.split()), count=1)
    return words or clause_in_words(violation.clause)


def clause_in_words(name: str) -> str:
    """The clause's first sentence."""
    clause = clauses().get(name)
    return "no clause of the contract" if clause is None else clause.first_sentence
