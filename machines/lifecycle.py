"""The machine of one execution's life: it starts one, and disturbs it in every way the contract speaks of.

Rule 1: a rule is a sentence: when, what. It draws the arguments and plays the move; the world judges.
Rule 2: the way into the interesting region is ``begin``, which no swarm can switch off.
Rule 3: absorbing moves (cancel) are rare, progress (finish) is common.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.errors import StopTest
from hypothesis.stateful import Rule, RuleBasedStateMachine, initialize, precondition, rule

from machines.choosing import choose_at_once
from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Elapse,
    Fail,
    Finish,
    Move,
    Pause,
    Resume,
    Run,
    Subscribe,
    Yield,
)
from machines.reach import LIFECYCLE, STARTED, Reach
from machines.strategies import (
    CALM,
    CHARACTERS,
    ERRORS,
    INDEX,
    INPUTS,
    JUST_BEFORE,
    MEETINGS,
    NAMES,
    NEW_INPUTS,
    OUTPUTS,
    SECONDS,
    TAPES,
    WORKFLOWS,
    Character,
    Drawn,
)
from machines.tape import PLAIN, Tape
from machines.target import TargetFactory
from machines.targets.builtin import builtin
from machines.world import ContractViolated, World
from model.execution import Phase

_GOING = (Phase.PENDING, Phase.RUNNING, Phase.PAUSED)
UNSETTLED = (*_GOING, Phase.CANCELLING, Phase.ROLLING_BACK)
_PASSING = (Phase.PENDING, Phase.CANCELLING, Phase.ROLLING_BACK)
_NOBODY = "nobody"
_PHASES = len(Phase)
_TOGETHER = 3
"""Actions that end together, at most."""


class WorldMachine(RuleBasedStateMachine):
    """What every machine does: own a world, play moves into it, end it, and count what it reached."""

    factory: ClassVar[TargetFactory] = staticmethod(builtin)
    home: ClassVar[str] = "builtin"
    """The target that it drives when nobody names another."""
    goals: ClassVar[Mapping[str, float]] = {}
    """What a full run must have reached: a share of its cases."""
    purposes: ClassVar[Collection[str]] = (STARTED,)
    """A case that reaches none of these was wasted."""
    on_case: ClassVar[Any] = None
    """Told of every machine whose world is over: ``on_case(machine)``."""

    swarm: ClassVar[bool] = False
    """Whether Hypothesis may switch rules off for a whole case. It finds some bugs sooner and many later."""

    sought: ClassVar[frozenset[str] | None] = None
    """The names of the goals, if there are any; then no other situations are watched for."""

    def __init_subclass__(cls) -> None:
        """Name the goals once."""
        super().__init_subclass__()
        cls.sought = frozenset(cls.goals) or None

    def __init__(self) -> None:
        super().__init__()
        self._valid: list[Rule] | None = None
        choose_at_once(self)
        self.world: World | None = None
        self.reach = self.make_reach()
        self.rebuffs = 0
        self.calm = False
        self.violation: ContractViolated | None = None
        self.spoilt = False
        """Whether something else than the contract broke: then the case says nothing."""

    def make_reach(self) -> Reach:
        """What counts the reach of this machine."""
        return Reach(self.sought)

    def valid_rules(self) -> list[Rule]:
        """The rules whose preconditions hold, found out once a step."""
        if self._valid is None:
            rules = self._rules_strategy.rules
            self._valid = [found for found in rules if self.allows(found)]
        return self._valid

    def allows(self, rule: Rule) -> bool:
        """Whether a rule's preconditions hold."""
        for holds in rule.preconditions:  # noqa: SIM110  # a generator costs more than most preconditions
            if not holds(self):
                return False
        return True

    def open(self, limit: int) -> None:
        """Make the world."""
        self._valid = None
        self.world = World(type(self).factory, max_concurrent_steps=limit)
        self.reach.attach(self.world)

    def play(self, move: Move, tape: Tape) -> None:
        """Play a move, and note what was reached."""
        assert self.world is not None
        self._valid = None
        self.reach.before(self.world, move)
        try:
            self.world.play(move, tape)
        except ContractViolated as violation:
            self.violation = violation
            raise
        except BaseException:
            self.spoilt = True
            raise
        self.reach.after(self.world, move)

    def teardown(self) -> None:
        """End the case with the liveness phase, unless it has failed."""
        world = self.world
        if world is None:
            return
        cut = isinstance(sys.exception(), StopTest)
        try:
            if self.violation is None and not self.spoilt:
                world.finish()
        except ContractViolated as violation:
            self.violation = violation
            raise
        except BaseException:
            self.spoilt = True
            raise
        finally:
            world.close()
            self.reach.close(world, self.purposes, cut=cut)
            if self.on_case is not None:
                type(self).on_case(self)

    # What the preconditions ask

    def drafting(self) -> bool:
        """Whether there is leisure for the next workflow: nothing is in a phase that soon passes."""
        return self.world is not None and not self.standing(*_PASSING)

    def can(self, capability: str) -> bool:
        """Whether there is an engine, and it claims this."""
        return self.world is not None and self.world.can(capability)

    def standing(self, *phases: Phase) -> list[str]:
        """The executions in one of these phases, the newest first."""
        if self.world is None:
            return []
        facts = self.world.judge.facts
        known = facts.executions if len(phases) == _PHASES else facts.unfinished
        answered = self.world.executions
        return [name for name in reversed(known) if known[name].phase in phases and name in answered]

    def open_gates(self) -> list[str]:
        """The actions that wait for a move."""
        return [] if self.world is None else [gate.name for gate in self.world.gates if not gate.told]

    def quiet_gates(self) -> list[str]:
        """Those of them that nobody has cancelled."""
        return [] if self.world is None else [g.name for g in self.world.gates if not g.told and not g.interrupted]

    def may_meet_a_timer(self) -> bool:
        """Whether the engine has set a timer, while anything runs."""
        if self.world is None or self.world.loop.next_timer() is None:
            return False
        return bool(self.quiet_gates() and self.standing(Phase.RUNNING))

    def stubborn_gates(self) -> list[str]:
        """Those of them that were cancelled and did not end."""
        return [] if self.world is None else [g.name for g in self.world.gates if g.interrupted and not g.told]


