"""Notifications: engines whose subscribers hear too much, too little, or too soon."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_MANAGER: Final = "engine.state_manager"

MUTANTS: Final = (
    Mutant(
        "told_before_it_is_durable",
        "durable_before_it_is_notified",
        "J2",
        "Subscribers are told of events that are being written.",
        (
            Edit(
                _MANAGER,
                "        await self.journal.append(execution, first, events)\n"
                "        durable.add(events)\n"
                "        if execution in self._subscriptions:\n"
                "            self._publish(execution, first, events)",
                "        if execution in self._subscriptions:\n"
                "            self._publish(execution, first, events)\n"
                "        await self.journal.append(execution, first, events)\n"
                "        durable.add(events)",
            ),
        ),
        "ansible/awx#2613",
    ),
    Mutant(
        "told_twice_after_a_reconnect",
        "notified_in_sequence",
        "N1",
        "A subscriber that comes back after an event is told that event again.",
        (Edit(_MANAGER, "self._next = after + 1", "self._next = max(after, 1)"),),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "end_is_not_told",
        "everything_notified",
        "N1",
        "A subscriber that waits is not roused when an execution ends.",
        (
            Edit(
                _MANAGER,
                "                self._behind = True\n        self._rouse()",
                "                self._behind = True\n"
                "        if type(events[-1]) is not ExecutionEnded:\n"
                "            self._rouse()",
            ),
        ),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "late_subscriber_waits",
        "nothing_left_behind",
        "O4",
        "A subscriber that has got everything of an execution that is over waits for more.",
        (
            Edit(
                _MANAGER,
                "        if not self._buffer:\n",
                "        if self._closed:\n",
            ),
        ),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "told_what_was_not_asked_for",
        "notified_in_sequence",
        "N1",
        "A subscriber that asks for events from a later number on is told of those before it as they come.",
        (Edit(_MANAGER, "                if found.seq >= self._next:\n", "                if found:\n"),),
        "n8n-io/n8n#34661",
    ),
    Mutant(
        "many_at_once_are_lost",
        "everything_notified",
        "N1",
        "A subscriber that has more than four events to read loses them.",
        (
            Edit(
                _MANAGER,
                "            if len(self._buffer) > self._manager.buffered:\n"
                "                self._buffer.clear()\n"
                "                self._behind = True",
                "            if len(self._buffer) > 4:\n                self._buffer.clear()",
            ),
        ),
        "n8n-io/n8n#34661",
    ),
)
