"""Every course that one workflow can take: what comes from outside in every order, with something that goes wrong.

Rule 1: a course is a row of choices: an action ends, a retry's wait is over, something goes wrong. Each comes when the
engine is at rest, or (once, if at all) while a write of the choice before it is still on its way.
Rule 2: an engine cannot be copied, so a course is played from its start in a world of its own; what else could have
come on its way is put by, as the beginning of another course.
Rule 3: two choices that commute make one course in either order, and only the first of them is played (sleep sets).
What commutes is said in ``Explorer.calm`` and ``Explorer.apart``, and nowhere else.
Rule 4: no chance, no clock, no unordered thing: the same workflow has the same courses every time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, get_args

from machines.case import HARNESS, Line
from machines.choices import Choice, Kind, Row, Scope
from machines.gates import Gate
from machines.moves import Cancel, Crash, Elapse, Fail, Finish, Move, Pause, Resume, Yield
from machines.nemesis import Side
from machines.shapes import NAMES, WAIT, Plan, reaches
from machines.target import TargetFactory
from machines.world import ContractViolated, World
from model.parts import Phase

ENOUGH: Final = 20
"""Violations after which no more courses of a workflow are played."""
LONGEST: Final = 60
"""Choices that a course may have; those of six steps that are tried twice have far fewer."""
X: Final = "x1"
_SOON: Final = WAIT + 0.5
"""Seconds: a timer that is due by then is no timeout that was just set."""
_ROLLS_BACK: Final = frozenset({"fail", "cancel", "timeout"})


class Endless(Exception):  # noqa: N818 - the name of what happened
    """A course goes on and on: nothing could be said to be all that can happen."""

    def __init__(self) -> None:
        super().__init__(f"after {LONGEST} choices there is still something to come")


@dataclass(frozen=True, slots=True)
class Broken:
    """A course on which the contract was broken."""

    clause: str
    invariant: str
    sentence: str
    lines: tuple[Line, ...]
    slots: int


@dataclass(slots=True)
class Tally:
    """What came of some courses."""

    courses: int = 0
    """Played to their end."""
    cut: int = 0
    """Given up on the way, because all that they could become is played elsewhere."""
    moves: int = 0
    kinds: Counter[tuple[Kind, ...]] = field(default_factory=Counter)
    """Courses by what went wrong in them."""
    violations: int = 0
    left: int = 0
    """Begun and not played, because there were violations enough."""
    smallest: Broken | None = None
    """Of the violations the one of fewest moves, and of those the first."""

    def add(self, other: Tally) -> None:
        """Take in what came of other courses."""
        self.courses += other.courses
        self.cut += other.cut
        self.moves += other.moves
        self.kinds += other.kinds
        self.violations += other.violations
        self.left += other.left
        if other.smallest is not None:
            self.keep(other.smallest)

    def keep(self, found: Broken) -> None:
        """Keep a violation, if it is smaller than the one that is kept."""
        if self.smallest is None or len(found.lines) < len(self.smallest.lines):
            self.smallest = found


@dataclass(frozen=True, slots=True)
class _Start:
    """The beginning of courses that are not played yet."""

    row: Row
    asleep: Row = ()
    """What need not come next: it would make a course that was begun before."""
    probe: bool = False
    """Whether it shows the last choice's writes only: what follows that choice as it is, is played elsewhere."""
    alone: bool = False
    """Whether nothing else could have come: then nothing can overtake the last choice's first write."""


