"""The engine-wide slots, and who gets the next one (C1-C3).

Rule 1: a slot is held from the grant until the action has really ended; who was granted one gives it back once.
Rule 2: tickets are drawn in the order in which steps become ready; the lowest ticket goes first, whichever
execution it belongs to, unless its own execution's limit holds it back. Then it keeps its ticket.
Rule 3: attempts that run again after a crash go first: their tickets are lower than all others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

_FIRST: Final = -(2**62)


class Lane:
    """One execution's place at the slots: its own limit, what it holds, and its steps that wait."""

    __slots__ = ("grant", "held", "limit", "waiting")

    def __init__(self, limit: int | None, grant: Callable[[int], None]) -> None:
        self.limit = limit
        self.grant = grant
        self.held = 0
        self.waiting: deque[tuple[int, int]] = deque()


class Slots:
    """A fixed number of slots for all executions of an engine."""

    def __init__(self, total: int) -> None:
        self.free = total
        self.closed = False
        """Whether nobody gets a slot any more."""
        self._tickets = count()
        self._first = count(_FIRST)
        self._heads: list[tuple[int, Lane]] = []
        """The first ticket of each lane that may be served; entries whose ticket has gone are passed over."""

    def enqueue(self, lane: Lane, step: int, *, first: bool = False) -> None:
        """The step is ready: it gets a ticket; ``first``: it is to run again, and its lane has no other tickets yet."""
        ticket = next(self._first if first else self._tickets)
        lane.waiting.append((ticket, step))
        if len(lane.waiting) == 1:
            heappush(self._heads, (ticket, lane))

    def forget(self, lane: Lane) -> None:
        """The lane's steps may not start any more: their tickets are void."""
        lane.waiting.clear()

    def hold(self, lane: Lane) -> None:
        """The same, but for attempts that are to run again: these are under way already."""
        waiting = lane.waiting
        while waiting and waiting[-1][0] >= 0:
            waiting.pop()

    def release(self, lane: Lane) -> None:
        """A slot comes back."""
        self.free += 1
        lane.held -= 1
        if lane.waiting:
            heappush(self._heads, (lane.waiting[0][0], lane))

    def dispatch(self) -> None:
        """Grant free slots for as long as there are takers."""
        if self.closed:
            return
        while self.free > 0 and self._heads:
            ticket, lane = heappop(self._heads)
            waiting = lane.waiting
            if not waiting or waiting[0][0] != ticket or lane.held == lane.limit:
                continue
            _, step = waiting.popleft()
            self.free -= 1
            lane.held += 1
            if waiting:
                heappush(self._heads, (waiting[0][0], lane))
            lane.grant(step)
