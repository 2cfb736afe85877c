"""What a crash, a store that fails and a recovery do to what is known.

Rule 1: what was recorded stays; what only the engine knew is gone.
Rule 2: an execution that nobody is known to drive is adrift. Nothing is owed of it until it is taken up again.
Rule 3: an attempt under way that lost its engine is as if it had not begun: it runs again, or what stopped it has
ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.history import Crashed, Json, ShutDown, StoreFailed
from model.parts import STOPPING, Attempt, Phase

if TYPE_CHECKING:
    from model.execution import Execution
    from model.facts import Ask, Facts


def crashed(facts: Facts, entry: Crashed | ShutDown) -> None:
    """The engine is gone, with its actions, its subscribers and the commands under way."""
    for ask in facts.asks.values():
        if (execution := facts.executions.get(ask.execution or "")) is not None:
            execution.asks.clear()
            execution.served.clear()
    facts.asks.clear()
    facts.unclaimed.clear()
    facts.subscriptions.clear()
    facts.audience.clear()
    facts.behind.clear()
    facts.stalled.clear()
    facts.down = True
    facts.ousted = None
    facts.closing = None
    facts.live = 0
    for execution in facts.unfinished.values():
        leave(execution)
        execution.believed = [execution.phase]
        execution.live.clear()
        for attempt in execution.open.values():
            lose(execution, attempt, entry.at)


def ousted(facts: Facts) -> None:
    """Another process has the journal: nothing of what the engine is about to write can be written."""
    facts.ousted = facts.moment
    for ask in facts.asks.values():
        ask.excused = True


def store_failed(facts: Facts, entry: StoreFailed) -> None:
    """A write failed, and nobody is known to drive its execution any more; or a read, which is the asker's trouble."""
    for ask in facts.asks.values():
        if entry.execution in {None, ask.execution} or ask.command in {"start", "recover"}:
            ask.excused = True
    if entry.execution is None:
        _unread(facts)
    elif (execution := facts.unfinished.get(entry.execution)) is not None:
        _give_up(execution, entry.at)


def _unread(facts: Facts) -> None:
    """Subscribers that were about to read may have been dropped: those that are new, or were not told everything."""
    for subscriber, subscription in facts.subscriptions.items():
        if subscription.fresh or subscriber in facts.behind:
            subscription.excused = True
            facts.behind.pop(subscriber, None)


def _give_up(execution: Execution, at: float) -> None:
    """It cannot be journaled. What still runs of it runs on, for nothing; what was about to begin may begin yet."""
    leave(execution)
    for attempt in execution.open.values():
        if attempt.step in execution.live:
            attempt.void = True
        else:
            unbegun = attempt.began is None
            lose(execution, attempt, at if attempt.ended is None else attempt.ended.at)
            attempt.again, attempt.barred = unbegun, attempt.barred and not unbegun
    if execution.phase is Phase.RUNNING and any(ask.command == "recover" for ask in execution.facts.asks.values()):
        execution.begin()


def leave(execution: Execution) -> None:
    """Nobody drives it any more, as far as anybody can know."""
    execution.adrift = execution.left = execution.facts.moment
    execution.unclear = False
    execution.ripe.clear()
    execution.undo_ripe = None
    for ask in execution.asks.values():
        ask.excused = True


def lose(execution: Execution, attempt: Attempt, at: float) -> None:
    """An attempt ended with its engine. It holds no slot until it begins again, if it must."""
    execution.uncount(attempt)
    attempt.began = attempt.ended = None
    attempt.interrupted = attempt.void = attempt.again = False
    if attempt.lost is None:
        attempt.lost = at
    stopped = execution.phase in STOPPING or execution.failure is not None
    attempt.barred = stopped and attempt.kind == "action"
    attempt.counted = not attempt.barred and not attempt.timed_out


def take_up(execution: Execution) -> None:
    """Somebody drives it again. What waits became ready by that, at the latest now."""
    execution.adrift = None
    execution.unclear = False
    for wait in execution.waiting.values():
        wait.due = execution.facts.rests


def asked_to_recover(facts: Facts, ask: Ask) -> None:
    """A recovery sets out: it will name those that are adrift, and may name those that it could hold for it."""
    for other in facts.asks.values():
        if other.command == "recover":
            ask.strays |= other.strays
    for name, execution in facts.unfinished.items():
        if execution.adrift is not None:
            if execution.phase is Phase.RUNNING and name not in ask.strays and not execution.unclear:
                execution.begin()  # one that may have been taken up by the last recovery became ready by that
            ask.strays[name] = execution
            if not execution.unclear:
                ask.owed[name] = execution
        elif name in facts.unclaimed:
            ask.strays[name] = execution


def recovered(facts: Facts, ask: Ask, answer: Json) -> None:
    """A recovery is over: what it names is taken up, and what it need not name is driven."""
    facts.down = False
    named = names(answer)
    for name, execution in facts.unfinished.items():
        if execution.adrift is None:
            continue
        if execution.adrift > ask.moment:
            execution.unclear = execution.unclear or name in named
        elif name in named or (name in ask.strays and execution.unclear):
            take_up(execution)
    for other in facts.asks.values():
        for name in named:
            other.owed.pop(name, None)


def names(answer: Json) -> dict[str, None]:
    """The ids in a recovery's answer."""
    known = answer if isinstance(answer, list | tuple) else ()
    return dict.fromkeys(name for name in known if isinstance(name, str))
