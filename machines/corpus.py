"""The corpus: cases that reached something new, to be varied; and what is new.

Rule 1: novelty is measured on the model, not on lines: pairs of moves with the phases they were played in; a step's
last few recorded events, how many actions ran by then, and whether it has sources; and what ``model.sometimes`` names.
Rule 2: what is known is never forgotten; what is kept is bounded. Who has to go is decided by what was kept and when,
never by chance or by time.
Rule 3: a corpus on disk is a folder of case files, one each, named by what the program is. Reading one plays nothing:
whoever drives plays what was read first, and so comes to know what it reaches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from machines.case import Case, CaseError, Line, load, save
from machines.fresh import NOTHING
from machines.moves import Move
from model.history import Entry, Recorded
from model.judge import Watching

if TYPE_CHECKING:
    from machines.world import World
    from model.facts import Facts

MOST: Final = 400
"""Cases that a corpus keeps."""
_TRAIL: Final = 3
_MANY: Final = 3
_NEWEST: Final = 40
"""Of those kept, how many count as new: half of all variations are of them."""
_HELD: Final = "a case of the corpus, in which the contract held"

Key: TypeAlias = tuple[object, ...]
"""Something that a case can reach."""


def told(key: Key) -> str:
    """It in words."""
    match key:
        case ("reached", name):
            return str(name)
        case ("moves", before, move):
            return f"{before}, then {move}"
        case (trail, running, dependent):
            assert isinstance(trail, tuple)
            steps = ", ".join(map(str, trail))
            return f"a step{' with sources' if dependent else ''}: {steps}, while {running} run"
        case _:
            return str(key)


class Novelty:
    """What one case reaches, measured on the model: the keys are in ``keys``."""

    __slots__ = ("_before", "_inner", "_trails", "keys")

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self._before = "nothing"
        self._trails: dict[tuple[str, str], tuple[str, ...]] = {}
        self._inner: Watching | None = None

    def attach(self, world: World) -> None:
        """Watch what the judge of a world is shown, beside whoever does so already."""
        self._inner = world.judge.watch
        world.judge.watch = self.look

    def played(self, world: World, move: Move) -> None:
        """A move is about to be played."""
        gate: str = getattr(move, "gate", "")
        execution = world.judge.facts.executions.get(getattr(move, "execution", "") or gate.partition("/")[0])
        name = type(move).__name__ + (f" in {execution.phase.name}" if execution is not None else "")
        self.keys["moves", self._before, name] = None
        self._before = name

    def look(self, facts: Facts, entry: Entry) -> None:
        """Take in an entry before it is folded."""
        if type(entry) is Recorded and (step := entry.event.get("step")) is not None:
            execution = facts.executions[entry.execution]
            place = entry.execution, step
            trail = self._trails[place] = (*self._trails.get(place, ())[1 - _TRAIL :], entry.event["type"])
            self.keys[trail, min(facts.live, _MANY), bool(execution.definition.steps[step].incoming)] = None
        if self._inner is not None:
            self._inner(facts, entry)


@dataclass(slots=True)
class Kept:
    """A case of the corpus."""

    lines: tuple[Line, ...]
    limit: int
    """How many steps ran at once, at most."""
    machine: str
    target: str
    news: int = 0
    """How many keys it was the first to reach."""
    varied: int = 0
    """How often it was varied since that led to anything new."""
    _name: str = ""

    @property
    def name(self) -> str:
        """What the program is, as the name of a file; found out once."""
        self._name = self._name or self._named()
        return self._name

    def _named(self) -> str:
        text = json.dumps([self.limit, [line.to_json() for line in self.lines]], sort_keys=True)
        return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def as_case(self) -> Case:
        """It as a case; nothing is claimed of its history, which belongs to one version of the engine."""
        return Case(
            *(self.lines, NOTHING, NOTHING, _HELD, "", self.target, self.machine), max_concurrent_steps=self.limit
        )


class Corpus:
    """Cases that reached something new, of one machine."""

    def __init__(self, read: Iterable[Kept] = (), most: int = MOST) -> None:
        self.unplayed = list(read)
        """What was read and not played yet."""
        self.kept: list[Kept] = []
        """Oldest first."""
        self.known: dict[Key, None] = {}
        self._most = most

    def news(self, keys: Iterable[Key]) -> list[Key]:
        """Those that no case has reached before; from now on one has."""
        fresh = [key for key in keys if key not in self.known]
        self.known.update(dict.fromkeys(fresh))
        return fresh

    def keep(self, case: Kept, parent: Kept | None = None) -> None:
        """Take a case in, and let one go if there are too many: the one that was varied most often in vain."""
        if parent is not None:
            parent.varied = 0
        self.kept.append(case)
        if len(self.kept) > self._most:
            worst = max(range(len(self.kept) - 1), key=lambda rank: (self.kept[rank].varied, -self.kept[rank].news))
            del self.kept[worst]

    def pick(self, chance: Random) -> Kept:
        """One to vary: half of the time a new one."""
        among: Sequence[Kept] = self.kept[-_NEWEST:] if chance.random() < 0.5 else self.kept  # noqa: PLR2004  # half
        chosen = chance.choice(among)
        chosen.varied += 1
        return chosen

    def save(self, folder: Path) -> list[Path]:
        """Write what is not there yet; several processes may do so at a time.

        Raises:
            CaseError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        new = [kept for kept in self.kept if not (folder / kept.name).exists()]
        return [save(kept.as_case(), folder / kept.name) for kept in new]


def read_corpus(folder: Path, machine: str, most: int = MOST) -> tuple[Corpus, list[str]]:
    """The corpus of a machine that a folder holds, by the names of its files; and what of it cannot be read."""
    read: list[Kept] = []
    faults: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            case = load(path)
        except CaseError as error:
            faults.append(str(error))
            continue
        if case.machine == machine:
            read.append(Kept(case.lines, case.max_concurrent_steps, machine, case.target))
    return Corpus(read[-most:], most), faults
