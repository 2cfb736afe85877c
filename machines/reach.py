"""What a case reached: the measure against vacuity.

Rule 1: reach is counted on what the world and its judge saw, never on what a machine meant to do.
Rule 2: a name is counted at most once per case; so a count is a number of cases.
Rule 3: what is reached is declared: situations and transitions in `model.sometimes`, and here what only a world can
see. A goal is a share of all cases that must reach it; one without a floor must be reached in one case of a thousand.
Rule 4: a case is wasted if it came to none of its machine's purposes, or if Hypothesis cut it short before its half.
It cuts one case in ten short (a mutation of another that runs out of choices), most after 28 of 30 moves: what they did
is judged, and they end with a liveness phase as all others do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from machines.moves import (
    AddStep,
    Cancel,
    Connect,
    Elapse,
    Fail,
    Finish,
    Heed,
    Move,
    Pause,
    Reconnect,
    Recover,
    Resume,
    Run,
    Stall,
    Subscribe,
    Yield,
)
from model.history import Answered, Refused
from model.parts import Phase
from model.sometimes import SITUATIONS, TRANSITIONS, Watch

if TYPE_CHECKING:
    from machines.world import World

_AT_WORK: Final = (Phase.RUNNING, Phase.PAUSED, Phase.CANCELLING, Phase.ROLLING_BACK)

PAIRS: Final[Mapping[type[Move], tuple[Phase, ...]]] = {
    Finish: _AT_WORK,
    Fail: _AT_WORK,
    Yield: _AT_WORK,
    Pause: tuple(Phase),
    Resume: tuple(Phase),
    Cancel: tuple(Phase),
    Subscribe: tuple(Phase),
}
"""The phases of its execution in which a move can be played; a command that must be refused is a legal move."""


def pair(move: type[Move], phase: Phase) -> str:
    """The name of a move played in a phase."""
    return f"{move.__name__} in {phase.name}"


_PAIR_NAMES: Final = {move: {phase: pair(move, phase) for phase in phases} for move, phases in PAIRS.items()}
PAIR_NAMES: Final = tuple(name for names in _PAIR_NAMES.values() for name in names.values())

STARTED: Final = "an execution started"
THREE: Final = "three steps completed"
FLOORS: Final[Mapping[str, float]] = {
    STARTED: 0.80,
    THREE: 0.40,
    "two compensations rolled back": 0.08,
}
"""Shares of all cases that must reach something."""

SELDOM: Final = 0.001
"""The share of the cases of its machine that every other goal must be reached in."""
_HALF: Final = 15
"""Half the moves of a case."""
MOST_WASTE: Final = 0.10
"""The share of the cases that may be wasted."""

CUT_SHORT: Final = "cases cut short"
CUT_EARLY: Final = "cases cut short before their half"
IDLE: Final = "cases that came to nothing"
MOVES: Final = "moves"
MISFITS: Final = "moves that fit nothing"
REFUSED: Final = "commands refused"
TALLIES: Final = (CUT_SHORT, CUT_EARLY, IDLE, MOVES, MISFITS, REFUSED)
"""What is counted as often as it comes, to know what is wasted."""


def goals(*names: Iterable[str], of: Collection[str] = ()) -> Mapping[str, float]:
    """Goals by name, and the situations of some groups: with its floor what has one, and all else seldom."""
    declared = (name for name, situation in SITUATIONS.items() if situation.group in of)
    return {name: FLOORS.get(name, SELDOM) for each in (*names, declared) for name in each}


_OF_ONE_EXECUTION: Final = (
    *("order", "values", "slots", "subscribers", "failures", "rollback"),
    *("pause and resume", "cancellation", "refusals and races"),
)
NOT_MADE: Final = ("execution PENDING -> CANCELLING",)
"""Transitions that the contract allows and the built-in engine does not make: it starts before it hears a command."""
MADE: Final = tuple(name for name in TRANSITIONS if name not in NOT_MADE)

LIFECYCLE: Final = goals(FLOORS, MADE, PAIR_NAMES, of=(*_OF_ONE_EXECUTION, "retries and timeouts"))
CONCURRENCY: Final = goals(FLOORS, MADE, PAIR_NAMES, of=(*_OF_ONE_EXECUTION, "executions at once"))
DEFINITIONS: Final = goals((STARTED,), of=("shapes", "broken definitions"))


class Reach:
    """Counts what one case reaches, of all situations or of those of these names: the names are in ``found``."""

    def __init__(self, names: frozenset[str] | None = None) -> None:
        self.watch = Watch(names)
        self.found = self.watch.found
        self.tallies: Counter[str] = Counter()
        self._draft = self._played = 0

    def attach(self, world: World) -> None:
        """Watch what the judge of a world is shown."""
        world.judge.watch = self.watch

    def before(self, world: World, move: Move) -> None:
        """A move is about to be played."""
        if (names := _PAIR_NAMES.get(type(move))) is not None:
            gate: str = getattr(move, "gate", "")
            name: str = getattr(move, "execution", "") or gate.partition("/")[0]
            execution = world.judge.facts.executions.get(name)
            if execution is not None and (found := names.get(execution.phase)) is not None:
                self.found[found] = None
        self._draft = _size(world)
        if not fits(world, move):
            self.tallies[MISFITS] += 1

    def after(self, world: World, move: Move) -> None:
        """A move has been played."""
        self._played = len(world.history)
        if isinstance(move, (AddStep, Connect)) and _size(world) == self._draft:
            self.tallies[MISFITS] += 1

    def close(self, world: World, purposes: Collection[str], *, cut: bool) -> None:
        """The case is over. It was worth something if it came to one of these purposes."""
        self.tallies[MOVES] = len(world.moves)
        self.tallies[REFUSED] = sum(
            1
            for entry in world.history[: self._played]
            if type(entry) is Refused or (type(entry) is Answered and entry.answer is False)
        )
        early = cut and len(world.moves) < _HALF
        self.tallies[CUT_SHORT] = int(cut)
        self.tallies[CUT_EARLY] = int(early)
        self.tallies[IDLE] = int(not early and not any(name in self.found for name in purposes))


def _size(world: World) -> int:
    """How much the draft holds."""
    return sum(1 + len(step.get("depends_on", ())) for step in world.draft)


def fits(world: World, move: Move) -> bool:
    """Whether a move does anything, as far as that can be said before; what a command finds, the engine says."""
    match move:
        case Elapse() | AddStep() | Connect() | Recover():
            return True
        case _ if world.down:
            return False
        case Finish(name) | Fail(name):
            return any(gate.name == name and not gate.told for gate in world.gates)
        case Yield(name):
            return any(gate.name == name and not gate.told and gate.interrupted for gate in world.gates)
        case Run(None):
            return bool(world.draft)
        case Subscribe(execution):
            return execution in world.executions
        case Reconnect(execution):
            return world.callers.listening(execution)
        case Stall(execution) | Heed(execution):
            reads = world.callers.listening(execution) and not world.callers.stalled(execution)
            return reads is isinstance(move, Stall)
        case _:
            return True


def missed(counts: Mapping[str, int], cases: int, goals: Mapping[str, float]) -> list[str]:
    """The goals that so many cases have not met, as sentences; empty if all is well."""
    return [
        f"{_cited(name)}: {counts.get(name, 0) or 'never'}, and {needed:,} of {cases:,} cases must"
        for name, share in goals.items()
        if counts.get(name, 0) < (needed := max(int(share * cases), 1))
    ]


def too_wasteful(tallies: Mapping[str, int], cases: int) -> list[str]:
    """A sentence, if too many cases were worth nothing."""
    if wasted(tallies) < MOST_WASTE * cases:
        return []
    return [f"{wasted(tallies):,} of {cases:,} cases were wasted, and it must be less than {MOST_WASTE:.0%}"]


def _cited(name: str) -> str:
    return f"{name} ({', '.join(SITUATIONS[name].clauses)})" if name in SITUATIONS else name


def rarest(counts: Mapping[str, int], goals: Iterable[str], most: int = 10) -> list[str]:
    """The goals that were reached least often, rarest first."""
    return sorted(goals, key=lambda name: counts.get(name, 0))[:most]


def wasted(tallies: Mapping[str, int]) -> int:
    """How many cases were worth nothing."""
    return tallies.get(CUT_EARLY, 0) + tallies.get(IDLE, 0)