class Course:
    """A course while it is played."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.row: Row = ()
        self.used: tuple[Kind, ...] = ()
        self.wrote = 0
        """Commits in the course of the last choice."""

    def take(self, choice: Choice) -> None:
        """Make a choice."""
        before = self.world.nemesis.commits
        for line in choice.lines():
            self.world.play(_own(line.move), line.tape)
        self.row += (choice,)
        self.used += choice.kinds
        self.wrote = self.world.nemesis.commits - before

    @property
    def phase(self) -> Phase | None:
        """Where the execution stands, as far as it is recorded."""
        execution = self.world.judge.facts.executions.get(X)
        return None if execution is None else execution.phase


class Explorer:
    """Plays every course of one workflow."""

    def __init__(
        self,
        plan: Plan,
        factory: TargetFactory,
        scope: Scope,
        *,
        uncut: bool = False,
        watch: Callable[[Course], None] | None = None,
    ) -> None:
        self.plan = plan
        self.tally = Tally()
        self._scope = scope
        self._factory = factory
        self._uncut = uncut
        """Whether every order is played, also those that are like another one."""
        self._watch = watch
        """Shown every course that came to its end."""
        self._reach = {f"{X}/{name}": found for name, found in zip(NAMES, reaches(plan.shape), strict=False)}
        self._starts: list[_Start] = []

    def explore(self) -> Tally:
        """Play them all."""
        self._starts = [_Start((Choice(self.plan.run()),))]
        while self._starts and self.tally.violations < ENOUGH:
            self._follow(self._starts.pop())
        self.tally.left = len(self._starts)
        return self.tally

    def _follow(self, start: _Start) -> None:
        """Play the first of the courses that begin so."""
        world = World(self._factory, max_concurrent_steps=self.plan.slots)
        try:
            course = Course(world)
            for choice in start.row:
                course.take(choice)
            self._vary(course, start)
            if not start.probe and self._go_on(course, start.asleep):
                world.finish()
                self._count(course)
        except ContractViolated as found:
            self._note(world, found.violation.clause, found.violation.invariant, found.violation.sentence)
        except Exception as error:  # noqa: BLE001  # it is told, not lost
            self._note(world, HARNESS, type(error).__name__, str(error))
        finally:
            self.tally.moves += len(world.moves)
            world.close()

    def _count(self, course: Course) -> None:
        self.tally.courses += 1
        self.tally.kinds[course.used] += 1
        if self._watch is not None:
            self._watch(course)

    def _note(self, world: World, clause: str, invariant: str, sentence: str) -> None:
        self.tally.violations += 1
        lines = tuple(Line(played.move, played.tape) for played in world.moves)
        self.tally.keep(Broken(clause, invariant, sentence, lines, self.plan.slots))

    def _go_on(self, course: Course, asleep: Row) -> bool:
        """Make the first choice again and again, and put the others by. Returns whether the course came to its end."""
        while True:
            choices = sorted(self._choices(course), key=lambda choice: bool(choice.kinds))
            starts = list(self._starts_from(course, choices, asleep))
            if self._is_over(course, choices):
                self._put_by(starts)
                return True
            if not starts or starts[0].probe:
                self._put_by(starts)
                self.tally.cut += 1
                return False
            self._put_by(starts[1:])
            asleep = starts[0].asleep
            course.take(starts[0].row[-1])
            self._vary(course, starts[0])

    def _put_by(self, starts: Sequence[_Start]) -> None:
        self._starts += reversed(starts)

    def _is_over(self, course: Course, choices: Sequence[Choice]) -> bool:
        """Whether nothing more must come; a write is late only if something overtakes it."""
        if len(course.row) > LONGEST:
            raise Endless
        return not course.row[-1].late and all(choice.kinds for choice in choices)

    def _starts_from(self, course: Course, choices: Sequence[Choice], asleep: Row) -> Iterator[_Start]:
        """What can come next, each with what need not come after it; then what need not come, for its writes."""
        calm = not self._uncut and self.calm(course)
        awake = [choice for choice in choices if choice not in asleep]
        for rank, choice in enumerate(awake):
            before = (*asleep, *awake[:rank]) if calm else ()
            still = tuple(other for other in before if self.apart(other, choice))
            yield _Start((*course.row, choice), still, alone=self._alone(course, choice, choices))
        if not {"crash", "late"}.isdisjoint(self._left(course)):
            for choice in asleep:
                yield _Start((*course.row, choice), probe=True, alone=self._alone(course, choice, choices))

    def _alone(self, course: Course, choice: Choice, choices: Sequence[Choice]) -> bool:
        left = self._scope.left((*course.used, *choice.kinds))
        return not any(choice.leaves(other, left) for other in choices)

    def _left(self, course: Course) -> tuple[Kind, ...]:
        return self._scope.left(course.used)

    # What can come

    def _choices(self, course: Course) -> Iterator[Choice]:
        """What can come next from outside, each as it is: no crash in the midst of it, and no late write."""
        left, loop = self._left(course), course.world.loop
        yield from self._ends(course.world.gates, left)
        due = loop.next_timer()
        if due is not None and due - loop.time() <= _SOON:
            yield Choice(Elapse())
        elif due is not None and "timeout" in left:
            yield Choice(Elapse(), "timeout")
        if course.phase is Phase.PAUSED:
            yield Choice(Resume(X))
        if "pause" in left:
            yield Choice(Pause(X), "pause")
        if "cancel" in left:
            yield Choice(Cancel(X), "cancel")
        if "crash" in left and not loop.in_flight:
            yield from self._crashes(Choice(Crash(), "crash"))

    def _ends(self, gates: Sequence[Gate], left: Sequence[Kind]) -> Iterator[Choice]:
        """How actions can end."""
        for gate in gates:
            yield Choice(Finish(gate.name, {"n": NAMES.index(gate.call.step) + 1}))
            if gate.interrupted:
                yield Choice(Yield(gate.name))
            elif "fail" in left:
                yield Choice(Fail(gate.name), "fail")
                if self.plan.policies.condition:
                    yield Choice(Finish(gate.name, {"n": 0}), "fail")

    def _vary(self, course: Course, start: _Start) -> None:
        """Put by what else could have befallen the last choice: a crash around each of its commits, and late writes."""
        *before, last = course.row
        if last.crash or last.late or isinstance(last.move, Crash):
            return
        left = self._left(course)
        varied: list[Choice] = []
        for commit in range(1, course.wrote + 1):
            if "crash" in left:
                for side in get_args(Side):
                    varied += self._crashes(replace(last, crash=(side, commit)))
            if "late" in left and not (start.alone and commit == 1):
                varied.append(replace(last, late=commit))
        self._put_by([_Start((*before, choice)) for choice in varied])

    def _crashes(self, choice: Choice) -> Iterator[Choice]:
        """A crash, and the same with a long time until the recovery, where there is anything to be late for."""
        yield choice
        if self.plan.policies.lasting:
            yield replace(choice, away=True)

    # What makes no difference

    def calm(self, course: Course) -> bool:
        """Whether it makes no difference in which order actions end that are apart.

        It would where a slot is waited for, where a rollback will ask for the order, where actions end that were
        cancelled, and where a tick more or less decides between an end and a timer.
        """
        world, left = course.world, self._left(course)
        due = world.loop.next_timer()
        return (
            self.plan.slots >= len(self.plan.shape)
            and course.phase in (Phase.RUNNING, Phase.PAUSED)
            and not world.loop.in_flight
            and not any(gate.interrupted for gate in world.gates)
            and (due is None or due - world.loop.time() > _SOON)
            and not (self.plan.policies.undone and _ROLLS_BACK.intersection(left))
        )

    def apart(self, one: Choice, other: Choice) -> bool:
        """Whether these are the ends of two actions, and no step comes after both of them."""
        reached = [
            self._reach.get(choice.move.gate)
            for choice in (one, other)
            if isinstance(choice.move, Finish) and not choice.kinds
        ]
        match reached:
            case [frozenset() as by_one, frozenset() as by_other]:
                return by_one.isdisjoint(by_other)
            case _:
                return False


def _own(move: Move) -> Move:
    """A move that an engine may spoil what it carries of."""
    return replace(move, output={**move.output}) if isinstance(move, Finish) else move
