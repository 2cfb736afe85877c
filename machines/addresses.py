"""Addresses on a command line: of a cluster's scheduler, and of a Redis server.

Rule 1: every fault of all that is given is told at once, before anybody is asked for anything.
Rule 2: what may be a password is never shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

_CLUSTER: Final = ("tcp", "tls")
_REDIS: Final = ("redis", "rediss")


def faults_of(cluster: str | None, redis: str | None) -> list[str]:
    """All that is wrong with them, each with its option."""
    found: list[str] = []
    if cluster is not None:
        found += (f"--cluster {shown(cluster)}: {fault}" for fault in _faults(cluster, _CLUSTER, ""))
    if redis is not None:
        found += (f"--redis {shown(redis)}: {fault}" for fault in _faults(redis, _REDIS, "/DB"))
    return found


def shown(address: str) -> str:
    """It without the name and the password that may stand in it."""
    scheme, slashes, rest = address.rpartition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def _faults(address: str, schemes: tuple[str, ...], tail: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        yield "cannot be read as an address"
        return
    if parts.scheme not in schemes or "://" not in address:
        yield f"must be {' or '.join(f'{scheme}://HOST:PORT{tail}' for scheme in schemes)}"
        return
    if not parts.hostname:
        yield "names no host"
    yield from _port_faults(parts)
    if not tail and parts.username is not None:
        yield "takes no user"
    rest = parts.path.removeprefix("/")
    if tail and not ((rest.isascii() and rest.isdigit()) or not rest):
        yield f"names a database by its number, not {rest!r}"
    if not tail and rest:
        yield f"takes no path, not {rest!r}"
    if parts.query or parts.fragment:
        yield "takes nothing behind ? or #"


def _port_faults(parts: SplitResult) -> Iterator[str]:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        yield "names no port"
    elif port == 0:
        yield "has a port that is no number from 1 to 65535"
