"""What the machines cost, as ratios measured side by side in one run: seconds on a shared computer mean little.

The base is an idle machine as anybody would write it: the rules of `LifecycleMachine`, with the same arguments and
without preconditions, that do nothing. What it takes is Hypothesis' own; the ratio says what is left of its speed with
an engine, a model and all checks in place. What the engine alone costs is in `machines.bench_engine`, what it costs to
lose nothing in `machines.bench_durable`, and what it costs to be told of it in `machines.bench_service`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import click
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, rule

from machines import bench_durable, bench_engine, bench_service
from machines.driving import Driver
from machines.lifecycle import LifecycleMachine, WorldMachine
from machines.registry import MACHINES, load_target

FLOOR: Final = 0.5
"""Rule-steps per CPU-second of `LifecycleMachine`, as a share of the idle machine's."""
AHEAD: Final = 1.2
"""What the fast front end makes of Hypothesis' speed in every machine, at least."""
WANTED: Final = 5

_ROUNDS: Final = 4
_CASES: Final = 100
_STEPS: Final = 30
_PROFILE: Final = settings(
    max_examples=_CASES,
    stateful_step_count=_STEPS,
    deadline=None,
    database=None,
    derandomize=False,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def _rules(machine: type[RuleBasedStateMachine]) -> dict[str, Any]:
    return {found.function.__name__: found for found in machine.setup_state().rules}


def _idle(counts: list[int]) -> type[RuleBasedStateMachine]:
    """A machine as Hypothesis makes it, whose rules count that they were called and do nothing else."""

    def idle(name: str) -> Callable[..., None]:
        def function(_self: RuleBasedStateMachine, **_arguments: Any) -> None:  # noqa: ANN401  # whatever was drawn
            counts[0] += 1

        function.__name__ = name
        return function

    make: Any = rule
    rules = {name: make(**found.arguments)(idle(name)) for name, found in _rules(LifecycleMachine).items()}
    return type("IdleMachine", (RuleBasedStateMachine,), rules)


def _speed(machine: type[RuleBasedStateMachine], number: int, counts: list[int], cases: int = _CASES) -> float:
    """Rule-steps per second of CPU time, over one run."""
    counts[0] = 0
    run = seed(number)(get_state_machine_test(machine, settings=settings(_PROFILE, max_examples=cases)))
    began = time.process_time()
    run()
    return counts[0] / (time.process_time() - began)


def rule_step_ratio(rounds: int = _ROUNDS) -> tuple[float, float, float]:
    """Rule-steps per CPU-second of `LifecycleMachine` and of an idle machine, and their ratio; medians, interleaved."""
    counts = [0]

    def count(machine: WorldMachine) -> None:
        assert machine.world is not None
        counts[0] += len(machine.world.moves)

    busy = type("CountingLifecycleMachine", (LifecycleMachine,), {"on_case": staticmethod(count)})
    idle = _idle(counts)
    pairs = [(_speed(busy, number, counts), _speed(idle, number, counts)) for number in range(rounds + 1)]
    pairs = sorted(pairs[1:], key=lambda pair: pair[0] / pair[1])  # the first round warms caches
    busy_speed, idle_speed = pairs[len(pairs) // 2]
    return busy_speed, idle_speed, busy_speed / idle_speed


def front_end_ratio(
    machine: str = "lifecycle", rounds: int = _ROUNDS, cases: int = _CASES
) -> tuple[float, float, float]:
    """Moves per CPU-second of a machine under the fast front end and under Hypothesis, and their ratio; medians."""
    counts = [0]

    def count(driven: WorldMachine) -> None:
        assert driven.world is not None
        counts[0] += len(driven.world.moves)

    parts = {"factory": staticmethod(load_target(MACHINES[machine].home)), "on_case": staticmethod(count)}
    drawn = type("CountingMachine", (MACHINES[machine],), parts)
    pairs = [
        (_fast_speed(machine, number, cases), _speed(drawn, number, counts, cases)) for number in range(rounds + 1)
    ]
    pairs = sorted(pairs[1:], key=lambda pair: pair[0] / pair[1])  # the first round warms caches
    fast, slow = pairs[len(pairs) // 2]
    return fast, slow, fast / slow


def _fast_speed(machine: str, number: int, examples: int) -> float:
    """Moves per second of CPU time, over as many cases as Hypothesis makes."""
    cases = Driver(machine, number).cases()
    began = time.process_time()
    moves = sum(driven.moves for driven in islice(cases, examples))
    spent = time.process_time() - began
    cases.close()
    return moves / spent


def main() -> None:
    """Print the ratios."""
    busy, idle, ratio = rule_step_ratio()
    rules = len(_rules(LifecycleMachine))
    click.echo(f"LifecycleMachine: {busy:,.0f} rule-steps per CPU-second with all checks on ({rules} rules)")
    click.echo(f"an idle machine:  {idle:,.0f} rule-steps per CPU-second (as many rules and arguments, doing nothing)")
    click.echo(f"ratio: {ratio:.2f} (floor {FLOOR})")
    for machine in MACHINES:
        fast, slow, ratio = front_end_ratio(machine)
        click.echo(
            f"{machine}: {fast:,.0f} moves per CPU-second by the fast front end, {slow:,.0f} by Hypothesis,"
            f" all checks on; ratio {ratio:.2f} (at least {AHEAD}; {WANTED} is wanted)"
        )
    bench_engine.main()
    bench_durable.main()
    bench_service.main()


if __name__ == "__main__":
    main()
