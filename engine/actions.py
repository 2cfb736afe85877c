"""The actions that come with the engine: what ``lockstep run`` can do without any code of the user's.

Rule 1: an action refuses parameters that it does not understand, and says which and why.
Rule 2: when an action has ended, nothing of it is left: no process, no reader, no descriptor.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from engine.driver import Action, ActionContext
from engine.errors import WorkflowError
from engine.messages import Json

__all__ = ["ACTIONS", "GRACE", "OUTPUT_LIMIT", "ActionError", "ParameterError", "echo", "fail", "shell", "wait"]

GRACE: Final = 2.0
"""Seconds that a command has after SIGTERM before SIGKILL."""
OUTPUT_LIMIT: Final = 1 << 20
"""Bytes that are kept of each of a command's outputs."""
_TAIL: Final = 1000
_CHUNK: Final = 1 << 16
_POLL: Final = 0.02
_PROC: Final = Path("/proc")
_DEAD: Final = ("X", "Z")


class ActionError(WorkflowError):
    """An action did not achieve what it was to do."""

    def __init__(self, reason: str, exit_code: int | None = None, stderr: str = "") -> None:
        super().__init__(reason, exit_code, stderr)
        self.reason = reason
        self.exit_code = exit_code
        self.stderr = stderr

    def __str__(self) -> str:
        """The reason, and the end of what the command had to say about it."""
        return f"{self.reason}: {self.stderr}" if self.stderr else self.reason


class ParameterError(WorkflowError, ValueError):
    """An action was given parameters that it does not understand."""

    def __init__(self, action: str, parameter: str, problem: str) -> None:
        super().__init__(action, parameter, problem)
        self.action = action
        self.parameter = parameter
        self.problem = problem

    def __str__(self) -> str:
        """The action, the parameter, and what is wrong with it."""
        return f"{self.action}: parameters.{self.parameter} {self.problem}"


async def wait(parameters: dict[str, Json], context: ActionContext) -> Json:
    """Wait for ``seconds``, and return them."""
    del context
    _check_keys("wait", parameters, ("seconds",))
    seconds = parameters.get("seconds")
    if not _finite(seconds) or seconds < 0:
        raise ParameterError("wait", "seconds", f"must be a finite number of at least 0, not {_shown(seconds)}")
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


async def echo(parameters: dict[str, Json], context: ActionContext) -> Json:
    """Return the parameters."""
    del context
    return parameters


async def fail(parameters: dict[str, Json], context: ActionContext) -> Json:
    """Fail with ``message``; with ``times`` only that many attempts do, and the next one returns an empty object."""
    _check_keys("fail", parameters, ("message", "times"))
    message, times = parameters.get("message", "this step is there to fail"), parameters.get("times")
    if type(message) is not str:
        raise ParameterError("fail", "message", f"must be a text, not {_shown(message)}")
    if times is not None and (type(times) is not int or times < 0):
        raise ParameterError("fail", "times", f"must be a whole number of at least 0, not {_shown(times)}")
    if times is None or context.attempt <= times:
        raise ActionError(message)
    return {}


async def shell(parameters: dict[str, Json], context: ActionContext) -> Json:
    """Run ``command`` (a text for the shell, or a list: a program and its arguments) in a process group of its own.

    Returns ``exit_code``, ``stdout`` and ``stderr``; an output of more than ``OUTPUT_LIMIT`` bytes is cut there, and
    ``cut`` then tells how many bytes it had. What the command leaves behind in its group when it exits, or when the
    attempt is cancelled, is terminated, after ``GRACE`` seconds killed, and awaited.

    Raises:
        ActionError: the command could not be started, exited with another code than 0, or was killed.
    """
    del context
    _check_keys("shell", parameters, ("command",))
    command = _command(parameters.get("command"))
    with closing(_Output()) as stdout, closing(_Output()) as stderr:
        process = await _start(command, stdout, stderr)
        try:
            code = await process.wait()
        finally:
            await _clear(process)
        # Somebody who left the group may hold the pipes still: what came until now is the output.
        await asyncio.wait((stdout.ended, stderr.ended), timeout=GRACE)
    if code:
        raise ActionError(_ending(code), code, stderr.last())
    outputs = {"stdout": stdout, "stderr": stderr}
    cut = {name: output.size for name, output in outputs.items() if output.size > OUTPUT_LIMIT}
    texts = {name: output.text() for name, output in outputs.items()}
    return {"exit_code": code, **texts, **({"cut": cut} if cut else {})}


ACTIONS: Final[Mapping[str, Action]] = MappingProxyType({"wait": wait, "echo": echo, "fail": fail, "shell": shell})


# Parameters


