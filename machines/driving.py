"""The fast front end: moves straight into the world, from a seeded generator, guided by what is new on the model.

Rule 1: a driver is fully determined by its machine, its seed and its corpus; no Hypothesis is on its way.
Rule 2: rules, preconditions and argument ranges are the machine's own, declared once: what Hypothesis may do, this may.
Rule 3: a case is fresh, or a variation of one that reached something new; what was read of a corpus is played first.
Rule 4: whatever is found is a case, as every other front end hands it out; it is made small elsewhere.
"""

from __future__ import annotations

import gc
from bisect import bisect
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, count
from random import Random
from typing import Final

from hypothesis.stateful import Rule

from machines.case import HARNESS, Case, case_of
from machines.chance import Drawer, draw, drawer
from machines.corpus import Corpus, Kept, told
from machines.feeding import feed, watched
from machines.lifecycle import WorldMachine
from machines.registry import BUILTIN, MACHINES, load_target, target_of_machine
from machines.schedules import Pct, Schedule, Uniform, schedule_of
from machines.strategies import CALM, TAPES
from machines.target import TargetFactory
from machines.varying import aimed, varied
from machines.world import ContractViolated, World
from model.judge import Violation

STEPS: Final = 30
"""Rules that a case plays, the way in counted once."""
_TRIES: Final = 12
"""Guesses of a rule before all are asked whether they are valid."""
_WHOLE: Final = 2048
"""Cases after which everything is looked at; after each, what is young: its world, while that is still in the cache."""
_TURNS: Final = 64
"""Drivers begun in this process, one after the other, until everything is looked at as one begins: before, what is old
enough is left for the next time, since a turn of a search is short and looking at everything is not."""
_begun = count()
_WEIGHTS: Final = (0, 0, 1, 1, 1, 2, 4)
"""What a rule may weigh in a case with swarm; nothing: it is off."""


@dataclass(frozen=True, slots=True)
class Way:
    """How cases are made; as the planted bugs were found soonest (docs/strength.md), if nothing else is said."""

    schedule: Schedule = "uniform"
    swarm: float = 0.0
    """The share of cases with a random subset of the rules, and weights."""
    varied: float = 0.5
    """The share of cases that are variations, once there is anything to vary."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What came of a case."""

    machine: str
    moves: int
    seconds: float
    """Virtual time lived."""
    entries: int
    novel: tuple[str, ...]
    """What no case before had reached."""
    reach: tuple[str, ...]
    """What its machine counts as reached."""
    tallies: Mapping[str, int]
    parent: str | None = None
    """What it is a variation of, by its name in the corpus."""
    violation: Violation | None = None
    error: Exception | None = None
    """What came out that is no violation."""
    case: Case | None = None
    """The case, if there is a violation or an error."""
    driven: WorldMachine | None = field(default=None, repr=False)
    """The machine itself, in that case."""


@cache
def _arguments(rule: Rule) -> tuple[tuple[str, Drawer | None], ...]:
    """How a rule's arguments are drawn; None: by the schedule."""
    return tuple((name, None if found is TAPES else drawer(found)) for name, found in rule.arguments.items())


