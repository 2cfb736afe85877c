"""How a machine's next rule is chosen: one draw among those that are valid, instead of guesses until one is.

Hypothesis asks every rule's preconditions again for each guess, and takes up to four draws and twenty questions for
a step; with rules that are valid a third of the time that costs as much as the engine under test. There is no public
way to do otherwise. This file is all of the private surface that it takes, and a test sees whether it still does.

Private surface: ``RuleBasedStateMachine._rules_strategy`` and on it ``rules``, ``is_valid``,
``enabled_rules_strategy``, ``_enabled_rules_strategy``, ``_feature_flags``; ``ConjectureData.draw_integer``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import Rule
from hypothesis.strategies._internal.featureflags import FeatureFlags

if TYPE_CHECKING:
    from machines.lifecycle import WorldMachine

_ALL = st.just(FeatureFlags())


class _Choice(st.SearchStrategy[Rule]):
    """One of the rules that are valid now, and (with swarm) not switched off for this case, if any is left."""

    def __init__(self, machine: WorldMachine) -> None:
        super().__init__()
        self.machine = machine

    def do_draw(self, data: Any) -> Rule:  # noqa: ANN401  # Hypothesis' own
        """Draw one number."""
        valid = self.machine.valid_rules()
        if self.machine.swarm:
            flags: Any = self.machine._rules_strategy._feature_flags
            valid = [found for found in valid if flags.is_enabled(found.function.__name__)] or valid
        chosen: Rule = valid[data.draw_integer(0, len(valid) - 1)]
        return chosen


def choose_at_once(machine: WorldMachine) -> None:
    """Have this machine's rules chosen in one draw; without swarm, no rule is ever switched off for a case."""
    strategy: Any = machine._rules_strategy
    strategy.is_valid = lambda _candidate: bool(machine.valid_rules())
    strategy._enabled_rules_strategy = _Choice(machine)
    if not machine.swarm:
        strategy.enabled_rules_strategy = _ALL
