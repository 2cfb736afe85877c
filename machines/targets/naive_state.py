"""Where an execution of the naive engine stands: its events folded, and what that allows.

Rule 1: only ``apply`` changes a state, and it looks at nothing but the events before (J1).
Rule 2: connections are decided in the fold: what an input was at that moment, no later one changes (O1).
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import cel
import jsonschema

from machines.targets.naive_definition import REFERENCE, Spec, with_references

Json: TypeAlias = Any

_SETTLED: Final = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")


class MissingPathError(LookupError):
    """A reference leads nowhere."""


# References, conditions and schemas


def look_up(path: str, scope: Mapping[str, Json]) -> Json:
    """What a dotted path leads to (V1)."""
    value: Json = scope
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise MissingPathError(path)
    return value


def resolve(value: Json, scope: Mapping[str, Json], missing: list[str]) -> Json:
    """The value with its references replaced, once (V1, V2); what is missing is added to ``missing``."""

    def found(match: re.Match[str]) -> Json:
        try:
            return look_up(match[1], scope)
        except MissingPathError:
            missing.append(match[1])
            return None

    def text(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        inner = found(match)
        return inner if isinstance(inner, str) else json.dumps(inner, separators=(",", ":"), ensure_ascii=False)

    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        return deepcopy(found(whole)) if whole and whole[1] is not None else REFERENCE.sub(text, value)
    if isinstance(value, Mapping):
        return {key: resolve(item, scope, missing) for key, item in value.items()}
    return [resolve(item, scope, missing) for item in value] if isinstance(value, list) else value


def holds(condition: str, scope: Mapping[str, Json]) -> bool:
    """Whether a condition is true (V5); raises whatever keeps it from being evaluated."""
    bound = dict(scope)

    def bind(match: re.Match[str]) -> str:
        name = f"_{len(bound)}_"
        bound[name] = None
        try:
            bound[name] = look_up(match[1], scope)
        except MissingPathError:  # CEL says whether it was needed
            missing.append(name)
        return f" {name} "

    missing: list[str] = []
    program = cel.compile(with_references(condition, bind))
    value = program.execute({name: item for name, item in bound.items() if name not in missing})
    if not isinstance(value, bool):
        message = f"{value!r} is not a boolean"
        raise TypeError(message)
    return value


def is_json(value: object, room: int = 100) -> bool:
    """Whether JSON can hold it, at so many levels at most."""
    match value:
        case None | bool():
            return True
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in value)
        case int() | float():
            return abs(value) <= sys.float_info.max
        case list():
            return room > 0 and all(is_json(item, room - 1) for item in value)
        case dict():
            return room > 0 and all(isinstance(key, str) and is_json([key, item], room) for key, item in value.items())
        case _:
            return False


def violations(schema: Json, value: Json) -> str:
    """Where a value breaks a schema; empty if nowhere."""
    found = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return "; ".join(f"{error.json_path}: {error.message}" for error in found)


def merged(old: Json, new: Json) -> Json:
    """Objects key by key, at every depth; any other value replaces (P2)."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            key: merged(old[key], new[key]) if key in old and key in new else {**old, **new}[key] for key in old | new
        }
    return new


# What a journal says (J1)


@dataclass
class Stand:
    """Where a step stands."""

    status: str = "PENDING"
    attempts: int = 0
    undone: int = 0
    """Attempts of its compensation."""
    output: Json = None
    error: Json = None
    decided: bool | str | None = None
    """Of its connections: whether they let it run, or why that could not be found out; None: not decided."""
    parameters: Json = None
    inputs: Json = None
    """What the input was when its first attempt started."""
    running: bool = False
    """An attempt was started, of it or of its compensation, and no end of that is known."""
    timed_out: bool = False
    until: float = 0.0


