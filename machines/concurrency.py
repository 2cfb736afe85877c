"""The machine of several executions at once on one engine: slots, turns, who must notice nothing (C1, C3, K3, K5)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from machines.lifecycle import UNSETTLED, ExecutionRules
from machines.moves import Run
from machines.reach import CONCURRENCY
from machines.strategies import CALM, INPUTS, TAPES, WORKFLOWS, Drawn
from machines.tape import Tape

_AT_ONCE = 4


class ConcurrencyMachine(ExecutionRules):
    """Two executions from the start, up to four unsettled at a time, on few slots."""

    goals = CONCURRENCY

    @initialize(first=WORKFLOWS, second=WORKFLOWS, given=INPUTS, limit=st.integers(1, 3), calm=CALM, tape=TAPES)
    def begin(self, first: Drawn, second: Drawn, given: dict[str, Any], limit: int, calm: bool, tape: Tape) -> None:
        """Start two executions at once."""
        self.open(limit)
        self.calm = calm
        self.play(Run(first.definition, given, first.manners), tape)
        self.play(Run(second.definition, given, second.manners), tape)

    @precondition(lambda self: self.world is not None and len(self.standing(*UNSETTLED)) < _AT_ONCE)
    @rule(drawn=WORKFLOWS, given=INPUTS, tape=TAPES)
    def run_another(self, drawn: Drawn, given: dict[str, Any], tape: Tape) -> None:
        """One more workflow is started."""
        self.play(Run(drawn.definition, given, drawn.manners), tape)
