"""The simulated event loop: asyncio without a clock, a selector or a thread, and the same on every day.

Rule 1: time is a number that moves only when nothing is ready; nothing here waits, and nothing does real I/O.
Rule 2: chance comes from the tape alone: how long outside things take, and (in a second mode) who runs next.
Rule 3: no set, address or garbage collection decides an order. Tasks and futures hash by creation number, because
asyncio keeps them in sets (``wait``, ``TaskGroup``); tasks are named per loop; timers that are due at
one time fire in the order of their creation; exceptions that nobody read are found at close, not by their finaliser.
Rule 4: what is sent out cannot be called back. A call in the executor runs when its latency ends, even if whoever
waited for it was cancelled, and its result takes one more turn of the loop to arrive, as a thread's does.

Three things stay outside: a coroutine or a bare ``asyncio.Future`` that a program puts into a set (so does
``as_completed`` with coroutines; give it tasks); the order of ``all_tasks``, which earlier loops of the process may
touch; and the unread exception of a ``gather`` that nobody awaits, which asyncio reports when that future is freed.

Private asyncio surface used, held in place by the conformance test on every supported Python:
``BaseEventLoop._run_once``, ``_ready``, ``_closed``, ``_thread_id``, ``_stopping``, ``_check_closed``,
``_check_running`` (to keep run_until_complete, run_forever, stop and asyncio.Runner as they are);
``_asyncgens`` and the two ``_asyncgen_*_hook`` (a running loop finalises asynchronous generators);
``_timer_handle_cancelled`` (a cancelled timer tells its loop); ``Handle._run``, ``_cancelled``, ``_callback``,
``_args`` (a loop runs its handles); ``events._set_running_loop``; ``Future._log_traceback`` and
``Task._log_destroy_pending`` (so that the finaliser does not say again what the loop has said); ``_unregister_task``.
"""

import asyncio
import functools
import heapq
import math
import re
import sys
import threading
import weakref
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextvars import Context
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

from machines.tape import TapeReader

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SETTLE_LIMIT: Final = 100_000
"""Callbacks that one move may take before it counts as a livelock."""
RUN_LIMIT: Final = 100_000_000
"""The same for a whole program run to completion."""
_UNREAD_AT_FIRST: Final = 1024
_MANY: Final = 100
_STUBBORN: Final = 10


class Livelock(Exception):  # noqa: N818 - the name of what happened
    """Callbacks kept each other running beyond every bound."""

    def __init__(self, time: float, limit: int, names: Sequence[str]) -> None:
        super().__init__(
            f"at {time:.6g} s more than {limit} callbacks had run without coming to rest; "
            f"still ready: {', '.join(names)}"
        )


class Deadlock(Exception):  # noqa: N818 - the name of what happened
    """Nothing is ready, no timer is set, and the work is unfinished."""

    def __init__(self, time: float, names: Sequence[str]) -> None:
        super().__init__(
            f"at {time:.6g} s nothing is ready, no timer is set and the work is unfinished; "
            f"tasks waiting: {', '.join(names) or 'none'}"
        )