@dataclass
class State:
    """What the events so far amount to."""

    steps: dict[str, Spec]
    definition: Json
    inputs: Json
    status: str = "PENDING"
    stands: dict[str, Stand] = field(default_factory=dict)
    completed: list[str] = field(default_factory=list)
    missing: Json = field(default_factory=dict)
    error: Json = None
    undo_errors: list[Json] = field(default_factory=list)
    cancelled: bool = False
    deadline: float = math.inf
    seq: int = 0

    def scope(self) -> dict[str, Json]:
        """What references and conditions see: the input, and the outputs that were not undone."""
        visible = ("COMPLETED", "COMPENSATING", "COMPENSATION_FAILED")
        outputs = {name: stand.output for name, stand in self.stands.items() if stand.status in visible}
        return {**outputs, "input": self.inputs}

    def apply(self, event: Mapping[str, Json]) -> None:
        """Let an event happen."""
        self.seq += 1
        kind: str = event["type"]
        if "step" in event:
            self._apply_to_step(kind, event["step"], self.stands[event["step"]], event)
        match kind:
            case "ExecutionStarted":
                self.status, self.deadline = "RUNNING", event["at"] + (self.definition.get("timeout") or math.inf)
            case "ExecutionPaused":
                self.status, self.missing = "PAUSED", event["missing"]
            case "ExecutionResumed":
                self.status, self.missing, self.inputs = "RUNNING", {}, merged(self.inputs, event["inputs"])
            case "CancellationRequested" | "RollbackStarted":
                self.status = "CANCELLING" if kind == "CancellationRequested" else "ROLLING_BACK"
                self.cancelled |= kind == "CancellationRequested"
                self.error, self.missing = event.get("error"), {}
                for stand in self.stands.values():
                    if stand.status in ("PENDING", "RETRYING"):
                        stand.status = "CANCELLED"
            case "ExecutionEnded":
                self.status, self.missing = event["status"], {}
            case _:
                pass  # a step's
        for name, stand in self.stands.items():
            sources = [self.stands[each["source"]].status for each in self.steps[name]["depends_on"]]
            if stand.decided is None and all(status in _SETTLED for status in sources):
                stand.decided = self._decision(name)

    def _apply_to_step(self, kind: str, name: str, stand: Stand, event: Mapping[str, Json]) -> None:
        if kind in ("StepTimedOut", "CompensationTimedOut"):
            stand.timed_out = True
            return
        stand.running = kind in ("StepStarted", "CompensationStarted")
        stand.timed_out = False
        stand.until = event.get("until", 0.0)
        stand.error = event["error"] if kind in ("StepFailed", "CompensationFailed") else None
        match kind:
            case "StepStarted":
                if not stand.attempts:
                    stand.inputs = self.inputs
                    stand.parameters = resolve(self.steps[name].get("parameters", {}), self.scope(), [])
                stand.status, stand.attempts = "RUNNING", event["attempt"]
            case "StepCompleted":
                stand.status, stand.output = "COMPLETED", event["output"]
                self.completed.append(name)
            case "CompensationStarted":
                stand.status, stand.undone = "COMPENSATING", event["attempt"]
            case "CompensationFailed":
                stand.status = "COMPENSATION_FAILED"
                self.undo_errors.append(event["error"])
            case "CompensationCompleted":
                stand.status = "COMPENSATED"
            case "StepSkipped" | "StepFailed" | "StepCancelled" | "StepRetrying":
                stand.status = kind.removeprefix("Step").upper()
            case _:
                pass  # the end of an attempt, and no more

    def _decision(self, name: str) -> bool | str:
        """Whether the connections into a step let it run (O1, O2), or why nobody knows (V5)."""
        spec, scope = self.steps[name], self.scope()
        taken = []
        for each in spec["depends_on"]:
            good = self.stands[each["source"]].status == "COMPLETED" or self.tolerated(each["source"])
            try:
                taken.append(good and (each["condition"] is None or holds(each["condition"], scope)))
            except Exception as error:  # noqa: BLE001  # whatever CEL says
                return f"step {name}: condition {each['condition']}: {error}"
        return any(taken) if taken and spec.get("join") == "any" else all(taken)

    def tolerated(self, name: str) -> bool:
        """Whether a step has failed, and that is not the execution's failure."""
        return self.stands[name].status == "FAILED" and self.steps[name].get("continue_on_error", False) is True

    def report(self) -> dict[str, Json]:
        """The report that all this makes."""
        steps = {}
        for name, stand in self.stands.items():
            steps[name] = {"status": stand.status, "attempts": stand.attempts}
            if name in self.scope():
                steps[name]["output"] = stand.output
            if stand.error is not None:
                steps[name]["error"] = stand.error
        error = self.error
        if self.undo_errors:
            names = ", ".join(each["step"] for each in self.undo_errors)
            none = error_of(None, None, "CompensationError", f"these could not be undone: {names}")
            error = {**(error or none), "compensations": self.undo_errors}
        whole = {"status": self.status, "seq": self.seq, "missing": self.missing, "error": error, "steps": steps}
        return deepcopy(whole)

    # What that allows

    def doom(self) -> Json:
        """The failure that the execution cannot survive."""
        failed = [name for name, stand in self.stands.items() if stand.status == "FAILED"]
        return next((self.stands[name].error for name in failed if not self.tolerated(name)), None)

    def is_open(self, name: str) -> bool:
        """Whether a step's connections let it run, and it has not begun."""
        return self.stands[name].status == "PENDING" and self.stands[name].decided is True

    def own_verdict(self, name: str) -> bool | str:
        """What the condition says of a step that has no connections."""
        spec = self.steps[name]
        if spec["depends_on"] or spec.get("condition") is None:
            return True
        try:
            return holds(spec["condition"], self.scope())
        except Exception as error:  # noqa: BLE001  # whatever CEL says
            return f"step {name}: condition {spec['condition']}: {error}"

    def lacks(self, name: str) -> list[str]:
        """The paths that a step misses, which could start otherwise."""
        missing: list[str] = []
        if self.is_open(name) and self.own_verdict(name) is True:
            resolve(self.steps[name].get("parameters", {}), self.scope(), missing)
        return list(dict.fromkeys(missing))

    def is_ready(self, name: str) -> bool:
        """Whether nothing but a slot is between a step and its first attempt."""
        return self.is_open(name) and self.own_verdict(name) is True and not self.lacks(name)

    def next_undo(self) -> str | None:
        """The compensation that is to be run, or runs (F4); None: there is none, or an action has not ended."""
        if any(stand.status == "RUNNING" for stand in self.stands.values()):
            return None
        return next(
            (
                name
                for name in reversed(self.completed)
                if "compensation" in self.steps[name] and self.stands[name].status in ("COMPLETED", "COMPENSATING")
            ),
            None,
        )

    def undo_fault(self, name: str) -> str:
        """Why a compensation cannot be started; empty if it can."""
        missing: list[str] = []
        self.undo_parameters(name, missing)
        return f"the compensation of step {name}: there is no {', '.join(missing)}" if missing else ""

    def undo_parameters(self, name: str, missing: list[str]) -> Json:
        """What a compensation gets: its step's output and the input that its step had are at hand (F4)."""
        scope = {**self.scope(), "input": self.stands[name].inputs}
        return resolve(self.steps[name]["compensation"].get("parameters", {}), scope, missing)

    def input_fault(self, name: str) -> str:
        """What ``input_schema`` has against a step's parameters before its first attempt (V4); empty if nothing."""
        spec, stand = self.steps[name], self.stands[name]
        if stand.attempts or "input_schema" not in spec:
            return ""
        found = violations(spec["input_schema"], resolve(spec.get("parameters", {}), self.scope(), []))
        return f"step {name}: its parameters: {found}" if found else ""


def error_of(step: str | None, attempt: int | None, kind: str, message: str) -> dict[str, Json]:
    """An error as events and reports carry it."""
    return {"step": step, "attempt": attempt, "type": kind, "message": message}


def others(paths: list[str]) -> list[str]:
    """Those of the paths that no new input can bring."""
    return [path for path in paths if path.split(".")[0] != "input"]
