"""What is known of the engine as a whole: executions, actions alive, commands under way, rests, subscribers.

Rule 1: ``fold`` takes whatever comes; nothing is judged here.
Rule 2: its cost does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from model.crashes import asked_to_recover, crashed, ousted, recovered, store_failed, take_up
from model.execution import Execution
from model.folds import FOLDS
from model.history import (
    Answered,
    Asked,
    Began,
    Closed,
    Crashed,
    Dropped,
    Ended,
    Entry,
    Interrupted,
    Json,
    Notified,
    Recorded,
    Refused,
    Reported,
    Rested,
    ShutDown,
    Stalled,
    StoreFailed,
    Subscribed,
)
from model.parts import Phase
from model.values import same

EPSILON: Final = 1e-6
"""Times closer than this are one."""


class Ask:
    """A command under way."""

    __slots__ = (
        "arguments",
        "at",
        "command",
        "excused",
        "execution",
        "moment",
        "number",
        "owed",
        "phases",
        "strays",
    )

    def __init__(self, entry: Asked, phases: set[Phase | None], moment: int) -> None:
        self.number = entry.ask
        self.at = entry.at
        self.command = entry.command
        self.execution = entry.execution
        self.arguments = entry.arguments
        self.phases = phases
        """Every phase in which the engine may have found its execution; None: it may have known no such execution."""
        self.moment = moment
        """The entry that asked it."""
        self.excused = False
        """Whether it may raise a JournalError: its store has failed, or nobody drove its execution."""
        self.owed: dict[str, Execution] = {}
        """What a recovery must name."""
        self.strays: dict[str, Execution] = {}
        """What it may name, beside what was created or left since."""

    @property
    def inputs(self) -> Json:
        """What a resume brings."""
        return self.arguments.get("inputs") or {}

    @property
    def odd(self) -> bool:
        """Whether what it brings is no input (D5)."""
        return bool(self.arguments.get("odd"))

    @property
    def key(self) -> str:
        """What names a start, if anything."""
        return str(self.arguments.get("key", ""))

    @property
    def faults(self) -> list[str]:
        """The faults that its asker put into the workflow of a start: places, each with words that must be named."""
        return list(self.arguments.get("faults", ()))

    def __str__(self) -> str:
        return f"{self.command} (command {self.number})"


class Subscription:
    """A subscriber, and the event that it must get next."""

    __slots__ = ("after", "excused", "execution", "next", "patience", "waiting")

    def __init__(self, execution: str, after: int) -> None:
        self.execution = execution
        self.after = max(after, 0)  # the first event is number 1
        self.next = self.after + 1
        self.excused = False
        """Whether it may have been dropped: its events could not be read."""
        self.patience: float | None = None
        """How long it is waited for, if it reads no more."""
        self.waiting: float | None = None
        """Since when there has been an event that it does not take."""

    @property
    def fresh(self) -> bool:
        """Whether it got nothing yet."""
        return self.next == self.after + 1


class Start(NamedTuple):
    """A step that was started since the last rest, and when it had become ready."""

    rests: int
    """How many rests came before it became ready."""

    moment: int
    """At which entry it did."""

    execution: str
    step: str


class Closing:
    """An engine's closing."""

    __slots__ = ("ask", "heard", "over")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.heard: float | None = None
        """When the engine had heard of it at the latest: at the first rest since."""
        self.over = False
        """Whether it has come back."""

    @property
    def grace(self) -> float:
        """Seconds in which what runs may end."""
        return max(float(self.ask.arguments["grace"]), 0.0)

    @property
    def until(self) -> float:
        """Until when, at least, that lasts."""
        return self.ask.at + self.grace


