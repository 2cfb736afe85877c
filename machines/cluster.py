"""A campaign on a cluster of machines: Dask's scheduler hands its chunks to whoever is free.

Rule 1: the campaign itself stays one, here: its totals, its shares of time, its cases on disk. A worker is asked for
one chunk after the other (``machines.cluster_task``), and owns nothing that would be lost with it.
Rule 2: a chunk is known by its number, and counts once: when it is heard of first. One whose worker died is carried
out again by another, as the scheduler sees to.
Rule 3: a chunk that several workers died with may only have waited beside the one that ended them. It is asked for once
more, and no other such one with it; if it ends several again, it is told of, and left alone.
Rule 4: what was heard stays. A scheduler that is gone ends the search: nobody else knew what was under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import queue
import secrets
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.security import Security

from machines import campaign
from machines.campaign import DEATHS, TICK, Campaign, lanes_of
from machines.cluster_task import Carried, Identity, Task, carry_out, dismiss, identity, introduce
from machines.fingerprint import ViolationKind
from machines.searching import Plan, Trouble
from machines.shares import Shares
from machines.totals import Totals

PATIENCE = 10.0
"""Seconds that a scheduler, or a worker with a result, gets for an answer."""
AHEAD: Final = 2
"""Chunks that are asked for, for each that can be carried out at a time: nobody waits for the next one."""
_LOOK: Final = 2.0
"""Seconds between two looks at how many workers there are."""
WORKER: Final = 0
"""The worker under whose number chunks are counted: the campaign goes on behind them, here or on a cluster."""


class ClusterError(Exception):
    """The cluster cannot be searched with, and every reason."""


@contextlib.contextmanager
def connected(address: str, target: str, redis: str | None) -> Iterator[Client]:
    """A cluster all of whose workers can take part.

    Raises:
        ClusterError: there is none, or not all of them can.
    """
    for name in ("distributed", "distributed.client", "distributed.core", "distributed.utils_comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it has to say is told in our words
    if address.startswith("tls:"):
        _check_certificates()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            client = Client(address, timeout=PATIENCE, set_as_default=False, name="lockstep")
        except (OSError, ValueError, TypeError) as error:
            message = f"no scheduler of Dask answers: {_told(error)}"
            raise ClusterError(message) from None
    try:
        if faults := _unfit(client, identity(), target, redis):
            raise ClusterError("; ".join(faults))
        for each in warned:  # of versions of Dask's own, which may differ; where ours do, that is told above
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        yield client
    finally:
        with contextlib.suppress(Exception):  # it may be gone, and there is nothing left to ask of it
            client.close(timeout=1)


def _check_certificates() -> None:
    """Refuse TLS without certificates: Dask's client fails then, and stands in the way of the end of this process."""
    try:
        context = Security().get_connection_args("client")["ssl_context"]
    except OSError as error:
        message = f"the certificates in Dask's configuration cannot be used: {_told(error)}"
        raise ClusterError(message) from None
    if context is None:
        message = "tls:// needs certificates, and Dask's configuration (distributed.comm.tls) has none"
        raise ClusterError(message)


def _unfit(client: Client, like: Identity, target: str, redis: str | None) -> list[str]:
    """What keeps whom from taking part."""
    try:
        found: dict[str, Any] = {"the scheduler": client.run_on_scheduler(identity().differs, like)}
    except Exception as error:  # noqa: BLE001  # whatever it raises there, it is told
        found = {"the scheduler": error}
    workers = client.run(introduce, like, target, redis, on_error="return")
    found |= {f"worker {address}": workers[address] for address in sorted(workers)}
    faults = []
    for name, said in found.items():
        if isinstance(said, BaseException):
            faults.append(f"{name} cannot be asked: {_told(said)}")
        elif said:
            faults.append(f"{name}: {', '.join(said)}")
    return faults if workers else [*faults, "there is no worker"]


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def threads(client: Client) -> int:
    """How many chunks it can carry out at a time."""
    return sum(client.nthreads().values())


