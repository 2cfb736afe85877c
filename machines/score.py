"""What trials say of a harness: who was found, how often, how soon, and whether that is enough.

Rule 1: a bug is solved when every trial finds it. One that was not found in time counts as infinitely late, and is
never left out: medians and shares are of all trials.
Rule 2: seconds are CPU seconds of one core, to the end of the case that shows the bug.
Rule 3: nothing here searches, prints or measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

Json = Any

SOLVED_WITHIN: Final = ((0.95, 60.0), (0.80, 5.0))
"""The floors: a share of the bugs, and the CPU seconds in which every trial finds them."""
FOUND_WITHIN: Final = 600.0
"""CPU seconds in which some trial must find each bug."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One search for one bug, with a seed of its own."""

    bug: str
    harness: str
    number: int
    cases: int
    cpu_seconds: float
    """To the detection; without one, all that was spent."""
    invariant: str = ""
    """Which one spoke; none if nothing was found."""
    clause: str = ""
    own: bool = False
    """Whether it was the invariant, and the clause, that the bug was planted against."""
    case: str | None = None
    """The case that shows the bug, as text."""
    others: tuple[str, ...] = ()
    """What happened beside that and is no detection, each with how often."""

    @property
    def found(self) -> bool:
        """Whether the bug was detected."""
        return bool(self.invariant)

    @property
    def seconds(self) -> float:
        """CPU seconds to the detection: infinitely many if there was none."""
        return self.cpu_seconds if self.found else math.inf

    def to_json(self) -> dict[str, Json]:
        """The trial without its case."""
        return {
            "number": self.number,
            "found": self.found,
            "cases": self.cases,
            "cpu_seconds": round(self.cpu_seconds, 3),
            "clause": self.clause,
            "invariant": self.invariant,
            "own": self.own,
            "others": list(self.others),
        }


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A case made small."""

    moves: int
    deviations: int
    clause: str
    invariant: str
    sentence: str
    program: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """All of it."""
        return {
            "moves": self.moves,
            "deviations": self.deviations,
            "clause": self.clause,
            "invariant": self.invariant,
            "sentence": self.sentence,
            "program": list(self.program),
        }


@dataclass(frozen=True, slots=True)
class Score:
    """One bug under one harness."""

    bug: str
    bug_class: str
    trials: tuple[Trial, ...]
    late: Trial | None = None
    """A longer search, made only if no trial found the bug."""
    shrunk: Shrunk | None = None

    @property
    def found(self) -> int:
        """How many trials found it."""
        return sum(trial.found for trial in self.trials)

    @property
    def own(self) -> int:
        """In how many the invariant spoke that it was planted against."""
        return sum(trial.own for trial in self.trials)

    @property
    def solved(self) -> bool:
        """Whether every trial found it."""
        return self.solved_within(math.inf)

    @property
    def slowest(self) -> float:
        """CPU seconds within which every trial found it."""
        return max(trial.seconds for trial in self.trials)

    def solved_within(self, seconds: float) -> bool:
        """Whether every trial found it in this time."""
        return self.found == len(self.trials) and self.slowest <= seconds

    @property
    def ever(self) -> Trial | None:
        """The first trial that found it, or the longer search, if any did."""
        tried = self.trials if self.late is None else (*self.trials, self.late)
        return next((trial for trial in tried if trial.found), None)

    @property
    def median_seconds(self) -> float | None:
        """CPU seconds to detection; None if half of the trials or more found nothing."""
        return _finite(median(trial.seconds for trial in self.trials))

    @property
    def median_cases(self) -> float | None:
        """Cases to detection, likewise."""
        return _finite(median(trial.cases if trial.found else math.inf for trial in self.trials))

    @property
    def invariant(self) -> str:
        """Which invariant speaks: the shrunk case's, or the first that did."""
        if self.shrunk is not None:
            return self.shrunk.invariant
        return self.ever.invariant if self.ever else ""

    def to_json(self) -> dict[str, Json]:
        """All of it, trial by trial."""
        return {
            "solved": self.solved,
            "found": self.found,
            "own": self.own,
            "median_cases": self.median_cases,
            "median_cpu_seconds": self.median_seconds,
            "invariant": self.invariant,
            "shrunk": None if self.shrunk is None else self.shrunk.to_json(),
            "trials": [trial.to_json() for trial in self.trials],
            "late": None if self.late is None else self.late.to_json(),
        }


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


@dataclass(frozen=True, slots=True)
class Floor:
    """A promise, and what it came to."""

    promise: str
    reached: str
    met: bool


def floors(scores: Sequence[Score], budget: float) -> list[Floor]:
    """Hold scores against the floors. A budget below a floor's time makes that floor harder, not softer."""
    kept = []
    for share, seconds in SOLVED_WITHIN:
        within = min(seconds, budget)
        solved = sum(score.solved_within(within) for score in scores)
        kept.append(
            Floor(
                f"{share:.0%} solved within {within:g} CPU-seconds",
                f"{solved} of {len(scores)}, {solved / len(scores):.1%}",
                solved >= share * len(scores),
            )
        )
    never = sum(score.ever is None or score.ever.seconds > FOUND_WITHIN for score in scores)
    promise = f"every one found by some trial within {FOUND_WITHIN / 60:g} CPU-minutes"
    return [*kept, Floor(promise, f"{len(scores) - never} of {len(scores)}", not never)]


def detected(trials: Iterable[Trial]) -> list[tuple[float, float]]:
    """The survival curve: after so many CPU seconds, this share of the trials had found their bug."""
    return steps([trial.seconds for trial in trials])


def solved(scores: Iterable[Score]) -> list[tuple[float, float]]:
    """The same of bugs that every trial had found."""
    return steps([score.slowest for score in scores])


def steps(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Where a share rises, and to what."""
    return [(when, rank / len(seconds)) for rank, when in enumerate(sorted(seconds), 1) if not math.isinf(when)]


@dataclass(frozen=True, slots=True)
class Row:
    """What a group of scores comes to."""

    name: str
    bugs: int
    solved: int
    ever: int
    """Bugs that any trial found, in the budget."""
    trials: int
    found: int
    median_seconds: float | None

    @classmethod
    def of(cls, name: str, scores: Sequence[Score]) -> Row:
        """Sum them up."""
        trials = [trial for score in scores for trial in score.trials]
        return cls(
            name,
            len(scores),
            sum(score.solved for score in scores),
            sum(score.found > 0 for score in scores),
            len(trials),
            sum(trial.found for trial in trials),
            _finite(median(trial.seconds for trial in trials)),
        )


def by_class(scores: Sequence[Score]) -> list[Row]:
    """A row for each class, by name."""
    classes: dict[str, list[Score]] = {}
    for score in scores:
        classes.setdefault(score.bug_class, []).append(score)
    return [Row.of(name, classes[name]) for name in sorted(classes)]


def by_harness(scores: Mapping[str, Sequence[Score]]) -> list[Row]:
    """A row for each harness, in the order given."""
    return [Row.of(name, found) for name, found in scores.items()]
