"""The OpenAPI 3.1 description of the service, kept by hand beside the routes.

Rule 1: whatever the service may answer is in here: each route's statuses, and what comes with them.
Rule 2: a definition is described as far as its place goes: what is wrong inside one is told by its faults (D3).
"""

from __future__ import annotations

from typing import Final

from engine.messages import EVENTS, Json
from engine.service.limits import Limits
from engine.state import Status, StepStatus

__all__ = ["description"]

_PROBLEMS: Final = {
    400: "The request is not HTTP or JSON as it should be.",
    401: "The token is missing or wrong.",
    403: "Asked by a foreign name (Host), or from a page of another site (Origin).",
    404: "There is nothing of that name.",
    405: "Another method is meant.",
    409: "The execution's status does not allow it, or there is no room.",
    413: "The body is too large.",
    415: "The body does not say that it is application/json.",
    422: "What was sent is refused, with every fault and its place.",
    429: "Too many requests from this address.",
    500: "A mistake of the service's.",
    503: "The journal cannot be read or written, or the service is stopping.",
}
_ALWAYS: Final = (401, 403, 405, 429, 500, 503)
_WITH_BODY: Final = (400, 413, 415, 422)


def description(limits: Limits) -> dict[str, Json]:
    """The description, with a service's own limits in it."""
    execution = "/v1/executions/{execution}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lockstep",
            "version": "1",
            "description": "Workflows and their executions. Live events are told over a WebSocket, at "
            f"{execution}/live?after=N: each event as a JSON text, from number N + 1 on.",
        },
        "security": [{}, {"bearer": []}],
        "paths": {
            "/openapi.json": {"get": _operation("describe", "This description.", {200: _any("The description.")})},
            "/v1/validate": {"post": _validate()},
            "/v1/workflows": {"get": _list_workflows(), "post": _store_workflow()},
            "/v1/workflows/{workflow}": {
                "parameters": [_in_path("workflow")],
                "get": _operation("show_workflow", "A stored definition.", {200: _json("Definition")}, (404,)),
                "delete": _operation("remove_workflow", "Store it no more.", {204: {"description": "Done."}}, (404,)),
            },
            "/v1/recover": {"post": _recover()},
            "/v1/executions": {"get": _list_executions(limits), "post": _start()},
            execution: _of_one("get", "show_execution", "Where an execution stands.", _json("Report")),
            f"{execution}/workflow": _of_one("get", "show_outline", "Its workflow, in order.", _json("Outline")),
            f"{execution}/events": _of_one(
                "get",
                "list_events",
                "Its journal, from a number on; a page at a time.",
                _json("Events"),
                (422,),
                [_number("after", 0), _number("limit", 1, limits.page)],
            ),
            f"{execution}/pause": _command("pause", "Start no further attempt.", "Nothing"),
            f"{execution}/resume": _command("resume", "Go on, with new inputs if there are any.", "NewInputs"),
            f"{execution}/cancel": _command("cancel", "Stop for good.", "Nothing"),
        },
        "components": {
            "schemas": _schemas(limits),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


# Operations


def _validate() -> Json:
    done = {200: _json("Outline", "The definition is valid.")}
    return _operation("validate", "Is it a valid definition?", done, _WITH_BODY, body="Definition")


def _list_workflows() -> Json:
    return _operation("list_workflows", "The ids of the stored workflows.", {200: _json("Workflows")})


def _store_workflow() -> Json:
    done = {
        200: _json("Outline", "It takes the place of an earlier one.", "Location"),
        201: _json("Outline", "It is stored.", "Location"),
    }
    return _operation("store_workflow", "Store a definition under its id.", done, (*_WITH_BODY, 409), body="Definition")


def _list_executions(limits: Limits) -> Json:
    statuses = {"type": "array", "items": {"enum": [status.value for status in Status]}}
    parameters = [
        {"name": "status", "in": "query", "schema": statuses},
        {"name": "workflow", "in": "query", "schema": {"type": "string"}},
        _number("before", 1),
        _number("limit", 1, limits.page),
    ]
    what = "Executions, newest first; `next` is the `before` of the next page."
    return _operation("list_executions", what, {200: _json("Executions")}, (422,), parameters)


def _recover() -> Json:
    done = {200: _json("Recovered", "These go on.")}
    what = "Take up what stands still because the journal could not be written."
    return _operation("recover", what, done, _WITH_BODY, body="Nothing", needs_body=False)


def _start() -> Json:
    done = {
        200: _json("Started", "The key has started this execution before.", "Location"),
        201: _json("Started", "It is started.", "Location"),
    }
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key starts one execution, whatever becomes of the answer or of the service.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    }
    return _operation("start", "Start an execution.", done, (404, *_WITH_BODY), [key], "Start")


def _of_one(
    method: str, name: str, what: str, answer: Json, more: tuple[int, ...] = (), parameters: list[Json] | None = None
) -> Json:
    operation = _operation(name, what, {200: answer}, (404, *more), parameters)
    return {"parameters": [_in_path("execution")], method: operation}


