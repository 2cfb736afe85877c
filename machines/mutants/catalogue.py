"""The catalogue: what is known of each planted bug beside its edit: its class, and a program that triggers it.

Rule 1: a witness is a minimal case that a hunt has come back with (``lockstep canary --keep-witnesses``); nobody types
one. So the catalogue follows the engine.
Rule 2: how deep a bug is, whether it needs a race and whether it needs a crash is read off its witness.
Rule 3: a witness is replaced by one that says more: the old one does not hold any more, or the new one needs no race
where the old one did, fewer moves, or fewer deviations. That a bug needs a race is a claim; no search could prove it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from machines.case import Case, carry_out, from_text, load, save
from machines.moves import Crash
from machines.mutants import CLASSES, MUTANTS, Mutant
from machines.registry import load_target
from machines.tape import PLAIN

WITNESSES: Final = Path(__file__).parent / "witnesses"


@dataclass(frozen=True, slots=True)
class Bug:
    """A planted bug, as the catalogue lists it."""

    mutant: Mutant
    witness: Case

    @property
    def bug_class(self) -> str:
        """What kind of bug it is."""
        return CLASSES[self.mutant.name]

    @property
    def depth(self) -> int:
        """How many moves it takes."""
        return len(self.witness.lines)

    @property
    def race(self) -> bool:
        """Whether it takes a certain interleaving: deviations of the tape that cannot go."""
        return any(line.tape != PLAIN for line in self.witness.lines)

    @property
    def crash(self) -> bool:
        """Whether it takes a crash."""
        return any(isinstance(line.move, Crash) for line in self.witness.lines)


def place(name: str, directory: Path = WITNESSES) -> Path:
    """Where the witness of a bug is."""
    return directory / f"{name}.json"


def catalogue(directory: Path = WITNESSES) -> Iterator[Bug]:
    """Every bug that has a witness, class by class.

    Raises:
        CaseError: a witness is damaged.
    """
    for name, mutant in MUTANTS.items():
        if (path := place(name, directory)).exists():
            yield Bug(mutant, load(path))


def doubts(bug: Bug) -> Iterator[str]:
    """What is wrong with a witness, as sentences."""
    lines, slots = bug.witness.lines, bug.witness.max_concurrent_steps
    factory = bug.mutant.plant()
    if bug.witness.clause != bug.mutant.clause:
        yield f"it is a witness against {bug.witness.clause}, and the bug is one against {bug.mutant.clause}"
    course = carry_out(lines, factory, slots)
    if course.verdict != (bug.witness.clause, bug.witness.invariant):
        yield f"with the bug, {bug.witness.invariant} must speak: {course.verdict}, {course.sentence}"
    clean = carry_out(lines, load_target(bug.mutant.clean), slots)
    if clean.verdict is not None:
        yield f"without the bug it must pass: {clean.verdict}, {clean.sentence}"
    if bug.race:
        plain = [type(line)(line.move, PLAIN, line.extra) for line in lines]
        if carry_out(plain, factory, slots).verdict == course.verdict:
            yield "its deviations can go"


def keep(catches: Iterable[tuple[str, str]], directory: Path = WITNESSES) -> list[str]:
    """Keep the minimal cases (by bug, as text) that are better witnesses than those there. Returns whose they are."""
    directory.mkdir(exist_ok=True)
    kept = []
    for name, text in catches:
        mutant, path = MUTANTS[name], place(name, directory)
        new = Bug(mutant, from_text(text))
        if path.exists():
            old = Bug(mutant, load(path))
            if _cost(old) <= _cost(new) and not any(doubts(old)):
                continue
        save(new.witness, path)
        kept.append(name)
    return kept


def _cost(bug: Bug) -> tuple[int, ...]:
    """What it takes to trigger a bug; the less, the better is its witness."""
    lines = bug.witness.lines
    return bug.race, len(lines), bug.witness.deviations, sum(len(str(line.to_json())) for line in lines)
