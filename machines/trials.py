"""One trial: a planted bug, a harness and a seed, and how soon the contract is seen to be broken.

Rule 1: a bug is detected when the engine that has it breaks the contract in a case in which the clean engine keeps it,
whichever invariant says so.
Rule 2: nobody knows what it looks for: all machines take turns, and the turns are the same for every bug.
Rule 3: CPU time runs to the end of the case that shows the bug. A detection beyond the budget is none.
Rule 4: the same seed makes the same trial, whatever the machine: time can only end it.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from random import Random
from typing import Final, Protocol

from machines.case import Case, carry_out, case_of, from_text, replay, to_text
from machines.chance import drive
from machines.driving import Driven, Driver, Way
from machines.lifecycle import WorldMachine
from machines.minimise import minimise
from machines.moves import Move
from machines.mutants import MUTANTS, Mutant, target_name
from machines.mutants.hunt import speaks
from machines.registry import MACHINES, load_target
from machines.score import Shrunk, Trial
from machines.searching import STEPS, Chunk, Plan, Report, Searcher, derive
from machines.tape import PLAIN, Tape
from machines.world import ContractViolated
from model.judge import Violation

ROUND: Final = (("lifecycle", 40), ("recovery", 24), ("concurrency", 28), ("definitions", 12), ("service", 24))
"""Machines and how many cases of each, again and again: two CPU-seconds and a half. The first rounds are shorter."""
_SHORTER: Final = (4, 2)
"""What the cases of the first rounds are divided by."""
_FOUR: Final = 4
"""Rounds: the third of so many is Hypothesis' own (with half of the cases), the last one has swarm."""
_SHRINKING: Final = 60_000
"""Entries of history that making a case small may cost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that breaks the contract."""

    case: Case
    own: bool
    cases: int
    """Cases carried out by then, this one too."""
    at: float
    """The process' CPU time by then."""


class Harness(Protocol):
    """Whatever makes cases."""

    cases: int
    others: Counter[str]
    """What it came across that is no violation of the contract."""

    def search(self, chunk: Chunk) -> Finding | None:
        """Carry out so many cases, or fewer if one breaks the contract."""
        ...


class Settled(WorldMachine):
    """The obvious machine: whatever a rule does is over before the next one comes. There is no tape."""

    def play(self, move: Move, tape: Tape) -> None:
        """Play a move, and let nothing be late."""
        del tape
        super().play(move, PLAIN)


class _Searched(Searcher):
    """A worker's search, as ``lockstep fuzz`` has several: both front ends in turns, or Hypothesis alone."""

    def __init__(self, mutant: Mutant, *, fast: bool = False, obvious: bool = False) -> None:
        super().__init__(Plan(0, target=target_name(mutant), fast=fast))
        self.factories = dict.fromkeys(MACHINES, load_target(self.plan.target))
        self.others: Counter[str] = Counter()
        self._mutant = mutant
        self._obvious = obvious
        self._settled: dict[tuple[str, bool], type[WorldMachine]] = {}
        self._seen: tuple[int, float] | None = None
        """After how many cases, and when, the first case of a chunk broke the contract."""
        self._finding: Finding | None = None

    def search(self, chunk: Chunk) -> Finding | None:
        """Run a chunk."""
        self._seen = self._finding = None
        self.run(chunk if self.plan.fast else replace(chunk, fast=False))
        return self._finding

    def _machine(self, name: str, *, swarm: bool) -> type[WorldMachine]:
        machine = super()._machine(name, swarm=swarm)
        if not self._obvious:
            return machine
        if (name, swarm) not in self._settled:
            self._settled[name, swarm] = type(machine.__name__, (Settled, machine), {})
        return self._settled[name, swarm]

    def _note(self, machine: WorldMachine) -> None:
        super()._note(machine)
        if machine.violation is not None and self._seen is None:
            self._seen = self.cases + self._cases, time.process_time()

    def _look_into(self, report: Report, violation: Violation) -> Report:
        assert self._seen is not None
        assert self._last is not None
        self._finding = _finding(self._last, report.machine, self._mutant, violation, *self._seen)
        return report

    def _explain(self, report: Report, error: Exception) -> Report:
        self.others[type(error).__name__] += 1
        return report


class _Chance:
    """Plain random numbers drive the machines: the same rules, tables and tapes, and no Hypothesis."""

    def __init__(self, mutant: Mutant) -> None:
        self.cases = 0
        self.others: Counter[str] = Counter()
        self._mutant = mutant
        factory = staticmethod(load_target(target_name(mutant)))
        self._machines = {name: type(base.__name__, (base,), {"factory": factory}) for name, base in MACHINES.items()}

    def search(self, chunk: Chunk) -> Finding | None:
        """Make a chunk's cases, one after the other."""
        chance = Random(chunk.seed)
        for _ in range(chunk.examples):
            machine = self._machines[chunk.machine]()
            self.cases += 1
            try:
                drive(machine, chance, STEPS)
            except ContractViolated as violated:
                now = time.process_time()
                return _finding(machine, chunk.machine, self._mutant, violated.violation, self.cases, now)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is told
                self.others[type(error).__name__] += 1
        return None