class Driver:
    """Makes the cases of one machine, one after the other."""

    def __init__(
        self,
        machine: str,
        seed: int | str,
        corpus: Corpus | None = None,
        *,
        target: str = BUILTIN,
        factory: TargetFactory | None = None,
        base: type[WorldMachine] | None = None,
        way: Way | None = None,
    ) -> None:
        """Drive a machine by its name, or another one (``base``) under that name."""
        self.machine = machine
        self.target = target_of_machine(machine, target)
        self.corpus = Corpus() if corpus is None else corpus
        self.way = Way() if way is None else way
        base = MACHINES[machine] if base is None else base
        self.factory = factory = load_target(self.target) if factory is None else factory
        self._class: type[WorldMachine] = watched(base)
        if base.factory is not factory:  # Hypothesis keeps what it knows of a class for ever: none is made needlessly
            self._class = type(base.__name__, (self._class,), {"factory": staticmethod(factory)})
        self._chance = Random(f"{seed}/{machine}")
        state = self._class.setup_state()
        self._begin, self._rules = list(state.initializers), list(state.rules)
        self._sums: list[int] = []
        self.pct = 0
        """Fresh cases with a schedule of PCT's: what its guarantee speaks of."""
        self._schedule: Uniform | Pct = Uniform(self._chance)

    def cases(self) -> Generator[Driven]:
        """Carry out case after case, without end; close the generator when there are enough."""
        with _seldom_collecting():
            for number in count(1):
                yield self._case()
                gc.collect(0 if number % _WHOLE else 2)

    # One case

    def _case(self) -> Driven:
        machine = self._class()
        parent = self._prepare()
        violation: Violation | None = None
        error: Exception | None = None
        try:
            try:
                self._play(machine, parent)
            finally:
                machine.teardown()
        except ContractViolated as violated:
            violation = violated.violation
        except Exception as raised:  # noqa: BLE001  # whatever it is, it is told
            error = raised
        self.pct += parent is None and isinstance(self._schedule, Pct)
        return self._told(machine, parent, violation, error)

    def _prepare(self) -> Kept | None:
        """Draw what holds for the whole case; returns what is varied, if anything is."""
        chance, way = self._chance, self.way
        self._schedule = schedule_of(way.schedule, chance, STEPS)
        swarm = chance.random() < way.swarm
        weights = [chance.choice(_WEIGHTS) if swarm else 1 for _ in self._rules]
        self._sums = list(accumulate(weights if any(weights) else [1] * len(weights)))
        if self.corpus.unplayed:
            return self.corpus.unplayed[0]
        return self.corpus.pick(chance) if self.corpus.kept and chance.random() < way.varied else None

    def _play(self, machine: WorldMachine, parent: Kept | None) -> None:
        played = 0
        if parent is None:
            for begin in self._begin:
                self._apply(begin, machine)
        else:
            machine.calm = draw(CALM, self._chance)
            machine.open(parent.limit)
            again = bool(self.corpus.unplayed)
            played = self._play_lines(machine, parent, again=again)
            if again:
                return
        for _ in range(STEPS - 1 - played):
            if (rule := self._choose(machine)) is None:
                return
            self._apply(rule, machine)

    def _play_lines(self, machine: WorldMachine, parent: Kept, *, again: bool) -> int:
        """Play a case of the corpus as it is, or a variation of it; returns how many moves that were."""
        world = machine.world
        assert world is not None
        if again:
            for line in parent.lines:
                machine.play(line.move, line.tape)
            return len(parent.lines)
        other = self._chance.choice(self.corpus.kept)
        program = varied(parent.lines, other.lines, self._chance, self._schedule)
        for each in program:
            if each is not None:
                machine.play(aimed(each.move, world), each.tape)
            elif (rule := self._choose(machine)) is not None:
                self._apply(rule, machine)
        return len(program)

    def _choose(self, machine: WorldMachine) -> Rule | None:
        """A rule that is valid now: a guess until one is, which is as likely as a pick among the valid ones."""
        chance, rules, sums = self._chance, self._rules, self._sums
        last = len(rules) - 1
        for _ in range(_TRIES):
            rule = rules[bisect(sums, chance.random() * sums[-1], 0, last)]
            if machine.allows(rule):
                return rule
        valid = machine.valid_rules()
        weights = dict(zip(rules, map(int.__sub__, sums, [0, *sums]), strict=True))
        chosen = [rule for rule in valid if weights[rule]] or valid
        return chance.choices(chosen, [max(weights[rule], 1) for rule in chosen])[0] if chosen else None

    def _apply(self, rule: Rule, machine: WorldMachine) -> None:
        chance, schedule = self._chance, self._schedule
        arguments = {name: draws(chance) if draws else schedule.tape() for name, draws in _arguments(rule)}
        rule.function(machine, **arguments)

    # What came of it

    def _told(
        self, machine: WorldMachine, parent: Kept | None, violation: Violation | None, error: Exception | None
    ) -> Driven:
        world, corpus = machine.world, self.corpus
        if world is None:  # the target cannot be made
            return Driven(self.machine, 0, 0.0, 0, (), (), {}, error=error)
        again = bool(corpus.unplayed)
        if again:
            corpus.unplayed.pop(0)
        news = feed(corpus, machine, self.machine, self.target, None if again else parent)
        said = violation
        if error is not None:
            said = Violation(HARNESS, type(error).__name__, str(error), len(world.history))
        return Driven(
            *(self.machine, len(world.moves), world.loop.time(), len(world.history)),
            novel=tuple(map(told, news)),
            reach=tuple(machine.reach.found),
            tallies=machine.reach.tallies,
            parent=None if parent is None else parent.name,
            violation=violation,
            error=error,
            case=None if said is None else self._case_of(world, said),
            driven=None if said is None else machine,
        )

    def _case_of(self, world: World, said: Violation) -> Case:
        return case_of(
            world.moves,
            said,
            target=self.target,
            machine=self.machine,
            max_concurrent_steps=world.max_concurrent_steps,
            digest=world.digest(),
        )


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """While cases are made, what is in a circle is freed between them and not during them."""
    was, enable, unfreeze = gc.isenabled(), gc.enable, gc.unfreeze  # a generator may end with the interpreter
    gc.collect(1 if next(_begun) % _TURNS else 2)
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        unfreeze()
        if was:
            enable()