class NotSimulated(NotImplementedError):  # noqa: N818 - the name of what happened
    """The program asked for the world outside."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not simulated: in virtual time there are no sockets, pipes, processes or signals, "
            "and no tasks but the loop's own"
        )


class SimulatedFuture(asyncio.Future[Any]):
    """A future that hashes by creation number, and whose exception somebody has to read."""

    __slots__ = ("number",)

    def __init__(self, number: int, loop: "SimulatedLoop") -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

    def set_exception(self, exception: type | BaseException, /) -> None:
        """Fail, and have the loop remember that the exception must be read."""
        super().set_exception(exception)
        loop = self.get_loop()
        assert isinstance(loop, SimulatedLoop)
        loop._own(self)


class SimulatedTask(asyncio.Task[Any]):
    """A task that hashes by creation number."""

    __slots__ = ("number",)
    _log_destroy_pending: bool

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:  # noqa: ANN401 - as asyncio has it
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class _InOrder(weakref.WeakKeyDictionary[Any, None]):
    """A weak set that remembers the order of entry."""

    def add(self, item: object) -> None:
        self[item] = None

    def discard(self, item: object) -> None:
        self.pop(item, None)


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, driven from outside: settle, advance, drain, run."""

    _ready: deque[asyncio.Handle]
    _closed: bool
    _stopping: bool
    _check_closed: Callable[[], None]
    _check_running: Callable[[], None]
    _asyncgen_firstiter_hook: Callable[..., None]
    _asyncgen_finalizer_hook: Callable[..., None]
    _thread_id: int | None
    _debug = False

    def __init__(self) -> None:
        super().__init__()
        self._asyncgens = _InOrder()
        self.tape = TapeReader()
        self.in_flight = 0
        self.errors: list[str] = []
        self._time = 0.0
        self._created = 0
        self._named = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled_timers = 0
        self._latencies: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._owned: list[SimulatedTask | SimulatedFuture] = []
        self._sweep_at = _UNREAD_AT_FIRST
        self._abandoned: list[SimulatedTask] = []
        self._epoch = 0
        self._limit = self._budget = RUN_LIMIT

    # What a program sees

    def time(self) -> float:
        """Give the virtual time in seconds."""
        return self._time

    def get_debug(self) -> bool:
        """Say no: debug mode would be eleven times slower, and look at a clock."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Ignore it (see ``get_debug``)."""

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of our own."""
        self._created += 1
        return SimulatedFuture(self._created, self)

    def create_task(  # type: ignore[override]  # later Pythons add options, and they are passed on
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,  # noqa: ANN401 - whatever this Python's tasks take
    ) -> asyncio.Task[T]:
        """Make a task of our own; its name counts the tasks of this loop, not of the process."""
        self._check_closed()
        self._created += 1
        if name is None:
            self._named += 1
            name = f"Task-{self._named}"
        task = SimulatedTask(self._created, coro, loop=self, name=name, context=context, **options)
        self._own(task)
        return task

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Put a callback at the end of the line."""
        handle = asyncio.Handle(callback, args, self, context)
        if self._epoch and self._is_dead(callback):
            handle.cancel()
        else:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer; of those due at one time the one set first fires first."""
        self._check_closed()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._created += 1
        heapq.heappush(self._timers, (when, self._created, timer))
        return timer

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run ``func`` when its latency ends, in an empty context and outside any loop, as in a thread."""
        del executor
        future = self.create_future()
        self.call_delayed(self._work, self._epoch, future, func, args, context=Context())
        return future

    def set_task_factory(self, factory: object) -> None:
        """Refuse: tasks of another making would bring back their addresses."""
        if factory is not None:
            raise NotSimulated("set_task_factory")

    def set_default_executor(self, executor: object) -> None:
        """Ignore it: what is sent to any executor runs here."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's
        """Do nothing: there is no thread."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Collect what asyncio would log, except about an abandoned program."""
        thing = context.get("task") or context.get("future")
        if isinstance(thing, (SimulatedTask, SimulatedFuture)) and thing.number < self._epoch:
            return
        message = context.get("message") or "unhandled exception"
        if "handle" in context:
            message = f"exception in callback {self._name(context['handle'])}"
        elif isinstance(thing, asyncio.Task):
            message = f"{message} ({thing.get_name()})"
        self._report(message, context.get("exception"))

    # What the world outside does

    def latency(self) -> float:
        """Draw from the tape how long the next outside thing takes."""
        return self.tape.next_latency()

    def call_delayed(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> None:
        """Call back after a latency; until then it is in flight, and nothing can call it back."""
        self._check_closed()
        seconds = self.latency()
        self.in_flight += 1
        if seconds:
            when = self._time + seconds
            handle = asyncio.TimerHandle(when, self._arrive, (callback, args), self, context)
            self._created += 1
            heapq.heappush(self._latencies, (when, self._created, handle))
        else:
            self.call_soon(self._arrive, callback, args, context=context)

    async def delay(self) -> None:
        """Wait for a latency."""
        future = self.create_future()
        self.call_delayed(_resolve, future)
        await future

    # What drives the loop

    def settle(self, limit: int = SETTLE_LIMIT) -> None:
        """Run until nothing is ready at the present time; more than ``limit`` callbacks are a ``Livelock``."""
        self.advance(0.0, limit)

    def advance(self, seconds: float, limit: int = SETTLE_LIMIT) -> None:
        """Let time pass, settling at every timer on the way; ``limit`` bounds the callbacks of each second."""
        assert seconds >= 0, "time does not run backwards"
        until = self._time + seconds
        self._enter(limit + int(limit * seconds))
        try:
            self._rest()
            while (when := self.next_event()) is not None and when <= until:
                self._time = when
                self._rest()
            self._time = until
        finally:
            self._leave()

    def drain(self, limit: int = SETTLE_LIMIT) -> None:
        """Let time pass until nothing is in flight, and no longer."""
        self._enter(limit)
        try:
            self._rest()
            while self.in_flight and (when := self.next_event()) is not None:
                self._time = when
                self._rest()
        finally:
            self._leave()

    def run(self, coroutine: Coroutine[Any, Any, T], limit: int = RUN_LIMIT) -> T:
        """Run a coroutine to its end, going from timer to timer without waiting."""
        self._limit = self._budget = limit
        try:
            return self.run_until_complete(coroutine)
        finally:
            self._limit = self._budget = RUN_LIMIT

    def next_timer(self) -> float | None:
        """Say when the program's next timer is due."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
            self._cancelled_timers -= 1
        return self._timers[0][0] if self._timers else None

    def next_event(self) -> float | None:
        """Say when the next timer or latency ends."""
        timer = self.next_timer()
        if not self._latencies:
            return timer
        latency = self._latencies[0][0]
        return latency if timer is None else min(timer, latency)

    def pending_tasks(self) -> list[str]:
        """Name the tasks that are not done, in the order of their creation."""
        return [task.get_name() for task in self._in_order() if isinstance(task, SimulatedTask) and not task.done()]

    def abandon(self) -> None:
        """Forget the present program as a crash does: no task of it runs again, and no timer or latency of it ends.

        Its ``finally`` blocks run when the loop closes, where they can reach nothing, in the order of creation.
        """
        for handle in self._ready:
            handle.cancel()
        self._timers.clear()
        self._latencies.clear()
        self._cancelled_timers = 0
        self.in_flight = 0
        for thing in self._in_order():
            if not thing.done() and isinstance(thing, SimulatedTask):
                thing._log_destroy_pending = False
                self._abandoned.append(thing)
            else:
                thing._log_traceback = False
                _strike_off(thing)
        self._owned.clear()
        self._created += 1
        self._epoch = self._created

    def close(self) -> None:
        """Report unread exceptions and leaked tasks, and let go of everything."""
        if self._closed:
            return
        super().close()
        for thing in self._in_order():
            kind = f"task {thing.get_name()}" if isinstance(thing, SimulatedTask) else "a future"
            if not thing.done():
                self._report(f"{kind} was still pending when its loop closed")
            elif thing._log_traceback:
                self._report(f"nobody read the exception of {kind}", thing.exception())
        self.abandon()
        for task in self._abandoned:
            _end(task.get_coro())
            _strike_off(task)
        self._abandoned.clear()

    # How it works

    def _enter(self, limit: int) -> None:
        """Become the running loop, as ``run_forever`` does."""
        self._check_closed()
        self._check_running()
        self._limit = self._budget = limit
        self._thread_id = threading.get_ident()
        self._hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        events._set_running_loop(self)

    def _leave(self) -> None:
        events._set_running_loop(None)
        sys.set_asyncgen_hooks(*self._hooks)
        self._thread_id = None
        self._limit = self._budget = RUN_LIMIT

    def _rest(self) -> None:
        while self._turn():
            pass

    def _run_once(self) -> None:
        """Take one turn of ``run_forever``; with nothing ready, go to the next timer."""
        if self._turn() or self._stopping:
            return
        when = self.next_event()
        if when is None or when == math.inf:
            raise Deadlock(self._time, self.pending_tasks())
        self._time = when

    def _turn(self) -> int:
        """Run what is ready now, as one turn of asyncio's loop does; what it makes ready waits for the next turn."""
        ready, timers, latencies, now = self._ready, self._timers, self._latencies, self._time
        while (timers and timers[0][0] <= now) or (latencies and latencies[0][0] <= now):
            source = timers if timers and (not latencies or timers[0] < latencies[0]) else latencies
            timer = heapq.heappop(source)[2]
            if not timer._cancelled:
                ready.append(timer)
            elif source is timers:
                self._cancelled_timers -= 1
            del timer
        handle: asyncio.Handle | None
        count = len(ready)
        self._budget -= count
        if self._budget < 0:
            self._give_up()
        if self.tape.ordering:
            for _ in range(count):
                place = self.tape.pick(len(ready))
                handle = ready[place]
                del ready[place]
                if not handle._cancelled:
                    handle._run()
        else:
            popleft = ready.popleft
            for _ in range(count):
                handle = popleft()
                if not handle._cancelled:
                    handle._run()
        handle = None  # an exception's traceback holds this frame, and would hold itself
        return count

    def _give_up(self) -> NoReturn:
        names = dict.fromkeys(self._name(handle) for handle in self._ready if not handle._cancelled)
        raise Livelock(self._time, self._limit, list(names))

    def _own(self, thing: SimulatedTask | SimulatedFuture) -> None:
        """Keep a task or failed future until its exception is read; sweep so that a long program stays small."""
        self._owned.append(thing)
        if len(self._owned) > self._sweep_at:
            owned, self._owned = self._owned, []
            for each in owned:
                if not each.done() or each._log_traceback:
                    self._owned.append(each)
                else:
                    _strike_off(each)
            self._sweep_at = 2 * len(self._owned) + _UNREAD_AT_FIRST

    def _in_order(self) -> list[SimulatedTask | SimulatedFuture]:
        return sorted(self._owned, key=attrgetter("number"))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Count; and once most timers are cancelled, as when every wait has a timeout, rebuild the heap."""
        del handle  # it may have fired already: counted all the same, it only brings the rebuilding forward
        self._cancelled_timers += 1
        if self._cancelled_timers > _MANY and 2 * self._cancelled_timers > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _is_dead(self, callback: object) -> bool:
        """Say whether a callback would wake a task of an abandoned program; a closed loop takes none at all."""
        self._check_closed()
        owner = getattr(callback, "__self__", None)
        return isinstance(owner, SimulatedTask) and owner.number < self._epoch

    def _arrive(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.in_flight -= 1
        callback(*args)

    def _work(
        self, epoch: int, future: asyncio.Future[Any], func: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        """Do what a thread of the executor does: run, and send word to the loop, if its program is still there."""
        events._set_running_loop(None)
        try:
            result = func(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the future
            if epoch == self._epoch:
                self.call_soon(_reject, future, error)
        else:
            if epoch == self._epoch:
                self.call_soon(_resolve, future, result)
        finally:
            events._set_running_loop(self)
            del future, func, args  # the error's traceback holds this frame

    def _name(self, handle: asyncio.Handle) -> str:
        """Name who a handle runs, without an address."""
        callback: Any = handle._callback  # type: ignore[attr-defined] # asyncio's own
        if callback == self._arrive:
            callback = handle._args[0]
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, asyncio.Task):
            return owner.get_name()
        while isinstance(callback, functools.partial):
            callback = callback.func
        return str(getattr(callback, "__qualname__", type(callback).__name__))

    def _report(self, message: str, error: BaseException | None = None) -> None:
        text = message if error is None else f"{message}: {type(error).__name__}: {error}"
        self.errors.append(re.sub(r"\b0x[0-9a-fA-F]+", "0x", text))


def _resolve(future: asyncio.Future[Any], result: object = None) -> None:
    if not future.cancelled():
        future.set_result(result)


def _reject(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.cancelled():
        future.set_exception(error)


def _end(coroutine: Any) -> None:  # noqa: ANN401 - whatever a task may run
    """Close a coroutine that will never run again, however much it objects, and keep what it says to itself."""
    for _ in range(_STUBBORN):
        try:
            coroutine.close()
        except (Exception, asyncio.CancelledError, GeneratorExit):  # noqa: BLE001, S112 - it is told to end, and no more
            continue
        else:
            return


def _strike_off(thing: SimulatedTask | SimulatedFuture) -> None:
    """Take a task that is over off asyncio's list of all tasks.

    That is a set. Until the garbage collector comes, it would hold the tasks of all loops that this process has had,
    and those of one number hash alike: a thousand cases later nobody is found there quickly.
    """
    if isinstance(thing, SimulatedTask):
        asyncio._unregister_task(thing)


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotSimulated(name)

    return refuse


for _name in (
    *("add_reader", "remove_reader", "add_writer", "remove_writer", "add_signal_handler", "remove_signal_handler"),
    *("getaddrinfo", "getnameinfo", "create_connection", "create_server", "start_tls", "sendfile"),
    *("create_unix_connection", "create_unix_server", "connect_accepted_socket", "create_datagram_endpoint"),
    *("connect_read_pipe", "connect_write_pipe", "subprocess_shell", "subprocess_exec"),
    *("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendto"),
    *("sock_connect", "sock_accept", "sock_sendfile"),
):
    setattr(SimulatedLoop, _name, _refuse(_name))
