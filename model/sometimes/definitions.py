"""Definitions: shapes that are accepted, and each way of being refused (D)."""

from __future__ import annotations

import re
from typing import Final

from model.facts import Facts
from model.history import Answered, Asked, Refused
from model.sometimes.registry import Group, Holds

_KEYS: Final = (
    *("id", "action", "parameters", "condition", "depends_on", "timeout", "retries", "join", "continue_on_error"),
    *("input_schema", "output_schema", "compensation"),
)
_SETTINGS: Final = ("max_concurrent_steps", "timeout", "rollback_on_cancel", "id")
_OF_A_STEP: Final = re.compile(r"(?:steps|nodes)\[\d+\]\.(?:config\.)?(\w+)")


def _faults(facts: Facts, entry: Refused) -> list[str]:
    return facts.asks[entry.ask].faults


def _is_graph(workflow: object) -> bool:
    return isinstance(workflow, dict) and workflow.get("nodes") is not None


def _wrong(key: str) -> Holds:
    """Whether a definition was refused for this key of a step."""
    return lambda facts, entry: any(
        (found := _OF_A_STEP.match(place)) and found[1] == key for place in _faults(facts, entry)
    )


def _wrong_setting(key: str) -> Holds:
    return lambda facts, entry: key in _faults(facts, entry)


_SHAPES = Group("shapes")
_SHAPES.sometimes(
    "ExecutionCreated", "D1", "steps are started", lambda _, entry: not _is_graph(entry.event["workflow"])
)
_SHAPES.sometimes("ExecutionCreated", "D1", "a graph is started", lambda _, entry: _is_graph(entry.event["workflow"]))
_SHAPES.sometimes(
    "ExecutionCreated",
    "D1",
    "a connection with a condition of its own",
    lambda _, entry: any(
        isinstance(source, dict)
        for each in entry.event["workflow"].get("steps") or ()
        for source in each.get("depends_on") or ()
    ),
)
_SHAPES.sometimes(
    Asked,
    "D3",
    "a definition comes while executions run",
    lambda facts, entry: entry.command == "start" and entry.arguments.get("faults") and facts.live,
)
_SHAPES.sometimes(
    Answered,
    "D3",
    "a definition is accepted while a broken one is under way",
    lambda facts, entry: facts.asks[entry.ask].command == "start" and any(ask.faults for ask in facts.asks.values()),
)

_SHAPES.sometimes(
    Answered,
    "D2",
    "a graph is converted to steps",
    lambda facts, entry: facts.asks[entry.ask].command == "convert",
)
_SHAPES.sometimes(
    Refused,
    "D5",
    "a start is refused for its input",
    lambda facts, entry: entry.type == "InputError" and facts.asks[entry.ask].command == "start",
)

_BROKEN = Group("broken definitions")
_BROKEN.sometimes(Refused, "D3", "several faults are told at once", lambda facts, entry: len(_faults(facts, entry)) > 1)
_BROKEN.sometimes(
    Refused,
    "D3",
    "a broken graph is refused",
    lambda facts, entry: _faults(facts, entry) and _is_graph(facts.asks[entry.ask].arguments["workflow"]),
)
_BROKEN.sometimes(
    Refused,
    "D3",
    "broken steps are refused",
    lambda facts, entry: _faults(facts, entry) and not _is_graph(facts.asks[entry.ask].arguments["workflow"]),
)
_BROKEN.sometimes(
    Refused,
    "D3",
    "a cycle is refused",
    lambda facts, entry: any(len(place.split()) > 3 for place in _faults(facts, entry)),  # noqa: PLR2004  # its steps
)
_BROKEN.sometimes(
    Refused,
    "D2, D3",
    "a graph is not converted that is broken",
    lambda facts, entry: facts.asks[entry.ask].command == "convert" and _faults(facts, entry),
)
_BROKEN.sometimes(
    Refused,
    "D3",
    "a step's unknown key is refused",
    lambda facts, entry: any("tiemout" in place for place in _faults(facts, entry)),
)
_BROKEN.sometimes(
    Refused,
    "D3",
    "a connection of a graph is refused",
    lambda facts, entry: any(place.startswith("connections") for place in _faults(facts, entry)),
)
for _key in _KEYS:
    _BROKEN.sometimes(
        Refused,
        "D3",
        f"a step's {_key} is refused",
        _wrong(_key),
    )
for _setting in _SETTINGS:
    _BROKEN.sometimes(
        Refused,
        "D3",
        f"a workflow's {_setting} is refused",
        _wrong_setting(_setting),
    )