class ClusterCampaign(Campaign):
    """Asks a cluster for chunks, and counts what comes."""

    def __init__(
        self,
        plan: Plan,
        client: Client,
        watch: Callable[[Totals], None] = lambda _: None,
        first: Mapping[int, int] | None = None,
    ) -> None:
        """``first``: the number of its first chunk, if an earlier run of this seed was stopped there."""
        super().__init__(plan, watch, first)
        self._client = client
        self._name = secrets.token_hex(8)
        self._first_chunk = self._next = self._first.get(WORKER, 0)
        self._lanes = lanes_of(plan)
        self._shares = Shares(self._lanes)
        self._came: Counter[ViolationKind] = Counter()
        self._asked: dict[int, Future[Carried]] = {}
        """By number: the chunks that are asked for."""
        self._tasks: dict[int, Task] = {}
        self._suspects: deque[int] = deque()
        """Chunks that several workers died with, to be asked for once more."""
        self._suspected: dict[int, None] = {}
        """Those that were."""
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()
        """Numbers of chunks of which something can be heard."""
        self._heard = self._looked = time.monotonic()
        self._threads = threads(client)
        self._losses = 0
        """Chunks of which nothing came, one after the other."""

    def run(self) -> Totals:
        """Search until the time is up, the cases are done, somebody interrupts, or nobody is left to search."""
        with self._signals():
            try:
                while self._asked or self._suspects or self._more():
                    self._ask()
                    self._listen()
                    self._check()
                    self._tell_drift(self.drift.look())
                    self._watch(self.totals)
                self._tell_drift(self.drift.rest())
            finally:
                self.drift.stop()
                self._let_go()
        self.totals.wall_seconds = time.monotonic() - self.totals.started
        return self.totals

    # Asking

    def _more(self) -> bool:
        """Whether there is another chunk to ask for."""
        if self._stopping is not None:
            return False
        return self.plan.cases is None or self._next - self._first_chunk < math.ceil(
            self.plan.cases / campaign.EXAMPLES
        )

    def _ask(self) -> None:
        if self._suspects and not self._suspected.keys() & self._asked.keys():
            number = self._suspects.popleft()
            self._suspected[number] = None
            self._submit(number, "-again")
        while self._more() and len(self._asked) < AHEAD * max(self._threads, 1):
            number, self._next = self._next, self._next + 1
            self._tasks[number] = self._task(number)
            self.totals.chunks[WORKER] = self._next
            self._submit(number)

    def _submit(self, number: int, mark: str = "") -> None:
        key = f"lockstep-{self._name}-{number}{mark}"
        self._asked[number] = future = self._client.submit(carry_out, self._tasks[number], key=key, pure=False)
        future.add_done_callback(lambda _: self._done.put(number))

    def _task(self, number: int) -> Task:
        if self.plan.cases is None:
            came = tuple(self._came.items())
            lane, seconds = self._shares.turn(), campaign.CHUNK_SECONDS
            return Task(self._name, number, lane, self.plan, identity(), came=came, seconds=seconds)
        size, rank = campaign.EXAMPLES, number - self._first_chunk
        lane = self._lanes[number % len(self._lanes)]
        return Task(self._name, number, lane, self.plan, identity(), min(size, self.plan.cases - rank * size))

    # Listening

    def _listen(self) -> None:
        try:
            numbers = [self._done.get(timeout=TICK)]
        except queue.Empty:
            return
        numbers += (self._done.get() for _ in range(self._done.qsize()))
        for number in numbers:
            self._hear(number)

    def _hear(self, number: int) -> None:
        """Take in what came of a chunk; the first time counts."""
        if (future := self._asked.get(number)) is None or self._client.status != "running":
            return
        try:
            carried = future.result(timeout=PATIENCE)
        except TimeoutError:  # whoever had it is gone, and it is carried out again
            self._done.put(number)
            return
        except KilledWorker as error:
            if number not in self._suspected:
                del self._asked[number]
                self._suspects.append(number)
                return
            carried = Carried(lost=self._deadly(number, error))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # whatever it is, it is told
            if self._client.status != "running":
                return
            carried = Carried(lost=Trouble("cluster", f"a chunk could not be carried out: {_told(error)}"))
        del self._asked[number]
        self._count(self._tasks.pop(number), carried)

    def _deadly(self, number: int, error: KilledWorker) -> Trouble:
        machine, fast = self._tasks[number].lane
        front = "the fast driver" if fast else "Hypothesis"
        place = f"chunk {number} of seed {self.plan.seed}: {machine}, by {front}"
        sentence = f"a chunk ended {2 * (error.allowed_failures + 1)} workers of the cluster, one after the other"
        return Trouble("worker", sentence, f"{place}; the last one was {error.last_worker}")

    def _count(self, task: Task, carried: Carried) -> None:
        self._heard = time.monotonic()
        self._losses = 0 if carried.reports else self._losses + 1
        for report in carried.reports:
            self.totals.add(report)
            self.drift.add(report.again)
            if report.kind is not None:
                self._came[report.kind] += 1
        self._shares.heard(task.lane, sum(report.news for report in carried.reports))
        if carried.lost is not None:
            self.totals.add_trouble(carried.lost)
        if carried.misfit:
            self.totals.add_trouble(Trouble("cluster", f"a worker has come that cannot take part, {carried.misfit}"))
            self._stop()

    # Coming to an end

    def _stop(self) -> None:
        if self._stopping is None:
            self._stopping = time.monotonic()

    def _check(self) -> None:
        """Stop when it is time, and do not wait for what does not come."""
        now = time.monotonic()
        if self._client.status != "running":
            self._give_up(
                f"the scheduler at {self._client.scheduler.address if self._client.scheduler else ''} is gone"
            )
            return
        if now - self._looked > _LOOK:
            self._looked = now
            with contextlib.suppress(Exception):  # that it is gone is seen above
                self._threads = threads(self._client)
        if (self._deadline is not None and now >= self._deadline) or self.totals.interrupted:
            self._stop()
        if self._losses >= DEATHS * max(self._threads, 1):
            self._give_up("nothing comes of any chunk any more")
        elif self._stopping is not None and now - max(self._heard, self._stopping) > campaign.GRACE:
            self._give_up(f"what was under way did not end within {campaign.GRACE:g} seconds")
        elif self._asked and now - self._heard > campaign.SILENCE:
            self._give_up(f"the cluster, with {self._threads} threads, was silent for {campaign.SILENCE:g} seconds")

    def _give_up(self, why: str) -> None:
        self._stop()
        if left := len(self._asked) + len(self._suspects):
            why += f"; chunks that were under way and are not counted: {left}"
        self.totals.add_trouble(Trouble("cluster", why))
        self._let_go()

    def _let_go(self) -> None:
        """Ask for nothing any more, and let the workers go."""
        futures, self._asked = list(self._asked.values()), {}
        self._suspects.clear()
        with contextlib.suppress(Exception):  # it may be gone
            if self._client.status == "running":
                self._client.cancel(futures, force=True)
                self._client.run(dismiss, self._name, on_error="ignore")
