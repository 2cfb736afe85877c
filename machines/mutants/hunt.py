"""The hunt for one mutant: Hypothesis generates cases until its invariant speaks, then the case is made small.

Rule 1: a mutant is caught when the first entry that breaks anything breaks its invariant, and its clause comes first.
What other invariants say on other cases is no answer: the search goes on.
Rule 2: the bug is at fault, and not the case: on the minimal case the clean engine keeps the contract.
Rule 3: the same seed makes the same hunt, whatever the machine: time can only end it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from machines.case import Case, carry_out, from_text, to_text
from machines.minimise import minimise
from machines.moves import Crash
from machines.mutants import Mutant, target_name
from machines.registry import load_target
from machines.searching import Chunk, Plan, Report, Searcher, derive
from machines.target import TargetFactory
from machines.world import ContractViolated, World
from model.judge import Violation

MOST_MOVES: Final = 6
"""Moves that a minimal case may have: a reader can hold so many."""
MOST_WITH_A_CRASH: Final = 7
"""The same where the engine crashes and recovers: two moves more, of which many a case can do without one."""
ROUNDS: Final = (
    *(("lifecycle", 50), ("concurrency", 30), ("definitions", 20), ("lifecycle", 100)),
    *(("recovery", 50), ("recovery", 100), ("service", 50), ("service", 100)),
)
"""Machines and how many cases of each, again and again, as far as they search for a mutant at all."""
_SEARCHED: Final = 60_000
"""Entries of history that making a case small may cost."""


@dataclass(frozen=True, slots=True)
class Catch:
    """What came of a hunt."""

    mutant: str
    cases: int
    cpu_seconds: float
    case: str | None = None
    """The minimal case, as text; None if the mutant got away."""
    moves: int = 0
    deviations: int = 0
    sentence: str = ""
    faults: tuple[str, ...] = ()
    """Why it is no good catch; none if it is one."""


class _Hunter(Searcher):
    """Searches for one mutant, and keeps the first case in which its invariant speaks."""

    def __init__(self, mutant: Mutant, seed: int) -> None:
        super().__init__(Plan(seed, target=target_name(mutant)))
        self.caught: Case | None = None
        self.others: dict[str, int] = {}
        """What other invariants said, and how often."""
        self._mutant = mutant

    def _look_into(self, report: Report, violation: Violation) -> Report:
        assert self._last is not None
        assert self._last.world is not None
        if speaks(self._mutant, self._last.world.judge.violations):
            self.caught = from_text(to_text(self._case(report.machine, violation)))
        else:
            self.others[violation.invariant] = self.others.get(violation.invariant, 0) + 1
        return report

    def _explain(self, report: Report, error: Exception) -> Report:
        name = type(error).__name__
        self.others[name] = self.others.get(name, 0) + 1
        return report


def speaks(mutant: Mutant, violations: Sequence[Violation]) -> bool:
    """Whether these are the mutant's invariant and clause."""
    return bool(violations) and violations[0].clause == mutant.clause and _among(mutant, violations)


def _among(mutant: Mutant, violations: Sequence[Violation]) -> bool:
    return any(violation.invariant == mutant.invariant for violation in violations)


def hunt(mutant: Mutant, seed: int, *, cpu_seconds: float = float("inf"), cases: int = 10**9) -> Catch:
    """Search for a mutant until it is well caught, or until so much was spent."""
    began = time.process_time()
    hunter = _Hunter(mutant, seed)
    best: Catch | None = None
    rounds = [each for each in ROUNDS if each[0] in mutant.machines]
    number = 0
    while hunter.cases < cases and time.process_time() - began < cpu_seconds:
        machine, examples = rounds[number % len(rounds)]
        chunk_seed = derive(seed, 0, number, f"{mutant.name}/{machine}")
        hunter.caught = None
        hunter.run(Chunk(machine, chunk_seed, examples, swarm=number % 4 == 3))  # noqa: PLR2004  # one in four
        number += 1
        if hunter.caught is not None:
            factory = hunter.factory_of(machine)
            small = minimise(hunter.caught, factory, budget=_SEARCHED)
            found = replace(examine(mutant, small, factory), cases=hunter.cases)
            if best is None or not found.faults or found.moves < best.moves:
                best = found
            if not found.faults:
                break
    if best is None:
        said = ", ".join(f"{name} ({count})" for name, count in hunter.others.items()) or "nothing"
        best = Catch(mutant.name, hunter.cases, 0.0, faults=(f"not caught; others that spoke: {said}",))
    return replace(best, cpu_seconds=time.process_time() - began)


def examine(mutant: Mutant, case: Case, factory: TargetFactory) -> Catch:
    """Carry out a mutant's minimal case once more, and say what is wrong with it as a catch."""
    world = World(factory, max_concurrent_steps=case.max_concurrent_steps)
    try:
        for line in from_text(to_text(case)).lines:
            world.play(line.move, line.tape)
        world.finish()
    except ContractViolated:
        pass
    finally:
        world.close()
    violations = world.judge.violations
    faults = []
    if not _among(mutant, violations):
        faults.append(f"{mutant.invariant} does not speak")
    if case.clause != mutant.clause:
        faults.append(f"violated is {case.clause}, expected {mutant.clause}")
    most = MOST_WITH_A_CRASH if any(isinstance(line.move, Crash) for line in case.lines) else MOST_MOVES
    if len(case.lines) > most:
        faults.append(f"{len(case.lines)} moves, expected {most} at most")
    if world.digest() != case.digest:
        faults.append("carried out again, it has another history")
    clean = carry_out(case.lines, load_target(mutant.clean), case.max_concurrent_steps)
    if clean.verdict is not None:
        faults.append(f"the clean engine breaks on it too: {clean.sentence}")
    sentence = next((each.sentence for each in violations if each.invariant == mutant.invariant), "")
    deviations = sum(len(played.deviations) for played in world.moves)
    return Catch(mutant.name, 0, 0.0, to_text(case), len(case.lines), deviations, sentence, tuple(faults))
