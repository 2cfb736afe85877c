"""What a case of the service reached, beside what the model tells: connections, and starts that were sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from machines.moves import Heed, Reconnect
from machines.reach import MADE, STARTED, Reach, goals
from model.facts import Facts
from model.history import Answered, Asked, Crashed, Dropped, Entry, Refused, ShutDown, Stalled, Subscribed

if TYPE_CHECKING:
    from machines.world import World

BROKEN: Final = "a connection broke that was read"
BROKEN_UNREAD: Final = "a connection broke with events that were not taken"
READ_ON: Final = "a subscriber that read no more read on, with events waiting"
DROPPED: Final = "a subscriber dropped for not reading"
IDLE: Final = "a subscriber that reads no more, and has nothing to read"
SENT_AGAIN: Final = "a start sent again once it was answered"
AT_ONCE: Final = "a start sent again while it was under way"
AFTER_A_CRASH: Final = "a start sent again after a crash"
RESTARTED: Final = "a restart under a connection"

SEEN_BY_A_WORLD: Final[Mapping[str, tuple[str, ...]]] = {
    BROKEN: ("N1",),
    BROKEN_UNREAD: ("N1", "N2"),
    READ_ON: ("N1", "N2"),
    DROPPED: ("N2",),
    IDLE: ("N2",),
    SENT_AGAIN: ("J6",),
    AT_ONCE: ("J6",),
    AFTER_A_CRASH: ("J6", "J3"),
    RESTARTED: ("N1", "J3"),
}
"""Situations of the service, and the clauses that they try."""

GOALS: Final[Mapping[str, float]] = {
    **goals((STARTED,), MADE, SEEN_BY_A_WORLD, of=("subscribers",)),
    BROKEN: 0.2,
    DROPPED: 0.05,
    SENT_AGAIN: 0.1,
}
"""What a full run must have reached: a share of its cases."""


class ServiceReach(Reach):
    """Counts what one case reaches, connections and keys included."""

    def __init__(self, names: frozenset[str] | None = None) -> None:
        super().__init__(names)
        self._world: World | None = None
        self._answered: dict[str, int] = {}
        """By key that was answered: how many crashes there had been."""
        self._under_way: dict[int, str] = {}
        """By start under way: its key."""
        self._crashes = 0

    def attach(self, world: World) -> None:
        """Watch what the judge of a world is shown, and the world."""
        self._world = world
        world.judge.watch = self.look

    def look(self, facts: Facts, entry: Entry) -> None:
        """Take in an entry."""
        match entry:
            case Subscribed():
                self._subscribed(facts, entry)
            case Stalled() if entry.subscriber not in facts.behind:
                self.found[IDLE] = None
            case Dropped():
                self.found[DROPPED] = None
            case Crashed() | ShutDown():
                if facts.subscriptions:
                    self.found[RESTARTED] = None
                self._crashes += 1
                self._under_way.clear()
            case Asked() if key := entry.arguments.get("key", ""):
                if key in self._under_way.values():
                    self.found[AT_ONCE] = None
                elif key in self._answered:
                    self.found[SENT_AGAIN if self._answered[key] == self._crashes else AFTER_A_CRASH] = None
                self._under_way[entry.ask] = key
            case Answered() | Refused():
                if key := self._under_way.pop(entry.ask, ""):
                    self._answered.setdefault(key, self._crashes)
            case _:
                pass
        self.watch(facts, entry)

    def _subscribed(self, facts: Facts, entry: Subscribed) -> None:
        """Somebody comes back, or comes."""
        before = facts.subscriptions.get(entry.subscriber)
        if before is None:
            return
        if before.patience is None:
            self.found[BROKEN] = None
        elif before.waiting is not None:
            assert self._world is not None
            match self._world.moves[-1].move:
                case Heed():
                    self.found[READ_ON] = None
                case Reconnect():
                    self.found[BROKEN_UNREAD] = None
                case _:
                    pass  # it was dropped, or the case is over