class Facts:
    """What is known of the engine as a whole."""

    def __init__(self, max_concurrent_steps: int) -> None:
        self.max_concurrent_steps = max_concurrent_steps
        self.now = 0.0
        self.moment = -1
        """The position of the last entry."""
        self.executions: dict[str, Execution] = {}
        self.unfinished: dict[str, Execution] = {}
        self.unclaimed: dict[str, Execution] = {}
        """Executions whose start has not been answered."""
        self.ousted: int | None = None
        """When the journal was taken over from the engine, which lives (a moment)."""
        self.down = False
        """Whether the engine has crashed and no recovery has come back since."""
        self.closing: Closing | None = None
        """The engine's closing, if it is under way or has come back."""
        self.live = 0
        """How many actions really run."""
        self.unbegun = 0
        """How many more hold a slot: recorded as started, and about to begin."""
        self.asks: dict[int, Ask] = {}
        self.rests = 0
        self.rest_at = -1.0
        self.rest_moment = -1
        self.youngest: Start | None = None
        """Of the steps started since the last rest, the one that became ready last."""
        self.subscriptions: dict[str, Subscription] = {}
        self.audience: dict[str, dict[str, Subscription]] = {}
        """Subscribers by execution."""
        self.behind: dict[str, Subscription] = {}
        """Subscribers that read and have not got everything that is recorded."""
        self.stalled: dict[str, Subscription] = {}
        """Subscribers that read no more."""
        self.keyed: dict[str, list[Json]] = {}
        """What was asked to be started under each key: workflows, each with its input."""
        self.keys: dict[str, str] = {}
        """The execution that each key has started, as far as somebody was answered so."""

    def starting(self, entry: Recorded) -> list[Ask]:
        """The start commands under way that an execution's creation may serve."""
        event = entry.event
        return [
            ask
            for ask in self.asks.values()
            if ask.command == "start"
            and ask.arguments["workflow"] == event["workflow"]
            and (same(ask.arguments["input"], event["input"]) or (not ask.arguments["input"] and event["input"] == {}))
        ]

    def note_start(self, rests: int, moment: int, execution: str, step: str) -> None:
        """A step got a slot."""
        start = Start(rests, moment, execution, step)
        if self.youngest is None or start > self.youngest:
            self.youngest = start

    def fold(self, entry: Entry) -> None:
        """Take an entry in."""
        self.now = entry.at
        FOLD[type(entry)](self, entry)


def _recorded(facts: Facts, entry: Recorded) -> None:
    event, name = entry.event, entry.execution
    if event["type"] == "ExecutionCreated":
        asks = facts.starting(entry)
        created = min((ask.at for ask in asks), default=entry.at)
        execution = facts.executions[name] = Execution(name, event, created, facts)
        execution.answered_by = asks
        facts.unfinished[name] = facts.unclaimed[name] = execution
        for ask in facts.asks.values():
            if ask.execution == name:  # sent before there was anything to send it to
                execution.asks[ask.number] = ask
                ask.phases.add(execution.phase)
    else:
        execution = facts.executions[name]
        if execution.adrift is not None:
            take_up(execution)
        execution.events.append(event)
        FOLDS[event["type"]](execution, entry)
    if name in facts.audience:
        seq = execution.seq
        for subscriber, subscription in facts.audience[name].items():
            if subscription.next > seq:
                continue  # it asked for later ones
            if subscription.patience is not None:
                if subscription.waiting is None:
                    subscription.waiting = entry.at
            elif not subscription.excused:
                facts.behind[subscriber] = subscription


def _began(facts: Facts, entry: Began) -> None:
    facts.executions[entry.execution].began(entry)


def _interrupted(facts: Facts, entry: Interrupted) -> None:
    facts.executions[entry.execution].interrupted(entry)


def _ended(facts: Facts, entry: Ended) -> None:
    if entry.execution in facts.executions:
        facts.executions[entry.execution].ended(entry)


def _asked(facts: Facts, entry: Asked) -> None:
    execution = facts.executions.get(entry.execution) if entry.execution is not None else None
    phases: set[Phase | None] = {None} if execution is None else set(execution.believed)
    ask = Ask(entry, phases, facts.moment)
    if entry.command == "recover":
        asked_to_recover(facts, ask)
        ask.excused = facts.ousted is not None
    facts.asks[entry.ask] = ask
    if entry.command == "shutdown":
        facts.closing = Closing(ask)
    if ask.key:
        facts.keyed.setdefault(ask.key, []).append([entry.arguments["workflow"], entry.arguments["input"] or {}])
    if execution is not None:
        execution.asks[ask.number] = ask
        ask.excused = execution.adrift is not None
        if execution.id in facts.unclaimed:
            phases.add(None)


