"""The machine of crashes and failing stores: executions at once, and an engine that dies at any moment (J1-J5).

Rule 1: a crash is armed or at once; what is durable by then is the store's business, and the model is told only that
it came.
Rule 2: whoever crashed comes back, sooner or later: a dead engine makes a dull case.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final, get_args

from hypothesis import strategies as st
from hypothesis.stateful import Rule, initialize, precondition, rule

from machines.gates import Gate
from machines.lifecycle import UNSETTLED, ExecutionRules
from machines.moves import Crash, Elapse, Fail, FailStore, Pause, Recover, Resume, Rival, Run, Shutdown, TakeOver
from machines.nemesis import Fault, Statement
from machines.recovery_reach import GOALS, RecoveryReach
from machines.strategies import CALM, INDEX, INPUTS, TAPES, WORKFLOWS, Drawn
from machines.tape import PLAIN, Tape
from model.definition import Step
from model.execution import Phase

_AT_ONCE: Final = 3
_CRASHES: Final = 3
_SHUTDOWNS: Final = 1
_RIVALS: Final = 2
_SELDOM: Final = 8
_WITHOUT_ENGINE: Final = ("recover", "recover_and_crash", "recover_late", "stay_down")
SIDES: Final = st.sampled_from(("before", "after"))
COMMITS: Final = st.sampled_from((1, 1, 2, 3, 4))
FAULTS: Final = st.sampled_from(get_args(Fault))
PLACES: Final = st.sampled_from(tuple(product(get_args(Fault), get_args(Statement))))
"""A fault, and the statement that it strikes."""
AWAY: Final = st.sampled_from((1.0, 2.0, 5.0, 0.5, 60.0))
"""Seconds without an engine."""
CHANGES: Final = st.sampled_from(({"a": 2, "b": {"c": 3}, "late": 4}, {"a": 2}, {"b": {"c": 3}}, {}))
"""What a resume brings that changes what is there."""
GRACES: Final = st.sampled_from((2.0, 0.0, 0.5, 60.0))
"""Seconds in which what runs may still end when its engine is closed."""
WAITS: Final = st.sampled_from((Elapse(2.0), Elapse(None, 0.0015), Elapse(None, 0.0005), Elapse()))
"""Past a retry's time, however it is counted; or just before the time that the engine has in mind."""
TIMES: Final = st.sampled_from((1, 1, 2, 5))


class MortalRules(ExecutionRules):
    """What can happen where the engine may crash, and comes back."""

    def allows(self, rule: Rule) -> bool:
        """Whether a rule's preconditions hold; while there is no engine, it must be one that needs none."""
        if self.world is not None and self.world.down and rule.function.__name__ not in _WITHOUT_ENGINE:
            return False
        return super().allows(rule)

    def standing(self, *phases: Phase) -> list[str]:
        """The executions in one of these phases, the newest first; none while there is no engine."""
        return [] if self.world is None or self.world.down else super().standing(*phases)

    def alive(self) -> bool:
        """Whether there is an engine that can be harmed."""
        return self.world is not None and not self.world.down

    def may_crash(self) -> bool:
        """Whether there is an engine, and nothing is about to harm it."""
        world = self.world
        return world is not None and not world.down and len(world.deaths) < _CRASHES and not world.nemesis.armed

    def may_shut_down(self) -> bool:
        """Whether there is an engine that can be closed, and was not closed too often."""
        world = self.world
        if world is None or world.down or world.closing or world.ousted:
            return False
        return world.can("shutdown") and world.shutdowns < _SHUTDOWNS

    @precondition(lambda self: self.may_shut_down())
    @rule(grace=GRACES, tape=TAPES)
    def shut_down(self, grace: float, tape: Tape) -> None:
        """The engine is closed, whatever is under way."""
        self.play(Shutdown(grace), tape)

    @precondition(lambda self: self.may_crash())
    @rule(tape=TAPES)
    def crash(self, tape: Tape) -> None:
        """The engine crashes, whatever is under way."""
        self.play(Crash(), tape)

    @precondition(lambda self: self.world is not None and self.world.adrift)
    @rule(tape=TAPES)
    def recover(self, tape: Tape) -> None:
        """What nobody drives is taken up."""
        self.play(Recover(), tape)

    @precondition(lambda self: self.world is not None and self.world.down)
    @rule(seconds=AWAY)
    def stay_down(self, seconds: float) -> None:
        """Time passes, and there is no engine."""
        self.play(Elapse(seconds), PLAIN)


