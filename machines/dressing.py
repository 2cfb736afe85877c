"""Workflows written in another way, which run as before (D1): what a definition may hold beside the plainest form.

Rule 1: what is dressed up is of the steps shape; it may become a graph afterwards.
Rule 2: the model reads what comes of it, and so says whether it is the same.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from machines.moves import Manner
from machines.strategies import Drawn, as_graph
from model.definition import read

Json: TypeAlias = Any
Dress: TypeAlias = Callable[[dict[str, Json]], None]

_OF_A_WORKFLOW: Final = ("name", "max_concurrent_steps", "timeout", "rollback_on_cancel")
_OF_A_STEP: Final = (
    *("name", "depends_on", "condition", "parameters", "timeout", "retries", "join", "continue_on_error"),
    *("input_schema", "output_schema", "compensation", "sequence_order"),
)
_RETRIES: Final = {"max_attempts": 1, "initial_interval": 1, "backoff": 2, "max_interval": 60}
_DEFAULTS: Final = {"parameters": {}, "join": "all", "continue_on_error": False, "depends_on": []}
_LEFT: Final = {"position": {"x": 1}, "style": "s", "data": [1], "ui": None, "label": 1, "tags": ["t"], "type": "x"}
"""What an editor leaves on a workflow, a node and a connection."""
_NAMES: Final = ("a-1", "list", "ä", "0")
"""Ids that CEL cannot spell, or takes for something else."""
_BARE: Final = re.compile(r"""(?<![\w.{'"])a(?=[.\[])""")
"""The step ``a`` in a condition."""
_REFERRED: Final = re.compile(r"(?<=\$\{)a(?=[.}])")
"""The step ``a`` in a reference."""


def _with_nulls(whole: dict[str, Json]) -> None:
    """Every key that may be absent is null."""
    for step in whole["steps"]:
        step |= {key: None for key in _OF_A_STEP if key not in step}
        for policies in filter(None, (step, step["compensation"])):
            if policies.get("retries"):
                policies["retries"] = {**dict.fromkeys(_RETRIES), **policies["retries"]}
        if step["compensation"]:
            step["compensation"] = {**dict.fromkeys(("parameters", "timeout", "retries")), **step["compensation"]}
        entries = [{"source": entry} if isinstance(entry, str) else entry for entry in step["depends_on"] or ()]
        step["depends_on"] = [{"condition": None, **entry} for entry in entries] or None
    whole |= {"nodes": None, **{key: None for key in _OF_A_WORKFLOW if key not in whole}}


def _with_titles(whole: dict[str, Json]) -> None:
    """Everything has a name."""
    whole["name"] = "A workflow"
    for step in whole["steps"]:
        step["name"] = f"Step {step['id']}"


def _from_an_editor(whole: dict[str, Json]) -> None:
    """An editor has left its traces."""
    whole |= {"description": "d", "version": 2, "metadata": {"timeout": 0}, "title": 7, **_LEFT}


def _ranked(whole: dict[str, Json]) -> None:
    """Every step says its rank."""
    ranks = {name: rank for rank, name in enumerate(read(whole).sequence, 1)}
    for step in whole["steps"]:
        step["sequence_order"] = ranks[step["id"]]


def _commented(whole: dict[str, Json]) -> None:
    """Every condition ends with a comment, in which there is a bracket."""
    for each in _conditioned(whole["steps"]):
        each["condition"] += " // (because"


def _spelled_out(whole: dict[str, Json]) -> None:
    """Every default is written down."""
    whole.setdefault("rollback_on_cancel", False)
    for step in whole["steps"]:
        step |= {**_DEFAULTS, **step, "retries": {**_RETRIES, **step.get("retries", {})}}


DRESSES: Final[Sequence[Dress]] = (*(_with_nulls, _with_titles, _from_an_editor, _ranked, _commented, _spelled_out),)
KINDS: Final = 1 + len(DRESSES) + len(_NAMES)
"""How many ways there are; the first is to leave it as it is."""


def dressed(drawn: Drawn, kind: int, *, graph: bool) -> Drawn:
    """The same workflow, written in another way."""
    if "nodes" in drawn.definition or not kind:
        plain = graph and "steps" in drawn.definition
        return Drawn(as_graph(drawn.definition), drawn.manners) if plain else drawn
    whole, manners = copy.deepcopy(drawn.definition), drawn.manners
    dress = DRESSES[kind - 1] if kind <= len(DRESSES) else None
    if dress is None:
        name = _NAMES[kind - 1 - len(DRESSES)]
        whole["steps"] = [_renamed(step, name) for step in whole["steps"]]
        manners = _called(manners, name)
    elif dress is not _ranked or not graph:  # a node has no rank
        dress(whole)
    if graph:
        whole = as_graph(whole)
        if dress is _from_an_editor:
            whole |= {key: [{**each, **_LEFT} for each in whole[key]] for key in ("nodes", "connections")}
    return Drawn(whole, manners)


def _conditioned(steps: Sequence[dict[str, Json]]) -> Iterator[dict[str, Json]]:
    """Whatever has a condition: steps, and entries of what they depend on."""
    for step in steps:
        entries = [entry for entry in step.get("depends_on") or () if isinstance(entry, dict)]
        yield from (each for each in (step, *entries) if each.get("condition") is not None)


def _called(manners: Mapping[str, Manner], name: str) -> dict[str, Manner]:
    return {{"a": name, "a!": f"{name}!"}.get(key, key): manner for key, manner in manners.items()}


def _renamed(step: dict[str, Json], name: str) -> dict[str, Json]:
    """The step, with ``a`` called otherwise: in conditions it then stands as a reference."""
    for each in _conditioned([step]):
        each["condition"] = _BARE.sub(f"${{{name}}}", each["condition"])
    step = _referring(step, name)
    for rank, entry in enumerate(step.get("depends_on", ())):
        if entry == "a":
            step["depends_on"][rank] = name
        elif isinstance(entry, dict) and entry["source"] == "a":
            entry["source"] = name
    return {**step, "id": name} if step["id"] == "a" else step


def _referring(value: Json, name: str) -> Json:
    if isinstance(value, str):
        return _REFERRED.sub(name, value)
    if isinstance(value, dict):
        return {key: _referring(item, name) for key, item in value.items()}
    return [_referring(item, name) for item in value] if isinstance(value, list) else value
