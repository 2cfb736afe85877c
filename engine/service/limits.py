"""How much a caller may ask for, and how fast.

Rule 1: whatever a stranger can make grow has a bound here.
Rule 2: time is the clock's that was given; a caller's allowance is a number that fills up with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a service; the defaults suit a machine of its owner's."""

    body: int = 1 << 20
    """Bytes of a request's body."""
    depth: int = 64
    """Objects and lists inside each other in a request's body."""
    page: int = 500
    """Entries of one page of a list, and events of one page of a journal."""
    rate: float = 200.0
    """Requests a second of one address, on the average."""
    burst: int = 400
    """Requests of one address at once."""
    addresses: int = 4096
    """Addresses whose allowance is remembered."""
    subscribers: int = 4096
    """Live connections at once."""
    patience: float = 10.0
    """Seconds that a subscriber may take for one message before it is dropped (N2)."""
    workflows: int = 1000
    """Stored workflows."""


class Allowances:
    """What each address may still ask for: ``burst`` at once, ``rate`` a second on the average."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        """Of each address, longest unseen first: how much it had left, and when."""

    def wait(self, address: str) -> float:
        """Take one request off an address's allowance. Returns 0, or the seconds until there is one to take."""
        now, limits = self._clock(), self._limits
        left, at = self._left.pop(address, (float(limits.burst), now))
        left = min(float(limits.burst), left + (now - at) * limits.rate)
        granted = left >= 1
        self._left[address] = (left - 1 if granted else left, now)
        if len(self._left) > limits.addresses:
            del self._left[next(iter(self._left))]
        return 0.0 if granted else (1 - left) / limits.rate
