"""All that chance decides within one move, in one place.

Rule 1: a tape is a value: two strings of bytes, JSON both ways. Reading one is the reader's business.
Rule 2: zero is simplest. Byte 0 means no latency, and the first in line; a smaller byte never means more.
Rule 3: a byte is used only where there is a choice, and once the bytes are used up everything is plain:
no latency, first come, first served. So shrinking a tape takes away every deviation that a failure does not need.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Self

TICK: Final = 0.001
"""Seconds of virtual time that one move of the world lasts."""

# Half of all bytes mean "at once". The rest are of three very different sizes, because two latencies of one size
# rarely make a race. Ticks and a half, so that nothing outside ever coincides with the end of a move.
_SIZES: Final = (
    (128, (0.0,)),
    (64, (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)),
    (48, (1.5, 2.5, 3.5, 5.5, 8.5, 13.5)),
    (16, (40.5, 160.5, 640.5, 2560.5)),
)
LATENCIES: Final = tuple(ticks * TICK for count, sizes in _SIZES for ticks in sizes for _ in range(count // len(sizes)))
"""What each byte means as a latency, in seconds."""


TRACKS: Final = ("latencies", "order")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")


class Deviation(NamedTuple):
    """One choice that was not the plain one: the byte that made it, and what it chose (seconds, or a place in line)."""

    track: Literal["latency", "order"]
    position: int
    value: float


class TapeError(ValueError):
    """What was read is no tape."""

    def __init__(self, value: object) -> None:
        super().__init__(f"a tape has the tracks latencies and order, each a string of hex digits, not {value!r}")


@dataclass(frozen=True, slots=True)
class Tape:
    """The choices of one move: how long outside things take, and which ready callback runs next."""

    latencies: bytes = b""
    order: bytes = b""

    def to_json(self) -> dict[str, str]:
        """Give the tape as JSON; a plain track is left out."""
        tracks = {"latencies": self.latencies, "order": self.order}
        return {name: track.hex() for name, track in tracks.items() if track}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what ``to_json`` wrote; what else stands there means nothing.

        Raises:
            TapeError: it is no tape.
        """
        if not isinstance(value, Mapping):
            raise TapeError(value)
        tracks = {name: value[name] for name in TRACKS if name in value}
        if not all(type(track) is str and _HEX.fullmatch(track) for track in tracks.values()):
            raise TapeError(value)
        return cls(**{name: bytes.fromhex(track) for name, track in tracks.items()})

    def reader(self) -> "TapeReader":
        """Put a reader at the start of this tape."""
        return TapeReader(self)


PLAIN: Final = Tape()


class TapeReader:
    """Reads one tape from start to end, and remembers where it deviated from the plain course."""

    __slots__ = ("_order_read", "asked", "deviations", "ordering", "tape")

    def __init__(self, tape: Tape = PLAIN) -> None:
        """Start before the first byte of both tracks."""
        self.tape = tape
        self.deviations: list[Deviation] = []
        self.asked = 0
        """How many latencies were asked for, beyond the tape's end too."""
        self._order_read = 0
        self.ordering = bool(tape.order)
        """Whether bytes are left that may pick a callback out of turn."""

    def next_latency(self) -> float:
        """How long the next outside thing takes, in seconds."""
        index = self.asked
        self.asked = index + 1
        if index >= len(self.tape.latencies):
            return 0.0
        seconds = LATENCIES[self.tape.latencies[index]]
        if seconds:
            self.deviations.append(Deviation("latency", index, seconds))
        return seconds

    def pick(self, count: int) -> int:
        """Which of ``count`` in line goes next; 0 is whoever came first."""
        index = self._order_read
        if count <= 1 or index == len(self.tape.order):
            return 0
        self._order_read = index + 1
        self.ordering = index + 1 < len(self.tape.order)
        place = self.tape.order[index] % count
        if place:
            self.deviations.append(Deviation("order", index, place))
        return place

    def essence(self) -> Tape:
        """Give the shortest and smallest tape that makes the choices made so far."""
        tracks = {"latency": bytearray(), "order": bytearray()}
        for track, position, value in self.deviations:
            track_bytes = tracks[track]
            track_bytes.extend(bytes(position - len(track_bytes)))
            track_bytes.append(LATENCIES.index(value) if track == "latency" else int(value))
        return Tape(bytes(tracks["latency"]), bytes(tracks["order"]))
