"""The lifecycle moves over a workflow of the user's own.

Rule 1: the workflow is the user's but for its actions: each becomes one that the world controls.
Rule 2: a workflow that the engine refuses is refused here, before anything is run.
Rule 3: cases must get somewhere, however large it is: most actions of a large workflow return at once, and the input
and the outputs hold what its references ask for.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from engine.definition import parse_workflow
from engine.errors import DefinitionError
from engine.workflow import Workflow
from machines.lifecycle import LifecycleMachine
from machines.moves import OUTPUT, Elapse, Finish, Manner, Run
from machines.strategies import CALM, INDEX, TAPES
from machines.tape import PLAIN, Tape
from model.execution import TERMINAL, Phase

Json: TypeAlias = Any

_ACTIONS: Final = ("undo", "work")
_OTHER_WORKFLOWS: Final = ("add_step", "connect", "run", "run_another", "finish_well", "finish_oldest")
"""Rules that start other workflows, or let actions return what this one has no use for."""
_MOST: Final = 6
"""Executions in one case."""
_UNDER_WAY: Final = tuple(phase for phase in Phase if phase not in TERMINAL)
_SMALL: Final = 8
"""Steps up to which most actions wait for a move."""
_REFERENCE: Final = re.compile(r"(?<![\w.])([\w-]+)((?:\.[A-Za-z_]\w*)+)")


class OwnWorkflowError(Exception):
    """There is no workflow in that file, or none that the engine takes."""


def read_workflow(path: Path) -> dict[str, Json]:
    """Read a workflow in any of the three shapes, and give it the world's actions.

    Raises:
        OwnWorkflowError: it cannot be read, or the engine refuses it.
    """
    try:
        return with_our_actions(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        message = f"{path}: {error.strerror}"
    except UnicodeDecodeError:
        message = f"{path}: not UTF-8 text"
    except json.JSONDecodeError as error:
        message = f"{path}: not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except (RecursionError, ValueError) as error:
        message = f"{path}: not JSON that can be read: {type(error).__name__}"
    except DefinitionError as error:
        message = f"{path}: {'; '.join(map(str, error.faults))}"
    raise OwnWorkflowError(message)


def with_our_actions(document: Json) -> dict[str, Json]:
    """The workflow with every action replaced by the world's; WfFormat comes back in the steps shape.

    Raises:
        DefinitionError: the engine refuses it.
    """
    workflow = parse_workflow(document)
    if "steps" not in document and "nodes" not in document:
        document = _as_steps(workflow)
    definition: dict[str, Json] = copy.deepcopy(document)
    for step in definition.get("steps") or [node["config"] for node in definition["nodes"]]:
        step["action"] = "work"
        if step.get("compensation"):
            step["compensation"]["action"] = "undo"
    parse_workflow(definition, _ACTIONS)
    return definition


def _as_steps(workflow: Workflow) -> dict[str, Json]:
    """A workflow in the steps shape, in the order in which it was defined."""
    steps = []
    for step in sorted(workflow.steps, key=lambda step: step.position):
        sources = [workflow.steps[connection.source].id for connection in workflow.incoming[step.index]]
        named = {"id": step.id, "name": step.name, "action": "work", "parameters": dict(step.parameters)}
        steps.append({**named, **({"depends_on": sources} if sources else {})})
    return {"id": workflow.id, "name": workflow.name, "steps": steps}


class OwnWorkflowMachine(LifecycleMachine):
    """One workflow, again and again; `machine_for` says which."""

    workflow: ClassVar[dict[str, Json]] = {}
    supply: ClassVar[Mapping[str, Json]] = {}
    """What the workflow's references ask for: an output by step, and the input under ``input``."""

    manners: Mapping[str, Manner]
    """How the actions of this case behave."""

    @precondition(lambda self: self.open_gates())
    @rule(index=INDEX, tape=TAPES)
    def finish_as_asked(self, index: int, tape: Tape) -> None:
        """An action returns what the steps after it refer to."""
        gates = self.open_gates()
        gate = gates[index % len(gates)]
        step = gate.partition("/")[2]
        self.play(Finish(gate, copy.deepcopy(self.supply.get(step, OUTPUT))), tape)

    @precondition(
        lambda self: self.world is not None and self.world.runs < (2 if self.standing(*_UNDER_WAY) else _MOST)
    )
    @rule(tape=TAPES)
    def run_again(self, tape: Tape) -> None:
        """Another execution of the same workflow, whose actions behave as before."""
        self.play(Run(self.workflow, copy.deepcopy(self.supply["input"]), self.manners), tape)

    @precondition(lambda self: self.world is not None and self.world.runs >= _MOST and not self.standing(*_UNDER_WAY))
    @rule()
    def idle(self) -> None:
        """All is over, and stays so."""
        self.play(Elapse(), PLAIN)


def machine_for(definition: dict[str, Json]) -> type[OwnWorkflowMachine]:
    """The machine of this workflow."""
    workflow = parse_workflow(definition, _ACTIONS)
    names = [step.id for step in workflow.steps]
    supply = _supply(definition, names)
    limits = sorted({2, 1, 5, max(len(names) // 8, 1), len(names)}, key=lambda limit: (limit != 2, limit))  # noqa: PLR2004  # the usual one first
    inputs = st.sampled_from((supply["input"], supply["input"], {}))
    characters = st.binary(min_size=len(names), max_size=len(names))

    class Machine(OwnWorkflowMachine):
        @initialize(given=inputs, limit=st.sampled_from(limits), character=characters, calm=CALM, tape=TAPES)
        def begin(self, given: dict[str, Any], limit: int, character: bytes, calm: bool, tape: Tape) -> None:
            """Start the workflow."""
            self.open(limit)
            self.calm = calm
            self.manners = _manners(names, character, supply)
            self.play(Run(definition, copy.deepcopy(given), self.manners), tape)

    Machine.workflow = definition
    Machine.supply = supply
    for name in _OTHER_WORKFLOWS:
        setattr(Machine, name, None)  # so Hypothesis sees no rule there
    return Machine


def _manners(names: Sequence[str], character: bytes, supply: Mapping[str, Json]) -> dict[str, Manner]:
    """How each step's action and compensation behave; a byte is a step, and small bytes are quick steps."""
    slow = 96 if len(names) <= _SMALL else max(256 * _SMALL // len(names), 8)
    manners: dict[str, Manner] = {}
    for name, byte in zip(names, character, strict=True):
        if byte < 256 - slow and name not in supply:
            manners[name] = "instant"
        elif byte % 6 == 5:  # noqa: PLR2004  # one in six
            manners[name] = "stubborn"
        manners[f"{name}!"] = ("instant", "gate", "instant", "gate", "stubborn")[byte % 5]
    return {name: manner for name, manner in manners.items() if manner != "gate"}


def _supply(definition: Mapping[str, Json], names: Sequence[str]) -> dict[str, Json]:
    """The outputs, by step, and the input that the workflow's references and conditions ask for."""
    known = {"input", *names}
    supply: dict[str, Json] = {"input": {}}
    for text in _texts(definition):
        for name, path in _REFERENCE.findall(text):
            if name in known:
                into = supply.setdefault(name, dict(OUTPUT))
                *parents, last = path[1:].split(".")
                for parent in parents:
                    into = into.setdefault(parent, {})
                    if not isinstance(into, dict):
                        break
                else:
                    into.setdefault(last, 1)
    return supply


def _texts(value: Json) -> list[str]:
    """All texts in a JSON value that may hold a reference."""
    if isinstance(value, str):
        return [value] if "." in value else []
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _texts(item)]
