"""Other targets: the engine on a real file, and one that claims less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from machines.concurrency import ConcurrencyMachine
from machines.lifecycle import LifecycleMachine, WorldMachine
from machines.moves import Cancel, Finish, Pause, Run, Subscribe
from machines.target import CAPABILITIES, POLICIES, Target, TargetFactory, fitted, left_out
from machines.targets.builtin import BuiltinTarget, builtin
from machines.targets.sqlite import sqlite
from machines.world import World
from model.history import Entry, Notified, Recorded

SHORT = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    database=None,
    derandomize=False,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
RICH = {
    "id": "w",
    "timeout": 5,
    "rollback_on_cancel": True,
    "steps": [
        {
            "id": "a",
            "action": "work",
            "retries": {"max_attempts": 2},
            "compensation": {"action": "undo"},
            "condition": "input.a == 1",
            "output_schema": {"type": "object"},
            "parameters": {"x": [1, "${input.a}"]},
        }
    ],
}


def histories(machine: type[WorldMachine], target: TargetFactory) -> list[list[Entry]]:
    """What a short run of a machine against a target has seen."""
    found: list[list[Entry]] = []

    def note(over: WorldMachine) -> None:
        assert over.world is not None
        found.append(over.world.history)

    members: dict[str, Any] = {"factory": staticmethod(target), "on_case": staticmethod(note)}
    seed(1)(get_state_machine_test(type("Watched", (machine,), members), settings=SHORT))()
    return found


@pytest.mark.unmeasured
@pytest.mark.parametrize("machine", [LifecycleMachine, ConcurrencyMachine])
def test_the_contract_holds_on_a_real_file(machine: type[WorldMachine]) -> None:
    seen = histories(machine, sqlite)
    assert sum(isinstance(entry, Recorded) for history in seen for entry in history) > 40 * len(seen) / 4


def test_the_same_program_is_recorded_alike_in_memory_and_on_a_file() -> None:
    def recorded(target: TargetFactory) -> list[tuple[str, int, Mapping[str, Any]]]:
        world = World(target)
        world.play(Run(RICH, {"a": 1}))
        world.play(Finish("x1/a"))
        world.finish()
        return [(entry.execution, entry.seq, entry.event) for entry in world.history if isinstance(entry, Recorded)]

    assert recorded(sqlite) == recorded(builtin)


class Modest(BuiltinTarget):
    """Claims nothing that can be left out."""

    capabilities = frozenset()


def modest() -> Target:
    return Modest()


def test_what_is_not_claimed_is_not_played() -> None:
    world = World(modest)
    world.play(Run(RICH, {"a": 1}))
    for move in (Pause("x1"), Cancel("x1"), Subscribe("x1")):
        world.play(move)
    world.play(Finish("x1/a"))
    world.finish()
    assert world.judge.facts.executions["x1"].phase.name == "COMPLETED"
    assert not any(isinstance(entry, Notified) for entry in world.history)


def test_a_modest_target_is_not_accused() -> None:
    seen = histories(LifecycleMachine, modest)
    kinds = {entry.event["type"] for history in seen for entry in history if isinstance(entry, Recorded)}
    assert "StepCompleted" in kinds
    assert not kinds & {"CancellationRequested", "StepRetrying", "StepTimedOut", "CompensationStarted"}


def test_a_definition_is_fitted_to_what_is_claimed() -> None:
    everything = frozenset(CAPABILITIES)
    assert fitted(RICH, everything) is RICH
    assert left_out(everything) == []
    assert fitted(RICH, frozenset()) == {
        "id": "w",
        "steps": [{"id": "a", "action": "work", "parameters": {"x": [1, "${input.a}"]}}],
    }
    for name, keys in POLICIES.items():
        assert left_out(everything - {name}) == [name]
        text = str(fitted(RICH, everything - {name}))
        assert not any(f"'{key}'" in text for key in keys)
