"""A case made small: fewer moves, plainer tapes, a smaller workflow, and still the same violation.

Rule 1: it works on the case as data, so it serves every source of cases, and asks nothing but "still violated so?".
Rule 2: a program is tried if it is plainer than the best so far (``machines.plainness``), so the search ends; what it
may cost is bounded in entries of history, not in seconds, so the same case always becomes the same small one.
Rule 3: what is left is 1-minimal: no part of it (``machines.parts``) can go, and the same be violated. Where the bound
was hit before that was known, the case says so.
Rule 4: the clause stays the same, always. The invariant may become another one only in a single step, of a case that
is small already, in which no move goes but the last one for another: anywhere else another bug might be found.
Rule 5: whether a definition is valid is said by whoever made it. One that was changed must be what its case says that
it is (``machines.soundness``).
Rule 6: what cannot be minimised comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final, TypeAlias

from machines.case import HARNESS, Case, Course, Line, carry_out, reduce_tapes, settled, target_of
from machines.inserting import ended_otherwise, others
from machines.moves import AddStep, Convert, Move, Run
from machines.parts import Part, names_of, parts, renamed, replaced, without_moves
from machines.perturbing import in_any_order, perturbed
from machines.plainness import weigh
from machines.restating import halves, undrafted
from machines.rewriting import rewritten
from machines.soundness import as_it_says
from machines.tape import PLAIN
from machines.target import TargetFactory

Json: TypeAlias = Any
Programs: TypeAlias = Callable[[], Iterable[Sequence[Line]]]
Verdict: TypeAlias = tuple[str, str] | None

BUDGET: Final = 1_400_000
"""Entries of history that a search may make: some twenty seconds, where most need less than four."""
UNFINISHED: Final = "not_minimal"
"""Stands in a case whose search ended at its bound: the number of entries that it was allowed."""
_BASE: Final = 30
"""What carrying out a program costs before anything happens, in entries."""
_RESERVE: Final = 0.1
"""The share of the budget that is kept for taking away."""
_DISTURBANCES: Final = 40
"""How often what nothing can be taken from is disturbed in vain, before it is taken for the plainest."""
_SIDE_BY_SIDE: Final = 2
"""Slots with which two steps run at once."""
_MANY: Final = 1000
"""Moves of which it is kept whether they are sound."""
_SIZES: Final = 9
"""Of a weight, what counts moves and their parts."""


def minimise(case: Case, factory: TargetFactory | None = None, *, budget: int = BUDGET) -> Case:
    """Find a smaller case that violates the same clause of the contract."""
    factory = factory or target_of(case)
    case = reduce_tapes(case, factory)
    search = _Search(case, factory, budget)
    if search.course is None:
        return case
    search.run()
    extra = {key: value for key, value in case.extra.items() if key != UNFINISHED}
    extra |= {UNFINISHED: budget} if search.left <= 0 else {}
    clause, invariant = search.goal
    found = replace(case, clause=clause, invariant=invariant, max_concurrent_steps=search.limit, extra=extra)
    return reduce_tapes(settled(found, search.course, reorder_only=False), factory)


def can_go(case: Case, factory: TargetFactory | None = None) -> Iterator[Part]:
    """The parts of a case that can go, each alone, and the same be violated (rule 4): none if it is 1-minimal."""
    search = _Search(case, factory or target_of(case), 0)
    for part in parts(case.lines, search.names) if search.course else ():
        if search.shows(part.lines, search.limit, loosely=part.kind != "move") is not None:
            yield part


class _Search:
    """The best program so far, and what was spent on it."""

    def __init__(self, case: Case, factory: TargetFactory, budget: int) -> None:
        self.goal = (case.clause, case.invariant)
        self.factory = factory
        self.budget = self.left = budget
        self.limit = case.max_concurrent_steps
        self._given = {id(line.move) for line in case.lines}
        self._tried: dict[str, Verdict] = {}
        """What came of each program."""
        self._asked: dict[str, tuple[int, ...]] = {}
        """How many latencies its moves asked for."""
        self._sounded: dict[int, tuple[Move, Move | None]] = {}
        self._chance = Random(0)  # the same case always becomes the same small one
        course = carry_out(case.lines, factory, self.limit)
        self.course = course if course.verdict == self.goal else None
        self.lines = course.lines if self.course else case.lines
        self.weight = weigh(self.lines, self.limit)

    @property
    def names(self) -> tuple[str, ...]:
        """The executions of the best program."""
        return self.course.executions if self.course else ()

    def run(self) -> None:
        """Take away whatever can go; then look for plainer words, and for another program; and again."""
        before = None
        while before != self.weight:
            before = self.weight
            self._shrink()
            if not (self._rewrite() or self._jump() or self._disturb()):
                self._look_close_by()

    def _look_close_by(self) -> None:
        """Try what is so close that what it violates is this bug's doing, whichever invariant tells it.

        A part that is no move goes; or the same moves stand there in other words; or it ends with another one.
        """
        self._each(self._without_what_moves_carry, loosely=True)
        if not self.goal[0].startswith("D"):
            self._each(self._with_the_same_moves, loosely=True)
            self._each(self._ended_otherwise, loosely=True)

    def _without_what_moves_carry(self) -> Iterator[Sequence[Line]]:
        return (part.lines for part in parts(self.lines, self.names) if part.kind != "move")

    def _with_the_same_moves(self) -> Iterator[Sequence[Line]]:
        return (lines for lines in self._in_other_words() if len(lines) == len(self.lines))

    def _ended_otherwise(self) -> Iterator[Sequence[Line]]:
        return ended_otherwise(tuple(self.lines), self.names)

    # Trying

    def attempt(self, lines: Sequence[Line], limit: int | None = None, *, loosely: bool = False) -> bool:
        """Try a program; if it is plainer and violated in the same way, it is the best from now on."""
        limit = self.limit if limit is None else limit
        if self.left <= 0 or weigh(lines, limit) >= self.weight:
            return False
        if (course := self.shows(lines, limit, loosely=loosely)) is None:
            return False
        self._take(course, limit)
        return True

    def _take(self, course: Course, limit: int) -> None:
        assert course.verdict is not None
        self.course, self.lines, self.limit, self.goal = course, course.lines, limit, course.verdict
        self.weight = weigh(self.lines, limit)

    def shows(self, lines: Sequence[Line], limit: int, *, loosely: bool) -> Course | None:
        """What comes of a program, if it is plainer, sound, and violated in the same way."""
        sound = self._sound(lines)
        if sound is None or weigh(sound, limit) >= self.weight:
            return None
        return self._course_of(sound, limit, loosely=loosely)

    def _course_of(self, lines: Sequence[Line], limit: int, *, loosely: bool) -> Course | None:
        """What comes of a program, if the same is violated; one of which nothing came is not carried out again."""
        key = _key(lines, limit)
        if key in self._tried and not self._is_the_same(self._tried[key], loosely=loosely):
            return None
        if self._is_another(lines, limit):
            return None
        course = carry_out(lines, self.factory, limit)
        self.left -= course.entries + _BASE
        self._tried[key], self._asked[key] = course.verdict, course.asked
        return course if self._is_the_same(course.verdict, loosely=loosely) else None

    def _is_another(self, lines: Sequence[Line], limit: int) -> bool:
        """Whether a program is one that was carried out already, but for a last latency that nobody asks for."""
        late = next((index for index in reversed(range(len(lines))) if any(lines[index].tape.latencies)), None)
        if late is None:
            return False
        tape = lines[late].tape
        rest = tape.latencies.rstrip(b"\0")[:-1]
        plainer = replace(lines[late], tape=replace(tape, latencies=rest.rstrip(b"\0")))
        asked = self._asked.get(_key(replaced(lines, late, plainer), limit), ())
        return late < len(asked) and asked[late] <= len(rest)

    def _is_the_same(self, verdict: Verdict, *, loosely: bool) -> bool:
        if loosely and verdict is not None and self.goal[0] != HARNESS:
            return verdict[0] == self.goal[0]
        return verdict == self.goal

    def _sound(self, lines: Sequence[Line]) -> Sequence[Line] | None:
        """The program with its definitions' faults where they are now; None if one is not what it says it is."""
        made = []
        kept = self._given | {id(line.move) for line in self.lines}
        for line in lines:
            if id(line.move) in kept:
                made.append(line)
            elif isinstance(line.move, AddStep) and self.goal[0].startswith("D"):
                return None  # of a draft nobody knows whether it is valid, until it is run
            elif isinstance(line.move, Run | Convert):
                if (move := self._as_it_says(line.move)) is None:
                    return None
                made.append(line if move is line.move else replace(line, move=move))
            else:
                made.append(line)
        return made

    def _as_it_says(self, move: Move) -> Move | None:
        """The same, asked once for each move: most programs share them with others."""
        known = self._sounded.get(id(move))
        if known is None or known[0] is not move:
            if len(self._sounded) >= _MANY:
                self._sounded.clear()
            known = self._sounded[id(move)] = move, as_it_says(move)
        return known[1]

    def _each(self, programs: Programs, *, limit: int | None = None, loosely: bool = False) -> bool:
        """Try programs; after a success go on at the same place, with those of the new one. Whether there was one."""
        before, start = self.weight, 0
        while self.left > 0:
            for rank, lines in enumerate(programs()):
                if rank >= start and self.attempt(lines, limit, loosely=loosely):
                    start = rank
                    break
            else:
                break
        return self.weight != before

    # Other programs

    def _rewrite(self) -> bool:
        return self._affordably(
            lambda: any(self._each(self._in_other_words, limit=limit) for limit in sorted({self.limit, 1}))
        )

    def _in_other_words(self) -> Iterator[Sequence[Line]]:
        return rewritten(tuple(self.lines), self.names)

    def _jump(self) -> bool:
        programs = others(self.lines, self.names, definitions=self.goal[0].startswith("D"))
        return self._affordably(lambda: any(map(self._attempt_side_by_side, programs)))

    def _attempt_side_by_side(self, lines: Sequence[Line]) -> bool:
        """Try a program; one that has no fewer steps also with slots for two, one with fewer of them with one slot.

        A single step takes one slot, however many there are.
        """
        if self.attempt(lines) or (self.limit > 1 and _steps(lines) < _steps(self.lines) and self.attempt(lines, 1)):
            return True
        more = self.limit < _SIDE_BY_SIDE and _steps(lines) != 1 and _steps(lines) >= _steps(self.lines)
        return more and self.attempt(lines, _SIDE_BY_SIDE)

    def _disturb(self) -> bool:
        """Put plain things in at random, take away in any order, and keep what is plainer than the best."""
        if self.goal[0].startswith("D"):
            return False  # which definitions are refused is a matter of tables, and was tried
        return self._affordably(lambda: any(self._disturbed() for _ in range(_DISTURBANCES)))

    def _disturbed(self) -> bool:
        best, own = self.course, self.limit
        limit = self._chance.choice((own, max(own, _SIDE_BY_SIDE)))
        assert best is not None
        sound = self._sound(perturbed(tuple(self.lines), self.names, self._chance))
        if sound is None or (course := self._course_of(sound, limit, loosely=False)) is None:
            return False
        weight = self.weight
        self._take(course, limit)
        self._each(lambda: in_any_order(tuple(self.lines), self.names, self._chance))
        self._shrink()
        if self.weight[:_SIZES] <= weight[:_SIZES]:
            self._each(self._in_other_words)
        if self.weight < weight:
            return True
        self._take(best, own)
        return False

    def _affordably(self, tried: Callable[[], bool]) -> bool:
        """Try programs, and leave enough of the budget to take away what can go."""
        reserve = int(self.budget * _RESERVE)
        self.left -= reserve
        try:
            return self.left > 0 and tried()
        finally:
            self.left += reserve

    # Taking away

    def _shrink(self) -> None:
        """Take away until nothing can go."""
        before = None
        while before != self.weight:
            before = self.weight
            self._shorten()
            self._isolate()
            self._flatten()
            self._simplify()

    def _shorten(self) -> None:
        """Leave out moves, many at a time while that works."""
        size = len(self.lines)
        while size:
            end = len(self.lines)
            while end > 0:
                start = max(end - size, 0)
                self.attempt(without_moves(self.lines, range(start, end), self.names))
                end = min(start, len(self.lines))
            size //= 2
        for index in reversed(range(len(self.lines))):
            if index < len(self.lines) and (lines := undrafted(self.lines, index)) is not None:
                self.attempt(lines)

    def _isolate(self) -> None:
        """Leave one execution alone, if one is enough: whichever run it came of, and whatever it was called.

        A start that was long on its way has its name from when it arrived, so runs and names cannot be told to belong.
        """
        runs = [index for index, line in enumerate(self.lines) if isinstance(line.move, Run)]
        names = self.names
        if len(runs) < 2:  # noqa: PLR2004  # nothing to leave out
            return
        for run in runs:
            for name in names:
                for first in dict.fromkeys((names[0], min(names))):
                    if self._alone(run, name, first):
                        return

    def _alone(self, run: int, name: str, first: str) -> bool:
        """Try the program of one run and of what is done to one execution."""
        own = [
            renamed(line, {name: first})
            for index, line in enumerate(self.lines)
            if index == run or not (isinstance(line.move, Run) or (_subject(line.move) or name) != name)
        ]
        plain = [replace(line, tape=PLAIN) if isinstance(line.move, Run) else line for line in own]
        return self.attempt(own) or self.attempt(plain)

    def _flatten(self) -> None:
        """Take deviations out of the tapes, many at a time."""
        if any(line.tape != PLAIN for line in self.lines):
            self.attempt([replace(line, tape=PLAIN) for line in self.lines])
            for track in ("order", "latencies"):
                self.attempt([replace(line, tape=replace(line.tape, **{track: b""})) for line in self.lines])
        for index, line in enumerate(self.lines):
            self.attempt(replaced(self.lines, index, replace(line, tape=PLAIN)))

    def _simplify(self) -> None:
        """Take away steps, many at a time, and every single part."""
        for limit in range(1, self.limit):
            if self.attempt(self.lines, limit):
                break
        for index in range(len(self.lines)):
            self._each(lambda: self._with_fewer_steps(index))  # noqa: B023  # it is done with before the next one
        self._each(lambda: (part.lines for part in parts(self.lines, self.names)))

    def _with_fewer_steps(self, index: int) -> Iterator[Sequence[Line]]:
        for line in self.lines[index : index + 1]:  # it may be shorter by now: what follows a violation is left out
            yield from (replaced(self.lines, index, replace(line, move=move)) for move in halves(line.move))


def _key(lines: Sequence[Line], limit: int) -> str:
    return json.dumps([limit, *(line.to_json() for line in lines)])


def _steps(lines: Sequence[Line]) -> int:
    """How many steps the workflows of a program have."""
    return sum(len(names_of(line.move.workflow)) for line in lines if isinstance(line.move, Run))


def _subject(move: Move) -> str:
    """The execution that a move is about, if it is about one."""
    gate: str = getattr(move, "gate", "")
    execution: str = getattr(move, "execution", "") or gate.partition("/")[0]
    return execution
