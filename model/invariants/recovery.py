"""J3-J5: what a recovery answers, what must not begin again, and which errors a store may cause."""

from __future__ import annotations

from collections.abc import Iterator

from model.execution import Execution
from model.facts import Ask, Facts
from model.history import Answered, Began, Recorded, Refused
from model.invariants.registry import ENGINE_WIDE, listens
from model.invariants.shutdown import refused_by_the_closed
from model.parts import TERMINAL


@listens(ENGINE_WIDE)
def recovered_are_named(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """J3: a recovery takes up every unfinished execution that nobody drives, and answers with their ids."""
    ask = facts.asks[entry.ask]
    if ask.command != "recover" or isinstance(entry, Refused):
        return
    if not isinstance(entry.answer, list | tuple) or not all(isinstance(name, str) for name in entry.answer):
        yield f"{ask} was answered {entry.answer!r}, expected a list of ids"
        return
    others = [other for other in facts.asks.values() if other.command == "recover" and other is not ask]
    for name, execution in ask.owed.items():
        if name in entry.answer or execution.phase in TERMINAL or execution.unclear:
            continue
        if not any(name in other.owed for other in others):
            yield f"{ask} was answered {entry.answer!r}, without {name}: it is {execution.phase.name}, and was adrift"


@listens(ENGINE_WIDE)
def only_unfinished_are_recovered(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """J3, J5: a recovery names what it took up, once, oldest first, and nothing that is over, driven or unknown."""
    ask = facts.asks[entry.ask]
    if ask.command != "recover" or isinstance(entry, Refused) or not isinstance(entry.answer, list | tuple):
        return
    youngest = -1
    for name in entry.answer:
        execution = facts.executions.get(name) if isinstance(name, str) else None
        if execution is None:
            yield f"{ask} was answered with {name!r}, of which the journal holds nothing"
        elif execution.over is not None and execution.over < ask.moment:
            yield f"{ask} was answered with {name}, which had ended as {execution.phase.name} before it was asked"
        elif execution.over is None and _driven(execution, ask):
            yield f"{ask} was answered with {name}, which the engine drove all the time"
        elif execution.born <= youngest:
            yield f"{ask} was answered with {name} out of turn, expected each once, oldest first: {entry.answer!r}"
        else:
            youngest = execution.born


def _driven(execution: Execution, ask: Ask) -> bool:
    """Whether nobody could hold it for adrift, from the recovery's asking on."""
    return execution.id not in ask.strays and max(execution.born, execution.left) < ask.moment


@listens(Began)
def nothing_begins_again_once_stopped(execution: Execution, entry: Began) -> Iterator[str]:
    """K2, F3, J3: what is interrupted of a stopped execution does not run again, compensations excepted."""
    attempt = execution.open.get(entry.step)
    if attempt is not None and attempt.barred:
        why = execution.phase.name if execution.failure is None else "to roll back"
        yield f"{attempt} of {entry.execution} began again after it was interrupted, but {entry.execution} is {why}"


@listens(ENGINE_WIDE)
def one_owner(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """J5: a second engine on the journal of a living one is refused with a JournalError."""
    ask = facts.asks[entry.ask]
    if ask.command != "rival":
        return
    if isinstance(entry, Answered):
        yield f"{ask}, a second engine on one journal, was answered {entry.answer!r}, expected a JournalError"
    elif entry.type != "JournalError":
        yield f"{ask}, a second engine on one journal, raised {entry.type}: {entry.message}, expected a JournalError"


@listens(ENGINE_WIDE)
def taken_over_for_good(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """J5: a journal can be taken over, and from then on its former owner takes nothing up."""
    ask = facts.asks[entry.ask]
    if ask.command == "take_over" and isinstance(entry, Refused):
        yield f"{ask} of the journal raised {entry.type}: {entry.message}, expected that it is taken over"
    late = facts.ousted is not None and ask.moment > facts.ousted
    if late and ask.command == "recover" and isinstance(entry, Answered) and entry.answer:
        yield f"{ask} was answered {entry.answer!r}, but another process has taken the journal over"


@listens(Recorded)
def nothing_written_once_taken_over(facts: Facts, entry: Recorded) -> Iterator[str]:
    """J5: whom the journal was taken over from writes nothing more."""
    if facts.ousted is not None:
        yield f"{entry.event['type']} of {entry.execution} was recorded after another process took the journal over"


@listens(Refused, ENGINE_WIDE)
def error_of_the_store(facts: Facts, entry: Answered | Refused) -> Iterator[str]:
    """J4: a command raises a JournalError only if its store has failed or nobody drives its execution.

    A recovery raises nothing else.
    """
    ask = facts.asks[entry.ask]
    if isinstance(entry, Answered) or ask.command in {"convert", "shutdown", "rival", "take_over"}:
        return
    if entry.type == "JournalError" and not ask.excused:
        of, driven = ("", "") if ask.execution is None else (f" of {ask.execution}", ", and its execution is driven")
        yield f"{ask}{of} raised {entry.type}: {entry.message}, but no store has failed it{driven}"
    elif entry.type != "JournalError" and ask.command == "recover" and not refused_by_the_closed(facts, entry):
        yield f"{ask} raised {entry.type}: {entry.message}, expected a JournalError, or a list of ids"
