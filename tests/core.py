"""One execution in the pure core, with a shell of nothing: what a command means is seen at once.

Rule: every command that is done here is also held against the core's own rules: a refused one changes nothing, and
what the events make of a second state, through JSON, is the first one.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from engine.definition import parse_workflow
from engine.messages import (
    AttemptRaised,
    AttemptReturned,
    AttemptYielded,
    Begin,
    Cancel,
    Command,
    Event,
    ExecutionCreated,
    Expire,
    Json,
    Pause,
    Resume,
    StartAttempt,
    TakeUp,
    TimeOut,
    from_json,
    to_json,
)
from engine.state import State, apply, fold, report
from engine.transitions import Decision, decide


def values(state: State) -> dict[str, Any]:
    """Everything in a state but its workflow, the order of its dictionaries included."""
    found = {name: getattr(state, name) for name in State.__slots__ if name != "workflow"}
    return {name: list(value.items()) if isinstance(value, dict) else value for name, value in found.items()}


def brief(event: Event) -> str:
    """An event in one line: its type, its step and attempt, its status."""
    facts = [getattr(event, name) for name in ("step", "attempt", "status") if hasattr(event, name)]
    return " ".join([type(event).__name__, *map(str, facts)])


class Core:
    """Decides commands, and keeps what came of them."""

    def __init__(self, definition: Json, given: dict[str, Json] | None = None) -> None:
        self.workflow = parse_workflow(definition)
        self.created = ExecutionCreated(0.0, self.workflow.definition, {} if given is None else given)
        self.state = State(self.workflow, self.created.input)
        self.twin = State(self.workflow, deepcopy(self.created.input))
        self.events: list[Event] = []
        self.now = 0.0

    def do(self, command: Command) -> Decision:
        """Decide a command now."""
        before = deepcopy(values(self.state))
        decision = decide(self.state, command, self.now)
        if not decision.accepted:
            assert values(self.state) == before, f"{command} was refused, and has changed something"
            assert (decision.events, decision.ready) == ([], [])
        for event in decision.events:
            apply(self.twin, from_json(json.loads(json.dumps(to_json(event)))))
        assert values(self.twin) == values(self.state), f"after {command} the fold differs"
        self.events += decision.events
        return decision

    def told(self, command: Command) -> list[str]:
        """Decide a command that is accepted; its events in brief."""
        decision = self.do(command)
        assert decision.accepted, f"{command} was refused"
        return [brief(event) for event in decision.events]

    def refused(self, command: Command) -> bool:
        """Decide a command; whether it was refused."""
        return not self.do(command).accepted

    def ready(self, command: Command) -> list[str]:
        """Decide a command; the steps that became ready by it, in order."""
        return [self.workflow.steps[index].id for index in self.do(command).ready]

    def refold(self) -> State:
        """The state that the journal makes."""
        return fold(self.workflow, self.created, self.events)

    # Commands, by the steps' ids

    def start(self, step: str) -> Command:
        return StartAttempt(self.workflow.index[step])

    def returned(self, step: str, value: Json = None) -> Command:
        return AttemptReturned(self.workflow.index[step], {"n": 1} if value is None else value)

    def raised(self, step: str, kind: str = "RuntimeError", message: str = "no") -> Command:
        return AttemptRaised(self.workflow.index[step], kind, message)

    def yielded(self, step: str) -> Command:
        return AttemptYielded(self.workflow.index[step])

    def timed_out(self, step: str, attempt: int = 1) -> Command:
        return TimeOut(self.workflow.index[step], attempt)

    def begin(self) -> Core:
        """Take it to work."""
        self.told(Begin())
        return self

    def complete(self, *steps: str, output: Json = None) -> list[str]:
        """Start steps and have them return, one after the other; the events of the last return."""
        told: list[str] = []
        for step in steps:
            self.told(self.start(step))
            told = self.told(self.returned(step, output))
        return told

    def fail(self, step: str) -> list[str]:
        """Start a step and have it raise; the events of the raise."""
        self.told(self.start(step))
        return self.told(self.raised(step))

    def run(self, *steps: str) -> Core:
        """Start these steps."""
        for step in steps:
            self.told(self.start(step))
        return self

    @property
    def report(self) -> dict[str, Any]:
        return report(self.state)

    @property
    def statuses(self) -> dict[str, str]:
        """Every step's status."""
        return {step: found["status"] for step, found in self.report["steps"].items()}


def commands(core: Core) -> list[Command]:
    """What a shell might ask next: anything of the callers, any start, any end of what runs."""
    steps = range(len(core.workflow.steps))
    found: list[Command] = [StartAttempt(step) for step in steps]
    for step, attempt in core.state.running.items():
        found += [
            AttemptReturned(step, {"n": 1}),
            AttemptRaised(step, "RuntimeError", "no"),
            AttemptYielded(step),
            TimeOut(step, attempt),
            TimeOut(step, attempt - 1),
            AttemptReturned(step, {"n": "${input.a}"}),
            AttemptReturned(step, {1, 2}),
        ]
    late = {"a": 1, "b": {"c": 2}, "late": 1}
    return [*found, Pause(), Resume(None), Resume(late), Resume({"b": {"d": 3}}), TakeUp(), Begin(), Expire(), Cancel()]
