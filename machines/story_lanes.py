"""The timeline of a story: a lane for each step, with what really ran in it, and for each execution where it stood.

Rule 1: bars of attempts and compensations are what the actions saw; waits and statuses are what was recorded.
Rule 2: everything carries the places of its entries, so that a reader who walks sees no more than had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from machines.witness import EXECUTION_STATUS
from model.history import Began, Crashed, Ended, Entry, Interrupted, Recorded, ShutDown, StoreFailed

Json = Any

_MARKS: Final[Mapping[str, str]] = {
    "StepTimedOut": "timed out",
    "CompensationTimedOut": "timed out",
    "StepSkipped": "skipped",
    "StepFailed": "failed",
    "StepCancelled": "cancelled",
    "CompensationFailed": "compensation failed",
}
_RETRYING: Final = ("StepRetrying", "CompensationRetrying")


class Lanes:
    """Bars, marks and lines, as the page draws them; fed entry by entry."""

    def __init__(self) -> None:
        self.bars: list[dict[str, Json]] = []
        self.marks: list[dict[str, Json]] = []
        self.lines: list[dict[str, Json]] = []
        self._running: dict[tuple[str, str], dict[str, Json]] = {}
        self._waiting: dict[tuple[str, str], dict[str, Json]] = {}
        self._standing: dict[str, dict[str, Json]] = {}
        self._now = 0.0
        self._index = 0

    @classmethod
    def of(cls, history: Iterable[Entry]) -> Lanes:
        """The lanes of a whole history."""
        lanes = cls()
        for index, entry in enumerate(history):
            lanes.feed(index, entry)
        lanes.close()
        return lanes

    def feed(self, index: int, entry: Entry) -> None:
        """Take the next entry in."""
        self._index, self._now = index, entry.at
        match entry:
            case Began(_, execution, step, attempt, kind):
                self._running[execution, step] = self._open(execution, step, kind, f"attempt {attempt}")
                self._running[execution, step]["attempt"] = attempt
            case Ended(_, execution, step, _, _, outcome):
                self._close(self._running.pop((execution, step), None), outcome)
            case Interrupted(_, execution, step):
                self._mark(execution, step, "saw its cancellation")
            case Recorded(_, execution, _, event):
                self._recorded(execution, event)
            case Crashed():
                for bar in self._running.values():
                    self._close(bar, "lost")
                self._running.clear()
                self._line("crash")
            case ShutDown():
                self._line("closed")
            case StoreFailed(_, _, fault):
                self._line(f"store fails: {fault}")
            case _:
                pass

    def close(self) -> None:
        """Whatever is still open lasts to the end."""
        for bar in (*self._running.values(), *self._standing.values()):
            self._close(bar, "open")
        for bar in self._waiting.values():
            bar["to"] = min(bar["to"], self._now)

    def _recorded(self, execution: str, event: Mapping[str, Json]) -> None:
        kind, step = event.get("type", ""), event.get("step")
        if isinstance(step, str):
            if (wait := self._waiting.pop((execution, step), None)) is not None:
                wait.update(to=min(wait["to"], self._now), end=self._index)
            if kind in _MARKS:
                self._mark(execution, step, _MARKS[kind])
            elif kind in _RETRYING and isinstance(event.get("until"), int | float):
                bar = self._open(execution, step, "wait", "waits for its next attempt")
                bar["to"] = max(float(event["until"]), self._now)
                self._waiting[execution, step] = bar
            return
        status = event.get("status") if kind == "ExecutionEnded" else EXECUTION_STATUS.get(kind)
        if status is not None:
            self._close(self._standing.pop(execution, None), "over")
            self._standing[execution] = self._open(execution, None, "status", str(status))

    def _open(self, execution: str, step: str | None, kind: str, label: str) -> dict[str, Json]:
        bar: dict[str, Json] = {
            "execution": execution,
            "step": step,
            "kind": kind,
            "label": label,
            "from": self._now,
            "to": self._now,
            "start": self._index,
            "end": None,
            "outcome": "open",
        }
        self.bars.append(bar)
        return bar

    def _close(self, bar: dict[str, Json] | None, outcome: str) -> None:
        if bar is not None:
            bar.update(to=self._now, end=None if outcome == "open" else self._index, outcome=outcome)

    def _mark(self, execution: str, step: str, text: str) -> None:
        self.marks.append({"execution": execution, "step": step, "at": self._now, "index": self._index, "text": text})

    def _line(self, text: str) -> None:
        self.lines.append({"at": self._now, "index": self._index, "text": text})