def _command(name: str, what: str, body: str) -> Json:
    done = {200: _json("Entry", "It is accepted, and durable.")}
    operation = _operation(name, what, done, (404, 409, *_WITH_BODY), body=body, needs_body=False)
    return {"parameters": [_in_path("execution")], "post": operation}


def _operation(
    name: str,
    what: str,
    answers: dict[int, Json],
    problems: tuple[int, ...] = (),
    parameters: list[Json] | None = None,
    body: str | None = None,
    *,
    needs_body: bool = True,
) -> Json:
    codes = sorted({*_ALWAYS, *problems})
    refusals = {str(code): _problem(_PROBLEMS[code], code) for code in codes}
    found: dict[str, Json] = {
        "operationId": name,
        "summary": what,
        "responses": {**{str(code): answer for code, answer in answers.items()}, **refusals},
    }
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": needs_body, "content": {"application/json": {"schema": _ref(body)}}}
    return found


# Their parts


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str, what: str = "Here it is.", *headers: str) -> Json:
    found: dict[str, Json] = {"description": what, "content": {"application/json": {"schema": _ref(name)}}}
    if headers:
        found["headers"] = {header: {"required": True, "schema": {"type": "string"}} for header in headers}
    return found


def _any(what: str) -> Json:
    return {"description": what, "content": {"application/json": {"schema": {"type": "object"}}}}


def _problem(what: str, code: int) -> Json:
    found: dict[str, Json] = {"description": what, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    header = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}.get(code)
    if header:
        found["headers"] = {header: {"required": True, "schema": {"type": "string"}}}
    return found


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _number(name: str, least: int, most: int = 2**53) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "integer", "minimum": least, "maximum": most}}


# What is sent


def _object(required: dict[str, Json], optional: dict[str, Json] | None = None, **more: Json) -> Json:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), **more}


def _schemas(limits: Limits) -> dict[str, Json]:
    text, count, anything = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "object"}
    number, maybe = {"type": "number"}, {"type": ["string", "null"]}
    statuses = [status.value for status in Status]
    steps = [status.value for status in StepStatus]
    entry = {
        "execution": text,
        "workflow": text,
        "name": text,
        "status": {"enum": statuses},
        "created_at": number,
        "changed_at": number,
        "seq": {"type": "integer", "minimum": 1},
    }
    missing = {"type": "object", "additionalProperties": {"type": "array", "items": text}}
    failure = {"oneOf": [{"type": "null"}, _ref("Failure")]}
    step = _object({"status": {"enum": steps}, "attempts": count}, {"output": {}, "error": _ref("Failure")})
    connection = _object({"source": text, "condition": maybe})
    drawn = {"id": text, "name": text, "action": text, "depends_on": {"type": "array", "items": connection}}
    failed = {"step": maybe, "attempt": {"type": ["integer", "null"]}, "type": text, "message": text}
    closed = {"additionalProperties": False}
    following = {"next": {"type": ["integer", "null"]}}
    event = {"seq": {"type": "integer", "minimum": 1}, "type": {"enum": list(EVENTS)}, "at": number}
    fault = _object({"place": text, "problem": text}, None, **closed)
    return {
        "Definition": {
            "type": "object",
            "description": "Steps, a graph as visual editors save it, or WfFormat 1.5. At most "
            f"{limits.body} bytes, and {limits.depth} objects and lists inside each other.",
        },
        "Outline": _object(
            {
                "id": text,
                "name": text,
                "steps": {
                    "type": "array",
                    "items": _object({**drawn, "condition": maybe, "compensation": maybe}, None, **closed),
                },
            },
            None,
            **closed,
        ),
        "Workflows": _object({"workflows": {"type": "array", "items": text}}, None, **closed),
        "Start": _object(
            {"workflow": {"oneOf": [{"type": "string", "description": "The id of a stored one."}, _ref("Definition")]}},
            {"input": {"type": ["object", "null"]}},
            **closed,
        ),
        "Started": _object({"execution": text}, None, **closed),
        "Recovered": _object({"executions": {"type": "array", "items": text}}, None, **closed),
        "NewInputs": _object({}, {"inputs": {"type": ["object", "null"]}}, **closed),
        "Nothing": _object({}, None, **closed),
        "Entry": _object(entry, None, **closed),
        "Executions": _object({"executions": {"type": "array", "items": _ref("Entry")}, **following}, None, **closed),
        "Report": _object(
            {**entry, "missing": missing, "error": failure, "steps": {"type": "object", "additionalProperties": step}},
            None,
            **closed,
        ),
        "Failure": _object(failed, {"compensations": {"type": "array", "items": anything}}, **closed),
        "Events": _object(
            {"events": {"type": "array", "items": _object(event)}, **following},
            None,
            **closed,
        ),
        "Problem": _object(
            {"type": text, "title": text, "status": count, "detail": text},
            {"faults": {"type": "array", "items": fault}},
            **closed,
        ),
    }
