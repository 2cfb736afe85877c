"""``lockstep serve``: the engine as a service, on one journal.

Rule 1: whatever can be refused is refused before anybody is answered and any execution is taken up: exit status 2.
Rule 2: a definition reaches the actions that it names and nothing else; none of those runs a command of its own, unless
whoever starts the service brings it.
Rule 3: the first SIGTERM or Ctrl-C lets attempts under way end for a time of grace, the next one does not wait; what is
unfinished is taken up at the next start.
"""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Final

import click

from engine.actions import ACTIONS
from engine.driver import Action
from engine.errors import JournalError
from engine.sqlite_journal import SqliteJournal, Synchronous
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.bounds import a_number
from machines.course import counted, one_line
from machines.following import Interruption, wall_clock
from machines.given import refuse
from machines.recovering import check_unfinished
from machines.running import max_concurrent_steps, synchronous

__all__ = ["serve"]

_SAFE: Final = ("wait", "echo", "fail")
"""The built-in actions that have no effect outside: ``shell`` would be a way from a definition to any command."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+-]{16,512}")
"""What a token may be: it has to fit into a header and into a WebSocket's subprotocol."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be served, to whom, and how."""

    journal: str
    actions: Mapping[str, Action]
    token: str | None
    hosts: tuple[str, ...] | None
    synchronous: Synchronous
    slots: int
    grace: float


@click.command()
@click.option("--journal", metavar="FILE", required=True, help="The SQLite file that the executions are kept in.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8700, show_default=True, help="The port; 0 takes a free one."
)
@click.option(
    "--actions",
    "module",
    metavar="MODULE",
    help="Import this module and take the actions that its ACTIONS names, beside wait, echo and fail.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="Ask every request for the token in this file; without it, only a loopback address is listened on.",
)
@synchronous("FULL")
@max_concurrent_steps
@click.option(
    "--grace",
    type=click.FloatRange(0, 3600),
    callback=a_number,
    default=10.0,
    show_default=True,
    help="Seconds that attempts under way have to end when the service stops.",
)
def serve(
    *,
    journal: str,
    host: str,
    port: int,
    module: str | None,
    token_file: str | None,
    synchronous: Synchronous | None,
    max_concurrent_steps: int,
    grace: float,
) -> int:
    """Serve the engine over HTTP and WebSocket, with a page to look at it.

    Unfinished executions of the journal are taken up. Exit status: 0 it was stopped, 2 bad input.
    """
    _check_extra()
    token = None if token_file is None else _read_token(token_file)
    hosts = _hosts(host, token)
    plan = _Plan(journal, _actions(module), token, hosts, synchronous or "FULL", max_concurrent_steps, grace)
    try:
        asyncio.run(_serve(plan, _listen(host, port)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except JournalError as error:
        refuse(error.reason)
    return 0


# What is given


def _check_extra() -> None:
    for name in ("starlette", "uvicorn", "websockets"):
        try:
            importlib.import_module(name)
        except ImportError:
            refuse(f"{name} is not installed: pip install 'workflow-lockstep[service]'")


def _read_token(file: str) -> str:
    place = f"--token-file {file}"
    path = Path(file)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            refuse(place, "others may read it: chmod 600")
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        refuse(place, error.strerror or error)
    except ValueError:
        token = ""
    if not _TOKEN.fullmatch(token):
        refuse(place, "must hold one token, of 16 to 512 letters, digits and ._~+-")
    return token


def _hosts(host: str, token: str | None) -> tuple[str, ...] | None:
    """The names by which the service may be asked; None: any, but with a token."""
    from engine.service import LOOPBACK  # noqa: PLC0415  # the extra may be missing

    if host in LOOPBACK or _is_loopback(host):
        return (*LOOPBACK, host)
    if token is None:
        refuse(f"--host {host}", "others may reach it there: give a token with --token-file")
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _actions(module: str | None) -> dict[str, Action]:
    """The actions that there are."""
    found: dict[str, Action] = {name: ACTIONS[name] for name in _SAFE}
    if module is None:
        return found
    place = f"--actions {module}"
    try:
        given = importlib.import_module(module).ACTIONS
    except Exception as error:  # noqa: BLE001  # a module may raise anything while it is imported
        refuse(place, f"{type(error).__name__}: {error}")
    if not isinstance(given, Mapping):
        refuse(place, "its ACTIONS must be a mapping from names to coroutine functions")
    wrong = [name for name, action in given.items() if type(name) is not str or not iscoroutinefunction(action)]
    if wrong:
        refuse(place, f"these of its ACTIONS are no coroutine functions: {', '.join(map(str, wrong))}")
    return {**found, **given}


def _listen(host: str, port: int) -> socket.socket:
    from engine.service.server import bound  # noqa: PLC0415  # the extra may be missing

    try:
        return bound(host, port)
    except OSError as error:
        number = error.errno or 0  # of a name that means nothing: less than 0, and no error of the system's
        refuse(f"--host {host} --port {port}", os.strerror(number) if number > 0 else error.strerror or error)


# What happens


async def _serve(plan: _Plan, listening: socket.socket) -> None:
    """Take up what is unfinished, and answer until somebody does not want it any more."""
    from engine.service import Catalogue, create_app  # noqa: PLC0415  # the extra may be missing
    from engine.service.server import serve  # noqa: PLC0415  # as above

    with listening:
        journal = await SqliteJournal.open(plan.journal, synchronous=plan.synchronous)
        try:
            catalogue = await Catalogue.of(journal)
            manager = ExecutionStateManager(catalogue)
            await check_unfinished(plan.journal, manager, plan.actions)
            engine = WorkflowEngine(manager, plan.actions, max_concurrent_steps=plan.slots, clock=wall_clock())
            app = create_app(engine, catalogue, token=plan.token, hosts=plan.hosts)
        except BaseException:
            await journal.close()
            raise
        with Interruption() as interruption:
            try:
                taken = await engine.recover()
                _say(_place(listening, plan, taken))
                await serve(app, listening, interruption.came)
                _say(f"stopping; attempts under way have {plan.grace:g} s to end (again: do not wait)")
                await engine.close(plan.grace)
            finally:
                await engine.close()


def _say(words: str) -> None:
    click.echo(one_line(f"lockstep serve: {words}"))


def _place(listening: socket.socket, plan: _Plan, taken: Sequence[str]) -> str:
    """Where the service is, and on what."""
    host, port = listening.getsockname()[:2]
    place = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    up = f", {counted(len(taken), 'execution')} taken up" if taken else ""
    return f"{place}, journal {plan.journal}{up}"
