"""What an engine finds that is closed before all is over (J7)."""

from __future__ import annotations

from model.execution import Execution
from model.facts import Facts
from model.history import Answered, Interrupted, Refused, ShutDown
from model.parts import GOING
from model.sometimes.registry import Group


def _closing(facts: Facts) -> bool:
    return facts.closing is not None and not facts.closing.over


def _cancelled_for_it(execution: Execution, entry: Interrupted) -> bool:
    """Whether nothing but the end of the grace can have cancelled an action."""
    attempt = execution.live.get(entry.step)
    return _closing(execution.facts) and execution.phase in GOING and attempt is not None and not attempt.timed_out


_SHUTDOWNS = Group("shutdowns")
_SHUTDOWNS.sometimes(ShutDown, "J7", "an engine closed before all was over", lambda facts, _: facts.unfinished)
_SHUTDOWNS.sometimes(Interrupted, "J7", "an action cancelled while its engine is being closed", _cancelled_for_it)
_SHUTDOWNS.sometimes("StepCompleted", "J7", "an end journaled within the grace", lambda e, _: _closing(e.facts))
_SHUTDOWNS.sometimes(
    Answered,
    "J7",
    "a command answered by an engine that is being closed",
    lambda facts, entry: _closing(facts) and facts.asks[entry.ask].command in {"pause", "resume", "cancel", "start"},
)
_SHUTDOWNS.sometimes(
    Refused,
    "J7",
    "a command refused by an engine that is closed",
    lambda facts, entry: facts.closing is not None and entry.type == "EngineClosedError",
)
