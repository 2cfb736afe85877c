"""The service: applications that tell subscribers too much or too little, keep the wrong ones, or start twice."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import BEHIND_A_SERVICE, Edit, Mutant

_APP: Final = "engine.service.app"
_LIVE: Final = "engine.service.live"
_LIST: Final = "engine.service.catalogue"


def _mutant(name: str, invariant: str, clause: str, what: str, *edits: Edit, source: str = "") -> Mutant:
    return Mutant(name, invariant, clause, what, edits, source, BEHIND_A_SERVICE, ("service",))


MUTANTS: Final = (
    # What subscribers are told
    _mutant(
        "told_again_after_a_break",
        "notified_in_sequence",
        "N1",
        "Who comes back over a new connection is told its last event again.",
        Edit(_LIVE, "self._engine.subscribe(execution, after)", "self._engine.subscribe(execution, max(after - 1, 0))"),
        source="n8n-io/n8n#34661",
    ),
    _mutant(
        "told_from_now_on_after_a_break",
        "everything_notified",
        "N1",
        "Who comes back is told what happens from then on, and nothing of what happened in between.",
        Edit(
            _LIVE,
            "        subscription = self._engine.subscribe(execution, after)\n",
            "        entry = self._catalogue.get(execution)\n"
            "        after = entry.seq if after and entry else after\n"
            "        subscription = self._engine.subscribe(execution, after)\n",
        ),
        source="n8n-io/n8n#34661",
    ),
    # Who is dropped
    _mutant(
        "stuck_are_kept",
        "who_does_not_read_is_dropped",
        "N2",
        "A subscriber that never reads is waited for, for ever.",
        Edit(_LIVE, "limit.reschedule(now() + patience)", "limit.reschedule(None)"),
    ),
    _mutant(
        "dropped_in_silence",
        "dropped_for_a_reason",
        "N2",
        "A subscriber that is dropped is not told why.",
        Edit(_LIVE, '(1013, "too slow; reconnect with after={last}")', '(1013, "")'),
    ),
    _mutant(
        "idle_are_dropped",
        "dropped_for_a_reason",
        "N2",
        "Patience counts on while there is nothing to take.",
        Edit(_LIVE, "                limit.reschedule(None)\n", ""),
    ),
    _mutant(
        "half_the_patience",
        "dropped_for_a_reason",
        "N2",
        "A subscriber is dropped before the time that it was given is over.",
        Edit(_LIVE, "now() + patience)", "now() + patience / 2)"),
    ),
    _mutant(
        "connections_stay_open",
        "nothing_left_behind",
        "O4",
        "A connection whose execution is over is kept, and waits for its subscriber to go.",
        Edit(
            _LIVE,
            "            closing = Closing.SPOKE if hearing.done() else self._ending(execution, place)\n",
            "            closing = Closing.SPOKE if hearing.done() else self._ending(execution, place)\n"
            "            if closing is Closing.ENDED:\n"
            "                await hearing\n",
        ),
    ),
    # Starts, commands and the list
    _mutant(
        "keys_do_not_outlive_the_process",
        "a_key_starts_once",
        "J6",
        "After a restart a key is not known, and starts a second execution.",
        Edit(
            _APP,
            "        self._limits = limits\n        self._starting",
            "        self._limits = limits\n"
            "        self._born = len(list(catalogue.newest(None, (), None)))\n"
            "        self._starting",
        ),
        Edit(_APP, "execution = execution_of(key)", 'execution = execution_of(f"{key} {self._born}")'),
    ),
    _mutant(
        "key_answered_with_another",
        "one_execution_per_key",
        "J6",
        "A start that is sent again is answered with the newest execution.",
        Edit(
            _APP,
            "            return _started(execution, 200)\n",
            "            return _started(next(self._catalogue.newest(None, (), None)).execution, 200)\n",
        ),
    ),
    _mutant(
        "keys_end_with_their_executions",
        "a_key_is_for_one_start",
        "J6",
        "A start that is sent again once its execution has ended is refused.",
        Edit(
            _APP,
            "        if _text([before, created.input]) != _text([given, inputs]):\n",
            "        entry = self._catalogue.get(execution)\n"
            "        over = entry is not None and entry.status.value in 'COMPLETED PARTIAL FAILED CANCELLED'.split()\n"
            "        if over or _text([before, created.input]) != _text([given, inputs]):\n",
        ),
    ),
    _mutant(
        "refusals_are_successes",
        "durable_before_the_answer",
        "J2",
        "A command that is not accepted is answered as one that is.",
        Edit(_APP, "        if not accepted:\n", "        if not entry:\n"),
    ),
    _mutant(
        "inputs_of_a_resume_are_lost",
        "resume_accepted",
        "P2",
        "What the body of a resume brings is not handed on.",
        Edit(_APP, "resume_execution(entry.execution, inputs)", "resume_execution(entry.execution)"),
    ),
    _mutant(
        "the_list_stays_behind",
        "reported_phase",
        "J1",
        "In the list an execution that was resumed is still paused.",
        Edit(_LIST, "    ExecutionResumed: Status.RUNNING,\n", ""),
    ),
)
