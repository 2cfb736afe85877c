"""The routes, and what each does: a request becomes one call of the engine, and its outcome an answer.

Rule 1: nothing here knows what an execution may do: the engine decides, and its refusals are answers.
Rule 2: handlers are coroutines that await the engine and the request alone: no thread, no clock, no task of anybody
else's. So they run in a simulated loop as they do on real sockets.
Rule 3: what an ``Idempotency-Key`` has started is named by it: the execution's id is made of the key alone, so the
journal, which begins no execution twice, is what remembers the key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Collection
from itertools import islice
from typing import Final, TypeAlias
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from engine.errors import Fault
from engine.messages import ExecutionCreated, Json, to_json
from engine.service.catalogue import Catalogue, Entry, workflow_id
from engine.service.guard import LOOPBACK, Guard
from engine.service.limits import Limits
from engine.service.live import Live
from engine.service.openapi import description
from engine.service.page import ROUTES as PAGE
from engine.service.problems import ANSWERED, Problem, on_error
from engine.service.reading import Query, body_of, object_of
from engine.state import Status
from engine.workflow import Workflow
from engine.workflow_engine import WorkflowEngine

__all__ = ["create_app", "execution_of"]

_LONGEST_KEY: Final = 255
_PAGE: Final = 50
_STATUSES: Final = tuple(status.value for status in Status)


def create_app(
    engine: WorkflowEngine,
    catalogue: Catalogue,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The ASGI application of an engine. Who made the engine recovers and closes it.

    Args:
        engine: runs the workflows; its state manager's journal is ``catalogue``.
        catalogue: the journal, and the list of what is in it.
        token: what every request has to bring; None: nothing, which suits a service that only its own machine reaches.
        hosts: the names by which it may be asked (``Host``); None: any.
        limits: how much may be asked for.
        clock: seconds, for the rate of requests.
    """
    limits = limits or Limits()
    service = _Service(engine, catalogue, limits)
    guard = Middleware(Guard, token=token, hosts=hosts, limits=limits, clock=clock)
    handlers = dict.fromkeys((Exception, *ANSWERED), on_error)
    app = Starlette(routes=[*service.routes(), *PAGE], middleware=[guard], exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def execution_of(key: str) -> str:
    """The id of the execution that an ``Idempotency-Key`` starts."""
    return "key-" + hashlib.sha256(key.encode()).hexdigest()[:32]


class _Service:
    """The handlers."""

    def __init__(self, engine: WorkflowEngine, catalogue: Catalogue, limits: Limits) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._limits = limits
        self._starting: dict[str, asyncio.Task[str]] = {}
        """The starts under way that a key names."""

    def routes(self) -> list[BaseRoute]:
        """What is asked where, and how."""
        live = Live(self._engine, self._catalogue, self._limits)
        execution = "/v1/executions/{execution}"
        return [
            _route("/openapi.json", GET=self.describe),
            _route("/v1/validate", POST=self.validate),
            _route("/v1/workflows", GET=self.list_workflows, POST=self.store_workflow),
            _route("/v1/workflows/{workflow:path}", GET=self.show_workflow, DELETE=self.remove_workflow),
            _route("/v1/recover", POST=self.recover),
            _route("/v1/executions", GET=self.list_executions, POST=self.start),
            _route(execution, GET=self.show_execution),
            _route(f"{execution}/workflow", GET=self.show_outline),
            _route(f"{execution}/events", GET=self.list_events),
            _route(f"{execution}/pause", POST=self.pause),
            _route(f"{execution}/resume", POST=self.resume),
            _route(f"{execution}/cancel", POST=self.cancel),
            WebSocketRoute(f"{execution}/live", live),
        ]

    async def describe(self, _: Request) -> Response:
        """The description of all this."""
        return JSONResponse(description(self._limits))

    # Workflows

    async def validate(self, request: Request) -> Response:
        """A definition is valid: its steps in order; or all its faults."""
        return JSONResponse(outline(self._engine.parse(await body_of(request, self._limits))))

    async def store_workflow(self, request: Request) -> Response:
        """Keep a valid definition under its id, in place of an earlier one."""
        workflow = self._engine.parse(await body_of(request, self._limits))
        known = self._catalogue.workflows
        if workflow.id not in known and len(known) >= self._limits.workflows:
            raise Problem(409, "too-many-workflows", f"{len(known)} workflows are stored, as many as are allowed")
        status = 200 if workflow.id in known else 201
        await self._catalogue.keep_workflow(workflow.id, workflow.definition)
        headers = {"Location": f"/v1/workflows/{quote(workflow.id)}"}
        return JSONResponse(outline(workflow), status, headers)

    async def list_workflows(self, _: Request) -> Response:
        """The stored workflows' ids, in the order of the alphabet."""
        return JSONResponse({"workflows": sorted(self._catalogue.workflows)})

    async def show_workflow(self, request: Request) -> Response:
        """A stored definition, as it was given."""
        return JSONResponse(self._stored(request.path_params["workflow"]))

    async def remove_workflow(self, request: Request) -> Response:
        """Keep a workflow no longer; its executions have their own copies."""
        workflow = request.path_params["workflow"]
        self._stored(workflow)
        await self._catalogue.keep_workflow(workflow, None)
        return Response(status_code=204)

    def _stored(self, workflow: str) -> dict[str, Json]:
        found = self._catalogue.workflows.get(workflow)
        if found is None:
            raise Problem(404, "unknown-workflow", f"there is no stored workflow {workflow!r}")
        return found

    # Executions

    async def start(self, request: Request) -> Response:
        """Start an execution; the same key starts it once, and is then answered with it."""
        key, faults = _key(request)
        body = object_of(await body_of(request, self._limits), ("workflow",), ("input",), faults)
        given, inputs = body["workflow"], body.get("input")
        if key is None:
            return _started(await self._begin(given, inputs, None), 201)
        execution = execution_of(key)
        while execution in self._starting:
            await asyncio.wait((self._starting[execution],))
        if self._catalogue.get(execution) is not None:
            await self._check_same(execution, given, inputs or {})
            return _started(execution, 200)
        return _started(await self._begin(given, inputs, execution), 201)

    async def _begin(self, given: Json, inputs: dict[str, Json] | None, execution: str | None) -> str:
        """Start an execution. Whoever waits for it may go: what has begun is begun to the end."""
        workflow = self._engine.parse(self._stored(given) if type(given) is str else given)
        starting = asyncio.ensure_future(self._engine.start_workflow(workflow, inputs, execution))
        if execution is not None:
            self._starting[execution] = starting
        starting.add_done_callback(lambda _: self._starting.pop(execution or "", None))
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(starting)

    async def _check_same(self, execution: str, given: Json, inputs: dict[str, Json]) -> None:
        """A key that has started something is for that alone.

        Raises:
            Problem: this is something else.
        """
        created = (await self._catalogue.read(execution, limit=1))[0]
        assert type(created) is ExecutionCreated, "an execution begins with its creation"
        before = workflow_id(created) if type(given) is str else created.workflow
        if _text([before, created.input]) != _text([given, inputs]):
            raise Problem(422, "key-used", "this Idempotency-Key has started another workflow, or with another input")

    async def recover(self, request: Request) -> Response:
        """Take up what stands still because the journal could not be written (J4), as the next start would."""
        object_of(await body_of(request, self._limits))
        return JSONResponse({"executions": await self._engine.recover()})

    async def list_executions(self, request: Request) -> Response:
        """Executions, newest first: of some statuses, of a workflow; a page at a time."""
        query = Query(request)
        limit = query.number("limit", min(_PAGE, self._limits.page), 1, self._limits.page)
        before = query.number("before", 0, 1) or None
        statuses = query.names("status", _STATUSES)
        query.check()
        found = self._catalogue.newest(before, statuses, request.query_params.get("workflow"))
        page = list(islice(found, limit))
        more = next(found, None) is not None
        return JSONResponse(
            {"executions": [entry.to_json() for entry in page], "next": page[-1].place if page and more else None}
        )

    async def show_execution(self, request: Request) -> Response:
        """Where an execution stands."""
        entry = self._entry(request)
        return JSONResponse({**entry.to_json(), **await self._engine.get_execution(entry.execution)})

    async def show_outline(self, request: Request) -> Response:
        """An execution's workflow: its steps in order, and what each waits for."""
        return JSONResponse(outline(await self._engine.get_workflow(self._entry(request).execution)))

    async def list_events(self, request: Request) -> Response:
        """An execution's journal, from a number on; a page at a time."""
        entry = self._entry(request)
        query = Query(request)
        after = query.number("after", 0, 0)
        limit = query.number("limit", self._limits.page, 1, self._limits.page)
        query.check()
        events = await self._catalogue.read(entry.execution, after, limit + 1)
        told = [{"seq": seq, **to_json(event)} for seq, event in enumerate(events[:limit], after + 1)]
        return JSONResponse({"events": told, "next": after + limit if len(events) > limit else None})

    # Commands

    async def pause(self, request: Request) -> Response:
        """Start no further attempt."""
        entry = await self._bare(request)
        return self._answer(entry, "pause", accepted=await self._engine.pause_execution(entry.execution))

    async def resume(self, request: Request) -> Response:
        """Go on, with new inputs if the body has any."""
        entry = self._entry(request)
        inputs = object_of(await body_of(request, self._limits), (), ("inputs",)).get("inputs")
        return self._answer(entry, "resume", accepted=await self._engine.resume_execution(entry.execution, inputs))

    async def cancel(self, request: Request) -> Response:
        """Stop for good."""
        entry = await self._bare(request)
        return self._answer(entry, "cancel", accepted=await self._engine.cancel_execution(entry.execution))

    async def _bare(self, request: Request) -> Entry:
        """The execution that a command is for which takes nothing."""
        entry = self._entry(request)
        object_of(await body_of(request, self._limits))
        return entry

    def _answer(self, entry: Entry, command: str, *, accepted: bool) -> Response:
        if not accepted:
            raise Problem(409, "not-accepted", f"{command} is not accepted: the execution is {entry.status}")
        return JSONResponse(entry.to_json())

    def _entry(self, request: Request) -> Entry:
        execution = request.path_params["execution"]
        entry = self._catalogue.get(execution)
        if entry is None:
            raise Problem(404, "unknown-execution", f"there is no execution {execution!r}")
        return entry


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def _route(path: str, **handlers: Handler) -> Route:
    """One path: what each method does there."""

    async def endpoint(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, endpoint, methods=list(handlers))


def _key(request: Request) -> tuple[str | None, list[Fault]]:
    """The request's ``Idempotency-Key``, if it has one; and what is wrong if it is empty, too long, or not alone."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None, []
    if len(given) > 1 or not 1 <= len(given[0]) <= _LONGEST_KEY:
        return None, [Fault("Idempotency-Key", f"must be one text of 1 to {_LONGEST_KEY} characters")]
    return given[0], []


def _text(value: Json) -> str:
    """A JSON value as one text: 1, 1.0 and true are equal in Python, and are three values."""
    return json.dumps(value, sort_keys=True)


def _started(execution: str, status: int) -> Response:
    return JSONResponse({"execution": execution}, status, {"Location": f"/v1/executions/{execution}"})


def outline(workflow: Workflow) -> dict[str, Json]:
    """A workflow as it is drawn: its steps in order, and what each waits for."""
    steps = workflow.steps
    return {
        "id": workflow.id,
        "name": workflow.name,
        "steps": [
            {
                "id": step.id,
                "name": step.name,
                "action": step.action,
                "depends_on": [
                    {
                        "source": steps[connection.source].id,
                        "condition": connection.condition.text if connection.condition else None,
                    }
                    for connection in workflow.incoming[step.index]
                ],
                "condition": step.condition.text if step.condition else None,
                "compensation": step.compensation.action if step.compensation else None,
            }
            for step in steps
        ],
    }
