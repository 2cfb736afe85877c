"""The built-in engine behind its service: ``--target machines.targets.service:service``.

Rule 1: it is spoken to in ASGI messages alone, as a server would: no socket, no thread, no time but the loop's.
Rule 2: a connection hands over one message at a time; one that is not read holds up the next, as a full socket does.
Rule 3: what an answer says is taken at its word; one that no route describes is an error that no engine may raise.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from engine.definition import parse_workflow
from engine.errors import DefinitionError, EngineClosedError, Fault, JournalError
from engine.messages import ExecutionCreated, from_json
from engine.service.app import create_app
from engine.service.catalogue import Catalogue
from engine.service.limits import Limits
from engine.state import fold, report
from machines.target import CAPABILITIES, CONNECTIONS, HungUp, Json, LetGo, Ports, UnknownExecution, immediate
from machines.targets.builtin import BuiltinTarget, Observed, ObservedJournal

if TYPE_CHECKING:
    from starlette.applications import Starlette

PATIENCE: Final = 10.0
_LIMITS: Final = Limits(rate=1e9, burst=10**9, patience=PATIENCE)
_BUFFERED: Final = 2
"""Events that a subscriber may lag behind: few, so that it does."""
_PIECE: Final = 3
"""Events that it then reads at once: few, so that it comes again for more."""
_PAGE: Final = 7
"""Events of a page when a journal is read: few, so that there are several."""
_STARTS: Final = 9
_HOST: Final = (b"host", b"service")
_ENDED, _STOPPING, _BROKEN, _REFUSED = 1000, 1001, 1011, 1008


class KeyUsedError(Exception):
    """A key was sent with something else before."""


class Unexpected(Exception):  # noqa: N818  # the name of what happened
    """An answer that nobody may be given."""


class ObservedStore(ObservedJournal):
    """The observed journal as a service wants it: it knows its executions. Workflows are stored by nobody here."""

    async def executions(self) -> list[str]:
        """All executions, oldest first."""
        return await self.kept.executions()

    async def workflows(self) -> dict[str, dict[str, Json]]:
        """None are stored."""
        return {}

    async def keep_workflow(self, workflow: str, definition: dict[str, Json] | None) -> None:
        """Nobody asks for that here."""
        raise NotImplementedError


class ServiceTarget(BuiltinTarget):
    """`engine.service.create_app`, asked as a server asks it."""

    name = "the built-in engine behind its service"
    capabilities = frozenset({*CAPABILITIES, CONNECTIONS}) - {"ownership", "conversion", "odd_inputs"}

    def journal(self, ports: Ports, before: Observed | None) -> Observed:
        """Make the journal, or open it again after a crash."""
        assert before is None or isinstance(before, ObservedStore)
        return ObservedStore(ports, before)

    def open(self, ports: Ports) -> None:
        """Make the engine and its service."""
        self._ports = ports
        store = self.journal(ports, self._journal)
        assert isinstance(store, ObservedStore)
        self._journal = store
        catalogue = self._catalogue(store)
        self._manager = self.manager_class(catalogue, buffered=_BUFFERED, piece=_PIECE)
        self._engine = self._make_engine(self._manager)
        self._app = create_app(self._engine, catalogue, hosts=None, limits=_LIMITS, clock=ports.loop.time)

    def _catalogue(self, store: ObservedStore) -> Catalogue:
        """What the journal holds. A service that cannot read it does not start; whoever runs it starts it again."""
        for _ in range(_STARTS):
            with suppress(JournalError):
                found: Catalogue = immediate(Catalogue.of(store))
                return found
        message = f"the journal could not be read in {_STARTS} starts"
        raise JournalError(message)

    async def start(self, workflow: Json, input_data: Json) -> str:
        """Start an execution."""
        return await self._begin(workflow, input_data, ())

    async def start_once(self, workflow: Json, input_data: Json, key: str) -> str:
        """Start an execution with a key."""
        return await self._begin(workflow, input_data, ((b"idempotency-key", key.encode()),))

    async def _begin(self, workflow: Json, input_data: Json, headers: Sequence[tuple[bytes, bytes]]) -> str:
        body = {"workflow": workflow, "input": input_data}
        return str((await self._ask("POST", "/v1/executions", body, headers))["execution"])

    async def pause(self, execution: str) -> bool:
        """Pause."""
        return await self._command(execution, "pause", None)

    async def resume(self, execution: str, inputs: Json) -> bool:
        """Resume with new inputs."""
        return await self._command(execution, "resume", {} if inputs is None else {"inputs": inputs})

    async def cancel(self, execution: str) -> bool:
        """Cancel."""
        return await self._command(execution, "cancel", None)

    async def _command(self, execution: str, name: str, body: Json) -> bool:
        try:
            await self._ask("POST", f"/v1/executions/{quote(execution, safe='')}/{name}", body)
        except _NotAccepted:
            return False
        return True

    def report(self, execution: str) -> Mapping[str, Json]:
        """Where the execution stands; its status is what the list says."""
        found = immediate(self._ask("GET", f"/v1/executions/{quote(execution, safe='')}"))
        entries = immediate(self._ask("GET", "/v1/executions?limit=500"))["executions"]
        entry = next(entry for entry in entries if entry["execution"] == execution)
        listed = {"status": entry["status"], "seq": entry["seq"]}
        return {**listed, "missing": found["missing"], "error": found["error"], "steps": found["steps"]}

    async def reread(self, execution: str) -> Mapping[str, Json]:
        """Where its journal, read a page at a time and folded afresh, says it stands."""
        told: list[Json] = []
        following: int | None = 0
        while following is not None:
            place = f"/v1/executions/{quote(execution, safe='')}/events?limit={_PAGE}&after={following}"
            page = await self._ask("GET", place)
            told += page["events"]
            following = page["next"]
        created, *events = [from_json({key: event[key] for key in event if key != "seq"}) for event in told]
        assert isinstance(created, ExecutionCreated)
        return report(fold(parse_workflow(created.workflow), created, events))

    def subscribe(self, execution: str, after: int) -> AsyncIterator[tuple[int, Mapping[str, Json]]]:
        """The execution's events, over a connection."""
        return Socket(self._app, f"/v1/executions/{quote(execution, safe='')}/live", after)

    async def _ask(
        self, method: str, place: str, body: Json = None, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> dict[str, Json]:
        """One request, and what it is answered.

        Raises:
            Exception: what a problem says, as the engine itself would.
        """
        path, _, query = place.partition("?")
        content = b"" if body is None else json.dumps(body).encode()
        kind = [(b"content-type", b"application/json")] if content else []
        scope = {
            **_scope("http", path, query),
            "method": method,
            "scheme": "http",
            "headers": [_HOST, *kind, *headers],
        }
        half = len(content) // 2
        parts = deque([(content[:half], True), (content[half:], False)])
        status, told = 0, b""

        async def receive() -> dict[str, Json]:
            part, more = parts.popleft()
            return {"type": "http.request", "body": part, "more_body": more}

        async def send(message: Mapping[str, Json]) -> None:
            nonlocal status, told
            status = message.get("status", status)
            told += message.get("body", b"")

        await self._app(scope, receive, send)
        answer: dict[str, Json] = json.loads(told)
        if status >= 400:  # noqa: PLR2004  # an error, as HTTP has it
            raise _error(answer)
        return answer


class _NotAccepted(Exception):  # noqa: N818  # the name of what happened
    """A command was not accepted."""


def _error(problem: Mapping[str, Json]) -> Exception:
    """What a problem is about."""
    match problem["type"]:
        case "urn:lockstep:not-accepted":
            return _NotAccepted()
        case "urn:lockstep:unknown-execution":
            return UnknownExecution(problem["detail"])
        case "urn:lockstep:invalid-definition":
            return DefinitionError(tuple(Fault(each["place"], each["problem"]) for each in problem["faults"]))
        case "urn:lockstep:journal-failed":
            return JournalError(problem["detail"])
        case "urn:lockstep:stopping":
            return EngineClosedError()
        case "urn:lockstep:key-used":
            return KeyUsedError(problem["detail"])
        case _:
            return Unexpected(f"{problem['status']} {problem['type']}: {problem['detail']}")


def _scope(kind: str, path: str, query: str) -> dict[str, Json]:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": ("subscriber", 1),
        "server": ("service", 80),
    }