def _check_keys(action: str, parameters: Mapping[str, Json], known: Collection[str]) -> None:
    for name in parameters:
        if name not in known:
            raise ParameterError(action, name, f"is unknown: it takes {' and '.join(known)}")


def _finite(value: Json) -> TypeGuard[float]:
    try:
        return (type(value) is int or type(value) is float) and isfinite(value)
    except OverflowError:
        return False


def _command(given: Json) -> str | list[str]:
    """The command to run, if it is one."""
    arguments = given if isinstance(given, list) else [given]
    if not arguments or not all(type(argument) is str for argument in arguments) or not arguments[0]:
        problem = f"must be a text or a list of texts, the first of them not empty, not {_shown(given)}"
        raise ParameterError("shell", "command", problem)
    if any("\0" in argument for argument in arguments):
        raise ParameterError("shell", "command", "holds a NUL character, which no command can")
    return arguments if isinstance(given, list) else str(given)


def _shown(value: Json) -> str:
    if type(value) is int and value.bit_length() > _TAIL:
        return "a huge integer"
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."  # noqa: PLR2004  # enough to recognise it


# Processes


class _Output:
    """One of a command's outputs, read through a pipe of our own: ``Process.wait`` is then about the process alone."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reading, self.writing = os.pipe()
        try:
            os.set_blocking(self._reading, False)
            self._loop.add_reader(self._reading, self._read)
        except BaseException:
            os.close(self._reading)
            os.close(self.writing)
            raise
        self._kept = bytearray()
        self._tail = b""
        self.size = 0
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def _read(self) -> None:
        try:
            chunk = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._loop.remove_reader(self._reading)
            self.ended.set_result(None)
            return
        self.size += len(chunk)
        self._kept += chunk[: OUTPUT_LIMIT - len(self._kept)]
        self._tail = (self._tail + chunk)[-_TAIL:]

    def text(self) -> str:
        """What is kept of the output; bytes that are no UTF-8 are replaced."""
        return self._kept.decode(errors="replace")

    def last(self) -> str:
        """The end of the output."""
        return self._tail.decode(errors="replace").strip()

    def started(self) -> None:
        """The process has its own copy of the writing end now."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Read no more."""
        self.started()
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        self.ended.cancel()


async def _start(command: str | list[str], stdout: _Output, stderr: _Output) -> asyncio.subprocess.Process:
    """Start the command. A cancellation that comes meanwhile ends it again before it is passed on."""
    arguments = command if isinstance(command, list) else ["/bin/sh", "-c", command]
    creating = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout.writing,
            stderr=stderr.writing,
            start_new_session=True,
        )
    )
    cancelled = await _see_through(creating)
    stdout.started()
    stderr.started()
    try:
        process = creating.result()
    except (OSError, ValueError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = f"cannot start {arguments[0]!r}: {problem}"
        raise ActionError(reason) from error
    if cancelled:
        await _clear(process)
        raise asyncio.CancelledError
    return process


async def _clear(process: asyncio.subprocess.Process) -> None:
    """End all that is left of the command's process group, and wait for its end.

    A cancellation that comes meanwhile cuts the time of grace short, and is passed on afterwards.
    """
    cancelled = False
    try:
        _signal(process, signal.SIGTERM)
        await _gone(process)
    except asyncio.CancelledError:
        cancelled = True
    _signal(process, signal.SIGKILL)
    for ending in (process.wait(), _gone(process)):
        cancelled = await _see_through(asyncio.create_task(ending)) or cancelled
    if cancelled:
        raise asyncio.CancelledError


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait until nobody is left in the group, for as long as grace lasts."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE
    while _anybody(process.pid) and loop.time() < deadline:  # noqa: ASYNC110  # nobody tells when a group is empty
        await asyncio.sleep(_POLL)


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    """Send a signal to the command's whole group, if there is anybody left in it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _anybody(group: int) -> bool:
    """Whether a process of the group is alive. One that has died and is not buried yet is not."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    stats = [_stat(entry) for entry in _PROC.glob("[0-9]*/stat")]
    return not stats or any(member == str(group) and state not in _DEAD for state, member in stats)


def _stat(path: Path) -> tuple[str, str]:
    """A process's state and group, from Linux's account of it (proc(5)): they come after its name in parentheses."""
    try:
        state, _, member = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return "X", ""
    return state, member


async def _see_through(task: asyncio.Task[Any]) -> bool:
    """Wait for a task that will end soon, whoever cancels us meanwhile. Returns whether somebody did."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


def _ending(code: int) -> str:
    """How a command ended that did not succeed."""
    if code > 0:
        return f"the command exited with {code}"
    try:
        return f"the command was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"the command was killed by signal {-code}"
