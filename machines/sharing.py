"""What searches share through a Redis server: the corpus, and what Hypothesis remembers of failures.

Rule 1: whoever is told of a server that does not answer lets go of it: a search goes on alone, and says so once.
Rule 2: what is stored is bounded, by the server's own word and not by what somebody counted a moment ago.
Rule 3: what is read is a case as text, checked like any file of a stranger; nothing that is read is ever run as code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, Final, TypeVar

from hypothesis.database import ExampleDatabase
from hypothesis.extra.redis import RedisExampleDatabase
from redis import Redis, RedisError

from machines.addresses import shown
from machines.case import Case, CaseError, from_text

CORPUS: Final = "lockstep:corpus:"
"""Before a machine's name: a hash of case texts by what their program is."""
EXAMPLES: Final = "lockstep:examples:"
MOST_EXAMPLES: Final = 64
"""Failures that Hypothesis remembers of a machine; so long as somebody searches."""
KEPT: Final = timedelta(days=30)
"""How long a corpus is kept that nobody adds to."""
_LONGEST: Final = 1 << 16
"""Characters of a case that is shared."""
_PATIENCE: Final = 5.0
"""Seconds that the server gets for an answer."""

T = TypeVar("T")


class Link:
    """A Redis server, until it is lost."""

    def __init__(self, address: str) -> None:
        self.address = shown(address)
        self.lost = ""
        """Why, if it is."""
        self.redis: Redis = Redis.from_url(address, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)

    def ask(self, what: Callable[[], T], otherwise: T) -> T:
        """An answer of the server; or another one, where it is lost."""
        if self.lost:
            return otherwise
        try:
            return what()
        except (RedisError, OSError) as error:
            self.lost = " ".join(f"{type(error).__name__}: {error}".split())
            return otherwise

    def ping(self) -> str:
        """Why it does not answer, if it does not."""
        self.ask(self.redis.ping, otherwise=False)
        return self.lost


class SharedCorpus:
    """Case texts of each machine by name, on the server."""

    _PUT: Final = """
        for at = 2, #ARGV - 1, 2 do
            if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then break end
            redis.call('HSETNX', KEYS[1], ARGV[at], ARGV[at + 1])
        end
        redis.call('EXPIRE', KEYS[1], ARGV[#ARGV])
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    def names(self, machine: str) -> list[str]:
        """What is there."""
        found: list[Any] = self._link.ask(lambda: list(self._link.redis.hkeys(CORPUS + machine)), [])
        return sorted(name.decode(errors="replace") for name in found)

    def read(self, machine: str, names: Iterable[str]) -> list[Case]:
        """Those of them that are still there and can be read."""
        asked, cases = list(names), []
        if asked:
            found: list[Any] = self._link.ask(lambda: list(self._link.redis.hmget(CORPUS + machine, asked)), [])
            for text in filter(None, found):
                with contextlib.suppress(CaseError):
                    cases.append(from_text(text.decode(errors="replace")))
        return cases

    def put(self, machine: str, texts: Mapping[str, str], most: int) -> None:
        """Add what is not there yet, as long as there is room."""
        short = {name: text for name, text in texts.items() if len(text) <= _LONGEST}
        words: list[int | str] = [most, *(word for item in short.items() for word in item), int(KEPT.total_seconds())]
        self._link.ask(lambda: self._link.redis.eval(self._PUT, 1, CORPUS + machine, *words), None)


class SharedExamples(ExampleDatabase):
    """Hypothesis' own database on the server, for one machine; bounded, and without a word where the server is lost."""

    def __init__(self, link: Link, machine: str) -> None:
        super().__init__()
        self._link = link
        prefix = f"{EXAMPLES}{machine}:"
        self._inner = RedisExampleDatabase(link.redis, key_prefix=prefix.encode(), listener_channel=prefix)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """What is remembered."""
        return self._link.ask(lambda: list(islice(self._inner.fetch(key), MOST_EXAMPLES)), [])

    def save(self, key: bytes, value: bytes) -> None:
        """Remember, as long as there is room."""
        if len(list(self.fetch(key))) < MOST_EXAMPLES:
            self._link.ask(lambda: self._inner.save(key, value), None)

    def delete(self, key: bytes, value: bytes) -> None:
        """Forget."""
        self._link.ask(lambda: self._inner.delete(key, value), None)