class _Fast:
    """The fast front end drives the machines: one driver each, which remembers what was new in this trial."""

    def __init__(self, mutant: Mutant, way: Way) -> None:
        self.cases = 0
        self.others: Counter[str] = Counter()
        self._mutant = mutant
        self._way = way
        self._factory = load_target(target_name(mutant))
        self._cases: dict[str, Iterator[Driven]] = {}

    def search(self, chunk: Chunk) -> Finding | None:
        """Have so many more cases of a machine made; the first chunk's seed is its driver's."""
        if chunk.machine not in self._cases:
            driver = Driver(chunk.machine, chunk.seed, factory=self._factory, way=self._way)
            self._cases[chunk.machine] = driver.cases()
        for driven in islice(self._cases[chunk.machine], chunk.examples):
            self.cases += 1
            if driven.violation is not None:
                assert driven.driven is not None
                now = time.process_time()
                return _finding(driven.driven, chunk.machine, self._mutant, driven.violation, self.cases, now)
            if driven.error is not None:
                self.others[type(driven.error).__name__] += 1
        return None


def _finding(machine: WorldMachine, name: str, mutant: Mutant, violation: Violation, cases: int, at: float) -> Finding:
    world = machine.world
    assert world is not None
    case = case_of(
        world.moves,
        violation,
        target=target_name(mutant),
        machine=name,
        max_concurrent_steps=world.max_concurrent_steps,
        digest=world.digest(),
    )
    return Finding(case, speaks(mutant, world.judge.violations), cases, at)


WAYS: Final[Mapping[str, Way]] = {
    "unguided": Way(varied=0),
    "swarm": Way(swarm=0.5, varied=0),
    "guided": Way(),
    "guided-swarm": Way(swarm=0.5),
    "guided-pct": Way("pct", swarm=0.5),
    "guided-both": Way("both", swarm=0.5),
}
"""The fast front end, by what it does beside picking rules evenly."""
HARNESSES: Final[Mapping[str, Callable[[Mutant], Harness]]] = {
    "lockstep": partial(_Searched, fast=True),
    "hypothesis": _Searched,
    "obvious": partial(_Searched, obvious=True),
    "random": _Chance,
    **{name: partial(_Fast, way=way) for name, way in WAYS.items()},
}


def chunks(seed: int, number: int, what: str) -> Iterator[Chunk]:
    """What is searched in a trial, without end. Harnesses with one front end make the other one's cases too."""
    for turn in itertools.count():
        machine, examples = ROUND[turn % len(ROUND)]
        number_of_round = turn // len(ROUND)
        fast = number_of_round % _FOUR != _FOUR - 2
        shorter = _SHORTER[number_of_round] if number_of_round < len(_SHORTER) else 1 if fast else 2
        swarm = number_of_round % _FOUR == _FOUR - 1
        chosen = derive(seed, number, turn, f"{what}/{machine}")
        yield Chunk(machine, chosen, examples // shorter, swarm, fast)


def trial(
    bug: str, harness: str, number: int, seed: int, *, cpu_seconds: float = float("inf"), cases: int = 10**9
) -> Trial:
    """Search for a bug until the contract is broken, or until so much was spent."""
    mutant = MUTANTS[bug]
    clean = load_target(mutant.clean)
    search = HARNESSES[harness](mutant)
    began = time.process_time()
    for chunk in chunks(seed, number, f"{bug}/{harness}"):
        if time.process_time() - began >= cpu_seconds or search.cases >= cases:
            break
        finding = search.search(chunk)
        if finding is None or finding.at - began > cpu_seconds:
            continue
        case, text = finding.case, to_text(finding.case)
        if (verdict := carry_out(from_text(text).lines, clean, case.max_concurrent_steps).verdict) is not None:
            search.others["the clean engine breaks {} ({}) too".format(*verdict)] += 1
            continue
        return Trial(
            *(bug, harness, number, finding.cases, finding.at - began, case.invariant, case.clause),
            own=finding.own,
            case=text,
            others=_told(search.others),
        )
    spent = min(time.process_time() - began, cpu_seconds)
    return Trial(bug, harness, number, search.cases, spent, others=_told(search.others))


def _told(others: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{name} ({count})" for name, count in others.items())


def shrink(bug: str, text: str) -> Shrunk:
    """Make the case small that shows a bug."""
    factory = MUTANTS[bug].plant()
    small = minimise(from_text(text), factory, budget=_SHRINKING)
    played = replay(small, factory).played
    return Shrunk(
        len(small.lines),
        sum(len(each.deviations) for each in played),
        small.clause,
        small.invariant,
        small.sentence,
        tuple(each.tell() for each in played),
    )