class RecoveryMachine(MortalRules):
    """Two executions, sometimes one or three, and an engine that crashes, recovers and cannot write."""

    home = "machines.targets.sqlite:sqlite"
    goals = GOALS

    @initialize(
        first=WORKFLOWS,
        second=WORKFLOWS,
        given=INPUTS,
        limit=st.integers(1, 3),
        calm=CALM,
        alone=st.booleans(),
        tape=TAPES,
    )
    def begin(
        self,
        first: Drawn,
        second: Drawn,
        given: dict[str, Any],
        limit: int,
        calm: bool,
        alone: bool,
        tape: Tape,
    ) -> None:
        """Start one execution, or two at once."""
        self.open(limit)
        self.calm = calm
        self.play(Run(first.definition, given, first.manners), tape)
        if not alone:
            self.play(Run(second.definition, given, second.manners), tape)

    def make_reach(self) -> RecoveryReach:
        """What counts crashes and faults as well."""
        return RecoveryReach(self.sought)

    @precondition(lambda self: self.may_crash())
    @rule(side=SIDES, commits=COMMITS, tape=TAPES)
    def crash_at_a_commit(self, side: str, commits: int, tape: Tape) -> None:
        """The engine will crash around one of its next commits."""
        self.play(Crash(side, commits), tape)  # type: ignore[arg-type]  # one of two words

    def may_be_taken_over(self) -> bool:
        """Whether there is an engine that has not crashed before, and whose journal others can be after."""
        world = self.world
        if world is None or world.down or world.ousted or world.deaths:
            return False
        return world.can("ownership") and world.rivals < _RIVALS

    def may_be_shaken(self) -> bool:
        """The same, for crashes after which the engine is back at once: there may be any number of them."""
        return self.world is not None and not self.world.down and not self.world.nemesis.armed

    def attempts(self) -> list[tuple[Gate, Step]]:
        """The actions that wait for a move, and nobody has cancelled: with the steps that they are of."""
        if self.world is None:
            return []
        known = self.world.judge.facts.executions
        gates = [gate for gate in self.world.gates if not gate.told and not gate.interrupted]
        gates = [gate for gate in gates if gate.call.execution in known]
        return [(gate, known[gate.call.execution].definition.steps[gate.call.step]) for gate in gates]

    def retryable(self) -> list[str]:
        """Those whose steps would be tried again if they failed."""
        return [gate.name for gate, step in self.attempts() if gate.call.attempt < step.retries.max_attempts]

    def retryable_undos(self) -> list[str]:
        """The compensations among them that would be tried again after a while."""
        return [
            gate.name
            for gate, step in self.attempts()
            if gate.call.kind == "compensation"
            and step.compensation is not None
            and gate.call.attempt < step.compensation.retries.max_attempts
            and step.compensation.retries.initial_interval > 0
        ]

    def bound(self) -> list[str]:
        """The running executions in which a step runs whose parameters are made of values."""
        running = self.standing(Phase.RUNNING)
        names = [gate.call.execution for gate, step in self.attempts() if not step.constant]
        return [name for name in names if name in running]

    @precondition(lambda self: self.may_be_shaken() and self.retryable())
    @rule(index=INDEX, wait=WAITS, tape=TAPES)
    def crash_in_a_wait(self, index: int, wait: Elapse, tape: Tape) -> None:
        """An attempt fails, and the engine crashes and comes back while the next one waits for its time."""
        gates = self.retryable()
        self.play(Fail(gates[index % len(gates)]), tape)
        self.play(Crash(), PLAIN)
        self.play(Recover(), PLAIN)
        self.play(wait, PLAIN)

    @precondition(lambda self: self.may_be_shaken() and self.retryable_undos())
    @rule(wait=WAITS)
    def crash_in_an_undo_wait(self, wait: Elapse) -> None:
        """The same of a compensation. It takes much to get here, so chance has no part in it."""
        self.play(Fail(self.retryable_undos()[0]), PLAIN)
        self.play(Crash(), PLAIN)
        self.play(Recover(), PLAIN)
        self.play(wait, PLAIN)

    @precondition(lambda self: self.may_be_shaken() and self.bound())
    @rule(index=INDEX, inputs=CHANGES, tape=TAPES)
    def crash_after_a_change(self, index: int, inputs: dict[str, Any], tape: Tape) -> None:
        """The input changes while an action runs on the old one; then that has to run again."""
        names = self.bound()
        name = names[index % len(names)]
        self.play(Pause(name), tape)
        self.play(Resume(name, inputs), PLAIN)
        self.play(Crash(), PLAIN)
        self.play(Recover(), PLAIN)

    def clinging(self) -> list[str]:
        """The running executions in which an action runs that would not end when it is told to."""
        running = self.standing(Phase.RUNNING)
        names = [gate.call.execution for gate, _ in self.attempts() if gate.manner == "stubborn"]
        return [name for name in names if name in running]

    @precondition(lambda self: self.may_be_shaken() and self.clinging())
    @rule(index=INDEX, fault=FAULTS, tape=TAPES)
    def take_back(self, index: int, fault: Fault, tape: Tape) -> None:
        """An execution is given up whose action is slow to end, and the living engine takes it up at once."""
        names = self.clinging()
        self.play(FailStore(fault), PLAIN)
        self.play(Pause(names[index % len(names)]), tape)
        self.play(Recover(), PLAIN)

    @precondition(lambda self: self.world is not None and self.world.down)
    @rule(side=SIDES, commits=COMMITS, tape=TAPES)
    def recover_and_crash(self, side: str, commits: int, tape: Tape) -> None:
        """A new engine is opened, and will soon crash as well."""
        self.play(Recover(), tape)
        self.play(Crash(side, commits), tape)  # type: ignore[arg-type]  # one of two words

    @precondition(lambda self: self.world is not None and self.world.down)
    @rule(seconds=AWAY, tape=TAPES)
    def recover_late(self, seconds: float, tape: Tape) -> None:
        """A new engine is opened after a while: retries and deadlines have become due."""
        self.play(Elapse(seconds), PLAIN)
        self.play(Recover(), tape)

    @precondition(lambda self: self.may_crash() and self.standing(*UNSETTLED))
    @rule(place=PLACES, times=TIMES, tape=TAPES)
    def fail_store(self, place: tuple[Fault, Statement], times: int, tape: Tape) -> None:
        """The store will fail."""
        self.play(FailStore(*place, times), tape)

    @precondition(lambda self: self.may_crash() and self.open_gates())
    @rule(fault=FAULTS, tape=TAPES)
    def fail_write(self, fault: Fault, tape: Tape) -> None:
        """The next commit fails, while actions run whose ends it would have held."""
        self.play(FailStore(fault), tape)

    @precondition(lambda self: self.alive() and self.world.adrift)
    @rule(tape=TAPES)
    def recover_the_living(self, tape: Tape) -> None:
        """The engine that could not write takes up what it gave up; rules are picked evenly, so two make it common."""
        self.play(Recover(), tape)

    @precondition(lambda self: self.alive() and self.can("ownership") and self.world.rivals < _RIVALS)
    @rule(tape=TAPES)
    def rival(self, tape: Tape) -> None:
        """A second engine starts too early."""
        self.play(Rival(), tape)

    @precondition(lambda self: self.may_be_taken_over())
    @rule(index=INDEX, tape=TAPES)
    def take_over(self, index: int, tape: Tape) -> None:
        """Once in a while another process takes the journal over; else it only tries to."""
        self.play(TakeOver() if index % _SELDOM == _SELDOM - 1 else Rival(), tape)

    @precondition(lambda self: self.alive() and len(self.standing(*UNSETTLED)) < _AT_ONCE)
    @rule(drawn=WORKFLOWS, given=INPUTS, tape=TAPES)
    def run_another(self, drawn: Drawn, given: dict[str, Any], tape: Tape) -> None:
        """One more workflow is started."""
        self.play(Run(drawn.definition, given, drawn.manners), tape)