class ExecutionRules(WorldMachine):
    """Everything that can happen to executions once they are there."""

    @precondition(lambda self: self.open_gates())
    @rule(index=INDEX, output=OUTPUTS, tape=TAPES)
    def finish(self, index: int, output: Any, tape: Tape) -> None:  # noqa: ANN401  # any JSON value
        """An action returns."""
        gates = self.open_gates()
        self.play(Finish(gates[index % len(gates)], output), tape)

    @precondition(lambda self: self.quiet_gates())
    @rule(index=INDEX, tape=TAPES)
    def finish_well(self, index: int, tape: Tape) -> None:
        """An action returns what everybody likes."""
        gates = self.quiet_gates()
        self.play(Finish(gates[index % len(gates)]), tape)

    @precondition(lambda self: self.quiet_gates())
    @rule(tape=TAPES)
    def finish_oldest(self, tape: Tape) -> None:
        """The action that has run longest returns; Hypothesis picks rules evenly, so four of them make it common."""
        self.play(Finish(self.quiet_gates()[0]), tape)

    @precondition(lambda self: self.quiet_gates())
    @rule(tape=TAPES)
    def finish_newest(self, tape: Tape) -> None:
        """The action that began last returns."""
        self.play(Finish(self.quiet_gates()[-1]), tape)

    @precondition(lambda self: len(self.quiet_gates()) > 1)
    @rule(failing=st.sampled_from((False, True)), tape=TAPES)
    def end_together(self, failing: bool, tape: Tape) -> None:
        """Actions end, each while the ends before it are being written, if that takes its time."""
        for number, gate in enumerate(self.quiet_gates()[-_TOGETHER:]):
            self.play(Fail(gate) if failing else Finish(gate), PLAIN if number else tape)

    @precondition(lambda self: self.open_gates())
    @rule(index=INDEX, kind=ERRORS, tape=TAPES)
    def fail(self, index: int, kind: str, tape: Tape) -> None:
        """An action raises."""
        gates = self.open_gates()
        self.play(Fail(gates[index % len(gates)], kind), tape)

    @precondition(lambda self: self.stubborn_gates())
    @rule(index=INDEX, tape=TAPES)
    def give_in(self, index: int, tape: Tape) -> None:
        """A stubborn action yields to its cancellation at last."""
        gates = self.stubborn_gates()
        self.play(Yield(gates[index % len(gates)]), tape)

    @precondition(lambda self: self.can("pause") and self.standing(Phase.RUNNING))
    @rule(index=INDEX, tape=TAPES)
    def pause(self, index: int, tape: Tape) -> None:
        """A running execution is paused."""
        running = self.standing(Phase.RUNNING)
        self.play(Pause(running[index % len(running)]), tape)

    @precondition(lambda self: self.can("pause") and self.standing(Phase.RUNNING))
    @rule(index=INDEX, tape=TAPES, next_tape=TAPES)
    def pause_briefly(self, index: int, tape: Tape, next_tape: Tape) -> None:
        """A running execution is paused, and resumed while all that was on its way still is."""
        running = self.standing(Phase.RUNNING)
        name = running[index % len(running)]
        self.play(Pause(name), tape)
        self.play(Resume(name), next_tape)

    @precondition(lambda self: self.standing(Phase.PAUSED))
    @rule(index=INDEX, inputs=NEW_INPUTS, tape=TAPES)
    def resume(self, index: int, inputs: dict[str, Any] | None, tape: Tape) -> None:
        """A paused execution is resumed."""
        paused = self.standing(Phase.PAUSED)
        self.play(Resume(paused[index % len(paused)], inputs), tape)

    @precondition(lambda self: self.can("cancel") and not self.calm and self.standing(*_GOING))
    @rule(index=INDEX, tape=TAPES)
    def cancel(self, index: int, tape: Tape) -> None:
        """An execution is cancelled."""
        going = self.standing(*_GOING)
        self.play(Cancel(going[index % len(going)]), tape)

    @precondition(lambda self: self.world is not None and (self.standing(*_PASSING) or self.rebuffs <= self.world.runs))
    @rule(index=INDEX, command=st.sampled_from((Pause, Cancel, Resume)), tape=TAPES)
    def refused(self, index: int, command: type[Pause | Cancel | Resume], tape: Tape) -> None:
        """A command comes where it may well be refused: to any execution, or to one that does not exist."""
        self.rebuffs += 1
        names = [*(self.standing(*_PASSING) or self.standing(*Phase)), _NOBODY]
        self.play(command(names[index % len(names)]), tape)

    @precondition(lambda self: self.world is not None and self.world.loop.next_timer() is not None)
    @rule(before=JUST_BEFORE, tape=TAPES)
    def reach_timer(self, before: float, tape: Tape) -> None:
        """Time passes until the engine's next timer, or just before it."""
        self.play(Elapse(None, before), tape)

    @precondition(lambda self: self.may_meet_a_timer())
    @rule(before=JUST_BEFORE, index=INDEX, what=MEETINGS, tape=TAPES)
    def meet_timer(self, before: float, index: int, what: type[Finish | Fail | Pause | Cancel], tape: Tape) -> None:
        """Time passes until just before the engine's next timer, and then something comes that has to race it."""
        self.play(Elapse(None, before), PLAIN)
        gates, running = self.quiet_gates(), self.standing(Phase.RUNNING)
        if issubclass(what, Finish | Fail):
            if gates:
                self.play(what(gates[index % len(gates)]), tape)
        elif running and self.can(what.__name__.lower()) and not (self.calm and what is Cancel):
            self.play(what(running[index % len(running)]), tape)

    @precondition(lambda self: self.world is not None and self.world.astir())
    @rule(seconds=SECONDS, tape=TAPES)
    def elapse(self, seconds: float, tape: Tape) -> None:
        """Time passes."""
        self.play(Elapse(seconds), tape)

    @precondition(lambda self: self.drafting() and len(self.world.draft) < 3 > self.world.runs)  # noqa: PLR2004  # a few steps are enough
    @rule(character=CHARACTERS, tape=TAPES)
    def add_step(self, character: Character, tape: Tape) -> None:
        """The draft of the next workflow gets a step."""
        assert self.world is not None
        name = NAMES[len(self.world.draft)]
        step = character.named(name, ())
        if (condition := character.condition_on(None)) is not None:
            step["condition"] = condition
        self.play(AddStep(step, character.manner, character.undo_manner), tape)

    @precondition(lambda self: self.drafting() and self.world.unconnected() > 0)
    @rule(index=INDEX, condition=st.sampled_from((None, "FROM.n > 0", "FROM.n == 0")), tape=TAPES)
    def connect(self, index: int, condition: str | None, tape: Tape) -> None:
        """The draft gets a connection."""
        assert self.world is not None
        names = [step["id"] for step in self.world.draft]
        target = 1 + index % (len(names) - 1)
        source = names[index % target]
        self.play(Connect(source, names[target], condition and condition.replace("FROM", source)), tape)

    @precondition(lambda self: self.drafting() and len(self.world.draft) > 1)
    @rule(given=INPUTS, tape=TAPES)
    def run(self, given: dict[str, Any], tape: Tape) -> None:
        """The draft is started."""
        self.play(Run(None, given), tape)

    @precondition(lambda self: self.can("subscribe") and self.world.executions and self.world.latecomers < 2)  # noqa: PLR2004  # two are enough
    @rule(index=INDEX, after=INDEX, tape=TAPES)
    def subscribe(self, index: int, after: int, tape: Tape) -> None:
        """Somebody wants an execution's events after a number."""
        names = self.standing(*Phase)
        self.play(Subscribe(names[index % len(names)], after), tape)


class LifecycleMachine(ExecutionRules):
    """One execution, seldom more at a time, with everything that can happen to it."""

    goals = LIFECYCLE

    @initialize(drawn=WORKFLOWS, given=INPUTS, limit=st.integers(1, 3), calm=CALM, tape=TAPES)
    def begin(self, drawn: Drawn, given: dict[str, Any], limit: int, calm: bool, tape: Tape) -> None:
        """Build a first workflow and start it. In a calm case nobody cancels, and executions get further."""
        self.open(limit)
        self.calm = calm
        self.play(Run(drawn.definition, given, drawn.manners), tape)

    @precondition(lambda self: self.world is not None and not self.standing(*UNSETTLED))
    @rule(drawn=WORKFLOWS, given=INPUTS, tape=TAPES)
    def run_another(self, drawn: Drawn, given: dict[str, Any], tape: Tape) -> None:
        """When all is over, another workflow is started."""
        self.play(Run(drawn.definition, given, drawn.manners), tape)
