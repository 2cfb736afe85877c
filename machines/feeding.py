"""What either front end plays, fed to the corpus that the fast driver varies."""

from __future__ import annotations

from typing import Final

from machines.case import Line
from machines.corpus import Corpus, Kept, Key, Novelty
from machines.lifecycle import WorldMachine
from machines.moves import Move
from machines.tape import Tape

_WATCHED: Final = "_watched"
"""Where a machine keeps what is watched of it."""


def watched(base: type[WorldMachine]) -> type[WorldMachine]:
    """A machine that is watched for what is new on the model: made once, and kept by that machine alone.

    Both then go together, as far as we are concerned: Hypothesis remembers every class that it has asked for its rules.
    """
    known: type[WorldMachine] | None = vars(base).get(_WATCHED)
    if known is not None:
        return known

    class Watched(base):  # type: ignore[valid-type, misc]  # it is whichever machine was asked for
        noticed: Novelty

        def open(self, limit: int) -> None:
            super().open(limit)
            self.noticed = Novelty()
            self.noticed.attach(self.world)

        def play(self, move: Move, tape: Tape) -> None:
            self.noticed.played(self.world, move)
            super().play(move, tape)

    Watched.__name__ = base.__name__
    setattr(base, _WATCHED, Watched)
    return Watched


def feed(corpus: Corpus, machine: WorldMachine, name: str, target: str, parent: Kept | None = None) -> list[Key]:
    """Keep the case of a watched machine if it reached something new, and say what; ``parent`` is what it varies."""
    novelty, world = getattr(machine, "noticed", None), machine.world
    if novelty is None or world is None:
        return []
    news = corpus.news([*novelty.keys, *(("reached", found) for found in machine.reach.found)])
    if news and machine.violation is None and not machine.spoilt:
        lines = tuple(Line(played.move, played.tape) for played in world.moves)
        corpus.keep(Kept(lines, world.max_concurrent_steps, name, target, len(news)), parent)
    return news
