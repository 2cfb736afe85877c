"""The machine of the service: connections that break or are not read, starts that are sent again, restarts.

Rule 1: everything goes through the application, in ASGI messages; see the target.
Rule 2: a connection may break whenever there is one; what its subscriber has not got by then it asks for anew (N1).
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from machines.lifecycle import UNSETTLED
from machines.moves import Crash, Elapse, Heed, Pause, Reconnect, Resume, Run, Stall
from machines.recovery import MortalRules
from machines.service_reach import GOALS, ServiceReach
from machines.strategies import CALM, INDEX, INPUTS, TAPES, WORKFLOWS, Drawn
from machines.tape import PLAIN, Tape
from model.execution import Phase

_AT_ONCE: Final = 3
_KEYS: Final = 3
WAITS: Final = st.sampled_from((12.0, 12.0, 9.0, 1.0))
"""Past the patience of the service, or not quite."""


class ServiceMachine(MortalRules):
    """One execution, or a few, watched over connections."""

    home = "machines.targets.service:service"
    goals = GOALS

    @initialize(drawn=WORKFLOWS, given=INPUTS, limit=st.integers(1, 3), calm=CALM, keyed=st.booleans(), tape=TAPES)
    def begin(
        self,
        drawn: Drawn,
        given: dict[str, Any],
        limit: int,
        calm: bool,
        keyed: bool,
        tape: Tape,
    ) -> None:
        """Start a first workflow, with a key or without."""
        self.open(limit)
        self.calm = calm
        self.play(Run(drawn.definition, given, drawn.manners, [], "k1" if keyed else ""), tape)

    def make_reach(self) -> ServiceReach:
        """What counts connections and keys as well."""
        return ServiceReach(self.sought)

    def starts(self) -> list[Run]:
        """The starts that carried a key."""
        moves = [] if self.world is None else [played.move for played in self.world.moves]
        return [move for move in moves if isinstance(move, Run) and move.key]

    def may_start(self) -> bool:
        """Whether there is room for one more."""
        return self.alive() and len(self.standing(*UNSETTLED)) < _AT_ONCE and len(self.starts()) < _KEYS

    def watched(self, *, stalled: bool) -> list[str]:
        """The executions whose newest subscriber reads, or does not."""
        if self.world is None or self.world.down:
            return []
        callers = self.world.callers
        names = [name for name in self.world.executions if callers.listening(name)]
        return [name for name in names if callers.stalled(name) is stalled]

    @precondition(lambda self: self.watched(stalled=False))
    @rule(index=INDEX, tape=TAPES)
    def reconnect(self, index: int, tape: Tape) -> None:
        """A connection breaks."""
        names = self.watched(stalled=False)
        self.play(Reconnect(names[index % len(names)]), tape)

    @precondition(lambda self: self.watched(stalled=True))
    @rule(index=INDEX, tape=TAPES)
    def reconnect_unread(self, index: int, tape: Tape) -> None:
        """A connection breaks that nobody reads."""
        names = self.watched(stalled=True)
        self.play(Reconnect(names[index % len(names)]), tape)

    @precondition(lambda self: self.watched(stalled=False))
    @rule(index=INDEX)
    def stall(self, index: int) -> None:
        """A subscriber reads no more."""
        names = self.watched(stalled=False)
        self.play(Stall(names[index % len(names)]), PLAIN)

    @precondition(lambda self: self.watched(stalled=True))
    @rule(index=INDEX, tape=TAPES)
    def heed(self, index: int, tape: Tape) -> None:
        """A subscriber reads on."""
        names = self.watched(stalled=True)
        self.play(Heed(names[index % len(names)]), tape)

    @precondition(lambda self: self.watched(stalled=True))
    @rule(seconds=WAITS)
    def outwait(self, seconds: float) -> None:
        """Time passes in which somebody does not read."""
        self.play(Elapse(seconds), PLAIN)

    @precondition(lambda self: self.watched(stalled=False) and self.standing(Phase.RUNNING))
    @rule(index=INDEX, tape=TAPES)
    def break_amid_events(self, index: int, tape: Tape) -> None:
        """A connection breaks while events are being told."""
        running = self.standing(Phase.RUNNING)
        name = running[index % len(running)]
        self.play(Stall(name), PLAIN)
        self.play(Pause(name), tape)
        self.play(Resume(name), PLAIN)
        self.play(Reconnect(name), PLAIN)

    @precondition(lambda self: self.may_start())
    @rule(drawn=WORKFLOWS, given=INPUTS, tape=TAPES)
    def run_with_key(self, drawn: Drawn, given: dict[str, Any], tape: Tape) -> None:
        """A workflow is started with a key of its own."""
        key = f"k{1 + len({start.key for start in self.starts()})}"
        self.play(Run(drawn.definition, given, drawn.manners, [], key), tape)

    @precondition(lambda self: self.alive() and not self.standing(*UNSETTLED))
    @rule(drawn=WORKFLOWS, given=INPUTS, tape=TAPES)
    def run_another(self, drawn: Drawn, given: dict[str, Any], tape: Tape) -> None:
        """When all is over, another workflow is started."""
        self.play(Run(drawn.definition, given, drawn.manners), tape)

    @precondition(lambda self: self.may_start())
    @rule(drawn=WORKFLOWS, given=INPUTS, tape=TAPES)
    def run_twice_at_once(self, drawn: Drawn, given: dict[str, Any], tape: Tape) -> None:
        """A start is sent again while it may be under way."""
        start = Run(drawn.definition, given, drawn.manners, [], f"k{1 + len({each.key for each in self.starts()})}")
        self.play(start, tape)
        self.play(start, PLAIN)

    @precondition(lambda self: self.alive() and self.starts() and len(self.starts()) <= 2 * _KEYS)
    @rule(index=INDEX, tape=TAPES)
    def run_again(self, index: int, tape: Tape) -> None:
        """A start is sent again that was answered, or never was."""
        starts = self.starts()
        self.play(starts[index % len(starts)], tape)

    @precondition(lambda self: self.may_crash())
    @rule(tape=TAPES)
    def crash_soon(self, tape: Tape) -> None:
        """The service crashes around its next commit."""
        self.play(Crash("after"), tape)
