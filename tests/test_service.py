"""What the service answers: keys, lists, limits, tokens and handshakes; in virtual time, without sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest
from starlette.applications import Starlette

from engine.actions import ACTIONS
from engine.errors import JournalError
from engine.journal import MemoryJournal
from engine.messages import Event
from engine.service import Catalogue, Limits, create_app
from engine.service.app import execution_of
from engine.service.catalogue import Store
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager
from engine.workflow_engine import WorkflowEngine
from machines.loop import SimulatedLoop
from tests.histories import step, workflow

Json: TypeAlias = Any
TOKEN: Final = "a.token+of~some_length-1"  # noqa: S105  # it opens nothing but a service of this test
ECHO: Final = workflow(step("a", action="echo", parameters={"x": "${input.x}"}))
GRAPH: Final = {
    "id": "a graph",
    "nodes": [{"id": "a", "config": {"action": "echo"}}, {"id": "b", "config": {"action": "echo"}}],
    "connections": [{"source": "a", "target": "b", "condition": "a.x > 1"}],
}
WFFORMAT: Final = Path(__file__).parent / "data" / "wfformat-diamond.json"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Json


class Client:
    """Asks one application."""

    def __init__(self, app: Starlette, engine: WorkflowEngine, catalogue: Catalogue) -> None:
        self.app = app
        self.engine = engine
        self.catalogue = catalogue

    async def ask(self, method: str, path: str, body: Json = None, /, **headers: str) -> Answer:
        sent: list[Json] = []
        content = b"" if body is None else json.dumps(body).encode()
        pieces = [{"body": content[:5], "more_body": True}, {"body": content[5:], "more_body": False}]

        async def receive() -> Json:
            return {"type": "http.request", **pieces.pop(0)}

        async def send(message: Json) -> None:
            sent.append(message)

        given = {"host": "localhost:8700", "content-type": "application/json", **headers}
        place, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": place,
            "raw_path": place.encode(),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
            "client": (given.get("from", "127.0.0.1"), 1),
            "scheme": "http",
            "root_path": "",
        }
        await self.app(scope, receive, send)
        text = b"".join(message.get("body", b"") for message in sent)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, json.loads(text) if text else None)

    async def start(self, given: Json, key: str | None = None, **body: Json) -> Answer:
        headers = {} if key is None else {"idempotency_key": key}
        return await self.ask("POST", "/v1/executions", {"workflow": given, **body}, **headers)

    async def shake(
        self, path: str, subprotocols: Sequence[str], headers: Mapping[str, str], *, words: bool = True
    ) -> list[Json]:
        """What a handshake is answered."""
        sent: list[Json] = []
        messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]

        async def receive() -> Json:
            return messages.pop(0)

        async def send(message: Json) -> None:
            sent.append(message)

        given = {"host": "localhost:8700", **headers}
        place, _, query = path.partition("?")
        scope: Json = {
            "type": "websocket",
            "path": place,
            "raw_path": place.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "subprotocols": list(subprotocols),
            "client": None,
            "scheme": "ws",
            "root_path": "",
            "extensions": {"websocket.http.response": {}} if words else {},
        }
        await self.app(scope, receive, send)
        return sent


async def opened(store: Store | None = None, limits: Limits | None = None, **how: Json) -> Client:
    loop = asyncio.get_running_loop()
    catalogue = await Catalogue.of(store or MemoryJournal())
    ids = count(len([*catalogue.newest(None, (), None)]))
    actions = {name: ACTIONS[name] for name in ("echo", "wait", "fail")}
    engine = WorkflowEngine(ExecutionStateManager(catalogue), actions, clock=loop.time, new_id=lambda: f"x{next(ids)}")
    return Client(create_app(engine, catalogue, limits=limits, clock=loop.time, **how), engine, catalogue)


def run(program: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = SimulatedLoop()
    try:
        loop.run(program())
    finally:
        loop.close()
    assert loop.errors == []


# Idempotency


def test_a_key_starts_once_however_often_and_wherever_it_is_used(tmp_path: Path) -> None:
    """At the same time, one after the other, and in the next life of the service."""

    async def program() -> None:
        execution = execution_of("k")
        client = await opened(await SqliteJournal.open(tmp_path / "j"))
        await client.catalogue.keep_workflow("w", ECHO)
        answers = await asyncio.gather(*[client.start(ECHO, "k", input={"x": 1}) for _ in range(5)])
        assert {answer.body["execution"] for answer in answers} == {execution}
        assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 201]
        assert answers[0].headers["location"] == f"/v1/executions/{execution}"
        await client.engine.wait(execution)
        await client.engine.close()
        client = await opened(await SqliteJournal.open(tmp_path / "j"))
        assert (await client.start(ECHO, "k", input={"x": 1}))[::2] == (200, {"execution": execution})
        assert (await client.start("w", "k", input={"x": 1})).status == 200
        for given, inputs in ((ECHO, {"x": True}), (GRAPH, {"x": 1}), ("other", {"x": 1})):
            answer = await client.start(given, "k", input=inputs)
            assert (answer.status, answer.body["type"]) == (422, "urn:lockstep:key-used")
        assert (await client.start(ECHO, "another", input={"x": 1})).status == 201
        assert len((await client.ask("GET", "/v1/executions")).body["executions"]) == 2
        await client.engine.close()

    run(program)


def test_a_start_that_failed_leaves_its_key_free() -> None:
    class Full(MemoryJournal):
        full = True

        async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
            await asyncio.sleep(1)
            if self.full:
                raise JournalError("disk full")  # noqa: TRY003  # what a disk says
            await super().append(execution, first, events)

    async def program() -> None:
        journal = Full()
        client = await opened(journal)
        answers = await asyncio.gather(*[client.start(ECHO, "k") for _ in range(3)])
        assert {answer.status for answer in answers} == {503}
        assert answers[0].headers["retry-after"] == "5"
        assert "disk" not in json.dumps(answers[0].body), "what the journal says is not a stranger's"
        assert (await client.start({"id": "w", "steps": 1}, "k")).status == 422
        journal.full = False
        assert (await client.start(ECHO, "k")).status == 201
        await client.engine.close()

    run(program)


def test_what_stands_still_is_taken_up_when_the_journal_can_be_written_again() -> None:
    class Full(MemoryJournal):
        full = False

        async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
            if self.full:
                raise JournalError("disk full")  # noqa: TRY003  # what a disk says
            await super().append(execution, first, events)

    async def program() -> None:
        client = await opened(journal := Full())
        await client.start(workflow(step("a", action="wait", parameters={"seconds": 1}), step("b", "a", action="echo")))
        journal.full = True
        await asyncio.sleep(2)
        assert (await client.ask("POST", "/v1/executions/x0/pause")).status == 503
        journal.full = False
        assert (await client.ask("POST", "/v1/recover", {"more": 1})).status == 422
        assert (await client.ask("POST", "/v1/recover")).body == {"executions": ["x0"]}
        assert (await client.ask("POST", "/v1/recover")).body == {"executions": []}
        assert (await client.engine.wait("x0"))["status"] == "COMPLETED"
        await client.engine.close()

    run(program)


def test_a_start_whose_caller_has_gone_is_begun_to_the_end() -> None:
    class Slow(MemoryJournal):
        async def append(self, execution: str, first: int, events: Sequence[Event]) -> None:
            await asyncio.sleep(1)
            await super().append(execution, first, events)

    async def program() -> None:
        client = await opened(Slow())
        starting = asyncio.get_running_loop().create_task(client.start(ECHO, "k", input={"x": 1}))
        await asyncio.sleep(0.5)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert (await client.start(ECHO, "k", input={"x": 1})).status == 200
        assert (await client.engine.wait(execution_of("k")))["status"] == "COMPLETED"
        await client.engine.close()

    run(program)


# Lists


def test_the_list_is_paged_newest_first_and_filtered() -> None:
    async def program() -> None:
        client = await opened()
        for number in range(7):
            await client.start(ECHO if number % 2 else {**ECHO, "id": "even", "name": "An even one"})
        await client.engine.cancel_execution("x3")
        await client.engine.wait("x3")

        async def listed(query: str) -> tuple[list[str], Json]:
            body = (await client.ask("GET", f"/v1/executions?{query}")).body
            return [entry["execution"] for entry in body["executions"]], body["next"]

        assert await listed("limit=3") == (["x6", "x5", "x4"], 5)
        assert await listed("limit=3&before=5") == (["x3", "x2", "x1"], 2)
        await client.start(ECHO)
        assert await listed("limit=3&before=2") == (["x0"], None)
        assert await listed("status=CANCELLED") == (["x3"], None)
        assert await listed("status=CANCELLED&status=PAUSED&limit=2") == (["x7", "x6"], 7)
        assert await listed("workflow=even&limit=4") == (["x6", "x4", "x2", "x0"], None)
        assert await listed("workflow=even&status=COMPLETED") == ([], None)
        entry = (await client.ask("GET", "/v1/executions?workflow=even&limit=1")).body["executions"][0]
        assert (entry["name"], entry["workflow"]) == ("An even one", "even")
        refused = await client.ask("GET", "/v1/executions?limit=0")
        assert refused.body["faults"] == [{"place": "limit", "problem": "must be one whole number from 1 to 500"}]
        await client.engine.close()

    run(program)


def test_workflows_and_the_list_outlive_the_service(tmp_path: Path) -> None:
    async def program() -> None:
        client = await opened(await SqliteJournal.open(tmp_path / "j"))
        assert (await client.ask("DELETE", "/v1/workflows/none")).status == 404
        diamond = json.loads(WFFORMAT.read_text(encoding="utf-8"))
        for definition in (GRAPH, ECHO, diamond):
            answer = await client.ask("POST", "/v1/workflows", definition)
            assert answer.status == 201
        assert (await client.ask("POST", "/v1/workflows", {**GRAPH, "name": "new"})).status == 200
        assert (await client.ask("DELETE", "/v1/workflows/w")).status == 204
        await client.start("a graph")
        await client.engine.wait("x0")
        await client.start(diamond)
        before = (await client.ask("GET", "/v1/executions")).body
        await client.engine.close()
        assert (await client.start("a graph")).status == 503, "it is closed"
        client = await opened(await SqliteJournal.open(tmp_path / "j"))
        after = (await client.ask("GET", "/v1/executions")).body
        assert [entry["execution"] for entry in after["executions"]] == ["x1", "x0"]
        assert after["executions"][1] == before["executions"][1]
        assert (await client.ask("GET", "/v1/workflows")).body == {"workflows": ["a graph", diamond["name"]]}
        assert (await client.ask("GET", "/v1/workflows/a graph")).body == {**GRAPH, "name": "new"}
        drawn = (await client.ask("GET", "/v1/executions/x0/workflow")).body
        assert drawn["steps"][1]["depends_on"] == [{"source": "a", "condition": "a.x > 1"}]
        await client.engine.close()

    run(program)


def test_a_refused_definition_is_told_with_all_its_faults() -> None:
    async def program() -> None:
        client = await opened()
        wrong = {"id": "w", "steps": [step("a", "b", action="nothing"), step("b", "a", action="echo", timeout=-1)]}
        for path, body in (("/v1/validate", wrong), ("/v1/workflows", wrong), ("/v1/executions", {"workflow": wrong})):
            answer = await client.ask("POST", path, body)
            assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
            assert answer.body["detail"] == f"the definition has {len(answer.body['faults'])} faults"
            places = [fault["place"] for fault in answer.body["faults"]]
            assert {"steps[0].action", "steps[1].timeout"} <= {*places}
        assert (await client.ask("POST", "/v1/executions", {"input": {}, "more": 1})).body["faults"] == [
            {"place": "workflow", "problem": "is missing"},
            {"place": "more", "problem": "is unknown"},
        ]
        await client.engine.close()

    run(program)


def test_a_request_is_told_all_that_is_wrong_with_it() -> None:
    async def program() -> None:
        client = await opened()
        body = {"workflow": "w", "input": 3, "more": 1}
        told = (await client.ask("POST", "/v1/executions", body, **{"idempotency-key": "x" * 256})).body
        places = ["Idempotency-Key", "more", "input"]
        assert [fault["place"] for fault in told["faults"]] == places
        assert all(f"{place}: " in told["detail"] for place in places)
        told = (await client.ask("GET", "/v1/executions?limit=x&before=0&status=A&status=B")).body
        assert [fault["place"] for fault in told["faults"]] == ["limit", "before", "status", "status"]
        told = (await client.ask("POST", "/v1/executions", [])).body
        assert (told["detail"], told["faults"][0]["place"]) == ("the body must be a JSON object", "")
        await client.engine.close()

    run(program)


# Limits


def test_an_address_may_ask_so_often_and_no_oftener() -> None:
    async def program() -> None:
        client = await opened(limits=Limits(rate=2, burst=3, addresses=2))

        async def asked(address: str = "1") -> int:
            return (await client.ask("GET", "/v1/workflows", **{"from": address})).status

        assert [await asked() for _ in range(4)] == [200, 200, 200, 429]
        assert await asked("2") == 200, "another address has its own allowance"
        await asyncio.sleep(0.5)
        assert [await asked() for _ in range(2)] == [200, 429]
        refused = await client.ask("GET", "/v1/workflows", **{"from": "1"})
        assert refused.headers["retry-after"] == "1"
        await asyncio.sleep(100)
        assert [await asked() for _ in range(4)] == [200, 200, 200, 429], "no more is saved up than may be had at once"
        await asked("2"), await asked("3")
        assert await asked() == 200, "who was forgotten begins anew"
        await client.engine.close()

    run(program)


def test_only_so_many_workflows_are_stored() -> None:
    async def program() -> None:
        client = await opened(limits=Limits(workflows=1))
        assert (await client.ask("POST", "/v1/workflows", ECHO)).status == 201
        assert (await client.ask("POST", "/v1/workflows", ECHO)).status == 200
        assert (await client.ask("POST", "/v1/workflows", GRAPH)).body["type"] == "urn:lockstep:too-many-workflows"
        await client.engine.close()

    run(program)


# Who may come in


@pytest.mark.parametrize(
    ("headers", "subprotocols", "status"),
    [
        ({}, [], 401),
        ({"authorization": "Bearer wrong"}, [], 401),
        ({}, ["lockstep", "bearer.wrong"], 401),
        ({"authorization": f"Bearer {TOKEN}"}, [], 101),
        ({"authorization": "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()}, [], 101),
        ({}, ["lockstep", f"bearer.{TOKEN}"], 101),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://localhost:8700"}, [], 101),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://localhost:8701"}, [], 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": "null"}, [], 403),
        ({"authorization": f"Bearer {TOKEN}", "host": "evil.example"}, [], 403),
    ],
)
def test_a_handshake_is_checked_like_a_request(
    headers: Mapping[str, str], subprotocols: Sequence[str], status: int
) -> None:
    async def program() -> None:
        client = await opened(token=TOKEN)
        await client.engine.start_workflow(ECHO)
        sent = await client.shake("/v1/executions/x0/live", subprotocols, headers)
        if status == 101:
            assert sent[0]["type"] == "websocket.accept"
            assert sent[0]["subprotocol"] == ("lockstep" if subprotocols else None)
        else:
            assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", status)
            bare = await client.shake("/v1/executions/x0/live", subprotocols, headers, words=False)
            assert [(message["type"], message["code"]) for message in bare] == [("websocket.close", 1008)]
        await client.engine.close()

    run(program)


@pytest.mark.parametrize(
    "path", ["/v1/executions/x1/live", "/v1/executions/x0/live?after=x", "/v1/executions/x0/nothing"]
)
def test_a_handshake_for_nothing_is_refused(path: str) -> None:
    async def program() -> None:
        client = await opened()
        await client.engine.start_workflow(ECHO)
        sent = await client.shake(path, [], {})
        assert sent[0]["type"] in {"websocket.http.response.start", "websocket.close"}
        await client.engine.close()

    run(program)


def test_the_server_may_ask_about_the_applications_life() -> None:
    async def program() -> None:
        client = await opened(token=TOKEN)
        messages, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

        async def receive() -> Json:
            return messages.pop(0)

        async def send(message: Json) -> None:
            sent.append(message["type"])

        await client.app({"type": "lifespan", "state": {}}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        await client.engine.close()

    run(program)


def test_no_answer_allows_another_site_anything() -> None:
    async def program() -> None:
        client = await opened()
        for method, origin in (("OPTIONS", "https://evil.example"), ("GET", "http://localhost:8700"), ("GET", None)):
            headers = {} if origin is None else {"origin": origin}
            answer = await client.ask(method, "/v1/executions", **headers)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        assert (await client.ask("OPTIONS", "/v1/executions")).status == 405
        await client.engine.close()

    run(program)


def test_a_service_that_any_name_may_ask_needs_its_token() -> None:
    async def program() -> None:
        client = await opened(token=TOKEN, hosts=None)
        answer = await client.ask("GET", "/v1/workflows", host="flows.example", authorization=f"Bearer {TOKEN}")
        assert answer.status == 200
        assert (await client.ask("GET", "/v1/workflows", host="flows.example")).status == 401
        await client.engine.close()

    run(program)


def test_a_mistake_of_the_services_is_told_as_one_and_no_more() -> None:
    class Broken(MemoryJournal):
        async def keep_workflow(self, workflow: str, definition: dict[str, Json] | None) -> None:
            raise ZeroDivisionError("insides")  # what nobody may see

    async def program() -> None:
        client = await opened(Broken())
        with pytest.raises(ZeroDivisionError):  # for the server's log
            await client.ask("POST", "/v1/workflows", ECHO)
        await client.engine.close()

    run(program)
