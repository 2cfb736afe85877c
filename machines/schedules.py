"""Schedules: who says how long outside things take in a case, and which ready callback runs next.

Rule 1: a schedule makes tapes and nothing else; what they mean is said in ``machines.tape``.
Rule 2: *uniform* draws every tape as the rules declare it: each outside thing of a move is as likely late as any.
Rule 3: *pct* is probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010) over latencies: a move is a thread
and an outside thing of it a step of that thread. All moves have the highest priority, which is to take no time, but
one that is picked among all; and at so many change points, picked among all steps of the case, one step falls behind.
How far behind is one of ``SIZES``, picked anew each time. Nothing is ever out of turn: asyncio promises an order.
Rule 4: *both* picks one of the two for each case (swarm over schedules).
"""

from __future__ import annotations

import math
from random import Random
from typing import Final, Literal, TypeAlias, get_args

from machines.chance import draw
from machines.strategies import TAPES
from machines.tape import LATENCIES, PLAIN, TICK, Tape

Schedule: TypeAlias = Literal["uniform", "pct", "both"]
SCHEDULES: Final[tuple[Schedule, ...]] = get_args(Schedule)

SIZES: Final = tuple(LATENCIES.index(seconds) for seconds in dict.fromkeys(LATENCIES) if seconds >= TICK / 2)
"""A byte for each latency that anything else can tell from none: half a tick and more."""
THINGS: Final = 4
"""Outside things of a move that a change point is put among; of a move that has more, the rest take no time."""
DEPTH: Final = 2
"""Most constraints on the order that a case of *pct* is made for: one by priority, the others by change points."""


class Uniform:
    """Each tape as the rules declare it."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def tape(self) -> Tape:
        """The next move's."""
        return draw(TAPES, self._chance)  # type: ignore[no-any-return]  # as declared


class Pct:
    """One move of low priority, and change points."""

    def __init__(self, chance: Random, moves: int, depth: int = DEPTH) -> None:
        self._low = chance.randrange(moves)
        self._tapes: dict[int, bytearray] = {self._low: bytearray([chance.choice(SIZES)] * THINGS)}
        self._move = -1
        for _ in range(depth - 1):
            move, thing = divmod(chance.randrange(moves * THINGS), THINGS)
            self._tapes.setdefault(move, bytearray(THINGS))[thing] = chance.choice(SIZES)

    def tape(self) -> Tape:
        """The next move's."""
        self._move += 1
        late = self._tapes.get(self._move)
        return PLAIN if late is None else Tape(latencies=bytes(late).rstrip(b"\0"))


def schedule_of(name: Schedule, chance: Random, moves: int) -> Uniform | Pct:
    """The schedule of a case of so many moves."""
    pct = name == "pct" or (name == "both" and chance.random() < 0.5)  # noqa: PLR2004  # as often as not
    return Pct(chance, moves) if pct else Uniform(chance)


def missed(cases: int, moves: int, depth: int = DEPTH) -> float:
    """How likely so many cases of *pct* miss a bug of a depth that their moves can show, at most.

    A bug has depth d if the moves show it as soon as one move and d - 1 outside things are late, each by its own size
    of ``SIZES`` (or any of several). A case hits the move once in ``moves``, a thing once in ``moves * THINGS`` and a
    size once in so many as there are; all this whatever the other d - 2 points are.
    """
    steps = moves * THINGS
    hit = 1 / (moves * steps ** (depth - 1) * len(SIZES) ** depth)
    return float((1 - hit) ** cases)


def guarantee(cases: int, moves: int, depth: int = DEPTH) -> str:
    """The same in words, rounded up."""
    p = math.ceil(missed(cases, moves, depth) * 1000) / 1000
    return f"a bug of depth {depth} in cases like these is missed with p <= {p:g}"