class Socket(AsyncIterator[tuple[int, Mapping[str, Json]]]):
    """A WebSocket, as its client sees it; the application runs beside it in a task of its own."""

    patience = PATIENCE

    def __init__(self, app: Starlette, path: str, after: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[str] = deque()
        self._gone = self._loop.create_future()
        """Done when the client has gone."""
        self._reading: asyncio.Future[None] | None = None
        """What a message waits for that is not taken."""
        self._closed: tuple[int, str] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._greeted = False
        scope = {**_scope("websocket", path, f"after={after}"), "scheme": "ws", "headers": [_HOST], "subprotocols": []}
        self._serving = self._loop.create_task(app(scope, self._receive, self._send), name=f"connection to {path}")

    async def _receive(self) -> dict[str, Json]:
        if not self._greeted:
            self._greeted = True
            return {"type": "websocket.connect"}
        await asyncio.wait((self._gone,))
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Mapping[str, Json]) -> None:
        """Take a message, as soon as it is read."""
        while self._reading is not None and message["type"] == "websocket.send" and not self._gone.done():
            await asyncio.wait((self._reading, self._gone), return_when=asyncio.FIRST_COMPLETED)
        if self._gone.done():
            raise BrokenPipeError
        if message["type"] == "websocket.send":
            self._inbox.append(message["text"])
        elif message["type"] == "websocket.close":
            self._closed = (message["code"], message.get("reason") or "")
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def hang_up(self) -> None:
        """It breaks: what was not taken is lost."""
        self._inbox.clear()
        if not self._gone.done():
            self._gone.set_result(None)
        self._rouse()

    def stall(self) -> None:
        """From now on nothing is taken."""
        self._reading = self._loop.create_future()

    def heed(self) -> None:
        """What is there is taken."""
        if self._reading is not None:
            self._reading.set_result(None)
            self._reading = None

    async def __anext__(self) -> tuple[int, Mapping[str, Json]]:
        """The next event."""
        while not self._inbox:
            if self._gone.done():
                raise HungUp
            if self._closed is not None:
                self._end(*self._closed)
            self._wake = self._loop.create_future()
            await self._wake
        event = json.loads(self._inbox.popleft())
        return event.pop("seq"), event

    def _end(self, code: int, reason: str) -> None:
        """The service has closed the connection."""
        if code in (_ENDED, _STOPPING):
            raise StopAsyncIteration
        if code == _BROKEN:
            raise JournalError(reason)
        if code == _REFUSED:
            raise Unexpected(reason)
        raise LetGo(reason)


def service() -> ServiceTarget:
    """Make the target."""
    return ServiceTarget()
