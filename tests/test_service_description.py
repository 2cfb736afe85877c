"""The service is held against its own description: schemathesis asks what that allows, and what it does not.

Rule 1: no answer is a 5xx, and none is missing in the description: status, media type, headers and body.
Rule 2: every request comes from the description and a fixed seed; there is no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette

from engine.actions import ACTIONS
from engine.journal import MemoryJournal
from engine.service import Catalogue, create_app
from engine.service.limits import Limits
from engine.service.openapi import description
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES: Final = 20
WAITING: Final = {"id": "waiting", "steps": [{"id": "a", "action": "echo", "parameters": {"x": "${input.x}"}}]}
RUNNING: Final = {"id": "running", "steps": [{"id": "a", "action": "wait", "parameters": {"seconds": 10**6}}]}
FAILING: Final = {
    "id": "a/failing one",
    "steps": [
        {"id": "a", "action": "echo", "compensation": {"action": "fail"}},
        {"id": "b", "action": "fail", "depends_on": ["a"]},
    ],
}
KNOWN: Final = {
    "execution": ["waiting", "failed", "running", "running"],
    "workflow": ["waiting", "a/failing one"],
}
BODIES: Final = {
    "start": [{"workflow": "waiting"}, {"workflow": FAILING, "input": {"x": 1}}, {"workflow": "waiting", "input": {}}],
    "validate": [WAITING, FAILING],
    "store_workflow": [WAITING, {"id": "new", "steps": []}, {"id": "newer", "steps": [{"id": "a", "action": "wait"}]}],
    "resume": [{"inputs": {"y": 1}}, {"inputs": None}, {}],
}
SCHEMA: Final = schemathesis.openapi.from_dict(description(Limits()))
OPERATIONS: Final = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)}
WITH_CHOICES: Final = [
    label for label, found in OPERATIONS.items() if {"parameters", "requestBody"} & found.definition.raw.keys()
]
MODES: Final = {"allowed": schemathesis.GenerationMode.POSITIVE, "not allowed": schemathesis.GenerationMode.NEGATIVE}


@dataclass
class Asked:
    """An application on a loop of its own, and what it was asked."""

    app: Starlette
    loop: asyncio.AbstractEventLoop
    statuses: dict[int, int] = field(default_factory=dict)

    def ask(self, case: Any) -> httpx.Response:
        """Send what schemathesis thought of."""
        given = case.as_transport_kwargs(base_url="http://localhost")
        known = {name: given[name] for name in ("method", "url", "headers", "params", "json") if name in given}
        response = self.send(**known, content=given.get("data"))
        self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
        return response

    def send(self, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.send(client.build_request(**request))

        return self.loop.run_until_complete(send())


@pytest.fixture
def asked() -> Iterator[Asked]:
    loop = asyncio.new_event_loop()
    engine, app = loop.run_until_complete(opened())
    yield Asked(app, loop)
    loop.run_until_complete(engine.close())
    loop.close()


async def opened() -> tuple[WorkflowEngine, Starlette]:
    """A service with something in it: what waits for an input, what has failed, and stored workflows."""
    catalogue = await Catalogue.of(MemoryJournal())
    ids = count()
    engine = WorkflowEngine(ExecutionStateManager(catalogue), ACTIONS, new_id=lambda: f"x{next(ids)}")
    for definition in (WAITING, FAILING):
        await catalogue.keep_workflow(str(definition["id"]), definition)
    await engine.start_workflow(WAITING, execution_id="waiting")
    await engine.start_workflow(RUNNING, execution_id="running")
    await engine.start_workflow(FAILING, execution_id="failed")
    await engine.wait("failed")
    return engine, create_app(engine, catalogue, limits=Limits(rate=1e6, burst=10**6), clock=lambda: 0.0)


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("label", "mode"),
    [*[(label, "allowed") for label in OPERATIONS], *[(label, "not allowed") for label in WITH_CHOICES]],
)
def test_every_answer_is_described(label: str, mode: str, asked: Asked) -> None:
    operation = OPERATIONS[label]
    picks = count()
    cases = operation.as_strategy(generation_mode=MODES[mode])

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=cases)
    def ask(case: Any) -> None:
        pick = next(picks)
        if pick % 4:  # what nobody has is answered by one word: ask for what there is, most of the time
            for name in case.path_parameters or {}:
                case.path_parameters[name] = KNOWN[name][pick // 4 % len(KNOWN[name])]
        if pick % 2 and mode == "allowed" and (bodies := BODIES.get(operation.definition.raw["operationId"])):
            case.body = bodies[pick // 2 % len(bodies)]
        case.validate_response(asked.ask(case), checks=CHECKS)

    ask()
    if mode == "allowed":
        assert asked.statuses.keys() & {200, 201, 204}, "it was never granted"
    else:
        assert asked.statuses.keys() & {400, 404, 415, 422}, "it was never refused"


@pytest.mark.parametrize("path", list(SCHEMA.raw_schema["paths"]))
def test_other_methods_are_told_which_are_meant(path: str, asked: Asked) -> None:
    described = {name.upper() for name in SCHEMA.raw_schema["paths"][path] if name != "parameters"}
    place = path.format(execution="running", workflow="waiting")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        if method not in described:
            response = asked.send(method=method, url=f"http://localhost{place}")
            assert response.status_code == 405
            assert {*response.headers["allow"].split(", ")} - {"HEAD"} == described
            assert response.headers["content-type"] == "application/problem+json"