def _answered(facts: Facts, entry: Answered) -> None:
    ask = facts.asks.pop(entry.ask)
    execution = facts.executions.get(ask.execution or "")
    if ask.command == "start":
        facts.unclaimed.pop(entry.answer, None)
        if ask.key:
            facts.keys.setdefault(ask.key, entry.answer)
    elif ask.command == "recover":
        recovered(facts, ask, entry.answer)
    elif ask.command == "take_over":
        ousted(facts)
    elif ask.command == "shutdown" and facts.closing is not None:
        facts.closing.over = True
    elif execution is not None:
        _command_answered(execution, ask, entry.answer)


def _command_answered(execution: Execution, ask: Ask, answer: Json) -> None:
    execution.asks.pop(ask.number, None)
    if answer is not True:
        return
    if ask.command == "cancel":
        execution.cancel_answered = True
    for served in execution.served:
        if served.command == ask.command and ask in served.asks:
            execution.served.remove(served)
            execution.knows(served.changes + 1)
            break


def _refused(facts: Facts, entry: Refused) -> None:
    ask = facts.asks.pop(entry.ask)
    if ask.command == "recover":
        facts.down = False
    elif ask.execution in facts.executions:
        facts.executions[ask.execution].asks.pop(ask.number, None)


def _subscribed(facts: Facts, entry: Subscribed) -> None:
    old = facts.subscriptions.get(entry.subscriber)
    if old is not None:
        facts.audience[old.execution].pop(entry.subscriber)
        facts.behind.pop(entry.subscriber, None)
        facts.stalled.pop(entry.subscriber, None)
    subscription = facts.subscriptions[entry.subscriber] = Subscription(entry.execution, entry.after)
    facts.audience.setdefault(entry.execution, {})[entry.subscriber] = subscription
    execution = facts.executions.get(entry.execution)
    if execution is not None and subscription.next <= execution.seq:
        facts.behind[entry.subscriber] = subscription


def _stalled(facts: Facts, entry: Stalled) -> None:
    subscription = facts.stalled[entry.subscriber] = facts.subscriptions[entry.subscriber]
    subscription.patience = entry.patience
    if facts.behind.pop(entry.subscriber, None) is not None:
        subscription.waiting = entry.at


def _notified(facts: Facts, entry: Notified) -> None:
    subscription = facts.subscriptions.get(entry.subscriber)
    if subscription is None:
        return
    subscription.next = entry.seq + 1
    if subscription.next > facts.executions[entry.execution].seq:
        facts.behind.pop(entry.subscriber, None)


def _rested(facts: Facts, entry: Rested) -> None:
    if facts.closing is not None and facts.closing.heard is None:
        facts.closing.heard = entry.at
    for execution in facts.unfinished.values():
        execution.knows(execution.changes)
        if execution.adrift is not None:
            continue
        if execution.retrying and execution.phase is Phase.RUNNING:
            for step, until in execution.retrying.items():
                if until <= entry.at and step not in execution.waiting:
                    execution.ripe.setdefault(step, facts.rests)
        elif execution.next_undo_due(entry.at) and execution.undo_ripe is None:
            execution.undo_ripe = facts.rests
    facts.rests += 1
    facts.rest_at = entry.at
    facts.rest_moment = facts.moment
    facts.youngest = None


def _nothing(_facts: Facts, _entry: Dropped | Reported | Closed) -> None:
    pass


FOLD: Final[Mapping[type, Callable[[Facts, Any], None]]] = {
    Recorded: _recorded,
    Began: _began,
    Interrupted: _interrupted,
    Ended: _ended,
    Asked: _asked,
    Answered: _answered,
    Refused: _refused,
    Subscribed: _subscribed,
    Stalled: _stalled,
    Dropped: _nothing,
    Notified: _notified,
    Rested: _rested,
    Crashed: crashed,
    ShutDown: crashed,
    StoreFailed: store_failed,
    Reported: _nothing,
    Closed: _nothing,
}
