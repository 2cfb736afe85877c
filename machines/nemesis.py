"""What goes wrong between an engine and its store: crashes at the boundaries of a commit, and faults of the store.

Rule 1: nothing here draws: a move arms it, and it strikes when the engine comes to the place.
Rule 2: a crash is the end of a process: it leaves by ``Death``, which no engine can catch and go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

Side: TypeAlias = Literal["before", "after"]
"""Of a commit: nothing of it is durable yet, or all of it is and nobody has been told."""

Fault: TypeAlias = Literal["busy", "full", "io", "readonly", "corrupt"]
Statement: TypeAlias = Literal["begin", "insert", "commit", "read"]
"""Where a store can fail: at any statement of a transaction, or of a query."""


class Death(BaseException):
    """The process of the engine ends here."""


class Nemesis:
    """Armed by moves, asked by the store of a target."""

    def __init__(self, die: Callable[[str], None], store_failed: Callable[[str | None, str], None]) -> None:
        self._die = die
        self.store_failed: Final = store_failed
        """To be told of each write that the store refused: whose, and why; and of each read: nobody's."""
        self.commits = 0
        """How many there were."""
        self.struck: list[tuple[Fault, Statement]] = []
        """The faults that came, and where."""
        self.crashes: dict[tuple[Side, int], bool] = {}
        """Those at a commit, by its number: whether it has come."""
        self._fault: tuple[Fault, Statement, int] | None = None

    @property
    def armed(self) -> bool:
        """Whether anything is still to come."""
        return self._fault is not None or not all(self.crashes.values())

    def arm_crash(self, side: Side, commits: int) -> None:
        """Crash before or after so many commits from now, counted from 1."""
        self.crashes[side, self.commits + commits] = False

    def arm_fault(self, fault: Fault, statement: Statement, times: int) -> None:
        """Fail the next statements of a kind, so many times."""
        self._fault = (fault, statement, times)

    def calm(self) -> None:
        """The store is well again."""
        self._fault = None

    def boundary(self, side: Side) -> None:
        """A commit is about to be made, or has just been.

        Raises:
            Death: the process ends here.
        """
        if side == "before":
            self.commits += 1
        if self.crashes.get((side, self.commits)) is False:
            self.crashes[side, self.commits] = True
            self._die(f"{side} a commit")
            raise Death

    def fault(self, statement: Statement) -> Fault | None:
        """How a statement that is about to be carried out fails, if it does."""
        if self._fault is None or self._fault[1] != statement:
            return None
        fault, _, times = self._fault
        self._fault = (fault, statement, times - 1) if times > 1 else None
        self.struck.append((fault, statement))
        return fault
