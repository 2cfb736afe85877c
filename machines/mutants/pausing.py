"""Pause and resume: engines that lose something under a pause, or do something."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_SHELL: Final = "engine.driver"

_VOID: Final = "                self._void_grants()\n"
"""What keeps a slot that was granted before a pause from being used under it, or after it."""
_STATE: Final = "engine.state"

MUTANTS: Final = (
    Mutant(
        "paused_twice",
        "pause_accepted",
        "P1",
        "A pause is accepted of an execution that is PAUSED already.",
        (Edit(_CORE, "case Pause(), Status.RUNNING:", "case Pause(), Status.RUNNING | Status.PAUSED:"),),
    ),
    Mutant(
        "resumed_while_running",
        "resume_accepted",
        "P2",
        "A resume is accepted of an execution that is RUNNING.",
        (Edit(_CORE, "case Resume(inputs), Status.PAUSED:", "case Resume(inputs), Status.PAUSED | Status.RUNNING:"),),
    ),
    Mutant(
        "pause_is_a_kind_of_running",
        "nothing_starts_under_a_pause",
        "P1",
        "A step that has its slot when the pause comes starts under the pause.",
        (
            Edit(_CORE, "if rested and state.status is _RUNNING and", "if rested and state.active and"),
            Edit(_SHELL, _VOID, ""),
        ),
        "PrefectHQ/prefect#498",
    ),
    Mutant(
        "ready_under_a_pause",
        "nothing_is_ready_under_a_pause",
        "P1",
        "A step whose connections are decided under a pause becomes ready at once, and fails for what it lacks.",
        (
            Edit(
                _CORE,
                "(state.status is not _RUNNING or _prepare(decision, step, missing))",
                "_prepare(decision, step, missing)",
            ),
        ),
        "PrefectHQ/prefect#9824",
    ),
    Mutant(
        "resume_ends_the_wait",
        "backoff_waited_for",
        "F1",
        "A resume makes a step that waits for its next attempt ready at once.",
        (
            Edit(
                _CORE,
                "for index, until in state.retrying.items() if until <= decision.at]",
                "for index in state.retrying]",
            ),
            Edit(_CORE, "rested = not retries or state.retrying[index] <= at", "rested = True"),
        ),
    ),
    Mutant(
        "retries_first_after_a_resume",
        "waited_for_its_turn",
        "C3",
        "After a resume, what waits to be tried again starts before what never started.",
        (
            Edit(
                _CORE,
                "sorted([*rested, *state.open], key=lambda index: steps[index].position)",
                "[*rested, *sorted(state.open, key=lambda index: steps[index].position)]",
            ),
        ),
    ),
    Mutant(
        "timeout_lost_under_pause",
        "timeouts_strike",
        "F2",
        "A timeout that comes under a pause is dropped.",
        (
            Edit(
                _CORE,
                "elif runs and not state.stopping:",
                "elif runs and state.status is Status.RUNNING:",
            ),
        ),
        "cadence-workflow/cadence#744",
    ),
    Mutant(
        "pause_cancels",
        "interrupted_for_a_reason",
        "K3",
        "A pause cancels the running attempts.",
        (
            Edit(
                _SHELL,
                "                slots.hold(lane)\n",
                "                slots.hold(lane)\n"
                "                for task in self._tasks.values() if state.status is Status.PAUSED else ():\n"
                "                    task.cancel()\n",
            ),
        ),
        "PrefectHQ/prefect#9824",
    ),
    Mutant(
        "failure_lost_under_pause",
        "failure_is_not_lost",
        "F3",
        "A step that fails for good under a pause does not fail its execution.",
        (
            Edit(
                _CORE,
                "    if not step.continue_on_error:\n",
                "    if not step.continue_on_error and decision.state.status is not Status.PAUSED:\n",
            ),
        ),
        "PrefectHQ/prefect#9824",
    ),
    Mutant(
        "deadline_waits_for_the_resume",
        "deadline_strikes",
        "F7",
        "A deadline that passes under a pause is dropped.",
        (Edit(_CORE, "case Expire(), Status.RUNNING | Status.PAUSED:", "case Expire(), Status.RUNNING:"),),
        "cadence-workflow/cadence#744",
    ),
    Mutant(
        "resumed_by_a_new_start",
        "started_once",
        "O4",
        "A resume that brings nothing is recorded as another start.",
        (
            Edit(
                _CORE,
                "decision.emit(ExecutionResumed(at, inputs or {}))",
                "decision.emit(ExecutionResumed(at, inputs) if inputs else ExecutionStarted(at))",
            ),
        ),
        "argoproj/argo-workflows#759",
    ),
    Mutant(
        "no_skips_under_a_pause",
        "decisions_recorded",
        "O2",
        "What follows from a completion under a pause is decided by the resume only.",
        (
            Edit(
                _CORE,
                "        if state.active:\n            _advance(decision, _opened(state, index))\n        else:\n",
                "        if state.status is Status.RUNNING:\n            _advance(decision, _opened(state, index))\n"
                "        elif state.stopping:\n",
            ),
        ),
        "apache/airflow#27824",
    ),
    Mutant(
        "completion_lost_under_a_pause",
        "attempts_accounted_for",
        "O4",
        "An attempt that ends under a pause is never heard of again.",
        (
            Edit(
                _SHELL,
                "        self.post(command)\n        self._slots.release(self._lane)",
                "        if self.state.status is not Status.PAUSED:\n            self.post(command)\n"
                "        self._slots.release(self._lane)",
            ),
        ),
        "restatedev/restate#5196",
    ),
    Mutant(
        "no_end_under_a_pause",
        "ends_when_settled",
        "O4",
        "An execution whose last step settles under a pause ends by the resume only.",
        (Edit(_CORE, "if not state.unsettled:", "if not state.unsettled and state.status is Status.RUNNING:"),),
    ),
    Mutant(
        "missing_for_ever",
        "reported_missing",
        "P4",
        "What a pause missed is reported after the resume too.",
        (
            Edit(
                _STATE,
                "            state.status = Status.RUNNING\n            state.missing = {}\n",
                "            state.status = Status.RUNNING\n",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "pause_waits_for_the_others",
        "missing_input_pauses",
        "P4",
        "A step that misses an input does not pause its execution while another step runs.",
        (Edit(_CORE, "    if missing:\n", "    if missing and not state.running:\n"),),
    ),
    Mutant(
        "stale_resume_answers_the_next_pause",
        "resume_accepted",
        "P2",
        "A resume that came too early, and was refused, ends the next pause.",
        (
            Edit(
                _SHELL,
                "        if not decision.accepted:\n",
                "        if not decision.accepted:\n"
                "            if type(command).__name__ == 'Resume':\n"
                "                self.stale = command\n",
            ),
            Edit(
                _SHELL,
                "                slots.hold(lane)\n",
                "                slots.hold(lane)\n"
                "                if state.status is Status.PAUSED and (stale := vars(self).pop('stale', None)):\n"
                "                    self.post(stale)\n",
            ),
        ),
        "langchain-ai/langgraph#8837",
    ),
    Mutant(
        "no_timer_under_a_pause",
        "no_slot_lost",
        "C2",
        "An attempt that fails under a pause is never tried again, if the resume comes before its wait is over.",
        (
            Edit(
                _SHELL,
                "        if step in self.state.retrying:\n",
                "        if step in self.state.retrying and self.state.status is not Status.PAUSED:\n",
            ),
        ),
        "Netflix/conductor#3609",
    ),
    Mutant(
        "granted_twice_started_twice",
        "started_again",
        "F1",
        "A step that is ready once more by a resume starts once more, though it has got the slot it waited for before.",
        (
            Edit(
                _CORE,
                "if rested and state.status is _RUNNING and (retries or index in state.open):",
                "if rested and state.status is _RUNNING:",
            ),
            Edit(_SHELL, _VOID, ""),
        ),
        "langchain-ai/langgraph#8837",
    ),
    Mutant(
        "pause_takes_back_a_start",
        "failed_for_what_happened",
        "F1",
        "An attempt whose start is recorded together with a pause does not begin, and counts as failed.",
        (
            Edit(
                _SHELL,
                "        if self.state.stopping:\n            self._hand_in(",
                "        if self.state.stopping or self.state.status is Status.PAUSED:\n            self._hand_in(",
            ),
        ),
        "PrefectHQ/prefect#9824",
    ),
    Mutant(
        "inputs_for_what_was_missed_only",
        "missing_inputs_named",
        "P4",
        "What a resume brings is dropped unless the execution was paused for what it missed.",
        (
            Edit(
                _STATE,
                "            state.missing = {}\n            if inputs:\n",
                "            missed, state.missing = state.missing, {}\n            if inputs and missed:\n",
            ),
        ),
        "PrefectHQ/prefect#18326",
    ),
    Mutant(
        "decided_again_by_the_resume",
        "skipped_for_a_reason",
        "O2",
        "Connections that were decided under a pause are decided once more by the resume.",
        (
            Edit(
                _CORE,
                "runs = (woken and step.condition is None) or _join(decision, step)",
                "runs = _join(decision, step)",
            ),
        ),
        "apache/airflow#12959",
    ),
    Mutant(
        "resumed_in_company",
        "no_slot_lost",
        "C2",
        "What a resume makes ready is forgotten if something else was decided together with it, and before it.",
        (
            Edit(
                _SHELL,
                "        for step in decision.ready:\n",
                "        alone = before is not Status.PAUSED or len(events) == len(decision.events)\n"
                "        for step in decision.ready if alone else ():\n",
            ),
        ),
        "PrefectHQ/prefect#18326",
    ),
)
